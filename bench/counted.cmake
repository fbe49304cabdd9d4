# The programs that the test bench_cost (tests/bench) and ./run bench count. Needs no package.
include_guard(DIRECTORY)

# bench_program(<name> <source> [<library>...])
function(bench_program name source)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE duolu_flags ${ARGN})
  target_compile_features(${name} PRIVATE cxx_std_23)
endfunction()

set(folder ${CMAKE_CURRENT_LIST_DIR})
bench_program(coroutine_echo ${folder}/servers/coroutine_echo_main.cpp duolu::duolu)
target_sources(coroutine_echo PRIVATE ${folder}/servers/coroutine_echo.cpp)

# The client, which sends each server the same work.
bench_program(lockstep ${folder}/client/lockstep.cpp)

# The same servers on a scripted kernel, which works in memory alone.
bench_program(scripted_cost ${folder}/scripted_cost.cpp duolu::testing)
target_sources(scripted_cost PRIVATE ${folder}/servers/poller_echo.cpp
                                     ${folder}/servers/coroutine_echo.cpp)
target_include_directories(scripted_cost PRIVATE ${PROJECT_SOURCE_DIR}/tests)

set_target_properties(coroutine_echo lockstep scripted_cost PROPERTIES
                      RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bench)

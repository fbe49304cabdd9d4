# Whether LIBRARY exports exactly the functions that HEADER declares. Needs NM.
cmake_minimum_required(VERSION 3.25)
file(READ ${HEADER} text)
string(REGEX MATCHALL "DUOLU_API [^;(]*[ *]duolu_[a-z_]+\\(" declarations "${text}")
string(REGEX REPLACE "DUOLU_API [^;(]*[ *](duolu_[a-z_]+)\\(" "\\1" wanted "${declarations}")
list(SORT wanted)
list(LENGTH wanted count)

execute_process(COMMAND ${NM} -D --defined-only --format=posix ${LIBRARY}
                OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
string(REGEX REPLACE "([^ \n]+) [^\n]*\n" "\\1;" exported "${output}")
list(REMOVE_ITEM exported "")
list(SORT exported)

if(count LESS 10 OR NOT exported STREQUAL wanted)
  message(FATAL_ERROR "declared: ${wanted}\nexported: ${exported}")
endif()
message(STATUS "${count} functions declared, and these alone are exported")

# Run when PROGRAM, a GoogleTest program, was linked: writes OUT, which makes each of its suites one
# test of ctest's.
execute_process(COMMAND ${PROGRAM} --gtest_list_tests OUTPUT_VARIABLE listed
                RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${PROGRAM} --gtest_list_tests: ${status}")
endif()
string(REGEX MATCHALL "(^|\n)[^ \n]+\\." suites "${listed}")
set(tests)
foreach(suite ${suites})
  string(STRIP "${suite}" suite)
  string(APPEND tests "add_test([=[${suite}]=] [=[${PROGRAM}]=] [=[--gtest_filter=${suite}*]=])\n"
                      "set_tests_properties([=[${suite}]=] PROPERTIES TIMEOUT ${TIMEOUT})\n")
endforeach()
file(WRITE ${OUT} "${tests}")

# Whether LIBRARY gets along without what only Linux has: which functions of the C library it needs,
# as NM tells, and whether it makes system calls past the C library, as OBJDUMP tells.
cmake_minimum_required(VERSION 3.25)
set(forbidden accept4 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait
    eventfd eventfd_read eventfd_write getrandom inotify_init1 pipe2 signalfd syscall
    timerfd_create)
set(expected accept close fcntl pipe poll|ppoll pselect read recv send socket write)

if(LIBRARY MATCHES "\\.a$")
  set(table)
else()
  set(table -D)
endif()
execute_process(COMMAND ${NM} ${table} --undefined-only --format=posix ${LIBRARY}
                OUTPUT_VARIABLE needed COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${OBJDUMP} --disassemble ${LIBRARY}
                OUTPUT_VARIABLE code COMMAND_ERROR_IS_FATAL ANY)
set(found)
foreach(name ${forbidden})
  if(needed MATCHES "(^|\n)${name}[ @]")
    list(APPEND found ${name})
  endif()
endforeach()
if(code MATCHES "\t(syscall|sysenter|svc)[ \n]")
  list(APPEND found "the instruction ${CMAKE_MATCH_1}")
endif()
if(found)
  message(FATAL_ERROR "needs what only Linux has: ${found}")
endif()
foreach(name ${expected})
  if(NOT needed MATCHES "(^|\n)(${name})[ @]")
    message(FATAL_ERROR "${LIBRARY} does not call ${name}: this looks at the wrong thing")
  endif()
endforeach()
message(STATUS "calls none of: ${forbidden}")

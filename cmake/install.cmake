# `cmake --install`: headers, libraries, CMake package (find_package(duolu)), duolu.pc,
# duolu-testing.pc, duolu_c.pc.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/duolu)

# Compiler flags of ours (duolu_flags) are wrapped in BUILD_INTERFACE and so never reach the export.
install(TARGETS duolu duolu_testing EXPORT duolu)
install(EXPORT duolu NAMESPACE duolu:: FILE duoluTargets.cmake DESTINATION ${package_dir})
install(DIRECTORY include/duolu DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.h" PATTERN "*.def" PATTERN load EXCLUDE
        PATTERN lab EXCLUDE)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

configure_package_config_file(cmake/duoluConfig.cmake.in duoluConfig.cmake
                              INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
# Until 1.0 a new minor version may change the interface.
write_basic_package_version_file(duoluConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/duoluConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/duoluConfigVersion.cmake
        DESTINATION ${package_dir})

# duolu.pc finds its prefix from its own place, so the installed tree can be moved; an absolute
# libdir or includedir (some distributions) is kept as it is.
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(IS_ABSOLUTE ${pc_dir})
  set(DUOLU_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
else()
  file(RELATIVE_PATH up /prefix/${pc_dir} /prefix)
  string(REGEX REPLACE "/$" "" up ${up})
  set(DUOLU_PC_PREFIX "\${pcfiledir}/${up}")
endif()
foreach(kind LIBDIR INCLUDEDIR)
  if(IS_ABSOLUTE ${CMAKE_INSTALL_${kind}})
    set(DUOLU_PC_${kind} ${CMAKE_INSTALL_${kind}})
  else()
    set(DUOLU_PC_${kind} "\${prefix}/${CMAKE_INSTALL_${kind}}")
  endif()
endforeach()
# What a static library needs from its user; with a shared one only `pkg-config --static` shows it.
set(DUOLU_PC_LIBS "")
if(NOT BUILD_SHARED_LIBS)
  set(DUOLU_PC_LIBS " -pthread")
endif()
set(DUOLU_PC_CFLAGS "")
if(DUOLU_POSIX_ONLY)
  set(DUOLU_PC_CFLAGS " -DDUOLU_POSIX_ONLY")
endif()
configure_file(cmake/duolu.pc.in duolu.pc @ONLY)
configure_file(cmake/duolu-testing.pc.in duolu-testing.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/duolu.pc ${CMAKE_CURRENT_BINARY_DIR}/duolu-testing.pc
        DESTINATION ${pc_dir})
if(TARGET duolu_c)
  configure_file(cmake/duolu_c.pc.in duolu_c.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/duolu_c.pc DESTINATION ${pc_dir})
endif()

# What is linked with a shared libduolu finds it wherever the tree is moved. (apps/ and src/c
# install their targets themselves.)
if(BUILD_SHARED_LIBS AND NOT IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
  file(RELATIVE_PATH to_lib /prefix/${CMAKE_INSTALL_BINDIR} /prefix/${CMAKE_INSTALL_LIBDIR})
  if(TARGET duolu_tool)
    set_target_properties(duolu_tool PROPERTIES INSTALL_RPATH "\$ORIGIN/${to_lib}")
  endif()
  if(TARGET duolu_c)
    set_target_properties(duolu_c PROPERTIES INSTALL_RPATH "\$ORIGIN")
  endif()
endif()

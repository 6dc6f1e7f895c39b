# What `cmake --install` puts where: the library, its header, tito.pc, the CMake package, and the Lua module in the
# folders that Debian's Lua 5.4 searches below /usr/local and /usr. The components are the packages of abi/package.cmake.
include(CMakePackageConfigHelpers)

set(TITO_LUA_DIR share/lua/5.4 CACHE STRING "Where the Lua files go, below the prefix")
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tito)

if(TARGET tito)
  install(TARGETS tito EXPORT titoTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT libtito1 NAMELINK_COMPONENT libtito-dev
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT libtito-dev)
  install(FILES abi/tito.h abi/tito_admin.h abi/tito_queue.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT libtito-dev)
  install(EXPORT titoTargets NAMESPACE tito:: DESTINATION ${package_dir} COMPONENT libtito-dev)

  configure_package_config_file(abi/titoConfig.cmake.in titoConfig.cmake INSTALL_DESTINATION ${package_dir})
  write_basic_package_version_file(titoConfigVersion.cmake COMPATIBILITY SameMajorVersion)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/titoConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/titoConfigVersion.cmake
    DESTINATION ${package_dir} COMPONENT libtito-dev)
endif()

# tito.pc names its prefix relative to itself, so that an installation may be moved.
string(REGEX REPLACE "[^/]+" ".." up_from_libdir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  message(FATAL_ERROR "CMAKE_INSTALL_LIBDIR and CMAKE_INSTALL_INCLUDEDIR are below the prefix: give relative paths")
endif()
configure_file(abi/tito.pc.in tito.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/tito.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT libtito-dev)

if(TARGET tito_lua)
  # The module finds the library of its own installation, wherever the prefix is; below /usr the system does.
  if(NOT CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    string(REGEX REPLACE "[^/]+" ".." up_from_module "${TITO_LUA_CDIR}/tito")
    set_target_properties(tito_lua PROPERTIES INSTALL_RPATH "$ORIGIN/${up_from_module}/${CMAKE_INSTALL_LIBDIR}")
  endif()
  install(TARGETS tito_lua LIBRARY DESTINATION ${TITO_LUA_CDIR}/tito COMPONENT lua-tito
    RUNTIME DESTINATION ${TITO_LUA_CDIR}/tito COMPONENT lua-tito)
endif()
install(DIRECTORY lua/ DESTINATION ${TITO_LUA_DIR} COMPONENT lua-tito FILES_MATCHING PATTERN "*.lua")

# Debian packages, by `cpack` in a build folder that was configured with -DCMAKE_INSTALL_PREFIX=/usr: one for each component
# of the installation.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME tito)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_VENDOR tito)
set(CPACK_PACKAGE_CONTACT "the authors of tito <tito@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_PACKAGING_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL libtito1 libtito-dev lua-tito lua-resty-tito tito)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# The library of this build is in no package that the shared-library search could find.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR}/abi)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(same_version "libtito1 (= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})")

# tito_package(COMPONENT NAME SECTION DEPENDS SUMMARY): what Debian's control file says of a component.
function(tito_package component section depends summary)
  string(TOUPPER ${component} upper)
  foreach(pair NAME=${component} SECTION=${section} "DEPENDS=${depends}")
    string(REGEX MATCH "^([A-Z]+)=(.*)$" matched "${pair}")
    set(CPACK_DEBIAN_${upper}_PACKAGE_${CMAKE_MATCH_1} "${CMAKE_MATCH_2}" PARENT_SCOPE)
  endforeach()
  set(CPACK_COMPONENT_${upper}_DESCRIPTION "${summary}" PARENT_SCOPE)
  install(FILES LICENSE DESTINATION share/doc/${component} RENAME copyright COMPONENT ${component} EXCLUDE_FROM_ALL)
endfunction()

tito_package(libtito1 libs ""
  "Models with conditional and composite indexes, transactions, an outbox and a partitioned queue: the shared library.")
tito_package(libtito-dev libdevel "${same_version}"
  "The header of libtito, and what pkg-config and CMake need to find it.")
tito_package(lua-tito interpreters "${same_version}, lua5.4"
  "The module tito of Lua 5.4.")
tito_package(lua-resty-tito interpreters "${same_version}, libnginx-mod-http-lua | openresty"
  "The module resty.tito of nginx with Lua, whose operations wait without holding up the nginx worker.")
tito_package(tito database "${same_version}, lua-tito (= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})"
  "The program tito, which runs event handlers and looks after queues.")

include(CPack)

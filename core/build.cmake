# How every target of tito is compiled: one place for warnings, hardening, sanitizers and the rooms' own static libraries.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

add_library(tito_flags INTERFACE)
target_compile_options(tito_flags INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wvla
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes>
  -fstack-protector-strong -fno-omit-frame-pointer)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64")
  target_compile_options(tito_flags INTERFACE -fcf-protection)
endif()
if(TITO_WERROR)
  target_compile_options(tito_flags INTERFACE -Werror)
endif()
target_compile_definitions(tito_flags INTERFACE _GNU_SOURCE $<$<BOOL:${TITO_TESTING}>:TI_TESTING=1>)
target_link_options(tito_flags INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
target_link_libraries(tito_flags INTERFACE Threads::Threads)

# NDEBUG is never set for a build with test hooks, so that ti_assert stays on there.
if(TITO_TESTING)
  foreach(kind RELEASE RELWITHDEBINFO MINSIZEREL)
    string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_${kind} "${CMAKE_C_FLAGS_${kind}}")
    string(REPLACE "-DNDEBUG" "" CMAKE_CXX_FLAGS_${kind} "${CMAKE_CXX_FLAGS_${kind}}")
  endforeach()
endif()

# GCC sees things in instrumented code that are not there.
if(NOT TITO_SANITIZE STREQUAL "" AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
  target_compile_options(tito_flags INTERFACE -Wno-format-truncation -Wno-maybe-uninitialized)
endif()
if(TITO_SANITIZE STREQUAL "address")
  target_compile_options(tito_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all)
  target_link_options(tito_flags INTERFACE -fsanitize=address,undefined)
elseif(TITO_SANITIZE STREQUAL "thread")
  target_compile_options(tito_flags INTERFACE -fsanitize=thread)
  target_link_options(tito_flags INTERFACE -fsanitize=thread)
elseif(NOT TITO_SANITIZE STREQUAL "")
  message(FATAL_ERROR "TITO_SANITIZE must be empty, address or thread, not '${TITO_SANITIZE}'")
else()
  target_compile_options(tito_flags INTERFACE $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE> $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=3>)
endif()
if(TITO_COVERAGE)
  target_compile_options(tito_flags INTERFACE --coverage)
  target_link_options(tito_flags INTERFACE --coverage)
endif()

# tito_room(NAME LIBRARIES…): the static library ti_NAME of all sources in the current folder.
function(tito_room name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  if(NOT sources)
    add_library(ti_${name} INTERFACE)
    target_include_directories(ti_${name} INTERFACE ${PROJECT_SOURCE_DIR}/core)
    target_link_libraries(ti_${name} INTERFACE tito_flags ${ARGN})
    return()
  endif()
  add_library(ti_${name} STATIC ${sources})
  target_include_directories(ti_${name} PUBLIC ${PROJECT_SOURCE_DIR}/core)
  target_link_libraries(ti_${name} PUBLIC tito_flags ${ARGN})
endfunction()

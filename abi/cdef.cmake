# Makes tito.cdef.h of tito.h and its parts: declarations only, no directives and no macros, for parsers of C declarations that have
# no preprocessor (LuaJIT's ffi.cdef, cffi).
#
#     cmake "-DIN=tito.h;tito_admin.h;tito_queue.h" -DOUT=tito.cdef.h -P cdef.cmake
set(text "")
foreach(part ${IN})
  file(READ ${part} more)
  string(APPEND text "${more}")
endforeach()
string(REGEX REPLACE "/\\*([^*]|\\*+[^*/])*\\*+/" "" text "${text}")
string(REGEX REPLACE "#ifdef __cplusplus\n[^#]*#endif\n" "" text "${text}")
string(REGEX REPLACE "\n#[^\n]*" "" text "${text}")
string(REPLACE "TITO_API " "" text "${text}")
string(REGEX REPLACE "\n[ \n]*\n" "\n" text "${text}")
string(STRIP "${text}" text)
file(WRITE ${OUT} "/* Made of tito.h by abi/cdef.cmake. */\n${text}\n")

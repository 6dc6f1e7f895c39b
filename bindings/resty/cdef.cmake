# Wraps C declarations as a Lua module that returns them as a text.
#
#     cmake -DIN=tito.cdef.h -DOUT=cdef.lua -P cdef.cmake
file(READ ${IN} text)
file(WRITE ${OUT} "-- Made of tito.h.\nreturn [==[\n${text}]==]\n")

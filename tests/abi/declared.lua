-- The declarations of tito.h through LuaJIT's ffi.cdef: luajit declared.lua tito.cdef.h libtito.so
local ffi = require "ffi"
local file = assert(io.open(arg[1]))
local text = file:read "*a"
file:close()
ffi.cdef(text)
local library = ffi.load(arg[2])
local count = 0
for name in text:gmatch "[%s*](tito_[%w_]+)%(" do
    assert(library[name] ~= nil, name)
    count = count + 1
end
assert(count >= 100, count)
assert(ffi.sizeof "tito_slice" == 2 * ffi.sizeof "void *")
assert(ffi.string(library.tito_status_name(library.TITO_CONFLICT)) == "conflict")
print(count .. " functions")

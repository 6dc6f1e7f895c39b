--- libtito.so.1 by LuaJIT's FFI: found, declared once, checked.
--
-- Looked for where package.cpath points to ("?" stands for "libtito", with ".1" behind it), then by the dynamic loader.
local ffi = require "ffi"

local library = {}

local NAME = "libtito.so.1"
local ABI_VERSION = 1

--- The declarations of tito.h; another copy of this file may have made them known in this process's Lua state.
local function declare()
  if not pcall(ffi.typeof, "struct tito_cq") or not pcall(ffi.typeof, "tito_slice") then
    ffi.cdef(require "resty.tito.cdef")
  end
  if not pcall(function() return ffi.C.mkdtemp end) then
    ffi.cdef "char *mkdtemp(char *template);"
  end
  if not pcall(function() return ffi.C.rmdir end) then
    ffi.cdef "int rmdir(const char *path);"
  end
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

--- Loads the library, or raises what was tried.
local function load()
  local tried = {}
  for template in package.cpath:gmatch("[^;]+") do
    local path = template:gsub("%?", "libtito") .. ".1"
    if path:sub(-#NAME) == NAME and exists(path) then
      return ffi.load(path)
    end
    tried[#tried + 1] = "no file '" .. path .. "'"
  end
  local ok, found = pcall(ffi.load, NAME)
  if ok then
    return found
  end
  error(("%s is not found:\n\t%s\n\t%s"):format(NAME, table.concat(tried, "\n\t"), tostring(found)), 0)
end

declare()
library.lib = load()
library.ffi = ffi

if library.lib.tito_abi_version() < ABI_VERSION then
  error(("libtito is too old: its interface is version %d, %d is needed"):format(library.lib.tito_abi_version(),
    ABI_VERSION), 0)
end

return library

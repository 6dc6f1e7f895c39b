--- The functions that lua/tito/driver.lua stands for, over LuaJIT's FFI: what bindings/lua/README.md lists.
local library = require "resty.tito.library"
local backups = require "resty.tito.backups"
local database = require "resty.tito.database"
local handle = require "resty.tito.handle"
local json = require "resty.tito.json"
local operations = require "resty.tito.operations"
local queues = require "resty.tito.queues"
local worker = require "resty.tito.worker"

local ffi, lib = library.ffi, library.lib

local driver = {
  null = json.null,
  version = ffi.string(lib.tito_version_string()),
  encode = handle.encode,
  call_host = handle.call_host,
  db_new = database.new,
  db_open = database.connect,
  db_start = database.open,
  db_close = database.close,
}

for _, part in ipairs { backups, operations, queues, worker } do
  for name, fn in pairs(part) do
    driver[name] = fn
  end
end

local uuid_box = ffi.new("char[37]")

function driver.uuid()
  lib.tito_uuid(uuid_box)
  return ffi.string(uuid_box, 36)
end

--- Seconds, the host's clock.
function driver.now()
  return tonumber(lib.tito_now_us()) / 1e6
end

--- The value of a JSON text; or nil and an error.
function driver.decode(text)
  return handle.decode(text, #text)
end

return driver

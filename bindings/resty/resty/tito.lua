--- tito for OpenResty: `require "tito"` over LuaJIT's FFI, never blocking an nginx worker.
--
--     init_by_lua_block         tito = require "resty.tito"; db = tito.new("/var/lib/blog"); Post = db:model { … }
--     init_worker_by_lua_block  db:open()
--     content_by_lua_block      local post, err = Post:find_by_id(ngx.var.id)
--
-- Outside of nginx, in LuaJIT alone, it is what `require "tito"` is in Lua 5.4, and waits in the calling thread.
package.loaded["tito.driver"] = require "resty.tito.driver"

local database = require "tito.database"
local driver = require "tito.driver"
local tito = require "tito"

tito._VERSION = tito.version

--- The JSON text of a value as tito stores it: lists stay lists, 64-bit integers whole. nil and an error.
tito.encode = driver.encode

--- The value of a JSON text, which may be anybody's: nil and an error when it is not valid.
function tito.decode(text)
  return driver.decode(text)
end

--- A database that is declared and not open yet, for init_by_lua: its models and queues can be declared, and nothing is
-- started. Raises when target or options are not valid.
function tito.new(target, options)
  return database.declare(target, options)
end

return tito

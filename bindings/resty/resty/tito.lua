--- tito for OpenResty: `require "tito"` over LuaJIT's FFI, never blocking an nginx worker.
--
--     init_by_lua_block         tito = require "resty.tito"; db = tito.new("/var/lib/blog"); Post = db:model { … }
--     init_worker_by_lua_block  db:open()
--     content_by_lua_block      local post, err = Post:find_by_id(ngx.var.id)
--
-- Outside of nginx, in LuaJIT alone, it is what `require "tito"` is in Lua 5.4, and waits in the calling thread.
package.loaded["tito.driver"] = require "resty.tito.driver"

local database = require "tito.database"
local tito = require "tito"

tito._VERSION = tito.version

--- A database that is declared and not open yet, for init_by_lua: its models and queues can be declared, and nothing is
-- started. Raises when target or options are not valid.
function tito.new(target, options)
  return database.declare(target, options)
end

return tito

-- busted in LuaJIT, with `require "tito"` being that of resty.tito.
require "resty.tito"
require "busted.runner" { standalone = false }

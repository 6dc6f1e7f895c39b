-- The Lua layer is one source for Lua 5.4 and LuaJIT: it compiles and loads there, over a driver that does nothing.
local support = require "support"

local PROGRAM = [[
  package.preload["tito.core"] = function()
    local function nothing() return true end
    local driver = setmetatable({ null = io.stdout, version = "0" }, { __index = function() return nothing end })
    return driver
  end
  local tito = require "tito"
  require "tito.script"
  local db = assert(tito.connect("memory:", { timeout = 1.5, partitions = 8 }))
  local Post = db:model { table = "post", indexes = { { name = "i", condition = function() return true end } } }
  Post:query_by_index("i"):value(1):between(2, 3):limit(4):execute()
  assert(db:begin()):rollback()
  assert(db:transaction(function(tx) return Post:find_by_id("x", nil, tx) end))
  local ok, err = pcall(Post.build, Post, 5)
  assert(not ok and err.code == "invalid_argument", tostring(err))
  db:worker { concurrency = 2, retry = { base = 1, factor = 1.5 } }:on("post", function() end)
  print("fine in " .. _VERSION)
]]

describe("the Lua layer", function()
  after_each(support.clean)

  for _, interpreter in ipairs { "lua5.4", "luajit" } do
    it("loads in " .. interpreter, function()
      if not os.execute("command -v " .. interpreter .. " >/dev/null") then
        pending(interpreter .. " is not installed")
        return
      end
      local file = support.write_file(support.folder(), PROGRAM)
      local pipe = io.popen(("%s %s 2>&1"):format(interpreter, file))
      local output = pipe:read("a")
      pipe:close()
      assert.truthy(output:find("^fine in Lua 5%.%d"), output)
    end)
  end
end)

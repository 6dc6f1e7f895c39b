-- A program that knows only the installed module: stores a record and finds it.
local tito = require "tito"

local db = assert(tito.connect(arg[1]))
local User = db:model { table = "user" }
assert(User:build { id = "u1", name = "Alice" })
assert(User:find_by_id("u1").name == "Alice")
db:close()

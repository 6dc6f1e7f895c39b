--- The dashboard of `tito worker --dashboard`: called with the program's functions, the server, the handle of the
-- worker's database, its target, and whether payloads are shown.
local cli, server, handle, target, values = ...

local database = require "tito.database"

local INTERVAL_S = 2

local function text_of(err)
  return type(err) == "table" and err.message or tostring(err)
end

local function nothing()
end

local folder = not target:find "^tikv://" and not target:find "^memory:" and target:gsub("^rocksdb:", "") or nil

require("tito.cli.dashboard.loop").run(server, {
  db = database.of_handle(handle), interval = INTERVAL_S, clock = cli.clock, log = cli.log, text_of = text_of,
  class_of = cli.class_of, version = cli.version, target = target, writes = server:writes(), values = values,
  page_token = server:page_token(), disk = folder and function() return (cli.machine.disk(folder)) end or nil,
  is_worker = true, ready = nothing,
})

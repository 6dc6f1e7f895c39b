--- What the program `tito` does inside of a Lua state of an app. Compiled into it; its argument writes log lines.
local log = ...

local database = require "tito.database"
local tito = require "tito"
local worker = require "tito.worker"

local host = {}

--- Runs the app's file and returns the function(worker) that it returns.
local function load_app(path)
  local script, why = loadfile(path)
  if not script then
    error(why, 0)
  end
  local register = script()
  if type(register) ~= "function" then
    error(("%s: the file must return a function(worker), not %s"):format(path, type(register)), 0)
  end
  return register
end

--- A state of `tito worker`: the database is tito.db, the app registers its handlers.
function host.app(db, handle, path, number)
  tito.db = database.of_handle(db)
  load_app(path)(worker.of_script(tito.db, handle, number))
end

--- Whether a key's first parked event may run now, on any page of them.
local function parked_due(queue, now)
  local cursor, key
  repeat
    local page, err = queue:history { state = "parked", limit = 1000, cursor = cursor }
    if not page then
      return nil, err
    end
    for _, event in ipairs(page.items) do
      if event.key ~= key and (event.not_before or 0) <= now then
        return true
      end
      key = event.key
    end
    cursor = page.cursor
  until not cursor
  return false
end

--- Whether an event of the type may run now; those of a paused type may not.
local function is_due(queue, now)
  local page, err = queue:history { state = "pending", to = now, limit = 1 }
  if not page then
    return nil, err
  end
  local due = #page.items > 0
  if not due then
    due, err = parked_due(queue, now)
  end
  if not due then
    return due, err
  end
  local stats
  stats, err = queue:stats()
  if not stats then
    return nil, err
  end
  return not stats.paused
end

--- For `--once`: whether no event of these types may run now. What the store does not tell is asked again.
function host.is_idle(db_handle, types)
  local db = database.of_handle(db_handle)
  local now, err = db:now()
  if not now then
    log("debug", "the queue could not be read: " .. tostring(err))
    return false
  end
  for _, name in ipairs(types) do
    local due
    due, err = is_due(db:queue { type = name }, now)
    if due == nil then
      log("debug", "the queue could not be read: " .. tostring(err))
    end
    if due ~= false then
      return false
    end
  end
  return true
end

--- For the tools: the database, and the app's models in db.models, its handlers not registered.
function host.open(db_handle, path)
  local db = database.of_handle(db_handle)
  tito.db = db
  if path then
    local function nothing(self)
      return self
    end
    load_app(path)({ db = db, member = 1, on = nothing, stop = nothing })
  end
  return db
end

return host

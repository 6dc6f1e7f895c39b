--- The commands `tito queue`, `tito check`, `tito reindex`. Compiled into the program; its argument writes log lines.
-- Each command is called with the database, the operands and the options, and returns the exit code.
local log = ...

local driver = require "tito.driver"

local DONE, FAILED, USAGE = 0, 1, 2
local PAGE = 1000

local tools = {}

local function fail(err)
  log("error", type(err) == "table" and err.message or tostring(err))
  return FAILED
end

local function misuse(text, ...)
  log("error", text:format(...))
  return USAGE
end

local function write(text, ...)
  io.stdout:write(select("#", ...) > 0 and text:format(...) or text, "\n")
end

local function sorted(t)
  local names = {}
  for name in pairs(t) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

-- ---- Times

--- The seconds of a time as people write it; nil when it is none.
local function seconds_of(text)
  local y, mo, d, h, mi, s = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)T(%d%d):(%d%d):(%d%d%.?%d*)Z$")
  if not y then
    return tonumber(text)
  end
  -- days since 1970 of a civil date (years begin in March)
  y, mo, d = tonumber(y), tonumber(mo), tonumber(d)
  if mo < 1 or mo > 12 or d < 1 or d > 31 or tonumber(h) > 23 or tonumber(mi) > 59 or tonumber(s) >= 61 then
    return nil
  end
  if mo <= 2 then
    y, mo = y - 1, mo + 12
  end
  local days = 365 * y + y // 4 - y // 100 + y // 400 + (153 * (mo - 3) + 2) // 5 + d - 1 - 719468
  return days * 86400 + tonumber(h) * 3600 + tonumber(mi) * 60 + tonumber(s)
end

local function text_of(seconds)
  return os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(seconds))
end

--- from and to of the options, as numbers, put into filter; nil and a text when one is no time.
local function add_times(filter, options)
  for _, name in ipairs { "from", "to" } do
    if options[name] then
      filter[name] = seconds_of(options[name])
      if not filter[name] then
        return nil, ("--%s '%s': seconds since 1970 or 2026-01-31T12:00:00Z expected"):format(name, options[name])
      end
    end
  end
  return filter
end

-- ---- Queues

local actions = {}

function actions.stats(queue, _, options)
  local stats, err = queue:stats()
  if not stats then
    return fail(err)
  end
  if options.json then
    write("%s", driver.encode(stats))
    return DONE
  end
  for _, name in ipairs(sorted(stats)) do
    write("%-14s %s", name, tostring(stats[name]))
  end
  return DONE
end

local function show(event, json)
  if json then
    write("%s", driver.encode(event))
    return
  end
  local why = (event.last_error or ""):match("^[^\n]*")
  write("%s  %s  key=%s attempts=%d  %s", event.id, text_of(event.finished_at), event.key, event.attempts, why)
end

function actions.failed(queue, words, options)
  local filter, wrong = add_times({ state = "failed" }, options)
  local left = tonumber(options.limit or 100)
  if not filter or #words > 0 then
    return misuse("%s", wrong or "failed takes a type and nothing else")
  elseif not left or left < 1 or left ~= math.floor(left) then
    return misuse("--limit '%s': a whole number expected", options.limit)
  end
  repeat
    filter.limit = math.tointeger(math.min(left, PAGE))
    local page, err = queue:history(filter)
    if not page then
      return fail(err)
    end
    for _, event in ipairs(page.items) do
      show(event, options.json)
    end
    left, filter.cursor = left - #page.items, page.cursor
  until not filter.cursor or left < 1
  return DONE
end

--- Calls act(id) for each id; tells those that fail.
local function each(ids, act)
  local done, code = 0, DONE
  for _, id in ipairs(ids) do
    local ok, err = act(id)
    if ok then
      done = done + 1
    else
      log("error", ("%s: %s"):format(id, err.message))
      code = FAILED
    end
  end
  return done, code
end

--- Retries every event that has failed, page by page: a retried one is no longer among them.
local function retry_all(queue)
  local total = 0
  while true do
    local page, err = queue:history { state = "failed", limit = PAGE }
    if not page then
      return fail(err)
    end
    local ids = {}
    for i, event in ipairs(page.items) do
      ids[i] = event.id
    end
    local done, code = each(ids, function(id) return queue:retry(id) end)
    total = total + done
    if #ids == 0 or done == 0 then
      write("%d retried", total)
      return code
    end
  end
end

function actions.retry(queue, words)
  if #words == 1 and words[1] == "all" then
    return retry_all(queue)
  elseif #words == 0 then
    return misuse("retry: which events? Give ids, or all")
  end
  local done, code = each(words, function(id) return queue:retry(id) end)
  write("%d retried", done)
  return code
end

function actions.drop(queue, words)
  if #words == 0 then
    return misuse("drop: which events? Give ids")
  end
  local done, code = each(words, function(id) return queue:drop(id) end)
  write("%d dropped", done)
  return code
end

function actions.replay(queue, words, options)
  local filter, wrong = add_times({ into = options.into, state = options.failed and "failed" or nil }, options)
  if not filter or #words > 0 then
    return misuse("%s", wrong or "replay takes a type and nothing else")
  end
  local count, err = queue:replay(filter)
  if not count then
    return fail(err)
  end
  write("%d published again", count)
  return DONE
end

function actions.pause(queue)
  local ok, err = queue:pause()
  return ok and DONE or fail(err)
end

function actions.resume(queue)
  local ok, err = queue:resume()
  return ok and DONE or fail(err)
end

function tools.queue(db, words, options)
  local action, name = table.remove(words, 1), table.remove(words, 1)
  if not actions[action or ""] then
    return misuse("queue: which action? One of %s", table.concat(sorted(actions), ", "))
  elseif not name then
    return misuse("queue %s: which type of events?", action)
  end
  return actions[action](db:queue { type = name }, words, options)
end

-- ---- Models

--- Calls act(table) for the named tables, or for all that the app declares.
local function each_table(db, words, act)
  local names = #words > 0 and words or sorted(db.models)
  local code = DONE
  if #names == 0 then
    return misuse("the app declares no models")
  end
  for _, name in ipairs(names) do
    if not db.models[name] then
      return misuse("the app declares no model of table '%s'", name)
    end
  end
  for _, name in ipairs(names) do
    code = math.max(code, act(name))
  end
  return code
end

function tools.check(db, words, options)
  return each_table(db, words, function(name)
    local summary, err = db:check(name, { repair = options.repair })
    if not summary then
      return fail(err)
    end
    for _, finding in ipairs(summary.findings) do
      write("%s: %s", name, type(finding) == "table" and driver.encode(finding) or tostring(finding))
    end
    write("%s: %d records and entries, %d findings%s", name, summary.done, #summary.findings,
      options.repair and #summary.findings > 0 and ", mended" or "")
    return #summary.findings == 0 and DONE or FAILED
  end)
end

function tools.reindex(db, words)
  return each_table(db, words, function(name)
    local summary, err = db:reindex(name)
    if not summary then
      return fail(err)
    end
    write("%s: every index is readable", name)
    return DONE
  end)
end

return tools

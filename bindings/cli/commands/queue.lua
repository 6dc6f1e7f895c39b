--- `tito queue ACTION TYPE`: looks at a type of events and acts on it.

local queries = require "tito.cli.queries"

local PAGE = 1000

local STATES = { "pending", "parked", "completed", "failed" }

local FILTERS = {
  { name = "key", value = "KEY", type = "text", help = "only events of this key" },
  { name = "owner", value = "ENTITY", type = "text", help = "only of this entity (table:user:u1) or its id" },
  { name = "from", value = "T", type = "time", help = "from this time on: seconds since 1970, or "
    .. "2026-01-31T12:00:00Z" },
  { name = "to", value = "T", type = "time", help = "before this time" },
}

local LIMIT = { name = "limit", value = "N", type = "integer", default = 100, help = "at most so many" }
local VALUES = { name = "values", type = "flag", help = "payloads too" }

local plus = queries.plus

local function time_text(seconds)
  return type(seconds) == "number" and os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(seconds)) or ""
end

--- The type that the first operand names.
local function queue_of(context)
  return context.open():queue { type = context.words[1] }
end

local function filter_of(context, state)
  local options = context.options
  return { state = state, key = options.key, owner = options.owner, from = options.from, to = options.to }
end

-- ---- Looking

local EVENT_COLUMNS = {
  { name = "id" }, { name = "state" }, { name = "key" }, { name = "when", text = time_text },
  { name = "attempts", align = "right" }, { name = "payload" }, { name = "last_error", title = "error", color = "red" },
}

--- The time that a person looks for: when it ends waiting, or when it ended.
local function when_of(event)
  return event.finished_at or event.not_before or event.timestamp
end

local function show(context, rows, event)
  if not context.options.values then
    event.payload = nil
  end
  if context.out.json then
    rows:add(event)
    return
  end
  local row = {}
  for name, value in pairs(event) do
    row[name] = value
  end
  row.when = when_of(event)
  row.last_error = event.last_error and event.last_error:match("^[^\n]*")
  rows:add(row)
end

--- Shows the events of a state; page by page, newest state of each page.
local function list_events(context, state)
  local queue, filter = queue_of(context), filter_of(context, state)
  local left = context.options.limit
  local columns = {}
  for _, column in ipairs(EVENT_COLUMNS) do
    local wanted = column.name ~= "payload" or context.options.values
    columns[#columns + 1] = wanted and column or nil
  end
  local rows = context.out.rows(columns)
  repeat
    filter.limit = math.min(left, PAGE)
    local page = context.check(queue:history(filter))
    for _, event in ipairs(page.items) do
      show(context, rows, event)
    end
    left, filter.cursor = left - #page.items, page.cursor
  until not filter.cursor or left < 1 or context.interrupted()
  rows:finish()
  return context.interrupted() and context.stopped() or 0
end

--- "12.5 s", "3 min", "2 h": how long ago, or until, in a word.
local function duration(seconds)
  local size = math.abs(seconds)
  if size < 120 then
    return ("%.1f s"):format(seconds)
  elseif size < 7200 then
    return ("%.0f min"):format(seconds / 60)
  end
  return ("%.0f h"):format(seconds / 3600)
end

--- Adds up the partitions of a type: what is said of it in one line.
local function sum(known)
  local total = { pending = 0, parked = 0, parked_keys = 0, workers = 0, partitions = known.partitions,
    complete = known.complete }
  local oldest, workers = math.huge, {}
  for _, item in ipairs(known.items) do
    for _, name in ipairs { "pending", "parked", "parked_keys" } do
      total[name] = total[name] + item[name]
    end
    oldest = math.min(oldest, item.oldest or math.huge)
    if item.alive and not workers[item.worker] then
      workers[item.worker], total.workers = true, total.workers + 1
    end
  end
  if oldest < math.huge then
    total.oldest, total.lag = oldest, math.max(0, known.now - oldest)
  end
  return total
end

local function list_types(context)
  local db = context.open()
  local rows = context.out.rows { { name = "type" }, { name = "partitions", align = "right" }, { name = "paused" },
    { name = "pending", align = "right" }, { name = "parked", align = "right" },
    { name = "lag", align = "right", text = duration }, { name = "workers", align = "right" } }
  for _, known in ipairs(context.check(db:queues())) do
    local row = sum(context.check(db:queue({ type = known.type }):partitions()))
    row.type, row.paused = known.type, known.paused
    rows:add(row)
  end
  rows:finish()
end

local function change_text(change)
  return ("%+.1f/s"):format(change)
end

--- How much the depths have changed since the last look, by second.
local function add_changes(now, last, elapsed, names)
  for _, name in ipairs(names) do
    now[name .. "_change"] = last and elapsed > 0 and (now[name] - last[name]) / elapsed or nil
  end
end

--- Shows each partition; what was seen, for the next look.
local function show_partitions(context, queue, before)
  local known = context.check(queue:partitions())
  local seen = { now = known.now }
  local rows = context.out.rows {
    { name = "partition", align = "right" }, { name = "pending", align = "right" },
    before and { name = "pending_change", title = "change", align = "right", text = change_text }
      or { name = "oldest", text = time_text },
    { name = "lag", align = "right", text = duration }, { name = "parked", align = "right" },
    { name = "parked_keys", align = "right" }, { name = "checkpoint_age", align = "right", text = duration },
    { name = "worker" }, { name = "alive" },
  }
  for _, item in ipairs(known.items) do
    item.checkpoint_age = item.checkpoint and math.max(0, known.now - item.checkpoint)
    item.lag = item.oldest and math.max(0, known.now - item.oldest)
    seen[item.partition] = item
    if before then
      add_changes(item, before[item.partition] or { pending = 0 }, known.now - before.now, { "pending" })
    end
    rows:add(item)
  end
  rows:finish()
  if not known.complete then
    context.log("warn", "there are more events than were counted")
  end
  return seen
end

local WINDOW_S, WINDOW_MIN_S, WINDOW_EVENTS = 60, 0.05, 10000

--- How many events a second were completed just before a time, by whoever, and how long after they were due. A window
-- with very many is made shorter.
local function add_completed(context, queue, now, to)
  local window = WINDOW_S
  local function read()
    return context.check(queue:history { state = "completed", from = to - window, to = to, limit = WINDOW_EVENTS })
  end
  local page = read()
  while page.cursor and window > WINDOW_MIN_S do
    window = window / 4
    page = read()
  end
  local took = {}
  for i, event in ipairs(page.items) do
    took[i] = math.max(0, (event.finished_at or 0) - (event.timestamp or 0))
  end
  table.sort(took)
  now.completed_per_second = #took / window
  now.latency_p50, now.latency_p99 = took[math.ceil(#took * 0.5)], took[math.ceil(#took * 0.99)]
end

-- What the library tells of the process that asks: here it is always this command, which handles nothing.
local OWN = { "published", "delivered", "acknowledged", "retried", "failed", "rescheduled", "advanced", "timed_out",
  "conflicts", "dropped", "lost", "expired", "leases_taken", "leases_given", "leases_lost", "waiting", "handler_p50",
  "handler_p99", "handler_max" }

local STATS_ORDER = { "type", "paused", "partitions", "pending", "pending_change", "parked", "parked_change",
  "parked_keys", "failed_stored", "failed_stored_change", "lag", "oldest", "completed_per_second", "latency_p50",
  "latency_p99", "workers" }

local function seconds_text(seconds)
  return ("%.3f s"):format(seconds)
end

local STATS_TEXTS = { lag = duration, oldest = time_text, pending_change = change_text, parked_change = change_text,
  failed_stored_change = change_text, latency_p50 = seconds_text, latency_p99 = seconds_text,
  completed_per_second = function(rate) return ("%.1f"):format(rate) end }

--- How a type is now.
local function look(context, queue)
  local known = context.check(queue:partitions())
  local now = context.check(queue:stats())
  for _, name in ipairs(OWN) do
    now[name] = nil
  end
  for name, value in pairs(sum(known)) do
    now[name] = value
  end
  now.type = context.words[1]
  add_completed(context, queue, now, known.now)
  return now, known.now
end

local function stats(context)
  local queue = queue_of(context)
  local last, looked_at = nil, 0
  return queries.watched(context, function()
    if context.options.partitions then
      last = show_partitions(context, queue, last)
      return 0
    end
    local now, at = look(context, queue)
    add_changes(now, last, at - looked_at, { "pending", "parked", "failed_stored" })
    last, looked_at = now, at
    local shown = {}
    for name, value in pairs(now) do
      shown[name] = STATS_TEXTS[name] and not context.out.json and STATS_TEXTS[name](value) or value
    end
    if now.complete and not context.out.json then
      shown.complete = nil -- of interest when it is not
    end
    context.out.object(shown, STATS_ORDER)
    return 0
  end)
end

-- ---- Acting

--- Calls act(id) for each id; how many it did, and the code of the last that failed.
local function each(context, ids, act)
  local done, code = 0, 0
  for _, id in ipairs(ids) do
    local ok, err = act(id)
    if ok then
      done = done + 1
    else
      code = context.fail { code = err.code, message = id .. ": " .. err.message }
    end
    if context.interrupted() then
      return done, context.stopped()
    end
  end
  return done, code
end

local function tell(context, count, text)
  context.out.line("%d %s", count, text)
  if context.out.json then
    context.out.value { count = count }
  end
end

--- Retries every event that has failed, page by page: a retried one is no longer among them.
local function retry_all(context, queue)
  local total, stats_now = 0, context.check(queue:stats())
  local bar = context.progress(stats_now.failed_stored, "failed events")
  local code
  while true do
    local page = context.check(queue:history { state = "failed", limit = PAGE })
    local ids = {}
    for i, event in ipairs(page.items) do
      ids[i] = event.id
    end
    local done
    done, code = each(context, ids, function(id)
      bar:advance()
      return queue:retry(id)
    end)
    total = total + done
    if #ids == 0 or done == 0 or context.interrupted() then
      break
    end
  end
  bar:finish()
  tell(context, total, "retried")
  return code
end

local function retry(context)
  local queue = queue_of(context)
  if #context.words == 2 and context.words[2] == "all" then
    return retry_all(context, queue)
  end
  local done, code = each(context, { table.unpack(context.words, 2) }, function(id) return queue:retry(id) end)
  tell(context, done, "retried")
  return code
end

local function drop(context)
  local queue = queue_of(context)
  local done, code = each(context, { table.unpack(context.words, 2) }, function(id) return queue:drop(id) end)
  tell(context, done, "dropped")
  return code
end

--- Counts the events that a filter finds, where a bar is seen.
local function count_for(context, queue, filter, bar)
  local total = 0
  while bar.shown and not context.interrupted() do
    filter.limit = PAGE
    local page = context.check(queue:history(filter))
    total, filter.cursor = total + #page.items, page.cursor
    if not bar:expect(total) or not page.cursor then
      break
    end
  end
  filter.limit, filter.cursor = nil, nil
end

local function replay(context)
  local filter = filter_of(context, context.options.failed and "failed" or "completed")
  local queue = queue_of(context)
  local bar = context.progress(nil, "events")
  count_for(context, queue, filter, bar)
  if context.interrupted() then
    return context.stopped()
  end
  filter.into = context.options.into
  local count, err = queue:replay(filter, { progress = function(done)
    bar:set(done)
    return not context.interrupted()
  end })
  bar:finish()
  if not count and context.interrupted() and err.code == "cancelled" then
    return context.stopped(("interrupted: at least %d were published again"):format(bar.done))
  end
  tell(context, context.check(count, err), "published again")
end

local function tell_pause(context, paused)
  context.out.line("%s %s", context.words[1], paused and "is paused" or "goes on")
  if context.out.json then
    context.out.value { type = context.words[1], paused = paused }
  end
end

local function pause(context)
  context.check(queue_of(context):pause())
  tell_pause(context, true)
end

local function resume(context)
  context.check(queue_of(context):resume())
  tell_pause(context, false)
end

local function repartition(context)
  local count = math.tointeger(tonumber(context.words[2]))
  if not count then
    return context.misuse("how many partitions? '%s' is no number", context.words[2])
  end
  local bar = context.progress(nil, "partitions")
  local moved, err = queue_of(context):repartition(count, {
    progress = function(done, total)
      bar:set(done, total > 0 and total or nil)
      return not context.interrupted()
    end,
  })
  bar:finish()
  if not moved and context.interrupted() then
    return context.stopped(("interrupted: nothing of %s is delivered until this is called again, with %d or another "
      .. "number"):format(context.words[1], count))
  end
  context.check(moved, err)
  context.out.line("%s has %d partitions; %d events were moved", context.words[1], count, moved)
  if context.out.json then
    context.out.value { partitions = count, moved = moved }
  end
end

local function action(name, operands, summary, run, more)
  local spec = { name = name, operands = operands, summary = summary, run = run, least = 1, most = 1,
    missing = "which type of events?" }
  for key, value in pairs(more or {}) do
    spec[key] = value
  end
  return spec
end

return {
  name = "queue",
  summary = "looks at a type of events and acts on it",
  existing = true,
  operands = "[TYPE]",
  actions = {
    action("list", "", "the types of events", list_types, { least = 0, most = 0 }),
    action("stats", "TYPE", "how a type is now", stats, { options = {
      { name = "partitions", type = "flag", help = "each partition: depth, oldest event, lag, parked keys, "
        .. "checkpoint, worker" },
      { name = "watch", value = "N", type = "seconds", min = 0.1, help = "again every N seconds, until Ctrl-C; with "
        .. "changes a second" },
    } }),
    action("peek", "TYPE", "the events that are to be handled, by partition and time", function(context)
      return list_events(context, context.options.parked and "parked" or "pending")
    end, { options = plus(FILTERS, LIMIT, VALUES, { name = "parked", type = "flag",
      help = "those that wait for a retry, or behind one" }) }),
    action("history", "TYPE", "events in a state", function(context)
      return list_events(context, context.options.state)
    end, { options = plus({ name = "state", value = "STATE", type = "choice", choices = STATES, default = "completed",
      help = "which" }, FILTERS, LIMIT, VALUES) }),
    action("failed", "TYPE", "the events that have failed for good, with their errors", function(context)
      return list_events(context, "failed")
    end, { options = plus(FILTERS, LIMIT, VALUES) }),
    action("retry", "TYPE ID… | TYPE all", "makes failed events pending again", retry,
      { least = 2, most = math.huge, missing = "which events? Give a type and ids, or all" }),
    action("drop", "TYPE ID…", "deletes failed or pending events", drop,
      { least = 2, most = math.huge, missing = "which events? Give a type and ids" }),
    action("replay", "TYPE", "publishes completed events again, as new ones", replay,
      { options = plus(FILTERS, { name = "into", value = "TYPE", type = "text", help = "as events of another type" },
        { name = "failed", type = "flag", help = "failed events instead of completed ones" }) }),
    action("pause", "TYPE", "holds back the events of a type in every worker", pause),
    action("resume", "TYPE", "lets them go on", resume),
    action("repartition", "TYPE N", "gives a type N partitions while it is in use", repartition,
      { least = 2, most = 2, missing = "which type, and how many partitions?" }),
  },
  examples = {
    "tito queue list --db ./data",
    "tito queue stats email --partitions --db ./data",
    "tito queue stats email --watch 2 --db tikv://pd1:2379",
    "tito queue peek email --key user-7 --values --db ./data",
    "tito queue history email --from 2026-01-31T00:00:00Z --limit 20 --db ./data",
    "tito queue failed email --db tikv://pd1:2379 --json",
    "tito queue retry email all --db ./data",
    "tito queue drop email 0008.00001795395753706000.01a205ed-16ea-7000-8200-0000a6cacc33 --db ./data",
    "tito queue replay email --from 2026-01-31T00:00:00Z --into email_again --db ./data",
    "tito queue pause email --db ./data",
    "tito queue resume email --db ./data",
    "tito queue repartition email 64 --db tikv://pd1:2379",
  },
  notes = { "An embedded database belongs to one process: these work while no worker has it open." },
  run = nil,
}

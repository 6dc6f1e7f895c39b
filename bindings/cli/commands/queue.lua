--- `tito queue ACTION TYPE`: looks at a type of events and acts on it.

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

local function plus(...)
  local list = {}
  for _, part in ipairs { ... } do
    if part.name then
      list[#list + 1] = part
    else
      table.move(part, 1, #part, #list + 1, list)
    end
  end
  return list
end

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

local function stats(context)
  context.out.object(context.check(queue_of(context):stats()), { "paused", "pending", "parked", "failed_stored",
    "lag" })
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

local function replay(context)
  local filter = filter_of(context, context.options.failed and "failed" or "completed")
  filter.into = context.options.into
  tell(context, context.check(queue_of(context):replay(filter)), "published again")
end

local function pause(context)
  context.check(queue_of(context):pause())
  context.out.line("%s is paused", context.words[1])
end

local function resume(context)
  context.check(queue_of(context):resume())
  context.out.line("%s goes on", context.words[1])
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
  operands = "TYPE",
  actions = {
    action("stats", "TYPE", "how a type is now", stats),
    action("peek", "TYPE", "the events that are to be handled, the next first", function(context)
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
  },
  examples = {
    "tito queue stats email --db ./data",
    "tito queue failed email --db tikv://pd1:2379 --json",
    "tito queue retry email all --db ./data",
    "tito queue replay email --from 2026-01-31T00:00:00Z --into email_again --db ./data",
  },
  notes = { "An embedded database belongs to one process: these work while no worker has it open." },
  run = nil,
}

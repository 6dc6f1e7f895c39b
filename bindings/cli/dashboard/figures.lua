--- The dashboard's figures: how everything is now, and how it was.
--
--   sample ──> { time, types, workers, schedules, tables, engine, problem }     what pages and /metrics tell
--          └─> a point of each type's past (the last POINTS samples)
--
-- Throughput and latency come from the completed events that the queue keeps: those that ended within a window just
-- past, which is made smaller until they fit into one page. So they are seen from outside, whoever handled them.
--
-- INVARIANTS
--  1. What is asked of the store at once is bounded: pages of COMPLETED_MAX events, TABLE_PAGE ids. A table is counted
--     page by page, COUNT_TIME_S of each sample at most.
--  2. A store that does not answer leaves the last figures standing, with the problem beside them.
local models = require "tito.cli.models"
local tito = require "tito"

local figures = {}

local POINTS = 300
local COMPLETED_MAX, SETTLE_S, WINDOW_MIN_S, WINDOW_MAX_S = 2000, 1, 0.02, 30
local TABLE_PAGE, COUNT_TIME_S, COUNT_AGAIN_S, COUNT_COST = 2000, 0.05, 30, 20
local CATALOG_AGE_S = 5

local Figures = {}
Figures.__index = Figures

local function check(value, err)
  if value == nil then
    error(err or "nothing was answered", 0)
  end
  return value
end

-- ---- Queues

--- The types with their queue objects, kept from sample to sample.
local function entry_of(self, name)
  local entry = self.entries[name]
  if not entry then
    entry = { queue = self.db:queue { type = name }, window = 2, past = {} }
    self.entries[name] = entry
  end
  return entry
end

--- Adds up the partitions of a type, and notes who works on them.
local function add_partitions(row, known, workers)
  local seen = {}
  row.partitions, row.complete = known.partitions, known.complete
  row.parked_keys, row.workers, row.lag = 0, 0, 0
  for _, item in ipairs(known.items) do
    row.parked_keys = row.parked_keys + item.parked_keys
    if item.oldest and (not row.oldest or item.oldest < row.oldest) then
      row.oldest = item.oldest
    end
    if item.worker then
      local worker = workers[item.worker] or { id = item.worker, alive = item.alive or false, types = {} }
      workers[item.worker] = worker
      worker.types[row.type] = worker.types[row.type] or {}
      table.insert(worker.types[row.type], item.partition)
      if item.alive and not seen[item.worker] then
        seen[item.worker], row.workers = true, row.workers + 1
      end
    end
  end
  if row.oldest then
    row.lag = math.max(0, known.now - row.oldest)
  end
end

local function quantile(sorted, q)
  return sorted[math.max(1, math.ceil(#sorted * q))]
end

--- Whether events of the type may have ended since the last sample.
local function has_moved(entry, row)
  local last = entry.last
  return not last or row.workers > 0 or last.pending ~= row.pending or last.parked ~= row.parked
    or (last.rate or 0) > 0
end

--- How many events a second have ended, and how long after they were due.
local function add_completed(entry, row, now)
  local to = now - SETTLE_S
  local from = math.max(0, entry.seen_to or 0, to - entry.window)
  if from >= to or not has_moved(entry, row) then
    row.rate = entry.last and entry.last.rate or 0
    return
  end
  local page
  repeat
    page = check(entry.queue:history { state = "completed", from = from, to = to, limit = COMPLETED_MAX })
    local full = page.cursor ~= nil and to - from > WINDOW_MIN_S
    if full then
      from = to - (to - from) / 4
      entry.window = math.max(WINDOW_MIN_S, to - from)
    end
  until not full
  if #page.items < COMPLETED_MAX / 4 then
    entry.window = math.min(WINDOW_MAX_S, entry.window * 2)
  end
  entry.seen_to = to
  row.rate = #page.items / (to - from)
  local took = {}
  for i, event in ipairs(page.items) do
    took[i] = math.max(0, (event.finished_at or 0) - (event.timestamp or 0))
  end
  table.sort(took)
  row.latency_p50, row.latency_p99 = quantile(took, 0.5), quantile(took, 0.99)
end

--- What of tito_queue_stats is of this process, for `tito worker --dashboard`.
local OWN = { "published", "delivered", "acknowledged", "retried", "failed", "timed_out", "conflicts", "waiting",
  "handler_p50", "handler_p99", "handler_max" }

local function type_row(self, listed, workers)
  local entry = entry_of(self, listed.type)
  local row = { type = listed.type, paused = listed.paused }
  local known = check(entry.queue:partitions())
  local stats = check(entry.queue:stats())
  row.paused, row.pending, row.parked, row.failed = stats.paused, stats.pending, stats.parked, stats.failed_stored
  add_partitions(row, known, workers)
  add_completed(entry, row, known.now)
  if self.is_worker then
    row.own = {}
    for _, name in ipairs(OWN) do
      row.own[name] = stats[name]
    end
  end
  entry.last = row
  return row
end

--- "0-3, 7": rising numbers.
local function ranges_text(numbers)
  table.sort(numbers)
  local parts, first = {}, nil
  for i, n in ipairs(numbers) do
    first = first or n
    if numbers[i + 1] ~= n + 1 then
      parts[#parts + 1] = first == n and ("%d"):format(n) or ("%d-%d"):format(first, n)
      first = nil
    end
  end
  return table.concat(parts, ", ")
end

local function worker_rows(workers)
  local rows = {}
  for _, worker in pairs(workers) do
    local types = {}
    for name, numbers in pairs(worker.types) do
      types[#types + 1] = { type = name, count = #numbers, partitions = ranges_text(numbers) }
    end
    table.sort(types, function(a, b) return a.type < b.type end)
    rows[#rows + 1] = { id = worker.id, alive = worker.alive, types = tito.array(types) }
  end
  table.sort(rows, function(a, b) return a.id < b.id end)
  return tito.array(rows)
end

local POINT = { "pending", "parked", "failed", "lag", "rate", "latency_p50", "latency_p99" }

--- Adds the row to the past of its type.
local function remember(self, row, now)
  local past = self.entries[row.type].past
  local point = { now }
  for i, name in ipairs(POINT) do
    point[i + 1] = row[name] or tito.null
  end
  past[#past + 1] = point
  if #past > POINTS then
    table.remove(past, 1)
  end
end

local function look_at_queues(self, now)
  local types, workers, known = {}, {}, {}
  for i, listed in ipairs(check(self.db:queues())) do
    types[i] = type_row(self, listed, workers)
    known[listed.type] = true
  end
  for _, row in ipairs(types) do
    remember(self, row, now)
  end
  for name in pairs(self.entries) do
    if not known[name] then
      self.entries[name] = nil
    end
  end
  return tito.array(types), worker_rows(workers)
end

-- ---- Tables

local function look_at_catalog(self)
  if self.catalog and self.clock() - self.catalog_at < CATALOG_AGE_S then
    return
  end
  self.catalog = check(self.db:schema())
  self.catalog_at = self.clock()
  table.sort(self.catalog, function(a, b) return a.table < b.table end)
end

--- One page of ids of a table further; whether it is counted.
local function count_page(self, count, description)
  local context = { check = check }
  count.model = count.model or models.get(context, self.db, description.table)
  if not count.model then
    return true
  end
  local query = require("tito.query").new(count.model, nil)
  local page = check(query:keys_only():limit(TABLE_PAGE):cursor(count.cursor):execute())
  count.so_far = (count.so_far or 0) + #page.items
  count.cursor = page.cursor
  return not page.cursor
end

local function finish_count(self, count)
  count.records, count.so_far, count.cursor, count.model = count.so_far or 0, nil, nil, nil
  count.counted_at = self.clock()
  count.again_at = count.counted_at + math.max(COUNT_AGAIN_S, count.cost * COUNT_COST)
  count.cost = 0
end

--- Counts on where the last sample ended; one table after another.
local function count_tables(self)
  local ends_at = self.clock() + COUNT_TIME_S
  for _, description in ipairs(self.catalog) do
    local name = description.table
    local count = self.counts[name] or { cost = 0, again_at = 0 }
    self.counts[name] = count
    local done = self.clock() < count.again_at
    while not done and self.clock() < ends_at do
      local began = self.clock()
      done = count_page(self, count, description)
      count.cost = count.cost + self.clock() - began
      if done then
        finish_count(self, count)
      end
    end
  end
end

local function table_rows(self)
  local rows = {}
  for i, description in ipairs(self.catalog) do
    local count = self.counts[description.table] or {}
    local indexes = {}
    for k, index in ipairs(description.indexes) do
      indexes[k] = { name = index.name, version = index.version or 1, state = index.state,
        unique = index.unique or false }
    end
    rows[i] = { table = description.table, records = count.records, counting = count.so_far,
      indexes = tito.array(indexes), dropping = description.dropping or nil,
      age = count.counted_at and self.clock() - count.counted_at }
  end
  return tito.array(rows)
end

-- ---- All of it

local function schedule_rows(self)
  local rows = {}
  for i, schedule in ipairs(check(self.db:schedules())) do
    schedule.payload = self.values and schedule.payload or nil
    rows[i] = schedule
  end
  return tito.array(rows)
end

local function look(self)
  local state = { time = check(self.db:now()) }
  state.types, state.workers = look_at_queues(self, state.time)
  state.schedules = schedule_rows(self)
  look_at_catalog(self)
  count_tables(self)
  state.tables = table_rows(self)
  local stats = check(self.db:stats())
  state.engine, state.executor = stats.engine, stats.executor
  if self.disk then
    state.disk = self.disk()
  end
  return state
end

--- Takes a sample: the figures, which are the last ones, with `problem`, where the store does not answer.
function Figures:sample()
  local began = self.clock()
  local ok, state = pcall(look, self)
  if ok then
    self.state = state
  else
    self.state = self.state or { time = tito.now(), types = tito.array(), workers = tito.array(),
      schedules = tito.array(), tables = tito.array() }
    self.state.problem = self.text_of(state)
  end
  self.cost = self.clock() - began
  self.state.cost = self.cost
  return self.state
end

--- The past by type: lists of { time, … as POINT }.
function Figures:past()
  local out = {}
  for name, entry in pairs(self.entries) do
    out[name] = tito.array { table.unpack(entry.past) }
  end
  return { names = tito.array { "time", table.unpack(POINT) }, types = out }
end

--- The queue of a type that there is; nil: there is none.
function Figures:queue(name)
  local entry = type(name) == "string" and self.entries[name]
  return entry and entry.queue
end

--- options: db, clock, text_of, values (payloads too), disk (a function), is_worker (the process handles events).
function figures.new(options)
  return setmetatable({ db = options.db, clock = options.clock, text_of = options.text_of, values = options.values,
    disk = options.disk, is_worker = options.is_worker, entries = {}, counts = {}, cost = 0 }, Figures)
end

return figures

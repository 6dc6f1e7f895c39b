--- `tito cluster`: how a TiKV cluster looks from here.
local SAMPLES = 20

--- Seconds that act() took: the fastest, the middle and the slowest of some calls.
local function timed(context, act)
  local took = {}
  for i = 1, SAMPLES do
    local began = context.cli.clock()
    context.check(act())
    took[i] = context.cli.clock() - began
  end
  table.sort(took)
  return { least = took[1], median = took[SAMPLES // 2], most = took[SAMPLES] }
end

local function milliseconds(seconds)
  return ("%.3f ms"):format(seconds * 1000)
end

local function sorted(t)
  local list = {}
  for name, count in pairs(t or {}) do
    list[#list + 1] = { name = name, count = count }
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local function run(context)
  local db, out = context.open(), context.out
  local target = context.options.db or os.getenv "TITO_DB"
  if not target:find "^tikv://" then
    return context.misuse("this is about a TiKV cluster: --db tikv://…")
  end
  local rounds = {
    { kind = "time", round = timed(context, function() return db:now() end) },
    { kind = "read", round = timed(context, function() return db:schema() end) },
  }
  local engine = context.check(db:stats()).engine
  if out.json then
    out.value { rounds = rounds, engine = engine }
    return 0
  end
  out.line("cluster %s, %s", tostring(engine.cluster_id), target)
  local rows = out.rows { { name = "kind" }, { name = "least", align = "right", text = milliseconds },
    { name = "median", align = "right", text = milliseconds }, { name = "most", align = "right", text = milliseconds } }
  for _, known in ipairs(rounds) do
    rows:add { kind = known.kind, least = known.round.least, median = known.round.median, most = known.round.most }
  end
  rows:finish()
  for _, part in ipairs { "requests", "retries" } do
    local counts = out.rows { { name = "name", title = part }, { name = "count", align = "right" } }
    for _, row in ipairs(sorted(engine[part])) do
      counts:add(row)
    end
    counts:finish()
  end
  return 0
end

return {
  name = "cluster",
  summary = "how a TiKV cluster looks from here: round trips, requests, retries",
  text = {
    "Measures how long PD takes to tell the time and the stores to answer a read, and shows the requests and "
      .. "retries that "
      .. "this took. With --json all counters of the engine.",
  },
  operands = "", most = 0,
  examples = { "tito cluster --db tikv://pd1:2379,pd2:2379", "tito cluster --json --db tikv://pd1:2379" },
  run = run,
}

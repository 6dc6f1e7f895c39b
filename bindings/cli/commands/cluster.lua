--- `tito cluster`: how a TiKV cluster looks from here.
local output = require "tito.cli.output"

local YEAR_S = 365 * 86400

local function milliseconds(us)
  return ("%.3f ms"):format(us / 1000)
end

local function gibibytes(bytes)
  return bytes >= 2 ^ 30 and ("%.1f GiB"):format(bytes / 2 ^ 30) or ("%.0f MiB"):format(bytes / 2 ^ 20)
end

--- How long ago, as people say it.
local function age(us)
  local seconds = us / 1e6
  if seconds < 120 then
    return ("%.1f s"):format(seconds)
  elseif seconds < 7200 then
    return ("%.0f min"):format(seconds / 60)
  end
  return seconds < 172800 and ("%.1f h"):format(seconds / 3600) or ("%.1f days"):format(seconds / 86400)
end

--- A key from its hexadecimal digits: its text, where it is printable ASCII to its end or a NUL ("post:p1"); else the
-- digits.
local function key_text(digits)
  local bytes = digits:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)
  return bytes:find "^[\32-\126]*$" and bytes or "0x" .. digits
end

-- ---- Parts of the text

local function show_members(out, found)
  local rows = out.rows { { name = "pd", title = "pd member" }, { name = "leads" }, { name = "urls" } }
  for _, member in ipairs(found.members) do
    rows:add { pd = member.name, leads = member.leader and "leader" or "", urls = table.concat(member.urls, " ") }
  end
  rows:finish()
end

local STATES = { up = "green", offline = "yellow", tombstone = "red" }

local function show_stores(out, found)
  local rows = out.rows { { name = "id", title = "store", align = "right" }, { name = "address" },
    { name = "state", color = function(cell) return STATES[cell] end }, { name = "version" },
    { name = "leads", title = "leads here", align = "right" },
    { name = "available", align = "right", text = gibibytes },
    { name = "capacity", align = "right", text = gibibytes }, { name = "heard", align = "right", text = age } }
  for _, store in ipairs(found.stores) do
    rows:add { id = store.id, address = store.address, state = store.state, version = store.version,
      leads = store.leads, available = store.available, capacity = store.capacity,
      heard = store.heard_us and math.max(0, found.now_us - store.heard_us) }
  end
  rows:finish()
end

local function show_regions(out, found)
  out.line("%d regions hold this namespace", found.regions.count)
  if not found.regions.list then
    return
  end
  local rows = out.rows { { name = "id", title = "region", align = "right" }, { name = "leader", align = "right" },
    { name = "stores" }, { name = "start", text = key_text }, { name = "end", text = key_text } }
  for _, region in ipairs(found.regions.list) do
    rows:add { id = region.id, leader = region.leader, stores = table.concat(region.stores, " "),
      start = region.start, ["end"] = region["end"] }
  end
  rows:finish()
end

local function show_gc(out, found)
  local gc = found.gc
  out.line("old versions: %s", gc.age_us and ("readable back to %s ago"):format(age(gc.age_us))
    or "never collected: run a worker with --gc-retention, or TiDB")
  local holder = gc.held_by
  if holder then
    out.line("held back by '%s', %s ago%s", holder.service, age(holder.age_us),
      holder.ttl_s < YEAR_S and (", for %s more"):format(age(holder.ttl_s * 1e6)) or "")
  end
end

local function show_locks(out, found, seconds)
  local locks = found.locks
  out.line("%d locks of transactions older than %g s%s", locks.count, seconds,
    locks.resolved and (", %d cleared"):format(locks.resolved) or "")
  local rows = out.rows { { name = "key", text = key_text }, { name = "kind" },
    { name = "age", title = "owner's age", align = "right", text = age }, { name = "ttl", align = "right", text = age },
    { name = "primary", title = "its primary", text = key_text } }
  for _, lock in ipairs(locks.list) do
    rows:add { key = lock.key, kind = lock.kind, age = lock.age_us, ttl = lock.ttl_us, primary = lock.primary }
  end
  rows:finish()
end

local function show_rounds(out, found)
  local rows = out.rows { { name = "kind", title = "round trip" }, { name = "store", align = "right" },
    { name = "least", align = "right", text = milliseconds }, { name = "median", align = "right", text = milliseconds },
    { name = "most", align = "right", text = milliseconds } }
  for _, round in ipairs(found.rounds) do
    rows:add { kind = round.kind, store = round.store, least = round.least_us, median = round.median_us,
      most = round.most_us }
  end
  rows:finish()
end

--- The counters of the engine that are named in two lists.
local function show_counters(out, engine)
  for _, part in ipairs { "requests", "retries" } do
    local counts = out.rows { { name = "name", title = part }, { name = "count", align = "right" } }
    for _, name in ipairs(output.sorted_names(engine[part] or {})) do
      if engine[part][name] > 0 then
        counts:add { name = name, count = engine[part][name] }
      end
    end
    counts:finish()
  end
end

-- ---- The command

local function run(context)
  local given, out = context.options, context.out
  if not (given.db or os.getenv "TITO_DB"):find "^tikv://" then
    return context.misuse("this is about a TiKV cluster: --db tikv://…")
  elseif given.resolve and not given.locks then
    return context.misuse("--resolve needs --locks SECONDS: how old the locks to resolve are")
  end
  local db = context.open()
  local found = context.check(db:cluster { regions = given.regions, locks = given.locks, resolve = given.resolve })
  local engine = context.check(db:stats()).engine
  if out.json then
    found.engine = engine
    out.value(found)
    return 0
  end
  out.line("cluster %s", tostring(found.cluster_id))
  show_members(out, found)
  show_stores(out, found)
  show_regions(out, found)
  show_gc(out, found)
  if found.locks then
    show_locks(out, found, given.locks)
  end
  show_rounds(out, found)
  show_counters(out, engine)
  return 0
end

return {
  name = "cluster",
  summary = "how a TiKV cluster looks from here: members, stores, regions, locks, round trips",
  text = {
    "Shows PD's members and leader; the stores, with how many regions of this namespace each leads and how much room "
      .. "PD says it has; how far back old versions can be read, and whose safe point holds their collection back (PD "
      .. "tells the lowest one alone); and how long PD and each store take to answer, measured now. Nothing is "
      .. "written.",
    "--locks SECONDS lists the locks of transactions that began that long ago: their age, how long their owner says it "
      .. "lives without another sign, and the primary key that tells their fate. --resolve clears those whose owner is "
      .. "gone: what it has committed stays, the rest is rolled back; owners that live are left alone. Keys that are "
      .. "no text are shown in hexadecimal digits, as all are with --json.",
  },
  operands = "", most = 0,
  options = {
    { name = "regions", type = "flag", help = "list the regions of this namespace, with their leaders and keys" },
    { name = "locks", value = "SECONDS", type = "seconds", help = "list the locks of transactions that old" },
    { name = "resolve", type = "flag", help = "clear those of them whose owner is gone" },
  },
  examples = { "tito cluster --db tikv://pd1:2379,pd2:2379", "tito cluster --json --regions --db tikv://pd1:2379",
    "tito cluster --locks 60 --resolve --db tikv://pd1:2379" },
  run = run,
}

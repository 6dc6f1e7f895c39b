--- `tito bench`: how fast a database is here. The loads are bench.c's; which run, for how long, and what is told is
-- here.
local output = require "tito.cli.output"

local NAMESPACE = "tito-bench"
local LOADS = { "insert", "find", "query", "publish", "drain" }
local CALLERS = { 1, 16, 64 }
local ID_STRIDE = 1000000000 -- between the ids of two numbers of callers
local LOOK_S = 0.1

-- ---- Its own namespace

--- The options of the connection with a namespace of the benchmark's own, inside of the one that was asked for.
local function own_namespace(given)
  local list, name = {}, NAMESPACE
  for _, pair in ipairs(given or {}) do
    if pair.name == "namespace" then
      name = pair.value .. "." .. NAMESPACE
    else
      list[#list + 1] = pair
    end
  end
  list[#list + 1] = { name = "namespace", value = name }
  return list
end

--- Removes what there is in it: of this run, or of one that was killed.
local function clean(context, db)
  local dropped, code, message = context.cli.bench.drop()
  if not dropped then
    error({ code = code, message = message }, 0)
  end
  for _, known in ipairs(context.check(db:queues())) do
    context.check(db:queue { type = known.type }:purge { from = 0 })
  end
end

-- ---- Figures

local function milliseconds(us)
  return ("%.3f ms"):format(us / 1000)
end

local function percent(share)
  return ("%+.0f %%"):format(share * 100)
end

local function name_of(result)
  return ("%s/%d"):format(result.load, result.callers)
end

--- The results of a saved run by load and callers; raises when the file is none.
local function saved_run(path)
  local file, why = io.open(path, "rb")
  if not file then
    error(why, 0)
  end
  local text = file:read "a"
  file:close()
  local saved = output.driver().decode(text)
  if type(saved) ~= "table" or saved.tito_bench ~= 1 or type(saved.results) ~= "table" then
    error(("'%s' holds no run of tito bench"):format(path), 0)
  end
  local by_name = {}
  for _, result in ipairs(saved.results) do
    by_name[name_of(result)] = result
  end
  return by_name
end

local function save_run(path, results)
  local file, why = io.open(path, "wb")
  if not file then
    error(why, 0)
  end
  local ok
  ok, why = file:write(output.json { tito_bench = 1, made_by = require("tito.driver").version, results = results },
    "\n")
  if ok then
    ok, why = file:close()
  end
  if not ok then
    error(("'%s' can not be written: %s"):format(path, why), 0)
  end
end

--- Adds what the saved run had: before, change, slower.
local function compare(result, saved, tolerance)
  local before = saved and saved[name_of(result)]
  if before and before.per_second > 0 then
    result.before = before.per_second
    result.change = result.per_second / before.per_second - 1
    result.slower = result.change < -tolerance / 100
  end
end

-- ---- One load

--- Seconds that are left: of those that were given, else at this rate for the operations that were; nil: not known.
local function left_of(figures, given)
  if given.seconds then
    return math.max(0, given.seconds - figures.seconds)
  elseif given.ops and figures.ops > 0 then
    return math.max(0, given.ops - figures.ops) * figures.seconds / figures.ops
  end
  return nil
end

--- Shows the figures while it runs, on a terminal's stderr.
local function show(context, load, callers, figures, left)
  if context.live then
    io.stderr:write(("\r\27[K%s, %d %s: %d done, %.0f/s%s%s"):format(load, callers,
      callers == 1 and "caller" or "callers", figures.ops, figures.seconds > 0 and figures.ops / figures.seconds or 0,
      figures.p50_us and (", p50 %s, p99 %s"):format(milliseconds(figures.p50_us), milliseconds(figures.p99_us)) or "",
      left and (", %.0f s left"):format(left) or ""))
  end
end

--- Runs it to its end: its figures; nil when it was interrupted. ops: how many; seconds: for how long.
local function run_load(context, bench, load, callers, given)
  local function look()
    local figures, code, message = bench:look()
    if not figures then
      error({ code = code, message = ("%s: %s"):format(load, message) }, 0)
    end
    return figures
  end
  local started, code, message = bench:start(load, callers, given.ops or 0, given.first, given.posts)
  if not started then
    error({ code = code, message = message }, 0)
  end
  local figures = look()
  while figures.running and (not given.seconds or figures.seconds < given.seconds) and not context.interrupted() do
    context.cli.sleep(given.seconds and math.min(LOOK_S, math.max(0.001, given.seconds - figures.seconds)) or LOOK_S)
    figures = look()
    show(context, load, callers, figures, left_of(figures, given))
  end
  bench:stop()
  figures = look()
  if context.live then
    io.stderr:write "\r\27[K"
  end
  if context.interrupted() then
    return nil
  end
  figures.running, figures.load, figures.callers = nil, load, callers
  figures.per_second = figures.seconds > 0 and figures.ops / figures.seconds or 0
  return figures
end

-- ---- The run

--- All loads of one number of callers; each result goes to add. false: interrupted.
local function run_level(context, bench, callers, add)
  local given = context.options
  local first, posts, events = callers * ID_STRIDE, 0, 0
  for _, load in ipairs(LOADS) do
    local ops, seconds = given.ops, not given.ops and given.seconds or nil
    if load == "drain" then
      ops, seconds = events, nil
    end
    if (posts > 0 or load == "insert" or load == "publish") and (load ~= "drain" or events > 0) then
      local figures = run_load(context, bench, load, callers, { ops = ops, seconds = seconds, first = first,
        posts = math.max(1, posts) })
      if not figures then
        return false
      end
      posts = load == "insert" and figures.ops or posts
      events = load == "publish" and figures.ops or events
      add(figures)
    end
  end
  return true
end

local function rows_of(out, compared)
  local columns = { { name = "load" }, { name = "callers", align = "right" }, { name = "ops", align = "right" },
    { name = "per_second", title = "ops/s", align = "right", text = function(n) return ("%.0f"):format(n) end },
    { name = "p50_us", title = "p50", align = "right", text = milliseconds },
    { name = "p99_us", title = "p99", align = "right", text = milliseconds },
    { name = "most_us", title = "most", align = "right", text = milliseconds } }
  if compared then
    columns[#columns + 1] = { name = "before", align = "right", text = function(n) return ("%.0f"):format(n) end }
    columns[#columns + 1] = { name = "change", align = "right", text = percent }
    columns[#columns + 1] = { name = "mark", title = "", color = "red" }
  end
  return out.rows(columns)
end

local function measure(context, db, results, saved)
  local given, out = context.options, context.out
  local rows = rows_of(out, saved ~= nil)
  local bench, code, message = context.cli.bench.open()
  if not bench then
    error({ code = code, message = message }, 0)
  end
  local whole = true
  for _, callers in ipairs(given.callers or CALLERS) do
    whole = whole and run_level(context, bench, callers, function(figures)
      compare(figures, saved, given.tolerance)
      results[#results + 1] = figures
      local row = setmetatable({ mark = figures.slower and "slower" or nil }, { __index = figures })
      rows:add(out.json and figures or row)
    end)
  end
  bench:close()
  rows:finish()
  return whole
end

local function run(context)
  local given = context.options
  local saved = given.compare and saved_run(given.compare)
  given.db_option = own_namespace(given.db_option)
  context.live = context.cli.is_terminal(2) and not given.json and given.log_level ~= "error"
  local db, results = context.open(), {}
  context.interrupted() -- from here on it ends by itself, after it has cleaned up
  clean(context, db)
  local ok, whole = pcall(measure, context, db, results, saved)
  clean(context, db)
  if not ok then
    error(whole, 0)
  elseif not whole then
    return context.stopped()
  end
  if given.save then
    save_run(given.save, results)
  end
  for _, result in ipairs(results) do
    if result.slower then
      return 1
    end
  end
  return 0
end

return {
  name = "bench",
  summary = "measures how fast a database is here",
  text = {
    "Runs each load with 1, 16 and 64 callers at once: insert (a post of 450 bytes with two indexes), find (by its "
      .. "id), query (ten posts of an author, with the tags of each), publish (an event), drain (handlers that do "
      .. "nothing take what was published). Each runs for --seconds, or does --ops; a drain ends with the last event.",
    "It works in a namespace of its own, 'tito-bench' (inside of the one that --db-option names), and removes all "
      .. "records and events at its end, Ctrl-C included; what a killed run has left is removed by the next. One at a "
      .. "time.",
    "--compare FILE shows what a run that was saved with --save FILE had, and marks what is slower now by more than "
      .. "--tolerance per cent. Figures of different machines, or of a busy one, say little.",
  },
  existing = true,
  operands = "", most = 0,
  options = {
    { name = "seconds", value = "S", type = "seconds", default = 2, help = "how long each load runs" },
    { name = "ops", value = "N", type = "integer", max = 100000000, help = "how many operations each does, instead" },
    { name = "callers", value = "N", type = "integer", max = 256, many = true,
      help = "operations at once (default: 1, 16, 64)" },
    { name = "save", value = "FILE", type = "file", help = "write the figures there" },
    { name = "compare", value = "FILE", type = "file", help = "with the figures that were saved there" },
    { name = "tolerance", value = "PERCENT", type = "integer", max = 1000, default = 10,
      help = "how much slower is not worth a mark" },
  },
  examples = { "tito bench --db memory:", "tito bench --db tikv://pd1:2379 --seconds 5 --save before.json",
    "tito bench --db tikv://pd1:2379 --compare before.json" },
  codes = { { 1, "something is slower than the saved run" } },
  run = run,
}

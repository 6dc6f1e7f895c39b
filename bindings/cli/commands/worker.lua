--- `tito worker`: reads its options; the work is the program's (work.c).

--- Options of the library's worker, from those of the command.
local function worker_options(options)
  local out = { max_retries = options.max_retries }
  for _, name in ipairs { "lease", "handler_timeout", "gc_retention", "drain_timeout" } do
    out[name .. "_us"] = options[name] and math.floor(options[name] * 1e6 + 0.5)
  end
  if options.partitions then
    out.partition_from, out.partition_to = options.partitions.from, options.partitions.to
  end
  if options.leader_file then
    out.leader = "false" -- until the file is seen
  end
  return out
end

--- The token of --dashboard, or what is wrong with how it was asked for.
local function token_of(context)
  local options = context.options
  local place = options.dashboard
  if not place and (options.token_file or options.allow_writes or options.show_values) then
    return nil, "--token-file, --allow-writes and --show-values are of --dashboard"
  elseif not place or place:find "^unix:" then
    return nil, place and options.token_file and "--token-file does not go with a unix socket: its mode is the rule"
  elseif not context.cli.is_address(place) then
    return nil, ("--dashboard '%s': HOST:PORT, [HOST]:PORT or unix:PATH is expected"):format(place)
  elseif not options.token_file then
    return nil, "--dashboard HOST:PORT needs --token-file FILE; it is made when it is not there"
  end
  return context.cli.dashboard.token_file(options.token_file)
end

local function run(context)
  local options = context.options
  if options.once and options.partitions then
    return context.misuse("--once does not go with --partitions")
  end
  if options.once and options.leader_file then
    return context.misuse("--once does not go with --leader-file")
  end
  local token, wrong = token_of(context)
  if wrong then
    return context.misuse("%s", wrong)
  end
  local db_options = {}
  for _, pair in ipairs(options.db_option or {}) do
    db_options[pair.name] = pair.value
  end
  local threads = options.threads or context.cli.processors()
  -- Each thread has as many handlers as the others.
  local concurrency = ((options.concurrency or threads) + threads - 1) // threads * threads
  local own = worker_options(options)
  own.concurrency = concurrency
  return context.cli.work {
    app = context.words[1], target = options.db or os.getenv "TITO_DB", db_options = db_options, worker_options = own,
    threads = threads, concurrency = concurrency, drain_us = own.drain_timeout_us, metrics = options.metrics,
    once = options.once or false, leader_file = options.leader_file,
    dashboard = options.dashboard, dashboard_token = token,
    dashboard_writes = options.allow_writes or false, dashboard_values = options.show_values or false,
  }
end

return {
  name = "worker",
  summary = "runs the event handlers of an app",
  text = {
    "Runs APP.lua in a Lua state per thread. It returns function(worker), which registers handlers:",
    "    local tito = require \"tito\"          -- tito.db is the database",
    "    return function(worker)",
    "      worker:on(\"email\", function(event, tx) print(event.payload.to) end)",
    "    end",
  },
  operands = "APP.lua", least = 1, most = 1, missing = "which file? Give APP.lua",
  without = { json = true, color = true },
  defaults = { ["log-level"] = "info" },
  options = {
    { name = "threads", value = "N", type = "integer", max = 256,
      help = "Lua states, each with a thread (default: the number of processors)" },
    { name = "concurrency", value = "N", type = "integer", max = 65536,
      help = "events in hand at once, in all threads (default: one per thread)" },
    { name = "handler-timeout", value = "S", type = "seconds", help = "after which a handler has failed (default: "
      .. "600)" },
    { name = "max-retries", value = "N", type = "integer", min = 0, max = 1000000,
      help = "of an event, before it has failed for good (default: 25)" },
    { name = "lease", value = "S", type = "seconds",
      help = "after which the partitions of a silent worker are taken over (default: 10)" },
    { name = "partitions", value = "FROM-TO", type = "range", max = 9999,
      help = "only these, TO excluded, without leases" },
    { name = "leader-file", value = "FILE", type = "file",
      help = "work while FILE is there (looked at each second), rest while it is not" },
    { name = "gc-retention", value = "S", type = "seconds", help = "have old versions removed (TiKV)" },
    { name = "once", type = "flag", help = "end when no event is due" },
    { name = "drain-timeout", value = "S", type = "seconds", default = 30,
      help = "how long handlers may go on after the first signal" },
    { name = "metrics", value = "HOST:PORT", type = "address",
      help = "serve /metrics (Prometheus) and /healthz; port 0: any" },
    { name = "dashboard", value = "PLACE", type = "text",
      help = "serve the page of tito dashboard beside the work: HOST:PORT (with --token-file), or unix:PATH" },
    { name = "token-file", value = "FILE", type = "file", help = "of the dashboard; made when there is none" },
    { name = "allow-writes", type = "flag", help = "events may be retried, dropped and replayed from the dashboard" },
    { name = "show-values", type = "flag", help = "payloads of events on the dashboard too" },
    { name = "log-format", value = "FORMAT", type = "choice", choices = { "line", "json" }, default = "line",
      help = "of the log on stderr" },
    { name = "json", type = "flag", help = "as --log-format json" },
  },
  log_format = function(options) return options.json and "json" or options.log_format end,
  examples = {
    "tito worker app.lua --db ./data",
    "tito worker app.lua --db tikv://pd1:2379,pd2:2379 --threads 8 --metrics 127.0.0.1:9100",
  },
  notes = {
    "Signals: SIGTERM and SIGINT drain, a second one ends at once; SIGHUP loads APP.lua again, and the handlers from"
      .. " before go on when it has an error.",
  },
  own_codes = true,
  codes = {
    { 0, "done" }, { 1, "the app or the database failed" }, { 2, "wrong usage" },
    { 3, "the time to drain has passed" }, { 4, "ended by a second signal" },
  },
  run = run,
}

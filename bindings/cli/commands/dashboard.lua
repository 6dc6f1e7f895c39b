--- `tito dashboard`: a page about queues, workers, tables and the engine, live; the work is dashboard/'s.
local PLACE = "127.0.0.1:8080"

--- The folder of an embedded database; nil: it is none.
local function folder_of(target)
  if target:find "^tikv://" or target:find "^memory:" then
    return nil
  end
  return (target:gsub("^rocksdb:", ""))
end

--- The token: of the file, or a new one; nil: none is needed. Second: what is wrong.
local function token_of(context, is_unix)
  local dashboard = context.cli.dashboard
  if is_unix then
    return nil
  elseif context.options.token_file then
    return dashboard.token_file(context.options.token_file)
  end
  return dashboard.token()
end

local function listening(context)
  local options = context.options
  local is_unix = options.listen:find "^unix:" ~= nil
  if not is_unix and not context.cli.is_address(options.listen) then
    return nil, context.misuse("--listen '%s': HOST:PORT, [HOST]:PORT or unix:PATH is expected", options.listen)
  elseif is_unix and options.token_file then
    return nil, context.misuse "--token-file does not go with a unix socket: its mode is the rule"
  end
  local token, wrong = token_of(context, is_unix)
  if wrong then
    return nil, context.fail(wrong)
  end
  return { listen = options.listen, token = token, hosts = options.allow_host, writes = options.allow_writes or false,
    signals = true }
end

local function tell_place(context, server, token)
  local url = token and ("http://%s/?token=%s"):format(server:place(), token) or "unix:" .. server:place()
  if context.out.json then
    context.out.value { url = url, token = token }
  else
    context.out.write(url .. "\n")
  end
  if token then
    if not server:place():find "^127%." and not server:place():find "^%[::1%]" then
      context.log("warn", "others can reach this address, and whoever is between can read the token: it is plain HTTP")
    end
  end
  io.stdout:flush()
end

local function run(context)
  local options, cli = context.options, context.cli
  local settings, code = listening(context)
  if not settings then
    return code
  end
  local db = context.open()
  local server = cli.dashboard.start(settings)
  if not server then
    return 1
  end
  local target = options.db or os.getenv "TITO_DB"
  local folder = folder_of(target)
  local ok, err = pcall(require("tito.cli.dashboard.loop").run, server, {
    db = db, interval = options.interval, clock = cli.clock, log = context.log, text_of = context.text_of,
    class_of = cli.class_of, version = cli.version, target = target, writes = settings.writes,
    values = options.show_values or false, page_token = server:page_token(),
    disk = folder and function() return (cli.machine.disk(folder)) end or nil,
    ready = function() tell_place(context, server, settings.token) end,
  })
  server:stop()
  if not ok then
    return context.fail(err)
  end
  return 0
end

return {
  name = "dashboard",
  summary = "serves a live page about queues, workers, tables and the engine",
  text = {
    "Serves a page that shows queues with their depth, lag, throughput and latency, workers, failed events, schedules,"
      .. " tables and the engine, live; and the same figures for Prometheus at /metrics. The address that it prints"
      .. " has a token: whoever has it may look, and with --allow-writes act. It speaks plain HTTP: from elsewhere use"
      .. " ssh -L, or a proxy with TLS.",
    "An embedded database belongs to one process, which is then the dashboard: no worker can have it open.",
  },
  existing = true, most = 0,
  without = { color = true },
  options = {
    { name = "listen", value = "PLACE", type = "text", default = PLACE, help = "HOST:PORT (port 0: any), or "
      .. "unix:PATH, a socket for its owner alone, without a token" },
    { name = "allow-writes", type = "flag", help = "events may be retried, dropped and replayed, types paused" },
    { name = "show-values", type = "flag", help = "payloads of events too" },
    { name = "token-file", value = "FILE", type = "file", help = "the token stands there; made when there is none "
      .. "(default: a new token each time)" },
    { name = "allow-host", value = "NAME", type = "text", many = true, help = "a name by which it may be called, "
      .. "besides localhost and addresses" },
    { name = "interval", value = "S", type = "seconds", min = 0.1, default = 2, help = "between samples, while "
      .. "somebody looks" },
  },
  examples = {
    "tito dashboard --db tikv://pd1:2379 --allow-writes",
    "tito dashboard --listen unix:/run/tito.sock --db ./data",
  },
  codes = { { 0, "ended by a signal" } },
  run = run,
}

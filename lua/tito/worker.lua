--- Workers: which function handles which events, and how long, how often, by whom.
--
--     worker:on("user", function(event, tx) … return true end)
--     worker:run()                                  -- until worker:stop(), SIGINT or SIGTERM
--
-- Foreign event loops watch worker:fd() and call worker:step(0). The loop itself is the driver's.
local driver = require "tito.driver"
local errors = require "tito.errors"
local event = require "tito.event"
local values = require "tito.values"

local worker = {}

local Worker = { __name = "tito.worker" }
Worker.__index = Worker

local DRAIN_TIMEOUT = 30

local OPTIONS = {
  concurrency = "number", partition_range = "ours", is_leader = "ours", retry = "ours", handler_timeout = "seconds",
  drain_timeout = "seconds", script = "ours", threads = "ours", signals = "ours", leased = "ours", lease = "seconds",
  gc = "ours", batch = "number",
}
local HANDLER_OPTIONS = {
  retry = "ours", handler_timeout = "seconds", concurrency = "number", key_concurrency = "number", rate = "ours",
  batch = "number",
}
local RETRY = { max_retries = "number", base = "seconds", factor = "ours", cap = "seconds", jitter = "ours" }

local function text_of(number, what)
  return ("%.6g"):format(errors.expect(number, "number", what))
end

-- ---- Options

--- Adds the policy of { max_retries, base, factor, cap } to the driver's options.
local function add_retry(out, retry)
  if retry == nil then
    return
  end
  local policy = values.options(retry, RETRY, "retry")
  out.max_retries, out.retry_base_us, out.retry_cap_us = policy.max_retries, policy.base_us, policy.cap_us
  if retry.factor ~= nil then
    out.retry_factor = text_of(retry.factor, "retry: factor")
  end
  if retry.jitter ~= nil then
    out.retry_jitter = text_of(retry.jitter, "retry: jitter")
  end
end

local function add_range(out, range)
  if range == nil then
    return
  end
  errors.expect(range, "table", "worker: partition_range")
  local from = errors.expect(range[1], "number", "worker: partition_range[1]")
  local to = errors.expect(range[2], "number", "worker: partition_range[2]")
  if from < 0 or to <= from or to > 9999 then
    errors.raise("invalid_argument", "worker: partition_range is { from, to }: 0 <= from < to <= 9999")
  end
  out.partition_from, out.partition_to = values.integer(from), values.integer(to)
end

local function driver_options(options)
  local out = values.options(options, OPTIONS, "worker")
  add_retry(out, options.retry)
  add_range(out, options.partition_range)
  if options.is_leader ~= nil then
    errors.expect(options.is_leader, "function", "worker: is_leader")
    out.leader = false
  end
  if options.leased ~= nil then
    out.leased = errors.expect(options.leased, "boolean", "worker: leased") and "true" or "false"
  end
  if options.gc ~= nil then
    out.gc_retention_us = values.options(options.gc, { retention = "seconds" }, "worker: gc").retention_us
  end
  return out
end

--- How many threads a script worker has, and how many events each of them.
local function shares(options, concurrency)
  local threads = values.integer(errors.expect(options.threads or 1, "number", "worker: threads"))
  return threads, math.max(1, math.ceil(concurrency / threads))
end

--- A worker of db. Raises when the options are not valid.
function worker.new(db, options)
  options = options or {}
  errors.expect(options, "table", "worker: the options")
  local out = driver_options(options)
  local concurrency = out.concurrency or 1
  local self = setmetatable({
    db = db, handlers = {}, signals = options.signals ~= false, is_leader = options.is_leader, started = false,
  }, Worker)
  if options.script ~= nil then
    self.script = errors.expect(options.script, "string", "worker: script")
    self.threads, self.each = shares(options, concurrency)
    concurrency = math.max(concurrency, self.threads)
  elseif options.threads ~= nil then
    errors.raise("invalid_argument", "worker: threads need a script, since a Lua state has one thread")
  end
  out.concurrency = values.integer(concurrency)
  local handle, err = driver.worker_new(db.handle, out, out.concurrency, options.drain_timeout or DRAIN_TIMEOUT)
  if not handle then
    errors.throw(err)
  end
  self.handle = handle
  if not self.script then
    driver.worker_functions(handle, event.server(self.handlers), options.is_leader)
  end
  return self
end

--- The worker of one state of a script worker (tito/script.lua).
function worker.of_script(db, handle, number)
  local self = setmetatable({ db = db, handle = handle, handlers = {}, member = number, started = true }, Worker)
  driver.worker_functions(handle, event.server(self.handlers))
  return self
end

-- ---- Running

--- Handles the events of a type with handler(event, tx). It acknowledges by returning nothing or a true value, fails
-- the event by nil and why, or by raising. options: retry, handler_timeout, concurrency, key_concurrency, rate, batch:
-- with batch = N it is handler(events, tx), of up to N events of different keys that commit together; a batch that
-- fails comes again in smaller ones, down to one event.
function Worker:on(type_name, handler, options)
  errors.expect(type_name, "string", "on: the type")
  errors.expect(handler, "function", "on: the handler")
  if self.script then
    errors.raise("invalid_state", "on: the script of a script worker registers its handlers")
  end
  if self.handlers[type_name] then
    errors.raise("already_exists", "on: the type '%s' has a handler already", type_name)
  end
  local out = values.options(options, HANDLER_OPTIONS, "on")
  add_retry(out, options and options.retry)
  if options and options.rate ~= nil then
    out.rate = text_of(options.rate, "on: rate")
  end
  local ok, err = driver.worker_on(self.handle, type_name, out)
  if not ok then
    errors.throw(err)
  end
  self.handlers[type_name] = handler
  return self
end

local function own_loop(self, name)
  if self.member then
    errors.raise("invalid_state", "%s: a script worker is run by the program that made it", name)
  end
end

local function start(self)
  if self.started then
    return true
  end
  local ok, err = driver.worker_start(self.handle)
  self.started = ok or false
  return ok, err
end

--- Runs until the worker is stopped: true when everything that had started ended in time, else nil and an error.
function Worker:run()
  own_loop(self, "run")
  if self.script then
    return driver.script_run(self.handle, self.db.handle, self.script, self.threads, self.each, package.path,
      package.cpath, self.signals, self.is_leader)
  end
  local ok, err = start(self)
  if not ok then
    return nil, err
  end
  return driver.worker_run(self.handle, self.signals)
end

local function single(self, name)
  own_loop(self, name)
  if self.script then
    errors.raise("invalid_state", "%s: a script worker has a loop in each of its threads: use run", name)
  end
end

--- One turn that waits at most ms milliseconds: true while the worker goes on, false when it has ended; or nil and an
-- error.
function Worker:step(ms)
  single(self, "step")
  errors.expect(ms or 0, "number", "step: the milliseconds")
  local ok, err = start(self)
  if not ok then
    return nil, err
  end
  return driver.worker_step(self.handle, (ms or 0) / 1000)
end

--- A descriptor that is readable when step has something to do.
function Worker:fd()
  single(self, "fd")
  local ok, err = start(self)
  if not ok then
    return nil, err
  end
  return driver.worker_fd(self.handle)
end

--- Takes no new events; what has started may end within drain_timeout seconds. Does not wait.
function Worker:stop(drain_timeout)
  if drain_timeout ~= nil then
    errors.expect(drain_timeout, "number", "stop: the drain timeout")
  end
  driver.worker_stop(self.handle, drain_timeout)
end

return worker

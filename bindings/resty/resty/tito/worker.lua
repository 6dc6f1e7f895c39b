--- Workers whose handlers run in Lua: the loop.
--
--     turn:  ask is_leader (each second) ── while there is room: take, start a task for each event
--     task:  in nginx a timer of its own (its sockets and memory go with it), which goes on with the next event that
--            is ready; elsewhere a coroutine, resumed each turn
--
-- In nginx the loop is a light thread too. It rests in a bell, which is rung when the library says by the completion
-- queue (wait.lua) that events are ready, and when a task, the worker or nginx ends.
--
-- INVARIANTS
--  1. At most `concurrency` handlers of a worker run at once.
--  2. The event's transaction is taken back before the event is settled; an event is settled once, then freed.
--  3. Who rests has taken fewer events than it had room for, so that the library tells of the next one, or has no room,
--     so that the end of a task does.
--  4. After CLOSED nothing is taken; the loop ends when the last task has, or when the time to drain has passed.
local library = require "resty.tito.library"
local database = require "resty.tito.database"
local errors = require "tito.errors"
local handle = require "resty.tito.handle"
local json = require "resty.tito.json"
local operations = require "resty.tito.operations"
local wait = require "resty.tito.wait"

local ffi, lib = library.ffi, library.lib
local box, check = handle.error_box, handle.check

local worker = {}

local TAKE_MAX, FAILURE_MAX, REST_MIN, REST_MAX, TASK_EVENTS_MAX, AGAIN_SECONDS = 64, 4000, 0.001, 60, 100, 1

local function seconds()
  if wait.in_nginx then
    ngx.update_time()
    return ngx.now()
  end
  return tonumber(lib.tito_now_us()) / 1e6
end

-- ---- Events

local TEXTS = { id = lib.TITO_EVENT_ID, type = lib.TITO_EVENT_TYPE, key = lib.TITO_EVENT_KEY,
  sequence = lib.TITO_EVENT_SEQUENCE, action = lib.TITO_EVENT_ACTION, entity = lib.TITO_EVENT_ENTITY,
  entity_id = lib.TITO_EVENT_ENTITY_ID, last_error = lib.TITO_EVENT_LAST_ERROR }
local VALUES = { references = lib.TITO_EVENT_REFERENCES, payload = lib.TITO_EVENT_PAYLOAD }

--- What is known of an event. Raises the error of a part that can not be read.
local function fields_of(ptr)
  local event = {}
  for name, field in pairs(TEXTS) do
    event[name] = handle.text_of(lib.tito_event_text(ptr, field))
  end
  for name, field in pairs(VALUES) do
    local text = lib.tito_event_text(ptr, field)
    if text.len > 0 then
      local value, err = handle.decode(text.data, text.len)
      if value == nil then
        error(err, 0)
      end
      event[name] = value
    end
  end
  event.partition = tonumber(lib.tito_event_int(ptr, lib.TITO_EVENT_PARTITION))
  event.attempts = tonumber(lib.tito_event_int(ptr, lib.TITO_EVENT_ATTEMPTS))
  event.timestamp = tonumber(lib.tito_event_int(ptr, lib.TITO_EVENT_TIMESTAMP)) / 1e6
  return event
end

local has_batches = pcall(function() return lib.tito_event_count end)

--- The table of an event for its handler, or the list of a batch's.
local function event_table(h)
  local count = has_batches and tonumber(lib.tito_event_count(h.ptr)) or 0
  local event = { batch = true }
  if count == 0 then
    event = fields_of(h.ptr)
  end
  for i = 1, count do
    event[i] = fields_of(lib.tito_event_member(h.ptr, i - 1))
  end
  event.handle = h
  return event
end

--- The handle of its transaction, the same each time.
function worker.event_txn(event)
  check(event, "event")
  if event.txn then
    return event.txn
  end
  local out = ffi.new("tito_txn_t *[1]")
  local status = lib.tito_event_txn(event.ptr, out, box)
  if status ~= lib.TITO_OK then
    return handle.fail_box(status)
  end
  event.txn = operations.lend_txn(event.db, out[0])
  return event.txn
end

function worker.event_expired(event)
  return event.ptr == nil or lib.tito_event_expired(event.ptr) ~= 0
end

--- Text as an event keeps it: cut at a character's boundary, and without what is not UTF-8.
local function clean(text)
  local cut = text:sub(1, FAILURE_MAX)
  while #cut < #text and #cut > FAILURE_MAX - 4 and not json.is_utf8(cut) do
    cut = cut:sub(1, -2)
  end
  return json.is_utf8(cut) and cut or (cut:gsub("[\128-\255]", "?"))
end

local function fail_event(ptr, text)
  text = clean(text)
  lib.tito_event_fail(ptr, text, #text)
end

local function settle(ptr, kind, value)
  if kind == "acknowledge" then
    lib.tito_event_acknowledge(ptr)
  elseif kind == "fail" and type(value) == "string" then
    fail_event(ptr, value)
  elseif kind == "reschedule" and type(value) == "number" then
    lib.tito_event_reschedule(ptr, ffi.cast("int64_t", math.floor(value * 1e6 + 0.5)))
  elseif kind == "advance" and type(value) == "string" then
    lib.tito_event_advance(ptr, value, #value)
  else
    fail_event(ptr, "the handler's outcome is not known")
  end
end

--- How the i-th event of a batch ends when the batch is acknowledged.
function worker.event_say(batch, i, kind, value)
  check(batch, "event")
  settle(lib.tito_event_member(batch.ptr, i - 1), kind, value)
end

--- Ends an event by an outcome; nothing when it has ended.
local function finish(self, event, kind, value)
  if event.ended then
    return
  end
  if event.txn then
    event.txn.ptr, event.txn.ended = nil, true
  end
  local ptr = handle.take(event)
  settle(ptr, kind, value)
  lib.tito_event_free(ptr)
  self.tasks[event] = nil
  self.running = self.running - 1
end

local function traced(raised)
  return debug.traceback(errors.text(raised), 2)
end

--- Calls the handler. May yield.
local function serve(self, event)
  local ok, kind, value = xpcall(function() return self.serve(event_table(event)) end, traced)
  if ok then
    finish(self, event, kind, value)
  else
    finish(self, event, "fail", type(kind) == "string" and kind or "the handler failed")
  end
end

-- ---- Taking

local events_box, count_box = ffi.new("tito_event_t *[?]", TAKE_MAX), ffi.new("size_t[1]")

--- Takes up to max events, waiting for the first so long: their handles; nil and an error. Sets closed.
local function take(self, max, wait_us)
  local taken = {}
  local status = lib.tito_worker_take(self.ptr, events_box, math.min(max, TAKE_MAX), wait_us, count_box, box)
  if status == lib.TITO_CLOSED then
    lib.tito_error_free(box[0])
    self.closed = true
    return taken
  elseif status ~= lib.TITO_OK then
    return handle.fail_box(status)
  end
  for i = 0, tonumber(count_box[0]) - 1 do
    local event = handle.new("event", self.db, ffi.gc(events_box[i], lib.tito_event_free))
    taken[#taken + 1] = event
    self.tasks[event] = true
    self.running = self.running + 1
  end
  return taken
end

local timer_task

--- The event, then those that are ready, for a while.
local function serve_some(self, event)
  for _ = 1, TASK_EVENTS_MAX do
    serve(self, event)
    if self.closed or self.over or self.running >= self.concurrency then
      return
    end
    local taken = take(self, 1, 0)
    event = taken and taken[1]
    if not event then
      return
    end
  end
  if not ngx.timer.at(0, timer_task, self, event) then
    serve(self, event)
  end
end

--- A task in a timer.
function timer_task(_, self, event)
  serve_some(self, event)
  self.bell.ring()
end

local function start_task(self, event)
  if not wait.in_nginx then
    self.tasks[event] = coroutine.create(function() serve(self, event) end)
    return
  end
  local ok, why = ngx.timer.at(0, timer_task, self, event)
  if not ok then
    finish(self, event, "fail", "nginx can not start a timer for the handler: " .. tostring(why))
  end
end

--- Outside of nginx: lets every coroutine go on.
local function resume_all(self)
  local all = {}
  for event, task in pairs(self.tasks) do
    all[event] = task
  end
  for event, task in pairs(all) do
    if task ~= true and self.tasks[event] == task then
      coroutine.resume(task)
    end
  end
end

-- ---- The loop

local function ask_leader(self, now)
  if not self.is_leader or now < (self.leader_at or 0) then
    return
  end
  self.leader_at = now + 1
  local ok, leads = pcall(self.is_leader)
  if not ok then
    wait.warn("is_leader failed, so this worker rests: " .. errors.text(leads))
  end
  lib.tito_worker_set_leader(self.ptr, ok and leads and 1 or 0)
end

--- Gives up what still runs when the time to drain has passed.
local function give_up(self)
  self.over = true
  local all = {}
  for event in pairs(self.tasks) do
    all[#all + 1] = event
  end
  for _, event in ipairs(all) do
    self.gave_up = true
    finish(self, event, "fail", "the worker stopped before the handler had ended")
  end
end

--- Looks once: how many events were taken; or nil and an error. wait_us: how long to wait for the first, outside of
-- nginx, whose thread may not; and only when nothing runs.
local function turn(self, wait_us)
  local now = seconds()
  if wait.in_nginx and ngx.worker.exiting() and not self.stop_at then
    worker.worker_stop(self)
  end
  if self.stop_at and now >= self.stop_at then
    give_up(self)
  end
  ask_leader(self, now)
  local room = self.concurrency - self.running
  if self.closed or room <= 0 then
    return 0
  end
  local taken, err = take(self, room, not wait.in_nginx and self.running == 0 and wait_us or 0)
  if not taken then
    return nil, err
  end
  for _, event in ipairs(taken) do
    start_task(self, event)
  end
  return #taken
end

local function has_ended(self)
  return self.closed and self.running == 0
end

local function join(self)
  if self.hear_no_more then
    self.hear_no_more()
  end
  local drained, err = database.run(self.db, "run", function() return lib.tito_worker_join(self.ptr) end,
    function(future) return lib.tito_future_int(future) ~= 0 end)
  if drained == nil then
    return nil, err
  end
  if not drained or self.gave_up then
    return handle.fail_text(lib.TITO_TIMEOUT,
      "the worker stopped before every handler had ended: the time to drain has passed")
  end
  return true
end

--- Raises when the worker's loop runs already: a handler can not run the loop of its own worker.
local function enter(self)
  if self.in_turn then
    errors.raise("invalid_state", "the worker runs already: a handler can not run or step its own worker")
  end
  self.in_turn = true
end

--- In nginx, before the first turn: true; or nil and an error.
local function hear(self)
  if not wait.in_nginx or self.bell then
    return true
  end
  local bell = wait.bell()
  local status, hear_no_more = wait.often(function(cq, tag)
    return lib.tito_worker_watch(self.ptr, cq, tag, box)
  end, bell.ring)
  if status ~= lib.TITO_OK then
    return handle.fail_box(status)
  end
  self.bell, self.hear_no_more = bell, hear_no_more
  return true
end

--- In nginx, after a turn that took so many: rests until there may be more to do, at most so many seconds.
local function rest(self, count, longest)
  local till = math.min(self.stop_at or math.huge, self.is_leader and self.leader_at or math.huge) - ngx.now()
  if count > 0 then
    till = REST_MIN
  end
  self.bell.rest(math.max(REST_MIN, math.min(till, longest)))
end

local function loop(self)
  local heard, why = hear(self)
  if not heard then
    return nil, why
  end
  while not has_ended(self) do
    local count, err = turn(self, 100000)
    if not count then
      return nil, err
    end
    if not wait.in_nginx then
      resume_all(self)
    elseif not has_ended(self) then
      rest(self, count, REST_MAX)
    end
  end
  return join(self)
end

-- ---- The driver's functions

--- Makes the library's worker, with the types said so far: true; or nil and an error. The database is open.
local function make(self)
  if self.ptr then
    return true
  end
  local out = ffi.new("tito_worker_t *[1]")
  local status = lib.tito_worker_new(self.db.ptr, handle.options(self.given), out, box)
  if status ~= lib.TITO_OK then
    return handle.fail_box(status)
  end
  local ptr = ffi.gc(out[0], lib.tito_worker_free)
  for _, known in ipairs(self.types) do
    local name, given = known.name, known.given
    status = lib.tito_worker_on(ptr, name, #name, handle.options(given), nil, nil, box)
    if status ~= lib.TITO_OK then
      return handle.fail_box(status)
    end
  end
  self.ptr = ptr
  return true
end

--- A worker; the library's is made at once when the database is open, else when it begins.
function worker.worker_new(db, given, concurrency, drain)
  check(db, "db")
  if not db.ptr then
    errors.raise("invalid_state", "worker: workers are made after db:open(), in init_worker_by_lua")
  end
  local self = handle.new("worker", db)
  self.given, self.types, self.concurrency, self.drain, self.running, self.tasks = given, {}, concurrency, drain, 0, {}
  if db.state == "open" or db.state == "closed" then
    local ok, err = make(self)
    if not ok then
      return nil, err
    end
  end
  return self
end

function worker.worker_functions(self, serve_function, is_leader)
  self.serve, self.is_leader = serve_function, is_leader
end

function worker.worker_on(self, type_name, given)
  check(self, "worker")
  self.types[#self.types + 1] = { name = type_name, given = given }
  if not self.ptr then
    return true
  end
  local status = lib.tito_worker_on(self.ptr, type_name, #type_name, handle.options(given), nil, nil, box)
  if status ~= lib.TITO_OK then
    return handle.fail_box(status)
  end
  return true
end

local function begin(self)
  local ok, err = database.ready(self.db, "run")
  if ok then
    ok, err = make(self)
  end
  if not ok then
    return nil, err
  end
  return database.run(self.db, "run", function() return lib.tito_worker_begin(self.ptr) end, operations.results.yes)
end

--- Where nothing can wait (init_worker_by_lua) the worker begins in the background: see worker_run.
function worker.worker_start(self)
  check(self, "worker")
  if wait.has_worker() and not wait.is_possible() then
    self.background = true
    return true
  end
  return begin(self)
end

function worker.worker_stop(self, drain)
  check(self, "worker")
  drain = drain or self.drain
  self.stop_at = math.min(self.stop_at or math.huge, seconds() + drain)
  if self.ptr then
    lib.tito_worker_stop(self.ptr, handle.microseconds(drain))
  end
  if self.bell then
    self.bell.ring()
  end
end

function worker.worker_fd(self)
  if wait.in_nginx then
    errors.raise("unsupported", "fd: nginx watches no foreign descriptors: use run or step")
  end
  return lib.tito_worker_fd(check(self, "worker").ptr)
end

local function step(self, pause)
  local heard, why = hear(self)
  if not heard then
    return nil, why
  end
  local count, err = turn(self, pause * 1e6)
  if count and not wait.in_nginx then
    resume_all(self)
  elseif count and not has_ended(self) then
    rest(self, count, pause)
    count, err = turn(self, 0) -- what came meanwhile
  end
  return count, err
end

--- A turn of at most so many seconds: true while the worker goes on, false when it has ended; or nil and an error.
function worker.worker_step(self, pause)
  check(self, "worker")
  enter(self)
  local ok, count, err = pcall(step, self, pause)
  self.in_turn = false
  if not ok then
    error(count, 0)
  elseif not count then
    return nil, err
  elseif not has_ended(self) then
    return true
  end
  local joined, why = join(self)
  if not joined then
    return nil, why
  end
  return false
end

--- In a timer of the nginx worker: begins, as often as it takes, and runs.
local function in_background(_, self)
  local counts = self.db.counts
  local ok, done, err = pcall(function()
    local begun, why = begin(self)
    if not begun then
      return nil, why
    end
    if self.stop_at then
      lib.tito_worker_stop(self.ptr, handle.microseconds(self.drain))
    end
    return loop(self)
  end)
  counts.workers = counts.workers - 1
  if ok and done then
    return
  end
  err = ok and err or done
  if ngx.worker.exiting() or errors.is(err) and err.code == "closed" then
    return
  end
  ngx.log(ngx.ERR, "tito: a worker has ended: ", errors.text(err))
  if errors.is(err) and err.retryable then
    counts.workers = counts.workers + 1
    if not ngx.timer.at(AGAIN_SECONDS, in_background, self) then
      counts.workers = counts.workers - 1
    end
  end
end

--- Runs until the worker is stopped. In the background (see worker_start): returns true at once.
function worker.worker_run(self)
  check(self, "worker")
  local counts = self.db.counts
  enter(self)
  counts.workers = counts.workers + 1
  if self.background then
    local ok, why = ngx.timer.at(0, in_background, self)
    if not ok then
      counts.workers, self.in_turn = counts.workers - 1, false
      return handle.fail_text(lib.TITO_UNAVAILABLE, "the worker can not be started: " .. tostring(why))
    end
    return true
  end
  local ok, done, err = pcall(loop, self)
  counts.workers, self.in_turn = counts.workers - 1, false
  if not ok then
    error(done, 0)
  end
  return done, err
end

function worker.script_run()
  errors.raise("unsupported", "run: a script worker has threads, which this host has not: make one worker per process")
end

return worker

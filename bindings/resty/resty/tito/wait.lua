--- Waiting for futures: in nginx without blocking, elsewhere in the calling thread.
--
--     a light thread                          the library's threads             the pump (one timer of the worker)
--     watch(future, tag) ── semaphore.wait        … run it, tag into the queue ── one byte ──> receiveany, drain,
--            ^──────────────────────────────────────────────────────────────────────────────── semaphore.post
--
-- The queue's socket lies for a moment in a folder of its own (0700): the pump connects, the library accepts and
-- removes it. A heartbeat byte each quarter of a second keeps the read from timing out, and lets the pump see that
-- nginx leaves.
--
-- INVARIANTS
--  1. waiting[tag] holds the future until its completion comes: then the tag is taken out, whoever still waits.
--  2. A semaphore goes back to the pool only from the thread that was woken by it.
--  3. Who rests in a bell is woken by each ring that came after its last rest began.
--  4. Nothing is created before it is needed, so never in nginx's master process.
local library = require "resty.tito.library"
local errors = require "tito.errors"
local handle = require "resty.tito.handle"

local ffi, lib = library.ffi, library.lib

local wait = { in_nginx = type(ngx) == "table" and ngx.get_phase ~= nil and ngx.timer ~= nil }

local HEARTBEAT_US, DRAIN_MAX, POOL_MAX = 250000, 256, 1024
local LONG_MS, LOOK_SECONDS, TELL_SECONDS, POLL_SECONDS = 24 * 3600 * 1000, 60, 0.1, 0.005

local box = handle.error_box

-- ---- Phases

local CAN_WAIT = { rewrite = true, server_rewrite = true, access = true, content = true, timer = true,
  ssl_cert = true, ssl_session_fetch = true, ssl_client_hello = true, preread = true }

--- Whether the calling code may wait.
function wait.is_possible()
  return not wait.in_nginx or CAN_WAIT[ngx.get_phase()] == true
end

--- Whether timers may be made here: everywhere but in nginx's master process.
function wait.has_worker()
  return wait.in_nginx and ngx.get_phase() ~= "init"
end

--- A line for the operator.
function wait.warn(text)
  if wait.in_nginx then
    ngx.log(ngx.WARN, "tito: ", text)
  else
    io.stderr:write("tito: ", text, "\n")
  end
end

--- Raises where waiting is impossible; what: the operation, or nil.
function wait.expect(what)
  if wait.is_possible() then
    return
  end
  local phase = ngx.get_phase()
  if phase == "init" then
    errors.raise("invalid_state", "%s: in init_by_lua there are tito.new, db:model and db:queue alone", what)
  end
  errors.raise("invalid_state", "%s: tito can not wait in %s_by_lua; queue:publish without a transaction can be "
    .. "called there, everything in a timer (ngx.timer.at)", what, phase)
end

--- nginx logs what is raised only when it is text: so it is where nobody catches it, while the configuration is read
-- and a worker starts.
local plain_raised = errors.raised
function errors.raised(err)
  if wait.in_nginx then
    local phase = ngx.get_phase()
    if phase == "init" or phase == "init_worker" then
      return tostring(err)
    end
  end
  return plain_raised(err)
end

-- ---- The queue of this nginx worker

local state = nil -- { cq, pumping }
local waiting, inflight, last_tag = {}, 0, 0
local pool = {}
local tags = ffi.new("uint64_t[?]", DRAIN_MAX)
local at_exit = {} -- functions that say whether they have finished
local bells = setmetatable({}, { __mode = "k" })
local ticks = 0

local function drain(cq)
  repeat
    local count = tonumber(lib.tito_cq_drain(cq, tags, DRAIN_MAX))
    for i = 0, count - 1 do
      local tag = tonumber(tags[i])
      local entry = waiting[tag]
      if entry and entry.heard then
        entry.heard()
      elseif entry then
        waiting[tag] = nil
        inflight = inflight - 1
        entry.done = true
        if entry.ended then
          entry.ended()
        else
          entry.semaphore:post(1)
        end
      end
    end
  until count < DRAIN_MAX
end

--- The connection to the queue, or nil and why not.
local function connect(cq)
  local template = ffi.new("char[?]", 64, (os.getenv("TMPDIR") or "/tmp"):sub(1, 40) .. "/tito-XXXXXX")
  if ffi.C.mkdtemp(template) == nil then
    return nil, "no folder for a socket can be made in TMPDIR or /tmp"
  end
  local folder = ffi.string(template)
  local status = lib.tito_cq_listen(cq, folder .. "/cq", box)
  local socket, why
  if status == lib.TITO_OK then
    socket = ngx.socket.tcp()
    socket:settimeouts(10000, 10000, LONG_MS)
    local connected
    connected, why = socket:connect("unix:" .. folder .. "/cq")
    status = connected and lib.tito_cq_accept(cq, HEARTBEAT_US, box) or status
  end
  os.remove(folder .. "/cq")
  ffi.C.rmdir(folder)
  if status ~= lib.TITO_OK then
    local _, err = handle.fail_box(status)
    return nil, tostring(err)
  end
  return not why and socket or nil, why
end

--- Whether everything that is to be done before nginx leaves has been done.
local function is_over()
  if not ngx.worker.exiting() or inflight > 0 then
    return false
  end
  for _, finished in ipairs(at_exit) do
    if not finished(ticks) then
      return false
    end
  end
  return inflight == 0
end

--- Those who rest look whether nginx leaves.
local function ring_at_exit()
  if ngx.worker.exiting() then
    for bell in pairs(bells) do
      bell.ring()
    end
  end
end

--- Sleeps until something may have come: true, or false when the socket does not work.
local function rest(socket)
  if not socket then
    ngx.sleep(POLL_SECONDS)
    return false
  end
  local data, why = socket:receiveany(4096)
  if not data then
    ngx.log(ngx.ERR, "tito: the completion socket failed, so completions are polled for: ", why)
    return false
  end
  return true
end

local function pump(_, mine)
  local socket, why = connect(mine.cq)
  if not socket then
    ngx.log(ngx.ERR, "tito: no completion socket, so completions are polled for: ", why)
  end
  while true do
    drain(mine.cq)
    ticks = ticks + 1
    ring_at_exit()
    if is_over() then
      break
    end
    if not rest(socket) then
      socket = nil
    end
  end
  if socket then
    socket:close()
  end
  state = nil
  lib.tito_cq_free(mine.cq)
end

--- The queue of this process; the first call starts the pump. Raises when it can not.
local function queue()
  if state then
    return state.cq
  end
  local cq_box = ffi.new("tito_cq_t *[1]")
  local status = lib.tito_cq_new(cq_box, box)
  if status ~= lib.TITO_OK then
    error(select(2, handle.fail_box(status)), 0)
  end
  local mine = { cq = cq_box[0] }
  local ok, why = ngx.timer.at(0, pump, mine)
  if not ok then
    lib.tito_cq_free(mine.cq)
    errors.raise("unavailable", "the pump of completions can not be started: %s", tostring(why))
  end
  state = mine
  return mine.cq
end

--- Runs finished(tick) at each heartbeat of a leaving nginx worker while nothing is under way, until it answers true.
function wait.before_exit(finished)
  at_exit[#at_exit + 1] = finished
end

function wait.inflight()
  return inflight
end

-- ---- Waiting

local function new_tag()
  last_tag = last_tag + 1
  return last_tag
end

--- Has entry wait for the tag when what announces it has begun well. The status.
local function enter(entry, tag, status)
  if status == lib.TITO_OK then
    waiting[tag] = entry
    inflight = inflight + 1
  end
  return status
end

local function watch(future, entry, error_box)
  local cq, tag = queue(), new_tag()
  entry.future = future
  return enter(entry, tag, lib.tito_future_watch(future, cq, tag, error_box))
end

--- Waits for entry.done. false: nginx would not let this thread wait. tell: called now and then, or nil.
local function sleep(entry, tell)
  while not entry.done do
    local ok, why = entry.semaphore:wait(tell and TELL_SECONDS or LOOK_SECONDS)
    if not ok and why ~= "timeout" then
      return false
    elseif tell and not entry.done then
      tell()
    end
  end
  return true
end

local function new_semaphore()
  local semaphore = table.remove(pool)
  if semaphore then
    return semaphore
  end
  return assert(require("ngx.semaphore").new(0))
end

local function give(semaphore)
  if #pool < POOL_MAX and semaphore:count() == 0 then
    pool[#pool + 1] = semaphore
  end
end

--- Waits in the calling thread.
local function plain_status(future, tell)
  while tell and lib.tito_future_wait(future, TELL_SECONDS * 1e6, nil) == lib.TITO_TIMEOUT
    and lib.tito_future_ready(future) == 0 do
    tell()
  end
  return lib.tito_future_wait(future, -1, box)
end

--- Waits for a future of the library (with a finalizer): its status. Its error, if any, is in handle.error_box.
-- tell: nil, or called now and then meanwhile; kept: what must live until the future is ready.
function wait.status(future, tell, kept)
  if not wait.in_nginx then
    return plain_status(future, tell)
  end
  local entry = { semaphore = new_semaphore(), kept = kept }
  local status = watch(future, entry, box)
  if status ~= lib.TITO_OK then
    return status
  end
  if not sleep(entry, tell) then
    box[0] = nil
    return lib.TITO_CANCELLED
  end
  give(entry.semaphore)
  return lib.tito_future_wait(future, 0, box)
end

--- Has ended() called when the future is ready, in the pump: it must not yield. Nobody waits. The status of
-- the beginning; also called by finalizers, so it leaves error_box alone.
function wait.later(future, ended)
  return watch(future, { ended = ended }, nil)
end

--- The same for what is no future: start(cq, tag) begins it and answers its status.
function wait.told(start, ended)
  local cq, tag = queue(), new_tag()
  return enter({ ended = ended }, tag, start(cq, tag))
end

--- Has heard() called whenever the tag of start(cq, tag) comes, in the pump: it must not yield. The status of start,
-- and a function after which it is not called any more.
function wait.often(start, heard)
  local cq, tag = queue(), new_tag()
  local status = start(cq, tag)
  if status == lib.TITO_OK then
    waiting[tag] = { heard = heard }
  end
  return status, function() waiting[tag] = nil end
end

--- What one light thread rests in until others ring: { rest(seconds), ring() }. A ring while nobody rests ends the next
-- rest at once; a leaving nginx worker rings each bell at each heartbeat.
function wait.bell()
  local semaphore, rung, resting = new_semaphore(), false, false
  local bell = {
    rest = function(seconds)
      if not rung then
        resting = true
        local ok, why = semaphore:wait(seconds)
        resting = false
        if not ok and why ~= "timeout" then
          ngx.sleep(POLL_SECONDS)
        end
      end
      rung = false
    end,
    ring = function()
      if resting and not rung then
        semaphore:post(1)
      end
      rung = true
    end,
  }
  bells[bell] = true
  return bell
end

--- A thing to wait for that others announce: { wait(), post() }.
function wait.gate()
  local sleepers, open = {}, false
  return {
    wait = function()
      if not open then
        local entry = { semaphore = new_semaphore() }
        sleepers[#sleepers + 1] = entry
        if sleep(entry) then
          give(entry.semaphore)
        end
      end
    end,
    open = function()
      open = true
      for _, entry in ipairs(sleepers) do
        entry.done = true
        entry.semaphore:post(1)
      end
      sleepers = {}
    end,
    waiters = function()
      return #sleepers
    end,
  }
end

return wait

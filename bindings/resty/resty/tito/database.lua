--- Databases: made by the configuration, opened by an nginx worker; and running an operation of one.
--
--     tito.new ──> declared ── db:open() ──> opening ──┬──> open ── db:close(), or nginx leaves ──> closed
--     (init_by_lua: nothing                  ^         └──> failed ──┐       (in a thread of the library's)
--      but Lua tables)                       └─────── again in 1 s ──┘
--
-- Operations called while it is opening wait for it; when it has failed they answer why.
--
-- INVARIANTS
--  1. In the declared state there is no pointer: a check of the declarations makes them and frees them at once.
--     Pointers are made in the process that uses them, since the library's do not outlive a fork.
--  2. What depends on a database (children) gets its pointer when the database gets its own.
--  3. A database is closed only while none of its operations is under way.
local library = require "resty.tito.library"
local errors = require "tito.errors"
local handle = require "resty.tito.handle"
local wait = require "resty.tito.wait"

local ffi, lib = library.ffi, library.lib
local box = handle.error_box

local database = {}

local OPEN_WAIT_US, AGAIN_SECONDS, QUIET_TICKS = 30 * 1000000, 1, 2

-- ---- Pointers

local function new_pointer(self)
  handle.expect_life()
  local out = ffi.new("tito_db_t *[1]")
  local options = handle.options(self.options)
  local status = lib.tito_db_new(self.target, #self.target, options, out, box)
  if status ~= lib.TITO_OK then
    return handle.fail_box(status)
  end
  return ffi.gc(out[0], lib.tito_db_free)
end

--- A handle of what depends on self and needs no connection (a model, a queue). make(db pointer): its pointer, or nil
-- and an error.
function database.child(self, kind, make)
  handle.check(self, "db")
  local child = handle.new(kind, self)
  child.make = make
  local db_ptr, ptr, err = self.ptr
  if not db_ptr then -- declared: everything is made once to see what is wrong with it
    db_ptr, err = new_pointer(self)
    if not db_ptr then
      return nil, err
    end
  end
  ptr, err = make(db_ptr)
  if not ptr then
    return nil, err
  end
  if self.ptr then
    child.ptr = ptr
  else
    self.children[#self.children + 1] = child
  end
  return child
end

-- ---- Opening

local function set_pointer(self)
  local ptr, err = new_pointer(self)
  if not ptr then
    return nil, err
  end
  for _, child in ipairs(self.children) do
    child.ptr, err = child.make(ptr)
    if not child.ptr then
      return nil, err
    end
  end
  self.ptr = ptr
  return true
end

local function new(target, options)
  local self = handle.new("db")
  self.target, self.options, self.children, self.state = target, options, {}, "declared"
  self.counts, self.used_at = { transactions = 0, workers = 0 }, 0
  return self
end

--- A database that is declared, and nothing else. Raises when target or options are not valid.
function database.new(target, options)
  local self = new(target, options)
  local ok, err = new_pointer(self)
  if not ok then
    errors.throw(err)
  end
  return self
end

--- Opens and waits: a handle; or nil and an error.
function database.connect(target, options, log)
  wait.expect("connect")
  if log then
    errors.raise("unsupported", "connect: log can not be a function here, since lines come from other threads; they "
      .. "go to standard error, which nginx writes into its error log")
  end
  local self = new(target, options)
  local ok, err = set_pointer(self)
  if not ok then
    return nil, err
  end
  local future = ffi.gc(lib.tito_db_open(self.ptr), lib.tito_future_free)
  local status = wait.status(future)
  if status ~= lib.TITO_OK then
    return handle.fail_box(status)
  end
  self.state = "open"
  return self
end

local function is_embedded_folder(target)
  return not target:find("^tikv:") and not target:find("^memory:")
end

--- Raises when several nginx workers would open one directory.
local function check_workers(self)
  local count = ngx.worker.count()
  if is_embedded_folder(self.target) and count > 1 then
    local message = ("open: the embedded engine is open in one process at a time, so it needs worker_processes 1, "
      .. "not %d (worker %s, pid %d)"):format(count, tostring(ngx.worker.id()), ngx.worker.pid())
    self.state, self.failure = "failed", errors.new("invalid_state", message)
    errors.raise("invalid_state", message)
  end
end

local function opened(self, status)
  local gate = self.gate
  if status == lib.TITO_OK then
    self.state, self.failure = "open", nil
  else
    local _, err = handle.fail_box(status)
    self.state, self.failure = "failed", err
  end
  self.future = nil
  gate.open()
end

local begin_open

local function open_again(premature, self)
  if not premature and self.state == "failed" and not self.closing then
    begin_open(self)
  end
end

function begin_open(self)
  self.gate = wait.gate()
  self.state = "opening"
  local future = ffi.gc(lib.tito_db_open(self.ptr), lib.tito_future_free)
  self.future = future
  local status = wait.later(future, function()
    opened(self, lib.tito_future_wait(future, 0, box))
    if self.state == "failed" and not self.closing and not ngx.worker.exiting() then
      ngx.log(self.failure.retryable and ngx.WARN or ngx.ERR, "tito: the database can not be opened: ",
        tostring(self.failure))
      if self.failure.retryable then
        ngx.timer.at(AGAIN_SECONDS, open_again, self)
      end
    end
  end)
  if status ~= lib.TITO_OK then
    opened(self, status)
  end
end

--- Begins to close; self.closing is the gate that opens then. A failure's status and error are in box.
local function begin_close(self)
  local gate = wait.gate()
  local status = wait.told(function(cq, tag) return lib.tito_db_close_watch(self.ptr, cq, tag, box) end, function()
    self.state = "closed"
    gate.open()
  end)
  if status == lib.TITO_OK then
    self.closing = gate
  end
  return status
end

--- For wait.before_exit: closes when what uses the database has ended, and nothing has used it for two heartbeats.
local function leave(self, tick)
  if self.state == "opening" and self.gate.waiters() == 0 then
    lib.tito_future_cancel(self.future)
    return false
  end
  if self.state ~= "open" then
    return true
  end
  self.used_at = math.min(self.used_at, tick)
  if self.counts.transactions > 0 then
    collectgarbage() -- some may be of requests that have ended
  end
  if self.counts.workers > 0 or self.counts.transactions > 0 or tick - self.used_at < QUIET_TICKS then
    return false
  end
  return begin_close(self) ~= lib.TITO_OK -- what is under way keeps the worker
end

--- Begins to open in this nginx worker and returns at once; outside of nginx it waits. Raises when it is not possible.
function database.open(self)
  handle.check(self, "db")
  if self.state ~= "declared" then
    errors.raise("invalid_state", "open: the database was opened before")
  end
  if not wait.in_nginx then
    local ok, err = set_pointer(self)
    if not ok then
      errors.throw(err)
    end
    local status = lib.tito_future_wait(ffi.gc(lib.tito_db_open(self.ptr), lib.tito_future_free), -1, box)
    if status ~= lib.TITO_OK then
      return handle.fail_box(status)
    end
    self.state = "open"
    return true
  end
  if not wait.has_worker() then
    errors.raise("invalid_state", "open: nginx's workers open the database, in init_worker_by_lua, not init_by_lua")
  end
  if not ngx.worker.id() then
    return true -- a helper process of nginx's
  end
  check_workers(self)
  self.options = self.options or {}
  self.options.open_wait_us = self.options.open_wait_us or OPEN_WAIT_US
  local ok, err = set_pointer(self)
  if not ok then
    errors.throw(err)
  end
  wait.before_exit(function(tick) return leave(self, tick) end)
  begin_open(self)
  return true
end

--- Ends everything made from it, and waits until what runs has ended; in phases of nginx that can not wait it only
-- begins to.
function database.close(self)
  handle.check(self, "db")
  local status = lib.TITO_OK
  if not self.ptr or not wait.in_nginx then
    status = self.ptr and lib.tito_db_close(self.ptr, box) or status
    self.state = "closed"
  elseif not self.closing then
    status = begin_close(self)
  end
  if status ~= lib.TITO_OK then
    return handle.fail_box(status)
  end
  if self.closing and wait.is_possible() then
    self.closing.wait()
  end
  return true
end

-- ---- Operations

--- Waits until the database can be used: true; or nil and an error. name: of the operation, for what is raised.
function database.ready(self, name)
  wait.expect(name)
  self.used_at = math.huge
  while self.state == "opening" do
    self.gate.wait()
  end
  if self.state == "failed" then
    return nil, self.failure
  elseif self.state == "declared" then
    errors.raise("invalid_state", "%s: the database is not open: call db:open() in init_worker_by_lua", name)
  end
  return true
end

--- Frees a future that is ready, and gives its results back: what it keeps in the library (its memory, the steps it is
-- one of) does not wait for the garbage collector.
local function release(future, ...)
  lib.tito_future_free(ffi.gc(future, nil))
  return ...
end

--- Runs an operation: make() gives its future, or nil and an error; push(future) its results. absent: what is not found
-- is nil.
function database.run(self, name, make, push, absent)
  local ok, err = database.ready(self, name)
  if not ok then
    return nil, err
  end
  local future, why = make()
  if future == nil and why ~= nil then
    return nil, why
  end
  if future ~= nil then
    ffi.gc(future, lib.tito_future_free)
  end
  local status = wait.status(future)
  if status == lib.TITO_OK then
    return release(future, push(future))
  end
  if status == lib.TITO_NOT_FOUND and absent then
    lib.tito_error_free(box[0])
    return nil
  end
  return handle.fail_box(status)
end

return database

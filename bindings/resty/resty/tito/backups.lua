--- Backups, with a function that is told how far they are, as bindings/lua/README.md lists them.
--
--     future ── a moment passes ──> progress(done, total) ── false or an error: cancel ──┐
--                  ^────────────────────┘                                                v
--                                                         told once more <── waited for to the end
--
-- INVARIANT: a database that nobody else has lives until what runs on it has ended, whoever waits for that.
local library = require "resty.tito.library"
local database = require "resty.tito.database"
local errors = require "tito.errors"
local handle = require "resty.tito.handle"
local operations = require "resty.tito.operations"
local wait = require "resty.tito.wait"

local ffi, lib = library.ffi, library.lib
local box, check = handle.error_box, handle.check

local backups = {}

--- A function that tells progress how far the future is, and ends it when that wants so; and where what it raised is.
local function teller(future, progress)
  local place, raised = ffi.new("int64_t[2]"), {}
  return function()
    if not progress then
      return
    end
    lib.tito_future_progress(future, place, place + 1)
    local ok, on = pcall(progress, tonumber(place[0]), tonumber(place[1]))
    if not ok then
      raised.value = on
    end
    if not ok or on == false then
      progress = nil
      lib.tito_future_cancel(future)
    end
  end, raised
end

--- Waits for a future and tells progress: what push makes of it (its document); or nil and an error. ptr: its
-- database's.
local function finish(ptr, future, progress, push)
  if future ~= nil then
    ffi.gc(future, lib.tito_future_free)
  end
  local tell, raised = teller(future, progress)
  local status = wait.status(future, progress and tell, ptr)
  local value, err
  if status == lib.TITO_OK then
    value, err = (push or operations.results.document)(future)
  else
    value, err = handle.fail_box(status)
  end
  tell()
  if future ~= nil then
    lib.tito_future_free(ffi.gc(future, nil))
  end
  if raised.value ~= nil then
    error(raised.value, 0)
  end
  return value, err
end

function backups.db_backup(db, dir, base, progress)
  check(db, "db")
  local options = handle.options(base and { base = base })
  return backups.told(db, "backup", function() return lib.tito_db_backup(db.ptr, dir, #dir, options) end, progress)
end

--- The same for other long work on an open database; make() gives the future.
function backups.told(db, name, make, progress, push)
  local ok, err = database.ready(db, name)
  if not ok then
    return nil, err
  end
  return finish(db.ptr, make(), progress, push)
end

--- make(pointer of a database that is not open) gives the future.
local function apart(name, target, make, progress)
  errors.expect(target, "string", name .. ": the target")
  handle.expect_life()
  wait.expect(name)
  local out = ffi.new("tito_db_t *[1]")
  local status = lib.tito_db_new(target, #target, nil, out, box)
  if status ~= lib.TITO_OK then
    return handle.fail_box(status)
  end
  local ptr = ffi.gc(out[0], lib.tito_db_free)
  return finish(ptr, make(ptr), progress)
end

function backups.backup_verify(dir, progress)
  return apart("verify_backup", "memory:", function(ptr) return lib.tito_db_verify_backup(ptr, dir, #dir) end, progress)
end

function backups.backup_restore(dir, target, progress)
  return apart("restore", target, function(ptr) return lib.tito_db_restore(ptr, dir, #dir) end, progress)
end

return backups

--- `tito doctor`: what is wrong, or soon will be, with the machine, the store and the data; and what to do about it.
--
-- Each check adds findings: { check, state = "ok" | "warn" | "bad", found, advice }.
local models = require "tito.cli.models"

local GIB, MIB = 2 ^ 30, 2 ^ 20
local OPEN_FILES_MIN, PROCESSES_MIN = 4096, 1024
local SKEW_WARN_S, SKEW_BAD_S, ROUND_WARN_S = 0.5, 5, 0.1
local LAG_WARN_S = 300
local SAMPLES = 5

--- Kinds of file systems (statfs) that a database does not belong on.
local REMOTE = { [0x6969] = "NFS", [0x517B] = "SMB", [0xFE534D42] = "SMB2", [0xFF534D42] = "CIFS",
  [0x65735546] = "FUSE" }
local IN_MEMORY = { [0x01021994] = "tmpfs", [0x858458F6] = "ramfs" }

local checks = {}

local function bytes_text(n)
  return n >= GIB and ("%.1f GiB"):format(n / GIB) or ("%.0f MiB"):format(n / MIB)
end

--- The first line of a file, nil when there is none.
local function line_of(path)
  local file = io.open(path, "r")
  if not file then
    return nil
  end
  local line = file:read("l")
  file:close()
  return line
end

--- The folder of an embedded database; nil: it is none.
local function folder_of(target)
  if target:find("^tikv://") or target:find("^memory:") then
    return nil
  end
  return (target:gsub("^rocksdb:", ""))
end

-- ---- The machine

function checks.versions(d)
  local driver = require "tito.driver"
  d.add("tito", driver.version == d.cli.version and "ok" or "bad", driver.version,
    "the library is of another version than this program: install both from one package")
  d.add("lua", "ok", _VERSION)
  d.add("system", "ok", d.cli.machine.system() or "unknown")
end

function checks.limits(d)
  local limits = d.cli.machine.limits()
  local function at_least(name, least, advice)
    local found = limits[name]
    d.add(name, found and found < least and "warn" or "ok",
      found == math.huge and "no limit" or ("%d"):format(found), advice)
  end
  at_least("open_files", OPEN_FILES_MIN,
    ("raise it to %d or more: ulimit -n, or LimitNOFILE= of the service"):format(65536))
  at_least("processes", PROCESSES_MIN, "threads count too: ulimit -u, or TasksMax= of the service")
  for _, name in ipairs { "file_size", "address_space" } do
    local found = limits[name] or math.huge
    d.add(name, found < math.huge and "warn" or "ok", found == math.huge and "no limit" or bytes_text(found),
      "a store grows: remove the limit")
  end
end

function checks.threads(d)
  d.add("processors", "ok", ("%d"):format(d.cli.processors()))
  local threads = tonumber(line_of("/proc/sys/kernel/threads-max") or "")
  if threads then
    d.add("threads_max", threads < 4096 and "warn" or "ok", ("%d"):format(threads), "raise kernel.threads-max")
  end
  local maps = tonumber(line_of("/proc/sys/vm/max_map_count") or "")
  if maps then
    d.add("max_map_count", maps < 65530 and "warn" or "ok", ("%d"):format(maps),
      "raise vm.max_map_count to 65530 or more")
  end
  local quota = line_of("/sys/fs/cgroup/cpu.max")
  local used, period = (quota or ""):match("^(%d+) (%d+)$")
  if used then
    local share = tonumber(used) / tonumber(period)
    d.add("cpu_quota", share < 1 and "warn" or "ok", ("%.2f processors"):format(share),
      "less than one processor: leases and commits wait when the quota is used up")
  end
  local preload = os.getenv "LD_PRELOAD" or ""
  local given = preload ~= ""
  d.add("preload", given and "warn" or "ok", given and preload or "none",
    "LD_PRELOAD puts other code into this process")
end

-- ---- The store

function checks.disk(d)
  local folder = folder_of(d.target)
  if not folder then
    return
  end
  local disk, why = d.cli.machine.disk(folder)
  if not disk then
    d.add("disk", "bad", why, "there is no such folder: is the path right? The app makes it when it opens the database")
    return
  end
  local share = disk.total > 0 and disk.free / disk.total or 1
  local state = (disk.free < GIB / 4 or share < 0.02) and "bad" or (disk.free < 2 * GIB or share < 0.1) and "warn"
    or "ok"
  d.add("disk", state, ("%s of %s free"):format(bytes_text(disk.free), bytes_text(disk.total)),
    "make room: compaction needs about as much again as the largest level")
  if disk.files > 0 then
    d.add("inodes", disk.files_free < 10000 and "warn" or "ok", ("%.0f free"):format(disk.files_free),
      "remove small files")
  end
  local kind = REMOTE[disk.type] or IN_MEMORY[disk.type]
  d.add("file_system", kind and "warn" or "ok", kind or "local",
    REMOTE[disk.type] and "locks and syncs are not sure here: use a local disk" or "what is stored here is gone at "
      .. "the next boot")
end

function checks.permissions(d)
  local folder = folder_of(d.target)
  local files = folder and d.cli.machine.files(folder)
  if not files then
    return
  end
  local open, foreign, links = 0, 0, 0
  for _, file in ipairs(files) do
    open = open + (file.mode & tonumber("077", 8) ~= 0 and not file.link and file.name == "." and 1 or 0)
    foreign, links = foreign + (file.own and 0 or 1), links + (file.link and 1 or 0)
  end
  d.add("permissions", open > 0 and "warn" or "ok", ("%o"):format(files[1].mode),
    ("others can read the data: chmod go-rwx '%s'"):format(folder))
  d.add("owner", foreign > 0 and "bad" or "ok", foreign == 0 and "all files are ours"
    or ("%d files of others"):format(foreign),
    ("another user has written here: chown -R '%s' to the user that runs the app"):format(folder))
  d.add("links", links > 0 and "warn" or "ok", ("%d"):format(links), "symbolic links in the folder are not followed")
end

--- The store's clock against ours, and how long it takes to ask.
local function measure(d, db)
  local driver = require "tito.driver"
  local best, skew = math.huge, 0
  for _ = 1, SAMPLES do
    local began, before = d.cli.clock(), driver.now()
    local now = d.context.check(db:now())
    local took = d.cli.clock() - began
    if took < best then
      best, skew = took, now - (before + took / 2)
    end
  end
  return best, skew
end

function checks.clock(d)
  local round, skew = measure(d, d.db)
  local size = math.max(0, math.abs(skew) - round / 2)
  d.add("clock_skew", size >= SKEW_BAD_S and "bad" or size >= SKEW_WARN_S and "warn" or "ok", ("%.3f s"):format(skew),
    folder_of(d.target) and "the clock was set back since the last write: run NTP; times go on at half speed meanwhile"
      or "this machine's clock and PD's differ: run NTP (chrony) on both")
  d.add("round_trip", round >= ROUND_WARN_S and "warn" or "ok", ("%.3f ms"):format(round * 1000),
    "asking for the time takes long: is PD far away, or busy?")
end

--- The stores of a cluster: whether they are up, and have room.
function checks.stores(d)
  if not d.target:find "^tikv://" then
    return
  end
  for _, store in ipairs(d.context.check(d.db:cluster()).stores) do
    local share = store.capacity and store.capacity > 0 and store.available / store.capacity or 1
    local down = store.state ~= "up"
    d.add(("store %d"):format(store.id), (down or share < 0.02) and "bad" or share < 0.1 and "warn" or "ok",
      ("%s, %s%s"):format(store.address, store.state,
        store.capacity and (", %s of %s free"):format(bytes_text(store.available), bytes_text(store.capacity))
          or ""),
      down and "its regions are being moved away: is that wanted?" or "make room, or add a store")
  end
end

-- ---- The data

function checks.indexes(d)
  local catalog, bad = models.catalog(d.context, d.db), 0
  for name, description in pairs(catalog) do
    if description.dropping then
      bad = bad + 1
      d.add("table " .. name, "warn", "is being dropped", "drop it again: the drop was interrupted")
    end
    for _, index in ipairs(description.indexes) do
      if index.state == "write_only" or index.state == "failed" then
        bad = bad + 1
        d.add(("index %s.%s"):format(name, index.name), index.state == "failed" and "bad" or "warn", index.state,
          index.state == "failed" and "records share a value of a unique index: change them, then tito reindex " .. name
            or "tito reindex " .. name)
      end
    end
  end
  if bad == 0 then
    d.add("indexes", "ok", "all are readable")
  end
end

function checks.queues(d)
  for _, known in ipairs(d.context.check(d.db:queues())) do
    local queue = d.db:queue { type = known.type }
    local name, stats = "queue " .. known.type, d.context.check(queue:stats())
    local parts = d.context.check(queue:partitions())
    local oldest, dead = math.huge, {}
    for _, item in ipairs(parts.items) do
      oldest = math.min(oldest, item.oldest or math.huge)
      dead[#dead + 1] = item.worker and not item.alive and item.worker or nil
    end
    local late = parts.now - oldest > LAG_WARN_S
    if known.paused then
      d.add(name, "warn", "paused", "tito queue resume " .. known.type)
    elseif late then
      d.add(name, "warn", ("%.0f s late"):format(parts.now - oldest), "more workers, or one that is stuck: tito "
        .. "queue stats "
        .. known.type .. " --partitions")
    end
    if stats.failed_stored > 0 then
      d.add(name, "warn", ("%d failed events"):format(stats.failed_stored), "tito queue failed " .. known.type)
    end
    if #dead > 0 and not folder_of(d.target) then
      d.add(name, "warn", ("%d leases of workers that are gone"):format(#dead), "the next worker takes them; is one "
        .. "running?")
    end
    if not known.paused and not late and stats.failed_stored == 0 then
      d.add(name, "ok", ("%d pending"):format(stats.pending))
    end
  end
end

-- ---- The run

local BEFORE = { "versions", "limits", "threads", "disk", "permissions" }
local WITH_STORE = { "clock", "stores", "indexes", "queues" }

local COLORS = { ok = "green", warn = "yellow", bad = "red" }

local function run(context)
  local rows = context.out.rows { { name = "state", color = function(cell) return COLORS[cell] end },
    { name = "check" },
    { name = "found" }, { name = "advice" } }
  local worst = "ok"
  local d = { context = context, cli = context.cli, target = context.options.db or os.getenv "TITO_DB" }
  function d.add(check, state, found, advice)
    if state == "bad" or (state == "warn" and worst == "ok") then
      worst = state
    end
    rows:add { check = check, state = state, found = found, advice = state ~= "ok" and advice or nil }
  end
  local function all(names)
    for _, name in ipairs(names) do
      local ok, err = pcall(checks[name], d)
      if not ok then
        d.add(name, "bad", context.text_of(err), "the check could not be done")
      end
    end
  end
  all(BEFORE)
  local opened, db = pcall(context.open)
  d.add("database", opened and "ok" or "bad", opened and "opens" or context.text_of(db),
    "without it the data is not looked at; an embedded database belongs to one process at a time")
  if opened then
    d.db = db
    all(WITH_STORE)
  end
  rows:finish()
  return worst == "bad" and 1 or 0
end

return {
  name = "doctor",
  summary = "looks for what is wrong with machine, store and data, and says what to do",
  text = {
    "Checks versions, limits of the process, threads, disk space, permissions, the clock against PD's, the stores, "
      .. "indexes that are not readable, and queues that are paused, late or have failed events. Changes nothing.",
  },
  existing = true,
  operands = "", most = 0,
  examples = { "tito doctor --db ./data", "tito doctor --db tikv://pd1:2379,pd2:2379 --json" },
  codes = { { 0, "nothing is bad (warnings are none of it)" }, { 1, "something is bad" } },
  run = run,
}

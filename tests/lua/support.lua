--- What the specs share: databases that go away, other processes, errors as they must be.
local assert = require "luassert"
local say = require "say"
local tito = require "tito"

local support = { host = ngx and "nginx" or jit and "luajit" or "lua5.4" } -- luacheck: ignore 113
local unpack = table.unpack or unpack -- luacheck: ignore 113 143
support.unpack = unpack

--- it in Lua 5.4, nothing on other hosts: for what only Lua 5.4 can do.
function support.only_54(it)
  return support.host == "lua5.4" and it or function() end
end

--- it where a coroutine is resumed by tito alone; nothing in nginx, whose scheduler takes part.
function support.not_in_nginx(it)
  return support.host ~= "nginx" and it or function() end
end

--- Whether a text is UTF-8.
function support.is_utf8(text)
  return utf8 and utf8.len(text) ~= nil or not utf8 and require("resty.tito.json").is_utf8(text) -- luacheck: ignore 113
end

--- Asserts that value is an integer or a float where the host tells them apart, else a number.
function support.is_number(expected, value)
  if math.type then -- luacheck: ignore 143
    return assert.equal(expected, math.type(value)) -- luacheck: ignore 143
  end
  return assert.is_true(type(value) == "number" or type(value) == "cdata")
end

support.scale = tonumber(os.getenv("TITO_TEST_SCALE")) or 1

--- n scaled, at least low.
function support.times(n, low)
  return math.max(low or 1, math.floor(n * support.scale))
end

-- ---- folders and files

local folders = {}

--- The path of a new folder that does not exist yet; removed at the end.
function support.folder()
  local name = os.tmpname()
  os.remove(name)
  folders[#folders + 1] = name
  return name
end

function support.write_file(path, text)
  local file = assert.truthy(io.open(path, "w")) and io.open(path, "w")
  file:write(text)
  file:close()
  return path
end

--- Removes what folder() has given out.
function support.clean()
  for _, name in ipairs(folders) do
    os.execute(("chmod -R u+w '%s' 2>/dev/null; rm -rf '%s'"):format(name, name))
  end
  folders = {}
end

--- The PDs of the TiKV cluster that open() without a target uses instead of memory (TITO_TEST_PD), or nil.
support.cluster = nil
for endpoint in (os.getenv("TITO_TEST_PD") or ""):gmatch("[^,]+") do
  support.cluster = support.cluster or {}
  table.insert(support.cluster, endpoint)
end

local spaces = 0

--- An empty database: in memory, or on the cluster in a namespace of its own.
local function open_new(options)
  if not support.cluster then
    return tito.connect("memory:", options)
  end
  spaces = spaces + 1
  local all = { namespace = ("%s.%d"):format(assert(os.getenv("TITO_TEST_NAMESPACE")), spaces) }
  for name, value in pairs(options or {}) do
    all[name] = name == "namespace" and all.namespace .. "." .. value or value
  end
  return tito.connect(support.cluster, all)
end

--- A new database, or the one in a folder.
function support.open(target, options)
  if target then
    return assert(tito.connect(target, options))
  end
  return assert(open_new(options))
end

-- ---- other processes

support.lua = "lua5.4"

--- Writes a program and returns the command that runs it with arguments. Its standard error joins its output.
function support.command(program, ...)
  local path = support.folder()
  support.write_file(path, "io.stdout:setvbuf('line')\n" .. program)
  local parts = { "exec", support.lua, path }
  for _, argument in ipairs { ... } do
    parts[#parts + 1] = ("'%s'"):format(argument)
  end
  return table.concat(parts, " ") .. " 2>&1"
end

--- Runs a program to its end: its output, how it ended ("exit" or "signal"), its code.
function support.run(program, ...)
  local pipe = io.popen(support.command(program, ...), "r")
  local output = pipe:read("a")
  local _, how, code = pipe:close()
  return output, how, code
end

--- A line of Lua that prints the process's own number first.
support.PRINT_PID = [[print(io.open("/proc/self/stat"):read("n"))
]]

--- Starts a program that begins with PRINT_PID: its pipe and its number.
function support.start(program, ...)
  local pipe = io.popen(support.command(support.PRINT_PID .. program, ...), "r")
  return pipe, assert(pipe:read("n", "l"))
end

function support.kill(pid, signal)
  os.execute(("kill -%s %d 2>/dev/null"):format(signal, pid))
end

--- Sleeps, by another process.
function support.sleep(seconds)
  os.execute(("sleep %f"):format(seconds))
end

-- ---- errors

--- The plain assert: busted's own turns what it raises into text.
function support.must(value, err, ...)
  if not value then
    error(err, 0)
  end
  return value, err, ...
end

--- Asserts that (value, err) is an expected failure with the code and, when given, a message that has a pattern.
local function fails(_, arguments)
  local code, value, err, pattern = arguments[1], arguments[2], arguments[3], arguments[4]
  arguments[3], arguments[4], arguments.n = tostring(err), pattern or "", 4 -- for the message
  if value ~= nil then
    return false
  end
  return type(err) == "table" and err.code == code and type(err.message) == "string" and #err.message > 0
    and tostring(err):find(code, 1, true) ~= nil and (not pattern or err.message:find(pattern) ~= nil)
end

say:set("assertion.fails.positive", "Expected a failure %s, got:\n%s\n%s\n%s")
assert:register("assertion", "fails", fails, "assertion.fails.positive")

--- Calls fn and returns what it raised; fails when it did not, or when that is not an error of ours with the code.
function support.raised(code, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "it did not raise")
  assert.is_table(err, "it raised a " .. type(err) .. ": " .. tostring(err))
  assert.equal(code, err.code, tostring(err))
  assert.is_string(err.message)
  return err
end

return support

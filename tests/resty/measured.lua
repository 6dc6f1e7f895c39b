--- What each call of the library costs the thread that makes it: put before `require "resty.tito"`.
--
--     resty.tito's modules ──> a function of the same name, which measures ──> libtito
--
-- measured.slowest(): { longest, second longest } of all calls, µs of the thread's own processor time
-- measured.report(): { name = { calls, longest (µs of the thread's own processor time), waits (how often the thread gave up
-- its processor, inside of the call, to wait for something), wall (the longest by the clock, µs) } }
local ffi = require "ffi"
local library = require "resty.tito.library"

pcall(ffi.cdef, "int clock_gettime(int clock, void *out);")
pcall(ffi.cdef, "int getrusage(int who, void *out);")

local CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME, RUSAGE_THREAD, VOLUNTARY_SWITCHES = 1, 3, 1, 16
local time, usage = ffi.new("int64_t[2]"), ffi.new("int64_t[18]")
local time_pointer, usage_pointer = ffi.cast("void *", time), ffi.cast("void *", usage)

local measured, real, figures, slowest = {}, library.lib, {}, { 0, 0 }

local function clock_us(clock)
  assert(ffi.C.clock_gettime(clock, time_pointer) == 0)
  return tonumber(time[0]) * 1e6 + tonumber(time[1]) / 1e3
end

local function switches()
  assert(ffi.C.getrusage(RUSAGE_THREAD, usage_pointer) == 0)
  return tonumber(usage[VOLUNTARY_SWITCHES])
end

local function measuring(name, call)
  local figure = { calls = 0, longest = 0, waits = 0, wall = 0 }
  figures[name] = figure
  return function(...)
    local waits, wall, began = switches(), clock_us(CLOCK_MONOTONIC), clock_us(CLOCK_THREAD_CPUTIME)
    local result = call(...)
    local took = clock_us(CLOCK_THREAD_CPUTIME) - began
    figure.wall = math.max(figure.wall, clock_us(CLOCK_MONOTONIC) - wall)
    figure.calls = figure.calls + 1
    figure.longest = math.max(figure.longest, took)
    slowest[1], slowest[2] = math.max(slowest[1], took), math.max(slowest[2], math.min(slowest[1], took))
    figure.waits = figure.waits + switches() - waits
    return result
  end
end

library.lib = setmetatable({}, { __index = function(self, name)
  local value = real[name]
  if type(value) == "cdata" then
    value = measuring(name, value)
  end
  rawset(self, name, value)
  return value
end })

--- Forgets what was measured.
function measured.reset()
  slowest[1], slowest[2] = 0, 0
  for _, figure in pairs(figures) do
    figure.calls, figure.longest, figure.waits, figure.wall = 0, 0, 0, 0
  end
end

function measured.slowest()
  return slowest
end

function measured.report()
  local out = {}
  for name, figure in pairs(figures) do
    if figure.calls > 0 then
      out[name] = figure
    end
  end
  return out
end

return measured

--- How far a step is: a bar that moves on a terminal, a line now and then elsewhere.
local tito = require "tito"

local progress = {}

local Progress = {}
Progress.__index = Progress

local WIDTH, EVERY = 30, 0.1

--- Whether standard output is a terminal.
local function on_terminal()
  return os.execute("test -t 1") == true
end

--- A step named label; total may be nil.
function progress.start(label, total)
  local self = setmetatable({
    label = label, total = total, done = 0, began = tito.now(), terminal = on_terminal(),
  }, Progress)
  self.next_at = self.began + (self.terminal and EVERY or 2)
  return self
end

function Progress:rate(now)
  return self.done / math.max(now - self.began, 1e-6)
end

function Progress:show(now)
  local share = self.total and math.min(1, self.done / self.total)
  if self.terminal then
    local full = math.floor((share or 0) * WIDTH)
    io.write(("\r%s [%s%s] %d  %.0f/s "):format(self.label, ("#"):rep(full), ("."):rep(WIDTH - full), self.done,
      self:rate(now)))
    io.flush()
  else
    print(("%s: %d%s, %.0f/s"):format(self.label, self.done, share and (" (%.0f %%)"):format(share * 100) or "",
      self:rate(now)))
  end
end

--- n more are done.
function Progress:add(n)
  self.done = self.done + n
  local now = tito.now()
  if now >= self.next_at then
    self:show(now)
    self.next_at = now + (self.terminal and EVERY or 2)
  end
end

--- Ends the step: prints how long it took.
function Progress:finish(what)
  local now = tito.now()
  if self.terminal then
    io.write("\r\27[K")
  end
  print(("%s: %d %s in %.2f s, %.0f/s"):format(self.label, self.done, what, now - self.began, self:rate(now)))
  self.seconds = now - self.began
end

--- The largest resident size so far, in MiB; nil where it is not known.
function progress.memory_mib()
  local file = io.open("/proc/self/status", "r")
  local text = file and file:read("a") or ""
  if file then
    file:close()
  end
  local kib = tonumber(text:match("VmHWM:%s*(%d+)"))
  return kib and kib / 1024
end

return progress

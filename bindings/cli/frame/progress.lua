--- A bar on a terminal's stderr: how much is done, how fast, and how long it still takes. Quiet where stderr is no
-- terminal, and with --log-level error.
--
--   local bar = context.progress(total, "records")      total nil: only the count and the rate
--   bar:set(n)   bar:advance(by)   bar:finish()
--   bar.shown    whether anybody sees it: only then a total may cost something
--   bar:expect(n)  what there is to do is being counted, n so far; false: that takes too long, let it be
local progress = {}

local WIDTH, EVERY_S, COUNT_S = 30, 0.1, 10

local Bar = {}
Bar.__index = Bar

local function duration(seconds)
  seconds = math.floor(seconds + 0.5)
  if seconds >= 3600 then
    return ("%d:%02d:%02d"):format(seconds // 3600, seconds // 60 % 60, seconds % 60)
  end
  return ("%d:%02d"):format(seconds // 60, seconds % 60)
end

local function quantity(n)
  return n >= 1e6 and ("%.2fM"):format(n / 1e6) or n >= 1e4 and ("%.1fk"):format(n / 1e3)
    or ("%d"):format(math.floor(n))
end

--- The line of a bar: done of total (nil: not known) after so many seconds.
function progress.line(what, done, total, elapsed)
  local rate = elapsed > 0 and done / elapsed or 0
  if not total or total <= 0 then
    return ("%s %s  %s/s  %s"):format(quantity(done), what, quantity(rate), duration(elapsed))
  end
  local part = math.min(1, done / total)
  local full = math.floor(part * WIDTH)
  local left = rate > 0 and duration(math.max(0, total - done) / rate) or "-:--"
  return ("[%s%s] %3d%%  %s of %s %s  %s/s  %s left"):format(("#"):rep(full), ("."):rep(WIDTH - full),
    math.floor(part * 100), quantity(done), quantity(total), what, quantity(rate), left)
end

local function draw(bar)
  local text = progress.line(bar.what, bar.done, bar.total, bar.cli.clock() - bar.began)
  io.stderr:write("\r\27[K", text)
  bar.drawn = bar.cli.clock()
end

--- How much is done now; total: when it has become known.
function Bar:set(done, total)
  self.done, self.total = done, total or self.total
  if self.total and done > self.total then -- there was more than was counted
    self.total = done
  end
  if self.shown and self.cli.clock() - self.drawn >= EVERY_S then
    draw(self)
  end
end

--- How much has been counted so far of what there is to do; it begins after the last call. Whether to go on counting: a
-- total that takes COUNT_S is not worth it, and not known then.
function Bar:expect(total)
  self.began = self.cli.clock()
  self.patience = self.patience or self.began + COUNT_S
  local worth = self.began < self.patience
  self.total = worth and total or nil
  if self.shown and self.began - self.counted >= EVERY_S then
    io.stderr:write("\r\27[K", ("counting: %s %s"):format(quantity(total), self.what))
    self.counted = self.began
  end
  return worth
end

function Bar:advance(by)
  self:set(self.done + (by or 1))
end

--- Takes the bar away, so that what follows begins on an empty line.
function Bar:finish()
  if self.shown and self.drawn + self.counted > 0 then
    io.stderr:write("\r\27[K")
  end
  self.shown = false
end

function progress.new(cli, total, what, quiet)
  return setmetatable({
    cli = cli, total = total, what = what or "done", done = 0, began = cli.clock(), drawn = 0, counted = 0,
    shown = not quiet and cli.is_terminal(2),
  }, Bar)
end

return progress

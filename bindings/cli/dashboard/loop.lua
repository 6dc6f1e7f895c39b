--- The dashboard at work: samples now and then, publishes them, answers requests between; one thread, this one.
--
--   wait ── a request ──> answer ──> reply ── an act: sample at once
--     └──── time is up ──> sample ──> publish
--
-- INVARIANTS
--  1. Samples take at most one part of SHARE of the time, however long the store takes for one.
--  2. When nobody looks, there is a sample each IDLE_S.
local answers = require "tito.cli.dashboard.answers"
local driver = require "tito.driver"
local figures = require "tito.cli.dashboard.figures"
local prometheus = require "tito.cli.dashboard.prometheus"

local loop = {}

local SHARE, IDLE_S = 5, 15

local function publish(self, server)
  local state = self.figures:sample()
  local text, err = driver.encode(state)
  if text then
    server:publish(text, prometheus.text(state, self.db:metrics()))
  else
    self.log("error", "dashboard: the figures can not be told: " .. self.text_of(err))
  end
  self.published_at = self.clock()
end

--- Until the server ends. settings: db, interval (seconds), clock, log, text_of, class_of, version, target, writes,
-- values, page_token, disk, is_worker; ready() is called when the first figures are there.
function loop.run(server, settings)
  local self = setmetatable({}, { __index = settings })
  self.figures = figures.new(settings)
  publish(self, server)
  settings.ready()
  while true do
    local interval = server:viewers() > 0 and self.interval or math.max(self.interval, IDLE_S)
    local due = self.published_at + math.max(interval, self.figures.cost * SHARE)
    local request, ended = server:wait(due - self.clock())
    if ended then
      return
    elseif request then
      local code, text, changed = answers.to(self, request)
      if changed then
        publish(self, server)
      end
      server:reply(code, text)
    elseif self.clock() >= due then
      publish(self, server)
    end
  end
end

return loop

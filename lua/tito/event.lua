--- An event in a handler: what is known of it, and how it may end besides success and failure.
local driver = require "tito.driver"
local errors = require "tito.errors"
local transaction = require "tito.transaction"

local event = {}

local Event = { __name = "tito.event" }
Event.__index = Event

--- When the handler succeeds, the event comes again at timestamp (seconds), with its attempts.
function Event:reschedule(timestamp)
  errors.expect(timestamp, "number", "reschedule: the timestamp")
  self.outcome, self.outcome_value = "reschedule", timestamp
  return true
end

--- When the handler succeeds, the event stays in its place with another payload and runs next.
function Event:advance(payload)
  if payload == nil then
    payload = driver.null
  end
  local text, err = driver.encode(payload)
  if not text then
    error(err, 0)
  end
  self.outcome, self.outcome_value = "advance", text
  return true
end

--- When the handler succeeds, the event has failed all the same: for one of a batch whose others are to commit.
function Event:fail(why)
  local text = why == nil and "the handler failed it without saying why" or errors.text(why)
  self.outcome, self.outcome_value = "fail", text
  return true
end

--- How each event of a batch ends, when the handler succeeds.
local function say_all(events)
  for i, each in ipairs(events) do
    if each.outcome then
      driver.event_say(events.handle, i, each.outcome, each.outcome_value)
    end
  end
  return "acknowledge"
end

--- What the handler's results mean, in the driver's words.
local function outcome(self, tx, count, first, why)
  transaction.close(tx)
  if (count == 0 or first) and self.batch then
    return say_all(self)
  end
  if count == 0 or first then
    return self.outcome or "acknowledge", self.outcome_value
  end
  if why == nil then
    return "fail", ("the handler returned %s without saying why"):format(tostring(first))
  end
  return "fail", errors.text(why)
end

local function finish(self, tx, ...)
  return outcome(self, tx, select("#", ...), ...)
end

--- The function that the driver calls for each event, or batch, in a coroutine. handlers: by type.
function event.server(handlers)
  return function(self)
    for _, each in ipairs(self.batch and self or { self }) do
      setmetatable(each, Event)
    end
    local type_name = self.batch and self[1].type or self.type
    local handler = handlers[type_name]
    if not handler then
      return "fail", ("there is no handler for events of type '%s'"):format(tostring(type_name))
    end
    local tx = transaction.of_event(self.handle)
    return finish(self, tx, handler(self, tx))
  end
end

return event

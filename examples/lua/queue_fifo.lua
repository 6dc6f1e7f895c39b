-- A first-in-first-out queue: five users are created with an event each, a worker handles the events in that order.
--
--     queue_fifo [--db TARGET]      TARGET: a directory, memory:, …; default: $TITO_DB, else memory:
local tito = require "tito"

local target = os.getenv("TITO_DB") or "memory:"
if arg[1] == "--db" and arg[2] then
  target = arg[2]
elseif arg[1] then
  print("usage: queue_fifo [--db TARGET]\nTARGET is a directory or memory:; the default is $TITO_DB, else memory:")
  os.exit(arg[1] == "--help" and 0 or 2)
end

local db = assert(tito.connect(target))
db:queue { type = "user", partitions = 1, ordering = "partition" } -- one after the other, whatever the key

local User = db:model {
  table = "user",
  events = function() return { { name = "user" } } end,
}

-- each user and its event are stored in one transaction
local ids = {}
for i, name in ipairs { "Alice", "Bob", "Carol", "Dave", "Erin" } do
  local user = assert(User:build_with_options({ id = tito.uuid(), name = name }, tito.with_events(tito.INSERT)))
  ids[i] = user.id
  print(("Created user %d: %s (%s)"):format(i, name, user.id))
end

local worker = db:worker { concurrency = 4 }
local processed, in_order = 0, true

worker:on("user", function(event)
  processed = processed + 1
  in_order = in_order and event.entity_id == ids[processed]
  print(("[%d] Processing event: %s - %s (sequence: %s)"):format(processed, event.action, event.entity, event.sequence))
  if processed == #ids then
    worker:stop()
  end
  return true -- acknowledges the event; nil and a reason would have it tried again
end)

assert(worker:run()) -- until stop(), or SIGINT or SIGTERM
assert(in_order, "the events came in another order")
print(("Complete! Processed %d events in FIFO order"):format(processed))

assert(db:close())

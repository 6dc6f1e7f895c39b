"""The apps of the tests, in Lua. FOLDER is the test's folder."""

HEAD = """
local tito = require "tito"
local folder = os.getenv("FOLDER")
local Seen = tito.db:model { table = "seen" }
tito.db:queue { type = "job", partitions = 16 }
local function note(name, text)
  local file = assert(io.open(folder .. "/" .. name, "a"))
  file:setvbuf("full", 4096)
  file:write(text, "\\n")
  file:close()
end
-- counts the events of each key, and those that come out of order
local function handle(event, tx)
  local s = Seen:find_by_id(event.key, nil, tx) or { id = event.key, n = 0, last = 0, wrong = 0 }
  if event.payload <= s.last then s.wrong = s.wrong + 1 end
  s.n, s.last = s.n + 1, event.payload
  assert(Seen:save(s, tx))
end
"""

# Handles every event at once.
PLAIN = HEAD + """
return function(worker)
  worker:on("job", function(event, tx) handle(event, tx) note("log", event.payload) end)
end
"""

# Each event takes a while in which the others of the state go on.
SLOW = HEAD + """
return function(worker)
  worker:on("job", function(event, tx)
    note("began", event.payload)
    local till = tito.now() + 0.1
    while tito.now() < till do coroutine.yield() end
    handle(event, tx)
    note("log", event.payload)
  end)
end
"""

# Never ends by itself, but Lua can be interrupted.
ENDLESS = HEAD + """
return function(worker)
  worker:on("job", function() note("began", "x") while true do end end)
end
"""

# Stuck in C: waits for a writer of a FIFO that never comes.
STUCK = HEAD + """
return function(worker)
  worker:on("job", function(event)
    note("began", "x")
    if event.payload == 1 then io.open(folder .. "/fifo", "r") end
    note("log", event.payload)
  end)
end
"""

# An event that comes again and again, and says which app it was.
TICKING = HEAD + """
return function(worker)
  worker:on("tick", function(event)
    note("log", "%s")
    event:reschedule(tito.now() + 0.02)
  end)
end
"""
TICK = "assert(db:queue { type = 'tick', partitions = 4 }:publish { key = 'tick' })"

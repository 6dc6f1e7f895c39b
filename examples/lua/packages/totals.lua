--- Turns the events into a total per section. What a handler writes through its transaction and the acknowledgement
-- of its event are committed together, so every package is counted once.
local progress = require "packages.progress"

local totals = {}

--- Handles count events.
function totals.run(db, models, count)
  local bar = progress.start("Counting", count)
  local worker = db:worker { concurrency = 64, drain_timeout = 30 }
  worker:on("package", function(event, tx)
    local section, size = event.payload.section, event.payload.size
    local total = models.Section:find_by_id(section, nil, tx) or { id = section, packages = 0, size = 0 }
    total.packages, total.size = total.packages + 1, total.size + size
    assert(models.Section:save(total, tx))
    bar:add(1)
    if bar.done >= count then
      worker:stop()
    end
  end)
  if count > 0 then
    assert(worker:run())
  end
  bar:finish("events")
end

return totals

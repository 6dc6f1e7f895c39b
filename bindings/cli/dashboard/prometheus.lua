--- The figures as Prometheus text (version 0.0.4), all named tito_dashboard_…; what they count is said by tito itself,
-- so the library's own counters (tito_queue_…, of this process) can stand beside them.
local prometheus = {}

local function escaped(text)
  return (text:gsub("[\\\"\n]", { ["\\"] = "\\\\", ["\""] = "\\\"", ["\n"] = "\\n" }))
end

local function labels_text(labels)
  local parts = {}
  for i = 1, #(labels or {}), 2 do
    parts[#parts + 1] = ('%s="%s"'):format(labels[i], escaped(tostring(labels[i + 1])))
  end
  return #parts > 0 and "{" .. table.concat(parts, ",") .. "}" or ""
end

local function number_text(value)
  if type(value) == "boolean" then
    return value and "1" or "0"
  end
  return math.type(value) == "integer" and ("%d"):format(value) or ("%.14g"):format(value)
end

local Text = {}
Text.__index = Text

--- Begins a name; samples of it follow.
function Text:name(name, help)
  self.current = "tito_dashboard_" .. name
  self.parts[#self.parts + 1] = ("# HELP %s %s\n# TYPE %s gauge\n"):format(self.current, help, self.current)
end

function Text:sample(value, ...)
  if type(value) == "number" or type(value) == "boolean" then
    self.parts[#self.parts + 1] = self.current .. labels_text { ... } .. " " .. number_text(value) .. "\n"
  end
end

local TYPES = {
  { "pending", "Events that are to be handled." }, { "parked", "Events that wait for a retry, or behind one." },
  { "parked_keys", "Keys that are held back." }, { "failed", "Stored events that have failed for good." },
  { "lag", "How long the oldest due event waits.", "lag_seconds" }, { "workers", "Workers that live." },
  { "partitions", "Partitions of the type." }, { "paused", "Whether the type is paused." },
  { "rate", "Events that ended in a second.", "completed_per_second" },
}

local function add_types(text, types)
  for _, known in ipairs(TYPES) do
    text:name("queue_" .. (known[3] or known[1]), known[2])
    for _, row in ipairs(types) do
      text:sample(row[known[1]], "type", row.type)
    end
  end
  text:name("queue_latency_seconds", "From when an event was due until it ended.")
  for _, row in ipairs(types) do
    text:sample(row.latency_p50, "type", row.type, "quantile", "0.5")
    text:sample(row.latency_p99, "type", row.type, "quantile", "0.99")
  end
end

local function sorted_names(t)
  local names = {}
  for name in pairs(t) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

--- The engine's numbers; a table of them (requests by kind) is one name with a label.
local function add_engine(text, engine)
  for _, name in ipairs(sorted_names(engine)) do
    local value = engine[name]
    if type(value) == "number" then
      text:name("engine_" .. name, "As tito_db_stats tells it.")
      text:sample(value)
    elseif type(value) == "table" then
      text:name("engine_" .. name, "As tito_db_stats tells it.")
      for _, kind in ipairs(sorted_names(value)) do
        text:sample(value[kind], "kind", kind)
      end
    end
  end
end

--- The text of figures; own: what the library says of this process.
function prometheus.text(state, own)
  local text = setmetatable({ parts = {} }, Text)
  text:name("up", "Whether the store has answered the last time.")
  text:sample(state.problem == nil)
  text:name("sampled_at_seconds", "When the figures were taken, by the store's clock.")
  text:sample(state.time)
  add_types(text, state.types)
  text:name("workers", "Workers that live.")
  local alive = 0
  for _, worker in ipairs(state.workers) do
    alive = alive + (worker.alive and 1 or 0)
  end
  text:sample(alive)
  text:name("table_records", "Records of a table, when they were counted last.")
  for _, row in ipairs(state.tables) do
    text:sample(row.records, "table", row.table)
  end
  text:name("schedule_next_seconds", "When the schedule ticks next.")
  for _, schedule in ipairs(state.schedules) do
    text:sample(schedule.next, "name", schedule.name)
  end
  add_engine(text, state.engine or {})
  return table.concat(text.parts) .. (own or "")
end

return prometheus

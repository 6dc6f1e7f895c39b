--- What the dashboard answers a page: a request is a path with a query, or an act with a JSON body; an answer is JSON.
--
--   GET /api/hello                      how it was started, the past, the figures
--   GET /api/partitions?type=T          each partition of a type
--   GET /api/events?type=T&state=S      a page of events; cursor=, limit=
--   POST /api/act                       { action, type, … }: retry, drop, replay, pause, resume
--
-- Whether a request may be made at all is known before (access.c).
--
-- INVARIANTS
--  1. Payloads leave only with --show-values.
--  2. An act is about a type that there is; one request does ACT_MAX events at most.
local driver = require "tito.driver"
local tito = require "tito"

local answers = {}

local PAGE_MAX, ACT_MAX, ERROR_MAX, HISTORY_PAGE = 200, 5000, 8000, 500
local STATES = { pending = true, parked = true, completed = true, failed = true }
local HTTP = { [0] = 404, [1] = 400, [2] = 409, [3] = 503, [4] = 500, [5] = 500, [6] = 500 }

local function refuse(text)
  error({ code = "invalid_argument", message = text }, 0)
end

local function check(value, err)
  if value == nil and err ~= nil then
    error(err, 0)
  end
  return value
end

--- The names and values of a query.
local function fields_of(query)
  local out = {}
  for name, value in query:gmatch "([^&=]+)=([^&]*)" do
    out[name] = value:gsub("+", " "):gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  end
  return out
end

local function queue_of(self, name)
  local queue = self.figures:queue(name)
  if not queue then
    error({ code = "not_found", message = "there is no such type of events" }, 0)
  end
  return queue
end

-- ---- Looking

local function hello(self)
  return { version = self.version, target = self.target, writes = self.writes, values = self.values,
    token = self.writes and self.page_token or nil, past = self.figures:past(), figures = self.figures.state }
end

local function partitions(self, given)
  local known = check(queue_of(self, given.type):partitions())
  known.items = tito.array(known.items)
  return known
end

local SHOWN = { "id", "state", "key", "partition", "timestamp", "not_before", "finished_at", "attempts", "action",
  "entity", "entity_id" }

local function event_row(self, event)
  local row = {}
  for _, name in ipairs(SHOWN) do
    row[name] = event[name]
  end
  row.error = event.last_error and event.last_error:sub(1, utf8.offset(event.last_error, 0, math.min(ERROR_MAX,
    #event.last_error) + 1) - 1)
  if self.values then
    row.payload = event.payload
  end
  return row
end

local function events(self, given)
  local limit = math.tointeger(tonumber(given.limit or 50)) or 0
  local state = given.state or "failed"
  if not STATES[state] or limit < 1 or limit > PAGE_MAX then
    refuse(("a state (pending, parked, completed, failed) and a limit from 1 to %d are expected"):format(PAGE_MAX))
  end
  local page = check(queue_of(self, given.type):history { state = state, limit = limit, cursor = given.cursor })
  local rows = {}
  for i, event in ipairs(page.items) do
    rows[i] = event_row(self, event)
  end
  return { items = tito.array(rows), cursor = page.cursor }
end

-- ---- Acting

local acts = {}

--- Calls act for each id; stops at what is not about the event.
local function each(ids, act)
  local done, gone = 0, 0
  for _, id in ipairs(ids) do
    local ok, err = act(id)
    if ok then
      done = done + 1
    elseif err.code == "not_found" then
      gone = gone + 1
    else
      error(err, 0)
    end
  end
  return { count = done, gone = gone }
end

local function ids_of(given)
  if type(given.ids) ~= "table" or #given.ids < 1 or #given.ids > ACT_MAX then
    refuse(("ids: a list of 1 to %d ids is expected"):format(ACT_MAX))
  end
  for _, id in ipairs(given.ids) do
    if type(id) ~= "string" then
      refuse "ids: texts are expected"
    end
  end
  return given.ids
end

--- The ids of failed events, ACT_MAX at most, and whether there are more.
local function failed_ids(queue)
  local ids, cursor = {}, nil
  repeat
    local page = check(queue:history { state = "failed", limit = HISTORY_PAGE, cursor = cursor })
    for _, event in ipairs(page.items) do
      ids[#ids + 1] = event.id
    end
    cursor = page.cursor
  until not cursor or #ids >= ACT_MAX
  return ids, cursor ~= nil
end

function acts.retry(queue, given)
  local ids, more
  if given.all == true then
    ids, more = failed_ids(queue)
  else
    ids = ids_of(given)
  end
  local result = each(ids, function(id) return queue:retry(id) end)
  result.more = more or nil
  return result
end

function acts.drop(queue, given)
  return each(ids_of(given), function(id) return queue:drop(id) end)
end

function acts.replay(queue, given)
  local filter = { state = given.state or "completed" }
  if filter.state ~= "completed" and filter.state ~= "failed" then
    refuse "state: completed or failed is expected"
  end
  for _, name in ipairs { "from", "to" } do
    if given[name] ~= nil and type(given[name]) ~= "number" then
      refuse(name .. ": a time in seconds is expected")
    end
    filter[name] = given[name]
  end
  for _, name in ipairs { "into", "key" } do
    if given[name] ~= nil and type(given[name]) ~= "string" then
      refuse(name .. ": a text is expected")
    end
    filter[name] = given[name]
  end
  return { count = check(queue:replay(filter)) }
end

function acts.pause(queue)
  check(queue:pause())
  return { count = 1 }
end

function acts.resume(queue)
  check(queue:resume())
  return { count = 1 }
end

local function act(self, request)
  local given = driver.decode(request.body)
  if type(given) ~= "table" or not acts[given.action] then
    refuse "an object with an action is expected: retry, drop, replay, pause or resume"
  end
  local result = acts[given.action](queue_of(self, given.type), given)
  self.log("info", ("dashboard: %s of '%s': %d"):format(given.action, given.type, result.count))
  return result
end

-- ---- All of it

local looks = { ["/api/hello"] = hello, ["/api/partitions"] = partitions, ["/api/events"] = events }

local function answer(self, request)
  if request.path == "/api/act" then
    return check(driver.encode(act(self, request)))
  end
  local look = looks[request.path]
  if not look then
    error({ code = "not_found", message = "there is nothing here" }, 0)
  end
  return check(driver.encode(look(self, fields_of(request.query))))
end

--- Answers a request: an HTTP status and JSON. Whether something was changed comes third.
function answers.to(self, request)
  local ok, result = pcall(answer, self, request)
  if ok then
    return 200, result, request.path == "/api/act"
  end
  local code = type(result) == "table" and result.code or "internal"
  local text = driver.encode { error = { code = tostring(code), message = self.text_of(result) } }
  return HTTP[self.class_of(tostring(code)) or 5] or 500, text or "{}", request.path == "/api/act"
end

return answers

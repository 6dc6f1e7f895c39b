-- Executes a scenario (README.md) with the Lua binding, in whichever host, and prints its trace.
--
--     lua5.4 run.lua SCENARIO.json [TARGET [NAMESPACE]]
--     luajit -l resty.tito run.lua SCENARIO.json [TARGET [NAMESPACE]]
--     dofile("run.lua")(SCENARIO, TARGET, NAMESPACE, print)         in nginx
local driver = require "tito.driver"
local tito = require "tito"

local unpack = table.unpack or unpack -- luacheck: ignore 113 143

local HOST = {
  not_draft = function(document) return document.status ~= "draft" end,
  post_events = function(document) return { { name = "post", payload = document.title } } end,
  author = function(document) return document.author end,
  tag_ids = function(document) return document.tag_ids end,
  raises = function() error("as asked") end,
}

local ARRAY = getmetatable(tito.array())

local function shown_text(text)
  return '"' .. text:gsub('["\\%c]', function(c)
    if c == '"' or c == "\\" then
      return "\\" .. c
    end
    return c:byte() < 32 and ("\\u%04x"):format(c:byte()) or c
  end) .. '"'
end

--- value as JSON with sorted keys.
local function shown(value)
  if value == nil or value == tito.null then
    return "null"
  elseif type(value) == "string" then
    return shown_text(value)
  elseif type(value) ~= "table" then
    return (driver.encode(value))
  end
  local out = {}
  if getmetatable(value) == ARRAY or value[1] ~= nil then
    for i, item in ipairs(value) do
      out[i] = shown(item)
    end
    return "[" .. table.concat(out, ",") .. "]"
  end
  local names = {}
  for name in pairs(value) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    out[i] = shown_text(name) .. ":" .. shown(value[name])
  end
  return "{" .. table.concat(out, ",") .. "}"
end

local function with_functions(value)
  if type(value) ~= "table" then
    return value
  elseif value.host then
    return HOST[value.host]
  end
  local out = {}
  for name, member in pairs(value) do
    out[name] = with_functions(member)
  end
  return setmetatable(out, getmetatable(value))
end

local db, queues, models, txs, versions, last
local ops = {}

local function written(step, model, name, ...)
  local options = { version = true, events = step.events, if_version = step.if_version and versions[step.if_version] }
  local arguments = { ... }
  arguments[#arguments + 1] = options
  arguments[#arguments + 1] = txs[step.tx]
  local document, version = model[name .. "_with_options"](model, unpack(arguments))
  if document and step.keep_version then
    versions[step.keep_version] = version
  end
  return document, version
end

for _, name in ipairs { "build", "update", "save" } do
  ops[name] = function(step, model) return written(step, model, name, step.document) end
end

function ops.patch(step, model)
  return written(step, model, "patch", step.id, step.changes)
end

function ops.delete(step, model, tx)
  if step.events then
    return model:delete_by_id_with_options(step.id, tito.with_events(step.events), tx)
  end
  return model:delete_by_id(step.id, tx)
end

function ops.find(step, model, tx)
  return model:find_by_id(step.id, step.relationships, tx)
end

function ops.find_many(step, model, tx)
  return model:find_many(step.ids, step.relationships, tx)
end

local function asked(step, model)
  local query = model:query_by_index(step.index)
  for _, value in ipairs(step.values or {}) do
    query:value(value)
  end
  for _, bound in ipairs(step.bounds or {}) do
    query[bound[1]](query, bound[2])
  end
  for _, path in ipairs(step.relationships or {}) do
    query:relationship(path)
  end
  if step.limit then
    query:limit(step.limit)
  end
  if step.cursor then
    query:cursor(last)
  end
  if step.reverse then
    query:reverse()
  end
  return step.keys_only and query:keys_only() or query
end

local function page_of(page, err)
  if not page then
    return nil, err
  end
  last = page.cursor
  return { items = page.items, more = page.cursor ~= nil }
end

function ops.query(step, model, tx)
  return page_of(asked(step, model):execute(tx))
end

function ops.first(step, model, tx)
  return asked(step, model):first(tx)
end

function ops.count(step, model, tx)
  return asked(step, model):count(tx)
end

function ops.scan(step, model, tx)
  return page_of(model:scan({ limit = step.limit, reverse = step.reverse }, tx))
end

function ops.begin(step)
  local tx, err = db:begin()
  txs[step.tx] = tx
  return tx and true, err
end

function ops.commit(step, _, tx)
  txs[step.tx] = nil
  local version, err = tx:commit()
  return version and true, err
end

function ops.rollback(step, _, tx)
  txs[step.tx] = nil
  return tx:rollback()
end

function ops.publish(step, _, tx)
  local published, err = queues[step.type]:publish({ key = step.key, payload = step.payload }, tx)
  return published and true, err
end

function ops.history(step)
  local page, err = queues[step.type]:history { state = step.state }
  if not page then
    return nil, err
  end
  local out = tito.array()
  for i, e in ipairs(page.items) do
    out[i] = {}
    for _, name in ipairs { "key", "action", "entity", "references", "payload", "attempts" } do
      out[i][name] = e[name] == nil and tito.null or e[name]
    end
  end
  return out
end

function ops.work(step)
  local worker, seen, fail = db:worker { retry = { max_retries = 0 } }, tito.array(), {}
  for _, key in ipairs(step.fail or {}) do
    fail[key] = true
  end
  worker:on(step.type, function(event)
    local function known(value) return value == nil and tito.null or value end
    seen[#seen + 1] = tito.array { event.key, known(event.action), known(event.payload) }
    if #seen == step.count then
      worker:stop()
    end
    if fail[event.key] then
      error("as asked")
    end
  end)
  assert(worker:run())
  return seen
end

function ops.check(step)
  local summary, err = db:check(step.model)
  return summary and tito.array(summary.findings), err
end

function ops.reindex(step)
  local summary, err = db:reindex(step.model)
  return summary and true, err
end

local function failure(err)
  if type(err) ~= "table" or not err.code then
    error(err, 0)
  elseif err.code == "handler_failed" then
    return "!handler_failed"
  end
  return "!" .. err.code .. (err.table and " " .. err.table or "") .. (err.index and " " .. err.index or "")
end

local function line_of(step)
  local ok, result, err = pcall(ops[step.op], step, models[step.model], txs[step.tx])
  if not ok then
    return failure(result)
  elseif result == nil and err ~= nil then
    return failure(err)
  end
  return shown(result)
end

--- Runs the scenario of the file at path; write(line) is told each line.
local function trace(path, target, namespace, write)
  local file = assert(io.open(path, "rb"))
  local scenario = assert(driver.decode(file:read("*a")))
  file:close()
  db = assert(tito.connect(target or "memory:", { namespace = namespace }))
  queues, models, txs, versions = {}, {}, setmetatable({}, { __index = function() end }), {}
  for name, options in pairs(scenario.queues or {}) do
    options.type = name
    queues[name] = db:queue(options)
  end
  for name, spec in pairs(scenario.models) do
    local made = with_functions(spec)
    made.table = name
    models[name] = db:model(made)
  end
  for number, step in ipairs(scenario.steps) do
    step.tx = step.tx or false
    write(("%d %s %s"):format(number, step.op, line_of(step)))
  end
  assert(db:close())
end

if arg then
  trace(arg[1], arg[2], arg[3], print)
end
return trace

--- Loading documents in batches, each of which commits together with how far the load is.
--
--   add(item) … ──> a batch ──> transaction { documents, the state } ── committed ──> the next
--                                   │ a document is refused: what stands before it is committed, then
--                                   └─ fail: the end   skip, replace: it is counted, and the rest goes on
--
-- The state is a record of the table "tito.load": {id, offset, line, hash, loaded, skipped, refused}. Its id is a hash
-- of what stands before the first document. A load that was killed finds it, reads up to its offset, and goes on when
-- what it has read has its hash.
--
-- INVARIANTS
--  1. A document and the state that counts it commit together, or not at all.
--  2. Documents are written in the order of the file.
local dumps = require "tito.cli.dumps"
local models = require "tito.cli.models"
local output = require "tito.cli.output"

local loading = {}

local BATCH_SIZE_MAX, TRIES_MAX, TOLD_MAX = 4 * 1024 * 1024, 12, 20
local CONFLICT, TRANSIENT, UNKNOWN = 2, 3, 4

--- What a document may be refused for; anything else ends the load.
local REFUSALS = { already_exists = true, unique_violation = true, invalid_argument = true, limit_exceeded = true,
  handler_failed = true }

local Load = {}
Load.__index = Load

--- Ends the load, with the code of an error.
local function stop(code, text, ...)
  error({ code = code, message = select("#", ...) > 0 and text:format(...) or text }, 0)
end
loading.stop = stop

function loading.new(context, db)
  return setmetatable({
    context = context, db = db, transfer = require "tito.cli.transfer", policy = context.options.on_conflict,
    batch_max = context.options.batch, state_model = db:model { table = dumps.STATE }, app = {}, tables = {},
    queues = {}, items = {}, size = 0, counts = { loaded = 0, skipped = 0, refused = 0 }, told = 0, unfilled = {},
  }, Load)
end

-- ---- Tables

--- Keeps what the app's models say, before the dump's replace them in db.models.
function Load:take_app()
  for name, model in pairs(self.db.models) do
    self.app[name] = model.functions
  end
end

--- The condition functions of the host indexes of a spec, in the order of its bits; nil and the index without one.
local function conditions_of(spec, functions)
  local list = {}
  for _, kind in ipairs { "indexes", "unique_indexes" } do
    for _, index in ipairs(spec[kind] or {}) do
      if models.asks_app(index) then
        local found
        for _, condition in ipairs(functions.conditions) do
          found = found or condition.name == index.name and condition or nil
        end
        if not found then
          return nil, index.name
        end
        list[#list + 1] = found
      end
    end
  end
  return { conditions = list, table = spec.table, destinations = {}, defaults = {} }
end

--- Takes the indexes whose condition only an app knows out of a spec.
function Load:without_host(spec)
  for _, kind in ipairs { "indexes", "unique_indexes" } do
    local kept = {}
    for _, index in ipairs(spec[kind] or {}) do
      if models.asks_app(index) then
        table.insert(self.unfilled, { table = spec.table, index = index.name })
      else
        kept[#kept + 1] = index
      end
    end
    spec[kind] = kept
  end
end

--- Declares a table as a dump describes it.
function Load:declare(name, schema)
  local spec = { table = name, indexes = schema.indexes, unique_indexes = schema.unique_indexes }
  local conditions, missing
  if self.app[name] then
    conditions, missing = conditions_of(spec, self.app[name])
    if not conditions then
      stop("schema_mismatch", "the app has no function for the condition of index '%s' of table '%s'", missing, name)
    end
  else
    self:without_host(spec)
  end
  local ok, model = pcall(self.db.model, self.db, spec)
  if not ok then
    stop("invalid_argument", "the table '%s' can not be declared: %s", tostring(name),
      type(model) == "table" and model.message or tostring(model))
  end
  self.tables[name] = { handle = model.handle, model = model,
    conditions = conditions and #conditions.conditions > 0 and conditions or nil }
end

function Load:table_of(name)
  if not self.tables[name] then
    local ok, model = pcall(models.get, self.context, self.db, name, true)
    if not ok then
      return nil
    end
    self.tables[name] = { handle = model.handle, model = model }
  end
  return self.tables[name]
end

-- ---- Events

--- Opens a type of events as a dump describes it; first: and holds it back when it was.
function Load:declare_queue(spec, first)
  local ok, queue = pcall(self.db.queue, self.db, { type = spec.type, partitions = spec.partitions })
  if not ok then
    stop("invalid_argument", "the type of events '%s' can not be declared: %s", tostring(spec.type),
      type(queue) == "table" and queue.message or tostring(queue))
  end
  self.queues[spec.type] = queue
  if first and spec.paused then
    self.context.check(queue:pause())
  end
end

--- Publishes an event; nil and why. One of this dump that waits already is refused by its token.
local function publish(load, tx, item)
  local event = dumps.decode(item.json)
  if type(event) ~= "table" or type(event.type) ~= "string" or type(event.key) ~= "string" then
    return nil, { code = "invalid_argument", message = "this is no event of a dump" }
  elseif not load.queues[event.type] then
    load:declare_queue({ type = event.type }, false)
  end
  local driver = require "tito.driver"
  local payload = event.payload
  return driver.queue_publish(load.queues[event.type].handle, tx.handle, event.key,
    payload == nil and driver.null or payload, tonumber(event.timestamp), nil, {
      unique = ("tito.load.%s.%d"):format(item.hash, item.line), action = event.action, entity = event.entity,
      entity_id = event.entity_id, references = event.references and output.json(event.references),
    })
end

-- ---- The state

--- Finds the state of an earlier load of the same beginning: its position, or nil.
function Load:find_state(id)
  self.id = id
  local found, err = self.state_model:find_by_id(id)
  if found == nil and err then
    error(err, 0)
  end
  if found and self.context.options.restart then
    self.context.check(self.state_model:delete_by_id(id))
    return nil
  end
  if found then
    self.counts = { loaded = found.loaded, skipped = found.skipped, refused = found.refused }
  end
  return found
end

local function state_of(load, position, added)
  return { id = load.id, offset = position.offset, line = position.line, hash = position.hash,
    loaded = load.counts.loaded + added, skipped = load.counts.skipped, refused = load.counts.refused }
end

--- Whether the state says that everything up to position was committed.
function Load:is_committed(position)
  local found, err = self.state_model:find_by_id(self.id)
  if found == nil and err then
    error(err, 0)
  end
  return found ~= nil and found.offset == position.offset and found.hash == position.hash
end

-- ---- One batch

--- Writes one document; nil and why.
local function put(load, tx, item)
  if item.kind == "event" then
    return publish(load, tx, item)
  end
  local of = load:table_of(item.table)
  if not of then
    return nil, { code = "invalid_argument", message = ("'%s' is no name of a table"):format(tostring(item.table)) }
  end
  local low, high
  if of.conditions then
    local document, err = require("tito.driver").decode(item.json)
    if document == nil then
      return nil, err
    end
    low, high = require("tito.host").conditions(of.conditions, document)
    if not low then
      return nil, high
    end
  end
  return load.transfer.put(of.handle, tx.handle, item.json, load.policy == "replace" and "save" or "build", low, high)
end

--- One transaction with the items and the state after them: true; or nil, the error, and which item it is about.
local function attempt(load, items, position)
  local tx <close> = load.context.check(load.db:begin())
  for i, item in ipairs(items) do
    local ok, err = put(load, tx, item)
    if not ok then
      return nil, err, i
    end
  end
  local saved, err = load.state_model:save(state_of(load, position, #items), tx)
  if not saved then
    return nil, err
  end
  local version
  version, err = tx:commit()
  if not version then
    return nil, err
  end
  return true
end

--- Counts a document that was refused, or ends the load.
function Load:refuse(item, err)
  if err.code == "already_exists" and (self.policy == "skip" or item.kind == "event") then
    self.counts.skipped = self.counts.skipped + 1
    return
  end
  local text = ("line %d: %s"):format(item.line, err.message)
  if self.policy == "fail" then
    stop(err.code, "%s; what stands before it is loaded", text)
  end
  self.counts.refused = self.counts.refused + 1
  self.told = self.told + 1
  if self.told <= TOLD_MAX then
    self.context.log("warn", "refused: " .. text)
  elseif self.told == TOLD_MAX + 1 then
    self.context.log("warn", "more are refused; they are counted")
  end
end

--- What the store has of the items: by item, its document.
local function find_existing(load, items)
  local ids, documents, existing = {}, {}, {}
  for _, item in ipairs(items) do
    item.document = item.kind == "document" and dumps.decode(item.json)
    local id = type(item.document) == "table" and item.document.id
    if type(id) == "string" then
      ids[item.table] = ids[item.table] or {}
      table.insert(ids[item.table], id)
    end
  end
  for name, list in pairs(ids) do
    for _, document in ipairs(load.context.check(load:table_of(name).model:find_many(list))) do
      documents[name .. "\0" .. document.id] = document
    end
  end
  for _, item in ipairs(items) do
    local id = type(item.document) == "table" and item.document.id
    existing[item] = type(id) == "string" and documents[item.table .. "\0" .. id] or nil
  end
  return existing
end

local commit

--- Commits items[from … to] up to the end of the last of them.
local function commit_part(load, items, from, to)
  if to >= from then
    commit(load, table.move(items, from, to, 1, {}), items[to])
  end
end

--- Takes items out that are in the store already: the rest; nil when none is. One that is there as it is in the dump is
-- no conflict, whatever the policy: a load may be called again.
local function drop_existing(load, items)
  local existing, rest, found = find_existing(load, items), {}, false
  for i, item in ipairs(items) do
    local there = existing[item]
    if not there then
      rest[#rest + 1] = item
    elseif output.json(there) == output.json(item.document) then
      found = true
      load.counts.skipped = load.counts.skipped + 1
    else
      if load.policy == "fail" and i > 1 then
        commit(load, rest, items[i - 1])
      end
      found = true
      load:refuse(item, { code = "already_exists",
        message = ("table '%s' has another record with the id '%s'"):format(item.table, there.id) })
    end
  end
  return found and rest or nil
end

--- What is left to commit after a refusal: the items. at: which one it was about, where that is known.
local function after_refusal(load, items, err, at)
  if at and at > 1 and err.code ~= "limit_exceeded" then
    commit_part(load, items, 1, at - 1)
    return table.move(items, at, #items, 1, {})
  end
  local rest = err.code == "already_exists" and drop_existing(load, items)
  if rest then
    return rest
  end
  if #items == 1 or at == 1 then
    load:refuse(items[1], err)
    return table.move(items, 2, #items, 1, {})
  end
  local half = #items // 2
  commit_part(load, items, 1, half)
  return table.move(items, half + 1, #items, 1, {})
end

--- Commits the items, and that everything up to position is done.
function commit(load, items, position)
  local tries = 0
  while true do
    local ok, err, at = attempt(load, items, position)
    local class = not ok and load.context.cli.class_of(tostring(err.code))
    if ok or (class == UNKNOWN and load:is_committed(position)) then
      load.counts.loaded = load.counts.loaded + #items
      return
    elseif class == CONFLICT or class == TRANSIENT or class == UNKNOWN then
      tries = tries + 1
      if tries > TRIES_MAX or load.context.interrupted() then
        error(err, 0)
      end
      load.context.cli.sleep(math.min(2, 0.01 * 2 ^ tries))
    elseif REFUSALS[err.code] and #items > 0 then
      items = after_refusal(load, items, err, at)
    else
      error(err, 0)
    end
  end
end

--- Commits what has been added; position: up to where everything is done.
function Load:flush(position)
  local items = self.items
  self.items, self.size = {}, 0
  commit(self, items, position)
end

--- Adds a document or an event; item: { kind, table, json, line, offset, hash }.
function Load:add(item)
  self.items[#self.items + 1] = item
  self.size = self.size + #item.json
  if #self.items >= self.batch_max or self.size >= BATCH_SIZE_MAX then
    self:flush(item)
  end
end

--- Makes the tables of which the dump has no document: others are made by their first one.
function Load:make_empty_tables()
  local known = models.catalog(self.context, self.db)
  for _, name in ipairs(output.sorted_names(self.tables)) do
    if not known[name] then
      self.context.check(self.db:reindex(name))
    end
  end
end

--- The load is whole: forgets the state.
function Load:finish()
  self:make_empty_tables()
  self.context.check(self.state_model:delete_by_id(self.id))
end

return loading

--- Queries: what is asked, collected step by step, executed as often as wanted.
--
--     Post:query_by_index("by_author"):value("Alice"):gte(20230101):limit(10):relationship("tags"):execute()
--
-- A query is the table that driver.query_* take: { index, values = { n = }, bounds = { op, v, … }, … }.
local driver = require "tito.driver"
local errors = require "tito.errors"
local transaction = require "tito.transaction"

local query = {}

local Query = { __name = "tito.query" }
Query.__index = Query

local GT, GTE, LT, LTE, STARTS_WITH = 1, 2, 3, 4, 5

--- A query of a model by one of its indexes; index nil: over the whole table.
function query.new(model, index)
  return setmetatable({ model = model.handle, index = index, values = { n = 0 }, bounds = {}, relationships = {} },
    Query)
end

--- The value of the next field of the index; tito.null for records without one.
function Query:value(v)
  if v == nil then
    errors.raise("invalid_argument", "value: a value expected (tito.null stands for null)")
  end
  local values = self.values
  values.n = values.n + 1
  values[values.n] = v
  return self
end

local function bound(self, op, v, name)
  if v == nil then
    errors.raise("invalid_argument", "%s: a value expected", name)
  end
  local bounds = self.bounds
  bounds[#bounds + 1] = op
  bounds[#bounds + 1] = v
  return self
end

--- Bounds of the field after the last value.
function Query:gt(v) return bound(self, GT, v, "gt") end
function Query:gte(v) return bound(self, GTE, v, "gte") end
function Query:lt(v) return bound(self, LT, v, "lt") end
function Query:lte(v) return bound(self, LTE, v, "lte") end

--- Both ends included.
function Query:between(a, b)
  if a == nil or b == nil then
    errors.raise("invalid_argument", "between: two values expected")
  end
  return bound(bound(self, GTE, a), LTE, b)
end

function Query:starts_with(prefix)
  return bound(self, STARTS_WITH, errors.expect(prefix, "string", "starts_with: the prefix"), "starts_with")
end

--- At most n items on a page (100 when not said).
function Query:limit(n)
  if type(n) ~= "number" or n ~= math.floor(n) or n < 1 or n > 10000 then
    errors.raise("invalid_argument", "limit: a whole number from 1 to 10000 expected")
  end
  self.page_limit = n
  return self
end

--- Goes on behind an earlier page; nil begins anew.
function Query:cursor(c)
  if c ~= nil then
    errors.expect(c, "string", "cursor: the cursor")
  end
  self.page_cursor = c
  return self
end

--- Hydrates a relationship: the name of its destination, or a chain ("tags.category").
function Query:relationship(path)
  local paths = self.relationships
  paths[#paths + 1] = errors.expect(path, "string", "relationship: the path")
  return self
end

function Query:reverse()
  self.backward = not self.backward
  return self
end

function Query:keys_only()
  self.only_keys = true
  return self
end

--- The driver's form; flip: the other direction, cursor: instead of the query's own.
local function form(self, flip, cursor)
  local backward = self.backward or false
  if flip then
    backward = not backward
  end
  return {
    index = self.index, values = self.values, bounds = self.bounds, relationships = self.relationships,
    limit = self.page_limit, cursor = cursor or self.page_cursor, reverse = backward, keys_only = self.only_keys,
  }
end

--- A page: { items = …, cursor = the next page's, nil on the last }.
function Query:execute(tx)
  return driver.query_execute(self.model, transaction.handle(tx, "execute"), form(self))
end

function Query:execute_reverse(tx)
  return driver.query_execute(self.model, transaction.handle(tx, "execute_reverse"), form(self, true))
end

function Query:execute_tx(tx)
  if tx == nil then
    errors.raise("invalid_argument", "execute_tx: a transaction expected")
  end
  return driver.query_execute(self.model, transaction.handle(tx, "execute_tx"), form(self))
end

--- The first document, nil when there is none.
function Query:first(tx)
  return driver.query_first(self.model, transaction.handle(tx, "first"), form(self))
end

--- How many documents in all, whatever limit and cursor.
function Query:count(tx)
  return driver.query_count(self.model, transaction.handle(tx, "count"), form(self))
end

--- How it would be executed.
function Query:explain()
  return driver.query_explain(self.model, nil, form(self))
end

--- Iterates over all documents, page by page: `for post in query:each() do`. Without a transaction each page has a
-- snapshot of its own. Raises the error of a page that fails.
function Query:each(tx)
  transaction.handle(tx, "each")
  local items, position, cursor, last = nil, 0, nil, false
  return function()
    while true do
      position = position + 1
      if items and items[position] ~= nil then
        return items[position]
      end
      if last then
        return nil
      end
      local page, err = driver.query_execute(self.model, transaction.handle(tx, "each"), form(self, false, cursor))
      if not page then
        error(err, 0)
      end
      items, position, cursor = page.items, 0, page.cursor
      last = cursor == nil
    end
  end
end

return query

-- Creates, finds, updates and deletes a user: the four operations on one record.
--
--     crud [--db TARGET]      TARGET: a directory, memory:, …; default: $TITO_DB, else memory:
local tito = require "tito"

local target = os.getenv("TITO_DB") or "memory:"
if arg[1] == "--db" and arg[2] then
  target = arg[2]
elseif arg[1] then
  print("usage: crud [--db TARGET]\nTARGET is a directory or memory:; the default is $TITO_DB, else memory:")
  os.exit(arg[1] == "--help" and 0 or 2)
end

local db = assert(tito.connect(target))
local User = db:model {
  table = "user",
  fields = { name = { type = "string", required = true }, age = "integer" },
  indexes = { { name = "by_age", fields = { { name = "age", type = "number" } } } },
  unique_indexes = { { name = "by_email", fields = { { name = "email", type = "string" } } } },
}

local function show(user)
  return ("{ id = %s, name = %s, email = %s, age = %d }"):format(user.id, user.name, user.email, user.age)
end

-- create
local created = assert(User:build { id = tito.uuid(), name = "John Doe", email = "john@example.com", age = 30 })
print("Created user: " .. show(created))

-- read
local found, version = User:find_by_id(created.id, { version = true })
assert(found, "the user is not there")
print("Found user: " .. show(found))

-- update, unless somebody else has changed the record since it was read
found.age = 31
assert(User:update_with_options(found, { if_version = version }))
print("User updated successfully")
print("Found user: " .. show(assert(User:find_by_id(created.id))))

-- delete
assert(User:delete_by_id(created.id))
print("User deleted successfully")
assert(User:find_by_id(created.id) == nil, "the user is still there")

assert(db:close())

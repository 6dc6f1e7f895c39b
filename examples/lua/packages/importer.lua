--- Stores the packages in batches: a batch, with its index entries and events, is one transaction.
local progress = require "packages.progress"
local source = require "packages.source"
local tito = require "tito"

local importer = {}

local BATCH = 500
local NAMES_MAX = 10000
local WITH_EVENTS = tito.with_events(tito.INSERT)

--- Stores the batch without what is in `known`; how many that were.
local function store(db, models, batch, known)
  return db:transaction(function(tx)
    for _, maintainer in pairs(batch.maintainers) do
      assert(models.Maintainer:save(maintainer, tx))
    end
    local stored = 0
    for _, package in ipairs(batch.packages) do
      if not known[package.id] then
        assert(models.Package:build_with_options(package, WITH_EVENTS, tx))
        stored = stored + 1
      end
    end
    return stored
  end)
end

--- The ids of the batch that are stored already, as a set.
local function known_of(models, batch)
  local known = {}
  for _, package in ipairs(assert(models.Package:find_many(batch.ids))) do
    known[package.id] = true
  end
  return known
end

--- Stores what of the batch is not there yet; how many that were. Most batches are new as a whole, so that is tried
-- first.
local function store_new(db, models, batch)
  local stored, err = store(db, models, batch, {})
  if not stored and err.code == "already_exists" then
    stored, err = store(db, models, batch, known_of(models, batch))
  end
  return assert(stored, err)
end

local function new_batch()
  return { packages = {}, ids = tito.array(), seen = {}, maintainers = {} }
end

--- Adds a package, unless the batch has it in another version. `names` are the maintainers stored already.
local function add(batch, package, maintainer, names)
  if batch.seen[package.id] then
    return
  end
  batch.seen[package.id] = true
  batch.ids[#batch.ids + 1] = package.id
  batch.packages[#batch.packages + 1] = package
  if names[maintainer.id] ~= maintainer.name then
    batch.maintainers[maintainer.id] = maintainer
  end
end

--- Remembers the batch's maintainers as stored, so that the next batches leave them out. Begins anew at NAMES_MAX.
local function remember(stored, batch)
  for id, maintainer in pairs(batch.maintainers) do
    if stored.count == NAMES_MAX then
      stored.names, stored.count = {}, 0
    end
    stored.count = stored.count + (stored.names[id] and 0 or 1)
    stored.names[id] = maintainer.name
  end
end

--- Imports at most limit packages (nil: all) of file (nil: the machine's lists); how many were stored.
function importer.run(db, models, file, limit)
  local bar = progress.start("Importing", limit or (not file and source.count()) or nil)
  local stored, batch, maintainers = 0, new_batch(), { names = {}, count = 0 }
  local function flush()
    if #batch.packages > 0 then
      stored = stored + store_new(db, models, batch)
      remember(maintainers, batch)
      bar:add(#batch.packages)
      batch = new_batch()
    end
  end
  for package, maintainer in source.packages(source.installed(), file) do
    add(batch, package, maintainer, maintainers.names)
    if #batch.packages == BATCH or bar.done + #batch.packages == limit then
      flush()
      if bar.done == limit then
        break
      end
    end
  end
  flush()
  bar:finish("packages with their indexes and events")
  return stored
end

return importer

-- The Lua twin of tito-bench: the workloads of one caller through require "tito", with the table that a Lua program
-- gets. Started by tito-bench, whose options it takes; prints `result` lines in its form (bench.h).
local tito = require "tito"

local options = {}
for _, argument in ipairs(arg) do
  local name, value = argument:match("^%-%-(%a+)=(.*)$")
  options[name] = tonumber(value) or value
end
local posts, ops, events = options.posts, options.ops, options.events

local STRIDE, AUTHORS, TAGS, KEYS = 1000000, 100, 50, 64
local BODY = ("x"):rep(256)

local function rss_kib()
  for line in io.lines("/proc/self/status") do
    local kib = line:match("^VmRSS:%s+(%d+)")
    if kib then return tonumber(kib) end
  end
  return 0
end

local function result(workload, n, seconds, cpu, latencies)
  table.sort(latencies)
  local function at(share)
    return #latencies > 0 and latencies[math.min(#latencies, math.floor(#latencies * share) + 1)] * 1e6 or 0
  end
  print(("result lua %s 1 %d %.6f %.2f %.2f %d %.2f"):format(workload, n, seconds, at(0.5), at(0.99), rss_kib(),
    cpu * 1e6 / n))
  io.stdout:flush()
end

-- Calls op(0) … op(n - 1); prints the result when it has a name.
local function measure(workload, n, op)
  local now, latencies, cpu = tito.now, {}, os.clock()
  local began = now()
  for i = 0, n - 1 do
    local t = now()
    op(i)
    latencies[i + 1] = now() - t
  end
  local seconds = now() - began
  if workload then result(workload, n, seconds, os.clock() - cpu, latencies) end
end

local function open(name)
  local db = assert(tito.connect(options.dir .. "/" .. name,
    { durability = options.durability, block_cache_size = options.cache << 20 }))
  local Tag = db:model { table = "tag" }
  local Post = db:model {
    table = "post",
    indexes = {
      { name = "by_author", fields = { { name = "author", type = "string" }, { name = "views", type = "number" } } },
      { name = "by_tag", fields = { { name = "tag_ids", type = "string" } } },
    },
    relationships = { { source_field_name = "tag_ids", destination_field_name = "tags", model = "tag" } },
  }
  return db, Tag, Post
end

local function inserts()
  local db, Tag, Post = open("lua")
  for i = 0, TAGS - 1 do
    assert(Tag:build { id = "t" .. i, name = "Tag " .. i })
  end
  measure("insert", posts, function(i)
    assert(Post:build {
      id = "p" .. STRIDE + i,
      title = "Title " .. i,
      author = "author" .. i % AUTHORS,
      body = BODY,
      views = i % 1000,
      tag_ids = { "t" .. i % TAGS, "t" .. (i + 7) % TAGS, "t" .. (i + 13) % TAGS },
    })
  end)
  db:close()
end

-- The same data that the other engines read.
local function reads()
  local db, _, Post = open("c")
  local function find(i)
    assert(#assert(Post:find_by_id("p" .. STRIDE + (i * 7919) % posts)).body == 256)
  end
  measure(nil, ops, find)
  measure("find_by_id", math.max(1, ops // 4), find)
  measure("query_index+hydrate10", math.max(1, (ops // 4 + 1) // 2), function(i)
    local page = assert(Post:query_by_index("by_author"):value("author" .. i % AUTHORS):limit(10)
      :relationship("tags"):execute())
    assert(#page.items > 0 and #page.items[1].tags == 3)
  end)
  db:close()
end

local function queue()
  local db = open("lua")
  local q = db:queue { type = "bench", partitions = 4 }
  measure("publish", events, function(i)
    assert(q:publish { key = "user:" .. i % KEYS, payload = { n = i } })
  end)

  -- The time ends when run() returns: every acknowledgement is committed then.
  local worker, handled = db:worker { concurrency = 4, partition_range = { 0, 4 } }, 0
  worker:on("bench", function()
    handled = handled + 1
    if handled == events then worker:stop() end
  end)
  local began, cpu = tito.now(), os.clock()
  worker:run()
  result("drain", handled, tito.now() - began, os.clock() - cpu, {})
  assert(handled == events, "some events were not handled")

  -- From the call of publish to the first line of the handler.
  local came
  local waiter = db:worker { concurrency = 1, partition_range = { 0, 4 } }
  waiter:on("bench", function() came = tito.now() end)
  local n, latencies = math.min(ops, 2000), {}
  began, cpu = tito.now(), os.clock()
  for i = 1, n do
    came = nil
    local t = tito.now()
    assert(q:publish { key = "user:" .. i % KEYS, payload = { n = i } })
    while not came do waiter:step(1000) end
    latencies[i] = came - t
  end
  result("pickup", n, tito.now() - began, os.clock() - cpu, latencies)
  waiter:stop()
  db:close()
end

inserts()
reads()
queue()

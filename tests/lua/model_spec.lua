-- Writing and reading records.
local support = require "support"
local tito = require "tito"

local function users(db)
  return db:model {
    table = "user",
    indexes = { { name = "by_age", fields = { { name = "age", type = "number" } } } },
    unique_indexes = { { name = "by_email", fields = { { name = "email", type = "string" } } } },
  }
end

describe("a model", function()
  local db, User

  before_each(function()
    db = support.open()
    User = users(db)
  end)

  after_each(function()
    db:close()
  end)

  it("builds and finds", function()
    local document = { id = "u1", name = "Ann", email = "ann@x", age = 30, tags = tito.array(), score = 1.0 }
    local stored = assert(User:build(document))
    assert.same(document, stored)
    support.is_number("float", stored.score)
    support.is_number("integer", stored.age)
    assert.same(document, User:find_by_id("u1"))
  end)

  it("answers nil alone for what is not there", function()
    assert.equal(1, select("#", User:find_by_id("nobody")))
    assert.is_nil((User:find_by_id("nobody")))
  end)

  it("does not build twice", function()
    assert(User:build { id = "u1", email = "a" })
    assert.fails("already_exists", User:build { id = "u1", email = "b" })
    local _, err = User:build { id = "u1", email = "b" }
    assert.equal("user", err.table)
    assert.is_false(err.retryable)
    assert.equal("a", User:find_by_id("u1").email)
  end)

  it("names table and index of a unique violation", function()
    assert(User:build { id = "u1", email = "a" })
    local _, err = User:build { id = "u2", email = "a" }
    assert.equal("unique_violation", err.code)
    assert.equal("user", err.table)
    assert.equal("by_email", err.index)
    assert.is_nil((User:find_by_id("u2")))
  end)

  it("updates, saves, patches, deletes", function()
    assert.fails("not_found", User:update { id = "u1" })
    assert.fails("not_found", User:patch("u1", { age = 1 }))
    assert(User:save { id = "u1", email = "a", age = 1, note = "x" })
    assert(User:update { id = "u1", email = "a", age = 2, note = "x" })
    local patched = assert(User:patch("u1", { age = 3, note = tito.null }))
    assert.same({ id = "u1", email = "a", age = 3 }, patched)
    assert.same(patched, User:find_by_id("u1"))
    assert.is_true(User:delete_by_id("u1"))
    assert.is_false(User:delete_by_id("u1"))
    assert.is_nil((User:find_by_id("u1")))
  end)

  it("compares versions", function()
    local _, first = User:build_with_options({ id = "u1", email = "a", age = 1 }, { version = true })
    support.is_number("integer", first)
    local found, version = User:find_by_id("u1", { version = true })
    assert.equal(first, version)
    found.age = 2
    local _, second = assert(User:update_with_options(found, { if_version = version, version = true }))
    assert.is_true(second > first)
    assert.fails("version_mismatch", User:update_with_options(found, { if_version = version }))
    assert.fails("version_mismatch", User:patch_with_options("u1", { age = 9 }, { if_version = version }))
    assert.fails("version_mismatch", User:delete_by_id_with_options("u1", { if_version = version }))
    assert.equal(2, User:find_by_id("u1").age)
    for _, odd in ipairs { "x", tostring(second), 0, -1, 1.5, 0 / 0, math.huge, true, {} } do
      support.raised("invalid_argument", function() User:update_with_options(found, { if_version = odd }) end)
      support.raised("invalid_argument", function() User:patch_with_options("u1", { age = 9 }, { if_version = odd }) end)
      support.raised("invalid_argument", function() User:delete_by_id_with_options("u1", { if_version = odd }) end)
    end
    assert.equal(2, User:find_by_id("u1").age)
    assert.is_true(User:delete_by_id_with_options("u1", { if_version = second }))
  end)

  it("finds many in the order asked for", function()
    for i = 1, 5 do
      assert(User:build { id = "u" .. i, email = "e" .. i })
    end
    local found = assert(User:find_many({ "u3", "nobody", "u1", "u5" }))
    assert.equal(3, #found)
    assert.equal("u3", found[1].id)
    assert.equal("u1", found[2].id)
    assert.equal("u5", found[3].id)
    assert.same({}, User:find_many {})
  end)

  it("scans page by page", function()
    for i = 1, 25 do
      assert(User:build { id = ("u%02d"):format(i), email = "e" .. i })
    end
    local seen, cursor = {}, nil
    repeat
      local page = assert(User:scan { limit = 10, cursor = cursor })
      for _, user in ipairs(page.items) do
        seen[#seen + 1] = user.id
      end
      cursor = page.cursor
    until not cursor
    assert.equal(25, #seen)
    assert.equal("u01", seen[1])
    assert.equal("u25", seen[25])
    assert.equal("u25", assert(User:scan { limit = 1, reverse = true }).items[1].id)
    assert.equal("u01", assert(User:scan { limit = 1, keys_only = true }).items[1].id)
  end)

  it("adds defaults and timestamps", function()
    local Job = db:model {
      table = "job",
      timestamps = true,
      fields = { state = { type = "string", default = "new" }, name = { type = "string", required = true } },
    }
    local job = assert(Job:build { id = "j1", name = "n" })
    assert.equal("new", job.state)
    assert.is_not_nil(job.created_at)
    assert.same(job, Job:find_by_id("j1"))
    assert.fails("invalid_argument", Job:build { id = "j2" })
    assert.fails("invalid_argument", Job:build { id = "j2", name = 7 })
    assert.is_nil((Job:find_by_id("j2")))
  end)
end)

describe("relationships", function()
  local db, Tag, Post

  before_each(function()
    db = support.open()
    db:model { table = "category" }
    Tag = db:model {
      table = "tag",
      relationships = { { source_field_name = "category_id", destination_field_name = "category", model = "category" } },
    }
    Post = db:model {
      table = "post",
      indexes = { { name = "by_author", fields = { { name = "author", type = "string" } } } },
      relationships = {
        { source_field_name = "tag_ids", destination_field_name = "tags", model = Tag },
        { source_field_name = "items.tag_id", destination_field_name = "items.tag", model = "tag" },
      },
    }
    local Category = db.models.category
    assert(Category:build { id = "c1", name = "Computers" })
    assert(Tag:build { id = "t1", name = "One", category_id = "c1" })
    assert(Tag:build { id = "t2", name = "Two", category_id = "gone" })
    assert(Post:build {
      id = "p1", author = "Ann", tag_ids = { "t1", "missing", "t2" }, items = { { n = 1, tag_id = "t1" }, { n = 2 } },
    })
  end)

  after_each(function()
    db:close()
  end)

  it("hydrate lists, chains and arrays of objects", function()
    local post = assert(Post:find_by_id("p1", { "tags.category", "items.tag" }))
    assert.equal(2, #post.tags)
    assert.equal("One", post.tags[1].name)
    assert.equal("Computers", post.tags[1].category.name)
    assert.is_nil(post.tags[2].category)
    assert.equal("One", post.items[1].tag.name)
    assert.is_nil(post.items[2].tag)
    assert.is_nil(Post:find_by_id("p1").tags)
    assert.same(post, assert(Post:find_by_id("p1", { relationships = { "tags.category", "items.tag" } })))
  end)

  it("work in queries, find_many and scan", function()
    local query = Post:query_by_index("by_author"):value("Ann"):relationship("tags")
    assert.equal("One", assert(query:execute()).items[1].tags[1].name)
    assert.equal("Two", assert(Post:find_many({ "p1" }, { "tags" }))[1].tags[2].name)
    assert.equal("One", assert(Post:scan { relationships = { "tags" } }).items[1].tags[1].name)
  end)

  it("are not stored", function()
    local post = assert(Post:find_by_id("p1", { "tags" }))
    post.title = "new"
    local stored = assert(Post:update(post))
    assert.is_nil(stored.tags)
    assert.same({ "t1", "missing", "t2" }, stored.tag_ids)
  end)

  it("to unknown destinations and models are errors", function()
    assert.fails("invalid_argument", Post:find_by_id("p1", { "nothing" }))
    assert.fails("invalid_argument", Post:query_by_index("by_author"):value("Ann"):relationship("nothing"):execute())
    local Other = db:model {
      table = "other",
      relationships = { { source_field_name = "x_id", destination_field_name = "x", model = "unknown" } },
    }
    assert(Other:build { id = "o1", x_id = "x1" })
    assert.fails("invalid_argument", Other:find_by_id("o1", { "x" }))
  end)
end)

describe("conditions", function()
  it("decide whether a record is in an index, with and without functions", function()
    local db = support.open()
    local Post = db:model {
      table = "post",
      indexes = {
        { name = "open", fields = { { name = "n", type = "number" } }, condition = function(p) return p.status ~= "draft" end },
        { name = "declared", fields = { { name = "n", type = "number" } }, where = { status = "live" } },
        { name = "never", fields = { { name = "n", type = "number" } }, condition = false },
      },
      unique_indexes = {
        { name = "live_slug", fields = { { name = "slug", type = "string" } }, condition = function(p) return p.status == "live" end },
      },
    }
    local function count(index)
      return assert(Post:query_by_index(index):count())
    end
    assert(Post:build { id = "1", n = 1, status = "draft", slug = "s" })
    assert(Post:build { id = "2", n = 2, status = "live", slug = "s" })
    assert(Post:build { id = "3", n = 3, status = "old", slug = "s" })
    assert.same({ 2, 1, 0 }, { count("open"), count("declared"), count("never") })
    assert.fails("unique_violation", Post:update { id = "3", n = 3, status = "live", slug = "s" })
    assert(Post:patch("2", { status = "draft" }))
    assert.same({ 1, 0, 0 }, { count("open"), count("declared"), count("never") })
    assert(Post:update { id = "3", n = 3, status = "live", slug = "s" })
    assert.same({ 1, 1, 0 }, { count("open"), count("declared"), count("never") })
    assert.same({}, assert(db:check("post")).findings)
    local phases, totals = {}, {}
    local summary = assert(db:check("post", { count = true, progress = function(info)
      phases[#phases + 1], totals[#totals + 1] = info.phase, info.total
    end }))
    assert.same({ "count", "count", "count" }, { phases[1], phases[2], phases[3] })
    assert.same({ summary.done, summary.done }, { totals[3], totals[#totals] })
    db:close()
  end)

  it("work for more than 32 functions", function()
    local db = support.open()
    local indexes = {}
    for k = 1, 60 do
      indexes[k] = {
        name = "i" .. k,
        fields = { { name = "n", type = "number" } },
        condition = function(d) return d.bits[k] end,
      }
    end
    local Wide = db:model { table = "wide", indexes = indexes }
    local bits = {}
    for k = 1, 60 do
      bits[k] = k % 3 == 0 or k == 32 or k == 33 or k == 60
    end
    assert(Wide:build { id = "w", n = 1, bits = bits })
    for k = 1, 60 do
      assert.equal(bits[k] and 1 or 0, Wide:query_by_index("i" .. k):count(), "index " .. k)
    end
    assert.same({}, assert(db:check("wide")).findings)
    db:close()
  end)

  it("see the document as it will be stored", function()
    local db = support.open()
    local seen
    local Job = db:model {
      table = "job",
      fields = { state = { type = "string", default = "new" }, ["place.room"] = { type = "integer", default = 4 } },
      relationships = { { source_field_name = "boss_id", destination_field_name = "boss", model = "job" } },
      indexes = {
        { name = "new", fields = { { name = "id", type = "string" } }, condition = function(d)
          seen = d
          return d.state == "new" and d.boss == nil
        end },
      },
    }
    local given = { id = "j", boss = { id = "x" } }
    assert(Job:build(given))
    assert.equal("new", seen.state)
    assert.equal(4, seen.place.room)
    assert.is_nil(seen.boss)
    assert.same({ id = "j", boss = { id = "x" } }, given)
    assert.equal(1, Job:query_by_index("new"):count())
    assert.same({}, assert(db:check("job")).findings)
    db:close()
  end)
end)

describe("what a database is asked to do as a whole", function()
  it("drops indexes and tables, and shows its schema", function()
    local db = support.open()
    local User = users(db)
    assert(User:build { id = "u1", email = "a", age = 1 })
    local schema = assert(db:schema())
    assert.equal(1, #schema)
    assert.is_table(assert(db:stats()))
    if os.getenv "TITO_TEST_PD" then
      assert.is_true(#assert(db:cluster { regions = true }).regions.list > 0)
    else
      assert.fails("unsupported", db:cluster { locks = 1, resolve = true })
    end
    assert.is_true(db:drop_index("user", "by_age"))
    assert.fails("not_found", db:drop_index("user", "nothing"))
    assert.is_true(db:drop_table("user"))
    assert.fails("not_found", db:drop_table("nothing"))
    local now = assert(db:now())
    assert.is_true(math.abs(now - tito.now()) < 3600)
    db:close()
  end)

  it("fills a new index, with progress and conditions", function()
    local path = support.folder()
    local n = support.times(1000, 50)
    local db = support.open(path, { durability = "buffered" })
    local Post = db:model { table = "post" }
    assert(db:transaction(function(tx)
      for i = 1, n do
        assert(Post:build({ id = "p" .. i, n = i }, tx))
      end
    end))
    db:close()

    db = support.open(path, { durability = "buffered" })
    Post = db:model {
      table = "post",
      indexes = { { name = "even", fields = { { name = "n", type = "number" } }, condition = function(p) return p.n % 2 == 0 end } },
    }
    assert.fails("schema_mismatch", Post:query_by_index("even"):count())
    local stopped = assert(db:reindex("post", function() return false end))
    assert.is_true(stopped.stopped)
    local steps = 0
    local summary = assert(db:reindex("post", function(info)
      steps = steps + 1
      assert.is_table(info)
    end))
    assert.is_table(summary)
    assert.is_nil(summary.stopped)
    assert.is_true(steps > 0)
    assert.equal(math.floor(n / 2), assert(Post:query_by_index("even"):count()))
    assert.same({}, assert(db:check("post")).findings)
    db:close()
    support.clean()
  end)

  it("goes on with a check where another one ended", function()
    local db = support.open()
    local User = db:model {
      table = "user",
      unique_indexes = { { name = "by_email", fields = { { name = "email", type = "string" } } } },
      indexes = {
        {
          name = "adults",
          fields = { { name = "age", type = "number" } },
          condition = function(user)
            return user.age >= 18
          end,
        },
      },
    }
    for i = 1, 300 do
      assert(User:build { id = "u" .. i, email = "e" .. i, age = i })
    end
    local whole = assert(db:check("user"))
    assert.is_nil(whole.cursor)
    local done, pieces, cursor = 0, 0, nil
    repeat
      local piece = assert(db:check("user", { cursor = cursor, progress = function() return false end }))
      assert.is_true(pieces < 100)
      done, pieces, cursor = done + piece.done, pieces + 1, piece.cursor
    until not piece.stopped
    assert.equal(whole.done, done)
    assert.is_true(pieces > 1)
    assert.fails("invalid_argument", db:check("user", { cursor = "wrong" }))
    db:close()
  end)

  it("does not fill an index whose condition fails", function()
    local db = support.open()
    local path = support.folder()
    db:close()
    db = support.open(path)
    assert(db:model { table = "post" }:build { id = "p", n = 1 })
    db:close()
    db = support.open(path)
    db:model {
      table = "post",
      indexes = { { name = "bad", fields = { { name = "n", type = "number" } }, condition = function() error("no") end } },
    }
    local value, err = db:reindex("post")
    assert.fails("handler_failed", value, err)
    assert.equal("bad", err.index)
    db:close()
    support.clean()
  end)

  it("finds and repairs what does not agree", function()
    local db = support.open()
    local state = "a"
    local Post = db:model {
      table = "post",
      indexes = { { name = "fickle", fields = { { name = "n", type = "number" } }, condition = function() return state == "a" end } },
    }
    for i = 1, 10 do
      assert(Post:build { id = "p" .. i, n = i })
    end
    assert.same({}, assert(db:check("post")).findings)
    state = "b"
    assert.equal(10, #assert(db:check("post")).findings)
    assert(db:check("post", { repair = true }))
    assert.same({}, assert(db:check("post")).findings)
    assert.equal(0, Post:query_by_index("fickle"):count())
    db:close()
  end)
end)

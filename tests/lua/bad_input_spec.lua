-- Bad input, bad days: each a clear error with a stable code, nothing half-written.
local support = require "support"
local tito = require "tito"

--- The error of what failed with a code.
local function refused(code, value, err)
  assert.fails(code, value, err)
  return err
end

describe("bad documents", function()
  local db, Thing

  before_each(function()
    db = support.open()
    Thing = db:model {
      table = "thing",
      indexes = { { name = "by_n", fields = { { name = "n", type = "number" } } },
        { name = "by_tag", fields = { { name = "tags", type = "string" } } } },
    }
  end)

  after_each(function()
    assert.equal(0, #assert(Thing:scan()).items)
    assert.equal(0, Thing:query_by_index("by_n"):count())
    assert.same({}, assert(db:check("thing")).findings)
    db:close()
  end)

  local function nested(n)
    local t = { 1 }
    for _ = 2, n do
      t = { t }
    end
    return t
  end

  it("are refused by every write", function()
    local cycle = { id = "x" }
    cycle.cycle = cycle
    local many = tito.array()
    for i = 1, 1100 do
      many[i] = "t" .. i
    end
    local cases = {
      { "no id", { n = 1 }, "invalid_argument" },
      { "an id that is empty", { id = "" }, "invalid_argument" },
      { "an id that is no string", { id = 5 }, "invalid_argument" },
      { "an id that is null", { id = tito.null }, "invalid_argument" },
      { "an id that is too long", { id = ("x"):rep(1025) }, "limit_exceeded" },
      { "an id that is not UTF-8", { id = "\xff" }, "invalid_argument" },
      { "a list", { "a", "b" }, "invalid_argument" },
      { "an empty list", tito.array(), "invalid_argument" },
      { "a field of the wrong type", { id = "x", n = "5" }, "invalid_argument" },
      { "a table in an indexed field", { id = "x", n = { a = 1 } }, "invalid_argument" },
      { "a number in a list of strings", { id = "x", tags = { "a", 5 } }, "invalid_argument" },
      { "invalid UTF-8", { id = "x", s = "\xc3\x28" }, "invalid_argument" },
      { "NaN", { id = "x", n = 0 / 0 }, "invalid_argument" },
      { "infinity", { id = "x", n = math.huge }, "invalid_argument" },
      { "a function", { id = "x", f = print }, "invalid_argument" },
      { "a key that is a number", { id = "x", t = { [3] = 1 } }, "invalid_argument" },
      { "a cycle", cycle, "limit_exceeded" },
      { "too deep", { id = "x", t = nested(64) }, "limit_exceeded" },
      { "too large", { id = "x", s = ("x"):rep(1024 * 1024) }, "limit_exceeded" },
      { "too many entries", { id = "x", tags = many }, "limit_exceeded" },
    }
    for _, case in ipairs(cases) do
      for _, method in ipairs { "build", "save", "update" } do
        local value, err = Thing[method](Thing, case[2])
        assert.is_nil(value, case[1])
        -- an update looks for the record first
        local expected = err.code == "not_found" and method == "update" and "not_found" or case[3]
        assert.equal(expected, err.code, case[1] .. ": " .. tostring(err))
        assert.is_true(#err.message > 10, case[1])
        assert.is_nil(err.message:find("xxxxxxxxxx", 1, true))
        value, err = db:transaction(function(tx)
          support.must(Thing:save({ id = "other", n = 1 }, tx))
          local _ = Thing[method](Thing, case[2], tx)
        end)
        assert.is_nil(value, case[1])
        assert.equal(expected, err.code, case[1])
      end
    end
  end)

  it("at the limits are accepted", function()
    assert(Thing:save { id = ("x"):rep(1024) })
    assert(Thing:delete_by_id(("x"):rep(1024)))
    assert(Thing:save { id = "deep", t = nested(63) })
    assert(Thing:delete_by_id("deep"))
    local overhead = #'{"id":"x","s":""}'
    assert(Thing:save { id = "x", s = ("x"):rep(1024 * 1024 - overhead) })
    assert(Thing:delete_by_id("x"))
  end)

  it("that are no tables are misuse", function()
    for _, value in ipairs { 5, "text", true, print } do
      for _, method in ipairs { "build", "save", "update" } do
        support.raised("invalid_argument", function() return Thing[method](Thing, value) end)
      end
    end
    support.raised("invalid_argument", function() return Thing:build() end)
    support.raised("invalid_argument", function() return Thing:patch("x") end)
    support.raised("invalid_argument", function() return Thing:patch(5, {}) end)
    support.raised("invalid_argument", function() return Thing:find_by_id(5) end)
    support.raised("invalid_argument", function() return Thing:find_by_id() end)
    support.raised("invalid_argument", function() return Thing:find_by_id("x", "tags") end)
    support.raised("invalid_argument", function() return Thing:find_by_id("x", { colour = 1 }) end)
    support.raised("invalid_argument", function() return Thing:find_many("x") end)
    support.raised("invalid_argument", function() return Thing:delete_by_id(nil) end)
    support.raised("invalid_argument", function() return Thing:build_with_options({ id = "x" }, { colour = 1 }) end)
    support.raised("invalid_argument", function() return Thing:build_with_options({ id = "x" }, "INSERT") end)
    support.raised("invalid_argument", function() return Thing:scan { colour = 1 } end)
    support.raised("invalid_argument", function() return Thing:scan { limit = 0 } end)
    support.raised("invalid_argument", function() return tito.with_events() end)
    support.raised("invalid_argument", function() return tito.array(5) end)
  end)

  it("may have misuse name the line of the program", function()
    local err = support.raised("invalid_argument", function() Thing:find_by_id(5) end)
    assert.truthy(err.message:find("bad_input_spec.lua:%d+:"), err.message)
    err = support.raised("invalid_argument", function() Thing:build(5) end)
    assert.truthy(err.message:find("bad_input_spec.lua:%d+:"), err.message)
  end)

  it("in find, find_many and delete", function()
    assert.fails("invalid_argument", Thing:find_by_id(""))
    assert.fails("invalid_argument", Thing:find_by_id("\xff"))
    assert.fails("limit_exceeded", Thing:find_by_id(("x"):rep(1025)))
    assert.fails("invalid_argument", Thing:find_many { 5 })
    assert.fails("invalid_argument", Thing:find_many { "ok", "" })
    assert.fails("invalid_argument", Thing:delete_by_id(""))
  end)

  it("in patches change nothing", function()
    assert(Thing:build { id = "x", n = 1, o = { a = 1 } })
    local cases = {
      { "an id", { id = "y" }, "invalid_argument" },
      { "no id", { id = tito.null }, "invalid_argument" },
      { "a list", { 1, 2 }, "invalid_argument" },
      { "a field of the wrong type", { n = "5" }, "invalid_argument" },
      { "invalid UTF-8", { s = "\xff" }, "invalid_argument" },
      { "too deep", { o = nested(64) }, "limit_exceeded" },
      { "too large together", { s = ("x"):rep(1024 * 1024 - 20) }, "limit_exceeded" },
    }
    for _, case in ipairs(cases) do
      assert.fails(case[3], Thing:patch("x", case[2]))
      assert.same({ id = "x", n = 1, o = { a = 1 } }, Thing:find_by_id("x"), case[1])
    end
    assert.equal(1, Thing:query_by_index("by_n"):value(1):count())
    assert(Thing:delete_by_id("x"))
  end)

  it("in queries: bounds without a value are misuse, of the wrong type an error", function()
    local function query() return Thing:query_by_index("by_n") end
    for _, misuse in ipairs {
      function() query():gt() end, function() query():gte(nil) end, function() query():lt() end, function() query():lte(nil) end,
      function() query():between(1) end, function() query():between(nil, 1) end, function() query():value() end,
      function() query():starts_with() end, function() query():starts_with(5) end, function() Thing:query_by_index() end,
    } do
      local err = support.raised("invalid_argument", misuse)
      assert.matches("bad_input_spec.lua:%d+:", err.message)
    end
    for _, wrong in ipairs {
      query():gt("1"), query():between(1, "2"), query():lte(tito.null), query():starts_with("x"), query():value(true),
      query():value(1):gt(1), Thing:query_by_index("no_such_index"),
    } do
      for _, ending in ipairs { "execute", "count", "first", "explain" } do
        local err = refused("invalid_argument", wrong[ending](wrong))
        assert.matches("thing", err.message)
      end
    end
  end)

  it("of another database's transaction are refused", function()
    local other = support.open()
    local value = other:transaction(function(tx)
      assert.fails("invalid_argument", Thing:build({ id = "x" }, tx))
      assert.fails("invalid_argument", Thing:find_by_id("x", nil, tx))
      assert.fails("invalid_argument", Thing:query_by_index("by_n"):execute(tx))
      return true
    end)
    assert.is_nil(value) -- a write of it has failed
    other:close()
  end)

  it("with ids that try to leave their slot are just ids", function()
    local ids = { "a:b", "../x", "a\0b", ":", "x%00", "table:thing:a", "\1\2\255" }
    for i = 1, #ids - 1 do
      assert(Thing:build { id = ids[i], n = i })
      assert.equal(i, Thing:find_by_id(ids[i]).n)
    end
    for i = 1, #ids - 1 do
      assert.is_true(Thing:delete_by_id(ids[i]))
    end
  end)
end)

describe("bad models", function()
  it("are refused when they are declared", function()
    local db = support.open()
    local index = { name = "i", fields = { { name = "n", type = "number" } } }
    local specs = {
      {}, { table = 5 }, { table = "" }, { table = "a b" }, { table = "a:b" }, { table = "täg" }, { table = ("x"):rep(129) },
      { table = "t", colour = 1 }, { table = "t", indexes = 5 }, { table = "t", indexes = { 5 } }, { table = "t", indexes = { {} } },
      { table = "t", indexes = { { name = "a b", fields = index.fields } } }, { table = "t", indexes = { index, index } },
      { table = "t", indexes = { { name = "i", fields = {} } } },
      { table = "t", indexes = { { name = "i", fields = { { name = "n", type = "date" } } } } },
      { table = "t", indexes = { { name = "i", fields = { { name = "", type = "number" } } } } },
      { table = "t", indexes = { { name = "i", fields = { { name = "n", type = "number", order = "up" } } } } },
      { table = "t", indexes = { { name = "i", fields = index.fields, version = 0 } } },
      { table = "t", indexes = { { name = "i", fields = index.fields, condition = "sometimes" } } },
      { table = "t", relationships = { { source_field_name = "x" } } }, { table = "t", relationships = 5 },
      { table = "t", fields = { n = "colour" } }, { table = "t", fields = 5 }, { table = "t", events = 5 },
    }
    for i, spec in ipairs(specs) do
      local ok, err = pcall(db.model, db, spec)
      assert.is_false(ok, "spec " .. i)
      assert.equal("invalid_argument", err.code, "spec " .. i)
      assert.is_true(#err.message > 10, "spec " .. i)
    end
    support.raised("invalid_argument", function() return db:model() end)
    support.raised("invalid_argument", function() return db:model("t") end)
    assert.same({}, db:schema())
    support.raised("invalid_argument", function() return db:reindex("t") end)
    support.raised("invalid_argument", function() return db:check("t") end)
    support.raised("invalid_argument", function() return db:check(5) end)
    db:close()
  end)

  it("that differ from what is stored are a schema mismatch", function()
    local path = support.folder()
    local function open(spec)
      local db = support.open(path)
      local M = db:model { table = "t", indexes = { spec } }
      return db, M
    end
    local db, M = open { name = "i", fields = { { name = "n", type = "number" } } }
    assert(M:build { id = "x", n = 1 })
    db:close()
    db, M = open { name = "i", fields = { { name = "m", type = "string" } } }
    assert.fails("schema_mismatch", M:build { id = "y", m = "s" })
    assert.fails("schema_mismatch", M:query_by_index("i"):execute())
    db:close()
    db, M = open { name = "i", version = 2, fields = { { name = "m", type = "string" } } }
    assert(M:build { id = "y", m = "s" })
    assert(db:reindex("t"))
    assert.equal(2, M:query_by_index("i"):count())
    db:close()
    support.clean()
  end)
end)

describe("bad databases", function()
  after_each(support.clean)

  support.only_54(it)("can not be connected to", function()
    support.raised("invalid_argument", function() return tito.connect() end)
    support.raised("invalid_argument", function() return tito.connect(5) end)
    support.raised("invalid_argument", function() return tito.connect({}) end)
    support.raised("invalid_argument", function() return tito.connect({ 5 }) end)
    support.raised("invalid_argument", function() return tito.connect("memory:", "x") end)
    support.raised("invalid_argument", function() return tito.connect("memory:", { colour = 1 }) end)
    support.raised("invalid_argument", function() return tito.connect("memory:", { timeout = "1" }) end)
    support.raised("invalid_argument", function() return tito.connect("memory:", { log = "stderr" }) end)
    assert.fails("invalid_argument", tito.connect("memory:", { log = print, log_level = "loud" }))
    assert.fails("invalid_argument", tito.connect(""))
    assert.fails("invalid_argument", tito.connect("http://x"))
    assert.fails("invalid_argument", tito.connect("memory:", { durability = "maybe" }))
    assert.fails("invalid_argument", tito.connect("memory:", { namespace = "a b" }))
    assert.fails("invalid_argument", tito.connect("memory:", { namespace = "table" }))
    assert.fails("invalid_argument", tito.connect("memory:", { partitions = 0 }))
  end)

  it("with TLS options that do not fit name them, and keep what is in them", function()
    local secret = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
    local there = { "127.0.0.1:1" }
    local cases = {
      { there, { ca = "/no/such/file" }, "ca.*No such file" },
      { there, { tls = { ca = "/no/such/file" } }, "ca.*No such file" },
      { there, { ca = "" }, "option ca is empty" },
      { there, { ca = "x", cert = "y" }, "cert and key together" },
      { there, { cert = "y", key = secret }, "needs option ca" },
      { there, { server_name = "a.example" }, "needs option ca" },
      { there, { ca = secret }, "no readable certificate" },
      { there, { ca = secret, cert = secret, key = secret }, "no readable certificate" },
      { "memory:", { ca = "x" }, "for TiKV" },
    }
    for _, case in ipairs(cases) do
      local db, err = tito.connect(case[1], case[2])
      assert.is_nil(db)
      assert.equal("invalid_argument", err.code)
      assert.matches(case[3], err.message)
      assert.is_nil(err.message:find("c2Vj", 1, true))
    end
    assert.error_matches(function() tito.connect(there, { tls = {} }) end, "tls needs ca")
    assert.error_matches(function() tito.connect(there, { tls = { c = "x" } }) end, "no option 'c'")
    assert.error_matches(function() tito.connect(there, { key = {} }) end, "key must be a string")
  end)

  it("that are files, or folders of something else", function()
    local path = support.folder()
    support.write_file(path, "not a database")
    assert.fails("invalid_argument", tito.connect(path))
    local kept = assert(io.open(path))
    assert.equal("not a database", kept:read("a"))
    kept:close()
    local folder = support.folder()
    os.execute(("mkdir '%s' && echo hello > '%s/file'"):format(folder, folder))
    local err = refused("invalid_argument", tito.connect(folder))
    assert.matches("not empty", err.message)
    local file = assert(io.open(folder .. "/file"))
    assert.equal("hello", file:read("l"))
    file:close()
    assert.fails("invalid_argument", tito.connect("/proc/nothing/here"))
    assert.fails("invalid_argument", tito.connect("/nonexistent/deep/path/db"))
  end)

  it("of a newer format say so, and are left as they are", function()
    local path = support.folder()
    local db = support.open(path)
    assert(db:model { table = "t" }:build { id = "x" })
    db:close()
    support.write_file(path .. "/TITO", "tito embedded database, format 2\n")
    local err = refused("unsupported", tito.connect(path))
    assert.matches("format 2", err.message)
    local marker = assert(io.open(path .. "/TITO"))
    assert.equal("tito embedded database, format 2\n", marker:read("a"))
    marker:close()
    support.write_file(path .. "/TITO", "tito embedded database, format 1\n")
    db = support.open(path)
    assert.is_table(db:model { table = "t" }:find_by_id("x"))
    db:close()
  end)

  support.only_54(it)("that another process has open name its number", function()
    local path = support.folder()
    local pipe, pid = support.start([[
      local db = assert(require("tito").connect(arg[1]))
      print("open")
      while db do end
    ]], path)
    assert.equal("open", pipe:read("l"))
    local value, err = tito.connect(path)
    assert.is_nil(value)
    assert.truthy(err.message:find(tostring(pid), 1, true), err.message)
    support.kill(pid, "KILL")
    pipe:close()
    support.open(path):close()
  end)

  it("that are open twice in a process share one engine", function()
    local path = support.folder()
    local first, second = support.open(path), support.open(path)
    assert(first:model { table = "t" }:build { id = "x" })
    assert.is_table(second:model { table = "t" }:find_by_id("x"))
    first:close()
    assert.is_table(second:model { table = "t" }:find_by_id("x"))
    second:close()
    local again = support.open(path)
    assert.is_table(again)
    assert.fails("invalid_argument", tito.connect(path, { durability = "buffered" }))
    again:close()
  end)

  --- Runs fn with a folder that is a file system of its own; pending where it can not be made.
  local function on_own_disk(size, fn)
    local path = support.folder()
    os.execute(("mkdir '%s'"):format(path))
    if not os.execute(("mount -t tmpfs -o size=%s tmpfs '%s' 2>/dev/null"):format(size, path)) then
      pending("file systems can not be mounted here")
      return
    end
    local ok, err = pcall(fn, path, function(options)
      assert.is_true(os.execute(("mount -o remount,%s '%s'"):format(options, path)))
    end)
    collectgarbage()
    os.execute(("umount -l '%s'"):format(path))
    if not ok then
      error(err, 0)
    end
  end

  support.only_54(it)("on a full disk say so, and keep what was acknowledged", function()
    on_own_disk("12m", function(path, remount)
      local logged, other_logged = {}, {}
      local other = support.open(path .. "/db", { log = function(...) table.insert(other_logged, { ... }) end })
      local db = support.open(path .. "/db", { log_level = "error", log = function(level, line)
        table.insert(logged, { level, line })
        assert.is_false((pcall(other.stats, other)), "tito can not be called from a log function")
        error "is a warning, no more"
      end })
      local Thing = db:model { table = "thing", indexes = { { name = "i", fields = { { name = "n", type = "number" } } } } }
      local stored, failure = 0, nil
      local filler = ("x"):rep(50000)
      for i = 1, 1000 do
        local document, err = Thing:build { id = "t" .. i, n = i, filler = filler }
        if not document then
          failure = err
          break
        end
        stored = i
      end
      assert.is_true(stored > 10)
      assert.is_not_nil(failure, "the disk never became full")
      assert.is_true(failure.code == "outcome_unknown" or failure.code == "io", tostring(failure))
      assert.fails("io", Thing:build { id = "after", n = 1 })
      db:close()
      other:close()
      for _, lines in ipairs { logged, other_logged } do
        assert.equal(1, #lines)
        assert.equal("error", lines[1][1])
        assert.matches("no commit is accepted any more", lines[1][2])
        assert.is_nil(lines[1][2]:find("xxxx", 1, true))
      end
      remount("size=200m")
      db = support.open(path .. "/db")
      Thing = db:model { table = "thing", indexes = { { name = "i", fields = { { name = "n", type = "number" } } } } }
      for i = 1, stored do
        assert.is_table(Thing:find_by_id("t" .. i))
      end
      local count = assert(Thing:query_by_index("i"):count())
      assert.is_true(count == stored or count == stored + 1)
      assert.same({}, assert(db:check("thing")).findings)
      assert(Thing:build { id = "again", n = 1 })
      db:close()
    end)
  end)

  support.only_54(it)("can not be made on a full disk, and can later", function()
    on_own_disk("64k", function(path, remount)
      assert(os.execute(("head -c 60000 /dev/zero > '%s/filler'"):format(path)))
      local err = refused("io", tito.connect(path .. "/db"))
      assert.matches("[Nn]o space", err.message)
      remount("size=50m")
      local db = support.open(path .. "/db")
      assert(db:model { table = "t" }:build { id = "x" })
      db:close()
    end)
  end)

  support.only_54(it)("in a read-only place say so", function()
    on_own_disk("50m", function(path, remount)
      local db = support.open(path .. "/db")
      assert(db:model { table = "t" }:build { id = "x" })
      db:close()
      remount("ro")
      assert.fails("io", tito.connect(path .. "/db"))
      assert.fails("io", tito.connect(path .. "/new"))
      remount("rw")
      db = support.open(path .. "/db")
      assert.is_table(db:model { table = "t" }:find_by_id("x"))
      db:close()
    end)
  end)

  it("keep namespaces apart", function()
    local path = support.folder()
    local one, two = support.open(path, { namespace = "one" }), support.open(path, { namespace = "two" })
    assert(one:model { table = "t" }:build { id = "x" })
    assert.is_nil((two:model { table = "t" }:find_by_id("x")))
    one:close()
    two:close()
  end)
end)

describe("the module", function()
  it("has its version, null and names", function()
    assert.truthy(tito.version:match("^%d+%.%d+%.%d+$"))
    assert.equal("userdata", type(tito.null))
    assert.same({ "INSERT", "UPDATE", "DELETE" }, { tito.INSERT, tito.UPDATE, tito.DELETE })
    assert.truthy(tito.uuid():match("^%x+%-%x+%-%x+%-%x+%-%x+$"))
    assert.is_true(math.abs(tito.now() - os.time()) < 2)
    assert.same({ events = "INSERT" }, tito.with_events("INSERT"))
  end)

  support.only_54(it)("refuses the wrong handles", function()
    local core = require "tito.core"
    for name, fn in pairs(core) do
      if type(fn) == "function" and not ({ uuid = 1, now = 1, encode = 1, setup = 1 })[name] then
        for _, arguments in ipairs { {}, { 5 }, { "x" }, { {} }, { io.stdout }, { tito.null } } do
          local ok, value, err = pcall(fn, support.unpack(arguments))
          assert.is_true(not ok or err ~= nil or value == nil or value == false or name == "call_host"
            or name == "txn_is_open" or name == "event_expired" or name == "db_open" or name == "decode", name)
          if ok and name == "db_open" and type(value) == "userdata" then
            core.db_close(value)
          end
        end
      end
    end
    os.execute("rm -rf ./x ./5")
  end)
end)

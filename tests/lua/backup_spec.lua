-- Backups: made, verified, restored; what is refused; how far they are.
local support = require "support"
local tito = require "tito"

describe("backups", function()
  local dir, db, Thing

  before_each(function()
    dir = support.folder()
    os.execute(("mkdir '%s'"):format(dir))
    db = assert(tito.connect(dir .. "/db"))
    Thing = db:model { table = "thing" }
    for i = 1, 50 do
      assert(Thing:save { id = "t" .. i, text = ("x"):rep(1000) })
    end
  end)

  after_each(function()
    db:close()
    support.clean()
  end)

  it("are databases", function()
    local before = assert(db:now())
    local made = assert(db:backup(dir .. "/one"))
    assert.is_true(made.time >= before - 1)
    assert.is_true(made.files > 3)
    assert.is_true(made.size > 0 and made.shared <= made.size)
    assert(Thing:save { id = "later" })
    local verified = assert(tito.verify_backup(dir .. "/one"))
    assert.are.equal(made.size, verified.size)
    assert.are.equal(made.time, verified.time)
    assert(tito.restore(dir .. "/one", dir .. "/again"))
    local again = assert(tito.connect(dir .. "/again"))
    local Again = again:model { table = "thing" }
    assert.are.equal(50, #assert(Again:scan { limit = 1000 }).items)
    assert.is_nil(Again:find_by_id("later"))
    again:close()
  end)

  it("share files with an earlier one", function()
    assert(db:backup(dir .. "/one"))
    assert(Thing:save { id = "later" })
    assert.is_true(assert(db:backup(dir .. "/two", { base = dir .. "/one" })).shared > 0)
    assert(tito.verify_backup(dir .. "/two"))
  end)

  it("tell how far they are", function()
    local last
    local function progress(done, total)
      assert(done >= 0 and done <= total or total == 0)
      last = { done, total }
    end
    local function ended()
      local seen = last
      last = nil
      assert.is_true(seen[1] > 0)
      assert.are.equal(seen[1], seen[2])
    end
    assert(db:backup(dir .. "/one", { progress = progress }))
    assert.is_true(last[1] > 0)
    assert(tito.verify_backup(dir .. "/one", { progress = progress }))
    ended()
    assert(tito.restore(dir .. "/one", dir .. "/two", { progress = progress }))
    ended()
    assert.has_error(function() tito.verify_backup(dir .. "/one", { progress = function() error("stop") end }) end)
    assert(tito.verify_backup(dir .. "/one", { progress = function() return false end })) -- it has ended already
  end)

  it("that are damaged are found, and not restored", function()
    assert(db:backup(dir .. "/one"))
    local file = assert(io.open(dir .. "/one/CURRENT", "r+"))
    file:write("X")
    file:close()
    local found, err = tito.verify_backup(dir .. "/one")
    assert.is_nil(found)
    assert.are.equal("corrupt", err.code)
    assert.is_truthy(err.message:find("CURRENT", 1, true))
    found, err = tito.restore(dir .. "/one", dir .. "/again")
    assert.is_nil(found)
    assert.are.equal("corrupt", err.code)
    assert.is_nil(io.open(dir .. "/again/TITO"))
  end)

  it("are refused where they can not be", function()
    local _, err = db:backup(dir)
    assert.are.equal("invalid_argument", err.code)
    _, err = tito.verify_backup(dir)
    assert.are.equal("invalid_argument", err.code)
    _, err = tito.restore(dir .. "/nowhere", dir .. "/again")
    assert.are.equal("invalid_argument", err.code)
    _, err = tito.restore(dir .. "/nowhere", "memory:")
    assert.are.equal("unsupported", err.code)
    _, err = db:backup(dir .. "/a\0b")
    assert.are.equal("invalid_argument", err.code)
    local memory = assert(tito.connect("memory:"))
    _, err = memory:backup(dir .. "/one")
    assert.are.equal("unsupported", err.code)
    assert.is_truthy(err.message:find("dump", 1, true))
    memory:close()
    assert.has_error(function() db:backup() end)
    assert.has_error(function() db:backup(dir .. "/one", { into = 1 }) end)
    assert.has_error(function() db:backup(dir .. "/one", { progress = 1 }) end)
  end)
end)

-- Lua values to JSON and back.
local core = require "tito.core"
local support = require "support"
local tito = require "tito"

local function round(value)
  return core.decode(assert(core.encode(value)))
end

describe("encoding", function()
  it("writes scalars", function()
    assert.equal("1", core.encode(1))
    assert.equal("-9223372036854775808", core.encode(math.mininteger))
    assert.equal("9223372036854775807", core.encode(math.maxinteger))
    assert.equal("0", core.encode(0))
    assert.equal("true", core.encode(true))
    assert.equal("false", core.encode(false))
    assert.equal("null", core.encode(tito.null))
    assert.equal('"text"', core.encode("text"))
    assert.equal('""', core.encode(""))
  end)

  it("keeps integers and floats apart", function()
    assert.equal("1.0", core.encode(1.0))
    assert.equal("-0.0", core.encode(-0.0))
    assert.equal("0.1", core.encode(0.1))
    for _, value in ipairs { 1, 1.0, -7, 2 ^ 53, 2 ^ 53 + 0.0, 1e300, 5e-324, 0.1, 123456789012345678 } do
      local back = round(value)
      assert.equal(value, back)
      assert.equal(math.type(value), math.type(back), tostring(value))
    end
  end)

  it("escapes what JSON wants escaped", function()
    assert.equal([["\"\\\n\r\t\b\f\u0001\u001f/"]], core.encode("\"\\\n\r\t\b\f\1\31/"))
    assert.equal('"\127"', core.encode("\127"))
    assert.equal('"a\\u0000b"', core.encode("a\0b"))
    assert.equal('"äß€😀"', core.encode("äß€😀"))
  end)

  it("finds every special byte at every place of a word", function()
    for length = 0, 20 do
      for at = 1, length do
        for _, special in ipairs { '"', "\\", "\n", "\31", "é" } do
          local text = ("x"):rep(at - 1) .. special .. ("y"):rep(length - at)
          assert.equal(text, round(text))
        end
      end
    end
  end)

  it("reads back every character", function()
    local parts = {}
    for _, range in ipairs { { 0, 0x2FF }, { 0xD700, 0xD7FF }, { 0xE000, 0xE0FF }, { 0xFFF0, 0x100FF }, { 0x10FFF0, 0x10FFFF } } do
      for c = range[1], range[2] do
        parts[#parts + 1] = utf8.char(c)
      end
    end
    local text = table.concat(parts)
    assert.equal(text, round(text))
  end)

  it("tells lists from objects", function()
    assert.equal("[1,2,3]", core.encode { 1, 2, 3 })
    assert.equal("{}", core.encode {})
    assert.equal("[]", core.encode(tito.array()))
    assert.equal("[]", core.encode(tito.array {}))
    assert.equal('{"a":[]}', core.encode { a = tito.array() })
    assert.equal('{"1":1}', core.encode { ["1"] = 1 })
    assert.equal("[null]", core.encode { tito.null })
    local backwards = {}
    for i = 5, 1, -1 do
      backwards[i] = i
    end
    assert.equal("[1,2,3,4,5]", core.encode(backwards))
    assert.equal("[]", core.encode(setmetatable({}, { __jsontype = "array" })))
    assert.equal("{}", core.encode(setmetatable({}, { __jsontype = "object" })))
  end)

  it("does not run metamethods", function()
    local t = setmetatable({}, { __index = function() error("called") end, __pairs = function() error("called") end })
    assert.equal("{}", core.encode(t))
  end)

  it("refuses what JSON has not, with the path", function()
    assert.fails("invalid_argument", core.encode(0 / 0))
    local cases = {
      { "NaN", { a = { b = { 1, 0 / 0 } } }, "at a%.b%[2%]" },
      { "infinity", { x = 1 / 0 }, "infinite number at x" },
      { "minus infinity", { x = -1 / 0 }, "infinite number at x" },
      { "functions", { f = print }, "type function .* at f" },
      { "threads", { f = coroutine.create(print) }, "type thread .* at f" },
      { "userdata", { f = io.stdout }, "type userdata .* at f" },
      { "number keys", { a = { [5] = 1 } }, "type number .* at a" },
      { "float keys", { a = { [1.5] = 1 } }, "type number .* at a" },
      { "boolean keys", { [true] = 1 }, "type boolean" },
      { "mixed keys", { a = { 1, 2, x = 3 } }, "both list items and other keys at a%.x$" },
      { "a float among the items", { a = { 1, 2, [1.5] = 3 } }, "both list items and other keys at a$" },
      { "holes", { a = { 1, 2, nil, 4 } }, "holes at a$" },
      { "marked lists with other keys", tito.array { x = 1 }, "both list items and other keys at x$" },
      { "invalid UTF-8", { a = { "ok", "\xff" } }, "UTF%-8 at a%[2%]" },
      { "invalid UTF-8 keys", { ["\xc3"] = 1 }, "UTF%-8 at \\xc3$" },
      { "invalid UTF-8 in keys", { o = { ["a\0é\x1b[1m\x80z"] = 1 } }, "UTF%-8 at o%.a\\x00é\\x1b%[1m\\x80z$" },
      { "long keys", { [("ü"):rep(100)] = print }, "at " .. ("ü"):rep(32) .. "$" },
      { "deep paths", (function()
        local t = print
        for _ = 1, 60 do t = { abcdefgh = t } end
        return t
      end)(), "at abcdefgh%.abcdefgh" },
    }
    for _, case in ipairs(cases) do
      local value, err = core.encode(case[2])
      assert.is_nil(value, case[1])
      assert.equal("invalid_argument", err.code, case[1])
      assert.truthy(err.message:find(case[3]), case[1] .. ": " .. err.message)
    end
  end)

  it("refuses every malformed sequence", function()
    local bad = { "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xed\xa0\x80",
      "\xed\xbf\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82",
      "\xf0\x9f\x98", "\xfe", "\xff", "\xe2\x28\xa1", "\xf0\x28\x8c\xbc" }
    for _, text in ipairs(bad) do
      for _, around in ipairs { "%s", "abcdefgh%s", "%sabcdefgh", "é%sé" } do
        assert.fails("invalid_argument", core.encode((around:gsub("%%s", text))))
      end
    end
  end)

  it("allows 64 levels, not 65, and ends with cycles", function()
    local function nested(n)
      local t = { leaf = 1 }
      for _ = 2, n do
        t = { t }
      end
      return t
    end
    assert.same(nested(64), round(nested(64)))
    assert.fails("limit_exceeded", core.encode(nested(65)))
    local cycle = {}
    cycle.self = cycle
    assert.fails("limit_exceeded", core.encode(cycle))
    local list = {}
    list[1] = list
    assert.fails("limit_exceeded", core.encode(list))
  end)

  it("does not show values in errors", function()
    local _, err = core.encode { password = "secret\xff" }
    assert.is_nil(err.message:find("secret"))
  end)

  it("ends with an error for what is too large", function()
    local mib = ("x"):rep(1024 * 1024)
    local list = {}
    for i = 1, 70 do
      list[i] = mib
    end
    assert.fails("limit_exceeded", core.encode(list))
    assert.equal("[1]", core.encode { 1 })
  end)
end)

describe("decoding", function()
  it("marks arrays, empty ones too", function()
    local t = core.decode('{"a":[],"b":{},"c":[1,[]]}')
    assert.equal('[]', core.encode(t.a))
    assert.equal('{}', core.encode(t.b))
    assert.equal('[1,[]]', core.encode(t.c))
    t.a[1] = "x"
    assert.equal('["x"]', core.encode(t.a))
  end)

  it("makes null the one null", function()
    assert.equal(tito.null, core.decode("null"))
    assert.equal(tito.null, core.decode('[null]')[1])
  end)

  it("reads integers outside 64 bits as floats", function()
    local value = core.decode("123456789012345678901234567890")
    assert.equal("float", math.type(value))
    assert.equal(1.2345678901234568e29, value)
  end)

  it("reads containers of every size around its batch", function()
    for _, n in ipairs { 0, 1, 2, 31, 32, 33, 63, 64, 65, 1000 } do
      local list, object = tito.array(), {}
      for i = 1, n do
        list[i] = i
        object["k" .. i] = { i }
      end
      assert.same(list, round(list))
      assert.same(object, round(object))
      assert.equal(n, #round(list))
    end
  end)

  it("refuses what is not JSON", function()
    for _, text in ipairs { "", "{", "[1,", '{"a":1,"a":2}', "nul", "1 2", '"\xff"', "{'a':1}", "[1,]" } do
      assert.fails("invalid_argument", core.decode(text))
    end
  end)

  it("survives random values", function()
    math.randomseed(7)
    local function value(depth)
      local kind = math.random(depth > 4 and 6 or 8)
      if kind == 1 then return math.random(0)
      elseif kind == 2 then return (math.random() - 0.5) * 10 ^ math.random(-300, 300)
      elseif kind == 3 then return math.random(2) == 1
      elseif kind == 4 then return tito.null
      elseif kind <= 6 then
        local chars = {}
        for i = 1, math.random(0, 40) do
          chars[i] = utf8.char(math.random(4) == 1 and math.random(0x80, 0xD7FF) or math.random(0, 0x7F))
        end
        return table.concat(chars)
      elseif kind == 7 then
        local list = tito.array()
        for i = 1, math.random(0, 8) do
          list[i] = value(depth + 1)
        end
        return list
      end
      local object = {}
      for _ = 1, math.random(0, 8) do
        object[tostring(math.random(1000))] = value(depth + 1)
      end
      return object
    end
    for _ = 1, support.times(3000, 100) do
      local v = value(1)
      assert.same(v, round(v))
    end
  end)
end)

describe("a finalizer that uses tito", function()
  it("does not disturb what it interrupts", function()
    local db = support.open()
    local Thing = db:model { table = "thing" }
    local made = 0
    local function litter()
      setmetatable({}, { __gc = function()
        made = made + 1
        assert(core.decode(core.encode { inner = { made, { "x" } } }))
        Thing:save { id = "f" .. made % 10, list = { 1, 2, 3 } }
      end })
    end
    collectgarbage("generational")
    for i = 1, support.times(2000, 200) do
      litter()
      local document = { id = "d" .. i, name = ("n"):rep(i % 50), list = { i, { i } }, nested = { a = { b = i } } }
      local stored = assert(Thing:save(document))
      assert.same(document, stored)
      assert.same(document, Thing:find_by_id("d" .. i))
    end
    collectgarbage("incremental")
    collectgarbage()
    assert.is_true(made > 0)
    db:close()
  end)
end)

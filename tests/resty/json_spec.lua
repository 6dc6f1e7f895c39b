-- Lua values to JSON and back in LuaJIT, whose numbers are doubles and whose 64-bit integers are cdata.
require "support"
local tito = require "resty.tito"

local function round(value)
  return tito.decode(assert(tito.encode(value)))
end

--- Nothing is made of value: the code and a part of the message.
local function refused(code, part, value)
  local text, err = tito.encode(value)
  assert.fails(code, text, err)
  assert.truthy(err.message:find(part, 1, true), err.message)
end

describe("JSON in LuaJIT", function()
  it("writes scalars", function()
    for value, text in pairs { [1] = "1", [-7] = "-7", [0.1] = "0.1", [2 ^ 52] = "4503599627370496", [true] = "true",
      [false] = "false", text = '"text"', [""] = '""', [1e300] = "1e+300", [5e-324] = "5e-324" } do
      assert.equal(text, (tito.encode(value)))
    end
    assert.equal("null", tito.encode(tito.null))
    assert.equal("-0.0", tito.encode(-0.0))
    assert.equal("0", tito.encode(0))
  end)

  it("keeps integers of 64 bits", function()
    for _, text in ipairs { "9007199254740993", "-9007199254740993", "9223372036854775807", "-9223372036854775808" } do
      local value = assert(tito.decode(text))
      assert.equal("cdata", type(value))
      assert.equal(text, tito.encode(value))
    end
    assert.equal("number", type(tito.decode("9007199254740991")))
    assert.equal("7", tito.encode(7ULL))
    assert.equal(2 ^ 64, (tito.decode("18446744073709551616")))
    refused("invalid_argument", "outside 64 bits at a", { a = 18446744073709551615ULL })
  end)

  it("refuses what JSON has not, and says where", function()
    local cycle = {}
    cycle.inner = { cycle }
    local deep = {}
    for _ = 1, 64 do
      deep = { deep }
    end
    refused("invalid_argument", "NaN) at a.b[2]", { a = { b = { 1, 0 / 0 } } })
    refused("invalid_argument", "infinite number", 1 / 0)
    refused("invalid_argument", "type function can not be stored at f", { f = print })
    refused("invalid_argument", "a key of type boolean", { [true] = 1 })
    refused("invalid_argument", "both list items and other keys at x", { 1, x = 2 })
    refused("invalid_argument", "holes", { 1, nil, nil, 4 })
    refused("invalid_argument", "not valid UTF-8 at s", { s = "a\255" })
    refused("invalid_argument", "not valid UTF-8", "\237\160\128")
    refused("invalid_argument", "type cdata", require("ffi").new("int[2]"))
    refused("limit_exceeded", "nested deeper", cycle)
    refused("limit_exceeded", "nested deeper", deep)
  end)

  it("tells lists from objects", function()
    assert.equal("[1,2,3]", tito.encode { 1, 2, 3 })
    assert.equal("{}", tito.encode {})
    assert.equal("[]", tito.encode(tito.array()))
    assert.equal("[null]", tito.encode { tito.null })
    assert.equal('{"1":1}', tito.encode { ["1"] = 1 })
    assert.equal("[]", tito.encode(setmetatable({}, { __jsontype = "array" })))
    assert.equal("{}", tito.encode(setmetatable({}, { __jsontype = "object" })))
    assert.equal('{"a":[],"b":{}}', (tito.encode(round { a = tito.array() })):gsub("}$", ',"b":{}}'))
    local quiet = setmetatable({ x = 1 }, { __index = error, __len = error, __pairs = error, __metatable = "no" })
    assert.equal('{"x":1}', tito.encode(quiet))
  end)

  it("escapes, and reads back every character", function()
    assert.equal([["\"\\\n\r\t\b\f\u0001\u001f/"]], (tito.encode("\"\\\n\r\t\b\f\1\31/")))
    local parts = { "äß€😀\127\0" }
    for i = 0, 127 do
      parts[#parts + 1] = string.char(i)
    end
    local text = table.concat(parts)
    assert.equal(text, round(text))
    assert.equal("😀", (tito.decode('"\\ud83d\\ude00"')))
  end)

  it("refuses texts that are no JSON", function()
    for _, text in ipairs { "", "{", "[1,]", "nul", "'x'", "1 2", "\255", '"\1"', ("["):rep(1000) } do
      local value, err = tito.decode(text)
      assert.is_nil(value)
      assert.is_string(err.code)
    end
  end)

  it("reads back whatever it writes", function()
    local seed = 1
    local function random(n)
      seed = (seed * 1103515245 + 12345) % 2147483648
      return math.floor(seed / 65536) % n
    end
    local function make(depth)
      local kind = random(depth > 4 and 4 or 6)
      if kind == 0 then
        return random(1000000) - 500000
      elseif kind == 1 then
        return (random(30000) - 15000) / (1 + random(1000))
      elseif kind == 2 then
        return ("x\n\"é€"):rep(random(4))
      elseif kind == 3 then
        return random(2) == 0 and tito.null or random(2) == 0
      end
      local out = kind == 4 and tito.array() or {}
      for i = 1, random(5) do
        out[kind == 4 and i or "k" .. i] = make(depth + 1)
      end
      return out
    end
    for _ = 1, 500 do
      local value = make(0)
      assert.same(value, round(value))
    end
  end)
end)

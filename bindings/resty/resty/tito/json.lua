--- Lua values as JSON and back, for LuaJIT.
--
--     number, whole and below 2^53 in size   digits            int64_t     digits
--     any other number                       shortest text     string      UTF-8, checked and escaped
--     tito.null (ngx.null, cjson.null)       null              table       list or object, as in bindings/lua/encode.c
--
-- Read back, an integer is a number up to 2^53 and an int64_t beyond it; one outside 64 bits is the nearest number.
-- LuaJIT has one type of numbers: 1 and 1.0 are the same here, and are written as 1.
--
-- INVARIANTS
--  1. Only raw access: no metamethod of a value runs.
--  2. An error names the path to the value, never the value.
--  3. Nothing here yields: the reader and the boxes belong to one call at a time.
local library = require "resty.tito.library"
local ffi, lib = library.ffi, library.lib

local json = {}

local DEPTH_MAX, SIZE_MAX, WHOLE_MAX = 64, 64 * 1024 * 1024, 2 ^ 53
local KEY_SHOWN_MAX, PATH_SHOWN_MAX = 64, 180

local byte, concat, find, format, gsub = string.byte, table.concat, string.find, string.format, string.gsub
local floor, next, rawget, type = math.floor, next, rawget, type
local rawlen = rawlen or function(t) return #t end -- luacheck: ignore 113

local function null_of_host()
  if ngx and ngx.null then
    return ngx.null
  end
  local ok, cjson = pcall(require, "cjson")
  return ok and cjson.null or setmetatable({}, { __tostring = function() return "null" end })
end

json.null = null_of_host()
local null = json.null
local array_metatable

--- The metatable of lists.
function json.setup(metatable)
  array_metatable = metatable
end

-- ---- UTF-8

--- The length of the well-formed sequence that begins at i with a byte from 128 on; 0 when it is none.
local function sequence_length(p, i, len)
  local first = p[i]
  local n = first >= 0xF0 and 4 or first >= 0xE0 and 3 or 2
  if first < 0xC2 or first > 0xF4 or len - i < n then
    return 0
  end
  local low, high = 0x80, 0xBF
  if first == 0xE0 then
    low = 0xA0
  elseif first == 0xED then
    high = 0x9F
  elseif first == 0xF0 then
    low = 0x90
  elseif first == 0xF4 then
    high = 0x8F
  end
  if p[i + 1] < low or p[i + 1] > high then
    return 0
  end
  for k = i + 2, i + n - 1 do
    if p[k] < 0x80 or p[k] > 0xBF then
      return 0
    end
  end
  return n
end

function json.is_utf8(text)
  if not find(text, "[\128-\255]") then
    return true
  end
  local p, i, len = ffi.cast("const uint8_t *", text), 0, #text
  while i < len do
    local n = p[i] < 0x80 and 1 or sequence_length(p, i, len)
    if n == 0 then
      return false
    end
    i = i + n
  end
  return true
end

-- ---- Writing

--- A key so that it can be read whatever its bytes are, cut when it is long.
local function shown(key)
  local cut = key:sub(1, KEY_SHOWN_MAX)
  while #cut < #key and not json.is_utf8(cut) and json.is_utf8(key) do
    cut = cut:sub(1, -2)
  end
  local hex = function(c) return format("\\x%02x", byte(c)) end
  cut = gsub(cut, "[%z\1-\31\127]", hex)
  return json.is_utf8(cut) and cut or gsub(cut, "[\128-\255]", hex)
end

--- " at items[3].price", or nothing at the root.
local function place(e)
  local text = ""
  for i = 1, e.depth do
    local step = e.path[i]
    local part = type(step) == "number" and format("[%d]", step) or (i > 1 and "." or "") .. shown(step)
    if #text + #part > PATH_SHOWN_MAX then
      break
    end
    text = text .. part
  end
  return text == "" and "" or " at " .. text
end

--- Raises what encode catches.
local function refuse(e, code, what)
  e.code, e.message = code, what .. place(e)
  error(e, 0)
end

local ESCAPES = { ["\b"] = "\\b", ["\t"] = "\\t", ["\n"] = "\\n", ["\f"] = "\\f", ["\r"] = "\\r", ['"'] = '\\"',
  ["\\"] = "\\\\" }

local function escape(c)
  return ESCAPES[c] or format("\\u%04x", byte(c))
end

local function put(e, text)
  e.n = e.n + 1
  e.out[e.n] = text
end

local function put_string(e, text)
  if find(text, '[%z\1-\31"\\\128-\255]') then
    if not json.is_utf8(text) then
      refuse(e, "invalid_argument", "a string that is not valid UTF-8")
    end
    text = gsub(text, '[%z\1-\31"\\]', escape)
  end
  put(e, '"' .. text .. '"')
end

local double_box = ffi.new("char[32]")

local function put_number(e, x)
  if x == floor(x) and x < WHOLE_MAX and x > -WHOLE_MAX and (x ~= 0 or 1 / x > 0) then
    return put(e, format("%.0f", x))
  end
  local len = lib.tito_json_write_double(x, double_box)
  if len == 0 then
    refuse(e, "invalid_argument", x ~= x and "not a number (NaN)" or "an infinite number")
  end
  put(e, ffi.string(double_box, len))
end

local int64, uint64 = ffi.typeof("int64_t"), ffi.typeof("uint64_t")
local INT64_MAX = 0x7fffffffffffffffLL

local function put_cdata(e, value)
  if value == nil and ffi.istype("void *", value) then
    return put(e, "null")
  elseif ffi.istype(uint64, value) and value > ffi.cast(uint64, INT64_MAX) then
    refuse(e, "invalid_argument", "an integer outside 64 bits")
  elseif not ffi.istype(int64, value) and not ffi.istype(uint64, value) then
    refuse(e, "invalid_argument", "a value of type cdata can not be stored")
  end
  put(e, (gsub(tostring(value), "U?LL$", "")))
end

local put_value

--- "array", "object", or nil when the table is not marked.
local function mark_of(t)
  local metatable = debug.getmetatable(t)
  if metatable == nil then
    return nil
  elseif metatable == array_metatable then
    return "array"
  end
  local mark = rawget(metatable, "__jsontype")
  return (mark == "array" or mark == "object") and mark or nil
end

local function is_whole(key)
  return type(key) == "number" and key == floor(key)
end

--- Raises unless the keys are exactly 1 … n.
local function check_list(e, t, n)
  local count = 0
  for key in next, t do
    if not is_whole(key) then
      if type(key) == "string" then
        e.path[e.depth] = key
      else
        e.depth = e.depth - 1
      end
      refuse(e, "invalid_argument", "a table with both list items and other keys")
    end
    count = count + 1
  end
  if count ~= n then
    e.depth = e.depth - 1
    refuse(e, "invalid_argument", "a list with holes")
  end
end

local function put_array(e, t)
  local n = rawlen(t)
  check_list(e, t, n)
  put(e, "[")
  for i = 1, n do
    e.path[e.depth] = i
    if i > 1 then
      put(e, ",")
    end
    put_value(e, rawget(t, i))
  end
  put(e, "]")
end

local function put_object(e, t)
  local first = true
  put(e, "{")
  for key, value in next, t do
    if type(key) ~= "string" then
      e.depth = e.depth - 1
      refuse(e, "invalid_argument", ("a key of type %s can not be stored"):format(type(key)))
    end
    e.path[e.depth] = key
    if not first then
      put(e, ",")
    end
    first = false
    put_string(e, key)
    put(e, ":")
    put_value(e, value)
  end
  put(e, "}")
end

local function put_table(e, t)
  if e.depth >= DEPTH_MAX then
    refuse(e, "limit_exceeded", "tables nested deeper than 64 (or one that contains itself)")
  end
  local mark = mark_of(t)
  local list = mark == "array" or (mark == nil and rawlen(t) > 0 and is_whole((next(t))))
  e.depth = e.depth + 1
  if list then
    put_array(e, t)
  else
    put_object(e, t)
  end
  e.depth = e.depth - 1
end

function put_value(e, value)
  local kind = type(value)
  if kind == "string" then
    put_string(e, value)
  elseif kind == "number" then
    put_number(e, value)
  elseif kind == "boolean" then
    put(e, value and "true" or "false")
  elseif rawequal(value, null) then
    put(e, "null")
  elseif kind == "table" then
    put_table(e, value)
  elseif kind == "cdata" then
    put_cdata(e, value)
  else
    refuse(e, "invalid_argument", ("a value of type %s can not be stored"):format(kind))
  end
end

--- The text of a value; or nil, a code and a message.
function json.encode(value)
  local e = { out = {}, n = 0, path = {}, depth = 0 }
  local ok, raised = pcall(put_value, e, value)
  if not ok then
    if raised ~= e then
      return nil, "out_of_memory", "the value could not be written: " .. tostring(raised)
    end
    return nil, e.code, e.message
  end
  local text = concat(e.out, "", 1, e.n)
  if #text > SIZE_MAX then
    return nil, "limit_exceeded", "the value is larger than any limit"
  end
  return text
end

-- ---- Reading

local END, OBJECT, OBJECT_END, ARRAY, ARRAY_END, KEY, STRING, INT, DOUBLE, BIG, TRUE, FALSE, NULL =
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12

local slice_box, int_box, number_box = ffi.new("tito_slice[1]"), ffi.new("int64_t[1]"), ffi.new("double[1]")

--- An integer of the library's as a value: a number where that is exact.
function json.integer(x)
  local n = tonumber(x)
  if n < WHOLE_MAX and n > -WHOLE_MAX then
    return n
  end
  return x
end

local function text_of_box()
  return ffi.string(slice_box[0].data, slice_box[0].len)
end

local function next_token(reader)
  return lib.tito_json_next(reader, slice_box, int_box, number_box)
end

local read_value

local function read_object(reader)
  local out = {}
  local token = next_token(reader)
  while token == KEY do
    local key = text_of_box()
    out[key] = read_value(reader, next_token(reader))
    token = next_token(reader)
  end
  if token ~= OBJECT_END then
    error("token " .. token)
  end
  return out
end

local function read_array(reader)
  local out, n = {}, 0
  local token = next_token(reader)
  while token > END and token ~= ARRAY_END do
    n = n + 1
    out[n] = read_value(reader, token)
    token = next_token(reader)
  end
  if token ~= ARRAY_END then
    error("token " .. token)
  end
  return setmetatable(out, array_metatable)
end

function read_value(reader, token)
  if token == STRING then
    return text_of_box()
  elseif token == INT then
    return json.integer(int_box[0])
  elseif token == DOUBLE then
    return tonumber(number_box[0])
  elseif token == OBJECT then
    return read_object(reader)
  elseif token == ARRAY then
    return read_array(reader)
  elseif token == TRUE or token == FALSE then
    return token == TRUE
  elseif token == NULL then
    return null
  elseif token == BIG then
    return tonumber(text_of_box())
  end
  error(("a stored document can not be read (token %d)"):format(token))
end

local reader = ffi.gc(lib.tito_json_new(), lib.tito_json_free)

--- Reads len bytes at data, which stay as they are meanwhile: true and the value; or nil, a status and a message.
function json.decode(data, len)
  if reader == nil then
    return nil, lib.TITO_OUT_OF_MEMORY, "there is no memory for a reader"
  end
  local status = lib.tito_json_open(reader, data, len, nil)
  if status ~= lib.TITO_OK then
    return nil, status, "a text that is not valid JSON, or beyond the limits"
  end
  local ok, value = pcall(read_value, reader, next_token(reader))
  if not ok then
    return nil, lib.TITO_CORRUPT, tostring(value)
  end
  return true, value
end

return json

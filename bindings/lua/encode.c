/* Lua values as JSON.
 *
 *   nil                not a value (an absent one)
 *   boolean            true, false
 *   integer            digits
 *   float              shortest text, with ".0" or "e"
 *   string             UTF-8, checked and escaped
 *   lightuserdata NULL (tito.null, cjson.null): null
 *   table              marked as an array, or with the keys 1 … n and n > 0: array
 *                      any other one with keys that are strings: object
 *
 * A table is marked by tito.array, or by a metatable whose __jsontype is "array" or "object".
 *
 * INVARIANTS
 *  1. Only raw access: no metamethod runs, nothing is allocated by Lua, so no finalizer runs and
 *     the buffer belongs to one encoding at a time.
 *  2. An error names the path to the value, never the value.
 *  3. Depth is bounded, so a table that contains itself ends with an error. */
#include "binding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY_MIN = 1024, INTEGER_SIZE_MAX = 24, PATH_SIZE_MAX = 200, PATH_KEY_MAX = 64 };

typedef struct step { /* on the way from the root to the current value */
    const char *key;  /* anchored by the table it is a key of; NULL: index */
    size_t key_len;
    lua_Integer index;
} step;

typedef struct encoder {
    lua_State *L;
    tl_buffer *buffer;
    char *message;
    size_t depth;
    step path[TL_JSON_DEPTH_MAX + 1];
} encoder;

/* ---- The buffer ---- */

void tl_buffer_free(tl_buffer *buffer)
{
    free(buffer->data);
    *buffer = (tl_buffer){.data = NULL};
}

void tl_buffer_trim(tl_buffer *buffer)
{
    if (buffer->capacity > TL_BUFFER_KEEP_MAX)
        tl_buffer_free(buffer);
}

static bool grow(tl_buffer *buffer, size_t more)
{
    size_t need = buffer->len + more;
    size_t capacity = buffer->capacity < CAPACITY_MIN ? CAPACITY_MIN : buffer->capacity;
    if (need > TL_BUFFER_SIZE_MAX)
        return false;
    while (capacity < need)
        capacity *= 2;
    char *data = realloc(buffer->data, capacity);
    if (data == NULL)
        return false;
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

static inline bool reserve(tl_buffer *buffer, size_t more)
{
    return buffer->capacity - buffer->len >= more || grow(buffer, more);
}

/* ---- Errors ---- */

static size_t utf8_length(const unsigned char *p, size_t len);

/* Writes a key so that it can be read whatever its bytes are, and cut when it is long. Returns the
 * bytes written, without the NUL that ends them. */
static size_t write_key(char *out, size_t size, const char *key, size_t key_len)
{
    size_t len = 0;
    for (size_t i = 0; i < key_len && i < PATH_KEY_MAX;) {
        unsigned char c = (unsigned char)key[i];
        bool plain = c >= 0x20 && c < 0x7f;
        size_t run = c < 0x80 ? plain : utf8_length((const unsigned char *)key + i, key_len - i);
        if (len + (run == 0 ? 4 : run) >= size)
            break;
        if (run == 0)
            (void)snprintf(out + len, size - len, "\\x%02x", c);
        else
            memcpy(out + len, key + i, run);
        len += run == 0 ? 4 : run;
        i += run == 0 ? 1 : run;
    }
    out[len] = '\0';
    return len;
}

/* Writes the path to the current value, "items[3].price", into out. */
static void write_path(const encoder *e, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < e->depth && len + INTEGER_SIZE_MAX < size; i++) {
        const step *s = &e->path[i];
        if (s->key == NULL) {
            len += (size_t)snprintf(out + len, size - len, "[%lld]", (long long)s->index);
            continue;
        }
        if (i > 0)
            out[len++] = '.';
        len += write_key(out + len, size - len, s->key, s->key_len);
    }
}

static int32_t refuse(const encoder *e, int32_t status, const char *what)
{
    char path[PATH_SIZE_MAX];
    write_path(e, path, sizeof(path));
    snprintf(e->message, TL_MESSAGE_SIZE_MAX, "%s%s%s", what, path[0] == '\0' ? "" : " at ", path);
    return status;
}

static int32_t refuse_type(const encoder *e, const char *what, int type)
{
    char text[128];
    snprintf(text, sizeof(text), "%s of type %s can not be stored", what, lua_typename(e->L, type));
    return refuse(e, TITO_INVALID_ARGUMENT, text);
}

static int32_t refuse_size(const encoder *e)
{
    if (e->buffer->len > TL_BUFFER_SIZE_MAX / 2)
        return refuse(e, TITO_LIMIT_EXCEEDED, "the value is larger than any limit");
    return refuse(e, TITO_OUT_OF_MEMORY, "there is no memory for the text of the value");
}

/* ---- Scalars ---- */

static void put(tl_buffer *buffer, char c)
{
    buffer->data[buffer->len++] = c;
}

static int32_t encode_integer(encoder *e, lua_Integer value)
{
    char digits[INTEGER_SIZE_MAX];
    size_t n = 0;
    lua_Unsigned rest = value < 0 ? 0u - (lua_Unsigned)value : (lua_Unsigned)value;
    if (!reserve(e->buffer, INTEGER_SIZE_MAX))
        return refuse_size(e);
    do {
        digits[n++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0)
        put(e->buffer, '-');
    while (n > 0)
        put(e->buffer, digits[--n]);
    return TITO_OK;
}

static int32_t encode_float(encoder *e, lua_Number value)
{
    char text[32];
    size_t len = tito_json_write_double(value, text);
    if (len == 0)
        return refuse(e, TITO_INVALID_ARGUMENT,
                      value != value ? "not a number (NaN)" : "an infinite number");
    if (!reserve(e->buffer, len))
        return refuse_size(e);
    memcpy(e->buffer->data + e->buffer->len, text, len);
    e->buffer->len += len;
    return TITO_OK;
}

/* ---- Strings ---- */

/* How many bytes from p on need no escape and are ASCII, by words of eight. */
static size_t plain_run(const char *p, size_t len)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t word;
        memcpy(&word, p + i, 8);
        uint64_t quote = word ^ (ones * '"'), slash = word ^ (ones * '\\');
        uint64_t special =
            (word - ones * 0x20) | word | ((quote - ones) & ~quote) | ((slash - ones) & ~slash);
        if ((special & highs) != 0)
            break;
    }
    for (; i < len; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\')
            break;
    }
    return i;
}

/* The length of the well-formed UTF-8 sequence at p, 0 when it is none. */
static size_t utf8_length(const unsigned char *p, size_t len)
{
    unsigned char first = p[0];
    size_t n = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || len < n)
        return 0;
    unsigned char low = 0x80, high = 0xBF; /* of the second byte */
    if (first == 0xE0)
        low = 0xA0; /* shorter forms exist */
    else if (first == 0xED)
        high = 0x9F; /* surrogates */
    else if (first == 0xF0)
        low = 0x90;
    else if (first == 0xF4)
        high = 0x8F; /* above U+10FFFF */
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return n;
}

bool tl_is_utf8(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = (unsigned char)text[i] < 0x80
                       ? 1
                       : utf8_length((const unsigned char *)text + i, len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

static void put_escaped(tl_buffer *buffer, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                  ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    put(buffer, '\\');
    if (c < sizeof(shorts) && shorts[c] != '\0') {
        put(buffer, shorts[c]);
        return;
    }
    memcpy(buffer->data + buffer->len, "u00", 3);
    buffer->len += 3;
    put(buffer, hex[c >> 4]);
    put(buffer, hex[c & 15]);
}

static int32_t encode_string(encoder *e, const char *text, size_t len)
{
    tl_buffer *buffer = e->buffer;
    if (len > TL_BUFFER_SIZE_MAX || !reserve(buffer, len + 2))
        return refuse_size(e);
    put(buffer, '"');
    for (size_t i = 0; i < len;) {
        size_t run = plain_run(text + i, len - i);
        if (run == 0 && (unsigned char)text[i] >= 0x80) {
            run = utf8_length((const unsigned char *)text + i, len - i);
            if (run == 0)
                return refuse(e, TITO_INVALID_ARGUMENT, "a string that is not valid UTF-8");
        }
        if (!reserve(buffer, (len - i) + 8)) /* the rest, an escape, the quote */
            return refuse_size(e);
        memcpy(buffer->data + buffer->len, text + i, run);
        buffer->len += run;
        i += run;
        if (run == 0)
            put_escaped(buffer, (unsigned char)text[i++]);
    }
    put(buffer, '"');
    return TITO_OK;
}

/* ---- Tables ---- */

static int32_t encode_value(encoder *e, int index);

/* 'a' marked as an array, 'o' marked as an object, 0 not marked. */
static char mark_of(lua_State *L, int index)
{
    char mark = 0;
    if (!lua_getmetatable(L, index))
        return 0;
    tl_push_array_mt(L);
    if (lua_rawequal(L, -1, -2)) {
        mark = 'a';
    } else {
        lua_pop(L, 1);
        tl_push_json_type_name(L);
        if (lua_rawget(L, -2) == LUA_TSTRING) {
            const char *type = lua_tostring(L, -1);
            mark = strcmp(type, "array") == 0 ? 'a' : strcmp(type, "object") == 0 ? 'o' : 0;
        }
    }
    lua_pop(L, 2);
    return mark;
}

/* Refuses the key on top, which stands beside the items of a list, or in their place. */
static int32_t refuse_in_list(encoder *e)
{
    step *at = &e->path[e->depth - 1];
    *at = (step){.key = NULL};
    if (lua_type(e->L, -1) == LUA_TSTRING)
        at->key = lua_tolstring(e->L, -1, &at->key_len);
    else
        e->depth--; /* the path of the list */
    return refuse(e, TITO_INVALID_ARGUMENT, "a table with both list items and other keys");
}

/* OK when the keys of the table are exactly 1 … n. */
static int32_t check_list(encoder *e, int index, lua_Unsigned n)
{
    lua_State *L = e->L;
    lua_Unsigned count = 0;
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        lua_pop(L, 1);
        if (!lua_isinteger(L, -1)) {
            int32_t status = refuse_in_list(e);
            lua_pop(L, 1);
            return status;
        }
        count++;
    }
    if (count != n) {
        e->depth--; /* the path of the list */
        return refuse(e, TITO_INVALID_ARGUMENT, "a list with holes");
    }
    return TITO_OK;
}

static int32_t encode_array(encoder *e, int index)
{
    lua_State *L = e->L;
    lua_Unsigned n = lua_rawlen(L, index);
    int32_t status = check_list(e, index, n);
    if (status != TITO_OK)
        return status;
    if (!reserve(e->buffer, 2))
        return refuse_size(e);
    put(e->buffer, '[');
    for (lua_Unsigned i = 1; i <= n; i++) {
        e->path[e->depth - 1] = (step){.key = NULL, .index = (lua_Integer)i};
        if (i > 1)
            put(e->buffer, ',');
        lua_rawgeti(L, index, (lua_Integer)i);
        status = encode_value(e, lua_gettop(L));
        lua_pop(L, 1);
        if (status != TITO_OK)
            return status;
        if (!reserve(e->buffer, 2))
            return refuse_size(e);
    }
    put(e->buffer, ']');
    return TITO_OK;
}

/* The member whose key and value are on top. */
static int32_t encode_member(encoder *e, bool first)
{
    lua_State *L = e->L;
    int top = lua_gettop(L);
    if (lua_type(L, top - 1) != LUA_TSTRING) {
        e->depth--; /* the path of the table itself */
        return refuse_type(e, "a key", lua_type(L, top - 1));
    }
    size_t len;
    const char *key = lua_tolstring(L, top - 1, &len);
    e->path[e->depth - 1] = (step){.key = key, .key_len = len};
    if (!reserve(e->buffer, 1))
        return refuse_size(e);
    if (!first)
        put(e->buffer, ',');
    int32_t status = encode_string(e, key, len);
    if (status != TITO_OK)
        return status;
    if (!reserve(e->buffer, 1))
        return refuse_size(e);
    put(e->buffer, ':');
    return encode_value(e, top);
}

static int32_t encode_object(encoder *e, int index)
{
    lua_State *L = e->L;
    bool first = true;
    if (!reserve(e->buffer, 2))
        return refuse_size(e);
    put(e->buffer, '{');
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        int32_t status = encode_member(e, first);
        lua_pop(L, 1);
        if (status != TITO_OK)
            return status;
        first = false;
    }
    if (!reserve(e->buffer, 1))
        return refuse_size(e);
    put(e->buffer, '}');
    return TITO_OK;
}

static bool is_array(lua_State *L, int index)
{
    char mark = mark_of(L, index);
    if (mark != 0)
        return mark == 'a';
    if (lua_rawlen(L, index) == 0)
        return false;
    lua_pushnil(L);
    bool integer_first = lua_next(L, index) != 0 && lua_isinteger(L, -2);
    lua_pop(L, 2); /* there is a key: the length is not 0 */
    return integer_first;
}

static int32_t encode_table(encoder *e, int index)
{
    lua_State *L = e->L;
    if (e->depth >= TL_JSON_DEPTH_MAX)
        return refuse(e, TITO_LIMIT_EXCEEDED,
                      "tables nested deeper than 64 (or one that contains itself)");
    e->depth++;
    int top = lua_gettop(L);
    int32_t status = is_array(L, index) ? encode_array(e, index) : encode_object(e, index);
    lua_settop(L, top);
    e->depth--;
    return status;
}

static int32_t encode_word(encoder *e, const char *word, size_t len)
{
    if (!reserve(e->buffer, len))
        return refuse_size(e);
    memcpy(e->buffer->data + e->buffer->len, word, len);
    e->buffer->len += len;
    return TITO_OK;
}

static int32_t encode_value(encoder *e, int index)
{
    lua_State *L = e->L;
    size_t len;
    const char *text;
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        return lua_toboolean(L, index) ? encode_word(e, "true", 4) : encode_word(e, "false", 5);
    case LUA_TNUMBER:
        return lua_isinteger(L, index) ? encode_integer(e, lua_tointeger(L, index))
                                       : encode_float(e, lua_tonumber(L, index));
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &len);
        return encode_string(e, text, len);
    case LUA_TTABLE:
        return encode_table(e, index);
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, index) == NULL)
            return encode_word(e, "null", 4);
        return refuse_type(e, "a value", LUA_TLIGHTUSERDATA);
    default:
        return refuse_type(e, "a value", lua_type(L, index));
    }
}

int32_t tl_encode(lua_State *L, int index, tl_buffer *buffer, char *message)
{
    encoder e = {.L = L, .buffer = buffer, .message = message, .depth = 0};
    buffer->len = 0;
    message[0] = '\0';
    if (!lua_checkstack(L, TL_JSON_DEPTH_MAX * 4 + 8))
        return refuse(&e, TITO_OUT_OF_MEMORY, "the stack is full");
    return encode_value(&e, lua_absindex(L, index));
}

/* JSON as Lua values: the reverse of encode.c.
 *
 * Arrays get the metatable of tito.array, so that an empty one stays an array; null is tito.null;
 * an integer outside int64 (another program's) is the nearest float.
 *
 * The members of a container are collected on the stack, up to a batch, so that the table is made
 * once and in its size:   key value key value … ──> createtable(0, n), n × rawset
 *
 * INVARIANTS
 *  1. A reader is used by one decoding at a time; one that is started by a finalizer inside
 *     another gets a reader of its own.
 *  2. Readers and their busy mark are given back also when Lua raises. */
#include "binding.h"

enum { BATCH_MAX = 32 };

static const char array_key; /* of the metatable in the registry */
static const char type_key;  /* of the string "__jsontype", so that using it allocates nothing */

int tl_json_setup(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushvalue(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &array_key);
    lua_pushliteral(L, "__jsontype");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &type_key);
    return 0;
}

void tl_push_json_type_name(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &type_key);
}

void tl_push_array_mt(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
}

typedef struct decoder {
    lua_State *L;
    tito_json_t *json;
    int depth;
    int32_t token;
    tito_slice text;
    int64_t integer;
    double number;
} decoder;

static void next(decoder *d)
{
    d->token = tito_json_next(d->json, &d->text, &d->integer, &d->number);
}

static void decode_value(decoder *d);

/* Moves count pairs from the top of the stack into the table below them, made when it is not there
 * yet. */
static void flush_pairs(lua_State *L, int count, bool made)
{
    if (!made) {
        lua_createtable(L, 0, count);
        lua_insert(L, -2 * count - 1);
    }
    int table = lua_gettop(L) - 2 * count;
    for (int i = 0; i < count; i++)
        lua_rawset(L, table);
}

static void decode_object(decoder *d)
{
    lua_State *L = d->L;
    int count = 0;
    bool made = false;
    for (next(d); d->token == TITO_JSON_KEY; next(d)) {
        lua_pushlstring(L, d->text.data, d->text.len);
        next(d);
        decode_value(d);
        if (++count == BATCH_MAX) {
            flush_pairs(L, count, made);
            made = true;
            count = 0;
        }
    }
    if (count > 0 || !made)
        flush_pairs(L, count, made);
}

/* The same for list items; done is how many the table has. */
static void flush_items(lua_State *L, int count, lua_Integer done)
{
    if (done == 0) {
        lua_createtable(L, count, 0);
        lua_insert(L, -count - 1);
    }
    int table = lua_gettop(L) - count;
    for (lua_Integer i = count; i > 0; i--)
        lua_rawseti(L, table, done + i);
}

static void decode_array(decoder *d)
{
    lua_State *L = d->L;
    int count = 0;
    lua_Integer done = 0;
    for (next(d); d->token > TITO_JSON_END && d->token != TITO_JSON_ARRAY_END; next(d)) {
        decode_value(d);
        if (++count == BATCH_MAX) {
            flush_items(L, count, done);
            done += count;
            count = 0;
        }
    }
    if (count > 0 || done == 0)
        flush_items(L, count, done);
    tl_push_array_mt(L);
    lua_setmetatable(L, -2);
}

static void decode_container(decoder *d)
{
    if (++d->depth > TL_DECODE_DEPTH_MAX)
        luaL_error(d->L, "a stored document is nested too deep");
    luaL_checkstack(d->L, 2 * BATCH_MAX + 8, "a stored document is nested too deep");
    if (d->token == TITO_JSON_OBJECT)
        decode_object(d);
    else
        decode_array(d);
    d->depth--;
}

/* Pushes exactly one value, of the token read last. */
static void decode_value(decoder *d)
{
    lua_State *L = d->L;
    switch (d->token) {
    case TITO_JSON_STRING:
        lua_pushlstring(L, d->text.data, d->text.len);
        return;
    case TITO_JSON_INT:
        lua_pushinteger(L, d->integer);
        return;
    case TITO_JSON_DOUBLE:
        lua_pushnumber(L, d->number);
        return;
    case TITO_JSON_TRUE:
    case TITO_JSON_FALSE:
        lua_pushboolean(L, d->token == TITO_JSON_TRUE);
        return;
    case TITO_JSON_NULL:
        lua_pushlightuserdata(L, NULL);
        return;
    case TITO_JSON_BIG:
        lua_pushlstring(L, d->text.data, d->text.len);
        lua_pushnumber(L, lua_tonumber(L, -1));
        lua_remove(L, -2);
        return;
    case TITO_JSON_OBJECT:
    case TITO_JSON_ARRAY:
        decode_container(d);
        return;
    default:
        luaL_error(L, "a stored document can not be read (token %d)", (int)d->token);
    }
}

static int decode_protected(lua_State *L)
{
    decoder *d = lua_touserdata(L, 1);
    next(d);
    decode_value(d);
    return 1;
}

/* The reader for one decoding, or NULL; *own_out: it is not the state's, free it. */
static tito_json_t *reader_take(tl_state *state, bool *own_out)
{
    *own_out = state->json_busy;
    if (state->json_busy)
        return tito_json_new();
    if (state->json == NULL)
        state->json = tito_json_new();
    state->json_busy = state->json != NULL;
    return state->json;
}

static void reader_give(tl_state *state, tito_json_t *json, bool own)
{
    if (own)
        tito_json_free(json);
    else
        state->json_busy = false;
}

int tl_decode(lua_State *L, tl_state *state, tito_slice text)
{
    bool own;
    tito_error_t *error = NULL;
    decoder d = {.L = L, .json = reader_take(state, &own)};
    int32_t status = tito_json_open(d.json, text.data, text.len, &error);
    if (status != TITO_OK) {
        reader_give(state, d.json, own);
        return tl_fail(L, status, error);
    }
    lua_pushcfunction(L, decode_protected);
    lua_pushlightuserdata(L, &d);
    int called = lua_pcall(L, 1, 1, 0);
    reader_give(state, d.json, own);
    if (called != LUA_OK)
        return lua_error(L);
    return 1;
}

/* The module: one table of functions for lua/tito, each with the state as its upvalue.
 *
 * INVARIANTS
 *  1. A library older than the header this was compiled with is refused. */
#include "worker.h"

static const char registry_key; /* of the state's userdata */

tl_state *tl_state_registered(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &registry_key);
    tl_state *state = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return state;
}

static int state_gc(lua_State *L)
{
    tl_state *state = lua_touserdata(L, 1);
    tito_json_free(state->json);
    tito_write_free(state->write);
    tl_buffer_free(&state->buffer);
    tl_log_end(state);
    *state = (tl_state){.json = NULL};
    return 0;
}

/* setup(error metatable, array metatable) */
static int setup(lua_State *L)
{
    lua_settop(L, 2);
    tl_error_setup(L);
    lua_remove(L, 1);
    return tl_json_setup(L);
}

static int uuid(lua_State *L)
{
    char text[37];
    tito_uuid(text);
    lua_pushlstring(L, text, sizeof(text) - 1);
    return 1;
}

/* now(): seconds, the host's clock. */
static int now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)tito_now_us() / 1e6);
    return 1;
}

/* encode(value): JSON text, or nil and an error. */
static int encode(lua_State *L)
{
    char message[TL_MESSAGE_SIZE_MAX];
    tl_buffer *buffer = &tl_state_of(L)->buffer;
    luaL_checkany(L, 1);
    int32_t status = tl_encode(L, 1, buffer, message);
    if (status != TITO_OK)
        return tl_fail_text(L, status, "%s", message);
    lua_pushlstring(L, buffer->data, buffer->len);
    tl_buffer_trim(buffer);
    return 1;
}

/* decode(text): a value, or nil and an error. */
static int decode(lua_State *L)
{
    tito_slice text;
    text.data = luaL_checklstring(L, 1, &text.len);
    return tl_decode(L, tl_state_of(L), text);
}

/* call_host(function, document): true and its first result, or false and what it raised. While it
 * runs tito can not be called, and it can not yield. */
static int call_host(lua_State *L)
{
    tl_state *state = tl_state_of(L);
    bool outer = state->in_host;
    lua_settop(L, 2);
    state->in_host = true;
    int called = lua_pcall(L, 1, 1, 0);
    state->in_host = outer;
    lua_pushboolean(L, called == LUA_OK);
    lua_insert(L, 1);
    return 2;
}

static const luaL_Reg own_functions[] = {
    {"setup", setup},   {"uuid", uuid},           {"now", now}, {"encode", encode},
    {"decode", decode}, {"call_host", call_host}, {NULL, NULL}};

static void add(lua_State *L, int state, const luaL_Reg *functions)
{
    lua_pushvalue(L, state);
    luaL_setfuncs(L, functions, 1);
}

static void push_state(lua_State *L)
{
    tl_state *state = lua_newuserdatauv(L, sizeof(*state), 0);
    *state = (tl_state){.json = NULL};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, state_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &registry_key);
}

int luaopen_tito_core(lua_State *L)
{
    static const luaL_Reg *const parts[] = {
        own_functions,      tl_database_functions,    tl_transaction_functions, tl_model_functions,
        tl_query_functions, tl_maintenance_functions, tl_backup_functions,      tl_queue_functions,
        tl_event_functions, tl_worker_functions,      tl_script_functions};
    luaL_checkversion(L);
    if (tito_abi_version() < TITO_ABI_VERSION)
        return luaL_error(L, "libtito is too old: its interface is version %d, %d is needed",
                          (int)tito_abi_version(), TITO_ABI_VERSION);
    tl_handle_init(L);
    push_state(L);
    lua_createtable(L, 0, 64);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        add(L, lua_gettop(L) - 1, parts[i]);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    lua_pushstring(L, tito_version_string());
    lua_setfield(L, -2, "version");
    return 1;
}

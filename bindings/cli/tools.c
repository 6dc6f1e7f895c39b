/* Commands that do one thing and end: their work is in tools.lua, which runs here. */
#include "cli.h"

#include <lualib.h>

typedef struct tool {
    const char *name;
    const tc_setup *setup;
    tl_db *db;
    int code;
} tool;

static void set_text(lua_State *L, const char *name, const char *value)
{
    if (value == NULL)
        return;
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

static void set_flag(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

/* Pushes the operands and the options. */
static void push_arguments(lua_State *L, const tc_setup *setup)
{
    lua_createtable(L, setup->word_count, 0);
    for (int i = 0; i < setup->word_count; i++) {
        lua_pushstring(L, setup->words[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_newtable(L);
    set_text(L, "from", setup->from);
    set_text(L, "to", setup->to);
    set_text(L, "into", setup->into);
    set_text(L, "limit", setup->limit);
    set_flag(L, "json", setup->json);
    set_flag(L, "failed", setup->failed);
    set_flag(L, "repair", setup->repair);
}

/* Argument: a tool. Calls tools[name](open, words, options), which returns the exit code; open()
 * makes the database. */
static int run_protected(lua_State *L)
{
    tool *t = lua_touserdata(L, 1);
    tc_state_fill(L, t->setup->app);
    tc_state_push_tools(L);
    lua_getfield(L, -1, t->name);
    lua_getfield(L, 2, "open");
    tl_db_push(L, t->db);
    lua_pushstring(L, t->setup->app);
    lua_call(L, 2, 1);
    push_arguments(L, t->setup);
    lua_call(L, 3, 1);
    t->code = (int)luaL_checkinteger(L, -1);
    return 0;
}

static int describe(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

int tc_tool(const char *name, const tc_setup *setup)
{
    tito_db_t *db = NULL;
    tool t = {.name = name, .setup = setup, .code = TC_EXIT_FAILED};
    t.db = tc_database_open(setup, &db);
    if (t.db == NULL)
        return TC_EXIT_FAILED;
    lua_State *L = luaL_newstate();
    if (L != NULL) {
        lua_pushcfunction(L, describe);
        lua_pushcfunction(L, run_protected);
        lua_pushlightuserdata(L, &t);
        if (lua_pcall(L, 1, 0, 1) != LUA_OK)
            tc_log(TC_ERROR, "%s", lua_tostring(L, -1));
        lua_close(L);
    }
    tl_db_unref(t.db);
    return t.code;
}

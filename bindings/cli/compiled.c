/* The program's own Lua code, compiled in: `require "tito.cli.NAME"` finds it in every state that
 * asks for it.
 *
 *   frame/NAME.lua     tito.cli.NAME
 *   commands/NAME.lua  tito.cli.commands.NAME
 *   host.lua           tito.cli.host
 *   dashboard/         tito.cli.dashboard.NAME; its page's files: dashboard/NAME
 *
 * INVARIANTS
 *  1. What is compiled in comes before any file: nothing that lies around replaces it. */
#include "cli.h"

#include <string.h>

#include "compiled.h" /* made by CMake: compiled[] = {{name, bytes, size}, …} */

enum { COUNT = sizeof(compiled) / sizeof(compiled[0]) };
static const char command_prefix[] = "tito.cli.commands.";
static const char file_prefix[] = "dashboard/"; /* of what is no module */

void tc_compiled_load(lua_State *L, const char *name)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (strcmp(compiled[i].name, name) != 0)
            continue;
        lua_pushfstring(L, "=%s", name);
        if (luaL_loadbufferx(L, (const char *)compiled[i].bytes, compiled[i].size,
                             lua_tostring(L, -1), "t") != LUA_OK)
            lua_error(L);
        lua_remove(L, -2);
        return;
    }
    luaL_error(L, "'%s' is not compiled in", name);
}

/* A function of package.preload: its name is the first argument. */
static int preload(lua_State *L)
{
    tc_compiled_load(L, luaL_checkstring(L, 1));
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

void tc_compiled_install(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (size_t i = 0; i < COUNT; i++) {
        if (strncmp(compiled[i].name, file_prefix, sizeof(file_prefix) - 1) == 0)
            continue;
        lua_pushcfunction(L, preload);
        lua_setfield(L, -2, compiled[i].name);
    }
    lua_pop(L, 1);
}

void tc_compiled_push_commands(lua_State *L)
{
    lua_newtable(L);
    lua_Integer count = 0;
    for (size_t i = 0; i < COUNT; i++) {
        if (strncmp(compiled[i].name, command_prefix, sizeof(command_prefix) - 1) != 0)
            continue;
        lua_pushstring(L, compiled[i].name + sizeof(command_prefix) - 1);
        lua_rawseti(L, -2, ++count);
    }
}

const unsigned char *tc_compiled_file(const char *name, size_t *size_out)
{
    *size_out = 0;
    for (size_t i = 0; i < COUNT; i++) {
        if (strcmp(compiled[i].name, name) != 0)
            continue;
        *size_out = compiled[i].size;
        return compiled[i].bytes;
    }
    return NULL;
}

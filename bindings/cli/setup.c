/* What `tito worker` was told: the options that commands/worker.lua has read, as C has them.
 *
 * INVARIANTS
 *  1. The texts of a setup are borrowed from the Lua table, which outlives the work. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PORT_MAX = 65535 };

bool tc_split_address(const char *text, char *host, size_t host_size, char *port, size_t port_size)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] < '0' || colon[1] > '9')
        return false;
    char *end;
    errno = 0;
    long number = strtol(colon + 1, &end, 10);
    if (*end != '\0' || errno != 0 || number > PORT_MAX)
        return false;
    size_t len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && colon[-1] == ']') {
        text++;
        len -= 2;
    } else if (memchr(text, ':', len) != NULL) {
        return false; /* an IPv6 address is in brackets */
    }
    if (len == 0 || len >= host_size)
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    (void)snprintf(port, port_size, "%ld", number);
    return true;
}

static const char *text_field(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    const char *text = lua_tostring(L, -1); /* it stays in the table */
    lua_pop(L, 1);
    return text;
}

static lua_Integer int_field(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    lua_Integer n = luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    return n;
}

static bool flag_field(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    bool set = lua_toboolean(L, -1) != 0;
    lua_pop(L, 1);
    return set;
}

void tc_options_fill(lua_State *L, int table, tito_options_t *options)
{
    if (options == NULL)
        luaL_error(L, "there is no memory");
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        size_t len;
        const char *name = luaL_checkstring(L, -2);
        const char *value = luaL_checklstring(L, -1, &len);
        if (tito_options_set(options, name, value, len) != TITO_OK)
            luaL_error(L, "there is no memory");
        lua_pop(L, 1);
    }
}

/* Options out of the table's field of that name. */
static void fill_field(lua_State *L, int table, const char *name, tito_options_t *options)
{
    lua_getfield(L, table, name);
    tc_options_fill(L, lua_gettop(L), options);
    lua_pop(L, 1);
}

void tc_setup_fill(lua_State *L, int table, tc_setup *setup)
{
    setup->app = text_field(L, table, "app");
    setup->target = text_field(L, table, "target");
    setup->metrics = text_field(L, table, "metrics");
    setup->dashboard = text_field(L, table, "dashboard");
    setup->dashboard_token = text_field(L, table, "dashboard_token");
    setup->dashboard_writes = flag_field(L, table, "dashboard_writes");
    setup->dashboard_values = flag_field(L, table, "dashboard_values");
    setup->threads = (size_t)int_field(L, table, "threads");
    setup->concurrency = (size_t)int_field(L, table, "concurrency");
    setup->drain_us = int_field(L, table, "drain_us");
    setup->once = flag_field(L, table, "once");
    setup->leader_file = text_field(L, table, "leader_file");
    setup->db_options = tito_options_new();
    fill_field(L, table, "db_options", setup->db_options);
    setup->worker_options = tito_options_new();
    fill_field(L, table, "worker_options", setup->worker_options);
}

void tc_setup_free(tc_setup *setup)
{
    tito_options_free(setup->db_options);
    tito_options_free(setup->worker_options);
}

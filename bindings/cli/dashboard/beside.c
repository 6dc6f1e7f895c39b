/* `tito worker --dashboard`: the dashboard beside the work, on the worker's own database.
 *
 *   work.c ── start ──> listens, then a thread with a Lua state: dashboard/beside.lua
 *          ── stop ───> the server closes, the loop returns, the thread ends
 *
 * INVARIANTS
 *  1. It never keeps the worker from its work or its end: an error ends the dashboard alone, and
 *     a thread that the store keeps waiting is told of, not waited for. */
#include "server.h"

#include <lualib.h>
#include <stdlib.h>
#include <time.h>

enum { PATIENCE_MS = 2000, LOOK_MS = 10 };

struct tc_beside {
    const tc_setup *setup;
    tc_server *server;
    tl_db *box;
    pthread_t thread;
    atomic_bool ended;
};

/* Argument: a tc_beside. */
static int run_protected(lua_State *L)
{
    tc_beside *beside = lua_touserdata(L, 1);
    tc_state_prepare(L);
    tc_compiled_install(L);
    tc_compiled_load(L, "tito.cli.dashboard.beside");
    tc_program_push_functions(L);
    tc_server **server = tc_server_push(L, beside->server);
    tl_db_push(L, beside->box);
    lua_pushstring(L, beside->setup->target);
    lua_pushboolean(L, beside->setup->dashboard_values);
    int status = lua_pcall(L, 5, 0, 0);
    *server = NULL; /* it is the main thread's */
    return status == LUA_OK ? 0 : lua_error(L);
}

static void *run(void *context)
{
    tc_beside *beside = context;
    lua_State *L = luaL_newstate();
    if (L != NULL) {
        lua_pushcfunction(L, run_protected);
        lua_pushlightuserdata(L, beside);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK)
            tc_log(TC_ERROR, "the dashboard has failed, the work goes on: %s",
                   luaL_tolstring(L, -1, NULL));
        lua_close(L);
    } else {
        tc_log(TC_ERROR, "the dashboard has no memory, the work goes on");
    }
    tc_server_close(beside->server); /* nobody would answer */
    atomic_store(&beside->ended, true);
    return NULL;
}

tc_beside *tc_beside_start(const tc_setup *setup, tl_db *box)
{
    tc_beside *beside = calloc(1, sizeof(*beside));
    tc_server_options options = {.option = "--dashboard",
                                 .listen = setup->dashboard,
                                 .token = setup->dashboard_token,
                                 .writes = setup->dashboard_writes};
    if (beside == NULL)
        return NULL;
    beside->setup = setup;
    beside->box = box;
    beside->server = tc_server_new(&options);
    if (beside->server == NULL || !tc_server_start(beside->server, &options) ||
        pthread_create(&beside->thread, NULL, run, beside) != 0) {
        tc_server_free(beside->server);
        free(beside);
        return NULL;
    }
    tc_log(TC_INFO, "dashboard at %s%s", beside->server->is_unix ? "unix:" : "http://",
           beside->server->place);
    return beside;
}

bool tc_beside_stop(tc_beside *beside)
{
    const struct timespec look = {.tv_nsec = LOOK_MS * 1000000L};
    if (beside == NULL)
        return true;
    tc_server_close(beside->server);
    for (int i = 0; i < PATIENCE_MS / LOOK_MS && !atomic_load(&beside->ended); i++)
        nanosleep(&look, NULL);
    if (!atomic_load(&beside->ended))
        return false;
    pthread_join(beside->thread, NULL);
    tc_server_free(beside->server);
    free(beside);
    return true;
}

/* Log lines for a function of the program.
 *
 *   any thread ── tl_log_line ──> lines that wait ── the next operation ──> log(level, line)
 *
 * The library writes lines from any thread; a Lua function runs in its state's thread alone. So
 * lines wait until that state calls an operation of tito's, or its worker takes a turn.
 *
 * INVARIANTS
 *  1. At most LINES_MAX lines wait; what comes on top is counted, and the count is told.
 *  2. A log has two owners, the database that writes and the state that reads: the last one frees
 *     it.
 *  3. While the function runs tito can not be called. What it raises is a warning of Lua's. */
#include "binding.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES_MAX = 1000 };

typedef struct line line;
struct line {
    line *next; /* the one before it, while it waits */
    int32_t level;
    size_t len;
    char text[];
};

struct tl_log {
    atomic_int owners;
    atomic_int waiting;
    atomic_int dropped;
    atomic_bool closed;     /* no more lines will come */
    _Atomic(line *) newest; /* of those that wait */
    tl_log *next;           /* of the state */
    int function;           /* its reference in the state's registry */
};

static void disown(tl_log *log)
{
    if (atomic_fetch_sub(&log->owners, 1) != 1)
        return;
    line *l = atomic_load(&log->newest);
    while (l != NULL) {
        line *before = l->next;
        free(l);
        l = before;
    }
    free(log);
}

/* Argument: a function. Result: its reference. */
static int refer(lua_State *L)
{
    lua_settop(L, 1);
    lua_pushinteger(L, luaL_ref(L, LUA_REGISTRYINDEX));
    return 1;
}

tl_log *tl_log_new(lua_State *L, tl_state *state, int index)
{
    lua_pushvalue(L, index);
    lua_pushcfunction(L, refer);
    lua_insert(L, -2);
    int called = lua_pcall(L, 1, 1, 0);
    int function = called == LUA_OK ? (int)lua_tointeger(L, -1) : LUA_NOREF;
    lua_pop(L, 1);
    tl_log *log = called == LUA_OK ? calloc(1, sizeof(*log)) : NULL;
    if (log == NULL) {
        luaL_unref(L, LUA_REGISTRYINDEX, function);
        return NULL;
    }
    atomic_init(&log->owners, 2);
    log->function = function;
    log->next = state->logs;
    state->logs = log;
    return log;
}

void tl_log_line(void *context, int32_t level, const char *text)
{
    tl_log *log = context;
    size_t len = strlen(text);
    line *l = NULL;
    if (atomic_fetch_add(&log->waiting, 1) < LINES_MAX)
        l = malloc(sizeof(*l) + len);
    if (l == NULL) {
        atomic_fetch_sub(&log->waiting, 1);
        atomic_fetch_add(&log->dropped, 1);
        return;
    }
    l->level = level;
    l->len = len;
    memcpy(l->text, text, len);
    l->next = atomic_load(&log->newest);
    while (!atomic_compare_exchange_weak(&log->newest, &l->next, l))
        continue;
}

void tl_log_close(tl_log *log)
{
    if (log == NULL)
        return;
    atomic_store(&log->closed, true);
    disown(log);
}

/* Arguments: the log, a line. */
static int call_function(lua_State *L)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    const tl_log *log = lua_touserdata(L, 1);
    const line *l = lua_touserdata(L, 2);
    size_t level = l->level >= 0 && l->level < 4 ? (size_t)l->level : 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, log->function);
    lua_pushstring(L, names[level]);
    lua_pushlstring(L, l->text, l->len);
    lua_call(L, 2, 0);
    return 0;
}

/* Tells one line; frees it. */
static void tell(lua_State *L, tl_state *state, tl_log *log, line *l)
{
    bool outer = state->in_host;
    lua_pushcfunction(L, call_function);
    lua_pushlightuserdata(L, log);
    lua_pushlightuserdata(L, l);
    state->in_host = true;
    int called = lua_pcall(L, 2, 0, 0);
    state->in_host = outer;
    free(l);
    if (called == LUA_OK)
        return;
    bool text = lua_type(L, -1) == LUA_TSTRING;
    lua_warning(L, "tito: the log function failed: ", 1);
    lua_warning(L, text ? lua_tostring(L, -1) : "it raised no string", 0);
    lua_pop(L, 1);
}

static void tell_dropped(lua_State *L, tl_state *state, tl_log *log)
{
    enum { TEXT_SIZE = 64 };
    int dropped = atomic_exchange(&log->dropped, 0);
    line *l = dropped == 0 ? NULL : malloc(sizeof(*l) + TEXT_SIZE);
    if (l == NULL)
        return;
    l->level = 1;
    int len = snprintf(l->text, TEXT_SIZE, "%d log lines were dropped", dropped);
    l->len = (size_t)len;
    tell(L, state, log, l);
}

static void tell_all(lua_State *L, tl_state *state, tl_log *log)
{
    line *oldest = NULL;
    line *l = atomic_exchange(&log->newest, NULL);
    while (l != NULL) {
        line *before = l->next;
        l->next = oldest;
        oldest = l;
        l = before;
    }
    while (oldest != NULL) {
        l = oldest;
        oldest = l->next;
        atomic_fetch_sub(&log->waiting, 1);
        tell(L, state, log, l);
    }
    tell_dropped(L, state, log);
}

void tl_log_deliver(lua_State *L, tl_state *state)
{
    if (state->in_host || !lua_checkstack(L, 8))
        return;
    for (tl_log **at = &state->logs; *at != NULL;) {
        tl_log *log = *at;
        bool closed = atomic_load(&log->closed); /* before its last lines are taken */
        if (atomic_load(&log->newest) != NULL || atomic_load(&log->dropped) > 0)
            tell_all(L, state, log);
        if (!closed) {
            at = &log->next;
            continue;
        }
        *at = log->next;
        luaL_unref(L, LUA_REGISTRYINDEX, log->function);
        disown(log);
    }
}

void tl_log_end(tl_state *state)
{
    while (state->logs != NULL) {
        tl_log *log = state->logs;
        state->logs = log->next;
        disown(log);
    }
}

/* Waiting for a future, and what becomes of its result.
 *
 *   future ── wait in this thread ──> protected call { push the result, or nil and the error }
 *                                          └──> free
 *
 * INVARIANTS
 *  1. The future, its error and its page are freed on every way out, raising ones included. */
#include "binding.h"

#include <math.h>

typedef struct ending {
    tl_state *state;
    tito_future_t *future;
    tito_error_t *error;
    int32_t status;
    bool absent_is_nil;
    tl_push push;
} ending;

/* Arguments: an ending. Results: those of the operation. */
static int finish_protected(lua_State *L)
{
    ending *e = lua_touserdata(L, 1);
    lua_settop(L, 0);
    if (e->status == TITO_OK)
        return e->push(L, e->state, e->future);
    if (e->status == TITO_NOT_FOUND && e->absent_is_nil) {
        lua_pushnil(L);
        return 1;
    }
    tito_error_t *error = e->error;
    e->error = NULL;
    return tl_fail(L, e->status, error);
}

static int finish(lua_State *L, tl_state *state, tito_future_t *future, tl_push push,
                  bool absent_is_nil)
{
    ending e = {.state = state, .future = future, .push = push, .absent_is_nil = absent_is_nil};
    int top = lua_gettop(L);
    e.status = tito_future_wait(future, -1, &e.error);
    lua_pushcfunction(L, finish_protected);
    lua_pushlightuserdata(L, &e);
    int called = lua_pcall(L, 1, LUA_MULTRET, 0);
    tito_error_free(e.error);
    tito_future_free(future);
    if (called != LUA_OK)
        return lua_error(L);
    int count = lua_gettop(L) - top;
    tl_log_look(L, state);
    return count;
}

int tl_finish(lua_State *L, tl_state *state, tito_future_t *future, tl_push push)
{
    return finish(L, state, future, push, false);
}

int tl_finish_absent(lua_State *L, tl_state *state, tito_future_t *future, tl_push push)
{
    return finish(L, state, future, push, true);
}

/* ---- What futures have ---- */

int tl_push_true(lua_State *L, tl_state *state, tito_future_t *future)
{
    (void)state, (void)future;
    lua_pushboolean(L, 1);
    return 1;
}

int tl_push_int(lua_State *L, tl_state *state, tito_future_t *future)
{
    (void)state;
    lua_pushinteger(L, tito_future_int(future));
    return 1;
}

int tl_push_flag(lua_State *L, tl_state *state, tito_future_t *future)
{
    (void)state;
    lua_pushboolean(L, tito_future_int(future) != 0);
    return 1;
}

int tl_push_seconds(lua_State *L, tl_state *state, tito_future_t *future)
{
    (void)state;
    lua_pushnumber(L, (lua_Number)tito_future_int(future) / 1e6);
    return 1;
}

int tl_push_document(lua_State *L, tl_state *state, tito_future_t *future)
{
    return tl_decode(L, state, tito_future_bytes(future));
}

int tl_push_versioned(lua_State *L, tl_state *state, tito_future_t *future)
{
    int count = tl_decode(L, state, tito_future_bytes(future));
    if (count != 1)
        return count;
    lua_pushinteger(L, tito_future_int(future));
    return 2;
}

/* ---- Pages ---- */

typedef struct paging {
    tl_state *state;
    tito_page_t *page;
    bool bare; /* the list alone */
} paging;

/* Pushes document i, { id = … } when the page has ids only; false: nil and an error instead. */
static bool push_item(lua_State *L, const paging *p, size_t i)
{
    tito_slice document = tito_page_document(p->page, i);
    if (document.len > 0)
        return tl_decode(L, p->state, document) == 1;
    tito_slice id = tito_page_id(p->page, i);
    lua_createtable(L, 0, 1);
    lua_pushlstring(L, id.data, id.len);
    lua_setfield(L, -2, "id");
    return true;
}

/* Pushes the list of a page's documents; false: nil and an error instead. */
static bool push_list(lua_State *L, const paging *p)
{
    size_t count = tito_page_count(p->page);
    lua_createtable(L, (int)count, 0);
    tl_push_array_mt(L);
    lua_setmetatable(L, -2);
    for (size_t i = 0; i < count; i++) {
        if (!push_item(L, p, i))
            return false;
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return true;
}

static int page_protected(lua_State *L)
{
    const paging *p = lua_touserdata(L, 1);
    if (!p->bare)
        lua_createtable(L, 0, 2);
    if (!push_list(L, p))
        return 2;
    if (p->bare)
        return 1;
    lua_setfield(L, -2, "items");
    tito_slice cursor = tito_page_cursor(p->page);
    if (cursor.len > 0) {
        lua_pushlstring(L, cursor.data, cursor.len);
        lua_setfield(L, -2, "cursor");
    }
    return 1;
}

static int push_pages(lua_State *L, tl_state *state, tito_future_t *future, bool bare)
{
    int top = lua_gettop(L);
    paging p = {.state = state, .bare = bare};
    luaL_checkstack(L, 4, NULL);
    p.page = tito_future_page(future);
    lua_pushcfunction(L, page_protected);
    lua_pushlightuserdata(L, &p);
    int called = lua_pcall(L, 1, LUA_MULTRET, 0);
    tito_page_free(p.page);
    if (called != LUA_OK)
        return lua_error(L);
    return lua_gettop(L) - top;
}

int tl_push_page(lua_State *L, tl_state *state, tito_future_t *future)
{
    return push_pages(L, state, future, false);
}

int tl_push_items(lua_State *L, tl_state *state, tito_future_t *future)
{
    return push_pages(L, state, future, true);
}

/* ---- Arguments ---- */

static int32_t set_option(lua_State *L, tito_options_t *options, const char *name)
{
    size_t len;
    const char *text;
    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN:
        return lua_toboolean(L, -1) ? tito_options_set(options, name, "true", 4)
                                    : tito_options_set(options, name, "false", 5);
    case LUA_TNUMBER:
        if (!lua_isinteger(L, -1))
            return TITO_INVALID_ARGUMENT;
        return tito_options_set_int(options, name, lua_tointeger(L, -1));
    case LUA_TSTRING:
        text = lua_tolstring(L, -1, &len);
        return tito_options_set(options, name, text, len);
    default:
        return TITO_INVALID_ARGUMENT;
    }
}

void tl_options(lua_State *L, int index, tito_options_t **options_out)
{
    *options_out = NULL;
    if (lua_isnoneornil(L, index))
        return;
    luaL_checktype(L, index, LUA_TTABLE);
    luaL_checkstack(L, 8, NULL);
    tito_options_t *options = tito_options_new();
    int32_t status = options == NULL ? TITO_OUT_OF_MEMORY : TITO_OK;
    lua_pushnil(L);
    while (status == TITO_OK && lua_next(L, index) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING)
            status = TITO_INVALID_ARGUMENT;
        else
            status = set_option(L, options, lua_tostring(L, -2));
        if (status == TITO_OK)
            lua_pop(L, 1);
    }
    if (status == TITO_OK) {
        *options_out = options;
        return;
    }
    tito_options_free(options);
    if (status == TITO_OUT_OF_MEMORY)
        tl_raise(L, status, "there is no memory for options");
    lua_pushvalue(L, -2); /* the key; tostring of a copy does not disturb it */
    tl_raise(L, TITO_INVALID_ARGUMENT, "option '%s' has a value of a wrong type (%s)",
             luaL_tolstring(L, -1, NULL), luaL_typename(L, -3));
}

int64_t tl_check_seconds(lua_State *L, int index)
{
    lua_Number seconds = luaL_checknumber(L, index);
    lua_Number us = floor(seconds * 1e6 + 0.5);
    if (!(us >= -9.2e18 && us <= 9.2e18))
        tl_raise(L, TITO_INVALID_ARGUMENT, "a time of %f seconds is out of range", seconds);
    return (int64_t)us;
}

int64_t tl_opt_seconds(lua_State *L, int index, int64_t otherwise_us)
{
    return lua_isnoneornil(L, index) ? otherwise_us : tl_check_seconds(L, index);
}

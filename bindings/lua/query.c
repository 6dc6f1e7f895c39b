/* Queries. A query of lua/tito/query.lua is a table; each execution makes a tito_query_t of it:
 *
 *   { index = name or nil (scan), values = { v, … n = count }, bounds = { op, v, op, v },
 *     limit, cursor, relationships = { path, … }, reverse, keys_only }
 *
 * INVARIANTS
 *  1. The tito_query_t lives within one call. While it lives nothing raises: fill returns a status.
 */
#include "binding.h"

typedef tito_future_t *query_function(const tito_query_t *query, tito_txn_t *txn);

/* A query that is being made of the table at index. */
typedef struct making {
    lua_State *L;
    tl_state *state;
    int index;
    tito_query_t *query;
    char message[TL_MESSAGE_SIZE_MAX];
} making;

/* Encodes the value on top and pops it. */
static int32_t encode_top(making *m)
{
    int32_t status = tl_encode(m->L, -1, &m->state->buffer, m->message);
    lua_pop(m->L, 1);
    return status;
}

static int32_t fill_values(making *m)
{
    lua_State *L = m->L;
    int32_t status = TITO_OK;
    if (lua_getfield(L, m->index, "values") == LUA_TTABLE) {
        lua_getfield(L, -1, "n");
        lua_Integer n = lua_tointeger(L, -1);
        lua_pop(L, 1);
        for (lua_Integer i = 1; i <= n && status == TITO_OK; i++) {
            lua_rawgeti(L, -1, i);
            status = encode_top(m);
            if (status == TITO_OK)
                status = tito_query_value(m->query, m->state->buffer.data, m->state->buffer.len);
        }
    }
    lua_pop(L, 1);
    return status;
}

static int32_t fill_bounds(making *m)
{
    lua_State *L = m->L;
    int32_t status = TITO_OK;
    if (lua_getfield(L, m->index, "bounds") == LUA_TTABLE) {
        lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
        for (lua_Integer i = 1; i < n && status == TITO_OK; i += 2) {
            lua_rawgeti(L, -1, i);
            int32_t bound = (int32_t)lua_tointeger(L, -1);
            lua_pop(L, 1);
            lua_rawgeti(L, -1, i + 1);
            status = encode_top(m);
            if (status == TITO_OK)
                status =
                    tito_query_bound(m->query, bound, m->state->buffer.data, m->state->buffer.len);
        }
    }
    lua_pop(L, 1);
    return status;
}

static int32_t fill_relationships(making *m)
{
    lua_State *L = m->L;
    int32_t status = TITO_OK;
    if (lua_getfield(L, m->index, "relationships") == LUA_TTABLE) {
        lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
        for (lua_Integer i = 1; i <= n && status == TITO_OK; i++) {
            size_t len;
            lua_rawgeti(L, -1, i);
            const char *path = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
            status =
                path == NULL ? TITO_INVALID_ARGUMENT : tito_query_relationship(m->query, path, len);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    return status;
}

/* limit, cursor, reverse, keys_only. */
static int32_t fill_rest(making *m)
{
    lua_State *L = m->L;
    int32_t status = TITO_OK;
    if (lua_getfield(L, m->index, "limit") == LUA_TNUMBER)
        status = tito_query_limit(m->query, lua_tointeger(L, -1));
    if (lua_getfield(L, m->index, "cursor") == LUA_TSTRING && status == TITO_OK) {
        size_t len;
        const char *cursor = lua_tolstring(L, -1, &len);
        status = tito_query_cursor(m->query, cursor, len);
    }
    if (lua_getfield(L, m->index, "reverse") == LUA_TBOOLEAN && status == TITO_OK)
        status = tito_query_reverse(m->query, lua_toboolean(L, -1));
    if (lua_getfield(L, m->index, "keys_only") == LUA_TBOOLEAN && status == TITO_OK)
        status = tito_query_keys_only(m->query, lua_toboolean(L, -1));
    lua_pop(L, 4);
    return status;
}

static int32_t fill(making *m)
{
    int32_t status = fill_values(m);
    if (status == TITO_OK)
        status = fill_bounds(m);
    if (status == TITO_OK)
        status = fill_relationships(m);
    return status == TITO_OK ? fill_rest(m) : status;
}

/* The library has refused a part of query (which is freed): pushes nil and why. */
static int refused(lua_State *L, tito_query_t *query, int32_t status)
{
    tito_error_t *error = NULL;
    tito_future_t *told = tito_query_explain(query);
    int32_t again = tito_future_wait(told, -1, &error);
    tito_future_free(told);
    tito_query_free(query);
    if (again == status && error != NULL)
        return tl_fail(L, status, error);
    tito_error_free(error);
    return tl_fail_text(L, status, "the query can not be made");
}

/* Makes the query of the table at index; *query_out is the caller's. 0, or the number of results of
 * a failure. */
static int make(lua_State *L, int index, tito_query_t **query_out)
{
    making m = {.L = L, .state = tl_state_of(L), .index = index, .message = ""};
    tito_error_t *error = NULL;
    tito_model_t *model = tl_handle_get(L, 1, TL_MODEL);
    int32_t status;
    luaL_checktype(L, index, LUA_TTABLE);
    luaL_checkstack(L, 16, NULL);
    if (lua_getfield(L, index, "index") == LUA_TSTRING) {
        size_t len;
        const char *name = lua_tolstring(L, -1, &len);
        status = tito_query_new(model, name, len, &m.query, &error);
    } else {
        status = tito_query_scan(model, &m.query, &error);
    }
    lua_pop(L, 1);
    if (status != TITO_OK)
        return tl_fail(L, status, error);
    status = fill(&m);
    if (status == TITO_OK) {
        *query_out = m.query;
        return 0;
    }
    if (m.message[0] == '\0')
        return refused(L, m.query, status);
    tito_query_free(m.query);
    return tl_fail_text(L, status, "%s", m.message);
}

/* function(model, txn, query) */
static int run(lua_State *L, query_function *function, tl_push push)
{
    tito_query_t *query;
    tito_txn_t *txn = tl_handle_opt(L, 2, TL_TXN);
    int failed = make(L, 3, &query);
    if (failed > 0)
        return failed;
    tito_future_t *future = function(query, txn);
    tito_query_free(query);
    return tl_finish_absent(L, tl_state_of(L), future, push);
}

/* query_execute(model, txn, query): a page. */
static int query_execute(lua_State *L)
{
    return run(L, tito_query_execute, tl_push_page);
}

/* query_first(model, txn, query): a document, nil when there is none. */
static int query_first(lua_State *L)
{
    return run(L, tito_query_first, tl_push_document);
}

/* query_count(model, txn, query) */
static int query_count(lua_State *L)
{
    return run(L, tito_query_count, tl_push_int);
}

static tito_future_t *explain(const tito_query_t *query, tito_txn_t *txn)
{
    (void)txn;
    return tito_query_explain(query);
}

/* query_explain(model, nil, query): a table. */
static int query_explain(lua_State *L)
{
    return run(L, explain, tl_push_document);
}

const luaL_Reg tl_query_functions[] = {{"query_execute", query_execute},
                                       {"query_first", query_first},
                                       {"query_count", query_count},
                                       {"query_explain", query_explain},
                                       {NULL, NULL}};

/* Reindex and check, step by step; lua/tito/maintenance.lua drives them and evaluates conditions.
 *
 *   steps_open ──> steps_next ─┬─ "more" ──> steps_next …
 *                              ├─ "host" ──> steps_document, steps_reply for each ──> steps_next
 *                              └─ "done" */
#include "binding.h"

#include <string.h>

/* steps_open(model, "reindex" or "check", options): a handle. */
static int steps_open(lua_State *L)
{
    tito_model_t *model = tl_handle_get(L, 1, TL_MODEL);
    const char *kind = luaL_checkstring(L, 2);
    tito_options_t *options;
    tito_error_t *error = NULL;
    tito_steps_t *steps = NULL;
    void **slot = tl_handle_new(L, TL_STEPS);
    tl_options(L, 3, &options);
    int32_t status = strcmp(kind, "check") == 0 ? tito_check_open(model, options, &steps, &error)
                                                : tito_reindex_open(model, options, &steps, &error);
    tito_options_free(options);
    if (status != TITO_OK)
        return tl_fail(L, status, error);
    *slot = steps;
    return 1;
}

/* The kind of step and its table. */
static int push_step(lua_State *L, tl_state *state, tito_future_t *future)
{
    static const char *const names[] = {
        [TITO_STEP_DONE] = "done", [TITO_STEP_MORE] = "more", [TITO_STEP_HOST] = "host"};
    int64_t step = tito_future_int(future);
    tito_slice text = tito_future_bytes(future);
    lua_pushstring(L, step >= 0 && step <= TITO_STEP_HOST ? names[step] : "unknown");
    if (text.len == 0) {
        lua_newtable(L);
        return 2;
    }
    return tl_decode(L, state, text) == 1 ? 2 : 3;
}

/* steps_next(steps): see push_step. */
static int steps_next(lua_State *L)
{
    tito_steps_t *steps = tl_handle_get(L, 1, TL_STEPS);
    return tl_finish(L, tl_state_of(L), tito_steps_next(steps), push_step);
}

/* steps_count(steps): how many documents wait. */
static int steps_count(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tito_steps_count(tl_handle_get(L, 1, TL_STEPS)));
    return 1;
}

/* steps_document(steps, i): the i-th, from 1. */
static int steps_document(lua_State *L)
{
    const tito_steps_t *steps = tl_handle_get(L, 1, TL_STEPS);
    size_t i = (size_t)luaL_checkinteger(L, 2) - 1;
    return tl_decode(L, tl_state_of(L), tito_steps_document(steps, i));
}

/* steps_reply(steps, i, low, high): its condition bits. */
static int steps_reply(lua_State *L)
{
    tito_steps_t *steps = tl_handle_get(L, 1, TL_STEPS);
    size_t i = (size_t)luaL_checkinteger(L, 2) - 1;
    uint64_t low = (uint64_t)luaL_checknumber(L, 3);
    uint64_t high = (uint64_t)luaL_checknumber(L, 4);
    int32_t status = tito_steps_reply(steps, i, high << 32 | low);
    if (status != TITO_OK)
        return tl_fail_text(L, status, "the conditions of document %d were refused", (int)i + 1);
    lua_pushboolean(L, 1);
    return 1;
}

/* steps_free(steps) */
static int steps_free(lua_State *L)
{
    tito_steps_free(tl_handle_take(L, 1, TL_STEPS));
    return 0;
}

const luaL_Reg tl_maintenance_functions[] = {{"steps_open", steps_open},
                                             {"steps_next", steps_next},
                                             {"steps_count", steps_count},
                                             {"steps_document", steps_document},
                                             {"steps_reply", steps_reply},
                                             {"steps_free", steps_free},
                                             {NULL, NULL}};

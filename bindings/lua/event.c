/* Events as handlers see them: a table with what is known of the event, and its transaction, lent
 * while the handler runs.
 *
 *   handle (TL_EVENT) ── user value ──> handle (TL_TXN, lent)
 *
 * INVARIANTS
 *  1. A lent transaction is never freed by its handle; the handle is emptied before the event is
 *     settled or freed. */
#include "worker.h"

#include <math.h>
#include <string.h>

void tl_event_release(void *pointer)
{
    tito_event_free(pointer);
}

void tl_event_end_txn(lua_State *L, int index)
{
    if (lua_getiuservalue(L, index, 1) == LUA_TUSERDATA)
        *tl_handle_slot(L, -1, TL_TXN) = NULL;
    lua_pop(L, 1);
}

/* event_txn(event): the handle of its transaction, the same each time. */
static int event_txn(lua_State *L)
{
    tito_event_t *event = tl_handle_get(L, 1, TL_EVENT);
    tito_error_t *error = NULL;
    tito_txn_t *txn = NULL;
    if (lua_getiuservalue(L, 1, 1) == LUA_TUSERDATA)
        return 1;
    void **slot = tl_handle_new(L, TL_TXN);
    tl_handle_lend(L, -1);
    int32_t status = tito_event_txn(event, &txn, &error);
    if (status != TITO_OK)
        return tl_fail(L, status, error);
    *slot = txn;
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, 1);
    return 1;
}

/* event_expired(event): whether its handler has run for too long. */
static int event_expired(lua_State *L)
{
    const tito_event_t *event = tl_handle_peek(L, 1, TL_EVENT);
    lua_pushboolean(L, event == NULL || tito_event_expired(event) != 0);
    return 1;
}

static void set_text(lua_State *L, const tito_event_t *event, int32_t field, const char *name)
{
    tito_slice text = tito_event_text(event, field);
    if (text.len == 0)
        return;
    lua_pushlstring(L, text.data, text.len);
    lua_setfield(L, -2, name);
}

static void set_json(lua_State *L, tl_state *state, const tito_event_t *event, int32_t field,
                     const char *name)
{
    tito_slice text = tito_event_text(event, field);
    if (text.len == 0)
        return;
    if (tl_decode(L, state, text) != 1)
        (void)lua_error(L); /* the error table on top: the event fails with it */
    lua_setfield(L, -2, name);
}

void tl_event_push(lua_State *L, tl_state *state, tito_event_t *event)
{
    static const struct {
        int32_t field;
        const char *name;
    } texts[] = {{TITO_EVENT_ID, "id"},
                 {TITO_EVENT_TYPE, "type"},
                 {TITO_EVENT_KEY, "key"},
                 {TITO_EVENT_SEQUENCE, "sequence"},
                 {TITO_EVENT_ACTION, "action"},
                 {TITO_EVENT_ENTITY, "entity"},
                 {TITO_EVENT_ENTITY_ID, "entity_id"},
                 {TITO_EVENT_LAST_ERROR, "last_error"}};
    lua_createtable(L, 0, 16);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        set_text(L, event, texts[i].field, texts[i].name);
    set_json(L, state, event, TITO_EVENT_REFERENCES, "references");
    set_json(L, state, event, TITO_EVENT_PAYLOAD, "payload");
    lua_pushinteger(L, tito_event_int(event, TITO_EVENT_PARTITION));
    lua_setfield(L, -2, "partition");
    lua_pushinteger(L, tito_event_int(event, TITO_EVENT_ATTEMPTS));
    lua_setfield(L, -2, "attempts");
    lua_pushnumber(L, (lua_Number)tito_event_int(event, TITO_EVENT_TIMESTAMP) / 1e6);
    lua_setfield(L, -2, "timestamp");
}

void tl_events_push(lua_State *L, tl_state *state, tito_event_t *batch)
{
    size_t count = tito_event_count(batch);
    lua_createtable(L, (int)count, 2);
    for (size_t i = 0; i < count; i++) {
        tl_event_push(L, state, tito_event_member(batch, i));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "batch");
}

/* event_say(batch, i, outcome, value): how the i-th event ends when the batch is acknowledged. */
static int event_say(lua_State *L)
{
    size_t len = 0;
    tito_event_t *batch = tl_handle_get(L, 1, TL_EVENT);
    lua_Integer i = luaL_checkinteger(L, 2);
    const char *outcome = luaL_checkstring(L, 3);
    tito_event_t *event = i > 0 ? tito_event_member(batch, (size_t)i - 1) : NULL;
    luaL_argcheck(L, event != NULL, 2, "an event of the batch expected");
    if (strcmp(outcome, "reschedule") == 0) {
        double seconds = luaL_checknumber(L, 4);
        (void)tito_event_reschedule(event, (int64_t)floor(seconds * 1e6 + 0.5));
        return 0;
    }
    const char *text = luaL_checklstring(L, 4, &len);
    if (strcmp(outcome, "advance") == 0)
        (void)tito_event_advance(event, text, len);
    else
        tl_event_fail(event, text, len);
    return 0;
}

const luaL_Reg tl_event_functions[] = {{"event_txn", event_txn},
                                       {"event_expired", event_expired},
                                       {"event_say", event_say},
                                       {NULL, NULL}};

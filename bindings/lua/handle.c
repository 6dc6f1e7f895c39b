/* Handles as userdata: { tag, kind, pointer }.
 *
 *   new ──> pointer set ──> used ──> released (__gc, __close, or an explicit end): pointer NULL
 *
 * INVARIANTS
 *  1. tag is the address of tag_of_handles: nobody else's userdata passes for a handle.
 *  2. A pointer is released once: taking it sets the slot to NULL.
 *  3. The order of release does not matter: the library's handles keep what they need. */
#include "worker.h"

typedef struct handle {
    const void *tag;
    tl_kind kind;
    bool lent; /* the pointer is somebody else's */
    void *pointer;
} handle;

static const char tag_of_handles;

static void release_db(void *pointer)
{
    tl_db_unref(pointer);
}
static void release_txn(void *pointer)
{
    tito_txn_free(pointer);
}
static void release_model(void *pointer)
{
    tito_model_free(pointer);
}
static void release_queue(void *pointer)
{
    tito_queue_free(pointer);
}
static void release_steps(void *pointer)
{
    tito_steps_free(pointer);
}

static const struct {
    const char *name; /* of the metatable */
    const char *noun; /* in messages */
    void (*release)(void *pointer);
} kinds[TL_KIND_COUNT] = {
    [TL_DB] = {"tito.core.db", "database", release_db},
    [TL_TXN] = {"tito.core.txn", "transaction", release_txn},
    [TL_MODEL] = {"tito.core.model", "model", release_model},
    [TL_QUEUE] = {"tito.core.queue", "queue", release_queue},
    [TL_STEPS] = {"tito.core.steps", "maintenance run", release_steps},
    [TL_EVENT] = {"tito.core.event", "event", tl_event_release},
    [TL_WORKER] = {"tito.core.worker", "worker", tl_worker_release},
};

/* The handle at index when it is one, of any kind. */
static handle *handle_at(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TUSERDATA || lua_rawlen(L, index) != sizeof(handle))
        return NULL;
    handle *h = lua_touserdata(L, index);
    return h->tag == &tag_of_handles ? h : NULL;
}

static int handle_gc(lua_State *L)
{
    handle *h = handle_at(L, 1);
    if (h == NULL || h->pointer == NULL)
        return 0;
    void *pointer = h->pointer;
    h->pointer = NULL;
    if (h->kind == TL_EVENT)
        tl_event_end_txn(L, 1);
    if (!h->lent)
        kinds[h->kind].release(pointer);
    return 0;
}

static int handle_tostring(lua_State *L)
{
    const handle *h = handle_at(L, 1);
    if (h == NULL)
        return luaL_error(L, "not a handle of tito");
    lua_pushfstring(L, "%s: %p%s", kinds[h->kind].name, (const void *)h,
                    h->pointer == NULL ? " (released)" : "");
    return 1;
}

void tl_handle_init(lua_State *L)
{
    static const luaL_Reg meta[] = {
        {"__gc", handle_gc}, {"__close", handle_gc}, {"__tostring", handle_tostring}, {NULL, NULL}};
    for (size_t kind = 0; kind < TL_KIND_COUNT; kind++) {
        luaL_newmetatable(L, kinds[kind].name); /* sets __name */
        luaL_setfuncs(L, meta, 0);
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
        lua_pop(L, 1);
    }
}

void **tl_handle_new(lua_State *L, tl_kind kind)
{
    handle *h = lua_newuserdatauv(L, sizeof(*h), 1);
    *h = (handle){.tag = &tag_of_handles, .kind = kind};
    luaL_setmetatable(L, kinds[kind].name);
    return &h->pointer;
}

void **tl_handle_slot(lua_State *L, int index, tl_kind kind)
{
    handle *h = handle_at(L, index);
    if (h == NULL || h->kind != kind)
        tl_raise(L, TITO_INVALID_ARGUMENT, "%s expected, got %s", kinds[kind].noun,
                 luaL_typename(L, index));
    return &h->pointer;
}

void *tl_handle_get(lua_State *L, int index, tl_kind kind)
{
    void *pointer = *tl_handle_slot(L, index, kind);
    if (pointer == NULL)
        tl_raise(L, TITO_INVALID_STATE, "the %s has ended", kinds[kind].noun);
    if (tl_state_of(L)->in_host)
        tl_raise(L, TITO_INVALID_STATE,
                 "a function of a model (condition, events, partition_key, references) may not "
                 "call tito");
    return pointer;
}

void *tl_handle_opt(lua_State *L, int index, tl_kind kind)
{
    return lua_isnoneornil(L, index) ? NULL : tl_handle_get(L, index, kind);
}

void *tl_handle_peek(lua_State *L, int index, tl_kind kind)
{
    const handle *h = handle_at(L, index);
    return h == NULL || h->kind != kind ? NULL : h->pointer;
}

void tl_handle_lend(lua_State *L, int index)
{
    handle *h = handle_at(L, index);
    if (h != NULL)
        h->lent = true;
}

bool tl_handle_is_lent(lua_State *L, int index)
{
    const handle *h = handle_at(L, index);
    return h != NULL && h->lent;
}

void *tl_handle_take(lua_State *L, int index, tl_kind kind)
{
    void **slot = tl_handle_slot(L, index, kind);
    void *pointer = *slot;
    *slot = NULL;
    return pointer;
}

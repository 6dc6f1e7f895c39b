/* Models: writing and reading records.
 *
 *   document (table, or JSON text made by model_merge) ─ encode ─> tito_model_… ─ decode ─> table
 *
 * A write may carry what the host's functions said of the document (host.lua evaluates them
 * before): { low, high = condition bits 0-31, 32-63; operation; events; partition_key; references;
 *     if_version }
 *
 * INVARIANTS
 *  1. A write that fails here, before the library sees it, dooms its transaction as well. */
#include "binding.h"

#include <string.h>

typedef tito_future_t *write_function(tito_model_t *model, tito_txn_t *txn, const char *document,
                                      size_t document_len, const tito_write_t *write);

/* What a write function works on. */
typedef struct writing {
    tl_state *state;
    tito_model_t *model;
    tito_txn_t *txn;
    const tito_write_t *write;
} writing;

static int fail_write(lua_State *L, const writing *w, int32_t status, const char *message)
{
    if (w->txn != NULL)
        (void)tito_txn_doom(w->txn, status, message, strlen(message));
    return tl_fail_text(L, status, "%s", message);
}

/* ---- What the host's functions said ---- */

static int32_t set_conditions(lua_State *L, int index, tito_write_t *write)
{
    lua_getfield(L, index, "low");
    lua_getfield(L, index, "high");
    uint64_t low = (uint64_t)lua_tonumber(L, -2);
    uint64_t high = (uint64_t)lua_tonumber(L, -1);
    lua_pop(L, 2);
    return tito_write_conditions(write, high << 32 | low);
}

/* Sets a text when the field is there. */
static int32_t set_text(lua_State *L, int index, const char *name, tito_write_t *write,
                        int32_t (*set)(tito_write_t *, const char *, size_t))
{
    size_t len;
    int32_t status = TITO_OK;
    if (lua_getfield(L, index, name) == LUA_TSTRING) {
        const char *text = lua_tolstring(L, -1, &len);
        status = set(write, text, len);
    }
    lua_pop(L, 1);
    return status;
}

/* Sets a JSON value when the field is there. */
static int32_t set_json(lua_State *L, int index, const char *name, tl_state *state,
                        tito_write_t *write, char *message,
                        int32_t (*set)(tito_write_t *, const char *, size_t))
{
    int32_t status = TITO_OK;
    if (lua_getfield(L, index, name) != LUA_TNIL) {
        status = tl_encode(L, -1, &state->buffer, message);
        if (status == TITO_OK)
            status = set(write, state->buffer.data, state->buffer.len);
    }
    lua_pop(L, 1);
    return status;
}

static int32_t set_version(lua_State *L, int index, tito_write_t *write)
{
    int32_t status = TITO_OK;
    if (lua_getfield(L, index, "if_version") != LUA_TNIL) {
        lua_Integer version = lua_tointeger(L, -1); /* 0 when it is none */
        status = tito_write_if_version(write, version > 0 ? (uint64_t)version : 0);
    }
    lua_pop(L, 1);
    return status;
}

/* Fills the state's write from the table at index; message says what is wrong with it. */
static int32_t fill_write(lua_State *L, int index, tl_state *state, char *message)
{
    tito_write_t *write = state->write;
    int32_t status = set_conditions(L, index, write);
    if (status == TITO_OK)
        status = set_text(L, index, "operation", write, tito_write_operation);
    if (status == TITO_OK)
        status = set_text(L, index, "partition_key", write, tito_write_partition_key);
    if (status == TITO_OK)
        status = set_json(L, index, "events", state, write, message, tito_write_events);
    if (status == TITO_OK)
        status = set_json(L, index, "references", state, write, message, tito_write_references);
    if (status == TITO_OK)
        status = set_version(L, index, write);
    return status;
}

/* Sets w->write from the table at index (nil: NULL). 0, or the number of results of a failure. */
static int take_write(lua_State *L, int index, writing *w)
{
    char message[TL_MESSAGE_SIZE_MAX] = "the events, partition key or references are not valid";
    w->write = NULL;
    if (lua_isnoneornil(L, index))
        return 0;
    luaL_checktype(L, index, LUA_TTABLE);
    if (w->state->write == NULL)
        w->state->write = tito_write_new();
    if (w->state->write == NULL)
        return fail_write(L, w, TITO_OUT_OF_MEMORY, "there is no memory for a write");
    tito_write_reset(w->state->write);
    int32_t status = fill_write(L, index, w->state, message);
    if (status != TITO_OK)
        return fail_write(L, w, status,
                          message[0] == '\0' ? "events or references are not valid" : message);
    w->write = w->state->write;
    return 0;
}

/* ---- Writing ---- */

/* write(model, txn, document, write, versioned): the stored document, and its version. */
static int write_document(lua_State *L, write_function *function)
{
    char message[TL_MESSAGE_SIZE_MAX];
    writing w = {.state = tl_state_of(L),
                 .model = tl_handle_get(L, 1, TL_MODEL),
                 .txn = tl_handle_opt(L, 2, TL_TXN)};
    int failed = take_write(L, 4, &w);
    if (failed > 0)
        return failed;
    tito_slice text;
    if (lua_type(L, 3) == LUA_TSTRING) {
        text.data = lua_tolstring(L, 3, &text.len);
    } else {
        int32_t status = tl_encode(L, 3, &w.state->buffer, message);
        if (status != TITO_OK)
            return fail_write(L, &w, status, message);
        text = (tito_slice){.data = w.state->buffer.data, .len = w.state->buffer.len};
    }
    bool versioned = lua_toboolean(L, 5) != 0;
    tito_future_t *future = function(w.model, w.txn, text.data, text.len, w.write);
    int count = tl_finish(L, w.state, future, versioned ? tl_push_versioned : tl_push_document);
    tl_buffer_trim(&w.state->buffer);
    return count;
}

static int model_build(lua_State *L)
{
    return write_document(L, tito_model_build);
}
static int model_update(lua_State *L)
{
    return write_document(L, tito_model_update);
}
static int model_save(lua_State *L)
{
    return write_document(L, tito_model_save);
}

/* model_patch(model, txn, id, changes, write, versioned): like write_document. */
static int model_patch(lua_State *L)
{
    char message[TL_MESSAGE_SIZE_MAX];
    size_t id_len;
    writing w = {.state = tl_state_of(L),
                 .model = tl_handle_get(L, 1, TL_MODEL),
                 .txn = tl_handle_opt(L, 2, TL_TXN)};
    const char *id = luaL_checklstring(L, 3, &id_len);
    int failed = take_write(L, 5, &w);
    if (failed > 0)
        return failed;
    tl_buffer *buffer = &w.state->buffer;
    int32_t status = tl_encode(L, 4, buffer, message);
    if (status != TITO_OK)
        return fail_write(L, &w, status, message);
    bool versioned = lua_toboolean(L, 6) != 0;
    tito_future_t *future =
        tito_model_patch(w.model, w.txn, id, id_len, buffer->data, buffer->len, w.write);
    return tl_finish(L, w.state, future, versioned ? tl_push_versioned : tl_push_document);
}

/* The merged document, its JSON text, the stored version. */
static int push_merged(lua_State *L, tl_state *state, tito_future_t *future)
{
    tito_slice text = tito_future_bytes(future);
    int count = tl_decode(L, state, text);
    if (count != 1)
        return count;
    lua_pushlstring(L, text.data, text.len);
    lua_pushinteger(L, tito_future_int(future));
    return 3;
}

/* model_merge(model, txn, id, changes): see push_merged. */
static int model_merge(lua_State *L)
{
    char message[TL_MESSAGE_SIZE_MAX];
    size_t id_len;
    writing w = {.state = tl_state_of(L),
                 .model = tl_handle_get(L, 1, TL_MODEL),
                 .txn = tl_handle_get(L, 2, TL_TXN)};
    const char *id = luaL_checklstring(L, 3, &id_len);
    tl_buffer *buffer = &w.state->buffer;
    int32_t status = tl_encode(L, 4, buffer, message);
    if (status != TITO_OK)
        return fail_write(L, &w, status, message);
    tito_future_t *future = tito_model_merge(w.model, w.txn, id, id_len, buffer->data, buffer->len);
    return tl_finish(L, w.state, future, push_merged);
}

/* model_delete(model, txn, id, write): whether it was there. */
static int model_delete(lua_State *L)
{
    size_t id_len;
    writing w = {.state = tl_state_of(L),
                 .model = tl_handle_get(L, 1, TL_MODEL),
                 .txn = tl_handle_opt(L, 2, TL_TXN)};
    const char *id = luaL_checklstring(L, 3, &id_len);
    int failed = take_write(L, 4, &w);
    if (failed > 0)
        return failed;
    return tl_finish(L, w.state, tito_model_delete(w.model, w.txn, id, id_len, w.write),
                     tl_push_flag);
}

/* model_assert_current(model, txn, id) */
static int model_assert_current(lua_State *L)
{
    size_t id_len;
    tito_model_t *model = tl_handle_get(L, 1, TL_MODEL);
    tito_txn_t *txn = tl_handle_get(L, 2, TL_TXN);
    const char *id = luaL_checklstring(L, 3, &id_len);
    return tl_finish(L, tl_state_of(L), tito_model_assert_current(model, txn, id, id_len),
                     tl_push_true);
}

/* ---- Reading ---- */

/* Adds the names in the list at index. The first status that is not OK ends it. */
static int32_t add_relationships(lua_State *L, int index, tito_read_t *read)
{
    int32_t status = TITO_OK;
    lua_Integer n = (lua_Integer)lua_rawlen(L, index);
    for (lua_Integer i = 1; i <= n && status == TITO_OK; i++) {
        size_t len;
        bool text = lua_rawgeti(L, index, i) == LUA_TSTRING;
        const char *path = text ? lua_tolstring(L, -1, &len) : NULL;
        status = text ? tito_read_relationship(read, path, len) : TITO_INVALID_ARGUMENT;
        lua_pop(L, 1);
    }
    return status;
}

/* How to read, from a list of relationships and a lock's wait in seconds (each may be nil). 0, or
 * the number of results of a failure. */
static int take_read(lua_State *L, int relationships, int lock, tito_read_t **read_out)
{
    *read_out = NULL;
    bool related = lua_istable(L, relationships), locked = !lua_isnoneornil(L, lock);
    if (!related && !locked)
        return 0;
    int64_t wait_us = locked ? tl_check_seconds(L, lock) : 0;
    tito_read_t *read = tito_read_new();
    int32_t status = read == NULL ? TITO_OUT_OF_MEMORY : TITO_OK;
    if (status == TITO_OK && related)
        status = add_relationships(L, relationships, read);
    if (status == TITO_OK && locked)
        status = tito_read_lock(read, wait_us);
    if (status != TITO_OK) {
        tito_read_free(read);
        return tl_fail_text(L, status,
                            "relationships are a list of names of destinations (\"tags\", "
                            "\"tags.category\")");
    }
    *read_out = read;
    return 0;
}

/* model_find(model, txn, id, relationships, lock, versioned): the document, and its version; nil
 * when absent. */
static int model_find(lua_State *L)
{
    size_t id_len;
    tito_read_t *read;
    tito_model_t *model = tl_handle_get(L, 1, TL_MODEL);
    tito_txn_t *txn = tl_handle_opt(L, 2, TL_TXN);
    const char *id = luaL_checklstring(L, 3, &id_len);
    int failed = take_read(L, 4, 5, &read);
    if (failed > 0)
        return failed;
    bool versioned = lua_toboolean(L, 6) != 0;
    tito_future_t *future = tito_model_find(model, txn, id, id_len, read);
    tito_read_free(read);
    return tl_finish_absent(L, tl_state_of(L), future,
                            versioned ? tl_push_versioned : tl_push_document);
}

/* model_find_many(model, txn, ids, relationships): the list of those that exist. */
static int model_find_many(lua_State *L)
{
    char message[TL_MESSAGE_SIZE_MAX];
    tl_state *state = tl_state_of(L);
    tito_read_t *read;
    tito_model_t *model = tl_handle_get(L, 1, TL_MODEL);
    tito_txn_t *txn = tl_handle_opt(L, 2, TL_TXN);
    int32_t status = tl_encode(L, 3, &state->buffer, message);
    if (status != TITO_OK)
        return tl_fail_text(L, status, "%s", message);
    int failed = take_read(L, 4, 5, &read);
    if (failed > 0)
        return failed;
    /* an empty table is an empty list here */
    bool empty = state->buffer.len == 2;
    tito_future_t *future = tito_model_find_many(model, txn, empty ? "[]" : state->buffer.data,
                                                 state->buffer.len, read);
    tito_read_free(read);
    return tl_finish(L, state, future, tl_push_items);
}

/* ---- Declaring ---- */

/* model_declare(db, spec): a handle. */
static int model_declare(lua_State *L)
{
    char message[TL_MESSAGE_SIZE_MAX];
    tl_state *state = tl_state_of(L);
    tito_db_t *db = tl_check_db(L, 1);
    tito_error_t *error = NULL;
    tito_model_t *model = NULL;
    void **slot = tl_handle_new(L, TL_MODEL);
    int32_t status = tl_encode(L, 2, &state->buffer, message);
    if (status != TITO_OK)
        return tl_fail_text(L, status, "%s", message);
    status = tito_model_declare(db, state->buffer.data, state->buffer.len, &model, &error);
    if (status != TITO_OK)
        return tl_fail(L, status, error);
    *slot = model;
    return 1;
}

const luaL_Reg tl_model_functions[] = {{"model_declare", model_declare},
                                       {"model_build", model_build},
                                       {"model_update", model_update},
                                       {"model_save", model_save},
                                       {"model_patch", model_patch},
                                       {"model_merge", model_merge},
                                       {"model_delete", model_delete},
                                       {"model_assert_current", model_assert_current},
                                       {"model_find", model_find},
                                       {"model_find_many", model_find_many},
                                       {NULL, NULL}};

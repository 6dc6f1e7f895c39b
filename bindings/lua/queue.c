/* Queues: publishing and history. Workers are in worker.c. */
#include "binding.h"

#include <string.h>

/* queue_open(db, type, options): a handle. */
static int queue_open(lua_State *L)
{
    size_t len;
    tito_db_t *db = tl_check_db(L, 1);
    const char *type = luaL_checklstring(L, 2, &len);
    tito_options_t *options;
    tito_error_t *error = NULL;
    tito_queue_t *queue = NULL;
    void **slot = tl_handle_new(L, TL_QUEUE);
    tl_options(L, 3, &options);
    int32_t status = tito_queue_open(db, type, len, options, &queue, &error);
    tito_options_free(options);
    if (status != TITO_OK)
        return tl_fail(L, status, error);
    *slot = queue;
    return 1;
}

/* The id of the event, or true when it has none yet. */
static int push_id(lua_State *L, tl_state *state, tito_future_t *future)
{
    tito_slice id = tito_future_bytes(future);
    if (id.len == 0)
        return tl_push_true(L, state, future);
    lua_pushlstring(L, id.data, id.len);
    return 1;
}

/* Bytes as a string. */
static int push_text(lua_State *L, tl_state *state, tito_future_t *future)
{
    tito_slice text = tito_future_bytes(future);
    (void)state;
    lua_pushlstring(L, text.data != NULL ? text.data : "", text.len);
    return 1;
}

/* queue_publish(queue, txn, key, payload, timestamp, delay, options): times in seconds, or nil;
 * options: nil, or a table of the library's. */
static int queue_publish(lua_State *L)
{
    char message[TL_MESSAGE_SIZE_MAX];
    size_t key_len;
    tl_state *state = tl_state_of(L);
    tito_queue_t *queue = tl_handle_get(L, 1, TL_QUEUE);
    tito_txn_t *txn = tl_handle_opt(L, 2, TL_TXN);
    const char *key = luaL_checklstring(L, 3, &key_len);
    int64_t due_us = tl_opt_seconds(L, 5, 0);
    int64_t delay_us = tl_opt_seconds(L, 6, 0);
    int32_t status = tl_encode(L, 4, &state->buffer, message);
    if (status != TITO_OK) {
        if (txn != NULL)
            (void)tito_txn_doom(txn, status, message, strlen(message));
        return tl_fail_text(L, status, "%s", message);
    }
    tito_options_t *options = NULL;
    if (!lua_isnoneornil(L, 7))
        tl_options(L, 7, &options);
    tito_future_t *future = tito_queue_publish(queue, txn, key, key_len, state->buffer.data,
                                               state->buffer.len, due_us, delay_us, options);
    tito_options_free(options);
    return tl_finish(L, state, future, push_id);
}

typedef tito_future_t *(*of_filter)(tito_queue_t *queue, const char *filter, size_t len);

/* An operation with a table as its filter; told: the third operand is a function that is told how far
 * it is, or nil. */
static int with_filter(lua_State *L, of_filter operation, bool told, tl_push push)
{
    char message[TL_MESSAGE_SIZE_MAX];
    tl_state *state = tl_state_of(L);
    tito_queue_t *queue = tl_handle_get(L, 1, TL_QUEUE);
    int32_t status = tl_encode(L, 2, &state->buffer, message);
    if (status != TITO_OK)
        return tl_fail_text(L, status, "%s", message);
    tito_future_t *future = operation(queue, state->buffer.data, state->buffer.len);
    return told ? tl_finish_told(L, 3, future, push) : tl_finish(L, state, future, push);
}

/* queue_purge(queue, filter): how many. */
static int queue_purge(lua_State *L)
{
    return with_filter(L, tito_queue_purge, false, tl_push_int);
}

/* queue_replay(queue, filter, progress or nil): how many. */
static int queue_replay(lua_State *L)
{
    lua_settop(L, 3);
    return with_filter(L, tito_queue_replay, true, tl_push_int);
}

/* queue_pause(queue, whether) */
static int queue_pause(lua_State *L)
{
    tito_queue_t *queue = tl_handle_get(L, 1, TL_QUEUE);
    tito_future_t *future = tito_queue_set_paused(queue, lua_toboolean(L, 2));
    return tl_finish(L, tl_state_of(L), future, tl_push_true);
}

/* queue_repartition(queue, partitions, progress or nil): how many events were moved. */
static int queue_repartition(lua_State *L)
{
    tito_queue_t *queue = tl_handle_get(L, 1, TL_QUEUE);
    lua_Integer partitions = luaL_checkinteger(L, 2);
    bool sane = partitions > 0 && partitions <= INT32_MAX;
    lua_settop(L, 3);
    tito_future_t *future = tito_queue_repartition(queue, sane ? (int32_t)partitions : 0);
    return tl_finish_told(L, 3, future, tl_push_int);
}

static int queue_stats(lua_State *L)
{
    tito_queue_t *queue = tl_handle_get(L, 1, TL_QUEUE);
    return tl_finish(L, tl_state_of(L), tito_queue_stats(queue), tl_push_document);
}

static int queue_partitions(lua_State *L)
{
    tito_queue_t *queue = tl_handle_get(L, 1, TL_QUEUE);
    return tl_finish(L, tl_state_of(L), tito_queue_partitions(queue), tl_push_document);
}

/* ---- Of the whole database ---- */

static int db_queues(lua_State *L)
{
    return tl_finish(L, tl_state_of(L), tito_db_queues(tl_check_db(L, 1)), tl_push_document);
}

static int db_metrics(lua_State *L)
{
    return tl_finish(L, tl_state_of(L), tito_db_metrics(tl_check_db(L, 1)), push_text);
}

/* db_schedule(db, spec) */
static int db_schedule(lua_State *L)
{
    char message[TL_MESSAGE_SIZE_MAX];
    tl_state *state = tl_state_of(L);
    tito_db_t *db = tl_check_db(L, 1);
    int32_t status = tl_encode(L, 2, &state->buffer, message);
    if (status != TITO_OK)
        return tl_fail_text(L, status, "%s", message);
    tito_future_t *future = tito_db_schedule(db, state->buffer.data, state->buffer.len);
    return tl_finish(L, state, future, tl_push_true);
}

/* db_unschedule(db, name) */
static int db_unschedule(lua_State *L)
{
    size_t len;
    tito_db_t *db = tl_check_db(L, 1);
    const char *name = luaL_checklstring(L, 2, &len);
    return tl_finish(L, tl_state_of(L), tito_db_unschedule(db, name, len), tl_push_true);
}

static int db_schedules(lua_State *L)
{
    return tl_finish(L, tl_state_of(L), tito_db_schedules(tl_check_db(L, 1)), tl_push_document);
}

/* queue_history(queue, filter): a page of events. */
static int queue_history(lua_State *L)
{
    return with_filter(L, tito_queue_history, false, tl_push_page);
}

/* queue_retry(queue, id) */
static int queue_retry(lua_State *L)
{
    size_t len;
    tito_queue_t *queue = tl_handle_get(L, 1, TL_QUEUE);
    const char *id = luaL_checklstring(L, 2, &len);
    return tl_finish(L, tl_state_of(L), tito_queue_retry(queue, id, len), tl_push_true);
}

/* queue_drop(queue, id) */
static int queue_drop(lua_State *L)
{
    size_t len;
    tito_queue_t *queue = tl_handle_get(L, 1, TL_QUEUE);
    const char *id = luaL_checklstring(L, 2, &len);
    return tl_finish(L, tl_state_of(L), tito_queue_drop(queue, id, len), tl_push_true);
}

const luaL_Reg tl_queue_functions[] = {{"queue_open", queue_open},
                                       {"queue_publish", queue_publish},
                                       {"queue_history", queue_history},
                                       {"queue_retry", queue_retry},
                                       {"queue_drop", queue_drop},
                                       {"queue_purge", queue_purge},
                                       {"queue_replay", queue_replay},
                                       {"queue_pause", queue_pause},
                                       {"queue_stats", queue_stats},
                                       {"db_metrics", db_metrics},
                                       {"db_schedule", db_schedule},
                                       {"db_unschedule", db_unschedule},
                                       {"db_schedules", db_schedules},
                                       {"queue_partitions", queue_partitions},
                                       {"db_queues", db_queues},
                                       {"queue_repartition", queue_repartition},
                                       {NULL, NULL}};

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

/* queue_publish(queue, txn, key, payload, timestamp, delay): times in seconds, or nil. */
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
    tito_future_t *future = tito_queue_publish(queue, txn, key, key_len, state->buffer.data,
                                               state->buffer.len, due_us, delay_us, NULL);
    return tl_finish(L, state, future, tl_push_true);
}

/* queue_history(queue, filter): a page of events. */
static int queue_history(lua_State *L)
{
    char message[TL_MESSAGE_SIZE_MAX];
    tl_state *state = tl_state_of(L);
    tito_queue_t *queue = tl_handle_get(L, 1, TL_QUEUE);
    int32_t status = tl_encode(L, 2, &state->buffer, message);
    if (status != TITO_OK)
        return tl_fail_text(L, status, "%s", message);
    tito_future_t *future = tito_queue_history(queue, state->buffer.data, state->buffer.len);
    return tl_finish(L, state, future, tl_push_page);
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

const luaL_Reg tl_queue_functions[] = {
    {"queue_open", queue_open},       {"queue_publish", queue_publish},
    {"queue_history", queue_history}, {"queue_retry", queue_retry},
    {"queue_drop", queue_drop},       {NULL, NULL}};

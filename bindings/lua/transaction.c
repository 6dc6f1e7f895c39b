/* Transactions. A handle made by txn_begin owns its transaction; the one of an event is lent
 * (event.c) and released by the event.
 *
 * INVARIANTS
 *  1. txn_commit and txn_rollback release an own handle: a later use raises. txn_attempt_commit and
 *     txn_retry keep it, for the loop in lua/tito/transaction.lua. */
#include "binding.h"

/* txn_begin(db, options): a handle. */
static int txn_begin(lua_State *L)
{
    tito_db_t *db = tl_check_db(L, 1);
    tito_options_t *options;
    tito_error_t *error = NULL;
    tito_txn_t *txn = NULL;
    void **slot = tl_handle_new(L, TL_TXN);
    tl_options(L, 2, &options);
    int32_t status = tito_txn_begin(db, options, &txn, &error);
    tito_options_free(options);
    if (status != TITO_OK)
        return tl_fail(L, status, error);
    *slot = txn;
    return 1;
}

/* txn_attempt_commit(txn): the commit's timestamp; the handle stays, for txn_retry. */
static int txn_attempt_commit(lua_State *L)
{
    tito_txn_t *txn = tl_handle_get(L, 1, TL_TXN);
    return tl_finish(L, tl_state_of(L), tito_txn_commit(txn), tl_push_int);
}

/* txn_retry(txn, code): true when txn is fresh and the work may run again. */
static int txn_retry(lua_State *L)
{
    tito_txn_t *txn = tl_handle_get(L, 1, TL_TXN);
    int32_t status = tl_status_of_name(L, 2);
    return tl_finish(L, tl_state_of(L), tito_txn_retry(txn, status), tl_push_true);
}

/* The transaction of a handle that owns it. */
static tito_txn_t *own_txn(lua_State *L)
{
    tito_txn_t *txn = tl_handle_get(L, 1, TL_TXN);
    if (tl_handle_is_lent(L, 1))
        tl_raise(L, TITO_INVALID_STATE, "the transaction of an event ends with its handler");
    return txn;
}

/* txn_commit(txn): the commit's timestamp. The handle has ended. */
static int txn_commit(lua_State *L)
{
    tito_future_t *future = tito_txn_commit(own_txn(L));
    int count = tl_finish(L, tl_state_of(L), future, tl_push_int);
    tito_txn_free(tl_handle_take(L, 1, TL_TXN));
    return count;
}

/* txn_rollback(txn): the handle has ended. */
static int txn_rollback(lua_State *L)
{
    tito_future_t *future = tito_txn_rollback(own_txn(L));
    int count = tl_finish(L, tl_state_of(L), future, tl_push_true);
    tito_txn_free(tl_handle_take(L, 1, TL_TXN));
    return count;
}

/* txn_free(txn): releases the handle, rolling back when the transaction is open. */
static int txn_free(lua_State *L)
{
    void **slot = tl_handle_slot(L, 1, TL_TXN);
    if (*slot != NULL)
        tito_txn_free(own_txn(L));
    *slot = NULL;
    return 0;
}

/* txn_doom(txn, code, message): the commit will fail so. */
static int txn_doom(lua_State *L)
{
    size_t len;
    tito_txn_t *txn = tl_handle_get(L, 1, TL_TXN);
    int32_t status = tl_status_of_name(L, 2);
    const char *message = luaL_checklstring(L, 3, &len);
    status = tito_txn_doom(txn, status, message, len);
    lua_pushboolean(L, status == TITO_OK);
    return 1;
}

static int txn_start_version(lua_State *L)
{
    tito_txn_t *txn = tl_handle_get(L, 1, TL_TXN);
    return tl_finish(L, tl_state_of(L), tito_txn_start_version(txn), tl_push_int);
}

/* txn_is_open(txn): false also for a released handle. */
static int txn_is_open(lua_State *L)
{
    tito_txn_t *txn = tl_handle_peek(L, 1, TL_TXN);
    lua_pushboolean(L, txn != NULL && tito_txn_is_open(txn) != 0);
    return 1;
}

const luaL_Reg tl_transaction_functions[] = {
    {"txn_begin", txn_begin},       {"txn_attempt_commit", txn_attempt_commit},
    {"txn_retry", txn_retry},       {"txn_commit", txn_commit},
    {"txn_rollback", txn_rollback}, {"txn_free", txn_free},
    {"txn_doom", txn_doom},         {"txn_start_version", txn_start_version},
    {"txn_is_open", txn_is_open},   {NULL, NULL}};

/* A handle on a database in memory, for the tests of this folder. */
#ifndef TITO_TESTS_KV_HANDLE_H
#define TITO_TESTS_KV_HANDLE_H

#include "support/test.h"

#include "base/limits.h"

#include "kv/retry.h"
#include "rocks/rocks.h"

typedef struct handle {
    ti_kv kv;
    ti_call call;
    ti_arena a;
    ti_err err;
} handle;

static inline void handle_open_with(handle *h, const ti_env *env, const ti_kv_options *options)
{
    ti_engine *engine;
    ti_rocks_options small = {.block_cache_size = 1 << 20, .write_buffer_size = 1 << 20};
    h->call = ti_call_within(env, 60 * INT64_C(1000000));
    ti_arena_init(&h->a);
    ti_err_clear(&h->err);
    test_ok(ti_rocks_open_memory(&small, env, &engine, &h->call, &h->err), &h->err);
    test_ok(ti_kv_open(&h->kv, engine, options, &h->err), &h->err);
}

static inline void handle_open(handle *h)
{
    handle_open_with(h, ti_env_real(), NULL);
}

static inline void handle_close(handle *h)
{
    ti_kv_close(&h->kv);
    ti_arena_free(&h->a);
}

static inline ti_txn *handle_begin(handle *h)
{
    ti_txn *txn;
    test_ok(ti_txn_begin(&h->kv, NULL, &txn, &h->err), &h->err);
    return txn;
}

/* Commits and frees; answers the status, its text is in h->err. */
static inline ti_status handle_end(handle *h, ti_txn *txn)
{
    ti_status status = ti_txn_commit(txn, NULL, &h->call, &h->err);
    ti_txn_free(txn);
    return status;
}

/* Writes one key in a transaction of its own; an empty value deletes. */
static inline void handle_set(handle *h, const char *key, const char *value)
{
    ti_txn *txn = handle_begin(h);
    if (value[0] == '\0')
        test_ok(ti_txn_delete(txn, ti_slice_of(key), &h->err), &h->err);
    else
        test_ok(ti_txn_put(txn, ti_slice_of(key), ti_slice_of(value), &h->err), &h->err);
    test_ok(handle_end(h, txn), &h->err);
}

/* What a transaction sees of a key must be value; NULL: nothing. */
static inline void handle_expect(handle *h, ti_txn *txn, const char *key, const char *value)
{
    ti_slice got;
    ti_status status = ti_txn_get(txn, ti_slice_of(key), &h->a, &got, &h->call, &h->err);
    if (value == NULL) {
        assert_int_equal(status, TI_NOT_FOUND);
        return;
    }
    test_ok(status, &h->err);
    if (!ti_slice_equal(got, ti_slice_of(value)))
        fail_msg("%s is '%.*s', not '%s'", key, (int)got.len, got.data, value);
}

#endif

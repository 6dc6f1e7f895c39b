/* Reads of a transaction: the own writes first, then the snapshot; locked reads; see txn.h.
 *
 * INVARIANTS
 *  1. A key that was read under a lock reads as its newest committed value from then on, everywhere
 *     (get, batch_get, scan): what is written over it is checked from there, so an older view of it
 *     would lose updates.
 *  2. The snapshot is taken before the first lock, so that locks carry the transaction's start. */
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "kv/txn_int.h"

ti_status ti_txn_need_snapshot(ti_txn *txn, const ti_call *call, ti_err *err)
{
    ti_engine *engine = txn->kv->engine;
    ti_assert(ti_txn_is_open(txn));
    if (txn->snapshot != NULL)
        return TI_OK;
    TI_TRY(engine->vt->begin(engine, txn->read_at, &txn->snapshot, call, err));
    txn->start_ts = engine->vt->snapshot_ts(txn->snapshot);
    txn->age_end_ns = ti_env_mono_ns(txn->kv->env) + txn->age_us_max * 1000;
    ti_assert(txn->start_ts != TI_TS_NONE);
    return TI_OK;
}

ti_status ti_txn_start_ts(ti_txn *txn, ti_ts *ts_out, const ti_call *call, ti_err *err)
{
    *ts_out = TI_TS_NONE;
    TI_TRY(ti_txn_check(txn, false, err));
    TI_TRY(ti_txn_need_snapshot(txn, call, err));
    *ts_out = txn->start_ts;
    return TI_OK;
}

ti_status ti_txn_get(ti_txn *txn, ti_slice key, ti_arena *a, ti_slice *value_out,
                     const ti_call *call, ti_err *err)
{
    *value_out = TI_SLICE_NONE;
    ti_kv_require_key(txn->kv, key);
    TI_TRY(ti_txn_check(txn, false, err));
    switch (ti_write_view_of(ti_writes_find(&txn->writes, key), value_out)) {
    case TI_VIEW_SHOWS:
        return TI_OK;
    case TI_VIEW_HIDES:
        return TI_NOT_FOUND;
    case TI_VIEW_SILENT:
        break;
    }
    TI_TRY(ti_txn_need_snapshot(txn, call, err));
    return txn->kv->engine->vt->get(txn->snapshot, key, a, value_out, call, err);
}

/* Answers from the own writes what they know; the keys left over are put together in rest (of size
 * count), their places in rest_at. Returns how many there are. */
static size_t answer_own(const ti_txn *txn, const ti_slice *keys, size_t count, ti_slice *values,
                         ti_slice *rest, size_t *rest_at)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        ti_kv_require_key(txn->kv, keys[i]);
        const ti_write *write = ti_writes_find(&txn->writes, keys[i]);
        if (ti_write_view_of(write, &values[i]) != TI_VIEW_SILENT)
            continue;
        rest[n] = keys[i];
        rest_at[n++] = i;
    }
    return n;
}

ti_status ti_txn_batch_get(ti_txn *txn, const ti_slice *keys, size_t count, ti_arena *a,
                           ti_slice *values_out, const ti_call *call, ti_err *err)
{
    const ti_engine_vt *vt = txn->kv->engine->vt;
    TI_TRY(ti_txn_check(txn, false, err));
    if (count == 0)
        return TI_OK;
    if (txn->writes.count == 0) {
        for (size_t i = 0; i < count; i++)
            ti_kv_require_key(txn->kv, keys[i]);
        TI_TRY(ti_txn_need_snapshot(txn, call, err));
        return vt->batch_get(txn->snapshot, keys, count, a, values_out, call, err);
    }
    ti_slice *rest = ti_arena_alloc(a, count * sizeof(*rest));
    ti_slice *rest_values = ti_arena_alloc(a, count * sizeof(*rest_values));
    size_t *rest_at = ti_arena_alloc(a, count * sizeof(*rest_at));
    if (rest == NULL || rest_values == NULL || rest_at == NULL)
        return ti_err_no_memory(err);
    size_t n = answer_own(txn, keys, count, values_out, rest, rest_at);
    if (n == 0)
        return TI_OK;
    TI_TRY(ti_txn_need_snapshot(txn, call, err));
    TI_TRY(vt->batch_get(txn->snapshot, rest, n, a, rest_values, call, err));
    for (size_t i = 0; i < n; i++)
        values_out[rest_at[i]] = rest_values[i];
    return TI_OK;
}

ti_status ti_txn_unchanged(ti_txn *txn, const ti_slice *keys, const ti_ts *since, size_t count,
                           bool *unchanged_out, const ti_call *call, ti_err *err)
{
    ti_engine *engine = txn->kv->engine;
    TI_TRY(ti_txn_check(txn, false, err));
    TI_TRY(ti_txn_need_snapshot(txn, call, err));
    if (engine->vt->unchanged == NULL) {
        memset(unchanged_out, 0, count * sizeof(*unchanged_out));
        return TI_OK;
    }
    engine->vt->unchanged(engine, keys, since, count, unchanged_out);
    for (size_t i = 0; i < count; i++) {
        if (unchanged_out[i])
            unchanged_out[i] = since[i] <= txn->start_ts && !ti_txn_decides(txn, keys[i]);
    }
    return TI_OK;
}

bool ti_txn_can_expect(const ti_txn *txn)
{
    return txn->kv->engine->vt->unchanged != NULL;
}

void ti_txn_expect(ti_txn *txn, ti_slice key, ti_ts since)
{
    ti_assert(ti_txn_can_expect(txn));
    ti_assert(since != TI_TS_NONE);
    ti_writes_expect(&txn->writes, key, since);
}

/* Takes the lock of key and remembers what it found. */
static ti_status take_lock(ti_txn *txn, ti_slice key, int64_t wait_us, const ti_call *call,
                           ti_err *err)
{
    ti_engine *engine = txn->kv->engine;
    ti_lock_request request = {
        .start_ts = txn->start_ts, .keys = &key, .count = 1, .wait_us = wait_us};
    ti_locked locked = {.value = TI_SLICE_NONE};
    ti_status status =
        engine->vt->lock(engine, &txn->locks, &request, &txn->arena, &locked, call, err);
    if (status != TI_OK) {
        status = ti_txn_describe(txn, key, status, err);
        /* The victim of a deadlock has to give back what the others wait for. */
        return status == TI_DEADLOCK ? ti_txn_fail_write(txn, status, err) : status;
    }
    if (ti_writes_add_locked(&txn->writes, key, &locked) != TI_OK)
        return ti_txn_fail_write(txn, ti_err_no_memory(err), err);
    return TI_OK;
}

ti_status ti_txn_get_locked(ti_txn *txn, ti_slice key, int64_t wait_us, ti_arena *a,
                            ti_slice *value_out, const ti_call *call, ti_err *err)
{
    (void)a; /* values live in the transaction's arena */
    *value_out = TI_SLICE_NONE;
    ti_kv_require_key(txn->kv, key);
    TI_TRY(ti_txn_check(txn, true, err));
    if (key.len == 0 || key.len > TI_KEY_SIZE_MAX || txn->writes.count >= TI_TXN_MUTATIONS_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED,
                          "can not lock: keys have 1 to %d bytes, a transaction at most %d of them",
                          TI_KEY_SIZE_MAX, TI_TXN_MUTATIONS_MAX);
    TI_TRY(ti_txn_need_snapshot(txn, call, err));
    const ti_write *write = ti_writes_find(&txn->writes, key);
    if (write == NULL || !write->locked) {
        TI_TRY(take_lock(txn, key, wait_us, call, err));
        write = ti_writes_find(&txn->writes, key);
    }
    ti_assert(write != NULL);
    return ti_write_view_of(write, value_out) == TI_VIEW_SHOWS ? TI_OK : TI_NOT_FOUND;
}

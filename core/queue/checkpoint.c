/* Checkpoints: where the reading of a partition begins after a restart.
 *
 * INVARIANTS
 *  1. A checkpoint is min(floor_us, position, oldest event row in memory): every row before it is
 *     finished or parked, and none will ever appear there. floor_us comes from sweeps (read.c, 4)
 *     on a shared engine, else from the hub (hub_int.h, 4), asked before its news are collected.
 *  2. It is written by the partition's owner alone, never in an outcome's transaction, and only
 *     when it passes over something that was finished. */
#include "base/assert.h"
#include "queue/worker_int.h"

typedef struct checkpoint {
    ti_part *part;
    uint64_t at_us;
    uint64_t holding;
} checkpoint;

static uint64_t checkpoint_of(const ti_part *part)
{
    uint64_t at_us = part->floor_us < part->read_us ? part->floor_us : part->read_us;
    for (const ti_event *event = part->events; event != NULL; event = event->part_next) {
        if (!event->from_parked && event->info.place.timestamp_us < at_us)
            at_us = event->info.place.timestamp_us;
    }
    return at_us;
}

/* Collects what is to be written, from the partition after *after on. The mutex is held. */
static size_t collect(const ti_worker *w, bool all, checkpoint *out, ti_wtype **type,
                      uint32_t *number)
{
    size_t n = 0;
    int64_t now_ns = ti_env_mono_ns(w->env);
    for (; *type != NULL; *type = (*type)->next, *number = 0) {
        for (; *number < (*type)->partitions; (*number)++) {
            ti_part *part = &(*type)->parts[*number];
            if (n == TI_CHECKPOINT_BATCH)
                return n;
            if (!part->owned || !part->opened || !ti_part_is_dirty(part) ||
                (!all && now_ns - part->checkpoint_ns < TI_CHECKPOINT_US * INT64_C(1000)))
                continue;
            uint64_t at_us = checkpoint_of(part);
            if (at_us > part->checkpoint_us)
                out[n++] = (checkpoint){.part = part, .at_us = at_us, .holding = part->holding};
        }
    }
    return n;
}

static ti_status put_one(const ti_worker *w, ti_txn *txn, const checkpoint *c, ti_arena *a,
                         ti_err *err)
{
    ti_slice type = ti_hub_type_name(c->part->type->type);
    ti_slice key = ti_key_queue_checkpoint(w->queues->keyspace, a, type, c->part->number);
    ti_ts fence = ti_worker_fence(w, c->part, c->holding);
    ti_buf value;
    if (fence == TI_FENCE_LOST)
        return TI_OK;
    TI_TRY(ti_key_check(key, "queue key", err));
    ti_buf_init(&value, 64);
    ti_status status = ti_queue_number_seal(&value, key, c->at_us, err);
    if (status == TI_OK)
        status = ti_txn_put(txn, key, ti_buf_slice(&value), err);
    ti_buf_free(&value);
    if (status == TI_OK && fence != TI_TS_NONE)
        ti_txn_not_after(txn, fence);
    return status;
}

static ti_status put_all(ti_worker *w, const checkpoint *points, size_t n, ti_arena *a, ti_err *err)
{
    ti_call call = ti_worker_call(w);
    ti_txn *txn;
    ti_status status = TI_OK;
    TI_TRY(ti_txn_begin(w->queues->kv, NULL, &txn, err));
    for (size_t i = 0; i < n && status == TI_OK; i++)
        status = put_one(w, txn, &points[i], a, err);
    if (status == TI_OK)
        status = ti_txn_commit(txn, NULL, &call, err);
    ti_txn_free(txn);
    return status;
}

/* Raises the floors of an engine of one process. */
static ti_status raise_floors(ti_worker *w, ti_err *err)
{
    ti_call call = ti_worker_call(w);
    ti_ts now;
    if (w->queues->shared)
        return TI_OK;
    TI_TRY(ti_kv_now(w->queues->kv, &now, &call, err));
    uint64_t told_us = ti_hub_floor(w->queues->hub, (uint64_t)ti_ts_to_us(now));
    ti_mutex_lock(&w->mutex);
    ti_inbox_collect(w);
    for (ti_wtype *type = w->types; type != NULL; type = type->next) {
        for (uint32_t i = 0; i < type->partitions; i++) {
            ti_part *part = &type->parts[i];
            uint64_t floor_us = told_us < part->read_us ? told_us : part->read_us;
            if (part->owned && part->opened && floor_us > part->floor_us)
                part->floor_us = floor_us;
        }
    }
    ti_worker_unlock(w);
    return TI_OK;
}

ti_status ti_checkpoints_write(ti_worker *w, bool all, ti_arena *a, ti_err *err)
{
    checkpoint points[TI_CHECKPOINT_BATCH];
    ti_wtype *type = w->types;
    uint32_t number = 0;
    size_t n;
    TI_TRY(raise_floors(w, err));
    do {
        ti_mutex_lock(&w->mutex);
        n = collect(w, all, points, &type, &number);
        ti_mutex_unlock(&w->mutex);
        if (n == 0)
            return TI_OK;
        TI_TRY(put_all(w, points, n, a, err));
        ti_mutex_lock(&w->mutex);
        for (size_t i = 0; i < n; i++) {
            points[i].part->checkpoint_us = points[i].at_us;
            points[i].part->checkpoint_ns = ti_env_mono_ns(w->env);
        }
        ti_mutex_unlock(&w->mutex);
    } while (n == TI_CHECKPOINT_BATCH);
    return TI_OK;
}

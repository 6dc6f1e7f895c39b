/* The keeper's thread of a worker: what has to be done now and then, for what the worker works on.
 *
 *   each second:  pauses of its types ─ lag of its types ─ completed events that are too old ─
 *                 recurring events ─ now and then: old versions of the whole database
 *
 * INVARIANTS
 *  1. What is deleted or published belongs to a partition that is the worker's. Two that do it at
 *     once (fixed ranges that overlap) meet conflicts, and do no harm.
 *  2. A failure is noted and tried again at the next turn. */
#include "base/assert.h"
#include "queue/hint_int.h"
#include "queue/schedule.h"
#include "queue/worker_int.h"

/* ---- pauses, lag ---- */

static ti_status look_at_pauses(ti_worker *w, const ti_call *call, ti_err *err)
{
    for (ti_wtype *type = w->types; type != NULL; type = type->next) {
        bool paused;
        TI_TRY(ti_queue_is_paused(w->queues, ti_hub_type_name(type->type), &paused, call, err));
    }
    ti_mutex_lock(&w->mutex);
    ti_ready_changed(w);
    ti_worker_unlock(w);
    return TI_OK;
}

/* The oldest place that is due and not finished, as far as this worker knows. */
static uint64_t oldest_of(const ti_wtype *type)
{
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 0; i < type->partitions; i++) {
        const ti_part *part = &type->parts[i];
        if (!part->owned || !part->opened)
            continue;
        if ((part->queued || part->full) && part->read_us < oldest && part->read_us > 0)
            oldest = part->read_us;
        for (const ti_event *event = part->events; event != NULL; event = event->part_next) {
            if (event->info.place.timestamp_us < oldest)
                oldest = event->info.place.timestamp_us;
        }
    }
    return oldest;
}

static void note_lag(ti_worker *w)
{
    ti_mutex_lock(&w->mutex);
    for (ti_wtype *type = w->types; type != NULL; type = type->next)
        atomic_store(&type->listener.oldest_us, oldest_of(type));
    ti_mutex_unlock(&w->mutex);
}

/* ---- retention ---- */

/* Deletes one batch of completed events of [from_us, to_us); *more_out: there may be others. */
static ti_status delete_batch(ti_worker *w, const ti_part *part, uint64_t from_us, uint64_t to_us,
                              ti_txn *txn, bool *more_out, const ti_call *call, ti_err *err)
{
    ti_arena *a = ti_txn_arena(txn);
    ti_key_range range;
    ti_scan_page page;
    TI_TRY(ti_key_history_between(w->queues->keyspace, a, ti_hub_type_name(part->type->type),
                                  TI_HISTORY_COMPLETED, part->number, from_us, to_us, &range, err));
    ti_scan scan = {.range = {.from = range.lo, .to = range.hi},
                    .keys_only = true,
                    .items_max = TI_RETENTION_BATCH};
    TI_TRY(ti_txn_scan(txn, &scan, a, &page, call, err));
    for (size_t i = 0; i < page.count; i++)
        TI_TRY(ti_txn_delete(txn, page.pairs[i].key, err));
    *more_out = page.more && page.count > 0;
    if (page.count == 0)
        return TI_OK;
    ti_hub_count(part->type->type, TI_COUNT_EXPIRED, page.count);
    ti_mutex_lock(&w->mutex);
    uint64_t holding = part->holding;
    ti_mutex_unlock(&w->mutex);
    ti_ts fence = ti_worker_fence(w, part, holding);
    if (fence != TI_TS_NONE)
        ti_txn_not_after(txn, fence);
    return ti_txn_commit(txn, NULL, call, err);
}

static ti_status clean_part(ti_worker *w, ti_part *part, uint64_t to_us, const ti_call *call,
                            ti_err *err)
{
    bool more = true;
    for (int i = 0; i < TI_RETENTION_BATCHES_MAX && more; i++) {
        ti_txn *txn;
        TI_TRY(ti_txn_begin(w->queues->kv, NULL, &txn, err));
        ti_status status = delete_batch(w, part, part->cleaned_us, to_us, txn, &more, call, err);
        ti_txn_free(txn);
        TI_TRY(status);
    }
    if (!more)
        part->cleaned_us = to_us;
    return TI_OK;
}

static bool is_ours(ti_worker *w, const ti_part *part)
{
    ti_mutex_lock(&w->mutex);
    bool ours = part->owned && part->opened;
    ti_mutex_unlock(&w->mutex);
    return ours;
}

/* With another count other rows may lie in a partition: all of them are looked at. */
static void look_anew(ti_worker *w, ti_wtype *type)
{
    uint64_t generation = atomic_load(&type->generation);
    if (type->cleaned_generation == generation)
        return;
    type->cleaned_generation = generation;
    ti_mutex_lock(&w->mutex);
    for (uint32_t i = 0; i < type->partitions; i++)
        type->parts[i].cleaned_us = 0;
    ti_mutex_unlock(&w->mutex);
}

/* Visits some partitions of a type: all of them within a quarter of the retention, at most
 * TI_RETENTION_VISIT_US. */
static ti_status clean_type(ti_worker *w, ti_wtype *type, uint64_t now_us, const ti_call *call,
                            ti_err *err)
{
    int64_t round_us = type->retention_us / 4;
    if (type->retention_us <= 0 || (uint64_t)type->retention_us >= now_us)
        return TI_OK;
    if (round_us > TI_RETENTION_VISIT_US)
        round_us = TI_RETENTION_VISIT_US;
    uint64_t turns = round_us > TI_KEEPER_US ? (uint64_t)(round_us / TI_KEEPER_US) : 1;
    uint32_t partitions = type->partitions;
    uint32_t visits = (uint32_t)((partitions + turns - 1) / turns);
    look_anew(w, type);
    for (uint32_t i = 0; i < visits; i++) {
        ti_part *part = ti_type_part(w, type, type->clean_next % partitions);
        type->clean_next = (type->clean_next + 1) % partitions;
        if (is_ours(w, part))
            TI_TRY(clean_part(w, part, now_us - (uint64_t)type->retention_us, call, err));
    }
    return TI_OK;
}

static ti_status clean(ti_worker *w, const ti_call *call, ti_err *err)
{
    ti_ts now;
    TI_TRY(ti_kv_now(w->queues->kv, &now, call, err));
    for (ti_wtype *type = w->types; type != NULL; type = type->next)
        TI_TRY(clean_type(w, type, (uint64_t)ti_ts_to_us(now), call, err));
    return TI_OK;
}

/* ---- recurring events ---- */

/* Whether the schedule's events come to this worker. */
static bool is_for_us(ti_worker *w, const ti_schedule *s)
{
    bool ours = false;
    ti_mutex_lock(&w->mutex);
    for (const ti_wtype *type = w->types; type != NULL; type = type->next) {
        if (ti_slice_equal(ti_hub_type_name(type->type), s->type))
            ours = type->parts[ti_queue_partition_of(s->key, type->partitions)].owned;
    }
    ti_mutex_unlock(&w->mutex);
    return ours;
}

/* Whether the next schedule may fare better than one that ended so. */
static bool is_its_own(ti_status status)
{
    ti_status_class class = ti_status_class_of(status);
    return class != TI_CLASS_TRANSIENT && class != TI_CLASS_UNKNOWN;
}

static ti_status fire_schedules(ti_worker *w, ti_arena *a, const ti_call *call, ti_err *err)
{
    ti_schedule *schedules;
    size_t count;
    ti_ts now;
    TI_TRY(ti_schedule_list(w->queues, a, &schedules, &count, call, err));
    if (count == 0)
        return TI_OK;
    TI_TRY(ti_kv_now(w->queues->kv, &now, call, err));
    for (size_t i = 0; i < count; i++) {
        uint32_t fired;
        if (schedules[i].next_us > ti_ts_to_us(now) + TI_SCHEDULE_AHEAD_US ||
            !is_for_us(w, &schedules[i]))
            continue;
        ti_status status = ti_schedule_fire(w->queues, schedules[i].name, &fired, call, err);
        if (!is_its_own(status))
            return status;
        if (status != TI_OK && status != TI_NOT_FOUND) /* that is: removed meanwhile */
            ti_worker_note(w, err, "publishing a recurring event");
        ti_err_clear(err);
    }
    return TI_OK;
}

/* ---- old versions ---- */

/* The worker that has partition 0 of its first type does it for all. */
static ti_status collect_garbage(ti_worker *w, const ti_call *call, ti_err *err)
{
    ti_engine *engine = w->queues->kv->engine;
    int64_t retention_us = w->options.gc_retention_us;
    int64_t now_ns = ti_env_mono_ns(w->env);
    if (retention_us <= 0 || now_ns < w->gc_ns || !is_ours(w, ti_type_part(w, w->types, 0)))
        return TI_OK;
    w->gc_ns = now_ns + retention_us * 100; /* ten times per retention */
    return engine->vt->gc(engine, retention_us, call, err);
}

/* Hint rows of processes that are gone. */
static ti_status clean_hints(ti_worker *w, const ti_call *call, ti_err *err)
{
    int64_t now_ns = ti_env_mono_ns(w->env);
    if (!w->queues->shared || now_ns < w->hints_ns || !is_ours(w, ti_type_part(w, w->types, 0)))
        return TI_OK;
    w->hints_ns = now_ns + TI_HINT_AGE_US * INT64_C(100); /* ten times per age */
    for (ti_wtype *type = w->types; type != NULL; type = type->next)
        TI_TRY(ti_hints_clean(w->queues, ti_hub_type_name(type->type), call, err));
    return TI_OK;
}

/* ---- the thread ---- */

static void note(ti_worker *w, ti_status status, const ti_err *err, const char *what)
{
    if (status != TI_OK)
        ti_worker_note(w, err, what);
}

static void turn(ti_worker *w, ti_arena *a)
{
    ti_call call = ti_worker_call(w);
    ti_err err;
    ti_err_clear(&err);
    note(w, look_at_pauses(w, &call, &err), &err, "looking whether types are paused");
    note_lag(w);
    note(w, clean(w, &call, &err), &err, "deleting completed events");
    note(w, fire_schedules(w, a, &call, &err), &err, "publishing recurring events");
    note(w, clean_hints(w, &call, &err), &err, "deleting old hints");
    note(w, collect_garbage(w, &call, &err), &err, "removing old versions");
}

void *ti_keeper_run(void *worker)
{
    ti_worker *w = worker;
    ti_arena a;
    ti_arena_init(&a);
    ti_mutex_lock(&w->mutex);
    while (!w->quit) {
        bool works = w->life == TI_LIFE_RUNNING;
        ti_worker_unlock(w);
        if (works)
            turn(w, &a);
        ti_arena_reset(&a);
        ti_mutex_lock(&w->mutex);
        int64_t until_ns = ti_env_mono_ns(w->env) + TI_KEEPER_US * INT64_C(1000);
        bool in_time = true;
        while (!w->quit && in_time)
            in_time = ti_cond_wait_until(&w->pause_cond, &w->mutex, w->env, until_ns) &&
                      ti_env_mono_ns(w->env) < until_ns;
    }
    ti_worker_unlock(w);
    ti_arena_free(&a);
    return NULL;
}

/* The life of a worker: open, types, start, stop, join, free.
 *
 *   NEW --start--> RUNNING --stop--> STOPPING --join--> ENDED --last reference--> freed
 *   NEW --stop, join, free----------------------------> ENDED
 *
 *   RUNNING    events are read, given out, committed
 *   STOPPING   nothing is read or given out; outcomes are committed until drained or out of time
 *   ENDED      no threads, no events but those with the host
 *
 * INVARIANTS
 *  1. refs = 1 for the host until ti_worker_free, and one per event that the host has not freed. */
#include "base/assert.h"
#include "base/limits.h"
#include "model/store.h"
#include "queue/worker_int.h"

ti_retry_policy ti_retry_policy_default(void)
{
    return (ti_retry_policy){.max_retries = 25,
                             .base_us = 1000000,
                             .factor = 2.0,
                             .cap_us = 600 * INT64_C(1000000),
                             .jitter = 0.5};
}

/* ---- shared by the room ---- */

void ti_worker_unlock(ti_worker *w)
{
    bool notify = w->notify && w->options.on_ready != NULL;
    uint32_t wakes = w->wakes;
    w->notify = false;
    w->wakes = 0;
    ti_mutex_unlock(&w->mutex);
    for (; wakes > 0; wakes--)
        ti_cond_signal(&w->ready_cond);
    if (notify)
        w->options.on_ready(w->options.context);
}

void ti_worker_nudge(ti_worker *w)
{
    ti_mutex_lock(&w->inbox.mutex);
    if (!w->inbox.flag && w->inbox.waiting)
        ti_cond_signal(&w->inbox.cond);
    w->inbox.flag = true;
    ti_mutex_unlock(&w->inbox.mutex);
}

ti_call ti_worker_call(ti_worker *w)
{
    ti_call call = ti_kv_call(w->queues->kv);
    call.cancelled = &w->cancelled;
    return call;
}

ti_status ti_worker_now(ti_worker *w, ti_txn *txn, ti_ts *now_out, const ti_call *call, ti_err *err)
{
    /* A shared engine's snapshot has a fresh timestamp of the database; an embedded one may be as
     * old as the last commit. */
    if (w->queues->shared)
        return ti_txn_start_ts(txn, now_out, call, err);
    return ti_kv_now(w->queues->kv, now_out, call, err);
}

void ti_worker_note(ti_worker *w, const ti_err *err, const char *what)
{
    ti_status_class class = ti_status_class_of(err->status);
    bool broken = class == TI_CLASS_BROKEN && err->status != TI_OUT_OF_MEMORY;
    if (class != TI_CLASS_CONFLICT && err->status != TI_CANCELLED)
        ti_log_write(w->log, broken ? TI_LOG_ERROR : TI_LOG_WARN, "queue: %s: %s (%s)", what,
                     err->message, ti_status_name(err->status));
    if (!broken)
        return;
    ti_mutex_lock(&w->mutex);
    if (w->broken.status == TI_OK) {
        w->broken = *err;
        w->notify = true;
        ti_cond_broadcast(&w->ready_cond);
    }
    ti_worker_unlock(w);
}

/* ---- open ---- */

static ti_status check_policy(const ti_retry_policy *policy, ti_err *err)
{
    if (policy->base_us < 0 || policy->cap_us < policy->base_us || !(policy->factor >= 1.0) ||
        !(policy->jitter >= 0.0 && policy->jitter <= 1.0))
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "a retry policy needs 0 <= base <= cap, factor >= 1, 0 <= jitter <= 1");
    return TI_OK;
}

static bool policy_is_unset(const ti_retry_policy *p)
{
    return p->max_retries == 0 && p->base_us == 0 && !(p->factor > 0) && p->cap_us == 0 &&
           !(p->jitter > 0);
}

static ti_status check_options(const ti_worker_options *options, ti_err *err)
{
    if (options->concurrency > TI_CONCURRENCY_MAX)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "concurrency is %u; at most %d is possible",
                          options->concurrency, TI_CONCURRENCY_MAX);
    if (options->partition_to != 0 && options->partition_from >= options->partition_to)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the partition range [%u, %u) is empty",
                          options->partition_from, options->partition_to);
    if (options->leased && options->partition_to != 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "a worker has a fixed range of partitions or leases, not both");
    return check_policy(&options->retry, err);
}

static ti_status init_locks(ti_worker *w, ti_err *err)
{
    TI_TRY(ti_mutex_init(&w->mutex, TI_RANK_WORKER, err));
    TI_TRY(ti_mutex_init(&w->inbox.mutex, TI_RANK_LEAF, err));
    TI_TRY(ti_cond_init(&w->inbox.cond, err));
    TI_TRY(ti_cond_init(&w->ready_cond, err));
    TI_TRY(ti_cond_init(&w->commit_cond, err));
    TI_TRY(ti_cond_init(&w->idle_cond, err));
    return ti_cond_init(&w->pause_cond, err);
}

static ti_status make_ownership(ti_worker *w, ti_err *err)
{
    const ti_worker_options *o = &w->options;
    w->ownership = o->ownership;
    if (o->ownership != NULL)
        return TI_OK;
    if (o->leased)
        return ti_owner_leased_new(w, o->lease_us, !o->follower, &w->ownership, err);
    return ti_owner_fixed_new(o->partition_from, o->partition_to, !o->follower, &w->ownership, err);
}

ti_status ti_worker_open(ti_queues *queues, const ti_worker_options *options,
                         ti_worker **worker_out, ti_err *err)
{
    ti_worker_options o = options != NULL ? *options : (ti_worker_options){.concurrency = 1};
    *worker_out = NULL;
    if (policy_is_unset(&o.retry))
        o.retry = ti_retry_policy_default();
    if (o.concurrency == 0)
        o.concurrency = 1;
    TI_TRY(check_options(&o, err));
    ti_worker *w = ti_alloc_zero(sizeof(*w));
    if (w == NULL)
        return ti_err_no_memory(err);
    ti_status status = init_locks(w, err);
    w->index = ti_alloc_zero(TI_INDEX_BUCKETS * sizeof(ti_event *));
    if (status == TI_OK && w->index == NULL)
        status = ti_err_no_memory(err);
    w->queues = queues;
    w->env = queues->kv->env;
    w->log = ti_store_log(queues->store);
    w->options = o;
    if (status == TI_OK)
        status = make_ownership(w, err);
    if (status != TI_OK) {
        ti_free(w->index);
        ti_free(w);
        return status;
    }
    atomic_init(&w->refs, 1);
    for (int i = 0; i < TI_LANES; i++)
        ti_fifo_init(&w->lanes[i].outcomes);
    ti_fifo_init(&w->own);
    *worker_out = w;
    return TI_OK;
}

/* ---- types ---- */

/* A ti_listener's wake: the hub's mutex is held. */
static void hear(void *context, uint32_t partition, uint64_t place_us)
{
    ti_wtype *type = context;
    ti_inbox *inbox = &type->worker->inbox;
    ti_mutex_lock(&inbox->mutex);
    if (partition >= type->partitions) {
        ti_mutex_unlock(&inbox->mutex);
        return;
    }
    if (type->inbox_lowest[partition] == UINT64_MAX)
        type->inbox_dirty[type->inbox_count++] = partition;
    if (place_us < type->inbox_lowest[partition])
        type->inbox_lowest[partition] = place_us;
    if (place_us > type->inbox_highest[partition])
        type->inbox_highest[partition] = place_us;
    if (!inbox->flag && inbox->waiting)
        ti_cond_signal(&inbox->cond);
    inbox->flag = true;
    ti_mutex_unlock(&inbox->mutex);
}

/* A ti_listener's changed: the hub's mutex is held. */
static void hear_of_change(void *context)
{
    ti_worker_nudge(((ti_wtype *)context)->worker);
}

ti_status ti_worker_on(ti_worker *w, ti_slice name, const ti_worker_type_options *options,
                       ti_err *err)
{
    static const ti_worker_type_options defaults;
    ti_hub_type *type;
    if (options == NULL)
        options = &defaults;
    TI_TRY(ti_name_check(name, "event type", err));
    if (options->retry != NULL)
        TI_TRY(check_policy(options->retry, err));
    if (!(options->rate >= 0) || options->rate > 1e9)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "a rate is 0 (none) to 1e9 events per second");
    if (options->batch > TI_BATCH_MAX)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "a batch has at most %d events, not %u",
                          TI_BATCH_MAX, options->batch);
    if (w->life != TI_LIFE_NEW)
        return ti_err_set(err, TI_INVALID_STATE, "types are registered before the worker starts");
    TI_TRY(ti_hub_type_of(w->queues->hub, name, &type, err));
    for (const ti_wtype *t = w->types; t != NULL; t = t->next) {
        if (t->type == type)
            return ti_err_set(err, TI_ALREADY_EXISTS,
                              "the worker has a handler of event type '%s' already", type->name);
    }
    if (w->type_count >= TI_WORKER_TYPES_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "a worker can have at most %d types of events",
                          TI_WORKER_TYPES_MAX);
    ti_wtype *wtype = ti_alloc_zero(sizeof(*wtype));
    if (wtype == NULL)
        return ti_err_no_memory(err);
    wtype->type = type;
    wtype->worker = w;
    wtype->data = options->data;
    wtype->retry = options->retry != NULL ? *options->retry : w->options.retry;
    wtype->handler_timeout_us = options->handler_timeout_us != 0 ? options->handler_timeout_us
                                                                 : w->options.handler_timeout_us;
    if (wtype->handler_timeout_us == 0)
        wtype->handler_timeout_us = TI_HANDLER_TIMEOUT_DEFAULT_US;
    wtype->concurrency = options->concurrency;
    wtype->key_concurrency = options->key_concurrency;
    wtype->batch = options->batch;
    wtype->rate = options->rate;
    ti_timer_init(&wtype->timer, TI_TIMER_TYPE);
    wtype->listener = (ti_listener){.context = wtype,
                                    .wake = hear,
                                    .changed = hear_of_change,
                                    .rested = true,
                                    .oldest_us = UINT64_MAX};
    atomic_init(&wtype->resting, true);
    wtype->next = w->types;
    w->types = wtype;
    w->type_count++;
    return TI_OK;
}

/* ---- start ---- */

static ti_status ready_type(ti_worker *w, ti_wtype *type, const ti_call *call, ti_err *err)
{
    ti_hub *hub = w->queues->hub;
    uint32_t partitions;
    ti_mutex_lock(&hub->mutex);
    type->ordering = type->type->declared.ordering;
    type->retention_us = type->type->declared.retention_us;
    ti_mutex_unlock(&hub->mutex);
    TI_TRY(ti_queue_partitions(w->queues, ti_hub_type_name(type->type), &partitions, call, err));
    ti_mutex_lock(&w->mutex);
    ti_status status = ti_type_resize(w, type, partitions, err);
    ti_mutex_unlock(&w->mutex);
    return status;
}

static ti_status start_threads(ti_worker *w, ti_err *err)
{
    uint32_t wanted = w->options.concurrency;
    if (wanted < TI_LANES)
        wanted = TI_LANES;
    if (wanted > TI_COMMITTERS_MAX)
        wanted = TI_COMMITTERS_MAX;
    TI_TRY(ti_thread_start(&w->reader, "tito-reader", ti_reader_run, w, err));
    w->reader_started = true;
    TI_TRY(ti_thread_start(&w->keeper, "tito-keeper", ti_keeper_run, w, err));
    w->keeper_started = true;
    while (w->committer_count < wanted) {
        TI_TRY(ti_thread_start(&w->committers[w->committer_count], "tito-commit", ti_committer_run,
                               w, err));
        w->committer_count++;
    }
    return TI_OK;
}

ti_status ti_worker_start(ti_worker *w, const ti_call *call, ti_err *err)
{
    if (w->life != TI_LIFE_NEW)
        return ti_err_set(err, TI_INVALID_STATE, "the worker has been started or stopped before");
    if (w->types == NULL)
        return ti_err_set(err, TI_INVALID_STATE, "the worker has no handlers");
    for (ti_wtype *type = w->types; type != NULL; type = type->next) {
        if (type->parts == NULL)
            TI_TRY(ready_type(w, type, call, err));
    }
    for (ti_wtype *type = w->types; type != NULL; type = type->next)
        ti_hub_listen(w->queues->hub, type->type, &type->listener);
    ti_mutex_lock(&w->mutex);
    w->life = TI_LIFE_RUNNING;
    ti_mutex_unlock(&w->mutex);
    ti_status status = TI_OK;
    if (w->ownership->vt->start != NULL)
        status = w->ownership->vt->start(w->ownership, call, err);
    if (status == TI_OK)
        status = start_threads(w, err);
    if (status != TI_OK) {
        ti_worker_stop(w, 0);
        ti_worker_join(w, NULL);
    }
    return status;
}

void ti_worker_ownership_changed(ti_worker *w)
{
    ti_mutex_lock(&w->mutex);
    w->ownership_ns = 0;
    ti_mutex_unlock(&w->mutex);
    ti_worker_nudge(w);
}

void ti_worker_set_leader(ti_worker *w, bool leader)
{
    w->ownership->vt->set_leader(w->ownership, leader);
    ti_worker_ownership_changed(w);
}

ti_ts ti_worker_fence(const ti_worker *w, const ti_part *part, uint64_t holding)
{
    ti_ownership *o = w->ownership;
    ti_ts until = o->vt->fence(o, ti_hub_type_name(part->type->type), part->number, holding);
    return w->queues->shared ? ti_type_fence(w, part->type, until) : until;
}

static uint32_t owned_between(ti_worker *w, ti_slice name, uint32_t from, uint32_t to)
{
    uint32_t n = 0;
    ti_mutex_lock(&w->mutex);
    for (const ti_wtype *type = w->types; type != NULL; type = type->next) {
        if (!ti_slice_equal(ti_hub_type_name(type->type), name))
            continue;
        for (uint32_t i = from; i < to && i < type->partitions && type->parts != NULL; i++)
            n += type->parts[i].owned ? 1 : 0;
    }
    ti_mutex_unlock(&w->mutex);
    return n;
}

bool ti_worker_has_partition(ti_worker *w, ti_slice type, uint32_t partition)
{
    return owned_between(w, type, partition, partition + 1) > 0;
}

uint32_t ti_worker_partitions(ti_worker *w, ti_slice type)
{
    return owned_between(w, type, 0, UINT32_MAX);
}

/* ---- stop ---- */

void ti_worker_stop(ti_worker *w, int64_t drain_timeout_us)
{
    if (drain_timeout_us < 0)
        drain_timeout_us = TI_DRAIN_TIMEOUT_DEFAULT_US;
    int64_t until_ns = ti_call_within(w->env, drain_timeout_us).deadline_ns;
    ti_mutex_lock(&w->mutex);
    if (w->life < TI_LIFE_STOPPING) {
        w->life = TI_LIFE_STOPPING;
        w->drain_until_ns = until_ns;
    } else if (until_ns < w->drain_until_ns) {
        w->drain_until_ns = until_ns;
    }
    w->notify = true;
    ti_cond_broadcast(&w->ready_cond);
    ti_cond_broadcast(&w->idle_cond);
    ti_worker_unlock(w);
    ti_worker_nudge(w);
}

/* Waits until everything is settled and committed, or the time is up. The mutex is held. */
static void drain(ti_worker *w)
{
    while ((w->taken > 0 || w->uncommitted > 0) && ti_env_mono_ns(w->env) < w->drain_until_ns &&
           w->broken.status == TI_OK)
        ti_cond_wait_until(&w->idle_cond, &w->mutex, w->env, w->drain_until_ns);
    w->drained = w->taken == 0 && w->uncommitted == 0;
    w->quit = true;
    if (!w->drained)
        atomic_store(&w->cancelled, 1);
    ti_cond_broadcast(&w->commit_cond);
    ti_cond_broadcast(&w->pause_cond);
}

static void end_threads(ti_worker *w)
{
    ti_worker_nudge(w);
    if (w->reader_started)
        ti_thread_join(&w->reader);
    if (w->keeper_started)
        ti_thread_join(&w->keeper);
    for (uint32_t i = 0; i < w->committer_count; i++)
        ti_thread_join(&w->committers[i]);
    if (w->ownership->vt->stop != NULL)
        w->ownership->vt->stop(w->ownership);
    for (ti_wtype *type = w->types; type != NULL; type = type->next) {
        if (type->listener.is_on)
            ti_hub_unlisten(w->queues->hub, type->type, &type->listener);
    }
    while (w->garbage_count > 0)
        ti_txn_free(w->garbage[--w->garbage_count]);
}

/* After the threads: every event leaves memory, but for those that the host has not freed. */
static void forget_everything(ti_worker *w)
{
    ti_txn *txns;
    do {
        txns = NULL;
        ti_mutex_lock(&w->mutex);
        w->life = TI_LIFE_ENDED;
        for (ti_wtype *type = w->types; type != NULL && txns == NULL; type = type->next) {
            for (uint32_t i = 0; type->parts != NULL && i < type->partitions && txns == NULL; i++)
                txns = ti_part_forget_all(w, &type->parts[i]);
        }
        ti_mutex_unlock(&w->mutex);
        ti_txn_free(txns);
    } while (txns != NULL);
    ti_mutex_lock(&w->mutex);
    ti_keys_free(w);
    ti_mutex_unlock(&w->mutex);
}

ti_status ti_worker_join(ti_worker *w, ti_err *err)
{
    ti_mutex_lock(&w->mutex);
    if (w->life < TI_LIFE_STOPPING) {
        ti_mutex_unlock(&w->mutex);
        return ti_err_set(err, TI_INVALID_STATE, "the worker has not been stopped");
    }
    while (w->joining && w->life != TI_LIFE_ENDED)
        ti_cond_wait(&w->idle_cond, &w->mutex);
    bool mine = w->life != TI_LIFE_ENDED;
    if (mine) {
        w->joining = true;
        drain(w);
    }
    ti_worker_unlock(w);
    if (mine) {
        end_threads(w);
        forget_everything(w);
        ti_mutex_lock(&w->mutex);
        ti_cond_broadcast(&w->idle_cond);
        ti_mutex_unlock(&w->mutex);
    }
    if (w->drained)
        return TI_OK;
    return ti_err_set(err, TI_TIMEOUT,
                      "the worker did not drain in time; what was not finished will run again");
}

static void free_types(ti_worker *w)
{
    while (w->types != NULL) {
        ti_wtype *type = w->types;
        w->types = type->next;
        ti_type_free_parts(type);
        ti_hints_forget(type);
        ti_free(type);
    }
}

void ti_worker_unref(ti_worker *w, uint32_t count)
{
    uint32_t before = atomic_fetch_sub_explicit(&w->refs, count, memory_order_acq_rel);
    ti_assert(before >= count);
    if (before > count)
        return;
    free_types(w);
    ti_timers_free(&w->timers);
    ti_free(w->keys);
    ti_free(w->index);
    w->ownership->vt->release(w->ownership);
    ti_cond_destroy(&w->pause_cond);
    ti_cond_destroy(&w->idle_cond);
    ti_cond_destroy(&w->commit_cond);
    ti_cond_destroy(&w->ready_cond);
    ti_cond_destroy(&w->inbox.cond);
    ti_mutex_destroy(&w->inbox.mutex);
    ti_mutex_destroy(&w->mutex);
    ti_free(w);
}

void ti_worker_free(ti_worker *w)
{
    if (w == NULL)
        return;
    ti_worker_stop(w, 0);
    ti_worker_join(w, NULL);
    ti_worker_unref(w, 1);
}

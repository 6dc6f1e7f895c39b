/* Batches: events that a handler gets together; what that means for users is in worker.h.
 *
 *   ready keys of one type ─> first + others of its class ─> host ─┬─ ack ─> one commit of all
 *          ^                                                       │          │
 *          `── each by itself again, in a class of half the size ──┴─ fail,  ─┘ error
 *                                                                    timeout
 *
 * The class of an event is how many it may be together with: its type's `batch` at first; half of a
 * batch that failed; 1 when it has failed alone. Only events of one class are together, so that
 * those of a batch that failed stay among themselves until what can not succeed is alone.
 *
 * INVARIANTS
 *  1. The events of a batch have different ordering keys, and are the running ones of these until
 *     the batch is settled and its commit decided.
 *  2. Their outcomes and the effects of the transaction commit together or not at all: when the row
 *     of one has changed, or its partition is lost, nothing commits and the others run again.
 *  3. A commit with an unknown end was made when every row is gone or changed: it changes all or
 *     none. (As in own.c a lost commit that arrives later meets a conflict with the next run.) */
#include "base/assert.h"
#include "queue/commit_int.h"

/* ---- looking, any lock ---- */

bool ti_event_is_batch(const ti_event *event)
{
    return event->part->type->batch > 0;
}

size_t ti_event_count(const ti_event *event)
{
    return event->batch != NULL ? event->batch->count : 1;
}

ti_event *ti_event_member(ti_event *event, size_t i)
{
    ti_assert(i < ti_event_count(event));
    return event->batch != NULL ? event->batch->events[i] : event;
}

void ti_batch_unref(ti_batch *batch)
{
    uint32_t before = atomic_fetch_sub(&batch->alive, 1);
    ti_assert(before > 0);
    if (before == 1)
        ti_free(batch);
}

/* ---- out, the mutex is held ---- */

void ti_batch_fill(ti_worker *w, ti_event *first)
{
    uint32_t max = ti_batch_class(first);
    ti_assert(max > 1);
    ti_assert(max <= TI_BATCH_MAX);
    if (first->part->type->ready_count == 0)
        return;
    ti_batch *batch = ti_alloc(sizeof(*batch) + max * sizeof(ti_event *));
    if (batch == NULL)
        return;
    batch->events[0] = first;
    batch->count = 1 + (uint32_t)ti_ready_take_more(w, first, max - 1, batch->events + 1);
    batch->waiting = 0;
    atomic_init(&batch->alive, batch->count);
    if (batch->count == 1) {
        ti_free(batch);
        return;
    }
    for (uint32_t i = 0; i < batch->count; i++)
        batch->events[i]->batch = batch;
}

/* ---- settled, the mutex is held ---- */

/* Each by itself again, in a batch of at most that many (0 = as before). */
static void run_again(ti_worker *w, const ti_batch *batch, uint32_t max)
{
    uint32_t count = batch->count;
    for (uint32_t i = 0; i < count; i++) {
        ti_event *event = batch->events[i];
        event->stage = TI_SETTLED;
        event->outcome = TI_OUTCOME_NONE;
        if (max > 0)
            event->batch_max = max;
        ti_window_rerun(w, event, true, 0);
    }
}

static uint32_t half(const ti_batch *batch)
{
    return (batch->count + 1) / 2;
}

/* Those of which nothing was said end so; whether any of them keeps what was written. */
static bool decide_all(const ti_batch *batch, ti_outcome outcome, int64_t reschedule_us)
{
    bool keeps = false;
    for (uint32_t i = 0; i < batch->count; i++) {
        ti_event *event = batch->events[i];
        if (event->outcome == TI_OUTCOME_NONE) {
            event->outcome = outcome;
            event->reschedule_us = reschedule_us;
        }
        keeps = keeps || event->outcome != TI_OUTCOME_FAIL;
    }
    return keeps;
}

static void push(ti_worker *w, ti_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        ti_event *event = batch->events[i];
        ti_assert(event->key->running == event);
        event->stage = TI_SETTLED;
        w->uncommitted++;
        if (event->key->unacked > 0) {
            ti_assert(event->key->own_waiting == NULL);
            event->key->own_waiting = event;
            batch->waiting++;
        }
    }
    if (batch->waiting > 0)
        return;
    ti_fifo_push(&w->own, batch->events[0]);
    ti_cond_signal(&w->commit_cond);
}

void ti_batch_key_came(ti_worker *w, ti_batch *batch)
{
    ti_mutex_assert_held(&w->mutex);
    ti_assert(batch->waiting > 0);
    if (--batch->waiting > 0)
        return;
    ti_fifo_push(&w->own, batch->events[0]);
    ti_cond_signal(&w->commit_cond);
}

ti_txn *ti_batch_settle(ti_worker *w, ti_event *first, ti_outcome outcome, int64_t reschedule_us,
                        bool late)
{
    ti_batch *batch = first->batch;
    ti_mutex_assert_held(&w->mutex);
    for (uint32_t i = 0; i < batch->count; i++)
        batch->events[i]->settled_by_host = true;
    if (w->life == TI_LIFE_ENDED)
        return ti_event_let_txn_go(w, first);
    ti_timers_cancel(&w->timers, &first->deadline);
    if (late || outcome == TI_OUTCOME_FAIL || outcome == TI_OUTCOME_NONE) {
        ti_txn *txn = ti_event_let_txn_go(w, first);
        run_again(w, batch, !late && outcome == TI_OUTCOME_NONE ? 0 : half(batch));
        return txn;
    }
    if (decide_all(batch, outcome, reschedule_us)) {
        push(w, batch);
        return NULL;
    }
    ti_txn *txn = ti_event_let_txn_go(w, first);
    for (uint32_t i = 0; i < batch->count; i++)
        ti_event_decide(w, batch->events[i], false);
    return txn;
}

/* ---- committing ---- */

static ti_status begin(ti_committer *c, ti_event *first, ti_err *err)
{
    if (first->txn == NULL)
        TI_TRY(ti_txn_begin(c->worker->queues->kv, NULL, &first->txn, err));
    return ti_txn_check(first->txn, true, err);
}

/* Bounds the commit by the lease of every partition; whether all can be committed. */
static bool fence(const ti_worker *w, const ti_batch *batch, ti_txn *txn, ti_result *results)
{
    bool all = true;
    for (uint32_t i = 0; i < batch->count; i++) {
        const ti_event *event = batch->events[i];
        ti_ts until = ti_worker_fence(w, event->part, event->holding);
        if (until == TI_FENCE_LOST && results[i] == TI_RESULT_DONE)
            results[i] = TI_RESULT_LOST;
        else if (until != TI_TS_NONE)
            ti_txn_not_after(txn, until);
        all = all && results[i] == TI_RESULT_DONE;
    }
    return all;
}

static ti_status commit(ti_committer *c, const ti_batch *batch, ti_result *results,
                        const ti_call *call, ti_err *err)
{
    ti_event *first = batch->events[0];
    TI_TRY(begin(c, first, err));
    ti_txn *txn = first->txn;
    ti_outcome_write write = {
        .worker = c->worker, .txn = txn, .arena = &c->arena, .sealer = &c->sealer};
    TI_TRY(ti_rows_check(c, txn, batch->events, batch->count, results, call, err));
    if (!fence(c->worker, batch, txn, results)) {
        for (uint32_t i = 0; i < batch->count; i++)
            results[i] = results[i] == TI_RESULT_DONE ? TI_RESULT_RERUN : results[i];
        return TI_OK;
    }
    TI_TRY(ti_worker_now(c->worker, txn, &write.now, call, err));
    for (uint32_t i = 0; i < batch->count; i++)
        TI_TRY(ti_outcome_apply(&write, batch->events[i], err));
    return ti_txn_commit(txn, NULL, call, err);
}

/* What the rows say after an unknown outcome: all changed, or the commit was not made. */
static ti_status read_unknown(ti_committer *c, const ti_batch *batch, ti_result *results,
                              ti_err *err)
{
    ti_txn *txn;
    ti_call call = ti_worker_call(c->worker);
    uint32_t unchanged = 0;
    TI_TRY(ti_txn_begin(c->worker->queues->kv, &(ti_txn_options){.read_only = true}, &txn, err));
    ti_status status = ti_rows_check(c, txn, batch->events, batch->count, results, &call, err);
    ti_txn_free(txn);
    for (uint32_t i = 0; i < batch->count && status == TI_OK; i++)
        unchanged += results[i] == TI_RESULT_DONE ? 1 : 0;
    for (uint32_t i = 0; i < batch->count && status == TI_OK; i++) {
        if (unchanged == 0)
            results[i] = TI_RESULT_DONE;
        else if (results[i] == TI_RESULT_DONE)
            results[i] = TI_RESULT_RERUN;
    }
    return status;
}

static bool settle_unknown(ti_committer *c, const ti_batch *batch, ti_result *results)
{
    for (uint32_t tries = 1;; tries++) {
        ti_err err;
        ti_err_clear(&err);
        ti_arena_reset(&c->arena);
        if (read_unknown(c, batch, results, &err) == TI_OK)
            return true;
        ti_worker_note(c->worker, &err, "reading a batch after an unknown outcome");
        if (!ti_committer_wait(c, tries))
            return false;
    }
}

/* Nothing was committed: all run again, in halves unless that error may go away by itself. */
static void all_again(const ti_batch *batch, ti_status status, ti_result *results)
{
    uint32_t max = half(batch);
    for (uint32_t i = 0; i < batch->count; i++) {
        ti_event *event = batch->events[i];
        results[i] = TI_RESULT_RERUN;
        if (ti_commit_may_repeat(status) && event->conflicts + 1 < TI_BATCH_CONFLICTS_MAX)
            continue;
        event->batch_max = max;
        event->conflicts = 0;
    }
}

bool ti_batch_commit(ti_committer *c, ti_event *first, ti_result *results)
{
    ti_err err;
    ti_call call = ti_worker_call(c->worker);
    const ti_batch *batch = first->batch;
    ti_arena_reset(&c->arena);
    ti_err_clear(&err);
    ti_status status = commit(c, batch, results, &call, &err);
    ti_txn_free(first->txn);
    first->txn = NULL;
    if (status == TI_OUTCOME_UNKNOWN)
        return settle_unknown(c, batch, results);
    if (status == TI_OK)
        return true;
    ti_worker_note(c->worker, &err, "committing a batch");
    all_again(batch, status, results);
    return true;
}

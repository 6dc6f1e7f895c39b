/* A group of outcomes in one transaction. First, where the engine remembers what was committed: no
 * row is looked at, and the commit is to fail when one has changed since it was read. Else, or when
 * it did fail: rows checked on its own snapshot (read again where the engine does not know them to
 * be as they were), mutations, commit.
 *
 *   OK                      all decided: DONE; DROPPED where the row was gone or had changed; LOST
 *                           where the partition is not ours any more
 *   conflict, unchecked     again, with the rows checked
 *   conflict, more than one one by one, in order
 *   conflict, one           again: the row is re-read, which decides
 *   transient               again after a wait
 *   outcome unknown         again: the rows tell whether it was committed
 *   broken                  noted; again after a wait
 *   anything else           more than one: one by one; one: RERUN
 *
 * INVARIANTS
 *  1. After an unknown outcome a row that is gone or has changed counts as committed by us. */
#include <string.h>

#include "base/assert.h"
#include "queue/commit_int.h"

bool ti_committer_wait(ti_committer *c, uint32_t n)
{
    ti_worker *w = c->worker;
    int64_t wait_us = TI_RETRY_BASE_US;
    for (uint32_t i = 1; i < n && wait_us < TI_RETRY_CAP_US; i++)
        wait_us *= 2;
    int64_t until_ns = ti_env_mono_ns(w->env) + wait_us * 1000;
    ti_mutex_lock(&w->mutex);
    bool in_time = true;
    while (!w->quit && in_time)
        in_time = ti_cond_wait_until(&w->pause_cond, &w->mutex, w->env, until_ns) &&
                  ti_env_mono_ns(w->env) < until_ns;
    bool go_on = !w->quit;
    ti_mutex_unlock(&w->mutex);
    return go_on;
}

/* Rows of a group that have to be read. */
typedef struct rows_left {
    ti_slice *keys;
    size_t *at; /* their places in the group */
    size_t count;
} rows_left;

static bool is_same_row(const ti_event *event, ti_slice value)
{
    return value.data != NULL && ti_slice_equal(value, event->row_value);
}

/* What is known to be as it was read is DONE; the others are left. */
static ti_status leave_unchanged(ti_committer *c, ti_txn *txn, ti_event *const *events, size_t n,
                                 ti_result *results, rows_left *left, const ti_call *call,
                                 ti_err *err)
{
    ti_ts *since = ti_arena_alloc(&c->arena, n * sizeof(*since));
    bool *unchanged = ti_arena_alloc(&c->arena, n * sizeof(*unchanged));
    left->keys = ti_arena_alloc(&c->arena, n * sizeof(*left->keys));
    left->at = ti_arena_alloc(&c->arena, n * sizeof(*left->at));
    if (since == NULL || unchanged == NULL || left->keys == NULL || left->at == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < n; i++) {
        left->keys[i] = events[i]->row_key;
        since[i] = events[i]->read_ts;
    }
    TI_TRY(ti_txn_unchanged(txn, left->keys, since, n, unchanged, call, err));
    for (size_t i = 0; i < n; i++) {
        results[i] = TI_RESULT_DONE;
        if (unchanged[i])
            continue;
        left->keys[left->count] = events[i]->row_key;
        left->at[left->count++] = i;
    }
    return TI_OK;
}

ti_status ti_rows_check(ti_committer *c, ti_txn *txn, ti_event *const *events, size_t n,
                        ti_result *results, const ti_call *call, ti_err *err)
{
    rows_left left = {.count = 0};
    TI_TRY(leave_unchanged(c, txn, events, n, results, &left, call, err));
    if (left.count == 0)
        return TI_OK;
    ti_slice *values = ti_arena_alloc(&c->arena, left.count * sizeof(*values));
    if (values == NULL)
        return ti_err_no_memory(err);
    TI_TRY(ti_txn_batch_get(txn, left.keys, left.count, &c->arena, values, call, err));
    for (size_t i = 0; i < left.count; i++) {
        size_t at = left.at[i];
        results[at] = is_same_row(events[at], values[i]) ? TI_RESULT_DONE : TI_RESULT_DROPPED;
    }
    return TI_OK;
}

/* Bounds the commit; false when the event's partition is not ours any more. */
static bool fence(ti_worker *w, ti_txn *txn, const ti_event *event)
{
    ti_ts until = ti_worker_fence(w, event->part, event->holding);
    if (until == TI_FENCE_LOST)
        return false;
    if (until != TI_TS_NONE)
        ti_txn_not_after(txn, until);
    return true;
}

/* Whether the commit can tell that none of the rows has changed since it was read. */
static bool can_expect(const ti_txn *txn, ti_event *const *events, size_t n)
{
    bool known = ti_txn_can_expect(txn);
    for (size_t i = 0; i < n && known; i++)
        known = events[i]->read_ts != TI_TS_NONE && !events[i]->maybe_committed;
    return known;
}

static ti_status write_and_commit(ti_committer *c, ti_txn *txn, ti_event **events, size_t n,
                                  bool expects, ti_result *results, const ti_call *call,
                                  ti_err *err)
{
    ti_outcome_write write = {.worker = c->worker,
                              .txn = txn,
                              .arena = &c->arena,
                              .sealer = &c->sealer,
                              .expects = expects};
    for (size_t i = 0; i < n; i++)
        results[i] = TI_RESULT_DONE;
    if (!expects)
        TI_TRY(ti_rows_check(c, txn, events, n, results, call, err));
    TI_TRY(ti_worker_now(c->worker, txn, &write.now, call, err));
    for (size_t i = 0; i < n; i++) {
        if (results[i] == TI_RESULT_DONE && !fence(c->worker, txn, events[i]))
            results[i] = TI_RESULT_LOST;
        if (results[i] == TI_RESULT_DONE)
            TI_TRY(ti_outcome_apply(&write, events[i], err));
    }
    return ti_txn_commit(txn, NULL, call, err);
}

static ti_status attempt_once(ti_committer *c, ti_event **events, size_t n, bool *expects_io,
                              ti_result *results, ti_err *err)
{
    ti_call call = ti_worker_call(c->worker);
    ti_txn *txn;
    ti_arena_reset(&c->arena);
    TI_TRY(ti_txn_begin(c->worker->queues->kv, NULL, &txn, err));
    *expects_io = *expects_io && can_expect(txn, events, n);
    ti_status status = write_and_commit(c, txn, events, n, *expects_io, results, &call, err);
    ti_txn_free(txn);
    return status;
}

/* One attempt; after an unknown one, what is gone is done. */
static ti_status attempt(ti_committer *c, ti_event **events, size_t n, bool expects,
                         ti_result *results, ti_err *err)
{
    ti_status status = attempt_once(c, events, n, &expects, results, err);
    if (expects && ti_status_class_of(status) == TI_CLASS_CONFLICT) {
        expects = false;
        ti_err_clear(err);
        status = attempt_once(c, events, n, &expects, results, err);
    }
    for (size_t i = 0; i < n; i++) {
        if (status == TI_OUTCOME_UNKNOWN)
            events[i]->maybe_committed = true;
        if (status == TI_OK && results[i] == TI_RESULT_DROPPED && events[i]->maybe_committed)
            results[i] = TI_RESULT_DONE;
    }
    return status;
}

static bool commit_one_by_one(ti_committer *c, ti_event **events, size_t n, ti_result *results)
{
    for (size_t i = 0; i < n; i++) {
        if (!ti_group_commit(c, events + i, 1, results + i))
            return false;
    }
    return true;
}

/* Whether another attempt can do better than the one that answered status. */
static bool is_worth_another(ti_status status)
{
    switch (ti_status_class_of(status)) {
    case TI_CLASS_CONFLICT:
    case TI_CLASS_TRANSIENT:
    case TI_CLASS_UNKNOWN:
    case TI_CLASS_BROKEN:
        return true;
    default:
        return false;
    }
}

bool ti_group_commit(ti_committer *c, ti_event **events, size_t n, ti_result *results_out)
{
    ti_err err;
    ti_assert(n > 0);
    for (uint32_t tries = 1;; tries++) {
        ti_err_clear(&err);
        ti_status status = attempt(c, events, n, tries == 1, results_out, &err);
        if (status == TI_OK)
            return true;
        ti_worker_note(c->worker, &err, "committing outcomes");
        if (n > 1 && (ti_status_class_of(status) == TI_CLASS_CONFLICT || !is_worth_another(status)))
            return commit_one_by_one(c, events, n, results_out);
        if (!is_worth_another(status)) {
            results_out[0] = TI_RESULT_RERUN;
            return true;
        }
        if (!ti_committer_wait(c, tries))
            return false;
    }
}

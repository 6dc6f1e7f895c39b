/* An event with a transaction of its own: the handler's writes, what it published and the outcome
 * commit together, or not at all.
 *
 *   row gone or changed       rolled back: DROPPED
 *   the lease is lost         rolled back: LOST
 *   OK                        DONE
 *   conflict, not applied     RERUN, TI_EVENT_CONFLICTS_MAX times in a row; then FAILED
 *   outcome unknown           the row is read: gone or changed: DONE; as before: RERUN
 *   anything else             FAILED, with the error's text
 *
 * A lost commit that arrives after the row was read as unchanged can not do harm: it and the next
 * run both delete or change the row, so one of them meets a conflict. */
#include <string.h>

#include "base/assert.h"
#include "queue/commit_int.h"

static ti_status commit(ti_committer *c, ti_event *event, ti_result *result_out,
                        const ti_call *call, ti_err *err)
{
    ti_worker *w = c->worker;
    ti_txn *txn = event->txn;
    ti_outcome_write write = {.worker = w, .txn = txn, .arena = &c->arena, .sealer = &c->sealer};
    TI_TRY(ti_txn_check(txn, true, err));
    TI_TRY(ti_rows_check(c, txn, &event, 1, result_out, call, err));
    if (*result_out == TI_RESULT_DROPPED)
        return TI_OK;
    TI_TRY(ti_worker_now(w, txn, &write.now, call, err));
    TI_TRY(ti_outcome_apply(&write, event, err));
    ti_ts until = ti_worker_fence(w, event->part, event->holding);
    if (until == TI_FENCE_LOST) {
        *result_out = TI_RESULT_LOST;
        return TI_OK;
    }
    if (until != TI_TS_NONE)
        ti_txn_not_after(txn, until);
    return ti_txn_commit(txn, NULL, call, err);
}

/* What the row says after an unknown outcome; false when the worker quits. */
static bool settle_unknown(ti_committer *c, ti_event *event, ti_result *result_out)
{
    for (uint32_t tries = 1;; tries++) {
        ti_txn *txn = NULL;
        ti_err err;
        ti_call call = ti_worker_call(c->worker);
        ti_err_clear(&err);
        ti_status status =
            ti_txn_begin(c->worker->queues->kv, &(ti_txn_options){.read_only = true}, &txn, &err);
        if (status == TI_OK)
            status = ti_rows_check(c, txn, &event, 1, result_out, &call, &err);
        ti_txn_free(txn);
        if (status == TI_OK) {
            *result_out = *result_out == TI_RESULT_DROPPED ? TI_RESULT_DONE : TI_RESULT_RERUN;
            return true;
        }
        ti_worker_note(c->worker, &err, "reading an event after an unknown outcome");
        if (!ti_committer_wait(c, tries))
            return false;
    }
}

/* The run has failed with that error. */
static ti_result fail_with(ti_event *event, const ti_err *err)
{
    size_t len = strlen(err->message);
    char *text = ti_alloc(len);
    if (text != NULL)
        memcpy(text, err->message, len);
    ti_free(event->text);
    event->text = text;
    event->text_len = text != NULL ? len : 0;
    return TI_RESULT_FAILED;
}

bool ti_commit_may_repeat(ti_status status)
{
    return ti_status_class_of(status) == TI_CLASS_CONFLICT || status == TI_UNAVAILABLE ||
           status == TI_BUSY;
}

static bool may_run_again(const ti_event *event, ti_status status)
{
    return event->conflicts + 1 < TI_EVENT_CONFLICTS_MAX && ti_commit_may_repeat(status);
}

bool ti_own_commit(ti_committer *c, ti_event *event, ti_result *result_out)
{
    ti_err err;
    ti_call call = ti_worker_call(c->worker);
    bool decided = true;
    ti_assert(event->txn != NULL);
    ti_arena_reset(&c->arena);
    ti_err_clear(&err);
    ti_status status = commit(c, event, result_out, &call, &err);
    ti_txn_free(event->txn);
    event->txn = NULL;
    if (status == TI_OUTCOME_UNKNOWN) {
        decided = settle_unknown(c, event, result_out);
    } else if (status != TI_OK) {
        ti_worker_note(c->worker, &err, "committing an event's transaction");
        *result_out = may_run_again(event, status) ? TI_RESULT_RERUN : fail_with(event, &err);
    }
    if (decided && *result_out == TI_RESULT_FAILED && event->replacement != NULL) {
        ti_event_destroy(event->replacement);
        event->replacement = NULL;
    }
    return decided;
}

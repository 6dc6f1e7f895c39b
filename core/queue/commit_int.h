/* Between the files that commit outcomes: commit.c (threads, what results mean), group.c (groups),
 * own.c (events with a transaction of their own). */
#ifndef TI_QUEUE_COMMIT_INT_H
#define TI_QUEUE_COMMIT_INT_H

#include "queue/worker_int.h"

typedef enum ti_result {
    TI_RESULT_DONE,    /* committed */
    TI_RESULT_DROPPED, /* the row was gone or had changed */
    TI_RESULT_RERUN,   /* nothing was committed: the handler runs again */
    TI_RESULT_LOST,    /* nothing was committed: the partition is not ours any more */
    TI_RESULT_FAILED,  /* nothing was committed: the run counts as failed, event->text says why */
} ti_result;

/* What one committer thread keeps. */
typedef struct ti_committer {
    ti_worker *worker;
    ti_arena arena; /* reset between pieces of work */
    ti_event_sealer sealer;
} ti_committer;

/* Commits the outcomes of n settled events; keeps trying until each is decided: false only when the
 * worker quits. RERUN comes for outcomes that the store refuses by itself. @locks none */
bool ti_group_commit(ti_committer *c, ti_event **events, size_t n, ti_result *results_out);
/* Commits an event's own transaction with its outcome, and frees it; false only when the worker
 * quits. @locks none */
bool ti_own_commit(ti_committer *c, ti_event *event, ti_result *result_out);
/* Commits what has become of a batch (batch.c): all of its events in one transaction, first's or
 * one of its own, which is freed. Each has a result; RERUN of one whose batch_max was lowered
 * counts as no conflict. False only when the worker quits. @locks none */
bool ti_batch_commit(ti_committer *c, ti_event *first, ti_result *results_out);
/* Whether the rows of n events are in txn's view what the events were made of: DONE or DROPPED each.
 * Read again only where the engine does not know it without (ti_txn_unchanged). */
ti_status ti_rows_check(ti_committer *c, ti_txn *txn, ti_event *const *events, size_t n,
                        ti_result *results_out, const ti_call *call, ti_err *err);
/* Whether a run may be repeated after that error of its commit. */
bool ti_commit_may_repeat(ti_status status);
/* Waits before the n-th new attempt; false when the worker quits. @locks none */
bool ti_committer_wait(ti_committer *c, uint32_t n);
/* The mutex is held: what a result means in memory. */
void ti_result_take(ti_worker *w, ti_event *event, ti_result result);

#endif

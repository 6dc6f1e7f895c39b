/* The executor: threads that run jobs for callers who do not want to wait.
 *
 *   post ──> [ queue of GENERAL ] ──> threads tito-work     started when a job finds no idle one,
 *            [ queue of LOCK    ] ──> threads tito-lock     up to a maximum of their kind; a purely
 *            [ queue of COMMIT  ] ──> threads tito-commit   synchronous user never has one
 *
 * Three kinds of work, so that who waits never starves the one it waits for: operations that may
 * wait for a lock have threads of their own, so other operations of the lock's holder go on; commit
 * and rollback, which end the waiting, have theirs.
 *
 * INVARIANTS
 *  1. A posted job's run is called exactly once, or ti_executor_remove has answered true.
 *  2. A queue never holds more than queue_max jobs.
 *  3. After ti_executor_close no job runs, no thread of it is left, and nobody is between enter and
 *     leave. Jobs that were queued have been run (their enter answered CLOSED).
 *  4. run is called without any mutex held.
 *
 * Thread rule: all functions from any thread; the executor's mutex (rank EXECUTOR) may be taken
 * while a mutex of lower rank is held. Fork: in a child every function answers FORKED or does
 * nothing; close and unref free memory only.
 *
 * What is NOT here: futures, order, deadlines, cancellation (future.h). */
#ifndef TI_RT_EXECUTOR_H
#define TI_RT_EXECUTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"
#include "base/err.h"

typedef enum ti_work {
    TI_WORK_GENERAL = 0,
    TI_WORK_LOCK = 1,   /* may wait for a lock of another transaction */
    TI_WORK_COMMIT = 2, /* commit and rollback: never waits for a lock */
} ti_work;
#define TI_WORKS 3

typedef struct ti_executor ti_executor;

typedef struct ti_executor_options {
    const ti_env *env;            /* for deadlines of futures; NULL: the real machine */
    size_t threads_max[TI_WORKS]; /* 0: the default of limits.h */
    size_t queue_max;             /* of each kind; 0: TI_EXECUTOR_QUEUE_MAX */
} ti_executor_options;

/* A piece of work, embedded in its owner (all fields are the executor's). */
typedef struct ti_job ti_job;
struct ti_job {
    ti_job *prev;
    ti_job *next;
    void (*run)(ti_job *job);
    ti_work work;
    bool queued;
};

/* Makes an executor without any thread. options may be NULL. Ended with ti_executor_close, then
 * ti_executor_unref. LIMIT_EXCEEDED, OUT_OF_MEMORY, UNAVAILABLE. @thread any */
ti_status ti_executor_create(const ti_executor_options *options, ti_executor **executor_out,
                             ti_err *err);
/* Refuses new work, ends queued jobs with CLOSED, waits for those that run, joins the threads. Safe
 * to call again. Not called between enter and leave (it would wait for itself). A thread of the
 * executor's own may call it: that one ends right after. @thread any; blocks */
void ti_executor_close(ti_executor *executor);
/* Another owner; each ends with ti_executor_unref. @thread any */
ti_executor *ti_executor_ref(ti_executor *executor);
/* Frees the executor with the last reference; it must be closed by then. NULL is allowed. */
void ti_executor_unref(ti_executor *executor);

/* Queues job for a thread of its kind, and starts one when none is idle. BUSY: the queue is full;
 * CLOSED; FORKED; UNAVAILABLE: no thread could be started. After a failure the job is not queued.
 * @thread any */
ti_status ti_executor_post(ti_executor *executor, ti_work work, ti_job *job, ti_err *err);
/* Takes a job back: true when it was still queued, and then its run is not called. @thread any */
bool ti_executor_remove(ti_executor *executor, ti_job *job);

/* Announces that the caller works with what the executor guards: close waits until
 * ti_executor_leave. CLOSED or FORKED, then without leave. The caller holds a reference until after
 * leave. Cheap: two atomics.
 * @thread any */
ti_status ti_executor_enter(ti_executor *executor, ti_err *err);
void ti_executor_leave(ti_executor *executor);

/* Whether this process is a forked child of the executor's. @thread any */
bool ti_executor_forked(const ti_executor *executor);
/* The machine that deadlines are measured on. */
const ti_env *ti_executor_env(const ti_executor *executor);

typedef struct ti_executor_stats {
    size_t threads[TI_WORKS]; /* started */
    size_t idle[TI_WORKS];    /* of these: waiting for a job */
    size_t queued[TI_WORKS];  /* jobs waiting for a thread */
    uint64_t posted;          /* jobs ever queued */
    size_t inside;            /* callers between enter and leave */
} ti_executor_stats;

/* A picture of now. Zeros in a forked child. @thread any */
void ti_executor_stats_of(ti_executor *executor, ti_executor_stats *stats_out);

#endif

/* Futures: an operation that runs when somebody wants its result, in the caller's thread or in one
 * of the executor's, alone or in the order of its lane.
 *
 *   one allocation:   [ ti_future | the operation's memory: arguments, arena, results ]
 *
 *               submit                start, watch, then,
 *      NEW ────────────> SUBMITTED ── wait with timeout ────> QUEUED
 *       │                 │   │                                │  │
 *       │ finish   cancel,│   │ wait without timeout:     taken│  │cancel, refused, closed
 *       │          release│   │ in the caller's thread        │  │
 *       │                 │   └────────> RUNNING <────────────┘  │
 *       │                 │                 │ run has returned     │
 *       v                 v                 v                      v
 *      DONE <─────────────┴─────────────────┴──────────────────────┘
 *
 * NEW        its maker alone knows it and fills its memory
 * SUBMITTED  lazily waiting: no thread will run it by itself; has its place in its lane
 * QUEUED     a thread of the executor will run it when its turn comes; a waiter may take it first
 * RUNNING    exactly one thread runs it
 * DONE       status, error and results are there and never change again
 *
 * INVARIANTS
 *  1. A future becomes DONE exactly once. Operations are run at most once.
 *  2. Of a lane one future runs at a time, in order of submission, whoever runs it. Those that were
 *     only submitted run when a later one of their lane does.
 *  3. A future that becomes DONE without having run (cancelled, timed out while queued, refused,
 *     closed, released) had no effect. If its operation is a write that was submitted, or
 *     finished with a failure, the lane remembers it (ti_lane_skipped), so that a commit never
 *     stores half of a transaction.
 *  4. A callback is called at most once, with no mutex held.
 *  5. The deadline counts from the moment the future is started or run, not from its making.
 *
 * Thread rule: all functions from any thread, at the same time too, except where said; a handle is
 * not used after ti_future_release. run and destroy of an operation are called without any mutex
 * held; results are read by any thread once ti_future_ready is true. Fork: in a child every
 * function answers FORKED, and release frees memory only (of what had not been handed to a thread).
 *
 * What is NOT here: what operations do; error objects of the ABI. */
#ifndef TI_RT_FUTURE_H
#define TI_RT_FUTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"
#include "base/err.h"
#include "rt/cq.h"
#include "rt/executor.h"

/* ---- lanes ---- */

/* A serial queue: the operations of one transaction. */
typedef struct ti_lane ti_lane;

/* An empty lane; NULL when there is no memory. Its futures keep it alive. @thread any */
ti_lane *ti_lane_create(ti_executor *executor);
/* Another owner; each ends with ti_lane_unref. */
ti_lane *ti_lane_ref(ti_lane *lane);
/* Frees the lane with the last reference. NULL is allowed. */
void ti_lane_unref(ti_lane *lane);
/* OK, or the status of the first write of the lane that became DONE without having run: a commit
 * then fails with it. @thread any */
ti_status ti_lane_skipped(ti_lane *lane);
/* Forgets it: what comes next is another attempt of the transaction. Called by an operation of the
 * lane. */
void ti_lane_forget_skipped(ti_lane *lane);

/* ---- making ---- */

/* What an operation is. Static. */
typedef struct ti_op_type {
    const char *name; /* for messages: "commit" */
    ti_work work;     /* which threads run it when the caller does not */
    bool write;       /* see invariant 3 */
    /* Does the work, leaves results in op. Ends when call says so. Called at most once. */
    ti_status (*run)(void *op, const ti_call *call, ti_err *err);
    /* Frees what op holds (not op itself), also when it never ran; NULL: nothing. Any thread. */
    void (*destroy)(void *op);
} ti_op_type;

typedef struct ti_future_spec {
    const ti_op_type *type;
    size_t op_size;     /* of the operation's memory, cleared */
    size_t room_size;   /* of more memory right behind it, not cleared: for an arena. Both together
                         * at most TI_FUTURE_SIZE_MAX */
    ti_lane *lane;      /* NULL: runs in any order; borrowed, the future takes a reference */
    int64_t timeout_us; /* TI_NO_DEADLINE: none */
    void *owner;        /* kept alive as long as the future: released is called with it; or NULL */
    void (*released)(void *owner);
} ti_future_spec;

/* A NEW future whose memory (ti_future_op) is cleared; NULL when there is no memory, and then the
 * owner stays the caller's. The handle is the caller's: ti_future_release. */
ti_future *ti_future_create(ti_executor *executor, const ti_future_spec *spec);
/* The operation's memory, aligned to 16, and back. @thread any */
void *ti_future_op(ti_future *future);
ti_future *ti_future_of_op(void *op);
/* NEW becomes SUBMITTED, behind all of its lane. By its maker, once. */
void ti_future_submit(ti_future *future);
/* NEW becomes DONE with that status, without running: wrong arguments, or a result that was at
 * hand; has no place in its lane. err holds the text, or is NULL. By its maker, instead of submit.
 */
void ti_future_finish(ti_future *future, ti_status status, const ti_err *err);

/* ---- using ---- */

/* Hands it to the executor, if nobody has begun it. What the executor refuses (BUSY, CLOSED) is the
 * future's result. FORKED. */
ti_status ti_future_start(ti_future *future, ti_err *err);
/* Waits and answers the operation's status and error.
 *  - TI_NO_DEADLINE: runs it here and now when it has not begun, and the earlier ones of its lane;
 *  - timeout_us > 0: starts it and waits; TIMEOUT when it is not ready in time, and it goes on;
 *  - timeout_us <= 0: only looks.
 * ti_future_ready tells both meanings of TIMEOUT apart. INVALID_STATE: called from an operation of
 * the same lane. FORKED. */
ti_status ti_future_wait(ti_future *future, int64_t timeout_us, ti_err *err);
/* True when it is DONE. */
bool ti_future_ready(const ti_future *future);
/* Status and error of a DONE future; INVALID_STATE of another one. */
ti_status ti_future_result(const ti_future *future, ti_err *err);
/* Starts it and puts tag into cq when it is ready, at once when it is. INVALID_STATE: it has a
 * watch or a callback; CLOSED: the queue is; FORKED. */
ti_status ti_future_watch(ti_future *future, ti_cq *cq, uint64_t tag, ti_err *err);
/* Starts it and calls back when it is ready: from the completing thread, or from this one before
 * this function returns. The callback must not block nor close the executor; it may release the
 * handle. INVALID_STATE: it has a watch or a callback; FORKED. */
typedef void (*ti_future_callback)(void *context, ti_future *future);
ti_status ti_future_then(ti_future *future, ti_future_callback callback, void *context,
                         ti_err *err);
/* Asks it to end with CANCELLED: at once when it does not run, else as soon as the operation looks.
 * Nothing when it is DONE. */
void ti_future_cancel(ti_future *future);
/* The same for a future that is known to run: only the operation is asked. Takes no mutex. */
void ti_future_interrupt(ti_future *future);
/* Ends the handle, at any time: a future that was not started never runs; one that was goes on and
 * is freed when it is ready. Its watch and callback are dropped (a callback that has begun goes
 * on). NULL is allowed. */
void ti_future_release(ti_future *future);

/* A number that no other future of this process has: a late answer carries it, and is dropped when
 * it does not fit. */
uint64_t ti_future_generation(const ti_future *future);

#endif

/* The insides of futures and lanes, shared by future.c (what others call), future_run.c (states,
 * running, completion) and lane.c (order).
 *
 *   lane:   first <-> SUBMITTED or QUEUED futures, oldest first <-> last
 *           the RUNNING one is not in the list: lane->runner is its thread
 *
 * INVARIANTS
 *  1. All fields below "guarded" are guarded by the future's monitor; those of a lane by the
 *     lane's, which is that of all its futures.
 *  2. "started" holds one reference: from the step to QUEUED, or from SUBMITTED to RUNNING, until
 *     DONE.
 *  3. A future is in its lane's list exactly while it is SUBMITTED or QUEUED.
 *  4. A lane's job is queued, or a thread is about to run it, exactly while posted is set; it then
 *     holds a reference to the lane.
 *  5. seq rises along the lane's list; everything up to target was started.
 *
 * Functions named _locked are called with the monitor held, and return with it held. What they find
 * to be told to others they put into a ti_delivery, for after the unlock. */
#ifndef TI_RT_FUTURE_INT_H
#define TI_RT_FUTURE_INT_H

#include <stdatomic.h>

#include "rt/executor_int.h"
#include "rt/future.h"

/* X(NAME): the states, in the order of life */
#define TI_FUTURE_STATE_MAP(X) X(NEW) X(SUBMITTED) X(QUEUED) X(RUNNING) X(DONE)
typedef enum ti_future_state {
#define TI_FUTURE_STATE_ENUM(NAME) TI_FUTURE_##NAME,
    TI_FUTURE_STATE_MAP(TI_FUTURE_STATE_ENUM)
#undef TI_FUTURE_STATE_ENUM
} ti_future_state;

struct ti_lane {
    _Atomic(uint32_t) refs;
    ti_executor *executor; /* a reference */
    ti_monitor *monitor;
    /* guarded */
    ti_job job; /* runs started futures from the front */
    ti_future *first;
    ti_future *last;
    uint64_t newest;   /* seq of the last submitted */
    uint64_t target;   /* seq up to which everything was started */
    uint64_t runner;   /* ti_thread_self of the thread that runs one of it; 0: none */
    ti_status skipped; /* see ti_lane_skipped */
    bool posted;
};

struct ti_future {
    _Atomic(int) state; /* written with the monitor held; ti_future_ready reads it without */
    _Atomic(uint32_t) refs;
    _Atomic(int) cancelled; /* what the operation's ti_call looks at */
    ti_status status;       /* of a DONE one */
    const ti_op_type *type;
    ti_executor *executor; /* a reference; a lane's future has the lane's */
    ti_lane *lane;         /* a reference, or NULL */
    ti_monitor *monitor;
    uint64_t generation;
    int64_t timeout_us;
    void *owner;
    void (*released)(void *owner);
    /* guarded */
    int64_t deadline_ns; /* set when it is started or run */
    bool has_deadline;
    bool was_queued; /* time has passed since the deadline was fixed */
    bool told;       /* has a watch or a callback */
    bool dropped;    /* the handle was released */
    uint64_t seq;    /* place in the lane, from 1 */
    ti_future *prev;
    ti_future *next;
    ti_job job;    /* of one without a lane */
    ti_err *error; /* of a DONE one that failed; owned; NULL: there was no memory for it */
    ti_cq *cq;     /* a reference, or NULL */
    ti_cq_node node;
    ti_future_callback callback;
    void *context;
    _Alignas(16) char op[];
};

/* What is left to do for a future that became DONE, after the unlock. */
typedef struct ti_delivery {
    ti_future_callback callback;
    void *context;
    bool unref; /* the reference of "started" */
} ti_delivery;

/* ---- future_run.c ---- */

/* The state. @thread any */
ti_future_state ti_future_state_of(const ti_future *future);
/* The step to another state; aborts when it is not in the table. Monitor held, or still alone. */
void ti_future_set_state(ti_future *future, ti_future_state to);
/* Aborts unless the invariants of a future hold. Monitor held. Debug and test builds. */
void ti_future_check(const ti_future *future);
/* Fixes the deadline, once. */
void ti_future_set_deadline_locked(ti_future *future);
/* Makes it DONE: result set (error, owned from now on, may be NULL), waiters woken, completion put
 * into its queue. For one that has not run it notes the skipped write. */
ti_delivery ti_future_complete_locked(ti_future *future, ti_status status, ti_err *error);
/* Calls back and gives references back. No mutex held. */
void ti_future_deliver(ti_future *future, ti_delivery delivery);
/* Runs a RUNNING future, completes and delivers it, gives back the reference of "started". No mutex
 * held. */
void ti_future_run(ti_future *future);
/* What the caller has to run, so that future comes nearer to DONE: future itself or an earlier one
 * of its lane, RUNNING from now on; NULL when another thread is at it. */
ti_future *ti_future_take_locked(ti_future *future);
/* A copy of err on the heap; NULL: no memory, or err says nothing about status. */
ti_err *ti_future_copy_error(ti_status status, const ti_err *err);
/* A write has become DONE, or is about to, without having run: its lane remembers the status. */
void ti_future_note_skipped_locked(ti_future *future, ti_status status);
/* Hands a SUBMITTED future to the executor. True when it was refused: it is DONE then, and
 * *delivery_out is to be delivered. */
bool ti_future_start_locked(ti_future *future, ti_delivery *delivery_out);
/* Takes one more reference. */
void ti_future_ref(ti_future *future);
/* Gives a reference back; the last one frees. No mutex held. */
void ti_future_unref(ti_future *future);

/* ---- lane.c ---- */

/* Appends a future; takes it out. */
void ti_lane_append_locked(ti_lane *lane, ti_future *future);
void ti_lane_unlink_locked(ti_lane *lane, ti_future *future);
/* Takes the first future, RUNNING from now on by this thread; NULL when one runs or none is left.
 */
ti_future *ti_lane_take_locked(ti_lane *lane);
/* What this thread ran of it has returned. */
void ti_lane_ran_locked(ti_lane *lane);
/* Sees to it that a thread comes when a started future waits and nothing runs. */
ti_status ti_lane_post_locked(ti_lane *lane, ti_err *err);
/* Ends all QUEUED futures with what ti_lane_post_locked answered. No mutex held. */
void ti_lane_refuse(ti_lane *lane, ti_status status, const ti_err *err);

#endif

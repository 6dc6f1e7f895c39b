/* Background work: a bounded queue and a few threads, for clean-up that nobody waits for
 * (secondaries, rollbacks, resolved locks).
 *
 * INVARIANTS
 *  1. Threads start with the first task. A full queue refuses: whoever offered does it himself or
 *     leaves it to the lock's time to live.
 *  2. close lets queued tasks run within the given time, then drops the rest (each through its
 *     `drop`), and joins the threads. */
#ifndef TI_TIKV_BACKGROUND_H
#define TI_TIKV_BACKGROUND_H

#include "base/env.h"
#include "base/thread.h"

#define TI_BACKGROUND_QUEUE_MAX 10000
#define TI_BACKGROUND_THREADS 2

typedef struct ti_task ti_task;
struct ti_task {
    ti_task *next;
    void (*run)(ti_task *task, const ti_call *call); /* frees it */
    void (*drop)(ti_task *task);                     /* frees it without running */
};

typedef struct ti_background ti_background;

ti_status ti_background_create(const ti_env *env, ti_background **b_out, ti_err *err);
/* false when it is full or closing: the task is still the caller's. */
bool ti_background_offer(ti_background *b, ti_task *task);
void ti_background_close(ti_background *b, int64_t within_us);

#endif

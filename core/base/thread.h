/* Threads, mutexes with ranks, conditions. The only door to pthreads.
 *
 * INVARIANTS
 *  1. A thread locks mutexes in rising rank only (asserted in debug and test builds). Two of equal
 * rank are never held together.
 *  2. No mutex is held across a blocking call into an engine, a callback of the host, or a sleep.
 *  3. Condition waits use the monotonic clock.
 *
 * Ranks are listed here, in one place, lowest (outermost) first. */
#ifndef TI_BASE_THREAD_H
#define TI_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"

typedef enum ti_rank {
    TI_RANK_REGISTRY = 10, /* the engine registry */
    TI_RANK_DB = 20,
    TI_RANK_CATALOG = 30,
    TI_RANK_WORKER = 40,
    TI_RANK_QUEUE = 50,
    TI_RANK_TXN = 60,
    TI_RANK_FUTURE = 70,
    TI_RANK_EXECUTOR = 80,
    TI_RANK_CQ = 90,
    TI_RANK_LOCKS = 100,  /* an engine's pessimistic lock table */
    TI_RANK_ENGINE = 110, /* an engine's commit mutex */
    TI_RANK_CLOCK = 120,
    TI_RANK_WIRE = 130,
    TI_RANK_LEAF = 200, /* logs, statistics: nothing is locked inside */
} ti_rank;

typedef struct ti_mutex {
    pthread_mutex_t handle;
    ti_rank rank;
} ti_mutex;

typedef struct ti_cond {
    pthread_cond_t handle;
} ti_cond;

typedef struct ti_thread {
    pthread_t handle;
} ti_thread;

ti_status ti_mutex_init(ti_mutex *m, ti_rank rank, ti_err *err);
void ti_mutex_destroy(ti_mutex *m);
void ti_mutex_lock(ti_mutex *m);
bool ti_mutex_try_lock(ti_mutex *m);
void ti_mutex_unlock(ti_mutex *m);
void ti_mutex_assert_held(const ti_mutex *m); /* debug and test builds */

ti_status ti_cond_init(ti_cond *c, ti_err *err);
void ti_cond_destroy(ti_cond *c);
void ti_cond_signal(ti_cond *c);
void ti_cond_broadcast(ti_cond *c);
void ti_cond_wait(ti_cond *c, ti_mutex *m);
/* Waits until signalled or the monotonic time deadline_ns (TI_NO_DEADLINE: for ever). false when
 * the time has come. May wake early. */
bool ti_cond_wait_until(ti_cond *c, ti_mutex *m, const ti_env *env, int64_t deadline_ns);

/* Starts run(arg) on a new thread with all signals blocked and the given name (at most 15 bytes are
 * shown). UNAVAILABLE when the system refuses. */
ti_status ti_thread_start(ti_thread *t, const char *name, void *(*run)(void *arg), void *arg,
                          ti_err *err);
void ti_thread_join(ti_thread *t);
uint64_t ti_thread_self(void); /* an id of the calling thread, never 0 */

#endif

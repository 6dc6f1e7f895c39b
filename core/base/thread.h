/* Threads, mutexes with ranks, conditions. The only door to pthreads.
 *
 * INVARIANTS
 *  1. A thread locks mutexes in rising rank only (asserted in debug and test builds). Two of equal
 *     rank are never held together.
 *  2. No mutex is held across a blocking call into an engine, a callback of the host, or a sleep.
 *  3. Condition waits use the monotonic clock.
 *
 * Ranks are listed here, in one place, lowest (outermost) first. */
#ifndef TI_BASE_THREAD_H
#define TI_BASE_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
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
    TI_RANK_CONN = 125, /* a connection to a store, the timestamp stream */
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

/* An unlocked mutex of that rank. UNAVAILABLE or OUT_OF_MEMORY when the system refuses. Destroyed
 * with ti_mutex_destroy. @thread any */
/* A mutex of static storage, ready to use and never destroyed: for the one permitted global. */
#define TI_MUTEX_STATIC(its_rank)                                                                  \
    {                                                                                              \
        .handle = PTHREAD_MUTEX_INITIALIZER, .rank = (its_rank)                                    \
    }

ti_status ti_mutex_init(ti_mutex *m, ti_rank rank, ti_err *err);
/* Ends an unlocked mutex that nobody waits for. */
void ti_mutex_destroy(ti_mutex *m);
/* Waits until the mutex is the caller's. The rank must be above every rank that the thread holds.
 */
void ti_mutex_lock(ti_mutex *m);
/* As ti_mutex_lock, but false instead of waiting. The rank rule holds too. */
bool ti_mutex_try_lock(ti_mutex *m);
/* Gives the mutex back; the order of unlocking is free. */
void ti_mutex_unlock(ti_mutex *m);
/* Aborts unless the calling thread holds m; debug and test builds, otherwise nothing. */
void ti_mutex_assert_held(const ti_mutex *m);
/* Aborts when the calling thread holds any mutex: called before a callback of the host or a
 * blocking call. Debug and test builds, otherwise nothing. */
void ti_mutex_assert_none_held(void);

/* A condition on the monotonic clock. UNAVAILABLE or OUT_OF_MEMORY when the system refuses.
 * Destroyed with ti_cond_destroy. */
ti_status ti_cond_init(ti_cond *c, ti_err *err);
/* Ends a condition that nobody waits for. */
void ti_cond_destroy(ti_cond *c);
void ti_cond_signal(ti_cond *c);
void ti_cond_broadcast(ti_cond *c);
/* Gives m back, waits until signalled, takes m again; may wake early. m is the only mutex that the
 * caller holds. */
void ti_cond_wait(ti_cond *c, ti_mutex *m);
/* Waits until signalled or the monotonic time deadline_ns (TI_NO_DEADLINE: for ever). false when
 * the time has come. May wake early. With another env than the real one, env's clock is looked at
 * again at least every millisecond. */
bool ti_cond_wait_until(ti_cond *c, ti_mutex *m, const ti_env *env, int64_t deadline_ns);

/* A word: a number that threads sleep on until it changes, lighter than a mutex with a condition.
 * Linux futexes. */
typedef _Atomic(uint32_t) ti_word;

/* Sleeps while the word is `seen`, until it is woken or the monotonic time deadline_ns (clocks as
 * in ti_cond_wait_until). May wake early: look at the word again. */
void ti_word_wait(ti_word *word, uint32_t seen, const ti_env *env, int64_t deadline_ns);
/* Wakes everybody who sleeps on the word. Reads nothing of it: the word may be gone already (who
 * sleeps on other memory at its address may wake early). */
void ti_word_wake(ti_word *word);

/* Starts run(arg) on a new thread with all signals blocked and the given name (at most 15 bytes are
 * shown). UNAVAILABLE when the system refuses. Ended by exactly one ti_thread_join or
 * ti_thread_detach. */
ti_status ti_thread_start(ti_thread *t, const char *name, void *(*run)(void *arg), void *arg,
                          ti_err *err);
/* Waits until the thread's function has returned. Not called by the thread itself. */
void ti_thread_join(ti_thread *t);
/* Lets the thread end unattended: for one that would have to join itself. */
void ti_thread_detach(ti_thread *t);
/* Lets other threads of this processor run first. */
void ti_thread_yield(void);
/* One turn of a loop that waits for another processor. */
static inline void ti_thread_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}
/* An id of the calling thread, never 0 and never that of an earlier thread. */
uint64_t ti_thread_self(void);

#endif

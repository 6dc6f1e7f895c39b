/* pthreads behind thread.h, with the ranks of held mutexes checked in debug and test builds.
 *
 *   held (per thread):  [ rank 20 ][ rank 60 ][ rank 110 ]   the next one must be above 110
 *
 * INVARIANTS
 *  1. held lists exactly the mutexes that its thread has locked, in the order of locking.
 *  2. Since each lock is above all held ones, the list's last entry has the highest rank, whatever
 *     the order of unlocking was.
 *  3. A pthread call that fails where it can not (a bug) ends the process.
 *
 * Thread rule: held is the thread's own; nothing else here is shared. */
#include "base/thread.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"

#define NS_PER_S 1000000000
/* How often a wait on a foreign clock looks at it. */
#define FOREIGN_CLOCK_SLICE_NS 1000000
/* Longest single wait: keeps the arithmetic of timespec far from its ends. */
#define WAIT_MAX_NS (INT64_C(3600) * NS_PER_S)

#ifndef NDEBUG

#define HELD_MAX 16

static _Thread_local struct {
    const ti_mutex *mutex[HELD_MAX];
    int count;
} held;

static void held_check_order(const ti_mutex *m)
{
    if (held.count > 0 && held.mutex[held.count - 1]->rank >= m->rank) {
        fprintf(stderr, "tito: a mutex of rank %d is locked while one of rank %d is held\n",
                (int)m->rank, (int)held.mutex[held.count - 1]->rank);
        ti_assert_failed("mutexes are locked in rising rank", __FILE__, __LINE__);
    }
    ti_require(held.count < HELD_MAX);
}

static void held_push(const ti_mutex *m)
{
    held.mutex[held.count++] = m;
}

static void held_pop(const ti_mutex *m)
{
    int at = held.count - 1;
    while (at >= 0 && held.mutex[at] != m)
        at--;
    ti_require(at >= 0); /* unlocked by a thread that does not hold it */
    held.count--;
    memmove(&held.mutex[at], &held.mutex[at + 1],
            (size_t)(held.count - at) * sizeof(held.mutex[0]));
}

static bool held_has(const ti_mutex *m)
{
    for (int i = 0; i < held.count; i++)
        if (held.mutex[i] == m)
            return true;
    return false;
}

/* A wait gives back one mutex; any other one would be held across it. */
static void held_check_only(const ti_mutex *m)
{
    ti_require(held_has(m));
    ti_require(held.count == 1);
}

void ti_mutex_assert_held(const ti_mutex *m)
{
    ti_require(held_has(m));
}

void ti_mutex_assert_none_held(void)
{
    ti_require(held.count == 0);
}

#else

#define held_check_order(m) ((void)(m))
#define held_push(m) ((void)(m))
#define held_pop(m) ((void)(m))
#define held_check_only(m) ((void)(m))

void ti_mutex_assert_held(const ti_mutex *m)
{
    (void)m;
}

void ti_mutex_assert_none_held(void)
{
}

#endif

/* The status of a pthread call that may be refused. */
static ti_status refused(int rc, const char *what, ti_err *err)
{
    if (rc == 0)
        return TI_OK;
    if (rc == ENOMEM)
        return ti_err_no_memory(err);
    return ti_err_set(err, TI_UNAVAILABLE, "the system refused a new %s (error %d)", what, rc);
}

ti_status ti_mutex_init(ti_mutex *m, ti_rank rank, ti_err *err)
{
    pthread_mutexattr_t attributes;
    ti_assert(m != NULL);
    ti_assert(rank > 0);
    m->rank = rank;
    TI_TRY(refused(pthread_mutexattr_init(&attributes), "mutex", err));
#ifndef NDEBUG
    ti_require(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK) == 0);
#else /* they are held for moments: who waits looks a little before it sleeps */
    ti_require(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP) == 0);
#endif
    int rc = pthread_mutex_init(&m->handle, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return refused(rc, "mutex", err);
}

void ti_mutex_destroy(ti_mutex *m)
{
    int rc = pthread_mutex_destroy(&m->handle);
    ti_assert(rc == 0);
}

void ti_mutex_lock(ti_mutex *m)
{
    held_check_order(m);
    ti_require(pthread_mutex_lock(&m->handle) == 0);
    held_push(m);
}

bool ti_mutex_try_lock(ti_mutex *m)
{
    held_check_order(m);
    int rc = pthread_mutex_trylock(&m->handle);
    ti_require(rc == 0 || rc == EBUSY);
    if (rc != 0)
        return false;
    held_push(m);
    return true;
}

void ti_mutex_unlock(ti_mutex *m)
{
    held_pop(m);
    ti_require(pthread_mutex_unlock(&m->handle) == 0);
}

ti_status ti_cond_init(ti_cond *c, ti_err *err)
{
    pthread_condattr_t attributes;
    ti_assert(c != NULL);
    TI_TRY(refused(pthread_condattr_init(&attributes), "condition", err));
    ti_require(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    int rc = pthread_cond_init(&c->handle, &attributes);
    pthread_condattr_destroy(&attributes);
    return refused(rc, "condition", err);
}

void ti_cond_destroy(ti_cond *c)
{
    int rc = pthread_cond_destroy(&c->handle);
    ti_assert(rc == 0);
}

void ti_cond_signal(ti_cond *c)
{
    ti_require(pthread_cond_signal(&c->handle) == 0);
}

void ti_cond_broadcast(ti_cond *c)
{
    ti_require(pthread_cond_broadcast(&c->handle) == 0);
}

void ti_cond_wait(ti_cond *c, ti_mutex *m)
{
    held_check_only(m);
    ti_require(pthread_cond_wait(&c->handle, &m->handle) == 0);
}

/* Waits at most left_ns of real time. */
static void wait_real(ti_cond *c, ti_mutex *m, int64_t left_ns)
{
    int64_t until = ti_env_mono_ns(ti_env_real()) + left_ns;
    struct timespec at = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
    int rc = pthread_cond_timedwait(&c->handle, &m->handle, &at);
    ti_require(rc == 0 || rc == ETIMEDOUT);
}

/* How long a wait may sleep before it looks at env's clock again. */
static int64_t most_ns(const ti_env *env)
{
    return env == ti_env_real() ? WAIT_MAX_NS : FOREIGN_CLOCK_SLICE_NS;
}

bool ti_cond_wait_until(ti_cond *c, ti_mutex *m, const ti_env *env, int64_t deadline_ns)
{
    ti_assert(env != NULL);
    held_check_only(m);
    if (deadline_ns == TI_NO_DEADLINE) {
        ti_cond_wait(c, m);
        return true;
    }
    int64_t now = ti_env_mono_ns(env);
    if (now >= deadline_ns)
        return false;
    int64_t left = deadline_ns - now;
    wait_real(c, m, left < most_ns(env) ? left : most_ns(env));
    return ti_env_mono_ns(env) < deadline_ns;
}

void ti_word_wait(ti_word *word, uint32_t seen, const ti_env *env, int64_t deadline_ns)
{
    ti_mutex_assert_none_held();
    int64_t left = WAIT_MAX_NS;
    if (deadline_ns != TI_NO_DEADLINE)
        left = deadline_ns - ti_env_mono_ns(env);
    if (left <= 0)
        return;
    left = left < most_ns(env) ? left : most_ns(env);
    struct timespec for_time = {.tv_sec = left / NS_PER_S, .tv_nsec = left % NS_PER_S};
    long rc = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, &for_time, NULL, 0);
    ti_require(rc == 0 || errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT);
}

void ti_word_wake(ti_word *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

ti_status ti_thread_start(ti_thread *t, const char *name, void *(*run)(void *arg), void *arg,
                          ti_err *err)
{
    char shown[16];
    sigset_t all;
    sigset_t before;
    ti_assert(t != NULL);
    ti_assert(run != NULL);
    sigfillset(&all);
    ti_require(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int rc = pthread_create(&t->handle, NULL, run, arg);
    ti_require(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    TI_TRY(refused(rc, "thread", err));
    snprintf(shown, sizeof(shown), "%s", name);
    (void)pthread_setname_np(t->handle, shown); /* only for the eyes of a debugger */
    return TI_OK;
}

void ti_thread_join(ti_thread *t)
{
    ti_require(pthread_join(t->handle, NULL) == 0);
}

void ti_thread_yield(void)
{
    (void)sched_yield();
}

void ti_thread_detach(ti_thread *t)
{
    ti_require(pthread_detach(t->handle) == 0);
}

uint64_t ti_thread_self(void)
{
    static _Atomic(uint64_t) newest;
    static _Thread_local uint64_t self;
    if (self == 0)
        self = atomic_fetch_add_explicit(&newest, 1, memory_order_relaxed) + 1;
    ti_assert(self != 0);
    return self;
}

/* Queues and threads of the executor; the picture and the rules are in executor.h.
 *
 *   kind:   first <-> job <-> job <-> last        changed is signalled for each job
 *   thread: waits for changed, takes the first job, runs it without a mutex, again
 *
 * Closing: closed is set; threads that wait end, threads that run see it afterwards; the closing
 * thread runs what is still queued itself, so that a job never waits for one that blocks.
 *
 * INVARIANTS
 *  1. queued is the number of jobs in the list, at most queue_max; job->queued says whether it is
 *     in one.
 *  2. There are queued jobs only if the kind has a thread, or while post holds the mutex.
 *  3. idle <= threads <= threads_max.
 *  4. inside is raised before closed is looked at, and closed is set before inside is looked at
 *     (both sequentially consistent): close misses nobody who was let in.
 *
 * Thread rule: everything but closed, inside and refs is guarded by mutex. */
#include "rt/executor.h"

#include <stdatomic.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/thread.h"
#include "rt/executor_int.h"

typedef struct work_thread {
    ti_thread thread;
    ti_executor *executor;
    uint64_t id; /* ti_thread_self of it; 0 before it runs */
    ti_work work;
    bool unattended; /* it closed its own executor: holds a reference, nobody joins it */
} work_thread;

typedef struct work_kind {
    ti_job *first;
    ti_job *last;
    size_t queued;
    size_t idle;
    size_t threads;
    size_t threads_max;
    work_thread *slots; /* threads_max of them; owned */
    ti_cond changed;
    bool has_changed; /* the condition was made */
} work_kind;

struct ti_executor {
    _Atomic(uint32_t) refs;
    _Atomic(size_t) inside;
    _Atomic(bool) closed;
    char apart[64]; /* what is only read stays out of the cache lines that are written */
    ti_process_guard guard;
    const ti_env *env;
    size_t queue_max;
    ti_monitor monitors[TI_MONITORS];
    size_t monitors_made;
    ti_mutex mutex;
    bool has_mutex;
    ti_cond left; /* inside became 0 after closed */
    bool has_left;
    bool joining; /* a thread is closing */
    ti_cond joined;
    bool has_joined;
    bool ended; /* closed, and all threads joined */
    uint64_t posted;
    work_kind kinds[TI_WORKS];
};

static const char *const work_names[TI_WORKS] = {"tito-work", "tito-lock", "tito-commit"};

/* ---- the list of a kind ---- */

static void kind_append(work_kind *k, ti_job *job)
{
    ti_assert(!job->queued);
    job->prev = k->last;
    job->next = NULL;
    if (k->last != NULL)
        k->last->next = job;
    else
        k->first = job;
    k->last = job;
    k->queued++;
    job->queued = true;
}

static void kind_unlink(work_kind *k, ti_job *job)
{
    ti_assert(job->queued);
    ti_assert(k->queued > 0);
    if (job->prev != NULL)
        job->prev->next = job->next;
    else
        k->first = job->next;
    if (job->next != NULL)
        job->next->prev = job->prev;
    else
        k->last = job->prev;
    job->prev = NULL;
    job->next = NULL;
    job->queued = false;
    k->queued--;
}

/* The oldest job, taken out; NULL when there is none. */
static ti_job *kind_take(work_kind *k)
{
    ti_job *job = k->first;
    if (job != NULL)
        kind_unlink(k, job);
    return job;
}

/* ---- making ---- */

/* The number of threads that options ask for. */
static ti_status threads_wanted(const ti_executor_options *options, ti_work work, size_t *max_out,
                                ti_err *err)
{
    static const size_t usual[TI_WORKS] = {TI_EXECUTOR_THREADS_DEFAULT,
                                           TI_EXECUTOR_LOCK_THREADS_DEFAULT,
                                           TI_EXECUTOR_COMMIT_THREADS_DEFAULT};
    size_t max = options == NULL ? 0 : options->threads_max[work];
    if (max > TI_EXECUTOR_THREADS_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "%zu threads of one kind: at most %d", max,
                          TI_EXECUTOR_THREADS_MAX);
    *max_out = max == 0 ? usual[work] : max;
    return TI_OK;
}

static ti_status kind_init(work_kind *k, size_t threads_max, ti_err *err)
{
    k->threads_max = threads_max;
    k->slots = ti_alloc_zero(threads_max * sizeof(k->slots[0]));
    if (k->slots == NULL)
        return ti_err_no_memory(err);
    TI_TRY(ti_cond_init(&k->changed, err));
    k->has_changed = true;
    return TI_OK;
}

static ti_status monitors_init(ti_executor *executor, ti_err *err)
{
    for (size_t i = 0; i < TI_MONITORS; i++) {
        ti_monitor *m = &executor->monitors[i];
        TI_TRY(ti_mutex_init(&m->mutex, TI_RANK_FUTURE, err));
        ti_status status = ti_cond_init(&m->changed, err);
        if (status != TI_OK) {
            ti_mutex_destroy(&m->mutex);
            return status;
        }
        executor->monitors_made++;
    }
    return TI_OK;
}

static ti_status executor_init(ti_executor *executor, const ti_executor_options *options,
                               ti_err *err)
{
    TI_TRY(ti_mutex_init(&executor->mutex, TI_RANK_EXECUTOR, err));
    executor->has_mutex = true;
    TI_TRY(ti_cond_init(&executor->left, err));
    executor->has_left = true;
    TI_TRY(ti_cond_init(&executor->joined, err));
    executor->has_joined = true;
    TI_TRY(monitors_init(executor, err));
    for (int w = 0; w < TI_WORKS; w++) {
        size_t threads_max = 0;
        TI_TRY(threads_wanted(options, (ti_work)w, &threads_max, err));
        TI_TRY(kind_init(&executor->kinds[w], threads_max, err));
    }
    return TI_OK;
}

/* Frees everything; mutexes and conditions are left as they are in a forked child, where a thread
 * that is not there may hold them. */
static void executor_free(ti_executor *executor)
{
    bool forked = ti_executor_forked(executor);
    for (int w = 0; w < TI_WORKS; w++) {
        if (executor->kinds[w].has_changed && !forked)
            ti_cond_destroy(&executor->kinds[w].changed);
        ti_free(executor->kinds[w].slots);
    }
    for (size_t i = 0; i < executor->monitors_made && !forked; i++) {
        ti_cond_destroy(&executor->monitors[i].changed);
        ti_mutex_destroy(&executor->monitors[i].mutex);
    }
    if (executor->has_joined && !forked)
        ti_cond_destroy(&executor->joined);
    if (executor->has_left && !forked)
        ti_cond_destroy(&executor->left);
    if (executor->has_mutex && !forked)
        ti_mutex_destroy(&executor->mutex);
    ti_process_guard_destroy(&executor->guard);
    ti_free(executor);
}

ti_status ti_executor_create(const ti_executor_options *options, ti_executor **executor_out,
                             ti_err *err)
{
    ti_assert(executor_out != NULL);
    *executor_out = NULL;
    ti_executor *executor = ti_alloc_zero(sizeof(*executor));
    if (executor == NULL)
        return ti_err_no_memory(err);
    atomic_init(&executor->refs, 1);
    executor->env = options != NULL && options->env != NULL ? options->env : ti_env_real();
    executor->queue_max =
        options != NULL && options->queue_max != 0 ? options->queue_max : TI_EXECUTOR_QUEUE_MAX;
    ti_process_guard_init(&executor->guard);
    ti_status status = executor_init(executor, options, err);
    if (status != TI_OK) {
        executor_free(executor);
        return status;
    }
    *executor_out = executor;
    return TI_OK;
}

ti_executor *ti_executor_ref(ti_executor *executor)
{
    uint32_t before = atomic_fetch_add_explicit(&executor->refs, 1, memory_order_relaxed);
    ti_assert(before > 0);
    ti_require(before < UINT32_MAX / 2);
    return executor;
}

void ti_executor_unref(ti_executor *executor)
{
    if (executor == NULL)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&executor->refs, 1, memory_order_acq_rel);
    ti_assert(before > 0);
    if (before > 1)
        return;
    ti_assert(executor->ended || ti_executor_forked(executor));
    executor_free(executor);
}

bool ti_executor_forked(const ti_executor *executor)
{
    return ti_process_guard_forked(&executor->guard);
}

const ti_env *ti_executor_env(const ti_executor *executor)
{
    return executor->env;
}

ti_monitor *ti_executor_monitor(ti_executor *executor, const void *object)
{
    /* neighbours in memory differ above the allocator's alignment */
    uintptr_t spread = (uintptr_t)object >> 6;
    return &executor->monitors[(spread ^ spread >> 6) % TI_MONITORS];
}

/* ---- threads ---- */

/* Waits for a job; NULL when the executor closes. Mutex held. */
static ti_job *wait_for_job(ti_executor *executor, work_kind *k)
{
    ti_mutex_assert_held(&executor->mutex);
    for (;;) {
        ti_job *job = kind_take(k);
        if (job != NULL || atomic_load(&executor->closed))
            return job;
        k->idle++;
        ti_assert(k->idle <= k->threads);
        ti_cond_wait(&k->changed, &executor->mutex);
        k->idle--;
    }
}

/* A thread of the executor. */
static void *work(void *arg)
{
    work_thread *self = arg;
    ti_executor *executor = self->executor;
    work_kind *k = &executor->kinds[self->work];
    ti_mutex_lock(&executor->mutex);
    self->id = ti_thread_self();
    for (;;) {
        ti_job *job = wait_for_job(executor, k);
        if (job == NULL)
            break;
        ti_mutex_unlock(&executor->mutex);
        ti_mutex_assert_none_held();
        job->run(job);
        ti_mutex_lock(&executor->mutex);
    }
    bool unattended = self->unattended;
    ti_mutex_unlock(&executor->mutex);
    if (unattended)
        ti_executor_unref(executor);
    return NULL;
}

/* Starts one more thread of a kind when the idle ones do not suffice. Only the failure to have any
 * counts. The mutex is held: a thread is started at most threads_max times, and who waits meanwhile
 * would wait for it anyway. */
static ti_status kind_grow(ti_executor *executor, ti_work w, ti_err *err)
{
    work_kind *k = &executor->kinds[w];
    ti_mutex_assert_held(&executor->mutex);
    if (k->queued <= k->idle || k->threads == k->threads_max)
        return TI_OK;
    work_thread *slot = &k->slots[k->threads];
    *slot = (work_thread){.executor = executor, .work = w};
    ti_status status = ti_thread_start(&slot->thread, work_names[w], work, slot, err);
    if (status == TI_OK)
        k->threads++;
    return k->threads > 0 ? TI_OK : status;
}

ti_status ti_executor_post(ti_executor *executor, ti_work w, ti_job *job, ti_err *err)
{
    ti_status status = TI_OK;
    work_kind *k = &executor->kinds[w];
    ti_assert(job->run != NULL);
    if (ti_executor_forked(executor))
        return ti_process_forked("the executor", err);
    ti_mutex_lock(&executor->mutex);
    if (atomic_load(&executor->closed)) {
        status = ti_err_set(err, TI_CLOSED, "it was closed");
    } else if (k->queued >= executor->queue_max) {
        status = ti_err_set(err, TI_BUSY, "%zu operations wait for a thread already: try again",
                            k->queued);
    } else {
        job->work = w;
        kind_append(k, job);
        status = kind_grow(executor, w, err);
        if (status != TI_OK) {
            kind_unlink(k, job);
        } else {
            executor->posted++;
            ti_cond_signal(&k->changed);
        }
    }
    ti_mutex_unlock(&executor->mutex);
    return status;
}

bool ti_executor_remove(ti_executor *executor, ti_job *job)
{
    if (ti_executor_forked(executor))
        return false;
    ti_mutex_lock(&executor->mutex);
    bool removed = job->queued;
    if (removed)
        kind_unlink(&executor->kinds[job->work], job);
    ti_mutex_unlock(&executor->mutex);
    return removed;
}

/* ---- callers inside ---- */

ti_status ti_executor_enter(ti_executor *executor, ti_err *err)
{
    if (ti_executor_forked(executor))
        return ti_process_forked("the database", err);
    atomic_fetch_add(&executor->inside, 1);
    if (!atomic_load(&executor->closed))
        return TI_OK;
    ti_executor_leave(executor);
    return ti_err_set(err, TI_CLOSED, "the database was closed");
}

void ti_executor_leave(ti_executor *executor)
{
    size_t before = atomic_fetch_sub(&executor->inside, 1);
    ti_assert(before > 0);
    if (before > 1 || !atomic_load(&executor->closed) || ti_executor_forked(executor))
        return;
    ti_mutex_lock(&executor->mutex);
    ti_cond_broadcast(&executor->left);
    ti_mutex_unlock(&executor->mutex);
}

/* ---- closing ---- */

/* Runs what is queued in this thread: each job finds the executor closed. Mutex held, given back
 * meanwhile. */
static void close_run_queued(ti_executor *executor)
{
    for (int w = 0; w < TI_WORKS; w++) {
        work_kind *k = &executor->kinds[w];
        for (;;) {
            ti_job *job = kind_take(k);
            if (job == NULL)
                break;
            ti_mutex_unlock(&executor->mutex);
            job->run(job);
            ti_mutex_lock(&executor->mutex);
        }
        ti_cond_broadcast(&k->changed);
    }
}

/* Ends all threads. The one that calls, if it is one of them, ends by itself. Mutex not held: no
 * thread is started any more, so the slots stay. */
static void close_join(ti_executor *executor)
{
    uint64_t self = ti_thread_self();
    for (int w = 0; w < TI_WORKS; w++) {
        work_kind *k = &executor->kinds[w];
        for (size_t i = 0; i < k->threads; i++) {
            work_thread *slot = &k->slots[i];
            ti_mutex_lock(&executor->mutex);
            bool own = slot->id == self;
            if (own)
                slot->unattended = true;
            ti_mutex_unlock(&executor->mutex);
            if (own) {
                ti_executor_ref(executor);
                ti_thread_detach(&slot->thread);
            } else {
                ti_thread_join(&slot->thread);
            }
        }
    }
}

void ti_executor_close(ti_executor *executor)
{
    ti_assert(executor != NULL);
    atomic_store(&executor->closed, true);
    if (ti_executor_forked(executor))
        return;
    ti_mutex_assert_none_held();
    ti_mutex_lock(&executor->mutex);
    while (executor->joining)
        ti_cond_wait(&executor->joined, &executor->mutex);
    if (executor->ended) {
        ti_mutex_unlock(&executor->mutex);
        return;
    }
    executor->joining = true;
    close_run_queued(executor);
    while (atomic_load(&executor->inside) > 0)
        ti_cond_wait(&executor->left, &executor->mutex);
    ti_mutex_unlock(&executor->mutex);
    close_join(executor);
    ti_mutex_lock(&executor->mutex);
    executor->joining = false;
    executor->ended = true;
    ti_cond_broadcast(&executor->joined);
    ti_mutex_unlock(&executor->mutex);
}

void ti_executor_stats_of(ti_executor *executor, ti_executor_stats *stats_out)
{
    *stats_out = (ti_executor_stats){.posted = 0};
    if (ti_executor_forked(executor))
        return;
    ti_mutex_lock(&executor->mutex);
    for (int w = 0; w < TI_WORKS; w++) {
        stats_out->threads[w] = executor->kinds[w].threads;
        stats_out->idle[w] = executor->kinds[w].idle;
        stats_out->queued[w] = executor->kinds[w].queued;
    }
    stats_out->posted = executor->posted;
    ti_mutex_unlock(&executor->mutex);
    stats_out->inside = atomic_load(&executor->inside);
}

/* The completion queue; the picture and the rules are in cq.h.
 *
 * INVARIANTS
 *  1. node->queued says whether a node is in the list; a closed queue has none.
 *  2. The descriptor is raised and cleared with the mutex held, so that it always tells the truth
 *     about the list. Both calls do not block.
 *  3. The heartbeat thread exists from accept to close; it is joined by the one who closes.
 *
 * Thread rule: mutex (rank CQ) guards everything but refs. */
#include "rt/cq.h"

#include <stdatomic.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/notify.h"
#include "base/process.h"
#include "base/thread.h"

struct ti_cq {
    _Atomic(uint32_t) refs;
    ti_process_guard guard;
    const ti_env *env;
    ti_mutex mutex;
    ti_notify notify;
    ti_cq_node *first;
    ti_cq_node *last;
    bool closed;
    bool beating;         /* the heartbeat thread is to be joined */
    int64_t heartbeat_ns; /* between two heartbeat bytes */
    ti_thread heart;
    ti_cond stop; /* closed was set */
};

static bool cq_forked(const ti_cq *cq)
{
    return ti_process_guard_forked(&cq->guard);
}

static void list_append(ti_cq *cq, ti_cq_node *node)
{
    ti_assert(!node->queued);
    node->prev = cq->last;
    node->next = NULL;
    if (cq->last != NULL)
        cq->last->next = node;
    else
        cq->first = node;
    cq->last = node;
    node->queued = true;
}

static void list_unlink(ti_cq *cq, ti_cq_node *node)
{
    ti_assert(node->queued);
    if (node->prev != NULL)
        node->prev->next = node->next;
    else
        cq->first = node->next;
    if (node->next != NULL)
        node->next->prev = node->prev;
    else
        cq->last = node->prev;
    node->prev = NULL;
    node->next = NULL;
    node->queued = false;
}

ti_status ti_cq_create(const ti_env *env, ti_cq **cq_out, ti_err *err)
{
    ti_status status = TI_OK;
    bool has_mutex = false;
    bool has_stop = false;
    ti_assert(env != NULL);
    *cq_out = NULL;
    ti_cq *cq = ti_alloc_zero(sizeof(*cq));
    if (cq == NULL)
        return ti_err_no_memory(err);
    atomic_init(&cq->refs, 1);
    cq->env = env;
    ti_process_guard_init(&cq->guard);
    TI_CHECK(ti_mutex_init(&cq->mutex, TI_RANK_CQ, err));
    has_mutex = true;
    TI_CHECK(ti_cond_init(&cq->stop, err));
    has_stop = true;
    TI_CHECK(ti_notify_open(&cq->notify, err));
    *cq_out = cq;
    cq = NULL;
out:
    if (cq != NULL) {
        if (has_stop)
            ti_cond_destroy(&cq->stop);
        if (has_mutex)
            ti_mutex_destroy(&cq->mutex);
        ti_process_guard_destroy(&cq->guard);
        ti_free(cq);
    }
    return status;
}

void ti_cq_close(ti_cq *cq)
{
    ti_assert(cq != NULL);
    if (cq_forked(cq))
        return;
    ti_mutex_lock(&cq->mutex);
    cq->closed = true;
    while (cq->first != NULL)
        list_unlink(cq, cq->first);
    ti_notify_close(&cq->notify);
    bool join = cq->beating;
    cq->beating = false;
    ti_cond_broadcast(&cq->stop);
    ti_mutex_unlock(&cq->mutex);
    if (join)
        ti_thread_join(&cq->heart);
}

ti_cq *ti_cq_ref(ti_cq *cq)
{
    uint32_t before = atomic_fetch_add_explicit(&cq->refs, 1, memory_order_relaxed);
    ti_assert(before > 0);
    ti_require(before < UINT32_MAX / 2);
    return cq;
}

void ti_cq_unref(ti_cq *cq)
{
    if (cq == NULL)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&cq->refs, 1, memory_order_acq_rel);
    ti_assert(before > 0);
    if (before > 1)
        return;
    if (cq_forked(cq)) {
        ti_notify_forget(&cq->notify);
    } else {
        ti_assert(cq->closed);
        ti_cond_destroy(&cq->stop);
        ti_mutex_destroy(&cq->mutex);
    }
    ti_process_guard_destroy(&cq->guard);
    ti_free(cq);
}

/* CLOSED or OK. Mutex held. */
static ti_status open_check(const ti_cq *cq, ti_err *err)
{
    ti_mutex_assert_held(&cq->mutex);
    if (cq->closed)
        return ti_err_set(err, TI_CLOSED, "the completion queue was closed");
    return TI_OK;
}

ti_status ti_cq_check(ti_cq *cq, ti_err *err)
{
    if (cq_forked(cq))
        return ti_process_forked("the completion queue", err);
    ti_mutex_lock(&cq->mutex);
    ti_status status = open_check(cq, err);
    ti_mutex_unlock(&cq->mutex);
    return status;
}

int ti_cq_fd(ti_cq *cq)
{
    if (cq_forked(cq))
        return -1;
    ti_mutex_lock(&cq->mutex);
    int fd = cq->closed ? -1 : ti_notify_fd(&cq->notify);
    ti_mutex_unlock(&cq->mutex);
    return fd;
}

size_t ti_cq_drain(ti_cq *cq, ti_completion *completions_out, size_t max)
{
    size_t count = 0;
    ti_assert(completions_out != NULL || max == 0);
    if (cq_forked(cq))
        return 0;
    ti_mutex_lock(&cq->mutex);
    while (count < max && cq->first != NULL) {
        completions_out[count++] = cq->first->completion;
        list_unlink(cq, cq->first);
    }
    if (cq->first == NULL && count > 0)
        ti_notify_clear(&cq->notify);
    ti_mutex_unlock(&cq->mutex);
    return count;
}

void ti_cq_push(ti_cq *cq, ti_cq_node *node)
{
    if (cq_forked(cq))
        return;
    ti_mutex_lock(&cq->mutex);
    if (!cq->closed && !node->queued) {
        bool first = cq->first == NULL;
        list_append(cq, node);
        if (first)
            ti_notify_raise(&cq->notify);
    }
    ti_mutex_unlock(&cq->mutex);
}

void ti_cq_remove(ti_cq *cq, ti_cq_node *node)
{
    if (cq_forked(cq))
        return;
    ti_mutex_lock(&cq->mutex);
    if (node->queued) {
        list_unlink(cq, node);
        if (cq->first == NULL)
            ti_notify_clear(&cq->notify);
    }
    ti_mutex_unlock(&cq->mutex);
}

ti_status ti_cq_listen(ti_cq *cq, const char *path, ti_err *err)
{
    if (cq_forked(cq))
        return ti_process_forked("the completion queue", err);
    ti_mutex_lock(&cq->mutex);
    ti_status status = open_check(cq, err);
    if (status == TI_OK)
        status = ti_notify_listen(&cq->notify, path, err);
    ti_mutex_unlock(&cq->mutex);
    return status;
}

/* The thread that writes a byte each heartbeat_ns until the queue is closed. */
static void *beat(void *arg)
{
    ti_cq *cq = arg;
    ti_mutex_lock(&cq->mutex);
    int64_t next = ti_env_mono_ns(cq->env) + cq->heartbeat_ns;
    while (!cq->closed) {
        if (ti_cond_wait_until(&cq->stop, &cq->mutex, cq->env, next))
            continue;
        if (!cq->closed)
            ti_notify_raise(&cq->notify);
        next = ti_env_mono_ns(cq->env) + cq->heartbeat_ns;
    }
    ti_mutex_unlock(&cq->mutex);
    return NULL;
}

/* Starts the heartbeat of a queue that has just been connected. Mutex held: the thread begins by
 * taking it. */
static ti_status start_beating(ti_cq *cq, int64_t heartbeat_us, ti_err *err)
{
    ti_assert(!cq->beating);
    if (heartbeat_us <= 0)
        return TI_OK;
    cq->heartbeat_ns = heartbeat_us < INT64_MAX / 4000 ? heartbeat_us * 1000 : INT64_MAX / 4;
    TI_TRY(ti_thread_start(&cq->heart, "tito-heartbeat", beat, cq, err));
    cq->beating = true;
    return TI_OK;
}

ti_status ti_cq_accept(ti_cq *cq, int64_t heartbeat_us, ti_err *err)
{
    ti_status status = TI_OK;
    if (cq_forked(cq))
        return ti_process_forked("the completion queue", err);
    ti_mutex_lock(&cq->mutex);
    TI_CHECK(open_check(cq, err));
    TI_CHECK(ti_notify_accept(&cq->notify, err));
    if (cq->first != NULL)
        ti_notify_raise(&cq->notify);
    TI_CHECK(start_beating(cq, heartbeat_us, err));
out:
    ti_mutex_unlock(&cq->mutex);
    return status;
}

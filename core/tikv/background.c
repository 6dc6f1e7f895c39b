/* Background work. See background.h. */
#include "tikv/background.h"

#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

struct ti_background {
    const ti_env *env;
    ti_mutex mutex; /* rank TI_RANK_EXECUTOR: all below */
    ti_cond changed;
    ti_task *head;
    ti_task *tail;
    size_t count;
    size_t running;
    bool closing;
    ti_thread threads[TI_BACKGROUND_THREADS];
    size_t thread_count;
    _Atomic(int) cancelled;
};

static ti_task *take(ti_background *b)
{
    ti_task *task = b->head;
    b->head = task->next;
    if (b->head == NULL)
        b->tail = NULL;
    b->count--;
    return task;
}

static void *work(void *context)
{
    ti_background *b = context;
    ti_mutex_lock(&b->mutex);
    for (;;) {
        while (b->head == NULL && !b->closing)
            ti_cond_wait(&b->changed, &b->mutex);
        if (b->head == NULL)
            break;
        ti_task *task = take(b);
        b->running++;
        ti_mutex_unlock(&b->mutex);
        ti_call call = {.env = b->env, .deadline_ns = TI_NO_DEADLINE, .cancelled = &b->cancelled};
        task->run(task, &call);
        ti_mutex_lock(&b->mutex);
        b->running--;
        ti_cond_broadcast(&b->changed);
    }
    ti_mutex_unlock(&b->mutex);
    return NULL;
}

bool ti_background_offer(ti_background *b, ti_task *task)
{
    ti_mutex_lock(&b->mutex);
    bool takes = !b->closing && b->count < TI_BACKGROUND_QUEUE_MAX;
    if (takes && b->thread_count < TI_BACKGROUND_THREADS &&
        b->running + b->count >= b->thread_count) {
        ti_status started =
            ti_thread_start(&b->threads[b->thread_count], "tito-cleanup", work, b, NULL);
        b->thread_count += started == TI_OK;
        takes = b->thread_count > 0;
    }
    if (takes) {
        task->next = NULL;
        if (b->tail == NULL)
            b->head = task;
        else
            b->tail->next = task;
        b->tail = task;
        b->count++;
        ti_cond_signal(&b->changed);
    }
    ti_mutex_unlock(&b->mutex);
    return takes;
}

ti_status ti_background_create(const ti_env *env, ti_background **b_out, ti_err *err)
{
    *b_out = NULL;
    ti_background *b = ti_alloc_zero(sizeof(*b));
    if (b == NULL)
        return ti_err_no_memory(err);
    b->env = env;
    ti_status status = ti_mutex_init(&b->mutex, TI_RANK_EXECUTOR, err);
    if (status == TI_OK) {
        status = ti_cond_init(&b->changed, err);
        if (status != TI_OK)
            ti_mutex_destroy(&b->mutex);
    }
    if (status != TI_OK) {
        ti_free(b);
        return status;
    }
    *b_out = b;
    return TI_OK;
}

/* Waits until nothing is queued or runs, at most until deadline_ns; then drops what is queued. */
static void run_out(ti_background *b, int64_t deadline_ns)
{
    while ((b->count > 0 || b->running > 0) &&
           ti_cond_wait_until(&b->changed, &b->mutex, b->env, deadline_ns)) {
    }
    atomic_store(&b->cancelled, 1);
    while (b->head != NULL) {
        ti_task *task = take(b);
        task->drop(task);
    }
}

void ti_background_close(ti_background *b, int64_t within_us)
{
    ti_mutex_lock(&b->mutex);
    b->closing = true;
    ti_cond_broadcast(&b->changed);
    run_out(b, ti_env_mono_ns(b->env) + within_us * 1000);
    ti_mutex_unlock(&b->mutex);
    for (size_t i = 0; i < b->thread_count; i++)
        ti_thread_join(&b->threads[i]);
    ti_cond_destroy(&b->changed);
    ti_mutex_destroy(&b->mutex);
    ti_free(b);
}

/* Making, using and releasing futures: what future.h offers. States, running and completion are in
 * future_run.c, the order of lanes in lane.c.
 *
 * INVARIANTS: those of future.h and future_int.h.
 *
 * Thread rule: no function here returns with a mutex held, or calls an operation, a callback or a
 * destroy with one. */
#include "rt/future_int.h"

#include <assert.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/process.h"

static_assert(offsetof(ti_future, op) % 16 == 0, "the operation's memory is aligned");

/* ---- making ---- */

/* Unique in the process: the thread's number and its own count. */
static uint64_t next_generation(void)
{
    static _Thread_local uint64_t count;
    const int count_bits = 40;
    count++;
    return ti_thread_self() << count_bits | (count & ((UINT64_C(1) << count_bits) - 1));
}

ti_future *ti_future_create(ti_executor *executor, const ti_future_spec *spec)
{
    ti_assert(executor != NULL);
    ti_assert(spec->type != NULL && spec->type->run != NULL);
    ti_require(spec->op_size <= TI_FUTURE_SIZE_MAX);
    ti_require(spec->room_size <= TI_FUTURE_SIZE_MAX - spec->op_size);
    ti_future *future = ti_alloc(offsetof(ti_future, op) + spec->op_size + spec->room_size);
    if (future == NULL)
        return NULL;
    memset(future, 0, offsetof(ti_future, op) + spec->op_size);
    bool forked = ti_executor_forked(executor);
    atomic_init(&future->state, forked ? TI_FUTURE_DONE : TI_FUTURE_NEW);
    atomic_init(&future->refs, 1);
    atomic_init(&future->cancelled, 0);
    future->status = forked ? TI_FORKED : TI_OK;
    future->type = spec->type;
    future->executor = executor;
    future->lane = spec->lane;
    if (spec->lane != NULL) {
        ti_assert(spec->lane->executor == executor);
        ti_lane_ref(spec->lane);
        future->monitor = spec->lane->monitor;
    } else {
        ti_executor_ref(executor);
        future->monitor = ti_executor_monitor(executor, future);
    }
    future->generation = next_generation();
    future->timeout_us = spec->timeout_us;
    future->owner = spec->owner;
    future->released = spec->released;
    future->node.completion.future = future;
    return future;
}

void *ti_future_op(ti_future *future)
{
    return future->op;
}

ti_future *ti_future_of_op(void *op)
{
    ti_assert(op != NULL);
    return (ti_future *)((char *)op - offsetof(ti_future, op));
}

uint64_t ti_future_generation(const ti_future *future)
{
    return future->generation;
}

void ti_future_submit(ti_future *future)
{
    if (ti_executor_forked(future->executor))
        return;
    ti_assert(ti_future_state_of(future) == TI_FUTURE_NEW);
    if (future->lane == NULL) {
        ti_future_set_state(future, TI_FUTURE_SUBMITTED);
        return;
    }
    ti_mutex_lock(&future->monitor->mutex);
    ti_lane_append_locked(future->lane, future);
    ti_future_set_state(future, TI_FUTURE_SUBMITTED);
    ti_mutex_unlock(&future->monitor->mutex);
}

void ti_future_finish(ti_future *future, ti_status status, const ti_err *err)
{
    if (ti_executor_forked(future->executor))
        return;
    ti_assert(ti_future_state_of(future) == TI_FUTURE_NEW);
    ti_err *error = ti_future_copy_error(status, err);
    ti_mutex_lock(&future->monitor->mutex);
    if (status != TI_OK)
        ti_future_note_skipped_locked(future, status);
    ti_delivery delivery = ti_future_complete_locked(future, status, error);
    ti_mutex_unlock(&future->monitor->mutex);
    ti_future_deliver(future, delivery);
}

/* ---- waiting ---- */

bool ti_future_ready(const ti_future *future)
{
    return ti_future_state_of(future) == TI_FUTURE_DONE;
}

ti_status ti_future_result(const ti_future *future, ti_err *err)
{
    if (ti_executor_forked(future->executor))
        return ti_process_forked("the future", err);
    if (!ti_future_ready(future))
        return ti_err_set(err, TI_INVALID_STATE, "%s is not ready", future->type->name);
    if (future->status == TI_OK)
        return TI_OK;
    if (future->error == NULL)
        return ti_err_set(err, future->status, "%s ended with %s", future->type->name,
                          ti_status_name(future->status));
    if (err != NULL)
        *err = *future->error;
    return future->status;
}

/* OK when the calling thread may wait for future: it was submitted, and this is not an operation of
 * its own lane, which it would wait for. */
static ti_status may_wait_locked(const ti_future *future, ti_err *err)
{
    ti_future_check(future);
    if (ti_future_state_of(future) == TI_FUTURE_NEW)
        return ti_err_set(err, TI_INVALID_STATE, "%s was not submitted", future->type->name);
    if (future->lane != NULL && future->lane->runner == ti_thread_self())
        return ti_err_set(err, TI_INVALID_STATE,
                          "%s would wait for the operation that waits for it", future->type->name);
    return TI_OK;
}

/* Waits until something has changed, or the time has come: false. */
static bool wait_locked(ti_future *future, int64_t deadline_ns)
{
    ti_monitor *m = future->monitor;
    m->waiters++;
    bool more =
        ti_cond_wait_until(&m->changed, &m->mutex, ti_executor_env(future->executor), deadline_ns);
    ti_assert(m->waiters > 0);
    m->waiters--;
    return more;
}

/* Runs future and what must run before it in this thread, or waits for the threads that do. */
static ti_status wait_here(ti_future *future, ti_err *err)
{
    ti_mutex *mutex = &future->monitor->mutex;
    ti_mutex_lock(mutex);
    ti_status status = may_wait_locked(future, err);
    while (status == TI_OK && !ti_future_ready(future)) {
        ti_future *mine = ti_future_take_locked(future);
        if (mine == NULL) {
            wait_locked(future, TI_NO_DEADLINE);
            continue;
        }
        ti_mutex_unlock(mutex);
        ti_future_run(mine);
        if (mine == future)
            return TI_OK;
        ti_mutex_lock(mutex);
    }
    ti_mutex_unlock(mutex);
    return status;
}

/* Lets the executor run future and waits for at most timeout_us. */
static ti_status wait_until(ti_future *future, int64_t timeout_us, ti_err *err)
{
    ti_delivery delivery = {.unref = false};
    int64_t deadline_ns = ti_call_within(ti_executor_env(future->executor), timeout_us).deadline_ns;
    ti_mutex_lock(&future->monitor->mutex);
    ti_status status = may_wait_locked(future, err);
    if (status == TI_OK)
        ti_future_start_locked(future, &delivery);
    while (status == TI_OK && !ti_future_ready(future))
        if (!wait_locked(future, deadline_ns) && !ti_future_ready(future))
            status = ti_err_set(err, TI_TIMEOUT, "%s is not ready yet", future->type->name);
    ti_mutex_unlock(&future->monitor->mutex);
    ti_future_deliver(future, delivery);
    return status;
}

ti_status ti_future_wait(ti_future *future, int64_t timeout_us, ti_err *err)
{
    ti_assert(future != NULL);
    if (ti_future_ready(future) || ti_executor_forked(future->executor))
        return ti_future_result(future, err);
    if (timeout_us <= 0)
        return ti_err_set(err, TI_TIMEOUT, "%s is not ready yet", future->type->name);
    ti_future_ref(future);
    ti_status status =
        timeout_us == TI_NO_DEADLINE ? wait_here(future, err) : wait_until(future, timeout_us, err);
    if (status == TI_OK)
        status = ti_future_result(future, err);
    ti_future_unref(future);
    return status;
}

/* ---- being told ---- */

ti_status ti_future_start(ti_future *future, ti_err *err)
{
    ti_delivery delivery = {.unref = false};
    if (ti_executor_forked(future->executor))
        return ti_process_forked("the future", err);
    ti_mutex_lock(&future->monitor->mutex);
    ti_future_check(future);
    ti_future_start_locked(future, &delivery);
    ti_mutex_unlock(&future->monitor->mutex);
    ti_future_deliver(future, delivery);
    return TI_OK;
}

/* OK when nobody is told yet; from now on somebody is. */
static ti_status tell_locked(ti_future *future, ti_err *err)
{
    ti_future_check(future);
    if (future->told)
        return ti_err_set(err, TI_INVALID_STATE, "%s has a watch or a callback already",
                          future->type->name);
    future->told = true;
    return TI_OK;
}

ti_status ti_future_watch(ti_future *future, ti_cq *cq, uint64_t tag, ti_err *err)
{
    ti_delivery delivery = {.unref = false};
    ti_assert(cq != NULL);
    if (ti_executor_forked(future->executor))
        return ti_process_forked("the future", err);
    TI_TRY(ti_cq_check(cq, err));
    ti_mutex_lock(&future->monitor->mutex);
    ti_status status = tell_locked(future, err);
    if (status == TI_OK) {
        future->cq = ti_cq_ref(cq);
        future->node.completion.tag = tag;
        if (ti_future_ready(future))
            ti_cq_push(cq, &future->node);
        else
            ti_future_start_locked(future, &delivery);
    }
    ti_mutex_unlock(&future->monitor->mutex);
    ti_future_deliver(future, delivery);
    return status;
}

ti_status ti_future_then(ti_future *future, ti_future_callback callback, void *context, ti_err *err)
{
    ti_delivery delivery = {.unref = false};
    ti_assert(callback != NULL);
    if (ti_executor_forked(future->executor))
        return ti_process_forked("the future", err);
    ti_mutex_lock(&future->monitor->mutex);
    ti_status status = tell_locked(future, err);
    if (status == TI_OK && ti_future_ready(future)) {
        ti_future_ref(future); /* the callback may release the handle */
        delivery = (ti_delivery){.callback = callback, .context = context, .unref = true};
    } else if (status == TI_OK) {
        future->callback = callback;
        future->context = context;
        ti_future_start_locked(future, &delivery);
    }
    ti_mutex_unlock(&future->monitor->mutex);
    ti_future_deliver(future, delivery);
    return status;
}

/* ---- ending ---- */

/* Makes a future that waits to be run DONE; nothing when a thread has it already. */
static void end_locked(ti_future *future, ti_delivery *delivery_out)
{
    ti_err err;
    ti_future_state state = ti_future_state_of(future);
    bool waits = state == TI_FUTURE_SUBMITTED;
    if (state == TI_FUTURE_QUEUED)
        waits = future->lane != NULL || ti_executor_remove(future->executor, &future->job);
    if (!waits)
        return;
    ti_err_set(&err, TI_CANCELLED, "%s was cancelled before it ran", future->type->name);
    *delivery_out =
        ti_future_complete_locked(future, TI_CANCELLED, ti_future_copy_error(TI_CANCELLED, &err));
}

void ti_future_interrupt(ti_future *future)
{
    ti_assert(ti_future_state_of(future) == TI_FUTURE_RUNNING);
    atomic_store(&future->cancelled, 1);
}

void ti_future_cancel(ti_future *future)
{
    ti_delivery delivery = {.unref = false};
    if (ti_executor_forked(future->executor))
        return;
    ti_mutex_lock(&future->monitor->mutex);
    ti_future_check(future);
    atomic_store_explicit(&future->cancelled, 1, memory_order_release);
    end_locked(future, &delivery);
    ti_mutex_unlock(&future->monitor->mutex);
    ti_future_deliver(future, delivery);
}

/* Drops watch and callback, and ends a future that was not started. Returns the completion queue,
 * whose reference is the caller's now. */
static ti_cq *drop_locked(ti_future *future)
{
    ti_delivery none = {.unref = false};
    ti_cq *cq = future->cq;
    ti_future_check(future);
    ti_require(!future->dropped);
    if (cq != NULL)
        ti_cq_remove(cq, &future->node);
    future->cq = NULL;
    future->callback = NULL;
    future->dropped = true;
    if (ti_future_state_of(future) == TI_FUTURE_SUBMITTED)
        end_locked(future, &none);
    ti_assert(!none.unref);
    return cq;
}

void ti_future_release(ti_future *future)
{
    if (future == NULL)
        return;
    if (ti_executor_forked(future->executor)) {
        future->dropped = true;
        ti_future_unref(future);
        return;
    }
    ti_mutex_lock(&future->monitor->mutex);
    ti_cq *cq = drop_locked(future);
    ti_mutex_unlock(&future->monitor->mutex);
    ti_cq_unref(cq);
    ti_future_unref(future);
}

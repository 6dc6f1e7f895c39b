/* The life of a future: states, running, completion. Picture and guarantees in future.h.
 *
 *   NEW        -> SUBMITTED   [ti_future_submit]
 *   NEW        -> DONE        [ti_future_finish]
 *   SUBMITTED  -> QUEUED      [ti_future_start_locked]
 *   SUBMITTED  -> RUNNING     [ti_future_take_locked, ti_lane_take_locked]
 *   SUBMITTED  -> DONE        [ti_future_cancel, ti_future_release, refused by the executor]
 *   QUEUED     -> RUNNING     [run_job, ti_future_take_locked, ti_lane_take_locked]
 *   QUEUED     -> DONE        [ti_future_cancel, ti_lane_refuse, refused by the executor]
 *   RUNNING    -> DONE        [ti_future_run]
 *
 * INVARIANTS: those of future.h and future_int.h.
 *
 * Thread rule: as future_int.h says at each function. */
#include "rt/future_int.h"

#include "base/assert.h"
#include "base/mem.h"

ti_future_state ti_future_state_of(const ti_future *future)
{
    return (ti_future_state)atomic_load_explicit(&future->state, memory_order_acquire);
}

void ti_future_set_state(ti_future *future, ti_future_state to)
{
    enum {
        S = TI_FUTURE_SUBMITTED,
        Q = TI_FUTURE_QUEUED,
        R = TI_FUTURE_RUNNING,
        D = TI_FUTURE_DONE
    };
    static const unsigned char legal[] = {
        [TI_FUTURE_NEW] = 1 << S | 1 << D,
        [TI_FUTURE_SUBMITTED] = 1 << Q | 1 << R | 1 << D,
        [TI_FUTURE_QUEUED] = 1 << R | 1 << D,
        [TI_FUTURE_RUNNING] = 1 << D,
        [TI_FUTURE_DONE] = 0,
    };
    ti_future_state from = ti_future_state_of(future);
    ti_require((legal[from] & (1 << to)) != 0);
    atomic_store_explicit(&future->state, (int)to, memory_order_release);
}

void ti_future_check(const ti_future *future)
{
    ti_future_state state = ti_future_state_of(future);
    ti_mutex_assert_held(&future->monitor->mutex);
    ti_assert(atomic_load_explicit(&future->refs, memory_order_relaxed) > 0);
    ti_assert(future->type != NULL);
    ti_assert(future->error == NULL || state == TI_FUTURE_DONE);
    ti_assert(future->error == NULL || future->status != TI_OK);
    ti_assert(future->cq == NULL || future->told);
    ti_assert(future->callback == NULL || future->told);
    ti_assert(future->lane == NULL || future->lane->monitor == future->monitor);
    ti_assert(future->lane == NULL || !future->job.queued);
    ti_assert(future->has_deadline || state != TI_FUTURE_RUNNING);
    (void)state;
}

void ti_future_ref(ti_future *future)
{
    uint32_t before = atomic_fetch_add_explicit(&future->refs, 1, memory_order_relaxed);
    ti_assert(before > 0);
    ti_require(before < UINT32_MAX / 2);
}

void ti_future_unref(ti_future *future)
{
    uint32_t before = atomic_fetch_sub_explicit(&future->refs, 1, memory_order_acq_rel);
    ti_assert(before > 0);
    if (before > 1)
        return;
    ti_assert(future->dropped);
    ti_executor *executor = future->executor;
    ti_assert(!future->node.queued || ti_executor_forked(executor));
    ti_lane *lane = future->lane;
    if (future->type->destroy != NULL)
        future->type->destroy(future->op);
    ti_cq_unref(future->cq);
    if (future->released != NULL)
        future->released(future->owner);
    ti_free(future->error);
    ti_free(future);
    if (lane != NULL)
        ti_lane_unref(lane);
    else
        ti_executor_unref(executor);
}

ti_err *ti_future_copy_error(ti_status status, const ti_err *err)
{
    if (status == TI_OK || err == NULL || err->status != status)
        return NULL;
    ti_err *copy = ti_alloc(sizeof(*copy));
    if (copy != NULL)
        *copy = *err;
    return copy;
}

void ti_future_set_deadline_locked(ti_future *future)
{
    if (future->has_deadline)
        return;
    future->deadline_ns =
        ti_call_within(ti_executor_env(future->executor), future->timeout_us).deadline_ns;
    future->has_deadline = true;
}

void ti_future_note_skipped_locked(ti_future *future, ti_status status)
{
    ti_lane *lane = future->lane;
    if (lane != NULL && future->type->write && lane->skipped == TI_OK)
        lane->skipped = status;
}

ti_delivery ti_future_complete_locked(ti_future *future, ti_status status, ti_err *error)
{
    ti_future_state from = ti_future_state_of(future);
    ti_lane *lane = future->lane;
    ti_future_check(future);
    ti_assert(error == NULL || error->status == status);
    ti_delivery delivery = {.callback = future->callback,
                            .context = future->context,
                            .unref = from == TI_FUTURE_QUEUED || from == TI_FUTURE_RUNNING};
    if (from == TI_FUTURE_SUBMITTED || from == TI_FUTURE_QUEUED) {
        ti_future_note_skipped_locked(future, status);
        if (lane != NULL)
            ti_lane_unlink_locked(lane, future);
    }
    future->status = status;
    future->error = error;
    future->callback = NULL;
    ti_future_set_state(future, TI_FUTURE_DONE);
    if (future->cq != NULL)
        ti_cq_push(future->cq, &future->node);
    if (future->monitor->waiters > 0)
        ti_cond_broadcast(&future->monitor->changed);
    ti_future_check(future);
    return delivery;
}

void ti_future_deliver(ti_future *future, ti_delivery delivery)
{
    ti_mutex_assert_none_held();
    if (delivery.callback != NULL)
        delivery.callback(delivery.context, future);
    if (delivery.unref)
        ti_future_unref(future);
}

/* Runs the operation unless it is too late for it; *ran_out says whether it was begun. */
static ti_status run_op(ti_future *future, bool *ran_out, ti_err *err)
{
    ti_call call = {.env = ti_executor_env(future->executor),
                    .deadline_ns = future->deadline_ns,
                    .cancelled = &future->cancelled};
    ti_call before = call;
    if (!future->was_queued && future->timeout_us > 0)
        before.deadline_ns = TI_NO_DEADLINE; /* fixed a moment ago: spares a look at the clock */
    *ran_out = false;
    TI_TRY(ti_call_check(&before, future->type->name, err));
    *ran_out = true;
    ti_status status = future->type->run(future->op, &call, err);
    ti_mutex_assert_none_held();
    return status;
}

/* Makes a future that this thread ran DONE, and calls back. What of its lane was started and finds
 * no thread any more is ended too. */
static void complete_run(ti_future *future, ti_status status, bool ran, const ti_err *err)
{
    ti_err refusal;
    ti_status posted = TI_OK;
    ti_err *error = ti_future_copy_error(status, err);
    ti_lane *lane = future->lane;
    ti_mutex_lock(&future->monitor->mutex);
    if (lane != NULL)
        ti_lane_ran_locked(lane);
    if (!ran)
        ti_future_note_skipped_locked(future, status);
    ti_delivery delivery = ti_future_complete_locked(future, status, error);
    if (lane != NULL)
        posted = ti_lane_post_locked(lane, &refusal);
    ti_mutex_unlock(&future->monitor->mutex);
    if (posted != TI_OK)
        ti_lane_refuse(lane, posted, &refusal);
    delivery.unref = false; /* ti_future_run does */
    ti_future_deliver(future, delivery);
}

void ti_future_run(ti_future *future)
{
    ti_err err;
    bool ran = false;
    ti_executor *executor = future->executor;
    ti_assert(ti_future_state_of(future) == TI_FUTURE_RUNNING);
    ti_err_clear(&err);
    ti_status status = ti_executor_enter(executor, &err);
    bool inside = status == TI_OK;
    if (inside)
        status = run_op(future, &ran, &err);
    complete_run(future, status, ran, &err);
    if (inside)
        ti_executor_leave(executor);
    ti_future_unref(future); /* last: it keeps the executor alive */
}

/* A thread of the executor has come for a future without a lane. */
static void run_job(ti_job *job)
{
    ti_future *future = (ti_future *)((char *)job - offsetof(ti_future, job));
    ti_mutex_lock(&future->monitor->mutex);
    ti_future_set_state(future, TI_FUTURE_RUNNING);
    ti_future_check(future);
    ti_mutex_unlock(&future->monitor->mutex);
    ti_future_run(future);
}

ti_future *ti_future_take_locked(ti_future *future)
{
    ti_future_state state = ti_future_state_of(future);
    ti_future_check(future);
    if (future->lane != NULL)
        return ti_lane_take_locked(future->lane);
    if (state == TI_FUTURE_SUBMITTED)
        ti_future_ref(future);
    else if (state != TI_FUTURE_QUEUED || !ti_executor_remove(future->executor, &future->job))
        return NULL;
    ti_future_set_deadline_locked(future);
    ti_future_set_state(future, TI_FUTURE_RUNNING);
    return future;
}

/* Finds a thread for a future that has just become QUEUED. */
static ti_status post_locked(ti_future *future, ti_err *err)
{
    ti_lane *lane = future->lane;
    if (lane == NULL) {
        future->job.run = run_job;
        return ti_executor_post(future->executor, future->type->work, &future->job, err);
    }
    uint64_t before = lane->target;
    ti_assert(future->seq > 0);
    if (lane->target < future->seq)
        lane->target = future->seq;
    ti_status status = ti_lane_post_locked(lane, err);
    if (status != TI_OK)
        lane->target = before;
    return status;
}

bool ti_future_start_locked(ti_future *future, ti_delivery *delivery_out)
{
    ti_err err;
    if (ti_future_state_of(future) != TI_FUTURE_SUBMITTED)
        return false;
    ti_future_set_deadline_locked(future);
    ti_future_ref(future);
    ti_future_set_state(future, TI_FUTURE_QUEUED);
    future->was_queued = true;
    ti_status status = post_locked(future, &err);
    if (status == TI_OK)
        return false;
    *delivery_out = ti_future_complete_locked(future, status, ti_future_copy_error(status, &err));
    return true;
}

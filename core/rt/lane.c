/* The order of a lane: who may run what of it; the picture is in future_int.h.
 *
 * Whoever finds nothing of the lane running may take its first future: a thread that waits without
 * a timeout takes them until its own is DONE; the lane's job takes those that were started. When
 * one has run and a started one waits, the job is posted again, with the kind of work of that one,
 * so that a thread for commits never runs what may wait for a lock.
 *
 * INVARIANTS: 3, 4 and 5 of future_int.h, and
 *  1. runner is not 0 exactly while one of the lane's futures is RUNNING.
 *
 * Thread rule: as future_int.h says at each function. */
#include "rt/future_int.h"

#include "base/assert.h"
#include "base/mem.h"

static void lane_check(const ti_lane *lane)
{
    ti_mutex_assert_held(&lane->monitor->mutex);
    ti_assert((lane->first == NULL) == (lane->last == NULL));
    ti_assert(lane->first == NULL || lane->first->prev == NULL);
    ti_assert(lane->last == NULL || lane->last->next == NULL);
    ti_assert(lane->last == NULL || lane->last->seq <= lane->newest);
    ti_assert(lane->first == NULL || lane->first->seq <= lane->last->seq);
    ti_assert(lane->target <= lane->newest);
    ti_assert(lane->posted || !lane->job.queued);
    (void)lane;
}

void ti_lane_append_locked(ti_lane *lane, ti_future *future)
{
    lane_check(lane);
    ti_assert(future->lane == lane);
    ti_assert(future->seq == 0);
    future->seq = ++lane->newest;
    future->prev = lane->last;
    future->next = NULL;
    if (lane->last != NULL)
        lane->last->next = future;
    else
        lane->first = future;
    lane->last = future;
    lane_check(lane);
}

void ti_lane_unlink_locked(ti_lane *lane, ti_future *future)
{
    lane_check(lane);
    ti_assert(future->lane == lane);
    ti_assert(future->seq > 0);
    if (future->prev != NULL)
        future->prev->next = future->next;
    else
        lane->first = future->next;
    if (future->next != NULL)
        future->next->prev = future->prev;
    else
        lane->last = future->prev;
    future->prev = NULL;
    future->next = NULL;
    lane_check(lane);
}

ti_future *ti_lane_take_locked(ti_lane *lane)
{
    ti_future *future = lane->first;
    lane_check(lane);
    if (lane->runner != 0 || future == NULL)
        return NULL;
    ti_lane_unlink_locked(lane, future);
    if (ti_future_state_of(future) == TI_FUTURE_SUBMITTED)
        ti_future_ref(future);
    ti_future_set_deadline_locked(future);
    ti_future_set_state(future, TI_FUTURE_RUNNING);
    lane->runner = ti_thread_self();
    return future;
}

void ti_lane_ran_locked(ti_lane *lane)
{
    lane_check(lane);
    ti_assert(lane->runner == ti_thread_self());
    lane->runner = 0;
}

/* True when the lane's job has something to do. */
static bool wants_job(const ti_lane *lane)
{
    return lane->runner == 0 && lane->first != NULL && lane->first->seq <= lane->target;
}

/* A thread of the executor has come: it runs started futures of its kind of work, until a waiter
 * has taken over or none is left. */
static void run_lane(ti_job *job)
{
    ti_err err;
    ti_lane *lane = (ti_lane *)((char *)job - offsetof(ti_lane, job));
    ti_mutex *mutex = &lane->monitor->mutex;
    ti_mutex_lock(mutex);
    ti_assert(lane->posted);
    while (wants_job(lane) && lane->first->type->work == job->work) {
        ti_future *future = ti_lane_take_locked(lane);
        ti_mutex_unlock(mutex);
        ti_future_run(future);
        ti_mutex_lock(mutex);
    }
    lane->posted = false;
    ti_status status = ti_lane_post_locked(lane, &err);
    ti_mutex_unlock(mutex);
    if (status != TI_OK)
        ti_lane_refuse(lane, status, &err);
    ti_lane_unref(lane);
}

ti_status ti_lane_post_locked(ti_lane *lane, ti_err *err)
{
    lane_check(lane);
    if (lane->posted || !wants_job(lane))
        return TI_OK;
    TI_TRY(ti_executor_post(lane->executor, lane->first->type->work, &lane->job, err));
    lane->posted = true;
    ti_lane_ref(lane);
    return TI_OK;
}

/* The oldest QUEUED future; those that were only submitted stay. */
static ti_future *oldest_queued(const ti_lane *lane)
{
    ti_future *future = lane->first;
    while (future != NULL && ti_future_state_of(future) != TI_FUTURE_QUEUED)
        future = future->next;
    return future;
}

void ti_lane_refuse(ti_lane *lane, ti_status status, const ti_err *err)
{
    ti_assert(status != TI_OK);
    for (;;) {
        ti_mutex_lock(&lane->monitor->mutex);
        ti_future *future = lane->posted ? NULL : oldest_queued(lane);
        ti_delivery delivery = {.unref = false};
        if (future != NULL)
            delivery = ti_future_complete_locked(future, status, ti_future_copy_error(status, err));
        ti_mutex_unlock(&lane->monitor->mutex);
        if (future == NULL)
            return;
        ti_future_deliver(future, delivery);
    }
}

ti_lane *ti_lane_create(ti_executor *executor)
{
    ti_assert(executor != NULL);
    ti_lane *lane = ti_alloc(sizeof(*lane));
    if (lane == NULL)
        return NULL;
    *lane = (ti_lane){.executor = ti_executor_ref(executor), .job = {.run = run_lane}};
    atomic_init(&lane->refs, 1);
    lane->monitor = ti_executor_monitor(executor, lane);
    return lane;
}

ti_lane *ti_lane_ref(ti_lane *lane)
{
    uint32_t before = atomic_fetch_add_explicit(&lane->refs, 1, memory_order_relaxed);
    ti_assert(before > 0);
    ti_require(before < UINT32_MAX / 2);
    return lane;
}

void ti_lane_unref(ti_lane *lane)
{
    if (lane == NULL)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&lane->refs, 1, memory_order_acq_rel);
    ti_assert(before > 0);
    if (before > 1)
        return;
    ti_executor *executor = lane->executor;
    ti_assert(lane->first == NULL || ti_executor_forked(executor));
    ti_free(lane);
    ti_executor_unref(executor);
}

ti_status ti_lane_skipped(ti_lane *lane)
{
    if (ti_executor_forked(lane->executor))
        return TI_FORKED;
    ti_mutex_lock(&lane->monitor->mutex);
    ti_status skipped = lane->skipped;
    ti_mutex_unlock(&lane->monitor->mutex);
    return skipped;
}

void ti_lane_forget_skipped(ti_lane *lane)
{
    ti_mutex_lock(&lane->monitor->mutex);
    ti_assert(lane->runner == ti_thread_self());
    lane->skipped = TI_OK;
    ti_mutex_unlock(&lane->monitor->mutex);
}

/* What the tests of rt share: an executor for a test, and an operation that a test can hold back.
 *
 * A gate is closed until opened; an operation of type gate_op says that it has begun, then waits at
 * its gate, looking at its call. */
#ifndef TITO_TESTS_RT_H
#define TITO_TESTS_RT_H

#include "support/test.h"

#include "base/thread.h"
#include "rt/future.h"

typedef struct gate {
    _Atomic(int) begun;       /* operations that have begun */
    _Atomic(int) open;        /* != 0: they may go on */
    _Atomic(int) ended;       /* operations that have returned */
    _Atomic(int) freed;       /* operations destroyed */
    _Atomic(int) released;    /* owners released */
    _Atomic(uint64_t) thread; /* that ran the last one */
} gate;

typedef struct gate_op {
    gate *gate;
    ti_status answer; /* what it ends with */
    int order;        /* written by the operation: which of all it was */
} gate_op;

static inline void test_pause(void)
{
    ti_env_sleep_ns(ti_env_real(), 50000);
}

/* Waits for a condition that another thread brings about; fails after 20 s. */
#define await(condition)                                                                           \
    do {                                                                                           \
        int64_t await_end_ = ti_env_mono_ns(ti_env_real()) + INT64_C(20000000000);                 \
        while (!(condition)) {                                                                     \
            test_pause();                                                                          \
            if (ti_env_mono_ns(ti_env_real()) > await_end_)                                        \
                fail_msg("never: %s", #condition);                                                 \
        }                                                                                          \
    } while (0)

static inline ti_status gate_run(void *op, const ti_call *call, ti_err *err)
{
    gate_op *g = op;
    g->order = atomic_fetch_add(&g->gate->begun, 1);
    atomic_store(&g->gate->thread, ti_thread_self());
    ti_status status = TI_OK;
    while (status == TI_OK && !atomic_load(&g->gate->open)) {
        status = ti_call_check(call, "gate", err);
        test_pause();
    }
    atomic_fetch_add(&g->gate->ended, 1);
    if (status == TI_OK && g->answer != TI_OK)
        status = ti_err_set(err, g->answer, "the gate answers %s", ti_status_name(g->answer));
    return status;
}

static inline void gate_destroy(void *op)
{
    gate_op *g = op;
    if (g->gate != NULL)
        atomic_fetch_add(&g->gate->freed, 1);
}

static inline void gate_released(void *owner)
{
    gate *g = owner;
    atomic_fetch_add(&g->released, 1);
}

static const ti_op_type gate_read = {
    .name = "gate", .work = TI_WORK_GENERAL, .run = gate_run, .destroy = gate_destroy};
static const ti_op_type gate_write = {.name = "write",
                                      .work = TI_WORK_GENERAL,
                                      .write = true,
                                      .run = gate_run,
                                      .destroy = gate_destroy};
static const ti_op_type gate_lock = {
    .name = "lock", .work = TI_WORK_LOCK, .run = gate_run, .destroy = gate_destroy};
static const ti_op_type gate_commit = {
    .name = "commit", .work = TI_WORK_COMMIT, .run = gate_run, .destroy = gate_destroy};

/* A NEW future of that type at a gate. */
static inline ti_future *gate_new(ti_executor *ex, const ti_op_type *type, gate *g, ti_lane *lane,
                                  int64_t timeout_us)
{
    ti_future_spec spec = {.type = type,
                           .op_size = sizeof(gate_op),
                           .lane = lane,
                           .timeout_us = timeout_us,
                           .owner = g,
                           .released = gate_released};
    ti_future *f = ti_future_create(ex, &spec);
    assert_non_null(f);
    gate_op *op = ti_future_op(f);
    op->gate = g;
    return f;
}

/* The same, submitted. */
static inline ti_future *gate_make(ti_executor *ex, const ti_op_type *type, gate *g, ti_lane *lane)
{
    ti_future *f = gate_new(ex, type, g, lane, TI_NO_DEADLINE);
    ti_future_submit(f);
    return f;
}

static inline ti_executor *test_executor(const ti_executor_options *options)
{
    ti_executor *ex = NULL;
    ti_err err;
    test_ok(ti_executor_create(options, &ex, &err), &err);
    return ex;
}

static inline void test_executor_end(ti_executor *ex)
{
    ti_executor_close(ex);
    ti_executor_unref(ex);
}

static inline ti_executor_stats stats_of(ti_executor *ex)
{
    ti_executor_stats stats;
    ti_executor_stats_of(ex, &stats);
    return stats;
}

#endif

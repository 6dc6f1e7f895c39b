/* Lanes: the order of a transaction's operations, and what a commit learns of skipped ones. */
#include "rt/rt.h"

static int order_of(ti_future *f)
{
    return ((gate_op *)ti_future_op(f))->order;
}

static void make_many(ti_executor *ex, gate *g, ti_lane *lane, ti_future **f, int count)
{
    for (int i = 0; i < count; i++)
        f[i] = gate_make(ex, &gate_read, g, lane);
}

static void release_many(ti_future **f, int count)
{
    for (int i = 0; i < count; i++)
        ti_future_release(f[i]);
}

static void waiting_for_the_last_runs_all_in_order(void **state)
{
    ti_executor *ex = test_executor(NULL);
    ti_lane *lane = ti_lane_create(ex);
    gate g = {.open = 1};
    ti_future *f[5];
    ti_err err;
    (void)state;
    make_many(ex, &g, lane, f, 5);
    test_ok(ti_future_wait(f[3], TI_NO_DEADLINE, &err), &err);
    for (int i = 0; i < 4; i++) {
        assert_true(ti_future_ready(f[i]));
        assert_int_equal(order_of(f[i]), i);
    }
    assert_false(ti_future_ready(f[4]));
    assert_int_equal(stats_of(ex).threads[TI_WORK_GENERAL], 0);
    release_many(f, 5);
    assert_int_equal(atomic_load(&g.begun), 4);
    ti_lane_unref(lane);
    test_executor_end(ex);
}

static void starting_the_last_runs_all_in_order(void **state)
{
    ti_executor *ex = test_executor(NULL);
    ti_lane *lane = ti_lane_create(ex);
    gate g = {.open = 1};
    ti_future *f[5];
    ti_err err;
    (void)state;
    make_many(ex, &g, lane, f, 5);
    test_ok(ti_future_start(f[3], &err), &err);
    await(ti_future_ready(f[3]));
    for (int i = 0; i < 4; i++)
        assert_int_equal(order_of(f[i]), i);
    assert_false(ti_future_ready(f[4]));
    test_ok(ti_future_wait(f[4], INT64_C(20000000), &err), &err);
    assert_int_equal(order_of(f[4]), 4);
    release_many(f, 5);
    ti_lane_unref(lane);
    test_executor_end(ex);
}

/* Two started futures of one lane never run together, though there are threads enough. */
static void one_runs_at_a_time(void **state)
{
    ti_executor *ex = test_executor(NULL);
    ti_lane *lane = ti_lane_create(ex);
    gate g = {.open = 0};
    ti_future *f[3];
    ti_err err;
    (void)state;
    make_many(ex, &g, lane, f, 3);
    for (int i = 2; i >= 0; i--)
        test_ok(ti_future_start(f[i], &err), &err);
    await(atomic_load(&g.begun) == 1);
    for (int i = 0; i < 50; i++)
        test_pause();
    assert_int_equal(atomic_load(&g.begun), 1);
    atomic_store(&g.open, 1);
    for (int i = 0; i < 3; i++) {
        test_ok(ti_future_wait(f[i], INT64_C(20000000), &err), &err);
        assert_int_equal(order_of(f[i]), i);
    }
    release_many(f, 3);
    ti_lane_unref(lane);
    test_executor_end(ex);
}

typedef struct wait_arg {
    ti_future *future;
    ti_status status;
} wait_arg;

static void *wait_for_it(void *arg)
{
    wait_arg *w = arg;
    w->status = ti_future_wait(w->future, TI_NO_DEADLINE, NULL);
    return NULL;
}

/* The executor runs the first; a waiter for the third takes over when that is done. */
static void a_waiter_goes_on_where_the_executor_ends(void **state)
{
    ti_executor *ex = test_executor(NULL);
    ti_lane *lane = ti_lane_create(ex);
    gate g = {.open = 0};
    ti_future *f[3];
    ti_thread t;
    ti_err err;
    (void)state;
    make_many(ex, &g, lane, f, 3);
    test_ok(ti_future_start(f[0], &err), &err);
    await(atomic_load(&g.begun) == 1);
    uint64_t executor_thread = atomic_load(&g.thread);
    wait_arg w = {.future = f[2]};
    test_ok(ti_thread_start(&t, "wait", wait_for_it, &w, &err), &err);
    for (int i = 0; i < 20; i++)
        test_pause();
    assert_int_equal(atomic_load(&g.begun), 1);
    atomic_store(&g.open, 1);
    ti_thread_join(&t);
    test_status(w.status, TI_OK);
    assert_true(atomic_load(&g.thread) != executor_thread);
    assert_int_equal(order_of(f[1]), 1);
    assert_int_equal(order_of(f[2]), 2);
    release_many(f, 3);
    ti_lane_unref(lane);
    test_executor_end(ex);
}

/* Two wait for different futures of one lane: each may run what is first. */
static void many_waiters_share_a_lane(void **state)
{
    ti_executor *ex = test_executor(NULL);
    (void)state;
    for (int round = 0; round < 50; round++) {
        ti_lane *lane = ti_lane_create(ex);
        gate g = {.open = 1};
        ti_future *f[6];
        ti_thread t[6];
        wait_arg w[6];
        ti_err err;
        make_many(ex, &g, lane, f, 6);
        for (int i = 0; i < 6; i++) {
            w[i] = (wait_arg){.future = f[5 - i]};
            test_ok(ti_thread_start(&t[i], "wait", wait_for_it, &w[i], &err), &err);
        }
        for (int i = 0; i < 6; i++) {
            ti_thread_join(&t[i]);
            test_status(w[i].status, TI_OK);
        }
        for (int i = 0; i < 6; i++)
            assert_int_equal(order_of(f[i]), i);
        release_many(f, 6);
        ti_lane_unref(lane);
    }
    test_executor_end(ex);
}

/* A commit behind an operation moves to the threads of commits, and is not stuck behind others. */
static void a_commit_changes_threads(void **state)
{
    ti_executor *ex = test_executor(&(ti_executor_options){.threads_max = {1, 1, 1}});
    ti_lane *lane = ti_lane_create(ex);
    gate closed = {.open = 0};
    gate g = {.open = 0};
    gate c = {.open = 1};
    ti_err err;
    (void)state;
    ti_future *write = gate_make(ex, &gate_write, &g, lane);
    ti_future *commit = gate_make(ex, &gate_commit, &c, lane);
    ti_future *blocker = gate_make(ex, &gate_read, &closed, NULL);
    test_ok(ti_future_start(commit, &err), &err);
    await(atomic_load(&g.begun) == 1);
    test_ok(ti_future_start(blocker, &err), &err); /* gets the general thread next */
    atomic_store(&g.open, 1);
    test_ok(ti_future_wait(commit, INT64_C(20000000), &err), &err);
    assert_int_equal(stats_of(ex).threads[TI_WORK_COMMIT], 1);
    assert_true(atomic_load(&c.thread) != atomic_load(&g.thread));
    test_ok(ti_future_wait(write, 0, &err), &err);
    test_status(ti_lane_skipped(lane), TI_OK);
    atomic_store(&closed.open, 1);
    ti_future_release(write);
    ti_future_release(commit);
    ti_future_release(blocker);
    ti_lane_unref(lane);
    test_executor_end(ex);
}

static void skipped_writes_are_remembered(void **state)
{
    ti_executor *ex = test_executor(NULL);
    gate g = {.open = 1};
    ti_err err;
    (void)state;
    for (int how = 0; how < 6; how++) {
        ti_lane *lane = ti_lane_create(ex);
        bool timed = how == 2;
        ti_future *f =
            gate_new(ex, how == 3 ? &gate_read : &gate_write, &g, lane, timed ? 0 : 1000000);
        if (how == 5) {
            ti_future_finish(f, TI_INVALID_ARGUMENT, NULL);
        } else {
            ti_future_submit(f);
            if (how == 0 || how == 3)
                ti_future_cancel(f);
            if (how == 2 || how == 4)
                test_status(ti_future_wait(f, TI_NO_DEADLINE, &err), timed ? TI_TIMEOUT : TI_OK);
        }
        ti_future_release(f);
        static const ti_status expected[] = {TI_CANCELLED, TI_CANCELLED, TI_TIMEOUT,
                                             TI_OK,        TI_OK,        TI_INVALID_ARGUMENT};
        test_status(ti_lane_skipped(lane), expected[how]);
        ti_lane_unref(lane);
    }
    test_executor_end(ex);
}

static void cancel_in_the_middle(void **state)
{
    ti_executor *ex = test_executor(NULL);
    ti_lane *lane = ti_lane_create(ex);
    gate g = {.open = 0};
    ti_future *f[4];
    ti_err err;
    (void)state;
    make_many(ex, &g, lane, f, 4);
    test_ok(ti_future_start(f[3], &err), &err);
    await(atomic_load(&g.begun) == 1);
    ti_future_cancel(f[1]);
    assert_true(ti_future_ready(f[1]));
    ti_future_cancel(f[3]);
    test_status(ti_future_wait(f[3], 0, &err), TI_CANCELLED);
    atomic_store(&g.open, 1);
    test_ok(ti_future_wait(f[2], TI_NO_DEADLINE, &err), &err);
    assert_int_equal(order_of(f[2]), 1);
    release_many(f, 4);
    ti_lane_unref(lane);
    test_executor_end(ex);
}

/* A start that was refused leaves the others of its lane as lazy as they were. */
static void a_refused_start_starts_nobody(void **state)
{
    ti_executor *ex =
        test_executor(&(ti_executor_options){.threads_max = {1, 1, 1}, .queue_max = 1});
    ti_lane *lane = ti_lane_create(ex);
    gate closed = {.open = 0};
    gate g = {.open = 1};
    ti_future *blockers[2];
    ti_future *f[3];
    ti_err err;
    (void)state;
    for (int i = 0; i < 2; i++) {
        blockers[i] = gate_make(ex, &gate_read, &closed, NULL);
        test_ok(ti_future_start(blockers[i], &err), &err);
        await(atomic_load(&closed.begun) == 1);
    }
    for (int i = 0; i < 3; i++)
        f[i] = gate_make(ex, i == 2 ? &gate_write : &gate_read, &g, lane);
    test_ok(ti_future_start(f[2], &err), &err);
    test_status(ti_future_wait(f[2], 0, &err), TI_BUSY);
    test_status(ti_lane_skipped(lane), TI_BUSY);
    atomic_store(&closed.open, 1);
    for (int i = 0; i < 2; i++)
        test_ok(ti_future_wait(blockers[i], TI_NO_DEADLINE, &err), &err);
    test_ok(ti_future_wait(f[0], TI_NO_DEADLINE, &err), &err);
    for (int i = 0; i < 100; i++)
        test_pause();
    assert_false(ti_future_ready(f[1]));
    release_many(f, 3);
    release_many(blockers, 2);
    ti_lane_unref(lane);
    test_executor_end(ex);
}

/* An operation that waits for a later one of its own lane would wait for itself. */
static ti_status wait_inside(void *op, const ti_call *call, ti_err *err)
{
    ti_future *other = *(ti_future **)op;
    (void)call;
    return ti_future_wait(other, TI_NO_DEADLINE, err);
}

static void waiting_for_oneself_is_refused(void **state)
{
    static const ti_op_type type = {.name = "inside", .run = wait_inside};
    ti_executor *ex = test_executor(NULL);
    ti_lane *lane = ti_lane_create(ex);
    gate g = {.open = 1};
    ti_err err;
    (void)state;
    ti_future_spec spec = {
        .type = &type, .op_size = sizeof(ti_future *), .lane = lane, .timeout_us = TI_NO_DEADLINE};
    ti_future *f = ti_future_create(ex, &spec);
    ti_future_submit(f);
    ti_future *later = gate_make(ex, &gate_read, &g, lane);
    *(ti_future **)ti_future_op(f) = later;
    test_status(ti_future_wait(f, TI_NO_DEADLINE, &err), TI_INVALID_STATE);
    test_ok(ti_future_wait(later, TI_NO_DEADLINE, &err), &err);
    ti_future_release(f);
    ti_future_release(later);
    ti_lane_unref(lane);
    test_executor_end(ex);
}

typedef struct close_arg {
    ti_executor *ex;
} close_arg;

static void *close_it(void *arg)
{
    ti_executor_close(((close_arg *)arg)->ex);
    return NULL;
}

/* A lane whose first future runs in a caller: close ends those behind it. */
static void close_ends_the_rest_of_a_lane(void **state)
{
    ti_executor *ex = test_executor(NULL);
    (void)state;
    ti_lane *lane = ti_lane_create(ex);
    gate g = {.open = 0};
    ti_future *f[4];
    ti_thread waiter;
    ti_thread closer;
    ti_err err;
    make_many(ex, &g, lane, f, 4);
    wait_arg w = {.future = f[0]};
    close_arg c = {.ex = ex};
    test_ok(ti_thread_start(&waiter, "wait", wait_for_it, &w, &err), &err);
    await(atomic_load(&g.begun) == 1);
    test_ok(ti_future_start(f[2], &err), &err);
    test_ok(ti_thread_start(&closer, "close", close_it, &c, &err), &err);
    gate none = {.open = 1};
    ti_future *late;
    do { /* until the close has begun */
        late = gate_make(ex, &gate_read, &none, NULL);
        ti_status status = ti_future_wait(late, TI_NO_DEADLINE, NULL);
        ti_future_release(late);
        if (status == TI_CLOSED)
            break;
        test_pause();
    } while (true);
    atomic_store(&g.open, 1);
    ti_thread_join(&waiter);
    ti_thread_join(&closer);
    test_status(w.status, TI_OK);
    test_status(ti_future_wait(f[2], INT64_C(20000000), &err), TI_CLOSED);
    test_status(ti_future_wait(f[3], TI_NO_DEADLINE, &err), TI_CLOSED);
    assert_true(ti_future_ready(f[1]));
    assert_int_equal(atomic_load(&g.begun), 1);
    release_many(f, 4);
    ti_lane_unref(lane);
    ti_executor_unref(ex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiting_for_the_last_runs_all_in_order),
        cmocka_unit_test(starting_the_last_runs_all_in_order),
        cmocka_unit_test(one_runs_at_a_time),
        cmocka_unit_test(a_waiter_goes_on_where_the_executor_ends),
        cmocka_unit_test(many_waiters_share_a_lane),
        cmocka_unit_test(a_commit_changes_threads),
        cmocka_unit_test(skipped_writes_are_remembered),
        cmocka_unit_test(cancel_in_the_middle),
        cmocka_unit_test(a_refused_start_starts_nobody),
        cmocka_unit_test(waiting_for_oneself_is_refused),
        cmocka_unit_test(close_ends_the_rest_of_a_lane),
    };
    return TEST_RUN(tests);
}

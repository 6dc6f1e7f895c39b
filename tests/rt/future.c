/* Futures without a lane: starting, waiting, cancelling, releasing, callbacks, deadlines. */
#include "rt/rt.h"

static void a_wait_runs_it_in_the_caller(void **state)
{
    ti_executor *ex = test_executor(NULL);
    gate g = {.open = 1};
    ti_err err;
    (void)state;
    ti_future *f = gate_make(ex, &gate_read, &g, NULL);
    assert_false(ti_future_ready(f));
    test_status(ti_future_result(f, &err), TI_INVALID_STATE);
    test_status(ti_future_wait(f, 0, &err), TI_TIMEOUT);
    assert_int_equal(atomic_load(&g.begun), 0);
    test_ok(ti_future_wait(f, TI_NO_DEADLINE, &err), &err);
    assert_true(atomic_load(&g.thread) == ti_thread_self());
    assert_true(ti_future_ready(f));
    test_ok(ti_future_wait(f, 0, &err), &err);
    test_ok(ti_future_wait(f, 5, &err), &err);
    test_ok(ti_future_start(f, &err), &err);
    assert_int_equal(atomic_load(&g.begun), 1);
    assert_int_equal(stats_of(ex).threads[TI_WORK_GENERAL], 0);
    assert_ptr_equal(ti_future_of_op(ti_future_op(f)), f);
    assert_int_equal((uintptr_t)ti_future_op(f) % 16, 0);
    ti_future_release(f);
    assert_int_equal(atomic_load(&g.freed), 1);
    assert_int_equal(atomic_load(&g.released), 1);
    ti_future_release(NULL);
    test_executor_end(ex);
}

static void a_failure_is_told_to_every_waiter(void **state)
{
    ti_executor *ex = test_executor(NULL);
    gate g = {.open = 1};
    ti_err err;
    (void)state;
    ti_future *f = gate_make(ex, &gate_read, &g, NULL);
    ((gate_op *)ti_future_op(f))->answer = TI_CONFLICT;
    for (int i = 0; i < 2; i++) {
        ti_err_clear(&err);
        test_status(ti_future_wait(f, TI_NO_DEADLINE, &err), TI_CONFLICT);
        assert_string_equal(err.message, "the gate answers conflict");
        assert_int_equal(err.status, TI_CONFLICT);
    }
    test_status(ti_future_wait(f, TI_NO_DEADLINE, NULL), TI_CONFLICT);
    ti_future_release(f);
    test_executor_end(ex);
}

static void a_finished_one_never_runs(void **state)
{
    ti_executor *ex = test_executor(NULL);
    gate g = {.open = 1};
    ti_err err;
    (void)state;
    ti_future *f = gate_new(ex, &gate_read, &g, NULL, TI_NO_DEADLINE);
    ti_err_set(&err, TI_INVALID_ARGUMENT, "the id is empty");
    ti_future_finish(f, TI_INVALID_ARGUMENT, &err);
    ti_err_clear(&err);
    test_status(ti_future_wait(f, TI_NO_DEADLINE, &err), TI_INVALID_ARGUMENT);
    assert_string_equal(err.message, "the id is empty");
    ti_future_release(f);
    f = gate_new(ex, &gate_read, &g, NULL, TI_NO_DEADLINE);
    ti_future_finish(f, TI_OK, NULL);
    test_ok(ti_future_wait(f, 1000, &err), &err);
    ti_future_release(f);
    f = gate_new(ex, &gate_read, &g, NULL, TI_NO_DEADLINE);
    ti_future_finish(f, TI_NOT_FOUND, NULL);
    test_status(ti_future_wait(f, 1000, &err), TI_NOT_FOUND);
    assert_string_equal(err.message, "gate ended with not_found");
    ti_future_release(f);
    f = gate_new(ex, &gate_read, &g, NULL, TI_NO_DEADLINE);
    test_status(ti_future_wait(f, TI_NO_DEADLINE, &err), TI_INVALID_STATE);
    ti_future_release(f); /* a NEW one */
    assert_int_equal(atomic_load(&g.begun), 0);
    assert_int_equal(atomic_load(&g.freed), 4);
    test_executor_end(ex);
}

static void a_started_one_runs_elsewhere(void **state)
{
    ti_executor *ex = test_executor(NULL);
    gate g = {.open = 0};
    ti_err err;
    (void)state;
    ti_future *f = gate_make(ex, &gate_read, &g, NULL);
    test_status(ti_future_wait(f, 3000, &err), TI_TIMEOUT);
    assert_false(ti_future_ready(f));
    await(atomic_load(&g.begun) == 1);
    test_ok(ti_future_start(f, &err), &err);
    atomic_store(&g.open, 1);
    test_ok(ti_future_wait(f, INT64_C(20000000), &err), &err);
    assert_true(atomic_load(&g.thread) != ti_thread_self());
    assert_int_equal(atomic_load(&g.begun), 1);
    ti_future_release(f);
    test_executor_end(ex);
}

/* A waiter takes a queued future back from the executor instead of waiting for a thread. */
static void a_waiter_takes_what_is_queued(void **state)
{
    ti_executor *ex = test_executor(&(ti_executor_options){.threads_max = {1, 1, 1}});
    gate closed = {.open = 0};
    gate open = {.open = 1};
    ti_err err;
    (void)state;
    ti_future *blocker = gate_make(ex, &gate_read, &closed, NULL);
    test_ok(ti_future_start(blocker, &err), &err);
    await(atomic_load(&closed.begun) == 1);
    ti_future *f = gate_make(ex, &gate_read, &open, NULL);
    test_ok(ti_future_start(f, &err), &err);
    test_ok(ti_future_wait(f, TI_NO_DEADLINE, &err), &err);
    assert_true(atomic_load(&open.thread) == ti_thread_self());
    assert_int_equal(stats_of(ex).queued[TI_WORK_GENERAL], 0);
    ti_future_release(f);
    atomic_store(&closed.open, 1);
    test_ok(ti_future_wait(blocker, TI_NO_DEADLINE, &err), &err);
    ti_future_release(blocker);
    test_executor_end(ex);
}

static void commits_and_lock_waits_have_their_own_threads(void **state)
{
    ti_executor *ex = test_executor(&(ti_executor_options){.threads_max = {2, 2, 2}});
    gate closed = {.open = 0};
    gate open = {.open = 1};
    ti_future *blockers[8];
    ti_err err;
    (void)state;
    for (int i = 0; i < 8; i++) {
        blockers[i] = gate_make(ex, i < 4 ? &gate_lock : &gate_read, &closed, NULL);
        test_ok(ti_future_start(blockers[i], &err), &err);
    }
    await(atomic_load(&closed.begun) == 4);
    ti_future *f = gate_make(ex, &gate_commit, &open, NULL);
    test_ok(ti_future_wait(f, INT64_C(20000000), &err), &err);
    ti_future_release(f);
    atomic_store(&closed.open, 1);
    for (int i = 0; i < 8; i++) {
        test_ok(ti_future_wait(blockers[i], INT64_C(20000000), &err), &err);
        ti_future_release(blockers[i]);
    }
    test_executor_end(ex);
}

static void a_full_queue_answers_busy(void **state)
{
    ti_executor *ex =
        test_executor(&(ti_executor_options){.threads_max = {1, 1, 1}, .queue_max = 1});
    gate g = {.open = 0};
    ti_future *f[3];
    ti_err err;
    (void)state;
    for (int i = 0; i < 3; i++) {
        f[i] = gate_make(ex, &gate_read, &g, NULL);
        test_ok(ti_future_start(f[i], &err), &err);
        if (i == 0)
            await(atomic_load(&g.begun) == 1);
    }
    assert_true(ti_future_ready(f[2]));
    test_status(ti_future_wait(f[2], TI_NO_DEADLINE, &err), TI_BUSY);
    atomic_store(&g.open, 1);
    for (int i = 0; i < 3; i++) {
        ti_future_wait(f[i], TI_NO_DEADLINE, NULL);
        ti_future_release(f[i]);
    }
    assert_int_equal(atomic_load(&g.begun), 2);
    test_executor_end(ex);
}

static void cancel_in_every_state(void **state)
{
    ti_executor *ex = test_executor(&(ti_executor_options){.threads_max = {1, 1, 1}});
    gate g = {.open = 0};
    ti_err err;
    (void)state;
    ti_future *submitted = gate_make(ex, &gate_read, &g, NULL);
    ti_future_cancel(submitted);
    assert_true(ti_future_ready(submitted));
    test_status(ti_future_wait(submitted, TI_NO_DEADLINE, &err), TI_CANCELLED);
    assert_string_equal(err.message, "gate was cancelled before it ran");
    ti_future *running = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_start(running, &err), &err);
    await(atomic_load(&g.begun) == 1);
    ti_future *queued = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_start(queued, &err), &err);
    ti_future_cancel(queued);
    assert_true(ti_future_ready(queued));
    assert_int_equal(stats_of(ex).queued[TI_WORK_GENERAL], 0);
    ti_future_cancel(running);
    test_status(ti_future_wait(running, TI_NO_DEADLINE, &err), TI_CANCELLED);
    assert_string_equal(err.message, "gate was cancelled");
    atomic_store(&g.open, 1);
    ti_future *done = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_wait(done, TI_NO_DEADLINE, &err), &err);
    ti_future_cancel(done);
    test_ok(ti_future_wait(done, TI_NO_DEADLINE, &err), &err);
    ti_future_release(submitted);
    ti_future_release(running);
    ti_future_release(queued);
    ti_future_release(done);
    await(atomic_load(&g.freed) == 4); /* the thread that ran one may let go of it last */
    test_executor_end(ex);
}

static void release_in_every_state(void **state)
{
    ti_executor *ex = test_executor(&(ti_executor_options){.threads_max = {1, 1, 1}});
    gate g = {.open = 0};
    ti_err err;
    (void)state;
    ti_future_release(gate_make(ex, &gate_read, &g, NULL));
    assert_int_equal(atomic_load(&g.freed), 1);
    ti_future *running = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_start(running, &err), &err);
    await(atomic_load(&g.begun) == 1);
    ti_future *queued = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_start(queued, &err), &err);
    ti_future_release(running);
    ti_future_release(queued);
    assert_int_equal(atomic_load(&g.freed), 1);
    atomic_store(&g.open, 1);
    await(atomic_load(&g.freed) == 3);
    assert_int_equal(atomic_load(&g.begun), 2);
    test_executor_end(ex);
    assert_int_equal(atomic_load(&g.released), 3);
}

static void the_deadline_counts_from_the_start(void **state)
{
    test_env e;
    test_env_init(&e, 0, 1);
    ti_executor *ex =
        test_executor(&(ti_executor_options){.env = &e.env, .threads_max = {1, 1, 1}});
    gate g = {.open = 0};
    ti_err err;
    (void)state;
    assert_ptr_equal(ti_executor_env(ex), &e.env);
    ti_future *f = gate_new(ex, &gate_read, &g, NULL, 1000);
    ti_future_submit(f);
    ti_future *queued = gate_new(ex, &gate_read, &g, NULL, 1000);
    ti_future_submit(queued);
    test_env_advance_us(&e, 1000000);
    test_ok(ti_future_start(f, &err), &err);
    await(atomic_load(&g.begun) == 1);
    test_ok(ti_future_start(queued, &err), &err);
    test_env_advance_us(&e, 999);
    for (int i = 0; i < 20; i++)
        test_pause();
    assert_false(ti_future_ready(f));
    test_env_advance_us(&e, 1);
    await(ti_future_ready(f) && ti_future_ready(queued));
    test_status(ti_future_wait(f, 0, &err), TI_TIMEOUT);
    assert_true(ti_future_ready(f));
    test_status(ti_future_wait(queued, 0, &err), TI_TIMEOUT);
    assert_int_equal(atomic_load(&g.begun), 1);
    ti_future_release(f);
    ti_future_release(queued);
    test_executor_end(ex);
}

/* Who waits for a queued future runs it under the deadline that the start has fixed. */
static void taking_it_back_gives_no_more_time(void **state)
{
    test_env e;
    test_env_init(&e, 0, 1);
    ti_executor *ex =
        test_executor(&(ti_executor_options){.env = &e.env, .threads_max = {1, 1, 1}});
    gate closed = {.open = 0};
    gate g = {.open = 1};
    ti_err err;
    (void)state;
    ti_future *blocker = gate_make(ex, &gate_read, &closed, NULL);
    test_ok(ti_future_start(blocker, &err), &err);
    await(atomic_load(&closed.begun) == 1);
    ti_future *f = gate_new(ex, &gate_read, &g, NULL, 1000);
    ti_future_submit(f);
    test_ok(ti_future_start(f, &err), &err);
    test_env_advance_us(&e, 1000);
    test_status(ti_future_wait(f, TI_NO_DEADLINE, &err), TI_TIMEOUT);
    assert_int_equal(atomic_load(&g.begun), 0);
    atomic_store(&closed.open, 1);
    test_ok(ti_future_wait(blocker, TI_NO_DEADLINE, &err), &err);
    ti_future_release(f);
    ti_future_release(blocker);
    test_executor_end(ex);
}

typedef struct told {
    _Atomic(int) count;
    _Atomic(uint64_t) thread;
    bool release;
} told;

static void tell(void *context, ti_future *future)
{
    told *t = context;
    assert_true(ti_future_ready(future));
    atomic_store(&t->thread, ti_thread_self());
    if (t->release)
        ti_future_release(future);
    atomic_fetch_add(&t->count, 1);
}

static void a_callback_is_called_once(void **state)
{
    ti_executor *ex = test_executor(NULL);
    gate g = {.open = 1};
    told t = {.count = 0};
    ti_err err;
    (void)state;
    ti_future *f = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_then(f, tell, &t, &err), &err);
    test_status(ti_future_then(f, tell, &t, &err), TI_INVALID_STATE);
    await(atomic_load(&t.count) == 1);
    test_status(ti_future_then(f, tell, &t, &err), TI_INVALID_STATE);
    ti_future_release(f);
    f = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_wait(f, TI_NO_DEADLINE, &err), &err);
    test_ok(ti_future_then(f, tell, &t, &err), &err);
    assert_int_equal(atomic_load(&t.count), 2);
    assert_true(atomic_load(&t.thread) == ti_thread_self());
    ti_future_release(f);
    t.release = true;
    f = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_wait(f, TI_NO_DEADLINE, &err), &err);
    test_ok(ti_future_then(f, tell, &t, &err), &err);
    f = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_then(f, tell, &t, &err), &err);
    await(atomic_load(&t.count) == 4);
    test_executor_end(ex);
    assert_int_equal(atomic_load(&g.freed), 4);
}

static void a_released_callback_is_dropped(void **state)
{
    ti_executor *ex = test_executor(NULL);
    gate g = {.open = 0};
    told t = {.count = 0};
    ti_err err;
    (void)state;
    ti_future *f = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_then(f, tell, &t, &err), &err);
    await(atomic_load(&g.begun) == 1);
    ti_future_release(f);
    atomic_store(&g.open, 1);
    await(atomic_load(&g.freed) == 1);
    test_executor_end(ex);
    assert_int_equal(atomic_load(&t.count), 0);
}

static void a_refused_callback_is_still_called(void **state)
{
    ti_executor *ex = test_executor(NULL);
    gate g = {.open = 1};
    told t = {.count = 0};
    ti_err err;
    (void)state;
    ti_future *f = gate_make(ex, &gate_read, &g, NULL);
    ti_executor_close(ex);
    test_ok(ti_future_then(f, tell, &t, &err), &err);
    assert_int_equal(atomic_load(&t.count), 1);
    test_status(ti_future_wait(f, TI_NO_DEADLINE, &err), TI_CLOSED);
    ti_future_release(f);
    ti_executor_unref(ex);
}

typedef struct close_arg {
    ti_executor *ex;
    _Atomic(int) closed;
} close_arg;

static void *close_it(void *arg)
{
    close_arg *c = arg;
    ti_executor_close(c->ex);
    atomic_store(&c->closed, 1);
    return NULL;
}

static void close_ends_what_waits_and_waits_for_what_runs(void **state)
{
    close_arg c = {.ex = test_executor(&(ti_executor_options){.threads_max = {1, 1, 1}})};
    gate g = {.open = 0};
    ti_thread closer;
    ti_err err;
    (void)state;
    ti_future *running = gate_make(c.ex, &gate_read, &g, NULL);
    ti_future *queued = gate_make(c.ex, &gate_read, &g, NULL);
    ti_future *lazy = gate_make(c.ex, &gate_read, &g, NULL);
    test_ok(ti_future_start(running, &err), &err);
    await(atomic_load(&g.begun) == 1);
    test_ok(ti_future_start(queued, &err), &err);
    test_ok(ti_thread_start(&closer, "close", close_it, &c, &err), &err);
    test_status(ti_future_wait(queued, INT64_C(20000000), &err), TI_CLOSED);
    test_status(ti_future_wait(lazy, TI_NO_DEADLINE, &err), TI_CLOSED);
    assert_int_equal(atomic_load(&c.closed), 0);
    atomic_store(&g.open, 1);
    ti_thread_join(&closer);
    assert_true(ti_future_ready(running));
    test_ok(ti_future_wait(running, 0, &err), &err);
    ti_executor_unref(c.ex);
    ti_future_release(running);
    ti_future_release(queued);
    ti_future_release(lazy); /* frees the executor */
    assert_int_equal(atomic_load(&g.begun), 1);
}

static void generations_differ(void **state)
{
    ti_executor *ex = test_executor(NULL);
    gate g = {.open = 1};
    uint64_t last = 0;
    (void)state;
    for (int i = 0; i < 100; i++) {
        ti_future *f = gate_make(ex, &gate_read, &g, NULL);
        assert_true(ti_future_generation(f) > last);
        last = ti_future_generation(f);
        ti_future_release(f);
    }
    test_executor_end(ex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_runs_it_in_the_caller),
        cmocka_unit_test(a_failure_is_told_to_every_waiter),
        cmocka_unit_test(a_finished_one_never_runs),
        cmocka_unit_test(a_started_one_runs_elsewhere),
        cmocka_unit_test(a_waiter_takes_what_is_queued),
        cmocka_unit_test(commits_and_lock_waits_have_their_own_threads),
        cmocka_unit_test(a_full_queue_answers_busy),
        cmocka_unit_test(cancel_in_every_state),
        cmocka_unit_test(release_in_every_state),
        cmocka_unit_test(the_deadline_counts_from_the_start),
        cmocka_unit_test(taking_it_back_gives_no_more_time),
        cmocka_unit_test(a_callback_is_called_once),
        cmocka_unit_test(a_released_callback_is_dropped),
        cmocka_unit_test(a_refused_callback_is_still_called),
        cmocka_unit_test(close_ends_what_waits_and_waits_for_what_runs),
        cmocka_unit_test(generations_differ),
    };
    return TEST_RUN(tests);
}

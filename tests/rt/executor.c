/* Jobs, threads, bounds, closing. */
#include "rt/rt.h"

#include "base/limits.h"

typedef struct counting_job {
    ti_job job; /* first */
    _Atomic(int) runs;
    _Atomic(int) *hold; /* waits while it is 0; NULL: does not */
    _Atomic(uint64_t) thread;
} counting_job;

static void count_run(ti_job *job)
{
    counting_job *c = (counting_job *)job;
    while (c->hold != NULL && !atomic_load(c->hold))
        test_pause();
    atomic_store(&c->thread, ti_thread_self());
    atomic_fetch_add(&c->runs, 1);
}

static void jobs_init(counting_job *jobs, int count, _Atomic(int) *hold)
{
    memset((void *)jobs, 0, (size_t)count * sizeof(jobs[0]));
    for (int i = 0; i < count; i++) {
        jobs[i].job.run = count_run;
        jobs[i].hold = hold;
    }
}

static void a_fresh_one_has_no_thread(void **state)
{
    ti_executor *ex = test_executor(NULL);
    ti_executor_stats stats = stats_of(ex);
    (void)state;
    for (int w = 0; w < TI_WORKS; w++)
        assert_int_equal(stats.threads[w], 0);
    test_executor_end(ex);
}

static void bad_options_are_refused(void **state)
{
    ti_executor *ex = (ti_executor *)1;
    ti_err err;
    ti_executor_options options = {.threads_max = {TI_EXECUTOR_THREADS_MAX + 1}};
    (void)state;
    test_status(ti_executor_create(&options, &ex, &err), TI_LIMIT_EXCEEDED);
    assert_null(ex);
}

static void every_job_runs_once(void **state)
{
    counting_job jobs[500];
    ti_executor *ex = test_executor(NULL);
    ti_err err;
    (void)state;
    jobs_init(jobs, 500, NULL);
    for (int i = 0; i < 500; i++)
        test_ok(ti_executor_post(ex, (ti_work)(i % TI_WORKS), &jobs[i].job, &err), &err);
    for (int i = 0; i < 500; i++)
        await(atomic_load(&jobs[i].runs) == 1);
    ti_executor_stats stats = stats_of(ex);
    assert_true(stats.posted == 500);
    assert_in_range(stats.threads[TI_WORK_GENERAL], 1, TI_EXECUTOR_THREADS_DEFAULT);
    test_executor_end(ex);
    for (int i = 0; i < 500; i++)
        assert_int_equal(atomic_load(&jobs[i].runs), 1);
}

static void threads_grow_with_need_only(void **state)
{
    counting_job jobs[6];
    _Atomic(int) hold = 0;
    ti_executor *ex = test_executor(&(ti_executor_options){.threads_max = {3, 0, 0}});
    ti_err err;
    (void)state;
    jobs_init(jobs, 6, &hold);
    for (int i = 0; i < 6; i++) {
        test_ok(ti_executor_post(ex, TI_WORK_GENERAL, &jobs[i].job, &err), &err);
        assert_int_equal(stats_of(ex).threads[TI_WORK_GENERAL], i < 3 ? i + 1 : 3);
    }
    await(stats_of(ex).queued[TI_WORK_GENERAL] == 3);
    assert_int_equal(stats_of(ex).threads[TI_WORK_COMMIT], 0);
    atomic_store(&hold, 1);
    await(stats_of(ex).idle[TI_WORK_GENERAL] == 3);
    jobs_init(jobs, 1, NULL);
    test_ok(ti_executor_post(ex, TI_WORK_GENERAL, &jobs[0].job, &err), &err);
    await(atomic_load(&jobs[0].runs) == 1);
    assert_int_equal(stats_of(ex).threads[TI_WORK_GENERAL], 3);
    test_executor_end(ex);
}

/* One job after the other needs one thread, whatever the maximum. */
static void an_idle_thread_is_used(void **state)
{
    ti_executor *ex = test_executor(NULL);
    (void)state;
    for (int i = 0; i < 10; i++) {
        counting_job job;
        jobs_init(&job, 1, NULL);
        assert_true(ti_executor_post(ex, TI_WORK_COMMIT, &job.job, NULL) == TI_OK);
        await(atomic_load(&job.runs) == 1 && stats_of(ex).idle[TI_WORK_COMMIT] == 1);
        assert_int_equal(stats_of(ex).threads[TI_WORK_COMMIT], 1);
    }
    test_executor_end(ex);
}

static void the_queue_is_bounded(void **state)
{
    counting_job jobs[4];
    _Atomic(int) hold = 0;
    ti_executor_options options = {.threads_max = {1, 1, 1}, .queue_max = 2};
    ti_executor *ex = test_executor(&options);
    ti_err err;
    (void)state;
    jobs_init(jobs, 4, &hold);
    test_ok(ti_executor_post(ex, TI_WORK_LOCK, &jobs[0].job, &err), &err);
    await(stats_of(ex).queued[TI_WORK_LOCK] == 0);
    test_ok(ti_executor_post(ex, TI_WORK_LOCK, &jobs[1].job, &err), &err);
    test_ok(ti_executor_post(ex, TI_WORK_LOCK, &jobs[2].job, &err), &err);
    test_status(ti_executor_post(ex, TI_WORK_LOCK, &jobs[3].job, &err), TI_BUSY);
    assert_true(ti_executor_remove(ex, &jobs[1].job));
    assert_false(ti_executor_remove(ex, &jobs[1].job));
    assert_false(ti_executor_remove(ex, &jobs[0].job));
    test_ok(ti_executor_post(ex, TI_WORK_LOCK, &jobs[3].job, &err), &err);
    atomic_store(&hold, 1);
    test_executor_end(ex);
    assert_int_equal(atomic_load(&jobs[0].runs), 1);
    assert_int_equal(atomic_load(&jobs[1].runs), 0);
    assert_int_equal(atomic_load(&jobs[2].runs), 1);
    assert_int_equal(atomic_load(&jobs[3].runs), 1);
}

static void a_closed_one_refuses(void **state)
{
    counting_job job;
    ti_executor *ex = test_executor(NULL);
    ti_err err;
    (void)state;
    jobs_init(&job, 1, NULL);
    test_ok(ti_executor_enter(ex, &err), &err);
    ti_executor_leave(ex);
    ti_executor_close(ex);
    ti_executor_close(ex);
    test_status(ti_executor_post(ex, TI_WORK_GENERAL, &job.job, &err), TI_CLOSED);
    test_status(ti_executor_enter(ex, &err), TI_CLOSED);
    assert_int_equal(stats_of(ex).inside, 0);
    ti_executor_unref(ex);
    ti_executor_unref(NULL);
}

typedef struct closer {
    ti_executor *ex;
    _Atomic(int) done;
} closer;

static void *close_it(void *arg)
{
    closer *c = arg;
    ti_executor_close(c->ex);
    atomic_fetch_add(&c->done, 1);
    return NULL;
}

/* Two threads close while a third is inside: both return only after it has left. */
static void close_waits_for_those_inside(void **state)
{
    closer c = {.ex = test_executor(NULL)};
    ti_thread threads[2];
    ti_err err;
    (void)state;
    test_ok(ti_executor_enter(c.ex, &err), &err);
    for (int i = 0; i < 2; i++)
        test_ok(ti_thread_start(&threads[i], "close", close_it, &c, &err), &err);
    for (int i = 0; i < 100; i++)
        test_pause();
    assert_int_equal(atomic_load(&c.done), 0);
    ti_executor_leave(c.ex);
    for (int i = 0; i < 2; i++)
        ti_thread_join(&threads[i]);
    assert_int_equal(atomic_load(&c.done), 2);
    ti_executor_unref(c.ex);
}

typedef struct last_job {
    ti_job job; /* first */
    ti_executor *ex;
    _Atomic(int) *done;
} last_job;

static void close_own(ti_job *job)
{
    last_job *l = (last_job *)job;
    _Atomic(int) *done = l->done;
    ti_executor *ex = l->ex;
    ti_executor_close(ex);
    ti_executor_unref(ex);
    atomic_store(done, 1);
}

/* The last owner may go away in a thread of the executor's own. */
static void its_own_thread_may_close_it(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        _Atomic(int) done = 0;
        last_job l = {.job = {.run = close_own}, .ex = test_executor(NULL), .done = &done};
        ti_err err;
        int64_t live = ti_mem_live();
        test_ok(ti_executor_post(l.ex, TI_WORK_GENERAL, &l.job, &err), &err);
        await(atomic_load(&done) == 1);
#ifdef TI_TESTING
        await(ti_mem_live() < live); /* the thread frees the executor when it ends */
#endif
        (void)live;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_one_has_no_thread),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(every_job_runs_once),
        cmocka_unit_test(threads_grow_with_need_only),
        cmocka_unit_test(an_idle_thread_is_used),
        cmocka_unit_test(the_queue_is_bounded),
        cmocka_unit_test(a_closed_one_refuses),
        cmocka_unit_test(close_waits_for_those_inside),
        cmocka_unit_test(its_own_thread_may_close_it),
    };
    return TEST_RUN(tests);
}

/* Waits, schedules, timeouts and grace on a clock that only the test moves. */
#include "queue/support.h"

#include "base/limits.h"

#define START_US INT64_C(1700000000000000)
#define SECOND INT64_C(1000000)

static test_env *the_env;

static void open_at(qdb *d, test_env *env)
{
    test_env_init(env, START_US, 7);
    the_env = env;
    qdb_open(d, NULL, &env->env);
}

/* Nothing comes while the clock stands. Waits in real time, since the test's does not go on. */
static void expect_nothing_now(ti_worker *w)
{
    usleep(20000);
    expect_none(w, 0);
}

/* An event that is there now. The clock moves by as little as a pause after an error needs: the
 * calls that run during a leap are out of time. */
static ti_event *take_now(ti_worker *w)
{
    ti_event *event = NULL;
    size_t count = 0;
    for (int i = 0; i < 5000 && count == 0; i++) {
        ti_err err;
        ti_err_clear(&err);
        test_ok(ti_worker_take(w, &event, 1, 0, &count, &err), &err);
        if (count == 0) {
            usleep(1000);
            test_env_advance_us(the_env, 100);
        }
    }
    if (count == 0)
        fail_msg("no event came");
    return event;
}

static void retries_wait_as_told(void **state)
{
    (void)state;
    qdb d;
    test_env env;
    open_at(&d, &env);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    ti_worker_options options = {
        .concurrency = 2,
        .retry = {
            .max_retries = 5, .base_us = SECOND, .factor = 3, .cap_us = 10 * SECOND, .jitter = 0}};
    publish(&d, "user", "a", "1");
    publish(&d, "user", "b", "2");
    ti_worker *w = start_worker(&d, "user", &options);
    const int64_t waits[] = {SECOND, 3 * SECOND, 9 * SECOND, 10 * SECOND, 10 * SECOND};
    ti_event *event = take_now(w);
    ack(take_now(w));
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(ti_event_info_of(event)->attempts, i);
        fail_event(event, "no");
        wait_committed(w);
        test_env_advance_us(&env, waits[i] - 50000);
        expect_nothing_now(w);
        test_env_advance_us(&env, 60000);
        event = take_now(w);
    }
    fail_event(event, "no");
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_FAILED), 1);
    qdb_close(&d);
}

/* A wait goes on where it was when the worker is another one. */
static void waits_survive_the_worker(void **state)
{
    (void)state;
    qdb d;
    test_env env;
    open_at(&d, &env);
    ti_worker_options options = {
        .retry = {.max_retries = 5, .base_us = 60 * SECOND, .factor = 1, .cap_us = 60 * SECOND}};
    publish(&d, "user", "a", "1");
    publish(&d, "user", "a", "2");
    ti_worker *w = start_worker(&d, "user", &options);
    fail_event(take_now(w), "no");
    finish_worker(w);
    test_env_advance_us(&env, 30 * SECOND);
    w = start_worker(&d, "user", &options);
    ti_queue_stats stats;
    do
        ti_queue_stats_of(d.queues, S("user"), &stats);
    while (stats.parked_keys == 0);
    expect_nothing_now(w);
    test_env_advance_us(&env, 31 * SECOND);
    ti_event *event = take_now(w);
    assert_true(is(ti_event_info_of(event)->payload, "1"));
    assert_int_equal(ti_event_info_of(event)->attempts, 1);
    ack(event);
    event = take_now(w);
    assert_true(is(ti_event_info_of(event)->payload, "2"));
    ack(event);
    finish_worker(w);
    qdb_close(&d);
}

static void far_schedules(void **state)
{
    (void)state;
    qdb d;
    test_env env;
    open_at(&d, &env);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY);
    ti_worker *w = start_worker(&d, "user", &(ti_worker_options){.concurrency = 8});
    int64_t day = 24 * 3600 * SECOND;
    for (int i = 5; i > 0; i--) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        publish_due(&d, "user", key, "1", START_US + i * day);
    }
    for (int i = 1; i <= 5; i++) {
        int64_t left = START_US + i * day - db_now_us(&d);
        while (left > 2 * 3600 * SECOND) { /* the clock of a machine does not leap */
            test_env_advance_us(&env, 3600 * SECOND);
            usleep(3000);
            left = START_US + i * day - db_now_us(&d);
        }
        test_env_advance_us(&env, left - 20000);
        expect_nothing_now(w);
        test_env_advance_us(&env, 30000);
        ti_event *event = take_now(w);
        assert_int_equal(ti_event_info_of(event)->place.timestamp_us, START_US + i * day);
        ack(event);
    }
    finish_worker(w);
    qdb_close(&d);
}

static void the_default_timeout(void **state)
{
    (void)state;
    qdb d;
    test_env env;
    open_at(&d, &env);
    publish(&d, "user", "a", "1");
    ti_worker *w = start_worker(&d, "user", NULL);
    ti_event *event = take_now(w);
    test_env_advance_us(&env, TI_HANDLER_TIMEOUT_DEFAULT_US - SECOND);
    usleep(20000);
    assert_false(ti_event_timed_out(event));
    test_env_advance_us(&env, 2 * SECOND);
    for (int i = 0; i < 2000 && !ti_event_timed_out(event); i++)
        usleep(1000);
    assert_true(ti_event_timed_out(event));
    ack(event);
    wait_committed(w);
    test_env_advance_us(&env, 2 * SECOND);
    ack(take_now(w));
    finish_worker(w);
    qdb_close(&d);
}

typedef struct slow_commit {
    test_env *env;
    int64_t us;
} slow_commit;

static ti_status commit_slowly(void *context, ti_txn *txn, ti_ts t, ti_err *err)
{
    const slow_commit *slow = context;
    ti_ts now;
    ti_call call = ti_kv_call(ti_txn_kv(txn));
    (void)t;
    for (int64_t us = 0; us < slow->us; us += 100000)
        test_env_advance_us(slow->env, 100000);
    return ti_kv_now(ti_txn_kv(txn), &now, &call, err);
}

/* A commit that takes longer than the grace can not leave events in the past. */
static void commits_beyond_the_grace_are_refused(void **state)
{
    (void)state;
    qdb d;
    test_env env;
    open_at(&d, &env);
    for (int i = 0; i < 2; i++) {
        slow_commit slow = {.env = &env, .us = i == 0 ? TI_GRACE_US / 2 : TI_GRACE_US * 2};
        ti_event_spec spec = {.type = S("user"), .key = S("a")};
        ti_txn *txn;
        OK(&d, ti_txn_begin(&d.kv, NULL, &txn, &d.err));
        OK(&d, ti_queue_publish(d.queues, txn, &spec, NULL, &d.call, &d.err));
        OK(&d, ti_txn_on_commit(txn, commit_slowly, &slow, &d.err));
        test_status(ti_txn_commit(txn, NULL, &d.call, &d.err), i == 0 ? TI_OK : TI_CONFLICT);
        ti_txn_free(txn);
        assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 1);
    }
    qdb_close(&d);
}

static ti_status dawdle(void *context, ti_txn *txn, ti_ts t, ti_err *err)
{
    (void)context;
    (void)txn;
    (void)t;
    (void)err;
    for (int i = 0; i < 30; i++) {
        test_env_advance_us(the_env, 100000);
        usleep(2000);
    }
    return TI_OK;
}

/* A worker may have passed the time of a commit that has not even said that it writes events. */
static void commits_that_enter_late_are_refused(void **state)
{
    (void)state;
    qdb d;
    test_env env;
    open_at(&d, &env);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    ti_worker *w = start_worker(&d, "user", NULL);
    for (int i = 0; i < 2; i++) {
        ti_event_spec spec = {.type = S("user"), .key = S("a")};
        ti_txn *txn;
        OK(&d, ti_txn_begin(&d.kv, NULL, &txn, &d.err));
        if (i == 0)
            OK(&d, ti_txn_on_commit(txn, dawdle, NULL, &d.err)); /* before the outbox's */
        OK(&d, ti_queue_publish(d.queues, txn, &spec, NULL, &d.call, &d.err));
        test_status(ti_txn_commit(txn, NULL, &d.call, &d.err), i == 0 ? TI_CONFLICT : TI_OK);
        ti_txn_free(txn);
    }
    ack(take_now(w));
    finish_worker(w);
    qdb_close(&d);
}

/* A partition is read from its checkpoint: rows before it are not seen any more. */
static void checkpoints_are_followed(void **state)
{
    (void)state;
    qdb d;
    test_env env;
    open_at(&d, &env);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    ti_worker *w = start_worker(&d, "user", NULL);
    for (int i = 0; i < 40; i++) {
        publish(&d, "user", "a", "1");
        ack(take_now(w));
        test_env_advance_us(&env, SECOND);
    }
    finish_worker(w);
    ti_txn *txn;
    ti_slice value;
    OK(&d, ti_txn_begin(&d.kv, NULL, &txn, &d.err));
    ti_arena *a = ti_txn_arena(txn);
    OK(&d, ti_txn_get(txn, ti_key_queue_checkpoint(ti_store_keyspace(d.store), a, S("user"), 0), a,
                      &value, &d.call, &d.err));
    ti_txn_free(txn);
    /* what is published goes on being delivered */
    publish(&d, "user", "a", "2");
    w = start_worker(&d, "user", NULL);
    ti_event *event = take_now(w);
    assert_true(is(ti_event_info_of(event)->payload, "2"));
    ack(event);
    finish_worker(w);
    qdb_close(&d);
}

/* A checkpoint does not pass what is unfinished, however much behind it is: after the worker has
 * died it is there for the next. */
static void checkpoints_wait_for_the_oldest(void **state)
{
    (void)state;
    qdb d;
    test_env env;
    open_at(&d, &env);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    ti_worker *w = start_worker(&d, "user", &(ti_worker_options){.concurrency = 2});
    publish(&d, "user", "slow", "1");
    ti_event *slow = take_now(w);
    for (int i = 0; i < 40; i++) {
        publish(&d, "user", "quick", "2");
        ack(take_now(w));
        test_env_advance_us(&env, SECOND);
    }
    ti_worker_stop(w, 0);
    (void)ti_worker_join(w, NULL);
    ti_event_abandon(slow);
    ti_event_free(slow);
    ti_worker_free(w);
    w = start_worker(&d, "user", NULL);
    ti_event *event = take_now(w);
    assert_true(is(ti_event_info_of(event)->payload, "1"));
    ack(event);
    finish_worker(w);
    qdb_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retries_wait_as_told),
        cmocka_unit_test(waits_survive_the_worker),
        cmocka_unit_test(far_schedules),
        cmocka_unit_test(the_default_timeout),
        cmocka_unit_test(commits_beyond_the_grace_are_refused),
        cmocka_unit_test(commits_that_enter_late_are_refused),
        cmocka_unit_test(checkpoints_are_followed),
        cmocka_unit_test(checkpoints_wait_for_the_oldest),
    };
    return TEST_RUN(tests);
}

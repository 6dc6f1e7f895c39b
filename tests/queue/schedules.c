/* Recurring events: once a tick, also when they were missed, over restarts, changes of the clock and
 * of the schedule. Killed amid ticks: ticks.c; times alone: cron.c. */
#include "queue/support.h"
#include "tikv/spaced.h"

#include <inttypes.h>

#include "base/limits.h"
#include "queue/cron_int.h"
#include "queue/schedule.h"
#include "queue/value_int.h"

#define SECOND INT64_C(1000000)

#define START_US INT64_C(1704067190000000) /* ten seconds before 2024 */

static uint64_t run_until(qdb *d, test_env *env, ti_worker *w, int64_t us, int64_t *places,
                          uint64_t max)
{
    uint64_t n = 0;
    for (int64_t passed = 0; passed < us; passed += 250000) {
        ti_event *event;
        size_t count = 0;
        test_env_advance_us(env, 250000);
        for (int i = 0; i < 8; i++) {
            OK(d, ti_worker_take(w, &event, 1, 0, &count, &d->err));
            if (count == 0) {
                usleep(700);
                continue;
            }
            if (n < max)
                places[n] = (int64_t)ti_event_info_of(event)->place.timestamp_us;
            n++;
            ack(event);
        }
    }
    return n;
}

static void schedule(qdb *d, const char *cron, ti_catch_up catch_up)
{
    ti_schedule s = {.name = S("tick"),
                     .type = S("user"),
                     .key = S("a"),
                     .cron = S(cron),
                     .payload = S("{\"x\":1}"),
                     .catch_up = catch_up};
    OK(d, ti_schedule_set(d->queues, &s, &d->call, &d->err));
}

static void ticks_come_once_each(void **state)
{
    (void)state;
    if (spaced_wanted())
        skip(); /* the cluster's clock is not the test's: ticks.c */
    qdb d;
    test_env env;
    int64_t places[16] = {0};
    test_env_init(&env, START_US, 7);
    qdb_open(&d, NULL, &env.env);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY);
    schedule(&d, "* * * * *", TI_CATCH_UP_ALL);
    ti_worker *w = start_worker(&d, "user", NULL);
    uint64_t n = 0;
    for (int64_t passed = 0; n < 3 && passed < 300 * SECOND; passed += SECOND / 2) {
        uint32_t fired; /* others that try, too */
        for (int i = 0; i < 3; i++)
            OK(&d, ti_schedule_fire(d.queues, S("tick"), &fired, &d.call, &d.err));
        n += run_until(&d, &env, w, SECOND / 2, places + n, 16 - n);
    }
    finish_worker(w);
    assert_int_equal(n, 3);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(places[i] % (60 * SECOND), 0);
    assert_int_equal(places[1] - places[0], 60 * SECOND);
    assert_int_equal(places[2] - places[1], 60 * SECOND);
    qdb_close(&d);
}

/* Ticks while nobody worked, from before a restart; and the one in time. Before that, one has come. */
static uint64_t missed_ticks(ti_catch_up catch_up, bool set_again)
{
    qdb d;
    test_env env;
    char dir[TEST_DIR_SIZE];
    int64_t places[64] = {0};
    test_dir_make(dir);
    test_env_init(&env, START_US, 7);
    qdb_open(&d, dir, &env.env);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY);
    schedule(&d, "* * * * *", catch_up);
    ti_worker *w = start_worker(&d, "user", NULL);
    assert_int_equal(run_until(&d, &env, w, 15 * SECOND, places, 64), 1);
    finish_worker(w);
    qdb_close(&d);
    test_env_advance_us(&env, 650 * SECOND); /* until five seconds before a tick: ten were missed */
    qdb_open(&d, dir, &env.env);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY);
    if (set_again) /* nothing is forgotten */
        schedule(&d, "* * * * *", catch_up);
    w = start_worker(&d, "user", NULL);
    uint64_t n = run_until(&d, &env, w, 20 * SECOND, places, 64);
    finish_worker(w);
    qdb_close(&d);
    test_dir_remove(dir);
    for (uint64_t i = 1; i < n; i++)
        assert_true(places[i] >= places[i - 1]); /* missed ones come at once, in order */
    return n;
}

static void missed_ticks_are_caught_up(void **state)
{
    (void)state;
    if (spaced_wanted())
        skip(); /* as above */
    for (int again = 0; again < 2; again++) {
        assert_int_equal(missed_ticks(TI_CATCH_UP_ALL, again != 0), 11);
        assert_int_equal(missed_ticks(TI_CATCH_UP_ONE, again != 0), 2); /* one for ten */
        assert_int_equal(missed_ticks(TI_CATCH_UP_NONE, again != 0), 1);
    }
}

/* The places of what waits, in order. */
static size_t waiting(qdb *d, int64_t *places, size_t max)
{
    ti_event_list list;
    ti_event_filter filter = {.type = S("user"), .state = TI_EVENT_PENDING, .limit = max};
    OK(d, ti_queue_list(d->queues, &filter, &d->a, &list, &d->call, &d->err));
    for (size_t i = 0; i < list.count; i++)
        places[i] = (int64_t)list.items[i].place.timestamp_us;
    return list.count;
}

static uint32_t fire(qdb *d)
{
    uint32_t fired;
    OK(d, ti_schedule_fire(d->queues, S("tick"), &fired, &d->call, &d->err));
    return fired;
}

/* Fires each tick a second before its time. */
static void expect_ticks(const char *cron, int64_t from_us, const int64_t *wanted, size_t count)
{
    qdb d;
    test_env env;
    int64_t places[128];
    ti_schedule *list;
    size_t listed;
    test_env_init(&env, from_us, 7);
    qdb_open(&d, NULL, &env.env);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    ti_schedule s = {.name = S("tick"),
                     .type = S("user"),
                     .key = S("a"),
                     .cron = S(cron),
                     .timezone = S("Europe/Berlin"),
                     .catch_up = TI_CATCH_UP_ALL};
    OK(&d, ti_schedule_set(d.queues, &s, &d.call, &d.err));
    for (size_t i = 0; i < count; i++) {
        OK(&d, ti_schedule_list(d.queues, &d.a, &list, &listed, &d.call, &d.err));
        assert_int_equal(listed, 1);
        test_env_advance_us(&env, list[0].next_us - SECOND - db_now_us(&d));
        assert_int_equal(fire(&d), 1);
    }
    assert_int_equal(waiting(&d, places, 128), count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(places[i], wanted[i]);
    qdb_close(&d);
}

static int64_t at(int month, int day, int hour, int minute)
{
    return (ti_days_from_date(2024, month, day) * 86400 + hour * 3600 + minute * 60) * SECOND;
}

/* In Berlin 2024-03-31 has no 02:30, 2024-10-27 has two: one event each day. By the hour each hour
 * that passes has one. */
static void ticks_over_changes_of_the_clock(void **state)
{
    (void)state;
    if (spaced_wanted())
        skip(); /* as above */
    const int64_t spring[] = {at(3, 30, 1, 30), at(3, 31, 1, 30), at(4, 1, 0, 30)};
    const int64_t autumn[] = {at(10, 26, 0, 30), at(10, 27, 0, 30), at(10, 28, 1, 30)};
    int64_t hours[72];
    expect_ticks("30 2 * * *", at(3, 30, 0, 0), spring, 3);
    expect_ticks("30 2 * * *", at(10, 26, 0, 0), autumn, 3);
    for (int i = 0; i < 72; i++)
        hours[i] = at(3, 30, 0, 30) + i * 3600 * SECOND;
    expect_ticks("30 * * * *", at(3, 30, 0, 0), hours, 72);
    for (int i = 0; i < 72; i++)
        hours[i] = at(10, 26, 0, 30) + i * 3600 * SECOND;
    expect_ticks("30 * * * *", at(10, 26, 0, 0), hours, 72);
}

/* The event of a tick is published a moment before. A schedule that gets other times, another type
 * or key then does not publish the same tick again; one that is removed leaves its event, which can
 * be purged by its owner. */
static void changed_while_an_event_waits(void **state)
{
    (void)state;
    if (spaced_wanted())
        skip(); /* as above */
    qdb d;
    test_env env;
    int64_t places[8];
    uint64_t purged;
    test_env_init(&env, START_US, 7);
    qdb_open(&d, NULL, &env.env);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    schedule(&d, "* * * * *", TI_CATCH_UP_ALL);
    test_env_advance_us(&env, 9 * SECOND);
    assert_int_equal(fire(&d), 1);
    schedule(&d, "*/2 * * * *", TI_CATCH_UP_ALL); /* midnight is a tick of it, too */
    assert_int_equal(fire(&d), 0);
    schedule(&d, "*/3 * * * *", TI_CATCH_UP_ALL);
    assert_int_equal(fire(&d), 0);
    test_env_advance_us(&env, 61 * SECOND);
    assert_int_equal(fire(&d), 0);
    schedule(&d, "* * * * *", TI_CATCH_UP_ALL);
    test_env_advance_us(&env, 59 * SECOND);
    assert_int_equal(fire(&d), 1);
    assert_int_equal(waiting(&d, places, 8), 2);
    assert_int_equal(places[0], START_US + 10 * SECOND);
    assert_int_equal(places[1], START_US + 130 * SECOND);
    OK(&d, ti_schedule_remove(d.queues, S("tick"), &d.call, &d.err));
    assert_int_equal(waiting(&d, places, 8), 2);
    ti_event_filter mine = {
        .type = S("user"), .state = TI_EVENT_PENDING, .owner = S("schedule:tick")};
    OK(&d, ti_queue_purge(d.queues, &mine, false, &purged, &d.call, &d.err));
    assert_int_equal(purged, 2);
    qdb_close(&d);
}

/* A schedule that can not be published (its zone is not on this machine) keeps no other from it. */
static void a_broken_one_is_alone(void **state)
{
    (void)state;
    if (spaced_wanted())
        skip(); /* as above */
    qdb d;
    test_env env;
    ti_txn *txn;
    ti_buf value;
    int64_t places[8];
    test_env_init(&env, START_US, 7);
    qdb_open(&d, NULL, &env.env);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY);
    schedule(&d, "* * * * *", TI_CATCH_UP_ALL);
    ti_schedule broken = {.name = S("a"),
                          .type = S("user"),
                          .key = S("a"),
                          .cron = S("* * * * *"),
                          .timezone = S("Mars/Olympus"),
                          .next_us = START_US};
    OK(&d, ti_txn_begin(&d.kv, NULL, &txn, &d.err));
    ti_slice key = ti_key_queue_schedule(ti_store_keyspace(d.store), ti_txn_arena(txn), S("a"));
    ti_buf_init(&value, 4096);
    OK(&d, ti_schedule_seal(&value, key, &broken, &d.err));
    OK(&d, ti_txn_put(txn, key, ti_buf_slice(&value), &d.err));
    OK(&d, ti_txn_commit(txn, NULL, &d.call, &d.err));
    ti_buf_free(&value);
    ti_txn_free(txn);
    ti_worker *w = start_worker(&d, "user", NULL);
    assert_int_equal(run_until(&d, &env, w, 15 * SECOND, places, 8), 1);
    finish_worker(w);
    qdb_close(&d);
}

static void schedules_are_listed_changed_and_removed(void **state)
{
    (void)state;
    qdb d;
    ti_schedule *list;
    size_t count;
    qdb_open(&d, NULL, NULL);
    schedule(&d, "0 0 1 1 *", TI_CATCH_UP_ONE);
    OK(&d, ti_schedule_list(d.queues, &d.a, &list, &count, &d.call, &d.err));
    assert_int_equal(count, 1);
    assert_true(is(list[0].name, "tick") && is(list[0].cron, "0 0 1 1 *"));
    assert_true(is(list[0].payload, "{\"x\":1}"));
    int64_t next_us = list[0].next_us;
    assert_true(next_us > db_now_us(&d));
    schedule(&d, "0 0 1 2 *", TI_CATCH_UP_NONE);
    OK(&d, ti_schedule_list(d.queues, &d.a, &list, &count, &d.call, &d.err));
    assert_int_equal(list[0].catch_up, TI_CATCH_UP_NONE);
    assert_true(list[0].next_us != next_us);
    ti_schedule wrong = {.name = S("x"), .type = S("user"), .key = S("a"), .cron = S("* * *")};
    test_status(ti_schedule_set(d.queues, &wrong, &d.call, &d.err), TI_INVALID_ARGUMENT);
    wrong.cron = S("* * * * *");
    wrong.timezone = S("Mars/Olympus");
    test_status(ti_schedule_set(d.queues, &wrong, &d.call, &d.err), TI_INVALID_ARGUMENT);
    wrong.timezone = S("");
    wrong.payload = S("{");
    test_status(ti_schedule_set(d.queues, &wrong, &d.call, &d.err), TI_INVALID_ARGUMENT);
    OK(&d, ti_schedule_remove(d.queues, S("tick"), &d.call, &d.err));
    test_status(ti_schedule_remove(d.queues, S("tick"), &d.call, &d.err), TI_NOT_FOUND);
    qdb_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticks_come_once_each),
        cmocka_unit_test(missed_ticks_are_caught_up),
        cmocka_unit_test(ticks_over_changes_of_the_clock),
        cmocka_unit_test(changed_while_an_event_waits),
        cmocka_unit_test(a_broken_one_is_alone),
        cmocka_unit_test(schedules_are_listed_changed_and_removed),
    };
    return TEST_RUN(tests);
}

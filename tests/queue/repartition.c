/* Another partition count for a type that is in use: where everything lies afterwards, what waits
 * for what, what is left when it is cut short. Killed at random: crash.c. */
#include "queue/faulty.h"
#include "queue/load.h"
#include "tikv/spaced.h"

#include "base/limits.h"

#define SECOND INT64_C(1000000)

static ti_status change(qdb *d, uint32_t count, int64_t within_us, uint64_t *moved_out)
{
    ti_call call = ti_call_within(d->env, within_us);
    ti_err_clear(&d->err);
    return ti_queue_repartition(d->queues, S("user"), count, NULL, moved_out, &call, &d->err);
}

static uint64_t changed(qdb *d, uint32_t count)
{
    uint64_t moved;
    test_ok(change(d, count, 120 * SECOND, &moved), &d->err);
    return moved;
}

/* Expects every event of a state in the partition of its key; how many there are. */
static uint64_t expect_placed(qdb *d, ti_event_state state, uint32_t count)
{
    ti_event_filter filter = {.type = S("user"), .state = state, .limit = 100};
    ti_event_list list;
    uint64_t seen = 0;
    do {
        OK(d, ti_queue_list(d->queues, &filter, &d->a, &list, &d->call, &d->err));
        for (size_t i = 0; i < list.count; i++, seen++) {
            uint32_t wanted = ti_queue_partition_of(list.items[i].key, count);
            if (state == TI_EVENT_COMPLETED || state == TI_EVENT_FAILED)
                assert_true(list.items[i].place.partition < count);
            else
                assert_int_equal(list.items[i].place.partition, wanted);
        }
        filter.cursor = list.cursor;
    } while (list.cursor.len > 0);
    return seen;
}

static void publish_unique(qdb *d, const char *key, const char *token, ti_status wanted)
{
    ti_event_spec spec = {
        .type = S("user"), .key = S(key), .payload = S("1"), .unique = S(token), .due_us = 0};
    ti_err_clear(&d->err);
    test_status(ti_queue_publish(d->queues, NULL, &spec, NULL, &d->call, &d->err), wanted);
}

/* Completed, failed, parked and pending events, some of which have tokens or are due much later. */
static void fill(qdb *d)
{
    const ti_worker_options options = {
        .concurrency = 1,
        .retry = {
            .max_retries = 1, .base_us = 3600 * SECOND, .factor = 1, .cap_us = 3600 * SECOND}};
    declare(d, "user", 4, TI_RETENTION_DEFAULT_US, TI_ORDERING_KEY);
    publish_many(d, "user", 60, 20, 10);
    ti_worker *w = start_worker(d, "user", &options);
    for (int i = 0; i < 40; i++) {
        ti_event *event = take_one(w);
        if (i % 8 == 0)
            fail_event(event, "planned"); /* it is parked, for an hour, and so is what follows */
        else
            ack(event);
        if (ti_worker_ready(w, NULL) == 0)
            wait_committed(w);
        if (i >= 24 && count_of(d, "user", TI_EVENT_PARKED) > 5)
            break;
    }
    wait_committed(w);
    finish_worker(w);
    publish_many(d, "user", 100, 20, 10);
    publish_due(d, "user", "later", "1", db_now_us(d) + 3600 * SECOND);
    for (int i = 0; i < 8; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%d", i);
        publish_unique(d, name, name, TI_OK);
    }
}

static void everything_lies_where_it_belongs(void **state)
{
    (void)state;
    const uint32_t counts[] = {7, 3, 64, 1, 4};
    qdb d;
    uint64_t before[4];
    qdb_open(&d, NULL, NULL);
    fill(&d);
    for (int s = TI_EVENT_PENDING; s <= TI_EVENT_FAILED; s++)
        before[s] = count_of(&d, "user", (ti_event_state)s);
    assert_true(before[TI_EVENT_PENDING] > 100);
    assert_true(before[TI_EVENT_PARKED] > 0);
    assert_true(before[TI_EVENT_COMPLETED] > 10);
    assert_int_equal(changed(&d, 4), 0);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        assert_true(changed(&d, counts[i]) > 0);
        for (int s = TI_EVENT_PENDING; s <= TI_EVENT_FAILED; s++)
            assert_int_equal(expect_placed(&d, (ti_event_state)s, counts[i]), before[s]);
        publish_unique(&d, "other", "t3", TI_ALREADY_EXISTS);
        assert_int_equal(changed(&d, counts[i]), 0);
    }
    qdb_close(&d);
}

/* A worker goes on after each change, with what was published before, meanwhile and afterwards. */
static void workers_follow(void **state)
{
    const ti_worker_options *options = *state;
    const uint32_t counts[] = {7, 1, 16, 4};
    run r;
    pthread_t threads[4];
    uint64_t step = test_scaled(800);
    run_open(&r, NULL, step * 4, 30, 4);
    r.fail_in = 20;
    r.write_in = 3;
    r.w = start_worker(&r.d, "user", options);
    run_start_threads(&r, threads, 4);
    for (uint64_t i = 0; i < 4; i++) {
        run_publish(&r, i * step + 1, (i + 1) * step, 10);
        (void)changed(&r.d, counts[i]);
    }
    run_wait_empty(&r);
    run_join_threads(&r, threads, 4);
    finish_worker(r.w);
    run_judge(&r);
    run_close(&r);
}

typedef struct beside {
    run *r;
    _Atomic(bool) stop;
    uint32_t changes;
    ti_status status;
} beside;

static void *change_all_the_time(void *context)
{
    static const uint32_t counts[] = {3, 9, 4, 1, 12};
    beside *b = context;
    ti_call call = ti_call_within(b->r->d.env, TI_NO_DEADLINE);
    while (!atomic_load(&b->stop) && b->status == TI_OK) {
        uint64_t moved;
        b->status = ti_queue_repartition(b->r->d.queues, S("user"), counts[b->changes % 5], NULL,
                                         &moved, &call, NULL);
        b->changes++;
        usleep(3000);
    }
    return NULL;
}

/* Nothing is lost, doubled or out of order while the count changes under publishers and handlers;
 * runs of a key do not overlap. */
static void under_load(void **state)
{
    const ti_worker_options *options = *state;
    run r;
    pthread_t threads[4];
    pthread_t changer;
    beside b = {.r = &r};
    run_open(&r, NULL, test_scaled(20000), 40, 4);
    r.fail_in = 50;
    r.abandon_in = 50;
    r.write_in = 5;
    r.w = start_worker(&r.d, "user", options);
    run_start_threads(&r, threads, 4);
    assert_int_equal(pthread_create(&changer, NULL, change_all_the_time, &b), 0);
    run_publish(&r, 1, r.number_max, 10);
    atomic_store(&b.stop, true);
    pthread_join(changer, NULL);
    run_wait_empty(&r);
    run_join_threads(&r, threads, 4);
    finish_worker(r.w);
    print_message("%u changes\n", b.changes);
    test_status(b.status, TI_OK);
    assert_true(b.changes >= 1);
    run_judge(&r);
    run_close(&r);
}

/* A handler that has an event in hand is waited for; a call that gave up is gone on with, or taken
 * back. Publishing goes on: by the old count as long as a worker does not rest, which could read
 * what lies by the new one before older events of the same key. */
static void handlers_are_waited_for(void **state)
{
    const ti_worker_options *options = *state;
    qdb d;
    uint64_t moved;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "a", "2");
    ti_worker *w = start_worker(&d, "user", options);
    ti_event *event = take_one(w);
    test_status(change(&d, 8, SECOND / 5, &moved), TI_TIMEOUT);
    assert_int_equal(moved, 0);
    publish(&d, "user", "a", "3");
    publish(&d, "user", "b", "1");
    publish_many(&d, "user", 40, 20, 10);
    (void)expect_placed(&d, TI_EVENT_PENDING, 4);
    expect_none(w, SECOND / 5);
    test_status(change(&d, 5, SECOND / 5, &moved), TI_TIMEOUT);
    (void)expect_placed(&d, TI_EVENT_PENDING, 4);
    ack(event);
    expect_none(w, SECOND / 5); /* the type stands */
    (void)changed(&d, 4);
    char wanted = '2';
    for (int i = 0; i < 43; i++) { /* 2 and 3 of a, 1 of b, many */
        event = take_one(w);
        if (is(ti_event_info_of(event)->key, "a"))
            assert_int_equal(ti_event_info_of(event)->payload.data[0], wanted++);
        ack(event);
    }
    assert_int_equal(wanted, '4');
    wait_committed(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    finish_worker(w);
    qdb_close(&d);
}

/* Who said the old number before goes on; who says it now does not. */
static void declarations(void **state)
{
    (void)state;
    qdb d;
    uint32_t partitions;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    (void)changed(&d, 6);
    ti_event_spec spec = {.type = S("user"), .key = S("a"), .payload = S("2"), .partitions = 4};
    OK(&d, ti_queue_publish(d.queues, NULL, &spec, NULL, &d.call, &d.err));
    spec.partitions = 5;
    test_status(ti_queue_publish(d.queues, NULL, &spec, NULL, &d.call, &d.err), TI_SCHEMA_MISMATCH);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY); /* an app that is loaded again */
    OK(&d, ti_queue_partitions(d.queues, S("user"), &partitions, &d.call, &d.err));
    assert_int_equal(partitions, 6);
    assert_int_equal(expect_placed(&d, TI_EVENT_PENDING, 6), 2);
    qdb_close(&d);
}

static void misuse(void **state)
{
    (void)state;
    qdb d;
    uint64_t moved;
    qdb_open(&d, NULL, NULL);
    test_status(change(&d, 4, SECOND, &moved), TI_NOT_FOUND);
    test_status(change(&d, 0, SECOND, &moved), TI_INVALID_ARGUMENT);
    test_status(change(&d, TI_PARTITIONS_MAX + 1, SECOND, &moved), TI_INVALID_ARGUMENT);
    test_status(ti_queue_repartition(d.queues, S("no type"), 4, NULL, &moved, &d.call, NULL),
                TI_INVALID_ARGUMENT);
    qdb_close(&d);
}

/* On a shared engine, where another process publishes and works: it is not told, it looks. What its
 * handler has in hand for too long has no effect and runs again. */
static void another_process_follows(void **state)
{
    const ti_worker_options *options = *state;
    qdb d;
    qdb d2;
    bool again = false;
    faulty *f = faulty_open(true);
    qdb_open_on(&d, &f->base);
    qdb_open_on(&d2, &faulty_beside(f)->base);
    declare(&d2, "user", 4, 0, TI_ORDERING_KEY);
    publish(&d2, "user", "slow", "1");
    publish(&d2, "user", "slow", "2");
    ti_worker *w = start_worker(&d2, "user", options);
    ti_event *slow = take_one(w);
    uint64_t begun_ns = (uint64_t)ti_env_mono_ns(d.env);
    (void)changed(&d, 7);
    assert_true((uint64_t)ti_env_mono_ns(d.env) - begun_ns >= (uint64_t)qdb_meta_lease_us * 2000);
    for (int i = 0; i < 50; i++)
        publish_many(&d2, "user", 2, 20, 2);
    ack(slow); /* too late */
    for (int i = 0; i < 102; i++) {
        ti_event *event = take_one(w);
        if (is(ti_event_info_of(event)->key, "slow")) {
            assert_int_equal(ti_event_info_of(event)->payload.data[0], again ? '2' : '1');
            again = true;
        }
        ack(event);
    }
    wait_committed(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    finish_worker(w);
    qdb_close(&d2);
    qdb_close(&d);
}

int main(void)
{
    static ti_worker_options fixed = {.concurrency = 4};
    static ti_worker_options leased = {.concurrency = 4, .leased = true, .lease_us = 2 * SECOND};
    fixed.retry = (ti_retry_policy){
        .max_retries = 1000, .base_us = 500, .factor = 1.5, .cap_us = 5000, .jitter = 0.5};
    leased.retry = fixed.retry;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_lies_where_it_belongs),
        cmocka_unit_test_prestate(workers_follow, &fixed),
        cmocka_unit_test_prestate(workers_follow, &leased),
        cmocka_unit_test_prestate(under_load, &fixed),
        cmocka_unit_test_prestate(under_load, &leased),
        cmocka_unit_test_prestate(handlers_are_waited_for, &fixed),
        cmocka_unit_test_prestate(handlers_are_waited_for, &leased),
        cmocka_unit_test(declarations),
        cmocka_unit_test(misuse),
        cmocka_unit_test_prestate(another_process_follows, &leased),
    };
    const struct CMUnitTest on_tikv[] = {
        cmocka_unit_test(everything_lies_where_it_belongs),
        cmocka_unit_test_prestate(workers_follow, &leased),
        cmocka_unit_test_prestate(under_load, &leased),
        cmocka_unit_test(misuse),
    };
    qdb_meta_lease_us = 3 * SECOND / 2; /* on a cluster each change waits for it twice */
    if (spaced_wanted())
        return TEST_RUN(on_tikv);
    return TEST_RUN(tests);
}

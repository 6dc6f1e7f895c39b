/* Order, completeness and bounded memory under load, judged by checker.h. */
#include "queue/load.h"
#include "tikv/spaced.h"

#include <inttypes.h>

#include "base/limits.h"

#define THREADS 4

static const ti_retry_policy fast_retry = {
    .max_retries = 4, .base_us = 500, .factor = 2, .cap_us = 4000, .jitter = 0.5};

/* Everything at once: publishers and consumers together, failures, effects, restarts. */
static void order_under_load(void **state)
{
    (void)state;
    run r;
    pthread_t threads[THREADS];
    uint64_t n = test_scaled(spaced_wanted() ? 15000 : 60000);
    run_open(&r, NULL, n, 300, 16);
    r.fail_in = 12;
    r.abandon_in = 50;
    r.write_in = 6;
    ti_worker_options options = {.concurrency = 48, .retry = fast_retry};
    run_publish(&r, 1, n / 4, 20);
    uint64_t done = n / 4;
    for (int round = 0; round < 3; round++) {
        r.w = start_worker(&r.d, "user", &options);
        run_start_threads(&r, threads, THREADS);
        uint64_t to = round == 2 ? n : done + n / 4;
        run_publish(&r, done + 1, to, 8);
        done = to;
        if (round == 2)
            run_wait_empty(&r);
        else
            ti_worker_stop(r.w, 20000000);
        run_join_threads(&r, threads, THREADS);
        finish_worker(r.w);
    }
    assert_int_equal(count_of(&r.d, "user", TI_EVENT_PENDING), 0);
    assert_int_equal(count_of(&r.d, "user", TI_EVENT_PARKED), 0);
    ti_queue_stats stats;
    ti_queue_stats_of(r.d.queues, S("user"), &stats);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.published, n);
    assert_int_equal(stats.acknowledged + stats.conflicts, atomic_load(&r.finished));
    assert_int_equal(stats.acknowledged + stats.failed, n);
    run_judge(&r);
    run_close(&r);
}

/* Ten keys with many events each are drained without losing time to their number. */
static void hot_keys(void **state)
{
    (void)state;
    run r;
    uint64_t n = test_scaled(spaced_wanted() ? 10000 : 40000);
    run_open(&r, NULL, n, 10, 16);
    run_publish(&r, 1, n, 200);
    ti_worker_options options = {.concurrency = 64, .retry = fast_retry};
    r.w = start_worker(&r.d, "user", &options);
    r.batch = 16;
    pthread_t thread;
    run_start_threads(&r, &thread, 1);
    for (int i = 0; i < 20000 && atomic_load(&r.finished) < n; i++)
        usleep(2000);
    run_join_threads(&r, &thread, 1);
    finish_worker(r.w);
    assert_int_equal(atomic_load(&r.finished), n);
    run_judge(&r);
    run_close(&r);
}

/* One key fails for ever and has most of the events: the others go through, memory stays bounded.
 */
static void a_failing_key_blocks_only_itself(void **state)
{
    (void)state;
    run r;
    pthread_t threads[THREADS];
    uint64_t n = test_scaled(spaced_wanted() ? 15000 : 60000);
    run_open(&r, NULL, n, 2, 1);
    r.bad_key = 0; /* half of everything, in the one partition that there is */
    ti_retry_policy slow = {
        .max_retries = 1000, .base_us = 200000, .factor = 1, .cap_us = 200000, .jitter = 0};
    ti_worker_options options = {.concurrency = 8, .retry = slow};
    run_publish(&r, 1, n, 500);
    uint64_t good = 0;
    for (uint64_t i = 1; i <= n; i++)
        good += r.key_of[i] != 0;
    r.w = start_worker(&r.d, "user", &options);
    run_start_threads(&r, threads, THREADS);
    uint64_t waiting_max = 0;
    for (int i = 0; i < 20000 && atomic_load(&r.finished) < good; i++) {
        ti_queue_stats stats;
        ti_queue_stats_of(r.d.queues, S("user"), &stats);
        waiting_max = stats.waiting > waiting_max ? stats.waiting : waiting_max;
        usleep(2000);
    }
    run_join_threads(&r, threads, THREADS);
    finish_worker(r.w);
    assert_int_equal(atomic_load(&r.finished), good);
    assert_true(waiting_max <= TI_WINDOW_PARTITION_MAX + TI_READ_PAGE_MAX);
    assert_int_equal(count_of(&r.d, "user", TI_EVENT_PENDING) +
                         count_of(&r.d, "user", TI_EVENT_PARKED),
                     n - good);
    run_judge(&r);
    /* after the failure is over everything comes, in order */
    r.bad_key = UINT64_MAX;
    r.w = start_worker(&r.d, "user", &options);
    run_start_threads(&r, threads, 1);
    for (int i = 0; i < 20000 && atomic_load(&r.finished) < n; i++)
        usleep(2000);
    run_join_threads(&r, threads, 1);
    finish_worker(r.w);
    assert_int_equal(atomic_load(&r.finished), n);
    run_judge(&r);
    run_close(&r);
}

/* More failing keys than may wait in memory, over a restart: the reading stops, nothing is lost. */
static void an_outage_of_everything(void **state)
{
    (void)state;
    run r;
    pthread_t threads[THREADS];
    uint64_t n = 3000;
    run_open(&r, NULL, n, 2000, 2);
    r.fail_in = 1;
    ti_retry_policy patient = {
        .max_retries = 100000, .base_us = 20000, .factor = 1, .cap_us = 20000, .jitter = 0.9};
    ti_worker_options options = {.concurrency = 32, .retry = patient};
    run_publish(&r, 1, n, 50);
    for (int round = 0; round < 3; round++) {
        if (round == 2)
            r.fail_in = 0;
        r.w = start_worker(&r.d, "user", &options);
        run_start_threads(&r, threads, THREADS);
        if (round == 2)
            run_wait_empty(&r);
        else
            usleep(300000);
        ti_queue_stats stats;
        ti_queue_stats_of(r.d.queues, S("user"), &stats);
        /* every key takes 200 bytes and more; what is in the window may still fail */
        assert_true(stats.parked_keys <= TI_PARKED_SIZE_MAX / 200 + TI_WINDOW_EVENTS_MAX);
        ti_worker_stop(r.w, 20000000);
        run_join_threads(&r, threads, THREADS);
        finish_worker(r.w);
    }
    assert_int_equal(atomic_load(&r.finished), n);
    run_judge(&r);
    run_close(&r);
}

typedef struct slow_key {
    qdb d;
    ti_worker *w;
    _Atomic(uint64_t) others;
    _Atomic(bool) stop;
} slow_key;

static void *consume_slowly(void *context)
{
    slow_key *s = context;
    ti_event *event;
    size_t count;
    while (!atomic_load(&s->stop)) {
        if (ti_worker_take(s->w, &event, 1, 20000, &count, NULL) != TI_OK)
            return NULL;
        if (count == 0)
            continue;
        if (is(ti_event_info_of(event)->key, "slow"))
            usleep(20000);
        else
            atomic_fetch_add(&s->others, 1);
        ack(event);
    }
    return NULL;
}

/* A key whose handler is slow, with more events than the window holds: it makes room. */
static void a_long_slow_key_makes_room(void **state)
{
    (void)state;
    slow_key s;
    memset(&s, 0, sizeof(s));
    qdb_open(&s.d, NULL, NULL);
    declare(&s.d, "user", 1, 0, TI_ORDERING_KEY);
    for (int i = 0; i < TI_WINDOW_PARTITION_MAX * 2; i += 64) {
        ti_txn *txn;
        OK(&s.d, ti_txn_begin(&s.d.kv, NULL, &txn, &s.d.err));
        for (int k = 0; k < 64; k++) {
            ti_event_spec spec = {.type = S("user"), .key = S("slow")};
            OK(&s.d, ti_queue_publish(s.d.queues, txn, &spec, NULL, &s.d.call, &s.d.err));
        }
        OK(&s.d, ti_txn_commit(txn, NULL, &s.d.call, &s.d.err));
        ti_txn_free(txn);
    }
    for (int i = 0; i < 20; i++)
        publish(&s.d, "user", "quick", "1");
    ti_worker_options options = {.concurrency = 4};
    s.w = start_worker(&s.d, "user", &options);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, consume_slowly, &s);
    for (int i = 0; i < 5000 && atomic_load(&s.others) < 20; i++)
        usleep(2000);
    assert_int_equal(atomic_load(&s.others), 20);
    ti_queue_stats stats;
    ti_queue_stats_of(s.d.queues, S("user"), &stats);
    assert_true(stats.parked > 0);
    atomic_store(&s.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    finish_worker(s.w);
    qdb_close(&s.d);
}

typedef struct late {
    qdb *d;
    _Atomic(bool) begun;
    _Atomic(bool) go;
} late;

/* A commit hook that comes after the event got its place, and waits. */
static ti_status wait_in_commit(void *context, ti_txn *txn, ti_ts t, ti_err *err)
{
    late *l = context;
    (void)txn;
    (void)t;
    (void)err;
    atomic_store(&l->begun, true);
    while (!atomic_load(&l->go))
        usleep(500);
    return TI_OK;
}

static void *commit_late(void *context)
{
    late *l = context;
    qdb *d = l->d;
    ti_txn *txn;
    ti_err err;
    ti_err_clear(&err);
    ti_event_spec spec = {.type = S("user"), .key = S("late"), .payload = S("1")};
    test_ok(ti_txn_begin(&d->kv, NULL, &txn, &err), &err);
    ti_ts snapshot; /* keeps what it could conflict with remembered */
    test_ok(ti_txn_start_ts(txn, &snapshot, &d->call, &err), &err);
    test_ok(ti_queue_publish(d->queues, txn, &spec, NULL, &d->call, &err), &err);
    test_ok(ti_txn_on_commit(txn, wait_in_commit, l, &err), &err);
    test_ok(ti_txn_commit(txn, NULL, &d->call, &err), &err);
    ti_txn_free(txn);
    return NULL;
}

/* An event whose commit takes long appears before the place that the worker has reached. */
static void late_commits_are_delivered(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    ti_worker *w = start_worker(&d, "user", &(ti_worker_options){.concurrency = 4});
    for (int round = 0; round < 5; round++) {
        late l = {.d = &d};
        pthread_t thread;
        pthread_create(&thread, NULL, commit_late, &l);
        while (!atomic_load(&l.begun))
            usleep(500);
        for (int i = 0; i < 20; i++) {
            publish(&d, "user", "quick", "2");
            ti_event *event = take_one(w);
            assert_true(is(ti_event_info_of(event)->key, "quick"));
            ack(event);
            usleep(500);
        }
        atomic_store(&l.go, true);
        pthread_join(thread, NULL);
        ti_event *event = take_one(w);
        assert_true(is(ti_event_info_of(event)->key, "late"));
        ack(event);
    }
    finish_worker(w);
    qdb_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_under_load),
        cmocka_unit_test(hot_keys),
        cmocka_unit_test(a_failing_key_blocks_only_itself),
        cmocka_unit_test(an_outage_of_everything),
        cmocka_unit_test(a_long_slow_key_makes_room),
        cmocka_unit_test(late_commits_are_delivered),
    };
    return TEST_RUN(tests);
}

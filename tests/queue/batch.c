/* Batches: what is together, what commits together, how a batch comes apart. */
#include "queue/load.h"
#include "queue/support.h"

#include "base/limits.h"

#define BATCH 16

static const ti_worker_options quick = {
    .concurrency = 64,
    .retry = {.max_retries = 3, .base_us = 1000, .factor = 1, .cap_us = 1000, .jitter = 0}};

static void publish_keys(qdb *d, int n)
{
    ti_txn *txn;
    OK(d, ti_txn_begin(&d->kv, NULL, &txn, &d->err));
    for (int i = 0; i < n; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        ti_event_spec spec = {.type = S("user"), .key = S(key), .payload = S("1")};
        OK(d, ti_queue_publish(d->queues, txn, &spec, NULL, &d->call, &d->err));
    }
    OK(d, ti_txn_commit(txn, NULL, &d->call, &d->err));
    ti_txn_free(txn);
}

static ti_slice row(qdb *d, ti_arena *a, ti_slice id)
{
    return ti_key_record(ti_store_keyspace(d->store), a, S("effects"), id);
}

/* Adds one to the row of an event's key, within the batch's transaction. */
static void add_one(qdb *d, ti_event *first, ti_slice key)
{
    ti_txn *txn;
    ti_slice value;
    char text[32] = "0";
    OK(d, ti_event_txn(first, &txn, &d->err));
    ti_arena *a = ti_txn_arena(txn);
    ti_status status = ti_txn_get(txn, row(d, a, key), a, &value, &d->call, &d->err);
    if (status == TI_OK)
        memcpy(text, value.data, value.len < 15 ? value.len : 15);
    snprintf(text, sizeof(text), "%ld", strtol(text, NULL, 10) + 1);
    OK(d, ti_txn_put(txn, row(d, a, key), S(text), &d->err));
}

static void add_all(qdb *d, ti_event *first)
{
    for (size_t i = 0; i < ti_event_count(first); i++)
        add_one(d, first, ti_event_info_of(ti_event_member(first, i))->key);
}

static long count_in(qdb *d, const char *key)
{
    ti_txn *txn;
    ti_slice value;
    char text[32] = "0";
    OK(d, ti_txn_begin(&d->kv, NULL, &txn, &d->err));
    ti_arena *a = ti_txn_arena(txn);
    if (ti_txn_get(txn, row(d, a, S(key)), a, &value, &d->call, &d->err) == TI_OK)
        memcpy(text, value.data, value.len < 15 ? value.len : 15);
    ti_txn_free(txn);
    return strtol(text, NULL, 10);
}

static void expect_counts(qdb *d, int n, long each)
{
    for (int i = 0; i < n; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(count_in(d, key), each);
    }
}

static bool has(ti_event *first, const char *key)
{
    for (size_t i = 0; i < ti_event_count(first); i++) {
        if (is(ti_event_info_of(ti_event_member(first, i))->key, key))
            return true;
    }
    return false;
}

/* Waits until that many events are ready, so that a batch can be of that size. */
static void wait_ready(ti_worker *w, size_t n)
{
    for (int i = 0; i < 60000 && ti_worker_ready(w, NULL) < n; i++)
        usleep(1000);
    assert_true(ti_worker_ready(w, NULL) >= n);
}

/* A worker whose window has n events of n keys before anything is taken. */
static ti_worker *start_full(qdb *d, size_t n)
{
    ti_worker *w = start_batches(d, "user", &quick, BATCH);
    wait_ready(w, n);
    return w;
}

static uint64_t left(qdb *d)
{
    return count_of(d, "user", TI_EVENT_PENDING) + count_of(d, "user", TI_EVENT_PARKED);
}

static void open_user(qdb *d)
{
    qdb_open(d, NULL, NULL);
    declare(d, "user", 4, 3600000000, TI_ORDERING_KEY);
}

static void different_keys_are_together(void **state)
{
    (void)state;
    qdb d;
    open_user(&d);
    for (int i = 0; i < 3; i++)
        publish_keys(&d, 40);
    ti_worker *w = start_full(&d, 40);
    size_t handled = 0;
    size_t most = 0;
    while (handled < 120) {
        ti_event *first = take_one(w);
        size_t count = ti_event_count(first);
        assert_true(ti_event_is_batch(first));
        assert_true(count <= BATCH);
        assert_ptr_equal(ti_event_member(first, 0), first);
        for (size_t i = 0; i < count; i++) {
            for (size_t k = 0; k < i; k++)
                assert_false(ti_slice_equal(ti_event_info_of(ti_event_member(first, i))->key,
                                            ti_event_info_of(ti_event_member(first, k))->key));
        }
        add_all(&d, first);
        most = count > most ? count : most;
        handled += count;
        ack(first);
    }
    assert_int_equal(most, BATCH);
    finish_worker(w);
    expect_counts(&d, 40, 3);
    assert_int_equal(left(&d), 0);
    assert_int_equal(count_of(&d, "user", TI_EVENT_COMPLETED), 120);
    qdb_close(&d);
}

/* One batch counts as one event with the host. */
static void a_batch_counts_once(void **state)
{
    (void)state;
    qdb d;
    uint32_t taken;
    uint32_t uncommitted;
    open_user(&d);
    publish_keys(&d, 40);
    ti_worker_options one = quick;
    one.concurrency = 1;
    ti_worker *w = start_batches(&d, "user", &one, 1000);
    wait_ready(w, 1);
    ti_event *first = take_one(w);
    ti_worker_pending(w, &taken, &uncommitted);
    assert_int_equal(taken, 1);
    expect_none(w, 20000);
    ack(first);
    for (size_t done = 0; left(&d) > 0 && done < 40; done++) {
        size_t count;
        OK(&d, ti_worker_take(w, &first, 1, 100000, &count, &d.err));
        if (count > 0)
            ack(first);
    }
    finish_worker(w);
    assert_int_equal(left(&d), 0);
    qdb_close(&d);
}

/* What can not succeed ends up alone; the others do not wait for it, nor count an attempt. */
static void poison_fails_alone(void **state)
{
    (void)state;
    qdb d;
    int runs = 0;
    int alone = 0;
    open_user(&d);
    publish_keys(&d, BATCH);
    ti_worker *w = start_full(&d, BATCH);
    while (left(&d) > 0) {
        ti_event *first;
        size_t count;
        OK(&d, ti_worker_take(w, &first, 1, 2000, &count, &d.err));
        if (count == 0)
            continue;
        runs++;
        add_all(&d, first);
        if (!has(first, "k7")) {
            ack(first);
            continue;
        }
        alone += ti_event_count(first) == 1 ? 1 : 0;
        if (ti_event_count(first) > 1)
            assert_int_equal(ti_event_info_of(first)->attempts, 0);
        fail_event(first, "poison");
    }
    finish_worker(w);
    assert_int_equal(alone, 4); /* a run and three retries */
    assert_true(runs <= 2 * 5 + 4);
    assert_int_equal(count_of(&d, "user", TI_EVENT_FAILED), 1);
    assert_int_equal(count_of(&d, "user", TI_EVENT_COMPLETED), BATCH - 1);
    assert_int_equal(count_in(&d, "k7"), 0);
    assert_int_equal(count_in(&d, "k6"), 1);
    qdb_close(&d);
}

/* How those of members_end_in_their_own_way come again. */
static void expect_end(qdb *d, const ti_event_info *info, char keys[5][16], int64_t due_us)
{
    if (is(info->key, keys[0])) {
        assert_int_equal(info->attempts, 1);
        assert_true(is(info->last_error, "bad"));
    } else if (is(info->key, keys[1])) {
        assert_true(db_now_us(d) >= due_us);
    } else {
        assert_true(is(info->key, keys[2]));
        assert_true(is(info->payload, "2"));
    }
}

/* Each event may end in its own way; all of it commits with what was written. */
static void members_end_in_their_own_way(void **state)
{
    (void)state;
    qdb d;
    open_user(&d);
    publish_keys(&d, 5);
    int64_t due_us = db_now_us(&d) + 300000;
    ti_worker *w = start_full(&d, 5);
    ti_event *first = take_one(w);
    assert_int_equal(ti_event_count(first), 5);
    char keys[5][16] = {""};
    for (size_t i = 0; i < 5; i++)
        memcpy(keys[i], ti_event_info_of(ti_event_member(first, i))->key.data, 2);
    OK(&d, ti_member_fail(ti_event_member(first, 0), S("bad"), &d.err));
    OK(&d, ti_member_reschedule(ti_event_member(first, 1), due_us, &d.err));
    OK(&d, ti_member_advance(ti_event_member(first, 2), S("2"), &d.err));
    test_status(ti_member_advance(ti_event_member(first, 2), S("{"), &d.err), TI_INVALID_ARGUMENT);
    OK(&d, ti_member_fail(ti_event_member(first, 3), S("never mind"), &d.err));
    OK(&d, ti_member_ack(ti_event_member(first, 3), &d.err));
    test_status(ti_event_advance(first, S("3"), &d.err), TI_INVALID_STATE);
    add_all(&d, first);
    ti_event_ack(first);
    test_status(ti_member_ack(ti_event_member(first, 1), &d.err), TI_INVALID_STATE);
    ti_event_free(first);
    for (size_t n = 0; n < 3;) { /* two of them may be together by now */
        ti_event *batch = take_one(w);
        for (size_t i = 0; i < ti_event_count(batch); i++, n++)
            expect_end(&d, ti_event_info_of(ti_event_member(batch, i)), keys, due_us);
        ack(batch);
    }
    finish_worker(w);
    assert_int_equal(left(&d), 0);
    expect_counts(&d, 5, 1);
    qdb_close(&d);
}

/* When all of them failed nothing that was written commits. */
static void all_failed_writes_nothing(void **state)
{
    (void)state;
    qdb d;
    open_user(&d);
    publish_keys(&d, 3);
    ti_worker *w = start_full(&d, 3);
    ti_event *first = take_one(w);
    assert_int_equal(ti_event_count(first), 3);
    add_all(&d, first);
    for (size_t i = 0; i < 3; i++)
        OK(&d, ti_member_fail(ti_event_member(first, i), S("bad"), &d.err));
    ack(first);
    for (int i = 0; i < 3; i++) {
        ti_event *event = take_one(w);
        assert_int_equal(ti_event_info_of(event)->attempts, 1);
        assert_int_equal(ti_event_count(event), 1);
        ack(event);
    }
    finish_worker(w);
    assert_int_equal(left(&d), 0);
    expect_counts(&d, 3, 0);
    qdb_close(&d);
}

/* A conflict throws the whole batch away, and it runs again. */
static void conflicts_run_again(void **state)
{
    (void)state;
    qdb d;
    bool disturbed = false;
    open_user(&d);
    publish_keys(&d, 8);
    ti_worker *w = start_full(&d, 8);
    while (left(&d) > 0) {
        ti_event *first;
        size_t count;
        OK(&d, ti_worker_take(w, &first, 1, 2000, &count, &d.err));
        if (count == 0)
            continue;
        add_all(&d, first);
        if (!disturbed) {
            ti_txn *txn;
            OK(&d, ti_txn_begin(&d.kv, NULL, &txn, &d.err));
            OK(&d, ti_txn_put(txn, row(&d, ti_txn_arena(txn), S("k3")), S("10"), &d.err));
            OK(&d, ti_txn_commit(txn, NULL, &d.call, &d.err));
            ti_txn_free(txn);
            disturbed = has(first, "k3");
        }
        ack(first);
    }
    finish_worker(w);
    assert_true(disturbed);
    assert_int_equal(count_in(&d, "k3"), 11);
    assert_int_equal(count_in(&d, "k2"), 1);
    assert_int_equal(count_of(&d, "user", TI_EVENT_FAILED), 0);
    qdb_close(&d);
}

/* An event that somebody dropped meanwhile: nothing of its batch commits, the others run again. */
static void a_dropped_member_rolls_back(void **state)
{
    (void)state;
    qdb d;
    open_user(&d);
    publish_keys(&d, 4);
    ti_worker *w = start_full(&d, 4);
    ti_event *first = take_one(w);
    assert_int_equal(ti_event_count(first), 4);
    OK(&d, ti_queue_drop(d.queues, S("user"), S(ti_event_info_of(ti_event_member(first, 2))->id),
                         &d.call, &d.err));
    char dropped[16] = "";
    memcpy(dropped, ti_event_info_of(ti_event_member(first, 2))->key.data, 2);
    add_all(&d, first);
    ack(first);
    while (left(&d) > 0) {
        ti_event *event;
        size_t count;
        OK(&d, ti_worker_take(w, &event, 1, 2000, &count, &d.err));
        if (count == 0)
            continue;
        assert_false(has(event, dropped));
        add_all(&d, event);
        ack(event);
    }
    finish_worker(w);
    for (int i = 0; i < 4; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(count_in(&d, key), strcmp(key, dropped) == 0 ? 0 : 1);
    }
    qdb_close(&d);
}

/* The time is the batch's; what has timed out comes again in halves. */
static void a_late_batch_comes_apart(void **state)
{
    (void)state;
    qdb d;
    open_user(&d);
    publish_keys(&d, 8);
    ti_worker_options options = quick;
    options.handler_timeout_us = 500000;
    ti_worker *w = start_batches(&d, "user", &options, 8);
    wait_ready(w, 8);
    ti_event *first = take_one(w);
    size_t count = ti_event_count(first);
    assert_int_equal(count, 8);
    add_all(&d, first);
    for (int i = 0; i < 60000 && !ti_event_timed_out(first); i++)
        usleep(1000);
    assert_true(ti_event_timed_out(first));
    expect_none(w, 10000); /* its keys are taken until the handler returns */
    ack(first);
    while (left(&d) > 0) {
        size_t n;
        OK(&d, ti_worker_take(w, &first, 1, 2000, &n, &d.err));
        if (n == 0)
            continue;
        assert_true(ti_event_count(first) <= 4);
        assert_int_equal(ti_event_info_of(first)->attempts, 0);
        add_all(&d, first);
        ack(first);
    }
    finish_worker(w);
    expect_counts(&d, 8, 1);
    qdb_close(&d);
}

static void abandoned_and_left_behind(void **state)
{
    (void)state;
    qdb d;
    open_user(&d);
    publish_keys(&d, 6);
    ti_worker *w = start_full(&d, 6);
    ti_event *first = take_one(w);
    size_t count = ti_event_count(first);
    ti_event_abandon(first);
    ti_event_free(first);
    wait_ready(w, 6);
    first = take_one(w);
    assert_int_equal(ti_event_count(first), count);
    add_all(&d, first);
    ti_worker_stop(w, 0);
    test_status(ti_worker_join(w, &d.err), TI_TIMEOUT);
    ti_worker_free(w);
    assert_int_equal(ti_event_info_of(ti_event_member(first, count - 1))->payload.len, 1);
    ack(first);
    expect_counts(&d, 6, 0);
    assert_int_equal(left(&d), 6);
    qdb_close(&d);
}

static void options_are_checked(void **state)
{
    (void)state;
    qdb d;
    ti_worker *w;
    open_user(&d);
    ti_worker_type_options options = {.batch = TI_BATCH_MAX + 1};
    OK(&d, ti_worker_open(d.queues, NULL, &w, &d.err));
    test_status(ti_worker_on(w, S("user"), &options, &d.err), TI_INVALID_ARGUMENT);
    assert_string_equal(d.err.message, "a batch has at most 1000 events, not 1001");
    options.batch = TI_BATCH_MAX;
    OK(&d, ti_worker_on(w, S("user"), &options, &d.err));
    ti_worker_free(w);
    qdb_close(&d);
}

/* Many events of few keys, failures and abandoned batches among them, on several threads. */
static void order_is_kept(void **state)
{
    (void)state;
    run r;
    pthread_t threads[3];
    uint64_t n = test_scaled(4000);
    ti_worker_options options = {.concurrency = 3, .retry = quick.retry};
    options.retry.max_retries = 1000;
    run_open(&r, NULL, n, 30, 3);
    r.together = 10;
    r.fail_in = 25;
    r.abandon_in = 25;
    r.w = start_batches(&r.d, "user", &options, r.together);
    run_start_threads(&r, threads, 3);
    for (uint64_t from = 1; from <= n; from += 20)
        run_publish(&r, from, from + 19 < n ? from + 19 : n, 5);
    run_wait_empty(&r);
    run_join_threads(&r, threads, 3);
    finish_worker(r.w);
    run_judge(&r);
    ti_queue_stats stats;
    ti_queue_stats_of(r.d.queues, S("user"), &stats);
    assert_int_equal(stats.acknowledged, n);
    run_close(&r);
}

/* Without ordering an event is only kept from itself; the limit of a business key still holds. */
static void without_ordering(void **state)
{
    (void)state;
    qdb d;
    ti_worker *w;
    ti_event *first;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 0, TI_ORDERING_NONE);
    for (int i = 0; i < 9; i++)
        publish(&d, "user", i < 6 ? "a" : "b", "1");
    ti_worker_type_options options = {.batch = 8, .key_concurrency = 2};
    OK(&d, ti_worker_open(d.queues, &quick, &w, &d.err));
    OK(&d, ti_worker_on(w, S("user"), &options, &d.err));
    OK(&d, ti_worker_start(w, &d.call, &d.err));
    wait_ready(w, 9);
    for (size_t done = 0; done < 9;) {
        size_t of_a = 0;
        first = take_one(w);
        for (size_t i = 0; i < ti_event_count(first); i++)
            of_a += is(ti_event_info_of(ti_event_member(first, i))->key, "a") ? 1 : 0;
        assert_true(of_a <= 2);
        assert_true(ti_event_count(first) <= 4);
        done += ti_event_count(first);
        ack(first);
    }
    finish_worker(w);
    assert_int_equal(left(&d), 0);
    qdb_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(different_keys_are_together),
        cmocka_unit_test(a_batch_counts_once),
        cmocka_unit_test(poison_fails_alone),
        cmocka_unit_test(members_end_in_their_own_way),
        cmocka_unit_test(all_failed_writes_nothing),
        cmocka_unit_test(conflicts_run_again),
        cmocka_unit_test(a_dropped_member_rolls_back),
        cmocka_unit_test(a_late_batch_comes_apart),
        cmocka_unit_test(abandoned_and_left_behind),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(order_is_kept),
        cmocka_unit_test(without_ordering),
    };
    return TEST_RUN(tests);
}

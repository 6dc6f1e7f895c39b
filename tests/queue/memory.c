/* Every allocation fails once: what was published is delivered, and nothing leaks.
 *
 * The worker's threads allocate too, so which call meets the failure differs from run to run. */
#include "queue/support.h"

static const ti_worker_options quick = {
    .concurrency = 4,
    .retry = {.max_retries = 100, .base_us = 500, .factor = 1, .cap_us = 500, .jitter = 0}};

/* Publishes three events in one transaction; true when it committed. */
static bool publish_three(qdb *d)
{
    ti_txn *txn;
    static const char *const keys[] = {"a", "a", "b"};
    if (ti_txn_begin(&d->kv, NULL, &txn, &d->err) != TI_OK)
        return false;
    ti_status status = TI_OK;
    for (int i = 0; i < 3 && status == TI_OK; i++) {
        ti_event_spec spec = {.type = S("user"), .key = S(keys[i]), .payload = S("{\"n\":1}")};
        status = ti_queue_publish(d->queues, txn, &spec, NULL, &d->call, &d->err);
    }
    if (status == TI_OK)
        status = ti_txn_commit(txn, NULL, &d->call, &d->err);
    ti_txn_free(txn);
    assert_true(status == TI_OK || status == TI_OUT_OF_MEMORY);
    return status == TI_OK;
}

static uint32_t batch; /* of this test */

static ti_worker *try_worker(qdb *d)
{
    ti_worker_type_options of_type = {.batch = batch};
    ti_worker *w;
    ti_status status = ti_worker_open(d->queues, &quick, &w, &d->err);
    if (status == TI_OK)
        status = ti_worker_on(w, S("user"), &of_type, &d->err);
    if (status == TI_OK)
        status = ti_worker_start(w, &d->call, &d->err);
    if (status == TI_OK)
        return w;
    assert_int_equal(status, TI_OUT_OF_MEMORY);
    ti_worker_free(w);
    return NULL;
}

static void handle(qdb *d, ti_event *event, int n)
{
    ti_txn *txn;
    if (n % 4 == 0) {
        ti_event_fail(event, S("planned"));
    } else if (n % 4 == 1 && ti_event_txn(event, &txn, &d->err) == TI_OK) {
        ti_txn_put(txn, ti_key_meta(ti_store_keyspace(d->store), ti_txn_arena(txn), S("t")), S("x"),
                   &d->err);
        ti_event_ack(event);
    } else if (n % 4 == 2 && ti_event_advance(event, S("2"), &d->err) == TI_OK) {
    } else {
        ti_event_ack(event);
    }
    ti_event_free(event);
}

static uint64_t unfinished(qdb *d)
{
    return count_of(d, "user", TI_EVENT_PENDING) + count_of(d, "user", TI_EVENT_PARKED);
}

static void lose_nothing(void)
{
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 2, 3600000000, TI_ORDERING_KEY);
    uint64_t published = 0;
    uint64_t highest = test_scaled(400);
    for (uint64_t n = 1; n <= highest; n++) {
        int handled = 0;
        ti_mem_fail_at(n);
        ti_worker *w = try_worker(&d);
        if (publish_three(&d))
            published += 3;
        for (int i = 0; w != NULL && i < 12; i++) {
            ti_event *event;
            size_t count;
            if (ti_worker_take(w, &event, 1, 1000, &count, &d.err) == TI_OK && count > 0)
                handle(&d, event, handled++);
        }
        ti_mem_fail_at(0);
        if (w == NULL)
            w = start_batches(&d, "user", &quick, batch);
        if (publish_three(&d))
            published += 3;
        for (int i = 0; i < 20000 && unfinished(&d) > 0; i++) {
            ti_event *event;
            size_t count;
            OK(&d, ti_worker_take(w, &event, 1, 2000, &count, &d.err));
            if (count > 0)
                ack(event);
        }
        assert_int_equal(unfinished(&d), 0);
        finish_worker(w);
    }
    assert_int_equal(count_of(&d, "user", TI_EVENT_COMPLETED) +
                         count_of(&d, "user", TI_EVENT_FAILED),
                     published);
    qdb_close(&d);
}

static void nothing_is_lost(void **state)
{
    (void)state;
    batch = 0;
    lose_nothing();
}

static void nothing_of_batches_is_lost(void **state)
{
    (void)state;
    batch = 3;
    lose_nothing();
}

/* ---- what comes after an event that has no object ---- */

static const char *payload_is(ti_event *event, const char *const *allowed)
{
    for (; *allowed != NULL; allowed++) {
        if (is(ti_event_info_of(event)->payload, *allowed))
            return *allowed;
    }
    return NULL;
}

/* Two events of a key; the first one goes back when there is no memory for its new object. */
static void what_follows_an_abandoned_event_waits(void **state)
{
    qdb d;
    (void)state;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 3600000000, TI_ORDERING_KEY);
    ti_worker *w = start_worker(&d, "user", &quick);
    for (int i = 0; i < 20; i++) {
        publish(&d, "user", "a", "1");
        publish(&d, "user", "a", "2");
        ti_event *event = take_one(w);
        assert_true(is(ti_event_info_of(event)->payload, "1"));
        ti_mem_fail_at(1);
        ti_event_abandon(event);
        ti_mem_fail_at(0);
        ti_event_free(event);
        for (int n = 1; n <= 2; n++) {
            event = take_one(w);
            assert_true(is(ti_event_info_of(event)->payload, n == 1 ? "1" : "2"));
            ack(event);
        }
        wait_committed(w);
    }
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_COMPLETED), 40);
    qdb_close(&d);
}

/* Takes the first event of a key to its next step, the n-th allocation from then on failing; the
 * second one comes when that step is done. */
static void step_without_memory(qdb *d, ti_worker *w, uint64_t n)
{
    static const char *const steps[] = {"1", "9", NULL};
    publish(d, "user", "a", "1");
    publish(d, "user", "a", "2");
    for (bool done = false; !done;) {
        ti_event *event = take_one(w);
        ti_mem_fail_at(0);
        const char *payload = payload_is(event, steps);
        assert_non_null(payload);
        done = payload[0] == '9';
        if (done) {
            ack(event);
            continue;
        }
        ti_mem_fail_at(n);
        while (ti_event_advance(event, S("9"), &d->err) != TI_OK)
            assert_int_equal(d->err.status, TI_OUT_OF_MEMORY);
        n = 0;
        ti_event_free(event);
    }
    ti_event *event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "2"));
    ack(event);
    wait_committed(w);
}

static void what_follows_a_step_waits(void **state)
{
    qdb d;
    (void)state;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 3600000000, TI_ORDERING_KEY);
    ti_worker *w = start_worker(&d, "user", &quick);
    for (uint64_t n = 0; n < 200; n++)
        step_without_memory(&d, w, 1 + n % 40);
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_COMPLETED), 400);
    qdb_close(&d);
}

/* ---- another partition count ---- */

/* Changes the count while a worker runs, the n-th allocation from then on failing; what was cut
 * short is gone on with. Grows each time: a worker needs memory for it. */
static void change_without_memory(qdb *d, ti_worker *w, uint64_t n)
{
    uint32_t count = 3 + (uint32_t)n;
    uint64_t moved;
    for (int i = 0; i < 6; i++)
        publish(d, "user", i % 2 == 0 ? "a" : "b", "1");
    ti_mem_fail_at(n);
    ti_status status =
        ti_queue_repartition(d->queues, S("user"), count, NULL, &moved, &d->call, &d->err);
    ti_mem_fail_at(0);
    assert_true(status == TI_OK || status == TI_OUT_OF_MEMORY);
    if (status != TI_OK)
        OK(d, ti_queue_repartition(d->queues, S("user"), count, NULL, &moved, &d->call, &d->err));
    for (int i = 0; i < 6; i++)
        ack(take_one(w));
    wait_committed(w);
    assert_int_equal(unfinished(d), 0);
}

static void partitions_change(void **state)
{
    qdb d;
    (void)state;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 2, 3600000000, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    ti_worker *w = start_worker(&d, "user", &quick);
    ack(take_one(w));
    for (uint64_t n = 1; n <= 60; n++)
        change_without_memory(&d, w, n);
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_COMPLETED), 361);
    qdb_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost), cmocka_unit_test(nothing_of_batches_is_lost),
        cmocka_unit_test(what_follows_an_abandoned_event_waits),
        cmocka_unit_test(what_follows_a_step_waits), cmocka_unit_test(partitions_change)};
    int64_t before = ti_mem_live();
    int failed = TEST_RUN(tests);
    if (ti_mem_live() != before) {
        fprintf(stderr, "%lld allocations were not freed\n", (long long)(ti_mem_live() - before));
        return 1;
    }
    return failed;
}

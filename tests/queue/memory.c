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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_lost),
                                       cmocka_unit_test(nothing_of_batches_is_lost)};
    int64_t before = ti_mem_live();
    int failed = TEST_RUN(tests);
    if (ti_mem_live() != before) {
        fprintf(stderr, "%lld allocations were not freed\n", (long long)(ti_mem_live() - before));
        return 1;
    }
    return failed;
}

/* The event's transaction: what a handler writes, what it publishes and the outcome commit together
 * or not at all. */
#include "queue/support.h"

#include "base/limits.h"

static const ti_worker_options quick = {
    .concurrency = 8,
    .retry = {.max_retries = 3, .base_us = 1000, .factor = 2, .cap_us = 10000, .jitter = 0.5}};

static ti_slice row(qdb *d, ti_arena *a, const char *id)
{
    return ti_key_record(ti_store_keyspace(d->store), a, S("effects"), S(id));
}

static bool has_row(qdb *d, const char *id, char *out)
{
    ti_txn *txn;
    ti_slice value;
    OK(d, ti_txn_begin(&d->kv, NULL, &txn, &d->err));
    ti_arena *a = ti_txn_arena(txn);
    ti_status status = ti_txn_get(txn, row(d, a, id), a, &value, &d->call, &d->err);
    if (status == TI_OK && out != NULL) {
        memcpy(out, value.data, value.len);
        out[value.len] = '\0';
    }
    ti_txn_free(txn);
    return status == TI_OK;
}

static void write_row(qdb *d, ti_event *event, const char *id, const char *value)
{
    ti_txn *txn;
    OK(d, ti_event_txn(event, &txn, &d->err));
    OK(d, ti_txn_put(txn, row(d, ti_txn_arena(txn), id), S(value), &d->err));
}

static void put_outside(qdb *d, const char *id, const char *value)
{
    ti_txn *txn;
    OK(d, ti_txn_begin(&d->kv, NULL, &txn, &d->err));
    OK(d, ti_txn_put(txn, row(d, ti_txn_arena(txn), id), S(value), &d->err));
    OK(d, ti_txn_commit(txn, NULL, &d->call, &d->err));
    ti_txn_free(txn);
}

static void publish_within(qdb *d, ti_event *event, const char *key)
{
    ti_txn *txn;
    OK(d, ti_event_txn(event, &txn, &d->err));
    ti_event_spec spec = {.type = S("user"), .key = S(key)};
    OK(d, ti_queue_publish(d->queues, txn, &spec, NULL, &d->call, &d->err));
}

static void effects_commit_with_the_acknowledgement(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 2, 0, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "a", "2");
    ti_worker *w = start_worker(&d, "user", &quick);
    ti_event *event = take_one(w);
    write_row(&d, event, "one", "x");
    publish_within(&d, event, "b");
    assert_false(has_row(&d, "one", NULL));
    ack(event);
    event = take_one(w); /* "a" again, or "b": both come after the commit */
    assert_true(has_row(&d, "one", NULL));
    ti_event *other = take_one(w);
    ack(event);
    ack(other);
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    qdb_close(&d);
}

static void a_failure_drops_the_effects(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    publish(&d, "user", "a", "1");
    ti_worker *w = start_worker(&d, "user", &quick);
    ti_event *event = take_one(w);
    write_row(&d, event, "one", "x");
    publish_within(&d, event, "b");
    fail_event(event, "no");
    event = take_one(w);
    assert_true(is(ti_event_info_of(event)->key, "a"));
    write_row(&d, event, "one", "y");
    ti_event_abandon(event);
    ti_event_free(event);
    event = take_one(w);
    ack(event);
    expect_none(w, 30000);
    finish_worker(w);
    assert_false(has_row(&d, "one", NULL));
    qdb_close(&d);
}

static void reschedule_and_advance_keep_the_effects(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    publish(&d, "user", "a", "1");
    ti_worker *w = start_worker(&d, "user", &quick);
    ti_event *event = take_one(w);
    write_row(&d, event, "one", "x");
    OK(&d, ti_event_advance(event, S("2"), &d.err));
    ti_event_free(event);
    event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "2"));
    assert_true(has_row(&d, "one", NULL));
    write_row(&d, event, "two", "x");
    ti_event_reschedule(event, db_now_us(&d) + 20000);
    ti_event_free(event);
    event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "2"));
    assert_true(has_row(&d, "two", NULL));
    ack(event);
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    qdb_close(&d);
}

/* The handler runs again when somebody else changed what it wrote. */
static void conflicts_run_again(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "a", "2");
    ti_worker *w = start_worker(&d, "user", &quick);
    for (int i = 0; i < 3; i++) {
        ti_event *event = take_one(w);
        assert_true(is(ti_event_info_of(event)->payload, "1"));
        assert_int_equal(ti_event_info_of(event)->attempts, 0);
        ti_txn *txn;
        ti_ts snapshot;
        OK(&d, ti_event_txn(event, &txn, &d.err));
        OK(&d, ti_txn_start_ts(txn, &snapshot, &d.call, &d.err));
        write_row(&d, event, "one", "mine");
        if (i < 2)
            put_outside(&d, "one", "theirs");
        ack(event);
    }
    ti_event *event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "2"));
    ack(event);
    finish_worker(w);
    char value[16];
    assert_true(has_row(&d, "one", value));
    assert_string_equal(value, "mine");
    ti_queue_stats stats;
    ti_queue_stats_of(d.queues, S("user"), &stats);
    assert_int_equal(stats.conflicts, 2);
    assert_int_equal(stats.retried, 0);
    qdb_close(&d);
}

/* Always in conflict: after TI_EVENT_CONFLICTS_MAX runs it counts as a failure. */
static void endless_conflicts_fail(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    ti_worker_options options = quick;
    options.retry.max_retries = 0;
    publish(&d, "user", "a", "1");
    ti_worker *w = start_worker(&d, "user", &options);
    for (int i = 0; i < TI_EVENT_CONFLICTS_MAX; i++) {
        ti_event *event = take_one(w);
        ti_txn *txn;
        ti_ts snapshot;
        OK(&d, ti_event_txn(event, &txn, &d.err));
        OK(&d, ti_txn_start_ts(txn, &snapshot, &d.call, &d.err));
        write_row(&d, event, "one", "mine");
        put_outside(&d, "one", "theirs");
        ack(event);
    }
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_FAILED), 1);
    qdb_close(&d);
}

/* A write that failed inside the handler can not be acknowledged away. */
static void a_doomed_transaction_fails_the_event(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    publish(&d, "user", "a", "1");
    ti_worker *w = start_worker(&d, "user", &quick);
    ti_event *event = take_one(w);
    ti_txn *txn;
    OK(&d, ti_event_txn(event, &txn, &d.err));
    ti_event_spec bad = {.type = S("user"), .key = S("")};
    test_status(ti_queue_publish(d.queues, txn, &bad, NULL, &d.call, &d.err), TI_INVALID_ARGUMENT);
    ack(event);
    event = take_one(w);
    assert_int_equal(ti_event_info_of(event)->attempts, 1);
    assert_true(ti_event_info_of(event)->last_error.len > 0);
    ack(event);
    finish_worker(w);
    qdb_close(&d);
}

/* The row is gone (dropped by a tool, done by another worker): no effect, no error. */
static void a_lost_event_has_no_effect(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 2, 3600000000, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "b", "2");
    ti_worker *w = start_worker(&d, "user", &quick);
    ti_event *event = take_one(w);
    ti_event *other = take_one(w);
    write_row(&d, event, "one", "x");
    OK(&d, ti_queue_drop(d.queues, S("user"), S(ti_event_info_of(event)->id), &d.call, &d.err));
    OK(&d, ti_queue_drop(d.queues, S("user"), S(ti_event_info_of(other)->id), &d.call, &d.err));
    ack(event);
    fail_event(other, "x");
    finish_worker(w);
    assert_false(has_row(&d, "one", NULL));
    assert_int_equal(count_of(&d, "user", TI_EVENT_COMPLETED), 0);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PARKED), 0);
    ti_queue_stats stats;
    ti_queue_stats_of(d.queues, S("user"), &stats);
    assert_int_equal(stats.dropped, 2);
    qdb_close(&d);
}

/* A timed-out handler's writes never commit, whatever it answers later. */
static void a_late_handler_has_no_effect(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    ti_worker_options options = quick;
    options.handler_timeout_us = 30000;
    publish(&d, "user", "a", "1");
    ti_worker *w = start_worker(&d, "user", &options);
    ti_event *event = take_one(w);
    write_row(&d, event, "one", "x");
    for (int i = 0; i < 1000 && !ti_event_timed_out(event); i++)
        usleep(2000);
    ack(event);
    event = take_one(w);
    assert_int_equal(ti_event_info_of(event)->attempts, 1);
    ack(event);
    finish_worker(w);
    assert_false(has_row(&d, "one", NULL));
    qdb_close(&d);
}

/* A chain of events, each published by the handler of the one before, counted in a row. */
static void a_chain_through_handlers(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY);
    uint64_t length = test_scaled(500);
    put_outside(&d, "counter", "0");
    publish(&d, "user", "k0", "0");
    ti_worker *w = start_worker(&d, "user", &quick);
    for (uint64_t i = 1; i <= length; i++) {
        ti_event *event = take_one(w);
        ti_txn *txn;
        ti_slice value;
        char text[32];
        char key[32];
        OK(&d, ti_event_txn(event, &txn, &d.err));
        ti_arena *a = ti_txn_arena(txn);
        OK(&d, ti_txn_get(txn, row(&d, a, "counter"), a, &value, &d.call, &d.err));
        snprintf(text, sizeof(text), "%lu", strtoul(value.data, NULL, 10) + 1);
        write_row(&d, event, "counter", text);
        snprintf(key, sizeof(key), "k%lu", (unsigned long)(i % 7));
        if (i < length)
            publish_within(&d, event, key);
        ack(event);
    }
    finish_worker(w);
    char value[32];
    char wanted[32];
    assert_true(has_row(&d, "counter", value));
    snprintf(wanted, sizeof(wanted), "%lu", (unsigned long)length);
    assert_string_equal(value, wanted);
    qdb_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(effects_commit_with_the_acknowledgement),
        cmocka_unit_test(a_failure_drops_the_effects),
        cmocka_unit_test(reschedule_and_advance_keep_the_effects),
        cmocka_unit_test(conflicts_run_again),
        cmocka_unit_test(endless_conflicts_fail),
        cmocka_unit_test(a_doomed_transaction_fails_the_event),
        cmocka_unit_test(a_lost_event_has_no_effect),
        cmocka_unit_test(a_late_handler_has_no_effect),
        cmocka_unit_test(a_chain_through_handlers),
    };
    return TEST_RUN(tests);
}

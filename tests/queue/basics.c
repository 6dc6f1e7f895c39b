/* The queue, one behaviour at a time: publishing, delivery, each outcome, rows, options, misuse. */
#include "queue/support.h"
#include "codec/record.h"

static const ti_worker_options quick = {
    .concurrency = 4,
    .retry = {.max_retries = 3, .base_us = 2000, .factor = 2, .cap_us = 10000, .jitter = 0.5}};

static void delivers_what_was_published(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 4, 3600000000, TI_ORDERING_KEY);
    ti_worker *w = start_worker(&d, "user", &quick);
    ti_event_spec spec = {.type = S("user"),
                          .key = S("user:1"),
                          .payload = S("{\"a\":1}"),
                          .action = S("INSERT"),
                          .entity = S("table:user:1"),
                          .entity_id = S("1"),
                          .references = S("[\"x\"]")};
    char id[TI_EVENT_ID_SIZE + 1];
    OK(&d, ti_queue_publish(d.queues, NULL, &spec, id, &d.call, &d.err));
    ti_event *event = take_one(w);
    const ti_event_info *info = ti_event_info_of(event);
    assert_string_equal(info->id, id);
    assert_true(is(info->type, "user"));
    assert_true(is(info->key, "user:1"));
    assert_true(is(info->payload, "{\"a\":1}"));
    assert_true(is(info->action, "INSERT"));
    assert_true(is(info->entity, "table:user:1"));
    assert_true(is(info->entity_id, "1"));
    assert_true(is(info->references, "[\"x\"]"));
    assert_int_equal(info->attempts, 0);
    assert_int_equal(info->place.partition, ti_queue_partition_of(S("user:1"), 4));
    assert_string_equal(ti_event_sequence(info).data, id + 5);
    ack(event);
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    assert_int_equal(count_of(&d, "user", TI_EVENT_COMPLETED), 1);
    qdb_close(&d);
}

static void completed_rows_follow_the_retention(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY);
    ti_worker *w = start_worker(&d, "user", &quick);
    publish(&d, "user", "a", "1");
    ack(take_one(w));
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_COMPLETED), 0);
    qdb_close(&d);
}

static void rolled_back_leaves_nothing(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    ti_worker *w = start_worker(&d, "user", &quick);
    ti_txn *txn;
    ti_event_spec spec = {.type = S("user"), .key = S("a")};
    OK(&d, ti_txn_begin(&d.kv, NULL, &txn, &d.err));
    OK(&d, ti_queue_publish(d.queues, txn, &spec, NULL, &d.call, &d.err));
    OK(&d, ti_txn_rollback(txn, &d.err));
    ti_txn_free(txn);
    expect_none(w, 50000);
    OK(&d, ti_txn_begin(&d.kv, NULL, &txn, &d.err));
    OK(&d, ti_queue_publish(d.queues, txn, &spec, NULL, &d.call, &d.err));
    expect_none(w, 50000);
    OK(&d, ti_txn_commit(txn, NULL, &d.call, &d.err));
    ti_txn_free(txn);
    ack(take_one(w));
    finish_worker(w);
    ti_queue_stats stats;
    ti_queue_stats_of(d.queues, S("user"), &stats);
    assert_int_equal(stats.published, 1);
    assert_int_equal(stats.acknowledged, 1);
    assert_int_equal(stats.waiting, 0);
    qdb_close(&d);
}

/* The second event of a key comes after the first was settled, another key's at once. */
static void one_event_of_a_key_at_a_time(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "a", "2");
    publish(&d, "user", "b", "3");
    ti_worker *w = start_worker(&d, "user", &quick);
    ti_event *first = take_one(w);
    ti_event *other = take_one(w);
    assert_true(is(ti_event_info_of(first)->payload, "1"));
    assert_true(is(ti_event_info_of(other)->payload, "3"));
    expect_none(w, 30000);
    ack(first);
    ti_event *second = take_one(w);
    assert_true(is(ti_event_info_of(second)->payload, "2"));
    ack(second);
    ack(other);
    finish_worker(w);
    qdb_close(&d);
}

static void orderings(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "all", 1, 0, TI_ORDERING_PARTITION);
    declare(&d, "none", 1, 0, TI_ORDERING_NONE);
    publish(&d, "all", "a", "1");
    publish(&d, "all", "b", "2");
    publish(&d, "none", "a", "1");
    publish(&d, "none", "a", "2");
    ti_worker *w = start_worker(&d, "all", &quick);
    ti_event *event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "1"));
    expect_none(w, 30000);
    fail_event(event, "no");
    event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "1"));
    assert_int_equal(ti_event_info_of(event)->attempts, 1);
    ack(event);
    event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "2"));
    ack(event);
    finish_worker(w);
    w = start_worker(&d, "none", &quick);
    event = take_one(w);
    ti_event *both = take_one(w);
    fail_event(event, "no");
    ack(both);
    event = take_one(w);
    assert_int_equal(ti_event_info_of(event)->attempts, 1);
    ack(event);
    finish_worker(w);
    assert_int_equal(count_of(&d, "all", TI_EVENT_PARKED), 0);
    assert_int_equal(count_of(&d, "none", TI_EVENT_PARKED), 0);
    qdb_close(&d);
}

/* A failing event keeps its key's order, then becomes FAILED and the key goes on. */
static void retries_then_fails(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "a", "2");
    publish(&d, "user", "b", "3");
    ti_worker *w = start_worker(&d, "user", &quick);
    ti_event *event = take_one(w);
    ti_event *other = take_one(w);
    char id[TI_EVENT_ID_SIZE + 1];
    memcpy(id, ti_event_info_of(event)->id, sizeof(id));
    for (uint32_t i = 0; i <= 3; i++) {
        const ti_event_info *info = ti_event_info_of(event);
        assert_string_equal(info->id, id);
        assert_int_equal(info->attempts, i);
        assert_true(i == 0 ? info->last_error.len == 0 : is(info->last_error, "boom"));
        fail_event(event, "boom");
        event = take_one(w);
    }
    assert_true(is(ti_event_info_of(event)->payload, "2"));
    ack(event);
    ack(other);
    finish_worker(w);
    ti_event_list list;
    OK(&d, ti_queue_list(d.queues, &(ti_event_filter){.type = S("user"), .state = TI_EVENT_FAILED},
                         &d.a, &list, &d.call, &d.err));
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0].id, id);
    assert_int_equal(list.items[0].attempts, 4);
    assert_true(is(list.items[0].last_error, "boom"));
    assert_true(list.items[0].finished_at_us >= (int64_t)list.items[0].place.timestamp_us);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PARKED), 0);
    ti_queue_stats stats;
    ti_queue_stats_of(d.queues, S("user"), &stats);
    assert_int_equal(stats.retried, 3);
    assert_int_equal(stats.failed, 1);
    assert_int_equal(stats.parked_keys, 0);
    qdb_close(&d);
}

static void failed_ones_are_retried_or_dropped(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    ti_worker_options once = quick;
    once.retry.max_retries = 0;
    once.retry.base_us = 1;
    ti_worker *w = start_worker(&d, "user", &once);
    char first[TI_EVENT_ID_SIZE + 1];
    char second[TI_EVENT_ID_SIZE + 1];
    char again[TI_EVENT_ID_SIZE + 1];
    ti_event_spec spec = {.type = S("user"), .key = S("a"), .payload = S("\"p\"")};
    OK(&d, ti_queue_publish(d.queues, NULL, &spec, first, &d.call, &d.err));
    fail_event(take_one(w), "x");
    OK(&d, ti_queue_publish(d.queues, NULL, &spec, second, &d.call, &d.err));
    fail_event(take_one(w), "y");
    wait_committed(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_FAILED), 2);
    OK(&d, ti_queue_retry(d.queues, S("user"), S(first), again, &d.call, &d.err));
    ti_event *event = take_one(w);
    assert_string_equal(ti_event_info_of(event)->id, again);
    assert_int_equal(ti_event_info_of(event)->attempts, 0);
    assert_true(is(ti_event_info_of(event)->payload, "\"p\""));
    ack(event);
    OK(&d, ti_queue_drop(d.queues, S("user"), S(second), &d.call, &d.err));
    test_status(ti_queue_drop(d.queues, S("user"), S(second), &d.call, &d.err), TI_NOT_FOUND);
    test_status(ti_queue_retry(d.queues, S("user"), S(first), NULL, &d.call, &d.err), TI_NOT_FOUND);
    test_status(ti_queue_drop(d.queues, S("user"), S("nonsense"), &d.call, &d.err),
                TI_INVALID_ARGUMENT);
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_FAILED), 0);
    qdb_close(&d);
}

static void reschedules(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "a", "2");
    ti_worker *w = start_worker(&d, "user", &quick);
    ti_event *event = take_one(w);
    fail_event(event, "once");
    event = take_one(w);
    int64_t due = db_now_us(&d) + 100000;
    ti_event_reschedule(event, due);
    ti_event_free(event);
    event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "2"));
    ack(event);
    event = take_one(w);
    assert_true(db_now_us(&d) >= due);
    assert_true(is(ti_event_info_of(event)->payload, "1"));
    assert_int_equal(ti_event_info_of(event)->place.timestamp_us, due);
    assert_int_equal(ti_event_info_of(event)->attempts, 1);
    ti_event_reschedule(event, 0);
    ti_event_free(event);
    event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "1"));
    ack(event);
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    qdb_close(&d);
}

static void advances(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "a", "2");
    ti_worker *w = start_worker(&d, "user", &quick);
    fail_event(take_one(w), "once");
    ti_event *event = take_one(w);
    char id[TI_EVENT_ID_SIZE + 1];
    memcpy(id, ti_event_info_of(event)->id, sizeof(id));
    test_status(ti_event_advance(event, S("{"), &d.err), TI_INVALID_ARGUMENT);
    assert_false(ti_event_is_settled(event));
    OK(&d, ti_event_advance(event, S("{\"step\":2}"), &d.err));
    assert_true(ti_event_is_settled(event));
    ti_event_free(event);
    event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "{\"step\":2}"));
    assert_string_equal(ti_event_info_of(event)->id, id);
    assert_int_equal(ti_event_info_of(event)->attempts, 0);
    ack(event);
    event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "2"));
    OK(&d, ti_event_advance(event, S("3"), &d.err));
    ti_event_free(event);
    event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "3"));
    ack(event);
    finish_worker(w);
    qdb_close(&d);
}

static void abandoned_and_forgotten_events(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    publish(&d, "user", "a", "1");
    ti_worker *w = start_worker(&d, "user", &quick);
    ti_event *event = take_one(w);
    ti_event_abandon(event);
    ti_event_free(event);
    event = take_one(w);
    assert_int_equal(ti_event_info_of(event)->attempts, 0);
    ti_event_free(event);
    event = take_one(w);
    assert_int_equal(ti_event_info_of(event)->attempts, 1);
    ti_event_ack(event);
    ti_event_fail(event, S("too late"));
    ti_event_free(event);
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_COMPLETED), 1);
    qdb_close(&d);
}

static void scheduled_never_before_due(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 2, 0, TI_ORDERING_KEY);
    ti_worker *w = start_worker(&d, "user", &quick);
    int64_t now = db_now_us(&d);
    publish_due(&d, "user", "a", "3", now + 800000);
    publish_due(&d, "user", "a", "2", now + 500000);
    publish(&d, "user", "a", "1");
    ti_event_spec spec = {.type = S("user"), .key = S("b"), .payload = S("4"), .delay_us = 900000};
    OK(&d, ti_queue_publish(d.queues, NULL, &spec, NULL, &d.call, &d.err));
    const char *const order[] = {"1", "2", "3", "4"};
    for (int i = 0; i < 4; i++) {
        ti_event *event = take_one(w);
        assert_true(is(ti_event_info_of(event)->payload, order[i]));
        assert_true(db_now_us(&d) >= (int64_t)ti_event_info_of(event)->place.timestamp_us);
        ack(event);
    }
    finish_worker(w);
    qdb_close(&d);
}

static void handlers_time_out(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "a", "2");
    ti_worker_options options = quick;
    options.handler_timeout_us = 60000;
    ti_worker *w = start_worker(&d, "user", &options);
    ti_event *event = take_one(w);
    ti_txn *txn;
    OK(&d, ti_event_txn(event, &txn, &d.err));
    for (int i = 0; i < 1000 && !ti_event_timed_out(event); i++)
        usleep(2000);
    assert_true(ti_event_timed_out(event));
    test_status(ti_event_txn(event, &txn, &d.err), TI_TIMEOUT);
    expect_none(w, 100000); /* the key stays taken until the handler returns */
    ack(event);
    event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "1"));
    assert_int_equal(ti_event_info_of(event)->attempts, 1);
    ack(event);
    ack(take_one(w));
    finish_worker(w);
    ti_queue_stats stats;
    ti_queue_stats_of(d.queues, S("user"), &stats);
    assert_int_equal(stats.timed_out, 1);
    assert_int_equal(stats.retried, 1);
    qdb_close(&d);
}

static void drains(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "b", "2");
    ti_worker *w = start_worker(&d, "user", &quick);
    ti_event *event = take_one(w);
    ti_worker_stop(w, 20000000);
    ti_event *none;
    size_t count;
    test_status(ti_worker_take(w, &none, 1, -1, &count, &d.err), TI_CLOSED);
    ack(event);
    OK(&d, ti_worker_join(w, &d.err));
    OK(&d, ti_worker_join(w, &d.err));
    ti_worker_free(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 1);
    /* a handler that does not return: TIMEOUT, and its event is still there */
    w = start_worker(&d, "user", &quick);
    event = take_one(w);
    ti_worker_stop(w, 30000);
    test_status(ti_worker_join(w, &d.err), TI_TIMEOUT);
    ti_worker_free(w);
    ack(event);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 1);
    qdb_close(&d);
}

static void leaders(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    ti_worker_options options = quick;
    options.follower = true;
    ti_worker *w = start_worker(&d, "user", &options);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "b", "2");
    expect_none(w, 100000);
    ti_worker_set_leader(w, true);
    ti_event *event = take_one(w);
    ti_worker_set_leader(w, false);
    usleep(50000);
    expect_none(w, 50000);
    ack(event);
    wait_committed(w);
    ti_worker_set_leader(w, true);
    ack(take_one(w));
    expect_none(w, 50000);
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_COMPLETED), 2);
    qdb_close(&d);
}

static void own_partitions_only(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 8, 0, TI_ORDERING_KEY);
    publish_many(&d, "user", 200, 100, 10);
    ti_worker_options low = quick;
    ti_worker_options high = quick;
    low.partition_to = 4;
    high.partition_from = 4;
    ti_worker *a = start_worker(&d, "user", &low);
    ti_worker *b = start_worker(&d, "user", &high);
    uint64_t seen = 0;
    while (seen < 200) {
        ti_event *events[8];
        size_t count;
        OK(&d, ti_worker_take(a, events, 8, 2000, &count, &d.err));
        for (size_t i = 0; i < count; i++, seen++) {
            assert_true(ti_event_info_of(events[i])->place.partition < 4);
            ack(events[i]);
        }
        OK(&d, ti_worker_take(b, events, 8, 2000, &count, &d.err));
        for (size_t i = 0; i < count; i++, seen++) {
            assert_true(ti_event_info_of(events[i])->place.partition >= 4);
            ack(events[i]);
        }
    }
    finish_worker(a);
    finish_worker(b);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    qdb_close(&d);
}

static void partition_counts(void **state)
{
    (void)state;
    qdb d;
    qdb other;
    uint32_t partitions;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY);
    OK(&d, ti_queue_partitions(d.queues, S("user"), &partitions, &d.call, &d.err));
    assert_int_equal(partitions, 4);
    test_status(ti_queue_declare(d.queues, S("user"), &(ti_queue_options){.partitions = 5}, &d.err),
                TI_SCHEMA_MISMATCH);
    ti_event_spec spec = {.type = S("user"), .key = S("a"), .partitions = 8};
    test_status(ti_queue_publish(d.queues, NULL, &spec, NULL, &d.call, &d.err), TI_SCHEMA_MISMATCH);
    OK(&d, ti_queue_partitions(d.queues, S("free"), &partitions, &d.call, &d.err));
    assert_int_equal(partitions, TI_PARTITIONS_DEFAULT);
    qdb_open_beside(&other, &d);
    test_status(
        ti_queue_declare(other.queues, S("user"), &(ti_queue_options){.partitions = 5}, &d.err),
        TI_SCHEMA_MISMATCH);
    test_status(
        ti_queue_declare(d.queues, S("x"), &(ti_queue_options){.partitions = 10000}, &d.err),
        TI_INVALID_ARGUMENT);
    qdb_close(&other);
    qdb_close(&d);
}

/* A publish through another handle of the process wakes the worker at once. */
static void other_handles_wake(void **state)
{
    (void)state;
    qdb d;
    qdb other;
    qdb_open(&d, NULL, NULL);
    qdb_open_beside(&other, &d);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY); /* on TiKV a worker opens them one by one */
    ti_worker *w = start_worker(&d, "user", &quick);
    expect_none(w, 20000);
    publish(&other, "user", "a", "1");
    ti_event *event;
    size_t count;
    OK(&d, ti_worker_take(w, &event, 1, 900000, &count, &d.err));
    assert_int_equal(count, 1);
    ack(event);
    finish_worker(w);
    qdb_close(&other);
    qdb_close(&d);
}

static void bad_events(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    static char big[TI_EVENT_SIZE_MAX + 16];
    memset(big, '1', sizeof(big));
    struct {
        ti_event_spec spec;
        ti_status status;
    } cases[] = {
        {{.type = S("a:b"), .key = S("k")}, TI_INVALID_ARGUMENT},
        {{.type = S(""), .key = S("k")}, TI_INVALID_ARGUMENT},
        {{.type = S("t"), .key = S("")}, TI_INVALID_ARGUMENT},
        {{.type = S("t"), .key = {.data = big, .len = TI_ID_SIZE_MAX + 1}}, TI_INVALID_ARGUMENT},
        {{.type = S("t"), .key = S("\xff")}, TI_INVALID_ARGUMENT},
        {{.type = S("t"), .key = S("k"), .payload = S("{")}, TI_INVALID_ARGUMENT},
        {{.type = S("t"), .key = S("k"), .references = S("{}")}, TI_INVALID_ARGUMENT},
        {{.type = S("t"), .key = S("k"), .due_us = -1}, TI_INVALID_ARGUMENT},
        {{.type = S("t"), .key = S("k"), .payload = {.data = big, .len = sizeof(big)}},
         TI_LIMIT_EXCEEDED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ti_txn *txn;
        OK(&d, ti_txn_begin(&d.kv, NULL, &txn, &d.err));
        test_status(ti_queue_publish(d.queues, txn, &cases[i].spec, NULL, &d.call, &d.err),
                    cases[i].status);
        test_status(ti_txn_commit(txn, NULL, &d.call, &d.err), cases[i].status);
        ti_txn_free(txn);
    }
    /* a key with every awkward byte that UTF-8 allows goes through failure and back */
    ti_worker *w = start_worker(&d, "t", &quick);
    static const char odd[] = "a:b\0c\x01\xc3\xbf";
    ti_event_spec spec = {.type = S("t"), .key = {.data = odd, .len = sizeof(odd) - 1}};
    OK(&d, ti_queue_publish(d.queues, NULL, &spec, NULL, &d.call, &d.err));
    fail_event(take_one(w), "x");
    ti_event *event = take_one(w);
    assert_true(ti_slice_equal(ti_event_info_of(event)->key, spec.key));
    assert_true(is(ti_event_info_of(event)->payload, "null"));
    assert_true(is(ti_event_info_of(event)->references, "[]"));
    ack(event);
    finish_worker(w);
    qdb_close(&d);
}

static void misuse(void **state)
{
    (void)state;
    qdb d;
    ti_worker *w;
    ti_event *event;
    size_t count;
    qdb_open(&d, NULL, NULL);
    ti_worker_options bad = {.partition_from = 3, .partition_to = 3};
    test_status(ti_worker_open(d.queues, &bad, &w, &d.err), TI_INVALID_ARGUMENT);
    bad = (ti_worker_options){.retry = {.base_us = 5, .cap_us = 1, .factor = 2}};
    test_status(ti_worker_open(d.queues, &bad, &w, &d.err), TI_INVALID_ARGUMENT);
    OK(&d, ti_worker_open(d.queues, NULL, &w, &d.err));
    test_status(ti_worker_start(w, &d.call, &d.err), TI_INVALID_STATE);
    test_status(ti_worker_take(w, &event, 1, 0, &count, &d.err), TI_INVALID_STATE);
    test_status(ti_worker_join(w, &d.err), TI_INVALID_STATE);
    OK(&d, ti_worker_on(w, S("a"), NULL, &d.err));
    test_status(ti_worker_on(w, S("a"), NULL, &d.err), TI_ALREADY_EXISTS);
    test_status(ti_worker_on(w, S("?"), NULL, &d.err), TI_INVALID_ARGUMENT);
    OK(&d, ti_worker_start(w, &d.call, &d.err));
    test_status(ti_worker_on(w, S("b"), NULL, &d.err), TI_INVALID_STATE);
    test_status(ti_worker_start(w, &d.call, &d.err), TI_INVALID_STATE);
    ti_worker_free(w);
    qdb_close(&d);
}

/* A row whose bytes were changed goes to FAILED and blocks nobody. */
static void damaged_rows(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "a", "2");
    ti_event_list list;
    OK(&d, ti_queue_list(d.queues, &(ti_event_filter){.type = S("user")}, &d.a, &list, &d.call,
                         &d.err));
    assert_int_equal(list.count, 2);
    ti_txn *txn;
    OK(&d, ti_txn_begin(&d.kv, NULL, &txn, &d.err));
    ti_slice key = ti_key_event(ti_store_keyspace(d.store), &d.a, S("user"), &list.items[0].place);
    ti_slice value;
    OK(&d, ti_txn_get(txn, key, &d.a, &value, &d.call, &d.err));
    char bytes[512];
    memcpy(bytes, value.data, value.len);
    bytes[value.len - 3] ^= 4;
    OK(&d, ti_txn_put(txn, key, (ti_slice){.data = bytes, .len = value.len}, &d.err));
    OK(&d, ti_txn_commit(txn, NULL, &d.call, &d.err));
    ti_txn_free(txn);
    ti_worker *w = start_worker(&d, "user", &quick);
    ti_event *event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "2"));
    ack(event);
    finish_worker(w);
    OK(&d, ti_queue_list(d.queues, &(ti_event_filter){.type = S("user"), .state = TI_EVENT_FAILED},
                         &d.a, &list, &d.call, &d.err));
    assert_int_equal(list.count, 1);
    assert_true(is(list.items[0].payload, "null"));
    assert_true(list.items[0].last_error.len > 0);
    test_status(ti_queue_retry(d.queues, S("user"), S(list.items[0].id), NULL, &d.call, &d.err),
                TI_CORRUPT);
    OK(&d, ti_queue_drop(d.queues, S("user"), S(list.items[0].id), &d.call, &d.err));
    qdb_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivers_what_was_published),
        cmocka_unit_test(completed_rows_follow_the_retention),
        cmocka_unit_test(rolled_back_leaves_nothing),
        cmocka_unit_test(one_event_of_a_key_at_a_time),
        cmocka_unit_test(orderings),
        cmocka_unit_test(retries_then_fails),
        cmocka_unit_test(failed_ones_are_retried_or_dropped),
        cmocka_unit_test(reschedules),
        cmocka_unit_test(advances),
        cmocka_unit_test(abandoned_and_forgotten_events),
        cmocka_unit_test(scheduled_never_before_due),
        cmocka_unit_test(handlers_time_out),
        cmocka_unit_test(drains),
        cmocka_unit_test(leaders),
        cmocka_unit_test(own_partitions_only),
        cmocka_unit_test(partition_counts),
        cmocka_unit_test(other_handles_wake),
        cmocka_unit_test(bad_events),
        cmocka_unit_test(misuse),
        cmocka_unit_test(damaged_rows),
    };
    return TEST_RUN(tests);
}

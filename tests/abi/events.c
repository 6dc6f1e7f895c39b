/* Queues through the interface: publishing, C handlers, taking, settling, transactions of events,
 * history, stopping, closing under a worker. */
#include <poll.h>

#include "abi/harness.h"

static tito_queue_t *open_queue(tito_db_t *db, const char *ordering)
{
    tito_queue_t *queue = NULL;
    tito_options_t *options = tito_options_new();
    tito_options_set_int(options, "partitions", 4);
    tito_options_set(options, "ordering", ordering, strlen(ordering));
    OK(tito_queue_open(db, TEXT("job"), options, &queue, &error));
    tito_options_free(options);
    return queue;
}

static void publish(tito_queue_t *queue, tito_txn_t *txn, const char *key, int n)
{
    char payload[32];
    int len = snprintf(payload, sizeof(payload), "{\"n\":%d}", n);
    RUN(tito_queue_publish(queue, txn, key, strlen(key), payload, (size_t)len, 0, 0, NULL));
}

static tito_worker_t *new_worker(tito_db_t *db, int64_t concurrency, tito_handler_fn handler,
                                 void *context)
{
    tito_worker_t *worker = NULL;
    tito_options_t *options = tito_options_new();
    tito_options_set_int(options, "concurrency", concurrency);
    tito_options_set_int(options, "max_retries", 1);
    tito_options_set_int(options, "retry_base_us", 1000);
    tito_options_set(options, "retry_factor", TEXT("1.5"));
    OK(tito_worker_new(db, options, &worker, &error));
    OK(tito_worker_on(worker, TEXT("job"), NULL, handler, context, &error));
    tito_options_free(options);
    return worker;
}

static size_t history_count(tito_queue_t *queue, const char *filter)
{
    tito_future_t *listed = DONE(tito_queue_history(queue, filter, strlen(filter)));
    tito_page_t *page = tito_future_page(listed);
    size_t count = tito_page_count(page);
    tito_page_free(page);
    tito_future_free(listed);
    return count;
}

/* ---- C handlers ---- */

typedef struct handled {
    tito_worker_t *worker;
    tito_model_t *items;
    _Atomic(int) calls;
    int stop_after;
    int fail_first; /* so many calls fail */
} handled;

static int32_t handle(void *context, tito_event_t *event)
{
    handled *h = context;
    int call = atomic_fetch_add(&h->calls, 1) + 1;
    assert_int_equal(tito_event_text(event, TITO_EVENT_TYPE).len, 3);
    assert_true(tito_event_int(event, TITO_EVENT_TIMESTAMP) > 0);
    assert_int_equal(tito_event_expired(event), 0);
    if (call <= h->fail_first)
        return TITO_HANDLER_FAILED;
    if (call >= h->stop_after)
        assert_int_equal(tito_worker_stop(h->worker, -1), TITO_OK);
    return TITO_OK;
}

static void handlers_in_c(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_queue_t *queue = open_queue(db, "key");
    handled h = {.stop_after = 20};
    for (int i = 0; i < 20; i++)
        publish(queue, NULL, i % 2 == 0 ? "a" : "b", i);
    h.worker = new_worker(db, 3, handle, &h);
    FAILS(tito_worker_join(h.worker), TITO_INVALID_STATE);
    RUN(tito_worker_begin(h.worker));
    EXPECT(tito_worker_start(h.worker, &error), TITO_INVALID_STATE);
    EXPECT(tito_worker_on(h.worker, TEXT("other"), NULL, NULL, NULL, &error), TITO_INVALID_STATE);
    tito_future_t *joined = DONE(tito_worker_join(h.worker));
    assert_int_equal(tito_future_int(joined), 1);
    tito_future_free(joined);
    assert_int_equal(atomic_load(&h.calls), 20);
    assert_int_equal(history_count(queue, "{\"state\":\"pending\"}"), 0);
    assert_int_equal(history_count(queue, "{\"state\":\"completed\"}"), 20);
    assert_int_equal(history_count(queue, "{\"state\":\"completed\",\"key\":\"a\"}"), 10);
    assert_int_equal(history_count(queue, "{\"state\":\"completed\",\"limit\":3}"), 3);
    assert_int_equal(history_count(queue, "{\"state\":\"completed\",\"from\":1,\"to\":2.5}"), 0);
    FAILS(tito_queue_history(queue, TEXT("{\"state\":\"lost\"}")), TITO_INVALID_ARGUMENT);
    FAILS(tito_queue_history(queue, TEXT("{\"limit\":0}")), TITO_INVALID_ARGUMENT);
    FAILS(tito_queue_history(queue, TEXT("[]")), TITO_INVALID_ARGUMENT);
    tito_worker_free(h.worker);
    tito_queue_free(queue);
    tito_db_free(db);
}

/* One event fails for good, is found among the failed, retried, and succeeds. */
static void failures_and_retries(void **state)
{
    (void)state;
    char id[128];
    tito_db_t *db = open_memory();
    tito_queue_t *queue = open_queue(db, "key");
    handled h = {.stop_after = 3, .fail_first = 2};
    publish(queue, NULL, "a", 1);
    h.worker = new_worker(db, 1, handle, &h);
    OK(tito_worker_start(h.worker, &error));
    while (history_count(queue, "{\"state\":\"failed\"}") == 0)
        usleep(1000);
    tito_future_t *listed = DONE(tito_queue_history(queue, TEXT("{\"state\":\"failed\"}")));
    tito_page_t *page = tito_future_page(listed);
    tito_future_free(listed);
    tito_slice event = tito_page_document(page, 0);
    assert_non_null(strstr(event.data, "\"last_error\":\"handler_failed\""));
    assert_non_null(strstr(event.data, "\"attempts\":2"));
    assert_non_null(strstr(event.data, "\"payload\":{\"n\":1}"));
    tito_slice event_id = tito_page_id(page, 0);
    memcpy(id, event_id.data, event_id.len);
    tito_page_free(page);
    RUN(tito_queue_retry(queue, id, event_id.len));
    FAILS(tito_queue_retry(queue, id, event_id.len), TITO_NOT_FOUND);
    FAILS(tito_queue_drop(queue, TEXT("nonsense")), TITO_INVALID_ARGUMENT);
    RUN(tito_worker_join(h.worker));
    assert_int_equal(atomic_load(&h.calls), 3);
    tito_worker_free(h.worker);
    tito_queue_free(queue);
    tito_db_free(db);
}

/* ---- taking ---- */

static tito_event_t *take_one(tito_worker_t *worker)
{
    tito_event_t *event = NULL;
    size_t count = 0;
    struct pollfd fd = {.fd = tito_worker_fd(worker), .events = POLLIN};
    for (int tries = 0; count == 0; tries++) {
        assert_true(tries < 100);
        OK(tito_worker_take(worker, &event, 1, 0, &count, &error));
        if (count == 0)
            assert_int_equal(poll(&fd, 1, 10000), 1);
    }
    return event;
}

static void taken_events(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_queue_t *queue = open_queue(db, "key");
    tito_worker_t *worker = new_worker(db, 4, NULL, NULL);
    tito_event_t *event = NULL;
    size_t count = 0;
    EXPECT(tito_worker_take(worker, &event, 1, 0, &count, &error), TITO_INVALID_STATE);
    OK(tito_worker_start(worker, &error));
    OK(tito_worker_take(worker, &event, 1, 0, &count, &error));
    assert_int_equal(count, 0);
    publish(queue, NULL, "a", 1);
    event = take_one(worker);
    assert_memory_equal(tito_event_text(event, TITO_EVENT_PAYLOAD).data, "{\"n\":1}", 7);
    assert_int_equal(tito_event_text(event, 999).len, 0);
    assert_int_equal(tito_event_acknowledge(event), TITO_OK);
    assert_int_equal(tito_event_acknowledge(event), TITO_INVALID_STATE);
    assert_int_equal(tito_event_fail(event, TEXT("x")), TITO_INVALID_STATE);
    tito_event_free(event);

    publish(queue, NULL, "a", 2);
    event = take_one(worker);
    assert_int_equal(tito_event_advance(event, TEXT("not json")), TITO_INVALID_ARGUMENT);
    assert_int_equal(tito_event_advance(event, TEXT("{\"n\":3}")), TITO_OK);
    tito_event_free(event);
    event = take_one(worker);
    assert_memory_equal(tito_event_text(event, TITO_EVENT_PAYLOAD).data, "{\"n\":3}", 7);
    tito_event_free(event); /* not settled: fails, and is retried */
    event = take_one(worker);
    assert_int_equal(tito_event_int(event, TITO_EVENT_ATTEMPTS), 1);
    assert_int_equal(tito_event_reschedule(event, 1), TITO_OK);
    tito_event_free(event);
    event = take_one(worker);
    assert_int_equal(tito_event_acknowledge(event), TITO_OK);
    tito_event_free(event);

    assert_int_equal(tito_worker_stop(worker, -1), TITO_OK);
    EXPECT(tito_worker_take(worker, &event, 1, -1, &count, &error), TITO_CLOSED);
    struct pollfd fd = {.fd = tito_worker_fd(worker), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 0), 1);
    RUN(tito_worker_join(worker));
    tito_worker_free(worker);
    tito_queue_free(queue);
    tito_db_free(db);
}

/* ---- batches ---- */

static int32_t handle_batch(void *context, tito_event_t *event)
{
    _Atomic(int) *of_batches = context;
    atomic_fetch_add(of_batches, (int)tito_event_count(event));
    return TITO_OK;
}

static void batches_in_c(void **state)
{
    (void)state;
    _Atomic(int) of_batches = 0;
    tito_db_t *db = open_memory();
    tito_queue_t *queue = open_queue(db, "key");
    tito_worker_t *worker = NULL;
    tito_options_t *options = tito_options_new();
    tito_options_set_int(options, "batch", 4);
    OK(tito_worker_new(db, options, &worker, &error));
    OK(tito_worker_on(worker, TEXT("job"), NULL, handle_batch, &of_batches, &error));
    for (int i = 0; i < 6; i++)
        publish(queue, NULL, i % 2 == 0 ? "a" : "b", i);
    OK(tito_worker_start(worker, &error));
    for (int i = 0; i < 60000 && atomic_load(&of_batches) < 6; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&of_batches), 6);
    assert_int_equal(tito_worker_stop(worker, -1), TITO_OK);
    RUN(tito_worker_join(worker));
    tito_worker_free(worker);
    tito_options_free(options);
    tito_queue_free(queue);
    tito_db_free(db);
}

static void batches_that_the_host_takes(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_queue_t *queue = open_queue(db, "key");
    tito_worker_t *worker = NULL;
    tito_options_t *options = tito_options_new();
    tito_txn_t *txn = NULL;
    tito_txn_t *same = NULL;
    size_t most = 0;
    tito_options_set_int(options, "batch", 8);
    OK(tito_worker_new(db, NULL, &worker, &error));
    OK(tito_worker_on(worker, TEXT("job"), options, NULL, NULL, &error));
    OK(tito_worker_start(worker, &error));
    for (size_t done = 0; done < 3;) {
        if (done == 0)
            for (int i = 0; i < 3; i++)
                publish(queue, NULL, i == 0 ? "a" : i == 1 ? "b" : "c", i);
        tito_event_t *batch = take_one(worker);
        size_t count = tito_event_count(batch);
        most = count > most ? count : most;
        assert_in_range(count, 1, 3);
        assert_null(tito_event_member(batch, count));
        tito_event_t *member = tito_event_member(batch, count - 1);
        assert_int_equal(tito_event_count(member), 0);
        assert_null(tito_event_member(member, 0));
        assert_int_equal(tito_event_text(member, TITO_EVENT_KEY).len, 1);
        assert_int_equal(tito_event_expired(member), 0);
        OK(tito_event_txn(batch, &txn, &error));
        OK(tito_event_txn(member, &same, &error));
        assert_ptr_equal(txn, same);
        assert_int_equal(tito_event_advance(batch, TEXT("1")), TITO_INVALID_STATE);
        assert_int_equal(tito_event_advance(member, TEXT("{")), TITO_INVALID_ARGUMENT);
        assert_int_equal(tito_event_reschedule(member, -1), TITO_INVALID_ARGUMENT);
        assert_int_equal(tito_event_fail(member, TEXT("x")), TITO_OK);
        assert_int_equal(tito_event_reschedule(member, 5), TITO_OK);
        assert_int_equal(tito_event_acknowledge(member), TITO_OK);
        tito_event_free(member);
        assert_int_equal(tito_event_acknowledge(batch), TITO_OK);
        assert_int_equal(tito_event_acknowledge(member), TITO_INVALID_STATE);
        tito_event_free(batch);
        done += count;
    }
    assert_int_equal(tito_worker_stop(worker, -1), TITO_OK);
    RUN(tito_worker_join(worker));
    tito_worker_free(worker);
    tito_options_free(options);
    tito_queue_free(queue);
    tito_db_free(db);
}

/* The descriptor tells of what waits also when nobody has taken anything yet: an event loop watches
 * it first and takes then. */
static void watched_before_taking(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_worker_t *worker = NULL;
    tito_queue_t *queue = NULL;
    OK(tito_queue_open(db, TEXT("watched"), NULL, &queue, &error));
    OK(tito_worker_new(db, NULL, &worker, &error));
    OK(tito_worker_on(worker, TEXT("watched"), NULL, NULL, NULL, &error));
    OK(tito_worker_start(worker, &error));
    RUN(tito_queue_publish(queue, NULL, TEXT("k"), TEXT("1"), 0, 0, NULL));
    struct pollfd fd = {.fd = tito_worker_fd(worker), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 10000), 1);
    tito_event_t *event = take_one(worker);
    assert_int_equal(tito_event_acknowledge(event), TITO_OK);
    tito_event_free(event);
    tito_worker_free(worker);
    tito_queue_free(queue);
    tito_db_free(db);
}

static bool tag_comes(tito_cq_t *cq, uint64_t expected)
{
    uint64_t tag = 0;
    struct pollfd fd = {.fd = tito_cq_fd(cq), .events = POLLIN};
    if (poll(&fd, 1, 60000) != 1)
        return false;
    return tito_cq_drain(cq, &tag, 1) == 1 && tag == expected;
}

/* Takes until nothing is ready, acknowledging; whether the worker has ended. */
static bool take_all(tito_worker_t *worker, size_t *taken)
{
    tito_event_t *event = NULL;
    size_t count = 1;
    int32_t status = TITO_OK;
    while (status == TITO_OK && count == 1) {
        status = tito_worker_take(worker, &event, 1, 0, &count, NULL);
        if (count == 0)
            continue;
        assert_int_equal(tito_event_acknowledge(event), TITO_OK);
        tito_event_free(event);
        ++*taken;
    }
    assert_true(status == TITO_OK || status == TITO_CLOSED);
    return status == TITO_CLOSED;
}

/* A completion queue is told of events, again and again, whoever publishes when; and of the end. */
static void watched_by_a_queue(void **state)
{
    (void)state;
    enum { ROUNDS = 200, TAG = 77 };
    tito_db_t *db = open_memory();
    tito_queue_t *queue = open_queue(db, "key");
    tito_worker_t *worker = new_worker(db, 1, NULL, NULL);
    tito_cq_t *cq = NULL;
    uint64_t tag = 0;
    size_t taken = 0;
    OK(tito_cq_new(&cq, &error));
    OK(tito_worker_watch(worker, cq, TAG, &error));
    EXPECT(tito_worker_watch(worker, cq, TAG, &error), TITO_INVALID_STATE);
    assert_int_equal(tito_cq_drain(cq, &tag, 1), 0);
    OK(tito_worker_start(worker, &error));
    for (int i = 0; i < ROUNDS; i++) {
        publish(queue, NULL, "a", i);
        if (i % 3 == 0)
            publish(queue, NULL, "b", i);
        while (taken < (size_t)(i + 1 + i / 3 + 1)) {
            assert_true(tag_comes(cq, TAG));
            assert_false(take_all(worker, &taken));
        }
    }
    assert_int_equal(tito_worker_stop(worker, -1), TITO_OK);
    do
        assert_true(tag_comes(cq, TAG));
    while (!take_all(worker, &taken));
    RUN(tito_worker_join(worker));
    tito_worker_free(worker); /* takes its tag out */
    assert_int_equal(tito_cq_drain(cq, &tag, 1), 0);
    tito_cq_free(cq);
    tito_queue_free(queue);
    tito_db_free(db);
}

/* What waited before is told at once; the queue may go first. */
static void watched_late(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_queue_t *queue = open_queue(db, "key");
    tito_worker_t *worker = new_worker(db, 1, NULL, NULL);
    tito_cq_t *cq = NULL;
    size_t taken = 0;
    OK(tito_cq_new(&cq, &error));
    OK(tito_worker_start(worker, &error));
    publish(queue, NULL, "a", 1);
    OK(tito_worker_watch(worker, cq, 1, &error));
    while (taken == 0) {
        assert_true(tag_comes(cq, 1));
        assert_false(take_all(worker, &taken));
    }
    tito_cq_free(cq);
    publish(queue, NULL, "a", 2);
    tito_event_free(take_one(worker));
    tito_worker_free(worker);
    tito_queue_free(queue);
    tito_db_free(db);
}

static void transactions_of_events(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    tito_queue_t *queue = open_queue(db, "key");
    tito_worker_t *worker = new_worker(db, 1, NULL, NULL);
    tito_txn_t *txn = NULL, *again = NULL;
    OK(tito_worker_start(worker, &error));

    publish(queue, NULL, "a", 1);
    tito_event_t *event = take_one(worker);
    OK(tito_event_txn(event, &txn, &error));
    OK(tito_event_txn(event, &again, &error));
    assert_ptr_equal(txn, again);
    FAILS(tito_txn_commit(txn), TITO_INVALID_STATE);
    tito_txn_free(txn); /* borrowed: nothing happens */
    tito_future_t *built = build_item(items, txn, "made", "x", 1);
    assert_int_equal(tito_event_acknowledge(event), TITO_INVALID_STATE); /* it has not run */
    RUN(built);
    publish(queue, txn, "b", 2);
    assert_int_equal(tito_event_acknowledge(event), TITO_OK);
    FAILS(build_item(items, txn, "late", "x", 1), TITO_INVALID_STATE);
    EXPECT(tito_event_txn(event, &again, &error), TITO_INVALID_STATE);
    tito_event_free(event);

    event = take_one(worker); /* the one published by the first */
    RUN(tito_model_find(items, NULL, TEXT("made"), NULL));
    OK(tito_event_txn(event, &txn, &error));
    RUN(build_item(items, txn, "dropped", "x", 1));
    assert_int_equal(tito_event_fail(event, TEXT("no")), TITO_OK);
    tito_event_free(event);
    FAILS(tito_model_find(items, NULL, TEXT("dropped"), NULL), TITO_NOT_FOUND);

    event = take_one(worker); /* the retry; its operation outlives it */
    OK(tito_event_txn(event, &txn, &error));
    built = build_item(items, txn, "orphan", "x", 1);
    tito_event_free(event);
    tito_future_free(built);
    FAILS(tito_model_find(items, NULL, TEXT("orphan"), NULL), TITO_NOT_FOUND);
    tito_worker_free(worker);
    tito_queue_free(queue);
    tito_model_free(items);
    tito_db_free(db);
}

/* ---- closing under a worker ---- */

static int32_t handle_slowly(void *context, tito_event_t *event)
{
    tito_txn_t *txn = NULL;
    handled *h = context;
    int32_t status = tito_event_txn(event, &txn, NULL);
    atomic_fetch_add(&h->calls, 1);
    while (status == TITO_OK) {
        tito_future_t *found = tito_model_find(h->items, txn, TEXT("none"), NULL);
        status = tito_future_wait(found, -1, NULL);
        tito_future_free(found);
        if (status == TITO_NOT_FOUND)
            status = TITO_OK;
        usleep(1000);
    }
    assert_true(status == TITO_CLOSED);
    return status;
}

static void close_under_a_handler(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_queue_t *queue = open_queue(db, "key");
    handled h = {.items = declare(db, model_spec)};
    h.worker = new_worker(db, 2, handle_slowly, &h);
    publish(queue, NULL, "a", 1);
    publish(queue, NULL, "b", 1);
    OK(tito_worker_start(h.worker, &error));
    while (atomic_load(&h.calls) < 2)
        usleep(100);
    OK(tito_db_close(db, &error));
    tito_worker_free(h.worker);
    tito_queue_free(queue);
    tito_model_free(h.items);
    tito_db_free(db);
}

static void close_with_taken_events(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    tito_queue_t *queue = open_queue(db, "key");
    tito_worker_t *worker = new_worker(db, 2, NULL, NULL);
    tito_txn_t *txn = NULL;
    publish(queue, NULL, "a", 1);
    publish(queue, NULL, "b", 1);
    OK(tito_worker_start(worker, &error));
    tito_event_t *plain = take_one(worker);
    tito_event_t *busy = take_one(worker);
    OK(tito_event_txn(busy, &txn, &error));
    RUN(build_item(items, txn, "a", "x", 1));
    tito_future_t *joined = tito_worker_join(worker);
    OK(tito_future_start(joined, &error));
    OK(tito_db_close(db, &error));
    assert_int_equal(tito_event_acknowledge(busy), TITO_CLOSED);
    assert_int_equal(tito_event_text(plain, TITO_EVENT_KEY).len, 1);
    (void)tito_future_wait(joined, -1, NULL);
    tito_future_free(joined);
    tito_event_free(plain);
    tito_worker_free(worker);
    tito_event_free(busy);
    tito_queue_free(queue);
    tito_model_free(items);
    tito_db_free(db);
}

static int32_t close_inside(void *context, tito_event_t *event)
{
    handled *h = context;
    (void)event;
    assert_int_equal(tito_db_close((tito_db_t *)(void *)h->items, NULL), TITO_INVALID_STATE);
    tito_worker_free(h->worker); /* does nothing: it would wait for itself */
    assert_int_equal(tito_worker_stop(h->worker, -1), TITO_OK);
    return TITO_OK;
}

static void close_from_a_handler(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_queue_t *queue = open_queue(db, "key");
    handled h = {.items = (tito_model_t *)(void *)db};
    h.worker = new_worker(db, 1, close_inside, &h);
    publish(queue, NULL, "a", 1);
    OK(tito_worker_start(h.worker, &error));
    RUN(tito_worker_join(h.worker));
    tito_worker_free(h.worker);
    tito_queue_free(queue);
    tito_db_free(db);
}

/* A queue declared before the database is open counts from its opening on. */
static void declared_before_open(void **state)
{
    (void)state;
    tito_db_t *db = NULL;
    char stats[8192];
    OK(tito_db_new(TEXT("memory:"), NULL, &db, &error));
    tito_queue_t *queue = open_queue(db, "partition");
    FAILS(tito_queue_publish(queue, NULL, TEXT("a"), TEXT("1"), 0, 0, NULL), TITO_INVALID_STATE);
    RUN(tito_db_open(db));
    FAILS(tito_db_open(db), TITO_INVALID_STATE);
    publish(queue, NULL, "a", 1);
    FAILS(tito_queue_publish(queue, NULL, TEXT("a"), TEXT("1"), 5, 5, NULL), TITO_INVALID_ARGUMENT);
    FAILS(tito_queue_publish(queue, NULL, TEXT("a"), TEXT("1"), -1, 0, NULL),
          TITO_INVALID_ARGUMENT);
    FAILS(tito_queue_publish(queue, NULL, TEXT("a"), TEXT("{"), 0, 0, NULL), TITO_INVALID_ARGUMENT);
    take_text(DONE(tito_db_stats(db)), stats, sizeof(stats));
    assert_non_null(strstr(stats, "\"job\":{\"partitions\":4,\"published\":1"));
    tito_queue_free(queue);
    tito_db_free(db);
}

/* What moves events from one database to another says of them what a model would. */
static void publishes_with_an_entity(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_queue_t *queue = NULL;
    OK(tito_queue_open(db, TEXT("moved"), NULL, &queue, &error));
    tito_options_t *options = tito_options_new();
    assert_int_equal(tito_options_set(options, "action", TEXT("INSERT")), TITO_OK);
    assert_int_equal(tito_options_set(options, "entity", TEXT("table:user:u1")), TITO_OK);
    assert_int_equal(tito_options_set(options, "entity_id", TEXT("u1")), TITO_OK);
    assert_int_equal(tito_options_set(options, "references", TEXT("[\"r1\"]")), TITO_OK);
    RUN(tito_queue_publish(queue, NULL, TEXT("k"), TEXT("1"), 0, 0, options));
    assert_int_equal(tito_options_set(options, "references", TEXT("[")), TITO_OK);
    FAILS(tito_queue_publish(queue, NULL, TEXT("k"), TEXT("1"), 0, 0, options),
          TITO_INVALID_ARGUMENT);
    assert_int_equal(tito_options_set(options, "references", TEXT("[]")), TITO_OK);
    assert_int_equal(tito_options_set(options, "entity", TEXT("\xff")), TITO_OK);
    FAILS(tito_queue_publish(queue, NULL, TEXT("k"), TEXT("1"), 0, 0, options),
          TITO_INVALID_ARGUMENT);
    tito_options_free(options);
    tito_future_t *listed = DONE(tito_queue_history(queue, TEXT("{\"owner\":\"table:user:u1\"}")));
    tito_page_t *page = tito_future_page(listed);
    assert_int_equal(tito_page_count(page), 1);
    tito_slice text = tito_page_document(page, 0);
    assert_non_null(memmem(text.data, text.len, TEXT("\"action\":\"INSERT\"")));
    assert_non_null(memmem(text.data, text.len, TEXT("\"entity_id\":\"u1\"")));
    assert_non_null(memmem(text.data, text.len, TEXT("[\"r1\"]")));
    tito_page_free(page);
    tito_future_free(listed);
    tito_queue_free(queue);
    tito_db_free(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publishes_with_an_entity),
        cmocka_unit_test(handlers_in_c),
        cmocka_unit_test(failures_and_retries),
        cmocka_unit_test(taken_events),
        cmocka_unit_test(transactions_of_events),
        cmocka_unit_test(close_under_a_handler),
        cmocka_unit_test(close_with_taken_events),
        cmocka_unit_test(close_from_a_handler),
        cmocka_unit_test(declared_before_open),
        cmocka_unit_test(watched_before_taking),
        cmocka_unit_test(watched_by_a_queue),
        cmocka_unit_test(watched_late),
        cmocka_unit_test(batches_in_c),
        cmocka_unit_test(batches_that_the_host_takes),
    };
    return TEST_RUN(tests);
}

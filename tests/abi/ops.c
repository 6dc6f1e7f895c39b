/* What operations promise: results, lazy start, order within a transaction, doom, attempts,
 * threads, cancellation, completion queues, callbacks, host functions. */
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "abi/harness.h"

/* ---- results ---- */

static void writes_and_reads(void **state)
{
    (void)state;
    char text[512];
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    tito_future_t *built = DONE(build_item(items, NULL, "a", "x", 1));
    int64_t version = tito_future_int(built);
    take_text(built, text, sizeof(text));
    assert_string_equal(text, "{\"id\":\"a\",\"kind\":\"x\",\"n\":1}");
    FAILS(build_item(items, NULL, "a", "x", 1), TITO_ALREADY_EXISTS);
    take_text(DONE(tito_model_patch(items, NULL, TEXT("a"), TEXT("{\"n\":2}"), NULL)), text,
              sizeof(text));
    assert_string_equal(text, "{\"id\":\"a\",\"kind\":\"x\",\"n\":2}");
    tito_future_t *found = DONE(tito_model_find(items, NULL, TEXT("a"), NULL));
    assert_true(tito_future_int(found) > version);
    assert_null(tito_future_page(found));
    tito_future_free(found);
    FAILS(tito_model_find(items, NULL, TEXT("b"), NULL), TITO_NOT_FOUND);
    FAILS(tito_model_update(items, NULL, TEXT("{\"id\":\"b\"}"), NULL), TITO_NOT_FOUND);
    RUN(tito_model_save(items, NULL, TEXT("{\"id\":\"b\",\"kind\":\"y\",\"parent_id\":\"a\"}"),
                        NULL));
    tito_future_t *deleted = DONE(tito_model_delete(items, NULL, TEXT("a"), NULL));
    assert_int_equal(tito_future_int(deleted), 1);
    tito_future_free(deleted);
    deleted = DONE(tito_model_delete(items, NULL, TEXT("a"), NULL));
    assert_int_equal(tito_future_int(deleted), 0);
    tito_future_free(deleted);
    tito_model_free(items);
    tito_db_free(db);
}

static void error_names_the_place(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    tito_error_t *error = NULL;
    RUN(tito_model_build(items, NULL, TEXT("{\"id\":\"a\",\"code\":\"secret\"}"), NULL));
    tito_future_t *second =
        tito_model_build(items, NULL, TEXT("{\"id\":\"b\",\"code\":\"secret\"}"), NULL);
    assert_int_equal(tito_future_wait(second, -1, &error), TITO_UNIQUE_VIOLATION);
    assert_int_equal(tito_error_status(error), TITO_UNIQUE_VIOLATION);
    assert_int_equal(tito_error_retryable(error), 0);
    assert_int_equal(tito_error_outcome_unknown(error), 0);
    assert_memory_equal(tito_error_table(error).data, "item", 5);
    assert_memory_equal(tito_error_index(error).data, "by_code", 8);
    assert_null(strstr(tito_error_message(error).data, "secret"));
    tito_error_free(error);
    /* asked again, a future answers the same again */
    FAILS(second, TITO_UNIQUE_VIOLATION);
    tito_model_free(items);
    tito_db_free(db);
}

static void pages_and_cursors(void **state)
{
    (void)state;
    char id[16];
    size_t seen = 0;
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    tito_query_t *query = NULL;
    for (int i = 0; i < 25; i++) {
        snprintf(id, sizeof(id), "i%02d", i);
        RUN(build_item(items, NULL, id, i % 2 == 0 ? "even" : "odd", i));
    }
    OK(tito_query_new(items, TEXT("by_kind"), &query, &error));
    assert_int_equal(tito_query_value(query, TEXT("\"even\"")), TITO_OK);
    assert_int_equal(tito_query_bound(query, TITO_GTE, TEXT("4")), TITO_OK);
    assert_int_equal(tito_query_limit(query, 3), TITO_OK);
    tito_slice cursor;
    do {
        tito_future_t *executed = DONE(tito_query_execute(query, NULL));
        tito_page_t *page = tito_future_page(executed);
        assert_null(tito_future_page(executed));
        tito_future_free(executed);
        for (size_t i = 0; i < tito_page_count(page); i++, seen++) {
            snprintf(id, sizeof(id), "i%02d", (int)(4 + 2 * seen));
            assert_int_equal(tito_page_id(page, i).len, 3);
            assert_memory_equal(tito_page_id(page, i).data, id, 3);
            assert_true(tito_page_version(page, i) > 0);
            assert_true(tito_page_document(page, i).len > 10);
        }
        assert_int_equal(tito_page_document(page, 3).len, 0);
        cursor = tito_page_cursor(page);
        assert_int_equal(tito_query_cursor(query, cursor.data, cursor.len), TITO_OK);
        tito_page_free(page);
    } while (cursor.len > 0);
    assert_int_equal(seen, 11);
    tito_future_t *count = DONE(tito_query_count(query, NULL));
    assert_int_equal(tito_future_int(count), 11);
    tito_future_free(count);
    RUN(tito_query_explain(query));
    tito_query_free(query);

    /* a builder's error is told by the execution */
    OK(tito_query_new(items, TEXT("by_kind"), &query, &error));
    assert_int_equal(tito_query_limit(query, 0), TITO_INVALID_ARGUMENT);
    FAILS(tito_query_execute(query, NULL), TITO_INVALID_ARGUMENT);
    tito_query_free(query);
    OK(tito_query_new(items, TEXT("by_kind"), &query, &error));
    assert_int_equal(tito_query_bound(query, 99, TEXT("1")), TITO_INVALID_ARGUMENT);
    FAILS(tito_query_execute(query, NULL), TITO_INVALID_ARGUMENT);
    tito_query_free(query);
    OK(tito_query_new(items, TEXT("by_kind"), &query, &error));
    assert_int_equal(tito_query_value(query, NULL, 4), TITO_INVALID_ARGUMENT);
    FAILS(tito_query_count(query, NULL), TITO_INVALID_ARGUMENT);
    tito_query_free(query);
    EXPECT(tito_query_new(items, TEXT("nothing"), &query, &error), TITO_INVALID_ARGUMENT);
    tito_model_free(items);
    tito_db_free(db);
}

static void many_at_once(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    tito_read_t *read = tito_read_new();
    RUN(build_item(items, NULL, "a", "x", 1));
    RUN(tito_model_build(items, NULL, TEXT("{\"id\":\"b\",\"parent_id\":\"a\"}"), NULL));
    assert_int_equal(tito_read_relationship(read, TEXT("parent")), TITO_OK);
    tito_future_t *found =
        DONE(tito_model_find_many(items, NULL, TEXT("[\"b\",\"none\",\"a\"]"), read));
    tito_page_t *page = tito_future_page(found);
    tito_future_free(found);
    assert_int_equal(tito_page_count(page), 2);
    assert_non_null(strstr(tito_page_document(page, 0).data, "\"parent\":{\"id\":\"a\""));
    tito_page_free(page);
    FAILS(tito_model_find_many(items, NULL, TEXT("[1]"), read), TITO_INVALID_ARGUMENT);
    FAILS(tito_model_find_many(items, NULL, TEXT("{}"), read), TITO_INVALID_ARGUMENT);
    FAILS(tito_model_find_many(items, NULL, TEXT("nonsense"), read), TITO_INVALID_ARGUMENT);
    tito_read_free(read);
    tito_model_free(items);
    tito_db_free(db);
}

static void options_are_checked(void **state)
{
    (void)state;
    tito_db_t *db = NULL;
    tito_options_t *options = tito_options_new();
    tito_options_set(options, "durability", TEXT("perhaps"));
    EXPECT(tito_db_new(TEXT("memory:"), options, &db, &error), TITO_INVALID_ARGUMENT);
    assert_null(db);
    tito_options_set(options, "durability", TEXT("buffered"));
    OK(tito_db_new(TEXT("memory:"), options, &db, &error));
    tito_db_free(db);
    tito_options_set_int(options, "partitions", 0);
    EXPECT(tito_db_new(TEXT("memory:"), options, &db, &error), TITO_INVALID_ARGUMENT);
    tito_options_set(options, "partitions", TEXT("12x"));
    EXPECT(tito_db_new(TEXT("memory:"), options, &db, &error), TITO_INVALID_ARGUMENT);
    tito_options_set_int(options, "partitions", 12);
    tito_options_set(options, "colour", TEXT("blue"));
    EXPECT(tito_db_new(TEXT("memory:"), options, &db, &error), TITO_INVALID_ARGUMENT);
    tito_options_free(options);
    EXPECT(tito_connect(TEXT(""), NULL, &db, &error), TITO_INVALID_ARGUMENT);
    assert_int_equal(tito_options_set(NULL, "a", TEXT("b")), TITO_INVALID_ARGUMENT);
}

/* ---- transactions ---- */

static void transaction_commits(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    tito_txn_t *txn = begin(db);
    assert_int_equal(tito_txn_is_open(txn), 1);
    /* none of these is waited for: the commit runs them, in order */
    tito_future_t *first = build_item(items, txn, "a", "x", 1);
    tito_future_t *second = tito_model_patch(items, txn, TEXT("a"), TEXT("{\"n\":7}"), NULL);
    tito_future_t *committed = DONE(tito_txn_commit(txn));
    assert_true(tito_future_int(committed) > 0);
    assert_int_equal(tito_future_ready(first) + tito_future_ready(second), 2);
    assert_int_equal(tito_txn_is_open(txn), 0);
    tito_future_free(committed);
    tito_future_free(first);
    tito_future_free(second);
    FAILS(build_item(items, txn, "b", "x", 1), TITO_INVALID_STATE);
    FAILS(tito_txn_commit(txn), TITO_INVALID_STATE);
    FAILS(tito_txn_rollback(txn), TITO_INVALID_STATE);
    tito_future_t *found = DONE(tito_model_find(items, NULL, TEXT("a"), NULL));
    assert_non_null(strstr(tito_future_bytes(found).data, "\"n\":7"));
    tito_future_free(found);
    tito_txn_free(txn);

    txn = begin(db);
    RUN(build_item(items, txn, "c", "x", 1));
    RUN(tito_model_find(items, txn, TEXT("c"), NULL));
    RUN(tito_txn_rollback(txn));
    tito_txn_free(txn);
    FAILS(tito_model_find(items, NULL, TEXT("c"), NULL), TITO_NOT_FOUND);
    txn = begin(db);
    RUN(build_item(items, txn, "c", "x", 1));
    tito_txn_free(txn); /* rolls back */
    FAILS(tito_model_find(items, NULL, TEXT("c"), NULL), TITO_NOT_FOUND);
    tito_model_free(items);
    tito_db_free(db);
}

/* Freeing a transaction ends it at once, also while futures of it are kept: its locks are free, and
 * what has not run never does. */
static void free_ends_at_once(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    tito_read_t *read = tito_read_new();
    assert_int_equal(tito_read_lock(read, 0), TITO_OK);
    RUN(build_item(items, NULL, "a", "x", 1));
    tito_txn_t *one = begin(db), *two = begin(db);
    tito_future_t *locked = DONE(tito_model_find(items, one, TEXT("a"), read));
    tito_future_t *lazy = build_item(items, one, "b", "x", 1);
    FAILS(tito_model_find(items, two, TEXT("a"), read), TITO_BUSY);
    tito_txn_free(one);
    RUN(tito_model_find(items, two, TEXT("a"), read));
    FAILS(lazy, TITO_INVALID_STATE);
    assert_true(tito_future_bytes(locked).len > 0);
    tito_future_free(locked);
    tito_txn_free(two);
    FAILS(tito_model_find(items, NULL, TEXT("b"), NULL), TITO_NOT_FOUND);
    tito_read_free(read);
    tito_model_free(items);
    tito_db_free(db);
}

/* However a write fails, what else the transaction wrote is not committed. */
static void failed_write_dooms(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    for (int way = 0; way < 6; way++) {
        tito_txn_t *txn = begin(db);
        int32_t expected = TITO_INVALID_ARGUMENT;
        tito_future_t *released;
        RUN(build_item(items, txn, "kept", "x", 1));
        switch (way) {
        case 0: /* the document is wrong */
            FAILS(tito_model_build(items, txn, TEXT("[]"), NULL), expected);
            break;
        case 1: /* the arguments are wrong */
            FAILS(tito_model_build(items, txn, NULL, 5, NULL), expected);
            break;
        case 2: /* there is nothing to update */
            expected = TITO_NOT_FOUND;
            FAILS(tito_model_update(items, txn, TEXT("{\"id\":\"none\"}"), NULL), expected);
            break;
        case 3: /* doomed by hand */
            expected = TITO_VERSION_MISMATCH;
            assert_int_equal(tito_txn_doom(txn, expected, TEXT("so")), TITO_OK);
            break;
        case 4: /* a write that was freed before it ran */
            expected = TITO_CANCELLED;
            released = build_item(items, txn, "other", "x", 2);
            tito_future_free(released);
            break;
        default: /* a write that was cancelled before it ran */
            expected = TITO_CANCELLED;
            released = build_item(items, txn, "other", "x", 2);
            tito_future_cancel(released);
            FAILS(released, TITO_CANCELLED);
            break;
        }
        FAILS(tito_txn_commit(txn), expected);
        assert_int_equal(tito_txn_is_open(txn), 0);
        tito_txn_free(txn);
        FAILS(tito_model_find(items, NULL, TEXT("kept"), NULL), TITO_NOT_FOUND);
    }
    tito_model_free(items);
    tito_db_free(db);
}

/* Two transactions write one record: the second conflicts, retries in the same handle, commits. */
static void conflict_is_retried(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    RUN(build_item(items, NULL, "a", "x", 0));
    tito_txn_t *slow = begin(db);
    RUN(tito_model_find(items, slow, TEXT("a"), NULL));
    RUN(tito_model_patch(items, NULL, TEXT("a"), TEXT("{\"n\":1}"), NULL));
    RUN(tito_model_patch(items, slow, TEXT("a"), TEXT("{\"n\":2}"), NULL));
    FAILS(tito_txn_commit(slow), TITO_CONFLICT);
    RUN(tito_txn_retry(slow, TITO_CONFLICT));
    assert_int_equal(tito_txn_is_open(slow), 1);
    tito_future_free(build_item(items, slow, "dropped", "x", 0));
    FAILS(tito_txn_commit(slow), TITO_CANCELLED);
    FAILS(tito_txn_retry(slow, TITO_CANCELLED), TITO_CANCELLED);
    assert_int_equal(tito_txn_is_open(slow), 0);
    RUN(tito_txn_retry(slow, TITO_CONFLICT)); /* what was dropped in an attempt is forgotten */
    RUN(tito_model_patch(items, slow, TEXT("a"), TEXT("{\"n\":2}"), NULL));
    RUN(tito_txn_commit(slow));
    tito_txn_free(slow);
    tito_model_free(items);
    tito_db_free(db);
}

static void attempts_are_bounded(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_txn_t *txn = NULL;
    tito_options_t *options = tito_options_new();
    tito_error_t *failure = NULL;
    tito_options_set_int(options, "attempts", 3);
    OK(tito_txn_begin(db, options, &txn, &error));
    RUN(tito_txn_retry(txn, TITO_CONFLICT));
    RUN(tito_txn_retry(txn, TITO_BUSY));
    tito_future_t *last = tito_txn_retry(txn, TITO_CONFLICT);
    assert_int_equal(tito_future_wait(last, -1, &failure), TITO_CONFLICT);
    assert_non_null(strstr(tito_error_message(failure).data, "3 attempts"));
    assert_int_equal(tito_error_retryable(failure), 1);
    tito_error_free(failure);
    tito_future_free(last);
    tito_txn_free(txn);
    tito_options_set(options, "attempts", TEXT("0"));
    EXPECT(tito_txn_begin(db, options, &txn, &error), TITO_INVALID_ARGUMENT);
    tito_options_free(options);
    tito_db_free(db);
}

typedef struct counted {
    tito_model_t *items;
    int calls;
    int conflicts;
    int32_t answer;
} counted;

/* Adds one to the record "a"; a stranger disturbs the first attempts. */
static int32_t add_one(void *context, tito_txn_t *txn)
{
    counted *c = context;
    char changes[32];
    c->calls++;
    if (c->answer != TITO_OK)
        return c->answer;
    tito_future_t *found = DONE(tito_model_find(c->items, txn, TEXT("a"), NULL));
    const char *n = strstr(tito_future_bytes(found).data, "\"n\":");
    int value = (int)strtol(n + 4, NULL, 10);
    tito_future_free(found);
    if (c->calls <= c->conflicts)
        RUN(tito_model_patch(c->items, NULL, TEXT("a"), TEXT("{\"kind\":\"z\"}"), NULL));
    int len = snprintf(changes, sizeof(changes), "{\"n\":%d}", value + 1);
    RUN(tito_model_patch(c->items, txn, TEXT("a"), changes, (size_t)len, NULL));
    return TITO_OK;
}

static void transact_runs_again(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    counted c = {.items = declare(db, model_spec), .conflicts = 3};
    RUN(build_item(c.items, NULL, "a", "x", 10));
    OK(tito_transact(db, NULL, add_one, &c, &error));
    assert_int_equal(c.calls, 4);
    tito_future_t *found = DONE(tito_model_find(c.items, NULL, TEXT("a"), NULL));
    assert_non_null(strstr(tito_future_bytes(found).data, "\"n\":11"));
    tito_future_free(found);
    c = (counted){.items = c.items, .answer = TITO_HANDLER_FAILED};
    EXPECT(tito_transact(db, NULL, add_one, &c, &error), TITO_HANDLER_FAILED);
    assert_int_equal(c.calls, 1);
    EXPECT(tito_transact(db, NULL, NULL, &c, &error), TITO_INVALID_ARGUMENT);
    tito_model_free(c.items);
    tito_db_free(db);
}

static void *use_from_another_thread(void *argument)
{
    tito_txn_t *txn = argument;
    static int32_t status;
    tito_future_t *future = tito_txn_start_version(txn);
    status = tito_future_wait(future, -1, NULL);
    tito_future_free(future);
    return &status;
}

static void transaction_belongs_to_a_thread(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_txn_t *txn = begin(db);
    pthread_t thread;
    void *status;
    assert_int_equal(pthread_create(&thread, NULL, use_from_another_thread, txn), 0);
    assert_int_equal(pthread_join(thread, &status), 0);
    assert_int_equal(*(int32_t *)status, TITO_INVALID_STATE);
    RUN(tito_txn_commit(txn)); /* it was not harmed */
    tito_txn_free(txn);
    tito_options_t *options = tito_options_new();
    tito_options_set(options, "any_thread", TEXT("true"));
    OK(tito_txn_begin(db, options, &txn, &error));
    assert_int_equal(pthread_create(&thread, NULL, use_from_another_thread, txn), 0);
    assert_int_equal(pthread_join(thread, &status), 0);
    assert_int_equal(*(int32_t *)status, TITO_OK);
    tito_txn_free(txn);
    tito_options_free(options);
    tito_db_free(db);
}

static void versions_are_compared(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    tito_write_t *write = tito_write_new();
    RUN(build_item(items, NULL, "a", "x", 1));
    tito_future_t *found = DONE(tito_model_find(items, NULL, TEXT("a"), NULL));
    uint64_t version = (uint64_t)tito_future_int(found);
    tito_future_free(found);
    assert_int_equal(tito_write_if_version(NULL, version), TITO_INVALID_ARGUMENT);
    assert_int_equal(tito_write_if_version(write, 0), TITO_INVALID_ARGUMENT); /* no version */
    assert_int_equal(tito_write_if_version(write, version), TITO_OK);
    assert_int_equal(tito_write_if_version(write, 0), TITO_INVALID_ARGUMENT); /* leaves the other */
    RUN(tito_model_patch(items, NULL, TEXT("a"), TEXT("{\"n\":2}"), write));
    FAILS(tito_model_patch(items, NULL, TEXT("a"), TEXT("{\"n\":3}"), write),
          TITO_VERSION_MISMATCH);
    FAILS(tito_model_delete(items, NULL, TEXT("a"), write), TITO_VERSION_MISMATCH);
    RUN(tito_model_find(items, NULL, TEXT("a"), NULL));
    tito_write_free(write);
    tito_model_free(items);
    tito_db_free(db);
}

static void transaction_of_another_database(void **state)
{
    (void)state;
    tito_db_t *one = open_memory();
    tito_db_t *two = open_memory();
    tito_model_t *items = declare(one, model_spec);
    tito_txn_t *txn = begin(two);
    FAILS(tito_model_find(items, txn, TEXT("a"), NULL), TITO_INVALID_ARGUMENT);
    tito_txn_free(txn);
    tito_model_free(items);
    tito_db_free(one);
    tito_db_free(two);
}

/* ---- futures and completion queues ---- */

static void called_back(void *context, tito_future_t *future)
{
    assert_int_equal(tito_future_ready(future), 1);
    atomic_fetch_add((_Atomic(int) *)context, 1);
}

static void started_futures(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    _Atomic(int) calls = 0;
    tito_future_t *lazy = build_item(items, NULL, "a", "x", 1);
    EXPECT(tito_future_wait(lazy, 0, &error), TITO_TIMEOUT);
    assert_int_equal(tito_future_ready(lazy), 0);
    assert_int_equal(tito_future_int(lazy), 0);
    assert_int_equal(tito_future_bytes(lazy).len, 0);
    OK(tito_future_wait(lazy, 5000000, &error));
    tito_future_free(lazy);
    tito_future_t *then = build_item(items, NULL, "b", "x", 1);
    OK(tito_future_then(then, called_back, &calls, &error));
    EXPECT(tito_future_then(then, called_back, &calls, &error), TITO_INVALID_STATE);
    OK(tito_future_wait(then, -1, &error));
    while (atomic_load(&calls) == 0)
        usleep(100);
    tito_future_free(then);
    tito_future_t *cancelled = build_item(items, NULL, "c", "x", 1);
    tito_future_cancel(cancelled);
    FAILS(cancelled, TITO_CANCELLED);
    FAILS(tito_model_find(items, NULL, TEXT("c"), NULL), TITO_NOT_FOUND);
    tito_model_free(items);
    tito_db_free(db);
    assert_int_equal(atomic_load(&calls), 1);
}

static void completions_by_descriptor(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    tito_cq_t *cq = NULL;
    tito_future_t *futures[COUNT];
    uint64_t tags[16];
    bool seen[COUNT] = {false};
    size_t left = COUNT;
    OK(tito_cq_new(&cq, &error));
    for (uint64_t i = 0; i < COUNT; i++) {
        char id[16];
        snprintf(id, sizeof(id), "i%d", (int)i);
        futures[i] = build_item(items, NULL, id, "x", 1);
        OK(tito_future_watch(futures[i], cq, i, &error));
    }
    while (left > 0) {
        struct pollfd fd = {.fd = tito_cq_fd(cq), .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 10000), 1);
        size_t count = tito_cq_drain(cq, tags, 16);
        for (size_t i = 0; i < count; i++) {
            assert_false(seen[tags[i]]);
            seen[tags[i]] = true;
            RUN(futures[tags[i]]);
        }
        left -= count;
    }
    struct pollfd fd = {.fd = tito_cq_fd(cq), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 0), 0);
    tito_cq_free(cq);
    tito_model_free(items);
    tito_db_free(db);
}

static void completions_by_socket(void **state)
{
    (void)state;
    char dir[TEST_DIR_SIZE], byte;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    tito_db_t *db = open_memory();
    tito_cq_t *cq = NULL;
    uint64_t tag = 0;
    test_dir_make(dir);
    snprintf(address.sun_path, sizeof(address.sun_path), "%.80s/cq", dir);
    OK(tito_cq_new(&cq, &error));
    OK(tito_cq_listen(cq, address.sun_path, &error));
    EXPECT(tito_cq_accept(cq, 0, &error), TITO_BUSY);
    int loop = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(loop, (struct sockaddr *)&address, sizeof(address)), 0);
    OK(tito_cq_accept(cq, 0, &error));
    assert_int_not_equal(access(address.sun_path, F_OK), 0);
    tito_future_t *now = tito_db_now(db);
    OK(tito_future_watch(now, cq, 42, &error));
    assert_int_equal(read(loop, &byte, 1), 1);
    assert_int_equal(tito_cq_drain(cq, &tag, 1), 1);
    assert_int_equal(tag, 42);
    RUN(now);
    (void)close(loop);
    tito_cq_free(cq);
    tito_db_free(db);
    test_dir_remove(dir);
}

/* ---- host functions ---- */

typedef struct host_of_items {
    int calls;
    int32_t answer;
    tito_model_t *items;
} host_of_items;

/* The condition of the index holds for items with "on":true. */
static int32_t host(void *context, const char *document, size_t document_len, tito_write_t *write)
{
    host_of_items *h = context;
    char text[256];
    h->calls++;
    assert_true(document_len < sizeof(text));
    memcpy(text, document, document_len);
    text[document_len] = '\0';
    if (h->items != NULL) {
        tito_future_t *inside = tito_model_find(h->items, NULL, TEXT("a"), NULL);
        assert_int_equal(tito_future_wait(inside, -1, NULL), TITO_INVALID_STATE);
        tito_future_free(inside);
    }
    tito_write_conditions(write, strstr(text, "\"on\":true") != NULL ? 1 : 0);
    return h->answer;
}

static const char conditional_spec[] =
    "{\"table\":\"c\",\"indexes\":[{\"name\":\"on\",\"fields\":[{\"name\":\"n\",\"type\":"
    "\"number\"}],\"condition\":\"host\"}]}";

static int64_t count_of(tito_model_t *model, const char *index)
{
    tito_query_t *query = NULL;
    OK(tito_query_new(model, index, strlen(index), &query, &error));
    tito_future_t *count = DONE(tito_query_count(query, NULL));
    int64_t n = tito_future_int(count);
    tito_future_free(count);
    tito_query_free(query);
    return n;
}

static void host_functions(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_model_t *model = declare(db, conditional_spec);
    host_of_items h = {.answer = TITO_OK};
    FAILS(tito_model_patch(model, NULL, TEXT("a"), TEXT("{}"), NULL), TITO_INVALID_STATE);
    assert_int_equal(tito_model_set_host(model, host, &h), TITO_OK);
    RUN(tito_model_build(model, NULL, TEXT("{\"id\":\"a\",\"n\":1,\"on\":true}"), NULL));
    RUN(tito_model_build(model, NULL, TEXT("{\"id\":\"b\",\"n\":2,\"on\":false}"), NULL));
    assert_int_equal(h.calls, 2);
    assert_int_equal(count_of(model, "on"), 1);
    RUN(tito_model_patch(model, NULL, TEXT("b"), TEXT("{\"on\":true}"), NULL));
    assert_int_equal(count_of(model, "on"), 2);
    tito_txn_t *txn = begin(db);
    RUN(tito_model_patch(model, txn, TEXT("a"), TEXT("{\"on\":false}"), NULL));
    RUN(tito_txn_commit(txn));
    tito_txn_free(txn);
    assert_int_equal(count_of(model, "on"), 1);
    FAILS(tito_model_build(model, NULL, TEXT("{\"id\":"), NULL), TITO_INVALID_ARGUMENT);
    assert_int_equal(h.calls, 4);
    h.answer = TITO_HANDLER_FAILED;
    FAILS(tito_model_build(model, NULL, TEXT("{\"id\":\"c\",\"n\":1}"), NULL), TITO_HANDLER_FAILED);
    FAILS(tito_model_patch(model, NULL, TEXT("a"), TEXT("{\"n\":1}"), NULL), TITO_HANDLER_FAILED);
    h = (host_of_items){.items = model};
    RUN(tito_model_build(model, NULL, TEXT("{\"id\":\"d\",\"n\":1}"), NULL));
    tito_model_free(model);
    tito_db_free(db);
}

/* Freed steps have ended, also while somebody keeps a future of theirs. */
static void freed_steps_let_others_begin(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    tito_steps_t *first = NULL;
    tito_steps_t *second = NULL;
    OK(tito_reindex_open(items, NULL, &first, &error));
    tito_future_t *kept = DONE(tito_steps_next(first));
    tito_future_t *late = tito_steps_next(first);
    OK(tito_reindex_open(items, NULL, &second, &error));
    FAILS(tito_steps_next(second), TITO_BUSY);
    tito_steps_free(second);
    tito_steps_free(first);
    OK(tito_reindex_open(items, NULL, &second, &error));
    RUN(tito_steps_next(second));
    FAILS(late, TITO_INVALID_STATE);
    tito_future_free(kept);
    tito_steps_free(second);
    tito_model_free(items);
    tito_db_free(db);
}

static void an_embedded_database_has_no_cluster(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_options_t *options = tito_options_new();
    FAILS(tito_db_cluster(db, NULL), TITO_UNSUPPORTED);
    assert_int_equal(tito_options_set(options, "resolve", "true", 4), TITO_OK);
    FAILS(tito_db_cluster(db, options), TITO_INVALID_ARGUMENT);
    assert_int_equal(tito_options_set_int(options, "locks_us", -1), TITO_OK);
    FAILS(tito_db_cluster(db, options), TITO_INVALID_ARGUMENT);
    assert_int_equal(tito_options_set_int(options, "locks_us", 1000000), TITO_OK);
    FAILS(tito_db_cluster(db, options), TITO_UNSUPPORTED);
    tito_options_free(options);
    tito_db_free(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_and_reads),
        cmocka_unit_test(error_names_the_place),
        cmocka_unit_test(pages_and_cursors),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(transaction_commits),
        cmocka_unit_test(free_ends_at_once),
        cmocka_unit_test(failed_write_dooms),
        cmocka_unit_test(conflict_is_retried),
        cmocka_unit_test(attempts_are_bounded),
        cmocka_unit_test(transact_runs_again),
        cmocka_unit_test(transaction_belongs_to_a_thread),
        cmocka_unit_test(versions_are_compared),
        cmocka_unit_test(transaction_of_another_database),
        cmocka_unit_test(started_futures),
        cmocka_unit_test(completions_by_descriptor),
        cmocka_unit_test(completions_by_socket),
        cmocka_unit_test(host_functions),
        cmocka_unit_test(freed_steps_let_others_begin),
        cmocka_unit_test(an_embedded_database_has_no_cluster),
    };
    return TEST_RUN(tests);
}

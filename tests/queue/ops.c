/* Operations: tokens, purge, replay, pause, retention, limits of types and keys, what is told about
 * a queue. */
#include "queue/support.h"
#include "tikv/spaced.h"

#include <inttypes.h>
#include <pthread.h>

#include "base/limits.h"

#define SECOND INT64_C(1000000)

static const ti_retry_policy never_again = {
    .max_retries = 0, .base_us = 1, .factor = 1, .cap_us = 1};

/* Waits until a count is n. */
static void wait_count(qdb *d, const char *type, ti_event_state state, uint64_t n)
{
    for (int i = 0; i < 10000 && count_of(d, type, state) != n; i++)
        usleep(2000);
    assert_int_equal(count_of(d, type, state), n);
}

/* ---- tokens ---- */

static ti_status publish_token(qdb *d, const char *token, bool give_back, char *id_out)
{
    ti_event_spec spec = {.type = S("user"),
                          .key = S("a"),
                          .payload = S("1"),
                          .unique = S(token),
                          .unique_return = give_back};
    ti_err_clear(&d->err);
    return ti_queue_publish(d->queues, NULL, &spec, id_out, &d->call, &d->err);
}

/* Whether the row of a token is stored. */
static bool has_token(qdb *d, const char *token)
{
    ti_txn *txn;
    ti_slice value;
    OK(d, ti_txn_begin(&d->kv, NULL, &txn, &d->err));
    ti_arena *a = ti_txn_arena(txn);
    ti_slice key = ti_key_queue_unique(ti_store_keyspace(d->store), a, S("user"), S(token));
    ti_status status = ti_txn_get(txn, key, a, &value, &d->call, &d->err);
    assert_true(status == TI_OK || status == TI_NOT_FOUND);
    ti_txn_free(txn);
    return status == TI_OK;
}

static void a_token_is_taken_until_its_event_ends(void **state)
{
    (void)state;
    qdb d;
    char first[TI_EVENT_ID_SIZE + 1];
    char second[TI_EVENT_ID_SIZE + 1];
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 2, 3600 * SECOND, TI_ORDERING_KEY);
    OK(&d, publish_token(&d, "t", false, first));
    assert_int_equal(publish_token(&d, "t", false, second), TI_ALREADY_EXISTS);
    OK(&d, publish_token(&d, "t", true, second));
    assert_string_equal(first, second);
    OK(&d, publish_token(&d, "other", true, second));
    assert_string_not_equal(first, second);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 2);

    ti_worker_options options = {
        .retry = {.max_retries = 1, .base_us = 1, .factor = 1, .cap_us = 1}};
    ti_worker *w = start_worker(&d, "user", &options);
    ti_event *event = take_one(w);
    assert_true(is(ti_event_info_of(event)->unique, "t"));
    fail_event(event, "once");
    wait_committed(w); /* it waits for its retry: still unfinished */
    assert_int_equal(publish_token(&d, "t", false, second), TI_ALREADY_EXISTS);
    event = take_one(w);
    assert_int_equal(ti_event_info_of(event)->attempts, 1);
    ti_event_reschedule(event, db_now_us(&d) + SECOND / 5);
    ti_event_free(event);
    wait_committed(w);
    OK(&d, publish_token(&d, "t", true, second)); /* it has another place, so another id */
    assert_string_not_equal(first, second);
    ack(take_one(w)); /* "other" */
    event = take_one(w);
    assert_string_equal(ti_event_info_of(event)->id, second);
    assert_true(has_token(&d, "t"));
    ack(event);
    wait_committed(w);
    assert_false(has_token(&d, "t") || has_token(&d, "other"));
    OK(&d, publish_token(&d, "t", false, second)); /* acknowledged: free */
    fail_event(take_one(w), "one");
    fail_event(take_one(w), "two");
    wait_committed(w);
    wait_count(&d, "user", TI_EVENT_FAILED, 1);
    assert_false(has_token(&d, "t"));
    OK(&d, publish_token(&d, "t", false, first)); /* given up: free */
    test_status(ti_queue_retry(d.queues, S("user"), S(second), NULL, &d.call, &d.err),
                TI_ALREADY_EXISTS);
    OK(&d, ti_queue_drop(d.queues, S("user"), S(first), &d.call, &d.err)); /* dropped: free */
    assert_false(has_token(&d, "t"));
    OK(&d, ti_queue_retry(d.queues, S("user"), S(second), NULL, &d.call, &d.err));
    finish_worker(w);
    qdb_close(&d);
}

static void a_token_counts_within_a_transaction(void **state)
{
    (void)state;
    qdb d;
    ti_txn *txn;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 2, 0, TI_ORDERING_KEY);
    ti_event_spec spec = {
        .type = S("user"), .key = S("a"), .unique = S("t"), .unique_return = true};
    OK(&d, ti_txn_begin(&d.kv, NULL, &txn, &d.err));
    OK(&d, ti_queue_publish(d.queues, txn, &spec, NULL, &d.call, &d.err));
    OK(&d, ti_queue_publish(d.queues, txn, &spec, NULL, &d.call, &d.err));
    OK(&d, ti_txn_commit(txn, NULL, &d.call, &d.err));
    ti_txn_free(txn);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 1);
    spec.unique_return = false;
    OK(&d, ti_txn_begin(&d.kv, NULL, &txn, &d.err));
    test_status(ti_queue_publish(d.queues, txn, &spec, NULL, &d.call, &d.err), TI_ALREADY_EXISTS);
    test_status(ti_txn_commit(txn, NULL, &d.call, &d.err), TI_ALREADY_EXISTS);
    ti_txn_free(txn);
    qdb_close(&d);
}

#define RACERS 4

typedef struct race {
    qdb d;
    _Atomic(uint64_t) won;
} race;

static void *race_for_tokens(void *context)
{
    race *r = context;
    for (uint64_t i = 0; i < test_scaled(500); i++) {
        char token[32];
        snprintf(token, sizeof(token), "t%" PRIu64, i);
        ti_event_spec spec = {.type = S("user"), .key = S("a"), .unique = S(token)};
        ti_call call = ti_call_within(r->d.env, TI_NO_DEADLINE);
        if (ti_queue_publish(r->d.queues, NULL, &spec, NULL, &call, NULL) == TI_OK)
            atomic_fetch_add(&r->won, 1);
    }
    return NULL;
}

static void one_of_many_gets_the_token(void **state)
{
    (void)state;
    race r;
    pthread_t threads[RACERS];
    qdb_open(&r.d, NULL, NULL);
    atomic_init(&r.won, 0);
    declare(&r.d, "user", 2, 0, TI_ORDERING_KEY);
    for (int i = 0; i < RACERS; i++)
        pthread_create(&threads[i], NULL, race_for_tokens, &r);
    for (int i = 0; i < RACERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&r.won), test_scaled(500));
    assert_int_equal(count_of(&r.d, "user", TI_EVENT_PENDING), test_scaled(500));
    qdb_close(&r.d);
}

/* ---- many at once ---- */

static void publish_of(qdb *d, const char *key, const char *entity, const char *id, int number)
{
    char payload[16];
    snprintf(payload, sizeof(payload), "%d", number);
    ti_event_spec spec = {.type = S("user"),
                          .key = S(key),
                          .payload = S(payload),
                          .entity = S(entity),
                          .entity_id = S(id)};
    OK(d, ti_queue_publish(d->queues, NULL, &spec, NULL, &d->call, &d->err));
}

static void purge_takes_a_key_or_an_owner(void **state)
{
    (void)state;
    qdb d;
    uint64_t count;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 4, 3600 * SECOND, TI_ORDERING_KEY);
    for (int i = 0; i < 100; i++)
        publish_of(&d, i % 2 == 0 ? "a" : "b", "table:user:u1", i % 4 == 0 ? "u1" : "u2", i);
    ti_worker_options options = {.retry = never_again};
    ti_worker *w = start_worker(&d, "user", &options);
    for (int i = 0; i < 20; i++)
        ack(take_one(w));
    fail_event(take_one(w), "no");
    wait_committed(w);
    finish_worker(w);
    uint64_t before = count_of(&d, "user", TI_EVENT_PENDING);
    assert_int_equal(before, 79);
    ti_event_filter key = {.type = S("user"), .key = S("a"), .state = TI_EVENT_PENDING};
    OK(&d, ti_queue_purge(d.queues, &key, false, &count, &d.call, &d.err));
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), before - count);
    OK(&d, ti_queue_purge(d.queues, &key, true, &count, &d.call, &d.err));
    ti_event_filter owner = {.type = S("user"), .owner = S("u2")};
    OK(&d, ti_queue_purge(d.queues, &owner, true, &count, &d.call, &d.err));
    assert_int_equal(count, 50); /* all b are of u2 */
    for (int i = TI_EVENT_PENDING; i <= TI_EVENT_FAILED; i++)
        assert_int_equal(count_of(&d, "user", (ti_event_state)i), 0);
    qdb_close(&d);
}

static void replay_keeps_order(void **state)
{
    (void)state;
    qdb d;
    uint64_t count;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 4, 3600 * SECOND, TI_ORDERING_KEY);
    declare(&d, "again", 4, 0, TI_ORDERING_KEY);
    for (int i = 0; i < 100; i++)
        publish_of(&d, i % 2 == 0 ? "a" : "b", "table:user:u1", "u1", i);
    ti_worker *w = start_worker(&d, "user", NULL);
    for (int i = 0; i < 100; i++)
        ack(take_one(w));
    finish_worker(w);
    ti_event_filter all = {.type = S("user"), .state = TI_EVENT_COMPLETED};
    OK(&d, ti_queue_replay(d.queues, &all, S("again"), NULL, &count, &d.call, &d.err));
    assert_int_equal(count, 100);
    assert_int_equal(count_of(&d, "user", TI_EVENT_COMPLETED), 100);
    w = start_worker(&d, "again", NULL);
    int last[2] = {-1, -1};
    for (int i = 0; i < 100; i++) {
        ti_event *event = take_one(w);
        int number = atoi(ti_event_info_of(event)->payload.data);
        assert_true(number > last[number % 2]);
        assert_true(is(ti_event_info_of(event)->entity, "table:user:u1"));
        last[number % 2] = number;
        ack(event);
    }
    finish_worker(w);
    /* into itself, of a time, of a key; what it makes is not replayed again */
    ti_event_filter later = {.type = S("user"), .state = TI_EVENT_COMPLETED, .key = S("a")};
    OK(&d, ti_queue_replay(d.queues, &later, S(""), NULL, &count, &d.call, &d.err));
    assert_int_equal(count, 50);
    later.from_us = db_now_us(&d) + SECOND;
    OK(&d, ti_queue_replay(d.queues, &later, S(""), NULL, &count, &d.call, &d.err));
    assert_int_equal(count, 0);
    later.state = TI_EVENT_PENDING;
    test_status(ti_queue_replay(d.queues, &later, S(""), NULL, &count, &d.call, &d.err),
                TI_INVALID_ARGUMENT);
    qdb_close(&d);
}

static void *acknowledge_all(void *context)
{
    ti_worker *w = context;
    ti_event *event;
    size_t count;
    while (ti_worker_take(w, &event, 1, -1, &count, NULL) == TI_OK)
        ack(event);
    return NULL;
}

/* A type is replayed into itself while a worker finishes the copies: each once. */
static void copies_are_not_replayed(void **state)
{
    (void)state;
    qdb d;
    pthread_t thread;
    uint64_t count;
    const uint64_t events = 500 + test_scaled(1500);
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 3600 * SECOND, TI_ORDERING_KEY);
    publish_many(&d, "user", events, 50, 100);
    ti_worker *w = start_worker(&d, "user", &(ti_worker_options){.concurrency = 64});
    assert_int_equal(pthread_create(&thread, NULL, acknowledge_all, w), 0);
    for (int i = 0; i < 60000 && count_of(&d, "user", TI_EVENT_PENDING) > 0; i++)
        usleep(1000);
    ti_event_filter all = {.type = S("user"), .state = TI_EVENT_COMPLETED};
    OK(&d, ti_queue_replay(d.queues, &all, S(""), NULL, &count, &d.call, &d.err));
    assert_int_equal(count, events);
    ti_worker_stop(w, 60 * SECOND);
    pthread_join(thread, NULL);
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING) +
                         count_of(&d, "user", TI_EVENT_COMPLETED),
                     2 * events);
    qdb_close(&d);
}

static void completed_events_go_after_their_time(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 3, 2 * SECOND, TI_ORDERING_KEY);
    declare(&d, "kept", 3, 3600 * SECOND, TI_ORDERING_KEY);
    publish_many(&d, "user", 1000, 20, 100);
    publish_many(&d, "kept", 10, 20, 10);
    ti_worker *w = start_worker(&d, "user", &(ti_worker_options){.concurrency = 100});
    ti_worker *kept = start_worker(&d, "kept", NULL);
    for (int i = 0; i < 1000; i++)
        ack(take_one(w));
    for (int i = 0; i < 10; i++)
        ack(take_one(kept));
    wait_committed(w);
    wait_committed(kept);
    assert_true(count_of(&d, "user", TI_EVENT_COMPLETED) > 0);
    wait_count(&d, "user", TI_EVENT_COMPLETED, 0);
    assert_int_equal(count_of(&d, "kept", TI_EVENT_COMPLETED), 10);
    ti_queue_stats stats;
    ti_queue_stats_of(d.queues, S("user"), &stats);
    assert_int_equal(stats.expired, 1000);
    finish_worker(w);
    finish_worker(kept);
    qdb_close(&d);
}

/* ---- pause ---- */

static void a_paused_type_rests_in_every_worker(void **state)
{
    (void)state;
    qdb d;
    bool paused;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 2, 0, TI_ORDERING_KEY);
    declare(&d, "busy", 2, 0, TI_ORDERING_KEY);
    OK(&d, ti_queue_set_paused(d.queues, S("user"), true, &d.call, &d.err));
    publish(&d, "user", "a", "1");
    publish(&d, "busy", "a", "2");
    ti_worker *w;
    OK(&d, ti_worker_open(d.queues, &(ti_worker_options){.concurrency = 4}, &w, &d.err));
    OK(&d, ti_worker_on(w, S("user"), NULL, &d.err));
    OK(&d, ti_worker_on(w, S("busy"), NULL, &d.err));
    OK(&d, ti_worker_start(w, &d.call, &d.err));
    ti_event *event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "2"));
    ack(event);
    expect_none(w, 100000);
    OK(&d, ti_queue_is_paused(d.queues, S("user"), &paused, &d.call, &d.err));
    assert_true(paused);
    OK(&d, ti_queue_set_paused(d.queues, S("user"), false, &d.call, &d.err));
    ack(take_one(w)); /* a taker that waits is woken */
    OK(&d, ti_queue_is_paused(d.queues, S("user"), &paused, &d.call, &d.err));
    assert_false(paused);
    finish_worker(w);
    qdb_close(&d);
}

/* ---- limits ---- */

static ti_worker *start_limited(qdb *d, const ti_worker_type_options *options)
{
    ti_worker *w;
    OK(d, ti_worker_open(d->queues, &(ti_worker_options){.concurrency = 50}, &w, &d->err));
    OK(d, ti_worker_on(w, S("user"), options, &d->err));
    OK(d, ti_worker_on(w, S("free"), NULL, &d->err));
    OK(d, ti_worker_start(w, &d->call, &d->err));
    return w;
}

static void wait_ready(ti_worker *w, size_t n)
{
    for (int i = 0; i < 5000 && ti_worker_ready(w, NULL) < n; i++)
        usleep(1000);
    assert_int_equal(ti_worker_ready(w, NULL), n);
}

static void types_are_limited_for_themselves(void **state)
{
    (void)state;
    qdb d;
    ti_event *events[8];
    size_t count;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 2, 0, TI_ORDERING_KEY);
    declare(&d, "free", 2, 0, TI_ORDERING_KEY);
    for (int i = 0; i < 5; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%d", i);
        publish(&d, "user", key, "1");
    }
    publish(&d, "free", "a", "2");
    ti_worker *w = start_limited(&d, &(ti_worker_type_options){.concurrency = 2});
    wait_ready(w, 3);
    OK(&d, ti_worker_take(w, events, 8, 0, &count, &d.err));
    assert_int_equal(count, 3);
    expect_none(w, 50000);
    for (size_t i = 0; i < 3; i++)
        ack(events[i]);
    wait_ready(w, 2);
    for (int i = 0; i < 3; i++)
        ack(take_one(w));
    finish_worker(w);
    qdb_close(&d);
}

static void keys_are_limited_without_an_order(void **state)
{
    (void)state;
    qdb d;
    ti_event *events[16];
    size_t count;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 2, 0, TI_ORDERING_NONE);
    declare(&d, "free", 2, 0, TI_ORDERING_KEY);
    for (int i = 0; i < 10; i++)
        publish(&d, "user", i < 9 ? "a" : "b", "1");
    ti_worker *w = start_limited(&d, &(ti_worker_type_options){.key_concurrency = 3});
    size_t a = 0;
    size_t taken = 0;
    for (int i = 0; i < 200 && taken < 4; i++) {
        OK(&d, ti_worker_take(w, events + taken, 16 - taken, 10000, &count, &d.err));
        taken += count;
    }
    expect_none(w, 100000);
    assert_int_equal(taken, 4);
    for (size_t i = 0; i < taken; i++)
        a += is(ti_event_info_of(events[i])->key, "a") ? 1 : 0;
    assert_int_equal(a, 3);
    for (size_t i = 0; i < taken; i++)
        ack(events[i]);
    for (int i = 0; i < 6; i++)
        ack(take_one(w));
    wait_committed(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    finish_worker(w);
    qdb_close(&d);
}

/* A worker that ends while keys wait at a gate. */
static void gates_end_with_their_worker(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 0, TI_ORDERING_NONE);
    declare(&d, "free", 1, 0, TI_ORDERING_KEY);
    for (int i = 0; i < 10; i++)
        publish(&d, "user", "a", "1");
    ti_worker *w = start_limited(&d, &(ti_worker_type_options){.key_concurrency = 1});
    ti_event *event = take_one(w);
    expect_none(w, 50000);
    ti_worker_set_leader(w, false);
    usleep(50000);
    ti_worker_set_leader(w, true);
    expect_none(w, 50000);
    ti_worker_stop(w, 0);
    ti_worker_join(w, NULL);
    ti_worker_free(w);
    ack(event);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 10);
    qdb_close(&d);
}

static void a_rate_is_kept(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 0, TI_ORDERING_NONE);
    declare(&d, "free", 1, 0, TI_ORDERING_KEY);
    publish_many(&d, "user", 60, 100, 60);
    ti_worker *w = start_limited(&d, &(ti_worker_type_options){.rate = 20});
    int64_t begun_ns = ti_env_mono_ns(ti_env_real());
    for (int i = 0; i < 60; i++)
        ack(take_one(w));
    int64_t took_us = (ti_env_mono_ns(ti_env_real()) - begun_ns) / 1000;
    assert_true(took_us > 1800000); /* 20 at once, 40 more at 20 per second */
    finish_worker(w);
    qdb_close(&d);
}

/* ---- what is told ---- */

static void state_and_metrics(void **state)
{
    (void)state;
    qdb d;
    ti_queue_state s;
    ti_buf text;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 2, 0, TI_ORDERING_KEY);
    for (int i = 0; i < 20; i++)
        publish(&d, "user", "a", "1");
    ti_worker *w = start_worker(&d, "user", NULL);
    for (int i = 0; i < 10; i++) {
        ti_event *event = take_one(w);
        usleep(2000);
        ack(event);
    }
    wait_committed(w);
    for (int i = 0; i < 2000; i++) {
        OK(&d, ti_queue_state_of(d.queues, S("user"), &s, &d.call, &d.err));
        if (s.lag_us > 0)
            break;
        usleep(2000);
    }
    assert_int_equal(s.pending, 10);
    assert_int_equal(s.stats.acknowledged, 10);
    assert_true(s.lag_us > 0);
    assert_true(s.handler_p50_us >= 2000 && s.handler_p99_us >= s.handler_p50_us);
    ti_buf_init(&text, 1 << 20);
    OK(&d, ti_queues_metrics(d.queues, &text, &d.err));
    OK(&d, ti_buf_append_byte(&text, 0, &d.err));
    const char *all = ti_buf_slice(&text).data;
    assert_non_null(strstr(all, "tito_queue_acknowledged_total{type=\"user\"} 10\n"));
    assert_non_null(strstr(all, "tito_queue_handler_seconds_count{type=\"user\"} 10\n"));
    assert_non_null(strstr(all, "# TYPE tito_queue_lag_seconds gauge\n"));
    ti_buf_clear(&text);
    OK(&d, ti_queue_state_write(&s, &text, &d.err));
    OK(&d, ti_buf_append_byte(&text, 0, &d.err));
    assert_non_null(strstr(ti_buf_slice(&text).data, "\"pending\":10,"));
    ti_buf_free(&text);
    finish_worker(w);
    qdb_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_taken_until_its_event_ends),
        cmocka_unit_test(a_token_counts_within_a_transaction),
        cmocka_unit_test(one_of_many_gets_the_token),
        cmocka_unit_test(purge_takes_a_key_or_an_owner),
        cmocka_unit_test(replay_keeps_order),
        cmocka_unit_test(copies_are_not_replayed),
        cmocka_unit_test(completed_events_go_after_their_time),
        cmocka_unit_test(a_paused_type_rests_in_every_worker),
        cmocka_unit_test(types_are_limited_for_themselves),
        cmocka_unit_test(keys_are_limited_without_an_order),
        cmocka_unit_test(gates_end_with_their_worker),
        cmocka_unit_test(a_rate_is_kept),
        cmocka_unit_test(state_and_metrics),
    };
    return TEST_RUN(tests);
}

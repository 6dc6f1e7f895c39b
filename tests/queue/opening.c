/* How a worker begins on many partitions: what waits in any of them is found soon, parked keys
 * before the events behind them, whatever else lies between. */
#include "queue/support.h"

#include "base/limits.h"

#define PARTITIONS 1024

static const ti_worker_options quick = {
    .concurrency = 64,
    .retry = {.max_retries = 20, .base_us = 1000, .factor = 1, .cap_us = 1000, .jitter = 0}};

/* A key whose events go to that partition. */
static void key_in(uint32_t partition, uint32_t partitions, char *out, size_t size)
{
    for (uint32_t i = 0;; i++) {
        snprintf(out, size, "k%u", i);
        if (ti_queue_partition_of(S(out), partitions) == partition)
            return;
    }
}

static int64_t since_us(int64_t begun_ns)
{
    return (ti_env_mono_ns(ti_env_real()) - begun_ns) / 1000;
}

/* The first of them, waiting in the last partition. What it takes is printed, never judged. */
static void finds_what_waits_in_the_last_partition(void **state)
{
    (void)state;
    qdb d;
    char key[32];
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", PARTITIONS, 0, TI_ORDERING_KEY);
    key_in(PARTITIONS - 1, PARTITIONS, key, sizeof(key));
    publish(&d, "user", key, "1");
    for (int i = 0; i < 3; i++) {
        int64_t begun_ns = ti_env_mono_ns(ti_env_real());
        ti_worker *w = start_worker(&d, "user", &quick);
        int64_t started_us = since_us(begun_ns);
        ti_event *event = take_one(w);
        print_message("started after %lld us, the event came after %lld us\n",
                      (long long)started_us, (long long)since_us(begun_ns));
        assert_int_equal(ti_event_info_of(event)->place.partition, PARTITIONS - 1);
        ti_event_abandon(event);
        ti_event_free(event);
        finish_worker(w);
    }
    qdb_close(&d);
}

/* ---- order ---- */

#define PARTS 50
#define KEYS 100 /* more than one worker keeps in memory while they are parked */
#define EVENTS_OF_KEY 3

/* Which event of each key has been acknowledged last. */
typedef struct seen {
    int last[KEYS];
    int total;
} seen;

static int number_of(ti_slice text, size_t skip)
{
    char digits[16] = "";
    memcpy(digits, text.data + skip, text.len - skip < 15 ? text.len - skip : 15);
    return (int)strtol(digits, NULL, 10);
}

static void acknowledge(seen *s, ti_event *event)
{
    const ti_event_info *info = ti_event_info_of(event);
    int key = number_of(info->key, 1);
    int number = number_of(info->payload, 0);
    if (number != s->last[key] + 1)
        fail_msg("event %d of key %d came after %d", number, key, s->last[key]);
    s->last[key] = number;
    s->total++;
    ack(event);
}

static void publish_all(qdb *d)
{
    for (int number = 1; number <= EVENTS_OF_KEY; number++) {
        ti_txn *txn;
        OK(d, ti_txn_begin(&d->kv, NULL, &txn, &d->err));
        for (int key = 0; key < KEYS; key++) {
            char name[16];
            char payload[16];
            snprintf(name, sizeof(name), "k%d", key);
            snprintf(payload, sizeof(payload), "%d", number);
            ti_event_spec spec = {.type = S("user"), .key = S(name), .payload = S(payload)};
            OK(d, ti_queue_publish(d->queues, txn, &spec, NULL, &d->call, &d->err));
        }
        OK(d, ti_txn_commit(txn, NULL, &d->call, &d->err));
        ti_txn_free(txn);
    }
}

/* Fails the first event of each key of some partitions. */
static void fail_keys(qdb *d, uint32_t from, uint32_t to)
{
    ti_worker_options slow = {
        .concurrency = 64,
        .partition_from = from,
        .partition_to = to,
        .retry = {.max_retries = 1000, .base_us = 1000000, .factor = 1, .cap_us = 1000000}};
    bool failed[KEYS] = {false};
    int left = 0;
    for (int key = 0; key < KEYS; key++) {
        char name[16];
        snprintf(name, sizeof(name), "k%d", key);
        uint32_t partition = ti_queue_partition_of(S(name), PARTS);
        left += partition >= from && partition < to ? 1 : 0;
    }
    ti_worker *w = start_worker(d, "user", &slow);
    while (left > 0) {
        ti_event *event = take_one(w);
        int key = number_of(ti_event_info_of(event)->key, 1);
        left -= failed[key] ? 0 : 1;
        failed[key] = true;
        fail_event(event, "not yet");
    }
    finish_worker(w);
}

/* Every key fails, so that all of them are parked. */
static void fail_each_key(qdb *d)
{
    fail_keys(d, 0, PARTS / 2);
    fail_keys(d, PARTS / 2, PARTS);
}

/* Takes from all workers until everything has come once. */
static void drain_in_order(ti_worker **workers, size_t n)
{
    seen s = {.total = 0};
    ti_event *event;
    ti_err err;
    for (int i = 0; i < 60000 && s.total < KEYS * EVENTS_OF_KEY; i++) {
        for (size_t k = 0; k < n; k++) {
            size_t count = 1;
            while (count > 0) {
                ti_err_clear(&err);
                test_ok(ti_worker_take(workers[k], &event, 1, 0, &count, &err), &err);
                if (count > 0)
                    acknowledge(&s, event);
            }
        }
        usleep(1000);
    }
    assert_int_equal(s.total, KEYS * EVENTS_OF_KEY);
}

/* Parked keys in every partition, more of them than memory holds at once, on workers that share the
 * partitions among them: each opens some, with others' rows between. */
static void check_parked_keys(size_t n)
{
    qdb d;
    ti_worker *workers[2];
    ti_worker_options leased = {.concurrency = 64, .leased = true};
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", PARTS, 0, TI_ORDERING_KEY);
    publish_all(&d);
    fail_each_key(&d);
    for (size_t i = 0; i < n; i++)
        workers[i] = start_worker(&d, "user", &leased);
    drain_in_order(workers, n);
    for (size_t i = 0; i < n; i++)
        finish_worker(workers[i]);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PARKED), 0);
    qdb_close(&d);
}

static void parked_keys_come_first(void **state)
{
    (void)state;
    check_parked_keys(2);
}

/* One worker, which has no memory for all of the keys: some partitions stay half open. */
static void too_many_parked_keys_come_by_and_by(void **state)
{
    (void)state;
    check_parked_keys(1);
}

/* A worker that was stopped in the middle leaves the rest to the next one. */
static void backlogs_of_all_partitions_are_drained(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", PARTS, 0, TI_ORDERING_KEY);
    publish_all(&d);
    ti_worker *w = start_worker(&d, "user", &quick);
    for (int i = 0; i < 10; i++) {
        ti_event *event = take_one(w);
        ti_event_abandon(event);
        ti_event_free(event);
    }
    finish_worker(w);
    w = start_worker(&d, "user", &quick);
    drain_in_order(&w, 1);
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    qdb_close(&d);
}

/* One that is due later comes when it is due, although nothing else happens in its partition. */
static void what_is_due_later_is_known(void **state)
{
    (void)state;
    qdb d;
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", PARTS, 0, TI_ORDERING_KEY);
    int64_t due_us = db_now_us(&d) + 1500000;
    publish_due(&d, "user", "k1", "1", due_us);
    ti_worker *w = start_worker(&d, "user", &quick);
    ti_event *event = take_one(w);
    assert_true(db_now_us(&d) >= due_us);
    ack(event);
    finish_worker(w);
    qdb_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_waits_in_the_last_partition),
        cmocka_unit_test(parked_keys_come_first),
        cmocka_unit_test(too_many_parked_keys_come_by_and_by),
        cmocka_unit_test(backlogs_of_all_partitions_are_drained),
        cmocka_unit_test(what_is_due_later_is_known),
    };
    return TEST_RUN(tests);
}

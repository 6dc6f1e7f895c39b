/* Order, completeness and bounded memory under load, judged by checker.h. */
#include "queue/support.h"

#include <inttypes.h>
#include <pthread.h>

#include "base/limits.h"
#include "queue/checker.h"

#define THREADS 4
#define KEYS_MAX 4096

/* One run: who handles how, and the log. */
typedef struct run {
    qdb d;
    ti_worker *w;
    uint64_t number_max;
    uint32_t key_count;
    uint32_t *key_of;
    check_entry *log;
    size_t log_size;
    _Atomic(size_t) log_count;
    pthread_mutex_t log_lock;
    _Atomic(uint64_t) finished;
    uint32_t fail_in; /* one in so many runs fails; 0 = none */
    uint32_t abandon_in;
    uint32_t write_in; /* one in so many acknowledgements writes through its transaction */
    uint32_t sleep_us; /* at most, per run */
    uint64_t bad_key;  /* this key always fails; UINT64_MAX = none */
    _Atomic(bool) stop;
    uint32_t batch;
} run;

static void run_open(run *r, uint64_t numbers, uint32_t keys, uint32_t partitions,
                     int64_t retention)
{
    memset(r, 0, sizeof(*r));
    qdb_open(&r->d, NULL, NULL);
    declare(&r->d, "user", partitions, retention, TI_ORDERING_KEY);
    r->number_max = numbers;
    r->key_count = keys;
    r->key_of = calloc(numbers + 1, sizeof(uint32_t));
    r->log_size = (size_t)numbers * 16 + 100000;
    r->log = calloc(r->log_size, sizeof(check_entry));
    pthread_mutex_init(&r->log_lock, NULL);
    r->bad_key = UINT64_MAX;
    r->batch = 4;
}

static void run_close(run *r)
{
    qdb_close(&r->d);
    pthread_mutex_destroy(&r->log_lock);
    free(r->key_of);
    free(r->log);
}

typedef struct publish_job {
    run *r;
    test_random random;
    uint64_t batch;
    uint64_t next;
    uint64_t to;
    uint64_t after; /* what was published when it commits */
} publish_job;

/* A ti_transact_fn: one transaction of a few numbers. */
static ti_status publish_few(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    publish_job *job = context;
    run *r = job->r;
    test_random random = job->random;
    uint64_t count = 1 + test_random_below(&random, job->batch);
    job->after = job->next;
    for (uint64_t i = 0; i < count && job->after <= job->to; i++, job->after++) {
        char key[32];
        char payload[32];
        uint32_t k = (uint32_t)test_random_below(&random, r->key_count);
        r->key_of[job->after] = k;
        snprintf(key, sizeof(key), "k%u", k);
        snprintf(payload, sizeof(payload), "%" PRIu64, job->after);
        ti_event_spec spec = {.type = S("user"), .key = S(key), .payload = S(payload)};
        TI_TRY(ti_queue_publish(r->d.queues, txn, &spec, NULL, call, err));
    }
    return TI_OK;
}

/* Publishes numbers from … to in order, a few per transaction. */
static void run_publish(run *r, uint64_t from, uint64_t to, uint64_t batch)
{
    publish_job job = {.r = r, .batch = batch, .next = from, .to = to};
    ti_err err;
    while (job.next <= to) {
        job.random = test_random_start(job.next);
        ti_err_clear(&err);
        test_ok(ti_kv_transact(&r->d.kv, NULL, NULL, publish_few, &job, NULL, &r->d.call, &err),
                &err);
        job.next = job.after;
    }
}

static void note(run *r, const ti_event *event, check_kind kind)
{
    const ti_event_info *info = ti_event_info_of(event);
    check_entry e = {.number = strtoull(info->payload.data, NULL, 10),
                     .key = (uint32_t)strtoul(info->key.data + 1, NULL, 10),
                     .kind = kind};
    pthread_mutex_lock(&r->log_lock);
    size_t at = atomic_fetch_add(&r->log_count, 1);
    if (at < r->log_size)
        r->log[at] = e;
    pthread_mutex_unlock(&r->log_lock);
}

/* A row that tells that the event's effect happened: written once, or the commit fails. */
static void write_effect(run *r, ti_event *event)
{
    ti_txn *txn;
    ti_err err;
    ti_err_clear(&err);
    if (ti_event_txn(event, &txn, &err) != TI_OK)
        return;
    ti_slice key = ti_key_record(ti_store_keyspace(r->d.store), ti_txn_arena(txn), S("effects"),
                                 ti_event_info_of(event)->payload);
    test_ok(ti_txn_insert(txn, key, S("x"), &err), &err);
}

static void handle(run *r, ti_event *event, test_random *random)
{
    uint64_t key = strtoull(ti_event_info_of(event)->key.data + 1, NULL, 10);
    note(r, event, CHECK_START);
    if (r->sleep_us > 0)
        usleep((useconds_t)test_random_below(random, r->sleep_us));
    if (key == r->bad_key || (r->fail_in > 0 && test_random_one_in(random, r->fail_in))) {
        if (r->write_in > 0 && test_random_one_in(random, r->write_in))
            write_effect(r, event);
        note(r, event, CHECK_FAIL);
        ti_event_fail(event, S("planned"));
    } else if (r->abandon_in > 0 && test_random_one_in(random, r->abandon_in)) {
        note(r, event, CHECK_AGAIN);
        ti_event_abandon(event);
    } else {
        bool own = r->write_in > 0 && test_random_one_in(random, r->write_in);
        if (own)
            write_effect(r, event);
        note(r, event, own ? CHECK_OWN : CHECK_DONE);
        atomic_fetch_add(&r->finished, 1);
        ti_event_ack(event);
    }
    ti_event_free(event);
}

static void *consume(void *context)
{
    run *r = context;
    test_random random = test_random_start((uint64_t)(uintptr_t)&random);
    for (;;) {
        ti_event *events[16];
        size_t count;
        if (ti_worker_take(r->w, events, r->batch, 20000, &count, NULL) != TI_OK)
            return NULL;
        for (size_t i = 0; i < count; i++)
            handle(r, events[i], &random);
        if (count == 0 && atomic_load(&r->stop))
            return NULL;
    }
}

/* Which numbers the store still has in a state. */
static void mark_stored(run *r, ti_event_state state, bool *marks)
{
    ti_event_filter filter = {.type = S("user"), .state = state, .limit = 1000};
    ti_event_list list;
    do {
        OK(&r->d, ti_queue_list(r->d.queues, &filter, &r->d.a, &list, &r->d.call, &r->d.err));
        for (size_t i = 0; i < list.count; i++) {
            uint64_t n = strtoull(list.items[i].payload.data, NULL, 10);
            if (n == 0 || n > r->number_max || marks[n])
                fail_msg("the store has number %" PRIu64 " twice, or never published", n);
            marks[n] = true;
        }
        filter.cursor = list.cursor;
    } while (list.cursor.len > 0);
}

static void run_judge(run *r)
{
    bool *given_up = calloc(r->number_max + 1, sizeof(bool));
    bool *stored = calloc(r->number_max + 1, sizeof(bool));
    uint64_t number = 0;
    assert_true(atomic_load(&r->log_count) <= r->log_size);
    mark_stored(r, TI_EVENT_FAILED, given_up);
    mark_stored(r, TI_EVENT_PENDING, stored);
    mark_stored(r, TI_EVENT_PARKED, stored);
    check_run c = {.entries = r->log,
                   .entry_count = atomic_load(&r->log_count),
                   .number_max = r->number_max,
                   .key_of = r->key_of,
                   .given_up = given_up,
                   .stored = stored,
                   .key_count = r->key_count};
    const char *what = check(&c, &number);
    if (what != NULL)
        fail_msg("%s: number %" PRIu64 " of key k%u", what, number, r->key_of[number]);
    free(given_up);
    free(stored);
}

static const ti_retry_policy fast_retry = {
    .max_retries = 4, .base_us = 500, .factor = 2, .cap_us = 4000, .jitter = 0.5};

/* Everything at once: publishers and consumers together, failures, effects, restarts. */
static void order_under_load(void **state)
{
    (void)state;
    run r;
    pthread_t threads[THREADS];
    uint64_t n = test_scaled(60000);
    run_open(&r, n, 300, 16, 0);
    r.fail_in = 12;
    r.abandon_in = 50;
    r.write_in = 6;
    ti_worker_options options = {.concurrency = 48, .retry = fast_retry};
    run_publish(&r, 1, n / 4, 20);
    uint64_t done = n / 4;
    for (int round = 0; round < 3; round++) {
        r.w = start_worker(&r.d, "user", &options);
        atomic_store(&r.stop, false);
        for (int i = 0; i < THREADS; i++)
            pthread_create(&threads[i], NULL, consume, &r);
        uint64_t to = round == 2 ? n : done + n / 4;
        run_publish(&r, done + 1, to, 8);
        done = to;
        if (round == 2) {
            for (int i = 0; i < 20000; i++) {
                if (count_of(&r.d, "user", TI_EVENT_PENDING) == 0 &&
                    count_of(&r.d, "user", TI_EVENT_PARKED) == 0)
                    break;
                usleep(2000);
            }
            atomic_store(&r.stop, true);
        } else {
            ti_worker_stop(r.w, 20000000);
        }
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
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
    uint64_t n = test_scaled(40000);
    run_open(&r, n, 10, 16, 0);
    run_publish(&r, 1, n, 200);
    ti_worker_options options = {.concurrency = 64, .retry = fast_retry};
    r.w = start_worker(&r.d, "user", &options);
    r.batch = 16;
    pthread_t thread;
    pthread_create(&thread, NULL, consume, &r);
    for (int i = 0; i < 20000 && atomic_load(&r.finished) < n; i++)
        usleep(2000);
    atomic_store(&r.stop, true);
    pthread_join(thread, NULL);
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
    uint64_t n = test_scaled(60000);
    run_open(&r, n, 2, 1, 0);
    r.bad_key = 0; /* half of everything, in the one partition that there is */
    ti_retry_policy slow = {
        .max_retries = 1000, .base_us = 200000, .factor = 1, .cap_us = 200000, .jitter = 0};
    ti_worker_options options = {.concurrency = 8, .retry = slow};
    run_publish(&r, 1, n, 500);
    uint64_t good = 0;
    for (uint64_t i = 1; i <= n; i++)
        good += r.key_of[i] != 0;
    r.w = start_worker(&r.d, "user", &options);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, consume, &r);
    uint64_t waiting_max = 0;
    for (int i = 0; i < 20000 && atomic_load(&r.finished) < good; i++) {
        ti_queue_stats stats;
        ti_queue_stats_of(r.d.queues, S("user"), &stats);
        waiting_max = stats.waiting > waiting_max ? stats.waiting : waiting_max;
        usleep(2000);
    }
    atomic_store(&r.stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    finish_worker(r.w);
    assert_int_equal(atomic_load(&r.finished), good);
    assert_true(waiting_max <= TI_WINDOW_PARTITION_MAX + TI_READ_PAGE_MAX);
    assert_int_equal(count_of(&r.d, "user", TI_EVENT_PENDING) +
                         count_of(&r.d, "user", TI_EVENT_PARKED),
                     n - good);
    run_judge(&r);
    /* after the failure is over everything comes, in order */
    r.bad_key = UINT64_MAX;
    atomic_store(&r.stop, false);
    r.w = start_worker(&r.d, "user", &options);
    pthread_create(&threads[0], NULL, consume, &r);
    for (int i = 0; i < 20000 && atomic_load(&r.finished) < n; i++)
        usleep(2000);
    atomic_store(&r.stop, true);
    pthread_join(threads[0], NULL);
    finish_worker(r.w);
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
        cmocka_unit_test(a_long_slow_key_makes_room),
        cmocka_unit_test(late_commits_are_delivered),
    };
    return TEST_RUN(tests);
}

/* See load.h. */
#include "queue/load.h"

#include <inttypes.h>

void run_open(run *r, ti_engine *engine, uint64_t numbers, uint32_t keys, uint32_t partitions)
{
    memset(r, 0, sizeof(*r));
    test_random_start(0); /* the seed, before there are threads */
    if (engine != NULL)
        qdb_open_on(&r->d, engine);
    else
        qdb_open(&r->d, NULL, NULL);
    declare(&r->d, "user", partitions, 0, TI_ORDERING_KEY);
    r->number_max = numbers;
    r->key_count = keys;
    r->key_of = calloc(numbers + 1, sizeof(uint32_t));
    r->log_size = (size_t)numbers * 16 + 100000;
    r->log = calloc(r->log_size, sizeof(check_entry));
    pthread_mutex_init(&r->log_lock, NULL);
    r->bad_key = UINT64_MAX;
    r->batch = 4;
}

void run_close(run *r)
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
void run_publish(run *r, uint64_t from, uint64_t to, uint64_t batch)
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
static void write_effect(run *r, ti_event *of_txn, const ti_event *event)
{
    ti_txn *txn;
    ti_err err;
    ti_err_clear(&err);
    if (ti_event_txn(of_txn, &txn, &err) != TI_OK)
        return;
    ti_slice key = ti_key_record(ti_store_keyspace(r->d.store), ti_txn_arena(txn), S("effects"),
                                 ti_event_info_of(event)->payload);
    test_ok(ti_txn_insert(txn, key, S("x"), &err), &err);
}

void run_handle(run *r, ti_event *event, test_random *random)
{
    uint64_t key = strtoull(ti_event_info_of(event)->key.data + 1, NULL, 10);
    note(r, event, CHECK_START);
    if (r->sleep_us > 0)
        usleep((useconds_t)test_random_below(random, r->sleep_us));
    if (key == r->bad_key || (r->fail_in > 0 && test_random_one_in(random, r->fail_in))) {
        if (r->write_in > 0 && test_random_one_in(random, r->write_in))
            write_effect(r, event, event);
        note(r, event, CHECK_FAIL);
        ti_event_fail(event, S("planned"));
    } else if (r->abandon_in > 0 && test_random_one_in(random, r->abandon_in)) {
        note(r, event, CHECK_AGAIN);
        ti_event_abandon(event);
    } else {
        bool own = r->write_in > 0 && test_random_one_in(random, r->write_in);
        if (own)
            write_effect(r, event, event);
        note(r, event, own ? CHECK_OWN : CHECK_DONE);
        atomic_fetch_add(&r->finished, 1);
        ti_event_ack(event);
    }
    ti_event_free(event);
}

static void note_all(run *r, ti_event *first, check_kind what)
{
    for (size_t i = 0; i < ti_event_count(first); i++)
        note(r, ti_event_member(first, i), what);
}

/* A batch that fails runs again, in pieces. */
static void handle_batch(run *r, ti_event *first, test_random *random)
{
    size_t count = ti_event_count(first);
    note_all(r, first, CHECK_START);
    if (r->sleep_us > 0)
        usleep((useconds_t)test_random_below(random, r->sleep_us));
    if (r->fail_in > 0 && test_random_one_in(random, r->fail_in)) {
        write_effect(r, first, first);
        note_all(r, first, count > 1 ? CHECK_AGAIN : CHECK_FAIL);
        ti_event_fail(first, S("planned"));
    } else if (r->abandon_in > 0 && test_random_one_in(random, r->abandon_in)) {
        note_all(r, first, CHECK_AGAIN);
        ti_event_abandon(first);
    } else {
        for (size_t i = 0; i < count; i++)
            write_effect(r, first, ti_event_member(first, i));
        note_all(r, first, CHECK_OWN);
        atomic_fetch_add(&r->finished, count);
        ti_event_ack(first);
    }
    ti_event_free(first);
}

void *run_consume(void *context)
{
    run *r = context;
    test_random random = test_random_start((uint64_t)(uintptr_t)&random);
    for (;;) {
        ti_event *events[16];
        size_t count;
        if (ti_worker_take(r->w, events, r->batch, 20000, &count, NULL) != TI_OK)
            return NULL;
        for (size_t i = 0; i < count; i++)
            (r->together > 0 ? handle_batch : run_handle)(r, events[i], &random);
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

void run_judge(run *r)
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

void run_start_threads(run *r, pthread_t *threads, int count)
{
    atomic_store(&r->stop, false);
    for (int i = 0; i < count; i++)
        pthread_create(&threads[i], NULL, run_consume, r);
}

void run_join_threads(run *r, pthread_t *threads, int count)
{
    atomic_store(&r->stop, true);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

void run_wait_empty(run *r)
{
    for (int i = 0; i < 20000; i++) {
        if (count_of(&r->d, "user", TI_EVENT_PENDING) + count_of(&r->d, "user", TI_EVENT_PARKED) ==
            0)
            return;
        usleep(3000);
    }
    fail_msg("the queue did not become empty");
}

/* Several processes on one shared engine, each played by an engine of its own around the same inner
 * one: hints, leases, pauses between them; what an idle worker costs. */
#include "queue/faulty.h"
#include "queue/load.h"

#include <sys/resource.h>

#include "base/limits.h"
#include "queue/still.h"

#define SECOND INT64_C(1000000)

static ti_worker *start_leased(qdb *d, const char *type, int64_t lease_us)
{
    ti_worker_options options = {.concurrency = 4, .leased = true, .lease_us = lease_us};
    return start_worker(d, type, &options);
}

/* News of another process comes by its hint: one after the other, much faster than by sweeps. */
static void hints_bring_news(void **state)
{
    (void)state;
    qdb d;
    qdb d2;
    int64_t slowest_us = 0;
    faulty *f = faulty_open(true);
    qdb_open_on(&d, &f->base);
    qdb_open_on(&d2, &faulty_beside(f)->base);
    declare(&d, "user", 16, 0, TI_ORDERING_KEY);
    declare(&d2, "user", 16, 0, TI_ORDERING_KEY);
    ti_worker *w = start_worker(&d, "user", NULL);
    usleep(200000); /* all is opened, the first sweeps are over */
    for (int i = 0; i < 40; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        int64_t begun_ns = ti_env_mono_ns(ti_env_real());
        publish(&d2, "user", key, "1");
        ack(take_one(w));
        int64_t took_us = (ti_env_mono_ns(ti_env_real()) - begun_ns) / 1000;
        slowest_us = took_us > slowest_us ? took_us : slowest_us;
        if (i % 4 == 0)
            usleep(30000);
    }
    print_message("slowest pickup %lld us\n", (long long)slowest_us);
    assert_true(slowest_us < 5 * SECOND); /* an idle partition is swept each ten seconds */
    finish_worker(w);
    qdb_close(&d2);
    qdb_close(&d);
}

/* Who of the two removes old versions; -1: both, or none. */
static int who_collects(faulty **f)
{
    const uint64_t before[] = {atomic_load(&f[0]->gcs), atomic_load(&f[1]->gcs)};
    for (int n = 0; n < 60000; n++) {
        for (int i = 0; i < 2; i++) {
            if (atomic_load(&f[i]->gcs) >= before[i] + 3)
                return atomic_load(&f[1 - i]->gcs) == before[1 - i] ? i : -1;
        }
        usleep(1000);
    }
    return -1;
}

/* Old versions are removed by the worker that has a lease of the first partition, by no other; when
 * it goes, by its successor. */
static void a_lease_holder_removes_old_versions(void **state)
{
    (void)state;
    qdb d[2];
    ti_worker *w[2];
    ti_worker_options options = {.leased = true, .gc_retention_us = 1 * SECOND};
    faulty *f[2];
    f[0] = faulty_open(true);
    f[1] = faulty_beside(f[0]);
    for (int i = 0; i < 2; i++) {
        qdb_open_on(&d[i], &f[i]->base);
        declare(&d[i], "user", 1, 0, TI_ORDERING_KEY);
        w[i] = start_worker(&d[i], "user", &options);
    }
    int holder = who_collects(f);
    for (int i = 0; i < 3 && holder < 0; i++) /* the partition moved to the one that came later */
        holder = who_collects(f);
    assert_true(holder >= 0);
    finish_worker(w[holder]);
    uint64_t before = atomic_load(&f[holder]->gcs);
    uint64_t others = atomic_load(&f[1 - holder]->gcs);
    for (int n = 0; n < 60000 && atomic_load(&f[1 - holder]->gcs) < others + 2; n++)
        usleep(1000);
    assert_true(atomic_load(&f[1 - holder]->gcs) >= others + 2);
    assert_int_equal(atomic_load(&f[holder]->gcs), before);
    finish_worker(w[1 - holder]);
    qdb_close(&d[1]);
    qdb_close(&d[0]);
}

static void wait_partitions(ti_worker *w, uint32_t n)
{
    for (int i = 0; i < 20000 && ti_worker_partitions(w, S("user")) != n; i++)
        usleep(1000);
    assert_int_equal(ti_worker_partitions(w, S("user")), n);
}

/* Workers of two processes share; one that falls silent is replaced when its lease has run out, and
 * commits nothing when it wakes. */
static void leases_between_processes(void **state)
{
    (void)state;
    qdb d;
    qdb d2;
    still_env env;
    faulty *f = faulty_open(true);
    qdb_open_on(&d, &f->base);
    qdb_open_on(&d2, &faulty_beside(f)->base);
    still_init(&env);
    d2.env = &env.env;
    d2.kv.env = &env.env;
    declare(&d, "user", 16, 0, TI_ORDERING_KEY);
    declare(&d2, "user", 16, 0, TI_ORDERING_KEY);
    for (int i = 0; i < 40; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        publish(&d, "user", key, "1");
    }
    ti_worker *w2 = start_leased(&d2, "user", 2 * SECOND);
    wait_partitions(w2, 16);
    ti_event *old = take_one(w2);
    ti_worker *w = start_leased(&d, "user", 2 * SECOND);
    for (int i = 0; i < 20000 && ti_worker_partitions(w, S("user")) < 3; i++)
        usleep(1000);
    assert_in_range(ti_worker_partitions(w, S("user")), 3, 15);
    atomic_store(&env.still, true);
    int64_t begun_ns = ti_env_mono_ns(ti_env_real());
    wait_partitions(w, 16);
    print_message("taken over after %lld ms, with a lease of 2000 ms\n",
                  (long long)((ti_env_mono_ns(ti_env_real()) - begun_ns) / 1000000));
    for (int i = 0; i < 40; i++)
        ack(take_one(w));
    wait_committed(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    atomic_store(&env.still, false);
    ack(old);
    wait_committed(w2);
    ti_queue_stats stats;
    ti_queue_stats_of(d2.queues, S("user"), &stats);
    assert_int_equal(stats.acknowledged, 0);
    finish_worker(w2);
    wait_partitions(w, 16);
    finish_worker(w);
    qdb_close(&d2);
    qdb_close(&d);
}

static void pauses_reach_other_processes(void **state)
{
    (void)state;
    qdb d;
    qdb d2;
    faulty *f = faulty_open(true);
    qdb_open_on(&d, &f->base);
    qdb_open_on(&d2, &faulty_beside(f)->base);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY);
    declare(&d2, "user", 4, 0, TI_ORDERING_KEY);
    ti_worker *w = start_worker(&d, "user", NULL);
    OK(&d2, ti_queue_set_paused(d2.queues, S("user"), true, &d2.call, &d2.err));
    usleep(2500000);
    publish(&d2, "user", "a", "1");
    expect_none(w, 300000);
    OK(&d2, ti_queue_set_paused(d2.queues, S("user"), false, &d2.call, &d2.err));
    ack(take_one(w));
    finish_worker(w);
    qdb_close(&d2);
    qdb_close(&d);
}

/* ---- pauses at random ---- */

#define PROCESSES 5
#define PAUSE_KEYS 12
#define PAUSE_LEASE_US (SECOND / 2)

typedef struct process {
    qdb d;
    still_env env;
    ti_worker *w;
    _Atomic(bool) *over;
    pthread_t thread;
} process;

/* Appends the event's number to the chain of its key. */
static ti_status append_number(qdb *d, ti_event *event, ti_err *err)
{
    const ti_event_info *info = ti_event_info_of(event);
    ti_call call = ti_call_within(ti_env_real(), 5 * SECOND);
    ti_txn *txn;
    ti_slice chain;
    TI_TRY(ti_event_txn(event, &txn, err));
    ti_arena *a = ti_txn_arena(txn);
    ti_slice key = ti_key_record(ti_store_keyspace(d->store), a, S("chains"), info->key);
    ti_status status = ti_txn_get(txn, key, a, &chain, &call, err);
    if (status != TI_OK && status != TI_NOT_FOUND)
        return status;
    char *longer = ti_arena_format(a, "%.*s%.*s,", status == TI_OK ? (int)chain.len : 0,
                                   status == TI_OK ? chain.data : "", (int)info->payload.len,
                                   info->payload.data);
    assert_non_null(longer);
    return ti_txn_put(txn, key, S(longer), err);
}

static void *handle_in_process(void *context)
{
    process *p = context;
    while (!atomic_load(p->over)) {
        ti_event *event;
        size_t count;
        ti_err err;
        if (ti_worker_take(p->w, &event, 1, 20000, &count, NULL) != TI_OK)
            return NULL;
        if (count == 0)
            continue;
        ti_err_clear(&err);
        ti_status status = append_number(&p->d, event, &err);
        usleep(4000); /* so that it stands still in the middle of its work, too */
        (void)ti_env_mono_ns(&p->env.env);
        if (status == TI_OK)
            ti_event_ack(event);
        else
            ti_event_abandon(event);
        ti_event_free(event);
    }
    return NULL;
}

static void open_process(process *p, faulty *f, _Atomic(bool) *over)
{
    qdb_open_on(&p->d, &faulty_beside(f)->base);
    still_init(&p->env);
    p->d.env = &p->env.env;
    p->d.kv.env = &p->env.env;
    p->over = over;
    declare(&p->d, "user", 32, 0, TI_ORDERING_KEY);
    ti_worker_options options = {.concurrency = 4, .leased = true, .lease_us = PAUSE_LEASE_US};
    p->w = start_worker(&p->d, "user", &options);
    pthread_create(&p->thread, NULL, handle_in_process, p);
}

/* The chain of a key, as numbers; their count. */
static size_t read_chain(run *r, uint32_t key, uint64_t *out)
{
    ti_txn *txn;
    ti_slice chain;
    char name[16];
    size_t n = 0;
    snprintf(name, sizeof(name), "k%u", key);
    OK(&r->d, ti_txn_begin(&r->d.kv, NULL, &txn, &r->d.err));
    ti_arena *a = ti_txn_arena(txn);
    ti_slice row = ti_key_record(ti_store_keyspace(r->d.store), a, S("chains"), S(name));
    if (ti_txn_get(txn, row, a, &chain, &r->d.call, &r->d.err) == TI_OK) {
        const char *at = chain.data;
        while (at < chain.data + chain.len) {
            char *next;
            out[n++] = strtoull(at, &next, 10);
            at = next + 1;
        }
    }
    ti_txn_free(txn);
    return n;
}

static void judge_pauses(run *r)
{
    uint64_t *chains[PAUSE_KEYS];
    size_t lengths[PAUSE_KEYS];
    bool *none = calloc(r->number_max + 1, sizeof(bool));
    uint64_t number = 0;
    for (uint32_t k = 0; k < PAUSE_KEYS; k++) {
        chains[k] = calloc(r->number_max * 2 + 1, sizeof(uint64_t));
        lengths[k] = read_chain(r, k, chains[k]);
    }
    const check_chains c = {.chains = (const uint64_t *const *)chains,
                            .lengths = lengths,
                            .key_count = PAUSE_KEYS,
                            .number_max = r->number_max,
                            .key_of = r->key_of,
                            .given_up = none,
                            .stored = none};
    const char *what = check_effects(&c, &number);
    if (what != NULL)
        fail_msg("%s: number %llu", what, (unsigned long long)number);
    for (uint32_t k = 0; k < PAUSE_KEYS; k++)
        free(chains[k]);
    free(none);
}

/* Processes that stand still at random, often beyond their lease, while events are published: what
 * is in the store at the end is one effect of each event, in order. */
static void pauses_at_random(void **state)
{
    (void)state;
    static process processes[PROCESSES];
    static run r;
    _Atomic(bool) over = false;
    uint64_t n = 200 + test_scaled(3000);
    faulty *f = faulty_open(true);
    run_open(&r, &f->base, n, PAUSE_KEYS, 32);
    test_random random = test_random_start(11);
    for (int i = 0; i < PROCESSES; i++)
        open_process(&processes[i], f, &over);
    for (uint64_t from = 1; from <= n; from += 20) {
        process *p = &processes[test_random_below(&random, PROCESSES)];
        run_publish(&r, from, from + 19 < n ? from + 19 : n, 3);
        atomic_store(&p->env.still, !atomic_load(&p->env.still));
        usleep((useconds_t)test_random_below(&random, (uint64_t)PAUSE_LEASE_US / 4));
    }
    for (int i = 0; i < PROCESSES; i++)
        atomic_store(&processes[i].env.still, false);
    run_wait_empty(&r);
    atomic_store(&over, true);
    ti_queue_stats all = {.lost = 0};
    for (int i = 0; i < PROCESSES; i++) {
        ti_queue_stats stats;
        pthread_join(processes[i].thread, NULL);
        finish_worker(processes[i].w);
        ti_queue_stats_of(processes[i].d.queues, S("user"), &stats);
        all.lost += stats.lost + stats.dropped + stats.conflicts;
        all.leases_lost += stats.leases_lost;
        qdb_close(&processes[i].d);
    }
    print_message("leases lost %llu, outcomes thrown away %llu\n",
                  (unsigned long long)all.leases_lost, (unsigned long long)all.lost);
    judge_pauses(&r);
    run_close(&r);
}

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* A worker with 1,024 partitions that waits on an empty queue. */
static void waiting_costs_little(void **state)
{
    (void)state;
    const int64_t seconds = 2 + (int64_t)test_scaled(10);
    qdb d;
    faulty *f = faulty_open(true);
    qdb_open_on(&d, &f->base);
    declare(&d, "user", 1024, 24 * 3600 * SECOND, TI_ORDERING_KEY);
    ti_worker *w = start_leased(&d, "user", 10 * SECOND);
    wait_partitions(w, 1024);
    usleep(2000000);
    uint64_t scans = faulty_scans();
    uint64_t gets = faulty_gets();
    uint64_t begins = atomic_load(&f->begins);
    double cpu = cpu_s();
    usleep((useconds_t)(seconds * SECOND));
    double per_s = (double)(faulty_scans() - scans) / (double)seconds;
    print_message("idle, per second: %.0f scans, %.0f gets, %.0f snapshots, %.1f %% of a core\n",
                  per_s, (double)(faulty_gets() - gets) / (double)seconds,
                  (double)(atomic_load(&f->begins) - begins) / (double)seconds,
                  (cpu_s() - cpu) / (double)seconds * 100);
    assert_true(per_s <= (seconds >= 10 ? 150 : 400)); /* sweeps come each ten seconds */
    finish_worker(w);
    qdb_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hints_bring_news),
        cmocka_unit_test(leases_between_processes),
        cmocka_unit_test(pauses_reach_other_processes),
        cmocka_unit_test(pauses_at_random),
        cmocka_unit_test(waiting_costs_little),
        cmocka_unit_test(a_lease_holder_removes_old_versions),
    };
    return TEST_RUN(tests);
}

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
    if (seconds >= 10)
        assert_true(per_s <= 150);
    finish_worker(w);
    qdb_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hints_bring_news),
        cmocka_unit_test(leases_between_processes),
        cmocka_unit_test(pauses_reach_other_processes),
        cmocka_unit_test(waiting_costs_little),
    };
    return TEST_RUN(tests);
}

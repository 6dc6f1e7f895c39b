/* The queue on an engine that is slow, loses answers and refuses: nothing lost, nothing twice,
 * order kept; and on one that says that others use it, too. */
#include "queue/faulty.h"
#include "queue/load.h"

#include "base/limits.h"

#define THREADS 3

static const ti_retry_policy fast_retry = {
    .max_retries = 1000, .base_us = 500, .factor = 1.2, .cap_us = 3000, .jitter = 0.5};

/* Rows of effects/…: one per number whose handler wrote. */
static uint64_t effects(run *r)
{
    ti_txn *txn;
    ti_key_range span;
    ti_scan_page page;
    faulty_spared = true;
    OK(&r->d, ti_txn_begin(&r->d.kv, NULL, &txn, &r->d.err));
    ti_arena *a = ti_txn_arena(txn);
    OK(&r->d, ti_key_span(ti_store_keyspace(r->d.store), a, TI_SPAN_RECORDS, S("effects"),
                          TI_SLICE_NONE, &span, &r->d.err));
    ti_scan scan = {
        .range = {.from = span.lo, .to = span.hi}, .items_max = 1000000, .keys_only = true};
    OK(&r->d, ti_txn_scan(txn, &scan, a, &page, &r->d.call, &r->d.err));
    uint64_t count = page.count;
    ti_txn_free(txn);
    faulty_spared = false;
    return count;
}

/* Numbers while handlers run, with whatever faults are on; judged at the end, without them. */
static void run_it(run *r, faulty *f, uint64_t n)
{
    pthread_t threads[THREADS];
    ti_worker_options options = {.concurrency = 24, .retry = fast_retry};
    faulty_spared = true;
    r->w = start_batches(&r->d, "user", &options, r->together);
    run_start_threads(r, threads, THREADS);
    for (uint64_t from = 1; from <= n; from += 20) {
        run_publish(r, from, from + 19 < n ? from + 19 : n, 3);
        usleep(200);
    }
    run_wait_empty(r);
    run_join_threads(r, threads, THREADS);
    assert_true(atomic_load(&f->struck) > 0);
    finish_worker(r->w);
    run_judge(r);
    faulty_spared = false;
}

/* A snapshot taken before an acknowledgement and used after it shows a finished event. */
static void slow_snapshots_show_finished_events(void **state)
{
    (void)state;
    run r;
    faulty *f = faulty_open(false);
    uint64_t n = test_scaled(6000);
    run_open(&r, &f->base, n, 40, 2);
    r.fail_in = 30;
    r.write_in = 4;
    atomic_store(&f->slow_snapshot_in, 4);
    atomic_store(&f->slow_commit_in, 10);
    run_it(&r, f, n);
    ti_queue_stats stats;
    ti_queue_stats_of(r.d.queues, S("user"), &stats);
    assert_int_equal(stats.dropped, 0);
    assert_int_equal(stats.failed, 0);
    run_close(&r);
}

static void lost_answers(void **state)
{
    (void)state;
    run r;
    faulty *f = faulty_open(false);
    uint64_t n = test_scaled(6000);
    run_open(&r, &f->base, n, 40, 2);
    r.fail_in = 30;
    r.write_in = 2;
    atomic_store(&f->unknown_in, 8);
    atomic_store(&f->lost_in, 8);
    run_it(&r, f, n);
    ti_queue_stats stats;
    ti_queue_stats_of(r.d.queues, S("user"), &stats);
    assert_int_equal(stats.acknowledged, n);
    assert_int_equal(stats.dropped, 0);
    assert_int_equal(stats.failed, 0);
    assert_true(effects(&r) > 0);
    run_close(&r);
}

static void refusals(void **state)
{
    (void)state;
    run r;
    faulty *f = faulty_open(false);
    uint64_t n = test_scaled(4000);
    run_open(&r, &f->base, n, 40, 4);
    r.fail_in = 30;
    r.write_in = 3;
    atomic_store(&f->conflict_in, 10);
    atomic_store(&f->unavailable_in, 25);
    run_it(&r, f, n);
    ti_queue_stats stats;
    ti_queue_stats_of(r.d.queues, S("user"), &stats);
    assert_int_equal(stats.acknowledged, n);
    assert_int_equal(stats.failed, 0);
    run_close(&r);
}

/* Everything, on an engine that others may use: sweeps, groups by partition, fresh meta. */
static void all_of_it_shared(void **state)
{
    (void)state;
    run r;
    faulty *f = faulty_open(true);
    uint64_t n = test_scaled(4000);
    run_open(&r, &f->base, n, 40, 4);
    r.fail_in = 20;
    r.abandon_in = 40;
    r.write_in = 3;
    atomic_store(&f->slow_snapshot_in, 50);
    atomic_store(&f->unknown_in, 20);
    atomic_store(&f->lost_in, 20);
    atomic_store(&f->conflict_in, 20);
    atomic_store(&f->unavailable_in, 50);
    run_it(&r, f, n);
    run_close(&r);
}

/* Batches through lost answers, refusals and conflicts: each event has its effect once. */
static void batches_meet_faults(void **state)
{
    (void)state;
    run r;
    faulty *f = faulty_open(true);
    uint64_t n = test_scaled(3000);
    run_open(&r, &f->base, n, 40, 2);
    r.together = 10;
    r.fail_in = 20;
    r.abandon_in = 30;
    atomic_store(&f->unknown_in, 8);
    atomic_store(&f->lost_in, 8);
    atomic_store(&f->conflict_in, 8);
    atomic_store(&f->unavailable_in, 50);
    atomic_store(&f->slow_commit_in, 20);
    run_it(&r, f, n);
    ti_queue_stats stats;
    ti_queue_stats_of(r.d.queues, S("user"), &stats);
    assert_int_equal(stats.acknowledged, n);
    assert_int_equal(stats.failed, 0);
    assert_int_equal(effects(&r), n);
    run_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_snapshots_show_finished_events),
        cmocka_unit_test(lost_answers),
        cmocka_unit_test(refusals),
        cmocka_unit_test(all_of_it_shared),
        cmocka_unit_test(batches_meet_faults),
    };
    return TEST_RUN(tests);
}

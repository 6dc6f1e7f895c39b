/* What a worker has in hand when it is told to stop, and does not finish, is there for the next. */
#include <time.h>

#include "queue/support.h"
#include "tikv/spaced.h"

/* A checkpoint may pass what is older; on a shared engine only what is older than the grace. */
#define MARGIN_US (spaced_wanted() ? 6000000 : 1500000)

/* On a shared engine what is old is known from sweeps, one a second while there is work. */
static void wait_for_a_sweep(void)
{
    if (spaced_wanted())
        usleep(2500000);
}

/* One partition, so that later events of other keys could be mistaken for the end of it. */
static void open_one(qdb *d)
{
    const char *const keys[] = {"a", "b", "c"};
    const char *const payloads[] = {"1", "2", "3"};
    qdb_open(d, NULL, NULL);
    declare(d, "user", 1, 0, TI_ORDERING_KEY);
    for (int i = 0; i < 3; i++) {
        publish(d, "user", keys[i], payloads[i]);
        usleep(5000); /* each has a time of its own */
    }
    usleep((useconds_t)MARGIN_US);
}

static ti_worker *start_four(qdb *d)
{
    ti_worker_options options = {.concurrency = 4};
    return start_worker(d, "user", &options);
}

/* An event that is to run again when the worker stops, while others behind it are finished. */
static void given_up_while_draining(void **state)
{
    (void)state;
    qdb d;
    open_one(&d);
    ti_worker *w = start_four(&d);
    ti_event *first = take_one(w);
    ti_event *second = take_one(w);
    ti_event *third = take_one(w);
    wait_for_a_sweep();
    ti_worker_stop(w, 20000000);
    ti_event_abandon(first);
    ti_event_free(first);
    ack(second);
    ack(third);
    test_ok(ti_worker_join(w, &d.err), &d.err);
    ti_worker_free(w);
    w = start_four(&d);
    ti_event *again = take_one(w);
    assert_true(is(ti_event_info_of(again)->payload, "1"));
    ack(again);
    wait_committed(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    finish_worker(w);
    qdb_close(&d);
}

/* The same when its transaction meets a conflict then. */
static void conflict_while_draining(void **state)
{
    (void)state;
    qdb d;
    ti_txn *txn;
    ti_slice value;
    open_one(&d);
    ti_worker *w = start_four(&d);
    ti_event *first = take_one(w);
    ti_event *second = take_one(w);
    ti_event *third = take_one(w);
    OK(&d, ti_event_txn(first, &txn, &d.err));
    ti_arena *a = ti_txn_arena(txn);
    ti_slice row = ti_key_record(ti_store_keyspace(d.store), a, S("rows"), S("one"));
    assert_int_equal(ti_txn_get(txn, row, a, &value, &d.call, &d.err), TI_NOT_FOUND);
    OK(&d, ti_txn_put(txn, row, S("mine"), &d.err));
    ti_txn *other;
    OK(&d, ti_txn_begin(&d.kv, NULL, &other, &d.err));
    OK(&d, ti_txn_put(other, row, S("other"), &d.err));
    OK(&d, ti_txn_commit(other, NULL, &d.call, &d.err));
    ti_txn_free(other);
    wait_for_a_sweep();
    ti_worker_stop(w, 20000000);
    ack(first);
    ack(second);
    ack(third);
    test_ok(ti_worker_join(w, &d.err), &d.err);
    ti_worker_free(w);
    w = start_four(&d);
    ti_event *again = take_one(w);
    assert_true(is(ti_event_info_of(again)->payload, "1"));
    ack(again);
    finish_worker(w);
    qdb_close(&d);
}

static double cpu_s(void)
{
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A handler that takes its time while the worker drains costs no processor. */
static void waiting_for_a_handler(void **state)
{
    (void)state;
    qdb d;
    open_one(&d);
    ti_worker *w = start_four(&d);
    ti_event *first = take_one(w);
    ti_worker_stop(w, 120000000);
    usleep(1500000);
    double before_s = cpu_s();
    usleep(3000000);
    assert_true(cpu_s() - before_s < 1.0);
    ack(first);
    test_ok(ti_worker_join(w, &d.err), &d.err);
    ti_worker_free(w);
    qdb_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_up_while_draining),
        cmocka_unit_test(conflict_while_draining),
        cmocka_unit_test(waiting_for_a_handler),
    };
    return TEST_RUN(tests);
}

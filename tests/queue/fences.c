/* Outcomes and the lease of their partition: what is taken under a lease commits under that lease or
 * not at all, whenever it is lost. The lease is the test's own. */
#include "queue/support.h"
#include "tikv/spaced.h"

static void write_row(qdb *d, ti_event *event, const char *who)
{
    ti_txn *txn;
    OK(d, ti_event_txn(event, &txn, &d->err));
    ti_slice key = ti_key_record(ti_store_keyspace(d->store), ti_txn_arena(txn), S("effects"),
                                 ti_event_info_of(event)->payload);
    OK(d, ti_txn_put(txn, key, S(who), &d->err));
}

static bool effect_is(qdb *d, const char *id, const char *who)
{
    ti_txn *txn;
    ti_slice value;
    OK(d, ti_txn_begin(&d->kv, NULL, &txn, &d->err));
    ti_slice key =
        ti_key_record(ti_store_keyspace(d->store), ti_txn_arena(txn), S("effects"), S(id));
    OK(d, ti_txn_get(txn, key, ti_txn_arena(txn), &value, &d->call, &d->err));
    bool same = is(value, who);
    ti_txn_free(txn);
    return same;
}

/* An ownership that the test gives, takes away and gives back; a commit waits at its fence while
 * the test says so. */
typedef struct given {
    ti_ownership base;
    _Atomic(uint64_t) holding; /* 0: not ours */
    _Atomic(uint64_t) epoch;
    _Atomic(bool) wait;
    _Atomic(bool) waits;
    _Atomic(ti_ts) until; /* what commits is bounded by; TI_TS_NONE: nothing */
} given;

static given *given_of(ti_ownership *o)
{
    return (given *)(void *)o;
}

static uint64_t given_epoch(ti_ownership *o)
{
    return atomic_load(&given_of(o)->epoch);
}

static uint64_t given_holding(ti_ownership *o, ti_slice type, uint32_t partition)
{
    (void)type;
    (void)partition;
    return atomic_load(&given_of(o)->holding);
}

static ti_ts given_fence(ti_ownership *o, ti_slice type, uint32_t partition, uint64_t holding)
{
    (void)type;
    (void)partition;
    while (atomic_load(&given_of(o)->wait)) {
        atomic_store(&given_of(o)->waits, true);
        usleep(500);
    }
    if (atomic_load(&given_of(o)->holding) != holding)
        return TI_FENCE_LOST;
    return atomic_load(&given_of(o)->until);
}

static int64_t given_until_ns(ti_ownership *o)
{
    (void)o;
    return TI_NO_DEADLINE;
}

static void given_leader(ti_ownership *o, bool leader)
{
    (void)o;
    (void)leader;
}

static void given_release(ti_ownership *o)
{
    (void)o;
}

static const ti_ownership_vt given_vt = {.version = 3,
                                         .epoch = given_epoch,
                                         .holding = given_holding,
                                         .fence = given_fence,
                                         .until_ns = given_until_ns,
                                         .set_leader = given_leader,
                                         .release = given_release};

static void give(given *g, uint64_t holding)
{
    atomic_store(&g->holding, holding);
    atomic_fetch_add(&g->epoch, 1);
}

/* A lease that ends between the last look at it and the commit: the commit itself is refused, of an
 * acknowledgement alone, of one with writes, of a batch. Once there is a lease, all is done once. */
static void commits_end_with_the_lease(bool writes, uint32_t batch)
{
    qdb d;
    ti_ts now;
    given g = {.base = {.vt = &given_vt}};
    ti_worker_options options = {.concurrency = 4, .ownership = &g.base};
    give(&g, 1);
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 0, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    ti_worker *w = start_batches(&d, "user", &options, batch);
    ti_event *event = take_one(w);
    OK(&d, ti_kv_now(&d.kv, &now, &d.call, &d.err));
    atomic_store(&g.until, now);
    if (writes)
        write_row(&d, event, "late");
    ack(event);
    usleep(100000);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 1);
    atomic_store(&g.until, TI_TS_NONE);
    if (writes) {
        event = take_one(w);
        write_row(&d, event, "in time");
        ack(event);
    }
    wait_committed(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 0);
    assert_true(!writes || effect_is(&d, "1", "in time"));
    finish_worker(w);
    qdb_close(&d);
}

static void a_commit_ends_with_the_lease(void **state)
{
    (void)state;
    commits_end_with_the_lease(false, 0);
    commits_end_with_the_lease(true, 0);
    commits_end_with_the_lease(true, 8);
}

static bool has_checkpoint(qdb *d)
{
    ti_txn *txn;
    ti_slice value;
    OK(d, ti_txn_begin(&d->kv, NULL, &txn, &d->err));
    ti_arena *a = ti_txn_arena(txn);
    ti_slice key = ti_key_queue_checkpoint(ti_store_keyspace(d->store), a, S("user"), 0);
    ti_status status = ti_txn_get(txn, key, a, &value, &d->call, &d->err);
    assert_true(status == TI_OK || status == TI_NOT_FOUND);
    ti_txn_free(txn);
    return status == TI_OK;
}

/* The checkpoint that a worker writes at its end. */
static void a_checkpoint_needs_the_lease(void **state)
{
    (void)state;
    if (spaced_wanted())
        skip(); /* what is as young has none there */
    for (int lost = 1; lost >= 0; lost--) {
        qdb d;
        ti_ts now;
        given g = {.base = {.vt = &given_vt}};
        ti_worker_options options = {.concurrency = 4, .ownership = &g.base};
        give(&g, 1);
        qdb_open(&d, NULL, NULL);
        declare(&d, "user", 1, 0, TI_ORDERING_KEY);
        publish(&d, "user", "a", "1");
        ti_worker *w = start_worker(&d, "user", &options);
        ack(take_one(w));
        wait_committed(w);
        OK(&d, ti_kv_now(&d.kv, &now, &d.call, &d.err));
        atomic_store(&g.until, lost != 0 ? now : TI_TS_NONE);
        finish_worker(w);
        assert_int_equal(has_checkpoint(&d), lost == 0);
        qdb_close(&d);
    }
}

/* The first event of a key is acknowledged, the second one given out, then the partition is lost:
 * the first one's outcome has no effect. When the partition has come back the second one's must not
 * have one either, or it would come before the first. */
static void what_was_taken_before_the_loss_has_no_effect(bool slowly)
{
    qdb d;
    given g = {.base = {.vt = &given_vt}};
    give(&g, 1);
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 3600000000, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "a", "2");
    ti_worker_options options = {.concurrency = 4, .ownership = &g.base};
    ti_worker *w = start_worker(&d, "user", &options);
    atomic_store(&g.wait, true);
    ti_event *event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "1"));
    ack(event);
    event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "2"));
    for (int i = 0; i < 60000 && !atomic_load(&g.waits); i++)
        usleep(1000);
    give(&g, 0);
    atomic_store(&g.wait, false);
    wait_committed(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 2);
    for (int i = 0; i < 60000 && slowly && ti_worker_partitions(w, S("user")) > 0; i++)
        usleep(1000);
    give(&g, 2);
    for (int i = 0; i < 60000 && ti_worker_partitions(w, S("user")) == 0; i++)
        usleep(1000);
    ack(event);
    wait_committed(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_PENDING), 2);
    /* what is given out before the loss is seen has no effect either, and comes once more */
    for (uint64_t pending = 2; pending > 0; pending = count_of(&d, "user", TI_EVENT_PENDING)) {
        ti_event_filter filter = {.type = S("user"), .state = TI_EVENT_PENDING, .limit = 10};
        ti_event_list list;
        OK(&d, ti_queue_list(d.queues, &filter, &d.a, &list, &d.call, &d.err));
        assert_true(list.count == 2 || is(list.items[0].payload, "2"));
        ack(take_one(w));
        wait_committed(w);
    }
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_COMPLETED), 2);
    qdb_close(&d);
}

static void what_was_taken_before_a_loss_is_void(void **state)
{
    (void)state;
    what_was_taken_before_the_loss_has_no_effect(true);
}

static void a_loss_that_the_reader_did_not_see_counts(void **state)
{
    (void)state;
    what_was_taken_before_the_loss_has_no_effect(false);
}

/* An event is with its handler when the partition is lost and comes back: the later ones of its key
 * are read again, and wait until it is known what its outcome was worth. */
static void what_follows_a_lost_outcome_waits(void **state)
{
    qdb d;
    ti_event *later = NULL;
    size_t count = 0;
    given g = {.base = {.vt = &given_vt}};
    (void)state;
    give(&g, 1);
    qdb_open(&d, NULL, NULL);
    declare(&d, "user", 1, 3600000000, TI_ORDERING_KEY);
    publish(&d, "user", "a", "1");
    publish(&d, "user", "a", "2");
    ti_worker_options options = {.concurrency = 4, .ownership = &g.base};
    ti_worker *w = start_worker(&d, "user", &options);
    ti_event *event = take_one(w);
    give(&g, 0);
    for (int i = 0; i < 60000 && ti_worker_partitions(w, S("user")) > 0; i++)
        usleep(1000);
    publish(&d, "user", "b", "3");
    give(&g, 2);
    ack(take_one(w)); /* the partition has been read */
    wait_committed(w);
    atomic_store(&g.wait, true);
    ack(event);
    OK(&d, ti_worker_take(w, &later, 1, 100000, &count, &d.err));
    atomic_store(&g.wait, false);
    assert_int_equal(count, 0);
    event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "1"));
    ack(event);
    event = take_one(w);
    assert_true(is(ti_event_info_of(event)->payload, "2"));
    ack(event);
    wait_committed(w);
    finish_worker(w);
    assert_int_equal(count_of(&d, "user", TI_EVENT_COMPLETED), 3);
    qdb_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_commit_ends_with_the_lease),
        cmocka_unit_test(a_checkpoint_needs_the_lease),
        cmocka_unit_test(what_was_taken_before_a_loss_is_void),
        cmocka_unit_test(a_loss_that_the_reader_did_not_see_counts),
        cmocka_unit_test(what_follows_a_lost_outcome_waits),
    };
    return TEST_RUN(tests);
}

/* Pessimistic locks: waits, order, NOWAIT, timeouts, deadlocks, and commits that meet them. */
#include "engine/engine.h"

/* One transaction in a thread: locks its keys one after the other, holds them, gives them back. */
typedef struct locker {
    db d;
    const char *keys[3];
    int64_t wait_us;
    ti_locks *locks;
    ti_thread thread;
    _Atomic(int) step; /* keys locked so far */
    ti_status status;
    _Atomic(int) *met;   /* those that have their first lock; NULL: nobody waits for them */
    int meets;           /* how many there will be */
    _Atomic(int) *order; /* taken when everything is locked */
    int place;
    int hold_ms;
} locker;

static void pause_ms(int64_t ms)
{
    ti_env_real()->sleep_ns(ti_env_real(), ms * 1000000);
}

/* How many waits for locks have begun, as far as the engine tells. */
static long waits_of(db *d)
{
    ti_buf out;
    long waits = -1;
    ti_buf_init(&out, 100000);
    test_ok(d->vt->stats(d->e, &out, &d->err), &d->err);
    const char *at = memmem(out.data, out.len, "\"lock_waits\":", 13);
    if (at != NULL)
        waits = strtol(at + 13, NULL, 10);
    ti_buf_free(&out);
    return waits;
}

/* Until so many waits have begun; an engine that does not tell gets time. */
static void until_waits(db *d, long waits)
{
    if (waits_of(d) < 0)
        pause_ms(100);
    while (waits_of(d) >= 0 && waits_of(d) < waits)
        pause_ms(1);
}

static ti_status lock_at(db *d, ti_locks **locks, ti_ts start, const char *key, int64_t wait_us,
                         ti_locked *out)
{
    ti_slice k = ti_slice_of(key);
    ti_lock_request request = {.start_ts = start, .keys = &k, .count = 1, .wait_us = wait_us};
    return d->vt->lock(d->e, locks, &request, &d->a, out, &d->call, &d->err);
}

static ti_status lock_one(db *d, ti_locks **locks, const char *key, int64_t wait_us, ti_locked *out)
{
    return lock_at(d, locks, db_now(d), key, wait_us, out);
}

static void *run_locker(void *arg)
{
    locker *l = arg;
    ti_locked out;
    for (int i = 0; i < 3 && l->keys[i] != NULL && l->status == TI_OK; i++) {
        l->status = lock_one(&l->d, &l->locks, l->keys[i], l->wait_us, &out);
        if (l->status == TI_OK)
            atomic_fetch_add(&l->step, 1);
        if (i == 0 && l->met != NULL) {
            atomic_fetch_add(l->met, 1);
            while (atomic_load(l->met) < l->meets)
                pause_ms(1);
        }
    }
    if (l->status == TI_OK && l->order != NULL)
        l->place = atomic_fetch_add(l->order, 1);
    if (l->status == TI_OK)
        pause_ms(l->hold_ms);
    l->d.vt->unlock(l->d.e, l->locks);
    return NULL;
}

static void start_locker(locker *l, const db *d)
{
    ti_err err;
    db_share(d, &l->d);
    test_ok(ti_thread_start(&l->thread, "locker", run_locker, l, &err), &err);
}

static void join_locker(locker *l)
{
    ti_thread_join(&l->thread);
    db_unshare(&l->d);
}

static void a_locked_read_finds_the_newest(void **state)
{
    db d;
    ti_locks *locks = NULL;
    ti_locked out[3];
    (void)state;
    db_open(&d);
    ti_snapshot *s = db_begin(&d);
    ti_ts set_ts = db_set(&d, "b", "1");
    ti_slice keys[] = {TI_SLICE("a"), TI_SLICE("b"), TI_SLICE("b")};
    ti_lock_request request = {.start_ts = db_ts(&d, s), .keys = keys, .count = 3, .wait_us = -1};
    test_ok(d.vt->lock(d.e, &locks, &request, &d.a, out, &d.call, &d.err), &d.err);
    assert_false(out[0].found);
    assert_true(out[1].found && out[2].found);
    assert_true(ti_slice_equal(out[1].value, TI_SLICE("1")));
    assert_true(out[1].ts >= set_ts);
    ti_mutation m = SET("b", "2");
    ti_commit_result result;
    m.check_ts = out[1].ts;
    ti_commit_request commit = {
        .start_ts = db_ts(&d, s), .mutations = &m, .count = 1, .locks = locks};
    test_ok(d.vt->commit(d.e, &commit, &result, &d.call, &d.err), &d.err);
    d.vt->unlock(d.e, locks);
    d.vt->release(s);
    assert_true(db_holds_now(&d, "b", "2"));
    d.vt->unlock(d.e, NULL);
    db_close(&d);
}

static void nowait_and_timeout(void **state)
{
    db d;
    ti_locks *mine = NULL;
    ti_locks *theirs = NULL;
    ti_locked out;
    (void)state;
    db_open(&d);
    test_ok(lock_one(&d, &mine, "a", 0, &out), &d.err);
    test_ok(lock_one(&d, &mine, "a", 0, &out), &d.err); /* mine already */
    test_status(lock_one(&d, &theirs, "a", 0, &out), TI_BUSY);
    int64_t began_ns = ti_env_mono_ns(d.env);
    test_status(lock_one(&d, &theirs, "a", 50000, &out), TI_TIMEOUT);
    int64_t took_ns = ti_env_mono_ns(d.env) - began_ns;
    assert_true(took_ns >= 50000000);
    assert_true(took_ns < 1000000000);
    d.call = ti_call_within(d.env, 30000);
    test_status(lock_one(&d, &theirs, "a", -1, &out), TI_TIMEOUT);
    d.call = ti_call_within(d.env, 30000000);
    test_ok(lock_one(&d, &theirs, "b", 0, &out), &d.err);
    d.vt->unlock(d.e, mine);
    test_ok(lock_one(&d, &theirs, "a", 0, &out), &d.err);
    d.vt->unlock(d.e, theirs);
    db_close(&d);
}

static void waiters_get_their_turn_in_order(void **state)
{
    db d;
    ti_locks *mine = NULL;
    ti_locked out;
    locker lockers[6];
    _Atomic(int) order;
    (void)state;
    atomic_init(&order, 0);
    memset(lockers, 0, sizeof(lockers));
    db_open(&d);
    test_ok(lock_one(&d, &mine, "a", 0, &out), &d.err);
    for (int i = 0; i < 6; i++) {
        lockers[i].keys[0] = "a";
        lockers[i].wait_us = -1;
        lockers[i].order = &order;
        lockers[i].hold_ms = 2;
        start_locker(&lockers[i], &d);
        until_waits(&d, i + 1); /* it stands in the queue before the next one comes */
    }
    assert_int_equal(atomic_load(&order), 0);
    d.vt->unlock(d.e, mine);
    for (int i = 0; i < 6; i++) {
        join_locker(&lockers[i]);
        assert_int_equal(lockers[i].status, TI_OK);
        assert_int_equal(lockers[i].place, i);
    }
    db_close(&d);
}

static void a_waiter_that_gives_up_leaves_the_queue(void **state)
{
    db d;
    ti_locks *mine = NULL;
    ti_locked out;
    locker impatient = {.keys = {"a"}, .wait_us = 50000};
    locker patient = {.keys = {"a"}, .wait_us = -1};
    (void)state;
    db_open(&d);
    test_ok(lock_one(&d, &mine, "a", 0, &out), &d.err);
    start_locker(&impatient, &d);
    until_waits(&d, 1);
    start_locker(&patient, &d);
    join_locker(&impatient);
    until_waits(&d, 2);
    assert_int_equal(impatient.status, TI_TIMEOUT);
    assert_int_equal(atomic_load(&patient.step), 0);
    d.vt->unlock(d.e, mine);
    join_locker(&patient);
    assert_int_equal(patient.status, TI_OK);
    db_close(&d);
}

/* A ring of n transactions: exactly one is refused, the others go on. */
static void check_ring(int n)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    db d;
    locker lockers[5];
    int refused = 0;
    _Atomic(int) met;
    atomic_init(&met, 0);
    memset(lockers, 0, sizeof(lockers));
    db_open(&d);
    for (int i = 0; i < n; i++) {
        lockers[i].keys[0] = names[i];
        lockers[i].keys[1] = names[(i + 1) % n];
        lockers[i].wait_us = -1;
        lockers[i].met = &met;
        lockers[i].meets = n;
        start_locker(&lockers[i], &d);
    }
    for (int i = 0; i < n; i++) {
        join_locker(&lockers[i]);
        refused += lockers[i].status == TI_DEADLOCK;
        assert_true(lockers[i].status == TI_OK || lockers[i].status == TI_DEADLOCK);
        if (lockers[i].status == TI_DEADLOCK && !db_is("tikv")) { /* TiKV tells no number */
            char text[32];
            (void)snprintf(text, sizeof(text), "%d transactions", n);
            assert_non_null(strstr(lockers[i].d.err.message, text));
        }
    }
    assert_int_equal(refused, 1);
    db_close(&d);
}

static void deadlocks_are_found(void **state)
{
    (void)state;
    for (int n = 2; n <= 5; n++)
        check_ring(n);
}

/* Rings through a queue: second and third wait for a; first, who has it, wants what third has. And
 * when second has got a, it wants what third has, who now waits for second. */
static void rings_through_a_queue_are_found(void **state)
{
    db d;
    ti_locks *first = NULL;
    ti_locked out;
    locker second = {.keys = {"b", "a", "c"}, .wait_us = -1};
    locker third = {.keys = {"c", "a"}, .wait_us = -1};
    (void)state;
    if (db_is("tikv"))
        skip(); /* whose waiters are no queue */
    db_open(&d);
    test_ok(lock_one(&d, &first, "a", 0, &out), &d.err);
    start_locker(&second, &d);
    until_waits(&d, 1);
    start_locker(&third, &d);
    until_waits(&d, 2);
    test_status(lock_one(&d, &first, "c", -1, &out), TI_DEADLOCK);
    d.vt->unlock(d.e, first);
    join_locker(&second);
    join_locker(&third);
    assert_int_equal(second.status, TI_DEADLOCK);
    assert_int_equal(third.status, TI_OK);
    db_close(&d);
}

/* ---- commits that meet locks */

typedef struct committer {
    db d;
    ti_thread thread;
    ti_ts start;
    ti_locks *locks; /* of the same transaction */
    const char *key;
    ti_status status;
    _Atomic(int) done;
} committer;

static void *run_committer(void *arg)
{
    committer *c = arg;
    ti_mutation m = SET(c->key, "optimistic");
    ti_commit_result result;
    ti_commit_request request = {
        .start_ts = c->start, .mutations = &m, .count = 1, .locks = c->locks};
    c->status = c->d.vt->commit(c->d.e, &request, &result, &c->d.call, &c->d.err);
    atomic_store(&c->done, 1);
    return NULL;
}

static void start_committer(committer *c, const db *d)
{
    ti_err err;
    db_share(d, &c->d);
    test_ok(ti_thread_start(&c->thread, "committer", run_committer, c, &err), &err);
}

static void join_committer(committer *c)
{
    ti_thread_join(&c->thread);
    db_unshare(&c->d);
}

/* While a key is locked nobody else changes it; then the usual check decides. */
static void commits_wait_for_locks(void **state)
{
    db d;
    (void)state;
    db_open(&d);
    for (int writes = 0; writes < 2; writes++) {
        ti_locks *mine = NULL;
        ti_locked out;
        committer c = {.start = db_now(&d), .key = "a"};
        ti_ts my_start = db_now(&d);
        test_ok(lock_at(&d, &mine, my_start, "a", 0, &out), &d.err);
        start_committer(&c, &d);
        until_waits(&d, writes + 1);
        assert_int_equal(atomic_load(&c.done), 0);
        if (writes) {
            ti_mutation m = SET("a", "mine");
            ti_commit_result result;
            ti_commit_request request = {
                .start_ts = my_start, .mutations = &m, .count = 1, .locks = mine};
            test_ok(d.vt->commit(d.e, &request, &result, &d.call, &d.err), &d.err);
        }
        d.vt->unlock(d.e, mine);
        join_committer(&c);
        assert_int_equal(c.status, writes ? TI_CONFLICT : TI_OK);
        assert_true(db_holds_now(&d, "a", writes ? "mine" : "optimistic"));
    }
    db_close(&d);
}

static void commits_do_not_wait_beyond_their_deadline(void **state)
{
    db d;
    ti_locks *mine = NULL;
    ti_locked out;
    (void)state;
    db_open(&d);
    test_ok(lock_one(&d, &mine, "b", 0, &out), &d.err);
    d.call = ti_call_within(d.env, db_is("tikv") ? 1000000 : 30000);
    assert_int_equal(db_commit(&d, db_now(&d), SET("a", "1"), SET("b", "1")), TI_TIMEOUT);
    assert_int_equal(d.failed_index, 1);
    d.call = ti_call_within(d.env, 30000000);
    d.vt->unlock(d.e, mine);
    assert_true(db_holds_now(&d, "a", NULL));
    assert_int_equal(db_commit(&d, db_now(&d), SET("a", "1"), SET("b", "1")), TI_OK);
    db_close(&d);
}

static void a_commit_can_close_a_ring(void **state)
{
    db d;
    ti_locked out;
    committer c = {.key = "b"};
    ti_locks *mine = NULL;
    (void)state;
    db_open(&d);
    test_ok(lock_one(&d, &mine, "b", 0, &out), &d.err);
    c.start = db_now(&d);
    test_ok(lock_at(&d, &c.locks, c.start, "a", 0, &out), &d.err);
    start_committer(&c, &d);
    until_waits(&d, 1);
    test_status(lock_one(&d, &mine, "a", -1, &out), TI_DEADLOCK);
    d.vt->unlock(d.e, mine);
    join_committer(&c);
    assert_int_equal(c.status, TI_OK);
    d.vt->unlock(d.e, c.locks);
    db_close(&d);
}

static void many_locks_of_one_transaction(void **state)
{
    db d;
    ti_locks *mine = NULL;
    ti_locks *theirs = NULL;
    ti_locked out;
    (void)state;
    db_open(&d);
    for (int i = 0; i < 2000; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%d", i);
        test_ok(lock_one(&d, &mine, key, 0, &out), &d.err);
    }
    test_status(lock_one(&d, &theirs, "k1999", 0, &out), TI_BUSY);
    d.vt->unlock(d.e, mine);
    test_ok(lock_one(&d, &theirs, "k1999", 0, &out), &d.err);
    d.vt->unlock(d.e, theirs);
    db_close(&d);
}

/* Counting with locks never loses a step, and never conflicts. */
typedef struct counter {
    db d;
    ti_thread thread;
    unsigned steps;
} counter;

static ti_status count_once(db *d)
{
    ti_locks *locks = NULL;
    ti_locked out;
    char text[24];
    ti_snapshot *s = db_begin(d);
    ti_slice key = TI_SLICE("count");
    ti_lock_request request = {.start_ts = db_ts(d, s), .keys = &key, .count = 1, .wait_us = -1};
    ti_status status = d->vt->lock(d->e, &locks, &request, &d->a, &out, &d->call, &d->err);
    if (status == TI_OK) {
        unsigned long n = out.found ? strtoul(out.value.data, NULL, 10) : 0;
        (void)snprintf(text, sizeof(text), "%lu", n + 1);
        ti_mutation m = SET("count", text);
        ti_commit_result result;
        m.check_ts = out.ts;
        ti_commit_request commit = {
            .start_ts = db_ts(d, s), .mutations = &m, .count = 1, .locks = locks};
        status = d->vt->commit(d->e, &commit, &result, &d->call, &d->err);
    }
    d->vt->unlock(d->e, locks);
    d->vt->release(s);
    ti_arena_reset(&d->a);
    return status;
}

static void *run_counter(void *arg)
{
    counter *c = arg;
    for (unsigned i = 0; i < c->steps; i++) {
        ti_status status = count_once(&c->d);
        ti_require(status == TI_OK);
    }
    return NULL;
}

static void locked_counting_loses_nothing(void **state)
{
    db d;
    counter counters[4];
    char text[24];
    unsigned steps = (unsigned)test_scaled(1000);
    (void)state;
    db_open(&d);
    for (int i = 0; i < 4; i++) {
        ti_err err;
        db_share(&d, &counters[i].d);
        counters[i].steps = steps;
        test_ok(ti_thread_start(&counters[i].thread, "counter", run_counter, &counters[i], &err),
                &err);
    }
    for (int i = 0; i < 4; i++) {
        ti_thread_join(&counters[i].thread);
        db_unshare(&counters[i].d);
    }
    (void)snprintf(text, sizeof(text), "%u", 4 * steps);
    assert_true(db_holds_now(&d, "count", text));
    db_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_locked_read_finds_the_newest),
        cmocka_unit_test(nowait_and_timeout),
        cmocka_unit_test(waiters_get_their_turn_in_order),
        cmocka_unit_test(a_waiter_that_gives_up_leaves_the_queue),
        cmocka_unit_test(deadlocks_are_found),
        cmocka_unit_test(rings_through_a_queue_are_found),
        cmocka_unit_test(commits_wait_for_locks),
        cmocka_unit_test(commits_do_not_wait_beyond_their_deadline),
        cmocka_unit_test(a_commit_can_close_a_ring),
        cmocka_unit_test(many_locks_of_one_transaction),
        cmocka_unit_test(locked_counting_loses_nothing),
    };
    return TEST_RUN(tests);
}

/* What outlives a request: locks that are kept alive and end with their owner, lost locks, safe
 * points that are held back: lines 61, 63 and 69 of the conformance list, on the simulated wire. */
#include "tikv/little.h"

/* ---- 61: the end of a client ---- */

static const char *const a_only[] = {"a", NULL};

/* The dead client's requests reach nobody any more. */
static bool is_dead(little *l, fake_ask *ask)
{
    (void)l;
    ask->silent = true;
    return true;
}

/* What is left of a lock when its beat is looked for: the thread may begin to count a little late.
 */
#define LATE_MS 2000

static void a_lock_outlives_its_client_by_its_time_to_live(void **state)
{
    (void)state;
    little l;
    ti_locks *locks = NULL;
    mvcc_lock lock;
    little_begin(&l, NULL);
    uint64_t start_ts = little_now(&l);
    test_ok(little_lock(&l, &locks, start_ts, "a", -1, 60000), &l.err);
    for (int second = 0; second < 70; second++) { /* beats keep it for longer than it lives */
        sim_run(l.f.sim, 1000);
        for (int i = 0; i < 1000; i++) { /* the thread that beats needs its time, too */
            usleep(1000);
            if (mvcc_lock_of(&l.m, "a", &lock) &&
                (int64_t)lock.ttl_ms > second * INT64_C(1000) + LATE_MS)
                break;
        }
    }
    assert_true(mvcc_lock_of(&l.m, "a", &lock));
    assert_true(lock.ttl_ms > 70000);
    assert_true(lock.ttl_ms <= 70000 + TI_HEARTBEAT_TTL_MS + 1000);
    int64_t ends_ms = 3600000 + (int64_t)lock.ttl_ms;
    l.meddle = is_dead;
    l.e->vt->unlock(l.e, locks);
    little_again(&l, NULL, 0);
    l.meddle = NULL;
    assert_true(mvcc_lock_of(&l.m, "a", &lock));
    test_ok(little_put(&l, little_now(&l), a_only, "next", 60000), &l.err);
    int64_t now_ms = sim_now_ms(l.f.sim);
    assert_in_range(now_ms, ends_ms - 1, ends_ms + 2000);
    little_expect(&l, "a", "next");
    little_end(&l);
}

/* ---- Giving back in time ---- */

/* Stores are dead while the test counts 1. Set before the background works, which reads it. */
static bool is_dead_for_now(little *l, fake_ask *ask)
{
    ask->silent = atomic_load(&l->count) == 1;
    return ask->silent;
}

/* Runs until key's lock is gone, for at most that long. */
static void expect_unlocked(little *l, const char *key, int64_t within_ms)
{
    mvcc_lock lock;
    int64_t until_ms = sim_now_ms(l->f.sim) + within_ms;
    while (mvcc_lock_of(&l->m, key, &lock) && sim_now_ms(l->f.sim) < until_ms) {
        usleep(1000); /* another thread does it */
        sim_run(l->f.sim, 1);
    }
    assert_false(mvcc_lock_of(&l->m, key, &lock));
}

static void giving_back_ends_with_the_deadline(void **state)
{
    (void)state;
    little l;
    ti_locks *locks = NULL;
    little_begin(&l, NULL);
    l.meddle = is_dead_for_now;
    uint64_t start_ts = little_now(&l);
    test_ok(little_lock(&l, &locks, start_ts, "a", -1, 60000), &l.err);
    atomic_store(&l.count, 1);
    int64_t began_ms = sim_now_ms(l.f.sim);
    test_status(little_lock(&l, &locks, start_ts, "b", -1, 1000), TI_TIMEOUT);
    int64_t locked_ms = sim_now_ms(l.f.sim) - began_ms;
    l.e->vt->unlock(l.e, locks);
    int64_t unlocked_ms = sim_now_ms(l.f.sim) - began_ms;
    assert_int_equal(locked_ms, 1000);
    assert_int_equal(unlocked_ms, 1000);
    atomic_store(&l.count, 0);
    expect_unlocked(&l, "a", TI_PESSIMISTIC_TTL_MS - 5000); /* not by its time to live */
    little_end(&l);
}

static void giving_back_in_time_is_at_once(void **state)
{
    (void)state;
    little l;
    mvcc_lock lock;
    ti_locks *locks = NULL;
    little_begin(&l, NULL);
    l.meddle = is_dead_for_now;
    test_ok(little_lock(&l, &locks, little_now(&l), "a", -1, 60000), &l.err);
    l.e->vt->unlock(l.e, locks);
    assert_false(mvcc_lock_of(&l.m, "a", &lock));
    /* A store that is silent for a while holds nobody up for long, and gets it later. */
    locks = NULL;
    test_ok(little_lock(&l, &locks, little_now(&l), "a", -1, 60000), &l.err);
    atomic_store(&l.count, 1);
    int64_t began_ms = sim_now_ms(l.f.sim);
    l.e->vt->unlock(l.e, locks);
    int64_t took_ms = sim_now_ms(l.f.sim) - began_ms;
    assert_int_equal(took_ms, TI_UNLOCK_WITHIN_US / 1000);
    atomic_store(&l.count, 0);
    expect_unlocked(&l, "a", TI_PESSIMISTIC_TTL_MS - 5000);
    little_end(&l);
}

/* ---- PD's clock jumps ---- */

#define HOUR_MS INT64_C(3600000)

static ti_status commit_locked(little *l, uint64_t start_ts, ti_locks *locks)
{
    ti_mutation put = {.key = TI_SLICE("a"), .value = TI_SLICE("mine"), .kind = TI_MUTATION_PUT};
    ti_commit_request request = {
        .start_ts = start_ts, .mutations = &put, .count = 1, .locks = locks};
    ti_call call = little_call(l, 60000);
    ti_status status = little_commit_within(l, &request, &call);
    l->e->vt->unlock(l->e, locks);
    return status;
}

/* Every lock looks expired then: who loses his is told so, and nobody's update is lost. */
static void a_jump_forwards_loses_no_update(void **state)
{
    (void)state;
    little l;
    ti_locks *locks = NULL;
    little_begin(&l, NULL);
    uint64_t start_ts = little_now(&l);
    test_ok(little_lock(&l, &locks, start_ts, "a", -1, 60000), &l.err);
    atomic_store(&l.f.ahead_ms, HOUR_MS);
    test_ok(little_put(&l, little_now(&l), a_only, "next", 60000), &l.err);
    test_status(commit_locked(&l, start_ts, locks), TI_CONFLICT);
    little_expect(&l, "a", "next");
    little_end(&l);
}

/* The next beat counts with the new time: the lock is its owner's again. */
static void a_beat_follows_a_jump(void **state)
{
    (void)state;
    little l;
    mvcc_lock lock;
    ti_locks *locks = NULL;
    little_begin(&l, NULL);
    uint64_t start_ts = little_now(&l);
    test_ok(little_lock(&l, &locks, start_ts, "a", -1, 60000), &l.err);
    atomic_store(&l.f.ahead_ms, HOUR_MS);
    for (int i = 0; i < 60000; i++) {
        usleep(1000);
        assert_true(mvcc_lock_of(&l.m, "a", &lock));
        if ((int64_t)lock.ttl_ms > HOUR_MS)
            break;
        if (i % 100 == 0) /* in steps: the beating thread sees each */
            sim_run(l.f.sim, 1000);
    }
    assert_true((int64_t)lock.ttl_ms > HOUR_MS);
    ti_status status = little_put(&l, little_now(&l), a_only, "next", 2000);
    assert_true(status != TI_OK && status != TI_OUTCOME_UNKNOWN);
    test_ok(commit_locked(&l, start_ts, locks), &l.err);
    little_expect(&l, "a", "mine");
    little_end(&l);
}

/* A PD that gives old timestamps again is not believed: calls end in time and say why, nothing is
 * written, and all goes on when it has caught up. */
static void a_jump_backwards_is_refused(void **state)
{
    (void)state;
    little l;
    ti_ts ts = 0;
    little_begin(&l, NULL);
    test_ok(little_put(&l, little_now(&l), a_only, "before", 60000), &l.err);
    ti_ts last = little_now(&l);
    atomic_store(&l.f.ahead_ms, -HOUR_MS / 2);
    ti_call call = little_call(&l, 5000);
    int64_t began_ms = sim_now_ms(l.f.sim);
    ti_status status = l.e->vt->now(l.e, &ts, &call, &l.err);
    int64_t took_ms = sim_now_ms(l.f.sim) - began_ms;
    assert_true(status == TI_TIMEOUT || status == TI_UNAVAILABLE);
    assert_non_null(strstr(l.err.message, "went backwards"));
    assert_true(took_ms <= 5000);
    status = little_put(&l, last, a_only, "lost", 5000);
    assert_true(status == TI_TIMEOUT || status == TI_UNAVAILABLE);
    sim_run(l.f.sim, HOUR_MS / 2 + 20000);
    assert_true(little_now(&l) > last);
    little_expect(&l, "a", "before");
    test_ok(little_put(&l, little_now(&l), a_only, "after", 60000), &l.err);
    little_expect(&l, "a", "after");
    little_end(&l);
}

/* ---- 63: locks that were lost ---- */

static ti_status commit_after_loss(little *l, bool changed)
{
    ti_locks *locks = NULL;
    uint64_t start_ts = little_now(l);
    test_ok(little_lock(l, &locks, start_ts, "a", -1, 60000), &l->err);
    mvcc_find(&l->m, TI_SLICE("a"))->lock = (mvcc_lock){0}; /* as after a lost region leader */
    uint64_t later = fake_now(&l->f);
    if (changed)
        mvcc_put(&l->m, "a", "other", later, later + 1);
    ti_mutation put = {.key = TI_SLICE("a"), .value = TI_SLICE("mine"), .kind = TI_MUTATION_PUT};
    ti_commit_request request = {
        .start_ts = start_ts, .mutations = &put, .count = 1, .locks = locks};
    ti_call call = little_call(l, 60000);
    ti_status status = little_commit_within(l, &request, &call);
    l->e->vt->unlock(l->e, locks);
    return status;
}

static void a_lost_lock_never_loses_an_update(void **state)
{
    (void)state;
    for (int amends = 0; amends < 2; amends++) {
        for (int changed = 0; changed < 2; changed++) {
            little l;
            little_begin(&l, NULL);
            mvcc_put(&l.m, "a", "old", 1, 2);
            l.m.amends = amends == 1;
            ti_status status = commit_after_loss(&l, changed == 1);
            bool commits = amends == 1 && changed == 0;
            test_status(status, commits ? TI_OK : TI_CONFLICT);
            little_expect(&l, "a", commits ? "mine" : changed == 1 ? "other" : "old");
            little_end(&l);
        }
    }
}

/* ---- 69: safe points ---- */

static void a_service_holds_the_safe_point_back(void **state)
{
    (void)state;
    little l;
    ti_snapshot *s = NULL;
    ti_slice value;
    little_begin(&l, NULL);
    mvcc_put(&l.m, "a", "old", 1, 2);
    ti_call call = little_call(&l, 60000);
    test_ok(l.e->vt->begin(l.e, TI_TS_NONE, &s, &call, &l.err), &l.err);
    uint64_t reader = l.e->vt->snapshot_ts(s);
    sim_run(l.f.sim, 10000);
    l.f.service_safe_point = reader; /* as the reader has registered */
    call = little_call(&l, 60000);
    test_ok(l.e->vt->gc(l.e, 0, &call, &l.err), &l.err);
    assert_true(l.f.safe_point <= reader);
    test_ok(l.e->vt->get(s, TI_SLICE("a"), &l.a, &value, &call, &l.err), &l.err);
    l.f.service_safe_point = 0; /* it has gone */
    test_ok(l.e->vt->gc(l.e, 0, &call, &l.err), &l.err);
    assert_true(l.f.safe_point > reader);
    test_status(l.e->vt->get(s, TI_SLICE("a"), &l.a, &value, &call, &l.err), TI_CONFLICT);
    l.e->vt->release(s);
    little_end(&l);
}

static void a_collection_leaves_no_older_lock(void **state)
{
    static const char *const four[] = {"f", "m", "t", NULL};
    static const char *const keys[] = {"a", "g", "n", "u"};
    (void)state;
    little l;
    little_begin(&l, four);
    for (int i = 0; i < 4; i++) {
        uint64_t start_ts = ((fake_now(&l.f) >> 18) - 60000 + (uint64_t)i) << 18;
        mvcc_lock lock = {.op = i == 3 ? KVRPCPB__OP__PessimisticLock : KVRPCPB__OP__Put,
                          .value = TI_SLICE("new"),
                          .primary = ti_slice_of(i == 2 ? "nn" : keys[i]),
                          .start_ts = start_ts,
                          .ttl_ms = 3000,
                          .async = i == 1,
                          .min_commit_ts = i == 1 ? start_ts + 1 : 0};
        mvcc_set_lock(&l.m, keys[i], &lock);
    }
    ti_call call = little_call(&l, 60000);
    test_ok(l.e->vt->gc(l.e, 0, &call, &l.err), &l.err);
    assert_int_equal(mvcc_locks(&l.m), 0);
    assert_true(l.f.safe_point > 0);
    little_expect(&l, "a", "");
    little_expect(&l, "g", "new"); /* an async commit with all its locks is committed */
    little_end(&l);
}

/* Reads once the collector has asked about the lock. */
typedef struct late_reader {
    little *l;
    ti_thread thread;
    bool begun;
    ti_ts at;
    mvcc_lock lock; /* as it was when the read had ended */
} late_reader;

static void *read_late(void *context)
{
    late_reader *r = context;
    ti_snapshot *s = NULL;
    ti_slice value;
    ti_arena a;
    ti_err err;
    ti_call call = little_call(r->l, 60000);
    ti_arena_init(&a);
    ti_err_clear(&err);
    ti_status status = r->l->e->vt->begin(r->l->e, TI_TS_NONE, &s, &call, &err);
    if (status == TI_OK) {
        r->at = r->l->e->vt->snapshot_ts(s);
        status = r->l->e->vt->get(s, TI_SLICE("a"), &a, &value, &call, &err);
        mvcc_lock_of(&r->l->m, "a", &r->lock);
        r->l->e->vt->release(s);
    }
    if (status != TI_NOT_FOUND)
        fprintf(stderr, "the reader: %s %s\n", ti_status_name(status), err.message);
    ti_arena_free(&a);
    return NULL;
}

static bool begin_reader(little *l, fake_ask *ask)
{
    late_reader *r = l->context;
    ti_err err;
    if (ask->kind != TI_COMMAND_CHECK_TXN_STATUS || r->begun)
        return false;
    r->begun = true;
    ask->delay_ms = 500; /* the reader comes to wait for the same answer */
    ti_require(ti_thread_start(&r->thread, "reader", read_late, r, &err) == TI_OK);
    return false;
}

/* A lock that a reader has passed can not be committed below him, though he shares what a collector
 * has found out. */
static void a_collection_lets_no_reader_pass_a_lock(void **state)
{
    (void)state;
    little l;
    little_begin(&l, NULL);
    late_reader r = {.l = &l};
    uint64_t start_ts = fake_now(&l.f);
    mvcc_lock lock = {.op = KVRPCPB__OP__Put,
                      .value = TI_SLICE("new"),
                      .primary = TI_SLICE("a"),
                      .start_ts = start_ts,
                      .ttl_ms = 20000,
                      .min_commit_ts = start_ts + 1};
    mvcc_set_lock(&l.m, "a", &lock);
    l.context = &r;
    l.meddle = begin_reader;
    ti_call call = little_call(&l, 60000);
    test_ok(l.e->vt->gc(l.e, 0, &call, &l.err), &l.err);
    assert_true(r.begun);
    ti_thread_join(&r.thread);
    assert_true(r.at > start_ts);
    assert_true(r.lock.min_commit_ts > r.at || !r.lock.held);
    little_end(&l);
}

/* Nor though he shares what an earlier reader was told. */
static void an_earlier_reader_lets_none_pass_a_lock(void **state)
{
    (void)state;
    little l;
    ti_slice value;
    ti_snapshot *s = NULL;
    little_begin(&l, NULL);
    late_reader r = {.l = &l};
    uint64_t start_ts = fake_now(&l.f);
    mvcc_lock lock = {.op = KVRPCPB__OP__Put,
                      .value = TI_SLICE("new"),
                      .primary = TI_SLICE("a"),
                      .start_ts = start_ts,
                      .ttl_ms = 20000,
                      .min_commit_ts = start_ts + 1};
    mvcc_set_lock(&l.m, "a", &lock);
    ti_call call = little_call(&l, 60000);
    test_ok(l.e->vt->begin(l.e, TI_TS_NONE, &s, &call, &l.err), &l.err);
    l.context = &r;
    l.meddle = begin_reader;
    test_status(l.e->vt->get(s, TI_SLICE("a"), &l.a, &value, &call, &l.err), TI_NOT_FOUND);
    assert_true(r.begun);
    ti_thread_join(&r.thread);
    assert_true(r.at > l.e->vt->snapshot_ts(s));
    assert_true(r.lock.min_commit_ts > r.at || !r.lock.held);
    l.e->vt->release(s);
    little_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lock_outlives_its_client_by_its_time_to_live),
        cmocka_unit_test(giving_back_ends_with_the_deadline),
        cmocka_unit_test(giving_back_in_time_is_at_once),
        cmocka_unit_test(a_jump_forwards_loses_no_update),
        cmocka_unit_test(a_beat_follows_a_jump),
        cmocka_unit_test(a_jump_backwards_is_refused),
        cmocka_unit_test(a_lost_lock_never_loses_an_update),
        cmocka_unit_test(a_service_holds_the_safe_point_back),
        cmocka_unit_test(a_collection_leaves_no_older_lock),
        cmocka_unit_test(a_collection_lets_no_reader_pass_a_lock),
        cmocka_unit_test(an_earlier_reader_lets_none_pass_a_lock),
    };
    return TEST_RUN(tests);
}

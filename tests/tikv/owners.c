/* Locks of others, owner by owner: what is asked about each kind, what is concluded, and what must
 * not be. On the simulated wire, with the little store that keeps TiKV's rules. */
#include "tikv/little.h"

#define TTL_MS 3000

static const char *const a_only[] = {"a", NULL};

/* A lock of a transaction that began so long ago. */
static mvcc_lock lock_of(little *l, Kvrpcpb__Op op, const char *primary, int64_t age_ms)
{
    uint64_t start_ts = fake_now(&l->f) - ((uint64_t)age_ms << TI_TS_LOGICAL_BITS);
    return (mvcc_lock){.op = op,
                       .value = TI_SLICE("new"),
                       .primary = ti_slice_of(primary),
                       .start_ts = start_ts,
                       .ttl_ms = TTL_MS,
                       .txn_size = 2};
}

static void expect_unlocked(little *l, const char *key)
{
    mvcc_lock lock;
    for (int i = 0; i < 60000 && mvcc_lock_of(&l->m, key, &lock); i++) {
        usleep(1000); /* another thread does it */
        sim_run(l->f.sim, 1);
    }
    assert_false(mvcc_lock_of(&l->m, key, &lock));
}

static size_t writes_of(little *l, const char *key)
{
    const mvcc_key *k = mvcc_find(&l->m, ti_slice_of(key));
    return k == NULL ? 0 : k->write_count;
}

static ti_snapshot *snapshot_of(little *l)
{
    ti_snapshot *s = NULL;
    ti_call call = little_call(l, 60000);
    test_ok(l->e->vt->begin(l->e, TI_TS_NONE, &s, &call, &l->err), &l->err);
    return s;
}

static void expect_at(little *l, ti_snapshot *s, const char *key, const char *value)
{
    ti_slice got = TI_SLICE("");
    ti_call call = little_call(l, 60000);
    ti_status status = l->e->vt->get(s, ti_slice_of(key), &l->a, &got, &call, &l->err);
    if (status != TI_OK && status != TI_NOT_FOUND)
        fail_msg("%s: %s: %s", key, ti_status_name(status), l->err.message);
    assert_true(ti_slice_equal(status == TI_OK ? got : TI_SLICE(""), ti_slice_of(value)));
}

/* ---- Readers ---- */

/* The owner has committed, before one reader and after another. */
static void only_who_came_later_reads_through_a_lock(void **state)
{
    (void)state;
    little l;
    little_begin(&l, NULL);
    mvcc_put(&l.m, "a", "old", 1, 2);
    mvcc_lock lock = lock_of(&l, KVRPCPB__OP__Put, "p", 100);
    mvcc_set_lock(&l.m, "a", &lock);
    ti_snapshot *early = snapshot_of(&l);
    mvcc_put(&l.m, "p", "new", lock.start_ts, l.e->vt->snapshot_ts(early) + 1);
    l.m.keeps_locks = true;
    (void)little_now(&l);
    ti_snapshot *late = snapshot_of(&l);
    expect_at(&l, early, "a", "old");
    expect_at(&l, late, "a", "new");
    l.e->vt->release(early);
    l.e->vt->release(late);
    little_end(&l);
}

/* The first answer of a batch is an error of all of it. */
static bool locked_as_a_whole(little *l, fake_ask *ask)
{
    Kvrpcpb__BatchGetResponse out = KVRPCPB__BATCH_GET_RESPONSE__INIT;
    Kvrpcpb__KeyError error = KVRPCPB__KEY_ERROR__INIT;
    Kvrpcpb__LockInfo lock = KVRPCPB__LOCK_INFO__INIT;
    (void)l;
    if (ask->kind != TI_COMMAND_BATCH_GET || ask->number > 1)
        return false;
    lock.key = lock.primary_lock = ti_pb_bytes(TI_SLICE("b"));
    lock.lock_version = 1000;
    lock.lock_ttl = 1;
    error.locked = &lock;
    out.error = &error;
    fake_say(ask, &out.base);
    return true;
}

static void a_batch_that_is_locked_is_asked_for_again(void **state)
{
    (void)state;
    little l;
    ti_slice keys[] = {TI_SLICE("a"), TI_SLICE("b"), TI_SLICE("c")};
    ti_slice values[3];
    little_begin(&l, NULL);
    for (int i = 0; i < 3; i++)
        mvcc_put(&l.m, (const char *[]){"a", "b", "c"}[i], "1", 1, 2);
    l.meddle = locked_as_a_whole;
    ti_snapshot *s = snapshot_of(&l);
    ti_call call = little_call(&l, 60000);
    test_ok(l.e->vt->batch_get(s, keys, 3, &l.a, values, &call, &l.err), &l.err);
    for (int i = 0; i < 3; i++)
        assert_true(ti_slice_equal(values[i], TI_SLICE("1")));
    assert_int_equal(atomic_load(&l.f.asked[TI_COMMAND_BATCH_GET]), 2);
    l.e->vt->release(s);
    little_end(&l);
}

/* A store that answers with what nobody asked it for. */
static bool answers_beside(little *l, fake_ask *ask)
{
    Kvrpcpb__BatchGetResponse out = KVRPCPB__BATCH_GET_RESPONSE__INIT;
    Kvrpcpb__KvPair pair = KVRPCPB__KV_PAIR__INIT;
    Kvrpcpb__KvPair *pairs[] = {&pair};
    (void)l;
    if (ask->kind != TI_COMMAND_BATCH_GET)
        return false;
    pair.key = ti_pb_bytes(TI_SLICE("x"));
    pair.value = ti_pb_bytes(TI_SLICE("1"));
    out.pairs = pairs;
    out.n_pairs = 1;
    fake_say(ask, &out.base);
    return true;
}

static void what_was_not_asked_for_is_corrupt(void **state)
{
    (void)state;
    little l;
    ti_slice keys[] = {TI_SLICE("a"), TI_SLICE("b")};
    ti_slice values[2];
    little_begin(&l, NULL);
    l.meddle = answers_beside;
    ti_snapshot *s = snapshot_of(&l);
    ti_call call = little_call(&l, 60000);
    test_status(l.e->vt->batch_get(s, keys, 2, &l.a, values, &call, &l.err), TI_CORRUPT);
    l.e->vt->release(s);
    little_end(&l);
}

/* The newest version is asked for without a timestamp: a lock is judged at one all the same. */
static void a_lock_before_a_read_of_the_newest_is_judged(void **state)
{
    (void)state;
    little l;
    ti_snapshot *s = NULL;
    little_begin(&l, NULL);
    mvcc_put(&l.m, "a", "old", 1, 2);
    mvcc_lock lock = lock_of(&l, KVRPCPB__OP__Put, "a", 0);
    lock.min_commit_ts = lock.start_ts + 1;
    mvcc_set_lock(&l.m, "a", &lock);
    ti_call call = little_call(&l, 60000);
    test_ok(l.e->vt->begin(l.e, TI_TS_MAX, &s, &call, &l.err), &l.err);
    expect_at(&l, s, "a", "old");
    ti_ts at = l.e->vt->snapshot_ts(s);
    assert_true(at > lock.start_ts && at != TI_TS_MAX);
    assert_true(mvcc_lock_of(&l.m, "a", &lock));
    assert_true(lock.min_commit_ts > at); /* it can not be committed below what was read */
    l.e->vt->release(s);
    little_end(&l);
}

/* ---- Async commits ---- */

/* CheckSecondaryLocks keeps a lock that is not there yet from coming: asked too early it would roll
 * a living transaction back. */
static void a_living_async_commit_is_left_alone(void **state)
{
    (void)state;
    little l;
    ti_slice secondary = TI_SLICE("z");
    little_begin(&l, NULL);
    mvcc_lock lock = lock_of(&l, KVRPCPB__OP__Put, "a", 0);
    lock.async = true;
    lock.min_commit_ts = lock.start_ts + 1;
    lock.secondaries = &secondary;
    lock.secondary_count = 1;
    mvcc_set_lock(&l.m, "a", &lock);
    ti_slice value;
    test_status(little_get(&l, "a", TTL_MS - 500, &value), TI_TIMEOUT);
    assert_int_equal(atomic_load(&l.f.asked[TI_COMMAND_CHECK_SECONDARY_LOCKS]), 0);
    assert_int_equal(writes_of(&l, "z"), 0);
    little_expect(&l, "a", ""); /* its time to live is over by then */
    assert_int_equal(atomic_load(&l.f.asked[TI_COMMAND_CHECK_SECONDARY_LOCKS]), 1);
    little_end(&l);
}

/* One region says that it was committed, the other that it was not. */
static bool regions_disagree(little *l, fake_ask *ask)
{
    Kvrpcpb__CheckSecondaryLocksResponse out = KVRPCPB__CHECK_SECONDARY_LOCKS_RESPONSE__INIT;
    if (ask->kind != TI_COMMAND_CHECK_SECONDARY_LOCKS)
        return false;
    out.commit_ts = atomic_fetch_add(&l->count, 1) == 0 ? 77 : 0;
    fake_say(ask, &out.base);
    return true;
}

static void keys_that_disagree_decide_nothing(void **state)
{
    static const char *const three[] = {"m", "t", NULL};
    (void)state;
    little l;
    ti_slice value;
    ti_slice secondaries[] = {TI_SLICE("n"), TI_SLICE("u")};
    little_begin(&l, three);
    mvcc_lock lock = lock_of(&l, KVRPCPB__OP__Put, "a", 60000);
    lock.async = true;
    lock.min_commit_ts = lock.start_ts + 1;
    lock.secondaries = secondaries;
    lock.secondary_count = 2;
    mvcc_set_lock(&l.m, "a", &lock);
    l.meddle = regions_disagree;
    test_status(little_get(&l, "a", 5000, &value), TI_CORRUPT);
    assert_non_null(strstr(l.err.message, "disagree"));
    assert_int_equal(atomic_load(&l.f.asked[TI_COMMAND_RESOLVE_LOCK]), 0);
    little_end(&l);
}

/* ---- Pessimistic locks of others ---- */

/* That a pessimistic lock of its primary has expired does not say that the transaction is gone: the
 * owner may write its locks yet, and commit. */
static void an_expired_pessimistic_lock_is_not_the_end_of_its_owner(void **state)
{
    (void)state;
    little l;
    little_begin(&l, NULL);
    mvcc_lock lock = lock_of(&l, KVRPCPB__OP__PessimisticLock, "a", 60000);
    mvcc_set_lock(&l.m, "a", &lock);
    test_ok(little_put(&l, little_now(&l), a_only, "mine", 60000), &l.err);
    mvcc_put(&l.m, "p", "new", lock.start_ts, lock.start_ts + 5);
    lock.op = KVRPCPB__OP__Put; /* it goes on with another key, and is committed there */
    lock.primary = TI_SLICE("p");
    mvcc_set_lock(&l.m, "b", &lock);
    little_expect(&l, "b", "new");
    little_end(&l);
}

/* Nothing is known of the owner at the primary: his lock goes, and nothing is written there. */
static void a_pessimistic_lock_without_its_primary_goes_alone(void **state)
{
    (void)state;
    little l;
    little_begin(&l, NULL);
    mvcc_lock lock = lock_of(&l, KVRPCPB__OP__PessimisticLock, "p", 60000);
    mvcc_set_lock(&l.m, "a", &lock);
    test_ok(little_put(&l, little_now(&l), a_only, "mine", 60000), &l.err);
    assert_int_equal(writes_of(&l, "p"), 0);
    little_expect(&l, "a", "mine");
    little_end(&l);
}

/* The owner has chosen another primary meanwhile: the lock at the old one is no witness. */
static void a_primary_that_is_none_any_more_says_nothing(void **state)
{
    (void)state;
    little l;
    mvcc_lock left;
    little_begin(&l, NULL);
    mvcc_lock lock = lock_of(&l, KVRPCPB__OP__PessimisticLock, "p", 10);
    mvcc_set_lock(&l.m, "a", &lock);
    lock.primary = TI_SLICE("other");
    lock.ttl_ms = 600000;
    mvcc_set_lock(&l.m, "p", &lock);
    test_ok(little_put(&l, little_now(&l), a_only, "mine", 30000), &l.err);
    assert_true(mvcc_lock_of(&l.m, "p", &left));
    assert_int_equal(atomic_load(&l.f.asked[TI_COMMAND_RESOLVE_LOCK]), 0);
    /* A lock that is written can not say so: its fate stays open, and the error says why. */
    lock = lock_of(&l, KVRPCPB__OP__Put, "p", 60000);
    lock.start_ts = left.start_ts;
    mvcc_set_lock(&l.m, "b", &lock);
    ti_slice value;
    test_status(little_get(&l, "b", 5000, &value), TI_UNAVAILABLE);
    assert_string_equal(l.err.message, "the status of a transaction can not be found out: what its "
                                       "lock calls the primary lock is none");
    little_end(&l);
}

/* The primary may be on its way: its owner lives as long as the lock does, and nobody who does not
 * want to wait waits to learn that. */
static void a_living_lock_without_its_primary_is_busy_at_once(void **state)
{
    (void)state;
    little l;
    ti_locks *locks = NULL;
    little_begin(&l, NULL);
    mvcc_lock lock = lock_of(&l, KVRPCPB__OP__PessimisticLock, "p", 10);
    mvcc_set_lock(&l.m, "a", &lock);
    int64_t began_ms = sim_now_ms(l.f.sim);
    test_status(little_lock(&l, &locks, little_now(&l), "a", 0, 60000), TI_BUSY);
    assert_int_equal(sim_now_ms(l.f.sim), began_ms);
    l.e->vt->unlock(l.e, locks);
    little_end(&l);
}

/* ---- Shared locks ---- */

typedef struct shared_lock {
    uint64_t start_ts;
    int asked_for_it;
    int asked_for_another;
} shared_lock;

/* The first get meets a lock that others share: it is none itself. */
static bool locked_by_one_of_many(little *l, fake_ask *ask)
{
    shared_lock *shared = l->context;
    if (ask->kind == TI_COMMAND_CHECK_TXN_STATUS) {
        Kvrpcpb__CheckTxnStatusRequest *r =
            mvcc_unpack(&kvrpcpb__check_txn_status_request__descriptor, ask);
        shared->asked_for_it += r->lock_ts == shared->start_ts;
        shared->asked_for_another += r->lock_ts != shared->start_ts;
    }
    if (ask->kind != TI_COMMAND_GET || ask->number > 1)
        return false;
    Kvrpcpb__GetResponse out = KVRPCPB__GET_RESPONSE__INIT;
    Kvrpcpb__KeyError error = KVRPCPB__KEY_ERROR__INIT;
    Kvrpcpb__LockInfo wrapper = KVRPCPB__LOCK_INFO__INIT;
    Kvrpcpb__LockInfo inner = KVRPCPB__LOCK_INFO__INIT;
    inner.primary_lock = ti_pb_bytes(TI_SLICE("p"));
    inner.lock_version = shared->start_ts;
    inner.lock_ttl = TTL_MS;
    ProtobufCBinaryData packed = ti_pb_bytes(ti_pb_pack(&inner.base, ask->a));
    wrapper.key = ti_pb_bytes(TI_SLICE("a"));
    wrapper.n_shared_lock_infos = 1;
    wrapper.shared_lock_infos = &packed;
    error.locked = &wrapper;
    out.error = &error;
    fake_say(ask, &out.base);
    return true;
}

static void of_a_shared_lock_its_owners_are_asked_about(void **state)
{
    (void)state;
    little l;
    little_begin(&l, NULL);
    mvcc_put(&l.m, "a", "old", 1, 2);
    shared_lock shared = {.start_ts = fake_now(&l.f) - (UINT64_C(60000) << TI_TS_LOGICAL_BITS)};
    mvcc_roll_back(&l.m, "p", shared.start_ts);
    l.context = &shared;
    l.meddle = locked_by_one_of_many;
    little_expect(&l, "a", "old");
    assert_int_equal(shared.asked_for_it, 1);
    assert_int_equal(shared.asked_for_another, 0);
    little_end(&l);
}

/* ---- Waiting ---- */

static void a_wait_ends_when_it_was_to_end(void **state)
{
    (void)state;
    for (int64_t wait_ms = 0; wait_ms <= 500; wait_ms += 500) {
        little l;
        ti_locks *first = NULL;
        ti_locks *second = NULL;
        little_begin(&l, NULL);
        test_ok(little_lock(&l, &first, little_now(&l), "a", -1, 60000), &l.err);
        int64_t began_ms = sim_now_ms(l.f.sim);
        ti_status status = little_lock(&l, &second, little_now(&l), "a", wait_ms * 1000, 60000);
        int64_t took_ms = sim_now_ms(l.f.sim) - began_ms;
        test_status(status, wait_ms == 0 ? TI_BUSY : TI_TIMEOUT);
        assert_non_null(strstr(l.err.message, "locked by another transaction"));
        assert_in_range(took_ms, wait_ms, wait_ms + 20);
        l.e->vt->unlock(l.e, second);
        l.e->vt->unlock(l.e, first);
        little_end(&l);
    }
}

/* A lock that came about although its answer did not. */
static bool lock_is_lost(little *l, fake_ask *ask)
{
    if (ask->kind != TI_COMMAND_PESSIMISTIC_LOCK || ask->number != 2)
        return false;
    mvcc_answer(&l->m, ask);
    ask->silent = true;
    return true;
}

static void a_lock_whose_answer_was_lost_is_given_back(void **state)
{
    (void)state;
    little l;
    mvcc_lock lock;
    ti_locks *locks = NULL;
    ti_locked out[2];
    ti_slice keys[] = {TI_SLICE("a"), TI_SLICE("z")};
    little_begin(&l, NULL);
    l.meddle = lock_is_lost;
    ti_lock_request request = {.start_ts = little_now(&l), .keys = keys, .count = 2, .wait_us = -1};
    ti_call call = little_call(&l, 1000);
    test_status(l.e->vt->lock(l.e, &locks, &request, &l.a, out, &call, &l.err), TI_TIMEOUT);
    expect_unlocked(&l, "z");
    assert_true(mvcc_lock_of(&l.m, "a", &lock)); /* confirmed: held until unlock */
    l.e->vt->unlock(l.e, locks);
    expect_unlocked(&l, "a");
    little_end(&l);
}

/* An optimistic transaction can not win against a lock of a later one. */
static void a_later_lock_is_a_conflict_at_once(void **state)
{
    (void)state;
    little l;
    little_begin(&l, NULL);
    ti_ts start_ts = little_now(&l);
    mvcc_lock lock = lock_of(&l, KVRPCPB__OP__Put, "a", 0);
    mvcc_set_lock(&l.m, "a", &lock);
    int64_t began_ms = sim_now_ms(l.f.sim);
    test_status(little_put(&l, start_ts, a_only, "mine", 60000), TI_CONFLICT);
    assert_int_equal(sim_now_ms(l.f.sim), began_ms);
    assert_int_equal(atomic_load(&l.f.asked[TI_COMMAND_CHECK_TXN_STATUS]), 0);
    little_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_who_came_later_reads_through_a_lock),
        cmocka_unit_test(a_batch_that_is_locked_is_asked_for_again),
        cmocka_unit_test(what_was_not_asked_for_is_corrupt),
        cmocka_unit_test(a_lock_before_a_read_of_the_newest_is_judged),
        cmocka_unit_test(a_living_async_commit_is_left_alone),
        cmocka_unit_test(keys_that_disagree_decide_nothing),
        cmocka_unit_test(an_expired_pessimistic_lock_is_not_the_end_of_its_owner),
        cmocka_unit_test(a_pessimistic_lock_without_its_primary_goes_alone),
        cmocka_unit_test(a_primary_that_is_none_any_more_says_nothing),
        cmocka_unit_test(a_living_lock_without_its_primary_is_busy_at_once),
        cmocka_unit_test(of_a_shared_lock_its_owners_are_asked_about),
        cmocka_unit_test(a_wait_ends_when_it_was_to_end),
        cmocka_unit_test(a_lock_whose_answer_was_lost_is_given_back),
        cmocka_unit_test(a_later_lock_is_a_conflict_at_once),
    };
    return TEST_RUN(tests);
}

/* M11, retries without end (client-go#902): a loop that asked again without sleeping had no bound.
 *
 * Here: every kind of "again" that needs no wait is bounded, too: by waits that begin, by a budget,
 * by the deadline. The fault matrix (tests/matrix, "ever") has all the others. */
#include "tikv/little.h"

#define REQUESTS_MAX 5000

static void within_bounds(little *l, ti_status status, int64_t began_ms)
{
    assert_int_equal(status == TI_OK || status == TI_OUTCOME_UNKNOWN, 0);
    assert_true(sim_now_ms(l->f.sim) - began_ms <= 60001);
    for (ti_command_id kind = 0; kind < TI_COMMAND_COUNT; kind++)
        assert_true(atomic_load(&l->f.asked[kind]) <= REQUESTS_MAX);
}

static bool wants_later(little *l, fake_ask *ask)
{
    Kvrpcpb__CommitResponse out = KVRPCPB__COMMIT_RESPONSE__INIT;
    Kvrpcpb__KeyError error = KVRPCPB__KEY_ERROR__INIT;
    Kvrpcpb__CommitTsExpired expired = KVRPCPB__COMMIT_TS_EXPIRED__INIT;
    (void)l;
    if (ask->kind != TI_COMMAND_COMMIT || ask->number > REQUESTS_MAX)
        return false;
    Kvrpcpb__CommitRequest *r = mvcc_unpack(&kvrpcpb__commit_request__descriptor, ask);
    expired.key = r->primary_key;
    expired.attempted_commit_ts = r->commit_version;
    expired.min_commit_ts = r->commit_version + 1;
    error.commit_ts_expired = &expired;
    out.error = &error;
    fake_say(ask, &out.base);
    return true;
}

static void m11_a_commit_timestamp_is_not_refused_for_ever(void **state)
{
    static const char *const two[] = {"m", NULL};
    (void)state;
    little l;
    little_begin(&l, two);
    l.meddle = wants_later;
    const char *const keys[] = {little_long(&l, 'a'), little_long(&l, 'z'), NULL};
    int64_t began_ms = sim_now_ms(l.f.sim);
    within_bounds(&l, little_put(&l, little_now(&l), keys, "new", 60000), began_ms);
    assert_true(sim_now_ms(l.f.sim) > began_ms);
    l.meddle = NULL;
    little_end(&l);
}

static bool always_changed(little *l, fake_ask *ask)
{
    Kvrpcpb__PessimisticLockResponse out = KVRPCPB__PESSIMISTIC_LOCK_RESPONSE__INIT;
    Kvrpcpb__KeyError error = KVRPCPB__KEY_ERROR__INIT;
    Kvrpcpb__KeyError *errors[] = {&error};
    Kvrpcpb__WriteConflict conflict = KVRPCPB__WRITE_CONFLICT__INIT;
    (void)l;
    if (ask->kind != TI_COMMAND_PESSIMISTIC_LOCK || ask->number > REQUESTS_MAX)
        return false;
    error.conflict = &conflict;
    out.errors = errors;
    out.n_errors = 1;
    fake_say(ask, &out.base);
    return true;
}

static void m11_a_record_is_not_chased_for_ever(void **state)
{
    (void)state;
    little l;
    ti_locks *locks = NULL;
    little_begin(&l, NULL);
    l.meddle = always_changed;
    int64_t began_ms = sim_now_ms(l.f.sim);
    within_bounds(&l, little_lock(&l, &locks, little_now(&l), "a", -1, 60000), began_ms);
    assert_true(sim_now_ms(l.f.sim) > began_ms);
    l.e->vt->unlock(l.e, locks);
    little_end(&l);
}

/* Each store names the next one as leader. */
static bool round_and_round(little *l, fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__NotLeader not_leader = ERRORPB__NOT_LEADER__INIT;
    Metapb__Peer leader = METAPB__PEER__INIT;
    (void)l;
    if (ask->number > REQUESTS_MAX)
        return false;
    leader.store_id = ask->store % FAKE_STORES + 1;
    leader.id = 10 + leader.store_id;
    not_leader.leader = &leader;
    error.not_leader = &not_leader;
    fake_region_error(ask, &error);
    return true;
}

static void m11_leaders_are_not_followed_in_circles(void **state)
{
    (void)state;
    little l;
    ti_slice value;
    little_begin(&l, NULL);
    l.meddle = round_and_round;
    int64_t began_ms = sim_now_ms(l.f.sim);
    within_bounds(&l, little_get(&l, "a", 60000, &value), began_ms);
    assert_true(atomic_load(&l.f.asked[TI_COMMAND_GET]) < 200);
    little_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(m11_a_commit_timestamp_is_not_refused_for_ever),
        cmocka_unit_test(m11_a_record_is_not_chased_for_ever),
        cmocka_unit_test(m11_leaders_are_not_followed_in_circles),
    };
    return TEST_RUN(tests);
}

/* M2, a cancelled commit (tidb PR#20857): an error or a cancel while the primary's commit was on
 * its way was taken for a failure, though the store had committed.
 *
 * Here: OUTCOME_UNKNOWN, and nothing is cleaned up; where there is time left the primary is asked.
 */
#include "tikv/little.h"

static _Atomic(int) cancelled;

/* The primary is committed, its answer never comes, and the caller gives up meanwhile. */
static bool commits_silently(little *l, fake_ask *ask)
{
    if (ask->kind != TI_COMMAND_COMMIT)
        return false;
    mvcc_answer(&l->m, ask);
    ask->silent = true;
    atomic_store(&cancelled, 1);
    return true;
}

/* The same, and then the store does not know either what has become of its proposal. */
static bool commits_and_forgets(little *l, fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__UndeterminedResult undetermined = ERRORPB__UNDETERMINED_RESULT__INIT;
    if (ask->kind != TI_COMMAND_COMMIT || ask->number > 2)
        return false;
    if (ask->number == 1)
        return commits_silently(l, ask);
    error.undetermined_result = &undetermined;
    fake_region_error(ask, &error);
    return true;
}

static ti_status commit_long(little *l, const ti_call *call, uint64_t start_ts)
{
    ti_mutation list[] = {{.key = ti_slice_of(little_long(l, 'a')), .value = TI_SLICE("new")},
                          {.key = ti_slice_of(little_long(l, 'z')), .value = TI_SLICE("new")}};
    ti_commit_request request = {.start_ts = start_ts, .mutations = list, .count = 2};
    return little_commit_within(l, &request, call);
}

static void m2_a_cancelled_commit_is_unknown(void **state)
{
    static const char *const two[] = {"m", NULL};
    (void)state;
    little l;
    little_begin(&l, two);
    l.meddle = commits_silently;
    ti_call call = little_call(&l, 60000);
    call.cancelled = &cancelled;
    atomic_store(&cancelled, 0);
    test_status(commit_long(&l, &call, little_now(&l)), TI_OUTCOME_UNKNOWN);
    l.meddle = NULL;
    sim_run(l.f.sim, 1000);
    assert_int_equal(atomic_load(&l.f.asked[TI_COMMAND_BATCH_ROLLBACK]), 0);
    little_again(&l, two, 60000);
    little_expect(&l, little_long(&l, 'a'), "new");
    little_expect(&l, little_long(&l, 'z'), "new");
    little_end(&l);
}

static void m2_a_lost_commit_is_found_out(void **state)
{
    static const char *const two[] = {"m", NULL};
    (void)state;
    little l;
    little_begin(&l, two);
    l.meddle = commits_and_forgets;
    ti_call call = little_call(&l, 200000);
    uint64_t start_ts = little_now(&l);
    test_ok(commit_long(&l, &call, start_ts), &l.err);
    assert_int_equal(mvcc_committed_at(&l.m, ti_slice_of(little_long(&l, 'a')), start_ts),
                     l.commit_ts);
    little_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(m2_a_cancelled_commit_is_unknown),
        cmocka_unit_test(m2_a_lost_commit_is_found_out),
    };
    return TEST_RUN(tests);
}

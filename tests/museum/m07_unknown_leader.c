/* M7, a leader that PD does not know yet (client-go#1398, tidb#55013): a store named a leader that
 * was not among the region's cached peers; the client asked PD, which was behind, again and again:
 * an outage of two minutes.
 *
 * Here: the named peer is asked at once. */
#include "tikv/little.h"

/* PD has not heard of the peer on the third store, and names the first as leader. */
static void is_behind(fake_pd_ask *ask)
{
    ti_err err;
    if (ask->kind != FAKE_PD_GET_REGION)
        return;
    Pdpb__GetRegionResponse *r =
        ti_pb_unpack(&pdpb__get_region_response__descriptor, ask->answer, ask->a, &err);
    ti_require(r != NULL && r->region != NULL && r->region->n_peers == 3);
    r->region->n_peers = 2;
    r->leader = r->region->peers[0];
    ask->answer = ti_pb_pack(&r->base, ask->a);
}

static void m7_a_leader_that_pd_does_not_know_is_believed(void **state)
{
    (void)state;
    little l;
    little_begin_closed(&l, NULL);
    l.f.pd_answer = is_behind;
    l.f.regions[0].leader = 3;
    l.e = fake_open(&l.f);
    mvcc_put(&l.m, "a", "1", 1, 2);
    int64_t began_ms = sim_now_ms(l.f.sim);
    little_expect(&l, "a", "1");
    assert_true(sim_now_ms(l.f.sim) - began_ms <= 1000);
    little_expect(&l, "a", "1");
    assert_int_equal(atomic_load(&l.f.asked[TI_COMMAND_GET]), 3); /* and remembered */
    little_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(m7_a_leader_that_pd_does_not_know_is_believed)};
    return TEST_RUN(tests);
}

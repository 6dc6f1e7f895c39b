/* M8, a half-dead leader (client-go#2028): a leader that had been deposed without hearing of it
 * answered ServerIsBusy for ever, and it was asked for ever.
 *
 * Here: after two such answers another replica is asked, which knows. */
#include "tikv/little.h"

/* The first store is busy whatever happens. */
static bool first_is_busy(little *l, fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__ServerIsBusy busy = ERRORPB__SERVER_IS_BUSY__INIT;
    (void)l;
    if (ask->store != 1)
        return false;
    error.server_is_busy = &busy;
    fake_region_error(ask, &error);
    return true;
}

/* PD still believes in it. */
static void believes_the_first(fake_pd_ask *ask)
{
    ti_err err;
    if (ask->kind != FAKE_PD_GET_REGION)
        return;
    Pdpb__GetRegionResponse *r =
        ti_pb_unpack(&pdpb__get_region_response__descriptor, ask->answer, ask->a, &err);
    ti_require(r != NULL && r->region != NULL);
    r->leader = r->region->peers[0];
    ask->answer = ti_pb_pack(&r->base, ask->a);
}

static void m8_another_replica_is_asked(void **state)
{
    (void)state;
    little l;
    little_begin_closed(&l, NULL);
    l.f.pd_answer = believes_the_first;
    l.f.regions[0].leader = 2;
    l.meddle = first_is_busy;
    l.e = fake_open(&l.f);
    mvcc_put(&l.m, "a", "1", 1, 2);
    int64_t began_ms = sim_now_ms(l.f.sim);
    little_expect(&l, "a", "1");
    assert_true(sim_now_ms(l.f.sim) - began_ms <= 10000);
    little_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(m8_another_replica_is_asked)};
    return TEST_RUN(tests);
}

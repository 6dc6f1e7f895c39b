/* M9, no leader for ever (client-rust#479, the library under the original tito): after a restart of
 * the whole cluster every request failed with "Leader of region not found" until the client was
 * restarted, too.
 *
 * Here: the same handle works again within five seconds. */
#include "tikv/little.h"

#define UP_MS 3630000 /* stores and PD are back; regions have no leaders yet */
#define LED_MS 3633000

static bool restarts(little *l, fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__NotLeader nobody = ERRORPB__NOT_LEADER__INIT;
    int64_t now_ms = sim_now_ms(l->f.sim);
    if (atomic_load(&l->count) == 0 || now_ms >= LED_MS)
        return false;
    ask->cut = now_ms < UP_MS;
    ask->refused = ask->cut;
    error.not_leader = &nobody;
    if (!ask->cut)
        fake_region_error(ask, &error);
    return true;
}

static void m9_the_handle_survives_a_restart_of_everything(void **state)
{
    (void)state;
    little l;
    ti_slice value;
    int64_t worked_ms = 0;
    little_begin(&l, NULL);
    mvcc_put(&l.m, "a", "1", 1, 2);
    l.meddle = restarts;
    little_expect(&l, "a", "1");
    atomic_store(&l.count, 1);
    for (int i = 0; i < FAKE_PDS; i++)
        l.f.dead[i] = true;
    while (worked_ms == 0 && sim_now_ms(l.f.sim) < 3700000) {
        if (sim_now_ms(l.f.sim) >= UP_MS &&
            l.f.dead[1]) { /* another PD leads; the first stays away */
            l.f.dead[1] = l.f.dead[2] = false;
            l.f.leader = 1;
            l.f.regions[0].leader = 2;
        }
        if (little_get(&l, "a", 500, &value) == TI_OK)
            worked_ms = sim_now_ms(l.f.sim);
        else
            sim_run(l.f.sim, 50);
    }
    assert_in_range(worked_ms, LED_MS, LED_MS + 5000);
    little_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(m9_the_handle_survives_a_restart_of_everything)};
    return TEST_RUN(tests);
}

/* M4, async commit that fell back, and a crash (tidb#24384, tiflash PR#1856): the status of the
 * primary was forced with a current timestamp of 0, by which no lock ever expires, so the secondary
 * stayed locked for ever.
 *
 * Here: readers and writers go on within the lock's time to live and two seconds. */
#include "tikv/little.h"

static void leave_locks(little *l)
{
    ti_slice secondary = TI_SLICE("z");
    uint64_t start_ts = fake_now(&l->f);
    mvcc_lock lock = {.op = KVRPCPB__OP__Put,
                      .value = TI_SLICE("new"),
                      .primary = TI_SLICE("a"),
                      .start_ts = start_ts,
                      .ttl_ms = 3000,
                      .txn_size = 2,
                      .async = true,
                      .min_commit_ts = start_ts + 1,
                      .secondaries = &secondary,
                      .secondary_count = 1};
    mvcc_set_lock(&l->m, "a", &lock);
    lock.async = false; /* this store has refused */
    lock.min_commit_ts = 0;
    lock.secondary_count = 0;
    mvcc_set_lock(&l->m, "z", &lock);
}

static void m4_a_fallen_back_lock_ends(void **state)
{
    static const char *const two[] = {"m", NULL};
    static const char *const keys[] = {"z", NULL};
    (void)state;
    for (int writes = 0; writes < 2; writes++) {
        little l;
        little_begin(&l, two);
        mvcc_put(&l.m, "z", "old", 1, 2);
        leave_locks(&l);
        int64_t began_ms = sim_now_ms(l.f.sim);
        if (writes == 1)
            test_ok(little_put(&l, little_now(&l), keys, "mine", 60000), &l.err);
        little_expect(&l, "z", writes == 1 ? "mine" : "old");
        assert_true(sim_now_ms(l.f.sim) - began_ms <= 5000);
        little_expect(&l, "a", "");
        little_end(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(m4_a_fallen_back_lock_ends)};
    return TEST_RUN(tests);
}

/* M5, too much rolled back (tidb#42937, client-rust PR#561): a pessimistic lock whose primary was
 * gone or had been chosen anew was taken as word that its transaction was rolled back; all its
 * locks in the region went, and half of a live transaction was lost.
 *
 * Here: only that one key's pessimistic lock is rolled back, and nothing is remembered of its
 * owner. */
#include "tikv/little.h"

static void put_locks(little *l, uint64_t start_ts)
{
    mvcc_lock left = {.op = KVRPCPB__OP__PessimisticLock, /* of a statement that failed */
                      .primary = TI_SLICE("x"),
                      .start_ts = start_ts,
                      .ttl_ms = 1,
                      .txn_size = 100000,
                      .for_update_ts = start_ts};
    mvcc_lock live = {.op = KVRPCPB__OP__Put,
                      .value = TI_SLICE("new"),
                      .primary = TI_SLICE("b"),
                      .start_ts = start_ts,
                      .ttl_ms = 600000,
                      .txn_size = 100000};
    mvcc_set_lock(&l->m, "a", &left);
    mvcc_set_lock(&l->m, "b", &live);
}

static void m5_a_lost_primary_frees_one_lock(void **state)
{
    static const char *const keys[] = {"a", NULL};
    (void)state;
    little l;
    mvcc_lock lock;
    little_begin(&l, NULL);
    uint64_t start_ts = fake_now(&l.f);
    put_locks(&l, start_ts);
    sim_run(l.f.sim, 10000);
    test_ok(little_put(&l, little_now(&l), keys, "mine", 60000), &l.err);
    assert_true(mvcc_lock_of(&l.m, "b", &lock)); /* its owner lives */
    assert_true(lock.start_ts == start_ts);
    assert_int_equal(atomic_load(&l.f.asked[TI_COMMAND_RESOLVE_LOCK]), 0);
    little_expect(&l, "a", "mine");
    ti_slice value; /* not remembered as rolled back: its lock is still a lock, read past */
    test_status(little_get(&l, "b", 60000, &value), TI_NOT_FOUND);
    assert_true(mvcc_lock_of(&l.m, "b", &lock));
    little_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(m5_a_lost_primary_frees_one_lock)};
    return TEST_RUN(tests);
}

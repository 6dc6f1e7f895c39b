/* M12, locks that lived too short (tidb PR#2980): the time to live counted from the start of the
 * transaction, but was computed as if it counted from the commit; a transaction that had run for a
 * while wrote locks that were dead when they came.
 *
 * Here: the age is on top; and a commit whose locks were rolled back by others is refused. */
#include "tikv/little.h"

static void m12_an_old_transaction_writes_living_locks(void **state)
{
    static const char *const two[] = {"m", NULL};
    (void)state;
    little l;
    mvcc_lock lock;
    little_begin(&l, two);
    uint64_t start_ts = little_now(&l);
    const char *const keys[] = {little_long(&l, 'a'), little_long(&l, 'z'), NULL};
    sim_run(l.f.sim, 10000);
    l.m.keeps_locks = true;
    ti_call call = little_call(&l, 60000);
    uint64_t later = fake_now(&l.f);
    mvcc_put(&l.m, keys[1], "other", later, later + 1); /* so that only the first is written */
    test_status(little_put(&l, start_ts, keys, "new", 60000), TI_CONFLICT);
    (void)call;
    assert_true(mvcc_lock_of(&l.m, keys[0], &lock));
    assert_true(lock.ttl_ms >= 13000);
    l.m.keeps_locks = false;
    little_end(&l);
}

/* Somebody rolls the transaction back between its two phases. */
static bool rolls_back(little *l, fake_ask *ask)
{
    if (ask->kind == TI_COMMAND_COMMIT && ask->number == 1) {
        Kvrpcpb__CommitRequest *r = mvcc_unpack(&kvrpcpb__commit_request__descriptor, ask);
        mvcc_roll_back(&l->m, ti_arena_copy(ask->a, ti_pb_slice(r->primary_key)).data,
                       r->start_version);
    }
    return false;
}

static void m12_a_commit_after_its_locks_is_refused(void **state)
{
    static const char *const two[] = {"m", NULL};
    (void)state;
    little l;
    little_begin(&l, two);
    l.meddle = rolls_back;
    const char *const keys[] = {little_long(&l, 'a'), little_long(&l, 'z'), NULL};
    test_status(little_put(&l, little_now(&l), keys, "new", 60000), TI_CONFLICT);
    little_expect(&l, keys[0], "");
    little_expect(&l, keys[1], "");
    little_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(m12_an_old_transaction_writes_living_locks),
        cmocka_unit_test(m12_a_commit_after_its_locks_is_refused),
    };
    return TEST_RUN(tests);
}

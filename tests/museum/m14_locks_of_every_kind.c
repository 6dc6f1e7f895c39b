/* M14, locks that nobody could resolve (client-rust#519, #528): locks of async commits and of
 * pessimistic transactions that another client had left blocked readers or writers for ever.
 *
 * Here: every kind of lock, of a dead client of any make, ends; readers and writers go on within
 * its time to live and two seconds. */
#include "tikv/little.h"

typedef struct lock_case {
    const char *name;
    Kvrpcpb__Op op;
    bool async;
    bool primary_there;
    const char *value; /* of the key afterwards */
} lock_case;

static const lock_case cases[] = {
    {"PUT", KVRPCPB__OP__Put, false, true, "old"},
    {"PUT without its primary", KVRPCPB__OP__Put, false, false, "old"},
    {"DELETE", KVRPCPB__OP__Del, false, true, "old"},
    {"LOCK", KVRPCPB__OP__Lock, false, true, "old"},
    {"pessimistic", KVRPCPB__OP__PessimisticLock, false, true, "old"},
    {"pessimistic without its primary", KVRPCPB__OP__PessimisticLock, false, false, "old"},
    {"PUT in async commit", KVRPCPB__OP__Put, true, true, "new"},
    {"DELETE in async commit", KVRPCPB__OP__Del, true, true, ""},
    {"LOCK in async commit", KVRPCPB__OP__Lock, true, true, "old"},
    {"async commit without its primary", KVRPCPB__OP__Put, true, false, "old"},
};

/* The secondary z and, perhaps, the primary a. */
static void leave(little *l, const lock_case *c)
{
    ti_slice secondary = TI_SLICE("z");
    uint64_t start_ts = fake_now(&l->f);
    mvcc_lock lock = {.op = c->op,
                      .value = TI_SLICE("new"),
                      .primary = TI_SLICE("a"),
                      .start_ts = start_ts,
                      .ttl_ms = 3000,
                      .txn_size = 2,
                      .for_update_ts = c->op == KVRPCPB__OP__PessimisticLock ? start_ts : 0,
                      .async = c->async,
                      .min_commit_ts = c->async ? start_ts + 1 : 0};
    mvcc_set_lock(&l->m, "z", &lock);
    lock.secondaries = &secondary;
    lock.secondary_count = c->async ? 1 : 0;
    if (c->primary_there)
        mvcc_set_lock(&l->m, "a", &lock);
}

static void m14_every_lock_ends(void **state)
{
    static const char *const two[] = {"m", NULL};
    static const char *const z[] = {"z", NULL};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int writes = 0; writes < 2; writes++) {
            little l;
            ti_slice value = TI_SLICE("");
            little_begin(&l, two);
            mvcc_put(&l.m, "z", "old", 1, 2);
            leave(&l, &cases[i]);
            int64_t began_ms = sim_now_ms(l.f.sim);
            ti_status status = writes == 1 ? little_put(&l, little_now(&l), z, "mine", 60000)
                                           : little_get(&l, "z", 60000, &value);
            if (status != TI_OK && status != TI_NOT_FOUND)
                fail_msg("%s: %s: %s", cases[i].name, ti_status_name(status), l.err.message);
            if (sim_now_ms(l.f.sim) - began_ms > 5000)
                fail_msg("%s: %lld ms", cases[i].name, (long long)(sim_now_ms(l.f.sim) - began_ms));
            sim_run(l.f.sim, 10000); /* past its end, also for who read past it */
            little_expect(&l, "z", writes == 1 ? "mine" : cases[i].value);
            little_end(&l);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(m14_every_lock_ends)};
    return TEST_RUN(tests);
}

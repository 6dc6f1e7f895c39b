/* M1, lost updates (tidb#10075, #10076): after a conflict the writes of a transaction were sent
 * again at a new timestamp, without what they had been computed from being read again.
 *
 * Here: the function runs again as a whole, on a new snapshot. */
#include "tikv/little.h"

#include "kv/retry.h"

typedef struct counter {
    little *l;
    int runs;
} counter;

static ti_status add_one(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    counter *c = context;
    ti_slice value = TI_SLICE("0");
    char text[2] = "0";
    ti_status status = ti_txn_get(txn, TI_SLICE("a"), &c->l->a, &value, call, err);
    if (status != TI_OK && status != TI_NOT_FOUND)
        return status;
    text[0] = (char)(value.data[0] + 1);
    if (c->runs++ == 0) { /* somebody else counts meanwhile */
        uint64_t now = fake_now(&c->l->f);
        mvcc_put(&c->l->m, "a", "1", now, now + 1);
    }
    return ti_txn_put(txn, TI_SLICE("a"), ti_slice_of(text), err);
}

static void m1_a_conflict_runs_the_function_again(void **state)
{
    (void)state;
    little l;
    counter c = {.l = &l};
    ti_kv kv;
    little_begin(&l, NULL);
    mvcc_put(&l.m, "a", "0", 1, 2);
    l.e->vt->ref(l.e);
    test_ok(ti_kv_open(&kv, l.e, NULL, &l.err), &l.err);
    ti_call call = little_call(&l, 60000);
    test_ok(ti_kv_transact(&kv, NULL, NULL, add_one, &c, NULL, &call, &l.err), &l.err);
    assert_int_equal(c.runs, 2);
    little_expect(&l, "a", "2");
    ti_kv_close(&kv);
    little_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(m1_a_conflict_runs_the_function_again)};
    return TEST_RUN(tests);
}

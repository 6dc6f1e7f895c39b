/* M15, applied twice (a FoundationDB layer's report): commit_unknown_result was taken as a failure
 * by the layer's retry loop, so that an update which had been committed was made once more.
 *
 * Here: an unknown outcome ends the loop and is told to the caller. That outbox and queue are
 * idempotent when he tries again: tests/queue, effects and crash. */
#include "tikv/little.h"

#include "kv/retry.h"

/* Commits are applied, and nothing is heard any more. */
static bool applied_and_lost(little *l, fake_ask *ask)
{
    if (ask->kind == TI_COMMAND_PREWRITE)
        mvcc_answer(&l->m, ask);
    ask->cut = ask->kind == TI_COMMAND_PREWRITE || ask->kind == TI_COMMAND_CHECK_TXN_STATUS;
    return ask->cut;
}

static ti_status add_one(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    little *l = context;
    ti_slice value = TI_SLICE_NONE;
    char text[2] = "0";
    atomic_fetch_add(&l->count, 1);
    TI_TRY(ti_txn_get(txn, TI_SLICE("a"), &l->a, &value, call, err));
    text[0] = (char)(value.data[0] + 1);
    return ti_txn_put(txn, TI_SLICE("a"), ti_slice_of(text), err);
}

static void m15_an_unknown_outcome_is_not_tried_again(void **state)
{
    (void)state;
    little l;
    ti_kv kv;
    little_begin(&l, NULL);
    mvcc_put(&l.m, "a", "0", 1, 2);
    l.e->vt->ref(l.e);
    test_ok(ti_kv_open(&kv, l.e, NULL, &l.err), &l.err);
    l.meddle = applied_and_lost;
    ti_retry_options options = {.timeout_us = 600000000};
    ti_call call = little_call(&l, 600000);
    test_status(ti_kv_transact(&kv, NULL, &options, add_one, &l, NULL, &call, &l.err),
                TI_OUTCOME_UNKNOWN);
    assert_int_equal(atomic_load(&l.count), 1);
    ti_kv_close(&kv);
    l.meddle = NULL;
    little_again(&l, NULL, 60000);
    little_expect(&l, "a", "1");
    little_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(m15_an_unknown_outcome_is_not_tried_again)};
    return TEST_RUN(tests);
}

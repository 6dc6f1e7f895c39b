/* What is too large for TiKV is refused before a request, and what is not is carried by requests that
 * it takes (raft-entry-max-size: 8 MiB): on the simulated wire. */
#include "tikv/little.h"

#include "base/limits.h"
#include "kv/txn.h"

#define RAFT_ENTRY_SIZE_MAX (8 * 1024 * 1024)

typedef struct weighed {
    int requests;
    size_t heaviest; /* bytes of one request */
} weighed;

/* Counts all requests to stores. */
static bool weigh(little *l, fake_ask *ask)
{
    weighed *w = l->context;
    w->requests++;
    if (ask->request.len > w->heaviest)
        w->heaviest = ask->request.len;
    return false;
}

static void begin(little *l, weighed *w, ti_kv *kv)
{
    little_begin(l, NULL);
    l->context = w;
    l->meddle = weigh;
    l->e->vt->ref(l->e);
    test_ok(ti_kv_open(kv, l->e, NULL, &l->err), &l->err);
}

static void end(little *l, ti_kv *kv)
{
    ti_kv_close(kv);
    little_end(l);
}

static ti_slice big_value(little *l, size_t len)
{
    char *bytes = ti_arena_alloc(&l->a, len);
    assert_non_null(bytes);
    memset(bytes, 'v', len);
    return (ti_slice){.data = bytes, .len = len};
}

/* Puts values of that size under keys a, b, c …; answers the commit's status. */
static ti_status put_all(little *l, ti_kv *kv, size_t value_len, size_t count)
{
    ti_txn *txn = NULL;
    ti_status status = TI_OK;
    ti_slice value = big_value(l, value_len);
    ti_call call = little_call(l, 60000);
    test_ok(ti_txn_begin(kv, NULL, &txn, &l->err), &l->err);
    for (size_t i = 0; status == TI_OK && i < count; i++)
        status =
            ti_txn_put(txn, (ti_slice){.data = &"abcdefghijklmnop"[i], .len = 1}, value, &l->err);
    ti_status committed = ti_txn_commit(txn, NULL, &call, &l->err);
    ti_txn_free(txn);
    assert_int_equal(committed, status);
    return status;
}

static void the_largest_entries_fit_and_larger_ones_are_not_sent(void **state)
{
    (void)state;
    little l;
    weighed w = {0};
    ti_kv kv;
    begin(&l, &w, &kv);
    int pd_before = atomic_load(&l.f.pd_asked[FAKE_PD_TSO]);
    test_status(put_all(&l, &kv, TI_ENTRY_SIZE_MAX, 1), TI_LIMIT_EXCEEDED);
    assert_non_null(strstr(l.err.message, "a key and its value have 6291457 bytes"));
    assert_int_equal(w.requests, 0);
    assert_int_equal(atomic_load(&l.f.pd_asked[FAKE_PD_TSO]), pd_before);
    test_ok(put_all(&l, &kv, TI_ENTRY_SIZE_MAX - 1, 2), &l.err);
    assert_true(w.heaviest > TI_ENTRY_SIZE_MAX);
    assert_true(w.heaviest < RAFT_ENTRY_SIZE_MAX);
    end(&l, &kv);
}

static void a_transaction_too_large_is_not_sent(void **state)
{
    (void)state;
    little l;
    weighed w = {0};
    ti_kv kv;
    begin(&l, &w, &kv);
    test_status(put_all(&l, &kv, TI_TXN_SIZE_MAX / 15, 16), TI_LIMIT_EXCEEDED);
    assert_non_null(strstr(l.err.message, "the transaction writes more than"));
    assert_int_equal(w.requests, 0);
    end(&l, &kv);
}

/* Of many small entries none is sent alone, and no request comes near to what a store refuses. */
static void batches_stay_small(void **state)
{
    (void)state;
    little l;
    weighed w = {0};
    ti_kv kv;
    begin(&l, &w, &kv);
    test_ok(put_all(&l, &kv, 15000, 16), &l.err);
    assert_in_range(atomic_load(&l.f.asked[TI_COMMAND_PREWRITE]), 8, 16);
    assert_true(w.heaviest < 3 * (size_t)TI_BATCH_SIZE);
    end(&l, &kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_entries_fit_and_larger_ones_are_not_sent),
        cmocka_unit_test(a_transaction_too_large_is_not_sent),
        cmocka_unit_test(batches_stay_small),
    };
    return TEST_RUN(tests);
}

/* How much a transaction may write: of keys, of entries, of bytes in all. */
#include "kv/handle.h"

static void limits_are_exact(void **state)
{
    handle h;
    static char key[TI_KEY_SIZE_MAX + 1];
    (void)state;
    handle_open(&h);
    memset(key, 'k', sizeof(key));
    ti_txn *txn = handle_begin(&h);
    ti_slice longest = {.data = key, .len = TI_KEY_SIZE_MAX};
    ti_slice longer = {.data = key, .len = TI_KEY_SIZE_MAX + 1};
    test_ok(ti_txn_put(txn, longest, TI_SLICE("1"), &h.err), &h.err);
    test_status(ti_txn_put(txn, longer, TI_SLICE("1"), &h.err), TI_LIMIT_EXCEEDED);
    ti_txn_free(txn);
    txn = handle_begin(&h);
    test_status(ti_txn_put(txn, TI_SLICE_NONE, TI_SLICE("1"), &h.err), TI_INVALID_ARGUMENT);
    ti_txn_free(txn);
    txn = handle_begin(&h);
    char *big = ti_alloc(TI_ENTRY_SIZE_MAX);
    memset(big, 'v', TI_ENTRY_SIZE_MAX);
    ti_slice most = {.data = big, .len = TI_ENTRY_SIZE_MAX - 1};
    ti_slice more = {.data = big, .len = TI_ENTRY_SIZE_MAX};
    test_ok(ti_txn_put(txn, TI_SLICE("k"), most, &h.err), &h.err);
    test_status(ti_txn_put(txn, TI_SLICE("k"), more, &h.err), TI_LIMIT_EXCEEDED);
    assert_non_null(strstr(h.err.message, "a key and its value have 6291457 bytes"));
    test_status(handle_end(&h, txn), TI_LIMIT_EXCEEDED);
    txn = handle_begin(&h);
    size_t whole = TI_TXN_SIZE_MAX / TI_ENTRY_SIZE_MAX;
    for (size_t i = 0; i < whole; i++)
        test_ok(ti_txn_put(txn, (ti_slice){.data = &"abcdefghijklmnop"[i], .len = 1}, most, &h.err),
                &h.err);
    ti_slice rest = {.data = big, .len = TI_TXN_SIZE_MAX - whole * TI_ENTRY_SIZE_MAX - 1};
    test_ok(ti_txn_put(txn, TI_SLICE("z"), rest, &h.err), &h.err);
    test_status(ti_txn_delete(txn, TI_SLICE("zz"), &h.err), TI_LIMIT_EXCEEDED);
    assert_non_null(strstr(h.err.message, "the transaction writes more than"));
    test_status(handle_end(&h, txn), TI_LIMIT_EXCEEDED);
    ti_free(big);
    handle_close(&h);
}

static void mutations_are_limited(void **state)
{
    handle h;
    (void)state;
    handle_open(&h);
    ti_txn *txn = handle_begin(&h);
    for (unsigned i = 0; i < TI_TXN_MUTATIONS_MAX; i++) {
        char key[16];
        int len = snprintf(key, sizeof(key), "%07u", (i * 7919u) % 1000000u);
        test_ok(ti_txn_put(txn, (ti_slice){.data = key, .len = (size_t)len}, TI_SLICE("v"), &h.err),
                &h.err);
    }
    test_ok(ti_txn_put(txn, TI_SLICE("0000000"), TI_SLICE("again"), &h.err), &h.err);
    test_status(ti_txn_put(txn, TI_SLICE("x"), TI_SLICE("v"), &h.err), TI_LIMIT_EXCEEDED);
    ti_txn_free(txn);
    handle_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(mutations_are_limited),
    };
    return TEST_RUN(tests);
}

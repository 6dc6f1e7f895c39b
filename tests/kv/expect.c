/* What a transaction expects to be as an earlier snapshot showed it. */
#include "kv/handle.h"

/* A snapshot of now that is given back. */
static ti_ts seen(handle *h)
{
    ti_ts ts;
    ti_txn *txn = handle_begin(h);
    test_ok(ti_txn_start_ts(txn, &ts, &h->call, &h->err), &h->err);
    ti_txn_free(txn);
    return ts;
}

/* Deletes key, which is expected to be as it was at since. */
static ti_txn *deletes(handle *h, const char *key, ti_ts since)
{
    ti_txn *txn = handle_begin(h);
    test_ok(ti_txn_delete(txn, ti_slice_of(key), &h->err), &h->err);
    ti_txn_expect(txn, ti_slice_of(key), since);
    return txn;
}

static void shows(handle *h, const char *key, const char *value)
{
    ti_txn *txn = handle_begin(h);
    handle_expect(h, txn, key, value);
    ti_txn_free(txn);
}

static void unchanged_is_committed_changed_is_not(void **state)
{
    handle h;
    (void)state;
    handle_open(&h);
    handle_set(&h, "a", "1");
    handle_set(&h, "b", "1");
    ti_ts since = seen(&h);
    handle_set(&h, "b", "1"); /* the same again is a change */
    handle_set(&h, "c", "1");
    test_ok(handle_end(&h, deletes(&h, "a", since)), &h.err);
    test_status(handle_end(&h, deletes(&h, "b", since)), TI_CONFLICT);
    test_status(handle_end(&h, deletes(&h, "a", since)), TI_CONFLICT); /* it is gone since */
    shows(&h, "a", NULL);
    shows(&h, "b", "1");
    test_ok(handle_end(&h, deletes(&h, "b", seen(&h))), &h.err);
    shows(&h, "b", NULL);
    handle_close(&h);
}

static void each_key_has_its_own_since(void **state)
{
    handle h;
    (void)state;
    handle_open(&h);
    handle_set(&h, "early", "1");
    ti_ts before = seen(&h);
    handle_set(&h, "late", "1");
    ti_ts after = seen(&h);
    ti_txn *txn = deletes(&h, "early", before);
    test_ok(ti_txn_put(txn, TI_SLICE("late"), TI_SLICE("2"), &h.err), &h.err);
    ti_txn_expect(txn, TI_SLICE("late"), after);
    handle_set(&h, "other", "1");
    test_ok(ti_txn_put(txn, TI_SLICE("other"), TI_SLICE("2"), &h.err), &h.err);
    test_ok(handle_end(&h, txn), &h.err); /* of the others nothing was read */
    shows(&h, "early", NULL);
    shows(&h, "late", "2");
    shows(&h, "other", "2");
    txn = deletes(&h, "other", seen(&h));
    test_ok(ti_txn_delete(txn, TI_SLICE("late"), &h.err), &h.err);
    ti_txn_expect(txn, TI_SLICE("late"), before);
    test_status(handle_end(&h, txn), TI_CONFLICT);
    shows(&h, "other", "2"); /* all or nothing */
    handle_close(&h);
}

/* A change that is being written counts, also after the expectation was noted. */
static void a_change_between_counts(void **state)
{
    handle h;
    (void)state;
    handle_open(&h);
    handle_set(&h, "a", "1");
    ti_txn *txn = deletes(&h, "a", seen(&h));
    ti_ts start;
    test_ok(ti_txn_start_ts(txn, &start, &h.call, &h.err), &h.err);
    handle_set(&h, "a", "2");
    test_status(handle_end(&h, txn), TI_CONFLICT);
    txn = deletes(&h, "a", seen(&h));
    handle_set(&h, "a", "3");
    test_status(handle_end(&h, txn), TI_CONFLICT);
    shows(&h, "a", "3");
    handle_close(&h);
}

/* The engine remembers so many keys: what it has forgotten it does not call unchanged. */
static void what_is_forgotten_is_no_promise(void **state)
{
    handle h;
    char name[16];
    (void)state;
    handle_open(&h);
    handle_set(&h, "a", "1");
    ti_ts since = seen(&h);
    handle_set(&h, "a", "2");
    for (int i = 0; i < 4 * TI_ROCKS_RECENT_SLOTS_MAX; i++) {
        snprintf(name, sizeof(name), "k%d", i);
        handle_set(&h, name, "1");
    }
    test_status(handle_end(&h, deletes(&h, "a", since)), TI_CONFLICT);
    test_ok(handle_end(&h, deletes(&h, "a", seen(&h))), &h.err);
    handle_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unchanged_is_committed_changed_is_not),
        cmocka_unit_test(each_key_has_its_own_since),
        cmocka_unit_test(a_change_between_counts),
        cmocka_unit_test(what_is_forgotten_is_no_promise),
    };
    return TEST_RUN(tests);
}

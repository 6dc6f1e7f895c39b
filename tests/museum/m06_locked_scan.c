/* M6, rows that were gone for a while (client-c PR#56, tikv#9120): a scan looked at the errors of
 * its pairs, but not at that of the whole answer, which a lock in the store's memory gives, and
 * took an answer without pairs for the end of the region.
 *
 * Here: the same page is asked for again. */
#include "tikv/little.h"

#define ROWS 99

/* The page with a lock of a dead transaction: an error of the answer, and no pairs. */
static bool locked_as_a_whole(little *l, fake_ask *ask)
{
    Kvrpcpb__ScanResponse out = KVRPCPB__SCAN_RESPONSE__INIT;
    Kvrpcpb__KeyError error = KVRPCPB__KEY_ERROR__INIT;
    Kvrpcpb__LockInfo lock = KVRPCPB__LOCK_INFO__INIT;
    if (ask->kind != TI_COMMAND_SCAN || atomic_fetch_add(&l->count, 1) > 0)
        return false;
    lock.key = lock.primary_lock = ti_pb_bytes(TI_SLICE("k50"));
    lock.lock_version = 1000;
    lock.lock_ttl = 1;
    lock.lock_type = KVRPCPB__OP__Put;
    error.locked = &lock;
    out.error = &error;
    fake_say(ask, &out.base);
    return true;
}

static void m6_a_locked_answer_is_asked_for_again(void **state)
{
    (void)state;
    for (int reverse = 0; reverse < 2; reverse++) {
        little l;
        ti_scan_page page;
        ti_snapshot *s = NULL;
        char key[8];
        little_begin(&l, NULL);
        for (int i = 0; i < ROWS; i++) {
            snprintf(key, sizeof(key), "k%02d", i);
            mvcc_put(&l.m, key, "1", 1, 2);
        }
        l.meddle = locked_as_a_whole;
        ti_call call = little_call(&l, 60000);
        ti_scan what = {.range = {.from = TI_SLICE("k"), .to = TI_SLICE("l")},
                        .reverse = reverse == 1,
                        .items_max = 1000};
        test_ok(l.e->vt->begin(l.e, TI_TS_NONE, &s, &call, &l.err), &l.err);
        test_ok(l.e->vt->scan(s, &what, &l.a, &page, &call, &l.err), &l.err);
        assert_int_equal(page.count, ROWS);
        l.e->vt->release(s);
        little_end(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(m6_a_locked_answer_is_asked_for_again)};
    return TEST_RUN(tests);
}

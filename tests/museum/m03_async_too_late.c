/* M3, async commit that came too late (tidb#33641, client-go PR#499): a store refused async commit
 * because max_commit_ts had passed, and success was reported all the same, at a timestamp that
 * readers had left behind.
 *
 * Here: one refusal makes it 2PC for all keys, at a timestamp above every reader's. */
#include "tikv/little.h"

static uint64_t reader_ts;

/* The second region is busy until max_commit_ts has passed; then somebody reads in it. */
static bool slow_in_one_region(little *l, fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__ServerIsBusy busy = ERRORPB__SERVER_IS_BUSY__INIT;
    if (ask->kind != TI_COMMAND_PREWRITE)
        return false;
    Kvrpcpb__PrewriteRequest *r = mvcc_unpack(&kvrpcpb__prewrite_request__descriptor, ask);
    if (r->mutations[0]->key.data[0] != 'z')
        return false;
    if (atomic_fetch_add(&l->count, 1) < 3) {
        error.server_is_busy = &busy;
        fake_region_error(ask, &error);
        return true;
    }
    reader_ts = fake_now(&l->f);
    l->m.max_ts = reader_ts;
    return false;
}

static void m3_a_late_async_commit_is_no_async_commit(void **state)
{
    static const char *const two[] = {"m", NULL};
    static const char *const keys[] = {"a", "z", NULL};
    (void)state;
    little l;
    little_begin(&l, two);
    mvcc_put(&l.m, "z", "old", 1, 2);
    l.meddle = slow_in_one_region;
    uint64_t start_ts = little_now(&l);
    test_ok(little_put(&l, start_ts, keys, "new", 60000), &l.err);
    assert_true(l.commit_ts > reader_ts); /* else the reader's snapshot has changed */
    for (int i = 0; i < 2000 && mvcc_locks(&l.m) > 0; i++)
        usleep(1000);
    assert_true(mvcc_committed_at(&l.m, TI_SLICE("a"), start_ts) == l.commit_ts);
    assert_true(mvcc_committed_at(&l.m, TI_SLICE("z"), start_ts) == l.commit_ts);
    little_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(m3_a_late_async_commit_is_no_async_commit)};
    return TEST_RUN(tests);
}

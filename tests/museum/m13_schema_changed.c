/* M13, writes by an old schema (tidb#20910, #71055, #21289): a transaction that had begun before an
 * index was made committed after it, without the index's entries.
 *
 * Here: the catalog's lease bounds the commit timestamp (not_after), and the engine holds the bound
 * in all three modes, however late the answers come. That the model sets it: tests/model,
 * catalog. */
#include "tikv/little.h"

/* Every answer to a prewrite takes three seconds. */
static bool slowly(little *l, fake_ask *ask)
{
    if (ask->kind != TI_COMMAND_PREWRITE)
        return false;
    mvcc_answer(&l->m, ask);
    ask->delay_ms = 3000;
    return true;
}

/* Is busy at first, so that the prewrite itself comes late. */
static bool busy_first(little *l, fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__ServerIsBusy busy = ERRORPB__SERVER_IS_BUSY__INIT;
    if (ask->kind != TI_COMMAND_PREWRITE)
        return false;
    if (ask->number > 4) {
        uint64_t now = fake_now(&l->f);
        l->m.max_ts = now > l->m.max_ts ? now : l->m.max_ts; /* somebody reads there */
        return false;
    }
    error.server_is_busy = &busy;
    fake_region_error(ask, &error);
    return true;
}

typedef bool (*meddler)(little *l, fake_ask *ask);

static void commit_late(meddler meddle, bool long_keys, bool one_region)
{
    static const char *const two[] = {"m", NULL};
    little l;
    ti_mutation list[2] = {{.value = TI_SLICE("new")}, {.value = TI_SLICE("new")}};
    little_begin(&l, one_region ? NULL : two);
    l.meddle = meddle;
    list[0].key = ti_slice_of(long_keys ? little_long(&l, 'a') : "a");
    list[1].key = ti_slice_of(long_keys ? little_long(&l, 'z') : "z");
    ti_ts start_ts = little_now(&l);
    ti_ts bound = ti_ts_add_us(start_ts, 1000000);
    ti_commit_request request = {
        .start_ts = start_ts, .not_after = bound, .mutations = list, .count = 2};
    ti_call call = little_call(&l, 60000);
    ti_status status = little_commit_within(&l, &request, &call);
    if (status == TI_OK)
        assert_true(l.commit_ts <= bound);
    else
        assert_int_equal(status, TI_CONFLICT);
    l.meddle = NULL;
    for (int i = 0; i < 5000 && mvcc_locks(&l.m) > 0; i++)
        usleep(1000);
    for (int i = 0; i < 2; i++) {
        uint64_t at = mvcc_committed_at(&l.m, list[i].key, start_ts);
        assert_true((at != 0) == (status == TI_OK));
        assert_true(at <= bound);
    }
    little_end(&l);
}

static void m13_no_commit_is_later_than_its_bound(void **state)
{
    (void)state;
    for (int mode = 0; mode < 3; mode++) {
        commit_late(slowly, mode == 2, mode == 0);
        commit_late(busy_first, mode == 2, mode == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(m13_no_commit_is_later_than_its_bound)};
    return TEST_RUN(tests);
}

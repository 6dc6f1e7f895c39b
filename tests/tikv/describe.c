/* What a cluster looks like: members, stores, regions, old versions, and the locks of the dead, on
 * the simulated wire. */
#include "tikv/little.h"

#include <string.h>

static const char *const three[] = {"h", "p", NULL};

/* Describes; the text is in out, which the test frees. */
static ti_status describe(little *l, const ti_describe *what, ti_buf *out)
{
    ti_call call = little_call(l, 60000);
    ti_buf_init(out, (size_t)1 << 20);
    ti_err_clear(&l->err);
    ti_status status = l->e->vt->describe(l->e, what, out, &call, &l->err);
    if (status == TI_OK)
        test_ok(ti_buf_append_byte(out, 0, &l->err), &l->err);
    return status;
}

static void expect(const ti_buf *out, const char *part)
{
    if (strstr(out->data, part) == NULL)
        fail_msg("there is no %s in %s", part, out->data);
}

static void expect_without(const ti_buf *out, const char *part)
{
    if (strstr(out->data, part) != NULL)
        fail_msg("there is %s in %s", part, out->data);
}

/* A PD that says more than it must, and whose safe point is held back. */
static void tell_more(fake_pd_ask *ask)
{
    if (ask->kind == FAKE_PD_GET_STORE) {
        ti_err err;
        Pdpb__GetStoreResponse *r =
            ti_pb_unpack(&pdpb__get_store_response__descriptor, ask->answer, ask->a, &err);
        Pdpb__StoreStats stats = PDPB__STORE_STATS__INIT;
        char version[] = "8.5.\"0\"\x01";
        stats.capacity = 1000;
        stats.available = 250;
        r->store->version = version;
        r->store->last_heartbeat = 7000;
        r->store->state = r->store->id == 2 ? METAPB__STORE_STATE__Offline : r->store->state;
        r->stats = &stats;
        ask->answer = ti_pb_pack(&r->base, ask->a);
    } else if (ask->kind == FAKE_PD_SERVICE_SAFE_POINT) {
        Pdpb__UpdateServiceGCSafePointResponse r = PDPB__UPDATE_SERVICE_GCSAFE_POINT_RESPONSE__INIT;
        r.service_id = ti_pb_bytes(TI_SLICE("backup"));
        r.min_safe_point = UINT64_C(3590000) << TI_TS_LOGICAL_BITS;
        r.ttl = 60;
        ask->answer = ti_pb_pack(&r.base, ask->a);
    }
}

static void members_stores_and_regions_are_told(void **state)
{
    (void)state;
    little l;
    ti_buf out;
    ti_describe what = {.range = {.from = TI_SLICE("a"), .to = TI_SLICE("k")}, .regions = true};
    little_begin_closed(&l, three);
    l.f.regions[1].leader = 2;
    l.f.pd_answer = tell_more;
    l.f.safe_point = UINT64_C(3580000) << TI_TS_LOGICAL_BITS;
    l.e = fake_open(&l.f);
    test_ok(describe(&l, &what, &out), &l.err);
    expect(&out, "\"leader\":true,\"urls\":[\"http://pd1:1\"]}");
    expect(&out, "\"leader\":false,\"urls\":[\"http://pd2:1\"]}");
    expect(&out, "\"regions\":{\"list\":[{\"id\":");
    expect(&out, "\"start\":\"\",\"end\":\"68\",\"leader\":1,");
    expect(&out, "\"start\":\"68\",\"end\":\"70\",\"leader\":2,");
    expect(&out, "],\"count\":2}"); /* the third has none of the keys */
    expect(
        &out,
        "\"address\":\"s2:1\",\"state\":\"offline\",\"version\":\"8.5.\\\"0\\\"?\",\"heard_us\":7,"
        "\"capacity\":1000,\"available\":250,\"leads\":1}");
    expect(&out, "\"address\":\"s3:1\",\"state\":\"up\"");
    expect(&out, "\"leads\":0}");
    expect(&out, "\"held_by\":{\"service\":\"backup\"");
    expect(&out, "\"ttl_s\":60}");
    expect(&out, "{\"kind\":\"timestamp\",\"least_us\":");
    expect(&out, "{\"kind\":\"get\",\"store\":1,");
    expect(&out, "{\"kind\":\"scan\",\"store\":2,");
    expect_without(&out, "\"store\":3,");
    expect_without(&out, "\"locks\"");
    ti_buf_free(&out);
    little_end(&l);
}

static void a_pd_that_is_silent_ends_it_in_words(void **state)
{
    (void)state;
    little l;
    ti_buf out;
    ti_describe what = {.range = {.from = TI_SLICE("a"), .to = TI_SLICE("k")}};
    little_begin(&l, NULL);
    for (int i = 0; i < FAKE_PDS; i++)
        l.f.dead[i] = true;
    ti_status status = describe(&l, &what, &out);
    assert_true(status == TI_UNAVAILABLE || status == TI_TIMEOUT);
    assert_true(l.err.message[0] != '\0');
    ti_buf_free(&out);
    little_end(&l);
}

/* The client dies when it has locked its keys. */
static bool commits_are_lost(little *l, fake_ask *ask)
{
    (void)l;
    ask->silent = ask->kind == TI_COMMAND_COMMIT || ask->kind == TI_COMMAND_BATCH_ROLLBACK ||
                  ask->kind == TI_COMMAND_TXN_HEART_BEAT;
    return ask->silent;
}

static void locks_of_the_dead_are_listed_and_cleared(void **state)
{
    (void)state;
    little l;
    ti_buf out;
    mvcc_lock lock;
    ti_describe what = {.range = {.from = TI_SLICE("b"), .to = TI_SLICE("zz")},
                        .locks = true,
                        .lock_age_us = 10000000};
    little_begin(&l, three);
    l.meddle = commits_are_lost;
    const char *keys[] = {"a", "i", little_long(&l, 'q'), little_long(&l, 'y'), NULL};
    (void)little_put(&l, little_now(&l), keys, "x", 200);
    assert_true(mvcc_lock_of(&l.m, "i", &lock));
    little_again(&l, three, 1000);
    l.meddle = NULL;

    test_ok(describe(&l, &what, &out), &l.err); /* they are not that old yet */
    expect(&out, "\"locks\":{\"list\":[],\"count\":0}");
    ti_buf_free(&out);

    sim_run(l.f.sim, 60000);
    test_ok(describe(&l, &what, &out), &l.err);
    expect(&out, "\"locks\":{\"list\":[{\"key\":\"69\",\"primary\":\"61\",");
    expect(&out, "\"kind\":\"put\"}");
    expect(&out, "],\"count\":3}"); /* the primary is out of range */
    expect_without(&out, "\"resolved\"");
    ti_buf_free(&out);
    assert_true(mvcc_lock_of(&l.m, "i", &lock));

    what.resolve = true;
    test_ok(describe(&l, &what, &out), &l.err);
    expect(&out, "],\"count\":3,\"resolved\":");
    expect_without(&out, "\"resolved\":0}");
    ti_buf_free(&out);
    assert_false(mvcc_lock_of(&l.m, "i", &lock));
    little_expect(&l, "i", "");
    little_end(&l);
}

static void locks_of_the_living_stay(void **state)
{
    (void)state;
    little l;
    ti_buf out;
    mvcc_lock lock;
    ti_locks *locks = NULL;
    ti_describe what = {
        .range = {.from = TI_SLICE("a"), .to = TI_SLICE("zz")}, .locks = true, .resolve = true};
    little_begin(&l, three);
    test_ok(little_lock(&l, &locks, little_now(&l), "i", -1, 60000), &l.err);
    sim_run(l.f.sim, 2000);
    test_ok(describe(&l, &what, &out), &l.err);
    expect(&out, "\"kind\":\"pessimistic\"}],\"count\":1,\"resolved\":0}");
    ti_buf_free(&out);
    assert_true(mvcc_lock_of(&l.m, "i", &lock));
    l.e->vt->unlock(l.e, locks);
    little_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_stores_and_regions_are_told),
        cmocka_unit_test(a_pd_that_is_silent_ends_it_in_words),
        cmocka_unit_test(locks_of_the_dead_are_listed_and_cleared),
        cmocka_unit_test(locks_of_the_living_stay),
    };
    return TEST_RUN(tests);
}

/* What is asked of all stores, or holds for all readers: ranges that are destroyed, safe points. On
 * the simulated wire. */
#include "tikv/little.h"

static const char *const three[] = {"h", "p", NULL};
static const char *const keys[] = {"a", "i", "q"};

/* ---- destroy_range ---- */

/* Three regions, each led by a store of its own. */
static void begin_spread(little *l)
{
    little_begin_closed(l, three);
    for (uint64_t i = 0; i < 3; i++)
        l->f.regions[i].leader = i + 1;
    l->e = fake_open(&l->f);
    for (int i = 0; i < 3; i++)
        mvcc_put(&l->m, keys[i], "1", 1, 2);
    mvcc_put(&l->m, "z", "1", 1, 2);
}

static ti_status destroy(little *l)
{
    ti_call call = little_call(l, 60000);
    ti_range range = {.from = TI_SLICE("a"), .to = TI_SLICE("z")};
    ti_err_clear(&l->err);
    return l->e->vt->destroy_range(l->e, range, &call, &l->err);
}

static void a_range_is_destroyed_on_every_store(void **state)
{
    (void)state;
    little l;
    begin_spread(&l);
    test_ok(destroy(&l), &l.err);
    assert_int_equal(atomic_load(&l.f.asked[TI_COMMAND_UNSAFE_DESTROY_RANGE]), 3);
    for (int i = 0; i < 3; i++)
        little_expect(&l, keys[i], "");
    little_expect(&l, "z", "1");
    little_end(&l);
}

static bool one_refuses(little *l, fake_ask *ask)
{
    Kvrpcpb__UnsafeDestroyRangeResponse out = KVRPCPB__UNSAFE_DESTROY_RANGE_RESPONSE__INIT;
    (void)l;
    if (ask->kind != TI_COMMAND_UNSAFE_DESTROY_RANGE || ask->store != 2)
        return false;
    out.error = "no space left near key 74696E00AABBCC";
    fake_say(ask, &out.base);
    return true;
}

static void a_store_that_refuses_is_named(void **state)
{
    (void)state;
    little l;
    begin_spread(&l);
    l.meddle = one_refuses;
    test_status(destroy(&l), TI_UNAVAILABLE);
    assert_string_equal(l.err.message,
                        "s2:1 can not destroy the range: no space left near key ...");
    l.meddle = NULL;
    test_ok(destroy(&l), &l.err); /* as often as it takes */
    little_expect(&l, keys[1], "");
    little_end(&l);
}

/* The second store is one of TiFlash's, the third has a label that says nothing of the kind. */
static void labels_stores(fake_pd_ask *ask)
{
    ti_err err;
    if (ask->kind != FAKE_PD_GET_ALL_STORES)
        return;
    Pdpb__GetAllStoresResponse *r =
        ti_pb_unpack(&pdpb__get_all_stores_response__descriptor, ask->answer, ask->a, &err);
    ti_require(r != NULL && r->n_stores == 3);
    Metapb__StoreLabel engine = METAPB__STORE_LABEL__INIT;
    Metapb__StoreLabel zone = METAPB__STORE_LABEL__INIT;
    Metapb__StoreLabel *engines[] = {&zone, &engine};
    Metapb__StoreLabel *zones[] = {&zone};
    engine.key = "engine";
    engine.value = "tiflash";
    zone.key = "zone";
    zone.value = "tiflash-1";
    r->stores[1]->labels = engines;
    r->stores[1]->n_labels = 2;
    r->stores[2]->labels = zones;
    r->stores[2]->n_labels = 1;
    ask->answer = ti_pb_pack(&r->base, ask->a);
}

static bool knows_no_such_command(little *l, fake_ask *ask)
{
    (void)l;
    ask->cut = ask->kind == TI_COMMAND_UNSAFE_DESTROY_RANGE && ask->store == 2;
    ask->failure = TI_UNSUPPORTED;
    return ask->cut;
}

static void stores_for_analyses_are_left_alone(void **state)
{
    (void)state;
    little l;
    begin_spread(&l);
    l.f.regions[1].leader = 1;
    l.f.pd_answer = labels_stores;
    l.meddle = knows_no_such_command;
    test_ok(destroy(&l), &l.err);
    assert_int_equal(atomic_load(&l.f.asked[TI_COMMAND_UNSAFE_DESTROY_RANGE]), 2);
    for (int i = 0; i < 3; i++)
        little_expect(&l, keys[i], "");
    little_end(&l);
}

/* ---- Reads older than the safe point ---- */

static ti_status get_in(little *l, ti_snapshot *s)
{
    ti_slice value;
    ti_call call = little_call(l, 60000);
    return l->e->vt->get(s, TI_SLICE("a"), &l->a, &value, &call, &l->err);
}

static ti_status get_many_in(little *l, ti_snapshot *s)
{
    ti_slice values[3];
    ti_slice names[3];
    ti_call call = little_call(l, 60000);
    for (int i = 0; i < 3; i++)
        names[i] = ti_slice_of(keys[i]);
    return l->e->vt->batch_get(s, names, 3, &l->a, values, &call, &l->err);
}

static ti_status scan_in(little *l, ti_snapshot *s)
{
    ti_scan_page page;
    ti_scan what = {.range = {.from = TI_SLICE("a"), .to = TI_SLICE("z")}, .items_max = 10};
    ti_call call = little_call(l, 60000);
    return l->e->vt->scan(s, &what, &l->a, &page, &call, &l->err);
}

static ti_snapshot *snapshot_of(little *l)
{
    ti_snapshot *s = NULL;
    ti_call call = little_call(l, 60000);
    test_ok(l->e->vt->begin(l->e, TI_TS_NONE, &s, &call, &l->err), &l->err);
    return s;
}

static ti_status (*const reads[])(little *l, ti_snapshot *s) = {get_in, get_many_in, scan_in};

static void no_read_of_any_kind_is_older_than_the_safe_point(void **state)
{
    (void)state;
    little l;
    begin_spread(&l);
    ti_snapshot *s = snapshot_of(&l);
    for (size_t i = 0; i < 3; i++)
        test_ok(reads[i](&l, s), &l.err);
    ti_call call = little_call(&l, 60000);
    test_ok(l.e->vt->gc(l.e, 0, &call, &l.err), &l.err);
    for (size_t i = 0; i < 3; i++) {
        test_status(reads[i](&l, s), TI_CONFLICT);
        assert_non_null(strstr(l.err.message, "older than the garbage collector's safe point"));
    }
    l.e->vt->release(s);
    s = snapshot_of(&l);
    for (size_t i = 0; i < 3; i++)
        test_ok(reads[i](&l, s), &l.err);
    l.e->vt->release(s);
    little_end(&l);
}

/* Another client has collected: it is looked for now and then, as the stores themselves do. */
static void the_safe_point_of_others_is_learnt(void **state)
{
    (void)state;
    little l;
    ti_status status = TI_OK;
    begin_spread(&l);
    ti_snapshot *s = snapshot_of(&l);
    test_ok(get_in(&l, s), &l.err);
    l.f.safe_point = fake_now(&l.f);
    sim_run(l.f.sim, TI_SAFE_POINT_LOOK_MS + 1000);
    for (int i = 0; i < 60000 && status == TI_OK; i++) {
        status = get_in(&l, s); /* the first of these has it looked at in the background */
        usleep(1000);
    }
    test_status(status, TI_CONFLICT);
    l.e->vt->release(s);
    little_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_destroyed_on_every_store),
        cmocka_unit_test(a_store_that_refuses_is_named),
        cmocka_unit_test(stores_for_analyses_are_left_alone),
        cmocka_unit_test(no_read_of_any_kind_is_older_than_the_safe_point),
        cmocka_unit_test(the_safe_point_of_others_is_learnt),
    };
    return TEST_RUN(tests);
}

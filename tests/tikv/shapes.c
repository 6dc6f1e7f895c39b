/* Reads over many regions, and regions that change under them: lines 13, 18, 20, 23, 24, 34, 35, 37
 * and 38 of the conformance list, on the simulated wire. */
#include "tikv/little.h"

#include "tikv/region.h"
#include "tikv/region_key.h"

/* ---- 13: the memcomparable form ---- */

static void what_servers_say_is_told_without_keys(void **state)
{
    (void)state;
    char cut[2 * TI_SAID_SIZE];
    static const char *const told[][2] = {
        {"", ""},
        {"region 104 is not found", "region 104 is not found"},
        {"Key 7480000000000000FE is not in region key range [, 7A) for region 12",
         "Key ... is not in region key range [, 7A) for region 12"},
        {"Key 748000000000000000FE00 is", "Key ... is"},
        {"748000000000000000000000", "..."}, /* more digits than a number has */
        /* The shortest of keys, as it is and in the memcomparable form; what is shorter holds no
         * more than the begin of its first segment. */
        {"key 7461626C653A613A31 and 7461626c653a613a31", "key ... and ..."},
        {"key 7461626C653A613AFF3100000000000000F8", "key ..."},
        {"key 6D6574613A61", "key ..."},
        {"region [746162, 7A)", NULL},
        {"at 470651909929435137 and 18446744073709551615", NULL},
        {"Error(Txn(Mvcc(PessimisticLockNotFound { start_ts: 7, key: [116, 0, 255], n: 1 })))",
         "Error(Txn(Mvcc(PessimisticLockNotFound { start_ts: 7, key: ..., n: 1 })))"},
        {"key: [116, 0, 25", "key: ..."}, /* cut */
        {"[region 12] 5 not initialized", NULL},
        {"key \"a\\\"b\" and \"c", "key ... and ..."},
        {"Deadline is exceeded", NULL},
        {"accede to deadbeef99 or feed", "accede to ... or feed"},
        {"store_id deadbeefdeadbeef_x", NULL},
    };
    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
        ti_said said = ti_said_by(told[i][0]);
        assert_string_equal(said.text, told[i][1] != NULL ? told[i][1] : told[i][0]);
    }
    memset(cut, 'x', sizeof(cut) - 1);
    cut[sizeof(cut) - 1] = '\0';
    assert_in_range(strlen(ti_said_by(cut).text), TI_SAID_SIZE - 8, TI_SAID_SIZE - 1);
    for (size_t i = 0; i + 2 < sizeof(cut); i += 2)
        memcpy(&cut[i], "[1", 2);
    assert_in_range(strlen(ti_said_by(cut).text), TI_SAID_SIZE - 8, TI_SAID_SIZE - 1);
}

static void keys_keep_their_order_and_come_back(void **state)
{
    (void)state;
    static const char *const samples[] = {"",          "a", "1234567", "12345678",
                                          "123456789", "b", "ab",      "zzzzzzzzzzzzzzzz"};
    ti_arena a;
    ti_err err;
    test_random random = test_random_start(13);
    ti_arena_init(&a);
    for (size_t i = 0; i < test_scaled(2000); i++) {
        ti_slice keys[2];
        ti_slice encoded[2];
        for (size_t k = 0; k < 2; k++) {
            char bytes[40];
            size_t len = test_random_below(&random, sizeof(bytes));
            for (size_t b = 0; b < len; b++) /* mostly the extremes */
                bytes[b] = test_random_one_in(&random, 2) ? (char)0xff : 0;
            bool sample = i < 8 && k == 0;
            keys[k] = ti_arena_copy(&a, sample ? ti_slice_of(samples[i])
                                               : (ti_slice){.data = bytes, .len = len});
            encoded[k] = ti_region_key_encode(&a, keys[k]);
            assert_int_equal(encoded[k].len, (keys[k].len / 8 + 1) * 9);
            ti_slice back;
            test_ok(ti_region_key_decode(&a, encoded[k], &back, &err), &err);
            assert_true(ti_slice_equal(back, keys[k]));
        }
        int order = ti_slice_compare(keys[0], keys[1]);
        int encoded_order = ti_slice_compare(encoded[0], encoded[1]);
        assert_true((order < 0) == (encoded_order < 0) && (order > 0) == (encoded_order > 0));
    }
    ti_slice empty = ti_region_key_encode(&a, TI_SLICE(""));
    assert_memory_equal(empty.data, "\0\0\0\0\0\0\0\0\xf7", 9);
    ti_slice bound;
    test_ok(ti_region_key_decode(&a, TI_SLICE(""), &bound, &err), &err);
    assert_int_equal(bound.len, 0); /* no bound */
    test_status(ti_region_key_decode(&a, TI_SLICE("12345678\xf0"), &bound, &err), TI_CORRUPT);
    ti_arena_free(&a);
}

/* ---- 18: one lookup for many ---- */

static void look_slowly(fake_pd_ask *ask)
{
    if (ask->kind == FAKE_PD_GET_REGION)
        ask->delay_ms = 500;
}

static void *read_once(void *context)
{
    little *l = context;
    ti_slice value;
    ti_arena a;
    ti_err err;
    ti_snapshot *s = NULL;
    ti_call call = little_call(l, 60000);
    ti_arena_init(&a);
    ti_err_clear(&err);
    if (l->e->vt->begin(l->e, TI_TS_NONE, &s, &call, &err) == TI_OK) {
        ti_status status = l->e->vt->get(s, TI_SLICE("a"), &a, &value, &call, &err);
        atomic_fetch_add(&l->count, status == TI_OK);
        if (status != TI_OK)
            fprintf(stderr, "a reader: %s %s\n", ti_status_name(status), err.message);
        l->e->vt->release(s);
    }
    ti_arena_free(&a);
    return NULL;
}

static void many_misses_are_one_lookup(void **state)
{
    (void)state;
    little l;
    ti_thread threads[16];
    little_begin(&l, NULL);
    mvcc_put(&l.m, "a", "1", 1, 2);
    l.f.pd_answer = look_slowly;
    for (int i = 0; i < 16; i++)
        test_ok(ti_thread_start(&threads[i], "reader", read_once, &l, &l.err), &l.err);
    for (int i = 0; i < 16; i++)
        ti_thread_join(&threads[i]);
    assert_int_equal(atomic_load(&l.count), 16);
    assert_int_equal(atomic_load(&l.f.lookups), 1);
    little_end(&l);
}

static void tell_members_slowly(fake_pd_ask *ask)
{
    if (ask->kind == FAKE_PD_GET_MEMBERS)
        ask->delay_ms = 500;
}

/* PD's leader dies under many callers: one of them asks who leads now, while PD has enough to do. */
static void many_look_for_the_leader_once(void **state)
{
    (void)state;
    little l;
    ti_thread threads[16];
    little_begin(&l, NULL);
    mvcc_put(&l.m, "a", "1", 1, 2);
    l.f.pd_answer = tell_members_slowly;
    l.f.dead[0] = true;
    l.f.leader = 1;
    int before = atomic_load(&l.f.members_asked);
    for (int i = 0; i < 16; i++)
        test_ok(ti_thread_start(&threads[i], "reader", read_once, &l, &l.err), &l.err);
    for (int i = 0; i < 16; i++)
        ti_thread_join(&threads[i]);
    assert_int_equal(atomic_load(&l.count), 16);
    assert_in_range(atomic_load(&l.f.members_asked) - before, 1, 2);
    little_end(&l);
}

/* ---- Peers that can not lead ---- */

/* The peer on the second store is a learner: on TiFlash, or not caught up. */
static void second_peer_learns(fake_pd_ask *ask)
{
    ti_err err;
    if (ask->kind != FAKE_PD_GET_REGION)
        return;
    Pdpb__GetRegionResponse *r =
        ti_pb_unpack(&pdpb__get_region_response__descriptor, ask->answer, ask->a, &err);
    ti_require(r != NULL);
    r->region->peers[1]->role = METAPB__PEER_ROLE__Learner;
    ask->answer = ti_pb_pack(&r->base, ask->a);
}

/* The first store leads no more, and does not know who does: the third. */
static bool leads_no_more(little *l, fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__NotLeader elsewhere = ERRORPB__NOT_LEADER__INIT;
    atomic_fetch_add(&l->count, ask->store == 2);
    if (ask->store == 3)
        return false;
    error.not_leader = &elsewhere;
    fake_region_error(ask, &error);
    return true;
}

static void learners_are_not_asked(void **state)
{
    (void)state;
    little l;
    little_begin_closed(&l, NULL);
    l.f.regions[0].leader = 1;
    l.f.pd_answer = second_peer_learns;
    l.meddle = leads_no_more;
    l.e = fake_open(&l.f);
    ti_slice value;
    (void)little_get(&l, "a", 2000, &value);
    assert_int_equal(atomic_load(&l.count), 0);
    assert_true(atomic_load(&l.f.asked[TI_COMMAND_GET]) >= 3);
    little_end(&l);
}

/* ---- 20: gaps between regions ---- */

static const char *const four[] = {"f", "m", "t", NULL};

static void leave_a_gap(fake_pd_ask *ask)
{
    ti_err err;
    if (ask->kind != FAKE_PD_SCAN_REGIONS)
        return;
    Pdpb__ScanRegionsResponse *r =
        ti_pb_unpack(&pdpb__scan_regions_response__descriptor, ask->answer, ask->a, &err);
    ti_require(r != NULL);
    if (r->n_regions < 3)
        return;
    r->regions[1] = r->regions[--r->n_regions];
    ask->answer = ti_pb_pack(&r->base, ask->a);
}

static void a_range_with_a_gap_is_not_believed(void **state)
{
    (void)state;
    little l;
    ti_slice keys[] = {TI_SLICE("a"), TI_SLICE("g"), TI_SLICE("n"), TI_SLICE("u")};
    ti_slice values[4];
    ti_snapshot *s = NULL;
    little_begin(&l, four);
    for (int i = 0; i < 4; i++)
        mvcc_put(&l.m, (const char *[]){"a", "g", "n", "u"}[i], "1", 1, 2);
    l.f.pd_answer = leave_a_gap;
    ti_call call = little_call(&l, 60000);
    test_ok(l.e->vt->begin(l.e, TI_TS_NONE, &s, &call, &l.err), &l.err);
    test_ok(l.e->vt->batch_get(s, keys, 4, &l.a, values, &call, &l.err), &l.err);
    for (int i = 0; i < 4; i++)
        assert_int_equal(values[i].len, 1);
    assert_true(atomic_load(&l.f.scans) > 0);
    assert_true(atomic_load(&l.f.lookups) >= 2); /* one by one instead */
    l.e->vt->release(s);
    little_end(&l);
}

/* ---- 23, 24: streams that break ---- */

/* The first store's stream breaks; the second's answers take their time. */
static bool one_stream_breaks(little *l, fake_ask *ask)
{
    if (ask->kind != TI_COMMAND_BATCH_GET)
        return false;
    ask->cut = ask->store == 1 && ask->number <= 2;
    ask->delay_ms = ask->store == 2 ? 1000 : 0;
    Kvrpcpb__BatchGetRequest *r = mvcc_unpack(&kvrpcpb__batch_get_request__descriptor, ask);
    atomic_fetch_add(&l->count, r->keys[0].data[0] == 'z');
    return ask->cut;
}

static void a_broken_stream_fails_only_its_own(void **state)
{
    static const char *const two[] = {"m", NULL};
    (void)state;
    little l;
    ti_slice keys[] = {TI_SLICE("a"), TI_SLICE("z")};
    ti_slice values[2];
    ti_snapshot *s = NULL;
    little_begin_closed(&l, two);
    l.f.regions[1].leader = 2;
    l.meddle = one_stream_breaks;
    l.e = fake_open(&l.f);
    mvcc_put(&l.m, "a", "1", 1, 2);
    mvcc_put(&l.m, "z", "1", 1, 2);
    ti_call call = little_call(&l, 60000);
    test_ok(l.e->vt->begin(l.e, TI_TS_NONE, &s, &call, &l.err), &l.err);
    test_ok(l.e->vt->batch_get(s, keys, 2, &l.a, values, &call, &l.err), &l.err);
    assert_int_equal(values[0].len + values[1].len, 2);
    assert_int_equal(atomic_load(&l.count), 1); /* asked once, and waited for */
    l.e->vt->release(s);
    little_end(&l);
}

/* All stores are down for half a minute. */
static bool down_for_a_while(little *l, fake_ask *ask)
{
    ask->refused = ask->cut = sim_now_ms(l->f.sim) < 3630000;
    return ask->cut;
}

static void a_server_that_stays_down_is_asked_slowly(void **state)
{
    (void)state;
    little l;
    ti_slice value;
    little_begin(&l, NULL);
    mvcc_put(&l.m, "a", "1", 1, 2);
    l.meddle = down_for_a_while;
    int64_t began_ms = sim_now_ms(l.f.sim);
    ti_status status = little_get(&l, "a", 60000, &value);
    assert_true(status == TI_UNAVAILABLE); /* a read's budget is 20 s */
    assert_true(sim_now_ms(l.f.sim) - began_ms < 26000);
    assert_true(atomic_load(&l.f.asked[TI_COMMAND_GET]) < 40);
    assert_true(atomic_load(&l.f.sim->opened) < 50);
    sim_run(l.f.sim, 3630000 - sim_now_ms(l.f.sim));
    little_expect(&l, "a", "1");
    little_end(&l);
}

/* ---- 34: many keys, many regions ---- */

#define MANY_KEYS 6000
#define MANY_REGIONS 110

/* Answers every key with itself, after a tenth of a second. */
static bool echo(little *l, fake_ask *ask)
{
    Kvrpcpb__BatchGetResponse out = KVRPCPB__BATCH_GET_RESPONSE__INIT;
    if (ask->kind != TI_COMMAND_BATCH_GET)
        return false;
    Kvrpcpb__BatchGetRequest *r = mvcc_unpack(&kvrpcpb__batch_get_request__descriptor, ask);
    ti_require(r->n_keys <= TI_BATCH_GET_KEYS);
    if (!mvcc_check_region(ask, r->context, r->keys, r->n_keys))
        return true;
    atomic_fetch_add(&l->count, (int)r->n_keys);
    out.pairs = ti_arena_alloc(ask->a, (r->n_keys + 1) * sizeof(*out.pairs));
    for (size_t i = 0; i < r->n_keys; i++) {
        out.pairs[i] = ti_arena_alloc(ask->a, sizeof(Kvrpcpb__KvPair));
        kvrpcpb__kv_pair__init(out.pairs[i]);
        out.pairs[i]->key = out.pairs[i]->value = r->keys[i];
    }
    out.n_pairs = r->n_keys;
    fake_say(ask, &out.base);
    ask->delay_ms = 100;
    return true;
}

static void large_batches_are_complete_and_parallel(void **state)
{
    (void)state;
    little l;
    const char *cuts[MANY_REGIONS + 1] = {0};
    ti_slice *keys = ti_alloc(MANY_KEYS * sizeof(*keys));
    ti_slice *values = ti_alloc(MANY_KEYS * sizeof(*values));
    ti_snapshot *s = NULL;
    char text[16];
    ti_arena a;
    ti_arena_init(&a);
    for (int i = 0; i < MANY_REGIONS; i++) { /* the last region holds most of the keys */
        snprintf(text, sizeof(text), "k%05d", i * 5 + 5);
        cuts[i] = ti_arena_copy(&a, ti_slice_of(text)).data;
    }
    for (int i = 0; i < MANY_KEYS; i++) {
        snprintf(text, sizeof(text), "k%05d", i);
        keys[i] = ti_arena_copy(&a, ti_slice_of(text));
    }
    little_begin(&l, cuts);
    l.meddle = echo;
    ti_call call = little_call(&l, 60000);
    int64_t began_ms = sim_now_ms(l.f.sim);
    test_ok(l.e->vt->begin(l.e, TI_TS_NONE, &s, &call, &l.err), &l.err);
    test_ok(l.e->vt->batch_get(s, keys, MANY_KEYS, &a, values, &call, &l.err), &l.err);
    assert_int_equal(sim_now_ms(l.f.sim) - began_ms, 100); /* all at once */
    for (int i = 0; i < MANY_KEYS; i++)
        assert_true(ti_slice_equal(values[i], keys[i]));
    assert_int_equal(atomic_load(&l.count), MANY_KEYS);
    assert_int_equal(atomic_load(&l.f.asked[TI_COMMAND_BATCH_GET]), MANY_REGIONS + 2);
    l.e->vt->release(s);
    little_end(&l);
    ti_arena_free(&a);
    ti_free(keys);
    ti_free(values);
}

/* ---- 35, 38: locks among many keys ---- */

/* A transaction that died: committed at its primary, or not. */
static void leave_lock(little *l, const char *key, const char *primary, bool committed)
{
    uint64_t now = fake_now(&l->f); /* another one each time */
    uint64_t start_ts = (((now >> 18) - 60000) << 18) + now % 1000 * 10;
    mvcc_lock lock = {.op = KVRPCPB__OP__Put,
                      .value = TI_SLICE("new"),
                      .primary = ti_slice_of(primary),
                      .start_ts = start_ts,
                      .ttl_ms = 3000,
                      .txn_size = 2};
    mvcc_set_lock(&l->m, key, &lock);
    if (committed)
        mvcc_put(&l->m, primary, "new", start_ts, start_ts + 5);
    else
        mvcc_roll_back(&l->m, primary, start_ts);
}

static bool notes_second_batch(little *l, fake_ask *ask)
{
    if (ask->kind == TI_COMMAND_BATCH_GET && ask->number == 2) {
        Kvrpcpb__BatchGetRequest *r = mvcc_unpack(&kvrpcpb__batch_get_request__descriptor, ask);
        atomic_store(&l->count, (int)r->n_keys);
    }
    return false;
}

static void only_locked_keys_are_asked_for_again(void **state)
{
    (void)state;
    little l;
    ti_slice keys[10];
    ti_slice values[10];
    ti_snapshot *s = NULL;
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    little_begin(&l, NULL);
    for (int i = 0; i < 10; i++) {
        keys[i] = ti_slice_of(names[i]);
        mvcc_put(&l.m, names[i], "old", 1, 2);
    }
    leave_lock(&l, "c", "x", true);
    leave_lock(&l, "g", "y", false);
    l.meddle = notes_second_batch;
    ti_call call = little_call(&l, 60000);
    test_ok(l.e->vt->begin(l.e, TI_TS_NONE, &s, &call, &l.err), &l.err);
    test_ok(l.e->vt->batch_get(s, keys, 10, &l.a, values, &call, &l.err), &l.err);
    for (int i = 0; i < 10; i++)
        assert_true(ti_slice_equal(values[i], i == 2 ? TI_SLICE("new") : TI_SLICE("old")));
    assert_int_equal(atomic_load(&l.count), 2);
    assert_int_equal(atomic_load(&l.f.asked[TI_COMMAND_BATCH_GET]), 2);
    l.e->vt->release(s);
    little_end(&l);
}

static void a_scan_reads_locked_pairs_after_their_locks(void **state)
{
    (void)state;
    for (int reverse = 0; reverse < 2; reverse++) {
        little l;
        ti_scan_page page;
        ti_snapshot *s = NULL;
        little_begin(&l, NULL);
        mvcc_put(&l.m, "a", "old", 1, 2);
        mvcc_put(&l.m, "c", "old", 1, 2);
        leave_lock(&l, "a", "x", true);   /* overwritten */
        leave_lock(&l, "b", "y", true);   /* new */
        leave_lock(&l, "c", "z", false);  /* as it was */
        leave_lock(&l, "d", "z2", false); /* never there */
        ti_call call = little_call(&l, 60000);
        ti_scan what = {.range = {.from = TI_SLICE("a"), .to = TI_SLICE("w")},
                        .reverse = reverse == 1,
                        .items_max = 100};
        test_ok(l.e->vt->begin(l.e, TI_TS_NONE, &s, &call, &l.err), &l.err);
        test_ok(l.e->vt->scan(s, &what, &l.a, &page, &call, &l.err), &l.err);
        assert_int_equal(page.count, 3);
        for (size_t i = 0; i < 3; i++) {
            size_t key = reverse == 1 ? 2 - i : i;
            assert_true(page.pairs[i].key.data[0] == (char)('a' + key));
            assert_true(
                ti_slice_equal(page.pairs[i].value, key < 2 ? TI_SLICE("new") : TI_SLICE("old")));
        }
        l.e->vt->release(s);
        little_end(&l);
    }
}

/* ---- 37: regions move while they are read ---- */

#define ROWS 400

static const char *key_at(little *l, int i)
{
    char text[16];
    snprintf(text, sizeof(text), "k%04d", i);
    return ti_arena_copy(&l->a, ti_slice_of(text)).data;
}

static uint64_t newest_id = 1000;

/* Splits the region of row i there; merges it with the next; moves its leader. */
static void split_at(little *l, const char *key)
{
    fake *f = &l->f;
    fake_region *r = fake_region_of(f, ti_slice_of(key));
    if (strcmp(r->start, key) == 0 || f->region_count == FAKE_REGIONS_MAX)
        return;
    size_t at = (size_t)(r - f->regions);
    memmove(&f->regions[at + 2], &f->regions[at + 1],
            (f->region_count - at - 1) * sizeof(f->regions[0]));
    f->region_count++;
    r->version++;
    f->regions[at + 1] = *r;
    f->regions[at + 1].id = ++newest_id;
    f->regions[at + 1].start = key;
    r->end = key;
}

static void merge_at(little *l, const char *key)
{
    fake *f = &l->f;
    size_t at = (size_t)(fake_region_of(f, ti_slice_of(key)) - f->regions);
    if (at + 1 == f->region_count)
        return;
    fake_region *r = &f->regions[at];
    uint64_t other = f->regions[at + 1].version;
    r->end = f->regions[at + 1].end;
    r->version = (r->version > other ? r->version : other) + 1;
    memmove(&f->regions[at + 1], &f->regions[at + 2],
            (f->region_count - at - 2) * sizeof(f->regions[0]));
    f->region_count--;
}

static bool moves(little *l, fake_ask *ask)
{
    test_random *random = l->context;
    if (ask->kind != TI_COMMAND_SCAN || atomic_fetch_add(&l->count, 1) > 200)
        return false;
    const char *key = ti_arena_copy(&l->m.arena, ti_slice_of("k0000")).data;
    snprintf((char *)(uintptr_t)key, 6, "k%04d", (int)test_random_below(random, ROWS));
    switch (test_random_below(random, 4)) {
    case 0:
        split_at(l, key);
        break;
    case 1:
        merge_at(l, key);
        break;
    case 2:
        fake_region_of(&l->f, ti_slice_of(key))->leader = 1 + test_random_below(random, 3);
        break;
    default:
        break;
    }
    return false;
}

/* All rows in pages, each page from where the last ended. */
static void read_all(little *l, bool reverse, size_t page_size)
{
    ti_snapshot *s = NULL;
    ti_call call = little_call(l, 600000);
    ti_range range = {.from = TI_SLICE("k"), .to = TI_SLICE("l")};
    int rows = 0;
    test_ok(l->e->vt->begin(l->e, TI_TS_NONE, &s, &call, &l->err), &l->err);
    for (bool more = true; more;) {
        ti_scan_page page;
        ti_scan what = {.range = range, .reverse = reverse, .items_max = page_size};
        test_ok(l->e->vt->scan(s, &what, &l->a, &page, &call, &l->err), &l->err);
        for (size_t i = 0; i < page.count; i++, rows++) {
            const char *wanted = key_at(l, reverse ? ROWS - 1 - rows : rows);
            if (!ti_slice_equal(page.pairs[i].key, ti_slice_of(wanted)))
                fail_msg("row %d is %.*s instead of %s", rows, (int)page.pairs[i].key.len,
                         page.pairs[i].key.data, wanted);
        }
        more = page.more && page.count > 0;
        if (more && reverse)
            range.to = page.pairs[page.count - 1].key;
        else if (more)
            range.from = ti_slice_of(key_at(l, rows));
    }
    assert_int_equal(rows, ROWS);
    l->e->vt->release(s);
}

static void scans_survive_regions_that_move(void **state)
{
    (void)state;
    for (uint64_t run = 0; run < test_scaled(20); run++) {
        little l;
        test_random random = test_random_start(37 + run);
        little_begin(&l, four);
        for (int i = 0; i < ROWS; i++)
            mvcc_put(&l.m, key_at(&l, i), "1", 1, 2);
        for (int i = 50; i < ROWS; i += 50)
            split_at(&l, key_at(&l, i));
        l.context = &random;
        l.meddle = moves;
        read_all(&l, run % 2 == 1, run % 3 == 0 ? 7 : 64);
        little_end(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_servers_say_is_told_without_keys),
        cmocka_unit_test(keys_keep_their_order_and_come_back),
        cmocka_unit_test(many_misses_are_one_lookup),
        cmocka_unit_test(many_look_for_the_leader_once),
        cmocka_unit_test(learners_are_not_asked),
        cmocka_unit_test(a_range_with_a_gap_is_not_believed),
        cmocka_unit_test(a_broken_stream_fails_only_its_own),
        cmocka_unit_test(a_server_that_stays_down_is_asked_slowly),
        cmocka_unit_test(large_batches_are_complete_and_parallel),
        cmocka_unit_test(only_locked_keys_are_asked_for_again),
        cmocka_unit_test(a_scan_reads_locked_pairs_after_their_locks),
        cmocka_unit_test(scans_survive_regions_that_move),
    };
    return TEST_RUN(tests);
}

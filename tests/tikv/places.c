/* PD, the region cache and region errors on the simulated wire. */
#include "tikv/fake.h"

#include "base/assert.h"
#include "tikv/pb.h"
#include "tikv/region_error.h"
#include "tikv/tikv_int.h"

static ti_call call_ms(const fake *f, int64_t ms)
{
    return ti_call_within(&f->sim->env.env, ms * 1000);
}

static void end(fake *f, ti_engine *e)
{
    e->vt->unref(e);
    fake_end(f);
}

static ti_regions *regions_of(ti_engine *e)
{
    return ((ti_tikv *)e)->cluster.regions;
}

/* ---- PD ---- */

static void any_endpoint_will_do(void **state)
{
    (void)state;
    fake f;
    fake_begin(&f, NULL);
    f.dead[0] = f.dead[1] = true;
    f.leader = 2;
    end(&f, fake_open(&f));
    fake_begin(&f, NULL);
    f.frozen[0] = true; /* costs no more than its timeout */
    f.leader = 1;
    int64_t began = sim_now_ms(f.sim);
    ti_engine *e = fake_open(&f);
    assert_true(sim_now_ms(f.sim) - began <= 2100);
    end(&f, e);
}

static void two_clusters_are_refused(void **state)
{
    (void)state;
    fake f;
    ti_engine *e = NULL;
    ti_err err;
    fake_begin(&f, NULL);
    f.cluster_id[1] = 8;
    test_status(fake_try_open(&f, 2, 5000000, &e, &err), TI_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "cluster 8"));
    fake_end(&f);
}

static void nobody_answers_in_time(void **state)
{
    (void)state;
    for (int frozen = 0; frozen < 2; frozen++) {
        fake f;
        ti_engine *e = NULL;
        ti_err err;
        fake_begin(&f, NULL);
        for (int i = 0; i < FAKE_PDS; i++)
            (frozen ? f.frozen : f.dead)[i] = true;
        int64_t began = sim_now_ms(f.sim);
        ti_status status = fake_try_open(&f, 3, 10000000, &e, &err);
        assert_true(status == TI_UNAVAILABLE || status == TI_TIMEOUT);
        assert_true(sim_now_ms(f.sim) - began <= 10001);
        fake_end(&f);
    }
}

static void a_new_leader_is_followed(void **state)
{
    (void)state;
    fake f;
    ti_ts ts = 0;
    ti_ts before = 0;
    ti_err err;
    fake_begin(&f, NULL);
    ti_engine *e = fake_open(&f);
    ti_call call = call_ms(&f, 60000);
    test_ok(e->vt->now(e, &before, &call, &err), &err);
    f.leader = 1;
    f.dead[0] = true;
    sim_run(f.sim, 1);
    int64_t began = sim_now_ms(f.sim);
    test_ok(e->vt->now(e, &ts, &call, &err), &err);
    assert_true(ts > before);
    assert_true(sim_now_ms(f.sim) - began < 5000);
    end(&f, e);
}

static void without_a_leader_calls_end_and_later_go_on(void **state)
{
    (void)state;
    fake f;
    ti_ts ts = 0;
    ti_err err;
    fake_begin(&f, NULL);
    ti_engine *e = fake_open(&f);
    f.leader = -1;
    ti_call call = call_ms(&f, 5000);
    int64_t began = sim_now_ms(f.sim);
    ti_status status = e->vt->now(e, &ts, &call, &err);
    assert_true(status == TI_UNAVAILABLE || status == TI_TIMEOUT);
    assert_true(sim_now_ms(f.sim) - began <= 5001);
    f.leader = 0;
    call = call_ms(&f, 5000);
    test_ok(e->vt->now(e, &ts, &call, &err), &err);
    end(&f, e);
}

static void a_frozen_cluster_times_out(void **state)
{
    (void)state;
    fake f;
    ti_ts ts = 0;
    ti_err err;
    fake_begin(&f, NULL);
    ti_engine *e = fake_open(&f);
    for (int i = 0; i < FAKE_PDS; i++)
        f.frozen[i] = true;
    ti_call call = call_ms(&f, 7000);
    int64_t began = sim_now_ms(f.sim);
    test_status(e->vt->now(e, &ts, &call, &err), TI_TIMEOUT);
    assert_true(sim_now_ms(f.sim) - began <= 7001);
    assert_non_null(strstr(err.message, "pd1:1"));
    call = call_ms(&f, 1000); /* less than what a request is given */
    test_status(e->vt->now(e, &ts, &call, &err), TI_TIMEOUT);
    assert_non_null(strstr(err.message, "pd1:1"));
    end(&f, e);
}

/* Somebody else answers for the one that says nothing, however little time there is. */
static void the_hasty_open_past_a_silent_endpoint(void **state)
{
    (void)state;
    fake f;
    ti_engine *e = NULL;
    ti_err err;
    fake_begin(&f, NULL);
    f.frozen[0] = true;
    f.leader = 1;
    test_ok(fake_try_open(&f, 3, 900000, &e, &err), &err);
    end(&f, e);
}

/* Callers whose own time is shorter than that of a request to PD: together they find out that the
 * leader is silent, and that there is another. */
static void the_hasty_leave_a_silent_leader(void **state)
{
    (void)state;
    for (int timestamps = 0; timestamps < 2; timestamps++) {
        fake f;
        ti_err err;
        uint64_t ts = 0;
        fake_begin(&f, NULL);
        ti_engine *e = fake_open(&f);
        ti_pd *pd = ((ti_tikv *)e)->cluster.pd;
        ti_status status = TI_TIMEOUT;
        ti_call call = call_ms(&f, 900);
        test_ok(e->vt->now(e, &ts, &call, &err), &err);
        f.frozen[0] = true;
        f.leader = 1;
        int64_t began = sim_now_ms(f.sim);
        while (status != TI_OK && sim_now_ms(f.sim) - began < 20000) {
            call = call_ms(&f, 900);
            status = timestamps ? e->vt->now(e, &ts, &call, &err)
                                : ti_pd_safe_point(pd, &ts, &call, &err);
            if (status != TI_OK && timestamps)
                assert_non_null(strstr(err.message, "pd1:1"));
        }
        test_ok(status, &err);
        assert_true(sim_now_ms(f.sim) - began <= 5000);
        assert_int_equal(ti_pd_stats_of(pd).leader_changes, 1);
        end(&f, e);
    }
}

/* ---- regions ---- */

static ti_region *locate(fake *f, ti_engine *e, const char *key, bool before)
{
    ti_region *r = NULL;
    ti_err err;
    ti_backoff backoff;
    ti_call call = call_ms(f, 60000);
    ti_backoff_init(&backoff, &f->sim->base, &call, 20000);
    test_ok(ti_regions_locate(regions_of(e), ti_slice_of(key), before, &backoff, &r, &err), &err);
    return r;
}

static void check_place(fake *f, ti_engine *e, const char *key, bool before, uint64_t id)
{
    ti_region *r = locate(f, e, key, before);
    assert_int_equal(r->id, id);
    ti_region_unref(r);
}

static void bounds_belong_to_the_right_region(void **state)
{
    static const char *const cuts[] = {"b", "d", "f", NULL};
    (void)state;
    fake f;
    fake_begin(&f, cuts);
    ti_engine *e = fake_open(&f);
    for (int turn = 0; turn < 2; turn++) { /* from PD, then from the cache */
        check_place(&f, e, "", false, 1);
        check_place(&f, e, "a", false, 1);
        check_place(&f, e, "b", false, 2);
        check_place(&f, e, "b", true, 1);
        check_place(&f, e, "c", true, 2);
        check_place(&f, e, "d", true, 2);
        check_place(&f, e, "d", false, 3);
        check_place(&f, e, "f", false, 4);
        check_place(&f, e, "zzz", true, 4);
        check_place(&f, e, "", true, 4);
        if (turn == 0)
            atomic_store(&f.lookups, 0);
    }
    assert_int_equal(atomic_load(&f.lookups), 0);
    end(&f, e);
}

static ti_region_info info(uint64_t id, uint64_t version, const char *start, const char *end,
                           ti_peer *peer)
{
    *peer = (ti_peer){.id = id * 10 + 1, .store_id = 1};
    return (ti_region_info){.id = id,
                            .conf_ver = 5,
                            .version = version,
                            .start = ti_slice_of(start),
                            .end = ti_slice_of(end),
                            .peers = peer,
                            .peer_count = 1};
}

static void newer_regions_evict_and_older_do_not_enter(void **state)
{
    static const char *const cuts[] = {"b", "d", "f", NULL};
    (void)state;
    fake f;
    ti_peer peer;
    fake_begin(&f, cuts);
    ti_engine *e = fake_open(&f);
    const char *const keys[] = {"a", "b", "d", "f"};
    for (int i = 0; i < 4; i++)
        check_place(&f, e, keys[i], false, (uint64_t)i + 1);
    assert_int_equal(ti_regions_count(regions_of(e)), 4);
    ti_region_info old = info(9, 4, "a", "g", &peer);
    assert_true(ti_regions_insert(regions_of(e), &old, 1));
    assert_int_equal(ti_regions_count(regions_of(e)), 4);
    check_place(&f, e, "c", false, 2);
    ti_region_info merged = info(2, 6, "b", "f", &peer);
    assert_true(ti_regions_insert(regions_of(e), &merged, 1));
    assert_int_equal(ti_regions_count(regions_of(e)), 3);
    check_place(&f, e, "b", false, 2);
    check_place(&f, e, "e", false, 2);
    check_place(&f, e, "a", false, 1);
    check_place(&f, e, "f", false, 4);
    end(&f, e);
}

static void idle_regions_are_loaded_again(void **state)
{
    (void)state;
    fake f;
    fake_begin(&f, NULL);
    ti_engine *e = fake_open(&f);
    check_place(&f, e, "a", false, 1);
    sim_run(f.sim, 500000);
    check_place(&f, e, "a", false, 1);
    assert_int_equal(atomic_load(&f.lookups), 1);
    sim_run(f.sim, 700000);
    check_place(&f, e, "a", false, 1);
    assert_int_equal(atomic_load(&f.lookups), 2);
    end(&f, e);
}

/* Reads a key of every so many-th of 61 regions, twice, with an empty cache. */
static void read_scattered(fake *f, size_t every, bool backwards)
{
    static char cuts[61][8];
    const char *list[62] = {0};
    ti_slice keys[61];
    ti_slice values[61];
    size_t count = 0;
    ti_err err;
    ti_arena a;
    ti_snapshot *s = NULL;
    bool offers = f->offers_batch_scans;
    for (size_t i = 0; i < 61; i++) {
        snprintf(cuts[i], sizeof(cuts[i]), "k%03zu", i);
        list[i] = cuts[i];
    }
    for (size_t i = 0; i < 61; i += every)
        keys[count++] = ti_slice_of(cuts[backwards ? 60 - i : i]);
    fake_begin(f, list);
    f->offers_batch_scans = offers;
    ti_engine *e = fake_open(f);
    ti_call call = call_ms(f, 60000);
    ti_arena_init(&a);
    for (int again = 0; again < 2; again++) {
        test_ok(e->vt->begin(e, TI_TS_NONE, &s, &call, &err), &err);
        test_ok(e->vt->batch_get(s, keys, count, &a, values, &call, &err), &err);
        e->vt->release(s);
    }
    assert_int_equal(atomic_load(&f->asked[TI_COMMAND_BATCH_GET]), 2 * count);
    ti_arena_free(&a);
    end(f, e);
}

static void many_regions_are_loaded_by_ranges(void **state)
{
    (void)state;
    fake f = {0};
    read_scattered(&f, 1, false);
    assert_true(atomic_load(&f.lookups) + atomic_load(&f.scans) <= 4);
    assert_int_equal(atomic_load(&f.batch_scans), 1); /* not offered, and not asked for again */
}

/* A newer PD is asked for what is between the keys by one request, and for nothing else. */
static void scattered_regions_are_one_request(void **state)
{
    (void)state;
    for (int backwards = 0; backwards < 2; backwards++) {
        fake f = {.offers_batch_scans = true};
        read_scattered(&f, 6, backwards != 0);
        assert_int_equal(atomic_load(&f.lookups), 1); /* the first key's */
        assert_int_equal(atomic_load(&f.scans), 0);
        assert_int_equal(atomic_load(&f.batch_scans), 1);
        assert_int_equal(atomic_load(&f.batch_scan_ranges), 10);
    }
}

/* ---- region errors, kind by kind ---- */

typedef struct kind_case {
    const char *name;
    int field; /* of errorpb.Error */
    ti_verdict verdict;
    bool sleep;
    ti_backoff_kind backoff;
    bool valid;    /* the region stays in the cache */
    uint64_t peer; /* whose turn it is next: the store */
} kind_case;

static const kind_case kind_cases[] = {
    {"NotLeader", 2, TI_VERDICT_AGAIN, true, TI_BACKOFF_REGION_SCHEDULING, true, 2},
    {"RegionNotFound", 3, TI_VERDICT_AGAIN, true, TI_BACKOFF_REGION_MISS, false, 1},
    {"KeyNotInRegion", 4, TI_VERDICT_AGAIN, true, TI_BACKOFF_REGION_MISS, false, 1},
    {"EpochNotMatch", 5, TI_VERDICT_AGAIN, true, TI_BACKOFF_REGION_MISS, false, 1},
    {"ServerIsBusy", 6, TI_VERDICT_AGAIN, true, TI_BACKOFF_SERVER_BUSY, true, 1},
    {"StaleCommand", 7, TI_VERDICT_AGAIN, true, TI_BACKOFF_STALE_COMMAND, true, 2},
    {"StoreNotMatch", 8, TI_VERDICT_AGAIN, true, TI_BACKOFF_REGION_MISS, false, 1},
    {"RaftEntryTooLarge", 9, TI_VERDICT_FATAL, false, TI_BACKOFF_RPC, true, 1},
    {"MaxTimestampNotSynced", 10, TI_VERDICT_AGAIN, true, TI_BACKOFF_MAX_TS, true, 1},
    {"ReadIndexNotReady", 11, TI_VERDICT_AGAIN, true, TI_BACKOFF_REGION_SCHEDULING, true, 1},
    {"ProposalInMergingMode", 12, TI_VERDICT_AGAIN, true, TI_BACKOFF_REGION_SCHEDULING, true, 1},
    {"DataIsNotReady", 13, TI_VERDICT_AGAIN, true, TI_BACKOFF_REGION_SCHEDULING, true, 1},
    {"RegionNotInitialized", 14, TI_VERDICT_AGAIN, true, TI_BACKOFF_NOT_INITIALIZED, true, 1},
    {"DiskFull", 15, TI_VERDICT_AGAIN, true, TI_BACKOFF_DISK_FULL, true, 1},
    {"RecoveryInProgress", 16, TI_VERDICT_AGAIN, true, TI_BACKOFF_RECOVERY, false, 1},
    {"FlashbackInProgress", 17, TI_VERDICT_FATAL, false, TI_BACKOFF_RPC, true, 1},
    {"FlashbackNotPrepared", 18, TI_VERDICT_FATAL, false, TI_BACKOFF_RPC, true, 1},
    {"IsWitness", 19, TI_VERDICT_AGAIN, true, TI_BACKOFF_WITNESS, false, 1},
    {"MismatchPeerId", 20, TI_VERDICT_AGAIN, true, TI_BACKOFF_REGION_MISS, false, 1},
    {"BucketVersionNotMatch", 21, TI_VERDICT_AGAIN, true, TI_BACKOFF_REGION_MISS, true, 1},
    {"UndeterminedResult", 22, TI_VERDICT_FATAL, false, TI_BACKOFF_RPC, true, 1},
    {"a kind of the future", 99, TI_VERDICT_AGAIN, true, TI_BACKOFF_REGION_MISS, false, 1},
};

/* An answer with a region error of one kind, its message empty. */
static ti_slice error_of(int field, char out[16])
{
    size_t n = 0;
    out[n++] = 0x0a;
    out[n++] = field > 15 ? 3 : 2;
    uint32_t tag = (uint32_t)field << 3 | 2;
    if (tag > 127) {
        out[n++] = (char)(tag & 0x7f) | (char)0x80;
        tag >>= 7;
    }
    out[n++] = (char)tag;
    out[n++] = 0;
    return (ti_slice){.data = out, .len = n};
}

static void each_kind_has_its_action(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(kind_cases) / sizeof(kind_cases[0]); i++) {
        const kind_case *k = &kind_cases[i];
        fake f;
        ti_err why;
        char bytes[16];
        fake_begin(&f, NULL);
        ti_engine *e = fake_open(&f);
        ti_region *r = locate(&f, e, "a", false);
        ti_region_action action =
            ti_region_error_apply(error_of(k->field, bytes), regions_of(e), r, &why);
        if (action.verdict != k->verdict || action.sleep != k->sleep ||
            (k->sleep && action.backoff != k->backoff) || atomic_load(&r->valid) != k->valid ||
            ti_region_peer(r).store_id != k->peer)
            fail_msg("%s: verdict %d, sleep %d of kind %d, valid %d, next store %d", k->name,
                     (int)action.verdict, action.sleep, (int)action.backoff, atomic_load(&r->valid),
                     (int)ti_region_peer(r).store_id);
        assert_int_equal(action.undetermined, k->field == 22);
        assert_int_equal(action.doubt_store, k->field == 8);
        assert_int_equal(why.status, k->field == 9 ? TI_LIMIT_EXCEEDED : TI_UNAVAILABLE);
        ti_region_unref(r);
        end(&f, e);
    }
}

/* Answers the first gets with NotLeader that names store 2, later ones with nothing found. */
static void not_leader_once(fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__NotLeader not_leader = ERRORPB__NOT_LEADER__INIT;
    Metapb__Peer leader = METAPB__PEER__INIT;
    if (ask->kind != TI_COMMAND_GET || ask->store == 2)
        return;
    leader.id = 12;
    leader.store_id = 2;
    not_leader.leader = &leader;
    error.not_leader = &not_leader;
    fake_region_error(ask, &error);
}

static ti_status get(fake *f, ti_engine *e, const char *key, int64_t timeout_ms, ti_err *err)
{
    ti_snapshot *s = NULL;
    ti_slice value;
    ti_arena a;
    ti_call call = call_ms(f, timeout_ms);
    ti_arena_init(&a);
    ti_status status = e->vt->begin(e, TI_TS_NONE, &s, &call, err);
    if (status == TI_OK) {
        status = e->vt->get(s, ti_slice_of(key), &a, &value, &call, err);
        e->vt->release(s);
    }
    ti_arena_free(&a);
    return status;
}

static void a_named_leader_is_asked_at_once(void **state)
{
    (void)state;
    fake f;
    ti_err err;
    fake_begin(&f, NULL);
    ti_engine *e = fake_open(&f);
    f.answer = not_leader_once;
    int64_t began = sim_now_ms(f.sim);
    test_status(get(&f, e, "a", 60000, &err), TI_NOT_FOUND);
    assert_int_equal(sim_now_ms(f.sim), began);
    assert_int_equal(atomic_load(&f.asked[TI_COMMAND_GET]), 2);
    test_status(get(&f, e, "a", 60000, &err), TI_NOT_FOUND); /* remembered */
    assert_int_equal(atomic_load(&f.asked[TI_COMMAND_GET]), 3);
    end(&f, e);
}

/* Each store names the other as leader, for ever. */
static void name_each_other(fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__NotLeader not_leader = ERRORPB__NOT_LEADER__INIT;
    Metapb__Peer leader = METAPB__PEER__INIT;
    leader.store_id = ask->store == 1 ? 2 : 1;
    leader.id = 10 + leader.store_id;
    not_leader.leader = &leader;
    error.not_leader = &not_leader;
    fake_region_error(ask, &error);
}

static void leaders_that_name_each_other_are_asked_slowly(void **state)
{
    (void)state;
    fake f;
    ti_err err;
    fake_begin(&f, NULL);
    ti_engine *e = fake_open(&f);
    f.answer = name_each_other;
    ti_status status = get(&f, e, "a", 10000, &err);
    assert_true(status == TI_UNAVAILABLE || status == TI_TIMEOUT);
    assert_true(atomic_load(&f.asked[TI_COMMAND_GET]) < 100);
    end(&f, e);
}

static void epoch_of(fake_ask *ask, uint64_t version)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__EpochNotMatch epoch = ERRORPB__EPOCH_NOT_MATCH__INIT;
    Metapb__Region region = METAPB__REGION__INIT;
    Metapb__RegionEpoch now = METAPB__REGION_EPOCH__INIT;
    Metapb__Peer peer = METAPB__PEER__INIT;
    Metapb__Peer *peers[] = {&peer};
    Metapb__Region *regions[] = {&region};
    peer.id = 11;
    peer.store_id = 1;
    now.version = version;
    now.conf_ver = 5;
    region.id = 1;
    region.region_epoch = &now;
    region.n_peers = 1;
    region.peers = peers;
    epoch.n_current_regions = 1;
    epoch.current_regions = regions;
    error.epoch_not_match = &epoch;
    fake_region_error(ask, &error);
}

static void a_new_epoch_once(fake_ask *ask)
{
    if (ask->kind == TI_COMMAND_GET && ask->number == 1)
        epoch_of(ask, 6);
}

static void the_epoch_twice(fake_ask *ask)
{
    if (ask->kind == TI_COMMAND_GET && ask->number <= 2)
        epoch_of(ask, *(const uint64_t *)ask->cluster->context);
}

static void epochs_are_learnt_without_pd(void **state)
{
    (void)state;
    fake f;
    ti_err err;
    fake_begin(&f, NULL);
    ti_engine *e = fake_open(&f);
    f.answer = a_new_epoch_once;
    test_status(get(&f, e, "a", 60000, &err), TI_NOT_FOUND);
    assert_int_equal(atomic_load(&f.lookups), 1);
    ti_region *r = locate(&f, e, "a", false);
    assert_int_equal(r->version, 6);
    ti_region_unref(r);
    end(&f, e);
}

static void an_older_epoch_does_not_replace_a_newer(void **state)
{
    (void)state;
    for (uint64_t epoch = 4; epoch <= 5; epoch++) { /* 5: it refuses what it has itself */
        fake f;
        ti_err err;
        fake_begin(&f, NULL);
        ti_engine *e = fake_open(&f);
        f.context = &epoch;
        f.answer = the_epoch_twice;
        int64_t began = sim_now_ms(f.sim);
        test_status(get(&f, e, "a", 60000, &err), TI_NOT_FOUND);
        assert_true(sim_now_ms(f.sim) > began); /* the store lags: it is given time */
        ti_region *r = locate(&f, e, "a", false);
        assert_int_equal(r->version, 5);
        ti_region_unref(r);
        end(&f, e);
    }
}

static void wrong_store_once(fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__StoreNotMatch wrong = ERRORPB__STORE_NOT_MATCH__INIT;
    error.store_not_match = &wrong;
    if (ask->kind != TI_COMMAND_GET || ask->number > 1)
        return;
    snprintf(ask->cluster->store_address[0], 16, "n1:1"); /* it has moved */
    fake_region_error(ask, &error);
}

static void a_moved_store_is_found(void **state)
{
    (void)state;
    fake f;
    ti_err err;
    fake_begin(&f, NULL);
    ti_engine *e = fake_open(&f);
    f.answer = wrong_store_once;
    test_status(get(&f, e, "a", 60000, &err), TI_NOT_FOUND);
    assert_int_equal(atomic_load(&f.asked[TI_COMMAND_GET]), 2);
    assert_int_equal(atomic_load(&f.sim->forgotten), 1);
    end(&f, e);
}

static void busy_for_a_minute(fake_ask *ask)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__ServerIsBusy busy = ERRORPB__SERVER_IS_BUSY__INIT;
    error.server_is_busy = &busy;
    if (ask->kind == TI_COMMAND_GET && sim_now_ms(ask->cluster->sim) < 60000)
        fake_region_error(ask, &error);
}

static void a_busy_store_is_waited_for(void **state)
{
    (void)state;
    fake f;
    ti_err err;
    fake_begin(&f, NULL);
    ti_engine *e = fake_open(&f);
    f.answer = busy_for_a_minute;
    test_status(get(&f, e, "a", 300000, &err), TI_NOT_FOUND);
    assert_true(atomic_load(&f.asked[TI_COMMAND_GET]) < 40);
    end(&f, e);
}

/* Answers every get with the region error that the context names. */
static void always_the_kind(fake_ask *ask)
{
    const kind_case *k = ask->cluster->context;
    char bytes[16];
    if (ask->kind == TI_COMMAND_GET)
        ask->answer = ti_arena_copy(ask->a, error_of(k->field, bytes));
}

/* Whatever kind of error uses a read up: it tells the kind, the store, and how often it was tried. */
static void what_used_a_read_up_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(kind_cases) / sizeof(kind_cases[0]); i++) {
        kind_case k = kind_cases[i];
        fake f;
        ti_err err;
        fake_begin(&f, NULL);
        ti_engine *e = fake_open(&f);
        f.context = &k;
        f.answer = always_the_kind;
        ti_status status = get(&f, e, "a", 3600000, &err);
        assert_int_equal(status, k.field == 9 ? TI_LIMIT_EXCEEDED : TI_UNAVAILABLE);
        const char *name = k.field == 99 ? "unknown region error" : k.name;
        if (strstr(err.message, name) == NULL || strstr(err.message, "store s") == NULL)
            fail_msg("%s: %s", k.name, err.message);
        if (k.verdict == TI_VERDICT_AGAIN)
            assert_non_null(strstr(err.message, "gave up after "));
        end(&f, e);
    }
}

static void stay_silent(fake_ask *ask)
{
    ask->silent = ask->kind == TI_COMMAND_GET;
}

static void a_silent_store_ends_with_the_deadline(void **state)
{
    (void)state;
    fake f;
    ti_err err;
    fake_begin(&f, NULL);
    ti_engine *e = fake_open(&f);
    f.answer = stay_silent;
    int64_t began = sim_now_ms(f.sim);
    test_status(get(&f, e, "a", 1500, &err), TI_TIMEOUT);
    assert_in_range(sim_now_ms(f.sim) - began, 1499, 1501);
    assert_string_equal(err.message, "store s1:1 did not answer Get in time");
    end(&f, e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_endpoint_will_do),
        cmocka_unit_test(two_clusters_are_refused),
        cmocka_unit_test(nobody_answers_in_time),
        cmocka_unit_test(a_new_leader_is_followed),
        cmocka_unit_test(without_a_leader_calls_end_and_later_go_on),
        cmocka_unit_test(a_frozen_cluster_times_out),
        cmocka_unit_test(the_hasty_open_past_a_silent_endpoint),
        cmocka_unit_test(the_hasty_leave_a_silent_leader),
        cmocka_unit_test(bounds_belong_to_the_right_region),
        cmocka_unit_test(newer_regions_evict_and_older_do_not_enter),
        cmocka_unit_test(idle_regions_are_loaded_again),
        cmocka_unit_test(many_regions_are_loaded_by_ranges),
        cmocka_unit_test(scattered_regions_are_one_request),
        cmocka_unit_test(each_kind_has_its_action),
        cmocka_unit_test(a_named_leader_is_asked_at_once),
        cmocka_unit_test(leaders_that_name_each_other_are_asked_slowly),
        cmocka_unit_test(epochs_are_learnt_without_pd),
        cmocka_unit_test(an_older_epoch_does_not_replace_a_newer),
        cmocka_unit_test(a_moved_store_is_found),
        cmocka_unit_test(a_busy_store_is_waited_for),
        cmocka_unit_test(what_used_a_read_up_is_told),
        cmocka_unit_test(a_silent_store_ends_with_the_deadline),
    };
    return TEST_RUN(tests);
}

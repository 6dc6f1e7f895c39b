/* What is decided about commits and about the locks of others, on the simulated wire. */
#include "tikv/fake.h"

#include "base/assert.h"
#include "tikv/pb.h"
#include "tikv/tikv_int.h"

/* What the tests' answers work with. */
typedef struct script {
    uint64_t start_ts; /* of the transaction under test, or of the lock's owner */
    uint64_t commit_ts;
    uint64_t lock_ttl;
    _Atomic(uint64_t) beat_ttl; /* of the last heartbeat, which has a thread of its own */
    uint64_t txn_size;
    Kvrpcpb__Op lock_type;
    Kvrpcpb__Action action;
    bool async_primary;
    bool secondary_missing;
    bool secondary_sync;
    uint64_t primary_from_ms; /* CheckTxnStatus answers TxnNotFound until it may roll back */
    /* What was seen. */
    int one_pc_requests;
    int forced;
    int rolled_back_absent;
    int resolved_with_keys;
    int resolved_regions;
    uint64_t resolved_commit_ts;
    bool read_through;
    bool read_past;
} script;

static script *script_of(fake_ask *ask)
{
    return ask->cluster->context;
}

static ti_call call_ms(const fake *f, int64_t ms)
{
    return ti_call_within(&f->sim->env.env, ms * 1000);
}

static void *unpack(const ProtobufCMessageDescriptor *descriptor, fake_ask *ask)
{
    ti_err err;
    void *m = ti_pb_unpack(descriptor, ask->request, ask->a, &err);
    ti_require(m != NULL);
    return m;
}

static void end(fake *f, ti_engine *e)
{
    e->vt->unref(e);
    fake_end(f);
}

/* ---- commits ---- */

static const char *const two_regions[] = {"m", NULL};

static ti_status commit_two(fake *f, ti_engine *e, ti_ts not_after, int64_t timeout_ms,
                            ti_ts *commit_ts, ti_err *err)
{
    ti_mutation list[] = {{.key = TI_SLICE("a"), .value = TI_SLICE("1"), .kind = TI_MUTATION_PUT},
                          {.key = TI_SLICE("z"), .value = TI_SLICE("1"), .kind = TI_MUTATION_PUT}};
    ti_commit_request request = {
        .start_ts = fake_now(f), .not_after = not_after, .mutations = list, .count = 2};
    ti_commit_result result;
    ti_call call = call_ms(f, timeout_ms);
    ((script *)f->context)->start_ts = request.start_ts;
    ti_err_clear(err);
    ti_status status = e->vt->commit(e, &request, &result, &call, err);
    *commit_ts = result.commit_ts;
    return status;
}

static void say_prewritten(fake_ask *ask, uint64_t min_commit_ts, uint64_t one_pc_ts)
{
    Kvrpcpb__PrewriteResponse r = KVRPCPB__PREWRITE_RESPONSE__INIT;
    r.min_commit_ts = min_commit_ts;
    r.one_pc_commit_ts = one_pc_ts;
    fake_say(ask, &r.base);
}

static void say_status(fake_ask *ask, uint64_t commit_ts)
{
    Kvrpcpb__CheckTxnStatusResponse r = KVRPCPB__CHECK_TXN_STATUS_RESPONSE__INIT;
    r.commit_version = commit_ts;
    r.action = script_of(ask)->action;
    fake_say(ask, &r.base);
}

static void one_pc_accepts(fake_ask *ask)
{
    if (ask->kind == TI_COMMAND_PREWRITE)
        say_prewritten(ask, 0, script_of(ask)->commit_ts);
}

static void one_pc_is_one_request(void **state)
{
    (void)state;
    fake f;
    script s = {0};
    ti_err err;
    ti_ts ts;
    fake_begin(&f, NULL);
    f.context = &s;
    f.answer = one_pc_accepts;
    ti_engine *e = fake_open(&f);
    s.commit_ts = fake_now(&f) + 100;
    test_ok(commit_two(&f, e, TI_TS_NONE, 10000, &ts, &err), &err);
    assert_true(ts == s.commit_ts);
    assert_int_equal(atomic_load(&f.asked[TI_COMMAND_PREWRITE]), 1);
    sim_run(f.sim, 1000);
    assert_int_equal(atomic_load(&f.asked[TI_COMMAND_COMMIT]), 0);
    end(&f, e);
}

/* The first prewrite's answer is lost, and the region is split meanwhile. */
static void torn(fake_ask *ask)
{
    script *s = script_of(ask);
    if (ask->kind == TI_COMMAND_PREWRITE) {
        Kvrpcpb__PrewriteRequest *r = unpack(&kvrpcpb__prewrite_request__descriptor, ask);
        s->one_pc_requests += r->try_one_pc;
        ti_require(!r->try_one_pc || r->n_mutations == 2); /* never a part of them */
        if (ask->number == 1) {
            fake *f = ask->cluster;
            ask->cut = true;
            f->regions[0].end = "m";
            f->regions[0].version = 6;
            f->regions[1] = (fake_region){
                .id = 2, .version = 6, .conf_ver = 5, .start = "m", .end = "", .leader = 1};
            f->region_count = 2;
            return;
        }
        if (r->context->region_epoch->version == 5) {
            Errorpb__Error error = ERRORPB__ERROR__INIT;
            Errorpb__RegionNotFound gone = ERRORPB__REGION_NOT_FOUND__INIT;
            error.region_not_found = &gone;
            fake_region_error(ask, &error);
        }
    }
    if (ask->kind == TI_COMMAND_CHECK_TXN_STATUS)
        say_status(ask, s->commit_ts);
}

static void a_torn_1pc_is_found_out(void **state)
{
    (void)state;
    for (int committed = 0; committed < 2; committed++) {
        fake f;
        script s = {.action = KVRPCPB__ACTION__LockNotExistRollback};
        ti_err err;
        ti_ts ts;
        fake_begin(&f, NULL);
        f.context = &s;
        f.answer = torn;
        ti_engine *e = fake_open(&f);
        s.commit_ts = committed ? fake_now(&f) + 100 : 0;
        test_status(commit_two(&f, e, TI_TS_NONE, 20000, &ts, &err),
                    committed ? TI_OK : TI_CONFLICT);
        assert_true(ts == s.commit_ts);
        assert_true(s.one_pc_requests >= 1);
        end(&f, e);
    }
}

/* Async commit over two regions: the one answers, the other never does. */
static void left_is_lost(fake_ask *ask)
{
    Kvrpcpb__PrewriteRequest *r;
    if (ask->kind == TI_COMMAND_CHECK_TXN_STATUS)
        ask->silent = true;
    if (ask->kind != TI_COMMAND_PREWRITE)
        return;
    r = unpack(&kvrpcpb__prewrite_request__descriptor, ask);
    bool left = r->mutations[0]->key.data[0] == 'a';
    ask->silent = left == (script_of(ask)->commit_ts == 0);
    if (!ask->silent)
        say_prewritten(ask, script_of(ask)->start_ts + 7, 0);
}

static void a_lost_part_of_an_async_commit_is_unknown(void **state)
{
    (void)state;
    for (uint64_t right = 0; right < 2; right++) {
        fake f;
        script s = {.commit_ts = right};
        ti_err err;
        ti_ts ts;
        fake_begin(&f, two_regions);
        f.context = &s;
        f.answer = left_is_lost;
        ti_engine *e = fake_open(&f);
        int64_t began = sim_now_ms(f.sim);
        test_status(commit_two(&f, e, TI_TS_NONE, 5000, &ts, &err), TI_OUTCOME_UNKNOWN);
        assert_true(sim_now_ms(f.sim) - began <= 5001);
        sim_run(f.sim, 100);
        assert_int_equal(atomic_load(&f.asked[TI_COMMAND_BATCH_ROLLBACK]), 0);
        end(&f, e);
    }
}

/* The first prewrite of an async commit is carried out, its answer lost; asked again the store says
 * that the lock is there, and no min_commit_ts. */
static void forgets_what_is_locked(fake_ask *ask)
{
    script *s = script_of(ask);
    if (ask->kind == TI_COMMAND_PREWRITE) {
        Kvrpcpb__PrewriteRequest *r = unpack(&kvrpcpb__prewrite_request__descriptor, ask);
        ask->cut = ask->number == 1;
        say_prewritten(ask, r->mutations[0]->key.data[0] == 'a' ? 0 : s->start_ts + 7, 0);
    }
    if (ask->kind == TI_COMMAND_CHECK_TXN_STATUS)
        say_status(ask, s->commit_ts);
}

/* A reader may have committed it by its locks: 2PC would commit it a second time, later. */
static void a_lock_of_unknown_kind_is_found_out(void **state)
{
    (void)state;
    for (int committed = 0; committed < 2; committed++) {
        fake f;
        script s = {.action = KVRPCPB__ACTION__LockNotExistRollback};
        ti_err err;
        ti_ts ts;
        fake_begin(&f, two_regions);
        f.context = &s;
        f.answer = forgets_what_is_locked;
        ti_engine *e = fake_open(&f);
        s.commit_ts = committed ? fake_now(&f) + 100 : 0;
        test_status(commit_two(&f, e, TI_TS_NONE, 20000, &ts, &err),
                    committed ? TI_OK : TI_CONFLICT);
        assert_true(ts == s.commit_ts);
        end(&f, e);
    }
}

static void one_refuses_one_is_silent(fake_ask *ask)
{
    Kvrpcpb__PrewriteResponse out = KVRPCPB__PREWRITE_RESPONSE__INIT;
    Kvrpcpb__KeyError error = KVRPCPB__KEY_ERROR__INIT;
    Kvrpcpb__KeyError *errors[] = {&error};
    Kvrpcpb__WriteConflict conflict = KVRPCPB__WRITE_CONFLICT__INIT;
    if (ask->kind != TI_COMMAND_PREWRITE)
        return;
    Kvrpcpb__PrewriteRequest *r = unpack(&kvrpcpb__prewrite_request__descriptor, ask);
    ask->silent = r->mutations[0]->key.data[0] == 'a';
    conflict.key = r->mutations[0]->key;
    error.conflict = &conflict;
    out.n_errors = 1;
    out.errors = errors;
    fake_say(ask, &out.base);
}

static void a_refused_part_decides_whatever_is_lost(void **state)
{
    (void)state;
    fake f;
    script s = {0};
    ti_err err;
    ti_ts ts;
    fake_begin(&f, two_regions);
    f.context = &s;
    f.answer = one_refuses_one_is_silent;
    ti_engine *e = fake_open(&f);
    test_status(commit_two(&f, e, TI_TS_NONE, 5000, &ts, &err), TI_CONFLICT);
    end(&f, e);
}

/* A store that gives no min_commit_ts: 2PC, whose first commit timestamp is refused. */
static void falls_back(fake_ask *ask)
{
    Kvrpcpb__CommitResponse out = KVRPCPB__COMMIT_RESPONSE__INIT;
    Kvrpcpb__KeyError error = KVRPCPB__KEY_ERROR__INIT;
    Kvrpcpb__CommitTsExpired expired = KVRPCPB__COMMIT_TS_EXPIRED__INIT;
    if (ask->kind != TI_COMMAND_COMMIT || ask->number > 1)
        return;
    Kvrpcpb__CommitRequest *r = unpack(&kvrpcpb__commit_request__descriptor, ask);
    expired.key = r->primary_key;
    expired.attempted_commit_ts = r->commit_version;
    expired.min_commit_ts = r->commit_version + 1;
    error.commit_ts_expired = &expired;
    out.error = &error;
    ask->delay_ms = 50;
    fake_say(ask, &out.base);
}

static void a_refused_commit_ts_is_taken_anew_within_its_bound(void **state)
{
    (void)state;
    for (int bounded = 0; bounded < 2; bounded++) {
        fake f;
        script s = {0};
        ti_err err;
        ti_ts ts;
        fake_begin(&f, two_regions);
        f.context = &s;
        f.answer = falls_back;
        ti_engine *e = fake_open(&f);
        ti_ts bound = bounded ? ti_ts_add_us(fake_now(&f), 30000) : TI_TS_NONE;
        test_status(commit_two(&f, e, bound, 10000, &ts, &err), bounded ? TI_CONFLICT : TI_OK);
        sim_run(f.sim, 1000);
        if (bounded)
            assert_int_equal(atomic_load(&f.asked[TI_COMMAND_COMMIT]), 1);
        else
            assert_true(ts > s.start_ts);
        end(&f, e);
    }
}

/* ---- locks of others ---- */

static void fill_lock(fake_ask *ask, Kvrpcpb__LockInfo *lock, const char *key)
{
    script *s = script_of(ask);
    kvrpcpb__lock_info__init(lock);
    lock->key = ti_pb_bytes(ti_slice_of(key));
    lock->primary_lock = ti_pb_bytes(TI_SLICE("primary"));
    lock->lock_version = s->start_ts;
    lock->lock_ttl = s->lock_ttl;
    lock->txn_size = s->txn_size;
    lock->lock_type = s->lock_type;
}

static bool holds(const uint64_t *list, size_t count, uint64_t ts)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i] == ts)
            return true;
    }
    return false;
}

/* A get meets the lock until its context names the owner, or the lock was resolved. */
static void answer_get(fake_ask *ask)
{
    script *s = script_of(ask);
    Kvrpcpb__GetResponse out = KVRPCPB__GET_RESPONSE__INIT;
    Kvrpcpb__KeyError error = KVRPCPB__KEY_ERROR__INIT;
    Kvrpcpb__LockInfo lock;
    Kvrpcpb__GetRequest *r = unpack(&kvrpcpb__get_request__descriptor, ask);
    s->read_through =
        holds(r->context->committed_locks, r->context->n_committed_locks, s->start_ts);
    s->read_past = holds(r->context->resolved_locks, r->context->n_resolved_locks, s->start_ts);
    if (!s->read_through && !s->read_past) {
        fill_lock(ask, &lock, "a");
        error.locked = &lock;
        out.error = &error;
    }
    out.not_found = true;
    fake_say(ask, &out.base);
}

static void answer_check(fake_ask *ask)
{
    script *s = script_of(ask);
    Kvrpcpb__CheckTxnStatusResponse out = KVRPCPB__CHECK_TXN_STATUS_RESPONSE__INIT;
    Kvrpcpb__KeyError error = KVRPCPB__KEY_ERROR__INIT;
    Kvrpcpb__TxnNotFound not_found = KVRPCPB__TXN_NOT_FOUND__INIT;
    Kvrpcpb__PrimaryMismatch mismatch = KVRPCPB__PRIMARY_MISMATCH__INIT;
    Kvrpcpb__LockInfo primary;
    ProtobufCBinaryData secondary = ti_pb_bytes(TI_SLICE("a"));
    Kvrpcpb__CheckTxnStatusRequest *r = unpack(&kvrpcpb__check_txn_status_request__descriptor, ask);
    s->forced += r->force_sync_commit;
    s->rolled_back_absent += r->rollback_if_not_exist;
    out.action = s->action;
    out.commit_version = s->commit_ts;
    if (s->primary_from_ms != 0 && !r->rollback_if_not_exist) {
        error.txn_not_found = &not_found;
        out.error = &error;
    } else if (s->lock_type == KVRPCPB__OP__PessimisticLock) {
        error.primary_mismatch = &mismatch;
        out.error = &error;
    } else if (s->async_primary && !r->force_sync_commit) {
        fill_lock(ask, &primary, "primary");
        primary.use_async_commit = true;
        primary.min_commit_ts = s->start_ts + 3;
        primary.n_secondaries = 1;
        primary.secondaries = &secondary;
        out.lock_info = &primary;
        out.lock_ttl = s->lock_ttl;
        out.commit_version = 0;
    } else if (s->action == KVRPCPB__ACTION__MinCommitTSPushed) {
        out.lock_ttl = s->lock_ttl;
    }
    fake_say(ask, &out.base);
}

static void answer_secondaries(fake_ask *ask)
{
    script *s = script_of(ask);
    Kvrpcpb__CheckSecondaryLocksResponse out = KVRPCPB__CHECK_SECONDARY_LOCKS_RESPONSE__INIT;
    Kvrpcpb__LockInfo lock;
    Kvrpcpb__LockInfo *locks[] = {&lock};
    fill_lock(ask, &lock, "a");
    lock.use_async_commit = !s->secondary_sync;
    lock.min_commit_ts = s->start_ts + 9;
    out.n_locks = s->secondary_missing ? 0 : 1;
    out.locks = locks;
    fake_say(ask, &out.base);
}

static void answer_locks(fake_ask *ask)
{
    script *s = script_of(ask);
    switch (ask->kind) {
    case TI_COMMAND_GET:
        answer_get(ask);
        return;
    case TI_COMMAND_CHECK_TXN_STATUS:
        answer_check(ask);
        return;
    case TI_COMMAND_CHECK_SECONDARY_LOCKS:
        answer_secondaries(ask);
        return;
    case TI_COMMAND_RESOLVE_LOCK: {
        Kvrpcpb__ResolveLockRequest *r = unpack(&kvrpcpb__resolve_lock_request__descriptor, ask);
        s->resolved_commit_ts = r->commit_version;
        s->resolved_with_keys += r->n_keys > 0;
        s->resolved_regions += r->n_keys == 0;
        return;
    }
    default:
        return;
    }
}

/* Reads a key that is locked as the script says; answers how long it took, in ms. */
static int64_t read_locked(fake *f, ti_engine *e, int64_t timeout_ms)
{
    ti_snapshot *snapshot = NULL;
    ti_slice value;
    ti_arena a;
    ti_err err;
    ti_call call = call_ms(f, timeout_ms);
    ti_arena_init(&a);
    int64_t began = sim_now_ms(f->sim);
    test_ok(e->vt->begin(e, TI_TS_NONE, &snapshot, &call, &err), &err);
    ti_status status = e->vt->get(snapshot, TI_SLICE("a"), &a, &value, &call, &err);
    if (status != TI_NOT_FOUND)
        fail_msg("%s: %s", ti_status_name(status), err.message);
    e->vt->release(snapshot);
    ti_arena_free(&a);
    return sim_now_ms(f->sim) - began;
}

static ti_engine *begin_locked(fake *f, script *s)
{
    fake_begin(f, NULL);
    f->context = s;
    f->answer = answer_locks;
    ti_engine *e = fake_open(f);
    s->start_ts = fake_now(f);
    return e;
}

/* Lets the background clear. */
static void until_resolved(fake *f, ti_command_id kind)
{
    for (int i = 0; i < 2000 && atomic_load(&f->asked[kind]) == 0; i++)
        usleep(1000);
    assert_true(atomic_load(&f->asked[kind]) > 0);
}

static void a_committed_lock_is_read_through(void **state)
{
    (void)state;
    fake f;
    script s = {.lock_ttl = 3000, .txn_size = 2};
    ti_engine *e = begin_locked(&f, &s);
    s.commit_ts = s.start_ts + 1;
    assert_int_equal(read_locked(&f, e, 10000), 0);
    assert_true(s.read_through);
    until_resolved(&f, TI_COMMAND_RESOLVE_LOCK);
    read_locked(&f, e, 10000);
    assert_int_equal(atomic_load(&f.asked[TI_COMMAND_CHECK_TXN_STATUS]), 1); /* remembered */
    end(&f, e);
    assert_true(s.resolved_with_keys >= 1); /* by whoever meets it */
    assert_true(s.resolved_commit_ts == s.commit_ts);
}

static void large_transactions_are_resolved_by_region(void **state)
{
    (void)state;
    fake f;
    script s = {.lock_ttl = 3000, .txn_size = 512, .action = KVRPCPB__ACTION__TTLExpireRollback};
    ti_engine *e = begin_locked(&f, &s);
    read_locked(&f, e, 10000);
    assert_true(s.read_past);
    until_resolved(&f, TI_COMMAND_RESOLVE_LOCK);
    end(&f, e);
    assert_int_equal(s.resolved_regions, 1);
    assert_true(s.resolved_commit_ts == 0);
}

static void what_is_known_of_one_lock_only_is_not_remembered(void **state)
{
    (void)state;
    fake f;
    script s = {.lock_ttl = 3000, .action = KVRPCPB__ACTION__LockNotExistDoNothing};
    ti_engine *e = begin_locked(&f, &s);
    read_locked(&f, e, 10000);
    read_locked(&f, e, 10000);
    assert_int_equal(atomic_load(&f.asked[TI_COMMAND_CHECK_TXN_STATUS]), 2);
    end(&f, e);
}

static void a_live_lock_that_was_pushed_is_read_past(void **state)
{
    (void)state;
    fake f;
    script s = {.lock_ttl = 3000, .action = KVRPCPB__ACTION__MinCommitTSPushed};
    ti_engine *e = begin_locked(&f, &s);
    assert_int_equal(read_locked(&f, e, 10000), 0);
    assert_true(s.read_past);
    assert_int_equal(atomic_load(&f.asked[TI_COMMAND_RESOLVE_LOCK]), 0);
    end(&f, e);
}

/* A client died after writing secondaries, before its primary. */
static void a_missing_primary_is_waited_for_until_the_lock_expires(void **state)
{
    (void)state;
    fake f;
    script s = {
        .lock_ttl = 3000, .primary_from_ms = 1, .action = KVRPCPB__ACTION__LockNotExistRollback};
    ti_engine *e = begin_locked(&f, &s);
    int64_t took = read_locked(&f, e, 60000);
    assert_in_range(took, 2900, 5000);
    assert_int_equal(s.rolled_back_absent, 1);
    end(&f, e);
}

static void a_primary_mismatch_rolls_one_lock_back(void **state)
{
    (void)state;
    fake f;
    script s = {.lock_ttl = 3000, .lock_type = KVRPCPB__OP__PessimisticLock};
    ti_engine *e = begin_locked(&f, &s);
    read_locked(&f, e, 10000);
    until_resolved(&f, TI_COMMAND_PESSIMISTIC_ROLLBACK);
    assert_int_equal(atomic_load(&f.asked[TI_COMMAND_RESOLVE_LOCK]), 0);
    end(&f, e);
}

static void expired_async_commits_are_decided_by_their_secondaries(void **state)
{
    (void)state;
    for (int missing = 0; missing < 2; missing++) {
        fake f;
        script s = {.lock_ttl = 1, .async_primary = true, .secondary_missing = missing};
        ti_engine *e = begin_locked(&f, &s);
        sim_run(f.sim, 100);
        read_locked(&f, e, 10000);
        assert_int_equal(s.read_through, !missing);
        assert_true(s.resolved_commit_ts == (missing ? 0 : s.start_ts + 9));
        assert_int_equal(ti_resolver_stats_of(((ti_tikv *)e)->resolver).recovered, 1);
        end(&f, e);
    }
}

static void a_secondary_that_is_not_async_forces_2pc(void **state)
{
    (void)state;
    fake f;
    script s = {.lock_ttl = 1,
                .async_primary = true,
                .secondary_sync = true,
                .action = KVRPCPB__ACTION__TTLExpireRollback};
    ti_engine *e = begin_locked(&f, &s);
    sim_run(f.sim, 100);
    read_locked(&f, e, 10000);
    assert_int_equal(s.forced, 1);
    assert_true(s.read_past);
    end(&f, e);
}

/* ---- heartbeats ---- */

static void answer_beats(fake_ask *ask)
{
    script *s = script_of(ask);
    if (ask->kind == TI_COMMAND_TXN_HEART_BEAT) {
        Kvrpcpb__TxnHeartBeatRequest *r = unpack(&kvrpcpb__txn_heart_beat_request__descriptor, ask);
        atomic_store(&s->beat_ttl, r->advise_lock_ttl);
    }
    if (ask->kind == TI_COMMAND_PESSIMISTIC_LOCK) {
        Kvrpcpb__PessimisticLockRequest *r =
            unpack(&kvrpcpb__pessimistic_lock_request__descriptor, ask);
        s->commit_ts = r->lock_ttl;
    }
}

/* A time to live counts from the transaction's start, however late its first lock comes. */
static void beats_reach_beyond_the_present(void **state)
{
    (void)state;
    fake f;
    script s = {0};
    ti_err err;
    ti_arena a;
    ti_locks *locks = NULL;
    ti_locked out;
    fake_begin(&f, NULL);
    f.context = &s;
    f.answer = answer_beats;
    ti_engine *e = fake_open(&f);
    ti_slice key = TI_SLICE("a");
    ti_lock_request request = {.start_ts = fake_now(&f), .keys = &key, .count = 1, .wait_us = -1};
    ti_arena_init(&a);
    sim_run(f.sim, 60000);
    ti_call call = call_ms(&f, 10000);
    test_ok(e->vt->lock(e, &locks, &request, &a, &out, &call, &err), &err);
    assert_in_range(s.commit_ts, 80000, 81000);
    sim_run(f.sim, TI_HEARTBEAT_MS);
    for (int i = 0; i < 3000 && atomic_load(&s.beat_ttl) == 0; i++)
        usleep(10000);
    assert_in_range(atomic_load(&s.beat_ttl), 88000, 90000);
    e->vt->unlock(e, locks);
    assert_int_equal(atomic_load(&f.asked[TI_COMMAND_PESSIMISTIC_ROLLBACK]), 1);
    ti_arena_free(&a);
    end(&f, e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_pc_is_one_request),
        cmocka_unit_test(a_torn_1pc_is_found_out),
        cmocka_unit_test(a_lock_of_unknown_kind_is_found_out),
        cmocka_unit_test(a_lost_part_of_an_async_commit_is_unknown),
        cmocka_unit_test(a_refused_part_decides_whatever_is_lost),
        cmocka_unit_test(a_refused_commit_ts_is_taken_anew_within_its_bound),
        cmocka_unit_test(a_committed_lock_is_read_through),
        cmocka_unit_test(large_transactions_are_resolved_by_region),
        cmocka_unit_test(what_is_known_of_one_lock_only_is_not_remembered),
        cmocka_unit_test(a_live_lock_that_was_pushed_is_read_past),
        cmocka_unit_test(a_missing_primary_is_waited_for_until_the_lock_expires),
        cmocka_unit_test(a_primary_mismatch_rolls_one_lock_back),
        cmocka_unit_test(expired_async_commits_are_decided_by_their_secondaries),
        cmocka_unit_test(a_secondary_that_is_not_async_forces_2pc),
        cmocka_unit_test(beats_reach_beyond_the_present),
    };
    return TEST_RUN(tests);
}

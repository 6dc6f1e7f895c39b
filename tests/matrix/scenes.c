/* The scenes of the matrix: operations of the engine, each with several requests of one kind, and
 * what must be true of them afterwards. See matrix.h. */
#include "matrix/matrix.h"

#include "tikv/tikv_int.h"

/* The deadline is that of the whole cell. */
static ti_call call_of(world *w)
{
    int64_t ms = w->place == EVER ? DEADLINE_EVER_MS : DEADLINE_MS;
    if (w->deadline_ns == 0)
        w->deadline_ns = ti_call_within(&w->f.sim->env.env, ms * 1000).deadline_ns;
    return (ti_call){.env = &w->f.sim->env.env, .deadline_ns = w->deadline_ns};
}

/* A transaction that was there before; its timestamps lie a minute back. */
static uint64_t past(world *w, uint64_t ms)
{
    return ((fake_now(&w->f) >> 18) - 60000 + ms) << 18;
}

/* ---- Reads ---- */

static void expect(world *w, size_t key, ti_slice value)
{
    if (!ti_slice_equal(value, ti_slice_of(w->expected[key])))
        complain(w, "key %zu reads '%.*s' instead of '%s'", key, (int)value.len, value.data,
                 w->expected[key]);
}

static ti_snapshot *begin(world *w, const ti_call *call)
{
    ti_snapshot *s = NULL;
    w->status = w->e->vt->begin(w->e, TI_TS_NONE, &s, call, &w->err);
    return s;
}

/* The first key of each region, by itself. */
static void act_get(world *w)
{
    ti_call call = call_of(w);
    ti_snapshot *s = begin(w, &call);
    for (size_t i = 0; i < KEYS && w->status == TI_OK; i += 2) {
        ti_slice value = TI_SLICE_NONE;
        w->status = w->e->vt->get(s, w->keys[i], &w->a, &value, &call, &w->err);
        if (w->status == TI_NOT_FOUND)
            complain(w, "key %zu is not found", i);
        if (w->status == TI_OK)
            expect(w, i, value);
    }
    if (s != NULL)
        w->e->vt->release(s);
}

static void act_batch_get(world *w)
{
    ti_slice values[KEYS];
    ti_call call = call_of(w);
    ti_snapshot *s = begin(w, &call);
    if (w->status == TI_OK)
        w->status = w->e->vt->batch_get(s, w->keys, KEYS, &w->a, values, &call, &w->err);
    for (size_t i = 0; i < KEYS && w->status == TI_OK; i++)
        expect(w, i, values[i].data != NULL ? values[i] : TI_SLICE("(nothing)"));
    if (s != NULL)
        w->e->vt->release(s);
}

static void scan(world *w, bool reverse)
{
    ti_scan_page page;
    ti_call call = call_of(w);
    ti_scan what = {.range = {.from = TI_SLICE("a"), .to = TI_SLICE("z")},
                    .reverse = reverse,
                    .items_max = 100};
    ti_snapshot *s = begin(w, &call);
    if (w->status == TI_OK)
        w->status = w->e->vt->scan(s, &what, &w->a, &page, &call, &w->err);
    if (w->status == TI_OK && page.count != KEYS)
        complain(w, "the scan has %zu pairs", page.count);
    for (size_t i = 0; w->status == TI_OK && i < page.count && i < KEYS; i++) {
        size_t key = reverse ? KEYS - 1 - i : i;
        if (!ti_slice_equal(page.pairs[i].key, w->keys[key]))
            complain(w, "pair %zu is out of place", i);
        expect(w, key, page.pairs[i].value);
    }
    if (s != NULL)
        w->e->vt->release(s);
}

static void act_scan(world *w)
{
    scan(w, false);
}

static void act_scan_back(world *w)
{
    scan(w, true);
}

/* ---- Commits ---- */

/* Commits "new" to keys, given by their indexes, ascending. */
static void commit(world *w, const size_t *keys, size_t count, ti_locks *locks, uint64_t start_ts)
{
    ti_mutation list[KEYS];
    attempt *one = &w->commits[w->commit_count++];
    ti_commit_result result;
    ti_call call = call_of(w);
    ti_require(w->commit_count <= COMMITS_MAX);
    one->count = count;
    one->applied_before = w->applied;
    one->start_ts = start_ts;
    for (size_t i = 0; i < count; i++) {
        one->keys[i] = keys[i];
        list[i] = (ti_mutation){
            .key = w->keys[keys[i]], .value = TI_SLICE("new"), .kind = TI_MUTATION_PUT};
    }
    ti_commit_request request = {
        .start_ts = start_ts, .mutations = list, .count = count, .locks = locks};
    ti_err_clear(&w->err);
    w->status = w->e->vt->commit(w->e, &request, &result, &call, &w->err);
    one->status = w->status;
    one->commit_ts = result.commit_ts;
}

static const size_t one_each[] = {0, 2, 4, 6};

static void act_one_pc(world *w)
{
    for (size_t i = 0; i < 3 && w->status == TI_OK; i++)
        commit(w, &one_each[i], 1, NULL, fake_now(&w->f));
}

static void act_all(world *w)
{
    commit(w, one_each, 4, NULL, fake_now(&w->f));
}

/* Four commits of two regions each, which share no key. */
static void act_pairs(world *w)
{
    static const size_t pairs[][2] = {{0, 2}, {1, 3}, {4, 6}};
    for (size_t i = 0; i < 3 && w->status == TI_OK; i++)
        commit(w, pairs[i], 2, NULL, fake_now(&w->f));
}

static bool counts_primary(world *w, fake_ask *ask)
{
    (void)w;
    Kvrpcpb__CommitRequest *r = mvcc_unpack(&kvrpcpb__commit_request__descriptor, ask);
    return r->commit_role == KVRPCPB__COMMIT_ROLE__Primary;
}

static bool counts_secondary(world *w, fake_ask *ask)
{
    return !counts_primary(w, ask);
}

/* The last key has changed since: what was prewritten is rolled back. */
static void act_rolled_back(world *w)
{
    uint64_t start_ts = fake_now(&w->f);
    ti_arena a;
    ti_arena_init(&a);
    uint64_t later = fake_now(&w->f);
    mvcc_put(&w->m, ti_arena_copy(&a, w->keys[6]).data, "other", later, later + 1);
    w->expected[6] = "other";
    commit(w, one_each, 4, NULL, start_ts);
    if (w->status != TI_CONFLICT)
        complain(w, "a conflict is answered with %s", ti_status_name(w->status));
    w->status = TI_OK;
    ti_arena_free(&a);
}

/* ---- Pessimistic locks ---- */

static ti_locks *lock_all(world *w, uint64_t start_ts)
{
    ti_slice keys[4];
    ti_locked out[4];
    ti_locks *locks = NULL;
    ti_call call = call_of(w);
    for (size_t i = 0; i < 4; i++)
        keys[i] = w->keys[one_each[i]];
    ti_lock_request request = {.start_ts = start_ts, .keys = keys, .count = 4, .wait_us = -1};
    memset(out, 0, sizeof(out));
    w->status = w->e->vt->lock(w->e, &locks, &request, &w->a, out, &call, &w->err);
    for (size_t i = 0; i < 4 && w->status == TI_OK; i++)
        expect(w, one_each[i], out[i].found ? out[i].value : TI_SLICE("(nothing)"));
    return locks;
}

static void act_lock(world *w)
{
    int64_t began_ms = sim_now_ms(w->f.sim);
    ti_locks *locks = lock_all(w, fake_now(&w->f));
    w->elapsed_ms = sim_now_ms(w->f.sim) - began_ms;
    w->quiet = true;
    w->e->vt->unlock(w->e, locks);
}

static void act_unlock(world *w)
{
    ti_locks *locks = lock_all(w, fake_now(&w->f));
    w->e->vt->unlock(w->e, locks);
}

static void act_locked_commit(world *w)
{
    uint64_t start_ts = fake_now(&w->f);
    ti_locks *locks = lock_all(w, start_ts);
    int64_t began_ms = sim_now_ms(w->f.sim);
    if (w->status == TI_OK)
        commit(w, one_each, 4, locks, start_ts);
    w->elapsed_ms = sim_now_ms(w->f.sim) - began_ms;
    w->quiet = true;
    w->e->vt->unlock(w->e, locks);
}

#define BEAT_STEPS 200

/* Whether beats went on, or ended with the trouble. */
static void judge_beats(world *w, int wanted)
{
    usleep(w->deed == STOPS ? 30000 : 0);
    int asked = atomic_load(&w->f.asked[TI_COMMAND_TXN_HEART_BEAT]);
    if (w->deed != STOPS) {
        if (asked < wanted)
            complain(w, "there are %d heartbeats only", asked);
        return;
    }
    sim_run(w->f.sim, 2 * TI_HEARTBEAT_MS);
    usleep(30000);
    if (w->hits == 0 || atomic_load(&w->f.asked[TI_COMMAND_TXN_HEART_BEAT]) != asked)
        complain(w, "heartbeats go on after the lock is gone");
}

/* A transaction that takes long: its lock has to live for as long. */
static void act_beat(world *w)
{
    ti_locked out;
    ti_locks *locks = NULL;
    mvcc_lock lock = {0};
    ti_call call = call_of(w);
    ti_lock_request request = {
        .start_ts = fake_now(&w->f), .keys = w->keys, .count = 1, .wait_us = -1};
    w->status = w->e->vt->lock(w->e, &locks, &request, &w->a, &out, &call, &w->err);
    int wanted = w->deed == STOPS ? w->seen : w->scene->last + 1;
    for (int step = 0; step < BEAT_STEPS; step++) {
        int before = atomic_load(&w->f.asked[TI_COMMAND_TXN_HEART_BEAT]);
        if (w->deed == STOPS ? w->hits > 0 : before >= wanted)
            break;
        sim_run(w->f.sim, TI_HEARTBEAT_MS / 4);
        usleep(3000); /* the thread that beats looks at the clock each millisecond */
    }
    judge_beats(w, wanted);
    w->quiet = true;
    (void)mvcc_lock_of(&w->m, "a", &lock);
    if (w->deed == OVERCOME && w->place == FIRST && lock.ttl_ms < 2 * TI_HEARTBEAT_MS + 20000)
        complain(w, "the lock lives for %llu ms only", (unsigned long long)lock.ttl_ms);
    w->e->vt->unlock(w->e, locks);
}

/* ---- Locks of others ---- */

/* Locks of four dead owners, whose primaries are beside them: two had committed, one was rolled
 * back, one never wrote its primary. */
static void prepare_owners(world *w)
{
    static const char *const primaries[] = {"b", "h", "o", "v"};
    static const char *const keys[] = {"a", "g", "n", "u"};
    for (size_t i = 0; i < 4; i++) {
        uint64_t start_ts = past(w, i);
        mvcc_lock lock = {.op = KVRPCPB__OP__Put,
                          .value = TI_SLICE("kept"),
                          .primary = ti_slice_of(primaries[i]),
                          .start_ts = start_ts,
                          .ttl_ms = 3000,
                          .txn_size = 2};
        mvcc_set_lock(&w->m, keys[i], &lock);
        if (i % 2 == 0)
            mvcc_put(&w->m, primaries[i], "kept", start_ts, past(w, 100 + i));
        if (i == 1)
            mvcc_roll_back(&w->m, primaries[i], start_ts);
        w->expected[i * 2] = i % 2 == 0 ? "kept" : "old";
        w->expected[i * 2 + 1] = i % 2 == 0 ? "kept" : "old";
    }
}

/* One dead owner in async commit, all of whose locks are written: it is committed. */
static void prepare_async(world *w)
{
    static const char *const keys[] = {"a", "g", "n", "u"};
    ti_slice secondaries[] = {TI_SLICE("g"), TI_SLICE("n"), TI_SLICE("u")};
    uint64_t start_ts = past(w, 0);
    for (size_t i = 0; i < 4; i++) {
        mvcc_lock lock = {.op = KVRPCPB__OP__Put,
                          .value = TI_SLICE("kept"),
                          .primary = TI_SLICE("a"),
                          .start_ts = start_ts,
                          .ttl_ms = 3000,
                          .txn_size = 4,
                          .async = true,
                          .min_commit_ts = start_ts + 5 + i};
        if (i == 0) {
            lock.secondaries = secondaries;
            lock.secondary_count = 3;
        }
        mvcc_set_lock(&w->m, keys[i], &lock);
        w->expected[i * 2] = "kept";
    }
}

static void check_async(world *w)
{
    static const char *const keys[] = {"a", "g", "n", "u"};
    for (size_t i = 0; i < 4; i++) {
        uint64_t ts = mvcc_committed_at(&w->m, ti_slice_of(keys[i]), past(w, 0));
        (void)ts;
    }
}

/* One dead owner, committed, whose secondaries are in a writer's way. */
static void prepare_resolve(world *w)
{
    static const char *const keys[] = {"a", "g", "n", "u"};
    uint64_t start_ts = past(w, 0);
    mvcc_put(&w->m, "b", "kept", start_ts, past(w, 100));
    w->expected[1] = "kept";
    for (size_t i = 0; i < 4; i++) {
        mvcc_lock lock = {.op = KVRPCPB__OP__Put,
                          .value = TI_SLICE("kept"),
                          .primary = TI_SLICE("b"),
                          .start_ts = start_ts,
                          .ttl_ms = 3000,
                          .txn_size = 5};
        mvcc_set_lock(&w->m, keys[i], &lock);
        w->expected[i * 2] = "kept";
    }
}

/* ---- Maintenance ---- */

static void act_gc(world *w)
{
    ti_call call = call_of(w);
    w->status = w->e->vt->gc(w->e, 0, &call, &w->err);
    bool moved = w->f.safe_point != 0;
    if (moved != (w->status == TI_OK))
        complain(w, "the safe point %s, and the answer is %s",
                 moved ? "has moved" : "has not moved", ti_status_name(w->status));
    if (moved && mvcc_locks(&w->m) > 0)
        complain(w, "the safe point has moved past a lock");
}

static void act_destroy(world *w)
{
    ti_call call = call_of(w);
    ti_range range = {.from = TI_SLICE("a"), .to = TI_SLICE("z")};
    w->status = w->e->vt->destroy_range(w->e, range, &call, &w->err);
    for (size_t i = 0; i < KEYS; i++) {
        if (w->status == TI_OK && mvcc_value(&w->m, w->keys[i], UINT64_MAX).len > 0)
            complain(w, "key %zu is still there", i);
        w->expected[i] = NULL; /* whatever it is now */
    }
}

const scene scenes[] = {
    {"Get", TI_COMMAND_GET, 4, 30000, false, NULL, NULL, act_get, NULL},
    {"BatchGet", TI_COMMAND_BATCH_GET, 4, 60000, false, NULL, NULL, act_batch_get, NULL},
    {"Scan", TI_COMMAND_SCAN, 4, 60000, false, NULL, NULL, act_scan, NULL},
    {"Scan, reverse", TI_COMMAND_SCAN, 4, 60000, false, NULL, NULL, act_scan_back, NULL},
    {"Prewrite, 1PC", TI_COMMAND_PREWRITE, 3, 30000, false, NULL, NULL, act_one_pc, NULL},
    {"Prewrite, async", TI_COMMAND_PREWRITE, 4, 30000, false, NULL, NULL, act_all, NULL},
    {"Prewrite, 2PC", TI_COMMAND_PREWRITE, 4, 30000, true, NULL, NULL, act_all, NULL},
    {"Prewrite, locked", TI_COMMAND_PREWRITE, 4, 30000, false, NULL, NULL, act_locked_commit, NULL},
    {"Commit, primary", TI_COMMAND_COMMIT, 3, 30000, true, counts_primary, NULL, act_pairs, NULL},
    {"Commit, secondary", TI_COMMAND_COMMIT, 3, 30000, true, counts_secondary, NULL, act_all, NULL},
    {"BatchRollback", TI_COMMAND_BATCH_ROLLBACK, 4, 30000, true, NULL, NULL, act_rolled_back, NULL},
    {"PessimisticLock", TI_COMMAND_PESSIMISTIC_LOCK, 4, 30000, false, NULL, NULL, act_lock, NULL},
    {"PessimisticRollback", TI_COMMAND_PESSIMISTIC_ROLLBACK, 4, 30000, false, NULL, NULL,
     act_unlock, NULL},
    {"CheckTxnStatus", TI_COMMAND_CHECK_TXN_STATUS, 4, 30000, false, NULL, prepare_owners, act_get,
     NULL},
    {"CheckSecondaryLocks", TI_COMMAND_CHECK_SECONDARY_LOCKS, 3, 30000, false, NULL, prepare_async,
     act_get, check_async},
    {"ResolveLock", TI_COMMAND_RESOLVE_LOCK, 4, 30000, false, NULL, prepare_resolve, act_all, NULL},
    {"TxnHeartBeat", TI_COMMAND_TXN_HEART_BEAT, 3, 30000, false, NULL, NULL, act_beat, NULL},
    {"ScanLock", TI_COMMAND_SCAN_LOCK, 4, 60000, false, NULL, prepare_owners, act_gc, NULL},
    {"UnsafeDestroyRange", TI_COMMAND_UNSAFE_DESTROY_RANGE, 3, 300000, false, NULL, NULL,
     act_destroy, NULL},
};
const size_t scene_count = sizeof(scenes) / sizeof(scenes[0]);

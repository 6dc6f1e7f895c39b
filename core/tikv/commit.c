/* Commit: choosing the mode, the commit point, and what follows it. See commit_int.h; kv/engine.h
 * for what it promises. */
#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/fault.h"
#include "tikv/commit_int.h"

/* ---- Preparing ---- */

size_t ti_committer_index_of(const ti_committer *c, ti_slice key)
{
    size_t low = 0;
    size_t high = c->request->count;
    while (key.len > 0 && low < high) {
        size_t middle = low + (high - low) / 2;
        int order = ti_slice_compare(c->keys[middle], key);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return SIZE_MAX;
}

static size_t total_size(const ti_committer *c, bool values)
{
    size_t size = 0;
    for (size_t i = 0; i < c->request->count; i++)
        size += c->keys[i].len + (values ? c->request->mutations[i].value.len : 0);
    return size;
}

/* Small transactions: 3 s; larger ones by the square root of their size; and the time that has
 * passed (source: client-go). */
static uint64_t lock_ttl_ms(const ti_committer *c)
{
    size_t size = total_size(c, true);
    double ttl = TI_LOCK_TTL_MS;
    if (size >= TI_BATCH_SIZE)
        ttl = 6000.0 * sqrt((double)size / (1024.0 * 1024.0));
    ttl = ttl < TI_LOCK_TTL_MS ? TI_LOCK_TTL_MS : ttl;
    ttl = ttl > TI_LOCK_TTL_MAX_MS ? TI_LOCK_TTL_MAX_MS : ttl;
    if (c->pessimistic)
        ttl = TI_PESSIMISTIC_TTL_MS;
    return (uint64_t)ttl + ti_age_ms(c->request->start_ts, c->now_ts);
}

/* The primary: the first key locked pessimistically, else the first that is locked at all. */
static void choose_primary(ti_committer *c)
{
    const ti_locks *locks = c->request->locks;
    if (locks != NULL && locks->count > 0) {
        size_t index = ti_committer_index_of(c, locks->primary);
        if (index != SIZE_MAX) {
            c->primary = index;
            return;
        }
    }
    for (size_t i = 0; i < c->request->count; i++) {
        if (ti_committer_writes(c, i)) {
            c->primary = i;
            return;
        }
    }
    c->primary = 0;
    c->nothing_to_commit = true;
}

/* The latest timestamp known: PD's, unless the transaction is young and need not be linearizable.
 */
static ti_status learn_time(ti_committer *c, ti_err *err)
{
    const ti_commit_request *r = c->request;
    int64_t age_ms =
        ti_env_wall_us(c->engine->base.env) / 1000 - (int64_t)(r->start_ts >> TI_TS_LOGICAL_BITS);
    c->now_ts = r->fresh_ts > r->start_ts ? r->fresh_ts : r->start_ts;
    if (r->fresh_ts != TI_TS_NONE || (r->causal && age_ms < TI_CAUSAL_AGE_MAX_MS))
        return TI_OK;
    return ti_pd_timestamp(c->engine->cluster.pd, &c->now_ts, c->call, err);
}

/* The gates of async commit and 1PC, and the timestamps that keep them linearizable and below
 * not_after. */
static ti_status choose_mode(ti_committer *c, ti_err *err)
{
    const ti_commit_request *r = c->request;
    c->async = r->count <= TI_ASYNC_KEYS_MAX && total_size(c, false) <= TI_ASYNC_SIZE_MAX &&
               !c->nothing_to_commit;
    c->one_pc = total_size(c, true) < TI_BATCH_SIZE && !c->nothing_to_commit;
    if (!c->async && !c->one_pc)
        return TI_OK;
    c->min_commit_ts = c->now_ts + 1;
    if (c->pessimistic && r->locks->for_update_ts >= c->min_commit_ts)
        c->min_commit_ts = r->locks->for_update_ts + 1;
    c->max_commit_ts = c->now_ts + ((uint64_t)TI_ASYNC_WINDOW_MS << TI_TS_LOGICAL_BITS);
    if (r->not_after != TI_TS_NONE && r->not_after < c->max_commit_ts)
        c->max_commit_ts = r->not_after;
    if (c->max_commit_ts < c->min_commit_ts)
        return ti_err_set(err, TI_CONFLICT,
                          "the transaction comes too late: its time bound has passed");
    return TI_OK;
}

/* Locks the keys that a transaction with pessimistic locks writes without having locked them, and
 * checks absence: under a lock the store does not. */
static ti_status lock_the_rest(ti_committer *c, ti_err *err)
{
    const ti_commit_request *r = c->request;
    ti_slice failed = TI_SLICE_NONE;
    ti_status status = ti_tikv_lock_rest(c->engine, r->locks, c->keys, r->count, c->now_ts,
                                         &c->arena, &failed, c->call, err);
    if (status != TI_OK) {
        c->failed_index = ti_committer_index_of(c, failed);
        return status;
    }
    for (size_t i = 0; i < r->count; i++) {
        bool absent = r->mutations[i].kind == TI_MUTATION_INSERT ||
                      r->mutations[i].kind == TI_MUTATION_ABSENT;
        const ti_held_key *held = ti_locks_find(r->locks, c->keys[i]);
        ti_assert(held != NULL);
        if (!absent || !held->found)
            continue;
        c->failed_index = i;
        return ti_err_set(err, TI_ALREADY_EXISTS, "the key exists already");
    }
    return TI_OK;
}

static ti_status committer_init(ti_committer *c, ti_tikv *t, const ti_commit_request *request,
                                const ti_call *call, ti_err *err)
{
    memset(c, 0, sizeof(*c));
    c->engine = t;
    c->request = request;
    c->call = call;
    c->failed_index = SIZE_MAX;
    c->blocked_index = SIZE_MAX;
    ti_arena_init(&c->arena);
    ti_met_locks_init(&c->met);
    c->keys = ti_arena_alloc(&c->arena, request->count * sizeof(*c->keys));
    c->committed = ti_arena_alloc_zero(&c->arena, request->count * sizeof(*c->committed));
    c->lost = ti_arena_alloc_zero(&c->arena, request->count * sizeof(*c->lost));
    if (c->keys == NULL || c->committed == NULL || c->lost == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < request->count; i++)
        c->keys[i] = request->mutations[i].key;
    c->pessimistic = request->locks != NULL && request->locks->count > 0;
    choose_primary(c);
    TI_TRY(learn_time(c, err));
    c->lock_ttl_ms = lock_ttl_ms(c);
    if (c->pessimistic)
        TI_TRY(lock_the_rest(c, err));
    return choose_mode(c, err);
}

/* ---- The commit point of 2PC ---- */

typedef struct primary_commit {
    ti_committer *committer;
    size_t from; /* the keys [from, to) go with the primary in this request */
    size_t to;
    bool moved; /* the last answer wanted a later timestamp */
    uint32_t moves;
} primary_commit;

static bool goes_along(const ti_committer *c, const ti_region *region, size_t index, size_t *size)
{
    if (!ti_region_holds(region, c->keys[index], false) || *size >= TI_BATCH_SIZE)
        return false;
    *size += c->keys[index].len;
    return true;
}

/* The keys around the primary that are in its region, up to a batch. */
static void choose_neighbours(primary_commit *p, const ti_region *region)
{
    const ti_committer *c = p->committer;
    size_t size = 0;
    p->from = c->primary;
    p->to = c->primary + 1;
    while (p->to < c->request->count && goes_along(c, region, p->to, &size))
        p->to++;
    while (p->from > 0 && goes_along(c, region, p->from - 1, &size))
        p->from--;
}

static ti_slice build_commit(const ti_committer *c, ti_context *ctx, const size_t *indexes,
                             size_t from, size_t to, bool primary, ti_arena *a)
{
    Kvrpcpb__CommitRequest request = KVRPCPB__COMMIT_REQUEST__INIT;
    request.context = &ctx->message;
    request.start_version = c->request->start_ts;
    request.commit_version = c->commit_ts;
    request.commit_role = primary ? KVRPCPB__COMMIT_ROLE__Primary : KVRPCPB__COMMIT_ROLE__Secondary;
    request.primary_key = ti_pb_bytes(c->keys[c->primary]);
    request.use_async_commit = c->async;
    request.keys = ti_arena_alloc(a, (to - from) * sizeof(*request.keys));
    if (request.keys == NULL)
        return TI_SLICE_NONE;
    for (size_t i = from; i < to; i++) {
        size_t index = indexes != NULL ? indexes[i] : i;
        if (ti_committer_writes(c, index))
            request.keys[request.n_keys++] = ti_pb_bytes(c->keys[index]);
    }
    return ti_pb_pack(&request.base, a);
}

static ti_slice build_primary(void *context, const ti_fan_part *part, ti_context *ctx, ti_arena *a)
{
    primary_commit *p = context;
    choose_neighbours(p, part->region);
    return build_commit(p->committer, ctx, NULL, p->from, p->to, true, a);
}

/* The time bounds of a commit timestamp: looked at before each send of the primary's commit. */
static ti_status check_commit_ts(const ti_committer *c, ti_err *err)
{
    const ti_commit_request *r = c->request;
    if (r->not_after != TI_TS_NONE && c->commit_ts > r->not_after)
        return ti_err_set(err, TI_CONFLICT,
                          "the transaction comes too late: its time bound has passed");
    if ((c->commit_ts >> TI_TS_LOGICAL_BITS) - (r->start_ts >> TI_TS_LOGICAL_BITS) >
        TI_COMMIT_TIME_MAX_MS)
        return ti_err_set(err, TI_CONFLICT, "the transaction has run for more than a day");
    return TI_OK;
}

/* The store wants a later timestamp: takes one, and asks again. Only the primary may be moved. */
static ti_status move_commit_ts(ti_committer *c, const Kvrpcpb__CommitTsExpired *e, ti_err *err)
{
    bool ours = ti_slice_equal(ti_pb_slice(e->key), c->keys[c->primary]);
    if (!ours || e->min_commit_ts - e->attempted_commit_ts > TI_COMMIT_GAP_MAX)
        return ti_err_set(err, TI_CONFLICT, "the commit timestamp was refused");
    TI_TRY(ti_pd_timestamp(c->engine->cluster.pd, &c->commit_ts, c->call, err));
    return check_commit_ts(c, err);
}

static ti_status take_primary(void *context, const ti_fan_part *part, ti_slice response, bool *left,
                              ti_err *err)
{
    primary_commit *p = context;
    ti_committer *c = p->committer;
    ti_arena a;
    ti_err unpacked;
    ti_slice failed;
    ti_status status = TI_OK;
    ti_arena_init(&a);
    Kvrpcpb__CommitResponse *r =
        ti_pb_unpack(&kvrpcpb__commit_response__descriptor, response, &a, &unpacked);
    if (r == NULL) {
        c->lost_primary = true;
        status = ti_err_set(err, unpacked.status, "%s", unpacked.message);
    } else if (r->error == NULL) {
        c->lost_primary = false;
        memset(&c->committed[p->from], true, (p->to - p->from) * sizeof(*c->committed));
    } else if (r->error->commit_ts_expired != NULL) {
        c->lost_primary = false;
        left[part->indexes[0]] = true;
        p->moved = true;
        status = move_commit_ts(c, r->error->commit_ts_expired, err);
    } else {
        c->lost_primary = false;
        status = ti_key_error_status(r->error, &failed, err);
    }
    ti_arena_free(&a);
    return status;
}

static void lost_primary(void *context, const ti_fan_part *part)
{
    primary_commit *p = context;
    (void)part;
    p->committer->lost_primary = true;
}

/* A later timestamp is tried at once; one that is refused again after a wait. */
static ti_status settle_primary(void *context, ti_backoff *backoff, ti_err *err)
{
    primary_commit *p = context;
    ti_err why;
    if (!p->moved)
        return TI_OK;
    p->moved = false;
    ti_err_set(&why, TI_CONFLICT, "the commit timestamp was refused");
    return p->moves++ == 0 ? ti_backoff_count(backoff, &why, err)
                           : ti_backoff_sleep(backoff, TI_BACKOFF_COMMIT_TS, -1, &why, err);
}

ti_status ti_committer_commit_primary(ti_committer *c, ti_err *err)
{
    primary_commit p = {.committer = c};
    ti_backoff backoff;
    ti_backoff_init(&backoff, c->engine->cluster.wire, c->call, TI_BUDGET_COMMIT_MS);
    backoff.no_last_try = true;
    ti_fan fan = {.cluster = &c->engine->cluster,
                  .kind = TI_COMMAND_COMMIT,
                  .keys = &c->keys[c->primary],
                  .count = 1,
                  .context = &p,
                  .build = build_primary,
                  .take = take_primary,
                  .settle = settle_primary,
                  .lost = lost_primary};
    return ti_fan_run(&fan, &backoff, err);
}

/* ---- The whole ---- */

static ti_status two_phases(ti_committer *c, ti_err *err)
{
    TI_TRY(ti_pd_timestamp(c->engine->cluster.pd, &c->commit_ts, c->call, err));
    TI_TRY(check_commit_ts(c, err));
    TI_FAULT(tikv_before_commit);
    TI_TRY(ti_committer_commit_primary(c, err));
    TI_FAULT(tikv_primary_committed);
    atomic_fetch_add(&c->engine->commits_two_phase, 1);
    return TI_OK;
}

/* Asks the store what became of a transaction whose commit point's answer did not come; this also
 * keeps what has not happened from happening. OK: *commit_ts_out is 0 when it was rolled back. */
static ti_status find_out(ti_committer *c, uint64_t *commit_ts_out)
{
    ti_backoff backoff;
    if (ti_call_check(c->call, "finding out about a commit", NULL) != TI_OK)
        return TI_OUTCOME_UNKNOWN;
    ti_backoff_init(&backoff, c->engine->cluster.wire, c->call, TI_BUDGET_COMMIT_MS);
    return ti_resolve_own(c->engine->resolver, c->keys[c->primary], c->request->start_ts,
                          commit_ts_out, &backoff, NULL);
}

/* After all prewrites have been answered. */
static ti_status decide(ti_committer *c, ti_err *err)
{
    if (c->nothing_to_commit) {
        c->commit_ts = c->request->start_ts + 1;
        return TI_OK;
    }
    if (c->one_pc_ts != 0) {
        c->commit_ts = c->one_pc_ts;
        atomic_fetch_add(&c->engine->commits_one_pc, 1);
        return TI_OK;
    }
    if (c->torn)
        return ti_err_set(err, TI_CONFLICT,
                          "what a lost request for this commit has done is not known");
    if (c->async) {
        c->commit_ts = c->async_ts;
        atomic_fetch_add(&c->engine->commits_async, 1);
        return TI_OK;
    }
    return two_phases(c, err);
}

bool ti_committer_is_lost(const ti_committer *c)
{
    if (c->refused)
        return false;
    if (c->lost_primary || c->torn)
        return true;
    for (size_t i = 0; (c->async || c->one_pc) && i < c->request->count; i++) {
        if (c->lost[i])
            return true;
    }
    return false;
}

/* The answer of a failed commit. When the answer to its commit point was lost the truth is asked
 * for; OUTCOME_UNKNOWN when that does not come either. */
static ti_status failure(ti_committer *c, ti_status status, ti_err *err)
{
    if (!ti_committer_is_lost(c)) {
        if (c->touched)
            ti_committer_clean_later(c);
        return status;
    }
    uint64_t commit_ts = 0;
    if (find_out(c, &commit_ts) == TI_OK) {
        c->commit_ts = commit_ts;
        if (commit_ts == 0)
            ti_committer_clean_later(c);
        return commit_ts != 0 ? TI_OK : status;
    }
    atomic_fetch_add(&c->engine->commits_unknown, 1);
    ti_err seen;
    ti_err_clear(&seen);
    if (err != NULL)
        seen = *err;
    return ti_err_set(
        err, TI_OUTCOME_UNKNOWN,
        "the commit was sent, but its answer was lost: it may have happened. Last seen: %s",
        seen.message);
}

/* Both phases; a large transaction's locks are kept alive meanwhile. */
static ti_status run_phases(ti_committer *c, ti_err *err)
{
    ti_heartbeat *heartbeat = c->engine->heartbeat;
    bool beating = !c->pessimistic && total_size(c, true) >= TI_BEATING_SIZE;
    if (beating)
        TI_TRY(ti_heartbeat_add(heartbeat, c->request->start_ts, c->keys[c->primary], err));
    TI_FAULT(tikv_before_prewrite);
    ti_status status = ti_committer_prewrite(c, err);
    if (status == TI_OK) {
        TI_FAULT(tikv_prewritten);
        status = decide(c, err);
    }
    if (beating)
        ti_heartbeat_remove(heartbeat, c->request->start_ts);
    return status;
}

ti_status ti_tikv_commit(ti_engine *e, const ti_commit_request *request,
                         ti_commit_result *result_out, const ti_call *call, ti_err *err)
{
    ti_committer c;
    ti_tikv *t = (ti_tikv *)e;
    ti_assert(request->count > 0 && request->start_ts != TI_TS_NONE);
    *result_out = (ti_commit_result){.failed_index = SIZE_MAX};
    ti_status status = committer_init(&c, t, request, call, err);
    if (status == TI_OK) {
        status = run_phases(&c, err);
        if (status != TI_OK)
            status = failure(&c, status, err);
        if (status == TI_OK && c.one_pc_ts == 0 && !c.nothing_to_commit)
            ti_committer_commit_later(&c);
    }
    if (status == TI_OK && c.pessimistic)
        request->locks->spent = request->locks->count == request->count;
    result_out->commit_ts = status == TI_OK ? c.commit_ts : TI_TS_NONE;
    result_out->failed_index = status == TI_TIMEOUT ? c.blocked_index : c.failed_index;
    ti_met_locks_free(&c.met);
    ti_arena_free(&c.arena);
    return status;
}

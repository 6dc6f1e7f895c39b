/* The resolver: the fate of transactions, and what readers and writers do about their locks. See
 * resolver.h; clearing: resolver_clear.c. */
#include "tikv/resolver.h"

#include <string.h>

#include "base/assert.h"
#include "tikv/resolver_int.h"

/* ---- The cache ---- */

static size_t slot_of(uint64_t start_ts)
{
    return (size_t)((start_ts * UINT64_C(0x9E3779B97F4A7C15)) >> 32) % TI_RESOLVER_CACHE_MAX;
}

void ti_resolver_remember(ti_resolver *r, uint64_t start_ts, uint64_t commit_ts)
{
    ti_mutex_lock(&r->mutex);
    size_t slot = slot_of(start_ts);
    r->cache[slot].start_ts = start_ts;
    r->cache[slot].commit_ts = commit_ts;
    ti_mutex_unlock(&r->mutex);
}

static bool recall(ti_resolver *r, uint64_t start_ts, ti_txn_fate *fate_out)
{
    ti_mutex_lock(&r->mutex);
    size_t slot = slot_of(start_ts);
    bool known = r->cache[slot].start_ts == start_ts;
    if (known) {
        uint64_t commit_ts = r->cache[slot].commit_ts;
        *fate_out = (ti_txn_fate){.fate = commit_ts != 0 ? TI_FATE_COMMITTED : TI_FATE_ROLLED_BACK,
                                  .commit_ts = commit_ts};
        r->stats.cache_hits++;
    }
    ti_mutex_unlock(&r->mutex);
    return known;
}

/* ---- CheckTxnStatus ---- */

typedef struct check {
    const Kvrpcpb__LockInfo *lock;
    uint64_t caller_ts;
    uint64_t current_ts;
    bool roll_back;
    bool force_sync;
} check;

static ti_slice build_check(void *context, ti_context *c, ti_arena *a)
{
    const check *k = context;
    Kvrpcpb__CheckTxnStatusRequest request = KVRPCPB__CHECK_TXN_STATUS_REQUEST__INIT;
    request.context = &c->message;
    request.primary_key = k->lock->primary_lock;
    request.lock_ts = k->lock->lock_version;
    request.caller_start_ts = k->caller_ts;
    request.current_ts = k->current_ts;
    request.rollback_if_not_exist = k->roll_back;
    request.force_sync_commit = k->force_sync;
    request.resolving_pessimistic_lock = k->lock->lock_type == KVRPCPB__OP__PessimisticLock;
    request.verify_is_primary = true;
    return ti_pb_pack(&request.base, a);
}

static ti_status ask_status(ti_resolver *r, check *k, ti_arena *a,
                            Kvrpcpb__CheckTxnStatusResponse **response_out, ti_backoff *backoff,
                            ti_err *err)
{
    ti_slice response = TI_SLICE_NONE;
    ti_mutex_lock(&r->mutex);
    r->stats.checked++;
    ti_mutex_unlock(&r->mutex);
    TI_TRY(ti_send_to_key(r->cluster, TI_COMMAND_CHECK_TXN_STATUS,
                          ti_pb_slice(k->lock->primary_lock), build_check, k, a, &response, backoff,
                          err));
    ti_err unpacked;
    *response_out =
        ti_pb_unpack(&kvrpcpb__check_txn_status_response__descriptor, response, a, &unpacked);
    if (*response_out != NULL)
        return TI_OK;
    if (err != NULL)
        *err = unpacked;
    return unpacked.status;
}

/* A final answer. Only what is true of the whole transaction is remembered. */
static void take_final(ti_resolver *r, const check *k, const Kvrpcpb__CheckTxnStatusResponse *s,
                       ti_txn_fate *fate_out)
{
    *fate_out =
        (ti_txn_fate){.fate = s->commit_version != 0 ? TI_FATE_COMMITTED : TI_FATE_ROLLED_BACK,
                      .commit_ts = s->commit_version};
    bool whole = s->commit_version != 0 || s->action == KVRPCPB__ACTION__NoAction ||
                 s->action == KVRPCPB__ACTION__LockNotExistRollback ||
                 s->action == KVRPCPB__ACTION__TTLExpireRollback;
    if (whole)
        ti_resolver_remember(r, k->lock->lock_version, s->commit_version);
}

/* An answer that says the primary is locked. AGAIN as NOT_FOUND: with force_sync. */
static ti_status take_locked(ti_resolver *r, const check *k,
                             const Kvrpcpb__CheckTxnStatusResponse *s, ti_txn_fate *fate_out,
                             ti_backoff *backoff, ti_err *err)
{
    const Kvrpcpb__LockInfo *primary = s->lock_info;
    if (primary != NULL && primary->use_async_commit && !k->force_sync &&
        ti_lock_is_expired(primary, k->current_ts))
        return ti_resolver_recover(r, primary, fate_out, backoff, err);
    bool pushed = s->action == KVRPCPB__ACTION__MinCommitTSPushed;
    *fate_out = (ti_txn_fate){.fate = pushed ? TI_FATE_PUSHED : TI_FATE_ALIVE,
                              .ttl_ms = (int64_t)s->lock_ttl};
    return TI_OK;
}

/* A key error. OK: ask again (k says how); otherwise *done_out or the error. */
static ti_status take_error(ti_resolver *r, check *k, const Kvrpcpb__KeyError *e,
                            ti_txn_fate *fate_out, bool *done_out, ti_backoff *backoff, ti_err *err)
{
    bool pessimistic = k->lock->lock_type == KVRPCPB__OP__PessimisticLock;
    if (e->txn_not_found != NULL) {
        if (ti_lock_is_expired(k->lock, k->current_ts) && !k->roll_back) {
            k->roll_back = true;
            return TI_OK;
        }
        if (pessimistic) {
            *fate_out = (ti_txn_fate){.fate = TI_FATE_ALIVE, .ttl_ms = (int64_t)k->lock->lock_ttl};
            *done_out = true;
            return TI_OK;
        }
        ti_err why;
        ti_err_set(&why, TI_CONFLICT, "a transaction's primary lock is not written yet");
        TI_TRY(ti_backoff_sleep(backoff, TI_BACKOFF_TXN_NOT_FOUND, -1, &why, err));
        return k->current_ts == UINT64_MAX
                   ? TI_OK
                   : ti_pd_timestamp(r->cluster->pd, &k->current_ts, backoff->call, err);
    }
    if (e->primary_mismatch != NULL && pessimistic) {
        *fate_out = (ti_txn_fate){.fate = TI_FATE_ONLY_LOCK};
        *done_out = true;
        return TI_OK;
    }
    return ti_err_set(err, TI_UNAVAILABLE, "the status of a transaction can not be found out: %s%s",
                      e->abort, e->retryable);
}

ti_status ti_resolver_fate(ti_resolver *r, const Kvrpcpb__LockInfo *lock, uint64_t caller_ts,
                           uint64_t current_ts, ti_txn_fate *fate_out, ti_backoff *backoff,
                           ti_err *err)
{
    if (recall(r, lock->lock_version, fate_out))
        return TI_OK;
    check k = {.lock = lock,
               .caller_ts = caller_ts,
               .current_ts = lock->lock_ttl == 0 ? UINT64_MAX : current_ts};
    ti_arena a;
    ti_arena_init(&a);
    ti_status status = TI_OK;
    for (bool done = false; !done && status == TI_OK;) {
        Kvrpcpb__CheckTxnStatusResponse *s = NULL;
        ti_arena_reset(&a);
        status = ask_status(r, &k, &a, &s, backoff, err);
        if (status != TI_OK)
            break;
        if (s->error != NULL) {
            status = take_error(r, &k, s->error, fate_out, &done, backoff, err);
        } else if (s->lock_ttl == 0) {
            take_final(r, &k, s, fate_out);
            done = true;
        } else {
            status = take_locked(r, &k, s, fate_out, backoff, err);
            done = status == TI_OK;
            k.force_sync = status == TI_NOT_FOUND;
            status = status == TI_NOT_FOUND ? TI_OK : status;
        }
    }
    ti_arena_free(&a);
    return status;
}

/* ---- Readers and writers ---- */

/* false when the list is full. */
static bool add_to(uint64_t *list, size_t *count, uint64_t start_ts)
{
    for (size_t i = 0; i < *count; i++) {
        if (list[i] == start_ts)
            return true;
    }
    if (*count == TI_RESOLVER_VIEW_MAX)
        return false;
    list[(*count)++] = start_ts;
    return true;
}

/* How long a live lock may still stand; at least 1. */
static int64_t left_ms(const Kvrpcpb__LockInfo *lock, const ti_txn_fate *fate, uint64_t current_ts)
{
    int64_t ttl_ms = fate->ttl_ms > 0 ? fate->ttl_ms : (int64_t)lock->lock_ttl;
    int64_t left = (int64_t)(lock->lock_version >> 18) + ttl_ms - (int64_t)(current_ts >> 18);
    return left > 0 ? left : 1;
}

static void keep_shortest(int64_t *wait_ms, int64_t ms)
{
    if (*wait_ms == 0 || ms < *wait_ms)
        *wait_ms = ms;
}

/* What one lock means for a reader. A lock that finds no room in a full view is cleared before the
 * reader asks again. */
static ti_status view_lock(ti_resolver *r, const Kvrpcpb__LockInfo *lock, const ti_txn_fate *fate,
                           uint64_t start_ts, uint64_t current_ts, ti_lock_view *view,
                           int64_t *wait_ms, ti_backoff *backoff, ti_err *err)
{
    bool noted = false;
    switch (fate->fate) {
    case TI_FATE_ALIVE:
        keep_shortest(wait_ms, left_ms(lock, fate, current_ts));
        return TI_OK;
    case TI_FATE_PUSHED:
        if (!add_to(view->resolved, &view->resolved_count, lock->lock_version))
            keep_shortest(wait_ms, left_ms(lock, fate, current_ts));
        return TI_OK;
    case TI_FATE_COMMITTED:
        noted = fate->commit_ts <= start_ts
                    ? add_to(view->committed, &view->committed_count, lock->lock_version)
                    : add_to(view->resolved, &view->resolved_count, lock->lock_version);
        break;
    case TI_FATE_ROLLED_BACK:
    case TI_FATE_ONLY_LOCK:
        noted = add_to(view->resolved, &view->resolved_count, lock->lock_version);
        break;
    }
    if (!noted)
        return ti_resolver_clear(r, lock, fate, backoff, err);
    ti_resolver_clear_later(r, lock, fate);
    return TI_OK;
}

ti_status ti_resolve_for_read(ti_resolver *r, Kvrpcpb__LockInfo *const *locks, size_t count,
                              uint64_t start_ts, ti_lock_view *view, int64_t *wait_ms_out,
                              ti_backoff *backoff, ti_err *err)
{
    uint64_t current_ts = 0;
    *wait_ms_out = 0;
    TI_TRY(ti_pd_timestamp(r->cluster->pd, &current_ts, backoff->call, err));
    for (size_t i = 0; i < count; i++) {
        ti_txn_fate fate;
        TI_TRY(ti_resolver_fate(r, locks[i], start_ts, current_ts, &fate, backoff, err));
        TI_TRY(
            view_lock(r, locks[i], &fate, start_ts, current_ts, view, wait_ms_out, backoff, err));
    }
    return TI_OK;
}

ti_status ti_resolve_for_write(ti_resolver *r, Kvrpcpb__LockInfo *const *locks, size_t count,
                               uint64_t caller_ts, int64_t *wait_ms_out, ti_backoff *backoff,
                               ti_err *err)
{
    uint64_t current_ts = 0;
    *wait_ms_out = 0;
    TI_TRY(ti_pd_timestamp(r->cluster->pd, &current_ts, backoff->call, err));
    for (size_t i = 0; i < count; i++) {
        ti_txn_fate fate;
        TI_TRY(ti_resolver_fate(r, locks[i], caller_ts, current_ts, &fate, backoff, err));
        if (fate.fate == TI_FATE_ALIVE || fate.fate == TI_FATE_PUSHED)
            keep_shortest(wait_ms_out, left_ms(locks[i], &fate, current_ts));
        else
            TI_TRY(ti_resolver_clear(r, locks[i], &fate, backoff, err));
    }
    return TI_OK;
}

ti_status ti_resolve_own(ti_resolver *r, ti_slice primary, uint64_t start_ts,
                         uint64_t *commit_ts_out, ti_backoff *backoff, ti_err *err)
{
    Kvrpcpb__LockInfo lock = KVRPCPB__LOCK_INFO__INIT; /* no time to live: its end is now */
    ti_txn_fate fate;
    *commit_ts_out = 0;
    lock.primary_lock = ti_pb_bytes(primary);
    lock.key = lock.primary_lock;
    lock.lock_version = start_ts;
    TI_TRY(ti_resolver_fate(r, &lock, 0, UINT64_MAX, &fate, backoff, err));
    if (fate.fate != TI_FATE_COMMITTED && fate.fate != TI_FATE_ROLLED_BACK)
        return ti_err_set(err, TI_OUTCOME_UNKNOWN, "the transaction's fate is not decided");
    *commit_ts_out = fate.fate == TI_FATE_COMMITTED ? fate.commit_ts : 0;
    return TI_OK;
}

ti_resolver_stats ti_resolver_stats_of(ti_resolver *r)
{
    ti_mutex_lock(&r->mutex);
    ti_resolver_stats stats = r->stats;
    ti_mutex_unlock(&r->mutex);
    return stats;
}

ti_status ti_resolver_create(ti_cluster *c, ti_background *background, ti_resolver **resolver_out,
                             ti_err *err)
{
    *resolver_out = NULL;
    ti_resolver *r = ti_alloc_zero(sizeof(*r));
    if (r == NULL)
        return ti_err_no_memory(err);
    r->cluster = c;
    r->background = background;
    ti_status status = ti_mutex_init(&r->mutex, TI_RANK_CLOCK, err);
    if (status != TI_OK) {
        ti_free(r);
        return status;
    }
    *resolver_out = r;
    return TI_OK;
}

void ti_resolver_free(ti_resolver *r)
{
    ti_mutex_destroy(&r->mutex);
    ti_free(r);
}

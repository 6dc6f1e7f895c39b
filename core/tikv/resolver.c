/* The resolver: the fate of transactions, and what readers and writers do about their locks. See
 * resolver.h; clearing: resolver_clear.c. */
#include "tikv/resolver.h"

#include <stdlib.h>
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
    return ti_err_set(err, TI_UNAVAILABLE, "the status of a transaction can not be found out: %s",
                      e->primary_mismatch != NULL ? "what its lock calls the primary lock is none"
                                                  : ti_key_error_said(e).text);
}

/* Asks at the primary until there is an answer. */
static ti_status ask_fate(ti_resolver *r, check *k, ti_txn_fate *fate_out, ti_backoff *backoff,
                          ti_err *err)
{
    ti_arena a;
    ti_arena_init(&a);
    ti_status status = TI_OK;
    for (bool done = false; !done && status == TI_OK;) {
        Kvrpcpb__CheckTxnStatusResponse *s = NULL;
        ti_arena_reset(&a);
        status = ask_status(r, k, &a, &s, backoff, err);
        if (status != TI_OK)
            break;
        if (s->error != NULL) {
            status = take_error(r, k, s->error, fate_out, &done, backoff, err);
        } else if (s->lock_ttl == 0) {
            take_final(r, k, s, fate_out);
            done = true;
        } else {
            status = take_locked(r, k, s, fate_out, backoff, err);
            done = status == TI_OK;
            k->force_sync = status == TI_NOT_FOUND;
            status = status == TI_NOT_FOUND ? TI_OK : status;
        }
    }
    ti_arena_free(&a);
    return status;
}

/* Asks for all who wait. */
static ti_status lead_check(ti_resolver *r, check *k, ti_flight *mine, ti_txn_fate *fate_out,
                            ti_backoff *backoff, ti_err *err)
{
    ti_check_result result = {.caller_ts = k->caller_ts};
    ti_err_clear(&result.err);
    ti_status status = TI_OK;
    if (!recall(r, k->lock->lock_version, fate_out))
        status = ask_fate(r, k, fate_out, backoff, &result.err);
    result.fate = *fate_out;
    ti_flight_end(&r->checks, mine, &result);
    if (status != TI_OK && err != NULL)
        *err = result.err;
    return status;
}

/* Whether another's answer is one for this caller, too. What ended the other alone, what holds for
 * one lock only, and a transaction that was not kept from committing below this caller are not. */
static bool is_shared(const ti_check_result *result, uint64_t caller_ts)
{
    ti_fate fate = result->fate.fate;
    if (result->err.status != TI_OK)
        return result->err.status != TI_TIMEOUT && result->err.status != TI_CANCELLED;
    return (fate == TI_FATE_ALIVE || fate == TI_FATE_PUSHED) && result->caller_ts >= caller_ts;
}

ti_status ti_resolver_fate(ti_resolver *r, const Kvrpcpb__LockInfo *lock, uint64_t caller_ts,
                           uint64_t current_ts, ti_txn_fate *fate_out, ti_backoff *backoff,
                           ti_err *err)
{
    check k = {.lock = lock, .caller_ts = caller_ts, .current_ts = current_ts};
    ti_assert(caller_ts != UINT64_MAX);
    for (;;) {
        ti_flight mine;
        ti_check_result result;
        bool leads = false;
        if (recall(r, lock->lock_version, fate_out))
            return TI_OK;
        if (lock->lock_ttl == 0) { /* the end of the transaction, now: nobody else asks for that */
            k.current_ts = UINT64_MAX;
            return ask_fate(r, &k, fate_out, backoff, err);
        }
        TI_TRY(ti_flight_begin(&r->checks, lock->lock_version, &mine, &leads, &result,
                               backoff->call, err));
        if (leads)
            return lead_check(r, &k, &mine, fate_out, backoff, err);
        if (!is_shared(&result, caller_ts))
            continue;
        ti_mutex_lock(&r->mutex);
        r->stats.shared++;
        ti_mutex_unlock(&r->mutex);
        *fate_out = result.fate;
        if (result.err.status != TI_OK && err != NULL)
            *err = result.err;
        return result.err.status;
    }
}

/* ---- Readers and writers ---- */

/* One reader's look at the locks it met. */
typedef struct reading {
    uint64_t start_ts;
    uint64_t current_ts;
    ti_lock_view *view;
    int64_t wait_ms; /* 0: nothing is in the way */
    ti_backoff *backoff;
} reading;

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

/* What the locks of one owner mean for a reader. Those that find no room in a full view are cleared
 * before the reader asks again. */
static ti_status view_locks(ti_resolver *r, Kvrpcpb__LockInfo *const *locks, size_t count,
                            const ti_txn_fate *fate, reading *k, ti_err *err)
{
    uint64_t owner = locks[0]->lock_version;
    bool noted = false;
    switch (fate->fate) {
    case TI_FATE_ALIVE:
        keep_shortest(&k->wait_ms, left_ms(locks[0], fate, k->current_ts));
        return TI_OK;
    case TI_FATE_PUSHED:
        if (!add_to(k->view->resolved, &k->view->resolved_count, owner))
            keep_shortest(&k->wait_ms, left_ms(locks[0], fate, k->current_ts));
        return TI_OK;
    case TI_FATE_COMMITTED:
        noted = fate->commit_ts <= k->start_ts
                    ? add_to(k->view->committed, &k->view->committed_count, owner)
                    : add_to(k->view->resolved, &k->view->resolved_count, owner);
        break;
    case TI_FATE_ROLLED_BACK:
    case TI_FATE_ONLY_LOCK:
        noted = add_to(k->view->resolved, &k->view->resolved_count, owner);
        break;
    }
    if (!noted)
        return ti_resolver_clear(r, locks, count, fate, k->backoff, err);
    ti_resolver_clear_later(r, locks, count, fate);
    return TI_OK;
}

/* In order of the owners; locks that may be of one fate each (pessimistic ones) stay apart. */
static int compare_owners(const void *a, const void *b)
{
    const Kvrpcpb__LockInfo *x = *(Kvrpcpb__LockInfo *const *)a;
    const Kvrpcpb__LockInfo *y = *(Kvrpcpb__LockInfo *const *)b;
    if (x->lock_version != y->lock_version)
        return x->lock_version < y->lock_version ? -1 : 1;
    return (int)x->lock_type - (int)y->lock_type;
}

/* How many of the sorted locks, from the first on, share a fate. */
static size_t group_length(Kvrpcpb__LockInfo *const *locks, size_t count)
{
    size_t n = 1;
    if (locks[0]->lock_type == KVRPCPB__OP__PessimisticLock)
        return n;
    while (n < count && locks[n]->lock_version == locks[0]->lock_version)
        n++;
    return n;
}

ti_status ti_resolve_for_read(ti_resolver *r, Kvrpcpb__LockInfo **locks, size_t count,
                              uint64_t start_ts, ti_lock_view *view, int64_t *wait_ms_out,
                              ti_backoff *backoff, ti_err *err)
{
    reading k = {.start_ts = start_ts, .view = view, .backoff = backoff};
    *wait_ms_out = 0;
    TI_TRY(ti_pd_timestamp(r->cluster->pd, &k.current_ts, backoff->call, err));
    qsort(locks, count, sizeof(Kvrpcpb__LockInfo *), compare_owners);
    for (size_t i = 0; i < count;) {
        ti_txn_fate fate;
        size_t n = group_length(&locks[i], count - i);
        TI_TRY(ti_resolver_fate(r, locks[i], start_ts, k.current_ts, &fate, backoff, err));
        TI_TRY(view_locks(r, &locks[i], n, &fate, &k, err));
        i += n;
    }
    *wait_ms_out = k.wait_ms;
    return TI_OK;
}

ti_status ti_resolve_for_write(ti_resolver *r, Kvrpcpb__LockInfo **locks, size_t count,
                               uint64_t caller_ts, int64_t *wait_ms_out, ti_backoff *backoff,
                               ti_err *err)
{
    uint64_t current_ts = 0;
    *wait_ms_out = 0;
    TI_TRY(ti_pd_timestamp(r->cluster->pd, &current_ts, backoff->call, err));
    qsort(locks, count, sizeof(Kvrpcpb__LockInfo *), compare_owners);
    for (size_t i = 0; i < count;) {
        ti_txn_fate fate;
        size_t n = group_length(&locks[i], count - i);
        TI_TRY(ti_resolver_fate(r, locks[i], caller_ts, current_ts, &fate, backoff, err));
        if (fate.fate == TI_FATE_ALIVE || fate.fate == TI_FATE_PUSHED)
            keep_shortest(wait_ms_out, left_ms(locks[i], &fate, current_ts));
        else
            TI_TRY(ti_resolver_clear(r, &locks[i], n, &fate, backoff, err));
        i += n;
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

static ti_status init_parts(ti_resolver *r, ti_err *err)
{
    ti_wire *w = r->cluster->wire;
    TI_TRY(ti_mutex_init(&r->mutex, TI_RANK_CLOCK, err));
    ti_status status = ti_flights_init(&r->checks, w, sizeof(ti_check_result), err);
    if (status == TI_OK) {
        status = ti_flights_init(&r->clears, w, 0, err);
        if (status == TI_OK)
            return TI_OK;
        ti_flights_destroy(&r->checks);
    }
    ti_mutex_destroy(&r->mutex);
    return status;
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
    ti_status status = init_parts(r, err);
    if (status != TI_OK) {
        ti_free(r);
        return status;
    }
    *resolver_out = r;
    return TI_OK;
}

void ti_resolver_free(ti_resolver *r)
{
    ti_flights_destroy(&r->clears);
    ti_flights_destroy(&r->checks);
    ti_mutex_destroy(&r->mutex);
    ti_free(r);
}

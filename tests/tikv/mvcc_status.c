/* A little store: what became of transactions, clearing their locks, heartbeats, ranges. See
 * mvcc.h. */
#include "base/assert.h"
#include "tikv/mvcc.h"
#include "tikv/pb.h"

static bool is_expired(const mvcc_lock *l, uint64_t current_ts)
{
    return (l->start_ts >> 18) + l->ttl_ms <= current_ts >> 18;
}

/* ---- CheckTxnStatus ---- */

static void status_of_locked(mvcc *m, mvcc_key *k, const Kvrpcpb__CheckTxnStatusRequest *r,
                             Kvrpcpb__CheckTxnStatusResponse *out, ti_arena *a)
{
    mvcc_lock *l = &k->lock;
    if (r->verify_is_primary && !ti_slice_equal(l->primary, k->key)) {
        out->error = mvcc_error(a);
        out->error->primary_mismatch = ti_arena_alloc(a, sizeof(*out->error->primary_mismatch));
        kvrpcpb__primary_mismatch__init(out->error->primary_mismatch);
        out->error->primary_mismatch->lock_info = mvcc_lock_info(k, a);
        return;
    }
    if (l->async && !r->force_sync_commit) {
        out->lock_ttl = l->ttl_ms;
        out->lock_info = mvcc_lock_info(k, a);
        return;
    }
    if (is_expired(l, r->current_ts)) {
        bool alone = l->op == KVRPCPB__OP__PessimisticLock && r->resolving_pessimistic_lock;
        out->action = alone ? KVRPCPB__ACTION__TTLExpirePessimisticRollback
                            : KVRPCPB__ACTION__TTLExpireRollback;
        if (alone)
            mvcc_unlock(k);
        else
            mvcc_roll_back_key(m, k, r->lock_ts);
        return;
    }
    bool newest = r->caller_start_ts == UINT64_MAX; /* such a read may pass, but pushes nothing */
    bool pushes = r->caller_start_ts != 0 && !newest && l->op != KVRPCPB__OP__PessimisticLock;
    if (pushes && l->min_commit_ts <= r->caller_start_ts)
        l->min_commit_ts = r->caller_start_ts + 1;
    out->action = pushes || newest ? KVRPCPB__ACTION__MinCommitTSPushed : KVRPCPB__ACTION__NoAction;
    out->lock_ttl = l->ttl_ms;
    out->lock_info = mvcc_lock_info(k, a);
}

static void status_of_unlocked(mvcc *m, mvcc_key *k, const Kvrpcpb__CheckTxnStatusRequest *r,
                               Kvrpcpb__CheckTxnStatusResponse *out, ti_arena *a)
{
    const mvcc_write *own = mvcc_write_of(k, r->lock_ts);
    if (own != NULL) {
        out->commit_version = own->op == KVRPCPB__OP__Rollback ? 0 : own->commit_ts;
        return;
    }
    if (!r->rollback_if_not_exist) {
        out->error = mvcc_error(a);
        out->error->txn_not_found = ti_arena_alloc(a, sizeof(*out->error->txn_not_found));
        kvrpcpb__txn_not_found__init(out->error->txn_not_found);
        out->error->txn_not_found->start_ts = r->lock_ts;
        out->error->txn_not_found->primary_key = r->primary_key;
        return;
    }
    out->action = r->resolving_pessimistic_lock ? KVRPCPB__ACTION__LockNotExistDoNothing
                                                : KVRPCPB__ACTION__LockNotExistRollback;
    if (!r->resolving_pessimistic_lock)
        mvcc_roll_back_key(m, k, r->lock_ts);
}

void mvcc_check_txn_status(mvcc *m, fake_ask *ask)
{
    Kvrpcpb__CheckTxnStatusRequest *r =
        mvcc_unpack(&kvrpcpb__check_txn_status_request__descriptor, ask);
    Kvrpcpb__CheckTxnStatusResponse out = KVRPCPB__CHECK_TXN_STATUS_RESPONSE__INIT;
    if (!mvcc_check_region(ask, r->context, &r->primary_key, 1))
        return;
    mvcc_key *k = mvcc_make(m, ti_pb_slice(r->primary_key));
    if (k->lock.held && k->lock.start_ts == r->lock_ts)
        status_of_locked(m, k, r, &out, ask->a);
    else
        status_of_unlocked(m, k, r, &out, ask->a);
    fake_say(ask, &out.base);
}

/* ---- CheckSecondaryLocks ---- */

void mvcc_check_secondary_locks(mvcc *m, fake_ask *ask)
{
    Kvrpcpb__CheckSecondaryLocksRequest *r =
        mvcc_unpack(&kvrpcpb__check_secondary_locks_request__descriptor, ask);
    Kvrpcpb__CheckSecondaryLocksResponse out = KVRPCPB__CHECK_SECONDARY_LOCKS_RESPONSE__INIT;
    if (!mvcc_check_region(ask, r->context, r->keys, r->n_keys))
        return;
    bool missing = false;
    out.locks = ti_arena_alloc(ask->a, (r->n_keys + 1) * sizeof(*out.locks));
    for (size_t i = 0; i < r->n_keys; i++) {
        mvcc_key *k = mvcc_make(m, ti_pb_slice(r->keys[i]));
        bool own = k->lock.held && k->lock.start_ts == r->start_version;
        if (own && k->lock.op != KVRPCPB__OP__PessimisticLock) {
            out.locks[out.n_locks++] = mvcc_lock_info(k, ask->a);
            continue;
        }
        missing = true;
        const mvcc_write *done = mvcc_write_of(k, r->start_version);
        if (done != NULL && done->op != KVRPCPB__OP__Rollback)
            out.commit_ts = done->commit_ts;
        else
            mvcc_roll_back_key(m, k, r->start_version);
    }
    out.n_locks = missing ? 0 : out.n_locks;
    fake_say(ask, &out.base);
}

/* ---- Heartbeats ---- */

void mvcc_heart_beat(mvcc *m, fake_ask *ask)
{
    Kvrpcpb__TxnHeartBeatRequest *r =
        mvcc_unpack(&kvrpcpb__txn_heart_beat_request__descriptor, ask);
    Kvrpcpb__TxnHeartBeatResponse out = KVRPCPB__TXN_HEART_BEAT_RESPONSE__INIT;
    if (!mvcc_check_region(ask, r->context, &r->primary_lock, 1))
        return;
    mvcc_key *k = mvcc_make(m, ti_pb_slice(r->primary_lock));
    if (k->lock.held && k->lock.start_ts == r->start_version) {
        if (r->advise_lock_ttl > k->lock.ttl_ms && !m->keeps_locks)
            k->lock.ttl_ms = r->advise_lock_ttl;
        out.lock_ttl = k->lock.ttl_ms;
    } else {
        out.error = mvcc_error(ask->a);
        out.error->txn_not_found = ti_arena_alloc(ask->a, sizeof(*out.error->txn_not_found));
        kvrpcpb__txn_not_found__init(out.error->txn_not_found);
    }
    fake_say(ask, &out.base);
}

/* ---- Clearing ---- */

static void resolve_key(mvcc *m, mvcc_key *k, uint64_t start_ts, uint64_t commit_ts)
{
    if (!k->lock.held || k->lock.start_ts != start_ts || m->keeps_locks)
        return;
    if (commit_ts != 0 && k->lock.op != KVRPCPB__OP__PessimisticLock)
        mvcc_commit_key(m, k, commit_ts);
    else
        mvcc_roll_back_key(m, k, start_ts);
}

void mvcc_resolve_lock(mvcc *m, fake_ask *ask)
{
    Kvrpcpb__ResolveLockRequest *r = mvcc_unpack(&kvrpcpb__resolve_lock_request__descriptor, ask);
    Kvrpcpb__ResolveLockResponse out = KVRPCPB__RESOLVE_LOCK_RESPONSE__INIT;
    if (!mvcc_check_region(ask, r->context, r->keys, r->n_keys))
        return;
    for (size_t i = 0; i < r->n_keys; i++)
        resolve_key(m, mvcc_make(m, ti_pb_slice(r->keys[i])), r->start_version, r->commit_version);
    for (size_t i = 0; i < m->key_count && r->n_keys == 0; i++) {
        if (fake_region_of(ask->cluster, m->keys[i]->key)->id == r->context->region_id)
            resolve_key(m, m->keys[i], r->start_version, r->commit_version);
    }
    fake_say(ask, &out.base);
}

void mvcc_scan_lock(mvcc *m, fake_ask *ask)
{
    Kvrpcpb__ScanLockRequest *r = mvcc_unpack(&kvrpcpb__scan_lock_request__descriptor, ask);
    Kvrpcpb__ScanLockResponse out = KVRPCPB__SCAN_LOCK_RESPONSE__INIT;
    ti_slice low = ti_pb_slice(r->start_key);
    ti_slice high = ti_pb_slice(r->end_key);
    if (!mvcc_check_region(ask, r->context, &r->start_key, 1))
        return;
    out.locks = ti_arena_alloc(ask->a, (m->key_count + 1) * sizeof(*out.locks));
    for (size_t i = 0; i < m->key_count && out.n_locks < r->limit; i++) {
        const mvcc_key *k = m->keys[i];
        bool inside = ti_slice_compare(low, k->key) <= 0 &&
                      (high.len == 0 || ti_slice_compare(k->key, high) < 0) &&
                      fake_region_of(ask->cluster, k->key)->id == r->context->region_id;
        if (inside && k->lock.held && k->lock.start_ts <= r->max_version)
            out.locks[out.n_locks++] = mvcc_lock_info(k, ask->a);
    }
    fake_say(ask, &out.base);
}

/* Every store destroys its own part: keys of the regions that it leads. */
void mvcc_destroy_range(mvcc *m, fake_ask *ask)
{
    Kvrpcpb__UnsafeDestroyRangeRequest *r =
        mvcc_unpack(&kvrpcpb__unsafe_destroy_range_request__descriptor, ask);
    Kvrpcpb__UnsafeDestroyRangeResponse out = KVRPCPB__UNSAFE_DESTROY_RANGE_RESPONSE__INIT;
    ti_slice low = ti_pb_slice(r->start_key);
    ti_slice high = ti_pb_slice(r->end_key);
    for (size_t i = 0; i < m->key_count; i++) {
        mvcc_key *k = m->keys[i];
        if (ti_slice_compare(low, k->key) <= 0 &&
            (high.len == 0 || ti_slice_compare(k->key, high) < 0) &&
            fake_region_of(ask->cluster, k->key)->leader == ask->store) {
            k->write_count = 0;
            mvcc_unlock(k);
        }
    }
    fake_say(ask, &out.base);
}

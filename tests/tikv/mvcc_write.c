/* A little store: prewrite, commit, rollback, pessimistic locks. See mvcc.h. */
#include "base/assert.h"
#include "tikv/mvcc.h"
#include "tikv/pb.h"

static Kvrpcpb__KeyError *conflict_of(const mvcc_key *k, uint64_t start_ts, const mvcc_write *w,
                                      Kvrpcpb__WriteConflict__Reason reason, ti_arena *a)
{
    Kvrpcpb__KeyError *e = mvcc_error(a);
    e->conflict = ti_arena_alloc(a, sizeof(*e->conflict));
    kvrpcpb__write_conflict__init(e->conflict);
    e->conflict->start_ts = start_ts;
    e->conflict->key = ti_pb_bytes(k->key);
    e->conflict->conflict_ts = w->start_ts;
    e->conflict->conflict_commit_ts = w->commit_ts;
    e->conflict->reason = reason;
    return e;
}

static Kvrpcpb__KeyError *exists_error(const mvcc_key *k, ti_arena *a)
{
    Kvrpcpb__KeyError *e = mvcc_error(a);
    e->already_exist = ti_arena_alloc(a, sizeof(*e->already_exist));
    kvrpcpb__already_exist__init(e->already_exist);
    e->already_exist->key = ti_pb_bytes(k->key);
    return e;
}

static Kvrpcpb__KeyError *abort_error(const char *text, ti_arena *a)
{
    Kvrpcpb__KeyError *e = mvcc_error(a);
    e->abort = (char *)(uintptr_t)text;
    return e;
}

static Kvrpcpb__KeyError *lock_not_found(const mvcc_key *k, ti_arena *a)
{
    Kvrpcpb__KeyError *e = mvcc_error(a);
    e->txn_lock_not_found = ti_arena_alloc(a, sizeof(*e->txn_lock_not_found));
    kvrpcpb__txn_lock_not_found__init(e->txn_lock_not_found);
    e->txn_lock_not_found->key = ti_pb_bytes(k->key);
    return e;
}

/* The newest write of any kind but the rollbacks of others. */
static const mvcc_write *last_write(const mvcc_key *k)
{
    for (size_t i = k->write_count; i > 0; i--) {
        if (k->writes[i - 1].op != KVRPCPB__OP__Rollback)
            return &k->writes[i - 1];
    }
    return NULL;
}

/* ---- Prewrite ---- */

/* What keeps a mutation from being prewritten; NULL: nothing. *done_out: it is committed already.
 */
static Kvrpcpb__KeyError *check_mutation(mvcc *m, mvcc_key *k, const Kvrpcpb__Mutation *mutation,
                                         const Kvrpcpb__PrewriteRequest *r, bool pessimistic,
                                         const mvcc_write **done_out, ti_arena *a)
{
    uint64_t start_ts = r->start_version;
    const mvcc_lock *l = &k->lock;
    const mvcc_write *own = mvcc_write_of(k, start_ts);
    *done_out = NULL;
    if (l->held && l->start_ts != start_ts)
        return mvcc_locked(k, a);
    if (l->held && (pessimistic || l->op != KVRPCPB__OP__PessimisticLock))
        return NULL;
    if (own != NULL && own->op == KVRPCPB__OP__Rollback)
        return conflict_of(k, start_ts, own, KVRPCPB__WRITE_CONFLICT__REASON__SelfRolledBack, a);
    if (own != NULL) {
        *done_out = own;
        return NULL;
    }
    const mvcc_write *last = last_write(k);
    if (pessimistic && (!m->amends || (last != NULL && last->commit_ts >= r->for_update_ts)))
        return abort_error("PessimisticLockNotFound", a);
    if (!pessimistic && last != NULL && last->commit_ts > start_ts)
        return conflict_of(k, start_ts, last, KVRPCPB__WRITE_CONFLICT__REASON__Optimistic, a);
    const mvcc_write *data = mvcc_newest(k, UINT64_MAX);
    bool absent =
        mutation->op == KVRPCPB__OP__Insert || mutation->op == KVRPCPB__OP__CheckNotExists;
    if (absent && data != NULL && data->op == KVRPCPB__OP__Put)
        return exists_error(k, a);
    return NULL;
}

static uint64_t min_commit_ts_of(const mvcc *m, const Kvrpcpb__PrewriteRequest *r)
{
    uint64_t ts = m->max_ts + 1;
    ts = r->min_commit_ts > ts ? r->min_commit_ts : ts;
    ts = r->for_update_ts >= ts ? r->for_update_ts + 1 : ts;
    return r->start_version >= ts ? r->start_version + 1 : ts;
}

static Kvrpcpb__Op stored_op(Kvrpcpb__Op op)
{
    return op == KVRPCPB__OP__Insert ? KVRPCPB__OP__Put : op;
}

static void write_lock(mvcc *m, mvcc_key *k, const Kvrpcpb__Mutation *mutation,
                       const Kvrpcpb__PrewriteRequest *r, uint64_t min_commit_ts)
{
    uint64_t ttl_ms = k->lock.held && k->lock.ttl_ms > r->lock_ttl ? k->lock.ttl_ms : r->lock_ttl;
    mvcc_lock *l = &k->lock;
    memset(l, 0, sizeof(*l));
    l->held = true;
    l->op = stored_op(mutation->op);
    l->value = ti_arena_copy(&m->arena,
                             mutation->value.len > 0 ? ti_pb_slice(mutation->value) : TI_SLICE(""));
    l->primary = ti_arena_copy(&m->arena, ti_pb_slice(r->primary_lock));
    l->start_ts = r->start_version;
    l->ttl_ms = ttl_ms;
    l->txn_size = r->txn_size;
    l->for_update_ts = r->for_update_ts;
    l->async = r->use_async_commit && min_commit_ts != 0;
    l->min_commit_ts = min_commit_ts;
    if (!l->async || !ti_slice_equal(l->primary, k->key))
        return;
    l->secondaries = ti_arena_alloc(&m->arena, (r->n_secondaries + 1) * sizeof(*l->secondaries));
    for (size_t i = 0; i < r->n_secondaries; i++)
        l->secondaries[l->secondary_count++] =
            ti_arena_copy(&m->arena, ti_pb_slice(r->secondaries[i]));
}

/* All mutations at once: 1PC. */
static void write_at_once(mvcc *m, const Kvrpcpb__PrewriteRequest *r, uint64_t commit_ts)
{
    for (size_t i = 0; i < r->n_mutations; i++) {
        const Kvrpcpb__Mutation *mutation = r->mutations[i];
        mvcc_key *k = mvcc_make(m, ti_pb_slice(mutation->key));
        if (mutation->op == KVRPCPB__OP__CheckNotExists)
            continue;
        mvcc_unlock(k);
        mvcc_add_write(m, k,
                       &(mvcc_write){.start_ts = r->start_version,
                                     .commit_ts = commit_ts,
                                     .op = stored_op(mutation->op),
                                     .value = ti_pb_slice(mutation->value)});
    }
}

/* Writes what was checked, and says how. */
static void apply_prewrite(mvcc *m, const Kvrpcpb__PrewriteRequest *r,
                           Kvrpcpb__PrewriteResponse *out)
{
    uint64_t ts = min_commit_ts_of(m, r);
    bool in_time = r->max_commit_ts == 0 || ts <= r->max_commit_ts;
    if (r->try_one_pc && in_time && !m->refuses_1pc) {
        out->one_pc_commit_ts = ts;
        write_at_once(m, r, ts);
        return;
    }
    bool async = r->use_async_commit && in_time && !m->refuses_async;
    for (size_t i = 0; i < r->n_mutations; i++) {
        const Kvrpcpb__Mutation *mutation = r->mutations[i];
        mvcc_key *k = mvcc_make(m, ti_pb_slice(mutation->key));
        bool own = k->lock.held && k->lock.op != KVRPCPB__OP__PessimisticLock;
        if (own && k->lock.async && k->lock.min_commit_ts > out->min_commit_ts)
            out->min_commit_ts = k->lock.min_commit_ts;
        if (!own && mutation->op != KVRPCPB__OP__CheckNotExists) {
            write_lock(m, k, mutation, r, async ? ts : 0);
            out->min_commit_ts = async && ts > out->min_commit_ts ? ts : out->min_commit_ts;
        }
    }
}

static ProtobufCBinaryData *keys_of(Kvrpcpb__Mutation **list, size_t count, ti_arena *a)
{
    ProtobufCBinaryData *keys = ti_arena_alloc(a, (count + 1) * sizeof(*keys));
    for (size_t i = 0; i < count; i++)
        keys[i] = list[i]->key;
    return keys;
}

void mvcc_prewrite(mvcc *m, fake_ask *ask)
{
    Kvrpcpb__PrewriteRequest *r = mvcc_unpack(&kvrpcpb__prewrite_request__descriptor, ask);
    Kvrpcpb__PrewriteResponse out = KVRPCPB__PREWRITE_RESPONSE__INIT;
    const mvcc_write *done = NULL;
    if (!mvcc_check_region(ask, r->context, keys_of(r->mutations, r->n_mutations, ask->a),
                           r->n_mutations))
        return;
    out.errors = ti_arena_alloc(ask->a, (r->n_mutations + 1) * sizeof(*out.errors));
    for (size_t i = 0; i < r->n_mutations; i++) {
        const mvcc_write *own = NULL;
        bool pessimistic = i < r->n_pessimistic_actions &&
                           r->pessimistic_actions[i] ==
                               KVRPCPB__PREWRITE_REQUEST__PESSIMISTIC_ACTION__DO_PESSIMISTIC_CHECK;
        mvcc_key *k = mvcc_make(m, ti_pb_slice(r->mutations[i]->key));
        Kvrpcpb__KeyError *e = check_mutation(m, k, r->mutations[i], r, pessimistic, &own, ask->a);
        if (e != NULL)
            out.errors[out.n_errors++] = e;
        done = own != NULL ? own : done;
    }
    if (out.n_errors == 0 && done != NULL) { /* asked again after it was committed */
        out.one_pc_commit_ts = r->try_one_pc ? done->commit_ts : 0;
        out.min_commit_ts = r->use_async_commit && !r->try_one_pc ? done->commit_ts : 0;
    } else if (out.n_errors == 0) {
        apply_prewrite(m, r, &out);
    }
    fake_say(ask, &out.base);
}

/* ---- Commit and rollback ---- */

static Kvrpcpb__KeyError *check_commit(mvcc_key *k, const Kvrpcpb__CommitRequest *r, ti_arena *a)
{
    const mvcc_lock *l = &k->lock;
    if (!l->held || l->start_ts != r->start_version) {
        const mvcc_write *own = mvcc_write_of(k, r->start_version);
        bool done = own != NULL && own->op != KVRPCPB__OP__Rollback;
        return done ? NULL : lock_not_found(k, a);
    }
    if (l->op == KVRPCPB__OP__PessimisticLock)
        return lock_not_found(k, a);
    if (l->min_commit_ts <= r->commit_version)
        return NULL;
    Kvrpcpb__KeyError *e = mvcc_error(a);
    e->commit_ts_expired = ti_arena_alloc(a, sizeof(*e->commit_ts_expired));
    kvrpcpb__commit_ts_expired__init(e->commit_ts_expired);
    e->commit_ts_expired->start_ts = r->start_version;
    e->commit_ts_expired->attempted_commit_ts = r->commit_version;
    e->commit_ts_expired->key = ti_pb_bytes(k->key);
    e->commit_ts_expired->min_commit_ts = l->min_commit_ts;
    return e;
}

void mvcc_commit(mvcc *m, fake_ask *ask)
{
    Kvrpcpb__CommitRequest *r = mvcc_unpack(&kvrpcpb__commit_request__descriptor, ask);
    Kvrpcpb__CommitResponse out = KVRPCPB__COMMIT_RESPONSE__INIT;
    if (!mvcc_check_region(ask, r->context, r->keys, r->n_keys))
        return;
    for (size_t i = 0; i < r->n_keys && out.error == NULL; i++)
        out.error = check_commit(mvcc_make(m, ti_pb_slice(r->keys[i])), r, ask->a);
    for (size_t i = 0; i < r->n_keys && out.error == NULL; i++) {
        mvcc_key *k = mvcc_make(m, ti_pb_slice(r->keys[i]));
        if (k->lock.held && k->lock.start_ts == r->start_version)
            mvcc_commit_key(m, k, r->commit_version);
    }
    out.commit_version = out.error == NULL ? r->commit_version : 0;
    fake_say(ask, &out.base);
}

void mvcc_batch_rollback(mvcc *m, fake_ask *ask)
{
    Kvrpcpb__BatchRollbackRequest *r =
        mvcc_unpack(&kvrpcpb__batch_rollback_request__descriptor, ask);
    Kvrpcpb__BatchRollbackResponse out = KVRPCPB__BATCH_ROLLBACK_RESPONSE__INIT;
    if (!mvcc_check_region(ask, r->context, r->keys, r->n_keys))
        return;
    for (size_t i = 0; i < r->n_keys; i++) {
        const mvcc_write *own =
            mvcc_write_of(mvcc_make(m, ti_pb_slice(r->keys[i])), r->start_version);
        if (own != NULL && own->op != KVRPCPB__OP__Rollback)
            out.error = abort_error("the transaction is committed", ask->a);
    }
    for (size_t i = 0; i < r->n_keys && out.error == NULL && !m->keeps_locks; i++)
        mvcc_roll_back_key(m, mvcc_make(m, ti_pb_slice(r->keys[i])), r->start_version);
    fake_say(ask, &out.base);
}

/* ---- Pessimistic locks ---- */

static Kvrpcpb__KeyError *check_lock(mvcc_key *k, const Kvrpcpb__PessimisticLockRequest *r,
                                     ti_arena *a)
{
    const mvcc_write *own = mvcc_write_of(k, r->start_version);
    const mvcc_write *last = last_write(k);
    if (k->lock.held && k->lock.start_ts != r->start_version)
        return mvcc_locked(k, a);
    if (k->lock.held)
        return NULL;
    if (own != NULL && own->op == KVRPCPB__OP__Rollback)
        return abort_error("the transaction was rolled back", a);
    if (last != NULL && last->commit_ts > r->for_update_ts)
        return conflict_of(k, r->start_version, last,
                           KVRPCPB__WRITE_CONFLICT__REASON__PessimisticRetry, a);
    return NULL;
}

static void write_pessimistic(mvcc *m, mvcc_key *k, const Kvrpcpb__PessimisticLockRequest *r)
{
    if (k->lock.held && k->lock.op != KVRPCPB__OP__PessimisticLock)
        return;
    memset(&k->lock, 0, sizeof(k->lock));
    k->lock.held = true;
    k->lock.op = KVRPCPB__OP__PessimisticLock;
    k->lock.value = TI_SLICE("");
    k->lock.primary = ti_arena_copy(&m->arena, ti_pb_slice(r->primary_lock));
    k->lock.start_ts = r->start_version;
    k->lock.ttl_ms = r->lock_ttl;
    k->lock.for_update_ts = r->for_update_ts;
    k->lock.min_commit_ts = 0;
}

void mvcc_pessimistic_lock(mvcc *m, fake_ask *ask)
{
    Kvrpcpb__PessimisticLockRequest *r =
        mvcc_unpack(&kvrpcpb__pessimistic_lock_request__descriptor, ask);
    Kvrpcpb__PessimisticLockResponse out = KVRPCPB__PESSIMISTIC_LOCK_RESPONSE__INIT;
    if (!mvcc_check_region(ask, r->context, keys_of(r->mutations, r->n_mutations, ask->a),
                           r->n_mutations))
        return;
    out.errors = ti_arena_alloc(ask->a, (r->n_mutations + 1) * sizeof(*out.errors));
    out.values = ti_arena_alloc_zero(ask->a, (r->n_mutations + 1) * sizeof(*out.values));
    out.not_founds = ti_arena_alloc_zero(ask->a, (r->n_mutations + 1) * sizeof(*out.not_founds));
    for (size_t i = 0; i < r->n_mutations; i++) {
        Kvrpcpb__KeyError *e =
            check_lock(mvcc_make(m, ti_pb_slice(r->mutations[i]->key)), r, ask->a);
        if (e != NULL)
            out.errors[out.n_errors++] = e;
    }
    for (size_t i = 0; i < r->n_mutations && out.n_errors == 0; i++) {
        mvcc_key *k = mvcc_make(m, ti_pb_slice(r->mutations[i]->key));
        const mvcc_write *w = mvcc_newest(k, UINT64_MAX);
        bool found = w != NULL && w->op == KVRPCPB__OP__Put;
        write_pessimistic(m, k, r);
        out.values[out.n_values++] = ti_pb_bytes(found ? w->value : TI_SLICE(""));
        out.not_founds[out.n_not_founds++] = !found;
    }
    fake_say(ask, &out.base);
}

void mvcc_pessimistic_rollback(mvcc *m, fake_ask *ask)
{
    Kvrpcpb__PessimisticRollbackRequest *r =
        mvcc_unpack(&kvrpcpb__pessimistic_rollback_request__descriptor, ask);
    Kvrpcpb__PessimisticRollbackResponse out = KVRPCPB__PESSIMISTIC_ROLLBACK_RESPONSE__INIT;
    if (!mvcc_check_region(ask, r->context, r->keys, r->n_keys))
        return;
    for (size_t i = 0; i < r->n_keys && !m->keeps_locks; i++) {
        mvcc_key *k = mvcc_make(m, ti_pb_slice(r->keys[i]));
        if (k->lock.held && k->lock.op == KVRPCPB__OP__PessimisticLock &&
            k->lock.start_ts == r->start_version && k->lock.for_update_ts <= r->for_update_ts)
            mvcc_unlock(k);
    }
    fake_say(ask, &out.base);
}

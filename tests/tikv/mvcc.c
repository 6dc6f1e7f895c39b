/* A little store: its keys, its regions, reads. See mvcc.h; writes: mvcc_write.c; what became of
 * transactions: mvcc_status.c. */
#include "tikv/mvcc.h"

#include "base/assert.h"
#include "tikv/pb.h"

/* ---- Keys ---- */

static size_t place_of(const mvcc *m, ti_slice key)
{
    size_t at = 0;
    while (at < m->key_count && ti_slice_compare(m->keys[at]->key, key) < 0)
        at++;
    return at;
}

mvcc_key *mvcc_find(mvcc *m, ti_slice key)
{
    size_t at = place_of(m, key);
    return at < m->key_count && ti_slice_equal(m->keys[at]->key, key) ? m->keys[at] : NULL;
}

mvcc_key *mvcc_make(mvcc *m, ti_slice key)
{
    mvcc_key *k = mvcc_find(m, key);
    if (k != NULL)
        return k;
    size_t at = place_of(m, key);
    ti_require(m->key_count < MVCC_KEYS_MAX);
    k = ti_arena_alloc_zero(&m->arena, sizeof(*k));
    ti_require(k != NULL);
    k->key = ti_arena_copy(&m->arena, key);
    memmove(&m->keys[at + 1], &m->keys[at], (m->key_count - at) * sizeof(m->keys[0]));
    m->keys[at] = k;
    m->key_count++;
    return k;
}

void mvcc_add_write(mvcc *m, mvcc_key *k, const mvcc_write *w)
{
    size_t at = k->write_count;
    ti_require(k->write_count < MVCC_WRITES_MAX);
    while (at > 0 && k->writes[at - 1].commit_ts > w->commit_ts)
        at--;
    memmove(&k->writes[at + 1], &k->writes[at], (k->write_count - at) * sizeof(k->writes[0]));
    k->writes[at] = *w;
    k->writes[at].value = ti_arena_copy(&m->arena, w->value.data != NULL ? w->value : TI_SLICE(""));
    k->write_count++;
}

mvcc_write *mvcc_write_of(mvcc_key *k, uint64_t start_ts)
{
    for (size_t i = 0; i < k->write_count; i++) {
        if (k->writes[i].start_ts == start_ts)
            return &k->writes[i];
    }
    return NULL;
}

const mvcc_write *mvcc_newest(const mvcc_key *k, uint64_t ts)
{
    for (size_t i = k->write_count; i > 0; i--) {
        const mvcc_write *w = &k->writes[i - 1];
        if (w->commit_ts <= ts && (w->op == KVRPCPB__OP__Put || w->op == KVRPCPB__OP__Del))
            return w;
    }
    return NULL;
}

void mvcc_unlock(mvcc_key *k)
{
    memset(&k->lock, 0, sizeof(k->lock));
}

void mvcc_commit_key(mvcc *m, mvcc_key *k, uint64_t commit_ts)
{
    ti_require(k->lock.held && k->lock.op != KVRPCPB__OP__PessimisticLock);
    mvcc_add_write(m, k,
                   &(mvcc_write){.start_ts = k->lock.start_ts,
                                 .commit_ts = commit_ts,
                                 .op = k->lock.op,
                                 .value = k->lock.value});
    mvcc_unlock(k);
}

void mvcc_roll_back_key(mvcc *m, mvcc_key *k, uint64_t start_ts)
{
    if (k->lock.held && k->lock.start_ts == start_ts)
        mvcc_unlock(k);
    if (mvcc_write_of(k, start_ts) == NULL)
        mvcc_add_write(m, k,
                       &(mvcc_write){.start_ts = start_ts,
                                     .commit_ts = start_ts,
                                     .op = KVRPCPB__OP__Rollback});
}

/* ---- Messages ---- */

void *mvcc_unpack(const ProtobufCMessageDescriptor *descriptor, fake_ask *ask)
{
    ti_err err;
    void *message = ti_pb_unpack(descriptor, ask->request, ask->a, &err);
    ti_require(message != NULL);
    return message;
}

Kvrpcpb__LockInfo *mvcc_lock_info(const mvcc_key *k, ti_arena *a)
{
    const mvcc_lock *l = &k->lock;
    Kvrpcpb__LockInfo *info = ti_arena_alloc(a, sizeof(*info));
    kvrpcpb__lock_info__init(info);
    info->key = ti_pb_bytes(k->key);
    info->primary_lock = ti_pb_bytes(l->primary);
    info->lock_version = l->start_ts;
    info->lock_ttl = l->ttl_ms;
    info->txn_size = l->txn_size;
    info->lock_type = l->op;
    info->lock_for_update_ts = l->for_update_ts;
    info->use_async_commit = l->async;
    info->min_commit_ts = l->min_commit_ts;
    info->n_secondaries = l->secondary_count;
    info->secondaries = ti_arena_alloc(a, (l->secondary_count + 1) * sizeof(*info->secondaries));
    for (size_t i = 0; i < l->secondary_count; i++)
        info->secondaries[i] = ti_pb_bytes(l->secondaries[i]);
    return info;
}

Kvrpcpb__KeyError *mvcc_error(ti_arena *a)
{
    Kvrpcpb__KeyError *e = ti_arena_alloc(a, sizeof(*e));
    kvrpcpb__key_error__init(e);
    return e;
}

Kvrpcpb__KeyError *mvcc_locked(const mvcc_key *k, ti_arena *a)
{
    Kvrpcpb__KeyError *e = mvcc_error(a);
    e->locked = mvcc_lock_info(k, a);
    return e;
}

/* ---- Regions ---- */

static void say_not_leader(fake_ask *ask, const fake_region *region)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__NotLeader not_leader = ERRORPB__NOT_LEADER__INIT;
    Metapb__Peer leader = METAPB__PEER__INIT;
    leader.id = region->id * 10 + region->leader;
    leader.store_id = region->leader;
    not_leader.region_id = region->id;
    not_leader.leader = &leader;
    error.not_leader = &not_leader;
    fake_region_error(ask, &error);
}

static void say_epoch(fake_ask *ask, const fake_region *region)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__EpochNotMatch epoch = ERRORPB__EPOCH_NOT_MATCH__INIT;
    Metapb__Region *list[] = {fake_region_message(region, ask->a)};
    epoch.n_current_regions = 1;
    epoch.current_regions = list;
    error.epoch_not_match = &epoch;
    fake_region_error(ask, &error);
}

static void say_not_found(fake_ask *ask, uint64_t id)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__RegionNotFound gone = ERRORPB__REGION_NOT_FOUND__INIT;
    gone.region_id = id;
    error.region_not_found = &gone;
    fake_region_error(ask, &error);
}

static void say_not_in_region(fake_ask *ask, ProtobufCBinaryData key)
{
    Errorpb__Error error = ERRORPB__ERROR__INIT;
    Errorpb__KeyNotInRegion outside = ERRORPB__KEY_NOT_IN_REGION__INIT;
    outside.key = key;
    error.key_not_in_region = &outside;
    fake_region_error(ask, &error);
}

bool mvcc_check_region(fake_ask *ask, const Kvrpcpb__Context *c, const ProtobufCBinaryData *keys,
                       size_t count)
{
    const fake *f = ask->cluster;
    const fake_region *region = NULL;
    for (size_t i = 0; i < f->region_count; i++) {
        if (f->regions[i].id == c->region_id)
            region = &f->regions[i];
    }
    if (region == NULL) {
        say_not_found(ask, c->region_id);
        return false;
    }
    if (region->leader != ask->store) {
        say_not_leader(ask, region);
        return false;
    }
    if (region->version != c->region_epoch->version ||
        region->conf_ver != c->region_epoch->conf_ver) {
        say_epoch(ask, region);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (fake_region_of(ask->cluster, ti_pb_slice(keys[i])) == region)
            continue;
        say_not_in_region(ask, keys[i]);
        return false;
    }
    return true;
}

/* ---- Reads ---- */

static bool holds(const uint64_t *list, size_t count, uint64_t ts)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i] == ts)
            return true;
    }
    return false;
}

/* The value at a timestamp for a reader; a lock in the way in *error_out. data NULL: absent. */
static ti_slice read_key(mvcc *m, ti_slice key, uint64_t ts, const Kvrpcpb__Context *c, ti_arena *a,
                         Kvrpcpb__KeyError **error_out)
{
    const mvcc_key *k = mvcc_find(m, key);
    *error_out = NULL;
    m->max_ts = ts > m->max_ts && ts != UINT64_MAX ? ts : m->max_ts;
    if (k == NULL)
        return TI_SLICE_NONE;
    const mvcc_lock *l = &k->lock;
    bool in_the_way = l->held && l->start_ts <= ts && l->op != KVRPCPB__OP__Lock &&
                      l->op != KVRPCPB__OP__PessimisticLock && l->min_commit_ts <= ts;
    if (in_the_way && holds(c->committed_locks, c->n_committed_locks, l->start_ts))
        return l->op == KVRPCPB__OP__Put ? l->value : TI_SLICE_NONE;
    if (in_the_way && !holds(c->resolved_locks, c->n_resolved_locks, l->start_ts)) {
        *error_out = mvcc_locked(k, a);
        return TI_SLICE_NONE;
    }
    const mvcc_write *w = mvcc_newest(k, ts);
    return w != NULL && w->op == KVRPCPB__OP__Put ? w->value : TI_SLICE_NONE;
}

static void answer_get(mvcc *m, fake_ask *ask)
{
    Kvrpcpb__GetRequest *r = mvcc_unpack(&kvrpcpb__get_request__descriptor, ask);
    Kvrpcpb__GetResponse out = KVRPCPB__GET_RESPONSE__INIT;
    if (!mvcc_check_region(ask, r->context, &r->key, 1))
        return;
    ti_slice value = read_key(m, ti_pb_slice(r->key), r->version, r->context, ask->a, &out.error);
    out.not_found = value.data == NULL;
    if (value.data != NULL)
        out.value = ti_pb_bytes(value);
    fake_say(ask, &out.base);
}

/* Appends a pair for a key that has a value or a lock. */
static void put_pair(mvcc *m, ti_slice key, uint64_t ts, const Kvrpcpb__Context *c, bool key_only,
                     ti_arena *a, Kvrpcpb__KvPair **list, size_t *count)
{
    Kvrpcpb__KeyError *error = NULL;
    ti_slice value = read_key(m, key, ts, c, a, &error);
    if (value.data == NULL && error == NULL)
        return;
    Kvrpcpb__KvPair *pair = ti_arena_alloc(a, sizeof(*pair));
    kvrpcpb__kv_pair__init(pair);
    pair->key = ti_pb_bytes(key);
    pair->error = error;
    if (value.data != NULL && !key_only)
        pair->value = ti_pb_bytes(value);
    list[(*count)++] = pair;
}

static void answer_batch_get(mvcc *m, fake_ask *ask)
{
    Kvrpcpb__BatchGetRequest *r = mvcc_unpack(&kvrpcpb__batch_get_request__descriptor, ask);
    Kvrpcpb__BatchGetResponse out = KVRPCPB__BATCH_GET_RESPONSE__INIT;
    if (!mvcc_check_region(ask, r->context, r->keys, r->n_keys))
        return;
    out.pairs = ti_arena_alloc(ask->a, (r->n_keys + 1) * sizeof(*out.pairs));
    for (size_t i = 0; i < r->n_keys; i++)
        put_pair(m, ti_pb_slice(r->keys[i]), r->version, r->context, false, ask->a, out.pairs,
                 &out.n_pairs);
    fake_say(ask, &out.base);
}

static bool is_between(ti_slice key, ti_slice low, ti_slice high)
{
    return ti_slice_compare(low, key) <= 0 && (high.len == 0 || ti_slice_compare(key, high) < 0);
}

static void answer_scan(mvcc *m, fake_ask *ask)
{
    Kvrpcpb__ScanRequest *r = mvcc_unpack(&kvrpcpb__scan_request__descriptor, ask);
    Kvrpcpb__ScanResponse out = KVRPCPB__SCAN_RESPONSE__INIT;
    ti_slice low = ti_pb_slice(r->reverse ? r->end_key : r->start_key);
    ti_slice high = ti_pb_slice(r->reverse ? r->start_key : r->end_key);
    if (!mvcc_check_region(ask, r->context, r->reverse ? &r->end_key : &r->start_key, 1))
        return;
    out.pairs = ti_arena_alloc(ask->a, (m->key_count + 1) * sizeof(*out.pairs));
    for (size_t n = 0; n < m->key_count && out.n_pairs < r->limit; n++) {
        ti_slice key = m->keys[r->reverse ? m->key_count - 1 - n : n]->key;
        const fake_region *region = fake_region_of(ask->cluster, key);
        if (is_between(key, low, high) && region->id == r->context->region_id)
            put_pair(m, key, r->version, r->context, r->key_only, ask->a, out.pairs, &out.n_pairs);
    }
    fake_say(ask, &out.base);
}

/* ---- The whole ---- */

static void dispatch(mvcc *m, fake_ask *ask)
{
    static void (*const answers[TI_COMMAND_COUNT])(mvcc *, fake_ask *) = {
        [TI_COMMAND_GET] = answer_get,
        [TI_COMMAND_BATCH_GET] = answer_batch_get,
        [TI_COMMAND_SCAN] = answer_scan,
        [TI_COMMAND_PREWRITE] = mvcc_prewrite,
        [TI_COMMAND_COMMIT] = mvcc_commit,
        [TI_COMMAND_BATCH_ROLLBACK] = mvcc_batch_rollback,
        [TI_COMMAND_PESSIMISTIC_LOCK] = mvcc_pessimistic_lock,
        [TI_COMMAND_PESSIMISTIC_ROLLBACK] = mvcc_pessimistic_rollback,
        [TI_COMMAND_CHECK_TXN_STATUS] = mvcc_check_txn_status,
        [TI_COMMAND_CHECK_SECONDARY_LOCKS] = mvcc_check_secondary_locks,
        [TI_COMMAND_TXN_HEART_BEAT] = mvcc_heart_beat,
        [TI_COMMAND_RESOLVE_LOCK] = mvcc_resolve_lock,
        [TI_COMMAND_SCAN_LOCK] = mvcc_scan_lock,
        [TI_COMMAND_UNSAFE_DESTROY_RANGE] = mvcc_destroy_range,
    };
    ti_require(answers[ask->kind] != NULL);
    answers[ask->kind](m, ask);
}

void mvcc_answer(mvcc *m, fake_ask *ask)
{
    ti_mutex_lock(&m->mutex);
    dispatch(m, ask);
    ti_mutex_unlock(&m->mutex);
}

void mvcc_put(mvcc *m, const char *key, const char *value, uint64_t start_ts, uint64_t commit_ts)
{
    ti_mutex_lock(&m->mutex);
    mvcc_add_write(m, mvcc_make(m, ti_slice_of(key)),
                   &(mvcc_write){.start_ts = start_ts,
                                 .commit_ts = commit_ts,
                                 .op = KVRPCPB__OP__Put,
                                 .value = ti_slice_of(value)});
    ti_mutex_unlock(&m->mutex);
}

void mvcc_roll_back(mvcc *m, const char *key, uint64_t start_ts)
{
    ti_mutex_lock(&m->mutex);
    mvcc_roll_back_key(m, mvcc_make(m, ti_slice_of(key)), start_ts);
    ti_mutex_unlock(&m->mutex);
}

void mvcc_set_lock(mvcc *m, const char *key, const mvcc_lock *lock)
{
    ti_mutex_lock(&m->mutex);
    mvcc_key *k = mvcc_make(m, ti_slice_of(key));
    k->lock = *lock;
    k->lock.held = true;
    k->lock.value = ti_arena_copy(&m->arena, lock->value.data ? lock->value : TI_SLICE(""));
    k->lock.primary = ti_arena_copy(&m->arena, lock->primary);
    k->lock.secondaries =
        ti_arena_alloc(&m->arena, (lock->secondary_count + 1) * sizeof(*k->lock.secondaries));
    for (size_t i = 0; i < lock->secondary_count; i++)
        k->lock.secondaries[i] = ti_arena_copy(&m->arena, lock->secondaries[i]);
    ti_mutex_unlock(&m->mutex);
}

ti_slice mvcc_value(mvcc *m, ti_slice key, uint64_t ts)
{
    ti_mutex_lock(&m->mutex);
    const mvcc_key *k = mvcc_find(m, key);
    const mvcc_write *w = k != NULL ? mvcc_newest(k, ts) : NULL;
    ti_mutex_unlock(&m->mutex);
    return w != NULL && w->op == KVRPCPB__OP__Put ? w->value : TI_SLICE("");
}

uint64_t mvcc_committed_at(mvcc *m, ti_slice key, uint64_t start_ts)
{
    ti_mutex_lock(&m->mutex);
    mvcc_key *k = mvcc_find(m, key);
    const mvcc_write *w = k != NULL ? mvcc_write_of(k, start_ts) : NULL;
    uint64_t ts = w != NULL && w->op != KVRPCPB__OP__Rollback ? w->commit_ts : 0;
    ti_mutex_unlock(&m->mutex);
    return ts;
}

size_t mvcc_locks(mvcc *m)
{
    size_t count = 0;
    ti_mutex_lock(&m->mutex);
    for (size_t i = 0; i < m->key_count; i++)
        count += m->keys[i]->lock.held;
    ti_mutex_unlock(&m->mutex);
    return count;
}

bool mvcc_lock_of(mvcc *m, const char *key, mvcc_lock *lock_out)
{
    ti_mutex_lock(&m->mutex);
    const mvcc_key *k = mvcc_find(m, ti_slice_of(key));
    *lock_out = k != NULL ? k->lock : (mvcc_lock){0};
    ti_mutex_unlock(&m->mutex);
    return lock_out->held;
}

void mvcc_init(mvcc *m)
{
    ti_err err;
    memset(m, 0, sizeof(*m));
    ti_arena_init(&m->arena);
    test_ok(ti_mutex_init(&m->mutex, TI_RANK_LEAF, &err), &err);
}

void mvcc_free(mvcc *m)
{
    ti_arena_free(&m->arena);
    ti_mutex_destroy(&m->mutex);
}

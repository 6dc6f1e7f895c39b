/* Clearing locks whose owner's fate is known, and deciding expired async commits by their
 * secondaries. See resolver.h. */
#include <string.h>

#include "base/assert.h"
#include "base/fault.h"
#include "tikv/resolver_int.h"

/* Bytes of keys in one ResolveLock. */
#define RESOLVE_SIZE_MAX 16384

/* ---- What was cleared lately ---- */

static uint64_t lock_id(uint64_t start_ts, ti_slice key)
{
    uint64_t id = start_ts ^ UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < key.len; i++)
        id = (id ^ (unsigned char)key.data[i]) * UINT64_C(0x100000001b3);
    return id != 0 ? id : 1;
}

static int64_t now_ms(const ti_resolver *r)
{
    return ti_env_mono_ns(r->cluster->wire->env) / 1000000;
}

static void note_cleared(ti_resolver *r, uint64_t start_ts, const ti_slice *keys, size_t count)
{
    int64_t at_ms = now_ms(r);
    ti_mutex_lock(&r->mutex);
    r->stats.resolved += count;
    for (size_t i = 0; i < count; i++) {
        uint64_t id = lock_id(start_ts, keys[i]);
        r->cleared[id % TI_RESOLVER_CLEARED_MAX].id = id;
        r->cleared[id % TI_RESOLVER_CLEARED_MAX].at_ms = at_ms;
    }
    ti_mutex_unlock(&r->mutex);
}

/* The locks that were not cleared within_ms, in the arena. */
static ti_status keep_uncleared(ti_resolver *r, Kvrpcpb__LockInfo *const *locks, size_t count,
                                int64_t within_ms, ti_arena *a, Kvrpcpb__LockInfo ***kept_out,
                                size_t *kept_count_out, ti_err *err)
{
    int64_t since_ms = now_ms(r) - within_ms;
    *kept_count_out = 0;
    *kept_out = ti_arena_alloc(a, count * sizeof(Kvrpcpb__LockInfo *));
    if (*kept_out == NULL)
        return ti_err_no_memory(err);
    ti_mutex_lock(&r->mutex);
    for (size_t i = 0; i < count; i++) {
        uint64_t id = lock_id(locks[i]->lock_version, ti_pb_slice(locks[i]->key));
        size_t slot = id % TI_RESOLVER_CLEARED_MAX;
        if (r->cleared[slot].id != id || r->cleared[slot].at_ms < since_ms)
            (*kept_out)[(*kept_count_out)++] = locks[i];
    }
    ti_mutex_unlock(&r->mutex);
    return TI_OK;
}

/* ---- ResolveLock by keys and by region ---- */

typedef struct resolve {
    uint64_t start_ts;
    uint64_t commit_ts;
    const ti_slice *keys;
    bool whole_region;
} resolve;

static ti_slice build_resolve(void *context, const ti_fan_part *part, ti_context *c, ti_arena *a)
{
    const resolve *k = context;
    Kvrpcpb__ResolveLockRequest request = KVRPCPB__RESOLVE_LOCK_REQUEST__INIT;
    request.context = &c->message;
    request.start_version = k->start_ts;
    request.commit_version = k->commit_ts;
    if (!k->whole_region) {
        request.keys = ti_arena_alloc(a, part->count * sizeof(*request.keys));
        if (request.keys == NULL)
            return TI_SLICE_NONE;
        for (size_t i = 0; i < part->count; i++)
            request.keys[i] = ti_pb_bytes(k->keys[part->indexes[i]]);
        request.n_keys = part->count;
    }
    return ti_pb_pack(&request.base, a);
}

static ti_status take_resolve(void *context, const ti_fan_part *part, ti_slice response, bool *left,
                              ti_err *err)
{
    (void)context;
    (void)part;
    (void)left;
    ti_arena a;
    ti_arena_init(&a);
    ti_status status = TI_OK;
    ti_err unpacked;
    Kvrpcpb__ResolveLockResponse *r =
        ti_pb_unpack(&kvrpcpb__resolve_lock_response__descriptor, response, &a, &unpacked);
    if (r == NULL)
        status = ti_err_set(err, unpacked.status, "%s", unpacked.message);
    else if (r->error != NULL)
        status = ti_err_set(err, TI_UNAVAILABLE, "a lock can not be cleared: %s",
                            ti_key_error_said(r->error).text);
    ti_arena_free(&a);
    return status;
}

static ti_status run_resolve(ti_resolver *r, resolve *k, const ti_slice *keys, size_t count,
                             ti_backoff *backoff, ti_err *err)
{
    ti_fan fan = {.cluster = r->cluster,
                  .kind = TI_COMMAND_RESOLVE_LOCK,
                  .keys = keys,
                  .count = count,
                  .size_max = k->whole_region ? 0 : RESOLVE_SIZE_MAX,
                  .context = k,
                  .build = build_resolve,
                  .take = take_resolve};
    TI_FAULT(tikv_before_resolving);
    TI_TRY(ti_fan_run(&fan, backoff, err));
    TI_FAULT(tikv_resolved);
    note_cleared(r, k->start_ts, keys, count);
    return TI_OK;
}

ti_status ti_resolver_resolve_keys(ti_resolver *r, uint64_t start_ts, uint64_t commit_ts,
                                   const ti_slice *keys, size_t count, ti_backoff *backoff,
                                   ti_err *err)
{
    resolve k = {.start_ts = start_ts, .commit_ts = commit_ts, .keys = keys};
    return run_resolve(r, &k, keys, count, backoff, err);
}

/* ---- PessimisticRollback ---- */

static ti_slice build_pessimistic(void *context, ti_context *c, ti_arena *a)
{
    const Kvrpcpb__LockInfo *lock = context;
    Kvrpcpb__PessimisticRollbackRequest request = KVRPCPB__PESSIMISTIC_ROLLBACK_REQUEST__INIT;
    ProtobufCBinaryData key = lock->key;
    request.context = &c->message;
    request.start_version = lock->lock_version;
    request.for_update_ts = lock->lock_for_update_ts != 0 ? lock->lock_for_update_ts : UINT64_MAX;
    request.keys = &key;
    request.n_keys = 1;
    return ti_pb_pack(&request.base, a);
}

static ti_status roll_back_pessimistic(ti_resolver *r, const Kvrpcpb__LockInfo *lock,
                                       ti_backoff *backoff, ti_err *err)
{
    ti_arena a;
    ti_slice response = TI_SLICE_NONE;
    ti_arena_init(&a);
    ti_status status =
        ti_send_to_key(r->cluster, TI_COMMAND_PESSIMISTIC_ROLLBACK, ti_pb_slice(lock->key),
                       build_pessimistic, (void *)(uintptr_t)lock, &a, &response, backoff, err);
    ti_arena_free(&a);
    return status;
}

/* ---- Clearing ---- */

static ti_status clear_pessimistic(ti_resolver *r, const Kvrpcpb__LockInfo *lock,
                                   const ti_txn_fate *fate, ti_backoff *backoff, ti_err *err)
{
    ti_slice key = ti_pb_slice(lock->key);
    bool is_primary = ti_slice_equal(key, ti_pb_slice(lock->primary_lock));
    if (!is_primary || fate->fate == TI_FATE_ONLY_LOCK)
        TI_TRY(roll_back_pessimistic(r, lock, backoff, err));
    note_cleared(r, lock->lock_version, &key, 1);
    return TI_OK;
}

/* Those that are cleared key by key, or by region. */
static ti_status clear_kind(ti_resolver *r, Kvrpcpb__LockInfo *const *locks, size_t count,
                            bool whole_region, const ti_txn_fate *fate, ti_arena *a,
                            ti_backoff *backoff, ti_err *err)
{
    ti_slice *keys = ti_arena_alloc(a, count * sizeof(*keys));
    size_t n = 0;
    if (keys == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        if ((locks[i]->txn_size >= TI_RESOLVER_LITE_KEYS) == whole_region &&
            locks[i]->lock_type != KVRPCPB__OP__PessimisticLock)
            keys[n++] = ti_pb_slice(locks[i]->key);
    }
    if (n == 0)
        return TI_OK;
    resolve k = {.start_ts = locks[0]->lock_version,
                 .commit_ts = fate->fate == TI_FATE_COMMITTED ? fate->commit_ts : 0,
                 .keys = keys,
                 .whole_region = whole_region};
    return run_resolve(r, &k, keys, n, backoff, err);
}

static ti_status clear_locks(ti_resolver *r, Kvrpcpb__LockInfo *const *locks, size_t count,
                             const ti_txn_fate *fate, ti_arena *a, ti_backoff *backoff, ti_err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (locks[i]->lock_type == KVRPCPB__OP__PessimisticLock)
            TI_TRY(clear_pessimistic(r, locks[i], fate, backoff, err));
    }
    TI_TRY(clear_kind(r, locks, count, false, fate, a, backoff, err));
    return clear_kind(r, locks, count, true, fate, a, backoff, err);
}

/* One turn: clears what is left as the one who does, or waits for him. */
static ti_status clear_turn(ti_resolver *r, Kvrpcpb__LockInfo *const *locks, size_t count,
                            const ti_txn_fate *fate, ti_arena *a, bool *done_out,
                            ti_backoff *backoff, ti_err *err)
{
    ti_flight mine;
    Kvrpcpb__LockInfo **kept = NULL;
    size_t kept_count = 0;
    TI_TRY(ti_flight_begin(&r->clears, locks[0]->lock_version, &mine, done_out, NULL, backoff->call,
                           err));
    if (!*done_out) {
        TI_TRY(keep_uncleared(r, locks, count, TI_RESOLVER_CLEARED_NOW_MS, a, &kept, &kept_count,
                              err));
        *done_out = kept_count == 0;
        return TI_OK;
    }
    ti_status status =
        keep_uncleared(r, locks, count, TI_RESOLVER_CLEARED_NOW_MS, a, &kept, &kept_count, err);
    if (status == TI_OK && kept_count > 0)
        status = clear_locks(r, kept, kept_count, fate, a, backoff, err);
    ti_flight_end(&r->clears, &mine, NULL);
    return status;
}

ti_status ti_resolver_clear(ti_resolver *r, Kvrpcpb__LockInfo *const *locks, size_t count,
                            const ti_txn_fate *fate, ti_backoff *backoff, ti_err *err)
{
    ti_arena a;
    bool done = false;
    ti_status status = TI_OK;
    ti_assert(count > 0);
    ti_arena_init(&a);
    while (status == TI_OK && !done) {
        ti_arena_reset(&a);
        status = clear_turn(r, locks, count, fate, &a, &done, backoff, err);
    }
    ti_arena_free(&a);
    return status;
}

/* ---- In the background ---- */

typedef struct clear_task {
    ti_task task;
    ti_resolver *resolver;
    ti_arena arena; /* of locks */
    Kvrpcpb__LockInfo **locks;
    size_t count;
    uint64_t start_ts; /* claimed */
    ti_txn_fate fate;
} clear_task;

/* Claims the clearing of a transaction; false when somebody is at it or too many are. */
static bool claim(ti_resolver *r, uint64_t start_ts)
{
    size_t free_slot = TI_RESOLVER_RUNNING_MAX;
    bool there = false;
    ti_mutex_lock(&r->mutex);
    for (size_t i = 0; i < TI_RESOLVER_RUNNING_MAX; i++) {
        there |= r->running[i] == start_ts;
        if (r->running[i] == 0)
            free_slot = i;
    }
    bool claimed = !there && free_slot < TI_RESOLVER_RUNNING_MAX;
    if (claimed)
        r->running[free_slot] = start_ts;
    ti_mutex_unlock(&r->mutex);
    return claimed;
}

static void give_back(ti_resolver *r, uint64_t start_ts)
{
    ti_mutex_lock(&r->mutex);
    for (size_t i = 0; i < TI_RESOLVER_RUNNING_MAX; i++) {
        if (r->running[i] == start_ts)
            r->running[i] = 0;
    }
    ti_mutex_unlock(&r->mutex);
}

static void drop_clear(ti_task *task)
{
    clear_task *t = (clear_task *)task;
    give_back(t->resolver, t->start_ts);
    ti_arena_free(&t->arena);
    ti_free(t);
}

static void run_clear(ti_task *task, const ti_call *call)
{
    clear_task *t = (clear_task *)task;
    ti_backoff backoff;
    ti_backoff_init(&backoff, t->resolver->cluster->wire, call, TI_BUDGET_RESOLVE_MS);
    (void)ti_resolver_clear(t->resolver, t->locks, t->count, &t->fate, &backoff,
                            NULL); /* best effort: the next who meets the lock tries again */
    drop_clear(task);
}

/* A copy of a lock for the task, by packing and unpacking. */
static Kvrpcpb__LockInfo *copy_lock(const Kvrpcpb__LockInfo *lock, ti_arena *a)
{
    ti_slice bytes = ti_pb_pack(&lock->base, a);
    return bytes.data == NULL ? NULL
                              : ti_pb_unpack(&kvrpcpb__lock_info__descriptor, bytes, a, NULL);
}

/* Copies into the task those locks that were not cleared lately; false when there is none. */
static bool fill_task(clear_task *t, Kvrpcpb__LockInfo *const *locks, size_t count)
{
    if (keep_uncleared(t->resolver, locks, count, TI_RESOLVER_CLEARED_MS, &t->arena, &t->locks,
                       &t->count, NULL) != TI_OK)
        return false;
    for (size_t i = 0; i < t->count; i++) {
        t->locks[i] = copy_lock(t->locks[i], &t->arena);
        if (t->locks[i] == NULL)
            return false;
    }
    return t->count > 0;
}

void ti_resolver_clear_later(ti_resolver *r, Kvrpcpb__LockInfo *const *locks, size_t count,
                             const ti_txn_fate *fate)
{
    ti_assert(count > 0);
    if (!claim(r, locks[0]->lock_version))
        return;
    clear_task *t = ti_alloc_zero(sizeof(*t));
    if (t == NULL) {
        give_back(r, locks[0]->lock_version);
        return;
    }
    ti_arena_init(&t->arena);
    t->task.run = run_clear;
    t->task.drop = drop_clear;
    t->resolver = r;
    t->start_ts = locks[0]->lock_version;
    t->fate = *fate;
    if (!fill_task(t, locks, count) || !ti_background_offer(r->background, &t->task))
        drop_clear(&t->task);
}

/* ---- Expired async commits ---- */

typedef struct recovery {
    uint64_t start_ts;
    const ti_slice *keys;
    uint64_t min_commit_ts; /* the highest of all locks */
    uint64_t commit_ts;     /* of a key whose lock is gone */
    bool decided;           /* a lock is gone: commit_ts is the truth, 0 = rolled back */
    bool not_async;
} recovery;

static ti_slice build_secondaries(void *context, const ti_fan_part *part, ti_context *c,
                                  ti_arena *a)
{
    const recovery *k = context;
    Kvrpcpb__CheckSecondaryLocksRequest request = KVRPCPB__CHECK_SECONDARY_LOCKS_REQUEST__INIT;
    request.context = &c->message;
    request.start_version = k->start_ts;
    request.keys = ti_arena_alloc(a, part->count * sizeof(*request.keys));
    if (request.keys == NULL)
        return TI_SLICE_NONE;
    for (size_t i = 0; i < part->count; i++)
        request.keys[i] = ti_pb_bytes(k->keys[part->indexes[i]]);
    request.n_keys = part->count;
    return ti_pb_pack(&request.base, a);
}

static ti_status merge_locks(recovery *k, const Kvrpcpb__CheckSecondaryLocksResponse *r,
                             size_t asked, ti_err *err)
{
    if (r->n_locks < asked) {
        if (k->decided && k->commit_ts != r->commit_ts)
            return ti_err_set(err, TI_CORRUPT,
                              "two keys of a transaction disagree about its commit");
        k->decided = true;
        k->commit_ts = r->commit_ts;
    }
    for (size_t i = 0; i < r->n_locks; i++) {
        const Kvrpcpb__LockInfo *lock = r->locks[i];
        if (lock->lock_version != k->start_ts)
            return ti_err_set(err, TI_CORRUPT, "a secondary lock belongs to another transaction");
        k->not_async |= !lock->use_async_commit;
        if (lock->min_commit_ts > k->min_commit_ts)
            k->min_commit_ts = lock->min_commit_ts;
    }
    return TI_OK;
}

static ti_status take_secondaries(void *context, const ti_fan_part *part, ti_slice response,
                                  bool *left, ti_err *err)
{
    (void)left;
    ti_arena a;
    ti_err unpacked;
    ti_status status = TI_OK;
    ti_arena_init(&a);
    Kvrpcpb__CheckSecondaryLocksResponse *r =
        ti_pb_unpack(&kvrpcpb__check_secondary_locks_response__descriptor, response, &a, &unpacked);
    if (r == NULL)
        status = ti_err_set(err, unpacked.status, "%s", unpacked.message);
    else if (r->error != NULL)
        status = ti_err_set(err, TI_UNAVAILABLE, "secondary locks can not be read: %s",
                            ti_key_error_said(r->error).text);
    else
        status = merge_locks(context, r, part->count, err);
    ti_arena_free(&a);
    return status;
}

/* The keys of a transaction: its secondaries, then its primary. */
static ti_slice *all_keys(const Kvrpcpb__LockInfo *primary, ti_arena *a)
{
    ti_slice *keys = ti_arena_alloc(a, (primary->n_secondaries + 1) * sizeof(*keys));
    for (size_t i = 0; keys != NULL && i < primary->n_secondaries; i++)
        keys[i] = ti_pb_slice(primary->secondaries[i]);
    if (keys != NULL)
        keys[primary->n_secondaries] =
            ti_pb_slice(primary->key.len > 0 ? primary->key : primary->primary_lock);
    return keys;
}

static ti_status ask_secondaries(ti_resolver *r, recovery *k, size_t count, ti_backoff *backoff,
                                 ti_err *err)
{
    if (count == 0)
        return TI_OK;
    ti_fan fan = {.cluster = r->cluster,
                  .kind = TI_COMMAND_CHECK_SECONDARY_LOCKS,
                  .keys = k->keys,
                  .count = count,
                  .context = k,
                  .build = build_secondaries,
                  .take = take_secondaries};
    return ti_fan_run(&fan, backoff, err);
}

ti_status ti_resolver_recover(ti_resolver *r, const Kvrpcpb__LockInfo *primary,
                              ti_txn_fate *fate_out, ti_backoff *backoff, ti_err *err)
{
    ti_arena a;
    ti_arena_init(&a);
    ti_slice *keys = all_keys(primary, &a);
    recovery k = {
        .start_ts = primary->lock_version, .keys = keys, .min_commit_ts = primary->min_commit_ts};
    ti_status status = keys == NULL ? ti_err_no_memory(err)
                                    : ask_secondaries(r, &k, primary->n_secondaries, backoff, err);
    if (status == TI_OK && !k.decided && k.not_async)
        status = TI_NOT_FOUND;
    if (status == TI_OK) {
        uint64_t commit_ts = k.decided ? k.commit_ts : k.min_commit_ts;
        *fate_out = (ti_txn_fate){.fate = commit_ts != 0 ? TI_FATE_COMMITTED : TI_FATE_ROLLED_BACK,
                                  .commit_ts = commit_ts};
        status = ti_resolver_resolve_keys(r, primary->lock_version, commit_ts, keys,
                                          primary->n_secondaries + 1, backoff, err);
    }
    if (status == TI_OK) {
        ti_resolver_remember(r, primary->lock_version, fate_out->commit_ts);
        ti_mutex_lock(&r->mutex);
        r->stats.recovered++;
        ti_mutex_unlock(&r->mutex);
    }
    ti_arena_free(&a);
    return status;
}

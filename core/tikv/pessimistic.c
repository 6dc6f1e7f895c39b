/* Pessimistic locks: taking them with a wait, reading the newest value, giving them back. See
 * kv/engine.h.
 *
 * Each call takes a fresh for_update_ts. The first key that is held becomes the primary; its
 * request goes alone and first. A lock of another owner is resolved when he is dead, waited for
 * when he lives.
 *
 * INVARIANTS
 *  1. A key is in the list when the store has confirmed its lock, and not before.
 *  2. After a failure those of its keys whose answers did not come are rolled back: they may have
 *     been locked. What was confirmed stays held.
 *  3. The primary is a held key while any key is held. */
#include <string.h>

#include "base/assert.h"
#include "base/fault.h"
#include "tikv/tikv_int.h"

#define WAIT_SLICE_MS 1000
#define NO_WAIT (-1)

typedef struct lock_call {
    ti_locks *locks;
    ti_locked *out; /* NULL: nobody wants the values */
    ti_arena *arena;
    const ti_slice *keys;
    uint64_t for_update_ts;
    uint64_t now_ts; /* for the time to live */
    int64_t wait_until_ns;
    bool no_wait;
    bool conflict; /* a newer commit: again with a fresh for_update_ts */
    bool lost;     /* a lock may be held without our knowing */
    ti_slice failed;
    ti_met_locks met;
} lock_call;

static int64_t now_ns(const lock_call *c)
{
    return ti_env_mono_ns(c->locks->engine->base.env);
}

/* What the store may wait at a stretch, in ms. */
static int64_t wait_timeout_ms(const lock_call *c)
{
    int64_t left_ms = (c->wait_until_ns - now_ns(c)) / 1000000;
    if (c->no_wait || left_ms <= 0)
        return NO_WAIT;
    return left_ms < WAIT_SLICE_MS ? left_ms : WAIT_SLICE_MS;
}

static ti_slice build_lock(void *context, const ti_fan_part *part, ti_context *ctx, ti_arena *a)
{
    lock_call *c = context;
    Kvrpcpb__PessimisticLockRequest request = KVRPCPB__PESSIMISTIC_LOCK_REQUEST__INIT;
    Kvrpcpb__Mutation *list = ti_arena_alloc(a, part->count * sizeof(*list));
    request.mutations = ti_arena_alloc(a, part->count * sizeof(*request.mutations));
    if (list == NULL || request.mutations == NULL)
        return TI_SLICE_NONE;
    for (size_t i = 0; i < part->count; i++) {
        kvrpcpb__mutation__init(&list[i]);
        list[i].op = KVRPCPB__OP__PessimisticLock;
        list[i].key = ti_pb_bytes(c->keys[part->indexes[i]]);
        request.mutations[i] = &list[i];
    }
    request.context = &ctx->message;
    request.n_mutations = part->count;
    request.primary_lock = ti_pb_bytes(c->locks->primary);
    request.start_version = c->locks->start_ts;
    request.lock_ttl = TI_PESSIMISTIC_TTL_MS + ti_age_ms(c->locks->start_ts, c->now_ts);
    request.for_update_ts = c->for_update_ts;
    request.wait_timeout = wait_timeout_ms(c);
    request.return_values = true;
    request.min_commit_ts = c->for_update_ts + 1;
    return ti_pb_pack(&request.base, a);
}

/* Where a key is in the list, or belongs. */
static size_t place_of(const ti_locks *locks, ti_slice key)
{
    size_t low = 0;
    size_t high = locks->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ti_slice_compare(locks->list[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const ti_held_key *ti_locks_find(const ti_locks *locks, ti_slice key)
{
    size_t at = place_of(locks, key);
    return at < locks->count && ti_slice_equal(locks->list[at].key, key) ? &locks->list[at] : NULL;
}

/* Enters a key whose lock is confirmed. */
static ti_status hold(ti_locks *locks, ti_slice key, bool found, ti_err *err)
{
    size_t at = place_of(locks, key);
    if (at < locks->count && ti_slice_equal(locks->list[at].key, key)) {
        locks->list[at].found = found;
        return TI_OK;
    }
    if (locks->count == locks->capacity) {
        size_t capacity = locks->capacity * 2 + 8;
        ti_held_key *list = ti_realloc(locks->list, capacity * sizeof(*list));
        if (list == NULL)
            return ti_err_no_memory(err);
        locks->list = list;
        locks->capacity = capacity;
    }
    ti_slice copy = ti_arena_copy(&locks->arena, key);
    if (copy.data == NULL)
        return ti_err_no_memory(err);
    memmove(&locks->list[at + 1], &locks->list[at], (locks->count - at) * sizeof(*locks->list));
    locks->list[at] = (ti_held_key){.key = copy, .found = found};
    locks->count++;
    return TI_OK;
}

static ti_status keep_values(lock_call *c, const ti_fan_part *part,
                             const Kvrpcpb__PessimisticLockResponse *r, ti_err *err)
{
    for (size_t i = 0; i < part->count; i++) {
        size_t index = part->indexes[i];
        bool found =
            i < r->n_values && !(i < r->n_not_founds && r->not_founds[i]) && r->values[i].len > 0;
        TI_TRY(hold(c->locks, c->keys[index], found, err));
        if (c->out == NULL)
            continue;
        c->out[index] = (ti_locked){.found = found, .ts = c->for_update_ts};
        if (found)
            c->out[index].value = ti_arena_copy(c->arena, ti_pb_slice(r->values[i]));
        if (found && c->out[index].value.data == NULL)
            return ti_err_no_memory(err);
    }
    return TI_OK;
}

static ti_status take_lock_error(lock_call *c, const Kvrpcpb__KeyError *e, ti_err *err)
{
    ti_slice failed;
    if (e->locked != NULL)
        return ti_met_locks_add(&c->met, e->locked, err);
    c->conflict |= e->conflict != NULL;
    ti_status status = ti_key_error_status(e, &failed, err);
    if (failed.len > 0)
        c->failed = ti_arena_copy(c->arena, failed);
    return status;
}

static void lost_lock(void *context, const ti_fan_part *part)
{
    lock_call *c = context;
    (void)part;
    c->lost = true;
}

static ti_status take_lock(void *context, const ti_fan_part *part, ti_slice response, bool *left,
                           ti_err *err)
{
    lock_call *c = context;
    ti_arena a;
    ti_err unpacked;
    ti_status status = TI_OK;
    ti_arena_init(&a);
    Kvrpcpb__PessimisticLockResponse *r =
        ti_pb_unpack(&kvrpcpb__pessimistic_lock_response__descriptor, response, &a, &unpacked);
    if (r == NULL) {
        status = ti_err_set(err, unpacked.status, "%s", unpacked.message);
    } else if (r->n_errors == 0) {
        status = keep_values(c, part, r, err);
    } else {
        for (size_t i = 0; status == TI_OK && i < r->n_errors; i++)
            status = take_lock_error(c, r->errors[i], err);
        for (size_t i = 0; i < part->count; i++)
            left[part->indexes[i]] = true;
    }
    ti_arena_free(&a);
    return status;
}

/* Locks of others: those of dead owners are cleared; for the living ones the wait goes on, or ends.
 */
static ti_status settle_lock(void *context, ti_backoff *backoff, ti_err *err)
{
    lock_call *c = context;
    if (c->met.count == 0)
        return TI_OK;
    int64_t wait_ms = 0;
    ti_status status = ti_resolve_for_write(c->locks->engine->resolver, c->met.list, c->met.count,
                                            0, &wait_ms, backoff, err);
    ti_err why;
    ti_met_locks_why(&c->met, TI_BUSY, "the record is locked by another transaction", &why);
    ti_met_locks_clear(&c->met);
    TI_TRY(status);
    if (wait_ms == 0)
        return ti_backoff_count(backoff, &why, err);
    if (c->no_wait)
        return ti_err_set(err, TI_BUSY, "%s", why.message);
    if (now_ns(c) >= c->wait_until_ns)
        return ti_err_set(
            err, TI_TIMEOUT,
            "the record stayed locked by another transaction for as long as was to be waited");
    return ti_backoff_sleep(backoff, TI_BACKOFF_LOCK_FAST, wait_ms < 20 ? wait_ms : 20, &why, err);
}

static ti_status lock_keys(lock_call *c, const ti_slice *keys, ti_locked *out, size_t count,
                           const ti_call *call, ti_err *err)
{
    if (count == 0)
        return TI_OK;
    ti_backoff backoff;
    int64_t budget_ms = ti_call_left_ns(call) / 1000000;
    ti_backoff_init(&backoff, c->locks->engine->cluster.wire, call,
                    budget_ms > 0 && budget_ms < TI_BUDGET_RANGE_MS ? budget_ms + TI_BUDGET_READ_MS
                                                                    : TI_BUDGET_RANGE_MS);
    c->keys = keys;
    c->out = out;
    ti_fan fan = {.cluster = &c->locks->engine->cluster,
                  .kind = TI_COMMAND_PESSIMISTIC_LOCK,
                  .keys = keys,
                  .count = count,
                  .size_max = TI_BATCH_SIZE,
                  .context = c,
                  .build = build_lock,
                  .take = take_lock,
                  .settle = settle_lock,
                  .lost = lost_lock};
    return ti_fan_run(&fan, &backoff, err);
}

/* ---- Giving back ---- */

typedef struct release {
    uint64_t start_ts;
    uint64_t for_update_ts;
    const ti_slice *keys;
} release;

static ti_slice build_release(void *context, const ti_fan_part *part, ti_context *ctx, ti_arena *a)
{
    const release *r = context;
    Kvrpcpb__PessimisticRollbackRequest request = KVRPCPB__PESSIMISTIC_ROLLBACK_REQUEST__INIT;
    request.context = &ctx->message;
    request.start_version = r->start_ts;
    request.for_update_ts = r->for_update_ts;
    request.keys = ti_arena_alloc(a, part->count * sizeof(*request.keys));
    if (request.keys == NULL)
        return TI_SLICE_NONE;
    for (size_t i = 0; i < part->count; i++)
        request.keys[i] = ti_pb_bytes(r->keys[part->indexes[i]]);
    request.n_keys = part->count;
    return ti_pb_pack(&request.base, a);
}

static ti_status take_release(void *context, const ti_fan_part *part, ti_slice response, bool *left,
                              ti_err *err)
{
    (void)context;
    (void)part;
    (void)response;
    (void)left;
    (void)err;
    return TI_OK;
}

static ti_status run_release(ti_tikv *t, release *r, size_t count, const ti_call *call)
{
    ti_backoff backoff;
    ti_backoff_init(&backoff, t->cluster.wire, call, TI_BUDGET_CLEANUP_MS);
    ti_fan fan = {.cluster = &t->cluster,
                  .kind = TI_COMMAND_PESSIMISTIC_ROLLBACK,
                  .keys = r->keys,
                  .count = count,
                  .size_max = TI_BATCH_SIZE,
                  .timeout_us = TI_UNLOCK_WITHIN_US,
                  .context = r,
                  .build = build_release,
                  .take = take_release};
    return ti_fan_run(&fan, &backoff, NULL);
}

/* A release that nobody waits for. */
typedef struct release_task {
    ti_task task;
    ti_tikv *engine;
    ti_arena arena; /* the keys */
    release release;
    size_t count;
    int64_t until_ns; /* then they have ended with their time to live */
} release_task;

static void drop_release(ti_task *task)
{
    release_task *r = (release_task *)task;
    ti_arena_free(&r->arena);
    ti_free(r);
}

static void run_release_task(ti_task *task, const ti_call *call)
{
    release_task *r = (release_task *)task;
    ti_call within = *call;
    within.deadline_ns = r->until_ns < call->deadline_ns ? r->until_ns : call->deadline_ns;
    (void)run_release(r->engine, &r->release, r->count, &within);
    drop_release(task);
}

/* Offers it to the background; without memory or a place there the locks end with their time to
 * live. */
static void release_later(ti_tikv *t, const release *r, size_t count)
{
    release_task *task = ti_alloc_zero(sizeof(*task));
    if (task == NULL)
        return;
    task->task = (ti_task){.run = run_release_task, .drop = drop_release};
    task->engine = t;
    ti_arena_init(&task->arena);
    task->until_ns = ti_env_mono_ns(t->base.env) + TI_PESSIMISTIC_TTL_MS * INT64_C(1000000);
    ti_slice *keys = ti_arena_alloc(&task->arena, count * sizeof(*keys));
    for (size_t i = 0; keys != NULL && i < count; i++) {
        keys[i] = ti_arena_copy(&task->arena, r->keys[i]);
        if (keys[i].data == NULL)
            keys = NULL;
    }
    task->release = *r;
    task->release.keys = keys;
    task->count = count;
    if (keys == NULL || !ti_background_offer(t->background, &task->task))
        drop_release(&task->task);
}

/* At once, while the caller has time; what is not given back then is left to the background. */
static void roll_back(const ti_locks *locks, uint64_t for_update_ts, const ti_slice *keys,
                      size_t count)
{
    ti_tikv *t = locks->engine;
    release r = {.start_ts = locks->start_ts, .for_update_ts = for_update_ts, .keys = keys};
    ti_call call = ti_call_within(t->base.env, TI_UNLOCK_WITHIN_US);
    if (locks->deadline_ns < call.deadline_ns)
        call.deadline_ns = locks->deadline_ns;
    if (count > 0 && (locks->hurried || run_release(t, &r, count, &call) != TI_OK))
        release_later(t, &r, count);
}

/* Rolls back every held key; without memory they end with their time to live. */
static void roll_back_held(ti_locks *locks)
{
    ti_slice *keys = ti_arena_alloc(&locks->arena, (locks->count + 1) * sizeof(*keys));
    if (keys == NULL)
        return;
    for (size_t i = 0; i < locks->count; i++)
        keys[i] = locks->list[i].key;
    roll_back(locks, locks->for_update_ts, keys, locks->count);
}

void ti_tikv_unlock(ti_engine *e, ti_locks *locks)
{
    ti_tikv *t = (ti_tikv *)e;
    if (locks == NULL)
        return;
    if (locks->beating)
        ti_heartbeat_remove(t->heartbeat, locks->start_ts);
    if (!locks->spent)
        roll_back_held(locks);
    ti_free(locks->list);
    ti_arena_free(&locks->arena);
    ti_free(locks);
}

/* ---- Taking ---- */

static ti_status locks_create(ti_tikv *t, uint64_t start_ts, ti_locks **locks_out, ti_err *err)
{
    ti_locks *locks = ti_alloc_zero(sizeof(*locks));
    if (locks == NULL)
        return ti_err_no_memory(err);
    locks->engine = t;
    locks->start_ts = start_ts;
    ti_arena_init(&locks->arena);
    *locks_out = locks;
    return TI_OK;
}

/* Gives back the keys of a failed call that may be locked without our knowing. */
static void forget_unconfirmed(lock_call *c, const ti_slice *keys, size_t count)
{
    ti_locks *locks = c->locks;
    ti_slice *unknown = ti_arena_alloc(c->arena, (count + 1) * sizeof(*unknown));
    size_t n = 0;
    for (size_t i = 0; unknown != NULL && i < count; i++) {
        if (ti_locks_find(locks, keys[i]) == NULL)
            unknown[n++] = keys[i];
    }
    if (unknown != NULL)
        roll_back(locks, c->for_update_ts, unknown, n);
}

/* One attempt at all keys: the primary's request alone and first when there is none yet. */
static ti_status attempt(lock_call *c, const ti_slice *keys, ti_locked *out, size_t count,
                         const ti_call *call, ti_err *err)
{
    ti_locks *locks = c->locks;
    size_t first = locks->count == 0 ? 1 : 0;
    if (first == 1) {
        locks->primary = ti_arena_copy(&locks->arena, keys[0]);
        if (locks->primary.data == NULL)
            return ti_err_no_memory(err);
    }
    TI_TRY(lock_keys(c, keys, out, first, call, err));
    if (!locks->beating) {
        TI_TRY(ti_heartbeat_add(locks->engine->heartbeat, locks->start_ts, locks->primary, err));
        locks->beating = true;
    }
    TI_FAULT(tikv_primary_locked);
    return lock_keys(c, keys + first, out == NULL ? NULL : out + first, count - first, call, err);
}

/* What follows a call, good or bad. */
static void call_ended(lock_call *c, ti_status status, const ti_slice *keys, size_t count,
                       const ti_call *call)
{
    c->locks->deadline_ns = call->deadline_ns;
    c->locks->hurried |= ti_call_check(call, "locking", NULL) != TI_OK;
    if (status != TI_OK && c->lost)
        forget_unconfirmed(c, keys, count);
    if (c->locks->count == 0)
        c->locks->primary = TI_SLICE_NONE;
    ti_met_locks_free(&c->met);
}

/* One attempt at all keys with a fresh for_update_ts. */
static ti_status lock_anew(lock_call *c, const ti_lock_request *request, ti_locked *out,
                           const ti_call *call, ti_err *err)
{
    ti_locks *locks = c->locks;
    c->conflict = false;
    TI_TRY(ti_pd_timestamp(locks->engine->cluster.pd, &c->for_update_ts, call, err));
    c->now_ts = c->for_update_ts;
    if (c->for_update_ts > locks->for_update_ts)
        locks->for_update_ts = c->for_update_ts;
    return attempt(c, request->keys, out, request->count, call, err);
}

ti_status ti_tikv_lock(ti_engine *e, ti_locks **locks_io, const ti_lock_request *request,
                       ti_arena *a, ti_locked *out, const ti_call *call, ti_err *err)
{
    ti_tikv *t = (ti_tikv *)e;
    if (*locks_io == NULL)
        TI_TRY(locks_create(t, request->start_ts, locks_io, err));
    ti_locks *locks = *locks_io;
    lock_call c = {.locks = locks, .arena = a, .no_wait = request->wait_us == 0};
    c.wait_until_ns = request->wait_us < 0 ? call->deadline_ns
                                           : ti_env_mono_ns(t->base.env) + request->wait_us * 1000;
    ti_met_locks_init(&c.met);
    ti_backoff backoff;
    ti_backoff_init(&backoff, t->cluster.wire, call, TI_BUDGET_COMMIT_MS);
    ti_status status = lock_anew(&c, request, out, call, err);
    while (status == TI_CONFLICT && c.conflict) { /* a commit since for_update_ts */
        ti_err why;
        ti_err_set(&why, TI_CONFLICT, "the record changes faster than it can be locked");
        c.conflict = false;
        status = backoff.attempts == 0
                     ? ti_backoff_count(&backoff, &why, err)
                     : ti_backoff_sleep(&backoff, TI_BACKOFF_COMMIT_TS, -1, &why, err);
        if (status == TI_OK)
            status = lock_anew(&c, request, out, call, err);
    }
    call_ended(&c, status, request->keys, request->count, call);
    if (status == TI_OK)
        TI_FAULT(tikv_locked);
    return status;
}

/* Locks keys at the start timestamp. Whoever waited for a lock and is woken gets a write conflict
 * whether or not something was written (TiKV before 6.5, always after a rollback): asking again
 * without a wait tells. */
static ti_status lock_at_start(lock_call *c, const ti_slice *keys, size_t count,
                               const ti_call *call, ti_err *err)
{
    for (;;) {
        c->conflict = false;
        c->no_wait = false;
        ti_status status = lock_keys(c, keys, NULL, count, call, err);
        if (status != TI_CONFLICT || !c->conflict)
            return status;
        c->no_wait = true;
        status = lock_keys(c, keys, NULL, count, call, err);
        if (status != TI_BUSY)
            return status;
    }
}

ti_status ti_tikv_lock_rest(ti_tikv *t, ti_locks *locks, const ti_slice *keys, size_t count,
                            uint64_t now_ts, ti_arena *a, ti_slice *failed_out, const ti_call *call,
                            ti_err *err)
{
    *failed_out = TI_SLICE_NONE;
    ti_assert(locks->engine == t && locks->count > 0);
    ti_slice *rest = ti_arena_alloc(a, (count + 1) * sizeof(*rest));
    size_t n = 0;
    if (rest == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        if (ti_locks_find(locks, keys[i]) == NULL)
            rest[n++] = keys[i];
    }
    lock_call c = {.locks = locks,
                   .arena = a,
                   .for_update_ts = locks->start_ts,
                   .now_ts = now_ts,
                   .wait_until_ns = call->deadline_ns};
    ti_met_locks_init(&c.met);
    ti_status status = lock_at_start(&c, rest, n, call, err);
    call_ended(&c, status, rest, n, call);
    *failed_out = c.failed;
    return status;
}

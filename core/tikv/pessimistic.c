/* Pessimistic locks: taking them with a wait, reading the newest value, giving them back. See
 * kv/engine.h.
 *
 * Each call takes a fresh for_update_ts. The first key ever locked becomes the primary; its request
 * goes alone and first. A lock of another owner is resolved when he is dead, waited for when he
 * lives. On any failure the locks of this call are rolled back (some may have been taken although
 * the answer was an error). */
#include <string.h>

#include "base/assert.h"
#include "tikv/tikv_int.h"

#define WAIT_SLICE_MS 1000
#define NO_WAIT (-1)

typedef struct lock_call {
    ti_locks *locks;
    const ti_lock_request *request;
    ti_locked *out;
    ti_arena *arena;
    const ti_slice *keys;
    uint64_t for_update_ts;
    int64_t wait_until_ns;
    bool conflict; /* a newer commit: again with a fresh for_update_ts */
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
    if (c->request->wait_us == 0 || left_ms <= 0)
        return NO_WAIT;
    return left_ms < WAIT_SLICE_MS ? left_ms : WAIT_SLICE_MS;
}

static uint64_t ttl_ms(const ti_locks *locks)
{
    int64_t age_ms = ti_env_wall_us(locks->engine->base.env) / 1000 -
                     (int64_t)(locks->start_ts >> TI_TS_LOGICAL_BITS);
    return TI_PESSIMISTIC_TTL_MS +
           (uint64_t)(age_ms > 0 && age_ms < TI_COMMIT_TIME_MAX_MS ? age_ms : 0);
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
    request.lock_ttl = ttl_ms(c->locks);
    request.for_update_ts = c->for_update_ts;
    request.wait_timeout = wait_timeout_ms(c);
    request.return_values = true;
    request.min_commit_ts = c->for_update_ts + 1;
    return ti_pb_pack(&request.base, a);
}

static ti_status keep_values(lock_call *c, const ti_fan_part *part,
                             const Kvrpcpb__PessimisticLockResponse *r, ti_err *err)
{
    for (size_t i = 0; i < part->count; i++) {
        ti_locked *out = &c->out[part->indexes[i]];
        bool absent =
            i >= r->n_values || (i < r->n_not_founds && r->not_founds[i]) || r->values[i].len == 0;
        out->found = !absent;
        out->ts = c->for_update_ts;
        out->value = absent ? TI_SLICE_NONE : ti_arena_copy(c->arena, ti_pb_slice(r->values[i]));
        if (!absent && out->value.data == NULL)
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
    return ti_key_error_status(e, &failed, err);
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
    ti_met_locks_clear(&c->met);
    TI_TRY(status);
    if (wait_ms == 0)
        return TI_OK;
    if (c->request->wait_us == 0)
        return ti_err_set(err, TI_BUSY, "the record is locked by another transaction");
    if (now_ns(c) >= c->wait_until_ns)
        return ti_err_set(
            err, TI_TIMEOUT,
            "the record stayed locked by another transaction for as long as was to be waited");
    ti_err why;
    ti_err_set(&why, TI_BUSY, "the record is locked by another transaction");
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
                  .settle = settle_lock};
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

/* Best effort: what is not given back ends with its time to live. */
static void roll_back(ti_tikv *t, uint64_t start_ts, uint64_t for_update_ts, const ti_slice *keys,
                      size_t count)
{
    if (count == 0)
        return;
    release r = {.start_ts = start_ts, .for_update_ts = for_update_ts, .keys = keys};
    ti_call call = ti_call_within(t->base.env, TI_CLOSE_WITHIN_US);
    ti_backoff backoff;
    ti_backoff_init(&backoff, t->cluster.wire, &call, TI_BUDGET_CLEANUP_MS);
    ti_fan fan = {.cluster = &t->cluster,
                  .kind = TI_COMMAND_PESSIMISTIC_ROLLBACK,
                  .keys = keys,
                  .count = count,
                  .size_max = TI_BATCH_SIZE,
                  .context = &r,
                  .build = build_release,
                  .take = take_release};
    (void)ti_fan_run(&fan, &backoff, NULL);
}

void ti_tikv_unlock(ti_engine *e, ti_locks *locks)
{
    ti_tikv *t = (ti_tikv *)e;
    if (locks == NULL)
        return;
    if (locks->beating)
        ti_heartbeat_remove(t->heartbeat, locks->start_ts);
    roll_back(t, locks->start_ts, locks->for_update_ts, locks->keys, locks->count);
    ti_free(locks->keys);
    ti_arena_free(&locks->arena);
    ti_free(locks);
}

/* ---- Taking ---- */

bool ti_locks_hold(const ti_locks *locks, ti_slice key)
{
    for (size_t i = 0; i < locks->count; i++) {
        if (ti_slice_equal(locks->keys[i], key))
            return true;
    }
    return false;
}

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

/* Enters the keys before they are locked, so that whatever happens they are rolled back. */
static ti_status note_keys(ti_locks *locks, const ti_lock_request *request, ti_err *err)
{
    size_t needed = locks->count + request->count;
    if (needed > locks->capacity) {
        ti_slice *keys = ti_realloc(locks->keys, needed * 2 * sizeof(*keys));
        if (keys == NULL)
            return ti_err_no_memory(err);
        locks->keys = keys;
        locks->capacity = needed * 2;
    }
    for (size_t i = 0; i < request->count; i++) {
        if (ti_locks_hold(locks, request->keys[i]))
            continue;
        ti_slice copy = ti_arena_copy(&locks->arena, request->keys[i]);
        if (copy.data == NULL)
            return ti_err_no_memory(err);
        locks->keys[locks->count++] = copy;
    }
    if (locks->primary.len == 0)
        locks->primary = locks->keys[0];
    return TI_OK;
}

/* One attempt at all keys: the primary's request alone and first when it is new. */
static ti_status attempt(lock_call *c, size_t held_before, const ti_call *call, ti_err *err)
{
    const ti_lock_request *request = c->request;
    ti_locked *out = c->out;
    size_t first = held_before == 0 ? 1 : 0;
    TI_TRY(lock_keys(c, request->keys, out, first, call, err));
    if (first == 1 && !c->locks->beating) {
        TI_TRY(ti_heartbeat_add(c->locks->engine->heartbeat, c->locks->start_ts, c->locks->primary,
                                err));
        c->locks->beating = true;
    }
    return lock_keys(c, request->keys + first, out + first, request->count - first, call, err);
}

ti_status ti_tikv_lock(ti_engine *e, ti_locks **locks_io, const ti_lock_request *request,
                       ti_arena *a, ti_locked *out, const ti_call *call, ti_err *err)
{
    ti_tikv *t = (ti_tikv *)e;
    if (*locks_io == NULL)
        TI_TRY(locks_create(t, request->start_ts, locks_io, err));
    ti_locks *locks = *locks_io;
    size_t held_before = locks->count;
    TI_TRY(note_keys(locks, request, err));
    lock_call c = {.locks = locks, .request = request, .out = out, .arena = a};
    c.wait_until_ns = request->wait_us < 0 ? call->deadline_ns
                                           : ti_env_mono_ns(t->base.env) + request->wait_us * 1000;
    ti_met_locks_init(&c.met);
    ti_status status;
    do { /* a commit since for_update_ts: again with a later one */
        c.conflict = false;
        c.out = out;
        status = ti_pd_timestamp(t->cluster.pd, &c.for_update_ts, call, err);
        if (status == TI_OK && c.for_update_ts > locks->for_update_ts)
            locks->for_update_ts = c.for_update_ts;
        if (status == TI_OK)
            status = attempt(&c, held_before, call, err);
    } while (status == TI_CONFLICT && c.conflict && ti_call_check(call, "locking", NULL) == TI_OK);
    ti_met_locks_free(&c.met);
    return status;
}

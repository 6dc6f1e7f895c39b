/* Prewrite: the first phase, in all three modes. See commit_int.h. */
#include <string.h>

#include "base/assert.h"
#include "base/fault.h"
#include "tikv/commit_int.h"

/* Under pessimistic locks absence was checked before: an INSERT is a PUT, an assertion a LOCK. */
static Kvrpcpb__Op op_of(ti_mutation_kind kind, bool pessimistic)
{
    switch (kind) {
    case TI_MUTATION_PUT:
        return KVRPCPB__OP__Put;
    case TI_MUTATION_DELETE:
        return KVRPCPB__OP__Del;
    case TI_MUTATION_INSERT:
        return pessimistic ? KVRPCPB__OP__Put : KVRPCPB__OP__Insert;
    case TI_MUTATION_LOCK:
        return KVRPCPB__OP__Lock;
    case TI_MUTATION_ABSENT:
        return pessimistic ? KVRPCPB__OP__Lock : KVRPCPB__OP__CheckNotExists;
    }
    ti_require(false);
    return KVRPCPB__OP__Lock;
}

static bool part_has(const ti_fan_part *part, size_t index)
{
    for (size_t i = 0; i < part->count; i++) {
        if (part->indexes[i] == index)
            return true;
    }
    return false;
}

/* The mutations of a part; false when there is no memory. */
static bool fill_mutations(const ti_committer *c, const ti_fan_part *part,
                           Kvrpcpb__PrewriteRequest *request, ti_arena *a)
{
    Kvrpcpb__Mutation *list = ti_arena_alloc(a, part->count * sizeof(*list));
    request->mutations = ti_arena_alloc(a, part->count * sizeof(*request->mutations));
    if (list == NULL || request->mutations == NULL)
        return false;
    for (size_t i = 0; i < part->count; i++) {
        const ti_mutation *m = &c->request->mutations[part->indexes[i]];
        kvrpcpb__mutation__init(&list[i]);
        list[i].op = op_of(m->kind, c->pessimistic);
        list[i].key = ti_pb_bytes(m->key);
        list[i].value = ti_pb_bytes(m->value);
        request->mutations[i] = &list[i];
    }
    request->n_mutations = part->count;
    return true;
}

/* Where the transaction holds pessimistic locks it holds them on all keys. */
static bool fill_pessimistic(const ti_committer *c, const ti_fan_part *part,
                             Kvrpcpb__PrewriteRequest *request, ti_arena *a)
{
    if (!c->pessimistic)
        return true;
    request->pessimistic_actions =
        ti_arena_alloc(a, part->count * sizeof(*request->pessimistic_actions));
    if (request->pessimistic_actions == NULL)
        return false;
    for (size_t i = 0; i < part->count; i++)
        request->pessimistic_actions[i] =
            KVRPCPB__PREWRITE_REQUEST__PESSIMISTIC_ACTION__DO_PESSIMISTIC_CHECK;
    request->n_pessimistic_actions = part->count;
    request->for_update_ts = c->request->locks->for_update_ts;
    return true;
}

/* An async commit's primary lock lists all other keys that are locked. */
static bool fill_secondaries(const ti_committer *c, Kvrpcpb__PrewriteRequest *request, ti_arena *a)
{
    request->secondaries = ti_arena_alloc(a, c->request->count * sizeof(*request->secondaries));
    if (request->secondaries == NULL)
        return false;
    for (size_t i = 0; i < c->request->count; i++) {
        if (i != c->primary && ti_committer_writes(c, i))
            request->secondaries[request->n_secondaries++] = ti_pb_bytes(c->keys[i]);
    }
    return true;
}

static ti_slice build_prewrite(void *context, const ti_fan_part *part, ti_context *ctx, ti_arena *a)
{
    ti_committer *c = context;
    Kvrpcpb__PrewriteRequest request = KVRPCPB__PREWRITE_REQUEST__INIT;
    if (!part->whole && c->one_pc) { /* the keys do not go into one request (any more) */
        c->torn = ti_committer_is_lost(c);
        c->one_pc = false;
        c->async &= !c->torn;
    }
    request.context = &ctx->message;
    request.primary_lock = ti_pb_bytes(c->keys[c->primary]);
    request.start_version = c->request->start_ts;
    request.lock_ttl = c->lock_ttl_ms;
    request.txn_size = part->again ? UINT64_MAX : part->region_keys;
    request.try_one_pc = c->one_pc;
    request.use_async_commit = c->async;
    if (c->one_pc || c->async) {
        request.min_commit_ts = c->min_commit_ts;
        request.max_commit_ts = c->max_commit_ts;
    }
    bool filled = fill_mutations(c, part, &request, a) && fill_pessimistic(c, part, &request, a);
    if (filled && c->async && part_has(part, c->primary))
        filled = fill_secondaries(c, &request, a);
    return filled ? ti_pb_pack(&request.base, a) : TI_SLICE_NONE;
}

static bool part_is_lost(const ti_committer *c, const ti_fan_part *part)
{
    for (size_t i = 0; i < part->count; i++) {
        if (c->lost[part->indexes[i]])
            return true;
    }
    return false;
}

static void set_lost(ti_committer *c, const ti_fan_part *part, bool lost)
{
    for (size_t i = 0; i < part->count; i++)
        c->lost[part->indexes[i]] = lost;
}

/* One key error. A lock is noted: the part is asked again. After an answer that did not come it
 * may be our own earlier write that stands in the way: then it says nothing about the outcome. */
static ti_status take_key_error(ti_committer *c, const ti_fan_part *part,
                                const Kvrpcpb__KeyError *e, ti_err *err)
{
    ti_slice failed = TI_SLICE_NONE;
    ti_status status;
    bool newer = e->locked != NULL && e->locked->lock_version > c->request->start_ts &&
                 e->locked->lock_type != KVRPCPB__OP__PessimisticLock && !c->pessimistic;
    if (e->locked != NULL && !newer) {
        c->blocked_index = ti_committer_index_of(c, ti_pb_slice(e->locked->key));
        return ti_met_locks_add(&c->met, e->locked, err);
    }
    if (newer) {
        failed = ti_pb_slice(e->locked->key);
        status = ti_err_set(err, TI_CONFLICT,
                            "a later transaction is about to change what this one writes");
    } else {
        status = ti_key_error_status(e, &failed, err);
    }
    c->refused |= !part_is_lost(c, part) && !c->torn;
    if (c->failed_index == SIZE_MAX)
        c->failed_index = ti_committer_index_of(c, failed);
    return status;
}

/* A good answer. After one that did not come, the locks may be those of the earlier request, which
 * asked for an async commit: when the store says nothing of that, whoever meets them may commit by
 * them, and 2PC must not. (TiKV answers with the lock's min_commit_ts; unistore with none.) */
static void take_success(ti_committer *c, const ti_fan_part *part,
                         const Kvrpcpb__PrewriteResponse *r)
{
    c->touched = true;
    if (c->async && r->one_pc_commit_ts == 0 && r->min_commit_ts == 0)
        c->torn |= part_is_lost(c, part);
    set_lost(c, part, false);
    if (c->one_pc && r->one_pc_commit_ts != 0) {
        c->one_pc_ts = r->one_pc_commit_ts;
        return;
    }
    if (c->one_pc) { /* refused: what was written are the locks of a 2PC, or of an async commit when
                        it says min_commit_ts */
        c->one_pc = false;
        c->async = c->async && r->min_commit_ts != 0;
    }
    if (c->async && r->min_commit_ts == 0)
        c->async = false;
    if (r->min_commit_ts > c->async_ts)
        c->async_ts = r->min_commit_ts;
}

/* An answer did not come. It matters only where a prewrite can be the commit point. */
static void lost_prewrite(void *context, const ti_fan_part *part)
{
    ti_committer *c = context;
    c->touched = true;
    if (c->one_pc || c->async)
        set_lost(c, part, true);
}

static ti_status take_prewrite(void *context, const ti_fan_part *part, ti_slice response,
                               bool *left, ti_err *err)
{
    ti_committer *c = context;
    ti_arena a;
    ti_err unpacked;
    ti_status status = TI_OK;
    TI_FAULT(tikv_prewrite_answered);
    ti_arena_init(&a);
    Kvrpcpb__PrewriteResponse *r =
        ti_pb_unpack(&kvrpcpb__prewrite_response__descriptor, response, &a, &unpacked);
    if (r == NULL) { /* an answer that says nothing */
        lost_prewrite(c, part);
        status = ti_err_set(err, unpacked.status, "%s", unpacked.message);
    } else if (r->n_errors == 0) {
        take_success(c, part, r);
    } else {
        for (size_t i = 0; status == TI_OK && i < r->n_errors; i++)
            status = take_key_error(c, part, r->errors[i], err);
        for (size_t i = 0; status == TI_OK && i < part->count; i++)
            left[part->indexes[i]] = true;
    }
    ti_arena_free(&a);
    return status;
}

/* Clears the locks that were in the way, or waits. */
static ti_status settle_prewrite(void *context, ti_backoff *backoff, ti_err *err)
{
    ti_committer *c = context;
    if (c->met.count == 0)
        return TI_OK;
    int64_t wait_ms = 0;
    ti_status status = ti_resolve_for_write(c->engine->resolver, c->met.list, c->met.count,
                                            c->request->start_ts, &wait_ms, backoff, err);
    ti_err why;
    ti_met_locks_why(&c->met, TI_CONFLICT, "a key is locked by another transaction", &why);
    ti_met_locks_clear(&c->met);
    TI_TRY(status);
    if (wait_ms == 0)
        return ti_backoff_count(backoff, &why, err);
    return ti_backoff_sleep(backoff, TI_BACKOFF_LOCK, wait_ms, &why, err);
}

static size_t size_of_mutation(void *context, size_t index)
{
    const ti_committer *c = context;
    const ti_mutation *m = &c->request->mutations[index];
    return m->key.len + m->value.len;
}

ti_status ti_committer_prewrite(ti_committer *c, ti_err *err)
{
    ti_backoff backoff;
    ti_backoff_init(&backoff, c->engine->cluster.wire, c->call, TI_BUDGET_COMMIT_MS);
    backoff.no_last_try = true;
    ti_fan fan = {.cluster = &c->engine->cluster,
                  .kind = TI_COMMAND_PREWRITE,
                  .keys = c->keys,
                  .count = c->request->count,
                  .size_max = TI_BATCH_SIZE,
                  .context = c,
                  .size_of = size_of_mutation,
                  .build = build_prewrite,
                  .take = take_prewrite,
                  .settle = settle_prewrite,
                  .lost = lost_prewrite};
    return ti_fan_run(&fan, &backoff, err);
}

/* Snapshot reads: get and batch_get. Scans: scan.c. See kv/engine.h for what they promise.
 *
 * A read that meets a lock finds out about its owner, then asks again: past the lock (resolved),
 * through it (committed), or after a wait. A snapshot of one get has no timestamp: it asks for the
 * newest version (UINT64_MAX, as client-go does for a point get by itself). */
#include <string.h>

#include "base/assert.h"
#include "tikv/tikv_int.h"

void ti_snapshot_context(ti_tikv_snapshot *s, ti_context *c)
{
    c->message.resolved_locks = s->view.resolved;
    c->message.n_resolved_locks = s->view.resolved_count;
    c->message.committed_locks = s->view.committed;
    c->message.n_committed_locks = s->view.committed_count;
}

ti_status ti_snapshot_settle(ti_tikv_snapshot *s, ti_met_locks *met, ti_backoff *backoff,
                             ti_err *err)
{
    if (met->count == 0)
        return TI_OK;
    if (s->ts == TI_TS_MAX) { /* what a lock means is decided at a timestamp: take one, ask again */
        ti_met_locks_clear(met);
        return ti_pd_timestamp(s->engine->cluster.pd, &s->ts, backoff->call, err);
    }
    int64_t wait_ms = 0;
    ti_status status = ti_resolve_for_read(s->engine->resolver, met->list, met->count, s->ts,
                                           &s->view, &wait_ms, backoff, err);
    ti_err why;
    ti_met_locks_why(met, TI_BUSY, "a key is locked by a transaction that is about to commit",
                     &why);
    ti_met_locks_clear(met);
    TI_TRY(status);
    if (wait_ms == 0)
        return ti_backoff_count(backoff, &why, err);
    return ti_backoff_sleep(backoff, TI_BACKOFF_LOCK_FAST, wait_ms, &why, err);
}

/* ---- The safe point ---- */

static ti_status look_at_safe_point(ti_tikv *t, const ti_call *call, ti_err *err)
{
    uint64_t ts = 0;
    TI_TRY(ti_pd_safe_point(t->cluster.pd, &ts, call, err));
    atomic_store(&t->safe_point, ts);
    atomic_store(&t->safe_point_ms, ti_env_mono_ns(t->base.env) / 1000000);
    return TI_OK;
}

typedef struct look_task {
    ti_task task;
    ti_tikv *engine;
} look_task;

static void drop_look(ti_task *task)
{
    atomic_store(&((look_task *)task)->engine->safe_point_looking, false);
    ti_free(task);
}

static void run_look(ti_task *task, const ti_call *call)
{
    (void)look_at_safe_point(((look_task *)task)->engine, call,
                             NULL); /* tried again by a later read */
    drop_look(task);
}

/* Offers a look to the background, unless one is under way. */
static void look_later(ti_tikv *t)
{
    if (atomic_exchange(&t->safe_point_looking, true))
        return;
    look_task *look = ti_alloc_zero(sizeof(*look));
    if (look != NULL) {
        look->task = (ti_task){.run = run_look, .drop = drop_look};
        look->engine = t;
        if (ti_background_offer(t->background, &look->task))
            return;
        ti_free(look);
    }
    atomic_store(&t->safe_point_looking, false);
}

/* One of those who need it now asks, the others wait. */
static ti_status look_together(ti_tikv *t, const ti_call *call, ti_err *err)
{
    ti_flight mine;
    ti_err said;
    bool leads = false;
    TI_TRY(ti_flight_begin(&t->safe_point_looks, 1, &mine, &leads, &said, call, err));
    if (leads) {
        ti_err_clear(&said);
        look_at_safe_point(t, call, &said);
        ti_flight_end(&t->safe_point_looks, &mine, &said);
    } else if (said.status == TI_TIMEOUT || said.status == TI_CANCELLED) {
        return look_at_safe_point(t, call, err); /* only the other's time was up */
    }
    if (said.status != TI_OK && err != NULL)
        *err = said;
    return said.status;
}

/* Now and then in the background; at once when it was never seen, or not for long. */
static ti_status refresh_safe_point(ti_tikv *t, const ti_call *call, ti_err *err)
{
    int64_t looked_ms = atomic_load(&t->safe_point_ms);
    int64_t age_ms = ti_env_mono_ns(t->base.env) / 1000000 - looked_ms;
    if (looked_ms == 0 || age_ms > TI_SAFE_POINT_OLD_MS)
        return look_together(t, call, err);
    if (age_ms > TI_SAFE_POINT_LOOK_MS)
        look_later(t);
    return TI_OK;
}

ti_status ti_snapshot_check_safe(ti_tikv_snapshot *s, const ti_call *call, ti_err *err)
{
    TI_TRY(refresh_safe_point(s->engine, call, err));
    if (s->ts >= atomic_load(&s->engine->safe_point))
        return TI_OK;
    return ti_err_set(
        err, TI_CONFLICT,
        "the snapshot is older than the garbage collector's safe point: begin a new transaction");
}

/* ---- get ---- */

typedef struct point_read {
    ti_tikv_snapshot *snapshot;
    const ti_slice *keys;
    ti_slice *values; /* data NULL: absent */
    ti_arena *arena;
    ti_met_locks met;
} point_read;

static ti_slice build_get(void *context, const ti_fan_part *part, ti_context *c, ti_arena *a)
{
    point_read *p = context;
    Kvrpcpb__GetRequest request = KVRPCPB__GET_REQUEST__INIT;
    ti_snapshot_context(p->snapshot, c);
    request.context = &c->message;
    request.key = ti_pb_bytes(p->keys[part->indexes[0]]);
    request.version = p->snapshot->ts;
    return ti_pb_pack(&request.base, a);
}

/* A key error of a read: a lock is noted (its keys are left over); anything else ends the read. */
static ti_status take_read_error(point_read *p, const Kvrpcpb__KeyError *e, ti_err *err)
{
    ti_slice failed;
    if (e->locked != NULL)
        return ti_met_locks_add(&p->met, e->locked, err);
    return ti_key_error_status(e, &failed, err);
}

static ti_status keep_value(point_read *p, size_t index, ti_slice value, ti_err *err)
{
    p->values[index] = ti_arena_copy(p->arena, value);
    return p->values[index].data == NULL ? ti_err_no_memory(err) : TI_OK;
}

static ti_status take_get(void *context, const ti_fan_part *part, ti_slice response, bool *left,
                          ti_err *err)
{
    point_read *p = context;
    ti_arena a;
    ti_err unpacked;
    ti_status status = TI_OK;
    ti_arena_init(&a);
    Kvrpcpb__GetResponse *r =
        ti_pb_unpack(&kvrpcpb__get_response__descriptor, response, &a, &unpacked);
    if (r == NULL) {
        status = ti_err_set(err, unpacked.status, "%s", unpacked.message);
    } else if (r->error != NULL) {
        left[part->indexes[0]] = true;
        status = take_read_error(p, r->error, err);
    } else if (!r->not_found && r->value.len > 0) {
        status = keep_value(p, part->indexes[0], ti_pb_slice(r->value), err);
    }
    ti_arena_free(&a);
    return status;
}

static ti_status settle_read(void *context, ti_backoff *backoff, ti_err *err)
{
    point_read *p = context;
    return ti_snapshot_settle(p->snapshot, &p->met, backoff, err);
}

static ti_status run_read(point_read *p, ti_fan *fan, const ti_call *call, ti_err *err)
{
    ti_backoff backoff;
    ti_backoff_init(&backoff, p->snapshot->engine->cluster.wire, call, TI_BUDGET_READ_MS);
    fan->cluster = &p->snapshot->engine->cluster;
    fan->context = p;
    fan->settle = settle_read;
    ti_met_locks_init(&p->met);
    ti_status status = ti_fan_run(fan, &backoff, err);
    if (status == TI_OK)
        status = ti_snapshot_check_safe(p->snapshot, call, err);
    ti_met_locks_free(&p->met);
    return status;
}

ti_status ti_tikv_get(ti_snapshot *s, ti_slice key, ti_arena *a, ti_slice *value_out,
                      const ti_call *call, ti_err *err)
{
    *value_out = TI_SLICE_NONE;
    point_read p = {
        .snapshot = (ti_tikv_snapshot *)s, .keys = &key, .values = value_out, .arena = a};
    ti_fan fan = {
        .kind = TI_COMMAND_GET, .keys = &key, .count = 1, .build = build_get, .take = take_get};
    TI_TRY(run_read(&p, &fan, call, err));
    return value_out->data == NULL ? TI_NOT_FOUND : TI_OK;
}

/* ---- batch_get ---- */

static ti_slice build_batch_get(void *context, const ti_fan_part *part, ti_context *c, ti_arena *a)
{
    point_read *p = context;
    Kvrpcpb__BatchGetRequest request = KVRPCPB__BATCH_GET_REQUEST__INIT;
    ti_snapshot_context(p->snapshot, c);
    request.context = &c->message;
    request.version = p->snapshot->ts;
    request.keys = ti_arena_alloc(a, part->count * sizeof(*request.keys));
    if (request.keys == NULL)
        return TI_SLICE_NONE;
    for (size_t i = 0; i < part->count; i++)
        request.keys[i] = ti_pb_bytes(p->keys[part->indexes[i]]);
    request.n_keys = part->count;
    return ti_pb_pack(&request.base, a);
}

/* The place of key in a part; SIZE_MAX when it was not asked for. Answers mostly come in the order
 * asked: *from_io remembers where. */
static size_t place_of(const point_read *p, const ti_fan_part *part, ti_slice key, size_t *from_io)
{
    for (size_t n = 0; n < part->count; n++) {
        size_t at = (*from_io + n) % part->count;
        if (ti_slice_equal(p->keys[part->indexes[at]], key)) {
            *from_io = at + 1;
            return part->indexes[at];
        }
    }
    return SIZE_MAX;
}

static ti_status take_pair(point_read *p, const ti_fan_part *part, const Kvrpcpb__KvPair *pair,
                           size_t *from_io, bool *left, ti_err *err)
{
    bool locked = pair->error != NULL && pair->error->locked != NULL;
    ti_slice key = locked && pair->key.len == 0 ? ti_pb_slice(pair->error->locked->key)
                                                : ti_pb_slice(pair->key);
    if (pair->error != NULL)
        TI_TRY(take_read_error(p, pair->error, err));
    size_t index = place_of(p, part, key, from_io);
    if (index == SIZE_MAX)
        return ti_err_set(err, TI_CORRUPT, "a store answered with a key that was not asked for");
    if (locked) {
        left[index] = true;
        return TI_OK;
    }
    return pair->value.len > 0 ? keep_value(p, index, ti_pb_slice(pair->value), err) : TI_OK;
}

static ti_status take_batch_get(void *context, const ti_fan_part *part, ti_slice response,
                                bool *left, ti_err *err)
{
    point_read *p = context;
    ti_arena a;
    ti_err unpacked;
    ti_status status = TI_OK;
    size_t from = 0;
    ti_arena_init(&a);
    Kvrpcpb__BatchGetResponse *r =
        ti_pb_unpack(&kvrpcpb__batch_get_response__descriptor, response, &a, &unpacked);
    if (r == NULL) {
        status = ti_err_set(err, unpacked.status, "%s", unpacked.message);
    } else if (r->error != NULL) { /* of the whole request */
        for (size_t i = 0; i < part->count; i++)
            left[part->indexes[i]] = true;
        status = take_read_error(p, r->error, err);
    } else {
        for (size_t i = 0; status == TI_OK && i < r->n_pairs; i++)
            status = take_pair(p, part, r->pairs[i], &from, left, err);
    }
    ti_arena_free(&a);
    return status;
}

ti_status ti_tikv_batch_get(ti_snapshot *s, const ti_slice *keys, size_t count, ti_arena *a,
                            ti_slice *values_out, const ti_call *call, ti_err *err)
{
    for (size_t i = 0; i < count; i++)
        values_out[i] = TI_SLICE_NONE;
    if (count == 0)
        return TI_OK;
    point_read p = {
        .snapshot = (ti_tikv_snapshot *)s, .keys = keys, .values = values_out, .arena = a};
    ti_fan fan = {.kind = TI_COMMAND_BATCH_GET,
                  .keys = keys,
                  .count = count,
                  .keys_max = TI_BATCH_GET_KEYS,
                  .timeout_us = TI_SEND_TIMEOUT_LONG_US,
                  .build = build_batch_get,
                  .take = take_batch_get};
    return run_read(&p, &fan, call, err);
}

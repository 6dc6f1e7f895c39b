/* Garbage collection and destroy_range. See kv/engine.h.
 *
 * A collection: the new safe point is what PD allows of now − retention (the lowest service safe
 * point holds it back); every lock older than it is resolved, region by region; then PD is told,
 * and the stores collect by themselves. Without TiDB nobody else does this. */
#include <string.h>

#include "base/assert.h"
#include "tikv/tikv_int.h"

/* Resolves locks; those of living owners are waited for. */
static ti_status resolve_met(void *context, ti_met_locks *met, ti_backoff *backoff, ti_err *err)
{
    ti_tikv *t = context;
    for (;;) {
        int64_t wait_ms = 0;
        TI_TRY(ti_resolve_for_write(t->resolver, met->list, met->count, TI_TS_NONE, &wait_ms,
                                    backoff, err));
        if (wait_ms == 0)
            return TI_OK;
        ti_err why;
        ti_met_locks_why(met, TI_BUSY, "a transaction older than the retention still runs", &why);
        TI_TRY(ti_backoff_sleep(backoff, TI_BACKOFF_LOCK, wait_ms, &why, err));
    }
}

ti_status ti_tikv_gc(ti_engine *e, int64_t retention_us, const ti_call *call, ti_err *err)
{
    ti_tikv *t = (ti_tikv *)e;
    uint64_t now = 0;
    uint64_t lowest = 0;
    uint64_t in_force = 0;
    if (retention_us < 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "the retention of a garbage collection can not be negative");
    TI_TRY(ti_pd_timestamp(t->cluster.pd, &now, call, err));
    uint64_t back = (uint64_t)(retention_us / 1000) << TI_TS_LOGICAL_BITS;
    uint64_t wanted = now > back ? now - back : 0;
    /* The collector's own service safe point; PD answers the lowest of all services. */
    TI_TRY(ti_pd_service_safe_point(t->cluster.pd, TI_SLICE("gc_worker"), INT64_MAX, wanted,
                                    &lowest, call, err));
    uint64_t safe_point = lowest < wanted ? lowest : wanted;
    TI_TRY(ti_pd_safe_point(t->cluster.pd, &in_force, call, err));
    if (safe_point <= in_force)
        return TI_OK; /* nothing new to collect, or somebody holds it back */
    ti_lock_sweep sweep = {.max_ts = safe_point, .visit = resolve_met, .context = t};
    TI_TRY(ti_tikv_sweep_locks(t, &sweep, call, err));
    TI_TRY(ti_pd_update_safe_point(t->cluster.pd, safe_point, &in_force, call, err));
    if (in_force < safe_point)
        return ti_err_set(err, TI_UNAVAILABLE, "PD has not taken over the safe point");
    atomic_store(&t->safe_point, in_force);
    ti_log_write(t->log, TI_LOG_INFO, "garbage collection: the safe point is %llu",
                 (unsigned long long)in_force);
    return TI_OK;
}

/* ---- destroy_range ---- */

/* Sends to one store by a unary call: this command is not about a region. */
static ti_status destroy_on(ti_tikv *t, const ti_tikv_store_info *store, ti_slice body,
                            const ti_call *call, ti_err *err)
{
    ti_arena a;
    ti_slice response = TI_SLICE_NONE;
    ti_arena_init(&a);
    ti_status status = ti_wire_call(t->cluster.wire, store->address,
                                    ti_command_kind_of(TI_COMMAND_UNSAFE_DESTROY_RANGE)->method,
                                    body, INT64_C(300000000), call, &a, &response, err);
    if (status == TI_OK) {
        ti_err unpacked;
        Kvrpcpb__UnsafeDestroyRangeResponse *r = ti_pb_unpack(
            &kvrpcpb__unsafe_destroy_range_response__descriptor, response, &a, &unpacked);
        if (r == NULL)
            status = ti_err_set(err, unpacked.status, "%s", unpacked.message);
        else if (r->error[0] != '\0')
            status = ti_err_set(err, TI_UNAVAILABLE, "%s can not destroy the range: %s",
                                store->address, ti_said_by(r->error).text);
    }
    ti_arena_free(&a);
    return status;
}

ti_status ti_tikv_destroy_range(ti_engine *e, ti_range range, const ti_call *call, ti_err *err)
{
    ti_tikv *t = (ti_tikv *)e;
    ti_arena a;
    size_t count = 0;
    ti_tikv_store_info *stores = NULL;
    ti_arena_init(&a);
    ti_context c;
    memset(&c, 0, sizeof(c));
    kvrpcpb__context__init(&c.message);
    Kvrpcpb__UnsafeDestroyRangeRequest request = KVRPCPB__UNSAFE_DESTROY_RANGE_REQUEST__INIT;
    request.context = &c.message;
    request.start_key = ti_pb_bytes(range.from);
    request.end_key = ti_pb_bytes(range.to);
    ti_slice body = ti_pb_pack(&request.base, &a);
    ti_status status = body.data == NULL
                           ? ti_err_no_memory(err)
                           : ti_pd_stores(t->cluster.pd, &a, &stores, &count, call, err);
    if (status == TI_OK && count == 0)
        status = ti_err_set(err, TI_UNAVAILABLE, "PD names no store at the moment");
    for (size_t i = 0; status == TI_OK && i < count; i++) {
        if (!stores[i].columnar)
            status = destroy_on(t, &stores[i], body, call, err);
    }
    ti_arena_free(&a);
    return status;
}

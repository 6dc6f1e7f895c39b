/* Locks by their age: every lock older than a timestamp, region by region (ScanLock).
 *
 * A position moves from the begin of the range to its end: past the last lock of a full page, past
 * the region after a page that was not full. Each position has a budget of its own, however often
 * it is asked about. */
#include <string.h>

#include "base/assert.h"
#include "tikv/tikv_int.h"

#define LOCKS_PAGE 1024

typedef struct progress {
    ti_tikv *engine;
    const ti_lock_sweep *sweep;
    ti_slice position; /* everything below is done */
    ti_arena positions;
    bool at_end;
    ti_backoff backoff;
} progress;

/* Where the part of the region that is swept ends; "" = no end. */
static ti_slice end_in(const progress *p, const ti_region *region)
{
    ti_slice to = p->sweep->range.to;
    if (to.len == 0)
        return region->end;
    return region->end.len == 0 || ti_slice_compare(to, region->end) < 0 ? to : region->end;
}

static ti_slice build_scan_lock(const progress *p, const ti_region *region, ti_arena *a)
{
    ti_context c;
    Kvrpcpb__ScanLockRequest request = KVRPCPB__SCAN_LOCK_REQUEST__INIT;
    ti_context_fill(&c, region, p->backoff.attempts > 0);
    request.context = &c.message;
    request.max_version = p->sweep->max_ts;
    request.start_key = ti_pb_bytes(p->position);
    request.end_key = ti_pb_bytes(end_in(p, region));
    request.limit = LOCKS_PAGE;
    return ti_pb_pack(&request.base, a);
}

static ti_status move_to(progress *p, ti_slice key, bool after, ti_err *err)
{
    char *bytes = ti_arena_alloc(&p->positions, key.len + 1);
    if (bytes == NULL)
        return ti_err_no_memory(err);
    memcpy(bytes, key.len > 0 ? key.data : "", key.len);
    bytes[key.len] = '\0';
    p->position = (ti_slice){.data = bytes, .len = key.len + (after ? 1 : 0)};
    return TI_OK;
}

static ti_status visit_page(progress *p, const Kvrpcpb__ScanLockResponse *r, ti_err *err)
{
    ti_met_locks met;
    ti_status status = TI_OK;
    ti_met_locks_init(&met);
    for (size_t i = 0; status == TI_OK && i < r->n_locks; i++)
        status = ti_met_locks_add(&met, r->locks[i], err);
    if (status == TI_OK)
        status = p->sweep->visit(p->sweep->context, &met, &p->backoff, err);
    ti_met_locks_free(&met);
    return status;
}

static ti_status take_scan_lock(progress *p, ti_slice response, const ti_region *region,
                                ti_arena *a, ti_err *err)
{
    ti_err unpacked;
    ti_slice failed;
    Kvrpcpb__ScanLockResponse *r =
        ti_pb_unpack(&kvrpcpb__scan_lock_response__descriptor, response, a, &unpacked);
    if (r == NULL) {
        if (err != NULL)
            *err = unpacked;
        return unpacked.status;
    }
    if (r->error != NULL)
        return ti_key_error_status(r->error, &failed, err);
    if (r->n_locks > 0)
        TI_TRY(visit_page(p, r, err));
    if (r->n_locks >= LOCKS_PAGE)
        return move_to(p, ti_pb_slice(r->locks[r->n_locks - 1]->key), true, err);
    ti_slice to = p->sweep->range.to;
    p->at_end = region->end.len == 0 || (to.len > 0 && ti_slice_compare(region->end, to) >= 0);
    return p->at_end ? TI_OK : move_to(p, region->end, false, err);
}

static ti_status sweep_step(progress *p, ti_err *err)
{
    ti_cluster *cluster = &p->engine->cluster;
    ti_request request = {.kind = TI_COMMAND_SCAN_LOCK, .timeout_us = TI_SEND_TIMEOUT_LONG_US};
    TI_TRY(
        ti_regions_locate(cluster->regions, p->position, false, &p->backoff, &request.region, err));
    ti_arena a;
    ti_arena_init(&a);
    request.body = build_scan_lock(p, request.region, &a);
    ti_status status = request.body.data == NULL
                           ? ti_err_no_memory(err)
                           : ti_send_round(cluster, &request, 1, &p->backoff, err);
    if (status == TI_OK)
        status = ti_round_failure(&request, 1, err);
    if (status == TI_OK && request.verdict == TI_VERDICT_ANSWERED)
        status = take_scan_lock(p, request.response, request.region, &a, err);
    ti_request_free(&request);
    ti_arena_free(&a);
    return status;
}

ti_status ti_tikv_sweep_locks(ti_tikv *t, const ti_lock_sweep *sweep, const ti_call *call,
                              ti_err *err)
{
    progress p = {.engine = t, .sweep = sweep, .position = sweep->range.from};
    ti_status status = TI_OK;
    const char *at = NULL;
    bool begun = false;
    ti_assert(sweep->visit != NULL);
    if (p.position.data == NULL)
        p.position = TI_SLICE("");
    ti_arena_init(&p.positions);
    while (status == TI_OK && !p.at_end) {
        if (!begun || p.position.data != at)
            ti_backoff_init(&p.backoff, t->cluster.wire, call, TI_BUDGET_RANGE_MS);
        begun = true;
        at = p.position.data;
        status = sweep_step(&p, err);
    }
    ti_arena_free(&p.positions);
    return status;
}

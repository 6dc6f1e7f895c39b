/* Scans: pages over regions, forward and reverse. See kv/engine.h for what they promise.
 *
 * The position is a key, so that nothing is lost when regions move: forward the first key still
 * wanted, in reverse the first one not wanted any more.
 *
 *   forward:  {start_key = position, end_key = min(to, region end)}
 *             next position: last key + "\0", or the region's end
 *   reverse:  {start_key = position, end_key = max(from, region start)}
 *             next position: last key, or the region's start
 *
 * An answer with an error of its own is asked again after its lock was settled; a pair with an
 * error is read singly (source: client-go). */
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "tikv/tikv_int.h"

typedef struct scanner {
    ti_tikv_snapshot *snapshot;
    const ti_scan *scan;
    ti_arena *arena; /* of the pairs */
    ti_pair *pairs;
    size_t count;
    size_t capacity;
    size_t size;       /* bytes so far */
    ti_slice position; /* in positions */
    ti_arena positions;
    bool at_end; /* the range is exhausted */
    ti_backoff backoff;
    ti_met_locks met;
} scanner;

static bool page_is_full(const scanner *s)
{
    size_t size_max = s->scan->size_max > 0 ? s->scan->size_max : TI_PAGE_SIZE_MAX;
    return s->count >= s->scan->items_max || s->size >= size_max;
}

static ti_status add_pair(scanner *s, ti_slice key, ti_slice value, ti_err *err)
{
    if (s->count == s->capacity) {
        size_t capacity = s->capacity * 2 + 64;
        ti_pair *pairs = ti_arena_alloc(s->arena, capacity * sizeof(*pairs));
        if (pairs == NULL)
            return ti_err_no_memory(err);
        if (s->count > 0)
            memcpy(pairs, s->pairs, s->count * sizeof(*pairs));
        s->pairs = pairs;
        s->capacity = capacity;
    }
    ti_pair *pair = &s->pairs[s->count];
    pair->key = ti_arena_copy(s->arena, key);
    pair->value = s->scan->keys_only ? TI_SLICE_NONE : ti_arena_copy(s->arena, value);
    if (pair->key.data == NULL || (!s->scan->keys_only && pair->value.data == NULL))
        return ti_err_no_memory(err);
    s->count++;
    s->size += key.len + pair->value.len;
    return TI_OK;
}

/* A pair whose key is locked: read by itself, which resolves the lock. Absent then: left out. */
static ti_status add_locked(scanner *s, const Kvrpcpb__KvPair *pair, ti_err *err)
{
    ti_slice failed;
    ti_slice value = TI_SLICE_NONE;
    if (pair->error->locked == NULL)
        return ti_key_error_status(pair->error, &failed, err);
    ti_slice key = ti_pb_slice(pair->key.len > 0 ? pair->key : pair->error->locked->key);
    ti_status status = ti_tikv_get(&s->snapshot->base, key, s->arena, &value, s->backoff.call, err);
    if (status == TI_NOT_FOUND)
        return TI_OK;
    return status == TI_OK ? add_pair(s, key, value, err) : status;
}

static bool set_position(scanner *s, ti_slice key, bool after)
{
    char *bytes = ti_arena_alloc(&s->positions, key.len + 1);
    if (bytes == NULL)
        return false;
    memcpy(bytes, key.len > 0 ? key.data : "", key.len);
    bytes[key.len] = '\0';
    s->position = (ti_slice){.data = bytes, .len = key.len + (after ? 1 : 0)};
    return true;
}

/* The bounds of one request in a region: [low, high), high "" = no end. */
static void bounds_in(const scanner *s, const ti_region *region, ti_slice *low, ti_slice *high)
{
    const ti_range *range = &s->scan->range;
    if (s->scan->reverse) {
        *high = s->position;
        *low = ti_slice_compare(range->from, region->start) > 0 ? range->from : region->start;
        return;
    }
    *low = s->position;
    *high = range->to;
    if (region->end.len > 0 && (range->to.len == 0 || ti_slice_compare(region->end, range->to) < 0))
        *high = region->end;
}

/* Moves to the next region, or to the end. */
static bool leave_region(scanner *s, const ti_region *region)
{
    const ti_range *range = &s->scan->range;
    if (s->scan->reverse) {
        s->at_end = region->start.len == 0 || ti_slice_compare(region->start, range->from) <= 0;
        return s->at_end || set_position(s, region->start, false);
    }
    s->at_end = region->end.len == 0 ||
                (range->to.len > 0 && ti_slice_compare(region->end, range->to) >= 0);
    return s->at_end || set_position(s, region->end, false);
}

static size_t limit_of(const scanner *s)
{
    size_t left = s->scan->items_max - s->count;
    size_t limit = left < TI_SCAN_PAGE ? left : TI_SCAN_PAGE;
    return limit < 2 ? 2 : limit; /* a store wants more than one */
}

static ti_slice build_scan(scanner *s, const ti_region *region, size_t limit, ti_arena *a)
{
    ti_context c;
    ti_slice low;
    ti_slice high;
    Kvrpcpb__ScanRequest request = KVRPCPB__SCAN_REQUEST__INIT;
    ti_context_fill(&c, region, s->backoff.attempts > 0);
    ti_snapshot_context(s->snapshot, &c);
    bounds_in(s, region, &low, &high);
    request.context = &c.message;
    request.start_key = ti_pb_bytes(s->scan->reverse ? high : low);
    request.end_key = ti_pb_bytes(s->scan->reverse ? low : high);
    request.limit = (uint32_t)limit;
    request.version = s->snapshot->ts;
    request.key_only = s->scan->keys_only;
    request.reverse = s->scan->reverse;
    return ti_pb_pack(&request.base, a);
}

/* Takes the pairs of an answer and moves the position behind them. */
static ti_status take_pairs(scanner *s, const Kvrpcpb__ScanResponse *r, const ti_region *region,
                            size_t limit, ti_err *err)
{
    for (size_t i = 0; i < r->n_pairs; i++) {
        const Kvrpcpb__KvPair *pair = r->pairs[i];
        if (page_is_full(s))
            return TI_OK;
        if (pair->error != NULL)
            TI_TRY(add_locked(s, pair, err));
        else if (pair->value.len > 0 || s->scan->keys_only)
            TI_TRY(add_pair(s, ti_pb_slice(pair->key), ti_pb_slice(pair->value), err));
        bool locked = pair->error != NULL && pair->key.len == 0 && pair->error->locked != NULL;
        ti_slice key = ti_pb_slice(locked ? pair->error->locked->key : pair->key);
        if (!set_position(s, key, !s->scan->reverse))
            return ti_err_no_memory(err);
    }
    if (r->n_pairs >= limit)
        return TI_OK;
    return leave_region(s, region) ? TI_OK : ti_err_no_memory(err);
}

static ti_status take_scan(scanner *s, ti_slice response, const ti_region *region, size_t limit,
                           ti_arena *a, ti_err *err)
{
    ti_err unpacked;
    ti_slice failed;
    Kvrpcpb__ScanResponse *r =
        ti_pb_unpack(&kvrpcpb__scan_response__descriptor, response, a, &unpacked);
    if (r == NULL) {
        if (err != NULL)
            *err = unpacked;
        return unpacked.status;
    }
    if (r->error == NULL)
        return take_pairs(s, r, region, limit, err);
    if (r->error->locked == NULL)
        return ti_key_error_status(r->error, &failed, err);
    TI_TRY(ti_met_locks_add(&s->met, r->error->locked, err));
    return ti_snapshot_settle(s->snapshot, &s->met, &s->backoff, err);
}

/* One request to the region at the position. */
static ti_status step(scanner *s, ti_err *err)
{
    ti_cluster *cluster = &s->snapshot->engine->cluster;
    size_t limit = limit_of(s);
    ti_request request = {.kind = TI_COMMAND_SCAN, .timeout_us = TI_SEND_TIMEOUT_LONG_US};
    TI_TRY(ti_regions_locate(cluster->regions, s->position, s->scan->reverse, &s->backoff,
                             &request.region, err));
    ti_arena a;
    ti_arena_init(&a);
    request.body = build_scan(s, request.region, limit, &a);
    ti_status status = request.body.data == NULL
                           ? ti_err_no_memory(err)
                           : ti_send_round(cluster, &request, 1, &s->backoff, err);
    if (status == TI_OK)
        status = ti_round_failure(&request, 1, err);
    if (status == TI_OK && request.verdict == TI_VERDICT_ANSWERED)
        status = take_scan(s, request.response, request.region, limit, &a, err);
    ti_request_free(&request);
    ti_arena_free(&a);
    return status;
}

ti_status ti_tikv_scan(ti_snapshot *snapshot, const ti_scan *scan, ti_arena *a,
                       ti_scan_page *page_out, const ti_call *call, ti_err *err)
{
    scanner s = {.snapshot = (ti_tikv_snapshot *)snapshot, .scan = scan, .arena = a};
    memset(page_out, 0, sizeof(*page_out));
    ti_arena_init(&s.positions);
    ti_met_locks_init(&s.met);
    ti_backoff_init(&s.backoff, s.snapshot->engine->cluster.wire, call, TI_BUDGET_READ_MS);
    s.position = scan->reverse ? scan->range.to : scan->range.from;
    s.at_end = scan->range.to.len > 0 && ti_slice_compare(scan->range.from, scan->range.to) >= 0;
    ti_status status = TI_OK;
    while (status == TI_OK && !s.at_end && !page_is_full(&s))
        status = step(&s, err);
    if (status == TI_OK)
        status = ti_snapshot_check_safe(s.snapshot, call, err);
    if (status == TI_OK)
        *page_out = (ti_scan_page){.pairs = s.pairs, .count = s.count, .more = !s.at_end};
    ti_met_locks_free(&s.met);
    ti_arena_free(&s.positions);
    return status;
}

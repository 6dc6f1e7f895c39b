/* Which types of events are stored, and how each partition of one is: what people ask who see a
 * queue from outside of its workers.
 *
 *   queue_meta ──> types
 *   event ──> pending, oldest      queue_parked ──> parked, parked_keys
 *   queue_lease ──> worker ── queue_worker ──> alive      queue_checkpoint ──> checkpoint
 *
 * INVARIANTS
 *  1. One snapshot: what it tells was true at one moment.
 *  2. At most TI_CENSUS_MAX events are looked at; complete says whether those were all.
 *
 * Threads: any. What is NOT here: the counters of this process (stats.c, metrics.c). */
#include "base/assert.h"
#include "base/limits.h"
#include "queue/hub_int.h"
#include "queue/list_int.h"

typedef struct partition {
    uint64_t pending;
    uint64_t parked;
    uint64_t parked_keys;
    uint64_t oldest_us;     /* the place of the first pending event; 0 = none */
    uint64_t checkpoint_us; /* 0 = none */
    ti_slice worker;        /* who has its lease; empty = nobody */
    bool alive;             /* and whether that one lives */
} partition;

typedef struct census {
    ti_queues *queues;
    ti_slice type;
    ti_txn *txn;
    ti_arena *a; /* the transaction's */
    const ti_call *call;
    partition *partitions;
    uint32_t count;
    ti_slice last_key; /* business key of the last parked event, of last_partition */
    uint32_t last_partition;
    uint64_t seen; /* events so far */
    ti_slice worker;
    bool worker_alive; /* of the last lease */
} census;

/* Takes one row. */
typedef ti_status (*row_fn)(census *c, const ti_key_parts *parts, const ti_pair *pair, ti_err *err);

/* Calls take for every row of a range, until TI_CENSUS_MAX rows in all. */
static ti_status each_row(census *c, ti_range range, bool keys_only, row_fn take, ti_err *err)
{
    ti_scan scan = {.range = range, .keys_only = keys_only, .items_max = TI_PAGE_ITEMS_MAX};
    ti_scan_page page = {.more = true};
    ti_status status = TI_OK;
    ti_arena a;
    if (ti_slice_compare(range.from, range.to) >= 0)
        return TI_OK;
    ti_arena_init(&a);
    while (page.more && c->seen < TI_CENSUS_MAX) {
        TI_CHECK(ti_txn_scan(c->txn, &scan, &a, &page, c->call, err));
        if (page.count == 0)
            break;
        for (size_t i = 0; i < page.count; i++) {
            ti_key_parts parts;
            if (ti_key_parse(c->queues->keyspace, page.pairs[i].key, &parts) &&
                parts.place.partition < c->count)
                TI_CHECK(take(c, &parts, &page.pairs[i], err));
        }
        scan.range.from = ti_key_after(c->a, page.pairs[page.count - 1].key);
        TI_CHECK(scan.range.from.data == NULL ? ti_err_no_memory(err) : TI_OK);
        ti_arena_reset(&a);
    }
out:
    ti_arena_free(&a);
    return status;
}

static ti_status each_of_span(census *c, ti_span span, bool keys_only, row_fn take, ti_err *err)
{
    ti_key_range range;
    TI_TRY(ti_key_span(c->queues->keyspace, c->a, span, c->type, TI_SLICE_NONE, &range, err));
    return each_row(c, (ti_range){.from = range.lo, .to = range.hi}, keys_only, take, err);
}

/* ---- rows ---- */

static ti_status take_pending(census *c, const ti_key_parts *parts, const ti_pair *pair,
                              ti_err *err)
{
    partition *p = &c->partitions[parts->place.partition];
    (void)pair;
    (void)err;
    if (p->pending == 0)
        p->oldest_us = parts->place.timestamp_us;
    p->pending++;
    c->seen++;
    return TI_OK;
}

static ti_status take_parked(census *c, const ti_key_parts *parts, const ti_pair *pair, ti_err *err)
{
    partition *p = &c->partitions[parts->place.partition];
    ti_arena a;
    ti_slice key;
    ti_event_place place;
    ti_status status = TI_OK;
    (void)pair;
    ti_arena_init(&a);
    TI_CHECK(ti_key_parked_split(parts, &a, &key, &place, err));
    if (p->parked == 0 || c->last_partition != parts->place.partition ||
        !ti_slice_equal(key, c->last_key)) {
        p->parked_keys++;
        c->last_key = ti_arena_copy(c->a, key);
        c->last_partition = parts->place.partition;
        TI_CHECK(c->last_key.data == NULL ? ti_err_no_memory(err) : TI_OK);
    }
    p->parked++;
    c->seen++;
out:
    ti_arena_free(&a);
    return status;
}

static ti_status take_checkpoint(census *c, const ti_key_parts *parts, const ti_pair *pair,
                                 ti_err *err)
{
    return ti_queue_number_open(pair->value, pair->key,
                                &c->partitions[parts->place.partition].checkpoint_us, err);
}

/* Whether the worker of that id lives, at the snapshot. */
static ti_status look_at_worker(census *c, ti_slice id, bool *alive_out, ti_err *err)
{
    ti_slice value;
    uint64_t expiry;
    ti_ts snapshot;
    *alive_out = false;
    ti_slice key = ti_key_queue_worker(c->queues->keyspace, c->a, c->type, id);
    TI_TRY(ti_key_check(key, "queue key", err));
    ti_status status = ti_txn_get(c->txn, key, c->a, &value, c->call, err);
    if (status == TI_NOT_FOUND)
        return TI_OK;
    TI_TRY(status);
    TI_TRY(ti_queue_number_open(value, key, &expiry, err));
    TI_TRY(ti_txn_start_ts(c->txn, &snapshot, c->call, err));
    bool here = c->queues->shared || ti_hub_has_member(c->queues->hub, id);
    *alive_out = here && expiry >= snapshot;
    return TI_OK;
}

static ti_status take_lease(census *c, const ti_key_parts *parts, const ti_pair *pair, ti_err *err)
{
    partition *p = &c->partitions[parts->place.partition];
    ti_slice id;
    TI_TRY(ti_queue_text_open(pair->value, pair->key, &id, err));
    if (c->worker.data == NULL || !ti_slice_equal(id, c->worker)) {
        c->worker = ti_arena_copy(c->a, id);
        if (c->worker.data == NULL)
            return ti_err_no_memory(err);
        TI_TRY(look_at_worker(c, c->worker, &c->worker_alive, err));
    }
    p->worker = c->worker;
    p->alive = c->worker_alive;
    return TI_OK;
}

/* ---- one type ---- */

/* How many partitions the type has. NOT_FOUND: nobody has used it yet. */
static ti_status read_count(census *c, ti_err *err)
{
    ti_queue_meta_row row;
    ti_slice value;
    ti_slice key = ti_key_queue_meta(c->queues->keyspace, c->a, c->type);
    TI_TRY(ti_key_check(key, "queue key", err));
    ti_status status = ti_txn_get(c->txn, key, c->a, &value, c->call, err);
    if (status == TI_NOT_FOUND)
        return ti_err_set(err, status, "there is no event type '%.*s'", (int)c->type.len,
                          c->type.data);
    TI_TRY(status);
    TI_TRY(ti_queue_meta_open(value, key, &row, err));
    if (row.partitions == 0 || row.partitions > TI_PARTITIONS_MAX)
        return ti_err_set(err, TI_CORRUPT, "the event type '%.*s' has no valid partition count",
                          (int)c->type.len, c->type.data);
    c->count = (uint32_t)row.partitions;
    return TI_OK;
}

static ti_status look(census *c, ti_err *err)
{
    ti_ranges ranges;
    TI_TRY(each_of_span(c, TI_SPAN_LEASES, false, take_lease, err));
    TI_TRY(each_of_span(c, TI_SPAN_CHECKPOINTS, false, take_checkpoint, err));
    TI_TRY(each_of_span(c, TI_SPAN_PARKED, true, take_parked, err));
    TI_TRY(ti_pending_ranges(c->queues, c->txn, c->a, c->type, &ranges, c->call, err));
    for (size_t i = 0; i < ranges.count; i++)
        TI_TRY(each_row(c, ranges.ranges[i], true, take_pending, err));
    return TI_OK;
}

static ti_status write_time(ti_buf *out, const char *name, uint64_t us, ti_err *err)
{
    if (us == 0)
        return TI_OK;
    return ti_buf_append_format(out, err, ",\"%s\":%.6f", name, (double)us / 1e6);
}

static ti_status write_partition(const partition *p, uint32_t number, ti_buf *out, ti_err *err)
{
    TI_TRY(ti_buf_append_format(
        out, err, "{\"partition\":%u,\"pending\":%llu,\"parked\":%llu,\"parked_keys\":%llu", number,
        (unsigned long long)p->pending, (unsigned long long)p->parked,
        (unsigned long long)p->parked_keys));
    TI_TRY(write_time(out, "oldest", p->oldest_us, err));
    TI_TRY(write_time(out, "checkpoint", p->checkpoint_us, err));
    if (p->worker.len > 0)
        TI_TRY(ti_buf_append_format(out, err, ",\"worker\":\"%.*s\",\"alive\":%s",
                                    (int)p->worker.len, p->worker.data,
                                    p->alive ? "true" : "false"));
    return ti_buf_append_byte(out, '}', err);
}

static ti_status write(const census *c, ti_buf *out, ti_err *err)
{
    ti_ts snapshot;
    bool first = true;
    TI_TRY(ti_txn_start_ts(c->txn, &snapshot, c->call, err));
    TI_TRY(ti_buf_append_format(
        out, err, "{\"partitions\":%u,\"complete\":%s,\"now\":%.6f,\"items\":[", c->count,
        c->seen < TI_CENSUS_MAX ? "true" : "false", (double)ti_ts_to_us(snapshot) / 1e6));
    for (uint32_t i = 0; i < c->count; i++) {
        const partition *p = &c->partitions[i];
        if (p->pending == 0 && p->parked == 0 && p->worker.len == 0 && p->checkpoint_us == 0)
            continue;
        if (!first)
            TI_TRY(ti_buf_append_byte(out, ',', err));
        first = false;
        TI_TRY(write_partition(p, i, out, err));
    }
    return ti_buf_append_format(out, err, "]}");
}

ti_status ti_queue_census(ti_queues *queues, ti_slice type, ti_buf *out, const ti_call *call,
                          ti_err *err)
{
    census c = {.queues = queues, .type = type, .call = call};
    ti_status status;
    TI_TRY(ti_name_check(type, "event type", err));
    TI_CHECK(ti_txn_begin(queues->kv, &(ti_txn_options){.read_only = true}, &c.txn, err));
    c.a = ti_txn_arena(c.txn);
    TI_CHECK(read_count(&c, err));
    c.partitions = ti_alloc_zero(c.count * sizeof(*c.partitions));
    TI_CHECK(c.partitions == NULL ? ti_err_no_memory(err) : TI_OK);
    TI_CHECK(look(&c, err));
    TI_CHECK(write(&c, out, err));
out:
    ti_txn_free(c.txn);
    ti_free(c.partitions);
    return status;
}

/* ---- all types ---- */

static ti_status write_types(ti_queues *queues, ti_txn *txn, ti_buf *out, const ti_call *call,
                             ti_err *err)
{
    ti_arena *a = ti_txn_arena(txn);
    ti_key_range span;
    ti_scan_page page = {.more = true};
    bool first = true;
    TI_TRY(ti_key_span(queues->keyspace, a, TI_SPAN_QUEUE_METAS, TI_SLICE_NONE, TI_SLICE_NONE,
                       &span, err));
    ti_scan scan = {.range = {.from = span.lo, .to = span.hi}, .items_max = TI_PAGE_ITEMS_MAX};
    while (page.more) {
        TI_TRY(ti_txn_scan(txn, &scan, a, &page, call, err));
        for (size_t i = 0; i < page.count; i++) {
            ti_queue_meta_row row;
            ti_key_parts parts;
            if (!ti_key_parse(queues->keyspace, page.pairs[i].key, &parts))
                return ti_err_set(err, TI_CORRUPT, "a row among the event types is none");
            TI_TRY(ti_queue_meta_open(page.pairs[i].value, page.pairs[i].key, &row, err));
            TI_TRY(ti_buf_append_format(
                out, err, "%s{\"type\":\"%.*s\",\"partitions\":%llu,\"paused\":%s%s}",
                first ? "" : ",", (int)parts.name.len, parts.name.data,
                (unsigned long long)row.partitions, row.paused ? "true" : "false",
                row.from > 0 ? ",\"moving\":true" : ""));
            first = false;
        }
        if (page.count == 0)
            break;
        scan.range.from = ti_key_after(a, page.pairs[page.count - 1].key);
        if (scan.range.from.data == NULL)
            return ti_err_no_memory(err);
    }
    return TI_OK;
}

ti_status ti_queue_types(ti_queues *queues, ti_buf *out, const ti_call *call, ti_err *err)
{
    ti_txn *txn;
    TI_TRY(ti_txn_begin(queues->kv, &(ti_txn_options){.read_only = true}, &txn, err));
    ti_status status = ti_buf_append_byte(out, '[', err);
    if (status == TI_OK)
        status = write_types(queues, txn, out, call, err);
    ti_txn_free(txn);
    TI_TRY(status);
    return ti_buf_append_byte(out, ']', err);
}

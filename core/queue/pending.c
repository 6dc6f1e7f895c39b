/* Where the pending events of a type are: its rows without what was drained.
 *
 *   event:{type}:  0000:… ✗✗✗✗✗│··· 0001:… ✗✗✗✗✗✗✗✗│·  0002:… ···
 *   ranges                     [  ]                [ ]        [ ]
 *
 *   ✗ deleted  · row  │ checkpoint
 *
 * A deleted row stays in the engine for a while, and a scan walks over it. Before a partition's
 * checkpoint there is nothing else.
 *
 * INVARIANTS
 *  1. The ranges rise and do not overlap; every row that is unfinished in the transaction's view is
 *     in one of them (checkpoint.c, 1).
 *  2. On a shared engine a range is a request: with many checkpoints it is one range again. So it
 *     is while the type's partition count changes (repartition.c). */
#include "base/assert.h"
#include "base/limits.h"
#include "queue/hub_int.h"
#include "queue/list_int.h"

static ti_range range_of(ti_key_range range)
{
    return (ti_range){.from = range.lo, .to = range.hi};
}

/* Whether the partition count of the type is changing: then events lie before checkpoints, too. */
static ti_status is_moving(ti_queues *queues, ti_txn *txn, ti_arena *a, ti_slice type,
                           bool *moving_out, const ti_call *call, ti_err *err)
{
    ti_queue_meta_row row;
    ti_slice value;
    ti_slice key = ti_key_queue_meta(queues->keyspace, a, type);
    *moving_out = false;
    TI_TRY(ti_key_check(key, "queue key", err));
    ti_status status = ti_txn_get(txn, key, a, &value, call, err);
    if (status == TI_NOT_FOUND)
        return TI_OK;
    TI_TRY(status);
    TI_TRY(ti_queue_meta_open(value, key, &row, err));
    *moving_out = row.from > 0;
    return TI_OK;
}

/* Ends the last range where a partition begins, and begins the next one at its checkpoint. */
static ti_status skip_drained(const ti_keyspace *ks, ti_arena *a, ti_slice type, const ti_pair *row,
                              ti_ranges *ranges, ti_err *err)
{
    ti_key_parts parts;
    ti_key_range before;
    uint64_t at_us;
    if (!ti_key_parse(ks, row->key, &parts))
        return ti_err_set(err, TI_CORRUPT, "a row among the checkpoints is none");
    TI_TRY(ti_queue_number_open(row->value, row->key, &at_us, err));
    TI_TRY(ti_key_events_between(ks, a, type, parts.place.partition, 0, at_us, &before, err));
    ti_range *last = &ranges->ranges[ranges->count - 1];
    ti_assert(ti_slice_compare(last->from, before.lo) <= 0);
    ranges->ranges[ranges->count++] = (ti_range){.from = before.hi, .to = last->to};
    last->to = before.lo;
    return TI_OK;
}

ti_status ti_pending_ranges(ti_queues *queues, ti_txn *txn, ti_arena *a, ti_slice type,
                            ti_ranges *ranges_out, const ti_call *call, ti_err *err)
{
    const ti_keyspace *ks = queues->keyspace;
    ti_key_range all;
    ti_key_range points;
    ti_scan_page page;
    bool moving;
    ranges_out->count = 0;
    TI_TRY(is_moving(queues, txn, a, type, &moving, call, err));
    TI_TRY(ti_key_span(ks, a, TI_SPAN_EVENTS, type, TI_SLICE_NONE, &all, err));
    TI_TRY(ti_key_span(ks, a, TI_SPAN_CHECKPOINTS, type, TI_SLICE_NONE, &points, err));
    const ti_scan scan = {.range = range_of(points), .items_max = TI_PARTITIONS_MAX};
    TI_TRY(ti_txn_scan(txn, &scan, a, &page, call, err));
    bool whole = moving || (queues->shared && page.count > TI_LIST_RANGES_MAX);
    size_t count = whole ? 0 : page.count;
    ranges_out->ranges = ti_arena_alloc(a, (count + 1) * sizeof(ti_range));
    if (ranges_out->ranges == NULL)
        return ti_err_no_memory(err);
    ranges_out->ranges[ranges_out->count++] = range_of(all);
    for (size_t i = 0; i < count; i++)
        TI_TRY(skip_drained(ks, a, type, &page.pairs[i], ranges_out, err));
    return TI_OK;
}

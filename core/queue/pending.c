/* Where the pending events of a type are: its rows without what was drained.
 *
 *   event:{type}:  0000:… ✗✗✗✗✗│··· 0001:… ✗✗✗✗✗✗✗✗│·  0002:… ···      ✗ deleted  · row  │
 * checkpoint ranges         [  ]        [         ]         [             ]
 *
 * A deleted row stays in the engine for a while, and a scan walks over it. Before a partition's
 * checkpoint there is nothing else.
 *
 * INVARIANTS
 *  1. The ranges rise and do not overlap; every row that is unfinished in the transaction's view is
 *     in one of them (checkpoint.c, 1).
 *  2. On a shared engine a range is a request: with many checkpoints it is one range again. */
#include "base/assert.h"
#include "base/limits.h"
#include "queue/hub_int.h"
#include "queue/list_int.h"

static ti_range range_of(ti_key_range range)
{
    return (ti_range){.from = range.lo, .to = range.hi};
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
    ranges_out->count = 0;
    TI_TRY(ti_key_span(ks, a, TI_SPAN_EVENTS, type, TI_SLICE_NONE, &all, err));
    TI_TRY(ti_key_span(ks, a, TI_SPAN_CHECKPOINTS, type, TI_SLICE_NONE, &points, err));
    const ti_scan scan = {.range = range_of(points), .items_max = TI_PARTITIONS_MAX};
    TI_TRY(ti_txn_scan(txn, &scan, a, &page, call, err));
    size_t count = queues->shared && page.count > TI_LIST_RANGES_MAX ? 0 : page.count;
    ranges_out->ranges = ti_arena_alloc(a, (count + 1) * sizeof(ti_range));
    if (ranges_out->ranges == NULL)
        return ti_err_no_memory(err);
    ranges_out->ranges[ranges_out->count++] = range_of(all);
    for (size_t i = 0; i < count; i++)
        TI_TRY(skip_drained(ks, a, type, &page.pairs[i], ranges_out, err));
    return TI_OK;
}

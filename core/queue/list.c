/* Looking at stored events: pages by state, counts.
 *
 *   pending    event:{type}:…                  by partition, place
 *   parked     queue_parked:{type}:…           by partition, ordering key, place
 *   completed  queue:{type}:COMPLETED:…        by partition, time of completion
 *   failed     queue:{type}:FAILED:…           the same
 *
 * INVARIANTS
 *  1. A page is read at one snapshot. Its cursor names the last row looked at, sealed with the
 *     filter, so that it can only continue the same list.
 *  2. A page looks at no more than TI_LIST_SCAN_MAX rows: with a filter it may have fewer items
 *     than its limit, or none, and still a cursor. */
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "codec/cursor.h"
#include "model/store.h"
#include "queue/hub_int.h"
#include "queue/list_int.h"

#define SCAN_PAGE 256

typedef struct list_job {
    ti_queues *queues;
    const ti_event_filter *filter;
    ti_arena *a;
    ti_txn *txn;
    const ti_call *call;
    ti_event_list *list;
    size_t limit;
    size_t looked;
    size_t bytes;
    ti_ranges ranges; /* where rows of the state are */
    size_t range;     /* those before this one are behind */
    ti_slice after;   /* the cursor's key; data NULL = from the start */
    ti_slice last;    /* the row looked at last */
} list_job;

static ti_span span_of(ti_event_state state)
{
    switch (state) {
    case TI_EVENT_PENDING:
        return TI_SPAN_EVENTS;
    case TI_EVENT_PARKED:
        return TI_SPAN_PARKED;
    case TI_EVENT_COMPLETED:
        return TI_SPAN_COMPLETED;
    case TI_EVENT_FAILED:
        return TI_SPAN_FAILED;
    }
    ti_require(false);
    return TI_SPAN_ALL;
}

static ti_sealed_kind kind_of(ti_event_state state)
{
    if (state == TI_EVENT_PENDING)
        return TI_SEALED_EVENT;
    return state == TI_EVENT_PARKED ? TI_SEALED_PARKED : TI_SEALED_HISTORY;
}

/* Where the rows of a type in a state are; in a. */
static ti_status ranges_of(ti_queues *queues, ti_txn *txn, ti_arena *a, ti_slice type,
                           ti_event_state state, ti_ranges *ranges_out, const ti_call *call,
                           ti_err *err)
{
    ti_key_range span;
    if (state == TI_EVENT_PENDING)
        return ti_pending_ranges(queues, txn, a, type, ranges_out, call, err);
    TI_TRY(ti_key_span(queues->keyspace, a, span_of(state), type, TI_SLICE_NONE, &span, err));
    ranges_out->ranges = ti_arena_alloc(a, sizeof(ti_range));
    if (ranges_out->ranges == NULL)
        return ti_err_no_memory(err);
    ranges_out->ranges[0] = (ti_range){.from = span.lo, .to = span.hi};
    ranges_out->count = 1;
    return TI_OK;
}

ti_status ti_event_row_read(const ti_keyspace *ks, ti_arena *a, ti_event_state state,
                            const ti_pair *pair, ti_event_info *info_out, ti_err *err)
{
    ti_key_parts parts;
    ti_event_fields f;
    ti_slice text;
    *info_out = (ti_event_info){.state = state};
    if (!ti_key_parse(ks, pair->key, &parts))
        return ti_err_set(err, TI_CORRUPT, "a row among the events is none");
    info_out->place = parts.place;
    if (state == TI_EVENT_PARKED)
        TI_TRY(ti_key_parked_split(&parts, a, &text, &info_out->place, err));
    ti_status status = ti_event_open(pair->value, kind_of(state), pair->key, &f, NULL);
    if (status != TI_OK)
        f = (ti_event_fields){.damaged = true};
    if (status != TI_OK)
        f.last_error = TI_SLICE("the stored event is damaged");
    if (state == TI_EVENT_COMPLETED || state == TI_EVENT_FAILED) {
        info_out->finished_at_us = (int64_t)info_out->place.timestamp_us;
        if (f.origin_us > 0)
            info_out->place.timestamp_us = f.origin_us;
    }
    ti_event_id_format(&info_out->place, info_out->id);
    info_out->type = parts.name;
    info_out->key = f.key;
    info_out->payload = f.payload.len > 0 && !f.damaged ? f.payload : TI_SLICE("null");
    info_out->action = f.action;
    info_out->entity = f.entity;
    info_out->entity_id = f.entity_id;
    info_out->references = f.references.len > 0 ? f.references : TI_SLICE("[]");
    info_out->last_error = f.last_error;
    info_out->unique = f.unique;
    info_out->row_key = pair->key;
    info_out->attempts = f.attempts;
    info_out->not_before_us = (int64_t)f.not_before_us;
    return TI_OK;
}

static bool is_wanted(const ti_event_filter *filter, const ti_event_info *info)
{
    int64_t at_us =
        info->finished_at_us > 0 ? info->finished_at_us : (int64_t)info->place.timestamp_us;
    if (filter->key.data != NULL && !ti_slice_equal(filter->key, info->key))
        return false;
    if (filter->owner.data != NULL && !ti_slice_equal(filter->owner, info->entity) &&
        !ti_slice_equal(filter->owner, info->entity_id))
        return false;
    return at_us >= filter->from_us && (filter->to_us == 0 || at_us < filter->to_us);
}

static bool is_full(const list_job *job)
{
    return job->list->count >= job->limit || job->looked >= TI_LIST_SCAN_MAX ||
           job->bytes >= TI_PAGE_SIZE_MAX;
}

/* Takes the wanted rows of a page. */
static ti_status take_rows(list_job *job, const ti_scan_page *page, ti_err *err)
{
    for (size_t i = 0; i < page->count && !is_full(job); i++) {
        ti_event_info *info = &job->list->items[job->list->count];
        TI_TRY(ti_event_row_read(job->queues->keyspace, job->a, job->filter->state, &page->pairs[i],
                                 info, err));
        job->looked++;
        job->last = page->pairs[i].key;
        if (!is_wanted(job->filter, info))
            continue;
        job->list->count++;
        job->bytes += page->pairs[i].key.len + page->pairs[i].value.len;
    }
    return TI_OK;
}

/* Goes through one range of rows, from the cursor on. */
static ti_status walk(list_job *job, ti_range range, ti_err *err)
{
    ti_scan scan = {.range = range, .items_max = SCAN_PAGE};
    ti_scan_page page = {.more = true};
    if (job->after.data != NULL && ti_slice_compare(job->after, range.from) >= 0)
        scan.range.from = job->after;
    while (page.more && !is_full(job)) {
        if (ti_slice_compare(scan.range.from, scan.range.to) >= 0)
            return TI_OK;
        TI_TRY(ti_txn_scan(job->txn, &scan, job->a, &page, job->call, err));
        TI_TRY(take_rows(job, &page, err));
        if (page.count == 0)
            return TI_OK;
        scan.range.from = ti_key_after(job->a, page.pairs[page.count - 1].key);
        if (scan.range.from.data == NULL)
            return ti_err_no_memory(err);
    }
    return TI_OK;
}

ti_status ti_event_rows_between(ti_queues *queues, ti_arena *a, ti_slice type, ti_event_state state,
                                uint32_t partition, uint64_t from_us, uint64_t to_us,
                                ti_range *range_out, ti_err *err)
{
    const ti_keyspace *ks = queues->keyspace;
    ti_key_range range;
    if (state == TI_EVENT_PENDING)
        TI_TRY(ti_key_events_between(ks, a, type, partition, from_us, to_us, &range, err));
    else if (state == TI_EVENT_PARKED)
        TI_TRY(ti_key_parked_of(ks, a, type, partition, NULL, &range, err));
    else
        TI_TRY(ti_key_history_between(
            ks, a, type, state == TI_EVENT_FAILED ? TI_HISTORY_FAILED : TI_HISTORY_COMPLETED,
            partition, from_us, to_us, &range, err));
    *range_out = (ti_range){.from = range.lo, .to = range.hi};
    return TI_OK;
}

/* What two ranges share; none of it when they do not meet. */
static ti_range common(ti_range x, ti_range y)
{
    return (ti_range){.from = ti_slice_compare(x.from, y.from) > 0 ? x.from : y.from,
                      .to = ti_slice_compare(x.to, y.to) < 0 ? x.to : y.to};
}

/* The wanted times of one partition; partitions in rising order. */
static ti_status walk_partition(list_job *job, uint32_t partition, ti_err *err)
{
    const ti_event_filter *f = job->filter;
    uint64_t to_us = f->to_us > 0 ? (uint64_t)f->to_us : UINT64_MAX;
    ti_range range;
    TI_TRY(ti_event_rows_between(job->queues, job->a, f->type, f->state, partition,
                                 (uint64_t)f->from_us, to_us, &range, err));
    const ti_ranges *r = &job->ranges;
    while (job->range < r->count && ti_slice_compare(r->ranges[job->range].to, range.from) <= 0)
        job->range++;
    for (size_t i = job->range; i < r->count && !is_full(job); i++) {
        if (ti_slice_compare(r->ranges[i].from, range.to) >= 0)
            return TI_OK;
        TI_TRY(walk(job, common(r->ranges[i], range), err));
    }
    return TI_OK;
}

static ti_status walk_all(list_job *job, ti_err *err)
{
    const ti_event_filter *f = job->filter;
    uint32_t partitions;
    TI_TRY(
        ranges_of(job->queues, job->txn, job->a, f->type, f->state, &job->ranges, job->call, err));
    if (f->key.data == NULL && f->from_us == 0 && f->to_us == 0) {
        for (size_t i = 0; i < job->ranges.count && !is_full(job); i++)
            TI_TRY(walk(job, job->ranges.ranges[i], err));
        return TI_OK;
    }
    TI_TRY(ti_queue_partitions(job->queues, f->type, &partitions, job->call, err));
    if (f->key.data != NULL)
        return walk_partition(job, ti_queue_partition_of(f->key, partitions), err);
    for (uint32_t i = 0; i < partitions && !is_full(job); i++)
        TI_TRY(walk_partition(job, i, err));
    return TI_OK;
}

/* ---- cursors ---- */

static ti_status scope_of(const list_job *job, ti_cursor_scope *scope_out, ti_err *err)
{
    const ti_event_filter *f = job->filter;
    char *extra = ti_arena_format(job->a, "queue:%d:%lld:%lld:%d", (int)f->state,
                                  (long long)f->from_us, (long long)f->to_us,
                                  (f->key.data != NULL ? 1 : 0) + (f->owner.data != NULL ? 2 : 0));
    if (extra == NULL)
        return ti_err_no_memory(err);
    *scope_out = (ti_cursor_scope){
        .name_space = ti_keyspace_name(job->queues->keyspace),
        .table = f->type,
        .lo = f->key,
        .hi = f->owner,
        .extra = ti_slice_of(extra),
    };
    return TI_OK;
}

static ti_slice secret_of(const list_job *job)
{
    return (ti_slice){.data = (const char *)ti_store_secret(job->queues->store),
                      .len = TI_CURSOR_SECRET_SIZE};
}

static ti_status open_cursor(list_job *job, ti_err *err)
{
    ti_cursor_scope scope;
    ti_slice key;
    if (job->filter->cursor.len == 0)
        return TI_OK;
    TI_TRY(scope_of(job, &scope, err));
    TI_TRY(ti_cursor_open(job->a, secret_of(job), &scope, job->filter->cursor, &key, err));
    job->after = ti_key_after(job->a, key);
    return job->after.data != NULL ? TI_OK : ti_err_no_memory(err);
}

static ti_status seal_cursor(list_job *job, ti_err *err)
{
    ti_cursor_scope scope;
    job->list->cursor = TI_SLICE_NONE;
    if (!is_full(job) || job->last.data == NULL)
        return TI_OK;
    TI_TRY(scope_of(job, &scope, err));
    return ti_cursor_seal(job->a, secret_of(job), &scope, job->last, &job->list->cursor, err);
}

/* ---- entries ---- */

static ti_status list(list_job *job, ti_err *err)
{
    TI_TRY(open_cursor(job, err));
    TI_TRY(walk_all(job, err));
    return seal_cursor(job, err);
}

ti_status ti_event_list_in(ti_queues *queues, ti_txn *txn, const ti_event_filter *filter,
                           ti_arena *a, ti_event_list *list_out, const ti_call *call, ti_err *err)
{
    list_job job = {
        .queues = queues, .filter = filter, .a = a, .txn = txn, .call = call, .list = list_out};
    *list_out = (ti_event_list){.items = NULL};
    TI_TRY(ti_name_check(filter->type, "event type", err));
    if (filter->limit > TI_PAGE_ITEMS_MAX || filter->from_us < 0 || filter->to_us < 0 ||
        (unsigned)filter->state > TI_EVENT_FAILED)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "a list of events needs a known state, times after 1970, and a limit of "
                          "at most %d",
                          TI_PAGE_ITEMS_MAX);
    job.limit = filter->limit > 0 ? filter->limit : TI_PAGE_ITEMS_DEFAULT;
    list_out->items = ti_arena_alloc(a, job.limit * sizeof(ti_event_info));
    if (list_out->items == NULL)
        return ti_err_no_memory(err);
    return list(&job, err);
}

ti_status ti_queue_list(ti_queues *queues, const ti_event_filter *filter, ti_arena *a,
                        ti_event_list *list_out, const ti_call *call, ti_err *err)
{
    ti_txn *txn;
    *list_out = (ti_event_list){.items = NULL};
    TI_TRY(ti_txn_begin(queues->kv, &(ti_txn_options){.read_only = true}, &txn, err));
    ti_status status = ti_event_list_in(queues, txn, filter, a, list_out, call, err);
    ti_txn_free(txn);
    return status;
}

static ti_status count_rows(ti_txn *txn, ti_range range, uint64_t limit, uint64_t *count_out,
                            const ti_call *call, ti_err *err)
{
    ti_scan scan = {.range = range, .keys_only = true};
    ti_scan_page page = {.more = true};
    ti_status status = TI_OK;
    ti_arena a;
    if (ti_slice_compare(range.from, range.to) >= 0)
        return TI_OK;
    ti_arena_init(&a);
    while (status == TI_OK && page.more && *count_out < limit) {
        uint64_t left = limit - *count_out;
        scan.items_max = left < TI_PAGE_ITEMS_MAX ? (size_t)left : TI_PAGE_ITEMS_MAX;
        status = ti_txn_scan(txn, &scan, &a, &page, call, err);
        if (status != TI_OK || page.count == 0)
            break;
        *count_out += page.count;
        ti_slice from = ti_key_after(ti_txn_arena(txn), page.pairs[page.count - 1].key);
        if (from.data == NULL)
            status = ti_err_no_memory(err);
        scan.range.from = from;
        ti_arena_reset(&a);
    }
    ti_arena_free(&a);
    return status;
}

ti_status ti_queue_count(ti_queues *queues, ti_slice type, ti_event_state state, uint64_t limit,
                         uint64_t *count_out, const ti_call *call, ti_err *err)
{
    ti_ranges ranges;
    ti_txn *txn;
    *count_out = 0;
    TI_TRY(ti_name_check(type, "event type", err));
    TI_TRY(ti_txn_begin(queues->kv, &(ti_txn_options){.read_only = true}, &txn, err));
    ti_status status = ranges_of(queues, txn, ti_txn_arena(txn), type, state, &ranges, call, err);
    for (size_t i = 0; status == TI_OK && i < ranges.count && *count_out < limit; i++)
        status = count_rows(txn, ranges.ranges[i], limit, count_out, call, err);
    ti_txn_free(txn);
    return status;
}

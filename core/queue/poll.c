/* The reader's side of hints, and their end; see hint_int.h.
 *
 * Threads: the reader's; cleaning by the keeper's. */
#include "base/assert.h"
#include "model/store.h"
#include "queue/hint_int.h"
#include "queue/worker_int.h"

/* A process whose hints have been seen. */
struct ti_hint_seen {
    struct ti_hint_seen *next;
    char id[TI_UUID_TEXT_SIZE + 1];
    uint64_t number; /* of the last writing that was seen */
    bool is_here;    /* found by the poll under way */
};

static ti_status scan_hints(ti_queues *queues, ti_txn *txn, ti_slice type, ti_arena *a,
                            ti_scan_page *page_out, const ti_call *call, ti_err *err)
{
    ti_key_range range;
    TI_TRY(ti_key_span(queues->keyspace, a, TI_SPAN_HINTS, type, TI_SLICE_NONE, &range, err));
    ti_scan scan = {.range = {.from = range.lo, .to = range.hi}, .items_max = TI_HINT_ROWS_MAX};
    return ti_txn_scan(txn, &scan, a, page_out, call, err);
}

/* What is known of a process; made when missing. NULL: no memory. */
static ti_hint_seen *seen_of(ti_wtype *type, ti_slice id)
{
    ti_hint_seen *s = type->hints_seen;
    while (s != NULL && !ti_slice_equal(ti_slice_of(s->id), id))
        s = s->next;
    if (s != NULL || id.len > TI_UUID_TEXT_SIZE)
        return s;
    s = ti_alloc_zero(sizeof(*s));
    if (s == NULL)
        return NULL;
    for (size_t i = 0; i < id.len; i++)
        s->id[i] = id.data[i];
    s->next = type->hints_seen;
    type->hints_seen = s;
    return s;
}

/* Forgets the processes whose rows are gone. */
static void forget_absent(ti_wtype *type)
{
    ti_hint_seen **link = &type->hints_seen;
    while (*link != NULL) {
        ti_hint_seen *s = *link;
        if (s->is_here) {
            s->is_here = false;
            link = &s->next;
        } else {
            *link = s->next;
            ti_free(s);
        }
    }
}

/* Wakes the partitions that a row has news of; whether there were any. */
static bool take_row(ti_worker *w, ti_wtype *type, const ti_pair *pair)
{
    ti_key_parts parts;
    ti_hint_head head;
    ti_slice rest;
    ti_hint hint;
    bool news = false;
    if (!ti_key_parse(w->queues->keyspace, pair->key, &parts) || parts.kind != TI_KEY_HINT ||
        ti_slice_equal(parts.id, ti_hinter_id(w->queues->hinter)) ||
        ti_hint_open(pair->value, pair->key, &head, &rest, NULL) != TI_OK)
        return false;
    ti_hint_seen *seen = seen_of(type, parts.id);
    uint64_t before = seen != NULL ? seen->number : 0;
    if (seen != NULL) {
        seen->is_here = true;
        seen->number = head.number;
    }
    if (head.number <= before)
        return false;
    ti_mutex_lock(&w->mutex);
    while (ti_hint_next(&rest, &hint)) {
        if (hint.number <= before || hint.partition >= type->partitions)
            continue;
        ti_part_wake(w, &type->parts[hint.partition], hint.place_us);
        news = true;
    }
    ti_worker_unlock(w);
    return news;
}

static ti_status poll_type(ti_worker *w, ti_txn *txn, ti_wtype *type, ti_arena *a, bool *news,
                           const ti_call *call, ti_err *err)
{
    ti_scan_page page;
    TI_TRY(scan_hints(w->queues, txn, ti_hub_type_name(type->type), a, &page, call, err));
    for (size_t i = 0; i < page.count; i++)
        *news = take_row(w, type, &page.pairs[i]) || *news;
    forget_absent(type);
    return TI_OK;
}

ti_status ti_hints_poll(ti_worker *w, ti_arena *a, bool *news_out, ti_err *err)
{
    ti_call call = ti_worker_call(w);
    ti_txn *txn;
    ti_status status = TI_OK;
    *news_out = false;
    TI_TRY(ti_txn_begin(w->queues->kv, &(ti_txn_options){.read_only = true}, &txn, err));
    for (ti_wtype *type = w->types; type != NULL && status == TI_OK; type = type->next)
        status = poll_type(w, txn, type, a, news_out, &call, err);
    ti_txn_free(txn);
    return status;
}

void ti_hints_forget(ti_wtype *type)
{
    while (type->hints_seen != NULL) {
        ti_hint_seen *s = type->hints_seen;
        type->hints_seen = s->next;
        ti_free(s);
    }
}

/* ---- cleaning ---- */

static ti_status delete_old(ti_queues *queues, ti_txn *txn, ti_slice type, const ti_call *call,
                            ti_err *err)
{
    ti_scan_page page;
    ti_hint_head head;
    ti_slice rest;
    ti_ts now;
    TI_TRY(ti_kv_now(queues->kv, &now, call, err));
    uint64_t now_us = (uint64_t)ti_ts_to_us(now);
    TI_TRY(scan_hints(queues, txn, type, ti_txn_arena(txn), &page, call, err));
    for (size_t i = 0; i < page.count; i++) {
        ti_status status = ti_hint_open(page.pairs[i].value, page.pairs[i].key, &head, &rest, NULL);
        if (status != TI_OK || head.written_us + TI_HINT_AGE_US < now_us)
            TI_TRY(ti_txn_delete(txn, page.pairs[i].key, err));
    }
    return ti_txn_commit(txn, NULL, call, err);
}

ti_status ti_hints_clean(ti_queues *queues, ti_slice type, const ti_call *call, ti_err *err)
{
    ti_txn *txn;
    TI_TRY(ti_txn_begin(queues->kv, NULL, &txn, err));
    ti_status status = delete_old(queues, txn, type, call, err);
    ti_txn_free(txn);
    return status;
}

/* A page of a transaction's merged view: its snapshot with its own writes over it.
 *
 *   snapshot page:  b  d  e  g | more behind g          (forward; reverse is its mirror image)
 *   own writes:     a+    d-   f+      h+
 *   merged so far:  a  b  e  f  g   then the next snapshot page begins after g
 *
 * INVARIANTS
 *  1. Own writes are merged only up to the frontier, the last key that the snapshot page answers
 *     for; without `more` that is the end of the range.
 *  2. A page ends exactly at items_max, or with the pair that reaches size_max.
 *  3. The range is clipped to the handle's prefix: no key outside of it is ever read. */
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "kv/txn_int.h"

typedef struct merge {
    ti_txn *txn;
    const ti_scan *scan; /* with the clipped range and size_max set */
    ti_arena *a;
    ti_range rest;   /* of the range, what is not merged yet */
    ti_writes_at at; /* next own write (reverse: the place after it) */
    ti_pair *pairs;  /* merged, in a */
    size_t count;
    size_t capacity;
    size_t size; /* bytes of the merged pairs */
} merge;

/* < 0 when x comes before y in the scan's direction. */
static int order(const merge *m, ti_slice x, ti_slice y)
{
    int order = ti_slice_compare(x, y);
    return m->scan->reverse ? -order : order;
}

/* The range within the handle's prefix; false when nothing is left of it. */
static bool clip(const ti_kv *kv, ti_range *range)
{
    if (ti_slice_compare(range->from, kv->options.prefix) < 0)
        range->from = kv->options.prefix;
    bool open = range->to.len == 0;
    if (kv->prefix_end.len > 0 && (open || ti_slice_compare(range->to, kv->prefix_end) > 0))
        range->to = kv->prefix_end;
    return range->to.len == 0 || ti_slice_compare(range->from, range->to) < 0;
}

/* The next own write of the rest, or NULL. */
static const ti_write *peek_own(const merge *m)
{
    const ti_writes *writes = &m->txn->writes;
    if (m->scan->reverse) {
        ti_writes_at at = m->at;
        const ti_write *write = ti_writes_before(writes, &at);
        bool inside = write != NULL && ti_slice_compare(write->key, m->rest.from) >= 0;
        return inside ? write : NULL;
    }
    const ti_write *write = ti_writes_get(writes, m->at);
    if (write == NULL || m->rest.to.len == 0)
        return write;
    return ti_slice_compare(write->key, m->rest.to) < 0 ? write : NULL;
}

static void skip_own(merge *m)
{
    if (m->scan->reverse)
        (void)ti_writes_before(&m->txn->writes, &m->at);
    else
        m->at = ti_writes_next(&m->txn->writes, m->at);
}

/* Room for n more pairs. */
static ti_status reserve(merge *m, size_t n, ti_err *err)
{
    if (m->count + n <= m->capacity)
        return TI_OK;
    size_t capacity = m->capacity * 2 > m->count + n ? m->capacity * 2 : m->count + n;
    ti_pair *pairs = ti_arena_alloc(m->a, capacity * sizeof(*pairs));
    if (pairs == NULL)
        return ti_err_no_memory(err);
    if (m->count > 0)
        memcpy(pairs, m->pairs, m->count * sizeof(*pairs));
    m->pairs = pairs;
    m->capacity = capacity;
    return TI_OK;
}

static bool is_full(const merge *m)
{
    return m->count >= m->scan->items_max || (m->count > 0 && m->size >= m->scan->size_max);
}

static ti_status emit(merge *m, ti_slice key, ti_slice value, ti_err *err)
{
    ti_assert(!is_full(m));
    TI_TRY(reserve(m, 1, err));
    if (m->scan->keys_only)
        value = TI_SLICE_NONE;
    m->pairs[m->count++] = (ti_pair){.key = key, .value = value};
    m->size += key.len + value.len;
    return TI_OK;
}

/* Merges one own write; the snapshot's pair of the same key, if any, is dropped by the caller. */
static ti_status emit_own(merge *m, const ti_write *write, const ti_pair *same, ti_err *err)
{
    ti_slice value;
    skip_own(m);
    switch (ti_write_view_of(write, &value)) {
    case TI_VIEW_SHOWS:
        return emit(m, write->key, value, err);
    case TI_VIEW_SILENT:
        return same != NULL ? emit(m, same->key, same->value, err) : TI_OK;
    case TI_VIEW_HIDES:
        break;
    }
    return TI_OK;
}

/* Merges a snapshot page, and the own writes up to its frontier, until the merged page is full. */
static ti_status merge_page(merge *m, const ti_scan_page *page, ti_err *err)
{
    size_t i = 0;
    while (!is_full(m)) {
        const ti_pair *pair = i < page->count ? &page->pairs[i] : NULL;
        const ti_write *own = peek_own(m);
        if (pair == NULL && (own == NULL || page->more))
            break; /* behind the frontier the snapshot has not answered yet */
        int which = own == NULL ? 1 : pair == NULL ? -1 : order(m, own->key, pair->key);
        if (which <= 0)
            TI_TRY(emit_own(m, own, which == 0 ? pair : NULL, err));
        else
            TI_TRY(emit(m, pair->key, pair->value, err));
        if (which >= 0)
            i++;
    }
    return TI_OK;
}

/* The range behind the last key that a page answered for. */
static ti_status go_on(merge *m, ti_slice last, ti_err *err)
{
    if (m->scan->reverse) {
        m->rest.to = last;
        return TI_OK;
    }
    char *after = ti_arena_alloc(m->a, last.len + 1);
    if (after == NULL)
        return ti_err_no_memory(err);
    memcpy(after, last.data, last.len);
    after[last.len] = '\0';
    m->rest.from = (ti_slice){.data = after, .len = last.len + 1};
    return TI_OK;
}

static ti_status merge_all(merge *m, ti_scan_page *page_out, const ti_call *call, ti_err *err)
{
    const ti_engine_vt *vt = m->txn->kv->engine->vt;
    for (;;) {
        ti_scan_page page;
        ti_scan scan = *m->scan;
        scan.range = m->rest;
        scan.items_max = m->scan->items_max - m->count;
        scan.size_max = m->scan->size_max - m->size;
        TI_TRY(vt->scan(m->txn->snapshot, &scan, m->a, &page, call, err));
        ti_require(page.count > 0 || !page.more);
        TI_TRY(merge_page(m, &page, err));
        *page_out = (ti_scan_page){.pairs = m->pairs, .count = m->count, .more = is_full(m)};
        if (is_full(m) || !page.more)
            return TI_OK;
        TI_TRY(go_on(m, page.pairs[page.count - 1].key, err));
    }
}

ti_status ti_txn_scan(ti_txn *txn, const ti_scan *scan, ti_arena *a, ti_scan_page *page_out,
                      const ti_call *call, ti_err *err)
{
    ti_scan clipped = *scan;
    ti_assert(scan->items_max > 0);
    *page_out = (ti_scan_page){.pairs = NULL};
    TI_TRY(ti_txn_check(txn, false, err));
    if (!clip(txn->kv, &clipped.range))
        return TI_OK;
    if (clipped.size_max == 0)
        clipped.size_max = TI_PAGE_SIZE_MAX;
    TI_TRY(ti_txn_need_snapshot(txn, call, err));
    merge m = {.txn = txn, .scan = &clipped, .a = a, .rest = clipped.range};
    ti_slice first = clipped.reverse ? clipped.range.to : clipped.range.from;
    m.at = clipped.reverse && first.len == 0 ? ti_writes_end(&txn->writes)
                                             : ti_writes_seek(&txn->writes, first);
    if (txn->writes.count == 0 || peek_own(&m) == NULL)
        return txn->kv->engine->vt->scan(txn->snapshot, &clipped, a, page_out, call, err);
    return merge_all(&m, page_out, call, err);
}

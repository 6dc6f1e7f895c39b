/* Reads on a snapshot: single keys, batches, pages of a range; and the newest value.
 *
 * INVARIANTS
 *  1. What is returned is copied into the arena; RocksDB's memory is pinned only meanwhile.
 *  2. Keys of the engine itself (first byte 0) are never seen.
 *  3. An iterator is positioned anew after its bounds have moved (RocksDB looks at bounds again
 *     when it seeks); the bounds keep it from walking over deleted keys outside of the range, and
 *     each key is compared with the range besides.
 *
 * Thread rule: a snapshot is used by one thread at a time. */
#include <string.h>

#include "base/assert.h"
#include "rocks/rocks_int.h"

#define KEY_BYTES (TI_KEY_SIZE_MAX + 1)
/* How many pairs are read between two looks at the deadline. */
#define LOOK_EVERY 256
#define PAIRS_FIRST 16

static const char keys_end[KEY_BYTES] = {[0 ... KEY_BYTES - 1] = (char)0xff};
const ti_slice ti_rocks_keys_end = {.data = keys_end, .len = sizeof(keys_end)};
static const ti_slice keys_begin = {.data = "\x01", .len = 1};

static bool is_own_key(ti_slice key)
{
    return key.len == 0 || key.data[0] == '\0';
}

/* Copies what RocksDB has pinned, and gives it back. */
static ti_status copy_pinned(rocksdb_pinnableslice_t *pinned, ti_arena *a, ti_slice *value_out,
                             ti_err *err)
{
    ti_slice value;
    value.data = rocksdb_pinnableslice_value(pinned, &value.len);
    *value_out = ti_arena_copy(a, value);
    rocksdb_pinnableslice_destroy(pinned);
    return value_out->data == NULL ? ti_err_no_memory(err) : TI_OK;
}

ti_status ti_rocks_get(ti_snapshot *snapshot, ti_slice key, ti_arena *a, ti_slice *value_out,
                       const ti_call *call, ti_err *err)
{
    const ti_rocks_snapshot *s = (const ti_rocks_snapshot *)snapshot;
    ti_rocks *e = ti_rocks_of(snapshot->engine);
    char *failed = NULL;
    (void)call; /* one key of a local store: nothing to bound */
    *value_out = TI_SLICE_NONE;
    if (ti_process_guard_forked(&e->guard))
        return ti_rocks_forked(err);
    if (is_own_key(key))
        return TI_NOT_FOUND;
    rocksdb_pinnableslice_t *pinned =
        rocksdb_get_pinned(e->db, s->view->options, key.data, key.len, &failed);
    if (failed != NULL)
        return ti_rocks_failed(failed, "reading", err);
    return pinned == NULL ? TI_NOT_FOUND : copy_pinned(pinned, a, value_out, err);
}

ti_status ti_rocks_get_latest(ti_rocks *e, ti_slice key, ti_arena *a, ti_slice *value_out,
                              ti_err *err)
{
    char *failed = NULL;
    ti_assert(!is_own_key(key));
    rocksdb_pinnableslice_t *pinned =
        rocksdb_get_pinned(e->db, e->latest, key.data, key.len, &failed);
    if (failed != NULL)
        return ti_rocks_failed(failed, "reading", err);
    if (pinned == NULL)
        return TI_NOT_FOUND;
    if (a != NULL)
        return copy_pinned(pinned, a, value_out, err);
    rocksdb_pinnableslice_destroy(pinned);
    return TI_OK;
}

/* ---- batches */

/* Copies the answers of one batch; all pinned ones and messages are given back. */
static ti_status take_answers(rocksdb_pinnableslice_t **pinned, char **failed, size_t count,
                              ti_arena *a, ti_slice *values_out, ti_err *err)
{
    ti_status status = TI_OK;
    for (size_t i = 0; i < count; i++) {
        values_out[i] = TI_SLICE_NONE;
        if (failed[i] != NULL && status == TI_OK)
            status = ti_rocks_failed(failed[i], "reading", err);
        else if (failed[i] != NULL)
            rocksdb_free(failed[i]);
        else if (pinned[i] != NULL && status == TI_OK)
            status = copy_pinned(pinned[i], a, &values_out[i], err);
        else if (pinned[i] != NULL)
            rocksdb_pinnableslice_destroy(pinned[i]);
    }
    return status;
}

ti_status ti_rocks_batch_get(ti_snapshot *snapshot, const ti_slice *keys, size_t count, ti_arena *a,
                             ti_slice *values_out, const ti_call *call, ti_err *err)
{
    const ti_rocks_snapshot *s = (const ti_rocks_snapshot *)snapshot;
    ti_rocks *e = ti_rocks_of(snapshot->engine);
    if (ti_process_guard_forked(&e->guard))
        return ti_rocks_forked(err);
    for (size_t done = 0; done < count;) {
        const char *data[TI_ROCKS_MULTI_GET_MAX];
        size_t lens[TI_ROCKS_MULTI_GET_MAX];
        rocksdb_pinnableslice_t *pinned[TI_ROCKS_MULTI_GET_MAX];
        char *failed[TI_ROCKS_MULTI_GET_MAX];
        size_t n = count - done < TI_ROCKS_MULTI_GET_MAX ? count - done : TI_ROCKS_MULTI_GET_MAX;
        TI_TRY(ti_call_check(call, "reading", err));
        for (size_t i = 0; i < n; i++) {
            ti_slice key = is_own_key(keys[done + i]) ? ti_rocks_keys_end : keys[done + i];
            data[i] = key.data;
            lens[i] = key.len;
        }
        rocksdb_batched_multi_get_cf(e->db, s->view->options, e->family, n, data, lens, pinned,
                                     failed, false);
        TI_TRY(take_answers(pinned, failed, n, a, values_out + done, err));
        done += n;
    }
    return TI_OK;
}

/* ---- scans */

void ti_rocks_cursor_free(ti_rocks_cursor *cursor)
{
    if (cursor == NULL)
        return;
    if (cursor->it != NULL)
        rocksdb_iter_destroy(cursor->it);
    if (cursor->options != NULL)
        rocksdb_readoptions_destroy(cursor->options);
    ti_free(cursor);
}

/* Moves the bounds; keys longer than any stored one are cut, which leaves the same keys inside. */
static void set_bounds(ti_rocks_cursor *cursor, ti_slice from, ti_slice to)
{
    char *upper = cursor->bounds + KEY_BYTES;
    if (from.len > KEY_BYTES)
        from.len = KEY_BYTES;
    if (to.len > KEY_BYTES)
        to.len = KEY_BYTES;
    memcpy(cursor->bounds, from.data, from.len);
    memcpy(upper, to.data, to.len);
    rocksdb_readoptions_set_iterate_lower_bound(cursor->options, cursor->bounds, from.len);
    rocksdb_readoptions_set_iterate_upper_bound(cursor->options, upper, to.len);
}

/* A cursor over a view; NULL when there is no memory. */
static ti_rocks_cursor *new_cursor(ti_rocks *e, const ti_rocks_view *view)
{
    ti_rocks_cursor *cursor = ti_alloc(sizeof(*cursor) + 2 * KEY_BYTES);
    if (cursor == NULL)
        return NULL;
    *cursor = (ti_rocks_cursor){.bounds = (char *)(cursor + 1)};
    cursor->options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(cursor->options, view->snapshot);
    set_bounds(cursor, keys_begin, ti_rocks_keys_end);
    cursor->it = rocksdb_create_iterator(e->db, cursor->options);
    return cursor;
}

/* The snapshot's cursor: its own, a spare one of its view, or a new one. */
static ti_rocks_cursor *need_cursor(ti_rocks *e, ti_rocks_snapshot *s)
{
    if (s->cursor != NULL)
        return s->cursor;
    ti_mutex_lock(&e->mutex);
    s->cursor = s->view->spare;
    s->view->spare = NULL;
    ti_mutex_unlock(&e->mutex);
    if (s->cursor == NULL)
        s->cursor = new_cursor(e, s->view);
    return s->cursor;
}

/* A page as it grows. */
typedef struct page_maker {
    const ti_scan *scan;
    ti_arena *a;
    ti_scan_page *page;
    size_t capacity;
    size_t size;
    size_t size_max;
} page_maker;

static bool is_full(const page_maker *p)
{
    return p->page->count >= p->scan->items_max || (p->page->count > 0 && p->size >= p->size_max);
}

/* Room for one more pair. */
static bool reserve_pair(page_maker *p)
{
    if (p->page->count < p->capacity)
        return true;
    size_t capacity = p->capacity == 0 ? PAIRS_FIRST : p->capacity * 2;
    if (capacity > p->scan->items_max)
        capacity = p->scan->items_max;
    ti_pair *pairs = ti_arena_alloc(p->a, capacity * sizeof(*pairs));
    if (pairs == NULL)
        return false;
    if (p->page->count > 0)
        memcpy(pairs, p->page->pairs, p->page->count * sizeof(*pairs));
    p->page->pairs = pairs;
    p->capacity = capacity;
    return true;
}

/* Copies the pair at the iterator to the page: one piece of memory for key and value. */
static ti_status add_pair(page_maker *p, ti_slice key, const rocksdb_iterator_t *it, ti_err *err)
{
    ti_slice value = TI_SLICE_NONE;
    if (!p->scan->keys_only)
        value.data = rocksdb_iter_value(it, &value.len);
    char *copy = ti_arena_alloc(p->a, key.len + value.len);
    if (copy == NULL || !reserve_pair(p))
        return ti_err_no_memory(err);
    memcpy(copy, key.data, key.len);
    if (value.len > 0)
        memcpy(copy + key.len, value.data, value.len);
    p->page->pairs[p->page->count++] = (ti_pair){
        .key = {.data = copy, .len = key.len},
        .value = {.data = value.data == NULL ? NULL : copy + key.len, .len = value.len},
    };
    p->size += key.len + value.len;
    return TI_OK;
}

static void seek(rocksdb_iterator_t *it, ti_slice from, ti_slice to, bool reverse)
{
    if (!reverse) {
        rocksdb_iter_seek(it, from.data, from.len);
        return;
    }
    rocksdb_iter_seek_for_prev(it, to.data, to.len);
    ti_slice key;
    if (rocksdb_iter_valid(it) == 0)
        return;
    key.data = rocksdb_iter_key(it, &key.len);
    if (ti_slice_compare(key, to) >= 0)
        rocksdb_iter_prev(it);
}

/* Fills the page from the iterator's place on. */
static ti_status fill_page(page_maker *p, rocksdb_iterator_t *it, ti_slice from, ti_slice to,
                           const ti_call *call, ti_err *err)
{
    bool reverse = p->scan->reverse;
    for (; rocksdb_iter_valid(it) != 0; reverse ? rocksdb_iter_prev(it) : rocksdb_iter_next(it)) {
        ti_slice key;
        key.data = rocksdb_iter_key(it, &key.len);
        if (ti_slice_compare(key, from) < 0 || ti_slice_compare(key, to) >= 0)
            break;
        TI_TRY(add_pair(p, key, it, err));
        if (is_full(p)) {
            p->page->more = true;
            return TI_OK;
        }
        if (p->page->count % LOOK_EVERY == 0)
            TI_TRY(ti_call_check(call, "scanning", err));
    }
    char *failed = NULL;
    rocksdb_iter_get_error(it, &failed);
    return failed == NULL ? TI_OK : ti_rocks_failed(failed, "scanning", err);
}

ti_status ti_rocks_scan(ti_snapshot *snapshot, const ti_scan *scan, ti_arena *a,
                        ti_scan_page *page_out, const ti_call *call, ti_err *err)
{
    ti_rocks_snapshot *s = (ti_rocks_snapshot *)snapshot;
    ti_rocks *e = ti_rocks_of(snapshot->engine);
    ti_slice from = is_own_key(scan->range.from) ? keys_begin : scan->range.from;
    ti_slice to = scan->range.to.len == 0 ? ti_rocks_keys_end : scan->range.to;
    page_maker p = {.scan = scan, .a = a, .page = page_out};
    p.size_max = scan->size_max == 0 ? TI_PAGE_SIZE_MAX : scan->size_max;
    ti_assert(scan->items_max > 0);
    *page_out = (ti_scan_page){.pairs = NULL};
    if (ti_process_guard_forked(&e->guard))
        return ti_rocks_forked(err);
    TI_TRY(ti_call_check(call, "scanning", err));
    if (ti_slice_compare(from, to) >= 0)
        return TI_OK;
    ti_rocks_cursor *cursor = need_cursor(e, s);
    if (cursor == NULL)
        return ti_err_no_memory(err);
    set_bounds(cursor, from, to);
    seek(cursor->it, from, to, scan->reverse);
    return fill_page(&p, cursor->it, from, to, call, err);
}

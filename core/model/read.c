/* Reads by id: find, find_many. See model.h.
 *
 * INVARIANTS
 *  1. A read without relationships parses no JSON: the document's bytes are the stored ones.
 *  2. A read contacts the catalog never: records are found by their key.
 *
 * Threads: one per transaction. */
#include <stdlib.h>

#include "base/assert.h"
#include "model/model_int.h"

ti_status ti_page_new(ti_page **page_out, ti_err *err)
{
    *page_out = ti_alloc_zero(sizeof **page_out);
    if (*page_out == NULL)
        return ti_err_no_memory(err);
    ti_arena_init(&(*page_out)->arena);
    return TI_OK;
}

void ti_page_free(ti_page *page)
{
    if (page == NULL)
        return;
    ti_arena_free(&page->arena);
    ti_free(page);
}

ti_status ti_value_keep(const ti_txn *txn, ti_slice key, ti_arena *a, ti_slice *value_io,
                        ti_err *err)
{
    bool present;
    if (!ti_txn_own_write(txn, key, &present))
        return TI_OK;
    *value_io = ti_arena_copy(a, *value_io);
    return value_io->data == NULL ? ti_err_no_memory(err) : TI_OK;
}

/* ---- one ---- */

/* ti_txn_get, with what the document is guessed to name. */
static ti_status get_ahead(ti_hydration *hydration, ti_txn *txn, ti_slice key, ti_slice *value_out,
                           const ti_call *call, ti_err *err)
{
    TI_TRY(ti_hydration_fetch(hydration, txn, &key, 1, value_out, call, err));
    return value_out->data == NULL ? TI_NOT_FOUND : TI_OK;
}

static ti_status get(const ti_model *model, ti_txn *txn, ti_slice id, const ti_read *read,
                     ti_hydration *hydration, ti_arena *a, ti_document *document_out,
                     const ti_call *call, ti_err *err)
{
    ti_slice value;
    ti_record record;
    ti_slice key = ti_key_record(&model->store->keyspace, a, model->table, id);
    TI_TRY(ti_key_check(key, "a record's key", err));
    if (read->lock)
        TI_TRY(ti_txn_get_locked(txn, key, read->lock_wait_us, a, &value, call, err));
    else if (hydration != NULL)
        TI_TRY(get_ahead(hydration, txn, key, &value, call, err));
    else
        TI_TRY(ti_txn_get(txn, key, a, &value, call, err));
    TI_TRY(ti_value_keep(txn, key, a, &value, err));
    ti_status status = ti_record_open(value, key, &record, err);
    if (status != TI_OK)
        return ti_err_of(model, TI_SLICE_NONE, status, err);
    *document_out = (ti_document){.json = record.document, .version = record.version};
    document_out->id = ti_arena_copy(a, id);
    return document_out->id.data == NULL ? ti_err_no_memory(err) : TI_OK;
}

static ti_status find(ti_model *model, ti_txn *txn, ti_slice id, const ti_read *read, ti_arena *a,
                      ti_document *document_out, const ti_call *call, ti_err *err)
{
    ti_hydration *hydration = NULL;
    ti_status status;
    TI_CHECK(ti_hydration_begin(model, read->relationships, read->relationship_count, a, &hydration,
                                err));
    TI_CHECK(get(model, txn, id, read, hydration, a, document_out, call, err));
    if (hydration != NULL)
        TI_CHECK(ti_hydrate(hydration, txn, document_out, 1, a, call, err));
out:
    ti_hydration_end(hydration);
    if (status != TI_OK)
        *document_out = (ti_document){0};
    return status;
}

ti_status ti_model_find(ti_model *model, ti_txn *txn, ti_slice id, const ti_read *read, ti_arena *a,
                        ti_document *document_out, const ti_call *call, ti_err *err)
{
    static const ti_read plainly = {0};
    ti_kv *kv;
    ti_txn *own = NULL;
    *document_out = (ti_document){0};
    if (read == NULL)
        read = &plainly;
    ti_txn_options options = {.read_only = true, .one_get = read->relationship_count == 0};
    TI_TRY(ti_store_kv(model->store, &kv, err));
    TI_TRY(ti_id_check(id, err));
    if (read->lock && txn == NULL)
        return ti_err_set(err, TI_INVALID_STATE,
                          "a lock lasts as long as its transaction: give one");
    if (txn == NULL)
        TI_TRY(ti_txn_begin(kv, &options, &own, err));
    ti_status status = find(model, txn != NULL ? txn : own, id, read, a, document_out, call, err);
    ti_txn_free(own);
    return status;
}

/* ---- many ---- */

typedef struct wanted {
    ti_slice id;
    size_t place; /* in the caller's list */
} wanted;

static int compare_wanted(const void *left, const void *right)
{
    const wanted *l = left;
    const wanted *r = right;
    int order = ti_slice_compare(l->id, r->id);
    return order != 0 ? order : (l->place > r->place) - (l->place < r->place);
}

static int compare_places(const void *left, const void *right)
{
    const wanted *l = left;
    const wanted *r = right;
    return (l->place > r->place) - (l->place < r->place);
}

/* The ids, each at its first place, in the order given. */
static ti_status distinct(const ti_slice *ids, size_t count, ti_arena *a, wanted **list_out,
                          size_t *count_out, ti_err *err)
{
    wanted *list = ti_arena_alloc(a, (count + 1) * sizeof *list);
    if (list == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        TI_TRY(ti_id_check(ids[i], err));
        list[i] = (wanted){.id = ids[i], .place = i};
    }
    qsort(list, count, sizeof *list, compare_wanted);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || !ti_slice_equal(list[kept - 1].id, list[i].id))
            list[kept++] = list[i];
    }
    qsort(list, kept, sizeof *list, compare_places);
    *list_out = list;
    *count_out = kept;
    return TI_OK;
}

static ti_status add_item(const ti_model *model, ti_page *page, ti_slice id, ti_slice key,
                          ti_slice value, ti_err *err)
{
    ti_record record;
    ti_status status = ti_record_open(value, key, &record, err);
    if (status != TI_OK)
        return ti_err_of(model, TI_SLICE_NONE, status, err);
    id = ti_arena_copy(&page->arena, id);
    if (id.data == NULL)
        return ti_err_no_memory(err);
    page->items[page->count++] =
        (ti_document){.json = record.document, .id = id, .version = record.version};
    return TI_OK;
}

static ti_status fetch(const ti_model *model, ti_txn *txn, const wanted *list, size_t count,
                       ti_hydration *hydration, ti_page *page, const ti_call *call, ti_err *err)
{
    ti_arena *a = &page->arena;
    ti_slice *keys = ti_arena_alloc(a, (count + 1) * sizeof *keys);
    ti_slice *values = ti_arena_alloc(a, (count + 1) * sizeof *values);
    page->items = ti_arena_alloc(a, (count + 1) * sizeof *page->items);
    if (keys == NULL || values == NULL || page->items == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        keys[i] = ti_key_record(&model->store->keyspace, a, model->table, list[i].id);
        TI_TRY(ti_key_check(keys[i], "a record's key", err));
    }
    size_t size = 0;
    for (size_t i = 0; i < count; i += TI_FETCH_BATCH) {
        size_t n = count - i < TI_FETCH_BATCH ? count - i : TI_FETCH_BATCH;
        if (hydration != NULL)
            TI_TRY(ti_hydration_fetch(hydration, txn, keys + i, n, values + i, call, err));
        else
            TI_TRY(ti_txn_batch_get(txn, keys + i, n, a, values + i, call, err));
        for (size_t k = i; k < i + n; k++) {
            if (values[k].data == NULL)
                continue;
            size += values[k].len;
            if (size > TI_PAGE_SIZE_MAX)
                return ti_err_set(err, TI_LIMIT_EXCEEDED,
                                  "the records asked for are larger than %d MiB together",
                                  TI_PAGE_SIZE_MAX / (1024 * 1024));
            TI_TRY(ti_value_keep(txn, keys[k], a, &values[k], err));
            TI_TRY(add_item(model, page, list[k].id, keys[k], values[k], err));
        }
    }
    return TI_OK;
}

static ti_status find_many(ti_model *model, ti_txn *txn, const ti_slice *ids, size_t count,
                           const ti_read *read, ti_page *page, const ti_call *call, ti_err *err)
{
    ti_hydration *hydration = NULL;
    wanted *list = NULL;
    size_t wanted_count = 0;
    ti_status status;
    TI_CHECK(ti_hydration_begin(model, read->relationships, read->relationship_count, &page->arena,
                                &hydration, err));
    TI_CHECK(distinct(ids, count, &page->arena, &list, &wanted_count, err));
    TI_CHECK(fetch(model, txn, list, wanted_count, hydration, page, call, err));
    if (hydration != NULL)
        TI_CHECK(ti_hydrate(hydration, txn, page->items, page->count, &page->arena, call, err));
out:
    ti_hydration_end(hydration);
    return status;
}

ti_status ti_model_find_many(ti_model *model, ti_txn *txn, const ti_slice *ids, size_t count,
                             const ti_read *read, ti_page **page_out, const ti_call *call,
                             ti_err *err)
{
    static const ti_read plainly = {0};
    static const ti_txn_options options = {.read_only = true};
    ti_kv *kv;
    ti_txn *own = NULL;
    ti_page *page = NULL;
    ti_status status;
    *page_out = NULL;
    if (read == NULL)
        read = &plainly;
    TI_TRY(ti_store_kv(model->store, &kv, err));
    if (read->lock)
        return ti_err_set(err, TI_UNSUPPORTED,
                          "find_many takes no locks: find each record with lock");
    if (count > TI_PAGE_ITEMS_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "%zu ids asked for, at most %d", count,
                          TI_PAGE_ITEMS_MAX);
    TI_CHECK(ti_page_new(&page, err));
    if (txn == NULL)
        TI_CHECK(ti_txn_begin(kv, &options, &own, err));
    TI_CHECK(find_many(model, txn != NULL ? txn : own, ids, count, read, page, call, err));
    *page_out = page;
    page = NULL;
out:
    ti_txn_free(own);
    ti_page_free(page);
    return status;
}

/* Execution: entries of the range, their records, hydration, the page.
 *
 *   scan entries ──> which records are needed ──> batch_get ──> accept in order ──> … until the
 *                                                                                   page is full
 *
 * An entry needs its record when the document is wanted, or when the marker says that the record
 * has other entries in the index and the query could meet one of them: then the record's own list
 * decides which entry comes first. A covering index has document and list in its entries; a scan of
 * the table has the record itself.
 *
 * INVARIANTS
 *  1. Documents are accepted in the order of their entries; the cursor is the entry of the last
 *     accepted one.
 *  2. The page knows whether another document follows without reading it, unless it might be one
 *     met before.
 *  3. Memory is bounded by the page's limits and one batch of records.
 *  4. Where the transaction itself says what a record is (it wrote it, perhaps over a stored one
 *     that it did not look at, or read it under a lock), an entry counts only if that record lists
 *     it:
 * the snapshot may hold entries of what is no longer there.
 *
 * Threads: one per transaction. */
#include <string.h>

#include "base/assert.h"
#include "model/relationship.h"
#include "query/query_int.h"

typedef struct item {
    ti_slice key;   /* of the entry */
    ti_slice value; /* of the entry, or of the record in a scan */
    ti_slice id;
    ti_slice tuple;   /* the fields */
    ti_slice record;  /* its record's key; data NULL when not needed */
    ti_slice content; /* its record's value */
    bool several;     /* the record may have other entries in range */
    bool decided;     /* not the snapshot but the transaction says what the record is */
    bool hidden;      /* and that record does not have this entry */
} item;

typedef struct run {
    const ti_query *query;
    const ti_query_plan *plan;
    ti_txn *txn;
    ti_scratch *s; /* of entries; emptied after each batch */
    const ti_call *call;
    ti_page *page;
    ti_hydration *hydration; /* NULL: no relationships are wanted */
    ti_slice *keys;          /* per document of the page: its entry's key; in the page's arena */
    size_t capacity;
    size_t limit;
    size_t size;
    ti_range left;   /* still to be scanned */
    bool keys_only;  /* no documents are wanted */
    bool look_ahead; /* more must be exact */
    bool more;       /* another document follows the page */
    bool done;
} run;

/* ---- entries ---- */

static ti_status corrupt(const run *r, ti_slice id, const char *what, ti_err *err)
{
    ti_slice table = ti_model_table(r->query->model);
    ti_err_set(err, TI_CORRUPT, "index \"%.*s\" of table \"%.*s\": %s (record \"%.*s\"); run check",
               (int)r->query->index.len, r->query->index.data, (int)table.len, table.data, what,
               (int)(id.len > 200 ? 200 : id.len), id.data);
    return ti_err_of(r->query->model, r->query->index, TI_CORRUPT, err);
}

static ti_slice behind(ti_slice key, ti_slice prefix)
{
    ti_require(ti_slice_has_prefix(key, prefix));
    return (ti_slice){.data = key.data + prefix.len, .len = key.len - prefix.len};
}

/* Takes an entry apart; what it needs of its record is decided by need. */
static ti_status read_entry(run *r, const ti_pair *pair, item *it, ti_err *err)
{
    const ti_index_def *def = r->plan->def;
    ti_arena *a = &r->s->arena;
    ti_slice rest = behind(pair->key, r->plan->prefix);
    *it = (item){.key = pair->key, .value = pair->value};
    if (def == NULL) {
        it->id = rest;
        it->content = pair->value;
        return TI_OK;
    }
    if (def->unique) {
        it->tuple = rest;
        it->several = !r->plan->pinned;
        ti_status status = ti_sealed_open(pair->value, TI_SEALED_UNIQUE, pair->key, &it->id, err);
        return status == TI_OK ? TI_OK : ti_err_of(r->query->model, r->query->index, status, err);
    }
    TI_TRY(
        ti_key_index_split(rest, def->descending, def->field_count, a, &it->tuple, &it->id, err));
    it->several = !r->plan->pinned && (def->covering || !ti_slice_equal(pair->value, ti_marker()));
    return TI_OK;
}

/* Entries of one scan, and the keys of the records they need. */
static ti_status read_entries(run *r, const ti_scan_page *found, item *items, ti_err *err)
{
    const ti_keyspace *ks = ti_store_keyspace(ti_model_store(r->query->model));
    bool own =
        r->plan->def == NULL || r->plan->def->covering; /* the entry itself has the document */
    bool wrote = r->plan->def != NULL && ti_txn_has_effects(r->txn);
    for (size_t i = 0; i < found->count; i++) {
        item *it = &items[i];
        TI_TRY(read_entry(r, &found->pairs[i], it, err));
        bool document = !r->keys_only && r->page->count + i < r->limit;
        bool wanted = !own && (document || it->several);
        if (!wanted && !wrote)
            continue;
        ti_slice key = ti_key_record(ks, &r->s->arena, ti_model_table(r->query->model), it->id);
        TI_TRY(ti_key_check(key, "a record's key", err));
        it->decided = wrote && ti_txn_decides(r->txn, key);
        if (wanted || it->decided)
            it->record = key;
    }
    return TI_OK;
}

/* Whether an entry of a record is one of the index that is queried. */
static bool of_index(const run *r, const ti_entry *entry)
{
    const ti_index_def *def = r->plan->def;
    return entry->version == def->version && (entry->kind == TI_ENTRY_UNIQUE) == def->unique &&
           ti_slice_equal(entry->index, def->name);
}

/* Opens what an item carries: its record, or a covering entry, which is one under the entry's key.
 */
static ti_status open_content(run *r, const item *it, ti_record *record_out, ti_err *err)
{
    ti_slice key = it->record.data != NULL ? it->record : it->key;
    ti_slice value = it->record.data != NULL ? it->content : it->value;
    ti_status status = ti_record_open(value, key, record_out, err);
    return status == TI_OK ? TI_OK : ti_err_of(r->query->model, r->query->index, status, err);
}

/* Whether the record lists the entry that led to it. */
static ti_status is_listed(run *r, const item *it, bool *listed_out, ti_err *err)
{
    ti_record record;
    ti_entry entry;
    *listed_out = false;
    TI_TRY(open_content(r, it, &record, err));
    ti_entry_iter iter = ti_record_entries(&record);
    while (!*listed_out && ti_entry_next(&iter, &entry))
        *listed_out = of_index(r, &entry) && ti_slice_equal(entry.tuple, it->tuple);
    return TI_OK;
}

/* Takes what was found under an item's record key; data NULL when nothing was. */
static ti_status take_record(run *r, item *it, ti_slice value, ti_arena *a, ti_err *err)
{
    bool listed = false;
    it->content = value;
    if (value.data == NULL && !it->decided)
        return corrupt(r, it->id, "an entry without its record", err);
    if (value.data != NULL)
        TI_TRY(ti_value_keep(r->txn, it->record, a, &it->content, err));
    if (value.data != NULL && it->decided)
        TI_TRY(is_listed(r, it, &listed, err));
    it->hidden = it->decided && !listed;
    return TI_OK;
}

static ti_status fetch_records(run *r, item *items, size_t count, ti_err *err)
{
    ti_slice *keys = ti_arena_alloc(&r->s->arena, (count + 1) * sizeof *keys);
    ti_slice *values = ti_arena_alloc(&r->s->arena, (count + 1) * sizeof *values);
    size_t n = 0;
    if (keys == NULL || values == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        if (items[i].record.data != NULL)
            keys[n++] = items[i].record;
    }
    if (n == 0)
        return TI_OK;
    ti_arena *a = r->keys_only ? &r->s->arena : &r->page->arena;
    if (r->hydration != NULL)
        TI_TRY(ti_hydration_fetch(r->hydration, r->txn, keys, n, values, r->call, err));
    else
        TI_TRY(ti_txn_batch_get(r->txn, keys, n, a, values, r->call, err));
    n = 0;
    for (size_t i = 0; i < count; i++) {
        if (items[i].record.data != NULL)
            TI_TRY(take_record(r, &items[i], values[n++], a, err));
    }
    return TI_OK;
}

/* ---- accepting ---- */

static bool in_range(const run *r, ti_slice key)
{
    return ti_slice_compare(key, r->plan->range.lo) >= 0 &&
           ti_slice_compare(key, r->plan->range.hi) < 0;
}

/* Whether another entry of the record in the query's range comes before this one. */
static ti_status met_before(run *r, const item *it, const ti_record *record, bool *met_out,
                            ti_err *err)
{
    ti_entry entry;
    ti_entry_iter iter = ti_record_entries(record);
    *met_out = false;
    while (!*met_out && ti_entry_next(&iter, &entry)) {
        if (!of_index(r, &entry))
            continue;
        int order = ti_slice_compare(entry.tuple, it->tuple);
        if (order == 0 || (order < 0) == r->query->reverse)
            continue;
        ti_slice key;
        TI_TRY(ti_entry_key(r->query->model, &entry, r->plan->stored_name, it->id, &r->s->arena,
                            &key, err));
        *met_out = in_range(r, key);
    }
    return TI_OK;
}

static ti_status grow(run *r, ti_err *err)
{
    size_t capacity = r->capacity == 0 ? 16 : r->capacity * 2;
    if (capacity > r->limit)
        capacity = r->limit;
    ti_document *items = ti_arena_alloc(&r->page->arena, capacity * sizeof *items);
    ti_slice *keys = ti_arena_alloc(&r->page->arena, capacity * sizeof *keys);
    if (items == NULL || keys == NULL)
        return ti_err_no_memory(err);
    if (r->page->count > 0) {
        memcpy(items, r->page->items, r->page->count * sizeof *items);
        memcpy(keys, r->keys, r->page->count * sizeof *keys);
    }
    r->page->items = items;
    r->keys = keys;
    r->capacity = capacity;
    return TI_OK;
}

static ti_status push(run *r, const item *it, const ti_record *record, ti_err *err)
{
    if (r->page->count == r->capacity)
        TI_TRY(grow(r, err));
    ti_document document = {.id = ti_arena_copy(&r->page->arena, it->id)};
    ti_slice key = ti_arena_copy(&r->page->arena, it->key);
    if (document.id.data == NULL || key.data == NULL)
        return ti_err_no_memory(err);
    if (record != NULL) {
        document.json = record->document;
        document.version = record->version;
    }
    r->keys[r->page->count] = key;
    r->page->items[r->page->count++] = document;
    return TI_OK;
}

/* The next batch goes on behind this item. */
static void pass(run *r, const item *it)
{
    if (r->query->reverse)
        r->left.to = it->key;
    else
        r->left.from = it->key;
}

/* Takes one entry into the page. *stop_out: the page is complete, or this entry must be read again
 * with its record. */
static ti_status accept(run *r, const item *it, bool *stop_out, ti_err *err)
{
    ti_record record;
    bool met = false;
    bool own = r->plan->def == NULL || r->plan->def->covering;
    bool full = r->page->count == r->limit;
    bool open = own ? !r->keys_only || it->several : it->record.data != NULL;
    if (it->hidden) {
        pass(r, it);
        return TI_OK;
    }
    if (!full && !r->keys_only && !open) {
        *stop_out = true; /* it was taken for one behind the page; others fell away before it */
        return TI_OK;
    }
    if (open && r->plan->def == NULL && r->keys_only)
        open = false;
    if (open)
        TI_TRY(open_content(r, it, &record, err));
    if (it->several)
        TI_TRY(met_before(r, it, &record, &met, err));
    size_t size = open && !r->keys_only ? record.document.len : 0;
    bool large = r->page->count > 0 && r->size + size > TI_PAGE_SIZE_MAX;
    if (!met && (full || large)) {
        r->more = true;
        r->done = true;
    } else if (!met) {
        r->size += size;
        TI_TRY(push(r, it, open && !r->keys_only ? &record : NULL, err));
        r->done = r->page->count == r->limit && !r->look_ahead;
    }
    *stop_out = r->done;
    if (!r->done)
        pass(r, it);
    return TI_OK;
}

/* ---- batches ---- */

static size_t batch_size(const run *r)
{
    size_t wanted = r->limit - r->page->count + 1;
    return wanted < TI_FETCH_BATCH ? wanted : TI_FETCH_BATCH;
}

/* Keeps the end that the next batch goes on from beyond the reset of the scratch. */
static ti_status keep_left(run *r, ti_arena_mark mark, ti_err *err)
{
    ti_slice *end = r->query->reverse ? &r->left.to : &r->left.from;
    ti_buf_clear(&r->s->text);
    TI_TRY(ti_buf_append_slice(&r->s->text, *end, err));
    ti_arena_reset_to(&r->s->arena, mark);
    *end = r->query->reverse ? ti_arena_copy(&r->s->arena, ti_buf_slice(&r->s->text))
                             : ti_key_after(&r->s->arena, ti_buf_slice(&r->s->text));
    return end->data == NULL ? ti_err_no_memory(err) : TI_OK;
}

/* A covering entry or a record of a scan is the document: it goes where the page lives. */
static bool scans_documents(const run *r)
{
    return !r->keys_only && (r->plan->def == NULL || r->plan->def->covering);
}

static ti_status keep_values(run *r, ti_scan_page *found, ti_err *err)
{
    for (size_t i = 0; i < found->count; i++)
        TI_TRY(ti_value_keep(r->txn, found->pairs[i].key, &r->page->arena, &found->pairs[i].value,
                             err));
    return TI_OK;
}

static ti_status batch(run *r, ti_arena_mark mark, ti_err *err)
{
    ti_scan_page found;
    bool stop = false;
    const ti_scan scan = {.range = r->left,
                          .reverse = r->query->reverse,
                          .keys_only = r->keys_only && r->plan->def == NULL,
                          .items_max = batch_size(r)};
    ti_arena *a = scans_documents(r) ? &r->page->arena : &r->s->arena;
    TI_TRY(ti_call_check(r->call, "the query", err));
    TI_TRY(ti_txn_scan(r->txn, &scan, a, &found, r->call, err));
    if (scans_documents(r))
        TI_TRY(keep_values(r, &found, err));
    if (found.count == 0) {
        ti_require(!found.more || !ti_slice_equal(r->left.from, r->left.to));
        r->done = true;
        return TI_OK;
    }
    item *items = ti_arena_alloc(&r->s->arena, found.count * sizeof *items);
    if (items == NULL)
        return ti_err_no_memory(err);
    TI_TRY(read_entries(r, &found, items, err));
    TI_TRY(fetch_records(r, items, found.count, err));
    ti_assert(items[0].record.data != NULL || r->keys_only || scans_documents(r) ||
              r->page->count == r->limit); /* so the range gets shorter with every batch */
    for (size_t i = 0; i < found.count && !stop; i++)
        TI_TRY(accept(r, &items[i], &stop, err));
    if (!stop && !found.more)
        r->done = true;
    return r->done ? TI_OK : keep_left(r, mark, err);
}

static ti_status collect(run *r, ti_err *err)
{
    ti_arena_mark mark = ti_arena_mark_of(&r->s->arena);
    while (!r->done)
        TI_TRY(batch(r, mark, err));
    return TI_OK;
}

/* ---- pages ---- */

static void begin(run *r)
{
    r->left = (ti_range){.from = r->plan->range.lo, .to = r->plan->range.hi};
    r->done = r->plan->empty || ti_slice_compare(r->plan->range.lo, r->plan->range.hi) >= 0;
}

/* Goes on behind the cursor. */
static ti_status resume(run *r, ti_err *err)
{
    begin(r);
    if (r->plan->resume.data == NULL)
        return TI_OK;
    if (r->query->reverse) {
        r->left.to = r->plan->resume;
    } else {
        r->left.from = ti_key_after(&r->s->arena, r->plan->resume);
        if (r->left.from.data == NULL)
            return ti_err_no_memory(err);
    }
    r->done = r->done || ti_slice_compare(r->left.from, r->left.to) >= 0;
    return TI_OK;
}

/* Hydrates the page; while that makes it too large, the page gets shorter. */
static ti_status hydrate(run *r, ti_err *err)
{
    for (;;) {
        ti_status status = ti_hydrate(r->hydration, r->txn, r->page->items, r->page->count,
                                      &r->page->arena, r->call, err);
        if (status != TI_LIMIT_EXCEEDED || r->page->count < 2)
            return status;
        r->page->count = (r->page->count + 1) / 2;
        r->more = true;
    }
}

static ti_status fill_page(run *r, ti_err *err)
{
    TI_TRY(resume(r, err));
    TI_TRY(collect(r, err));
    if (r->hydration != NULL)
        TI_TRY(hydrate(r, err));
    if (!r->more || r->page->count == 0)
        return TI_OK;
    return ti_query_seal(r->query, r->plan, r->keys[r->page->count - 1], &r->page->arena,
                         &r->page->cursor, err);
}

static ti_status execute_in(const ti_query *query, ti_txn *txn, size_t limit, bool look_ahead,
                            ti_page *page, const ti_call *call, ti_err *err)
{
    ti_store *store = ti_model_store(query->model);
    ti_hydration *hydration = NULL;
    ti_scratch *s = NULL;
    ti_query_plan plan;
    ti_status status;
    TI_CHECK(ti_store_take(store, &s, err));
    TI_CHECK(ti_query_plan_make(query, txn, s, &plan, call, err));
    if (!query->keys_only)
        TI_CHECK(ti_hydration_begin(query->model, query->relationships, query->relationship_count,
                                    &page->arena, &hydration, err));
    run r = {.query = query,
             .plan = &plan,
             .txn = txn,
             .s = s,
             .call = call,
             .page = page,
             .hydration = hydration,
             .limit = limit,
             .keys_only = query->keys_only,
             .look_ahead = look_ahead};
    TI_CHECK(fill_page(&r, err));
out:
    ti_hydration_end(hydration);
    ti_store_give(store, s);
    return status;
}

/* Runs in txn, or in a read-only transaction of its own. */
static ti_status execute(const ti_query *query, ti_txn *txn, size_t limit, bool look_ahead,
                         ti_page **page_out, const ti_call *call, ti_err *err)
{
    static const ti_txn_options options = {.read_only = true};
    ti_kv *kv;
    ti_txn *own = NULL;
    ti_page *page = NULL;
    ti_status status;
    *page_out = NULL;
    TI_TRY(ti_store_kv(ti_model_store(query->model), &kv, err));
    TI_CHECK(ti_page_new(&page, err));
    if (txn == NULL)
        TI_CHECK(ti_txn_begin(kv, &options, &own, err));
    TI_CHECK(execute_in(query, txn != NULL ? txn : own, limit, look_ahead, page, call, err));
    *page_out = page;
    page = NULL;
out:
    ti_txn_free(own);
    ti_page_free(page);
    return status;
}

ti_status ti_query_execute(const ti_query *query, ti_txn *txn, ti_page **page_out,
                           const ti_call *call, ti_err *err)
{
    return execute(query, txn, query->limit, true, page_out, call, err);
}

ti_status ti_query_first(const ti_query *query, ti_txn *txn, ti_arena *a, ti_document *document_out,
                         const ti_call *call, ti_err *err)
{
    ti_page *page;
    *document_out = (ti_document){0};
    TI_TRY(execute(query, txn, 1, false, &page, call, err));
    ti_status status = page->count == 0 ? TI_NOT_FOUND : TI_OK;
    if (status == TI_OK) {
        const ti_document *found = &page->items[0];
        *document_out = (ti_document){.id = ti_arena_copy(a, found->id), .version = found->version};
        if (found->json.data != NULL)
            document_out->json = ti_arena_copy(a, found->json);
        if (document_out->id.data == NULL ||
            (found->json.data != NULL && document_out->json.data == NULL))
            status = ti_err_no_memory(err);
    }
    ti_page_free(page);
    return status;
}

/* ---- counting ---- */

#define COUNT_BATCH 1024

/* Counts page by page; only the place where the next one begins is kept. */
static ti_status count_in(const ti_query *query, ti_txn *txn, ti_scratch *s, ti_page *page,
                          uint64_t *count_out, const ti_call *call, ti_err *err)
{
    ti_query_plan plan;
    ti_query plain = *query;
    plain.cursor = TI_SLICE_NONE;
    TI_TRY(ti_query_plan_make(&plain, txn, s, &plan, call, err));
    run r = {.query = &plain,
             .plan = &plan,
             .txn = txn,
             .s = s,
             .call = call,
             .page = page,
             .limit = COUNT_BATCH,
             .keys_only = true};
    begin(&r);
    while (!r.done) {
        TI_TRY(collect(&r, err));
        *count_out += page->count;
        if (page->count < COUNT_BATCH)
            break;
        plan.resume = ti_arena_copy(&s->arena, r.keys[page->count - 1]);
        if (plan.resume.data == NULL)
            return ti_err_no_memory(err);
        page->count = 0;
        r.capacity = 0;
        ti_arena_reset(&page->arena);
        TI_TRY(resume(&r, err));
    }
    return TI_OK;
}

ti_status ti_query_count(const ti_query *query, ti_txn *txn, uint64_t *count_out,
                         const ti_call *call, ti_err *err)
{
    static const ti_txn_options options = {.read_only = true};
    ti_store *store = ti_model_store(query->model);
    ti_kv *kv;
    ti_txn *own = NULL;
    ti_page *page = NULL;
    ti_scratch *s = NULL;
    ti_status status;
    *count_out = 0;
    TI_TRY(ti_store_kv(store, &kv, err));
    TI_CHECK(ti_store_take(store, &s, err));
    TI_CHECK(ti_page_new(&page, err));
    if (txn == NULL)
        TI_CHECK(ti_txn_begin(kv, &options, &own, err));
    TI_CHECK(count_in(query, txn != NULL ? txn : own, s, page, count_out, call, err));
out:
    ti_txn_free(own);
    ti_page_free(page);
    ti_store_give(store, s);
    return status;
}

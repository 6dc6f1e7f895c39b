/* Dropping indexes and tables, and the catalog in words. See maintenance.h.
 *
 *   index   readable -> write_only -> absent -> entries deleted -> out of the row
 *           (each step after the wait)
 *   table   dropping -> ranges deleted -> row deleted
 *
 * INVARIANTS
 *  1. Entries are deleted only when nobody can write them any more, the row only when they are
 *     gone: whoever is cut off in between leaves a state from which the same call goes on.
 *
 * Threads: any; two droppers of one table help each other. */
#include "base/assert.h"
#include "codec/record.h"
#include "model/steps_int.h"

/* ---- ranges ---- */

static ti_status destroy_span(ti_store *store, ti_span span, ti_slice table, ti_slice index,
                              const ti_call *call, ti_err *err)
{
    ti_arena a;
    ti_key_range range;
    ti_status status;
    ti_engine *engine = store->kv->engine;
    ti_arena_init(&a);
    TI_CHECK(ti_key_span(&store->keyspace, &a, span, table, index, &range, err));
    ti_require(ti_keyspace_owns_range(&store->keyspace, &range));
    ti_require(range.hi.len > 0);
    TI_CHECK(
        engine->vt->destroy_range(engine, (ti_range){.from = range.lo, .to = range.hi}, call, err));
out:
    ti_arena_free(&a);
    return status;
}

static ti_status destroy_index(ti_store *store, ti_slice table, const ti_schema_index *index,
                               const ti_call *call, ti_err *err)
{
    ti_span span = index->def.unique ? TI_SPAN_UNIQUE : TI_SPAN_INDEX;
    TI_TRY(destroy_span(store, span, table, index->stored_name, call, err));
    return destroy_span(store, TI_SPAN_INDEX_TODO, table, index->stored_name, call, err);
}

/* ---- indexes ---- */

/* One move of all versions that a request is about. */
typedef struct drop {
    const ti_drop_request *request;
    ti_index_state to;
    bool remove; /* out of the row; they are absent and their entries deleted */
    bool found;
} drop;

static bool concerns(const ti_drop_request *request, const ti_schema_index *index)
{
    return ti_slice_equal(index->def.name, request->index) &&
           (request->below == 0 || index->def.version < request->below) &&
           (!request->host_only || index->def.condition == TI_CONDITION_HOST);
}

static ti_status drop_edit(void *context, ti_txn *txn, ti_schema *schema, bool *changed_io,
                           const ti_call *call, ti_err *err)
{
    drop *d = context;
    (void)txn;
    (void)call;
    (void)err;
    d->found = false;
    *changed_io = false;
    for (size_t i = schema->index_count; schema->exists && i-- > 0;) {
        ti_schema_index *index = &schema->indexes[i];
        if (!concerns(d->request, index))
            continue;
        d->found = true;
        if (d->remove && index->state == TI_INDEX_ABSENT) {
            ti_schema_remove(schema, i);
            *changed_io = true;
        } else if (!d->remove && index->state != TI_INDEX_ABSENT && index->state != d->to) {
            index->state = d->to;
            index->sealed = false;
            *changed_io = true;
        }
    }
    return TI_OK;
}

/* Moves and waits until everybody has followed. */
static ti_status move(ti_store *store, ti_slice table, drop *d, ti_schema **schema_out,
                      const ti_call *call, ti_err *err)
{
    TI_TRY(ti_catalog_change(store, table, drop_edit, d, schema_out, call, err));
    ti_status status = d->found ? ti_catalog_settle(store, table, call, err) : TI_OK;
    if (status != TI_OK && schema_out != NULL) {
        ti_schema_unref(*schema_out);
        *schema_out = NULL;
    }
    return status;
}

ti_status ti_drop_versions(ti_store *store, ti_slice table, const ti_drop_request *request,
                           bool *found_out, const ti_call *call, ti_err *err)
{
    ti_schema *schema = NULL;
    drop d = {.request = request, .to = TI_INDEX_WRITE_ONLY};
    ti_status status = TI_OK;
    if (found_out != NULL)
        *found_out = false;
    TI_TRY(move(store, table, &d, NULL, call, err));
    if (found_out != NULL)
        *found_out = d.found;
    if (!d.found)
        return TI_OK;
    d.to = TI_INDEX_ABSENT;
    TI_TRY(move(store, table, &d, &schema, call, err));
    for (size_t i = 0; i < schema->index_count; i++) {
        if (concerns(request, &schema->indexes[i]))
            TI_CHECK(destroy_index(store, table, &schema->indexes[i], call, err));
    }
    d.remove = true;
    TI_CHECK(ti_catalog_change(store, table, drop_edit, &d, NULL, call, err));
out:
    ti_schema_unref(schema);
    return status;
}

static ti_status check_names(ti_slice table, ti_slice index, bool with_index, ti_err *err)
{
    TI_TRY(ti_name_check(table, "table name", err));
    return with_index ? ti_name_check(index, "index name", err) : TI_OK;
}

ti_status ti_drop_index(ti_store *store, ti_slice table, ti_slice index, const ti_call *call,
                        ti_err *err)
{
    bool found;
    const ti_drop_request request = {.index = index};
    TI_TRY(check_names(table, index, true, err));
    TI_TRY(ti_drop_versions(store, table, &request, &found, call, err));
    if (found)
        return TI_OK;
    ti_err_set(err, TI_NOT_FOUND, "table \"%.*s\" has no index \"%.*s\"", (int)table.len,
               table.data, (int)index.len, index.data);
    ti_err_where(err, table.data, table.len, index.data, index.len);
    return TI_NOT_FOUND;
}

/* ---- tables ---- */

typedef struct table_drop {
    bool found;
    bool end; /* the row goes, too */
} table_drop;

static ti_status table_edit(void *context, ti_txn *txn, ti_schema *schema, bool *changed_io,
                            const ti_call *call, ti_err *err)
{
    table_drop *d = context;
    (void)txn;
    (void)call;
    (void)err;
    d->found = schema->exists;
    *changed_io = schema->exists && (d->end ? schema->dropping : !schema->dropping);
    schema->dropping = true;
    if (d->end)
        schema->exists = false;
    return TI_OK;
}

static ti_status destroy_table(ti_store *store, ti_slice table, const ti_schema *schema,
                               const ti_call *call, ti_err *err)
{
    for (size_t i = 0; i < schema->index_count; i++)
        TI_TRY(destroy_span(store, TI_SPAN_INDEX_TODO, table, schema->indexes[i].stored_name, call,
                            err));
    TI_TRY(destroy_span(store, TI_SPAN_INDEXES, table, TI_SLICE_NONE, call, err));
    TI_TRY(destroy_span(store, TI_SPAN_UNIQUES, table, TI_SLICE_NONE, call, err));
    return destroy_span(store, TI_SPAN_RECORDS, table, TI_SLICE_NONE, call, err);
}

ti_status ti_drop_table(ti_store *store, ti_slice table, const ti_call *call, ti_err *err)
{
    ti_schema *schema = NULL;
    table_drop d = {.end = false};
    ti_status status;
    TI_TRY(check_names(table, TI_SLICE_NONE, false, err));
    TI_TRY(ti_catalog_change(store, table, table_edit, &d, &schema, call, err));
    if (!d.found) {
        status =
            ti_err_set(err, TI_NOT_FOUND, "there is no table \"%.*s\"", (int)table.len, table.data);
        ti_err_where(err, table.data, table.len, NULL, 0);
        goto out;
    }
    TI_CHECK(ti_catalog_settle(store, table, call, err));
    TI_CHECK(destroy_table(store, table, schema, call, err));
    d.end = true;
    TI_CHECK(ti_catalog_change(store, table, table_edit, &d, NULL, call, err));
out:
    ti_schema_unref(schema);
    return status;
}

/* ---- the catalog in words ---- */

static ti_status list_table(ti_slice table, ti_slice key, ti_slice value, ti_json_writer *w,
                            ti_err *err)
{
    ti_slice payload;
    ti_schema *schema;
    TI_TRY(ti_sealed_open(value, TI_SEALED_SCHEMA, key, &payload, err));
    TI_TRY(ti_schema_parse(table, payload, &schema, err));
    ti_json_write_object_begin(w);
    ti_json_write_key(w, TI_SLICE("table"));
    ti_json_write_string(w, table);
    ti_json_write_key(w, TI_SLICE("revision"));
    ti_json_write_int(w, (int64_t)schema->revision);
    ti_json_write_key(w, TI_SLICE("dropping"));
    ti_json_write_bool(w, schema->dropping);
    ti_json_write_key(w, TI_SLICE("indexes"));
    ti_json_write_array_begin(w);
    for (size_t i = 0; i < schema->index_count; i++)
        ti_schema_index_write(&schema->indexes[i], w);
    ti_json_write_array_end(w);
    ti_json_write_object_end(w);
    ti_schema_unref(schema);
    return TI_OK;
}

static ti_status list_tables(ti_store *store, ti_txn *txn, ti_arena *a, ti_json_writer *w,
                             const ti_call *call, ti_err *err)
{
    ti_key_range span;
    ti_scan_page page;
    TI_TRY(ti_key_span(&store->keyspace, a, TI_SPAN_SCHEMAS, TI_SLICE_NONE, TI_SLICE_NONE, &span,
                       err));
    ti_scan scan = {.range = {.from = span.lo, .to = span.hi}, .items_max = TI_FETCH_BATCH};
    do {
        TI_TRY(ti_txn_scan(txn, &scan, a, &page, call, err));
        for (size_t i = 0; i < page.count; i++) {
            ti_key_parts parts;
            if (ti_key_parse(&store->keyspace, page.pairs[i].key, &parts) &&
                parts.kind == TI_KEY_SCHEMA)
                TI_TRY(list_table(parts.name, page.pairs[i].key, page.pairs[i].value, w, err));
        }
        if (page.count > 0)
            scan.range.from = ti_key_after(a, page.pairs[page.count - 1].key);
        if (scan.range.from.data == NULL)
            return ti_err_no_memory(err);
    } while (page.more && page.count > 0);
    return TI_OK;
}

ti_status ti_catalog_list(ti_store *store, ti_buf *out, const ti_call *call, ti_err *err)
{
    static const ti_txn_options options = {.read_only = true};
    ti_kv *kv;
    ti_arena a;
    ti_json_writer w;
    ti_txn *txn = NULL;
    ti_status status;
    TI_TRY(ti_store_kv(store, &kv, err));
    ti_arena_init(&a);
    ti_json_writer_init(&w, out, err);
    TI_CHECK(ti_txn_begin(kv, &options, &txn, err));
    ti_json_write_array_begin(&w);
    TI_CHECK(list_tables(store, txn, &a, &w, call, err));
    ti_json_write_array_end(&w);
    TI_CHECK(ti_json_writer_end(&w));
out:
    ti_txn_free(txn);
    ti_arena_free(&a);
    return status;
}

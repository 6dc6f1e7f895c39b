/* How a query is executed, as JSON without values. See query.h. */
#include "base/assert.h"
#include "model/catalog.h"
#include "query/query_int.h"

static void member(ti_json_writer *w, const char *key, ti_slice text)
{
    ti_json_write_key(w, ti_slice_of(key));
    ti_json_write_string(w, text);
}

static void flag(ti_json_writer *w, const char *key, bool on)
{
    ti_json_write_key(w, ti_slice_of(key));
    ti_json_write_bool(w, on);
}

static void bound(ti_json_writer *w, ti_slice json, const char *name)
{
    if (json.data != NULL)
        ti_json_write_string(w, ti_slice_of(name));
}

static void write_range(const ti_query *query, const ti_index_def *def, ti_json_writer *w)
{
    if (query->lower.data == NULL && query->upper.data == NULL && query->starts_with.data == NULL)
        return;
    ti_assert(query->value_count < def->field_count);
    ti_json_write_key(w, TI_SLICE("range"));
    ti_json_write_object_begin(w);
    member(w, "field", def->fields[query->value_count].path);
    ti_json_write_key(w, TI_SLICE("bounds"));
    ti_json_write_array_begin(w);
    bound(w, query->lower, query->lower_excluded ? "gt" : "gte");
    bound(w, query->upper, query->upper_excluded ? "lt" : "lte");
    bound(w, query->starts_with, "starts_with");
    ti_json_write_array_end(w);
    ti_json_write_object_end(w);
}

static void write_index(const ti_query *query, const ti_query_plan *plan, ti_json_writer *w)
{
    const ti_index_def *def = plan->def;
    member(w, "index", def->name);
    ti_json_write_key(w, TI_SLICE("version"));
    ti_json_write_int(w, def->version);
    flag(w, "unique", def->unique);
    flag(w, "covering", def->covering);
    member(w, "state", plan->empty ? TI_SLICE("absent") : TI_SLICE("readable"));
    ti_json_write_key(w, TI_SLICE("equal"));
    ti_json_write_array_begin(w);
    for (size_t i = 0; i < query->value_count; i++)
        ti_json_write_string(w, def->fields[i].path);
    ti_json_write_array_end(w);
    write_range(query, def, w);
}

/* What is read besides the entries of the range. */
static const char *reads(const ti_query *query, const ti_query_plan *plan)
{
    if (plan->def == NULL)
        return "records of the range";
    if (plan->def->covering)
        return "entries";
    if (query->keys_only && plan->pinned)
        return "entries";
    if (query->keys_only && !plan->def->unique)
        return "entries, and records that have several";
    return "entries and their records";
}

static ti_status write_plan(const ti_query *query, const ti_query_plan *plan, ti_buf *out,
                            ti_err *err)
{
    ti_json_writer w;
    ti_json_writer_init(&w, out, err);
    ti_json_write_object_begin(&w);
    member(&w, "table", ti_model_table(query->model));
    if (plan->def != NULL)
        write_index(query, plan, &w);
    else
        flag(&w, "scan", true);
    member(&w, "direction", query->reverse ? TI_SLICE("reverse") : TI_SLICE("forward"));
    ti_json_write_key(&w, TI_SLICE("limit"));
    ti_json_write_int(&w, (int64_t)query->limit);
    flag(&w, "cursor", query->cursor.len > 0);
    flag(&w, "keys_only", query->keys_only);
    member(&w, "reads", ti_slice_of(reads(query, plan)));
    flag(&w, "deduplicates", !plan->pinned);
    ti_json_write_key(&w, TI_SLICE("relationships"));
    ti_json_write_array_begin(&w);
    for (size_t i = 0; i < query->relationship_count; i++)
        ti_json_write_string(&w, query->relationships[i]);
    ti_json_write_array_end(&w);
    ti_json_write_object_end(&w);
    return ti_json_writer_end(&w);
}

ti_status ti_query_explain(const ti_query *query, ti_txn *txn, ti_buf *out, const ti_call *call,
                           ti_err *err)
{
    static const ti_txn_options options = {.read_only = true};
    ti_store *store = ti_model_store(query->model);
    ti_kv *kv;
    ti_txn *own = NULL;
    ti_scratch *s = NULL;
    ti_query_plan plan;
    ti_status status;
    TI_TRY(ti_store_kv(store, &kv, err));
    TI_CHECK(ti_store_take(store, &s, err));
    if (txn == NULL)
        TI_CHECK(ti_txn_begin(kv, &options, &own, err));
    TI_CHECK(ti_query_plan_make(query, txn != NULL ? txn : own, s, &plan, call, err));
    TI_CHECK(write_plan(query, &plan, out, err));
out:
    ti_txn_free(own);
    ti_store_give(store, s);
    return status;
}

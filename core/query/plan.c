/* From a query to a range of keys.
 *
 *   values v1 v2, bound gt x     index:{table}:{index}: tuple(v1, v2) (x …
 *                                one contiguous range, both ends known
 *
 * INVARIANTS
 *  1. Every value is of its field's type, or null (equality only).
 *  2. A cursor moves one end of the range inward; it can not move it out.
 *
 * Threads: one per transaction. */
#include <stdio.h>

#include "base/assert.h"
#include "codec/cursor.h"
#include "model/catalog.h"
#include "query/query_int.h"

/* ---- values ---- */

static ti_status refuse(const ti_query *query, const char *what, ti_err *err)
{
    ti_slice table = ti_model_table(query->model);
    ti_err_set(err, TI_INVALID_ARGUMENT, "query by index \"%.*s\" of table \"%.*s\": %s",
               (int)query->index.len, query->index.data, (int)table.len, table.data, what);
    return ti_err_of(query->model, query->index, TI_INVALID_ARGUMENT, err);
}

static ti_status wrong_type(const ti_query *query, const ti_index_field *field, const char *found,
                            ti_err *err)
{
    char what[TI_PATH_SIZE_MAX + 96];
    snprintf(what, sizeof what, "the value of field \"%.*s\" must be a %s, not %s",
             (int)field->path.len, field->path.data, ti_field_type_name(field->type), found);
    return refuse(query, what, err);
}

/* A JSON scalar as a value of the field. */
static ti_status read_value(const ti_query *query, const ti_index_field *field, ti_slice json,
                            ti_scratch *s, ti_value *value_out, ti_err *err)
{
    ti_json_doc doc;
    ti_slice text;
    if (json.len == 0)
        return wrong_type(query, field, "missing", err);
    TI_TRY(ti_json_parse(&s->parser, &s->arena, json, &doc, err));
    ti_json_value root = ti_json_root(&doc);
    ti_json_type type = ti_json_type_of(root);
    bool fits = true;
    switch (type) {
    case TI_JSON_NULL:
        *value_out = ti_value_null();
        break;
    case TI_JSON_BOOL:
        *value_out = ti_value_bool(ti_json_bool(root));
        fits = field->type == TI_FIELD_BOOLEAN;
        break;
    case TI_JSON_INT:
        *value_out = ti_value_int(ti_json_int(root));
        fits = field->type == TI_FIELD_NUMBER;
        break;
    case TI_JSON_DOUBLE:
        *value_out = ti_value_double(ti_json_double(root));
        fits = field->type == TI_FIELD_NUMBER;
        break;
    case TI_JSON_STRING:
        TI_TRY(ti_json_string(root, &s->arena, &text, err));
        *value_out = ti_value_string(text);
        fits = field->type == TI_FIELD_STRING;
        break;
    default:
        fits = false;
        break;
    }
    return fits ? TI_OK : wrong_type(query, field, ti_json_type_name(type), err);
}

/* ---- the range ---- */

static bool has_bound(const ti_query *query)
{
    return query->lower.data != NULL || query->upper.data != NULL ||
           query->starts_with.data != NULL;
}

/* The prefix of all keys in range: that of the index, and the values' tuple. */
static ti_status equal_prefix(const ti_query *query, ti_query_plan *plan, ti_scratch *s,
                              ti_slice *prefix_out, ti_err *err)
{
    const ti_index_def *def = plan->def;
    if (query->value_count + (has_bound(query) ? 1 : 0) > def->field_count)
        return refuse(query, "more values and bounds than the index has fields", err);
    ti_buf_clear(&s->tuples);
    TI_TRY(ti_buf_append_slice(&s->tuples, plan->prefix, err));
    for (size_t i = 0; i < query->value_count; i++) {
        ti_value value;
        TI_TRY(read_value(query, &def->fields[i], query->values[i], s, &value, err));
        TI_TRY(ti_tuple_append(&s->tuples, &value, def->descending[i], err));
    }
    plan->pinned = query->value_count == def->field_count;
    if (s->tuples.len > TI_KEY_SIZE_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED,
                          "the values of a query are longer than a key may be");
    *prefix_out = ti_arena_copy(&s->arena, ti_buf_slice(&s->tuples));
    return prefix_out->data == NULL ? ti_err_no_memory(err) : TI_OK;
}

static ti_status bounded_range(const ti_query *query, ti_query_plan *plan, ti_slice prefix,
                               ti_scratch *s, ti_err *err)
{
    ti_value lower;
    ti_value upper;
    ti_value start;
    const ti_index_field *field = &plan->def->fields[query->value_count];
    ti_tuple_bounds bounds = {.lower_excluded = query->lower_excluded,
                              .upper_excluded = query->upper_excluded,
                              .descending = field->descending};
    if (query->starts_with.data != NULL) {
        TI_TRY(read_value(query, field, query->starts_with, s, &start, err));
        if (start.type != TI_VALUE_STRING)
            return wrong_type(query, field, "what starts_with was given", err);
        bounds.starts_with = &start.string;
    }
    if (query->lower.data != NULL) {
        TI_TRY(read_value(query, field, query->lower, s, &lower, err));
        bounds.lower = &lower;
    }
    if (query->upper.data != NULL) {
        TI_TRY(read_value(query, field, query->upper, s, &upper, err));
        bounds.upper = &upper;
    }
    if ((bounds.lower != NULL && lower.type == TI_VALUE_NULL) ||
        (bounds.upper != NULL && upper.type == TI_VALUE_NULL))
        return wrong_type(query, field, "null", err);
    return ti_tuple_range(&s->arena, prefix, &bounds, &plan->range, err);
}

static ti_status index_range(const ti_query *query, ti_query_plan *plan, ti_scratch *s, ti_err *err)
{
    const ti_keyspace *ks = ti_store_keyspace(ti_model_store(query->model));
    ti_slice table = ti_model_table(query->model);
    ti_slice prefix;
    plan->prefix = plan->def->unique ? ti_key_unique_prefix(ks, &s->arena, table, plan->stored_name)
                                     : ti_key_index_prefix(ks, &s->arena, table, plan->stored_name);
    if (plan->prefix.data == NULL)
        return ti_err_no_memory(err);
    TI_TRY(equal_prefix(query, plan, s, &prefix, err));
    if (has_bound(query))
        return bounded_range(query, plan, prefix, s, err);
    return ti_prefix_range(&s->arena, prefix, &plan->range, err);
}

static ti_status table_range(const ti_query *query, ti_query_plan *plan, ti_scratch *s, ti_err *err)
{
    if (query->value_count > 0 || has_bound(query))
        return refuse(query, "a scan takes no values and no bounds", err);
    const ti_keyspace *ks = ti_store_keyspace(ti_model_store(query->model));
    plan->pinned = true;
    TI_TRY(ti_key_span(ks, &s->arena, TI_SPAN_RECORDS, ti_model_table(query->model), TI_SLICE_NONE,
                       &plan->range, err));
    plan->prefix = plan->range.lo;
    return TI_OK;
}

/* ---- cursors ---- */

static ti_cursor_scope scope_of(const ti_query *query, const ti_query_plan *plan)
{
    return (ti_cursor_scope){.name_space =
                                 ti_keyspace_name(ti_store_keyspace(ti_model_store(query->model))),
                             .table = ti_model_table(query->model),
                             .index = query->index,
                             .index_version = plan->def != NULL ? plan->def->version : 0,
                             .reverse = query->reverse,
                             .lo = plan->range.lo,
                             .hi = plan->range.hi,
                             .extra = TI_SLICE_NONE};
}

static ti_slice secret_of(const ti_query *query)
{
    return (ti_slice){.data = (const char *)ti_store_secret(ti_model_store(query->model)),
                      .len = TI_CURSOR_SECRET_SIZE};
}

ti_status ti_query_seal(const ti_query *query, const ti_query_plan *plan, ti_slice key, ti_arena *a,
                        ti_slice *token_out, ti_err *err)
{
    ti_cursor_scope scope = scope_of(query, plan);
    return ti_cursor_seal(a, secret_of(query), &scope, key, token_out, err);
}

static ti_status open_cursor(const ti_query *query, ti_query_plan *plan, ti_scratch *s, ti_err *err)
{
    ti_cursor_scope scope = scope_of(query, plan);
    ti_status status =
        ti_cursor_open(&s->arena, secret_of(query), &scope, query->cursor, &plan->resume, err);
    if (status != TI_OK)
        return ti_err_of(query->model, query->index, status, err);
    bool inside = ti_slice_compare(plan->resume, plan->range.lo) >= 0 &&
                  (plan->range.hi.len == 0 || ti_slice_compare(plan->resume, plan->range.hi) < 0);
    return inside ? TI_OK : refuse(query, "the cursor points out of it", err);
}

/* ---- the plan ---- */

static ti_status choose_index(const ti_query *query, ti_txn *txn, ti_query_plan *plan,
                              const ti_call *call, ti_err *err)
{
    const ti_schema *schema;
    const ti_schema_index *index;
    ti_ts s;
    ti_slice table = ti_model_table(query->model);
    TI_TRY(ti_catalog_for_read(ti_model_store(query->model), table, txn, &schema, call, err));
    TI_TRY(ti_txn_start_ts(txn, &s, call, err));
    ti_status status =
        ti_model_readable(query->model, txn, query->index, schema, s, &index, call, err);
    plan->empty = status == TI_NOT_FOUND;
    if (plan->empty) {
        plan->def = ti_model_index(query->model, query->index);
        plan->stored_name = query->index;
        return TI_OK;
    }
    TI_TRY(status);
    plan->def = &index->def;
    plan->stored_name = index->stored_name;
    return TI_OK;
}

ti_status ti_query_plan_make(const ti_query *query, ti_txn *txn, ti_scratch *s,
                             ti_query_plan *plan_out, const ti_call *call, ti_err *err)
{
    *plan_out = (ti_query_plan){0};
    if (query->index.len > 0) {
        TI_TRY(choose_index(query, txn, plan_out, call, err));
        TI_TRY(index_range(query, plan_out, s, err));
    } else {
        TI_TRY(table_range(query, plan_out, s, err));
    }
    ti_assert(plan_out->range.hi.len > 0);
    if (query->cursor.len > 0)
        TI_TRY(open_cursor(query, plan_out, s, err));
    return TI_OK;
}

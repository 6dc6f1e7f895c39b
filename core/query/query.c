/* The builder of queries: copies what it is told, checks what needs no catalog. See query.h. */
#include <string.h>

#include "base/assert.h"
#include "query/query_int.h"

/* ---- life ---- */

static ti_status new_query(ti_model *model, ti_slice index, ti_query **query_out, ti_err *err)
{
    *query_out = NULL;
    ti_query *query = ti_alloc_zero(sizeof *query);
    if (query == NULL)
        return ti_err_no_memory(err);
    ti_arena_init(&query->arena);
    query->model = ti_model_ref(model);
    query->limit = TI_PAGE_ITEMS_DEFAULT;
    query->index = ti_arena_copy(&query->arena, index);
    if (query->index.data == NULL) {
        ti_query_free(query);
        return ti_err_no_memory(err);
    }
    *query_out = query;
    return TI_OK;
}

ti_status ti_query_new(ti_model *model, ti_slice index, ti_query **query_out, ti_err *err)
{
    *query_out = NULL;
    if (ti_model_index(model, index) == NULL) {
        ti_slice table = ti_model_table(model);
        ti_err_set(err, TI_INVALID_ARGUMENT, "table \"%.*s\" declares no index \"%.*s\"",
                   (int)table.len, table.data,
                   (int)(index.len > TI_NAME_SIZE_MAX ? TI_NAME_SIZE_MAX : index.len), index.data);
        return ti_err_of(model, TI_SLICE_NONE, TI_INVALID_ARGUMENT, err);
    }
    return new_query(model, index, query_out, err);
}

ti_status ti_query_scan(ti_model *model, ti_query **query_out, ti_err *err)
{
    return new_query(model, TI_SLICE(""), query_out, err);
}

void ti_query_free(ti_query *query)
{
    if (query == NULL)
        return;
    ti_model_unref(query->model);
    ti_arena_free(&query->arena);
    ti_free(query);
}

ti_model *ti_query_model(const ti_query *query)
{
    return query->model;
}

/* A copy of bytes in the query's arena; absent stays absent. */
static ti_status keep(ti_query *query, ti_slice bytes, ti_slice *out, ti_err *err)
{
    *out = TI_SLICE_NONE;
    if (bytes.data == NULL)
        return TI_OK;
    *out = ti_arena_copy(&query->arena, bytes);
    return out->data == NULL ? ti_err_no_memory(err) : TI_OK;
}

static ti_status copy_parts(const ti_query *from, ti_query *to, ti_err *err)
{
    for (size_t i = 0; i < from->value_count; i++)
        TI_TRY(keep(to, from->values[i], &to->values[i], err));
    for (size_t i = 0; i < from->relationship_count; i++)
        TI_TRY(keep(to, from->relationships[i], &to->relationships[i], err));
    TI_TRY(keep(to, from->lower, &to->lower, err));
    TI_TRY(keep(to, from->upper, &to->upper, err));
    TI_TRY(keep(to, from->starts_with, &to->starts_with, err));
    TI_TRY(keep(to, from->cursor, &to->cursor, err));
    to->value_count = from->value_count;
    to->relationship_count = from->relationship_count;
    to->lower_excluded = from->lower_excluded;
    to->upper_excluded = from->upper_excluded;
    to->limit = from->limit;
    to->reverse = from->reverse;
    to->keys_only = from->keys_only;
    return TI_OK;
}

ti_status ti_query_copy(const ti_query *query, ti_query **query_out, ti_err *err)
{
    TI_TRY(new_query(query->model, query->index, query_out, err));
    ti_status status = copy_parts(query, *query_out, err);
    if (status != TI_OK) {
        ti_query_free(*query_out);
        *query_out = NULL;
    }
    return status;
}

/* ---- what is asked for ---- */

ti_status ti_query_value(ti_query *query, ti_slice json, ti_err *err)
{
    if (query->value_count == TI_INDEX_FIELDS_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "a query takes at most %d values",
                          TI_INDEX_FIELDS_MAX);
    TI_TRY(keep(query, json, &query->values[query->value_count], err));
    query->value_count++;
    return TI_OK;
}

ti_status ti_query_bound(ti_query *query, ti_bound bound, ti_slice json, ti_err *err)
{
    static const ti_slice missing = {.data = "", .len = 0};
    bool lower = bound == TI_BOUND_GT || bound == TI_BOUND_GTE;
    bool upper = bound == TI_BOUND_LT || bound == TI_BOUND_LTE;
    if (!lower && !upper && bound != TI_BOUND_STARTS_WITH)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "unknown bound %d", (int)bound);
    if (query->starts_with.data != NULL || (lower && query->lower.data != NULL) ||
        (upper && query->upper.data != NULL) ||
        (bound == TI_BOUND_STARTS_WITH && (query->lower.data != NULL || query->upper.data != NULL)))
        return ti_err_set(
            err, TI_INVALID_ARGUMENT,
            "a query takes one lower and one upper bound, or one starts_with, and no more");
    if (json.data == NULL)
        json = missing;
    if (bound == TI_BOUND_STARTS_WITH)
        return keep(query, json, &query->starts_with, err);
    if (lower)
        query->lower_excluded = bound == TI_BOUND_GT;
    else
        query->upper_excluded = bound == TI_BOUND_LT;
    return keep(query, json, lower ? &query->lower : &query->upper, err);
}

ti_status ti_query_between(ti_query *query, ti_slice low, ti_slice high, ti_err *err)
{
    TI_TRY(ti_query_bound(query, TI_BOUND_GTE, low, err));
    return ti_query_bound(query, TI_BOUND_LTE, high, err);
}

ti_status ti_query_limit(ti_query *query, int64_t limit, ti_err *err)
{
    if (limit < 1 || limit > TI_PAGE_ITEMS_MAX)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "limit must be from 1 to %d, not %lld",
                          TI_PAGE_ITEMS_MAX, (long long)limit);
    query->limit = (size_t)limit;
    return TI_OK;
}

ti_status ti_query_cursor(ti_query *query, ti_slice token, ti_err *err)
{
    if (token.len > TI_CURSOR_SIZE_MAX)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "this is no cursor of this query");
    return keep(query, token.len > 0 ? token : TI_SLICE_NONE, &query->cursor, err);
}

ti_status ti_query_relationship(ti_query *query, ti_slice path, ti_err *err)
{
    if (query->relationship_count == TI_QUERY_RELATIONSHIPS_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "a query takes at most %d relationships",
                          TI_QUERY_RELATIONSHIPS_MAX);
    if (path.len == 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "a relationship has a name");
    TI_TRY(keep(query, path, &query->relationships[query->relationship_count], err));
    query->relationship_count++;
    return TI_OK;
}

void ti_query_reverse(ti_query *query, bool on)
{
    query->reverse = on;
}

void ti_query_keys_only(ti_query *query, bool on)
{
    query->keys_only = on;
}

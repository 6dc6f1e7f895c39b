/* The index entries that a document has.
 *
 *   document  {"a": 1, "items": [{"sku": "x", "n": 2}, {"sku": "y"}]}
 *   fields    a, items.sku, items.n
 *   tuples    (1, "x", 2)  (1, "y", null)
 *
 * INVARIANTS
 *  1. At most one array takes part in an index; fields under it go element by element. An empty
 *     array is missing.
 *  2. Missing and null are the same. sparse: no tuple with a null; unique: never one.
 *  3. The entries are a set, in the order of a record's list.
 *
 * Threads: pure, on what the caller owns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "model/model_int.h"

/* Where a field's value comes from: fixed, or (fans) from each element of the index's array. */
typedef struct source {
    ti_json_value fixed;
    ti_slice rest; /* path within an element */
    bool fans;
} source;

typedef struct extraction {
    const ti_model *model;
    const ti_plan_index *index;
    ti_arena *a;
    ti_buf *tuple;
    source sources[TI_INDEX_FIELDS_MAX];
    ti_json_value array; /* absent: nothing fans out */
    ti_entry *entries;   /* of all indexes so far */
    size_t count;
    size_t capacity;
} extraction;

/* ---- order ---- */

int ti_entry_compare(const ti_entry *left, const ti_entry *right)
{
    if (left->kind != right->kind)
        return left->kind < right->kind ? -1 : 1;
    int order = ti_slice_compare(left->index, right->index);
    if (order != 0)
        return order;
    if (left->version != right->version)
        return left->version < right->version ? -1 : 1;
    return ti_slice_compare(left->tuple, right->tuple);
}

static int compare_entries(const void *left, const void *right)
{
    return ti_entry_compare(left, right);
}

/* Sorts, and drops what is there twice. Returns the new count. */
static size_t make_set(ti_entry *entries, size_t count)
{
    if (count < 2)
        return count;
    qsort(entries, count, sizeof *entries, compare_entries);
    size_t kept = 1;
    for (size_t i = 1; i < count; i++) {
        if (ti_entry_compare(&entries[i], &entries[kept - 1]) != 0)
            entries[kept++] = entries[i];
    }
    return kept;
}

/* ---- values ---- */

static ti_status refuse(const extraction *x, const ti_index_field *field, const char *problem,
                        ti_err *err)
{
    const ti_index_def *def = &x->index->stored->def;
    ti_err_set(err, TI_INVALID_ARGUMENT, "field \"%.*s\" of index \"%.*s\" of table \"%.*s\" %s",
               (int)field->path.len, field->path.data, (int)def->name.len, def->name.data,
               (int)x->model->table.len, x->model->table.data, problem);
    return ti_err_of(x->model, def->name, TI_INVALID_ARGUMENT, err);
}

static ti_status wrong_type(const extraction *x, const ti_index_field *field, ti_json_type type,
                            ti_err *err)
{
    char problem[64];
    snprintf(problem, sizeof problem, "must be a %s, not %s", ti_field_type_name(field->type),
             ti_json_type_name(type));
    return refuse(x, field, problem, err);
}

/* A document's value as the field's; nothing (null) when it is absent. */
static ti_status field_value(const extraction *x, const ti_index_field *field, ti_json_value json,
                             ti_value *value_out, ti_err *err)
{
    *value_out = ti_value_null();
    if (!ti_json_is_present(json))
        return TI_OK;
    ti_json_type type = ti_json_type_of(json);
    ti_slice text;
    switch (type) {
    case TI_JSON_NULL:
        return TI_OK;
    case TI_JSON_BOOL:
        *value_out = ti_value_bool(ti_json_bool(json));
        return field->type == TI_FIELD_BOOLEAN ? TI_OK : wrong_type(x, field, type, err);
    case TI_JSON_INT:
        *value_out = ti_value_int(ti_json_int(json));
        return field->type == TI_FIELD_NUMBER ? TI_OK : wrong_type(x, field, type, err);
    case TI_JSON_DOUBLE:
        *value_out = ti_value_double(ti_json_double(json));
        return field->type == TI_FIELD_NUMBER ? TI_OK : wrong_type(x, field, type, err);
    case TI_JSON_STRING:
        if (field->type != TI_FIELD_STRING)
            return wrong_type(x, field, type, err);
        TI_TRY(ti_json_string(json, x->a, &text, err));
        *value_out = ti_value_string(text);
        return TI_OK;
    case TI_JSON_BIG:
        return field->type != TI_FIELD_NUMBER
                   ? wrong_type(x, field, type, err)
                   : refuse(x, field,
                            "is an integer outside the range of 64 bits, which can not be indexed",
                            err);
    default:
        return wrong_type(x, field, type, err);
    }
}

/* ---- where values come from ---- */

/* Walks a path down; stops at the first array: *rest_out is then what is left of the path. */
static ti_json_value walk(ti_json_value value, ti_slice path, ti_slice *rest_out)
{
    ti_slice step;
    while (ti_json_is_present(value) && ti_json_type_of(value) != TI_JSON_ARRAY &&
           ti_json_path_step(&path, &step))
        value = ti_json_get(value, step);
    *rest_out = path;
    return value;
}

static ti_status find_source(extraction *x, ti_json_value root, size_t i, ti_err *err)
{
    const ti_index_field *field = &x->index->stored->def.fields[i];
    source *s = &x->sources[i];
    ti_slice rest;
    ti_json_value found = walk(root, field->path, &rest);
    *s = (source){.fixed = found};
    if (!ti_json_is_present(found) || ti_json_type_of(found) != TI_JSON_ARRAY)
        return TI_OK;
    s->fixed = TI_JSON_ABSENT;
    if (ti_json_count(found) == 0)
        return TI_OK;
    if (ti_json_is_present(x->array) && x->array.node != found.node)
        return refuse(x, field, "is in a second array: an index can fan out over one", err);
    x->array = found;
    s->fans = true;
    s->rest = rest;
    return TI_OK;
}

static ti_status value_in(const extraction *x, ti_json_value element, size_t i, ti_value *value_out,
                          ti_err *err)
{
    const ti_index_field *field = &x->index->stored->def.fields[i];
    const source *s = &x->sources[i];
    if (!s->fans)
        return field_value(x, field, s->fixed, value_out, err);
    ti_slice rest;
    ti_json_value value = walk(element, s->rest, &rest);
    if (ti_json_is_present(value) && ti_json_type_of(value) == TI_JSON_ARRAY)
        return refuse(x, field, "is an array within an array, which can not be indexed", err);
    return field_value(x, field, value, value_out, err);
}

/* ---- entries ---- */

static ti_status too_many(const extraction *x, ti_err *err)
{
    const ti_index_def *def = &x->index->stored->def;
    ti_err_set(err, TI_LIMIT_EXCEEDED,
               "a record of table \"%.*s\" may have %d index entries; index \"%.*s\" adds more",
               (int)x->model->table.len, x->model->table.data, TI_RECORD_ENTRIES_MAX,
               (int)def->name.len, def->name.data);
    return ti_err_of(x->model, def->name, TI_LIMIT_EXCEEDED, err);
}

static ti_status add_entry(extraction *x, ti_err *err)
{
    const ti_index_def *def = &x->index->stored->def;
    if (x->count == x->capacity) {
        size_t capacity = x->capacity == 0 ? 8 : x->capacity * 2;
        ti_entry *grown = ti_arena_alloc(x->a, capacity * sizeof *grown);
        if (grown == NULL)
            return ti_err_no_memory(err);
        if (x->count > 0)
            memcpy(grown, x->entries, x->count * sizeof *grown);
        x->entries = grown;
        x->capacity = capacity;
    }
    ti_slice tuple = ti_arena_copy(x->a, ti_buf_slice(x->tuple));
    if (tuple.data == NULL)
        return ti_err_no_memory(err);
    x->entries[x->count++] = (ti_entry){.kind = def->unique ? TI_ENTRY_UNIQUE : TI_ENTRY_PLAIN,
                                        .version = def->version,
                                        .index = def->name,
                                        .tuple = tuple};
    return TI_OK;
}

/* Encodes the tuple of one element (absent: of the document) and adds it unless a null keeps it
 * out. */
static ti_status extract_tuple(extraction *x, ti_json_value element, ti_err *err)
{
    const ti_index_def *def = &x->index->stored->def;
    bool null = false;
    ti_buf_clear(x->tuple);
    for (size_t i = 0; i < def->field_count; i++) {
        ti_value value;
        TI_TRY(value_in(x, element, i, &value, err));
        null = null || value.type == TI_VALUE_NULL;
        if (value.type == TI_VALUE_STRING && value.string.len > TI_KEY_SIZE_MAX) {
            refuse(x, &def->fields[i], "is too long for an index key", err);
            if (err != NULL)
                err->status = TI_LIMIT_EXCEEDED;
            return TI_LIMIT_EXCEEDED;
        }
        TI_TRY(ti_tuple_append(x->tuple, &value, def->descending[i], err));
    }
    if (null && (def->sparse || def->unique))
        return TI_OK;
    return add_entry(x, err);
}

static ti_status extract_index(extraction *x, ti_json_value root, ti_err *err)
{
    const ti_index_def *def = &x->index->stored->def;
    size_t first = x->count;
    x->array = TI_JSON_ABSENT;
    for (size_t i = 0; i < def->field_count; i++)
        TI_TRY(find_source(x, root, i, err));
    if (!ti_json_is_present(x->array))
        return extract_tuple(x, TI_JSON_ABSENT, err);
    ti_json_iter iter = ti_json_iterate(x->array);
    ti_json_value element;
    while (ti_json_next(&iter, &element)) {
        TI_TRY(extract_tuple(x, element, err));
        if (x->count >= 2 * TI_RECORD_ENTRIES_MAX) /* a long array may still be a small set */
            x->count = first + make_set(x->entries + first, x->count - first);
        if (x->count >= 2 * TI_RECORD_ENTRIES_MAX)
            return too_many(x, err);
    }
    x->count = first + make_set(x->entries + first, x->count - first);
    return TI_OK;
}

static bool holds(const ti_plan_index *index, ti_json_value root, uint64_t conditions)
{
    const ti_index_def *def = &index->stored->def;
    if (def->condition == TI_CONDITION_NEVER || index->todo)
        return false;
    if (index->condition_bit >= 0 && (conditions >> index->condition_bit & 1) == 0)
        return false;
    return def->where == NULL || ti_json_where_holds(def->where, root);
}

ti_status ti_extract(const ti_model *model, const ti_plan *plan, ti_json_value root,
                     uint64_t conditions, ti_arena *a, ti_buf *tuples, ti_entry_set *set_out,
                     ti_err *err)
{
    extraction x = {.model = model, .a = a, .tuple = tuples};
    *set_out = (ti_entry_set){0};
    for (size_t i = 0; i < plan->count; i++) {
        x.index = &plan->indexes[i];
        if (!holds(x.index, root, conditions))
            continue;
        TI_TRY(extract_index(&x, root, err));
        if (x.count > TI_RECORD_ENTRIES_MAX)
            return too_many(&x, err);
    }
    *set_out = (ti_entry_set){.entries = x.entries, .count = x.count};
    return TI_OK;
}

ti_status ti_entry_set_of(const ti_record *record, ti_arena *a, ti_entry_set *set_out, ti_err *err)
{
    ti_entry entry;
    size_t count = 0;
    ti_entry_iter iter = ti_record_entries(record);
    while (ti_entry_next(&iter, &entry))
        count++;
    *set_out = (ti_entry_set){0};
    if (count == 0)
        return TI_OK;
    ti_entry *entries = ti_arena_alloc(a, count * sizeof *entries);
    if (entries == NULL)
        return ti_err_no_memory(err);
    bool sorted = true;
    count = 0;
    iter = ti_record_entries(record);
    while (ti_entry_next(&iter, &entry)) {
        sorted = sorted && (count == 0 || ti_entry_compare(&entries[count - 1], &entry) < 0);
        entries[count++] = entry;
    }
    *set_out =
        (ti_entry_set){.entries = entries, .count = sorted ? count : make_set(entries, count)};
    return TI_OK;
}

size_t ti_entry_run(const ti_entry_set *set, size_t first)
{
    size_t i = first;
    while (i < set->count && set->entries[i].kind == set->entries[first].kind &&
           set->entries[i].version == set->entries[first].version &&
           ti_slice_equal(set->entries[i].index, set->entries[first].index))
        i++;
    return i - first;
}

/* See definition.h. */
#include "model/definition.h"

#include <string.h>

#include "base/assert.h"
#include "codec/keys.h"

#define INDEX_VERSION_MAX 1000000000

const char *ti_field_type_name(ti_field_type type)
{
    static const char *const names[] = {"string", "number", "boolean"};
    ti_require((size_t)type < sizeof names / sizeof names[0]);
    return names[type];
}

/* ---- reading members ---- */

ti_status ti_spec_members(ti_json_value object, const char *const *names, size_t name_count,
                          const char *what, ti_slice table, ti_err *err)
{
    if (ti_json_type_of(object) != TI_JSON_OBJECT)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "%s of table \"%.*s\" must be an object, not %s", what, (int)table.len,
                          table.data, ti_json_type_name(ti_json_type_of(object)));
    ti_json_iter iter = ti_json_iterate(object);
    ti_json_value member;
    ti_arena scratch;
    ti_arena_init(&scratch);
    ti_status status = TI_OK;
    while (ti_json_next(&iter, &member)) {
        ti_slice key;
        TI_CHECK(ti_json_key(member, &scratch, &key, err));
        bool known = false;
        for (size_t i = 0; i < name_count; i++)
            known = known || ti_slice_equal(key, ti_slice_of(names[i]));
        if (known)
            continue;
        status = ti_err_set(
            err, TI_INVALID_ARGUMENT, "unknown member \"%.*s\" of %s of table \"%.*s\"",
            (int)(key.len > 64 ? 64 : key.len), key.data, what, (int)table.len, table.data);
        goto out;
    }
out:
    ti_arena_free(&scratch);
    return status;
}

bool ti_spec_is_list(ti_json_value value)
{
    ti_json_type type = ti_json_type_of(value);
    return type == TI_JSON_ARRAY || (type == TI_JSON_OBJECT && ti_json_count(value) == 0);
}

ti_status ti_spec_bool(ti_json_value object, const char *name, ti_slice table, bool *value_io,
                       ti_err *err)
{
    ti_json_value value = ti_json_get(object, ti_slice_of(name));
    if (!ti_json_is_present(value))
        return TI_OK;
    if (ti_json_type_of(value) != TI_JSON_BOOL)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "\"%s\" of table \"%.*s\" must be true or false, not %s", name,
                          (int)table.len, table.data, ti_json_type_name(ti_json_type_of(value)));
    *value_io = ti_json_bool(value);
    return TI_OK;
}

ti_status ti_spec_string(ti_json_value object, const char *name, bool required, const char *what,
                         ti_slice table, ti_arena *a, ti_slice *out, ti_err *err)
{
    *out = TI_SLICE_NONE;
    ti_json_value value = ti_json_get(object, ti_slice_of(name));
    if (!ti_json_is_present(value) && !required)
        return TI_OK;
    if (!ti_json_is_present(value) || ti_json_type_of(value) != TI_JSON_STRING)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "%s of table \"%.*s\" needs \"%s\", a string",
                          what, (int)table.len, table.data, name);
    ti_slice text;
    TI_TRY(ti_json_string(value, a, &text, err));
    *out = ti_arena_copy(a, text);
    return out->data == NULL ? ti_err_no_memory(err) : TI_OK;
}

/* ---- fields ---- */

static ti_status parse_type(ti_slice text, const char *what, ti_slice table, ti_slice index,
                            ti_field_type *type_out, ti_err *err)
{
    for (int i = TI_FIELD_STRING; i <= TI_FIELD_BOOLEAN; i++) {
        if (ti_slice_equal(text, ti_slice_of(ti_field_type_name((ti_field_type)i)))) {
            *type_out = (ti_field_type)i;
            return TI_OK;
        }
    }
    return ti_err_set(
        err, TI_INVALID_ARGUMENT,
        "%s of index \"%.*s\" of table \"%.*s\" must have type \"string\", \"number\" or "
        "\"boolean\"",
        what, (int)index.len, index.data, (int)table.len, table.data);
}

static ti_status parse_field(ti_json_value spec, bool strict, ti_slice table, ti_slice index,
                             ti_arena *a, ti_index_field *field_out, ti_err *err)
{
    static const char *const names[] = {"name", "type", "order"};
    if (strict || ti_json_type_of(spec) != TI_JSON_OBJECT)
        TI_TRY(ti_spec_members(spec, names, 3, "a field of an index", table, err));
    TI_TRY(
        ti_spec_string(spec, "name", true, "a field of an index", table, a, &field_out->path, err));
    TI_TRY(ti_json_path_check(field_out->path, "index field", err));
    ti_slice type;
    ti_slice order;
    TI_TRY(ti_spec_string(spec, "type", true, "a field of an index", table, a, &type, err));
    TI_TRY(parse_type(type, "a field", table, index, &field_out->type, err));
    TI_TRY(ti_spec_string(spec, "order", false, "a field of an index", table, a, &order, err));
    field_out->descending = ti_slice_equal(order, TI_SLICE("desc"));
    if (order.len > 0 && !field_out->descending && !ti_slice_equal(order, TI_SLICE("asc")))
        return ti_err_set(
            err, TI_INVALID_ARGUMENT,
            "a field of index \"%.*s\" of table \"%.*s\" must have order \"asc\" or \"desc\"",
            (int)index.len, index.data, (int)table.len, table.data);
    return TI_OK;
}

static bool repeats_path(const ti_index_def *def, size_t upto)
{
    for (size_t i = 0; i < upto; i++) {
        if (ti_slice_equal(def->fields[i].path, def->fields[upto].path))
            return true;
    }
    return false;
}

static ti_status parse_fields(ti_json_value spec, bool strict, ti_slice table, ti_arena *a,
                              ti_index_def *def, ti_err *err)
{
    ti_json_value list = ti_json_get(spec, TI_SLICE("fields"));
    uint32_t count = ti_json_is_present(list) ? ti_json_count(list) : 0;
    if (count == 0 || ti_json_type_of(list) != TI_JSON_ARRAY)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "index \"%.*s\" of table \"%.*s\" needs \"fields\", a non-empty list",
                          (int)def->name.len, def->name.data, (int)table.len, table.data);
    if (count > TI_INDEX_FIELDS_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED,
                          "index \"%.*s\" of table \"%.*s\" has %u fields, at most %d",
                          (int)def->name.len, def->name.data, (int)table.len, table.data, count,
                          TI_INDEX_FIELDS_MAX);
    def->fields = ti_arena_alloc_zero(a, count * sizeof *def->fields);
    def->descending = ti_arena_alloc_zero(a, count * sizeof *def->descending);
    if (def->fields == NULL || def->descending == NULL)
        return ti_err_no_memory(err);
    ti_json_iter iter = ti_json_iterate(list);
    ti_json_value field;
    while (ti_json_next(&iter, &field)) {
        size_t i = def->field_count;
        TI_TRY(parse_field(field, strict, table, def->name, a, &def->fields[i], err));
        def->descending[i] = def->fields[i].descending;
        if (repeats_path(def, i))
            return ti_err_set(err, TI_INVALID_ARGUMENT,
                              "index \"%.*s\" of table \"%.*s\" names field \"%.*s\" twice",
                              (int)def->name.len, def->name.data, (int)table.len, table.data,
                              (int)def->fields[i].path.len, def->fields[i].path.data);
        def->field_count++;
    }
    ti_assert(def->field_count == count);
    return TI_OK;
}

/* ---- conditions ---- */

static ti_status parse_condition(ti_json_value spec, ti_slice table, ti_index_def *def, ti_err *err)
{
    ti_json_value value = ti_json_get(spec, TI_SLICE("condition"));
    def->condition = TI_CONDITION_ALWAYS;
    if (!ti_json_is_present(value))
        return TI_OK;
    ti_json_type type = ti_json_type_of(value);
    if (type == TI_JSON_BOOL) {
        def->condition = ti_json_bool(value) ? TI_CONDITION_ALWAYS : TI_CONDITION_NEVER;
        return TI_OK;
    }
    if (type == TI_JSON_STRING && ti_slice_equal(ti_json_raw(value), TI_SLICE("\"host\""))) {
        def->condition = TI_CONDITION_HOST;
        return TI_OK;
    }
    return ti_err_set(
        err, TI_INVALID_ARGUMENT,
        "\"condition\" of index \"%.*s\" of table \"%.*s\" must be true, false or a function",
        (int)def->name.len, def->name.data, (int)table.len, table.data);
}

static ti_status parse_where(ti_json_value spec, ti_arena *a, ti_index_def *def, ti_err *err)
{
    ti_json_value value = ti_json_get(spec, TI_SLICE("where"));
    if (!ti_json_is_present(value) || ti_json_type_of(value) == TI_JSON_NULL)
        return TI_OK;
    ti_json_where *where = NULL;
    TI_TRY(ti_json_where_compile(value, a, &where, err));
    def->where = where;
    def->where_json = ti_arena_copy(a, ti_json_raw(value));
    return def->where_json.data == NULL ? ti_err_no_memory(err) : TI_OK;
}

static ti_status parse_version(ti_json_value spec, ti_slice table, ti_index_def *def, ti_err *err)
{
    ti_json_value value = ti_json_get(spec, TI_SLICE("version"));
    def->version = 1;
    if (!ti_json_is_present(value))
        return TI_OK;
    int64_t version = ti_json_type_of(value) == TI_JSON_INT ? ti_json_int(value) : 0;
    if (version < 1 || version > INDEX_VERSION_MAX)
        return ti_err_set(
            err, TI_INVALID_ARGUMENT,
            "\"version\" of index \"%.*s\" of table \"%.*s\" must be an integer from 1 to %d",
            (int)def->name.len, def->name.data, (int)table.len, table.data, INDEX_VERSION_MAX);
    def->version = (uint32_t)version;
    return TI_OK;
}

ti_status ti_index_def_parse(ti_json_value spec, bool unique, bool strict, ti_slice table,
                             ti_arena *a, ti_index_def *def_out, ti_err *err)
{
    static const char *const names[] = {"name",  "version", "fields",  "condition",
                                        "where", "sparse",  "covering"};
    const char *what = unique ? "a unique index" : "an index";
    *def_out = (ti_index_def){.unique = unique};
    if (strict || ti_json_type_of(spec) != TI_JSON_OBJECT)
        TI_TRY(ti_spec_members(spec, names, sizeof names / sizeof names[0], what, table, err));
    TI_TRY(ti_spec_string(spec, "name", true, what, table, a, &def_out->name, err));
    TI_TRY(ti_name_check(def_out->name, "index name", err));
    TI_TRY(parse_version(spec, table, def_out, err));
    TI_TRY(parse_fields(spec, strict, table, a, def_out, err));
    TI_TRY(parse_condition(spec, table, def_out, err));
    TI_TRY(parse_where(spec, a, def_out, err));
    TI_TRY(ti_spec_bool(spec, "sparse", table, &def_out->sparse, err));
    TI_TRY(ti_spec_bool(spec, "covering", table, &def_out->covering, err));
    if (unique && def_out->covering)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "unique index \"%.*s\" of table \"%.*s\" can not be covering",
                          (int)def_out->name.len, def_out->name.data, (int)table.len, table.data);
    return TI_OK;
}

/* ---- writing, comparing ---- */

void ti_index_def_write(const ti_index_def *def, ti_json_writer *w)
{
    ti_json_write_key(w, TI_SLICE("name"));
    ti_json_write_string(w, def->name);
    ti_json_write_key(w, TI_SLICE("version"));
    ti_json_write_int(w, def->version);
    ti_json_write_key(w, TI_SLICE("fields"));
    ti_json_write_array_begin(w);
    for (size_t i = 0; i < def->field_count; i++) {
        ti_json_write_object_begin(w);
        ti_json_write_key(w, TI_SLICE("name"));
        ti_json_write_string(w, def->fields[i].path);
        ti_json_write_key(w, TI_SLICE("type"));
        ti_json_write_string(w, ti_slice_of(ti_field_type_name(def->fields[i].type)));
        ti_json_write_key(w, TI_SLICE("order"));
        ti_json_write_string(w, def->fields[i].descending ? TI_SLICE("desc") : TI_SLICE("asc"));
        ti_json_write_object_end(w);
    }
    ti_json_write_array_end(w);
    ti_json_write_key(w, TI_SLICE("condition"));
    if (def->condition == TI_CONDITION_HOST)
        ti_json_write_string(w, TI_SLICE("host"));
    else
        ti_json_write_bool(w, def->condition == TI_CONDITION_ALWAYS);
    if (def->where != NULL) {
        ti_json_write_key(w, TI_SLICE("where"));
        ti_json_write_raw(w, def->where_json);
    }
    ti_json_write_key(w, TI_SLICE("sparse"));
    ti_json_write_bool(w, def->sparse);
    ti_json_write_key(w, TI_SLICE("covering"));
    ti_json_write_bool(w, def->covering);
}

static bool fields_equal(const ti_index_def *left, const ti_index_def *right)
{
    if (left->field_count != right->field_count)
        return false;
    for (size_t i = 0; i < left->field_count; i++) {
        const ti_index_field *l = &left->fields[i];
        const ti_index_field *r = &right->fields[i];
        if (!ti_slice_equal(l->path, r->path) || l->type != r->type ||
            l->descending != r->descending)
            return false;
    }
    return true;
}

static ti_status wheres_equal(const ti_index_def *left, const ti_index_def *right, bool *equal_out,
                              ti_err *err)
{
    ti_json_parser parser;
    ti_arena scratch;
    ti_json_doc l;
    ti_json_doc r;
    ti_status status;
    ti_json_parser_init(&parser);
    ti_arena_init(&scratch);
    TI_CHECK(ti_json_parse(&parser, &scratch, left->where_json, &l, err));
    TI_CHECK(ti_json_parse(&parser, &scratch, right->where_json, &r, err));
    TI_CHECK(ti_json_equal(ti_json_root(&l), ti_json_root(&r), &scratch, equal_out, err));
out:
    ti_arena_free(&scratch);
    ti_json_parser_free(&parser);
    return status;
}

ti_status ti_index_def_equal(const ti_index_def *left, const ti_index_def *right, bool *equal_out,
                             ti_err *err)
{
    *equal_out = left->unique == right->unique && left->sparse == right->sparse &&
                 left->covering == right->covering && left->condition == right->condition &&
                 (left->where != NULL) == (right->where != NULL) && fields_equal(left, right);
    if (!*equal_out || left->where == NULL || ti_slice_equal(left->where_json, right->where_json))
        return TI_OK;
    return wheres_equal(left, right, equal_out, err);
}

/* A model's spec into a ti_model. See model.h for its form. */
#include <string.h>

#include "base/assert.h"
#include "model/model_int.h"

/* ---- indexes ---- */

static bool name_taken(const ti_model *model, ti_slice name)
{
    for (size_t i = 0; i < model->index_count; i++) {
        if (ti_slice_equal(model->indexes[i].name, name))
            return true;
    }
    return false;
}

/* Whether an index field lies in a destination, which is never stored. */
static bool in_destination(const ti_model *model, ti_slice path)
{
    for (size_t i = 0; i < model->relationship_count; i++) {
        ti_slice d = model->relationships[i].destination;
        if (ti_slice_has_prefix(path, d) && (path.len == d.len || path.data[d.len] == '.'))
            return true;
    }
    return false;
}

static ti_status check_index(const ti_model *model, const ti_index_def *def, ti_err *err)
{
    if (name_taken(model, def->name))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "table \"%.*s\" declares index \"%.*s\" twice",
                          (int)model->table.len, model->table.data, (int)def->name.len,
                          def->name.data);
    for (size_t i = 0; i < def->field_count; i++) {
        ti_slice path = def->fields[i].path;
        if (in_destination(model, path))
            return ti_err_set(
                err, TI_INVALID_ARGUMENT,
                "field \"%.*s\" of index \"%.*s\" of table \"%.*s\" is in the destination of a "
                "relationship, which is not stored",
                (int)path.len, path.data, (int)def->name.len, def->name.data, (int)model->table.len,
                model->table.data);
    }
    return TI_OK;
}

static ti_status parse_indexes(ti_model *model, ti_json_value list, bool unique, ti_err *err)
{
    if (!ti_json_is_present(list) || ti_json_type_of(list) == TI_JSON_NULL)
        return TI_OK;
    if (!ti_spec_is_list(list))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the indexes of table \"%.*s\" must be a list",
                          (int)model->table.len, model->table.data);
    ti_json_iter iter = ti_json_iterate(list);
    ti_json_value spec;
    while (ti_json_next(&iter, &spec)) {
        ti_index_def def;
        if (model->index_count == TI_INDEXES_MAX)
            return ti_err_set(err, TI_LIMIT_EXCEEDED,
                              "table \"%.*s\" declares more than %d indexes", (int)model->table.len,
                              model->table.data, TI_INDEXES_MAX);
        TI_TRY(ti_index_def_parse(spec, unique, true, model->table, &model->arena, &def, err));
        TI_TRY(check_index(model, &def, err));
        size_t i = model->index_count++;
        model->indexes[i] = def;
        model->condition_bits[i] = -1;
        if (def.condition == TI_CONDITION_HOST) {
            model->conditions[model->condition_count] = i;
            model->condition_bits[i] = (int)model->condition_count++;
        }
    }
    return TI_OK;
}

static ti_status alloc_indexes(ti_model *model, ti_err *err)
{
    model->indexes = ti_arena_alloc_zero(&model->arena, TI_INDEXES_MAX * sizeof *model->indexes);
    model->condition_bits =
        ti_arena_alloc_zero(&model->arena, TI_INDEXES_MAX * sizeof *model->condition_bits);
    model->conditions =
        ti_arena_alloc_zero(&model->arena, TI_INDEXES_MAX * sizeof *model->conditions);
    if (model->indexes == NULL || model->condition_bits == NULL || model->conditions == NULL)
        return ti_err_no_memory(err);
    return TI_OK;
}

/* ---- members ---- */

static const char *const member_types[] = {"any",     "string", "number", "integer",
                                           "boolean", "object", "array"};

static bool parse_member_type(ti_json_value value, ti_member_type *type_out)
{
    if (ti_json_type_of(value) != TI_JSON_STRING)
        return false;
    ti_slice raw = ti_json_raw(value);
    for (size_t i = 0; i < sizeof member_types / sizeof member_types[0]; i++) {
        size_t len = strlen(member_types[i]);
        if (raw.len == len + 2 && memcmp(raw.data + 1, member_types[i], len) == 0) {
            *type_out = (ti_member_type)i;
            return true;
        }
    }
    return false;
}

static ti_status bad_member(const ti_model *model, ti_slice path, ti_err *err)
{
    return ti_err_set(err, TI_INVALID_ARGUMENT,
                      "\"fields\" of table \"%.*s\": \"%.*s\" must have type \"string\", "
                      "\"number\", \"integer\", "
                      "\"boolean\", \"object\", \"array\" or \"any\"",
                      (int)model->table.len, model->table.data, (int)path.len, path.data);
}

static ti_status parse_default(ti_model *model, ti_json_value spec, ti_member *member, ti_err *err)
{
    ti_json_value value = ti_json_get(spec, TI_SLICE("default"));
    if (!ti_json_is_present(value))
        return TI_OK;
    if (!ti_member_accepts(member->type, value))
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "the default of field \"%.*s\" of table \"%.*s\" must be of type %s",
                          (int)member->path.len, member->path.data, (int)model->table.len,
                          model->table.data, member_types[member->type]);
    member->default_json = ti_arena_copy(&model->arena, ti_json_raw(value));
    return member->default_json.data == NULL ? ti_err_no_memory(err) : TI_OK;
}

static ti_status parse_member(ti_model *model, ti_json_value spec, ti_member *member, ti_err *err)
{
    static const char *const names[] = {"type", "required", "default"};
    ti_slice path;
    TI_TRY(ti_json_key(spec, &model->arena, &path, err));
    member->path = ti_arena_copy(&model->arena, path);
    if (member->path.data == NULL)
        return ti_err_no_memory(err);
    TI_TRY(ti_json_path_check(member->path, "field", err));
    if (ti_json_type_of(spec) != TI_JSON_OBJECT)
        return parse_member_type(spec, &member->type) ? TI_OK : bad_member(model, path, err);
    TI_TRY(ti_spec_members(spec, names, 3, "a field", model->table, err));
    ti_json_value type = ti_json_get(spec, TI_SLICE("type"));
    if (ti_json_is_present(type) && !parse_member_type(type, &member->type))
        return bad_member(model, path, err);
    TI_TRY(ti_spec_bool(spec, "required", model->table, &member->required, err));
    return parse_default(model, spec, member, err);
}

static ti_status parse_members(ti_model *model, ti_json_value object, ti_err *err)
{
    if (!ti_json_is_present(object) || ti_json_type_of(object) == TI_JSON_NULL)
        return TI_OK;
    if (ti_json_type_of(object) != TI_JSON_OBJECT &&
        (!ti_spec_is_list(object) || ti_json_count(object) > 0))
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "\"fields\" of table \"%.*s\" must be an object", (int)model->table.len,
                          model->table.data);
    size_t count = ti_json_count(object);
    model->members = ti_arena_alloc_zero(&model->arena, (count + 1) * sizeof *model->members);
    if (model->members == NULL)
        return ti_err_no_memory(err);
    ti_json_iter iter = ti_json_iterate(object);
    ti_json_value spec;
    while (ti_json_next(&iter, &spec))
        TI_TRY(parse_member(model, spec, &model->members[model->member_count++], err));
    ti_assert(model->member_count == count);
    return TI_OK;
}

/* ---- host functions ---- */

/* "host", or (path_out given) a path. */
static ti_status parse_host(ti_model *model, ti_json_value root, const char *name, bool *host_out,
                            ti_slice *path_out, ti_err *err)
{
    ti_slice text;
    *host_out = false;
    TI_TRY(ti_spec_string(root, name, false, "the model", model->table, &model->arena, &text, err));
    if (text.len == 0)
        return TI_OK;
    *host_out = ti_slice_equal(text, TI_SLICE("host"));
    if (*host_out)
        return TI_OK;
    if (path_out == NULL)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "\"%s\" of table \"%.*s\" must be a function",
                          name, (int)model->table.len, model->table.data);
    *path_out = text;
    return ti_json_path_check(text, name, err);
}

static ti_status parse_spec(ti_model *model, ti_json_value root, ti_err *err)
{
    static const char *const names[] = {"table",         "indexes",       "unique_indexes",
                                        "relationships", "fields",        "events",
                                        "timestamps",    "partition_key", "references"};
    if (ti_json_type_of(root) != TI_JSON_OBJECT)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "a model's spec must be an object, not %s",
                          ti_json_type_name(ti_json_type_of(root)));
    TI_TRY(ti_spec_string(root, "table", true, "a model", TI_SLICE("?"), &model->arena,
                          &model->table, err));
    TI_TRY(ti_name_check(model->table, "table name", err));
    TI_TRY(ti_spec_members(root, names, sizeof names / sizeof names[0], "the model", model->table,
                           err));
    TI_TRY(ti_relationships_parse(ti_json_get(root, TI_SLICE("relationships")), model->table,
                                  &model->arena, &model->relationships, &model->relationship_count,
                                  err));
    TI_TRY(alloc_indexes(model, err));
    TI_TRY(parse_indexes(model, ti_json_get(root, TI_SLICE("indexes")), false, err));
    TI_TRY(parse_indexes(model, ti_json_get(root, TI_SLICE("unique_indexes")), true, err));
    TI_TRY(parse_members(model, ti_json_get(root, TI_SLICE("fields")), err));
    TI_TRY(ti_spec_bool(root, "timestamps", model->table, &model->timestamps, err));
    TI_TRY(parse_host(model, root, "events", &model->events, NULL, err));
    TI_TRY(parse_host(model, root, "partition_key", &model->partition_key_host,
                      &model->partition_key_path, err));
    return parse_host(model, root, "references", &model->references_host, &model->references_path,
                      err);
}

/* ---- life ---- */

static ti_status read_spec(ti_model *model, ti_slice spec, ti_err *err)
{
    ti_json_parser parser;
    ti_arena scratch;
    ti_json_doc doc;
    ti_status status;
    ti_json_parser_init(&parser);
    ti_arena_init(&scratch);
    TI_CHECK(ti_json_parse(&parser, &scratch, spec, &doc, err));
    TI_CHECK(parse_spec(model, ti_json_root(&doc), err));
out:
    ti_arena_free(&scratch);
    ti_json_parser_free(&parser);
    return status;
}

ti_status ti_model_declare(ti_store *store, uint64_t scope, ti_slice spec, ti_model **model_out,
                           ti_err *err)
{
    *model_out = NULL;
    ti_model *model = ti_alloc_zero(sizeof *model);
    if (model == NULL)
        return ti_err_no_memory(err);
    ti_status status = ti_mutex_init(&model->mutex, TI_RANK_LEAF, err);
    if (status != TI_OK) {
        ti_free(model);
        return status;
    }
    atomic_store(&model->refs, 1);
    model->store = ti_store_ref(store);
    model->scope = scope;
    ti_arena_init(&model->arena);
    status = read_spec(model, spec, err);
    if (status != TI_OK) {
        ti_model_unref(model);
        return status;
    }
    ti_store_register(store, model);
    *model_out = model;
    return TI_OK;
}

ti_model *ti_model_ref(ti_model *model)
{
    atomic_fetch_add(&model->refs, 1);
    return model;
}

void ti_model_unref(ti_model *model)
{
    if (model == NULL || atomic_fetch_sub(&model->refs, 1) > 1)
        return;
    ti_plan_unref(model->plan);
    ti_arena_free(&model->arena);
    ti_mutex_destroy(&model->mutex);
    ti_store_unref(model->store);
    ti_free(model);
}

/* ---- what others ask for ---- */

ti_store *ti_model_store(const ti_model *model)
{
    return model->store;
}

ti_slice ti_model_table(const ti_model *model)
{
    return model->table;
}

size_t ti_model_condition_count(const ti_model *model)
{
    return model->condition_count;
}

ti_slice ti_model_condition_name(const ti_model *model, size_t i)
{
    return i < model->condition_count ? model->indexes[model->conditions[i]].name : TI_SLICE_NONE;
}

bool ti_model_has_events(const ti_model *model)
{
    return model->events;
}

bool ti_model_has_host_partition_key(const ti_model *model)
{
    return model->partition_key_host;
}

bool ti_model_has_host_references(const ti_model *model)
{
    return model->references_host;
}

const ti_index_def *ti_model_index(const ti_model *model, ti_slice name)
{
    for (size_t i = 0; i < model->index_count; i++) {
        if (ti_slice_equal(model->indexes[i].name, name))
            return &model->indexes[i];
    }
    return NULL;
}

ti_status ti_err_of(const ti_model *model, ti_slice index, ti_status status, ti_err *err)
{
    ti_assert(status != TI_OK);
    ti_err_where(err, model->table.data, model->table.len, index.data, index.len);
    return status;
}

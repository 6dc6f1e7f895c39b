/* See schema.h. */
#include "model/schema.h"

#include <string.h>

#include "base/assert.h"
#include "codec/keys.h"

static const char *const state_names[] = {"absent", "write_only", "readable", "failed"};

const char *ti_index_state_name(ti_index_state state)
{
    ti_require((size_t)state < sizeof state_names / sizeof state_names[0]);
    return state_names[state];
}

/* ---- life ---- */

ti_status ti_schema_new(ti_schema **schema_out, ti_err *err)
{
    *schema_out = NULL;
    ti_schema *schema = ti_alloc_zero(sizeof *schema);
    if (schema == NULL)
        return ti_err_no_memory(err);
    atomic_store(&schema->refs, 1);
    ti_arena_init(&schema->arena);
    *schema_out = schema;
    return TI_OK;
}

ti_schema *ti_schema_ref(ti_schema *schema)
{
    uint32_t before = atomic_fetch_add(&schema->refs, 1);
    ti_assert(before > 0);
    (void)before;
    return schema;
}

void ti_schema_unref(ti_schema *schema)
{
    if (schema == NULL || atomic_fetch_sub(&schema->refs, 1) > 1)
        return;
    ti_assert(atomic_load(&schema->committing) == 0);
    ti_arena_free(&schema->arena);
    ti_free(schema);
}

/* ---- reading ---- */

static ti_status corrupt(ti_slice table, const char *what, ti_err *err)
{
    return ti_err_set(err, TI_CORRUPT, "the catalog row of table \"%.*s\" is damaged: %s",
                      (int)table.len, table.data, what);
}

/* A non-negative integer member, 0 when absent; false when it is something else. */
static bool read_uint(ti_json_value object, const char *name, uint64_t *out)
{
    ti_json_value value = ti_json_get(object, ti_slice_of(name));
    *out = 0;
    if (!ti_json_is_present(value))
        return true;
    if (ti_json_type_of(value) != TI_JSON_INT || ti_json_int(value) < 0)
        return false;
    *out = (uint64_t)ti_json_int(value);
    return true;
}

static bool read_state(ti_json_value object, ti_index_state *out)
{
    ti_json_value value = ti_json_get(object, TI_SLICE("state"));
    if (!ti_json_is_present(value) || ti_json_type_of(value) != TI_JSON_STRING)
        return false;
    ti_slice raw = ti_json_raw(value);
    for (size_t i = 0; i < sizeof state_names / sizeof state_names[0]; i++) {
        if (raw.len == strlen(state_names[i]) + 2 &&
            memcmp(raw.data + 1, state_names[i], raw.len - 2) == 0) {
            *out = (ti_index_state)i;
            return true;
        }
    }
    return false;
}

static ti_status read_duplicates(ti_json_value object, ti_arena *a, ti_schema_index *index,
                                 ti_err *err)
{
    ti_json_value list = ti_json_get(object, TI_SLICE("duplicates"));
    if (!ti_json_is_present(list))
        return TI_OK;
    ti_json_iter iter = ti_json_iterate(list);
    ti_json_value id;
    while (index->duplicate_count < TI_REINDEX_DUPLICATES_MAX && ti_json_next(&iter, &id)) {
        if (ti_json_type_of(id) != TI_JSON_STRING)
            continue;
        ti_slice text;
        TI_TRY(ti_json_string(id, a, &text, err));
        text = ti_arena_copy(a, text);
        if (text.data == NULL)
            return ti_err_no_memory(err);
        index->duplicates[index->duplicate_count++] = text;
    }
    return TI_OK;
}

static ti_status read_index(ti_json_value object, ti_slice table, ti_arena *a,
                            ti_schema_index *index, ti_err *err)
{
    bool unique = false;
    if (ti_json_type_of(object) != TI_JSON_OBJECT)
        return corrupt(table, "an index is no object", err);
    TI_TRY(ti_spec_bool(object, "unique", table, &unique, err));
    TI_TRY(ti_index_def_parse(object, unique, false, table, a, &index->def, err));
    TI_TRY(ti_spec_bool(object, "sealed", table, &index->sealed, err));
    TI_TRY(ti_spec_bool(object, "scanned", table, &index->scanned, err));
    TI_TRY(ti_spec_string(object, "cursor", false, "an index", table, a, &index->cursor, err));
    if (!read_state(object, &index->state) || !read_uint(object, "since", &index->since) ||
        !read_uint(object, "done", &index->done))
        return corrupt(table, "a state or a number", err);
    TI_TRY(read_duplicates(object, a, index, err));
    index->stored_name = ti_index_name(a, index->def.name, index->def.version);
    return index->stored_name.data == NULL ? ti_err_no_memory(err) : TI_OK;
}

static ti_status read_runner(ti_json_value root, ti_slice table, ti_schema *schema, ti_err *err)
{
    ti_json_value runner = ti_json_get(root, TI_SLICE("runner"));
    if (!ti_json_is_present(runner))
        return TI_OK;
    TI_TRY(ti_spec_string(runner, "id", false, "the runner", table, &schema->arena, &schema->runner,
                          err));
    return read_uint(runner, "until", &schema->runner_until) ? TI_OK
                                                             : corrupt(table, "its runner", err);
}

static ti_status read_row(ti_slice table, ti_json_value root, ti_schema *schema, ti_err *err)
{
    if (ti_json_type_of(root) != TI_JSON_OBJECT)
        return corrupt(table, "it is no object", err);
    schema->exists = true;
    TI_TRY(ti_spec_bool(root, "dropping", table, &schema->dropping, err));
    TI_TRY(read_runner(root, table, schema, err));
    if (!read_uint(root, "revision", &schema->revision) || schema->revision == 0)
        return corrupt(table, "its revision", err);
    ti_json_value list = ti_json_get(root, TI_SLICE("indexes"));
    uint32_t count = ti_json_is_present(list) ? ti_json_count(list) : 0;
    schema->indexes = ti_arena_alloc_zero(&schema->arena, (count + 1) * sizeof *schema->indexes);
    if (schema->indexes == NULL)
        return ti_err_no_memory(err);
    ti_json_iter iter = ti_json_iterate(list);
    ti_json_value index;
    while (schema->index_count < count && ti_json_next(&iter, &index)) {
        TI_TRY(
            read_index(index, table, &schema->arena, &schema->indexes[schema->index_count], err));
        schema->index_count++;
    }
    return TI_OK;
}

ti_status ti_schema_parse(ti_slice table, ti_slice payload, ti_schema **schema_out, ti_err *err)
{
    *schema_out = NULL;
    ti_schema *schema = NULL;
    ti_json_parser parser;
    ti_arena scratch;
    ti_json_doc doc;
    ti_status status;
    ti_json_parser_init(&parser);
    ti_arena_init(&scratch);
    TI_CHECK(ti_schema_new(&schema, err));
    TI_CHECK(ti_json_parse(&parser, &scratch, payload, &doc, err));
    TI_CHECK(read_row(table, ti_json_root(&doc), schema, err));
    *schema_out = schema;
    schema = NULL;
out:
    if (ti_status_class_of(status) == TI_CLASS_CALLER)
        status = corrupt(table, "it can not be read", err);
    ti_schema_unref(schema);
    ti_arena_free(&scratch);
    ti_json_parser_free(&parser);
    return status;
}

/* ---- writing ---- */

static void write_uint(ti_json_writer *w, const char *name, uint64_t value)
{
    ti_json_write_key(w, ti_slice_of(name));
    ti_json_write_int(w, (int64_t)value);
}

static void write_flag(ti_json_writer *w, const char *name, bool value)
{
    if (!value)
        return;
    ti_json_write_key(w, ti_slice_of(name));
    ti_json_write_bool(w, true);
}

static void write_index_members(const ti_schema_index *index, ti_json_writer *w)
{
    ti_index_def_write(&index->def, w);
    ti_json_write_key(w, TI_SLICE("unique"));
    ti_json_write_bool(w, index->def.unique);
    ti_json_write_key(w, TI_SLICE("state"));
    ti_json_write_string(w, ti_slice_of(ti_index_state_name(index->state)));
    write_uint(w, "done", index->done);
    if (index->duplicate_count == 0)
        return;
    ti_json_write_key(w, TI_SLICE("duplicates"));
    ti_json_write_array_begin(w);
    for (size_t i = 0; i < index->duplicate_count; i++)
        ti_json_write_string(w, index->duplicates[i]);
    ti_json_write_array_end(w);
}

void ti_schema_index_write(const ti_schema_index *index, ti_json_writer *w)
{
    ti_json_write_object_begin(w);
    write_index_members(index, w);
    ti_json_write_object_end(w);
}

static void write_index_row(const ti_schema_index *index, ti_json_writer *w)
{
    ti_json_write_object_begin(w);
    write_index_members(index, w);
    write_flag(w, "sealed", index->sealed);
    write_flag(w, "scanned", index->scanned);
    write_uint(w, "since", index->since);
    if (index->cursor.len > 0) {
        ti_json_write_key(w, TI_SLICE("cursor"));
        ti_json_write_string(w, index->cursor);
    }
    ti_json_write_object_end(w);
}

ti_status ti_schema_emit(const ti_schema *schema, ti_buf *out, ti_err *err)
{
    ti_assert(schema->revision > 0);
    ti_json_writer w;
    ti_json_writer_init(&w, out, err);
    ti_json_write_object_begin(&w);
    write_uint(&w, "revision", schema->revision);
    write_flag(&w, "dropping", schema->dropping);
    if (schema->runner.len > 0) {
        ti_json_write_key(&w, TI_SLICE("runner"));
        ti_json_write_object_begin(&w);
        ti_json_write_key(&w, TI_SLICE("id"));
        ti_json_write_string(&w, schema->runner);
        write_uint(&w, "until", schema->runner_until);
        ti_json_write_object_end(&w);
    }
    ti_json_write_key(&w, TI_SLICE("indexes"));
    ti_json_write_array_begin(&w);
    for (size_t i = 0; i < schema->index_count; i++)
        write_index_row(&schema->indexes[i], &w);
    ti_json_write_array_end(&w);
    ti_json_write_object_end(&w);
    return ti_json_writer_end(&w);
}

/* ---- looking up, changing ---- */

const ti_schema_index *ti_schema_find(const ti_schema *schema, ti_slice name, uint32_t version)
{
    const ti_schema_index *found = NULL;
    for (size_t i = 0; i < schema->index_count; i++) {
        const ti_schema_index *index = &schema->indexes[i];
        if (!ti_slice_equal(index->def.name, name))
            continue;
        if (index->def.version == version)
            return index;
        if (version == 0 && (found == NULL || index->def.version > found->def.version))
            found = index;
    }
    return found;
}

/* A copy of a definition in the arena, through its JSON, so that nothing of the original is shared.
 */
static ti_status copy_def(const ti_index_def *def, ti_arena *a, ti_index_def *copy_out, ti_err *err)
{
    ti_json_parser parser;
    ti_json_writer w;
    ti_json_doc doc;
    ti_arena scratch;
    ti_buf text;
    ti_status status;
    ti_json_parser_init(&parser);
    ti_arena_init(&scratch);
    ti_buf_init(&text, TI_DOCUMENT_SIZE_MAX);
    ti_json_writer_init(&w, &text, err);
    ti_json_write_object_begin(&w);
    ti_index_def_write(def, &w);
    ti_json_write_object_end(&w);
    TI_CHECK(ti_json_writer_end(&w));
    TI_CHECK(ti_json_parse(&parser, &scratch, ti_buf_slice(&text), &doc, err));
    TI_CHECK(
        ti_index_def_parse(ti_json_root(&doc), def->unique, true, def->name, a, copy_out, err));
out:
    ti_buf_free(&text);
    ti_arena_free(&scratch);
    ti_json_parser_free(&parser);
    return status;
}

ti_status ti_schema_add(ti_schema *schema, const ti_index_def *def, ti_index_state state,
                        ti_err *err)
{
    size_t count = schema->index_count;
    ti_schema_index *grown = ti_arena_alloc_zero(&schema->arena, (count + 1) * sizeof *grown);
    if (grown == NULL)
        return ti_err_no_memory(err);
    if (count > 0)
        memcpy(grown, schema->indexes, count * sizeof *grown);
    TI_TRY(copy_def(def, &schema->arena, &grown[count].def, err));
    grown[count].state = state;
    grown[count].stored_name = ti_index_name(&schema->arena, def->name, def->version);
    if (grown[count].stored_name.data == NULL)
        return ti_err_no_memory(err);
    schema->indexes = grown;
    schema->index_count = count + 1;
    return TI_OK;
}

void ti_schema_remove(ti_schema *schema, size_t i)
{
    ti_require(i < schema->index_count);
    memmove(&schema->indexes[i], &schema->indexes[i + 1],
            (schema->index_count - i - 1) * sizeof *schema->indexes);
    schema->index_count--;
}

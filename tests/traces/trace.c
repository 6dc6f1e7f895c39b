/* A run of a scenario in C: reading it, names, results as text with sorted keys, failures.
 *
 *   step {op, …} ──> op ──> result, any JSON ──> parsed and shown: {"a":1,"b":[2.5]}
 *                     └───> status and error ──> !code table index
 *
 * INVARIANTS
 *  1. What is shown depends on the values alone, not on the order of members or on how a number was
 *     written.
 *
 * Thread rule: one thread. What is NOT here: the ops (ops.c, events.c). */
#include "traces/trace.h"

/* ---- reading ---- */

ti_slice trace_text(trace *t, ti_json_value object, const char *name)
{
    ti_slice out = TI_SLICE_NONE;
    ti_json_value member = ti_json_get(object, ti_slice_of(name));
    if (ti_json_is_present(member) && ti_json_type_of(member) == TI_JSON_STRING)
        test_ok(ti_json_string(member, &t->arena, &out, &t->err), &t->err);
    return out;
}

ti_slice trace_raw(ti_json_value object, const char *name)
{
    ti_json_value member = ti_json_get(object, ti_slice_of(name));
    return ti_json_is_present(member) ? ti_json_raw(member) : TI_SLICE_NONE;
}

ti_json_iter trace_each(ti_json_value object, const char *name)
{
    ti_json_value member = ti_json_get(object, ti_slice_of(name));
    return ti_json_is_present(member) ? ti_json_iterate(member) : (ti_json_iter){.doc = NULL};
}

bool trace_is(ti_json_value object, const char *name)
{
    ti_json_value member = ti_json_get(object, ti_slice_of(name));
    return ti_json_is_present(member) && ti_json_bool(member);
}

static void read_scenario(trace *t, const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    ti_buf text;
    ti_buf_init(&text, TI_DOCUMENT_SIZE_MAX);
    char piece[4096];
    size_t len;
    while ((len = fread(piece, 1, sizeof(piece), file)) > 0)
        test_ok(ti_buf_append(&text, piece, len, &t->err), &t->err);
    assert_int_equal(fclose(file), 0);
    ti_slice kept = ti_arena_copy(&t->arena, ti_buf_slice(&text));
    ti_buf_free(&text);
    test_ok(ti_json_parse(&t->parser, &t->arena, kept, &t->doc, &t->err), &t->err);
    t->scenario = ti_json_root(&t->doc);
}

/* ---- names ---- */

trace_named *trace_named_of(trace_named *all, ti_slice name)
{
    assert_true(name.len > 0);
    for (size_t i = 0; i < TRACE_NAMES_MAX; i++) {
        if (all[i].name.len == 0)
            all[i].name = name;
        if (ti_slice_equal(all[i].name, name))
            return &all[i];
    }
    fail_msg("a scenario with too many names");
    return NULL;
}

trace_model *trace_model_of(trace *t, ti_json_value step)
{
    ti_slice table = trace_text(t, step, "model");
    for (size_t i = 0; i < TRACE_NAMES_MAX; i++) {
        if (t->models[i].handle != NULL && ti_slice_equal(t->models[i].table, table))
            return &t->models[i];
    }
    fail_msg("a step without a model of the scenario");
    return NULL;
}

tito_queue_t *trace_queue_of(trace *t, ti_slice type)
{
    for (size_t i = 0; i < TRACE_NAMES_MAX; i++) {
        if (t->queues[i].handle != NULL && ti_slice_equal(t->queues[i].type, type))
            return t->queues[i].handle;
    }
    fail_msg("a step without a queue of the scenario");
    return NULL;
}

tito_txn_t *trace_txn_of(trace *t, ti_json_value step)
{
    ti_slice name = trace_text(t, step, "tx");
    return name.len == 0 ? NULL : trace_named_of(t->txns, name)->txn;
}

/* ---- declaring ---- */

/* The name in {"host": NAME}, empty for any other value. */
static ti_slice host_of(trace *t, ti_json_value value)
{
    return ti_json_is_present(value) ? trace_text(t, value, "host") : TI_SLICE_NONE;
}

/* Copies a spec with the text "host" for each host function; the parser has bounded its depth. */
static void copy_spec(trace *t, ti_json_value value, ti_json_writer *w)
{
    ti_json_iter at = ti_json_iterate(value);
    ti_json_value child;
    ti_slice key;
    if (host_of(t, value).len > 0) {
        ti_json_write_string(w, TI_SLICE("host"));
    } else if (ti_json_type_of(value) == TI_JSON_ARRAY) {
        ti_json_write_array_begin(w);
        while (ti_json_next(&at, &child))
            copy_spec(t, child, w);
        ti_json_write_array_end(w);
    } else if (ti_json_type_of(value) == TI_JSON_OBJECT) {
        ti_json_write_object_begin(w);
        while (ti_json_next(&at, &child)) {
            test_ok(ti_json_key(child, &t->arena, &key, &t->err), &t->err);
            ti_json_write_key(w, key);
            copy_spec(t, child, w);
        }
        ti_json_write_object_end(w);
    } else {
        ti_json_write_raw(w, ti_json_raw(value));
    }
}

static void note_conditions(trace *t, trace_model *model, ti_json_iter indexes)
{
    ti_json_value index;
    while (ti_json_next(&indexes, &index)) {
        ti_slice name = host_of(t, ti_json_get(index, TI_SLICE("condition")));
        assert_true(model->condition_count < TRACE_NAMES_MAX);
        if (name.len > 0)
            model->conditions[model->condition_count++] = name;
    }
}

static void declare_model(trace *t, trace_model *model, ti_json_value spec)
{
    test_ok(ti_json_key(spec, &t->arena, &model->table, &t->err), &t->err);
    note_conditions(t, model, trace_each(spec, "indexes"));
    note_conditions(t, model, trace_each(spec, "unique_indexes"));
    model->events = host_of(t, ti_json_get(spec, TI_SLICE("events")));
    model->partition_key = host_of(t, ti_json_get(spec, TI_SLICE("partition_key")));
    model->references = host_of(t, ti_json_get(spec, TI_SLICE("references")));

    ti_buf text;
    ti_buf_init(&text, TI_DOCUMENT_SIZE_MAX);
    ti_json_writer w;
    ti_json_writer_init(&w, &text, &t->err);
    ti_json_write_object_begin(&w);
    ti_json_write_key(&w, TI_SLICE("table"));
    ti_json_write_string(&w, model->table);
    ti_json_iter at = ti_json_iterate(spec);
    ti_json_value member;
    ti_slice key;
    while (ti_json_next(&at, &member)) {
        test_ok(ti_json_key(member, &t->arena, &key, &t->err), &t->err);
        ti_json_write_key(&w, key);
        copy_spec(t, member, &w);
    }
    ti_json_write_object_end(&w);
    test_ok(ti_json_writer_end(&w), &t->err);
    assert_int_equal(tito_model_declare(t->db, text.data, text.len, &model->handle, NULL), TITO_OK);
    ti_buf_free(&text);
    assert_int_equal(tito_model_set_host(model->handle, trace_host, model), TITO_OK);
}

static void open_queue(trace *t, trace_queue *queue, ti_json_value given)
{
    test_ok(ti_json_key(given, &t->arena, &queue->type, &t->err), &t->err);
    tito_options_t *options = tito_options_new();
    ti_json_iter at = ti_json_iterate(given);
    ti_json_value member;
    ti_slice key;
    ti_slice value;
    while (ti_json_next(&at, &member)) {
        test_ok(ti_json_key(member, &t->arena, &key, &t->err), &t->err);
        value = ti_json_raw(member);
        if (ti_json_type_of(member) == TI_JSON_STRING)
            test_ok(ti_json_string(member, &t->arena, &value, &t->err), &t->err);
        const char *name = ti_arena_format(&t->arena, "%.*s", (int)key.len, key.data);
        assert_int_equal(tito_options_set(options, name, value.data, value.len), TITO_OK);
    }
    assert_int_equal(
        tito_queue_open(t->db, queue->type.data, queue->type.len, options, &queue->handle, NULL),
        TITO_OK);
    tito_options_free(options);
}

/* On TiKV the run has a namespace of its own. */
static void connect_to(trace *t, const char *target)
{
    tito_options_t *options = NULL;
    if (strncmp(target, "tikv:", 5) == 0) {
        char name[37];
        tito_uuid(name);
        options = tito_options_new();
        const char *space = ti_arena_format(&t->arena, TRACE_SPACE "%s", name);
        assert_int_equal(tito_options_set(options, "namespace", space, strlen(space)), TITO_OK);
    }
    assert_int_equal(tito_connect(target, strlen(target), options, &t->db, NULL), TITO_OK);
    tito_options_free(options);
}

void trace_open(trace *t, const char *path, const char *target)
{
    *t = (trace){.db = NULL};
    ti_arena_init(&t->arena);
    ti_json_parser_init_hydrated(&t->parser);
    ti_buf_init(&t->result, TI_PAGE_SIZE_MAX);
    read_scenario(t, path);
    connect_to(t, target);
    size_t count = 0;
    ti_json_value member;
    ti_json_iter at = trace_each(t->scenario, "models");
    while (ti_json_next(&at, &member)) {
        assert_true(count < TRACE_NAMES_MAX);
        declare_model(t, &t->models[count++], member);
    }
    count = 0;
    at = trace_each(t->scenario, "queues");
    while (ti_json_next(&at, &member)) {
        assert_true(count < TRACE_NAMES_MAX);
        open_queue(t, &t->queues[count++], member);
    }
}

void trace_close(trace *t)
{
    for (size_t i = 0; i < TRACE_NAMES_MAX; i++) {
        tito_txn_free(t->txns[i].txn);
        tito_queue_free(t->queues[i].handle);
        tito_model_free(t->models[i].handle);
    }
    assert_int_equal(tito_db_close(t->db, NULL), TITO_OK);
    tito_db_free(t->db);
    ti_buf_free(&t->result);
    ti_json_parser_free(&t->parser);
    ti_arena_free(&t->arena);
}

/* ---- results ---- */

int32_t trace_wait(trace *t, tito_future_t *future)
{
    return tito_future_wait(future, -1, &t->error);
}

void trace_put(trace *t, const char *text)
{
    test_ok(ti_buf_append_text(&t->result, text, &t->err), &t->err);
}

void trace_put_slice(trace *t, tito_slice text)
{
    test_ok(ti_buf_append(&t->result, text.data, text.len, &t->err), &t->err);
}

void trace_put_string(trace *t, tito_slice text)
{
    ti_slice given = {.data = text.data, .len = text.len};
    test_ok(ti_json_append_string(&t->result, given, &t->err), &t->err);
}

static void show_string(trace *t, ti_slice text, ti_buf *out)
{
    test_ok(ti_buf_append_byte(out, '"', &t->err), &t->err);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c < 32) {
            test_ok(ti_buf_append_format(out, &t->err, "\\u%04x", c), &t->err);
            continue;
        }
        if (c == '"' || c == '\\')
            test_ok(ti_buf_append_byte(out, '\\', &t->err), &t->err);
        test_ok(ti_buf_append_byte(out, c, &t->err), &t->err);
    }
    test_ok(ti_buf_append_byte(out, '"', &t->err), &t->err);
}

static void show(trace *t, ti_json_value value, ti_buf *out);

/* The members in the order of their keys: each time the smallest one behind the last. */
static void show_object(trace *t, ti_json_value value, ti_buf *out)
{
    ti_slice last = TI_SLICE_NONE;
    for (uint32_t shown = 0; shown < ti_json_count(value); shown++) {
        ti_json_iter at = ti_json_iterate(value);
        ti_json_value child;
        ti_json_value next = TI_JSON_ABSENT;
        ti_slice next_key = TI_SLICE_NONE;
        ti_slice key;
        while (ti_json_next(&at, &child)) {
            test_ok(ti_json_key(child, &t->arena, &key, &t->err), &t->err);
            bool behind = shown == 0 || ti_slice_compare(key, last) > 0;
            if (behind && (!ti_json_is_present(next) || ti_slice_compare(key, next_key) < 0)) {
                next = child;
                next_key = key;
            }
        }
        test_ok(ti_buf_append_text(out, shown == 0 ? "" : ",", &t->err), &t->err);
        show_string(t, next_key, out);
        test_ok(ti_buf_append_byte(out, ':', &t->err), &t->err);
        show(t, next, out);
        last = next_key;
    }
}

/* Appends value as JSON with sorted keys; the parser has bounded its depth. */
static void show(trace *t, ti_json_value value, ti_buf *out)
{
    ti_json_iter at = ti_json_iterate(value);
    ti_json_value child;
    ti_slice text;
    char number[32];
    const char *between = "";
    switch (ti_json_type_of(value)) {
    case TI_JSON_STRING:
        test_ok(ti_json_string(value, &t->arena, &text, &t->err), &t->err);
        show_string(t, text, out);
        break;
    case TI_JSON_INT:
        test_ok(ti_buf_append_format(out, &t->err, "%lld", (long long)ti_json_int(value)), &t->err);
        break;
    case TI_JSON_DOUBLE: {
        size_t len = tito_json_write_double(ti_json_double(value), number);
        test_ok(ti_buf_append(out, number, len, &t->err), &t->err);
        break;
    }
    case TI_JSON_ARRAY:
        test_ok(ti_buf_append_byte(out, '[', &t->err), &t->err);
        for (; ti_json_next(&at, &child); between = ",") {
            test_ok(ti_buf_append_text(out, between, &t->err), &t->err);
            show(t, child, out);
        }
        test_ok(ti_buf_append_byte(out, ']', &t->err), &t->err);
        break;
    case TI_JSON_OBJECT:
        test_ok(ti_buf_append_byte(out, '{', &t->err), &t->err);
        show_object(t, value, out);
        test_ok(ti_buf_append_byte(out, '}', &t->err), &t->err);
        break;
    default: /* null, true, false, an integer beyond int64 */
        test_ok(ti_buf_append_slice(out, ti_json_raw(value), &t->err), &t->err);
    }
}

static void show_failure(trace *t, int32_t status, ti_buf *out)
{
    tito_slice table = tito_error_table(t->error);
    tito_slice index = tito_error_index(t->error);
    test_ok(ti_buf_append_format(out, &t->err, "!%s", tito_status_name(status)), &t->err);
    if (status == TITO_HANDLER_FAILED)
        table.len = index.len = 0;
    if (table.len > 0)
        test_ok(ti_buf_append_format(out, &t->err, " %.*s", (int)table.len, table.data), &t->err);
    if (index.len > 0)
        test_ok(ti_buf_append_format(out, &t->err, " %.*s", (int)index.len, index.data), &t->err);
    tito_error_free(t->error);
    t->error = NULL;
}

const char *trace_step(trace *t, ti_json_value step)
{
    ti_slice name = trace_text(t, step, "op");
    trace_op op = trace_op_of(name);
    if (op == NULL)
        fail_msg("an unknown op: %.*s", (int)name.len, name.data);
    ti_buf_clear(&t->result);
    int32_t status = op(t, step);
    ti_buf line;
    ti_buf_init(&line, TI_PAGE_SIZE_MAX);
    test_ok(ti_buf_append_format(&line, &t->err, "%.*s ", (int)name.len, name.data), &t->err);
    ti_json_doc doc;
    if (status != TITO_OK) {
        show_failure(t, status, &line);
    } else {
        ti_slice kept = ti_arena_copy(&t->arena, ti_buf_slice(&t->result));
        test_ok(ti_json_parse(&t->parser, &t->arena, kept, &doc, &t->err), &t->err);
        show(t, ti_json_root(&doc), &line);
    }
    test_ok(ti_buf_append_byte(&line, '\0', &t->err), &t->err);
    const char *out = ti_arena_copy(&t->arena, ti_buf_slice(&line)).data;
    ti_buf_free(&line);
    return out;
}

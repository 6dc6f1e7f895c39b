/* Events of a write: what the host's functions returned, put together with the record, handed to
 * the sink.
 *
 * INVARIANTS
 *  1. Nothing is published unless the write asks for it by an operation.
 *  2. Everything is checked before the first event is handed over.
 *
 * Threads: one per transaction. What is NOT here: places, partitions, queues (the sink's). */
#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "model/model_int.h"

#define EVENTS_MAX 1024          /* of one write */
#define EVENT_SECONDS_MAX 1.0e12 /* far beyond any calendar, far below overflow */
#define US_PER_SECOND 1000000

typedef struct batch {
    ti_model *model;
    ti_scratch *s;
    const ti_write *write;
    ti_model_event common; /* what all events of the write share */
} batch;

static ti_status refuse(const batch *b, const char *problem, ti_err *err)
{
    ti_err_set(err, TI_INVALID_ARGUMENT, "the events of table \"%.*s\": %s",
               (int)b->model->table.len, b->model->table.data, problem);
    return ti_err_of(b->model, TI_SLICE_NONE, TI_INVALID_ARGUMENT, err);
}

/* ---- the parts ---- */

/* The text of a string or of an integer; "" for anything else. */
static ti_status key_text(const batch *b, ti_json_value value, ti_slice *out, ti_err *err)
{
    *out = TI_SLICE_NONE;
    if (!ti_json_is_present(value))
        return TI_OK;
    if (ti_json_type_of(value) == TI_JSON_INT)
        *out = ti_json_raw(value);
    if (ti_json_type_of(value) == TI_JSON_STRING)
        return ti_json_string(value, &b->s->arena, out, err);
    return TI_OK;
}

/* "table:{table}:{id}"; an id may hold any byte. */
static ti_status entity_name(batch *b, ti_err *err)
{
    const ti_slice parts[] = {TI_SLICE("table:"), b->common.table, TI_SLICE(":"),
                              b->common.entity_id};
    size_t len = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        len += parts[i].len;
    char *text = ti_arena_alloc(&b->s->arena, len);
    if (text == NULL)
        return ti_err_no_memory(err);
    b->common.entity = (ti_slice){.data = text, .len = len};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        memcpy(text, parts[i].data, parts[i].len);
        text += parts[i].len;
    }
    return TI_OK;
}

static ti_status partition_key(batch *b, ti_json_value root, ti_slice id, ti_err *err)
{
    b->common.key = b->write->partition_key;
    if (b->common.key.len == 0 && b->model->partition_key_path.len > 0)
        TI_TRY(
            key_text(b, ti_json_get_path(root, b->model->partition_key_path), &b->common.key, err));
    if (b->common.key.len == 0)
        b->common.key = id;
    return TI_OK;
}

static bool all_strings(ti_json_value array)
{
    ti_json_iter iter = ti_json_iterate(array);
    ti_json_value id;
    while (ti_json_next(&iter, &id)) {
        if (ti_json_type_of(id) != TI_JSON_STRING)
            return false;
    }
    return true;
}

/* References as a JSON array of strings: from the write, or from the document by path. */
static ti_status references(batch *b, ti_json_value root, ti_err *err)
{
    ti_json_doc doc;
    ti_json_value value = TI_JSON_ABSENT;
    if (b->write->references.len > 0) {
        TI_TRY(ti_json_parse(&b->s->parser, &b->s->arena, b->write->references, &doc, err));
        value = ti_json_root(&doc);
    } else if (b->model->references_path.len > 0) {
        value = ti_json_get_path(root, b->model->references_path);
    }
    if (!ti_json_is_present(value) || ti_json_type_of(value) == TI_JSON_NULL)
        return TI_OK;
    if (ti_json_type_of(value) == TI_JSON_STRING) {
        ti_slice raw = ti_json_raw(value);
        char *list = ti_arena_format(&b->s->arena, "[%.*s]", (int)raw.len, raw.data);
        if (list == NULL)
            return ti_err_no_memory(err);
        b->common.references = ti_slice_of(list);
        return TI_OK;
    }
    bool empty =
        ti_json_type_of(value) == TI_JSON_OBJECT && ti_json_count(value) == 0; /* an empty table */
    if (!empty && (ti_json_type_of(value) != TI_JSON_ARRAY || !all_strings(value)))
        return refuse(b, "references must be a list of ids", err);
    b->common.references = empty ? TI_SLICE("[]") : ti_json_raw(value);
    return TI_OK;
}

static ti_status due(const batch *b, ti_json_value value, int64_t *due_us_out, ti_err *err)
{
    *due_us_out = 0;
    if (!ti_json_is_present(value) || ti_json_type_of(value) == TI_JSON_NULL)
        return TI_OK;
    ti_json_type type = ti_json_type_of(value);
    if (type != TI_JSON_INT && type != TI_JSON_DOUBLE)
        return refuse(b, "\"timestamp\" must be a number of seconds", err);
    double seconds = ti_json_double(value);
    if (!(seconds >= 0 && seconds <= EVENT_SECONDS_MAX))
        return refuse(b, "\"timestamp\" must be a number of seconds since 1970", err);
    *due_us_out = type == TI_JSON_INT ? ti_json_int(value) * US_PER_SECOND
                                      : (int64_t)llround(seconds * (double)US_PER_SECOND);
    return TI_OK;
}

static ti_status read_event(const batch *b, ti_json_value spec, ti_model_event *event_out,
                            ti_err *err)
{
    *event_out = b->common;
    if (ti_json_type_of(spec) != TI_JSON_OBJECT)
        return refuse(b, "each must be an object with \"name\"", err);
    ti_json_value name = ti_json_get(spec, TI_SLICE("name"));
    if (!ti_json_is_present(name) || ti_json_type_of(name) != TI_JSON_STRING)
        return refuse(b, "each needs \"name\", a string", err);
    TI_TRY(ti_json_string(name, &b->s->arena, &event_out->type, err));
    TI_TRY(ti_name_check(event_out->type, "event name", err));
    TI_TRY(due(b, ti_json_get(spec, TI_SLICE("timestamp")), &event_out->due_us, err));
    ti_slice key;
    TI_TRY(key_text(b, ti_json_get(spec, TI_SLICE("key")), &key, err));
    if (key.len > 0)
        event_out->key = key;
    ti_json_value payload = ti_json_get(spec, TI_SLICE("payload"));
    event_out->payload = ti_json_raw(ti_json_is_present(payload) ? payload : spec);
    return TI_OK;
}

/* ---- all of a write ---- */

static ti_status read_events(batch *b, ti_json_doc *doc, ti_model_event **events_out,
                             size_t *count_out, ti_err *err)
{
    *count_out = 0;
    TI_TRY(ti_json_parse(&b->s->parser, &b->s->arena, b->write->events, doc, err));
    ti_json_value list = ti_json_root(doc);
    size_t count = ti_json_count(list);
    if (ti_json_type_of(list) != TI_JSON_ARRAY &&
        !(ti_json_type_of(list) == TI_JSON_OBJECT && count == 0))
        return refuse(b, "they must be a list", err);
    if (count > EVENTS_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED,
                          "a write of table \"%.*s\" has %zu events, at most %d",
                          (int)b->model->table.len, b->model->table.data, count, EVENTS_MAX);
    *events_out = ti_arena_alloc(&b->s->arena, (count + 1) * sizeof **events_out);
    if (*events_out == NULL)
        return ti_err_no_memory(err);
    ti_json_iter iter = ti_json_iterate(list);
    ti_json_value spec;
    while (ti_json_next(&iter, &spec)) {
        TI_TRY(read_event(b, spec, &(*events_out)[*count_out], err));
        ++*count_out;
    }
    return TI_OK;
}

ti_status ti_events_publish(ti_model *model, ti_txn *txn, ti_slice id, ti_json_value root,
                            const ti_write *write, ti_scratch *s, const ti_call *call, ti_err *err)
{
    ti_json_doc doc;
    ti_model_event *events = NULL;
    size_t count;
    if (write->operation.len == 0)
        return TI_OK;
    batch b = {.model = model, .s = s, .write = write};
    if (!model->events)
        return refuse(&b, "the model declares none", err);
    if (write->events.len == 0)
        return TI_OK;
    const ti_event_sink *sink = &model->store->sink;
    if (sink->publish == NULL)
        return ti_err_set(err, TI_UNSUPPORTED, "this database handle has no queue for events");
    b.common = (ti_model_event){.action = write->operation, .table = model->table, .entity_id = id};
    TI_TRY(entity_name(&b, err));
    TI_TRY(partition_key(&b, root, id, err));
    TI_TRY(references(&b, root, err));
    TI_TRY(read_events(&b, &doc, &events, &count, err));
    for (size_t i = 0; i < count; i++)
        TI_TRY(sink->publish(sink->context, txn, &events[i], call, err));
    return TI_OK;
}

/* Listing stored events: the filter, a JSON object, in; a page of events as JSON documents out.
 *
 *   {"state": "failed", "key": "user:1", "from": 1700000000, "to": 1700003600.5, "limit": 100,
 *    "cursor": "…"}
 *
 * Times are seconds since the epoch, as in what hosts see; core counts in µs. */
#include <math.h>
#include <string.h>

#include "abi/options.h"
#include "abi/queue.h"
#include "json/json.h"

#define US_PER_SECOND 1e6

static const char *const state_names[] = {[TI_EVENT_PENDING] = "pending",
                                          [TI_EVENT_PARKED] = "parked",
                                          [TI_EVENT_COMPLETED] = "completed",
                                          [TI_EVENT_FAILED] = "failed"};

/* ---- the filter ---- */

static ti_status wrong(ti_slice member, const char *wanted, ti_err *err)
{
    return ti_err_set(err, TI_INVALID_ARGUMENT, "filter: %.*s must be %s", (int)member.len,
                      member.data, wanted);
}

static ti_status read_text(ti_slice name, ti_json_value value, ti_arena *a, ti_slice *out,
                           ti_err *err)
{
    if (ti_json_type_of(value) != TI_JSON_STRING)
        return wrong(name, "a string", err);
    return ti_json_string(value, a, out, err);
}

static ti_status read_state(ti_slice name, ti_json_value value, ti_arena *a,
                            ti_event_filter *filter, ti_err *err)
{
    ti_slice text = TI_SLICE_NONE;
    TI_TRY(read_text(name, value, a, &text, err));
    for (size_t i = 0; i < TI_COUNT(state_names); i++)
        if (ti_slice_equal(text, ti_slice_of(state_names[i]))) {
            filter->state = (ti_event_state)i;
            return TI_OK;
        }
    return wrong(name, "pending, parked, completed or failed", err);
}

static ti_status read_time(ti_slice name, ti_json_value value, int64_t *us_out, ti_err *err)
{
    ti_json_type type = ti_json_type_of(value);
    double seconds =
        type == TI_JSON_INT || type == TI_JSON_DOUBLE ? ti_json_double(value) : (double)NAN;
    if (!(seconds >= 0 && seconds * US_PER_SECOND < (double)INT64_MAX))
        return wrong(name, "seconds since the epoch", err);
    *us_out = (int64_t)llround(seconds * US_PER_SECOND);
    return TI_OK;
}

static ti_status read_limit(ti_slice name, ti_json_value value, size_t *limit_out, ti_err *err)
{
    int64_t limit = ti_json_type_of(value) == TI_JSON_INT ? ti_json_int(value) : 0;
    if (limit < 1 || limit > TI_PAGE_ITEMS_MAX)
        return wrong(name, "an integer from 1 to 10000", err);
    *limit_out = (size_t)limit;
    return TI_OK;
}

static ti_status read_member(ti_slice name, ti_json_value value, ti_arena *a, ti_queue_filter *f,
                             ti_err *err)
{
    ti_event_filter *filter = &f->filter;
    f->has_state = f->has_state || ti_slice_equal(name, TI_SLICE("state"));
    if (ti_slice_equal(name, TI_SLICE("owner")))
        return read_text(name, value, a, &filter->owner, err);
    if (ti_slice_equal(name, TI_SLICE("into")))
        return read_text(name, value, a, &f->into, err);
    if (ti_slice_equal(name, TI_SLICE("state")))
        return read_state(name, value, a, filter, err);
    if (ti_slice_equal(name, TI_SLICE("key")))
        return read_text(name, value, a, &filter->key, err);
    if (ti_slice_equal(name, TI_SLICE("cursor")))
        return read_text(name, value, a, &filter->cursor, err);
    if (ti_slice_equal(name, TI_SLICE("from")))
        return read_time(name, value, &filter->from_us, err);
    if (ti_slice_equal(name, TI_SLICE("to")))
        return read_time(name, value, &filter->to_us, err);
    if (ti_slice_equal(name, TI_SLICE("limit")))
        return read_limit(name, value, &filter->limit, err);
    return ti_err_set(err, TI_INVALID_ARGUMENT,
                      "filter: knows state, key, owner, from, to, limit and cursor only");
}

ti_status ti_queue_filter_read(ti_slice text, ti_arena *a, ti_queue_filter *filter, ti_err *err)
{
    ti_json_parser parser;
    ti_json_doc doc;
    ti_json_value value;
    if (text.len == 0)
        return TI_OK;
    ti_json_parser_init(&parser);
    ti_status status = ti_json_parse(&parser, a, text, &doc, err);
    ti_json_parser_free(&parser);
    TI_TRY(status);
    if (ti_json_type_of(ti_json_root(&doc)) != TI_JSON_OBJECT)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "filter: must be a JSON object");
    for (ti_json_iter i = ti_json_iterate(ti_json_root(&doc)); ti_json_next(&i, &value);) {
        ti_slice name = TI_SLICE_NONE;
        TI_TRY(ti_json_key(value, a, &name, err));
        TI_TRY(read_member(name, value, a, filter, err));
    }
    return TI_OK;
}

/* ---- events as documents ---- */

static void write_text(ti_json_writer *w, const char *key, ti_slice text)
{
    if (text.len == 0)
        return;
    ti_json_write_key(w, ti_slice_of(key));
    ti_json_write_string(w, text);
}

static void write_seconds(ti_json_writer *w, const char *key, int64_t us)
{
    if (us == 0)
        return;
    ti_json_write_key(w, ti_slice_of(key));
    ti_json_write_double(w, (double)us / US_PER_SECOND);
}

static void write_event(ti_json_writer *w, const ti_event_info *e)
{
    ti_json_write_object_begin(w);
    write_text(w, "id", ti_slice_of(e->id));
    write_text(w, "type", e->type);
    write_text(w, "state", ti_slice_of(state_names[e->state]));
    write_text(w, "key", e->key);
    write_text(w, "sequence", ti_event_sequence(e));
    write_text(w, "action", e->action);
    write_text(w, "entity", e->entity);
    write_text(w, "entity_id", e->entity_id);
    write_text(w, "last_error", e->last_error);
    write_text(w, "unique", e->unique);
    ti_json_write_key(w, TI_SLICE("partition"));
    ti_json_write_int(w, e->place.partition);
    ti_json_write_key(w, TI_SLICE("attempts"));
    ti_json_write_int(w, e->attempts);
    write_seconds(w, "timestamp", (int64_t)e->place.timestamp_us);
    write_seconds(w, "not_before", e->not_before_us);
    write_seconds(w, "finished_at", e->finished_at_us);
    ti_json_write_key(w, TI_SLICE("references"));
    ti_json_write_raw(w, e->references);
    ti_json_write_key(w, TI_SLICE("payload"));
    ti_json_write_raw(w, e->payload);
    ti_json_write_object_end(w);
}

static ti_status fill_item(ti_page *page, size_t i, const ti_event_info *info, ti_buf *text,
                           ti_err *err)
{
    ti_json_writer writer;
    ti_buf_clear(text);
    ti_json_writer_init(&writer, text, err);
    write_event(&writer, info);
    TI_TRY(ti_json_writer_end(&writer));
    page->items[i] = (ti_document){.json = ti_arena_copy(&page->arena, ti_buf_slice(text)),
                                   .id = ti_arena_copy(&page->arena, ti_slice_of(info->id))};
    if (page->items[i].json.data == NULL || page->items[i].id.data == NULL)
        return ti_err_no_memory(err);
    page->count = i + 1;
    return TI_OK;
}

static ti_status fill_page(ti_page *page, const ti_event_list *list, ti_err *err)
{
    ti_buf text;
    ti_status status = TI_OK;
    ti_buf_init(&text, TI_PAGE_SIZE_MAX);
    page->items = ti_arena_alloc_zero(&page->arena, list->count * sizeof(*page->items));
    page->cursor = ti_arena_copy(&page->arena, list->cursor);
    if (page->items == NULL || page->cursor.data == NULL)
        TI_CHECK(ti_err_no_memory(err));
    for (size_t i = 0; i < list->count; i++)
        TI_CHECK(fill_item(page, i, &list->items[i], &text, err));
out:
    ti_buf_free(&text);
    return status;
}

static ti_status run_history(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_queue_filter f = {.filter = {.type = op->args.type}};
    ti_event_list list = {.count = 0};
    TI_TRY(ti_queue_filter_read(op->args.text, &op->arena, &f, err));
    if (f.into.data != NULL)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "filter: into is of replay");
    TI_TRY(ti_queue_list(ti_db_queues(op->db), &f.filter, &op->arena, &list, call, err));
    TI_TRY(ti_page_new(&op->page, err));
    return fill_page(op->page, &list, err);
}

static const ti_op_kind history_kind = {TI_OP_KIND("history", TI_WORK_GENERAL, false, run_history)};

tito_future_t *tito_queue_history(tito_queue_t *queue, const char *filter, size_t filter_len)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_op *op = NULL;
    ti_slice text = {.data = filter, .len = filter_len};
    TI_CHECK(ti_queue_handle_check(queue, &err));
    TI_CHECK(ti_argument_check(text, "filter", &err));
    op = ti_queue_op(queue, NULL, &history_kind, TI_SLICE_NONE, text);
    TI_CHECK(op == NULL ? ti_err_no_memory(&err) : TI_OK);
out:
    return ti_op_submit(op, ti_db_of(queue, TI_MAGIC_QUEUE), NULL, status, &err);
}

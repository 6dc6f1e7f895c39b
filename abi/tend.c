/* Tending queues: many stored events at once, pauses, what is told about a type; recurring events.
 *
 * Thread rule: any, at the same time. */
#include <string.h>

#include "abi/queue.h"
#include "json/json.h"
#include "queue/schedule.h"

#define US_PER_SECOND 1e6

/* ---- many at once ---- */

static ti_status run_purge(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_queue_filter f = {.filter = {.type = op->args.type}};
    uint64_t count = 0;
    TI_TRY(ti_queue_filter_read(op->args.text, &op->arena, &f, err));
    if (f.into.data != NULL || f.filter.limit > 0 || f.filter.cursor.len > 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "purge: knows state, key, owner, from and to");
    ti_status status =
        ti_queue_purge(ti_db_queues(op->db), &f.filter, !f.has_state, &count, call, err);
    op->number = (int64_t)count;
    return status;
}

static const ti_op_kind purge_kind = {TI_OP_KIND("purge", TI_WORK_GENERAL, false, run_purge),
                                      .endless = true};

static ti_status run_replay(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_queue_filter f = {.filter = {.type = op->args.type}};
    uint64_t count = 0;
    TI_TRY(ti_queue_filter_read(op->args.text, &op->arena, &f, err));
    if (f.filter.limit > 0 || f.filter.cursor.len > 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "replay: knows state, key, owner, from, to and into");
    if (!f.has_state)
        f.filter.state = TI_EVENT_COMPLETED;
    ti_status status =
        ti_queue_replay(ti_db_queues(op->db), &f.filter, f.into, &op->progress, &count, call, err);
    op->number = (int64_t)count;
    return status;
}

static const ti_op_kind replay_kind = {TI_OP_KIND("replay", TI_WORK_GENERAL, false, run_replay),
                                       .endless = true};

static tito_future_t *submit_text(tito_queue_t *queue, const ti_op_kind *kind, ti_slice text,
                                  int64_t number)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_op *op = NULL;
    TI_CHECK(ti_queue_handle_check(queue, &err));
    TI_CHECK(ti_argument_check(text, "filter", &err));
    op = ti_queue_op(queue, NULL, kind, TI_SLICE_NONE, text);
    TI_CHECK(op == NULL ? ti_err_no_memory(&err) : TI_OK);
    op->args.number = number;
out:
    return ti_op_submit(op, ti_db_of(queue, TI_MAGIC_QUEUE), NULL, status, &err);
}

tito_future_t *tito_queue_purge(tito_queue_t *queue, const char *filter, size_t filter_len)
{
    return submit_text(queue, &purge_kind, (ti_slice){.data = filter, .len = filter_len}, 0);
}

tito_future_t *tito_queue_replay(tito_queue_t *queue, const char *filter, size_t filter_len)
{
    return submit_text(queue, &replay_kind, (ti_slice){.data = filter, .len = filter_len}, 0);
}

/* ---- a type as a whole ---- */

static ti_status run_repartition(ti_op *op, const ti_call *call, ti_err *err)
{
    uint64_t moved = 0;
    ti_status status =
        ti_queue_repartition(ti_db_queues(op->db), op->args.type, (uint32_t)op->args.number,
                             &op->progress, &moved, call, err);
    op->number = (int64_t)moved;
    return status;
}

static const ti_op_kind repartition_kind = {
    TI_OP_KIND("repartition", TI_WORK_GENERAL, false, run_repartition), .endless = true};

static ti_status run_pause(ti_op *op, const ti_call *call, ti_err *err)
{
    return ti_queue_set_paused(ti_db_queues(op->db), op->args.type, op->args.number != 0, call,
                               err);
}

static const ti_op_kind pause_kind = {TI_OP_KIND("pause", TI_WORK_GENERAL, false, run_pause)};

static ti_status run_state(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_queue_state state;
    ti_buf text;
    TI_TRY(ti_queue_state_of(ti_db_queues(op->db), op->args.type, &state, call, err));
    ti_buf_init(&text, TI_DOCUMENT_SIZE_MAX);
    return ti_op_take_text(op, &text, ti_queue_state_write(&state, &text, err), err);
}

static const ti_op_kind state_kind = {TI_OP_KIND("queue stats", TI_WORK_GENERAL, false, run_state)};

static ti_status run_census(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_buf text;
    ti_buf_init(&text, TI_PAGE_SIZE_MAX);
    return ti_op_take_text(
        op, &text, ti_queue_census(ti_db_queues(op->db), op->args.type, &text, call, err), err);
}

static const ti_op_kind census_kind = {
    TI_OP_KIND("queue partitions", TI_WORK_GENERAL, false, run_census)};

tito_future_t *tito_queue_set_paused(tito_queue_t *queue, int32_t paused)
{
    return submit_text(queue, &pause_kind, TI_SLICE(""), paused);
}

tito_future_t *tito_queue_repartition(tito_queue_t *queue, int32_t partitions)
{
    return submit_text(queue, &repartition_kind, TI_SLICE(""), partitions < 0 ? 0 : partitions);
}

tito_future_t *tito_queue_stats(tito_queue_t *queue)
{
    return submit_text(queue, &state_kind, TI_SLICE(""), 0);
}

tito_future_t *tito_queue_partitions(tito_queue_t *queue)
{
    return submit_text(queue, &census_kind, TI_SLICE(""), 0);
}

static ti_status run_metrics(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_buf text;
    (void)call;
    ti_buf_init(&text, TI_PAGE_SIZE_MAX);
    return ti_op_take_text(op, &text, ti_queues_metrics(ti_db_queues(op->db), &text, err), err);
}

static const ti_op_kind metrics_kind = {TI_OP_KIND("metrics", TI_WORK_GENERAL, false, run_metrics)};

/* ---- recurring events ---- */

static ti_status wrong(ti_slice member, const char *wanted, ti_err *err)
{
    return ti_err_set(err, TI_INVALID_ARGUMENT, "schedule: %.*s must be %s", (int)member.len,
                      member.data, wanted);
}

static ti_status read_catch_up(ti_slice text, ti_catch_up *out, ti_err *err)
{
    static const char *const names[] = {"one", "all", "none"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (ti_slice_equal(text, ti_slice_of(names[i]))) {
            *out = (ti_catch_up)i;
            return TI_OK;
        }
    }
    return wrong(TI_SLICE("catch_up"), "one, all or none", err);
}

static ti_status read_member(ti_slice name, ti_json_value value, ti_arena *a, ti_schedule *s,
                             ti_err *err)
{
    const struct {
        ti_slice name;
        ti_slice *field;
    } texts[] = {{TI_SLICE("name"), &s->name},
                 {TI_SLICE("type"), &s->type},
                 {TI_SLICE("key"), &s->key},
                 {TI_SLICE("cron"), &s->cron},
                 {TI_SLICE("timezone"), &s->timezone}};
    ti_slice text = TI_SLICE_NONE;
    if (ti_slice_equal(name, TI_SLICE("payload"))) {
        s->payload = ti_json_raw(value);
        return TI_OK;
    }
    if (ti_json_type_of(value) != TI_JSON_STRING)
        return wrong(name, "a string", err);
    TI_TRY(ti_json_string(value, a, &text, err));
    if (ti_slice_equal(name, TI_SLICE("catch_up")))
        return read_catch_up(text, &s->catch_up, err);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (ti_slice_equal(name, texts[i].name)) {
            *texts[i].field = text;
            return TI_OK;
        }
    }
    return ti_err_set(err, TI_INVALID_ARGUMENT,
                      "schedule: knows name, type, key, cron, timezone, payload and catch_up");
}

static ti_status run_schedule(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_schedule s = {.catch_up = TI_CATCH_UP_ONE};
    ti_json_parser parser;
    ti_json_doc doc;
    ti_json_value value;
    ti_json_parser_init(&parser);
    ti_status status = ti_json_parse(&parser, &op->arena, op->args.text, &doc, err);
    ti_json_parser_free(&parser);
    TI_TRY(status);
    if (ti_json_type_of(ti_json_root(&doc)) != TI_JSON_OBJECT)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "schedule: must be a JSON object");
    for (ti_json_iter i = ti_json_iterate(ti_json_root(&doc)); ti_json_next(&i, &value);) {
        ti_slice name = TI_SLICE_NONE;
        TI_TRY(ti_json_key(value, &op->arena, &name, err));
        TI_TRY(read_member(name, value, &op->arena, &s, err));
    }
    return ti_schedule_set(ti_db_queues(op->db), &s, call, err);
}

static const ti_op_kind schedule_kind = {
    TI_OP_KIND("schedule", TI_WORK_GENERAL, false, run_schedule)};

static ti_status run_unschedule(ti_op *op, const ti_call *call, ti_err *err)
{
    return ti_schedule_remove(ti_db_queues(op->db), op->args.text, call, err);
}

static const ti_op_kind unschedule_kind = {
    TI_OP_KIND("unschedule", TI_WORK_GENERAL, false, run_unschedule)};

static void write_text(ti_json_writer *w, const char *key, ti_slice text)
{
    ti_json_write_key(w, ti_slice_of(key));
    ti_json_write_string(w, text);
}

static void write_schedule(ti_json_writer *w, const ti_schedule *s)
{
    static const char *const names[] = {"one", "all", "none"};
    ti_json_write_object_begin(w);
    write_text(w, "name", s->name);
    write_text(w, "type", s->type);
    write_text(w, "key", s->key);
    write_text(w, "cron", s->cron);
    write_text(w, "timezone", s->timezone.len > 0 ? s->timezone : TI_SLICE("UTC"));
    write_text(w, "catch_up", ti_slice_of(names[s->catch_up]));
    if (s->next_us != INT64_MAX) {
        ti_json_write_key(w, TI_SLICE("next"));
        ti_json_write_double(w, (double)s->next_us / US_PER_SECOND);
    }
    ti_json_write_key(w, TI_SLICE("payload"));
    ti_json_write_raw(w, s->payload.len > 0 ? s->payload : TI_SLICE("null"));
    ti_json_write_object_end(w);
}

static ti_status run_schedules(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_schedule *schedules;
    ti_json_writer writer;
    ti_buf text;
    size_t count;
    TI_TRY(ti_schedule_list(ti_db_queues(op->db), &op->arena, &schedules, &count, call, err));
    ti_buf_init(&text, TI_PAGE_SIZE_MAX);
    ti_json_writer_init(&writer, &text, err);
    ti_json_write_array_begin(&writer);
    for (size_t i = 0; i < count; i++)
        write_schedule(&writer, &schedules[i]);
    ti_json_write_array_end(&writer);
    return ti_op_take_text(op, &text, ti_json_writer_end(&writer), err);
}

static const ti_op_kind schedules_kind = {
    TI_OP_KIND("schedules", TI_WORK_GENERAL, false, run_schedules)};

static ti_status run_types(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_buf text;
    ti_buf_init(&text, TI_PAGE_SIZE_MAX);
    return ti_op_take_text(op, &text, ti_queue_types(ti_db_queues(op->db), &text, call, err), err);
}

static const ti_op_kind types_kind = {TI_OP_KIND("queues", TI_WORK_GENERAL, false, run_types)};

/* ---- of a database ---- */

static tito_future_t *submit(tito_db_t *db, const ti_op_kind *kind, ti_slice text, const char *what)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_op *op = NULL;
    TI_CHECK(ti_db_handle_check(db, &err));
    TI_CHECK(ti_argument_check(text, what, &err));
    op = ti_op_new(db->core, NULL, kind, ti_copy_size(text.len));
    TI_CHECK(op == NULL ? ti_err_no_memory(&err) : TI_OK);
    TI_CHECK(ti_op_copy(op, text, &op->args.text, &err));
out:
    return ti_op_submit(op, ti_db_of(db, TI_MAGIC_DB), NULL, status, &err);
}

tito_future_t *tito_db_queues(tito_db_t *db)
{
    return submit(db, &types_kind, TI_SLICE(""), "");
}

tito_future_t *tito_db_metrics(tito_db_t *db)
{
    return submit(db, &metrics_kind, TI_SLICE(""), "");
}

tito_future_t *tito_db_schedule(tito_db_t *db, const char *spec, size_t spec_len)
{
    return submit(db, &schedule_kind, (ti_slice){.data = spec, .len = spec_len}, "spec");
}

tito_future_t *tito_db_unschedule(tito_db_t *db, const char *name, size_t name_len)
{
    return submit(db, &unschedule_kind, (ti_slice){.data = name, .len = name_len}, "name");
}

tito_future_t *tito_db_schedules(tito_db_t *db)
{
    return submit(db, &schedules_kind, TI_SLICE(""), "");
}

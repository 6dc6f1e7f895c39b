/* The ops of a scenario about events: publishing, listing, handling.
 *
 *   {op: "work", type, count, fail} ──> a worker of one thread
 *                                   ──> [[key, action, payload], …] in the order of handling
 *
 * INVARIANTS
 *  1. `seen` of a work is written by its one handler thread, and read when that has ended.
 *
 * Thread rule: the ops one thread, handle() the worker's. What is NOT here: records (ops.c). */
#include "traces/trace.h"

int32_t trace_op_publish(trace *t, ti_json_value step)
{
    ti_slice key = trace_text(t, step, "key");
    ti_slice payload = trace_raw(step, "payload");
    tito_future_t *future =
        tito_queue_publish(trace_queue_of(t, trace_text(t, step, "type")), trace_txn_of(t, step),
                           key.data, key.len, payload.data, payload.len, 0, 0, NULL);
    int32_t status = trace_wait(t, future);
    tito_future_free(future);
    trace_put(t, "true");
    return status;
}

static void put_member(trace *t, ti_json_value event, const char *name)
{
    ti_slice raw = trace_raw(event, name);
    trace_put(t, "\"");
    trace_put(t, name);
    trace_put(t, "\":");
    if (raw.len > 0)
        trace_put_slice(t, (tito_slice){.data = raw.data, .len = raw.len});
    else
        trace_put(t, "null");
}

/* The members that are the same in every run; what is absent is null. */
static void put_event(trace *t, tito_slice document)
{
    static const char *const names[] = {"key",        "action",  "entity",
                                        "references", "payload", "attempts"};
    ti_json_doc doc;
    ti_slice text = {.data = document.data, .len = document.len};
    test_ok(ti_json_parse(&t->parser, &t->arena, text, &doc, &t->err), &t->err);
    trace_put(t, "{");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        trace_put(t, i == 0 ? "" : ",");
        put_member(t, ti_json_root(&doc), names[i]);
    }
    trace_put(t, "}");
}

int32_t trace_op_history(trace *t, ti_json_value step)
{
    ti_slice state = trace_raw(step, "state");
    const char *filter = ti_arena_format(&t->arena, "{\"state\":%.*s}", (int)state.len, state.data);
    tito_future_t *future =
        tito_queue_history(trace_queue_of(t, trace_text(t, step, "type")), filter, strlen(filter));
    int32_t status = trace_wait(t, future);
    tito_page_t *page = tito_future_page(future);
    trace_put(t, "[");
    for (size_t i = 0; i < tito_page_count(page); i++) {
        trace_put(t, i == 0 ? "" : ",");
        put_event(t, tito_page_document(page, i));
    }
    trace_put(t, "]");
    tito_page_free(page);
    tito_future_free(future);
    return status;
}

/* ---- a worker ---- */

typedef struct work {
    trace *t; /* its result takes what was seen, while the worker runs */
    tito_worker_t *worker;
    ti_slice fail; /* the JSON text of the keys whose handler fails */
    int64_t count; /* of events until the worker stops */
    int64_t seen;
} work;

static int32_t handle(void *context, tito_event_t *event)
{
    work *w = context;
    tito_slice key = tito_event_text(event, TITO_EVENT_KEY);
    tito_slice action = tito_event_text(event, TITO_EVENT_ACTION);
    tito_slice payload = tito_event_text(event, TITO_EVENT_PAYLOAD);
    trace_put(w->t, w->seen == 0 ? "[" : ",[");
    trace_put_string(w->t, key);
    trace_put(w->t, ",");
    if (action.len > 0)
        trace_put_string(w->t, action);
    else
        trace_put(w->t, "null");
    trace_put(w->t, ",");
    trace_put_slice(w->t, payload.len > 0 ? payload : (tito_slice){.data = "null", .len = 4});
    trace_put(w->t, "]");
    if (++w->seen == w->count)
        assert_int_equal(tito_worker_stop(w->worker, -1), TITO_OK);
    char quoted[64];
    int len = snprintf(quoted, sizeof(quoted), "\"%.*s\"", (int)key.len, key.data);
    assert_true(len > 0 && (size_t)len < sizeof(quoted));
    bool fails = w->fail.len > 0 && memmem(w->fail.data, w->fail.len, quoted, (size_t)len) != NULL;
    return fails ? TITO_HANDLER_FAILED : TITO_OK;
}

int32_t trace_op_work(trace *t, ti_json_value step)
{
    ti_slice type = trace_text(t, step, "type");
    work w = {.t = t, .fail = trace_raw(step, "fail")};
    w.count = ti_json_int(ti_json_get(step, TI_SLICE("count")));
    tito_options_t *options = tito_options_new();
    assert_int_equal(tito_options_set_int(options, "max_retries", 0), TITO_OK);
    assert_int_equal(tito_worker_new(t->db, options, &w.worker, &t->error), TITO_OK);
    tito_options_free(options);
    int32_t status = tito_worker_on(w.worker, type.data, type.len, NULL, handle, &w, &t->error);
    trace_put(t, "[");
    if (status == TITO_OK)
        status = tito_worker_start(w.worker, &t->error);
    if (status == TITO_OK) {
        tito_future_t *ended = tito_worker_join(w.worker);
        status = trace_wait(t, ended);
        tito_future_free(ended);
    }
    tito_worker_free(w.worker);
    trace_put(t, "]");
    return status;
}

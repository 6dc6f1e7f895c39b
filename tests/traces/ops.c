/* The ops of a scenario about records: writes, reads, queries, transactions, maintenance.
 *
 *   {op: "patch", model, id, changes, events, tx} ──> tito_model_patch ──> {"id":…}
 *
 * INVARIANTS
 *  1. A failure's status and error are passed on as they came.
 *
 * Thread rule: one thread; host functions run in the thread that writes. What is NOT here:
 * events.c. */
#include "traces/trace.h"

static tito_slice slice_of(ti_slice s)
{
    return (tito_slice){.data = s.data, .len = s.len};
}

/* ---- host functions ---- */

/* The events, partition key and references of a document. */
static void say_events(const trace_model *model, ti_json_value document, tito_write_t *write,
                       ti_arena *a)
{
    ti_err err;
    char events[512];
    ti_slice author = TI_SLICE_NONE;
    ti_json_value title = ti_json_get(document, TI_SLICE("title"));
    ti_json_value key = ti_json_get(document, TI_SLICE("author"));
    ti_json_value tags = ti_json_get(document, TI_SLICE("tag_ids"));
    if (ti_slice_equal(model->events, TI_SLICE("post_events"))) {
        ti_slice payload = ti_json_is_present(title) ? ti_json_raw(title) : TI_SLICE("null");
        int len = snprintf(events, sizeof(events), "[{\"name\":\"post\",\"payload\":%.*s}]",
                           (int)payload.len, payload.data);
        assert_true(len > 0 && (size_t)len < sizeof(events));
        assert_int_equal(tito_write_events(write, events, (size_t)len), TITO_OK);
    }
    if (ti_slice_equal(model->partition_key, TI_SLICE("author")) && ti_json_is_present(key)) {
        test_ok(ti_json_string(key, a, &author, &err), &err);
        assert_int_equal(tito_write_partition_key(write, author.data, author.len), TITO_OK);
    }
    if (ti_slice_equal(model->references, TI_SLICE("tag_ids")) && ti_json_is_present(tags)) {
        ti_slice raw = ti_json_raw(tags);
        assert_int_equal(tito_write_references(write, raw.data, raw.len), TITO_OK);
    }
}

int32_t trace_host(void *context, const char *document, size_t len, tito_write_t *write)
{
    const trace_model *model = context;
    ti_arena a;
    ti_json_parser parser;
    ti_json_doc doc;
    ti_err err;
    ti_arena_init(&a);
    ti_json_parser_init(&parser);
    test_ok(ti_json_parse(&parser, &a, (ti_slice){.data = document, .len = len}, &doc, &err), &err);
    ti_json_value root = ti_json_root(&doc);
    int32_t status = TITO_OK;
    uint64_t bits = 0;
    for (size_t i = 0; i < model->condition_count; i++) {
        if (ti_slice_equal(model->conditions[i], TI_SLICE("raises")))
            status = TITO_HANDLER_FAILED;
        ti_json_value value = ti_json_get(root, TI_SLICE("status"));
        bool is_draft =
            ti_json_is_present(value) && ti_slice_equal(ti_json_raw(value), TI_SLICE("\"draft\""));
        if (ti_slice_equal(model->conditions[i], TI_SLICE("not_draft")) && !is_draft)
            bits |= UINT64_C(1) << i;
    }
    assert_int_equal(tito_write_conditions(write, bits), TITO_OK);
    if (tito_write_get_operation(write).len > 0)
        say_events(model, root, write, &a);
    ti_json_parser_free(&parser);
    ti_arena_free(&a);
    return status;
}

/* ---- writes ---- */

/* What a step says about its write. */
static tito_write_t *new_write(trace *t, ti_json_value step)
{
    tito_write_t *write = tito_write_new();
    assert_non_null(write);
    ti_slice events = trace_text(t, step, "events");
    ti_slice version = trace_text(t, step, "if_version");
    if (events.len > 0)
        assert_int_equal(tito_write_operation(write, events.data, events.len), TITO_OK);
    if (version.len > 0) {
        uint64_t number = trace_named_of(t->versions, version)->version;
        assert_int_equal(tito_write_if_version(write, number), TITO_OK);
    }
    return write;
}

/* The document that a write has stored; keeps its version when the step says so. */
static int32_t stored(trace *t, ti_json_value step, tito_future_t *future, tito_write_t *write)
{
    int32_t status = trace_wait(t, future);
    ti_slice keep = trace_text(t, step, "keep_version");
    trace_put_slice(t, tito_future_bytes(future));
    if (status == TITO_OK && keep.len > 0)
        trace_named_of(t->versions, keep)->version = (uint64_t)tito_future_int(future);
    tito_future_free(future);
    tito_write_free(write);
    return status;
}

typedef tito_future_t *(*write_fn)(tito_model_t *model, tito_txn_t *txn, const char *document,
                                   size_t document_len, const tito_write_t *write);

static int32_t write_document(trace *t, ti_json_value step, write_fn fn)
{
    ti_slice document = trace_raw(step, "document");
    tito_write_t *write = new_write(t, step);
    tito_future_t *future = fn(trace_model_of(t, step)->handle, trace_txn_of(t, step),
                               document.data, document.len, write);
    return stored(t, step, future, write);
}

static int32_t op_build(trace *t, ti_json_value step)
{
    return write_document(t, step, tito_model_build);
}

static int32_t op_update(trace *t, ti_json_value step)
{
    return write_document(t, step, tito_model_update);
}

static int32_t op_save(trace *t, ti_json_value step)
{
    return write_document(t, step, tito_model_save);
}

static int32_t op_patch(trace *t, ti_json_value step)
{
    ti_slice id = trace_text(t, step, "id");
    ti_slice changes = trace_raw(step, "changes");
    tito_write_t *write = new_write(t, step);
    tito_future_t *future = tito_model_patch(trace_model_of(t, step)->handle, trace_txn_of(t, step),
                                             id.data, id.len, changes.data, changes.len, write);
    return stored(t, step, future, write);
}

/* Fills write with what the host functions say of the stored record. */
static int32_t say_of_stored(trace *t, trace_model *model, tito_txn_t *txn, ti_slice id,
                             tito_write_t *write)
{
    tito_future_t *found = tito_model_find(model->handle, txn, id.data, id.len, NULL);
    int32_t status = trace_wait(t, found);
    tito_slice document = tito_future_bytes(found);
    if (status == TITO_OK)
        status = trace_host(model, document.data, document.len, write);
    tito_future_free(found);
    return status;
}

/* The events of a delete are about the record as it was: it is read in the same transaction. */
static int32_t op_delete(trace *t, ti_json_value step)
{
    trace_model *model = trace_model_of(t, step);
    ti_slice id = trace_text(t, step, "id");
    tito_txn_t *txn = trace_txn_of(t, step);
    tito_txn_t *own = NULL;
    tito_write_t *write = new_write(t, step);
    int32_t status = TITO_OK;
    if (txn == NULL)
        status = tito_txn_begin(t->db, NULL, &own, &t->error);
    if (status == TITO_OK && trace_text(t, step, "events").len > 0)
        status = say_of_stored(t, model, txn != NULL ? txn : own, id, write);
    if (status == TITO_OK) {
        tito_future_t *deleted =
            tito_model_delete(model->handle, txn != NULL ? txn : own, id.data, id.len, write);
        status = trace_wait(t, deleted);
        trace_put(t, tito_future_int(deleted) == 1 ? "true" : "false");
        tito_future_free(deleted);
    }
    if (status == TITO_OK && own != NULL) {
        tito_future_t *committed = tito_txn_commit(own);
        status = trace_wait(t, committed);
        tito_future_free(committed);
    }
    tito_txn_free(own);
    tito_write_free(write);
    if (status != TITO_NOT_FOUND)
        return status;
    tito_error_free(t->error);
    t->error = NULL;
    trace_put(t, "false");
    return TITO_OK;
}

/* ---- reads ---- */

/* The documents of a page; of keys only each is its id. */
static void put_page(trace *t, tito_page_t *page)
{
    trace_put(t, "[");
    for (size_t i = 0; i < tito_page_count(page); i++) {
        trace_put(t, i == 0 ? "" : ",");
        tito_slice document = tito_page_document(page, i);
        trace_put_slice(t, document);
        if (document.len > 0)
            continue;
        trace_put(t, "{\"id\":");
        trace_put_string(t, tito_page_id(page, i));
        trace_put(t, "}");
    }
    trace_put(t, "]");
}

/* Ends an op whose result is a document or nothing. */
static int32_t found_or_null(trace *t, tito_future_t *future)
{
    int32_t status = trace_wait(t, future);
    trace_put_slice(t, tito_future_bytes(future));
    tito_future_free(future);
    if (status != TITO_NOT_FOUND)
        return status;
    tito_error_free(t->error);
    t->error = NULL;
    trace_put(t, "null");
    return TITO_OK;
}

static tito_read_t *new_read(trace *t, ti_json_value step)
{
    tito_read_t *read = tito_read_new();
    assert_non_null(read);
    ti_json_iter at = trace_each(step, "relationships");
    ti_json_value path;
    ti_slice text;
    while (ti_json_next(&at, &path)) {
        test_ok(ti_json_string(path, &t->arena, &text, &t->err), &t->err);
        assert_int_equal(tito_read_relationship(read, text.data, text.len), TITO_OK);
    }
    return read;
}

static int32_t op_find(trace *t, ti_json_value step)
{
    ti_slice id = trace_text(t, step, "id");
    tito_read_t *read = new_read(t, step);
    tito_future_t *future = tito_model_find(trace_model_of(t, step)->handle, trace_txn_of(t, step),
                                            id.data, id.len, read);
    int32_t status = found_or_null(t, future);
    tito_read_free(read);
    return status;
}

static int32_t op_find_many(trace *t, ti_json_value step)
{
    ti_slice ids = trace_raw(step, "ids");
    tito_read_t *read = new_read(t, step);
    tito_future_t *future = tito_model_find_many(trace_model_of(t, step)->handle,
                                                 trace_txn_of(t, step), ids.data, ids.len, read);
    int32_t status = trace_wait(t, future);
    tito_page_t *page = tito_future_page(future);
    put_page(t, page);
    tito_page_free(page);
    tito_future_free(future);
    tito_read_free(read);
    return status;
}

/* ---- queries ---- */

/* What is wrong with a value or a path is told by the execution, so these answers are not looked
 * at. */
static void ask_values(trace *t, ti_json_value step, tito_query_t *query)
{
    static const char *const names[] = {"gt", "gte", "lt", "lte", "starts_with"};
    ti_json_value child;
    ti_json_iter at = trace_each(step, "values");
    while (ti_json_next(&at, &child)) {
        ti_slice raw = ti_json_raw(child);
        (void)tito_query_value(query, raw.data, raw.len);
    }
    at = trace_each(step, "bounds");
    while (ti_json_next(&at, &child)) {
        ti_json_iter pair = ti_json_iterate(child);
        ti_json_value name;
        ti_json_value value;
        ti_slice text;
        assert_true(ti_json_next(&pair, &name) && ti_json_next(&pair, &value));
        test_ok(ti_json_string(name, &t->arena, &text, &t->err), &t->err);
        int32_t bound = 0;
        while (!ti_slice_equal(text, ti_slice_of(names[bound])))
            assert_true(++bound < 5);
        ti_slice raw = ti_json_raw(value);
        (void)tito_query_bound(query, bound + TITO_GT, raw.data, raw.len);
    }
    at = trace_each(step, "relationships");
    while (ti_json_next(&at, &child)) {
        ti_slice text;
        test_ok(ti_json_string(child, &t->arena, &text, &t->err), &t->err);
        (void)tito_query_relationship(query, text.data, text.len);
    }
}

static int32_t new_query(trace *t, ti_json_value step, tito_query_t **query_out)
{
    tito_model_t *model = trace_model_of(t, step)->handle;
    ti_slice index = trace_text(t, step, "index");
    int32_t status = index.len > 0
                         ? tito_query_new(model, index.data, index.len, query_out, &t->error)
                         : tito_query_scan(model, query_out, &t->error);
    if (status != TITO_OK)
        return status;
    ask_values(t, step, *query_out);
    ti_json_value limit = ti_json_get(step, TI_SLICE("limit"));
    if (ti_json_is_present(limit))
        (void)tito_query_limit(*query_out, ti_json_int(limit));
    if (trace_text(t, step, "cursor").len > 0)
        (void)tito_query_cursor(*query_out, t->cursor.data, t->cursor.len);
    (void)tito_query_reverse(*query_out, trace_is(step, "reverse"));
    (void)tito_query_keys_only(*query_out, trace_is(step, "keys_only"));
    return TITO_OK;
}

/* A query's page, or a scan's. */
static int32_t op_query(trace *t, ti_json_value step)
{
    tito_query_t *query = NULL;
    int32_t status = new_query(t, step, &query);
    if (status != TITO_OK)
        return status;
    tito_future_t *future = tito_query_execute(query, trace_txn_of(t, step));
    status = trace_wait(t, future);
    if (status == TITO_OK) {
        tito_page_t *page = tito_future_page(future);
        tito_slice cursor = tito_page_cursor(page);
        t->cursor = ti_arena_copy(&t->arena, (ti_slice){.data = cursor.data, .len = cursor.len});
        trace_put(t, "{\"items\":");
        put_page(t, page);
        trace_put(t, cursor.len > 0 ? ",\"more\":true}" : ",\"more\":false}");
        tito_page_free(page);
    }
    tito_future_free(future);
    tito_query_free(query);
    return status;
}

static int32_t op_first(trace *t, ti_json_value step)
{
    tito_query_t *query = NULL;
    int32_t status = new_query(t, step, &query);
    if (status == TITO_OK)
        status = found_or_null(t, tito_query_first(query, trace_txn_of(t, step)));
    tito_query_free(query);
    return status;
}

static int32_t op_count(trace *t, ti_json_value step)
{
    tito_query_t *query = NULL;
    int32_t status = new_query(t, step, &query);
    if (status != TITO_OK)
        return status;
    tito_future_t *future = tito_query_count(query, trace_txn_of(t, step));
    status = trace_wait(t, future);
    trace_put(t, ti_arena_format(&t->arena, "%lld", (long long)tito_future_int(future)));
    tito_future_free(future);
    tito_query_free(query);
    return status;
}

/* ---- transactions ---- */

static int32_t op_begin(trace *t, ti_json_value step)
{
    trace_named *named = trace_named_of(t->txns, trace_text(t, step, "tx"));
    trace_put(t, "true");
    return tito_txn_begin(t->db, NULL, &named->txn, &t->error);
}

static int32_t ended(trace *t, ti_json_value step, tito_future_t *(*end)(tito_txn_t *txn))
{
    trace_named *named = trace_named_of(t->txns, trace_text(t, step, "tx"));
    tito_future_t *future = end(named->txn);
    int32_t status = trace_wait(t, future);
    tito_future_free(future);
    tito_txn_free(named->txn);
    named->txn = NULL;
    trace_put(t, "true");
    return status;
}

static int32_t op_commit(trace *t, ti_json_value step)
{
    return ended(t, step, tito_txn_commit);
}

static int32_t op_rollback(trace *t, ti_json_value step)
{
    return ended(t, step, tito_txn_rollback);
}

/* ---- maintenance ---- */

/* Takes all steps; the summary goes to t->result. */
static int32_t all_steps(trace *t, tito_steps_t *steps)
{
    int64_t left = TITO_STEP_MORE;
    int32_t status = TITO_OK;
    while (status == TITO_OK && left == TITO_STEP_MORE) {
        tito_future_t *future = tito_steps_next(steps);
        status = trace_wait(t, future);
        left = tito_future_int(future);
        ti_buf_clear(&t->result);
        trace_put_slice(t, tito_future_bytes(future));
        tito_future_free(future);
    }
    tito_steps_free(steps);
    return status;
}

static int32_t op_check(trace *t, ti_json_value step)
{
    tito_steps_t *steps = NULL;
    int32_t status = tito_check_open(trace_model_of(t, step)->handle, NULL, &steps, &t->error);
    if (status == TITO_OK)
        status = all_steps(t, steps);
    if (status != TITO_OK)
        return status;
    ti_json_doc doc;
    ti_slice summary = ti_arena_copy(&t->arena, ti_buf_slice(&t->result));
    test_ok(ti_json_parse(&t->parser, &t->arena, summary, &doc, &t->err), &t->err);
    ti_buf_clear(&t->result);
    trace_put_slice(t, slice_of(trace_raw(ti_json_root(&doc), "findings")));
    return TITO_OK;
}

static int32_t op_reindex(trace *t, ti_json_value step)
{
    tito_steps_t *steps = NULL;
    int32_t status = tito_reindex_open(trace_model_of(t, step)->handle, NULL, &steps, &t->error);
    if (status == TITO_OK)
        status = all_steps(t, steps);
    ti_buf_clear(&t->result);
    trace_put(t, "true");
    return status;
}

trace_op trace_op_of(ti_slice name)
{
    static const struct {
        const char *name;
        trace_op op;
    } ops[] = {
        {"build", op_build},         {"update", op_update},         {"save", op_save},
        {"patch", op_patch},         {"delete", op_delete},         {"find", op_find},
        {"find_many", op_find_many}, {"query", op_query},           {"scan", op_query},
        {"first", op_first},         {"count", op_count},           {"begin", op_begin},
        {"commit", op_commit},       {"rollback", op_rollback},     {"check", op_check},
        {"reindex", op_reindex},     {"publish", trace_op_publish}, {"history", trace_op_history},
        {"work", trace_op_work},
    };
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        if (ti_slice_equal(name, ti_slice_of(ops[i].name)))
            return ops[i].op;
    }
    return NULL;
}

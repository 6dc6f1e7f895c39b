/* Queries: the builder over core's, and its executions as operations.
 *
 * INVARIANTS
 *  1. An execution works on a copy of the query: the handle may be changed or freed meanwhile.
 *  2. The first building call that fails is kept: every execution answers its error, with the text.
 *
 * Thread rule: a query handle belongs to one thread at a time. */
#include "json/json.h"
#include "query/query.h"

#include "abi/model.h"
#include "abi/op.h"
#include "abi/txn.h"

struct tito_query {
    uint32_t magic;
    ti_db *db;      /* one reference */
    ti_query *core; /* owned */
    ti_err failed;  /* of the first building call that failed; status OK: none did */
};
TI_DB_HANDLE_CHECK(struct tito_query, db);

_Static_assert((int)TITO_GT == (int)TI_BOUND_GT && (int)TITO_GTE == (int)TI_BOUND_GTE &&
                   (int)TITO_LT == (int)TI_BOUND_LT && (int)TITO_LTE == (int)TI_BOUND_LTE &&
                   (int)TITO_STARTS_WITH == (int)TI_BOUND_STARTS_WITH,
               "bounds are one list");

/* ---- building ---- */

/* A handle that owns core. */
static ti_status new_query(const tito_model_t *model, ti_query *core, tito_query_t **query_out,
                           ti_err *err)
{
    tito_query_t *query = ti_alloc(sizeof(*query));
    if (query == NULL) {
        ti_query_free(core);
        return ti_err_no_memory(err);
    }
    query->magic = TI_MAGIC_QUERY;
    query->db = ti_db_ref(model->db);
    query->core = core;
    ti_err_clear(&query->failed);
    *query_out = query;
    return TI_OK;
}

int32_t tito_query_new(tito_model_t *model, const char *index, size_t index_len,
                       tito_query_t **query_out, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_query *core = NULL;
    TI_CHECK(ti_out_check(query_out, "query_out", &err));
    TI_CHECK(ti_model_handle_check(model, &err));
    TI_CHECK(ti_bytes_check(index, index_len, "index", &err));
    TI_CHECK(ti_query_new(model->core, (ti_slice){.data = index, .len = index_len}, &core, &err));
    TI_CHECK(new_query(model, core, query_out, &err));
out:
    return ti_answer(status, &err, error_out);
}

int32_t tito_query_scan(tito_model_t *model, tito_query_t **query_out, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_query *core = NULL;
    TI_CHECK(ti_out_check(query_out, "query_out", &err));
    TI_CHECK(ti_model_handle_check(model, &err));
    TI_CHECK(ti_query_scan(model->core, &core, &err));
    TI_CHECK(new_query(model, core, query_out, &err));
out:
    return ti_answer(status, &err, error_out);
}

static ti_status check_query(const tito_query_t *query, ti_err *err)
{
    TI_TRY(ti_handle_check(query, TI_MAGIC_QUERY, "query", err));
    return ti_db_check(query->db, err);
}

/* Keeps the first failure of the builder. */
static int32_t built(tito_query_t *query, ti_status status, const ti_err *err)
{
    if (status != TI_OK && query->failed.status == TI_OK)
        query->failed = *err;
    return status;
}

int32_t tito_query_value(tito_query_t *query, const char *value, size_t len)
{
    ti_err err;
    TI_TRY(check_query(query, NULL));
    if (ti_bytes_check(value, len, "value", &err) != TI_OK)
        return built(query, err.status, &err);
    ti_slice json = {.data = value, .len = len};
    return built(query, ti_query_value(query->core, json, &err), &err);
}

int32_t tito_query_bound(tito_query_t *query, int32_t bound, const char *value, size_t len)
{
    ti_err err;
    TI_TRY(check_query(query, NULL));
    if (bound < TITO_GT || bound > TITO_STARTS_WITH) {
        ti_status unknown =
            ti_err_set(&err, TI_INVALID_ARGUMENT, "there is no bound %d", (int)bound);
        return built(query, unknown, &err);
    }
    if (ti_bytes_check(value, len, "value", &err) != TI_OK)
        return built(query, err.status, &err);
    ti_slice json = {.data = value, .len = len};
    return built(query, ti_query_bound(query->core, (ti_bound)bound, json, &err), &err);
}

int32_t tito_query_limit(tito_query_t *query, int64_t limit)
{
    ti_err err;
    TI_TRY(check_query(query, NULL));
    return built(query, ti_query_limit(query->core, limit, &err), &err);
}

int32_t tito_query_cursor(tito_query_t *query, const char *cursor, size_t len)
{
    ti_err err;
    TI_TRY(check_query(query, NULL));
    if (ti_bytes_check(cursor, len, "cursor", &err) != TI_OK)
        return built(query, err.status, &err);
    ti_slice token = {.data = cursor, .len = len};
    return built(query, ti_query_cursor(query->core, token, &err), &err);
}

int32_t tito_query_relationship(tito_query_t *query, const char *path, size_t len)
{
    ti_err err;
    TI_TRY(check_query(query, NULL));
    if (ti_bytes_check(path, len, "path", &err) != TI_OK)
        return built(query, err.status, &err);
    ti_slice named = {.data = path, .len = len};
    return built(query, ti_query_relationship(query->core, named, &err), &err);
}

int32_t tito_query_reverse(tito_query_t *query, int32_t on)
{
    TI_TRY(check_query(query, NULL));
    ti_query_reverse(query->core, on != 0);
    return TITO_OK;
}

int32_t tito_query_keys_only(tito_query_t *query, int32_t on)
{
    TI_TRY(check_query(query, NULL));
    ti_query_keys_only(query->core, on != 0);
    return TITO_OK;
}

void tito_query_free(tito_query_t *query)
{
    if (ti_handle_check(query, TI_MAGIC_QUERY, "query", NULL) != TI_OK)
        return;
    query->magic = TI_MAGIC_FREED;
    if (!ti_db_forked(query->db))
        ti_query_free(query->core);
    ti_db_unref(query->db);
    ti_free(query);
}

/* ---- executing ---- */

static ti_status run_execute(ti_op *op, const ti_call *call, ti_err *err)
{
    return ti_query_execute(op->args.object, ti_op_txn(op), &op->page, call, err);
}

static const ti_op_kind execute_kind = {TI_OP_KIND("query", TI_WORK_GENERAL, false, run_execute)};

/* {"id": id}: all that is asked for of a document by a query for keys. */
static ti_status id_alone(ti_op *op, ti_slice id, ti_err *err)
{
    ti_buf text;
    ti_json_writer w;
    ti_buf_init(&text, TI_DOCUMENT_SIZE_MAX);
    ti_json_writer_init(&w, &text, err);
    ti_json_write_object_begin(&w);
    ti_json_write_key(&w, TI_SLICE("id"));
    ti_json_write_string(&w, id);
    ti_json_write_object_end(&w);
    return ti_op_take_text(op, &text, ti_json_writer_end(&w), err);
}

static ti_status run_first(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_document document;
    TI_TRY(ti_query_first(op->args.object, ti_op_txn(op), &op->arena, &document, call, err));
    op->number = (int64_t)document.version;
    op->bytes = document.json;
    return document.json.data != NULL ? TI_OK : id_alone(op, document.id, err);
}

static const ti_op_kind first_kind = {TI_OP_KIND("first", TI_WORK_GENERAL, false, run_first)};

static ti_status run_count(ti_op *op, const ti_call *call, ti_err *err)
{
    uint64_t count = 0;
    TI_TRY(ti_query_count(op->args.object, ti_op_txn(op), &count, call, err));
    op->number = (int64_t)count;
    return TI_OK;
}

static const ti_op_kind count_kind = {TI_OP_KIND("count", TI_WORK_GENERAL, false, run_count)};

static ti_status run_explain(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_buf text;
    ti_buf_init(&text, TI_DOCUMENT_SIZE_MAX);
    ti_status status = ti_query_explain(op->args.object, ti_op_txn(op), &text, call, err);
    return ti_op_take_text(op, &text, status, err);
}

static const ti_op_kind explain_kind = {TI_OP_KIND("explain", TI_WORK_GENERAL, false, run_explain)};

static void free_query(void *query)
{
    ti_query_free(query);
}

static tito_future_t *submit_query(const tito_query_t *query, tito_txn_t *txn,
                                   const ti_op_kind *kind)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_op *op = NULL;
    ti_query *copy = NULL;
    TI_CHECK(check_query(query, &err));
    TI_CHECK(ti_txn_handle_check(txn, query->db, &err));
    if (query->failed.status != TI_OK) {
        err = query->failed;
        TI_CHECK(err.status);
    }
    op = ti_op_new(query->db, txn, kind, 0);
    TI_CHECK(op == NULL ? ti_err_no_memory(&err) : ti_query_copy(query->core, &copy, &err));
    op->args.object = copy;
    op->args.release = free_query;
out:
    return ti_op_submit(op, ti_db_of(query, TI_MAGIC_QUERY), NULL, status, &err);
}

tito_future_t *tito_query_execute(const tito_query_t *query, tito_txn_t *txn)
{
    return submit_query(query, txn, &execute_kind);
}

tito_future_t *tito_query_first(const tito_query_t *query, tito_txn_t *txn)
{
    return submit_query(query, txn, &first_kind);
}

tito_future_t *tito_query_count(const tito_query_t *query, tito_txn_t *txn)
{
    return submit_query(query, txn, &count_kind);
}

tito_future_t *tito_query_explain(const tito_query_t *query)
{
    return submit_query(query, NULL, &explain_kind);
}

/* Database handles: making, opening, closing, and the operations on a whole database.
 *
 * Thread rule: any, at the same time. */
#include "abi/db.h"

#include <stddef.h>

#include "abi/op.h"
#include "abi/options.h"
#include "model/maintenance.h"

/* ---- life ---- */

static const ti_option db_options[] = {
    {.name = "namespace", .kind = TI_OPTION_TEXT, .offset = offsetof(ti_db_options, name_space)},
    {.name = "partitions",
     .kind = TI_OPTION_INT,
     .offset = offsetof(ti_db_options, partitions),
     .min = 1,
     .max = TI_PARTITIONS_MAX},
    {.name = "timeout_us",
     .kind = TI_OPTION_INT,
     .offset = offsetof(ti_db_options, timeout_us),
     .min = 1,
     .max = INT64_MAX},
    {.name = "txn_age_us",
     .kind = TI_OPTION_INT,
     .offset = offsetof(ti_db_options, txn_age_us),
     .min = 1,
     .max = TI_TXN_AGE_MAX_S * INT64_C(1000000)},
    {.name = "durability",
     .kind = TI_OPTION_CHOICE,
     .offset = offsetof(ti_db_options, durability),
     .choices = {"sync", "buffered"}},
    {.name = "open_wait_us",
     .kind = TI_OPTION_INT,
     .offset = offsetof(ti_db_options, open_wait_us),
     .min = 0,
     .max = INT64_MAX},
    {.name = "block_cache_size",
     .kind = TI_OPTION_INT,
     .offset = offsetof(ti_db_options, block_cache_size),
     .min = 0,
     .max = INT64_MAX},
    {.name = "write_buffer_size",
     .kind = TI_OPTION_INT,
     .offset = offsetof(ti_db_options, write_buffer_size),
     .min = 0,
     .max = INT64_MAX},
    {.name = "threads",
     .kind = TI_OPTION_INT,
     .offset = offsetof(ti_db_options, threads),
     .min = 1,
     .max = TI_EXECUTOR_THREADS_MAX},
    {.name = "log_level",
     .kind = TI_OPTION_CHOICE,
     .offset = offsetof(ti_db_options, log_level),
     .choices = {"error", "warn", "info", "debug"}},
    {.name = "ca", .kind = TI_OPTION_TEXT, .offset = offsetof(ti_db_options, ca)},
    {.name = "cert", .kind = TI_OPTION_TEXT, .offset = offsetof(ti_db_options, cert)},
    {.name = "key", .kind = TI_OPTION_TEXT, .offset = offsetof(ti_db_options, key)},
    {.name = "server_name", .kind = TI_OPTION_TEXT, .offset = offsetof(ti_db_options, server_name)},
};

static ti_status new_db(ti_slice target, const ti_db_options *options, tito_db_t **db_out,
                        ti_err *err)
{
    tito_db_t *db = ti_alloc(sizeof(*db));
    if (db == NULL)
        return ti_err_no_memory(err);
    db->magic = TI_MAGIC_DB;
    atomic_init(&db->closing, NULL);
    ti_status status = ti_db_new(target, options, &db->core, err);
    if (status != TI_OK)
        ti_free(db);
    else
        *db_out = db;
    return status;
}

int32_t tito_db_new(const char *target, size_t target_len, const tito_options_t *options,
                    tito_db_t **db_out, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_db_options known = ti_db_options_default();
    TI_CHECK(ti_out_check(db_out, "db_out", &err));
    TI_CHECK(ti_bytes_check(target, target_len, "target", &err));
    TI_CHECK(
        ti_options_read(options, "tito_db_new", db_options, TI_COUNT(db_options), &known, &err));
    TI_CHECK(new_db((ti_slice){.data = target, .len = target_len}, &known, db_out, &err));
out:
    return ti_answer(status, &err, error_out);
}

int32_t tito_db_set_log(tito_db_t *db, tito_log_sink sink, void *context, int32_t level)
{
    TI_TRY(ti_db_handle_check(db, NULL));
    if (level < TI_LOG_ERROR || level > TI_LOG_DEBUG)
        return TITO_INVALID_ARGUMENT;
    return ti_db_set_log(db->core, sink, context, (ti_log_level)level, NULL);
}

int32_t tito_db_close(tito_db_t *db, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    TI_CHECK(ti_handle_check(db, TI_MAGIC_DB, "db", &err));
    TI_CHECK(ti_db_close(db->core, &err));
out:
    return ti_answer(status, &err, error_out);
}

void tito_db_free(tito_db_t *db)
{
    if (ti_handle_check(db, TI_MAGIC_DB, "db", NULL) != TI_OK)
        return;
    /* In a child (FORKED) and in a handler nothing is closed, and nobody is waited for. */
    if (ti_db_close(db->core, NULL) == TI_OK)
        ti_closing_end(db);
    db->magic = TI_MAGIC_FREED;
    ti_db_unref(db->core);
    ti_free(db);
}

int32_t tito_connect(const char *target, size_t target_len, const tito_options_t *options,
                     tito_db_t **db_out, tito_error_t **error_out)
{
    tito_db_t *db = NULL;
    if (db_out == NULL)
        return tito_db_new(target, target_len, options, NULL, error_out);
    *db_out = NULL;
    int32_t status = tito_db_new(target, target_len, options, &db, error_out);
    if (status != TITO_OK)
        return status;
    tito_future_t *opened = tito_db_open(db);
    status = tito_future_wait(opened, -1, error_out);
    tito_future_free(opened);
    if (status == TITO_OK)
        *db_out = db;
    else
        tito_db_free(db);
    return status;
}

/* ---- operations ---- */

static ti_status run_open(ti_op *op, const ti_call *call, ti_err *err)
{
    return ti_db_open(op->db, call, err);
}

static const ti_op_kind open_kind = {TI_OP_KIND("open", TI_WORK_GENERAL, false, run_open),
                                     .opens = true};

static ti_status run_now(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_ts now = TI_TS_NONE;
    TI_TRY(ti_kv_now(ti_db_kv(op->db), &now, call, err));
    op->number = ti_ts_to_us(now);
    return TI_OK;
}

static const ti_op_kind now_kind = {TI_OP_KIND("now", TI_WORK_GENERAL, false, run_now)};

static ti_status run_gc(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_engine *engine = ti_db_kv(op->db)->engine;
    return engine->vt->gc(engine, op->args.number, call, err);
}

static const ti_op_kind gc_kind = {TI_OP_KIND("gc", TI_WORK_GENERAL, false, run_gc)};

static ti_status run_stats(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_buf text;
    (void)call;
    ti_buf_init(&text, TI_DOCUMENT_SIZE_MAX);
    ti_status status = ti_db_stats(op->db, &text, err);
    return ti_op_take_text(op, &text, status, err);
}

static const ti_op_kind stats_kind = {TI_OP_KIND("stats", TI_WORK_GENERAL, false, run_stats)};

static ti_status run_schema(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_buf text;
    ti_buf_init(&text, TI_PAGE_SIZE_MAX);
    ti_status status = ti_catalog_list(ti_db_store(op->db), &text, call, err);
    return ti_op_take_text(op, &text, status, err);
}

static const ti_op_kind schema_kind = {TI_OP_KIND("schema", TI_WORK_GENERAL, false, run_schema)};

static ti_status run_drop_index(ti_op *op, const ti_call *call, ti_err *err)
{
    return ti_drop_index(ti_db_store(op->db), op->args.id, op->args.text, call, err);
}

static const ti_op_kind drop_index_kind = {
    TI_OP_KIND("drop_index", TI_WORK_GENERAL, false, run_drop_index), .endless = true};

static ti_status run_drop_table(ti_op *op, const ti_call *call, ti_err *err)
{
    return ti_drop_table(ti_db_store(op->db), op->args.id, call, err);
}

static const ti_op_kind drop_table_kind = {
    TI_OP_KIND("drop_table", TI_WORK_GENERAL, false, run_drop_table), .endless = true};

/* An operation on db with two texts and a number, of which it may use none. */
static tito_future_t *submit(tito_db_t *db, const ti_op_kind *kind, ti_slice id, ti_slice text,
                             int64_t number)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_op *op = NULL;
    TI_CHECK(ti_db_handle_check(db, &err));
    TI_CHECK(ti_argument_check(id, "table", &err));
    TI_CHECK(ti_argument_check(text, "index", &err));
    op = ti_op_new(db->core, NULL, kind, ti_copy_size(id.len) + ti_copy_size(text.len));
    TI_CHECK(op == NULL ? ti_err_no_memory(&err) : ti_op_copy(op, id, &op->args.id, &err));
    TI_CHECK(ti_op_copy(op, text, &op->args.text, &err));
    op->args.number = number;
out:
    return ti_op_submit(op, ti_db_of(db, TI_MAGIC_DB), NULL, status, &err);
}

tito_future_t *tito_db_open(tito_db_t *db)
{
    return submit(db, &open_kind, TI_SLICE_NONE, TI_SLICE_NONE, 0);
}

tito_future_t *tito_db_now(tito_db_t *db)
{
    return submit(db, &now_kind, TI_SLICE_NONE, TI_SLICE_NONE, 0);
}

tito_future_t *tito_db_stats(tito_db_t *db)
{
    return submit(db, &stats_kind, TI_SLICE_NONE, TI_SLICE_NONE, 0);
}

tito_future_t *tito_db_gc(tito_db_t *db, int64_t retention_us)
{
    return submit(db, &gc_kind, TI_SLICE_NONE, TI_SLICE_NONE, retention_us);
}

tito_future_t *tito_db_schema(tito_db_t *db)
{
    return submit(db, &schema_kind, TI_SLICE_NONE, TI_SLICE_NONE, 0);
}

tito_future_t *tito_db_drop_index(tito_db_t *db, const char *table, size_t table_len,
                                  const char *index, size_t index_len)
{
    return submit(db, &drop_index_kind, (ti_slice){.data = table, .len = table_len},
                  (ti_slice){.data = index, .len = index_len}, 0);
}

tito_future_t *tito_db_drop_table(tito_db_t *db, const char *table, size_t table_len)
{
    return submit(db, &drop_table_kind, (ti_slice){.data = table, .len = table_len}, TI_SLICE_NONE,
                  0);
}

/* Models: declaring, writing, finding. Each operation is a run function over core/model and an
 * exported function that gathers its arguments.
 *
 * INVARIANTS
 *  1. A C host function is called in the thread that calls the write, on a document that is valid
 *     JSON; for a patch, whose document is known only later, in the thread that runs the operation.
 *  2. A write that fails, for whatever reason, dooms its transaction.
 *
 * Thread rule: model handles any; see op.h. */
#include "abi/model.h"

#include "abi/args.h"
#include "abi/db.h"
#include "abi/op.h"
#include "abi/txn.h"
#include "json/json.h"
#include "kv/retry.h"

/* ---- handles ---- */

int32_t tito_model_declare(tito_db_t *db, const char *spec, size_t spec_len,
                           tito_model_t **model_out, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    tito_model_t *model = NULL;
    TI_CHECK(ti_out_check(model_out, "model_out", &err));
    TI_CHECK(ti_db_handle_check(db, &err));
    TI_CHECK(ti_bytes_check(spec, spec_len, "spec", &err));
    TI_CHECK(ti_model_new(db->core, (ti_slice){.data = spec, .len = spec_len}, &model, &err));
    *model_out = model;
out:
    return ti_answer(status, &err, error_out);
}

ti_status ti_model_new(ti_db *db, ti_slice spec, tito_model_t **model_out, ti_err *err)
{
    tito_model_t *model = ti_alloc_zero(sizeof(*model));
    if (model == NULL)
        return ti_err_no_memory(err);
    ti_status status = ti_model_declare(ti_db_store(db), 0, spec, &model->core, err);
    if (status != TI_OK) {
        ti_free(model);
        return status;
    }
    model->magic = TI_MAGIC_MODEL;
    model->db = ti_db_ref(db);
    *model_out = model;
    return TI_OK;
}

ti_status ti_model_handle_check(const tito_model_t *model, ti_err *err)
{
    TI_TRY(ti_handle_check(model, TI_MAGIC_MODEL, "model", err));
    return ti_db_check(model->db, err);
}

void tito_model_free(tito_model_t *model)
{
    if (ti_handle_check(model, TI_MAGIC_MODEL, "model", NULL) != TI_OK)
        return;
    model->magic = TI_MAGIC_FREED;
    if (!ti_db_forked(model->db))
        ti_model_unref(model->core);
    ti_db_unref(model->db);
    ti_free(model);
}

int32_t tito_model_set_host(tito_model_t *model, tito_host_fn host, void *context)
{
    TI_TRY(ti_model_handle_check(model, NULL));
    model->host = host;
    model->host_context = context;
    return TITO_OK;
}

static void unref_model(void *model)
{
    ti_model_unref(model);
}

/* ---- the host function ---- */

static ti_status check_json(ti_slice document, ti_err *err)
{
    ti_json_parser parser;
    ti_arena arena;
    ti_json_doc doc;
    ti_json_parser_init(&parser);
    ti_arena_init(&arena);
    ti_status status = ti_json_parse(&parser, &arena, document, &doc, err);
    ti_arena_free(&arena);
    ti_json_parser_free(&parser);
    return status;
}

ti_status ti_host_call(tito_host_fn host, void *context, ti_slice document, tito_write_t *write,
                       ti_err *err)
{
    ti_host_enter();
    int32_t status = host(context, document.data, document.len, write);
    ti_host_leave();
    if (status == TITO_OK)
        return TI_OK;
    return ti_err_set(err, status, "the model's host function failed with %s",
                      ti_status_name(status));
}

/* What the host function makes of document, beginning with what was asked for. */
static ti_status evaluate(tito_host_fn host, void *context, ti_slice document,
                          const ti_write *asked, tito_write_t *filled, ti_err *err)
{
    filled->write = *asked;
    TI_TRY(check_json(document, err));
    return ti_host_call(host, context, document, filled, err);
}

/* ---- writes ---- */

static ti_status set_document(ti_op *op, const ti_document *document)
{
    op->bytes = document->json;
    op->number = (int64_t)document->version;
    return TI_OK;
}

static ti_status run_build(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_document stored;
    TI_TRY(ti_model_build(op->args.object, ti_op_txn(op), op->args.text, &op->args.write,
                          &op->arena, &stored, call, err));
    return set_document(op, &stored);
}

static const ti_op_kind build_kind = {TI_OP_KIND("build", TI_WORK_GENERAL, true, run_build)};

static ti_status run_update(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_document stored;
    TI_TRY(ti_model_update(op->args.object, ti_op_txn(op), op->args.text, &op->args.write,
                           &op->arena, &stored, call, err));
    return set_document(op, &stored);
}

static const ti_op_kind update_kind = {TI_OP_KIND("update", TI_WORK_GENERAL, true, run_update)};

static ti_status run_save(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_document stored;
    TI_TRY(ti_model_save(op->args.object, ti_op_txn(op), op->args.text, &op->args.write, &op->arena,
                         &stored, call, err));
    return set_document(op, &stored);
}

static const ti_op_kind save_kind = {TI_OP_KIND("save", TI_WORK_GENERAL, true, run_save)};

/* A patch with a C host function: merge, ask the host, update, in one transaction. context is the
 * operation. */
static ti_status patch_with_host(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    ti_op *op = context;
    ti_document merged, stored;
    tito_write_t filled;
    ti_status status = TI_OK;
    ti_write_begin(&filled);
    TI_CHECK(ti_model_merge(op->args.object, txn, op->args.id, op->args.text, &op->arena, &merged,
                            call, err));
    TI_CHECK(
        evaluate(op->args.host, op->args.host_context, merged.json, &op->args.write, &filled, err));
    TI_CHECK(ti_model_update(op->args.object, txn, merged.json, &filled.write, &op->arena, &stored,
                             call, err));
    status = set_document(op, &stored);
out:
    ti_write_end(&filled);
    return status;
}

static ti_status run_patch(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_document stored;
    ti_txn *txn = ti_op_txn(op);
    if (op->args.host != NULL && txn != NULL)
        return patch_with_host(op, txn, call, err);
    if (op->args.host != NULL)
        return ti_kv_transact(ti_db_kv(op->db), NULL, NULL, patch_with_host, op, NULL, call, err);
    TI_TRY(ti_model_patch(op->args.object, txn, op->args.id, op->args.text, &op->args.write,
                          &op->arena, &stored, call, err));
    return set_document(op, &stored);
}

static const ti_op_kind patch_kind = {TI_OP_KIND("patch", TI_WORK_GENERAL, true, run_patch)};

static ti_status run_delete(ti_op *op, const ti_call *call, ti_err *err)
{
    bool existed = false;
    TI_TRY(ti_model_delete(op->args.object, ti_op_txn(op), op->args.id, &op->args.write, &existed,
                           call, err));
    op->number = existed;
    return TI_OK;
}

static const ti_op_kind delete_kind = {TI_OP_KIND("delete", TI_WORK_GENERAL, true, run_delete)};

typedef struct write_call {
    const ti_op_kind *kind;
    tito_model_t *model;
    tito_txn_t *txn;
    ti_slice id;
    ti_slice text;
    const tito_write_t *write;
    bool host_now; /* the document is text: a C host function is asked now */
} write_call;

static ti_status check_write_call(const write_call *c, ti_err *err)
{
    TI_TRY(ti_model_handle_check(c->model, err));
    TI_TRY(ti_txn_handle_check(c->txn, c->model->db, err));
    TI_TRY(ti_argument_check(c->id, "id", err));
    TI_TRY(ti_argument_check(c->text, "document", err));
    return c->write == NULL ? TI_OK : ti_handle_check(c->write, TI_MAGIC_WRITE, "write", err);
}

/* The operation of a checked call; NULL when there is no memory. */
static ti_op *new_write(const write_call *c, const tito_write_t *write)
{
    size_t size = ti_copy_size(c->id.len) + ti_copy_size(c->text.len) + ti_write_size(write);
    ti_op *op = ti_op_new(c->model->db, c->txn, c->kind, size);
    if (op == NULL)
        return NULL;
    op->args.object = ti_model_ref(c->model->core);
    op->args.release = unref_model;
    op->args.host = c->host_now ? NULL : c->model->host;
    op->args.host_context = c->model->host_context;
    return op;
}

static ti_status copy_write_call(ti_op *op, const write_call *c, const tito_write_t *write,
                                 ti_err *err)
{
    TI_TRY(ti_op_copy(op, c->id, &op->args.id, err));
    TI_TRY(ti_op_copy(op, c->text, &op->args.text, err));
    return ti_write_copy(write, &op->arena, &op->args.write, err);
}

static tito_future_t *submit_write(const write_call *c)
{
    static const ti_write nothing_asked;
    ti_err err;
    ti_status status = TI_OK;
    ti_op *op = NULL;
    tito_write_t filled;
    const tito_write_t *write = c->write;
    ti_write_begin(&filled);
    TI_CHECK(check_write_call(c, &err));
    if (c->host_now && c->model->host != NULL) {
        TI_CHECK(evaluate(c->model->host, c->model->host_context, c->text,
                          write == NULL ? &nothing_asked : &write->write, &filled, &err));
        write = &filled;
    }
    op = new_write(c, write);
    status = op == NULL ? ti_err_no_memory(&err) : copy_write_call(op, c, write, &err);
out:
    ti_write_end(&filled);
    return ti_op_submit(op, ti_db_of(c->model, TI_MAGIC_MODEL), c->txn, status, &err);
}

tito_future_t *tito_model_build(tito_model_t *model, tito_txn_t *txn, const char *document,
                                size_t document_len, const tito_write_t *write)
{
    write_call c = {.kind = &build_kind,
                    .model = model,
                    .txn = txn,
                    .text = {.data = document, .len = document_len},
                    .write = write,
                    .host_now = true};
    return submit_write(&c);
}

tito_future_t *tito_model_update(tito_model_t *model, tito_txn_t *txn, const char *document,
                                 size_t document_len, const tito_write_t *write)
{
    write_call c = {.kind = &update_kind,
                    .model = model,
                    .txn = txn,
                    .text = {.data = document, .len = document_len},
                    .write = write,
                    .host_now = true};
    return submit_write(&c);
}

tito_future_t *tito_model_save(tito_model_t *model, tito_txn_t *txn, const char *document,
                               size_t document_len, const tito_write_t *write)
{
    write_call c = {.kind = &save_kind,
                    .model = model,
                    .txn = txn,
                    .text = {.data = document, .len = document_len},
                    .write = write,
                    .host_now = true};
    return submit_write(&c);
}

tito_future_t *tito_model_patch(tito_model_t *model, tito_txn_t *txn, const char *id, size_t id_len,
                                const char *changes, size_t changes_len, const tito_write_t *write)
{
    write_call c = {.kind = &patch_kind,
                    .model = model,
                    .txn = txn,
                    .id = {.data = id, .len = id_len},
                    .text = {.data = changes, .len = changes_len},
                    .write = write};
    return submit_write(&c);
}

tito_future_t *tito_model_delete(tito_model_t *model, tito_txn_t *txn, const char *id,
                                 size_t id_len, const tito_write_t *write)
{
    write_call c = {.kind = &delete_kind,
                    .model = model,
                    .txn = txn,
                    .id = {.data = id, .len = id_len},
                    .write = write};
    return submit_write(&c);
}

/* ---- reads ---- */

static ti_status run_find(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_document document;
    TI_TRY(ti_model_find(op->args.object, ti_op_txn(op), op->args.id, &op->args.read, &op->arena,
                         &document, call, err));
    return set_document(op, &document);
}

static const ti_op_kind find_kind = {TI_OP_KIND("find", TI_WORK_GENERAL, false, run_find)};
/* Waiters must not take the threads that the holder of the lock needs. */
static const ti_op_kind lock_kind = {TI_OP_KIND("find", TI_WORK_LOCK, false, run_find)};

static bool may_wait(const tito_read_t *read)
{
    return ti_handle_check(read, TI_MAGIC_READ, "read", NULL) == TI_OK && read->read.lock;
}

static ti_status run_merge(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_document merged;
    TI_TRY(ti_model_merge(op->args.object, ti_op_txn(op), op->args.id, op->args.text, &op->arena,
                          &merged, call, err));
    return set_document(op, &merged);
}

static const ti_op_kind merge_kind = {TI_OP_KIND("merge", TI_WORK_GENERAL, false, run_merge)};

static ti_status run_assert_current(ti_op *op, const ti_call *call, ti_err *err)
{
    return ti_model_assert_current(op->args.object, ti_op_txn(op), op->args.id, call, err);
}

static const ti_op_kind assert_current_kind = {
    TI_OP_KIND("assert_current", TI_WORK_GENERAL, true, run_assert_current)};

/* The strings of a JSON array, in the operation's arena. */
static ti_status parse_ids(ti_op *op, ti_slice **ids_out, size_t *count_out, ti_err *err)
{
    ti_json_parser parser;
    ti_json_doc doc;
    ti_json_value id;
    size_t count = 0;
    ti_json_parser_init_hydrated(&parser);
    ti_status status = ti_json_parse(&parser, &op->arena, op->args.text, &doc, err);
    ti_json_parser_free(&parser);
    TI_TRY(status);
    if (ti_json_type_of(ti_json_root(&doc)) != TI_JSON_ARRAY)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "ids must be a JSON array of strings");
    ti_slice *ids = ti_arena_alloc(&op->arena, ti_json_count(ti_json_root(&doc)) * sizeof(*ids));
    if (ids == NULL)
        return ti_err_no_memory(err);
    for (ti_json_iter i = ti_json_iterate(ti_json_root(&doc)); ti_json_next(&i, &id);) {
        if (ti_json_type_of(id) != TI_JSON_STRING)
            return ti_err_set(err, TI_INVALID_ARGUMENT, "ids must be a JSON array of strings");
        TI_TRY(ti_json_string(id, &op->arena, &ids[count++], err));
    }
    *ids_out = ids;
    *count_out = count;
    return TI_OK;
}

static ti_status run_find_many(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_slice *ids = NULL;
    size_t count = 0;
    TI_TRY(parse_ids(op, &ids, &count, err));
    return ti_model_find_many(op->args.object, ti_op_txn(op), ids, count, &op->args.read, &op->page,
                              call, err);
}

static const ti_op_kind find_many_kind = {
    TI_OP_KIND("find_many", TI_WORK_GENERAL, false, run_find_many)};

typedef struct read_call {
    const ti_op_kind *kind;
    tito_model_t *model;
    tito_txn_t *txn;
    ti_slice id;
    ti_slice text;
    const tito_read_t *read;
    bool needs_txn;
} read_call;

static ti_status check_read_call(const read_call *c, ti_err *err)
{
    TI_TRY(ti_model_handle_check(c->model, err));
    TI_TRY(ti_txn_handle_check(c->txn, c->model->db, err));
    if (c->needs_txn && c->txn == NULL)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "txn is NULL");
    TI_TRY(ti_argument_check(c->id, "id", err));
    TI_TRY(ti_argument_check(c->text, "text", err));
    return c->read == NULL ? TI_OK : ti_handle_check(c->read, TI_MAGIC_READ, "read", err);
}

static ti_op *new_read(const read_call *c)
{
    size_t size = ti_copy_size(c->id.len) + ti_copy_size(c->text.len) + ti_read_size(c->read);
    ti_op *op = ti_op_new(c->model->db, c->txn, c->kind, size);
    if (op == NULL)
        return NULL;
    op->args.object = ti_model_ref(c->model->core);
    op->args.release = unref_model;
    return op;
}

static tito_future_t *submit_read(const read_call *c)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_op *op = NULL;
    TI_CHECK(check_read_call(c, &err));
    op = new_read(c);
    TI_CHECK(op == NULL ? ti_err_no_memory(&err) : ti_op_copy(op, c->id, &op->args.id, &err));
    TI_CHECK(ti_op_copy(op, c->text, &op->args.text, &err));
    TI_CHECK(ti_read_copy(c->read, &op->arena, &op->args.read, &err));
out:
    return ti_op_submit(op, ti_db_of(c->model, TI_MAGIC_MODEL), NULL, status, &err);
}

tito_future_t *tito_model_find(tito_model_t *model, tito_txn_t *txn, const char *id, size_t id_len,
                               const tito_read_t *read)
{
    read_call c = {.kind = may_wait(read) ? &lock_kind : &find_kind,
                   .model = model,
                   .txn = txn,
                   .id = {.data = id, .len = id_len},
                   .read = read};
    return submit_read(&c);
}

tito_future_t *tito_model_find_many(tito_model_t *model, tito_txn_t *txn, const char *ids,
                                    size_t ids_len, const tito_read_t *read)
{
    read_call c = {.kind = &find_many_kind,
                   .model = model,
                   .txn = txn,
                   .text = {.data = ids, .len = ids_len},
                   .read = read};
    return submit_read(&c);
}

tito_future_t *tito_model_merge(tito_model_t *model, tito_txn_t *txn, const char *id, size_t id_len,
                                const char *changes, size_t changes_len)
{
    read_call c = {.kind = &merge_kind,
                   .model = model,
                   .txn = txn,
                   .id = {.data = id, .len = id_len},
                   .text = {.data = changes, .len = changes_len},
                   .needs_txn = true};
    return submit_read(&c);
}

tito_future_t *tito_model_assert_current(tito_model_t *model, tito_txn_t *txn, const char *id,
                                         size_t id_len)
{
    read_call c = {.kind = &assert_current_kind,
                   .model = model,
                   .txn = txn,
                   .id = {.data = id, .len = id_len},
                   .needs_txn = true};
    return submit_read(&c);
}

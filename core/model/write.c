/* Writes of one record: build, update, save, patch, delete. See model.h.
 *
 *   in a given transaction: once; a failure dooms it
 *   without:                ti_kv_transact around it, which runs it again on conflict
 *
 * INVARIANTS
 *  1. Everything is checked before the first mutation, except what only the store can tell.
 *  2. No status but OK leaves a transaction that could still commit.
 *
 * Threads: one per transaction. */
#include "base/assert.h"
#include "kv/retry.h"
#include "model/model_int.h"

typedef enum write_kind {
    WRITE_BUILD,
    WRITE_UPDATE,
    WRITE_SAVE,
    WRITE_PATCH,
    WRITE_DELETE
} write_kind;

/* What an operation was called with, and what it answers. */
typedef struct operation {
    ti_model *model;
    write_kind kind;
    ti_slice id;   /* patch, delete; else in the document */
    ti_slice json; /* the document or, for patch, the changes */
    const ti_write *write;
    ti_arena *a;
    ti_document *stored_out; /* may be NULL */
    bool *existed_out;       /* delete */
} operation;

/* ---- small things ---- */

static ti_status not_found(const ti_model *model, ti_slice id, ti_err *err)
{
    ti_err_set(err, TI_NOT_FOUND, "table \"%.*s\" has no record with id \"%.*s\"",
               (int)model->table.len, model->table.data, (int)(id.len > 200 ? 200 : id.len),
               id.data);
    return ti_err_of(model, TI_SLICE_NONE, TI_NOT_FOUND, err);
}

static ti_status version_mismatch(const ti_model *model, ti_slice id, ti_err *err)
{
    ti_err_set(
        err, TI_VERSION_MISMATCH, "record \"%.*s\" of table \"%.*s\" has changed since it was read",
        (int)(id.len > 200 ? 200 : id.len), id.data, (int)model->table.len, model->table.data);
    return ti_err_of(model, TI_SLICE_NONE, TI_VERSION_MISMATCH, err);
}

ti_status ti_record_read(const ti_model *model, ti_txn *txn, ti_slice id, ti_arena *a,
                         ti_slice *key_out, ti_record *record_out, const ti_call *call, ti_err *err)
{
    ti_slice value;
    *key_out = ti_key_record(&model->store->keyspace, a, model->table, id);
    TI_TRY(ti_key_check(*key_out, "a record's key", err));
    TI_TRY(ti_txn_get(txn, *key_out, a, &value, call, err));
    ti_status status = ti_record_open(value, *key_out, record_out, err);
    return status == TI_OK ? TI_OK : ti_err_of(model, TI_SLICE_NONE, status, err);
}

/* Reads what is stored under put's id into put and *record (found false: nothing). */
static ti_status read_old(ti_put *put, ti_record *record, bool *found_out, const ti_call *call,
                          ti_err *err)
{
    ti_status status =
        ti_record_read(put->model, put->txn, put->id, &put->s->arena, &put->key, record, call, err);
    *found_out = status == TI_OK;
    if (status == TI_NOT_FOUND)
        return TI_OK;
    TI_TRY(status);
    put->old = record;
    return ti_entry_set_of(record, &put->s->arena, &put->before, err);
}

static ti_status check_version(const ti_put *put, const operation *op, ti_err *err)
{
    uint64_t wanted = op->write->if_version;
    if (wanted == 0 || (put->old != NULL && put->old->version == wanted))
        return TI_OK;
    return version_mismatch(put->model, put->id, err);
}

static ti_status answer(const operation *op, const ti_put *put, ti_err *err)
{
    if (op->stored_out == NULL)
        return TI_OK;
    ti_slice json = put->document;
    ti_slice id = ti_arena_copy(op->a, put->id);
    bool given = json.data >= op->json.data && json.data < op->json.data + op->json.len;
    if (!given)
        json = ti_arena_copy(op->a, json);
    if (id.data == NULL || json.data == NULL)
        return ti_err_no_memory(err);
    *op->stored_out = (ti_document){.json = json, .id = id, .version = put->version};
    return TI_OK;
}

/* ---- one attempt ---- */

/* Extracts, writes, publishes. draft is what put's record shall be. */
static ti_status store_draft(const operation *op, ti_put *put, const ti_draft *draft,
                             const ti_call *call, ti_err *err)
{
    ti_json_value root = ti_json_root(&draft->doc);
    put->document = draft->json;
    put->version =
        put->old != NULL ? put->old->version + 1 : ti_store_first_version(put->model->store);
    TI_TRY(ti_extract(put->model, put->plan, root, op->write->conditions, &put->s->arena,
                      &put->s->tuples, &put->after, err));
    TI_TRY(ti_put_apply(put, call, err));
    TI_TRY(ti_events_publish(put->model, put->txn, put->id, root, op->write, put->s, call, err));
    return answer(op, put, err);
}

static ti_status build(const operation *op, ti_put *put, const ti_call *call, ti_err *err)
{
    ti_draft draft;
    if (op->write->if_version != 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "build takes no if_version: the record must not exist");
    TI_TRY(ti_shape(put->model, put->s, op->json, TI_SLICE_NONE, &draft, err));
    put->id = draft.id;
    put->key =
        ti_key_record(&put->model->store->keyspace, &put->s->arena, put->model->table, put->id);
    TI_TRY(ti_key_check(put->key, "a record's key", err));
    put->insert = true;
    return store_draft(op, put, &draft, call, err);
}

static ti_status replace(const operation *op, ti_put *put, const ti_call *call, ti_err *err)
{
    ti_draft draft;
    ti_record old;
    bool found;
    TI_TRY(ti_shape(put->model, put->s, op->json, TI_SLICE_NONE, &draft, err));
    put->id = draft.id;
    TI_TRY(read_old(put, &old, &found, call, err));
    if (!found && op->kind == WRITE_UPDATE)
        return not_found(put->model, put->id, err);
    TI_TRY(check_version(put, op, err));
    if (found && put->model->timestamps)
        TI_TRY(ti_shape(put->model, put->s, op->json, old.document, &draft, err));
    put->id = draft.id;
    return store_draft(op, put, &draft, call, err);
}

static ti_status merge_changes(ti_model *model, ti_scratch *s, ti_slice id, ti_slice old,
                               ti_slice changes, ti_draft *draft_out, ti_err *err)
{
    ti_json_doc target;
    ti_json_doc patch;
    TI_TRY(ti_json_parse(&s->parser, &s->arena, old, &target, err));
    TI_TRY(ti_json_parse(&s->parser, &s->arena, changes, &patch, err));
    if (ti_json_type_of(ti_json_root(&patch)) != TI_JSON_OBJECT)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the changes of a patch must be an object");
    ti_buf_clear(&s->text);
    TI_TRY(
        ti_json_merge_patch(ti_json_root(&target), ti_json_root(&patch), &s->arena, &s->text, err));
    ti_slice merged = ti_arena_copy(&s->arena, ti_buf_slice(&s->text));
    if (merged.data == NULL)
        return ti_err_no_memory(err);
    TI_TRY(ti_shape(model, s, merged, old, draft_out, err));
    if (!ti_slice_equal(draft_out->id, id))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "a patch can not change the id of a record");
    return TI_OK;
}

/* Host functions have to see the merged document, which only merge hands out. */
static bool needs_host(const ti_model *model, const ti_write *write)
{
    return model->condition_count > 0 ||
           (write->operation.len > 0 &&
            (model->events || model->partition_key_host || model->references_host));
}

static ti_status patch(const operation *op, ti_put *put, const ti_call *call, ti_err *err)
{
    ti_draft draft;
    ti_record old;
    bool found;
    if (needs_host(put->model, op->write))
        return ti_err_set(
            err, TI_INVALID_STATE,
            "table \"%.*s\" has functions that must see the merged document: merge, then update",
            (int)put->model->table.len, put->model->table.data);
    TI_TRY(ti_id_check(op->id, err));
    put->id = op->id;
    TI_TRY(read_old(put, &old, &found, call, err));
    if (!found)
        return not_found(put->model, put->id, err);
    TI_TRY(check_version(put, op, err));
    TI_TRY(merge_changes(put->model, put->s, put->id, old.document, op->json, &draft, err));
    return store_draft(op, put, &draft, call, err);
}

static ti_status delete_record(const operation *op, ti_put *put, const ti_call *call, ti_err *err)
{
    ti_draft draft;
    ti_record old;
    bool found;
    TI_TRY(ti_id_check(op->id, err));
    put->id = op->id;
    TI_TRY(read_old(put, &old, &found, call, err));
    TI_TRY(check_version(put, op, err));
    *op->existed_out = found;
    if (!found)
        return TI_OK;
    TI_TRY(ti_put_apply(put, call, err));
    if (op->write->operation.len == 0)
        return TI_OK;
    TI_TRY(ti_shape_stored(put->model, put->s, old.document, put->id, &draft, err));
    return ti_events_publish(put->model, put->txn, put->id, ti_json_root(&draft.doc), op->write,
                             put->s, call, err);
}

static ti_status attempt(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    const operation *op = context;
    ti_plan *plan = NULL;
    ti_scratch *s = NULL;
    ti_status status;
    TI_CHECK(ti_txn_check(txn, true, err));
    TI_CHECK(ti_plan_for_write(op->model, txn, &plan, call, err));
    TI_CHECK(ti_store_take(op->model->store, &s, err));
    ti_put put = {.model = op->model, .plan = plan, .txn = txn, .s = s};
    switch (op->kind) {
    case WRITE_BUILD:
        TI_CHECK(build(op, &put, call, err));
        break;
    case WRITE_UPDATE:
    case WRITE_SAVE:
        TI_CHECK(replace(op, &put, call, err));
        break;
    case WRITE_PATCH:
        TI_CHECK(patch(op, &put, call, err));
        break;
    case WRITE_DELETE:
        TI_CHECK(delete_record(op, &put, call, err));
        break;
    }
out:
    ti_store_give(op->model->store, s);
    ti_plan_unref(plan);
    return status;
}

static ti_status run(operation *op, ti_txn *txn, const ti_call *call, ti_err *err)
{
    static const ti_write plainly = {0};
    ti_err spare;
    ti_kv *kv;
    if (op->write == NULL)
        op->write = &plainly;
    if (op->stored_out != NULL)
        *op->stored_out = (ti_document){0};
    TI_TRY(ti_store_kv(op->model->store, &kv, err));
    if (txn == NULL)
        return ti_kv_transact(kv, NULL, NULL, attempt, op, NULL, call, err);
    if (err == NULL)
        err = &spare;
    ti_status status = attempt(op, txn, call, err);
    if (status != TI_OK && ti_txn_is_open(txn))
        ti_txn_doom(txn, err);
    return status;
}

/* ---- the operations ---- */

ti_status ti_model_build(ti_model *model, ti_txn *txn, ti_slice document, const ti_write *write,
                         ti_arena *a, ti_document *stored_out, const ti_call *call, ti_err *err)
{
    operation op = {.model = model,
                    .kind = WRITE_BUILD,
                    .json = document,
                    .write = write,
                    .a = a,
                    .stored_out = stored_out};
    return run(&op, txn, call, err);
}

ti_status ti_model_update(ti_model *model, ti_txn *txn, ti_slice document, const ti_write *write,
                          ti_arena *a, ti_document *stored_out, const ti_call *call, ti_err *err)
{
    operation op = {.model = model,
                    .kind = WRITE_UPDATE,
                    .json = document,
                    .write = write,
                    .a = a,
                    .stored_out = stored_out};
    return run(&op, txn, call, err);
}

ti_status ti_model_save(ti_model *model, ti_txn *txn, ti_slice document, const ti_write *write,
                        ti_arena *a, ti_document *stored_out, const ti_call *call, ti_err *err)
{
    operation op = {.model = model,
                    .kind = WRITE_SAVE,
                    .json = document,
                    .write = write,
                    .a = a,
                    .stored_out = stored_out};
    return run(&op, txn, call, err);
}

ti_status ti_model_patch(ti_model *model, ti_txn *txn, ti_slice id, ti_slice changes,
                         const ti_write *write, ti_arena *a, ti_document *stored_out,
                         const ti_call *call, ti_err *err)
{
    operation op = {.model = model,
                    .kind = WRITE_PATCH,
                    .id = id,
                    .json = changes,
                    .write = write,
                    .a = a,
                    .stored_out = stored_out};
    return run(&op, txn, call, err);
}

ti_status ti_model_delete(ti_model *model, ti_txn *txn, ti_slice id, const ti_write *write,
                          bool *existed_out, const ti_call *call, ti_err *err)
{
    bool ignored;
    operation op = {.model = model,
                    .kind = WRITE_DELETE,
                    .id = id,
                    .write = write,
                    .existed_out = existed_out != NULL ? existed_out : &ignored};
    *op.existed_out = false;
    return run(&op, txn, call, err);
}

ti_status ti_model_merge(ti_model *model, ti_txn *txn, ti_slice id, ti_slice changes, ti_arena *a,
                         ti_document *merged_out, const ti_call *call, ti_err *err)
{
    ti_scratch *s = NULL;
    ti_record old;
    ti_slice key;
    ti_draft draft;
    ti_status status;
    *merged_out = (ti_document){0};
    if (txn == NULL)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "merge needs the transaction that will update the record");
    TI_TRY(ti_id_check(id, err));
    TI_CHECK(ti_store_take(model->store, &s, err));
    status = ti_record_read(model, txn, id, &s->arena, &key, &old, call, err);
    if (status == TI_NOT_FOUND)
        status = not_found(model, id, err);
    TI_CHECK(status);
    TI_CHECK(merge_changes(model, s, id, old.document, changes, &draft, err));
    merged_out->version = old.version;
    merged_out->json = ti_arena_copy(a, draft.json);
    merged_out->id = ti_arena_copy(a, draft.id);
    if (merged_out->json.data == NULL || merged_out->id.data == NULL)
        status = ti_err_no_memory(err);
out:
    ti_store_give(model->store, s);
    return status;
}

static ti_status assert_once(ti_model *model, ti_txn *txn, ti_slice id, ti_scratch *s,
                             ti_plan **plan_out, const ti_call *call, ti_err *err)
{
    ti_record record;
    ti_slice key;
    TI_TRY(ti_txn_check(txn, true, err));
    TI_TRY(ti_id_check(id, err));
    TI_TRY(ti_plan_for_write(model, txn, plan_out, call,
                             err)); /* a LOCK is a write, to those who drop the table */
    ti_status status = ti_record_read(model, txn, id, &s->arena, &key, &record, call, err);
    if (status == TI_NOT_FOUND)
        return not_found(model, id, err);
    TI_TRY(status);
    return ti_txn_lock(txn, key, err);
}

ti_status ti_model_assert_current(ti_model *model, ti_txn *txn, ti_slice id, const ti_call *call,
                                  ti_err *err)
{
    ti_plan *plan = NULL;
    ti_scratch *s = NULL;
    ti_err spare;
    ti_kv *kv;
    TI_TRY(ti_store_kv(model->store, &kv, err));
    if (txn == NULL)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "assert_current needs a transaction");
    if (err == NULL)
        err = &spare;
    ti_status status = ti_store_take(model->store, &s, err);
    if (status == TI_OK)
        status = assert_once(model, txn, id, s, &plan, call, err);
    ti_store_give(model->store, s);
    ti_plan_unref(plan);
    if (status != TI_OK && ti_txn_is_open(txn))
        ti_txn_doom(txn, err);
    return status;
}

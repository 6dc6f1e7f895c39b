/* Queues: declaring a type, publishing, tending stored events. Listing them: history.c.
 *
 * Thread rule: any, at the same time. */
#include "abi/queue.h"

#include <stddef.h>
#include <string.h>

#include "abi/options.h"
#include "abi/txn.h"

/* ---- handles ---- */

typedef struct queue_options {
    int64_t partitions;
    int64_t retention_us;
    int64_t ordering;
} queue_options;

static const ti_option known_options[] = {
    {.name = "partitions",
     .kind = TI_OPTION_INT,
     .offset = offsetof(queue_options, partitions),
     .min = 1,
     .max = TI_PARTITIONS_MAX},
    {.name = "retention_us",
     .kind = TI_OPTION_INT,
     .offset = offsetof(queue_options, retention_us),
     .min = 0,
     .max = INT64_MAX},
    {.name = "ordering",
     .kind = TI_OPTION_CHOICE,
     .offset = offsetof(queue_options, ordering),
     .choices = {"key", "partition", "none"}},
};

_Static_assert(TI_ORDERING_KEY == 0 && TI_ORDERING_PARTITION == 1 && TI_ORDERING_NONE == 2,
               "the choices of ordering are in the order of ti_ordering");

static ti_status new_queue(ti_db *db, ti_slice type, const queue_options *given,
                           tito_queue_t **queue_out, ti_err *err)
{
    ti_queue_options options = {.partitions = (uint32_t)given->partitions,
                                .retention_us = given->retention_us,
                                .ordering = (ti_ordering)given->ordering};
    TI_TRY(ti_name_check(type, "event type", err)); /* so that it fits */
    tito_queue_t *queue = ti_alloc_zero(sizeof(*queue));
    if (queue == NULL)
        return ti_err_no_memory(err);
    ti_status status = ti_db_declare_queue(db, type, &options, err);
    if (status != TI_OK) {
        ti_free(queue);
        return status;
    }
    queue->magic = TI_MAGIC_QUEUE;
    queue->db = ti_db_ref(db);
    queue->partitions = options.partitions;
    queue->type_len = type.len;
    memcpy(queue->type, type.data, type.len);
    *queue_out = queue;
    return TI_OK;
}

int32_t tito_queue_open(tito_db_t *db, const char *type, size_t type_len,
                        const tito_options_t *options, tito_queue_t **queue_out,
                        tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    queue_options given = {.partitions = 0, .retention_us = -1};
    TI_CHECK(ti_out_check(queue_out, "queue_out", &err));
    TI_CHECK(ti_db_handle_check(db, &err));
    TI_CHECK(ti_bytes_check(type, type_len, "type", &err));
    TI_CHECK(ti_options_read(options, "tito_queue_open", known_options, TI_COUNT(known_options),
                             &given, &err));
    TI_CHECK(
        new_queue(db->core, (ti_slice){.data = type, .len = type_len}, &given, queue_out, &err));
out:
    return ti_answer(status, &err, error_out);
}

void tito_queue_free(tito_queue_t *queue)
{
    if (ti_handle_check(queue, TI_MAGIC_QUEUE, "queue", NULL) != TI_OK)
        return;
    queue->magic = TI_MAGIC_FREED;
    ti_db_unref(queue->db);
    ti_free(queue);
}

ti_status ti_queue_handle_check(const tito_queue_t *queue, ti_err *err)
{
    TI_TRY(ti_handle_check(queue, TI_MAGIC_QUEUE, "queue", err));
    return ti_db_check(queue->db, err);
}

/* ---- operations ---- */

ti_op *ti_queue_op(const tito_queue_t *queue, tito_txn_t *txn, const ti_op_kind *kind, ti_slice id,
                   ti_slice text)
{
    ti_slice type = {.data = queue->type, .len = queue->type_len};
    size_t size = ti_copy_size(type.len) + ti_copy_size(id.len) + ti_copy_size(text.len);
    ti_op *op = ti_op_new(queue->db, txn, kind, size);
    if (op == NULL)
        return NULL;
    op->args.partitions = queue->partitions;
    if (ti_op_copy(op, type, &op->args.type, NULL) == TI_OK &&
        ti_op_copy(op, id, &op->args.id, NULL) == TI_OK &&
        ti_op_copy(op, text, &op->args.text, NULL) == TI_OK)
        return op;
    ti_op_discard(op);
    return NULL;
}

static ti_status run_publish(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_event_spec spec = {.type = op->args.type,
                          .key = op->args.id,
                          .payload = op->args.text,
                          .action = op->args.action,
                          .entity = op->args.entity,
                          .entity_id = op->args.entity_id,
                          .references = op->args.references,
                          .due_us = op->args.number,
                          .delay_us = op->args.number_2,
                          .unique = op->args.token,
                          .unique_return = op->args.give_back,
                          .partitions = op->args.partitions};
    char id[TI_EVENT_ID_SIZE + 1];
    TI_TRY(ti_queue_publish(ti_db_queues(op->db), ti_op_txn(op), &spec, id, call, err));
    op->bytes = ti_arena_copy(&op->arena, ti_slice_of(id));
    return op->bytes.data != NULL ? TI_OK : ti_err_no_memory(err);
}

static const ti_op_kind publish_kind = {TI_OP_KIND("publish", TI_WORK_GENERAL, true, run_publish)};

typedef struct publish_options {
    ti_slice unique;
    ti_slice action;
    ti_slice entity;
    ti_slice entity_id;
    ti_slice references;
    int64_t on_duplicate;
} publish_options;

static const ti_option known_of_publish[] = {
    {.name = "unique", .kind = TI_OPTION_TEXT, .offset = offsetof(publish_options, unique)},
    {.name = "action", .kind = TI_OPTION_TEXT, .offset = offsetof(publish_options, action)},
    {.name = "entity", .kind = TI_OPTION_TEXT, .offset = offsetof(publish_options, entity)},
    {.name = "entity_id", .kind = TI_OPTION_TEXT, .offset = offsetof(publish_options, entity_id)},
    {.name = "references", .kind = TI_OPTION_TEXT, .offset = offsetof(publish_options, references)},
    {.name = "on_duplicate",
     .kind = TI_OPTION_CHOICE,
     .offset = offsetof(publish_options, on_duplicate),
     .choices = {"refuse", "return"}},
};

static ti_status copy_options(ti_op *op, const publish_options *given, ti_err *err)
{
    op->args.give_back = given->on_duplicate == 1;
    TI_TRY(ti_op_copy(op, given->unique, &op->args.token, err));
    TI_TRY(ti_op_copy(op, given->action, &op->args.action, err));
    TI_TRY(ti_op_copy(op, given->entity, &op->args.entity, err));
    TI_TRY(ti_op_copy(op, given->entity_id, &op->args.entity_id, err));
    return ti_op_copy(op, given->references, &op->args.references, err);
}

static ti_status check_publish(const tito_queue_t *queue, tito_txn_t *txn, int64_t due_us,
                               int64_t delay_us, const tito_options_t *options,
                               publish_options *given, ti_err *err)
{
    TI_TRY(ti_queue_handle_check(queue, err));
    TI_TRY(ti_txn_handle_check(txn, queue->db, err));
    TI_TRY(ti_options_read(options, "tito_queue_publish", known_of_publish,
                           TI_COUNT(known_of_publish), given, err));
    if (due_us < 0 || delay_us < 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "due_us and delay_us must not be negative");
    if (due_us > 0 && delay_us > 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "give one of due_us and delay_us, not both");
    return TI_OK;
}

tito_future_t *tito_queue_publish(tito_queue_t *queue, tito_txn_t *txn, const char *key,
                                  size_t key_len, const char *payload, size_t payload_len,
                                  int64_t due_us, int64_t delay_us, const tito_options_t *options)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_op *op = NULL;
    ti_slice id = {.data = key, .len = key_len};
    ti_slice text = {.data = payload, .len = payload_len};
    publish_options given = {.on_duplicate = 0};
    TI_CHECK(check_publish(queue, txn, due_us, delay_us, options, &given, &err));
    TI_CHECK(ti_argument_check(id, "key", &err));
    TI_CHECK(ti_argument_check(text, "payload", &err));
    op = ti_queue_op(queue, txn, &publish_kind, id, text);
    TI_CHECK(op == NULL ? ti_err_no_memory(&err) : copy_options(op, &given, &err));
    op->args.number = due_us;
    op->args.number_2 = delay_us;
out:
    return ti_op_submit(op, ti_db_of(queue, TI_MAGIC_QUEUE), txn, status, &err);
}

static ti_status run_retry(ti_op *op, const ti_call *call, ti_err *err)
{
    return ti_queue_retry(ti_db_queues(op->db), op->args.type, op->args.id, NULL, call, err);
}

static const ti_op_kind retry_kind = {TI_OP_KIND("queue retry", TI_WORK_GENERAL, false, run_retry)};

static ti_status run_drop(ti_op *op, const ti_call *call, ti_err *err)
{
    return ti_queue_drop(ti_db_queues(op->db), op->args.type, op->args.id, call, err);
}

static const ti_op_kind drop_kind = {TI_OP_KIND("queue drop", TI_WORK_GENERAL, false, run_drop)};

static tito_future_t *submit_event(tito_queue_t *queue, const ti_op_kind *kind, ti_slice id)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_op *op = NULL;
    TI_CHECK(ti_queue_handle_check(queue, &err));
    TI_CHECK(ti_argument_check(id, "event_id", &err));
    op = ti_queue_op(queue, NULL, kind, id, TI_SLICE_NONE);
    TI_CHECK(op == NULL ? ti_err_no_memory(&err) : TI_OK);
out:
    return ti_op_submit(op, ti_db_of(queue, TI_MAGIC_QUEUE), NULL, status, &err);
}

tito_future_t *tito_queue_retry(tito_queue_t *queue, const char *event_id, size_t event_id_len)
{
    return submit_event(queue, &retry_kind, (ti_slice){.data = event_id, .len = event_id_len});
}

tito_future_t *tito_queue_drop(tito_queue_t *queue, const char *event_id, size_t event_id_len)
{
    return submit_event(queue, &drop_kind, (ti_slice){.data = event_id, .len = event_id_len});
}

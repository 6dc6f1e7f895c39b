/* The life of an operation; see op.h.
 *
 * Running one, in this order: enter the database; see that the transaction is open; body; remember
 * the error for tito_txn_retry; doom the transaction of a failed write; leave. */
#include "abi/op.h"

#include <string.h>

#include "abi/txn.h"

#define OP_ROOM_RESULTS 512     /* for small documents */
#define OP_ROOM_MAX (16 * 1024) /* larger arguments get memory of their own */

/* Whether a C host function runs in this thread. */
static _Thread_local bool in_host;

void ti_host_enter(void)
{
    in_host = true;
}

void ti_host_leave(void)
{
    in_host = false;
}

/* ---- making ---- */

static void release_db(void *db)
{
    ti_db_unref(db);
}

static int64_t timeout_us(const ti_db *db, const ti_op_kind *kind)
{
    if (kind->endless)
        return TI_NO_DEADLINE;
    return kind->opens ? ti_db_open_timeout_us(db) : ti_db_timeout_us(db);
}

ti_op *ti_op_new(ti_db *db, tito_txn_t *txn, const ti_op_kind *kind, size_t size)
{
    size_t room = size < OP_ROOM_MAX ? size + OP_ROOM_RESULTS : OP_ROOM_RESULTS;
    ti_future_spec spec = {.type = &kind->type,
                           .op_size = sizeof(ti_op) + room,
                           .lane = txn == NULL ? NULL : txn->lane,
                           .timeout_us = timeout_us(db, kind),
                           .owner = ti_db_ref(db),
                           .released = release_db};
    ti_future *future = ti_future_create(ti_db_executor(db), &spec);
    if (future == NULL) {
        ti_db_unref(db);
        return NULL;
    }
    ti_op *op = ti_future_op(future);
    op->magic = TI_MAGIC_FUTURE;
    op->kind = kind;
    op->db = db;
    op->guest.future = future;
    op->txn = ti_txn_handle_ref(txn);
    ti_arena_init_in(&op->arena, op->room, room);
    return op;
}

ti_status ti_op_copy(ti_op *op, ti_slice s, ti_slice *out, ti_err *err)
{
    *out = TI_SLICE_NONE;
    if (s.len == 0)
        return TI_OK;
    *out = ti_arena_copy(&op->arena, s);
    return out->data == NULL ? ti_err_no_memory(err) : TI_OK;
}

void ti_op_discard(ti_op *op)
{
    ti_future_finish(ti_future_of_op(op), TI_CANCELLED, NULL);
    ti_future_release(ti_future_of_op(op));
}

/* ---- failing before it runs ---- */

static ti_status run_never(void *op, const ti_call *call, ti_err *err)
{
    (void)op;
    (void)call;
    return ti_err_set(err, TI_INTERNAL, "a failed operation was run");
}

static const ti_op_kind failed_kind = {
    .type = {.name = "operation", .run = run_never, .destroy = ti_op_destroy}};

/* A future of an executor that is closed already: there may be no database to take one from. */
static ti_future *create_orphan(void)
{
    ti_executor *executor = NULL;
    ti_future_spec spec = {
        .type = &failed_kind.type, .op_size = sizeof(ti_op), .timeout_us = TI_NO_DEADLINE};
    if (ti_executor_create(NULL, &executor, NULL) != TI_OK)
        return NULL;
    ti_future *future = ti_future_create(executor, &spec);
    ti_executor_close(executor);
    ti_executor_unref(executor);
    return future;
}

static ti_op *new_orphan(void)
{
    ti_future *future = create_orphan();
    if (future == NULL)
        return NULL;
    ti_op *op = ti_future_op(future);
    op->magic = TI_MAGIC_FUTURE;
    op->kind = &failed_kind;
    ti_arena_init(&op->arena);
    return op;
}

tito_future_t *ti_op_submit(ti_op *op, ti_db *db, tito_txn_t *txn, ti_status status,
                            const ti_err *err)
{
    ti_err called_back;
    if (status == TI_OK && in_host) {
        err = &called_back;
        status = ti_err_set(&called_back, TI_INVALID_STATE, "a host function may not call tito");
    }
    if (status == TI_OK) {
        if (op->txn != NULL) {
            op->waiting = true;
            atomic_fetch_add(&op->txn->waiting, 1);
        }
        ti_future_submit(ti_future_of_op(op));
        return op;
    }
    if (txn != NULL && ti_txn_handle_check(txn, NULL, NULL) == TI_OK)
        ti_txn_handle_doom(txn, err);
    if (op == NULL)
        op = db == NULL || ti_db_forked(db) ? new_orphan() : ti_op_new(db, NULL, &failed_kind, 0);
    if (op != NULL)
        ti_future_finish(ti_future_of_op(op), status, err);
    return op;
}

/* ---- running ---- */

ti_txn *ti_op_txn(const ti_op *op)
{
    return op->txn == NULL ? NULL : op->txn->core;
}

static ti_status run_in_open_txn(ti_op *op, const ti_call *call, ti_err *err)
{
    tito_txn_t *txn = op->txn;
    if (txn->core == NULL && !op->kind->needs_ended)
        return ti_err_set(err, TI_INVALID_STATE, "the transaction has ended");
    ti_call within = ti_txn_handle_call(txn, call);
    ti_status status = op->kind->body(op, &within, err);
    if (status != TI_OK && (status != TI_NOT_FOUND || op->kind->type.write))
        ti_txn_handle_failed(txn, op->kind->type.write, status, err);
    return status;
}

static ti_status run_in_txn(ti_op *op, const ti_call *call, ti_err *err)
{
    TI_TRY(ti_txn_handle_enter(op->txn, err));
    ti_status status = run_in_open_txn(op, call, err);
    ti_txn_handle_leave(op->txn);
    return status;
}

static ti_status run_inside(ti_op *op, const ti_call *call, ti_err *err)
{
    TI_TRY(ti_db_guest_in(op->db, &op->guest, err));
    ti_status status = op->txn == NULL ? op->kind->body(op, call, err) : run_in_txn(op, call, err);
    if (status == TI_CANCELLED && ti_db_is_closing(op->db))
        status = ti_err_set(err, TI_CLOSED, "%s: the database was closed", op->kind->type.name);
    ti_db_guest_out(op->db, &op->guest);
    return status;
}

/* The transaction no longer waits for this operation. */
static void stop_waiting(ti_op *op)
{
    if (op->waiting)
        atomic_fetch_sub(&op->txn->waiting, 1);
    op->waiting = false;
}

ti_status ti_op_run(void *memory, const ti_call *call, ti_err *err)
{
    ti_op *op = memory;
    if (op->kind->opens)
        return op->kind->body(op, call, err);
    ti_status status = run_inside(op, call, err);
    stop_waiting(op);
    return status;
}

ti_status ti_op_take_text(ti_op *op, ti_buf *text, ti_status status, ti_err *err)
{
    if (status == TI_OK)
        status = ti_op_copy(op, ti_buf_slice(text), &op->bytes, err);
    ti_buf_free(text);
    return status;
}

void ti_op_destroy(void *memory)
{
    ti_op *op = memory;
    op->magic = TI_MAGIC_FREED;
    if (op->args.release != NULL && !ti_db_forked(op->db))
        op->args.release(op->args.object);
    if (!atomic_load(&op->page_taken))
        ti_page_free(op->page);
    ti_arena_free(&op->arena);
    stop_waiting(op);
    ti_txn_handle_unref(op->txn);
}

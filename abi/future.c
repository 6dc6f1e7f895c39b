/* The exported functions of futures and completion queues: rt's, behind handles.
 *
 * A tito_future_t is an operation (op.h), a tito_cq_t holds an rt queue. */
#include <string.h>

#include "abi/cq.h"
#include "abi/op.h"
#include "abi/page.h"

#define CQ_DRAIN_STEP 64

/* ---- futures ---- */

/* OUT_OF_MEMORY for NULL: a function that returns a future answers NULL only without memory. */
static ti_status check_future(const tito_future_t *future, ti_err *err)
{
    if (future == NULL)
        return ti_err_no_memory(err);
    return ti_handle_check(future, TI_MAGIC_FUTURE, "future", err);
}

static bool is_done_well(const tito_future_t *future)
{
    return check_future(future, NULL) == TI_OK &&
           ti_future_result(ti_future_of_op((void *)(uintptr_t)future), NULL) == TI_OK;
}

int32_t tito_future_wait(tito_future_t *future, int64_t timeout_us, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    TI_CHECK(check_future(future, &err));
    TI_CHECK(ti_future_wait(ti_future_of_op(future), timeout_us < 0 ? TI_NO_DEADLINE : timeout_us,
                            &err));
out:
    return ti_answer(status, &err, error_out);
}

int32_t tito_future_ready(const tito_future_t *future)
{
    return check_future(future, NULL) == TI_OK &&
           ti_future_ready(ti_future_of_op((void *)(uintptr_t)future));
}

int32_t tito_future_start(tito_future_t *future, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    TI_CHECK(check_future(future, &err));
    TI_CHECK(ti_future_start(ti_future_of_op(future), &err));
out:
    return ti_answer(status, &err, error_out);
}

int32_t tito_future_watch(tito_future_t *future, tito_cq_t *cq, uint64_t tag,
                          tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    TI_CHECK(check_future(future, &err));
    TI_CHECK(ti_handle_check(cq, TI_MAGIC_CQ, "cq", &err));
    TI_CHECK(ti_future_watch(ti_future_of_op(future), cq->core, tag, &err));
out:
    return ti_answer(status, &err, error_out);
}

/* From rt's kind of callback to the host's. context is the operation. */
static void call_back(void *context, ti_future *future)
{
    ti_op *op = context;
    ti_assert(ti_future_of_op(op) == future);
    (void)future;
    ti_db_callback_begin();
    atomic_load (&op->callback)(op->callback_context, op);
    ti_db_callback_end();
}

int32_t tito_future_then(tito_future_t *future, tito_future_callback callback, void *context,
                         tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    TI_CHECK(check_future(future, &err));
    if (callback == NULL)
        TI_CHECK(ti_err_set(&err, TI_INVALID_ARGUMENT, "callback is NULL"));
    tito_future_callback none = NULL;
    if (!atomic_compare_exchange_strong(&future->callback, &none, callback))
        TI_CHECK(ti_err_set(&err, TI_INVALID_STATE, "the future has a callback"));
    future->callback_context = context;
    TI_CHECK(ti_future_then(ti_future_of_op(future), call_back, future, &err));
out:
    return ti_answer(status, &err, error_out);
}

void tito_future_cancel(tito_future_t *future)
{
    if (check_future(future, NULL) == TI_OK)
        ti_future_cancel(ti_future_of_op(future));
}

int64_t tito_future_int(const tito_future_t *future)
{
    return is_done_well(future) ? future->number : 0;
}

tito_slice tito_future_bytes(const tito_future_t *future)
{
    return ti_slice_out(is_done_well(future) ? future->bytes : TI_SLICE_NONE);
}

tito_page_t *tito_future_page(tito_future_t *future)
{
    if (!is_done_well(future) || future->page == NULL || atomic_exchange(&future->page_taken, true))
        return NULL;
    tito_page_t *page = ti_page_handle(future->page);
    if (page == NULL)
        atomic_store(&future->page_taken, false);
    return page;
}

void tito_future_free(tito_future_t *future)
{
    if (check_future(future, NULL) == TI_OK)
        ti_future_release(ti_future_of_op(future));
}

/* ---- completion queues ---- */

int32_t tito_cq_new(tito_cq_t **cq_out, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    tito_cq_t *cq = NULL;
    TI_CHECK(ti_out_check(cq_out, "cq_out", &err));
    cq = ti_alloc_zero(sizeof(*cq));
    TI_CHECK(cq == NULL ? ti_err_no_memory(&err) : TI_OK);
    TI_CHECK(ti_cq_create(ti_env_real(), &cq->core, &err));
    cq->magic = TI_MAGIC_CQ;
    *cq_out = cq;
out:
    if (status != TI_OK)
        ti_free(cq);
    return ti_answer(status, &err, error_out);
}

int32_t tito_cq_fd(const tito_cq_t *cq)
{
    return ti_handle_check(cq, TI_MAGIC_CQ, "cq", NULL) == TI_OK ? ti_cq_fd(cq->core) : -1;
}

size_t tito_cq_drain(tito_cq_t *cq, uint64_t *tags_out, size_t max)
{
    ti_completion got[CQ_DRAIN_STEP];
    size_t count = 0;
    size_t step, found;
    if (ti_handle_check(cq, TI_MAGIC_CQ, "cq", NULL) != TI_OK || tags_out == NULL)
        return 0;
    do {
        step = max - count < CQ_DRAIN_STEP ? max - count : CQ_DRAIN_STEP;
        found = step == 0 ? 0 : ti_cq_drain(cq->core, got, step);
        for (size_t i = 0; i < found; i++)
            tags_out[count++] = got[i].tag;
    } while (found == CQ_DRAIN_STEP);
    return count;
}

int32_t tito_cq_listen(tito_cq_t *cq, const char *path, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    TI_CHECK(ti_handle_check(cq, TI_MAGIC_CQ, "cq", &err));
    TI_CHECK(path == NULL ? ti_err_set(&err, TI_INVALID_ARGUMENT, "path is NULL") : TI_OK);
    TI_CHECK(ti_cq_listen(cq->core, path, &err));
out:
    return ti_answer(status, &err, error_out);
}

int32_t tito_cq_accept(tito_cq_t *cq, int64_t heartbeat_us, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    TI_CHECK(ti_handle_check(cq, TI_MAGIC_CQ, "cq", &err));
    TI_CHECK(ti_cq_accept(cq->core, heartbeat_us, &err));
out:
    return ti_answer(status, &err, error_out);
}

void tito_cq_free(tito_cq_t *cq)
{
    if (ti_handle_check(cq, TI_MAGIC_CQ, "cq", NULL) != TI_OK)
        return;
    cq->magic = TI_MAGIC_FREED;
    ti_cq_close(cq->core);
    ti_cq_unref(cq->core);
    ti_free(cq);
}

/* Closing a database in a thread of its own.
 *
 *   tito_db_close_watch ──> a thread: ti_db_close, then the tag into the cq ──> ends
 *   tito_db_free ──> waits for the thread, takes the tag out again when nobody has taken it
 *
 * INVARIANTS
 *  1. A handle has at most one closing in its life.
 *  2. The closing's node is in the queue at most as long as the closing lives.
 *
 * Thread rule: any, at the same time. */
#include "abi/cq.h"
#include "abi/db.h"
#include "base/process.h"
#include "base/thread.h"

struct ti_closing {
    ti_db *db; /* one reference */
    ti_cq *cq; /* one reference */
    ti_cq_node node;
    ti_thread thread;
};

static void *close_and_tell(void *argument)
{
    ti_closing *closing = argument;
    (void)ti_db_close(closing->db, NULL); /* this thread is inside of nothing and not forked */
    ti_cq_push(closing->cq, &closing->node);
    return NULL;
}

static void free_closing(ti_closing *closing)
{
    ti_cq_unref(closing->cq);
    ti_db_unref(closing->db);
    ti_free(closing);
}

/* Gives db its closing and starts it. */
static ti_status begin(tito_db_t *db, ti_cq *cq, uint64_t tag, ti_err *err)
{
    ti_closing *none = NULL;
    ti_closing *closing = ti_alloc_zero(sizeof(*closing));
    if (closing == NULL)
        return ti_err_no_memory(err);
    closing->db = ti_db_ref(db->core);
    closing->cq = ti_cq_ref(cq);
    closing->node.completion.tag = tag;
    ti_status status = TI_OK;
    if (!atomic_compare_exchange_strong(&db->closing, &none, closing)) {
        free_closing(closing);
        return ti_err_set(err, TI_INVALID_STATE, "the database is being closed already");
    }
    status = ti_thread_start(&closing->thread, "tito-close", close_and_tell, closing, err);
    if (status != TI_OK) {
        atomic_store(&db->closing, NULL);
        free_closing(closing);
    }
    return status;
}

int32_t tito_db_close_watch(tito_db_t *db, tito_cq_t *cq, uint64_t tag, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    TI_CHECK(ti_handle_check(db, TI_MAGIC_DB, "db", &err));
    TI_CHECK(ti_handle_check(cq, TI_MAGIC_CQ, "cq", &err));
    TI_CHECK(ti_db_forked(db->core) ? ti_process_forked("the database", &err) : TI_OK);
    TI_CHECK(ti_cq_check(cq->core, &err));
    TI_CHECK(begin(db, cq->core, tag, &err));
out:
    return ti_answer(status, &err, error_out);
}

void ti_closing_end(tito_db_t *db)
{
    ti_closing *closing = atomic_load(&db->closing);
    if (closing == NULL)
        return;
    ti_thread_join(&closing->thread);
    ti_cq_remove(closing->cq, &closing->node);
    free_closing(closing);
}

/* Transactions: begin, commit, rollback, attempts; see txn.h.
 *
 * Thread rule: one thread at a time, the one that began it unless any_thread. */
#include "abi/txn.h"

#include <stddef.h>

#include "abi/db.h"
#include "abi/options.h"
#include "base/thread.h"

/* ---- life ---- */

typedef struct txn_options {
    int64_t age_us;
    int64_t timeout_us;
    int64_t attempts;
    bool read_only;
    bool causal;
    bool any_thread;
} txn_options;

static const ti_option known_options[] = {
    {.name = "age_us",
     .kind = TI_OPTION_INT,
     .offset = offsetof(txn_options, age_us),
     .min = 1,
     .max = TI_TXN_AGE_MAX_S * INT64_C(1000000)},
    {.name = "timeout_us",
     .kind = TI_OPTION_INT,
     .offset = offsetof(txn_options, timeout_us),
     .min = 1,
     .max = INT64_MAX},
    {.name = "attempts",
     .kind = TI_OPTION_INT,
     .offset = offsetof(txn_options, attempts),
     .min = 1,
     .max = UINT32_MAX},
    {.name = "read_only", .kind = TI_OPTION_BOOL, .offset = offsetof(txn_options, read_only)},
    {.name = "causal", .kind = TI_OPTION_BOOL, .offset = offsetof(txn_options, causal)},
    {.name = "any_thread", .kind = TI_OPTION_BOOL, .offset = offsetof(txn_options, any_thread)},
};

static tito_txn_t *of_child(ti_db_child *child)
{
    return (tito_txn_t *)(void *)((char *)child - offsetof(tito_txn_t, child));
}

/* The engine's part ends: rolled back when it was open. */
static void end_core(tito_txn_t *txn)
{
    atomic_store(&txn->open, false);
    if (!txn->borrowed)
        ti_txn_free(txn->core);
    txn->core = NULL;
}

static void let_go(ti_db_child *child)
{
    end_core(of_child(child));
}

static void dispose(ti_db_child *child)
{
    tito_txn_t *txn = of_child(child);
    ti_db *db = txn->db;
    ti_assert(ti_db_forked(db) || txn->borrowed || txn->core == NULL);
    ti_lane_unref(txn->lane);
    txn->magic = TI_MAGIC_FREED;
    ti_free(txn);
    ti_db_unref(db);
}

/* A handle without a core, held by the caller. */
static ti_status new_handle(ti_db *db, tito_txn_t **txn_out, ti_err *err)
{
    tito_txn_t *txn = ti_alloc_zero(sizeof(*txn));
    if (txn == NULL)
        return ti_err_no_memory(err);
    txn->lane = ti_lane_create(ti_db_executor(db));
    if (txn->lane == NULL) {
        ti_free(txn);
        return ti_err_no_memory(err);
    }
    txn->magic = TI_MAGIC_TXN;
    atomic_init(&txn->refs, 1);
    atomic_init(&txn->open, true);
    txn->db = ti_db_ref(db);
    txn->child = (ti_db_child){.let_go = let_go, .dispose = dispose};
    *txn_out = txn;
    return TI_OK;
}

ti_status ti_txn_handle_borrow(ti_db *db, ti_txn *core, void (*released)(void *owner), void *owner,
                               tito_txn_t **txn_out, ti_err *err)
{
    TI_TRY(new_handle(db, txn_out, err));
    (*txn_out)->borrowed = true;
    (*txn_out)->core = core;
    (*txn_out)->released = released;
    (*txn_out)->owner_context = owner;
    return TI_OK;
}

void ti_txn_handle_destroy(tito_txn_t *txn)
{
    ti_assert(txn->borrowed && atomic_load(&txn->refs) == 0);
    dispose(&txn->child);
}

bool ti_txn_handle_is_busy(const tito_txn_t *txn)
{
    return atomic_load(&txn->waiting) > 0;
}

void ti_txn_handle_end(tito_txn_t *txn)
{
    ti_assert(txn->borrowed);
    end_core(txn);
}

static ti_status begin(ti_db *db, const txn_options *given, tito_txn_t **txn_out, ti_err *err)
{
    tito_txn_t *txn = NULL;
    TI_TRY(new_handle(db, &txn, err));
    txn->options = (ti_txn_options){
        .age_us_max = given->age_us, .causal = given->causal, .read_only = given->read_only};
    ti_retry_options retry = {.timeout_us = given->timeout_us,
                              .attempts_max = (uint32_t)given->attempts};
    ti_retry_init(&txn->retry, ti_db_kv(db), &retry);
    txn->owner = given->any_thread ? 0 : ti_thread_self();
    ti_status status = ti_txn_begin(ti_db_kv(db), &txn->options, &txn->core, err);
    if (status != TI_OK) {
        dispose(&txn->child);
        return status;
    }
    ti_db_adopt(db, &txn->child);
    *txn_out = txn;
    return TI_OK;
}

int32_t tito_txn_begin(tito_db_t *db, const tito_options_t *options, tito_txn_t **txn_out,
                       tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    txn_options given = {.age_us = 0};
    TI_CHECK(ti_out_check(txn_out, "txn_out", &err));
    TI_CHECK(ti_db_handle_check(db, &err));
    TI_CHECK(ti_options_read(options, "tito_txn_begin", known_options, TI_COUNT(known_options),
                             &given, &err));
    TI_CHECK(ti_db_enter(db->core, &err));
    status = begin(db->core, &given, txn_out, &err);
    ti_db_leave(db->core);
out:
    return ti_answer(status, &err, error_out);
}

tito_txn_t *ti_txn_handle_ref(tito_txn_t *txn)
{
    if (txn != NULL)
        atomic_fetch_add_explicit(&txn->refs, 1, memory_order_relaxed);
    return txn;
}

void ti_txn_handle_unref(tito_txn_t *txn)
{
    if (txn == NULL || atomic_fetch_sub_explicit(&txn->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (txn->borrowed)
        txn->released(txn->owner_context);
    else if (ti_db_forked(txn->db))
        dispose(&txn->child);
    else
        ti_db_release(txn->db, &txn->child);
}

/* Bits of use: an operation runs (the lane lets in one at a time); the host has freed the handle.
 * Who sets the second of them sees the first: exactly one of both sides ends core. */
#define TXN_RUNNING 1u
#define TXN_FREED 2u

ti_status ti_txn_handle_enter(tito_txn_t *txn, ti_err *err)
{
    if ((atomic_fetch_or(&txn->use, TXN_RUNNING) & TXN_FREED) == 0)
        return TI_OK;
    atomic_fetch_and(&txn->use, ~TXN_RUNNING);
    return ti_err_set(err, TI_INVALID_STATE, "the transaction was freed");
}

void ti_txn_handle_leave(tito_txn_t *txn)
{
    if ((atomic_fetch_and(&txn->use, ~TXN_RUNNING) & TXN_FREED) != 0)
        end_core(txn);
}

void tito_txn_free(tito_txn_t *txn)
{
    if (ti_handle_check(txn, TI_MAGIC_TXN, "txn", NULL) != TI_OK || txn->borrowed)
        return;
    atomic_store(&txn->open, false);
    if (ti_db_enter(txn->db, NULL) == TI_OK) { /* else the close ends core, or has */
        if ((atomic_fetch_or(&txn->use, TXN_FREED) & TXN_RUNNING) == 0)
            end_core(txn);
        ti_db_leave(txn->db);
    }
    ti_txn_handle_unref(txn);
}

/* ---- use ---- */

ti_status ti_txn_handle_check(const tito_txn_t *txn, const ti_db *db, ti_err *err)
{
    if (txn == NULL)
        return TI_OK;
    TI_TRY(ti_handle_check(txn, TI_MAGIC_TXN, "txn", err));
    TI_TRY(ti_db_check(txn->db, err));
    if (db != NULL && txn->db != db)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "txn belongs to another database handle");
    if (txn->owner != 0 && txn->owner != ti_thread_self())
        return ti_err_set(err, TI_INVALID_STATE,
                          "the transaction was begun by another thread (option any_thread)");
    return TI_OK;
}

/* As ti_txn_handle_check, with a transaction that the host may end. */
static ti_status check_own(const tito_txn_t *txn, ti_err *err)
{
    TI_TRY(ti_handle_check(txn, TI_MAGIC_TXN, "txn", err));
    TI_TRY(ti_txn_handle_check(txn, NULL, err));
    if (txn->borrowed)
        return ti_err_set(err, TI_INVALID_STATE,
                          "the transaction is its event's: it ends when the event is settled");
    return TI_OK;
}

int32_t tito_txn_is_open(const tito_txn_t *txn)
{
    return ti_handle_check(txn, TI_MAGIC_TXN, "txn", NULL) == TI_OK &&
           ti_db_check(txn->db, NULL) == TI_OK && atomic_load(&txn->open);
}

int32_t tito_txn_doom(tito_txn_t *txn, int32_t status, const char *message, size_t message_len)
{
    TI_TRY(ti_handle_check(txn, TI_MAGIC_TXN, "txn", NULL));
    TI_TRY(ti_txn_handle_check(txn, NULL, NULL));
    TI_TRY(ti_bytes_check(message, message_len, "message", NULL));
    if (status == TITO_OK)
        return TITO_INVALID_ARGUMENT;
    if (!tito_txn_is_open(txn))
        return TITO_INVALID_STATE;
    ti_err err;
    int shown = message_len < TI_ERR_MESSAGE_SIZE ? (int)message_len : TI_ERR_MESSAGE_SIZE;
    ti_err_set(&err, status, "%.*s", shown, message_len == 0 ? "" : message);
    ti_txn_handle_doom(txn, &err);
    return TITO_OK;
}

void ti_txn_handle_doom(tito_txn_t *txn, const ti_err *err)
{
    if (atomic_load(&txn->doomed))
        return;
    txn->doom = *err;
    atomic_store(&txn->doomed, true);
}

void ti_txn_handle_failed(tito_txn_t *txn, bool write, ti_status status, const ti_err *err)
{
    if (err->status == status)
        txn->last = *err;
    else
        ti_err_set(&txn->last, status, "%s", ti_status_name(status));
    if (write && txn->core != NULL)
        (void)ti_txn_doom(txn->core, &txn->last);
}

ti_call ti_txn_handle_call(const tito_txn_t *txn, const ti_call *call)
{
    ti_call within = *call;
    bool later = txn->retry.attempts > 0;
    if (later && txn->retry.deadline_ns < within.deadline_ns)
        within.deadline_ns = txn->retry.deadline_ns;
    return within;
}

/* ---- operations ---- */

static ti_status run_commit(ti_op *op, const ti_call *call, ti_err *err)
{
    tito_txn_t *txn = op->txn;
    ti_ts ts = TI_TS_NONE;
    ti_err skipped;
    if (atomic_load(&txn->doomed))
        (void)ti_txn_doom(txn->core, &txn->doom);
    if (ti_lane_skipped(txn->lane) != TI_OK) {
        ti_err_set(&skipped, ti_lane_skipped(txn->lane),
                   "a write of the transaction ended before it had run");
        (void)ti_txn_doom(txn->core, &skipped);
    }
    ti_status status = ti_txn_commit(txn->core, &ts, call, err);
    end_core(txn);
    op->number = (int64_t)ts;
    return status;
}

static const ti_op_kind commit_kind = {TI_OP_KIND("commit", TI_WORK_COMMIT, false, run_commit)};

static ti_status run_rollback(ti_op *op, const ti_call *call, ti_err *err)
{
    (void)call;
    ti_status status = ti_txn_rollback(op->txn->core, err);
    end_core(op->txn);
    return status;
}

static const ti_op_kind rollback_kind = {
    TI_OP_KIND("rollback", TI_WORK_COMMIT, false, run_rollback)};

/* The failed attempt's error: the last operation's when it has this status. */
static void attempt_error(const tito_txn_t *txn, ti_status status, ti_err *err)
{
    if (txn->last.status == status)
        *err = txn->last;
    else
        ti_err_set(err, status, "the transaction's function failed with %s",
                   ti_status_name(status));
}

static ti_status run_retry(ti_op *op, const ti_call *call, ti_err *err)
{
    tito_txn_t *txn = op->txn;
    ti_kv *kv = ti_db_kv(op->db);
    end_core(txn);
    attempt_error(txn, (ti_status)op->args.number, err);
    TI_TRY(ti_retry_next(&txn->retry, kv, call, err));
    TI_TRY(ti_txn_begin(kv, &txn->options, &txn->core, err));
    ti_lane_forget_skipped(txn->lane);
    atomic_store(&txn->doomed, false);
    ti_err_clear(&txn->last);
    atomic_store(&txn->open, true);
    return TI_OK;
}

static const ti_op_kind retry_kind = {TI_OP_KIND("retry", TI_WORK_LOCK, false, run_retry),
                                      .needs_ended = true};

static ti_status run_start_version(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_ts ts = TI_TS_NONE;
    TI_TRY(ti_txn_start_ts(op->txn->core, &ts, call, err));
    op->number = (int64_t)ts;
    return TI_OK;
}

static const ti_op_kind start_version_kind = {
    TI_OP_KIND("start_version", TI_WORK_GENERAL, false, run_start_version)};

static tito_future_t *submit_own(tito_txn_t *txn, const ti_op_kind *kind, int32_t status)
{
    ti_err err;
    ti_status checked = check_own(txn, &err);
    ti_op *op = NULL;
    if (checked == TI_OK) {
        op = ti_op_new(txn->db, txn, kind, 0);
        checked = op == NULL ? ti_err_no_memory(&err) : TI_OK;
    }
    if (op != NULL)
        op->args.number = status;
    return ti_op_submit(op, ti_db_of(txn, TI_MAGIC_TXN), NULL, checked, &err);
}

tito_future_t *tito_txn_commit(tito_txn_t *txn)
{
    return submit_own(txn, &commit_kind, 0);
}

tito_future_t *tito_txn_rollback(tito_txn_t *txn)
{
    return submit_own(txn, &rollback_kind, 0);
}

tito_future_t *tito_txn_retry(tito_txn_t *txn, int32_t status)
{
    return submit_own(txn, &retry_kind, status);
}

tito_future_t *tito_txn_start_version(tito_txn_t *txn)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_op *op = NULL;
    TI_CHECK(ti_handle_check(txn, TI_MAGIC_TXN, "txn", &err));
    TI_CHECK(ti_txn_handle_check(txn, NULL, &err));
    op = ti_op_new(txn->db, txn, &start_version_kind, 0);
    TI_CHECK(op == NULL ? ti_err_no_memory(&err) : TI_OK);
out:
    return ti_op_submit(op, ti_db_of(txn, TI_MAGIC_TXN), NULL, status, &err);
}

/* ---- the loop ---- */

static int32_t wait_and_free(tito_future_t *future, tito_error_t **error_out)
{
    int32_t status = tito_future_wait(future, -1, error_out);
    tito_future_free(future);
    return status;
}

int32_t tito_transact(tito_db_t *db, const tito_options_t *options, tito_transact_fn work,
                      void *context, tito_error_t **error_out)
{
    ti_err err;
    tito_txn_t *txn = NULL;
    if (work == NULL)
        return ti_answer(ti_err_set(&err, TI_INVALID_ARGUMENT, "work is NULL"), &err, error_out);
    int32_t status = tito_txn_begin(db, options, &txn, error_out);
    while (status == TITO_OK) {
        status = work(context, txn);
        if (status == TITO_OK)
            status = wait_and_free(tito_txn_commit(txn), NULL);
        if (status == TITO_OK)
            break;
        status = wait_and_free(tito_txn_retry(txn, status), error_out);
    }
    tito_txn_free(txn);
    return status;
}

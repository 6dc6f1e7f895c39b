/* The transaction handle.
 *
 *   OPEN ──commit, rollback──> ENDED ──retry──> OPEN
 *     └──────close of the database──> ENDED for good
 *
 * INVARIANTS
 *  1. core is touched only by operations of the transaction (one at a time, in the order in which
 *     they were made) and, when none can run any more, by let_go.
 *  2. The memory of a handle lives until the host has freed it and its last operation is gone; core
 *     ends (rolled back) with tito_txn_free, or with the operation that runs then.
 *  3. Without any_thread every call comes from the thread that began it.
 *
 * A transaction of an event is borrowed: the event begins and ends it; here it can only be used. */
#ifndef TI_ABI_TXN_H
#define TI_ABI_TXN_H

#include "abi/op.h"
#include "kv/retry.h"

struct tito_txn {
    uint32_t magic;
    ti_db *db;              /* one reference */
    bool borrowed;          /* an event's: not to be committed, rolled back or freed by the host */
    _Atomic(uint32_t) refs; /* the host's, and one of every operation */
    _Atomic(uint32_t) waiting;     /* operations submitted, not run and not freed */
    void (*released)(void *owner); /* of a borrowed one: called with the last reference */
    void *owner_context;
    _Atomic(unsigned) use;  /* TXN_RUNNING, TXN_FREED */
    _Atomic(bool) open;     /* takes operations */
    _Atomic(bool) doomed;   /* tito_txn_doom was called: doom holds the error */
    ti_db_child child;      /* adopted unless borrowed */
    uint64_t owner;         /* a ti_thread_self; 0 = any thread */
    ti_txn *core;           /* NULL when ended; owned unless borrowed */
    ti_txn_options options; /* for the attempts of tito_txn_retry */
    ti_retry retry;         /* the budget of all attempts */
    ti_lane *lane;          /* one reference */
    ti_err doom;
    ti_err last; /* of the last operation that failed */
};
TI_DB_HANDLE_CHECK(struct tito_txn, db);

/* OK for NULL (no transaction), and for a live handle of db that the calling thread may use.
 * Whether it is open shows when the operation runs. @thread owner */
ti_status ti_txn_handle_check(const tito_txn_t *txn, const ti_db *db, ti_err *err);
/* Around the body of an operation: INVALID_STATE when the host has freed the transaction. */
ti_status ti_txn_handle_enter(tito_txn_t *txn, ti_err *err);
void ti_txn_handle_leave(tito_txn_t *txn);
/* The call of an operation: in a later attempt of a retried transaction it ends with the time of all
 * attempts. */
ti_call ti_txn_handle_call(const tito_txn_t *txn, const ti_call *call);
/* Makes the commit fail with err; the first one counts. @thread owner, or an operation of it */
void ti_txn_handle_doom(tito_txn_t *txn, const ti_err *err);
/* Remembers the failure of an operation; of a write: dooms. Inside the operation. */
void ti_txn_handle_failed(tito_txn_t *txn, bool write, ti_status status, const ti_err *err);
/* A handle for a transaction that somebody else ends, for any thread. Ended with ti_txn_handle_end
 * and given up with ti_txn_handle_unref; when the last operation of it has gone too,
 * released(owner) is called, and owner then frees it with ti_txn_handle_destroy. */
ti_status ti_txn_handle_borrow(ti_db *db, ti_txn *core, void (*released)(void *owner), void *owner,
                               tito_txn_t **txn_out, ti_err *err);
void ti_txn_handle_destroy(tito_txn_t *txn);
/* Whether operations of it have been submitted that have neither run nor been freed. */
bool ti_txn_handle_is_busy(const tito_txn_t *txn);
/* The borrowed transaction is no longer to be used. */
void ti_txn_handle_end(tito_txn_t *txn);
tito_txn_t *ti_txn_handle_ref(tito_txn_t *txn);
void ti_txn_handle_unref(tito_txn_t *txn);

#endif

/* Transactions: the write set over a snapshot, pessimistic locks, hooks, commit.
 *
 *   OPEN --commit--> COMMITTING --> COMMITTED | FAILED | UNKNOWN
 *   OPEN --doom----> DOOMED (reads go on, commit answers the dooming error)
 *   OPEN, DOOMED --rollback--> ROLLED_BACK
 *
 * INVARIANTS
 *  1. The snapshot is taken at the first read. A transaction that read nothing takes one now() at
 *     commit, which is its start, the floor of its commit timestamp and the time T given to commit
 *     hooks.
 *  2. Reads and scans see the own write set first: puts show, deletes hide.
 *  3. DELETE then INSERT of one key is a PUT; INSERT then DELETE asserts absence (ABSENT); PUT then
 *     DELETE is DELETE; LOCK gives way to a write. INSERT on a key that the own write set already
 *     has a
 *     value for is ALREADY_EXISTS at once.
 *  4. A transaction without mutations commits without a request to the engine.
 *  5. After a failed write the transaction is doomed: nothing of it can commit.
 *  6. Mutations, keys and values are copied into the transaction's arena.
 *
 * Thread rule: one thread at a time (the owner checks that, e.g. by an rt lane). */
#ifndef TI_KV_TXN_H
#define TI_KV_TXN_H

#include "kv/kv.h"

typedef struct ti_txn ti_txn;

typedef struct ti_txn_options {
    int64_t age_us_max; /* 0 = the handle's; a use after that answers TIMEOUT and dooms */
    ti_ts read_at;      /* TI_TS_NONE = newest */
    bool causal;
    bool read_only; /* writes answer INVALID_STATE */
    bool one_get;   /* one ti_txn_get is all that will be read: cheaper where timestamps cost */
} ti_txn_options;

/* Begins; contacts nobody. options may be NULL. Free with ti_txn_free (which rolls back when still
 * open). */
ti_status ti_txn_begin(ti_kv *kv, const ti_txn_options *options, ti_txn **txn_out, ti_err *err);
void ti_txn_free(ti_txn *txn);

ti_kv *ti_txn_kv(const ti_txn *txn);
ti_arena *ti_txn_arena(ti_txn *txn); /* lives as long as the transaction */
bool ti_txn_is_open(const ti_txn *txn);
/* INVALID_STATE with a text when the transaction has ended, TIMEOUT when too old, its dooming error
 * when doomed and for_write. */
ti_status ti_txn_check(ti_txn *txn, bool for_write, ti_err *err);
/* The snapshot's timestamp, taking the snapshot when there is none yet. */
ti_status ti_txn_start_ts(ti_txn *txn, ti_ts *ts_out, const ti_call *call, ti_err *err);
/* The snapshot's timestamp or TI_TS_NONE when nothing was read. */
ti_ts ti_txn_start_ts_if_any(const ti_txn *txn);

/* Reads: own writes, then the snapshot. Values are in a (or in the transaction's arena for own
 * writes). NOT_FOUND sets no text. */
ti_status ti_txn_get(ti_txn *txn, ti_slice key, ti_arena *a, ti_slice *value_out,
                     const ti_call *call, ti_err *err);
ti_status ti_txn_batch_get(ti_txn *txn, const ti_slice *keys, size_t count, ti_arena *a,
                           ti_slice *values_out, const ti_call *call, ti_err *err);
/* Which keys are known, without reading, to be in the transaction's view as the snapshot at since[i]
 * (which some earlier transaction had) showed them; takes the snapshot. false says nothing. */
ti_status ti_txn_unchanged(ti_txn *txn, const ti_slice *keys, const ti_ts *since, size_t count,
                           bool *unchanged_out, const ti_call *call, ti_err *err);
/* Whether ti_txn_expect can be used: the engine remembers for a while what was committed. */
bool ti_txn_can_expect(const ti_txn *txn);
/* A key that the transaction has written (not by insert) was read at an earlier snapshot, whose
 * timestamp is since: the commit answers CONFLICT when anything was committed on it after that, or
 * when that is not remembered. The transaction's own snapshot is not taken. */
void ti_txn_expect(ti_txn *txn, ti_slice key, ti_ts since);
/* A page of the merged view, forward or reverse, as ti_scan says; `more` and the last key tell
 * where to go on. */
ti_status ti_txn_scan(ti_txn *txn, const ti_scan *scan, ti_arena *a, ti_scan_page *page_out,
                      const ti_call *call, ti_err *err);
/* Locks keys pessimistically, then answers their newest value (own writes first). A later write of
 * the key is checked from there. */
ti_status ti_txn_get_locked(ti_txn *txn, ti_slice key, int64_t wait_us, ti_arena *a,
                            ti_slice *value_out, const ti_call *call, ti_err *err);
/* What the own write set says of a key: true when it has an entry; then *present_out tells whether
 * it leaves a value. */
bool ti_txn_own_write(const ti_txn *txn, ti_slice key, bool *present_out);
/* Whether reads of a key are answered by the transaction (it wrote the key, or read it under a
 * lock) and not by its snapshot. */
bool ti_txn_decides(const ti_txn *txn, ti_slice key);

/* Writes. LIMIT_EXCEEDED past TI_TXN_MUTATIONS_MAX, TI_TXN_SIZE_MAX, TI_ENTRY_SIZE_MAX or
 * TI_KEY_SIZE_MAX: before any request. Any failure dooms. value is never empty. */
ti_status ti_txn_put(ti_txn *txn, ti_slice key, ti_slice value, ti_err *err);
ti_status ti_txn_insert(ti_txn *txn, ti_slice key, ti_slice value, ti_err *err);
ti_status ti_txn_delete(ti_txn *txn, ti_slice key, ti_err *err);
ti_status ti_txn_lock(ti_txn *txn, ti_slice key,
                      ti_err *err); /* a LOCK mutation: excludes write skew */

/* Whether a commit would do anything: writes, keys locked, commit hooks, or a dooming error to
 * answer. */
bool ti_txn_has_effects(const ti_txn *txn);

/* Lowers the bound of the commit timestamp (kept: the lowest given). */
void ti_txn_not_after(ti_txn *txn, ti_ts ts);
/* Makes commit answer this error. The first one is kept. Returns err->status. */
ti_status ti_txn_doom(ti_txn *txn, const ti_err *err);

/* Runs when the commit begins, in order of registration, with T = the database's time fetched just
 * then; may write. A failure fails the commit. Runs even when there are no other mutations. context
 * is borrowed until the transaction ends. */
typedef ti_status (*ti_txn_commit_hook)(void *context, ti_txn *txn, ti_ts t, ti_err *err);
ti_status ti_txn_on_commit(ti_txn *txn, ti_txn_commit_hook hook, void *context, ti_err *err);
/* As ti_txn_on_commit, for a hook that only checks and writes nothing: no time is fetched for it, t
 * is about the database's time then. Not called when there is nothing to commit. */
ti_status ti_txn_before_commit(ti_txn *txn, ti_txn_commit_hook hook, void *context, ti_err *err);
/* Runs once when the transaction ends (committed, failed, unknown or rolled back), after its locks
 * are released. */
typedef void (*ti_txn_end_hook)(void *context, ti_status status, ti_ts commit_ts);
ti_status ti_txn_on_end(ti_txn *txn, ti_txn_end_hook hook, void *context, ti_err *err);
/* One slot per owner (a static address) for state that lives in the transaction's arena: NULL when
 * never set. */
void *ti_txn_slot(const ti_txn *txn, const void *owner);
ti_status ti_txn_set_slot(ti_txn *txn, const void *owner, void *value, ti_err *err);

/* Ends it. commit_ts_out may be NULL; it is the snapshot's timestamp for a transaction without
 * mutations. */
ti_status ti_txn_commit(ti_txn *txn, ti_ts *commit_ts_out, const ti_call *call, ti_err *err);
ti_status ti_txn_rollback(ti_txn *txn, ti_err *err); /* INVALID_STATE when it has ended */

#endif

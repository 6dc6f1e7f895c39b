/* The retry loop: runs a function in new transactions until it commits, fails for good, or its
 * budget is used up.
 *
 * INVARIANTS
 *  1. The function runs again as a whole on a new snapshot; writes are never replayed.
 *  2. Only classes CONFLICT and TRANSIENT are retried; UNKNOWN never is.
 *  3. Bounded by deadline and attempts; the sleep is exponential with full jitter, checked against
 *     the deadline before.
 *  4. What time has ended runs again only with a good part of the budget left: a request that is cut
 *     off under way leaves an unknown outcome where there was a plain timeout. */
#ifndef TI_KV_RETRY_H
#define TI_KV_RETRY_H

#include "kv/txn.h"

typedef struct ti_retry {
    int64_t began_ns;
    int64_t deadline_ns; /* of all attempts */
    uint32_t attempts;   /* failed so far */
    uint32_t attempts_max;
    char told[TI_ERR_MESSAGE_SIZE]; /* by the first transient failure in a row; "": there is none */
} ti_retry;

typedef struct ti_retry_options {
    int64_t timeout_us;    /* 0 = the handle's */
    uint32_t attempts_max; /* 0 = TI_RETRY_ATTEMPTS_MAX */
} ti_retry_options;

void ti_retry_init(ti_retry *r, const ti_kv *kv, const ti_retry_options *options);
/* After a failed attempt: OK when it slept and the caller should run again; else the status of
 * *err, whose message now says how many attempts were made when more than one. An attempt that was
 * short of time tells less than the transient failures before it: then theirs is the message. err
 * holds the attempt's error on entry. */
ti_status ti_retry_next(ti_retry *r, const ti_kv *kv, const ti_call *call, ti_err *err);

typedef ti_status (*ti_transact_fn)(void *context, ti_txn *txn, const ti_call *call, ti_err *err);
/* begin, fn, commit, with the loop around. A failed fn rolls back. commit_ts_out may be NULL. */
ti_status ti_kv_transact(ti_kv *kv, const ti_txn_options *txn_options,
                         const ti_retry_options *options, ti_transact_fn fn, void *context,
                         ti_ts *commit_ts_out, const ti_call *call, ti_err *err);

#endif

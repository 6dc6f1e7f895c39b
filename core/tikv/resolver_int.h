/* The resolver's inside. Private to resolver*.c. */
#ifndef TI_TIKV_RESOLVER_INT_H
#define TI_TIKV_RESOLVER_INT_H

#include "tikv/flight.h"
#include "tikv/resolver.h"
#include "tikv/said.h"

typedef enum ti_fate {
    TI_FATE_ALIVE,
    TI_FATE_PUSHED, /* alive, but it will commit above the reader */
    TI_FATE_COMMITTED,
    TI_FATE_ROLLED_BACK,
    TI_FATE_ONLY_LOCK, /* nothing is known of the transaction, but this pessimistic lock is not its
                          primary's: it alone may go */
} ti_fate;

typedef struct ti_txn_fate {
    ti_fate fate;
    uint64_t commit_ts; /* COMMITTED */
    int64_t ttl_ms;     /* ALIVE: of the primary's lock */
} ti_txn_fate;

/* What a look at a transaction's primary says to those who waited for it. */
typedef struct ti_check_result {
    ti_err err; /* OK: fate */
    ti_txn_fate fate;
    uint64_t caller_ts; /* on whose behalf it asked: commits below it were kept off */
} ti_check_result;

/* How long a key whose lock was cleared is not cleared again for the same transaction: for readers,
 * who go past it anyway; and for writers, whose answer may be older than that. */
#define TI_RESOLVER_CLEARED_MS 5000
#define TI_RESOLVER_CLEARED_NOW_MS 100
#define TI_RESOLVER_CLEARED_MAX 1024

struct ti_resolver {
    ti_cluster *cluster;
    ti_background *background;
    ti_flights checks; /* of CheckTxnStatus, by start_ts; results are ti_check_result */
    ti_flights clears; /* of locks, by start_ts; without a result */
    ti_mutex mutex;    /* rank TI_RANK_CLOCK: all below */
    struct {
        uint64_t start_ts;                     /* 0 = empty */
        uint64_t commit_ts;                    /* 0 = rolled back */
    } cache[TI_RESOLVER_CACHE_MAX];            /* a table by hash with replacement */
    uint64_t running[TI_RESOLVER_RUNNING_MAX]; /* transactions being cleared in the background; 0 =
                                                  free */
    struct {
        uint64_t id; /* of (start_ts, key); 0 = empty */
        int64_t at_ms;
    } cleared[TI_RESOLVER_CLEARED_MAX]; /* a table by id with replacement */
    ti_resolver_stats stats;
};

/* What became of a lock's owner. current_ts: PD's time now. */
ti_status ti_resolver_fate(ti_resolver *r, const Kvrpcpb__LockInfo *lock, uint64_t caller_ts,
                           uint64_t current_ts, ti_txn_fate *fate_out, ti_backoff *backoff,
                           ti_err *err);
/* Decides an expired async commit by its secondaries. NOT_FOUND (no text): one of them is no async
 * lock, ask again with force_sync_commit. */
ti_status ti_resolver_recover(ti_resolver *r, const Kvrpcpb__LockInfo *primary,
                              ti_txn_fate *fate_out, ti_backoff *backoff, ti_err *err);
/* Clears locks of one owner, whose fate is final: those that nobody has cleared just now. */
ti_status ti_resolver_clear(ti_resolver *r, Kvrpcpb__LockInfo *const *locks, size_t count,
                            const ti_txn_fate *fate, ti_backoff *backoff, ti_err *err);
/* The same in the background, if there is room and nobody clears for this transaction. */
void ti_resolver_clear_later(ti_resolver *r, Kvrpcpb__LockInfo *const *locks, size_t count,
                             const ti_txn_fate *fate);
/* Resolves keys of a transaction: commit_ts 0 rolls back. */
ti_status ti_resolver_resolve_keys(ti_resolver *r, uint64_t start_ts, uint64_t commit_ts,
                                   const ti_slice *keys, size_t count, ti_backoff *backoff,
                                   ti_err *err);
void ti_resolver_remember(ti_resolver *r, uint64_t start_ts, uint64_t commit_ts);

static inline bool ti_lock_is_expired(const Kvrpcpb__LockInfo *lock, uint64_t current_ts)
{
    return (lock->lock_version >> 18) + lock->lock_ttl <= (current_ts >> 18);
}

/* What an unknown key error says in words. */
static inline ti_said ti_key_error_said(const Kvrpcpb__KeyError *e)
{
    if (e->abort[0] == '\0' && e->retryable[0] == '\0')
        return ti_said_by("a key error of an unknown kind");
    return ti_said_by(e->abort[0] != '\0' ? e->abort : e->retryable);
}

#endif

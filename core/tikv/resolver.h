/* Locks of other transactions: what became of their owner, and clearing them away.
 *
 * The truth about a transaction is at its primary key. For each lock met:
 *
 *   status of its owner:  cache  →  else CheckTxnStatus at the primary
 *     committed or rolled back     final: cached (never where only one lock is known to be gone)
 *     alive                        wait, or read past it where its min_commit_ts was pushed above
 *                                  the reader
 *     expired, async commit        CheckSecondaryLocks at all its keys tells; a key without async
 *                                  lock: ask again with force_sync_commit
 *     not found                    lock not expired: the primary is not written yet: wait;
 *                                  expired: roll back
 *     primary mismatch, pessimistic lock
 *                                  only this lock is rolled back
 *
 *   then the lock:  pessimistic → PessimisticRollback
 *                   small transaction → ResolveLock by keys
 *                   large → ResolveLock of the region
 *
 * (source: client-go's lock resolver, as told in the protocol reference, 2.12)
 *
 * INVARIANTS
 *  1. A live transaction is never rolled back: only one whose time to live has passed by PD's
 *     clock.
 *  2. LockNotExistDoNothing and TTLExpirePessimisticRollback are never cached.
 *  3. However many meet locks of one transaction at once, one asks for its fate and one clears; the
 *     others wait for it. Locks of one owner that were met together are cleared together. Readers
 *     leave
 *     the clearing to the background, whose queue bounds the work.
 *
 * Thread rule: any thread; a ti_lock_view belongs to one reader. */
#ifndef TI_TIKV_RESOLVER_H
#define TI_TIKV_RESOLVER_H

#include "tikv/background.h"
#include "tikv/fan.h"

#define TI_RESOLVER_CACHE_MAX 2048
#define TI_RESOLVER_LITE_KEYS 512
#define TI_RESOLVER_VIEW_MAX 256
#define TI_RESOLVER_RUNNING_MAX 256

/* What a reader has learnt: transactions whose locks it may ignore, and such whose locks count as
 * their values. */
typedef struct ti_lock_view {
    uint64_t resolved[TI_RESOLVER_VIEW_MAX];
    size_t resolved_count;
    uint64_t committed[TI_RESOLVER_VIEW_MAX];
    size_t committed_count;
} ti_lock_view;

typedef struct ti_resolver ti_resolver;

typedef struct ti_resolver_stats {
    uint64_t checked; /* CheckTxnStatus asked */
    uint64_t shared;  /* answers of it that another had asked for */
    uint64_t cache_hits;
    uint64_t recovered; /* async commits decided by their secondaries */
    uint64_t resolved;  /* locks cleared */
} ti_resolver_stats;

ti_status ti_resolver_create(ti_cluster *c, ti_background *background, ti_resolver **resolver_out,
                             ti_err *err);
void ti_resolver_free(ti_resolver *r);
ti_resolver_stats ti_resolver_stats_of(ti_resolver *r);

/* A reader at start_ts met these locks (their order changes). Enters what may be ignored or read
 * through into view; *wait_ms_out = 0: ask again at once, else wait at most that long first (a live
 * lock is in the way). */
ti_status ti_resolve_for_read(ti_resolver *r, Kvrpcpb__LockInfo **locks, size_t count,
                              uint64_t start_ts, ti_lock_view *view, int64_t *wait_ms_out,
                              ti_backoff *backoff, ti_err *err);
/* A writer met these locks (their order changes): clears those of dead owners before it returns.
 * caller_ts is its start; 0 for one that takes pessimistic locks or collects. (Not UINT64_MAX: to it
 * a store says that a lock was pushed, and pushes nothing.) */
ti_status ti_resolve_for_write(ti_resolver *r, Kvrpcpb__LockInfo **locks, size_t count,
                               uint64_t caller_ts, int64_t *wait_ms_out, ti_backoff *backoff,
                               ti_err *err);
/* What became of the caller's own transaction, whose commit's answer was lost; one that is not
 * committed is rolled back. *commit_ts_out = 0: rolled back. Any error: it is not known. */
ti_status ti_resolve_own(ti_resolver *r, ti_slice primary, uint64_t start_ts,
                         uint64_t *commit_ts_out, ti_backoff *backoff, ti_err *err);

#endif

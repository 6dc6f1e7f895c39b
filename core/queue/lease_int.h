/* Inside of leases: lease.c (a member's life, renewal, what the worker asks), share.c (who is
 * there, who should have what, taking and giving back).
 *
 *   queue_worker:{type}:{id} = when it expires          one row per member and type
 *   queue_lease:{type}:{partition} = id                 written when it is taken, never renewed
 *
 *   NONE --take--> HELD --no longer ours--> GIVING --everything settled, row deleted--> NONE
 *                    `------------ its member expired: NONE, at once --------------------^
 *
 * INVARIANTS
 *  1. An id is of one incarnation: a member that has expired comes back under another id.
 *  2. A member's rows are put by commits not after its expiry as last known to be committed, so an
 *     expired member never revives.
 *  3. Whatever a member commits about a partition is not after its expiry. A lease is taken on a
 *     snapshot later than the expiry of the member that its row names (or when that member's row is
 *     gone, which it deletes itself when all is settled). So what the new owner reads has
 *     everything that the old one will ever have committed.
 *  4. A lease is taken in a transaction that has read its row, not after the taker's expiry. It is
 *     given back by a deletion not after the expiry.
 *  5. On an engine of one process a member that is not of this process is dead.
 *
 * Thread rule: the lease thread does everything but answer owns, fence and until_ns, which any
 * thread asks. */
#ifndef TI_QUEUE_LEASE_INT_H
#define TI_QUEUE_LEASE_INT_H

#include "queue/worker_int.h"

typedef enum ti_lease_state { TI_LEASE_NONE = 0, TI_LEASE_HELD, TI_LEASE_GIVING } ti_lease_state;

/* The partitions of one type. */
typedef struct ti_lease_type {
    ti_wtype *wtype;
    uint32_t partitions;   /* under the lease's mutex; the arrays have room for any count */
    unsigned char *state;  /* owned, a ti_lease_state each; changed under the lease's mutex */
    uint64_t *holding;     /* owned: which taking it is; under the lease's mutex */
    unsigned char *wanted; /* owned, by the lease thread alone */
    bool waits;            /* for leases that others still have */
} ti_lease_type;

typedef struct ti_lease {
    ti_ownership base;
    ti_worker *w; /* borrowed: owns this */
    ti_mutex mutex;
    ti_cond cond;
    _Atomic(bool) flag; /* look at once */
    bool quit;
    bool leader;
    char id[TI_UUID_TEXT_SIZE + 1]; /* of the lease thread, as everything without another word */
    ti_ts expiry;                   /* under mutex; TI_TS_NONE = no member */
    _Atomic(int64_t) until_ns;
    _Atomic(uint64_t) epoch;
    uint64_t holdings; /* takings so far; under mutex */
    int64_t lease_us;
    int64_t renewed_ns;
    bool renew_now; /* so that snapshots move on */
    ti_member member;
    bool joined_hub;
    ti_lease_type *types; /* owned */
    uint32_t type_count;
    ti_thread thread;
    bool started;
} ti_lease;

/* Whether the partitions of the type are what it shares: its count does not change, and is the
 * worker's. */
bool ti_lease_is_current(const ti_lease_type *type);
/* Looks at one type: who is there, what should be ours, takes what is free, and marks what is to be
 * given. @locks none, the lease thread */
ti_status ti_lease_share(ti_lease *l, ti_lease_type *type, ti_arena *a, const ti_call *call,
                         ti_err *err);
/* Deletes the rows of leases that are GIVING and of which nothing is left in the worker. */
ti_status ti_lease_give(ti_lease *l, ti_lease_type *type, ti_arena *a, const ti_call *call,
                        ti_err *err);
/* Its expiry has passed: nothing is ours any more. */
void ti_lease_lose(ti_lease *l);
void ti_lease_set(ti_lease *l, ti_lease_type *type, uint32_t partition, ti_lease_state state);
/* The worker is told. */
void ti_lease_changed(ti_lease *l);

/* How strongly a partition wants to be a member's: it belongs to the live one with the highest
 * weight. type: ti_hash_stable of its name. */
uint64_t ti_lease_weight(uint64_t type, uint32_t partition, ti_slice id);

#endif

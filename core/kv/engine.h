/* The engine contract: one small, Percolator-shaped interface under everything, so that the
 * embedded engine and TiKV behave alike.
 *
 * Timestamps (ti_ts) are physical milliseconds << 18 | logical, strictly increasing in the whole
 * database.
 *
 * INVARIANTS that every engine keeps
 *  1. A snapshot at S shows exactly the commits with timestamp <= S. A commit that was acknowledged
 *     before begin was called is in it.
 *  2. Isolation is snapshot isolation: a commit answers CONFLICT when another transaction has
 *     committed a PUT, DELETE or INSERT on one of its keys after the timestamp its check starts
 *     from
 *     (start_ts, or the mutation's check_ts when that is later).
 *  3. A commit is all or nothing. OUTCOME_UNKNOWN is the only answer after which either may be
 *     true.
 *  4. With not_after set, the commit timestamp is <= it, or the answer is CONFLICT and nothing is
 *     applied.
 *  5. now() is greater than every timestamp handed out before it by anybody in the database.
 *  6. Whether a committed LOCK conflicts with a later PUT, or two LOCKs with each other, is not
 *     defined: never LOCK a row that many share.
 *
 * Thread rule: an engine may be used from any thread; a snapshot and a ti_locks by one thread at a
 * time. What is NOT here: the write set, merged scans, retries (txn.h, retry.h). */
#ifndef TI_KV_ENGINE_H
#define TI_KV_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/slice.h"

typedef uint64_t ti_ts;

#define TI_TS_LOGICAL_BITS 18
#define TI_TS_NONE ((ti_ts)0)
#define TI_TS_MAX UINT64_MAX

/* The physical part in µs since the epoch; the timestamp of a time in µs with logical 0; a
 * timestamp moved on by µs (saturating). */
static inline int64_t ti_ts_to_us(ti_ts ts)
{
    return (int64_t)(ts >> TI_TS_LOGICAL_BITS) * 1000;
}
static inline ti_ts ti_ts_from_us(int64_t us)
{
    return ((ti_ts)(us / 1000)) << TI_TS_LOGICAL_BITS;
}
static inline uint32_t ti_ts_logical(ti_ts ts)
{
    return (uint32_t)(ts & ((1u << TI_TS_LOGICAL_BITS) - 1));
}
ti_ts ti_ts_add_us(ti_ts ts, int64_t us);

typedef enum ti_mutation_kind {
    TI_MUTATION_PUT = 0,
    TI_MUTATION_DELETE = 1,
    TI_MUTATION_INSERT = 2, /* the key must be absent in the newest state, else ALREADY_EXISTS */
    TI_MUTATION_LOCK = 3,   /* writes nothing; takes part in the conflict check */
    TI_MUTATION_ABSENT =
        4, /* writes nothing; the key must be absent in the newest state, else ALREADY_EXISTS */
} ti_mutation_kind;

typedef struct ti_mutation {
    ti_slice key;
    ti_slice value; /* never empty for PUT and INSERT; none otherwise */
    ti_mutation_kind kind;
    ti_ts check_ts; /* the conflict check of this key starts here when later than start_ts (keys
                       read under a lock); else TI_TS_NONE */
    ti_ts since;    /* or here, also when it is earlier (the key was read at that snapshot): only
                       for engines that have `unchanged`; else TI_TS_NONE */
} ti_mutation;

typedef struct ti_range {
    ti_slice from; /* inclusive */
    ti_slice to;   /* exclusive; len 0 = no end */
} ti_range;

typedef struct ti_pair {
    ti_slice key;
    ti_slice value; /* none when only keys were asked for */
} ti_pair;

typedef struct ti_scan {
    ti_range range;
    bool reverse; /* from the end of the range downward */
    bool keys_only;
    size_t items_max; /* > 0 */
    size_t size_max;  /* bytes of keys and values after which a page ends (its last pair may pass
                         it); 0 = TI_PAGE_SIZE_MAX */
} ti_scan;

typedef struct ti_scan_page {
    ti_pair *pairs; /* in the arena */
    size_t count;
    bool more; /* the page ended by a limit; go on after (reverse: below) the last key. May be true
                  with nothing left. */
} ti_scan_page;

typedef struct ti_locks
    ti_locks; /* the pessimistic locks one transaction holds; the engine's own type */

typedef struct ti_locked {
    ti_slice value; /* the newest committed value, in the arena; none when not found */
    bool found;
    ti_ts ts; /* the conflict check of this key starts here */
} ti_locked;

typedef struct ti_lock_request {
    ti_ts start_ts; /* of the transaction; never TI_TS_NONE */
    const ti_slice *keys;
    size_t count;
    int64_t wait_us; /* 0: BUSY at once when held by another (NOWAIT); < 0: as long as the call's
                        deadline */
} ti_lock_request;

typedef struct ti_commit_request {
    ti_ts start_ts;  /* the snapshot's, or a fresh now() for a transaction that read nothing. It
                        names the transaction: one commit uses it, and no other. */
    ti_ts fresh_ts;  /* a now() taken since the commit began, or TI_TS_NONE: saves the engine asking
                        again. Equal to start_ts: nothing was read, so the engine may let the
                        transaction begin later, behind what would be a conflict */
    ti_ts not_after; /* TI_TS_NONE = no bound */
    const ti_mutation *mutations; /* sorted by key, no key twice, at least one */
    size_t count;
    ti_locks
        *locks;  /* or NULL. The commit, whatever its result, does not release them: unlock does. */
    bool causal; /* TiKV: may skip the timestamp that makes it linearizable */
} ti_commit_request;

typedef struct ti_commit_result {
    ti_ts commit_ts;     /* after OK */
    size_t failed_index; /* after CONFLICT and ALREADY_EXISTS: the mutation that failed, SIZE_MAX
                            when not one key's fault */
} ti_commit_result;

/* What to tell about a cluster, besides members, stores, old versions and round trips. */
typedef struct ti_describe {
    ti_range range;      /* the keys it is about */
    bool regions;        /* a list of them, too */
    bool locks;          /* those of transactions older than lock_age_us */
    bool resolve;        /* and clears those whose owner is gone */
    int64_t lock_age_us; /* >= 0 */
} ti_describe;

typedef struct ti_engine ti_engine;
typedef struct ti_snapshot ti_snapshot;

typedef struct ti_engine_vt {
    uint32_t version; /* 1 */
    const char *name; /* "rocksdb", "memory", "tikv" */

    ti_status (*now)(ti_engine *e, ti_ts *ts_out, const ti_call *call, ti_err *err);

    /* A snapshot: at = TI_TS_NONE for the newest, else a chosen past one (embedded: UNSUPPORTED).
     * TI_TS_MAX: for one get and nothing else; it reads the newest state of its key, so that no
     * timestamp needs to be taken. release it exactly once. */
    ti_status (*begin)(ti_engine *e, ti_ts at, ti_snapshot **snapshot_out, const ti_call *call,
                       ti_err *err);
    ti_ts (*snapshot_ts)(const ti_snapshot *s);
    void (*release)(ti_snapshot *s);

    /* NOT_FOUND (no error text is set) when absent. Values are copied into the arena. */
    ti_status (*get)(ti_snapshot *s, ti_slice key, ti_arena *a, ti_slice *value_out,
                     const ti_call *call, ti_err *err);
    /* values_out[i] has data NULL where keys[i] is absent. */
    ti_status (*batch_get)(ti_snapshot *s, const ti_slice *keys, size_t count, ti_arena *a,
                           ti_slice *values_out, const ti_call *call, ti_err *err);
    ti_status (*scan)(ti_snapshot *s, const ti_scan *scan, ti_arena *a, ti_scan_page *page_out,
                      const ti_call *call, ti_err *err);

    ti_status (*commit)(ti_engine *e, const ti_commit_request *request,
                        ti_commit_result *result_out, const ti_call *call, ti_err *err);

    /* Takes locks (creating *locks_io when NULL) and reads the newest committed values. BUSY
     * (NOWAIT), TIMEOUT, DEADLOCK. Locks taken before a failure stay held. out has request->count
     * elements. unlock releases all and frees; NULL is allowed. Where the cluster does not answer,
     * or the time of the last call was up, the release follows in the background. */
    ti_status (*lock)(ti_engine *e, ti_locks **locks_io, const ti_lock_request *request,
                      ti_arena *a, ti_locked *out, const ti_call *call, ti_err *err);
    void (*unlock)(ti_engine *e, ti_locks *locks);

    /* Deletes a range outside of transactions: nobody may write in it meanwhile. */
    ti_status (*destroy_range)(ti_engine *e, ti_range range, const ti_call *call, ti_err *err);
    /* Collects versions older than retention_us. Embedded: nothing to do, OK. */
    ti_status (*gc)(ti_engine *e, int64_t retention_us, const ti_call *call, ti_err *err);
    /* Statistics as a JSON object appended to out. */
    ti_status (*stats)(ti_engine *e, ti_buf *out, ti_err *err);
    /* Whether other processes may use the same database (decides whether the catalog needs leases,
     * the queue hint rows). */
    bool (*shared)(const ti_engine *e);
    /* Takes one more handle on the same engine; drops one. The last drop closes: waits for running
     * commits, frees. All snapshots and locks must be released before. */
    void (*ref)(ti_engine *e);
    void (*unref)(ti_engine *e);
    /* Appends what is known about the machines behind it as a JSON object (core/db/README.md).
     * Writes nothing but what resolve clears. Embedded: UNSUPPORTED. */
    ti_status (*describe)(ti_engine *e, const ti_describe *what, ti_buf *out, const ti_call *call,
                          ti_err *err);
    /* unchanged_out[i]: it is known, without reading, that nothing was committed on keys[i] after
     * since[i] (a snapshot's timestamp). false says nothing. NULL: an engine that never knows. */
    void (*unchanged)(ti_engine *e, const ti_slice *keys, const ti_ts *since, size_t count,
                      bool *unchanged_out);
} ti_engine_vt;

/* State that a room above keeps once per engine and process (the catalog). Zeroed by whoever makes
 * the engine, left alone by it: its owner empties it before the last unref. */
typedef struct ti_engine_slot {
    _Atomic(int) busy; /* held for pointer work only */
    void *state;
} ti_engine_slot;

/* An implementation embeds this first. */
struct ti_engine {
    const ti_engine_vt *vt;
    const ti_env *env; /* borrowed: outlives the engine */
    ti_engine_slot slot;
    ti_engine_slot queue_slot; /* the same for who waits for events */
};
struct ti_snapshot {
    ti_engine *engine; /* borrowed */
};

#endif

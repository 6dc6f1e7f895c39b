/* The TiKV engine's inside. Private to this folder. */
#ifndef TI_TIKV_TIKV_INT_H
#define TI_TIKV_TIKV_INT_H

#include <stdatomic.h>

#include "base/process.h"
#include "kv/engine.h"
#include "tikv/background.h"
#include "tikv/flight.h"
#include "tikv/heartbeat.h"
#include "tikv/resolver.h"
#include "tikv/said.h"
#include "tikv/tikv.h"

/* Sizes and gates (source: client-go, as told in the protocol reference, 2.0). */
#define TI_BATCH_SIZE 16384
#define TI_BATCH_GET_KEYS 5120
#define TI_SCAN_PAGE 256
#define TI_ASYNC_KEYS_MAX 256
#define TI_ASYNC_SIZE_MAX 4096
#define TI_ASYNC_WINDOW_MS 2000
#define TI_LOCK_TTL_MS 3000
#define TI_LOCK_TTL_MAX_MS 20000
#define TI_PESSIMISTIC_TTL_MS 20000
#define TI_COMMIT_TIME_MAX_MS 86400000
/* Commits of this size on are kept alive by heartbeats. */
#define TI_BEATING_SIZE ((size_t)4 << 20)
#define TI_CAUSAL_AGE_MAX_MS 1000
#define TI_UNLOCK_WITHIN_US 2000000
#define TI_COMMIT_GAP_MAX ((uint64_t)3600000 << TI_TS_LOGICAL_BITS)
#define TI_SAFE_POINT_LOOK_MS 10000
#define TI_SAFE_POINT_OLD_MS 100000 /* then a read does not trust it */
#define TI_CLOSE_WITHIN_US 5000000

typedef struct ti_tikv {
    ti_engine base;
    _Atomic(uint32_t) refs;
    ti_process_guard guard; /* a forked child is refused */
    ti_cluster cluster;
    ti_background *background;
    ti_resolver *resolver;
    ti_heartbeat *heartbeat;
    const ti_log *log;
    _Atomic(uint64_t) safe_point;
    _Atomic(int64_t) safe_point_ms;   /* when it was looked at; 0 = never */
    _Atomic(bool) safe_point_looking; /* in the background */
    ti_flights safe_point_looks;      /* of those who need it now; results are ti_err */
    _Atomic(uint64_t) commits_one_pc;
    _Atomic(uint64_t) commits_async;
    _Atomic(uint64_t) commits_two_phase;
    _Atomic(uint64_t) commits_unknown;
} ti_tikv;

typedef struct ti_tikv_snapshot {
    ti_snapshot base;
    ti_tikv *engine;
    uint64_t ts; /* TI_TS_MAX: for one get, until it meets a lock */
    ti_lock_view view;
} ti_tikv_snapshot;

/* A key whose pessimistic lock the store has confirmed. */
typedef struct ti_held_key {
    ti_slice key;
    bool found; /* it has a value: true for as long as the lock is held */
} ti_held_key;

/* The pessimistic locks of one transaction. */
struct ti_locks {
    ti_tikv *engine;
    uint64_t start_ts;
    ti_arena arena;    /* the keys */
    ti_held_key *list; /* owned, in order of the keys */
    size_t count;
    size_t capacity;
    ti_slice primary; /* the first key locked; "" while none is */
    uint64_t for_update_ts;
    int64_t deadline_ns; /* of the last call: giving back makes nobody wait for longer */
    bool hurried;        /* a call ended because its time was up, or it was cancelled */
    bool beating;
    bool spent; /* a commit has replaced or removed all of them: nothing is left to give back */
};

/* How old a transaction is, by timestamps of PD's. */
static inline uint64_t ti_age_ms(uint64_t start_ts, uint64_t now_ts)
{
    return now_ts > start_ts ? (now_ts >> TI_TS_LOGICAL_BITS) - (start_ts >> TI_TS_LOGICAL_BITS)
                             : 0;
}

/* What a key error means. *failed_out: the key it names, or empty. */
ti_status ti_key_error_status(const Kvrpcpb__KeyError *e, ti_slice *failed_out, ti_err *err);
/* Collects the locks of key errors for the next settle. */
typedef struct ti_met_locks {
    ti_arena arena;
    Kvrpcpb__LockInfo **list;
    size_t count;
    size_t capacity;
} ti_met_locks;
void ti_met_locks_init(ti_met_locks *m);
void ti_met_locks_free(ti_met_locks *m);
void ti_met_locks_clear(ti_met_locks *m);
/* Enters a copy of a lock (shared ones singly). */
ti_status ti_met_locks_add(ti_met_locks *m, const Kvrpcpb__LockInfo *lock, ti_err *err);

/* Why somebody waits for the locks met: what is said of the key, and whose lock it is. Of the first
 * one, of which there is one. */
void ti_met_locks_why(const ti_met_locks *m, ti_status status, const char *what, ti_err *why);

/* snapshot.c */
ti_status ti_tikv_get(ti_snapshot *s, ti_slice key, ti_arena *a, ti_slice *value_out,
                      const ti_call *call, ti_err *err);
ti_status ti_tikv_batch_get(ti_snapshot *s, const ti_slice *keys, size_t count, ti_arena *a,
                            ti_slice *values_out, const ti_call *call, ti_err *err);
/* Enters the view into a context. */
void ti_snapshot_context(ti_tikv_snapshot *s, ti_context *c);
/* Resolves the locks a read has met and waits where it must. */
ti_status ti_snapshot_settle(ti_tikv_snapshot *s, ti_met_locks *met, ti_backoff *backoff,
                             ti_err *err);
/* Refuses a snapshot older than the GC safe point: what it reads may be gone. */
ti_status ti_snapshot_check_safe(ti_tikv_snapshot *s, const ti_call *call, ti_err *err);
/* scan.c */
ti_status ti_tikv_scan(ti_snapshot *s, const ti_scan *scan, ti_arena *a, ti_scan_page *page_out,
                       const ti_call *call, ti_err *err);
/* commit.c */
ti_status ti_tikv_commit(ti_engine *e, const ti_commit_request *request,
                         ti_commit_result *result_out, const ti_call *call, ti_err *err);
/* pessimistic.c */
ti_status ti_tikv_lock(ti_engine *e, ti_locks **locks_io, const ti_lock_request *request,
                       ti_arena *a, ti_locked *out, const ti_call *call, ti_err *err);
void ti_tikv_unlock(ti_engine *e, ti_locks *locks);
/* The key's entry; NULL when it is not held. */
const ti_held_key *ti_locks_find(const ti_locks *locks, ti_slice key);
/* Locks those of keys that are not held yet, at the transaction's start timestamp: CONFLICT when
 * one has changed since. *failed_out (in the arena): the key that was refused, or empty. */
ti_status ti_tikv_lock_rest(ti_tikv *t, ti_locks *locks, const ti_slice *keys, size_t count,
                            uint64_t now_ts, ti_arena *a, ti_slice *failed_out, const ti_call *call,
                            ti_err *err);
/* sweep.c: visits the locks that are older than max_ts, region by region. The locks of a visit are
 * the visitor's to change; they are gone after it. */
typedef struct ti_lock_sweep {
    uint64_t max_ts;
    ti_range range; /* of keys; zeroed: all */
    ti_status (*visit)(void *context, ti_met_locks *met, ti_backoff *backoff, ti_err *err);
    void *context;
} ti_lock_sweep;
ti_status ti_tikv_sweep_locks(ti_tikv *t, const ti_lock_sweep *sweep, const ti_call *call,
                              ti_err *err);
/* describe.c */
ti_status ti_tikv_describe(ti_engine *e, const ti_describe *what, ti_buf *out, const ti_call *call,
                           ti_err *err);
/* gc.c */
ti_status ti_tikv_gc(ti_engine *e, int64_t retention_us, const ti_call *call, ti_err *err);
ti_status ti_tikv_destroy_range(ti_engine *e, ti_range range, const ti_call *call, ti_err *err);

#endif

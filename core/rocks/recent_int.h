/* The table of recent commits: hash of a key -> timestamp of the last commit that changed it. It
 * decides conflicts.
 *
 *   slots:  [ hash | ts ][ hash | ts ][ - ][ hash | ts ] …      open addressing, linear probing
 *
 * Keys are not stored: two keys with the same keyed 64-bit hash can at worst make a commit answer
 * CONFLICT without need, never let one pass that should have been stopped.
 *
 * INVARIANTS
 *  1. Every commit with a timestamp > floor is in the table. So a commit that began before floor
 *     can not be judged, and is refused.
 *  2. The capacity is a power of two, at most TI_ROCKS_RECENT_SLOTS_MAX; at most three quarters of
 *     the slots are used.
 *  3. Entries go only in a sweep, and only those that every open snapshot is at or after. The
 *     latest ones stay besides, for transactions that took their start a moment ago without a
 *     snapshot. Only when the table may not grow more of them go, and floor passes old snapshots.
 *
 * Thread rule: guarded by the engine's mutex. */
#ifndef TI_ROCKS_RECENT_INT_H
#define TI_ROCKS_RECENT_INT_H

#include "kv/engine.h"

typedef struct ti_recent_slot {
    uint64_t hash;
    ti_ts ts; /* TI_TS_NONE: free */
} ti_recent_slot;

typedef struct ti_recent {
    ti_recent_slot *slots; /* owned */
    size_t capacity;
    size_t used;
    ti_ts floor;
    ti_ts newest;     /* recorded last */
    ti_ts late;       /* later entries outlive the next sweep: newest at the last one, or later when
                         the table was three quarters full */
    bool is_late;     /* it was */
    uint64_t seed[2]; /* of the hash */
} ti_recent;

/* An empty table; floor: commits up to there are unknown. OUT_OF_MEMORY. */
ti_status ti_recent_init(ti_recent *r, const ti_env *env, ti_ts floor, ti_err *err);
void ti_recent_free(ti_recent *r);
/* The hash of a key, for the calls below. @thread any */
uint64_t ti_recent_hash(const ti_recent *r, ti_slice key);
/* The timestamp of the last commit recorded for the hash; TI_TS_NONE when there is none. */
ti_ts ti_recent_find(const ti_recent *r, uint64_t hash);
/* Records a commit; rising timestamps. oldest: the start of the oldest open snapshot, TI_TS_MAX
 * without one. Can not fail: without room for them floor becomes ts. */
void ti_recent_add(ti_recent *r, const uint64_t *hashes, size_t count, ti_ts ts, ti_ts oldest);

#endif

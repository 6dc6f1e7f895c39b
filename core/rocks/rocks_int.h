/* Inside of the embedded engine; shared by the files of this room.
 *
 *   callers --check, timestamp--> queue --leader writes a group--> RocksDB --publish--> view
 *             engine mutex                 outside the mutex                engine mutex
 *
 *   A commit is checked and gets its timestamp under the engine's mutex and joins the queue. One
 *   of the queued threads is the leader: it writes the queued commits in order of timestamps as
 *   one WriteBatch, then, under the mutex, publishes them and wakes their threads. A snapshot is a
 *   timestamp and a view: a RocksDB snapshot of the published state, shared by all that began
 *   between two groups.
 *
 * INVARIANTS
 *  1. Timestamps in `group` and then in `queue` rise strictly; every commit with a timestamp <=
 *     settled is either wholly in RocksDB or will never be.
 *  2. While `writing` is false, RocksDB holds exactly the published commits; so a RocksDB snapshot
 *     taken then, under the mutex, shows exactly them.
 *  3. `view`, when there is one, shows exactly the published commits.
 *  4. A snapshot's timestamp is the lowest one in flight - 1, else a fresh tick: all published
 *     commits are <= it, all others are greater.
 *  5. After a failed write the engine is poisoned: no commit is accepted again.
 *  6. RocksDB's memory is never touched in a child of fork().
 *
 * Keys that begin with the byte 0 are the engine's own:
 *   00 "tito.clock"   byte 1 (version), 8 bytes big-endian: all timestamps are below it
 *
 * Thread rule: everything below `mutex` is guarded by it, unless noted. */
#ifndef TI_ROCKS_ROCKS_INT_H
#define TI_ROCKS_ROCKS_INT_H

#include <assert.h>
#include <rocksdb/c.h>
#include <stdatomic.h>

#include "base/limits.h"
#include "base/process.h"
#include "base/thread.h"
#include "rocks/clock_int.h"
#include "rocks/locks_int.h"
#include "rocks/recent_int.h"
#include "rocks/rocks.h"

#define TI_ROCKS_POISON_SIZE 256

typedef struct ti_rocks ti_rocks;

/* A RocksDB iterator with bounds that can be moved. */
typedef struct ti_rocks_cursor {
    rocksdb_iterator_t *it;
    rocksdb_readoptions_t *options; /* its iterator reads the bounds through them */
    char *bounds;                   /* owned: lower, then upper */
} ti_rocks_cursor;

/* The published state at one moment; shared, counted. */
typedef struct ti_rocks_view ti_rocks_view;
struct ti_rocks_view {
    size_t refs; /* guarded by the engine's mutex; then freed outside of it */
    const rocksdb_snapshot_t *snapshot;
    rocksdb_readoptions_t *options; /* for gets; read by many threads */
    ti_rocks_cursor *spare;         /* an iterator nobody uses, or NULL; guarded likewise */
    ti_rocks_view *next;            /* in a list of those to free */
};

typedef struct ti_rocks_snapshot ti_rocks_snapshot;
struct ti_rocks_snapshot {
    ti_snapshot base;
    ti_ts ts;
    ti_rocks_view *view;     /* one reference */
    ti_rocks_cursor *cursor; /* owned; NULL until the first scan */
    ti_rocks_snapshot *newer;
    ti_rocks_snapshot *older;
};
static_assert(offsetof(ti_rocks_snapshot, base) == 0, "the contract's part comes first");

/* What a thread brings to the queue; on its stack. */
typedef enum ti_entry_state {
    TI_ENTRY_QUEUED,
    TI_ENTRY_LEADER, /* woken to lead the next group */
    TI_ENTRY_TAKEN,  /* being written */
    TI_ENTRY_DONE,
} ti_entry_state;

typedef struct ti_rocks_entry ti_rocks_entry;
struct ti_rocks_entry {
    ti_rocks_entry *next;
    const ti_mutation *mutations;
    size_t count;
    const ti_range *destroy; /* instead of mutations */
    size_t size;             /* bytes */
    ti_ts ts;
    int64_t deadline_ns;
    _Atomic(ti_entry_state) state; /* changed with the mutex; its thread reads it without, too */
    ti_status status;              /* once DONE */
    bool waits;                    /* sleeps on cond */
    ti_cond cond;
};

typedef struct ti_rocks_counters {
    uint64_t commits;
    uint64_t groups;
    uint64_t conflicts;
    uint64_t views;
    uint64_t stalls;
    uint64_t lock_waits;
    uint64_t deadlocks;
} ti_rocks_counters;

struct ti_rocks {
    ti_engine base;
    ti_rocks_options options; /* with the defaults filled in */
    ti_process_guard guard;
    ti_log_hub *logs; /* one reference, owned */
    _Atomic(bool) failure_told;

    rocksdb_t *db;
    rocksdb_column_family_handle_t *family;
    rocksdb_env_t *memory_env; /* of a database in memory */
    rocksdb_writeoptions_t *write_options;
    rocksdb_readoptions_t *latest; /* reads without a snapshot */
    rocksdb_writebatch_t *batch;   /* the leader's */
    rocksdb_cache_t *cache;

    ti_clock clock;
    _Atomic(ti_ts) settled; /* written under mutex */
    bool has_mutex;         /* what ti_rocks_start came to */
    bool has_cond;
    bool has_clock;

    ti_mutex mutex;
    ti_rocks_entry *group; /* being written, by rising timestamps */
    ti_rocks_entry *queue;
    ti_rocks_entry *queue_last;
    bool leading; /* somebody is the leader, or has been woken to be it */
    bool writing; /* the leader is outside of the mutex */
    bool poisoned;
    bool renewing;             /* somebody stores a new bound of the clock */
    uint32_t eager;            /* groups before which a view is made although nobody has asked */
    uint32_t waiters;          /* of turned */
    ti_cond turned;            /* a group was written, or a bound stored */
    ti_rocks_view *view;       /* one reference; NULL when nobody has begun since the last group */
    ti_rocks_snapshot *newest; /* open snapshots */
    ti_rocks_snapshot *oldest;
    ti_recent recent;
    ti_lock_table locks;
    ti_rocks_counters counters;
    _Atomic(bool) backing_up;          /* one backup at a time */
    char poison[TI_ROCKS_POISON_SIZE]; /* what the storage said */

    /* Guarded by the registry's mutex (registry.c). */
    char *path; /* owned; NULL in memory */
    uint64_t device;
    uint64_t inode;
    size_t refs;
    int registered; /* a ti_registered */
    ti_rocks *next;
};
static_assert(offsetof(ti_rocks, base) == 0, "the contract's part comes first");

static inline ti_rocks *ti_rocks_of(ti_engine *e)
{
    return (ti_rocks *)e;
}

/* ---- errors.c */

/* The status of a message of RocksDB, set with what was tried; frees message. @thread any */
ti_status ti_rocks_failed(char *message, const char *what, ti_err *err);
/* FORKED. */
ti_status ti_rocks_forked(ti_err *err);
/* The status of errno, set with what was tried and the path. */
ti_status ti_rocks_errno(int number, const char *what, const char *path, ti_err *err);

/* ---- open.c */

/* Opens RocksDB in e->path, or in memory, and fills e; what is filled is given back by
 * ti_rocks_stop also when it fails. */
ti_status ti_rocks_start(ti_rocks *e, ti_err *err);
/* Closes everything that ti_rocks_start opened. */
void ti_rocks_stop(ti_rocks *e);
/* Instead of ti_rocks_stop in a child of fork(): frees memory and touches nothing of RocksDB. */
void ti_rocks_abandon(ti_rocks *e);
/* Frees e itself; NULL is allowed. */
void ti_rocks_free(ti_rocks *e);
extern const ti_engine_vt ti_rocks_vt;
extern const ti_engine_vt ti_rocks_memory_vt;

/* ---- place.c */

#define TI_ROCKS_PATH_SIZE 4096

typedef struct ti_rocks_place {
    uint64_t device;
    uint64_t inode;
    char path[TI_ROCKS_PATH_SIZE]; /* absolute: the process may change its directory later */
} ti_rocks_place;

/* Makes path a directory that holds, or can hold, a database of tito, and says where it is. */
ti_status ti_rocks_place_prepare(const char *path, ti_rocks_place *place_out, ti_err *err);
/* Writes the marker of a database into a directory, whose path is for messages. */
ti_status ti_rocks_place_mark(int dir, const char *path, ti_err *err);
/* Takes the permissions of others off the files in it. */
ti_status ti_rocks_place_close_files(const char *path, ti_err *err);
/* The pid that holds RocksDB's lock on path, 0 when none does. Not for the process that holds it.
 */
long ti_rocks_place_holder(const char *path);

/* ---- backup.c */

/* Removes what a backup that was killed has left in the directory of the database at path. */
ti_status ti_rocks_backup_clean(const char *path, ti_err *err);

/* ---- registry.c */

void ti_rocks_ref(ti_engine *engine);
void ti_rocks_unref(ti_engine *engine);

/* ---- commit.c */

ti_status ti_rocks_now(ti_engine *engine, ti_ts *ts_out, const ti_call *call, ti_err *err);
ti_status ti_rocks_commit(ti_engine *engine, const ti_commit_request *request,
                          ti_commit_result *result_out, const ti_call *call, ti_err *err);
ti_status ti_rocks_destroy_range(ti_engine *engine, ti_range range, const ti_call *call,
                                 ti_err *err);
/* Stores a later bound of the clock, or waits until another thread has, or a moment when the
 * storage is stalled: to be called until the clock ticks. With the mutex held, which is released
 * meanwhile.
 */
ti_status ti_rocks_renew_clock(ti_rocks *e, const ti_call *call, ti_err *err);
/* Stores a later bound if nobody is doing it; without the mutex. */
void ti_rocks_renew_early(ti_rocks *e);
/* INVALID_ARGUMENT for a key that is empty or the engine's own. */
ti_status ti_rocks_check_key(ti_slice key, ti_err *err);
/* The last commit that may have changed a key with this hash: it is pending when greater than
 * e->settled. With the mutex held. */
ti_ts ti_rocks_newest_commit(const ti_rocks *e, uint64_t hash);
void ti_rocks_unchanged(ti_engine *engine, const ti_slice *keys, const ti_ts *since, size_t count,
                        bool *unchanged_out);

/* ---- group.c */

/* Joins the queue and returns when the entry is DONE, or was taken back at its deadline. Called
 * with the mutex held, returns without. *err is set unless OK. */
ti_status ti_rocks_join(ti_rocks *e, ti_rocks_entry *entry, const ti_call *call, ti_err *err);
typedef enum ti_write_result {
    TI_WRITE_DONE,
    TI_WRITE_STALLED, /* RocksDB takes no writes at the moment: not applied */
    TI_WRITE_FAILED,  /* may have been applied */
} ti_write_result;

/* Frees RocksDB's message (NULL: done), keeping what it says in text when it failed. */
ti_write_result ti_rocks_write_result(char *message, char text[TI_ROCKS_POISON_SIZE]);
/* No commit is accepted from here on. With the mutex held. */
void ti_rocks_poison(ti_rocks *e, const char *text);
/* Writes once to the log that a write has failed, for which the engine is about to be poisoned.
 * @locks none */
void ti_rocks_tell_failure(ti_rocks *e, const char *text);
/* IO, because of an earlier failure. */
ti_status ti_rocks_poisoned(const ti_rocks *e, ti_err *err);
/* The lowest timestamp in flight, TI_TS_NONE when there is none. */
ti_ts ti_rocks_in_flight(const ti_rocks *e);
/* Waits for a turn (a group written, a bound stored) until the call ends. TIMEOUT, CANCELLED. */
ti_status ti_rocks_wait_turn(ti_rocks *e, const ti_call *call, const char *what, ti_err *err);
/* The bytes of the clock's bound. */
#define TI_ROCKS_BOUND_SIZE 9
extern const ti_slice ti_rocks_clock_key;
void ti_rocks_encode_bound(ti_ts bound, char out[TI_ROCKS_BOUND_SIZE]);
ti_status ti_rocks_decode_bound(ti_slice bytes, ti_ts *bound_out, ti_err *err);

/* ---- snapshot.c */

ti_status ti_rocks_begin(ti_engine *engine, ti_ts at, ti_snapshot **snapshot_out,
                         const ti_call *call, ti_err *err);
ti_ts ti_rocks_snapshot_ts(const ti_snapshot *s);
void ti_rocks_release(ti_snapshot *s);
/* Makes e->view when there is none. Only while nothing is being written. false: no memory. */
bool ti_rocks_make_view(ti_rocks *e);
/* Drops a reference; when it was the last one returns the view, to be freed outside of the mutex
 * with ti_rocks_free_view, else NULL. */
ti_rocks_view *ti_rocks_unref_view(ti_rocks_view *view);
void ti_rocks_free_view(ti_rocks *e, ti_rocks_view *view);

/* ---- read.c */

ti_status ti_rocks_get(ti_snapshot *s, ti_slice key, ti_arena *a, ti_slice *value_out,
                       const ti_call *call, ti_err *err);
ti_status ti_rocks_batch_get(ti_snapshot *s, const ti_slice *keys, size_t count, ti_arena *a,
                             ti_slice *values_out, const ti_call *call, ti_err *err);
ti_status ti_rocks_scan(ti_snapshot *s, const ti_scan *scan, ti_arena *a, ti_scan_page *page_out,
                        const ti_call *call, ti_err *err);
/* The newest value, without a snapshot: NOT_FOUND (no text) when absent. a may be NULL: then only
 * whether it is there. */
ti_status ti_rocks_get_latest(ti_rocks *e, ti_slice key, ti_arena *a, ti_slice *value_out,
                              ti_err *err);
/* Greater than every key. */
extern const ti_slice ti_rocks_keys_end;
void ti_rocks_cursor_free(ti_rocks_cursor *cursor);

/* ---- lock.c */

ti_status ti_rocks_lock(ti_engine *engine, ti_locks **locks_io, const ti_lock_request *request,
                        ti_arena *a, ti_locked *out, const ti_call *call, ti_err *err);
void ti_rocks_unlock(ti_engine *engine, ti_locks *locks);
/* Locks a key for owner, waiting wait_us (0: BUSY at once, < 0: as long as the call) for who holds
 * it. Called with the mutex held, which is released meanwhile. BUSY, TIMEOUT, CANCELLED, DEADLOCK,
 * OUT_OF_MEMORY. */
ti_status ti_rocks_acquire(ti_rocks *e, ti_locks *owner, ti_slice key, uint64_t hash,
                           int64_t wait_us, const ti_call *call, ti_err *err);
/* A holder of locks, without any; NULL when there is no memory. Ended with ti_rocks_locks_drop,
 * which gives back all locks. Not in a child of fork(). */
ti_locks *ti_rocks_locks_new(void);
void ti_rocks_locks_drop(ti_rocks *e, ti_locks *locks);

/* ---- stats.c */

ti_status ti_rocks_stats(ti_engine *engine, ti_buf *out, ti_err *err);

#endif

/* A little store with the rules of a TiKV: versions, locks, Percolator's commands, 1PC and async
 * commit, pessimistic locks. It answers the requests of the simulated wire truly, so that a wrong
 * success shows when its data is read back.
 *
 *   key:  lock (at most one)  |  writes: {start, commit, PUT value | DELETE | LOCK | ROLLBACK}
 *
 * INVARIANTS
 *  1. A request that is refused changes nothing.
 *  2. A request with a stale epoch, for another leader or with a key outside of its region gets the
 *     region error that tells so, and changes nothing.
 *  3. Asked twice it answers the same and applies once.
 *
 * One store stands for all: what differs between real stores is only who leads a region. It may
 * outlive the cluster of words that asks it: a second one can read the same data.
 *
 * Thread rule: any thread. What is NOT here: waiting for locks (a pessimistic lock request answers
 * at once), shared locks, garbage collection. */
#ifndef TITO_TESTS_TIKV_MVCC_H
#define TITO_TESTS_TIKV_MVCC_H

#include "tikv/fake.h"

#define MVCC_KEYS_MAX 512
#define MVCC_WRITES_MAX 24

typedef struct mvcc_write {
    uint64_t start_ts;
    uint64_t commit_ts; /* of a ROLLBACK: start_ts */
    Kvrpcpb__Op op;     /* Put, Del, Lock, Rollback */
    ti_slice value;     /* in the store's arena */
} mvcc_write;

typedef struct mvcc_lock {
    bool held;
    Kvrpcpb__Op op; /* Put, Del, Lock, PessimisticLock */
    ti_slice value;
    ti_slice primary;
    uint64_t start_ts;
    uint64_t ttl_ms;
    uint64_t txn_size;
    uint64_t for_update_ts;
    uint64_t min_commit_ts;
    bool async;
    ti_slice *secondaries;
    size_t secondary_count;
} mvcc_lock;

typedef struct mvcc_key {
    ti_slice key;
    mvcc_lock lock;
    mvcc_write writes[MVCC_WRITES_MAX]; /* ascending by commit_ts */
    size_t write_count;
} mvcc_key;

typedef struct mvcc {
    ti_mutex mutex; /* rank TI_RANK_LEAF: all below */
    ti_arena arena;
    mvcc_key *keys[MVCC_KEYS_MAX]; /* in order */
    size_t key_count;
    uint64_t max_ts;    /* of all reads */
    bool keeps_locks;   /* test: ResolveLock, rollbacks and heartbeats change nothing */
    bool refuses_1pc;   /* one_pc_commit_ts is 0 */
    bool refuses_async; /* min_commit_ts is 0 */
    bool amends; /* a lost pessimistic lock is written anew at prewrite, where nothing changed */
} mvcc;

void mvcc_init(mvcc *m);
void mvcc_free(mvcc *m);
/* Answers a request as a store does that leads what the cluster says it leads. */
void mvcc_answer(mvcc *m, fake_ask *ask);

/* Directly, without a request. */
void mvcc_put(mvcc *m, const char *key, const char *value, uint64_t start_ts, uint64_t commit_ts);
void mvcc_roll_back(mvcc *m, const char *key, uint64_t start_ts);
/* The lock is copied; it replaces the key's. */
void mvcc_set_lock(mvcc *m, const char *key, const mvcc_lock *lock);
/* The newest value at ts, whatever is locked; "" when there is none. Until mvcc_free. */
ti_slice mvcc_value(mvcc *m, ti_slice key, uint64_t ts);
/* When the transaction's write of key was committed: 0 = not. */
uint64_t mvcc_committed_at(mvcc *m, ti_slice key, uint64_t start_ts);
size_t mvcc_locks(mvcc *m);
bool mvcc_lock_of(mvcc *m, const char *key, mvcc_lock *lock_out);

/* ---- Private to mvcc*.c. The mutex is held. ---- */

mvcc_key *mvcc_find(mvcc *m, ti_slice key); /* NULL: none */
mvcc_key *mvcc_make(mvcc *m, ti_slice key);
void mvcc_add_write(mvcc *m, mvcc_key *k, const mvcc_write *w);
/* The write record of a transaction, a ROLLBACK too; NULL: none. */
mvcc_write *mvcc_write_of(mvcc_key *k, uint64_t start_ts);
/* The newest PUT or DELETE with commit_ts <= ts; NULL: none. */
const mvcc_write *mvcc_newest(const mvcc_key *k, uint64_t ts);
void mvcc_unlock(mvcc_key *k);
/* Turns the key's lock of the transaction into a write. */
void mvcc_commit_key(mvcc *m, mvcc_key *k, uint64_t commit_ts);
/* Removes the transaction's lock, if it is there, and leaves a ROLLBACK. */
void mvcc_roll_back_key(mvcc *m, mvcc_key *k, uint64_t start_ts);
Kvrpcpb__LockInfo *mvcc_lock_info(const mvcc_key *k, ti_arena *a);
Kvrpcpb__KeyError *mvcc_error(ti_arena *a);
Kvrpcpb__KeyError *mvcc_locked(const mvcc_key *k, ti_arena *a);
void *mvcc_unpack(const ProtobufCMessageDescriptor *descriptor, fake_ask *ask);
/* false: the answer is a region error. */
bool mvcc_check_region(fake_ask *ask, const Kvrpcpb__Context *c, const ProtobufCBinaryData *keys,
                       size_t count);

/* mvcc_write.c */
void mvcc_prewrite(mvcc *m, fake_ask *ask);
void mvcc_commit(mvcc *m, fake_ask *ask);
void mvcc_batch_rollback(mvcc *m, fake_ask *ask);
void mvcc_pessimistic_lock(mvcc *m, fake_ask *ask);
void mvcc_pessimistic_rollback(mvcc *m, fake_ask *ask);
/* mvcc_status.c */
void mvcc_check_txn_status(mvcc *m, fake_ask *ask);
void mvcc_check_secondary_locks(mvcc *m, fake_ask *ask);
void mvcc_heart_beat(mvcc *m, fake_ask *ask);
void mvcc_resolve_lock(mvcc *m, fake_ask *ask);
void mvcc_scan_lock(mvcc *m, fake_ask *ask);
void mvcc_destroy_range(mvcc *m, fake_ask *ask);

#endif

/* Inside of a transaction; shared by the files of this room. The rules are in txn.h. */
#ifndef TI_KV_TXN_INT_H
#define TI_KV_TXN_INT_H

#include "kv/txn.h"
#include "kv/writes_int.h"

typedef enum ti_txn_state {
    TI_TXN_OPEN,
    TI_TXN_DOOMED,
    TI_TXN_COMMITTED,
    TI_TXN_FAILED,
    TI_TXN_UNKNOWN,
    TI_TXN_ROLLED_BACK,
} ti_txn_state;

typedef struct ti_txn_hook ti_txn_hook;
struct ti_txn_hook {
    ti_txn_hook *next;
    ti_txn_commit_hook at_commit; /* one of the two */
    ti_txn_end_hook at_end;
    void *context;
    bool check; /* at_commit: only looks, and needs no time fetched for it */
};

typedef struct ti_txn_hooks {
    ti_txn_hook *first;
    ti_txn_hook *last;
} ti_txn_hooks;

typedef struct ti_txn_slot_node ti_txn_slot_node;
struct ti_txn_slot_node {
    ti_txn_slot_node *next;
    const void *owner;
    void *value;
};

/* Allocated as one block together with the first memory of its arena. */
struct ti_txn {
    ti_kv *kv;             /* borrowed: outlives the transaction */
    ti_snapshot *snapshot; /* owned; NULL until the first read and after the end */
    ti_ts start_ts;        /* the snapshot's; kept after the end */
    ti_locks *locks;       /* owned; NULL until the first lock and after the end */
    ti_txn_state state;
    bool committing; /* commit hooks are running: no commit or rollback from inside them */
    bool read_only;
    bool causal;
    ti_ts read_at;
    ti_ts not_after;       /* TI_TS_NONE = no bound */
    int64_t age_us_max;    /* counted from the snapshot */
    int64_t age_end_ns;    /* on the monotonic clock; once there is a snapshot */
    ti_status doom_status; /* of state DOOMED */
    ti_err *doom;          /* its error, in the arena; NULL when there was no memory for it */
    ti_txn_hooks commit_hooks;
    bool timed_hooks; /* one of them needs the time */
    ti_txn_hooks end_hooks;
    ti_txn_slot_node *slots;
    ti_arena arena;
    ti_writes writes;
};

/* OK with a snapshot, taking it when there is none yet. */
ti_status ti_txn_need_snapshot(ti_txn *txn, const ti_call *call, ti_err *err);
/* Doom with whatever the caller's error says (err may be NULL: then only the status is known).
 * Returns status. */
ti_status ti_txn_fail_write(ti_txn *txn, ti_status status, const ti_err *err);
/* Lets the room that knows keys put status and err into words; returns the status to answer. */
ti_status ti_txn_describe(const ti_txn *txn, ti_slice key, ti_status status, ti_err *err);

#endif

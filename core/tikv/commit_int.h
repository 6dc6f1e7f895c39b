/* A commit under way. Private to prewrite.c, commit.c and cleanup.c.
 *
 *   mode    prewrite                    commit point                          afterwards
 *   1PC     one request writes all      its answer                            nothing
 *   async   locks with min_commit_ts    the last prewrite's answer            all keys, in the
 *                                                                             background
 *   2PC     locks                       the answer to the primary's commit    secondaries, in the
 *                                                                             background
 *
 * 1PC falls back to 2PC when the keys are not in one region and batch, or the store refuses; async
 * falls back when a store gives no min_commit_ts.
 *
 * INVARIANTS
 *  1. `lost` (per key, and of the primary's commit) is set when a request that may be the commit
 *     point was sent and its answer did not come; a later definite answer about the same keys
 *     clears
 *     it. A failure with it set asks the store what became of the transaction; when that can not be
 *     found out either, it is OUTCOME_UNKNOWN, and nothing is cleaned up.
 *  2. The primary is committed before any secondary.
 *  3. No commit timestamp above not_after is ever sent or accepted.
 *  4. A 1PC request always carries all keys: a part of them would commit by itself.
 *  5. A transaction that holds pessimistic locks locks its other keys too (at its start timestamp,
 *     which is their conflict check) before it prewrites: stores before 6.3 know no other check. */
#ifndef TI_TIKV_COMMIT_INT_H
#define TI_TIKV_COMMIT_INT_H

#include "tikv/tikv_int.h"

typedef struct ti_committer {
    ti_tikv *engine;
    const ti_commit_request *request;
    const ti_call *call;
    ti_slice *keys;         /* of the mutations, in the arena */
    size_t primary;         /* index */
    bool nothing_to_commit; /* only ABSENT assertions: no lock is written */
    int64_t begun_ms;
    uint64_t lock_ttl_ms;
    uint64_t min_commit_ts;
    uint64_t max_commit_ts; /* of 1PC and async; 0 = none */
    uint64_t now_ts;        /* the latest timestamp known */
    bool pessimistic;
    bool one_pc;
    bool async;
    bool *lost;         /* per key: its prewrite, which may be the commit point */
    bool lost_primary;  /* the primary's commit */
    bool torn;          /* what a lost request may have done is not known: of 1PC whose keys are not
                           in one region any more, or an async one, forgotten by the store */
    bool refused;       /* a prewrite that was never lost was refused: it can not be committed */
    bool touched;       /* something may have been written */
    uint64_t one_pc_ts; /* 1PC's commit timestamp */
    uint64_t async_ts;  /* the highest min_commit_ts */
    uint64_t commit_ts;
    bool *committed; /* per key */
    size_t failed_index;
    size_t blocked_index; /* the last key that was met locked */
    ti_met_locks met;
    ti_arena arena;
} ti_committer;

/* Whether mutation i writes a lock: all but the assertions of an optimistic transaction. */
static inline bool ti_committer_writes(const ti_committer *c, size_t i)
{
    return c->pessimistic || c->request->mutations[i].kind != TI_MUTATION_ABSENT;
}
/* Whether the outcome hangs on an answer that did not come. */
bool ti_committer_is_lost(const ti_committer *c);
/* Writes the locks (or, with 1PC, everything). */
ti_status ti_committer_prewrite(ti_committer *c, ti_err *err);
/* Commits the primary, with the keys beside it in its region. */
ti_status ti_committer_commit_primary(ti_committer *c, ti_err *err);
/* Commits in the background what is not committed yet. */
void ti_committer_commit_later(ti_committer *c);
/* Removes in the background what a failed commit may have left. */
void ti_committer_clean_later(ti_committer *c);
/* The index of the mutation that a store named, or SIZE_MAX. */
size_t ti_committer_index_of(const ti_committer *c, ti_slice key);

#endif

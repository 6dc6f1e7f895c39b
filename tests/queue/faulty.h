/* An engine around another one that is slow, forgets to answer, or says no, as a cluster would.
 *
 * Faults strike one in so many calls (0 = never), by a fixed sequence; never in a thread that has
 * set faulty_spared (publishers, who could not know what became of their commit). */
#ifndef TITO_TESTS_QUEUE_FAULTY_H
#define TITO_TESTS_QUEUE_FAULTY_H

#include "support/test.h"

#include "kv/engine.h"

typedef struct faulty {
    ti_engine base;
    ti_engine *inner; /* owned */
    _Atomic(uint64_t) calls;
    _Atomic(uint32_t) slow_snapshot_in; /* a snapshot is taken, and only then told, after a while */
    _Atomic(uint32_t) slow_commit_in;   /* the same for a commit */
    _Atomic(uint32_t) lost_in;          /* a commit is not applied, and answers OUTCOME_UNKNOWN */
    _Atomic(uint32_t) unknown_in;       /* it is applied, and answers OUTCOME_UNKNOWN */
    _Atomic(uint32_t) conflict_in;
    _Atomic(uint32_t) unavailable_in; /* reads and commits */
    bool shared;                      /* what it says to be */
    _Atomic(uint64_t) struck;         /* faults so far */
    _Atomic(uint64_t) begins;         /* snapshots so far */
    _Atomic(uint64_t) commits;        /* of events that came so far */
    _Atomic(bool) held;               /* they wait before they are applied */
    _Atomic(uint64_t) gcs;            /* removals of old versions so far */
} faulty;

extern _Thread_local bool faulty_spared;

/* An engine in memory behind faults that are all off. Freed by dropping its one reference. */
faulty *faulty_open(bool shared);
/* Another engine around the same inner one, as another process would have: nothing of what is kept
 * in memory is shared. */
faulty *faulty_beside(const faulty *first);
/* Scans and single reads through all engines so far. */
uint64_t faulty_scans(void);
uint64_t faulty_gets(void);

#endif

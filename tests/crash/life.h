/* A database that dies again and again: what the tests of crashes share, which is the parent's
 * part.
 *
 *   parent: fork ──► child: works, and reports each acknowledgement through a pipe
 *             │ random time, or a fault point of the child's own, later: SIGKILL
 *             ▼
 *           fork ──► child: opens, compares with what is known, reports what is there, exits
 *
 * Each of LIFE_THREADS threads commits transactions number 1, 2, 3 …, going on from what is known.
 * After a crash a thread has come to the number that was acknowledged or to the one after it.
 *
 * INVARIANTS
 *  1. RocksDB is never in the parent: it forks.
 *  2. A child that finds something wrong aborts, and the parent's test fails. */
#ifndef TITO_TESTS_CRASH_LIFE_H
#define TITO_TESTS_CRASH_LIFE_H

#include "support/test.h"

#include "base/fault.h"
#include "kv/engine.h"
#include "rocks/rocks.h"

#define LIFE_THREADS 3

/* What a child reports: small enough to be written to the pipe in one piece. */
typedef struct report {
    uint32_t thread;
    uint32_t number;
    ti_ts ts;
} report;

/* What is known between two lives of the database. */
typedef struct ledger {
    uint32_t told[LIFE_THREADS]; /* the highest number acknowledged */
    ti_ts last;                  /* the highest timestamp reported */
} ledger;

typedef struct life {
    char dir[TEST_DIR_SIZE];
    ti_durability durability;
    ledger known;
    ti_fault fault; /* name NULL: killed from outside */
    int out;        /* of a child: the pipe to the parent */
    void (*work)(const struct life *l);
    void (*check)(const struct life *l);
} life;

/* In a child: the engine of the directory. Aborts when it can not be opened. */
ti_engine *life_open(const life *l);
/* In a child: tells the parent that a thread's transaction is committed, or was found. */
void life_report(const life *l, report told);
/* In a checking child: number is one that the thread may have come to. Reports it. */
void life_found(const life *l, uint32_t thread, uint32_t number);

/* One life and death, then the inquest. Returns whether the child died by SIGKILL. */
bool life_kill_once(life *l, int64_t after_us);
/* Kills at random moments, from while it is still opening to well under load. */
void life_kill_at_random(life *l, uint64_t kills, uint64_t stream);

#endif

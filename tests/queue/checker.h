/* An independent judge of a queue's run: from the handlers' log alone.
 *
 * A log is a list of entries in the order in which they happened (each gets its place in the log
 * under one lock: START before the handler does anything, the end before the event is settled).
 * Numbers identify events; within a key they rise in the order of publication (one publisher per
 * key, each commit returned before the next began).
 *
 *   START       the handler got the event
 *   DONE        it will acknowledge
 *   OWN         it will acknowledge together with what it wrote: when that meets a conflict the
 *               same event comes again
 *   FAIL        it will fail; the event comes again, or was given up (see `given_up`)
 *   AGAIN       it will abandon: the event comes again
 *
 * What must hold
 *  1. Runs of one key do not overlap.
 *  2. Of one key, a new number starts only when every lower one has been done or given up; and a
 *     number that was done or given up does not start again.
 *  3. Every number that was published is done or given up exactly once, or still stored. */
#ifndef TITO_TESTS_QUEUE_CHECKER_H
#define TITO_TESTS_QUEUE_CHECKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum check_kind { CHECK_START, CHECK_DONE, CHECK_OWN, CHECK_FAIL, CHECK_AGAIN } check_kind;

typedef struct check_entry {
    uint64_t number; /* from 1 */
    uint32_t key;
    check_kind kind;
} check_entry;

typedef struct check_run {
    const check_entry *entries;
    size_t entry_count;
    uint64_t number_max;    /* numbers 1 … number_max were published */
    const uint32_t *key_of; /* per number */
    const bool *given_up;   /* per number: the store has it as FAILED */
    const bool *stored;     /* per number: the store still has it to be delivered */
    uint32_t key_count;
} check_run;

/* What a run left in the store where leases can be lost: handlers may overlap and run again then,
 * but not their effects. Each handler appends its event's number, in the event's transaction, to a
 * row of the event's key: the chain.
 *
 * What must hold: the chains hold every number that was published and not given up exactly once,
 * in the chain of its key, in rising order; of those given up and of those still stored none. */
typedef struct check_chains {
    const uint64_t *const *chains; /* per key */
    const size_t *lengths;
    uint32_t key_count;
    uint64_t number_max;
    const uint32_t *key_of; /* per number */
    const bool *given_up;   /* per number */
    const bool *stored;     /* per number: still to be delivered */
} check_chains;

/* As check. */
const char *check_effects(const check_chains *run, uint64_t *number_out);

/* NULL when all holds, else what does not (static text; number_out: of the event). */
const char *check(const check_run *run, uint64_t *number_out);

#endif

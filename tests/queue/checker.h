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

/* NULL when all holds, else what does not (static text; number_out: of the event). */
const char *check(const check_run *run, uint64_t *number_out);

#endif

/* Hints: what a publishing process tells the workers of others, on an engine that is shared.
 *
 *   commit with events ─> noted per partition ─> hinter's thread, at most every TI_HINT_WRITE_US:
 *        one row of its own, queue_hint:{type}:{process}
 *   worker's reader ─> each TI_HINT_POLL_MIN_US … _MAX_US: all rows of the type, one scan
 *        ─> what is new in them wakes partitions
 *
 *   row: version 05, varint time of writing (µs), varint number of the writing, then per partition
 *        with news of the last TI_HINT_KEEP_US: varints partition, lowest place, number of the
 *        writing that had the last news of it
 *
 * INVARIANTS
 *  1. A hint is only a hint: one that is lost or late costs time until the next sweep, one too many
 *     a read.
 *  2. A row holds all news of the last TI_HINT_KEEP_US, so a reader may miss writings in between.
 *  3. Rows are written outside of the transactions that they tell of.
 *
 * Thread rule: noting from any thread; the rest by the hinter's or a reader's own. */
#ifndef TI_QUEUE_HINT_INT_H
#define TI_QUEUE_HINT_INT_H

#include "queue/hub_int.h"

typedef struct ti_hinter ti_hinter;

/* A hinter that does nothing yet; its thread begins with the first note. OUT_OF_MEMORY. */
ti_status ti_hinter_new(ti_queues *queues, ti_hinter **hinter_out, ti_err *err);
/* Ends it and deletes its rows, as far as that works within a second. NULL is allowed. */
void ti_hinter_free(ti_hinter *hinter);
/* An event has been committed (or may have been). Never blocks. @thread any */
void ti_hint_note(ti_hinter *hinter, ti_hub_type *type, uint32_t partition, uint64_t place_us);
/* The id of its rows. */
ti_slice ti_hinter_id(const ti_hinter *hinter);

/* One entry of a row. */
typedef struct ti_hint {
    uint32_t partition;
    uint64_t place_us;
    uint64_t number;
} ti_hint;

/* Deletes hint rows of a type that nobody has written for TI_HINT_AGE_US. */
ti_status ti_hints_clean(ti_queues *queues, ti_slice type, const ti_call *call, ti_err *err);

/* ---- value.c ---- */

typedef struct ti_hint_head {
    uint64_t written_us;
    uint64_t number;
} ti_hint_head;

ti_status ti_hint_seal(ti_buf *b, ti_slice row_key, ti_hint_head head, const ti_hint *hints,
                       size_t count, ti_err *err);
/* The head and the entries, which ti_hint_next takes off rest. CORRUPT. */
ti_status ti_hint_open(ti_slice value, ti_slice row_key, ti_hint_head *head_out, ti_slice *rest_out,
                       ti_err *err);
bool ti_hint_next(ti_slice *rest, ti_hint *hint_out);

#endif

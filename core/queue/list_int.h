/* Shared by list.c (looking at stored events), pending.c (where the pending ones are) and tend.c
 * (retry, drop). */
#ifndef TI_QUEUE_LIST_INT_H
#define TI_QUEUE_LIST_INT_H

#include "queue/queue.h"
#include "queue/value_int.h"

/* A stored row as an event; slices borrow from the pair or are in a. A value that does not open
 * gives an event that says so. CORRUPT: the key is none of an event. */
ti_status ti_event_row_read(const ti_keyspace *ks, ti_arena *a, ti_event_state state,
                            const ti_pair *pair, ti_event_info *info_out, ti_err *err);
/* The rows of one partition in a state (parked ones: all, whatever the times). */
ti_status ti_event_rows_between(ti_queues *queues, ti_arena *a, ti_slice type, ti_event_state state,
                                uint32_t partition, uint64_t from_us, uint64_t to_us,
                                ti_range *range_out, ti_err *err);

typedef struct ti_ranges {
    ti_range *ranges;
    size_t count; /* >= 1 */
} ti_ranges;

/* Ranges, in a, that together hold every pending event of a type. */
ti_status ti_pending_ranges(ti_queues *queues, ti_txn *txn, ti_arena *a, ti_slice type,
                            ti_ranges *ranges_out, const ti_call *call, ti_err *err);
/* ti_queue_list in a transaction. */
ti_status ti_event_list_in(ti_queues *queues, ti_txn *txn, const ti_event_filter *filter,
                           ti_arena *a, ti_event_list *list_out, const ti_call *call, ti_err *err);
/* Deletes a stored event's row, and its token when it is pending or parked. */
ti_status ti_event_row_delete(ti_queues *queues, ti_txn *txn, const ti_event_info *info,
                              ti_err *err);

#endif

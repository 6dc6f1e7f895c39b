/* Shared by list.c (looking at stored events) and tend.c (retry, drop). */
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

#endif

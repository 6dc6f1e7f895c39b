/* The queue handle, for the files that work on stored events. */
#ifndef TI_ABI_QUEUE_H
#define TI_ABI_QUEUE_H

#include "abi/db.h"
#include "abi/op.h"
#include "queue/queue.h"

struct tito_queue {
    uint32_t magic;
    ti_db *db;           /* one reference */
    uint32_t partitions; /* what was declared; 0 = nothing */
    size_t type_len;
    char type[TI_NAME_SIZE_MAX];
};
TI_DB_HANDLE_CHECK(struct tito_queue, db);

/* OK when queue is a live handle of a database that may be used. @thread any */
ti_status ti_queue_handle_check(const tito_queue_t *queue, ti_err *err);
/* An operation with the queue's type and two texts; NULL when there is no memory. */
ti_op *ti_queue_op(const tito_queue_t *queue, tito_txn_t *txn, const ti_op_kind *kind, ti_slice id,
                   ti_slice text);

/* What lists, purges and replays are given as JSON. */
typedef struct ti_queue_filter {
    ti_event_filter filter;
    bool has_state;
    ti_slice into; /* data NULL = not given */
} ti_queue_filter;

/* Reads it over what is in filter_io; slices are in a or borrowed from text. INVALID_ARGUMENT. */
ti_status ti_queue_filter_read(ti_slice text, ti_arena *a, ti_queue_filter *filter_io, ti_err *err);

#endif

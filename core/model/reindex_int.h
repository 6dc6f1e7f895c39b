/* The inside of a reindex; shared by reindex.c (phases) and fill.c (batches). */
#ifndef TI_MODEL_REINDEX_INT_H
#define TI_MODEL_REINDEX_INT_H

#include "base/id.h"
#include "model/catalog.h"
#include "model/steps_int.h"

typedef enum ti_reindex_phase {
    TI_REINDEX_BEGIN = 0,
    TI_REINDEX_SCAN,
    TI_REINDEX_DRAIN,
    TI_REINDEX_SEAL,
    TI_REINDEX_DRAIN_SEALED,
    TI_REINDEX_FLIP,
    TI_REINDEX_DONE,
} ti_reindex_phase;

typedef struct ti_reindex {
    ti_steps base; /* first */
    ti_reindex_phase at;
    uint32_t batch_max;
    uint32_t batch;     /* records of the next transaction */
    uint32_t conflicts; /* in a row */
    char runner[TI_UUID_TEXT_SIZE + 1];
    bool running;        /* the catalog knows that this runner is alive */
    bool left_over;      /* a flip found something to do first */
    bool more;           /* records follow the batch */
    uint64_t done;       /* records visited */
    uint64_t total;      /* records to visit, when it began */
    uint64_t visited;    /* by an earlier run */
    ti_buf from;         /* where counting them goes on */
    ti_txn *txn;         /* of the batch; open between HOST and the next step */
    ti_schema *schema;   /* as the batch's snapshot has it; one reference, ours alone */
    ti_plan *plan;       /* of what is filled; one reference */
    ti_slice *todo_keys; /* of the batch; in its arena */
    size_t todo_count;
} ti_reindex;

/* Whether a run fills an index. context: its schema. A ti_plan_filter. */
bool ti_reindex_target(const ti_model *model, const ti_schema_index *index, void *context);
/* Whether the row names this runner. */
bool ti_reindex_owns(const ti_reindex *r, const ti_schema *schema);
/* Names this runner in a row about to be written. OUT_OF_MEMORY. */
ti_status ti_reindex_renew(const ti_reindex *r, ti_schema *schema, ti_ts now, ti_err *err);
/* BUSY: another one has taken over. */
ti_status ti_reindex_lost(const ti_reindex *r, ti_err *err);
/* Begins, goes on with, or commits a batch of the current phase; moves on to the next phase when it
 * is empty. */
ti_status ti_reindex_batch(ti_reindex *r, ti_step *step_out, const ti_call *call, ti_err *err);
/* Gives up whatever batch is open. */
void ti_reindex_end_batch(ti_reindex *r);

#endif

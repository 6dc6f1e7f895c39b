/* Maintenance of tables: reindex and check as machines of steps, dropping, the catalog in words.
 *
 *   next ──> MORE ──> next …            progress as JSON
 *        ──> HOST ──> reply(i) … ──> next    documents wait for the host's conditions
 *        ──> DONE                       summary as JSON
 *
 * A machine belongs to one thread at a time; between steps it holds no lock and, except after HOST,
 * no transaction. */
#ifndef TI_MODEL_MAINTENANCE_H
#define TI_MODEL_MAINTENANCE_H

#include "model/model.h"

typedef struct ti_steps ti_steps;

typedef enum ti_step { TI_STEP_DONE = 0, TI_STEP_MORE = 1, TI_STEP_HOST = 2 } ti_step;

typedef struct ti_reindex_options {
    uint32_t batch; /* records per transaction, 0 = TI_REINDEX_BATCH */
} ti_reindex_options;

/* Fills the table's indexes that are not readable yet, registering those the model declares anew.
 * Goes on where an earlier run ended; another run in progress: BUSY. Duplicates of a unique index
 * leave it failed, with the first ten ids in the summary: the machine still ends with DONE.
 * {"phase", "done", "total", "indexes": [{"name", "version", "state", "duplicates": […]}]} */
ti_status ti_reindex_open(ti_model *model, const ti_reindex_options *options, ti_steps **steps_out,
                          ti_err *err);

typedef struct ti_check_options {
    bool repair;
    bool count;      /* first counts what is to be looked at: the steps tell a total */
    uint32_t batch;  /* records per snapshot, 0 = TI_REINDEX_BATCH */
    ti_slice cursor; /* of an earlier check of the table: go on there; empty: from the beginning */
} ti_check_options;

/* Compares every record of the model's table with its entries, both ways. Findings come with the
 * step that met them:
 * {"phase", "done", "total" (when counted), "findings": [{"kind", "table", "index", "id", "what",
 * "repaired"}], "cursor" (after a step that ended with MORE)}; the last step sums up, of what this
 * machine has looked at: {"done", "found", "repaired"}. kind: record_corrupt, record_unreadable, list_stale,
 * entry_missing, entry_extra, entry_stale, unique_owner, key_foreign. INVALID_ARGUMENT: a cursor
 * that is none of the table's. */
ti_status ti_check_open(ti_model *model, const ti_check_options *options, ti_steps **steps_out,
                        ti_err *err);

/* Does the next piece of work. *json_out is borrowed until the next call. After a failure the
 * machine may only be freed. INVALID_STATE when a document waits without a reply. */
ti_status ti_steps_next(ti_steps *steps, ti_step *step_out, ti_slice *json_out, const ti_call *call,
                        ti_err *err);
/* Documents that wait after HOST; borrowed until the next ti_steps_next. */
size_t ti_steps_count(const ti_steps *steps);
ti_slice ti_steps_document(const ti_steps *steps, size_t i);
/* The condition bits of document i, as ti_write.conditions. INVALID_ARGUMENT when i is none that
 * waits. */
ti_status ti_steps_reply(ti_steps *steps, size_t i, uint64_t conditions, ti_err *err);
/* Ends it wherever it is; NULL is allowed. */
void ti_steps_free(ti_steps *steps);

/* Removes an index of a table with all its entries, whether or not a model declares it. NOT_FOUND.
 * Blocks for the waits that readers and writers of other processes need. */
ti_status ti_drop_index(ti_store *store, ti_slice table, ti_slice index, const ti_call *call,
                        ti_err *err);
/* Removes a table: records, entries, catalog row. NOT_FOUND. */
ti_status ti_drop_table(ti_store *store, ti_slice table, const ti_call *call, ti_err *err);
/* Appends the catalog as a JSON array: [{"table", "revision", "indexes": [{"name", "version",
 * "unique", "state", …}]}]. */
ti_status ti_catalog_list(ti_store *store, ti_buf *out, const ti_call *call, ti_err *err);

#endif

/* What the query room needs of models and stores beyond their operations: scratch memory, declared
 * and stored indexes, keys of entries, errors that say where.
 *
 * Threads: as model.h. What is NOT here: operations (model.h), the catalog's protocol (catalog.h).
 */
#ifndef TI_MODEL_ACCESS_H
#define TI_MODEL_ACCESS_H

#include "codec/record.h"
#include "json/json.h"
#include "model/model.h"
#include "model/schema.h"

/* Memory that an operation works in; reused, so that a hot operation allocates little. */
typedef struct ti_scratch {
    struct ti_scratch *next; /* in the store's pool */
    ti_json_parser parser;
    ti_json_parser hydrated; /* for documents that hydration made */
    ti_arena arena;
    ti_buf tuples; /* encoded index fields */
    ti_buf value;  /* one record's value */
    ti_buf text;   /* documents under construction */
} ti_scratch;

/* Takes a scratch out of the pool, or makes one; put back with ti_store_give. OUT_OF_MEMORY.
 * @thread any */
ti_status ti_store_take(ti_store *store, ti_scratch **scratch_out, ti_err *err);
/* Empties it and puts it back; NULL is allowed. @thread any */
void ti_store_give(ti_store *store, ti_scratch *scratch);

/* The definition that the model declares for a name, or NULL. */
const ti_index_def *ti_model_index(const ti_model *model, ti_slice name);
/* The stored index that a declared name stands for in a read at snapshot s: of the declared version
 * when it is readable, else of a higher one. SCHEMA_MISMATCH when none is readable (with the
 * progress, read through txn) or the definition differs; CONFLICT when it became readable after s;
 * NOT_FOUND (no text) when the table has no row, so no records. */
ti_status ti_model_readable(const ti_model *model, ti_txn *txn, ti_slice name,
                            const ti_schema *schema, ti_ts s, const ti_schema_index **index_out,
                            const ti_call *call, ti_err *err);
/* The key of an entry of the record with this id, in a. LIMIT_EXCEEDED naming the index. */
ti_status ti_entry_key(const ti_model *model, const ti_entry *entry, ti_slice stored_name,
                       ti_slice id, ti_arena *a, ti_slice *key_out, ti_err *err);
/* Copies a value that lives in the transaction (an own write) into a, so that it outlives it. */
ti_status ti_value_keep(const ti_txn *txn, ti_slice key, ti_arena *a, ti_slice *value_io,
                        ti_err *err);
/* Sets table and index of err, when there is one. Returns status. */
ti_status ti_err_of(const ti_model *model, ti_slice index, ti_status status, ti_err *err);

#endif

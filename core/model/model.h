/* Models: what an application stores in a table, and the operations on its records.
 *
 *   host ── spec (JSON) ──> ti_model ── build, update, save, patch, delete ──> record + index
 *                               │                        entries (+ events), one transaction
 *                               └── find, find_many ──> documents
 *
 * The host's functions (condition, events, partition_key, references) are never called from here:
 * the binding runs them in the calling thread and hands over the results as ti_write.
 *
 * INVARIANTS
 *  1. A write stores the record and all its index entries in one transaction, or dooms it.
 *  2. A record's own list of entries decides what an update or a delete removes.
 *  3. build in a transaction of its own reads nothing.
 *  4. Documents are stored as given, except for declared destination paths (removed), defaults and
 *     timestamps (added).
 *
 * Spec: {"table", "indexes": [{"name", "version": 1, "fields": [{"name", "type":
 * string|number|boolean, "order": asc|desc}], "condition": true|false|"host", "where": {…},
 * "sparse", "covering"}], "unique_indexes": […the same], "relationships": [{"source_field_name",
 * "destination_field_name", "model"}], "fields": {"name": "string" |
 * {"type": string|number|integer|boolean|object|array|any, "required", "default"}}, "timestamps":
 * bool, "events": "host", "partition_key": "host"|path, "references": "host"|path}. Any other
 * member is INVALID_ARGUMENT.
 *
 * Thread rule: a model may be used from any threads at the same time; a transaction by one.
 * In every operation txn may be NULL: it is then a transaction of its own, run again on conflicts.
 */
#ifndef TI_MODEL_MODEL_H
#define TI_MODEL_MODEL_H

#include "model/page.h"
#include "model/store.h"

/* Declares a model of a scope (0, or a host state's own number). Contacts nobody. model_out holds
 * one reference. INVALID_ARGUMENT naming what is wrong with the spec, LIMIT_EXCEEDED,
 * OUT_OF_MEMORY. @thread any */
ti_status ti_model_declare(ti_store *store, uint64_t scope, ti_slice spec, ti_model **model_out,
                           ti_err *err);
/* One more reference; the same model. */
ti_model *ti_model_ref(ti_model *model);
/* Drops a reference; NULL is allowed. */
void ti_model_unref(ti_model *model);

/* The model's store; borrowed from the model, as are all slices below. */
ti_store *ti_model_store(const ti_model *model);
ti_slice ti_model_table(const ti_model *model);
/* Indexes with condition "host": their number and names, in the order of the bits of
 * ti_write.conditions. */
size_t ti_model_condition_count(const ti_model *model);
ti_slice ti_model_condition_name(const ti_model *model, size_t i);
/* Which host functions the spec announces. */
bool ti_model_has_events(const ti_model *model);
bool ti_model_has_host_partition_key(const ti_model *model);
bool ti_model_has_host_references(const ti_model *model);

/* What the host's functions said of the document of a write. Everything is borrowed for the call.
 */
typedef struct ti_write {
    uint64_t conditions; /* bit k: the k-th index with condition "host" (indexes, then unique
                            indexes) holds */
    ti_slice operation;  /* with_events: "INSERT", "UPDATE", "DELETE" or a name; "" = no events */
    ti_slice events;     /* JSON array of {"name", "timestamp" (seconds), "payload", "key"} */
    ti_slice partition_key; /* "" = by the model's path, else the id */
    ti_slice references;    /* JSON array of ids; "" = by the model's path, else none */
    uint64_t if_version;    /* VERSION_MISMATCH unless the record has it; 0 = any */
} ti_write;

/* How to read; NULL or zeroed: plainly. Borrowed for the call. */
typedef struct ti_read {
    const ti_slice *relationships; /* names of destinations, chains with dots ("tags.category") */
    size_t relationship_count;
    bool lock;            /* locks the record until the transaction ends; needs a txn */
    int64_t lock_wait_us; /* 0: BUSY at once; < 0: within the call's deadline */
} ti_read;

/* Inserts. *stored_out (may be NULL): the document as stored, in a or in the given bytes.
 * ALREADY_EXISTS, UNIQUE_VIOLATION (against the store: at commit), INVALID_ARGUMENT,
 * LIMIT_EXCEEDED, SCHEMA_MISMATCH. if_version must be 0. write may be NULL here and below. */
ti_status ti_model_build(ti_model *model, ti_txn *txn, ti_slice document, const ti_write *write,
                         ti_arena *a, ti_document *stored_out, const ti_call *call, ti_err *err);
/* Replaces the record with the document's id. NOT_FOUND, VERSION_MISMATCH, else as build. */
ti_status ti_model_update(ti_model *model, ti_txn *txn, ti_slice document, const ti_write *write,
                          ti_arena *a, ti_document *stored_out, const ti_call *call, ti_err *err);
/* Inserts or replaces. With if_version the record must be there. */
ti_status ti_model_save(ti_model *model, ti_txn *txn, ti_slice document, const ti_write *write,
                        ti_arena *a, ti_document *stored_out, const ti_call *call, ti_err *err);
/* Merges changes (RFC 7396) into the record: NOT_FOUND; INVALID_ARGUMENT when they change the id.
 * INVALID_STATE when the model has host functions that the merged document must pass (then: merge,
 * evaluate, update in one transaction). */
ti_status ti_model_patch(ti_model *model, ti_txn *txn, ti_slice id, ti_slice changes,
                         const ti_write *write, ti_arena *a, ti_document *stored_out,
                         const ti_call *call, ti_err *err);
/* What patch would store; version is the stored one. txn is needed. NOT_FOUND. */
ti_status ti_model_merge(ti_model *model, ti_txn *txn, ti_slice id, ti_slice changes, ti_arena *a,
                         ti_document *merged_out, const ti_call *call, ti_err *err);
/* Deletes; *existed_out tells whether it was there (absent is OK; with if_version:
 * VERSION_MISMATCH). The events of a delete are about the old document: find it in the same
 * transaction first. */
ti_status ti_model_delete(ti_model *model, ti_txn *txn, ti_slice id, const ti_write *write,
                          bool *existed_out, const ti_call *call, ti_err *err);
/* Makes the commit of txn (needed) fail with CONFLICT when the record changes before it. NOT_FOUND.
 */
ti_status ti_model_assert_current(ti_model *model, ti_txn *txn, ti_slice id, const ti_call *call,
                                  ti_err *err);

/* One record, in a. NOT_FOUND sets no text. INVALID_ARGUMENT (id, relationship), INVALID_STATE
 * (lock without txn). */
ti_status ti_model_find(ti_model *model, ti_txn *txn, ti_slice id, const ti_read *read, ti_arena *a,
                        ti_document *document_out, const ti_call *call, ti_err *err);
/* The records that exist among ids, in the order of ids, each id once. At most TI_PAGE_ITEMS_MAX
 * ids. No lock. */
ti_status ti_model_find_many(ti_model *model, ti_txn *txn, const ti_slice *ids, size_t count,
                             const ti_read *read, ti_page **page_out, const ti_call *call,
                             ti_err *err);

#endif

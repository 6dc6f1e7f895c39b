/* Queries: equality on a leading run of an index's fields, then at most one range, page by page.
 *
 *   builder ──> plan (a key range of one index) ──> execute: entries ──> records ──> hydration
 *           ──> page + cursor
 *
 * INVARIANTS
 *  1. Values are checked by the execution; the builder only copies.
 *  2. A query touches one index's key range, and never more; the table only by ti_query_scan.
 *  3. A document is in the result once, at its first entry in range in the query's direction.
 *  4. Pages of one query in one snapshot, put together, are the unlimited result.
 *
 * Threads: a query belongs to one thread at a time; executing does not change it, ti_query_copy
 * makes another. In every execution txn may be NULL: a snapshot of its own. Inside txn its own
 * writes are seen. */
#ifndef TI_QUERY_QUERY_H
#define TI_QUERY_QUERY_H

#include "model/model.h"

typedef struct ti_query ti_query;

typedef enum ti_bound {
    TI_BOUND_GT = 1,
    TI_BOUND_GTE = 2,
    TI_BOUND_LT = 3,
    TI_BOUND_LTE = 4,
    TI_BOUND_STARTS_WITH = 5,
} ti_bound;

/* A query by a declared index; INVALID_ARGUMENT when the model declares none of this name. Takes a
 * reference on model. OUT_OF_MEMORY. */
ti_status ti_query_new(ti_model *model, ti_slice index, ti_query **query_out, ti_err *err);
/* A query over the whole table in the order of ids; takes no values and no bounds. */
ti_status ti_query_scan(ti_model *model, ti_query **query_out, ti_err *err);
/* The same query again, independent. OUT_OF_MEMORY. */
ti_status ti_query_copy(const ti_query *query, ti_query **query_out, ti_err *err);
/* NULL is allowed. */
void ti_query_free(ti_query *query);
/* The model; borrowed. */
ti_model *ti_query_model(const ti_query *query);

/* The value of the next field: a JSON scalar, copied. LIMIT_EXCEEDED past TI_INDEX_FIELDS_MAX
 * values, OUT_OF_MEMORY. */
ti_status ti_query_value(ti_query *query, ti_slice json, ti_err *err);
/* A bound of the field after the last value. INVALID_ARGUMENT for a second bound of the same side.
 */
ti_status ti_query_bound(ti_query *query, ti_bound bound, ti_slice json, ti_err *err);
/* GTE low, LTE high. */
ti_status ti_query_between(ti_query *query, ti_slice low, ti_slice high, ti_err *err);
/* INVALID_ARGUMENT outside 1 … TI_PAGE_ITEMS_MAX. */
ti_status ti_query_limit(ti_query *query, int64_t limit, ti_err *err);
/* Goes on behind an earlier page; "" begins anew. The token is checked by the execution. */
ti_status ti_query_cursor(ti_query *query, ti_slice token, ti_err *err);
/* Hydrates a relationship, as ti_read.relationships. LIMIT_EXCEEDED past
 * TI_QUERY_RELATIONSHIPS_MAX. */
ti_status ti_query_relationship(ti_query *query, ti_slice path, ti_err *err);
void ti_query_reverse(ti_query *query, bool on);
void ti_query_keys_only(ti_query *query, bool on);

/* A page; free with ti_page_free. INVALID_ARGUMENT (values, bounds, cursor, relationship),
 * SCHEMA_MISMATCH (the index is not readable: how far reindex is), CORRUPT (an entry without its
 * record). */
ti_status ti_query_execute(const ti_query *query, ti_txn *txn, ti_page **page_out,
                           const ti_call *call, ti_err *err);
/* The first document from the cursor on, in a; NOT_FOUND. */
ti_status ti_query_first(const ti_query *query, ti_txn *txn, ti_arena *a, ti_document *document_out,
                         const ti_call *call, ti_err *err);
/* How many documents in all, in one snapshot, whatever limit and cursor. */
ti_status ti_query_count(const ti_query *query, ti_txn *txn, uint64_t *count_out,
                         const ti_call *call, ti_err *err);
/* Appends how it is executed, as a JSON object without values: {"table", "index", "version",
 * "unique", "covering", "state", "equal": [fields], "range": {"field", "bounds"}, "direction",
 * "limit", "reads", "deduplicates", "relationships"}. */
ti_status ti_query_explain(const ti_query *query, ti_txn *txn, ti_buf *out, const ti_call *call,
                           ti_err *err);

#endif

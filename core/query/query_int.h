/* The inside of a query, for the files of this folder. */
#ifndef TI_QUERY_QUERY_INT_H
#define TI_QUERY_QUERY_INT_H

#include "codec/keys.h"
#include "model/access.h"
#include "query/query.h"

struct ti_query {
    ti_model *model; /* one reference, owned */
    ti_arena arena;  /* every slice below */
    ti_slice index;  /* "" = the whole table */
    ti_slice values[TI_INDEX_FIELDS_MAX];
    size_t value_count;
    ti_slice lower; /* JSON; data NULL = none */
    ti_slice upper;
    ti_slice starts_with;
    bool lower_excluded;
    bool upper_excluded;
    size_t limit;
    ti_slice cursor; /* "" = from the beginning */
    ti_slice relationships[TI_QUERY_RELATIONSHIPS_MAX];
    size_t relationship_count;
    bool reverse;
    bool keys_only;
};

/* Where a query reads. */
typedef struct ti_query_plan {
    const ti_index_def
        *def; /* stored or, when the table has no row, declared; NULL: a scan of the table */
    ti_slice stored_name; /* of the index; "" for a scan */
    bool empty;           /* the table has no row: there is nothing to read */
    bool pinned;          /* every field is equal to a value: no document can be met twice */
    ti_slice prefix;      /* of every key in range: the tuple (scan: the id) follows */
    ti_key_range range;   /* of the whole query */
    ti_slice resume;      /* the key behind which to go on; data NULL = from the beginning */
} ti_query_plan;

/* Plans query for txn's snapshot; everything lives in s and the transaction's schema.
 * INVALID_ARGUMENT, SCHEMA_MISMATCH, CONFLICT. */
ti_status ti_query_plan_make(const ti_query *query, ti_txn *txn, ti_scratch *s,
                             ti_query_plan *plan_out, const ti_call *call, ti_err *err);
/* The token that goes on behind key, in a. */
ti_status ti_query_seal(const ti_query *query, const ti_query_plan *plan, ti_slice key, ti_arena *a,
                        ti_slice *token_out, ti_err *err);

#endif

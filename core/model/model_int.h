/* The inside of a model, for the files of this folder. */
#ifndef TI_MODEL_MODEL_INT_H
#define TI_MODEL_MODEL_INT_H

#include "codec/record.h"
#include "model/model.h"
#include "model/relationship.h"
#include "model/store_int.h"

typedef enum ti_member_type {
    TI_MEMBER_ANY = 0,
    TI_MEMBER_STRING,
    TI_MEMBER_NUMBER,
    TI_MEMBER_INTEGER,
    TI_MEMBER_BOOLEAN,
    TI_MEMBER_OBJECT,
    TI_MEMBER_ARRAY,
} ti_member_type;

/* A member that "fields" declares. */
typedef struct ti_member {
    ti_slice path;
    ti_member_type type;
    bool required;
    ti_slice default_json; /* "" = none */
} ti_member;

/* Whether a value is of a member's type. */
bool ti_member_accepts(ti_member_type type, ti_json_value value);

typedef struct ti_plan ti_plan;

struct ti_model {
    _Atomic(uint32_t) refs;
    ti_store *store; /* one reference, owned */
    uint64_t scope;
    ti_model *registry_next; /* store.c */
    ti_arena arena;          /* everything that slices and pointers below point to */
    ti_slice table;
    ti_index_def *indexes; /* plain ones, then unique ones */
    int *condition_bits;   /* per index: its bit in ti_write.conditions, -1 = no host condition */
    size_t index_count;
    size_t *conditions; /* per bit: the index */
    size_t condition_count;
    ti_relationship *relationships;
    size_t relationship_count;
    ti_member *members;
    size_t member_count;
    bool timestamps;
    bool events;             /* host function */
    bool partition_key_host; /* host function; else by path, else the id */
    bool references_host;    /* host function; else by path, else none */
    ti_slice partition_key_path;
    ti_slice references_path;
    ti_mutex mutex; /* TI_RANK_LEAF: plan */
    ti_plan *plan;  /* of the last schema met; one reference, owned */
};

/* One index that a write maintains. */
typedef struct ti_plan_index {
    const ti_schema_index *stored; /* in the plan's schema */
    int condition_bit;             /* -1: none to look at */
    bool todo; /* its condition is not known here: an index_todo row instead of entries */
} ti_plan_index;

/* What a model's writes maintain under one schema. Immutable, shared by references. */
struct ti_plan {
    _Atomic(uint32_t) refs;
    ti_schema *schema; /* one reference, owned */
    size_t count;
    ti_plan_index indexes[]; /* in the order of a record's list: kind, name, version */
};

/* The plan under a schema; SCHEMA_MISMATCH when the model does not fit it. One reference.
 * *unregistered_out: the model declares indexes that the schema lacks, and there is no plan. */
ti_status ti_plan_make(ti_model *model, ti_schema *schema, ti_plan **plan_out,
                       bool *unregistered_out, ti_err *err);
/* NULL is allowed. */
void ti_plan_unref(ti_plan *plan);
/* The plan for a write of txn, whose commit depends on its schema from now on. Registers new
 * indexes. One reference. */
ti_status ti_plan_for_write(ti_model *model, ti_txn *txn, ti_plan **plan_out, const ti_call *call,
                            ti_err *err);
/* Makes the catalog know every index that the model declares. *schema_out: one reference.
 * SCHEMA_MISMATCH. */
ti_status ti_model_register(ti_model *model, ti_schema **schema_out, const ti_call *call,
                            ti_err *err);

/* A document on its way into the store. */
typedef struct ti_draft {
    ti_json_doc doc; /* of what will be stored */
    ti_slice json;
    ti_slice id;
} ti_draft;

/* Parses and checks a document, removes destinations, adds defaults and timestamps. old: the stored
 * document that it replaces, "" = none. draft_out lives in s and the given json. INVALID_ARGUMENT,
 * LIMIT_EXCEEDED. */
ti_status ti_shape(const ti_model *model, ti_scratch *s, ti_slice json, ti_slice old,
                   ti_draft *draft_out, ti_err *err);
/* Parses a stored document. CORRUPT. */
ti_status ti_shape_stored(const ti_model *model, ti_scratch *s, ti_slice json, ti_slice id,
                          ti_draft *draft_out, ti_err *err);

typedef struct ti_entry_set {
    ti_entry *entries; /* sorted as ti_entry_compare, no two equal */
    size_t count;
} ti_entry_set;

/* The order of a record's list: kind, index, version, tuple. */
int ti_entry_compare(const ti_entry *left, const ti_entry *right);
/* The entries that a document has under a plan. tuples live in a. INVALID_ARGUMENT naming table,
 * index and field; LIMIT_EXCEEDED. */
ti_status ti_extract(const ti_model *model, const ti_plan *plan, ti_json_value root,
                     uint64_t conditions, ti_arena *a, ti_buf *tuples, ti_entry_set *set_out,
                     ti_err *err);
/* The entries of a record, sorted; in a, tuples borrowed from the record. */
ti_status ti_entry_set_of(const ti_record *record, ti_arena *a, ti_entry_set *set_out, ti_err *err);

/* Which entries are written although the record's list has them already. Where any are, the
 * document stays. */
typedef enum ti_rewrite {
    TI_REWRITE_NONE = 0,
    TI_REWRITE_PLAN, /* those of the plan's indexes (backfill) */
    TI_REWRITE_ALL,  /* all (repair) */
} ti_rewrite;

/* One record as a write changes it. */
typedef struct ti_put {
    ti_model *model;
    const ti_plan *plan;
    ti_txn *txn;
    ti_scratch *s;
    ti_slice id;
    ti_slice key;
    const ti_record *old; /* NULL: there is none */
    ti_entry_set before;  /* its entries */
    ti_entry_set after;   /* none for a delete */
    ti_slice document;    /* "" for a delete */
    uint64_t version;
    ti_rewrite rewrite;
    bool insert; /* the record must not exist */
} ti_put;

/* Writes a record and the difference of its entries into the transaction. */
ti_status ti_put_apply(ti_put *put, const ti_call *call, ti_err *err);
/* The value that an entry must have, appended to value. run, run_count: all entries of the record
 * in this index. */
ti_status ti_entry_value(ti_slice key, const ti_schema_index *index, const ti_entry *run,
                         size_t run_count, ti_slice id, uint64_t version, ti_slice document,
                         ti_buf *value, ti_err *err);
/* How many of set's entries, from the first on, are of the same index. */
size_t ti_entry_run(const ti_entry_set *set, size_t first);

/* Hands the events that a write asks for to the sink. root: the document they are about. */
ti_status ti_events_publish(ti_model *model, ti_txn *txn, ti_slice id, ti_json_value root,
                            const ti_write *write, ti_scratch *s, const ti_call *call, ti_err *err);

/* Reads a record of the model's table: NOT_FOUND (no text), CORRUPT. *key_out, record in a. */
ti_status ti_record_read(const ti_model *model, ti_txn *txn, ti_slice id, ti_arena *a,
                         ti_slice *key_out, ti_record *record_out, const ti_call *call,
                         ti_err *err);
#endif

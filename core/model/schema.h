/* The catalog's row of one table: which indexes there are, in which state.
 *
 *   schema:{table} = sealed JSON {"revision", "dropping", "runner": {"id", "until"}, "indexes":
 *                    [{definition…, "unique", "state", "sealed", "since", "cursor", "scanned",
 *                      "done", "duplicates"}]}
 *
 *     absent ──register──> write_only ──reindex──> readable
 *       ^                  │   ^                     │
 *       └──drop_index──────┘   └─────drop_index──────┘
 *
 *   failed: write_only that reindex could not finish. absent in the row: its entries are being
 *   deleted.
 *
 *   state       writers                                         readers
 *   write_only  maintain it; who does not know its condition    refused with the progress
 *               writes an index_todo row (sealed: is refused)
 *   readable    maintain it; who does not know its condition    may use it at snapshots >= since
 *               is refused
 *   failed      as write_only                                   refused with the duplicates
 *   absent      neither write nor delete its entries            as if it were not there
 *
 * INVARIANTS
 *  1. Every change of the row but a runner's progress raises the revision.
 *  2. A schema that others can see is immutable; it is shared by references.
 *  3. Names are unique over plain and unique indexes; several versions of one name may stand side
 *     by side.
 *
 * Threads: references from any; a schema under construction by one. What is NOT here: who uses
 * which (catalog.h). */
#ifndef TI_MODEL_SCHEMA_H
#define TI_MODEL_SCHEMA_H

#include <stdatomic.h>

#include "kv/engine.h"
#include "model/definition.h"

typedef enum ti_index_state {
    TI_INDEX_ABSENT = 0,
    TI_INDEX_WRITE_ONLY = 1,
    TI_INDEX_READABLE = 2,
    TI_INDEX_FAILED = 3,
} ti_index_state;

typedef struct ti_schema_index {
    ti_index_def def;
    ti_slice stored_name; /* "{name}" or "{name}@{version}" */
    ti_index_state state;
    bool sealed;     /* write_only and about to become readable: as readable for writers */
    ti_ts since;     /* readable: complete in every snapshot from here on; 0 = always */
    ti_slice cursor; /* backfill: the last id done */
    bool scanned;    /* backfill: all records were visited, only index_todo rows may be left */
    uint64_t done;   /* backfill: records visited */
    ti_slice duplicates[TI_REINDEX_DUPLICATES_MAX];
    size_t duplicate_count;
} ti_schema_index;

typedef struct ti_schema ti_schema;
struct ti_schema {
    _Atomic(uint32_t) refs;
    _Atomic(uint32_t) committing; /* transactions that rely on it and are in their commit */
    ti_schema *retired_next;      /* catalog.c */
    ti_arena arena;               /* everything below */
    bool exists;                  /* false: the table has no row */
    bool dropping;                /* drop_table is at work: writes are refused */
    uint64_t revision;
    ti_slice runner;    /* of reindex; "" = none */
    ti_ts runner_until; /* it is gone after that */
    ti_schema_index *indexes;
    size_t index_count;
};

/* "absent", "write_only", "readable", "failed". Static. */
const char *ti_index_state_name(ti_index_state state);

/* A schema without a row; one reference. OUT_OF_MEMORY. */
ti_status ti_schema_new(ti_schema **schema_out, ti_err *err);
/* Reads a row's payload; one reference. CORRUPT, OUT_OF_MEMORY. */
ti_status ti_schema_parse(ti_slice table, ti_slice payload, ti_schema **schema_out, ti_err *err);
/* Appends the row's payload. */
ti_status ti_schema_emit(const ti_schema *schema, ti_buf *out, ti_err *err);
/* Writes the public description of an index (definition, state, progress) as an object. */
void ti_schema_index_write(const ti_schema_index *index, ti_json_writer *w);
ti_schema *ti_schema_ref(ti_schema *schema);
/* NULL is allowed. */
void ti_schema_unref(ti_schema *schema);

/* The index of this name and version, or NULL; version 0: the highest. */
const ti_schema_index *ti_schema_find(const ti_schema *schema, ti_slice name, uint32_t version);
/* Adds an index to a schema under construction, copying the definition. OUT_OF_MEMORY. */
ti_status ti_schema_add(ti_schema *schema, const ti_index_def *def, ti_index_state state,
                        ti_err *err);
/* Takes the i-th index out of a schema under construction. */
void ti_schema_remove(ti_schema *schema, size_t i);

#endif

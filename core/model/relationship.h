/* Relationships: ids in a document, and where the documents they name are put when it is read.
 *
 *   {"items": [{"product_id": "p1"}]}
 *
 *   source items.product_id, destination items.product, model product
 *   holder: items (each element)   rest: product_id   key: product
 *
 * INVARIANTS
 *  1. The destination's parent (holder) is the source's parent or one above it; everything between
 *     holder and ids is walked, arrays element by element: an array on the way makes the
 *     destination a
 *     list.
 *  2. A destination neither contains nor is contained in a source or another destination.
 *
 * Hydration goes level by level: parse the documents of a level, collect the ids of all its
 * relationships, fetch them with one batch_get, go on with the documents found; then splice from
 * the deepest level up. On a cluster what the first level names is read ahead (ahead.h).
 *
 * Threads: pure, on what the caller owns. What is NOT here: the removal of destinations before
 * storing (shape.c). */
#ifndef TI_MODEL_RELATIONSHIP_H
#define TI_MODEL_RELATIONSHIP_H

#include "json/json.h"
#include "model/page.h"
#include "model/store.h"

typedef struct ti_relationship {
    ti_slice source;
    ti_slice destination;
    ti_slice table;  /* of the model it names */
    ti_slice holder; /* path of the object that gets the destination; "" = the document */
    ti_slice rest;   /* from the holder to the ids */
    ti_slice key;    /* of the destination in the holder */
} ti_relationship;

/* Reads the spec's "relationships". INVALID_ARGUMENT, LIMIT_EXCEEDED, OUT_OF_MEMORY. */
ti_status ti_relationships_parse(ti_json_value spec, ti_slice table, ti_arena *a,
                                 ti_relationship **list_out, size_t *count_out, ti_err *err);

/* The relationships that a read asks for, as a tree. Models are held until ti_hydration_end. */
typedef struct ti_hydration ti_hydration;

/* Resolves paths against the model and the models it names. INVALID_ARGUMENT (a relationship or a
 * model that is not known), LIMIT_EXCEEDED (number, depth). *hydration_out is NULL when there are
 * no paths; it lives in a. Also after a failure ti_hydration_end is called with what *hydration_out
 * says. */
ti_status ti_hydration_begin(ti_model *model, const ti_slice *paths, size_t count, ti_arena *a,
                             ti_hydration **hydration_out, ti_err *err);
/* Gives the models back; NULL is allowed. */
void ti_hydration_end(ti_hydration *hydration);
/* ti_txn_batch_get of documents' records, into the arena of begin: what they are guessed to name is
 * read with them (ahead.h). */
ti_status ti_hydration_fetch(ti_hydration *hydration, ti_txn *txn, const ti_slice *records,
                             size_t count, ti_slice *values_out, const ti_call *call, ti_err *err);
/* Replaces the documents by hydrated ones, in a. LIMIT_EXCEEDED when they are larger than
 * TI_PAGE_SIZE_MAX together. */
ti_status ti_hydrate(ti_hydration *hydration, ti_txn *txn, ti_document *documents, size_t count,
                     ti_arena *a, const ti_call *call, ti_err *err);

#endif

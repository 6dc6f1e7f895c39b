/* The write set: what a transaction has written or locked, by key, over its snapshot.
 *
 *   leaves:  [ a d f ][ g h ][ k m p z ]     sorted leaves of sorted pointers to writes
 *
 * A transaction of a few writes is one sorted array of pointers; a large one is a sorted array of
 * such arrays. Both searches are binary, the longest move is one leaf or the array of leaves, so
 * there is no bad order of keys.
 *
 * INVARIANTS
 *  1. Keys are strictly rising over all leaves; only the very first leaf may be empty.
 *  2. Writes, keys and values live in the arena and are never changed in place as long as somebody
 *     may hold a slice of them: a new value is a new copy.
 *  3. A write's kind follows the table at ti_writes_apply.
 *
 * Thread rule: belongs to its transaction. What is NOT here: limits and dooming (txn.c), the merge
 * with the snapshot (scan.c). */
#ifndef TI_KV_WRITES_INT_H
#define TI_KV_WRITES_INT_H

#include "base/limits.h"
#include "kv/engine.h"

/* Only read under a lock: no mutation of its own. */
#define TI_WRITE_NONE 100

typedef struct ti_write {
    ti_slice key;
    ti_slice value;        /* of PUT and INSERT */
    ti_slice locked_value; /* the newest committed value when the lock was taken */
    ti_ts check_ts;        /* TI_TS_NONE unless locked */
    ti_ts since;           /* TI_TS_NONE unless expected unchanged since then */
    int kind;              /* a ti_mutation_kind or TI_WRITE_NONE */
    bool locked;           /* read under a pessimistic lock */
    bool locked_found;     /* and there was a value */
} ti_write;

typedef struct ti_write_leaf {
    uint32_t count;
    ti_write *writes[TI_WRITES_LEAF_MAX];
} ti_write_leaf;

typedef struct ti_writes {
    ti_arena *a; /* borrowed: the transaction's */
    ti_write_leaf **leaves;
    size_t leaf_count; /* >= 1 */
    size_t leaf_capacity;
    ti_write *newest; /* written last, or NULL */
    size_t count;     /* writes in all leaves */
    size_t mutations; /* of them, those that are not TI_WRITE_NONE */
    size_t size;      /* bytes of keys and values */
    ti_write_leaf *first_leaves[1];
    ti_write_leaf first;
} ti_writes;

/* A place between writes: the write at it, or the end. */
typedef struct ti_writes_at {
    size_t leaf;
    uint32_t index;
} ti_writes_at;

typedef enum ti_write_view {
    TI_VIEW_SILENT, /* says nothing: the snapshot decides */
    TI_VIEW_SHOWS,  /* *value_out is the value */
    TI_VIEW_HIDES,  /* there is no value */
} ti_write_view;

/* Empty; allocates nothing. It points into itself: do not move it. */
void ti_writes_init(ti_writes *w, ti_arena *a);
/* The write of key, or NULL. */
ti_write *ti_writes_find(const ti_writes *w, ti_slice key);
/* What a transaction sees of a key that has this write (NULL: silent). */
ti_write_view ti_write_view_of(const ti_write *write, ti_slice *value_out);

/* Adds a PUT, DELETE, INSERT or LOCK, copying key and value. ALREADY_EXISTS (INSERT on a value of
 * one's own; no text set), OUT_OF_MEMORY (no text set); then nothing has changed.
 *
 *   before \ new    PUT      DELETE   INSERT           LOCK
 *   (none), LOCK    PUT      DELETE   INSERT           LOCK
 *   PUT             PUT      DELETE   already exists   PUT
 *   INSERT          INSERT   ABSENT   already exists   INSERT
 *   DELETE          PUT      DELETE   PUT              DELETE
 *   ABSENT          INSERT   ABSENT   INSERT           ABSENT */
ti_status ti_writes_apply(ti_writes *w, ti_mutation_kind kind, ti_slice key, ti_slice value);
/* The write of key, which is there and is no INSERT, is checked from since. */
void ti_writes_expect(ti_writes *w, ti_slice key, ti_ts since);
/* Remembers that key is locked and what was found. OUT_OF_MEMORY (no text set). */
ti_status ti_writes_add_locked(ti_writes *w, ti_slice key, const ti_locked *locked);

/* The first place whose key is >= key; before it is the last one that is < key. */
ti_writes_at ti_writes_seek(const ti_writes *w, ti_slice key);
/* The place after the last write. */
ti_writes_at ti_writes_end(const ti_writes *w);
/* The write at a place, or NULL at the end. */
const ti_write *ti_writes_get(const ti_writes *w, ti_writes_at at);
/* The write before a place (then *at is its place), or NULL at the beginning. */
const ti_write *ti_writes_before(const ti_writes *w, ti_writes_at *at);
ti_writes_at ti_writes_next(const ti_writes *w, ti_writes_at at);

/* The mutations in order of keys, in the arena: LOCK for a key that was only locked. NULL when
 * there is no memory. */
ti_mutation *ti_writes_mutations(const ti_writes *w, size_t *count_out);

#endif

/* The inside of a store, for the files of this folder. */
#ifndef TI_MODEL_STORE_INT_H
#define TI_MODEL_STORE_INT_H

#include <stdatomic.h>

#include "base/thread.h"
#include "codec/cursor.h"
#include "model/access.h"
#include "model/ahead.h"
#include "model/catalog.h"
#include "model/store.h"

#define STORE_BUCKETS 256
#define STORE_SCRATCH_MAX 16 /* idle scratches kept */

typedef enum ti_store_state {
    TI_STORE_NEW = 0,
    TI_STORE_OPEN = 1,
    TI_STORE_CLOSED = 2
} ti_store_state;

struct ti_store {
    _Atomic(uint32_t) refs; /* the handle and its models */
    _Atomic(int) state;
    ti_store_options options;
    ti_keyspace keyspace;
    ti_kv *kv;           /* borrowed while open */
    ti_catalog *catalog; /* owned while open */
    ti_event_sink sink;
    unsigned char secret[TI_CURSOR_SECRET_SIZE];
    uint64_t version_seed;
    _Atomic(uint64_t) version_count;
    ti_mutex mutex; /* TI_RANK_LEAF: models, scratches */
    ti_model
        *models[STORE_BUCKETS]; /* one reference each, owned; chained by ti_model.registry_next */
    ti_ahead ahead;
    _Atomic(bool) reads_ahead; /* where a request is a round trip */
    ti_scratch *scratches;
    size_t scratch_count;
};

ti_store *ti_store_ref(ti_store *store);
void ti_store_unref(ti_store *store);
/* A version for a new record: below 2^53, and another one each time. */
uint64_t ti_store_first_version(ti_store *store);

/* Makes model the one that its scope knows under its table's name. Takes a reference. */
void ti_store_register(ti_store *store, ti_model *model);
/* The model that a scope declared for a table, one reference; NULL when there is none. */
ti_model *ti_store_lookup(ti_store *store, uint64_t scope, ti_slice table);

#endif

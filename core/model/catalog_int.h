/* What catalog.c and rely.c share. */
#ifndef TI_MODEL_CATALOG_INT_H
#define TI_MODEL_CATALOG_INT_H

#include "base/id.h"
#include "base/thread.h"
#include "model/catalog.h"

#define CATALOG_BUCKETS 256

struct ti_table {
    ti_table *next; /* in its bucket */
    _Atomic(ti_schema *)
        current;   /* one reference, owned; changed under the mutex; NULL: not read, or no row */
    ti_ts read_at; /* of current */
    ti_schema *retired; /* older ones that may still be in a commit; one reference each, owned */
    char runner[TI_UUID_TEXT_SIZE + 1];  /* the latest reindex of this process */
    char earlier[TI_UUID_TEXT_SIZE + 1]; /* the one before */
    bool running;                        /* the latest is alive */
    size_t name_len;
    char name[];
};

struct ti_catalog {
    ti_catalog *next; /* in the engine's slot */
    size_t refs;      /* stores; under the slot's flag */
    int64_t lease_us; /* 0 = none */
    ti_mutex mutex;   /* TI_RANK_CATALOG: pointer work only */
    ti_table *buckets[CATALOG_BUCKETS];
    char prefix[TI_NAME_SIZE_MAX + 2];
};

/* The catalog of an open store and the entry of a table. */
ti_status ti_catalog_open_table(ti_store *store, ti_slice table, ti_catalog **catalog_out,
                                ti_table **table_out, ti_err *err);
/* The newest schema, not older than min_read_at; one reference. */
ti_status ti_catalog_fetch(ti_store *store, ti_catalog *catalog, ti_table *table, ti_ts min_read_at,
                           ti_schema **schema_out, ti_ts *read_at_out, const ti_call *call,
                           ti_err *err);
/* Until when a schema read at read_at may be relied on. */
ti_ts ti_catalog_until(const ti_catalog *catalog, ti_ts read_at);

#endif

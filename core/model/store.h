/* ti_store: what the rooms above the key-value store share within one database handle: keyspace,
 * catalog, registry of models, cursor secret, the place where events go.
 *
 *   ti_store_new ──> (models may be declared) ──> ti_store_open(kv) ──> (operations)
 *                ──> ti_store_close ──> ti_store_free
 *
 * INVARIANTS
 *  1. Declaring a model contacts nobody; every operation before open or after close answers
 *     INVALID_STATE or CLOSED.
 *  2. The catalog is one per engine and process where the engine is not shared with other
 *     processes; else one per store, fenced by a lease.
 *  3. Models of one scope (a host state) see each other by table name; the latest declaration of a
 *     table counts.
 *
 * Threads: any, at the same time; open, close and free by one thread while no operation runs.
 * What is NOT here: documents (model.h), states of indexes (catalog.h), queries (query/). */
#ifndef TI_MODEL_STORE_H
#define TI_MODEL_STORE_H

#include "base/log.h"
#include "codec/keys.h"
#include "kv/txn.h"

typedef struct ti_store ti_store;
typedef struct ti_model ti_model;

typedef struct ti_store_options {
    const ti_env *env;   /* borrowed: outlives the store */
    ti_slice name_space; /* "" = none; copied. INVALID_ARGUMENT when it is no valid namespace */
    const ti_log *log;   /* borrowed; or NULL */
    int64_t lease_us;    /* of a shared catalog; 0 = TI_CATALOG_LEASE_US */
    bool lease_always;   /* uses the lease also on an engine that is not shared (tests) */
    bool ahead_always;   /* so it does with reading ahead (tests) */
} ti_store_options;

/* A store without a database. Freed with ti_store_free. INVALID_ARGUMENT (namespace),
 * OUT_OF_MEMORY. @thread any */
ti_status ti_store_new(const ti_store_options *options, ti_store **store_out, ti_err *err);
/* Connects it: checks the format of the database (UNSUPPORTED when a newer tito wrote it; CORRUPT
 * when unreadable), makes the cursor secret at the very first open. kv is borrowed until
 * ti_store_close; its prefix must be that of ti_store_keyspace. INVALID_STATE when open. */
ti_status ti_store_open(ti_store *store, ti_kv *kv, const ti_call *call, ti_err *err);
/* Disconnects: later operations answer CLOSED. No transaction of the store may be alive. Safe to
 * call again. */
void ti_store_close(ti_store *store);
/* Closes and drops the store's own reference: the memory goes with the last model. NULL is allowed.
 */
void ti_store_free(ti_store *store);

/* The keyspace, valid from new on: its prefix is what ti_kv_options.prefix must be. Borrowed from
 * the store. */
const ti_keyspace *ti_store_keyspace(const ti_store *store);
/* The open database. CLOSED or INVALID_STATE with a text when there is none. */
ti_status ti_store_kv(ti_store *store, ti_kv **kv_out, ti_err *err);
const ti_env *ti_store_env(const ti_store *store);
const ti_log *ti_store_log(const ti_store *store);
/* The secret that seals cursor tokens (TI_CURSOR_SECRET_SIZE bytes); valid while open. */
const unsigned char *ti_store_secret(const ti_store *store);
/* A ti_key_describe; context is the store. Sets table and index of err, words the message, and
 * makes ALREADY_EXISTS on an entry of a unique index UNIQUE_VIOLATION. Keys of other kinds (the
 * queue's) keep status and message. */
ti_status ti_store_describe_key(void *context, ti_slice key, ti_status status, ti_err *err);

/* ---- where a model's events go (installed by the room that stores them) ---- */

typedef struct ti_model_event {
    ti_slice type;   /* the queue: "name" of what the host's events function returned */
    ti_slice action; /* the operation asked for: "INSERT", … */
    ti_slice table;
    ti_slice entity; /* "table:user:{id}" */
    ti_slice entity_id;
    ti_slice key;        /* the event's own "key", else the model's partition key, else the id */
    ti_slice references; /* a JSON array; "" = none */
    ti_slice
        payload; /* JSON: "payload" of the returned object, or the object itself when it has none */
    int64_t due_us; /* 0 = at once */
} ti_model_event;

typedef struct ti_event_sink {
    /* Adds an event to txn; every slice is borrowed for the call. A failure dooms the transaction.
     */
    ti_status (*publish)(void *context, ti_txn *txn, const ti_model_event *event,
                         const ti_call *call, ti_err *err);
    void *context;
} ti_event_sink;

/* Installs the sink (NULL: none; writes that ask for events then answer UNSUPPORTED). Before the
 * first write. */
void ti_store_set_event_sink(ti_store *store, const ti_event_sink *sink);

/* ---- the registry of models ---- */

/* Forgets the models that a host state declared. */
void ti_store_forget_scope(ti_store *store, uint64_t scope);

#endif

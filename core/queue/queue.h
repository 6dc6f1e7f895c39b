/* The queue of a database handle: event types, publishing, looking at and tending stored events.
 *
 *   ti_queues (one per store) --- type "user" --- partitions 0 … n-1 --- events in order of place
 *        |                          |
 *        |                          counters, partition count (queue_meta), workers to wake
 *        the store's event sink: model events arrive here
 *
 * INVARIANTS
 *  1. An event is written by the commit that publishes it, at place max(due, T): T is the
 *     database's time fetched when that commit begins, which then can not commit later than
 *     T + TI_GRACE_US. So a reader at snapshot S has seen every event whose place is below
 *     S - TI_GRACE_US.
 *  2. The uuid of an event is version 7 and ordered by (T, ordinal within the transaction).
 *  3. The partition of an event is a stable hash of its key modulo the type's partition count,
 *     which is stored at first use; a change of it moves the events (repartition.c).
 *  4. A transaction that does not commit leaves no event and wakes nobody.
 *
 * Thread rule: a ti_queues may be used by any number of threads; a transaction by one at a time.
 * What is NOT here: delivery, leases, retention (worker.h), recurring events (schedule.h). */
#ifndef TI_QUEUE_QUEUE_H
#define TI_QUEUE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/progress.h"
#include "base/slice.h"
#include "codec/keys.h"
#include "kv/txn.h"

typedef struct ti_store ti_store;
typedef struct ti_queues ti_queues;

/* ---- opening ---- */

typedef struct ti_queues_options {
    uint32_t partitions_default; /* of types that nobody declares; 0 = TI_PARTITIONS_DEFAULT */
    /* On a shared engine, how long this process may remember a partition count, which another one
     * changes meanwhile; the same in all of them. 0 = TI_META_LEASE_US. */
    int64_t meta_lease_us;
} ti_queues_options;

/* The queue state of a store; installs itself as the store's event sink. options may be NULL. The
 * store must outlive it. INVALID_ARGUMENT (partitions), OUT_OF_MEMORY. */
ti_status ti_queues_open(ti_store *store, const ti_queues_options *options, ti_queues **queues_out,
                         ti_err *err);
/* Ends it. Every worker on it has been freed before; no transaction with events is open. NULL is
 * allowed. */
void ti_queues_close(ti_queues *queues);

typedef enum ti_ordering {
    TI_ORDERING_KEY = 0,       /* events of one key one after the other */
    TI_ORDERING_PARTITION = 1, /* events of one partition one after the other */
    TI_ORDERING_NONE = 2,      /* every event for itself */
} ti_ordering;

#define TI_RETENTION_DEFAULT_US (3ll * 24 * 3600 * 1000000)

typedef struct ti_queue_options {
    uint32_t partitions;  /* 0: as stored, else the database's default */
    int64_t retention_us; /* how long completed rows stay; 0 = none are written;
                             < 0 = TI_RETENTION_DEFAULT_US */
    ti_ordering ordering;
} ti_queue_options;

/* Declares a type in this handle; contacts nobody. Declaring again is normal; the last retention
 * and ordering count, for workers that register the type afterwards. A partition count is stored at
 * first use. SCHEMA_MISMATCH when partitions is given and another count is known by now (a count
 * that only the store knows shows at first use); INVALID_ARGUMENT (type, partitions). @thread any
 */
ti_status ti_queue_declare(ti_queues *queues, ti_slice type, const ti_queue_options *options,
                           ti_err *err);
/* The type's partition count, storing it (declared, else the default) at first use. SCHEMA_MISMATCH
 * when another one was declared than is stored. @thread any */
ti_status ti_queue_partitions(ti_queues *queues, ti_slice type, uint32_t *partitions_out,
                              const ti_call *call, ti_err *err);
/* The partition of a key. @thread any */
uint32_t ti_queue_partition_of(ti_slice key, uint32_t partitions);

/* ---- publishing ---- */

/* What is published. All slices borrowed for the call. */
typedef struct ti_event_spec {
    ti_slice type;
    ti_slice key;        /* the business key: 1 … TI_ID_SIZE_MAX bytes of UTF-8 */
    ti_slice payload;    /* JSON; empty = null */
    ti_slice action;     /* "INSERT", …; may be empty, as all below */
    ti_slice entity;     /* "table:user:u1" */
    ti_slice entity_id;  /* "u1" */
    ti_slice references; /* a JSON array */
    int64_t due_us;      /* not before this time of the database, µs since the epoch; 0 = now */
    int64_t delay_us;    /* not before T + delay; <= 0 = none. The later of both counts */
    uint32_t partitions; /* what the caller declared: another stored count is SCHEMA_MISMATCH; 0 =
                            follow the stored one */
    bool json_checked;   /* payload and references are known to be valid JSON */
    ti_slice unique;     /* a token: refused while an unfinished event of the type has it; UTF-8, at
                            most TI_ID_SIZE_MAX bytes; empty = none */
    bool unique_return;  /* not refused: nothing is published, and id_out is the other event's */
} ti_event_spec;

/* Adds an event to a transaction: it is written when that commits. With txn NULL a transaction of
 * its own is run and retried. id_out (TI_EVENT_ID_SIZE + 1 bytes, or NULL) is filled only without
 * txn (else it is ""): before the commit an event has no id; and with unique_return, when there is
 * another event that has one. A failure dooms txn.
 * ALREADY_EXISTS (the token), INVALID_ARGUMENT (type, key, payload), LIMIT_EXCEEDED
 * (TI_EVENT_SIZE_MAX), what the commit answers. @thread owner of txn */
ti_status ti_queue_publish(ti_queues *queues, ti_txn *txn, const ti_event_spec *spec, char *id_out,
                           const ti_call *call, ti_err *err);

/* ---- looking ---- */

typedef enum ti_event_state {
    TI_EVENT_PENDING = 0,   /* waits for its due time or a worker */
    TI_EVENT_PARKED = 1,    /* waits for a retry, or behind one */
    TI_EVENT_COMPLETED = 2, /* history */
    TI_EVENT_FAILED = 3,    /* history: gave up */
} ti_event_state;

/* An event as stored. Slices are borrowed from wherever the event is (named at each use). */
typedef struct ti_event_info {
    ti_slice type;
    ti_event_place place;          /* its place among pending events (of history: the last one) */
    char id[TI_EVENT_ID_SIZE + 1]; /* of that place: "{partition}.{timestamp}.{uuid}" */
    ti_slice key;
    ti_slice payload; /* JSON; "null" when there is none, or when the row is damaged */
    ti_slice action;
    ti_slice entity;
    ti_slice entity_id;
    ti_slice references;    /* a JSON array; "[]" when there is none */
    ti_slice last_error;    /* empty when it never failed */
    ti_slice unique;        /* its token; empty = none */
    ti_slice row_key;       /* of its row */
    uint32_t attempts;      /* failed runs so far */
    int64_t not_before_us;  /* a retry waits until then; 0 = no wait */
    int64_t finished_at_us; /* of history; 0 otherwise */
    ti_event_state state;
} ti_event_info;

/* The ordered part of an id: "{timestamp}.{uuid}". Borrowed from info. */
ti_slice ti_event_sequence(const ti_event_info *info);

typedef struct ti_event_filter {
    ti_slice type;
    ti_slice key;   /* data NULL = every key */
    ti_slice owner; /* only events of this entity ("table:user:u1") or entity_id; data NULL = all */
    ti_event_state state;
    int64_t from_us; /* place (history: finished_at) >= from_us; 0 = all */
    int64_t to_us;   /* … < to_us; 0 = all */
    size_t limit;    /* 0 = TI_PAGE_ITEMS_DEFAULT; at most TI_PAGE_ITEMS_MAX */
    ti_slice cursor; /* of an earlier list with the same filter; empty = from the start */
} ti_event_filter;

typedef struct ti_event_list {
    ti_event_info *items; /* in the arena */
    size_t count;
    ti_slice cursor; /* where to go on, in the arena; empty at the end */
} ti_event_list;

/* A page of stored events by partition, then place (parked: then key and place; history: then time
 * of completion). Items and what they point to are in a. INVALID_ARGUMENT (cursor, limit, type).
 * @thread any */
ti_status ti_queue_list(ti_queues *queues, const ti_event_filter *filter, ti_arena *a,
                        ti_event_list *list_out, const ti_call *call, ti_err *err);
/* How many events are in a state, counted up to limit. @thread any */
ti_status ti_queue_count(ti_queues *queues, ti_slice type, ti_event_state state, uint64_t limit,
                         uint64_t *count_out, const ti_call *call, ti_err *err);
/* Makes a FAILED event pending again, at a new place (now), without its attempts. id: of the event.
 * id_out (TI_EVENT_ID_SIZE + 1 bytes, or NULL): its new one. NOT_FOUND with a text. @thread any */
ti_status ti_queue_retry(ti_queues *queues, ti_slice type, ti_slice id, char *id_out,
                         const ti_call *call, ti_err *err);
/* Deletes a FAILED, pending or parked event, whichever has this id. One that a handler has in hand
 * is finished there without effect. NOT_FOUND with a text. @thread any */
ti_status ti_queue_drop(ti_queues *queues, ti_slice type, ti_slice id, const ti_call *call,
                        ti_err *err);

/* ---- many at once ---- */

/* Deletes every event that fits the filter (its state, or with every_state of pending, parked and
 * both histories), in transactions of TI_BULK_BATCH rows; limit and cursor do not count. Events
 * that a handler has in hand are finished there without effect. count_out: how many, also when it
 * ends early. @thread any */
ti_status ti_queue_purge(ti_queues *queues, const ti_event_filter *filter, bool every_state,
                         uint64_t *count_out, const ti_call *call, ti_err *err);
/* Publishes again what the filter finds in history (COMPLETED or FAILED, which stay), in the order
 * in which it was finished per partition, as new events of type `into` (empty: the same), due now.
 * In transactions of TI_BULK_BATCH events: one that ends early has published a part, count_out
 * says how many, and progress (or NULL) while it runs. INVALID_ARGUMENT (another state).
 * @thread any */
ti_status ti_queue_replay(ti_queues *queues, const ti_event_filter *filter, ti_slice into,
                          ti_progress *progress, uint64_t *count_out, const ti_call *call,
                          ti_err *err);
/* Stops and lets go on the delivery of a type, in all workers of all processes (within two
 * seconds): stored, so it outlives them. Publishing goes on; what has started ends. @thread any */
ti_status ti_queue_set_paused(ti_queues *queues, ti_slice type, bool paused, const ti_call *call,
                              ti_err *err);
/* Gives a type another partition count while it is in use (repartition.c). Until it ends nothing of
 * the type is delivered, publishing goes on; on an engine of one process it waits for the handlers
 * that have events of it in hand, on a shared one those that take longer than meta_lease_us run
 * again. Order per key stays; ids of unfinished events change. It goes on with a change to the same
 * count that was cut short, which holds the type until then; a change to another one takes its
 * place. progress (or NULL): of the rows to look at. *moved_out: rows moved, also when it ends early.
 * NOT_FOUND: nobody has used the type; INVALID_STATE: another call has taken over;
 * INVALID_ARGUMENT. @thread any, but no handler of the type */
ti_status ti_queue_repartition(ti_queues *queues, ti_slice type, uint32_t partitions,
                               ti_progress *progress, uint64_t *moved_out, const ti_call *call,
                               ti_err *err);
/* Whether it is stored as paused; what is known of the type in this process is brought up to date.
 * @thread any */
ti_status ti_queue_is_paused(ti_queues *queues, ti_slice type, bool *paused_out,
                             const ti_call *call, ti_err *err);

/* Counters of one type in this process, over all its handles on the database. */
typedef struct ti_queue_stats {
    uint64_t published;    /* committed */
    uint64_t delivered;    /* given to handlers, runs again included */
    uint64_t acknowledged; /* committed */
    uint64_t retried;      /* failures that will be tried again */
    uint64_t failed;       /* events given up */
    uint64_t rescheduled;
    uint64_t advanced;
    uint64_t timed_out;    /* among retried and failed */
    uint64_t conflicts;    /* runs thrown away by a conflict of their transaction */
    uint64_t dropped;      /* outcomes whose row was gone or had changed */
    uint64_t lost;         /* outcomes whose partition had gone to another worker */
    uint64_t expired;      /* completed events deleted after their retention */
    uint64_t leases_taken; /* partitions taken, given back, lost because the lease had run out */
    uint64_t leases_given;
    uint64_t leases_lost;
    uint64_t parked;      /* rows moved behind a parked key */
    uint64_t waiting;     /* events in the memory of workers now */
    uint64_t parked_keys; /* keys that workers hold back now */
} ti_queue_stats;

/* How a type is now. */
typedef struct ti_queue_state {
    ti_queue_stats stats; /* of this process */
    bool paused;
    uint64_t pending; /* stored, counted up to TI_DEPTH_MAX */
    uint64_t parked;
    uint64_t failed;
    int64_t lag_us;        /* how long the oldest due event has been waiting, as the workers of this
                              process know it (within a second) */
    double handler_p50_us; /* of this process; 0 = none ran; exact to a factor of 1.5 */
    double handler_p99_us;
    double handler_max_us;
} ti_queue_state;

/* Counts what is stored, and adds what this process knows. @thread any */
ti_status ti_queue_state_of(ti_queues *queues, ti_slice type, ti_queue_state *state_out,
                            const ti_call *call, ti_err *err);
/* Appends it as a JSON object; times in seconds. */
ti_status ti_queue_state_write(const ti_queue_state *state, ti_buf *out, ti_err *err);
/* Appends the counters, lags and latencies of all types that this process has met, as Prometheus
 * text (version 0.0.4). Reads nothing from the store. @thread any */
ti_status ti_queues_metrics(ti_queues *queues, ti_buf *out, ti_err *err);

/* Appends how each partition of a stored type is, those of which nothing is known left out, as a
 * JSON object {partitions, complete, now, items: [{partition, pending, parked, parked_keys, oldest,
 * checkpoint, worker, alive}]}; times in seconds. NOT_FOUND: nobody has used the type. @thread any
 */
ti_status ti_queue_census(ti_queues *queues, ti_slice type, ti_buf *out, const ti_call *call,
                          ti_err *err);
/* Appends the stored types, by name, as a JSON array of {type, partitions, paused, moving}. @thread any */
ti_status ti_queue_types(ti_queues *queues, ti_buf *out, const ti_call *call, ti_err *err);

/* Zeroes for a type that nobody has met yet. @thread any */
void ti_queue_stats_of(ti_queues *queues, ti_slice type, ti_queue_stats *stats_out);
/* Appends the counters of all types that this process has met, as a JSON object of objects.
 * OUT_OF_MEMORY, LIMIT_EXCEEDED. @thread any */
ti_status ti_queues_stats(ti_queues *queues, ti_buf *out, ti_err *err);

#endif

/* The worker handle and the event handle.
 *
 *   tito_worker ── PULL: core worker of the types that the host takes itself
 *               └─ PUSH: core worker of the types with a C handler ── threads ── handler(event)
 *
 * INVARIANTS
 *  1. The core workers are made by the first tito_worker_on of their kind, end with let_go (by
 *     tito_worker_free or the close of the database) and are freed with the handle, so that a
 *     thread that takes never holds a freed one.
 *  2. Handler threads end by themselves when their core worker has ended; they are joined by
 *     tito_worker_free, never by a close: a handler may take its time.
 *  3. An event with a transaction is a child of the database: a close abandons it before the engine
 *     goes.
 *  4. An event lives until the host has freed it and the last operation of its transaction has
 *     gone; the transaction's handle lives as long as the event.
 *  5. An event's core is settled at most once, inside ti_db_enter and ti_db_leave, when no
 *     operation of its transaction is under way. */
#ifndef TI_ABI_WORKER_H
#define TI_ABI_WORKER_H

#include <stdatomic.h>

#include "abi/cq.h"
#include "abi/db.h"
#include "abi/op.h"
#include "abi/txn.h"
#include "base/notify.h"
#include "base/thread.h"
#include "queue/worker.h"

typedef enum worker_kind { WORKER_PULL, WORKER_PUSH } worker_kind;
#define WORKER_KINDS 2

/* A C handler of a type. */
typedef struct worker_handler worker_handler;
struct worker_handler {
    worker_handler *next;
    tito_handler_fn handler;
    void *context;
};

struct tito_worker {
    uint32_t magic;
    ti_db *db;              /* one reference */
    _Atomic(uint32_t) refs; /* the host's, and one of every operation */
    ti_db_child child;      /* adopted */
    ti_worker_options options;
    int64_t drain_timeout_us;
    int64_t batch;       /* of types that say nothing else */
    ti_notify notify;    /* raised while PULL may have events, or has ended */
    atomic_bool told;    /* notify is raised: saves a write for each event */
    _Atomic(ti_cq *) cq; /* tito_worker_watch's, which is told too: one reference; or NULL */
    ti_cq_node node;     /* in cq, at most as long as this lives */
    ti_mutex mutex;
    ti_cond changed; /* stopped, running */
    /* under mutex */
    ti_worker *cores[WORKER_KINDS]; /* or NULL; set before start, then constant */
    worker_handler *handlers;       /* owned */
    bool started;
    bool stopped;
    size_t running; /* handler threads that have not ended */
    ti_err failed;  /* why a handler thread ended; status OK: it was stopped */
    /* of the thread that starts and the one that frees */
    ti_thread *threads; /* owned */
    size_t thread_count;
};
TI_DB_HANDLE_CHECK(struct tito_worker, db);

/* Of a type with batches: the batch, its members behind it in the same block. */
struct tito_event {
    uint32_t magic;
    ti_db *db;              /* one reference */
    _Atomic(uint32_t) refs; /* the host's, and its transaction's */
    ti_db_child child;      /* adopted with the transaction */
    ti_event *core;         /* one reference */
    tito_txn_t *txn;        /* NULL until asked for; freed with the event */
    _Atomic(bool) settled;
    struct tito_event *of; /* a member's batch, which owns everything; else NULL */
    size_t count;          /* of its members; 0 = no batch */
};
TI_DB_HANDLE_CHECK(struct tito_event, db);

/* An event handle that owns core; NULL when there is no memory, then core is still the caller's. */
tito_event_t *ti_event_handle(ti_db *db, ti_event *core);
/* Settles by a handler's answer when the handler has not, then frees. */
void ti_event_finish(tito_event_t *event, int32_t answer);

#endif

/* What the files of this room share: the handle itself. */
#ifndef TI_DB_DB_INT_H
#define TI_DB_DB_INT_H

#include "base/mem.h"
#include "base/thread.h"
#include "db/db.h"
#include "kv/target.h"

typedef enum db_state {
    DB_NEW,
    DB_OPENING,
    DB_OPEN,
    DB_CLOSING,
    DB_CLOSED,
} db_state;

/* A queue that was declared before the database was open. */
typedef struct db_declaration db_declaration;
struct db_declaration {
    db_declaration *next;
    ti_queue_options options;
    size_t type_len;
    char type[];
};

/* Operations that run, spread so that threads seldom meet. */
#define DB_SHARDS 4
typedef struct db_shard {
    ti_mutex mutex;
    bool made;
    ti_db_guest *first;
    char apart[64];
} db_shard;

struct ti_db {
    _Atomic(uint32_t) refs;
    _Atomic(int) state; /* a db_state; changed under mutex */
    const ti_env *env;
    ti_db_options options; /* name_space is "" here: the store has it; TLS: copies in arena */
    ti_arena arena;        /* of target */
    ti_target target;
    ti_log log;      /* its context is this handle */
    ti_db_sink sink; /* the host's; NULL: stderr */
    void *sink_context;
    ti_mutex mutex;
    ti_cond changed;              /* state */
    ti_db_child *children;        /* the newest first */
    ti_executor *executor;        /* one reference; guards what is below */
    ti_store *store;              /* owned */
    ti_queues *queues;            /* owned; open while OPEN and CLOSING */
    db_declaration *declarations; /* owned; under mutex */
    db_shard shards[DB_SHARDS];
    ti_kv kv;                /* open while OPEN and CLOSING */
    ti_log_hub *engine_logs; /* of an engine that may outlive the handle: one reference, owned */
};

/* Opens the engine that the target names; the reference is the caller's. Its lines come to db's log
 * until ti_db_engine_gone, which is called after that reference has been dropped, or not at all
 * when opening failed. */
ti_status ti_db_engine(ti_db *db, ti_engine **engine_out, const ti_call *call, ti_err *err);
void ti_db_engine_gone(ti_db *db);

/* tls.c: checks the TLS options against the target and each other, and copies them into the arena
 * and db's options, where they were empty. Wipe is for the key, before the arena is freed. */
ti_status ti_db_tls_copy(ti_db *db, const ti_db_options *options, ti_err *err);
void ti_db_tls_wipe(ti_db *db);

/* Whether the calling thread is inside a database, or one that a close waits for. */
bool ti_db_thread_is_inside(void);
/* One more or one less time inside, for the calling thread. */
void ti_db_thread_in(void);
void ti_db_thread_out(void);

/* The parts of a close and of the handle's life that are in children.c and guests.c. */
void ti_db_stop_children(ti_db *db);
void ti_db_let_children_go(ti_db *db);
ti_status ti_db_guests_init(ti_db *db, ti_err *err);
void ti_db_guests_destroy(ti_db *db);
/* Asks every running operation to end. */
void ti_db_cancel_guests(ti_db *db);

#endif

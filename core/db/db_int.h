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

struct ti_db {
    _Atomic(uint32_t) refs;
    _Atomic(int) state; /* a db_state; changed under mutex */
    const ti_env *env;
    ti_db_options options; /* name_space is "" here: the store has it */
    ti_arena arena;        /* of target */
    ti_target target;
    ti_log log;      /* its context is this handle */
    ti_db_sink sink; /* the host's; NULL: stderr */
    void *sink_context;
    ti_mutex mutex;
    ti_cond changed;       /* state */
    ti_db_child *children; /* the newest first */
    ti_executor *executor; /* one reference; guards what is below */
    ti_store *store;       /* owned */
    ti_queues *queues;     /* owned */
    ti_kv kv;              /* open while OPEN and CLOSING */
};

/* Opens the engine that the target names; the reference is the caller's. UNSUPPORTED when this
 * build has none of this kind. */
ti_status ti_db_engine(const ti_db *db, ti_engine **engine_out, const ti_call *call, ti_err *err);

#endif

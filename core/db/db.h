/* A database handle: one engine, one store, one set of queues, one executor; opened, used, closed.
 *
 *   NEW ──open──> OPENING ──> OPEN ──close──> CLOSING ──> CLOSED
 *    ^               │ failed                                ^
 *    └───────────────┘          NEW ──close──────────────────┘
 *
 *   target ──parse──> kind ──> engine (rocks; tikv) ──> ti_kv ──> ti_store ──> models, queries
 *                                                                    └──────> ti_queues ──> workers
 *
 * INVARIANTS
 *  1. Everything that touches the store stands between ti_db_enter and ti_db_leave; the close waits
 *     until nobody is inside, so nothing below ever sees a closed engine.
 *  2. What holds engine state between two calls (a transaction, steps, a worker) is a ti_db_child;
 *     the close lets go of all children before the engine.
 *  3. The memory of a ti_db lives until the last reference is dropped; after the close it holds no
 *     file, thread or connection.
 *  4. In a forked child nothing below is touched: not even freed, since its locks may be held by
 *     threads that do not exist there.
 *
 * Threads: any, at the same time. What is NOT here: handles as the host sees them (abi/). */
#ifndef TI_DB_DB_H
#define TI_DB_DB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/err.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/slice.h"
#include "kv/kv.h"
#include "model/store.h"
#include "queue/queue.h"
#include "rt/future.h"

typedef struct ti_db ti_db;

typedef struct ti_db_options {
    ti_slice name_space;      /* "" = none */
    int64_t partitions;       /* of event types that nobody declares */
    int64_t timeout_us;       /* of an operation with all its attempts */
    int64_t txn_age_us;       /* how old a transaction may become */
    int64_t durability;       /* 0 = sync, 1 = buffered */
    int64_t open_wait_us;     /* how long to wait for another process to let go */
    int64_t block_cache_size; /* 0 = the engine's default, as below */
    int64_t write_buffer_size;
    int64_t threads;   /* of the executor, for operations that are no commits */
    int64_t log_level; /* a ti_log_level */
    /* TLS, TiKV only: PEM text or paths of files, which are looked at again; empty with data NULL
     * is not given. */
    ti_slice ca;
    ti_slice cert;
    ti_slice key;
    ti_slice server_name; /* to expect in the servers' certificates, instead of the host */
} ti_db_options;

/* What counts when nothing is given. */
ti_db_options ti_db_options_default(void);

/* A handle that contacts nobody. db_out holds one reference. options are copied. INVALID_ARGUMENT
 * (target, namespace, TLS options that do not fit the target or each other), OUT_OF_MEMORY. @thread
 * any */
ti_status ti_db_new(ti_slice target, const ti_db_options *options, ti_db **db_out, ti_err *err);
/* One more reference; the same handle. @thread any */
ti_db *ti_db_ref(ti_db *db);
/* Drops one; the last one closes when that was not done, and frees. @thread any but the library's
 */
void ti_db_unref(ti_db *db);

/* Where log lines go: sink NULL is stderr, for WARN and above. INVALID_STATE unless NEW. @thread
 * any
 */
typedef void (*ti_db_sink)(void *context, int32_t level, const char *line);
ti_status ti_db_set_log(ti_db *db, ti_db_sink sink, void *context, ti_log_level level, ti_err *err);
/* Opens the engine. On failure the handle is NEW again. INVALID_STATE when it is open or being
 * opened, CLOSED, UNSUPPORTED (an engine that this build has not), what the engine answers. */
ti_status ti_db_open(ti_db *db, const ti_call *call, ti_err *err);
/* Ends everything: running operations are asked to end, children let go, the engine's reference is
 * dropped. Blocks until that is done, also when another thread began it. FORKED in a child;
 * INVALID_STATE when called from inside an operation or from a handler. */
ti_status ti_db_close(ti_db *db, ti_err *err);

/* ---- use ---- */

/* Whether the calling process is a child of the one that made db. @thread any */
bool ti_db_forked(const ti_db *db);
/* FORKED or CLOSED with a text, else OK: also for a handle that is not open yet. @thread any */
ti_status ti_db_check(const ti_db *db, ti_err *err);
/* As ti_db_check; further INVALID_STATE when it is not open yet. After OK the database stays open
 * until ti_db_leave. @thread any */
ti_status ti_db_enter(ti_db *db, ti_err *err);
void ti_db_leave(ti_db *db);

/* Says that the calling thread is one that a close waits for: it can not close a database. */
void ti_db_thread_is_worker(void);
bool ti_db_thread_is_worker_now(void);

/* Parts; borrowed from db. Executor and store are there from new on, the others between enter and
 * leave. */
ti_executor *ti_db_executor(const ti_db *db);
ti_store *ti_db_store(const ti_db *db);
ti_queues *ti_db_queues(const ti_db *db);
ti_kv *ti_db_kv(ti_db *db);
const ti_env *ti_db_env(const ti_db *db);
/* How long an operation may take; and an opening, which may wait for another process. */
int64_t ti_db_timeout_us(const ti_db *db);
int64_t ti_db_open_timeout_us(const ti_db *db);

/* Appends statistics of engine, executor and queues as a JSON object. Inside enter and leave. */
ti_status ti_db_stats(ti_db *db, ti_buf *out, ti_err *err);

/* ---- backups (engines.c): directories are NUL-terminated; results are appended as JSON objects {
 * "time" (seconds), "files", "size" (bytes)}; progress, in bytes, may be NULL ---- */

/* Makes a backup in dir; base: an earlier one, or NULL. Inside enter and leave. The embedded engine
 * only, else UNSUPPORTED; what ti_rocks_backup answers. Adds "shared" (bytes). */
ti_status ti_db_backup(ti_db *db, const char *dir, const char *base, ti_progress *progress,
                       ti_buf *out, const ti_call *call, ti_err *err);
/* Compares the backup in dir with its list. The handle need not be open. @thread any */
ti_status ti_db_verify_backup(ti_db *db, const char *dir, ti_progress *progress, ti_buf *out,
                              const ti_call *call, ti_err *err);
/* Makes the directory that db's target names of the backup in dir. INVALID_STATE when the handle is
 * open, UNSUPPORTED when the target is none; what ti_rocks_restore answers. @thread any */
ti_status ti_db_restore(ti_db *db, const char *dir, ti_progress *progress, ti_buf *out,
                        const ti_call *call, ti_err *err);

/* Declares an event type (core/queue): at once when the database is open, else when it is opened.
 * What ti_queue_declare answers. @thread any */
ti_status ti_db_declare_queue(ti_db *db, ti_slice type, const ti_queue_options *options,
                              ti_err *err);

/* ---- guests ---- */

/* A running operation that the close asks to end. Embedded in it. */
typedef struct ti_db_guest ti_db_guest;
struct ti_db_guest {
    ti_db_guest *next;
    ti_db_guest *prev;
    ti_future *future; /* RUNNING from in to out */
};

/* As ti_db_enter and ti_db_leave, for an operation: it is cancelled when the database is closed. */
ti_status ti_db_guest_in(ti_db *db, ti_db_guest *guest, ti_err *err);
void ti_db_guest_out(ti_db *db, ti_db_guest *guest);
/* Whether the close has begun. @thread any */
bool ti_db_is_closing(const ti_db *db);
/* The calling thread is in a callback of the library: it can not close a database until the end. */
void ti_db_callback_begin(void);
void ti_db_callback_end(void);

/* ---- children ---- */

typedef enum ti_child_state {
    TI_CHILD_FREE = 0, /* not adopted, or let go */
    TI_CHILD_LISTED,   /* will be let go by its owner or by the close */
    TI_CHILD_BUSY,     /* the close is in stop or let_go of it */
} ti_child_state;

/* Something that holds engine state between calls. Embedded by its owner, who calls
 * ti_db_release at its end. */
typedef struct ti_db_child ti_db_child;
struct ti_db_child {
    ti_db_child *next; /* the list of the database; all four are under its mutex */
    ti_db_child *prev;
    ti_child_state state;
    bool released; /* the owner is done with it: dispose follows let_go */
    /* Stops what makes operations, while operations still run. Does not block. Or NULL. */
    void (*stop)(ti_db_child *child);
    /* Lets go of what the engine owns: called once, by ti_db_release or by the close (then nobody
     * is inside the database any more). */
    void (*let_go)(ti_db_child *child);
    /* Frees the memory: called once, after let_go and ti_db_release. No lock is held. */
    void (*dispose)(ti_db_child *child);
};

/* Adds a child, inside enter and leave. */
void ti_db_adopt(ti_db *db, ti_db_child *child);
/* The owner's last call for an adopted child: let_go, unless the close has done or will do it, then
 * dispose. Never waits for a close. Not in a forked child. */
void ti_db_release(ti_db *db, ti_db_child *child);

#endif

/* Operations: what a tito_future_t is.
 *
 *   exported function ── validates ──> ti_op_new ── copies arguments ──> ti_op_submit ──> future
 *                            └─ failed ─────────────────────────────────────^
 *
 *   one allocation: [ rt's future | tito_future | room: arguments, then small results ]
 *
 * INVARIANTS
 *  1. An operation borrows nothing of the caller's after the exported function has returned: its
 *     arguments are in its arena, its objects are referenced.
 *  2. body is called at most once, inside ti_db_enter and ti_db_leave, with the transaction open
 *     (where there is one), and with nothing else of the transaction running.
 *  3. Results belong to the arena: they live until the future is freed.
 *  4. A failed write, for whatever reason, dooms its transaction.
 *
 * Thread rule: made by one thread, run by one thread, read by any after it is ready. */
#ifndef TI_ABI_OP_H
#define TI_ABI_OP_H

#include "abi/handle.h"
#include "base/env.h"
#include "base/mem.h"
#include "base/progress.h"
#include "db/db.h"
#include "model/model.h"
#include "model/page.h"
#include "rt/future.h"

typedef struct tito_future ti_op;

/* What an operation does. Static. */
typedef struct ti_op_kind {
    ti_op_type type; /* run and destroy are those of TI_OP_KIND */
    ti_status (*body)(ti_op *op, const ti_call *call, ti_err *err);
    bool opens;       /* runs on a database that is not open yet */
    bool needs_ended; /* runs on a transaction that has ended, too */
    bool endless;     /* has no deadline of its own */
} ti_op_kind;

#define TI_OP_KIND(label, kind_of_work, is_write, body_function)                                   \
    .type = {.name = (label),                                                                      \
             .work = (kind_of_work),                                                               \
             .write = (is_write),                                                                  \
             .run = ti_op_run,                                                                     \
             .destroy = ti_op_destroy},                                                            \
    .body = (body_function)

/* What an operation works on. Each body knows which of these it uses. Slices are in the arena. */
typedef struct ti_op_args {
    void *object;                  /* model, query, worker, … */
    void (*release)(void *object); /* gives object back when the operation is freed; or NULL */
    ti_slice id;
    ti_slice text;
    ti_slice type;
    ti_write write;
    ti_read read;
    int64_t number;
    int64_t number_2;
    uint32_t partitions;
    ti_slice token; /* from here to give_back: of publish */
    ti_slice action;
    ti_slice entity;
    ti_slice entity_id;
    ti_slice references;
    bool give_back;
    tito_host_fn host; /* or NULL */
    void *host_context;
} ti_op_args;

struct tito_future {
    uint32_t magic;
    const ti_op_kind *kind;
    ti_db *db; /* kept alive by the future */
    ti_db_guest guest;
    tito_txn_t *txn; /* one reference, or NULL */
    ti_arena arena;
    ti_op_args args;
    bool waiting;         /* counted by the transaction */
    ti_progress progress; /* of long work, while it runs; read by any thread */
    /* results */
    int64_t number;
    ti_slice bytes;
    ti_page *page; /* owned until taken */
    _Atomic(bool) page_taken;
    /* of tito_future_then */
    _Atomic(tito_future_callback) callback;
    void *callback_context;
    _Alignas(16) char room[]; /* the arena's first chunk */
};

/* Frees an operation that was not submitted. */
void ti_op_discard(ti_op *op);
/* A new operation with room for size bytes of arguments (see ti_copy_size); NULL when there is no
 * memory. Ended with ti_op_submit. */
ti_op *ti_op_new(ti_db *db, tito_txn_t *txn, const ti_op_kind *kind, size_t size);
/* Copies s into the operation's arena. An empty one stays empty. */
ti_status ti_op_copy(ti_op *op, ti_slice s, ti_slice *out, ti_err *err);
/* The last step of an exported function that returns a future: hands op out with status TI_OK;
 * otherwise a future that has failed with err, which dooms txn (the transaction of a write as the
 * host gave it, else NULL) when the calling thread may use it. op may be NULL then. NULL when there
 * is no memory even for that. */
tito_future_t *ti_op_submit(ti_op *op, ti_db *db, tito_txn_t *txn, ti_status status,
                            const ti_err *err);
/* The core transaction of an operation, or NULL. Inside body. */
ti_txn *ti_op_txn(const ti_op *op);
/* Makes text the operation's bytes when status is OK, and frees text. Returns the status. */
ti_status ti_op_take_text(ti_op *op, ti_buf *text, ti_status status, ti_err *err);

/* The run and destroy of every kind. */
ti_status ti_op_run(void *op, const ti_call *call, ti_err *err);
void ti_op_destroy(void *op);

/* The arena bytes that one copied slice of len bytes takes at most. */
static inline size_t ti_copy_size(size_t len)
{
    return len == 0 ? 0 : (len + 1 + (TI_ARENA_ALIGN - 1)) & ~(size_t)(TI_ARENA_ALIGN - 1);
}

/* While a C host function runs the thread may not call tito: creating an operation answers
 * INVALID_STATE. */
void ti_host_enter(void);
void ti_host_leave(void);

#endif

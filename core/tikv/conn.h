/* A connection to a store: commands over one BatchCommands stream, answers matched by id; rare
 * commands as unary calls.
 *
 *   command:  NEW --submit--> QUEUED --message built--> SENT --answer | stream end--> ENDED
 *             QUEUED, SENT --withdraw--> WITHDRAWN (its answer is dropped)
 *
 * Batching is natural: while one message is on its way, commands queue, and the next message takes
 * them all (up to 128). Answers come in any order and grouping; one with an unknown id belonged to
 * a withdrawn command and is dropped.
 *
 * INVARIANTS
 *  1. A submitted command ends exactly once: answered, failed with its stream, or withdrawn.
 *  2. The end of a stream fails all of its commands, and only those. `sent` tells whether the store
 *     may have seen one.
 *  3. Whatever is queued while a message is on its way is sent by whoever hears that it went, and
 *     never by a thread that only comes back from handing over an earlier one: that may take its
 *     time.
 *  4. No stream is dropped while a message is handed to it, and nothing sent on the next before.
 *  5. The stream is opened by the first submit that finds none; nothing is retried here.
 *
 * Thread rule: any thread. A ti_command belongs to its sender until submit and after its end. */
#ifndef TI_TIKV_CONN_H
#define TI_TIKV_CONN_H

#include "tikv/wire.h"

#define TI_CONN_BATCH_MAX 128
#define TI_CONN_BATCH_SIZE_MAX ((size_t)8 << 20) /* its last command may pass it */
#define TI_CONN_BUCKETS 1024

/* What can be asked of a store: its number in the BatchCommands oneof, the unary method, and
 * whether it goes in batches. */
typedef struct ti_command_kind {
    uint32_t number;
    const char *name;
    const char *method;
    bool batched; /* rare kinds go as unary calls: some servers' batches do not know them */
} ti_command_kind;

typedef enum ti_command_id {
    TI_COMMAND_GET,
    TI_COMMAND_BATCH_GET,
    TI_COMMAND_SCAN,
    TI_COMMAND_PREWRITE,
    TI_COMMAND_COMMIT,
    TI_COMMAND_BATCH_ROLLBACK,
    TI_COMMAND_PESSIMISTIC_LOCK,
    TI_COMMAND_PESSIMISTIC_ROLLBACK,
    TI_COMMAND_CHECK_TXN_STATUS,
    TI_COMMAND_CHECK_SECONDARY_LOCKS,
    TI_COMMAND_TXN_HEART_BEAT,
    TI_COMMAND_RESOLVE_LOCK,
    TI_COMMAND_SCAN_LOCK,
    TI_COMMAND_UNSAFE_DESTROY_RANGE,
    TI_COMMAND_COUNT,
} ti_command_id;

/* Static. */
const ti_command_kind *ti_command_kind_of(ti_command_id id);

typedef struct ti_command ti_command;
struct ti_command {
    /* Set by the sender. */
    ti_command_id kind;
    ti_slice body;   /* the packed request; borrowed until it ends */
    ti_latch *latch; /* counted down at the end */
    int64_t timeout_us;
    /* Set at the end. */
    ti_err err;      /* OK: response holds the packed answer */
    ti_buf response; /* owned by the sender: ti_buf_free */
    bool sent;       /* the store may have seen it */
    /* The connection's own. */
    uint64_t id;
    ti_command *next;
    ti_unary *unary;
    bool ended; /* under the connection's mutex; batched kinds only */
};

typedef struct ti_conn ti_conn;

/* Contacts nobody. address is copied. */
ti_status ti_conn_create(ti_wire *w, const char *address, unsigned lane, ti_conn **conn_out,
                         ti_err *err);
/* Queues a command. On failure it is not submitted (its latch is not counted down). */
ti_status ti_conn_submit(ti_conn *conn, ti_command *command, ti_err *err);
/* Takes a command back: it ends soon (its latch is counted down), with CANCELLED unless it had
 * ended. */
void ti_conn_withdraw(ti_conn *conn, ti_command *command);
/* Frees what a submitted command holds, after its latch has seen its end. */
void ti_conn_release(ti_conn *conn, ti_command *command);
/* Ends the stream, fails every command with CLOSED, frees once the stream has ended. No other call
 * may follow. */
void ti_conn_close(ti_conn *conn);
/* Commands queued or sent. */
size_t ti_conn_pending(ti_conn *conn);

#endif

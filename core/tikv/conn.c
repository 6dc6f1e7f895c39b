/* Connections. See conn.h. */
#include "tikv/conn.h"

#include <string.h>

#include "base/assert.h"
#include "tikv/pb.h"

#define BATCH_METHOD "/tikvpb.Tikv/BatchCommands"
/* Room for tags and lengths of one command in the envelope. */
#define ENVELOPE_SIZE_MAX 64
#define MESSAGE_SIZE_MAX ((size_t)1 << 30)

/* Numbers and names as in tikvpb.proto. */
static const ti_command_kind kinds[TI_COMMAND_COUNT] = {
    [TI_COMMAND_GET] = {1, "Get", "/tikvpb.Tikv/KvGet", true},
    [TI_COMMAND_BATCH_GET] = {7, "BatchGet", "/tikvpb.Tikv/KvBatchGet", true},
    [TI_COMMAND_SCAN] = {2, "Scan", "/tikvpb.Tikv/KvScan", true},
    [TI_COMMAND_PREWRITE] = {3, "Prewrite", "/tikvpb.Tikv/KvPrewrite", true},
    [TI_COMMAND_COMMIT] = {4, "Commit", "/tikvpb.Tikv/KvCommit", true},
    [TI_COMMAND_BATCH_ROLLBACK] = {8, "BatchRollback", "/tikvpb.Tikv/KvBatchRollback", true},
    [TI_COMMAND_PESSIMISTIC_LOCK] = {23, "PessimisticLock", "/tikvpb.Tikv/KvPessimisticLock", true},
    [TI_COMMAND_PESSIMISTIC_ROLLBACK] = {24, "PessimisticRollback",
                                         "/tikvpb.Tikv/KVPessimisticRollback", true},
    [TI_COMMAND_CHECK_TXN_STATUS] = {25, "CheckTxnStatus", "/tikvpb.Tikv/KvCheckTxnStatus", false},
    [TI_COMMAND_CHECK_SECONDARY_LOCKS] = {33, "CheckSecondaryLocks",
                                          "/tikvpb.Tikv/KvCheckSecondaryLocks", false},
    [TI_COMMAND_TXN_HEART_BEAT] = {26, "TxnHeartBeat", "/tikvpb.Tikv/KvTxnHeartBeat", false},
    [TI_COMMAND_RESOLVE_LOCK] = {10, "ResolveLock", "/tikvpb.Tikv/KvResolveLock", false},
    [TI_COMMAND_SCAN_LOCK] = {9, "ScanLock", "/tikvpb.Tikv/KvScanLock", false},
    [TI_COMMAND_UNSAFE_DESTROY_RANGE] = {0, "UnsafeDestroyRange", "/tikvpb.Tikv/UnsafeDestroyRange",
                                         false},
};

const ti_command_kind *ti_command_kind_of(ti_command_id id)
{
    ti_require(id < TI_COMMAND_COUNT);
    return &kinds[id];
}

struct ti_conn {
    ti_wire *wire;
    ti_mutex mutex; /* rank TI_RANK_CONN: all below */
    ti_cond gone;   /* the stream has ended */
    ti_stream *stream;
    uint64_t next_id;
    ti_command *queue_head;
    ti_command *queue_tail;
    ti_command *ended;                 /* whose senders unlock tells */
    ti_command *sent[TI_CONN_BUCKETS]; /* by id, chained */
    _Atomic(size_t) pending;           /* changed under the mutex */
    /* Messages are handed over without the mutex: how many are just now, all to one stream, and
     * that stream when it has ended meanwhile: the last of them drops it. */
    unsigned handing;
    ti_stream *left;
    bool sending; /* a message is on its way */
    bool closing;
    unsigned lane;
    char address[];
};

/* ---- The end of a command ---- */

/* Called with the mutex held, on a command that is in no list; unlock tells its sender. */
static void command_end(ti_conn *conn, ti_command *command)
{
    ti_mutex_assert_held(&conn->mutex);
    ti_require(conn->pending > 0);
    conn->pending--;
    command->ended = true;
    command->next = conn->ended;
    conn->ended = command;
}

/* Gives the mutex back, then wakes the senders of commands that ended meanwhile: nobody wakes up
 * only to wait for it. */
static void unlock(ti_conn *conn)
{
    ti_command *list = conn->ended;
    conn->ended = NULL;
    ti_mutex_unlock(&conn->mutex);
    while (list != NULL) {
        ti_command *c = list;
        list = c->next; /* c is its sender's once its latch is down */
        ti_latch_done(c->latch);
    }
}

static ti_command **bucket_of(ti_conn *conn, uint64_t id)
{
    return &conn->sent[id % TI_CONN_BUCKETS];
}

/* Unlinks the sent command with this id; NULL when there is none. */
static ti_command *take_sent(ti_conn *conn, uint64_t id)
{
    for (ti_command **at = bucket_of(conn, id); *at != NULL; at = &(*at)->next) {
        if ((*at)->id == id) {
            ti_command *command = *at;
            *at = command->next;
            return command;
        }
    }
    return NULL;
}

static bool take_queued(ti_conn *conn, ti_command *command)
{
    ti_command *before = NULL;
    for (ti_command *c = conn->queue_head; c != NULL; before = c, c = c->next) {
        if (c != command)
            continue;
        if (before == NULL)
            conn->queue_head = c->next;
        else
            before->next = c->next;
        if (conn->queue_tail == c)
            conn->queue_tail = before;
        return true;
    }
    return false;
}

/* reached: the store may have seen what was sent. */
static void fail_all(ti_conn *conn, const ti_err *why, bool reached)
{
    for (size_t i = 0; i < TI_CONN_BUCKETS; i++) {
        while (conn->sent[i] != NULL) {
            ti_command *c = conn->sent[i];
            conn->sent[i] = c->next;
            c->err = *why;
            c->sent = reached;
            command_end(conn, c);
        }
    }
    while (conn->queue_head != NULL) {
        ti_command *c = conn->queue_head;
        conn->queue_head = c->next;
        c->err = *why;
        command_end(conn, c);
    }
    conn->queue_tail = NULL;
}

/* ---- Sending ---- */

/* Appends { 1: { number: body } } to message. */
static ti_status put_command(ti_buf *message, const ti_command *c, ti_err *err)
{
    uint32_t number = kinds[c->kind].number;
    size_t tag_size = ti_pb_varint_size((uint64_t)number << 3);
    size_t inner = tag_size + ti_pb_varint_size(c->body.len) + c->body.len;
    TI_TRY(ti_buf_reserve(message, inner + ENVELOPE_SIZE_MAX, err));
    ti_pb_put_tag(message, 1, 2);
    ti_pb_put_varint(message, inner);
    ti_pb_put_tag(message, number, 2);
    ti_pb_put_varint(message, c->body.len);
    return ti_buf_append_slice(message, c->body, err);
}

static ti_status put_ids(ti_buf *message, const uint64_t *ids, size_t count, ti_err *err)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += ti_pb_varint_size(ids[i]);
    TI_TRY(ti_buf_reserve(message, size + ENVELOPE_SIZE_MAX, err));
    ti_pb_put_tag(message, 2, 2);
    ti_pb_put_varint(message, size);
    for (size_t i = 0; i < count; i++)
        ti_pb_put_varint(message, ids[i]);
    return TI_OK;
}

/* Moves up to a batch from the queue into message and the table. */
static ti_status build_message(ti_conn *conn, ti_buf *message, ti_err *err)
{
    uint64_t ids[TI_CONN_BATCH_MAX];
    size_t count = 0;
    while (conn->queue_head != NULL && count < TI_CONN_BATCH_MAX &&
           message->len < TI_CONN_BATCH_SIZE_MAX) {
        ti_command *c = conn->queue_head;
        TI_TRY(put_command(message, c, err));
        conn->queue_head = c->next;
        if (conn->queue_head == NULL)
            conn->queue_tail = NULL;
        c->sent = true;
        c->id = conn->next_id++;
        ti_command **bucket = bucket_of(conn, c->id);
        c->next = *bucket;
        *bucket = c;
        ids[count++] = c->id;
    }
    return put_ids(message, ids, count, err);
}

/* Hands a message to the stream. The mutex is held, but given back meanwhile: nobody who submits
 * waits for the system to take a message. */
static ti_status hand_over(ti_conn *conn, ti_slice message, ti_err *err)
{
    ti_mutex_assert_held(&conn->mutex);
    ti_require(conn->left == NULL);
    ti_stream *stream = conn->stream;
    conn->sending = true;
    conn->handing++;
    ti_mutex_unlock(&conn->mutex);
    ti_status status = conn->wire->vt->send(conn->wire, stream, message, err);
    ti_mutex_lock(&conn->mutex);
    conn->handing--;
    if (conn->left == NULL) {
        conn->sending = conn->sending && status == TI_OK;
        return status;
    }
    ti_require(conn->left == stream); /* its end has failed what was sent */
    if (conn->handing == 0) {
        conn->wire->vt->drop(conn->wire, stream);
        conn->left = NULL;
        ti_cond_broadcast(&conn->gone);
    }
    return TI_OK;
}

/* Sends what is queued when nothing is on its way. Called with the mutex held, which is given back
 * for moments. */
static void send_queued(ti_conn *conn)
{
    ti_status status = TI_OK;
    while (status == TI_OK && !conn->sending && conn->left == NULL && conn->queue_head != NULL &&
           conn->stream != NULL) {
        ti_buf message;
        ti_err err;
        ti_buf_init(&message, MESSAGE_SIZE_MAX);
        status = build_message(conn, &message, &err);
        if (status == TI_OK)
            status = hand_over(conn, ti_buf_slice(&message), &err);
        if (status != TI_OK && status != TI_UNAVAILABLE) /* else the stream's end fails them */
            fail_all(conn, &err, true);
        ti_buf_free(&message);
    }
}

static void on_sent(void *context)
{
    ti_conn *conn = context;
    ti_mutex_lock(&conn->mutex);
    conn->sending = false;
    send_queued(conn);
    unlock(conn);
}

/* ---- Receiving ---- */

/* Gives one answer { number: body } to its command, which is in no list any more. */
static void fill(const ti_conn *conn, ti_command *c, ti_slice answer)
{
    ti_pb_field field;
    ti_err_clear(&c->err);
    ti_status status = ti_pb_next(&answer, &field, &c->err);
    if (status == TI_OK && (field.number != kinds[c->kind].number || field.wire_type != 2))
        status = TI_NOT_FOUND;
    if (status == TI_NOT_FOUND)
        ti_err_set(&c->err, TI_CORRUPT, "%s answered %s with something else", conn->address,
                   kinds[c->kind].name);
    else if (status == TI_OK)
        ti_buf_append_slice(&c->response, field.bytes, &c->err);
}

/* Reads the ids of a response, packed or not. More ids than max: CORRUPT. */
static ti_status read_ids(ti_slice message, uint64_t *ids, size_t max, size_t *count_out,
                          ti_err *err)
{
    size_t count = 0;
    ti_pb_field field;
    ti_status status;
    while ((status = ti_pb_next(&message, &field, err)) == TI_OK) {
        if (field.number != 2)
            continue;
        ti_slice packed = field.bytes;
        do {
            uint64_t id = field.varint;
            if (field.wire_type == 2 && packed.len > 0)
                TI_TRY(ti_pb_varint(&packed, &id, err));
            if (count == max)
                return ti_err_set(err, TI_CORRUPT, "a batch answer has more ids than answers");
            ids[count++] = id;
        } while (field.wire_type == 2 && packed.len > 0);
    }
    *count_out = count;
    return status == TI_NOT_FOUND ? TI_OK : status;
}

/* Also walks the whole message: nothing of a malformed one is taken. */
static ti_status count_answers(ti_slice message, size_t *count_out, ti_err *err)
{
    ti_pb_field field;
    ti_status status;
    *count_out = 0;
    while ((status = ti_pb_next(&message, &field, err)) == TI_OK)
        *count_out += field.number == 1 && field.wire_type == 2;
    return status == TI_NOT_FOUND ? TI_OK : status;
}

/* One answer of a message. */
typedef struct answer {
    ti_slice bytes;
    ti_command *command; /* NULL: it was withdrawn */
} answer;

/* Reads a message; *answers_out is the caller's, NULL when there is none (health feedback alone).
 */
static ti_status read_answers(ti_slice message, answer **answers_out, uint64_t **ids_out,
                              size_t *count_out, ti_err *err)
{
    size_t ids_count = 0;
    size_t at = 0;
    ti_pb_field field;
    TI_TRY(count_answers(message, count_out, err));
    if (*count_out == 0)
        return TI_OK;
    *answers_out = ti_alloc(*count_out * (sizeof(**answers_out) + sizeof(**ids_out)));
    if (*answers_out == NULL)
        return ti_err_no_memory(err);
    *ids_out = (uint64_t *)(*answers_out + *count_out);
    TI_TRY(read_ids(message, *ids_out, *count_out, &ids_count, err));
    if (ids_count != *count_out)
        return ti_err_set(err, TI_CORRUPT, "a batch answer has fewer ids than answers");
    while (at < *count_out && ti_pb_next(&message, &field, err) == TI_OK)
        if (field.number == 1 && field.wire_type == 2)
            (*answers_out)[at++].bytes = field.bytes;
    ti_require(at == *count_out); /* as counted */
    return TI_OK;
}

/* Takes the commands off the list, under the mutex; fills and ends them without it, so that nobody
 * who submits waits for that. */
static void give_answers(ti_conn *conn, answer *answers, const uint64_t *ids, size_t count)
{
    ti_mutex_lock(&conn->mutex);
    for (size_t i = 0; i < count; i++) {
        ti_command *c = answers[i].command = take_sent(conn, ids[i]);
        if (c == NULL)
            continue;
        c->ended = true;
        conn->pending--;
    }
    unlock(conn);
    for (size_t i = 0; i < count; i++) {
        ti_command *c = answers[i].command;
        if (c == NULL)
            continue;
        fill(conn, c, answers[i].bytes);
        ti_latch_done(c->latch); /* c is its sender's again */
    }
}

/* Nothing that comes after a malformed message can be trusted. */
static void end_stream(ti_conn *conn, const ti_err *why)
{
    ti_mutex_lock(&conn->mutex);
    fail_all(conn, why, true);
    if (conn->stream != NULL)
        conn->wire->vt->end(conn->wire, conn->stream);
    unlock(conn);
}

static bool on_message(void *context, ti_slice message)
{
    ti_conn *conn = context;
    ti_err err;
    answer *answers = NULL;
    uint64_t *ids = NULL;
    size_t count = 0;
    ti_err_clear(&err);
    if (read_answers(message, &answers, &ids, &count, &err) != TI_OK)
        end_stream(conn, &err);
    else
        give_answers(conn, answers, ids, count);
    ti_free(answers);
    return ti_conn_pending(conn) > 0;
}

static void on_end(void *context, const ti_err *why)
{
    ti_conn *conn = context;
    ti_mutex_lock(&conn->mutex);
    ti_stream *stream = conn->stream;
    ti_wire *wire = conn->wire;
    bool reached = stream == NULL || wire->vt->reached(wire, stream);
    conn->stream = NULL;
    conn->sending = false;
    if (conn->handing > 0 && conn->left == NULL) { /* else nothing was handed to this one */
        conn->left = stream;
        stream = NULL;
    }
    fail_all(conn, why, reached);
    ti_cond_broadcast(&conn->gone);
    unlock(conn); /* close may free conn from here on */
    if (stream != NULL)
        wire->vt->drop(wire, stream);
}

static const ti_stream_handler handler = {
    .on_sent = on_sent,
    .on_message = on_message,
    .on_end = on_end,
};

/* ---- Unary commands ---- */

static void unary_ended(void *context, ti_slice response, const ti_err *err)
{
    ti_command *c = context;
    c->err = *err;
    if (err->status == TI_OK)
        ti_buf_append_slice(&c->response, response, &c->err);
    ti_latch_done(c->latch);
}

static ti_status submit_unary(ti_conn *conn, ti_command *c, ti_err *err)
{
    c->sent = true;
    return conn->wire->vt->unary(conn->wire, conn->address, kinds[c->kind].method, c->body,
                                 c->timeout_us * 1000, unary_ended, c, &c->unary, err);
}

/* ---- The interface ---- */

ti_status ti_conn_create(ti_wire *w, const char *address, unsigned lane, ti_conn **conn_out,
                         ti_err *err)
{
    *conn_out = NULL;
    size_t len = strlen(address);
    ti_conn *conn = ti_alloc_zero(sizeof(*conn) + len + 1);
    if (conn == NULL)
        return ti_err_no_memory(err);
    memcpy(conn->address, address, len + 1);
    conn->wire = w;
    conn->lane = lane;
    conn->next_id = 1;
    ti_status status = ti_mutex_init(&conn->mutex, TI_RANK_CONN, err);
    if (status != TI_OK) {
        ti_free(conn);
        return status;
    }
    status = ti_cond_init(&conn->gone, err);
    if (status != TI_OK) {
        ti_mutex_destroy(&conn->mutex);
        ti_free(conn);
        return status;
    }
    *conn_out = conn;
    return TI_OK;
}

static void enqueue(ti_conn *conn, ti_command *c)
{
    c->next = NULL;
    if (conn->queue_tail == NULL)
        conn->queue_head = c;
    else
        conn->queue_tail->next = c;
    conn->queue_tail = c;
    conn->pending++;
}

ti_status ti_conn_submit(ti_conn *conn, ti_command *c, ti_err *err)
{
    ti_assert(c->latch != NULL && c->kind < TI_COMMAND_COUNT);
    c->ended = false;
    c->sent = false;
    c->unary = NULL;
    ti_err_clear(&c->err);
    ti_buf_init(&c->response, MESSAGE_SIZE_MAX);
    if (!kinds[c->kind].batched)
        return submit_unary(conn, c, err);
    ti_status status = TI_OK;
    ti_mutex_lock(&conn->mutex);
    if (conn->closing)
        status = ti_err_set(err, TI_CLOSED, "the connection to %s is closed", conn->address);
    else if (conn->stream == NULL)
        status = conn->wire->vt->open(conn->wire, conn->address, conn->lane, BATCH_METHOD, &handler,
                                      conn, &conn->stream, err);
    if (status == TI_OK) {
        enqueue(conn, c);
        send_queued(conn);
    }
    unlock(conn);
    return status;
}

void ti_conn_withdraw(ti_conn *conn, ti_command *c)
{
    if (!kinds[c->kind].batched) {
        conn->wire->vt->cancel(conn->wire, c->unary);
        return;
    }
    ti_mutex_lock(&conn->mutex);
    if (!c->ended) {
        bool was_there = c->sent ? take_sent(conn, c->id) == c : take_queued(conn, c);
        ti_require(was_there);
        ti_err_set(&c->err, TI_CANCELLED, "%s to %s was given up", kinds[c->kind].name,
                   conn->address);
        command_end(conn, c);
    }
    unlock(conn);
}

void ti_conn_release(ti_conn *conn, ti_command *c)
{
    if (c->unary != NULL)
        conn->wire->vt->release(conn->wire, c->unary);
    c->unary = NULL;
    ti_buf_free(&c->response);
}

size_t ti_conn_pending(ti_conn *conn)
{
    return atomic_load(&conn->pending);
}

void ti_conn_close(ti_conn *conn)
{
    ti_err why;
    ti_err_set(&why, TI_CLOSED, "the connection to %s was closed", conn->address);
    ti_mutex_lock(&conn->mutex);
    conn->closing = true;
    fail_all(conn, &why, true);
    if (conn->stream != NULL)
        conn->wire->vt->end(conn->wire, conn->stream);
    unlock(conn);
    ti_mutex_lock(&conn->mutex);
    while (conn->stream != NULL || conn->left != NULL)
        ti_cond_wait(&conn->gone, &conn->mutex);
    unlock(conn);
    ti_cond_destroy(&conn->gone);
    ti_mutex_destroy(&conn->mutex);
    ti_free(conn);
}

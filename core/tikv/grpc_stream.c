/* Message streams over gRPC core. See wire.h.
 *
 *   OPEN --status arrives--> ENDED --last tag--> on_end --drop--> freed
 *
 * Four tags: the start (metadata sent), a send, a receive, the status. Each is outstanding at most
 * once; `pending` counts them. on_end runs with the last one, so nothing of the stream is under way
 * in gRPC any more.
 *
 * Where no message is expected, none is asked for until the next was sent: gRPC gives back the
 * window of a message when the next is asked for, by a packet of its own, but with what is sent
 * when something is. Between a question and the next that is a system call less, here and there. */
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/alloc.h>
#include <string.h>

#include "base/assert.h"
#include "tikv/grpc_int.h"

typedef struct stream_tag {
    ti_tag tag;
    ti_stream *stream;
} stream_tag;

struct ti_stream {
    ti_grpc_link link;
    ti_grpc *wire;
    const ti_stream_handler *handler;
    void *context;
    stream_tag start_tag;
    stream_tag send_tag;
    stream_tag receive_tag;
    stream_tag status_tag;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_byte_buffer *message;
    grpc_status_code code;
    grpc_slice details;
    ti_mutex mutex; /* rank TI_RANK_LEAF: all below */
    unsigned pending;
    bool sending;
    bool receiving;
    bool ended; /* the status has arrived: nothing new is started */
    bool over;  /* on_end has run or runs */
    bool dropped;
    char address[];
};

static void stream_free(ti_stream *s)
{
    ti_mutex_destroy(&s->mutex);
    ti_free(s);
}

/* The last tag has come: tells the owner, and frees the stream when it was dropped. */
static void stream_over(ti_stream *s)
{
    ti_err why;
    ti_grpc_explain(s->code, s->details, s->address, &why);
    if (why.status == TI_OK)
        ti_err_set(&why, TI_UNAVAILABLE, "%s closed the stream", s->address);
    grpc_metadata_array_destroy(&s->initial);
    grpc_metadata_array_destroy(&s->trailing);
    grpc_slice_unref(s->details);
    ti_grpc *g = s->wire;
    if (why.status != TI_CANCELLED) /* else it was ended from here */
        ti_log_write(g->log, TI_LOG_INFO, "stream ended address=%s status=%s: %s", s->address,
                     ti_status_name(why.status), why.message);
    s->handler->on_end(s->context, &why);
    ti_grpc_link_end(g, &s->link);
    ti_mutex_lock(&s->mutex);
    s->over = true;
    bool dropped = s->dropped;
    ti_mutex_unlock(&s->mutex);
    if (dropped)
        stream_free(s);
}

/* One tag less; true when it was the last. */
static bool tag_gone(ti_stream *s)
{
    ti_mutex_lock(&s->mutex);
    ti_require(s->pending > 0);
    s->pending--;
    bool last = s->pending == 0 && s->ended;
    ti_mutex_unlock(&s->mutex);
    return last;
}

/* As for all tags: counted under the mutex, started without it, so that nobody who needs the mutex
 * waits for the system; what is counted keeps the call. gRPC refuses misuse only. */
static void start_receive(ti_stream *s)
{
    grpc_op op;
    ti_mutex_lock(&s->mutex);
    bool starts = !s->ended && !s->receiving;
    s->pending += starts;
    s->receiving = s->receiving || starts;
    ti_mutex_unlock(&s->mutex);
    if (!starts)
        return;
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &s->message;
    TI_TAG_IN(&s->receive_tag.tag);
    ti_require(grpc_call_start_batch(s->link.call, &op, 1, &s->receive_tag.tag, NULL) ==
               GRPC_CALL_OK);
}

/* What was received, for the caller; from here on the next can be. */
static grpc_byte_buffer *take_message(ti_stream *s)
{
    ti_mutex_lock(&s->mutex);
    grpc_byte_buffer *message = s->message;
    s->message = NULL;
    s->receiving = false;
    ti_mutex_unlock(&s->mutex);
    return message;
}

/* Gives a message, which it frees, to the owner. One that can not be read ends the stream. */
static void give_message(ti_stream *s, grpc_byte_buffer *message)
{
    grpc_slice bytes;
    bool more = true;
    if (ti_grpc_read(message, &bytes)) {
        ti_slice text = {.data = (const char *)GRPC_SLICE_START_PTR(bytes),
                         .len = GRPC_SLICE_LENGTH(bytes)};
        more = s->handler->on_message(s->context, text);
        grpc_slice_unref(bytes);
    } else {
        grpc_call_cancel(s->link.call, NULL);
    }
    grpc_byte_buffer_destroy(message);
    if (more)
        start_receive(s);
}

static void on_received(ti_tag *tag, bool ok)
{
    ti_stream *s = ((stream_tag *)tag)->stream;
    grpc_byte_buffer *message = take_message(s);
    if (ok && message != NULL)
        give_message(s, message);
    if (tag_gone(s))
        stream_over(s);
}

static void on_start(ti_tag *tag, bool ok)
{
    (void)ok; /* a failure arrives as the status */
    ti_stream *s = ((stream_tag *)tag)->stream;
    if (tag_gone(s))
        stream_over(s);
}

static void on_sent(ti_tag *tag, bool ok)
{
    ti_stream *s = ((stream_tag *)tag)->stream;
    ti_mutex_lock(&s->mutex);
    s->sending = false;
    ti_mutex_unlock(&s->mutex);
    if (ok)
        s->handler->on_sent(s->context);
    if (tag_gone(s))
        stream_over(s);
}

static void on_status(ti_tag *tag, bool ok)
{
    (void)ok; /* always true for a batch with RECV_STATUS */
    ti_stream *s = ((stream_tag *)tag)->stream;
    ti_mutex_lock(&s->mutex);
    s->ended = true;
    ti_mutex_unlock(&s->mutex);
    if (tag_gone(s))
        stream_over(s);
}

/* Posts metadata, the first receive and the status. Nothing can fail half-way: an error here is a
 * misuse of gRPC. */
static void start_batches(ti_stream *s)
{
    grpc_op ops[2];
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[0].data.recv_status_on_client.trailing_metadata = &s->trailing;
    ops[0].data.recv_status_on_client.status = &s->code;
    ops[0].data.recv_status_on_client.status_details = &s->details;
    s->pending = 2;
    TI_TAG_IN(&s->status_tag.tag);
    TI_TAG_IN(&s->start_tag.tag);
    ti_require(grpc_call_start_batch(s->link.call, ops, 1, &s->status_tag.tag, NULL) ==
               GRPC_CALL_OK);
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[1].data.recv_initial_metadata.recv_initial_metadata = &s->initial;
    ti_require(grpc_call_start_batch(s->link.call, ops, 2, &s->start_tag.tag, NULL) ==
               GRPC_CALL_OK);
    start_receive(s);
}

static ti_stream *stream_create(ti_grpc *g, const char *address, const ti_stream_handler *handler,
                                void *context, ti_err *err)
{
    size_t len = strlen(address);
    ti_stream *s = ti_alloc_zero(sizeof(*s) + len + 1);
    if (s == NULL || ti_mutex_init(&s->mutex, TI_RANK_LEAF, err) != TI_OK) {
        ti_free(s);
        ti_err_no_memory(err);
        return NULL;
    }
    memcpy(s->address, address, len + 1);
    s->wire = g;
    s->handler = handler;
    s->context = context;
    s->start_tag = (stream_tag){.tag = {.run = on_start}, .stream = s};
    s->send_tag = (stream_tag){.tag = {.run = on_sent}, .stream = s};
    s->receive_tag = (stream_tag){.tag = {.run = on_received}, .stream = s};
    s->status_tag = (stream_tag){.tag = {.run = on_status}, .stream = s};
    s->details = grpc_empty_slice();
    grpc_metadata_array_init(&s->initial);
    grpc_metadata_array_init(&s->trailing);
    return s;
}

ti_status ti_grpc_open(ti_wire *w, const char *address, unsigned lane, const char *method,
                       const ti_stream_handler *handler, void *context, ti_stream **stream_out,
                       ti_err *err)
{
    ti_grpc *g = (ti_grpc *)w;
    ti_assert(lane < TI_GRPC_LANES_MAX);
    *stream_out = NULL;
    ti_stream *s = stream_create(g, address, handler, context, err);
    if (s == NULL)
        return TI_OUT_OF_MEMORY;
    ti_status status = ti_grpc_link_start(g, &s->link, address, lane, method,
                                          gpr_inf_future(GPR_CLOCK_MONOTONIC), err);
    if (status != TI_OK) {
        stream_free(s);
        return status;
    }
    *stream_out = s; /* before the batches: handlers may run at once */
    start_batches(s);
    return TI_OK;
}

/* Whether a message may be sent now; from here on it is counted as on its way. */
static ti_status begin_send(ti_stream *s, ti_err *err)
{
    ti_status status = TI_OK;
    ti_mutex_lock(&s->mutex);
    if (s->ended) {
        status = ti_err_set(err, TI_UNAVAILABLE, "the stream to %s has ended", s->address);
    } else if (s->sending) {
        status =
            ti_err_set(err, TI_INVALID_STATE, "a message to %s is still on its way", s->address);
    } else {
        s->sending = true;
        s->pending++;
    }
    ti_mutex_unlock(&s->mutex);
    return status;
}

ti_status ti_grpc_send(ti_wire *w, ti_stream *s, ti_slice message, ti_err *err)
{
    (void)w;
    grpc_op op;
    TI_TRY(begin_send(s, err));
    grpc_slice bytes = grpc_slice_from_copied_buffer(message.data, message.len);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&bytes, 1);
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_SEND_MESSAGE;
    op.data.send_message.send_message = buffer;
    TI_TAG_IN(&s->send_tag.tag);
    ti_require(grpc_call_start_batch(s->link.call, &op, 1, &s->send_tag.tag, NULL) == GRPC_CALL_OK);
    start_receive(s);
    grpc_byte_buffer_destroy(buffer);
    grpc_slice_unref(bytes);
    return TI_OK;
}

void ti_grpc_end(ti_wire *w, ti_stream *s)
{
    (void)w;
    ti_mutex_lock(&s->mutex);
    if (!s->ended)
        grpc_call_cancel(s->link.call, NULL);
    ti_mutex_unlock(&s->mutex);
}

void ti_grpc_drop(ti_wire *w, ti_stream *s)
{
    (void)w;
    ti_mutex_lock(&s->mutex);
    s->dropped = true;
    bool over = s->over;
    ti_mutex_unlock(&s->mutex);
    if (over)
        stream_free(s);
}

bool ti_grpc_reached(ti_wire *w, ti_stream *s)
{
    (void)w;
    /* gRPC answers the target's name until the call has a transport, then "ipv4:…" or the like. */
    char *peer = grpc_call_get_peer(s->link.call);
    bool reached = peer == NULL || strncmp(peer, "ipv", 3) == 0 || strncmp(peer, "unix", 4) == 0;
    gpr_free(peer);
    return reached;
}

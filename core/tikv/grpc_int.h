/* The real wire's inside: one completion queue, channels by address and lane, and the
 * calls under way. Private to grpc_*.c.
 *
 * A call (unary or stream) is in the wire's list from its start until its status has arrived, so
 * that close can cancel all and wait for all. A completion queue tag is a `ti_tag` inside the
 * object it is about; the object lives until its last tag has come. */
#ifndef TI_TIKV_GRPC_INT_H
#define TI_TIKV_GRPC_INT_H

#include <grpc/grpc.h>

#include "tikv/grpc_poll.h"

#define TI_GRPC_LANES_MAX 16

typedef struct ti_tag ti_tag;
struct ti_tag {
    void (*run)(ti_tag *tag, bool ok);
};

/* gRPC is not instrumented, so ThreadSanitizer is told what its completion queue orders: what was
 * written before a tag was handed in is seen by whoever gets it back. */
#if defined(__SANITIZE_THREAD__)
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define TI_TAG_IN(tag) __tsan_release(tag)
#define TI_TAG_OUT(tag) __tsan_acquire(tag)
#else
#define TI_TAG_IN(tag) ((void)(tag))
#define TI_TAG_OUT(tag) ((void)(tag))
#endif

typedef struct ti_grpc_channel ti_grpc_channel;
struct ti_grpc_channel {
    ti_grpc_channel *next;
    grpc_channel *channel;
    unsigned lane;
    char address[]; /* NUL-terminated */
};

/* What a unary call and a stream have in common. */
typedef struct ti_grpc_link ti_grpc_link;
struct ti_grpc_link {
    ti_grpc_link *prev;
    ti_grpc_link *next;
    grpc_call *call;
};

typedef struct ti_grpc_tls ti_grpc_tls;

typedef struct ti_grpc {
    ti_wire base;
    const ti_log *log;
    grpc_completion_queue *queue;
    ti_grpc_tls *tls; /* owned */
    ti_poll poll;
    bool polled;                           /* poll has been started */
    ti_mutex mutex;                        /* rank TI_RANK_WIRE: all below */
    ti_cond idle;                          /* links became empty */
    grpc_channel_credentials *credentials; /* of channels made from now on */
    ti_grpc_channel *channels;
    ti_grpc_link links; /* list head */
    bool closing;
} ti_grpc;

/* Makes a call on the channel of (address, lane) and enters it into the list. CLOSED when the wire
 * closes. */
ti_status ti_grpc_link_start(ti_grpc *g, ti_grpc_link *link, const char *address, unsigned lane,
                             const char *method, gpr_timespec deadline, ti_err *err);
/* Takes it off the list and frees the call: after its status has arrived, or when nothing was
 * started on it. */
void ti_grpc_link_end(ti_grpc *g, ti_grpc_link *link);
/* What a gRPC status says in tito's words, about address. */
void ti_grpc_explain(grpc_status_code code, grpc_slice details, const char *address, ti_err *err);
/* The bytes of a received message in one piece; free with grpc_slice_unref. */
bool ti_grpc_read(grpc_byte_buffer *buffer, grpc_slice *slice_out);
gpr_timespec ti_grpc_timeout(int64_t timeout_ns);

/* grpc_tls.c: the credentials that the options ask for, insecure ones without TLS.
 * INVALID_ARGUMENT says what is wrong with them. */
ti_status ti_grpc_tls_create(const ti_env *env, const ti_wire_options *options,
                             ti_grpc_tls **tls_out, grpc_channel_credentials **credentials_out,
                             ti_err *err);
void ti_grpc_tls_free(ti_grpc_tls *tls); /* NULL is allowed */
/* The name to expect in certificates; NULL: the host's. Borrowed from tls. */
const char *ti_grpc_tls_server_name(const ti_grpc_tls *tls);
/* New credentials, the caller's, when the files hold others than before; else NULL. Reads files. */
grpc_channel_credentials *ti_grpc_tls_look(ti_grpc_tls *tls);
/* Why address can not be used, as ti_tls_probe; one caller asks, the others get what is known. */
ti_status ti_grpc_tls_diagnose(ti_grpc_tls *tls, const char *address, const ti_call *call,
                               ti_err *err);

ti_status ti_grpc_unary(ti_wire *w, const char *address, const char *method, ti_slice request,
                        int64_t timeout_ns, ti_unary_done done, void *context, ti_unary **call_out,
                        ti_err *err);
void ti_grpc_cancel(ti_wire *w, ti_unary *call);
void ti_grpc_release(ti_wire *w, ti_unary *call);
ti_status ti_grpc_open(ti_wire *w, const char *address, unsigned lane, const char *method,
                       const ti_stream_handler *handler, void *context, ti_stream **stream_out,
                       ti_err *err);
ti_status ti_grpc_send(ti_wire *w, ti_stream *s, ti_slice message, ti_err *err);
void ti_grpc_end(ti_wire *w, ti_stream *s);
void ti_grpc_drop(ti_wire *w, ti_stream *s);
bool ti_grpc_reached(ti_wire *w, ti_stream *s);

#endif

/* The wire seam: unary calls and message streams to an address, and the waits for their answers.
 * Everything of the TiKV engine that leaves the process or sleeps goes through a ti_wire, so that a
 * simulator or a fault injector can stand in.
 *
 *   unary:   start --answer | failure | cancel--> done (exactly once)
 *   stream:  open --message*--> end (exactly once, the last event)
 *
 * INVARIANTS
 *  1. Handlers run on the wire's threads, one at a time for one unary call or stream, never before
 *     the call that made it returns... except in a simulator, which may run them inside `wait`.
 *  2. Handlers do not block and do not call `wait`.
 *  3. A stream takes one message at a time: the next only after on_sent.
 *  4. After close no handler runs and no thread of the wire is left.
 *  5. Status of a failed call: UNAVAILABLE (refused, broken, reset), TIMEOUT (its deadline),
 *     CANCELLED, LIMIT_EXCEEDED, UNSUPPORTED (no such method), INVALID_ARGUMENT (TLS refused, bad
 *     address), INTERNAL. The wire never retries by itself. */
#ifndef TI_TIKV_WIRE_H
#define TI_TIKV_WIRE_H

#include <stdatomic.h>

#include "base/env.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"

typedef struct ti_wire ti_wire;
typedef struct ti_unary ti_unary;
typedef struct ti_stream ti_stream;

/* A count of answers still to come. Waiting threads sleep on it through the wire. */
typedef struct ti_latch {
    ti_word open; /* and TI_LATCH_SLEEPS: somebody sleeps on it */
} ti_latch;

#define TI_LATCH_SLEEPS (UINT32_C(1) << 31)

void ti_latch_init(ti_latch *latch, size_t open);
void ti_latch_add(ti_latch *latch, size_t count);
/* Counts down by one. The latch's memory is its owner's again as soon as it was seen at 0. @thread
 * any */
void ti_latch_done(ti_latch *latch);
size_t ti_latch_open(const ti_latch *latch);
/* Sleeps until the latch is down, or env's clock shows deadline_ns; may wake early. */
void ti_latch_sleep(ti_latch *latch, const ti_env *env, int64_t deadline_ns);

/* From hold to release, ti_latch_done in this thread notes who sleeps instead of waking him;
 * release wakes them all. So whoever takes many answers off the wire does it in one go: a caller
 * that is woken takes the processor from him, and asks the next on its own. At most TI_WAKES_MAX
 * are noted (held tells how many); those beyond are woken at once. */
#define TI_WAKES_MAX 64
void ti_wakes_hold(void);
size_t ti_wakes_held(void);
void ti_wakes_release(void);

/* The end of a unary call: response is borrowed for the call when err->status is OK. */
typedef void (*ti_unary_done)(void *context, ti_slice response, const ti_err *err);

typedef struct ti_stream_handler {
    void (*on_sent)(void *context);
    /* message is borrowed for the call. false: no other is expected before something is sent, so
     * that the next is looked for only then (one that comes unasked waits until then). */
    bool (*on_message)(void *context, ti_slice message);
    void (*on_end)(void *context, const ti_err *why); /* why->status is never OK */
} ti_stream_handler;

typedef struct ti_wire_vt {
    uint32_t version; /* 1 */
    /* Sends request to method ("/pdpb.PD/GetMembers") at address ("host:port"). When it returns OK,
     * done is called exactly once, and *call_out is the caller's to release; otherwise done is not
     * called. */
    ti_status (*unary)(ti_wire *w, const char *address, const char *method, ti_slice request,
                       int64_t timeout_ns, ti_unary_done done, void *context, ti_unary **call_out,
                       ti_err *err);
    /* Asks a call to end with CANCELLED; nothing when it has ended. release frees it after done
     * (also from inside it). */
    void (*cancel)(ti_wire *w, ti_unary *call);
    void (*release)(ti_wire *w, ti_unary *call);

    /* Opens a stream on connection number `lane` of the address. handler is borrowed for ever
     * (static); context until on_end. */
    ti_status (*open)(ti_wire *w, const char *address, unsigned lane, const char *method,
                      const ti_stream_handler *handler, void *context, ti_stream **stream_out,
                      ti_err *err);
    /* Sends one message (copied). INVALID_STATE when the last is not on its way yet; UNAVAILABLE
     * when the stream has ended. */
    ti_status (*send)(ti_wire *w, ti_stream *s, ti_slice message, ti_err *err);
    /* Ends the stream: on_end follows, unless it has run. */
    void (*end)(ti_wire *w, ti_stream *s);
    /* Frees a stream after its on_end (also from inside it). */
    void (*drop)(ti_wire *w, ti_stream *s);

    /* Closes the connections to an address, so that the next call resolves its name anew. */
    void (*forget)(ti_wire *w, const char *address);

    /* Waits until the latch is at 0 or until deadline_ns of env's monotonic clock; also returns now
     * and then. true when it is at 0. */
    bool (*wait)(ti_wire *w, ti_latch *latch, int64_t deadline_ns);
    void (*sleep)(ti_wire *w, int64_t ns);
    /* Ends everything under way, joins the threads, frees. */
    void (*close)(ti_wire *w);
    /* Inside on_end: false when the stream never had a connection, so that nothing sent on it can
     * have arrived. */
    bool (*reached)(ti_wire *w, ti_stream *s);
    /* Looks whether what connections are made with (TLS files) has changed. Called by threads that
     * may block, holding no mutex, before they send. Or NULL. */
    void (*refresh)(ti_wire *w);
    /* Finds out in words why no connection to an address can be used: INVALID_ARGUMENT with them,
     * or OK when nothing was found. Blocks for a while, at most until the call's deadline. Or NULL.
     */
    ti_status (*diagnose)(ti_wire *w, const char *address, const ti_call *call, ti_err *err);
} ti_wire_vt;

struct ti_wire {
    const ti_wire_vt *vt;
    const ti_env *env;          /* borrowed */
    _Atomic(uint64_t) *retries; /* counts by ti_backoff_kind, or NULL; borrowed */
};

/* TLS. ca, cert and key are PEM text, or the path of a file with it, which is looked at again: a
 * file that has changed is used for new connections. All empty: no TLS. With one of them there is
 * TLS or an error: ca is needed, cert and key come together or not at all. */
typedef struct ti_wire_tls {
    ti_slice ca;
    ti_slice cert;
    ti_slice key;
    ti_slice server_name; /* the name to expect in the certificate, when not the host's; or empty */
} ti_wire_tls;

typedef struct ti_wire_options {
    ti_wire_tls tls;
    const ti_log *log;
} ti_wire_options;

/* The real wire over gRPC core. tls is copied, log borrowed. INVALID_ARGUMENT: what is wrong with
 * the certificates. */
ti_status ti_wire_grpc_open(const ti_env *env, const ti_wire_options *options, ti_wire **wire_out,
                            ti_err *err);

/* A blocking unary call: sends, waits within timeout_us and call, and copies the answer into the
 * arena. */
ti_status ti_wire_call(ti_wire *w, const char *address, const char *method, ti_slice request,
                       int64_t timeout_us, const ti_call *call, ti_arena *a, ti_slice *response_out,
                       ti_err *err);
/* Before something is sent, where the caller may block: see refresh. */
static inline void ti_wire_refresh(ti_wire *w)
{
    if (w->vt->refresh != NULL)
        w->vt->refresh(w);
}
/* What the error of a call has in its text that never had a connection. */
#define TI_WIRE_UNREACHED "can not be reached"
/* After a call to address failed as why says, without ever having had a connection: puts the cause
 * in words into why, where the wire finds one. true: it did, and time alone will not heal it. */
bool ti_wire_diagnose(ti_wire *w, const char *address, const ti_call *call, ti_err *why);
/* Waits for a latch within the call; wakes now and then to see a cancel. OK, TIMEOUT or CANCELLED.
 */
ti_status ti_wire_wait(ti_wire *w, ti_latch *latch, const ti_call *call, const char *what,
                       ti_err *err);

#endif

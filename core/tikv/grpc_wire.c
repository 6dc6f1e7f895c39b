/* The real wire: gRPC core's completion queue, the channels, the end. See wire.h and
 * grpc_int.h.
 *
 * Channel arguments (source: the protocol reference, section 6.1): local subchannel pools, or equal
 * channels would share one connection; no transparent retries, or a commit could be sent twice
 * unseen; no proxy from the environment; keepalive only while streams are open, since PD answers
 * pings without a stream with GOAWAY; answers of any size. */
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "tikv/grpc_int.h"
#include "tikv/said.h"

#define KEEPALIVE_TIME_MS 10000
#define KEEPALIVE_TIMEOUT_MS 3000
#define RECONNECT_FIRST_MS 100
/* What gRPC calls the minimal backoff is the time that an attempt to connect gets. */
#define CONNECT_WITHIN_MS 5000
#define RECONNECT_MAX_MS 3000
#define CHANNEL_ARGS_MAX 18
/* What a store may send ahead of the reader on one stream. Fixed and large, as client-go's, so that
 * there is no ping and seldom a window update per answer. */
#define WINDOW_SIZE (16 << 20)
/* A buffer that connections are read into, at least: what does not fit into its rest is taken in two
 * pieces. */
#define READ_SIZE_MIN (32 << 10)

/* gRPC itself is one per process, and its threads are not in a forked child: how many wires are
 * open and whose they are. What a child inherits open can not be used there, nor opened beside. */
static _Atomic(int32_t) wires_open;
static _Atomic(int32_t) wires_pid;

/* gRPC writes what it thinks of a failed handshake to stderr, which is the host's; errors of ours
 * say it in words. Whoever sets GRPC_VERBOSITY, or uses gRPC himself in this process, is left
 * alone. */
static void quieten_grpc(void)
{
    if (grpc_is_initialized() == 0 && !ti_env_has_variable("GRPC_VERBOSITY"))
        gpr_set_log_verbosity((gpr_log_severity)(GPR_LOG_SEVERITY_ERROR + 1));
}

/* Counts one more wire. FORKED in a child of a process that has some open. */
static ti_status join_grpc(ti_err *err)
{
    int32_t pid = (int32_t)getpid();
    if (atomic_load(&wires_open) > 0 && atomic_load(&wires_pid) != pid)
        return ti_err_set(err, TI_FORKED,
                          "a process that has a TiKV database open was forked: in the child no "
                          "other can be opened; open databases after the fork, or close them "
                          "before it");
    atomic_store(&wires_pid, pid);
    atomic_fetch_add(&wires_open, 1);
    quieten_grpc();
    grpc_init();
    return TI_OK;
}

static void leave_grpc(void)
{
    grpc_shutdown();
    atomic_fetch_sub(&wires_open, 1);
}

gpr_timespec ti_grpc_timeout(int64_t timeout_ns)
{
    if (timeout_ns == TI_NO_DEADLINE)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_nanos(timeout_ns, GPR_TIMESPAN));
}

static grpc_arg int_arg(const char *name, int value)
{
    grpc_arg arg = {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)name};
    arg.value.integer = value;
    return arg;
}

static grpc_channel *channel_create(const ti_grpc *g, const char *address, unsigned lane)
{
    grpc_arg list[CHANNEL_ARGS_MAX] = {
        int_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
        int_arg("tito.lane", (int)lane),
        int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_TIME_MS),
        int_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_MS),
        int_arg(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
        int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, -1),
        int_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1),
        int_arg(GRPC_ARG_ENABLE_RETRIES, 0),
        int_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, RECONNECT_FIRST_MS),
        int_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_WITHIN_MS),
        int_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, RECONNECT_MAX_MS),
        int_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        int_arg(GRPC_ARG_ENABLE_CHANNELZ, 0),
        int_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0),
        int_arg(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, WINDOW_SIZE),
        int_arg(GRPC_ARG_TCP_MIN_READ_CHUNK_SIZE, READ_SIZE_MIN),
    };
    size_t count = 16;
    if (ti_grpc_tls_server_name(g->tls) != NULL) {
        list[count].type = GRPC_ARG_STRING;
        list[count].key = (char *)(uintptr_t)GRPC_SSL_TARGET_NAME_OVERRIDE_ARG;
        list[count].value.string = (char *)(uintptr_t)ti_grpc_tls_server_name(g->tls);
        count++;
    }
    grpc_channel_args args = {.num_args = count, .args = list};
    return grpc_channel_create(address, g->credentials, &args);
}

/* The channel of (address, lane), made when there is none. Called with the mutex held; NULL when
 * there is no memory. */
static grpc_channel *channel_of(ti_grpc *g, const char *address, unsigned lane)
{
    ti_mutex_assert_held(&g->mutex);
    for (ti_grpc_channel *c = g->channels; c != NULL; c = c->next) {
        if (c->lane == lane && strcmp(c->address, address) == 0)
            return c->channel;
    }
    size_t len = strlen(address);
    ti_grpc_channel *c = ti_alloc(sizeof(*c) + len + 1);
    if (c == NULL)
        return NULL;
    memcpy(c->address, address, len + 1);
    c->lane = lane;
    c->channel = channel_create(g, address, lane);
    c->next = g->channels;
    g->channels = c;
    return c->channel;
}

ti_status ti_grpc_link_start(ti_grpc *g, ti_grpc_link *link, const char *address, unsigned lane,
                             const char *method, gpr_timespec deadline, ti_err *err)
{
    ti_status status = TI_OK;
    ti_mutex_lock(&g->mutex);
    grpc_channel *channel = g->closing ? NULL : channel_of(g, address, lane);
    if (channel != NULL) {
        link->call =
            grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, g->queue,
                                     grpc_slice_from_static_string(method), NULL, deadline, NULL);
        link->prev = g->links.prev;
        link->next = &g->links;
        link->prev->next = link;
        link->next->prev = link;
    } else if (g->closing) {
        status = ti_err_set(err, TI_CLOSED, "the connection to the cluster is closed");
    } else {
        status = ti_err_no_memory(err);
    }
    ti_mutex_unlock(&g->mutex);
    return status;
}

void ti_grpc_link_end(ti_grpc *g, ti_grpc_link *link)
{
    grpc_call *call = link->call;
    ti_mutex_lock(&g->mutex); /* off the list first: close cancels what it finds there */
    link->prev->next = link->next;
    link->next->prev = link->prev;
    if (g->links.next == &g->links)
        ti_cond_broadcast(&g->idle);
    ti_mutex_unlock(&g->mutex);
    grpc_call_unref(call); /* the queue that it reports to outlives it: close joins this thread */
}

static ti_status status_of_code(grpc_status_code code)
{
    switch (code) {
    case GRPC_STATUS_OK:
        return TI_OK;
    case GRPC_STATUS_CANCELLED:
        return TI_CANCELLED;
    case GRPC_STATUS_DEADLINE_EXCEEDED:
        return TI_TIMEOUT;
    case GRPC_STATUS_RESOURCE_EXHAUSTED:
        return TI_LIMIT_EXCEEDED;
    case GRPC_STATUS_UNIMPLEMENTED:
        return TI_UNSUPPORTED;
    case GRPC_STATUS_PERMISSION_DENIED:
    case GRPC_STATUS_UNAUTHENTICATED:
        return TI_INVALID_ARGUMENT;
    default:
        return TI_UNAVAILABLE;
    }
}

/* What gRPC says of an address that it has no connection to, without its own wrapping; NULL: text
 * is an answer. */
static const char *cause_of(const char *text)
{
    static const char resolution[] = "DNS resolution failed";
    static const char last[] = "last error: ";
    if (strncmp(text, resolution, sizeof(resolution) - 1) == 0)
        return text;
    const char *from = strncmp(text, "failed to connect", 17) == 0 ? strstr(text, last) : NULL;
    if (from == NULL)
        return NULL;
    from += sizeof(last) - 1; /* "UNKNOWN: ipv4:127.0.0.1:1: Connection refused" */
    const char *address = strstr(from, ": ipv");
    const char *behind = address == NULL ? NULL : strstr(address + 2, ": ");
    return behind == NULL ? from : behind + 2;
}

void ti_grpc_explain(grpc_status_code code, grpc_slice details, const char *address, ti_err *err)
{
    ti_status status = status_of_code(code);
    if (status == TI_OK) {
        ti_err_clear(err);
        return;
    }
    char *text = grpc_slice_to_c_string(details);
    const char *cause = cause_of(text);
    if (code == GRPC_STATUS_DEADLINE_EXCEEDED)
        ti_err_set(err, status, "%s did not answer in time", address);
    else if (cause != NULL)
        ti_err_set(err, status, "%s " TI_WIRE_UNREACHED ": %s", address, cause);
    else
        ti_err_set(err, status, "%s answered with gRPC status %d: %s", address, (int)code,
                   ti_said_by(text).text);
    gpr_free(text);
}

bool ti_grpc_read(grpc_byte_buffer *buffer, grpc_slice *slice_out)
{
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, buffer))
        return false;
    *slice_out = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    return true;
}

/* Destroys channels that are off the list; calls under way keep them. */
static void free_channels(ti_grpc_channel *list)
{
    while (list != NULL) {
        ti_grpc_channel *next = list->next;
        grpc_channel_destroy(list->channel);
        ti_free(list);
        list = next;
    }
}

static void wire_forget(ti_wire *w, const char *address)
{
    ti_grpc *g = (ti_grpc *)w;
    ti_grpc_channel *gone = NULL;
    ti_mutex_lock(&g->mutex);
    for (ti_grpc_channel **at = &g->channels; *at != NULL;) {
        ti_grpc_channel *c = *at;
        if (strcmp(c->address, address) == 0) {
            *at = c->next;
            c->next = gone;
            gone = c;
        } else {
            at = &c->next;
        }
    }
    ti_mutex_unlock(&g->mutex);
    free_channels(gone);
}

/* Changed TLS files: channels made from now on use them, and what is called next makes new ones. */
static void wire_refresh(ti_wire *w)
{
    ti_grpc *g = (ti_grpc *)w;
    grpc_channel_credentials *fresh = ti_grpc_tls_look(g->tls);
    if (fresh == NULL)
        return;
    ti_mutex_lock(&g->mutex);
    grpc_channel_credentials *old = g->credentials;
    ti_grpc_channel *gone = g->channels;
    g->credentials = fresh;
    g->channels = NULL;
    ti_mutex_unlock(&g->mutex);
    free_channels(gone);
    grpc_channel_credentials_release(old);
}

static ti_status wire_diagnose(ti_wire *w, const char *address, const ti_call *call, ti_err *err)
{
    return ti_grpc_tls_diagnose(((ti_grpc *)w)->tls, address, call, err);
}

static bool wire_wait(ti_wire *w, ti_latch *latch, int64_t deadline_ns)
{
    return ti_poll_wait(&((ti_grpc *)w)->poll, latch, deadline_ns);
}

static void wire_sleep(ti_wire *w, int64_t ns)
{
    w->env->sleep_ns(w->env, ns);
}

/* Cancels what is under way and waits until its last event has come. */
static void end_calls(ti_grpc *g)
{
    ti_mutex_lock(&g->mutex);
    g->closing = true;
    for (ti_grpc_link *l = g->links.next; l != &g->links; l = l->next)
        grpc_call_cancel(l->call, NULL);
    while (g->links.next != &g->links)
        ti_cond_wait(&g->idle, &g->mutex);
    ti_mutex_unlock(&g->mutex);
}

static void destroy_locks(ti_grpc *g)
{
    ti_cond_destroy(&g->idle);
    ti_mutex_destroy(&g->mutex);
}

static void wire_close(ti_wire *w)
{
    ti_grpc *g = (ti_grpc *)w;
    if (g->polled)
        ti_poll_close(&g->poll);
    end_calls(g);
    free_channels(g->channels);
    grpc_completion_queue_shutdown(g->queue);
    if (g->polled)
        ti_poll_join(&g->poll);
    else
        grpc_completion_queue_next(g->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_completion_queue_destroy(g->queue);
    grpc_channel_credentials_release(g->credentials);
    ti_grpc_tls_free(g->tls);
    destroy_locks(g);
    ti_free(g);
    leave_grpc();
}

static const ti_wire_vt grpc_vt = {
    .version = 1,
    .unary = ti_grpc_unary,
    .cancel = ti_grpc_cancel,
    .release = ti_grpc_release,
    .open = ti_grpc_open,
    .send = ti_grpc_send,
    .end = ti_grpc_end,
    .drop = ti_grpc_drop,
    .forget = wire_forget,
    .wait = wire_wait,
    .sleep = wire_sleep,
    .close = wire_close,
    .reached = ti_grpc_reached,
    .refresh = wire_refresh,
    .diagnose = wire_diagnose,
};

static ti_status init_locks(ti_grpc *g, ti_err *err)
{
    TI_TRY(ti_mutex_init(&g->mutex, TI_RANK_WIRE, err));
    ti_status status = ti_cond_init(&g->idle, err);
    if (status != TI_OK)
        ti_mutex_destroy(&g->mutex);
    return status;
}

ti_status ti_wire_grpc_open(const ti_env *env, const ti_wire_options *options, ti_wire **wire_out,
                            ti_err *err)
{
    *wire_out = NULL;
    ti_grpc *g = ti_alloc_zero(sizeof(*g));
    if (g == NULL)
        return ti_err_no_memory(err);
    g->base.vt = &grpc_vt;
    g->base.env = env;
    g->log = options->log;
    g->links.prev = g->links.next = &g->links;
    ti_status status = init_locks(g, err);
    if (status != TI_OK) {
        ti_free(g);
        return status;
    }
    status = join_grpc(err);
    if (status != TI_OK) {
        destroy_locks(g);
        ti_free(g);
        return status;
    }
    g->queue = grpc_completion_queue_create_for_next(NULL);
    status = ti_grpc_tls_create(env, options, &g->tls, &g->credentials, err);
    if (status == TI_OK)
        status = ti_poll_start(&g->poll, env, g->queue, err);
    g->polled = status == TI_OK;
    if (status != TI_OK) {
        wire_close(&g->base);
        return status;
    }
    *wire_out = &g->base;
    return TI_OK;
}

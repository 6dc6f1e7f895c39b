/* Timestamps over one stream. See tso.h. */
#include "tikv/tso.h"

#include <string.h>

#include "base/assert.h"
#include "pdpb.pb-c.h"
#include "tikv/pb.h"
#include "tikv/said.h"

#define TSO_METHOD "/pdpb.PD/Tso"
#define BATCH_MAX 10000
/* A request goes out while fewer timestamps than that are on their way, so that a few callers never
 * wait for each other, and many share: then one request is on its way, and those who come meanwhile
 * are the next. */
#define IN_FLIGHT_FEW 4
#define BATCHES_MAX IN_FLIGHT_FEW
/* Where many requests are under way, a transaction takes as long as they all do: waiting for a
 * share of the others costs it about that share, and saves PD most requests. */
#define COMPANY_SHARE 6
#define COMPANY_MAX 64
#define COMPANY_WAIT_NS INT64_C(1000000)
#define LOGICAL_BITS 18

typedef struct waiter waiter;
struct waiter {
    waiter *next;
    ti_latch latch;
    uint64_t ts;
    ti_err err;
    bool first; /* it found an empty queue: it hurries those who come behind it */
    bool sent;
    bool ended;
};

/* A request on its way: how many timestamps it asked for, and who still waits for them. */
typedef struct batch {
    uint32_t count;
    waiter *waiters;
} batch;

struct ti_tso {
    ti_wire *wire;
    ti_mutex mutex; /* rank TI_RANK_CONN: all below */
    ti_cond gone;   /* the stream has ended */
    ti_stream *stream;
    const _Atomic(int64_t) *busy; /* requests to stores under way; or NULL */
    size_t queued;
    bool due; /* the queue has waited for company long enough */
    waiter *queue_head;
    waiter *queue_tail;
    waiter *ended;              /* to be woken by unlock */
    batch batches[BATCHES_MAX]; /* a ring, oldest first */
    size_t batch_first;
    size_t batch_count;
    uint32_t in_flight; /* timestamps asked for and not answered */
    uint64_t cluster_id;
    uint64_t last;
    uint64_t requests;
    uint64_t timestamps;
    bool sending;
    bool broken; /* the stream is being ended: an answer on it may be older than its question */
    bool closing;
};

/* Ends a waiter: unlock wakes it. */
static void waiter_end(ti_tso *t, waiter *w)
{
    ti_assert(!w->ended);
    w->ended = true;
    w->next = t->ended;
    t->ended = w;
}

static void end_list(ti_tso *t, waiter *list, const ti_err *why)
{
    while (list != NULL) {
        waiter *w = list;
        list = w->next;
        w->err = *why;
        waiter_end(t, w);
    }
}

/* Gives the mutex back, then wakes who was ended meanwhile: nobody wakes up only to wait for it. */
static void unlock(ti_tso *t)
{
    waiter *list = t->ended;
    t->ended = NULL;
    ti_mutex_unlock(&t->mutex);
    while (list != NULL) {
        waiter *w = list;
        list = w->next; /* w is gone once its latch is down */
        ti_latch_done(&w->latch);
    }
}

static void fail_all(ti_tso *t, const ti_err *why)
{
    for (; t->batch_count > 0; t->batch_count--) {
        end_list(t, t->batches[t->batch_first].waiters, why);
        t->batch_first = (t->batch_first + 1) % BATCHES_MAX;
    }
    t->in_flight = 0;
    end_list(t, t->queue_head, why);
    t->queue_head = t->queue_tail = NULL;
    t->queued = 0;
    t->due = false;
}

static ti_status send_request(ti_tso *t, uint32_t count, ti_err *err)
{
    ti_arena a;
    ti_arena_init(&a);
    Pdpb__RequestHeader header = PDPB__REQUEST_HEADER__INIT;
    Pdpb__TsoRequest request = PDPB__TSO_REQUEST__INIT;
    header.cluster_id = t->cluster_id;
    request.header = &header;
    request.count = count;
    request.dc_location = (char *)(uintptr_t) "global";
    ti_slice bytes = ti_pb_pack(&request.base, &a);
    ti_status status = bytes.data == NULL ? ti_err_no_memory(err)
                                          : t->wire->vt->send(t->wire, t->stream, bytes, err);
    ti_arena_free(&a);
    return status;
}

/* Whether a request is worth while: enough callers share it, or one will not wait longer. */
static bool has_company(const ti_tso *t)
{
    int64_t wanted = t->busy == NULL ? 0 : atomic_load(t->busy) / COMPANY_SHARE;
    wanted = wanted < COMPANY_MAX ? wanted : COMPANY_MAX;
    return t->due || (int64_t)t->queued >= wanted;
}

/* Sends one request for all queued callers, unless enough is on its way or more are to be expected.
 * Called with the mutex held. */
static void send_queued(ti_tso *t)
{
    ti_mutex_assert_held(&t->mutex);
    if (t->sending || t->broken || t->queue_head == NULL || t->stream == NULL ||
        t->in_flight >= IN_FLIGHT_FEW || !has_company(t))
        return;
    batch *b = &t->batches[(t->batch_first + t->batch_count) % BATCHES_MAX];
    b->count = 0;
    b->waiters = t->queue_head;
    waiter *last = NULL;
    while (t->queue_head != NULL && b->count < BATCH_MAX) {
        last = t->queue_head;
        t->queue_head = last->next;
        last->sent = true;
        t->queued--;
        b->count++;
    }
    last->next = NULL;
    t->due = t->queue_head != NULL; /* nobody hurries those any more */
    if (t->queue_head == NULL)
        t->queue_tail = NULL;
    t->batch_count++;
    t->in_flight += b->count;
    t->sending = true;
    t->requests++;
    ti_err err;
    ti_status status = send_request(t, b->count, &err);
    if (status != TI_OK) {
        t->sending = false;
        if (status != TI_UNAVAILABLE) /* else the end of the stream fails them */
            fail_all(t, &err);
    }
}

static void on_sent(void *context)
{
    ti_tso *t = context;
    ti_mutex_lock(&t->mutex);
    t->sending = false;
    send_queued(t);
    unlock(t);
}

/* Reads a reply and checks it against the oldest request. */
static ti_status read_reply(ti_tso *t, ti_slice message, uint64_t *first_out, ti_err *err)
{
    ti_arena a;
    ti_arena_init(&a);
    ti_status status = TI_OK;
    Pdpb__TsoResponse *r = ti_pb_unpack(&pdpb__tso_response__descriptor, message, &a, err);
    if (r == NULL) {
        status = err->status;
    } else if (r->header != NULL && r->header->error != NULL &&
               r->header->error->type != PDPB__ERROR_TYPE__OK) {
        status = ti_err_set(err, TI_UNAVAILABLE, "PD gives no timestamp: %s",
                            ti_said_by(r->header->error->message).text);
    } else if (t->batch_count == 0 || r->timestamp == NULL ||
               r->count != t->batches[t->batch_first].count) {
        status = ti_err_set(err, TI_UNAVAILABLE,
                            "PD answered with another number of timestamps than asked for");
    } else {
        uint64_t last =
            ((uint64_t)r->timestamp->physical << LOGICAL_BITS) + (uint64_t)r->timestamp->logical;
        *first_out = last - r->count + 1;
        if (*first_out <= t->last)
            status = ti_err_set(err, TI_UNAVAILABLE, "PD's timestamps went backwards");
        else
            t->last = last;
    }
    ti_arena_free(&a);
    return status;
}

static bool on_message(void *context, ti_slice message)
{
    ti_tso *t = context;
    ti_err err;
    uint64_t ts = 0;
    ti_mutex_lock(&t->mutex);
    ti_stream *stream = t->stream;
    if (t->broken) {
        unlock(t);
        return true; /* its end */
    }
    if (read_reply(t, message, &ts, &err) != TI_OK) {
        fail_all(t, &err);
        t->broken = true;
        if (stream != NULL)
            t->wire->vt->end(t->wire, stream);
    } else {
        const batch *b = &t->batches[t->batch_first];
        waiter *list = b->waiters;
        t->in_flight -= b->count;
        t->batch_first = (t->batch_first + 1) % BATCHES_MAX;
        t->batch_count--;
        while (list != NULL) {
            waiter *w = list;
            list = w->next;
            w->ts = ts++;
            t->timestamps++;
            waiter_end(t, w);
        }
        send_queued(t);
    }
    bool more = t->batch_count > 0;
    unlock(t);
    return more;
}

static void on_end(void *context, const ti_err *why)
{
    ti_tso *t = context;
    ti_mutex_lock(&t->mutex);
    ti_stream *stream = t->stream;
    ti_wire *wire = t->wire;
    t->stream = NULL;
    t->sending = false;
    t->broken = false;
    fail_all(t, why);
    ti_cond_broadcast(&t->gone);
    unlock(t); /* close may free t from here on */
    if (stream != NULL)
        wire->vt->drop(wire, stream);
}

static const ti_stream_handler handler = {
    .on_sent = on_sent,
    .on_message = on_message,
    .on_end = on_end,
};

static bool unlink_waiter(waiter **list, waiter *w)
{
    for (waiter **at = list; *at != NULL; at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            return true;
        }
    }
    return false;
}

/* Ends the stream. Called with the mutex held. */
static void end_stream(ti_tso *t)
{
    ti_mutex_assert_held(&t->mutex);
    if (t->stream == NULL)
        return;
    t->broken = true;
    t->wire->vt->end(t->wire, t->stream);
}

/* Forgets a caller that waits no longer; stuck: ends the stream that it waited for, which is the
 * present one, or its end would have ended the caller. false: it has been ended. */
static bool withdraw(ti_tso *t, waiter *w, bool stuck)
{
    ti_mutex_lock(&t->mutex);
    bool waits = !w->ended;
    if (waits) {
        bool found = unlink_waiter(&t->queue_head, w);
        t->queued -= found;
        if (found && (t->queue_tail == w || t->queue_head == NULL)) {
            t->queue_tail = t->queue_head;
            while (t->queue_tail != NULL && t->queue_tail->next != NULL)
                t->queue_tail = t->queue_tail->next;
        }
        for (size_t i = 0; !found && i < t->batch_count; i++)
            found = unlink_waiter(&t->batches[(t->batch_first + i) % BATCHES_MAX].waiters, w);
        ti_require(found);
        w->ended = true;
        ti_latch_done(&w->latch);
        t->due = t->queue_head != NULL; /* perhaps it was to hurry the others */
        if (stuck)
            end_stream(t);
        else
            send_queued(t);
    }
    unlock(t);
    while (ti_latch_open(&w->latch) > 0) /* it was ended just now, and will be woken */
        t->wire->vt->wait(t->wire, &w->latch, TI_NO_DEADLINE);
    return waits;
}

static ti_status enqueue(ti_tso *t, waiter *w, const char *address, uint64_t cluster_id,
                         ti_err *err)
{
    ti_status status = TI_OK;
    ti_mutex_lock(&t->mutex);
    if (t->closing) {
        status = ti_err_set(err, TI_CLOSED, "the connection to the cluster is closed");
    } else if (t->stream == NULL) {
        t->cluster_id = cluster_id;
        status = t->wire->vt->open(t->wire, address, 0, TSO_METHOD, &handler, t, &t->stream, err);
    }
    if (status == TI_OK) {
        w->first = t->queue_tail == NULL;
        if (w->first)
            t->queue_head = w;
        else
            t->queue_tail->next = w;
        t->queue_tail = w;
        t->queued++;
        send_queued(t);
    }
    unlock(t);
    return status;
}

/* Waits for a timestamp: the first of the queue for company, no longer than it is worth; one timer
 * is enough for all. */
static ti_status wait_for(ti_tso *t, waiter *w, const ti_call *call, ti_err *err)
{
    static const char what[] = "a timestamp from PD";
    ti_call gathering = *call;
    int64_t until_ns = ti_env_mono_ns(t->wire->env) + COMPANY_WAIT_NS;
    if (t->busy == NULL || !w->first || until_ns >= call->deadline_ns)
        return ti_wire_wait(t->wire, &w->latch, call, what, err);
    gathering.deadline_ns = until_ns;
    ti_status status = ti_wire_wait(t->wire, &w->latch, &gathering, what, NULL);
    if (status != TI_TIMEOUT)
        return status == TI_OK ? TI_OK : ti_call_check(call, what, err);
    ti_mutex_lock(&t->mutex);
    if (!w->sent && !w->ended) {
        t->due = true;
        send_queued(t);
    }
    unlock(t);
    return ti_wire_wait(t->wire, &w->latch, call, what, err);
}

ti_status ti_tso_get(ti_tso *t, const char *address, uint64_t cluster_id, int64_t timeout_us,
                     uint64_t *ts_out, const ti_call *call, ti_err *err)
{
    *ts_out = 0;
    waiter w = {.next = NULL};
    ti_latch_init(&w.latch, 1);
    ti_err_clear(&w.err);
    ti_wire_refresh(t->wire);
    ti_status status = enqueue(t, &w, address, cluster_id, err);
    if (status == TI_OK) {
        ti_call within = *call;
        int64_t limit_ns = ti_env_mono_ns(t->wire->env) + timeout_us * 1000;
        within.deadline_ns = limit_ns < call->deadline_ns ? limit_ns : call->deadline_ns;
        status = wait_for(t, &w, &within, err);
        bool stuck = status == TI_TIMEOUT && limit_ns <= call->deadline_ns;
        bool came = status == TI_OK || !withdraw(t, &w, stuck);
        if (came) { /* perhaps in the last moment */
            status = w.err.status;
            if (status != TI_OK && err != NULL)
                *err = w.err;
            *ts_out = w.ts;
        } else if (status == TI_TIMEOUT) {
            ti_err_set(err, status, "PD %s gave no timestamp in time", address);
        }
    }
    return status;
}

void ti_tso_follow(ti_tso *t, const _Atomic(int64_t) *busy)
{
    t->busy = busy;
}

void ti_tso_reset(ti_tso *t)
{
    ti_mutex_lock(&t->mutex);
    end_stream(t);
    unlock(t);
}

void ti_tso_counts(ti_tso *t, uint64_t *requests_out, uint64_t *timestamps_out)
{
    ti_mutex_lock(&t->mutex);
    *requests_out = t->requests;
    *timestamps_out = t->timestamps;
    unlock(t);
}

ti_status ti_tso_create(ti_wire *w, ti_tso **tso_out, ti_err *err)
{
    *tso_out = NULL;
    ti_tso *t = ti_alloc_zero(sizeof(*t));
    if (t == NULL)
        return ti_err_no_memory(err);
    t->wire = w;
    ti_status status = ti_mutex_init(&t->mutex, TI_RANK_CONN, err);
    if (status != TI_OK) {
        ti_free(t);
        return status;
    }
    status = ti_cond_init(&t->gone, err);
    if (status != TI_OK) {
        ti_mutex_destroy(&t->mutex);
        ti_free(t);
        return status;
    }
    *tso_out = t;
    return TI_OK;
}

void ti_tso_close(ti_tso *t)
{
    ti_err why;
    ti_err_set(&why, TI_CLOSED, "the connection to the cluster was closed");
    ti_mutex_lock(&t->mutex);
    t->closing = true;
    fail_all(t, &why);
    if (t->stream != NULL)
        t->wire->vt->end(t->wire, t->stream);
    while (t->stream != NULL)
        ti_cond_wait(&t->gone, &t->mutex);
    unlock(t);
    ti_cond_destroy(&t->gone);
    ti_mutex_destroy(&t->mutex);
    ti_free(t);
}

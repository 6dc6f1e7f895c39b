/* A wire without a network. See sim.h. */
#include "tikv/sim.h"

#include "base/assert.h"

#define HOPELESS_MAX 20000
/* How long another thread is given to be seen waiting before time moves without it. */
#define PATIENCE_NS INT64_C(200000000)

/* A thread inside wait or sleep, on its stack. */
typedef struct waiting {
    struct waiting *next;
    int64_t until_ns;
    ti_latch *latch; /* NULL: a sleep */
} waiting;

/* How long a wait lets other threads of the client work before it moves time: they may be the ones
 * that end it. */
#define LINGER_NS INT64_C(60000000)
#define LINGER_SLICE_NS INT64_C(300000)

/* This thread's call is the measured one. */
static _Thread_local bool in_call;
static _Thread_local bool is_io;
/* Its address names the thread. */
static _Thread_local char self;
/* What this thread has lingered for, and how much had happened by then. */
static _Thread_local const ti_latch *lingered;
static _Thread_local uint64_t lingered_at;

typedef enum event_kind { UNARY_DONE, STREAM_SENT, STREAM_MESSAGE, STREAM_END } event_kind;

typedef struct event {
    struct event *next;
    int64_t due_ns;
    event_kind kind;
    ti_unary *unary;
    ti_stream *stream;
    ti_status status;
    size_t len;
    char bytes[];
} event;

struct ti_unary {
    ti_unary *next;
    ti_unary_done done;
    void *context;
    bool ended;
    bool released;
};

struct ti_stream {
    ti_stream *next;
    sim *sim;
    const ti_stream_handler *handler;
    void *context;
    bool sending;
    bool ended;
    bool dropped;
    bool refused;
    char address[64];
    char method[64];
};

typedef struct sim_inside {
    ti_mutex mutex; /* rank TI_RANK_WIRE: all below */
    ti_cond changed;
    event *events; /* by due time; owned */
    ti_unary *unaries;
    ti_stream *streams;
    waiting *waits;
    const char *user;  /* the first thread that used the wire */
    bool shared;       /* others have, too */
    int senders;       /* threads inside send */
    uint64_t activity; /* events and messages so far */
    bool call;         /* between sim_call_begin and sim_call_end */
    bool call_waits;   /* its thread is inside wait or sleep */
    ti_thread thread;
    bool busy; /* a handler runs */
    bool stop;
    bool closed;
} sim_inside;

static int64_t now_ns(const sim *s)
{
    return ti_env_mono_ns(&s->env.env);
}

int64_t sim_now_ms(const sim *s)
{
    return now_ns(s) / 1000000;
}

/* Enters an event behind those of the same time. Called with the mutex held. */
static event *schedule(sim *s, event_kind kind, int64_t delay_ms, ti_status status, ti_slice bytes)
{
    event *e = ti_alloc_zero(sizeof(*e) + bytes.len);
    ti_require(e != NULL);
    s->inside->activity++;
    e->kind = kind;
    e->due_ns = now_ns(s) + delay_ms * 1000000;
    e->status = status;
    e->len = bytes.len;
    if (bytes.len > 0)
        memcpy(e->bytes, bytes.data, bytes.len);
    event **at = &s->inside->events;
    while (*at != NULL && (*at)->due_ns <= e->due_ns)
        at = &(*at)->next;
    e->next = *at;
    *at = e;
    ti_cond_broadcast(&s->inside->changed);
    return e;
}

static void run_unary(sim_inside *in, event *e, const ti_err *err)
{
    ti_mutex_lock(&in->mutex);
    bool first = !e->unary->ended;
    e->unary->ended = true;
    ti_mutex_unlock(&in->mutex);
    if (first)
        e->unary->done(e->unary->context, (ti_slice){.data = e->bytes, .len = e->len}, err);
}

/* Runs one event, without the mutex. */
static void run_event(sim *s, event *e)
{
    sim_inside *in = s->inside;
    ti_err err;
    ti_err_clear(&err);
    if (e->status != TI_OK)
        ti_err_set(&err, e->status, "simulated");
    if (e->kind == UNARY_DONE) {
        run_unary(in, e, &err);
        return;
    }
    ti_mutex_lock(&in->mutex);
    bool ended = e->stream->ended;
    e->stream->ended |= e->kind == STREAM_END;
    if (e->kind == STREAM_SENT)
        e->stream->sending = false;
    ti_mutex_unlock(&in->mutex);
    if (ended)
        return;
    if (e->kind == STREAM_SENT)
        e->stream->handler->on_sent(e->stream->context);
    else if (e->kind == STREAM_MESSAGE)
        e->stream->handler->on_message(e->stream->context,
                                       (ti_slice){.data = e->bytes, .len = e->len});
    else
        e->stream->handler->on_end(e->stream->context, &err);
}

static bool is_due(const sim *s)
{
    const event *first = s->inside->events;
    return first != NULL && first->due_ns <= now_ns(s);
}

static void *io_thread(void *arg)
{
    sim *s = arg;
    sim_inside *in = s->inside;
    is_io = true;
    ti_mutex_lock(&in->mutex);
    while (!in->stop) {
        if (!is_due(s)) {
            ti_cond_wait(&in->changed, &in->mutex);
            continue;
        }
        event *e = in->events;
        in->events = e->next;
        in->busy = true;
        ti_mutex_unlock(&in->mutex);
        run_event(s, e);
        ti_free(e);
        ti_mutex_lock(&in->mutex);
        in->busy = false;
        ti_cond_broadcast(&in->changed);
    }
    ti_mutex_unlock(&in->mutex);
    return NULL;
}

/* ---- Time ---- */

/* Until nothing is due and no handler runs. The mutex is held. */
static void settle(sim *s)
{
    while (s->inside->busy || s->inside->senders > 0 || is_due(s))
        ti_cond_wait(&s->inside->changed, &s->inside->mutex);
}

/* Notes who uses the wire. The mutex is held. */
static void note_user(sim_inside *in)
{
    if (is_io)
        return;
    if (in->user == NULL)
        in->user = &self;
    in->shared |= in->user != &self;
}

/* Until something is due, the latch is down or enough real time has passed: a moment only, when
 * nothing has happened since the last time. The mutex is held. */
static void linger(sim *s, ti_latch *latch)
{
    const ti_env *real = ti_env_real();
    bool patient = atomic_load(&s->patient);
    bool again = lingered == latch && lingered_at == s->inside->activity;
    int64_t linger_ns = again ? LINGER_SLICE_NS : patient ? 100 * LINGER_NS : LINGER_NS;
    int64_t until_ns = ti_env_mono_ns(real) + linger_ns;
    while ((s->inside->shared || patient) && ti_latch_open(latch) > 0 && !is_due(s) &&
           !s->inside->busy && ti_env_mono_ns(real) < until_ns)
        (void)ti_cond_wait_until(&s->inside->changed, &s->inside->mutex, real,
                                 ti_env_mono_ns(real) + LINGER_SLICE_NS);
    lingered = latch;
    lingered_at = s->inside->activity;
    settle(s);
}

static void wait_begin(sim_inside *in, waiting *w, int64_t until_ns, ti_latch *latch)
{
    *w = (waiting){.next = in->waits, .until_ns = until_ns, .latch = latch};
    in->waits = w;
    in->call_waits |= in_call;
    ti_cond_broadcast(&in->changed);
}

static void wait_end(sim_inside *in, waiting *w)
{
    waiting **at = &in->waits;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    if (in_call)
        in->call_waits = false;
    ti_cond_broadcast(&in->changed);
}

/* Whether time has to stand still for another thread: one whose wait is over and who has not seen
 * it, or the measured call's. */
static bool others_run(const sim *s, const waiting *mine)
{
    if (s->inside->call && !in_call && !s->inside->call_waits)
        return true;
    for (const waiting *w = s->inside->waits; w != NULL; w = w->next) {
        bool over = w->until_ns <= now_ns(s) || (w->latch != NULL && ti_latch_open(w->latch) == 0);
        if (w != mine && over)
            return true;
    }
    return false;
}

/* Gives the others time to go on; not for ever, since they may wait for each other elsewhere. */
static void be_patient(sim *s, const waiting *mine)
{
    const ti_env *real = ti_env_real();
    int64_t until_ns = ti_env_mono_ns(real) + PATIENCE_NS;
    while (others_run(s, mine) &&
           ti_cond_wait_until(&s->inside->changed, &s->inside->mutex, real, until_ns)) {
    }
}

/* Moves time to the next event or wait of another thread, at most to mine; false when it is there
 * already. */
static bool move_on(sim *s, const waiting *mine)
{
    if (now_ns(s) >= mine->until_ns)
        return false;
    be_patient(s, mine);
    settle(s);
    int64_t to_ns = mine->until_ns;
    const event *first = s->inside->events;
    if (first != NULL && first->due_ns < to_ns)
        to_ns = first->due_ns;
    for (const waiting *w = s->inside->waits; w != NULL; w = w->next) {
        if (w->until_ns < to_ns && w->until_ns > now_ns(s))
            to_ns = w->until_ns;
    }
    if (to_ns == TI_NO_DEADLINE)
        return true; /* somebody else must move */
    if (to_ns > now_ns(s))
        test_env_advance_us(&s->env, (to_ns - now_ns(s) + 999) / 1000);
    ti_cond_broadcast(&s->inside->changed);
    return true;
}

static bool sim_wait(ti_wire *w, ti_latch *latch, int64_t deadline_ns)
{
    sim *s = (sim *)w;
    waiting mine;
    for (int hopeless = 0; hopeless < HOPELESS_MAX;) {
        ti_mutex_lock(&s->inside->mutex);
        note_user(s->inside);
        wait_begin(s->inside, &mine, deadline_ns, latch);
        settle(s);
        linger(s, latch);
        bool done = ti_latch_open(latch) == 0;
        bool stuck = !done && s->inside->events == NULL && deadline_ns == TI_NO_DEADLINE;
        bool moved = done || move_on(s, &mine);
        wait_end(s->inside, &mine);
        ti_mutex_unlock(&s->inside->mutex);
        if (done || !moved)
            return done;
        if (stuck) {
            hopeless++;
            usleep(100);
        }
    }
    fprintf(stderr, "a wait in the simulator can not end\n");
    abort();
}

static void sim_sleep(ti_wire *w, int64_t ns)
{
    sim *s = (sim *)w;
    waiting mine;
    ti_mutex_lock(&s->inside->mutex);
    note_user(s->inside);
    wait_begin(s->inside, &mine, now_ns(s) + ns, NULL);
    do
        settle(s);
    while (move_on(s, &mine));
    wait_end(s->inside, &mine);
    ti_mutex_unlock(&s->inside->mutex);
}

void sim_call_begin(sim *s)
{
    ti_mutex_lock(&s->inside->mutex);
    ti_require(!s->inside->call);
    in_call = true;
    s->inside->call = true;
    s->inside->call_waits = false;
    ti_mutex_unlock(&s->inside->mutex);
}

void sim_call_end(sim *s)
{
    ti_mutex_lock(&s->inside->mutex);
    in_call = false;
    s->inside->call = false;
    ti_cond_broadcast(&s->inside->changed);
    ti_mutex_unlock(&s->inside->mutex);
}

void sim_run(sim *s, int64_t ms)
{
    sim_sleep(&s->base, ms * 1000000);
    ti_mutex_lock(&s->inside->mutex);
    settle(s);
    ti_mutex_unlock(&s->inside->mutex);
}

/* ---- Unary calls ---- */

static ti_status sim_unary(ti_wire *w, const char *address, const char *method, ti_slice request,
                           int64_t timeout_ns, ti_unary_done done, void *context,
                           ti_unary **call_out, ti_err *err)
{
    sim *s = (sim *)w;
    (void)err;
    ti_unary *u = ti_alloc_zero(sizeof(*u));
    ti_require(u != NULL);
    u->done = done;
    u->context = context;
    atomic_fetch_add(&s->unaries, 1);
    sim_reply reply = {.status = TI_UNSUPPORTED};
    if (s->on_unary != NULL)
        s->on_unary(s->context, s, address, method, request, &reply);
    ti_mutex_lock(&s->inside->mutex);
    u->next = s->inside->unaries;
    s->inside->unaries = u;
    if (!reply.silent)
        schedule(s, UNARY_DONE, reply.delay_ms, reply.status, reply.bytes)->unary = u;
    if (timeout_ns != TI_NO_DEADLINE)
        schedule(s, UNARY_DONE, timeout_ns / 1000000, TI_TIMEOUT, TI_SLICE_NONE)->unary = u;
    *call_out = u;
    ti_mutex_unlock(&s->inside->mutex);
    if (reply.arena != NULL)
        ti_arena_free(reply.arena);
    ti_free(reply.arena);
    return TI_OK;
}

static void sim_cancel(ti_wire *w, ti_unary *call)
{
    sim *s = (sim *)w;
    ti_mutex_lock(&s->inside->mutex);
    schedule(s, UNARY_DONE, 0, TI_CANCELLED, TI_SLICE_NONE)->unary = call;
    ti_mutex_unlock(&s->inside->mutex);
}

static void sim_release(ti_wire *w, ti_unary *call)
{
    (void)w;
    call->released = true;
}

/* ---- Streams ---- */

const char *sim_stream_address(const ti_stream *stream)
{
    return stream->address;
}

const char *sim_stream_method(const ti_stream *stream)
{
    return stream->method;
}

static ti_status sim_open(ti_wire *w, const char *address, unsigned lane, const char *method,
                          const ti_stream_handler *handler, void *context, ti_stream **stream_out,
                          ti_err *err)
{
    sim *s = (sim *)w;
    (void)lane;
    (void)err;
    ti_stream *stream = ti_alloc_zero(sizeof(*stream));
    ti_require(stream != NULL);
    stream->sim = s;
    stream->handler = handler;
    stream->context = context;
    snprintf(stream->address, sizeof(stream->address), "%s", address);
    snprintf(stream->method, sizeof(stream->method), "%s", method);
    atomic_fetch_add(&s->opened, 1);
    ti_mutex_lock(&s->inside->mutex);
    stream->next = s->inside->streams;
    s->inside->streams = stream;
    ti_mutex_unlock(&s->inside->mutex);
    *stream_out = stream;
    return TI_OK;
}

static ti_status sim_send(ti_wire *w, ti_stream *stream, ti_slice message, ti_err *err)
{
    sim *s = (sim *)w;
    ti_status status = TI_OK;
    ti_mutex_lock(&s->inside->mutex);
    note_user(s->inside);
    if (stream->ended)
        status = ti_err_set(err, TI_UNAVAILABLE, "the stream has ended");
    else if (stream->sending)
        status = ti_err_set(err, TI_INVALID_STATE, "a message is on its way");
    stream->sending |= status == TI_OK;
    s->inside->senders += status == TI_OK;
    if (status == TI_OK && !atomic_load(&s->hold_sent))
        schedule(s, STREAM_SENT, 0, TI_OK, TI_SLICE_NONE)->stream = stream;
    ti_mutex_unlock(&s->inside->mutex);
    if (status != TI_OK)
        return status;
    atomic_fetch_add(&s->sent, 1);
    if (s->on_message != NULL)
        s->on_message(s->context, s, stream, message);
    ti_mutex_lock(&s->inside->mutex);
    s->inside->senders--;
    ti_cond_broadcast(&s->inside->changed);
    ti_mutex_unlock(&s->inside->mutex);
    return TI_OK;
}

void sim_answer(ti_stream *stream, ti_slice message, int64_t delay_ms)
{
    sim_inside *in = stream->sim->inside;
    ti_mutex_lock(&in->mutex);
    schedule(stream->sim, STREAM_MESSAGE, delay_ms, TI_OK, message)->stream = stream;
    ti_mutex_unlock(&in->mutex);
}

void sim_end(ti_stream *stream, ti_status status, int64_t delay_ms)
{
    sim_inside *in = stream->sim->inside;
    ti_mutex_lock(&in->mutex);
    schedule(stream->sim, STREAM_END, delay_ms, status, TI_SLICE_NONE)->stream = stream;
    ti_mutex_unlock(&in->mutex);
}

void sim_refuse(ti_stream *stream, int64_t delay_ms)
{
    ti_mutex_lock(&stream->sim->inside->mutex);
    stream->refused = true;
    ti_mutex_unlock(&stream->sim->inside->mutex);
    sim_end(stream, TI_UNAVAILABLE, delay_ms);
}

static void sim_end_now(ti_wire *w, ti_stream *stream)
{
    (void)w;
    sim_end(stream, TI_CANCELLED, 0);
}

static void sim_drop(ti_wire *w, ti_stream *stream)
{
    (void)w;
    ti_require(stream->ended);
    stream->dropped = true;
}

/* ---- The whole ---- */

static void sim_forget(ti_wire *w, const char *address)
{
    (void)address;
    atomic_fetch_add(&((sim *)w)->forgotten, 1);
}

static void sim_close(ti_wire *w)
{
    sim *s = (sim *)w;
    ti_mutex_lock(&s->inside->mutex);
    settle(s);
    s->inside->closed = true;
    s->inside->stop = true;
    ti_cond_broadcast(&s->inside->changed);
    ti_mutex_unlock(&s->inside->mutex);
    ti_thread_join(&s->inside->thread);
}

static bool sim_reached(ti_wire *w, ti_stream *stream)
{
    return !stream->refused && !atomic_load(&((sim *)w)->unreached);
}

static const ti_wire_vt sim_vt = {
    .version = 1,
    .unary = sim_unary,
    .cancel = sim_cancel,
    .release = sim_release,
    .open = sim_open,
    .send = sim_send,
    .end = sim_end_now,
    .drop = sim_drop,
    .forget = sim_forget,
    .wait = sim_wait,
    .sleep = sim_sleep,
    .close = sim_close,
    .reached = sim_reached,
};

sim *sim_create(void)
{
    ti_err err;
    sim *s = ti_alloc_zero(sizeof(*s));
    ti_require(s != NULL);
    test_env_init(&s->env, INT64_C(1700000000000000), 7);
    s->base.vt = &sim_vt;
    s->base.env = &s->env.env;
    s->inside = ti_alloc_zero(sizeof(*s->inside));
    ti_require(s->inside != NULL);
    test_ok(ti_mutex_init(&s->inside->mutex, TI_RANK_WIRE, &err), &err);
    test_ok(ti_cond_init(&s->inside->changed, &err), &err);
    test_ok(ti_thread_start(&s->inside->thread, "sim", io_thread, s, &err), &err);
    return s;
}

void sim_free(sim *s)
{
    sim_inside *in = s->inside;
    ti_require(in->closed);
    while (in->events != NULL) {
        event *e = in->events;
        in->events = e->next;
        ti_free(e);
    }
    while (in->unaries != NULL) {
        ti_unary *u = in->unaries;
        in->unaries = u->next;
        ti_require(u->ended);
        ti_require(u->released);
        ti_free(u);
    }
    while (in->streams != NULL) {
        ti_stream *stream = in->streams;
        in->streams = stream->next;
        ti_require(stream->dropped);
        ti_free(stream);
    }
    ti_cond_destroy(&in->changed);
    ti_mutex_destroy(&in->mutex);
    ti_free(in);
    ti_free(s);
}

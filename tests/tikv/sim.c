/* A wire without a network. See sim.h. */
#include "tikv/sim.h"

#include "base/assert.h"
#include "tikv/calm.h"

/* How long a thread that does not come to rest keeps time from moving. */
#define PATIENCE_NS INT64_C(20000000000)
/* When a wait that nothing can end has lasted long enough. */
#define HOPELESS_NS INT64_C(20000000000)
/* How long a wait rests before it looks at the other threads again. */
#define SLICE_NS INT64_C(50000)
#define WAITS_MAX 256

/* A thread inside wait or sleep, on its stack. */
typedef struct waiting {
    struct waiting *next;
    int64_t until_ns;
    ti_latch *latch; /* NULL: a sleep */
    pid_t thread;
} waiting;

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
    int senders;           /* threads inside send */
    uint64_t activity;     /* changes whenever something happens */
    bool looks;            /* somebody looks at the threads */
    _Atomic(int) entering; /* threads that sleep on the mutex, perhaps, on their way in */
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

/* Locks the mutex for a call: who sleeps on it only since somebody has it does not wait for time. */
static void enter(sim_inside *in)
{
    atomic_fetch_add(&in->entering, 1);
    ti_mutex_lock(&in->mutex);
    atomic_fetch_sub(&in->entering, 1);
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
    ti_mutex_lock(&in->mutex);
    while (!in->stop) {
        if (!is_due(s)) {
            ti_cond_wait(&in->changed, &in->mutex);
            continue;
        }
        event *e = in->events;
        in->events = e->next;
        in->activity++;
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

/* Whether a wait has nothing to wait for any more. */
static bool is_over(const sim *s, const waiting *w)
{
    return w->until_ns <= now_ns(s) || (w->latch != NULL && ti_latch_open(w->latch) == 0);
}

/* Whether something of the simulator's goes on at this time. The mutex is held. */
static bool is_at_work(const sim *s)
{
    return s->inside->busy || s->inside->senders > 0 || is_due(s);
}

/* Whether another thread's wait is over, and it has not seen it. The mutex is held. */
static bool is_anyone_over(const sim *s, const waiting *mine)
{
    for (const waiting *w = s->inside->waits; w != NULL; w = w->next) {
        if (w != mine && is_over(s, w))
            return true;
    }
    return false;
}

/* Whether all threads wait for time to move, or for something that is not the simulator's. One
 * thread looks, without the mutex; who sleeps on that is on his way in. */
static bool is_calm(sim *s, const waiting *mine)
{
    sim_inside *in = s->inside;
    pid_t waiting_ones[WAITS_MAX];
    size_t count = 0;
    if (in->looks || is_at_work(s) || is_anyone_over(s, mine))
        return false;
    for (const waiting *w = in->waits; w != NULL && count < WAITS_MAX; w = w->next)
        waiting_ones[count++] = w->thread;
    uint64_t activity = in->activity;
    in->looks = true;
    ti_mutex_unlock(&in->mutex);
    bool calm = calm_but_for(waiting_ones, count);
    ti_mutex_lock(&in->mutex);
    in->looks = false;
    return calm && in->activity == activity && atomic_load(&in->entering) == 0 && !is_at_work(s) &&
           !is_anyone_over(s, mine);
}

/* Moves time to the next event, or to the end of somebody's wait; false when there is none. */
static bool move_on(sim *s)
{
    int64_t to_ns = TI_NO_DEADLINE;
    const event *first = s->inside->events;
    if (first != NULL)
        to_ns = first->due_ns;
    for (const waiting *w = s->inside->waits; w != NULL; w = w->next) {
        if (w->until_ns < to_ns && w->until_ns > now_ns(s))
            to_ns = w->until_ns;
    }
    if (to_ns == TI_NO_DEADLINE)
        return false;
    if (to_ns > now_ns(s))
        test_env_advance_us(&s->env, (to_ns - now_ns(s) + 999) / 1000);
    s->inside->activity++;
    ti_cond_broadcast(&s->inside->changed);
    return true;
}

/* Waits, and moves time whenever nobody else can do anything. The mutex is held. */
static void wait_on(sim *s, waiting *mine)
{
    const ti_env *real = ti_env_real();
    sim_inside *in = s->inside;
    uint64_t activity = in->activity;
    int64_t since_ns = ti_env_mono_ns(real);
    *mine = (waiting){
        .next = in->waits, .until_ns = mine->until_ns, .latch = mine->latch, .thread = calm_self()};
    in->waits = mine;
    settle(s);
    while (!is_over(s, mine)) {
        bool calm = is_calm(s, mine);
        int64_t rested_ns = ti_env_mono_ns(real) - since_ns;
        bool may_move = calm || (rested_ns > PATIENCE_NS && !is_at_work(s));
        if (!is_over(s, mine) && may_move && !move_on(s) && rested_ns > HOPELESS_NS) {
            fprintf(stderr, "a wait in the simulator can not end\n");
            abort();
        }
        if (!is_over(s, mine))
            (void)ti_cond_wait_until(&in->changed, &in->mutex, real,
                                     ti_env_mono_ns(real) + SLICE_NS);
        if (in->activity != activity)
            since_ns = ti_env_mono_ns(real);
        activity = in->activity;
    }
    settle(s); /* what is due at the deadline comes before it */
    waiting **at = &in->waits;
    while (*at != mine)
        at = &(*at)->next;
    *at = mine->next;
    in->activity++;
    ti_cond_broadcast(&in->changed);
}

static bool sim_wait(ti_wire *w, ti_latch *latch, int64_t deadline_ns)
{
    sim *s = (sim *)w;
    waiting mine = {.until_ns = deadline_ns, .latch = latch};
    enter(s->inside);
    wait_on(s, &mine);
    bool done = ti_latch_open(latch) == 0;
    ti_mutex_unlock(&s->inside->mutex);
    return done;
}

static void sim_sleep(ti_wire *w, int64_t ns)
{
    sim *s = (sim *)w;
    enter(s->inside);
    waiting mine = {.until_ns = now_ns(s) + ns};
    wait_on(s, &mine);
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
    enter(s->inside);
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
    enter(s->inside);
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
    enter(s->inside);
    stream->next = s->inside->streams;
    s->inside->streams = stream;
    ti_mutex_unlock(&s->inside->mutex);
    *stream_out = stream;
    return TI_OK;
}

ti_stream *sim_newest(sim *s)
{
    enter(s->inside);
    ti_stream *stream = s->inside->streams;
    ti_mutex_unlock(&s->inside->mutex);
    return stream;
}

static ti_status sim_send(ti_wire *w, ti_stream *stream, ti_slice message, ti_err *err)
{
    sim *s = (sim *)w;
    ti_status status = TI_OK;
    enter(s->inside);
    s->inside->activity++;
    if (stream->ended)
        status = ti_err_set(err, TI_UNAVAILABLE, "the stream has ended");
    else if (stream->sending)
        status = ti_err_set(err, TI_INVALID_STATE, "a message is on its way");
    stream->sending |= status == TI_OK;
    s->inside->senders += status == TI_OK;
    ti_mutex_unlock(&s->inside->mutex);
    if (status != TI_OK)
        return status;
    atomic_fetch_add(&s->sent, 1);
    if (s->on_message != NULL)
        s->on_message(s->context, s, stream, message);
    enter(s->inside);
    if (!atomic_load(&s->hold_sent))
        schedule(s, STREAM_SENT, 0, TI_OK, TI_SLICE_NONE)->stream = stream;
    s->inside->senders--;
    ti_cond_broadcast(&s->inside->changed);
    ti_mutex_unlock(&s->inside->mutex);
    return TI_OK;
}

void sim_answer(ti_stream *stream, ti_slice message, int64_t delay_ms)
{
    sim_inside *in = stream->sim->inside;
    enter(in);
    schedule(stream->sim, STREAM_MESSAGE, delay_ms, TI_OK, message)->stream = stream;
    ti_mutex_unlock(&in->mutex);
}

void sim_end(ti_stream *stream, ti_status status, int64_t delay_ms)
{
    sim_inside *in = stream->sim->inside;
    enter(in);
    schedule(stream->sim, STREAM_END, delay_ms, status, TI_SLICE_NONE)->stream = stream;
    ti_mutex_unlock(&in->mutex);
}

void sim_refuse(ti_stream *stream, int64_t delay_ms)
{
    enter(stream->sim->inside);
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
    enter(((sim *)w)->inside);
    ti_require(stream->ended);
    stream->dropped = true;
    ti_mutex_unlock(&((sim *)w)->inside->mutex);
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

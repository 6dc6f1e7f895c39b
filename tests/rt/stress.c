/* Random futures on many threads, checked after each round.
 *
 * A round has 1 to 8 threads. Each makes futures, some in lanes of its own or shared ones, and does
 * random things with them: start, wait with and without a timeout, watch, call back, cancel,
 * release at any moment. Some futures are shared: all threads start, wait for, watch and cancel
 * them. One thread drains the completion queue. Some rounds close the executor or the queue in the
 * middle.
 *
 * INVARIANTS checked
 *  1. No operation runs twice; one that says OK has run; one that says CANCELLED, BUSY or CLOSED
 *     without having been begun has not.
 *  2. The operations of a lane run one at a time, in order of submission.
 *  3. A watched future comes out at most once, exactly once when nobody released it or closed the
 *     queue; a callback is called at most once.
 *  4. After the round every operation is destroyed, every owner released, no memory is left. */
#include "rt/rt.h"

#define THREADS_MAX 8
#define LANES 6
#define HELD_MAX 32
#define SHARED 8

typedef struct lane_log {
    ti_lane *lane;
    ti_mutex submit; /* makes the number and the submission one step */
    uint64_t submitted;
    _Atomic(uint64_t) last_run;
    _Atomic(int) inside;
} lane_log;

typedef struct round {
    ti_executor *ex;
    ti_cq *cq;
    lane_log lanes[LANES];
    ti_future *shared[SHARED];
    _Atomic(uint64_t) made;
    _Atomic(uint64_t) destroyed;
    _Atomic(uint64_t) released;
    _Atomic(uint64_t) wrong;
    _Atomic(int) stop_draining;
    _Atomic(bool) closing; /* the executor or the queue is closed in the middle */
} round_t;

typedef struct stress_op {
    round_t *round;
    lane_log *lane;
    uint64_t number; /* in its lane, from 1 */
    int spin;
    ti_status answer;
    _Atomic(int) runs;
    _Atomic(int) told; /* drained or called back */
} stress_op;

static void wrong(round_t *r, const char *what)
{
    if (atomic_fetch_add(&r->wrong, 1) < 5)
        fprintf(stderr, "wrong: %s\n", what);
}

static ti_status stress_run(void *arg, const ti_call *call, ti_err *err)
{
    stress_op *op = arg;
    ti_status status = op->answer;
    if (atomic_fetch_add(&op->runs, 1) != 0)
        wrong(op->round, "an operation ran twice");
    if (op->lane != NULL) {
        if (atomic_fetch_add(&op->lane->inside, 1) != 0)
            wrong(op->round, "two of a lane ran together");
        if (atomic_exchange(&op->lane->last_run, op->number) >= op->number)
            wrong(op->round, "a lane ran out of order");
    }
    for (int i = 0; i < op->spin && status == TI_OK; i++)
        status = ti_call_check(call, "stress", err);
    if (op->spin > 900)
        test_pause();
    if (op->lane != NULL)
        atomic_fetch_sub(&op->lane->inside, 1);
    if (status == TI_CONFLICT)
        ti_err_set(err, status, "as asked");
    return status;
}

static void stress_destroy(void *arg)
{
    stress_op *op = arg;
    atomic_fetch_add(&op->round->destroyed, 1);
}

static void stress_released(void *owner)
{
    round_t *r = owner;
    atomic_fetch_add(&r->released, 1);
}

static const ti_op_type types[] = {
    {.name = "read", .work = TI_WORK_GENERAL, .run = stress_run, .destroy = stress_destroy},
    {.name = "write",
     .work = TI_WORK_GENERAL,
     .write = true,
     .run = stress_run,
     .destroy = stress_destroy},
    {.name = "lock", .work = TI_WORK_LOCK, .run = stress_run, .destroy = stress_destroy},
    {.name = "commit", .work = TI_WORK_COMMIT, .run = stress_run, .destroy = stress_destroy},
};

typedef struct held_future {
    ti_future *future;
    bool watched;
} held_future;

typedef struct actor {
    round_t *round;
    test_random random;
    uint64_t steps;
    held_future held[HELD_MAX];
    int count;
} actor;

static void call_back(void *context, ti_future *future)
{
    stress_op *op = ti_future_op(future);
    (void)context;
    if (!ti_future_ready(future))
        wrong(op->round, "called back too early");
    if (atomic_fetch_add(&op->told, 1) != 0)
        wrong(op->round, "called back twice");
}

static ti_future *make_one(round_t *r, test_random *random)
{
    lane_log *lane = NULL;
    if (test_random_one_in(random, 2))
        lane = &r->lanes[test_random_below(random, LANES)];
    ti_future_spec spec = {.type =
                               &types[test_random_below(random, sizeof(types) / sizeof(types[0]))],
                           .op_size = sizeof(stress_op),
                           .room_size = test_random_one_in(random, 4) ? 512 : 0,
                           .lane = lane == NULL ? NULL : lane->lane,
                           .timeout_us = test_random_one_in(random, 20) ? 20 : INT64_C(60000000),
                           .owner = r,
                           .released = stress_released};
    ti_future *f = ti_future_create(r->ex, &spec);
    stress_op *op = ti_future_op(f);
    atomic_fetch_add(&r->made, 1);
    op->round = r;
    op->spin = (int)test_random_below(random, 1000);
    op->answer = test_random_one_in(random, 10) ? TI_CONFLICT : TI_OK;
    if (test_random_one_in(random, 50)) {
        ti_future_finish(f, TI_NOT_FOUND, NULL);
    } else if (lane != NULL) {
        ti_mutex_lock(&lane->submit);
        op->lane = lane;
        op->number = ++lane->submitted;
        ti_future_submit(f);
        ti_mutex_unlock(&lane->submit);
    } else {
        ti_future_submit(f);
    }
    return f;
}

/* A ready future's status must fit what its operation did. */
static void judge(actor *a, ti_future *f)
{
    stress_op *op = ti_future_op(f);
    int runs = atomic_load(&op->runs);
    ti_status status = ti_future_result(f, NULL);
    if (status == TI_OK && runs != 1)
        wrong(a->round, "OK without a run");
    if (status == TI_CONFLICT && (runs != 1 || op->answer != TI_CONFLICT))
        wrong(a->round, "a conflict that nobody answered");
    if ((status == TI_BUSY || status == TI_CLOSED || status == TI_NOT_FOUND) && runs != 0)
        wrong(a->round, "refused, but it ran");
}

static void drop_one(actor *a, int at)
{
    held_future h = a->held[at];
    bool ready = ti_future_ready(h.future);
    if (ready)
        judge(a, h.future);
    ti_future_release(h.future);
    a->held[at] = a->held[--a->count];
}

static void touch_one(actor *a, int at)
{
    held_future *h = &a->held[at];
    ti_future *f = h->future;
    switch (test_random_below(&a->random, 9)) {
    case 0:
        ti_future_start(f, NULL);
        break;
    case 1:
    case 2:
        ti_future_wait(f, TI_NO_DEADLINE, NULL);
        if (!ti_future_ready(f))
            wrong(a->round, "waited, but not ready");
        break;
    case 3:
        ti_future_wait(f, (int64_t)test_random_below(&a->random, 300), NULL);
        break;
    case 4:
        h->watched |= ti_future_watch(f, a->round->cq, (uint64_t)(uintptr_t)f, NULL) == TI_OK;
        break;
    case 5:
        ti_future_then(f, call_back, NULL, NULL);
        break;
    case 6:
        if (test_random_one_in(&a->random, 3))
            ti_future_cancel(f);
        break;
    default:
        /* one that is in the queue is only released by who drains it: the drainer looks at it */
        if (!h->watched)
            drop_one(a, at);
    }
}

/* All threads may do this with the same future at the same time. */
static void touch_shared(actor *a)
{
    ti_future *f = a->round->shared[test_random_below(&a->random, SHARED)];
    uint64_t what = test_random_below(&a->random, 60);
    if (what < 30)
        ti_future_wait(f, (int64_t)what * 5, NULL);
    else if (what < 35)
        ti_future_wait(f, TI_NO_DEADLINE, NULL);
    else if (what < 45)
        ti_future_start(f, NULL);
    else if (what < 50)
        ti_future_watch(f, a->round->cq, (uint64_t)(uintptr_t)f, NULL);
    else if (what < 55)
        ti_future_then(f, call_back, NULL, NULL);
    else if (what == 55)
        ti_future_cancel(f);
}

static void *act(void *arg)
{
    actor *a = arg;
    for (uint64_t i = 0; i < a->steps; i++) {
        if (a->count == 0 || (a->count < HELD_MAX && test_random_one_in(&a->random, 3)))
            a->held[a->count++] = (held_future){.future = make_one(a->round, &a->random)};
        else if (test_random_one_in(&a->random, 10))
            touch_shared(a);
        else
            touch_one(a, (int)test_random_below(&a->random, (uint64_t)a->count));
    }
    return NULL;
}

static void *drain(void *arg)
{
    round_t *r = arg;
    ti_completion out[5];
    bool last = false;
    while (!last) {
        last = atomic_load(&r->stop_draining) != 0;
        size_t n;
        while ((n = ti_cq_drain(r->cq, out, 5)) > 0)
            for (size_t i = 0; i < n; i++) {
                stress_op *op = ti_future_op(out[i].future);
                if (out[i].tag != (uint64_t)(uintptr_t)out[i].future)
                    wrong(r, "another's tag");
                if (!ti_future_ready(out[i].future))
                    wrong(r, "drained too early");
                if (atomic_fetch_add(&op->told, 1) != 0)
                    wrong(r, "drained twice");
            }
        test_pause();
    }
    return NULL;
}

static void round_begin(round_t *r, test_random *random)
{
    ti_err err;
    memset((void *)r, 0, sizeof(*r));
    r->ex = test_executor(&(ti_executor_options){.threads_max = {3, 4, 2}, .queue_max = 40});
    test_ok(ti_cq_create(ti_env_real(), &r->cq, &err), &err);
    for (int i = 0; i < LANES; i++) {
        r->lanes[i].lane = ti_lane_create(r->ex);
        test_ok(ti_mutex_init(&r->lanes[i].submit, TI_RANK_TXN, &err), &err);
    }
    for (int i = 0; i < SHARED; i++)
        r->shared[i] = make_one(r, random);
}

/* Waits for what is left and lets it go; watched ones have come out by then. */
static void settle(round_t *r, actor *actors, int threads, ti_thread *drainer)
{
    for (int t = 0; t < threads; t++)
        for (int i = 0; i < actors[t].count; i++)
            ti_future_wait(actors[t].held[i].future, TI_NO_DEADLINE, NULL);
    for (int i = 0; i < SHARED; i++)
        ti_future_wait(r->shared[i], TI_NO_DEADLINE, NULL);
    atomic_store(&r->stop_draining, 1);
    ti_thread_join(drainer);
    for (int t = 0; t < threads; t++)
        while (actors[t].count > 0) {
            held_future h = actors[t].held[actors[t].count - 1];
            stress_op *op = ti_future_op(h.future);
            if (!ti_future_ready(h.future))
                wrong(r, "never ready");
            if (h.watched && !atomic_load(&r->closing) && atomic_load(&op->told) != 1)
                wrong(r, "watched, but never drained");
            drop_one(&actors[t], actors[t].count - 1);
        }
}

static void round_end(round_t *r)
{
    for (int i = 0; i < SHARED; i++)
        ti_future_release(r->shared[i]);
    for (int i = 0; i < LANES; i++) {
        ti_lane_unref(r->lanes[i].lane);
        ti_mutex_destroy(&r->lanes[i].submit);
    }
    ti_cq_close(r->cq);
    ti_cq_unref(r->cq);
    test_executor_end(r->ex);
    assert_true(atomic_load(&r->destroyed) == atomic_load(&r->made));
    assert_true(atomic_load(&r->released) == atomic_load(&r->made));
    assert_true(atomic_load(&r->wrong) == 0);
}

/* In some rounds something is closed under way. */
static void disturb(round_t *r, test_random *random)
{
    uint64_t what = test_random_below(random, 4);
    if (what > 1)
        return;
    for (uint64_t i = test_random_below(random, 20); i > 0; i--)
        test_pause();
    atomic_store(&r->closing, true);
    if (what == 0)
        ti_executor_close(r->ex);
    else
        ti_cq_close(r->cq);
}

static void one_round(test_random *random, uint64_t steps)
{
    static actor actors[THREADS_MAX];
    static round_t r;
    ti_thread threads[THREADS_MAX];
    ti_thread drainer;
    ti_err err;
    int count = 1 + (int)test_random_below(random, THREADS_MAX);
    round_begin(&r, random);
    test_ok(ti_thread_start(&drainer, "drain", drain, &r, &err), &err);
    for (int t = 0; t < count; t++) {
        actors[t] = (actor){.round = &r, .steps = steps / (uint64_t)count};
        actors[t].random.state = test_random_u64(random);
        test_ok(ti_thread_start(&threads[t], "act", act, &actors[t], &err), &err);
    }
    disturb(&r, random);
    for (int t = 0; t < count; t++)
        ti_thread_join(&threads[t]);
    settle(&r, actors, count, &drainer);
    round_end(&r);
}

static void random_rounds_keep_every_promise(void **state)
{
    test_random random = test_random_start(11);
    (void)state;
    for (uint64_t i = 0; i < test_scaled(1000); i++) {
        int64_t live = ti_mem_live();
        one_round(&random, 4000);
        assert_true(ti_mem_live() == live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_rounds_keep_every_promise)};
    return TEST_RUN(tests);
}

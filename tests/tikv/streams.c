/* Backoff and timestamps on the simulated wire. Connections: conns.c. */
#include "tikv/sim.h"

#include "base/assert.h"
#include "pdpb.pb-c.h"
#include "tikv/backoff.h"
#include "tikv/pb.h"
#include "tikv/tso.h"

static ti_call call_ms(const sim *s, int64_t ms)
{
    return ti_call_within(&s->env.env, ms * 1000);
}

static void end_sim(sim *s)
{
    s->base.vt->close(&s->base);
    sim_free(s);
}

/* ---- backoff ---- */

static void sleeps_grow_to_their_cap(void **state)
{
    (void)state;
    static const int64_t expected[] = {2, 4, 8, 16, 32, 64, 128, 256, 500, 500};
    sim *s = sim_create();
    ti_call call = call_ms(s, 3600000);
    ti_backoff b;
    ti_err why;
    ti_err err;
    ti_err_set(&why, TI_UNAVAILABLE, "seen");
    ti_backoff_init(&b, &s->base, &call, 20000);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        int64_t before = sim_now_ms(s);
        test_ok(ti_backoff_sleep(&b, TI_BACKOFF_REGION_MISS, -1, &why, &err), &err);
        assert_int_equal(sim_now_ms(s) - before, expected[i]);
    }
    for (uint32_t i = 0; i < 6; i++) { /* jitter: between half and the whole */
        int64_t whole = 100 << i < 2000 ? 100 << i : 2000;
        int64_t before = sim_now_ms(s);
        test_ok(ti_backoff_sleep(&b, TI_BACKOFF_RPC, -1, &why, &err), &err);
        assert_in_range(sim_now_ms(s) - before, whole / 2, whole);
    }
    end_sim(s);
}

static void a_budget_ends_with_the_longest_trouble(void **state)
{
    (void)state;
    sim *s = sim_create();
    ti_call call = call_ms(s, 3600000);
    ti_backoff b;
    ti_err why;
    ti_err err;
    ti_status status = TI_OK;
    ti_err_set(&why, TI_UNAVAILABLE, "what was seen");
    ti_backoff_init(&b, &s->base, &call, 20000);
    int64_t began = sim_now_ms(s);
    test_ok(ti_backoff_sleep(&b, TI_BACKOFF_REGION_MISS, -1, &why, &err), &err);
    while (status == TI_OK)
        status = ti_backoff_sleep(&b, TI_BACKOFF_DISK_FULL, -1, &why, &err);
    assert_int_equal(status, TI_UNAVAILABLE);
    assert_in_range(sim_now_ms(s) - began, 20000, 25000);
    assert_non_null(strstr(err.message, "full disks"));
    assert_non_null(strstr(err.message, "what was seen"));
    end_sim(s);
}

static void a_busy_store_is_not_charged(void **state)
{
    (void)state;
    sim *s = sim_create();
    ti_call call = call_ms(s, 3600000);
    ti_backoff b;
    ti_err why;
    ti_err err;
    ti_err_set(&why, TI_UNAVAILABLE, "busy");
    ti_backoff_init(&b, &s->base, &call, 20000);
    int64_t began = sim_now_ms(s);
    while (sim_now_ms(s) - began < 60000)
        test_ok(ti_backoff_sleep(&b, TI_BACKOFF_SERVER_BUSY, -1, &why, &err), &err);
    ti_status status = TI_OK;
    while (status == TI_OK)
        status = ti_backoff_sleep(&b, TI_BACKOFF_SERVER_BUSY, -1, &why, &err);
    assert_in_range(sim_now_ms(s) - began, 600000, 611000);
    end_sim(s);
}

static void deadline_and_cancel_are_seen_before_a_sleep(void **state)
{
    (void)state;
    sim *s = sim_create();
    _Atomic(int) cancelled = 0;
    ti_call call = call_ms(s, TI_BACKOFF_LAST_TRY_MS);
    ti_backoff b;
    ti_err why;
    ti_err err;
    ti_err_set(&why, TI_UNAVAILABLE, "seen");
    ti_backoff_init(&b, &s->base, &call, 20000);
    int64_t began = sim_now_ms(s);
    test_status(ti_backoff_sleep(&b, TI_BACKOFF_SERVER_BUSY, -1, &why, &err), TI_TIMEOUT);
    assert_int_equal(sim_now_ms(s), began);
    assert_string_equal(err.message, "no time is left after 1 attempt; last: seen");
    ti_call short_call = call_ms(s, 2);
    ti_backoff whole; /* its sleep takes all the time that there is */
    ti_backoff_init(&whole, &s->base, &short_call, 20000);
    test_ok(ti_backoff_check(&whole, &err), &err);
    test_ok(ti_backoff_sleep(&whole, TI_BACKOFF_REGION_MISS, -1, &why, &err), &err);
    test_status(ti_backoff_check(&whole, &err), TI_TIMEOUT);
    assert_non_null(strstr(err.message, "after 1 attempt and 2 ms of waiting; last: seen"));
    began = sim_now_ms(s);
    call.cancelled = &cancelled;
    atomic_store(&cancelled, 1);
    test_status(ti_backoff_sleep(&b, TI_BACKOFF_REGION_MISS, -1, &why, &err), TI_CANCELLED);
    assert_int_equal(sim_now_ms(s), began);
    end_sim(s);
}

/* A sleep that does not fit is cut: whoever waits is asked once more, shortly before the end. */
static void a_last_try_comes_before_the_deadline(void **state)
{
    (void)state;
    sim *s = sim_create();
    ti_call call = call_ms(s, 3000);
    ti_backoff b;
    ti_err why;
    ti_err err;
    ti_err_set(&why, TI_UNAVAILABLE, "refused");
    ti_backoff_init(&b, &s->base, &call, 20000);
    int64_t began = sim_now_ms(s);
    int tries = 1;
    while (ti_backoff_sleep(&b, TI_BACKOFF_PD, -1, &why, &err) == TI_OK)
        tries++;
    assert_int_equal(err.status, TI_TIMEOUT);
    assert_int_equal(sim_now_ms(s) - began, 3000 - TI_BACKOFF_LAST_TRY_MS);
    assert_in_range(tries, 4, 7);
    assert_non_null(strstr(err.message, "no time is left after"));
    call = call_ms(s, 1000); /* the last try finds no time: what was seen before is told */
    ti_backoff_init(&b, &s->base, &call, 20000);
    test_ok(ti_backoff_sleep(&b, TI_BACKOFF_SERVER_BUSY, -1, &why, &err), &err);
    sim_run(s, TI_BACKOFF_LAST_TRY_MS);
    ti_err_set(&why, TI_TIMEOUT, "no answer");
    test_status(ti_backoff_sleep(&b, TI_BACKOFF_SERVER_BUSY, -1, &why, &err), TI_TIMEOUT);
    assert_string_equal(
        err.message, "the deadline passed after 2 attempts and 950 ms of waiting; last: refused");
    call = call_ms(s, 1000); /* where the try could be a commit point there is none */
    ti_backoff_init(&b, &s->base, &call, 20000);
    b.no_last_try = true;
    began = sim_now_ms(s);
    test_status(ti_backoff_sleep(&b, TI_BACKOFF_WITNESS, -1, &why, &err), TI_OK);
    test_status(ti_backoff_sleep(&b, TI_BACKOFF_SERVER_BUSY, -1, &why, &err), TI_TIMEOUT);
    assert_in_range(sim_now_ms(s) - began, 500, 1000);
    end_sim(s);
}

/* Who is told to wait at the same time does not come back at the same time. */
static void sleeps_differ(void **state)
{
    (void)state;
    int64_t first_ms = 0;
    bool differ = false;
    sim *s = sim_create();
    ti_call call = call_ms(s, 3600000);
    ti_err why;
    ti_err err;
    ti_err_set(&why, TI_UNAVAILABLE, "seen");
    for (size_t i = 0; i < 8; i++) {
        ti_backoff b;
        ti_backoff_init(&b, &s->base, &call, 20000);
        int64_t began = sim_now_ms(s);
        test_ok(ti_backoff_sleep(&b, TI_BACKOFF_PD, -1, &why, &err), &err);
        int64_t slept_ms = sim_now_ms(s) - began;
        first_ms = i == 0 ? slept_ms : first_ms;
        differ |= slept_ms != first_ms;
    }
    assert_true(differ);
    end_sim(s);
}

static _Atomic(int) cancelled_meanwhile;
static const ti_wire_vt *uncancelled;
static int64_t cancel_at_ms;

/* The caller changes his mind half a second after the begin of a sleep. */
static void sleep_and_cancel(ti_wire *w, int64_t ns)
{
    uncancelled->sleep(w, ns);
    if (sim_now_ms((sim *)w) >= cancel_at_ms)
        atomic_store(&cancelled_meanwhile, 1);
}

static void a_cancel_ends_a_sleep(void **state)
{
    (void)state;
    sim *s = sim_create();
    ti_wire_vt cancels = *s->base.vt;
    uncancelled = s->base.vt;
    cancels.sleep = sleep_and_cancel;
    cancel_at_ms = sim_now_ms(s) + 500;
    ti_call call = call_ms(s, 3600000);
    ti_backoff b;
    ti_err why;
    ti_err err;
    int64_t began = sim_now_ms(s);
    ti_err_set(&why, TI_UNAVAILABLE, "busy");
    call.cancelled = &cancelled_meanwhile;
    ti_backoff_init(&b, &s->base, &call, 20000);
    s->base.vt = &cancels;
    ti_status status = ti_backoff_sleep(&b, TI_BACKOFF_SERVER_BUSY, -1, &why, &err);
    s->base.vt = uncancelled;
    test_status(status, TI_CANCELLED);
    assert_in_range(sim_now_ms(s) - began, 500, 520);
    assert_string_equal(err.message, "cancelled after 1 attempt; last: busy");
    end_sim(s);
}

static void attempts_are_bounded(void **state)
{
    (void)state;
    sim *s = sim_create();
    ti_call call = call_ms(s, 3600000);
    ti_backoff b;
    ti_err why;
    ti_err err;
    int count = 0;
    ti_err_set(&why, TI_CONFLICT, "again");
    ti_backoff_init(&b, &s->base, &call, 20000);
    while (ti_backoff_count(&b, &why, &err) == TI_OK)
        count++;
    assert_int_equal(count, TI_BACKOFF_ATTEMPTS_MAX - 1);
    assert_int_equal(err.status, TI_CONFLICT);
    assert_string_equal(err.message, "gave up after 4096 attempts; last: again");
    end_sim(s);
}

/* ---- timestamps ---- */

typedef struct tso_script {
    uint64_t physical;
    uint64_t logical;
    int wrong_count; /* the reply of this number says another count */
    int backwards;   /* the reply of this number is below the one before */
    int silent_from; /* from this reply on there is none */
    int64_t delay_ms;
    int replies;
} tso_script;

static void give_timestamps(void *context, sim *s, ti_stream *stream, ti_slice message)
{
    tso_script *script = context;
    ti_arena a;
    ti_err err;
    (void)s;
    ti_arena_init(&a);
    Pdpb__TsoRequest *request = ti_pb_unpack(&pdpb__tso_request__descriptor, message, &a, &err);
    ti_require(request != NULL);
    Pdpb__TsoResponse reply = PDPB__TSO_RESPONSE__INIT;
    Pdpb__Timestamp ts = PDPB__TIMESTAMP__INIT;
    int number = ++script->replies;
    script->logical += request->count;
    ts.physical = (int64_t)script->physical;
    ts.logical = (int64_t)(number == script->backwards ? script->logical - 1000 : script->logical);
    reply.count = request->count + (number == script->wrong_count ? 1 : 0);
    reply.timestamp = &ts;
    if (script->silent_from == 0 || number < script->silent_from)
        sim_answer(stream, ti_pb_pack(&reply.base, &a), script->delay_ms);
    ti_arena_free(&a);
}

static ti_tso *begin_tso(sim *s, tso_script *script)
{
    ti_tso *tso = NULL;
    ti_err err;
    s->context = script;
    s->on_message = give_timestamps;
    test_ok(ti_tso_create(&s->base, &tso, &err), &err);
    return tso;
}

static ti_status take_ts(sim *s, ti_tso *tso, uint64_t *ts_out)
{
    ti_call call = call_ms(s, 60000);
    ti_err err;
    return ti_tso_get(tso, "pd:1", 7, 3000000, ts_out, &call, &err);
}

static void timestamps_rise_and_are_decoded(void **state)
{
    (void)state;
    sim *s = sim_create();
    tso_script script = {.physical = 1000, .logical = 5, .delay_ms = 1};
    ti_tso *tso = begin_tso(s, &script);
    uint64_t ts = 0;
    for (uint64_t i = 1; i <= 100; i++) {
        assert_int_equal(take_ts(s, tso, &ts), TI_OK);
        assert_true(ts == (UINT64_C(1000) << 18) + 5 + i);
    }
    assert_int_equal(atomic_load(&s->opened), 1);
    ti_tso_close(tso);
    end_sim(s);
}

static void a_wrong_count_ends_the_stream(void **state)
{
    (void)state;
    sim *s = sim_create();
    tso_script script = {.physical = 1000, .wrong_count = 2};
    ti_tso *tso = begin_tso(s, &script);
    uint64_t ts = 0;
    assert_int_equal(take_ts(s, tso, &ts), TI_OK);
    assert_int_equal(take_ts(s, tso, &ts), TI_UNAVAILABLE);
    assert_int_equal(ts, 0);
    sim_run(s, 1);
    assert_int_equal(take_ts(s, tso, &ts), TI_OK);
    assert_int_equal(atomic_load(&s->opened), 2);
    ti_tso_close(tso);
    end_sim(s);
}

static void time_that_goes_backwards_is_refused(void **state)
{
    (void)state;
    sim *s = sim_create();
    tso_script script = {.physical = 1000, .logical = 5000, .backwards = 2};
    ti_tso *tso = begin_tso(s, &script);
    uint64_t first = 0;
    uint64_t ts = 0;
    assert_int_equal(take_ts(s, tso, &first), TI_OK);
    assert_int_equal(take_ts(s, tso, &ts), TI_UNAVAILABLE);
    sim_run(s, 1);
    assert_int_equal(take_ts(s, tso, &ts), TI_OK);
    assert_true(ts > first);
    ti_tso_close(tso);
    end_sim(s);
}

static void a_frozen_pd_fails_in_time(void **state)
{
    (void)state;
    sim *s = sim_create();
    tso_script script = {.physical = 1000, .silent_from = 1};
    ti_tso *tso = begin_tso(s, &script);
    uint64_t ts = 0;
    int64_t began = sim_now_ms(s);
    assert_int_equal(take_ts(s, tso, &ts), TI_TIMEOUT);
    assert_in_range(sim_now_ms(s) - began, 2999, 3001);
    script.silent_from = 0;
    sim_run(s, 1);
    assert_int_equal(take_ts(s, tso, &ts), TI_OK); /* on a new stream */
    assert_int_equal(atomic_load(&s->opened), 2);
    ti_tso_close(tso);
    end_sim(s);
}

/* An answer that comes after its stream was given up is older than the next question. */
static void late_answers_are_not_taken_for_new_ones(void **state)
{
    (void)state;
    sim *s = sim_create();
    tso_script script = {.physical = 1000, .logical = 10, .delay_ms = 3500};
    ti_tso *tso = begin_tso(s, &script);
    uint64_t ts = 0;
    assert_int_equal(take_ts(s, tso, &ts), TI_TIMEOUT);
    script.delay_ms = 1;
    sim_run(s, 1);
    assert_int_equal(take_ts(s, tso, &ts), TI_OK);
    assert_true(ts == (UINT64_C(1000) << 18) + 12);
    ti_tso_close(tso);
    end_sim(s);
}

/* One who takes timestamps on a thread of his own. */
typedef struct taker {
    sim *sim;
    ti_tso *tso;
    int64_t within_us;
    int times;
    ti_status last;
    ti_thread thread;
} taker;

static void *take_many(void *context)
{
    taker *t = context;
    for (int i = 0; i < t->times; i++) {
        uint64_t ts = 0;
        ti_err err;
        ti_call call = ti_call_within(&t->sim->env.env, t->within_us);
        t->last = ti_tso_get(t->tso, "pd:1", 7, 60000000, &ts, &call, &err);
        ti_require(t->last == TI_OK || t->last == TI_TIMEOUT);
    }
    return NULL;
}

/* Takers that wait for more company than there is; the first of them gives up before he would hurry
 * the others, when within_us is short. */
static void take_together(int64_t within_us, int times, uint64_t *requests_out)
{
    enum { TAKERS = 5 };
    sim *s = sim_create();
    tso_script script = {.physical = 1000, .logical = 10, .delay_ms = 1};
    _Atomic(int64_t) busy = 600;
    ti_tso *tso = begin_tso(s, &script);
    ti_tso_follow(tso, &busy);
    taker takers[TAKERS];
    ti_err err;
    uint64_t timestamps = 0;
    int64_t began = sim_now_ms(s);
    for (int i = 0; i < TAKERS; i++) {
        takers[i] = (taker){.sim = s, .tso = tso, .within_us = 30000000, .times = times};
        if (i == 0)
            takers[i].within_us = within_us;
        test_ok(ti_thread_start(&takers[i].thread, "taker", take_many, &takers[i], &err), &err);
    }
    for (int i = 0; i < TAKERS; i++)
        ti_thread_join(&takers[i].thread);
    for (int i = 1; i < TAKERS; i++)
        assert_int_equal(takers[i].last, TI_OK);
    assert_true(sim_now_ms(s) - began < 30000);
    ti_tso_counts(tso, requests_out, &timestamps);
    assert_true(timestamps >= (uint64_t)(TAKERS - 1) * (uint64_t)times);
    ti_tso_close(tso);
    end_sim(s);
}

static void who_waits_for_company_is_hurried_by_the_first(void **state)
{
    (void)state;
    uint64_t requests = 0;
    take_together(30000000, 20, &requests);
    assert_in_range(requests, 20, 100);
}

static void who_gives_up_leaves_nobody_waiting(void **state)
{
    (void)state;
    uint64_t requests = 0;
    for (int i = 0; i < 10; i++)
        take_together(500, 1, &requests);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sleeps_grow_to_their_cap),
        cmocka_unit_test(a_budget_ends_with_the_longest_trouble),
        cmocka_unit_test(a_busy_store_is_not_charged),
        cmocka_unit_test(deadline_and_cancel_are_seen_before_a_sleep),
        cmocka_unit_test(a_last_try_comes_before_the_deadline),
        cmocka_unit_test(sleeps_differ),
        cmocka_unit_test(a_cancel_ends_a_sleep),
        cmocka_unit_test(attempts_are_bounded),
        cmocka_unit_test(timestamps_rise_and_are_decoded),
        cmocka_unit_test(a_wrong_count_ends_the_stream),
        cmocka_unit_test(time_that_goes_backwards_is_refused),
        cmocka_unit_test(a_frozen_pd_fails_in_time),
        cmocka_unit_test(late_answers_are_not_taken_for_new_ones),
        cmocka_unit_test(who_waits_for_company_is_hurried_by_the_first),
        cmocka_unit_test(who_gives_up_leaves_nobody_waiting),
    };
    return TEST_RUN(tests);
}

/* Single flights on the simulated wire: who leads, who waits, and whose time is up. */
#include <pthread.h>

#include "tikv/sim.h"

#include "tikv/flight.h"

typedef struct follower {
    ti_flights *flights;
    sim *sim;
    uint64_t id;
    int64_t timeout_ms; /* 0: none; virtual time moves on to it while nothing else happens */
    const _Atomic(int) *cancelled;
    pthread_t thread;
    bool leads;
    int result;
    ti_status status;
    int64_t ended_ms;
} follower;

static void *follow(void *context)
{
    follower *f = context;
    ti_flight mine;
    ti_err err;
    ti_call call = ti_call_within(&f->sim->env.env,
                                  f->timeout_ms == 0 ? TI_NO_DEADLINE : f->timeout_ms * 1000);
    call.cancelled = f->cancelled;
    f->status = ti_flight_begin(f->flights, f->id, &mine, &f->leads, &f->result, &call, &err);
    f->ended_ms = sim_now_ms(f->sim);
    if (f->leads) {
        int result = -1;
        ti_flight_end(f->flights, &mine, &result);
    }
    return NULL;
}

static void begin(ti_flights *flights, sim **s, size_t size)
{
    ti_err err;
    *s = sim_create();
    test_ok(ti_flights_init(flights, &(*s)->base, size, &err), &err);
}

static void end(ti_flights *flights, sim *s)
{
    ti_flights_destroy(flights);
    s->base.vt->close(&s->base);
    sim_free(s);
}

/* Leads id in the calling thread. */
static void lead(ti_flights *flights, sim *s, uint64_t id, ti_flight *mine)
{
    bool leads = false;
    int result = 0;
    ti_err err;
    ti_call call = ti_call_within(&s->env.env, 1000000);
    test_ok(ti_flight_begin(flights, id, mine, &leads, &result, &call, &err), &err);
    assert_true(leads);
}

static void followers_get_the_result(void **state)
{
    (void)state;
    enum { COUNT = 8 };
    sim *s = NULL;
    ti_flights flights;
    ti_flight mine;
    follower all[COUNT];
    int result = 42;
    begin(&flights, &s, sizeof(int));
    lead(&flights, s, 7, &mine);
    for (size_t i = 0; i < COUNT; i++) {
        all[i] = (follower){.flights = &flights, .sim = s, .id = 7};
        assert_int_equal(pthread_create(&all[i].thread, NULL, follow, &all[i]), 0);
    }
    usleep(50000); /* most of them wait by now */
    ti_flight_end(&flights, &mine, &result);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(pthread_join(all[i].thread, NULL), 0);
        assert_int_equal(all[i].status, TI_OK);
        /* One that came after the end leads a flight of its own, whose result others may share. */
        assert_true(all[i].leads || all[i].result == 42 || all[i].result == -1);
    }
    end(&flights, s);
}

static void another_id_does_not_wait(void **state)
{
    (void)state;
    sim *s = NULL;
    ti_flights flights;
    ti_flight one;
    ti_flight two;
    int result = 1;
    begin(&flights, &s, sizeof(int));
    lead(&flights, s, 1, &one);
    lead(&flights, s, 1 + TI_FLIGHT_BUCKETS, &two);
    ti_flight_end(&flights, &one, &result);
    ti_flight_end(&flights, &two, &result);
    lead(&flights, s, 1, &one); /* nobody is at it any more */
    ti_flight_end(&flights, &one, &result);
    end(&flights, s);
}

/* A follower ends by its own deadline, exactly, or when it is cancelled; the leader goes on. */
static void a_follower_s_time_is_its_own(void **state)
{
    (void)state;
    sim *s = NULL;
    ti_flights flights;
    ti_flight mine;
    _Atomic(int) cancelled = 0;
    int result = 42;
    begin(&flights, &s, sizeof(int));
    lead(&flights, s, 7, &mine);
    int64_t began_ms = sim_now_ms(s);
    follower late = {.flights = &flights, .sim = s, .id = 7, .timeout_ms = 500};
    assert_null(follow(&late)); /* virtual time: it waits in this thread */
    assert_int_equal(late.status, TI_TIMEOUT);
    assert_false(late.leads);
    assert_in_range(late.ended_ms - began_ms, 500, 501);
    follower tired = {
        .flights = &flights, .sim = s, .id = 7, .timeout_ms = 5000, .cancelled = &cancelled};
    assert_int_equal(pthread_create(&tired.thread, NULL, follow, &tired), 0);
    atomic_store(&cancelled, 1);
    assert_int_equal(pthread_join(tired.thread, NULL), 0);
    assert_true(tired.status == TI_CANCELLED || tired.status == TI_TIMEOUT);
    ti_flight_end(&flights, &mine, &result);
    end(&flights, s);
}

typedef struct slow_leader {
    ti_flights *flights;
    ti_flight *mine;
    pthread_t thread;
} slow_leader;

/* Computes for a while: the thread can run all that time, whether it has a processor or not. */
static void *compute_and_end(void *context)
{
    slow_leader *l = context;
    int result = 42;
    int64_t until_ns = ti_env_mono_ns(ti_env_real()) + INT64_C(30000000);
    while (ti_env_mono_ns(ti_env_real()) < until_ns) {
    }
    ti_flight_end(l->flights, l->mine, &result);
    return NULL;
}

/* A leader who has no processor costs a follower no simulated time: without that, pairs of the
 * fault matrix stood still until their deadlines on loaded machines. */
static void time_stands_while_a_leader_computes(void **state)
{
    (void)state;
    sim *s = NULL;
    ti_flights flights;
    ti_flight mine;
    begin(&flights, &s, sizeof(int));
    for (int i = 0; i < 10; i++) {
        lead(&flights, s, 7, &mine);
        int64_t began_ms = sim_now_ms(s);
        slow_leader leader = {.flights = &flights, .mine = &mine};
        assert_int_equal(pthread_create(&leader.thread, NULL, compute_and_end, &leader), 0);
        follower late = {.flights = &flights, .sim = s, .id = 7, .timeout_ms = 500};
        assert_null(follow(&late));
        assert_int_equal(pthread_join(leader.thread, NULL), 0);
        test_status(late.status, TI_OK);
        assert_true(late.leads || late.result == 42);
        assert_int_equal(late.ended_ms, began_ms);
    }
    end(&flights, s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(followers_get_the_result),
        cmocka_unit_test(another_id_does_not_wait),
        cmocka_unit_test(a_follower_s_time_is_its_own),
        cmocka_unit_test(time_stands_while_a_leader_computes),
    };
    return TEST_RUN(tests);
}

/* The embedded clock: alone on a machine of the test's own, and through the engine across restarts,
 * crashes and jumps of the wall clock. */
#include "engine/engine.h"
#include "golden/golden.h"

#include <sys/wait.h>

#include "rocks/rocks_int.h"

#define HOUR_US (INT64_C(3600) * 1000000)
#define START_US (INT64_C(1700000000) * 1000000)

static ti_ts tick(ti_clock *c)
{
    ti_ts ts;
    if (ti_clock_tick(c, &ts) == TI_TICK_REFUSED) {
        ti_clock_set_bound(c, ti_clock_next_bound(c, false));
        assert_int_not_equal(ti_clock_tick(c, &ts), TI_TICK_REFUSED);
    }
    return ts;
}

static void it_follows_the_wall_clock(void **state)
{
    test_env env;
    ti_clock c;
    ti_err err;
    (void)state;
    test_env_init(&env, START_US, 1);
    test_ok(ti_clock_init(&c, &env.env, TI_TS_NONE, &err), &err);
    ti_ts last = 0;
    for (int i = 0; i < 10000; i++) {
        ti_ts ts = tick(&c);
        assert_true(ts > last);
        int64_t off_us = ti_ts_to_us(ts) - atomic_load(&env.wall_us);
        assert_true(off_us <= 0 && off_us > -1000);
        last = ts;
        test_env_advance_us(&env, i % 7 * 300);
    }
    ti_clock_destroy(&c);
}

static void it_goes_at_half_speed_while_ahead(void **state)
{
    test_env env;
    ti_clock c;
    ti_err err;
    (void)state;
    test_env_init(&env, START_US, 1);
    test_ok(ti_clock_init(&c, &env.env, TI_TS_NONE, &err), &err);
    (void)tick(&c);
    test_env_set_wall_us(&env, START_US - HOUR_US);
    ti_ts last = 0;
    int64_t behind_us = 0;
    for (int64_t gone_us = 0; gone_us < 3 * HOUR_US; gone_us += 250000) {
        ti_ts ts = tick(&c);
        assert_true(ts > last);
        last = ts;
        int64_t wall_us = atomic_load(&env.wall_us);
        int64_t half_us = START_US + gone_us / 2;
        int64_t wanted_us = wall_us > half_us ? wall_us : half_us;
        int64_t off_us = ti_ts_to_us(ts) - wanted_us;
        assert_true(off_us < 300000 && off_us > -300000);
        behind_us = wall_us - ti_ts_to_us(ts);
        test_env_advance_us(&env, 250000);
    }
    assert_true(behind_us < 1000); /* in the end the wall clock has caught up */
    ti_clock_destroy(&c);
}

static void it_jumps_forward_with_the_wall_clock(void **state)
{
    test_env env;
    ti_clock c;
    ti_err err;
    (void)state;
    test_env_init(&env, START_US, 1);
    test_ok(ti_clock_init(&c, &env.env, TI_TS_NONE, &err), &err);
    ti_ts before = tick(&c);
    test_env_set_wall_us(&env, START_US + 5 * HOUR_US);
    test_env_advance_us(&env, 2000);
    ti_ts after = tick(&c);
    assert_true(ti_ts_to_us(after) - ti_ts_to_us(before) >= 5 * HOUR_US);
    ti_clock_destroy(&c);
}

static void nothing_is_handed_out_beyond_the_bound(void **state)
{
    test_env env;
    ti_clock c;
    ti_err err;
    ti_ts ts;
    (void)state;
    test_env_init(&env, START_US, 1);
    test_ok(ti_clock_init(&c, &env.env, TI_TS_NONE, &err), &err);
    assert_int_equal(ti_clock_tick(&c, &ts), TI_TICK_REFUSED);
    ti_ts bound = ti_clock_next_bound(&c, true);
    assert_true(bound != TI_TS_NONE);
    ti_clock_set_bound(&c, bound);
    ti_clock_set_bound(&c, bound - 1); /* never back */
    assert_int_equal(ti_clock_tick(&c, &ts), TI_TICK_OK);
    assert_int_equal(ti_clock_next_bound(&c, true), TI_TS_NONE); /* too early for another */
    int soon = 0;
    while (ti_clock_tick(&c, &ts) != TI_TICK_REFUSED) {
        assert_true(ts < bound);
        soon += ti_clock_tick(&c, &ts) == TI_TICK_SOON;
        test_env_advance_us(&env, 10000);
    }
    assert_true(soon > 50);
    ti_ts last = ti_clock_last(&c);
    ti_clock_destroy(&c);
    /* The next process starts at the bound, wherever its wall clock is. */
    test_env_set_wall_us(&env, START_US - 9 * HOUR_US);
    test_ok(ti_clock_init(&c, &env.env, bound, &err), &err);
    assert_int_equal(ti_clock_tick(&c, &ts), TI_TICK_REFUSED);
    assert_true(tick(&c) > last);
    ti_clock_destroy(&c);
}

/* Processes that follow each other closely: each gives back what it had reserved. */
static void short_lives_do_not_push_the_time_ahead(void **state)
{
    test_env env;
    ti_clock c;
    ti_err err;
    ti_ts bound = TI_TS_NONE;
    ti_ts last = TI_TS_NONE;
    (void)state;
    test_env_init(&env, START_US, 1);
    for (int i = 0; i < 1000; i++) {
        test_ok(ti_clock_init(&c, &env.env, bound, &err), &err);
        assert_int_equal(ti_clock_closing_bound(&c), TI_TS_NONE); /* nothing was reserved */
        ti_ts first = tick(&c);
        assert_true(first > last);
        last = tick(&c);
        bound = ti_clock_closing_bound(&c);
        assert_true(bound != TI_TS_NONE);
        assert_true(bound > last);
        ti_clock_destroy(&c);
        test_env_advance_us(&env, 1000);
    }
    assert_in_range(ti_ts_to_us(last), START_US, START_US + 2000000);
}

static void many_timestamps_in_one_millisecond(void **state)
{
    test_env env;
    ti_clock c;
    ti_err err;
    ti_ts last = 0;
    (void)state;
    test_env_init(&env, START_US, 1);
    test_ok(ti_clock_init(&c, &env.env, TI_TS_NONE, &err), &err);
    for (int i = 0; i < 600000; i++) {
        ti_ts ts = tick(&c);
        assert_true(ts > last);
        last = ts;
    }
    assert_true(ti_ts_to_us(last) - START_US < 5000);
    ti_clock_destroy(&c);
}

/* Restarts with the wall clock anywhere: commits, snapshots and now() never go back. */
static void restarts_and_jumps_never_go_back(void **state)
{
    test_random r = test_random_start(51);
    test_env env;
    db d;
    ti_ts last = 0;
    (void)state;
    test_env_init(&env, START_US, 1);
    db_open_with(&d, &env.env, false);
    for (uint64_t round = 0; round < test_scaled(40); round++) {
        for (int i = 0; i < 20; i++) {
            ti_ts ts = i % 3 == 0 ? db_set(&d, "a", "1") : db_now(&d);
            assert_true(ts > last);
            last = ts;
            ti_snapshot *s = db_begin(&d);
            assert_true(db_ts(&d, s) > last);
            last = db_ts(&d, s);
            d.vt->release(s);
            test_env_advance_us(&env, (int64_t)test_random_below(&r, 3000000));
            if (test_random_one_in(&r, 10))
                test_env_set_wall_us(&env,
                                     START_US + ((int64_t)test_random_below(&r, 12) - 6) * HOUR_US);
            d.call = ti_call_within(&env.env, 60000000);
        }
        ti_rocks_options options = db_small_options();
        d.vt->unref(d.e);
        test_env_set_wall_us(&env, START_US - (int64_t)test_random_below(&r, 100) * HOUR_US);
        test_ok(db_try_open(&d, &options), &d.err);
    }
    db_close(&d);
}

/* A process that dies without closing, having only asked for the time. */
static void a_crash_does_not_set_the_clock_back(void **state)
{
    db d;
    ti_ts told = 0;
    int pipes[2];
    int result;
    char dir[TEST_DIR_SIZE];
    (void)state;
    test_dir_make(dir);
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        test_env env;
        ti_rocks_options options = db_small_options();
        test_env_init(&env, START_US, 1);
        memset(&d, 0, sizeof(d));
        d.env = &env.env;
        ti_arena_init(&d.a);
        memcpy(d.dir, dir, sizeof(dir));
        ti_require(db_try_open(&d, &options) == TI_OK);
        d.vt = d.e->vt;
        for (int i = 0; i < 100; i++) {
            told = db_now(&d);
            test_env_advance_us(&env, 100000);
        }
        _exit(write(pipes[1], &told, sizeof(told)) == (ssize_t)sizeof(told) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    assert_int_equal(read(pipes[0], &told, sizeof(told)), sizeof(told));
    test_env env;
    test_env_init(&env, START_US - HOUR_US, 1);
    ti_rocks_options options = db_small_options();
    memset(&d, 0, sizeof(d));
    d.env = &env.env;
    ti_arena_init(&d.a);
    memcpy(d.dir, dir, sizeof(dir));
    test_ok(db_try_open(&d, &options), &d.err);
    d.vt = d.e->vt;
    assert_true(db_now(&d) > told);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
    db_close(&d);
}

static void the_stored_bound_keeps_its_bytes(void **state)
{
    char bytes[TI_ROCKS_BOUND_SIZE];
    ti_ts bound;
    ti_err err;
    (void)state;
    ti_rocks_encode_bound(UINT64_C(0x0123456789abcdef), bytes);
    ti_slice slice = {.data = bytes, .len = sizeof(bytes)};
    golden_check("rocks.txt", "clock_key", ti_rocks_clock_key);
    golden_check("rocks.txt", "clock_bound", slice);
    test_ok(ti_rocks_decode_bound(slice, &bound, &err), &err);
    assert_int_equal(bound, UINT64_C(0x0123456789abcdef));
    slice.len--;
    test_status(ti_rocks_decode_bound(slice, &bound, &err), TI_CORRUPT);
    test_status(ti_rocks_decode_bound(TI_SLICE_NONE, &bound, &err), TI_CORRUPT);
    slice.len++;
    bytes[0] = 2;
    test_status(ti_rocks_decode_bound(slice, &bound, &err), TI_UNSUPPORTED);
    bytes[0] = 0;
    test_status(ti_rocks_decode_bound(slice, &bound, &err), TI_CORRUPT);
}

static void timestamps_are_moved_by_time(void **state)
{
    (void)state;
    ti_ts ts = ti_ts_from_us(START_US) + 5;
    assert_int_equal(ti_ts_to_us(ti_ts_add_us(ts, 3000)), START_US + 3000);
    assert_int_equal(ti_ts_to_us(ti_ts_add_us(ts, -3000)), START_US - 3000);
    assert_int_equal(ti_ts_logical(ti_ts_add_us(ts, 3000)), 5);
    assert_int_equal(ti_ts_add_us(ts, INT64_MAX), TI_TS_MAX);
    assert_int_equal(ti_ts_add_us(ts, INT64_MIN), TI_TS_NONE);
    assert_int_equal(ti_ts_add_us(ts, 0), ts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_does_not_set_the_clock_back), /* first: it forks */
        cmocka_unit_test(it_follows_the_wall_clock),
        cmocka_unit_test(it_goes_at_half_speed_while_ahead),
        cmocka_unit_test(it_jumps_forward_with_the_wall_clock),
        cmocka_unit_test(nothing_is_handed_out_beyond_the_bound),
        cmocka_unit_test(short_lives_do_not_push_the_time_ahead),
        cmocka_unit_test(many_timestamps_in_one_millisecond),
        cmocka_unit_test(restarts_and_jumps_never_go_back),
        cmocka_unit_test(the_stored_bound_keeps_its_bytes),
        cmocka_unit_test(timestamps_are_moved_by_time),
    };
    return TEST_RUN(tests);
}

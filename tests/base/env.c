/* Clocks, randomness, and the bounds of a call. */
#include "support/test.h"

#include "base/env.h"

static void the_real_machine_ticks(void **state)
{
    const ti_env *env = ti_env_real();
    unsigned char bytes[1000] = {0};
    (void)state;
    int64_t before = ti_env_mono_ns(env);
    ti_env_sleep_ns(env, 2000000);
    ti_env_sleep_ns(env, 0);
    ti_env_sleep_ns(env, -5);
    int64_t after = ti_env_mono_ns(env);
    assert_true(after - before >= 2000000);
    assert_true(ti_env_wall_us(env) > INT64_C(1600000000000000));
    ti_env_random(env, bytes, sizeof(bytes));
    int zeros = 0;
    for (size_t i = 0; i < sizeof(bytes); i++)
        zeros += bytes[i] == 0;
    assert_in_range(zeros, 0, 30);
    ti_env_random(env, bytes, 0);
}

static void a_call_ends_by_time(void **state)
{
    test_env e;
    ti_err err;
    (void)state;
    test_env_init(&e, 0, 1);
    ti_call call = ti_call_within(&e.env, 1000);
    test_ok(ti_call_check(&call, "work", &err), &err);
    assert_true(ti_call_left_ns(&call) == 1000000);
    test_env_advance_us(&e, 999);
    test_ok(ti_call_check(&call, "work", &err), &err);
    test_env_advance_us(&e, 1);
    test_status(ti_call_check(&call, "work", &err), TI_TIMEOUT);
    assert_string_equal(err.message, "work did not end within its timeout");
    assert_true(ti_call_left_ns(&call) == 0);
}

static void timeouts_of_any_size_are_legal(void **state)
{
    test_env e;
    (void)state;
    test_env_init(&e, 0, 1);
    ti_call call = ti_call_within(&e.env, 0);
    test_status(ti_call_check(&call, "work", NULL), TI_TIMEOUT);
    call = ti_call_within(&e.env, INT64_MIN);
    test_status(ti_call_check(&call, "work", NULL), TI_TIMEOUT);
    call = ti_call_within(&e.env, INT64_MAX - 1);
    assert_true(call.deadline_ns == TI_NO_DEADLINE);
    call = ti_call_within(&e.env, TI_NO_DEADLINE);
    test_status(ti_call_check(&call, "work", NULL), TI_OK);
    assert_true(ti_call_left_ns(&call) == INT64_MAX);
}

static void a_cancelled_call_ends_first(void **state)
{
    test_env e;
    ti_err err;
    _Atomic(int) cancelled = 0;
    (void)state;
    test_env_init(&e, 0, 1);
    ti_call call = ti_call_within(&e.env, 0);
    call.cancelled = &cancelled;
    test_status(ti_call_check(&call, "commit", &err), TI_TIMEOUT);
    atomic_store(&cancelled, 1);
    test_status(ti_call_check(&call, "commit", &err), TI_CANCELLED);
    assert_string_equal(err.message, "commit was cancelled");
}

/* The helpers of support/test.h are what other tests stand on. */
static void the_test_machine_obeys(void **state)
{
    test_env e;
    char dir[TEST_DIR_SIZE];
    (void)state;
    test_env_init(&e, 500, 7);
    ti_env_sleep_ns(&e.env, 3000);
    assert_true(ti_env_wall_us(&e.env) == 503);
    assert_true(atomic_load(&e.slept_ns) == 3000);
    test_env_set_wall_us(&e, 1);
    assert_true(ti_env_wall_us(&e.env) == 1);
    test_dir_make(dir);
    assert_int_equal(access(dir, W_OK), 0);
    test_dir_remove(dir);
    assert_int_not_equal(access(dir, F_OK), 0);
    assert_true(test_scaled(0) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_real_machine_ticks),
        cmocka_unit_test(a_call_ends_by_time),
        cmocka_unit_test(timeouts_of_any_size_are_legal),
        cmocka_unit_test(a_cancelled_call_ends_first),
        cmocka_unit_test(the_test_machine_obeys),
    };
    return TEST_RUN(tests);
}

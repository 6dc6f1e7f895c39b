/* What every test program shares: cmocka, the volume, seeded randomness, a temporary directory, and
 * a machine whose clocks the test owns.
 *
 *   TITO_TEST_SCALE   a factor on volumes, default 1: test_scaled(10000) gives 500 at 0.05
 *   TITO_TEST_SEED    the seed of test_random_start; without it a fresh one, printed when used and
 *                     again when the program fails
 *
 * INVARIANTS
 *  1. The same seed gives the same numbers on every machine.
 *  2. A failing program prints the seed that it ran with.
 *
 * Thread rule: a test_random belongs to one thread; a test_env may be shared by all.
 *
 *     int main(void)
 *     {
 *         const struct CMUnitTest tests[] = {cmocka_unit_test(adds_up)};
 *         return TEST_RUN(tests);
 *     }
 */
#ifndef TITO_TESTS_SUPPORT_TEST_H
#define TITO_TESTS_SUPPORT_TEST_H

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/status.h"

/* ---- volume ---- */

/* TITO_TEST_SCALE, or 1. */
static inline double test_scale(void)
{
    const char *text = getenv("TITO_TEST_SCALE");
    double scale = text == NULL ? 1.0 : strtod(text, NULL);
    return scale > 0 ? scale : 1.0;
}

/* volume times the scale, at least 1. */
static inline uint64_t test_scaled(uint64_t volume)
{
    double scaled = (double)volume * test_scale();
    return scaled < 1 ? 1 : (uint64_t)scaled;
}

/* ---- randomness ---- */

typedef struct test_random {
    uint64_t state;
} test_random;

/* The program's seed: 0 until test_random_start was called. */
static uint64_t test_seed_used;

/* The next 64 bits (splitmix64). */
static inline uint64_t test_random_u64(test_random *r)
{
    uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A stream of the program's seed; different streams for different values of stream. */
static inline test_random test_random_start(uint64_t stream)
{
    if (test_seed_used == 0) {
        const char *text = getenv("TITO_TEST_SEED");
        if (text != NULL)
            test_seed_used = strtoull(text, NULL, 0);
        else
            ti_env_real()->random(ti_env_real(), &test_seed_used, sizeof(test_seed_used));
        if (test_seed_used == 0)
            test_seed_used = 1;
        fprintf(stderr, "TITO_TEST_SEED=0x%llx\n", (unsigned long long)test_seed_used);
    }
    test_random r = {.state = test_seed_used ^ (stream * UINT64_C(0xd1342543de82ef95))};
    (void)test_random_u64(&r);
    return r;
}

/* 0 … below - 1; below > 0. */
static inline uint64_t test_random_below(test_random *r, uint64_t below)
{
    return test_random_u64(r) % below;
}

/* True once in one_in calls. */
static inline bool test_random_one_in(test_random *r, uint64_t one_in)
{
    return test_random_below(r, one_in) == 0;
}

static inline void test_random_fill(test_random *r, void *out, size_t len)
{
    unsigned char *at = (unsigned char *)out;
    for (size_t i = 0; i < len; i++)
        at[i] = (unsigned char)(test_random_u64(r) >> 32);
}

/* ---- running ---- */

/* Passes a group's result on, after naming the seed when it failed. */
static inline int test_finish(int failed)
{
    if (failed != 0 && test_seed_used != 0)
        fprintf(stderr, "failed with TITO_TEST_SEED=0x%llx\n", (unsigned long long)test_seed_used);
    return failed != 0 ? 1 : 0;
}

#define TEST_RUN(tests) test_finish(cmocka_run_group_tests(tests, NULL, NULL))

/* Fails with the error's message when call does not answer TI_OK. */
#define test_ok(call, err)                                                                         \
    do {                                                                                           \
        ti_status test_status_ = (call);                                                           \
        if (test_status_ != TI_OK)                                                                 \
            fail_msg("%s: %s: %s", #call, ti_status_name(test_status_), (err)->message);           \
    } while (0)

/* Fails when call does not answer expected. */
#define test_status(call, expected)                                                                \
    do {                                                                                           \
        ti_status test_status_ = (call);                                                           \
        if (test_status_ != (expected))                                                            \
            fail_msg("%s: %s instead of %s", #call, ti_status_name(test_status_),                  \
                     ti_status_name(expected));                                                    \
    } while (0)

/* ---- a temporary directory ---- */

#define TEST_DIR_SIZE 256

/* Makes a fresh directory under $TMPDIR or /tmp; removed with test_dir_remove. */
static inline void test_dir_make(char out[TEST_DIR_SIZE])
{
    const char *base = getenv("TMPDIR");
    int len = snprintf(out, TEST_DIR_SIZE, "%s/tito-test-XXXXXX", base != NULL ? base : "/tmp");
    assert_true(len > 0 && len < TEST_DIR_SIZE);
    assert_non_null(mkdtemp(out));
}

static inline int test_dir_remove_one(const char *path, const struct stat *st, int kind,
                                      struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

/* Removes a directory and everything in it. */
static inline void test_dir_remove(const char *path)
{
    assert_non_null(strstr(path, "tito-test-"));
    assert_int_equal(nftw(path, test_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- a machine of the test's own ---- */

/* Time stands still until the test (or a sleep) moves it; randomness is a seeded stream. */
typedef struct test_env {
    ti_env env; /* first: &e->env is the ti_env to pass */
    _Atomic(int64_t) wall_us;
    _Atomic(int64_t) mono_ns;
    _Atomic(uint64_t) random;
    _Atomic(int64_t) slept_ns; /* all sleeps together */
} test_env;

/* The test_env that env is the first member of. Its clocks are atomics, so it is cast writable. */
static inline test_env *test_env_of(const ti_env *env)
{
    return (test_env *)(uintptr_t)env;
}

static inline int64_t test_env_wall_us(const ti_env *env)
{
    return atomic_load(&test_env_of(env)->wall_us);
}

static inline int64_t test_env_mono_ns(const ti_env *env)
{
    return atomic_load(&test_env_of(env)->mono_ns);
}

static inline void test_env_random(const ti_env *env, void *out, size_t len)
{
    test_random r = {.state = atomic_fetch_add(&test_env_of(env)->random, 0x1234567)};
    test_random_fill(&r, out, len);
}

/* Moves both clocks forward. */
static inline void test_env_advance_us(test_env *e, int64_t us)
{
    atomic_fetch_add(&e->wall_us, us);
    atomic_fetch_add(&e->mono_ns, us * 1000);
}

/* A sleep takes no real time: it moves both clocks. */
static inline void test_env_sleep_ns(const ti_env *env, int64_t ns)
{
    test_env *e = test_env_of(env);
    atomic_fetch_add(&e->slept_ns, ns);
    atomic_fetch_add(&e->wall_us, ns / 1000);
    atomic_fetch_add(&e->mono_ns, ns);
}

/* Sets the wall clock alone: a jump, as an administrator makes one. */
static inline void test_env_set_wall_us(test_env *e, int64_t wall_us)
{
    atomic_store(&e->wall_us, wall_us);
}

/* A machine at wall_us whose monotonic clock shows one second. */
static inline void test_env_init(test_env *e, int64_t wall_us, uint64_t seed)
{
    e->env.wall_us = test_env_wall_us;
    e->env.mono_ns = test_env_mono_ns;
    e->env.random = test_env_random;
    e->env.sleep_ns = test_env_sleep_ns;
    atomic_init(&e->wall_us, wall_us);
    atomic_init(&e->mono_ns, 1000000000);
    atomic_init(&e->random, seed);
    atomic_init(&e->slept_ns, 0);
}

#endif

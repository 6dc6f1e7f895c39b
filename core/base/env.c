/* The real machine behind ti_env, and the bounds of one call.
 *
 * INVARIANTS
 *  1. Randomness comes from the kernel and can not fail: without it the process ends, since ids
 *     and secrets depend on it.
 *  2. Arithmetic on deadlines saturates: a timeout of any size is legal.
 *
 * Thread rule: any thread. */
#include "base/env.h"

#include <errno.h>
#include <sys/random.h>
#include <stdlib.h>
#include <time.h>

#include "base/assert.h"

#define NS_PER_S 1000000000
#define US_PER_S 1000000
#define NS_PER_US 1000

static int64_t real_wall_us(const ti_env *env)
{
    struct timespec now;
    (void)env;
    ti_require(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (int64_t)now.tv_sec * US_PER_S + now.tv_nsec / NS_PER_US;
}

static int64_t real_mono_ns(const ti_env *env)
{
    struct timespec now;
    (void)env;
    ti_require(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void real_random(const ti_env *env, void *out, size_t len)
{
    unsigned char *at = out;
    (void)env;
    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0 && errno == EINTR)
            continue;
        ti_require(got > 0);
        at += got;
        len -= (size_t)got;
    }
}

static void real_sleep_ns(const ti_env *env, int64_t ns)
{
    struct timespec left = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    (void)env;
    if (ns <= 0)
        return;
    int rc;
    do
        rc = clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left);
    while (rc == EINTR);
    ti_assert(rc == 0);
}

bool ti_env_has_variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

const ti_env *ti_env_real(void)
{
    static const ti_env real = {
        .wall_us = real_wall_us,
        .mono_ns = real_mono_ns,
        .random = real_random,
        .sleep_ns = real_sleep_ns,
    };
    return &real;
}

ti_call ti_call_within(const ti_env *env, int64_t timeout_us)
{
    ti_call call = {.env = env, .deadline_ns = TI_NO_DEADLINE, .cancelled = NULL};
    ti_assert(env != NULL);
    if (timeout_us == TI_NO_DEADLINE)
        return call;
    int64_t now = ti_env_mono_ns(env);
    if (timeout_us <= 0)
        call.deadline_ns = now;
    else if (timeout_us < (INT64_MAX - now) / NS_PER_US)
        call.deadline_ns = now + timeout_us * NS_PER_US;
    return call;
}

ti_status ti_call_check(const ti_call *call, const char *what, ti_err *err)
{
    ti_assert(call != NULL);
    ti_assert(what != NULL);
    if (call->cancelled != NULL && atomic_load_explicit(call->cancelled, memory_order_acquire) != 0)
        return ti_err_set(err, TI_CANCELLED, "%s was cancelled", what);
    if (call->deadline_ns != TI_NO_DEADLINE && ti_env_mono_ns(call->env) >= call->deadline_ns)
        return ti_err_set(err, TI_TIMEOUT, "%s did not end within its timeout", what);
    return TI_OK;
}

int64_t ti_call_left_ns(const ti_call *call)
{
    ti_assert(call != NULL);
    if (call->deadline_ns == TI_NO_DEADLINE)
        return INT64_MAX;
    int64_t now = ti_env_mono_ns(call->env);
    return now >= call->deadline_ns ? 0 : call->deadline_ns - now;
}

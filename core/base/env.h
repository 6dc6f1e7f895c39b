/* The seam to the machine: clocks, randomness, sleep. Everything that asks for the time or waits
 * goes through a ti_env, so that a test (later a simulator) can own them. Threads, mutexes and
 * conditions: thread.h. */
#ifndef TI_BASE_ENV_H
#define TI_BASE_ENV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct ti_env ti_env;
struct ti_env {
    int64_t (*wall_us)(const ti_env *env); /* µs since the Unix epoch; may jump */
    int64_t (*mono_ns)(const ti_env *env); /* ns, never goes back */
    void (*random)(const ti_env *env, void *out,
                   size_t len); /* unpredictable bytes; can not fail */
    void (*sleep_ns)(const ti_env *env, int64_t ns);
};

/* The real machine. Static, never freed. @thread any */
const ti_env *ti_env_real(void);

/* Whether the process's environment has this variable, and not empty. @thread any, while nobody
 * changes the environment */
bool ti_env_has_variable(const char *name);

static inline int64_t ti_env_wall_us(const ti_env *env)
{
    return env->wall_us(env);
}
static inline int64_t ti_env_mono_ns(const ti_env *env)
{
    return env->mono_ns(env);
}
static inline void ti_env_random(const ti_env *env, void *out, size_t len)
{
    env->random(env, out, len);
}
static inline void ti_env_sleep_ns(const ti_env *env, int64_t ns)
{
    env->sleep_ns(env, ns);
}

/* A bound on one call: who may end it early, and when. Lives as long as the call; passed down by
 * pointer, never kept. */
typedef struct ti_call {
    const ti_env *env;
    int64_t deadline_ns; /* on env's monotonic clock; TI_NO_DEADLINE = none */
    const _Atomic(int)
        *cancelled; /* non-zero ends the call with CANCELLED; NULL = can not be cancelled */
} ti_call;

#define TI_NO_DEADLINE INT64_MAX

/* A call that ends timeout_us from now (timeout_us <= 0: TIMEOUT at its first check;
 * TI_NO_DEADLINE: none) and can not be cancelled. Reads the clock only when there is a deadline.
 * @thread any */
ti_call ti_call_within(const ti_env *env, int64_t timeout_us);
/* OK, or TIMEOUT or CANCELLED with a message naming what ("commit"). Looked at before every wait
 * and between steps of long work. Cheap: the clock is read only when there is a deadline. @thread
 * any */
ti_status ti_call_check(const ti_call *call, const char *what, ti_err *err);
/* ns until the deadline, never negative; INT64_MAX without one. @thread any */
int64_t ti_call_left_ns(const ti_call *call);

#endif

/* A machine that can stand still: whoever looks at its time meanwhile waits, as under SIGSTOP. */
#ifndef TITO_TESTS_QUEUE_STILL_H
#define TITO_TESTS_QUEUE_STILL_H

#include "support/test.h"

typedef struct still_env {
    ti_env env;
    _Atomic(bool) still;
} still_env;

static inline void stand(const ti_env *env)
{
    while (atomic_load(&((const still_env *)(const void *)env)->still))
        usleep(500);
}

static inline int64_t still_wall_us(const ti_env *env)
{
    stand(env);
    return ti_env_wall_us(ti_env_real());
}

static inline int64_t still_mono_ns(const ti_env *env)
{
    stand(env);
    return ti_env_mono_ns(ti_env_real());
}

static inline void still_random(const ti_env *env, void *out, size_t len)
{
    (void)env;
    ti_env_random(ti_env_real(), out, len);
}

static inline void still_sleep_ns(const ti_env *env, int64_t ns)
{
    stand(env);
    ti_env_sleep_ns(ti_env_real(), ns);
}

static inline void still_init(still_env *env)
{
    memset(env, 0, sizeof(*env));
    env->env = (ti_env){.wall_us = still_wall_us,
                        .mono_ns = still_mono_ns,
                        .random = still_random,
                        .sleep_ns = still_sleep_ns};
}

#endif

/* Mutexes with ranks, conditions, threads. */
#include "support/test.h"

#include "base/assert.h"
#include "base/thread.h"

#include <signal.h>
#include <sys/wait.h>

typedef struct counter {
    ti_mutex mutex;
    ti_cond cond;
    uint64_t value;
    uint64_t ids[8];
    int ended;
} counter;

static void counter_init(counter *c)
{
    ti_err err;
    memset(c, 0, sizeof(*c));
    test_ok(ti_mutex_init(&c->mutex, TI_RANK_LEAF, &err), &err);
    test_ok(ti_cond_init(&c->cond, &err), &err);
}

static void counter_destroy(counter *c)
{
    ti_cond_destroy(&c->cond);
    ti_mutex_destroy(&c->mutex);
}

static void *count_up(void *arg)
{
    counter *c = arg;
    for (uint64_t i = 0; i < 10000; i++) {
        ti_mutex_lock(&c->mutex);
        ti_mutex_assert_held(&c->mutex);
        c->value++;
        ti_mutex_unlock(&c->mutex);
    }
    ti_mutex_assert_none_held();
    ti_mutex_lock(&c->mutex);
    c->ids[c->ended++] = ti_thread_self();
    ti_cond_signal(&c->cond);
    ti_mutex_unlock(&c->mutex);
    return NULL;
}

static void threads_count_without_loss(void **state)
{
    counter c;
    ti_thread threads[4];
    ti_err err;
    (void)state;
    counter_init(&c);
    for (int i = 0; i < 4; i++)
        test_ok(ti_thread_start(&threads[i], "a long thread name", count_up, &c, &err), &err);
    ti_mutex_lock(&c.mutex);
    while (c.ended < 4)
        ti_cond_wait(&c.cond, &c.mutex);
    ti_mutex_unlock(&c.mutex);
    for (int i = 0; i < 4; i++)
        ti_thread_join(&threads[i]);
    assert_true(c.value == 40000);
    for (int i = 0; i < 4; i++) {
        assert_true(c.ids[i] != 0 && c.ids[i] != ti_thread_self());
        for (int j = 0; j < i; j++)
            assert_true(c.ids[i] != c.ids[j]);
    }
    assert_true(ti_thread_self() == ti_thread_self());
    counter_destroy(&c);
}

static void *try_it(void *arg)
{
    counter *c = arg;
    c->value = ti_mutex_try_lock(&c->mutex) ? 1 : 2;
    if (c->value == 1)
        ti_mutex_unlock(&c->mutex);
    return NULL;
}

static uint64_t tried(counter *c)
{
    ti_thread t;
    ti_err err;
    test_ok(ti_thread_start(&t, "try", try_it, c, &err), &err);
    ti_thread_join(&t);
    return c->value;
}

static void a_try_does_not_wait(void **state)
{
    counter c;
    (void)state;
    counter_init(&c);
    assert_true(ti_mutex_try_lock(&c.mutex));
    assert_int_equal(tried(&c), 2);
    ti_mutex_unlock(&c.mutex);
    assert_int_equal(tried(&c), 1);
    counter_destroy(&c);
}

static void a_wait_ends_in_time(void **state)
{
    const ti_env *env = ti_env_real();
    counter c;
    (void)state;
    counter_init(&c);
    ti_mutex_lock(&c.mutex);
    int64_t start = ti_env_mono_ns(env);
    assert_false(ti_cond_wait_until(&c.cond, &c.mutex, env, start - 1));
    while (ti_cond_wait_until(&c.cond, &c.mutex, env, start + 5000000))
        ;
    int64_t took = ti_env_mono_ns(env) - start;
    assert_true(took >= 5000000);
    ti_mutex_unlock(&c.mutex);
    counter_destroy(&c);
}

typedef struct waiter {
    counter c;
    test_env e;
} waiter;

static void *wait_for_test_time(void *arg)
{
    waiter *w = arg;
    ti_mutex_lock(&w->c.mutex);
    while (ti_cond_wait_until(&w->c.cond, &w->c.mutex, &w->e.env, 2000000000))
        ;
    w->c.value = 1;
    ti_mutex_unlock(&w->c.mutex);
    return NULL;
}

static void a_wait_follows_the_clock_of_its_env(void **state)
{
    waiter w;
    ti_thread t;
    ti_err err;
    (void)state;
    counter_init(&w.c);
    test_env_init(&w.e, 0, 1);
    test_ok(ti_thread_start(&t, "wait", wait_for_test_time, &w, &err), &err);
    ti_env_sleep_ns(ti_env_real(), 5000000);
    ti_mutex_lock(&w.c.mutex);
    assert_int_equal(w.c.value, 0);
    ti_mutex_unlock(&w.c.mutex);
    test_env_advance_us(&w.e, 1000000);
    ti_thread_join(&t);
    assert_int_equal(w.c.value, 1);
    counter_destroy(&w.c);
}

static void *blocked_signals(void *arg)
{
    sigset_t set;
    sigemptyset(&set);
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    *(int *)arg = sigismember(&set, SIGINT) && sigismember(&set, SIGTERM);
    return NULL;
}

static void threads_take_no_signals(void **state)
{
    int blocked = 0;
    ti_thread t;
    ti_err err;
    sigset_t set;
    (void)state;
    test_ok(ti_thread_start(&t, "signals", blocked_signals, &blocked, &err), &err);
    ti_thread_join(&t);
    assert_int_equal(blocked, 1);
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    assert_int_equal(sigismember(&set, SIGINT), 0);
}

/* Runs f in a child process; true when it aborted. */
static bool aborts(void (*f)(void))
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(2);
        f();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void require_false(void)
{
    ti_require(1 == 2);
}

static void require_true(void)
{
    ti_require(1 == 1);
}

#ifndef NDEBUG
static void lock_two(ti_rank first, ti_rank second)
{
    ti_mutex a;
    ti_mutex b;
    ti_mutex_init(&a, first, NULL);
    ti_mutex_init(&b, second, NULL);
    ti_mutex_lock(&a);
    ti_mutex_lock(&b);
    ti_mutex_unlock(&a);
    ti_mutex_unlock(&b);
}

static void lock_falling(void)
{
    lock_two(TI_RANK_CQ, TI_RANK_DB);
}
static void lock_equal(void)
{
    lock_two(TI_RANK_DB, TI_RANK_DB);
}
static void lock_rising(void)
{
    lock_two(TI_RANK_DB, TI_RANK_CQ);
}

static void wait_with_another_held(void)
{
    ti_mutex a;
    ti_mutex b;
    ti_cond c;
    ti_mutex_init(&a, TI_RANK_DB, NULL);
    ti_mutex_init(&b, TI_RANK_CQ, NULL);
    ti_cond_init(&c, NULL);
    ti_mutex_lock(&a);
    ti_mutex_lock(&b);
    ti_cond_wait_until(&c, &b, ti_env_real(), ti_env_mono_ns(ti_env_real()) + 1000);
}

static void unlock_unheld(void)
{
    ti_mutex a;
    ti_mutex_init(&a, TI_RANK_DB, NULL);
    ti_mutex_unlock(&a);
}

static void callback_with_one_held(void)
{
    ti_mutex a;
    ti_mutex_init(&a, TI_RANK_DB, NULL);
    ti_mutex_lock(&a);
    ti_mutex_assert_none_held();
}
#endif

static void broken_rules_abort(void **state)
{
    (void)state;
    assert_true(aborts(require_false));
    assert_false(aborts(require_true));
#ifndef NDEBUG
    assert_true(aborts(lock_falling));
    assert_true(aborts(lock_equal));
    assert_false(aborts(lock_rising));
    assert_true(aborts(wait_with_another_held));
    assert_true(aborts(unlock_unheld));
    assert_true(aborts(callback_with_one_held));
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_rules_abort),
        cmocka_unit_test(threads_count_without_loss),
        cmocka_unit_test(a_try_does_not_wait),
        cmocka_unit_test(a_wait_ends_in_time),
        cmocka_unit_test(a_wait_follows_the_clock_of_its_env),
        cmocka_unit_test(threads_take_no_signals),
    };
    return TEST_RUN(tests);
}

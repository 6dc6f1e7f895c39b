/* M10, a shared backoff (tidb#25778): two tasks of one statement slept on one backoff object; its
 * map of counts was written by both, and the process panicked.
 *
 * Here: a backoff belongs to the thread that made it, and says so at once when another uses it. */
#include <sys/wait.h>

#include "tikv/little.h"

static void *use(void *context)
{
    ti_backoff *b = context;
    ti_err why;
    ti_err_set(&why, TI_UNAVAILABLE, "nothing");
    (void)ti_backoff_count(b, &why, NULL);
    return NULL;
}

/* In a child, since it dies. */
static int child(void)
{
    ti_thread thread;
    ti_backoff backoff;
    ti_err err;
    ti_call call = {.env = ti_env_real(), .deadline_ns = TI_NO_DEADLINE};
    ti_backoff_init(&backoff, &sim_create()->base, &call, 1000);
    use(&backoff); /* its own thread may */
    if (freopen("/dev/null", "w", stderr) == NULL ||
        ti_thread_start(&thread, "other", use, &backoff, &err) != TI_OK)
        return 1;
    ti_thread_join(&thread);
    return 0;
}

static void m10_a_backoff_is_used_by_one_thread(void **state)
{
    (void)state;
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(child());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(m10_a_backoff_is_used_by_one_thread)};
    return TEST_RUN(tests);
}

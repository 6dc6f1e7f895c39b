/* A forked child: everything answers FORKED, releasing frees memory, nothing hangs, and the parent
 * does not notice. */
#include "rt/rt.h"

#include <sys/wait.h>

#include "base/notify.h"
#include "base/process.h"

/* Runs check in a child; fails unless it exits with 0 within 20 s. */
static void in_child(int (*check)(void *arg), void *arg)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(20); /* a hang ends as a signal */
        _exit(check(arg));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the child ended with %x", status);
}

static int guard_forked(void *arg)
{
    return ti_process_guard_forked(arg) ? 0 : 1;
}

static int guard_slow_forked(void *arg)
{
    return ti_process_guard_forked_slow(arg) ? 0 : 1;
}

static void a_guard_knows_its_process(void **state)
{
    ti_process_guard guard;
    (void)state;
    ti_process_guard_init(&guard);
    assert_false(ti_process_guard_forked(&guard));
    assert_false(ti_process_guard_forked_slow(&guard));
    in_child(guard_forked, &guard);
    in_child(guard_slow_forked, &guard);
    ti_process_guard pid_only = {.page = NULL, .pid = guard.pid};
    assert_false(ti_process_guard_forked(&pid_only));
    in_child(guard_forked, &pid_only);
    assert_false(ti_process_guard_forked(&guard));
    ti_process_guard_destroy(&guard);
    ti_process_guard_destroy(&guard);
}

typedef struct world {
    ti_executor *ex;
    ti_lane *lane;
    ti_cq *cq;
    gate g;
    ti_future *done;
    ti_future *lazy;
    ti_future *running;
    ti_future *in_lane;
    ti_notify notify;
} world;

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "in the child: %s\n", #condition);                                     \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

static int everything_answers_forked(void *arg)
{
    world *w = arg;
    ti_future *all[] = {w->done, w->lazy, w->running, w->in_lane};
    ti_completion out;
    ti_err err;
    ti_job job = {.run = NULL};
    EXPECT(ti_executor_forked(w->ex));
    EXPECT(ti_executor_enter(w->ex, &err) == TI_FORKED);
    EXPECT(!ti_executor_remove(w->ex, &job));
    EXPECT(ti_lane_skipped(w->lane) == TI_FORKED);
    EXPECT(ti_cq_drain(w->cq, &out, 1) == 0);
    EXPECT(ti_cq_fd(w->cq) == -1);
    EXPECT(ti_cq_listen(w->cq, "/tmp/never", &err) == TI_FORKED);
    for (int i = 0; i < 4; i++) {
        EXPECT(ti_future_wait(all[i], TI_NO_DEADLINE, &err) == TI_FORKED);
        EXPECT(err.status == TI_FORKED);
        EXPECT(ti_future_start(all[i], &err) == TI_FORKED);
        EXPECT(ti_future_result(all[i], &err) == TI_FORKED);
        EXPECT(ti_future_watch(all[i], w->cq, 1, &err) == TI_FORKED);
        ti_future_cancel(all[i]);
    }
    ti_future *fresh = gate_new(w->ex, &gate_read, &w->g, w->lane, 1000);
    EXPECT(ti_future_ready(fresh));
    ti_future_submit(fresh);
    EXPECT(ti_future_wait(fresh, 1000, &err) == TI_FORKED);
    ti_future_release(fresh);
    for (int i = 0; i < 4; i++)
        ti_future_release(all[i]);
    ti_lane_unref(w->lane);
    ti_cq_close(w->cq);
    ti_cq_unref(w->cq);
    ti_executor_close(w->ex);
    ti_executor_unref(w->ex);
    EXPECT(atomic_load(&w->g.freed) == 4); /* the running one is not freed */
    ti_notify_forget(&w->notify);
    return 0;
}

static void a_child_is_answered_forked(void **state)
{
    world w = {.g = {.open = 0}};
    char dir[TEST_DIR_SIZE];
    char path[TEST_DIR_SIZE + 8];
    ti_err err;
    (void)state;
    test_dir_make(dir);
    snprintf(path, sizeof(path), "%s/n", dir);
    test_ok(ti_notify_open(&w.notify, &err), &err);
    test_ok(ti_notify_listen(&w.notify, path, &err), &err);
    w.ex = test_executor(NULL);
    w.lane = ti_lane_create(w.ex);
    test_ok(ti_cq_create(ti_env_real(), &w.cq, &err), &err);
    w.done = gate_make(w.ex, &gate_read, &w.g, NULL);
    w.lazy = gate_make(w.ex, &gate_read, &w.g, NULL);
    w.in_lane = gate_make(w.ex, &gate_read, &w.g, w.lane);
    w.running = gate_make(w.ex, &gate_read, &w.g, NULL);
    ti_future_cancel(w.done);
    test_ok(ti_future_watch(w.done, w.cq, 5, &err), &err);
    test_ok(ti_future_watch(w.running, w.cq, 6, &err), &err);
    await(atomic_load(&w.g.begun) == 1);
    in_child(everything_answers_forked, &w);
    assert_int_equal(access(path, F_OK), 0); /* the child took nothing away */
    ti_notify_close(&w.notify);
    atomic_store(&w.g.open, 1);
    test_ok(ti_future_wait(w.running, TI_NO_DEADLINE, &err), &err);
    test_ok(ti_future_wait(w.in_lane, TI_NO_DEADLINE, &err), &err);
    ti_completion out[3];
    assert_int_equal(ti_cq_drain(w.cq, out, 3), 2);
    ti_future_release(w.done);
    ti_future_release(w.lazy);
    ti_future_release(w.running);
    ti_future_release(w.in_lane);
    ti_lane_unref(w.lane);
    ti_cq_close(w.cq);
    ti_cq_unref(w.cq);
    test_executor_end(w.ex);
    assert_int_equal(atomic_load(&w.g.freed), 4);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guard_knows_its_process),
        cmocka_unit_test(a_child_is_answered_forked),
    };
    return TEST_RUN(tests);
}

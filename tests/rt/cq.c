/* Completion queues: the eventfd form, the unix socket form, heartbeats, closing. */
#include "rt/rt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static ti_cq *make_cq(void)
{
    ti_cq *cq = NULL;
    ti_err err;
    test_ok(ti_cq_create(ti_env_real(), &cq, &err), &err);
    return cq;
}

static void end_cq(ti_cq *cq)
{
    ti_cq_close(cq);
    ti_cq_unref(cq);
}

/* True when fd becomes readable within ms. */
static bool readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1 && (p.revents & POLLIN) != 0;
}

static void ready_futures_come_out_once(void **state)
{
    ti_executor *ex = test_executor(NULL);
    ti_cq *cq = make_cq();
    gate g = {.open = 0};
    ti_future *f[100];
    bool seen[100] = {false};
    ti_completion out[7];
    ti_err err;
    (void)state;
    assert_false(readable(ti_cq_fd(cq), 0));
    assert_int_equal(ti_cq_drain(cq, out, 7), 0);
    for (uint64_t i = 0; i < 100; i++) {
        f[i] = gate_make(ex, &gate_read, &g, NULL);
        test_ok(ti_future_watch(f[i], cq, i, &err), &err);
    }
    test_status(ti_future_watch(f[0], cq, 0, &err), TI_INVALID_STATE);
    assert_false(readable(ti_cq_fd(cq), 0));
    atomic_store(&g.open, 1);
    for (int got = 0; got < 100;) {
        assert_true(readable(ti_cq_fd(cq), 20000));
        size_t n = ti_cq_drain(cq, out, 7);
        for (size_t i = 0; i < n; i++) {
            assert_ptr_equal(out[i].future, f[out[i].tag]);
            assert_false(seen[out[i].tag]);
            seen[out[i].tag] = true;
            test_status(ti_future_wait(out[i].future, 0, &err), TI_OK);
        }
        got += (int)n;
    }
    assert_false(readable(ti_cq_fd(cq), 0));
    for (int i = 0; i < 100; i++)
        ti_future_release(f[i]);
    end_cq(cq);
    test_executor_end(ex);
}

static void ready_before_the_watch(void **state)
{
    ti_executor *ex = test_executor(NULL);
    ti_cq *cq = make_cq();
    gate g = {.open = 1};
    ti_completion out;
    ti_err err;
    (void)state;
    ti_future *f = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_wait(f, TI_NO_DEADLINE, &err), &err);
    test_ok(ti_future_watch(f, cq, UINT64_MAX, &err), &err);
    assert_true(readable(ti_cq_fd(cq), 0));
    assert_int_equal(ti_cq_drain(cq, &out, 1), 1);
    assert_true(out.tag == UINT64_MAX);
    assert_int_equal(stats_of(ex).threads[TI_WORK_GENERAL], 0);
    ti_future_release(f);
    end_cq(cq);
    test_executor_end(ex);
}

static void a_released_future_does_not_come_out(void **state)
{
    ti_executor *ex = test_executor(NULL);
    ti_cq *cq = make_cq();
    gate g = {.open = 0};
    ti_completion out;
    ti_err err;
    (void)state;
    ti_future *early = gate_make(ex, &gate_read, &g, NULL);
    ti_future *late = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_watch(early, cq, 1, &err), &err);
    test_ok(ti_future_watch(late, cq, 2, &err), &err);
    ti_future_release(early);
    atomic_store(&g.open, 1);
    await(atomic_load(&g.freed) == 1 && ti_future_ready(late));
    assert_true(readable(ti_cq_fd(cq), 20000));
    ti_future_release(late); /* in the queue: taken out */
    assert_false(readable(ti_cq_fd(cq), 0));
    assert_int_equal(ti_cq_drain(cq, &out, 1), 0);
    end_cq(cq);
    test_executor_end(ex);
}

static void a_closed_queue_drops_late_completions(void **state)
{
    ti_executor *ex = test_executor(NULL);
    ti_cq *cq = make_cq();
    gate g = {.open = 0};
    ti_completion out;
    ti_err err;
    (void)state;
    ti_future *f[3];
    for (int i = 0; i < 3; i++)
        f[i] = gate_make(ex, &gate_read, &g, NULL);
    ti_future_cancel(f[2]);
    for (uint64_t i = 0; i < 3; i++)
        test_ok(ti_future_watch(f[i], cq, i, &err), &err);
    assert_true(readable(ti_cq_fd(cq), 0));
    ti_future_release(f[0]);
    ti_cq_close(cq);
    ti_cq_close(cq);
    assert_int_equal(ti_cq_fd(cq), -1);
    assert_int_equal(ti_cq_drain(cq, &out, 1), 0);
    test_status(ti_cq_listen(cq, "/tmp/x", &err), TI_CLOSED);
    test_status(ti_cq_accept(cq, 0, &err), TI_CLOSED);
    ti_future *refused = gate_make(ex, &gate_read, &g, NULL);
    test_status(ti_future_watch(refused, cq, 3, &err), TI_CLOSED);
    ti_future_release(refused);
    ti_cq_unref(cq);
    ti_cq_unref(NULL);
    atomic_store(&g.open, 1);
    test_ok(ti_future_wait(f[1], TI_NO_DEADLINE, &err), &err);
    ti_future_release(f[1]);
    ti_future_release(f[2]);
    test_executor_end(ex);
}

/* ---- the unix socket form ---- */

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static size_t read_bytes(int fd)
{
    char bytes[256];
    ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    return n < 0 ? 0 : (size_t)n;
}

static void a_loop_connects_and_gets_bytes(void **state)
{
    char dir[TEST_DIR_SIZE];
    char path[TEST_DIR_SIZE + 8];
    ti_executor *ex = test_executor(NULL);
    ti_cq *cq = make_cq();
    gate g = {.open = 1};
    ti_completion out[4];
    struct stat st;
    ti_err err;
    (void)state;
    test_dir_make(dir);
    snprintf(path, sizeof(path), "%s/cq", dir);
    test_status(ti_cq_accept(cq, 0, &err), TI_INVALID_STATE);
    test_ok(ti_cq_listen(cq, path, &err), &err);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    test_status(ti_cq_listen(cq, path, &err), TI_INVALID_STATE);
    test_status(ti_cq_accept(cq, 0, &err), TI_BUSY);
    ti_future *f = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_watch(f, cq, 1, &err), &err);
    assert_true(readable(ti_cq_fd(cq), 20000));
    int fd = connect_to(path);
    assert_true(fd >= 0);
    test_ok(ti_cq_accept(cq, 0, &err), &err);
    assert_int_not_equal(access(path, F_OK), 0);
    test_status(ti_cq_accept(cq, 0, &err), TI_INVALID_STATE);
    assert_true(readable(fd, 20000)); /* one completion was waiting */
    assert_int_equal(read_bytes(fd), 1);
    ti_future *more = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_watch(more, cq, 2, &err), &err);
    await(ti_future_ready(more));
    assert_false(readable(fd, 0)); /* it was not empty */
    assert_int_equal(ti_cq_drain(cq, out, 4), 2);
    assert_true(out[0].tag == 1 && out[1].tag == 2);
    ti_future_release(f);
    ti_future_release(more);
    f = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_watch(f, cq, 3, &err), &err);
    assert_true(readable(fd, 20000));
    assert_int_equal(read_bytes(fd), 1);
    close(fd); /* the loop has gone: nothing breaks */
    assert_int_equal(ti_cq_drain(cq, out, 4), 1);
    more = gate_make(ex, &gate_read, &g, NULL);
    test_ok(ti_future_watch(more, cq, 4, &err), &err);
    await(ti_future_ready(more));
    assert_int_equal(ti_cq_drain(cq, out, 4), 1);
    ti_future_release(f);
    ti_future_release(more);
    end_cq(cq);
    test_executor_end(ex);
    test_dir_remove(dir);
}

static void bad_paths_are_refused(void **state)
{
    char dir[TEST_DIR_SIZE];
    char path[TEST_DIR_SIZE + 200];
    ti_cq *cq = make_cq();
    ti_err err;
    (void)state;
    test_dir_make(dir);
    test_status(ti_cq_listen(cq, "", &err), TI_INVALID_ARGUMENT);
    test_status(ti_cq_listen(cq, NULL, &err), TI_INVALID_ARGUMENT);
    snprintf(path, sizeof(path), "%s/%0150d", dir, 1);
    test_status(ti_cq_listen(cq, path, &err), TI_INVALID_ARGUMENT);
    snprintf(path, sizeof(path), "%s/absent/cq", dir);
    test_status(ti_cq_listen(cq, path, &err), TI_IO);
    snprintf(path, sizeof(path), "%s/cq", dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    test_status(ti_cq_listen(cq, path, &err), TI_ALREADY_EXISTS);
    assert_int_equal(access(path, F_OK), 0); /* what was there stays */
    assert_int_equal(unlink(path), 0);
    test_ok(ti_cq_listen(cq, path, &err), &err);
    end_cq(cq); /* removes it */
    assert_int_not_equal(access(path, F_OK), 0);
    test_dir_remove(dir);
}

static void another_process_is_not_accepted(void **state)
{
    char dir[TEST_DIR_SIZE];
    char path[TEST_DIR_SIZE + 8];
    ti_cq *cq = make_cq();
    ti_err err;
    int status = -1;
    (void)state;
    test_dir_make(dir);
    snprintf(path, sizeof(path), "%s/cq", dir);
    test_ok(ti_cq_listen(cq, path, &err), &err);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int fd = connect_to(path);
        char byte;
        _exit(fd >= 0 && read(fd, &byte, 1) == 0 ? 0 : 1); /* closed by the other end */
    }
    do {
        test_status(ti_cq_accept(cq, 0, &err), TI_BUSY);
        test_pause();
    } while (waitpid(child, &status, WNOHANG) == 0);
    assert_int_equal(WEXITSTATUS(status), 0);
    int fd = connect_to(path);
    assert_true(fd >= 0);
    test_ok(ti_cq_accept(cq, 0, &err), &err);
    close(fd);
    end_cq(cq);
    test_dir_remove(dir);
}

static void the_heart_beats(void **state)
{
    char dir[TEST_DIR_SIZE];
    char path[TEST_DIR_SIZE + 8];
    ti_cq *cq = make_cq();
    ti_err err;
    (void)state;
    test_dir_make(dir);
    snprintf(path, sizeof(path), "%s/cq", dir);
    test_ok(ti_cq_listen(cq, path, &err), &err);
    int fd = connect_to(path);
    test_ok(ti_cq_accept(cq, 2000, &err), &err);
    for (int i = 0; i < 5; i++) {
        assert_true(readable(fd, 20000));
        read_bytes(fd);
    }
    end_cq(cq);
    while (read_bytes(fd) > 0)
        ;
    assert_int_equal(recv(fd, path, 1, 0), 0); /* the end of the stream */
    close(fd);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ready_futures_come_out_once),
        cmocka_unit_test(ready_before_the_watch),
        cmocka_unit_test(a_released_future_does_not_come_out),
        cmocka_unit_test(a_closed_queue_drops_late_completions),
        cmocka_unit_test(a_loop_connects_and_gets_bytes),
        cmocka_unit_test(bad_paths_are_refused),
        cmocka_unit_test(another_process_is_not_accepted),
        cmocka_unit_test(the_heart_beats),
    };
    return TEST_RUN(tests);
}

/* Clients that die in the middle: a child process commits and is killed when the cluster has seen a
 * given request of its; another client reads on within the locks' time to live, and finds all or
 * nothing. */
#include "tikv/tk.h"

#include <signal.h>
#include <sys/wait.h>

#define PATIENCE_US 8000000
#define READ_IN_MS 5000 /* time to live, and two seconds */

typedef struct death {
    const char *rule; /* of the control port: what is held up while the client dies */
    bool two_phases;
    bool split;
    const char *value; /* found afterwards; NULL: nothing; "?": either */
} death;

/* The child: commits two keys, and does not live to see the answer. */
static void commit_and_wait(const cluster *c, const death *d)
{
    static char names[300][32];
    ti_mutation list[302];
    size_t count = 0;
    tk t;
    tk_open(&t, (cluster *)(uintptr_t)c);
    list[count++] = PUT("a", "new");
    for (int i = 0; d->two_phases && i < 300; i++) {
        snprintf(names[i], sizeof(names[i]), "b:%04d", i);
        list[count++] = PUT(names[i], "new");
    }
    list[count++] = PUT("z", "new");
    ti_commit_request request = {.start_ts = tk_now(&t), .mutations = list, .count = count};
    (void)tk_commit_within(&t, &request, TK_CALL_US);
    for (;;)
        pause();
}

/* Waits until the fault was met, then a little, so that what was applied is applied. */
static void wait_for_fault(const cluster *c)
{
    for (int i = 0; i < 5000 && cluster_number(c, "fault_hits") == 0; i++)
        usleep(1000);
    assert_true(cluster_number(c, "fault_hits") > 0);
    usleep(50000);
}

static void kill_in(const death *d)
{
    cluster c;
    tk t;
    int status = 0;
    cluster_start_mock(&c, &(cluster_options){0});
    if (d->split)
        cluster_at_key(&c, "split", TI_SLICE("m"));
    cluster_fault(&c, d->rule);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        commit_and_wait(&c, d);
    wait_for_fault(&c);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    cluster_do(&c, "/faults/clear");
    tk_open(&t, &c);
    ti_snapshot *s = tk_snapshot(&t);
    ti_slice a = TI_SLICE_NONE;
    ti_slice z = TI_SLICE_NONE;
    int64_t began = ti_env_mono_ns(ti_env_real());
    ti_status of_z = tk_read(&t, s, "z", PATIENCE_US, &z); /* a secondary first */
    ti_status of_a = tk_read(&t, s, "a", PATIENCE_US, &a);
    int64_t took_ms = (ti_env_mono_ns(ti_env_real()) - began) / 1000000;
    t.vt->release(s);
    if (took_ms > READ_IN_MS)
        fail_msg("%s: read after %d ms", d->rule, (int)took_ms);
    assert_true(of_a == TI_OK || of_a == TI_NOT_FOUND);
    if (of_a != of_z)
        fail_msg("%s: one key of a transaction is there without the other", d->rule);
    if (d->value == NULL || strcmp(d->value, "?") != 0)
        assert_int_equal(of_a, d->value != NULL ? TI_OK : TI_NOT_FOUND);
    test_ok(tk_commit(&t, tk_now(&t), PUT("a", "next"), PUT("z", "next")), &t.err);
    tk_expect(&t, "a", "next");
    tk_end(&t);
}

static void a_client_dies_in_1pc(void **state)
{
    (void)state;
    kill_in(&(death){.rule = "{\"kind\":\"Prewrite\",\"action\":\"drop_before\"}"});
    kill_in(&(death){.rule = "{\"kind\":\"Prewrite\",\"action\":\"drop_after\"}", .value = "new"});
}

static void a_client_dies_in_async_commit(void **state)
{
    (void)state;
    /* One of the two prewrites is not applied: nothing of it may be seen. */
    kill_in(&(death){.rule = "{\"kind\":\"Prewrite\",\"action\":\"drop_before\"}", .split = true});
    kill_in(&(death){.rule = "{\"kind\":\"Prewrite\",\"action\":\"drop_before\",\"nth\":2}",
                     .split = true});
    /* Both are, and no client knows. */
    kill_in(&(death){.rule = "{\"kind\":\"Prewrite\",\"action\":\"drop_after\",\"times\":-1}",
                     .split = true,
                     .value = "new"});
    /* It has reported success; its locks stay. */
    kill_in(&(death){.rule = "{\"kind\":\"Commit\",\"action\":\"drop_before\",\"times\":-1}",
                     .split = true,
                     .value = "new"});
}

static void a_client_dies_in_2pc(void **state)
{
    (void)state;
    kill_in(&(death){.rule = "{\"kind\":\"Prewrite\",\"action\":\"drop_after\",\"times\":-1}",
                     .split = true,
                     .two_phases = true});
    kill_in(&(death){.rule = "{\"kind\":\"Commit\",\"action\":\"drop_before\",\"times\":-1}",
                     .split = true,
                     .two_phases = true});
    kill_in(&(death){.rule = "{\"kind\":\"Commit\",\"action\":\"drop_after\",\"times\":-1}",
                     .split = true,
                     .two_phases = true,
                     .value = "new"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_dies_in_1pc),
        cmocka_unit_test(a_client_dies_in_async_commit),
        cmocka_unit_test(a_client_dies_in_2pc),
    };
    return TEST_RUN(tests);
}

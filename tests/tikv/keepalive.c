/* Connections that are idle, and such whose other end is silent: pings keep the first and find out
 * the second, and are not so many that the server complains (the mock enforces PD's rule: not more
 * often than each 5 seconds, and only while a stream is open). */
#include <signal.h>
#include <sys/wait.h>

#include "tikv/tk.h"

#define IDLE_S 21              /* two pings */
#define SILENT_WITHIN_MS 25000 /* a ping's time and timeout are 13 s; a request's own is 30 s */

static _Atomic(int) ended; /* streams that ended otherwise than from here */

static void note_ended(void *context, ti_log_level level, const char *line)
{
    (void)context;
    (void)level;
    if (strstr(line, "stream ended") != NULL)
        atomic_fetch_add(&ended, 1);
}

static void open_noting(tk *t, cluster *c, ti_log *log)
{
    memset(t, 0, sizeof(*t));
    *log = (ti_log){.sink = note_ended, .level = TI_LOG_DEBUG};
    atomic_store(&ended, 0);
    t->cluster = c;
    ti_tikv_options options = {.log = log};
    test_ok(cluster_try_open(c, &options, TK_CALL_US, &t->e, &t->err), &t->err);
    t->vt = t->e->vt;
    ti_arena_init(&t->a);
}

static void idle_connections_live_and_nobody_complains(void **state)
{
    (void)state;
    cluster c;
    tk t;
    ti_log log;
    cluster_start_mock(&c, &(cluster_options){0});
    open_noting(&t, &c, &log);
    tk_put(&t, "k", "1");
    tk_expect(&t, "k", "1");
    uint64_t silences = engine_number(t.e, "silences");
    usleep((useconds_t)(test_scale() >= 1 ? IDLE_S : IDLE_S / 2) * 1000000);
    tk_expect(&t, "k", "1");
    assert_int_equal(atomic_load(&ended), 0);
    assert_int_equal(engine_number(t.e, "silences"), silences);
    tk_end(&t);
}

/* The whole cluster stops in the middle: no connection breaks, nothing answers. */
static void a_silent_peer_is_found_out(void **state)
{
    (void)state;
    cluster c;
    tk t;
    ti_log log;
    ti_slice value;
    cluster_start_mock(&c, &(cluster_options){0});
    open_noting(&t, &c, &log);
    tk_put(&t, "k", "1");
    ti_snapshot *s = tk_snapshot(&t);
    tk_expect_at(&t, s, "k", "1");
    int how = 0;
    assert_int_equal(kill(c.pid, SIGSTOP), 0);
    assert_int_equal(waitpid(c.pid, &how, WUNTRACED), c.pid);
    assert_true(WIFSTOPPED(how));
    int64_t began = ti_env_mono_ns(ti_env_real());
    ti_status status = tk_read(&t, s, "k", INT64_C(1000) * SILENT_WITHIN_MS, &value);
    int64_t took_ms = (ti_env_mono_ns(ti_env_real()) - began) / 1000000;
    assert_int_equal(kill(c.pid, SIGCONT), 0);
    assert_true(status == TI_TIMEOUT || status == TI_UNAVAILABLE);
    assert_true(took_ms <= SILENT_WITHIN_MS + 5000);
    /* The stream was given up before the request's own 30 seconds, and it was asked again. */
    assert_true(atomic_load(&ended) >= 1);
    assert_true(engine_number(t.e, "silences") >= 1);
    assert_non_null(strstr(t.err.message, "last: "));
    tk_expect_at(&t, s, "k", "1"); /* it goes on with the cluster */
    t.vt->release(s);
    tk_put(&t, "k", "2");
    tk_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_connections_live_and_nobody_complains),
        cmocka_unit_test(a_silent_peer_is_found_out),
    };
    return TEST_RUN(tests);
}

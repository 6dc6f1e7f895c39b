/* What histories have shown, each by itself. */
#include "tikv/tk.h"

#include "base/thread.h"

#define CALLERS 8
#define MOVES 12

typedef struct caller {
    ti_thread thread;
    ti_engine *e;
    _Atomic(int) *stop;
    uint64_t calls;
    int64_t longest_ms;
    ti_status failed;
    char why[TI_ERR_MESSAGE_SIZE];
} caller;

static void *take_timestamps(void *context)
{
    caller *c = context;
    while (atomic_load(c->stop) == 0 && c->failed == TI_OK) {
        ti_ts ts = 0;
        ti_err err;
        ti_call call = ti_call_within(ti_env_real(), TK_CALL_US);
        int64_t began = ti_env_mono_ns(ti_env_real());
        c->failed = c->e->vt->now(c->e, &ts, &call, &err);
        int64_t took_ms = (ti_env_mono_ns(ti_env_real()) - began) / 1000000;
        if (took_ms > c->longest_ms)
            c->longest_ms = took_ms;
        if (c->failed != TI_OK)
            snprintf(c->why, sizeof(c->why), "%s", err.message);
        c->calls++;
        usleep(1000);
    }
    return NULL;
}

/* Each caller whose timestamp had failed used to end the stream, also one that another had opened
 * meanwhile: callers failed each other until they gave up. */
static void callers_do_not_fail_each_other(void **state)
{
    cluster c;
    tk t;
    caller callers[CALLERS];
    _Atomic(int) stop;
    (void)state;
    atomic_init(&stop, 0);
    cluster_start_mock(&c, &(cluster_options){.pds = 3});
    tk_open(&t, &c);
    memset(callers, 0, sizeof(callers));
    for (int i = 0; i < CALLERS; i++) {
        callers[i].e = t.e;
        callers[i].stop = &stop;
        test_ok(ti_thread_start(&callers[i].thread, "caller", take_timestamps, &callers[i], &t.err),
                &t.err);
    }
    for (int i = 1; i <= MOVES; i++) {
        usleep(300000);
        cluster_do(&c, "/pd/leader?index=%d", i % 3);
    }
    usleep(3000000);
    atomic_store(&stop, 1);
    for (int i = 0; i < CALLERS; i++) {
        ti_thread_join(&callers[i].thread);
        if (callers[i].failed != TI_OK)
            fail_msg("caller %d failed: %s", i, callers[i].why);
        if (callers[i].longest_ms > 4000)
            fail_msg("caller %d waited for %d ms", i, (int)callers[i].longest_ms);
    }
    tk_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callers_do_not_fail_each_other),
    };
    return TEST_RUN(tests);
}

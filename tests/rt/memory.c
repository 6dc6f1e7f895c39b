/* Every allocation of rt fails once: the call answers OUT_OF_MEMORY or goes on without the text,
 * and nothing leaks. */
#include "rt/rt.h"

#ifdef TI_TESTING

/* One walk through rt; TI_OUT_OF_MEMORY when something said so. */
static ti_status scenario(const char *path)
{
    ti_status status = TI_OK;
    ti_executor *ex = NULL;
    ti_lane *lane = NULL;
    ti_cq *cq = NULL;
    gate g = {.open = 1};
    ti_err err;
    TI_CHECK(ti_executor_create(NULL, &ex, &err));
    lane = ti_lane_create(ex);
    TI_CHECK(lane == NULL ? TI_OUT_OF_MEMORY : TI_OK);
    TI_CHECK(ti_cq_create(ti_env_real(), &cq, &err));
    TI_CHECK(ti_cq_listen(cq, path, &err));
    for (int i = 0; i < 4; i++) {
        ti_future_spec spec = {.type = &gate_write,
                               .op_size = sizeof(gate_op),
                               .lane = i % 2 == 0 ? lane : NULL,
                               .timeout_us = 20000000};
        ti_future *f = ti_future_create(ex, &spec);
        TI_CHECK(f == NULL ? TI_OUT_OF_MEMORY : TI_OK);
        gate_op *op = ti_future_op(f);
        op->gate = &g;
        op->answer = i < 2 ? TI_OK : TI_CONFLICT;
        ti_future_submit(f);
        if (i == 1)
            ti_future_watch(f, cq, 1, &err);
        if (i == 2)
            ti_future_cancel(f);
        ti_status answer = ti_future_wait(f, TI_NO_DEADLINE, &err);
        ti_future_release(f);
        if (answer != (i < 2 ? TI_OK : i == 2 ? TI_CANCELLED : TI_CONFLICT))
            status = answer; /* never seen: an error that can not be stored keeps its status */
        if (answer != TI_OK && err.message[0] == '\0')
            status = TI_INTERNAL;
    }
out:
    if (cq != NULL)
        ti_cq_close(cq);
    ti_cq_unref(cq);
    ti_lane_unref(lane);
    if (ex != NULL)
        ti_executor_close(ex);
    ti_executor_unref(ex);
    return status;
}

static void every_allocation_fails_once(void **state)
{
    char dir[TEST_DIR_SIZE];
    char path[TEST_DIR_SIZE + 8];
    (void)state;
    test_dir_make(dir);
    snprintf(path, sizeof(path), "%s/cq", dir);
    int64_t live = ti_mem_live();
    uint64_t before = ti_mem_count();
    test_status(scenario(path), TI_OK);
    uint64_t count = ti_mem_count() - before;
    assert_in_range(count, 8, 100);
    uint64_t refused = 0;
    for (uint64_t n = 1; n <= count; n++) {
        ti_mem_fail_at(n);
        ti_status status = scenario(path);
        ti_mem_fail_at(0);
        if (status != TI_OK)
            test_status(status, TI_OUT_OF_MEMORY);
        refused += status != TI_OK;
        assert_true(ti_mem_live() == live);
    }
    assert_in_range(refused, count / 2, count);
    test_dir_remove(dir);
}

#endif

int main(void)
{
#ifdef TI_TESTING
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_fails_once)};
    return TEST_RUN(tests);
#else
    return 0;
#endif
}

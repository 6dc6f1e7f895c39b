/* Memory that runs out: in each scenario every allocation that tito's own code makes fails once.
 * The call answers OUT_OF_MEMORY (or goes on, where the allocation could be done without), the
 * database stays consistent, nothing leaks. */
#include "abi/nomem.h"
#include "base/mem.h"

/* ---- the stage ---- */

static int32_t no_condition(void *context, const char *document, size_t len, tito_write_t *write)
{
    (void)context;
    (void)document;
    (void)len;
    return tito_write_conditions(write, 1);
}

static void set_up(stage *s)
{
    static const char conditional[] =
        "{\"table\":\"cond\",\"events\":\"host\",\"indexes\":[{\"name\":\"c\",\"fields\":"
        "[{\"name\":\"x\",\"type\":\"string\"}],\"condition\":\"host\"}]}";
    memset(s, 0, sizeof(*s));
    s->db = open_memory();
    s->items = declare(s->db, model_spec);
    s->conditional = declare(s->db, conditional);
    assert_int_equal(tito_model_set_host(s->conditional, no_condition, NULL), TITO_OK);
    OK(tito_queue_open(s->db, TEXT("job"), NULL, &s->queue, &error));
    RUN(tito_model_build(s->conditional, NULL, TEXT("{\"id\":\"c\",\"x\":\"y\"}"), NULL));
    RUN(tito_model_build(s->items, NULL, TEXT("{\"id\":\"p\",\"code\":\"taken\"}"), NULL));
    RUN(tito_model_build(s->items, NULL, TEXT("{\"id\":\"c\",\"parent_id\":\"p\"}"), NULL));
    for (int i = 0; i < 10; i++) {
        char id[8];
        snprintf(id, sizeof(id), "k%d", i);
        RUN(build_item(s->items, NULL, id, "k", i));
    }
}

static void expect_consistent(tito_model_t *model, const char *name, uint64_t n)
{
    tito_steps_t *steps = NULL;
    int64_t step = TITO_STEP_MORE;
    OK(tito_check_open(model, NULL, &steps, &error));
    while (step != TITO_STEP_DONE) {
        tito_future_t *next = DONE(tito_steps_next(steps));
        step = tito_future_int(next);
        if (step == TITO_STEP_DONE && strstr(tito_future_bytes(next).data, "\"found\":0") == NULL)
            fail_msg("%s, allocation %llu: %s", name, (unsigned long long)n,
                     tito_future_bytes(next).data);
        tito_future_free(next);
    }
    tito_steps_free(steps);
}

static void tear_down(stage *s)
{
    tito_queue_free(s->queue);
    tito_model_free(s->items);
    tito_model_free(s->conditional);
    OK(tito_db_close(s->db, &error));
    tito_db_free(s->db);
}

/* Runs a scenario with every allocation failing in turn (at a smaller scale: with some), until one
 * run needs fewer. Returns how many failed. */
static uint64_t fail_all(stage *s, const scenario *c, test_random *r)
{
    uint64_t stride = test_scale() >= 1 ? 1 : (uint64_t)(1 / test_scale());
    uint64_t failures = 0;
    for (uint64_t n = 1;; n += 1 + (stride > 1 ? test_random_below(r, stride * 2) : 0)) {
        snprintf(s->id, sizeof(s->id), "%.8s-%llu", c->name, (unsigned long long)n);
        for (char *at = s->id; *at != '\0'; at++)
            *at = *at == ' ' ? '_' : *at;
        uint64_t before = ti_mem_count();
        ti_mem_fail_at(n);
        int32_t status = c->run(s);
        ti_mem_fail_at(0);
        bool failed = ti_mem_count() - before >= n;
        if (status != c->expected && !(failed && status == TITO_OUT_OF_MEMORY))
            fail_msg("%s, allocation %llu: %s", c->name, (unsigned long long)n,
                     tito_status_name(status));
        expect_consistent(s->items, c->name, n);
        if (!failed)
            return failures;
        failures++;
    }
}

static void fail_list(const scenario *list)
{
    test_random r = test_random_start(7);
    uint64_t failures = 0, count = 0;
    for (const scenario *c = list; c->name != NULL; c++, count++) {
        stage s;
        int64_t live = ti_mem_live();
        set_up(&s);
        uint64_t failed = fail_all(&s, c, &r);
        expect_consistent(s.conditional, c->name, 0);
        tear_down(&s);
        if (ti_mem_live() != live)
            fail_msg("%s: %lld allocations are not freed", c->name,
                     (long long)(ti_mem_live() - live));
        printf("%-20s %4llu\n", c->name, (unsigned long long)failed);
        failures += failed;
    }
    printf("%llu scenarios, %llu failing allocations\n", (unsigned long long)count,
           (unsigned long long)failures);
    assert_true(failures > count);
}

static void handles_writes_transactions(void **state)
{
    (void)state;
    fail_list(nomem_writes);
}

static void reads_and_maintenance(void **state)
{
    (void)state;
    fail_list(nomem_reads);
}

static void queues_and_workers(void **state)
{
    (void)state;
    fail_list(nomem_queues);
}

int main(void)
{
    if (ti_mem_count() == 0 &&
        ti_mem_live() == 0) { /* nothing was allocated yet: are there hooks? */
        ti_free(ti_alloc(1));
        if (ti_mem_count() == 0) {
            printf("built without test hooks (TITO_TESTING): nothing to do\n");
            return 0;
        }
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handles_writes_transactions),
        cmocka_unit_test(reads_and_maintenance),
        cmocka_unit_test(queues_and_workers),
    };
    return TEST_RUN(tests);
}

/* Hubs of logs: who has joined gets the lines it wants, who has left gets none. */
#include "support/test.h"

#include "base/log.h"
#include "base/thread.h"

typedef struct heard {
    ti_log log;
    char text[256];
    _Atomic(int) lines;
    _Atomic(int) held;  /* 1: a sink waits; 2: it has been let go */
    _Atomic(bool) left; /* no more lines may come */
} heard;

/* Of lines from one thread. */
static void hear(void *context, ti_log_level level, const char *line)
{
    heard *h = context;
    if (atomic_fetch_add(&h->lines, 1) < 8) {
        size_t len = strlen(h->text);
        (void)snprintf(h->text + len, sizeof h->text - len, "%d %s;", (int)level, line);
    }
}

/* Of lines from many threads at once. */
static void hear_any(void *context, ti_log_level level, const char *line)
{
    heard *h = context;
    (void)level;
    assert_true(line[0] >= '0' && line[0] <= '9');
    assert_false(atomic_load(&h->left));
    atomic_fetch_add(&h->lines, 1);
}

static void join(heard *h, ti_log_hub *hub, ti_log_sink sink, ti_log_level level)
{
    ti_err err;
    h->log = (ti_log){.sink = sink, .context = h, .level = level};
    test_ok(ti_log_hub_join(hub, &h->log, &err), &err);
}

static void everybody_gets_what_it_wants(void **state)
{
    heard all = {.lines = 0};
    heard warnings = {.lines = 0};
    heard none = {.lines = 0};
    ti_log_hub *hub;
    ti_err err;
    (void)state;
    test_ok(ti_log_hub_create(&hub, &err), &err);
    const ti_log *log = ti_log_hub_log(hub);
    ti_log_write(log, TI_LOG_ERROR, "nobody hears %d", 1);
    join(&all, hub, hear, TI_LOG_DEBUG);
    join(&warnings, hub, hear, TI_LOG_WARN);
    ti_log_write(log, TI_LOG_INFO, "two %s", "words");
    ti_log_write(log, TI_LOG_WARN, "100%%");
    ti_log_hub_leave(hub, &all.log);
    ti_log_hub_leave(hub, &all.log);  /* it has */
    ti_log_hub_leave(hub, &none.log); /* it never was there */
    ti_log_write(log, TI_LOG_ERROR, "late");
    assert_string_equal(all.text, "2 two words;1 100%;");
    assert_string_equal(warnings.text, "1 100%;0 late;");
    ti_log_hub *mine = ti_log_hub_ref(hub);
    ti_log_hub_unref(hub);
    ti_log_hub_leave(mine, &warnings.log);
    ti_log_write(log, TI_LOG_ERROR, "later");
    assert_int_equal(atomic_load(&warnings.lines), 2);
    join(&warnings, mine, hear, TI_LOG_ERROR); /* freed with the hub */
    ti_log_hub_unref(mine);
    ti_log_hub_unref(NULL);
}

static void hold(void *context, ti_log_level level, const char *line)
{
    heard *h = context;
    (void)level;
    (void)line;
    atomic_store(&h->held, 1);
    while (atomic_load(&h->held) == 1)
        ti_env_sleep_ns(ti_env_real(), 100000);
    atomic_fetch_add(&h->lines, 1);
}

static void *write_one(void *arg)
{
    ti_log_write(arg, TI_LOG_ERROR, "held");
    return NULL;
}

static void *let_go(void *arg)
{
    heard *h = arg;
    ti_env_sleep_ns(ti_env_real(), 20000000);
    assert_int_equal(atomic_exchange(&h->held, 2), 1);
    return NULL;
}

/* Who leaves while a line is with its sink waits for it. */
static void leaving_waits_for_the_line(void **state)
{
    heard h = {.held = 0};
    ti_log_hub *hub;
    ti_thread writer;
    ti_thread other;
    ti_err err;
    (void)state;
    test_ok(ti_log_hub_create(&hub, &err), &err);
    h.log = (ti_log){.sink = hold, .context = &h, .level = TI_LOG_ERROR};
    test_ok(ti_log_hub_join(hub, &h.log, &err), &err);
    test_ok(ti_thread_start(&writer, "writer", write_one, (void *)ti_log_hub_log(hub), &err), &err);
    while (atomic_load(&h.held) == 0)
        ti_env_sleep_ns(ti_env_real(), 100000);
    test_ok(ti_thread_start(&other, "other", let_go, &h, &err), &err);
    ti_log_hub_leave(hub, &h.log);
    assert_int_equal(atomic_load(&h.lines), 1);
    ti_thread_join(&writer);
    ti_thread_join(&other);
    ti_log_hub_unref(hub);
}

static void *write_many(void *arg)
{
    for (int i = 0; i < 2000; i++)
        ti_log_write(arg, TI_LOG_ERROR, "%d", i);
    return NULL;
}

static void joining_and_leaving_under_load(void **state)
{
    ti_log_hub *hub;
    ti_thread writers[3];
    ti_err err;
    (void)state;
    test_ok(ti_log_hub_create(&hub, &err), &err);
    for (int i = 0; i < 3; i++)
        test_ok(
            ti_thread_start(&writers[i], "writer", write_many, (void *)ti_log_hub_log(hub), &err),
            &err);
    for (uint64_t i = test_scaled(2000); i > 0; i--) {
        heard h[2] = {{.lines = 0}, {.lines = 0}};
        join(&h[0], hub, hear_any, TI_LOG_ERROR);
        join(&h[1], hub, hear_any, TI_LOG_ERROR);
        for (int k = 0; k < 2; k++) {
            ti_log_hub_leave(hub, &h[k].log);
            atomic_store(&h[k].left, true);
        }
    }
    for (int i = 0; i < 3; i++)
        ti_thread_join(&writers[i]);
    ti_log_hub_unref(hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_gets_what_it_wants),
        cmocka_unit_test(leaving_waits_for_the_line),
        cmocka_unit_test(joining_and_leaving_under_load),
    };
    return TEST_RUN(tests);
}

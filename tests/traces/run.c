/* Each scenario of this folder in C, over tito.h: its trace is what its file says, byte by byte.
 *
 *   *.json ──> {memory, a folder}, or the cluster under test (TITO_TEST_ENGINE=tikv)
 *          ──> line by line
 *
 * Thread rule: one thread. What is NOT here: the other hosts (tests/python, tests/resty). */
#include <glob.h>

#include "tikv/spaced.h"
#include "traces/trace.h"

static void run_scenario(const char *path, const char *target)
{
    trace t;
    trace_open(&t, path, target);
    ti_json_value steps = ti_json_get(t.scenario, TI_SLICE("steps"));
    ti_json_value lines = ti_json_get(t.scenario, TI_SLICE("trace"));
    assert_true(ti_json_count(steps) > 0);
    assert_int_equal(ti_json_count(steps), ti_json_count(lines));
    ti_json_iter at = ti_json_iterate(steps);
    ti_json_iter expected_at = ti_json_iterate(lines);
    ti_json_value step;
    ti_json_value line;
    for (int number = 1; ti_json_next(&at, &step) && ti_json_next(&expected_at, &line); number++) {
        ti_slice text;
        test_ok(ti_json_string(line, &t.arena, &text, &t.err), &t.err);
        const char *expected = ti_arena_format(&t.arena, "%.*s", (int)text.len, text.data);
        const char *got = ti_arena_format(&t.arena, "%d %s", number, trace_step(&t, step));
        if (strcmp(got, expected) != 0)
            fail_msg("%s on %s:\n%s\ninstead of\n%s", path, target, got, expected);
    }
    trace_close(&t);
}

static void run_all(const char *target)
{
    glob_t found;
    assert_int_equal(glob(TITO_SCENARIOS "/*.json", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char dir[TEST_DIR_SIZE];
        char folder[TEST_DIR_SIZE + 8];
        if (target != NULL) {
            run_scenario(found.gl_pathv[i], target);
            continue;
        }
        test_dir_make(dir);
        (void)snprintf(folder, sizeof(folder), "%s/data", dir);
        run_scenario(found.gl_pathv[i], folder);
        test_dir_remove(dir);
    }
    globfree(&found);
}

static void in_memory(void **state)
{
    (void)state;
    if (!spaced_wanted())
        run_all("memory:");
}

static void in_a_folder(void **state)
{
    (void)state;
    if (!spaced_wanted())
        run_all(NULL);
}

static void on_tikv(void **state)
{
    (void)state;
    cluster c;
    char target[CLUSTER_ADDRESS_SIZE + 8];
    if (!spaced_wanted())
        return;
    cluster_start(&c);
    (void)snprintf(target, sizeof(target), "tikv://%s", c.pd[0]);
    run_all(target);
    ti_engine *e = cluster_open(&c);
    assert_true(spaced_clear(e, TI_SLICE(TRACE_SPACE)) > 0);
    e->vt->unref(e);
    cluster_stop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_memory),
        cmocka_unit_test(in_a_folder),
        cmocka_unit_test(on_tikv),
    };
    return TEST_RUN(tests);
}

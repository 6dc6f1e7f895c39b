/* Clients killed at every named step: another one of ours reads on within the locks' time to live
 * and two seconds, sees all or nothing, and can write. Deaths and points: killed_deaths.c. */
#include "tikv/killed_deaths.h"

#define SLACK_MS 2000
#define SHARED_MS 1500 /* of a machine that others use too */

static int64_t now_ns(void)
{
    return ti_env_mono_ns(ti_env_real());
}

/* The bound of what begins now and may have to wait for the locks of somebody who died then. */
static int64_t bound_ms(const death *d, int64_t died_ns)
{
    int64_t left_ms = death_ttl_ms(d) - (now_ns() - died_ns) / 1000000;
    return (left_ms > 0 ? left_ms : 0) + SLACK_MS + SHARED_MS;
}

/* Reads, secondaries first, then writes. */
static void go_on(tk *t, const death *d, char tag, int64_t died_ns)
{
    const char *values[DEATH_KEYS] = {NULL};
    char keys[DEATH_KEYS][DEATH_KEY_SIZE];
    int64_t within_ms = bound_ms(d, died_ns);
    int64_t began = now_ns();
    ti_snapshot *s = tk_snapshot(t);
    for (int i = DEATH_KEYS - 1; i >= 0; i--) {
        ti_slice value;
        death_key(d, tag, i, keys[i]);
        ti_status status = tk_read(t, s, keys[i], 60000000, &value);
        if (status != TI_OK && status != TI_NOT_FOUND)
            fail_msg("%s: %s", d->name, t->err.message);
        if (status == TI_OK)
            values[i] = ti_arena_format(&t->a, "%.*s", (int)value.len, value.data);
    }
    t->vt->release(s);
    int64_t read_ms = (now_ns() - began) / 1000000;
    death_check(d, "a reader", values);
    ti_commit_request request = {
        .start_ts = tk_now(t),
        .mutations = (ti_mutation[]){PUT(keys[0], "x"), PUT(keys[1], "x"), PUT(keys[2], "x")},
        .count = DEATH_KEYS};
    test_ok(tk_commit_within(t, &request, 60000000), &t->err);
    int64_t all_ms = (now_ns() - began) / 1000000;
    if (all_ms > within_ms)
        fail_msg("%s: read after %d ms, wrote after %d ms, bound %d ms", d->name, (int)read_ms,
                 (int)all_ms, (int)within_ms);
}

static void clients_die_at_every_step(void **state)
{
    (void)state;
    cluster c;
    tk t;
    int64_t died_ns[64];
    assert_true(deaths_short_count + deaths_long_count <= 64);
    deaths_begin(&c);
    for (size_t i = 0; i < deaths_long_count; i++)
        died_ns[deaths_short_count + i] = death_happens(&c, &deaths_long[i], 'o');
    for (size_t i = 0; i < deaths_short_count; i++)
        died_ns[i] = death_happens(&c, &deaths_short[i], 'o');
    tk_open(&t, &c);
    for (size_t i = deaths_short_count; i-- > 0;) /* the freshest first: it is still alive */
        go_on(&t, &deaths_short[i], 'o', died_ns[i]);
    for (size_t i = 0; i < deaths_long_count; i++)
        go_on(&t, &deaths_long[i], 'o', died_ns[deaths_short_count + i]);
    tk_end(&t);
}

/* Who clears up after the dead dies of it. */
static void clearing_up_is_interrupted(void **state)
{
    static const char *const points[] = {"tikv_before_resolving", "tikv_resolved"};
    static const char *const names[] = {
        "2PC: before the primary's commit", "2PC: in the middle of the secondaries",
        "async: a secondary is not prewritten", "async: all is prewritten",
        "2PC: some secondaries are prewritten"};
    const death *chosen[sizeof(names) / sizeof(names[0])];
    int64_t died_ns[sizeof(names) / sizeof(names[0])][2];
    cluster c;
    tk t;
    (void)state;
    deaths_begin(&c);
    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
        chosen[k] = NULL;
        for (size_t i = 0; i < deaths_short_count; i++)
            if (strcmp(deaths_short[i].name, names[k]) == 0)
                chosen[k] = &deaths_short[i];
        assert_non_null(chosen[k]);
        for (size_t p = 0; p < 2; p++)
            died_ns[k][p] = death_happens(&c, chosen[k], (char)('p' + (int)p));
    }
    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
        for (size_t p = 0; p < 2; p++)
            death_reader_dies(&c, chosen[k], (char)('p' + (int)p), points[p]);
    tk_open(&t, &c);
    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
        for (size_t p = 0; p < 2; p++)
            go_on(&t, chosen[k], (char)('p' + (int)p), died_ns[k][p]);
    tk_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_die_at_every_step),
        cmocka_unit_test(clearing_up_is_interrupted),
    };
    return TEST_RUN(tests);
}

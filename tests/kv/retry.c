/* The retry loop on a clock of its own: which classes run again, how often, how long. */
#include "kv/handle.h"

/* What the transaction function answers, attempt by attempt. */
typedef struct plan {
    ti_status answers[80];
    unsigned runs;
    ti_txn *last;
} plan;

static ti_status follow_plan(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    plan *p = context;
    ti_status answer = p->answers[p->runs++];
    (void)call;
    p->last = txn;
    TI_TRY(ti_txn_put(txn, TI_SLICE("a"), TI_SLICE("1"), err));
    if (answer == TI_OK || answer == TI_NOT_FOUND)
        return answer;
    return ti_err_set(err, answer, "attempt %u", p->runs);
}

static void fill(plan *p, ti_status answer, unsigned count)
{
    memset(p, 0, sizeof(*p));
    for (unsigned i = 0; i < count; i++)
        p->answers[i] = answer;
}

static void only_conflicts_and_transients_run_again(void **state)
{
    handle h;
    test_env env;
    (void)state;
    test_env_init(&env, INT64_C(1700000000000000), 7);
    handle_open_with(&h, &env.env, NULL);
#define ONE(number, NAME, text) TI_##NAME,
    static const ti_status all[] = {TI_STATUS_MAP(ONE)};
#undef ONE
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        plan p;
        ti_ts commit_ts = TI_TS_NONE;
        ti_status_class class = ti_status_class_of(all[i]);
        bool again = class == TI_CLASS_CONFLICT || class == TI_CLASS_TRANSIENT;
        fill(&p, all[i], 2);
        ti_call call = ti_call_within(&env.env, 60000000);
        ti_status status =
            ti_kv_transact(&h.kv, NULL, NULL, follow_plan, &p, &commit_ts, &call, &h.err);
        assert_int_equal(p.runs, again ? 3 : 1);
        assert_int_equal(status, again ? TI_OK : all[i]);
        assert_int_equal(commit_ts != TI_TS_NONE, status == TI_OK);
        if (status != TI_OK)
            assert_int_equal(h.err.status, all[i]);
    }
    handle_close(&h);
}

static void attempts_are_capped_and_told(void **state)
{
    handle h;
    test_env env;
    plan p;
    ti_retry_options options = {.timeout_us = INT64_C(3600000000), .attempts_max = 7};
    (void)state;
    test_env_init(&env, INT64_C(1700000000000000), 8);
    handle_open_with(&h, &env.env, NULL);
    ti_call call = ti_call_within(&env.env, TI_NO_DEADLINE);
    fill(&p, TI_CONFLICT, 80);
    test_status(ti_kv_transact(&h.kv, NULL, &options, follow_plan, &p, NULL, &call, &h.err),
                TI_CONFLICT);
    assert_int_equal(p.runs, 7);
    assert_string_equal(h.err.message, "attempt 7 (after 7 attempts)");
    options.attempts_max = 0;
    fill(&p, TI_DEADLOCK, 80);
    test_status(ti_kv_transact(&h.kv, NULL, &options, follow_plan, &p, NULL, &call, NULL),
                TI_DEADLOCK);
    assert_int_equal(p.runs, TI_RETRY_ATTEMPTS_MAX);
    handle_close(&h);
}

/* Attempts that were short of time say less than those before them. */
static void what_was_wrong_is_told_when_time_is_up(void **state)
{
    handle h;
    test_env env;
    plan p;
    ti_retry_options options = {.timeout_us = INT64_C(3600000000), .attempts_max = 4};
    (void)state;
    test_env_init(&env, INT64_C(1700000000000000), 8);
    handle_open_with(&h, &env.env, NULL);
    ti_call call = ti_call_within(&env.env, TI_NO_DEADLINE);
    fill(&p, TI_TIMEOUT, 80);
    test_status(ti_kv_transact(&h.kv, NULL, &options, follow_plan, &p, NULL, &call, &h.err),
                TI_TIMEOUT);
    assert_string_equal(h.err.message, "attempt 1 (after 4 attempts)");
    fill(&p, TI_TIMEOUT, 80);
    p.answers[2] = TI_UNAVAILABLE; /* that one had the time to fail by itself */
    test_status(ti_kv_transact(&h.kv, NULL, &options, follow_plan, &p, NULL, &call, &h.err),
                TI_TIMEOUT);
    assert_string_equal(h.err.message, "attempt 3 (after 4 attempts)");
    p.runs = 0;
    p.answers[2] = TI_CONFLICT; /* of another kind: not what the time ran out for */
    test_status(ti_kv_transact(&h.kv, NULL, &options, follow_plan, &p, NULL, &call, &h.err),
                TI_TIMEOUT);
    assert_string_equal(h.err.message, "attempt 4 (after 4 attempts)");
    handle_close(&h);
}

static void sleeps_grow_and_end_before_the_deadline(void **state)
{
    handle h;
    test_env env;
    (void)state;
    test_env_init(&env, INT64_C(1700000000000000), 9);
    handle_open_with(&h, &env.env, NULL);
    for (int64_t seconds = 1; seconds <= 20; seconds++) {
        plan p;
        ti_retry_options options = {.timeout_us = seconds * 1000000};
        ti_call call = ti_call_within(&env.env, TI_NO_DEADLINE);
        int64_t began_ns = atomic_load(&env.mono_ns);
        fill(&p, TI_UNAVAILABLE, 80);
        test_status(ti_kv_transact(&h.kv, NULL, &options, follow_plan, &p, NULL, &call, &h.err),
                    TI_UNAVAILABLE);
        int64_t took_ns = atomic_load(&env.mono_ns) - began_ns;
        assert_true(took_ns <= seconds * INT64_C(1000000000));
        assert_true(p.runs > 3);
        assert_true(p.runs < TI_RETRY_ATTEMPTS_MAX);
    }
    handle_close(&h);
}

/* Uses up almost all of the call's time, as an attempt does that a busy store keeps waiting. */
static ti_status run_out_of_time(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    plan *p = context;
    int64_t left_ns = ti_call_left_ns(call);
    (void)txn;
    p->runs++;
    call->env->sleep_ns(call->env, left_ns - left_ns / 100);
    return ti_err_set(err, TI_TIMEOUT, "the store is busy");
}

/* What time has ended is not tried again with what is left of it: a request that goes out then
 * would be cut off under way, and its outcome unknown. */
static void no_attempt_is_made_with_no_time_for_it(void **state)
{
    handle h;
    test_env env;
    plan p = {.runs = 0};
    (void)state;
    test_env_init(&env, INT64_C(1700000000000000), 11);
    handle_open_with(&h, &env.env, NULL);
    for (int i = 0; i < 20; i++) {
        ti_call call = ti_call_within(&env.env, 10000000);
        p.runs = 0;
        test_status(ti_kv_transact(&h.kv, NULL, NULL, run_out_of_time, &p, NULL, &call, &h.err),
                    TI_TIMEOUT);
        assert_int_equal(p.runs, 1);
        assert_string_equal(h.err.message, "the store is busy");
    }
    handle_close(&h);
}

static void the_first_sleep_is_short(void **state)
{
    handle h;
    test_env env;
    int64_t longest = 0;
    (void)state;
    test_env_init(&env, INT64_C(1700000000000000), 10);
    handle_open_with(&h, &env.env, NULL);
    for (int i = 0; i < 200; i++) {
        plan p;
        int64_t before = atomic_load(&env.slept_ns);
        ti_call call = ti_call_within(&env.env, 60000000);
        fill(&p, TI_CONFLICT, 1);
        test_ok(ti_kv_transact(&h.kv, NULL, NULL, follow_plan, &p, NULL, &call, &h.err), &h.err);
        int64_t slept = atomic_load(&env.slept_ns) - before;
        longest = slept > longest ? slept : longest;
    }
    assert_true(longest <= TI_RETRY_BASE_US * INT64_C(1000));
    assert_true(longest > TI_RETRY_BASE_US * INT64_C(1000) / 2); /* it does use its room */
    handle_close(&h);
}

static void a_cancelled_call_ends_the_loop(void **state)
{
    handle h;
    test_env env;
    plan p;
    _Atomic(int) cancelled;
    (void)state;
    atomic_init(&cancelled, 1);
    test_env_init(&env, INT64_C(1700000000000000), 11);
    handle_open_with(&h, &env.env, NULL);
    ti_call call = ti_call_within(&env.env, 60000000);
    call.cancelled = &cancelled;
    fill(&p, TI_CONFLICT, 80);
    test_status(ti_kv_transact(&h.kv, NULL, NULL, follow_plan, &p, NULL, &call, &h.err),
                TI_CANCELLED);
    assert_int_equal(p.runs, 1);
    handle_close(&h);
}

/* A real conflict: the function runs again as a whole and sees what the other wrote. */
typedef struct rival {
    handle *h;
    unsigned runs;
} rival;

static ti_status append_after_rival(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    rival *r = context;
    ti_slice value;
    char text[64];
    ti_status status = ti_txn_get(txn, TI_SLICE("list"), &r->h->a, &value, call, err);
    if (status != TI_OK && status != TI_NOT_FOUND)
        return status;
    if (r->runs++ == 0)
        handle_set(r->h, "list", "rival");
    int len = snprintf(text, sizeof(text), "%.*s+mine", (int)value.len, value.data);
    return ti_txn_put(txn, TI_SLICE("list"), (ti_slice){.data = text, .len = (size_t)len}, err);
}

static void writes_are_never_replayed(void **state)
{
    handle h;
    (void)state;
    handle_open(&h);
    rival r = {.h = &h};
    test_ok(ti_kv_transact(&h.kv, NULL, NULL, append_after_rival, &r, NULL, &h.call, &h.err),
            &h.err);
    assert_int_equal(r.runs, 2);
    ti_txn *txn = handle_begin(&h);
    handle_expect(&h, txn, "list", "rival+mine");
    ti_txn_free(txn);
    handle_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_conflicts_and_transients_run_again),
        cmocka_unit_test(attempts_are_capped_and_told),
        cmocka_unit_test(what_was_wrong_is_told_when_time_is_up),
        cmocka_unit_test(sleeps_grow_and_end_before_the_deadline),
        cmocka_unit_test(no_attempt_is_made_with_no_time_for_it),
        cmocka_unit_test(the_first_sleep_is_short),
        cmocka_unit_test(a_cancelled_call_ends_the_loop),
        cmocka_unit_test(writes_are_never_replayed),
    };
    return TEST_RUN(tests);
}

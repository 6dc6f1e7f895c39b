/* The outcome of a commit when answers are late, lost or refused: OUTCOME_UNKNOWN exactly when the
 * answer to the commit point was lost and nothing could be found out afterwards. */
#include "tikv/tk.h"

#define SHORT_US 1500000

typedef enum mode { ONE_PC, ASYNC, TWO_PHASES } mode;

/* A cluster whose commits of ("a", "z") take the given mode. */
static void begin(tk *t, cluster *c, mode m)
{
    tk_begin(t, c);
    if (m != ONE_PC)
        cluster_at_key(c, "split", TI_SLICE("m"));
    tk_expect(t, "a", NULL);
    tk_expect(t, "z", NULL);
}

/* Commits two keys; in 2PC beside values that pass async commit's bound on keys. */
static ti_status commit_in(tk *t, mode m, int64_t timeout_us)
{
    static char names[300][32];
    ti_mutation list[302];
    size_t count = 0;
    list[count++] = PUT("a", "new");
    for (int i = 0; m == TWO_PHASES && i < 300; i++) {
        snprintf(names[i], sizeof(names[i]), "b:%04d", i);
        list[count++] = PUT(names[i], "new");
    }
    list[count++] = PUT("z", "new");
    ti_commit_request request = {.start_ts = tk_now(t), .mutations = list, .count = count};
    return tk_commit_within(t, &request, timeout_us);
}

static void expect_both(tk *t, const char *value)
{
    tk_expect(t, "a", value);
    tk_expect(t, "z", value);
}

/* Loses every answer of a kind, applied or not, and checks what is said and what is true. */
static void lose_all(mode m, const char *kind, const char *action, ti_status expected,
                     const char *value)
{
    cluster c;
    tk t;
    char rule[256];
    begin(&t, &c, m);
    snprintf(rule, sizeof(rule), "{\"kind\":\"%s\",\"action\":\"%s\",\"times\":-1}", kind, action);
    cluster_fault(&c, rule);
    if (expected == TI_OUTCOME_UNKNOWN) /* the way to find out is blocked too */
        cluster_fault(&c, "{\"kind\":\"CheckTxnStatus\",\"action\":\"drop_before\",\"times\":-1}");
    test_status(commit_in(&t, m, SHORT_US), expected);
    cluster_do(&c, "/faults/clear");
    expect_both(&t, value);
    tk_end(&t);
}

static void a_lost_1pc_answer_is_unknown(void **state)
{
    (void)state;
    lose_all(ONE_PC, "Prewrite", "drop_after", TI_OUTCOME_UNKNOWN, "new");
    lose_all(ONE_PC, "Prewrite", "drop_before", TI_OUTCOME_UNKNOWN, NULL);
}

static void a_lost_async_answer_is_unknown(void **state)
{
    (void)state;
    lose_all(ASYNC, "Prewrite", "drop_after", TI_OUTCOME_UNKNOWN, "new");
    lose_all(ASYNC, "Prewrite", "drop_before", TI_OUTCOME_UNKNOWN, NULL);
}

static void a_lost_primary_commit_is_unknown(void **state)
{
    (void)state;
    lose_all(TWO_PHASES, "Commit", "drop_after", TI_OUTCOME_UNKNOWN, "new");
}

static void a_lost_prewrite_of_2pc_is_no_commit_point(void **state)
{
    (void)state;
    lose_all(TWO_PHASES, "Prewrite", "drop_before", TI_TIMEOUT, NULL);
    lose_all(TWO_PHASES, "Prewrite", "drop_after", TI_TIMEOUT, NULL);
}

/* One answer lost, by a cut stream: asked again, and found out. */
static void lose_once(mode m, const char *kind, const char *action)
{
    cluster c;
    tk t;
    char rule[256];
    begin(&t, &c, m);
    snprintf(rule, sizeof(rule), "{\"kind\":\"%s\",\"action\":\"%s\"}", kind, action);
    cluster_fault(&c, rule);
    test_ok(commit_in(&t, m, TK_CALL_US), &t.err);
    assert_int_equal(cluster_number(&c, "fault_hits"), 1);
    expect_both(&t, "new");
    ti_ts commit_ts = t.commit_ts;
    assert_true(commit_ts != TI_TS_NONE);
    ti_snapshot *s = NULL; /* exactly from the commit timestamp on */
    ti_call call = tk_call(TK_CALL_US);
    test_ok(t.vt->begin(t.e, commit_ts, &s, &call, &t.err), &t.err);
    tk_expect_at(&t, s, "a", "new");
    tk_expect_at(&t, s, "z", "new");
    t.vt->release(s);
    test_ok(t.vt->begin(t.e, commit_ts - 1, &s, &call, &t.err), &t.err);
    tk_expect_at(&t, s, "a", NULL);
    tk_expect_at(&t, s, "z", NULL);
    t.vt->release(s);
    tk_end(&t);
}

static void one_cut_does_not_make_a_commit_unknown(void **state)
{
    (void)state;
    for (mode m = ONE_PC; m <= TWO_PHASES; m++) {
        lose_once(m, "Prewrite", "cut_before");
        lose_once(m, "Prewrite", "cut_after");
    }
    lose_once(TWO_PHASES, "Commit", "cut_before");
    lose_once(TWO_PHASES, "Commit", "cut_after");
}

static void refuse(mode m, const char *kind, const char *error, ti_status expected)
{
    cluster c;
    tk t;
    char rule[256];
    begin(&t, &c, m);
    snprintf(rule, sizeof(rule), "{\"kind\":\"%s\",\"action\":\"key_error\",\"error\":\"%s\"}",
             kind, error);
    cluster_fault(&c, rule);
    test_status(commit_in(&t, m, TK_CALL_US), expected);
    expect_both(&t, NULL);
    tk_end(&t);
}

static void refusals_are_definite(void **state)
{
    (void)state;
    for (mode m = ONE_PC; m <= TWO_PHASES; m++) {
        refuse(m, "Prewrite", "Conflict", TI_CONFLICT);
        refuse(m, "Prewrite", "AlreadyExist", TI_ALREADY_EXISTS);
        refuse(m, "Prewrite", "Abort", TI_CONFLICT);
        refuse(m, "Prewrite", "Retryable", TI_CONFLICT);
    }
    refuse(TWO_PHASES, "Commit", "Abort", TI_CONFLICT);
}

static void an_expired_commit_ts_is_taken_anew(void **state)
{
    (void)state;
    cluster c;
    tk t;
    begin(&t, &c, TWO_PHASES);
    cluster_fault(&c,
                  "{\"kind\":\"Commit\",\"action\":\"key_error\",\"error\":\"CommitTsExpired\"}");
    test_ok(commit_in(&t, TWO_PHASES, TK_CALL_US), &t.err);
    assert_int_equal(cluster_number(&c, "fault_hits"), 1);
    expect_both(&t, "new");
    tk_end(&t);
}

static void region_errors_are_overcome(void **state)
{
    static const char *const kinds[] = {"NotLeader",
                                        "RegionNotFound",
                                        "KeyNotInRegion",
                                        "EpochNotMatch",
                                        "ServerIsBusy",
                                        "StaleCommand",
                                        "StoreNotMatch",
                                        "MaxTimestampNotSynced",
                                        "ReadIndexNotReady",
                                        "ProposalInMergingMode",
                                        "DataIsNotReady",
                                        "RegionNotInitialized",
                                        "DiskFull",
                                        "RecoveryInProgress",
                                        "MismatchPeerId",
                                        "BucketVersionNotMatch",
                                        "Unknown"};
    cluster c;
    tk t;
    (void)state;
    begin(&t, &c, ASYNC);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const char *const requests[] = {"Prewrite", "Get"};
        for (size_t k = 0; k < 2; k++) {
            char rule[256];
            snprintf(rule, sizeof(rule),
                     "{\"kind\":\"%s\",\"action\":\"region_error\",\"error\":\"%s\"}", requests[k],
                     kinds[i]);
            cluster_fault(&c, rule);
        }
        test_ok(commit_in(&t, ASYNC, TK_CALL_US), &t.err);
        expect_both(&t, "new");
    }
    tk_end(&t);
}

static void an_undetermined_prewrite_is_settled(void **state)
{
    (void)state;
    cluster c;
    tk t;
    begin(&t, &c, ONE_PC);
    cluster_fault(&c, "{\"kind\":\"Prewrite\",\"action\":\"region_error\",\"error\":"
                      "\"UndeterminedResult\"}");
    test_status(commit_in(&t, ONE_PC, TK_CALL_US), TI_UNAVAILABLE); /* it was not applied */
    expect_both(&t, NULL);
    tk_end(&t);
}

static void too_large_entries_are_not_retried(void **state)
{
    (void)state;
    cluster c;
    tk t;
    begin(&t, &c, ONE_PC);
    cluster_fault(&c, "{\"kind\":\"Prewrite\",\"action\":\"region_error\",\"error\":"
                      "\"RaftEntryTooLarge\",\"times\":-1}");
    test_status(commit_in(&t, ONE_PC, TK_CALL_US), TI_LIMIT_EXCEEDED);
    assert_int_equal(cluster_number(&c, "fault_hits"), 1);
    expect_both(&t, NULL);
    tk_end(&t);
}

/* Nothing reaches a store that does not run: then nothing is unknown. */
static void a_stopped_store_leaves_no_doubt(void **state)
{
    (void)state;
    for (mode m = ONE_PC; m <= ASYNC; m++) {
        cluster c;
        tk t;
        uint64_t ids[8];
        begin(&t, &c, m);
        size_t count = cluster_stores(&c, ids, 8);
        assert_int_equal(count, 3);
        for (size_t i = 0; i < count; i++)
            cluster_do(&c, "/store/stop?id=%llu", (unsigned long long)ids[i]);
        usleep(1000000); /* the streams have ended, also on a slow machine */
        ti_status status = commit_in(&t, m, SHORT_US);
        if (status != TI_TIMEOUT && status != TI_UNAVAILABLE)
            fail_msg("%s: %s", ti_status_name(status), t.err.message);
        for (size_t i = 0; i < count; i++)
            cluster_do(&c, "/store/start?id=%llu", (unsigned long long)ids[i]);
        expect_both(&t, NULL);
        test_ok(commit_in(&t, m, TK_CALL_US), &t.err);
        expect_both(&t, "new");
        tk_end(&t);
    }
}

static void not_after_holds_in_all_modes(void **state)
{
    (void)state;
    for (mode m = ONE_PC; m <= TWO_PHASES; m++) {
        cluster c;
        tk t;
        begin(&t, &c, m);
        ti_ts start = tk_now(&t);
        ti_env_real()->sleep_ns(ti_env_real(), 20000000);
        static char names[300][32];
        ti_mutation list[302];
        size_t count = 0;
        list[count++] = PUT("a", "new");
        for (int i = 0; m == TWO_PHASES && i < 300; i++) {
            snprintf(names[i], sizeof(names[i]), "b:%04d", i);
            list[count++] = PUT(names[i], "new");
        }
        list[count++] = PUT("z", "new");
        ti_commit_request request = {.start_ts = start,
                                     .not_after = ti_ts_add_us(start, 10000),
                                     .mutations = list,
                                     .count = count};
        test_status(tk_commit_within(&t, &request, TK_CALL_US), TI_CONFLICT);
        expect_both(&t, NULL);
        request.start_ts = tk_now(&t);
        request.not_after = ti_ts_add_us(request.start_ts, 10000000);
        test_ok(tk_commit_within(&t, &request, TK_CALL_US), &t.err);
        assert_true(t.commit_ts <= request.not_after);
        expect_both(&t, "new");
        tk_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_1pc_answer_is_unknown),
        cmocka_unit_test(a_lost_async_answer_is_unknown),
        cmocka_unit_test(a_lost_primary_commit_is_unknown),
        cmocka_unit_test(a_lost_prewrite_of_2pc_is_no_commit_point),
        cmocka_unit_test(one_cut_does_not_make_a_commit_unknown),
        cmocka_unit_test(refusals_are_definite),
        cmocka_unit_test(an_expired_commit_ts_is_taken_anew),
        cmocka_unit_test(region_errors_are_overcome),
        cmocka_unit_test(an_undetermined_prewrite_is_settled),
        cmocka_unit_test(too_large_entries_are_not_retried),
        cmocka_unit_test(a_stopped_store_leaves_no_doubt),
        cmocka_unit_test(not_after_holds_in_all_modes),
    };
    return TEST_RUN(tests);
}

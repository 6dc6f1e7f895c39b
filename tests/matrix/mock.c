/* A sample of the fault matrix on the mock cluster: real connections, real time, unistore's MVCC.
 * 200 cells at scale 1, picked by the program's seed. What a cell may end with is told by the same
 * letters as in trouble.c; its time is bounded by the wait of its backoff row and a second of
 * slack. Everything is read back by a second client. */
#include "tikv/tk.h"

#define CELLS 200
#define SLACK_MS 1000
#define SHORT_MS 1500 /* the deadline where no answer comes */
#define KEY_SIZE 2200

typedef enum op { GET, BATCH_GET, SCAN, ONE_PC, ASYNC, TWO_PHASES, LOCK_KEYS, OPS } op;

/* A fault of the mock's; letters in the order of op, then of the primary's commit in 2PC. */
typedef struct trouble {
    const char *action;
    const char *error;
    int64_t wait_max_ms;
    const char *letters;
} trouble;

static const trouble troubles[] = {
    {"region_error", "NotLeader", 10, "++++++++"},
    {"region_error", "RegionNotFound", 10, "++++++++"},
    {"region_error", "KeyNotInRegion", 10, "++++++++"},
    {"region_error", "EpochNotMatch", 10, "++++++++"},
    {"region_error", "ServerIsBusy", 2000, "++++++++"},
    {"region_error", "StaleCommand", 10, "++++++++"},
    {"region_error", "StoreNotMatch", 10, "++++++++"},
    {"region_error", "RaftEntryTooLarge", 0, "LLLLLLLL"},
    {"region_error", "MaxTimestampNotSynced", 10, "++++++++"},
    {"region_error", "ReadIndexNotReady", 10, "++++++++"},
    {"region_error", "ProposalInMergingMode", 10, "++++++++"},
    {"region_error", "DataIsNotReady", 10, "++++++++"},
    {"region_error", "RegionNotInitialized", 10, "++++++++"},
    {"region_error", "DiskFull", 500, "++++++++"},
    {"region_error", "RecoveryInProgress", 100, "++++++++"},
    {"region_error", "FlashbackInProgress", 0, "UUUUUUUU"},
    {"region_error", "FlashbackNotPrepared", 0, "UUUUUUUU"},
    {"region_error", "IsWitness", 1000, "++++++++"},
    {"region_error", "MismatchPeerId", 10, "++++++++"},
    {"region_error", "BucketVersionNotMatch", 10, "++++++++"},
    {"region_error", "UndeterminedResult", 0, "UUUxxxUx"},
    {"region_error", "Unknown", 10, "++++++++"},
    {"key_error", "Locked", 500, "++++++--"},
    {"key_error", "Conflict", 0, "xxxCCC+x"},
    {"key_error", "AlreadyExist", 0, "xxxAAAAx"},
    {"key_error", "Deadlock", 0, "xxxxxxDx"},
    {"key_error", "CommitTsExpired", 0, "xxxxxxx+"},
    {"key_error", "TxnNotFound", 0, "xxxxxxxx"},
    {"key_error", "CommitTsTooLarge", 0, "xxxCCCxx"},
    {"key_error", "AssertionFailed", 0, "xxxCCCCx"},
    {"key_error", "PrimaryMismatch", 0, "xxxxxxxx"},
    {"key_error", "TxnLockNotFound", 0, "xxxCCCxC"},
    {"key_error", "Retryable", 0, "xxxCCCCC"},
    {"key_error", "Abort", 0, "xxxCCCCC"},
    {"cut_before", "", 200, "++++++++"},
    {"cut_after", "", 200, "++++++++"},
    {"drop_before", "", 0, "tttuutt?"},
    {"drop_after", "", 0, "tttuutt?"},
    {"delay", "", 300, "++++++++"},
    {"duplicate", "", 0, "++++++++"},
    {"reorder", "", 300, "++++++++"},
};
#define TROUBLES (sizeof(troubles) / sizeof(troubles[0]))

static const char *const kinds[OPS + 1] = {
    "Get", "BatchGet", "Scan", "Prewrite", "Prewrite", "Prewrite", "PessimisticLock", "Commit"};

typedef struct cell {
    op op;
    bool commit; /* the trouble is with the primary's commit */
    const trouble *trouble;
    int nth;
    char letter;
    char keys[3][KEY_SIZE];
    size_t key_count;
    ti_ts start_ts;
    ti_status status;
    int64_t took_ms;
} cell;

/* ---- Operations ---- */

static ti_status read_all(tk *t, cell *c, const ti_call *call)
{
    ti_snapshot *s = NULL;
    ti_slice keys[3];
    ti_slice values[3];
    ti_scan_page page;
    TI_TRY(t->vt->begin(t->e, TI_TS_NONE, &s, call, &t->err));
    ti_status status = TI_OK;
    for (size_t i = 0; i < 3; i++) {
        keys[i] = ti_slice_of(c->keys[i]);
        if (c->op == GET && status == TI_OK)
            status = t->vt->get(s, keys[i], &t->a, &values[i], call, &t->err);
    }
    if (c->op == BATCH_GET)
        status = t->vt->batch_get(s, keys, 3, &t->a, values, call, &t->err);
    for (size_t i = 0; i < 3 && c->op == SCAN && status == TI_OK; i++) {
        ti_scan what = {.range = {.from = keys[i]}, .items_max = 1};
        status = t->vt->scan(s, &what, &t->a, &page, call, &t->err);
        if (status == TI_OK && page.count == 1)
            values[i] = page.pairs[0].value;
        else if (status == TI_OK)
            fail_msg("the scan is empty");
    }
    for (size_t i = 0; i < 3 && status == TI_OK; i++)
        assert_true(ti_slice_equal(values[i], TI_SLICE("old")));
    t->vt->release(s);
    return status == TI_NOT_FOUND ? TI_INTERNAL : status;
}

static ti_status commit_all(tk *t, cell *c, const ti_call *call)
{
    ti_mutation list[3];
    ti_commit_result result;
    for (size_t i = 0; i < c->key_count; i++)
        list[i] = PUT(c->keys[i], "new");
    ti_commit_request request = {.start_ts = c->start_ts, .mutations = list, .count = c->key_count};
    return t->vt->commit(t->e, &request, &result, call, &t->err);
}

static ti_status lock_all(tk *t, cell *c, const ti_call *call)
{
    ti_slice keys[3];
    ti_locked out[3];
    ti_locks *locks = NULL;
    for (size_t i = 0; i < 3; i++)
        keys[i] = ti_slice_of(c->keys[i]);
    ti_lock_request request = {.start_ts = c->start_ts, .keys = keys, .count = 3, .wait_us = -1};
    ti_status status = t->vt->lock(t->e, &locks, &request, &t->a, out, call, &t->err);
    for (size_t i = 0; i < 3 && status == TI_OK; i++)
        assert_true(out[i].found && ti_slice_equal(out[i].value, TI_SLICE("old")));
    cluster_do(t->cluster, "/faults/clear");
    t->vt->unlock(t->e, locks);
    return status;
}

static void act(tk *t, cell *c)
{
    bool no_answer = strncmp(c->trouble->action, "drop", 4) == 0;
    c->start_ts = tk_now(t);
    int64_t began_ns = ti_env_mono_ns(ti_env_real());
    ti_call call = tk_call(no_answer ? SHORT_MS * 1000 : TK_CALL_US);
    ti_err_clear(&t->err);
    c->status = c->op <= SCAN       ? read_all(t, c, &call)
                : c->op < LOCK_KEYS ? commit_all(t, c, &call)
                                    : lock_all(t, c, &call);
    c->took_ms = (ti_env_mono_ns(ti_env_real()) - began_ns) / 1000000;
}

/* ---- Judging ---- */

static bool fits(const cell *c)
{
    ti_status_class class = ti_status_class_of(c->status);
    switch (c->letter) {
    case '+':
        return c->status == TI_OK;
    case 'C':
        return c->status == TI_CONFLICT;
    case 'A':
        return c->status == TI_ALREADY_EXISTS;
    case 'D':
        return c->status == TI_DEADLOCK;
    case 'L':
        return c->status == TI_LIMIT_EXCEEDED;
    case 'U':
        return c->status == TI_UNAVAILABLE;
    case 't': /* no answer, and it is no commit point */
        return c->status == TI_TIMEOUT;
    case 'u': /* no answer to a commit point */
    case '?':
        return class == TI_CLASS_UNKNOWN || class == TI_CLASS_TRANSIENT;
    default:
        return class != TI_CLASS_OK && class != TI_CLASS_UNKNOWN;
    }
}

/* What a second client finds must be what was answered. */
static bool is_true(tk *reader, const cell *c)
{
    size_t seen = 0;
    for (size_t i = 0; i < c->key_count; i++) {
        ti_slice value = TI_SLICE("");
        ti_snapshot *s = tk_snapshot(reader);
        test_ok(tk_read(reader, s, c->keys[i], TK_CALL_US, &value), &reader->err);
        seen += ti_slice_equal(value, TI_SLICE("new"));
        reader->vt->release(s);
    }
    bool torn = seen != 0 && seen != c->key_count;
    bool commits = c->op >= ONE_PC && c->op <= TWO_PHASES;
    if (torn || !commits)
        return !torn && seen == 0;
    return ti_status_class_of(c->status) == TI_CLASS_UNKNOWN || (seen > 0) == (c->status == TI_OK);
}

/* Until the client's background has had nothing to do for a while: its commits and rollbacks would
 * meet the next cell's fault. */
static void until_quiet(tk *t)
{
    uint64_t sent = 0;
    for (int still = 0; still < 6; still++) {
        uint64_t now = engine_number(t->e, "bytes_sent");
        if (now != sent || engine_number(t->e, "in_flight") != 0)
            still = 0;
        sent = now;
        usleep(10000);
    }
}

/* Three keys, one in each region; long ones in 2PC, so that async commit is out of the question. */
static void name_keys(tk *t, cell *c, int number)
{
    size_t len = c->op == TWO_PHASES ? KEY_SIZE - 1 : 8;
    c->key_count = c->op == ONE_PC ? 1 : 3;
    for (size_t i = 0; i < 3; i++) {
        char *key = c->keys[i];
        memset(key, 'x', len);
        char start[16];
        int start_len = snprintf(start, sizeof(start), "%c%06u", "anu"[i], (unsigned)number);
        memcpy(key, start, (size_t)start_len);
        key[len] = '\0';
        test_ok(tk_commit(t, tk_now(t), PUT(key, "old")), &t->err); /* at once, nothing follows */
    }
    until_quiet(t);
}

static void make_fault(tk *t, const cell *c)
{
    char rule[256];
    snprintf(rule, sizeof(rule),
             "{\"kind\":\"%s\",\"action\":\"%s\",\"error\":\"%s\",\"nth\":%d,\"times\":%d,"
             "\"leader\":2,\"delay_ms\":%d}",
             kinds[c->commit ? OPS : c->op], c->trouble->action, c->trouble->error, c->nth,
             strncmp(c->trouble->action, "drop", 4) == 0 ? -1 : 1,
             strcmp(c->trouble->action, "delay") == 0 ? 200 : 0);
    cluster_fault(t->cluster, rule);
}

/* A cell by chance; false when it can not occur. */
static bool pick(cell *c, test_random *random)
{
    c->op = (op)test_random_below(random, OPS);
    c->commit = c->op == TWO_PHASES && test_random_one_in(random, 2);
    c->trouble = &troubles[test_random_below(random, TROUBLES)];
    c->letter = c->trouble->letters[c->commit ? OPS : c->op];
    c->nth = c->commit || c->op == ONE_PC ? 1 : 1 + (int)test_random_below(random, 3);
    return c->letter != '-';
}

static void run_cell(tk *t, tk *reader, cell *c, int number)
{
    name_keys(t, c, number);
    uint64_t hits = cluster_number(t->cluster, "fault_hits");
    make_fault(t, c);
    act(t, c);
    cluster_do(t->cluster, "/faults/clear");
    char name[96];
    snprintf(name, sizeof(name), "cell %d: %s %s %s, request %d of op %d", number,
             kinds[c->commit ? OPS : c->op], c->trouble->action, c->trouble->error, c->nth,
             (int)c->op);
    if (cluster_number(t->cluster, "fault_hits") == hits)
        fail_msg("%s: it did not happen", name);
    if (!fits(c))
        fail_msg("%s: %s (%s) instead of '%c'", name, ti_status_name(c->status), t->err.message,
                 c->letter);
    int64_t bound_ms = c->letter == 't' || c->letter == 'u' || c->letter == '?'
                           ? SHORT_MS
                           : c->trouble->wait_max_ms;
    if (c->took_ms > bound_ms + SLACK_MS)
        fail_msg("%s: %lld ms instead of %lld", name, (long long)c->took_ms, (long long)bound_ms);
    if (!is_true(reader, c))
        fail_msg("%s: %s, but that is not what is there", name, ti_status_name(c->status));
}

static void sampled_cells_have_their_outcomes(void **state)
{
    (void)state;
    cluster c;
    tk t;
    tk reader;
    test_random random = test_random_start(200);
    int cells = (int)test_scaled(CELLS);
    int64_t slowest_ms = 0;
    cluster_start_mock(&c, &(cluster_options){0});
    cluster_at_key(&c, "split", TI_SLICE("m"));
    cluster_at_key(&c, "split", TI_SLICE("t"));
    tk_open(&t, &c);
    tk_open(&reader, &c);
    for (int done = 0; done < cells;) {
        cell *one = ti_alloc_zero(sizeof(*one));
        assert_non_null(one);
        if (pick(one, &random))
            run_cell(&t, &reader, one, done++);
        slowest_ms = one->took_ms > slowest_ms ? one->took_ms : slowest_ms;
        ti_free(one);
        ti_arena_reset(&t.a);
        ti_arena_reset(&reader.a);
    }
    fprintf(stderr, "%d cells on the mock cluster, the slowest %lld ms\n", cells,
            (long long)slowest_ms);
    tk_close(&reader);
    tk_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sampled_cells_have_their_outcomes)};
    return TEST_RUN(tests);
}

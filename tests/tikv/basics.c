/* The engine on a cluster, from end to end: reads, scans, the three commit modes, locks,
 * collection, with regions that are split. */
#include "tikv/tk.h"

#include <dirent.h>

#include "base/thread.h"

#define KEYS 40

static void key_of(int i, char out[32])
{
    snprintf(out, 32, "table:x:%04d", i);
}

/* Splits the table into regions of five keys. */
static void split_table(const cluster *c)
{
    char key[32];
    for (int i = 5; i < KEYS; i += 5) {
        key_of(i, key);
        cluster_at_key(c, "split", ti_slice_of(key));
    }
}

static void fill_table(tk *t)
{
    char key[32];
    for (int i = 0; i < KEYS; i++) {
        key_of(i, key);
        tk_put(t, key, key);
    }
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    cluster c;
    tk t;
    tk_begin(&t, &c);
    tk_expect(&t, "a", NULL);
    tk_put(&t, "a", "1");
    ti_snapshot *before = tk_snapshot(&t);
    tk_put(&t, "a", "2");
    tk_expect(&t, "a", "2");
    tk_expect_at(&t, before, "a", "1");
    test_ok(tk_commit(&t, tk_now(&t), DELETE("a")), &t.err);
    tk_expect(&t, "a", NULL);
    tk_expect_at(&t, before, "a", "1");
    t.vt->release(before);
    tk_end(&t);
}

static void the_mode_follows_the_regions(void **state)
{
    (void)state;
    cluster c;
    tk t;
    tk_begin(&t, &c);
    test_ok(tk_commit(&t, tk_now(&t), PUT("a", "1"), PUT("z", "1")), &t.err);
    assert_int_equal(engine_number(t.e, "commits_1pc"), 1);
    assert_int_equal(engine_number(t.e, "Prewrite"), 1);
    assert_int_equal(engine_number(t.e, "Commit"), 0);
    cluster_at_key(&c, "split", TI_SLICE("m"));
    test_ok(tk_commit(&t, tk_now(&t), PUT("a", "2"), PUT("z", "2")), &t.err);
    assert_int_equal(engine_number(t.e, "commits_async"), 1);
    tk_expect(&t, "a", "2");
    tk_expect(&t, "z", "2");
    static char big[20000];
    memset(big, 'b', sizeof(big) - 1);
    ti_mutation list[300];
    static char keys[300][32];
    for (int i = 0; i < 300; i++) {
        snprintf(keys[i], sizeof(keys[i]), "l:%04d", i);
        list[i] = PUT(keys[i], i % 50 == 0 ? big : "small");
    }
    test_ok(tk_commit_list(&t, tk_now(&t), list, 300), &t.err);
    assert_int_equal(engine_number(t.e, "commits_2pc"), 1);
    tk_expect(&t, "l:0000", big);
    tk_expect(&t, "l:0299", "small");
    tk_end(&t);
}

/* Reads a range in pages of items, in either direction, and checks every key of it once. */
static void check_scan(tk *t, int from, int to, bool reverse, size_t items)
{
    char low[32];
    char high[32];
    char last[32] = "";
    int seen = 0;
    ti_snapshot *s = tk_snapshot(t);
    key_of(from, low);
    key_of(to, high);
    ti_scan scan = {
        .range = {ti_slice_of(low), ti_slice_of(high)}, .reverse = reverse, .items_max = items};
    for (bool more = true; more;) {
        ti_scan_page page;
        ti_call call = tk_call(TK_CALL_US);
        test_ok(t->vt->scan(s, &scan, &t->a, &page, &call, &t->err), &t->err);
        assert_true(page.count <= items);
        for (size_t i = 0; i < page.count; i++, seen++) {
            char expected[32];
            key_of(reverse ? to - 1 - seen : from + seen, expected);
            assert_true(ti_slice_equal(page.pairs[i].key, ti_slice_of(expected)));
            assert_true(ti_slice_equal(page.pairs[i].value, ti_slice_of(expected)));
        }
        more = page.more;
        if (page.count > 0) {
            ti_slice key = page.pairs[page.count - 1].key;
            snprintf(last, sizeof(last), "%.*s%s", (int)key.len, key.data, "");
            if (reverse)
                scan.range.to = ti_slice_of(last);
            else
                scan.range.from = (ti_slice){.data = last, .len = key.len + 1};
        }
    }
    assert_int_equal(seen, to - from);
    t->vt->release(s);
}

static void scans_cross_regions_exactly(void **state)
{
    (void)state;
    cluster c;
    tk t;
    tk_begin(&t, &c);
    fill_table(&t);
    split_table(&c);
    for (int from = 0; from < KEYS; from += 3) {
        for (int to = from; to <= KEYS; to += 4) {
            check_scan(&t, from, to, false, 7);
            check_scan(&t, from, to, true, 7);
        }
    }
    for (size_t items = 1; items <= 12; items++) {
        check_scan(&t, 0, KEYS, false, items);
        check_scan(&t, 0, KEYS, true, items);
    }
    tk_end(&t);
}

static void batches_cross_regions(void **state)
{
    (void)state;
    cluster c;
    tk t;
    tk_begin(&t, &c);
    fill_table(&t);
    split_table(&c);
    static char names[2 * KEYS][32];
    ti_slice keys[2 * KEYS];
    ti_slice values[2 * KEYS];
    for (int i = 0; i < 2 * KEYS; i++) { /* not sorted, every second absent */
        int n = (i * 37) % (2 * KEYS);
        snprintf(names[i], sizeof(names[i]), "table:x:%04d%s", n / 2, n % 2 ? "-none" : "");
        keys[i] = ti_slice_of(names[i]);
    }
    ti_snapshot *s = tk_snapshot(&t);
    ti_call call = tk_call(TK_CALL_US);
    test_ok(t.vt->batch_get(s, keys, 2 * KEYS, &t.a, values, &call, &t.err), &t.err);
    for (int i = 0; i < 2 * KEYS; i++) {
        if (strchr(names[i], '-') != NULL)
            assert_null(values[i].data);
        else
            assert_true(ti_slice_equal(values[i], keys[i]));
    }
    t.vt->release(s);
    tk_end(&t);
}

static void one_of_two_conflicting_wins(void **state)
{
    (void)state;
    cluster c;
    tk t;
    tk_begin(&t, &c);
    cluster_at_key(&c, "split", TI_SLICE("m"));
    for (int both = 0; both < 2; both++) { /* in one region, over two */
        const char *other = both ? "z" : "b";
        ti_ts first = tk_now(&t);
        ti_ts second = tk_now(&t);
        test_ok(tk_commit(&t, first, PUT("a", "first"), PUT(other, "first")), &t.err);
        test_status(tk_commit(&t, second, PUT("a", "second"), PUT(other, "second")), TI_CONFLICT);
        assert_int_equal(t.failed_index, 0);
        tk_expect(&t, "a", "first");
        tk_expect(&t, other, "first");
    }
    tk_end(&t);
}

static void insert_wants_absence(void **state)
{
    (void)state;
    cluster c;
    tk t;
    tk_begin(&t, &c);
    tk_put(&t, "b", "1");
    test_status(tk_commit(&t, tk_now(&t), PUT("a", "1"), INSERT("b", "2")), TI_ALREADY_EXISTS);
    assert_int_equal(t.failed_index, 1);
    tk_expect(&t, "a", NULL);
    test_status(tk_commit(&t, tk_now(&t), ABSENT("b")), TI_ALREADY_EXISTS);
    test_ok(tk_commit(&t, tk_now(&t), ABSENT("c")), &t.err);
    test_ok(tk_commit(&t, tk_now(&t), ABSENT("c"), PUT("d", "1")), &t.err);
    test_ok(tk_commit(&t, tk_now(&t), DELETE("b")), &t.err);
    test_ok(tk_commit(&t, tk_now(&t), INSERT("b", "3")), &t.err);
    tk_expect(&t, "b", "3");
    tk_end(&t);
}

static ti_status lock_one(tk *t, ti_locks **locks, ti_ts start, const char *key, int64_t wait_us,
                          ti_locked *out)
{
    ti_slice name = ti_slice_of(key);
    ti_lock_request request = {.start_ts = start, .keys = &name, .count = 1, .wait_us = wait_us};
    ti_call call = tk_call(TK_CALL_US);
    return t->vt->lock(t->e, locks, &request, &t->a, out, &call, &t->err);
}

static void a_lock_keeps_others_out(void **state)
{
    (void)state;
    cluster c;
    tk t;
    ti_locks *mine = NULL;
    ti_locks *others = NULL;
    ti_locked got;
    tk_begin(&t, &c);
    tk_put(&t, "a", "1");
    ti_ts start = tk_now(&t);
    tk_put(&t, "a", "2");
    test_ok(lock_one(&t, &mine, start, "a", -1, &got), &t.err);
    assert_true(got.found);
    assert_true(ti_slice_equal(got.value, TI_SLICE("2"))); /* the newest, not the snapshot's */
    test_status(lock_one(&t, &others, tk_now(&t), "a", 0, &got), TI_BUSY);
    test_status(lock_one(&t, &others, tk_now(&t), "a", 300000, &got), TI_TIMEOUT);
    ti_mutation put = PUT("a", "3");
    ti_commit_request request = {.start_ts = start, .mutations = &put, .count = 1, .locks = mine};
    test_ok(tk_commit_within(&t, &request, TK_CALL_US), &t.err);
    t.vt->unlock(t.e, mine);
    tk_expect(&t, "a", "3");
    t.vt->unlock(t.e, others);
    tk_end(&t);
}

static void a_locking_transaction_writes_other_keys_too(void **state)
{
    (void)state;
    cluster c;
    tk t;
    ti_locks *mine = NULL;
    ti_locked got;
    tk_begin(&t, &c);
    tk_put(&t, "b", "1");
    ti_ts start = tk_now(&t);
    test_ok(lock_one(&t, &mine, start, "a", -1, &got), &t.err);
    assert_false(got.found);
    ti_mutation list[] = {PUT("a", "2"), PUT("b", "2")};
    ti_commit_request request = {.start_ts = start, .mutations = list, .count = 2, .locks = mine};
    test_ok(tk_commit_within(&t, &request, TK_CALL_US), &t.err);
    t.vt->unlock(t.e, mine);
    tk_expect(&t, "a", "2");
    tk_expect(&t, "b", "2");
    tk_end(&t);
}

static void a_locking_transaction_loses_conflicts_on_other_keys(void **state)
{
    (void)state;
    cluster c;
    tk t;
    ti_locks *mine = NULL;
    ti_locked got;
    tk_begin(&t, &c);
    ti_ts start = tk_now(&t);
    test_ok(lock_one(&t, &mine, start, "a", -1, &got), &t.err);
    tk_put(&t, "b", "theirs");
    ti_mutation list[] = {PUT("a", "2"), PUT("b", "2")};
    ti_commit_request request = {.start_ts = start, .mutations = list, .count = 2, .locks = mine};
    test_status(tk_commit_within(&t, &request, TK_CALL_US), TI_CONFLICT);
    t.vt->unlock(t.e, mine);
    tk_expect(&t, "a", NULL);
    tk_expect(&t, "b", "theirs");
    tk_end(&t);
}

static void insert_under_a_lock_wants_absence_too(void **state)
{
    (void)state;
    cluster c;
    tk t;
    ti_locks *mine = NULL;
    ti_locked got;
    tk_begin(&t, &c);
    tk_put(&t, "a", "there");
    ti_ts start = tk_now(&t);
    test_ok(lock_one(&t, &mine, start, "a", -1, &got), &t.err);
    ti_mutation list[] = {INSERT("a", "2")};
    ti_commit_request request = {.start_ts = start, .mutations = list, .count = 1, .locks = mine};
    test_status(tk_commit_within(&t, &request, TK_CALL_US), TI_ALREADY_EXISTS);
    t.vt->unlock(t.e, mine);
    tk_expect(&t, "a", "there");
    tk_end(&t);
}

static void a_refused_lock_is_not_held(void **state)
{
    (void)state;
    cluster c;
    tk t;
    ti_locks *theirs = NULL;
    ti_locks *mine = NULL;
    ti_locked got;
    tk_begin(&t, &c);
    ti_ts their_start = tk_now(&t);
    test_ok(lock_one(&t, &theirs, their_start, "a", -1, &got), &t.err);
    ti_ts start = tk_now(&t);
    test_status(lock_one(&t, &mine, start, "a", 0, &got), TI_BUSY);
    test_ok(lock_one(&t, &mine, start, "b", 0, &got), &t.err); /* its primary is b, not a */
    ti_locks *third = NULL;
    test_status(lock_one(&t, &third, tk_now(&t), "b", 0, &got), TI_BUSY);
    t.vt->unlock(t.e, third);
    t.vt->unlock(t.e, theirs);
    ti_mutation list[] = {PUT("a", "2"), PUT("b", "2")};
    ti_commit_request request = {.start_ts = start, .mutations = list, .count = 2, .locks = mine};
    test_ok(tk_commit_within(&t, &request, TK_CALL_US), &t.err);
    t.vt->unlock(t.e, mine);
    tk_expect(&t, "a", "2");
    tk_end(&t);
}

#define CALLERS 16

typedef struct caller {
    tk *t;
    ti_ts *list; /* owned */
    size_t count;
    ti_thread thread;
} caller;

static void *run_caller(void *arg)
{
    caller *c = arg;
    for (size_t i = 0; i < c->count; i++) {
        ti_err err;
        ti_call call = tk_call(TK_CALL_US);
        ti_require(c->t->vt->now(c->t->e, &c->list[i], &call, &err) == TI_OK);
        ti_require(i == 0 || c->list[i] > c->list[i - 1]);
    }
    return NULL;
}

static int compare_ts(const void *a, const void *b)
{
    ti_ts x = *(const ti_ts *)a;
    ti_ts y = *(const ti_ts *)b;
    return (x > y) - (x < y);
}

static void callers_share_timestamp_requests(void **state)
{
    (void)state;
    cluster c;
    tk t;
    caller callers[CALLERS];
    size_t each = test_scaled(2000);
    tk_begin(&t, &c);
    ti_ts *all = ti_alloc(CALLERS * each * sizeof(*all));
    assert_non_null(all);
    uint64_t before = engine_number(t.e, "tso_requests");
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = (caller){.t = &t, .list = all + i * each, .count = each};
        test_ok(ti_thread_start(&callers[i].thread, "caller", run_caller, &callers[i], &t.err),
                &t.err);
    }
    for (size_t i = 0; i < CALLERS; i++)
        ti_thread_join(&callers[i].thread);
    uint64_t requests = engine_number(t.e, "tso_requests") - before;
    qsort(all, CALLERS * each, sizeof(*all), compare_ts);
    for (size_t i = 1; i < CALLERS * each; i++)
        assert_true(all[i] != all[i - 1]);
    print_message("%zu timestamps by %llu requests\n", CALLERS * each,
                  (unsigned long long)requests);
    if (each >= 1000)
        assert_true(requests < CALLERS * each / 2);
    ti_free(all);
    tk_end(&t);
}

/* Opens and closes often: as many threads and files afterwards as before. */
static size_t entries_of(const char *folder)
{
    size_t count = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    while (readdir(d) != NULL)
        count++;
    closedir(d);
    return count;
}

static void open_and_close_leave_nothing(void **state)
{
    (void)state;
    cluster c;
    tk t;
    tk_begin(&t, &c);
    tk_put(&t, "a", "1");
    tk_close(&t);
    size_t threads = 0;
    size_t files = 0;
    for (uint64_t i = 0; i < test_scaled(100); i++) {
        tk_open(&t, &c);
        tk_expect(&t, "a", "1");
        tk_close(&t);
        if (i == 5) {
            threads = entries_of("/proc/self/task");
            files = entries_of("/proc/self/fd");
        }
    }
    if (threads > 0) {
        assert_true(entries_of("/proc/self/task") <= threads + 2); /* gRPC keeps a few of its own */
        assert_true(entries_of("/proc/self/fd") <= files + 4);
    }
    cluster_stop(&c);
}

/* One scan of that many values of a MiB each, each with a letter of its own. */
static void take_large_answer(int count)
{
    cluster c;
    tk t;
    char key[32];
    tk_begin(&t, &c);
    size_t len = 1 << 20;
    char *value = ti_alloc(len + 1);
    assert_non_null(value);
    value[len] = '\0';
    for (int i = 0; i < count; i++) {
        memset(value, 'A' + i % 50, len);
        key_of(i, key);
        tk_put(&t, key, value);
    }
    ti_snapshot *s = tk_snapshot(&t);
    ti_scan_page page = {.more = true};
    ti_scan scan = {.range = {TI_SLICE("table:"), TI_SLICE("table;")}, .items_max = 100};
    int seen = 0;
    for (ti_call call; page.more; scan.range.from = ti_slice_of(key)) {
        call = tk_call(6 * TK_CALL_US);
        test_ok(t.vt->scan(s, &scan, &t.a, &page, &call, &t.err), &t.err);
        for (size_t i = 0; i < page.count; i++, seen++) {
            memset(value, 'A' + seen % 50, len);
            assert_int_equal(page.pairs[i].value.len, len);
            assert_memory_equal(page.pairs[i].value.data, value, len);
        }
        key_of(seen, key);
    }
    assert_int_equal(seen, count);
    t.vt->release(s);
    ti_free(value);
    tk_end(&t);
}

/* An answer above the 4 MiB that gRPC takes by default. */
static void large_answers_are_taken(void **state)
{
    (void)state;
    take_large_answer(6);
}

/* The store answers with all of it at once; the page is bounded, and another follows. */
static void an_answer_of_64_mib_is_taken(void **state)
{
    (void)state;
    take_large_answer(test_scale() >= 0.2 ? 66 : 20);
}

static void collection_moves_the_safe_point(void **state)
{
    (void)state;
    cluster c;
    tk t;
    tk_begin(&t, &c);
    tk_put(&t, "a", "1");
    ti_snapshot *old = tk_snapshot(&t);
    tk_put(&t, "a", "2");
    ti_call call = tk_call(TK_CALL_US);
    test_ok(t.vt->gc(t.e, 0, &call, &t.err), &t.err);
    assert_true(cluster_number(&c, "safe_point") > t.vt->snapshot_ts(old));
    ti_slice value;
    test_status(tk_read(&t, old, "a", TK_CALL_US, &value), TI_CONFLICT);
    t.vt->release(old);
    tk_expect(&t, "a", "2");
    tk_end(&t);
}

static void destroyed_ranges_are_gone(void **state)
{
    (void)state;
    cluster c;
    tk t;
    tk_begin(&t, &c);
    fill_table(&t);
    tk_put(&t, "other", "1");
    ti_call call = tk_call(TK_CALL_US);
    ti_range range = {TI_SLICE("table:"), TI_SLICE("table;")};
    uint64_t ids[8];
    size_t count = cluster_stores(&c, ids, 8);
    char rule[128];
    for (size_t i = 0; i < count; i++) { /* each is asked: one alone would empty the mock */
        snprintf(rule, sizeof(rule), "{\"kind\":\"UnsafeDestroyRange\",\"store\":%llu}",
                 (unsigned long long)ids[i]);
        cluster_fault(&c, rule);
    }
    test_ok(t.vt->destroy_range(t.e, range, &call, &t.err), &t.err);
    assert_int_equal(cluster_number(&c, "fault_hits"), count);
    tk_expect(&t, "table:x:0003", NULL);
    tk_expect(&t, "other", "1");
    tk_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(the_mode_follows_the_regions),
        cmocka_unit_test(scans_cross_regions_exactly),
        cmocka_unit_test(batches_cross_regions),
        cmocka_unit_test(one_of_two_conflicting_wins),
        cmocka_unit_test(insert_wants_absence),
        cmocka_unit_test(a_lock_keeps_others_out),
        cmocka_unit_test(a_locking_transaction_writes_other_keys_too),
        cmocka_unit_test(a_locking_transaction_loses_conflicts_on_other_keys),
        cmocka_unit_test(insert_under_a_lock_wants_absence_too),
        cmocka_unit_test(a_refused_lock_is_not_held),
        cmocka_unit_test(callers_share_timestamp_requests),
        cmocka_unit_test(open_and_close_leave_nothing),
        cmocka_unit_test(large_answers_are_taken),
        cmocka_unit_test(an_answer_of_64_mib_is_taken),
        cmocka_unit_test(collection_moves_the_safe_point),
        cmocka_unit_test(destroyed_ranges_are_gone),
    };
    return TEST_RUN(tests);
}

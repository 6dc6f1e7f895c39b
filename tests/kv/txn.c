/* The life of a transaction: reads of own writes, conflicts, dooming, hooks, slots, age. */
#include "kv/handle.h"

#include <signal.h>
#include <sys/wait.h>

static void own_writes_are_seen(void **state)
{
    handle h;
    ti_slice values[4];
    bool present;
    (void)state;
    handle_open(&h);
    handle_set(&h, "a", "old");
    handle_set(&h, "b", "old");
    ti_txn *txn = handle_begin(&h);
    test_ok(ti_txn_put(txn, TI_SLICE("a"), TI_SLICE("new"), &h.err), &h.err);
    test_ok(ti_txn_delete(txn, TI_SLICE("b"), &h.err), &h.err);
    test_ok(ti_txn_insert(txn, TI_SLICE("c"), TI_SLICE("born"), &h.err), &h.err);
    test_ok(ti_txn_lock(txn, TI_SLICE("d"), &h.err), &h.err);
    handle_expect(&h, txn, "a", "new");
    handle_expect(&h, txn, "b", NULL);
    handle_expect(&h, txn, "c", "born");
    handle_expect(&h, txn, "d", NULL);
    assert_true(ti_txn_own_write(txn, TI_SLICE("a"), &present) && present);
    assert_true(ti_txn_own_write(txn, TI_SLICE("b"), &present) && !present);
    assert_false(ti_txn_own_write(txn, TI_SLICE("d"), &present));
    assert_false(ti_txn_own_write(txn, TI_SLICE("e"), &present));
    ti_slice keys[] = {TI_SLICE("c"), TI_SLICE("zz"), TI_SLICE("b"), TI_SLICE("a")};
    test_ok(ti_txn_batch_get(txn, keys, 4, &h.a, values, &h.call, &h.err), &h.err);
    assert_true(ti_slice_equal(values[0], TI_SLICE("born")));
    assert_null(values[1].data);
    assert_null(values[2].data);
    assert_true(ti_slice_equal(values[3], TI_SLICE("new")));
    test_ok(handle_end(&h, txn), &h.err);
    txn = handle_begin(&h);
    handle_expect(&h, txn, "a", "new");
    handle_expect(&h, txn, "b", NULL);
    handle_expect(&h, txn, "c", "born");
    ti_txn_free(txn);
    handle_close(&h);
}

static void insert_of_an_own_value_dooms(void **state)
{
    handle h;
    (void)state;
    handle_open(&h);
    ti_txn *txn = handle_begin(&h);
    test_ok(ti_txn_put(txn, TI_SLICE("a"), TI_SLICE("1"), &h.err), &h.err);
    test_status(ti_txn_insert(txn, TI_SLICE("a"), TI_SLICE("2"), &h.err), TI_ALREADY_EXISTS);
    handle_expect(&h, txn, "a", "1"); /* reads go on */
    test_status(ti_txn_put(txn, TI_SLICE("b"), TI_SLICE("2"), &h.err), TI_ALREADY_EXISTS);
    test_status(handle_end(&h, txn), TI_ALREADY_EXISTS);
    txn = handle_begin(&h);
    handle_expect(&h, txn, "a", NULL);
    handle_expect(&h, txn, "b", NULL);
    ti_txn_free(txn);
    handle_close(&h);
}

static void the_first_dooming_error_is_kept(void **state)
{
    handle h;
    ti_err first;
    ti_err second;
    (void)state;
    handle_open(&h);
    ti_txn *txn = handle_begin(&h);
    ti_err_set(&first, TI_UNIQUE_VIOLATION, "first");
    ti_err_where(&first, "table", 5, "index", 5);
    ti_err_set(&second, TI_IO, "second");
    assert_int_equal(ti_txn_doom(txn, &first), TI_UNIQUE_VIOLATION);
    assert_int_equal(ti_txn_doom(txn, &second), TI_IO);
    assert_true(ti_txn_is_open(txn));
    test_status(ti_txn_commit(txn, NULL, &h.call, &h.err), TI_UNIQUE_VIOLATION);
    assert_string_equal(h.err.message, "first");
    assert_string_equal(h.err.index, "index");
    assert_false(ti_txn_is_open(txn));
    ti_txn_free(txn);
    handle_close(&h);
}

static void an_ended_transaction_says_so(void **state)
{
    handle h;
    ti_slice value;
    (void)state;
    handle_open(&h);
    for (int way = 0; way < 2; way++) {
        ti_txn *txn = handle_begin(&h);
        if (way == 0)
            test_ok(ti_txn_commit(txn, NULL, &h.call, &h.err), &h.err);
        else
            test_ok(ti_txn_rollback(txn, &h.err), &h.err);
        test_status(ti_txn_put(txn, TI_SLICE("a"), TI_SLICE("1"), &h.err), TI_INVALID_STATE);
        test_status(ti_txn_get(txn, TI_SLICE("a"), &h.a, &value, &h.call, &h.err),
                    TI_INVALID_STATE);
        test_status(ti_txn_commit(txn, NULL, &h.call, &h.err), TI_INVALID_STATE);
        test_status(ti_txn_rollback(txn, &h.err), TI_INVALID_STATE);
        assert_non_null(strstr(h.err.message, way == 0 ? "committed" : "rolled back"));
        ti_txn_free(txn);
    }
    handle_close(&h);
}

static void read_only_refuses_writes(void **state)
{
    handle h;
    ti_txn *txn;
    ti_txn_options options = {.read_only = true};
    (void)state;
    handle_open(&h);
    test_ok(ti_txn_begin(&h.kv, &options, &txn, &h.err), &h.err);
    test_status(ti_txn_put(txn, TI_SLICE("a"), TI_SLICE("1"), &h.err), TI_INVALID_STATE);
    handle_expect(&h, txn, "a", NULL);
    ti_txn_free(txn);
    options = (ti_txn_options){.read_at = 5};
    test_ok(ti_txn_begin(&h.kv, &options, &txn, &h.err), &h.err);
    ti_slice value;
    test_status(ti_txn_get(txn, TI_SLICE("a"), &h.a, &value, &h.call, &h.err), TI_UNSUPPORTED);
    ti_txn_free(txn);
    handle_close(&h);
}

static void a_full_transaction_commits(void **state)
{
    handle h;
    ti_scan_page page;
    size_t seen = 0;
    size_t count = (size_t)test_scaled(TI_TXN_MUTATIONS_MAX);
    (void)state;
    handle_open(&h);
    ti_txn *txn = handle_begin(&h);
    for (size_t i = 0; i < count; i++) {
        char key[16];
        int len = snprintf(key, sizeof(key), "%07zu", i);
        test_ok(
            ti_txn_insert(txn, (ti_slice){.data = key, .len = (size_t)len}, TI_SLICE("v"), &h.err),
            &h.err);
    }
    test_ok(handle_end(&h, txn), &h.err);
    txn = handle_begin(&h);
    ti_scan scan = {.items_max = TI_PAGE_ITEMS_MAX, .keys_only = true};
    do {
        test_ok(ti_txn_scan(txn, &scan, &h.a, &page, &h.call, &h.err), &h.err);
        seen += page.count;
        if (page.count > 0)
            scan.range.from = ti_arena_copy(&h.a, page.pairs[page.count - 1].key);
        scan.range.from.len += page.count > 0; /* the NUL behind the copy: just after the key */
    } while (page.more);
    assert_int_equal(seen, count);
    ti_txn_free(txn);
    handle_close(&h);
}

static void the_age_is_limited(void **state)
{
    handle h;
    test_env env;
    ti_slice value;
    ti_txn *txn;
    ti_txn_options options = {.age_us_max = 1000000};
    (void)state;
    test_env_init(&env, INT64_C(1700000000000000), 1);
    handle_open_with(&h, &env.env, NULL);
    test_ok(ti_txn_begin(&h.kv, &options, &txn, &h.err), &h.err);
    test_env_advance_us(&env, 5000000); /* nothing was read: no age yet */
    handle_expect(&h, txn, "a", NULL);
    test_env_advance_us(&env, 999000);
    handle_expect(&h, txn, "a", NULL);
    test_ok(ti_txn_put(txn, TI_SLICE("a"), TI_SLICE("1"), &h.err), &h.err);
    test_env_advance_us(&env, 2000);
    test_status(ti_txn_get(txn, TI_SLICE("a"), &h.a, &value, &h.call, &h.err), TI_TIMEOUT);
    test_status(handle_end(&h, txn), TI_TIMEOUT);
    options.age_us_max = (TI_TXN_AGE_MAX_S + 1) * INT64_C(1000000);
    test_status(ti_txn_begin(&h.kv, &options, &txn, &h.err), TI_INVALID_ARGUMENT);
    handle_close(&h);
}

/* ---- hooks and slots */

typedef struct trace {
    char text[128];
    ti_ts t;
    ti_status fail;
    ti_slice read; /* a key that the hook reads */
    handle *h;
} trace;

static void note(trace *tr, const char *what)
{
    size_t len = strlen(tr->text);
    (void)snprintf(tr->text + len, sizeof(tr->text) - len, "%s ", what);
}

static ti_status write_in_hook(void *context, ti_txn *txn, ti_ts t, ti_err *err)
{
    trace *tr = context;
    note(tr, "hook");
    tr->t = t;
    if (tr->fail != TI_OK)
        return ti_err_set(err, tr->fail, "the hook fails");
    test_status(ti_txn_commit(txn, NULL, &tr->h->call, NULL), TI_INVALID_STATE);
    test_status(ti_txn_rollback(txn, NULL), TI_INVALID_STATE);
    if (tr->read.len > 0) {
        ti_slice value;
        ti_status status = ti_txn_get(txn, tr->read, &tr->h->a, &value, &tr->h->call, err);
        assert_true(status == TI_OK || status == TI_NOT_FOUND);
    }
    return ti_txn_put(txn, TI_SLICE("by-hook"), TI_SLICE("yes"), err);
}

static ti_status add_hook_in_hook(void *context, ti_txn *txn, ti_ts t, ti_err *err)
{
    (void)t;
    note(context, "adds");
    return ti_txn_on_commit(txn, write_in_hook, context, err);
}

static void note_end(void *context, ti_status status, ti_ts commit_ts)
{
    note(context, ti_status_name(status));
    note(context, commit_ts == TI_TS_NONE ? "none" : "ts");
}

static void hooks_run_in_order_and_write(void **state)
{
    handle h;
    ti_ts before;
    ti_ts commit_ts;
    (void)state;
    handle_open(&h);
    for (int reads = 0; reads < 2; reads++) {
        trace tr = {.h = &h, .read = reads ? TI_SLICE("other") : TI_SLICE_NONE};
        ti_txn *txn = handle_begin(&h);
        test_ok(ti_txn_on_commit(txn, add_hook_in_hook, &tr, &h.err), &h.err);
        test_ok(ti_txn_on_end(txn, note_end, &tr, &h.err), &h.err);
        test_ok(ti_kv_now(&h.kv, &before, &h.call, &h.err), &h.err);
        test_ok(ti_txn_commit(txn, &commit_ts, &h.call, &h.err), &h.err);
        assert_string_equal(tr.text, "adds hook ok ts ");
        assert_true(tr.t > before);
        assert_true(commit_ts > tr.t);
        ti_txn_free(txn);
        txn = handle_begin(&h);
        handle_expect(&h, txn, "by-hook", "yes");
        ti_txn_free(txn);
        handle_set(&h, "by-hook", "");
    }
    handle_close(&h);
}

static int times_asked;
static const ti_engine_vt *engine_below;

static ti_status count_now(ti_engine *e, ti_ts *ts_out, const ti_call *call, ti_err *err)
{
    times_asked++;
    return engine_below->now(e, ts_out, call, err);
}

static ti_status check_in_hook(void *context, ti_txn *txn, ti_ts t, ti_err *err)
{
    trace *tr = context;
    (void)err;
    note(tr, "check");
    tr->t = t;
    assert_true(t >= ti_txn_start_ts_if_any(txn));
    return TI_OK;
}

/* A request for the time costs a round trip on a cluster. */
static void checks_need_no_time(void **state)
{
    static const struct {
        bool reads, writes, timed;
        int asked;
        const char *text;
    } cases[] = {{true, true, false, 0, "check "},     {true, false, false, 0, ""},
                 {false, false, false, 0, ""},         {false, true, false, 1, "check "},
                 {true, true, true, 1, "check hook "}, {false, false, true, 1, "check hook "}};
    handle h;
    (void)state;
    handle_open(&h);
    engine_below = h.kv.engine->vt;
    ti_engine_vt counting = *engine_below;
    counting.now = count_now;
    h.kv.engine->vt = &counting;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        trace tr = {.h = &h};
        ti_txn *txn = handle_begin(&h);
        test_ok(ti_txn_before_commit(txn, check_in_hook, &tr, &h.err), &h.err);
        if (cases[i].timed)
            test_ok(ti_txn_on_commit(txn, write_in_hook, &tr, &h.err), &h.err);
        if (cases[i].reads)
            handle_expect(&h, txn, "none", NULL);
        if (cases[i].writes)
            test_ok(ti_txn_put(txn, TI_SLICE("a"), TI_SLICE("1"), &h.err), &h.err);
        times_asked = 0;
        test_ok(ti_txn_commit(txn, NULL, &h.call, &h.err), &h.err);
        assert_int_equal(times_asked, cases[i].asked);
        assert_string_equal(tr.text, cases[i].text);
        ti_txn_free(txn);
    }
    h.kv.engine->vt = engine_below;
    handle_close(&h);
}

static ti_status let_others_write(void *context, ti_txn *txn, ti_ts t, ti_err *err)
{
    handle *h = context;
    (void)txn;
    (void)t;
    (void)err;
    for (int i = 0; i < 2000; i++) { /* more than the engine remembers */
        char key[16];
        (void)snprintf(key, sizeof(key), "other%d", i);
        handle_set(h, key, "1");
    }
    handle_set(h, "a", "theirs");
    return TI_OK;
}

/* Who read nothing can begin after everybody: no conflict, however late it comes. INSERT is another
 * matter. */
static void a_transaction_that_read_nothing_has_no_conflicts(void **state)
{
    handle h;
    (void)state;
    handle_open(&h);
    for (int insert = 0; insert < 2; insert++) {
        ti_txn *txn = handle_begin(&h);
        test_ok(ti_txn_on_commit(txn, let_others_write, &h, &h.err), &h.err);
        if (insert)
            test_ok(ti_txn_insert(txn, TI_SLICE("a"), TI_SLICE("mine"), &h.err), &h.err);
        else
            test_ok(ti_txn_put(txn, TI_SLICE("a"), TI_SLICE("mine"), &h.err), &h.err);
        test_status(handle_end(&h, txn), insert ? TI_ALREADY_EXISTS : TI_OK);
        txn = handle_begin(&h);
        handle_expect(&h, txn, "a", insert ? "theirs" : "mine");
        ti_txn_free(txn);
    }
    handle_close(&h);
}

static void a_failing_hook_fails_the_commit(void **state)
{
    handle h;
    (void)state;
    handle_open(&h);
    trace tr = {.h = &h, .fail = TI_LIMIT_EXCEEDED};
    ti_txn *txn = handle_begin(&h);
    test_ok(ti_txn_put(txn, TI_SLICE("a"), TI_SLICE("1"), &h.err), &h.err);
    test_ok(ti_txn_on_commit(txn, write_in_hook, &tr, &h.err), &h.err);
    test_ok(ti_txn_on_commit(txn, add_hook_in_hook, &tr, &h.err), &h.err);
    test_ok(ti_txn_on_end(txn, note_end, &tr, &h.err), &h.err);
    test_status(handle_end(&h, txn), TI_LIMIT_EXCEEDED);
    assert_string_equal(tr.text, "hook limit_exceeded none ");
    txn = handle_begin(&h);
    handle_expect(&h, txn, "a", NULL);
    ti_txn_free(txn);
    handle_close(&h);
}

static void end_hooks_run_once_however_it_ends(void **state)
{
    handle h;
    (void)state;
    handle_open(&h);
    for (int way = 0; way < 3; way++) {
        trace tr = {.h = &h};
        ti_txn *txn = handle_begin(&h);
        test_ok(ti_txn_on_end(txn, note_end, &tr, &h.err), &h.err);
        if (way == 0)
            test_ok(ti_txn_rollback(txn, &h.err), &h.err);
        if (way == 1)
            test_ok(ti_txn_commit(txn, NULL, &h.call, &h.err), &h.err);
        ti_txn_free(txn);
        assert_string_equal(tr.text, way == 1 ? "ok none " : "cancelled none ");
    }
    handle_close(&h);
}

static void slots_keep_state_by_owner(void **state)
{
    static char owner_a;
    static char owner_b;
    handle h;
    int x;
    int y;
    (void)state;
    handle_open(&h);
    ti_txn *txn = handle_begin(&h);
    assert_null(ti_txn_slot(txn, &owner_a));
    test_ok(ti_txn_set_slot(txn, &owner_a, &x, &h.err), &h.err);
    test_ok(ti_txn_set_slot(txn, &owner_b, &y, &h.err), &h.err);
    assert_ptr_equal(ti_txn_slot(txn, &owner_a), &x);
    assert_ptr_equal(ti_txn_slot(txn, &owner_b), &y);
    test_ok(ti_txn_set_slot(txn, &owner_a, NULL, &h.err), &h.err);
    assert_null(ti_txn_slot(txn, &owner_a));
    ti_txn_free(txn);
    handle_close(&h);
}

/* ---- reads, locks, bounds */

static void the_snapshot_is_taken_at_the_first_read(void **state)
{
    handle h;
    ti_ts start;
    (void)state;
    handle_open(&h);
    ti_txn *txn = handle_begin(&h);
    assert_int_equal(ti_txn_start_ts_if_any(txn), TI_TS_NONE);
    handle_set(&h, "a", "1");
    handle_expect(&h, txn, "a", "1");
    handle_set(&h, "a", "2");
    handle_expect(&h, txn, "a", "1");
    test_ok(ti_txn_start_ts(txn, &start, &h.call, &h.err), &h.err);
    assert_int_equal(start, ti_txn_start_ts_if_any(txn));
    test_ok(ti_txn_put(txn, TI_SLICE("a"), TI_SLICE("3"), &h.err), &h.err);
    test_status(handle_end(&h, txn), TI_CONFLICT);
    txn = handle_begin(&h); /* nothing read: no conflict with what came before */
    test_ok(ti_txn_put(txn, TI_SLICE("a"), TI_SLICE("4"), &h.err), &h.err);
    handle_set(&h, "a", "5");
    test_ok(handle_end(&h, txn), &h.err);
    handle_close(&h);
}

static void a_locked_key_reads_as_the_newest(void **state)
{
    handle h;
    ti_slice value;
    ti_scan_page page;
    (void)state;
    handle_open(&h);
    handle_set(&h, "a", "old");
    ti_txn *txn = handle_begin(&h);
    handle_expect(&h, txn, "a", "old");
    handle_set(&h, "a", "new");
    handle_set(&h, "b", "new");
    test_ok(ti_txn_get_locked(txn, TI_SLICE("a"), -1, &h.a, &value, &h.call, &h.err), &h.err);
    assert_true(ti_slice_equal(value, TI_SLICE("new")));
    handle_expect(&h, txn, "a", "new"); /* else the write below would lose an update */
    handle_expect(&h, txn, "b", NULL);
    ti_scan scan = {.items_max = 9};
    test_ok(ti_txn_scan(txn, &scan, &h.a, &page, &h.call, &h.err), &h.err);
    assert_int_equal(page.count, 1);
    assert_true(ti_slice_equal(page.pairs[0].value, TI_SLICE("new")));
    test_ok(ti_txn_put(txn, TI_SLICE("a"), TI_SLICE("newer"), &h.err), &h.err);
    test_ok(ti_txn_get_locked(txn, TI_SLICE("a"), -1, &h.a, &value, &h.call, &h.err), &h.err);
    assert_true(ti_slice_equal(value, TI_SLICE("newer")));
    test_ok(handle_end(&h, txn), &h.err);
    txn = handle_begin(&h);
    test_status(ti_txn_get_locked(txn, TI_SLICE("none"), 0, &h.a, &value, &h.call, &h.err),
                TI_NOT_FOUND);
    ti_txn *other = handle_begin(&h);
    test_status(ti_txn_get_locked(other, TI_SLICE("none"), 0, &h.a, &value, &h.call, &h.err),
                TI_BUSY);
    ti_txn_free(txn); /* gives the lock back */
    test_status(ti_txn_get_locked(other, TI_SLICE("none"), 0, &h.a, &value, &h.call, &h.err),
                TI_NOT_FOUND);
    ti_txn_free(other);
    handle_close(&h);
}

static void not_after_keeps_the_lowest(void **state)
{
    handle h;
    ti_ts now;
    ti_ts commit_ts;
    (void)state;
    handle_open(&h);
    test_ok(ti_kv_now(&h.kv, &now, &h.call, &h.err), &h.err);
    ti_txn *txn = handle_begin(&h);
    test_ok(ti_txn_put(txn, TI_SLICE("a"), TI_SLICE("1"), &h.err), &h.err);
    ti_txn_not_after(txn, ti_ts_add_us(now, 60000000));
    ti_txn_not_after(txn, now);
    ti_txn_not_after(txn, ti_ts_add_us(now, 90000000));
    test_status(handle_end(&h, txn), TI_CONFLICT);
    txn = handle_begin(&h);
    test_ok(ti_txn_put(txn, TI_SLICE("a"), TI_SLICE("1"), &h.err), &h.err);
    ti_txn_not_after(txn, ti_ts_add_us(now, 60000000));
    test_ok(ti_txn_commit(txn, &commit_ts, &h.call, &h.err), &h.err);
    assert_true(commit_ts > now);
    ti_txn_free(txn);
    handle_close(&h);
}

static ti_status describe_key(void *context, ti_slice key, ti_status status, ti_err *err)
{
    *(size_t *)context += 1;
    ti_err_where(err, key.data, key.len, "i", 1);
    return status == TI_ALREADY_EXISTS ? TI_UNIQUE_VIOLATION : status;
}

static void keys_of_errors_are_described(void **state)
{
    handle h;
    size_t calls = 0;
    ti_kv_options options = {.describe = describe_key, .describe_context = &calls};
    (void)state;
    handle_open_with(&h, ti_env_real(), &options);
    handle_set(&h, "k2", "there");
    ti_txn *txn = handle_begin(&h);
    test_ok(ti_txn_put(txn, TI_SLICE("k1"), TI_SLICE("1"), &h.err), &h.err);
    test_ok(ti_txn_insert(txn, TI_SLICE("k2"), TI_SLICE("1"), &h.err), &h.err);
    test_status(handle_end(&h, txn), TI_UNIQUE_VIOLATION);
    assert_string_equal(h.err.table, "k2");
    assert_int_equal(calls, 1);
    handle_close(&h);
}

/* ---- the prefix */

static void a_key_outside_of_the_prefix_stops_the_process(void **state)
{
    int result;
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        handle h;
        ti_kv_options options = {.prefix = TI_SLICE("one:")};
        assert_non_null(freopen("/dev/null", "w", stderr));
        handle_open_with(&h, ti_env_real(), &options);
        ti_txn *txn = handle_begin(&h);
        (void)ti_txn_put(txn, TI_SLICE("two:a"), TI_SLICE("1"), NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFSIGNALED(result));
    assert_int_equal(WTERMSIG(result), SIGABRT);
}

static void scans_stay_in_the_prefix(void **state)
{
    handle h;
    ti_kv other;
    ti_scan_page page;
    ti_kv_options options = {.prefix = TI_SLICE("b:")};
    (void)state;
    handle_open(&h);
    handle_set(&h, "a:x", "1");
    handle_set(&h, "b9", "1");
    handle_set(&h, "b:x", "1");
    handle_set(&h, "b:y", "1");
    handle_set(&h, "b;", "1");
    h.kv.engine->vt->ref(h.kv.engine);
    test_ok(ti_kv_open(&other, h.kv.engine, &options, &h.err), &h.err);
    for (int reverse = 0; reverse < 2; reverse++) {
        ti_txn *txn;
        ti_scan scan = {.items_max = 9, .reverse = reverse != 0};
        test_ok(ti_txn_begin(&other, NULL, &txn, &h.err), &h.err);
        test_ok(ti_txn_put(txn, TI_SLICE("b:z"), TI_SLICE("2"), &h.err), &h.err);
        test_ok(ti_txn_scan(txn, &scan, &h.a, &page, &h.call, &h.err), &h.err);
        assert_int_equal(page.count, 3);
        assert_true(ti_slice_equal(page.pairs[1].key, TI_SLICE("b:y")));
        scan.range = (ti_range){.from = TI_SLICE("c"), .to = TI_SLICE("d")};
        test_ok(ti_txn_scan(txn, &scan, &h.a, &page, &h.call, &h.err), &h.err);
        assert_int_equal(page.count, 0);
        ti_txn_free(txn);
    }
    ti_kv_close(&other);
    handle_close(&h);
}

/* ---- memory */

/* One transaction of everything; true when it committed. */
static bool run_scenario(handle *h)
{
    ti_txn *txn;
    ti_slice value;
    ti_scan_page page;
    ti_scan scan = {.items_max = 5};
    trace tr = {.h = h};
    ti_status status = ti_txn_begin(&h->kv, NULL, &txn, &h->err);
    if (status != TI_OK) {
        assert_int_equal(status, TI_OUT_OF_MEMORY);
        return false;
    }
    ti_status steps[8] = {TI_OK};
    steps[0] = ti_txn_put(txn, TI_SLICE("s1"), TI_SLICE("1"), &h->err);
    steps[1] = ti_txn_get(txn, TI_SLICE("s2"), &h->a, &value, &h->call, &h->err);
    steps[2] = ti_txn_get_locked(txn, TI_SLICE("s3"), 0, &h->a, &value, &h->call, &h->err);
    steps[3] = ti_txn_scan(txn, &scan, &h->a, &page, &h->call, &h->err);
    steps[4] = ti_txn_on_end(txn, note_end, &tr, &h->err);
    for (unsigned i = 0; i < 40 && steps[5] == TI_OK; i++) {
        char key[16];
        int len = snprintf(key, sizeof(key), "t%u", i);
        steps[5] =
            ti_txn_put(txn, (ti_slice){.data = key, .len = (size_t)len}, TI_SLICE("1"), &h->err);
    }
    status = handle_end(h, txn);
    for (int i = 0; i < 8; i++)
        assert_true(steps[i] == TI_OK || steps[i] == TI_NOT_FOUND || steps[i] == TI_OUT_OF_MEMORY);
    assert_true(status == TI_OK || status == TI_OUT_OF_MEMORY);
    if (steps[0] == TI_OUT_OF_MEMORY || steps[5] == TI_OUT_OF_MEMORY)
        assert_int_equal(status, TI_OUT_OF_MEMORY); /* doomed */
    return status == TI_OK;
}

static void every_allocation_may_fail(void **state)
{
    handle h;
    bool done = false;
    (void)state;
    handle_open(&h);
    for (uint64_t n = 1; !done; n++) {
        int64_t live = ti_mem_live();
        ti_arena_free(&h.a);
        ti_arena_init(&h.a);
        ti_mem_fail_at(n);
        uint64_t before = ti_mem_count();
        bool committed = run_scenario(&h);
        done = ti_mem_count() - before < n;
        ti_mem_fail_at(0);
        assert_true(!done || committed);
        ti_arena_free(&h.a);
        ti_arena_init(&h.a);
        assert_true(ti_mem_live() <= live + 3); /* RocksDB's view and cursor may stay */
        assert_true(n < 10000);
    }
    handle_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_outside_of_the_prefix_stops_the_process),
        cmocka_unit_test(own_writes_are_seen),
        cmocka_unit_test(insert_of_an_own_value_dooms),
        cmocka_unit_test(the_first_dooming_error_is_kept),
        cmocka_unit_test(an_ended_transaction_says_so),
        cmocka_unit_test(read_only_refuses_writes),
        cmocka_unit_test(a_full_transaction_commits),
        cmocka_unit_test(the_age_is_limited),
        cmocka_unit_test(hooks_run_in_order_and_write),
        cmocka_unit_test(checks_need_no_time),
        cmocka_unit_test(a_transaction_that_read_nothing_has_no_conflicts),
        cmocka_unit_test(a_failing_hook_fails_the_commit),
        cmocka_unit_test(end_hooks_run_once_however_it_ends),
        cmocka_unit_test(slots_keep_state_by_owner),
        cmocka_unit_test(the_snapshot_is_taken_at_the_first_read),
        cmocka_unit_test(a_locked_key_reads_as_the_newest),
        cmocka_unit_test(not_after_keeps_the_lowest),
        cmocka_unit_test(keys_of_errors_are_described),
        cmocka_unit_test(scans_stay_in_the_prefix),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return TEST_RUN(tests);
}

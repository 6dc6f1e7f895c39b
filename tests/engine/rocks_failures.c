/* Failures under the embedded engine: writes and syncs that fail, stalls, full disks, no memory.
 *
 * Two ways to fail: the engine's own fault points, and libfiu between RocksDB and the kernel. For
 * the latter the program runs itself again with libfiu preloaded and the name of a scenario. */
#include "engine/engine.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/wait.h>

#include "base/fault.h"

#define START_US (INT64_C(1700000000) * 1000000)
#define FIU "/usr/lib/fiu/fiu_posix_preload.so"

#if defined(TI_ASAN) || defined(__SANITIZE_THREAD__)
#define CAN_PRELOAD false /* a sanitizer wants to come first */
#else
#define CAN_PRELOAD true
#endif

static void reopen(db *d, ti_durability durability)
{
    ti_rocks_options options = db_small_options();
    options.durability = durability;
    if (d->e != NULL)
        d->vt->unref(d->e);
    d->e = NULL;
    test_ok(db_try_open(d, &options), &d->err);
    d->vt = d->e->vt;
}

static void a_failed_write_poisons(void **state)
{
    static const ti_fault fault = {.name = "rocks_write_fails", .action = TI_FAULT_FAIL, .at = 1};
    test_env env;
    db d;
    ti_ts ts;
    (void)state;
    test_env_init(&env, START_US, 1);
    db_open_with(&d, &env.env, false);
    (void)db_set(&d, "a", "1");
    ti_snapshot *s = db_begin(&d);
    ti_fault_arm(&fault);
    assert_int_equal(db_commit(&d, db_now(&d), SET("a", "2")), TI_OUTCOME_UNKNOWN);
    assert_non_null(strstr(d.err.message, "opened again"));
    ti_fault_arm(NULL);
    assert_int_equal(db_commit(&d, db_now(&d), SET("a", "3")), TI_IO);
    assert_int_equal(d.vt->destroy_range(d.e, (ti_range){.from = TI_SLICE("a")}, &d.call, &d.err),
                     TI_IO);
    assert_true(db_holds(&d, s, "a", "1")); /* reads go on */
    d.vt->release(s);
    for (int i = 0; i < 20; i++) { /* also when the clock's reservation has run out */
        assert_true(db_holds_now(&d, "a", "1"));
        test_env_advance_us(&env, 1000000);
    }
    test_status(d.vt->now(d.e, &ts, &d.call, &d.err), TI_IO);
    d.call = ti_call_within(&env.env, 60000000);
    reopen(&d, TI_DURABILITY_BUFFERED);
    assert_true(db_holds_now(&d, "a", "1"));
    (void)db_set(&d, "a", "4");
    assert_true(db_holds_now(&d, "a", "4"));
    db_close(&d);
}

typedef struct lines {
    ti_log log;
    int count;
    char last[200];
} lines;

static void keep_line(void *context, ti_log_level level, const char *line)
{
    lines *l = context;
    ti_mutex_assert_none_held();
    assert_int_equal(level, TI_LOG_ERROR);
    (void)snprintf(l->last, sizeof l->last, "%s", line);
    l->count++;
}

/* An engine is shared: every handle's log hears of it while the handle is open. */
static void a_failure_is_logged_to_every_handle(void **state)
{
    static const ti_fault fault = {.name = "rocks_write_fails", .action = TI_FAULT_FAIL, .at = 1};
    db d;
    lines l[3] = {{.count = 0}, {.count = 0}, {.count = 0}};
    ti_rocks_options options = db_small_options();
    ti_engine *more[3];
    (void)state;
    db_open_with(&d, ti_env_real(), false);
    (void)db_set(&d, "a", "1");
    for (int i = 0; i < 3; i++) {
        l[i].log = (ti_log){.sink = keep_line, .context = &l[i], .level = TI_LOG_ERROR};
        options.log = &l[i].log;
        test_ok(ti_rocks_open(d.dir, &options, d.env, &more[i], &d.call, &d.err), &d.err);
        assert_ptr_equal(more[i], d.e);
    }
    ti_log_hub_leave(ti_rocks_logs(d.e), &l[1].log);
    d.vt->unref(more[1]);
    ti_fault_arm(&fault);
    assert_int_equal(db_commit(&d, db_now(&d), SET("a", "2")), TI_OUTCOME_UNKNOWN);
    ti_fault_arm(NULL);
    assert_int_equal(db_commit(&d, db_now(&d), SET("a", "3")), TI_IO);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(l[i].count, i == 1 ? 0 : 1);
        if (i != 1)
            assert_non_null(strstr(l[i].last, "no commit is accepted any more: a test wants it"));
    }
    d.vt->unref(more[0]);
    d.vt->unref(more[2]);
    db_close(&d);
}

/* The answer of a commit in a thread of its own. */
typedef struct committer {
    db d;
    ti_thread thread;
    const char *key;
    int64_t timeout_us;
    ti_status status;
} committer;

static void *run_committer(void *arg)
{
    committer *c = arg;
    ti_ts start = db_now(&c->d);
    c->d.call = ti_call_within(c->d.env, c->timeout_us);
    c->status = db_commit(&c->d, start, SET(c->key, "1"));
    return NULL;
}

static void start_committer(committer *c, const db *d)
{
    ti_err err;
    db_share(d, &c->d);
    test_ok(ti_thread_start(&c->thread, "committer", run_committer, c, &err), &err);
}

static void join_committer(committer *c)
{
    ti_thread_join(&c->thread);
    db_unshare(&c->d);
}

static void pause_ms(int64_t ms)
{
    ti_env_real()->sleep_ns(ti_env_real(), ms * 1000000);
}

static void everybody_in_the_queue_is_told(void **state)
{
    static const ti_fault stall = {.name = "rocks_write_stalls", .action = TI_FAULT_FAIL, .at = 1};
    static const ti_fault fail = {.name = "rocks_write_fails", .action = TI_FAULT_FAIL, .at = 1};
    db d;
    committer c[4] = {{.key = "a"}, {.key = "b"}, {.key = "c"}, {.key = "d"}};
    int unknown = 0;
    (void)state;
    db_open_with(&d, ti_env_real(), false);
    ti_fault_arm(&stall); /* holds the first one back while the others queue up behind it */
    for (int i = 0; i < 4; i++) {
        c[i].timeout_us = 20000000;
        start_committer(&c[i], &d);
        pause_ms(10);
    }
    ti_fault_arm(&fail);
    for (int i = 0; i < 4; i++) {
        join_committer(&c[i]);
        assert_true(c[i].status == TI_OUTCOME_UNKNOWN || c[i].status == TI_IO);
        unknown += c[i].status == TI_OUTCOME_UNKNOWN;
    }
    ti_fault_arm(NULL);
    assert_int_equal(unknown, 1); /* only what was being written */
    db_close(&d);
}

static void a_stall_is_waited_out_or_answered_busy(void **state)
{
    static const ti_fault brief = {
        .name = "rocks_write_stalls", .action = TI_FAULT_FAIL, .at = 1, .times = 5};
    static const ti_fault endless = {
        .name = "rocks_write_stalls", .action = TI_FAULT_FAIL, .at = 1};
    db d;
    (void)state;
    db_open_with(&d, ti_env_real(), false);
    ti_fault_arm(&brief);
    (void)db_set(&d, "a", "1");
    assert_int_equal(ti_fault_hits(), 6);
    ti_ts start = db_now(&d);
    ti_fault_arm(&endless);
    d.call = ti_call_within(d.env, 50000);
    int64_t began_ns = ti_env_mono_ns(d.env);
    assert_int_equal(db_commit(&d, start, SET("a", "2")), TI_BUSY);
    assert_true(ti_env_mono_ns(d.env) - began_ns < 150000000);
    d.call = ti_call_within(d.env, 20000000);
    assert_true(db_holds_now(&d, "a", "1"));
    ti_fault_arm(NULL);
    assert_int_equal(db_commit(&d, db_now(&d), SET("a", "3")), TI_OK);
    assert_true(db_holds_now(&d, "a", "3"));
    db_close(&d);
}

/* The leader of a stalled group leaves at its deadline; the others go on without it, and who only
 * reads is not held up. */
static void a_leader_that_leaves_hands_over(void **state)
{
    static const ti_fault endless = {
        .name = "rocks_write_stalls", .action = TI_FAULT_FAIL, .at = 1};
    db d;
    committer hasty = {.key = "a", .timeout_us = 40000};
    committer patient[3] = {{.key = "b"}, {.key = "c"}, {.key = "d"}};
    committer late = {.key = "e", .timeout_us = 60000};
    (void)state;
    db_open_with(&d, ti_env_real(), false);
    (void)db_now(&d);
    ti_fault_arm(&endless);
    start_committer(&hasty, &d);
    pause_ms(5);
    for (int i = 0; i < 3; i++) {
        patient[i].timeout_us = 20000000;
        start_committer(&patient[i], &d);
    }
    start_committer(&late, &d);
    assert_true(db_holds_now(&d, "b", NULL));
    join_committer(&hasty);
    assert_int_equal(hasty.status, TI_BUSY);
    join_committer(&late);
    assert_true(late.status == TI_BUSY || late.status == TI_TIMEOUT);
    ti_fault_arm(NULL);
    for (int i = 0; i < 3; i++) {
        join_committer(&patient[i]);
        assert_int_equal(patient[i].status, TI_OK);
        assert_true(db_holds_now(&d, patient[i].key, "1"));
    }
    assert_true(db_holds_now(&d, "a", NULL));
    assert_true(db_holds_now(&d, "e", NULL));
    (void)db_set(&d, "a", "2");
    db_close(&d);
}

/* One of the ways to meet a commit in flight, in a thread of its own. */
typedef struct meeter {
    db d;
    ti_thread thread;
    int way; /* 0: an older write, 1: an INSERT, 2: a locked read */
    ti_ts start;
    ti_status status;
    bool saw; /* afterwards it sees the commit that it met */
} meeter;

static void *run_meeter(void *arg)
{
    meeter *m = arg;
    ti_slice key = TI_SLICE("a");
    ti_locks *locks = NULL;
    ti_locked locked = {.found = false};
    ti_lock_request request = {.start_ts = m->start, .keys = &key, .count = 1, .wait_us = -1};
    if (m->way == 2) {
        m->status =
            m->d.vt->lock(m->d.e, &locks, &request, &m->d.a, &locked, &m->d.call, &m->d.err);
        m->saw = locked.found && ti_slice_equal(locked.value, TI_SLICE("1"));
        m->d.vt->unlock(m->d.e, locks);
        return NULL;
    }
    ti_mutation mutation = m->way == 0 ? SET("a", "2") : INSERT("a", "2");
    m->status = db_commit_all(&m->d, m->start, &mutation, 1, NULL);
    m->saw = db_holds_now(&m->d, "a", "1");
    return NULL;
}

/* Nobody is refused, or reads, because of a commit that he could not see yet. */
static void what_is_in_flight_is_waited_for(void **state)
{
    static const ti_fault endless = {
        .name = "rocks_write_stalls", .action = TI_FAULT_FAIL, .at = 1};
    static const ti_status told[] = {TI_CONFLICT, TI_ALREADY_EXISTS, TI_OK};
    (void)state;
    for (int way = 0; way < 3; way++) {
        db d;
        ti_err err;
        committer flying = {.key = "a", .timeout_us = 20000000};
        meeter m = {.way = way};
        db_open_with(&d, ti_env_real(), false);
        m.start = db_now(&d);
        ti_fault_arm(&endless);
        start_committer(&flying, &d);
        while (ti_fault_hits() == 0)
            pause_ms(1);
        if (way > 0)
            m.start = db_now(&d); /* after the commit in flight: no conflict with it */
        db_share(&d, &m.d);
        test_ok(ti_thread_start(&m.thread, "meeter", run_meeter, &m, &err), &err);
        pause_ms(30);
        assert_true(db_holds_now(&d, "a", NULL));
        ti_fault_arm(NULL);
        join_committer(&flying);
        ti_thread_join(&m.thread);
        db_unshare(&m.d);
        assert_int_equal(flying.status, TI_OK);
        assert_int_equal(m.status, told[way]);
        assert_true(m.saw);
        db_close(&d);
    }
}

/* ---- libfiu: failures of the system calls themselves */

static int (*fiu_enable)(const char *name, int failnum, void *failinfo, unsigned flags);
static int (*fiu_enable_random)(const char *name, int failnum, void *failinfo, unsigned flags,
                                float probability);
static int (*fiu_disable)(const char *name);

/* Looks the functions up that the preloaded library has brought. */
static void need_fiu(void)
{
    void *found[] = {dlsym(RTLD_DEFAULT, "fiu_enable"), dlsym(RTLD_DEFAULT, "fiu_enable_random"),
                     dlsym(RTLD_DEFAULT, "fiu_disable")};
    for (size_t i = 0; i < 3; i++)
        ti_require(found[i] != NULL);
    memcpy(&fiu_enable, &found[0], sizeof(found[0]));
    memcpy(&fiu_enable_random, &found[1], sizeof(found[0]));
    memcpy(&fiu_disable, &found[2], sizeof(found[0]));
}

static void fail_calls(const char *name, int number)
{
    ti_require(fiu_enable(name, 1, (void *)(intptr_t)number, 0) == 0);
}

/* A system call of the log fails: unknown, then IO, then after opening again all that was told. */
static void check_poison_by(const char *name, int number, ti_durability durability)
{
    db d;
    db_open_with(&d, ti_env_real(), false);
    reopen(&d, durability);
    (void)db_set(&d, "a", "1");
    ti_ts start = db_now(&d);
    fail_calls(name, number);
    assert_int_equal(db_commit(&d, start, SET("a", "2"), SET("b", "2")), TI_OUTCOME_UNKNOWN);
    assert_int_equal(db_commit(&d, start, SET("c", "3")), TI_IO);
    assert_int_equal(fiu_disable(name), 0);
    assert_int_equal(db_commit(&d, start, SET("c", "3")), TI_IO); /* until it is opened again */
    assert_true(db_holds_now(&d, "a", "1"));
    assert_true(db_holds_now(&d, "b", NULL));
    reopen(&d, durability);
    assert_true(db_holds_now(&d, "c", NULL));
    bool there = db_holds_now(&d, "b", "2");
    assert_true(db_holds_now(&d, "a", there ? "2" : "1")); /* all or nothing */
    (void)db_set(&d, "a", "5");
    assert_true(db_holds_now(&d, "a", "5"));
    db_close(&d);
}

static void fiu_sync(void)
{
    check_poison_by("posix/io/sync/fdatasync", EIO, TI_DURABILITY_SYNC);
}

static void fiu_write(void)
{
    check_poison_by("posix/io/rw/write", EIO, TI_DURABILITY_SYNC);
}

static void fiu_full(void)
{
    check_poison_by("posix/io/rw/write", ENOSPC, TI_DURABILITY_BUFFERED);
}

/* Opening a new database fails at some call; then it can be opened all the same. */
static void fiu_open(void)
{
    static const char *const calls[] = {"posix/io/rw/write", "posix/io/sync/fdatasync",
                                        "posix/io/sync/fsync", "posix/io/dir/rename"};
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        ti_rocks_options options = db_small_options();
        db d;
        memset(&d, 0, sizeof(d));
        d.env = ti_env_real();
        ti_arena_init(&d.a);
        test_dir_make(d.dir);
        fail_calls(calls[i], ENOSPC);
        ti_status status = db_try_open(&d, &options);
        assert_int_equal(fiu_disable(calls[i]), 0);
        if (status == TI_OK)
            d.e->vt->unref(d.e);
        else
            assert_int_equal(status, TI_IO);
        d.e = NULL;
        test_ok(db_try_open(&d, &options), &d.err);
        d.vt = d.e->vt;
        (void)db_set(&d, "a", "1");
        db_close(&d);
    }
}

/* Random failures, and a ledger: what was told committed is there, what was refused is not. */
static void fiu_random(void)
{
    static const char *const calls[] = {"posix/io/rw/write", "posix/io/sync/fdatasync"};
    test_random r = test_random_start(61);
    db d;
    unsigned told = 0;    /* the highest acknowledged */
    unsigned unknown = 0; /* not 0: may be there */
    unsigned next = 1;
    db_open_with(&d, ti_env_real(), false);
    reopen(&d, TI_DURABILITY_SYNC);
    for (uint64_t round = 0; round < test_scaled(60); round++) {
        const char *name = calls[test_random_below(&r, 2)];
        float odds = 0.02f + 0.1f * (float)test_random_below(&r, 3);
        assert_int_equal(fiu_enable_random(name, 1, (void *)(intptr_t)EIO, 0, odds), 0);
        for (int i = 0; i < 30; i++) {
            char value[16];
            ti_ts start;
            (void)snprintf(value, sizeof(value), "%u", next);
            if (d.vt->now(d.e, &start, &d.call, &d.err) != TI_OK)
                break;
            ti_status status = db_commit(&d, start, SET("x", value), SET("y", value));
            if (status == TI_OK)
                told = next;
            if (status == TI_OUTCOME_UNKNOWN)
                unknown = next;
            next++;
            if (status != TI_OK)
                break;
        }
        assert_int_equal(fiu_disable(name), 0);
        reopen(&d, TI_DURABILITY_SYNC);
        ti_snapshot *s = db_begin(&d);
        ti_slice x = db_get(&d, s, "x");
        ti_slice y = db_get(&d, s, "y");
        assert_true(x.len == y.len && (x.len == 0 || memcmp(x.data, y.data, x.len) == 0));
        unsigned found = x.len == 0 ? 0 : (unsigned)strtoul(x.data, NULL, 10);
        assert_true(found == told || (unknown > told && found == unknown));
        told = found;
        d.vt->release(s);
        ti_arena_reset(&d.a);
    }
    db_close(&d);
}

typedef struct scenario {
    const char *name;
    void (*run)(void);
} scenario;

static const scenario scenarios[] = {
    {"sync", fiu_sync}, {"write", fiu_write},   {"full", fiu_full},
    {"open", fiu_open}, {"random", fiu_random},
};

/* Runs this program again under libfiu. */
static void run_under_fiu(const char *name)
{
    int result;
    if (!CAN_PRELOAD || access(FIU, R_OK) != 0)
        skip();
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        (void)setenv("LD_PRELOAD", FIU, 1);
        (void)execl("/proc/self/exe", "test_rocks_failures", name, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    if (!WIFEXITED(result) || WEXITSTATUS(result) != 0)
        fail_msg("the scenario %s ended with %x", name, result);
}

static void a_failed_sync_of_the_log(void **state)
{
    (void)state;
    run_under_fiu("sync");
}

static void a_failed_write_to_the_log(void **state)
{
    (void)state;
    run_under_fiu("write");
}

static void a_full_disk(void **state)
{
    (void)state;
    run_under_fiu("full");
}

static void a_failed_open(void **state)
{
    (void)state;
    run_under_fiu("open");
}

static void random_failures_and_a_ledger(void **state)
{
    (void)state;
    run_under_fiu("random");
}

static const scenario *wanted;

static void one_scenario(void **state)
{
    (void)state;
    wanted->run();
}

static int run_scenario(const char *name)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_scenario)};
    need_fiu();
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        if (strcmp(scenarios[i].name, name) == 0)
            wanted = &scenarios[i];
    return wanted == NULL ? 2 : TEST_RUN(tests);
}

/* ---- memory */

static bool is_fine(ti_status status)
{
    return status == TI_OK || status == TI_NOT_FOUND || status == TI_OUT_OF_MEMORY;
}

/* Everything once, from open to close; true when nothing failed. */
static bool use_everything(db *d)
{
    ti_rocks_options options = db_small_options();
    ti_snapshot *s = NULL;
    ti_locks *locks = NULL;
    ti_locked locked;
    ti_slice value;
    ti_scan_page page;
    ti_scan scan = {.items_max = 10};
    ti_slice keys[] = {TI_SLICE("a"), TI_SLICE("b")};
    ti_ts start;
    ti_buf stats;
    ti_status status = db_try_open(d, &options);
    assert_true(is_fine(status));
    if (status != TI_OK)
        return false;
    d->vt = d->e->vt;
    ti_buf_init(&stats, 10000);
    status = d->vt->begin(d->e, TI_TS_NONE, &s, &d->call, &d->err);
    ti_status steps[8] = {status};
    if (s != NULL) {
        steps[1] = d->vt->get(s, keys[0], &d->a, &value, &d->call, &d->err);
        steps[2] = d->vt->batch_get(s, keys, 1, &d->a, &value, &d->call, &d->err);
        steps[3] = d->vt->scan(s, &scan, &d->a, &page, &d->call, &d->err);
        d->vt->release(s);
    }
    ti_lock_request request = {.start_ts = 1, .keys = keys, .count = 1};
    steps[4] = d->vt->lock(d->e, &locks, &request, &d->a, &locked, &d->call, &d->err);
    d->vt->unlock(d->e, locks);
    steps[5] = d->vt->now(d->e, &start, &d->call, &d->err);
    ti_mutation m[40];
    char bytes[40][4];
    for (int i = 0; i < 40; i++) {
        (void)snprintf(bytes[i], sizeof(bytes[i]), "%02d", i);
        m[i] = SET(bytes[i], "1");
    }
    if (steps[5] == TI_OK)
        steps[6] = db_commit_all(d, start, m, 40, NULL);
    steps[7] = d->vt->stats(d->e, &stats, &d->err);
    ti_buf_free(&stats);
    d->vt->unref(d->e);
    d->e = NULL;
    bool all = true;
    for (int i = 0; i < 8; i++) {
        assert_true(is_fine(steps[i]));
        all = all && steps[i] != TI_OUT_OF_MEMORY;
    }
    return all;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        bool done = false;
        db d;
        memset(&d, 0, sizeof(d));
        d.env = ti_env_real();
        if (!memory)
            test_dir_make(d.dir);
        for (uint64_t n = 1; !done; n++) {
            int64_t live = ti_mem_live();
            ti_arena_init(&d.a);
            ti_mem_fail_at(n);
            uint64_t before = ti_mem_count();
            bool all = use_everything(&d);
            done = ti_mem_count() - before < n;
            ti_mem_fail_at(0);
            assert_true(!done || all);
            ti_arena_free(&d.a);
            assert_int_equal(ti_mem_live(), live);
            assert_true(n < 1000);
        }
        db_close(&d);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_write_poisons),
        cmocka_unit_test(a_failure_is_logged_to_every_handle),
        cmocka_unit_test(everybody_in_the_queue_is_told),
        cmocka_unit_test(a_stall_is_waited_out_or_answered_busy),
        cmocka_unit_test(a_leader_that_leaves_hands_over),
        cmocka_unit_test(what_is_in_flight_is_waited_for),
        cmocka_unit_test(a_failed_sync_of_the_log),
        cmocka_unit_test(a_failed_write_to_the_log),
        cmocka_unit_test(a_full_disk),
        cmocka_unit_test(a_failed_open),
        cmocka_unit_test(random_failures_and_a_ledger),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return argc > 1 ? run_scenario(argv[1]) : TEST_RUN(tests);
}

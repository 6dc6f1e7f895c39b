/* Very many callers at the same place at the same time: one dead lock, one unknown store, one
 * region; and a close while a thousand requests are under way.
 *
 * Each caller is a thread of its own: the engine is straight blocking code. */
#include <pthread.h>
#include <sys/wait.h>

#include "tikv/tk.h"

#include "tikv/background.h"

#define STACK_SIZE ((size_t)256 << 10)
#define DEAD_AFTER_US 3500000 /* a lock's time to live, and more */

typedef struct crowd {
    ti_engine *e;
    void (*act)(struct crowd *c, size_t index);
    pthread_barrier_t gate;
    _Atomic(int) good;
    _Atomic(int) bad;
    ti_ts at;   /* what they read at; or 0 */
    bool found; /* what they read is there */
    int64_t timeout_us;
    char why[TI_ERR_MESSAGE_SIZE + 64];
} crowd;

typedef struct member {
    crowd *crowd;
    size_t index;
    pthread_t thread;
} member;

static void *run_member(void *context)
{
    member *m = context;
    pthread_barrier_wait(&m->crowd->gate);
    m->crowd->act(m->crowd, m->index);
    return NULL;
}

static member *crowd_start(crowd *c, size_t count)
{
    pthread_attr_t attr;
    member *members = calloc(count, sizeof(*members));
    assert_non_null(members);
    assert_int_equal(pthread_barrier_init(&c->gate, NULL, (unsigned)count), 0);
    pthread_attr_init(&attr);
    assert_int_equal(pthread_attr_setstacksize(&attr, STACK_SIZE), 0);
    for (size_t i = 0; i < count; i++) {
        members[i] = (member){.crowd = c, .index = i};
        assert_int_equal(pthread_create(&members[i].thread, &attr, run_member, &members[i]), 0);
    }
    pthread_attr_destroy(&attr);
    return members;
}

static void crowd_join(crowd *c, member *members, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_int_equal(pthread_join(members[i].thread, NULL), 0);
    pthread_barrier_destroy(&c->gate);
    free(members);
}

static void note(crowd *c, bool good, ti_status status, const ti_err *err)
{
    atomic_fetch_add(good ? &c->good : &c->bad, 1);
    if (!good && atomic_load(&c->bad) == 1)
        snprintf(c->why, sizeof(c->why), "%s: %s", ti_status_name(status), err->message);
}

/* Everybody acts at once; nobody may fail. */
static void crowd_run(crowd *c, size_t count)
{
    member *members = crowd_start(c, count);
    crowd_join(c, members, count);
    if (atomic_load(&c->bad) > 0)
        fail_msg("%d of %zu failed, one with %s", atomic_load(&c->bad), count, c->why);
    assert_int_equal(atomic_load(&c->good), count);
}

/* ---- what callers do ---- */

static void read_k(crowd *c, size_t index)
{
    ti_snapshot *s = NULL;
    ti_slice value;
    ti_err err;
    ti_arena a;
    ti_arena_init(&a);
    (void)index;
    ti_call call = tk_call(c->timeout_us);
    ti_status status = c->e->vt->begin(c->e, c->at, &s, &call, &err);
    if (status == TI_OK) {
        status = c->e->vt->get(s, TI_SLICE("k"), &a, &value, &call, &err);
        c->e->vt->release(s);
    }
    note(c, status == (c->found ? TI_OK : TI_NOT_FOUND), status, &err);
    ti_arena_free(&a);
}

/* A commit on the dead lock's key: exactly one wins, the others lose to it. */
static void write_k(crowd *c, size_t index)
{
    ti_commit_result result;
    ti_err err;
    ti_mutation list[] = {PUT("k", "mine")};
    (void)index;
    ti_call call = tk_call(c->timeout_us);
    ti_commit_request request = {.start_ts = c->at, .mutations = list, .count = 1};
    ti_ts now = 0;
    ti_status status = c->e->vt->now(c->e, &now, &call, &err);
    request.start_ts = now;
    if (status == TI_OK)
        status = c->e->vt->commit(c->e, &request, &result, &call, &err);
    note(c, status == TI_OK || status == TI_CONFLICT, status, &err);
}

/* ---- the dead lock ---- */

/* Leaves locks of a transaction that never ends on a, k and, with more > 0, on k000 …: of a client
 * that is gone. t is a new one afterwards. */
static void leave_dead_locks(tk *t, int more)
{
    static char names[1000][16];
    ti_mutation list[1001];
    size_t count = 0;
    assert_true(more <= 1000);
    list[count++] = PUT("a", "dead"); /* the primary is another key */
    list[count++] = PUT("k", "dead");
    for (int i = 0; i < more; i++) {
        snprintf(names[i], sizeof(names[i]), "k%03d", i);
        list[count++] = PUT(names[i], "dead");
    }
    /* Nothing decides it: every Prewrite's answer is lost, and no Commit comes through. */
    cluster_fault(t->cluster, "{\"kind\":\"Prewrite\",\"action\":\"drop_after\",\"times\":-1}");
    cluster_fault(t->cluster, "{\"kind\":\"Commit\",\"action\":\"drop_before\",\"times\":-1}");
    cluster_fault(t->cluster,
                  "{\"kind\":\"CheckTxnStatus\",\"action\":\"drop_before\",\"times\":-1}");
    cluster_fault(t->cluster,
                  "{\"kind\":\"BatchRollback\",\"action\":\"drop_before\",\"times\":-1}");
    ti_commit_request request = {.start_ts = tk_now(t), .mutations = list, .count = count};
    ti_status status = tk_commit_within(t, &request, 1000000);
    assert_true(status != TI_OK);
    tk_close(t); /* its rollback is lost, too */
    cluster_do(t->cluster, "/faults/clear");
    usleep(DEAD_AFTER_US);
    tk_open(t, t->cluster);
}

static uint64_t since(ti_engine *e, const char *name, uint64_t before)
{
    return engine_number(e, name) - before;
}

static void crowd_on_dead_lock(void (*act)(crowd *c, size_t index), size_t count, const char *what)
{
    cluster c;
    tk t;
    /* All locks are there: whoever looks finds that the transaction is committed. */
    crowd all = {.act = act, .timeout_us = 120000000, .found = true};
    tk_begin(&t, &c);
    cluster_at_key(&c, "split", TI_SLICE("b")); /* so that it is no 1PC */
    leave_dead_locks(&t, 0);
    all.e = t.e;
    uint64_t checks = engine_number(t.e, "CheckTxnStatus");
    uint64_t clears = engine_number(t.e, "ResolveLock");
    int64_t began = ti_env_mono_ns(ti_env_real());
    crowd_run(&all, count);
    int64_t took_ms = (ti_env_mono_ns(ti_env_real()) - began) / 1000000;
    printf("%zu %s: %d ms, %d CheckTxnStatus, %d ResolveLock, %d shared answers\n", count, what,
           (int)took_ms, (int)since(t.e, "CheckTxnStatus", checks),
           (int)since(t.e, "ResolveLock", clears), (int)engine_number(t.e, "locks_shared"));
    uint64_t checked = since(t.e, "CheckTxnStatus", checks);
    uint64_t cleared = since(t.e, "ResolveLock", clears);
    /* Of writers who overtake each other some leave locks of their own for a while. */
    assert_true(checked >= 1 && checked <= 4 + count / 200);
    assert_true(cleared <= 8 + count / 100);
    tk_end(&t);
}

static void readers_of_a_dead_lock_ask_once(void **state)
{
    (void)state;
    crowd_on_dead_lock(read_k, test_scaled(10000), "readers");
}

static void writers_on_a_dead_lock_clear_it_once(void **state)
{
    (void)state;
    crowd_on_dead_lock(write_k, test_scaled(2000), "writers");
}

/* A thousand locks of one transaction, met by one scan and by one batch: few requests clear them.
 */
static void many_locks_of_one_owner_are_cleared_together(void **state)
{
    (void)state;
    cluster c;
    tk t;
    ti_scan_page page;
    int locks = 300 + (int)test_scaled(400); /* too many for an async commit: it is rolled back */
    tk_begin(&t, &c);
    cluster_at_key(&c, "split", TI_SLICE("b"));
    leave_dead_locks(&t, locks);
    ti_snapshot *s = tk_snapshot(&t);
    ti_scan scan = {.range = {.from = TI_SLICE("a"), .to = TI_SLICE("z")}, .items_max = 10000};
    ti_call call = tk_call(TK_CALL_US);
    test_ok(t.vt->scan(s, &scan, &t.a, &page, &call, &t.err), &t.err);
    assert_int_equal(page.count, 0);
    t.vt->release(s);
    ti_mutation list[] = {PUT("k000", "alive"), PUT("k005", "alive")};
    test_ok(tk_commit_list(&t, tk_now(&t), list, 2), &t.err);
    uint64_t checks = engine_number(t.e, "CheckTxnStatus");
    uint64_t clears = engine_number(t.e, "ResolveLock");
    printf("%d locks: %d CheckTxnStatus, %d ResolveLock\n", locks + 2, (int)checks, (int)clears);
    assert_true(checks >= 1 && checks <= 6);
    assert_true(clears >= 1 && clears <= 12);
    tk_end(&t);
}

/* ---- look-ups ---- */

static void a_crowd_asks_pd_once(void **state)
{
    (void)state;
    cluster c;
    tk t;
    size_t count = test_scaled(1000) + 10;
    crowd all = {.act = read_k, .timeout_us = 60000000};
    tk_begin(&t, &c);
    uint64_t before = engine_number(t.e, "pd_requests");
    all.e = t.e;
    crowd_run(&all, count);
    uint64_t asked = since(t.e, "pd_requests", before);
    printf("%zu first reads: %d requests to PD, %d region misses\n", count, (int)asked,
           (int)engine_number(t.e, "region_misses"));
    assert_true(engine_number(t.e, "region_misses") <= 2);
    assert_true(asked <= 6); /* a region, a store, the safe point; some once more */
    tk_end(&t);
}

/* ---- the close ---- */

/* Everybody waits for a store that does not answer; the engine is then closed below them, as a
 * database's close does: by asking their calls to end. */
typedef struct closing {
    crowd crowd;
    _Atomic(int) cancelled;
} closing;

static void read_until_cancelled(crowd *c, size_t index)
{
    closing *k = (closing *)c;
    ti_snapshot *s = NULL;
    ti_slice value;
    ti_err err;
    ti_arena a;
    (void)index;
    ti_arena_init(&a);
    ti_call call = tk_call(c->timeout_us);
    call.cancelled = &k->cancelled;
    ti_status status = c->e->vt->begin(c->e, c->at, &s, &call, &err);
    if (status == TI_OK) {
        status = c->e->vt->get(s, TI_SLICE("k"), &a, &value, &call, &err);
        c->e->vt->release(s);
    }
    note(c, status == TI_CANCELLED, status, &err);
    ti_arena_free(&a);
}

static void a_close_ends_a_thousand_requests(void **state)
{
    (void)state;
    cluster c;
    tk t;
    uint64_t stores[8];
    size_t count = test_scaled(1000);
    closing k = {.crowd = {.act = read_until_cancelled, .timeout_us = 120000000}};
    tk_begin(&t, &c);
    tk_put(&t, "other", "x");
    size_t n = cluster_stores(&c, stores, 8);
    for (size_t i = 0; i < n; i++)
        cluster_do(&c, "/store/freeze?id=%d", (int)stores[i]);
    k.crowd.e = t.e;
    k.crowd.at = tk_now(&t);
    member *members = crowd_start(&k.crowd, count);
    for (int i = 0; i < 2000 && engine_number(t.e, "in_flight") < count; i++)
        usleep(10000);
    assert_int_equal(engine_number(t.e, "in_flight"), count);
    int64_t began = ti_env_mono_ns(ti_env_real());
    atomic_store(&k.cancelled, 1);
    crowd_join(&k.crowd, members, count);
    assert_int_equal(engine_number(t.e, "in_flight"), 0);
    tk_close(&t);
    int64_t took_ms = (ti_env_mono_ns(ti_env_real()) - began) / 1000000;
    if (atomic_load(&k.crowd.bad) > 0)
        fail_msg("%d did not end as they should: %s", atomic_load(&k.crowd.bad), k.crowd.why);
    printf("%zu requests under way: closed in %d ms\n", count, (int)took_ms);
    assert_true(took_ms < 20000);
    for (size_t i = 0; i < n; i++)
        cluster_do(&c, "/store/thaw?id=%d", (int)stores[i]);
    tk_open(&t, &c); /* and opening again works */
    tk_expect(&t, "other", "x");
    tk_end(&t);
}

/* ---- background work ---- */

typedef struct slow_task {
    ti_task task;
    _Atomic(int) *open;
    _Atomic(int) *ended;
} slow_task;

static void drop_slow(ti_task *task)
{
    atomic_fetch_add(((slow_task *)task)->ended, 1);
    free(task);
}

static void run_slow(ti_task *task, const ti_call *call)
{
    slow_task *t = (slow_task *)task;
    while (atomic_load(t->open) == 0 && ti_call_check(call, "a slow task", NULL) == TI_OK)
        usleep(1000);
    drop_slow(task);
}

static void background_work_is_bounded(void **state)
{
    (void)state;
    ti_background *b = NULL;
    ti_err err;
    _Atomic(int) open = 0;
    _Atomic(int) ended = 0;
    int taken = 0;
    test_ok(ti_background_create(ti_env_real(), &b, &err), &err);
    for (int i = 0; i < TI_BACKGROUND_QUEUE_MAX + 100; i++) {
        slow_task *t = calloc(1, sizeof(*t));
        assert_non_null(t);
        t->task = (ti_task){.run = run_slow, .drop = drop_slow};
        t->open = &open;
        t->ended = &ended;
        if (ti_background_offer(b, &t->task))
            taken++;
        else
            free(t);
    }
    assert_in_range(taken, TI_BACKGROUND_QUEUE_MAX,
                    TI_BACKGROUND_QUEUE_MAX + TI_BACKGROUND_THREADS);
    int64_t began = ti_env_mono_ns(ti_env_real());
    ti_background_close(b, 100000); /* what does not end in time is dropped or asked to end */
    assert_true(ti_env_mono_ns(ti_env_real()) - began < INT64_C(20000000000));
    assert_int_equal(atomic_load(&ended), taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_of_a_dead_lock_ask_once),
        cmocka_unit_test(writers_on_a_dead_lock_clear_it_once),
        cmocka_unit_test(many_locks_of_one_owner_are_cleared_together),
        cmocka_unit_test(a_crowd_asks_pd_once),
        cmocka_unit_test(a_close_ends_a_thousand_requests),
        cmocka_unit_test(background_work_is_bounded),
    };
    return TEST_RUN(tests);
}

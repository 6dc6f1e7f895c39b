/* Whole database handles on TiKV, through the interface: closing with a thousand operations under
 * way, forking, opening and closing a thousand times, memory, statistics.
 *
 *   test_tikv_handles                 the tests
 *   test_tikv_handles --memory PD     a process of its own: prints what one handle holds, in KiB */
#include <dirent.h>
#include <pthread.h>
#include <sys/wait.h>

#include "abi/harness.h"
#include "tikv/certs.h"
#include "tikv/cluster.h"

#define MEMORY_KIB_MAX (40 * 1024)
#define CHILD_S 60

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_INSTRUMENTED true /* what is resident says nothing then */
#else
#define IS_INSTRUMENTED false
#endif

static cluster shared; /* of the tests that do not harm it */
static int alone;      /* entries of /proc/self/task before there is any handle */

static int stop_shared(void **state)
{
    (void)state;
    cluster_stop(&shared);
    return 0;
}

static tito_db_t *open_handle(const cluster *c, const char *name_space)
{
    tito_db_t *db = NULL;
    char target[CLUSTER_ADDRESS_SIZE + 16];
    tito_options_t *options = tito_options_new();
    assert_non_null(options);
    snprintf(target, sizeof(target), "tikv://%s", c->pd[0]);
    assert_int_equal(tito_options_set(options, "namespace", name_space, strlen(name_space)), 0);
    OK(tito_connect(target, strlen(target), options, &db, &error));
    tito_options_free(options);
    return db;
}

/* How many entries a directory of /proc/self has: descriptors, threads. */
static int count_entries(const char *path)
{
    int count = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count;
}

static int start_shared(void **state)
{
    (void)state;
    alone = count_entries("/proc/self/task");
    cluster_start_mock(&shared, &(cluster_options){.stores = 4});
    return 0;
}

/* The same, but waits for threads that are about to end. */
static int count_settled(const char *path, int expected)
{
    int count = count_entries(path);
    for (int i = 0; i < 500 && count > expected; i++) {
        usleep(10000);
        count = count_entries(path);
    }
    return count;
}

/* No thread is left of a closed handle. A sanitizer may have one of its own. */
static void expect_alone(void)
{
    int count = count_settled("/proc/self/task", alone);
    assert_true(count <= alone + IS_INSTRUMENTED);
}

static long resident_kib(void)
{
    long pages = 0;
    long resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &pages, &resident), 2);
    (void)fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void build(tito_db_t *db, const char *id)
{
    tito_model_t *items = declare(db, model_spec);
    RUN(build_item(items, NULL, id, "x", 1));
    tito_model_free(items);
}

static int32_t find(tito_db_t *db, const char *id)
{
    tito_model_t *items = declare(db, model_spec);
    tito_future_t *found = tito_model_find(items, NULL, id, strlen(id), NULL);
    int32_t status = tito_future_wait(found, -1, NULL);
    tito_future_free(found);
    tito_model_free(items);
    return status;
}

/* A number of the statistics: the text behind "name":. */
static uint64_t number_of(tito_db_t *db, const char *name)
{
    char text[65536];
    char quoted[64];
    take_text(DONE(tito_db_stats(db)), text, sizeof(text));
    snprintf(quoted, sizeof(quoted), "\"%s\":", name);
    const char *at = strstr(text, quoted);
    if (at == NULL)
        fail_msg("no %s in %s", name, text);
    return strtoull(at + strlen(quoted), NULL, 10);
}

/* ---- closing ---- */

#define WAITERS 16

typedef struct waiter {
    tito_model_t *items;
    pthread_t thread;
    int32_t status;
} waiter;

/* An operation that runs in the caller's own thread. */
static void *wait_directly(void *context)
{
    waiter *w = context;
    tito_future_t *found = tito_model_find(w->items, NULL, TEXT("waits"), NULL);
    w->status = tito_future_wait(found, -1, NULL);
    tito_future_free(found);
    return NULL;
}

static bool is_end(int32_t status)
{
    return status == TITO_CLOSED || status == TITO_CANCELLED;
}

static void freeze_all(const cluster *c, bool freeze)
{
    uint64_t ids[8];
    size_t count = cluster_stores(c, ids, 8);
    for (size_t i = 0; i < count; i++)
        cluster_do(c, freeze ? "/store/freeze?id=%d" : "/store/thaw?id=%d", (int)ids[i]);
}

static void closing_ends_a_thousand_operations(void **state)
{
    (void)state;
    size_t count = test_scaled(1000);
    tito_future_t **futures = calloc(count, sizeof(tito_future_t *));
    waiter waiters[WAITERS];
    assert_non_null(futures);
    tito_db_t *db = open_handle(&shared, "closing");
    tito_model_t *items = declare(db, model_spec);
    build(db, "waits");
    freeze_all(&shared, true);
    for (size_t i = 0; i < count; i++) {
        futures[i] = i % 4 == 0 ? build_item(items, NULL, "new", "x", 1)
                                : tito_model_find(items, NULL, TEXT("waits"), NULL);
        OK(tito_future_start(futures[i], &error));
    }
    for (size_t i = 0; i < WAITERS; i++) {
        waiters[i] = (waiter){.items = items};
        assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_directly, &waiters[i]), 0);
    }
    usleep(300000);
    int64_t began = ti_env_mono_ns(ti_env_real());
    OK(tito_db_close(db, &error));
    for (size_t i = 0; i < count; i++) {
        int32_t status = tito_future_wait(futures[i], 20000000, NULL);
        if (!is_end(status) && status != TITO_OUTCOME_UNKNOWN)
            fail_msg("operation %zu ended with %s", i, tito_status_name(status));
        tito_future_free(futures[i]);
    }
    for (size_t i = 0; i < WAITERS; i++) {
        assert_int_equal(pthread_join(waiters[i].thread, NULL), 0);
        if (!is_end(waiters[i].status))
            fail_msg("a waiter ended with %s", tito_status_name(waiters[i].status));
    }
    int64_t took_ms = (ti_env_mono_ns(ti_env_real()) - began) / 1000000;
    printf("%zu operations and %d waiters: closed in %d ms\n", count, WAITERS, (int)took_ms);
    assert_true(took_ms < 30000);
    tito_model_free(items);
    tito_db_free(db);
    free(futures);
    freeze_all(&shared, false);
    expect_alone();
    db = open_handle(&shared, "closing");
    assert_int_equal(find(db, "waits"), TITO_OK);
    tito_db_free(db);
}

/* Everything at once, again and again, until the close. */
typedef struct busy {
    tito_db_t *db;
    tito_model_t *items;
    unsigned kind;
    pthread_t thread;
    _Atomic(int) rounds;
    int32_t status;
} busy;

/* Locks a record for the transaction. */
static tito_future_t *find_locked(tito_model_t *items, tito_txn_t *txn)
{
    tito_read_t *read = tito_read_new();
    assert_non_null(read);
    assert_int_equal(tito_read_lock(read, -1), TITO_OK);
    tito_future_t *found = tito_model_find(items, txn, TEXT("s"), read);
    tito_read_free(read);
    return found;
}

static tito_future_t *one_operation(const busy *b, tito_txn_t *txn, int i)
{
    char id[32];
    snprintf(id, sizeof(id), "%u-%d", b->kind, i % 7);
    switch (b->kind % 8) {
    case 0:
        return tito_model_save(b->items, txn, TEXT("{\"id\":\"s\",\"kind\":\"x\",\"n\":1}"), NULL);
    case 1:
        return tito_model_find(b->items, NULL, id, strlen(id), NULL);
    case 2:
        return tito_db_now(b->db);
    case 3:
        return tito_db_stats(b->db);
    case 4:
        return tito_db_schema(b->db);
    case 5:
        return tito_db_gc(b->db, INT64_C(3600000000));
    case 6:
        return find_locked(b->items, txn);
    default:
        return build_item(b->items, txn, id, "y", i);
    }
}

static void *be_busy(void *context)
{
    busy *b = context;
    for (int i = 0; !is_end(b->status); i++) {
        tito_txn_t *txn = NULL;
        int32_t begun = tito_txn_begin(b->db, NULL, &txn, NULL);
        if (begun != TITO_OK) {
            b->status = begun;
            break;
        }
        tito_future_t *operation = one_operation(b, txn, i);
        b->status = tito_future_wait(operation, -1, NULL);
        tito_future_free(operation);
        if (b->kind % 8 == 7 || b->kind % 8 == 0) {
            tito_future_t *committed = tito_txn_commit(txn);
            (void)tito_future_wait(committed, -1, NULL);
            tito_future_free(committed);
        }
        tito_txn_free(txn);
        atomic_fetch_add(&b->rounds, 1);
    }
    return NULL;
}

static void closing_while_everything_runs(void **state)
{
    (void)state;
    int rounds = (int)test_scaled(20);
    for (int round = 0; round < rounds; round++) {
        enum { THREADS = 16 };
        busy all[THREADS];
        tito_db_t *db = open_handle(&shared, "busy");
        tito_model_t *items = declare(db, model_spec);
        memset(all, 0, sizeof(all));
        for (unsigned i = 0; i < THREADS; i++) {
            all[i] = (busy){.db = db, .items = items, .kind = i};
            assert_int_equal(pthread_create(&all[i].thread, NULL, be_busy, &all[i]), 0);
        }
        for (int i = 0; i < 3000 && atomic_load(&all[1].rounds) < 3 + round % 5; i++)
            usleep(1000);
        int64_t began = ti_env_mono_ns(ti_env_real());
        OK(tito_db_close(db, &error));
        for (unsigned i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(all[i].thread, NULL), 0);
            if (!is_end(all[i].status))
                fail_msg("kind %u ended with %s", i, tito_status_name(all[i].status));
        }
        assert_true((ti_env_mono_ns(ti_env_real()) - began) / 1000000 < 30000);
        tito_model_free(items);
        tito_db_free(db);
    }
}

/* ---- forking ---- */

/* In the child: every call answers FORKED or frees, at once. Answers 0 when all is well, else which
 * check failed. Uses no cmocka. */
static int use_in_child(tito_db_t *db, tito_model_t *items, tito_txn_t *txn, tito_future_t *waiting)
{
    tito_txn_t *other = NULL;
    tito_future_t *futures[] = {
        tito_model_find(items, NULL, TEXT("a"), NULL),
        tito_model_find(items, txn, TEXT("a"), NULL),
        tito_txn_commit(txn),
        tito_db_now(db),
        tito_db_stats(db),
        build_item(items, NULL, "child", "x", 1),
        tito_db_open(db),
    };
    for (size_t i = 0; i < sizeof(futures) / sizeof(futures[0]); i++) {
        if (tito_future_wait(futures[i], -1, NULL) != TITO_FORKED)
            return 10 + (int)i;
        tito_future_free(futures[i]);
    }
    if (tito_future_wait(waiting, -1, NULL) != TITO_FORKED)
        return 2;
    if (tito_txn_begin(db, NULL, &other, NULL) != TITO_FORKED || other != NULL)
        return 3;
    if (tito_db_close(db, NULL) != TITO_FORKED)
        return 4;
    tito_future_free(waiting);
    tito_txn_free(txn);
    tito_model_free(items);
    tito_db_free(db);
    return 0;
}

/* How a child ended, which has CHILD_S; 1000 and more: by a signal; -1: it hangs. */
static int child_result(pid_t pid)
{
    int status = 0;
    assert_true(pid > 0);
    for (int i = 0; i < CHILD_S * 100; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
        usleep(10000);
    }
    kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    return -1;
}

static void a_child_is_told_and_the_parent_goes_on(void **state)
{
    (void)state;
    tito_db_t *db = open_handle(&shared, "forking");
    tito_model_t *items = declare(db, model_spec);
    build(db, "a");
    tito_txn_t *txn = begin(db);
    RUN(tito_model_find(items, txn, TEXT("a"), NULL));
    tito_future_t *waiting = tito_model_find(items, NULL, TEXT("a"), NULL);
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(use_in_child(db, items, txn, waiting));
        assert_int_equal(child_result(pid), 0);
        assert_int_equal(find(db, "a"), TITO_OK); /* the parent's connections are whole */
        RUN(tito_model_find(items, txn, TEXT("a"), NULL));
    }
    RUN(waiting);
    RUN(tito_txn_commit(txn));
    tito_txn_free(txn);
    tito_model_free(items);
    tito_db_free(db);
}

/* A child opens a database of its own: it works, or is refused at once; it never hangs. */
static int open_in_child(const cluster *c)
{
    tito_db_t *db = NULL;
    char target[CLUSTER_ADDRESS_SIZE + 16];
    snprintf(target, sizeof(target), "tikv://%s", c->pd[0]);
    int32_t status = tito_connect(target, strlen(target), NULL, &db, NULL);
    if (status != TITO_OK)
        return status == TITO_FORKED ? 100 : 1;
    tito_future_t *now = tito_db_now(db);
    status = tito_future_wait(now, -1, NULL);
    tito_future_free(now);
    tito_db_free(db);
    return status == TITO_OK ? 0 : 2;
}

static void a_child_that_opens_anew(void **state)
{
    (void)state;
    tito_db_t *db = open_handle(&shared, "forking");
    pid_t pid = fork();
    if (pid == 0)
        _exit(open_in_child(&shared));
    assert_int_equal(child_result(pid), 100); /* refused: gRPC's threads are not there */
    assert_int_equal(find(db, "nothing"), TITO_NOT_FOUND);
    tito_db_free(db);
    pid = fork();
    if (pid == 0)
        _exit(open_in_child(&shared));
    assert_int_equal(child_result(pid), 0);
}

/* ---- flat ---- */

static void a_thousand_openings_are_flat(void **state)
{
    (void)state;
    uint64_t rounds = test_scaled(1000) + 10;
    int fds = 0;
    int64_t live = 0;
    long resident = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        if (i == rounds / 2) {
            fds = count_entries("/proc/self/fd");
            live = ti_mem_live();
            resident = resident_kib();
        }
        tito_db_t *db = open_handle(&shared, "flat");
        tito_model_t *items = declare(db, model_spec);
        RUN(tito_model_save(items, NULL, TEXT("{\"id\":\"a\",\"kind\":\"x\",\"n\":1}"), NULL));
        RUN(tito_model_find(items, NULL, TEXT("a"), NULL));
        tito_model_free(items);
        if (i % 3 == 0)
            OK(tito_db_close(db, &error));
        tito_db_free(db);
    }
    assert_int_equal(ti_mem_live(), live);
    expect_alone();
    assert_int_equal(count_settled("/proc/self/fd", fds), fds);
    long grown = resident_kib() - resident;
    printf("%llu rounds: %ld KiB more than after half of them\n", (unsigned long long)rounds,
           grown);
    assert_true(IS_INSTRUMENTED || grown < 4096 + (long)rounds);
}

/* ---- memory ---- */

/* A process of its own: what a handle with work on all stores holds. */
static int measure_memory(const char *pd)
{
    cluster c = {.pd_count = 1};
    char id[32];
    snprintf(c.pd[0], CLUSTER_ADDRESS_SIZE, "%s", pd);
    long before = resident_kib();
    tito_db_t *db = open_handle(&c, "memory");
    tito_model_t *items = declare(db, model_spec);
    for (int i = 0; i < 2000; i++) {
        snprintf(id, sizeof(id), "%c%04d", 'a' + i % 26, i);
        tito_future_t *built = build_item(items, NULL, id, "x", i);
        assert_int_equal(tito_future_wait(built, -1, NULL), TITO_OK);
        tito_future_free(built);
        assert_int_equal(find(db, id), TITO_OK);
    }
    printf("resident %ld\n", resident_kib() - before);
    tito_model_free(items);
    tito_db_free(db);
    return 0;
}

static void a_handle_on_four_stores_is_small(void **state)
{
    (void)state;
    cluster c;
    uint64_t ids[8];
    char command[512];
    char line[256] = "";
    long kib = -1;
    cluster_start_mock(&c, &(cluster_options){.stores = 4});
    assert_int_equal(cluster_stores(&c, ids, 8), 4);
    for (int i = 0; i < 4; i++) { /* a region on each store */
        char key[64];
        snprintf(key, sizeof(key), "memory:table:item:%c", "agnt"[i]);
        cluster_at_key(&c, "split", ti_slice_of(key));
    }
    for (int i = 0; i < 4; i++) {
        char hex[128];
        snprintf(hex, sizeof(hex), "6d656d6f72793a7461626c653a6974656d3a%02x", "agnt"[i] + 1);
        cluster_do(&c, "/leader?key=%s&store=%d", hex, (int)ids[i]);
    }
    snprintf(command, sizeof(command), "/proc/%d/exe --memory %s", (int)getpid(), c.pd[0]);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    while (fgets(line, sizeof(line), out) != NULL && kib < 0)
        (void)sscanf(line, "resident %ld", &kib);
    assert_int_equal(pclose(out), 0);
    printf("a handle on four stores: %ld KiB resident\n", kib);
    assert_true(kib > 0);
    assert_true(IS_INSTRUMENTED || kib <= MEMORY_KIB_MAX);
    cluster_stop(&c);
}

/* ---- statistics ---- */

/* All requests to stores but those of the background. */
static uint64_t requests_of(tito_db_t *db)
{
    return number_of(db, "Get") + number_of(db, "BatchGet") + number_of(db, "Scan") +
           number_of(db, "Prewrite") + number_of(db, "Commit");
}

static void statistics_are_right(void **state)
{
    (void)state;
    static const char *const names[] = {
        "requests",      "retries",         "tso_requests",   "timestamps",
        "pd_requests",   "regions",         "region_misses",  "region_errors",
        "silences",      "bytes_sent",      "bytes_received", "in_flight",
        "locks_checked", "lock_cache_hits", "locks_resolved", "commits",
        "commits_1pc",   "commits_async",   "commits_2pc",    "commits_unknown",
        "Get",           "Prewrite",        "region_miss",    "server_busy",
        "at_once"};
    cluster c;
    cluster_start_mock(&c, &(cluster_options){.stores = 1});
    tito_db_t *db = open_handle(&c, "statistics");
    tito_model_t *items = declare(db, model_spec);
    build(db, "a");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)number_of(db, names[i]);
    uint64_t gets = number_of(db, "Get") + number_of(db, "BatchGet");
    uint64_t sent = number_of(db, "bytes_sent");
    uint64_t received = number_of(db, "bytes_received");
    uint64_t commits = number_of(db, "commits");
    for (int i = 0; i < 10; i++)
        assert_int_equal(find(db, "a"), TITO_OK);
    assert_true(number_of(db, "Get") + number_of(db, "BatchGet") - gets >= 10);
    assert_true(number_of(db, "bytes_sent") > sent + 100);
    assert_true(number_of(db, "bytes_received") > received + 100);
    assert_int_equal(number_of(db, "commits"), commits); /* reads commit nothing */
    assert_int_equal(number_of(db, "in_flight"), 0);
    /* A record is built by one timestamp and one Prewrite, and nothing is read. */
    uint64_t requests = requests_of(db);
    uint64_t prewrites = number_of(db, "Prewrite");
    uint64_t timestamps = number_of(db, "timestamps");
    RUN(build_item(items, NULL, "b", "x", 1));
    assert_int_equal(number_of(db, "commits"), commits + 1);
    assert_int_equal(requests_of(db), requests + 1);
    assert_int_equal(number_of(db, "Prewrite"), prewrites + 1);
    assert_int_equal(number_of(db, "timestamps"), timestamps + 1);
    /* A transaction that only reads commits without any request. */
    tito_txn_t *txn = NULL;
    OK(tito_txn_begin(db, NULL, &txn, &error));
    RUN(tito_model_find(items, txn, TEXT("b"), NULL));
    requests = requests_of(db);
    timestamps = number_of(db, "timestamps");
    RUN(tito_txn_commit(txn));
    tito_txn_free(txn);
    assert_int_equal(requests_of(db), requests);
    assert_int_equal(number_of(db, "timestamps"), timestamps);
    /* Trouble shows under its kind. */
    assert_int_equal(number_of(db, "server_busy"), 0);
    uint64_t errors = number_of(db, "region_errors");
    uint64_t misses = number_of(db, "region_misses");
    cluster_fault(&c, "{\"kind\":\"Get\",\"action\":\"region_error\",\"error\":\"ServerIsBusy\","
                      "\"times\":2}");
    cluster_fault(&c, "{\"kind\":\"Get\",\"action\":\"region_error\",\"error\":"
                      "\"RegionNotFound\",\"nth\":1}");
    cluster_fault(&c, "{\"kind\":\"BatchGet\",\"action\":\"region_error\",\"error\":"
                      "\"ServerIsBusy\",\"times\":2}");
    assert_int_equal(find(db, "a"), TITO_OK);
    assert_int_equal(number_of(db, "server_busy"), 2);
    assert_true(number_of(db, "region_errors") >= errors + 2);
    assert_true(number_of(db, "region_misses") >= misses);
    assert_true(number_of(db, "tso_requests") <= number_of(db, "timestamps"));
    tito_model_free(items);
    tito_db_free(db);
    cluster_stop(&c);
}

/* ---- log lines ---- */

#define CANARY "canary-4711"

static _Atomic(int) lines;
static _Atomic(int) canaries;
static _Atomic(int) connected;

static void note_line(void *context, int32_t level, const char *line)
{
    (void)context;
    (void)level;
    atomic_fetch_add(&lines, 1);
    atomic_fetch_add(&canaries, strstr(line, CANARY) != NULL);
    atomic_fetch_add(&connected, strstr(line, "connected to TiKV cluster=7411 tls=no") != NULL);
}

/* Neither keys nor values of the user's are in a line, whatever happens. */
static void log_lines_have_no_values(void **state)
{
    (void)state;
    cluster c;
    tito_db_t *db = NULL;
    char target[CLUSTER_ADDRESS_SIZE + 16];
    cluster_start_mock(&c, &(cluster_options){.stores = 1});
    snprintf(target, sizeof(target), "tikv://%s", c.pd[0]);
    OK(tito_db_new(target, strlen(target), NULL, &db, &error));
    assert_int_equal(tito_db_set_log(db, note_line, NULL, 3), TITO_OK);
    RUN(tito_db_open(db));
    tito_model_t *items = declare(db, model_spec);
    RUN(build_item(items, NULL, CANARY "-id", CANARY "-kind", 1));
    FAILS(build_item(items, NULL, CANARY "-id", CANARY "-kind", 1), TITO_ALREADY_EXISTS);
    cluster_fault(&c, "{\"kind\":\"Prewrite\",\"action\":\"cut_before\"}");
    cluster_fault(&c, "{\"kind\":\"Get\",\"action\":\"cut_before\",\"times\":2}");
    RUN(build_item(items, NULL, CANARY "-other", CANARY "-kind", 1));
    assert_int_equal(find(db, CANARY "-other"), TITO_OK);
    tito_model_free(items);
    tito_db_free(db);
    assert_int_equal(atomic_load(&connected), 1);
    assert_true(atomic_load(&lines) >= 2);
    assert_int_equal(atomic_load(&canaries), 0);
    cluster_stop(&c);
}

/* ---- TLS ---- */

static int32_t connect_with(const cluster *c, const char *ca, const char *cert, const char *key,
                            tito_db_t **db_out, char *message, size_t size)
{
    char target[CLUSTER_ADDRESS_SIZE + 16];
    tito_error_t *error = NULL;
    tito_options_t *options = tito_options_new();
    const char *const given[][2] = {{"ca", ca}, {"cert", cert}, {"key", key}};
    for (size_t i = 0; i < 3; i++) {
        if (given[i][1] != NULL)
            assert_int_equal(
                tito_options_set(options, given[i][0], given[i][1], strlen(given[i][1])), TITO_OK);
    }
    snprintf(target, sizeof(target), "tikv://%s", c->pd[0]);
    int32_t status = tito_connect(target, strlen(target), options, db_out, &error);
    tito_slice text = tito_error_message(error);
    snprintf(message, size, "%.*s", (int)text.len, text.data != NULL ? text.data : "");
    tito_error_free(error);
    tito_options_free(options);
    return status;
}

static void tls_by_options(void **state)
{
    (void)state;
    char dir[TEST_DIR_SIZE];
    char message[1024];
    cluster c;
    tito_db_t *db = NULL;
    test_dir_make(dir);
    certs_make(dir, &(cert_spec){.name = "ca", .authority = true});
    certs_make(dir, &(cert_spec){.name = "server", .issuer = "ca", .names = "IP:127.0.0.1"});
    certs_make(dir, &(cert_spec){.name = "client", .issuer = "ca"});
    const char *ca = certs_path(dir, "ca", "crt");
    cluster_start_mock(&c, &(cluster_options){.stores = 1,
                                              .ca = ca,
                                              .cert = certs_path(dir, "server", "crt"),
                                              .key = certs_path(dir, "server", "key")});
    const char *cert = certs_path(dir, "client", "crt");
    char *key = certs_read(certs_path(dir, "client", "key"));
    assert_int_equal(connect_with(&c, ca, cert, key, &db, message, sizeof(message)), TITO_OK);
    build(db, "a");
    assert_int_equal(find(db, "a"), TITO_OK);
    tito_db_free(db);
    assert_int_equal(connect_with(&c, ca, NULL, NULL, &db, message, sizeof(message)),
                     TITO_INVALID_ARGUMENT);
    assert_non_null(strstr(message, "demands a client certificate"));
    assert_int_equal(connect_with(&c, NULL, cert, key, &db, message, sizeof(message)),
                     TITO_INVALID_ARGUMENT);
    assert_int_equal(connect_with(&c, NULL, NULL, NULL, &db, message, sizeof(message)),
                     TITO_INVALID_ARGUMENT);
    assert_int_equal(connect_with(&c, "", NULL, NULL, &db, message, sizeof(message)),
                     TITO_INVALID_ARGUMENT);
    assert_non_null(strstr(message, "option ca is empty"));
    assert_null(db);
    free(key);
    cluster_stop(&c);
    test_dir_remove(dir);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handle_on_four_stores_is_small),
        cmocka_unit_test(closing_ends_a_thousand_operations),
        cmocka_unit_test(closing_while_everything_runs),
        cmocka_unit_test(a_child_is_told_and_the_parent_goes_on),
        cmocka_unit_test(a_child_that_opens_anew),
        cmocka_unit_test(statistics_are_right),
        cmocka_unit_test(log_lines_have_no_values),
        cmocka_unit_test(tls_by_options),
        cmocka_unit_test(a_thousand_openings_are_flat),
    };
    if (argc == 3 && strcmp(argv[1], "--memory") == 0)
        return measure_memory(argv[2]);
    return test_finish(cmocka_run_group_tests(tests, start_shared, stop_shared));
}

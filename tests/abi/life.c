/* Opening and closing: any number of times, with operations under way, with waiters, twice at once,
 * from where it is forbidden. Nothing is left: no descriptor, no thread, no memory. */
#include <dirent.h>
#include <pthread.h>
#include <sys/wait.h>

#include "abi/harness.h"

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

/* Resident memory in KiB. */
static long resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &pages, &resident), 2);
    (void)fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void use_a_little(tito_db_t *db)
{
    tito_model_t *items = declare(db, model_spec);
    tito_future_t *started = build_item(items, NULL, "a", "x", 1);
    OK(tito_future_start(started, &error));
    (void)tito_future_wait(started, -1, NULL);
    tito_future_free(started);
    RUN(tito_model_find(items, NULL, TEXT("a"), NULL));
    tito_model_free(items);
}

/* RocksDB itself keeps something for each database until the process ends: only a slope counts. */
static void opens_and_closes_flatly(void **state)
{
    (void)state;
    char dir[TEST_DIR_SIZE];
    tito_options_t *options = tito_options_new();
    uint64_t rounds = test_scaled(1000);
    int fds = 0, threads = 0;
    int64_t live = 0;
    long resident = 0;
    test_dir_make(dir);
    tito_options_set(options, "durability", TEXT("buffered"));
    for (uint64_t i = 0; i < rounds; i++) {
        tito_db_t *db = NULL;
        bool on_disk = i % 25 == 0;
        const char *target = on_disk ? dir : "memory:";
        if (i == rounds / 2) {
            fds = count_entries("/proc/self/fd");
            threads = count_entries("/proc/self/task");
            live = ti_mem_live();
            resident = resident_kib();
        }
        OK(tito_connect(target, strlen(target), options, &db, &error));
        use_a_little(db);
        if (i % 3 == 0)
            OK(tito_db_close(db, &error));
        tito_db_free(db);
    }
    assert_int_equal(count_entries("/proc/self/fd"), fds);
    assert_int_equal(count_entries("/proc/self/task"), threads);
    assert_int_equal(ti_mem_live(), live);
    printf("resident after %llu rounds %ld KiB, after %llu %ld KiB\n",
           (unsigned long long)rounds / 2, resident, (unsigned long long)rounds, resident_kib());
    tito_options_free(options);
    test_dir_remove(dir);
}

/* ---- closing while others work ---- */

typedef struct worker_arguments {
    tito_db_t *db;
    tito_model_t *items;
    _Atomic(bool) ready;
    int32_t status;
} worker_arguments;

/* Works until the database is closed. */
static void *work_until_closed(void *argument)
{
    worker_arguments *a = argument;
    int32_t status = TITO_OK;
    char id[32];
    for (int i = 0; status == TITO_OK || status == TITO_NOT_FOUND; i++) {
        tito_txn_t *txn = NULL;
        snprintf(id, sizeof(id), "%p-%d", argument, i);
        status = tito_txn_begin(a->db, NULL, &txn, NULL);
        if (status != TITO_OK)
            break;
        tito_future_t *built = build_item(a->items, txn, id, "x", i);
        tito_future_t *found = tito_model_find(a->items, txn, id, strlen(id), NULL);
        tito_future_t *committed = tito_txn_commit(txn);
        if (i % 2 == 0)
            (void)tito_future_start(built, NULL);
        status = tito_future_wait(committed, i % 3 == 0 ? -1 : 10000000, NULL);
        atomic_store(&a->ready, true);
        tito_future_free(committed);
        tito_future_free(found);
        tito_txn_free(txn);
        tito_future_free(built);
    }
    a->status = status;
    return NULL;
}

static void close_under_work(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    for (uint64_t round = 0; round < test_scaled(30); round++) {
        pthread_t threads[THREADS];
        worker_arguments arguments[THREADS];
        tito_db_t *db = open_memory();
        tito_model_t *items = declare(db, model_spec);
        for (int i = 0; i < THREADS; i++) {
            arguments[i] = (worker_arguments){.db = db, .items = items};
            assert_int_equal(pthread_create(&threads[i], NULL, work_until_closed, &arguments[i]),
                             0);
        }
        while (!atomic_load(&arguments[round % THREADS].ready))
            usleep(50);
        OK(tito_db_close(db, &error));
        for (int i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            if (arguments[i].status != TITO_CLOSED && arguments[i].status != TITO_CANCELLED)
                fail_msg("ended with %s", tito_status_name(arguments[i].status));
        }
        tito_db_free(db);
        tito_model_free(items);
    }
}

/* One transaction holds a lock, others wait for it: the close ends the waiting at once. */
static void close_under_waiters(void **state)
{
    (void)state;
    enum { WAITERS = 3 };
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    tito_txn_t *holder = begin(db), *waiters[WAITERS];
    tito_future_t *waits[WAITERS];
    tito_read_t *read = tito_read_new();
    assert_int_equal(tito_read_lock(read, -1), TITO_OK);
    RUN(build_item(items, NULL, "a", "x", 1));
    RUN(tito_model_find(items, holder, TEXT("a"), read));
    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = begin(db);
        waits[i] = tito_model_find(items, waiters[i], TEXT("a"), read);
        OK(tito_future_start(waits[i], &error));
    }
    usleep(20000);
    int64_t before = tito_now_us();
    OK(tito_db_close(db, &error));
    assert_true(tito_now_us() - before < 5000000);
    for (int i = 0; i < WAITERS; i++) {
        int32_t status = tito_future_wait(waits[i], -1, NULL);
        assert_int_equal(status, TITO_CLOSED);
        tito_future_free(waits[i]);
        tito_txn_free(waiters[i]);
    }
    tito_txn_free(holder);
    tito_read_free(read);
    tito_model_free(items);
    tito_db_free(db);
}

/* Those who wait for a lock leave the library's threads to the one that holds it, and to others. */
static void work_beside_waiters(void **state)
{
    (void)state;
    enum { WAITERS = 12 };
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    tito_txn_t *holder = begin(db), *waiters[WAITERS];
    tito_future_t *waits[WAITERS];
    tito_read_t *read = tito_read_new();
    assert_int_equal(tito_read_lock(read, -1), TITO_OK);
    RUN(build_item(items, NULL, "a", "x", 1));
    RUN(tito_model_find(items, holder, TEXT("a"), read));
    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = begin(db);
        waits[i] = tito_model_find(items, waiters[i], TEXT("a"), read);
        OK(tito_future_start(waits[i], &error));
    }
    usleep(20000);
    tito_future_t *other = build_item(items, holder, "b", "x", 2);
    OK(tito_future_wait(other, 10000000, &error));
    tito_future_free(other);
    assert_int_equal(tito_future_ready(waits[0]), 0);
    RUN(tito_txn_rollback(holder));
    for (int i = 0; i < WAITERS; i++)
        tito_txn_free(waiters[i]); /* ends its waiting, or its lock */
    for (int i = 0; i < WAITERS; i++)
        tito_future_free(waits[i]);
    tito_txn_free(holder);
    tito_read_free(read);
    tito_model_free(items);
    tito_db_free(db);
}

static void *close_it(void *argument)
{
    worker_arguments *a = argument;
    a->status = tito_db_close(a->db, NULL);
    return NULL;
}

static void close_twice_at_once(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < test_scaled(50); round++) {
        tito_db_t *db = open_memory();
        worker_arguments a = {.db = db}, b = {.db = db};
        pthread_t one, two;
        use_a_little(db);
        assert_int_equal(pthread_create(&one, NULL, close_it, &a), 0);
        assert_int_equal(pthread_create(&two, NULL, close_it, &b), 0);
        assert_int_equal(pthread_join(one, NULL) + pthread_join(two, NULL), 0);
        assert_int_equal(a.status, TITO_OK);
        assert_int_equal(b.status, TITO_OK);
        tito_db_free(db);
    }
}

static void close_in_callback(void *context, tito_future_t *future)
{
    worker_arguments *a = context;
    (void)future;
    a->status = tito_db_close(a->db, NULL);
    atomic_store(&a->ready, true);
}

static void close_from_a_callback(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    worker_arguments a = {.db = db};
    tito_future_t *now = tito_db_now(db);
    OK(tito_future_then(now, close_in_callback, &a, &error));
    while (!atomic_load(&a.ready))
        usleep(100);
    assert_int_equal(a.status, TITO_INVALID_STATE);
    RUN(now);
    tito_db_free(db);
}

/* Waits for the one tag of a queue. */
static uint64_t next_tag(tito_cq_t *cq)
{
    uint64_t tag = 0;
    while (tito_cq_drain(cq, &tag, 1) == 0)
        usleep(100);
    return tag;
}

static tito_cq_t *new_cq(void)
{
    tito_cq_t *cq = NULL;
    OK(tito_cq_new(&cq, &error));
    return cq;
}

/* The close waits for an operation in another thread, the caller does not. */
static void closing_is_told(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_cq_t *cq = new_cq();
    use_a_little(db);
    OK(tito_db_close_watch(db, cq, 77, &error));
    EXPECT(tito_db_close_watch(db, cq, 78, &error), TITO_INVALID_STATE);
    assert_int_equal(next_tag(cq), 77);
    FAILS(tito_db_now(db), TITO_CLOSED);
    OK(tito_db_close(db, &error));
    EXPECT(tito_db_close_watch(db, cq, 79, &error), TITO_INVALID_STATE);
    tito_db_free(db);
    uint64_t tag = 0;
    assert_int_equal(tito_cq_drain(cq, &tag, 1), 0);
    tito_cq_free(cq);
}

/* Freeing what the closing uses, in both orders; a tag that nobody has taken goes with the handle.
 */
static void closing_is_dropped(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < test_scaled(60); round++) {
        tito_db_t *db = open_memory();
        tito_cq_t *cq = new_cq();
        use_a_little(db);
        OK(tito_db_close_watch(db, cq, round, &error));
        if (round % 2 == 0)
            tito_cq_free(cq);
        tito_db_free(db);
        uint64_t tag = 0;
        if (round % 2 == 1) {
            assert_int_equal(tito_cq_drain(cq, &tag, 1), 0);
            tito_cq_free(cq);
        }
    }
}

typedef struct close_arguments {
    tito_db_t *db;
    tito_cq_t *cq;
} close_arguments;

static void begin_close_in_callback(void *context, tito_future_t *future)
{
    close_arguments *a = context;
    (void)future;
    OK(tito_db_close_watch(a->db, a->cq, 5, &error));
}

static void closing_from_a_callback(void **state)
{
    (void)state;
    close_arguments a = {.db = open_memory(), .cq = new_cq()};
    tito_future_t *now = tito_db_now(a.db);
    OK(tito_future_then(now, begin_close_in_callback, &a, &error));
    assert_int_equal(next_tag(a.cq), 5);
    (void)tito_future_wait(now, -1, NULL); /* its callback was before */
    tito_future_free(now);
    tito_cq_free(a.cq);
    tito_db_free(a.db);
}

/* The timeout of a transaction is one for all its attempts: what is done in a later one ends with it
 * too, and a retry after it is none. The first attempt's operations have their own. */
static void later_attempts_end_with_the_first_ones_time(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    tito_model_t *items = declare(db, model_spec);
    tito_txn_t *txn = NULL;
    tito_options_t *options = tito_options_new();
    tito_options_set_int(options, "timeout_us", 2000000);
    OK(tito_txn_begin(db, options, &txn, &error));
    RUN(tito_txn_retry(txn, TITO_CONFLICT));
    RUN(build_item(items, txn, "a", "x", 0));
    usleep(2100000);
    FAILS(tito_txn_commit(txn), TITO_TIMEOUT);
    FAILS(tito_txn_retry(txn, TITO_TIMEOUT), TITO_TIMEOUT);
    tito_txn_free(txn);
    FAILS(tito_model_find(items, NULL, TEXT("a"), NULL), TITO_NOT_FOUND);
    tito_options_set_int(options, "timeout_us", 100000);
    OK(tito_txn_begin(db, options, &txn, &error));
    usleep(150000);
    RUN(build_item(items, txn, "a", "x", 0));
    RUN(tito_txn_commit(txn));
    tito_txn_free(txn);
    tito_options_free(options);
    tito_model_free(items);
    tito_db_free(db);
}

/* A forked child that calls exit() with what it has inherited: how it ended. */
static int exit_of_child(int status)
{
    int ended = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)alarm(60); /* RocksDB's static objects would wait for ever */
        exit(status);
    }
    assert_int_equal(waitpid(child, &ended, 0), child);
    return ended;
}

static void a_forked_child_exits(void **state)
{
    (void)state;
    tito_db_t *db = open_memory();
    use_a_little(db);
    int ended = exit_of_child(7);
    assert_true(WIFEXITED(ended));
    assert_int_equal(WEXITSTATUS(ended), 7);
    tito_db_free(db);
    ended = exit_of_child(8);
    assert_true(WIFEXITED(ended));
    assert_int_equal(WEXITSTATUS(ended), 8);
}

/* ---- opening ---- */

static void opening_in_steps(void **state)
{
    (void)state;
    tito_db_t *db = NULL;
    OK(tito_db_new(TEXT("memory:"), NULL, &db, &error));
    tito_model_t *items = declare(db, model_spec);
    tito_txn_t *txn = NULL;
    EXPECT(tito_txn_begin(db, NULL, &txn, &error), TITO_INVALID_STATE);
    FAILS(build_item(items, NULL, "a", "x", 1), TITO_INVALID_STATE);
    assert_int_equal(tito_db_set_log(db, NULL, NULL, 9), TITO_INVALID_ARGUMENT);
    assert_int_equal(tito_db_set_log(db, NULL, NULL, 0), TITO_OK);
    RUN(tito_db_open(db));
    assert_int_equal(tito_db_set_log(db, NULL, NULL, 0), TITO_INVALID_STATE);
    RUN(build_item(items, NULL, "a", "x", 1));
    tito_db_free(db);
    FAILS(tito_model_find(items, NULL, TEXT("a"), NULL), TITO_CLOSED);
    tito_model_free(items);
    OK(tito_db_new(TEXT("memory:"), NULL, &db, &error));
    OK(tito_db_close(db, &error));
    FAILS(tito_db_open(db), TITO_CLOSED);
    tito_db_free(db);
}

/* An opening that fails leaves a handle that can be opened again. */
static void opening_that_fails(void **state)
{
    (void)state;
    char dir[TEST_DIR_SIZE], path[TEST_DIR_SIZE + 16];
    tito_db_t *db = NULL;
    test_dir_make(dir);
    snprintf(path, sizeof(path), "%s/data", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fclose(file);
    OK(tito_db_new(path, strlen(path), NULL, &db, &error));
    tito_future_t *opened = tito_db_open(db);
    assert_int_not_equal(tito_future_wait(opened, -1, NULL), TITO_OK);
    tito_future_free(opened);
    assert_int_equal(remove(path), 0);
    RUN(tito_db_open(db));
    use_a_little(db);
    tito_db_free(db);
    test_dir_remove(dir);
}

/* Two handles of a process on one directory share the engine. */
static void two_handles(void **state)
{
    (void)state;
    char dir[TEST_DIR_SIZE];
    tito_db_t *one = NULL, *two = NULL;
    test_dir_make(dir);
    OK(tito_connect(dir, strlen(dir), NULL, &one, &error));
    OK(tito_connect(dir, strlen(dir), NULL, &two, &error));
    tito_model_t *items = declare(one, model_spec);
    tito_model_t *same = declare(two, model_spec);
    RUN(build_item(items, NULL, "a", "x", 1));
    RUN(tito_model_find(same, NULL, TEXT("a"), NULL));
    tito_db_free(one);
    FAILS(tito_model_find(items, NULL, TEXT("a"), NULL), TITO_CLOSED);
    RUN(tito_model_find(same, NULL, TEXT("a"), NULL));
    tito_model_free(items);
    tito_model_free(same);
    tito_db_free(two);
    test_dir_remove(dir);
}

/* In a fresh process: how long an empty database takes to open, and what the library weighs. The
 * limits are those of a build without sanitizers. */
static void opening_is_quick_and_small(void **state)
{
    (void)state;
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char dir[TEST_DIR_SIZE];
        tito_db_t *db = NULL;
        test_dir_make(dir);
        long before_kib = resident_kib();
        int64_t before_us = tito_now_us();
        int32_t opened = tito_connect(dir, strlen(dir), NULL, &db, NULL);
        int64_t took_us = tito_now_us() - before_us;
        fprintf(stderr, "open: %lld us, %ld KiB more resident\n", (long long)took_us,
                resident_kib() - before_kib);
        tito_db_free(db);
        test_dir_remove(dir);
        _exit(opened == TITO_OK && took_us < 2000000 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_is_quick_and_small), /* first: the process has used nothing yet */
        cmocka_unit_test(opening_in_steps),
        cmocka_unit_test(opening_that_fails),
        cmocka_unit_test(two_handles),
        cmocka_unit_test(close_from_a_callback),
        cmocka_unit_test(close_twice_at_once),
        cmocka_unit_test(closing_is_told),
        cmocka_unit_test(a_forked_child_exits),
        cmocka_unit_test(closing_is_dropped),
        cmocka_unit_test(closing_from_a_callback),
        cmocka_unit_test(close_under_waiters),
        cmocka_unit_test(work_beside_waiters),
        cmocka_unit_test(close_under_work),
        cmocka_unit_test(later_attempts_end_with_the_first_ones_time),
        cmocka_unit_test(opens_and_closes_flatly),
    };
    return TEST_RUN(tests);
}

/* Publishers and workers killed with SIGKILL at random moments: what was acknowledged to a
 * publisher is handled with exactly one effect, in order, whatever died when.
 *
 *   round:  child opens the directory, publishes and handles at once ── SIGKILL after a while
 *   end:    this process opens it, handles the rest, and judges
 *
 * With the argument `counts` each child also changes the partition count of the type, over and
 * over; the last process goes on with what was under way.
 *
 * A handler writes two rows in its event's transaction: effects/{number} (INSERT, so twice is an
 * error) and keys/{key}, the last number of its key (which must rise). The child tells what it
 * published and what it gave up on by appending to files, which survive it. */
#include "queue/support.h"
#include "tikv/spaced.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define KEYS 20
#define HANDLERS 3

typedef struct child {
    qdb d;
    ti_worker *w;
    int published; /* file of numbers whose commit returned */
    int broken;    /* file of what must not be */
    int changes;   /* file with a line for each change of the count; < 0: it is not changed */
    _Atomic(uint64_t) next;
    _Atomic(bool) stop;
} child;

static void tell(int fd, const char *text)
{
    char line[256];
    int len = snprintf(line, sizeof(line), "%s\n", text);
    if (write(fd, line, (size_t)len) != len)
        abort();
}

/* Each publisher has keys of its own, so the order of its commits is the order of the key. */
static void *publish_numbers(void *context)
{
    child *c = context;
    ti_call call = ti_call_within(c->d.env, TI_NO_DEADLINE);
    test_random random = test_random_start((uint64_t)getpid());
    while (!atomic_load(&c->stop)) {
        char key[32];
        char number[32];
        snprintf(key, sizeof(key), "k%" PRIu64, test_random_below(&random, KEYS));
        snprintf(number, sizeof(number), "%" PRIu64, atomic_fetch_add(&c->next, 1));
        ti_event_spec spec = {.type = S("user"), .key = S(key), .payload = S(number)};
        if (ti_queue_publish(c->d.queues, NULL, &spec, NULL, &call, NULL) != TI_OK)
            return NULL;
        tell(c->published, number);
        if (c->changes >= 0)
            usleep(spaced_wanted() ? 5000 : 1000); /* or there would be no end of moving them */
    }
    return NULL;
}

static ti_status effect(child *c, ti_event *first, ti_event *event, ti_err *err)
{
    const ti_event_info *info = ti_event_info_of(event);
    const ti_keyspace *ks = ti_store_keyspace(c->d.store);
    ti_call call = ti_call_within(c->d.env, TI_NO_DEADLINE);
    ti_txn *txn;
    ti_slice last;
    TI_TRY(ti_event_txn(first, &txn, err));
    ti_arena *a = ti_txn_arena(txn);
    ti_slice by_key = ti_key_record(ks, a, S("keys"), info->key);
    ti_status status = ti_txn_get(txn, by_key, a, &last, &call, err);
    if (status != TI_OK && status != TI_NOT_FOUND)
        return status;
    if (status == TI_OK && strtoull(last.data, NULL, 10) >= strtoull(info->payload.data, NULL, 10))
        tell(c->broken, "out of order");
    TI_TRY(ti_txn_put(txn, by_key, info->payload, err));
    return ti_txn_insert(txn, ti_key_record(ks, a, S("effects"), info->payload), S("x"), err);
}

/* Of every event that it stands for. */
static ti_status effects(child *c, ti_event *first)
{
    for (size_t i = 0; i < ti_event_count(first); i++) {
        ti_event *event = ti_event_member(first, i);
        if (ti_event_info_of(event)->attempts > 0 &&
            ti_slice_has_prefix(ti_event_info_of(event)->last_error, S("the key")))
            tell(c->broken, "an effect happened twice");
        TI_TRY(effect(c, first, event, NULL));
    }
    return TI_OK;
}

static void *handle(void *context)
{
    child *c = context;
    test_random random = test_random_start((uint64_t)(uintptr_t)&c);
    ti_event *event;
    size_t count;
    while (ti_worker_take(c->w, &event, 1, 20000, &count, NULL) == TI_OK) {
        if (count == 0 && atomic_load(&c->stop))
            return NULL;
        if (count == 0)
            continue;
        if (effects(c, event) != TI_OK || test_random_one_in(&random, 10))
            ti_event_fail(event, S("planned"));
        else
            ti_event_ack(event);
        ti_event_free(event);
    }
    return NULL;
}

/* To another count than the one that is stored; most of the time the child before has begun to, too,
 * as on a cluster a change takes longer than a child lives. */
static uint32_t next_count(const child *c, test_random *random)
{
    static const uint32_t counts[] = {3, 4, 7, 16, 1};
    off_t told = lseek(c->changes, 0, SEEK_END);
    if (!spaced_wanted() || test_random_one_in(random, 8))
        return counts[test_random_below(random, 5)];
    return counts[told / (off_t)strlen("changed\n") % 5];
}

static void *change_counts(void *context)
{
    child *c = context;
    test_random random = test_random_start((uint64_t)getpid() + 1);
    ti_call call = ti_call_within(c->d.env, TI_NO_DEADLINE);
    while (!atomic_load(&c->stop)) {
        uint32_t count = next_count(c, &random);
        uint64_t moved;
        ti_err err;
        ti_err_clear(&err);
        if (ti_queue_repartition(c->d.queues, S("user"), count, NULL, &moved, &call, &err) != TI_OK)
            tell(c->broken, err.message);
        else
            tell(c->changes, "changed");
        usleep(5000);
    }
    return NULL;
}

static uint32_t batch; /* of every second round, and of the last; children inherit it */
static bool counts_change;

static void child_open(child *c, const char *dir, uint64_t next)
{
    char path[TEST_DIR_SIZE + 32];
    memset(c, 0, sizeof(*c));
    snprintf(path, sizeof(path), "%s/published", dir);
    c->published = open(path, O_CREAT | O_APPEND | O_WRONLY, 0600);
    snprintf(path, sizeof(path), "%s/broken", dir);
    c->broken = open(path, O_CREAT | O_APPEND | O_WRONLY, 0600);
    assert_true(c->published >= 0 && c->broken >= 0);
    snprintf(path, sizeof(path), "%s/changes", dir);
    c->changes = counts_change ? open(path, O_CREAT | O_APPEND | O_RDWR, 0600) : -1;
    atomic_store(&c->next, next);
    snprintf(path, sizeof(path), "%s/db", dir);
    qdb_open(&c->d, path, NULL);
    declare(&c->d, "user", counts_change ? 0 : 4, INT64_C(3600000000), TI_ORDERING_KEY);
    /* in this engine the lease of a process that has died counts for nothing: no hour is waited */
    ti_worker_options options = {
        .concurrency = 8,
        .leased = !spaced_wanted(),
        .lease_us = INT64_C(3600000000),
        .retry = {
            .max_retries = 1000, .base_us = 500, .factor = 1.5, .cap_us = 5000, .jitter = 0.5}};
    c->w = start_batches(&c->d, "user", &options, batch);
}

/* The life of a child that will be killed. */
static void child_run(const char *dir, uint64_t next)
{
    child c;
    pthread_t threads[HANDLERS + 2];
    child_open(&c, dir, next);
    pthread_create(&threads[HANDLERS], NULL, publish_numbers, &c);
    if (counts_change)
        pthread_create(&threads[HANDLERS + 1], NULL, change_counts, &c);
    for (int i = 0; i < HANDLERS; i++)
        pthread_create(&threads[i], NULL, handle, &c);
    for (;;)
        pause();
}

static void kill_one(const char *dir, int round, test_random *random)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        child_run(dir, (uint64_t)round * 1000000 + 1);
        _exit(1);
    }
    /* on TiKV it first waits for the locks of those before it */
    useconds_t factor = spaced_wanted() ? 8 : 1;
    usleep(factor * (useconds_t)(30000 + test_random_below(random, 150000)));
    int status;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static bool has_effect(child *c, ti_txn *txn, const char *number)
{
    ti_slice value;
    ti_arena *a = ti_txn_arena(txn);
    return ti_txn_get(txn, ti_key_record(ti_store_keyspace(c->d.store), a, S("effects"), S(number)),
                      a, &value, &c->d.call, &c->d.err) == TI_OK;
}

static uint64_t judge(child *c, const char *dir)
{
    char path[TEST_DIR_SIZE + 32];
    char line[64];
    uint64_t count = 0;
    ti_txn *txn;
    snprintf(path, sizeof(path), "%s/broken", dir);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    if (fgets(line, sizeof(line), in) != NULL)
        fail_msg("%s", line);
    fclose(in);
    snprintf(path, sizeof(path), "%s/published", dir);
    in = fopen(path, "r");
    assert_non_null(in);
    OK(&c->d, ti_txn_begin(&c->d.kv, &(ti_txn_options){.age_us_max = 600000000}, &txn, &c->d.err));
    for (; fgets(line, sizeof(line), in) != NULL; count++) {
        line[strcspn(line, "\n")] = '\0';
        if (!has_effect(c, txn, line))
            fail_msg("%s was published and has no effect", line);
    }
    ti_txn_free(txn);
    fclose(in);
    return count;
}

/* The type with 4 partitions, so that the children need not say so. In a process of its own: one
 * that has had a database open can have no children with one. */
static void make_type(const char *dir)
{
    char path[TEST_DIR_SIZE + 32];
    uint32_t partitions;
    qdb d;
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid != 0) {
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        return;
    }
    snprintf(path, sizeof(path), "%s/db", dir);
    qdb_open(&d, path, NULL);
    declare(&d, "user", 4, 0, TI_ORDERING_KEY);
    OK(&d, ti_queue_partitions(d.queues, S("user"), &partitions, &d.call, &d.err));
    qdb_close(&d);
    _exit(0);
}

/* What was under way is ended. */
static void end_change(child *c, int rounds)
{
    ti_call call = ti_call_within(c->d.env, INT64_C(120000000));
    uint32_t partitions;
    uint64_t moved;
    OK(&c->d, ti_queue_partitions(c->d.queues, S("user"), &partitions, &call, &c->d.err));
    OK(&c->d,
       ti_queue_repartition(c->d.queues, S("user"), partitions, NULL, &moved, &call, &c->d.err));
    off_t told = lseek(c->changes, 0, SEEK_END);
    print_message("%d changes while killed; %u partitions at the end, %" PRIu64
                  " rows moved then\n",
                  (int)(told / (off_t)strlen("changed\n")), partitions, moved);
    assert_true(told > 0 || rounds < 20); /* of few children each may be killed in between */
    close(c->changes);
}

static void wait_drained(child *c)
{
    for (int i = 0; i < 60000; i++) {
        if (count_of(&c->d, "user", TI_EVENT_PENDING) + count_of(&c->d, "user", TI_EVENT_PARKED) ==
            0)
            return;
        usleep(2000);
    }
}

static void run_killed(int rounds)
{
    char dir[TEST_DIR_SIZE];
    child c;
    pthread_t threads[HANDLERS];
    test_random random = test_random_start(1);
    test_dir_make(dir);
    if (spaced_wanted())
        (void)spaced_cluster(); /* the children's, too */
    if (counts_change)
        make_type(dir);
    for (int round = 0; round < rounds; round++) {
        batch = round % 2 == 0 ? 0 : 8;
        kill_one(dir, round, &random);
    }
    batch = 8;
    child_open(&c, dir, 0);
    for (int i = 0; i < HANDLERS; i++)
        pthread_create(&threads[i], NULL, handle, &c);
    if (counts_change)
        end_change(&c, rounds);
    wait_drained(&c);
    atomic_store(&c.stop, true);
    for (int i = 0; i < HANDLERS; i++)
        pthread_join(threads[i], NULL);
    finish_worker(c.w);
    assert_int_equal(count_of(&c.d, "user", TI_EVENT_PENDING), 0);
    assert_int_equal(count_of(&c.d, "user", TI_EVENT_PARKED), 0);
    assert_int_equal(count_of(&c.d, "user", TI_EVENT_FAILED), 0);
    uint64_t published = judge(&c, dir);
    print_message("%d kills, %" PRIu64 " events published, %" PRIu64 " completed\n", rounds,
                  published, count_of(&c.d, "user", TI_EVENT_COMPLETED));
    assert_true(published > 0 || rounds < 5); /* of few children each may be killed as it begins */
    assert_true(count_of(&c.d, "user", TI_EVENT_COMPLETED) >= published);
    close(c.published);
    close(c.broken);
    qdb_close(&c.d);
    test_dir_remove(dir);
}

static void killed_at_random(void **state)
{
    (void)state;
    counts_change = false;
    run_killed((int)test_scaled(spaced_wanted() ? 8 : 20));
}

static void killed_while_counts_change(void **state)
{
    (void)state;
    counts_change = true;
    qdb_meta_lease_us = 700000; /* on a cluster each change waits for it twice */
    run_killed((int)test_scaled(spaced_wanted() ? 30 : 100));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed_at_random)};
    const struct CMUnitTest counts[] = {cmocka_unit_test(killed_while_counts_change)};
    if (argc > 1 && strcmp(argv[1], "counts") == 0)
        return TEST_RUN(counts);
    return TEST_RUN(tests);
}

/* Ticks of a schedule while those who publish them are killed with SIGKILL: none lost, none twice.
 *
 *   child 0        a schedule that is TICKS minutes late, every tick to be caught up
 *   children 1 …   workers that publish and handle ── SIGKILL after a while
 *   at the end     this process does the rest and counts
 *
 * The worker's keeper publishes up to TI_SCHEDULE_TICKS_MAX in one transaction, which moves the
 * schedule on as well. */
#include "queue/support.h"
#include "tikv/spaced.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>

#include "queue/schedule.h"
#include "queue/value_int.h"

#define MINUTE INT64_C(60000000)
#define TICKS 450 /* more than four transactions of them */
#define ROUNDS 5

static void open_db(qdb *d, const char *dir)
{
    char path[TEST_DIR_SIZE + 32];
    snprintf(path, sizeof(path), "%s/db", dir);
    qdb_open(d, path, NULL);
    declare(d, "user", 4, INT64_C(86400000000), TI_ORDERING_KEY);
}

/* Puts the schedule's row as it would be, had nobody worked for TICKS minutes. */
static void put_late_schedule(qdb *d)
{
    ti_txn *txn;
    ti_buf value;
    ti_schedule s = {.name = S("tick"),
                     .type = S("user"),
                     .key = S("a"),
                     .cron = S("* * * * *"),
                     .payload = S("1"),
                     .catch_up = TI_CATCH_UP_ALL};
    OK(d, ti_schedule_set(d->queues, &s, &d->call, &d->err));
    s.next_us = (db_now_us(d) / MINUTE - TICKS) * MINUTE;
    OK(d, ti_txn_begin(&d->kv, NULL, &txn, &d->err));
    ti_slice key = ti_key_queue_schedule(ti_store_keyspace(d->store), ti_txn_arena(txn), S("tick"));
    ti_buf_init(&value, 4096);
    OK(d, ti_schedule_seal(&value, key, &s, &d->err));
    OK(d, ti_txn_put(txn, key, ti_buf_slice(&value), &d->err));
    OK(d, ti_txn_commit(txn, NULL, &d->call, &d->err));
    ti_buf_free(&value);
    ti_txn_free(txn);
}

static int64_t next_tick(qdb *d)
{
    ti_schedule *list;
    size_t count;
    OK(d, ti_schedule_list(d->queues, &d->a, &list, &count, &d->call, &d->err));
    assert_int_equal(count, 1);
    return list[0].next_us;
}

static void tell(const char *dir, int64_t number)
{
    char path[TEST_DIR_SIZE + 32];
    snprintf(path, sizeof(path), "%s/first", dir);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fprintf(out, "%" PRId64 "\n", number);
    fclose(out);
}

static int64_t told(const char *dir)
{
    char path[TEST_DIR_SIZE + 32];
    int64_t number = 0;
    snprintf(path, sizeof(path), "%s/first", dir);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    assert_int_equal(fscanf(in, "%" SCNd64, &number), 1);
    fclose(in);
    return number;
}

/* Handles for ever, or until the schedule is no longer late and nothing is left. */
static void handle(qdb *d, ti_worker *w, bool to_the_end)
{
    ti_event *event;
    size_t count;
    for (int i = 0; i < 60000; i++) {
        OK(d, ti_worker_take(w, &event, 1, 10000, &count, &d->err));
        if (count > 0)
            ack(event);
        else if (to_the_end && next_tick(d) > db_now_us(d) &&
                 count_of(d, "user", TI_EVENT_PENDING) == 0)
            return;
    }
    fail_msg("the ticks did not come to an end");
}

static ti_worker *start(qdb *d)
{
    /* on a shared engine a dead worker's lease would be waited for: a fixed range is as good */
    return start_worker(d, "user", &(ti_worker_options){.concurrency = 4});
}

static void child_run(const char *dir, int round)
{
    qdb d;
    open_db(&d, dir);
    if (round == 0) {
        put_late_schedule(&d);
        tell(dir, next_tick(&d));
        qdb_close(&d);
        _exit(0);
    }
    handle(&d, start(&d), false);
    _exit(1);
}

static void run_child(const char *dir, int round, test_random *random)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child_run(dir, round);
    if (round > 0) {
        usleep(100000 + (useconds_t)test_random_below(random, 1500000));
        assert_int_equal(kill(pid, SIGKILL), 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(round > 0 ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void killed_amid_ticks(void **state)
{
    (void)state;
    qdb d;
    char dir[TEST_DIR_SIZE];
    test_random random = test_random_start(1);
    test_dir_make(dir);
    if (spaced_wanted())
        (void)spaced_cluster(); /* the children's, too */
    for (int round = 0; round <= ROUNDS; round++)
        run_child(dir, round, &random);
    open_db(&d, dir);
    int64_t first_us = told(dir);
    int64_t reached_us = next_tick(&d);
    ti_worker *w = start(&d);
    handle(&d, w, true);
    finish_worker(w);
    uint64_t ticks = (uint64_t)((next_tick(&d) - first_us) / MINUTE);
    print_message("%" PRIu64 " ticks, %" PRId64 " of them by workers that were killed\n", ticks,
                  (reached_us - first_us) / MINUTE);
    assert_true(ticks >= TICKS);
    assert_int_equal(
        count_of(&d, "user", TI_EVENT_COMPLETED) + count_of(&d, "user", TI_EVENT_PENDING), ticks);
    assert_int_equal(count_of(&d, "user", TI_EVENT_FAILED), 0);
    qdb_close(&d);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed_amid_ticks)};
    return TEST_RUN(tests);
}

/* Half a million events (on a cluster a hundred thousand) through processes that are killed,
 * stopped beyond their lease and restarted at random, with handlers that fail, come too late and
 * kill their process; on a cluster also through processes whose clocks are an hour off and run ten
 * times as fast, and through stores that restart; and the end of a worker that has far more to do than it can. What came of it is
 * judged by volume_judge.c. See volume.h.
 *
 *   embedded:  one process publishes and works; the next one opens its directory
 *   cluster:   one process publishes, several work and share the partitions by leases
 *
 *      the parent: every so often, of a process drawn at random
 *          SIGKILL ── wait ── KILLED ── another process
 *          SIGSTOP ── STOPPED ── a while ── GOES_ON ── SIGCONT
 *          SIGTERM ── wait: it drains, and says so ── another process */
#include "queue/volume.h"

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "tikv/spaced.h"

#define SLOTS_MAX 16
#define PATIENCE_US INT64_C(500000000)
#define SLACK_US INT64_C(40000000) /* what a slow machine may add to a timeout */
#define LEASE_US INT64_C(2000000)

extern char **environ;

typedef struct slot {
    const char *role;
    const char *clock; /* what libfaketime is told; NULL = the machine's clock */
    pid_t pid;         /* 0: none runs */
    uint32_t process;
    bool over; /* it has done all that it had to */
    bool still;
    int64_t goes_on_us;
} slot;

typedef struct volume {
    char dir[TEST_DIR_SIZE];
    volume_plan plan;
    int log;
    slot slots[SLOTS_MAX];
    uint32_t slot_count;
    uint32_t processes; /* started so far */
    uint32_t kills;
    uint32_t stops;
    uint32_t terms;
    uint32_t deaths; /* processes that handlers killed */
    bool only_stops; /* nothing else happens to processes */
    bool stores;     /* a store of the mock cluster goes and comes, too */
    uint64_t gone;   /* that store; 0: all are there */
    int64_t back_us; /* when it comes back */
    uint32_t restarts;
    int64_t still_us; /* how long they stand still at least */
    test_random random;
} volume;

/* ---- processes ---- */

/* libfaketime, wherever this machine has it. */
static void find_faketime(char *out, size_t size)
{
    glob_t found;
    if (glob("/usr/lib/*/faketime/libfaketimeMT.so.1", 0, NULL, &found) != 0)
        fail_msg("libfaketime is missing: install the package faketime");
    snprintf(out, size, "LD_PRELOAD=%s", found.gl_pathv[0]);
    globfree(&found);
}

/* The environment of a process with another clock; what malloc gave is not given back. */
static char **environment_of(const slot *s)
{
    static char preload[256];
    static char clocks[SLOTS_MAX][64];
    size_t n = 0;
    if (s->clock == NULL)
        return environ;
    find_faketime(preload, sizeof(preload));
    while (environ[n] != NULL)
        n++;
    char **all = calloc(n + 3, sizeof(*all));
    char *clock = clocks[s->process % SLOTS_MAX];
    assert_non_null(all);
    memcpy(all, environ, n * sizeof(*all));
    snprintf(clock, sizeof(clocks[0]), "FAKETIME=%s", s->clock);
    all[n] = preload;
    all[n + 1] = clock;
    return all;
}

static void start(volume *v, slot *s)
{
    char number[16];
    s->process = ++v->processes;
    s->still = false;
    snprintf(number, sizeof(number), "%u", s->process);
    const char *argv[] = {"/proc/self/exe", "--process", v->dir, number, s->role, NULL};
    char **env = environment_of(s);
    int failed = posix_spawn(&s->pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, env);
    assert_int_equal(failed, 0);
    if (env != environ)
        free(env);
}

static void say(const volume *v, const slot *s, volume_kind kind)
{
    volume_log_add(v->log, (volume_record){.kind = kind, .process = s->process});
}

/* Waits for a process's end, at most so long; what waitpid says. */
static int await(const slot *s, int64_t timeout_us)
{
    int status = 0;
    for (int64_t end_us = volume_real_us() + timeout_us;;) {
        pid_t pid = waitpid(s->pid, &status, WNOHANG);
        assert_true(pid == 0 || pid == s->pid);
        if (pid == s->pid)
            return status;
        if (volume_real_us() > end_us) {
            kill(s->pid, SIGKILL);
            waitpid(s->pid, &status, 0);
            fail_msg("process %u (%s) did not end within %lld ms", s->process, s->role,
                     (long long)timeout_us / 1000);
        }
        usleep(2000);
    }
}

/* Takes note of a process that has ended. */
static void bury(volume *v, slot *s, int status)
{
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (killed || (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM)) { /* before it listened */
        say(v, s, VOLUME_KILLED);
    } else if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        s->over = true;
    } else if (!WIFEXITED(status) || WEXITSTATUS(status) != 3) {
        fail_msg("process %u (%s) ended with %x", s->process, s->role, (unsigned)status);
    }
    s->pid = 0;
}

static void go_on(volume *v, slot *s)
{
    say(v, s, VOLUME_GOES_ON);
    assert_int_equal(kill(s->pid, SIGCONT), 0);
    s->still = false;
}

static void stand_still(volume *v, slot *s, int64_t us)
{
    int status;
    assert_int_equal(kill(s->pid, SIGSTOP), 0);
    assert_int_equal(waitpid(s->pid, &status, WUNTRACED), s->pid);
    if (!WIFSTOPPED(status)) { /* it had ended before */
        bury(v, s, status);
        return;
    }
    say(v, s, VOLUME_STOPPED);
    s->still = true;
    s->goes_on_us = volume_real_us() + us;
    v->stops++;
}

static void kill_now(volume *v, slot *s)
{
    if (s->pid == 0)
        return;
    kill(s->pid, SIGKILL);
    bury(v, s, await(s, SLACK_US));
    v->kills++;
}

static void bring_store_back(volume *v)
{
    if (v->gone == 0)
        return;
    cluster_do(spaced_cluster(), "/store/start?id=%llu", (unsigned long long)v->gone);
    v->gone = 0;
    v->restarts++;
}

static void ask_to_end(volume *v, slot *s)
{
    bring_store_back(v); /* nobody else does while this waits */
    assert_int_equal(kill(s->pid, SIGTERM), 0);
    bury(v, s, await(s, v->plan.drain_us + SLACK_US));
    v->terms++;
}

/* ---- a run ---- */

static void open_run(volume *v, const volume_plan *plan)
{
    memset(v, 0, sizeof(*v));
    v->plan = *plan;
    v->random = test_random_start(5);
    v->still_us = plan->lease_us > 0 ? plan->lease_us + 500000 : 100000;
    v->plan.seed = test_random_u64(&v->random);
    v->plan.keys -= v->plan.keys % v->plan.publishers;
    test_dir_make(v->dir);
    if (spaced_wanted()) {
        const cluster *c = spaced_cluster();
        memcpy(v->plan.pd, c->pd, sizeof(v->plan.pd));
        v->plan.pd_count = c->pd_count;
        snprintf(v->plan.space, sizeof(v->plan.space), SPACED_ROOT "%016" PRIx64,
                 test_random_u64(&v->random) ^ (uint64_t)volume_real_us());
    }
    volume_plan_write(v->dir, &v->plan);
    v->log = volume_log_open(v->dir);
}

static void add_slot(volume *v, const char *role, const char *clock)
{
    assert_true(v->slot_count < SLOTS_MAX);
    v->slots[v->slot_count++] = (slot){.role = role, .clock = clock};
}

/* Restarts who has died, lets go on who has stood still for long enough. */
static void tend(volume *v)
{
    for (uint32_t i = 0; i < v->slot_count; i++) {
        slot *s = &v->slots[i];
        int status;
        if (s->over)
            continue;
        if (s->pid != 0 && s->still && volume_real_us() >= s->goes_on_us)
            go_on(v, s);
        if (s->pid != 0 && waitpid(s->pid, &status, WNOHANG) == s->pid) {
            bury(v, s, status);
            v->deaths += !s->over;
        }
        if (s->pid == 0 && !s->over)
            start(v, s);
    }
}

/* A store drawn at random goes, and comes back later where it was. */
static void take_store_away(volume *v)
{
    uint64_t ids[8];
    size_t n = cluster_stores(spaced_cluster(), ids, 8);
    v->gone = ids[test_random_below(&v->random, n)];
    v->back_us = volume_real_us() + 300000 + (int64_t)test_random_below(&v->random, 1500000);
    cluster_do(spaced_cluster(), "/store/stop?id=%llu", (unsigned long long)v->gone);
}

/* Something happens to a process drawn at random. */
static void trouble(volume *v)
{
    if (v->stores && v->gone == 0 && test_random_one_in(&v->random, 2)) {
        take_store_away(v);
        return;
    }
    slot *s = &v->slots[test_random_below(&v->random, v->slot_count)];
    if (s->pid == 0 || s->over || s->still)
        return;
    uint64_t dice = v->only_stops ? 5 : test_random_below(&v->random, 10);
    if (dice < 5)
        kill_now(v, s);
    else if (dice < 8)
        stand_still(v, s, v->still_us + (int64_t)test_random_below(&v->random, 700000));
    else
        ask_to_end(v, s);
}

static bool are_over(const volume *v)
{
    for (uint32_t i = 0; i < v->slot_count; i++) {
        if (!v->slots[i].over && strchr(v->slots[i].role, 'p') != NULL)
            return false;
    }
    return true;
}

/* Ends those that would work for ever. */
static void end_all(volume *v)
{
    for (uint32_t i = 0; i < v->slot_count; i++) {
        slot *s = &v->slots[i];
        if (s->pid != 0 && s->still)
            go_on(v, s);
    }
    for (uint32_t i = 0; i < v->slot_count; i++) {
        if (v->slots[i].pid != 0)
            ask_to_end(v, &v->slots[i]);
    }
}

/* Lets the processes run, with trouble every so often while there is to be some, until all is
 * published and nothing is stored. */
static void run_until_empty(volume *v, qdb *d, int64_t every_us, uint32_t troubles)
{
    int64_t end_us = volume_real_us() + PATIENCE_US;
    int64_t next_us = volume_real_us() + every_us;
    for (uint32_t polls = 1;; polls++) {
        tend(v);
        if (volume_real_us() >= v->back_us)
            bring_store_back(v);
        if (are_over(v) &&
            (d == NULL || (v->gone == 0 && polls % 20 == 0 && volume_db_is_empty(d))))
            break;
        if (volume_real_us() > end_us)
            fail_msg("the queue did not become empty");
        if (troubles > 0 && volume_real_us() >= next_us) {
            trouble(v);
            troubles--;
            next_us =
                volume_real_us() + (int64_t)test_random_below(&v->random, (uint64_t)every_us * 2);
        }
        usleep(10000);
    }
    end_all(v);
    bring_store_back(v);
}

/* Fails unless all was well. d: the database, or NULL when it is to be opened. */
static void judge(volume *v, qdb *d, bool drained, volume_verdict *out)
{
    qdb own;
    size_t count;
    volume_left left;
    qdb *at = d != NULL ? d : &own;
    volume_record *log = volume_log_read(v->dir, &count);
    if (d == NULL)
        volume_db_open(&own, v->dir, &v->plan);
    volume_left_read(at, &v->plan, &left);
    volume_judge(&v->plan, log, count, &left, drained, out);
    print_message("%u kills, %u stops, %u drains, %u deaths by handlers; %" PRIu64
                  " events published, %" PRIu64 " done, %" PRIu64 " given up; %" PRIu64
                  " runs, %" PRIu64 " without their lease\n",
                  v->kills, v->stops, v->terms, v->deaths, out->certain, out->effective,
                  out->given_up, out->runs, out->fenced);
    if (out->what != NULL)
        fail_msg("%s: number %" PRIu64 "; see %s", out->what, out->number, v->dir);
    volume_left_free(&left);
    free(log);
    if (d == NULL)
        qdb_close(&own);
}

/* Removes what the run has left; d is closed. */
static void close_run(volume *v, qdb *d)
{
    if (d != NULL) {
        char prefix[sizeof(v->plan.space) + 1];
        snprintf(prefix, sizeof(prefix), "%s:", v->plan.space);
        if (cluster_is_own())
            spaced_clear(d->engine, S(prefix));
        qdb_close(d);
    }
    close(v->log);
    test_dir_remove(v->dir);
}

static volume_plan plan_of(uint64_t events, uint64_t lost_at_most)
{
    uint64_t numbers = test_scaled(events) + lost_at_most;
    return (volume_plan){.numbers = numbers,
                         .keys = (uint32_t)(numbers / 25 + 8),
                         .publishers = 2,
                         .partitions = 16,
                         .handlers = 8,
                         .batch = 50,
                         .bad_in = 3000,
                         .due_in = 16,
                         .fail_in = 100,
                         .timeout_us = 2000000,
                         .drain_us = 20000000};
}

/* ---- tests ---- */

static volume the_run; /* large; one at a time */

/* One process after the other in one directory. */
static void embedded_volume(volume *v, uint64_t events)
{
    volume_plan plan = plan_of(events, 8000);
    volume_verdict verdict;
    plan.late_in = 20000;
    plan.crash_in = 40000;
    open_run(v, &plan);
    add_slot(v, "pw", NULL);
    run_until_empty(v, NULL, 500000, 6 + (uint32_t)test_scaled(50));
    judge(v, NULL, true, &verdict);
    assert_true(verdict.certain >= test_scaled(events));
    close_run(v, NULL);
}

/* Several processes that share a cluster. */
static void shared_volume(volume *v, uint64_t events)
{
    qdb d;
    volume_plan plan = plan_of(events, 8000);
    volume_verdict verdict;
    plan.handlers = 4;
    plan.late_in = 10000;
    plan.crash_in = 20000;
    plan.lease_us = LEASE_US;
    open_run(v, &plan);
    add_slot(v, "p", NULL);
    for (int i = 0; i < 4; i++)
        add_slot(v, "w", NULL);
    volume_db_open(&d, v->dir, &v->plan);
    run_until_empty(v, &d, 500000, 6 + (uint32_t)test_scaled(60));
    judge(v, &d, true, &verdict);
    assert_true(verdict.certain >= test_scaled(events));
    close_run(v, &d);
}

static void killed_stopped_restarted(void **state)
{
    (void)state;
    if (spaced_wanted())
        shared_volume(&the_run, 100000);
    else
        embedded_volume(&the_run, 500000);
}

/* Workers whose clocks are wrong, and run fast, on one cluster with one that has the right time. */
static void with_other_clocks(void **state)
{
    (void)state;
    static const char *const clocks[] = {NULL, "+3600", "-3600", "+0 x10"};
    volume *v = &the_run;
    qdb d;
    volume_plan plan = plan_of(20000, 4000);
    volume_verdict verdict;
    plan.handlers = 4;
    plan.timeout_us = 60000000; /* six seconds for the fastest */
    plan.drain_us = 60000000;
    plan.lease_us = LEASE_US;
    open_run(v, &plan);
    add_slot(v, "p", "-3600");
    for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++)
        add_slot(v, "w", clocks[i]);
    volume_db_open(&d, v->dir, &v->plan);
    run_until_empty(v, &d, 500000, 6 + (uint32_t)test_scaled(20));
    judge(v, &d, true, &verdict);
    assert_true(verdict.certain >= test_scaled(20000));
    close_run(v, &d);
}

/* Stores of the cluster stop and start again while processes are killed, stopped and restarted. */
static void while_stores_restart(void **state)
{
    (void)state;
    volume *v = &the_run;
    qdb d;
    volume_plan plan = plan_of(12000, 8000);
    volume_verdict verdict;
    plan.handlers = 4;
    plan.timeout_us = 60000000;
    plan.drain_us = 60000000;
    plan.lease_us = LEASE_US;
    open_run(v, &plan);
    v->stores = true;
    add_slot(v, "p", NULL);
    for (int i = 0; i < 3; i++)
        add_slot(v, "w", NULL);
    volume_db_open(&d, v->dir, &v->plan);
    run_until_empty(v, &d, 400000, 10 + (uint32_t)test_scaled(20));
    judge(v, &d, true, &verdict);
    print_message("%u restarts of stores\n", v->restarts);
    assert_true(verdict.certain >= test_scaled(12000));
    assert_true(v->restarts > 0);
    close_run(v, &d);
}

/* Half as much again comes as the handlers can do, for as long as it comes; then they catch up. */
static void more_comes_than_is_done(void **state)
{
    (void)state;
    volume *v = &the_run;
    volume_plan plan = plan_of(20000, 4000);
    volume_verdict verdict;
    plan.handle_us = 4000; /* half of it on average: eight handlers do 4,000 a second */
    plan.publish_us = 1000000 / (6000 / (plan.publishers * plan.batch));
    open_run(v, &plan);
    add_slot(v, "pw", NULL);
    run_until_empty(v, NULL, 1000000, 2 + (uint32_t)test_scaled(4));
    judge(v, NULL, true, &verdict);
    assert_true(verdict.certain >= test_scaled(20000));
    close_run(v, NULL);
}

/* The embedded engine has one process, whose worker has a lease or a fixed range: it stands still
 * for longer than a lease, and goes on. Nobody else can have had its partitions meanwhile; what was
 * in hand has its effect once, in this run (a fixed range) or in the next one. */
static void one_stands_still(int64_t lease_us)
{
    volume *v = &the_run;
    volume_plan plan = plan_of(20000, 4000);
    volume_verdict verdict;
    plan.handle_us = 5000;
    plan.timeout_us = 60000000;
    plan.lease_us = lease_us;
    open_run(v, &plan);
    v->only_stops = true;
    v->still_us = LEASE_US + 500000;
    add_slot(v, "pw", NULL);
    /* most of it finds the process standing still */
    run_until_empty(v, NULL, 300000, 10 + (uint32_t)test_scaled(40));
    assert_true(v->stops > 0);
    judge(v, NULL, true, &verdict);
    assert_int_equal(verdict.certain, verdict.effective + verdict.given_up);
    close_run(v, NULL);
}

static void stands_still_beyond_its_lease(void **state)
{
    (void)state;
    one_stands_still(LEASE_US);
}

static void stands_still_with_a_range(void **state)
{
    (void)state;
    one_stands_still(0);
}

/* ---- the end of a worker ---- */

/* Until the process that was started last has begun so many runs. */
static void wait_for_runs(const volume *v, size_t runs)
{
    for (int64_t end_us = volume_real_us() + PATIENCE_US;;) {
        size_t count;
        size_t begun = 0;
        volume_record *log = volume_log_read(v->dir, &count);
        for (size_t i = 0; i < count; i++)
            begun += log[i].kind == VOLUME_START && log[i].process == v->processes;
        free(log);
        if (begun >= runs)
            return;
        if (volume_real_us() > end_us)
            fail_msg("process %u does not work", v->processes);
        usleep(100000);
    }
}

/* Fifty times as much comes as the handlers can do, ten times at least: SIGTERM ends the process
 * within its timeout. */
static void ends_under_pressure(void **state)
{
    (void)state;
    volume *v = &the_run;
    volume_plan plan = plan_of(1000000, 1000000); /* more than there is time for */
    volume_verdict verdict;
    plan.keys = 1000;
    plan.bad_in = 0;
    plan.handlers = 4;
    plan.handle_us = 200000; /* forty each second */
    plan.batch = 40;
    plan.publish_us = 20000; /* two thousand, where the machine can */
    plan.timeout_us = 60000000;
    plan.drain_us = 5000000;
    plan.lease_us = spaced_wanted() ? LEASE_US : 0;
    open_run(v, &plan);
    add_slot(v, "pw", NULL);
    slot *s = &v->slots[0];
    for (uint64_t round = 0; round < 2 + test_scaled(6); round++) {
        start(v, s);
        wait_for_runs(v, 40);
        int64_t asked_us = volume_real_us();
        ask_to_end(v, s);
        assert_false(s->over);
        print_message("ended after %lld ms\n", (long long)(volume_real_us() - asked_us) / 1000);
    }
    judge(v, NULL, false, &verdict);
    assert_true(verdict.certain > verdict.effective * 9);
    close_run(v, NULL);
}

/* Handlers that do not come back: the process ends when the time is up, and what it had in hand is
 * handled by the next one. */
static void ends_without_its_handlers(void **state)
{
    (void)state;
    volume *v = &the_run;
    volume_plan plan = plan_of(400, 100);
    volume_verdict verdict;
    plan.late_in = 1;
    plan.timeout_us = 40000000; /* each handler takes a minute */
    plan.drain_us = 1000000;
    plan.lease_us = spaced_wanted() ? LEASE_US : 0;
    open_run(v, &plan);
    add_slot(v, "pw", NULL);
    slot *s = &v->slots[0];
    start(v, s);
    wait_for_runs(v, 1);
    assert_int_equal(kill(s->pid, SIGTERM), 0);
    int status = await(s, plan.drain_us + SLACK_US / 2);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 4);
    say(v, s, VOLUME_KILLED);
    s->pid = 0;
    v->plan.late_in = 0;
    volume_plan_write(v->dir, &v->plan);
    run_until_empty(v, NULL, 1000000, 0);
    judge(v, NULL, true, &verdict);
    assert_true(verdict.runs > verdict.certain); /* some began twice */
    close_run(v, NULL);
}

/* After a failed test: no process of it is left. */
static int leave_none(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < the_run.slot_count; i++) {
        if (the_run.slots[i].pid == 0)
            continue;
        kill(the_run.slots[i].pid, SIGKILL);
        waitpid(the_run.slots[i].pid, NULL, 0);
        the_run.slots[i].pid = 0;
    }
    return 0;
}

#define ALONE(test) cmocka_unit_test_teardown(test, leave_none)

int main(int argc, char **argv)
{
    const struct CMUnitTest volumes[] = {ALONE(killed_stopped_restarted)};
    const struct CMUnitTest clocks[] = {ALONE(with_other_clocks)};
    const struct CMUnitTest stops[] = {ALONE(stands_still_beyond_its_lease),
                                       ALONE(stands_still_with_a_range)};
    const struct CMUnitTest ends[] = {ALONE(ends_under_pressure), ALONE(ends_without_its_handlers)};
    const struct CMUnitTest stores[] = {ALONE(while_stores_restart)};
    const struct CMUnitTest overload[] = {ALONE(more_comes_than_is_done)};
    if (argc == 5 && strcmp(argv[1], "--process") == 0)
        return volume_process(argv[2], (uint32_t)strtoul(argv[3], NULL, 10), argv[4]);
    if (argc == 2 && strcmp(argv[1], "clocks") == 0)
        return TEST_RUN(clocks);
    if (argc == 2 && strcmp(argv[1], "stops") == 0)
        return TEST_RUN(stops);
    if (argc == 2 && strcmp(argv[1], "ends") == 0)
        return TEST_RUN(ends);
    if (argc == 2 && strcmp(argv[1], "stores") == 0)
        return TEST_RUN(stores);
    if (argc == 2 && strcmp(argv[1], "overload") == 0)
        return TEST_RUN(overload);
    return TEST_RUN(volumes);
}

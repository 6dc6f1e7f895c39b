/* A run. See run.h. */
#include "histories/run.h"

#include "base/assert.h"
#include "histories/nemesis.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define PROCESSES 4
#define THREADS 4
#define KILLS 20      /* at scale 1 */
#define RUN_S 600     /* after that the run has failed */
#define END_S 120     /* clients end within that when told to */
#define PAUSE_MS 4500 /* longer than locks live */

_Static_assert(PROCESSES *THREADS < HIST_SEATS, "each client has a seat, and the single one");

extern char **environ;

typedef struct run {
    hist_run_options options;
    cluster cluster;
    hist_shared *shared; /* mapped */
    char dir[TEST_DIR_SIZE];
    nemesis nemesis;
    test_random random;
    pid_t pids[PROCESSES];
    uint32_t clients; /* numbers given */
    uint32_t logs;
    uint64_t kills;
    uint64_t pauses;
    pid_t paused; /* 0: none */
    int64_t resume_ns;
    int64_t began_ns;
} run;

static int64_t now_ns(void)
{
    return ti_env_mono_ns(ti_env_real());
}

/* ---- In a client process ---- */

/* An engine; the process ends when there can be none, since it has no test to fail. */
static ti_engine *open_engine(const run *r)
{
    ti_engine *e = NULL;
    ti_err err;
    ti_err_clear(&err);
    ti_status status = cluster_try_open(&r->cluster, NULL, 60000000, &e, &err);
    if (status != TI_OK)
        fprintf(stderr, "a client can not connect: %s\n", err.message);
    ti_require(status == TI_OK);
    return e;
}

static void add_numbers(const run *r, ti_engine *e)
{
    atomic_fetch_add(&r->shared->one_pc, engine_number(e, "commits_1pc"));
    atomic_fetch_add(&r->shared->async, engine_number(e, "commits_async"));
    atomic_fetch_add(&r->shared->two_phase, engine_number(e, "commits_2pc"));
}

static void *run_client(void *context)
{
    hist_client *c = context;
    while (atomic_load(&c->shared->stop) == 0)
        c->load->step(c);
    return NULL;
}

/* Clients until told to stop. own: each has an engine of its own. */
static void run_clients(const run *r, uint32_t first, uint32_t seat, bool own, int log)
{
    hist_client clients[THREADS];
    ti_engine *e = own ? NULL : open_engine(r);
    for (uint32_t i = 0; i < THREADS; i++) {
        ti_engine *its = own ? open_engine(r) : e;
        if (!own)
            e->vt->ref(e);
        hist_client_open(&clients[i], its, r->options.load, r->shared, first + i, seat + i, log);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        ti_status status =
            ti_thread_start(&clients[i].thread, "client", run_client, &clients[i], &clients[i].err);
        ti_require(status == TI_OK);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        ti_thread_join(&clients[i].thread);
    for (uint32_t i = 0; i < THREADS; i++) {
        if (own || i == 0)
            add_numbers(r, clients[i].kv.engine);
        hist_client_close(&clients[i]);
    }
    if (!own)
        e->vt->unref(e);
}

/* One client for one deed. */
static void run_one(const run *r, void (*deed)(hist_client *c), int log)
{
    hist_client c;
    hist_client_open(&c, open_engine(r), r->options.load, r->shared, 0, HIST_SEATS - 1, log);
    c.patient = true;
    deed(&c);
    hist_client_close(&c);
}

/* On a cluster of the user's nothing is left behind. */
static void remove_all(hist_client *c)
{
    ti_engine *e = c->kv.engine;
    ti_range all = {.from = ti_slice_of(c->shared->prefix), .to = c->kv.prefix_end};
    ti_call call = ti_call_within(ti_env_real(), 60000000);
    ti_status status = e->vt->destroy_range(e, all, &call, &c->err);
    ti_require(status == TI_OK);
}

/* ---- Processes ---- */

static int open_log(run *r)
{
    char path[TEST_DIR_SIZE + 32];
    snprintf(path, sizeof(path), "%s/%03u.log", r->dir, (unsigned)r->logs++);
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(log >= 0);
    return log;
}

/* Forks; in the child answers 0 and sees to its end with this process. */
static pid_t fork_off(void)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
    }
    return pid;
}

static void start_process(run *r, size_t i)
{
    int log = open_log(r);
    uint32_t first = r->clients + 1;
    r->clients += THREADS;
    r->pids[i] = fork_off();
    if (r->pids[i] == 0) {
        run_clients(r, first, (uint32_t)(i * THREADS), i % 2 == 1, log);
        _exit(0);
    }
    close(log);
}

/* Waits for a process; answers its status. -1: it did not end in time, and was killed. */
static int wait_for(pid_t pid, int seconds)
{
    int status = 0;
    for (int64_t until = now_ns() + seconds * INT64_C(1000000000); now_ns() < until;) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return status;
        usleep(5000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

static void deed_in_process(run *r, void (*deed)(hist_client *c))
{
    int log = open_log(r);
    pid_t pid = fork_off();
    if (pid == 0) {
        run_one(r, deed, log);
        _exit(0);
    }
    close(log);
    assert_int_equal(wait_for(pid, END_S), 0);
}

static void resume(run *r)
{
    if (r->paused != 0)
        kill(r->paused, SIGCONT);
    r->paused = 0;
}

static void pause_one(run *r)
{
    if (r->paused != 0)
        return;
    r->paused = r->pids[test_random_below(&r->random, PROCESSES)];
    r->resume_ns = now_ns() + (int64_t)test_random_below(&r->random, PAUSE_MS) * 1000000;
    assert_int_equal(kill(r->paused, SIGSTOP), 0);
    r->pauses++;
}

static void kill_one(run *r)
{
    int status = 0;
    size_t i = (size_t)test_random_below(&r->random, PROCESSES);
    if (r->pids[i] == r->paused)
        r->paused = 0;
    assert_int_equal(kill(r->pids[i], SIGKILL), 0);
    assert_int_equal(waitpid(r->pids[i], &status, 0), r->pids[i]);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("a client process ended by itself: status %d", status);
    r->kills++;
    start_process(r, i);
}

/* ---- The whole ---- */

static void begin(run *r, const hist_run_options *options)
{
    uint64_t random = 0;
    memset(r, 0, sizeof(*r));
    const char *commit = getenv("TITO_TEST_COMMIT");
    r->options = *options;
    r->options.two_phase |= commit != NULL && strcmp(commit, "2pc") == 0;
    r->random = test_random_start(7);
    if (cluster_is_own())
        cluster_start(&r->cluster);
    else
        cluster_start_mock(
            &r->cluster, &(cluster_options){.pds = NEMESIS_PDS, .two_phase = r->options.two_phase});
    r->shared =
        mmap(NULL, sizeof(*r->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(r->shared != MAP_FAILED);
    r->shared->seed = test_random_u64(&r->random);
    r->shared->padded = r->options.two_phase && cluster_is_own();
    ti_env_random(ti_env_real(), &random, sizeof(random));
    snprintf(r->shared->prefix, sizeof(r->shared->prefix),
             "histories-%016llx:", (unsigned long long)random);
    test_dir_make(r->dir);
    r->began_ns = now_ns();
    deed_in_process(r, options->load->set_up);
    if (!cluster_is_own())
        nemesis_begin(&r->nemesis, &r->cluster, r->shared, options->load);
    for (size_t i = 0; i < PROCESSES; i++)
        start_process(r, i);
}

/* Kills at even steps of progress, so that small runs have them too. */
static bool kill_is_due(const run *r, uint64_t done)
{
    uint64_t kills = 2 + test_scaled(KILLS - 2);
    return done * (kills + 1) > (r->kills + 1) * r->options.transactions;
}

static void disturb(run *r)
{
    if (r->paused != 0 && now_ns() >= r->resume_ns)
        resume(r);
    if (kill_is_due(r, atomic_load(&r->shared->committed)))
        kill_one(r);
    if (test_random_one_in(&r->random, 150))
        pause_one(r);
    if (!cluster_is_own())
        nemesis_act(&r->nemesis);
    usleep(20000 + (useconds_t)test_random_below(&r->random, 60000));
}

static void stop(run *r)
{
    resume(r);
    if (!cluster_is_own())
        nemesis_heal(&r->nemesis);
    atomic_store(&r->shared->stop, 1);
    for (size_t i = 0; i < PROCESSES; i++) {
        int status = wait_for(r->pids[i], END_S);
        if (status != 0)
            fail_msg("a client process ended badly or not at all: status %d, see %s", status,
                     r->dir);
    }
    deed_in_process(r, r->options.load->read_all);
    if (cluster_is_own())
        deed_in_process(r, remove_all);
}

static void check(const run *r)
{
    const char *program = getenv("TITO_TEST_CHECK");
    const char *argv[] = {program != NULL ? program : TITO_HISTORY_CHECK, r->options.load->name,
                          r->dir, NULL};
    pid_t pid = 0;
    int status = 0;
    fflush(NULL);
    if (posix_spawn(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ) != 0)
        fail_msg("%s can not be started: build the target history_check", argv[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the history in %s has anomalies", r->dir);
}

static void report(const run *r)
{
    const hist_shared *s = r->shared;
    double seconds = (double)(now_ns() - r->began_ns) / 1e9;
    printf("%s%s: %llu committed (%llu 1PC, %llu async, %llu 2PC seen), %llu failed, %llu unknown, "
           "%llu kills, %llu pauses, %llu misfortunes, %.1f s, %.0f/s\n",
           r->options.load->name, r->options.two_phase ? " by 2PC" : "",
           (unsigned long long)atomic_load(&s->committed),
           (unsigned long long)atomic_load(&s->one_pc), (unsigned long long)atomic_load(&s->async),
           (unsigned long long)atomic_load(&s->two_phase),
           (unsigned long long)atomic_load(&s->failed),
           (unsigned long long)atomic_load(&s->unknown), (unsigned long long)r->kills,
           (unsigned long long)r->pauses, (unsigned long long)r->nemesis.actions, seconds,
           (double)atomic_load(&s->committed) / seconds);
}

/* Else the run has tested less than it says. */
static void check_power(const run *r)
{
    const hist_shared *s = r->shared;
    assert_true(atomic_load(&s->failed) > 0);
    assert_true(r->kills > 0);
    assert_true(atomic_load(&s->two_phase) > 0 || !r->options.two_phase);
    assert_true(!r->options.two_phase || (s->one_pc == 0 && s->async == 0));
    assert_true(r->options.two_phase || atomic_load(&s->one_pc) + atomic_load(&s->async) > 0);
}

void hist_run(const hist_run_options *options)
{
    run r;
    begin(&r, options);
    while (atomic_load(&r.shared->committed) < options->transactions) {
        disturb(&r);
        if (now_ns() - r.began_ns > RUN_S * INT64_C(1000000000))
            fail_msg("%llu of %llu transactions after %d s, see %s",
                     (unsigned long long)atomic_load(&r.shared->committed),
                     (unsigned long long)options->transactions, RUN_S, r.dir);
    }
    stop(&r);
    report(&r);
    check(&r);
    check_power(&r);
    cluster_stop(&r.cluster);
    munmap(r.shared, sizeof(*r.shared));
    test_dir_remove(r.dir);
}

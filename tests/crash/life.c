/* See life.h. */
#include "crash/life.h"

#include <signal.h>
#include <sys/wait.h>

#include "base/assert.h"
#include "kv/kv.h"

/* ---- in a child ---- */

ti_engine *life_open(const life *l)
{
    ti_engine *e;
    ti_err err;
    ti_rocks_options options = {
        .durability = l->durability, .block_cache_size = 1 << 20, .write_buffer_size = 256 << 10};
    ti_call call = ti_call_within(ti_env_real(), 30000000);
    ti_status status = ti_rocks_open(l->dir, &options, ti_env_real(), &e, &call, &err);
    if (status != TI_OK)
        fprintf(stderr, "opening: %s\n", err.message);
    ti_require(status == TI_OK);
    return e;
}

void life_report(const life *l, report told)
{
    ti_require(write(l->out, &told, sizeof(told)) == (ssize_t)sizeof(told));
}

void life_found(const life *l, uint32_t thread, uint32_t number)
{
    ti_require(number >= l->known.told[thread]);
    ti_require(number <= l->known.told[thread] + 1);
    life_report(l, (report){.thread = thread, .number = number});
}

/* ---- the parent ---- */

static void read_reports(int in, ledger *known)
{
    report told;
    ssize_t got;
    while ((got = read(in, &told, sizeof(told))) == (ssize_t)sizeof(told)) {
        assert_true(told.thread < LIFE_THREADS);
        if (told.number > known->told[told.thread])
            known->told[told.thread] = told.number;
        if (told.ts > known->last)
            known->last = told.ts;
    }
    assert_int_equal(got, 0);
}

static pid_t start_child(life *l, void (*run)(const life *l), int *in)
{
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(pipes[0]);
        l->out = pipes[1];
        run(l);
        _exit(0);
    }
    (void)close(pipes[1]);
    *in = pipes[0];
    return child;
}

bool life_kill_once(life *l, int64_t after_us)
{
    int in;
    int result;
    pid_t child = start_child(l, l->work, &in);
    if (l->fault.name == NULL) {
        (void)usleep((useconds_t)after_us);
        assert_int_equal(kill(child, SIGKILL), 0);
    }
    read_reports(in, &l->known); /* until the child is dead and the pipe drained */
    (void)close(in);
    assert_int_equal(waitpid(child, &result, 0), child);
    if (!WIFSIGNALED(result))
        fail_msg("the child ended by itself: %x", result);
    bool killed = WTERMSIG(result) == SIGKILL;
    child = start_child(l, l->check, &in);
    read_reports(in, &l->known);
    (void)close(in);
    assert_int_equal(waitpid(child, &result, 0), child);
    if (result != 0)
        fail_msg("the check ended with %x", result);
    return killed;
}

void life_kill_at_random(life *l, uint64_t kills, uint64_t stream)
{
    test_random r = test_random_start(stream);
    uint64_t worked = 0;
    test_dir_make(l->dir);
    for (uint64_t i = 0; i < kills; i++) {
        uint32_t before = l->known.told[0];
        assert_true(life_kill_once(l, (int64_t)test_random_below(&r, i % 4 == 0 ? 20000 : 150000)));
        worked += l->known.told[0] > before;
    }
    assert_true(kills < 20 || worked > kills / 4); /* else nothing was tested */
    test_dir_remove(l->dir);
}

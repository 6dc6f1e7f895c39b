/* Runs the parts in order, each in a process of its own, and gathers their results.
 *
 *   c-write  the C ABI fills dir/c: inserts and events    raw-write  the same rows into dir/raw
 *   c-read   reads of dir/c                               raw-read   the same reads of dir/c
 *   c-queue  drains the events, pickup                    raw-drain  the same rows in dir/raw
 *   c-open   opens empty databases                        raw-open   opens empty directories
 *   lua      all of it by one caller, in dir/lua and dir/c
 *
 * The raw parts need dir/c, so the C part runs also when only raw is asked for. */
#include "bench.h"

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGS_MAX = 32, ARG_SIZE_MAX = 4096, WORDS = 10 };

typedef struct command {
    char text[ARGS_MAX][ARG_SIZE_MAX];
    char *argv[ARGS_MAX + 1];
    int count;
} command;

static void push(command *c, const char *name, const char *value)
{
    if (c->count == ARGS_MAX)
        bench_fail("too many arguments for a part");
    int len = snprintf(c->text[c->count], ARG_SIZE_MAX, "%s%s", name, value);
    if (len < 0 || len >= ARG_SIZE_MAX)
        bench_fail("an argument of a part is too long");
    c->argv[c->count] = c->text[c->count];
    c->count++;
}

static void push_number(command *c, const char *name, long value)
{
    char text[32];
    snprintf(text, sizeof text, "%ld", value);
    push(c, name, text);
}

static void push_options(command *c, const bench_options *options)
{
    if (options->target) {
        push(c, "--target=", options->target);
        push(c, "--namespace=", options->namespace);
    }
    push(c, "--dir=", options->dir);
    push(c, "--durability=", options->durability);
    push_number(c, "--posts=", options->posts);
    push_number(c, "--ops=", options->ops);
    push_number(c, "--events=", options->events);
    push_number(c, "--cache=", options->cache_mib);
    if (options->queue > 0)
        push_number(c, "--queue=", options->queue);
    c->argv[c->count] = NULL;
}

/* Takes a line `result …` apart; other lines are for people. */
static void take_line(bench_rows *rows, char *line)
{
    static const char begin[] = "result ";
    if (strncmp(line, begin, strlen(begin)) != 0) {
        fprintf(stderr, "  %s", line);
        return;
    }
    char *rest = NULL, *word[WORDS];
    int words = 0;
    for (char *w = strtok_r(line, " \n", &rest); w && words < WORDS;
         w = strtok_r(NULL, " \n", &rest))
        word[words++] = w;
    if (words != WORDS)
        bench_fail("a result line has %d words", words);
    bench_row *row = bench_rows_add(rows, word[1], word[2]);
    row->callers = (int)strtol(word[3], NULL, 10);
    row->n = strtol(word[4], NULL, 10);
    row->seconds = strtod(word[5], NULL);
    row->p50_us = strtod(word[6], NULL);
    row->p99_us = strtod(word[7], NULL);
    row->rss_kib = strtol(word[8], NULL, 10);
    row->cpu_us = strtod(word[9], NULL);
    bench_row_show(row);
}

bool bench_plan_program(bench_rows *rows, char *const *argv, bench_take take)
{
    int ends[2];
    if (pipe(ends) != 0)
        bench_fail("pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execvp(argv[0], argv);
        fprintf(stderr, "tito-bench: %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(ends[1]);
    FILE *in = child > 0 ? fdopen(ends[0], "r") : NULL;
    if (!in)
        bench_fail("starting a part: %s", strerror(errno));
    char line[1024];
    while (fgets(line, sizeof line, in))
        take(rows, line);
    fclose(in);
    int status = 0;
    return waitpid(child, &status, 0) == child && status == 0;
}

static void run(bench_rows *rows, command *c)
{
    if (!bench_plan_program(rows, c->argv, take_line))
        bench_fail("a part failed: %s %s", c->argv[0], c->argv[1]);
}

void bench_plan_part(const bench_options *options, bench_rows *rows, const char *part)
{
    static command c;
    c.count = 0;
    push(&c, "/proc/self/exe", "");
    push(&c, "--part=", part);
    push_options(&c, options);
    run(rows, &c);
}

static void run_lua(const bench_options *options, bench_rows *rows)
{
    static command c;
    c.count = 0;
    setenv("LUA_PATH", BENCH_SOURCE_DIR "/lua/?.lua;" BENCH_SOURCE_DIR "/lua/?/init.lua;;", 1);
    setenv("LUA_CPATH", BENCH_LUA_MODULE_DIR "/../?.so;;", 1);
    push(&c, "lua5.4", "");
    push(&c, BENCH_SOURCE_DIR "/tests/bench/bench.lua", "");
    push_options(&c, options);
    run(rows, &c);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void run_queue_round(const bench_options *options, bench_rows *rows)
{
    bench_plan_part(options, rows, "c-hundred");
    if (!options->target)
        bench_plan_part(options, rows, "raw-hundred");
    bench_plan_part(options, rows, "c-hot");
    bench_plan_part(options, rows, "c-keys");
    bench_plan_part(options, rows, "c-brief");
    bench_plan_part(options, rows, "c-aged");
    if (options->target)
        bench_plan_part(options, rows, "c-away");
}

static void run_round(const bench_options *options, bench_rows *rows)
{
    bool raw = strstr(options->engines, "raw") != NULL;
    if (mkdir(options->dir, 0700) != 0 && errno != EEXIST)
        bench_fail("%s: %s", options->dir, strerror(errno));
    if (options->queue > 0) {
        run_queue_round(options, rows);
        return;
    }
    bench_plan_part(options, rows, "c-write");
    if (raw) {
        bench_plan_part(options, rows, "raw-write");
        bench_plan_part(options, rows, "raw-read");
    }
    bench_plan_part(options, rows, "c-read");
    if (strstr(options->engines, "lua"))
        run_lua(options, rows);
    bench_plan_part(options, rows, "c-queue");
    if (raw)
        bench_plan_part(options, rows, "raw-drain");
    bench_plan_part(options, rows, "c-open");
    if (raw)
        bench_plan_part(options, rows, "raw-open");
}

/* All rounds on a cluster, each in a namespace of its own. */
static void run_on_cluster(const bench_options *options, bench_rows *rows)
{
    bench_options round = *options;
    char namespace[64];
    for (long i = 0; i < options->rounds; i++) {
        snprintf(namespace, sizeof namespace, "tito-bench-%ld-%ld", (long)getpid(), i + 1);
        round.namespace = namespace;
        (options->queue > 0 ? run_queue_round : bench_cluster_round)(&round, rows);
    }
}

static void run_embedded(const bench_options *options, bench_rows *rows)
{
    bench_options round = *options;
    char dir[4096];
    for (long i = 0; i < options->rounds; i++) {
        const char *tmp = getenv("TMPDIR");
        if (options->dir)
            snprintf(dir, sizeof dir, "%s/round-%ld", options->dir, i + 1);
        else
            snprintf(dir, sizeof dir, "%s/tito-bench-%ld", tmp ? tmp : "/tmp", (long)getpid());
        if (options->dir && mkdir(options->dir, 0700) != 0 && errno != EEXIST)
            bench_fail("%s: %s", options->dir, strerror(errno));
        remove_tree(dir);
        round.dir = dir;
        run_round(&round, rows);
        if (!options->keep)
            remove_tree(dir);
    }
}

void bench_plan_run(const bench_options *options, bench_rows *rows)
{
    (options->target ? run_on_cluster : run_embedded)(options, rows);
    bench_rows_median(rows);
}

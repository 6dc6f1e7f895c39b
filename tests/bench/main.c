/* The command line of tito-bench. */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "tito-bench: tito's workloads through the C ABI and Lua, and the same through RocksDB alone.\n"
    "\n"
    "  --posts N         posts in the database: inserted by one caller first (200000)\n"
    "  --ops N           operations of a workload with 16 and 64 callers; one does N/4 (50000)\n"
    "  --events N        events that the Lua part publishes and drains (100000)\n"
    "  --rounds N        runs everything N times and reports the median of each (1)\n"
    "  --engines LIST    of c,raw,lua: c always runs, raw needs its data (c,raw,lua)\n"
    "  --durability D    buffered or sync (buffered)\n"
    "  --cache MIB       block cache of either engine (64)\n"
    "  --dir DIR         where the databases are made (a folder in $TMPDIR, removed afterwards)\n"
    "  --keep            leaves the databases there\n"
    "  --json            prints JSON instead of a table\n"
    "  --check           exits with 1 when a goal is missed\n"
    "\n"
    "The queue's own run, instead of all of the above, also on a cluster:\n"
    "  --queue N         N events of ten hot keys against N of as many keys, what a queue costs "
    "that\n"
    "                    has handled N, publishing in hundreds, pickup by another process\n"
    "\n"
    "On a TiKV cluster, without raw and Lua:\n"
    "  --target TARGET   tikv://pd1:2379,pd2:2379; the bench uses namespaces of its own there\n"
    "  --peer PROGRAM    the Rust original's benchmark, run in turn with ours on the same cluster\n"
    "                    as PROGRAM PD OPS, so that the two can be compared\n"
    "  --ops N           as above (2000)\n"
    "\n"
    "Examples: tito-bench --rounds 3 --json > result.json\n"
    "          tito-bench --target tikv://127.0.0.1:2379 --peer ./peer-bench --rounds 3\n";

static const struct option long_options[] = {
    {"part", required_argument, NULL, 'p'},
    {"posts", required_argument, NULL, 'n'},
    {"ops", required_argument, NULL, 'o'},
    {"events", required_argument, NULL, 'v'},
    {"queue", required_argument, NULL, 'q'},
    {"rounds", required_argument, NULL, 'r'},
    {"engines", required_argument, NULL, 'e'},
    {"target", required_argument, NULL, 't'},
    {"namespace", required_argument, NULL, 's'},
    {"peer", required_argument, NULL, 'b'},
    {"durability", required_argument, NULL, 'u'},
    {"cache", required_argument, NULL, 'c'},
    {"dir", required_argument, NULL, 'd'},
    {"keep", no_argument, NULL, 'k'},
    {"json", no_argument, NULL, 'j'},
    {"check", no_argument, NULL, 'x'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static long number(const char *text, long max)
{
    char *end = NULL;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || value < 1 || value > max)
        bench_fail("'%s' is not a number from 1 to %ld", text, max);
    return value;
}

static void parse(int argc, char **argv, bench_options *o)
{
    for (int c; (c = getopt_long(argc, argv, "h", long_options, NULL)) != -1;) {
        switch (c) {
        case 'p':
            o->part = optarg;
            break;
        case 'n':
            o->posts = number(optarg, BENCH_ID_STRIDE);
            break;
        case 'o':
            o->ops = number(optarg, BENCH_ID_STRIDE);
            break;
        case 'v':
            o->events = number(optarg, 100000000);
            break;
        case 'q':
            o->queue = number(optarg, 100000000);
            break;
        case 'r':
            o->rounds = number(optarg, 50);
            break;
        case 'e':
            o->engines = optarg;
            break;
        case 't':
            o->target = optarg;
            break;
        case 's':
            o->namespace = optarg;
            break;
        case 'b':
            o->peer = optarg;
            break;
        case 'u':
            o->durability = optarg;
            break;
        case 'c':
            o->cache_mib = number(optarg, 1 << 20);
            break;
        case 'd':
            o->dir = optarg;
            break;
        case 'k':
            o->keep = true;
            break;
        case 'j':
            o->json = true;
            break;
        case 'x':
            o->check = true;
            break;
        case 'h':
            fputs(help, stdout);
            exit(0);
        default:
            exit(2);
        }
    }
    if (optind < argc)
        bench_fail("'%s' is not an option; see --help", argv[optind]);
    if (strcmp(o->durability, "buffered") != 0 && strcmp(o->durability, "sync") != 0)
        bench_fail("--durability is buffered or sync, not '%s'", o->durability);
}

typedef struct part {
    const char *name;
    void (*run)(const bench_options *options);
} part;

static const part parts[] = {
    {"c-write", bench_c_write},         {"c-read", bench_c_read},
    {"c-queue", bench_c_queue},         {"c-open", bench_c_open},
    {"c-clean", bench_c_clean},         {"raw-write", bench_raw_write},
    {"raw-read", bench_raw_read},       {"raw-drain", bench_raw_drain},
    {"raw-open", bench_raw_open},       {"c-hundred", bench_c_hundred},
    {"raw-hundred", bench_raw_hundred}, {"c-hot", bench_c_hot},
    {"c-keys", bench_c_keys},           {"c-brief", bench_c_brief},
    {"c-aged", bench_c_aged},           {"c-away", bench_c_away},
};

static int run_part(const bench_options *options)
{
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strcmp(options->part, parts[i].name) == 0) {
            parts[i].run(options);
            return 0;
        }
    }
    bench_fail("there is no part '%s'", options->part);
}

/* The sizes that were not given, and what holds on a cluster. */
static void complete(bench_options *o)
{
    bool cluster = o->target != NULL;
    if (o->peer && !cluster)
        bench_fail("--peer needs --target: the original runs on TiKV only");
    if (cluster && strncmp(o->target, "tikv://", 7) != 0)
        bench_fail("--target is tikv://PD[,PD], not '%s'", o->target);
    if (o->ops == 0)
        o->ops = cluster ? 2000 : 50000;
    if (o->posts == 0)
        o->posts = cluster ? bench_level_ops(o, 1) : 200000;
}

int main(int argc, char **argv)
{
    static bench_rows rows;
    bench_options options = {.engines = "c,raw,lua",
                             .durability = "buffered",
                             .events = 100000,
                             .rounds = 1,
                             .cache_mib = 64};
    parse(argc, argv, &options);
    complete(&options);
    if (options.part)
        return run_part(&options);
    bench_plan_run(&options, &rows);
    if (options.json)
        bench_report_json(&options, &rows, stdout);
    else
        bench_report_table(&options, &rows, stdout);
    return options.check && bench_report_missed(&options, &rows) > 0;
}

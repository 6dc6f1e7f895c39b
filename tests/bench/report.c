/* Prints what was measured, as a table for people and as JSON for programs, with the ratio of each
 * engine to raw and the goals. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A goal: a share of raw's rate, a rate, or a latency, of one measurement. */
typedef struct goal {
    const char *engine;
    const char *workload;
    enum {
        GOAL_RATIO,
        GOAL_RATE,
        GOAL_P50_US,
        GOAL_RSS_MIB,
        GOAL_P50,
        GOAL_CPU_US,
        GOAL_PER_INSERT
    } kind;
    double wanted; /* rates: at least; latencies, memory, processor time: at most */
    int callers;   /* 0: one, on the embedded engine; else on a cluster */
    bool queue;    /* of the queue's own run */
} goal;

static const goal goals[] = {
    {"c", "insert", GOAL_RATIO, 0.6, 0, false},
    {"c", "find_by_id", GOAL_RATIO, 0.8, 0, false},
    {"c", "query_index+hydrate10", GOAL_RATIO, 0.4, 0, false},
    {"lua", "insert", GOAL_RATIO, 0.35, 0, false},
    {"lua", "find_by_id", GOAL_RATIO, 0.4, 0, false},
    {"lua", "query_index+hydrate10", GOAL_RATIO, 0.2, 0, false},
    {"lua", "drain", GOAL_RATE, 20000, 0, false},
    {"c", "publish", GOAL_RATIO, 0.5, 0, false},
    {"c", "drain", GOAL_RATIO, 0.4, 0, false},
    {"lua", "drain", GOAL_RATIO, 0.2, 0, false},
    {"c", "pickup", GOAL_P50_US, 1000, 0, false},
    {"lua", "pickup", GOAL_P50_US, 1000, 0, false},
    {"c", "open", GOAL_P50_US, 50000, 0, false},
    {"c", "open", GOAL_RSS_MIB, 10, 0, false},
    {"c", "insert", GOAL_P50, 0.35, 1, false},
    {"c", "insert", GOAL_RATIO, 4, 64, false},
    {"c", "timestamp_requests", GOAL_PER_INSERT, 0.125, 64, false},
    {"c", "find_by_id", GOAL_P50, 0.8, 1, false},
    {"c", "find_by_id", GOAL_RATIO, 1.2, 64, false},
    {"c", "find_by_id", GOAL_CPU_US, 25, 64, false},
    {"c", "query_index+hydrate10", GOAL_P50, 0.8, 1, false},
    {"c", "query_index+hydrate10", GOAL_RATIO, 1.5, 64, false},
    {"c", "publish", GOAL_P50, 0.5, 1, false},
    {"c", "publish", GOAL_RATIO, 3, 64, false},
    {"c", "drain", GOAL_RATIO, 15, 1, false},
    {"c", "publish", GOAL_RATIO, 0.5, 0, true},
    {"c", "publish_100", GOAL_RATIO, 0.5, 0, true},
    {"c", "drain_hot_keys", GOAL_RATIO, 0.8, 0, true},
    {"c", "empty_pull_aged", GOAL_P50, 1.5, 0, true},
    {"c", "first_event_aged", GOAL_P50, 1.5, 0, true},
    {"c", "empty_pull_aged", GOAL_P50, 1.5, 1, true},
    {"c", "first_event_aged", GOAL_P50, 1.5, 1, true},
    {"c", "pickup_away_busy", GOAL_P50_US, 5000, 1, true},
    {"c", "pickup_away_idle", GOAL_P50_US, 60000, 1, true},
};
enum { GOALS = sizeof goals / sizeof goals[0] };

/* A goal is of one kind of run: on a cluster it names its callers. */
static bool on_cluster(const goal *g)
{
    return g->callers > 0;
}

static bool concerns(const bench_options *options, const goal *g)
{
    return on_cluster(g) == (options->target != NULL) && g->queue == (options->queue > 0);
}

static const char *unit_of(const goal *g)
{
    switch (g->kind) {
    case GOAL_RATIO:
        if (strstr(g->workload, "_hot_") != NULL)
            return "of many keys";
        return on_cluster(g) ? "of peer's rate" : "of raw";
    case GOAL_RATE:
        return "/s";
    case GOAL_P50_US:
        return "us p50";
    case GOAL_RSS_MIB:
        return "MiB over raw";
    case GOAL_P50:
        return strstr(g->workload, "_aged") != NULL ? "of a fresh queue's p50" : "of peer's p50";
    case GOAL_CPU_US:
        return "us of processor time";
    case GOAL_PER_INSERT:
        return "per insert";
    }
    return "";
}

bench_row *bench_rows_add(bench_rows *rows, const char *engine, const char *workload)
{
    if (rows->count == BENCH_ROWS_MAX)
        bench_fail("more than %d results", BENCH_ROWS_MAX);
    bench_row *row = &rows->row[rows->count++];
    *row = (bench_row){.callers = 1};
    snprintf(row->engine, sizeof row->engine, "%s", engine);
    snprintf(row->workload, sizeof row->workload, "%s", workload);
    return row;
}

void bench_row_show(const bench_row *row)
{
    fprintf(stderr, "  %-4s %-22s c=%-3d %9.0f /s\n", row->engine, row->workload, row->callers,
            bench_row_rate(row));
}

double bench_row_rate(const bench_row *row)
{
    return row->seconds > 0 ? (double)row->n / row->seconds : 0;
}

static bool same(const bench_row *a, const bench_row *b)
{
    return a->callers == b->callers && strcmp(a->engine, b->engine) == 0 &&
           strcmp(a->workload, b->workload) == 0;
}

static int by_rate(const void *a, const void *b)
{
    double x = bench_row_rate(a), y = bench_row_rate(b);
    return (x > y) - (x < y);
}

void bench_rows_median(bench_rows *rows)
{
    static bench_row group[BENCH_ROWS_MAX];
    size_t kept = 0;
    for (size_t i = 0; i < rows->count; i++) {
        bool seen = false;
        for (size_t k = 0; k < kept && !seen; k++)
            seen = same(&rows->row[k], &rows->row[i]);
        if (seen)
            continue;
        size_t n = 0;
        for (size_t j = i; j < rows->count; j++)
            if (same(&rows->row[i], &rows->row[j]))
                group[n++] = rows->row[j];
        qsort(group, n, sizeof group[0], by_rate);
        // Rows before i were looked at, so that overwriting them loses nothing.
        rows->row[kept++] = group[n / 2];
    }
    rows->count = kept;
}

const bench_row *bench_rows_find(const bench_rows *rows, const char *engine, const char *workload,
                                 int callers)
{
    for (size_t i = 0; i < rows->count; i++) {
        const bench_row *row = &rows->row[i];
        if (row->callers == callers && strcmp(row->engine, engine) == 0 &&
            strcmp(row->workload, workload) == 0)
            return row;
    }
    return NULL;
}

/* What a measurement is compared with: raw, the original, tito itself with a fresh queue or with
 * many keys. NULL when none of them does it. */
static const bench_row *base_of(const bench_rows *rows, const bench_row *row)
{
    static const char *const bases[] = {"raw", "peer", "fresh", "many"};
    const bench_row *base = NULL;
    for (size_t i = 0; i < sizeof bases / sizeof bases[0] && !base; i++)
        base = bench_rows_find(rows, bases[i], row->workload, row->callers);
    return base;
}

/* The rate as a share of the base's; 0 when there is none. */
static double ratio(const bench_rows *rows, const bench_row *row)
{
    const bench_row *base = base_of(rows, row);
    return base && bench_row_rate(base) > 0 ? bench_row_rate(row) / bench_row_rate(base) : 0;
}

/* What was reached; returns false when it was not measured. */
static bool reached(const bench_rows *rows, const goal *g, double *value_out)
{
    const bench_row *row =
        bench_rows_find(rows, g->engine, g->workload, g->callers > 0 ? g->callers : 1);
    const bench_row *base = row ? base_of(rows, row) : NULL;
    if (row && g->kind == GOAL_PER_INSERT)
        base = bench_rows_find(rows, g->engine, "insert", row->callers);
    bool alone = g->kind == GOAL_RATE || g->kind == GOAL_P50_US || g->kind == GOAL_CPU_US;
    *value_out = 0;
    if (!row || (!base && !alone) || (g->kind == GOAL_P50 && base->p50_us <= 0))
        return false;
    switch (g->kind) {
    case GOAL_RATIO:
        *value_out = ratio(rows, row);
        break;
    case GOAL_RATE:
        *value_out = bench_row_rate(row);
        break;
    case GOAL_P50_US:
        *value_out = row->p50_us;
        break;
    case GOAL_RSS_MIB:
        *value_out = (double)(row->rss_kib - base->rss_kib) / 1024;
        break;
    case GOAL_P50:
        *value_out = row->p50_us / base->p50_us;
        break;
    case GOAL_CPU_US:
        *value_out = row->cpu_us;
        break;
    case GOAL_PER_INSERT:
        *value_out = (double)row->n / (double)base->n;
        break;
    }
    return true;
}

static bool is_met(const goal *g, double value)
{
    bool at_least = g->kind == GOAL_RATIO || g->kind == GOAL_RATE;
    return at_least ? value >= g->wanted : value <= g->wanted;
}

int bench_report_missed(const bench_options *options, const bench_rows *rows)
{
    int missed = 0;
    for (int i = 0; i < GOALS; i++) {
        double value;
        if (concerns(options, &goals[i]) && reached(rows, &goals[i], &value) &&
            !is_met(&goals[i], value))
            missed++;
    }
    return missed;
}

static void print_row(const bench_rows *rows, const bench_row *row, FILE *out)
{
    fprintf(out, "%-22s %-6s %4d %11.0f ", row->workload, row->engine, row->callers,
            bench_row_rate(row));
    if (row->p50_us > 0)
        fprintf(out, "%10.1f %10.1f ", row->p50_us, row->p99_us);
    else
        fprintf(out, "%10s %10s ", "-", "-");
    if (row->rss_kib > 0)
        fprintf(out, "%8.1f %8.1f ", row->cpu_us, (double)row->rss_kib / 1024);
    else
        fprintf(out, "%8s %8s ", "-", "-");
    double share = ratio(rows, row);
    if (share > 0)
        fprintf(out, "%7.2f\n", share);
    else
        fprintf(out, "%7s\n", "-");
}

static void print_goal(const bench_rows *rows, const goal *g, FILE *out)
{
    double value;
    char name[80];
    snprintf(name, sizeof name, "%s %s c=%d, %s", g->engine, g->workload,
             g->callers > 0 ? g->callers : 1, unit_of(g));
    if (reached(rows, g, &value))
        fprintf(out, "%-54s %10.2f %10.2f  %s\n", name, g->wanted, value,
                is_met(g, value) ? "met" : "MISSED");
    else
        fprintf(out, "%-54s %10.2f %10s\n", name, g->wanted, "-");
}

void bench_report_table(const bench_options *options, const bench_rows *rows, FILE *out)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    fprintf(out, "%ld posts, %ld operations per level, ", options->posts, options->ops);
    if (options->target)
        fprintf(out, "%s, ", options->target);
    else
        fprintf(out, "%s, block cache %ld MiB, ", options->durability, options->cache_mib);
    fprintf(out, "%ld processors, median of %ld\n\n", processors, options->rounds);
    fprintf(out, "%-22s %-6s %4s %11s %10s %10s %8s %8s %7s\n", "workload", "engine", "c", "ops/s",
            "p50 us", "p99 us", "cpu us", "MiB", options->target ? "of peer" : "of raw");
    for (size_t i = 0; i < rows->count; i++)
        print_row(rows, &rows->row[i], out);
    fprintf(out, "\n%-54s %10s %10s\n", "goal", "wanted", "measured");
    for (int i = 0; i < GOALS; i++)
        if (concerns(options, &goals[i]))
            print_goal(rows, &goals[i], out);
}

static void json_row(const bench_rows *rows, const bench_row *row, FILE *out)
{
    double share = ratio(rows, row);
    fprintf(out,
            "\n  {\"workload\":\"%s\",\"engine\":\"%s\",\"callers\":%d,\"operations\":%ld,"
            "\"seconds\":%.6f,\"ops_per_s\":%.1f,\"p50_us\":%.2f,\"p99_us\":%.2f,"
            "\"cpu_us\":%.2f,\"rss_mib\":%.1f,\"ratio\":",
            row->workload, row->engine, row->callers, row->n, row->seconds, bench_row_rate(row),
            row->p50_us, row->p99_us, row->cpu_us, (double)row->rss_kib / 1024);
    fprintf(out, share > 0 ? "%.4f}" : "null}", share);
}

static void json_goal(const bench_rows *rows, const goal *g, FILE *out)
{
    double value;
    bool known = reached(rows, g, &value);
    fprintf(out,
            "\n  {\"engine\":\"%s\",\"workload\":\"%s\",\"callers\":%d,\"unit\":\"%s\","
            "\"wanted\":%g,\"measured\":",
            g->engine, g->workload, g->callers > 0 ? g->callers : 1, unit_of(g), g->wanted);
    if (known)
        fprintf(out, "%.4f,\"met\":%s}", value, is_met(g, value) ? "true" : "false");
    else
        fprintf(out, "null,\"met\":null}");
}

void bench_report_json(const bench_options *options, const bench_rows *rows, FILE *out)
{
    fprintf(out,
            "{\"posts\":%ld,\"ops\":%ld,\"events\":%ld,\"durability\":\"%s\",\"cache_mib\":%ld,"
            "\"processors\":%ld,\"rounds\":%ld,\"base\":\"%s\",\n \"results\":[",
            options->posts, options->ops, options->events, options->durability, options->cache_mib,
            sysconf(_SC_NPROCESSORS_ONLN), options->rounds, options->target ? "peer" : "raw");
    for (size_t i = 0; i < rows->count; i++) {
        fprintf(out, "%s", i ? "," : "");
        json_row(rows, &rows->row[i], out);
    }
    fprintf(out, "\n ],\n \"goals\":[");
    const char *separator = "";
    for (int i = 0; i < GOALS; i++) {
        if (!concerns(options, &goals[i]))
            continue;
        fprintf(out, "%s", separator);
        json_goal(rows, &goals[i], out);
        separator = ",";
    }
    fprintf(out, "\n ]}\n");
}

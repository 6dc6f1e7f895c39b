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
    enum { GOAL_RATIO, GOAL_RATE, GOAL_P50_US, GOAL_RSS_MIB } kind;
    double wanted; /* at least; of latencies and memory: at most */
} goal;

static const goal goals[] = {
    {"c", "insert", GOAL_RATIO, 0.6},
    {"c", "find_by_id", GOAL_RATIO, 0.8},
    {"c", "query_index+hydrate10", GOAL_RATIO, 0.4},
    {"lua", "insert", GOAL_RATIO, 0.35},
    {"lua", "find_by_id", GOAL_RATIO, 0.4},
    {"lua", "query_index+hydrate10", GOAL_RATIO, 0.2},
    {"lua", "drain", GOAL_RATE, 20000},
    {"c", "pickup", GOAL_P50_US, 1000},
    {"lua", "pickup", GOAL_P50_US, 1000},
    {"c", "open", GOAL_P50_US, 50000},
    {"c", "open", GOAL_RSS_MIB, 10},
};
enum { GOALS = sizeof goals / sizeof goals[0] };

static const char *const kind_names[] = {"of raw", "/s", "us p50", "MiB over raw"};

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

/* The rate as a share of raw's; 0 when raw does not do it. */
static double ratio(const bench_rows *rows, const bench_row *row)
{
    const bench_row *raw = bench_rows_find(rows, "raw", row->workload, row->callers);
    return raw && bench_row_rate(raw) > 0 ? bench_row_rate(row) / bench_row_rate(raw) : 0;
}

/* What was reached; returns false when it was not measured. */
static bool reached(const bench_rows *rows, const goal *g, double *value_out)
{
    const bench_row *row = bench_rows_find(rows, g->engine, g->workload, 1);
    const bench_row *raw = bench_rows_find(rows, "raw", g->workload, 1);
    *value_out = 0;
    if (!row || (!raw && (g->kind == GOAL_RATIO || g->kind == GOAL_RSS_MIB)))
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
        *value_out = (double)(row->rss_kib - raw->rss_kib) / 1024;
        break;
    }
    return true;
}

static bool is_met(const goal *g, double value)
{
    bool at_least = g->kind == GOAL_RATIO || g->kind == GOAL_RATE;
    return at_least ? value >= g->wanted : value <= g->wanted;
}

int bench_report_missed(const bench_rows *rows)
{
    int missed = 0;
    for (int i = 0; i < GOALS; i++) {
        double value;
        if (reached(rows, &goals[i], &value) && !is_met(&goals[i], value))
            missed++;
    }
    return missed;
}

void bench_report_table(const bench_options *options, const bench_rows *rows, FILE *out)
{
    fprintf(out,
            "%ld posts, %ld operations per level, %s, block cache %ld MiB, %ld processors, "
            "median of %ld\n\n",
            options->posts, options->ops, options->durability, options->cache_mib,
            sysconf(_SC_NPROCESSORS_ONLN), options->rounds);
    fprintf(out, "%-22s %-6s %4s %11s %10s %10s %8s %7s\n", "workload", "engine", "c", "ops/s",
            "p50 us", "p99 us", "MiB", "of raw");
    for (size_t i = 0; i < rows->count; i++) {
        const bench_row *row = &rows->row[i];
        double share = ratio(rows, row);
        fprintf(out, "%-22s %-6s %4d %11.0f ", row->workload, row->engine, row->callers,
                bench_row_rate(row));
        if (row->p50_us > 0)
            fprintf(out, "%10.1f %10.1f ", row->p50_us, row->p99_us);
        else
            fprintf(out, "%10s %10s ", "-", "-");
        fprintf(out, "%8.1f ", (double)row->rss_kib / 1024);
        if (share > 0)
            fprintf(out, "%7.2f\n", share);
        else
            fprintf(out, "%7s\n", "-");
    }
    fprintf(out, "\n%-40s %12s %12s\n", "goal (one caller)", "wanted", "measured");
    for (int i = 0; i < GOALS; i++) {
        double value;
        char name[64];
        snprintf(name, sizeof name, "%s %s, %s", goals[i].engine, goals[i].workload,
                 kind_names[goals[i].kind]);
        if (reached(rows, &goals[i], &value))
            fprintf(out, "%-40s %12.2f %12.2f  %s\n", name, goals[i].wanted, value,
                    is_met(&goals[i], value) ? "met" : "MISSED");
        else
            fprintf(out, "%-40s %12.2f %12s\n", name, goals[i].wanted, "-");
    }
}

void bench_report_json(const bench_options *options, const bench_rows *rows, FILE *out)
{
    fprintf(out,
            "{\"posts\":%ld,\"ops\":%ld,\"events\":%ld,\"durability\":\"%s\",\"cache_mib\":%ld,"
            "\"processors\":%ld,\"rounds\":%ld,\n \"results\":[",
            options->posts, options->ops, options->events, options->durability, options->cache_mib,
            sysconf(_SC_NPROCESSORS_ONLN), options->rounds);
    for (size_t i = 0; i < rows->count; i++) {
        const bench_row *row = &rows->row[i];
        double share = ratio(rows, row);
        fprintf(out,
                "%s\n  {\"workload\":\"%s\",\"engine\":\"%s\",\"callers\":%d,\"operations\":%ld,"
                "\"seconds\":%.6f,\"ops_per_s\":%.1f,\"p50_us\":%.2f,\"p99_us\":%.2f,"
                "\"rss_mib\":%.1f,\"of_raw\":",
                i ? "," : "", row->workload, row->engine, row->callers, row->n, row->seconds,
                bench_row_rate(row), row->p50_us, row->p99_us, (double)row->rss_kib / 1024);
        fprintf(out, share > 0 ? "%.4f}" : "null}", share);
    }
    fprintf(out, "\n ],\n \"goals\":[");
    for (int i = 0; i < GOALS; i++) {
        double value;
        bool known = reached(rows, &goals[i], &value);
        fprintf(out,
                "%s\n  {\"engine\":\"%s\",\"workload\":\"%s\",\"unit\":\"%s\",\"wanted\":%g,"
                "\"measured\":",
                i ? "," : "", goals[i].engine, goals[i].workload, kind_names[goals[i].kind],
                goals[i].wanted);
        if (known)
            fprintf(out, "%.4f,\"met\":%s}", value, is_met(&goals[i], value) ? "true" : "false");
        else
            fprintf(out, "null,\"met\":null}");
    }
    fprintf(out, "\n ]}\n");
}

/* One round on a TiKV cluster: our parts through the C ABI, then the Rust original's benchmark,
 * which does the same work there and prints lines for people:
 *
 *     insert                   c= 16 n=  2000      1027 op/s p50=14713us p99=40000us
 *     drain 4 partitions: 4500 of 4500 in 9.05s = 497 ev/s
 *
 * Each program runs alone; their keys never meet (ours are in a namespace, which is emptied at the
 * end). */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

/* Reads one line of the original's; what is no measurement is for people. */
static void take_peer_line(bench_rows *rows, char *line)
{
    char workload[40];
    int callers;
    long n, of;
    double rate, p50_us, p99_us, seconds;
    if (sscanf(line, "drain %*d partitions: %ld of %ld in %lfs", &n, &of, &seconds) == 3) {
        if (n < of) // more: it delivers some twice
            bench_fail("the original drained %ld of %ld events", n, of);
        bench_row *row = bench_rows_add(rows, "peer", "drain");
        row->n = n;
        row->seconds = seconds;
        bench_row_show(row);
    } else if (sscanf(line, "%39s c=%d n=%ld %lf op/s p50=%lfus p99=%lfus", workload, &callers, &n,
                      &rate, &p50_us, &p99_us) == 6) {
        bench_row *row = bench_rows_add(rows, "peer", workload);
        row->callers = callers;
        row->n = n;
        row->seconds = rate > 0 ? (double)n / rate : 0;
        row->p50_us = p50_us;
        row->p99_us = p99_us;
        bench_row_show(row);
    } else
        fprintf(stderr, "  peer %s", line);
}

static void run_peer(const bench_options *options, bench_rows *rows)
{
    char program[4096], pd[1024], ops[32];
    snprintf(program, sizeof program, "%s", options->peer);
    snprintf(pd, sizeof pd, "%s", options->target + strlen("tikv://"));
    pd[strcspn(pd, ",/?")] = 0; // it takes one
    snprintf(ops, sizeof ops, "%ld", options->ops);
    char *const argv[] = {program, pd, ops, NULL};
    size_t before = rows->count;
    // At its very end, after its last figure, it sometimes drops an open transaction and panics.
    if (!bench_plan_program(rows, argv, take_peer_line) &&
        (rows->count == before || strcmp(rows->row[rows->count - 1].workload, "drain") != 0))
        bench_fail("the original failed: %s %s %s", program, pd, ops);
}

void bench_cluster_round(const bench_options *options, bench_rows *rows)
{
    bench_plan_part(options, rows, "c-write");
    bench_plan_part(options, rows, "c-read");
    bench_plan_part(options, rows, "c-queue");
    bench_plan_part(options, rows, "c-clean");
    if (options->peer)
        run_peer(options, rows);
}

/* tito-bench: what tito costs over the engine below it, measured in one run.
 *
 * The program starts itself once per part, so that each has a cold heap, its own block cache and a
 * memory figure of its own:
 *
 *     main.c ── plan.c ─┬─ tito-bench --part raw-*   raw_write.c, raw_read.c  RocksDB's C API
 *                       ├─ tito-bench --part c-*     abi_data.c, abi_queue.c  the C ABI
 *                       └─ lua5.4 bench.lua *                                 require "tito"
 *                       └─ the Rust original's benchmark     cluster.c, on a TiKV cluster only
 *     parts print lines `result ENGINE WORKLOAD C N SECONDS P50_US P99_US RSS_KIB CPU_US`; plan.c
 *     gathers them, report.c prints them.
 *
 * The raw parts write exactly the keys and values that tito wrote: record.c reads them back from
 * the directory of the C part.
 *
 * What is NOT here: correctness. A part ends the run when an operation fails. */
#ifndef TITO_BENCH_H
#define TITO_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    BENCH_TAGS = 50,
    BENCH_AUTHORS = 100,
    BENCH_PARTITIONS = 4,
    BENCH_KEYS = 64,           /* business keys of the queue */
    BENCH_ENTRIES = 5,         /* rows of one post: the record, by_author, three times by_tag */
    BENCH_ID_STRIDE = 1000000, /* the ids of concurrency c begin at c times this */
    BENCH_DOCUMENT_SIZE_MAX = 1024,
    BENCH_LEVELS = 3, /* 1, 16, 64 callers */
};

extern const int bench_levels[BENCH_LEVELS];

/* What was asked for, on the command line. */
typedef struct bench_options {
    const char *part; /* NULL in the parent */
    const char *dir;  /* where the databases are; NULL: a temporary folder */
    const char *engines;
    const char *target;    /* a TiKV cluster, instead of databases in dir; NULL: none */
    const char *namespace; /* of the target */
    const char *peer;      /* the program of the Rust original; NULL: none */
    const char *durability;
    long posts;  /* inserted by one caller before all else */
    long ops;    /* operations of 16 and of 64 callers; one caller does a quarter */
    long events; /* published and drained by the Lua part */
    long queue;  /* events of the queue's own run, instead of all of the above; 0: not that */
    long rounds;
    long cache_mib;
    bool json;
    bool keep;
    bool check;
} bench_options;

/* ---- measure.c */

/* Latencies in nanoseconds, in buckets of at most 1/64 of their value. */
typedef struct bench_histogram {
    uint64_t counts[64 * 60];
    uint64_t total;
} bench_histogram;

/* CLOCK_MONOTONIC. */
uint64_t bench_now_ns(void);
void bench_histogram_add(bench_histogram *h, uint64_t ns);
/* The value below which share (0 … 1) of the latencies lie, in microseconds. */
double bench_histogram_us(const bench_histogram *h, double share);
/* The resident memory of this process. */
long bench_rss_kib(void);
/* The processor time of this process, all threads, user and system. */
double bench_cpu_s(void);

/* One operation: i counts from 0 over all callers. Returns false (and says why) on an error. */
typedef bool (*bench_op)(void *context, int caller, long i);

typedef struct bench_run {
    const char *engine;
    const char *workload;
    int callers;
    long n;
    bench_op op;
    void *context;
} bench_run;

/* Runs n operations by the given number of threads and prints the result line. Ends the process
 * when one fails. */
void bench_measure(const bench_run *run);
/* The same without a line: what comes after it finds warm caches. */
void bench_warm_up(const bench_run *run);
/* Prints a result line. cpu_s: the processor time that the n operations took. */
void bench_result(const char *engine, const char *workload, int callers, long n, double seconds,
                  double cpu_s, const bench_histogram *h);
/* Prints a message and ends the process with status 1. */
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- posts.c: the documents, as the Rust original's benchmark makes them */

extern const char bench_tag_spec[];
extern const char bench_post_spec[];
size_t bench_tag_document(char *out, size_t size, int i);
/* Post i of those whose ids begin at offset. */
size_t bench_post_document(char *out, size_t size, long offset, long i);
size_t bench_post_id(char *out, size_t size, long offset, long i);
/* The number of the tag, of three, that post i carries. */
int bench_post_tag(long i, int which);
size_t bench_event_key(char *out, size_t size, long i);
size_t bench_event_payload(char *out, size_t size, long i);
/* Operations of a level: a quarter for one caller. */
long bench_level_ops(const bench_options *options, int callers);
/* Events that all levels of publish leave behind. */
long bench_events(const bench_options *options);

/* ---- the parts */

void bench_c_write(const bench_options *options);
void bench_c_read(const bench_options *options);
void bench_c_queue(const bench_options *options);
void bench_c_open(const bench_options *options);
void bench_c_clean(const bench_options *options); /* a target's namespace */
void bench_raw_write(const bench_options *options);
void bench_raw_read(const bench_options *options);
void bench_raw_drain(const bench_options *options);
void bench_raw_open(const bench_options *options);

/* The queue's own run (queue_c.c, queue_raw.c). */
enum { BENCH_HUNDRED = 100 }; /* events of a transaction */
void bench_c_hundred(const bench_options *options);
void bench_raw_hundred(const bench_options *options);
void bench_c_hot(const bench_options *options);
void bench_c_keys(const bench_options *options);
void bench_c_brief(const bench_options *options);
void bench_c_aged(const bench_options *options);
void bench_c_away(const bench_options *options);
/* How many events are published one by one, and in hundreds. */
long bench_queue_ones(const bench_options *options);
long bench_queue_hundreds(const bench_options *options);

/* ---- plan.c and report.c */

typedef struct bench_row {
    char engine[8];
    char workload[40]; /* words have no blanks */
    int callers;
    long n;
    double seconds, p50_us, p99_us;
    long rss_kib;
    double cpu_us; /* of one operation, in this process; 0: not known */
} bench_row;

enum { BENCH_ROWS_MAX = 4096 };

typedef struct bench_rows {
    bench_row row[BENCH_ROWS_MAX];
    size_t count;
} bench_rows;

/* Runs a part of this program and takes its result lines. Ends the run when it fails. */
void bench_plan_part(const bench_options *options, bench_rows *rows, const char *part);
/* Runs a program, whose lines take reads. argv ends with NULL. Returns whether it exited with 0. */
typedef void (*bench_take)(bench_rows *rows, char *line);
bool bench_plan_program(bench_rows *rows, char *const *argv, bench_take take);
/* A row more, empty but for its names. */
bench_row *bench_rows_add(bench_rows *rows, const char *engine, const char *workload);
/* Tells people what was measured. */
void bench_row_show(const bench_row *row);
/* cluster.c: one round on a TiKV cluster, with the Rust original's when there is a program of it.
 */
void bench_cluster_round(const bench_options *options, bench_rows *rows);
/* Runs all parts, options->rounds times. */
void bench_plan_run(const bench_options *options, bench_rows *rows);
/* Keeps, of the rounds of one measurement, the one with the median rate. */
void bench_rows_median(bench_rows *rows);
double bench_row_rate(const bench_row *row);
/* The row of the same measurement by another engine, or NULL. */
const bench_row *bench_rows_find(const bench_rows *rows, const char *engine, const char *workload,
                                 int callers);
void bench_report_table(const bench_options *options, const bench_rows *rows, FILE *out);
void bench_report_json(const bench_options *options, const bench_rows *rows, FILE *out);
/* How many of the goals were missed. */
int bench_report_missed(const bench_options *options, const bench_rows *rows);

#endif

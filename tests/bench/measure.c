/* The clock, latencies, memory, and the threads that do the operations.
 *
 * INVARIANTS
 *   1. Every operation is done once: callers take the next number from one counter.
 *   2. Time begins when the first caller begins (all of them stand ready then) and ends when the
 *      last has done its last one. The callers read it themselves: the thread that waits for them
 *      may get a processor late. */
#include "bench.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

const int bench_levels[BENCH_LEVELS] = {1, 16, 64};

_Noreturn void bench_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("tito-bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    fflush(stdout);
    // Other threads may be inside the database: nothing is torn down under them.
    _exit(1);
}

uint64_t bench_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Values below 64 have a bucket each; above, each power of two has 64. */
static size_t bucket_of(uint64_t ns)
{
    if (ns < 64)
        return (size_t)ns;
    int shift = 63 - __builtin_clzll(ns) - 6;
    return (size_t)(shift + 1) * 64 + (size_t)((ns >> shift) & 63);
}

static double bucket_middle_ns(size_t bucket)
{
    if (bucket < 64)
        return (double)bucket;
    size_t shift = bucket / 64 - 1;
    return ((double)(64 + bucket % 64) + 0.5) * (double)(1ull << shift);
}

void bench_histogram_add(bench_histogram *h, uint64_t ns)
{
    h->counts[bucket_of(ns)]++;
    h->total++;
}

double bench_histogram_us(const bench_histogram *h, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)h->total);
    uint64_t seen = 0;
    for (size_t b = 0; b < sizeof h->counts / sizeof h->counts[0]; b++) {
        seen += h->counts[b];
        if (seen > wanted || (seen == h->total && h->counts[b] > 0))
            return bucket_middle_ns(b) / 1000.0;
    }
    return 0;
}

long bench_rss_kib(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    if (!file)
        return 0;
    char line[256];
    long kib = 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    fclose(file);
    return kib;
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

double bench_cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

void bench_result(const char *engine, const char *workload, int callers, long n, double seconds,
                  double cpu_s, const bench_histogram *h)
{
    printf("result %s %s %d %ld %.6f %.2f %.2f %ld %.2f\n", engine, workload, callers, n, seconds,
           bench_histogram_us(h, 0.5), bench_histogram_us(h, 0.99), bench_rss_kib(),
           cpu_s / (double)n * 1e6);
    fflush(stdout);
}

typedef struct bench_crew {
    const bench_run *run;
    atomic_long next;
    pthread_barrier_t ready;
} bench_crew;

typedef struct bench_caller {
    bench_crew *crew;
    int number;
    pthread_t thread;
    uint64_t began_ns, ended_ns;
    bench_histogram latencies;
} bench_caller;

static void *caller_main(void *arg)
{
    bench_caller *me = arg;
    const bench_run *run = me->crew->run;
    pthread_barrier_wait(&me->crew->ready);
    me->began_ns = me->ended_ns = bench_now_ns();
    for (;;) {
        long i = atomic_fetch_add_explicit(&me->crew->next, 1, memory_order_relaxed);
        if (i >= run->n)
            return NULL;
        uint64_t began = bench_now_ns();
        if (!run->op(run->context, me->number, i))
            bench_fail("%s %s: operation %ld failed", run->engine, run->workload, i);
        me->ended_ns = bench_now_ns();
        bench_histogram_add(&me->latencies, me->ended_ns - began);
    }
}

/* Does the operations; returns the seconds it took, and adds the latencies to all. */
static double do_all(const bench_run *run, bench_histogram *all)
{
    bench_crew crew = {.run = run};
    bench_caller *callers = calloc((size_t)run->callers, sizeof *callers);
    if (!callers || pthread_barrier_init(&crew.ready, NULL, (unsigned)run->callers + 1) != 0)
        bench_fail("no memory for %d callers", run->callers);
    for (int c = 0; c < run->callers; c++) {
        callers[c].crew = &crew;
        callers[c].number = c;
        if (pthread_create(&callers[c].thread, NULL, caller_main, &callers[c]) != 0)
            bench_fail("no thread for caller %d", c);
    }
    pthread_barrier_wait(&crew.ready);
    uint64_t began = UINT64_MAX, ended = 0;
    for (int c = 0; c < run->callers; c++) {
        pthread_join(callers[c].thread, NULL);
        began = callers[c].began_ns < began ? callers[c].began_ns : began;
        ended = callers[c].ended_ns > ended ? callers[c].ended_ns : ended;
        for (size_t b = 0; b < sizeof all->counts / sizeof all->counts[0]; b++)
            all->counts[b] += callers[c].latencies.counts[b];
        all->total += callers[c].latencies.total;
    }
    pthread_barrier_destroy(&crew.ready);
    free(callers);
    return (double)(ended - began) / 1e9;
}

void bench_measure(const bench_run *run)
{
    bench_histogram all = {.total = 0};
    double cpu_s = bench_cpu_s();
    double seconds = do_all(run, &all);
    bench_result(run->engine, run->workload, run->callers, run->n, seconds, bench_cpu_s() - cpu_s,
                 &all);
}

void bench_warm_up(const bench_run *run)
{
    bench_histogram all = {.total = 0};
    (void)do_all(run, &all);
}

/* The C ABI's parts about the queue: drain, empty pull, pickup. */
#include "abi.h"

#include <string.h>
#include <unistd.h>

static int32_t handle(void *context, tito_event_t *event)
{
    (void)event;
    bench_inbox *in = context;
    uint64_t now = bench_now_ns();
    pthread_mutex_lock(&in->mutex);
    in->handled++;
    in->last_ns = now;
    pthread_cond_signal(&in->more);
    pthread_mutex_unlock(&in->mutex);
    if (in->told > 0 && write(in->told, &now, sizeof now) != (ssize_t)sizeof now)
        bench_fail("the time of an event could not be told");
    return TITO_OK;
}

void bench_inbox_wait(bench_inbox *in, long handled)
{
    pthread_mutex_lock(&in->mutex);
    while (in->handled < handled)
        pthread_cond_wait(&in->more, &in->mutex);
    pthread_mutex_unlock(&in->mutex);
}

tito_worker_t *bench_worker_start(tito_db_t *db, const char *type, bench_inbox *in)
{
    tito_worker_t *worker = NULL;
    tito_error_t *error = NULL;
    tito_options_t *o = tito_options_new();
    tito_options_set_int(o, "partition_from", 0);
    tito_options_set_int(o, "partition_to", BENCH_PARTITIONS);
    tito_options_set_int(o, "concurrency", BENCH_PARTITIONS);
    bench_abi_check("a worker", tito_worker_new(db, o, &worker, &error), error);
    tito_options_free(o);
    int32_t status = tito_worker_on(worker, type, strlen(type), NULL, handle, in, &error);
    bench_abi_check("a handler", status, error);
    bench_abi_check("starting a worker", tito_worker_start(worker, &error), error);
    return worker;
}

void bench_worker_stop(tito_worker_t *worker)
{
    bench_abi_check("stopping a worker", tito_worker_stop(worker, -1), NULL);
    bench_await("joining a worker", tito_worker_join(worker));
    tito_worker_free(worker);
}

/* All that publish left; the time ends when the last acknowledgement is committed. */
static void drain(bench_db *b, long events)
{
    bench_inbox in = BENCH_INBOX;
    bench_histogram none = {.total = 0};
    uint64_t began = bench_now_ns();
    double cpu_s = bench_cpu_s();
    tito_worker_t *worker = bench_worker_start(b->db, "bench", &in);
    bench_inbox_wait(&in, events);
    bench_worker_stop(worker);
    double seconds = (double)(bench_now_ns() - began) / 1e9;
    if (in.handled != events)
        bench_fail("%ld events were handled, %ld published", in.handled, events);
    bench_result("c", "drain", 1, events, seconds, bench_cpu_s() - cpu_s, &none);
}

/* Looking for the next events when everything has been consumed. */
static bool empty_pull(void *context, int caller, long i)
{
    (void)caller;
    (void)i;
    bench_db *b = context;
    static const char filter[] = "{\"state\":\"pending\",\"limit\":50}";
    tito_future_t *future = tito_queue_history(b->queue, filter, sizeof filter - 1);
    tito_error_t *error = NULL;
    bench_abi_check("an empty pull", tito_future_wait(future, -1, &error), error);
    tito_page_t *page = tito_future_page(future);
    bool empty = tito_page_count(page) == 0;
    tito_page_free(page);
    tito_future_free(future);
    return empty;
}

/* From the call of publish to the first line of the handler, one event at a time. */
static void pickup(bench_db *b, long n)
{
    bench_inbox in = BENCH_INBOX;
    bench_histogram h = {.total = 0};
    tito_worker_t *worker = bench_worker_start(b->db, "bench", &in);
    uint64_t began = bench_now_ns();
    double cpu_s = bench_cpu_s();
    for (long i = 0; i < n; i++) {
        uint64_t t = bench_now_ns();
        bench_publish(b, 0, i);
        bench_inbox_wait(&in, i + 1);
        bench_histogram_add(&h, in.last_ns - t);
    }
    bench_result("c", "pickup", 1, n, (double)(bench_now_ns() - began) / 1e9, bench_cpu_s() - cpu_s,
                 &h);
    bench_worker_stop(worker);
}

void bench_c_queue(const bench_options *options)
{
    bench_db b = bench_db_open(options, "c");
    drain(&b, bench_events(options));
    bench_measure(&(bench_run){"c", "empty_pull", 1, 20, empty_pull, &b});
    pickup(&b, options->ops < 2000 ? options->ops : 2000);
    bench_db_close(&b);
}

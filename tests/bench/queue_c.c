/* The queue's own run through the C ABI: publishing in hundreds, hot keys against many, what a
 * queue costs that has handled much, pickup by another process.
 *
 *   database "c"      types q1 (published one by one), q100 (in hundreds): raw does the same
 *   database "hot"    type hot: N events of ten keys
 *   database "keys"   type keys: N events of N keys; afterwards the aged queue
 *                     type fresh: the queue that it is compared with, in the same database
 *
 *   database "brief"  type brief: N events of N keys, of which no history is kept
 *
 * On a cluster they are all in one namespace. */
#include "abi.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    HOT_KEYS = 10,
    FILL = 1000,       /* events of a transaction that is not measured */
    AGED_SETTLE_S = 8, /* longer than the grace: the checkpoint passes what was handled */
    AGED_PULLS = 200,
    AGED_FIRSTS = 21,
    AWAY_BUSY = 300,
    AWAY_IDLE = 15,
    AWAY_IDLE_S = 3,
};

long bench_queue_ones(const bench_options *options)
{
    return options->queue / 50 > 0 ? options->queue / 50 : 1;
}

long bench_queue_hundreds(const bench_options *options)
{
    return (options->queue / 5 / BENCH_HUNDRED + 1) * BENCH_HUNDRED;
}

typedef struct queue_db {
    tito_db_t *db;
    tito_queue_t *queue;
    const char *type;
    long keys; /* that events have; 0: each its own */
} queue_db;

/* A queue in a database; of the type `brief` nothing is kept that is done. */
static queue_db queue_in(tito_db_t *db, const char *type)
{
    queue_db q = {.db = db, .type = type};
    tito_options_t *o = tito_options_new();
    tito_error_t *error = NULL;
    tito_options_set_int(o, "partitions", BENCH_PARTITIONS);
    if (strcmp(type, "brief") == 0)
        tito_options_set_int(o, "retention_us", 0);
    int32_t status = tito_queue_open(q.db, type, strlen(type), o, &q.queue, &error);
    bench_abi_check("opening a queue", status, error);
    tito_options_free(o);
    return q;
}

static queue_db open_queue(const bench_options *options, const char *name, const char *type)
{
    return queue_in(bench_db_connect(options, name), type);
}

static void close_queue(queue_db *q)
{
    tito_error_t *error = NULL;
    tito_queue_free(q->queue);
    bench_abi_check("closing", tito_db_close(q->db, &error), error);
    tito_db_free(q->db);
}

static void publish_in(const queue_db *q, tito_txn_t *txn, long i)
{
    char key[32], payload[64];
    int key_len = snprintf(key, sizeof key, "user:%ld", q->keys > 0 ? i % q->keys : i);
    size_t payload_len = bench_event_payload(payload, sizeof payload, i);
    bench_await("publish", tito_queue_publish(q->queue, txn, key, (size_t)key_len, payload,
                                              payload_len, 0, 0, NULL));
}

static bool publish_one(void *context, int caller, long i)
{
    (void)caller;
    publish_in(context, NULL, i);
    return true;
}

/* Events from … to - 1 in one transaction. */
static void publish_some(const queue_db *q, long from, long to)
{
    tito_txn_t *txn = NULL;
    tito_error_t *error = NULL;
    bench_abi_check("a transaction", tito_txn_begin(q->db, NULL, &txn, &error), error);
    for (long i = from; i < to; i++)
        publish_in(q, txn, i);
    bench_await("commit", tito_txn_commit(txn));
    tito_txn_free(txn);
}

void bench_c_hundred(const bench_options *options)
{
    queue_db q = open_queue(options, "c", "q1");
    q.keys = BENCH_KEYS;
    long ones = bench_queue_ones(options), n = bench_queue_hundreds(options);
    bench_measure(&(bench_run){"c", "publish", 1, ones, publish_one, &q});
    close_queue(&q);
    q = open_queue(options, "c", "q100");
    q.keys = BENCH_KEYS;
    bench_histogram h = {.total = 0};
    uint64_t began = bench_now_ns();
    double cpu_s = bench_cpu_s();
    for (long i = 0; i < n; i += BENCH_HUNDRED) {
        uint64_t t = bench_now_ns();
        publish_some(&q, i, i + BENCH_HUNDRED);
        bench_histogram_add(&h, bench_now_ns() - t);
    }
    bench_result("c", "publish_100", 1, n, (double)(bench_now_ns() - began) / 1e9,
                 bench_cpu_s() - cpu_s, &h);
    close_queue(&q);
}

/* Publishes all, then measures until the last acknowledgement is committed. */
static void fill_and_drain(const bench_options *options, queue_db *q, const char *engine,
                           const char *workload)
{
    bench_inbox in = BENCH_INBOX;
    bench_histogram none = {.total = 0};
    for (long i = 0; i < options->queue; i += FILL)
        publish_some(q, i, i + FILL < options->queue ? i + FILL : options->queue);
    uint64_t began = bench_now_ns();
    double cpu_s = bench_cpu_s();
    tito_worker_t *worker = bench_worker_start(q->db, q->type, &in);
    bench_inbox_wait(&in, options->queue);
    bench_worker_stop(worker);
    double seconds = (double)(bench_now_ns() - began) / 1e9;
    if (in.handled != options->queue)
        bench_fail("%ld events were handled, %ld published", in.handled, options->queue);
    bench_result(engine, workload, 1, options->queue, seconds, bench_cpu_s() - cpu_s, &none);
}

void bench_c_hot(const bench_options *options)
{
    queue_db q = open_queue(options, "hot", "hot");
    q.keys = HOT_KEYS;
    fill_and_drain(options, &q, "c", "drain_hot_keys");
    close_queue(&q);
}

void bench_c_keys(const bench_options *options)
{
    queue_db q = open_queue(options, "keys", "keys");
    fill_and_drain(options, &q, "many", "drain_hot_keys");
    close_queue(&q);
}

void bench_c_brief(const bench_options *options)
{
    queue_db q = open_queue(options, "brief", "brief");
    fill_and_drain(options, &q, "c", "drain_no_history");
    close_queue(&q);
}

/* A queue that lives on: a few events, and a while. */
static void live_on(const queue_db *q)
{
    bench_inbox in = BENCH_INBOX;
    tito_worker_t *worker = bench_worker_start(q->db, q->type, &in);
    for (long i = 0; i < 3; i++) {
        publish_some(q, 0, BENCH_HUNDRED);
        bench_inbox_wait(&in, (i + 1) * BENCH_HUNDRED);
        sleep(AGED_SETTLE_S / 2);
    }
    bench_worker_stop(worker);
}

/* Looking for the next events when there are none. */
static bool empty_pull(void *context, int caller, long i)
{
    (void)caller;
    (void)i;
    static const char filter[] = "{\"state\":\"pending\",\"limit\":50}";
    const queue_db *q = context;
    tito_future_t *future = tito_queue_history(q->queue, filter, sizeof filter - 1);
    tito_error_t *error = NULL;
    bench_abi_check("an empty pull", tito_future_wait(future, -1, &error), error);
    tito_page_t *page = tito_future_page(future);
    bool empty = tito_page_count(page) == 0;
    tito_page_free(page);
    tito_future_free(future);
    return empty;
}

/* From the start of a worker to its first event, which was there before. */
static uint64_t first_event(const queue_db *q, long i)
{
    bench_inbox in = BENCH_INBOX;
    publish_some(q, i, i + 1);
    uint64_t began = bench_now_ns();
    tito_worker_t *worker = bench_worker_start(q->db, q->type, &in);
    bench_inbox_wait(&in, 1);
    bench_worker_stop(worker);
    return in.last_ns - began;
}

/* Of the queues in turn, so that what the process and the machine do meanwhile meets all of them;
 * the first round warms up. */
static void first_events(const queue_db *const *queues, const char *const *engines)
{
    static bench_histogram h[2];
    double seconds[2] = {0, 0}, cpu_s[2] = {0, 0};
    for (long i = 0; i <= AGED_FIRSTS; i++) {
        for (int k = 0; k < 2; k++) {
            double before_s = bench_cpu_s();
            uint64_t ns = first_event(queues[k], i);
            if (i == 0)
                continue;
            bench_histogram_add(&h[k], ns);
            seconds[k] += (double)ns / 1e9;
            cpu_s[k] += bench_cpu_s() - before_s;
        }
    }
    for (int k = 0; k < 2; k++)
        bench_result(engines[k], "first_event_aged", 1, AGED_FIRSTS, seconds[k], cpu_s[k], &h[k]);
}

void bench_c_aged(const bench_options *options)
{
    static const char *const engines[] = {"c", "fresh"};
    queue_db aged = open_queue(options, "keys", "keys");
    queue_db fresh = queue_in(aged.db, "fresh");
    const queue_db *const queues[] = {&aged, &fresh};
    for (int k = 0; k < 2; k++)
        live_on(queues[k]);
    for (int k = 0; k < 2; k++) {
        bench_run run = {engines[k], "empty_pull_aged", 1,
                         AGED_PULLS, empty_pull,        (void *)queues[k]};
        bench_warm_up(&run);
        bench_measure(&run);
    }
    first_events(queues, engines);
    tito_queue_free(fresh.queue);
    close_queue(&aged);
}

/* ---- another process ---- */

/* The child: works until its input ends, and tells when each event came. */
static _Noreturn void work_away(const bench_options *options, int in_fd, int out_fd)
{
    char end;
    bench_inbox in = BENCH_INBOX;
    in.told = out_fd;
    queue_db q = open_queue(options, "away", "away");
    tito_worker_t *worker = bench_worker_start(q.db, q.type, &in);
    while (read(in_fd, &end, 1) > 0)
        continue;
    bench_worker_stop(worker);
    close_queue(&q);
    _exit(0);
}

/* From the call of publish to the first line of the other process's handler. */
static uint64_t send_one(const queue_db *q, int from_fd, long i)
{
    uint64_t came_ns, began = bench_now_ns();
    publish_in(q, NULL, i);
    if (read(from_fd, &came_ns, sizeof came_ns) != (ssize_t)sizeof came_ns)
        bench_fail("the other process has ended");
    return came_ns - began;
}

static void send_many(const queue_db *q, int from_fd, const char *workload, long n, unsigned wait_s)
{
    bench_histogram h = {.total = 0};
    double seconds = 0, cpu_s = bench_cpu_s();
    for (long i = 0; i < n; i++) {
        sleep(wait_s);
        uint64_t ns = send_one(q, from_fd, i);
        bench_histogram_add(&h, ns);
        seconds += (double)ns / 1e9;
    }
    bench_result("c", workload, 1, n, seconds, bench_cpu_s() - cpu_s, &h);
}

void bench_c_away(const bench_options *options)
{
    int to[2], from[2];
    int status = 0;
    if (pipe(to) != 0 || pipe(from) != 0)
        bench_fail("no pipes for another process");
    fflush(NULL);
    pid_t child = fork(); // before there is anything that a fork would break
    if (child == 0) {
        close(to[1]);
        close(from[0]);
        work_away(options, to[0], from[1]);
    }
    close(to[0]);
    close(from[1]);
    queue_db q = open_queue(options, "away", "away");
    (void)send_one(&q, from[0], 0); // it is there
    send_many(&q, from[0], "pickup_away_busy", AWAY_BUSY, 0);
    send_many(&q, from[0], "pickup_away_idle", AWAY_IDLE, AWAY_IDLE_S);
    close_queue(&q);
    close(to[1]);
    if (waitpid(child, &status, 0) != child || status != 0)
        bench_fail("the other process ended with %d", status);
}

/* What the C parts share: an open database and its models, through tito.h alone. */
#ifndef TITO_BENCH_ABI_H
#define TITO_BENCH_ABI_H

#include "bench.h"
#include "tito.h"

#include <pthread.h>

typedef struct bench_db {
    tito_db_t *db;
    tito_model_t *tag, *post;
    tito_queue_t *queue;
} bench_db;

/* Opens dir/name with the run's durability and cache. */
tito_db_t *bench_db_connect(const bench_options *options, const char *name);
/* Opens dir/name with both models and the queue "bench". */
bench_db bench_db_open(const bench_options *options, const char *name);
void bench_db_close(bench_db *b);
/* Waits for a future and frees it. Ends the run when it failed. */
void bench_await(const char *what, tito_future_t *future);
/* Ends the run when status is not TITO_OK; frees error. */
void bench_abi_check(const char *what, int32_t status, tito_error_t *error);
/* Publishes event i. */
bool bench_publish(void *context, int caller, long i);

/* ---- abi_queue.c */

/* What a worker's handler tells the thread that waits. */
typedef struct bench_inbox {
    pthread_mutex_t mutex;
    pthread_cond_t more;
    long handled;
    uint64_t last_ns; /* when the last event came */
    int told;         /* each time is written to this file, too; 0: to none */
} bench_inbox;

#define BENCH_INBOX                                                                                \
    {                                                                                              \
        .mutex = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER                       \
    }

/* Waits until so many events were handled. */
void bench_inbox_wait(bench_inbox *in, long handled);
/* A worker of all partitions whose handler does nothing but count. */
tito_worker_t *bench_worker_start(tito_db_t *db, const char *type, bench_inbox *in);
/* Drains it. */
void bench_worker_stop(tito_worker_t *worker);

#endif

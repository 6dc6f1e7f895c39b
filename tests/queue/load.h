/* A run of publishers and handlers over one type, logged for checker.h. */
#ifndef TITO_TESTS_QUEUE_LOAD_H
#define TITO_TESTS_QUEUE_LOAD_H

#include <pthread.h>

#include "queue/checker.h"
#include "queue/support.h"

/* Who handles how, and the log. */
typedef struct run {
    qdb d;
    ti_worker *w;
    uint64_t number_max;
    uint32_t key_count;
    uint32_t *key_of; /* per number */
    check_entry *log;
    size_t log_size;
    _Atomic(size_t) log_count;
    pthread_mutex_t log_lock;
    _Atomic(uint64_t) finished;
    uint32_t fail_in; /* one in so many runs fails; 0 = none */
    uint32_t abandon_in;
    uint32_t write_in; /* one in so many acknowledgements writes through its transaction */
    uint32_t sleep_us; /* at most, per run */
    uint64_t bad_key;  /* this key always fails; UINT64_MAX = none */
    _Atomic(bool) stop;
    uint32_t batch;
    uint32_t together; /* the worker's batches; 0 = one by one */
} run;

/* Numbers 1 … numbers of random keys; engine: NULL = one in memory, else taken over. */
void run_open(run *r, ti_engine *engine, uint64_t numbers, uint32_t keys, uint32_t partitions);
void run_close(run *r);
/* Publishes numbers from … to in order, 1 … batch per transaction. */
void run_publish(run *r, uint64_t from, uint64_t to, uint64_t batch);
/* Handles one event, or one batch, as the run says. */
void run_handle(run *r, ti_event *event, test_random *random);
/* A thread that handles until the worker stops, or run.stop is set and nothing comes. */
void *run_consume(void *context);
/* Starts threads that handle; joins them after setting stop. */
void run_start_threads(run *r, pthread_t *threads, int count);
void run_join_threads(run *r, pthread_t *threads, int count);
/* Waits until the store has no event to be delivered, a minute at most. */
void run_wait_empty(run *r);
/* Fails unless the log and the store say that all was well. */
void run_judge(run *r);

#endif

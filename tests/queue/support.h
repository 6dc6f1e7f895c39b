/* What the tests of the queue share: a database of their own, publishing, a worker with a handler
 * run by threads of the test. */
#ifndef TITO_TESTS_QUEUE_SUPPORT_H
#define TITO_TESTS_QUEUE_SUPPORT_H

#include "support/test.h"

#include "kv/retry.h"
#include "model/store.h"
#include "queue/queue.h"
#include "queue/worker.h"
#include "rocks/rocks.h"

typedef struct qdb {
    ti_engine *engine; /* owned by kv */
    ti_kv kv;
    ti_store *store;
    ti_queues *queues;
    ti_call call;
    ti_err err;
    ti_arena a;
    const ti_env *env;
} qdb;

/* What qdb_open gives ti_queues_open; 0 unless a test sets it. */
extern int64_t qdb_meta_lease_us;
/* In memory (path NULL), or in that directory; on the machine env (NULL: the real one). With
 * TITO_TEST_ENGINE=tikv on the cluster under test, with keys of its own (of the path). */
void qdb_open(qdb *d, const char *path, const ti_env *env);
/* On an engine, whose reference is taken over. */
void qdb_open_on(qdb *d, ti_engine *engine);
/* Another handle on the same engine. */
void qdb_open_beside(qdb *d, const qdb *first);
void qdb_close(qdb *d);

#define OK(d, call) test_ok(call, &(d)->err)

static inline ti_slice S(const char *text)
{
    return ti_slice_of(text);
}

/* Publishes in a transaction of its own. */
void publish(qdb *d, const char *type, const char *key, const char *payload);
void publish_due(qdb *d, const char *type, const char *key, const char *payload, int64_t due_us);
/* Publishes n events of random keys k0 … k{keys-1} in transactions of batch; the payload is a
 * number that rises with every event of the program. */
void publish_many(qdb *d, const char *type, uint64_t n, uint64_t keys, uint64_t batch);
void declare(qdb *d, const char *type, uint32_t partitions, int64_t retention_us,
             ti_ordering ordering);
uint64_t count_of(qdb *d, const char *type, ti_event_state state);
/* The database's time in µs. */
int64_t db_now_us(qdb *d);
/* A worker of one type that has been started; a test that fails in the calling thread ends it. */
ti_worker *start_worker(qdb *d, const char *type, const ti_worker_options *options);
/* The same, of batches of at most that many events. */
ti_worker *start_batches(qdb *d, const char *type, const ti_worker_options *options,
                         uint32_t batch);
/* Frees a worker, wherever it comes from, and forgets it when start_worker made it. */
void free_worker(ti_worker *w);
#define ti_worker_free free_worker
/* Stops, expects it to drain, frees. */
void finish_worker(ti_worker *w);
/* Takes one event, waiting up to ten seconds. */
ti_event *take_one(ti_worker *w);
/* Nothing to take within us. */
void expect_none(ti_worker *w, int64_t us);
void ack(ti_event *event);
void fail_event(ti_event *event, const char *why);
/* Waits until the outcomes have been committed. */
void wait_committed(ti_worker *w);
/* Whether the slice is that text. */
bool is(ti_slice s, const char *text);

#endif

/* See support.h. */
#include "queue/support.h"
#undef ti_worker_free

#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>

#include "tikv/spaced.h"

/* ---- the workers that run ---- */

#define WORKERS_MAX 128

static struct {
    ti_worker *workers[WORKERS_MAX]; /* NULL: free */
    pthread_t owners[WORKERS_MAX];
    pthread_mutex_t mutex;
} running = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* Replaces one of the running workers by another: NULL is none. */
static void running_replace(const ti_worker *from, ti_worker *to)
{
    pthread_mutex_lock(&running.mutex);
    for (size_t i = 0; i < WORKERS_MAX; i++) {
        if (running.workers[i] == from) {
            running.workers[i] = to;
            running.owners[i] = pthread_self();
            break;
        }
    }
    pthread_mutex_unlock(&running.mutex);
}

/* cmocka's, which leaves the test by a jump: before that the workers that the test has started end,
 * whose database is in the test's frame. What is with a handler thread stays valid. */
__attribute__((noreturn, visibility("default"))) void _fail(const char *file, const int line);
void _fail(const char *file, const int line)
{
    void (*of_cmocka)(const char *, const int);
    void *found = dlsym(RTLD_NEXT, "_fail");
    memcpy(&of_cmocka, &found, sizeof(of_cmocka));
    for (size_t i = 0; i < WORKERS_MAX; i++) {
        pthread_mutex_lock(&running.mutex);
        ti_worker *w = running.workers[i];
        bool mine = w != NULL && pthread_equal(running.owners[i], pthread_self());
        if (mine)
            running.workers[i] = NULL;
        pthread_mutex_unlock(&running.mutex);
        if (mine)
            ti_worker_free(w);
    }
    of_cmocka(file, line);
    abort();
}

/* ---- databases ---- */

int64_t qdb_meta_lease_us;

static void open_store(qdb *d)
{
    OK(d, ti_store_new(&(ti_store_options){.env = d->env}, &d->store, &d->err));
    d->call = ti_call_within(d->env, TI_NO_DEADLINE);
    ti_kv_options options = {.timeout_us = 30000000,
                             .txn_age_us = 60000000,
                             .describe = ti_store_describe_key,
                             .describe_context = d->store};
    OK(d, ti_kv_open(&d->kv, d->engine, &options, &d->err));
    OK(d, ti_store_open(d->store, &d->kv, &d->call, &d->err));
    const ti_queues_options of_queues = {.meta_lease_us = qdb_meta_lease_us};
    OK(d, ti_queues_open(d->store, &of_queues, &d->queues, &d->err));
    ti_arena_init(&d->a);
}

void qdb_open(qdb *d, const char *path, const ti_env *env)
{
    ti_rocks_options options = {.durability = TI_DURABILITY_BUFFERED};
    memset(d, 0, sizeof(*d));
    d->env = env != NULL ? env : ti_env_real();
    d->call = ti_call_within(d->env, TI_NO_DEADLINE);
    if (spaced_wanted())
        d->engine = path == NULL ? spaced_new() : spaced_named(path);
    else if (path == NULL)
        OK(d, ti_rocks_open_memory(&options, d->env, &d->engine, &d->call, &d->err));
    else
        OK(d, ti_rocks_open(path, &options, d->env, &d->engine, &d->call, &d->err));
    open_store(d);
}

void qdb_open_on(qdb *d, ti_engine *engine)
{
    memset(d, 0, sizeof(*d));
    d->env = engine->env;
    d->engine = engine;
    open_store(d);
}

void qdb_open_beside(qdb *d, const qdb *first)
{
    memset(d, 0, sizeof(*d));
    d->env = first->env;
    d->engine = first->engine;
    d->engine->vt->ref(d->engine);
    open_store(d);
}

void qdb_close(qdb *d)
{
    ti_arena_free(&d->a);
    ti_queues_close(d->queues);
    ti_store_free(d->store);
    ti_kv_close(&d->kv);
}

void publish_due(qdb *d, const char *type, const char *key, const char *payload, int64_t due_us)
{
    ti_event_spec spec = {.type = S(type), .key = S(key), .payload = S(payload), .due_us = due_us};
    OK(d, ti_queue_publish(d->queues, NULL, &spec, NULL, &d->call, &d->err));
}

void publish(qdb *d, const char *type, const char *key, const char *payload)
{
    publish_due(d, type, key, payload, 0);
}

void publish_many(qdb *d, const char *type, uint64_t n, uint64_t keys, uint64_t batch)
{
    static _Atomic(uint64_t) number;
    test_random random = test_random_start(7);
    while (n > 0) {
        ti_txn *txn;
        OK(d, ti_txn_begin(&d->kv, NULL, &txn, &d->err));
        for (uint64_t i = 0; i < batch && n > 0; i++, n--) {
            char key[32];
            char payload[64];
            snprintf(key, sizeof(key), "k%" PRIu64, test_random_below(&random, keys));
            snprintf(payload, sizeof(payload), "%" PRIu64, atomic_fetch_add(&number, 1) + 1);
            ti_event_spec spec = {.type = S(type), .key = S(key), .payload = S(payload)};
            OK(d, ti_queue_publish(d->queues, txn, &spec, NULL, &d->call, &d->err));
        }
        OK(d, ti_txn_commit(txn, NULL, &d->call, &d->err));
        ti_txn_free(txn);
    }
}

void declare(qdb *d, const char *type, uint32_t partitions, int64_t retention_us,
             ti_ordering ordering)
{
    ti_queue_options options = {
        .partitions = partitions, .retention_us = retention_us, .ordering = ordering};
    OK(d, ti_queue_declare(d->queues, S(type), &options, &d->err));
}

uint64_t count_of(qdb *d, const char *type, ti_event_state state)
{
    uint64_t count;
    OK(d, ti_queue_count(d->queues, S(type), state, UINT64_MAX, &count, &d->call, &d->err));
    return count;
}

int64_t db_now_us(qdb *d)
{
    ti_ts now;
    OK(d, ti_kv_now(&d->kv, &now, &d->call, &d->err));
    return ti_ts_to_us(now);
}

ti_worker *start_worker(qdb *d, const char *type, const ti_worker_options *options)
{
    return start_batches(d, type, options, 0);
}

ti_worker *start_batches(qdb *d, const char *type, const ti_worker_options *options, uint32_t batch)
{
    ti_worker *w;
    ti_worker_type_options of_type = {.batch = batch};
    OK(d, ti_worker_open(d->queues, options, &w, &d->err));
    OK(d, ti_worker_on(w, S(type), &of_type, &d->err));
    OK(d, ti_worker_start(w, &d->call, &d->err));
    running_replace(NULL, w);
    return w;
}

void free_worker(ti_worker *w)
{
    if (w != NULL)
        running_replace(w, NULL);
    ti_worker_free(w);
}

void finish_worker(ti_worker *w)
{
    ti_err err;
    ti_err_clear(&err);
    ti_worker_stop(w, 60000000);
    test_ok(ti_worker_join(w, &err), &err);
    free_worker(w);
}

ti_event *take_one(ti_worker *w)
{
    ti_event *event = NULL;
    size_t count;
    ti_err err;
    ti_err_clear(&err);
    test_ok(ti_worker_take(w, &event, 1, 60000000, &count, &err), &err);
    if (count != 1)
        fail_msg("no event came");
    return event;
}

void expect_none(ti_worker *w, int64_t us)
{
    ti_event *event = NULL;
    size_t count;
    ti_err err;
    ti_err_clear(&err);
    test_ok(ti_worker_take(w, &event, 1, us, &count, &err), &err);
    if (count != 0)
        fail_msg("an event came: %s", ti_event_info_of(event)->id);
}

void ack(ti_event *event)
{
    ti_event_ack(event);
    ti_event_free(event);
}

void fail_event(ti_event *event, const char *why)
{
    ti_event_fail(event, S(why));
    ti_event_free(event);
}

void wait_committed(ti_worker *w)
{
    uint32_t taken;
    uint32_t uncommitted = 1;
    for (int i = 0; i < 10000 && uncommitted > 0; i++) {
        ti_worker_pending(w, &taken, &uncommitted);
        if (uncommitted > 0)
            usleep(1000);
    }
    assert_int_equal(uncommitted, 0);
}

bool is(ti_slice s, const char *text)
{
    return ti_slice_equal(s, S(text));
}

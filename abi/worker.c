/* Workers: registering, starting, taking, stopping; see worker.h. */
#include "abi/worker.h"

#include <stddef.h>
#include <string.h>

#include "abi/options.h"

#define TAKE_STEP 64
#define JOIN_LOOK_NS INT64_C(20000000) /* how often a join looks whether it was cancelled */

/* ---- options ---- */

typedef struct worker_options {
    int64_t concurrency;
    int64_t partition_from;
    int64_t partition_to;
    int64_t max_retries;
    int64_t retry_base_us;
    double retry_factor;
    int64_t retry_cap_us;
    int64_t handler_timeout_us;
    int64_t drain_timeout_us;
    double retry_jitter;
    int64_t key_concurrency;
    int64_t batch; /* 0: none */
    double rate;
    int64_t leased; /* 0: unless there is a range */
    int64_t lease_us;
    int64_t gc_retention_us;
    bool leader;
} worker_options;

#define OPTION_INT(field, least, most)                                                             \
    {                                                                                              \
        .name = #field, .kind = TI_OPTION_INT, .offset = offsetof(worker_options, field),          \
        .min = (least), .max = (most)                                                              \
    }

#define OPTIONS_OF_TYPES                                                                           \
    OPTION_INT(max_retries, 0, UINT32_MAX), OPTION_INT(batch, 1, TI_BATCH_MAX),                    \
        OPTION_INT(retry_base_us, 1, INT64_MAX), OPTION_INT(retry_cap_us, 1, INT64_MAX),           \
        OPTION_INT(handler_timeout_us, -1, INT64_MAX),                                             \
        {.name = "retry_factor",                                                                   \
         .kind = TI_OPTION_DOUBLE,                                                                 \
         .offset = offsetof(worker_options, retry_factor),                                         \
         .min = 1,                                                                                 \
         .max = 1000},                                                                             \
    {                                                                                              \
        .name = "retry_jitter", .kind = TI_OPTION_DOUBLE,                                          \
        .offset = offsetof(worker_options, retry_jitter), .min = 0, .max = 1                       \
    }

static const ti_option known_of_workers[] = {
    OPTION_INT(concurrency, 1, TI_CONCURRENCY_MAX),
    OPTION_INT(partition_from, 0, TI_PARTITIONS_MAX),
    OPTION_INT(partition_to, 0, TI_PARTITIONS_MAX),
    OPTION_INT(drain_timeout_us, -1, INT64_MAX),
    {.name = "leased",
     .kind = TI_OPTION_CHOICE,
     .offset = offsetof(worker_options, leased),
     .choices = {"auto", "true", "false"}},
    OPTION_INT(lease_us, TI_LEASE_US_MIN, TI_LEASE_US_MAX),
    OPTION_INT(gc_retention_us, 1000000, INT64_MAX / 1000),
    {.name = "leader", .kind = TI_OPTION_BOOL, .offset = offsetof(worker_options, leader)},
    OPTIONS_OF_TYPES,
};
static const ti_option known_of_types[] = {
    OPTIONS_OF_TYPES,
    OPTION_INT(concurrency, 1, TI_CONCURRENCY_MAX),
    OPTION_INT(key_concurrency, 1, TI_CONCURRENCY_MAX),
    {.name = "rate",
     .kind = TI_OPTION_DOUBLE,
     .offset = offsetof(worker_options, rate),
     .min = 0,
     .max = 1000000000},
};

static worker_options options_from(const ti_retry_policy *policy, int64_t handler_timeout_us)
{
    return (worker_options){.concurrency = 1,
                            .max_retries = policy->max_retries,
                            .retry_base_us = policy->base_us,
                            .retry_factor = policy->factor,
                            .retry_jitter = policy->jitter,
                            .retry_cap_us = policy->cap_us,
                            .handler_timeout_us = handler_timeout_us,
                            .drain_timeout_us = -1,
                            .leader = true};
}

static ti_retry_policy policy_of(const worker_options *given, const ti_retry_policy *policy)
{
    ti_retry_policy made = *policy;
    made.max_retries = (uint32_t)given->max_retries;
    made.base_us = given->retry_base_us;
    made.factor = given->retry_factor;
    made.jitter = given->retry_jitter;
    made.cap_us = given->retry_cap_us;
    return made;
}

/* ---- life ---- */

static tito_worker_t *of_child(ti_db_child *child)
{
    return (tito_worker_t *)(void *)((char *)child - offsetof(tito_worker_t, child));
}

static void tell_watcher(tito_worker_t *worker)
{
    ti_cq *cq = atomic_load(&worker->cq);
    if (cq != NULL)
        ti_cq_push(cq, &worker->node);
}

/* Makes the descriptor readable, and puts the tag into the queue that watches. */
static void tell(tito_worker_t *worker)
{
    if (atomic_exchange(&worker->told, true))
        return;
    ti_notify_raise(&worker->notify);
    tell_watcher(worker);
}

/* Makes it unreadable; whatever is told before this returns must be looked for after it. */
static void tell_no_more(tito_worker_t *worker)
{
    ti_notify_clear(&worker->notify);
    atomic_store(&worker->told, false);
}

static void stop_cores(tito_worker_t *worker, int64_t drain_timeout_us)
{
    for (size_t i = 0; i < WORKER_KINDS; i++)
        if (worker->cores[i] != NULL)
            ti_worker_stop(worker->cores[i], drain_timeout_us);
    ti_mutex_lock(&worker->mutex);
    worker->stopped = true;
    ti_cond_broadcast(&worker->changed);
    ti_mutex_unlock(&worker->mutex);
    tell(worker);
}

static void stop_now(ti_db_child *child)
{
    stop_cores(of_child(child), 0);
}

static void let_go(ti_db_child *child)
{
    tito_worker_t *worker = of_child(child);
    stop_cores(worker, 0);
    for (size_t i = 0; i < WORKER_KINDS; i++)
        if (worker->cores[i] != NULL)
            (void)ti_worker_join(worker->cores[i], NULL);
}

static void free_handlers(tito_worker_t *worker)
{
    while (worker->handlers != NULL) {
        worker_handler *handler = worker->handlers;
        worker->handlers = handler->next;
        ti_free(handler);
    }
}

static void end_watch(tito_worker_t *worker)
{
    ti_cq *cq = atomic_load(&worker->cq);
    if (cq == NULL)
        return;
    ti_cq_remove(cq, &worker->node);
    ti_cq_unref(cq);
}

/* Frees the memory; handler threads have been joined. */
static void dispose(ti_db_child *child)
{
    tito_worker_t *worker = of_child(child);
    ti_db *db = worker->db;
    end_watch(worker);
    if (ti_db_forked(db)) {
        ti_notify_forget(&worker->notify);
        ti_free(worker);
        ti_db_unref(db);
        return;
    }
    ti_assert(worker->running == 0);
    for (size_t i = 0; i < WORKER_KINDS; i++)
        ti_worker_free(worker->cores[i]);
    free_handlers(worker);
    ti_notify_close(&worker->notify);
    ti_cond_destroy(&worker->changed);
    ti_mutex_destroy(&worker->mutex);
    ti_free(worker->threads);
    ti_free(worker);
    ti_db_unref(db);
}

static void on_ready(void *context)
{
    tito_worker_t *worker = context;
    tell(worker);
}

/* The parts that can fail. */
static ti_status init_parts(tito_worker_t *worker, ti_err *err)
{
    TI_TRY(ti_mutex_init(&worker->mutex, TI_RANK_WORKER, err));
    ti_status status = ti_cond_init(&worker->changed, err);
    if (status != TI_OK) {
        ti_mutex_destroy(&worker->mutex);
        return status;
    }
    status = ti_notify_open(&worker->notify, err);
    if (status != TI_OK) {
        ti_cond_destroy(&worker->changed);
        ti_mutex_destroy(&worker->mutex);
    }
    return status;
}

static void set_options(tito_worker_t *worker, const worker_options *given,
                        const ti_retry_policy *policy)
{
    worker->drain_timeout_us = given->drain_timeout_us;
    worker->batch = given->batch;
    worker->options = (ti_worker_options){
        .concurrency = (uint32_t)given->concurrency,
        .partition_from = (uint32_t)given->partition_from,
        .partition_to = (uint32_t)given->partition_to,
        .leased = given->leased == 1 ||
                  (given->leased == 0 && given->partition_to == 0 && given->partition_from == 0),
        .lease_us = given->lease_us,
        .gc_retention_us = given->gc_retention_us,
        .follower = !given->leader,
        .retry = policy_of(given, policy),
        .handler_timeout_us = given->handler_timeout_us,
        .context = worker};
}

static ti_status new_worker(ti_db *db, const worker_options *given, const ti_retry_policy *policy,
                            tito_worker_t **worker_out, ti_err *err)
{
    tito_worker_t *worker = ti_alloc_zero(sizeof(*worker));
    if (worker == NULL)
        return ti_err_no_memory(err);
    ti_status status = init_parts(worker, err);
    if (status != TI_OK) {
        ti_free(worker);
        return status;
    }
    worker->magic = TI_MAGIC_WORKER;
    atomic_init(&worker->refs, 1);
    worker->db = ti_db_ref(db);
    worker->child = (ti_db_child){.stop = stop_now, .let_go = let_go, .dispose = dispose};
    set_options(worker, given, policy);
    ti_db_adopt(db, &worker->child);
    *worker_out = worker;
    return TI_OK;
}

int32_t tito_worker_new(tito_db_t *db, const tito_options_t *options, tito_worker_t **worker_out,
                        tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_retry_policy policy = ti_retry_policy_default();
    worker_options given = options_from(&policy, 0);
    TI_CHECK(ti_out_check(worker_out, "worker_out", &err));
    TI_CHECK(ti_db_handle_check(db, &err));
    TI_CHECK(ti_options_read(options, "tito_worker_new", known_of_workers,
                             TI_COUNT(known_of_workers), &given, &err));
    if (given.leased == 1 && (given.partition_from > 0 || given.partition_to > 0))
        TI_CHECK(ti_err_set(&err, TI_INVALID_ARGUMENT,
                            "tito_worker_new: a range of partitions or leases, not both"));
    TI_CHECK(ti_db_enter(db->core, &err));
    status = new_worker(db->core, &given, &policy, worker_out, &err);
    ti_db_leave(db->core);
out:
    return ti_answer(status, &err, error_out);
}

static ti_status check_worker(const tito_worker_t *worker, ti_err *err)
{
    TI_TRY(ti_handle_check(worker, TI_MAGIC_WORKER, "worker", err));
    return ti_db_check(worker->db, err);
}

static void unref_worker(void *object)
{
    tito_worker_t *worker = object;
    if (atomic_fetch_sub_explicit(&worker->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (ti_db_forked(worker->db))
        dispose(&worker->child);
    else
        ti_db_release(worker->db, &worker->child);
}

/* Waits for the handler threads to end, and joins them. */
static void join_threads(tito_worker_t *worker)
{
    for (size_t i = 0; i < worker->thread_count; i++)
        ti_thread_join(&worker->threads[i]);
    worker->thread_count = 0;
}

void tito_worker_free(tito_worker_t *worker)
{
    if (ti_handle_check(worker, TI_MAGIC_WORKER, "worker", NULL) != TI_OK)
        return;
    if (!ti_db_forked(worker->db)) {
        if (ti_db_thread_is_worker_now())
            return; /* a handler would wait for itself */
        stop_cores(worker, 0);
        join_threads(worker);
    }
    worker->magic = TI_MAGIC_FREED;
    unref_worker(worker);
}

/* ---- types ---- */

static ti_status add_handler(tito_worker_t *worker, tito_handler_fn handler, void *context,
                             worker_handler **added_out, ti_err *err)
{
    *added_out = NULL;
    if (handler == NULL)
        return TI_OK;
    worker_handler *added = ti_alloc(sizeof(*added));
    if (added == NULL)
        return ti_err_no_memory(err);
    *added = (worker_handler){.next = worker->handlers, .handler = handler, .context = context};
    worker->handlers = added;
    *added_out = added;
    return TI_OK;
}

/* The core worker of a kind, made when there is none. */
static ti_status core_of(tito_worker_t *worker, worker_kind kind, ti_worker **core_out, ti_err *err)
{
    ti_worker_options options = worker->options;
    options.on_ready = kind == WORKER_PULL ? on_ready : NULL;
    if (worker->cores[kind] == NULL)
        TI_TRY(ti_worker_open(ti_db_queues(worker->db), &options, &worker->cores[kind], err));
    *core_out = worker->cores[kind];
    return TI_OK;
}

typedef struct on_call {
    ti_slice type;
    const worker_options *given;
    tito_handler_fn handler;
    void *context;
} on_call;

static ti_status register_type(tito_worker_t *worker, const on_call *on, ti_err *err)
{
    ti_worker *core = NULL;
    worker_handler *handler = NULL;
    ti_retry_policy policy = policy_of(on->given, &worker->options.retry);
    if (worker->started)
        return ti_err_set(err, TI_INVALID_STATE, "the worker has been started");
    TI_TRY(core_of(worker, on->handler == NULL ? WORKER_PULL : WORKER_PUSH, &core, err));
    TI_TRY(add_handler(worker, on->handler, on->context, &handler, err));
    ti_worker_type_options options = {.data = handler,
                                      .retry = &policy,
                                      .handler_timeout_us = on->given->handler_timeout_us,
                                      .concurrency = (uint32_t)on->given->concurrency,
                                      .key_concurrency = (uint32_t)on->given->key_concurrency,
                                      .batch = (uint32_t)on->given->batch,
                                      .rate = on->given->rate};
    return ti_worker_on(core, on->type, &options, err);
}

int32_t tito_worker_on(tito_worker_t *worker, const char *type, size_t type_len,
                       const tito_options_t *options, tito_handler_fn handler, void *context,
                       tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    worker_options given;
    on_call on = {.type = {.data = type, .len = type_len},
                  .given = &given,
                  .handler = handler,
                  .context = context};
    TI_CHECK(check_worker(worker, &err));
    TI_CHECK(ti_bytes_check(type, type_len, "type", &err));
    given = options_from(&worker->options.retry, 0);
    given.concurrency = 0;
    given.batch = worker->batch;
    TI_CHECK(ti_options_read(options, "tito_worker_on", known_of_types, TI_COUNT(known_of_types),
                             &given, &err));
    TI_CHECK(ti_db_enter(worker->db, &err));
    status = register_type(worker, &on, &err);
    ti_db_leave(worker->db);
out:
    return ti_answer(status, &err, error_out);
}

/* ---- handler threads ---- */

static void handle(tito_worker_t *worker, ti_event *core)
{
    const worker_handler *handler = ti_event_data(core);
    tito_event_t *event = ti_event_handle(worker->db, core);
    if (event == NULL) {
        ti_event_fail(core, TI_SLICE("there was no memory for the event's handle"));
        ti_event_free(core);
        return;
    }
    ti_event_finish(event, handler->handler(handler->context, event));
}

static void *handle_events(void *argument)
{
    tito_worker_t *worker = argument;
    ti_event *core = NULL;
    ti_err err;
    size_t count = 0;
    ti_status status = TI_OK;
    ti_db_thread_is_worker();
    while (status == TI_OK) {
        ti_err_clear(&err);
        status = ti_worker_take(worker->cores[WORKER_PUSH], &core, 1, -1, &count, &err);
        if (status == TI_OK && count == 1)
            handle(worker, core);
    }
    ti_mutex_lock(&worker->mutex);
    if (status != TI_CLOSED && worker->failed.status == TI_OK)
        worker->failed = err;
    worker->running--;
    ti_cond_broadcast(&worker->changed);
    ti_mutex_unlock(&worker->mutex);
    return NULL;
}

static ti_status start_thread(tito_worker_t *worker, ti_err *err)
{
    ti_mutex_lock(&worker->mutex);
    worker->running++;
    ti_mutex_unlock(&worker->mutex);
    ti_status status = ti_thread_start(&worker->threads[worker->thread_count], "tito-handler",
                                       handle_events, worker, err);
    if (status == TI_OK) {
        worker->thread_count++;
        return TI_OK;
    }
    ti_mutex_lock(&worker->mutex);
    worker->running--;
    ti_mutex_unlock(&worker->mutex);
    return status;
}

static ti_status start_threads(tito_worker_t *worker, ti_err *err)
{
    size_t count = worker->options.concurrency;
    worker->threads = ti_alloc(count * sizeof(*worker->threads));
    if (worker->threads == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < count; i++)
        TI_TRY(start_thread(worker, err));
    return TI_OK;
}

/* ---- starting ---- */

static ti_status begin_start(tito_worker_t *worker, ti_err *err)
{
    ti_mutex_lock(&worker->mutex);
    bool refused = worker->started || worker->stopped;
    worker->started = true;
    ti_mutex_unlock(&worker->mutex);
    if (refused)
        return ti_err_set(err, TI_INVALID_STATE, "the worker has been started or stopped");
    if (worker->cores[WORKER_PULL] == NULL && worker->cores[WORKER_PUSH] == NULL)
        return ti_err_set(err, TI_INVALID_STATE, "the worker has no types: tito_worker_on");
    return TI_OK;
}

static ti_status run_begin(ti_op *op, const ti_call *call, ti_err *err)
{
    tito_worker_t *worker = op->args.object;
    ti_status status = TI_OK;
    TI_TRY(begin_start(worker, err));
    for (size_t i = 0; i < WORKER_KINDS; i++)
        if (worker->cores[i] != NULL)
            TI_CHECK(ti_worker_start(worker->cores[i], call, err));
    if (worker->cores[WORKER_PUSH] != NULL)
        TI_CHECK(start_threads(worker, err));
    if (worker->cores[WORKER_PULL] != NULL)
        tell(worker); /* cores tell of what comes after a take: a first one is asked for */
    return TI_OK;
out:
    stop_cores(worker, 0);
    return status;
}

static const ti_op_kind begin_kind = {
    TI_OP_KIND("worker start", TI_WORK_GENERAL, false, run_begin)};

/* ---- stopping ---- */

/* Waits until the worker has been stopped, and (threads_too) its handler threads have ended. */
static ti_status wait_for(tito_worker_t *worker, bool threads_too, const ti_call *call, ti_err *err)
{
    ti_status status = TI_OK;
    ti_mutex_lock(&worker->mutex);
    while (status == TI_OK && (!worker->stopped || (threads_too && worker->running > 0))) {
        int64_t look_ns = ti_env_mono_ns(call->env) + JOIN_LOOK_NS;
        (void)ti_cond_wait_until(&worker->changed, &worker->mutex, call->env, look_ns);
        status = ti_call_check(call, "worker join", err);
    }
    ti_mutex_unlock(&worker->mutex);
    return status;
}

static ti_status run_join(ti_op *op, const ti_call *call, ti_err *err)
{
    tito_worker_t *worker = op->args.object;
    op->number = 1;
    if (!worker->started)
        return ti_err_set(err, TI_INVALID_STATE, "the worker has not been started");
    TI_TRY(wait_for(worker, false, call, err));
    for (size_t i = 0; i < WORKER_KINDS; i++) {
        if (worker->cores[i] != NULL && ti_worker_join(worker->cores[i], NULL) != TI_OK)
            op->number = 0;
    }
    TI_TRY(wait_for(worker, true, call, err));
    if (worker->failed.status == TI_OK)
        return TI_OK;
    *err = worker->failed;
    return err->status;
}

static const ti_op_kind join_kind = {TI_OP_KIND("worker join", TI_WORK_LOCK, false, run_join),
                                     .endless = true};

static tito_future_t *submit(tito_worker_t *worker, const ti_op_kind *kind)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_op *op = NULL;
    TI_CHECK(check_worker(worker, &err));
    op = ti_op_new(worker->db, NULL, kind, 0);
    TI_CHECK(op == NULL ? ti_err_no_memory(&err) : TI_OK);
    atomic_fetch_add_explicit(&worker->refs, 1, memory_order_relaxed);
    op->args.object = worker;
    op->args.release = unref_worker;
out:
    return ti_op_submit(op, ti_db_of(worker, TI_MAGIC_WORKER), NULL, status, &err);
}

tito_future_t *tito_worker_begin(tito_worker_t *worker)
{
    return submit(worker, &begin_kind);
}

int32_t tito_worker_start(tito_worker_t *worker, tito_error_t **error_out)
{
    tito_future_t *begun = tito_worker_begin(worker);
    int32_t status = tito_future_wait(begun, -1, error_out);
    tito_future_free(begun);
    return status;
}

tito_future_t *tito_worker_join(tito_worker_t *worker)
{
    return submit(worker, &join_kind);
}

int32_t tito_worker_stop(tito_worker_t *worker, int64_t drain_timeout_us)
{
    TI_TRY(check_worker(worker, NULL));
    stop_cores(worker, drain_timeout_us < 0 ? worker->drain_timeout_us : drain_timeout_us);
    return TITO_OK;
}

int32_t tito_worker_set_leader(tito_worker_t *worker, int32_t leader)
{
    TI_TRY(check_worker(worker, NULL));
    TI_TRY(ti_db_enter(worker->db, NULL));
    worker->options.follower = leader == 0;
    for (size_t i = 0; i < WORKER_KINDS; i++)
        if (worker->cores[i] != NULL)
            ti_worker_set_leader(worker->cores[i], leader != 0);
    ti_db_leave(worker->db);
    return TITO_OK;
}

/* ---- taking ---- */

int32_t tito_worker_fd(tito_worker_t *worker)
{
    return check_worker(worker, NULL) == TI_OK ? ti_notify_fd(&worker->notify) : -1;
}

/* Has cq told from now on, and at once what was told before. */
static ti_status begin_watch(tito_worker_t *worker, ti_cq *cq, uint64_t tag, ti_err *err)
{
    TI_TRY(ti_cq_check(cq, err));
    ti_mutex_lock(&worker->mutex);
    bool watched = atomic_load(&worker->cq) != NULL;
    if (!watched) {
        worker->node.completion.tag = tag;
        atomic_store(&worker->cq, ti_cq_ref(cq));
    }
    ti_mutex_unlock(&worker->mutex);
    if (watched)
        return ti_err_set(err, TI_INVALID_STATE, "the worker is watched already");
    if (atomic_load(&worker->told))
        tell_watcher(worker);
    return TI_OK;
}

int32_t tito_worker_watch(tito_worker_t *worker, tito_cq_t *cq, uint64_t tag,
                          tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    TI_CHECK(check_worker(worker, &err));
    TI_CHECK(ti_handle_check(cq, TI_MAGIC_CQ, "cq", &err));
    TI_CHECK(begin_watch(worker, cq->core, tag, &err));
out:
    return ti_answer(status, &err, error_out);
}

/* Wraps count events; those without memory for a handle run again. */
static size_t wrap_events(tito_worker_t *worker, ti_event **cores, size_t count,
                          tito_event_t **events_out)
{
    size_t wrapped = 0;
    for (size_t i = 0; i < count; i++) {
        tito_event_t *event = ti_event_handle(worker->db, cores[i]);
        if (event != NULL) {
            events_out[wrapped++] = event;
            continue;
        }
        ti_event_abandon(cores[i]);
        ti_event_free(cores[i]);
    }
    return wrapped;
}

/* The descriptor is touched only when fewer than asked are ready. */
static ti_status take_cores(tito_worker_t *worker, ti_event **cores, size_t asked,
                            int64_t timeout_us, size_t *count_out, ti_err *err)
{
    ti_worker *pull = worker->cores[WORKER_PULL];
    size_t count = 0;
    size_t more = 0;
    ti_status status = ti_worker_take(pull, cores, asked, 0, &count, err);
    if (status == TI_OK && count < asked) {
        tell_no_more(worker);
        status = ti_worker_take(pull, cores + count, asked - count, count > 0 ? 0 : timeout_us,
                                &more, err);
    }
    if (status != TI_OK || count + more == asked)
        tell(worker); /* the end is there to stay; or more may be ready */
    *count_out = count + more;
    return count > 0 ? TI_OK : status;
}

static ti_status take(tito_worker_t *worker, tito_event_t **events_out, size_t max,
                      int64_t timeout_us, size_t *count_out, ti_err *err)
{
    ti_event *cores[TAKE_STEP];
    size_t asked = max < TAKE_STEP ? max : TAKE_STEP;
    size_t count = 0;
    if (worker->cores[WORKER_PULL] == NULL)
        return ti_err_set(err, TI_INVALID_STATE, "the worker has no types that the host takes");
    TI_TRY(take_cores(worker, cores, asked, timeout_us, &count, err));
    *count_out = wrap_events(worker, cores, count, events_out);
    return count > 0 && *count_out == 0 ? ti_err_no_memory(err) : TI_OK;
}

int32_t tito_worker_take(tito_worker_t *worker, tito_event_t **events_out, size_t max,
                         int64_t timeout_us, size_t *count_out, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    if (count_out != NULL)
        *count_out = 0;
    TI_CHECK(check_worker(worker, &err));
    if (events_out == NULL || count_out == NULL || max == 0)
        TI_CHECK(ti_err_set(&err, TI_INVALID_ARGUMENT, "events_out, count_out or max is missing"));
    TI_CHECK(take(worker, events_out, max, timeout_us, count_out, &err));
out:
    return ti_answer(status, &err, error_out);
}

/* Opening, using and closing a database handle; see db.h.
 *
 * Closing, in this order:
 *   1. state CLOSING: enter answers CLOSED from now on.
 *   2. stop of every child: workers give out nothing more.
 *   3. the executor is closed: queued operations end with CLOSED, nobody is inside any more.
 *   4. let_go of every child: transactions end, workers' threads end, steps give up what they hold.
 *   5. store, kv (with the engine's reference), state CLOSED.
 *
 * INVARIANTS
 *  1. Inside the database is who is inside the executor while state is OPEN.
 *  2. A thread that is inside (depth > 0), or that is a worker's, never waits for a close.
 *
 * Locks: mutex (rank DB) guards the list of children and the changes of state; it is never held
 * while a child's function runs. */
#include "db/db.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/process.h"
#include "db/db_int.h"

#define US_PER_S INT64_C(1000000)

/* How often the calling thread is inside a database, and whether it is a worker's. */
static _Thread_local uint32_t depth;
static _Thread_local bool worker_thread;

ti_db_options ti_db_options_default(void)
{
    return (ti_db_options){
        .name_space = TI_SLICE_NONE,
        .partitions = TI_PARTITIONS_DEFAULT,
        .timeout_us = TI_TIMEOUT_DEFAULT_S * US_PER_S,
        .txn_age_us = TI_TXN_AGE_DEFAULT_S * US_PER_S,
        .threads = TI_EXECUTOR_THREADS_DEFAULT,
        .log_level = TI_LOG_WARN,
    };
}

/* ---- making and freeing ---- */

static void free_declarations(ti_db *db)
{
    while (db->declarations != NULL) {
        db_declaration *declaration = db->declarations;
        db->declarations = declaration->next;
        ti_free(declaration);
    }
}

static void free_memory(ti_db *db)
{
    if (db->executor != NULL)
        ti_executor_close(db->executor);
    free_declarations(db);
    ti_db_guests_destroy(db);
    ti_store_free(db->store);
    ti_db_tls_wipe(db);
    ti_arena_free(&db->arena);
    ti_cond_destroy(&db->changed);
    ti_mutex_destroy(&db->mutex);
    ti_executor_unref(db->executor);
    ti_free(db);
}

static ti_status init_rest(ti_db *db, ti_slice target, const ti_db_options *options, ti_err *err)
{
    ti_executor_options executor = {.env = db->env,
                                    .threads_max[TI_WORK_GENERAL] = (size_t)options->threads};
    TI_TRY(ti_executor_create(&executor, &db->executor, err));
    TI_TRY(ti_target_parse(target, &db->arena, &db->target, err));
    TI_TRY(ti_db_tls_copy(db, options, err));
    TI_TRY(ti_db_guests_init(db, err));
    ti_store_options store = {.env = db->env, .name_space = options->name_space, .log = &db->log};
    return ti_store_new(&store, &db->store, err);
}

ti_status ti_db_new(ti_slice target, const ti_db_options *options, ti_db **db_out, ti_err *err)
{
    *db_out = NULL;
    ti_db *db = ti_alloc_zero(sizeof(*db));
    if (db == NULL)
        return ti_err_no_memory(err);
    ti_status status = ti_mutex_init(&db->mutex, TI_RANK_DB, err);
    if (status == TI_OK && (status = ti_cond_init(&db->changed, err)) != TI_OK)
        ti_mutex_destroy(&db->mutex);
    if (status != TI_OK) {
        ti_free(db);
        return status;
    }
    atomic_init(&db->refs, 1);
    db->env = ti_env_real();
    db->options = *options;
    db->options.name_space = db->options.ca = db->options.cert = TI_SLICE_NONE;
    db->options.key = db->options.server_name = TI_SLICE_NONE;
    db->log = (ti_log){.level = (ti_log_level)options->log_level};
    ti_arena_init(&db->arena);
    status = init_rest(db, target, options, err);
    if (status != TI_OK)
        free_memory(db);
    else
        *db_out = db;
    return status;
}

ti_db *ti_db_ref(ti_db *db)
{
    uint32_t before = atomic_fetch_add_explicit(&db->refs, 1, memory_order_relaxed);
    ti_require(before > 0);
    return db;
}

void ti_db_unref(ti_db *db)
{
    uint32_t before = atomic_fetch_sub_explicit(&db->refs, 1, memory_order_acq_rel);
    ti_require(before > 0);
    if (before > 1 || ti_db_forked(db))
        return; /* in a child nothing is freed: see invariant 4 of db.h */
    if (ti_db_close(db, NULL) == TI_OK)
        free_memory(db);
}

/* From core's kind of sink to the host's. context is the handle. */
static void log_to_host(void *context, ti_log_level level, const char *line)
{
    ti_db *db = context;
    db->sink(db->sink_context, (int32_t)level, line);
}

ti_status ti_db_set_log(ti_db *db, ti_db_sink sink, void *context, ti_log_level level, ti_err *err)
{
    ti_status status = TI_OK;
    TI_TRY(ti_db_check(db, err));
    ti_mutex_lock(&db->mutex);
    if (atomic_load(&db->state) == DB_NEW) {
        db->sink = sink;
        db->sink_context = context;
        db->log =
            (ti_log){.sink = sink == NULL ? NULL : log_to_host, .context = db, .level = level};
    } else {
        status = ti_err_set(err, TI_INVALID_STATE, "the log is set before the database is opened");
    }
    ti_mutex_unlock(&db->mutex);
    return status;
}

/* ---- opening ---- */

/* Declares what was remembered, the oldest last. What does not fit what another handle has declared
 * shows at first use. */
static void declare_remembered(ti_db *db)
{
    const db_declaration *kept = db->declarations;
    for (; kept != NULL; kept = kept->next)
        (void)ti_queue_declare(db->queues, (ti_slice){.data = kept->type, .len = kept->type_len},
                               &kept->options, NULL);
}

static void set_state(ti_db *db, db_state from, db_state to)
{
    ti_mutex_lock(&db->mutex);
    ti_assert(atomic_load(&db->state) == (int)from);
    if (to == DB_OPEN)
        declare_remembered(db);
    atomic_store(&db->state, (int)to);
    ti_cond_broadcast(&db->changed);
    ti_mutex_unlock(&db->mutex);
}

static ti_status begin_open(ti_db *db, ti_err *err)
{
    TI_TRY(ti_db_check(db, err));
    ti_mutex_lock(&db->mutex);
    int state = atomic_load(&db->state);
    if (state == DB_NEW)
        atomic_store(&db->state, DB_OPENING);
    ti_mutex_unlock(&db->mutex);
    switch (state) {
    case DB_NEW:
        return TI_OK;
    case DB_OPENING:
        return ti_err_set(err, TI_INVALID_STATE, "the database is being opened");
    case DB_OPEN:
        return ti_err_set(err, TI_INVALID_STATE, "the database is open");
    default:
        return ti_err_set(err, TI_CLOSED, "the database was closed");
    }
}

static ti_status open_queues(ti_db *db, ti_err *err)
{
    ti_queues_options options = {.partitions_default = (uint32_t)db->options.partitions};
    return ti_queues_open(db->store, &options, &db->queues, err);
}

static ti_status open_rooms(ti_db *db, const ti_call *call, ti_err *err)
{
    const ti_keyspace *keyspace = ti_store_keyspace(db->store);
    ti_kv_options options = {
        .prefix = {.data = keyspace->prefix, .len = keyspace->prefix_len},
        .timeout_us = db->options.timeout_us,
        .txn_age_us = db->options.txn_age_us,
        .describe = ti_store_describe_key,
        .describe_context = db->store,
        .log = &db->log,
    };
    ti_engine *engine = NULL;
    TI_TRY(ti_db_engine(db, &engine, call, err));
    TI_TRY(ti_kv_open(&db->kv, engine, &options, err));
    ti_status status = ti_store_open(db->store, &db->kv, call, err);
    if (status == TI_OK) {
        status = open_queues(db, err);
        if (status != TI_OK)
            ti_store_close(db->store);
    }
    if (status != TI_OK)
        ti_kv_close(&db->kv);
    return status;
}

ti_status ti_db_open(ti_db *db, const ti_call *call, ti_err *err)
{
    TI_TRY(begin_open(db, err));
    ti_status status = open_rooms(db, call, err);
    if (status != TI_OK)
        ti_db_engine_gone(db);
    set_state(db, DB_OPENING, status == TI_OK ? DB_OPEN : DB_NEW);
    return status;
}

/* Keeps a declaration for the opening. mutex is held. */
static ti_status remember_queue(ti_db *db, ti_slice type, const ti_queue_options *options,
                                ti_err *err)
{
    db_declaration *kept = ti_alloc(sizeof(*kept) + type.len);
    if (kept == NULL)
        return ti_err_no_memory(err);
    kept->options = *options;
    kept->type_len = type.len;
    memcpy(kept->type, type.data, type.len);
    kept->next = db->declarations;
    db->declarations = kept;
    return TI_OK;
}

ti_status ti_db_declare_queue(ti_db *db, ti_slice type, const ti_queue_options *options,
                              ti_err *err)
{
    ti_status status = TI_OK;
    TI_TRY(ti_name_check(type, "event type", err));
    ti_mutex_lock(&db->mutex);
    bool later = atomic_load(&db->state) < DB_OPEN;
    if (later)
        status = remember_queue(db, type, options, err);
    ti_mutex_unlock(&db->mutex);
    if (later)
        return status;
    TI_TRY(ti_db_enter(db, err));
    status = ti_queue_declare(db->queues, type, options, err);
    ti_db_leave(db);
    return status;
}

/* ---- closing ---- */

/* Moves to CLOSING, after an opening or another close has ended. false: it is closed already.
 * *was_open_out: there is an engine to give up. */
static bool begin_close(ti_db *db, bool *was_open_out)
{
    ti_mutex_lock(&db->mutex);
    int state = atomic_load(&db->state);
    while (state == DB_OPENING || state == DB_CLOSING) {
        ti_cond_wait(&db->changed, &db->mutex);
        state = atomic_load(&db->state);
    }
    if (state != DB_CLOSED)
        atomic_store(&db->state, DB_CLOSING);
    ti_mutex_unlock(&db->mutex);
    *was_open_out = state == DB_OPEN;
    return state != DB_CLOSED;
}

ti_status ti_db_close(ti_db *db, ti_err *err)
{
    bool was_open = false;
    if (ti_db_forked(db))
        return ti_process_forked("the database", err);
    if (ti_db_thread_is_inside())
        return ti_err_set(err, TI_INVALID_STATE,
                          "the database can not be closed from inside one of its operations or "
                          "handlers");
    if (!begin_close(db, &was_open))
        return TI_OK;
    ti_db_stop_children(db);
    ti_db_cancel_guests(db);
    ti_executor_close(db->executor);
    ti_db_let_children_go(db);
    if (was_open)
        ti_queues_close(db->queues);
    db->queues = NULL;
    ti_store_close(db->store);
    if (was_open)
        ti_kv_close(&db->kv);
    ti_db_engine_gone(db);
    set_state(db, DB_CLOSING, DB_CLOSED);
    return TI_OK;
}

/* ---- use ---- */

bool ti_db_forked(const ti_db *db)
{
    return ti_executor_forked(db->executor);
}

static ti_status refuse(const ti_db *db, int state, ti_err *err)
{
    if (ti_db_forked(db))
        return ti_process_forked("the database", err);
    if (state == DB_CLOSING || state == DB_CLOSED)
        return ti_err_set(err, TI_CLOSED, "the database was closed");
    return ti_err_set(err, TI_INVALID_STATE, "the database is not open yet");
}

ti_status ti_db_check(const ti_db *db, ti_err *err)
{
    int state = atomic_load(&db->state);
    if (!ti_db_forked(db) && state != DB_CLOSING && state != DB_CLOSED)
        return TI_OK;
    return refuse(db, state, err);
}

ti_status ti_db_enter(ti_db *db, ti_err *err)
{
    if (ti_executor_enter(db->executor, NULL) != TI_OK)
        return refuse(db, DB_CLOSED, err);
    depth++;
    int state = atomic_load(&db->state);
    if (state == DB_OPEN)
        return TI_OK;
    ti_db_leave(db);
    return refuse(db, state, err);
}

void ti_db_leave(ti_db *db)
{
    ti_assert(depth > 0);
    depth--;
    ti_executor_leave(db->executor);
}

bool ti_db_thread_is_inside(void)
{
    return depth > 0 || worker_thread;
}

void ti_db_thread_in(void)
{
    depth++;
}

void ti_db_thread_out(void)
{
    ti_assert(depth > 0);
    depth--;
}

void ti_db_callback_begin(void)
{
    ti_db_thread_in();
}

void ti_db_callback_end(void)
{
    ti_db_thread_out();
}

bool ti_db_is_closing(const ti_db *db)
{
    int state = atomic_load(&db->state);
    return state == DB_CLOSING || state == DB_CLOSED;
}

bool ti_db_thread_is_worker_now(void)
{
    return worker_thread;
}

void ti_db_thread_is_worker(void)
{
    worker_thread = true;
}

ti_executor *ti_db_executor(const ti_db *db)
{
    return db->executor;
}

ti_store *ti_db_store(const ti_db *db)
{
    return db->store;
}

ti_queues *ti_db_queues(const ti_db *db)
{
    return db->queues;
}

ti_kv *ti_db_kv(ti_db *db)
{
    return &db->kv;
}

const ti_env *ti_db_env(const ti_db *db)
{
    return db->env;
}

int64_t ti_db_timeout_us(const ti_db *db)
{
    return db->options.timeout_us;
}

int64_t ti_db_open_timeout_us(const ti_db *db)
{
    int64_t sum = 0;
    if (__builtin_add_overflow(db->options.timeout_us, db->options.open_wait_us, &sum))
        return TI_NO_DEADLINE;
    return sum;
}

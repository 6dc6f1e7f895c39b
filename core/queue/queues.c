/* The queue state of a store: opening, declarations, partition counts; see queue.h.
 *
 *   publish, start --> meta known and fresh? --no--> read queue_meta:{type}; absent: write it
 *
 * INVARIANTS
 *  1. queue_meta of a type is made once, in a transaction that has read its absence: of two first
 *     users one meets a conflict, reads, and follows. Later its pause changes, and its count
 *     (repartition.c), in transactions that have read it. */
#include "queue/queue.h"

#include "base/assert.h"
#include "base/id.h"
#include "base/limits.h"
#include "kv/retry.h"
#include "model/store.h"
#include "queue/hint_int.h"
#include "queue/hub_int.h"
#include "queue/publish_int.h"
#include "queue/value_int.h"

static ti_status check_partitions(uint32_t partitions, ti_err *err)
{
    if (partitions > TI_PARTITIONS_MAX)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "%u partitions were asked for; 1 to %d are possible", partitions,
                          TI_PARTITIONS_MAX);
    return TI_OK;
}

ti_status ti_queues_open(ti_store *store, const ti_queues_options *options, ti_queues **queues_out,
                         ti_err *err)
{
    uint32_t partitions = options != NULL ? options->partitions_default : 0;
    ti_kv *kv;
    ti_assert(store != NULL);
    *queues_out = NULL;
    TI_TRY(check_partitions(partitions, err));
    TI_TRY(ti_store_kv(store, &kv, err));
    ti_queues *queues = ti_alloc_zero(sizeof(*queues));
    if (queues == NULL)
        return ti_err_no_memory(err);
    queues->store = store;
    queues->kv = kv;
    queues->keyspace = ti_store_keyspace(store);
    queues->partitions_default = partitions > 0 ? partitions : TI_PARTITIONS_DEFAULT;
    queues->meta_lease_us =
        options != NULL && options->meta_lease_us > 0 ? options->meta_lease_us : TI_META_LEASE_US;
    queues->shared = kv->engine->vt->shared(kv->engine);
    ti_status status = TI_OK;
    if (queues->shared)
        status = ti_hinter_new(queues, &queues->hinter, err);
    if (queues->shared && status == TI_OK)
        status = ti_gatherer_new(queues, &queues->gatherer, err);
    if (status == TI_OK)
        status = ti_hub_attach(kv, &queues->hub, err);
    if (status != TI_OK) {
        ti_gatherer_free(queues->gatherer);
        ti_hinter_free(queues->hinter);
        ti_free(queues);
        return status;
    }
    ti_store_set_event_sink(store,
                            &(ti_event_sink){.publish = ti_publish_model_event, .context = queues});
    *queues_out = queues;
    return TI_OK;
}

void ti_queues_close(ti_queues *queues)
{
    if (queues == NULL)
        return;
    ti_store_set_event_sink(queues->store, NULL);
    ti_gatherer_free(queues->gatherer);
    ti_hinter_free(queues->hinter);
    ti_hub_detach(queues->hub, queues->kv);
    ti_free(queues);
}

static ti_status mismatch(const ti_hub_type *type, uint32_t declared, uint32_t known, ti_err *err)
{
    return ti_err_set(err, TI_SCHEMA_MISMATCH,
                      "the event type '%s' was declared with %u partitions, but it has %u; declare "
                      "that number or none",
                      type->name, declared, known);
}

ti_status ti_queue_declare(ti_queues *queues, ti_slice name, const ti_queue_options *options,
                           ti_err *err)
{
    ti_hub_type *type;
    uint32_t known;
    ti_assert(options != NULL);
    TI_TRY(ti_name_check(name, "event type", err));
    TI_TRY(check_partitions(options->partitions, err));
    if (options->ordering > TI_ORDERING_NONE)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "unknown ordering %d", (int)options->ordering);
    TI_TRY(ti_hub_type_of(queues->hub, name, &type, err));
    ti_mutex_lock(&queues->hub->mutex);
    known = type->meta.partitions > 0 ? type->meta.partitions : type->declared.partitions;
    bool fits = options->partitions == 0 || known == 0 || options->partitions == known ||
                options->partitions == type->agreed;
    if (fits) {
        type->declared.ordering = options->ordering;
        type->declared.retention_us =
            options->retention_us < 0 ? TI_RETENTION_DEFAULT_US : options->retention_us;
        if (options->partitions > 0)
            type->declared.partitions = options->partitions;
    }
    ti_mutex_unlock(&queues->hub->mutex);
    return fits ? TI_OK : mismatch(type, options->partitions, known, err);
}

/* ---- partition counts ---- */

/* The count that this process has declared; 0 = none. */
static uint32_t declared_of(ti_queues *queues, const ti_hub_type *type)
{
    ti_mutex_lock(&queues->hub->mutex);
    uint32_t declared = type->declared.partitions;
    ti_mutex_unlock(&queues->hub->mutex);
    return declared;
}

typedef struct meta_read {
    ti_queues *queues;
    ti_hub_type *type;
    uint32_t wanted;  /* stored when there is none */
    int64_t begun_ns; /* before the read */
    ti_hub_meta meta;
} meta_read;

/* Checks a row that was read. */
static ti_status check_row(const ti_hub_type *type, const ti_queue_meta_row *row, ti_err *err)
{
    if (row->partitions == 0 || row->partitions > TI_PARTITIONS_MAX)
        return ti_err_set(err, TI_CORRUPT, "the event type '%s' has no valid partition count",
                          type->name);
    return TI_OK;
}

static ti_status store_meta(ti_txn *txn, ti_slice key, uint32_t partitions, ti_err *err)
{
    ti_buf value;
    ti_buf_init(&value, 64);
    ti_status status = ti_queue_number_seal(&value, key, partitions, err);
    if (status == TI_OK)
        status = ti_txn_put(txn, key, ti_buf_slice(&value), err);
    ti_buf_free(&value);
    return status;
}

/* A ti_transact_fn: reads the row, writes it when absent. */
static ti_status read_meta(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    meta_read *read = context;
    ti_arena *a = ti_txn_arena(txn);
    ti_queue_meta_row row = {.partitions = read->wanted};
    ti_slice value;
    read->begun_ns = ti_env_mono_ns(read->queues->kv->env);
    ti_slice key = ti_key_queue_meta(read->queues->keyspace, a, ti_hub_type_name(read->type));
    TI_TRY(ti_key_check(key, "queue key", err));
    ti_status status = ti_txn_get(txn, key, a, &value, call, err);
    if (status == TI_OK)
        TI_TRY(ti_queue_meta_open(value, key, &row, err));
    else if (status == TI_NOT_FOUND)
        TI_TRY(store_meta(txn, key, read->wanted, err));
    else
        return status;
    TI_TRY(check_row(read->type, &row, err));
    /* A worker resolves its types before it reads: one that begins gives out nothing of a paused
     * type. */
    atomic_store(&read->type->paused, row.paused ? 1 : 0);
    read->meta.partitions = (uint32_t)row.partitions;
    read->meta.read_at = ti_txn_start_ts_if_any(txn);
    read->meta.read_ns = read->begun_ns;
    read->meta.moving = row.from > 0;
    return TI_OK;
}

/* Whether what is remembered may still be used. */
static bool is_fresh(const ti_queues *queues, ti_hub_meta meta)
{
    if (meta.partitions == 0 || !queues->shared)
        return meta.partitions > 0;
    return ti_env_mono_ns(queues->kv->env) - meta.read_ns < queues->meta_lease_us * 500;
}

/* A declaration is checked against the stored count, or the one that this process found right
 * before. */
static ti_status agree(ti_queues *queues, ti_hub_type *type, uint32_t declared, uint32_t count,
                       ti_err *err)
{
    ti_mutex_lock(&queues->hub->mutex);
    if (declared == count && type->agreed == 0)
        type->agreed = count;
    bool fits = declared == count || declared == type->agreed;
    ti_mutex_unlock(&queues->hub->mutex);
    return fits ? TI_OK : mismatch(type, declared, count, err);
}

ti_status ti_queue_meta_resolve(ti_queues *queues, ti_hub_type *type, uint32_t declared,
                                ti_hub_meta *meta_out, const ti_call *call, ti_err *err)
{
    ti_hub_meta meta = ti_hub_meta_get(queues->hub, type);
    TI_TRY(check_partitions(declared, err));
    if (!is_fresh(queues, meta)) {
        meta_read read = {.queues = queues, .type = type, .wanted = declared};
        if (read.wanted == 0)
            read.wanted = declared_of(queues, type);
        if (read.wanted == 0)
            read.wanted = queues->partitions_default;
        TI_TRY(ti_kv_transact(queues->kv, NULL, NULL, read_meta, &read, NULL, call, err));
        ti_hub_meta_set(queues->hub, type, read.meta);
        meta = read.meta;
    }
    *meta_out = meta;
    return declared > 0 ? agree(queues, type, declared, meta.partitions, err) : TI_OK;
}

ti_status ti_queue_partitions(ti_queues *queues, ti_slice name, uint32_t *partitions_out,
                              const ti_call *call, ti_err *err)
{
    ti_hub_type *type;
    ti_hub_meta meta;
    *partitions_out = 0;
    TI_TRY(ti_name_check(name, "event type", err));
    TI_TRY(ti_hub_type_of(queues->hub, name, &type, err));
    TI_TRY(ti_queue_meta_resolve(queues, type, declared_of(queues, type), &meta, call, err));
    *partitions_out = meta.partitions;
    return TI_OK;
}

uint32_t ti_queue_partition_of(ti_slice key, uint32_t partitions)
{
    ti_assert(partitions > 0);
    return (uint32_t)(ti_hash_stable(key) % partitions);
}

/* ---- pausing ---- */

typedef struct pause_job {
    ti_queues *queues;
    const ti_hub_type *type;
    bool paused;
} pause_job;

static ti_status read_row(const pause_job *job, ti_txn *txn, ti_slice *key_out,
                          ti_queue_meta_row *row_out, const ti_call *call, ti_err *err)
{
    ti_arena *a = ti_txn_arena(txn);
    ti_slice value;
    *key_out = ti_key_queue_meta(job->queues->keyspace, a, ti_hub_type_name(job->type));
    TI_TRY(ti_key_check(*key_out, "queue key", err));
    TI_TRY(ti_txn_get(txn, *key_out, a, &value, call, err));
    return ti_queue_meta_open(value, *key_out, row_out, err);
}

/* A ti_transact_fn: the row is there. */
static ti_status put_pause(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    const pause_job *job = context;
    ti_queue_meta_row row;
    ti_slice key;
    ti_buf value;
    TI_TRY(read_row(job, txn, &key, &row, call, err));
    if (row.paused == job->paused)
        return TI_OK;
    row.paused = job->paused;
    ti_buf_init(&value, 64);
    ti_status status = ti_queue_meta_seal(&value, key, row, err);
    if (status == TI_OK)
        status = ti_txn_put(txn, key, ti_buf_slice(&value), err);
    ti_buf_free(&value);
    return status;
}

ti_status ti_queue_set_paused(ti_queues *queues, ti_slice name, bool paused, const ti_call *call,
                              ti_err *err)
{
    pause_job job = {.queues = queues, .paused = paused};
    ti_hub_type *type;
    uint32_t partitions;
    TI_TRY(ti_queue_partitions(queues, name, &partitions, call, err)); /* makes the row */
    TI_TRY(ti_hub_type_of(queues->hub, name, &type, err));
    job.type = type;
    TI_TRY(ti_kv_transact(queues->kv, NULL, NULL, put_pause, &job, NULL, call, err));
    atomic_store(&type->paused, paused ? 1 : 0);
    return TI_OK;
}

ti_status ti_queue_is_paused(ti_queues *queues, ti_slice name, bool *paused_out,
                             const ti_call *call, ti_err *err)
{
    pause_job job = {.queues = queues};
    ti_queue_meta_row row;
    ti_hub_type *type;
    ti_hub_meta meta = {.read_ns = ti_env_mono_ns(queues->kv->env)};
    ti_slice key;
    ti_txn *txn;
    *paused_out = false;
    TI_TRY(ti_name_check(name, "event type", err));
    TI_TRY(ti_hub_type_of(queues->hub, name, &type, err));
    job.type = type;
    TI_TRY(ti_txn_begin(queues->kv, &(ti_txn_options){.read_only = true}, &txn, err));
    ti_status status = read_row(&job, txn, &key, &row, call, err);
    meta.read_at = ti_txn_start_ts_if_any(txn);
    ti_txn_free(txn);
    if (status == TI_NOT_FOUND)
        return TI_OK; /* nobody has used the type yet */
    TI_TRY(status);
    TI_TRY(check_row(type, &row, err));
    *paused_out = row.paused;
    atomic_store(&type->paused, row.paused ? 1 : 0);
    meta.partitions = (uint32_t)row.partitions;
    meta.moving = row.from > 0;
    ti_hub_meta_set(queues->hub, type, meta);
    return TI_OK;
}

/* ---- counters ---- */

void ti_queue_stats_of(ti_queues *queues, ti_slice name, ti_queue_stats *stats_out)
{
    uint64_t n[TI_COUNTERS] = {0};
    ti_hub_type *type = ti_hub_type_find(queues->hub, name);
    for (size_t i = 0; type != NULL && i < TI_COUNTERS; i++)
        n[i] = atomic_load_explicit(&type->counters[i], memory_order_relaxed);
    *stats_out = (ti_queue_stats){
        .published = n[TI_COUNT_PUBLISHED],
        .delivered = n[TI_COUNT_DELIVERED],
        .acknowledged = n[TI_COUNT_ACKNOWLEDGED],
        .retried = n[TI_COUNT_RETRIED],
        .failed = n[TI_COUNT_FAILED],
        .rescheduled = n[TI_COUNT_RESCHEDULED],
        .advanced = n[TI_COUNT_ADVANCED],
        .timed_out = n[TI_COUNT_TIMED_OUT],
        .conflicts = n[TI_COUNT_CONFLICTS],
        .dropped = n[TI_COUNT_DROPPED],
        .lost = n[TI_COUNT_LOST],
        .expired = n[TI_COUNT_EXPIRED],
        .leases_taken = n[TI_COUNT_LEASES_TAKEN],
        .leases_given = n[TI_COUNT_LEASES_GIVEN],
        .leases_lost = n[TI_COUNT_LEASES_LOST],
        .parked = n[TI_COUNT_PARKED],
        .waiting = n[TI_COUNT_WAITING],
        .parked_keys = n[TI_COUNT_PARKED_KEYS],
    };
}

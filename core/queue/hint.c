/* The hinter: writes what this process has published; see hint_int.h. */
#include "queue/hint_int.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "model/store.h"

/* What is known of one type. */
typedef struct hint_type {
    struct hint_type *next;
    ti_hub_type *type;
    uint64_t *lowest[2]; /* owned, by partition: of this half of the time kept, and the one before;
                            UINT64_MAX = none */
    uint64_t *number;    /* owned: the writing that had the last news */
    uint32_t partitions; /* in the arrays */
    bool is_new;         /* something since the last writing */
} hint_type;

struct ti_hinter {
    ti_queues *queues;
    ti_mutex mutex; /* TI_RANK_LEAF; everything below */
    ti_cond cond;
    char id[TI_UUID_TEXT_SIZE + 1];
    hint_type *types; /* owned */
    uint64_t number;  /* of the next writing */
    int64_t turned_ns;
    bool is_new;
    bool quit;
    bool started;
    bool starting;
    ti_thread thread;
};

/* ---- noting ---- */

/* The arrays for n partitions; false when there is no memory. */
static bool grow(hint_type *t, uint32_t n)
{
    uint64_t **const arrays[] = {&t->lowest[0], &t->lowest[1], &t->number};
    for (size_t i = 0; i < 3; i++) {
        uint64_t *bigger = ti_alloc(n * sizeof(uint64_t));
        if (bigger == NULL)
            return false;
        memset(bigger, i < 2 ? 0xFF : 0, n * sizeof(uint64_t));
        if (t->partitions > 0)
            memcpy(bigger, *arrays[i], t->partitions * sizeof(uint64_t));
        ti_free(*arrays[i]);
        *arrays[i] = bigger;
    }
    t->partitions = n;
    return true;
}

static hint_type *type_of(ti_hinter *h, ti_hub_type *type, uint32_t partition)
{
    hint_type *t = h->types;
    while (t != NULL && t->type != type)
        t = t->next;
    if (t == NULL) {
        t = ti_alloc_zero(sizeof(*t));
        if (t == NULL)
            return NULL;
        t->type = type;
        t->next = h->types;
        h->types = t;
    }
    if (partition >= t->partitions && !grow(t, partition + partition / 2 + 16))
        return NULL;
    return t;
}

static void *hinter_run(void *context);

void ti_hint_note(ti_hinter *h, ti_hub_type *type, uint32_t partition, uint64_t place_us)
{
    ti_mutex_lock(&h->mutex);
    hint_type *t = type_of(h, type, partition);
    if (t != NULL) {
        if (place_us < t->lowest[0][partition])
            t->lowest[0][partition] = place_us;
        t->number[partition] = h->number;
        t->is_new = true;
        if (!h->is_new)
            ti_cond_signal(&h->cond);
        h->is_new = true;
    }
    bool start = !h->started && !h->starting && !h->quit;
    h->starting = h->starting || start;
    ti_mutex_unlock(&h->mutex);
    if (!start)
        return;
    bool started = ti_thread_start(&h->thread, "tito-hints", hinter_run, h, NULL) == TI_OK;
    ti_mutex_lock(&h->mutex);
    h->starting = false;
    h->started = started;
    ti_mutex_unlock(&h->mutex);
}

/* ---- writing ---- */

/* The news of a type, in the arena. The mutex is held. */
static size_t collect(const hint_type *t, ti_arena *a, ti_hint **hints_out)
{
    size_t n = 0;
    *hints_out = ti_arena_alloc(a, (t->partitions + 1) * sizeof(ti_hint));
    for (uint32_t p = 0; *hints_out != NULL && p < t->partitions; p++) {
        uint64_t lowest = t->lowest[0][p] < t->lowest[1][p] ? t->lowest[0][p] : t->lowest[1][p];
        if (lowest != UINT64_MAX)
            (*hints_out)[n++] =
                (ti_hint){.partition = p, .place_us = lowest, .number = t->number[p]};
    }
    return n;
}

/* Forgets what is older than TI_HINT_KEEP_US. The mutex is held. */
static void turn_halves(ti_hinter *h)
{
    int64_t now_ns = ti_env_mono_ns(h->queues->kv->env);
    if (now_ns - h->turned_ns < TI_HINT_KEEP_US * INT64_C(500))
        return;
    h->turned_ns = now_ns;
    for (hint_type *t = h->types; t != NULL; t = t->next) {
        uint64_t *old = t->lowest[1];
        t->lowest[1] = t->lowest[0];
        t->lowest[0] = old;
        if (old != NULL)
            memset(old, 0xFF, t->partitions * sizeof(uint64_t));
    }
}

typedef struct hint_row {
    ti_slice key;
    ti_hint_head head;
    const ti_hint *hints;
    size_t count;
} hint_row;

/* A ti_txn_commit_hook. */
static ti_status put_row(void *context, ti_txn *txn, ti_ts t, ti_err *err)
{
    hint_row *row = context;
    ti_buf value;
    row->head.written_us = (uint64_t)ti_ts_to_us(t);
    ti_buf_init(&value, TI_EVENT_SIZE_MAX);
    ti_status status = ti_hint_seal(&value, row->key, row->head, row->hints, row->count, err);
    if (status == TI_OK)
        status = ti_txn_put(txn, row->key, ti_buf_slice(&value), err);
    ti_buf_free(&value);
    return status;
}

static ti_status write_row(ti_hinter *h, hint_row *row, const ti_call *call, ti_err *err)
{
    ti_txn *txn;
    TI_TRY(ti_txn_begin(h->queues->kv, &(ti_txn_options){.causal = true}, &txn, err));
    ti_status status = ti_txn_on_commit(txn, put_row, row, err);
    if (status == TI_OK)
        status = ti_txn_commit(txn, NULL, call, err);
    ti_txn_free(txn);
    return status;
}

/* Writes the row of a type with news. The mutex is held, and let go meanwhile. */
static void write_type(ti_hinter *h, hint_type *t, ti_arena *a)
{
    hint_row row = {.head = {.number = h->number - 1}};
    ti_hint *hints;
    ti_err err;
    row.count = collect(t, a, &hints);
    row.hints = hints;
    t->is_new = false;
    ti_mutex_unlock(&h->mutex);
    ti_call call = ti_call_within(h->queues->kv->env, TI_HINT_CALL_US);
    ti_err_clear(&err);
    row.key =
        ti_key_queue_hint(h->queues->keyspace, a, ti_hub_type_name(t->type), ti_slice_of(h->id));
    if (ti_key_check(row.key, "queue key", &err) != TI_OK || hints == NULL ||
        write_row(h, &row, &call, &err) != TI_OK)
        ti_log_write(ti_store_log(h->queues->store), TI_LOG_DEBUG, "queue: a hint was not written");
    ti_arena_reset(a);
    ti_mutex_lock(&h->mutex);
}

static void *hinter_run(void *context)
{
    ti_hinter *h = context;
    const ti_env *env = h->queues->kv->env;
    ti_arena a;
    ti_arena_init(&a);
    ti_mutex_lock(&h->mutex);
    while (!h->quit) {
        if (!h->is_new) {
            ti_cond_wait(&h->cond, &h->mutex);
            continue;
        }
        h->is_new = false;
        turn_halves(h);
        h->number++; /* what is noted from now on is news of the next writing */
        for (hint_type *t = h->types; t != NULL && !h->quit; t = t->next) {
            if (t->is_new)
                write_type(h, t, &a);
        }
        int64_t until_ns = ti_env_mono_ns(env) + TI_HINT_WRITE_US * INT64_C(1000);
        bool in_time = true;
        while (!h->quit && in_time)
            in_time = ti_cond_wait_until(&h->cond, &h->mutex, env, until_ns) &&
                      ti_env_mono_ns(env) < until_ns;
    }
    ti_mutex_unlock(&h->mutex);
    ti_arena_free(&a);
    return NULL;
}

/* ---- life ---- */

ti_status ti_hinter_new(ti_queues *queues, ti_hinter **hinter_out, ti_err *err)
{
    *hinter_out = NULL;
    ti_hinter *h = ti_alloc_zero(sizeof(*h));
    if (h == NULL)
        return ti_err_no_memory(err);
    ti_status status = ti_mutex_init(&h->mutex, TI_RANK_LEAF, err);
    if (status == TI_OK && (status = ti_cond_init(&h->cond, err)) != TI_OK)
        ti_mutex_destroy(&h->mutex);
    if (status != TI_OK) {
        ti_free(h);
        return status;
    }
    h->queues = queues;
    h->number = 1;
    ti_uuid_v4(queues->kv->env, h->id);
    *hinter_out = h;
    return TI_OK;
}

ti_slice ti_hinter_id(const ti_hinter *h)
{
    return ti_slice_of(h->id);
}

/* Deletes its rows: others need not look at them any more. */
static void delete_rows(ti_hinter *h)
{
    ti_call call = ti_call_within(h->queues->kv->env, TI_HINT_CALL_US);
    ti_txn *txn;
    ti_status status = ti_txn_begin(h->queues->kv, NULL, &txn, NULL);
    if (status != TI_OK)
        return;
    for (const hint_type *t = h->types; t != NULL && status == TI_OK; t = t->next) {
        ti_slice key = ti_key_queue_hint(h->queues->keyspace, ti_txn_arena(txn),
                                         ti_hub_type_name(t->type), ti_slice_of(h->id));
        status = ti_key_check(key, "queue key", NULL);
        if (status == TI_OK)
            status = ti_txn_delete(txn, key, NULL);
    }
    if (status == TI_OK)
        status = ti_txn_commit(txn, NULL, &call, NULL);
    ti_txn_free(txn);
    if (status != TI_OK)
        ti_log_write(ti_store_log(h->queues->store), TI_LOG_DEBUG,
                     "queue: hints stay until they are old");
}

void ti_hinter_free(ti_hinter *h)
{
    if (h == NULL)
        return;
    ti_mutex_lock(&h->mutex);
    h->quit = true;
    ti_cond_broadcast(&h->cond);
    bool started = h->started;
    ti_mutex_unlock(&h->mutex);
    if (started) {
        ti_thread_join(&h->thread);
        delete_rows(h);
    }
    while (h->types != NULL) {
        hint_type *t = h->types;
        h->types = t->next;
        ti_free(t->lowest[0]);
        ti_free(t->lowest[1]);
        ti_free(t->number);
        ti_free(t);
    }
    ti_cond_destroy(&h->cond);
    ti_mutex_destroy(&h->mutex);
    ti_free(h);
}

/* How partitions begin that have become ours: many at once.
 *
 *   one snapshot: checkpoints by one batch_get
 *                 the first row of each parked key: pages over all of the partitions; a long key,
 *                 and what lies between two of the partitions, is jumped over
 *   then a page of each: on a shared engine by several threads, each with a share of them
 *
 *   queue_parked:{type}:  3:[ a1 a2 a3 | b7 ]  4:[ ]  5:[ others' ]  6:[ c2 c5 ]
 *
 * INVARIANTS
 *  1. No event of a partition is read before its parked keys are known: partitions whose keys take
 *     more than TI_PARKED_SIZE_MAX stay half open until others have been worked off.
 *  2. A partition is read by one thread; the reader waits for all of them. */
#include "base/assert.h"
#include "queue/worker_int.h"

typedef struct opening {
    ti_worker *w;
    ti_part **parts; /* in order of their numbers */
    size_t n;
    size_t at; /* all parked keys of those before are known */
    ti_slice type;
    uint64_t *checkpoints;
    ti_arena *a;
    ti_txn *txn;
    ti_call call;
    int64_t mono_ns; /* before now_us was taken */
    uint64_t now_us;
    ti_slice last; /* the ordering key seen last of parts[at], in the arena; data NULL = none */
} opening;

/* ---- checkpoints ---- */

static ti_status read_checkpoints(opening *o, ti_err *err)
{
    const ti_keyspace *ks = o->w->queues->keyspace;
    ti_slice *keys = ti_arena_alloc(o->a, o->n * sizeof(*keys));
    ti_slice *values = ti_arena_alloc(o->a, o->n * sizeof(*values));
    o->checkpoints = ti_arena_alloc_zero(o->a, o->n * sizeof(*o->checkpoints));
    if (keys == NULL || values == NULL || o->checkpoints == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < o->n; i++) {
        keys[i] = ti_key_queue_checkpoint(ks, o->a, o->type, o->parts[i]->number);
        TI_TRY(ti_key_check(keys[i], "queue key", err));
    }
    TI_TRY(ti_txn_batch_get(o->txn, keys, o->n, o->a, values, &o->call, err));
    for (size_t i = 0; i < o->n; i++) {
        if (values[i].data != NULL)
            TI_TRY(ti_queue_number_open(values[i], keys[i], &o->checkpoints[i], err));
    }
    return TI_OK;
}

/* ---- parked keys ---- */

/* When a retry may run, on the monotonic clock; 0 = now. */
static int64_t not_before(const opening *o, ti_slice value, ti_slice row_key)
{
    ti_event_fields fields;
    if (ti_event_open(value, TI_SEALED_PARKED, row_key, &fields, NULL) != TI_OK)
        return 0;
    if (fields.not_before_us <= o->now_us)
        return 0;
    uint64_t wait_us = fields.not_before_us - o->now_us;
    if (wait_us > TI_DUE_WAIT_US_MAX)
        wait_us = TI_DUE_WAIT_US_MAX;
    return o->mono_ns + (int64_t)wait_us * 1000;
}

/* The first row of a key makes it a parked key. */
static ti_status found_key(opening *o, ti_slice text, const ti_event_place *place,
                           int64_t not_before_ns, ti_err *err)
{
    ti_worker *w = o->w;
    ti_part *part = o->parts[o->at];
    ti_mutex_lock(&w->mutex);
    ti_key *key = part->owned ? ti_key_of(w, part, text) : NULL;
    bool lost = !part->owned;
    if (key != NULL) {
        ti_key_park(w, key, place);
        key->not_before_ns = not_before_ns;
        key->load_max = not_before_ns > 0 ? 1 : TI_PARKED_PAGE_MAX;
        ti_key_update(w, key);
    }
    ti_worker_unlock(w);
    return key != NULL || lost ? TI_OK : ti_err_no_memory(err);
}

/* Goes on to the first partition with that number or a higher one. */
static void move_to(opening *o, uint32_t number)
{
    while (o->at < o->n && o->parts[o->at]->number < number) {
        o->at++;
        o->last = TI_SLICE_NONE;
    }
}

/* A row of one of the partitions, or of one between them. */
static ti_status open_row(opening *o, const ti_pair *pair, ti_err *err)
{
    ti_key_parts parts;
    ti_event_place place;
    ti_slice text;
    if (!ti_key_parse(o->w->queues->keyspace, pair->key, &parts) || parts.kind != TI_KEY_PARKED)
        return TI_OK;
    move_to(o, parts.place.partition);
    if (o->at == o->n || o->parts[o->at]->number != parts.place.partition)
        return TI_OK;
    const ti_buf *from = &o->parts[o->at]->open_from;
    if (from->len > 0 && ti_slice_compare(pair->key, ti_buf_slice(from)) < 0)
        return TI_OK; /* known since it was half opened */
    TI_TRY(ti_key_parked_split(&parts, o->a, &text, &place, err));
    if (o->last.data != NULL && ti_slice_equal(o->last, text))
        return TI_OK;
    o->last = ti_arena_copy(o->a, text);
    if (o->last.data == NULL)
        return ti_err_no_memory(err);
    return found_key(o, text, &place, not_before(o, pair->value, pair->key), err);
}

/* Where the next page begins: after the key seen last, or with the next partition. */
static ti_status next_page(opening *o, ti_slice last_row, ti_slice *from_out, ti_err *err)
{
    const ti_keyspace *ks = o->w->queues->keyspace;
    ti_part *part = o->parts[o->at];
    ti_key_range range;
    ti_slice at = ti_key_after(o->a, last_row);
    const ti_slice *key = o->last.data != NULL ? &o->last : NULL;
    TI_TRY(ti_key_parked_of(ks, o->a, o->type, part->number, key, &range, err));
    if (key != NULL)
        at = range.hi;
    else if (ti_slice_compare(at, range.lo) < 0)
        at = range.lo;
    if (at.data == NULL)
        return ti_err_no_memory(err);
    *from_out = at;
    if (key == NULL)
        return TI_OK;
    ti_buf_clear(&part->open_from);
    return ti_buf_append_slice(&part->open_from, at, err);
}

/* Reads parked keys until there are no more, or too many. */
static ti_status open_parked(opening *o, ti_err *err)
{
    const ti_keyspace *ks = o->w->queues->keyspace;
    const ti_part *first = o->parts[0];
    ti_key_range of_first;
    ti_key_range of_last;
    ti_scan_page page = {.more = true};
    bool full = false;
    TI_TRY(ti_key_parked_of(ks, o->a, o->type, first->number, NULL, &of_first, err));
    TI_TRY(ti_key_parked_of(ks, o->a, o->type, o->parts[o->n - 1]->number, NULL, &of_last, err));
    ti_scan scan = {.range = {.from = of_first.lo, .to = of_last.hi},
                    .items_max = TI_PARKED_PAGE_MAX,
                    .size_max = TI_READ_PAGE_SIZE_MAX};
    if (first->open_from.len > 0) {
        scan.range.from = ti_arena_copy(o->a, ti_buf_slice(&first->open_from));
        if (scan.range.from.data == NULL)
            return ti_err_no_memory(err);
    }
    while (o->at < o->n && !full && ti_slice_compare(scan.range.from, scan.range.to) < 0) {
        TI_TRY(ti_txn_scan(o->txn, &scan, o->a, &page, &o->call, err));
        for (size_t i = 0; i < page.count; i++)
            TI_TRY(open_row(o, &page.pairs[i], err));
        if (!page.more)
            break;
        ti_require(page.count > 0);
        if (o->at < o->n)
            TI_TRY(next_page(o, page.pairs[page.count - 1].key, &scan.range.from, err));
        ti_mutex_lock(&o->w->mutex);
        full = o->w->parked_size >= TI_PARKED_SIZE_MAX;
        ti_mutex_unlock(&o->w->mutex);
    }
    if (!full)
        o->at = o->n;
    return TI_OK;
}

/* ---- opened, the mutex is held ---- */

/* The sweeps of partitions that were opened together are spread over the time between two. */
static int64_t sweep_offset_ns(const ti_worker *w, const ti_part *part)
{
    const int64_t spread_ns = (TI_SWEEP_IDLE_US - TI_SWEEP_BUSY_US) * INT64_C(1000);
    if (!w->queues->shared)
        return 0;
    return spread_ns / part->type->partitions * part->number;
}

static void opened(ti_worker *w, ti_part *part, uint64_t checkpoint_us)
{
    int64_t now_ns = ti_env_mono_ns(w->env);
    part->opened = true;
    part->checkpoint_us = checkpoint_us;
    part->floor_us = checkpoint_us;
    part->finished_us = 0;
    part->read_us = checkpoint_us;
    part->read_uuid[0] = '\0';
    part->due_us = UINT64_MAX;
    part->due_known = false;
    part->wake_min_us = UINT64_MAX;
    part->wake_max_us = 0;
    part->swept_ns = now_ns - sweep_offset_ns(w, part);
    part->checkpoint_ns = now_ns;
    ti_buf_clear(&part->open_from);
}

/* How many are open: the first ones of them. The others come back. */
static size_t end_opening(opening *o)
{
    ti_worker *w = o->w;
    size_t count = 0;
    ti_mutex_lock(&w->mutex);
    for (size_t i = 0; i < o->n; i++) {
        ti_part *part = o->parts[i];
        if (!part->owned)
            continue;
        if (i < o->at) {
            opened(w, part, o->checkpoints[i]);
            o->parts[count++] = part;
        } else {
            ti_timers_set(&w->timers, &part->timer,
                          ti_env_mono_ns(w->env) + TI_SPILL_AFTER_US * INT64_C(1000));
        }
    }
    ti_worker_unlock(w);
    return count;
}

static ti_status open_all(opening *o, ti_err *err)
{
    ti_ts now;
    TI_TRY(read_checkpoints(o, err));
    o->mono_ns = ti_env_mono_ns(o->w->env);
    TI_TRY(ti_worker_now(o->w, o->txn, &now, &o->call, err));
    o->now_us = (uint64_t)ti_ts_to_us(now);
    return open_parked(o, err);
}

/* ---- the first page of each ---- */

typedef struct share {
    ti_worker *w;
    ti_part **parts;
    size_t n;
    ti_thread thread;
    bool started;
    ti_status status;
    ti_err err;
} share;

static void *read_share(void *context)
{
    share *s = context;
    ti_arena a;
    ti_arena_init(&a);
    s->status = ti_parts_read(s->w, s->parts, s->n, true, &a, &s->err);
    ti_arena_free(&a);
    return NULL;
}

static size_t share_count(const ti_worker *w, size_t n)
{
    size_t count = w->queues->shared ? n / TI_OPEN_THREAD_MIN : 1;
    if (count > TI_OPEN_THREADS_MAX)
        count = TI_OPEN_THREADS_MAX;
    return count > 0 ? count : 1;
}

/* The last share is this thread's, and those for which there is no other. */
static ti_status read_shares(ti_worker *w, ti_part **parts, size_t n, ti_err *err)
{
    share shares[TI_OPEN_THREADS_MAX] = {{.w = w}};
    size_t count = share_count(w, n);
    ti_status status = TI_OK;
    for (size_t i = 0; i < count; i++) {
        share *s = &shares[i];
        *s = (share){.w = w, .parts = parts + n * i / count};
        s->n = n * (i + 1) / count - n * i / count;
        ti_err_clear(&s->err);
        if (i + 1 < count)
            s->started = ti_thread_start(&s->thread, "tito-opener", read_share, s, NULL) == TI_OK;
    }
    for (size_t i = 0; i < count; i++) {
        if (!shares[i].started)
            read_share(&shares[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (shares[i].started)
            ti_thread_join(&shares[i].thread);
        if (status == TI_OK && shares[i].status != TI_OK) {
            status = shares[i].status;
            *err = shares[i].err;
        }
    }
    return status;
}

ti_status ti_parts_open(ti_worker *w, ti_part **parts, size_t n, ti_arena *a, ti_err *err)
{
    opening o = {.w = w, .parts = parts, .n = n, .a = a, .call = ti_worker_call(w)};
    ti_assert(n > 0);
    ti_assert(err != NULL);
    o.type = ti_hub_type_name(parts[0]->type->type);
    TI_TRY(ti_txn_begin(w->queues->kv, &(ti_txn_options){.read_only = true}, &o.txn, err));
    ti_status status = open_all(&o, err);
    ti_txn_free(o.txn);
    TI_TRY(status);
    size_t count = end_opening(&o);
    ti_arena_reset(a);
    return count > 0 ? read_shares(w, parts, count, err) : TI_OK;
}

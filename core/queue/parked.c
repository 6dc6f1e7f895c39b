/* Parked keys: found when a partition is opened, their rows read when it is their turn.
 *
 *   queue_parked:{type}:{partition}:  [ a1 a2 a3 | b7 | c2 c5 … ]
 *   open: the first row of each key (pages; a long key is jumped over) -> key with its not_before
 *   load: the next rows of one key, from parked_from on
 *
 * INVARIANTS
 *  1. No event of a partition is read before its parked keys are known: a partition whose keys take
 *     more than TI_PARKED_SIZE_MAX stays half open until others have been worked off.
 *  2. A load is of a key that has no parked rows in memory; rows moved meanwhile set `lowered`. */
#include <string.h>

#include "base/assert.h"
#include "queue/worker_int.h"

/* ---- opening ---- */

typedef struct part_open {
    ti_worker *w;
    ti_part *part;
    ti_arena *a;
    ti_txn *txn;
    ti_call call;
    int64_t mono_ns; /* before now_us was taken */
    uint64_t now_us;
    ti_slice last; /* the ordering key seen last, in the arena; data NULL = none */
} part_open;

static ti_status read_checkpoint(part_open *o, uint64_t *us_out, ti_err *err)
{
    const ti_keyspace *ks = o->w->queues->keyspace;
    ti_slice key =
        ti_key_queue_checkpoint(ks, o->a, ti_hub_type_name(o->part->type->type), o->part->number);
    ti_slice value;
    *us_out = 0;
    TI_TRY(ti_key_check(key, "queue key", err));
    ti_status status = ti_txn_get(o->txn, key, o->a, &value, &o->call, err);
    if (status == TI_NOT_FOUND)
        return TI_OK;
    return status == TI_OK ? ti_queue_number_open(value, key, us_out, err) : status;
}

/* When a retry may run, on the monotonic clock; 0 = now. */
static int64_t not_before(const part_open *o, ti_slice value, ti_slice row_key)
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
static ti_status found_key(part_open *o, ti_slice text, const ti_event_place *place,
                           int64_t not_before_ns, ti_err *err)
{
    ti_worker *w = o->w;
    ti_mutex_lock(&w->mutex);
    ti_key *key = o->part->owned ? ti_key_of(w, o->part, text) : NULL;
    bool lost = !o->part->owned;
    if (key != NULL) {
        ti_key_park(w, key, place);
        key->not_before_ns = not_before_ns;
        key->load_max = not_before_ns > 0 ? 1 : TI_PARKED_PAGE_MAX;
        ti_key_update(w, key);
    }
    ti_worker_unlock(w);
    return key != NULL || lost ? TI_OK : ti_err_no_memory(err);
}

static ti_status open_row(part_open *o, const ti_pair *pair, ti_err *err)
{
    ti_key_parts parts;
    ti_event_place place;
    ti_slice text;
    if (!ti_key_parse(o->w->queues->keyspace, pair->key, &parts) || parts.kind != TI_KEY_PARKED)
        return TI_OK;
    TI_TRY(ti_key_parked_split(&parts, o->a, &text, &place, err));
    if (o->last.data != NULL && ti_slice_equal(o->last, text))
        return TI_OK;
    o->last = ti_arena_copy(o->a, text);
    if (o->last.data == NULL)
        return ti_err_no_memory(err);
    return found_key(o, text, &place, not_before(o, pair->value, pair->key), err);
}

/* Where the next page begins: after the key seen last. */
static ti_status keep_position(part_open *o, ti_slice last_row, ti_err *err)
{
    ti_slice type = ti_hub_type_name(o->part->type->type);
    ti_slice at = ti_key_after(o->a, last_row);
    if (o->last.data != NULL) {
        ti_key_range range;
        TI_TRY(ti_key_parked_of(o->w->queues->keyspace, o->a, type, o->part->number, &o->last,
                                &range, err));
        at = range.hi;
    }
    if (at.data == NULL)
        return ti_err_no_memory(err);
    ti_buf_clear(&o->part->open_from);
    return ti_buf_append_slice(&o->part->open_from, at, err);
}

/* Reads parked keys until there are no more, or too many; *more_out then. */
static ti_status open_parked(part_open *o, bool *more_out, ti_err *err)
{
    ti_slice type = ti_hub_type_name(o->part->type->type);
    ti_key_range all;
    ti_scan_page page = {.more = true};
    TI_TRY(ti_key_parked_of(o->w->queues->keyspace, o->a, type, o->part->number, NULL, &all, err));
    *more_out = false;
    while (page.more) {
        ti_scan scan = {.range = {.from = all.lo, .to = all.hi},
                        .items_max = TI_PARKED_PAGE_MAX,
                        .size_max = TI_READ_PAGE_SIZE_MAX};
        if (o->part->open_from.len > 0)
            scan.range.from = ti_buf_slice(&o->part->open_from);
        if (ti_slice_compare(scan.range.from, scan.range.to) >= 0)
            return TI_OK;
        TI_TRY(ti_txn_scan(o->txn, &scan, o->a, &page, &o->call, err));
        for (size_t i = 0; i < page.count; i++)
            TI_TRY(open_row(o, &page.pairs[i], err));
        if (page.count > 0)
            TI_TRY(keep_position(o, page.pairs[page.count - 1].key, err));
        ti_mutex_lock(&o->w->mutex);
        *more_out = page.more && o->w->parked_size >= TI_PARKED_SIZE_MAX;
        ti_mutex_unlock(&o->w->mutex);
        if (*more_out)
            return TI_OK;
    }
    return TI_OK;
}

static ti_status open_part(part_open *o, ti_err *err)
{
    ti_worker *w = o->w;
    ti_part *part = o->part;
    uint64_t checkpoint_us;
    bool more;
    ti_ts now;
    TI_TRY(read_checkpoint(o, &checkpoint_us, err));
    o->mono_ns = ti_env_mono_ns(w->env);
    TI_TRY(ti_worker_now(w, o->txn, &now, &o->call, err));
    o->now_us = (uint64_t)ti_ts_to_us(now);
    TI_TRY(open_parked(o, &more, err));
    ti_mutex_lock(&w->mutex);
    if (part->owned && !more) {
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
        part->swept_ns = ti_env_mono_ns(w->env);
        part->checkpoint_ns = part->swept_ns;
        ti_buf_clear(&part->open_from);
        ti_part_queue(w, part);
    } else if (part->owned) {
        ti_timers_set(&w->timers, &part->timer,
                      ti_env_mono_ns(w->env) + TI_SPILL_AFTER_US * INT64_C(1000));
    }
    ti_worker_unlock(w);
    return TI_OK;
}

ti_status ti_part_open(ti_worker *w, ti_part *part, ti_arena *a, ti_err *err)
{
    part_open o = {.w = w, .part = part, .a = a, .call = ti_worker_call(w)};
    TI_TRY(ti_txn_begin(w->queues->kv, &(ti_txn_options){.read_only = true}, &o.txn, err));
    ti_status status = open_part(&o, err);
    ti_txn_free(o.txn);
    return status;
}

/* ---- loading ---- */

typedef struct key_load {
    ti_worker *w;
    ti_key *key; /* kept by its `loading` */
    ti_arena *a;
    ti_txn *txn;
    ti_call call;
    ti_event_place from;
    size_t max;
    ti_scan_page page;
    ti_event **events;
    size_t made;
} key_load;

static bool begin_load(key_load *l)
{
    ti_worker *w = l->w;
    ti_key *key = l->key;
    ti_mutex_lock(&w->mutex);
    bool go = key->part->owned && key->is_parked && key->parked_first == NULL;
    key->load_queued = false;
    if (go) {
        key->loading = true;
        key->lowered = false;
        key->part->reading = true;
        l->from = key->parked_from;
        l->max = key->load_max;
    } else {
        ti_key_update(w, key);
    }
    ti_worker_unlock(w);
    return go;
}

static ti_status scan_key(key_load *l, ti_err *err)
{
    const ti_keyspace *ks = l->w->queues->keyspace;
    ti_slice type = ti_hub_type_name(l->key->part->type->type);
    ti_scan scan = {.items_max = l->max, .size_max = TI_READ_PAGE_SIZE_MAX};
    ti_key_range range;
    TI_TRY(ti_key_parked_of(ks, l->a, type, l->key->part->number, &l->key->text, &range, err));
    ti_slice from = ti_key_parked(ks, l->a, type, l->key->text, &l->from);
    TI_TRY(ti_key_check(from, "queue key", err));
    scan.range = (ti_range){.from = from, .to = range.hi};
    TI_TRY(ti_txn_scan(l->txn, &scan, l->a, &l->page, &l->call, err));
    l->events = ti_arena_alloc_zero(l->a, l->page.count * sizeof(ti_event *));
    return l->events != NULL ? TI_OK : ti_err_no_memory(err);
}

static ti_status make_parked(key_load *l, ti_err *err)
{
    ti_key_parts parts;
    ti_event_place place;
    ti_slice text;
    for (l->made = 0; l->made < l->page.count; l->made++) {
        const ti_pair *pair = &l->page.pairs[l->made];
        if (!ti_key_parse(l->w->queues->keyspace, pair->key, &parts) || parts.kind != TI_KEY_PARKED)
            continue;
        TI_TRY(ti_key_parked_split(&parts, l->a, &text, &place, err));
        ti_event *event = ti_event_new(l->key->part, &place, true, text, pair->key, pair->value);
        if (event == NULL)
            return ti_err_no_memory(err);
        l->events[l->made] = event;
    }
    return TI_OK;
}

/* The mutex is held. */
static void insert_parked(key_load *l, bool whole)
{
    ti_worker *w = l->w;
    ti_key *key = l->key;
    bool owned = key->part->owned && key->is_parked;
    ti_event_place last = l->from;
    for (size_t i = 0; i < l->made; i++) {
        ti_event *event = l->events[i];
        if (event == NULL)
            continue;
        last = event->info.place;
        bool known = ti_index_knows(w, &event->info.place, key->part);
        if (known || !owned || ti_window_insert(w, event, false, NULL) != TI_OK) {
            whole = whole && known;
            ti_event_destroy(event);
        }
    }
    if (!owned)
        return;
    key->all_loaded = whole && !l->page.more && !key->lowered;
    if (whole && !key->lowered)
        key->parked_from = last;
    if (whole)
        key->load_max = TI_PARKED_PAGE_MAX;
}

static ti_status load(key_load *l, ti_err *err)
{
    ti_worker *w = l->w;
    ti_status status = scan_key(l, err);
    if (status == TI_OK)
        status = make_parked(l, err);
    ti_mutex_lock(&w->mutex);
    insert_parked(l, status == TI_OK);
    l->key->loading = false;
    ti_window_read_ended(w, l->key->part);
    if (status != TI_OK && l->key->not_before_ns == 0)
        l->key->not_before_ns = ti_env_mono_ns(w->env) + TI_SPILL_AFTER_US * INT64_C(1000);
    ti_key_update(w, l->key);
    ti_worker_unlock(w);
    return status;
}

ti_status ti_key_load(ti_worker *w, ti_key *key, ti_arena *a, ti_err *err)
{
    key_load l = {.w = w, .key = key, .a = a, .call = ti_worker_call(w)};
    ti_ts snapshot;
    if (!begin_load(&l))
        return TI_OK;
    ti_status status =
        ti_txn_begin(w->queues->kv, &(ti_txn_options){.read_only = true}, &l.txn, err);
    if (status == TI_OK)
        status = ti_txn_start_ts(l.txn, &snapshot, &l.call, err);
    if (status == TI_OK) {
        status = load(&l, err);
        ti_txn_free(l.txn);
        return status;
    }
    ti_txn_free(l.txn);
    ti_mutex_lock(&w->mutex);
    key->loading = false;
    ti_window_read_ended(w, key->part);
    key->not_before_ns = ti_env_mono_ns(w->env) + TI_SPILL_AFTER_US * INT64_C(1000);
    ti_key_update(w, key);
    ti_worker_unlock(w);
    return status;
}

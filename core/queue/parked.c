/* Parked keys: found when a partition is opened (open.c), their rows read when it is their turn.
 *
 *   queue_parked:{type}:{partition}:  [ a1 a2 a3 | b7 | c2 c5 … ]
 *   load: the next rows of one key, from parked_from on
 *
 * INVARIANTS
 *  1. A load is of a key that has no parked rows in memory; rows moved meanwhile set `lowered`. */
#include <string.h>

#include "base/assert.h"
#include "queue/worker_int.h"

/* ---- loading ---- */

typedef struct key_load {
    ti_worker *w;
    ti_key *key; /* kept by its `loading` */
    ti_arena *a;
    ti_txn *txn;
    ti_call call;
    ti_event_place from;
    ti_ts snapshot;
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
        event->read_ts = l->snapshot;
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
    bool going = owned; /* after a failure the rest stays away, too: it is read again */
    ti_event_place last = l->from;
    for (size_t i = 0; i < l->made; i++) {
        ti_event *event = l->events[i];
        if (event == NULL)
            continue;
        last = event->info.place;
        bool known = ti_index_knows(w, &event->info.place, key->part);
        if (known || !going || ti_window_insert(w, event, false, NULL) != TI_OK) {
            going = going && known;
            ti_event_destroy(event);
        }
    }
    if (!owned)
        return;
    whole = whole && going;
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
    if (!begin_load(&l))
        return TI_OK;
    ti_status status =
        ti_txn_begin(w->queues->kv, &(ti_txn_options){.read_only = true}, &l.txn, err);
    if (status == TI_OK)
        status = ti_txn_start_ts(l.txn, &l.snapshot, &l.call, err);
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

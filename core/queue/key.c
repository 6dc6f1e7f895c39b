/* Keys: what is ordered, and what of a key runs next.
 *
 *   nothing of it with the host
 *     parked, rows in memory         --> the first of them
 *     parked, none in memory         --> wait for not_before, moves and the load; load
 *     parked, all were in memory     --> no longer parked
 *     not parked                     --> the first of the window
 *
 * The mutex is held by every function here. */
#include <string.h>

#include "base/assert.h"
#include "base/id.h"
#include "queue/worker_int.h"

#define BUCKETS_MIN 1024

/* ---- the table ---- */

static uint64_t key_hash(const ti_part *part, ti_slice text)
{
    return (ti_hash_stable(text) ^ (uintptr_t)part) * UINT64_C(0x9e3779b97f4a7c15);
}

static ti_key **bucket_of(const ti_worker *w, uint64_t hash)
{
    return &w->keys[(hash >> 20) & (w->key_buckets - 1)];
}

/* Twice the buckets; when there is no memory chains just get longer. */
static void grow(ti_worker *w)
{
    ti_key **old = w->keys;
    size_t count = w->key_buckets;
    size_t buckets = count == 0 ? BUCKETS_MIN : count * 2;
    ti_key **table = ti_alloc_zero(buckets * sizeof(ti_key *));
    if (table == NULL)
        return;
    w->keys = table;
    w->key_buckets = buckets;
    for (size_t i = 0; i < count; i++) {
        while (old[i] != NULL) {
            ti_key *key = old[i];
            old[i] = key->hash_next;
            ti_key **bucket = bucket_of(w, key->hash);
            key->hash_next = *bucket;
            *bucket = key;
        }
    }
    ti_free(old);
}

static size_t key_size(const ti_key *key)
{
    return sizeof(*key) + key->text.len;
}

static ti_key *key_new(ti_worker *w, ti_part *part, ti_slice text, uint64_t hash)
{
    if (ti_timers_reserve(&w->timers, NULL) != TI_OK)
        return NULL;
    ti_key *key = ti_alloc_zero(sizeof(*key) + text.len);
    ti_timer unused;
    if (key == NULL) {
        ti_timer_init(&unused, TI_TIMER_KEY);
        ti_timers_release(&w->timers, &unused);
        return NULL;
    }
    key->text = (ti_slice){.data = (char *)key + sizeof(*key), .len = text.len};
    if (text.len > 0)
        memcpy((char *)key + sizeof(*key), text.data, text.len);
    key->part = part;
    key->hash = hash;
    key->load_max = TI_PARKED_PAGE_MAX;
    ti_timer_init(&key->timer, TI_TIMER_KEY);
    ti_key **bucket = bucket_of(w, hash);
    key->hash_next = *bucket;
    *bucket = key;
    w->key_count++;
    return key;
}

ti_key *ti_key_of(ti_worker *w, ti_part *part, ti_slice text)
{
    uint64_t hash = key_hash(part, text);
    ti_mutex_assert_held(&w->mutex);
    if (w->key_count >= w->key_buckets)
        grow(w);
    if (w->key_buckets == 0)
        return NULL;
    for (ti_key *key = *bucket_of(w, hash); key != NULL; key = key->hash_next) {
        if (key->hash == hash && key->part == part && ti_slice_equal(key->text, text))
            return key;
    }
    return key_new(w, part, text, hash);
}

static bool is_idle(const ti_key *key)
{
    return key->window_first == NULL && key->parked_first == NULL && key->running == NULL &&
           key->own_waiting == NULL && key->unacked == 0 && key->moving == 0 && key->held == 0 &&
           key->stale == 0 && !key->is_parked && !key->loading && !key->load_queued &&
           !key->is_ready;
}

static void free_key(ti_worker *w, ti_key *key)
{
    ti_key **link = bucket_of(w, key->hash);
    while (*link != key) {
        ti_require(*link != NULL);
        link = &(*link)->hash_next;
    }
    *link = key->hash_next;
    w->key_count--;
    ti_timers_release(&w->timers, &key->timer);
    ti_free(key);
}

/* ---- what is next ---- */

static void load_push(ti_worker *w, ti_key *key)
{
    key->load_queued = true;
    key->load_next = NULL;
    if (w->load_last != NULL)
        w->load_last->load_next = key;
    else
        w->load_first = key;
    w->load_last = key;
    ti_worker_nudge(w);
}

static void unpark(ti_worker *w, ti_key *key)
{
    ti_assert(key->parked_first == NULL);
    key->is_parked = false;
    key->load_max = TI_PARKED_PAGE_MAX;
    w->parked_size -= key_size(key);
    ti_room_came(w);
    ti_hub_uncount(key->part->type->type, TI_COUNT_PARKED_KEYS, 1);
}

/* Whether the key has to wait; sets its timer then. */
static bool must_wait(ti_worker *w, ti_key *key)
{
    if (key->not_before_ns == 0)
        return false;
    if (ti_env_mono_ns(w->env) >= key->not_before_ns) {
        key->not_before_ns = 0;
        return false;
    }
    ti_timers_set(&w->timers, &key->timer, key->not_before_ns);
    if (key->not_before_ns < w->reader_until_ns)
        ti_worker_nudge(w);
    return true;
}

/* Of a parked key without parked rows in memory: true when its window may run. */
static bool parked_is_over(ti_worker *w, ti_key *key)
{
    if (key->loading || key->load_queued || key->moving > 0)
        return false;
    if (!key->all_loaded) {
        if (!must_wait(w, key))
            load_push(w, key);
        return false;
    }
    unpark(w, key);
    return true;
}

void ti_key_update(ti_worker *w, ti_key *key)
{
    ti_mutex_assert_held(&w->mutex);
    if (key->running != NULL || key->is_ready || key->held > 0)
        return;
    if (!key->part->owned || key->part->reopen || key->stale > 0 || w->life != TI_LIFE_RUNNING) {
        if (is_idle(key))
            free_key(w, key);
        return;
    }
    if (key->is_parked && key->parked_first == NULL && !parked_is_over(w, key))
        return;
    if ((key->is_parked ? key->parked_first : key->window_first) == NULL) {
        if (is_idle(key))
            free_key(w, key);
        return;
    }
    if (!must_wait(w, key))
        ti_ready_push(w, key);
}

/* ---- parked keys ---- */

void ti_key_park(ti_worker *w, ti_key *key, const ti_event_place *from)
{
    ti_mutex_assert_held(&w->mutex);
    if (!key->is_parked) {
        /* a ready one stood for its window, which now comes second */
        ti_ready_remove(w, key);
        key->is_parked = true;
        key->parked_from = *from;
        w->parked_size += key_size(key);
        ti_hub_count(key->part->type->type, TI_COUNT_PARKED_KEYS, 1);
    } else if (ti_event_place_compare(from, &key->parked_from) < 0) {
        key->parked_from = *from;
    }
    key->all_loaded = false;
    key->lowered = true;
}

void ti_key_move_window(ti_worker *w, ti_key *key)
{
    ti_mutex_assert_held(&w->mutex);
    ti_assert(key->is_parked);
    if (key->part->type->ordering == TI_ORDERING_PARTITION)
        return;
    while (key->window_first != NULL) {
        ti_event *event = key->window_first;
        ti_key_chain_remove(key, event);
        key->moving++;
        event->outcome = TI_OUTCOME_MOVE;
        ti_outcome_push(w, event);
    }
}

void ti_key_forget_parked(ti_worker *w, ti_key *key)
{
    ti_mutex_assert_held(&w->mutex);
    ti_ready_remove(w, key);
    while (key->parked_first != NULL)
        ti_window_forget(w, key->parked_first);
    key->all_loaded = false;
}

/* One pass frees what is idle; updating a key frees no other. */
void ti_keys_close(ti_worker *w, ti_part *part)
{
    ti_mutex_assert_held(&w->mutex);
    for (size_t i = 0; i < w->key_buckets; i++) {
        ti_key *next;
        for (ti_key *key = w->keys[i]; key != NULL; key = next) {
            next = key->hash_next;
            if (key->part != part)
                continue;
            ti_ready_remove(w, key);
            ti_timers_cancel(&w->timers, &key->timer);
            if (key->is_parked)
                unpark(w, key);
            ti_key_update(w, key);
        }
    }
}

void ti_keys_free(ti_worker *w)
{
    ti_mutex_assert_held(&w->mutex);
    for (size_t i = 0; i < w->key_buckets; i++) {
        while (w->keys[i] != NULL)
            free_key(w, w->keys[i]);
    }
}

/* Whether the key stands where there has been no room for long. */
static bool is_in_the_way(const ti_worker *w, const ti_key *key, int64_t since_ns)
{
    const ti_part *part = key->part;
    if (key->window_count < TI_SPILL_CHAIN_MIN || !part->owned ||
        part->type->ordering != TI_ORDERING_KEY)
        return false;
    return (w->full && w->full_at_ns <= since_ns) || (part->full && part->full_at_ns <= since_ns);
}

void ti_window_spill(ti_worker *w)
{
    int64_t since_ns = ti_env_mono_ns(w->env) - TI_SPILL_AFTER_US * INT64_C(1000);
    ti_mutex_assert_held(&w->mutex);
    for (size_t i = 0; i < w->key_buckets; i++) {
        for (ti_key *key = w->keys[i]; key != NULL; key = key->hash_next) {
            if (!is_in_the_way(w, key, since_ns))
                continue;
            ti_key_park(w, key, &key->window_first->info.place);
            ti_key_move_window(w, key);
        }
    }
}

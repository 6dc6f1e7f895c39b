/* The window: events in memory, in their partitions and in the chains of their keys. What a key
 * does next is in key.c.
 *
 * The mutex is held by every function here.
 *
 * INVARIANTS
 *  1. A chain is sorted by place (but for an event that runs again, which is put first).
 *  2. worker->events and bytes count every object that is in the index. */
#include "base/assert.h"
#include "queue/worker_int.h"

/* ---- chains ---- */

static void chain_add(ti_event **first, ti_event **last, ti_event *event, bool at_head)
{
    ti_event *before = at_head ? NULL : *last;
    while (before != NULL && ti_event_place_compare(&before->info.place, &event->info.place) > 0)
        before = before->prev;
    ti_event *after = before != NULL ? before->next : *first;
    event->prev = before;
    event->next = after;
    if (before != NULL)
        before->next = event;
    else
        *first = event;
    if (after != NULL)
        after->prev = event;
    else
        *last = event;
}

static void chain_remove(ti_event **first, ti_event **last, ti_event *event)
{
    if (event->prev != NULL)
        event->prev->next = event->next;
    else
        *first = event->next;
    if (event->next != NULL)
        event->next->prev = event->prev;
    else
        *last = event->prev;
    event->next = NULL;
    event->prev = NULL;
}

void ti_key_chain_add(ti_key *key, ti_event *event, bool at_head)
{
    if (event->from_parked) {
        chain_add(&key->parked_first, &key->parked_last, event, at_head);
        return;
    }
    chain_add(&key->window_first, &key->window_last, event, at_head);
    key->window_count++;
}

void ti_key_chain_remove(ti_key *key, ti_event *event)
{
    if (event->from_parked) {
        chain_remove(&key->parked_first, &key->parked_last, event);
        return;
    }
    ti_assert(key->window_count > 0);
    chain_remove(&key->window_first, &key->window_last, event);
    key->window_count--;
}

/* ---- in and out ---- */

static void part_add(ti_part *part, ti_event *event)
{
    event->part_prev = NULL;
    event->part_next = part->events;
    if (part->events != NULL)
        part->events->part_prev = event;
    part->events = event;
    part->count++;
}

static void part_remove(ti_part *part, ti_event *event)
{
    ti_assert(part->count > 0);
    if (event->part_prev != NULL)
        event->part_prev->part_next = event->part_next;
    else
        part->events = event->part_next;
    if (event->part_next != NULL)
        event->part_next->part_prev = event->part_prev;
    event->part_next = NULL;
    event->part_prev = NULL;
    part->count--;
}

ti_status ti_window_insert(ti_worker *w, ti_event *event, bool at_head, ti_err *err)
{
    ti_part *part = event->part;
    ti_mutex_assert_held(&w->mutex);
    ti_assert(event->stage == TI_WAITING);
    TI_TRY(ti_timers_reserve(&w->timers, err));
    ti_key *key = ti_key_of(w, part, event->order);
    if (key == NULL) {
        ti_timers_release(&w->timers, &event->deadline);
        return ti_err_no_memory(err);
    }
    event->key = key;
    event->holding = part->holding;
    ti_index_add(w, event);
    part_add(part, event);
    w->events++;
    w->bytes += event->size;
    ti_hub_count(part->type->type, TI_COUNT_WAITING, 1);
    if (event->damaged) {
        key->unacked++;
        event->outcome = TI_OUTCOME_DAMAGED;
        ti_outcome_push(w, event);
        return TI_OK;
    }
    ti_key_chain_add(key, event, at_head);
    return TI_OK;
}

void ti_room_came(ti_worker *w)
{
    if (w->full && w->events <= TI_WINDOW_EVENTS_MAX / 4 * 3 &&
        w->bytes <= TI_WINDOW_SIZE_MAX / 4 * 3 && w->parked_size <= TI_PARKED_SIZE_MAX / 4 * 3) {
        w->full = false;
        ti_worker_nudge(w);
    }
    if (!w->full && w->full_parts == 0)
        w->spill_check_ns = 0;
}

/* Room has come back: whoever waits for it goes on. */
static void part_room_came(ti_worker *w, ti_part *part)
{
    if (part->full && part->count <= TI_WINDOW_PARTITION_MAX / 2) {
        part->full = false;
        w->full_parts--;
        ti_part_queue(w, part);
        ti_worker_nudge(w);
    }
    ti_room_came(w);
}

/* Out of the index; freed when nobody refers to it. */
static void drop(ti_worker *w, ti_event *event)
{
    ti_part *part = event->part;
    ti_index_remove(w, event);
    ti_assert(w->events > 0);
    w->events--;
    w->bytes -= event->size;
    ti_hub_uncount(part->type->type, TI_COUNT_WAITING, 1);
    ti_timers_release(&w->timers, &event->deadline);
    ti_event_unref(event);
    part_room_came(w, part);
}

void ti_window_forget(ti_worker *w, ti_event *event)
{
    ti_mutex_assert_held(&w->mutex);
    ti_assert(event->stage == TI_WAITING);
    ti_key_chain_remove(event->key, event);
    part_remove(event->part, event);
    drop(w, event);
}

void ti_window_finish(ti_worker *w, ti_event *event, bool done)
{
    ti_part *part = event->part;
    ti_mutex_assert_held(&w->mutex);
    ti_assert(event->stage == TI_SETTLED);
    event->stage = TI_DONE;
    if (event->stale)
        event->key->stale--;
    event->stale = false;
    part_remove(part, event);
    if (!done) {
        drop(w, event);
        return;
    }
    if (!event->from_parked && event->info.place.timestamp_us > part->finished_us) {
        bool was_dirty = ti_part_is_dirty(part);
        part->finished_us = event->info.place.timestamp_us;
        if (!was_dirty)
            ti_part_schedule(w, part);
    }
    if (part->reading) {
        event->next = part->done;
        part->done = event;
        return;
    }
    drop(w, event);
}

void ti_window_read_ended(ti_worker *w, ti_part *part)
{
    ti_mutex_assert_held(&w->mutex);
    part->reading = false;
    while (part->done != NULL) {
        ti_event *event = part->done;
        part->done = event->next;
        event->next = NULL;
        drop(w, event);
    }
}

/* What is known of the partition is void: the reader opens it anew. */
static void reopen(ti_worker *w, ti_part *part)
{
    if (part->reopen || !part->owned || w->life != TI_LIFE_RUNNING)
        return;
    part->reopen = true;
    w->reopen_parts++;
    w->ownership_ns = 0;
    ti_worker_nudge(w);
}

/* The row of an event that is not in memory any more has to be read again, before what follows it
 * in its key runs. */
static void read_again(ti_worker *w, ti_key *key, ti_event_place place, bool from_parked)
{
    if (!from_parked) {
        ti_part_wake(w, key->part, place.timestamp_us); /* no checkpoint passes it */
        reopen(w, key->part);
        return;
    }
    ti_key_forget_parked(w, key);
    ti_key_park(w, key, &place);
}

void ti_window_replace(ti_worker *w, ti_event *event, ti_event *object, bool at_head)
{
    ti_key *key = event->key;
    ti_event_place place = event->info.place;
    bool from_parked = event->from_parked;
    ti_window_finish(w, event, false);
    if (!key->part->owned || w->life != TI_LIFE_RUNNING) {
        if (object != NULL)
            ti_event_destroy(object);
        if (!from_parked) /* the last checkpoint does not pass it */
            ti_part_wake(w, key->part, place.timestamp_us);
        return;
    }
    if (object != NULL && ti_window_insert(w, object, at_head, NULL) == TI_OK)
        return;
    if (object != NULL)
        ti_event_destroy(object);
    read_again(w, key, place, from_parked);
}

void ti_window_lose(ti_worker *w, ti_event *event)
{
    ti_key *key = event->key;
    ti_part *part = event->part;
    ti_event_place place = event->info.place;
    bool from_parked = event->from_parked;
    ti_mutex_assert_held(&w->mutex);
    ti_window_finish(w, event, false);
    if (!from_parked) /* no checkpoint passes it */
        ti_part_wake(w, part, place.timestamp_us);
    reopen(w, part);
    ti_key_update(w, key);
}

void ti_window_rerun(ti_worker *w, ti_event *event, bool at_head, int64_t delay_ns)
{
    ti_key *key = event->key;
    ti_mutex_assert_held(&w->mutex);
    ti_assert(event->stage == TI_SETTLED);
    if (key->running == event)
        key->running = NULL;
    if (event->stale) { /* others may have changed its row */
        ti_window_lose(w, event);
        return;
    }
    ti_window_replace(w, event, ti_event_clone(event), at_head);
    if (delay_ns > 0)
        key->not_before_ns = ti_env_mono_ns(w->env) + delay_ns;
    ti_key_update(w, key);
}

/* ---- partitions ---- */

bool ti_part_is_dirty(const ti_part *part)
{
    return part->finished_us > 0 && part->finished_us >= part->checkpoint_us;
}

static int64_t sweep_interval_us(const ti_worker *w, const ti_part *part)
{
    if (!w->queues->shared)
        return TI_SWEEP_ALONE_US;
    return ti_part_is_dirty(part) || part->count > 0 ? TI_SWEEP_BUSY_US : TI_SWEEP_IDLE_US;
}

void ti_part_schedule(ti_worker *w, ti_part *part)
{
    ti_mutex_assert_held(&w->mutex);
    if (!part->owned || !part->opened)
        return;
    int64_t at_ns = part->swept_ns + sweep_interval_us(w, part) * 1000;
    if (part->due_us != UINT64_MAX && part->due_ns < at_ns)
        at_ns = part->due_ns;
    ti_timers_set(&w->timers, &part->timer, at_ns);
}

void ti_part_queue(ti_worker *w, ti_part *part)
{
    ti_mutex_assert_held(&w->mutex);
    if (part->queued || !part->owned || part->full)
        return;
    part->queued = true;
    part->queue_next = NULL;
    if (w->read_last != NULL)
        w->read_last->queue_next = part;
    else
        w->read_first = part;
    w->read_last = part;
}

void ti_part_wake(ti_worker *w, ti_part *part, uint64_t place_us)
{
    ti_mutex_assert_held(&w->mutex);
    if (!part->owned || !part->opened)
        return;
    if (place_us <= part->read_us) {
        part->read_us = place_us;
        part->read_uuid[0] = '\0';
    }
    if (place_us < part->wake_min_us)
        part->wake_min_us = place_us;
    if (place_us > part->wake_max_us)
        part->wake_max_us = place_us;
    ti_part_queue(w, part);
}

void ti_part_close(ti_worker *w, ti_part *part)
{
    ti_event *next;
    ti_mutex_assert_held(&w->mutex);
    part->owned = false;
    part->opened = false;
    part->sweeping = false;
    if (part->reopen)
        w->reopen_parts--;
    part->reopen = false;
    ti_buf_clear(&part->open_from);
    ti_timers_cancel(&w->timers, &part->timer);
    if (part->full) {
        part->full = false;
        w->full_parts--;
    }
    for (ti_event *event = part->events; event != NULL; event = next) {
        next = event->part_next;
        if (event->stage == TI_WAITING) {
            ti_window_forget(w, event);
        } else if (!event->stale) {
            event->stale = true;
            event->key->stale++;
        }
    }
    ti_keys_close(w, part);
}

ti_txn *ti_part_forget_all(ti_worker *w, ti_part *part)
{
    ti_mutex_assert_held(&w->mutex);
    ti_assert(w->life == TI_LIFE_ENDED);
    ti_part_close(w, part);
    ti_window_read_ended(w, part);
    while (part->events != NULL) {
        ti_event *event = part->events;
        ti_txn *txn = event->stage == TI_SETTLED ? event->txn : NULL;
        if (txn != NULL) {
            event->txn = NULL;
            return txn;
        }
        event->stage = TI_DONE;
        event->key = NULL;
        part_remove(part, event);
        drop(w, event);
    }
    return NULL;
}

/* How a worker follows the partition counts of its types, which change while it runs.
 *
 *   runs with count n ──count changes, or differs──> rests: gives its partitions up, lets what is
 *   ^                                                with handlers end
 *   └── takes the new count on <──the change is over── has nothing of the type in hand: `rested`
 *
 *   parts:    [0 1 2 3]  grown: a new array; the old one is kept, handlers that had their time may
 *             still point into it
 *
 * INVARIANTS
 *  1. A type begins resting, and takes a count on only while the hub says that it does not change;
 *     in the same step its listener is no longer `rested`. So who changes the count on an engine of
 *     one process waits until nothing of the type is in hand.
 *  2. On a shared engine nothing that was read by a count is committed later than
 *     meta_lease_us after the last time that this count was read from the store.
 *  3. A partition is owned only while its type does not rest, and its number is below the count.
 *
 * Threads: the reader's, but for ti_type_fence (any). */
#include <string.h>

#include "base/assert.h"
#include "queue/worker_int.h"

struct ti_parts_old {
    struct ti_parts_old *next;
    ti_part *parts;
    uint32_t count;
};

/* ---- memory ---- */

static void free_array(ti_part *parts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        ti_buf_free(&parts[i].open_from);
    ti_free(parts);
}

void ti_type_free_parts(ti_wtype *type)
{
    while (type->parts_old != NULL) {
        ti_parts_old *old = type->parts_old;
        type->parts_old = old->next;
        free_array(old->parts, old->count);
        ti_free(old);
    }
    if (type->parts != NULL)
        free_array(type->parts, type->room);
    ti_free(type->inbox_lowest);
    ti_free(type->inbox_highest);
    ti_free(type->inbox_dirty);
    type->parts = NULL;
    type->inbox_lowest = NULL;
    type->inbox_highest = NULL;
    type->inbox_dirty = NULL;
    type->room = 0;
}

/* What a larger type has, until it is put in place. */
typedef struct larger {
    ti_part *parts;
    ti_parts_old *old;
    uint64_t *lowest;
    uint64_t *highest;
    uint32_t *dirty;
} larger;

static void larger_free(larger *l)
{
    ti_free(l->parts);
    ti_free(l->old);
    ti_free(l->lowest);
    ti_free(l->highest);
    ti_free(l->dirty);
}

static ti_status larger_make(ti_worker *w, ti_wtype *type, uint32_t n, larger *l, ti_err *err)
{
    l->parts = ti_alloc_zero(n * sizeof(ti_part));
    l->old = ti_alloc_zero(sizeof(*l->old));
    l->lowest = ti_alloc_zero(n * sizeof(uint64_t));
    l->highest = ti_alloc_zero(n * sizeof(uint64_t));
    l->dirty = ti_alloc_zero(n * sizeof(uint32_t));
    if (l->parts == NULL || l->old == NULL || l->lowest == NULL || l->highest == NULL ||
        l->dirty == NULL)
        return ti_err_no_memory(err);
    for (uint32_t i = 0; i < n; i++) {
        ti_part *part = &l->parts[i];
        part->type = type;
        part->number = i;
        part->wake_min_us = UINT64_MAX;
        ti_buf_init(&part->open_from, TI_KEY_SIZE_MAX * 2);
        ti_timer_init(&part->timer, TI_TIMER_PART);
        l->lowest[i] = UINT64_MAX;
    }
    for (; type->timers_reserved < n + 1; type->timers_reserved++)
        TI_TRY(ti_timers_reserve(&w->timers, err));
    return TI_OK;
}

/* The mutex is held, and the inbox's. */
static void put_in_place(ti_wtype *type, larger *l, uint32_t n)
{
    if (type->parts != NULL) {
        *l->old =
            (ti_parts_old){.next = type->parts_old, .parts = type->parts, .count = type->room};
        type->parts_old = l->old;
        l->old = NULL;
    }
    ti_free(type->inbox_lowest);
    ti_free(type->inbox_highest);
    ti_free(type->inbox_dirty);
    type->parts = l->parts;
    type->inbox_lowest = l->lowest;
    type->inbox_highest = l->highest;
    type->inbox_dirty = l->dirty;
    type->room = n;
    *l = (larger){.old = l->old};
}

/* News about the old partitions says nothing about the new ones. The inbox's mutex is held. */
static void clear_news(ti_wtype *type)
{
    for (uint32_t i = 0; i < type->inbox_count; i++) {
        uint32_t number = type->inbox_dirty[i];
        type->inbox_lowest[number] = UINT64_MAX;
        type->inbox_highest[number] = 0;
    }
    type->inbox_count = 0;
}

ti_status ti_type_resize(ti_worker *w, ti_wtype *type, uint32_t n, ti_err *err)
{
    larger l = {.parts = NULL};
    ti_status status = TI_OK;
    ti_mutex_assert_held(&w->mutex);
    if (n > type->room)
        status = larger_make(w, type, n, &l, err);
    if (status == TI_OK) {
        ti_mutex_lock(&w->inbox.mutex);
        clear_news(type);
        if (n > type->room)
            put_in_place(type, &l, n);
        atomic_store(&type->partitions, n);
        ti_mutex_unlock(&w->inbox.mutex);
        atomic_fetch_add(&type->generation, 1);
    }
    larger_free(&l);
    return status;
}

ti_part *ti_type_part(ti_worker *w, const ti_wtype *type, uint32_t number)
{
    ti_mutex_lock(&w->mutex);
    ti_part *part = number < type->partitions ? &type->parts[number] : &type->parts[0];
    ti_mutex_unlock(&w->mutex);
    return part;
}

/* ---- following, the mutex is held ---- */

static bool is_current(const ti_wtype *type)
{
    uint64_t layout = atomic_load(&type->type->layout);
    return !ti_layout_moving(layout) && ti_layout_count(layout) == type->partitions;
}

/* Whether nothing of the type is in hand. */
static bool is_empty(const ti_wtype *type)
{
    for (uint32_t i = 0; i < type->partitions; i++) {
        const ti_part *part = &type->parts[i];
        if (part->owned || part->count > 0 || part->reading)
            return false;
    }
    return true;
}

/* Says that it rests; or that it does not, when there is a count to take on: 0 = not now. */
static uint32_t agree(ti_worker *w, ti_wtype *type)
{
    ti_hub *hub = w->queues->hub;
    ti_mutex_lock(&hub->mutex);
    ti_hub_meta meta = type->type->meta;
    type->listener.rested = meta.moving;
    if (!meta.moving) {
        type->valid_until = ti_ts_add_us(meta.read_at, w->queues->meta_lease_us);
        type->valid_ns = meta.read_ns + w->queues->meta_lease_us * 1000;
    }
    ti_mutex_unlock(&hub->mutex);
    return meta.moving ? 0 : meta.partitions;
}

static void ask_ownership(ti_worker *w)
{
    w->epoch_known = false;
    w->ownership_ns = 0;
}

static void follow(ti_worker *w, ti_wtype *type)
{
    ti_err err;
    if (!type->resting && is_current(type))
        return;
    if (!type->resting) {
        atomic_store(&type->resting, true);
        ask_ownership(w);
    }
    if (!is_empty(type)) {
        w->leaving = true;
        return;
    }
    ti_err_clear(&err);
    uint32_t count = agree(w, type);
    if (count == 0)
        return;
    if (count != type->partitions && ti_type_resize(w, type, count, &err) != TI_OK) {
        ti_log_write(w->log, TI_LOG_WARN, "queue: taking on %u partitions of '%s': %s", count,
                     type->type->name, err.message);
        w->leaving = true; /* tried again */
        return;
    }
    atomic_store(&type->resting, false);
    ask_ownership(w);
}

void ti_types_follow(ti_worker *w)
{
    ti_mutex_assert_held(&w->mutex);
    w->leaving = false;
    for (ti_wtype *type = w->types; type != NULL; type = type->next)
        follow(w, type);
}

/* ---- the fence ---- */

/* Reads the count again when it has been remembered for half of its time, which the keeper does
 * unless it has much to do; tried once a second. */
static void refresh(const ti_worker *w, ti_wtype *type, int64_t now_ns)
{
    ti_call call = ti_call_within(w->env, TI_LEASE_CALL_US);
    ti_err err;
    bool paused;
    int64_t last_ns = atomic_load(&type->refreshed_ns);
    if (now_ns - last_ns < TI_KEEPER_US * INT64_C(1000) ||
        !atomic_compare_exchange_strong(&type->refreshed_ns, &last_ns, now_ns))
        return;
    ti_err_clear(&err);
    if (ti_queue_is_paused(w->queues, ti_hub_type_name(type->type), &paused, &call, &err) != TI_OK)
        ti_log_write(w->log, TI_LOG_INFO, "queue: reading the partition count of '%s': %s",
                     type->type->name, err.message);
}

/* Whether what was read may still be committed; until when, in *until_io. */
static bool is_valid(const ti_worker *w, ti_wtype *type, ti_ts *until_io, int64_t now_ns,
                     bool *old_out)
{
    ti_hub *hub = w->queues->hub;
    ti_mutex_lock(&hub->mutex);
    ti_hub_meta meta = type->type->meta;
    bool current = !atomic_load(&type->resting) && !meta.moving &&
                   meta.partitions == atomic_load(&type->partitions);
    if (current) {
        type->valid_until = ti_ts_add_us(meta.read_at, w->queues->meta_lease_us);
        type->valid_ns = meta.read_ns + w->queues->meta_lease_us * 1000;
    }
    if (*until_io == TI_TS_NONE || type->valid_until < *until_io)
        *until_io = type->valid_until;
    bool valid = current || now_ns <= type->valid_ns;
    *old_out = current && now_ns - meta.read_ns > w->queues->meta_lease_us * 500;
    ti_mutex_unlock(&hub->mutex);
    return valid;
}

ti_ts ti_type_fence(const ti_worker *w, ti_wtype *type, ti_ts until)
{
    int64_t now_ns = ti_env_mono_ns(w->env);
    ti_ts bound = until;
    bool old = false;
    if (until == TI_FENCE_LOST)
        return until;
    bool valid = is_valid(w, type, &bound, now_ns, &old);
    if (old) {
        refresh(w, type, now_ns);
        bound = until;
        valid = is_valid(w, type, &bound, now_ns, &old);
    }
    return valid ? bound : TI_FENCE_LOST;
}

/* A binary heap of timers; see timers_int.h. */
#include "queue/timers_int.h"

#include "base/assert.h"
#include "base/mem.h"

#define CAPACITY_MIN 64

ti_status ti_timers_reserve(ti_timers *t, ti_err *err)
{
    if (t->reserved == t->capacity) {
        size_t capacity = t->capacity < CAPACITY_MIN ? CAPACITY_MIN : t->capacity * 2;
        ti_timer **items = ti_realloc(t->items, capacity * sizeof(ti_timer *));
        if (items == NULL)
            return ti_err_no_memory(err);
        t->items = items;
        t->capacity = capacity;
    }
    t->reserved++;
    return TI_OK;
}

void ti_timers_release(ti_timers *t, ti_timer *timer)
{
    ti_timers_cancel(t, timer);
    ti_assert(t->reserved > t->count);
    t->reserved--;
}

void ti_timer_init(ti_timer *timer, int kind)
{
    *timer = (ti_timer){.at_ns = 0, .slot = TI_TIMER_OFF, .kind = kind};
}

static void put(ti_timers *t, size_t slot, ti_timer *timer)
{
    t->items[slot] = timer;
    timer->slot = slot;
}

static void sift_up(ti_timers *t, size_t slot)
{
    ti_timer *timer = t->items[slot];
    while (slot > 0 && t->items[(slot - 1) / 2]->at_ns > timer->at_ns) {
        put(t, slot, t->items[(slot - 1) / 2]);
        slot = (slot - 1) / 2;
    }
    put(t, slot, timer);
}

static void sift_down(ti_timers *t, size_t slot)
{
    ti_timer *timer = t->items[slot];
    for (;;) {
        size_t child = 2 * slot + 1;
        if (child >= t->count)
            break;
        if (child + 1 < t->count && t->items[child + 1]->at_ns < t->items[child]->at_ns)
            child++;
        if (t->items[child]->at_ns >= timer->at_ns)
            break;
        put(t, slot, t->items[child]);
        slot = child;
    }
    put(t, slot, timer);
}

void ti_timers_set(ti_timers *t, ti_timer *timer, int64_t at_ns)
{
    if (timer->slot == TI_TIMER_OFF) {
        ti_require(t->count < t->reserved);
        put(t, t->count++, timer);
    }
    ti_assert(t->items[timer->slot] == timer);
    timer->at_ns = at_ns;
    sift_up(t, timer->slot);
    sift_down(t, timer->slot);
}

void ti_timers_cancel(ti_timers *t, ti_timer *timer)
{
    size_t slot = timer->slot;
    if (slot == TI_TIMER_OFF)
        return;
    ti_assert(t->items[slot] == timer);
    timer->slot = TI_TIMER_OFF;
    ti_timer *last = t->items[--t->count];
    if (last == timer)
        return;
    put(t, slot, last);
    sift_up(t, slot);
    sift_down(t, last->slot);
}

ti_timer *ti_timers_first(const ti_timers *t)
{
    return t->count > 0 ? t->items[0] : NULL;
}

void ti_timers_free(ti_timers *t)
{
    ti_free(t->items);
    *t = (ti_timers){.items = NULL};
}

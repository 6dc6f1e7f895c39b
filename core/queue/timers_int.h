/* Timers: a heap of what has to happen when. The object embeds a ti_timer.
 *
 * INVARIANTS
 *  1. items[0] is the earliest; timer->slot is its index in items, or TI_TIMER_OFF.
 *  2. Room is reserved before an object that owns a timer exists, so that setting can not fail.
 *
 * Thread rule: under its owner's mutex. */
#ifndef TI_QUEUE_TIMERS_INT_H
#define TI_QUEUE_TIMERS_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define TI_TIMER_OFF SIZE_MAX

typedef struct ti_timer {
    int64_t at_ns; /* on the monotonic clock */
    size_t slot;
    int kind; /* the owner's: tells what embeds it */
} ti_timer;

typedef struct ti_timers {
    ti_timer **items; /* owned array of borrowed timers */
    size_t count;
    size_t capacity;
    size_t reserved; /* objects that may set a timer */
} ti_timers;

/* Room for one more object's timer; OUT_OF_MEMORY. release gives the room back, after cancel. */
ti_status ti_timers_reserve(ti_timers *t, ti_err *err);
void ti_timers_release(ti_timers *t, ti_timer *timer);
/* A timer that is off. */
void ti_timer_init(ti_timer *timer, int kind);
/* Sets or moves it. */
void ti_timers_set(ti_timers *t, ti_timer *timer, int64_t at_ns);
/* Turns it off; may be off. */
void ti_timers_cancel(ti_timers *t, ti_timer *timer);
/* The earliest, or NULL. */
ti_timer *ti_timers_first(const ti_timers *t);
void ti_timers_free(ti_timers *t);

#endif

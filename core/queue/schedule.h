/* Recurring events: rows that say when the next one is due.
 *
 *   queue_schedule:{name} = type, key, cron, zone, payload, catch_up, next tick
 *
 *   keeper of a worker that works on the event's partition, each second:
 *     next tick within TI_SCHEDULE_AHEAD_US? one transaction: event published, due at the tick; row
 *     put with the tick after it
 *
 * INVARIANTS
 *  1. The event of a tick and the row that says that it was published commit together: no tick is
 *     lost or doubled, whoever dies when, and however many try.
 *  2. A tick is missed when it is TI_SCHEDULE_LATE_US in the past: nobody was there. What becomes
 *     of missed ones is catch_up.
 *
 * Thread rule: any thread. */
#ifndef TI_QUEUE_SCHEDULE_H
#define TI_QUEUE_SCHEDULE_H

#include "queue/queue.h"

typedef enum ti_catch_up {
    TI_CATCH_UP_ONE = 0, /* one event for all that were missed */
    TI_CATCH_UP_ALL = 1, /* one for each */
    TI_CATCH_UP_NONE = 2,
} ti_catch_up;

typedef struct ti_schedule {
    ti_slice name; /* as names of tables */
    ti_slice type;
    ti_slice key;
    ti_slice cron;
    ti_slice timezone; /* empty: UTC */
    ti_slice payload;  /* JSON; empty = null */
    ti_catch_up catch_up;
    int64_t next_us; /* the next tick; INT64_MAX: never. Filled by reading. */
} ti_schedule;

/* Makes or replaces a schedule. One with the same times (cron, timezone) goes on where it was, so a
 * program may say so at each start; else ticks count from now. INVALID_ARGUMENT. @thread any */
ti_status ti_schedule_set(ti_queues *queues, const ti_schedule *schedule, const ti_call *call,
                          ti_err *err);
/* NOT_FOUND with a text. @thread any */
ti_status ti_schedule_remove(ti_queues *queues, ti_slice name, const ti_call *call, ti_err *err);
/* All of them, by name; in a. At most TI_SCHEDULES_MAX. @thread any */
ti_status ti_schedule_list(ti_queues *queues, ti_arena *a, ti_schedule **schedules_out,
                           size_t *count_out, const ti_call *call, ti_err *err);
/* Publishes what is due of one. *fired_out: how many events. NOT_FOUND when it is gone. @thread any
 */
ti_status ti_schedule_fire(ti_queues *queues, ti_slice name, uint32_t *fired_out,
                           const ti_call *call, ti_err *err);

#endif

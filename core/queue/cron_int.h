/* Cron expressions and time zones.
 *
 *   minute hour day-of-month month day-of-week
 *   fields: *  5  1-5  1,3  any/5  10-50/10  jan  mon-fri
 *   @hourly @daily @weekly @monthly @yearly
 *
 * A day fits when its month fits, and its day of month and of week fit; when both of these are
 * given (neither begins with *), one of them is enough. Day of week: 0 to 7, 0 and 7 are Sunday.
 *
 * Local times that a change of the clock leaves out or repeats: with a fixed hour, one that is left
 * out comes as much later as the clock was put on, one that is repeated comes once, the first time.
 * With an hour of * ticks follow the time that really passes.
 *
 * Zones are read from the system's database (TZif version 2 and later, with the rule at its end).
 *
 * Thread rule: pure, but for reading a zone's file. */
#ifndef TI_QUEUE_CRON_INT_H
#define TI_QUEUE_CRON_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/slice.h"

typedef struct ti_cron {
    uint64_t minutes; /* bit per value */
    uint32_t hours;
    uint32_t days;
    uint32_t months;
    uint32_t weekdays;
    bool any_hour;
    bool any_day;
    bool any_weekday;
} ti_cron;

/* A yearly change between two offsets, "M10.5.0/3". */
typedef struct ti_zone_rule {
    int month;
    int week;    /* 1 … 5, 5 = the last */
    int weekday; /* 0 = Sunday */
    int32_t time_s;
} ti_zone_rule;

typedef struct ti_zone {
    int64_t *changes; /* owned: seconds since the epoch, rising */
    int32_t *offsets; /* owned: from changes[i] on, east of UTC */
    size_t count;
    int32_t first_s; /* before changes[0] */
    bool has_rule;   /* after the last change */
    bool has_summer;
    int32_t standard_s;
    int32_t summer_s;
    ti_zone_rule summer_begins; /* in standard time */
    ti_zone_rule summer_ends;   /* in summer time */
} ti_zone;

/* INVALID_ARGUMENT saying what is wrong with which field. */
ti_status ti_cron_parse(ti_slice text, ti_cron *cron_out, ti_err *err);
/* The first tick after `after_us`, in µs; INT64_MAX when there is none within eight years. */
int64_t ti_cron_next(const ti_cron *cron, const ti_zone *zone, int64_t after_us);

/* The zone of a name ("Europe/Berlin"; empty: UTC), to be freed. INVALID_ARGUMENT (no such zone, or
 * its file is none), OUT_OF_MEMORY. @thread any */
ti_status ti_zone_load(ti_slice name, ti_zone *zone_out, ti_err *err);
/* The same from the bytes of a file. */
ti_status ti_zone_parse(ti_slice file, ti_zone *zone_out, ti_err *err);
void ti_zone_free(ti_zone *zone);
/* Seconds east of UTC at that second since the epoch. */
int32_t ti_zone_offset(const ti_zone *zone, int64_t second);

/* Days since the epoch of a date of the Gregorian calendar, and back. */
int64_t ti_days_from_date(int64_t year, int month, int day);
void ti_date_from_days(int64_t days, int64_t *year_out, int *month_out, int *day_out);

#endif

/* Cron expressions: parsing, the next tick; see cron_int.h. */
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "queue/cron_int.h"

#define DAY_S 86400
#define DAYS_AHEAD_MAX (8 * 366)

/* ---- dates ---- */

/* Counted from 0000-03-01, so that a leap day ends its year. */
int64_t ti_days_from_date(int64_t year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void ti_date_from_days(int64_t days, int64_t *year_out, int *month_out, int *day_out)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *day_out = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month_out = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year_out = yoe + era * 400 + (*month_out <= 2 ? 1 : 0);
}

static int weekday_of(int64_t days)
{
    int64_t w = (days + 4) % 7; /* the epoch was a Thursday */
    return (int)(w < 0 ? w + 7 : w);
}

/* ---- parsing ---- */

typedef struct field_kind {
    const char *name;
    uint32_t min;
    uint32_t max;
    const char *const *names; /* of min, min + 1, …; NULL-terminated; or NULL */
} field_kind;

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul",
                                          "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};
static const field_kind kinds[5] = {{"minute", 0, 59, NULL},
                                    {"hour", 0, 23, NULL},
                                    {"day of month", 1, 31, NULL},
                                    {"month", 1, 12, month_names},
                                    {"day of week", 0, 7, day_names}};

static ti_status wrong(const field_kind *kind, ti_err *err)
{
    return ti_err_set(err, TI_INVALID_ARGUMENT,
                      "cron: the %s is made of *, numbers from %u to %u, ranges, lists and steps",
                      kind->name, kind->min, kind->max);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Takes a number of at most three digits. */
static bool take_number(ti_slice *in, uint32_t *number_out)
{
    uint32_t number = 0;
    size_t digits = 0;
    while (in->len > 0 && is_digit(in->data[0]) && digits < 4) {
        number = number * 10 + (uint32_t)(in->data[0] - '0');
        in->data++;
        in->len--;
        digits++;
    }
    *number_out = number;
    return digits > 0 && digits < 4;
}

/* Takes a number or a name. */
static bool take_value(ti_slice *in, const field_kind *kind, uint32_t *value_out)
{
    if (in->len > 0 && is_digit(in->data[0]))
        return take_number(in, value_out) && *value_out >= kind->min && *value_out <= kind->max;
    for (uint32_t i = 0; kind->names != NULL && kind->names[i] != NULL && in->len >= 3; i++) {
        const char *name = kind->names[i];
        if (lower(in->data[0]) == name[0] && lower(in->data[1]) == name[1] &&
            lower(in->data[2]) == name[2]) {
            in->data += 3;
            in->len -= 3;
            *value_out = kind->min + i;
            return true;
        }
    }
    return false;
}

static bool take_char(ti_slice *in, char c)
{
    if (in->len == 0 || in->data[0] != c)
        return false;
    in->data++;
    in->len--;
    return true;
}

/* One element of a list: *, a value or a range, with a step. */
static bool take_element(ti_slice *in, const field_kind *kind, uint64_t *bits)
{
    uint32_t from = kind->min;
    uint32_t to = kind->max;
    uint32_t step = 1;
    bool one = false;
    if (!take_char(in, '*')) {
        if (!take_value(in, kind, &from))
            return false;
        to = from;
        one = !take_char(in, '-');
        if (!one && (!take_value(in, kind, &to) || to < from))
            return false;
    }
    if (take_char(in, '/')) {
        if (!take_number(in, &step) || step == 0)
            return false;
        to = one ? kind->max : to;
    }
    for (uint32_t value = from; value <= to; value += step)
        *bits |= UINT64_C(1) << value;
    return true;
}

static ti_status parse_field(ti_slice text, const field_kind *kind, uint64_t *bits_out, ti_err *err)
{
    *bits_out = 0;
    do {
        if (!take_element(&text, kind, bits_out))
            return wrong(kind, err);
    } while (take_char(&text, ','));
    return text.len == 0 ? TI_OK : wrong(kind, err);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* Splits at blanks; how many words there are (at most max + 1). */
static size_t split(ti_slice text, ti_slice *words, size_t max)
{
    size_t n = 0;
    size_t at = 0;
    while (at < text.len) {
        while (at < text.len && is_space(text.data[at]))
            at++;
        size_t from = at;
        while (at < text.len && !is_space(text.data[at]))
            at++;
        if (at == from)
            break;
        if (n == max)
            return max + 1;
        words[n++] = (ti_slice){.data = text.data + from, .len = at - from};
    }
    return n;
}

static ti_slice expand(ti_slice text)
{
    static const char *const shorts[][2] = {{"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},
                                            {"@midnight", "0 0 * * *"}, {"@weekly", "0 0 * * 0"},
                                            {"@monthly", "0 0 1 * *"},  {"@yearly", "0 0 1 1 *"},
                                            {"@annually", "0 0 1 1 *"}};
    for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
        if (ti_slice_equal(text, ti_slice_of(shorts[i][0])))
            return ti_slice_of(shorts[i][1]);
    }
    return text;
}

ti_status ti_cron_parse(ti_slice text, ti_cron *cron_out, ti_err *err)
{
    ti_slice words[5];
    uint64_t bits[5];
    *cron_out = (ti_cron){.minutes = 0};
    if (split(expand(text), words, 5) != 5)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "cron: five fields are needed: minute, hour, day of month, month, day of "
                          "week");
    for (size_t i = 0; i < 5; i++)
        TI_TRY(parse_field(words[i], &kinds[i], &bits[i], err));
    cron_out->minutes = bits[0];
    cron_out->hours = (uint32_t)bits[1];
    cron_out->days = (uint32_t)bits[2];
    cron_out->months = (uint32_t)bits[3];
    cron_out->weekdays = (uint32_t)((bits[4] | bits[4] >> 7) & 0x7F);
    cron_out->any_hour = words[1].data[0] == '*';
    cron_out->any_day = words[2].data[0] == '*';
    cron_out->any_weekday = words[4].data[0] == '*';
    return TI_OK;
}

/* ---- the next tick ---- */

static bool day_fits(const ti_cron *cron, int64_t days)
{
    int64_t year;
    int month;
    int day;
    ti_date_from_days(days, &year, &month, &day);
    if ((cron->months >> month & 1) == 0)
        return false;
    bool of_month = (cron->days >> day & 1) != 0;
    bool of_week = (cron->weekdays >> weekday_of(days) & 1) != 0;
    if (cron->any_day || cron->any_weekday)
        return of_month && of_week;
    return of_month || of_week;
}

static void lower_to(int64_t *lowest, int64_t after, int64_t at)
{
    if (at > after && at < *lowest)
        *lowest = at;
}

/* What a local second means: lowers *lowest to it when it is after `after`. */
static void look_at(const ti_cron *cron, const ti_zone *zone, int64_t local, int64_t after,
                    int64_t *lowest)
{
    int64_t first = local - ti_zone_offset(zone, local - DAY_S);
    int64_t second = local - ti_zone_offset(zone, local + DAY_S);
    bool first_is = first + ti_zone_offset(zone, first) == local;
    bool second_is = second + ti_zone_offset(zone, second) == local;
    if (first_is)
        lower_to(lowest, after, first);
    if (second_is && (!first_is || cron->any_hour))
        lower_to(lowest, after, second);
    if (!first_is && !second_is && !cron->any_hour)
        lower_to(lowest, after, first);
}

/* The lowest tick of a local day after `after`; INT64_MAX: none. */
static int64_t next_of_day(const ti_cron *cron, const ti_zone *zone, int64_t days, int64_t after)
{
    int64_t lowest = INT64_MAX;
    for (int hour = 0; hour < 24; hour++) {
        if ((cron->hours >> hour & 1) == 0)
            continue;
        for (int minute = 0; minute < 60; minute++) {
            if ((cron->minutes >> minute & 1) != 0)
                look_at(cron, zone, days * DAY_S + hour * 3600 + minute * 60, after, &lowest);
        }
    }
    return lowest;
}

int64_t ti_cron_next(const ti_cron *cron, const ti_zone *zone, int64_t after_us)
{
    int64_t after = after_us / 1000000;
    int64_t local = after + ti_zone_offset(zone, after);
    int64_t days = (local >= 0 ? local : local - DAY_S + 1) / DAY_S;
    ti_assert(after_us >= 0);
    for (int64_t i = -1; i < DAYS_AHEAD_MAX; i++) { /* from the day before: clocks go back */
        if (!day_fits(cron, days + i))
            continue;
        int64_t at = next_of_day(cron, zone, days + i, after);
        if (at != INT64_MAX)
            return at * 1000000;
    }
    return INT64_MAX;
}

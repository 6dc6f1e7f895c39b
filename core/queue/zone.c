/* Time zones of the system's database; see cron_int.h.
 *
 *   TZif file:  header, 32-bit data | header, 64-bit data: changes, types, offsets | \n rule \n
 *   rule:       CET-1CEST,M3.5.0,M10.5.0/3         (offsets are west of UTC there)
 *
 * INVARIANTS
 *  1. A file is foreign input: every count is checked against its length. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "queue/cron_int.h"

#define FOLDER "/usr/share/zoneinfo/"
#define FILE_SIZE_MAX (256 * 1024)
#define NAME_SIZE_LONGEST 64
#define HEADER_SIZE 44

static ti_status damaged(ti_err *err)
{
    return ti_err_set(err, TI_INVALID_ARGUMENT, "timezone: its file can not be read");
}

/* ---- bytes ---- */

static int64_t number_at(const unsigned char *p, size_t size)
{
    uint64_t n = (p[0] & 0x80) != 0 ? UINT64_MAX : 0;
    for (size_t i = 0; i < size; i++)
        n = n << 8 | p[i];
    return (int64_t)n;
}

typedef struct block {
    size_t utc_flags;
    size_t wall_flags;
    size_t leaps;
    size_t times;
    size_t types;
    size_t chars;
} block;

/* Reads a header at p; false when the data behind it (numbers of size bytes) does not fit. */
static bool read_header(const unsigned char *p, size_t len, size_t size, block *b, size_t *end_out)
{
    size_t *const counts[] = {&b->utc_flags, &b->wall_flags, &b->leaps,
                              &b->times,     &b->types,      &b->chars};
    if (len < HEADER_SIZE || memcmp(p, "TZif", 4) != 0 || p[4] < '2')
        return false;
    for (size_t i = 0; i < 6; i++) {
        int64_t n = number_at(p + 20 + 4 * i, 4);
        if (n < 0 || n > FILE_SIZE_MAX)
            return false;
        *counts[i] = (size_t)n;
    }
    *end_out = HEADER_SIZE + b->times * (size + 1) + b->types * 6 + b->chars +
               b->leaps * (size + 4) + b->wall_flags + b->utc_flags;
    return *end_out <= len && b->types > 0;
}

static bool read_changes(const unsigned char *p, const block *b, ti_zone *zone)
{
    const unsigned char *indexes = p + b->times * 8;
    const unsigned char *types = indexes + b->times;
    zone->first_s = (int32_t)number_at(types, 4);
    for (size_t i = 0; i < b->times; i++) {
        if (indexes[i] >= b->types)
            return false;
        zone->changes[i] = number_at(p + i * 8, 8);
        zone->offsets[i] = (int32_t)number_at(types + (size_t)indexes[i] * 6, 4);
        if (i > 0 && zone->changes[i] <= zone->changes[i - 1])
            return false;
    }
    zone->count = b->times;
    return true;
}

/* ---- the rule at the end ---- */

static bool take_int(ti_slice *in, int32_t max, int32_t *out)
{
    int32_t n = 0;
    size_t digits = 0;
    while (in->len > 0 && in->data[0] >= '0' && in->data[0] <= '9' && digits < 4) {
        n = n * 10 + (in->data[0] - '0');
        in->data++;
        in->len--;
        digits++;
    }
    *out = n;
    return digits > 0 && n <= max;
}

static bool take(ti_slice *in, char c)
{
    if (in->len == 0 || in->data[0] != c)
        return false;
    in->data++;
    in->len--;
    return true;
}

/* [+-]h[:mm[:ss]] */
static bool take_time(ti_slice *in, int32_t *seconds_out)
{
    int32_t h = 0;
    int32_t m = 0;
    int32_t s = 0;
    int32_t sign = take(in, '-') ? -1 : 1;
    if (sign > 0)
        (void)take(in, '+');
    if (!take_int(in, 167, &h) || (take(in, ':') && !take_int(in, 59, &m)) ||
        (take(in, ':') && !take_int(in, 59, &s)))
        return false;
    *seconds_out = sign * (h * 3600 + m * 60 + s);
    return true;
}

/* A name of letters, or of anything between < and >. */
static bool take_name(ti_slice *in)
{
    bool quoted = take(in, '<');
    size_t n = 0;
    while (in->len > 0 && (quoted ? in->data[0] != '>'
                                  : (in->data[0] >= 'A' && in->data[0] <= 'Z') ||
                                        (in->data[0] >= 'a' && in->data[0] <= 'z'))) {
        in->data++;
        in->len--;
        n++;
    }
    return n > 0 && (!quoted || take(in, '>'));
}

/* ,Mm.w.d[/time] */
static bool take_rule(ti_slice *in, ti_zone_rule *rule)
{
    int32_t month;
    int32_t week;
    int32_t day;
    rule->time_s = 7200;
    if (!take(in, ',') || !take(in, 'M') || !take_int(in, 12, &month) || !take(in, '.') ||
        !take_int(in, 5, &week) || !take(in, '.') || !take_int(in, 6, &day) || month == 0 ||
        week == 0)
        return false;
    rule->month = month;
    rule->week = week;
    rule->weekday = day;
    return !take(in, '/') || take_time(in, &rule->time_s);
}

static bool read_rule(ti_slice in, ti_zone *zone)
{
    int32_t west;
    if (in.len == 0)
        return true; /* the last offset stays */
    if (!take_name(&in) || !take_time(&in, &west))
        return false;
    zone->has_rule = true;
    zone->standard_s = -west;
    if (in.len == 0)
        return true;
    if (!take_name(&in))
        return false;
    zone->has_summer = true;
    zone->summer_s = zone->standard_s + 3600;
    if (in.len > 0 && in.data[0] != ',') {
        if (!take_time(&in, &west))
            return false;
        zone->summer_s = -west;
    }
    return take_rule(&in, &zone->summer_begins) && take_rule(&in, &zone->summer_ends) &&
           in.len == 0;
}

/* The second of a rule's moment in a year, in the local time before it. */
static int64_t moment(const ti_zone_rule *rule, int64_t year)
{
    int64_t first = ti_days_from_date(year, rule->month, 1);
    int64_t next = rule->month == 12 ? ti_days_from_date(year + 1, 1, 1)
                                     : ti_days_from_date(year, rule->month + 1, 1);
    int64_t weekday = (first % 7 + 11) % 7; /* the epoch was a Thursday */
    int64_t day = first + (rule->weekday - weekday + 7) % 7 + 7 * (rule->week - 1);
    while (day >= next)
        day -= 7;
    return day * 86400 + rule->time_s;
}

static int32_t by_rule(const ti_zone *zone, int64_t second)
{
    int64_t year;
    int month;
    int day;
    if (!zone->has_summer)
        return zone->standard_s;
    int64_t local = second + zone->standard_s;
    ti_date_from_days((local >= 0 ? local : local - 86399) / 86400, &year, &month, &day);
    int64_t from = moment(&zone->summer_begins, year) - zone->standard_s;
    int64_t to = moment(&zone->summer_ends, year) - zone->summer_s;
    bool summer = from < to ? second >= from && second < to : second >= from || second < to;
    return summer ? zone->summer_s : zone->standard_s;
}

/* ---- entries ---- */

int32_t ti_zone_offset(const ti_zone *zone, int64_t second)
{
    size_t lo = 0;
    size_t hi = zone->count;
    while (lo < hi) { /* the first change after second */
        size_t middle = lo + (hi - lo) / 2;
        if (zone->changes[middle] <= second)
            lo = middle + 1;
        else
            hi = middle;
    }
    if (lo == zone->count && zone->has_rule)
        return by_rule(zone, second);
    return lo == 0 ? zone->first_s : zone->offsets[lo - 1];
}

void ti_zone_free(ti_zone *zone)
{
    ti_free(zone->changes);
    ti_free(zone->offsets);
    *zone = (ti_zone){.count = 0};
}

static ti_status fill(ti_zone *zone, const unsigned char *p, const block *b, ti_slice rule,
                      ti_err *err)
{
    zone->changes = ti_alloc_zero((b->times + 1) * sizeof(int64_t));
    zone->offsets = ti_alloc_zero((b->times + 1) * sizeof(int32_t));
    if (zone->changes == NULL || zone->offsets == NULL)
        return ti_err_no_memory(err);
    if (!read_changes(p, b, zone) || !read_rule(rule, zone))
        return damaged(err);
    return TI_OK;
}

ti_status ti_zone_parse(ti_slice file, ti_zone *zone_out, ti_err *err)
{
    const unsigned char *p = (const unsigned char *)file.data;
    size_t len = file.len;
    size_t end;
    block b;
    *zone_out = (ti_zone){.count = 0};
    if (!read_header(p, len, 4, &b, &end))
        return damaged(err);
    p += end;
    len -= end;
    if (!read_header(p, len, 8, &b, &end) || len - end < 2 || p[end] != '\n' || p[len - 1] != '\n')
        return damaged(err);
    ti_slice rule = {.data = (const char *)p + end + 1, .len = len - end - 2};
    ti_status status = fill(zone_out, p + HEADER_SIZE, &b, rule, err);
    if (status != TI_OK)
        ti_zone_free(zone_out);
    return status;
}

/* Whether the name stays inside the database's folder. */
static bool is_safe(ti_slice name)
{
    if (name.len == 0 || name.len > NAME_SIZE_LONGEST || name.data[0] == '/')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool fine = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                    c == '_' || c == '-' || c == '+' || c == '/';
        if (!fine)
            return false;
    }
    return true;
}

static ti_status read_file(int fd, ti_buf *out, ti_err *err)
{
    char bytes[4096];
    ssize_t got;
    while ((got = read(fd, bytes, sizeof(bytes))) > 0)
        TI_TRY(ti_buf_append(out, bytes, (size_t)got, err));
    return got == 0 ? TI_OK : damaged(err);
}

ti_status ti_zone_load(ti_slice name, ti_zone *zone_out, ti_err *err)
{
    char path[sizeof(FOLDER) + NAME_SIZE_LONGEST] = FOLDER;
    ti_buf bytes;
    *zone_out = (ti_zone){.count = 0};
    if (name.len == 0 || ti_slice_equal(name, TI_SLICE("UTC")))
        return TI_OK;
    if (!is_safe(name))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "timezone: a name such as Europe/Berlin");
    memcpy(path + sizeof(FOLDER) - 1, name.data, name.len);
    path[sizeof(FOLDER) - 1 + name.len] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "timezone: this machine does not know '%.*s'",
                          (int)name.len, name.data);
    ti_buf_init(&bytes, FILE_SIZE_MAX);
    ti_status status = read_file(fd, &bytes, err);
    (void)close(fd);
    if (status == TI_OK)
        status = ti_zone_parse(ti_buf_slice(&bytes), zone_out, err);
    ti_buf_free(&bytes);
    return status;
}

/* Cron expressions and time zones, against times written down by hand and against the C library. */
#include "support/test.h"

#include <time.h>

#include "queue/cron_int.h"

static int64_t at(int year, int month, int day, int hour, int minute)
{
    return (ti_days_from_date(year, month, day) * 86400 + hour * 3600 + minute * 60) * 1000000;
}

static void expect_next(const char *text, const char *zone_name, int64_t after_us, int64_t next_us)
{
    ti_cron cron;
    ti_zone zone;
    ti_err err;
    test_ok(ti_cron_parse(ti_slice_of(text), &cron, &err), &err);
    test_ok(ti_zone_load(ti_slice_of(zone_name), &zone, &err), &err);
    int64_t got = ti_cron_next(&cron, &zone, after_us);
    if (got != next_us)
        fail_msg("%s in %s after %lld: %lld, expected %lld", text, zone_name,
                 (long long)(after_us / 1000000), (long long)(got / 1000000),
                 (long long)(next_us / 1000000));
    ti_zone_free(&zone);
}

static void next_ticks(void **state)
{
    (void)state;
    expect_next("* * * * *", "UTC", at(2024, 1, 1, 0, 0), at(2024, 1, 1, 0, 1));
    expect_next("*/5 * * * *", "UTC", at(2024, 1, 1, 0, 3), at(2024, 1, 1, 0, 5));
    expect_next("*/5 * * * *", "UTC", at(2024, 1, 1, 23, 55), at(2024, 1, 2, 0, 0));
    expect_next("0 9-17/4 * * mon-fri", "UTC", at(2024, 6, 7, 17, 0), at(2024, 6, 10, 9, 0));
    expect_next("30 4 29 2 *", "UTC", at(2024, 3, 1, 0, 0), at(2028, 2, 29, 4, 30));
    expect_next("0 0 1,15 * wed", "UTC", at(2024, 5, 1, 0, 0), at(2024, 5, 8, 0, 0));
    expect_next("0 0 13 * *", "UTC", at(2024, 5, 13, 0, 0), at(2024, 6, 13, 0, 0));
    expect_next("15 10 * Jan,DEC Sun", "UTC", at(2024, 2, 1, 0, 0), at(2024, 12, 1, 10, 15));
    expect_next("5/20 0 * * *", "UTC", at(2024, 2, 1, 0, 5), at(2024, 2, 1, 0, 25));
    expect_next("0 0 * * 7", "UTC", at(2024, 6, 8, 12, 0), at(2024, 6, 9, 0, 0));
    expect_next("@monthly", "UTC", at(2024, 12, 5, 0, 0), at(2025, 1, 1, 0, 0));
    expect_next("0 0 30 2 *", "UTC", at(2024, 1, 1, 0, 0), INT64_MAX);
}

static void clocks_that_change(void **state)
{
    (void)state;
    /* Berlin: +1, from 2024-03-31 01:00 UTC on +2, from 2024-10-27 01:00 UTC on +1 */
    expect_next("30 9 * * *", "Europe/Berlin", at(2024, 1, 1, 0, 0), at(2024, 1, 1, 8, 30));
    expect_next("30 9 * * *", "Europe/Berlin", at(2024, 7, 1, 0, 0), at(2024, 7, 1, 7, 30));
    /* 02:30 is left out: an hour later by the new clock */
    expect_next("30 2 * * *", "Europe/Berlin", at(2024, 3, 30, 12, 0), at(2024, 3, 31, 1, 30));
    expect_next("30 2 * * *", "Europe/Berlin", at(2024, 3, 31, 1, 30), at(2024, 4, 1, 0, 30));
    /* 02:30 comes twice: the first time only */
    expect_next("30 2 * * *", "Europe/Berlin", at(2024, 10, 26, 12, 0), at(2024, 10, 27, 0, 30));
    expect_next("30 2 * * *", "Europe/Berlin", at(2024, 10, 27, 0, 30), at(2024, 10, 28, 1, 30));
    /* with any hour time just goes on */
    expect_next("*/30 * * * *", "Europe/Berlin", at(2024, 10, 27, 0, 30), at(2024, 10, 27, 1, 0));
    expect_next("*/30 * * * *", "Europe/Berlin", at(2024, 10, 27, 1, 0), at(2024, 10, 27, 1, 30));
    expect_next("*/30 * * * *", "Europe/Berlin", at(2024, 3, 31, 0, 30), at(2024, 3, 31, 1, 0));
    /* beyond the last change that is listed: by the rule; south of the equator; half an hour */
    expect_next("0 12 * * *", "Europe/Berlin", at(2090, 7, 1, 0, 0), at(2090, 7, 1, 10, 0));
    expect_next("0 12 * * *", "America/New_York", at(2090, 1, 1, 0, 0), at(2090, 1, 1, 17, 0));
    expect_next("0 12 * * *", "Australia/Sydney", at(2090, 1, 1, 2, 0), at(2090, 1, 2, 1, 0));
    expect_next("0 12 * * *", "Asia/Kolkata", at(2024, 1, 1, 0, 0), at(2024, 1, 1, 6, 30));
}

static void what_is_no_cron(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "* * * *",
                                        "* * * * * *",
                                        "60 * * * *",
                                        "* 24 * * *",
                                        "* * 0 * *",
                                        "* * * 13 *",
                                        "* * * * 8",
                                        "a * * * *",
                                        "5- * * * *",
                                        "9-5 * * * *",
                                        "*/0 * * * *",
                                        "1,,2 * * * *",
                                        "-1 * * * *",
                                        "1x * * * *",
                                        "@often",
                                        "99999999999 * * * *"};
    ti_cron cron;
    ti_zone zone;
    ti_err err;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (ti_cron_parse(ti_slice_of(wrong[i]), &cron, &err) != TI_INVALID_ARGUMENT)
            fail_msg("'%s' was taken", wrong[i]);
    }
    static const char *const zones[] = {"../../etc/passwd", "/etc/passwd", "No/Where", "Europe",
                                        "tzdata.zi"};
    for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++)
        assert_int_equal(ti_zone_load(ti_slice_of(zones[i]), &zone, &err), TI_INVALID_ARGUMENT);
}

/* Offsets of many times in many zones, as the C library has them. */
static void offsets_are_those_of_the_library(void **state)
{
    (void)state;
    static const char *const names[] = {"Europe/Berlin",     "America/New_York",  "Asia/Kolkata",
                                        "Australia/Sydney",  "America/Sao_Paulo", "Pacific/Apia",
                                        "Africa/Casablanca", "Europe/Dublin",     "UTC"};
    test_random random = test_random_start(3);
    char *before = getenv("TZ");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        ti_zone zone;
        ti_err err;
        test_ok(ti_zone_load(ti_slice_of(names[i]), &zone, &err), &err);
        setenv("TZ", names[i], 1);
        tzset();
        for (uint64_t k = 0; k < test_scaled(20000); k++) {
            time_t t = (time_t)test_random_below(&random, INT64_C(4000000000));
            struct tm tm;
            localtime_r(&t, &tm);
            if (ti_zone_offset(&zone, t) != tm.tm_gmtoff)
                fail_msg("%s at %lld: %d, not %ld", names[i], (long long)t,
                         ti_zone_offset(&zone, t), tm.tm_gmtoff);
        }
        ti_zone_free(&zone);
    }
    if (before != NULL)
        setenv("TZ", before, 1);
    else
        unsetenv("TZ");
    tzset();
}

/* Zone files that are cut or changed are refused, or read as something; never a crash. */
static void damaged_zones(void **state)
{
    (void)state;
    char bytes[8192];
    FILE *f = fopen("/usr/share/zoneinfo/Europe/Berlin", "rb");
    assert_non_null(f);
    size_t len = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    ti_zone zone;
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(ti_zone_parse((ti_slice){.data = bytes, .len = cut}, &zone, NULL) == TI_OK,
                         0);
    test_random random = test_random_start(4);
    for (uint64_t i = 0; i < test_scaled(20000); i++) {
        size_t place = (size_t)test_random_below(&random, len);
        char was = bytes[place];
        bytes[place] = (char)test_random_below(&random, 256);
        if (ti_zone_parse((ti_slice){.data = bytes, .len = len}, &zone, NULL) == TI_OK) {
            (void)ti_zone_offset(&zone, (int64_t)test_random_below(&random, INT64_C(5000000000)));
            ti_zone_free(&zone);
        }
        bytes[place] = was;
    }
}

static bool fits(const ti_cron *cron, int64_t minute)
{
    time_t t = (time_t)minute * 60;
    struct tm tm;
    gmtime_r(&t, &tm);
    return (cron->minutes >> tm.tm_min & 1) != 0 && (cron->hours >> tm.tm_hour & 1) != 0 &&
           (cron->months >> (tm.tm_mon + 1) & 1) != 0 &&
           ((cron->days >> tm.tm_mday & 1) != 0 || (cron->weekdays >> tm.tm_wday & 1) != 0);
}

/* Every minute of a year by the definition, for random expressions without a fixed hour. */
static void next_is_the_first_that_fits(void **state)
{
    (void)state;
    test_random random = test_random_start(5);
    const ti_zone utc = {.count = 0};
    for (uint64_t i = 0; i < test_scaled(200); i++) {
        char text[64];
        ti_cron cron;
        ti_err err;
        snprintf(
            text, sizeof(text), "%u,%u */%u %u-%u * %u", (unsigned)test_random_below(&random, 60),
            (unsigned)test_random_below(&random, 60), (unsigned)test_random_below(&random, 12) + 1,
            (unsigned)test_random_below(&random, 10) + 1,
            (unsigned)test_random_below(&random, 10) + 15, (unsigned)test_random_below(&random, 7));
        test_ok(ti_cron_parse(ti_slice_of(text), &cron, &err), &err);
        int64_t minute =
            at(2024, 1, 1, 0, 0) / 60000000 + (int64_t)test_random_below(&random, 500000);
        int64_t got = ti_cron_next(&cron, &utc, minute * 60000000);
        do
            minute++;
        while (!fits(&cron, minute));
        if (got != minute * 60000000)
            fail_msg("%s: %lld, not %lld", text, (long long)got / 60000000, (long long)minute);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next_ticks),      cmocka_unit_test(clocks_that_change),
        cmocka_unit_test(what_is_no_cron), cmocka_unit_test(offsets_are_those_of_the_library),
        cmocka_unit_test(damaged_zones),   cmocka_unit_test(next_is_the_first_that_fits),
    };
    return TEST_RUN(tests);
}

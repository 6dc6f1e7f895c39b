/* The command line: options by name, in groups that commands share.
 *
 * INVARIANTS
 *  1. A number is all of its text, within its bounds; nothing is guessed.
 *  2. What is wrong is told in one line that names the option. */
#include "cli.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPTIONS_MAX = 32, PARTITIONS_MAX = 9999, FIRST_CODE = 256 };

enum code {
    HELP = FIRST_CODE,
    DB,
    DB_OPTION,
    LOG_FORMAT,
    LOG_LEVEL,
    THREADS,
    CONCURRENCY,
    METRICS,
    DRAIN_TIMEOUT,
    LEASE,
    HANDLER_TIMEOUT,
    MAX_RETRIES,
    PARTITIONS,
    GC_RETENTION,
    ONCE,
    JSON,
    REPAIR,
    FAILED,
    FROM,
    TO,
    INTO,
    LIMIT
};

static const struct {
    struct option option;
    char group; /* ' ': every command */
} known[] = {
    {{"help", no_argument, NULL, HELP}, ' '},
    {{"db", required_argument, NULL, DB}, 'd'},
    {{"db-option", required_argument, NULL, DB_OPTION}, 'd'},
    {{"log-level", required_argument, NULL, LOG_LEVEL}, 'd'},
    {{"log-format", required_argument, NULL, LOG_FORMAT}, 'w'},
    {{"threads", required_argument, NULL, THREADS}, 'w'},
    {{"concurrency", required_argument, NULL, CONCURRENCY}, 'w'},
    {{"metrics", required_argument, NULL, METRICS}, 'w'},
    {{"drain-timeout", required_argument, NULL, DRAIN_TIMEOUT}, 'w'},
    {{"lease", required_argument, NULL, LEASE}, 'w'},
    {{"handler-timeout", required_argument, NULL, HANDLER_TIMEOUT}, 'w'},
    {{"max-retries", required_argument, NULL, MAX_RETRIES}, 'w'},
    {{"partitions", required_argument, NULL, PARTITIONS}, 'w'},
    {{"gc-retention", required_argument, NULL, GC_RETENTION}, 'w'},
    {{"once", no_argument, NULL, ONCE}, 'w'},
    {{"json", no_argument, NULL, JSON}, 'q'},
    {{"failed", no_argument, NULL, FAILED}, 'q'},
    {{"from", required_argument, NULL, FROM}, 'q'},
    {{"to", required_argument, NULL, TO}, 'q'},
    {{"into", required_argument, NULL, INTO}, 'q'},
    {{"limit", required_argument, NULL, LIMIT}, 'q'},
    {{"repair", no_argument, NULL, REPAIR}, 'r'},
};
enum { KNOWN_COUNT = sizeof(known) / sizeof(known[0]) };

/* What is gathered while the options are read. */
typedef struct reading {
    tc_setup *setup;
    const char *command;
    tc_format format;
    int32_t level;
    bool ranged;
} reading;

int tc_usage_error(const char *command, const char *format, ...)
{
    va_list list;
    fprintf(stderr, "%s: ", command);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "\nSee: %s --help\n", command);
    return TC_EXIT_USAGE;
}

/* ---- Values ---- */

/* Whether text is a whole number in [low, high]. */
static bool whole(const char *text, long low, long high, long *out)
{
    char *end;
    errno = 0;
    *out = strtol(text, &end, 10);
    return end != text && *end == '\0' && errno == 0 && *out >= low && *out <= high;
}

static int wrong(const reading *r, const char *name, const char *value, const char *expected)
{
    return tc_usage_error(r->command, "--%s '%s': %s expected", name, value, expected);
}

static int number(const reading *r, const char *name, const char *value, long high, long *out)
{
    char expected[64];
    if (whole(value, 1, high, out))
        return 0;
    (void)snprintf(expected, sizeof(expected), "a whole number from 1 to %ld", high);
    return wrong(r, name, value, expected);
}

/* Seconds, fractions allowed, as microseconds. */
static int seconds(const reading *r, const char *name, const char *value, int64_t *us_out)
{
    char expected[64];
    char *end;
    double s = strtod(value, &end);
    if (end != value && *end == '\0' && isfinite(s) && s >= 0 && s <= TC_SECONDS_MAX) {
        *us_out = (int64_t)floor(s * 1e6 + 0.5);
        return 0;
    }
    (void)snprintf(expected, sizeof(expected), "seconds from 0 to %d", TC_SECONDS_MAX);
    return wrong(r, name, value, expected);
}

static int no_memory(const reading *r)
{
    fprintf(stderr, "%s: there is no memory\n", r->command);
    return TC_EXIT_FAILED;
}

static int set_int(const reading *r, const char *name, int64_t value)
{
    bool set = tito_options_set_int(r->setup->worker_options, name, value) == TITO_OK;
    return set ? 0 : no_memory(r);
}

static int worker_seconds(const reading *r, const char *name, const char *value, const char *option)
{
    int64_t us = 0;
    int failed = seconds(r, name, value, &us);
    return failed != 0 ? failed : set_int(r, option, us);
}

/* FROM-TO, TO excluded. */
static int partitions(reading *r, const char *value)
{
    long from, to;
    char text[32];
    const char *dash = strchr(value, '-');
    size_t len = dash == NULL ? sizeof(text) : (size_t)(dash - value);
    bool good = len < sizeof(text);
    if (good) {
        memcpy(text, value, len);
        text[len] = '\0';
        good = whole(text, 0, PARTITIONS_MAX - 1, &from) &&
               whole(dash + 1, from + 1, PARTITIONS_MAX, &to);
    }
    if (!good)
        return wrong(r, "partitions", value, "FROM-TO, with 0 <= FROM < TO <= 9999,");
    r->ranged = true;
    int failed = set_int(r, "partition_from", from);
    return failed != 0 ? failed : set_int(r, "partition_to", to);
}

/* NAME=VALUE */
static int db_option(const reading *r, const char *value)
{
    char name[64];
    const char *equals = strchr(value, '=');
    size_t len = equals == NULL ? 0 : (size_t)(equals - value);
    if (len == 0 || len >= sizeof(name))
        return wrong(r, "db-option", value, "NAME=VALUE");
    memcpy(name, value, len);
    name[len] = '\0';
    equals++;
    bool set = tito_options_set(r->setup->db_options, name, equals, strlen(equals)) == TITO_OK;
    return set ? 0 : no_memory(r);
}

bool tc_split_address(const char *text, char *host, size_t host_size, char *port, size_t port_size)
{
    long number_of_port;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || !whole(colon + 1, 0, 65535, &number_of_port))
        return false;
    size_t len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && colon[-1] == ']') {
        text++;
        len -= 2;
    } else if (memchr(text, ':', len) != NULL) {
        return false; /* an IPv6 address is in brackets */
    }
    if (len == 0 || len >= host_size)
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    (void)snprintf(port, port_size, "%ld", number_of_port);
    return true;
}

static int metrics(const reading *r, const char *value)
{
    char host[256], port[16];
    if (!tc_split_address(value, host, sizeof(host), port, sizeof(port)))
        return wrong(r, "metrics", value, "HOST:PORT or [HOST]:PORT");
    r->setup->metrics = value;
    return 0;
}

/* ---- Options ---- */

static int log_option(reading *r, int code, const char *value)
{
    if (code == LOG_LEVEL) {
        r->level = tc_log_level_of(value);
        return r->level >= 0 ? 0 : wrong(r, "log-level", value, "error, warn, info or debug");
    }
    if (strcmp(value, "line") != 0 && strcmp(value, "json") != 0)
        return wrong(r, "log-format", value, "line or json");
    r->format = value[0] == 'j' ? TC_JSON : TC_LINES;
    return 0;
}

static int worker_option(reading *r, int code, const char *value)
{
    tc_setup *setup = r->setup;
    long n = 0;
    int failed = 0;
    switch (code) {
    case THREADS:
        failed = number(r, "threads", value, TC_THREADS_MAX, &n);
        setup->threads = (size_t)n;
        return failed;
    case CONCURRENCY:
        failed = number(r, "concurrency", value, TC_CONCURRENCY_MAX, &n);
        setup->concurrency = (size_t)n;
        return failed;
    case METRICS:
        return metrics(r, value);
    case DRAIN_TIMEOUT:
        return seconds(r, "drain-timeout", value, &setup->drain_us);
    case LEASE:
        return worker_seconds(r, "lease", value, "lease_us");
    case HANDLER_TIMEOUT:
        return worker_seconds(r, "handler-timeout", value, "handler_timeout_us");
    case GC_RETENTION:
        return worker_seconds(r, "gc-retention", value, "gc_retention_us");
    case MAX_RETRIES:
        if (!whole(value, 0, 1000000, &n))
            return wrong(r, "max-retries", value, "a whole number from 0 to 1000000");
        return set_int(r, "max_retries", n);
    case PARTITIONS:
        return partitions(r, value);
    default: /* ONCE */
        setup->once = true;
        return 0;
    }
}

static int tool_option(const reading *r, int code, const char *value)
{
    tc_setup *setup = r->setup;
    switch (code) {
    case JSON:
        setup->json = true;
        break;
    case REPAIR:
        setup->repair = true;
        break;
    case FAILED:
        setup->failed = true;
        break;
    case FROM:
        setup->from = value;
        break;
    case TO:
        setup->to = value;
        break;
    case INTO:
        setup->into = value;
        break;
    default:
        setup->limit = value;
        break;
    }
    return 0;
}

static int option(reading *r, int code, const char *value)
{
    if (code == DB) {
        r->setup->target = value;
        return 0;
    }
    if (code == DB_OPTION)
        return db_option(r, value);
    if (code == LOG_FORMAT || code == LOG_LEVEL)
        return log_option(r, code, value);
    return code >= JSON ? tool_option(r, code, value) : worker_option(r, code, value);
}

/* ---- The whole ---- */

static void select_options(const char *allowed, struct option *out)
{
    size_t count = 0;
    for (size_t i = 0; i < KNOWN_COUNT; i++)
        if (known[i].group == ' ' || strchr(allowed, known[i].group) != NULL)
            out[count++] = known[i].option;
    out[count] = (struct option){.name = NULL};
}

/* What follows from all options together. */
static int settle(reading *r, bool is_worker)
{
    tc_setup *setup = r->setup;
    size_t threads = setup->threads;
    if (setup->concurrency == 0)
        setup->concurrency = threads;
    /* Each thread has as many handlers as the others. */
    setup->concurrency = (setup->concurrency + threads - 1) / threads * threads;
    if (setup->once && r->ranged)
        return tc_usage_error(r->command, "--once does not go with --partitions");
    if (setup->target == NULL)
        setup->target = getenv("TITO_TARGET");
    if (setup->target == NULL || setup->target[0] == '\0')
        return tc_usage_error(r->command, "no database: give --db TARGET, or set TITO_TARGET");
    tc_log_setup(is_worker ? r->format : TC_PLAIN, r->level);
    int failed = set_int(r, "concurrency", (int64_t)setup->concurrency);
    return failed != 0 ? failed : set_int(r, "drain_timeout_us", setup->drain_us);
}

int tc_arguments(int argc, char **argv, const char *allowed, tc_setup *setup, bool *help_out)
{
    enum { DRAIN_US = 30000000 };
    static_assert((int)KNOWN_COUNT < (int)OPTIONS_MAX, "an option more");
    struct option options[OPTIONS_MAX];
    bool is_worker = strchr(allowed, 'w') != NULL;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    reading r = {.setup = setup, .command = argv[0], .format = TC_LINES};
    r.level = is_worker ? TC_INFO : TC_WARN;
    *help_out = false;
    *setup = (tc_setup){.drain_us = DRAIN_US};
    setup->threads = cpus < 1 ? 1 : cpus > TC_THREADS_MAX ? TC_THREADS_MAX : (size_t)cpus;
    setup->db_options = tito_options_new();
    setup->worker_options = tito_options_new();
    if (setup->db_options == NULL || setup->worker_options == NULL)
        return no_memory(&r);
    select_options(allowed, options);
    for (int code; (code = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (code == HELP) {
            *help_out = true;
            return 0;
        }
        int failed = code == '?' ? TC_EXIT_USAGE : option(&r, code, optarg);
        if (code == '?')
            fprintf(stderr, "See: %s --help\n", r.command);
        if (failed != 0)
            return failed;
    }
    setup->word_count = argc - optind;
    setup->words = argv + optind;
    return settle(&r, is_worker);
}

void tc_setup_free(tc_setup *setup)
{
    tito_options_free(setup->db_options);
    tito_options_free(setup->worker_options);
}

/* Log lines to stderr, for people or for programs.
 *
 *   line:   2026-11-22T13:09:27.123456Z warn  text      a text of several lines: one such line each
 *   json:   {"time":"…","level":"warn","pid":12,"message":"text"}
 *   plain:  tito: text
 *
 * INVARIANTS
 *  1. A line is written by one write(), under a lock: lines never mix.
 *  2. Whatever is in a text, a line is valid UTF-8 without control characters. */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ESCAPE_MAX = 6, HEAD_MAX = 160, LINE_MAX_SIZE = TC_TEXT_MAX * ESCAPE_MAX + HEAD_MAX };

static const char *const names[] = {"error", "warn", "info", "debug"};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of line */
static char line[LINE_MAX_SIZE];
static tc_format chosen_format = TC_PLAIN; /* both set before there are threads */
static int32_t chosen_level = TC_WARN;

void tc_log_setup(tc_format format, int32_t level)
{
    chosen_format = format;
    chosen_level = level;
}

int32_t tc_log_level(void)
{
    return chosen_level;
}

int32_t tc_log_level_of(const char *name)
{
    for (int32_t i = TC_ERROR; i <= TC_DEBUG; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

/* ---- Text ---- */

/* How many bytes the UTF-8 character at text has; 0 when there is none. */
static size_t character(const unsigned char *text, size_t len)
{
    static const unsigned smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = text[0] < 0x80             ? 1
                  : (text[0] & 0xE0) == 0xC0 ? 2
                  : (text[0] & 0xF0) == 0xE0 ? 3
                  : (text[0] & 0xF8) == 0xF0 ? 4
                                             : 0;
    if (size <= 1 || size > len)
        return size > len ? 0 : size;
    unsigned code = text[0] & (0xFFu >> (size + 1));
    for (size_t i = 1; i < size; i++) {
        if ((text[i] & 0xC0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3Fu);
    }
    bool good = code >= smallest[size] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
    return good ? size : 0;
}

/* Writes the byte c, which may not stand for itself, to out. */
static size_t escape(unsigned char c, char *out)
{
    const char *known = c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : NULL;
    if (c == '"' || c == '\\')
        return (size_t)snprintf(out, ESCAPE_MAX + 1, "\\%c", c);
    if (known != NULL)
        return (size_t)snprintf(out, ESCAPE_MAX + 1, "%s", known);
    return (size_t)snprintf(out, ESCAPE_MAX + 1, "\\u%04x", c);
}

/* Adds text behind used; returns the new length. */
static size_t add_text(size_t used, const char *text, size_t len)
{
    for (size_t i = 0; i < len && used + 2 * ESCAPE_MAX < LINE_MAX_SIZE;) {
        unsigned char c = (unsigned char)text[i];
        size_t size = character((const unsigned char *)text + i, len - i);
        if (size == 0) {
            used += (size_t)snprintf(line + used, ESCAPE_MAX, "\xEF\xBF\xBD");
            i++;
        } else if (c < 0x20 || c == 0x7F || (chosen_format == TC_JSON && (c == '"' || c == '\\'))) {
            used += escape(c, line + used);
            i++;
        } else {
            memcpy(line + used, text + i, size);
            used += size;
            i += size;
        }
    }
    return used;
}

/* ---- Lines ---- */

static void write_all(size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(STDERR_FILENO, line + done, len - done);
        if (n < 0 && errno != EINTR)
            return; /* there is nobody to tell */
        done += n > 0 ? (size_t)n : 0;
    }
}

static size_t add_head(int32_t level)
{
    struct timespec now;
    struct tm tm;
    char when[40];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t len = strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(when + len, sizeof(when) - len, ".%06ldZ", now.tv_nsec / 1000);
    if (chosen_format == TC_JSON)
        return (size_t)snprintf(line, HEAD_MAX,
                                "{\"time\":\"%s\",\"level\":\"%s\",\"pid\":%ld,\"message\":\"",
                                when, names[level], (long)getpid());
    if (chosen_format == TC_PLAIN)
        return (size_t)snprintf(line, HEAD_MAX, "tito: ");
    return (size_t)snprintf(line, HEAD_MAX, "%s %-5s ", when, names[level]);
}

static void write_line(int32_t level, const char *text, size_t len)
{
    pthread_mutex_lock(&mutex);
    size_t used = add_text(add_head(level), text, len);
    used += (size_t)snprintf(line + used, ESCAPE_MAX, chosen_format == TC_JSON ? "\"}\n" : "\n");
    write_all(used);
    pthread_mutex_unlock(&mutex);
}

void tc_log_sink(void *context, int32_t level, const char *text)
{
    (void)context;
    if (level > chosen_level || level < TC_ERROR)
        return;
    if (chosen_format == TC_JSON) {
        write_line(level, text, strnlen(text, TC_TEXT_MAX));
        return;
    }
    size_t left = strnlen(text, TC_TEXT_MAX);
    do {
        size_t len = strcspn(text, "\n");
        len = len < left ? len : left;
        write_line(level, text, len);
        text += len + (len < left ? 1 : 0);
        left -= len + (len < left ? 1 : 0);
    } while (left > 0);
}

void tc_log(int32_t level, const char *format, ...)
{
    char text[TC_TEXT_MAX];
    va_list list;
    if (level > chosen_level)
        return;
    va_start(list, format);
    (void)vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    tc_log_sink(NULL, level, text);
}

/* One formatted line to the host's sink, or to stderr.
 *
 * INVARIANTS
 *  1. Nothing is formatted for a level that is not wanted.
 *  2. A line has no newline inside and at most LINE_SIZE bytes, cut between UTF-8 sequences.
 *
 * Thread rule: any thread; no mutex is held around the sink, so lines of several threads may reach
 * it at once. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/text_int.h"

#define LINE_SIZE 1024

static void to_stderr(ti_log_level level, const char *line)
{
    if (level <= TI_LOG_WARN)
        fprintf(stderr, "tito: %s: %s\n", level == TI_LOG_ERROR ? "error" : "warning", line);
}

void ti_log_write(const ti_log *log, ti_log_level level, const char *format, ...)
{
    char line[LINE_SIZE + 4]; /* 4: shows the cut whether a sequence was complete */
    va_list args;
    ti_assert(format != NULL);
    if (log == NULL || level > log->level)
        return;
    va_start(args, format);
    int made = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (made < 0)
        return;
    if (made > LINE_SIZE)
        line[ti_text_cut(line, LINE_SIZE)] = '\0';
    for (char *p = line; *p != '\0'; p++)
        if (*p == '\n' || *p == '\r')
            *p = ' ';
    if (log->sink != NULL)
        log->sink(log->context, level, line);
    else
        to_stderr(level, line);
}

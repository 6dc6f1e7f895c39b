/* Log lines without values: a level, a static event text, and a few named facts. The sink is the
 * host's. */
#ifndef TI_BASE_LOG_H
#define TI_BASE_LOG_H

typedef enum ti_log_level {
    TI_LOG_ERROR = 0,
    TI_LOG_WARN = 1,
    TI_LOG_INFO = 2,
    TI_LOG_DEBUG = 3
} ti_log_level;

/* Called from any thread, one line without newline, borrowed for the call. Must not call tito. */
typedef void (*ti_log_sink)(void *context, ti_log_level level, const char *line);

typedef struct ti_log {
    ti_log_sink sink; /* NULL: lines of level WARN and above go to stderr */
    void *context;
    ti_log_level level;
} ti_log;

/* Writes one line (cut at 1,024 bytes) when level is wanted; a NULL log drops it. Never carries
 * document values or secrets. @thread any */
void ti_log_write(const ti_log *log, ti_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif

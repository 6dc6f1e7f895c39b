/* Log lines without values: a level, a static event text, and a few named facts. The sink is the
 * host's. */
#ifndef TI_BASE_LOG_H
#define TI_BASE_LOG_H

#include "base/err.h"

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

/* A log that hands its lines to others that join and leave: for what several handles share and
 * what may outlive each of them. Reference counted, made with one reference. OUT_OF_MEMORY,
 * UNAVAILABLE. @thread any */
typedef struct ti_log_hub ti_log_hub;
ti_status ti_log_hub_create(ti_log_hub **hub_out, ti_err *err);
ti_log_hub *ti_log_hub_ref(ti_log_hub *hub);
/* NULL is allowed. */
void ti_log_hub_unref(ti_log_hub *hub);
/* What to write to; borrowed from the hub. @thread any */
const ti_log *ti_log_hub_log(const ti_log_hub *hub);
/* From now on log gets the lines that it wants; of several without a sink one line goes to stderr.
 * log is borrowed until it leaves, or the hub is freed. OUT_OF_MEMORY. @thread any */
ti_status ti_log_hub_join(ti_log_hub *hub, const ti_log *log, ti_err *err);
/* log gets no more lines, and none is on its way when this returns. Who has not joined, or has
 * left, may do so. @thread any but one that is in a sink */
void ti_log_hub_leave(ti_log_hub *hub, const ti_log *log);

#endif

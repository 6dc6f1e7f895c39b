/* The error object: status, message, table, index. Set once, at the origin; everybody above passes
 * it on.
 *
 * INVARIANTS
 *  1. It is a plain value of fixed size: making an error allocates nothing and can not fail.
 *  2. The message says what happened, to which table/index/id, and what to do. It never carries
 *     document values or credentials.
 *  3. A NULL ti_err* is allowed everywhere and means "only the status is wanted".
 *
 * TI_TRY(call) returns the status of a failed call; TI_CHECK(call) goes to out: with `status` set;
 * TI_KEEP(call) in cleanup keeps the first failure. A function uses TI_TRY only before its first
 * TI_CHECK. */
#ifndef TI_BASE_ERR_H
#define TI_BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

#include "base/status.h"

#define TI_ERR_MESSAGE_SIZE 768
#define TI_ERR_NAME_SIZE 160

typedef struct ti_err {
    ti_status status;
    char message[TI_ERR_MESSAGE_SIZE]; /* NUL-terminated, cut at a UTF-8 boundary */
    char table[TI_ERR_NAME_SIZE];      /* "" when there is none */
    char index[TI_ERR_NAME_SIZE];      /* "" when there is none */
} ti_err;

/* Empties an error: status OK, all texts "". @thread owner of err */
void ti_err_clear(ti_err *err);

/* Sets status and message (printf format), clears table and index, and returns status, so that
 * `return ti_err_set(…)` reads well. The status is never OK. Arguments may point into err itself.
 * Without err nothing is formatted. @thread owner of err */
ti_status ti_err_set(ti_err *err, ti_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
ti_status ti_err_setv(ti_err *err, ti_status status, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

/* Adds where: table and index, each may be empty (NULL, 0) and then is "". Called after ti_err_set,
 * which clears both. @thread owner of err */
void ti_err_where(ti_err *err, const char *table, size_t table_len, const char *index,
                  size_t index_len);

/* "Out of memory" without any formatting; returns OUT_OF_MEMORY. @thread owner of err */
ti_status ti_err_no_memory(ti_err *err);

#define TI_TRY(call)                                                                               \
    do {                                                                                           \
        ti_status ti_try_ = (call);                                                                \
        if (ti_try_ != TI_OK)                                                                      \
            return ti_try_;                                                                        \
    } while (0)

#define TI_CHECK(call)                                                                             \
    do {                                                                                           \
        status = (call);                                                                           \
        if (status != TI_OK)                                                                       \
            goto out;                                                                              \
    } while (0)

#define TI_KEEP(call)                                                                              \
    do {                                                                                           \
        ti_status ti_keep_ = (call);                                                               \
        if (status == TI_OK)                                                                       \
            status = ti_keep_;                                                                     \
    } while (0)

#endif

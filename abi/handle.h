/* What every exported handle begins with, and the check that stands first in every exported
 * function.
 *
 *   [ magic | … ]     magic says of what kind a pointer is, or that it was freed
 *
 * INVARIANTS
 *  1. NULL, a handle of another kind and (as far as memory still shows it) a freed one are answered
 *     with INVALID_ARGUMENT.
 *  2. Handles that belong to a database are further checked by ti_db_check: FORKED, CLOSED.
 *  3. A status goes out together with an error of the caller's exactly through ti_answer.
 *
 *  4. A handle that belongs to a database has it as its second field.
 *
 * What is NOT here: futures (op.h), options (options.h). */
#ifndef TI_ABI_HANDLE_H
#define TI_ABI_HANDLE_H

#include <stddef.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/slice.h"
#include "tito.h"

#define TI_VERSION "1.0.0"

enum {
    TI_MAGIC_FREED = 0x0DEADBEE,
    TI_MAGIC_ERROR = 0x71700001,
    TI_MAGIC_OPTIONS = 0x71700002,
    TI_MAGIC_DB = 0x71700003,
    TI_MAGIC_TXN = 0x71700004,
    TI_MAGIC_MODEL = 0x71700005,
    TI_MAGIC_WRITE = 0x71700006,
    TI_MAGIC_READ = 0x71700007,
    TI_MAGIC_QUERY = 0x71700008,
    TI_MAGIC_PAGE = 0x71700009,
    TI_MAGIC_QUEUE = 0x7170000A,
    TI_MAGIC_WORKER = 0x7170000B,
    TI_MAGIC_EVENT = 0x7170000C,
    TI_MAGIC_STEPS = 0x7170000D,
    TI_MAGIC_FUTURE = 0x7170000E,
    TI_MAGIC_CQ = 0x7170000F,
    TI_MAGIC_JSON = 0x71700010,
};

/* OK when handle is a live one of that kind; INVALID_ARGUMENT naming what. handle points to its
 * magic. @thread any */
static inline ti_status ti_handle_check(const void *handle, uint32_t magic, const char *what,
                                        ti_err *err)
{
    if (handle == NULL)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "%s is NULL", what);
    if (*(const uint32_t *)handle != magic)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "%s was freed, or is a handle of another kind",
                          what);
    return TI_OK;
}

/* How every handle of a database begins. */
typedef struct ti_db_handle_head {
    uint32_t magic;
    struct ti_db *db;
} ti_db_handle_head;

/* The database of a handle of that kind; NULL when it is none. @thread any */
static inline struct ti_db *ti_db_of(const void *handle, uint32_t magic)
{
    if (ti_handle_check(handle, magic, "handle", NULL) != TI_OK)
        return NULL;
    return ((const ti_db_handle_head *)handle)->db;
}

/* Placed behind the definition of each. */
#define TI_DB_HANDLE_CHECK(type, field)                                                            \
    _Static_assert(offsetof(type, field) == offsetof(ti_db_handle_head, db) &&                     \
                       offsetof(type, magic) == 0,                                                 \
                   "a handle begins with its magic and its database")

/* OK when (data, len) can be read; INVALID_ARGUMENT naming what. @thread any */
static inline ti_status ti_bytes_check(const char *data, size_t len, const char *what, ti_err *err)
{
    if (data == NULL && len > 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "%s is NULL with a length", what);
    return TI_OK;
}

/* As ti_bytes_check, for what is copied; LIMIT_EXCEEDED when it is longer than anything may be. */
static inline ti_status ti_argument_check(ti_slice s, const char *what, ti_err *err)
{
    TI_TRY(ti_bytes_check(s.data, s.len, what, err));
    if (s.len > TI_PAGE_SIZE_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "%s is longer than %d bytes", what,
                          TI_PAGE_SIZE_MAX);
    return TI_OK;
}

/* OK when a handle can be handed out there, which is set to NULL; INVALID_ARGUMENT naming what. */
#define ti_out_check(out, what, err)                                                               \
    ((out) == NULL ? ti_err_set((err), TI_INVALID_ARGUMENT, "%s is NULL", (what))                  \
                   : ((void)(*(out) = NULL), TI_OK))

/* Bytes for the host: an empty one has a pointer too. */
static inline tito_slice ti_slice_out(ti_slice s)
{
    return (tito_slice){.data = s.data == NULL ? "" : s.data, .len = s.len};
}

/* The status to return, and *error_out (may be NULL) set to an error of the caller's, or to NULL
 * for TI_OK. err holds the text when its status is the one given. @thread any */
int32_t ti_answer(ti_status status, const ti_err *err, tito_error_t **error_out);
/* An error object of err, whose status is not OK; never NULL. Freed with tito_error_free. */
tito_error_t *ti_error_new(const ti_err *err);

#endif

/* Errors as handles, statuses, and the small functions that need no database.
 *
 *   tito_error: [ magic | status | message, table, index ] [ bytes of the three, each with a NUL ]
 *                                    └────────┴──────┴──────^
 *
 * INVARIANTS
 *  1. One allocation per error; it never changes after it was made.
 *  2. Without memory for an error object the caller still gets one: a static object that says so in
 *     its message and carries the right status. Freeing it does nothing.
 *  3. The numbers of enum tito_status are those of base/status.h (asserted below).
 *
 * Thread rule: an error may be read by any threads at once. */
#include <assert.h>
#include <string.h>

#include "abi/handle.h"
#include "base/env.h"
#include "base/id.h"
#include "base/mem.h"

struct tito_error {
    uint32_t magic;
    ti_status status;
    bool borrowed; /* static: not to be freed */
    ti_slice message;
    ti_slice table;
    ti_slice index;
};

#define ERROR_TEXT_WITHOUT_MEMORY "failed; there was no memory for the error's own text"

/* One static error per status: TITO_IO says "io: failed; …". */
static const struct tito_error errors_without_memory[] = {
#define STATIC_ERROR(number, NAME, text)                                                           \
    {.magic = TI_MAGIC_ERROR,                                                                      \
     .status = number,                                                                             \
     .borrowed = true,                                                                             \
     .message = {.data = text ": " ERROR_TEXT_WITHOUT_MEMORY,                                      \
                 .len = sizeof(text ": " ERROR_TEXT_WITHOUT_MEMORY) - 1}},
    TI_STATUS_MAP(STATIC_ERROR)
#undef STATIC_ERROR
};

#define SAME(number, NAME, text)                                                                   \
    static_assert((int)TITO_##NAME == (int)TI_##NAME, "statuses are one list");
TI_STATUS_MAP(SAME)
#undef SAME

static const tito_error_t *static_error(ti_status status)
{
    size_t count = sizeof(errors_without_memory) / sizeof(errors_without_memory[0]);
    for (size_t i = 0; i < count; i++)
        if (errors_without_memory[i].status == status)
            return &errors_without_memory[i];
    return &errors_without_memory[count - 1];
}

/* Copies text to *place with a NUL behind and moves *place on. */
static ti_slice put_text(char **place, const char *text)
{
    ti_slice put = {.data = *place, .len = strlen(text)};
    memcpy(*place, text, put.len + 1);
    *place += put.len + 1;
    return put;
}

tito_error_t *ti_error_new(const ti_err *err)
{
    ti_assert(err->status != TI_OK);
    size_t size = strlen(err->message) + strlen(err->table) + strlen(err->index) + 3;
    tito_error_t *error = ti_alloc(sizeof(*error) + size);
    if (error == NULL)
        return (tito_error_t *)(uintptr_t)static_error(err->status);
    char *place = (char *)(error + 1);
    *error = (tito_error_t){.magic = TI_MAGIC_ERROR, .status = err->status};
    error->message = put_text(&place, err->message);
    error->table = put_text(&place, err->table);
    error->index = put_text(&place, err->index);
    return error;
}

int32_t ti_answer(ti_status status, const ti_err *err, tito_error_t **error_out)
{
    if (error_out == NULL)
        return status;
    *error_out = NULL;
    if (status == TI_OK)
        return TITO_OK;
    ti_err bare;
    if (err->status != status) { /* NOT_FOUND and the like set no text */
        ti_err_set(&bare, status, "%s", ti_status_name(status));
        err = &bare;
    }
    *error_out = ti_error_new(err);
    return status;
}

/* ---- the exported functions ---- */

int32_t tito_error_status(const tito_error_t *error)
{
    return error == NULL ? TITO_OK : error->status;
}

tito_slice tito_error_message(const tito_error_t *error)
{
    return ti_slice_out(error == NULL ? TI_SLICE_NONE : error->message);
}

tito_slice tito_error_table(const tito_error_t *error)
{
    return ti_slice_out(error == NULL ? TI_SLICE_NONE : error->table);
}

tito_slice tito_error_index(const tito_error_t *error)
{
    return ti_slice_out(error == NULL ? TI_SLICE_NONE : error->index);
}

int32_t tito_error_retryable(const tito_error_t *error)
{
    ti_status_class class = ti_status_class_of(tito_error_status(error));
    return class == TI_CLASS_CONFLICT || class == TI_CLASS_TRANSIENT;
}

int32_t tito_error_outcome_unknown(const tito_error_t *error)
{
    return ti_status_class_of(tito_error_status(error)) == TI_CLASS_UNKNOWN;
}

void tito_error_free(tito_error_t *error)
{
    if (error == NULL || error->borrowed)
        return;
    error->magic = TI_MAGIC_FREED;
    ti_free(error);
}

uint32_t tito_abi_version(void)
{
    return TITO_ABI_VERSION;
}

const char *tito_version_string(void)
{
    return TI_VERSION;
}

const char *tito_status_name(int32_t status)
{
    return ti_status_name(status);
}

void tito_uuid(char out[37])
{
    if (out != NULL)
        ti_uuid_v4(ti_env_real(), out);
}

int64_t tito_now_us(void)
{
    return ti_env_wall_us(ti_env_real());
}

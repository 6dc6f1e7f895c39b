/* Filling an error object; the rules are in err.h.
 *
 * INVARIANTS
 *  1. Texts are always NUL-terminated, and cut between UTF-8 sequences, never inside one.
 *  2. An argument may point into the error being set (a message that quotes an older one): the new
 *     message is made aside and copied.
 *
 * Thread rule: an error belongs to one thread at a time. */
#include "base/err.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/text_int.h"

size_t ti_text_cut(const char *text, size_t len)
{
    size_t start = len;
    for (int back = 0; back < 4 && start > 0; back++) {
        unsigned char c = (unsigned char)text[start - 1];
        start--;
        if ((c & 0xC0) == 0x80)
            continue; /* inside a sequence: look for its lead */
        size_t need = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
        return start + need <= len ? len : start;
    }
    return len;
}

/* Copies at most size - 1 bytes and a NUL. */
static void copy_text(char *out, size_t size, const char *text, size_t len)
{
    ti_assert(size > 0);
    if (len > size - 1)
        len = ti_text_cut(text, size - 1);
    if (len > 0)
        memcpy(out, text, len);
    out[len] = '\0';
}

void ti_err_clear(ti_err *err)
{
    if (err == NULL)
        return;
    err->status = TI_OK;
    err->message[0] = '\0';
    err->table[0] = '\0';
    err->index[0] = '\0';
}

ti_status ti_err_setv(ti_err *err, ti_status status, const char *format, va_list args)
{
    char made[TI_ERR_MESSAGE_SIZE + 4]; /* 4: shows the cut whether a sequence was complete */
    ti_assert(status != TI_OK);
    ti_assert(format != NULL);
    if (err == NULL)
        return status;
    int len = vsnprintf(made, sizeof(made), format, args);
    if (len < 0) {
        made[0] = '\0';
        len = 0;
    }
    size_t held = (size_t)len < sizeof(made) ? (size_t)len : sizeof(made) - 1;
    ti_err_clear(err);
    err->status = status;
    copy_text(err->message, sizeof(err->message), made, held);
    return status;
}

ti_status ti_err_set(ti_err *err, ti_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ti_err_setv(err, status, format, args);
    va_end(args);
    return status;
}

void ti_err_where(ti_err *err, const char *table, size_t table_len, const char *index,
                  size_t index_len)
{
    ti_assert(table != NULL || table_len == 0);
    ti_assert(index != NULL || index_len == 0);
    if (err == NULL)
        return;
    copy_text(err->table, sizeof(err->table), table, table_len);
    copy_text(err->index, sizeof(err->index), index, index_len);
}

ti_status ti_err_no_memory(ti_err *err)
{
    static const char text[] = "out of memory";
    if (err != NULL) {
        ti_err_clear(err);
        err->status = TI_OUT_OF_MEMORY;
        memcpy(err->message, text, sizeof(text));
    }
    return TI_OUT_OF_MEMORY;
}

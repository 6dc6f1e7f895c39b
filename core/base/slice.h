/* Bytes: ti_slice is borrowed, ti_buf is owned and bounded.
 *
 * INVARIANTS
 *  1. A ti_slice never owns; it is valid as long as what it points into (named at each use).
 *  2. A ti_buf never grows past its maximum; the append that would answers LIMIT_EXCEEDED and
 *     leaves it unchanged.
 *  3. Bytes are compared unsigned (memcmp), a prefix sorts first. */
#ifndef TI_BASE_SLICE_H
#define TI_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/status.h"

typedef struct ti_slice {
    const char *data; /* may be NULL only when len is 0 */
    size_t len;
} ti_slice;

#define TI_SLICE(text)                                                                             \
    ((ti_slice){.data = (text), .len = sizeof(text) - 1}) /* of a string literal */
#define TI_SLICE_NONE ((ti_slice){.data = NULL, .len = 0})

/* The bytes of a NUL-terminated string, without the NUL; borrowed from it. @thread any */
ti_slice ti_slice_of(const char *text);
/* -1, 0 or 1: unsigned byte order, a prefix before what it begins. @thread any */
int ti_slice_compare(ti_slice a, ti_slice b);
/* True when both hold the same bytes. @thread any */
bool ti_slice_equal(ti_slice a, ti_slice b);
/* True when s begins with prefix; the empty prefix begins everything. @thread any */
bool ti_slice_has_prefix(ti_slice s, ti_slice prefix);
/* True when s is well-formed UTF-8: no overlong forms, surrogates or code points above U+10FFFF.
 * NUL bytes are allowed. @thread any */
bool ti_slice_is_utf8(ti_slice s);

typedef struct ti_buf {
    char *data;      /* owned; NULL while nothing was appended */
    size_t len;      /* bytes used */
    size_t capacity; /* bytes held */
    size_t size_max; /* the bound, > 0 */
} ti_buf;

/* An empty buffer that never grows past size_max bytes; allocates nothing. Freed with ti_buf_free.
 */
void ti_buf_init(ti_buf *b, size_t size_max);
/* Gives the memory back and leaves an empty buffer of the same bound, usable again. Safe on a
 * zeroed or freed buffer. */
void ti_buf_free(ti_buf *b);
/* Empties, keeps the memory. */
void ti_buf_clear(ti_buf *b);
/* What was appended so far: borrowed until the next append, clear or free. */
ti_slice ti_buf_slice(const ti_buf *b);

/* Appends; OUT_OF_MEMORY or LIMIT_EXCEEDED, then b is unchanged. The data must not point into b
 * itself. @thread owner of b */
ti_status ti_buf_append(ti_buf *b, const void *data, size_t len, ti_err *err);
ti_status ti_buf_append_slice(ti_buf *b, ti_slice s, ti_err *err);
ti_status ti_buf_append_text(ti_buf *b, const char *text, ti_err *err);
ti_status ti_buf_append_byte(ti_buf *b, unsigned char byte, ti_err *err);
ti_status ti_buf_append_format(ti_buf *b, ti_err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Makes room for len more bytes, so that the next len appended bytes can not fail. */
ti_status ti_buf_reserve(ti_buf *b, size_t len, ti_err *err);

#endif

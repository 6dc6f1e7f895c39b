/* Bytes: ti_slice is borrowed, ti_buf is owned and bounded.
 *
 * INVARIANTS
 *  1. A ti_slice never owns; it is valid as long as what it points into (named at each use).
 *  2. A ti_buf never grows past its maximum; the append that would answers LIMIT_EXCEEDED and
 * leaves it unchanged.
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

ti_slice ti_slice_of(const char *text); /* of a NUL-terminated string */
int ti_slice_compare(ti_slice a, ti_slice b);
bool ti_slice_equal(ti_slice a, ti_slice b);
bool ti_slice_has_prefix(ti_slice s, ti_slice prefix);
bool ti_slice_is_utf8(ti_slice s);

typedef struct ti_buf {
    char *data; /* owned */
    size_t len;
    size_t capacity;
    size_t size_max;
} ti_buf;

void ti_buf_init(ti_buf *b, size_t size_max); /* allocates nothing */
void ti_buf_free(ti_buf *b);                  /* safe on a zeroed or freed buffer */
void ti_buf_clear(ti_buf *b);                 /* keeps the memory */
ti_slice ti_buf_slice(const ti_buf *b);       /* borrowed until the next append or free */

/* Appends; OUT_OF_MEMORY or LIMIT_EXCEEDED, then b is unchanged. */
ti_status ti_buf_append(ti_buf *b, const void *data, size_t len, ti_err *err);
ti_status ti_buf_append_slice(ti_buf *b, ti_slice s, ti_err *err);
ti_status ti_buf_append_text(ti_buf *b, const char *text, ti_err *err);
ti_status ti_buf_append_byte(ti_buf *b, unsigned char byte, ti_err *err);
ti_status ti_buf_append_format(ti_buf *b, ti_err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Makes room for len more bytes, so that the next len appended bytes can not fail. */
ti_status ti_buf_reserve(ti_buf *b, size_t len, ti_err *err);

#endif

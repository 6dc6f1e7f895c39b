/* Comparing borrowed bytes and growing owned ones; the rules are in slice.h.
 *
 * A ti_buf:   data [ len bytes used | capacity - len bytes free ]   capacity <= size_max
 *
 * INVARIANTS
 *  1. len <= capacity <= size_max; data is NULL exactly when capacity is 0.
 *  2. A failed append changes nothing: room is made first, bytes are copied after.
 *  3. Growth doubles, so that n appended bytes cost O(n).
 *
 * Thread rule: a buffer belongs to one thread at a time. */
#include "base/slice.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

#define BUF_FIRST_CAPACITY 64

ti_slice ti_slice_of(const char *text)
{
    ti_assert(text != NULL);
    return (ti_slice){.data = text, .len = strlen(text)};
}

int ti_slice_compare(ti_slice a, ti_slice b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    ti_assert(a.data != NULL || a.len == 0);
    ti_assert(b.data != NULL || b.len == 0);
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0)
        return order < 0 ? -1 : 1;
    return (a.len > b.len) - (a.len < b.len);
}

bool ti_slice_equal(ti_slice a, ti_slice b)
{
    ti_assert(a.data != NULL || a.len == 0);
    ti_assert(b.data != NULL || b.len == 0);
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool ti_slice_has_prefix(ti_slice s, ti_slice prefix)
{
    ti_assert(s.data != NULL || s.len == 0);
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}

/* The length of the well-formed sequence of two to four bytes at p, or 0. The second byte's range
 * depends on the lead, which excludes overlong forms, surrogates and everything above U+10FFFF. */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    size_t need;
    if (p[0] >= 0xC2 && p[0] <= 0xDF) {
        need = 2;
    } else if (p[0] >= 0xE0 && p[0] <= 0xEF) {
        need = 3;
        low = p[0] == 0xE0 ? 0xA0 : low;
        high = p[0] == 0xED ? 0x9F : high;
    } else if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        need = 4;
        low = p[0] == 0xF0 ? 0x90 : low;
        high = p[0] == 0xF4 ? 0x8F : high;
    } else {
        return 0;
    }
    if (left < need || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return need;
}

bool ti_slice_is_utf8(ti_slice s)
{
    const unsigned char *p = (const unsigned char *)s.data;
    size_t at = 0;
    ti_assert(s.data != NULL || s.len == 0);
    while (at < s.len) {
        uint64_t eight;
        if (s.len - at >= sizeof(eight)) {
            memcpy(&eight, p + at, sizeof(eight));
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                at += sizeof(eight);
                continue;
            }
        }
        if (p[at] < 0x80) {
            at++;
            continue;
        }
        size_t taken = utf8_sequence(p + at, s.len - at);
        if (taken == 0)
            return false;
        at += taken;
    }
    return true;
}

/* True when the invariants of slice.c hold. */
static bool buf_is_sound(const ti_buf *b)
{
    return b->len <= b->capacity && b->capacity <= b->size_max &&
           (b->data == NULL) == (b->capacity == 0);
}

void ti_buf_init(ti_buf *b, size_t size_max)
{
    ti_assert(b != NULL);
    ti_assert(size_max > 0);
    *b = (ti_buf){.size_max = size_max};
}

void ti_buf_free(ti_buf *b)
{
    ti_assert(b != NULL);
    ti_assert(buf_is_sound(b));
    ti_free(b->data);
    *b = (ti_buf){.size_max = b->size_max};
}

void ti_buf_clear(ti_buf *b)
{
    ti_assert(buf_is_sound(b));
    b->len = 0;
}

ti_slice ti_buf_slice(const ti_buf *b)
{
    ti_assert(buf_is_sound(b));
    return (ti_slice){.data = b->data, .len = b->len};
}

/* Reallocates so that len more bytes fit. */
static ti_status buf_grow(ti_buf *b, size_t len, ti_err *err)
{
    if (len > b->size_max - b->len)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "more than %zu bytes do not fit here",
                          b->size_max);
    size_t need = b->len + len;
    size_t capacity = b->capacity == 0 ? BUF_FIRST_CAPACITY : b->capacity;
    while (capacity < need && capacity <= b->size_max / 2)
        capacity *= 2;
    if (capacity < need || capacity > b->size_max)
        capacity = b->size_max;
    char *data = ti_realloc(b->data, capacity);
    if (data == NULL)
        return ti_err_no_memory(err);
    b->data = data;
    b->capacity = capacity;
    ti_assert(b->capacity - b->len >= len);
    ti_assert(buf_is_sound(b));
    return TI_OK;
}

ti_status ti_buf_reserve(ti_buf *b, size_t len, ti_err *err)
{
    ti_assert(buf_is_sound(b));
    if (b->capacity - b->len >= len)
        return TI_OK;
    return buf_grow(b, len, err);
}

ti_status ti_buf_append(ti_buf *b, const void *data, size_t len, ti_err *err)
{
    ti_assert(data != NULL || len == 0);
    if (len == 0)
        return TI_OK;
    TI_TRY(ti_buf_reserve(b, len, err));
    memcpy(b->data + b->len, data, len);
    b->len += len;
    return TI_OK;
}

ti_status ti_buf_append_slice(ti_buf *b, ti_slice s, ti_err *err)
{
    return ti_buf_append(b, s.data, s.len, err);
}

ti_status ti_buf_append_text(ti_buf *b, const char *text, ti_err *err)
{
    ti_assert(text != NULL);
    return ti_buf_append(b, text, strlen(text), err);
}

ti_status ti_buf_append_byte(ti_buf *b, unsigned char byte, ti_err *err)
{
    TI_TRY(ti_buf_reserve(b, 1, err));
    b->data[b->len] = (char)byte;
    b->len++;
    return TI_OK;
}

ti_status ti_buf_append_format(ti_buf *b, ti_err *err, const char *format, ...)
{
    char small[128];
    ti_status status = TI_OK;
    char *large = NULL;
    va_list args;
    va_start(args, format);
    int made = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    if (made < 0)
        return ti_err_set(err, TI_INTERNAL, "a text could not be formatted");
    size_t len = (size_t)made;
    if (len < sizeof(small))
        return ti_buf_append(b, small, len, err);
    if (len > b->size_max - b->len)
        return buf_grow(b, len, err);
    large = ti_alloc(len + 1);
    if (large == NULL)
        return ti_err_no_memory(err);
    va_start(args, format);
    vsnprintf(large, len + 1, format, args);
    va_end(args);
    status = ti_buf_append(b, large, len, err);
    ti_free(large);
    return status;
}

/* Escapes in strings: checked when a document is parsed, taken away when a string is read.
 *
 *   \" \\ \/ \b \f \n \r \t      one byte each
 *   \uXXXX                       one to three bytes of UTF-8
 *   \uD8xx\uDCxx                 a pair of surrogates: four bytes; a lone one is refused
 *
 * INVARIANTS
 *  1. Everything but ti_json_escapes_valid is given only insides that it has accepted.
 *  2. Unescaped text is never longer than the inside: six bytes become at most three, twelve become
 *     four.
 *
 * Threads: pure functions. */
#include "json/json_int.h"

#include <string.h>

#include "base/assert.h"

/* One decoded unit: how much of the inside it took and what it is. */
typedef struct unit {
    uint32_t taken;
    uint32_t size;
    char bytes[4];
} unit;

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The number of \uXXXX at the start of s, or -1. */
static int32_t hex_escape(ti_slice s)
{
    int32_t code = 0;
    if (s.len < 6 || s.data[0] != '\\' || s.data[1] != 'u')
        return -1;
    for (size_t i = 2; i < 6; i++) {
        int digit = hex_digit(s.data[i]);
        if (digit < 0)
            return -1;
        code = code * 16 + digit;
    }
    return code;
}

static uint32_t put_utf8(uint32_t code, char out[4])
{
    ti_assert(code <= 0x10ffff);
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | (code >> 6));
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | (code >> 12));
        out[1] = (char)(0x80 | ((code >> 6) & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | (code >> 18));
    out[1] = (char)(0x80 | ((code >> 12) & 0x3f));
    out[2] = (char)(0x80 | ((code >> 6) & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* Decodes \uXXXX or a pair of them at the start of s. */
static bool take_hex(ti_slice s, unit *out)
{
    int32_t code = hex_escape(s);
    if (code < 0 || (code >= 0xdc00 && code <= 0xdfff))
        return false;
    out->taken = 6;
    if (code >= 0xd800 && code <= 0xdbff) {
        int32_t low = hex_escape((ti_slice){s.data + 6, s.len - 6});
        if (low < 0xdc00 || low > 0xdfff)
            return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        out->taken = 12;
    }
    out->size = put_utf8((uint32_t)code, out->bytes);
    return true;
}

/* Decodes the escape at the start of s (s begins with a backslash). */
static bool take_escape(ti_slice s, unit *out)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meant[] = "\"\\/\b\f\n\r\t";
    ti_assert(s.len > 0);
    ti_assert(s.data[0] == '\\');
    if (s.len < 2)
        return false;
    if (s.data[1] == 'u')
        return take_hex(s, out);
    const char *letter = s.data[1] == '\0' ? NULL : strchr(letters, s.data[1]);
    if (letter == NULL)
        return false;
    *out = (unit){.taken = 2, .size = 1, .bytes = {meant[letter - letters]}};
    return true;
}

bool ti_json_escapes_valid(ti_slice inside, size_t *bad_out)
{
    size_t at = 0;
    while (at < inside.len) {
        const char *slash = memchr(inside.data + at, '\\', inside.len - at);
        unit decoded;
        if (slash == NULL)
            break;
        at = (size_t)(slash - inside.data);
        if (!take_escape((ti_slice){slash, inside.len - at}, &decoded)) {
            *bad_out = at;
            return false;
        }
        at += decoded.taken;
    }
    *bad_out = inside.len;
    return true;
}

/* The next stretch of a valid inside: plain bytes up to a backslash, or one escape. */
static ti_slice take_stretch(ti_slice *inside, unit *decoded)
{
    ti_assert(inside->len > 0);
    if (inside->data[0] == '\\') {
        bool valid = take_escape(*inside, decoded);
        ti_require(valid);
        inside->data += decoded->taken;
        inside->len -= decoded->taken;
        return (ti_slice){decoded->bytes, decoded->size};
    }
    const char *slash = memchr(inside->data, '\\', inside->len);
    size_t plain = slash == NULL ? inside->len : (size_t)(slash - inside->data);
    ti_slice stretch = {inside->data, plain};
    inside->data += plain;
    inside->len -= plain;
    return stretch;
}

size_t ti_json_unescape(ti_slice inside, char *out)
{
    size_t size = 0;
    size_t size_max = inside.len;
    while (inside.len > 0) {
        unit decoded;
        ti_slice stretch = take_stretch(&inside, &decoded);
        ti_assert(stretch.len <= size_max - size);
        memcpy(out + size, stretch.data, stretch.len);
        size += stretch.len;
    }
    return size;
}

bool ti_json_inside_equal(ti_slice inside, bool escaped, ti_slice text)
{
    if (!escaped)
        return inside.len == text.len &&
               (text.len == 0 || memcmp(inside.data, text.data, text.len) == 0);
    while (inside.len > 0) {
        unit decoded;
        ti_slice stretch = take_stretch(&inside, &decoded);
        if (stretch.len > text.len || memcmp(stretch.data, text.data, stretch.len) != 0)
            return false;
        text.data += stretch.len;
        text.len -= stretch.len;
    }
    return text.len == 0;
}

ti_status ti_json_inside(ti_slice inside, bool escaped, ti_arena *a, ti_slice *out, ti_err *err)
{
    *out = inside;
    if (!escaped)
        return TI_OK;
    char *text = ti_arena_alloc(a, inside.len + 1);
    if (text == NULL) {
        *out = TI_SLICE_NONE;
        return ti_err_no_memory(err);
    }
    out->len = ti_json_unescape(inside, text);
    out->data = text;
    text[out->len] = '\0';
    return TI_OK;
}

/* Emitting JSON text.
 *
 * INVARIANTS
 *  1. After the first failure nothing more is written; status keeps it.
 *  2. comma is true exactly when a value stands directly before in the same container.
 *
 * Threads: a writer belongs to one thread at a time. */
#include "json/json_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

void ti_json_writer_init(ti_json_writer *w, ti_buf *out, ti_err *err)
{
    *w = (ti_json_writer){.out = out, .err = err, .status = TI_OK};
}

static void put(ti_json_writer *w, const char *data, size_t len)
{
    if (w->status == TI_OK)
        w->status = ti_buf_append(w->out, data, len, w->err);
}

/* The comma before a value that follows another one; nothing after a key. */
static void begin_value(ti_json_writer *w)
{
    if (w->comma && !w->keyed)
        put(w, ",", 1);
    w->keyed = false;
    w->comma = true;
}

static void begin_container(ti_json_writer *w, const char *bracket)
{
    begin_value(w);
    put(w, bracket, 1);
    w->comma = false;
    w->depth++;
}

static void end_container(ti_json_writer *w, const char *bracket)
{
    ti_assert(w->depth > 0);
    ti_assert(!w->keyed);
    put(w, bracket, 1);
    w->comma = true;
    w->depth--;
}

void ti_json_write_object_begin(ti_json_writer *w)
{
    begin_container(w, "{");
}

void ti_json_write_object_end(ti_json_writer *w)
{
    end_container(w, "}");
}

void ti_json_write_array_begin(ti_json_writer *w)
{
    begin_container(w, "[");
}

void ti_json_write_array_end(ti_json_writer *w)
{
    end_container(w, "]");
}

/* Whether a byte can not stand in a string as it is. */
static bool needs_escape(unsigned char c)
{
    return c < 0x20 || c == '"' || c == '\\';
}

static ti_status append_escape(ti_buf *out, unsigned char c, ti_err *err)
{
    static const char letters[] = "btnvfr"; /* of 8…13; 'v' is no JSON escape */
    char text[8];
    int size = 2;
    text[0] = '\\';
    if (c == '"' || c == '\\')
        text[1] = (char)c;
    else if (c >= 8 && c <= 13 && c != 11)
        text[1] = letters[c - 8];
    else
        size = snprintf(text, sizeof text, "\\u%04x", c);
    ti_assert(size > 0);
    return ti_buf_append(out, text, (size_t)size, err);
}

ti_status ti_json_append_string(ti_buf *out, ti_slice text, ti_err *err)
{
    size_t from = 0;
    if (!ti_slice_is_utf8(text))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "a string is not valid UTF-8");
    TI_TRY(ti_buf_append_byte(out, '"', err));
    for (size_t i = 0; i < text.len; i++) {
        if (!needs_escape((unsigned char)text.data[i]))
            continue;
        TI_TRY(ti_buf_append(out, text.data + from, i - from, err));
        TI_TRY(append_escape(out, (unsigned char)text.data[i], err));
        from = i + 1;
    }
    if (from < text.len)
        TI_TRY(ti_buf_append(out, text.data + from, text.len - from, err));
    return ti_buf_append_byte(out, '"', err);
}

void ti_json_write_key(ti_json_writer *w, ti_slice key)
{
    ti_assert(w->depth > 0);
    ti_assert(!w->keyed);
    ti_json_write_string(w, key);
    put(w, ":", 1);
    w->keyed = true;
}

void ti_json_write_string(ti_json_writer *w, ti_slice text)
{
    begin_value(w);
    if (w->status == TI_OK)
        w->status = ti_json_append_string(w->out, text, w->err);
}

void ti_json_write_int(ti_json_writer *w, int64_t value)
{
    char text[24];
    int size = snprintf(text, sizeof text, "%lld", (long long)value);
    ti_assert(size > 0);
    begin_value(w);
    put(w, text, (size_t)size);
}

void ti_json_write_double(ti_json_writer *w, double value)
{
    char text[TI_JSON_DOUBLE_TEXT_MAX];
    begin_value(w);
    if (!isfinite(value)) {
        if (w->status == TI_OK)
            w->status =
                ti_err_set(w->err, TI_INVALID_ARGUMENT, "a number is not finite (NaN or infinity)");
        return;
    }
    size_t size = ti_json_double_format(value, text);
    ti_assert(size > 0);
    put(w, text, size);
    if (memchr(text, '.', size) == NULL && memchr(text, 'e', size) == NULL)
        put(w, ".0", 2);
}

void ti_json_write_bool(ti_json_writer *w, bool value)
{
    begin_value(w);
    put(w, value ? "true" : "false", value ? 4 : 5);
}

void ti_json_write_null(ti_json_writer *w)
{
    begin_value(w);
    put(w, "null", 4);
}

void ti_json_write_raw(ti_json_writer *w, ti_slice raw)
{
    ti_assert(raw.len > 0);
    begin_value(w);
    put(w, raw.data, raw.len);
}

ti_status ti_json_writer_end(ti_json_writer *w)
{
    if (w->status == TI_OK) {
        ti_assert(w->depth == 0);
        ti_assert(!w->keyed);
    }
    return w->status;
}

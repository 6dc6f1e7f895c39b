/* Tuples: encoding, decoding, and ranges over one field. Layout and invariants are in tuple.h.
 *
 * Why the residual is needed and enough: below 2^53 in magnitude every int64 is a double. Above,
 * doubles are 2 … 1024 apart, so an int64 is a double plus 0 … 1023. Doubles outside [-2^63, 2^63)
 * are no int64. */
#include "codec/tuple.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"

static_assert(sizeof(double) == sizeof(uint64_t), "doubles are IEEE 754 binary64");

#define TAG_NULL 0x05
#define TAG_FALSE 0x06
#define TAG_TRUE 0x07
#define TAG_NUMBER 0x10
#define TAG_STRING 0x20

#define TWO_53 9007199254740992.0
#define TWO_63 9223372036854775808.0

#define NUMBER_SIZE (1 + 8)
#define NUMBER_SIZE_MAX (NUMBER_SIZE + 2)

/* ---- order of values ---- */

/* A number as the largest double that is not above it, and what is left. */
typedef struct split_number {
    double floor;
    uint32_t residual; /* 0 … 1023 */
} split_number;

/* Whether int64 is finer than double at this double, so that a residual follows. */
static bool has_residual(double floor)
{
    return (floor >= -TWO_63 && floor <= -TWO_53) || (floor >= TWO_53 && floor < TWO_63);
}

/* The next smaller double; of large ones, which have no zero or infinity beside them. */
static double double_below(double d)
{
    uint64_t bits;
    ti_assert(has_residual(d) || d == TWO_63);
    memcpy(&bits, &d, sizeof bits);
    bits = d > 0 ? bits - 1 : bits + 1;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static split_number split_int(int64_t integer)
{
    double nearest = (double)integer;
    /* Rounding up leads to 2^63 at most, or to a double whose int64 is above integer. */
    if (nearest >= TWO_63 || (int64_t)nearest > integer)
        nearest = double_below(nearest);
    ti_assert((int64_t)nearest <= integer);
    uint64_t residual = (uint64_t)integer - (uint64_t)(int64_t)nearest;
    ti_assert(residual < 1024);
    ti_assert(residual == 0 || has_residual(nearest));
    return (split_number){.floor = nearest, .residual = (uint32_t)residual};
}

static split_number split_value(const ti_value *value)
{
    if (value->type == TI_VALUE_INT)
        return split_int(value->integer);
    ti_assert(value->type == TI_VALUE_DOUBLE);
    ti_assert(!isnan(value->number));
    return (split_number){.floor = value->number == 0 ? 0.0 : value->number, .residual = 0};
}

/* null, false, true, numbers, strings: 0 … 4. */
static int rank_of(const ti_value *value)
{
    switch (value->type) {
    case TI_VALUE_NULL:
        return 0;
    case TI_VALUE_BOOL:
        return value->boolean ? 2 : 1;
    case TI_VALUE_STRING:
        return 4;
    default:
        return 3;
    }
}

int ti_value_compare(const ti_value *left, const ti_value *right)
{
    int ours = rank_of(left);
    int theirs = rank_of(right);
    if (ours != theirs)
        return ours < theirs ? -1 : 1;
    if (ours == 4)
        return ti_slice_compare(left->string, right->string);
    if (ours != 3)
        return 0;
    split_number a = split_value(left);
    split_number b = split_value(right);
    if (a.floor != b.floor)
        return a.floor < b.floor ? -1 : 1;
    return a.residual == b.residual ? 0 : a.residual < b.residual ? -1 : 1;
}

/* ---- encoding ---- */

/* Complements the bytes from an offset to the end. */
static void complement(ti_buf *b, size_t from)
{
    for (size_t i = from; i < b->len; i++)
        b->data[i] = (char)~(unsigned char)b->data[i];
}

static size_t encode_number(const ti_value *value, unsigned char out[NUMBER_SIZE_MAX])
{
    split_number n = split_value(value);
    uint64_t bits;
    memcpy(&bits, &n.floor, sizeof bits);
    bits = (bits >> 63) != 0 ? ~bits : bits | (UINT64_C(1) << 63);
    out[0] = TAG_NUMBER;
    for (int i = 0; i < 8; i++)
        out[1 + i] = (unsigned char)(bits >> (56 - 8 * i));
    if (!has_residual(n.floor))
        return NUMBER_SIZE;
    out[NUMBER_SIZE] = (unsigned char)(n.residual >> 8);
    out[NUMBER_SIZE + 1] = (unsigned char)n.residual;
    return NUMBER_SIZE_MAX;
}

/* Tag and escaped bytes of a string, without its terminator. */
static ti_status append_string_open(ti_buf *b, ti_slice s, ti_err *err)
{
    TI_TRY(ti_buf_append_byte(b, TAG_STRING, err));
    while (s.len > 0) {
        const char *nul = memchr(s.data, '\0', s.len);
        size_t plain = nul == NULL ? s.len : (size_t)(nul - s.data);
        TI_TRY(ti_buf_append(b, s.data, plain, err));
        if (nul == NULL)
            return TI_OK;
        TI_TRY(ti_buf_append(b, "\0\xff", 2, err));
        s.data += plain + 1;
        s.len -= plain + 1;
    }
    return TI_OK;
}

static ti_status append_string(ti_buf *b, ti_slice s, ti_err *err)
{
    size_t before = b->len;
    ti_status status = append_string_open(b, s, err);
    if (status == TI_OK)
        status = ti_buf_append(b, "\0\x01", 2, err);
    if (status != TI_OK)
        b->len = before;
    return status;
}

ti_status ti_tuple_append(ti_buf *b, const ti_value *value, bool descending, ti_err *err)
{
    size_t before = b->len;
    unsigned char number[NUMBER_SIZE_MAX];
    ti_status status = TI_OK;
    switch (value->type) {
    case TI_VALUE_NULL:
        status = ti_buf_append_byte(b, TAG_NULL, err);
        break;
    case TI_VALUE_BOOL:
        status = ti_buf_append_byte(b, value->boolean ? TAG_TRUE : TAG_FALSE, err);
        break;
    case TI_VALUE_STRING:
        status = append_string(b, value->string, err);
        break;
    default:
        if (value->type == TI_VALUE_DOUBLE && !isfinite(value->number))
            return ti_err_set(err, TI_INVALID_ARGUMENT,
                              "a number is not finite (NaN or infinity) and can not be indexed");
        status = ti_buf_append(b, number, encode_number(value, number), err);
        break;
    }
    if (status == TI_OK && descending)
        complement(b, before);
    return status;
}

size_t ti_tuple_string(ti_slice text, char *out)
{
    char *at = out;
    *at++ = TAG_STRING;
    for (size_t i = 0; i < text.len; i++) {
        *at++ = text.data[i];
        if (text.data[i] == '\0')
            *at++ = '\xff';
    }
    *at++ = '\0';
    *at++ = '\x01';
    ti_assert((size_t)(at - out) <= 2 * text.len + 3);
    return (size_t)(at - out);
}

/* ---- decoding ---- */

/* Bytes read as if ascending: flip is 0xff for a descending field. */
typedef struct input {
    const unsigned char *data;
    size_t len;
    unsigned char flip;
} input;

static unsigned char byte_at(const input *in, size_t i)
{
    ti_assert(i < in->len);
    return in->data[i] ^ in->flip;
}

static ti_status corrupt(ti_err *err, const char *what)
{
    return ti_err_set(err, TI_CORRUPT, "an encoded tuple is damaged: %s", what);
}

/* The value of a floor and a residual; false when the encoder would not write them. */
static bool join_number(double floor, uint32_t residual, ti_value *out)
{
    if (!isfinite(floor) || (floor == 0 && signbit(floor)))
        return false;
    bool integral = floor >= -TWO_63 && floor < TWO_63 && floor == (double)(int64_t)floor;
    if (!integral) {
        *out = ti_value_double(floor);
        return residual == 0;
    }
    int64_t integer = (int64_t)floor;
    if (residual > 0) {
        if (integer > INT64_MAX - (int64_t)residual)
            return false;
        integer += (int64_t)residual;
        if (split_int(integer).floor != floor)
            return false;
    }
    *out = ti_value_int(integer);
    return true;
}

static ti_status decode_number(const input *in, size_t *taken_out, ti_value *out, ti_err *err)
{
    uint64_t bits = 0;
    uint32_t residual = 0;
    double floor;
    if (in->len < NUMBER_SIZE)
        return corrupt(err, "a number is cut");
    for (size_t i = 1; i < NUMBER_SIZE; i++)
        bits = bits << 8 | byte_at(in, i);
    bits = (bits >> 63) != 0 ? bits & ~(UINT64_C(1) << 63) : ~bits;
    memcpy(&floor, &bits, sizeof floor);
    *taken_out = NUMBER_SIZE;
    if (has_residual(floor)) {
        if (in->len < NUMBER_SIZE_MAX)
            return corrupt(err, "a number is cut");
        residual = (uint32_t)byte_at(in, NUMBER_SIZE) << 8 | byte_at(in, NUMBER_SIZE + 1);
        *taken_out = NUMBER_SIZE_MAX;
    }
    return join_number(floor, residual, out) ? TI_OK : corrupt(err, "no such number");
}

/* Where an encoded string ends (after its terminator), and how many bytes it stands for. */
static ti_status measure_string(const input *in, size_t *taken_out, size_t *size_out, ti_err *err)
{
    size_t size = 0;
    size_t i = 1;
    while (i < in->len) {
        const void *nul = memchr(in->data + i, in->flip, in->len - i);
        size_t plain =
            nul == NULL ? in->len - i : (size_t)((const unsigned char *)nul - in->data) - i;
        size += plain;
        i += plain;
        if (in->len - i < 2)
            break;
        unsigned char mark = byte_at(in, i + 1);
        i += 2;
        if (mark == 0x01) {
            *taken_out = i;
            *size_out = size;
            return TI_OK;
        }
        if (mark != 0xff)
            return corrupt(err, "a string has a wrong escape");
        size++;
    }
    return corrupt(err, "a string does not end");
}

static ti_status decode_string(const input *in, size_t *taken_out, ti_arena *a, ti_value *out,
                               ti_err *err)
{
    size_t size = 0;
    TI_TRY(measure_string(in, taken_out, &size, err));
    size_t encoded = *taken_out - 3; /* without tag and terminator */
    if (in->flip == 0 && encoded == size) {
        *out = ti_value_string((ti_slice){(const char *)in->data + 1, size});
        return TI_OK;
    }
    char *text = ti_arena_alloc(a, size + 1);
    if (text == NULL)
        return ti_err_no_memory(err);
    size_t filled = 0;
    for (size_t i = 1; i < 1 + encoded; i++) {
        unsigned char byte = byte_at(in, i);
        text[filled++] = (char)byte;
        if (byte == 0)
            i++; /* the ff of an escape */
    }
    ti_assert(filled == size);
    text[size] = '\0';
    *out = ti_value_string((ti_slice){text, size});
    return TI_OK;
}

/* Decodes the field at the start of in; a NULL: only its extent is wanted. */
static ti_status decode(const input *in, ti_arena *a, size_t *taken_out, ti_value *out, ti_err *err)
{
    size_t size = 0;
    *out = ti_value_null();
    *taken_out = 1;
    if (in->len == 0)
        return corrupt(err, "a field is missing");
    switch (byte_at(in, 0)) {
    case TAG_NULL:
        return TI_OK;
    case TAG_FALSE:
    case TAG_TRUE:
        *out = ti_value_bool(byte_at(in, 0) == TAG_TRUE);
        return TI_OK;
    case TAG_NUMBER:
        return decode_number(in, taken_out, out, err);
    case TAG_STRING:
        if (a == NULL)
            return measure_string(in, taken_out, &size, err);
        return decode_string(in, taken_out, a, out, err);
    default:
        return corrupt(err, "no such type");
    }
}

ti_status ti_tuple_next(ti_slice *in, bool descending, ti_arena *a, ti_value *value_out,
                        ti_err *err)
{
    input bytes = {(const unsigned char *)in->data, in->len, descending ? 0xff : 0};
    size_t taken = 0;
    ti_assert(a != NULL);
    TI_TRY(decode(&bytes, a, &taken, value_out, err));
    ti_assert(taken <= in->len);
    in->data += taken;
    in->len -= taken;
    return TI_OK;
}

ti_status ti_tuple_skip(ti_slice *in, bool descending, ti_slice *field_out, ti_err *err)
{
    input bytes = {(const unsigned char *)in->data, in->len, descending ? 0xff : 0};
    size_t taken = 0;
    ti_value value;
    TI_TRY(decode(&bytes, NULL, &taken, &value, err));
    ti_assert(taken <= in->len);
    if (field_out != NULL)
        *field_out = (ti_slice){in->data, taken};
    in->data += taken;
    in->len -= taken;
    return TI_OK;
}

/* ---- ranges ---- */

ti_status ti_prefix_end(ti_arena *a, ti_slice prefix, ti_slice *end_out, ti_err *err)
{
    size_t len = prefix.len;
    *end_out = TI_SLICE_NONE;
    while (len > 0 && (unsigned char)prefix.data[len - 1] == 0xff)
        len--;
    if (len == 0)
        return TI_OK;
    char *end = ti_arena_alloc(a, len);
    if (end == NULL)
        return ti_err_no_memory(err);
    memcpy(end, prefix.data, len);
    end[len - 1] = (char)((unsigned char)end[len - 1] + 1);
    *end_out = (ti_slice){end, len};
    return TI_OK;
}

ti_status ti_prefix_range(ti_arena *a, ti_slice prefix, ti_key_range *range_out, ti_err *err)
{
    range_out->lo = prefix;
    return ti_prefix_end(a, prefix, &range_out->hi, err);
}

/* Which bound of the bytes is being made. */
typedef struct range_maker {
    ti_arena *arena;
    ti_slice prefix;
    bool descending;
    ti_buf buf; /* scratch */
    ti_err *err;
} range_maker;

/* prefix + the buffer's bytes, or what comes after all keys that begin with that. */
static ti_status finish_bound(range_maker *m, bool after, ti_slice *out)
{
    ti_slice bytes = ti_buf_slice(&m->buf);
    if (after)
        return ti_prefix_end(m->arena, bytes, out, m->err);
    *out = ti_arena_copy(m->arena, bytes);
    return out->data == NULL ? ti_err_no_memory(m->err) : TI_OK;
}

/* The bound at one value: before its keys, or after them. */
static ti_status bound_at(range_maker *m, const ti_value *value, bool after, ti_slice *out)
{
    ti_buf_clear(&m->buf);
    TI_TRY(ti_buf_append_slice(&m->buf, m->prefix, m->err));
    TI_TRY(ti_tuple_append(&m->buf, value, m->descending, m->err));
    return finish_bound(m, after, out);
}

/* The bound at a tag: before all its keys, or after them. */
static ti_status bound_at_tag(range_maker *m, unsigned char tag, bool after, ti_slice *out)
{
    ti_buf_clear(&m->buf);
    TI_TRY(ti_buf_append_slice(&m->buf, m->prefix, m->err));
    TI_TRY(ti_buf_append_byte(&m->buf, m->descending ? (unsigned char)~tag : tag, m->err));
    return finish_bound(m, after, out);
}

/* The lowest and the highest tag of a bound's type. */
static void tags_of(const ti_value *value, unsigned char *low, unsigned char *high)
{
    bool boolean = value->type == TI_VALUE_BOOL;
    bool string = value->type == TI_VALUE_STRING;
    *low = boolean ? TAG_FALSE : string ? TAG_STRING : TAG_NUMBER;
    *high = boolean ? TAG_TRUE : *low;
}

static ti_status check_bounds(const ti_tuple_bounds *b, ti_err *err)
{
    unsigned char low[2];
    unsigned char high[2];
    const ti_value *one = b->lower != NULL ? b->lower : b->upper;
    const ti_value *other = b->upper != NULL ? b->upper : b->lower;
    if (one == NULL)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "a range has no bound");
    if (one->type == TI_VALUE_NULL || other->type == TI_VALUE_NULL)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "null can not be the bound of a range");
    tags_of(one, &low[0], &high[0]);
    tags_of(other, &low[1], &high[1]);
    if (low[0] != low[1])
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the bounds of a range have different types");
    return TI_OK;
}

static ti_status make_prefix_range(range_maker *m, ti_slice starts_with, ti_key_range *out)
{
    TI_TRY(ti_buf_append_slice(&m->buf, m->prefix, m->err));
    TI_TRY(append_string_open(&m->buf, starts_with, m->err));
    if (m->descending)
        complement(&m->buf, m->prefix.len);
    TI_TRY(finish_bound(m, false, &out->lo));
    return finish_bound(m, true, &out->hi);
}

/* One end in the order of values: the lower one or the upper one. after: the bytes after the end's
 * keys are wanted. */
static ti_status make_end(range_maker *m, const ti_tuple_bounds *b, bool upper, bool after,
                          ti_slice *out)
{
    unsigned char low;
    unsigned char high;
    const ti_value *value = upper ? b->upper : b->lower;
    bool excluded = upper ? b->upper_excluded : b->lower_excluded;
    if (value != NULL)
        return bound_at(m, value, after != excluded, out);
    tags_of(upper ? b->lower : b->upper, &low, &high);
    return bound_at_tag(m, upper ? high : low, after, out);
}

static ti_status make_range(range_maker *m, const ti_tuple_bounds *b, ti_key_range *out)
{
    if (b->starts_with != NULL)
        return make_prefix_range(m, *b->starts_with, out);
    TI_TRY(check_bounds(b, m->err));
    TI_TRY(make_end(m, b, b->descending, false, &out->lo));
    TI_TRY(make_end(m, b, !b->descending, true, &out->hi));
    if (out->hi.data != NULL && ti_slice_compare(out->lo, out->hi) > 0)
        out->hi = out->lo;
    return TI_OK;
}

ti_status ti_tuple_range(ti_arena *a, ti_slice prefix, const ti_tuple_bounds *bounds,
                         ti_key_range *range_out, ti_err *err)
{
    range_maker m = {.arena = a, .prefix = prefix, .descending = bounds->descending, .err = err};
    *range_out = (ti_key_range){.lo = TI_SLICE_NONE, .hi = TI_SLICE_NONE};
    ti_assert(bounds->starts_with == NULL || (bounds->lower == NULL && bounds->upper == NULL));
    ti_buf_init(&m.buf, TI_KEY_SIZE_MAX);
    ti_status status = make_range(&m, bounds, range_out);
    ti_buf_free(&m.buf);
    return status;
}

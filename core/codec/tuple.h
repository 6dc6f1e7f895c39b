/* Order-preserving tuples: the bytes of index keys. memcmp of encodings = order of the values.
 *
 *   null     05
 *   false    06
 *   true     07
 *   number   10 dddddddd [rr]
 *              d   the largest double <= the number, big-endian, the sign bit flipped
 *                  (of a negative one: all bits flipped)
 *              rr  number - d, big-endian: only where int64 is finer than double, that is where
 *                  -2^63 <= d <= -2^53 or 2^53 <= d < 2^63
 *   string   20 bytes… 00 01       a NUL byte inside is 00 ff
 *
 * A descending field is the complement of all its bytes. No encoding is a prefix of another one.
 *
 * INVARIANTS
 *  1. null < false < true < numbers < strings. Numbers are in one order by exact mathematical
 *     value: the int64 1 and the double 1.0 are one value, -0.0 is 0. Strings go by bytes.
 *  2. Injective and canonical: two values never share bytes, and no value has two encodings; the
 *     decoder answers CORRUPT to anything that the encoder would not write.
 *  3. Self-delimiting: fields follow each other without separators.
 *  4. NaN and infinities are refused. Integers outside int64 can not be given.
 *
 * Threads: pure functions. What is NOT here: keys around tuples (keys.h). */
#ifndef TI_CODEC_TUPLE_H
#define TI_CODEC_TUPLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/slice.h"

typedef enum ti_value_type {
    TI_VALUE_NULL = 0,
    TI_VALUE_BOOL,
    TI_VALUE_INT,
    TI_VALUE_DOUBLE,
    TI_VALUE_STRING,
} ti_value_type;

/* One field. A plain value; a string borrows its bytes. */
typedef struct ti_value {
    ti_value_type type;
    union {
        bool boolean;
        int64_t integer;
        double number;
        ti_slice string;
    };
} ti_value;

static inline ti_value ti_value_null(void)
{
    return (ti_value){.type = TI_VALUE_NULL, .integer = 0};
}
static inline ti_value ti_value_bool(bool boolean)
{
    return (ti_value){.type = TI_VALUE_BOOL, .boolean = boolean};
}
static inline ti_value ti_value_int(int64_t integer)
{
    return (ti_value){.type = TI_VALUE_INT, .integer = integer};
}
static inline ti_value ti_value_double(double number)
{
    return (ti_value){.type = TI_VALUE_DOUBLE, .number = number};
}
static inline ti_value ti_value_string(ti_slice string)
{
    return (ti_value){.type = TI_VALUE_STRING, .string = string};
}

/* -1, 0 or 1: the order of the encodings, ascending. Neither may be NaN. */
int ti_value_compare(const ti_value *left, const ti_value *right);

/* Appends one field. INVALID_ARGUMENT (NaN, infinity), OUT_OF_MEMORY, LIMIT_EXCEEDED (the buffer's
 * maximum); the buffer is unchanged then. */
ti_status ti_tuple_append(ti_buf *b, const ti_value *value, bool descending, ti_err *err);

/* Writes an ascending string field to out, which has room for 2 * text.len + 3 bytes, and gives its
 * size. */
size_t ti_tuple_string(ti_slice text, char *out);

/* Takes the first field off in. A number is an INT when it is integral and within int64, else a
 * DOUBLE. A string borrows from in when it can, else it is in a. CORRUPT, OUT_OF_MEMORY; in is
 * unchanged then. */
ti_status ti_tuple_next(ti_slice *in, bool descending, ti_arena *a, ti_value *value_out,
                        ti_err *err);
/* Takes the first field off in without decoding it, checked as strictly as ti_tuple_next. field_out
 * (may be NULL): its bytes. */
ti_status ti_tuple_skip(ti_slice *in, bool descending, ti_slice *field_out, ti_err *err);

/* A half-open range of bytes: lo <= x < hi. (ti_range is the engine contract's own, in
 * kv/engine.h.) */
typedef struct ti_key_range {
    ti_slice lo;
    ti_slice hi; /* data NULL: no upper end */
} ti_key_range;

/* Bounds on the one field after an equality prefix. */
typedef struct ti_tuple_bounds {
    const ti_value *lower;       /* NULL: the smallest value of upper's type */
    const ti_value *upper;       /* NULL: the largest value of lower's type */
    bool lower_excluded;         /* gt rather than gte */
    bool upper_excluded;         /* lt rather than lte */
    const ti_slice *starts_with; /* instead of lower and upper: strings with this prefix */
    bool descending;             /* how the field is encoded */
} ti_tuple_bounds;

/* The keys that begin with prefix and whose next field lies within bounds. Bounds given from one
 * side only stay within the type of the bound (lt 5 finds no null; for booleans the type is both).
 * Bounds that exclude each other give an empty range (lo = hi). lo and hi are in a.
 * INVALID_ARGUMENT (NaN, null as a bound, two types, no bound at all), LIMIT_EXCEEDED
 * (TI_KEY_SIZE_MAX), OUT_OF_MEMORY. */
ti_status ti_tuple_range(ti_arena *a, ti_slice prefix, const ti_tuple_bounds *bounds,
                         ti_key_range *range_out, ti_err *err);

/* The smallest key greater than every key that begins with prefix, in a: data NULL and len 0 when
 * there is none (empty, or all bytes ff). OUT_OF_MEMORY. */
ti_status ti_prefix_end(ti_arena *a, ti_slice prefix, ti_slice *end_out, ti_err *err);
/* Every key that begins with prefix. lo borrows prefix; hi is in a. OUT_OF_MEMORY. */
ti_status ti_prefix_range(ti_arena *a, ti_slice prefix, ti_key_range *range_out, ti_err *err);

#endif

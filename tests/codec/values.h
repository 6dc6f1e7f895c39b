/* Random values for tuples, drawn from where encodings break: NUL and ff, shared prefixes, integers
 * beside powers of two, doubles beside integers, subnormals; and an order of values that knows
 * nothing of the encoding (long double holds every int64 and every double exactly). */
#ifndef TITO_TESTS_CODEC_VALUES_H
#define TITO_TESTS_CODEC_VALUES_H

#include "support/test.h"

#include <float.h>
#include <math.h>

#include "codec/tuple.h"

_Static_assert(LDBL_MANT_DIG >= 64, "long double holds int64 and double");

static inline double values_double_of(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static inline int64_t values_random_int(test_random *r)
{
    static const int64_t edges[] = {0,
                                    1,
                                    -1,
                                    255,
                                    256,
                                    INT64_MAX,
                                    INT64_MIN,
                                    INT64_MAX - 1,
                                    INT64_MIN + 1,
                                    INT64_C(1) << 53,
                                    -(INT64_C(1) << 53),
                                    INT64_C(1) << 62};
    switch (test_random_below(r, 4)) {
    case 0:
        return edges[test_random_below(r, sizeof edges / sizeof *edges)];
    case 1: { /* beside a power of two */
        uint64_t power = UINT64_C(1) << test_random_below(r, 63);
        int64_t value = (int64_t)(power + test_random_below(r, 2050) - 1025);
        return test_random_one_in(r, 2) ? value : (int64_t)(0 - (uint64_t)value);
    }
    case 2:
        return (int64_t)test_random_below(r, 21) - 10;
    default:
        return (int64_t)test_random_u64(r);
    }
}

static inline double values_random_double(test_random *r)
{
    static const double edges[] = {0.0,
                                   -0.0,
                                   0.5,
                                   -0.5,
                                   1.5,
                                   DBL_MIN,
                                   -DBL_MIN,
                                   DBL_MAX,
                                   -DBL_MAX,
                                   4.9e-324,
                                   -4.9e-324,
                                   9223372036854775808.0,
                                   -9223372036854775808.0,
                                   9007199254740992.0,
                                   -9007199254740992.0,
                                   1e300};
    for (;;) {
        double d = 0;
        switch (test_random_below(r, 4)) {
        case 0:
            d = edges[test_random_below(r, sizeof edges / sizeof *edges)];
            break;
        case 1: /* an integer or one beside it */
            d = (double)values_random_int(r);
            d = nextafter(d, test_random_one_in(r, 2) ? INFINITY : -INFINITY);
            break;
        case 2:
            d = (double)values_random_int(r);
            break;
        default:
            d = values_double_of(test_random_u64(r));
        }
        if (isfinite(d))
            return d;
    }
}

/* A string in room of 32 bytes: short, over few letters, so that prefixes are shared. */
static inline ti_slice values_random_string(test_random *r, char room[32])
{
    static const char letters[] = {'\0', '\x01', '\xff', '\xfe', 'a', 'b', ':', '\x7f'};
    size_t len = test_random_below(r, 8);
    for (size_t i = 0; i < len; i++)
        room[i] = test_random_one_in(r, 8) ? (char)(unsigned char)test_random_below(r, 256)
                                           : letters[test_random_below(r, sizeof letters)];
    return (ti_slice){room, len};
}

static inline ti_value values_random(test_random *r, char room[32])
{
    switch (test_random_below(r, 8)) {
    case 0:
        return ti_value_null();
    case 1:
        return ti_value_bool(test_random_one_in(r, 2));
    case 2:
    case 3:
        return ti_value_int(values_random_int(r));
    case 4:
    case 5:
        return ti_value_double(values_random_double(r));
    default:
        return ti_value_string(values_random_string(r, room));
    }
}

static inline int values_rank(const ti_value *v)
{
    static const int ranks[] = {0, 1, 2, 2, 3};
    return ranks[v->type];
}

/* The order that tuples must have, found without them. */
static inline int values_order(const ti_value *a, const ti_value *b)
{
    if (values_rank(a) != values_rank(b))
        return values_rank(a) < values_rank(b) ? -1 : 1;
    if (a->type == TI_VALUE_NULL)
        return 0;
    if (a->type == TI_VALUE_BOOL)
        return (int)a->boolean - (int)b->boolean;
    if (a->type == TI_VALUE_STRING) {
        size_t shorter = a->string.len < b->string.len ? a->string.len : b->string.len;
        int order = memcmp(a->string.data, b->string.data, shorter);
        if (order != 0)
            return order < 0 ? -1 : 1;
        return a->string.len == b->string.len ? 0 : a->string.len < b->string.len ? -1 : 1;
    }
    long double x = a->type == TI_VALUE_INT ? (long double)a->integer : (long double)a->number;
    long double y = b->type == TI_VALUE_INT ? (long double)b->integer : (long double)b->number;
    return x < y ? -1 : x > y ? 1 : 0;
}

#endif

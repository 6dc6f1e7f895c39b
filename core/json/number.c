/* Numbers: the grammar of JSON, integers exactly, doubles by the standard library's correctly
 * rounded conversion.
 *
 *   [-] (0 | 1-9 digits) [. digits] [e|E [+|-] digits]
 *
 * INVARIANTS
 *  1. An integer (no fraction, no exponent) within int64 is an INT, outside a BIG; everything else
 *     is a DOUBLE.
 *  2. A BIG's double must be finite too.
 *
 * Threads: pure functions. */
#include "json/number_int.h"

#include <string.h>

#include "base/assert.h"

/* Far beyond any exponent that matters; keeps sums of them from overflowing. */
#define EXPONENT_CAP 100000000

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *skip_digits(const char *p)
{
    while (is_digit(*p))
        p++;
    return p;
}

/* The end of fraction and exponent after the integer part, or NULL when they are malformed. */
static const char *skip_tail(const char *p)
{
    if (*p == '.') {
        p++;
        if (!is_digit(*p))
            return NULL;
        p = skip_digits(p);
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-')
            p++;
        if (!is_digit(*p))
            return NULL;
        p = skip_digits(p);
    }
    return p;
}

/* The digits as an int64; false when they do not fit. */
static bool read_int(const char *digits, const char *end, bool negative, int64_t *out)
{
    uint64_t magnitude = 0;
    uint64_t magnitude_max = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    ti_assert(digits < end);
    if (end - digits > 19)
        return false;
    for (const char *p = digits; p < end; p++)
        magnitude = magnitude * 10 + (uint64_t)(*p - '0'); /* 19 digits fit a uint64 */
    if (magnitude > magnitude_max)
        return false;
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

/* The written exponent at p ("e-12"), within EXPONENT_CAP; 0 without one. */
static int64_t read_exponent(const char *p, const char *end)
{
    int64_t exponent = 0;
    bool negative = false;
    if (p == end)
        return 0;
    p++;
    if (*p == '+' || *p == '-')
        negative = *p++ == '-';
    for (; p < end && exponent < EXPONENT_CAP; p++)
        exponent = exponent * 10 + (*p - '0');
    return negative ? -exponent : exponent;
}

/* Whether a number that is out of a double's range is too large (else it is too small): where its
 * first digit that is not zero stands. digits: after the sign. */
static bool is_too_large(const char *digits, const char *end)
{
    const char *e = digits;
    int64_t place = 0; /* of the first non-zero digit; 1 = just before the point */
    bool found = false;
    const char *whole_end = skip_digits(digits);
    while (e < end && *e != 'e' && *e != 'E')
        e++;
    for (const char *p = digits; p < e && !found; p++) {
        if (*p == '.' || *p == '0')
            continue;
        found = true;
        place = p < whole_end ? whole_end - p : whole_end + 1 - p;
    }
    ti_assert(found); /* zero is never out of range */
    return place + read_exponent(e, end) > 0;
}

static ti_json_number_result read_double(const char *text, const char *end, ti_json_node *node)
{
    double value = 0;
    bool negative = text[0] == '-';
    switch (ti_json_double_parse(text, (size_t)(end - text), &value)) {
    case TI_JSON_DOUBLE_OK:
        break;
    case TI_JSON_DOUBLE_RANGE:
        if (is_too_large(text + negative, end))
            return TI_JSON_NUMBER_RANGE;
        value = negative ? -0.0 : 0.0;
        break;
    default:
        return TI_JSON_NUMBER_BAD;
    }
    node->number = value;
    return TI_JSON_NUMBER_OK;
}

ti_json_number_result ti_json_number_read(const char *text, ti_json_node *node, size_t *size_out)
{
    bool negative = text[0] == '-';
    const char *digits = text + negative;
    *size_out = 0;
    if (!is_digit(*digits))
        return TI_JSON_NUMBER_BAD;
    const char *whole_end = *digits == '0' ? digits + 1 : skip_digits(digits);
    const char *end = skip_tail(whole_end);
    if (end == NULL)
        return TI_JSON_NUMBER_BAD;
    *size_out = (size_t)(end - text);
    if (end == whole_end) {
        node->type = TI_JSON_INT;
        if (read_int(digits, end, negative, &node->integer))
            return TI_JSON_NUMBER_OK;
        node->type = TI_JSON_BIG;
        return read_double(text, end, node);
    }
    node->type = TI_JSON_DOUBLE;
    return read_double(text, end, node);
}

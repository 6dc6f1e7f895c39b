/* Tuples: order, injectivity, decoding, damage. */
#include "codec/values.h"
#include "golden/golden.h"

#include "base/limits.h"

#define FIELDS_MAX 4

typedef struct tuple {
    ti_value values[FIELDS_MAX];
    char rooms[FIELDS_MAX][32];
    ti_buf buf;
} tuple;

static void tuple_fill(tuple *t, test_random *r, size_t fields, const bool *descending)
{
    ti_err err;
    ti_buf_clear(&t->buf);
    for (size_t i = 0; i < fields; i++) {
        t->values[i] = values_random(r, t->rooms[i]);
        test_ok(ti_tuple_append(&t->buf, &t->values[i], descending[i], &err), &err);
    }
}

/* Makes t begin like other, so that the first difference comes late. */
static void tuple_share(tuple *t, const tuple *other, size_t shared, size_t fields,
                        const bool *descending)
{
    ti_err err;
    ti_buf_clear(&t->buf);
    for (size_t i = 0; i < fields; i++) {
        if (i < shared)
            t->values[i] = other->values[i];
        test_ok(ti_tuple_append(&t->buf, &t->values[i], descending[i], &err), &err);
    }
}

static int tuple_order(const tuple *a, const tuple *b, size_t fields, const bool *descending)
{
    for (size_t i = 0; i < fields; i++) {
        int order = values_order(&a->values[i], &b->values[i]);
        assert_int_equal(order, ti_value_compare(&a->values[i], &b->values[i]));
        if (order != 0)
            return descending[i] ? -order : order;
    }
    return 0;
}

static void tuple_decodes(const tuple *t, size_t fields, const bool *descending, ti_arena *a)
{
    ti_err err;
    ti_slice in = ti_buf_slice(&t->buf);
    ti_slice skipped = in;
    for (size_t i = 0; i < fields; i++) {
        ti_value value;
        ti_slice field;
        test_ok(ti_tuple_next(&in, descending[i], a, &value, &err), &err);
        test_ok(ti_tuple_skip(&skipped, descending[i], &field, &err), &err);
        assert_int_equal(in.len, skipped.len);
        assert_ptr_equal(field.data + field.len, skipped.data);
        assert_int_equal(values_order(&value, &t->values[i]), 0);
        if (value.type == TI_VALUE_DOUBLE) /* no integer within int64 comes back as a double */
            assert_true(value.number != trunc(value.number) || fabs(value.number) >= 0x1p63);
    }
    assert_int_equal(in.len, 0);
}

static void order_of_bytes_is_order_of_values(void **state)
{
    test_random r = test_random_start(1);
    tuple a;
    tuple b;
    ti_arena arena;
    (void)state;
    ti_arena_init(&arena);
    ti_buf_init(&a.buf, TI_KEY_SIZE_MAX);
    ti_buf_init(&b.buf, TI_KEY_SIZE_MAX);
    for (uint64_t n = test_scaled(2000000); n > 0; n--) {
        bool descending[FIELDS_MAX];
        size_t fields = 1 + test_random_below(&r, FIELDS_MAX);
        for (size_t i = 0; i < FIELDS_MAX; i++)
            descending[i] = test_random_one_in(&r, 2);
        tuple_fill(&a, &r, fields, descending);
        tuple_fill(&b, &r, fields, descending);
        if (test_random_one_in(&r, 2))
            tuple_share(&b, &a, test_random_below(&r, fields + 1), fields, descending);
        int order = ti_slice_compare(ti_buf_slice(&a.buf), ti_buf_slice(&b.buf));
        assert_int_equal(order, tuple_order(&a, &b, fields, descending));
        tuple_decodes(&a, fields, descending, &arena);
        ti_arena_reset(&arena);
    }
    ti_buf_free(&a.buf);
    ti_buf_free(&b.buf);
    ti_arena_free(&arena);
}

/* Every pair of a fixed list of difficult values, in both directions. */
static void difficult_values_are_in_order(void **state)
{
    static const char *const strings[] = {"",     "\0", "\0\0", "\0\x01",  "\0\xff",
                                          "\x01", "a",  "a\0",  "a\0b",    "a\xff",
                                          "ab",   "b",  "\xff", "\xff\xff"};
    static const size_t sizes[] = {0, 1, 2, 2, 2, 1, 1, 2, 3, 2, 2, 1, 1, 2};
    ti_value values[400];
    size_t count = 0;
    ti_err err;
    (void)state;
    values[count++] = ti_value_null();
    values[count++] = ti_value_bool(false);
    values[count++] = ti_value_bool(true);
    for (int shift = 51; shift < 64; shift++)
        for (int64_t beside = -2; beside <= 2; beside++) {
            uint64_t power = shift == 63 ? (uint64_t)INT64_MAX - 1 : UINT64_C(1) << shift;
            values[count++] =
                ti_value_int((int64_t)power + (shift == 63 && beside > 1 ? 1 : beside));
            values[count++] =
                ti_value_int(-((int64_t)power + (shift == 63 && beside > 1 ? 1 : beside)));
            values[count++] = ti_value_double((double)power + (double)beside);
            values[count++] = ti_value_double(-(double)power - (double)beside);
        }
    values[count++] = ti_value_int(INT64_MIN);
    for (double d = DBL_TRUE_MIN; d < 1e300; d *= 1e40) {
        values[count++] = ti_value_double(d);
        values[count++] = ti_value_double(-d);
    }
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        values[count++] = ti_value_string((ti_slice){strings[i], sizes[i]});
    assert_true(count < sizeof values / sizeof *values);
    ti_buf a;
    ti_buf b;
    ti_buf_init(&a, 100);
    ti_buf_init(&b, 100);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++)
            for (int descending = 0; descending < 2; descending++) {
                ti_buf_clear(&a);
                ti_buf_clear(&b);
                test_ok(ti_tuple_append(&a, &values[i], descending == 1, &err), &err);
                test_ok(ti_tuple_append(&b, &values[j], descending == 1, &err), &err);
                int order = values_order(&values[i], &values[j]);
                assert_int_equal(ti_slice_compare(ti_buf_slice(&a), ti_buf_slice(&b)),
                                 descending == 1 ? -order : order);
                /* prefix-free: unequal ones are never prefixes of each other */
                if (order != 0)
                    assert_false(ti_slice_has_prefix(ti_buf_slice(&a), ti_buf_slice(&b)));
            }
    ti_buf_free(&a);
    ti_buf_free(&b);
}

static void one_number_has_one_encoding(void **state)
{
    static const struct {
        ti_value a;
        ti_value b;
    } same[] = {
        {{.type = TI_VALUE_INT, .integer = 1}, {.type = TI_VALUE_DOUBLE, .number = 1.0}},
        {{.type = TI_VALUE_INT, .integer = 0}, {.type = TI_VALUE_DOUBLE, .number = -0.0}},
        {{.type = TI_VALUE_INT, .integer = INT64_MIN},
         {.type = TI_VALUE_DOUBLE, .number = -0x1p63}},
        {{.type = TI_VALUE_INT, .integer = INT64_C(1) << 62},
         {.type = TI_VALUE_DOUBLE, .number = 0x1p62}},
        {{.type = TI_VALUE_INT, .integer = -(INT64_C(1) << 53)},
         {.type = TI_VALUE_DOUBLE, .number = -0x1p53}},
    };
    ti_err err;
    ti_buf a;
    ti_buf b;
    (void)state;
    ti_buf_init(&a, 100);
    ti_buf_init(&b, 100);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        ti_buf_clear(&a);
        ti_buf_clear(&b);
        test_ok(ti_tuple_append(&a, &same[i].a, false, &err), &err);
        test_ok(ti_tuple_append(&b, &same[i].b, false, &err), &err);
        assert_true(ti_slice_equal(ti_buf_slice(&a), ti_buf_slice(&b)));
        assert_int_equal(ti_value_compare(&same[i].a, &same[i].b), 0);
    }
    ti_buf_free(&a);
    ti_buf_free(&b);
}

static void what_is_no_number_is_refused(void **state)
{
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    ti_err err;
    ti_buf b;
    (void)state;
    ti_buf_init(&b, 100);
    for (size_t i = 0; i < 3; i++) {
        ti_value value = ti_value_double(bad[i]);
        test_status(ti_tuple_append(&b, &value, i == 1, &err), TI_INVALID_ARGUMENT);
        assert_int_equal(b.len, 0);
    }
    ti_buf_free(&b);
}

static void a_full_buffer_is_left_unchanged(void **state)
{
    ti_err err;
    ti_buf b;
    (void)state;
    for (size_t max = 1; max < 12; max++) {
        ti_value value = ti_value_string(TI_SLICE("ab\0cd"));
        ti_buf_init(&b, max);
        ti_status status = ti_tuple_append(&b, &value, true, &err);
        assert_int_equal(status, max < 9 ? TI_LIMIT_EXCEEDED : TI_OK);
        assert_int_equal(b.len, max < 9 ? 0 : 9);
        ti_buf_free(&b);
    }
}

/* Whatever the bytes are: CORRUPT, or a value whose encoding is just these bytes. */
static void decoder_accepts_only_what_the_encoder_writes(void **state)
{
    test_random r = test_random_start(2);
    ti_arena arena;
    ti_buf again;
    ti_err err;
    uint64_t accepted = 0;
    (void)state;
    ti_arena_init(&arena);
    ti_buf_init(&again, 1000);
    for (uint64_t n = test_scaled(1000000); n > 0; n--) {
        char bytes[24];
        size_t len = test_random_below(&r, sizeof bytes);
        bool descending = test_random_one_in(&r, 2);
        static const unsigned char tags[] = {0x05, 0x06, 0x07, 0x10, 0x20, 0x20};
        test_random_fill(&r, bytes, len);
        for (size_t i = 1; i < len; i++)
            if (test_random_one_in(&r, 2))
                bytes[i] = "\0\x01\xff\0"[test_random_below(&r, 4)];
        if (len > 0)
            bytes[0] = (char)(tags[test_random_below(&r, 6)] ^ (descending ? 0xff : 0));
        if (len > 2 && test_random_one_in(&r, 2)) { /* exponents around 2^53 … 2^63 */
            bytes[1] = (char)(test_random_one_in(&r, 2) ? 0xc3 : 0x3c);
            bytes[1] = (char)(bytes[1] ^ (descending ? 0xff : 0));
        }
        ti_slice in = {bytes, len};
        ti_slice skipped = in;
        ti_value value;
        ti_status status = ti_tuple_next(&in, descending, &arena, &value, &err);
        assert_int_equal(status, ti_tuple_skip(&skipped, descending, NULL, &err));
        if (status != TI_OK) {
            assert_int_equal(status, TI_CORRUPT);
            assert_int_equal(in.len, len);
            continue;
        }
        accepted++;
        ti_buf_clear(&again);
        test_ok(ti_tuple_append(&again, &value, descending, &err), &err);
        assert_int_equal(again.len, len - in.len);
        assert_memory_equal(again.data, bytes, again.len);
        ti_arena_reset(&arena);
    }
    assert_true(accepted > 100);
    ti_buf_free(&again);
    ti_arena_free(&arena);
}

static void cut_tuples_are_corrupt(void **state)
{
    test_random r = test_random_start(3);
    ti_arena arena;
    ti_buf b;
    ti_err err;
    (void)state;
    ti_arena_init(&arena);
    ti_buf_init(&b, 1000);
    for (int n = 0; n < 2000; n++) {
        char room[32];
        ti_value value = values_random(&r, room);
        bool descending = test_random_one_in(&r, 2);
        ti_buf_clear(&b);
        test_ok(ti_tuple_append(&b, &value, descending, &err), &err);
        for (size_t len = 0; len < b.len; len++) {
            ti_slice in = {b.data, len};
            test_status(ti_tuple_next(&in, descending, &arena, &value, &err), TI_CORRUPT);
            test_status(ti_tuple_skip(&in, descending, NULL, &err), TI_CORRUPT);
        }
        ti_arena_reset(&arena);
    }
    ti_buf_free(&b);
    ti_arena_free(&arena);
}

static void failing_memory_is_said(void **state)
{
    ti_arena arena;
    ti_buf b;
    ti_err err;
    ti_value value = ti_value_string(TI_SLICE("a\0b"));
    (void)state;
    ti_buf_init(&b, 1000);
    ti_mem_fail_at(1);
    test_status(ti_tuple_append(&b, &value, false, &err), TI_OUT_OF_MEMORY);
    ti_mem_fail_at(0);
    assert_int_equal(b.len, 0);
    test_ok(ti_tuple_append(&b, &value, false, &err), &err);
    ti_slice in = ti_buf_slice(&b);
    ti_arena_init(&arena);
    ti_mem_fail_at(1);
    test_status(ti_tuple_next(&in, false, &arena, &value, &err), TI_OUT_OF_MEMORY);
    ti_mem_fail_at(0);
    assert_int_equal(in.len, b.len);
    ti_arena_free(&arena);
    ti_buf_free(&b);
}

static void golden_tuples(void **state)
{
    static const struct {
        const char *name;
        ti_value value;
    } cases[] = {
        {"null", {.type = TI_VALUE_NULL}},
        {"false", {.type = TI_VALUE_BOOL, .boolean = false}},
        {"true", {.type = TI_VALUE_BOOL, .boolean = true}},
        {"zero", {.type = TI_VALUE_INT, .integer = 0}},
        {"one", {.type = TI_VALUE_INT, .integer = 1}},
        {"minus-one", {.type = TI_VALUE_INT, .integer = -1}},
        {"half", {.type = TI_VALUE_DOUBLE, .number = 0.5}},
        {"date", {.type = TI_VALUE_INT, .integer = 20230101}},
        {"int-max", {.type = TI_VALUE_INT, .integer = INT64_MAX}},
        {"int-min", {.type = TI_VALUE_INT, .integer = INT64_MIN}},
        {"int-min-next", {.type = TI_VALUE_INT, .integer = INT64_MIN + 1}},
        {"two-53", {.type = TI_VALUE_INT, .integer = INT64_C(1) << 53}},
        {"two-53-next", {.type = TI_VALUE_INT, .integer = (INT64_C(1) << 53) + 1}},
        {"double-max", {.type = TI_VALUE_DOUBLE, .number = DBL_MAX}},
        {"double-least", {.type = TI_VALUE_DOUBLE, .number = -DBL_TRUE_MIN}},
        {"string-empty", {.type = TI_VALUE_STRING, .string = {"", 0}}},
        {"string", {.type = TI_VALUE_STRING, .string = {"Alice", 5}}},
        {"string-nul", {.type = TI_VALUE_STRING, .string = {"a\0b", 3}}},
        {"string-utf8", {.type = TI_VALUE_STRING, .string = {"\xc3\xa9\xff", 3}}},
    };
    ti_err err;
    ti_buf b;
    (void)state;
    ti_buf_init(&b, 100);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int descending = 0; descending < 2; descending++) {
            char name[64];
            snprintf(name, sizeof name, "%s-%s", cases[i].name, descending == 1 ? "desc" : "asc");
            ti_buf_clear(&b);
            test_ok(ti_tuple_append(&b, &cases[i].value, descending == 1, &err), &err);
            golden_check("tuple.txt", name, ti_buf_slice(&b));
        }
    ti_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_of_bytes_is_order_of_values),
        cmocka_unit_test(difficult_values_are_in_order),
        cmocka_unit_test(one_number_has_one_encoding),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(a_full_buffer_is_left_unchanged),
        cmocka_unit_test(decoder_accepts_only_what_the_encoder_writes),
        cmocka_unit_test(cut_tuples_are_corrupt),
        cmocka_unit_test(failing_memory_is_said),
        cmocka_unit_test(golden_tuples),
    };
    return TEST_RUN(tests);
}

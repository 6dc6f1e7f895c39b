/* Slices, UTF-8, buffers. */
#include "support/test.h"

#include "base/slice.h"

static void comparison_is_unsigned_and_prefix_first(void **state)
{
    (void)state;
    assert_int_equal(ti_slice_compare(TI_SLICE("a"), TI_SLICE("a")), 0);
    assert_int_equal(ti_slice_compare(TI_SLICE("a"), TI_SLICE("ab")), -1);
    assert_int_equal(ti_slice_compare(TI_SLICE("\xff"), TI_SLICE("\x01zz")), 1);
    assert_int_equal(ti_slice_compare(TI_SLICE_NONE, TI_SLICE("")), 0);
    assert_int_equal(ti_slice_compare(TI_SLICE_NONE, TI_SLICE("\0")), -1);
    assert_true(ti_slice_equal(TI_SLICE_NONE, TI_SLICE("")));
    assert_false(ti_slice_equal(TI_SLICE("a"), TI_SLICE("b")));
    assert_true(ti_slice_has_prefix(TI_SLICE("abc"), TI_SLICE("ab")));
    assert_true(ti_slice_has_prefix(TI_SLICE("abc"), TI_SLICE_NONE));
    assert_false(ti_slice_has_prefix(TI_SLICE("abc"), TI_SLICE("abcd")));
    assert_false(ti_slice_has_prefix(TI_SLICE("abc"), TI_SLICE("b")));
}

/* Writes code point c as UTF-8 would, surrogates included; returns the length. */
static size_t put_code_point(uint32_t c, unsigned char out[4])
{
    if (c < 0x80) {
        out[0] = (unsigned char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (unsigned char)(0xC0 | c >> 6);
        out[1] = (unsigned char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (unsigned char)(0xE0 | c >> 12);
        out[1] = (unsigned char)(0x80 | (c >> 6 & 63));
        out[2] = (unsigned char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (unsigned char)(0xF0 | c >> 18);
    out[1] = (unsigned char)(0x80 | (c >> 12 & 63));
    out[2] = (unsigned char)(0x80 | (c >> 6 & 63));
    out[3] = (unsigned char)(0x80 | (c & 63));
    return 4;
}

/* Each code point, also behind ASCII of every alignment and cut short. */
static void every_code_point_is_judged(void **state)
{
    char text[32];
    (void)state;
    for (uint32_t c = 0; c < 0x120000; c++) {
        bool good = c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
        size_t lead = c % 9;
        memset(text, 'x', sizeof(text));
        size_t len = put_code_point(c, (unsigned char *)text + lead);
        ti_slice s = {.data = text, .len = lead + len + c % 11};
        if (ti_slice_is_utf8(s) != good)
            fail_msg("code point %x", c);
        s.len = lead + len - 1;
        if (len > 1)
            assert_false(ti_slice_is_utf8(s));
    }
}

/* All strings of two bytes, and the classic overlong forms. */
static void malformed_bytes_are_refused(void **state)
{
    static const char *const bad[] = {"\xc0\x80",         "\xc1\xbf",
                                      "\xe0\x80\x80",     "\xe0\x9f\xbf",
                                      "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
                                      "\xed\xa0\x80",     "\xfe",
                                      "\xe2\x82",         "12345678\x80"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(ti_slice_is_utf8(ti_slice_of(bad[i])));
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++) {
            char pair[2] = {(char)a, (char)b};
            bool good =
                (a < 0x80 && b < 0x80) || (a >= 0xC2 && a <= 0xDF && b >= 0x80 && b <= 0xBF);
            assert_true(ti_slice_is_utf8((ti_slice){.data = pair, .len = 2}) == good);
        }
}

static void a_buffer_grows_to_its_bound(void **state)
{
    ti_buf b;
    ti_err err;
    (void)state;
    ti_buf_init(&b, 1000);
    for (int i = 0; i < 1000; i++)
        test_ok(ti_buf_append_byte(&b, (unsigned char)i, &err), &err);
    test_status(ti_buf_append_byte(&b, 1, &err), TI_LIMIT_EXCEEDED);
    test_status(ti_buf_append(&b, "xy", 2, NULL), TI_LIMIT_EXCEEDED);
    test_status(ti_buf_append(&b, NULL, 0, &err), TI_OK);
    assert_int_equal(b.len, 1000);
    assert_int_equal(b.capacity, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal((unsigned char)b.data[i], (unsigned char)i);
    ti_buf_clear(&b);
    test_status(ti_buf_reserve(&b, 1001, &err), TI_LIMIT_EXCEEDED);
    test_status(ti_buf_reserve(&b, SIZE_MAX, &err), TI_LIMIT_EXCEEDED);
    ti_buf_free(&b);
    ti_buf_free(&b);
    test_ok(ti_buf_append_text(&b, "again", &err), &err);
    assert_true(ti_slice_equal(ti_buf_slice(&b), TI_SLICE("again")));
    ti_buf_free(&b);
    ti_buf zeroed = {0};
    ti_buf_free(&zeroed);
    assert_int_equal(ti_buf_slice(&zeroed).len, 0);
}

static void formats_of_every_length(void **state)
{
    ti_buf b;
    ti_err err;
    (void)state;
    ti_buf_init(&b, 400);
    for (int width = 1; width <= 400; width++) {
        ti_buf_clear(&b);
        test_ok(ti_buf_append_format(&b, &err, "%*d", width, 5), &err);
        assert_int_equal(b.len, width);
        assert_int_equal(b.data[b.len - 1], '5');
    }
    test_status(ti_buf_append_format(&b, &err, "%200d", 1), TI_LIMIT_EXCEEDED);
    assert_int_equal(b.len, 400);
    ti_buf_free(&b);
}

#ifdef TI_TESTING
static void a_failed_append_changes_nothing(void **state)
{
    ti_buf b;
    ti_err err;
    (void)state;
    ti_buf_init(&b, 100000);
    test_ok(ti_buf_append_slice(&b, TI_SLICE("keep"), &err), &err);
    char big[5000] = {0};
    ti_mem_fail_at(1);
    test_status(ti_buf_append(&b, big, sizeof(big), &err), TI_OUT_OF_MEMORY);
    assert_true(ti_slice_equal(ti_buf_slice(&b), TI_SLICE("keep")));
    for (uint64_t n = 1; n <= 2; n++) {
        ti_mem_fail_at(n);
        test_status(ti_buf_append_format(&b, &err, "%3000d", 1), TI_OUT_OF_MEMORY);
        assert_true(ti_slice_equal(ti_buf_slice(&b), TI_SLICE("keep")));
    }
    ti_mem_fail_at(0);
    ti_buf_free(&b);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparison_is_unsigned_and_prefix_first),
        cmocka_unit_test(every_code_point_is_judged),
        cmocka_unit_test(malformed_bytes_are_refused),
        cmocka_unit_test(a_buffer_grows_to_its_bound),
        cmocka_unit_test(formats_of_every_length),
#ifdef TI_TESTING
        cmocka_unit_test(a_failed_append_changes_nothing),
#endif
    };
    return TEST_RUN(tests);
}

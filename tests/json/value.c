/* Values: types, numbers, strings, paths, iteration, equality. */
#include "json/docs.h"
#include "json/tree.h"

#include <math.h>

#include "base/limits.h"

static ti_json_value at(const ti_json_doc *doc, const char *path)
{
    return ti_json_get_path(ti_json_root(doc), ti_slice_of(path));
}

static void values_have_types(void **state)
{
    static const struct {
        const char *path;
        ti_json_type type;
        const char *raw;
    } cases[] = {
        {"n", TI_JSON_NULL, "null"},
        {"t", TI_JSON_BOOL, "true"},
        {"f", TI_JSON_BOOL, "false"},
        {"i", TI_JSON_INT, "-12"},
        {"d", TI_JSON_DOUBLE, "1.50"},
        {"e", TI_JSON_DOUBLE, "1E2"},
        {"b", TI_JSON_BIG, "9223372036854775808"},
        {"s", TI_JSON_STRING, "\"x\\n\""},
        {"a", TI_JSON_ARRAY, "[ 1 , 2 ]"},
        {"o", TI_JSON_OBJECT, "{\"k\" : 1 }"},
        {"z", TI_JSON_INT, "-0"},
    };
    docs d;
    (void)state;
    docs_init(&d);
    ti_json_doc doc =
        docs_text(&d, "{\"n\":null,\"t\":true,\"f\":false,\"i\":-12,\"d\":1.50,\"e\":1E2,"
                      "\"b\":9223372036854775808,\"s\":\"x\\n\",\"a\":[ 1 , 2 ],"
                      "\"o\":{\"k\" : 1 },\"z\":-0}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ti_json_value v = at(&doc, cases[i].path);
        assert_true(ti_json_is_present(v));
        assert_int_equal(ti_json_type_of(v), cases[i].type);
        assert_true(ti_slice_equal(ti_json_raw(v), ti_slice_of(cases[i].raw)));
        assert_non_null(ti_json_type_name(cases[i].type));
    }
    assert_true(ti_json_bool(at(&doc, "t")));
    assert_false(ti_json_bool(at(&doc, "f")));
    assert_int_equal(ti_json_int(at(&doc, "i")), -12);
    assert_int_equal(ti_json_int(at(&doc, "z")), 0);
    assert_true(ti_json_double(at(&doc, "i")) == -12.0);
    assert_true(ti_json_double(at(&doc, "d")) == 1.5);
    assert_true(ti_json_double(at(&doc, "e")) == 100.0);
    assert_true(ti_json_double(at(&doc, "b")) == 0x1p63);
    docs_free(&d);
}

static void integers_are_exact_to_their_limits(void **state)
{
    static const struct {
        const char *text;
        ti_json_type type;
        int64_t integer;
    } cases[] = {
        {"9223372036854775807", TI_JSON_INT, INT64_MAX},
        {"-9223372036854775808", TI_JSON_INT, INT64_MIN},
        {"9223372036854775808", TI_JSON_BIG, 0},
        {"-9223372036854775809", TI_JSON_BIG, 0},
        {"9999999999999999999", TI_JSON_BIG, 0},
        {"10000000000000000000", TI_JSON_BIG, 0},
        {"18446744073709551616", TI_JSON_BIG, 0},
        {"999999999999999999", TI_JSON_INT, 999999999999999999},
        {"1000000000000000000", TI_JSON_INT, 1000000000000000000},
    };
    docs d;
    (void)state;
    docs_init(&d);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ti_json_doc doc = docs_text(&d, cases[i].text);
        ti_json_value v = ti_json_root(&doc);
        assert_int_equal(ti_json_type_of(v), cases[i].type);
        if (cases[i].type == TI_JSON_INT)
            assert_true(ti_json_int(v) == cases[i].integer);
        assert_true(ti_json_double(v) == strtod(cases[i].text, NULL));
    }
    docs_free(&d);
}

static void doubles_read_as_the_c_library_reads_them(void **state)
{
    static const char *const difficult[] = {
        "2.2250738585072011e-308",
        "2.2250738585072014e-308",
        "4.9e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "1e-400",
        "-1e-400",
        "1e23",
        "8.5e22",
        "9007199254740993.0",
        "0.1e-330",
        "123e-500",
        "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017"
        "977587207096330286416692887910946555547851940402630657488671505820681908902000708383676273"
        "854845817711531764475730270069855571366959622842914819860834936475292719074168444365510704"
        "342711559699508093042880.0",
        "0.000000000000000000000000000000000000000000000000000000000000000000001e69",
    };
    test_random r = test_random_start(1);
    docs d;
    char text[64];
    (void)state;
    docs_init(&d);
    for (size_t i = 0; i < sizeof difficult / sizeof *difficult; i++) {
        ti_json_doc doc = docs_text(&d, difficult[i]);
        assert_true(ti_json_double(ti_json_root(&doc)) == strtod(difficult[i], NULL));
    }
    for (uint64_t n = test_scaled(100000); n > 0; n--) {
        uint64_t bits = test_random_u64(&r);
        double value;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value))
            continue;
        snprintf(text, sizeof text, "%.*e", (int)test_random_below(&r, 20), value);
        if (isinf(strtod(text, NULL)))
            continue; /* rounded up */
        ti_json_doc doc = docs_text(&d, text);
        assert_true(ti_json_double(ti_json_root(&doc)) == strtod(text, NULL));
        ti_arena_reset(&d.arena);
    }
    docs_free(&d);
}

static void strings_are_unescaped(void **state)
{
    static const struct {
        const char *text;
        ti_slice wanted;
    } cases[] = {
        {"\"\"", {"", 0}},
        {"\"abc\"", {"abc", 3}},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", {"\"\\/\b\f\n\r\t", 8}},
        {"\"\\u0000x\"", {"\0x", 2}},
        {"\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"",
         {"\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf", 11}},
        {"\"\\ud83d\\ude00\\uDBFF\\uDFFF\"", {"\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf", 8}},
        {"\"a\\\\\"", {"a\\", 2}},
    };
    docs d;
    (void)state;
    docs_init(&d);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ti_slice text;
        ti_json_doc doc = docs_text(&d, cases[i].text);
        test_ok(ti_json_string(ti_json_root(&doc), &d.arena, &text, &d.err), &d.err);
        assert_true(ti_slice_equal(text, cases[i].wanted));
        bool escaped = strchr(cases[i].text, '\\') != NULL;
        assert_int_equal(text.data == cases[i].text + 1, !escaped); /* borrowed when it can be */
    }
    ti_json_doc doc = docs_text(&d, "\"a\\n\"");
    ti_slice text;
    ti_arena empty;
    ti_arena_init(&empty);
    ti_mem_fail_at(1);
    test_status(ti_json_string(ti_json_root(&doc), &empty, &text, &d.err), TI_OUT_OF_MEMORY);
    ti_mem_fail_at(0);
    ti_arena_free(&empty);
    docs_free(&d);
}

static void paths_pass_objects_only(void **state)
{
    docs d;
    (void)state;
    docs_init(&d);
    ti_json_doc doc = docs_text(
        &d, "{\"a\":{\"b\":{\"c\":1}},\"l\":[{\"x\":1}],\"\\u0064\":{\"\\n\":2},\"a.b\":3}");
    assert_int_equal(ti_json_int(at(&doc, "a.b.c")), 1);
    assert_int_equal(ti_json_int(at(&doc, "d.\n")), 2);
    assert_false(ti_json_is_present(at(&doc, "a.b.c.d")));
    assert_false(ti_json_is_present(at(&doc, "a.x")));
    assert_false(ti_json_is_present(at(&doc, "l.x")));
    assert_true(ti_json_is_present(at(&doc, "")));
    assert_int_equal(ti_json_int(ti_json_get(ti_json_root(&doc), TI_SLICE("a.b"))), 3);
    assert_false(ti_json_is_present(ti_json_get(TI_JSON_ABSENT, TI_SLICE("a"))));
    assert_false(ti_json_is_present(ti_json_get(at(&doc, "a.b.c"), TI_SLICE("a"))));
    docs_free(&d);
}

static void paths_are_checked(void **state)
{
    static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "\xff", "a.\xc3"};
    char longest[TI_PATH_SIZE_MAX + 1];
    ti_err err;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        test_status(ti_json_path_check(ti_slice_of(bad[i]), "index field", &err),
                    TI_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "index field"));
    memset(longest, 'x', sizeof longest);
    test_ok(ti_json_path_check((ti_slice){longest, TI_PATH_SIZE_MAX}, "p", &err), &err);
    test_status(ti_json_path_check((ti_slice){longest, TI_PATH_SIZE_MAX + 1}, "p", &err),
                TI_INVALID_ARGUMENT);
    test_ok(ti_json_path_check(TI_SLICE("a.b c.\xc3\xa9"), "p", &err), &err);
}

static void children_come_in_order(void **state)
{
    docs d;
    ti_json_value child;
    ti_slice key;
    int seen = 0;
    (void)state;
    docs_init(&d);
    ti_json_doc doc = docs_text(&d, "{\"a\":[0,[1,[2]],{},3],\"\\u0062\":{}}");
    ti_json_iter iter = ti_json_iterate(at(&doc, "a"));
    while (ti_json_next(&iter, &child))
        seen++;
    assert_int_equal(seen, 4);
    assert_false(ti_json_next(&iter, &child));
    assert_int_equal(ti_json_count(at(&doc, "a")), 4);
    iter = ti_json_iterate(at(&doc, "b"));
    assert_false(ti_json_next(&iter, &child));
    iter = ti_json_iterate(ti_json_root(&doc));
    assert_true(ti_json_next(&iter, &child));
    test_ok(ti_json_key(child, &d.arena, &key, &d.err), &d.err);
    assert_true(ti_slice_equal(key, TI_SLICE("a")));
    assert_true(ti_json_next(&iter, &child));
    test_ok(ti_json_key(child, &d.arena, &key, &d.err), &d.err);
    assert_true(ti_slice_equal(key, TI_SLICE("b")));
    docs_free(&d);
}

/* ---- equality ---- */

static void equality_is_by_value(void **state)
{
    static const struct {
        const char *left;
        const char *right;
        bool equal;
    } cases[] = {
        {"1", "1.0", true},
        {"100", "1e2", true},
        {"0", "-0.0", true},
        {"1", "2", false},
        {"1.5", "1.50", true},
        {"9007199254740993", "9007199254740992.0", false},
        {"9007199254740992", "9007199254740992.0", true},
        {"9223372036854775807", "9223372036854775807.0", false},
        {"-9223372036854775808", "-9223372036854775808.0", true},
        {"9223372036854775808", "9223372036854775808", true},
        {"9223372036854775808", "9223372036854775809", false},
        {"9223372036854775808", "9223372036854775808.0", false},
        {"\"a\"", "\"\\u0061\"", true},
        {"\"a\"", "\"b\"", false},
        {"null", "false", false},
        {"true", "false", false},
        {"true", "true", true},
        {"null", "null", true},
        {"\"1\"", "1", false},
        {"[]", "{}", false},
        {"[1,2]", "[2,1]", false},
        {"[1]", "[1,1]", false},
        {"[ 1 ]", "[1]", true},
        {"{}", "{ }", true},
        {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true},
        {"{\"a\":1,\"b\":2}", "{\"b\":1,\"a\":2}", false},
        {"{\"a\":1}", "{\"b\":1}", false},
        {"{\"a\":1,\"b\":2,\"c\":3}", "{\"a\":1,\"c\":3,\"d\":2}", false},
        {"{\"\\u0061\":1}", "{\"a\":1}", true},
        {"{\"a\":{\"x\":1,\"y\":[{}]}}", "{\"a\":{\"y\":[{}],\"x\":1}}", true},
        {"{\"a\":null}", "{}", false},
    };
    docs d;
    (void)state;
    docs_init(&d);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ti_json_doc left = docs_text(&d, cases[i].left);
        ti_json_doc right = docs_text(&d, cases[i].right);
        if (docs_equal(&d, &left, &right) != cases[i].equal ||
            docs_equal(&d, &right, &left) != cases[i].equal)
            fail_msg("%s and %s", cases[i].left, cases[i].right);
    }
    docs_free(&d);
}

/* Two prints of one tree are equal whatever the spelling and the order of members. */
static void prints_of_a_tree_are_equal(void **state)
{
    trees t;
    docs d;
    (void)state;
    trees_init(&t, 2);
    docs_init(&d);
    for (uint64_t n = test_scaled(20000); n > 0; n--) {
        t.used = 0;
        tree *root = tree_random(&t, NULL, 4);
        ti_slice first = ti_arena_copy(&d.arena, tree_print(&t, root));
        for (size_t i = 0; i < t.used; i++) { /* shuffle members */
            tree *node = &t.nodes[i];
            if (node->type == 'o' && node->count > 1) {
                size_t a = test_random_below(&t.r, node->count);
                tree *swap = node->children[a];
                node->children[a] = node->children[0];
                node->children[0] = swap;
            }
        }
        docs_same(&d, first, tree_print(&t, root));
        ti_arena_reset(&d.arena);
    }
    docs_free(&d);
    trees_free(&t);
}

static void equality_survives_failing_memory(void **state)
{
    bool done = false;
    docs d;
    (void)state;
    docs_init(&d);
    ti_json_doc left = docs_text(&d, "{\"a\":\"\\n\",\"b\":{\"c\":1,\"d\":2}}");
    ti_json_doc right = docs_text(&d, "{\"b\":{\"d\":2,\"c\":1},\"a\":\"\\n\"}");
    for (uint64_t n = 1; !done; n++) {
        ti_arena a;
        bool equal = false;
        int64_t live = ti_mem_live();
        assert_true(n < 50);
        ti_arena_init(&a);
        ti_mem_fail_at(n);
        ti_status status =
            ti_json_equal(ti_json_root(&left), ti_json_root(&right), &a, &equal, &d.err);
        ti_mem_fail_at(0);
        ti_arena_free(&a);
        assert_int_equal(ti_mem_live(), live);
        done = status == TI_OK;
        assert_true(done ? equal && n > 1 : status == TI_OUT_OF_MEMORY);
    }
    docs_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_have_types),
        cmocka_unit_test(integers_are_exact_to_their_limits),
        cmocka_unit_test(doubles_read_as_the_c_library_reads_them),
        cmocka_unit_test(strings_are_unescaped),
        cmocka_unit_test(paths_pass_objects_only),
        cmocka_unit_test(paths_are_checked),
        cmocka_unit_test(children_come_in_order),
        cmocka_unit_test(equality_is_by_value),
        cmocka_unit_test(prints_of_a_tree_are_equal),
        cmocka_unit_test(equality_survives_failing_memory),
    };
    return TEST_RUN(tests);
}

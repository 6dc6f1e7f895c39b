/* Parsing: what is accepted, what is refused and where, depth and size, failing memory. */
#include "json/docs.h"

#include "base/limits.h"

static void valid_texts_are_accepted(void **state)
{
    static const char *const texts[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-1",
        "1.5",
        "1e5",
        "1E+5",
        "1e-5",
        "0.0",
        "0e0",
        "\"\"",
        "\"a\"",
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        "{\"a\":{}}",
        " [ ] ",
        "\t{\n}\r",
        "[1,2,3]",
        "{\"a\":1,\"b\":2}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0000\"",
        "\"\\u00e9\"",
        "\"\\uD83D\\uDE00\"",
        "\"\xc3\xa9\"",
        "\"\xf0\x9f\x98\x80\"",
        "\"\x7f\"",
        "1e-400",
        "-1e-400",
        "1e-99999999999999999999",
        "0e99999999999999999999",
        "12345678901234567890123456789012345678901234567890",
        "1.7976931348623157e308",
        "{\"\":0}",
        "{\"a\":1,\"A\":2}",
        "[\"\\\\\"]",
        "[\"\\\\\",1]",
        "[\"a\" , \"b\"]",
        "{\"a\" :\"b\" }",
        "\"a]b}c,d:e\"",
        "0.0000000000000000000000000000000000000000000000000000001",
    };
    docs d;
    (void)state;
    docs_init(&d);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        docs_text(&d, texts[i]);
    docs_free(&d);
}

typedef struct refused {
    const char *text;
    const char *at; /* the byte offset that the message must name */
} refused;

static const refused refusals[] = {
    {"", "byte 0"},
    {" ", "byte 0"},
    {"nul", "byte 0"},
    {"nulll", "byte 0"},
    {"True", "byte 0"},
    {"truefalse", "byte 0"},
    {"01", "byte 0"},
    {"-", "byte 0"},
    {"+1", "byte 0"},
    {".5", "byte 0"},
    {"1.", "byte 0"},
    {"1e", "byte 0"},
    {"1e+", "byte 0"},
    {"0x1", "byte 0"},
    {"1a", "byte 0"},
    {"--1", "byte 0"},
    {"-a", "byte 0"},
    {"NaN", "byte 0"},
    {"Infinity", "byte 0"},
    {"[", "byte 1"},
    {"]", "byte 0"},
    {"{", "byte 1"},
    {"}", "byte 0"},
    {"[1", "byte 2"},
    {"[1,", "byte 3"},
    {"[1,]", "byte 3"},
    {"[,1]", "byte 1"},
    {"[1 2]", "byte 3"},
    {"[1}", "byte 2"},
    {"{1}", "byte 1"},
    {"{\"a\"}", "byte 4"},
    {"{\"a\":}", "byte 5"},
    {"{\"a\":1,}", "byte 7"},
    {"{\"a\" 1}", "byte 5"},
    {"{\"a\":1 \"b\":2}", "byte 7"},
    {"{\"a\":1]", "byte 6"},
    {"{,}", "byte 1"},
    {"1 2", "byte 2"},
    {"{} {}", "byte 3"},
    {"[] x", "byte 3"},
    {"null,", "byte 4"},
    {"\"a", "byte 0"},
    {"[\"a]", "byte 1"},
    {"\"a\"b", "byte 3"},
    {"\"a\"\"b\"", "byte 3"},
    {"'a'", "byte 0"},
    {"{a:1}", "byte 1"},
    {"\"\\x\"", "byte 1"},
    {"\"a\\u12\"", "byte 2"},
    {"\"\\u12g4\"", "byte 1"},
    {"\"\\ud800\"", "byte 1"},
    {"\"\\udc00\"", "byte 1"},
    {"\"\\ud800\\u0041\"", "byte 1"},
    {"\"\\ud800\\ud800\"", "byte 1"},
    {"\"x\\ud83d\\ude0\"", "byte 2"},
    {"\"\\ud83d\\n\"", "byte 1"},
    {"\"\\U0041\"", "byte 1"},
    {"\"\n\"", "byte 1"},
    {"\"a\x1f\"", "byte 2"},
    {"\"\t\"", "byte 1"},
    {"[1]\\", "byte 3"},
    {"\\\"a\"", "byte"},
    {"1\\\"a\"", "byte"},
    {"\"\xff\"", "byte 1"},
    {"\"\xc3\"", "byte 1"},
    {"\"\xed\xa0\x80\"", "byte 1"},
    {"\"\xc0\x80\"", "byte 1"},
    {"\"a\xf4\x90\x80\x80\"", "byte 2"},
    {"\xef\xbb\xbf{}", "byte 0"},
    {"1e400", "byte 0"},
    {"[1,-1e309]", "byte 3"},
    {"[1e99999999999999999999]", "byte 1"},
    {"1\xc2\xa0", "byte 0"},
    {"/*x*/1", "byte 0"},
    {"[1,2,3", "byte 6"},
    {"{\"a\":tru}", "byte 5"},
    {"[\"a\",\n\"b\"", "byte 9"},
    {"{\"a\":1,\"a\":2}", "byte 7"},
    {"{\"a\":1,\"\\u0061\":2}", "byte 7"},
    {"[{\"a\":{\"b\":1,\"c\":2,\"b\":3}}]", "byte 19"},
    {":", "byte 0"},
    {",", "byte 0"},
    {"[:]", "byte 1"},
    {"{:1}", "byte 1"},
    {"{\"a\"::1}", "byte 5"},
    {"[1,,2]", "byte 3"},
};

static void invalid_texts_are_refused(void **state)
{
    docs d;
    (void)state;
    docs_init(&d);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        ti_status status = docs_try(&d, ti_slice_of(refusals[i].text));
        if (status != TI_INVALID_ARGUMENT || strstr(d.err.message, refusals[i].at) == NULL)
            fail_msg("'%s': %d, '%s' does not name %s", refusals[i].text, status, d.err.message,
                     refusals[i].at);
    }
    /* NUL bytes are no end of text */
    test_status(docs_try(&d, TI_SLICE("1\0")), TI_INVALID_ARGUMENT);
    test_status(docs_try(&d, TI_SLICE("true\0")), TI_INVALID_ARGUMENT);
    test_status(docs_try(&d, TI_SLICE("\"a\"\0")), TI_INVALID_ARGUMENT);
    test_status(docs_try(&d, TI_SLICE("\"\0\"")), TI_INVALID_ARGUMENT);
    test_status(docs_try(&d, TI_SLICE("\0")), TI_INVALID_ARGUMENT);
    test_status(docs_try(&d, TI_SLICE("[1\0]")), TI_INVALID_ARGUMENT);
    docs_free(&d);
}

/* A message never shows what the document holds. */
static void messages_hold_no_contents(void **state)
{
    docs d;
    (void)state;
    docs_init(&d);
    test_status(docs_try(&d, TI_SLICE("{\"sesame\":1,\"sesame\":secret}")), TI_INVALID_ARGUMENT);
    assert_null(strstr(d.err.message, "sesame"));
    assert_null(strstr(d.err.message, "secret"));
    docs_free(&d);
}

/* depth brackets, closed again. */
static ti_slice nested(size_t depth, bool objects)
{
    static char text[8 * 1024];
    size_t len = 0;
    for (size_t i = 0; i < depth; i++) {
        memcpy(text + len, objects ? "{\"a\":" : "[", objects ? 5 : 1);
        len += objects ? 5 : 1;
    }
    text[len++] = '1';
    for (size_t i = 0; i < depth; i++)
        text[len++] = objects ? '}' : ']';
    return (ti_slice){text, len};
}

static void depth_is_bounded(void **state)
{
    docs d;
    (void)state;
    docs_init(&d);
    for (int objects = 0; objects < 2; objects++) {
        assert_int_equal(docs_try(&d, nested(TI_JSON_DEPTH_MAX - 1, objects == 1)), TI_OK);
        assert_int_equal(docs_try(&d, nested(TI_JSON_DEPTH_MAX, objects == 1)), TI_OK);
        test_status(docs_try(&d, nested(TI_JSON_DEPTH_MAX + 1, objects == 1)), TI_LIMIT_EXCEEDED);
        test_status(docs_try(&d, nested(1000, objects == 1)), TI_LIMIT_EXCEEDED);
    }
    ti_json_parser hydrated;
    ti_json_doc doc;
    ti_json_parser_init_hydrated(&hydrated);
    test_ok(
        ti_json_parse(&hydrated, &d.arena, nested(TI_JSON_DEPTH_HYDRATED_MAX, false), &doc, &d.err),
        &d.err);
    test_status(ti_json_parse(&hydrated, &d.arena, nested(TI_JSON_DEPTH_HYDRATED_MAX + 1, true),
                              &doc, &d.err),
                TI_LIMIT_EXCEEDED);
    ti_json_parser_free(&hydrated);
    docs_free(&d);
}

static void size_is_bounded(void **state)
{
    static char text[TI_DOCUMENT_SIZE_MAX + 2];
    docs d;
    (void)state;
    docs_init(&d);
    memset(text, 'x', sizeof text);
    for (size_t len = TI_DOCUMENT_SIZE_MAX - 1; len <= TI_DOCUMENT_SIZE_MAX + 1; len++) {
        text[0] = '"';
        text[len - 1] = '"';
        test_status(docs_try(&d, (ti_slice){text, len}),
                    len > TI_DOCUMENT_SIZE_MAX ? TI_LIMIT_EXCEEDED : TI_OK);
        text[len - 1] = 'x';
    }
    docs_free(&d);
}

/* Bombs: the longest documents of the worst shapes are read or refused, and the parser stays
 * usable. */
static void bombs_do_no_harm(void **state)
{
    static const char *const shapes[] = {"[",         "{\"a\":", "[]",     "1,",  "\"", "\\",  "{}",
                                         "\"\\u0061", "-",       "\"a\":", "[1,", ",",  "\xc3"};
    char *text = malloc(TI_DOCUMENT_SIZE_MAX);
    docs d;
    (void)state;
    assert_non_null(text);
    docs_init(&d);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        size_t len = strlen(shapes[s]);
        size_t size = 0;
        for (; size + len <= TI_DOCUMENT_SIZE_MAX; size += len)
            memcpy(text + size, shapes[s], len);
        ti_status status = docs_try(&d, (ti_slice){text, size});
        assert_true(status == TI_INVALID_ARGUMENT || status == TI_LIMIT_EXCEEDED);
    }
    /* the widest array */
    text[0] = '[';
    for (size_t i = 1; i < TI_DOCUMENT_SIZE_MAX - 1; i++)
        text[i] = i % 2 == 1 ? '7' : ',';
    text[TI_DOCUMENT_SIZE_MAX - 2] = ' ';
    text[TI_DOCUMENT_SIZE_MAX - 1] = ']';
    ti_json_doc doc = docs_parse(&d, (ti_slice){text, TI_DOCUMENT_SIZE_MAX});
    assert_int_equal(ti_json_count(ti_json_root(&doc)), (TI_DOCUMENT_SIZE_MAX - 2) / 2);
    docs_text(&d, "{\"a\":1}");
    docs_free(&d);
    free(text);
}

/* The parser reads nothing past the text: each text ends where its memory ends (the sanitizers
 * watch). */
static void nothing_is_read_past_the_end(void **state)
{
    docs d;
    (void)state;
    docs_init(&d);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        size_t len = strlen(refusals[i].text);
        char *text = malloc(len == 0 ? 1 : len);
        assert_non_null(text);
        memcpy(text, refusals[i].text, len);
        test_status(docs_try(&d, (ti_slice){text, len}), TI_INVALID_ARGUMENT);
        free(text);
    }
    docs_free(&d);
}

/* Once it is warm a parser allocates nothing, whatever it is given in between. */
static void a_parser_is_used_again_and_again(void **state)
{
    static _Alignas(16) char memory[16 * 1024];
    docs d;
    char text[64];
    uint64_t warm = 0;
    (void)state;
    docs_init(&d);
    for (int i = 0; i < 1000; i++) {
        ti_arena_init_in(&d.arena, memory, sizeof memory);
        int len = snprintf(text, sizeof text, "{\"id\":\"%d\",\"n\":%d}", i, i);
        ti_json_doc doc = docs_parse(&d, (ti_slice){text, (size_t)len});
        assert_int_equal(ti_json_int(ti_json_get(ti_json_root(&doc), TI_SLICE("n"))), i);
        test_status(docs_try(&d, TI_SLICE("{\"id\":")), TI_INVALID_ARGUMENT);
        if (i == 0)
            warm = ti_mem_count();
        assert_int_equal(ti_mem_count(), warm);
        ti_arena_free(&d.arena);
    }
    docs_free(&d);
}

static void every_allocation_may_fail(void **state)
{
    static const char text[] =
        "{\"a\":[1,2,{\"b\":\"c\\n\"}],\"d\\u0041\":2,\"e\":3,\"f\":4,\"g\":5,\"h\":6,"
        "\"i\":7,\"j\":8,\"k\":9,\"l\":10}";
    bool done = false;
    (void)state;
    for (uint64_t n = 1; !done; n++) {
        docs d;
        int64_t live = ti_mem_live();
        assert_true(n < 50);
        docs_init(&d);
        ti_mem_fail_at(n);
        ti_status status = docs_try(&d, TI_SLICE(text));
        ti_mem_fail_at(0);
        assert_true(status == TI_OK || status == TI_OUT_OF_MEMORY);
        done = status == TI_OK;
        assert_true(!done || n > 4);
        docs_text(&d, text); /* the parser is usable after a failure */
        docs_free(&d);
        assert_int_equal(ti_mem_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_texts_are_accepted),
        cmocka_unit_test(invalid_texts_are_refused),
        cmocka_unit_test(messages_hold_no_contents),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(size_is_bounded),
        cmocka_unit_test(bombs_do_no_harm),
        cmocka_unit_test(nothing_is_read_past_the_end),
        cmocka_unit_test(a_parser_is_used_again_and_again),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return TEST_RUN(tests);
}

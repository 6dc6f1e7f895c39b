/* Writing and pulling: what is written reads back, tokens come in order, documents survive the
 * round trip. */
#include "json/docs.h"
#include "json/tree.h"

#include <math.h>

static void everything_is_written(void **state)
{
    ti_err err;
    ti_buf out;
    ti_json_writer w;
    (void)state;
    ti_buf_init(&out, 10000);
    ti_json_writer_init(&w, &out, &err);
    ti_json_write_object_begin(&w);
    ti_json_write_key(&w, TI_SLICE("a\"\n"));
    ti_json_write_array_begin(&w);
    ti_json_write_null(&w);
    ti_json_write_bool(&w, true);
    ti_json_write_bool(&w, false);
    ti_json_write_int(&w, INT64_MIN);
    ti_json_write_array_begin(&w);
    ti_json_write_array_end(&w);
    ti_json_write_object_begin(&w);
    ti_json_write_object_end(&w);
    ti_json_write_array_end(&w);
    ti_json_write_key(&w, TI_SLICE(""));
    ti_json_write_raw(&w, TI_SLICE("[ 1 ]"));
    ti_json_write_key(&w, TI_SLICE("s"));
    ti_json_write_string(&w, TI_SLICE("\\/\b\f\n\r\t\x01\x1f\0\x7f\xc3\xa9"));
    ti_json_write_object_end(&w);
    test_ok(ti_json_writer_end(&w), &err);
    ti_slice wanted =
        TI_SLICE("{\"a\\\"\\n\":[null,true,false,-9223372036854775808,[],{}],\"\":[ 1 ],"
                 "\"s\":\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u0000\x7f\xc3\xa9\"}");
    if (!ti_slice_equal(ti_buf_slice(&out), wanted))
        fail_msg("%.*s", (int)out.len, out.data);
    ti_buf_free(&out);
}

static void doubles_stay_doubles(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{1.0, "1.0"},
                 {0.0, "0.0"},
                 {-0.0, "-0.0"},
                 {0.1, "0.1"},
                 {1e22, "1e+22"},
                 {-2.5, "-2.5"},
                 {123456789012345680.0, "123456789012345680.0"},
                 {4.9406564584124654e-324, "5e-324"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"}};
    test_random r = test_random_start(1);
    docs d;
    ti_buf out;
    ti_json_writer w;
    (void)state;
    docs_init(&d);
    ti_buf_init(&out, 100);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ti_buf_clear(&out);
        ti_json_writer_init(&w, &out, &d.err);
        ti_json_write_double(&w, cases[i].value);
        test_ok(ti_json_writer_end(&w), &d.err);
        if (!ti_slice_equal(ti_buf_slice(&out), ti_slice_of(cases[i].text)))
            fail_msg("%.*s instead of %s", (int)out.len, out.data, cases[i].text);
    }
    for (uint64_t n = test_scaled(200000); n > 0; n--) {
        uint64_t bits = test_random_u64(&r);
        double value;
        memcpy(&value, &bits, sizeof value);
        if (test_random_one_in(&r, 3))
            value = (double)(int64_t)(bits >> test_random_below(&r, 60));
        if (!isfinite(value))
            continue;
        ti_buf_clear(&out);
        ti_json_writer_init(&w, &out, &d.err);
        ti_json_write_double(&w, value);
        ti_json_doc doc = docs_parse(&d, ti_buf_slice(&out));
        assert_int_equal(ti_json_type_of(ti_json_root(&doc)), TI_JSON_DOUBLE);
        double read = ti_json_double(ti_json_root(&doc));
        assert_memory_equal(&read, &value, sizeof value);
        ti_arena_reset(&d.arena);
    }
    ti_buf_free(&out);
    docs_free(&d);
}

/* The first failure sticks, and nothing is written after it. */
static void failures_stick(void **state)
{
    ti_err err;
    ti_buf out;
    ti_json_writer w;
    (void)state;
    ti_buf_init(&out, 10000);
    for (int kind = 0; kind < 4; kind++) {
        ti_buf_clear(&out);
        ti_json_writer_init(&w, &out, &err);
        ti_json_write_array_begin(&w);
        if (kind == 0)
            ti_json_write_double(&w, NAN);
        else if (kind == 1)
            ti_json_write_double(&w, -INFINITY);
        else
            ti_json_write_string(&w, kind == 2 ? TI_SLICE("\xff") : TI_SLICE("\xed\xa0\x80"));
        size_t len = out.len;
        ti_json_write_int(&w, 1);
        ti_json_write_string(&w, TI_SLICE("x"));
        assert_int_equal(out.len, len);
        test_status(ti_json_writer_end(&w), TI_INVALID_ARGUMENT);
    }
    ti_buf_free(&out);
    for (size_t max = 1; max < 8; max++) {
        ti_buf_init(&out, max);
        ti_json_writer_init(&w, &out, &err);
        ti_json_write_array_begin(&w);
        ti_json_write_string(&w, TI_SLICE("a\n"));
        ti_json_write_array_end(&w);
        test_status(ti_json_writer_end(&w), max < 7 ? TI_LIMIT_EXCEEDED : TI_OK);
        ti_buf_free(&out);
    }
}

/* ---- pulling ---- */

static void tokens_come_in_order(void **state)
{
    static const ti_json_token_type wanted[] = {
        TI_JSON_TOKEN_OBJECT_BEGIN, TI_JSON_TOKEN_KEY,        TI_JSON_TOKEN_ARRAY_BEGIN,
        TI_JSON_TOKEN_INT,          TI_JSON_TOKEN_DOUBLE,     TI_JSON_TOKEN_BIG,
        TI_JSON_TOKEN_BOOL,         TI_JSON_TOKEN_NULL,       TI_JSON_TOKEN_ARRAY_BEGIN,
        TI_JSON_TOKEN_ARRAY_END,    TI_JSON_TOKEN_ARRAY_END,  TI_JSON_TOKEN_KEY,
        TI_JSON_TOKEN_STRING,       TI_JSON_TOKEN_KEY,        TI_JSON_TOKEN_OBJECT_BEGIN,
        TI_JSON_TOKEN_OBJECT_END,   TI_JSON_TOKEN_OBJECT_END, TI_JSON_TOKEN_END,
        TI_JSON_TOKEN_END};
    docs d;
    ti_json_reader reader;
    ti_json_token token;
    (void)state;
    docs_init(&d);
    ti_json_doc doc = docs_text(
        &d, "{\"k\\n\":[7,1.5,12345678901234567890,true,null,[]],\"s\":\"\\u00e9\",\"o\":{}}");
    ti_json_reader_init(&reader, ti_json_root(&doc));
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        test_ok(ti_json_reader_next(&reader, &token, &d.err), &d.err);
        assert_int_equal(token.type, wanted[i]);
        if (i == 0)
            assert_int_equal(token.count, 3);
        if (i == 1)
            assert_true(ti_slice_equal(token.text, TI_SLICE("k\n")));
        if (i == 3)
            assert_true(token.integer == 7 && token.number == 7.0);
        if (i == 5)
            assert_true(ti_slice_equal(token.text, TI_SLICE("12345678901234567890")));
        if (i == 6)
            assert_true(token.boolean);
        if (i == 12)
            assert_true(ti_slice_equal(token.text, TI_SLICE("\xc3\xa9")));
    }
    ti_json_reader_free(&reader);
    docs_free(&d);
}

/* A value inside a document is read alone: its own key and its neighbours are not part of it. */
static void a_part_is_read_alone(void **state)
{
    docs d;
    ti_json_reader reader;
    ti_json_token token;
    (void)state;
    docs_init(&d);
    ti_json_doc doc = docs_text(&d, "{\"a\":[1],\"b\":2}");
    ti_json_reader_init(&reader, ti_json_get(ti_json_root(&doc), TI_SLICE("a")));
    static const ti_json_token_type wanted[] = {TI_JSON_TOKEN_ARRAY_BEGIN, TI_JSON_TOKEN_INT,
                                                TI_JSON_TOKEN_ARRAY_END, TI_JSON_TOKEN_END};
    for (size_t i = 0; i < 4; i++) {
        test_ok(ti_json_reader_next(&reader, &token, &d.err), &d.err);
        assert_int_equal(token.type, wanted[i]);
    }
    ti_json_reader_free(&reader);
    docs_free(&d);
}

static ti_status copy_token(ti_json_writer *w, const ti_json_token *token)
{
    switch (token->type) {
    case TI_JSON_TOKEN_NULL:
        ti_json_write_null(w);
        break;
    case TI_JSON_TOKEN_BOOL:
        ti_json_write_bool(w, token->boolean);
        break;
    case TI_JSON_TOKEN_INT:
        ti_json_write_int(w, token->integer);
        break;
    case TI_JSON_TOKEN_DOUBLE:
        ti_json_write_double(w, token->number);
        break;
    case TI_JSON_TOKEN_BIG:
        ti_json_write_raw(w, token->text);
        break;
    case TI_JSON_TOKEN_STRING:
        ti_json_write_string(w, token->text);
        break;
    case TI_JSON_TOKEN_KEY:
        ti_json_write_key(w, token->text);
        break;
    case TI_JSON_TOKEN_ARRAY_BEGIN:
        ti_json_write_array_begin(w);
        break;
    case TI_JSON_TOKEN_ARRAY_END:
        ti_json_write_array_end(w);
        break;
    case TI_JSON_TOKEN_OBJECT_BEGIN:
        ti_json_write_object_begin(w);
        break;
    case TI_JSON_TOKEN_OBJECT_END:
        ti_json_write_object_end(w);
        break;
    default:
        break;
    }
    return w->status;
}

/* Reads a document token by token and writes each of them. */
static ti_status copy_by_tokens(const ti_json_doc *doc, ti_buf *out, ti_err *err)
{
    ti_json_reader reader;
    ti_json_token token = {.type = TI_JSON_TOKEN_NULL};
    ti_json_writer w;
    ti_status status = TI_OK;
    ti_json_reader_init(&reader, ti_json_root(doc));
    ti_json_writer_init(&w, out, err);
    while (status == TI_OK && token.type != TI_JSON_TOKEN_END) {
        status = ti_json_reader_next(&reader, &token, err);
        if (status == TI_OK)
            status = copy_token(&w, &token);
    }
    ti_json_reader_free(&reader);
    return status == TI_OK ? ti_json_writer_end(&w) : status;
}

static void documents_survive_the_round_trip(void **state)
{
    trees t;
    docs d;
    (void)state;
    trees_init(&t, 5);
    docs_init(&d);
    for (uint64_t n = test_scaled(40000); n > 0; n--) {
        ti_buf out;
        t.used = 0;
        ti_slice text = tree_print(&t, tree_random(&t, NULL, 4));
        ti_json_doc doc = docs_parse(&d, text);
        ti_buf_init(&out, TREE_TEXT_MAX);
        test_ok(copy_by_tokens(&doc, &out, &d.err), &d.err);
        ti_json_doc copy = docs_parse(&d, ti_buf_slice(&out));
        assert_true(docs_equal(&d, &doc, &copy));
        assert_int_equal(doc.node_count, copy.node_count);
        ti_buf_free(&out);
        ti_arena_reset(&d.arena);
    }
    docs_free(&d);
    trees_free(&t);
}

static void every_allocation_may_fail(void **state)
{
    bool done = false;
    docs d;
    (void)state;
    docs_init(&d);
    ti_json_doc doc = docs_text(&d, "{\"a\\n\":\"b\\n\",\"c\":[1,2.5,\"\\u0041\\u0041\\u0041\"]}");
    for (uint64_t n = 1; !done; n++) {
        ti_buf out;
        int64_t live = ti_mem_live();
        assert_true(n < 100);
        ti_buf_init(&out, 1000);
        ti_mem_fail_at(n);
        ti_status status = copy_by_tokens(&doc, &out, &d.err);
        ti_mem_fail_at(0);
        done = status == TI_OK;
        assert_true(done ? n > 1 : status == TI_OUT_OF_MEMORY);
        ti_buf_free(&out);
        assert_int_equal(ti_mem_live(), live);
    }
    docs_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_written),
        cmocka_unit_test(doubles_stay_doubles),
        cmocka_unit_test(failures_stick),
        cmocka_unit_test(tokens_come_in_order),
        cmocka_unit_test(a_part_is_read_alone),
        cmocka_unit_test(documents_survive_the_round_trip),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return TEST_RUN(tests);
}

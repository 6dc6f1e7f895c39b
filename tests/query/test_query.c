/* The rules of queries: values, bounds, limits, order, what is read, explain, and what bad ones
 * get. */
#include "model/support.h"

static const char *spec = "{\"table\":\"user\",\"indexes\":[{\"name\":\"by_city\",\"fields\":[{"
                          "\"name\":\"city\",\"type\":\"string\"},{\"name\":"
                          "\"age\",\"type\":\"number\"},{\"name\":\"ok\",\"type\":\"boolean\"}]},{"
                          "\"name\":\"newest\",\"fields\":[{\"name\":"
                          "\"age\",\"type\":\"number\",\"order\":\"desc\"}]},{\"name\":\"by_tag\","
                          "\"fields\":[{\"name\":\"tags\",\"type\":"
                          "\"string\"}]},{\"name\":\"cover\",\"covering\":true,\"fields\":[{"
                          "\"name\":\"tags\",\"type\":\"string\"}]}],"
                          "\"unique_indexes\":[{\"name\":\"u_mail\",\"fields\":[{\"name\":"
                          "\"mails\",\"type\":\"string\"}]}]}";

static ti_model *prepare(db *d)
{
    db_open(d, NULL);
    ti_model *m = declare(d, spec);
    OK(d, build(d, m, NULL,
                "{\"id\":\"a\",\"city\":\"Rome\",\"age\":30,\"ok\":true,\"tags\":[\"x\",\"y\"]}"));
    OK(d, build(d, m, NULL,
                "{\"id\":\"b\",\"city\":\"Rome\",\"age\":20,\"ok\":false,\"tags\":[\"y\",\"z\","
                "\"y\"]}"));
    OK(d, build(d, m, NULL,
                "{\"id\":\"c\",\"city\":\"Rome\",\"age\":null,\"mails\":[\"c1\",\"c2\"]}"));
    OK(d, build(d, m, NULL, "{\"id\":\"d\",\"city\":\"Rostock\",\"age\":-5.5,\"tags\":[]}"));
    OK(d, build(d, m, NULL, "{\"id\":\"e\",\"city\":\"\",\"age\":1e3,\"mails\":[\"e1\"]}"));
    OK(d, build(d, m, NULL, "{\"id\":\"f\"}"));
    return m;
}

static void values_and_bounds(void **state)
{
    db d;
    (void)state;
    ti_model *m = prepare(&d);
    static const char *const cases[][2] = {
        {"by_city", "f e c b a d"},
        {"by_city reverse", "d a b c e f"},
        {"by_city \"Rome\"", "c b a"},
        {"by_city \"Rome\" null", "c"},
        {"by_city null", "f"},
        {"by_city \"Rome\" 30 true", "a"},
        {"by_city \"Rome\" 30.0", "a"},
        {"by_city \"Rome\" 3e1", "a"},
        {"by_city \"Rome\" 31", ""},
        {"by_city \"Rome\" <30", "b"}, /* null is not less */
        {"by_city \"Rome\" >=20", "b a"},
        {"by_city \"Rome\" >20", "a"},
        {"by_city \"Rome\" >20 <30", ""},
        {"by_city \"Rome\" >=20 <=30 reverse", "a b"},
        {"by_city \"Rome\" >30 <20", ""},
        {"by_city \"Rome\" 30 >=false", "a"},
        {"by_city ^\"Ro\"", "c b a d"},
        {"by_city ^\"\"", "e c b a d"},
        {"by_city ^\"Ros\"", "d"},
        {"by_city ^\"Rx\"", ""},
        {"by_city >\"Rome\"", "d"},
        {"by_city <\"Rome\"", "e"},
        {"by_city >=\"\"", "e c b a d"},
        {"newest", "e a b d c f"},
        {"newest reverse", "f c d b a e"},
        {"newest >=20", "e a b"},
        {"newest <20", "d"},
        {"newest limit=2", "e a"},
        {"by_tag", "c d e f a b"},
        {"by_tag >=\"y\"", "a b"},
        {"by_tag \"y\" reverse", "b a"},
        {"by_tag reverse", "b a f e d c"},
        {"by_tag >\"x\" reverse", "b a"},
        {"by_tag keys", "c d e f a b"},
        {"cover", "c d e f a b"},
        {"cover reverse keys", "b a f e d c"},
        {"cover \"z\"", "b"},
        {"u_mail", "c e"},
        {"u_mail reverse", "e c"},
        {"u_mail \"c2\"", "c"},
        {"u_mail >\"c1\" keys", "c e"},
        {"u_mail null", ""},
        {"*", "a b c d e f"},
        {"* reverse limit=2", "f e"},
        {"* keys limit=1", "a"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *got = ids(&d, m, NULL, cases[i][0], NULL);
        if (strcmp(got, cases[i][1]) != 0)
            print_error("%s\n", cases[i][0]);
        assert_string_equal(got, cases[i][1]);
    }
    ti_model_unref(m);
    db_close(&d);
}

static void bad_queries(void **state)
{
    db d;
    ti_query *q = NULL;
    (void)state;
    ti_model *m = prepare(&d);
    EXPECT(&d, TI_INVALID_ARGUMENT, ti_query_new(m, S("nope"), &q, &d.err));
    SAYS(&d, "no index \"nope\"");
    static const struct {
        const char *words;
        const char *says;
    } cases[] = {
        {"by_city 5", "\"city\" must be a string, not integer"},
        {"newest \"20230101\"", "\"age\" must be a number, not string"},
        {"newest >\"x\"", "must be a number"},
        {"newest true", "not boolean"},
        {"newest [1]", "not array"},
        {"newest {}", "not object"},
        {"newest 9223372036854775808", "must be a number, not"},
        {"newest >null", "not null"},
        {"newest >", "not missing"},
        {"by_city \"Rome\" \"x\"", "\"age\""},
        {"newest ^\"a\"", "must be a number"},
        {"by_city ^5", "must be a string"},
        {"newest 1 2", "more values"},
        {"newest 1 >2", "more values"},
        {"by_city \"a\" 1 true true", "more values"},
        {"* 1", "no values"},
        {"* >1", "no values"},
        {"by_city rel=friends", "no relationship \"friends\""},
        {"by_city cursor=abc", ""},
        {"by_city tru", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ti_status status = query_status(&d, m, NULL, cases[i].words);
        if (status != TI_INVALID_ARGUMENT)
            print_error("%s\n", cases[i].words);
        EXPECT(&d, TI_INVALID_ARGUMENT, status);
        SAYS(&d, cases[i].says);
    }
    OK(&d, ti_query_new(m, S("newest"), &q, &d.err));
    EXPECT(&d, TI_INVALID_ARGUMENT, ti_query_limit(q, 0, &d.err));
    EXPECT(&d, TI_INVALID_ARGUMENT, ti_query_limit(q, TI_PAGE_ITEMS_MAX + 1, &d.err));
    OK(&d, ti_query_limit(q, TI_PAGE_ITEMS_MAX, &d.err));
    OK(&d, ti_query_bound(q, TI_BOUND_GT, S("1"), &d.err));
    EXPECT(&d, TI_INVALID_ARGUMENT, ti_query_bound(q, TI_BOUND_GTE, S("1"), &d.err));
    EXPECT(&d, TI_INVALID_ARGUMENT, ti_query_bound(q, TI_BOUND_STARTS_WITH, S("\"\""), &d.err));
    EXPECT(&d, TI_INVALID_ARGUMENT, ti_query_bound(q, (ti_bound)9, S("1"), &d.err));
    for (size_t i = 0; i < TI_INDEX_FIELDS_MAX; i++)
        OK(&d, ti_query_value(q, S("1"), &d.err));
    EXPECT(&d, TI_LIMIT_EXCEEDED, ti_query_value(q, S("1"), &d.err));
    ti_query_free(q);
    ti_model_unref(m);
    db_close(&d);
}

static const char *explained(db *d, ti_model *m, const char *words)
{
    ti_buf text;
    ti_buf_init(&text, 4096);
    ti_query *q = query_of(d, m, words);
    OK(d, ti_query_explain(q, NULL, &text, &d->call, &d->err));
    ti_query_free(q);
    const char *out = T(ti_buf_slice(&text));
    ti_buf_free(&text);
    return out;
}

static void explain(void **state)
{
    db d;
    (void)state;
    ti_model *m = prepare(&d);
    assert_string_equal(explained(&d, m, "by_city \"secret\" >17 <=30 reverse limit=7"),
                        "{\"table\":\"user\",\"index\":\"by_city\",\"version\":1,\"unique\":false,"
                        "\"covering\":false,"
                        "\"state\":\"readable\",\"equal\":[\"city\"],\"range\":{\"field\":\"age\","
                        "\"bounds\":[\"gt\",\"lte\"]"
                        "},\"direction\":\"reverse\",\"limit\":7,\"cursor\":false,\"keys_only\":"
                        "false,\"reads\":\"entries "
                        "and their records\",\"deduplicates\":true,\"relationships\":[]}");
    assert_non_null(strstr(explained(&d, m, "cover \"x\""), "\"reads\":\"entries\""));
    assert_non_null(strstr(explained(&d, m, "cover \"x\""), "\"deduplicates\":false"));
    assert_non_null(strstr(explained(&d, m, "*"), "\"scan\":true"));
    ti_model_unref(m);
    db_close(&d);
}

static void first_count_copy(void **state)
{
    db d;
    ti_document first;
    uint64_t count;
    ti_query *copy;
    (void)state;
    ti_model *m = prepare(&d);
    ti_query *q = query_of(&d, m, "newest >=-10 limit=1");
    OK(&d, ti_query_first(q, NULL, &d.a, &first, &d.call, &d.err));
    assert_string_equal(T(first.json),
                        "{\"id\":\"e\",\"city\":\"\",\"age\":1e3,\"mails\":[\"e1\"]}");
    assert_true(first.version > 0);
    OK(&d, ti_query_count(q, NULL, &count, &d.call, &d.err));
    assert_int_equal(count, 4); /* whatever the limit */
    OK(&d, ti_query_copy(q, &copy, &d.err));
    ti_query_free(q);
    ti_query_reverse(copy, true);
    OK(&d, ti_query_first(copy, NULL, &d.a, &first, &d.call, &d.err));
    assert_string_equal(T(first.id), "d");
    ti_query_keys_only(copy, true);
    OK(&d, ti_query_first(copy, NULL, &d.a, &first, &d.call, &d.err));
    assert_null(first.json.data);
    ti_query_free(copy);
    q = query_of(&d, m, "newest >5000");
    EXPECT(&d, TI_NOT_FOUND, ti_query_first(q, NULL, &d.a, &first, &d.call, &d.err));
    ti_query_free(q);
    ti_model_unref(m);
    db_close(&d);
}

/* Pages end at 64 MiB, also when it is hydration that makes them large. */
static void large_pages(void **state)
{
    db d;
    static char text[1000001];
    size_t total = 0;
    (void)state;
    db_open(&d, NULL);
    ti_model *big = declare(
        &d, "{\"table\":\"big\",\"indexes\":[{\"name\":\"n\",\"fields\":[{\"name\":\"n\",\"type\":"
            "\"number\"}]}]}");
    ti_model *holder = declare(&d, "{\"table\":\"holder\",\"relationships\":[{\"source_field_"
                                   "name\":\"ids\",\"destination_field_name\":"
                                   "\"all\",\"model\":\"big\"}]}");
    memset(text, 'x', 1000000);
    for (int i = 0; i < 80; i++) {
        char *json = ti_arena_format(&d.a, "{\"id\":\"%03d\",\"n\":%d,\"t\":\"%s\"}", i, i, text);
        OK(&d, build(&d, big, NULL, json));
        ti_arena_reset(&d.a);
    }
    ti_page *page = page_of(&d, big, NULL, "n limit=1000");
    assert_int_equal(page->count, TI_PAGE_SIZE_MAX / 1000030);
    assert_true(page->cursor.len > 0);
    ti_query *q = query_of(&d, big, "n limit=1000");
    OK(&d, ti_query_cursor(q, page->cursor, &d.err));
    total += page->count;
    ti_page_free(page);
    OK(&d, ti_query_execute(q, NULL, &page, &d.call, &d.err));
    total += page->count;
    assert_int_equal(total, 80);
    assert_int_equal(page->cursor.len, 0);
    ti_page_free(page);
    ti_query_free(q);
    for (int i = 0; i < 8; i++) {
        char json[200];
        snprintf(json, sizeof json,
                 "{\"id\":\"h%d\",\"ids\":[\"000\",\"001\",\"002\",\"003\",\"004\",\"005\",\"006\","
                 "\"007\",\"008\",\"009\","
                 "\"010\",\"011\",\"012\",\"013\",\"014\"]}",
                 i);
        OK(&d, build(&d, holder, NULL, json));
    }
    page = page_of(&d, holder, NULL, "* rel=all");
    assert_int_equal(page->count, 4);
    assert_true(page->cursor.len > 0);
    ti_page_free(page);
    ti_model_unref(big);
    ti_model_unref(holder);
    db_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_bounds), cmocka_unit_test(bad_queries),
        cmocka_unit_test(explain),           cmocka_unit_test(first_count_copy),
        cmocka_unit_test(large_pages),
    };
    return TEST_RUN(tests);
}

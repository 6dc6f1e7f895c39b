/* Predicates: what they hold for, what is refused. */
#include "json/docs.h"

#include "base/limits.h"

static bool holds(docs *d, const char *spec, const char *text)
{
    ti_json_where *where = NULL;
    ti_json_doc s = docs_text(d, spec);
    ti_json_doc doc = docs_text(d, text);
    test_ok(ti_json_where_compile(ti_json_root(&s), &d->arena, &where, &d->err), &d->err);
    assert_non_null(where);
    return ti_json_where_holds(where, ti_json_root(&doc));
}

static void predicates_hold_or_not(void **state)
{
    static const struct {
        const char *spec;
        const char *doc;
        bool holds;
    } cases[] = {
        {"{}", "{}", true},
        {"{\"s\":\"active\"}", "{\"s\":\"active\"}", true},
        {"{\"s\":\"active\"}", "{\"s\":\"acti\\u0076e\"}", true},
        {"{\"s\":\"acti\\u0076e\"}", "{\"s\":\"active\"}", true},
        {"{\"s\":\"active\"}", "{\"s\":\"activ\"}", false},
        {"{\"s\":\"active\"}", "{\"s\":\"actives\"}", false},
        {"{\"s\":\"active\"}", "{}", false},
        {"{\"s\":\"active\"}", "{\"s\":null}", false},
        {"{\"s\":\"1\"}", "{\"s\":1}", false},
        {"{\"s\":[\"a\",\"b\"]}", "{\"s\":\"b\"}", true},
        {"{\"s\":[\"a\",\"b\"]}", "{\"s\":\"c\"}", false},
        {"{\"s\":[\"a\",null]}", "{}", true},
        {"{\"s\":null}", "{}", true},
        {"{\"s\":null}", "{\"s\":null}", true},
        {"{\"s\":null}", "{\"s\":false}", false},
        {"{\"s.t\":null}", "{\"s\":1}", true},
        {"{\"n\":1}", "{\"n\":1.0}", true},
        {"{\"n\":1.0}", "{\"n\":1}", true},
        {"{\"n\":1e2}", "{\"n\":100}", true},
        {"{\"n\":1.5}", "{\"n\":1.5}", true},
        {"{\"n\":1.5}", "{\"n\":1}", false},
        {"{\"n\":9007199254740993}", "{\"n\":9007199254740992.0}", false},
        {"{\"n\":1}", "{\"n\":12345678901234567890}", false},
        {"{\"b\":true}", "{\"b\":true}", true},
        {"{\"b\":true}", "{\"b\":false}", false},
        {"{\"a.b\":1}", "{\"a\":{\"b\":1}}", true},
        {"{\"a.b\":1}", "{\"a\":[{\"b\":1}]}", false},
        {"{\"a\":1}", "{\"a\":[1]}", false},
        {"{\"a\":1}", "{\"a\":{}}", false},
        {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true},
        {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":3}", false},
        {"{\"\\u0061\":1}", "{\"a\":1}", true},
        {"{\"a\":1}", "[1]", false},
    };
    docs d;
    (void)state;
    docs_init(&d);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (holds(&d, cases[i].spec, cases[i].doc) != cases[i].holds)
            fail_msg("%s on %s", cases[i].spec, cases[i].doc);
    docs_free(&d);
}

static void wrong_predicates_are_refused(void **state)
{
    static const char *const specs[] = {"1",
                                        "[]",
                                        "null",
                                        "\"a\"",
                                        "{\"a\":{}}",
                                        "{\"a\":[[1]]}",
                                        "{\"a\":[{}]}",
                                        "{\"a\":[]}",
                                        "{\"\":1}",
                                        "{\"a..b\":1}",
                                        "{\"a\":12345678901234567890}",
                                        "{\"a\":[1,12345678901234567890]}"};
    ti_json_where *where = NULL;
    docs d;
    (void)state;
    docs_init(&d);
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        ti_json_doc doc = docs_text(&d, specs[i]);
        test_status(ti_json_where_compile(ti_json_root(&doc), &d.arena, &where, &d.err),
                    TI_INVALID_ARGUMENT);
        assert_null(where);
    }
    test_status(ti_json_where_compile(TI_JSON_ABSENT, &d.arena, &where, &d.err),
                TI_INVALID_ARGUMENT);
    docs_free(&d);
}

/* A test per member, or one with a list: n nodes of scalars each. */
static ti_slice spec_make(char *text, size_t size, size_t n, bool list)
{
    maker m = {.text = text, .len = 0, .size = size};
    maker_put(&m, list ? "{\"a\":[" : "{");
    for (size_t i = 0; i < n; i++) {
        if (list)
            maker_put(&m, "%s%zu", i == 0 ? "" : ",", i);
        else
            maker_put(&m, "%s\"k%zu\":0", i == 0 ? "" : ",", i);
    }
    maker_put(&m, list ? "]}" : "}");
    return maker_slice(&m);
}

static void nodes_are_counted(void **state)
{
    static char text[16 * 1024];
    ti_json_where *where = NULL;
    docs d;
    (void)state;
    docs_init(&d);
    for (int list = 0; list < 2; list++) {
        size_t most = list == 1 ? TI_PREDICATE_NODES_MAX - 1 : TI_PREDICATE_NODES_MAX / 2;
        for (size_t n = most; n <= most + 1; n++) {
            ti_json_doc doc = docs_parse(&d, spec_make(text, sizeof text, n, list == 1));
            test_status(ti_json_where_compile(ti_json_root(&doc), &d.arena, &where, &d.err),
                        n == most ? TI_OK : TI_LIMIT_EXCEEDED);
        }
        ti_json_doc doc = docs_parse(&d, spec_make(text, sizeof text, 500, list == 1));
        test_status(ti_json_where_compile(ti_json_root(&doc), &d.arena, &where, &d.err),
                    TI_LIMIT_EXCEEDED);
    }
    docs_free(&d);
}

/* A compiled predicate borrows nothing from the text it came from. */
static void predicates_outlive_their_text(void **state)
{
    char text[] = "{\"status\":[\"active\",\"n\\u0065w\"]}";
    ti_json_where *where = NULL;
    ti_arena kept;
    docs d;
    (void)state;
    docs_init(&d);
    ti_arena_init(&kept);
    ti_json_doc spec = docs_text(&d, text);
    test_ok(ti_json_where_compile(ti_json_root(&spec), &kept, &where, &d.err), &d.err);
    memset(text, 'x', sizeof text - 1);
    ti_arena_reset(&d.arena);
    ti_json_doc doc = docs_text(&d, "{\"status\":\"new\"}");
    assert_true(ti_json_where_holds(where, ti_json_root(&doc)));
    ti_arena_free(&kept);
    docs_free(&d);
}

static void every_allocation_may_fail(void **state)
{
    bool done = false;
    docs d;
    (void)state;
    docs_init(&d);
    ti_json_doc spec = docs_text(&d, "{\"a\\u0062\":[\"x\\n\",1],\"b\":\"y\"}");
    for (uint64_t n = 1; !done; n++) {
        ti_arena a;
        ti_json_where *where = NULL;
        int64_t live = ti_mem_live();
        assert_true(n < 50);
        ti_arena_init(&a);
        ti_mem_fail_at(n);
        ti_status status = ti_json_where_compile(ti_json_root(&spec), &a, &where, &d.err);
        ti_mem_fail_at(0);
        done = status == TI_OK;
        assert_true(done ? n > 1 : status == TI_OUT_OF_MEMORY);
        assert_int_equal(where != NULL, done);
        ti_arena_free(&a);
        assert_int_equal(ti_mem_live(), live);
    }
    docs_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predicates_hold_or_not),
        cmocka_unit_test(wrong_predicates_are_refused),
        cmocka_unit_test(nodes_are_counted),
        cmocka_unit_test(predicates_outlive_their_text),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return TEST_RUN(tests);
}

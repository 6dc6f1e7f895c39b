/* Bad input to models and writes: each gets its status and a message that says where; nothing is
 * stored. */
#include "model/support.h"

typedef struct bad {
    const char *text;
    ti_status status;
    const char *says;
} bad;

#define FIELD "[{\"name\":\"a\",\"type\":\"string\"}]"

static const bad specs[] = {
    {"", TI_INVALID_ARGUMENT, ""},
    {"[]", TI_INVALID_ARGUMENT, "must be an object"},
    {"{\"table\":\"t\"", TI_INVALID_ARGUMENT, ""},
    {"{}", TI_INVALID_ARGUMENT, "\"table\""},
    {"{\"table\":5}", TI_INVALID_ARGUMENT, "\"table\""},
    {"{\"table\":\"a:b\"}", TI_INVALID_ARGUMENT, "table name"},
    {"{\"table\":\"\"}", TI_INVALID_ARGUMENT, "table name"},
    {"{\"table\":\"a b\"}", TI_INVALID_ARGUMENT, "table name"},
    {"{\"table\":\"t\",\"index\":[]}", TI_INVALID_ARGUMENT, "unknown member \"index\""},
    {"{\"table\":\"t\",\"indexes\":5}", TI_INVALID_ARGUMENT, ""},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i\"}]}", TI_INVALID_ARGUMENT, "\"fields\""},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"fields\":[]}]}", TI_INVALID_ARGUMENT,
     "\"fields\""},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i@2\",\"fields\":" FIELD "}]}", TI_INVALID_ARGUMENT,
     "index name"},
    {"{\"table\":\"t\",\"indexes\":[{\"fields\":" FIELD "}]}", TI_INVALID_ARGUMENT, "\"name\""},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"fields\":" FIELD
     "},{\"name\":\"i\",\"fields\":" FIELD "}]}",
     TI_INVALID_ARGUMENT, "twice"},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"fields\":" FIELD
     "}],\"unique_indexes\":[{\"name\":\"i\",\"fields\":" FIELD "}]}",
     TI_INVALID_ARGUMENT, "twice"},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"fields\":[{\"name\":\"a\",\"type\":\"text\"}]"
     "}]}",
     TI_INVALID_ARGUMENT, "\"number\""},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"fields\":[{\"name\":\"a\"}]}]}",
     TI_INVALID_ARGUMENT, "\"type\""},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"fields\":[{\"name\":\"a..b\",\"type\":"
     "\"string\"}]}]}",
     TI_INVALID_ARGUMENT, "index field"},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"fields\":[{\"name\":\"a\",\"type\":"
     "\"string\",\"order\":\"up\"}]}]}",
     TI_INVALID_ARGUMENT, "\"desc\""},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"fields\":[{\"name\":\"a\",\"type\":"
     "\"string\"},{\"name\":\"a\","
     "\"type\":\"number\"}]}]}",
     TI_INVALID_ARGUMENT, "twice"},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"condition\":\"other\",\"fields\":" FIELD
     "}]}",
     TI_INVALID_ARGUMENT, "\"condition\""},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"where\":5,\"fields\":" FIELD "}]}",
     TI_INVALID_ARGUMENT, ""},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"sparse\":1,\"fields\":" FIELD "}]}",
     TI_INVALID_ARGUMENT, "\"sparse\""},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"version\":0,\"fields\":" FIELD "}]}",
     TI_INVALID_ARGUMENT, "\"version\""},
    {"{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"version\":1.5,\"fields\":" FIELD "}]}",
     TI_INVALID_ARGUMENT, "\"version\""},
    {"{\"table\":\"t\",\"unique_indexes\":[{\"name\":\"i\",\"covering\":true,\"fields\":" FIELD
     "}]}",
     TI_INVALID_ARGUMENT, "covering"},
    {"{\"table\":\"t\",\"relationships\":[{\"source_field_name\":\"a\",\"model\":\"t\"}]}",
     TI_INVALID_ARGUMENT, "destination_field_name"},
    {"{\"table\":\"t\",\"relationships\":[{\"source_field_name\":\"a\",\"destination_field_name\":"
     "\"a\",\"model\":\"t\"}"
     "]}",
     TI_INVALID_ARGUMENT, "overlaps"},
    {"{\"table\":\"t\",\"relationships\":[{\"source_field_name\":\"a\",\"destination_field_name\":"
     "\"b.c\",\"model\":"
     "\"t\"}]}",
     TI_INVALID_ARGUMENT, "beside the source"},
    {"{\"table\":\"t\",\"relationships\":[{\"source_field_name\":\"a\",\"destination_field_name\":"
     "\"id\",\"model\":\"t\"}"
     "]}",
     TI_INVALID_ARGUMENT, "id"},
    {"{\"table\":\"t\",\"relationships\":[{\"source_field_name\":\"a\",\"destination_field_name\":"
     "\"b\",\"model\":\"t\"}"
     ",{\"source_field_name\":\"c\",\"destination_field_name\":\"b\",\"model\":\"t\"}]}",
     TI_INVALID_ARGUMENT, "overlaps"},
    {"{\"table\":\"t\",\"relationships\":[{\"source_field_name\":\"a\",\"destination_field_name\":"
     "\"b\",\"model\":\"t\"}"
     "],\"indexes\":[{\"name\":\"i\",\"fields\":[{\"name\":\"b.name\",\"type\":\"string\"}]}]}",
     TI_INVALID_ARGUMENT, "not stored"},
    {"{\"table\":\"t\",\"fields\":{\"a\":\"text\"}}", TI_INVALID_ARGUMENT, "\"string\""},
    {"{\"table\":\"t\",\"fields\":{\"a\":{\"type\":\"string\",\"default\":5}}}",
     TI_INVALID_ARGUMENT, "default"},
    {"{\"table\":\"t\",\"fields\":{\"a\":{\"kind\":\"string\"}}}", TI_INVALID_ARGUMENT,
     "unknown member"},
    {"{\"table\":\"t\",\"timestamps\":\"yes\"}", TI_INVALID_ARGUMENT, "\"timestamps\""},
    {"{\"table\":\"t\",\"events\":\"path\"}", TI_INVALID_ARGUMENT, "\"events\""},
    {"{\"table\":\"t\",\"partition_key\":5}", TI_INVALID_ARGUMENT, "\"partition_key\""},
};

static void bad_specs(void **state)
{
    db d;
    (void)state;
    db_open(&d, NULL);
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        ti_model *m = NULL;
        ti_status status = ti_model_declare(d.store, 0, S(specs[i].text), &m, &d.err);
        if (status != specs[i].status)
            print_error("%s\n", specs[i].text);
        EXPECT(&d, specs[i].status, status);
        SAYS(&d, specs[i].says);
        assert_null(m);
    }
    db_close(&d);
}

static const char *strict_spec =
    "{\"table\":\"t\",\"indexes\":[{\"name\":\"by_a\",\"fields\":[{\"name\":\"a\",\"type\":"
    "\"string\"},{\"name\":\"l\","
    "\"type\":\"number\"}]},{\"name\":\"two\",\"fields\":[{\"name\":\"l\",\"type\":\"number\"},{"
    "\"name\":\"m\",\"type\":"
    "\"number\"}]},{\"name\":\"flag\",\"fields\":[{\"name\":\"f\",\"type\":\"boolean\"}]}],"
    "\"fields\":{\"must\":{"
    "\"type\":\"string\",\"required\":true},\"o.n\":\"integer\",\"list\":\"array\"}}";

static const bad documents[] = {
    {"", TI_INVALID_ARGUMENT, ""},
    {"not json", TI_INVALID_ARGUMENT, ""},
    {"[]", TI_INVALID_ARGUMENT, "must be an object, not array"},
    {"\"text\"", TI_INVALID_ARGUMENT, "must be an object, not string"},
    {"{\"must\":\"x\"}", TI_INVALID_ARGUMENT, "needs \"id\""},
    {"{\"id\":5,\"must\":\"x\"}", TI_INVALID_ARGUMENT, "needs \"id\""},
    {"{\"id\":\"\",\"must\":\"x\"}", TI_INVALID_ARGUMENT, ""},
    {"{\"id\":\"x\",\"must\":\"x\",\"must\":\"y\"}", TI_INVALID_ARGUMENT, ""},
    {"{\"id\":\"\xff\",\"must\":\"x\"}", TI_INVALID_ARGUMENT, ""},
    {"{\"id\":\"x\",\"must\":\"\\ud800\"}", TI_INVALID_ARGUMENT, ""},
    {"{\"id\":\"x\"}", TI_INVALID_ARGUMENT, "\"must\" of table \"t\" is required"},
    {"{\"id\":\"x\",\"must\":null}", TI_INVALID_ARGUMENT, "required"},
    {"{\"id\":\"x\",\"must\":5}", TI_INVALID_ARGUMENT, "must be a string"},
    {"{\"id\":\"x\",\"must\":\"m\",\"o\":{\"n\":1.5}}", TI_INVALID_ARGUMENT,
     "\"o.n\" of table \"t\" must be an integer"},
    {"{\"id\":\"x\",\"must\":\"m\",\"list\":{\"a\":1}}", TI_INVALID_ARGUMENT, "must be an array"},
    {"{\"id\":\"x\",\"must\":\"m\",\"a\":5}", TI_INVALID_ARGUMENT,
     "\"a\" of index \"by_a\" of table \"t\" must be a string, not integer"},
    {"{\"id\":\"x\",\"must\":\"m\",\"a\":{}}", TI_INVALID_ARGUMENT, "not object"},
    {"{\"id\":\"x\",\"must\":\"m\",\"l\":[1,\"2\"]}", TI_INVALID_ARGUMENT,
     "must be a number, not string"},
    {"{\"id\":\"x\",\"must\":\"m\",\"l\":[[1]]}", TI_INVALID_ARGUMENT, "array within an array"},
    {"{\"id\":\"x\",\"must\":\"m\",\"l\":[1],\"m\":[2]}", TI_INVALID_ARGUMENT, "second array"},
    {"{\"id\":\"x\",\"must\":\"m\",\"l\":9223372036854775808}", TI_INVALID_ARGUMENT, "64 bits"},
    {"{\"id\":\"x\",\"must\":\"m\",\"f\":1}", TI_INVALID_ARGUMENT, "must be a boolean"},
};

static void bad_documents(void **state)
{
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, strict_spec);
    OK(&d, build(&d, m, NULL, "{\"id\":\"ok\",\"must\":\"m\",\"list\":{}}"));
    for (size_t i = 0; i < sizeof documents / sizeof documents[0]; i++) {
        ti_status status = build(&d, m, NULL, documents[i].text);
        if (status != documents[i].status)
            print_error("%s\n", documents[i].text);
        EXPECT(&d, documents[i].status, status);
        SAYS(&d, documents[i].says);
        EXPECT(&d, documents[i].status, save(&d, m, NULL, documents[i].text));
    }
    assert_string_equal(ids(&d, m, NULL, "*", NULL), "ok");
    assert_string_equal(check(&d, m, false, NULL), "");
    ti_model_unref(m);
    db_close(&d);
}

/* n times a text between two others. */
static char *repeat(const char *before, const char *text, size_t n, const char *after)
{
    size_t len = strlen(text);
    char *out = malloc(strlen(before) + n * len + strlen(after) + 1);
    assert_non_null(out);
    char *at = stpcpy(out, before);
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, text);
    stpcpy(at, after);
    return out;
}

static void expect_repeat(db *d, ti_model *m, ti_status wanted, const char *before,
                          const char *text, size_t n, const char *after)
{
    char *json = repeat(before, text, n, after);
    EXPECT(d, wanted, save(d, m, NULL, json));
    free(json);
}

static void limits(void **state)
{
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(
        &d, "{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"fields\":[{\"name\":\"a\",\"type\":"
            "\"string\"}]},{\"name\":\"l\",\"fields\":[{\"name\":\"l\",\"type\":\"number\"}]}]}");
    size_t room = TI_DOCUMENT_SIZE_MAX - strlen("{\"id\":\"x\",\"b\":\"\"}");
    expect_repeat(&d, m, TI_OK, "{\"id\":\"x\",\"b\":\"", "y", room, "\"}");
    expect_repeat(&d, m, TI_LIMIT_EXCEEDED, "{\"id\":\"x\",\"b\":\"", "y", room + 1, "\"}");
    for (size_t extra = 0; extra < 2; extra++) {
        size_t deep = TI_JSON_DEPTH_MAX - 1 + extra;
        char *closing = repeat("1", "]", deep, "}");
        expect_repeat(&d, m, extra == 0 ? TI_OK : TI_LIMIT_EXCEEDED, "{\"id\":\"x\",\"b\":", "[",
                      deep, closing);
        free(closing);
    }
    expect_repeat(&d, m, TI_OK, "{\"id\":\"", "i", TI_ID_SIZE_MAX, "\"}");
    expect_repeat(&d, m, TI_LIMIT_EXCEEDED, "{\"id\":\"", "i", TI_ID_SIZE_MAX + 1, "\"}");
    expect_repeat(&d, m, TI_OK, "{\"id\":\"x\",\"a\":\"", "y", 4000, "\"}");
    expect_repeat(&d, m, TI_LIMIT_EXCEEDED, "{\"id\":\"x\",\"a\":\"", "y", TI_KEY_SIZE_MAX, "\"}");
    assert_string_equal(d.err.index, "i");
    expect_repeat(&d, m, TI_LIMIT_EXCEEDED, "{\"id\":\"x\",\"a\":\"", "y", 2 * TI_KEY_SIZE_MAX,
                  "\"}");
    expect_repeat(&d, m, TI_OK, "{\"id\":\"x\",\"l\":[0", ",1", TI_RECORD_ENTRIES_MAX * 2,
                  "]}"); /* a set */
    char *json = malloc(200000);
    for (int extra = 0; extra < 2; extra++) { /* one entry is that of index i */
        char *at = stpcpy(json, "{\"id\":\"x\",\"l\":[0");
        for (int i = 1; i < TI_RECORD_ENTRIES_MAX - 1 + extra; i++)
            at += snprintf(at, 16, ",%d", i);
        stpcpy(at, "]}");
        EXPECT(&d, extra == 0 ? TI_OK : TI_LIMIT_EXCEEDED, save(&d, m, NULL, json));
    }
    SAYS(&d, "1024 index entries");
    free(json);
    assert_string_equal(check(&d, m, false, NULL), "");
    ti_model_unref(m);
    db_close(&d);
}

static void bad_ids_and_states(void **state)
{
    db d;
    ti_document document;
    ti_page *page;
    const ti_slice bad_ids[] = {S(""), S("\xff")};
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, "{\"table\":\"t\"}");
    EXPECT(&d, TI_INVALID_ARGUMENT,
           ti_model_find(m, NULL, S(""), NULL, &d.a, &document, &d.call, &d.err));
    EXPECT(&d, TI_INVALID_ARGUMENT, del(&d, m, NULL, "", NULL));
    EXPECT(&d, TI_INVALID_ARGUMENT, patch(&d, m, NULL, "\xff", "{}"));
    EXPECT(&d, TI_INVALID_ARGUMENT,
           ti_model_find_many(m, NULL, bad_ids, 2, NULL, &page, &d.call, &d.err));
    const ti_read lock = {.lock = true};
    EXPECT(&d, TI_INVALID_STATE,
           ti_model_find(m, NULL, S("x"), &lock, &d.a, &document, &d.call, &d.err));
    EXPECT(&d, TI_INVALID_ARGUMENT, ti_model_assert_current(m, NULL, S("x"), &d.call, &d.err));
    ti_txn *txn = begin(&d);
    OK(&d, build(&d, m, txn, "{\"id\":\"x\"}"));
    OK(&d, ti_txn_commit(txn, NULL, &d.call, &d.err));
    EXPECT(&d, TI_INVALID_STATE, build(&d, m, txn, "{\"id\":\"y\"}"));
    EXPECT(&d, TI_INVALID_STATE,
           ti_model_find(m, txn, S("x"), NULL, &d.a, &document, &d.call, &d.err));
    ti_txn_free(txn);
    txn = begin(&d);
    EXPECT(&d, TI_INVALID_ARGUMENT, build(&d, m, txn, "[]"));
    assert_non_null(find(&d, m, txn, "x")); /* reads go on */
    EXPECT(&d, TI_INVALID_ARGUMENT, try_commit(&d, txn));
    ti_store_close(d.store);
    EXPECT(&d, TI_CLOSED, build(&d, m, NULL, "{\"id\":\"z\"}"));
    EXPECT(&d, TI_CLOSED, query_status(&d, m, NULL, "*"));
    ti_model_unref(m);
    db_close(&d);
}

static void names(void **state)
{
    ti_store *store = NULL;
    ti_err err;
    (void)state;
    const char *bad_names[] = {"a:b", "table", "index", "meta", "a b", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof bad_names / sizeof bad_names[0]; i++) {
        const ti_store_options options = {.env = ti_env_real(), .name_space = S(bad_names[i])};
        assert_int_equal(ti_store_new(&options, &store, &err), TI_INVALID_ARGUMENT);
        assert_null(store);
    }
    const ti_store_options options = {.env = ti_env_real(), .name_space = S("mine")};
    assert_int_equal(ti_store_new(&options, &store, &err), TI_OK);
    ti_model *m = NULL;
    assert_int_equal(ti_model_declare(store, 0, S("{\"table\":\"t\"}"), &m, &err), TI_OK);
    ti_call call = ti_call_within(ti_env_real(), 1000000);
    assert_int_equal(ti_model_build(m, NULL, S("{\"id\":\"x\"}"), NULL, NULL, NULL, &call, &err),
                     TI_INVALID_STATE);
    ti_model_unref(m);
    ti_store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_specs), cmocka_unit_test(bad_documents),      cmocka_unit_test(limits),
        cmocka_unit_test(names),     cmocka_unit_test(bad_ids_and_states),
    };
    return TEST_RUN(tests);
}

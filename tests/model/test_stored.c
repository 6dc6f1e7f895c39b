/* What models store besides records: the catalog's row, covering entries, the format of the
 * database. Bytes that must stay, and what happens when they are damaged or newer. */
#include "golden/golden.h"

#include "codec/record.h"
#include "model/model_int.h"
#include "model/support.h"

static const char *const catalog_row =
    "{\"revision\":7,\"dropping\":true,\"runner\":{\"id\":\"r\",\"until\":99},\"indexes\":[{"
    "\"name\":\"by_name\","
    "\"version\":2,\"fields\":[{\"name\":\"o.name\",\"type\":\"string\",\"order\":\"desc\"},{"
    "\"name\":\"n\",\"type\":"
    "\"number\",\"order\":\"asc\"}],\"condition\":\"host\",\"where\":{\"b\":true},\"sparse\":true,"
    "\"covering\":true,"
    "\"unique\":false,\"state\":\"write_only\",\"done\":5,\"sealed\":true,\"scanned\":true,"
    "\"since\":0,\"cursor\":\"u5\"},"
    "{\"name\":\"u\",\"version\":1,\"fields\":[{\"name\":\"f\",\"type\":\"boolean\",\"order\":"
    "\"asc\"}],\"condition\":"
    "false,\"sparse\":false,\"covering\":false,\"unique\":true,\"state\":\"failed\",\"done\":9,"
    "\"duplicates\":[\"a\","
    "\"b\"],\"since\":12}]}";

static void the_catalog_row(void **state)
{
    ti_err err;
    ti_schema *schema = NULL;
    ti_buf again;
    (void)state;
    ti_buf_init(&again, 1 << 20);
    test_ok(ti_schema_parse(S("t"), S(catalog_row), &schema, &err), &err);
    test_ok(ti_schema_emit(schema, &again, &err), &err);
    assert_string_equal(T(ti_buf_slice(&again)), catalog_row);
    golden_check("model.txt", "catalog-row", ti_buf_slice(&again));
    assert_true(schema->dropping);
    assert_int_equal(schema->index_count, 2);
    assert_string_equal(T(schema->indexes[0].stored_name), "by_name@2");
    assert_int_equal(schema->indexes[1].state, TI_INDEX_FAILED);
    assert_int_equal(schema->indexes[1].duplicate_count, 2);
    ti_schema_unref(schema);
    ti_buf_free(&again);
}

static void damaged_catalog_rows(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"revision\":0,\"indexes\":[]}",
        "{\"revision\":\"1\",\"indexes\":[]}",
        "{\"revision\":1,\"indexes\":[5]}",
        "{\"revision\":1,\"indexes\":[{\"name\":\"i\",\"fields\":[{\"name\":\"a\",\"type\":"
        "\"string\"}]}]}",
        "{\"revision\":1,\"indexes\":[{\"name\":\"i\",\"state\":\"readable\",\"fields\":[]}]}",
        "{\"revision\":1,\"indexes\":[{\"name\":\"i\",\"state\":\"odd\",\"fields\":[{\"name\":"
        "\"a\",\"type\":\"string\"}]}]}",
    };
    ti_err err;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ti_schema *schema = NULL;
        test_status(ti_schema_parse(S("t"), S(bad[i]), &schema, &err), TI_CORRUPT);
        assert_null(schema);
    }
}

static void covering_entries(void **state)
{
    ti_err err;
    ti_buf value;
    ti_record record;
    const ti_entry run[] = {
        {.kind = TI_ENTRY_PLAIN, .version = 1, .index = S("c"), .tuple = S("\x06")},
        {.kind = TI_ENTRY_PLAIN, .version = 1, .index = S("c"), .tuple = S("\x07")},
    };
    const ti_schema_index index = {.def = {.name = S("c"), .version = 1, .covering = true}};
    (void)state;
    ti_buf_init(&value, 4096);
    test_ok(ti_entry_value(S("index:t:c:key"), &index, run, 2, S("id"), 5, S("{\"id\":\"id\"}"),
                           &value, &err),
            &err);
    golden_check("model.txt", "covering-entry", ti_buf_slice(&value));
    test_ok(ti_record_open(ti_buf_slice(&value), S("index:t:c:key"), &record, &err), &err);
    assert_string_equal(T(record.document), "{\"id\":\"id\"}");
    test_status(ti_record_open(ti_buf_slice(&value), S("index:t:c:kez"), &record, &err),
                TI_CORRUPT);
    ti_buf_free(&value);
}

static ti_slice meta_key(db *d, const char *name)
{
    return ti_key_meta(ti_store_keyspace(d->store), &d->a, S(name));
}

/* Another handle on the engine, as a later process would open it. */
static ti_status open_again(db *d)
{
    ti_store *store = NULL;
    const ti_store_options options = {.env = ti_env_real()};
    OK(d, ti_store_new(&options, &store, &d->err));
    ti_status status = ti_store_open(store, &d->kv, &d->call, &d->err);
    ti_store_free(store);
    return status;
}

static void put_meta(db *d, const char *name, ti_slice payload)
{
    ti_buf value;
    ti_buf_init(&value, 4096);
    OK(d, ti_sealed_append(&value, TI_SEALED_META, meta_key(d, name), payload, &d->err));
    raw_put(d, meta_key(d, name), ti_buf_slice(&value));
    ti_buf_free(&value);
}

static void the_format(void **state)
{
    db d;
    ti_slice value;
    (void)state;
    db_open(&d, NULL);
    assert_true(raw_get(&d, meta_key(&d, "format"), &value));
    golden_check("model.txt", "meta-format", value);
    OK(&d, open_again(&d));
    put_meta(&d, "format", (ti_slice){.data = "\x02\0\0\0", .len = 4});
    EXPECT(&d, TI_UNSUPPORTED, open_again(&d));
    SAYS(&d, "newer tito");
    put_meta(&d, "format", S("x"));
    EXPECT(&d, TI_CORRUPT, open_again(&d));
    raw_put(&d, meta_key(&d, "format"), S("junk"));
    EXPECT(&d, TI_CORRUPT, open_again(&d));
    put_meta(&d, "format", (ti_slice){.data = "\x01\0\0\0", .len = 4});
    put_meta(&d, "cursor_secret", S("short"));
    EXPECT(&d, TI_CORRUPT, open_again(&d));
    db_close(&d);
}

static void a_damaged_catalog_stops_writes(void **state)
{
    db d;
    (void)state;
    db_open(&d, NULL);
    raw_put(&d, ti_key_schema(ti_store_keyspace(d.store), &d.a, S("t")), S("junk"));
    ti_model *m = declare(
        &d, "{\"table\":\"t\",\"indexes\":[{\"name\":\"i\",\"fields\":[{\"name\":\"a\",\"type\":"
            "\"string\"}]}]}");
    EXPECT(&d, TI_CORRUPT, build(&d, m, NULL, "{\"id\":\"x\"}"));
    EXPECT(&d, TI_CORRUPT, query_status(&d, m, NULL, "i"));
    assert_null(find(&d, m, NULL, "x"));
    ti_model_unref(m);
    db_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_catalog_row),
        cmocka_unit_test(damaged_catalog_rows),
        cmocka_unit_test(covering_entries),
        cmocka_unit_test(the_format),
        cmocka_unit_test(a_damaged_catalog_stops_writes),
    };
    return TEST_RUN(tests);
}

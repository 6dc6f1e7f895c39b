/* Writes: versions, timestamps, defaults, patches, transactions that see their own writes, unique
 * values that change hands, events. */
#include "model/support.h"

static const char *spec = "{\"table\":\"user\",\"indexes\":[{\"name\":\"by_age\",\"fields\":[{"
                          "\"name\":\"age\",\"type\":\"number\"}]}],"
                          "\"unique_indexes\":[{\"name\":\"u_mail\",\"fields\":[{\"name\":\"mail\","
                          "\"type\":\"string\"}]}]}";

static uint64_t version_of(db *d, ti_model *m, const char *id)
{
    ti_document document;
    OK(d, ti_model_find(m, NULL, S(id), NULL, &d->a, &document, &d->call, &d->err));
    return document.version;
}

static void versions(void **state)
{
    db d;
    ti_document stored;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, spec);
    OK(&d, ti_model_build(m, NULL, S("{\"id\":\"a\"}"), NULL, &d.a, &stored, &d.call, &d.err));
    assert_string_equal(T(stored.json), "{\"id\":\"a\"}");
    assert_string_equal(T(stored.id), "a");
    uint64_t first = version_of(&d, m, "a");
    assert_int_equal(stored.version, first);
    assert_true(first > 0 && first < (1ull << 53));
    OK(&d, update(&d, m, NULL, "{\"id\":\"a\",\"age\":1}"));
    uint64_t second = version_of(&d, m, "a");
    assert_true(second > first);
    ti_write write = {.if_version = first};
    EXPECT(&d, TI_VERSION_MISMATCH,
           ti_model_update(m, NULL, S("{\"id\":\"a\"}"), &write, &d.a, NULL, &d.call, &d.err));
    SAYS(&d, "\"a\"");
    EXPECT(&d, TI_VERSION_MISMATCH,
           ti_model_save(m, NULL, S("{\"id\":\"b\"}"), &write, &d.a, NULL, &d.call, &d.err));
    EXPECT(&d, TI_VERSION_MISMATCH,
           ti_model_patch(m, NULL, S("a"), S("{}"), &write, &d.a, NULL, &d.call, &d.err));
    EXPECT(&d, TI_VERSION_MISMATCH,
           ti_model_delete(m, NULL, S("a"), &write, NULL, &d.call, &d.err));
    EXPECT(&d, TI_INVALID_ARGUMENT,
           ti_model_build(m, NULL, S("{\"id\":\"c\"}"), &write, &d.a, NULL, &d.call, &d.err));
    write.if_version = second;
    OK(&d, ti_model_update(m, NULL, S("{\"id\":\"a\",\"age\":2}"), &write, &d.a, &stored, &d.call,
                           &d.err));
    write.if_version = stored.version;
    OK(&d, ti_model_delete(m, NULL, S("a"), &write, NULL, &d.call, &d.err));
    OK(&d, build(&d, m, NULL, "{\"id\":\"a\"}")); /* another record under the id: another version */
    assert_true(version_of(&d, m, "a") != first);
    ti_model_unref(m);
    db_close(&d);
}

static void patches(void **state)
{
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, spec);
    EXPECT(&d, TI_NOT_FOUND, patch(&d, m, NULL, "a", "{}"));
    EXPECT(&d, TI_NOT_FOUND, update(&d, m, NULL, "{\"id\":\"a\"}"));
    SAYS(&d, "no record with id \"a\"");
    OK(&d, build(&d, m, NULL, "{\"id\":\"a\",\"age\":1,\"o\":{\"x\":1,\"y\":2}}"));
    OK(&d, patch(&d, m, NULL, "a", "{\"age\":7,\"o\":{\"x\":null,\"z\":3},\"mail\":\"m\"}"));
    assert_string_equal(find(&d, m, NULL, "a"),
                        "{\"id\":\"a\",\"age\":7,\"o\":{\"y\":2,\"z\":3},\"mail\":\"m\"}");
    assert_string_equal(ids(&d, m, NULL, "by_age 7", NULL), "a");
    assert_string_equal(ids(&d, m, NULL, "u_mail \"m\"", NULL), "a");
    EXPECT(&d, TI_INVALID_ARGUMENT, patch(&d, m, NULL, "a", "{\"id\":\"b\"}"));
    EXPECT(&d, TI_INVALID_ARGUMENT, patch(&d, m, NULL, "a", "{\"id\":null}"));
    EXPECT(&d, TI_INVALID_ARGUMENT, patch(&d, m, NULL, "a", "[1]"));
    EXPECT(&d, TI_INVALID_ARGUMENT, patch(&d, m, NULL, "a", "{\"age\":\"x\"}"));
    ti_model *host = declare(
        &d, "{\"table\":\"h\",\"indexes\":[{\"name\":\"i\",\"condition\":\"host\",\"fields\":[{"
            "\"name\":\"a\",\"type\":\"number\"}]}]}");
    assert_int_equal(ti_model_condition_count(host), 1);
    assert_string_equal(T(ti_model_condition_name(host, 0)), "i");
    ti_write write = {.conditions = 1};
    OK(&d, ti_model_build(host, NULL, S("{\"id\":\"x\",\"a\":1}"), &write, &d.a, NULL, &d.call,
                          &d.err));
    EXPECT(&d, TI_INVALID_STATE, patch(&d, host, NULL, "x", "{\"a\":2}"));
    ti_txn *txn = begin(&d);
    ti_document merged;
    OK(&d, ti_model_merge(host, txn, S("x"), S("{\"a\":2}"), &d.a, &merged, &d.call, &d.err));
    assert_string_equal(T(merged.json), "{\"id\":\"x\",\"a\":2}");
    OK(&d, ti_model_update(host, txn, merged.json, &write, &d.a, NULL, &d.call, &d.err));
    commit(&d, txn);
    assert_string_equal(ids(&d, host, NULL, "i 2", NULL), "x");
    write.conditions = 0;
    OK(&d, ti_model_update(host, NULL, merged.json, &write, &d.a, NULL, &d.call, &d.err));
    assert_string_equal(ids(&d, host, NULL, "i", NULL), "");
    ti_model_unref(host);
    ti_model_unref(m);
    db_close(&d);
}

static void defaults_and_timestamps(void **state)
{
    db d;
    double created;
    double updated;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, "{\"table\":\"t\",\"timestamps\":true,\"fields\":{\"kind\":{\"type\":"
                              "\"string\",\"default\":\"plain\"},"
                              "\"o.n\":{\"type\":\"integer\",\"default\":3},\"set\":{\"default\":["
                              "1]}},\"indexes\":[{\"name\":\"by_kind\","
                              "\"fields\":[{\"name\":\"kind\",\"type\":\"string\"},{\"name\":"
                              "\"updated_at\",\"type\":\"number\"}]}]}");
    OK(&d, build(&d, m, NULL, "{\"id\":\"a\",\"set\":null}"));
    const char *text = find(&d, m, NULL, "a");
    assert_int_equal(
        sscanf(text,
               "{\"id\":\"a\",\"set\":null,\"kind\":\"plain\",\"o\":{\"n\":3},\"created_at\":%lf,"
               "\"updated_at\":%lf}",
               &created, &updated),
        2);
    assert_true(created > 1.6e9 && created < 1e11 && created == updated);
    assert_string_equal(ids(&d, m, NULL, "by_kind \"plain\"", NULL), "a");
    ti_env_real()->sleep_ns(ti_env_real(), 2000000);
    OK(&d, update(&d, m, NULL, "{\"id\":\"a\",\"set\":[2]}"));
    double kept;
    double later;
    assert_int_equal(
        sscanf(find(&d, m, NULL, "a"),
               "{\"id\":\"a\",\"set\":[2],\"kind\":\"plain\",\"o\":{\"n\":3},\"created_at\":%lf,"
               "\"updated_at\":%lf}",
               &kept, &later),
        2);
    assert_true(kept == created && later > updated);
    OK(&d, patch(&d, m, NULL, "a", "{\"kind\":\"odd\"}"));
    assert_string_equal(ids(&d, m, NULL, "by_kind \"odd\"", NULL), "a");
    OK(&d, build(&d, m, NULL, "{\"id\":\"b\",\"created_at\":5}")); /* an import keeps it */
    assert_non_null(strstr(find(&d, m, NULL, "b"), "\"created_at\":5,"));
    ti_model_unref(m);
    db_close(&d);
}

static void own_writes_are_seen(void **state)
{
    db d;
    bool existed;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, spec);
    OK(&d, build(&d, m, NULL, "{\"id\":\"a\",\"age\":1}"));
    ti_txn *txn = begin(&d);
    OK(&d, build(&d, m, txn, "{\"id\":\"b\",\"age\":2,\"mail\":\"b\"}"));
    EXPECT(&d, TI_UNIQUE_VIOLATION,
           build(&d, m, txn, "{\"id\":\"c\",\"mail\":\"b\"}")); /* at once */
    SAYS(&d, "u_mail");
    ti_txn_free(txn);
    txn = begin(&d);
    OK(&d, build(&d, m, txn, "{\"id\":\"b\",\"age\":2}"));
    EXPECT(&d, TI_ALREADY_EXISTS, build(&d, m, txn, "{\"id\":\"b\"}")); /* at once */
    EXPECT(&d, TI_ALREADY_EXISTS, try_commit(&d, txn));
    assert_null(find(&d, m, NULL, "b"));
    txn = begin(&d);
    OK(&d, build(&d, m, txn, "{\"id\":\"b\",\"age\":2}"));
    OK(&d, update(&d, m, txn, "{\"id\":\"a\",\"age\":3}"));
    assert_string_equal(ids(&d, m, txn, "by_age", NULL), "b a");
    assert_string_equal(ids(&d, m, txn, "by_age reverse keys", NULL), "a b");
    OK(&d, patch(&d, m, txn, "b", "{\"age\":9}"));
    assert_string_equal(ids(&d, m, txn, "by_age >=3", NULL), "a b");
    OK(&d, del(&d, m, txn, "a", &existed));
    assert_true(existed);
    assert_string_equal(ids(&d, m, txn, "by_age", NULL), "b");
    assert_string_equal(ids(&d, m, txn, "*", NULL), "b");
    OK(&d, build(&d, m, txn, "{\"id\":\"a\",\"age\":50}"));
    assert_string_equal(ids(&d, m, NULL, "by_age", NULL), "a"); /* others see nothing yet */
    commit(&d, txn);
    assert_string_equal(ids(&d, m, NULL, "by_age", NULL), "b a");
    assert_string_equal(check(&d, m, false, NULL), "");
    ti_model_unref(m);
    db_close(&d);
}

/* A build does not look: over a stored id it is refused at the commit. Until then queries answer
 * with what the transaction has made of the record, not with the entries of the one that is stored.
 */
static void built_over_a_stored_record(void **state)
{
    static const char *const queries[] = {
        "by_age",     "by_age 1",     "by_age 1 keys", "by_age keys",    "by_age reverse",
        "u_mail",     "u_mail \"x\"", "u_mail keys",   "u_mail reverse", "cover",
        "cover keys", "cover \"x\"",  "tags",          "tags \"q\"",     "tags keys limit=1"};
    static const char *const after_build[] = {"b a", "b",   "b",   "b a", "a b", "b a", "", "b a",
                                              "a b", "b a", "b a", "",    "b",   "b",   "b"};
    static const char *const after_delete[] = {"b", "b", "b", "b", "b", "b", "", "b",
                                               "b", "b", "b", "",  "b", "b", "b"};
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(
        &d, "{\"table\":\"user\",\"indexes\":[{\"name\":\"by_age\",\"fields\":[{\"name\":\"age\","
            "\"type\":\"number\"}]},{\"name\":\"cover\",\"covering\":true,\"sparse\":true,"
            "\"fields\":[{\"name\":\"mail\",\"type\":\"string\"}]},{\"name\":\"tags\","
            "\"sparse\":true,\"fields\":[{\"name\":\"tags\",\"type\":\"string\"}]}],"
            "\"unique_indexes\":[{\"name\":\"u_mail\",\"fields\":[{\"name\":\"mail\","
            "\"type\":\"string\"}]}]}");
    OK(&d, build(&d, m, NULL, "{\"id\":\"a\",\"age\":1,\"mail\":\"x\",\"tags\":[\"p\",\"q\"]}"));
    OK(&d, build(&d, m, NULL, "{\"id\":\"b\",\"age\":1,\"mail\":\"w\",\"tags\":[\"q\",\"r\"]}"));
    ti_txn *txn = begin(&d);
    OK(&d, build(&d, m, txn, "{\"id\":\"a\",\"age\":2,\"mail\":\"y\"}"));
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++)
        assert_string_equal(ids(&d, m, txn, queries[i], NULL), after_build[i]);
    OK(&d, del(&d, m, txn, "a", NULL));
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++)
        assert_string_equal(ids(&d, m, txn, queries[i], NULL), after_delete[i]);
    EXPECT(&d, TI_ALREADY_EXISTS, try_commit(&d, txn));
    SAYS(&d, "\"a\"");
    assert_string_equal(ids(&d, m, NULL, "by_age", NULL), "a b");
    assert_string_equal(check(&d, m, false, NULL), "");
    ti_model_unref(m);
    db_close(&d);
}

/* A locked read shows the newest record, also behind the snapshot; the entries are the snapshot's.
 */
static void locked_records_are_newer_than_the_entries(void **state)
{
    const ti_read lock = {.lock = true};
    ti_document document;
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, spec);
    OK(&d, build(&d, m, NULL, "{\"id\":\"a\",\"age\":1,\"mail\":\"x\"}"));
    OK(&d, build(&d, m, NULL, "{\"id\":\"b\",\"age\":1}"));
    OK(&d, build(&d, m, NULL, "{\"id\":\"c\",\"age\":1}"));
    ti_txn *txn = begin(&d);
    assert_string_equal(ids(&d, m, txn, "by_age 1", NULL), "a b c"); /* takes the snapshot */
    OK(&d, update(&d, m, NULL, "{\"id\":\"a\",\"age\":2}"));
    OK(&d, del(&d, m, NULL, "b", NULL));
    OK(&d, ti_model_find(m, txn, S("a"), &lock, &d.a, &document, &d.call, &d.err));
    assert_string_equal(T(document.json), "{\"id\":\"a\",\"age\":2}");
    EXPECT(&d, TI_NOT_FOUND,
           ti_model_find(m, txn, S("b"), &lock, &d.a, &document, &d.call, &d.err));
    assert_string_equal(ids(&d, m, txn, "by_age 1", NULL), "c");
    assert_string_equal(ids(&d, m, txn, "u_mail \"x\"", NULL), "");
    ti_txn_free(txn);
    ti_model_unref(m);
    db_close(&d);
}

static void unique_values_change_hands(void **state)
{
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, spec);
    OK(&d, build(&d, m, NULL, "{\"id\":\"a\",\"mail\":\"x\"}"));
    OK(&d, build(&d, m, NULL, "{\"id\":\"b\",\"mail\":\"y\"}"));
    OK(&d, build(&d, m, NULL, "{\"id\":\"c\",\"mail\":null}"));
    OK(&d, build(&d, m, NULL, "{\"id\":\"d\"}")); /* null claims nothing */
    ti_txn *txn = begin(&d);
    OK(&d, update(&d, m, txn, "{\"id\":\"a\",\"mail\":\"tmp\"}"));
    OK(&d, update(&d, m, txn, "{\"id\":\"b\",\"mail\":\"x\"}"));
    OK(&d, update(&d, m, txn, "{\"id\":\"a\",\"mail\":\"y\"}"));
    commit(&d, txn);
    assert_string_equal(ids(&d, m, NULL, "u_mail", NULL), "b a");
    txn = begin(&d);
    OK(&d, del(&d, m, txn, "a", NULL));
    OK(&d, build(&d, m, txn, "{\"id\":\"e\",\"mail\":\"y\"}"));
    OK(&d, build(&d, m, txn, "{\"id\":\"a\",\"mail\":\"z\"}"));
    commit(&d, txn);
    assert_string_equal(ids(&d, m, NULL, "u_mail \"y\"", NULL), "e");
    /* claimed before it is given up: refused at commit, and nothing of it is stored */
    txn = begin(&d);
    OK(&d, update(&d, m, txn, "{\"id\":\"a\",\"mail\":\"x\"}"));
    OK(&d, update(&d, m, txn, "{\"id\":\"b\",\"mail\":\"q\"}"));
    EXPECT(&d, TI_UNIQUE_VIOLATION, try_commit(&d, txn));
    assert_string_equal(ids(&d, m, NULL, "u_mail", NULL), "b e a");
    assert_string_equal(check(&d, m, false, NULL), "");
    ti_model_unref(m);
    db_close(&d);
}

static void asserting_and_locking(void **state)
{
    db d;
    ti_document document;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, spec);
    OK(&d, build(&d, m, NULL, "{\"id\":\"a\",\"age\":1}"));
    OK(&d, build(&d, m, NULL, "{\"id\":\"b\",\"age\":1}"));
    ti_txn *txn = begin(&d);
    OK(&d, ti_model_assert_current(m, txn, S("a"), &d.call, &d.err));
    OK(&d, update(&d, m, txn, "{\"id\":\"b\",\"age\":2}"));
    OK(&d, update(&d, m, NULL, "{\"id\":\"a\",\"age\":5}"));
    EXPECT(&d, TI_CONFLICT, try_commit(&d, txn));
    SAYS(&d, "record \"a\"");
    txn = begin(&d);
    EXPECT(&d, TI_NOT_FOUND, ti_model_assert_current(m, txn, S("zz"), &d.call, &d.err));
    ti_txn_free(txn);
    const ti_read lock = {.lock = true, .lock_wait_us = 0};
    ti_txn *one = begin(&d);
    ti_txn *two = begin(&d);
    OK(&d, ti_model_find(m, one, S("a"), &lock, &d.a, &document, &d.call, &d.err));
    assert_string_equal(T(document.json), "{\"id\":\"a\",\"age\":5}");
    EXPECT(&d, TI_BUSY, ti_model_find(m, two, S("a"), &lock, &d.a, &document, &d.call, &d.err));
    OK(&d, update(&d, m, one, "{\"id\":\"a\",\"age\":6}"));
    commit(&d, one);
    ti_txn_free(two);
    two = begin(&d);
    OK(&d, ti_model_find(m, two, S("a"), &lock, &d.a, &document, &d.call, &d.err));
    assert_string_equal(T(document.json), "{\"id\":\"a\",\"age\":6}");
    commit(&d, two);
    ti_model_unref(m);
    db_close(&d);
}

/* ---- events ---- */

typedef struct heard {
    char text[4096];
    size_t len;
} heard;

static ti_status hear(void *context, ti_txn *txn, const ti_model_event *e, const ti_call *call,
                      ti_err *err)
{
    heard *h = context;
    (void)txn;
    (void)call;
    (void)err;
    h->len += (size_t)snprintf(h->text + h->len, sizeof h->text - h->len,
                               "%s %s %s %s key=%s refs=%s due=%lld %s;", T(e->type), T(e->action),
                               T(e->entity), T(e->entity_id), T(e->key), T(e->references),
                               (long long)e->due_us, T(e->payload));
    return TI_OK;
}

static void events(void **state)
{
    db d;
    heard h = {.len = 0};
    (void)state;
    db_open(&d, NULL);
    const ti_event_sink sink = {.publish = hear, .context = &h};
    ti_model *m = declare(
        &d, "{\"table\":\"post\",\"events\":\"host\",\"partition_key\":\"author\",\"references\":"
            "\"tags\"}");
    assert_true(ti_model_has_events(m));
    ti_write write = {.operation = S("INSERT"),
                      .events = S("[{\"name\":\"post\",\"timestamp\":12.5},{\"name\":\"audit\","
                                  "\"key\":\"k\",\"payload\":{"
                                  "\"x\":1}}]")};
    const char *json = "{\"id\":\"p1\",\"author\":\"al\",\"tags\":[\"t1\",\"t2\"]}";
    EXPECT(&d, TI_UNSUPPORTED,
           ti_model_build(m, NULL, S(json), &write, &d.a, NULL, &d.call, &d.err));
    ti_store_set_event_sink(d.store, &sink);
    OK(&d, ti_model_build(m, NULL, S(json), &write, &d.a, NULL, &d.call, &d.err));
    assert_string_equal(
        h.text,
        "post INSERT table:post:p1 p1 key=al refs=[\"t1\",\"t2\"] due=12500000 {\"name\":\"post\","
        "\"timestamp\":12.5};audit INSERT table:post:p1 p1 key=k refs=[\"t1\",\"t2\"] due=0 "
        "{\"x\":1};");
    h = (heard){.len = 0};
    write = (ti_write){.operation = S("DELETE"),
                       .events = S("[{\"name\":\"post\"}]"),
                       .partition_key = S("mine"),
                       .references = S("[\"r\"]")};
    OK(&d, ti_model_delete(m, NULL, S("p1"), &write, NULL, &d.call, &d.err));
    assert_string_equal(
        h.text, "post DELETE table:post:p1 p1 key=mine refs=[\"r\"] due=0 {\"name\":\"post\"};");
    h = (heard){.len = 0};
    OK(&d, build(&d, m, NULL, json)); /* nobody asked */
    assert_string_equal(h.text, "");
    static const char *const bad[] = {"5",
                                      "[5]",
                                      "[{}]",
                                      "[{\"name\":\"a:b\"}]",
                                      "[{\"name\":\"a\",\"timestamp\":\"x\"}]",
                                      "[{\"name\":\"a\",\"timestamp\":-1}]",
                                      "[{\"name\":\"a\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write = (ti_write){.operation = S("UPDATE"), .events = S(bad[i])};
        EXPECT(&d, TI_INVALID_ARGUMENT,
               ti_model_save(m, NULL, S(json), &write, &d.a, NULL, &d.call, &d.err));
    }
    ti_model *silent = declare(&d, "{\"table\":\"s\"}");
    write = (ti_write){.operation = S("INSERT"), .events = S("[]")};
    EXPECT(&d, TI_INVALID_ARGUMENT,
           ti_model_build(silent, NULL, S(json), &write, &d.a, NULL, &d.call, &d.err));
    assert_null(find(&d, silent, NULL, "p1"));
    ti_model_unref(silent);
    ti_model_unref(m);
    db_close(&d);
}

static void sees_what_the_index_says(void **state)
{
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, "{\"table\":\"t\",\"indexes\":[{\"name\":\"items\",\"fields\":[{"
                              "\"name\":\"items.k\",\"type\":\"string\"},{"
                              "\"name\":\"items.n\",\"type\":\"number\",\"order\":\"desc\"}]},{"
                              "\"name\":\"some\",\"sparse\":true,"
                              "\"fields\":[{\"name\":\"a.b\",\"type\":\"boolean\"}]},{\"name\":"
                              "\"where\",\"where\":{\"kind\":[\"x\",\"y\"]},"
                              "\"fields\":[{\"name\":\"a.b\",\"type\":\"boolean\"}]},{\"name\":"
                              "\"never\",\"condition\":false,\"fields\":[{"
                              "\"name\":\"a\",\"type\":\"string\"}]}]}");
    OK(&d,
       build(
           &d, m, NULL,
           "{\"id\":\"1\",\"items\":[{\"k\":\"a\",\"n\":1},{\"k\":\"a\",\"n\":2},{\"k\":\"b\"}]}"));
    OK(&d, build(&d, m, NULL,
                 "{\"id\":\"2\",\"items\":[{\"k\":\"a\",\"n\":1.0},{\"k\":\"a\",\"n\":1}],\"kind\":"
                 "\"x\"}"));
    OK(&d, build(&d, m, NULL, "{\"id\":\"3\",\"items\":[],\"a\":{\"b\":true},\"kind\":\"y\"}"));
    OK(&d, build(&d, m, NULL, "{\"id\":\"4\",\"a\":{\"b\":null},\"kind\":\"z\"}"));
    assert_string_equal(ids(&d, m, NULL, "items \"a\"", NULL), "1 2");
    assert_string_equal(ids(&d, m, NULL, "items \"a\" 1", NULL), "1 2");
    assert_string_equal(ids(&d, m, NULL, "items \"b\" null", NULL), "1");
    assert_string_equal(ids(&d, m, NULL, "items null", NULL), "3 4");
    assert_string_equal(ids(&d, m, NULL, "items \"a\" >1", NULL), "1");
    assert_string_equal(ids(&d, m, NULL, "some", NULL), "3");
    assert_string_equal(ids(&d, m, NULL, "where", NULL), "2 3");
    assert_string_equal(ids(&d, m, NULL, "never", NULL), "");
    ti_model_unref(m);
    db_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions),
        cmocka_unit_test(patches),
        cmocka_unit_test(defaults_and_timestamps),
        cmocka_unit_test(own_writes_are_seen),
        cmocka_unit_test(built_over_a_stored_record),
        cmocka_unit_test(locked_records_are_newer_than_the_entries),
        cmocka_unit_test(unique_values_change_hands),
        cmocka_unit_test(asserting_and_locking),
        cmocka_unit_test(events),
        cmocka_unit_test(sees_what_the_index_says),
    };
    return TEST_RUN(tests);
}

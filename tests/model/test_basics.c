/* Build, find, update, delete, indexes, unique indexes, relationships, queries: the first walk
 * through all of it. */
#include "model/support.h"

static const char *post_spec = "{\"table\":\"post\",\"indexes\":[{\"name\":\"by_author\","
                               "\"fields\":[{\"name\":\"author\",\"type\":\"string\"},"
                               "{\"name\":\"views\",\"type\":\"number\"}]},{\"name\":\"by_tag\","
                               "\"fields\":[{\"name\":\"tag_ids\",\"type\":"
                               "\"string\"}]}],\"unique_indexes\":[{\"name\":\"by_slug\","
                               "\"fields\":[{\"name\":\"slug\",\"type\":\"string\"}]}],"
                               "\"relationships\":[{\"source_field_name\":\"tag_ids\","
                               "\"destination_field_name\":\"tags\",\"model\":\"tag\"}]}";

static void test_walk(void **state)
{
    db d;
    bool existed;
    (void)state;
    db_open(&d, NULL);
    ti_model *tag = declare(&d, "{\"table\":\"tag\"}");
    ti_model *post = declare(&d, post_spec);
    OK(&d, build(&d, tag, NULL, "{\"id\":\"t1\",\"name\":\"one\"}"));
    OK(&d, build(&d, tag, NULL, "{\"id\":\"t2\",\"name\":\"two\"}"));
    OK(&d, build(&d, post, NULL,
                 "{\"id\":\"p1\",\"slug\":\"a\",\"author\":\"Alice\",\"views\":10,\"tag_ids\":["
                 "\"t1\",\"t2\"]}"));
    OK(&d,
       build(&d, post, NULL,
             "{\"id\":\"p2\",\"slug\":\"b\",\"author\":\"Bob\",\"views\":5,\"tag_ids\":[\"t2\"]}"));
    OK(&d, build(&d, post, NULL,
                 "{\"id\":\"p3\",\"slug\":\"c\",\"author\":\"Alice\",\"views\":3,\"tag_ids\":["
                 "\"t2\",\"t9\"]}"));
    EXPECT(&d, TI_ALREADY_EXISTS, build(&d, post, NULL, "{\"id\":\"p1\",\"slug\":\"z\"}"));
    SAYS(&d, "p1");
    EXPECT(&d, TI_UNIQUE_VIOLATION, build(&d, post, NULL, "{\"id\":\"p4\",\"slug\":\"a\"}"));
    SAYS(&d, "by_slug");
    assert_string_equal(d.err.table, "post");
    assert_string_equal(d.err.index, "by_slug");
    assert_string_equal(ids(&d, post, NULL, "by_author \"Alice\"", NULL), "p3 p1");
    assert_string_equal(ids(&d, post, NULL, "by_author \"Alice\" reverse", NULL), "p1 p3");
    assert_string_equal(ids(&d, post, NULL, "by_author \"Alice\" >3", NULL), "p1");
    assert_string_equal(ids(&d, post, NULL, "by_tag \"t2\"", NULL), "p1 p2 p3");
    assert_string_equal(ids(&d, post, NULL, "by_tag", NULL), "p1 p2 p3");
    assert_string_equal(ids(&d, post, NULL, "by_tag reverse", NULL), "p3 p2 p1");
    assert_string_equal(ids(&d, post, NULL, "by_slug \"b\"", NULL), "p2");
    assert_string_equal(find_with(&d, post, NULL, "p3", "tags"),
                        "{\"id\":\"p3\",\"slug\":\"c\",\"author\":\"Alice\",\"views\":3,\"tag_"
                        "ids\":[\"t2\",\"t9\"],"
                        "\"tags\":[{\"id\":\"t2\",\"name\":\"two\"}]}");
    ti_txn *txn = begin(&d);
    OK(&d, update(&d, post, txn, "{\"id\":\"p1\",\"slug\":\"q\",\"author\":\"Bob\",\"views\":1}"));
    assert_string_equal(ids(&d, post, txn, "by_author \"Bob\"", NULL), "p1 p2");
    assert_string_equal(ids(&d, post, txn, "by_slug", NULL), "p2 p3 p1");
    commit(&d, txn);
    assert_string_equal(ids(&d, post, NULL, "by_author \"Bob\"", NULL), "p1 p2");
    assert_string_equal(ids(&d, post, NULL, "by_tag \"t1\"", NULL), "");
    OK(&d, build(&d, post, NULL, "{\"id\":\"p4\",\"slug\":\"a\"}"));
    OK(&d, del(&d, post, NULL, "p2", &existed));
    assert_true(existed);
    OK(&d, del(&d, post, NULL, "p2", &existed));
    assert_false(existed);
    assert_null(find(&d, post, NULL, "p2"));
    assert_string_equal(ids(&d, post, NULL, "by_author \"Bob\"", NULL), "p1");
    assert_string_equal(ids(&d, post, NULL, "*", NULL), "p1 p3 p4");
    ti_model_unref(tag);
    ti_model_unref(post);
    db_close(&d);
}

static void namespaces_do_not_meet(void **state)
{
    db plain;
    db one;
    db two;
    (void)state;
    db_open(&plain, NULL);
    db_open_namespace(&one, &plain, "shop");
    db_open_namespace(&two, &plain, "shop2");
    db *all[] = {&plain, &one, &two};
    ti_model *models[3];
    for (int i = 0; i < 3; i++) {
        char json[64];
        models[i] = declare(all[i], post_spec);
        snprintf(json, sizeof json, "{\"id\":\"p\",\"slug\":\"s\",\"views\":%d}", i);
        OK(all[i], build(all[i], models[i], NULL, json));
    }
    OK(&one, ti_drop_table(one.store, S("post"), &one.call, &one.err)); /* no neighbour's */
    for (int i = 0; i < 3; i++) {
        assert_string_equal(ids(all[i], models[i], NULL, "by_slug \"s\"", NULL), i == 1 ? "" : "p");
        assert_string_equal(ids(all[i], models[i], NULL, "*", NULL), i == 1 ? "" : "p");
        assert_string_equal(check(all[i], models[i], false, NULL), "");
        ti_model_unref(models[i]);
    }
    db_close(&one);
    db_close(&two);
    db_close(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk),
        cmocka_unit_test(namespaces_do_not_meet),
    };
    return TEST_RUN(tests);
}

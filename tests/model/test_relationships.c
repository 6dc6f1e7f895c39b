/* Relationships: where ids may stand, what hydration puts where, chains, limits, what is not
 * stored. */
#include "model/support.h"

#define REL(source, destination, model)                                                            \
    "{\"source_field_name\":\"" source "\",\"destination_field_name\":\"" destination              \
    "\",\"model\":\"" model "\"}"

typedef struct shop {
    db d;
    ti_model *order;
    ti_model *product;
    ti_model *maker;
} shop;

static void open_shop(shop *s)
{
    db_open(&s->d, NULL);
    s->order = declare(
        &s->d,
        "{\"table\":\"order\",\"relationships\":[" REL(
            "items.product_id", "items.product",
            "product") "," REL("buyer.id", "buyer.person",
                               "person") "," REL("items.product_id", "products",
                                                 "product") "," REL("gift_id", "gift",
                                                                    "product") "],"
                                                                               "\"indexes\":[{"
                                                                               "\"name\":\"by_n\","
                                                                               "\"fields\":[{"
                                                                               "\"name\":\"n\","
                                                                               "\"type\":"
                                                                               "\"number\"}]}]}");
    s->product = declare(
        &s->d, "{\"table\":\"product\",\"relationships\":[" REL("maker_id", "maker", "maker") "]}");
    s->maker = declare(
        &s->d, "{\"table\":\"maker\",\"relationships\":[" REL("best_ids", "best", "product") "]}");
    OK(&s->d, build(&s->d, s->maker, NULL, "{\"id\":\"m1\",\"best_ids\":[\"p2\",\"p1\"]}"));
    OK(&s->d, build(&s->d, s->product, NULL, "{\"id\":\"p1\",\"maker_id\":\"m1\"}"));
    OK(&s->d, build(&s->d, s->product, NULL, "{\"id\":\"p2\",\"maker_id\":\"nobody\"}"));
    OK(&s->d, build(&s->d, s->product, NULL, "{\"id\":\"p3\"}"));
}

static void close_shop(shop *s)
{
    ti_model_unref(s->order);
    ti_model_unref(s->product);
    ti_model_unref(s->maker);
    db_close(&s->d);
}

static void nested_and_lists(void **state)
{
    shop s;
    (void)state;
    open_shop(&s);
    OK(&s.d, build(&s.d, s.order, NULL,
                   "{\"id\":\"o1\",\"n\":1,\"items\":[{\"product_id\":\"p1\",\"n\":2},{\"product_"
                   "id\":\"gone\"},{"
                   "\"product_id\":\"p3\"},{}],\"gift_id\":\"p3\"}"));
    assert_string_equal(find_with(&s.d, s.order, NULL, "o1", "items.product"),
                        "{\"id\":\"o1\",\"n\":1,\"items\":[{\"product_id\":\"p1\",\"n\":2,"
                        "\"product\":{\"id\":\"p1\","
                        "\"maker_id\":\"m1\"}},{\"product_id\":\"gone\"},{\"product_id\":\"p3\","
                        "\"product\":{\"id\":"
                        "\"p3\"}},{}],\"gift_id\":\"p3\"}");
    assert_string_equal(find_with(&s.d, s.order, NULL, "o1", "gift,products"),
                        "{\"id\":\"o1\",\"n\":1,\"items\":[{\"product_id\":\"p1\",\"n\":2},{"
                        "\"product_id\":\"gone\"},{"
                        "\"product_id\":\"p3\"},{}],\"gift_id\":\"p3\",\"gift\":{\"id\":\"p3\"},"
                        "\"products\":[{\"id\":"
                        "\"p1\",\"maker_id\":\"m1\"},{\"id\":\"p3\"}]}");
    OK(&s.d, build(&s.d, s.order, NULL,
                   "{\"id\":\"o2\",\"items\":{\"product_id\":\"p1\"},\"gift_id\":[]}"));
    assert_string_equal(
        find_with(&s.d, s.order, NULL, "o2", "items.product,gift,products"),
        "{\"id\":\"o2\",\"items\":{\"product_id\":\"p1\",\"product\":{\"id\":\"p1\",\"maker_id\":"
        "\"m1\"}},"
        "\"gift_id\":[],\"gift\":[],\"products\":{\"id\":\"p1\",\"maker_id\":\"m1\"}}");
    OK(&s.d, build(&s.d, s.order, NULL,
                   "{\"id\":\"o3\",\"items\":5,\"gift_id\":[\"p1\",7,null,\"\",\"p1\"]}"));
    assert_string_equal(find_with(&s.d, s.order, NULL, "o3", "items.product,gift"),
                        "{\"id\":\"o3\",\"items\":5,\"gift_id\":[\"p1\",7,null,\"\",\"p1\"],"
                        "\"gift\":[{\"id\":\"p1\","
                        "\"maker_id\":\"m1\"},{\"id\":\"p1\",\"maker_id\":\"m1\"}]}");
    close_shop(&s);
}

static void chains(void **state)
{
    shop s;
    (void)state;
    open_shop(&s);
    OK(&s.d, build(&s.d, s.order, NULL, "{\"id\":\"o1\",\"gift_id\":\"p1\"}"));
    assert_string_equal(find_with(&s.d, s.order, NULL, "o1", "gift.maker"),
                        "{\"id\":\"o1\",\"gift_id\":\"p1\",\"gift\":{\"id\":\"p1\",\"maker_id\":"
                        "\"m1\",\"maker\":{\"id\":"
                        "\"m1\",\"best_ids\":[\"p2\",\"p1\"]}}}");
    assert_string_equal(
        find_with(&s.d, s.order, NULL, "o1", "gift.maker.best.maker"),
        "{\"id\":\"o1\",\"gift_id\":\"p1\",\"gift\":{\"id\":\"p1\",\"maker_id\":\"m1\",\"maker\":{"
        "\"id\":"
        "\"m1\",\"best_ids\":[\"p2\",\"p1\"],\"best\":[{\"id\":\"p2\",\"maker_id\":\"nobody\"},{"
        "\"id\":"
        "\"p1\",\"maker_id\":\"m1\",\"maker\":{\"id\":\"m1\",\"best_ids\":[\"p2\",\"p1\"]}}]}}}");
    ti_document document;
    const ti_slice deep[] = {S("gift.maker.best.maker.best")};
    ti_read read = {.relationships = deep, .relationship_count = 1};
    EXPECT(&s.d, TI_LIMIT_EXCEEDED,
           ti_model_find(s.order, NULL, S("o1"), &read, &s.d.a, &document, &s.d.call, &s.d.err));
    const ti_slice unknown[] = {S("gift.owner")};
    read.relationships = unknown;
    EXPECT(&s.d, TI_INVALID_ARGUMENT,
           ti_model_find(s.order, NULL, S("o1"), &read, &s.d.a, &document, &s.d.call, &s.d.err));
    SAYS(&s.d, "no relationship");
    const ti_slice undeclared[] = {S("buyer.person")};
    read.relationships = undeclared;
    EXPECT(&s.d, TI_INVALID_ARGUMENT,
           ti_model_find(s.order, NULL, S("o1"), &read, &s.d.a, &document, &s.d.call, &s.d.err));
    SAYS(&s.d, "model \"person\", which is not declared");
    ti_model *person = declare(&s.d, "{\"table\":\"person\"}"); /* resolved at first use */
    OK(&s.d, ti_model_find(s.order, NULL, S("o1"), &read, &s.d.a, &document, &s.d.call, &s.d.err));
    ti_slice many[TI_QUERY_RELATIONSHIPS_MAX + 1];
    for (size_t i = 0; i <= TI_QUERY_RELATIONSHIPS_MAX; i++)
        many[i] = S("gift");
    read = (ti_read){.relationships = many, .relationship_count = TI_QUERY_RELATIONSHIPS_MAX + 1};
    EXPECT(&s.d, TI_LIMIT_EXCEEDED,
           ti_model_find(s.order, NULL, S("o1"), &read, &s.d.a, &document, &s.d.call, &s.d.err));
    ti_model_unref(person);
    close_shop(&s);
}

static void what_was_hydrated_is_not_stored(void **state)
{
    shop s;
    (void)state;
    open_shop(&s);
    const char *plain = "{\"id\":\"o1\",\"items\":[{\"product_id\":\"p1\"},{\"product_id\":\"p2\"}]"
                        ",\"gift_id\":\"p1\"}";
    OK(&s.d, build(&s.d, s.order, NULL, plain));
    const char *full = find_with(&s.d, s.order, NULL, "o1", "items.product,gift.maker,products");
    assert_non_null(strstr(full, "best_ids"));
    OK(&s.d, update(&s.d, s.order, NULL, full));
    assert_string_equal(find(&s.d, s.order, NULL, "o1"), plain);
    /* even when it has become larger than a document may be */
    static char large[1000000];
    memset(large, 'x', 700000);
    char *json = ti_arena_format(&s.d.a, "{\"id\":\"big\",\"text\":\"%.*s\"}", 700000, large);
    OK(&s.d, build(&s.d, s.product, NULL, json));
    OK(&s.d, build(&s.d, s.order, NULL, "{\"id\":\"o2\",\"gift_id\":[\"big\",\"big\",\"big\"]}"));
    ti_document document;
    const ti_slice gift[] = {S("gift")};
    const ti_read read = {.relationships = gift, .relationship_count = 1};
    OK(&s.d, ti_model_find(s.order, NULL, S("o2"), &read, &s.d.a, &document, &s.d.call, &s.d.err));
    assert_true(document.json.len > 2000000);
    OK(&s.d, ti_model_save(s.order, NULL, document.json, NULL, &s.d.a, NULL, &s.d.call, &s.d.err));
    assert_string_equal(find(&s.d, s.order, NULL, "o2"),
                        "{\"id\":\"o2\",\"gift_id\":[\"big\",\"big\",\"big\"]}");
    close_shop(&s);
}

static void pages(void **state)
{
    shop s;
    (void)state;
    open_shop(&s);
    for (int i = 0; i < 6; i++) {
        char json[128];
        snprintf(json, sizeof json, "{\"id\":\"o%d\",\"n\":%d,\"gift_id\":\"p%d\"}", i, i,
                 i % 3 + 1);
        OK(&s.d, build(&s.d, s.order, NULL, json));
    }
    ti_page *page = page_of(&s.d, s.order, NULL, "by_n >1 limit=3 rel=gift.maker");
    assert_int_equal(page->count, 3);
    assert_string_equal(T(page->items[0].json),
                        "{\"id\":\"o2\",\"n\":2,\"gift_id\":\"p3\",\"gift\":{\"id\":\"p3\"}}");
    assert_string_equal(T(page->items[1].json),
                        "{\"id\":\"o3\",\"n\":3,\"gift_id\":\"p1\",\"gift\":{\"id\":\"p1\",\"maker_"
                        "id\":\"m1\",\"maker\":{"
                        "\"id\":\"m1\",\"best_ids\":[\"p2\",\"p1\"]}}}");
    ti_page_free(page);
    /* the transaction's own writes are hydrated, too */
    ti_txn *txn = begin(&s.d);
    OK(&s.d, update(&s.d, s.product, txn, "{\"id\":\"p3\",\"new\":true}"));
    OK(&s.d, del(&s.d, s.product, txn, "p1", NULL));
    assert_string_equal(
        find_with(&s.d, s.order, txn, "o2", "gift"),
        "{\"id\":\"o2\",\"n\":2,\"gift_id\":\"p3\",\"gift\":{\"id\":\"p3\",\"new\":true}}");
    assert_string_equal(find_with(&s.d, s.order, txn, "o3", "gift"),
                        "{\"id\":\"o3\",\"n\":3,\"gift_id\":\"p1\"}");
    ti_txn_free(txn);
    ti_page *many = NULL;
    const ti_slice wanted[] = {S("o5"), S("zz"), S("o1"), S("o5")};
    const ti_slice gift[] = {S("gift")};
    const ti_read read = {.relationships = gift, .relationship_count = 1};
    OK(&s.d, ti_model_find_many(s.order, NULL, wanted, 4, &read, &many, &s.d.call, &s.d.err));
    assert_int_equal(many->count, 2);
    assert_string_equal(T(many->items[0].id), "o5");
    assert_string_equal(T(many->items[1].json),
                        "{\"id\":\"o1\",\"n\":1,\"gift_id\":\"p2\",\"gift\":{\"id\":\"p2\",\"maker_"
                        "id\":\"nobody\"}}");
    ti_page_free(many);
    close_shop(&s);
}

/* Models of one scope see each other; a scope that ends takes its models along. */
static void scopes(void **state)
{
    db d;
    ti_model *one;
    ti_model *two;
    ti_document document;
    const char *rel = "{\"table\":\"a\",\"relationships\":[" REL("b_id", "b", "b") "]}";
    const ti_slice path[] = {S("b")};
    const ti_read read = {.relationships = path, .relationship_count = 1};
    (void)state;
    db_open(&d, NULL);
    ti_model *b = NULL;
    OK(&d, ti_model_declare(d.store, 1, S(rel), &one, &d.err));
    OK(&d, ti_model_declare(d.store, 2, S(rel), &two, &d.err));
    OK(&d, ti_model_declare(d.store, 1, S("{\"table\":\"b\"}"), &b, &d.err));
    ti_model_unref(b); /* the scope keeps it */
    OK(&d, build(&d, one, NULL, "{\"id\":\"x\",\"b_id\":\"y\"}"));
    OK(&d, ti_model_find(one, NULL, S("x"), &read, &d.a, &document, &d.call, &d.err));
    EXPECT(&d, TI_INVALID_ARGUMENT,
           ti_model_find(two, NULL, S("x"), &read, &d.a, &document, &d.call, &d.err));
    ti_store_forget_scope(d.store, 1);
    EXPECT(&d, TI_INVALID_ARGUMENT,
           ti_model_find(one, NULL, S("x"), &read, &d.a, &document, &d.call, &d.err));
    ti_model_unref(one);
    ti_model_unref(two);
    db_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nested_and_lists),
        cmocka_unit_test(chains),
        cmocka_unit_test(what_was_hydrated_is_not_stored),
        cmocka_unit_test(pages),
        cmocka_unit_test(scopes),
    };
    return TEST_RUN(tests);
}

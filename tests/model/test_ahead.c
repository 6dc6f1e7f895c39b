/* Reading ahead: what documents name is read with them, as far as it was guessed; answers do not
 * depend on guesses. */
#include "model/support.h"

#define POSTS 12 /* more than are remembered in tests */

typedef struct blog {
    db first;
    db d; /* reads ahead */
    ti_model *post;
    ti_model *tag;
    ti_engine_vt counting;
    const ti_engine_vt *plain;
} blog;

static const ti_engine_vt *counted;
static _Atomic(int) reads; /* batch_gets that asked for something */

static ti_status count_batch_get(ti_snapshot *s, const ti_slice *keys, size_t count, ti_arena *a,
                                 ti_slice *values_out, const ti_call *call, ti_err *err)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            assert_false(ti_slice_equal(keys[i], keys[k]));
    atomic_fetch_add(&reads, count > 0);
    return counted->batch_get(s, keys, count, a, values_out, call, err);
}

static void open_blog(blog *b)
{
    db_open(&b->first, NULL);
    db_open_beside(&b->d, &b->first, true, 300000);
    b->plain = counted = b->first.engine->vt;
    b->counting = *b->plain;
    b->counting.batch_get = count_batch_get;
    b->first.engine->vt = &b->counting;
    b->tag = declare(&b->d, "{\"table\":\"tag\",\"relationships\":[{\"source_field_name\":\"up\","
                            "\"destination_field_name\":\"parent\",\"model\":\"tag\"}]}");
    b->post = declare(
        &b->d, "{\"table\":\"post\",\"indexes\":[{\"name\":\"by_n\",\"fields\":[{\"name\":\"n\","
               "\"type\":\"number\"}]}],\"relationships\":[{\"source_field_name\":\"tag_ids\","
               "\"destination_field_name\":\"tags\",\"model\":\"tag\"}]}");
    OK(&b->d, build(&b->d, b->tag, NULL, "{\"id\":\"t1\"}"));
    OK(&b->d, build(&b->d, b->tag, NULL, "{\"id\":\"t2\",\"up\":\"t1\"}"));
    OK(&b->d, build(&b->d, b->tag, NULL, "{\"id\":\"t3\",\"up\":\"t2\"}"));
    OK(&b->d, build(&b->d, b->post, NULL, "{\"id\":\"p1\",\"n\":1,\"tag_ids\":[\"t1\",\"t2\"]}"));
    OK(&b->d, build(&b->d, b->post, NULL, "{\"id\":\"p2\",\"n\":1,\"tag_ids\":[\"t2\",\"no\"]}"));
}

static void close_blog(blog *b)
{
    b->first.engine->vt = b->plain;
    ti_model_unref(b->post);
    ti_model_unref(b->tag);
    db_close(&b->d);
    db_close(&b->first);
}

/* The page's documents one behind the other. */
static const char *page_text(blog *b, ti_txn *txn, const char *words)
{
    static char text[8192];
    ti_page *page = page_of(&b->d, b->post, txn, words);
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < page->count; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%.*s\n", (int)page->items[i].json.len,
                               page->items[i].json.data);
    assert_true(at < sizeof(text));
    ti_page_free(page);
    return text;
}

/* The query must answer that, with so many reads. */
static void shows(blog *b, ti_txn *txn, const char *expected, int wanted_reads)
{
    atomic_store(&reads, 0);
    assert_string_equal(page_text(b, txn, "by_n 1 rel=tags"), expected);
    assert_int_equal(atomic_load(&reads), wanted_reads);
}

#define T1 "{\"id\":\"t1\"}"
#define T2 "{\"id\":\"t2\",\"up\":\"t1\"}"
#define T3 "{\"id\":\"t3\",\"up\":\"t2\"}"
#define P1 "{\"id\":\"p1\",\"n\":1,\"tag_ids\":[\"t1\",\"t2\"],\"tags\":[" T1 "," T2 "]}\n"
#define P2 "{\"id\":\"p2\",\"n\":1,\"tag_ids\":[\"t2\",\"no\"],\"tags\":[" T2 "]}\n"

static void the_second_time_one_read_is_enough(void **state)
{
    blog b;
    (void)state;
    open_blog(&b);
    shows(&b, NULL, P1 P2, 2);
    shows(&b, NULL, P1 P2, 1);
    atomic_store(&reads, 0); /* other relationships are another matter */
    assert_string_equal(page_text(&b, NULL, "by_n 1"),
                        "{\"id\":\"p1\",\"n\":1,\"tag_ids\":[\"t1\",\"t2\"]}\n"
                        "{\"id\":\"p2\",\"n\":1,\"tag_ids\":[\"t2\",\"no\"]}\n");
    assert_int_equal(atomic_load(&reads), 1);
    close_blog(&b);
}

static void one_document_is_read_ahead_too(void **state)
{
    blog b;
    (void)state;
    open_blog(&b);
    for (int i = 0; i < 2; i++) {
        atomic_store(&reads, 0);
        assert_string_equal(find_with(&b.d, b.tag, NULL, "t2", "parent"),
                            "{\"id\":\"t2\",\"up\":\"t1\",\"parent\":" T1 "}");
        assert_int_equal(atomic_load(&reads), 2 - i);
    }
    assert_null(find_with(&b.d, b.tag, NULL, "no", "parent"));
    close_blog(&b);
}

/* Deeper levels are asked for as ever; of a chain the first one is guessed. */
static void chains_end_the_same(void **state)
{
    blog b;
    (void)state;
    open_blog(&b);
    for (int i = 0; i < 2; i++) {
        atomic_store(&reads, 0);
        assert_string_equal(find_with(&b.d, b.tag, NULL, "t3", "parent.parent"),
                            "{\"id\":\"t3\",\"up\":\"t2\",\"parent\":{\"id\":\"t2\",\"up\":\"t1\","
                            "\"parent\":" T1 "}}");
        assert_int_equal(atomic_load(&reads), 3 - i);
    }
    close_blog(&b);
}

static void wrong_guesses_do_not_show(void **state)
{
    blog b;
    (void)state;
    open_blog(&b);
    shows(&b, NULL, P1 P2, 2);
    OK(&b.d, update(&b.d, b.post, NULL, "{\"id\":\"p1\",\"n\":1,\"tag_ids\":[\"t3\"]}"));
    OK(&b.d, update(&b.d, b.tag, NULL, "{\"id\":\"t2\",\"new\":1}"));
    const char *changed = "{\"id\":\"p1\",\"n\":1,\"tag_ids\":[\"t3\"],\"tags\":[" T3 "]}\n"
                          "{\"id\":\"p2\",\"n\":1,\"tag_ids\":[\"t2\",\"no\"],\"tags\":[{\"id\":"
                          "\"t2\",\"new\":1}]}\n";
    shows(&b, NULL, changed, 2);
    shows(&b, NULL, changed, 1);
    OK(&b.d, del(&b.d, b.tag, NULL, "t3", NULL));
    OK(&b.d, build(&b.d, b.tag, NULL, "{\"id\":\"no\"}"));
    shows(&b, NULL,
          "{\"id\":\"p1\",\"n\":1,\"tag_ids\":[\"t3\"],\"tags\":[]}\n"
          "{\"id\":\"p2\",\"n\":1,\"tag_ids\":[\"t2\",\"no\"],\"tags\":[{\"id\":\"t2\",\"new\":1},"
          "{\"id\":\"no\"}]}\n",
          1);
    close_blog(&b);
}

static void own_writes_are_seen(void **state)
{
    blog b;
    (void)state;
    open_blog(&b);
    shows(&b, NULL, P1 P2, 2);
    ti_txn *txn = begin(&b.d);
    OK(&b.d, update(&b.d, b.tag, txn, "{\"id\":\"t2\",\"mine\":true}"));
    OK(&b.d, del(&b.d, b.tag, txn, "t1", NULL));
    atomic_store(&reads, 0);
    assert_string_equal(page_text(&b, txn, "by_n 1 rel=tags"),
                        "{\"id\":\"p1\",\"n\":1,\"tag_ids\":[\"t1\",\"t2\"],\"tags\":[{\"id\":"
                        "\"t2\",\"mine\":true}]}\n"
                        "{\"id\":\"p2\",\"n\":1,\"tag_ids\":[\"t2\",\"no\"],\"tags\":[{\"id\":"
                        "\"t2\",\"mine\":true}]}\n");
    ti_txn_free(txn);
    shows(&b, NULL, P1 P2, 1);
    close_blog(&b);
}

/* A tag that is asked for and named by another one of the same read is asked for once. */
static void what_is_asked_for_is_not_guessed(void **state)
{
    const ti_slice wanted[] = {S("t1"), S("t2"), S("t3")};
    const ti_slice relationship = S("parent");
    const ti_read read = {.relationships = &relationship, .relationship_count = 1};
    blog b;
    ti_page *page;
    (void)state;
    open_blog(&b);
    for (int i = 0; i < 3; i++) {
        OK(&b.d, ti_model_find_many(b.tag, NULL, wanted, 3, &read, &page, &b.d.call, &b.d.err));
        assert_int_equal(page->count, 3);
        assert_string_equal(T(page->items[2].json),
                            "{\"id\":\"t3\",\"up\":\"t2\",\"parent\":" T2 "}");
        ti_page_free(page);
    }
    close_blog(&b);
}

/* More documents than are remembered, and one that names too many: answers stay. */
static void what_is_forgotten_is_asked_for(void **state)
{
    blog b;
    char text[1024], before[8192];
    (void)state;
    open_blog(&b);
    for (int i = 0; i < POSTS; i++) {
        snprintf(text, sizeof(text), "{\"id\":\"q%d\",\"n\":2,\"tag_ids\":[\"t%d\"]}", i, i % 4);
        OK(&b.d, build(&b.d, b.post, NULL, text));
    }
    size_t at = (size_t)snprintf(text, sizeof(text), "{\"id\":\"r\",\"n\":2,\"tag_ids\":[\"t1\"");
    for (int i = 0; i < 40; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, ",\"unknown-%d\"", i);
    snprintf(text + at, sizeof(text) - at, "]}");
    OK(&b.d, build(&b.d, b.post, NULL, text));
    snprintf(before, sizeof(before), "%s", page_text(&b, NULL, "by_n 2 rel=tags"));
    assert_non_null(strstr(before, "\"tags\":[" T3 "]"));
    for (int i = 0; i < 3; i++) {
        atomic_store(&reads, 0);
        assert_string_equal(page_text(&b, NULL, "by_n 2 rel=tags"), before);
        assert_int_equal(atomic_load(&reads), 2); /* what "r" names is never remembered */
    }
    close_blog(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_time_one_read_is_enough),
        cmocka_unit_test(one_document_is_read_ahead_too),
        cmocka_unit_test(chains_end_the_same),
        cmocka_unit_test(wrong_guesses_do_not_show),
        cmocka_unit_test(own_writes_are_seen),
        cmocka_unit_test(what_is_asked_for_is_not_guessed),
        cmocka_unit_test(what_is_forgotten_is_asked_for),
    };
    return TEST_RUN(tests);
}

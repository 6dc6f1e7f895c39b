/* Cursors: they go on at the exact place whatever happened meanwhile, and belong to one query
 * alone. */
#include "model/support.h"

static const char *spec = "{\"table\":\"t\",\"indexes\":[{\"name\":\"n\",\"fields\":[{\"name\":"
                          "\"n\",\"type\":\"number\"}]},{"
                          "\"name\":\"k\",\"fields\":[{\"name\":\"n\",\"type\":\"number\"}]}]}";

static ti_model *prepare(db *d, int count)
{
    db_open(d, NULL);
    ti_model *m = declare(d, spec);
    for (int i = 0; i < count; i++) {
        char json[64];
        snprintf(json, sizeof json, "{\"id\":\"%02d\",\"n\":%d}", i, i);
        OK(d, build(d, m, NULL, json));
    }
    return m;
}

static const char *with_cursor(const char *words, const char *cursor)
{
    static char out[16384];
    snprintf(out, sizeof out, "%s cursor=%s", words, cursor);
    return out;
}

static void the_place_stays(void **state)
{
    db d;
    const char *cursor;
    (void)state;
    ti_model *m = prepare(&d, 10);
    assert_string_equal(ids(&d, m, NULL, "n limit=4", &cursor), "00 01 02 03");
    OK(&d, del(&d, m, NULL, "03", NULL));
    OK(&d, del(&d, m, NULL, "04", NULL));
    OK(&d, build(&d, m, NULL, "{\"id\":\"x\",\"n\":3.5}"));
    OK(&d, build(&d, m, NULL, "{\"id\":\"y\",\"n\":2}"));
    assert_string_equal(ids(&d, m, NULL, with_cursor("n limit=3", cursor), &cursor), "x 05 06");
    assert_string_equal(ids(&d, m, NULL, with_cursor("n limit=100", cursor), &cursor),
                        "07 08 09"); /* another limit */
    assert_null(cursor);
    assert_string_equal(ids(&d, m, NULL, "n reverse limit=4", &cursor), "09 08 07 06");
    OK(&d, update(&d, m, NULL, "{\"id\":\"09\",\"n\":1.5}"));
    assert_string_equal(ids(&d, m, NULL, with_cursor("n reverse", cursor), &cursor),
                        "05 x y 02 09 01 00");
    assert_null(cursor);
    assert_string_equal(ids(&d, m, NULL, "n >=8 limit=1", &cursor),
                        "08"); /* nothing follows: no cursor */
    assert_null(cursor);
    ti_model_unref(m);
    db_close(&d);
}

static void it_belongs_to_one_query(void **state)
{
    db d;
    db other;
    const char *cursor;
    static const char *const others[] = {"k",        "n reverse", "n >=0", "n >=1 <=7", "n >=0 <8",
                                         "n >0 <=7", "*",         "n 3",   "n <=7"};
    (void)state;
    ti_model *m = prepare(&d, 10);
    ids(&d, m, NULL, "n >=0 <=7 limit=3", &cursor);
    assert_string_equal(ids(&d, m, NULL, with_cursor("n >=0 <=7", cursor), NULL), "03 04 05 06 07");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        EXPECT(&d, TI_INVALID_ARGUMENT, query_status(&d, m, NULL, with_cursor(others[i], cursor)));
    ti_model *there = prepare(&other, 10); /* another database has another secret */
    EXPECT(&other, TI_INVALID_ARGUMENT,
           query_status(&other, there, NULL, with_cursor("n >=0 <=7", cursor)));
    ti_model_unref(there);
    db_close(&other);
    ti_model_unref(m);
    db_close(&d);
}

static void forged_ones_are_refused(void **state)
{
    db d;
    const char *cursor;
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ .";
    (void)state;
    ti_model *m = prepare(&d, 10);
    ids(&d, m, NULL, "n limit=3", &cursor);
    size_t len = strlen(cursor);
    char forged[TI_CURSOR_SIZE_MAX];
    for (size_t i = 0; i < len; i++) {
        for (size_t k = 0; k < sizeof alphabet - 1; k += test_scale() < 1 ? 7 : 1) {
            memcpy(forged, cursor, len + 1);
            forged[i] = alphabet[k] == ' ' ? '!' : alphabet[k];
            if (forged[i] != cursor[i])
                EXPECT(&d, TI_INVALID_ARGUMENT,
                       query_status(&d, m, NULL, with_cursor("n", forged)));
        }
    }
    for (size_t cut = 1; cut < len; cut++) {
        memcpy(forged, cursor, cut);
        forged[cut] = '\0';
        EXPECT(&d, TI_INVALID_ARGUMENT, query_status(&d, m, NULL, with_cursor("n", forged)));
    }
    snprintf(forged, sizeof forged, "%s%s", cursor, "A");
    EXPECT(&d, TI_INVALID_ARGUMENT, query_status(&d, m, NULL, with_cursor("n", forged)));
    ti_model_unref(m);
    db_close(&d);
}

/* The secret is the database's: a token outlives the process. */
static void it_outlives_the_process(void **state)
{
    db d;
    char path[TEST_DIR_SIZE];
    const char *cursor;
    (void)state;
    test_dir_make(path);
    db_open(&d, path);
    ti_model *m = declare(&d, spec);
    for (int i = 0; i < 5; i++) {
        char json[64];
        snprintf(json, sizeof json, "{\"id\":\"%02d\",\"n\":%d}", i, i);
        OK(&d, build(&d, m, NULL, json));
    }
    ids(&d, m, NULL, "n limit=2", &cursor);
    ti_model_unref(m);
    db_reopen(&d);
    m = declare(&d, spec);
    assert_string_equal(ids(&d, m, NULL, with_cursor("n", cursor), NULL), "02 03 04");
    ti_model_unref(m);
    db_close(&d);
    test_dir_remove(path);
}

/* A new version of the index is another place: the cursor of the old one is refused, not misread.
 */
static void another_version_refuses_it(void **state)
{
    db d;
    const char *cursor;
    (void)state;
    ti_model *m = prepare(&d, 10);
    ids(&d, m, NULL, "n limit=3", &cursor);
    ti_model *next = declare(
        &d,
        "{\"table\":\"t\",\"indexes\":[{\"name\":\"n\",\"version\":2,\"fields\":[{\"name\":\"n\","
        "\"type\":\"number\"},{\"name\":\"m\",\"type\":\"number\"}]}]}");
    reindex(&d, next, NULL);
    EXPECT(&d, TI_INVALID_ARGUMENT, query_status(&d, next, NULL, with_cursor("n", cursor)));
    EXPECT(&d, TI_INVALID_ARGUMENT, query_status(&d, m, NULL, with_cursor("n", cursor)));
    ti_model_unref(next);
    ti_model_unref(m);
    db_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_place_stays),
        cmocka_unit_test(it_belongs_to_one_query),
        cmocka_unit_test(forged_ones_are_refused),
        cmocka_unit_test(it_outlives_the_process),
        cmocka_unit_test(another_version_refuses_it),
    };
    return TEST_RUN(tests);
}

/* Namespaces on one cluster, through the interface: whatever belongs to one (records, cursors,
 * names that begin alike) is nothing in another. That no key leaves the handle's prefix is in
 * tests/kv (txn.c): one that would stops the process, on any engine. */
#include "abi/harness.h"
#include "tikv/cluster.h"

#define ITEMS 20

static cluster shared;

static int start_shared(void **state)
{
    (void)state;
    cluster_start_mock(&shared, &(cluster_options){.stores = 1});
    return 0;
}

static int stop_shared(void **state)
{
    (void)state;
    cluster_stop(&shared);
    return 0;
}

/* A handle and a model in it; NULL: no namespace. */
typedef struct space {
    tito_db_t *db;
    tito_model_t *items;
} space;

static space space_open(const char *name)
{
    space s = {0};
    char target[CLUSTER_ADDRESS_SIZE + 16];
    tito_options_t *options = tito_options_new();
    assert_non_null(options);
    snprintf(target, sizeof(target), "tikv://%s", shared.pd[0]);
    if (name != NULL)
        OK(tito_options_set(options, "namespace", name, strlen(name)));
    OK(tito_connect(target, strlen(target), options, &s.db, &error));
    tito_options_free(options);
    s.items = declare(s.db, model_spec);
    return s;
}

static void space_close(const space *s)
{
    tito_model_free(s->items);
    tito_db_free(s->db);
}

static int32_t find(const space *s, const char *id)
{
    tito_future_t *found = tito_model_find(s->items, NULL, id, strlen(id), NULL);
    int32_t status = tito_future_wait(found, -1, NULL);
    tito_future_free(found);
    return status;
}

/* How many records a scan of the table sees. */
static int64_t count(const space *s)
{
    tito_query_t *query = NULL;
    OK(tito_query_scan(s->items, &query, &error));
    tito_future_t *counted = DONE(tito_query_count(query, NULL));
    int64_t n = tito_future_int(counted);
    tito_future_free(counted);
    tito_query_free(query);
    return n;
}

static void namespaces_do_not_see_each_other(void **state)
{
    (void)state;
    space one = space_open("one");
    space two = space_open("two");
    RUN(build_item(one.items, NULL, "a", "x", 1));
    assert_int_equal(find(&two, "a"), TITO_NOT_FOUND);
    RUN(build_item(two.items, NULL, "a", "x", 1));
    RUN(tito_model_delete(one.items, NULL, TEXT("a"), NULL));
    assert_int_equal(find(&one, "a"), TITO_NOT_FOUND);
    assert_int_equal(find(&two, "a"), TITO_OK);
    space_close(&one);
    space_close(&two);
}

/* Names that begin alike, and no name at all: each sees its own records only. */
static void names_that_begin_alike_are_apart(void **state)
{
    (void)state;
    static const char *const names[] = {NULL, "item", "item.a", "item.ab", "item-a", "table.item"};
    enum { NAMES = sizeof(names) / sizeof(names[0]) };
    space all[NAMES];
    char id[16];
    for (size_t i = 0; i < NAMES; i++) {
        all[i] = space_open(names[i]);
        for (size_t k = 0; k <= i; k++) {
            snprintf(id, sizeof(id), "%zu-%zu", i, k);
            RUN(build_item(all[i].items, NULL, id, "x", 1));
        }
    }
    for (size_t i = 0; i < NAMES; i++) {
        assert_int_equal(count(&all[i]), i + 1);
        for (size_t other = 0; other < NAMES; other++) {
            snprintf(id, sizeof(id), "%zu-0", other);
            assert_int_equal(find(&all[i], id), other == i ? TITO_OK : TITO_NOT_FOUND);
        }
    }
    for (size_t i = 0; i < NAMES; i++)
        space_close(&all[i]);
}

/* The only bytes of a key that a user gives back are in a cursor: in another namespace it is
 * refused, in words, before anything is read. */
static void a_cursor_of_another_namespace_is_refused(void **state)
{
    (void)state;
    space one = space_open("cursor");
    space two = space_open("cursor2");
    tito_query_t *mine = NULL;
    tito_query_t *theirs = NULL;
    char id[16];
    for (int i = 0; i < ITEMS; i++) {
        snprintf(id, sizeof(id), "i%02d", i);
        RUN(build_item(one.items, NULL, id, "x", i));
        RUN(build_item(two.items, NULL, id, "x", i));
    }
    OK(tito_query_scan(one.items, &mine, &error));
    OK(tito_query_scan(two.items, &theirs, &error));
    assert_int_equal(tito_query_limit(mine, ITEMS / 2), TITO_OK);
    assert_int_equal(tito_query_limit(theirs, ITEMS / 2), TITO_OK);
    tito_future_t *executed = DONE(tito_query_execute(mine, NULL));
    tito_page_t *page = tito_future_page(executed);
    tito_future_free(executed);
    tito_slice cursor = tito_page_cursor(page);
    assert_true(cursor.len > 0);
    assert_int_equal(tito_query_cursor(theirs, cursor.data, cursor.len), TITO_OK);
    tito_future_t *refused = tito_query_execute(theirs, NULL);
    tito_error_t *why = NULL;
    assert_int_equal(tito_future_wait(refused, -1, &why), TITO_INVALID_ARGUMENT);
    tito_slice words = tito_error_message(why);
    assert_true(words.len > 0 && memmem(words.data, words.len, "not one of this query", 21));
    tito_error_free(why);
    tito_future_free(refused);
    /* At home it goes on. */
    assert_int_equal(tito_query_cursor(mine, cursor.data, cursor.len), TITO_OK);
    tito_page_free(page);
    RUN(tito_query_execute(mine, NULL));
    tito_query_free(mine);
    tito_query_free(theirs);
    space_close(&one);
    space_close(&two);
}

/* A name that stands in keys of no namespace is none. */
static void words_of_keys_are_no_names(void **state)
{
    (void)state;
    static const char *const names[] = {"table", "a:b", "", "a/b"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        tito_db_t *db = NULL;
        char target[CLUSTER_ADDRESS_SIZE + 16];
        tito_options_t *options = tito_options_new();
        assert_non_null(options);
        snprintf(target, sizeof(target), "tikv://%s", shared.pd[0]);
        int32_t status = tito_options_set(options, "namespace", names[i], strlen(names[i]));
        if (status == TITO_OK)
            status = tito_connect(target, strlen(target), options, &db, NULL);
        /* An empty one is no namespace at all. */
        assert_int_equal(status, names[i][0] == '\0' ? TITO_OK : TITO_INVALID_ARGUMENT);
        tito_options_free(options);
        tito_db_free(db);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(namespaces_do_not_see_each_other),
        cmocka_unit_test(names_that_begin_alike_are_apart),
        cmocka_unit_test(words_of_keys_are_no_names),
        cmocka_unit_test(a_cursor_of_another_namespace_is_refused),
    };
    return test_finish(cmocka_run_group_tests(tests, start_shared, stop_shared));
}

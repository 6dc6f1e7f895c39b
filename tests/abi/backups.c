/* Backups through the interface: results, progress, states of handles, cancelling, closing. */
#include <poll.h>
#include <sys/stat.h>

#include "abi/harness.h"

typedef struct spot {
    char dir[TEST_DIR_SIZE];
    char data[TEST_DIR_SIZE + 16];
    char one[TEST_DIR_SIZE + 16];
    char two[TEST_DIR_SIZE + 16];
    tito_db_t *db;
    tito_model_t *items;
} spot;

#define OF(path) (path), strlen(path)

static void spot_begin(spot *s)
{
    test_dir_make(s->dir);
    (void)snprintf(s->data, sizeof(s->data), "%s/data", s->dir);
    (void)snprintf(s->one, sizeof(s->one), "%s/one", s->dir);
    (void)snprintf(s->two, sizeof(s->two), "%s/two", s->dir);
    OK(tito_connect(OF(s->data), NULL, &s->db, &error));
    s->items = declare(s->db, model_spec);
    RUN(build_item(s->items, NULL, "a", "x", 1));
}

static void spot_end(spot *s)
{
    tito_model_free(s->items);
    tito_db_free(s->db);
    test_dir_remove(s->dir);
}

static tito_db_t *new_handle(const char *target)
{
    tito_db_t *db = NULL;
    OK(tito_db_new(OF(target), NULL, &db, &error));
    return db;
}

static void backs_up_and_restores(void **state)
{
    spot s;
    char text[256];
    int64_t done = 0, total = 0;
    (void)state;
    spot_begin(&s);
    tito_future_t *made = tito_db_backup(s.db, OF(s.one), NULL);
    assert_int_equal(tito_future_progress(made, &done, &total), TITO_OK);
    assert_int_equal(done, 0);
    assert_int_equal(total, 0);
    (void)DONE(made);
    assert_int_equal(tito_future_progress(made, &done, &total), TITO_OK);
    assert_true(done > 0);
    assert_int_equal(done, total);
    take_text(made, text, sizeof(text));
    assert_non_null(strstr(text, "\"time\":"));
    assert_non_null(strstr(text, "\"shared\":"));
    tito_db_t *target = new_handle(s.two);
    take_text(DONE(tito_db_verify_backup(target, OF(s.one))), text, sizeof(text));
    assert_non_null(strstr(text, "\"files\":"));
    take_text(DONE(tito_db_restore(target, OF(s.one))), text, sizeof(text));
    assert_null(strstr(text, "\"shared\":"));
    FAILS(tito_db_restore(target, OF(s.one)), TITO_INVALID_ARGUMENT); /* not empty */
    RUN(tito_db_open(target));
    tito_model_t *items = declare(target, model_spec);
    RUN(tito_model_find(items, NULL, TEXT("a"), NULL));
    FAILS(tito_db_restore(target, OF(s.one)), TITO_INVALID_STATE); /* open */
    RUN(tito_db_verify_backup(target, OF(s.one)));
    tito_model_free(items);
    tito_db_free(target);
    spot_end(&s);
}

static void refuses_what_is_wrong(void **state)
{
    spot s;
    (void)state;
    spot_begin(&s);
    tito_options_t *options = tito_options_new();
    FAILS(tito_db_backup(s.db, NULL, 0, NULL), TITO_INVALID_ARGUMENT);
    FAILS(tito_db_backup(s.db, NULL, 3, NULL), TITO_INVALID_ARGUMENT);
    FAILS(tito_db_backup(s.db, "a\0b", 3, NULL), TITO_INVALID_ARGUMENT);
    FAILS(tito_db_verify_backup(s.db, OF(s.dir)), TITO_INVALID_ARGUMENT);
    assert_int_equal(tito_options_set(options, "base", OF(s.dir)), TITO_OK);
    FAILS(tito_db_backup(s.db, OF(s.one), options), TITO_INVALID_ARGUMENT);
    assert_int_equal(tito_options_set(options, "bass", TEXT("x")), TITO_OK);
    FAILS(tito_db_backup(s.db, OF(s.one), options), TITO_INVALID_ARGUMENT);
    tito_options_free(options);
    tito_db_t *memory = open_memory();
    FAILS(tito_db_backup(memory, OF(s.one), NULL), TITO_UNSUPPORTED);
    tito_db_free(memory);
    tito_db_t *unopened = new_handle(s.two);
    FAILS(tito_db_backup(unopened, OF(s.one), NULL), TITO_INVALID_STATE);
    tito_db_free(unopened);
    tito_db_t *cluster = new_handle("tikv://127.0.0.1:1");
    FAILS(tito_db_restore(cluster, OF(s.one)), TITO_UNSUPPORTED);
    tito_db_free(cluster);
    assert_int_equal(tito_future_progress(NULL, NULL, NULL), TITO_OUT_OF_MEMORY);
    assert_int_not_equal(access(s.one, F_OK), 0);
    spot_end(&s);
}

/* Through a completion queue, while the database is used and closed. */
static void ends_with_the_database(void **state)
{
    uint64_t rounds = test_scaled(40);
    (void)state;
    for (uint64_t i = 0; i < rounds; i++) {
        spot s;
        tito_cq_t *cq = NULL;
        uint64_t tag = 0;
        spot_begin(&s);
        OK(tito_cq_new(&cq, &error));
        tito_future_t *made = tito_db_backup(s.db, OF(s.one), NULL);
        OK(tito_future_watch(made, cq, 7, &error));
        if (i % 4 == 1)
            tito_future_cancel(made);
        if (i % 4 == 2)
            OK(tito_db_close(s.db, &error));
        struct pollfd waiting = {.fd = tito_cq_fd(cq), .events = POLLIN};
        assert_int_equal(poll(&waiting, 1, 120000), 1);
        assert_int_equal(tito_cq_drain(cq, &tag, 1), 1);
        assert_int_equal(tag, 7);
        int32_t status = tito_future_wait(made, 0, NULL);
        assert_true(status == TITO_OK || (i % 4 == 1 && status == TITO_CANCELLED) ||
                    (i % 4 == 2 && status == TITO_CLOSED));
        assert_int_equal(access(s.one, F_OK) == 0, status == TITO_OK);
        tito_future_free(made);
        tito_cq_free(cq);
        spot_end(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backs_up_and_restores),
        cmocka_unit_test(refuses_what_is_wrong),
        cmocka_unit_test(ends_with_the_database),
    };
    return TEST_RUN(tests);
}

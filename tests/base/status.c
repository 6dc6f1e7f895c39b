/* Statuses, classes and error objects. */
#include "support/test.h"

#include "base/id.h"
#include "base/log.h"
#include "base/slice.h"

#include <uuid/uuid.h>

static void names_and_classes_agree(void **state)
{
    (void)state;
    assert_string_equal(ti_status_name(TI_OK), "ok");
    assert_string_equal(ti_status_name(TI_OUTCOME_UNKNOWN), "outcome_unknown");
    assert_string_equal(ti_status_name(999), "unknown_status");
    assert_string_equal(ti_status_name(-1), "unknown_status");
    assert_int_equal(ti_status_class_of(TI_NOT_FOUND), TI_CLASS_OK);
    assert_int_equal(ti_status_class_of(TI_FORKED), TI_CLASS_CALLER);
    assert_int_equal(ti_status_class_of(TI_DEADLOCK), TI_CLASS_CONFLICT);
    assert_int_equal(ti_status_class_of(TI_BUSY), TI_CLASS_TRANSIENT);
    assert_int_equal(ti_status_class_of(TI_OUTCOME_UNKNOWN), TI_CLASS_UNKNOWN);
    assert_int_equal(ti_status_class_of(TI_INTERNAL), TI_CLASS_BROKEN);
    assert_int_equal(ti_status_class_of(TI_HANDLER_FAILED), TI_CLASS_HANDLER);
    assert_int_equal(ti_status_class_of(700), TI_CLASS_BROKEN);
    assert_int_equal(ti_status_class_of(-100), TI_CLASS_BROKEN);
}

/* Golden: bindings keep these numbers. */
static void numbers_never_change(void **state)
{
    static const struct {
        int number;
        const char *name;
    } golden[] = {
        {0, "ok"},
        {1, "not_found"},
        {100, "invalid_argument"},
        {101, "invalid_state"},
        {102, "already_exists"},
        {103, "unique_violation"},
        {104, "version_mismatch"},
        {105, "limit_exceeded"},
        {106, "schema_mismatch"},
        {107, "unsupported"},
        {108, "forked"},
        {109, "closed"},
        {110, "cancelled"},
        {200, "conflict"},
        {201, "deadlock"},
        {300, "unavailable"},
        {301, "timeout"},
        {302, "busy"},
        {400, "outcome_unknown"},
        {500, "corrupt"},
        {501, "io"},
        {502, "out_of_memory"},
        {503, "internal"},
        {600, "handler_failed"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++)
        assert_string_equal(ti_status_name(golden[i].number), golden[i].name);
}

static void an_error_holds_what_was_set(void **state)
{
    ti_err err;
    (void)state;
    ti_err_clear(&err);
    assert_int_equal(err.status, TI_OK);
    test_status(ti_err_set(&err, TI_CONFLICT, "key %d of %s", 7, "seven"), TI_CONFLICT);
    assert_int_equal(err.status, TI_CONFLICT);
    assert_string_equal(err.message, "key 7 of seven");
    ti_err_where(&err, "user", 4, "by_email", 8);
    assert_string_equal(err.table, "user");
    assert_string_equal(err.index, "by_email");
    test_status(ti_err_set(&err, TI_IO, "wrapped: %s", err.message), TI_IO);
    assert_string_equal(err.message, "wrapped: key 7 of seven");
    assert_string_equal(err.table, "");
    test_status(ti_err_no_memory(&err), TI_OUT_OF_MEMORY);
    assert_string_equal(err.message, "out of memory");
    ti_err_where(&err, NULL, 0, "i", 1);
    assert_string_equal(err.table, "");
    assert_string_equal(err.index, "i");
}

static void a_null_error_takes_only_the_status(void **state)
{
    (void)state;
    ti_err_clear(NULL);
    ti_err_where(NULL, "t", 1, NULL, 0);
    test_status(ti_err_set(NULL, TI_BUSY, "%s", "x"), TI_BUSY);
    test_status(ti_err_no_memory(NULL), TI_OUT_OF_MEMORY);
}

/* Messages of every length around the bound, with sequences of every size across the cut. */
static void long_texts_are_cut_between_sequences(void **state)
{
    static const char *const letters[] = {"a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    char text[2048];
    ti_err err;
    (void)state;
    for (size_t l = 0; l < 4; l++) {
        for (size_t lead = 0; lead < 5; lead++) {
            size_t len = 0;
            size_t unit = strlen(letters[l]);
            memset(text, 'x', lead);
            for (len = lead; len + unit < sizeof(text) - 1; len += unit)
                memcpy(text + len, letters[l], unit);
            text[len] = '\0';
            ti_err_set(&err, TI_INTERNAL, "%s", text);
            size_t got = strlen(err.message);
            assert_true(got > TI_ERR_MESSAGE_SIZE - 5 && got < TI_ERR_MESSAGE_SIZE);
            assert_true(ti_slice_is_utf8(ti_slice_of(err.message)));
            ti_err_where(&err, text, len, text, len);
            assert_true(ti_slice_is_utf8(ti_slice_of(err.table)));
            assert_true(strlen(err.table) > TI_ERR_NAME_SIZE - 5);
        }
    }
}

static ti_status try_it(ti_status answer, int *after)
{
    TI_TRY(answer);
    *after = 1;
    return TI_OK;
}

static ti_status keep_first(ti_status work, ti_status cleanup)
{
    ti_status status = TI_OK;
    TI_CHECK(work);
out:
    TI_KEEP(cleanup);
    return status;
}

static void the_macros_pass_the_first_failure(void **state)
{
    int after = 0;
    (void)state;
    test_status(try_it(TI_IO, &after), TI_IO);
    assert_int_equal(after, 0);
    test_status(try_it(TI_OK, &after), TI_OK);
    assert_int_equal(after, 1);
    test_status(keep_first(TI_OK, TI_OK), TI_OK);
    test_status(keep_first(TI_IO, TI_BUSY), TI_IO);
    test_status(keep_first(TI_OK, TI_BUSY), TI_BUSY);
}

typedef struct lines {
    int count;
    ti_log_level level;
    char last[2048];
} lines;

static void take_line(void *context, ti_log_level level, const char *line)
{
    lines *l = context;
    l->count++;
    l->level = level;
    snprintf(l->last, sizeof(l->last), "%s", line);
}

static void log_lines_reach_the_sink_by_level(void **state)
{
    lines got = {.count = 0};
    ti_log log = {.sink = take_line, .context = &got, .level = TI_LOG_INFO};
    char text[3000];
    (void)state;
    ti_log_write(NULL, TI_LOG_ERROR, "dropped");
    ti_log_write(&log, TI_LOG_DEBUG, "dropped");
    assert_int_equal(got.count, 0);
    ti_log_write(&log, TI_LOG_INFO, "opened\n%d", 3);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.level, TI_LOG_INFO);
    assert_string_equal(got.last, "opened 3");
    for (size_t i = 0; i + 3 < sizeof(text); i += 3)
        memcpy(text + i, "\xe2\x82\xac", 4);
    ti_log_write(&log, TI_LOG_WARN, "%s", text);
    assert_true(strlen(got.last) <= 1024 && strlen(got.last) > 1020);
    assert_true(ti_slice_is_utf8(ti_slice_of(got.last)));
}

static void uuids_parse_and_differ(void **state)
{
    char a[TI_UUID_TEXT_SIZE + 1];
    char b[TI_UUID_TEXT_SIZE + 1];
    uuid_t bytes;
    test_env e;
    (void)state;
    ti_uuid_v4(ti_env_real(), a);
    ti_uuid_v4(ti_env_real(), b);
    assert_string_not_equal(a, b);
    assert_int_equal(uuid_parse(a, bytes), 0);
    assert_int_equal(uuid_type(bytes), 4);
    test_env_init(&e, 0, 1);
    ti_uuid_v4(&e.env, a);
    assert_int_equal(uuid_parse(a, bytes), 0);
    assert_int_equal(uuid_type(bytes), 4);
    assert_int_equal(uuid_variant(bytes), UUID_VARIANT_DCE);
    test_env_init(&e, 0, 1);
    ti_uuid_v4(&e.env, b);
    assert_string_equal(a, b);
}

/* Golden for the fixed part, and order for the rest. */
static void version_7_orders_by_time_then_ordinal(void **state)
{
    char a[TI_UUID_TEXT_SIZE + 1];
    char b[TI_UUID_TEXT_SIZE + 1];
    uuid_t bytes;
    test_random r = test_random_start(1);
    (void)state;
    ti_uuid_v7(ti_env_real(), UINT64_C(0x017f22e279b0), 0x3ffffff, a);
    assert_memory_equal(a, "017f22e2-79b0-7fff-bfff-", 24);
    ti_uuid_v7(ti_env_real(), UINT64_C(0x017f22e279b0), 0, a);
    assert_memory_equal(a, "017f22e2-79b0-7000-8000-", 24);
    assert_int_equal(uuid_parse(a, bytes), 0);
    assert_int_equal(uuid_variant(bytes), UUID_VARIANT_DCE);
    for (uint64_t i = 0; i < test_scaled(20000); i++) {
        uint64_t ms = test_random_u64(&r) >> 17;
        uint32_t low = (uint32_t)test_random_below(&r, (1u << 26) - 1);
        uint32_t high = low + 1 + (uint32_t)test_random_below(&r, (1u << 26) - 1 - low);
        ti_uuid_v7(ti_env_real(), ms, low, a);
        ti_uuid_v7(ti_env_real(), ms, high, b);
        assert_true(strcmp(a, b) < 0);
        ti_uuid_v7(ti_env_real(), ms + 1, 0, a);
        assert_true(strcmp(b, a) < 0);
    }
}

/* Golden: stored events sit where these numbers put them. */
static void the_stable_hash_is_stable(void **state)
{
    (void)state;
    assert_true(ti_hash_stable(TI_SLICE("")) == UINT64_C(0xf52a15e9a9b5e89b));
    assert_true(ti_hash_stable(TI_SLICE("a")) == UINT64_C(0x2c0bdbf481420f8));
    assert_true(ti_hash_stable(TI_SLICE("user:123")) == UINT64_C(0x6ac74a996aeba0e4));
    assert_true(ti_hash_stable(TI_SLICE("\0\xff")) == UINT64_C(0xa70bee94c6c8447b));
}

static void the_stable_hash_spreads(void **state)
{
    unsigned counts[64] = {0};
    char key[32];
    (void)state;
    for (int i = 0; i < 64000; i++) {
        snprintf(key, sizeof(key), "user:%d", i);
        counts[ti_hash_stable(ti_slice_of(key)) % 64]++;
    }
    for (int i = 0; i < 64; i++)
        assert_in_range(counts[i], 850, 1150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_classes_agree),
        cmocka_unit_test(numbers_never_change),
        cmocka_unit_test(an_error_holds_what_was_set),
        cmocka_unit_test(a_null_error_takes_only_the_status),
        cmocka_unit_test(long_texts_are_cut_between_sequences),
        cmocka_unit_test(the_macros_pass_the_first_failure),
        cmocka_unit_test(log_lines_reach_the_sink_by_level),
        cmocka_unit_test(uuids_parse_and_differ),
        cmocka_unit_test(version_7_orders_by_time_then_ordinal),
        cmocka_unit_test(the_stable_hash_is_stable),
        cmocka_unit_test(the_stable_hash_spreads),
    };
    return TEST_RUN(tests);
}

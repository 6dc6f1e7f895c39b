/* What the tests of the interface share: failing with the error's text, waiting, a small world of
 * handles. They use tito.h, and reach behind it only for the allocation hooks. */
#ifndef TITO_TESTS_ABI_HARNESS_H
#define TITO_TESTS_ABI_HARNESS_H

#include "support/test.h"
#include "tito.h"

#define TEXT(literal) (literal), (sizeof(literal) - 1)

/* Fails with the error's message unless status is expected; frees the error. */
static inline void expect_status(const char *what, int32_t status, int32_t expected,
                                 tito_error_t *error)
{
    tito_slice message = tito_error_message(error);
    if (status != expected)
        fail_msg("%s: %s instead of %s: %.*s", what, tito_status_name(status),
                 tito_status_name(expected), (int)message.len, message.data);
    assert_int_equal(tito_error_status(error), expected);
    tito_error_free(error);
}

/* call is an expression that uses &error. */
#define EXPECT(call, expected)                                                                     \
    do {                                                                                           \
        tito_error_t *error = NULL;                                                                \
        int32_t expect_status_ = (call);                                                           \
        expect_status(#call, expect_status_, (expected), error);                                   \
    } while (0)
#define OK(call) EXPECT(call, TITO_OK)

/* Waits for a future, which must end with expected. */
static inline tito_future_t *expect_future(const char *what, tito_future_t *future,
                                           int32_t expected)
{
    tito_error_t *error = NULL;
    int32_t status = tito_future_wait(future, -1, &error);
    expect_status(what, status, expected, error);
    return future;
}

/* A future that must end well, and is the caller's; one whose result is not needed. */
#define DONE(future) expect_future(#future, (future), TITO_OK)
#define RUN(future) tito_future_free(expect_future(#future, (future), TITO_OK))
#define FAILS(future, expected) tito_future_free(expect_future(#future, (future), (expected)))

/* The bytes of a future as a string, freed with it: copies into out. */
static inline void take_text(tito_future_t *future, char *out, size_t size)
{
    tito_slice bytes = tito_future_bytes(future);
    assert_true(bytes.len < size);
    memcpy(out, bytes.data, bytes.len);
    out[bytes.len] = '\0';
    tito_future_free(future);
}

static const char model_spec[] =
    "{\"table\":\"item\","
    "\"indexes\":[{\"name\":\"by_kind\",\"fields\":[{\"name\":\"kind\",\"type\":\"string\"},"
    "{\"name\":\"n\",\"type\":\"number\"}]}],"
    "\"unique_indexes\":[{\"name\":\"by_code\",\"sparse\":true,"
    "\"fields\":[{\"name\":\"code\",\"type\":\"string\"}]}],"
    "\"relationships\":[{\"source_field_name\":\"parent_id\","
    "\"destination_field_name\":\"parent\",\"model\":\"item\"}],"
    "\"partition_key\":\"kind\"}";

static inline tito_db_t *open_memory(void)
{
    tito_db_t *db = NULL;
    OK(tito_connect(TEXT("memory:"), NULL, &db, &error));
    assert_non_null(db);
    return db;
}

static inline tito_model_t *declare(tito_db_t *db, const char *spec)
{
    tito_model_t *model = NULL;
    OK(tito_model_declare(db, spec, strlen(spec), &model, &error));
    assert_non_null(model);
    return model;
}

static inline tito_txn_t *begin(tito_db_t *db)
{
    tito_txn_t *txn = NULL;
    OK(tito_txn_begin(db, NULL, &txn, &error));
    assert_non_null(txn);
    return txn;
}

/* {"id":"…","kind":"…","n":…} */
static inline size_t item_text(char *out, size_t size, const char *id, const char *kind, int n)
{
    int len = snprintf(out, size, "{\"id\":\"%s\",\"kind\":\"%s\",\"n\":%d}", id, kind, n);
    assert_true(len > 0 && (size_t)len < size);
    return (size_t)len;
}

static inline tito_future_t *build_item(tito_model_t *model, tito_txn_t *txn, const char *id,
                                        const char *kind, int n)
{
    char text[256];
    size_t len = item_text(text, sizeof(text), id, kind, n);
    return tito_model_build(model, txn, text, len, NULL);
}

#endif

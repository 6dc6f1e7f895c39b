/* The checker finds what it is there to find: one planted violation of each kind. */
#include "support/test.h"

#include "queue/checker.h"

/* Numbers 1 2 4 are of key 0, 3 of key 1. */
static const uint32_t keys[] = {0, 0, 0, 1, 0};
static const bool nobody[5];

static const char *judge(const check_entry *entries, size_t count, const bool *given_up,
                         const bool *stored)
{
    check_run run = {.entries = entries,
                     .entry_count = count,
                     .number_max = 4,
                     .key_of = keys,
                     .given_up = given_up,
                     .stored = stored,
                     .key_count = 2};
    uint64_t number;
    return check(&run, &number);
}

#define START(n, k)                                                                                \
    {                                                                                              \
        n, k, CHECK_START                                                                          \
    }
#define DONE(n, k)                                                                                 \
    {                                                                                              \
        n, k, CHECK_DONE                                                                           \
    }
#define FAIL(n, k)                                                                                 \
    {                                                                                              \
        n, k, CHECK_FAIL                                                                           \
    }
#define JUDGE(given_up, stored, ...)                                                               \
    judge((const check_entry[]){__VA_ARGS__},                                                      \
          sizeof((const check_entry[]){__VA_ARGS__}) / sizeof(check_entry), given_up, stored)

static void a_good_run_passes(void **state)
{
    (void)state;
    const bool gone[] = {0, 0, 1, 0, 0};
    assert_null(JUDGE(nobody, nobody, START(1, 0), START(3, 1), FAIL(1, 0), START(1, 0), DONE(3, 1),
                      DONE(1, 0), START(2, 0), DONE(2, 0), START(4, 0), DONE(4, 0)));
    assert_null(JUDGE(gone, nobody, START(1, 0), DONE(1, 0), START(3, 1), DONE(3, 1), START(2, 0),
                      FAIL(2, 0), START(4, 0), DONE(4, 0)));
    const bool left[] = {0, 0, 0, 0, 1};
    assert_null(JUDGE(nobody, left, START(1, 0), DONE(1, 0), START(3, 1), DONE(3, 1), START(2, 0),
                      DONE(2, 0)));
}

static void planted_violations_are_found(void **state)
{
    (void)state;
    const bool gone[] = {0, 0, 1, 0, 0};
    const bool left[] = {0, 0, 0, 0, 1};
    /* overlap */
    assert_non_null(JUDGE(nobody, left, START(1, 0), START(2, 0), DONE(1, 0), DONE(2, 0),
                          START(3, 1), DONE(3, 1)));
    /* overtaken after a failure */
    assert_non_null(JUDGE(nobody, left, START(1, 0), FAIL(1, 0), START(2, 0), DONE(2, 0),
                          START(1, 0), DONE(1, 0), START(3, 1), DONE(3, 1)));
    /* passed over */
    assert_non_null(JUDGE(nobody, gone, START(1, 0), DONE(1, 0), START(4, 0), DONE(4, 0),
                          START(3, 1), DONE(3, 1)));
    /* lost */
    assert_non_null(JUDGE(nobody, nobody, START(1, 0), DONE(1, 0), START(2, 0), DONE(2, 0),
                          START(3, 1), DONE(3, 1)));
    /* run again after its acknowledgement */
    assert_non_null(JUDGE(nobody, nobody, START(1, 0), DONE(1, 0), START(1, 0), DONE(1, 0),
                          START(2, 0), DONE(2, 0), START(4, 0), DONE(4, 0), START(3, 1),
                          DONE(3, 1)));
    /* acknowledged and still stored */
    assert_non_null(JUDGE(nobody, left, START(1, 0), DONE(1, 0), START(2, 0), DONE(2, 0),
                          START(4, 0), DONE(4, 0), START(3, 1), DONE(3, 1)));
    /* acknowledged and given up */
    assert_non_null(JUDGE(gone, nobody, START(1, 0), DONE(1, 0), START(2, 0), DONE(2, 0),
                          START(4, 0), DONE(4, 0), START(3, 1), DONE(3, 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_run_passes),
        cmocka_unit_test(planted_violations_are_found),
    };
    return TEST_RUN(tests);
}

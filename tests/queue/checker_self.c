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

/* ---- chains: keys 0 and 1; numbers 1, 2, 4 of key 0, 3 and 5 of key 1 ---- */

static const char *judge_chains(const uint64_t *first, size_t first_len, const uint64_t *second,
                                size_t second_len, uint64_t given_up, uint64_t stored)
{
    static const uint32_t key_of[] = {0, 0, 0, 1, 0, 1};
    const uint64_t *const chains[] = {first, second};
    const size_t lengths[] = {first_len, second_len};
    bool gone[6] = {false};
    bool left[6] = {false};
    uint64_t number;
    gone[given_up] = given_up > 0;
    left[stored] = stored > 0;
    const check_chains run = {.chains = chains,
                              .lengths = lengths,
                              .key_count = 2,
                              .number_max = 5,
                              .key_of = key_of,
                              .given_up = gone,
                              .stored = left};
    return check_effects(&run, &number);
}

#define CHAIN(...) (const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / 8

static void chains_are_judged(void **state)
{
    (void)state;
    assert_null(judge_chains(CHAIN(1, 2, 4), CHAIN(3, 5), 0, 0));
    assert_null(judge_chains(CHAIN(1, 4), CHAIN(3, 5), 2, 0));
    assert_null(judge_chains(CHAIN(1, 2, 4), CHAIN(3), 0, 5));
    assert_non_null(judge_chains(CHAIN(1, 2, 2, 4), CHAIN(3, 5), 0, 0)); /* twice */
    assert_non_null(judge_chains(CHAIN(1, 4, 2), CHAIN(3, 5), 0, 0));    /* order */
    assert_non_null(judge_chains(CHAIN(1, 4), CHAIN(3, 5), 0, 0));       /* lost */
    assert_non_null(judge_chains(CHAIN(1, 2, 4, 5), CHAIN(3), 0, 0));    /* another key */
    assert_non_null(judge_chains(CHAIN(1, 2, 4), CHAIN(3, 5, 6), 0, 0)); /* never published */
    assert_non_null(judge_chains(CHAIN(1, 2, 4), CHAIN(3, 5), 2, 0));    /* given up, with effect */
    assert_non_null(judge_chains(CHAIN(1, 2, 4), CHAIN(3, 5), 0, 5));    /* stored, with effect */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_run_passes),
        cmocka_unit_test(planted_violations_are_found),
        cmocka_unit_test(chains_are_judged),
    };
    return TEST_RUN(tests);
}

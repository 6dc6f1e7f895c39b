/* The table of recent commits against a naive list: nothing after the floor is ever missing. */
#include "support/test.h"

#include "base/limits.h"
#include "rocks/recent_int.h"

#define KEYS 3000

static void key_of(unsigned n, char out[16], ti_slice *key)
{
    key->data = out;
    key->len = (size_t)snprintf(out, 16, "key%u", n);
}

static uint64_t hash_of(const ti_recent *r, unsigned n)
{
    char bytes[16];
    ti_slice key;
    key_of(n, bytes, &key);
    return ti_recent_hash(r, key);
}

/* Every key's last commit after the floor must be found, and no later one invented. */
static void check(const ti_recent *r, const ti_ts *last)
{
    for (unsigned n = 0; n < KEYS; n++) {
        ti_ts found = ti_recent_find(r, hash_of(r, n));
        if (last[n] > r->floor)
            assert_int_equal(found, last[n]);
        else
            assert_true(found == TI_TS_NONE || found == last[n]);
    }
    assert_true(r->capacity <= TI_ROCKS_RECENT_SLOTS_MAX);
    assert_true(r->used <= r->capacity * 3 / 4);
}

static void random_commits_are_remembered(void **state)
{
    test_random random = test_random_start(41);
    (void)state;
    for (uint64_t round = 0; round < test_scaled(60); round++) {
        static ti_ts last[KEYS];
        ti_recent r;
        ti_err err;
        ti_ts oldest = TI_TS_MAX;
        unsigned span = round % 3 == 0 ? KEYS : 100;
        memset(last, 0, sizeof(last));
        test_ok(ti_recent_init(&r, ti_env_real(), TI_TS_NONE, &err), &err);
        for (ti_ts ts = 10; ts < 2000; ts += 1 + test_random_below(&random, 3)) {
            uint64_t hashes[8];
            size_t count = test_random_below(&random, 9);
            for (size_t i = 0; i < count; i++) {
                unsigned n = (unsigned)test_random_below(&random, span);
                hashes[i] = hash_of(&r, n);
                last[n] = ts;
            }
            if (test_random_one_in(&random, 100)) /* a snapshot opens, or all have closed */
                oldest = test_random_one_in(&random, 2) ? TI_TS_MAX : ts - 1;
            ti_recent_add(&r, hashes, count, ts, oldest);
            if (span == 100 && oldest != TI_TS_MAX)
                assert_true(r.floor <= oldest); /* there is room: open snapshots are safe */
            if (test_random_one_in(&random, 50))
                check(&r, last);
        }
        check(&r, last);
        ti_recent_free(&r);
    }
}

static void a_commit_larger_than_the_table(void **state)
{
    static uint64_t hashes[TI_ROCKS_RECENT_SLOTS_MAX];
    ti_recent r;
    ti_err err;
    (void)state;
    test_ok(ti_recent_init(&r, ti_env_real(), 5, &err), &err);
    for (unsigned i = 0; i < TI_ROCKS_RECENT_SLOTS_MAX; i++)
        hashes[i] = hash_of(&r, i);
    ti_recent_add(&r, hashes, 10, 100, TI_TS_MAX);
    assert_int_equal(r.floor, 5);
    ti_recent_add(&r, hashes, TI_ROCKS_RECENT_SLOTS_MAX, 200, TI_TS_MAX);
    assert_int_equal(r.floor, 200);
    ti_recent_add(&r, hashes, 10, 300, 250);
    assert_int_equal(ti_recent_find(&r, hashes[9]), 300);
    assert_int_equal(ti_recent_find(&r, hashes[10]), TI_TS_NONE);
    ti_recent_free(&r);
}

/* A transaction that took its start without a snapshot still finds what was committed just after,
 * whether commits are small or large. */
static void the_latest_entries_outlive_a_sweep(void **state)
{
    (void)state;
    for (unsigned size = 1; size <= 40; size++) {
        ti_recent r;
        ti_err err;
        test_ok(ti_recent_init(&r, ti_env_real(), TI_TS_NONE, &err), &err);
        for (unsigned ts = 1; ts < 1000; ts++) {
            uint64_t hashes[40];
            for (unsigned i = 0; i < size; i++)
                hashes[i] = hash_of(&r, ts * 40 + i);
            ti_recent_add(&r, hashes, size, ts, TI_TS_MAX);
            if (ts == 1)
                continue;
            assert_int_equal(ti_recent_find(&r, hash_of(&r, (ts - 1) * 40)), ts - 1);
            assert_true(r.floor < ts - 1);
        }
        assert_true(r.capacity < TI_ROCKS_RECENT_SLOTS_MAX);
        ti_recent_free(&r);
    }
}

static void memory_comes_back(void **state)
{
    ti_recent r;
    ti_err err;
    ti_ts ts = 1;
    (void)state;
    test_ok(ti_recent_init(&r, ti_env_real(), TI_TS_NONE, &err), &err);
    for (; ts < 700; ts++) { /* a snapshot is open: everything stays */
        uint64_t hash = hash_of(&r, (unsigned)ts);
        ti_recent_add(&r, &hash, 1, ts, 0);
    }
    assert_int_equal(r.capacity, TI_ROCKS_RECENT_SLOTS_MAX);
    assert_int_equal(r.floor, 0);
    for (; ts < 4000; ts++) {
        uint64_t hash = hash_of(&r, (unsigned)ts);
        ti_recent_add(&r, &hash, 1, ts, TI_TS_MAX);
    }
    assert_true(r.capacity < TI_ROCKS_RECENT_SLOTS_MAX);
    ti_recent_free(&r);
}

static void no_memory_only_raises_the_floor(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 6; n++) {
        static ti_ts last[KEYS];
        ti_recent r;
        ti_err err;
        memset(last, 0, sizeof(last));
        test_ok(ti_recent_init(&r, ti_env_real(), TI_TS_NONE, &err), &err);
        ti_mem_fail_at(n);
        for (unsigned i = 0; i < 500; i++) {
            uint64_t hash = hash_of(&r, i);
            last[i] = 10 + i;
            ti_recent_add(&r, &hash, 1, last[i], 0);
        }
        ti_mem_fail_at(0);
        check(&r, last);
        ti_recent_free(&r);
    }
    ti_recent r;
    ti_mem_fail_at(1);
    test_status(ti_recent_init(&r, ti_env_real(), TI_TS_NONE, NULL), TI_OUT_OF_MEMORY);
    ti_mem_fail_at(0);
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return (*x > *y) - (*x < *y);
}

static void hashes_differ(void **state)
{
    size_t count = (size_t)test_scaled(200000);
    uint64_t *hashes = ti_alloc(count * sizeof(*hashes));
    ti_recent r;
    ti_recent other;
    ti_err err;
    char zeros[64] = {0};
    (void)state;
    test_ok(ti_recent_init(&r, ti_env_real(), TI_TS_NONE, &err), &err);
    test_ok(ti_recent_init(&other, ti_env_real(), TI_TS_NONE, &err), &err);
    for (size_t i = 0; i < count; i++)
        hashes[i] = i < sizeof(zeros) ? ti_recent_hash(&r, (ti_slice){.data = zeros, .len = i})
                                      : hash_of(&r, (unsigned)i);
    assert_int_not_equal(hash_of(&r, 1), hash_of(&other, 1)); /* seeded */
    qsort(hashes, count, sizeof(*hashes), by_value);
    for (size_t i = 1; i < count; i++)
        assert_true(hashes[i - 1] != hashes[i]);
    ti_free(hashes);
    ti_recent_free(&r);
    ti_recent_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_commits_are_remembered),
        cmocka_unit_test(a_commit_larger_than_the_table),
        cmocka_unit_test(the_latest_entries_outlive_a_sweep),
        cmocka_unit_test(memory_comes_back),
        cmocka_unit_test(no_memory_only_raises_the_floor),
        cmocka_unit_test(hashes_differ),
    };
    return TEST_RUN(tests);
}

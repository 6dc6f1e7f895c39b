/* The allocator's fault point and the arena. */
#include "support/test.h"

#include "base/limits.h"

static void size_zero_is_a_pointer(void **state)
{
    (void)state;
    void *a = ti_alloc(0);
    void *b = ti_alloc_zero(0);
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    a = ti_realloc(a, 10);
    assert_non_null(a);
    a = ti_realloc(a, 0);
    assert_non_null(a);
    ti_free(a);
    ti_free(b);
    ti_free(NULL);
}

#ifdef TI_TESTING
static void the_nth_allocation_fails_once(void **state)
{
    (void)state;
    int64_t live = ti_mem_live();
    uint64_t count = ti_mem_count();
    ti_mem_fail_at(3);
    void *a = ti_alloc(8);
    void *b = ti_alloc_zero(8);
    assert_non_null(a);
    assert_non_null(b);
    void *kept = a;
    assert_null(ti_realloc(a, 1 << 20));
    a = ti_realloc(kept, 1 << 20);
    assert_non_null(a);
    assert_true(ti_mem_live() == live + 2);
    assert_true(ti_mem_count() == count + 4);
    ti_free(a);
    ti_free(b);
    assert_true(ti_mem_live() == live);
    ti_mem_fail_at(1);
    ti_mem_fail_at(0);
    a = ti_alloc(1);
    assert_non_null(a);
    ti_free(a);
}

static void an_arena_survives_failed_chunks(void **state)
{
    ti_arena a;
    (void)state;
    int64_t live = ti_mem_live();
    ti_arena_init(&a);
    char *first = ti_arena_alloc(&a, 10);
    memset(first, 'x', 10);
    ti_mem_fail_at(1);
    assert_null(ti_arena_alloc(&a, 5000));
    ti_mem_fail_at(1);
    assert_null(ti_arena_copy(&a, (ti_slice){.data = first, .len = SIZE_MAX}).data);
    assert_null(ti_arena_format(&a, "%100d", 1));
    assert_non_null(ti_arena_alloc(&a, 5000));
    assert_memory_equal(first, "xxxxxxxxxx", 10);
    ti_arena_free(&a);
    assert_true(ti_mem_live() == live);
}
#endif

static void an_arena_gives_aligned_separate_memory(void **state)
{
    ti_arena a;
    test_random r = test_random_start(2);
    unsigned char *pieces[200];
    size_t sizes[200];
    (void)state;
    ti_arena_init(&a);
    for (int i = 0; i < 200; i++) {
        sizes[i] = (size_t)test_random_below(&r, i % 20 == 0 ? 20000 : 100);
        pieces[i] = ti_arena_alloc(&a, sizes[i]);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], i, sizes[i]);
    }
    for (int i = 0; i < 200; i++)
        for (size_t b = 0; b < sizes[i]; b++)
            assert_int_equal(pieces[i][b], i);
    ti_arena_free(&a);
    ti_arena_free(&a);
    assert_non_null(ti_arena_alloc(&a, 1));
    ti_arena_free(&a);
}

/* Nested marks against a stack of what must still be there. */
static void marks_free_only_what_came_after(void **state)
{
    test_random r = test_random_start(3);
    ti_arena a;
    ti_arena_mark marks[50];
    char *pieces[50];
    (void)state;
    ti_arena_init(&a);
    int depth = 0;
    for (uint64_t step = 0; step < test_scaled(20000); step++) {
        if (depth < 50 && !test_random_one_in(&r, 3)) {
            marks[depth] = ti_arena_mark_of(&a);
            size_t size = 1 + (size_t)test_random_below(&r, 300);
            pieces[depth] = ti_arena_alloc(&a, size);
            assert_non_null(pieces[depth]);
            memset(pieces[depth], 'a' + depth % 26, size);
            depth++;
        } else if (depth > 0) {
            depth = (int)test_random_below(&r, (uint64_t)depth);
            ti_arena_reset_to(&a, marks[depth]);
        }
        for (int i = 0; i < depth; i++)
            assert_int_equal(pieces[i][0], 'a' + i % 26);
    }
    ti_arena_reset_to(&a, (ti_arena_mark){.head = NULL, .next = NULL});
    assert_int_equal(a.size, 0);
    ti_arena_free(&a);
}

static void reset_keeps_one_bounded_chunk(void **state)
{
    ti_arena a;
    (void)state;
    ti_arena_init(&a);
    ti_arena_reset(&a);
    assert_int_equal(a.size, 0);
    for (int i = 0; i < 1000; i++)
        assert_non_null(ti_arena_alloc(&a, 1000));
    assert_non_null(ti_arena_alloc(&a, 10 * 1024 * 1024));
    ti_arena_reset(&a);
    assert_true(a.size <= TI_ARENA_CHUNK_SIZE_MAX);
    size_t kept = a.size;
    assert_non_null(ti_arena_alloc(&a, 16));
    ti_arena_reset(&a);
    assert_true(a.size >= kept);
    ti_arena_free(&a);
}

static void the_bound_is_kept(void **state)
{
    ti_arena a;
    (void)state;
    ti_arena_init(&a);
    a.size_max = 10000;
    assert_null(ti_arena_alloc(&a, 10001));
    assert_null(ti_arena_alloc(&a, SIZE_MAX));
    assert_null(ti_arena_alloc(&a, SIZE_MAX - 15));
    size_t got = 0;
    while (ti_arena_alloc(&a, 100) != NULL)
        got += 100;
    assert_true(got >= 3000 && got <= 10000);
    assert_true(a.size <= 10000);
    ti_arena_free(&a);
}

static void borrowed_memory_comes_first(void **state)
{
    _Alignas(16) char memory[512];
    ti_arena a;
    (void)state;
    int64_t live = ti_mem_live();
    ti_arena_init_in(&a, memory, sizeof(memory));
    for (int round = 0; round < 3; round++) {
        char *p = ti_arena_alloc(&a, 400);
        assert_true(p >= memory && p < memory + sizeof(memory));
        assert_true(ti_mem_live() == live);
        memset(p, 1, 400);
        char *q = ti_arena_alloc(&a, 400);
        assert_non_null(q);
        assert_false(q >= memory && q < memory + sizeof(memory));
        ti_arena_reset(&a);
        assert_true(ti_mem_live() == live);
    }
    ti_arena_free(&a);
    memset(memory, 0, sizeof(memory));
    assert_non_null(ti_arena_alloc(&a, 8));
    ti_arena_free(&a);
    ti_arena_init_in(&a, memory, TI_ARENA_IN_SIZE_MIN);
    assert_non_null(ti_arena_alloc(&a, 8));
    ti_arena_free(&a);
    assert_true(ti_mem_live() == live);
}

static void copies_end_in_nul(void **state)
{
    ti_arena a;
    (void)state;
    ti_arena_init(&a);
    ti_slice s = ti_arena_copy(&a, TI_SLICE("abc"));
    assert_int_equal(s.len, 3);
    assert_string_equal(s.data, "abc");
    s = ti_arena_copy(&a, TI_SLICE_NONE);
    assert_int_equal(s.len, 0);
    assert_non_null(s.data);
    assert_string_equal(ti_arena_format(&a, "%s-%04d", "x", 7), "x-0007");
    unsigned char *zero = ti_arena_alloc_zero(&a, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(zero[i], 0);
    ti_arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_zero_is_a_pointer),
#ifdef TI_TESTING
        cmocka_unit_test(the_nth_allocation_fails_once),
        cmocka_unit_test(an_arena_survives_failed_chunks),
#endif
        cmocka_unit_test(an_arena_gives_aligned_separate_memory),
        cmocka_unit_test(marks_free_only_what_came_after),
        cmocka_unit_test(reset_keeps_one_bounded_chunk),
        cmocka_unit_test(the_bound_is_kept),
        cmocka_unit_test(borrowed_memory_comes_first),
        cmocka_unit_test(copies_end_in_nul),
    };
    return TEST_RUN(tests);
}

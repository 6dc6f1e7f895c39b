/* Ranges over tuples: what lies in them is what the bounds say, found by trying every value. */
#include "codec/values.h"

#include "base/limits.h"

/* Whether a value satisfies bounds, by the order of values alone. */
static bool satisfies(const ti_value *value, const ti_tuple_bounds *b)
{
    if (b->starts_with != NULL)
        return value->type == TI_VALUE_STRING &&
               ti_slice_has_prefix(value->string, *b->starts_with);
    const ti_value *one = b->lower != NULL ? b->lower : b->upper;
    if (values_rank(value) != values_rank(one))
        return false;
    if (b->lower != NULL) {
        int order = values_order(value, b->lower);
        if (b->lower_excluded ? order <= 0 : order < 0)
            return false;
    }
    if (b->upper != NULL) {
        int order = values_order(value, b->upper);
        if (b->upper_excluded ? order >= 0 : order > 0)
            return false;
    }
    return true;
}

static bool in_range(ti_slice key, const ti_key_range *range)
{
    return ti_slice_compare(key, range->lo) >= 0 &&
           (range->hi.data == NULL || ti_slice_compare(key, range->hi) < 0);
}

/* Random bounds whose ends have one type. */
static void random_bounds(test_random *r, ti_tuple_bounds *b, ti_value *lower, ti_value *upper,
                          ti_slice *prefix, char rooms[3][32])
{
    *b = (ti_tuple_bounds){.descending = test_random_one_in(r, 2)};
    if (test_random_one_in(r, 4)) {
        *prefix = values_random_string(r, rooms[2]);
        b->starts_with = prefix;
        return;
    }
    do
        *lower = values_random(r, rooms[0]);
    while (lower->type == TI_VALUE_NULL);
    do
        *upper = values_random(r, rooms[1]);
    while (values_rank(upper) != values_rank(lower));
    uint64_t sides = test_random_below(r, 3);
    b->lower = sides != 1 ? lower : NULL;
    b->upper = sides != 0 ? upper : NULL;
    b->lower_excluded = test_random_one_in(r, 2);
    b->upper_excluded = test_random_one_in(r, 2);
}

static void ranges_hold_what_bounds_say(void **state)
{
    test_random r = test_random_start(1);
    ti_arena arena;
    ti_buf key;
    ti_err err;
    uint64_t inside = 0;
    (void)state;
    ti_arena_init(&arena);
    ti_buf_init(&key, TI_KEY_SIZE_MAX);
    for (uint64_t n = test_scaled(20000); n > 0; n--) {
        char rooms[3][32];
        ti_tuple_bounds b;
        ti_value lower;
        ti_value upper;
        ti_slice starts_with;
        ti_key_range range;
        random_bounds(&r, &b, &lower, &upper, &starts_with, rooms);
        test_ok(ti_tuple_range(&arena, TI_SLICE("index:t:i:"), &b, &range, &err), &err);
        assert_true(ti_slice_compare(range.lo, range.hi) <= 0);
        for (int i = 0; i < 40; i++) {
            char room[32];
            ti_value value = values_random(&r, room);
            if (i == 0 && b.lower != NULL)
                value = *b.lower;
            if (i == 1 && b.upper != NULL)
                value = *b.upper;
            char next_room[32];
            ti_value next = values_random(&r, next_room);
            ti_buf_clear(&key);
            test_ok(ti_buf_append_text(&key, "index:t:i:", &err), &err);
            test_ok(ti_tuple_append(&key, &value, b.descending, &err), &err);
            test_ok(ti_tuple_append(&key, &next, test_random_one_in(&r, 2), &err), &err);
            bool wanted = satisfies(&value, &b);
            inside += wanted;
            assert_int_equal(in_range(ti_buf_slice(&key), &range), wanted);
        }
        ti_arena_reset(&arena);
    }
    assert_true(inside > 100);
    ti_buf_free(&key);
    ti_arena_free(&arena);
}

static void wrong_bounds_are_refused(void **state)
{
    ti_arena arena;
    ti_key_range range;
    ti_err err;
    ti_value null = ti_value_null();
    ti_value one = ti_value_int(1);
    ti_value nan = ti_value_double(NAN);
    ti_value text = ti_value_string(TI_SLICE("a"));
    char longest[TI_KEY_SIZE_MAX];
    (void)state;
    memset(longest, 'x', sizeof longest);
    ti_value huge = ti_value_string((ti_slice){longest, sizeof longest});
    const struct {
        ti_tuple_bounds bounds;
        ti_status status;
    } cases[] = {
        {{.lower = NULL}, TI_INVALID_ARGUMENT},
        {{.lower = &null}, TI_INVALID_ARGUMENT},
        {{.upper = &null}, TI_INVALID_ARGUMENT},
        {{.lower = &one, .upper = &text}, TI_INVALID_ARGUMENT},
        {{.lower = &nan}, TI_INVALID_ARGUMENT},
        {{.lower = &huge}, TI_LIMIT_EXCEEDED},
        {{.starts_with = &huge.string}, TI_LIMIT_EXCEEDED},
    };
    ti_arena_init(&arena);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        test_status(ti_tuple_range(&arena, TI_SLICE("p"), &cases[i].bounds, &range, &err),
                    cases[i].status);
    ti_arena_free(&arena);
}

static void prefix_ends(void **state)
{
    ti_arena arena;
    ti_slice end;
    ti_err err;
    (void)state;
    ti_arena_init(&arena);
    test_ok(ti_prefix_end(&arena, TI_SLICE("ab"), &end, &err), &err);
    assert_true(ti_slice_equal(end, TI_SLICE("ac")));
    test_ok(ti_prefix_end(&arena, TI_SLICE("a\xff\xff"), &end, &err), &err);
    assert_true(ti_slice_equal(end, TI_SLICE("b")));
    test_ok(ti_prefix_end(&arena, TI_SLICE("\xff\xff"), &end, &err), &err);
    assert_null(end.data);
    test_ok(ti_prefix_end(&arena, TI_SLICE(""), &end, &err), &err);
    assert_null(end.data);
    ti_arena_free(&arena);
}

static void failing_memory_is_said(void **state)
{
    ti_value one = ti_value_int(1);
    ti_tuple_bounds bounds = {.lower = &one};
    ti_key_range range;
    ti_err err;
    bool done = false;
    (void)state;
    for (uint64_t n = 1; !done; n++) {
        ti_arena arena;
        int64_t live = ti_mem_live();
        assert_true(n < 20);
        ti_arena_init(&arena);
        ti_mem_fail_at(n);
        ti_status status = ti_tuple_range(&arena, TI_SLICE("p"), &bounds, &range, &err);
        done = status == TI_OK;
        assert_true(done || status == TI_OUT_OF_MEMORY);
        ti_mem_fail_at(0);
        ti_arena_free(&arena);
        assert_int_equal(ti_mem_live(), live);
        assert_true(!done || n > 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_hold_what_bounds_say),
        cmocka_unit_test(wrong_bounds_are_refused),
        cmocka_unit_test(prefix_ends),
        cmocka_unit_test(failing_memory_is_said),
    };
    return TEST_RUN(tests);
}

/* Ranges of keys: each holds its own keys and no other, whatever the names around it. */
#include "codec/samples.h"

static bool in_range(ti_slice key, const ti_key_range *range)
{
    return ti_slice_compare(key, range->lo) >= 0 && ti_slice_compare(key, range->hi) < 0;
}

/* Names that are prefixes of each other, or words of the keys themselves. */
static const char *const names[] = {"a",  "a.b", "a-",        "a_",     "ab",
                                    "a0", "A",   "COMPLETED", "FAILED", "table"};
static const char *const indexes[] = {"i", "i@2", "i.j", "i@20"};
enum { NAMES = sizeof names / sizeof *names, INDEXES = sizeof indexes / sizeof *indexes };

/* All keys of all names and indexes, and what they are. */
typedef struct zoo {
    ti_arena arena;
    ti_keyspace ks;
    ti_slice keys[NAMES * INDEXES * SAMPLES_MAX];
    ti_key_parts parts[NAMES * INDEXES * SAMPLES_MAX];
    size_t count;
} zoo;

static void zoo_add(zoo *z, const ti_slice t, const ti_slice x)
{
    const ti_slice id = TI_SLICE(":");
    const ti_slice f = TI_SLICE("\xff");
    const ti_keyspace *ks = &z->ks;
    ti_arena *a = &z->arena;
    const ti_event_place *place = &samples_place;
    const ti_slice made[] = {
        ti_key_record(ks, a, t, id),
        ti_key_index(ks, a, t, x, f, id),
        ti_key_unique(ks, a, t, x, f),
        ti_key_schema(ks, a, t),
        ti_key_index_todo(ks, a, t, x, id),
        ti_key_event(ks, a, t, place),
        ti_key_history(ks, a, t, TI_HISTORY_COMPLETED, place),
        ti_key_history(ks, a, t, TI_HISTORY_FAILED, place),
        ti_key_parked(ks, a, t, id, place),
        ti_key_queue_checkpoint(ks, a, t, 1),
        ti_key_queue_lease(ks, a, t, 1),
        ti_key_queue_worker(ks, a, t, t),
        ti_key_queue_hint(ks, a, t, t),
        ti_key_queue_meta(ks, a, t),
        ti_key_queue_unique(ks, a, t, id),
        ti_key_queue_schedule(ks, a, t),
        ti_key_meta(ks, a, t),
    };
    for (size_t k = 0; k < sizeof made / sizeof *made; k++, z->count++) {
        z->keys[z->count] = made[k];
        assert_true(ti_key_parse(ks, made[k], &z->parts[z->count]));
    }
}

typedef struct span_case {
    ti_span span;
    ti_key_kind kind;
    bool name;
    bool index;
} span_case;

static const span_case cases[] = {
    {TI_SPAN_RECORDS, TI_KEY_RECORD, true, false},
    {TI_SPAN_INDEX, TI_KEY_INDEX, true, true},
    {TI_SPAN_UNIQUE, TI_KEY_UNIQUE, true, true},
    {TI_SPAN_INDEXES, TI_KEY_INDEX, true, false},
    {TI_SPAN_UNIQUES, TI_KEY_UNIQUE, true, false},
    {TI_SPAN_SCHEMAS, TI_KEY_SCHEMA, false, false},
    {TI_SPAN_INDEX_TODO, TI_KEY_INDEX_TODO, true, true},
    {TI_SPAN_EVENTS, TI_KEY_EVENT, true, false},
    {TI_SPAN_COMPLETED, TI_KEY_COMPLETED, true, false},
    {TI_SPAN_FAILED, TI_KEY_FAILED, true, false},
    {TI_SPAN_PARKED, TI_KEY_PARKED, true, false},
    {TI_SPAN_CHECKPOINTS, TI_KEY_CHECKPOINT, true, false},
    {TI_SPAN_LEASES, TI_KEY_LEASE, true, false},
    {TI_SPAN_WORKERS, TI_KEY_WORKER, true, false},
    {TI_SPAN_HINTS, TI_KEY_HINT, true, false},
    {TI_SPAN_QUEUE_METAS, TI_KEY_QUEUE_META, false, false},
    {TI_SPAN_UNIQUE_TOKENS, TI_KEY_QUEUE_UNIQUE, true, false},
    {TI_SPAN_SCHEDULES, TI_KEY_SCHEDULE, false, false},
    {TI_SPAN_METAS, TI_KEY_META, false, false},
};

static void span_holds_its_own(zoo *z, const span_case *c, ti_slice name, ti_slice index)
{
    ti_key_range range;
    ti_err err;
    test_ok(ti_key_span(&z->ks, &z->arena, c->span, name, index, &range, &err), &err);
    assert_true(ti_keyspace_owns_range(&z->ks, &range));
    for (size_t k = 0; k < z->count; k++) {
        const ti_key_parts *parts = &z->parts[k];
        bool own = parts->kind == c->kind && (!c->name || ti_slice_equal(parts->name, name)) &&
                   (!c->index || ti_slice_equal(parts->index, index));
        assert_int_equal(in_range(z->keys[k], &range), own);
    }
}

static void spans_hold_their_own_keys_only(void **state)
{
    static zoo z;
    (void)state;
    for (int named = 0; named < 2; named++) {
        ti_arena_init(&z.arena);
        z.ks = samples_keyspace(named == 1 ? "a" : "");
        z.count = 0;
        for (size_t n = 0; n < NAMES; n++)
            for (size_t i = 0; i < INDEXES; i++)
                zoo_add(&z, ti_slice_of(names[n]), ti_slice_of(indexes[i]));
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
            for (size_t n = 0; n < (cases[c].name ? NAMES : 1); n++)
                for (size_t i = 0; i < (cases[c].index ? INDEXES : 1); i++)
                    span_holds_its_own(&z, &cases[c],
                                       cases[c].name ? ti_slice_of(names[n]) : TI_SLICE_NONE,
                                       cases[c].index ? ti_slice_of(indexes[i]) : TI_SLICE_NONE);
        ti_arena_free(&z.arena);
    }
}

static const uint64_t times[] = {0, 1, 999, 1000, 1700000000000000, INT64_MAX};
enum { TIMES = sizeof times / sizeof *times };

static void times_bound(const ti_keyspace *ks, ti_arena *a, size_t from, size_t to)
{
    ti_key_range events;
    ti_key_range failed;
    ti_err err;
    const ti_slice t = TI_SLICE("t");
    uint64_t end = to == TIMES ? UINT64_MAX : times[to];
    test_ok(ti_key_events_between(ks, a, t, 3, times[from], end, &events, &err), &err);
    test_ok(ti_key_history_between(ks, a, t, TI_HISTORY_FAILED, 3, times[from], end, &failed, &err),
            &err);
    assert_true(ti_keyspace_owns_range(ks, &events));
    assert_true(ti_keyspace_owns_range(ks, &failed));
    for (size_t i = 0; i < TIMES; i++)
        for (uint32_t partition = 2; partition < 5; partition++) {
            ti_event_place p = {partition, times[i], SAMPLES_UUID};
            bool own = partition == 3 && i >= from && (to == TIMES || i < to);
            ti_slice event = ti_key_event(ks, a, t, &p);
            ti_slice row = ti_key_history(ks, a, t, TI_HISTORY_FAILED, &p);
            assert_int_equal(in_range(event, &events), own);
            assert_int_equal(in_range(row, &failed), own);
        }
}

static void times_bound_events(void **state)
{
    ti_arena a;
    ti_keyspace ks = samples_keyspace("shop");
    (void)state;
    ti_arena_init(&a);
    for (size_t from = 0; from < TIMES; from++)
        for (size_t to = from; to <= TIMES; to++)
            times_bound(&ks, &a, from, to);
    ti_arena_free(&a);
}

static void parked_events_stand_by_key_and_place(void **state)
{
    ti_arena a;
    ti_err err;
    ti_keyspace ks = samples_keyspace("");
    ti_key_range all;
    ti_key_range one;
    const ti_slice key = TI_SLICE("k");
    ti_event_place later = samples_place;
    (void)state;
    later.timestamp_us++;
    ti_arena_init(&a);
    test_ok(ti_key_parked_of(&ks, &a, TI_SLICE("t"), 7, NULL, &all, &err), &err);
    test_ok(ti_key_parked_of(&ks, &a, TI_SLICE("t"), 7, &key, &one, &err), &err);
    ti_slice first = ti_key_parked(&ks, &a, TI_SLICE("t"), key, &samples_place);
    ti_slice second = ti_key_parked(&ks, &a, TI_SLICE("t"), key, &later);
    ti_slice other = ti_key_parked(&ks, &a, TI_SLICE("t"), TI_SLICE("k\0"), &samples_place);
    assert_true(ti_slice_compare(first, second) < 0);
    assert_true(in_range(first, &one) && in_range(second, &one) && !in_range(other, &one));
    assert_true(in_range(first, &all) && in_range(second, &all) && in_range(other, &all));
    ti_slice after = ti_key_after(&a, first);
    assert_int_equal(after.len, first.len + 1);
    assert_true(ti_slice_compare(first, after) < 0);
    assert_true(ti_slice_compare(after, second) < 0);
    ti_arena_free(&a);
}

static void ranges_of_others_are_not_owned(void **state)
{
    static const struct {
        const char *lo;
        const char *hi; /* NULL: none */
        const char *name_space;
        bool owned;
    } ranges[] = {
        {"table:a:", "table:a;", "", true},
        {"table:", "table;", "", true},
        {"table:", "unique-index:", "", false},
        {"shop:table:", "shop:table;", "", false},
        {"shop:table:", "shop:table;", "shop", true},
        {"shop:", "shop;", "shop", true},
        {"shop:", "shop;x", "shop", false},
        {"shop:a", NULL, "shop", false},
        {"shoo:", "shop;", "shop", false},
        {"shop.:", "shop.;", "shop", false},
        {"shop:", "shoq:", "shop", false},
        {"", "shop;", "shop", false},
        {"table:b", "table:a", "", false},
        {"table:", "table;x", "", false},
        {"table:a", "table", "", false},
        {"", "", "", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        ti_keyspace ks = samples_keyspace(ranges[i].name_space);
        ti_key_range range = {ti_slice_of(ranges[i].lo), TI_SLICE_NONE};
        if (ranges[i].hi != NULL)
            range.hi = ti_slice_of(ranges[i].hi);
        if (ti_keyspace_owns_range(&ks, &range) != ranges[i].owned)
            fail_msg("case %zu", i);
    }
}

static void only_a_namespace_has_a_range_of_its_own(void **state)
{
    ti_arena a;
    ti_err err;
    ti_key_range all;
    ti_keyspace none = samples_keyspace("");
    ti_keyspace shop = samples_keyspace("shop");
    (void)state;
    ti_arena_init(&a);
    test_status(ti_key_span(&none, &a, TI_SPAN_ALL, TI_SLICE_NONE, TI_SLICE_NONE, &all, &err),
                TI_UNSUPPORTED);
    test_ok(ti_key_span(&shop, &a, TI_SPAN_ALL, TI_SLICE_NONE, TI_SLICE_NONE, &all, &err), &err);
    assert_true(ti_keyspace_owns_range(&shop, &all));
    assert_true(in_range(ti_key_meta(&shop, &a, TI_SLICE("x")), &all));
    assert_false(in_range(ti_key_meta(&none, &a, TI_SLICE("x")), &all));
    ti_arena_free(&a);
}

static void failing_memory_is_said(void **state)
{
    ti_keyspace ks = samples_keyspace("");
    const ti_slice t = TI_SLICE("t");
    (void)state;
    for (int call = 0; call < 3; call++)
        for (size_t size_max = 0, done = 0; done == 0; size_max += 16) {
            ti_arena a;
            ti_err err;
            ti_key_range range;
            assert_true(size_max < 10000);
            ti_arena_init(&a);
            a.size_max = size_max;
            ti_status status =
                call == 0   ? ti_key_span(&ks, &a, TI_SPAN_RECORDS, t, TI_SLICE_NONE, &range, &err)
                : call == 1 ? ti_key_events_between(&ks, &a, t, 1, 0, 5, &range, &err)
                            : ti_key_parked_of(&ks, &a, t, 1, &t, &range, &err);
            assert_true(status == TI_OK || status == TI_OUT_OF_MEMORY);
            done = status == TI_OK;
            assert_true(done == 0 || size_max > 16);
            ti_arena_free(&a);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_hold_their_own_keys_only),
        cmocka_unit_test(times_bound_events),
        cmocka_unit_test(parked_events_stand_by_key_and_place),
        cmocka_unit_test(ranges_of_others_are_not_owned),
        cmocka_unit_test(only_a_namespace_has_a_range_of_its_own),
        cmocka_unit_test(failing_memory_is_said),
    };
    return TEST_RUN(tests);
}

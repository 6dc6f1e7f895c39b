/* Reads on snapshots: what they show, batches, and pages of ranges at every boundary. */
#include "engine/engine.h"

static void a_snapshot_shows_its_moment(void **state)
{
    db d;
    (void)state;
    db_open(&d);
    ti_ts first_ts = db_set(&d, "a", "1");
    ti_snapshot *s1 = db_begin(&d);
    ti_ts second_ts = db_set(&d, "a", "2");
    ti_snapshot *s2 = db_begin(&d);
    assert_int_equal(db_commit(&d, db_now(&d), DELETE("a"), SET("b", "1")), TI_OK);
    ti_snapshot *s3 = db_begin(&d);
    assert_true(first_ts <= db_ts(&d, s1));
    assert_true(db_ts(&d, s1) < second_ts);
    assert_true(second_ts <= db_ts(&d, s2));
    assert_true(db_holds(&d, s1, "a", "1"));
    assert_true(db_holds(&d, s2, "a", "2"));
    assert_true(db_holds(&d, s3, "a", NULL));
    assert_true(db_holds(&d, s1, "b", NULL));
    assert_true(db_holds(&d, s3, "b", "1"));
    d.vt->release(s2);
    assert_true(db_holds(&d, s1, "a", "1"));
    d.vt->release(s1);
    d.vt->release(s3);
    db_close(&d);
}

static void timestamps_rise(void **state)
{
    db d;
    ti_ts last = 0;
    (void)state;
    db_open(&d);
    for (int i = 0; i < 1000; i++) {
        ti_snapshot *s = db_begin(&d);
        assert_true(db_ts(&d, s) >= last);
        last = db_ts(&d, s);
        d.vt->release(s);
        ti_ts now = db_now(&d);
        assert_true(now > last);
        last = now;
        if (i % 10 == 0) {
            ti_ts ts = db_set(&d, "a", "1");
            assert_true(ts > last);
            last = ts;
        }
    }
    int64_t off_us = ti_ts_to_us(last) - ti_env_wall_us(ti_env_real());
    assert_true(off_us < 2000000);
    assert_true(off_us > -2000000);
    db_close(&d);
}

static void values_of_all_sizes(void **state)
{
    static const size_t sizes[] = {1, 2, 15, 16, 17, 4095, 65536, 1 << 20, 3 << 20};
    db d;
    char *big = ti_alloc(3 << 20);
    (void)state;
    db_open(&d);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        ti_mutation m = {.key = TI_SLICE("k"), .value = {.data = big, .len = sizes[i]}};
        memset(big, (int)('a' + i), sizes[i]);
        assert_int_equal(db_commit_all(&d, db_now(&d), &m, 1, NULL), TI_OK);
        ti_snapshot *s = db_begin(&d);
        ti_slice got = db_get(&d, s, "k");
        assert_int_equal(got.len, sizes[i]);
        assert_memory_equal(got.data, big, sizes[i]);
        d.vt->release(s);
    }
    ti_free(big);
    db_close(&d);
}

/* Keys with any byte but a NUL in front. */
static void keys_of_all_bytes(void **state)
{
    db d;
    (void)state;
    db_open(&d);
    for (int first = 1; first < 256; first += 3) {
        for (int second = 0; second < 256; second += 5) {
            char key[3] = {(char)first, (char)second, '\0'};
            char value[3] = {(char)second, (char)first, '\0'};
            ti_mutation m = {.key = {.data = key, .len = 3}, .value = {.data = value, .len = 2}};
            assert_int_equal(db_commit_all(&d, db_now(&d), &m, 1, NULL), TI_OK);
            ti_snapshot *s = db_begin(&d);
            ti_slice got;
            assert_int_equal(d.vt->get(s, m.key, &d.a, &got, &d.call, &d.err), TI_OK);
            assert_true(ti_slice_equal(got, m.value));
            d.vt->release(s);
        }
    }
    db_close(&d);
}

/* ---- a table of keys for batches and scans */

#define TABLE 50

static ti_slice table_key(unsigned n, char out[16])
{
    int len = snprintf(out, 16, "t:%03u", n);
    return (ti_slice){.data = out, .len = (size_t)len};
}

/* The even keys hold their number; deleted ones lie between, and others around. */
static void fill_table(db *d)
{
    (void)db_set(d, "s", "before");
    (void)db_set(d, "u", "after");
    for (unsigned n = 0; n < TABLE; n++) {
        char key[16];
        char value[24];
        ti_slice k = table_key(n, key);
        int len = snprintf(value, sizeof(value), "value-%u", n);
        ti_mutation m = {.key = k, .value = {.data = value, .len = (size_t)len}};
        assert_int_equal(db_commit_all(d, db_now(d), &m, 1, NULL), TI_OK);
        if (n % 2 != 0)
            assert_int_equal(db_commit(d, db_now(d), DELETE(key)), TI_OK);
    }
}

static void batches_answer_key_by_key(void **state)
{
    db d;
    (void)state;
    db_open(&d);
    fill_table(&d);
    ti_snapshot *s = db_begin(&d);
    for (size_t count = 0; count <= 200; count = count * 2 + 1) {
        ti_slice keys[256];
        ti_slice values[256];
        char bytes[256][16];
        for (size_t i = 0; i < count; i++)
            keys[i] = table_key((unsigned)(i * 37 % (TABLE + 10)), bytes[i]);
        test_ok(d.vt->batch_get(s, keys, count, &d.a, values, &d.call, &d.err), &d.err);
        for (size_t i = 0; i < count; i++) {
            unsigned n = (unsigned)(i * 37 % (TABLE + 10));
            char value[24];
            (void)snprintf(value, sizeof(value), "value-%u", n);
            if (n < TABLE && n % 2 == 0)
                assert_true(ti_slice_equal(values[i], ti_slice_of(value)));
            else
                assert_null(values[i].data);
        }
    }
    d.vt->release(s);
    db_close(&d);
}

/* One page must be exactly the even keys from first on, within [from, to). */
static void check_page(const ti_scan *scan, const ti_scan_page *page, unsigned from, unsigned to)
{
    size_t inside = 0;
    for (unsigned i = 0; i < to - from; i++) {
        unsigned n = scan->reverse ? to - 1 - i : from + i;
        char key[16];
        char value[24];
        if (n % 2 != 0)
            continue;
        (void)snprintf(value, sizeof(value), "value-%u", n);
        if (inside < page->count) {
            assert_true(ti_slice_equal(page->pairs[inside].key, table_key(n, key)));
            assert_true(ti_slice_equal(page->pairs[inside].value,
                                       scan->keys_only ? TI_SLICE_NONE : ti_slice_of(value)));
        }
        inside++;
    }
    size_t wanted = inside < scan->items_max ? inside : scan->items_max;
    assert_int_equal(page->count, wanted);
    assert_true(page->more || inside <= page->count);
    assert_true(!page->more || page->count == scan->items_max);
}

static void scans_are_exact_at_every_boundary(void **state)
{
    db d;
    (void)state;
    db_open(&d);
    fill_table(&d);
    ti_snapshot *s = db_begin(&d);
    for (unsigned from = 0; from < TABLE; from += 1 + (unsigned)(test_scale() < 1) * 6) {
        for (unsigned to = from; to <= TABLE; to++) {
            char low[16];
            char high[16];
            for (unsigned way = 0; way < 4; way++) {
                ti_scan_page page;
                ti_scan scan = {
                    .range = {.from = table_key(from, low), .to = table_key(to, high)},
                    .reverse = way % 2 != 0,
                    .keys_only = way >= 2,
                    .items_max = 1 + (from * 7 + to) % 13,
                };
                test_ok(d.vt->scan(s, &scan, &d.a, &page, &d.call, &d.err), &d.err);
                check_page(&scan, &page, from, to);
            }
        }
        ti_arena_reset(&d.a);
    }
    d.vt->release(s);
    db_close(&d);
}

static void open_ranges_see_all_user_keys(void **state)
{
    db d;
    (void)state;
    db_open(&d);
    fill_table(&d);
    (void)db_set(&d, "\xff\xff\xff", "last");
    (void)db_set(&d, "\x01", "first");
    ti_snapshot *s = db_begin(&d);
    for (int reverse = 0; reverse < 2; reverse++) {
        ti_scan_page page;
        ti_scan scan = {.items_max = 1000, .reverse = reverse != 0};
        test_ok(d.vt->scan(s, &scan, &d.a, &page, &d.call, &d.err), &d.err);
        assert_int_equal(page.count, TABLE / 2 + 4);
        assert_false(page.more);
        size_t first = reverse ? page.count - 1 : 0;
        assert_true(ti_slice_equal(page.pairs[first].value, TI_SLICE("first")));
        assert_true(ti_slice_equal(page.pairs[page.count - 1 - first].value, TI_SLICE("last")));
        scan.range = (ti_range){.from = TI_SLICE("x"), .to = TI_SLICE("a")};
        test_ok(d.vt->scan(s, &scan, &d.a, &page, &d.call, &d.err), &d.err);
        assert_int_equal(page.count, 0);
    }
    d.vt->release(s);
    db_close(&d);
}

static void pages_end_by_size(void **state)
{
    db d;
    (void)state;
    db_open(&d);
    fill_table(&d);
    ti_snapshot *s = db_begin(&d);
    for (size_t size_max = 1; size_max < 100; size_max += 7) {
        ti_scan_page page;
        size_t size = 0;
        ti_scan scan = {.items_max = 1000, .size_max = size_max};
        test_ok(d.vt->scan(s, &scan, &d.a, &page, &d.call, &d.err), &d.err);
        assert_true(page.more);
        for (size_t i = 0; i < page.count; i++) {
            assert_true(size < size_max);
            size += page.pairs[i].key.len + page.pairs[i].value.len;
        }
        assert_true(size >= size_max || db_is_spaced()); /* longer keys end it earlier */
    }
    d.vt->release(s);
    db_close(&d);
}

/* One iterator serves many scans of a snapshot, forward and reverse, over moving bounds. */
static void many_scans_of_one_snapshot(void **state)
{
    test_random r = test_random_start(21);
    db d;
    (void)state;
    db_open(&d);
    fill_table(&d);
    for (uint64_t round = 0; round < test_scaled(200); round++) {
        ti_snapshot *s = db_begin(&d);
        for (int i = 0; i < 20; i++) {
            char low[16];
            char high[16];
            ti_scan_page page;
            unsigned from = (unsigned)test_random_below(&r, TABLE);
            unsigned to = from + (unsigned)test_random_below(&r, TABLE - from + 1);
            ti_scan scan = {
                .range = {.from = table_key(from, low), .to = table_key(to, high)},
                .reverse = test_random_one_in(&r, 2),
                .items_max = 1 + test_random_below(&r, 30),
            };
            test_ok(d.vt->scan(s, &scan, &d.a, &page, &d.call, &d.err), &d.err);
            check_page(&scan, &page, from, to);
        }
        ti_arena_reset(&d.a);
        d.vt->release(s);
    }
    db_close(&d);
}

static void destroyed_ranges_are_gone(void **state)
{
    db d;
    (void)state;
    db_open(&d);
    fill_table(&d);
    ti_range range = {.from = TI_SLICE("t:010"), .to = TI_SLICE("t:020")};
    test_ok(d.vt->destroy_range(d.e, range, &d.call, &d.err), &d.err);
    assert_true(db_holds_now(&d, "t:008", "value-8"));
    assert_true(db_holds_now(&d, "t:010", NULL));
    assert_true(db_holds_now(&d, "t:018", NULL));
    assert_true(db_holds_now(&d, "t:020", "value-20"));
    (void)db_set(&d, "t:012", "again");
    assert_true(db_holds_now(&d, "t:012", "again"));
    range = (ti_range){.from = TI_SLICE("t:020"), .to = TI_SLICE("t:020")};
    test_ok(d.vt->destroy_range(d.e, range, &d.call, &d.err), &d.err);
    assert_true(db_holds_now(&d, "t:020", "value-20"));
    range = (ti_range){.from = TI_SLICE("t:"), .to = TI_SLICE_NONE};
    test_ok(d.vt->destroy_range(d.e, range, &d.call, &d.err), &d.err);
    assert_true(db_holds_now(&d, "t:020", NULL));
    assert_true(db_holds_now(&d, "u", NULL));
    assert_true(db_holds_now(&d, "s", "before"));
    db_close(&d);
}

static void calls_end_when_told(void **state)
{
    db d;
    ti_scan_page page;
    ti_scan scan = {.items_max = 10};
    _Atomic(int) cancelled;
    (void)state;
    atomic_init(&cancelled, 1);
    db_open(&d);
    (void)db_set(&d, "a", "1");
    ti_snapshot *s = db_begin(&d);
    ti_mutation m = SET("b", "1");
    ti_commit_result result;
    ti_commit_request request = {.start_ts = db_now(&d), .mutations = &m, .count = 1};
    ti_call late = ti_call_within(d.env, 0);
    test_status(d.vt->scan(s, &scan, &d.a, &page, &late, &d.err), TI_TIMEOUT);
    test_status(d.vt->commit(d.e, &request, &result, &late, &d.err), TI_TIMEOUT);
    ti_call ended = d.call;
    ended.cancelled = &cancelled;
    test_status(d.vt->scan(s, &scan, &d.a, &page, &ended, &d.err), TI_CANCELLED);
    test_status(d.vt->commit(d.e, &request, &result, &ended, &d.err), TI_CANCELLED);
    d.vt->release(s);
    assert_true(db_holds_now(&d, "b", NULL));
    db_close(&d);
}

/* Random commits; what is said to be unchanged since a snapshot reads as it did there. */
static void what_is_unchanged_reads_the_same(void **state)
{
    enum { KEYS = 40, SNAPSHOTS = 200 };
    db d;
    ti_slice keys[KEYS];
    char names[KEYS][8];
    ti_ts changed[KEYS] = {0}; /* the last commit of each */
    size_t known = 0;
    test_random random = test_random_start(43);
    (void)state;
    db_open(&d);
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(names[i], sizeof(names[i]), "u%02u", i);
        keys[i] = ti_slice_of(names[i]);
    }
    for (unsigned n = 0; n < SNAPSHOTS && d.vt->unchanged != NULL; n++) {
        ti_ts since[KEYS];
        bool unchanged[KEYS];
        ti_snapshot *s = db_begin(&d);
        for (unsigned i = 0; i < KEYS; i++)
            since[i] = db_ts(&d, s);
        d.vt->release(s);
        for (unsigned k = (unsigned)test_random_below(&random, 60); k > 0; k--) {
            unsigned i = (unsigned)test_random_below(&random, KEYS);
            changed[i] = db_set(&d, names[i], "x");
        }
        d.vt->unchanged(d.e, keys, since, KEYS, unchanged);
        for (unsigned i = 0; i < KEYS; i++) {
            assert_true(!unchanged[i] || changed[i] <= since[i]);
            known += unchanged[i];
        }
    }
    assert_true(d.vt->unchanged == NULL || known > 0);
    db_close(&d);
}

static void statistics_are_an_object(void **state)
{
    db d;
    ti_buf out;
    (void)state;
    db_open(&d);
    (void)db_set(&d, "a", "1");
    ti_buf_init(&out, 100000);
    test_ok(d.vt->stats(d.e, &out, &d.err), &d.err);
    assert_int_equal(out.data[0], '{');
    assert_int_equal(out.data[out.len - 1], '}');
    assert_non_null(memmem(out.data, out.len, "\"commits\":1,", 12));
    ti_buf_free(&out);
    ti_buf_init(&out, 10);
    test_status(d.vt->stats(d.e, &out, &d.err), TI_LIMIT_EXCEEDED);
    ti_buf_free(&out);
    test_ok(d.vt->gc(d.e, 0, &d.call, &d.err), &d.err);
    db_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_shows_its_moment),
        cmocka_unit_test(timestamps_rise),
        cmocka_unit_test(values_of_all_sizes),
        cmocka_unit_test(keys_of_all_bytes),
        cmocka_unit_test(batches_answer_key_by_key),
        cmocka_unit_test(scans_are_exact_at_every_boundary),
        cmocka_unit_test(open_ranges_see_all_user_keys),
        cmocka_unit_test(pages_end_by_size),
        cmocka_unit_test(many_scans_of_one_snapshot),
        cmocka_unit_test(destroyed_ranges_are_gone),
        cmocka_unit_test(calls_end_when_told),
        cmocka_unit_test(what_is_unchanged_reads_the_same),
        cmocka_unit_test(statistics_are_an_object),
    };
    return TEST_RUN(tests);
}

/* Merged scans against a naive model: random states, random own writes, every page size, both
 * directions, byte limits. */
#include "kv/handle.h"

#define KEYS 60

/* A sorted table of what each key holds; "" is nothing. */
typedef struct model {
    char value[KEYS][12];
} model;

static ti_slice key_of(unsigned n, char out[8])
{
    int len = snprintf(out, 8, "k%02u", n);
    return (ti_slice){.data = out, .len = (size_t)len};
}

static void put_or_delete(handle *h, ti_txn *txn, model *m, unsigned n, bool put, unsigned tag)
{
    char key[8];
    if (put)
        (void)snprintf(m->value[n], sizeof(m->value[n]), "v%u", tag);
    else
        m->value[n][0] = '\0';
    ti_status status = put ? ti_txn_put(txn, key_of(n, key), ti_slice_of(m->value[n]), &h->err)
                           : ti_txn_delete(txn, key_of(n, key), &h->err);
    test_ok(status, &h->err);
}

/* The i-th key of the range in the scan's direction; KEYS when there is none. */
static unsigned model_next(const model *m, unsigned from, unsigned to, bool reverse, unsigned *at)
{
    while (*at < to - from) {
        unsigned n = reverse ? to - 1 - *at : from + *at;
        *at += 1;
        if (m->value[n][0] != '\0')
            return n;
    }
    return KEYS;
}

/* Reads [from, to) in pages and compares every pair. */
static void check_scan(handle *h, ti_txn *txn, const model *m, unsigned from, unsigned to,
                       const ti_scan *like)
{
    char low[8];
    char high[8];
    ti_scan scan = *like;
    ti_scan_page page;
    unsigned at = 0;
    scan.range.from = key_of(from, low);
    scan.range.to = to == KEYS ? TI_SLICE_NONE : key_of(to, high);
    do {
        size_t size = 0;
        test_ok(ti_txn_scan(txn, &scan, &h->a, &page, &h->call, &h->err), &h->err);
        assert_true(page.count <= scan.items_max);
        assert_true(page.count > 0 || !page.more);
        for (size_t i = 0; i < page.count; i++) {
            char key[8];
            unsigned n = model_next(m, from, to, scan.reverse, &at);
            assert_true(scan.size_max == 0 || size < scan.size_max);
            assert_true(n < KEYS);
            assert_true(ti_slice_equal(page.pairs[i].key, key_of(n, key)));
            if (scan.keys_only)
                assert_int_equal(page.pairs[i].value.len, 0);
            else
                assert_true(ti_slice_equal(page.pairs[i].value, ti_slice_of(m->value[n])));
            size += page.pairs[i].key.len + page.pairs[i].value.len;
        }
        if (page.more)
            assert_true(page.count == scan.items_max || size >= scan.size_max);
        if (page.count == 0)
            break;
        ti_slice last = ti_arena_copy(&h->a, page.pairs[page.count - 1].key);
        if (scan.reverse)
            scan.range.to = last;
        else
            scan.range.from = (ti_slice){.data = last.data, .len = last.len + 1};
    } while (page.more);
    assert_int_equal(model_next(m, from, to, scan.reverse, &at), KEYS);
}

static void check_all_pages(handle *h, ti_txn *txn, const model *m, test_random *r)
{
    for (int i = 0; i < 24; i++) {
        unsigned from = (unsigned)test_random_below(r, KEYS);
        unsigned to = from + 1 + (unsigned)test_random_below(r, KEYS - from);
        ti_scan like = {
            .reverse = i % 2 != 0,
            .keys_only = test_random_one_in(r, 4),
            .items_max = 1 + test_random_below(r, i < 12 ? 5 : 100),
            .size_max = test_random_one_in(r, 3) ? 1 + test_random_below(r, 30) : 0,
        };
        check_scan(h, txn, m, from, to, &like);
    }
    ti_arena_reset(&h->a);
}

static void merged_scans_match_the_model(void **state)
{
    test_random r = test_random_start(3);
    handle h;
    model m;
    (void)state;
    memset(&m, 0, sizeof(m));
    handle_open(&h);
    for (uint64_t round = 0; round < test_scaled(300); round++) {
        ti_txn *txn = handle_begin(&h);
        unsigned writes = (unsigned)test_random_below(&r, 30);
        for (unsigned i = 0; i < writes; i++)
            put_or_delete(&h, txn, &m, (unsigned)test_random_below(&r, KEYS),
                          test_random_one_in(&r, 2), (unsigned)round);
        test_ok(handle_end(&h, txn), &h.err);
        model own = m;
        txn = handle_begin(&h);
        check_all_pages(&h, txn, &own, &r);
        writes = (unsigned)test_random_below(&r, 40);
        for (unsigned i = 0; i < writes; i++)
            put_or_delete(&h, txn, &own, (unsigned)test_random_below(&r, KEYS),
                          test_random_one_in(&r, 2), 1000 + (unsigned)round);
        for (unsigned i = 0; i < 3; i++) {
            char key[8];
            unsigned n = (unsigned)test_random_below(&r, KEYS);
            test_ok(ti_txn_lock(txn, key_of(n, key), &h.err), &h.err);
        }
        check_all_pages(&h, txn, &own, &r);
        ti_txn_free(txn);
    }
    handle_close(&h);
}

/* Deletes that hide whole pages of the snapshot. */
static void pages_full_of_deletes(void **state)
{
    handle h;
    model m;
    (void)state;
    memset(&m, 0, sizeof(m));
    handle_open(&h);
    ti_txn *txn = handle_begin(&h);
    for (unsigned i = 0; i < KEYS; i++)
        put_or_delete(&h, txn, &m, i, true, i);
    test_ok(handle_end(&h, txn), &h.err);
    txn = handle_begin(&h);
    for (unsigned i = 0; i < KEYS; i++)
        if (i % 20 != 10)
            put_or_delete(&h, txn, &m, i, false, 0);
    for (unsigned items = 1; items < 5; items++) {
        ti_scan like = {.items_max = items};
        check_scan(&h, txn, &m, 0, KEYS, &like);
        like.reverse = true;
        check_scan(&h, txn, &m, 0, KEYS, &like);
    }
    ti_txn_free(txn);
    handle_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merged_scans_match_the_model),
        cmocka_unit_test(pages_full_of_deletes),
    };
    return TEST_RUN(tests);
}

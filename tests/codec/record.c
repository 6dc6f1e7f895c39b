/* Values: checksums, markers, sealed payloads, records; every bit flipped, every byte cut. */
#include "golden/golden.h"

#include "base/limits.h"
#include "codec/crc_int.h"
#include "codec/record.h"

#define KEY TI_SLICE("table:user:u1")
#define DOCUMENT TI_SLICE("{\"id\":\"u1\",\"email\":\"a@b\"}")

static void crc_is_crc32c(void **state)
{
    (void)state;
    assert_int_equal(ti_crc32c(0, TI_SLICE("123456789")), 0xe3069283u);
    assert_int_equal(ti_crc32c_portable(0, TI_SLICE("123456789")), 0xe3069283u);
    assert_int_equal(ti_crc32c(0, TI_SLICE_NONE), 0);
    assert_int_equal(ti_crc32c(ti_crc32c(0, TI_SLICE("12345")), TI_SLICE("6789")), 0xe3069283u);
}

static void both_ways_of_crc_agree(void **state)
{
    test_random r = test_random_start(1);
    char bytes[512];
    (void)state;
    for (uint64_t n = test_scaled(100000); n > 0; n--) {
        size_t from = test_random_below(&r, 16);
        size_t len = test_random_below(&r, sizeof bytes - 16);
        uint32_t crc = (uint32_t)test_random_u64(&r);
        test_random_fill(&r, bytes, 64);
        ti_slice s = {bytes + from, len < 48 ? len : 48};
        assert_int_equal(ti_crc32c(crc, s), ti_crc32c_portable(crc, s));
    }
}

static void markers(void **state)
{
    ti_err err;
    (void)state;
    golden_check("values.txt", "marker", ti_marker());
    test_ok(ti_marker_check(TI_SLICE("\x01"), &err), &err);
    test_status(ti_marker_check(TI_SLICE(""), &err), TI_CORRUPT);
    test_status(ti_marker_check(TI_SLICE("\x01\x01"), &err), TI_CORRUPT);
    for (int bit = 0; bit < 8; bit++) {
        char flipped = (char)(1 ^ (1 << bit));
        test_status(ti_marker_check((ti_slice){&flipped, 1}, &err), TI_CORRUPT);
    }
}

/* ---- sealed values ---- */

static const struct {
    ti_sealed_kind kind;
    const char *golden;
} kinds[] = {
    {TI_SEALED_COVERING, "covering"}, {TI_SEALED_UNIQUE, "unique"},   {TI_SEALED_SCHEMA, "schema"},
    {TI_SEALED_EVENT, "event"},       {TI_SEALED_HISTORY, "history"}, {TI_SEALED_PARKED, "parked"},
    {TI_SEALED_QUEUE, "queue"},       {TI_SEALED_META, "meta"},       {TI_SEALED_TODO, "todo"},
};

static void sealed_values_open_as_what_they_are(void **state)
{
    ti_err err;
    ti_buf b;
    ti_slice payload;
    (void)state;
    ti_buf_init(&b, 1000);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        ti_buf_clear(&b);
        test_ok(ti_sealed_append(&b, kinds[i].kind, KEY, TI_SLICE("payload"), &err), &err);
        golden_check("values.txt", kinds[i].golden, ti_buf_slice(&b));
        for (size_t j = 0; j < sizeof kinds / sizeof *kinds; j++) {
            ti_status status = ti_sealed_open(ti_buf_slice(&b), kinds[j].kind, KEY, &payload, &err);
            assert_int_equal(status, i == j ? TI_OK : TI_CORRUPT);
            assert_true(ti_slice_equal(payload, i == j ? TI_SLICE("payload") : TI_SLICE_NONE));
        }
        test_status(ti_sealed_open(ti_buf_slice(&b), kinds[i].kind, TI_SLICE("table:user:u2"),
                                   &payload, &err),
                    TI_CORRUPT);
    }
    ti_buf_clear(&b);
    test_ok(ti_sealed_append(&b, TI_SEALED_QUEUE, KEY, TI_SLICE_NONE, &err), &err);
    test_ok(ti_sealed_open(ti_buf_slice(&b), TI_SEALED_QUEUE, KEY, &payload, &err), &err);
    assert_int_equal(payload.len, 0);
    ti_buf_free(&b);
}

/* A byte that moves from the key into the payload is seen. */
static void key_and_payload_do_not_run_together(void **state)
{
    ti_err err;
    ti_buf a;
    ti_buf b;
    (void)state;
    ti_buf_init(&a, 100);
    ti_buf_init(&b, 100);
    test_ok(ti_sealed_append(&a, TI_SEALED_QUEUE, TI_SLICE("k!"), TI_SLICE("p"), &err), &err);
    test_ok(ti_sealed_append(&b, TI_SEALED_QUEUE, TI_SLICE("k"), TI_SLICE("!p"), &err), &err);
    assert_memory_not_equal(a.data + 1, b.data + 1, 4);
    ti_buf_free(&a);
    ti_buf_free(&b);
}

/* ---- records ---- */

static const ti_entry entries[] = {
    {TI_ENTRY_PLAIN,
     1,
     {"by_author", 9},
     {"\x20"
      "A\0\x01",
      4}},
    {TI_ENTRY_PLAIN, 3, {"by_tag", 6}, {"\x05", 1}},
    {TI_ENTRY_PLAIN, 3, {"by_tag", 6}, {"\x06", 1}},
    {TI_ENTRY_UNIQUE, 1, {"by_tag", 6}, {"\x07", 1}},
    {TI_ENTRY_UNIQUE, 300, {"by_slug", 7}, {"", 0}},
};
#define ENTRIES (sizeof entries / sizeof *entries)

static void record_make(ti_buf *b, size_t count, uint64_t version)
{
    ti_err err;
    ti_record_spec spec = {
        .version = version, .entries = entries, .entry_count = count, .document = DOCUMENT};
    ti_buf_init(b, 10000);
    test_ok(ti_record_append(b, KEY, &spec, &err), &err);
}

static void records_are_read_back(void **state)
{
    static const uint64_t versions[] = {0, 1, 255, UINT64_MAX};
    ti_err err;
    (void)state;
    for (size_t count = 0; count <= ENTRIES; count++)
        for (size_t v = 0; v < 4; v++) {
            ti_buf b;
            ti_record record;
            ti_entry entry;
            size_t seen = 0;
            record_make(&b, count, versions[v]);
            test_ok(ti_record_open(ti_buf_slice(&b), KEY, &record, &err), &err);
            assert_int_equal(record.version, versions[v]);
            assert_true(ti_slice_equal(record.document, DOCUMENT));
            ti_entry_iter iter = ti_record_entries(&record);
            for (; ti_entry_next(&iter, &entry); seen++) {
                assert_true(seen < count);
                assert_int_equal(entry.kind, entries[seen].kind);
                assert_int_equal(entry.version, entries[seen].version);
                assert_true(ti_slice_equal(entry.index, entries[seen].index));
                assert_true(ti_slice_equal(entry.tuple, entries[seen].tuple));
            }
            assert_int_equal(seen, count);
            assert_false(ti_entry_next(&iter, &entry));
            ti_buf_free(&b);
        }
}

static void golden_records(void **state)
{
    ti_buf b;
    (void)state;
    record_make(&b, 0, 1);
    golden_check("values.txt", "record-plain", ti_buf_slice(&b));
    ti_buf_free(&b);
    record_make(&b, ENTRIES, 258);
    golden_check("values.txt", "record-entries", ti_buf_slice(&b));
    ti_buf_free(&b);
}

/* What is in the golden file opens, whatever the encoder does today. */
static void golden_records_open(void **state)
{
    char bytes[1000];
    ti_record record;
    ti_entry entry;
    ti_err err;
    size_t seen = 0;
    (void)state;
    long len = golden_find("values.txt", "record-entries", bytes, sizeof bytes);
    assert_true(len > 0);
    test_ok(ti_record_open((ti_slice){bytes, (size_t)len}, KEY, &record, &err), &err);
    assert_int_equal(record.version, 258);
    ti_entry_iter iter = ti_record_entries(&record);
    while (ti_entry_next(&iter, &entry))
        seen++;
    assert_int_equal(seen, ENTRIES);
}

static void every_flipped_bit_is_seen(void **state)
{
    ti_buf b;
    ti_record record;
    ti_slice payload;
    ti_err err;
    (void)state;
    record_make(&b, ENTRIES, 7);
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        b.data[bit / 8] = (char)(b.data[bit / 8] ^ (1 << bit % 8));
        test_status(ti_record_open(ti_buf_slice(&b), KEY, &record, &err), TI_CORRUPT);
        b.data[bit / 8] = (char)(b.data[bit / 8] ^ (1 << bit % 8));
    }
    test_ok(ti_record_open(ti_buf_slice(&b), KEY, &record, &err), &err);
    for (size_t len = 0; len < b.len; len++)
        test_status(ti_record_open((ti_slice){b.data, len}, KEY, &record, &err), TI_CORRUPT);
    char key[] = "table:user:u1";
    for (size_t bit = 0; bit < (sizeof key - 1) * 8; bit++) {
        key[bit / 8] = (char)(key[bit / 8] ^ (1 << bit % 8));
        test_status(
            ti_record_open(ti_buf_slice(&b), (ti_slice){key, sizeof key - 1}, &record, &err),
            TI_CORRUPT);
        key[bit / 8] = (char)(key[bit / 8] ^ (1 << bit % 8));
    }
    ti_buf_clear(&b);
    test_ok(ti_sealed_append(&b, TI_SEALED_COVERING, KEY, DOCUMENT, &err), &err);
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        b.data[bit / 8] = (char)(b.data[bit / 8] ^ (1 << bit % 8));
        test_status(ti_sealed_open(ti_buf_slice(&b), TI_SEALED_COVERING, KEY, &payload, &err),
                    TI_CORRUPT);
        b.data[bit / 8] = (char)(b.data[bit / 8] ^ (1 << bit % 8));
    }
    ti_buf_free(&b);
}

/* A damaged list under a right checksum (a bug, not a bit) is refused too. */
static void wrong_lists_are_refused(void **state)
{
    test_random r = test_random_start(2);
    ti_buf good;
    uint64_t opened = 0;
    (void)state;
    record_make(&good, ENTRIES, 7);
    for (uint64_t n = test_scaled(200000); n > 0; n--) {
        char bytes[256];
        ti_record record;
        ti_entry entry;
        ti_err err;
        size_t len =
            good.len - (test_random_one_in(&r, 4) ? test_random_below(&r, good.len - 13) : 0);
        memcpy(bytes, good.data, good.len);
        for (uint64_t k = 1 + test_random_below(&r, 3); k > 0; k--)
            bytes[13 + test_random_below(&r, 60)] = (char)test_random_u64(&r);
        /* the checksum of size of key, key, version byte, rest */
        char head[] = "\x0d\0\0\0\0\0\0\0table:user:u1\x01";
        uint32_t crc = ti_crc32c(0, (ti_slice){head, sizeof head - 1});
        crc = ti_crc32c(crc, (ti_slice){bytes + 5, len - 5});
        for (int i = 0; i < 4; i++)
            bytes[1 + i] = (char)(crc >> (8 * i));
        ti_status status = ti_record_open((ti_slice){bytes, len}, KEY, &record, &err);
        if (status != TI_OK) {
            assert_int_equal(status, TI_CORRUPT);
            continue;
        }
        opened++;
        ti_entry_iter iter = ti_record_entries(&record);
        while (ti_entry_next(&iter, &entry))
            assert_true(entry.tuple.data + entry.tuple.len <= record.document.data);
    }
    assert_true(opened > 0);
    ti_buf_free(&good);
}

static void too_many_entries_are_refused(void **state)
{
    static ti_entry many[TI_RECORD_ENTRIES_MAX + 1];
    ti_err err;
    ti_buf b;
    ti_record record;
    (void)state;
    for (size_t i = 0; i <= TI_RECORD_ENTRIES_MAX; i++)
        many[i] = entries[i % 2];
    ti_record_spec spec = {
        .version = 1, .entries = many, .entry_count = TI_RECORD_ENTRIES_MAX, .document = DOCUMENT};
    ti_buf_init(&b, 100000);
    test_ok(ti_record_append(&b, KEY, &spec, &err), &err);
    test_ok(ti_record_open(ti_buf_slice(&b), KEY, &record, &err), &err);
    ti_buf_clear(&b);
    spec.entry_count++;
    test_status(ti_record_append(&b, KEY, &spec, &err), TI_LIMIT_EXCEEDED);
    assert_int_equal(b.len, 0);
    ti_buf_free(&b);
}

static void failing_memory_and_full_buffers_are_said(void **state)
{
    ti_err err;
    ti_buf b;
    ti_record_spec spec = {
        .version = 1, .entries = entries, .entry_count = ENTRIES, .document = DOCUMENT};
    (void)state;
    ti_buf_init(&b, 1000);
    ti_mem_fail_at(1);
    test_status(ti_record_append(&b, KEY, &spec, &err), TI_OUT_OF_MEMORY);
    ti_mem_fail_at(1);
    test_status(ti_sealed_append(&b, TI_SEALED_META, KEY, DOCUMENT, &err), TI_OUT_OF_MEMORY);
    ti_mem_fail_at(0);
    assert_int_equal(b.len, 0);
    ti_buf_free(&b);
    for (size_t max = 1; max < 60; max++) {
        ti_buf_init(&b, max);
        test_status(ti_record_append(&b, KEY, &spec, &err), TI_LIMIT_EXCEEDED);
        assert_int_equal(b.len, 0);
        ti_buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_is_crc32c),
        cmocka_unit_test(both_ways_of_crc_agree),
        cmocka_unit_test(markers),
        cmocka_unit_test(sealed_values_open_as_what_they_are),
        cmocka_unit_test(key_and_payload_do_not_run_together),
        cmocka_unit_test(records_are_read_back),
        cmocka_unit_test(golden_records),
        cmocka_unit_test(golden_records_open),
        cmocka_unit_test(every_flipped_bit_is_seen),
        cmocka_unit_test(wrong_lists_are_refused),
        cmocka_unit_test(too_many_entries_are_refused),
        cmocka_unit_test(failing_memory_and_full_buffers_are_said),
    };
    return TEST_RUN(tests);
}

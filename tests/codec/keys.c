/* Keys: exact texts, reading back, names, ids, event ids. Ranges: spans.c. */
#include "codec/samples.h"
#include "golden/golden.h"

#include "base/limits.h"

static void golden_keys(void **state)
{
    ti_arena a;
    sample samples[SAMPLES_MAX];
    (void)state;
    ti_arena_init(&a);
    for (int named = 0; named < 2; named++) {
        ti_keyspace ks = samples_keyspace(named == 1 ? "shop" : "");
        size_t count = samples_make(&ks, &a, samples);
        for (size_t i = 0; i < count; i++) {
            char name[64];
            snprintf(name, sizeof name, "%s%s", named == 1 ? "shop-" : "", samples[i].golden);
            golden_check("keys.txt", name, samples[i].key);
        }
    }
    ti_arena_free(&a);
}

static void keys_look_as_designed(void **state)
{
    ti_arena a;
    ti_keyspace ks = samples_keyspace("");
    const ti_event_place *place = &samples_place;
    (void)state;
    ti_arena_init(&a);
    assert_string_equal(ti_key_record(&ks, &a, TI_SLICE("user"), TI_SLICE("u:1")).data,
                        "table:user:u:1");
    assert_string_equal(ti_key_event(&ks, &a, TI_SLICE("user"), place).data,
                        "event:user:0007:00001700000000123456:" SAMPLES_UUID);
    assert_string_equal(ti_key_history(&ks, &a, TI_SLICE("user"), TI_HISTORY_FAILED, place).data,
                        "queue:user:FAILED:0007:00001700000000123456:" SAMPLES_UUID);
    assert_string_equal(ti_key_queue_lease(&ks, &a, TI_SLICE("user"), 12).data,
                        "queue_lease:user:0012");
    ks = samples_keyspace("shop");
    assert_string_equal(ti_key_schema(&ks, &a, TI_SLICE("user")).data, "shop:schema:user");
    ti_arena_free(&a);
}

static void keys_are_read_back(void **state)
{
    ti_arena a;
    sample samples[SAMPLES_MAX];
    (void)state;
    ti_arena_init(&a);
    for (int named = 0; named < 2; named++) {
        ti_keyspace ks = samples_keyspace(named == 1 ? "shop" : "");
        ti_keyspace other = samples_keyspace(named == 1 ? "sho" : "shop");
        size_t count = samples_make(&ks, &a, samples);
        for (size_t i = 0; i < count; i++) {
            ti_key_parts parts;
            assert_true(ti_key_parse(&ks, samples[i].key, &parts));
            assert_int_equal(parts.kind, samples[i].kind);
            assert_true(parts.name.len > 0);
            assert_true(ti_keyspace_owns(&ks, samples[i].key));
            assert_false(ti_keyspace_owns(&other, samples[i].key));
            assert_false(ti_key_parse(&other, samples[i].key, &parts));
            assert_int_equal(parts.kind, TI_KEY_FOREIGN);
        }
    }
    ti_arena_free(&a);
}

static void index_parts_are_what_was_put_in(void **state)
{
    ti_arena a;
    ti_err err;
    ti_keyspace ks = samples_keyspace("shop");
    ti_key_parts parts;
    ti_slice fields;
    ti_slice id;
    const bool descending[] = {false, true};
    const ti_slice tuple = TI_SLICE("\x06\xdf\xff\xfe"); /* false, then "" descending */
    (void)state;
    ti_arena_init(&a);
    ti_slice key =
        ti_key_index(&ks, &a, TI_SLICE("user"), TI_SLICE("i@3"), tuple, TI_SLICE("x\0y"));
    assert_true(ti_key_parse(&ks, key, &parts));
    assert_true(ti_slice_equal(parts.index, TI_SLICE("i@3")));
    test_ok(ti_key_index_split(parts.tuple, descending, 2, &a, &fields, &id, &err), &err);
    assert_true(ti_slice_equal(fields, tuple));
    assert_true(ti_slice_equal(id, TI_SLICE("x\0y")));
    test_status(ti_key_index_split(parts.tuple, descending, 1, &a, &fields, &id, &err), TI_CORRUPT);
    test_status(ti_key_index_split(tuple, descending, 2, &a, &fields, &id, &err), TI_CORRUPT);
    ti_arena_free(&a);
}

static void other_parts_are_what_was_put_in(void **state)
{
    ti_arena a;
    ti_err err;
    ti_keyspace ks = samples_keyspace("shop");
    ti_key_parts parts;
    ti_slice id;
    ti_event_place read;
    (void)state;
    ti_arena_init(&a);
    ti_slice key = ti_key_record(&ks, &a, TI_SLICE("user"), TI_SLICE("a:b:\0"));
    assert_true(ti_key_parse(&ks, key, &parts));
    assert_true(ti_slice_equal(parts.name, TI_SLICE("user")));
    assert_true(ti_slice_equal(parts.id, TI_SLICE("a:b:\0")));

    key = ti_key_parked(&ks, &a, TI_SLICE("user"), TI_SLICE("k\0:"), &samples_place);
    assert_true(ti_key_parse(&ks, key, &parts));
    test_ok(ti_key_parked_split(&parts, &a, &id, &read, &err), &err);
    assert_true(ti_slice_equal(id, TI_SLICE("k\0:")));
    assert_int_equal(ti_event_place_compare(&read, &samples_place), 0);
    parts.tuple.len--;
    test_status(ti_key_parked_split(&parts, &a, &id, &read, &err), TI_CORRUPT);

    key = ti_key_event(&ks, &a, TI_SLICE("user"), &samples_place);
    assert_true(ti_key_parse(&ks, key, &parts));
    assert_int_equal(ti_event_place_compare(&parts.place, &samples_place), 0);
    ti_arena_free(&a);
}

static void foreign_keys_are_foreign(void **state)
{
    static const char *const texts[] = {
        "",
        ":",
        "table",
        "table:",
        "table::",
        "table:user",
        "table:user:",
        "table:us er:1",
        "tables:user:1",
        "Table:user:1",
        "index:user:i",
        "index:user:i:",
        "index:user::x",
        "index:user:i@1:x",
        "index:user:i@0:x",
        "index:user:i@02:x",
        "index:user:i@:x",
        "index:user:i@4294967296:x",
        "index:user:i@99999999999:x",
        "index:user:@2:x",
        "unique-index:user:i:",
        "schema:",
        "schema:a:b",
        "event:user:0007:00001700000000123456:",
        "event:user:007:x",
        "event:user:0007:00001700000000123456:" SAMPLES_UUID "x",
        "event:user:0007:00001700000000123456:0190A0B0-c0d0-7123-8456-0123456789ab",
        "event:user:0007:99999999999999999999:" SAMPLES_UUID,
        "event:user:0007:09223372036854775808:" SAMPLES_UUID,
        "event:user:0007.00001700000000123456." SAMPLES_UUID,
        "queue:user:DONE:0007:00001700000000123456:" SAMPLES_UUID,
        "queue:user:0007:00001700000000123456:" SAMPLES_UUID,
        "queue_lease:user:00007",
        "queue_lease:user:000",
        "queue_lease:user:000a",
        "queue_parked:user:0007",
        "queue_parked:user:0007:",
        "queue_worker:user:",
        "queue_worker:user:a:b",
        "queue_schedule:",
        "queue_other:x",
        "meta:",
        "meta:a:b",
    };
    ti_keyspace ks = samples_keyspace("");
    ti_key_parts parts;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (ti_key_parse(&ks, ti_slice_of(texts[i]), &parts))
            fail_msg("'%s' was read as a key", texts[i]);
}

static void damaged_keys_never_hurt(void **state)
{
    test_random r = test_random_start(1);
    ti_arena a;
    sample samples[SAMPLES_MAX];
    (void)state;
    ti_arena_init(&a);
    ti_keyspace ks = samples_keyspace("");
    size_t count = samples_make(&ks, &a, samples);
    for (uint64_t n = test_scaled(300000); n > 0; n--) {
        char bytes[256];
        ti_key_parts parts;
        ti_slice key = samples[test_random_below(&r, count)].key;
        memcpy(bytes, key.data, key.len);
        for (uint64_t k = test_random_below(&r, 4); k > 0; k--)
            bytes[test_random_below(&r, key.len)] = ":@0\xff"[test_random_below(&r, 4)];
        size_t len = test_random_one_in(&r, 3) ? test_random_below(&r, key.len) : key.len;
        if (ti_key_parse(&ks, (ti_slice){bytes, len}, &parts)) {
            assert_true(parts.kind != TI_KEY_FOREIGN);
            assert_true(ti_name_is_valid(parts.name));
            assert_true(ti_keyspace_owns(&ks, (ti_slice){bytes, len}));
        }
    }
    ti_arena_free(&a);
}

/* ---- names and ids ---- */

static void names_outside_the_alphabet_are_refused(void **state)
{
    static const char *const bad[] = {"",         " ",   "a b", "a:b", "a@b",
                                      "\xc3\xa9", "a/b", "a\n", "{",   "`"};
    char longest[TI_NAME_SIZE_MAX + 1];
    ti_err err;
    (void)state;
    memset(longest, 'x', sizeof longest);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        test_status(ti_name_check(ti_slice_of(bad[i]), "table name", &err), TI_INVALID_ARGUMENT);
    test_ok(ti_name_check((ti_slice){longest, TI_NAME_SIZE_MAX}, "table name", &err), &err);
    test_status(ti_name_check((ti_slice){longest, TI_NAME_SIZE_MAX + 1}, "table name", &err),
                TI_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "table name"));
    assert_false(ti_name_is_valid(TI_SLICE("a\0")));
    for (int c = 1; c < 256; c++) {
        char text[2] = {(char)c, '\0'};
        bool valid = (c < 128 && strchr("_.-", c) != NULL) || (c >= '0' && c <= '9') ||
                     (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        assert_int_equal(ti_name_is_valid((ti_slice){text, 1}), valid);
    }
}

static void namespaces_are_no_first_segments(void **state)
{
    static const char *const taken[] = {"table", "index", "unique-index",
                                        "meta",  "event", "queue_lease"};
    char longest[TI_NAME_SIZE_MAX];
    ti_err err;
    ti_keyspace ks;
    (void)state;
    memset(longest, 'x', sizeof longest);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        test_status(ti_keyspace_init(&ks, ti_slice_of(taken[i]), &err), TI_INVALID_ARGUMENT);
    test_status(ti_keyspace_init(&ks, TI_SLICE("a:b"), &err), TI_INVALID_ARGUMENT);
    test_ok(ti_keyspace_init(&ks, (ti_slice){longest, TI_NAME_SIZE_MAX}, &err), &err);
    assert_int_equal(ks.prefix_len, TI_NAME_SIZE_MAX + 1);
    assert_int_equal(ti_keyspace_name(&ks).len, TI_NAME_SIZE_MAX);
    ks = samples_keyspace("");
    assert_int_equal(ti_keyspace_name(&ks).len, 0);
}

static void ids_and_keys_have_limits(void **state)
{
    static char longest[TI_KEY_SIZE_MAX + 1];
    ti_err err;
    (void)state;
    memset(longest, 'x', sizeof longest);
    test_status(ti_id_check(TI_SLICE(""), &err), TI_INVALID_ARGUMENT);
    test_status(ti_id_check(TI_SLICE("\xff"), &err), TI_INVALID_ARGUMENT);
    test_ok(ti_id_check((ti_slice){longest, TI_ID_SIZE_MAX}, &err), &err);
    test_status(ti_id_check((ti_slice){longest, TI_ID_SIZE_MAX + 1}, &err), TI_LIMIT_EXCEEDED);
    test_ok(ti_key_check((ti_slice){longest, TI_KEY_SIZE_MAX}, "index key", &err), &err);
    test_status(ti_key_check((ti_slice){longest, TI_KEY_SIZE_MAX + 1}, "index key", &err),
                TI_LIMIT_EXCEEDED);
    assert_non_null(strstr(err.message, "index key"));
    test_status(ti_key_check(TI_SLICE_NONE, "index key", &err), TI_OUT_OF_MEMORY);
}

static void the_longest_id_fits_an_index_key(void **state)
{
    ti_arena a;
    ti_err err;
    char id[TI_ID_SIZE_MAX];
    char name[TI_NAME_SIZE_MAX];
    ti_slice fields;
    ti_slice read;
    ti_key_parts parts;
    (void)state;
    memset(id, '\0', sizeof id); /* every byte is escaped */
    memset(name, 'n', sizeof name);
    const ti_slice n = {name, sizeof name};
    ti_arena_init(&a);
    ti_keyspace ks = samples_keyspace("shop");
    ti_slice key = ti_key_index(&ks, &a, n, n, TI_SLICE_NONE, (ti_slice){id, sizeof id});
    test_ok(ti_key_check(key, "index key", &err), &err);
    assert_true(ti_key_parse(&ks, key, &parts));
    test_ok(ti_key_index_split(parts.tuple, NULL, 0, &a, &fields, &read, &err), &err);
    assert_true(ti_slice_equal(read, (ti_slice){id, sizeof id}));
    ti_arena_free(&a);
}

static void index_names_carry_versions(void **state)
{
    ti_arena a;
    ti_slice index;
    uint32_t version;
    (void)state;
    ti_arena_init(&a);
    assert_true(ti_slice_equal(ti_index_name(&a, TI_SLICE("i"), 1), TI_SLICE("i")));
    assert_true(
        ti_slice_equal(ti_index_name(&a, TI_SLICE("i"), UINT32_MAX), TI_SLICE("i@4294967295")));
    assert_true(ti_index_name_parse(TI_SLICE("i@4294967295"), &index, &version));
    assert_true(ti_slice_equal(index, TI_SLICE("i")));
    assert_int_equal(version, UINT32_MAX);
    assert_true(ti_index_name_parse(TI_SLICE("i"), &index, &version));
    assert_int_equal(version, 1);
    assert_false(ti_index_name_parse(TI_SLICE(""), &index, &version));
    ti_arena_free(&a);
}

/* ---- events ---- */

static void event_ids_are_read_back(void **state)
{
    test_random r = test_random_start(2);
    ti_err err;
    char text[TI_EVENT_ID_SIZE + 1];
    ti_event_place read;
    (void)state;
    ti_event_id_format(&samples_place, text);
    assert_string_equal(text, "0007.00001700000000123456." SAMPLES_UUID);
    for (int n = 0; n < 1000; n++) {
        ti_event_place p = {.partition = (uint32_t)test_random_below(&r, 10000),
                            .timestamp_us = test_random_u64(&r) >> 1};
        uint32_t ordinal = (uint32_t)test_random_below(&r, 1u << 26);
        ti_uuid_v7(ti_env_real(), 1700000000000, ordinal, p.uuid);
        ti_event_id_format(&p, text);
        test_ok(ti_event_id_parse((ti_slice){text, TI_EVENT_ID_SIZE}, &read, &err), &err);
        assert_int_equal(ti_event_place_compare(&p, &read), 0);
        assert_int_equal(ti_event_place_ordinal(&read), ordinal);
        for (size_t i = 0; i < TI_EVENT_ID_SIZE; i++) {
            char kept = text[i];
            text[i] = 'Z';
            test_status(ti_event_id_parse((ti_slice){text, TI_EVENT_ID_SIZE}, &read, &err),
                        TI_INVALID_ARGUMENT);
            text[i] = kept;
        }
        test_status(ti_event_id_parse((ti_slice){text, TI_EVENT_ID_SIZE - 1}, &read, &err),
                    TI_INVALID_ARGUMENT);
    }
}

static void places_order_like_their_keys(void **state)
{
    test_random r = test_random_start(3);
    ti_keyspace ks = samples_keyspace("");
    ti_arena a;
    (void)state;
    ti_arena_init(&a);
    for (int n = 0; n < 20000; n++) {
        ti_event_place p[2];
        ti_slice keys[2];
        for (int i = 0; i < 2; i++) {
            p[i].partition = (uint32_t)test_random_below(&r, 3) * 5;
            p[i].timestamp_us = UINT64_C(1) << (test_random_below(&r, 3) * 20);
            ti_uuid_v7(ti_env_real(), 1, (uint32_t)test_random_below(&r, 4) << 13, p[i].uuid);
            keys[i] = ti_key_event(&ks, &a, TI_SLICE("t"), &p[i]);
        }
        assert_int_equal(ti_slice_compare(keys[0], keys[1]), ti_event_place_compare(&p[0], &p[1]));
        ti_arena_reset(&a);
    }
    ti_arena_free(&a);
}

static void builders_answer_null_without_memory(void **state)
{
    ti_arena a;
    ti_keyspace ks = samples_keyspace("");
    (void)state;
    for (uint64_t nth = 1; nth <= 3; nth++) {
        ti_arena_init(&a);
        ti_mem_fail_at(nth);
        ti_slice key = ti_key_parked(&ks, &a, TI_SLICE("t"), TI_SLICE("k"), &samples_place);
        ti_mem_fail_at(0);
        assert_int_equal(key.data == NULL, nth < 3);
        ti_arena_free(&a);
    }
    ti_arena_init(&a);
    ti_mem_fail_at(1);
    assert_null(ti_key_record(&ks, &a, TI_SLICE("t"), TI_SLICE("1")).data);
    ti_mem_fail_at(1);
    assert_null(ti_index_name(&a, TI_SLICE("i"), 2).data);
    ti_mem_fail_at(0);
    ti_arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_keys),
        cmocka_unit_test(keys_look_as_designed),
        cmocka_unit_test(keys_are_read_back),
        cmocka_unit_test(index_parts_are_what_was_put_in),
        cmocka_unit_test(other_parts_are_what_was_put_in),
        cmocka_unit_test(foreign_keys_are_foreign),
        cmocka_unit_test(damaged_keys_never_hurt),
        cmocka_unit_test(names_outside_the_alphabet_are_refused),
        cmocka_unit_test(namespaces_are_no_first_segments),
        cmocka_unit_test(ids_and_keys_have_limits),
        cmocka_unit_test(the_longest_id_fits_an_index_key),
        cmocka_unit_test(index_names_carry_versions),
        cmocka_unit_test(event_ids_are_read_back),
        cmocka_unit_test(places_order_like_their_keys),
        cmocka_unit_test(builders_answer_null_without_memory),
    };
    return TEST_RUN(tests);
}

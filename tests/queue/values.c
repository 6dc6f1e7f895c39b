/* Stored bytes: golden values, every flipped bit, decode of encode, and the timers' heap. */
#include "golden/golden.h"
#include "support/test.h"

#include "codec/keys.h"
#include "queue/hint_int.h"
#include "queue/publish_int.h"
#include "queue/timers_int.h"
#include "queue/value_int.h"

#define GOLDEN_FILE "queue.txt"

static const ti_event_fields whole = {
    .key = {.data = "user:1", .len = 6},
    .action = {.data = "INSERT", .len = 6},
    .entity = {.data = "table:user:1", .len = 12},
    .entity_id = {.data = "1", .len = 1},
    .references = {.data = "[\"r\"]", .len = 5},
    .payload = {.data = "{\"a\":1}", .len = 7},
    .last_error = {.data = "boom", .len = 4},
    .attempts = 300,
    .not_before_us = 1700000000000000,
    .origin_us = 1600000000000000,
};

static void golden_values(void **state)
{
    (void)state;
    ti_event_sealer sealer;
    ti_slice value;
    ti_err err;
    ti_buf b;
    ti_event_sealer_init(&sealer);
    const ti_event_fields bare = {.key = whole.key};
    test_ok(ti_event_seal(&sealer, TI_SEALED_EVENT, TI_SLICE("key"), &whole, &value, &err), &err);
    golden_check(GOLDEN_FILE, "event.whole", value);
    test_ok(ti_event_seal(&sealer, TI_SEALED_EVENT, TI_SLICE("key"), &bare, &value, &err), &err);
    golden_check(GOLDEN_FILE, "event.bare", value);
    test_ok(ti_event_seal(&sealer, TI_SEALED_PARKED, TI_SLICE("key"), &whole, &value, &err), &err);
    golden_check(GOLDEN_FILE, "event.parked", value);
    test_ok(ti_event_seal(&sealer, TI_SEALED_HISTORY, TI_SLICE("key"), &whole, &value, &err), &err);
    golden_check(GOLDEN_FILE, "event.history", value);
    ti_event_sealer_free(&sealer);
    ti_buf_init(&b, 64);
    test_ok(ti_queue_number_seal(&b, TI_SLICE("key"), 1024, &err), &err);
    golden_check(GOLDEN_FILE, "number", ti_buf_slice(&b));
    ti_buf_free(&b);
}

static const ti_schedule recurring = {
    .name = {.data = "tick", .len = 4},
    .type = {.data = "user", .len = 4},
    .key = {.data = "k", .len = 1},
    .cron = {.data = "*/5 * * * *", .len = 11},
    .timezone = {.data = "Europe/Berlin", .len = 13},
    .payload = {.data = "{\"a\":1}", .len = 7},
    .catch_up = TI_CATCH_UP_ALL,
    .next_us = 1700000000000000,
};

/* Checks the bytes in b and empties it. */
static void golden_row(ti_buf *b, const char *name)
{
    golden_check(GOLDEN_FILE, name, ti_buf_slice(b));
    ti_buf_clear(b);
}

static void golden_rows(void **state)
{
    (void)state;
    const ti_hint hints[] = {{.partition = 3, .place_us = 1700000000000000, .number = 7},
                             {.partition = 1023, .place_us = 1700000000000001, .number = 8}};
    const ti_hint_head head = {.written_us = 1700000000500000, .number = 8};
    ti_queue_meta_row moving = {.partitions = 64, .from = 1024, .since_us = 1700000000000000};
    ti_event_sealer sealer;
    ti_slice value;
    ti_err err;
    ti_buf b;
    ti_buf_init(&b, 4096);
    test_ok(ti_queue_text_seal(&b, TI_SLICE("key"), TI_SLICE("a text"), &err), &err);
    golden_row(&b, "text");
    test_ok(ti_queue_meta_seal(&b, TI_SLICE("key"),
                               (ti_queue_meta_row){.partitions = 1024, .paused = true}, &err),
            &err);
    golden_row(&b, "meta.paused");
    test_ok(ti_queue_meta_seal(&b, TI_SLICE("key"), (ti_queue_meta_row){.partitions = 1024}, &err),
            &err);
    golden_row(&b, "meta.running");
    test_ok(ti_queue_meta_seal(&b, TI_SLICE("key"), moving, &err), &err);
    golden_row(&b, "meta.moving");
    moving.paused = true;
    test_ok(ti_queue_meta_seal(&b, TI_SLICE("key"), moving, &err), &err);
    golden_row(&b, "meta.moving.paused");
    test_ok(ti_schedule_seal(&b, TI_SLICE("key"), &recurring, &err), &err);
    golden_row(&b, "schedule");
    test_ok(ti_hint_seal(&b, TI_SLICE("key"), head, hints, 2, &err), &err);
    golden_row(&b, "hint");
    ti_buf_free(&b);
    ti_event_fields token = whole;
    token.unique = TI_SLICE("token");
    ti_event_sealer_init(&sealer);
    test_ok(ti_event_seal(&sealer, TI_SEALED_EVENT, TI_SLICE("key"), &token, &value, &err), &err);
    golden_check(GOLDEN_FILE, "event.unique", value);
    ti_event_sealer_free(&sealer);
}

/* What was sealed opens as it was; no cut and no flipped bit does. */
static void rows_open_as_they_were(void **state)
{
    (void)state;
    const ti_hint hints[] = {{.partition = 3, .place_us = 1700000000000000, .number = 7}};
    ti_queue_meta_row meta;
    ti_schedule s = {.catch_up = TI_CATCH_UP_ONE};
    ti_hint_head head;
    ti_hint hint;
    ti_slice rest;
    ti_slice text;
    ti_err err;
    ti_buf b;
    char bytes[512];
    ti_buf_init(&b, 4096);
    test_ok(ti_queue_meta_seal(&b, TI_SLICE("key"),
                               (ti_queue_meta_row){.partitions = 77, .paused = true}, &err),
            &err);
    test_ok(ti_queue_meta_open(ti_buf_slice(&b), TI_SLICE("key"), &meta, &err), &err);
    assert_true(meta.paused);
    assert_int_equal(meta.partitions, 77);
    assert_int_equal(meta.from, 0);
    ti_buf_clear(&b);
    ti_queue_meta_row moving = {.partitions = 3, .from = 9, .since_us = 5};
    test_ok(ti_queue_meta_seal(&b, TI_SLICE("key"), moving, &err), &err);
    test_ok(ti_queue_meta_open(ti_buf_slice(&b), TI_SLICE("key"), &meta, &err), &err);
    assert_false(meta.paused);
    assert_int_equal(meta.partitions, 3);
    assert_int_equal(meta.from, 9);
    assert_int_equal(meta.since_us, 5);
    ti_buf_clear(&b);
    test_ok(ti_queue_number_seal(&b, TI_SLICE("key"), 5, &err), &err);
    test_ok(ti_queue_meta_open(ti_buf_slice(&b), TI_SLICE("key"), &meta, &err), &err);
    assert_false(meta.paused);
    assert_int_equal(meta.partitions, 5);
    test_status(ti_queue_text_open(ti_buf_slice(&b), TI_SLICE("key"), &text, &err), TI_CORRUPT);
    ti_buf_clear(&b);
    test_ok(ti_hint_seal(&b, TI_SLICE("key"), (ti_hint_head){.written_us = 9, .number = 8}, hints,
                         1, &err),
            &err);
    test_ok(ti_hint_open(ti_buf_slice(&b), TI_SLICE("key"), &head, &rest, &err), &err);
    assert_int_equal(head.number, 8);
    assert_true(ti_hint_next(&rest, &hint));
    assert_int_equal(hint.place_us, hints[0].place_us);
    assert_false(ti_hint_next(&rest, &hint));
    ti_buf_clear(&b);
    test_ok(ti_schedule_seal(&b, TI_SLICE("key"), &recurring, &err), &err);
    ti_slice value = ti_buf_slice(&b);
    test_ok(ti_schedule_open(value, TI_SLICE("key"), &s, &err), &err);
    assert_true(ti_slice_equal(s.timezone, recurring.timezone));
    assert_true(ti_slice_equal(s.payload, recurring.payload));
    assert_int_equal(s.next_us, recurring.next_us);
    assert_int_equal(s.catch_up, TI_CATCH_UP_ALL);
    assert_true(value.len < sizeof(bytes));
    for (size_t bit = 0; bit < value.len * 8; bit++) {
        memcpy(bytes, value.data, value.len);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << (bit % 8)));
        test_status(ti_schedule_open((ti_slice){.data = bytes, .len = value.len}, TI_SLICE("key"),
                                     &s, &err),
                    TI_CORRUPT);
    }
    for (size_t len = 0; len < value.len; len++)
        test_status(
            ti_schedule_open((ti_slice){.data = value.data, .len = len}, TI_SLICE("key"), &s, &err),
            TI_CORRUPT);
    ti_buf_free(&b);
}

static void every_flipped_bit_is_seen(void **state)
{
    (void)state;
    ti_event_sealer sealer;
    ti_event_fields f;
    ti_slice value;
    ti_err err;
    char bytes[512];
    ti_event_sealer_init(&sealer);
    test_ok(ti_event_seal(&sealer, TI_SEALED_EVENT, TI_SLICE("key"), &whole, &value, &err), &err);
    test_ok(ti_event_open(value, TI_SEALED_EVENT, TI_SLICE("key"), &f, &err), &err);
    assert_true(ti_slice_equal(f.payload, whole.payload));
    assert_true(ti_slice_equal(f.last_error, whole.last_error));
    assert_int_equal(f.attempts, 300);
    assert_int_equal(f.not_before_us, whole.not_before_us);
    assert_int_equal(f.origin_us, whole.origin_us);
    for (size_t bit = 0; bit < value.len * 8; bit++) {
        memcpy(bytes, value.data, value.len);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << (bit % 8)));
        test_status(ti_event_open((ti_slice){.data = bytes, .len = value.len}, TI_SEALED_EVENT,
                                  TI_SLICE("key"), &f, &err),
                    TI_CORRUPT);
    }
    for (size_t len = 0; len < value.len; len++)
        test_status(ti_event_open((ti_slice){.data = value.data, .len = len}, TI_SEALED_EVENT,
                                  TI_SLICE("key"), &f, &err),
                    TI_CORRUPT);
    test_status(ti_event_open(value, TI_SEALED_EVENT, TI_SLICE("kez"), &f, &err), TI_CORRUPT);
    test_status(ti_event_open(value, TI_SEALED_PARKED, TI_SLICE("key"), &f, &err), TI_CORRUPT);
    ti_event_sealer_free(&sealer);
}

/* Places of one transaction rise with the ordinal, of later timestamps above all earlier ones. */
static void places_are_ordered(void **state)
{
    (void)state;
    const uint32_t ordinals[] = {0, 1, 15, 16, 255, 65535, 65536, 1 << 20, (1 << 24) - 1};
    const ti_ts times[] = {((ti_ts)1700000000000 << 18),       ((ti_ts)1700000000000 << 18) + 1,
                           ((ti_ts)1700000000000 << 18) + 255, ((ti_ts)1700000000000 << 18) + 4096,
                           ((ti_ts)1700000000001 << 18) - 1,   ((ti_ts)1700000000001 << 18)};
    ti_event_place before = {.timestamp_us = 5};
    memset(before.uuid, '0', TI_UUID_TEXT_SIZE);
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        char base[TI_UUID_TEXT_SIZE + 1];
        const unsigned char random[TI_UUID_V7_RANDOM_SIZE] = {255, (unsigned char)i, 0, 255, 1, 2};
        ti_place_base(times[i], random, base);
        for (size_t k = 0; k < sizeof(ordinals) / sizeof(ordinals[0]); k++) {
            ti_event_place place;
            ti_place_make(base, ordinals[k], 0, 5, &place);
            assert_true(ti_event_place_compare(&before, &place) < 0);
            assert_int_equal(place.uuid[14], '7');
            assert_true(strchr("89ab", place.uuid[19]) != NULL);
            before = place;
        }
    }
}

static void timers_fire_in_order(void **state)
{
    (void)state;
    enum { COUNT = 500 };
    static ti_timer timers[COUNT];
    ti_timers t = {.items = NULL};
    test_random random = test_random_start(3);
    for (int i = 0; i < COUNT; i++) {
        ti_timer_init(&timers[i], 0);
        test_ok(ti_timers_reserve(&t, NULL), &(ti_err){.status = 0});
    }
    for (uint64_t round = 0; round < test_scaled(200); round++) {
        for (int i = 0; i < COUNT; i++)
            ti_timers_set(&t, &timers[test_random_below(&random, COUNT)],
                          (int64_t)test_random_below(&random, 1000));
        for (int i = 0; i < COUNT / 4; i++)
            ti_timers_cancel(&t, &timers[test_random_below(&random, COUNT)]);
        int64_t last = -1;
        size_t left = t.count;
        for (ti_timer *timer; (timer = ti_timers_first(&t)) != NULL; left--) {
            assert_true(timer->at_ns >= last);
            last = timer->at_ns;
            ti_timers_cancel(&t, timer);
        }
        assert_int_equal(left, 0);
    }
    for (int i = 0; i < COUNT; i++)
        ti_timers_release(&t, &timers[i]);
    ti_timers_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_values),          cmocka_unit_test(golden_rows),
        cmocka_unit_test(rows_open_as_they_were), cmocka_unit_test(every_flipped_bit_is_seen),
        cmocka_unit_test(places_are_ordered),     cmocka_unit_test(timers_fire_in_order),
    };
    return TEST_RUN(tests);
}

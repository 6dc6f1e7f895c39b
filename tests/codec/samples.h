/* One key of every kind, shared by the tests of keys and of spans. */
#ifndef TITO_TESTS_CODEC_SAMPLES_H
#define TITO_TESTS_CODEC_SAMPLES_H

#include "support/test.h"

#include "codec/keys.h"

#define SAMPLES_UUID "0190a0b0-c0d0-7123-8456-0123456789ab"
#define SAMPLES_MAX 24

static const ti_event_place samples_place = {7, 1700000000123456, SAMPLES_UUID};

static inline ti_keyspace samples_keyspace(const char *name_space)
{
    ti_keyspace ks;
    ti_err err;
    test_ok(ti_keyspace_init(&ks, ti_slice_of(name_space), &err), &err);
    return ks;
}

typedef struct sample {
    ti_key_kind kind;
    const char *golden;
    ti_slice key;
} sample;

/* One key of every kind, in a; gives their number. */
static inline size_t samples_make(const ti_keyspace *ks, ti_arena *a, sample out[SAMPLES_MAX])
{
    const ti_slice t = TI_SLICE("user");
    const ti_slice i = TI_SLICE("by_email");
    const ti_slice i2 = TI_SLICE("by_email@2");
    const ti_slice id = TI_SLICE("a:b\xc3\xa9");
    const ti_slice fields = TI_SLICE("\x20x\0\x01");
    const ti_event_place *place = &samples_place;
    const sample samples[] = {
        {TI_KEY_RECORD, "record", ti_key_record(ks, a, t, id)},
        {TI_KEY_INDEX, "index", ti_key_index(ks, a, t, i, fields, id)},
        {TI_KEY_INDEX, "index-v2", ti_key_index(ks, a, t, i2, fields, id)},
        {TI_KEY_UNIQUE, "unique", ti_key_unique(ks, a, t, i, fields)},
        {TI_KEY_SCHEMA, "schema", ti_key_schema(ks, a, t)},
        {TI_KEY_INDEX_TODO, "index-todo", ti_key_index_todo(ks, a, t, i2, id)},
        {TI_KEY_EVENT, "event", ti_key_event(ks, a, t, place)},
        {TI_KEY_COMPLETED, "completed", ti_key_history(ks, a, t, TI_HISTORY_COMPLETED, place)},
        {TI_KEY_FAILED, "failed", ti_key_history(ks, a, t, TI_HISTORY_FAILED, place)},
        {TI_KEY_PARKED, "parked", ti_key_parked(ks, a, t, TI_SLICE("k:1"), place)},
        {TI_KEY_CHECKPOINT, "checkpoint", ti_key_queue_checkpoint(ks, a, t, 7)},
        {TI_KEY_LEASE, "lease", ti_key_queue_lease(ks, a, t, 9999)},
        {TI_KEY_WORKER, "worker", ti_key_queue_worker(ks, a, t, TI_SLICE("w-1"))},
        {TI_KEY_HINT, "hint", ti_key_queue_hint(ks, a, t, TI_SLICE("p-1"))},
        {TI_KEY_QUEUE_META, "queue-meta", ti_key_queue_meta(ks, a, t)},
        {TI_KEY_QUEUE_UNIQUE, "queue-unique", ti_key_queue_unique(ks, a, t, id)},
        {TI_KEY_SCHEDULE, "schedule", ti_key_queue_schedule(ks, a, TI_SLICE("nightly"))},
        {TI_KEY_META, "meta", ti_key_meta(ks, a, TI_SLICE("cursor_secret"))},
    };
    _Static_assert(sizeof samples <= SAMPLES_MAX * sizeof(sample), "they fit");
    memcpy(out, samples, sizeof samples);
    return sizeof samples / sizeof *samples;
}

#endif

/* Ranges of keys: everything of a table, an index, a type, a partition, a stretch of time.
 *
 * INVARIANTS
 *  1. A range begins with a prefix that ends in ':', or with one whose last slot has a fixed width
 *     (partition, timestamp), so that no range of "a" holds a key of "a.b".
 *
 * Threads: pure functions. */
#include "codec/keys.h"

#include <string.h>

#include "base/assert.h"
#include "codec/keys_int.h"

/* What a span needs besides its first segment. */
typedef struct span_spec {
    const char *segment; /* with its colon; NULL: the whole namespace */
    bool name;
    bool index;
    const char *tail; /* after the name; NULL: nothing */
} span_spec;

static const span_spec specs[] = {
    [TI_SPAN_ALL] = {NULL, false, false, NULL},
    [TI_SPAN_RECORDS] = {"table:", true, false, NULL},
    [TI_SPAN_INDEX] = {"index:", true, true, NULL},
    [TI_SPAN_UNIQUE] = {"unique-index:", true, true, NULL},
    [TI_SPAN_INDEXES] = {"index:", true, false, NULL},
    [TI_SPAN_UNIQUES] = {"unique-index:", true, false, NULL},
    [TI_SPAN_SCHEMAS] = {"schema:", false, false, NULL},
    [TI_SPAN_INDEX_TODO] = {"index_todo:", true, true, NULL},
    [TI_SPAN_EVENTS] = {"event:", true, false, NULL},
    [TI_SPAN_COMPLETED] = {"queue:", true, false, "COMPLETED:"},
    [TI_SPAN_FAILED] = {"queue:", true, false, "FAILED:"},
    [TI_SPAN_PARKED] = {"queue_parked:", true, false, NULL},
    [TI_SPAN_CHECKPOINTS] = {"queue_checkpoint:", true, false, NULL},
    [TI_SPAN_LEASES] = {"queue_lease:", true, false, NULL},
    [TI_SPAN_WORKERS] = {"queue_worker:", true, false, NULL},
    [TI_SPAN_HINTS] = {"queue_hint:", true, false, NULL},
    [TI_SPAN_QUEUE_METAS] = {"queue_meta:", false, false, NULL},
    [TI_SPAN_UNIQUE_TOKENS] = {"queue_unique:", true, false, NULL},
    [TI_SPAN_SCHEDULES] = {"queue_schedule:", false, false, NULL},
    [TI_SPAN_METAS] = {"meta:", false, false, NULL},
};

/* The range of all keys that begin with prefix; OUT_OF_MEMORY also when prefix is what a builder
 * answered then. */
static ti_status range_of(ti_arena *a, ti_slice prefix, ti_key_range *out, ti_err *err)
{
    *out = (ti_key_range){.lo = TI_SLICE_NONE, .hi = TI_SLICE_NONE};
    if (prefix.data == NULL)
        return ti_err_no_memory(err);
    return ti_prefix_range(a, prefix, out, err);
}

static ti_status whole_span(const ti_keyspace *ks, ti_arena *a, ti_key_range *out, ti_err *err)
{
    if (ks->prefix_len == 0)
        return ti_err_set(err, TI_UNSUPPORTED,
                          "a database without a namespace has no range of its own");
    return range_of(a, ti_arena_copy(a, (ti_slice){ks->prefix, ks->prefix_len}), out, err);
}

ti_status ti_key_span(const ti_keyspace *ks, ti_arena *a, ti_span span, ti_slice name,
                      ti_slice index, ti_key_range *range_out, ti_err *err)
{
    ti_slice parts[7];
    size_t count = 0;
    ti_require((size_t)span < sizeof specs / sizeof *specs);
    const span_spec *spec = &specs[span];
    ti_assert(spec->name || name.len == 0);
    ti_assert(spec->index || index.len == 0);
    if (spec->segment == NULL)
        return whole_span(ks, a, range_out, err);
    parts[count++] = ti_slice_of(spec->segment);
    if (spec->name) {
        parts[count++] = ti_key_name(name);
        parts[count++] = TI_SLICE(":");
    }
    if (spec->index) {
        parts[count++] = ti_key_index_name(index);
        parts[count++] = TI_SLICE(":");
    }
    if (spec->tail != NULL)
        parts[count++] = ti_slice_of(spec->tail);
    ti_assert(count <= sizeof parts / sizeof *parts);
    return range_of(a, ti_key_join(ks, a, parts, count), range_out, err);
}

/* From one time to another below a prefix "…{type}:" or "…{type}:{state}:" given as parts. */
static ti_status between(const ti_keyspace *ks, ti_arena *a, const ti_slice *parts, size_t count,
                         uint32_t partition, uint64_t from_us, uint64_t to_us, ti_key_range *out,
                         ti_err *err)
{
    ti_slice all[8];
    ti_place_text text;
    ti_assert(count < sizeof all / sizeof *all);
    memcpy(all, parts, count * sizeof *parts);
    *out = (ti_key_range){.lo = TI_SLICE_NONE, .hi = TI_SLICE_NONE};
    all[count] = ti_place_time(partition, from_us, &text);
    ti_slice lo = ti_key_join(ks, a, all, count + 1);
    if (to_us == UINT64_MAX) {
        all[count] = ti_place_partition(partition, &text);
        TI_TRY(range_of(a, ti_key_join(ks, a, all, count + 1), out, err));
    } else {
        all[count] = ti_place_time(partition, to_us < from_us ? from_us : to_us, &text);
        out->hi = ti_key_join(ks, a, all, count + 1);
    }
    out->lo = lo;
    if (out->lo.data == NULL || out->hi.data == NULL)
        return ti_err_no_memory(err);
    return TI_OK;
}

ti_status ti_key_events_between(const ti_keyspace *ks, ti_arena *a, ti_slice type,
                                uint32_t partition, uint64_t from_us, uint64_t to_us,
                                ti_key_range *range_out, ti_err *err)
{
    ti_slice parts[] = {TI_SLICE("event:"), ti_key_name(type), TI_SLICE(":")};
    return between(ks, a, parts, sizeof parts / sizeof *parts, partition, from_us, to_us, range_out,
                   err);
}

ti_status ti_key_history_between(const ti_keyspace *ks, ti_arena *a, ti_slice type,
                                 ti_history state, uint32_t partition, uint64_t from_us,
                                 uint64_t to_us, ti_key_range *range_out, ti_err *err)
{
    ti_slice parts[] = {TI_SLICE("queue:"), ti_key_name(type), TI_SLICE(":"),
                        ti_history_name(state), TI_SLICE(":")};
    return between(ks, a, parts, sizeof parts / sizeof *parts, partition, from_us, to_us, range_out,
                   err);
}

ti_status ti_key_parked_of(const ti_keyspace *ks, ti_arena *a, ti_slice type, uint32_t partition,
                           const ti_slice *key, ti_key_range *range_out, ti_err *err)
{
    ti_place_text text;
    ti_slice encoded = TI_SLICE_NONE;
    if (key != NULL) {
        char *room = ti_arena_alloc(a, 2 * key->len + 3);
        if (room == NULL)
            return ti_err_no_memory(err);
        encoded = (ti_slice){room, ti_tuple_string(*key, room)};
    }
    ti_slice prefix =
        TI_KEY_JOIN(ks, a, TI_SLICE("queue_parked:"), ti_key_name(type), TI_SLICE(":"),
                    ti_place_partition(partition, &text), TI_SLICE(":"), encoded);
    return range_of(a, prefix, range_out, err);
}

ti_slice ti_key_after(ti_arena *a, ti_slice key)
{
    ti_slice copy = ti_arena_copy(a, key); /* one NUL follows it */
    if (copy.data != NULL)
        copy.len++;
    return copy;
}

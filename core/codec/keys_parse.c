/* Reading keys and event ids.
 *
 * INVARIANTS
 *  1. Nothing is read past a slot's end; whatever a builder would not write is FOREIGN.
 *
 * Threads: pure functions. */
#include "codec/keys.h"

#include <string.h>

#include "base/assert.h"
#include "codec/keys_int.h"

/* What every event id and key part is made of. */
#define PARTITION_DIGITS 4
#define TIMESTAMP_DIGITS 20

#define SEGMENT(word, key_kind, key_shape)                                                         \
    {                                                                                              \
        .text = (word), .len = sizeof(word) - 1, .kind = TI_KEY_##key_kind,                        \
        .shape = TI_SHAPE_##key_shape                                                              \
    }

static const ti_segment segments[] = {
    SEGMENT("table", RECORD, NAME_FREE),
    SEGMENT("index", INDEX, NAME_INDEX_TUPLE),
    SEGMENT("unique-index", UNIQUE, NAME_INDEX_TUPLE),
    SEGMENT("schema", SCHEMA, NAME),
    SEGMENT("index_todo", INDEX_TODO, NAME_INDEX_FREE),
    SEGMENT("event", EVENT, NAME_PLACE),
    SEGMENT("queue", COMPLETED, HISTORY),
    SEGMENT("queue_parked", PARKED, NAME_PARKED),
    SEGMENT("queue_checkpoint", CHECKPOINT, NAME_PARTITION),
    SEGMENT("queue_lease", LEASE, NAME_PARTITION),
    SEGMENT("queue_worker", WORKER, NAME_NAME),
    SEGMENT("queue_hint", HINT, NAME_NAME),
    SEGMENT("queue_meta", QUEUE_META, NAME),
    SEGMENT("queue_unique", QUEUE_UNIQUE, NAME_FREE),
    SEGMENT("queue_schedule", SCHEDULE, NAME),
    SEGMENT("meta", META, NAME),
};

const ti_segment *ti_segment_find(ti_slice text)
{
    for (size_t i = 0; i < sizeof segments / sizeof *segments; i++)
        if (segments[i].len == text.len && memcmp(segments[i].text, text.data, text.len) == 0)
            return &segments[i];
    return NULL;
}

/* What a byte of a uuid's text can be: 1 a lower-case hexadecimal digit, 2 a dash. */
static const unsigned char uuid_class[256] = {
    ['0' ... '9'] = 1,
    ['a' ... 'f'] = 1,
    ['-'] = 2,
};
static const unsigned char uuid_form[TI_UUID_TEXT_SIZE] = {
    1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 2, 1, 1, 1, 1,
    2, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
};

bool ti_uuid_text_is_valid(ti_slice text)
{
    unsigned wrong = 0;
    if (text.len != TI_UUID_TEXT_SIZE)
        return false;
    for (size_t i = 0; i < TI_UUID_TEXT_SIZE; i++)
        wrong |= uuid_class[(unsigned char)text.data[i]] ^ uuid_form[i];
    return wrong == 0;
}

bool ti_event_place_is_valid(const ti_event_place *place)
{
    size_t len = strnlen(place->uuid, sizeof place->uuid);
    return place->partition <= TI_PARTITIONS_MAX && place->timestamp_us <= TI_TIMESTAMP_US_MAX &&
           ti_uuid_text_is_valid((ti_slice){place->uuid, len});
}

/* ---- taking slots off ---- */

/* The bytes up to the next colon, which is taken off too; false without one. */
static bool take_slot(ti_slice *rest, ti_slice *out)
{
    const char *colon = rest->len == 0 ? NULL : memchr(rest->data, ':', rest->len);
    if (colon == NULL)
        return false;
    size_t len = (size_t)(colon - rest->data);
    *out = (ti_slice){rest->data, len};
    *rest = (ti_slice){colon + 1, rest->len - len - 1};
    return true;
}

static bool take_name(ti_slice *rest, ti_slice *out)
{
    return take_slot(rest, out) && ti_name_is_valid(*out);
}

static bool take_index(ti_slice *rest, ti_slice *out)
{
    ti_slice index;
    uint32_t version;
    return take_slot(rest, out) && ti_index_name_parse(*out, &index, &version);
}

/* Exactly count digits; text may go on after them. The number must be at most max. */
static bool take_digits(ti_slice *rest, size_t count, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    if (rest->len < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        char c = rest->data[i];
        if (c < '0' || c > '9' || value > (max - (uint64_t)(c - '0')) / 10)
            return false;
        value = value * 10 + (uint64_t)(c - '0');
    }
    *rest = (ti_slice){rest->data + count, rest->len - count};
    *out = value;
    return true;
}

static bool take_byte(ti_slice *rest, char byte)
{
    if (rest->len == 0 || rest->data[0] != byte)
        return false;
    *rest = (ti_slice){rest->data + 1, rest->len - 1};
    return true;
}

static bool take_partition(ti_slice *rest, uint32_t *out)
{
    uint64_t value = 0;
    if (!take_digits(rest, PARTITION_DIGITS, TI_PARTITIONS_MAX, &value))
        return false;
    *out = (uint32_t)value;
    return true;
}

/* "pppp?tttttttttttttttttttt?uuid" and nothing after it. */
static bool take_place(ti_slice rest, char separator, ti_event_place *out)
{
    if (!take_partition(&rest, &out->partition) || !take_byte(&rest, separator))
        return false;
    if (!take_digits(&rest, TIMESTAMP_DIGITS, TI_TIMESTAMP_US_MAX, &out->timestamp_us))
        return false;
    if (!take_byte(&rest, separator) || !ti_uuid_text_is_valid(rest))
        return false;
    memcpy(out->uuid, rest.data, rest.len);
    out->uuid[rest.len] = '\0';
    return true;
}

/* ---- keys ---- */

static bool parse_history(ti_slice rest, ti_key_parts *out)
{
    ti_slice state;
    if (!take_name(&rest, &out->name) || !take_slot(&rest, &state))
        return false;
    if (ti_slice_equal(state, ti_history_name(TI_HISTORY_FAILED)))
        out->kind = TI_KEY_FAILED;
    else if (!ti_slice_equal(state, ti_history_name(TI_HISTORY_COMPLETED)))
        return false;
    return take_place(rest, ':', &out->place);
}

static bool parse_shape(ti_key_shape shape, ti_slice rest, ti_key_parts *out)
{
    switch (shape) {
    case TI_SHAPE_NAME:
        out->name = rest;
        return ti_name_is_valid(rest);
    case TI_SHAPE_HISTORY:
        return parse_history(rest, out);
    default:
        break;
    }
    if (!take_name(&rest, &out->name))
        return false;
    switch (shape) {
    case TI_SHAPE_NAME_FREE:
        out->id = rest;
        return rest.len > 0;
    case TI_SHAPE_NAME_INDEX_FREE:
        out->id = rest;
        return take_index(&out->id, &out->index) && out->id.len > 0;
    case TI_SHAPE_NAME_INDEX_TUPLE:
        out->tuple = rest;
        return take_index(&out->tuple, &out->index) && out->tuple.len > 0;
    case TI_SHAPE_NAME_NAME:
        out->id = rest;
        return ti_name_is_valid(rest);
    case TI_SHAPE_NAME_PARTITION:
        return take_partition(&rest, &out->place.partition) && rest.len == 0;
    case TI_SHAPE_NAME_PARKED:
        out->tuple = rest;
        return take_partition(&out->tuple, &out->place.partition) && take_byte(&out->tuple, ':') &&
               out->tuple.len > 0;
    default:
        ti_assert(shape == TI_SHAPE_NAME_PLACE);
        return take_place(rest, ':', &out->place);
    }
}

bool ti_key_parse(const ti_keyspace *ks, ti_slice key, ti_key_parts *parts_out)
{
    ti_slice prefix = {ks->prefix, ks->prefix_len};
    ti_slice word;
    *parts_out = (ti_key_parts){.kind = TI_KEY_FOREIGN};
    if (!ti_slice_has_prefix(key, prefix))
        return false;
    ti_slice rest = {key.data + prefix.len, key.len - prefix.len};
    if (!take_slot(&rest, &word))
        return false;
    const ti_segment *segment = ti_segment_find(word);
    if (segment == NULL)
        return false;
    parts_out->kind = segment->kind;
    if (parse_shape(segment->shape, rest, parts_out))
        return true;
    *parts_out = (ti_key_parts){.kind = TI_KEY_FOREIGN};
    return false;
}

ti_status ti_key_index_split(ti_slice tuple, const bool *descending, size_t field_count,
                             ti_arena *a, ti_slice *fields_out, ti_slice *id_out, ti_err *err)
{
    ti_slice rest = tuple;
    ti_value id;
    *fields_out = TI_SLICE_NONE;
    *id_out = TI_SLICE_NONE;
    for (size_t i = 0; i < field_count; i++)
        TI_TRY(ti_tuple_skip(&rest, descending[i], NULL, err));
    ti_slice fields = {tuple.data, tuple.len - rest.len};
    TI_TRY(ti_tuple_next(&rest, false, a, &id, err));
    if (rest.len > 0 || id.type != TI_VALUE_STRING)
        return ti_err_set(err, TI_CORRUPT, "an index key does not end with an id");
    *fields_out = fields;
    *id_out = id.string;
    return TI_OK;
}

ti_status ti_key_parked_split(const ti_key_parts *parts, ti_arena *a, ti_slice *key_out,
                              ti_event_place *place_out, ti_err *err)
{
    ti_slice rest = parts->tuple;
    ti_value fields[3];
    ti_assert(parts->kind == TI_KEY_PARKED);
    *key_out = TI_SLICE_NONE;
    *place_out = (ti_event_place){.partition = parts->place.partition};
    for (size_t i = 0; i < 3; i++)
        TI_TRY(ti_tuple_next(&rest, false, a, &fields[i], err));
    bool typed = fields[0].type == TI_VALUE_STRING && fields[1].type == TI_VALUE_INT &&
                 fields[2].type == TI_VALUE_STRING;
    if (rest.len > 0 || !typed || fields[1].integer < 0 || !ti_uuid_text_is_valid(fields[2].string))
        return ti_err_set(err, TI_CORRUPT, "the key of a parked event is damaged");
    *key_out = fields[0].string;
    place_out->timestamp_us = (uint64_t)fields[1].integer;
    memcpy(place_out->uuid, fields[2].string.data, TI_UUID_TEXT_SIZE);
    return TI_OK;
}

/* ---- event ids ---- */

int ti_event_place_compare(const ti_event_place *left, const ti_event_place *right)
{
    if (left->partition != right->partition)
        return left->partition < right->partition ? -1 : 1;
    if (left->timestamp_us != right->timestamp_us)
        return left->timestamp_us < right->timestamp_us ? -1 : 1;
    int order = strcmp(left->uuid, right->uuid);
    return order == 0 ? 0 : order < 0 ? -1 : 1;
}

void ti_event_id_format(const ti_event_place *place, char out[TI_EVENT_ID_SIZE + 1])
{
    _Static_assert(TI_EVENT_ID_SIZE == TI_PLACE_TEXT_SIZE, "an id is the text of a place");
    ti_put_place(out, place, '.');
    out[TI_EVENT_ID_SIZE] = '\0';
}

ti_status ti_event_id_parse(ti_slice text, ti_event_place *place_out, ti_err *err)
{
    *place_out = (ti_event_place){.partition = 0};
    if (take_place(text, '.', place_out))
        return TI_OK;
    *place_out = (ti_event_place){.partition = 0};
    return ti_err_set(err, TI_INVALID_ARGUMENT,
                      "not an event id: it must be {partition}.{timestamp}.{uuid}");
}

static uint32_t hex_value(char c)
{
    ti_assert((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
    return c <= '9' ? (uint32_t)(c - '0') : (uint32_t)(c - 'a') + 10;
}

/* The uuid: mmmmmmmm-mmmm-7ooo-vooo-…: 12 bits, then 14 bits under the two bits of the variant. */
uint32_t ti_event_place_ordinal(const ti_event_place *place)
{
    uint32_t high = 0;
    uint32_t low = 0;
    ti_assert(ti_event_place_is_valid(place));
    for (int i = 15; i < 18; i++)
        high = high << 4 | hex_value(place->uuid[i]);
    for (int i = 19; i < 23; i++)
        low = low << 4 | hex_value(place->uuid[i]);
    return high << 14 | (low & 0x3fff);
}

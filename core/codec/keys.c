/* Building keys. The table of all keys is in keys.h; ranges are in keys_span.c, reading in
 * keys_parse.c.
 *
 * INVARIANTS
 *  1. Every builder requires its names to be valid, in release too: a key that leaves its slot is
 *     never made.
 *  2. A builder measures first and allocates once.
 *
 * Threads: pure functions. */
#include "codec/keys.h"

#include <assert.h>
#include <string.h>

#include "base/assert.h"
#include "codec/keys_int.h"

/* namespace, two segments, two names and the longest id fit a key */
static_assert(TI_ID_SIZE_MAX + 4 * (TI_NAME_SIZE_MAX + 16) < TI_KEY_SIZE_MAX, "ids fit keys");
static_assert(TI_PARTITIONS_MAX <= 9999, "partitions have 4 digits");
static_assert(TI_UUID_TEXT_SIZE == 36, "uuids have 36 bytes in keys");

/* ---- names ---- */

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
}

bool ti_name_is_valid(ti_slice name)
{
    if (name.len == 0 || name.len > TI_NAME_SIZE_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!is_name_byte(name.data[i]))
            return false;
    return true;
}

ti_status ti_name_check(ti_slice name, const char *what, ti_err *err)
{
    if (ti_name_is_valid(name))
        return TI_OK;
    return ti_err_set(err, TI_INVALID_ARGUMENT,
                      "the %s must be 1 to %d characters of A-Z a-z 0-9 _ . -", what,
                      TI_NAME_SIZE_MAX);
}

ti_status ti_id_check(ti_slice id, ti_err *err)
{
    if (id.len == 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the id is empty");
    if (id.len > TI_ID_SIZE_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "the id is %zu bytes long, the limit is %d",
                          id.len, TI_ID_SIZE_MAX);
    if (!ti_slice_is_utf8(id))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the id is not valid UTF-8");
    return TI_OK;
}

ti_status ti_key_check(ti_slice key, const char *what, ti_err *err)
{
    if (key.data == NULL)
        return ti_err_no_memory(err);
    if (key.len > TI_KEY_SIZE_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED,
                          "the %s is %zu bytes long, the limit is %d: shorten the values in it",
                          what, key.len, TI_KEY_SIZE_MAX);
    return TI_OK;
}

ti_slice ti_index_name(ti_arena *a, ti_slice index, uint32_t version)
{
    ti_require(ti_name_is_valid(index));
    ti_assert(version > 0);
    if (version == 1)
        return ti_arena_copy(a, index);
    char *text = ti_arena_format(a, "%.*s@%u", (int)index.len, index.data, version);
    return text == NULL ? TI_SLICE_NONE : ti_slice_of(text);
}

bool ti_index_name_parse(ti_slice stored, ti_slice *index_out, uint32_t *version_out)
{
    const char *at = stored.len == 0 ? NULL : memchr(stored.data, '@', stored.len);
    uint64_t version = 0;
    *index_out = stored;
    *version_out = 1;
    if (at == NULL)
        return ti_name_is_valid(stored);
    index_out->len = (size_t)(at - stored.data);
    size_t digits = stored.len - index_out->len - 1;
    if (digits == 0 || digits > 10 || at[1] == '0' || !ti_name_is_valid(*index_out))
        return false;
    for (size_t i = 1; i <= digits; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        version = version * 10 + (uint64_t)(at[i] - '0');
    }
    *version_out = (uint32_t)version;
    return version > 1 && version <= UINT32_MAX;
}

/* ---- the keyspace ---- */

ti_status ti_keyspace_init(ti_keyspace *ks, ti_slice name_space, ti_err *err)
{
    *ks = (ti_keyspace){.prefix_len = 0};
    if (name_space.len == 0)
        return TI_OK;
    TI_TRY(ti_name_check(name_space, "namespace", err));
    if (ti_segment_find(name_space) != NULL)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "the namespace '%.*s' is a word of tito's own keys: choose another",
                          (int)name_space.len, name_space.data);
    memcpy(ks->prefix, name_space.data, name_space.len);
    ks->prefix[name_space.len] = ':';
    ks->prefix_len = name_space.len + 1;
    ti_assert(ks->prefix_len < sizeof ks->prefix);
    return TI_OK;
}

ti_slice ti_keyspace_name(const ti_keyspace *ks)
{
    size_t len = ks->prefix_len == 0 ? 0 : ks->prefix_len - 1;
    return (ti_slice){ks->prefix, len};
}

/* The part of a key that follows the namespace, up to its first colon: a first segment, or NULL. */
static const ti_segment *segment_of(const ti_keyspace *ks, ti_slice key)
{
    ti_slice prefix = {ks->prefix, ks->prefix_len};
    if (!ti_slice_has_prefix(key, prefix))
        return NULL;
    ti_slice rest = {key.data + prefix.len, key.len - prefix.len};
    const char *colon = rest.len == 0 ? NULL : memchr(rest.data, ':', rest.len);
    if (colon == NULL)
        return NULL;
    return ti_segment_find((ti_slice){rest.data, (size_t)(colon - rest.data)});
}

bool ti_keyspace_owns(const ti_keyspace *ks, ti_slice key)
{
    return segment_of(ks, key) != NULL;
}

bool ti_keyspace_owns_range(const ti_keyspace *ks, const ti_key_range *range)
{
    ti_slice prefix = {ks->prefix, ks->prefix_len};
    if (range->hi.data == NULL || ti_slice_compare(range->lo, range->hi) > 0)
        return false;
    if (prefix.len > 0) { /* "ns:" … "ns;" */
        bool inside = ti_slice_has_prefix(range->hi, prefix);
        bool at_end = range->hi.len == prefix.len && range->hi.data[prefix.len - 1] == ';' &&
                      memcmp(range->hi.data, prefix.data, prefix.len - 1) == 0;
        return ti_slice_has_prefix(range->lo, prefix) && (inside || at_end);
    }
    /* Without a namespace: within one first segment, "table:" … "table;" */
    const ti_segment *segment = segment_of(ks, range->lo);
    if (segment == NULL || range->hi.len <= segment->len ||
        memcmp(range->hi.data, segment->text, segment->len) != 0)
        return false;
    char next = range->hi.data[segment->len];
    return next == ':' || (next == ';' && range->hi.len == (size_t)segment->len + 1);
}

/* ---- builders ---- */

ti_slice ti_key_join(const ti_keyspace *ks, ti_arena *a, const ti_slice *parts, size_t count)
{
    size_t len = ks->prefix_len;
    for (size_t i = 0; i < count; i++)
        len += parts[i].len;
    char *key = ti_arena_alloc(a, len + 1);
    if (key == NULL)
        return TI_SLICE_NONE;
    char *at = key;
    memcpy(at, ks->prefix, ks->prefix_len);
    at += ks->prefix_len;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len > 0)
            memcpy(at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
    *at = '\0';
    ti_assert((size_t)(at - key) == len);
    ti_slice made = {key, len};
    ti_require(ti_keyspace_owns(ks, made));
    return made;
}

ti_slice ti_key_name(ti_slice text)
{
    ti_require(ti_name_is_valid(text));
    return text;
}

ti_slice ti_key_index_name(ti_slice text)
{
    ti_slice index;
    uint32_t version;
    ti_require(ti_index_name_parse(text, &index, &version));
    return text;
}

char *ti_put_digits(char *at, unsigned width, uint64_t number)
{
    for (unsigned i = width; i-- > 0; number /= 10)
        at[i] = (char)('0' + number % 10);
    ti_assert(number == 0);
    return at + width;
}

void ti_put_place(char *at, const ti_event_place *place, char separator)
{
    ti_require(ti_event_place_is_valid(place));
    at = ti_put_digits(at, 4, place->partition);
    *at++ = separator;
    at = ti_put_digits(at, 20, place->timestamp_us);
    *at++ = separator;
    memcpy(at, place->uuid, TI_UUID_TEXT_SIZE);
}

ti_slice ti_place_partition(uint32_t partition, ti_place_text *out)
{
    ti_require(partition <= TI_PARTITIONS_MAX);
    char *end = ti_put_digits(out->text, 4, partition);
    return (ti_slice){out->text, (size_t)(end - out->text)};
}

ti_slice ti_place_time(uint32_t partition, uint64_t timestamp_us, ti_place_text *out)
{
    ti_require(partition <= TI_PARTITIONS_MAX);
    char *end = ti_put_digits(out->text, 4, partition);
    *end++ = ':';
    end = ti_put_digits(end, 20, timestamp_us);
    return (ti_slice){out->text, (size_t)(end - out->text)};
}

ti_slice ti_place_whole(const ti_event_place *place, ti_place_text *out)
{
    ti_put_place(out->text, place, ':');
    return (ti_slice){out->text, sizeof out->text};
}

ti_slice ti_history_name(ti_history state)
{
    ti_assert(state == TI_HISTORY_COMPLETED || state == TI_HISTORY_FAILED);
    return state == TI_HISTORY_COMPLETED ? TI_SLICE("COMPLETED") : TI_SLICE("FAILED");
}

/* Shorter names for this file's one-line builders. */
#define COLON TI_SLICE(":")
#define JOIN TI_KEY_JOIN

ti_slice ti_key_record(const ti_keyspace *ks, ti_arena *a, ti_slice table, ti_slice id)
{
    ti_assert(id.len > 0);
    return JOIN(ks, a, TI_SLICE("table:"), ti_key_name(table), COLON, id);
}

ti_slice ti_key_index_prefix(const ti_keyspace *ks, ti_arena *a, ti_slice table, ti_slice index)
{
    return JOIN(ks, a, TI_SLICE("index:"), ti_key_name(table), COLON, ti_key_index_name(index),
                COLON);
}

ti_slice ti_key_unique_prefix(const ti_keyspace *ks, ti_arena *a, ti_slice table, ti_slice index)
{
    return JOIN(ks, a, TI_SLICE("unique-index:"), ti_key_name(table), COLON,
                ti_key_index_name(index), COLON);
}

ti_slice ti_key_index(const ti_keyspace *ks, ti_arena *a, ti_slice table, ti_slice index,
                      ti_slice fields, ti_slice id)
{
    char text[2 * TI_ID_SIZE_MAX + 3]; /* every byte escaped, tag, terminator */
    ti_require(id.len <= TI_ID_SIZE_MAX);
    ti_slice last = {text, ti_tuple_string(id, text)};
    return JOIN(ks, a, TI_SLICE("index:"), ti_key_name(table), COLON, ti_key_index_name(index),
                COLON, fields, last);
}

ti_slice ti_key_unique(const ti_keyspace *ks, ti_arena *a, ti_slice table, ti_slice index,
                       ti_slice fields)
{
    ti_assert(fields.len > 0);
    return JOIN(ks, a, TI_SLICE("unique-index:"), ti_key_name(table), COLON,
                ti_key_index_name(index), COLON, fields);
}

ti_slice ti_key_schema(const ti_keyspace *ks, ti_arena *a, ti_slice table)
{
    return JOIN(ks, a, TI_SLICE("schema:"), ti_key_name(table));
}

ti_slice ti_key_index_todo(const ti_keyspace *ks, ti_arena *a, ti_slice table, ti_slice index,
                           ti_slice id)
{
    ti_assert(id.len > 0);
    return JOIN(ks, a, TI_SLICE("index_todo:"), ti_key_name(table), COLON, ti_key_index_name(index),
                COLON, id);
}

ti_slice ti_key_queue_worker(const ti_keyspace *ks, ti_arena *a, ti_slice type, ti_slice worker)
{
    return JOIN(ks, a, TI_SLICE("queue_worker:"), ti_key_name(type), COLON, ti_key_name(worker));
}

ti_slice ti_key_queue_hint(const ti_keyspace *ks, ti_arena *a, ti_slice type, ti_slice process)
{
    return JOIN(ks, a, TI_SLICE("queue_hint:"), ti_key_name(type), COLON, ti_key_name(process));
}

ti_slice ti_key_queue_meta(const ti_keyspace *ks, ti_arena *a, ti_slice type)
{
    return JOIN(ks, a, TI_SLICE("queue_meta:"), ti_key_name(type));
}

ti_slice ti_key_queue_unique(const ti_keyspace *ks, ti_arena *a, ti_slice type, ti_slice token)
{
    ti_assert(token.len > 0);
    return JOIN(ks, a, TI_SLICE("queue_unique:"), ti_key_name(type), COLON, token);
}

ti_slice ti_key_queue_schedule(const ti_keyspace *ks, ti_arena *a, ti_slice schedule)
{
    return JOIN(ks, a, TI_SLICE("queue_schedule:"), ti_key_name(schedule));
}

ti_slice ti_key_queue_checkpoint(const ti_keyspace *ks, ti_arena *a, ti_slice type,
                                 uint32_t partition)
{
    ti_place_text text;
    return JOIN(ks, a, TI_SLICE("queue_checkpoint:"), ti_key_name(type), COLON,
                ti_place_partition(partition, &text));
}

ti_slice ti_key_queue_lease(const ti_keyspace *ks, ti_arena *a, ti_slice type, uint32_t partition)
{
    ti_place_text text;
    return JOIN(ks, a, TI_SLICE("queue_lease:"), ti_key_name(type), COLON,
                ti_place_partition(partition, &text));
}

ti_slice ti_key_meta(const ti_keyspace *ks, ti_arena *a, ti_slice meta)
{
    return JOIN(ks, a, TI_SLICE("meta:"), ti_key_name(meta));
}

ti_slice ti_key_event(const ti_keyspace *ks, ti_arena *a, ti_slice type,
                      const ti_event_place *place)
{
    ti_place_text text;
    return JOIN(ks, a, TI_SLICE("event:"), ti_key_name(type), COLON, ti_place_whole(place, &text));
}

ti_slice ti_key_history(const ti_keyspace *ks, ti_arena *a, ti_slice type, ti_history state,
                        const ti_event_place *place)
{
    ti_place_text text;
    return JOIN(ks, a, TI_SLICE("queue:"), ti_key_name(type), COLON, ti_history_name(state), COLON,
                ti_place_whole(place, &text));
}

ti_slice ti_key_parked(const ti_keyspace *ks, ti_arena *a, ti_slice type, ti_slice key,
                       const ti_event_place *place)
{
    ti_place_text text;
    ti_buf tuple;
    ti_slice made = TI_SLICE_NONE;
    ti_value fields[] = {ti_value_string(key), ti_value_int((int64_t)place->timestamp_us),
                         ti_value_string(ti_slice_of(place->uuid))};
    ti_require(ti_event_place_is_valid(place));
    ti_buf_init(&tuple, TI_EVENT_SIZE_MAX);
    ti_status status = TI_OK;
    for (size_t i = 0; status == TI_OK && i < sizeof fields / sizeof *fields; i++)
        status = ti_tuple_append(&tuple, &fields[i], false, NULL);
    if (status == TI_OK)
        made = JOIN(ks, a, TI_SLICE("queue_parked:"), ti_key_name(type), COLON,
                    ti_place_partition(place->partition, &text), COLON, ti_buf_slice(&tuple));
    ti_buf_free(&tuple);
    return made;
}

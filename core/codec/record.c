/* Markers, sealed values, records. The layout and its invariants are in record.h.
 *
 * Threads: pure functions. */
#include "codec/record.h"

#include <assert.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"

#define MARKER 0x01
#define MARKER_SEVERAL 0x02
#define RECORD_VERSION 0x01

/* Offsets of a record's fixed part; the checksum stands at 1 in sealed values too. */
#define AT_CRC 1
#define CRC_SIZE 4
#define AT_BODY (AT_CRC + CRC_SIZE)
#define VERSION_SIZE 8
#define AT_GROUPS_SIZE (AT_BODY + VERSION_SIZE)
#define VARINT_SIZE_MAX 10

/* An index name and everything around it fit the fixed room of a group's header. */
#define GROUP_HEADER_SIZE_MAX (1 + VARINT_SIZE_MAX + TI_NAME_SIZE_MAX + 2 * VARINT_SIZE_MAX)

static_assert(AT_GROUPS_SIZE == 13, "the fixed part of a record has 13 bytes");

static ti_status corrupt(ti_err *err, const char *what)
{
    return ti_err_set(err, TI_CORRUPT, "a stored value is damaged: %s", what);
}

/* ---- numbers in bytes ---- */

static void put_le(char *out, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (char)(unsigned char)(value >> (8 * i));
}

static uint64_t get_le(const char *in, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)(unsigned char)in[i] << (8 * i);
    return value;
}

/* Seven bits a byte, lowest first, the top bit says that more follow. */
static size_t put_varint(char *out, uint64_t value)
{
    size_t size = 0;
    for (; value >= 0x80; value >>= 7)
        out[size++] = (char)(unsigned char)(value | 0x80);
    out[size++] = (char)(unsigned char)value;
    ti_assert(size <= VARINT_SIZE_MAX);
    return size;
}

static size_t varint_size(uint64_t value)
{
    size_t size = 1;
    for (; value >= 0x80; value >>= 7)
        size++;
    return size;
}

/* Takes a varint off; false when it is cut, longer than needed, or over 64 bits. */
static bool take_varint(ti_slice *in, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < in->len && i < VARINT_SIZE_MAX; i++) {
        uint64_t bits = (unsigned char)in->data[i] & 0x7fu;
        if (i == VARINT_SIZE_MAX - 1 && bits > 1)
            return false;
        value |= bits << (7 * i);
        if (((unsigned char)in->data[i] & 0x80) != 0)
            continue;
        if (i > 0 && bits == 0)
            return false;
        *in = (ti_slice){in->data + i + 1, in->len - i - 1};
        *out = value;
        return true;
    }
    return false;
}

/* Takes a size and that many bytes off. */
static bool take_bytes(ti_slice *in, ti_slice *out)
{
    uint64_t size = 0;
    if (!take_varint(in, &size) || size > in->len)
        return false;
    *out = (ti_slice){in->data, (size_t)size};
    *in = (ti_slice){in->data + size, in->len - (size_t)size};
    return true;
}

/* ---- the checksum ---- */

static uint32_t checksum(ti_slice key, char version, ti_slice body)
{
    char size[8];
    put_le(size, key.len, sizeof size);
    uint32_t crc = ti_crc32c(0, (ti_slice){size, sizeof size});
    crc = ti_crc32c(crc, key);
    crc = ti_crc32c(crc, (ti_slice){&version, 1});
    return ti_crc32c(crc, body);
}

/* Fills in the checksum of the value that began at an offset of the buffer. */
static void seal(ti_buf *b, size_t from, ti_slice key)
{
    ti_assert(b->len >= from + AT_BODY);
    ti_slice body = {b->data + from + AT_BODY, b->len - from - AT_BODY};
    put_le(b->data + from + AT_CRC, checksum(key, b->data[from], body), CRC_SIZE);
}

/* Checks version and checksum; gives the bytes after them. */
static ti_status unseal(ti_slice value, unsigned char version, ti_slice key, ti_slice *body_out,
                        ti_err *err)
{
    *body_out = TI_SLICE_NONE;
    if (value.len < AT_BODY)
        return corrupt(err, "it is cut");
    if ((unsigned char)value.data[0] != version)
        return ti_err_set(err, TI_CORRUPT,
                          "a stored value is damaged or of a newer format: it begins with %02x, "
                          "not %02x",
                          (unsigned char)value.data[0], version);
    ti_slice body = {value.data + AT_BODY, value.len - AT_BODY};
    if (get_le(value.data + AT_CRC, CRC_SIZE) != checksum(key, value.data[0], body))
        return corrupt(err, "its checksum is wrong");
    *body_out = body;
    return TI_OK;
}

/* ---- markers and sealed values ---- */

ti_slice ti_marker(void)
{
    static const char marker[] = {MARKER};
    return (ti_slice){marker, sizeof marker};
}

ti_slice ti_marker_several(void)
{
    static const char marker[] = {MARKER_SEVERAL};
    return (ti_slice){marker, sizeof marker};
}

ti_status ti_marker_check(ti_slice value, ti_err *err)
{
    bool known = ti_slice_equal(value, ti_marker()) || ti_slice_equal(value, ti_marker_several());
    return known ? TI_OK : corrupt(err, "it is not a marker");
}

ti_status ti_sealed_append(ti_buf *b, ti_sealed_kind kind, ti_slice key, ti_slice payload,
                           ti_err *err)
{
    size_t from = b->len;
    char head[AT_BODY] = {(char)kind};
    ti_assert(key.len > 0);
    TI_TRY(ti_buf_reserve(b, AT_BODY + payload.len, err));
    TI_TRY(ti_buf_append(b, head, sizeof head, err));
    TI_TRY(ti_buf_append_slice(b, payload, err));
    seal(b, from, key);
    return TI_OK;
}

ti_status ti_sealed_open(ti_slice value, ti_sealed_kind kind, ti_slice key, ti_slice *payload_out,
                         ti_err *err)
{
    return unseal(value, (unsigned char)kind, key, payload_out, err);
}

/* ---- writing records ---- */

static bool same_group(const ti_entry *left, const ti_entry *right)
{
    return left->kind == right->kind && left->version == right->version &&
           ti_slice_equal(left->index, right->index);
}

/* How many entries from at on share a group. */
static size_t group_length(const ti_record_spec *spec, size_t at)
{
    size_t end = at + 1;
    while (end < spec->entry_count && same_group(&spec->entries[at], &spec->entries[end]))
        end++;
    return end - at;
}

static size_t group_header(const ti_entry *entry, size_t count, char out[GROUP_HEADER_SIZE_MAX])
{
    size_t size = 0;
    ti_require(entry->index.len > 0);
    ti_require(entry->index.len <= TI_NAME_SIZE_MAX);
    ti_assert(entry->kind == TI_ENTRY_PLAIN || entry->kind == TI_ENTRY_UNIQUE);
    ti_assert(entry->version > 0);
    out[size++] = (char)entry->kind;
    size += put_varint(out + size, entry->index.len);
    memcpy(out + size, entry->index.data, entry->index.len);
    size += entry->index.len;
    size += put_varint(out + size, entry->version);
    size += put_varint(out + size, count);
    return size;
}

static size_t groups_size(const ti_record_spec *spec)
{
    char header[GROUP_HEADER_SIZE_MAX];
    size_t size = 0;
    for (size_t i = 0, count; i < spec->entry_count; i += count) {
        count = group_length(spec, i);
        size += group_header(&spec->entries[i], count, header);
        for (size_t j = i; j < i + count; j++)
            size += varint_size(spec->entries[j].tuple.len) + spec->entries[j].tuple.len;
    }
    return size;
}

static ti_status append_groups(ti_buf *b, const ti_record_spec *spec, ti_err *err)
{
    char header[GROUP_HEADER_SIZE_MAX];
    for (size_t i = 0, count; i < spec->entry_count; i += count) {
        count = group_length(spec, i);
        TI_TRY(ti_buf_append(b, header, group_header(&spec->entries[i], count, header), err));
        for (size_t j = i; j < i + count; j++) {
            ti_slice tuple = spec->entries[j].tuple;
            TI_TRY(ti_buf_append(b, header, put_varint(header, tuple.len), err));
            TI_TRY(ti_buf_append_slice(b, tuple, err));
        }
    }
    return TI_OK;
}

ti_status ti_record_append(ti_buf *b, ti_slice key, const ti_record_spec *spec, ti_err *err)
{
    char head[AT_GROUPS_SIZE + VARINT_SIZE_MAX] = {RECORD_VERSION};
    size_t from = b->len;
    ti_assert(key.len > 0);
    ti_assert(spec->document.len > 0);
    if (spec->entry_count > TI_RECORD_ENTRIES_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED,
                          "the record has %zu index entries, the limit is %d", spec->entry_count,
                          TI_RECORD_ENTRIES_MAX);
    size_t groups = groups_size(spec);
    put_le(head + AT_BODY, spec->version, VERSION_SIZE);
    size_t head_size = AT_GROUPS_SIZE + put_varint(head + AT_GROUPS_SIZE, groups);
    TI_TRY(ti_buf_reserve(b, head_size + groups + spec->document.len, err));
    TI_TRY(ti_buf_append(b, head, head_size, err));
    TI_TRY(append_groups(b, spec, err));
    TI_TRY(ti_buf_append_slice(b, spec->document, err));
    ti_assert(b->len == from + head_size + groups + spec->document.len);
    seal(b, from, key);
    return TI_OK;
}

/* ---- reading records ---- */

/* Takes a group's header off. */
static bool take_group(ti_slice *in, ti_entry *group, uint64_t *count)
{
    uint64_t version = 0;
    if (in->len == 0)
        return false;
    unsigned char kind = (unsigned char)in->data[0];
    *in = (ti_slice){in->data + 1, in->len - 1};
    if (kind != TI_ENTRY_PLAIN && kind != TI_ENTRY_UNIQUE)
        return false;
    *group = (ti_entry){.kind = (ti_entry_kind)kind};
    if (!take_bytes(in, &group->index) || !take_varint(in, &version) || !take_varint(in, count))
        return false;
    group->version = (uint32_t)version;
    return group->index.len > 0 && version > 0 && version <= UINT32_MAX && *count > 0;
}

/* Whether the groups can be read to their end and are within the limit. */
static bool groups_valid(ti_slice groups)
{
    uint64_t entries = 0;
    while (groups.len > 0) {
        ti_entry group;
        uint64_t count = 0;
        if (!take_group(&groups, &group, &count) || count > TI_RECORD_ENTRIES_MAX - entries)
            return false;
        entries += count;
        for (uint64_t i = 0; i < count; i++)
            if (!take_bytes(&groups, &group.tuple))
                return false;
    }
    return true;
}

ti_status ti_record_open(ti_slice value, ti_slice key, ti_record *record_out, ti_err *err)
{
    ti_slice body;
    ti_slice groups;
    *record_out = (ti_record){.version = 0};
    TI_TRY(unseal(value, RECORD_VERSION, key, &body, err));
    if (body.len < VERSION_SIZE)
        return corrupt(err, "it is cut");
    uint64_t version = get_le(body.data, VERSION_SIZE);
    body = (ti_slice){body.data + VERSION_SIZE, body.len - VERSION_SIZE};
    if (!take_bytes(&body, &groups) || !groups_valid(groups))
        return corrupt(err, "its list of index entries");
    if (body.len == 0)
        return corrupt(err, "it has no document");
    *record_out = (ti_record){.version = version, .groups = groups, .document = body};
    return TI_OK;
}

ti_entry_iter ti_record_entries(const ti_record *record)
{
    return (ti_entry_iter){.left = record->groups, .group_left = 0};
}

bool ti_entry_next(ti_entry_iter *iter, ti_entry *entry_out)
{
    *entry_out = (ti_entry){.kind = TI_ENTRY_PLAIN};
    if (iter->group_left == 0) {
        if (iter->left.len == 0)
            return false;
        bool valid = take_group(&iter->left, &iter->group, &iter->group_left);
        ti_require(valid);
    }
    bool valid = take_bytes(&iter->left, &iter->group.tuple);
    ti_require(valid);
    iter->group_left--;
    *entry_out = iter->group;
    return true;
}

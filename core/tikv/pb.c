/* Protobuf by hand. See pb.h. */
#include "tikv/pb.h"

#include <string.h>

#include "base/assert.h"

#define VARINT_SIZE_MAX 10

ti_status ti_pb_varint(ti_slice *rest, uint64_t *value_out, ti_err *err)
{
    uint64_t value = 0;
    *value_out = 0;
    for (size_t i = 0; i < VARINT_SIZE_MAX && i < rest->len; i++) {
        unsigned char byte = (unsigned char)rest->data[i];
        value |= (uint64_t)(byte & 0x7F) << (7 * i);
        if ((byte & 0x80) == 0) {
            rest->data += i + 1;
            rest->len -= i + 1;
            *value_out = value;
            return TI_OK;
        }
    }
    return ti_err_set(err, TI_CORRUPT, "a message from the cluster ends inside a number");
}

/* Takes len bytes off *rest as little-endian number (len 4 or 8). */
static ti_status take_fixed(ti_slice *rest, size_t len, uint64_t *value_out, ti_err *err)
{
    if (rest->len < len)
        return ti_err_set(err, TI_CORRUPT, "a message from the cluster is cut");
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value |= (uint64_t)(unsigned char)rest->data[i] << (8 * i);
    rest->data += len;
    rest->len -= len;
    *value_out = value;
    return TI_OK;
}

static ti_status take_bytes(ti_slice *rest, ti_slice *bytes_out, ti_err *err)
{
    uint64_t len = 0;
    TI_TRY(ti_pb_varint(rest, &len, err));
    if (len > rest->len)
        return ti_err_set(err, TI_CORRUPT, "a message from the cluster is cut");
    *bytes_out = (ti_slice){.data = rest->data, .len = (size_t)len};
    rest->data += len;
    rest->len -= (size_t)len;
    return TI_OK;
}

ti_status ti_pb_next(ti_slice *rest, ti_pb_field *field_out, ti_err *err)
{
    memset(field_out, 0, sizeof(*field_out));
    if (rest->len == 0)
        return TI_NOT_FOUND;
    uint64_t tag = 0;
    TI_TRY(ti_pb_varint(rest, &tag, err));
    if (tag >> 35 != 0 || tag >> 3 == 0)
        return ti_err_set(err, TI_CORRUPT, "a message from the cluster has a field of no number");
    field_out->number = (uint32_t)(tag >> 3);
    field_out->wire_type = (uint32_t)(tag & 7);
    switch (field_out->wire_type) {
    case 0:
        return ti_pb_varint(rest, &field_out->varint, err);
    case 1:
        return take_fixed(rest, 8, &field_out->varint, err);
    case 2:
        return take_bytes(rest, &field_out->bytes, err);
    case 5:
        return take_fixed(rest, 4, &field_out->varint, err);
    default:
        return ti_err_set(err, TI_CORRUPT, "a message from the cluster has an unknown wire type");
    }
}

size_t ti_pb_varint_size(uint64_t value)
{
    size_t size = 1;
    while (value >= 0x80) {
        value >>= 7;
        size++;
    }
    return size;
}

void ti_pb_put_varint(ti_buf *b, uint64_t value)
{
    ti_assert(b->capacity - b->len >= ti_pb_varint_size(value));
    while (value >= 0x80) {
        b->data[b->len++] = (char)((value & 0x7F) | 0x80);
        value >>= 7;
    }
    b->data[b->len++] = (char)value;
}

void ti_pb_put_tag(ti_buf *b, uint32_t number, uint32_t wire_type)
{
    ti_assert(wire_type <= 5);
    ti_pb_put_varint(b, ((uint64_t)number << 3) | wire_type);
}

ti_slice ti_pb_pack(const ProtobufCMessage *message, ti_arena *a)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *out = ti_arena_alloc(a, size + 1);
    if (out == NULL)
        return TI_SLICE_NONE;
    size_t written = protobuf_c_message_pack(message, out);
    ti_require(written == size);
    return (ti_slice){.data = (const char *)out, .len = size};
}

typedef struct arena_allocator {
    ti_arena *arena;
    bool failed;
} arena_allocator;

static void *allocate(void *context, size_t size)
{
    arena_allocator *allocator = context;
    void *p = ti_arena_alloc(allocator->arena, size);
    allocator->failed |= p == NULL;
    return p;
}

static void leave(void *context, void *p)
{
    (void)context; /* the arena frees it */
    (void)p;
}

void *ti_pb_unpack(const ProtobufCMessageDescriptor *descriptor, ti_slice bytes, ti_arena *a,
                   ti_err *err)
{
    arena_allocator state = {.arena = a, .failed = false};
    ProtobufCAllocator allocator = {.alloc = allocate, .free = leave, .allocator_data = &state};
    void *message =
        protobuf_c_message_unpack(descriptor, &allocator, bytes.len, (const uint8_t *)bytes.data);
    if (message == NULL && state.failed)
        ti_err_no_memory(err);
    else if (message == NULL)
        ti_err_set(err, TI_CORRUPT, "an answer of the cluster is not a %s", descriptor->name);
    return message;
}

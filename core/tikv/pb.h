/* Protobuf by hand where it is hot or trivial: varints, tags, and the BatchCommands envelope.
 * Everything else goes through protobuf-c with an allocator over an arena.
 *
 * The envelope (tikvpb):
 *   request   { 1: repeated Request { N: the command }, 2: packed ids, 3: send time }
 *   response  { 1: repeated Response { N: the answer }, 2: packed ids, … }
 *
 * INVARIANTS
 *  1. Reading never passes the end of the bytes; anything malformed is CORRUPT.
 *  2. Slices handed out point into the bytes read. */
#ifndef TI_TIKV_PB_H
#define TI_TIKV_PB_H

#include <protobuf-c/protobuf-c.h>

#include "base/mem.h"
#include "base/slice.h"

/* One field read from a message. */
typedef struct ti_pb_field {
    uint32_t number;
    uint32_t wire_type; /* 0 varint, 1 fixed 64, 2 bytes, 5 fixed 32 */
    uint64_t varint;    /* of wire types 0, 1, 5 */
    ti_slice bytes;     /* of wire type 2 */
} ti_pb_field;

/* Takes the next field off *rest. NOT_FOUND (no text) at the end; CORRUPT. */
ti_status ti_pb_next(ti_slice *rest, ti_pb_field *field_out, ti_err *err);
/* Takes a varint off *rest. CORRUPT. */
ti_status ti_pb_varint(ti_slice *rest, uint64_t *value_out, ti_err *err);

size_t ti_pb_varint_size(uint64_t value);
/* Appends; room must have been reserved (ti_buf_reserve), so these can not fail. */
void ti_pb_put_varint(ti_buf *b, uint64_t value);
void ti_pb_put_tag(ti_buf *b, uint32_t number, uint32_t wire_type);

/* Packs a message into the arena; data NULL when there is no memory. */
ti_slice ti_pb_pack(const ProtobufCMessage *message, ti_arena *a);
/* Unpacks bytes into the arena (never free the result). NULL with CORRUPT or OUT_OF_MEMORY in err.
 */
void *ti_pb_unpack(const ProtobufCMessageDescriptor *descriptor, ti_slice bytes, ti_arena *a,
                   ti_err *err);

static inline ProtobufCBinaryData ti_pb_bytes(ti_slice s)
{
    return (ProtobufCBinaryData){.len = s.len, .data = (uint8_t *)(uintptr_t)s.data};
}
static inline ti_slice ti_pb_slice(ProtobufCBinaryData b)
{
    return (ti_slice){.data = (const char *)b.data, .len = b.len};
}

#endif

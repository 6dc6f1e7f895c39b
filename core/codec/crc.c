/* CRC-32C (Castagnoli, reflected polynomial 82f63b78), as iSCSI, RocksDB and TiKV use it.
 *
 * The processor's instruction is used where it exists (asked once per call, which is a load and a
 * test); elsewhere a table of 16 entries, half a byte at a time: small, and only for machines of
 * another kind.
 *
 * Threads: pure functions. */
#include "codec/record.h"

#include <string.h>

#include "base/assert.h"
#include "codec/crc_int.h"

uint32_t ti_crc32c_portable(uint32_t crc, ti_slice bytes)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    crc = ~crc;
    for (size_t i = 0; i < bytes.len; i++) {
        crc ^= (unsigned char)bytes.data[i];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t crc_by_instruction(uint32_t crc, ti_slice bytes)
{
    uint64_t state = ~crc;
    const char *at = bytes.data;
    size_t left = bytes.len;
    for (; left >= 8; left -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        state = __builtin_ia32_crc32di(state, word);
    }
    uint32_t tail = (uint32_t)state;
    for (; left > 0; left--, at++)
        tail = __builtin_ia32_crc32qi(tail, (unsigned char)*at);
    return ~tail;
}

uint32_t ti_crc32c(uint32_t crc, ti_slice bytes)
{
    ti_assert(bytes.data != NULL || bytes.len == 0);
    if (__builtin_cpu_supports("sse4.2"))
        return crc_by_instruction(crc, bytes);
    return ti_crc32c_portable(crc, bytes);
}

#else

uint32_t ti_crc32c(uint32_t crc, ti_slice bytes)
{
    ti_assert(bytes.data != NULL || bytes.len == 0);
    return ti_crc32c_portable(crc, bytes);
}

#endif

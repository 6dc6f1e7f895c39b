/* UUIDs and the stable hash; formats in id.h.
 *
 * INVARIANTS
 *  1. What is made parses as an RFC 9562 UUID of the named version, lower case.
 *  2. ti_hash_stable never changes its result for any bytes: stored events sit in the partitions
 *     that it chose.
 *
 * Thread rule: any thread. */
#include "base/id.h"

#include <string.h>
#include <uuid/uuid.h>

#include "base/assert.h"

#define UUID_SIZE 16

static void uuid_text(const unsigned char bytes[UUID_SIZE], char out[TI_UUID_TEXT_SIZE + 1])
{
    static const char digits[] = "0123456789abcdef";
    int at = 0;
    for (int i = 0; i < UUID_SIZE; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[at++] = '-';
        out[at++] = digits[bytes[i] >> 4];
        out[at++] = digits[bytes[i] & 15];
    }
    ti_assert(at == TI_UUID_TEXT_SIZE);
    out[at] = '\0';
}

static void uuid_mark(unsigned char bytes[UUID_SIZE], int version)
{
    bytes[6] = (unsigned char)((bytes[6] & 0x0F) | (version << 4));
    bytes[8] = (unsigned char)((bytes[8] & 0x3F) | 0x80);
}

void ti_uuid_v4(const ti_env *env, char out[TI_UUID_TEXT_SIZE + 1])
{
    unsigned char bytes[UUID_SIZE];
    ti_assert(env != NULL);
    ti_assert(out != NULL);
    if (env == ti_env_real()) {
        uuid_generate_random(bytes);
    } else {
        ti_env_random(env, bytes, sizeof(bytes));
        uuid_mark(bytes, 4);
    }
    ti_assert(bytes[6] >> 4 == 4);
    uuid_text(bytes, out);
}

void ti_uuid_v7(const ti_env *env, uint64_t unix_ms, uint32_t ordinal_26_bits,
                char out[TI_UUID_TEXT_SIZE + 1])
{
    unsigned char random[TI_UUID_V7_RANDOM_SIZE];
    ti_env_random(env, random, sizeof(random));
    ti_uuid_v7_of(unix_ms, ordinal_26_bits, random, out);
}

void ti_uuid_v7_of(uint64_t unix_ms, uint32_t ordinal_26_bits,
                   const unsigned char random[TI_UUID_V7_RANDOM_SIZE],
                   char out[TI_UUID_TEXT_SIZE + 1])
{
    unsigned char bytes[UUID_SIZE];
    uint32_t high = ordinal_26_bits >> 14;
    uint32_t low = ordinal_26_bits & 0x3FFF;
    ti_assert(unix_ms < UINT64_C(1) << 48);
    ti_assert(ordinal_26_bits < 1u << 26);
    for (int i = 0; i < 6; i++)
        bytes[i] = (unsigned char)(unix_ms >> (40 - 8 * i));
    bytes[6] = (unsigned char)(high >> 8);
    bytes[7] = (unsigned char)high;
    bytes[8] = (unsigned char)(low >> 8);
    bytes[9] = (unsigned char)low;
    memcpy(bytes + 10, random, TI_UUID_V7_RANDOM_SIZE);
    uuid_mark(bytes, 7);
    uuid_text(bytes, out);
}

uint64_t ti_hash_stable(ti_slice s)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    ti_assert(s.data != NULL || s.len == 0);
    for (size_t i = 0; i < s.len; i++) {
        hash ^= (unsigned char)s.data[i];
        hash *= UINT64_C(0x100000001b3);
    }
    hash ^= hash >> 30;
    hash *= UINT64_C(0xbf58476d1ce4e5b9);
    hash ^= hash >> 27;
    hash *= UINT64_C(0x94d049bb133111eb);
    return hash ^ (hash >> 31);
}

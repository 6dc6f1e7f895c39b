/* Identifiers: version 4 and version 7 UUIDs as 36-byte text, and a stable 64-bit hash. */
#ifndef TI_BASE_ID_H
#define TI_BASE_ID_H

#include <stdint.h>

#include "base/env.h"
#include "base/slice.h"

#define TI_UUID_TEXT_SIZE 36
#define TI_UUID_V7_RANDOM_SIZE 6

/* A random (version 4) UUID, lower case, NUL-terminated: libuuid's on the real machine, of env's
 * random bytes on any other. Can not fail. @thread any */
void ti_uuid_v4(const ti_env *env, char out[TI_UUID_TEXT_SIZE + 1]);
/* A version 7 UUID: 48 bits of milliseconds, then a 12-bit and a 14-bit ordinal that order ids of
 * one millisecond, then 48 random bits. So text order is the order of (unix_ms, ordinal). Can not
 * fail. @thread any
 *
 *   tttttttt-tttt-7ooo-vooo-rrrrrrrrrrrr
 *   t: ms, o: ordinal (12 + 14 bits), v: binary 10 and the two highest bits of its lower 14 */
void ti_uuid_v7(const ti_env *env, uint64_t unix_ms, uint32_t ordinal_26_bits,
                char out[TI_UUID_TEXT_SIZE + 1]);
/* The same of random bytes that the caller has. @thread any */
void ti_uuid_v7_of(uint64_t unix_ms, uint32_t ordinal_26_bits,
                   const unsigned char random[TI_UUID_V7_RANDOM_SIZE],
                   char out[TI_UUID_TEXT_SIZE + 1]);

/* FNV-1a finished by a 64-bit mix: stable over versions and machines (it decides partitions). Not
 * for untrusted hash tables. @thread any */
uint64_t ti_hash_stable(ti_slice s);

#endif

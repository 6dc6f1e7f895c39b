/* Region keys: the memcomparable form in which PD and region bounds name transactional keys.
 *
 * A key is cut into groups of 8 bytes; each group is padded with 0x00 to 8 and followed by a marker
 * byte 0xFF - padding. A last group always exists that is not full. (Source: client-go util/codec,
 * as told in the protocol reference.)
 *
 *   "abc"       61 62 63 00 00 00 00 00 FA
 *   8 bytes     b0 … b7 FF  00 00 00 00 00 00 00 00 F7
 *
 * INVARIANTS
 *  1. memcmp order of encoded keys is memcmp order of keys.
 *  2. An empty region bound means no bound: it is neither encoded nor decoded. */
#ifndef TI_TIKV_REGION_KEY_H
#define TI_TIKV_REGION_KEY_H

#include "base/mem.h"
#include "base/slice.h"

/* The encoded form in the arena; data NULL when there was no memory. @thread any */
ti_slice ti_region_key_encode(ti_arena *a, ti_slice key);
/* Decodes a bound from PD or a store; "" stays "". CORRUPT when it is not such a form. @thread any
 */
ti_status ti_region_key_decode(ti_arena *a, ti_slice encoded, ti_slice *key_out, ti_err *err);

#endif

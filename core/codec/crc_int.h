/* Inside core/codec and its tests only: the way of ti_crc32c that every machine has. */
#ifndef TI_CODEC_CRC_INT_H
#define TI_CODEC_CRC_INT_H

#include <stdint.h>

#include "base/slice.h"

/* ti_crc32c without the processor's instruction. */
uint32_t ti_crc32c_portable(uint32_t crc, ti_slice bytes);

#endif

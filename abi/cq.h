/* The completion queue handle, for the files that put something into one. */
#ifndef TI_ABI_CQ_H
#define TI_ABI_CQ_H

#include "abi/handle.h"
#include "rt/cq.h"

struct tito_cq {
    uint32_t magic;
    ti_cq *core; /* one reference */
};

#endif

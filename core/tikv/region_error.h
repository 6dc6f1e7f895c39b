/* Region errors: what each kind means for the cache and for the request, as data. */
#ifndef TI_TIKV_REGION_ERROR_H
#define TI_TIKV_REGION_ERROR_H

#include "tikv/backoff.h"
#include "tikv/region.h"

/* What to do with the request. */
typedef enum ti_verdict {
    TI_VERDICT_NONE,     /* it was not sent */
    TI_VERDICT_ANSWERED, /* no region error: the answer can be read */
    TI_VERDICT_AGAIN,    /* locate its keys anew and send again, after the sleep */
    TI_VERDICT_FATAL,    /* the operation fails with the error */
} ti_verdict;

typedef struct ti_region_action {
    ti_verdict verdict;
    bool sleep; /* false: at once */
    ti_backoff_kind backoff;
    int64_t sleep_max_ms; /* < 0: as the kind says */
    bool undetermined;    /* a write may have been applied */
    bool doubt_store;     /* its address may have changed */
} ti_region_action;

/* Reads the region error of a packed answer (field 1 of every answer), applies it to the cache and
 * says what to do. `why` tells it in words. @thread any */
ti_region_action ti_region_error_apply(ti_slice response, ti_regions *regions, ti_region *region,
                                       ti_err *why);
/* The same for an answer that did not come (connection broken, time out). */
ti_region_action ti_region_silence_apply(ti_regions *regions, ti_region *region, const ti_err *why);

#endif

/* What the executor lends to futures: monitors.
 *
 * Futures have no mutex of their own. Each shares one of the executor's monitors with others,
 * chosen by its address; the futures of a lane share the lane's. So a future that is made and
 * waited for in one thread costs two uncontended locks and no initialisation.
 *
 * INVARIANTS
 *  1. waiters is the number of threads in a wait on changed; who changes anything that one may wait
 *     for broadcasts if it is not 0. */
#ifndef TI_RT_EXECUTOR_INT_H
#define TI_RT_EXECUTOR_INT_H

#include "base/thread.h"
#include "rt/executor.h"

#define TI_MONITORS 64

typedef struct ti_monitor {
    ti_mutex mutex; /* rank FUTURE */
    ti_cond changed;
    uint32_t waiters;
    char apart[64]; /* keeps two monitors out of one cache line */
} ti_monitor;

/* The monitor of an object. @thread any */
ti_monitor *ti_executor_monitor(ti_executor *executor, const void *object);

#endif

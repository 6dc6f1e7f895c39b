/* How far long work is: written by the thread that does it, read by any.
 *
 * Thread rule: one writer; readers see figures that were true a moment ago. */
#ifndef TI_BASE_PROGRESS_H
#define TI_BASE_PROGRESS_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct ti_progress {
    _Atomic(int64_t) done;
    _Atomic(int64_t) total; /* 0: not known */
} ti_progress;

/* Tells how much there is to do, from none done on. progress may be NULL here and below. */
static inline void ti_progress_begin(ti_progress *progress, int64_t total)
{
    if (progress == NULL)
        return;
    atomic_store(&progress->done, 0);
    atomic_store(&progress->total, total);
}

/* So much more was done. */
static inline void ti_progress_add(ti_progress *progress, int64_t amount)
{
    if (progress != NULL)
        atomic_fetch_add(&progress->done, amount);
}

#endif

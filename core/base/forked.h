/* Tells a process from its child after fork(), at the price of one load.
 *
 * A page of its own holds a mark; the kernel gives a child the page zeroed (MADV_WIPEONFORK, Linux
 * 4.14). Where that is refused, the process id is compared instead. */
#ifndef TI_BASE_FORKED_H
#define TI_BASE_FORKED_H

#include <stdbool.h>

#include "base/err.h"

typedef struct ti_fork_mark {
    const volatile unsigned char *page; /* owned; NULL: compare pid */
    long pid;
} ti_fork_mark;

/* Marks this process as the owner. Ended with ti_fork_mark_end, in the owner or in a child.
 * OUT_OF_MEMORY. */
ti_status ti_fork_mark_begin(ti_fork_mark *mark, ti_err *err);
/* Gives the page back. Safe on a zeroed or ended mark. */
void ti_fork_mark_end(ti_fork_mark *mark);
/* True in a child of the process that began the mark. @thread any */
bool ti_fork_mark_is_child(const ti_fork_mark *mark);

#endif

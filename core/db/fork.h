/* Notices a fork without a system call: one page of memory that the kernel empties in a child.
 *
 *   parent:  page -> 1        child after fork:  page -> 0   (MADV_WIPEONFORK)
 *
 * INVARIANTS
 *  1. ti_fork_happened is a load and a comparison. Where the kernel can not wipe pages it compares
 *     process ids.
 *  2. A guard made in a child is that child's own.
 *
 * Threads: any, at the same time. */
#ifndef TI_DB_FORK_H
#define TI_DB_FORK_H

#include <stdbool.h>

#include "base/err.h"

typedef struct ti_fork_guard {
    const volatile unsigned char *page; /* owned; NULL: process ids are compared */
    int pid;
} ti_fork_guard;

/* A guard of the calling process. OUT_OF_MEMORY. Ended with ti_fork_guard_end. */
ti_status ti_fork_guard_begin(ti_fork_guard *guard, ti_err *err);
/* Gives the page back; in a child too. Safe on a zeroed guard. */
void ti_fork_guard_end(ti_fork_guard *guard);
/* Whether the calling process is a child of the one that began the guard. @thread any */
bool ti_fork_happened(const ti_fork_guard *guard);

#endif

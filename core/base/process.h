/* Which process is this: a cheap answer to "was this object made before a fork, by the parent?".
 *
 * A guard is one page of memory that the kernel clears in a child (MADV_WIPEONFORK): looking is one
 * load, where getpid() is a system call of 170 ns. Where the kernel can not do that, getpid().
 *
 * INVARIANTS
 *  1. ti_process_guard_forked is false in the process that made the guard, true in every child that
 *     was forked later, and in their children.
 *
 * Thread rule: any thread. */
#ifndef TI_BASE_PROCESS_H
#define TI_BASE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

typedef struct ti_process_guard {
    const int32_t *page; /* 1 here, 0 in a child; NULL: compare pid */
    int32_t pid;         /* of the process that made the guard */
} ti_process_guard;

/* A guard of the calling process; can not fail. Ended with ti_process_guard_destroy. @thread any */
void ti_process_guard_init(ti_process_guard *guard);
/* Gives the page back. Safe on a zeroed or destroyed guard, and in a child. */
void ti_process_guard_destroy(ti_process_guard *guard);
/* The path of ti_process_guard_forked without a page. */
bool ti_process_guard_forked_slow(const ti_process_guard *guard);
/* True in a child of the process that made the guard. @thread any */
static inline bool ti_process_guard_forked(const ti_process_guard *guard)
{
    if (__builtin_expect(guard->page != NULL, 1))
        return *guard->page == 0;
    return ti_process_guard_forked_slow(guard);
}
/* Says that this process has what can not be ended in a forked child: RocksDB's static objects wait
 * there for threads that only the parent has. From now on a child that is forked and calls exit()
 * flushes its streams and ends as by _exit; what was registered with atexit before the first call
 * does not run in it. Without glibc's on_exit nothing. @thread any */
void ti_process_end_children(void);
/* FORKED, with a message that names what ("the database"). */
ti_status ti_process_forked(const char *what, ti_err *err);

#endif

/* The guard page of process.h, and the end of a forked child.
 *
 * INVARIANTS
 *  1. The page is written once, before the guard is used, and only by its maker.
 *  2. The function at exit is registered once, behind the opening of an engine, so that it runs
 *     before the destructors of RocksDB's. libtito is never unloaded (abi/CMakeLists.txt).
 *
 * Thread rule: any thread. */
#include "base/process.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/assert.h"

#define GUARD_PAGE_SIZE 4096

/* A page that a fork clears, or NULL. */
static int32_t *guard_page(void)
{
    void *page =
        mmap(NULL, GUARD_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, GUARD_PAGE_SIZE, MADV_WIPEONFORK) == 0)
        return page;
    munmap(page, GUARD_PAGE_SIZE);
    return NULL;
}

void ti_process_guard_init(ti_process_guard *guard)
{
    ti_assert(guard != NULL);
    int32_t *page = guard_page();
    if (page != NULL)
        *page = 1;
    *guard = (ti_process_guard){.page = page, .pid = (int32_t)getpid()};
    ti_assert(!ti_process_guard_forked(guard));
}

void ti_process_guard_destroy(ti_process_guard *guard)
{
    ti_assert(guard != NULL);
    if (guard->page != NULL)
        munmap((void *)(uintptr_t)guard->page, GUARD_PAGE_SIZE);
    *guard = (ti_process_guard){.page = NULL};
}

bool ti_process_guard_forked_slow(const ti_process_guard *guard)
{
    return guard->pid != (int32_t)getpid();
}

/* ---- the end of a forked child ---- */

#ifdef __GLIBC__
static _Atomic(bool) registered;
static ti_process_guard exit_guard;

static void end_child(int status, void *unused)
{
    (void)unused;
    if (!ti_process_guard_forked(&exit_guard))
        return;
    (void)fflush(NULL);
    _exit(status);
}

void ti_process_end_children(void)
{
    if (atomic_exchange(&registered, true))
        return;
    ti_process_guard_init(&exit_guard);
    (void)on_exit(end_child, NULL); /* without memory for it: as without on_exit */
}
#else
void ti_process_end_children(void)
{
}
#endif

ti_status ti_process_forked(const char *what, ti_err *err)
{
    return ti_err_set(err, TI_FORKED,
                      "%s was made before this process was forked: make it anew in the child",
                      what);
}

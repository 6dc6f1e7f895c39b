/* The guard page of process.h.
 *
 * INVARIANTS
 *  1. The page is written once, before the guard is used, and only by its maker.
 *
 * Thread rule: any thread. */
#include "base/process.h"

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

ti_status ti_process_forked(const char *what, ti_err *err)
{
    return ti_err_set(err, TI_FORKED,
                      "%s was made before this process was forked: make it anew in the child",
                      what);
}

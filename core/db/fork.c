/* See fork.h. The page is private and anonymous, so that MADV_WIPEONFORK (Linux 4.14) applies. */
#include "db/fork.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/assert.h"

#define GUARD_SIZE 4096
#define GUARD_OF_PARENT 1

ti_status ti_fork_guard_begin(ti_fork_guard *guard, ti_err *err)
{
    *guard = (ti_fork_guard){.page = NULL, .pid = getpid()};
    unsigned char *page =
        mmap(NULL, GUARD_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return ti_err_no_memory(err);
    if (madvise(page, GUARD_SIZE, MADV_WIPEONFORK) != 0) {
        (void)munmap(page, GUARD_SIZE);
        return TI_OK;
    }
    *page = GUARD_OF_PARENT;
    guard->page = page;
    return TI_OK;
}

void ti_fork_guard_end(ti_fork_guard *guard)
{
    if (guard->page != NULL)
        (void)munmap((void *)(uintptr_t)guard->page, GUARD_SIZE);
    guard->page = NULL;
}

bool ti_fork_happened(const ti_fork_guard *guard)
{
    if (guard->page != NULL)
        return *guard->page != GUARD_OF_PARENT;
    return getpid() != guard->pid;
}

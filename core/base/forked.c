/* The mark that a fork wipes; see forked.h. */
#include "base/forked.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/assert.h"

#define PAGE_SIZE 4096
#define MARK_OF_OWNER 1

ti_status ti_fork_mark_begin(ti_fork_mark *mark, ti_err *err)
{
    ti_assert(mark != NULL);
    *mark = (ti_fork_mark){.page = NULL, .pid = getpid()};
    unsigned char *page =
        mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return ti_err_no_memory(err);
    if (madvise(page, PAGE_SIZE, MADV_WIPEONFORK) != 0) {
        (void)munmap(page, PAGE_SIZE);
        return TI_OK;
    }
    *page = MARK_OF_OWNER;
    mark->page = page;
    return TI_OK;
}

void ti_fork_mark_end(ti_fork_mark *mark)
{
    ti_assert(mark != NULL);
    if (mark->page != NULL)
        (void)munmap((void *)(uintptr_t)mark->page, PAGE_SIZE);
    mark->page = NULL;
}

bool ti_fork_mark_is_child(const ti_fork_mark *mark)
{
    if (mark->page != NULL)
        return *mark->page != MARK_OF_OWNER;
    return getpid() != mark->pid;
}

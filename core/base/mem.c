/* malloc behind a fault point. Without TI_TESTING this is malloc and nothing else.
 *
 * INVARIANTS
 *  1. live = successful allocations - frees of non-NULL pointers; a moved realloc changes nothing.
 *  2. A failure asked for hits exactly one allocation, whatever the threads do: the countdown is
 *     one atomic.
 *
 * Thread rule: any thread. What is NOT here: arenas (arena.c). */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#ifdef TI_TESTING

static _Atomic(uint64_t) alloc_count;
static _Atomic(int64_t) alloc_live;
static _Atomic(int64_t) fail_in; /* > 0: that many allocations until the one that fails */

/* Counts one allocation; true when it is the one that shall fail. */
static bool alloc_must_fail(void)
{
    atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
    if (atomic_load_explicit(&fail_in, memory_order_relaxed) <= 0)
        return false;
    return atomic_fetch_sub_explicit(&fail_in, 1, memory_order_relaxed) == 1;
}

static void *alloc_made(void *p)
{
    if (p != NULL)
        atomic_fetch_add_explicit(&alloc_live, 1, memory_order_relaxed);
    return p;
}

static void alloc_gone(void *p)
{
    if (p != NULL)
        atomic_fetch_sub_explicit(&alloc_live, 1, memory_order_relaxed);
}

void ti_mem_fail_at(uint64_t nth)
{
    atomic_store_explicit(&fail_in, nth > INT64_MAX ? INT64_MAX : (int64_t)nth,
                          memory_order_relaxed);
}

uint64_t ti_mem_count(void)
{
    return atomic_load_explicit(&alloc_count, memory_order_relaxed);
}

int64_t ti_mem_live(void)
{
    return atomic_load_explicit(&alloc_live, memory_order_relaxed);
}

#else

static inline bool alloc_must_fail(void)
{
    return false;
}
static inline void *alloc_made(void *p)
{
    return p;
}
static inline void alloc_gone(void *p)
{
    (void)p;
}

void ti_mem_fail_at(uint64_t nth)
{
    (void)nth;
}

uint64_t ti_mem_count(void)
{
    return 0;
}

int64_t ti_mem_live(void)
{
    return 0;
}

#endif

void *ti_alloc(size_t size)
{
    if (alloc_must_fail())
        return NULL;
    return alloc_made(malloc(size == 0 ? 1 : size));
}

void *ti_alloc_zero(size_t size)
{
    if (alloc_must_fail())
        return NULL;
    return alloc_made(calloc(1, size == 0 ? 1 : size));
}

void *ti_realloc(void *p, size_t size)
{
    if (p == NULL)
        return ti_alloc(size);
    if (alloc_must_fail())
        return NULL;
    return realloc(p, size == 0 ? 1 : size);
}

void ti_free(void *p)
{
    alloc_gone(p);
    free(p);
}

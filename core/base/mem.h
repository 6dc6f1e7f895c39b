/* Memory: the only door to malloc, and the arena that request-scoped data lives in.
 *
 *   arena: head -> [ header | used ... next | free ... end ] -> older chunk -> ... -> oldest
 *
 * INVARIANTS
 *  1. Every allocation of tito's own code passes ti_alloc/ti_realloc, so that tests can make the
 *     n-th one fail.
 *  2. Arena memory is freed only by reset to a mark or by free of the arena; a pointer into it is
 *     valid until then.
 *  3. An arena belongs to one thread at a time.
 *
 * Test hook (compiled in with TI_TESTING): ti_mem_fail_at(n) makes the n-th allocation from now
 * fail, once. Under AddressSanitizer the free part of every chunk is poisoned, so that a read past
 * an arena allocation, or after a reset, is found like one of malloc. */
#ifndef TI_BASE_MEM_H
#define TI_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

#if defined(__SANITIZE_ADDRESS__)
#define TI_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TI_ASAN 1
#endif
#endif
#ifdef TI_ASAN
#include <sanitizer/asan_interface.h>
#define TI_ARENA_OPEN(p, size) ASAN_UNPOISON_MEMORY_REGION(p, size)
#define TI_ARENA_SHUT(p, size) ASAN_POISON_MEMORY_REGION(p, size)
#else
#define TI_ARENA_OPEN(p, size) ((void)0)
#define TI_ARENA_SHUT(p, size) ((void)0)
#endif

/* size bytes, not cleared; NULL when there is no memory; size 0 gives a unique pointer. Freed with
 * ti_free. @thread any */
void *ti_alloc(size_t size);
/* As ti_alloc, cleared to zero. @thread any */
void *ti_alloc_zero(size_t size);
/* p grown or shrunk to size, maybe moved; NULL when there is no memory, then p is as before. A NULL
 * p is ti_alloc. @thread any */
void *ti_realloc(void *p, size_t size);
/* Gives p back; NULL is allowed. @thread any */
void ti_free(void *p);

/* Test hooks: no-ops answering 0 unless built with TI_TESTING. @thread any */
void ti_mem_fail_at(uint64_t nth); /* 0 turns it off; counts from 1, over all threads */
uint64_t ti_mem_count(void);       /* allocations made since the process began */
int64_t ti_mem_live(void);         /* allocations not yet freed */

typedef struct ti_arena_chunk ti_arena_chunk;

typedef struct ti_arena {
    ti_arena_chunk *head; /* newest chunk; owned */
    char *next;           /* first free byte of head, aligned to 16 */
    char *end;
    size_t size;     /* bytes held by all chunks */
    size_t size_max; /* more is LIMIT: ti_arena_alloc gives NULL */
} ti_arena;

typedef struct ti_arena_mark {
    ti_arena_chunk *head;
    char *next;
} ti_arena_mark;

#define TI_ARENA_ALIGN 16

/* An empty arena; allocates nothing; size_max = TI_ARENA_SIZE_MAX. Freed with ti_arena_free. */
void ti_arena_init(ti_arena *a);
/* An empty arena whose first chunk is the caller's memory (aligned to 16, outlives the arena, at
 * least TI_ARENA_IN_SIZE_MIN): small requests then never allocate. */
void ti_arena_init_in(ti_arena *a, void *memory, size_t size);
#define TI_ARENA_IN_SIZE_MIN 32
/* Frees everything; the arena is empty and usable again, without the memory of ti_arena_init_in.
 * Safe on a zeroed or freed arena. */
void ti_arena_free(ti_arena *a);
/* Empties the arena and keeps one chunk, at most TI_ARENA_CHUNK_SIZE_MAX large. Marks taken before
 * are void. */
void ti_arena_reset(ti_arena *a);
/* The place up to which the arena is filled now. */
ti_arena_mark ti_arena_mark_of(const ti_arena *a);
/* Frees everything allocated since the mark was taken of this arena. */
void ti_arena_reset_to(ti_arena *a, ti_arena_mark mark);

/* The path of ti_arena_alloc that needs a new chunk. */
void *ti_arena_alloc_slow(ti_arena *a, size_t size);

/* size bytes aligned to 16, or NULL: callers answer ti_err_no_memory(err). Size 0 gives a pointer
 * that may equal others. */
static inline void *ti_arena_alloc(ti_arena *a, size_t size)
{
    char *p = a->next;
    size_t room = (size_t)(a->end - p);
    /* room is a multiple of 16, so size <= room means that the rounded size fits too */
    if (__builtin_expect(size > room || p == NULL, 0))
        return ti_arena_alloc_slow(a, size);
    a->next = p + ((size + (TI_ARENA_ALIGN - 1)) & ~(size_t)(TI_ARENA_ALIGN - 1));
    TI_ARENA_OPEN(p, size);
    return p;
}

/* As ti_arena_alloc, cleared to zero. */
void *ti_arena_alloc_zero(ti_arena *a, size_t size);
/* A copy that lives in the arena; data is NULL when there was no memory (a copy of an empty slice
 * is never NULL). One NUL follows the bytes. */
ti_slice ti_arena_copy(ti_arena *a, ti_slice s);
/* A formatted, NUL-terminated string in the arena, or NULL. */
char *ti_arena_format(ti_arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

/* Memory: the only door to malloc, and the arena that request-scoped data lives in.
 *
 * INVARIANTS
 *  1. Every allocation of tito's own code passes ti_alloc/ti_realloc, so that tests can make the
 * n-th one fail.
 *  2. Arena memory is freed only by reset to a mark or by free of the arena; a pointer into it is
 * valid until then.
 *  3. An arena belongs to one thread at a time.
 *
 * Test hook (compiled in with TI_TESTING): ti_mem_fail_at(n) makes the n-th allocation from now
 * fail, once. */
#ifndef TI_BASE_MEM_H
#define TI_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

void *ti_alloc(size_t size); /* NULL when there is no memory; size 0 gives a unique pointer */
void *ti_alloc_zero(size_t size);
void *ti_realloc(void *p, size_t size);
void ti_free(void *p);

/* Test hooks: no-ops answering 0 unless built with TI_TESTING. */
void ti_mem_fail_at(uint64_t nth); /* 0 turns it off; counts from 1, over all threads */
uint64_t ti_mem_count(void);       /* allocations made since the process began */
int64_t ti_mem_live(void);         /* allocations not yet freed */

typedef struct ti_arena_chunk ti_arena_chunk;

typedef struct ti_arena {
    ti_arena_chunk *head; /* newest chunk; owned */
    char *next;           /* first free byte of head */
    char *end;
    size_t size;     /* bytes held by all chunks */
    size_t size_max; /* more is LIMIT: ti_arena_alloc gives NULL */
} ti_arena;

typedef struct ti_arena_mark {
    ti_arena_chunk *head;
    char *next;
} ti_arena_mark;

void ti_arena_init(ti_arena *a);  /* allocates nothing; size_max = TI_ARENA_SIZE_MAX */
void ti_arena_free(ti_arena *a);  /* safe on a zeroed or freed arena */
void ti_arena_reset(ti_arena *a); /* empties, keeps one chunk */
ti_arena_mark ti_arena_mark_of(const ti_arena *a);
void ti_arena_reset_to(ti_arena *a,
                       ti_arena_mark mark); /* frees everything allocated since the mark */

/* size bytes aligned to 16, or NULL: callers answer ti_err_no_memory(err). */
void *ti_arena_alloc(ti_arena *a, size_t size);
void *ti_arena_alloc_zero(ti_arena *a, size_t size);
/* A copy that lives in the arena; data is NULL when there was no memory (a copy of an empty slice
 * is never NULL). One NUL follows the bytes. */
ti_slice ti_arena_copy(ti_arena *a, ti_slice s);
/* A formatted, NUL-terminated string in the arena, or NULL. */
char *ti_arena_format(ti_arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

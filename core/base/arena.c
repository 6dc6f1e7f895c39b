/* The arena: chunks in a list, newest first; the rules and the picture are in mem.h.
 *
 *   chunk: [ older | size | borrowed, padding to 16 ][ body: size bytes, a multiple of 16 ]
 *
 * INVARIANTS
 *  1. next and end are NULL without a chunk, else inside head's body; both are aligned to 16.
 *  2. size is the sum of the bodies of all chunks, and never above size_max.
 *  3. Chunks double from TI_ARENA_CHUNK_SIZE to TI_ARENA_CHUNK_SIZE_MAX; a larger request gets a
 *     chunk of just its size.
 *  4. At most the oldest chunk is borrowed (ti_arena_init_in); it is never freed.
 *
 * Thread rule: an arena belongs to one thread at a time. */
#include "base/mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"

struct ti_arena_chunk {
    _Alignas(TI_ARENA_ALIGN) ti_arena_chunk *older;
    size_t size;   /* bytes of the body */
    bool borrowed; /* the memory of ti_arena_init_in */
};

/* What a body of size bytes costs besides the body. */
#define CHUNK_HEADER sizeof(ti_arena_chunk)

static_assert(CHUNK_HEADER % TI_ARENA_ALIGN == 0, "bodies are aligned");
static_assert(TI_ARENA_IN_SIZE_MIN >= CHUNK_HEADER, "the header fits the caller's memory");
static_assert(TI_ARENA_CHUNK_SIZE % TI_ARENA_ALIGN == 0, "bodies are whole units");
static_assert(TI_ARENA_CHUNK_SIZE <= TI_ARENA_CHUNK_SIZE_MAX, "chunks grow");

static char *chunk_body(ti_arena_chunk *chunk)
{
    return (char *)chunk + CHUNK_HEADER;
}

/* Makes chunk, already linked as head, the one that is filled, from its byte used on. */
static void fill_head(ti_arena *a, size_t used)
{
    char *body = chunk_body(a->head);
    ti_assert(used <= a->head->size);
    ti_assert(used % TI_ARENA_ALIGN == 0);
    a->next = body + used;
    a->end = body + a->head->size;
    TI_ARENA_SHUT(a->next, a->head->size - used);
}

/* Links a chunk in front. */
static void push_chunk(ti_arena *a, ti_arena_chunk *chunk, size_t size, bool borrowed)
{
    *chunk = (ti_arena_chunk){.older = a->head, .size = size, .borrowed = borrowed};
    a->head = chunk;
    a->size += size;
    fill_head(a, 0);
}

/* Unlinks the newest chunk and frees it. */
static void pop_chunk(ti_arena *a)
{
    ti_arena_chunk *chunk = a->head;
    ti_assert(chunk != NULL);
    ti_assert(a->size >= chunk->size);
    a->head = chunk->older;
    a->size -= chunk->size;
    if (chunk->borrowed)
        TI_ARENA_OPEN(chunk_body(chunk), chunk->size);
    else
        ti_free(chunk);
}

void ti_arena_init(ti_arena *a)
{
    ti_assert(a != NULL);
    *a = (ti_arena){.size_max = TI_ARENA_SIZE_MAX};
}

void ti_arena_init_in(ti_arena *a, void *memory, size_t size)
{
    ti_assert(size >= TI_ARENA_IN_SIZE_MIN);
    ti_assert((uintptr_t)memory % TI_ARENA_ALIGN == 0);
    ti_arena_init(a);
    size_t body = (size - CHUNK_HEADER) & ~(size_t)(TI_ARENA_ALIGN - 1);
    push_chunk(a, memory, body, true);
}

void ti_arena_free(ti_arena *a)
{
    ti_assert(a != NULL);
    while (a->head != NULL)
        pop_chunk(a);
    ti_assert(a->size == 0);
    a->next = NULL;
    a->end = NULL;
}

void ti_arena_reset(ti_arena *a)
{
    ti_arena_chunk *kept = NULL;
    ti_assert(a != NULL);
    while (a->head != NULL) {
        bool keep = a->head->borrowed || (kept == NULL && a->head->size <= TI_ARENA_CHUNK_SIZE_MAX);
        if (!keep) {
            pop_chunk(a);
            continue;
        }
        if (kept != NULL)
            ti_free(kept);
        kept = a->head;
        a->head = kept->older;
    }
    a->size = 0;
    a->next = NULL;
    a->end = NULL;
    if (kept != NULL)
        push_chunk(a, kept, kept->size, kept->borrowed);
}

ti_arena_mark ti_arena_mark_of(const ti_arena *a)
{
    ti_assert(a != NULL);
    return (ti_arena_mark){.head = a->head, .next = a->next};
}

void ti_arena_reset_to(ti_arena *a, ti_arena_mark mark)
{
    while (a->head != mark.head) {
        ti_require(a->head != NULL); /* the mark is of another arena, or of before a reset */
        pop_chunk(a);
    }
    if (a->head == NULL) {
        a->next = NULL;
        a->end = NULL;
        return;
    }
    ti_require(mark.next >= chunk_body(a->head));
    fill_head(a, (size_t)(mark.next - chunk_body(a->head)));
}

/* The size of the next chunk if nothing larger is asked for: as much as the arena already holds. */
static size_t usual_size(const ti_arena *a)
{
    if (a->size < TI_ARENA_CHUNK_SIZE)
        return TI_ARENA_CHUNK_SIZE;
    if (a->size > TI_ARENA_CHUNK_SIZE_MAX)
        return TI_ARENA_CHUNK_SIZE_MAX;
    return a->size & ~(size_t)(TI_ARENA_ALIGN - 1);
}

void *ti_arena_alloc_slow(ti_arena *a, size_t size)
{
    ti_assert(a->size <= a->size_max);
    size_t left = a->size_max - a->size;
    if (size > left)
        return NULL;
    size_t body = (size + TI_ARENA_ALIGN - 1) & ~(size_t)(TI_ARENA_ALIGN - 1);
    size_t usual = usual_size(a);
    if (body < usual && usual <= left)
        body = usual;
    if (body > left)
        return NULL;
    ti_arena_chunk *chunk = ti_alloc(CHUNK_HEADER + body);
    if (chunk == NULL)
        return NULL;
    push_chunk(a, chunk, body, false);
    ti_assert((size_t)(a->end - a->next) >= size);
    return ti_arena_alloc(a, size);
}

void *ti_arena_alloc_zero(ti_arena *a, size_t size)
{
    void *p = ti_arena_alloc(a, size);
    if (p != NULL)
        memset(p, 0, size);
    return p;
}

ti_slice ti_arena_copy(ti_arena *a, ti_slice s)
{
    ti_assert(s.data != NULL || s.len == 0);
    char *p = s.len == SIZE_MAX ? NULL : ti_arena_alloc(a, s.len + 1);
    if (p == NULL)
        return TI_SLICE_NONE;
    if (s.len > 0)
        memcpy(p, s.data, s.len);
    p[s.len] = '\0';
    return (ti_slice){.data = p, .len = s.len};
}

char *ti_arena_format(ti_arena *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int made = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (made < 0)
        return NULL;
    char *p = ti_arena_alloc(a, (size_t)made + 1);
    if (p == NULL)
        return NULL;
    va_start(args, format);
    vsnprintf(p, (size_t)made + 1, format, args);
    va_end(args);
    return p;
}

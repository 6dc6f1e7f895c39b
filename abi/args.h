/* What a host hands over besides documents: tito_write (what its functions said) and tito_read (how
 * to read). Filled by one thread, copied by each operation.
 *
 * INVARIANTS
 *  1. A copy made by ti_write_copy or ti_read_copy borrows nothing from the handle: every byte is
 *     in the given arena.
 *  2. ti_write_size and ti_read_size are how many arena bytes the copy takes at most.
 *
 * Thread rule: one thread at a time. */
#ifndef TI_ABI_ARGS_H
#define TI_ABI_ARGS_H

#include "abi/op.h"
#include "base/mem.h"
#include "model/model.h"

struct tito_write {
    uint32_t magic;
    ti_write write;              /* slices in the arena */
    ti_arena arena;              /* of what was set since the last reset */
    _Alignas(16) char room[256]; /* the arena's first chunk: small writes allocate nothing */
};

struct tito_read {
    uint32_t magic;
    ti_read read;                               /* relationships points to paths */
    ti_slice paths[TI_QUERY_RELATIONSHIPS_MAX]; /* in the arena */
    ti_arena arena;
};

/* A write that begins empty, for use on the stack; ended with ti_write_end. */
void ti_write_begin(tito_write_t *write);
void ti_write_end(tito_write_t *write);

/* Fills write by a C host function; its failure is told with its own status. Meanwhile the thread
 * can not make operations. */
ti_status ti_host_call(tito_host_fn host, void *context, ti_slice document, tito_write_t *write,
                       ti_err *err);

/* Arena bytes that a copy of write (NULL: 0) takes at most. */
size_t ti_write_size(const tito_write_t *write);
/* Copies it; a NULL write is an empty one. OUT_OF_MEMORY. */
ti_status ti_write_copy(const tito_write_t *write, ti_arena *a, ti_write *out, ti_err *err);
/* The same for a read. */
size_t ti_read_size(const tito_read_t *read);
ti_status ti_read_copy(const tito_read_t *read, ti_arena *a, ti_read *out, ti_err *err);

#endif

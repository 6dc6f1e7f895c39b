/* Documents as operations give them back, and pages of them.
 *
 * INVARIANTS
 *  1. The bytes of a page live in its own arena, until ti_page_free.
 *  2. A page has a cursor exactly when at least one more document follows it.
 *
 * Threads: one at a time. */
#ifndef TI_MODEL_PAGE_H
#define TI_MODEL_PAGE_H

#include "base/mem.h"

typedef struct ti_document {
    ti_slice json; /* none when only keys were asked for */
    ti_slice id;
    uint64_t version; /* rises with every write of the record; 0 when only keys were asked for */
} ti_document;

typedef struct ti_page {
    ti_arena arena;
    ti_document *items; /* in the arena */
    size_t count;
    ti_slice cursor; /* in the arena; none when nothing follows */
} ti_page;

/* An empty page. OUT_OF_MEMORY. */
ti_status ti_page_new(ti_page **page_out, ti_err *err);
/* Frees a page; NULL is allowed. */
void ti_page_free(ti_page *page);

#endif

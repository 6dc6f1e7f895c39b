/* Pages: core's page as a handle of its own, independent of the database it came from.
 *
 * Thread rule: one thread at a time. */
#include "abi/page.h"

#include "abi/handle.h"

struct tito_page {
    uint32_t magic;
    ti_page *core; /* owned */
};

tito_page_t *ti_page_handle(ti_page *core)
{
    tito_page_t *page = ti_alloc(sizeof(*page));
    if (page != NULL)
        *page = (tito_page_t){.magic = TI_MAGIC_PAGE, .core = core};
    return page;
}

/* Document i, or NULL when there is none. */
static const ti_document *item(const tito_page_t *page, size_t i)
{
    if (ti_handle_check(page, TI_MAGIC_PAGE, "page", NULL) != TI_OK || i >= page->core->count)
        return NULL;
    return &page->core->items[i];
}

size_t tito_page_count(const tito_page_t *page)
{
    return ti_handle_check(page, TI_MAGIC_PAGE, "page", NULL) == TI_OK ? page->core->count : 0;
}

tito_slice tito_page_document(const tito_page_t *page, size_t i)
{
    const ti_document *document = item(page, i);
    return ti_slice_out(document == NULL ? TI_SLICE_NONE : document->json);
}

tito_slice tito_page_id(const tito_page_t *page, size_t i)
{
    const ti_document *document = item(page, i);
    return ti_slice_out(document == NULL ? TI_SLICE_NONE : document->id);
}

uint64_t tito_page_version(const tito_page_t *page, size_t i)
{
    const ti_document *document = item(page, i);
    return document == NULL ? 0 : document->version;
}

tito_slice tito_page_cursor(const tito_page_t *page)
{
    bool good = ti_handle_check(page, TI_MAGIC_PAGE, "page", NULL) == TI_OK;
    return ti_slice_out(good ? page->core->cursor : TI_SLICE_NONE);
}

void tito_page_free(tito_page_t *page)
{
    if (ti_handle_check(page, TI_MAGIC_PAGE, "page", NULL) != TI_OK)
        return;
    ti_page_free(page->core);
    page->magic = TI_MAGIC_FREED;
    ti_free(page);
}

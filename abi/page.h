/* Pages as handles; see page.c. */
#ifndef TI_ABI_PAGE_H
#define TI_ABI_PAGE_H

#include "model/page.h"
#include "tito.h"

/* A handle that owns core; NULL when there is no memory, then core is still the caller's. */
tito_page_t *ti_page_handle(ti_page *core);

#endif

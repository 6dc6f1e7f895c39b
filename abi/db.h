/* The database handle, for the files that work on databases. */
#ifndef TI_ABI_DB_H
#define TI_ABI_DB_H

#include <stdatomic.h>

#include "abi/handle.h"
#include "db/db.h"

typedef struct ti_closing ti_closing; /* close.c */

struct tito_db {
    uint32_t magic;
    ti_db *core;                   /* one reference */
    _Atomic(ti_closing *) closing; /* NULL until tito_db_close_watch; owned */
};
TI_DB_HANDLE_CHECK(struct tito_db, core);

/* OK when db is a live handle that may be used, open or not yet. @thread any */
static inline ti_status ti_db_handle_check(const tito_db_t *db, ti_err *err)
{
    TI_TRY(ti_handle_check(db, TI_MAGIC_DB, "db", err));
    return ti_db_check(db->core, err);
}

/* Waits for the thread of tito_db_close_watch, where there was one, and frees it. The database is
 * closed by then. By the thread that frees the handle. */
void ti_closing_end(tito_db_t *db);

#endif

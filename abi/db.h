/* The database handle, for the files that work on databases. */
#ifndef TI_ABI_DB_H
#define TI_ABI_DB_H

#include "abi/handle.h"
#include "db/db.h"

struct tito_db {
    uint32_t magic;
    ti_db *core; /* one reference */
};
TI_DB_HANDLE_CHECK(struct tito_db, core);

/* OK when db is a live handle that may be used, open or not yet. @thread any */
static inline ti_status ti_db_handle_check(const tito_db_t *db, ti_err *err)
{
    TI_TRY(ti_handle_check(db, TI_MAGIC_DB, "db", err));
    return ti_db_check(db->core, err);
}

#endif

/* The TLS options of a handle: whether they fit, and a copy that ends wiped. What is in them is
 * looked at when the database is opened (base/tls.h).
 *
 * INVARIANTS
 *  1. Whoever names one of them gets TLS or an error, never a plain connection: one that is given
 *     and empty is refused, too (a variable that was not set). */
#include <string.h>

#include "base/assert.h"
#include "db/db_int.h"

#define TLS_OPTIONS 4

/* The slices of the TLS options, in one order. */
static void list(ti_db_options *o, ti_slice *out[TLS_OPTIONS])
{
    out[0] = &o->ca;
    out[1] = &o->cert;
    out[2] = &o->key;
    out[3] = &o->server_name;
}

static ti_status check_given(ti_slice *const given[TLS_OPTIONS], ti_target_kind kind, ti_err *err)
{
    static const char *const names[TLS_OPTIONS] = {"ca", "cert", "key", "server_name"};
    for (size_t i = 0; i < TLS_OPTIONS; i++) {
        if (given[i]->data == NULL)
            continue;
        if (given[i]->len == 0)
            return ti_err_set(err, TI_INVALID_ARGUMENT,
                              "option %s is empty: leave it out to connect without TLS", names[i]);
        if (kind != TI_TARGET_TIKV)
            return ti_err_set(err, TI_INVALID_ARGUMENT,
                              "option %s is for TiKV, and the target is none", names[i]);
        if (given[0]->data == NULL)
            return ti_err_set(err, TI_INVALID_ARGUMENT,
                              "option %s needs option ca: the authority that signs the servers' "
                              "certificates",
                              names[i]);
    }
    if ((given[1]->data == NULL) != (given[2]->data == NULL))
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "TLS needs the options cert and key together, or neither");
    return TI_OK;
}

ti_status ti_db_tls_copy(ti_db *db, const ti_db_options *options, ti_err *err)
{
    ti_db_options from = *options;
    ti_slice *given[TLS_OPTIONS];
    ti_slice *copies[TLS_OPTIONS];
    list(&from, given);
    list(&db->options, copies);
    TI_TRY(check_given(given, db->target.kind, err));
    for (size_t i = 0; i < TLS_OPTIONS; i++) {
        ti_assert(copies[i]->data == NULL);
        if (given[i]->len == 0)
            continue;
        *copies[i] = ti_arena_copy(&db->arena, *given[i]);
        if (copies[i]->data == NULL)
            return ti_err_no_memory(err);
    }
    return TI_OK;
}

void ti_db_tls_wipe(ti_db *db)
{
    ti_slice key = db->options.key;
    if (key.len > 0)
        explicit_bzero((char *)(uintptr_t)key.data, key.len);
    db->options.key = TI_SLICE_NONE;
}

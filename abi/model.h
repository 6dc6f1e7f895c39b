/* The model handle, for the files that work on models: queries, maintenance. */
#ifndef TI_ABI_MODEL_H
#define TI_ABI_MODEL_H

#include "abi/op.h"

struct tito_model {
    uint32_t magic;
    ti_db *db;         /* one reference */
    ti_model *core;    /* one reference */
    tito_host_fn host; /* or NULL; set before the first write */
    void *host_context;
};
TI_DB_HANDLE_CHECK(struct tito_model, db);

/* A handle on the model that spec declares. @thread any */
ti_status ti_model_new(ti_db *db, ti_slice spec, tito_model_t **model_out, ti_err *err);
/* OK when model is a live handle of a database that may be used. @thread any */
ti_status ti_model_handle_check(const tito_model_t *model, ti_err *err);

#endif

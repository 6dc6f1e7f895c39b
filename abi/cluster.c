/* What a database's cluster looks like.
 *
 * Thread rule: any, at the same time. */
#include <stddef.h>

#include "abi/db.h"
#include "abi/op.h"
#include "abi/options.h"

typedef struct cluster_options {
    bool regions;
    bool resolve;
    int64_t locks_us; /* < 0: not asked for */
} cluster_options;

static const ti_option known[] = {
    {.name = "regions", .kind = TI_OPTION_BOOL, .offset = offsetof(cluster_options, regions)},
    {.name = "locks_us",
     .kind = TI_OPTION_INT,
     .offset = offsetof(cluster_options, locks_us),
     .min = 0,
     .max = INT64_MAX},
    {.name = "resolve", .kind = TI_OPTION_BOOL, .offset = offsetof(cluster_options, resolve)},
};

/* number: the age of locks; number_2 and give_back: whether regions are listed, locks resolved */
static ti_status run_cluster(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_buf text;
    const ti_kv *kv = ti_db_kv(op->db);
    ti_describe what = {.range = {.from = kv->options.prefix, .to = kv->prefix_end},
                        .regions = op->args.number_2 != 0,
                        .locks = op->args.number >= 0,
                        .resolve = op->args.give_back,
                        .lock_age_us = op->args.number >= 0 ? op->args.number : 0};
    ti_buf_init(&text, TI_PAGE_SIZE_MAX);
    ti_status status = kv->engine->vt->describe(kv->engine, &what, &text, call, err);
    return ti_op_take_text(op, &text, status, err);
}

static const ti_op_kind cluster_kind = {TI_OP_KIND("cluster", TI_WORK_GENERAL, false, run_cluster),
                                        .endless = true};

tito_future_t *tito_db_cluster(tito_db_t *db, const tito_options_t *options)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_op *op = NULL;
    cluster_options given = {.locks_us = -1};
    TI_CHECK(ti_db_handle_check(db, &err));
    TI_CHECK(ti_options_read(options, "tito_db_cluster", known, TI_COUNT(known), &given, &err));
    if (given.resolve && given.locks_us < 0)
        TI_CHECK(ti_err_set(&err, TI_INVALID_ARGUMENT,
                            "resolve needs locks_us: how old the locks to resolve are"));
    op = ti_op_new(db->core, NULL, &cluster_kind, 0);
    TI_CHECK(op == NULL ? ti_err_no_memory(&err) : TI_OK);
    op->args.number = given.locks_us;
    op->args.number_2 = given.regions;
    op->args.give_back = given.resolve;
out:
    return ti_op_submit(op, ti_db_of(db, TI_MAGIC_DB), NULL, status, &err);
}

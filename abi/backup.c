/* Backups, and how far an operation is.
 *
 * Thread rule: any, at the same time. */
#include <stddef.h>
#include <string.h>

#include "abi/db.h"
#include "abi/op.h"
#include "abi/options.h"

typedef struct backup_options {
    ti_slice base;
} backup_options;

static const ti_option known[] = {
    {.name = "base", .kind = TI_OPTION_TEXT, .offset = offsetof(backup_options, base)},
};

/* ---- operations: id is the directory, text the base; both end with a NUL in the arena ---- */

static ti_status run_backup(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_buf text;
    const char *base = op->args.text.len == 0 ? NULL : op->args.text.data;
    ti_buf_init(&text, TI_DOCUMENT_SIZE_MAX);
    ti_status status =
        ti_db_backup(op->db, op->args.id.data, base, &op->progress, &text, call, err);
    return ti_op_take_text(op, &text, status, err);
}

static const ti_op_kind backup_kind = {TI_OP_KIND("backup", TI_WORK_GENERAL, false, run_backup),
                                       .endless = true};

static ti_status run_verify(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_buf text;
    ti_buf_init(&text, TI_DOCUMENT_SIZE_MAX);
    ti_status status =
        ti_db_verify_backup(op->db, op->args.id.data, &op->progress, &text, call, err);
    return ti_op_take_text(op, &text, status, err);
}

static const ti_op_kind verify_kind = {
    TI_OP_KIND("verify_backup", TI_WORK_GENERAL, false, run_verify), .opens = true,
    .endless = true};

static ti_status run_restore(ti_op *op, const ti_call *call, ti_err *err)
{
    ti_buf text;
    ti_buf_init(&text, TI_DOCUMENT_SIZE_MAX);
    ti_status status = ti_db_restore(op->db, op->args.id.data, &op->progress, &text, call, err);
    return ti_op_take_text(op, &text, status, err);
}

static const ti_op_kind restore_kind = {TI_OP_KIND("restore", TI_WORK_GENERAL, false, run_restore),
                                        .opens = true, .endless = true};

/* A path that can be handed to the system; INVALID_ARGUMENT naming what. */
static ti_status path_check(ti_slice path, const char *what, bool needed, ti_err *err)
{
    TI_TRY(ti_argument_check(path, what, err));
    if (needed && path.len == 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "%s is empty", what);
    if (path.len > 0 && memchr(path.data, '\0', path.len) != NULL)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "%s holds a NUL", what);
    return TI_OK;
}

static tito_future_t *submit(tito_db_t *db, const ti_op_kind *kind, ti_slice dir,
                             const tito_options_t *options)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_op *op = NULL;
    backup_options given = {.base = TI_SLICE_NONE};
    size_t count = kind == &backup_kind ? TI_COUNT(known) : 0;
    TI_CHECK(ti_db_handle_check(db, &err));
    TI_CHECK(path_check(dir, "dir", true, &err));
    TI_CHECK(ti_options_read(options, "tito_db_backup", known, count, &given, &err));
    TI_CHECK(path_check(given.base, "base", false, &err));
    op = ti_op_new(db->core, NULL, kind, ti_copy_size(dir.len) + ti_copy_size(given.base.len));
    TI_CHECK(op == NULL ? ti_err_no_memory(&err) : ti_op_copy(op, dir, &op->args.id, &err));
    TI_CHECK(ti_op_copy(op, given.base, &op->args.text, &err));
out:
    return ti_op_submit(op, ti_db_of(db, TI_MAGIC_DB), NULL, status, &err);
}

tito_future_t *tito_db_backup(tito_db_t *db, const char *dir, size_t dir_len,
                              const tito_options_t *options)
{
    return submit(db, &backup_kind, (ti_slice){.data = dir, .len = dir_len}, options);
}

tito_future_t *tito_db_verify_backup(tito_db_t *db, const char *dir, size_t dir_len)
{
    return submit(db, &verify_kind, (ti_slice){.data = dir, .len = dir_len}, NULL);
}

tito_future_t *tito_db_restore(tito_db_t *db, const char *dir, size_t dir_len)
{
    return submit(db, &restore_kind, (ti_slice){.data = dir, .len = dir_len}, NULL);
}

/* ---- progress ---- */

int32_t tito_future_progress(const tito_future_t *future, int64_t *done_out, int64_t *total_out)
{
    bool known_future = ti_handle_check(future, TI_MAGIC_FUTURE, "future", NULL) == TI_OK;
    if (done_out != NULL)
        *done_out = known_future ? atomic_load(&future->progress.done) : 0;
    if (total_out != NULL)
        *total_out = known_future ? atomic_load(&future->progress.total) : 0;
    if (future == NULL)
        return TITO_OUT_OF_MEMORY;
    return known_future ? TITO_OK : TITO_INVALID_ARGUMENT;
}

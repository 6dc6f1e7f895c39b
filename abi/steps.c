/* Maintenance in steps: core's machine, one step an operation.
 *
 * INVARIANTS
 *  1. The core machine is touched only by who has set busy, or by let_go when the database closes.
 *  2. Documents that wait for the host are copies: they stay what they are when the database is
 *     closed.
 *
 * Thread rule: one thread at a time. */
#include <stddef.h>
#include <string.h>

#include "abi/args.h"
#include "abi/db.h"
#include "abi/model.h"
#include "abi/options.h"
#include "model/maintenance.h"

struct tito_steps {
    uint32_t magic;
    ti_db *db;              /* one reference */
    _Atomic(uint32_t) refs; /* the host's, and one of every step */
    _Atomic(bool) busy;     /* a step runs, or none will any more: freed */
    ti_db_child child;      /* adopted */
    ti_steps *core;         /* owned; NULL when let go */
    tito_host_fn host;      /* or NULL */
    void *host_context;
    ti_arena arena; /* of documents */
    ti_slice *documents;
    size_t count;
};
TI_DB_HANDLE_CHECK(struct tito_steps, db);

_Static_assert((int)TITO_STEP_DONE == (int)TI_STEP_DONE &&
                   (int)TITO_STEP_MORE == (int)TI_STEP_MORE &&
                   (int)TITO_STEP_HOST == (int)TI_STEP_HOST,
               "steps are one list");

/* ---- life ---- */

static tito_steps_t *of_child(ti_db_child *child)
{
    return (tito_steps_t *)(void *)((char *)child - offsetof(tito_steps_t, child));
}

static void let_go(ti_db_child *child)
{
    tito_steps_t *steps = of_child(child);
    ti_steps_free(steps->core);
    steps->core = NULL;
}

static void dispose(ti_db_child *child)
{
    tito_steps_t *steps = of_child(child);
    ti_db *db = steps->db;
    ti_arena_free(&steps->arena);
    ti_free(steps);
    ti_db_unref(db);
}

/* A handle for core, which it takes over also when it fails; inside the database. */
static ti_status new_steps(const tito_model_t *model, ti_steps *core, tito_steps_t **steps_out,
                           ti_err *err)
{
    tito_steps_t *steps = ti_alloc_zero(sizeof(*steps));
    if (steps == NULL) {
        ti_steps_free(core);
        return ti_err_no_memory(err);
    }
    steps->magic = TI_MAGIC_STEPS;
    atomic_init(&steps->refs, 1);
    steps->db = ti_db_ref(model->db);
    steps->child = (ti_db_child){.let_go = let_go, .dispose = dispose};
    steps->core = core;
    steps->host = model->host;
    steps->host_context = model->host_context;
    ti_arena_init(&steps->arena);
    ti_db_adopt(model->db, &steps->child);
    *steps_out = steps;
    return TI_OK;
}

typedef struct steps_options {
    int64_t batch;
    bool repair;
    bool count;
    ti_slice cursor;
} steps_options;

#define OPTION_BATCH                                                                               \
    {                                                                                              \
        .name = "batch", .kind = TI_OPTION_INT, .offset = offsetof(steps_options, batch),          \
        .min = 1, .max = TI_PAGE_ITEMS_MAX                                                         \
    }

static const ti_option known_of_reindex[] = {OPTION_BATCH};
static const ti_option known_of_check[] = {
    OPTION_BATCH,
    {.name = "repair", .kind = TI_OPTION_BOOL, .offset = offsetof(steps_options, repair)},
    {.name = "count", .kind = TI_OPTION_BOOL, .offset = offsetof(steps_options, count)},
    {.name = "cursor", .kind = TI_OPTION_TEXT, .offset = offsetof(steps_options, cursor)},
};

static ti_status open_reindex(tito_model_t *model, const steps_options *given,
                              tito_steps_t **steps_out, ti_err *err)
{
    ti_reindex_options options = {.batch = (uint32_t)given->batch};
    ti_steps *core = NULL;
    TI_TRY(ti_reindex_open(model->core, &options, &core, err));
    return new_steps(model, core, steps_out, err);
}

static ti_status open_check(tito_model_t *model, const steps_options *given,
                            tito_steps_t **steps_out, ti_err *err)
{
    ti_check_options options = {.batch = (uint32_t)given->batch,
                                .repair = given->repair,
                                .count = given->count,
                                .cursor = given->cursor};
    ti_steps *core = NULL;
    TI_TRY(ti_check_open(model->core, &options, &core, err));
    return new_steps(model, core, steps_out, err);
}

int32_t tito_reindex_open(tito_model_t *model, const tito_options_t *options,
                          tito_steps_t **steps_out, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    steps_options given = {.batch = 0};
    TI_CHECK(ti_out_check(steps_out, "steps_out", &err));
    TI_CHECK(ti_model_handle_check(model, &err));
    TI_CHECK(ti_options_read(options, "tito_reindex_open", known_of_reindex,
                             TI_COUNT(known_of_reindex), &given, &err));
    TI_CHECK(ti_db_enter(model->db, &err));
    status = open_reindex(model, &given, steps_out, &err);
    ti_db_leave(model->db);
out:
    return ti_answer(status, &err, error_out);
}

int32_t tito_check_open(tito_model_t *model, const tito_options_t *options,
                        tito_steps_t **steps_out, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    steps_options given = {.batch = 0};
    TI_CHECK(ti_out_check(steps_out, "steps_out", &err));
    TI_CHECK(ti_model_handle_check(model, &err));
    TI_CHECK(ti_options_read(options, "tito_check_open", known_of_check, TI_COUNT(known_of_check),
                             &given, &err));
    TI_CHECK(ti_db_enter(model->db, &err));
    status = open_check(model, &given, steps_out, &err);
    ti_db_leave(model->db);
out:
    return ti_answer(status, &err, error_out);
}

static void unref_steps(void *object)
{
    tito_steps_t *steps = object;
    if (atomic_fetch_sub_explicit(&steps->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (ti_db_forked(steps->db))
        dispose(&steps->child);
    else
        ti_db_release(steps->db, &steps->child);
}

/* Unless a step runs, the work has ended when the handle is freed, whoever keeps futures of it:
 * others may begin. Steps that wait to run find it busy for ever. */
static void end_now(tito_steps_t *steps)
{
    if (ti_db_forked(steps->db) || atomic_exchange(&steps->busy, true) ||
        ti_db_enter(steps->db, NULL) != TI_OK)
        return;
    let_go(&steps->child);
    ti_db_leave(steps->db);
}

void tito_steps_free(tito_steps_t *steps)
{
    if (ti_handle_check(steps, TI_MAGIC_STEPS, "steps", NULL) != TI_OK)
        return;
    steps->magic = TI_MAGIC_FREED;
    end_now(steps);
    unref_steps(steps);
}

/* ---- one step ---- */

/* Asks the C host function about every document that waits. */
static ti_status ask_host(tito_steps_t *steps, ti_err *err)
{
    tito_write_t filled;
    ti_status status = TI_OK;
    ti_write_begin(&filled);
    for (size_t i = 0; i < ti_steps_count(steps->core) && status == TI_OK; i++) {
        tito_write_reset(&filled);
        status = ti_host_call(steps->host, steps->host_context, ti_steps_document(steps->core, i),
                              &filled, err);
        if (status == TI_OK)
            status = ti_steps_reply(steps->core, i, filled.write.conditions, err);
    }
    ti_write_end(&filled);
    return status;
}

/* Copies the documents that wait. */
static ti_status keep_documents(tito_steps_t *steps, ti_err *err)
{
    size_t count = ti_steps_count(steps->core);
    steps->documents = ti_arena_alloc(&steps->arena, count * sizeof(*steps->documents));
    if (steps->documents == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        steps->documents[i] = ti_arena_copy(&steps->arena, ti_steps_document(steps->core, i));
        if (steps->documents[i].data == NULL)
            return ti_err_no_memory(err);
    }
    steps->count = count;
    return TI_OK;
}

static ti_status do_step(tito_steps_t *steps, ti_op *op, const ti_call *call, ti_err *err)
{
    ti_step step = TI_STEP_DONE;
    ti_slice json = TI_SLICE_NONE;
    steps->count = 0;
    ti_arena_reset(&steps->arena);
    TI_TRY(ti_steps_next(steps->core, &step, &json, call, err));
    if (step == TI_STEP_HOST && steps->host != NULL) {
        TI_TRY(ask_host(steps, err));
        step = TI_STEP_MORE;
    } else if (step == TI_STEP_HOST) {
        TI_TRY(keep_documents(steps, err));
    }
    op->number = (int64_t)step;
    return ti_op_copy(op, json, &op->bytes, err);
}

static ti_status run_next(ti_op *op, const ti_call *call, ti_err *err)
{
    tito_steps_t *steps = op->args.object;
    if (atomic_exchange(&steps->busy, true))
        return ti_err_set(err, TI_INVALID_STATE, "another step runs, or the steps were freed");
    ti_status status = do_step(steps, op, call, err);
    atomic_store(&steps->busy, false);
    return status;
}

static const ti_op_kind next_kind = {TI_OP_KIND("step", TI_WORK_GENERAL, false, run_next)};

static ti_status check_steps(const tito_steps_t *steps, ti_err *err)
{
    TI_TRY(ti_handle_check(steps, TI_MAGIC_STEPS, "steps", err));
    return ti_db_check(steps->db, err);
}

tito_future_t *tito_steps_next(tito_steps_t *steps)
{
    ti_err err;
    ti_status status = TI_OK;
    ti_op *op = NULL;
    TI_CHECK(check_steps(steps, &err));
    op = ti_op_new(steps->db, NULL, &next_kind, 0);
    TI_CHECK(op == NULL ? ti_err_no_memory(&err) : TI_OK);
    atomic_fetch_add_explicit(&steps->refs, 1, memory_order_relaxed);
    op->args.object = steps;
    op->args.release = unref_steps;
out:
    return ti_op_submit(op, ti_db_of(steps, TI_MAGIC_STEPS), NULL, status, &err);
}

/* ---- what waits for the host ---- */

static bool is_quiet(const tito_steps_t *steps)
{
    return ti_handle_check(steps, TI_MAGIC_STEPS, "steps", NULL) == TI_OK &&
           !atomic_load(&steps->busy);
}

size_t tito_steps_count(const tito_steps_t *steps)
{
    return is_quiet(steps) ? steps->count : 0;
}

tito_slice tito_steps_document(const tito_steps_t *steps, size_t i)
{
    return ti_slice_out(i < tito_steps_count(steps) ? steps->documents[i] : TI_SLICE_NONE);
}

int32_t tito_steps_reply(tito_steps_t *steps, size_t i, uint64_t bits)
{
    TI_TRY(check_steps(steps, NULL));
    if (!is_quiet(steps))
        return TITO_INVALID_STATE;
    TI_TRY(ti_db_enter(steps->db, NULL));
    ti_status status = ti_steps_reply(steps->core, i, bits, NULL);
    ti_db_leave(steps->db);
    return status;
}

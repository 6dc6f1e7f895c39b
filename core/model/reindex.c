/* Reindex: fills the indexes of a table that are not readable yet. See maintenance.h.
 *
 *   BEGIN ──> SCAN ──> DRAIN ──> SEAL ──> DRAIN_SEALED ──> FLIP ──> done
 *
 *   BEGIN         counts the records, a page a step; registers what the model declares, takes the
 *                 runner's lease, drops superseded versions whose host condition nobody can
 *                 evaluate, waits until all writers maintain what is to be filled
 *   SCAN          all records behind the cursor, in batches: lock them, write their entries
 *   DRAIN         index_todo rows: records that a process wrote without knowing the condition
 *   SEAL          such writes are refused from now on; waits
 *                 (DRAIN and SEAL: for host conditions only)
 *   FLIP          readable since the flip's snapshot, or failed; superseded versions are dropped;
 *                 the lease ends
 *
 * INVARIANTS
 *  1. A batch is one transaction: entries, lists, progress and the runner's lease commit together.
 *  2. A record's entries are written under a PUT or LOCK of the record: whoever changes it
 *     meanwhile conflicts.
 *  3. An index is made readable only in a snapshot without index_todo rows, after sealing.
 *
 * Threads: one at a time. What is NOT here: a batch's records (fill.c). */
#include "model/reindex_int.h"

#include <assert.h>
#include <stddef.h>

#include "base/assert.h"
#include "base/id.h"

static const char *const phase_names[] = {"begin", "scan", "drain", "seal",
                                          "drain", "flip", "done"};

static_assert(offsetof(ti_reindex, base) == 0, "a reindex is a ti_steps");

/* ---- which indexes ---- */

static bool superseded(const ti_schema *schema, const ti_schema_index *index)
{
    return ti_schema_find(schema, index->def.name, 0)->def.version > index->def.version;
}

bool ti_reindex_target(const ti_model *model, const ti_schema_index *index, void *context)
{
    const ti_schema *schema = context;
    return (index->state == TI_INDEX_WRITE_ONLY || index->state == TI_INDEX_FAILED) &&
           ti_plan_knows(model, index) && !superseded(schema, index);
}

ti_status ti_reindex_lost(const ti_reindex *r, ti_err *err)
{
    ti_err_set(err, TI_BUSY, "another reindex of table \"%.*s\" has taken over",
               (int)r->base.model->table.len, r->base.model->table.data);
    return ti_err_of(r->base.model, TI_SLICE_NONE, TI_BUSY, err);
}

bool ti_reindex_owns(const ti_reindex *r, const ti_schema *schema)
{
    return schema->exists && !schema->dropping &&
           ti_slice_equal(schema->runner, ti_slice_of(r->runner));
}

ti_status ti_reindex_renew(const ti_reindex *r, ti_schema *schema, ti_ts now, ti_err *err)
{
    schema->runner = ti_arena_copy(&schema->arena, ti_slice_of(r->runner));
    schema->runner_until = ti_ts_add_us(now, TI_REINDEX_LEASE_US);
    return schema->runner.data == NULL ? ti_err_no_memory(err) : TI_OK;
}

/* ---- BEGIN ---- */

static void begin_again(ti_schema_index *index)
{
    index->state = TI_INDEX_WRITE_ONLY;
    index->sealed = false;
    index->scanned = false;
    index->cursor = TI_SLICE_NONE;
    index->done = 0;
    index->duplicate_count = 0;
}

/* How many records an earlier run has visited; UINT64_MAX: there is nothing to fill. */
static uint64_t visited_of(const ti_model *model, ti_schema *schema)
{
    uint64_t visited = UINT64_MAX;
    for (size_t i = 0; i < schema->index_count; i++) {
        const ti_schema_index *index = &schema->indexes[i];
        if (ti_reindex_target(model, index, schema) && index->done < visited)
            visited = index->done;
    }
    return visited;
}

static ti_status begin_edit(void *context, ti_txn *txn, ti_schema *schema, bool *changed_io,
                            const ti_call *call, ti_err *err)
{
    ti_reindex *r = context;
    ti_model *model = r->base.model;
    ti_ts now;
    if (!schema->exists || schema->dropping) {
        ti_err_set(err, TI_SCHEMA_MISMATCH, "table \"%.*s\" is being dropped",
                   (int)model->table.len, model->table.data);
        return ti_err_of(model, TI_SLICE_NONE, TI_SCHEMA_MISMATCH, err);
    }
    *changed_io = true;
    TI_TRY(ti_txn_start_ts(txn, &now, call, err));
    bool other =
        schema->runner.len > 0 && schema->runner_until > now && !ti_reindex_owns(r, schema);
    if (other && !ti_catalog_runner_gone(model->store, model->table, schema->runner)) {
        ti_err_set(err, TI_BUSY, "another reindex of table \"%.*s\" is running",
                   (int)model->table.len, model->table.data);
        return ti_err_of(model, TI_SLICE_NONE, TI_BUSY, err);
    }
    TI_TRY(ti_reindex_renew(r, schema, now, err));
    for (size_t i = 0; i < schema->index_count; i++) {
        if (schema->indexes[i].state == TI_INDEX_FAILED &&
            ti_reindex_target(model, &schema->indexes[i], schema))
            begin_again(&schema->indexes[i]);
    }
    r->visited = visited_of(model, schema);
    return TI_OK;
}

/* Versions that were replaced and whose host condition is unknown, for they can not be kept up. */
static ti_status drop_unknown(ti_reindex *r, const ti_schema *schema, const ti_call *call,
                              ti_err *err)
{
    ti_model *model = r->base.model;
    for (size_t i = 0; i < schema->index_count; i++) {
        const ti_schema_index *index = &schema->indexes[i];
        if (!superseded(schema, index) || ti_plan_knows(model, index))
            continue;
        const ti_drop_request request = {
            .index = index->def.name, .below = index->def.version + 1, .host_only = true};
        TI_TRY(ti_drop_versions(model->store, model->table, &request, NULL, call, err));
    }
    return TI_OK;
}

/* Counts a page of the records, for whoever watches; *more_out: others follow. */
static ti_status count_records(ti_reindex *r, bool *more_out, const ti_call *call, ti_err *err)
{
    const ti_model *model = r->base.model;
    ti_key_range span;
    TI_TRY(ti_key_span(&model->store->keyspace, &r->base.s->arena, TI_SPAN_RECORDS, model->table,
                       TI_SLICE_NONE, &span, err));
    return ti_steps_count_page(&r->base, &span, &r->from, &r->total, more_out, call, err);
}

static ti_status begin(ti_reindex *r, const ti_call *call, ti_err *err)
{
    ti_model *model = r->base.model;
    ti_schema *schema = NULL;
    ti_status status;
    if (!r->running) {
        TI_TRY(ti_catalog_runner_begin(model->store, model->table, r->runner, err));
        r->running = true;
    }
    TI_CHECK(ti_model_register(model, &schema, call, err));
    TI_CHECK(drop_unknown(r, schema, call, err));
    TI_CHECK(ti_catalog_change(model->store, model->table, begin_edit, r, NULL, call, err));
    if (r->visited < r->total)
        r->total -= r->visited;
    TI_CHECK(ti_catalog_settle(model->store, model->table, call, err));
    r->at = TI_REINDEX_SCAN;
out:
    ti_schema_unref(schema);
    return status;
}

/* ---- SEAL, FLIP ---- */

static ti_status seal_edit(void *context, ti_txn *txn, ti_schema *schema, bool *changed_io,
                           const ti_call *call, ti_err *err)
{
    ti_reindex *r = context;
    ti_ts now;
    if (!ti_reindex_owns(r, schema))
        return ti_reindex_lost(r, err);
    TI_TRY(ti_txn_start_ts(txn, &now, call, err));
    TI_TRY(ti_reindex_renew(r, schema, now, err));
    *changed_io = true;
    for (size_t i = 0; i < schema->index_count; i++) {
        if (ti_reindex_target(r->base.model, &schema->indexes[i], schema))
            schema->indexes[i].sealed = true;
    }
    return TI_OK;
}

/* Whether an index has index_todo rows in the transaction's view. */
static ti_status has_todo(const ti_reindex *r, ti_txn *txn, const ti_schema_index *index,
                          bool *has_out, const ti_call *call, ti_err *err)
{
    const ti_model *model = r->base.model;
    ti_key_range span;
    ti_scan_page page;
    ti_arena *a = ti_txn_arena(txn);
    *has_out = false;
    if (index->def.condition != TI_CONDITION_HOST)
        return TI_OK;
    TI_TRY(ti_key_span(&model->store->keyspace, a, TI_SPAN_INDEX_TODO, model->table,
                       index->stored_name, &span, err));
    const ti_scan scan = {
        .range = {.from = span.lo, .to = span.hi}, .keys_only = true, .items_max = 1};
    TI_TRY(ti_txn_scan(txn, &scan, a, &page, call, err));
    *has_out = page.count > 0;
    return TI_OK;
}

static ti_status flip_edit(void *context, ti_txn *txn, ti_schema *schema, bool *changed_io,
                           const ti_call *call, ti_err *err)
{
    ti_reindex *r = context;
    ti_ts now;
    if (!ti_reindex_owns(r, schema))
        return ti_reindex_lost(r, err);
    TI_TRY(ti_txn_start_ts(txn, &now, call, err));
    *changed_io = true;
    r->left_over = false;
    schema->runner = TI_SLICE_NONE;
    schema->runner_until = TI_TS_NONE;
    for (size_t i = 0; i < schema->index_count; i++) {
        ti_schema_index *index = &schema->indexes[i];
        bool todo;
        if (!ti_reindex_target(r->base.model, index, schema))
            continue;
        TI_TRY(has_todo(r, txn, index, &todo, call, err));
        if (todo || !index->scanned) { /* registered meanwhile, or not sealed: another round */
            r->left_over = true;
            continue;
        }
        index->state = index->duplicate_count > 0 ? TI_INDEX_FAILED : TI_INDEX_READABLE;
        index->since = now;
        index->sealed = false;
        index->cursor = TI_SLICE_NONE;
    }
    return r->left_over ? ti_reindex_renew(r, schema, now, err) : TI_OK;
}

/* Drops what readable versions have replaced, and what an interrupted drop left. */
static ti_status drop_superseded(ti_reindex *r, const ti_schema *schema, const ti_call *call,
                                 ti_err *err)
{
    ti_model *model = r->base.model;
    for (size_t i = 0; i < schema->index_count; i++) {
        const ti_schema_index *index = &schema->indexes[i];
        const ti_schema_index *highest = ti_schema_find(schema, index->def.name, 0);
        if (index == highest || highest->state != TI_INDEX_READABLE)
            continue;
        const ti_drop_request request = {.index = index->def.name, .below = highest->def.version};
        TI_TRY(ti_drop_versions(model->store, model->table, &request, NULL, call, err));
    }
    return TI_OK;
}

static ti_status flip(ti_reindex *r, const ti_call *call, ti_err *err)
{
    ti_model *model = r->base.model;
    ti_schema *schema = NULL;
    ti_status status;
    TI_CHECK(ti_catalog_change(model->store, model->table, flip_edit, r, &schema, call, err));
    if (r->left_over) {
        r->at = TI_REINDEX_SCAN;
        goto out;
    }
    TI_CHECK(drop_superseded(r, schema, call, err));
    r->at = TI_REINDEX_DONE;
out:
    ti_schema_unref(schema);
    return status;
}

/* ---- the machine ---- */

static void write_uint(ti_json_writer *w, const char *name, uint64_t value)
{
    ti_json_write_key(w, ti_slice_of(name));
    ti_json_write_int(w, (int64_t)value);
}

static ti_status write_progress(const ti_reindex *r, ti_json_writer *w, const ti_call *call,
                                ti_err *err)
{
    ti_model *model = r->base.model;
    ti_schema *schema;
    ti_json_write_key(w, TI_SLICE("phase"));
    ti_json_write_string(w, ti_slice_of(phase_names[r->at]));
    write_uint(w, "done", r->done);
    write_uint(w, "total", r->total > r->done ? r->total : r->done);
    if (r->at != TI_REINDEX_DONE)
        return TI_OK;
    TI_TRY(ti_catalog_current(model->store, model->table, &schema, NULL, call, err));
    ti_json_write_key(w, TI_SLICE("indexes"));
    ti_json_write_array_begin(w);
    for (size_t i = 0; i < schema->index_count; i++)
        ti_schema_index_write(&schema->indexes[i], w);
    ti_json_write_array_end(w);
    ti_schema_unref(schema);
    return TI_OK;
}

static ti_status reindex_next(ti_steps *steps, ti_step *step_out, ti_json_writer *w,
                              const ti_call *call, ti_err *err)
{
    ti_reindex *r = (ti_reindex *)steps;
    ti_model *model = steps->model;
    bool more;
    *step_out = TI_STEP_MORE;
    switch (r->at) {
    case TI_REINDEX_BEGIN:
        TI_TRY(count_records(r, &more, call, err));
        if (!more)
            TI_TRY(begin(r, call, err));
        break;
    case TI_REINDEX_SCAN:
    case TI_REINDEX_DRAIN:
    case TI_REINDEX_DRAIN_SEALED:
        TI_TRY(ti_reindex_batch(r, step_out, call, err));
        break;
    case TI_REINDEX_SEAL:
        TI_TRY(ti_catalog_change(model->store, model->table, seal_edit, r, NULL, call, err));
        TI_TRY(ti_catalog_settle(model->store, model->table, call, err));
        r->at = TI_REINDEX_DRAIN_SEALED;
        break;
    case TI_REINDEX_FLIP:
        TI_TRY(flip(r, call, err));
        break;
    case TI_REINDEX_DONE:
        break;
    }
    if (r->at == TI_REINDEX_DONE)
        *step_out = TI_STEP_DONE;
    return write_progress(r, w, call, err);
}

static void reindex_close(ti_steps *steps)
{
    ti_reindex *r = (ti_reindex *)steps;
    ti_reindex_end_batch(r);
    ti_buf_free(&r->from);
    if (r->running)
        ti_catalog_runner_end(steps->model->store, steps->model->table, r->runner);
}

ti_status ti_reindex_open(ti_model *model, const ti_reindex_options *options, ti_steps **steps_out,
                          ti_err *err)
{
    static const ti_steps_vt vt = {
        .next = reindex_next,
        .close = reindex_close,
    };
    ti_kv *kv;
    *steps_out = NULL;
    TI_TRY(ti_store_kv(model->store, &kv, err));
    ti_reindex *r = ti_alloc_zero(sizeof *r);
    if (r == NULL)
        return ti_err_no_memory(err);
    ti_status status = ti_steps_init(&r->base, &vt, model, err);
    if (status != TI_OK) {
        ti_free(r);
        return status;
    }
    ti_buf_init(&r->from, TI_KEY_SIZE_MAX * 2);
    ti_uuid_v4(ti_store_env(model->store), r->runner);
    r->batch_max = options != NULL && options->batch > 0 ? options->batch : TI_REINDEX_BATCH;
    r->batch = r->batch_max;
    *steps_out = &r->base;
    return TI_OK;
}

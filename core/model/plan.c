/* Which indexes a model's writes maintain, and how its declarations enter the catalog.
 *
 *   declared        stored                   a write
 *   v               v, same definition       maintains it; a host condition by the model's own bit
 *   v               v, another definition    SCHEMA_MISMATCH
 *   v               nothing, or lower ones   registers it first: readable in a table without a row,
 *                                            else write_only
 *   v               higher ones              follows the stored ones
 *   (not declared)  any                      maintains it, if core alone can decide its condition;
 *                                            else write_only: an index_todo row,
 *                                            readable or sealed: SCHEMA_MISMATCH
 *
 * INVARIANTS
 *  1. No write leaves an index half-maintained: every index that is not absent is in the plan, or
 *     there is no plan.
 *  2. A plan's indexes stand in the order of a record's list.
 *
 * Threads: any; a plan is immutable. */
#include <stdio.h>

#include "base/assert.h"
#include "model/steps_int.h"

/* ---- comparing declarations with the catalog ---- */

static ti_status mismatch(const ti_model *model, const ti_index_def *declared, ti_err *err)
{
    ti_err_set(err, TI_SCHEMA_MISMATCH,
               "index \"%.*s\" of table \"%.*s\" is stored with another definition of version %u: "
               "a changed "
               "definition needs a higher \"version\"",
               (int)declared->name.len, declared->name.data, (int)model->table.len,
               model->table.data, declared->version);
    return ti_err_of(model, declared->name, TI_SCHEMA_MISMATCH, err);
}

/* Whether the schema lacks the declaration; SCHEMA_MISMATCH when it has another one under its
 * version. */
static ti_status lacks(const ti_model *model, const ti_schema *schema, const ti_index_def *declared,
                       bool *lacks_out, ti_err *err)
{
    bool equal;
    const ti_schema_index *highest = ti_schema_find(schema, declared->name, 0);
    *lacks_out = highest == NULL || highest->def.version < declared->version;
    if (*lacks_out)
        return TI_OK;
    const ti_schema_index *same = ti_schema_find(schema, declared->name, declared->version);
    if (same == NULL)
        return TI_OK;
    TI_TRY(ti_index_def_equal(&same->def, declared, &equal, err));
    return equal ? TI_OK : mismatch(model, declared, err);
}

static ti_status lacks_any(const ti_model *model, const ti_schema *schema, bool *lacks_out,
                           ti_err *err)
{
    *lacks_out = !schema->exists;
    for (size_t i = 0; i < model->index_count; i++) {
        bool one;
        TI_TRY(lacks(model, schema, &model->indexes[i], &one, err));
        *lacks_out = *lacks_out || one;
    }
    return TI_OK;
}

/* ---- registering ---- */

static ti_status register_edit(void *context, ti_txn *txn, ti_schema *schema, bool *changed_io,
                               const ti_call *call, ti_err *err)
{
    ti_model *model = context;
    ti_index_state state = schema->exists ? TI_INDEX_WRITE_ONLY : TI_INDEX_READABLE;
    (void)txn;
    (void)call;
    if (schema->dropping) {
        *changed_io = false;
        return TI_OK;
    }
    *changed_io = !schema->exists;
    for (size_t i = 0; i < model->index_count; i++) {
        bool add;
        TI_TRY(lacks(model, schema, &model->indexes[i], &add, err));
        if (!add)
            continue;
        TI_TRY(ti_schema_add(schema, &model->indexes[i], state, err));
        *changed_io = true;
    }
    schema->exists = true;
    return TI_OK;
}

ti_status ti_model_register(ti_model *model, ti_schema **schema_out, const ti_call *call,
                            ti_err *err)
{
    return ti_catalog_change(model->store, model->table, register_edit, model, schema_out, call,
                             err);
}

/* ---- making ---- */

static int compare_stored(const ti_index_def *left, const ti_index_def *right)
{
    const ti_entry l = {.kind = left->unique ? TI_ENTRY_UNIQUE : TI_ENTRY_PLAIN,
                        .version = left->version,
                        .index = left->name,
                        .tuple = TI_SLICE_NONE};
    const ti_entry r = {.kind = right->unique ? TI_ENTRY_UNIQUE : TI_ENTRY_PLAIN,
                        .version = right->version,
                        .index = right->name,
                        .tuple = TI_SLICE_NONE};
    return ti_entry_compare(&l, &r);
}

static void insert_sorted(ti_plan *plan, ti_plan_index index)
{
    size_t i = plan->count++;
    while (i > 0 && compare_stored(&plan->indexes[i - 1].stored->def, &index.stored->def) > 0) {
        plan->indexes[i] = plan->indexes[i - 1];
        i--;
    }
    plan->indexes[i] = index;
}

static ti_status unknown_condition(const ti_model *model, const ti_schema_index *stored,
                                   ti_err *err)
{
    ti_err_set(
        err, TI_SCHEMA_MISMATCH,
        "index \"%.*s\" version %u of table \"%.*s\" has a condition that this program does not "
        "know: declare "
        "the index as it is stored, or run reindex (a newer version is declared) or drop_index",
        (int)stored->def.name.len, stored->def.name.data, stored->def.version,
        (int)model->table.len, model->table.data);
    return ti_err_of(model, stored->def.name, TI_SCHEMA_MISMATCH, err);
}

static ti_status plan_index(const ti_model *model, const ti_schema_index *stored, ti_plan *plan,
                            ti_err *err)
{
    ti_plan_index index = {.stored = stored, .condition_bit = -1};
    if (stored->def.condition == TI_CONDITION_HOST) {
        const ti_index_def *declared = ti_model_index(model, stored->def.name);
        if (declared != NULL && declared->version == stored->def.version)
            index.condition_bit = model->condition_bits[declared - model->indexes];
        index.todo = index.condition_bit < 0;
        if (index.todo && (stored->state == TI_INDEX_READABLE || stored->sealed))
            return unknown_condition(model, stored, err);
    }
    insert_sorted(plan, index);
    return TI_OK;
}

ti_status ti_plan_make(ti_model *model, ti_schema *schema, ti_plan **plan_out,
                       bool *unregistered_out, ti_err *err)
{
    *plan_out = NULL;
    *unregistered_out = false;
    if (schema->dropping) {
        ti_err_set(err, TI_SCHEMA_MISMATCH, "table \"%.*s\" is being dropped",
                   (int)model->table.len, model->table.data);
        return ti_err_of(model, TI_SLICE_NONE, TI_SCHEMA_MISMATCH, err);
    }
    TI_TRY(lacks_any(model, schema, unregistered_out, err));
    if (*unregistered_out)
        return TI_OK;
    ti_plan *plan = ti_alloc_zero(sizeof *plan + schema->index_count * sizeof plan->indexes[0]);
    if (plan == NULL)
        return ti_err_no_memory(err);
    atomic_store(&plan->refs, 1);
    plan->schema = ti_schema_ref(schema);
    for (size_t i = 0; i < schema->index_count; i++) {
        if (schema->indexes[i].state == TI_INDEX_ABSENT)
            continue;
        ti_status status = plan_index(model, &schema->indexes[i], plan, err);
        if (status != TI_OK) {
            ti_plan_unref(plan);
            return status;
        }
    }
    *plan_out = plan;
    return TI_OK;
}

void ti_plan_unref(ti_plan *plan)
{
    if (plan == NULL || atomic_fetch_sub(&plan->refs, 1) > 1)
        return;
    ti_schema_unref(plan->schema);
    ti_free(plan);
}

/* ---- the cache: the plan of the last schema met ---- */

static ti_plan *cached_plan(ti_model *model, const ti_schema *schema)
{
    ti_mutex_lock(&model->mutex);
    ti_plan *plan = model->plan;
    if (plan != NULL && plan->schema == schema)
        atomic_fetch_add(&plan->refs, 1);
    else
        plan = NULL;
    ti_mutex_unlock(&model->mutex);
    return plan;
}

static void cache_plan(ti_model *model, ti_plan *plan)
{
    atomic_fetch_add(&plan->refs, 1);
    ti_mutex_lock(&model->mutex);
    ti_plan *old = model->plan;
    model->plan = plan;
    ti_mutex_unlock(&model->mutex);
    ti_plan_unref(old);
}

static ti_status plan_under(ti_model *model, ti_schema *schema, ti_plan **plan_out,
                            bool *unregistered_out, ti_err *err)
{
    *unregistered_out = false;
    *plan_out = cached_plan(model, schema);
    if (*plan_out != NULL)
        return TI_OK;
    TI_TRY(ti_plan_make(model, schema, plan_out, unregistered_out, err));
    if (*plan_out != NULL)
        cache_plan(model, *plan_out);
    return TI_OK;
}

ti_status ti_plan_for_write(ti_model *model, ti_txn *txn, ti_plan **plan_out, const ti_call *call,
                            ti_err *err)
{
    ti_kv *kv;
    bool unregistered;
    ti_schema *schema = NULL;
    ti_ts read_at = TI_TS_NONE;
    ti_status status;
    *plan_out = NULL;
    TI_TRY(ti_store_kv(model->store, &kv, err));
    ti_require(ti_txn_kv(txn) == kv);
    ti_schema *relied = ti_catalog_relied(model->store, model->table, txn);
    if (relied != NULL) {
        TI_TRY(plan_under(model, relied, plan_out, &unregistered, err));
        if (!unregistered)
            return TI_OK;
    }
    TI_CHECK(ti_catalog_current(model->store, model->table, &schema, &read_at, call, err));
    TI_CHECK(plan_under(model, schema, plan_out, &unregistered, err));
    if (unregistered) {
        ti_schema_unref(schema);
        schema = NULL;
        TI_CHECK(ti_model_register(model, NULL, call, err));
        TI_CHECK(ti_catalog_current(model->store, model->table, &schema, &read_at, call, err));
        TI_CHECK(plan_under(model, schema, plan_out, &unregistered, err));
        if (unregistered) { /* dropped in between */
            status =
                ti_err_set(err, TI_CONFLICT, "the indexes of table \"%.*s\" have changed meanwhile",
                           (int)model->table.len, model->table.data);
            goto out;
        }
    }
    TI_CHECK(ti_catalog_rely(model->store, model->table, txn, schema, read_at, err));
out:
    ti_schema_unref(schema);
    if (status != TI_OK) {
        ti_plan_unref(*plan_out);
        *plan_out = NULL;
    }
    return status;
}

/* ---- reading ---- */

/* Why an index can not be read: with the progress that the row has now. */
static ti_status not_readable(const ti_model *model, ti_txn *txn, ti_slice name,
                              const ti_call *call, ti_err *err)
{
    ti_schema *fresh = NULL;
    char ids[400] = "";
    size_t at = 0;
    TI_TRY(ti_catalog_load(model->store, model->table, txn, &fresh, call, err));
    const ti_schema_index *index = ti_schema_find(fresh, name, 0);
    for (size_t i = 0; index != NULL && i < index->duplicate_count && at + 48 < sizeof ids; i++)
        at += (size_t)snprintf(ids + at, sizeof ids - at, "%s%.*s", i > 0 ? ", " : "",
                               (int)(index->duplicates[i].len > 40 ? 40 : index->duplicates[i].len),
                               index->duplicates[i].data);
    if (index == NULL || index->state == TI_INDEX_ABSENT)
        ti_err_set(err, TI_SCHEMA_MISMATCH,
                   "index \"%.*s\" of table \"%.*s\" is new: run reindex to fill it", (int)name.len,
                   name.data, (int)model->table.len, model->table.data);
    else if (index->state == TI_INDEX_FAILED)
        ti_err_set(err, TI_SCHEMA_MISMATCH,
                   "unique index \"%.*s\" of table \"%.*s\" could not be filled: records with "
                   "equal values: %s",
                   (int)name.len, name.data, (int)model->table.len, model->table.data, ids);
    else
        ti_err_set(
            err, TI_SCHEMA_MISMATCH,
            "index \"%.*s\" of table \"%.*s\" is not readable yet: reindex has done %llu records",
            (int)name.len, name.data, (int)model->table.len, model->table.data,
            (unsigned long long)index->done);
    ti_schema_unref(fresh);
    return ti_err_of(model, name, TI_SCHEMA_MISMATCH, err);
}

ti_status ti_model_readable(const ti_model *model, ti_txn *txn, ti_slice name,
                            const ti_schema *schema, ti_ts s, const ti_schema_index **index_out,
                            const ti_call *call, ti_err *err)
{
    const ti_index_def *declared = ti_model_index(model, name);
    bool equal = true;
    ti_require(declared != NULL);
    *index_out = NULL;
    if (!schema->exists)
        return TI_NOT_FOUND;
    const ti_schema_index *index = ti_schema_find(schema, name, declared->version);
    if (index != NULL)
        TI_TRY(ti_index_def_equal(&index->def, declared, &equal, err));
    if (!equal)
        return mismatch(model, declared, err);
    const ti_schema_index *highest = ti_schema_find(schema, name, 0);
    if ((index == NULL || index->state != TI_INDEX_READABLE) && highest != NULL &&
        highest->def.version > declared->version)
        index = highest;
    if (index == NULL || index->state != TI_INDEX_READABLE)
        return not_readable(model, txn, name, call, err);
    if (index->since > s) {
        ti_err_set(err, TI_CONFLICT,
                   "index \"%.*s\" of table \"%.*s\" became readable after this transaction began",
                   (int)name.len, name.data, (int)model->table.len, model->table.data);
        return ti_err_of(model, name, TI_CONFLICT, err);
    }
    *index_out = index;
    return TI_OK;
}

/* ---- some of the indexes ---- */

ti_status ti_plan_some(ti_model *model, ti_schema *schema, ti_plan_filter keep, void *context,
                       ti_plan **plan_out, ti_err *err)
{
    *plan_out = NULL;
    ti_plan *plan = ti_alloc_zero(sizeof *plan + schema->index_count * sizeof plan->indexes[0]);
    if (plan == NULL)
        return ti_err_no_memory(err);
    atomic_store(&plan->refs, 1);
    plan->schema = ti_schema_ref(schema);
    for (size_t i = 0; i < schema->index_count; i++) {
        const ti_schema_index *stored = &schema->indexes[i];
        ti_plan_index index = {.stored = stored, .condition_bit = -1};
        if (!keep(model, stored, context))
            continue;
        if (stored->def.condition == TI_CONDITION_HOST)
            index.condition_bit =
                model->condition_bits[ti_model_index(model, stored->def.name) - model->indexes];
        insert_sorted(plan, index);
    }
    *plan_out = plan;
    return TI_OK;
}

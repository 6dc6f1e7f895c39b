/* One batch of a reindex: read, (ask the host), write entries, commit. See reindex.c.
 *
 *   conflict ──> the batch is given up, the next one is half as large, down to one record;
 *                success doubles it again
 *
 * Threads: one at a time. */
#include <string.h>

#include "base/assert.h"
#include "model/reindex_int.h"

#define CONFLICT_SLEEP_US 2000
#define CONFLICT_SLEEP_US_MAX 200000

void ti_reindex_end_batch(ti_reindex *r)
{
    ti_txn_free(r->txn);
    r->txn = NULL;
    ti_plan_unref(r->plan);
    r->plan = NULL;
    ti_schema_unref(r->schema);
    r->schema = NULL;
    r->todo_keys = NULL;
    r->todo_count = 0;
    ti_steps_clear(&r->base);
}

static bool asks_host(const ti_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->indexes[i].stored->def.condition == TI_CONDITION_HOST)
            return true;
    }
    return false;
}

static void next_phase(ti_reindex *r)
{
    bool host = asks_host(r->plan);
    switch (r->at) {
    case TI_REINDEX_SCAN:
        r->at = host ? TI_REINDEX_DRAIN : TI_REINDEX_FLIP;
        break;
    case TI_REINDEX_DRAIN:
        r->at = TI_REINDEX_SEAL;
        break;
    default:
        r->at = TI_REINDEX_FLIP;
        break;
    }
}

/* ---- reading ---- */

/* Where the scan goes on: behind the least cursor of what is not scanned. false: all is scanned. */
static bool scan_from(const ti_reindex *r, ti_slice *after_out)
{
    bool any = false;
    *after_out = TI_SLICE_NONE;
    for (size_t i = 0; i < r->plan->count; i++) {
        const ti_schema_index *index = r->plan->indexes[i].stored;
        if (index->scanned)
            continue;
        if (!any || ti_slice_compare(index->cursor, *after_out) < 0)
            *after_out = index->cursor;
        any = true;
    }
    return any;
}

/* index_todo rows of the first index that has some: their keys, and the records they name. */
static ti_status read_todo(ti_reindex *r, const ti_call *call, ti_err *err)
{
    ti_steps *steps = &r->base;
    ti_arena *a = &steps->s->arena;
    const ti_keyspace *ks = &steps->model->store->keyspace;
    for (size_t i = 0; i < r->plan->count && r->todo_count == 0; i++) {
        const ti_schema_index *index = r->plan->indexes[i].stored;
        ti_key_range span;
        ti_scan_page page;
        TI_TRY(ti_key_span(ks, a, TI_SPAN_INDEX_TODO, steps->model->table, index->stored_name,
                           &span, err));
        const ti_scan scan = {
            .range = {.from = span.lo, .to = span.hi}, .keys_only = true, .items_max = r->batch};
        TI_TRY(ti_txn_scan(r->txn, &scan, a, &page, call, err));
        ti_slice *ids = ti_arena_alloc(a, (page.count + 1) * sizeof *ids);
        r->todo_keys = ti_arena_alloc(a, (page.count + 1) * sizeof *r->todo_keys);
        if (ids == NULL || r->todo_keys == NULL)
            return ti_err_no_memory(err);
        for (size_t k = 0; k < page.count; k++) {
            ti_key_parts parts;
            r->todo_keys[k] = page.pairs[k].key;
            ti_require(ti_key_parse(ks, page.pairs[k].key, &parts) &&
                       parts.kind == TI_KEY_INDEX_TODO);
            ids[k] = parts.id;
        }
        r->todo_count = page.count;
        TI_TRY(ti_steps_read_ids(steps, r->txn, ids, page.count, call, err));
    }
    return TI_OK;
}

/* Opens a batch; nothing_out: the phase has nothing left. */
static ti_status open_batch(ti_reindex *r, bool *nothing_out, const ti_call *call, ti_err *err)
{
    ti_steps *steps = &r->base;
    ti_model *model = steps->model;
    ti_slice after;
    TI_TRY(ti_txn_begin(model->store->kv, NULL, &r->txn, err));
    TI_TRY(ti_catalog_load(model->store, model->table, r->txn, &r->schema, call, err));
    if (!ti_reindex_owns(r, r->schema))
        return ti_reindex_lost(r, err);
    TI_TRY(ti_plan_some(model, r->schema, ti_reindex_target, r->schema, &r->plan, err));
    *nothing_out = r->plan->count == 0;
    r->more = false;
    if (*nothing_out)
        return TI_OK;
    if (r->at == TI_REINDEX_SCAN) {
        *nothing_out = !scan_from(r, &after);
        return *nothing_out ? TI_OK
                            : ti_steps_read(steps, r->txn, after, r->batch, &r->more, call, err);
    }
    TI_TRY(read_todo(r, call, err));
    *nothing_out = r->todo_count == 0;
    return TI_OK;
}

/* ---- duplicates ---- */

static ti_status add_duplicate(ti_reindex *r, ti_schema_index *index, ti_slice id, ti_err *err)
{
    for (size_t i = 0; i < index->duplicate_count; i++) {
        if (ti_slice_equal(index->duplicates[i], id))
            return TI_OK;
    }
    if (index->duplicate_count == TI_REINDEX_DUPLICATES_MAX)
        return TI_OK;
    ti_slice copy = ti_arena_copy(&r->schema->arena, id);
    if (copy.data == NULL)
        return ti_err_no_memory(err);
    index->duplicates[index->duplicate_count++] = copy;
    return TI_OK;
}

/* Takes entries that another record holds out of the set, and notes both records. */
static ti_status leave_duplicates(ti_reindex *r, const ti_steps_record *record, ti_entry_set *set,
                                  const ti_call *call, ti_err *err)
{
    ti_arena *a = &r->base.s->arena;
    size_t kept = 0;
    for (size_t i = 0; i < set->count; i++) {
        const ti_entry *entry = &set->entries[i];
        const ti_schema_index *stored = ti_schema_find(r->schema, entry->index, entry->version);
        bool leave = false;
        if (entry->kind == TI_ENTRY_UNIQUE && ti_reindex_target(r->base.model, stored, r->schema)) {
            ti_slice key;
            ti_slice value;
            ti_slice owner;
            TI_TRY(
                ti_entry_key(r->base.model, entry, stored->stored_name, record->id, a, &key, err));
            ti_status status = ti_txn_get(r->txn, key, a, &value, call, err);
            if (status == TI_OK) {
                TI_TRY(ti_sealed_open(value, TI_SEALED_UNIQUE, key, &owner, err));
                leave = !ti_slice_equal(owner, record->id);
            } else if (status != TI_NOT_FOUND) {
                return status;
            }
            if (leave) {
                ti_schema_index *index = &r->schema->indexes[stored - r->schema->indexes];
                TI_TRY(add_duplicate(r, index, owner, err));
                TI_TRY(add_duplicate(r, index, record->id, err));
            }
        }
        if (!leave)
            set->entries[kept++] = *entry;
    }
    set->count = kept;
    return TI_OK;
}

/* ---- writing ---- */

static ti_status name_record(const ti_reindex *r, const ti_steps_record *record, ti_status status,
                             ti_err *err)
{
    if (err == NULL || status == TI_OUT_OF_MEMORY)
        return status;
    ti_err cause = *err;
    ti_err_set(err, status, "record \"%.*s\": %s",
               (int)(record->id.len > 200 ? 200 : record->id.len), record->id.data, cause.message);
    return ti_err_of(r->base.model, ti_slice_of(cause.index), status, err);
}

static ti_status fill_record(ti_reindex *r, const ti_steps_record *record, const ti_call *call,
                             ti_err *err)
{
    ti_steps *steps = &r->base;
    if (record->value.data == NULL)
        return TI_OK;
    if (!record->readable) {
        ti_err_set(err, TI_CORRUPT, "it can not be read; run check");
        return name_record(r, record, TI_CORRUPT, err);
    }
    ti_put put = {.model = steps->model,
                  .plan = r->plan,
                  .txn = r->txn,
                  .s = steps->s,
                  .id = record->id,
                  .key = record->key,
                  .old = &record->record,
                  .document = record->record.document,
                  .version = record->record.version,
                  .rewrite = TI_REWRITE_PLAN};
    ti_status status = ti_steps_entries(steps, r->plan, record, &put.after, err);
    if (status != TI_OK)
        return name_record(r, record, status, err);
    TI_TRY(leave_duplicates(r, record, &put.after, call, err));
    TI_TRY(ti_entry_set_of(&record->record, &steps->s->arena, &put.before, err));
    return ti_put_apply(&put, call, err);
}

static void note_progress(ti_reindex *r)
{
    const ti_steps *steps = &r->base;
    if (r->at != TI_REINDEX_SCAN)
        return;
    for (size_t i = 0; i < r->plan->count; i++) {
        ti_schema_index *index =
            &r->schema->indexes[r->plan->indexes[i].stored - r->schema->indexes];
        if (index->scanned)
            continue;
        if (steps->record_count > 0)
            index->cursor = steps->records[steps->record_count - 1].id;
        index->done += steps->record_count;
        index->scanned = !r->more;
    }
}

static ti_status write_batch(ti_reindex *r, const ti_call *call, ti_err *err)
{
    ti_steps *steps = &r->base;
    ti_ts now;
    for (size_t i = 0; i < steps->record_count; i++)
        TI_TRY(fill_record(r, &steps->records[i], call, err));
    for (size_t i = 0; i < r->todo_count; i++)
        TI_TRY(ti_txn_delete(r->txn, r->todo_keys[i], err));
    note_progress(r);
    TI_TRY(ti_kv_now(steps->model->store->kv, &now, call, err));
    TI_TRY(ti_reindex_renew(r, r->schema, now, err));
    TI_TRY(ti_catalog_store_row(steps->model->store, steps->model->table, r->txn, r->schema, err));
    return ti_txn_commit(r->txn, NULL, call, err);
}

/* ---- the batch as a whole ---- */

static bool is_conflict(ti_status status)
{
    ti_status_class class = ti_status_class_of(status);
    return class == TI_CLASS_CONFLICT || class == TI_CLASS_TRANSIENT ||
           status == TI_ALREADY_EXISTS ||
           status == TI_UNIQUE_VIOLATION; /* somebody claimed a value after our snapshot */
}

static ti_status after_conflict(ti_reindex *r, ti_status status, const ti_call *call, ti_err *err)
{
    const ti_env *env = ti_store_env(r->base.model->store);
    ti_reindex_end_batch(r);
    if (++r->conflicts > TI_RETRY_ATTEMPTS_MAX)
        return status;
    TI_TRY(ti_call_check(call, "reindex", err));
    if (r->batch == 1) {
        int64_t us = (int64_t)CONFLICT_SLEEP_US * r->conflicts;
        env->sleep_ns(env, (us < CONFLICT_SLEEP_US_MAX ? us : CONFLICT_SLEEP_US_MAX) * 1000);
    }
    r->batch = r->batch > 1 ? r->batch / 2 : 1;
    return TI_OK;
}

static ti_status commit_batch(ti_reindex *r, const ti_call *call, ti_err *err)
{
    ti_err spare;
    if (err == NULL)
        err = &spare;
    ti_status status = write_batch(r, call, err);
    if (is_conflict(status))
        return after_conflict(r, status, call, err);
    TI_TRY(status);
    r->done += r->at == TI_REINDEX_SCAN ? r->base.record_count : 0;
    r->conflicts = 0;
    r->batch = r->batch * 2 < r->batch_max ? r->batch * 2 : r->batch_max;
    ti_reindex_end_batch(r);
    return TI_OK;
}

ti_status ti_reindex_batch(ti_reindex *r, ti_step *step_out, const ti_call *call, ti_err *err)
{
    bool nothing = false;
    bool asked = false;
    if (r->txn != NULL)
        return commit_batch(r, call, err);
    TI_TRY(open_batch(r, &nothing, call, err));
    if (nothing) {
        next_phase(r);
        ti_reindex_end_batch(r);
        return TI_OK;
    }
    if (asks_host(r->plan))
        TI_TRY(ti_steps_ask(&r->base, &asked, err));
    if (asked) {
        *step_out = TI_STEP_HOST;
        return TI_OK;
    }
    return commit_batch(r, call, err);
}

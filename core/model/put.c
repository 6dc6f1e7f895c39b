/* One record and its entries, from what is stored to what shall be.
 *
 *   before (the record's own list)   [a b c   ]      a: gone, deleted
 *   after  (extracted)               [  b c d ]      b, c: stay, written only when their value
 *                                                    depends on the document
 *                                                    d: new, put or inserted
 *
 * INVARIANTS
 *  1. What is removed comes from the record's list, never from today's definitions.
 *  2. Entries of an index in state absent are neither written nor deleted: whoever drops it deletes
 *     them. Entries of an index that the schema does not know are deleted: another process may have
 *     written them under a newer one.
 *  3. An entry of a unique index is deleted only where the transaction's view holds this record's
 *     id.
 *
 * Threads: one, that of the transaction. */
#include "base/assert.h"
#include "model/model_int.h"

#define UNIQUE_BATCH 64

/* ---- keys and values ---- */

ti_status ti_entry_key(const ti_model *model, const ti_entry *entry, ti_slice stored_name,
                       ti_slice id, ti_arena *a, ti_slice *key_out, ti_err *err)
{
    const ti_keyspace *ks = &model->store->keyspace;
    *key_out = entry->kind == TI_ENTRY_UNIQUE
                   ? ti_key_unique(ks, a, model->table, stored_name, entry->tuple)
                   : ti_key_index(ks, a, model->table, stored_name, entry->tuple, id);
    ti_status status = ti_key_check(*key_out, "an index key", err);
    return status == TI_OK ? TI_OK : ti_err_of(model, entry->index, status, err);
}

ti_status ti_entry_value(ti_slice key, const ti_schema_index *index, const ti_entry *run,
                         size_t run_count, ti_slice id, uint64_t version, ti_slice document,
                         ti_buf *value, ti_err *err)
{
    ti_assert(run_count > 0);
    ti_buf_clear(value);
    if (index->def.unique)
        return ti_sealed_append(value, TI_SEALED_UNIQUE, key, id, err);
    if (!index->def.covering)
        return ti_buf_append_slice(value, run_count == 1 ? ti_marker() : ti_marker_several(), err);
    /* a record of its own under the entry's key, with the entries of this index alone */
    const ti_record_spec spec = {
        .version = version, .entries = run, .entry_count = run_count, .document = document};
    return ti_record_append(value, key, &spec, err);
}

/* ---- removing ---- */

typedef struct gone {
    ti_slice keys[UNIQUE_BATCH];
    size_t count;
} gone;

/* Deletes collected entries of unique indexes where this record holds them. */
static ti_status delete_held(ti_put *put, gone *g, const ti_call *call, ti_err *err)
{
    ti_slice values[UNIQUE_BATCH];
    if (g->count == 0)
        return TI_OK;
    TI_TRY(ti_txn_batch_get(put->txn, g->keys, g->count, &put->s->arena, values, call, err));
    for (size_t i = 0; i < g->count; i++) {
        ti_slice owner;
        if (values[i].data == NULL)
            continue;
        TI_TRY(ti_sealed_open(values[i], TI_SEALED_UNIQUE, g->keys[i], &owner, err));
        if (ti_slice_equal(owner, put->id))
            TI_TRY(ti_txn_delete(put->txn, g->keys[i], err));
    }
    g->count = 0;
    return TI_OK;
}

static ti_status remove_entry(ti_put *put, const ti_entry *entry, gone *g, const ti_call *call,
                              ti_err *err)
{
    const ti_schema_index *index = ti_schema_find(put->plan->schema, entry->index, entry->version);
    bool unique = entry->kind == TI_ENTRY_UNIQUE;
    if (index != NULL && index->state == TI_INDEX_ABSENT)
        return TI_OK;
    ti_slice key;
    ti_slice stored_name = ti_index_name(&put->s->arena, entry->index, entry->version);
    if (stored_name.data == NULL)
        return ti_err_no_memory(err);
    TI_TRY(ti_entry_key(put->model, entry, stored_name, put->id, &put->s->arena, &key, err));
    if (!unique)
        return ti_txn_delete(put->txn, key, err);
    if (g->count == UNIQUE_BATCH)
        TI_TRY(delete_held(put, g, call, err));
    g->keys[g->count++] = key;
    return TI_OK;
}

static ti_status remove_gone(ti_put *put, const ti_call *call, ti_err *err)
{
    gone g = {.count = 0};
    size_t after = 0;
    for (size_t i = 0; i < put->before.count; i++) {
        const ti_entry *entry = &put->before.entries[i];
        while (after < put->after.count && ti_entry_compare(&put->after.entries[after], entry) < 0)
            after++;
        if (after < put->after.count && ti_entry_compare(&put->after.entries[after], entry) == 0)
            continue;
        TI_TRY(remove_entry(put, entry, &g, call, err));
    }
    return delete_held(put, &g, call, err);
}

/* ---- writing ---- */

/* Claims a unique entry; in a rewrite it may be held already. */
static ti_status claim(ti_put *put, ti_slice key, const ti_call *call, ti_err *err)
{
    ti_slice value;
    ti_slice owner;
    if (put->rewrite != TI_REWRITE_NONE) {
        ti_status status = ti_txn_get(put->txn, key, &put->s->arena, &value, call, err);
        if (status == TI_OK) {
            TI_TRY(ti_sealed_open(value, TI_SEALED_UNIQUE, key, &owner, err));
            if (ti_slice_equal(owner, put->id))
                return TI_OK;
        } else if (status != TI_NOT_FOUND) {
            return status;
        }
    }
    return ti_txn_insert(put->txn, key, ti_buf_slice(&put->s->value), err);
}

/* What the record's list said of one index. */
typedef struct earlier {
    const ti_entry *entries;
    size_t count;
} earlier;

static earlier entries_before(const ti_put *put, const ti_entry *like)
{
    for (size_t i = 0; i < put->before.count;) {
        size_t run = ti_entry_run(&put->before, i);
        const ti_entry *e = &put->before.entries[i];
        if (e->kind == like->kind && e->version == like->version &&
            ti_slice_equal(e->index, like->index))
            return (earlier){.entries = e, .count = run};
        i += run;
    }
    return (earlier){.entries = NULL, .count = 0};
}

/* Moves *at_io forward to entry; true when it is there. */
static bool was_there(const earlier *before, const ti_entry *entry, size_t *at_io)
{
    while (*at_io < before->count && ti_entry_compare(&before->entries[*at_io], entry) < 0)
        ++*at_io;
    return *at_io < before->count && ti_entry_compare(&before->entries[*at_io], entry) == 0;
}

static bool plan_has(const ti_plan *plan, const ti_schema_index *stored)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->indexes[i].stored == stored)
            return true;
    }
    return false;
}

/* Whether entries are written also where the record's list has them already. */
static bool writes_all(const ti_put *put, const ti_schema_index *index, size_t before, size_t now)
{
    if (put->rewrite != TI_REWRITE_NONE)
        return put->rewrite == TI_REWRITE_ALL || plan_has(put->plan, index);
    /* a covering entry holds the document; a marker says whether it is alone */
    return index->def.covering || (!index->def.unique && (before > 1) != (now > 1));
}

static ti_status write_run(ti_put *put, const ti_entry *run, size_t count, const ti_call *call,
                           ti_err *err)
{
    const ti_schema_index *index = ti_schema_find(put->plan->schema, run->index, run->version);
    ti_require(index != NULL && index->state != TI_INDEX_ABSENT);
    earlier before = entries_before(put, run);
    bool all = writes_all(put, index, before.count, count);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (was_there(&before, &run[i], &at) && !all)
            continue;
        ti_slice key;
        TI_TRY(ti_entry_key(put->model, &run[i], index->stored_name, put->id, &put->s->arena, &key,
                            err));
        TI_TRY(ti_entry_value(key, index, run, count, put->id, put->version, put->document,
                              &put->s->value, err));
        if (index->def.unique)
            TI_TRY(claim(put, key, call, err));
        else
            TI_TRY(ti_txn_put(put->txn, key, ti_buf_slice(&put->s->value), err));
    }
    return TI_OK;
}

static ti_status write_entries(ti_put *put, const ti_call *call, ti_err *err)
{
    for (size_t i = 0; i < put->after.count;) {
        size_t run = ti_entry_run(&put->after, i);
        TI_TRY(write_run(put, &put->after.entries[i], run, call, err));
        i += run;
    }
    return TI_OK;
}

/* Rows for indexes whose condition is not known here: reindex evaluates them. */
static ti_status write_todo(ti_put *put, ti_err *err)
{
    for (size_t i = 0; i < put->plan->count; i++) {
        const ti_plan_index *index = &put->plan->indexes[i];
        if (!index->todo)
            continue;
        ti_slice key = ti_key_index_todo(&put->model->store->keyspace, &put->s->arena,
                                         put->model->table, index->stored->stored_name, put->id);
        TI_TRY(ti_key_check(key, "an index_todo key", err));
        TI_TRY(ti_txn_put(put->txn, key, ti_marker(), err));
    }
    return TI_OK;
}

static bool same_entries(const ti_entry_set *left, const ti_entry_set *right)
{
    bool same = left->count == right->count;
    for (size_t i = 0; same && i < left->count; i++)
        same = ti_entry_compare(&left->entries[i], &right->entries[i]) == 0;
    return same;
}

static ti_status write_record(ti_put *put, ti_err *err)
{
    if (put->rewrite != TI_REWRITE_NONE && same_entries(&put->before, &put->after))
        return ti_txn_lock(put->txn, put->key, err);
    const ti_record_spec spec = {.version = put->version,
                                 .entries = put->after.entries,
                                 .entry_count = put->after.count,
                                 .document = put->document};
    ti_buf_clear(&put->s->value);
    TI_TRY(ti_record_append(&put->s->value, put->key, &spec, err));
    if (put->insert)
        return ti_txn_insert(put->txn, put->key, ti_buf_slice(&put->s->value), err);
    return ti_txn_put(put->txn, put->key, ti_buf_slice(&put->s->value), err);
}

ti_status ti_put_apply(ti_put *put, const ti_call *call, ti_err *err)
{
    ti_assert(put->id.len > 0);
    ti_assert(!put->insert || put->old == NULL);
    if (put->document.len == 0) {
        ti_assert(put->after.count == 0);
        TI_TRY(ti_txn_delete(put->txn, put->key, err));
        return remove_gone(put, call, err);
    }
    TI_TRY(write_record(put, err));
    TI_TRY(remove_gone(put, call, err));
    TI_TRY(write_entries(put, call, err));
    return write_todo(put, err);
}

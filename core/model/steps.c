/* The machines' common part. See steps_int.h. */
#include "base/assert.h"
#include "model/steps_int.h"

/* ---- life ---- */

ti_status ti_steps_init(ti_steps *steps, const ti_steps_vt *vt, ti_model *model, ti_err *err)
{
    TI_TRY(ti_store_take(model->store, &steps->s, err));
    steps->vt = vt;
    steps->model = ti_model_ref(model);
    ti_buf_init(&steps->json, TI_DOCUMENT_SIZE_MAX);
    return TI_OK;
}

void ti_steps_free(ti_steps *steps)
{
    if (steps == NULL)
        return;
    steps->vt->close(steps);
    ti_store_give(steps->model->store, steps->s);
    ti_model_unref(steps->model);
    ti_buf_free(&steps->json);
    ti_free(steps);
}

void ti_steps_clear(ti_steps *steps)
{
    steps->records = NULL;
    steps->record_count = 0;
    steps->waiting = false;
    steps->waiting_count = 0;
    ti_arena_reset(&steps->s->arena);
}

/* ---- the host's part ---- */

ti_status ti_steps_ask(ti_steps *steps, bool *asked_out, ti_err *err)
{
    *asked_out = false;
    steps->waiting_count = 0;
    steps->waiting_index =
        ti_arena_alloc(&steps->s->arena, (steps->record_count + 1) * sizeof *steps->waiting_index);
    if (steps->waiting_index == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < steps->record_count; i++) {
        if (steps->records[i].readable)
            steps->waiting_index[steps->waiting_count++] = i;
    }
    steps->waiting = steps->waiting_count > 0;
    *asked_out = steps->waiting;
    return TI_OK;
}

size_t ti_steps_count(const ti_steps *steps)
{
    return steps->waiting ? steps->waiting_count : 0;
}

ti_slice ti_steps_document(const ti_steps *steps, size_t i)
{
    if (i >= ti_steps_count(steps))
        return TI_SLICE_NONE;
    return steps->records[steps->waiting_index[i]].draft.json;
}

ti_status ti_steps_reply(ti_steps *steps, size_t i, uint64_t conditions, ti_err *err)
{
    if (i >= ti_steps_count(steps))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "no document %zu waits for a reply", i);
    ti_steps_record *record = &steps->records[steps->waiting_index[i]];
    record->conditions = conditions;
    record->replied = true;
    return TI_OK;
}

static ti_status all_replied(ti_steps *steps, ti_err *err)
{
    for (size_t i = 0; i < ti_steps_count(steps); i++) {
        if (!steps->records[steps->waiting_index[i]].replied)
            return ti_err_set(err, TI_INVALID_STATE, "document %zu of %zu waits for a reply", i,
                              steps->waiting_count);
    }
    steps->waiting = false;
    return TI_OK;
}

ti_status ti_steps_next(ti_steps *steps, ti_step *step_out, ti_slice *json_out, const ti_call *call,
                        ti_err *err)
{
    ti_json_writer w;
    *step_out = TI_STEP_DONE;
    *json_out = TI_SLICE_NONE;
    if (steps->failed || steps->finished)
        return ti_err_set(err, TI_INVALID_STATE, "this work has ended");
    TI_TRY(all_replied(steps, err));
    ti_buf_clear(&steps->json);
    ti_json_writer_init(&w, &steps->json, err);
    ti_json_write_object_begin(&w);
    ti_status status = steps->vt->next(steps, step_out, &w, call, err);
    steps->failed = status != TI_OK;
    if (status != TI_OK)
        return status;
    ti_json_write_object_end(&w);
    TI_TRY(ti_json_writer_end(&w));
    steps->finished = *step_out == TI_STEP_DONE;
    *json_out = ti_buf_slice(&steps->json);
    return TI_OK;
}

/* ---- reading records ---- */

/* Fills record and draft; a value that can not be read leaves readable false. */
static ti_status open_record(ti_steps *steps, ti_steps_record *record, ti_err *err)
{
    ti_err ignored;
    record->readable = false;
    if (record->value.data == NULL)
        return TI_OK;
    ti_status status = ti_record_open(record->value, record->key, &record->record, &ignored);
    if (status == TI_OK)
        status = ti_shape_stored(steps->model, steps->s, record->record.document, record->id,
                                 &record->draft, &ignored);
    if (status == TI_OUT_OF_MEMORY)
        return ti_err_no_memory(err);
    record->readable = status == TI_OK;
    return TI_OK;
}

ti_status ti_steps_read(ti_steps *steps, ti_txn *txn, ti_slice after, size_t count, bool *more_out,
                        const ti_call *call, ti_err *err)
{
    ti_arena *a = &steps->s->arena;
    const ti_keyspace *ks = &steps->model->store->keyspace;
    ti_key_range span;
    ti_scan_page page;
    TI_TRY(ti_key_span(ks, a, TI_SPAN_RECORDS, steps->model->table, TI_SLICE_NONE, &span, err));
    ti_scan scan = {.range = {.from = span.lo, .to = span.hi},
                    .items_max = count,
                    .size_max = STEPS_BATCH_SIZE};
    if (after.len > 0) {
        ti_slice key = ti_key_record(ks, a, steps->model->table, after);
        scan.range.from = key.data == NULL ? key : ti_key_after(a, key);
        if (scan.range.from.data == NULL)
            return ti_err_no_memory(err);
    }
    TI_TRY(ti_txn_scan(txn, &scan, a, &page, call, err));
    steps->records = ti_arena_alloc_zero(a, (page.count + 1) * sizeof *steps->records);
    if (steps->records == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < page.count; i++) {
        ti_steps_record *record = &steps->records[i];
        record->key = page.pairs[i].key;
        record->value = page.pairs[i].value;
        record->id = (ti_slice){.data = record->key.data + span.lo.len,
                                .len = record->key.len - span.lo.len};
        TI_TRY(open_record(steps, record, err));
        steps->record_count++;
    }
    *more_out = page.more && page.count > 0;
    return TI_OK;
}

ti_status ti_steps_read_ids(ti_steps *steps, ti_txn *txn, const ti_slice *ids, size_t count,
                            const ti_call *call, ti_err *err)
{
    ti_arena *a = &steps->s->arena;
    ti_slice *keys = ti_arena_alloc(a, (count + 1) * sizeof *keys);
    ti_slice *values = ti_arena_alloc(a, (count + 1) * sizeof *values);
    steps->records = ti_arena_alloc_zero(a, (count + 1) * sizeof *steps->records);
    if (keys == NULL || values == NULL || steps->records == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        keys[i] = ti_key_record(&steps->model->store->keyspace, a, steps->model->table, ids[i]);
        if (keys[i].data == NULL)
            return ti_err_no_memory(err);
    }
    TI_TRY(ti_txn_batch_get(txn, keys, count, a, values, call, err));
    for (size_t i = 0; i < count; i++) {
        ti_steps_record *record = &steps->records[i];
        *record = (ti_steps_record){.id = ids[i], .key = keys[i], .value = values[i]};
        TI_TRY(open_record(steps, record, err));
        steps->record_count++;
    }
    return TI_OK;
}

/* ---- entries under some of the indexes ---- */

bool ti_plan_knows(const ti_model *model, const ti_schema_index *index)
{
    if (index->def.condition != TI_CONDITION_HOST)
        return true;
    const ti_index_def *declared = ti_model_index(model, index->def.name);
    return declared != NULL && declared->version == index->def.version &&
           declared->condition == TI_CONDITION_HOST;
}

ti_status ti_steps_count_page(ti_steps *steps, const ti_key_range *range, ti_buf *from,
                              uint64_t *count_io, bool *more_out, const ti_call *call, ti_err *err)
{
    static const ti_txn_options options = {.read_only = true};
    ti_txn *txn = NULL;
    ti_scan_page page;
    ti_status status;
    ti_scan scan = {.range = {.from = range->lo, .to = range->hi},
                    .keys_only = true,
                    .items_max = TI_PAGE_ITEMS_MAX};
    if (from->len > 0)
        scan.range.from = ti_buf_slice(from);
    *more_out = false;
    TI_CHECK(ti_txn_begin(steps->model->store->kv, &options, &txn, err));
    TI_CHECK(ti_txn_scan(txn, &scan, &steps->s->arena, &page, call, err));
    *count_io += page.count;
    ti_buf_clear(from);
    if (page.more && page.count > 0) {
        *more_out = true;
        TI_CHECK(ti_buf_append_slice(from, page.pairs[page.count - 1].key, err));
        TI_CHECK(ti_buf_append_byte(from, 0, err)); /* the key after it */
    }
out:
    ti_txn_free(txn);
    ti_steps_clear(steps);
    return status;
}

static bool plan_has(const ti_plan *plan, const ti_entry *entry)
{
    for (size_t i = 0; i < plan->count; i++) {
        const ti_index_def *def = &plan->indexes[i].stored->def;
        if (def->version == entry->version && ti_slice_equal(def->name, entry->index))
            return true;
    }
    return false;
}

ti_status ti_steps_entries(ti_steps *steps, const ti_plan *plan, const ti_steps_record *record,
                           ti_entry_set *set_out, ti_err *err)
{
    ti_arena *a = &steps->s->arena;
    ti_entry_set listed;
    ti_entry_set made;
    TI_TRY(ti_entry_set_of(&record->record, a, &listed, err));
    TI_TRY(ti_extract(steps->model, plan, ti_json_root(&record->draft.doc), record->conditions, a,
                      &steps->s->tuples, &made, err));
    ti_entry *all = ti_arena_alloc(a, (listed.count + made.count + 1) * sizeof *all);
    if (all == NULL)
        return ti_err_no_memory(err);
    size_t n = 0;
    size_t m = 0;
    for (size_t i = 0; i < listed.count; i++) {
        const ti_entry *entry = &listed.entries[i];
        const ti_schema_index *index = ti_schema_find(plan->schema, entry->index, entry->version);
        if (plan_has(plan, entry) || index == NULL || index->state == TI_INDEX_ABSENT)
            continue;
        while (m < made.count && ti_entry_compare(&made.entries[m], entry) < 0)
            all[n++] = made.entries[m++];
        all[n++] = *entry;
    }
    while (m < made.count)
        all[n++] = made.entries[m++];
    *set_out = (ti_entry_set){.entries = all, .count = n};
    return TI_OK;
}

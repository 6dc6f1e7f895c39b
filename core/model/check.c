/* Check: every record against its entries, both ways. See maintenance.h. This file: the machine.
 *
 *   (counting) ──> RECORDS ──> ENTRIES ──> UNIQUES ──> done
 *
 *   A batch reads everything it compares in one snapshot, so concurrent writers make no findings.
 * Repairs are transactions of their own, which look again before they change anything.
 *
 * INVARIANTS
 *  1. Memory is bounded by one batch; nothing is kept between batches but a place.
 *  2. A record is never changed but in its list, and never removed.
 *
 * Threads: one at a time. */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/assert.h"
#include "codec/cursor.h"
#include "model/check_int.h"

#define PHASE_FIRST '0' /* a cursor's key: this and the phase, then where it goes on */

static const char *const phase_names[] = {"records", "entries", "uniques", "done"};
static const char *const kind_names[] = {"record_corrupt", "record_unreadable", "list_stale",
                                         "entry_missing",  "entry_stale",       "entry_extra",
                                         "unique_owner",   "key_foreign"};

static_assert(offsetof(ti_check, base) == 0, "a check is a ti_steps");

/* ---- findings ---- */

static void member(ti_json_writer *w, const char *key, ti_slice text)
{
    ti_json_write_key(w, ti_slice_of(key));
    if (ti_slice_is_utf8(text))
        ti_json_write_string(w, text);
    else
        ti_json_write_string(w, TI_SLICE("(not UTF-8)"));
}

ti_status ti_check_tell(ti_check *c, const ti_finding *finding, ti_err *err)
{
    (void)err;
    c->found++;
    c->repaired += finding->repaired ? 1 : 0;
    if (c->told++ >= TI_CHECK_FINDINGS_MAX)
        return TI_OK;
    ti_json_write_object_begin(c->w);
    member(c->w, "kind", ti_slice_of(kind_names[finding->kind]));
    member(c->w, "table", c->base.model->table);
    member(c->w, "index", finding->index);
    member(c->w, "id", finding->id);
    member(c->w, "what", ti_slice_of(finding->what));
    ti_json_write_key(c->w, TI_SLICE("repaired"));
    ti_json_write_bool(c->w, finding->repaired);
    ti_json_write_object_end(c->w);
    return c->w->status;
}

/* ---- batches ---- */

static void end_batch(ti_check *c)
{
    ti_txn_free(c->txn);
    c->txn = NULL;
    ti_plan_unref(c->plan);
    c->plan = NULL;
    ti_schema_unref(c->schema);
    c->schema = NULL;
    ti_steps_clear(&c->base);
}

static bool can_compare(const ti_model *model, const ti_schema_index *index, void *context)
{
    (void)context;
    return index->state == TI_INDEX_READABLE && ti_plan_knows(model, index);
}

static bool asks_host(const ti_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->indexes[i].condition_bit >= 0)
            return true;
    }
    return false;
}

static ti_status open_batch(ti_check *c, const ti_call *call, ti_err *err)
{
    static const ti_txn_options options = {.read_only = true};
    ti_model *model = c->base.model;
    TI_TRY(ti_txn_begin(model->store->kv, &options, &c->txn, err));
    TI_TRY(ti_catalog_load(model->store, model->table, c->txn, &c->schema, call, err));
    return ti_plan_some(model, c->schema, can_compare, NULL, &c->plan, err);
}

/* Reads records; waits for the host where it has a say. */
static ti_status begin_records(ti_check *c, bool *asked_out, const ti_call *call, ti_err *err)
{
    *asked_out = false;
    TI_TRY(open_batch(c, call, err));
    TI_TRY(ti_steps_read(&c->base, c->txn, ti_buf_slice(&c->from), c->batch, &c->more, call, err));
    return asks_host(c->plan) ? ti_steps_ask(&c->base, asked_out, err) : TI_OK;
}

static ti_status end_records(ti_check *c, const ti_call *call, ti_err *err)
{
    ti_steps *steps = &c->base;
    TI_TRY(ti_check_records(c, call, err));
    c->done += steps->record_count;
    ti_buf_clear(&c->from);
    if (c->more && steps->record_count > 0)
        return ti_buf_append_slice(&c->from, steps->records[steps->record_count - 1].id, err);
    c->at = TI_CHECK_ENTRIES;
    return TI_OK;
}

static ti_status entries_step(ti_check *c, ti_span span, const ti_call *call, ti_err *err)
{
    TI_TRY(open_batch(c, call, err));
    TI_TRY(ti_check_entries(c, span, call, err));
    if (c->more)
        return TI_OK;
    ti_buf_clear(&c->from);
    c->at = (ti_check_phase)(c->at + 1);
    return TI_OK;
}

static ti_status work(ti_check *c, ti_step *step_out, const ti_call *call, ti_err *err)
{
    bool asked = false;
    switch (c->at) {
    case TI_CHECK_RECORDS:
        if (c->txn == NULL)
            TI_TRY(begin_records(c, &asked, call, err));
        if (asked) {
            *step_out = TI_STEP_HOST;
            return TI_OK;
        }
        TI_TRY(end_records(c, call, err));
        break;
    case TI_CHECK_ENTRIES:
        TI_TRY(entries_step(c, TI_SPAN_INDEXES, call, err));
        break;
    case TI_CHECK_UNIQUES:
        TI_TRY(entries_step(c, TI_SPAN_UNIQUES, call, err));
        break;
    case TI_CHECK_DONE:
        break;
    }
    end_batch(c);
    return TI_OK;
}

/* ---- counting ---- */

/* Counting begins where the check will: what an earlier one has looked at is left out. */
static ti_status begin_counting(ti_check *c, ti_err *err)
{
    ti_slice from = ti_buf_slice(&c->from);
    c->counting = true;
    c->count_at = c->at;
    if (from.len == 0)
        return TI_OK;
    if (c->at == TI_CHECK_RECORDS) { /* the last id, not a key */
        const ti_model *model = c->base.model;
        from = ti_key_record(&model->store->keyspace, &c->base.s->arena, model->table, from);
        if (from.data == NULL)
            return ti_err_no_memory(err);
        TI_TRY(ti_buf_append_slice(&c->count_from, from, err));
        return ti_buf_append_byte(&c->count_from, 0, err);
    }
    return ti_buf_append_slice(&c->count_from, from, err);
}

/* Counts the next page of keys. */
static ti_status count_step(ti_check *c, const ti_call *call, ti_err *err)
{
    static const ti_span spans[] = {TI_SPAN_RECORDS, TI_SPAN_INDEXES, TI_SPAN_UNIQUES};
    const ti_model *model = c->base.model;
    ti_key_range span;
    bool more;
    TI_TRY(ti_key_span(&model->store->keyspace, &c->base.s->arena, spans[c->count_at], model->table,
                       TI_SLICE_NONE, &span, err));
    TI_TRY(ti_steps_count_page(&c->base, &span, &c->count_from, &c->total, &more, call, err));
    if (!more)
        c->count_at = (ti_check_phase)(c->count_at + 1);
    c->counting = c->count_at < TI_CHECK_DONE;
    return TI_OK;
}

/* ---- cursors ---- */

static ti_cursor_scope scope_of(const ti_model *model)
{
    return (ti_cursor_scope){
        .name_space = ti_keyspace_name(&model->store->keyspace),
        .table = model->table,
        .extra = TI_SLICE("check"),
    };
}

static ti_slice secret_of(const ti_model *model)
{
    return (ti_slice){.data = (const char *)ti_store_secret(model->store),
                      .len = TI_CURSOR_SECRET_SIZE};
}

/* Where another check would go on. */
static ti_status write_cursor(const ti_check *c, ti_json_writer *w, ti_err *err)
{
    const ti_model *model = c->base.model;
    const ti_cursor_scope scope = scope_of(model);
    ti_arena *a = &c->base.s->arena;
    size_t len = c->from.len + 1;
    char *key = ti_arena_alloc(a, len);
    ti_slice token;
    if (key == NULL)
        return ti_err_no_memory(err);
    key[0] = (char)(PHASE_FIRST + (int)c->at);
    if (c->from.len > 0)
        memcpy(key + 1, c->from.data, c->from.len);
    TI_TRY(ti_cursor_seal(a, secret_of(model), &scope, (ti_slice){.data = key, .len = len}, &token,
                          err));
    ti_json_write_key(w, TI_SLICE("cursor"));
    ti_json_write_string(w, token);
    return w->status;
}

static ti_status open_cursor(ti_check *c, ti_slice cursor, ti_err *err)
{
    const ti_model *model = c->base.model;
    const ti_cursor_scope scope = scope_of(model);
    ti_slice key;
    TI_TRY(ti_cursor_open(&c->base.s->arena, secret_of(model), &scope, cursor, &key, err));
    int phase = key.data[0] - PHASE_FIRST;
    if (phase < (int)TI_CHECK_RECORDS || phase >= (int)TI_CHECK_DONE)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "this cursor is not of a check");
    c->at = (ti_check_phase)phase;
    return ti_buf_append_slice(&c->from, (ti_slice){.data = key.data + 1, .len = key.len - 1}, err);
}

/* ---- the machine ---- */

static void write_uint(ti_json_writer *w, const char *name, uint64_t value)
{
    ti_json_write_key(w, ti_slice_of(name));
    ti_json_write_int(w, (int64_t)value);
}

static ti_status check_next(ti_steps *steps, ti_step *step_out, ti_json_writer *w,
                            const ti_call *call, ti_err *err)
{
    ti_check *c = (ti_check *)steps;
    *step_out = TI_STEP_MORE;
    c->w = w;
    c->told = 0;
    ti_json_write_key(w, TI_SLICE("findings"));
    ti_json_write_array_begin(w);
    const char *phase = c->counting ? "count" : NULL;
    if (c->counting)
        TI_TRY(count_step(c, call, err));
    else
        TI_TRY(work(c, step_out, call, err));
    ti_json_write_array_end(w);
    ti_json_write_key(w, TI_SLICE("phase"));
    ti_json_write_string(w, ti_slice_of(phase != NULL ? phase : phase_names[c->at]));
    write_uint(w, "done", c->done);
    if (c->total > 0)
        write_uint(w, "total", c->total > c->done ? c->total : c->done);
    write_uint(w, "found", c->found);
    write_uint(w, "repaired", c->repaired);
    if (c->at == TI_CHECK_DONE)
        *step_out = TI_STEP_DONE;
    return *step_out == TI_STEP_MORE ? write_cursor(c, w, err) : TI_OK;
}

static void check_close(ti_steps *steps)
{
    ti_check *c = (ti_check *)steps;
    end_batch(c);
    ti_buf_free(&c->from);
    ti_buf_free(&c->count_from);
}

ti_status ti_check_open(ti_model *model, const ti_check_options *options, ti_steps **steps_out,
                        ti_err *err)
{
    static const ti_steps_vt vt = {
        .next = check_next,
        .close = check_close,
    };
    ti_kv *kv;
    *steps_out = NULL;
    TI_TRY(ti_store_kv(model->store, &kv, err));
    ti_check *c = ti_alloc_zero(sizeof *c);
    if (c == NULL)
        return ti_err_no_memory(err);
    ti_status status = ti_steps_init(&c->base, &vt, model, err);
    if (status != TI_OK) {
        ti_free(c);
        return status;
    }
    ti_buf_init(&c->from, TI_KEY_SIZE_MAX * 2);
    ti_buf_init(&c->count_from, TI_KEY_SIZE_MAX * 2);
    c->repair = options != NULL && options->repair;
    c->batch = options != NULL && options->batch > 0 ? options->batch : TI_REINDEX_BATCH;
    if (options != NULL && options->cursor.len > 0)
        status = open_cursor(c, options->cursor, err);
    if (status == TI_OK && options != NULL && options->count)
        status = begin_counting(c, err);
    if (status != TI_OK) {
        ti_steps_free(&c->base);
        return status;
    }
    *steps_out = &c->base;
    return TI_OK;
}

/* Repairs: transactions of their own, which look again before they change anything. See check.c.
 *
 *   record   its document decides; list and entries are written anew under a lock of the record
 *   entry    deleted, when its record still does not list it
 *
 * INVARIANTS
 *  1. A unique value that another record rightly holds stays with it: that finding can not be
 *     repaired.
 *  2. The host's answer is used only for the version of the record that it saw.
 *
 * Threads: one at a time. */
#include "base/assert.h"
#include "kv/retry.h"
#include "model/catalog.h"
#include "model/check_int.h"

typedef struct repair {
    ti_check *c;
    const ti_steps_record *record;
    ti_slice key;
    ti_slice id;
    const ti_entry *entry;
    bool repaired;
} repair;

/* Whether the record with this id is there, readable, and lists the entry. */
static ti_status rightly_held(ti_check *c, ti_txn *txn, ti_slice id, const ti_entry *entry,
                              bool *held_out, const ti_call *call, ti_err *err)
{
    ti_record record;
    ti_slice key;
    *held_out = false;
    if (ti_id_check(id, NULL) != TI_OK)
        return TI_OK;
    ti_status status =
        ti_record_read(c->base.model, txn, id, &c->base.s->arena, &key, &record, call, err);
    if (status == TI_NOT_FOUND || status == TI_CORRUPT)
        return TI_OK;
    TI_TRY(status);
    *held_out = ti_record_lists(&record, entry);
    return ti_txn_lock(txn, key, err); /* it must stay so */
}

/* Frees the record's unique values from entries that nobody rightly holds. *free_out false: one is
 * another record's. */
static ti_status free_uniques(ti_check *c, ti_txn *txn, const ti_put *put, bool *free_out,
                              const ti_call *call, ti_err *err)
{
    ti_arena *a = &c->base.s->arena;
    *free_out = true;
    for (size_t i = 0; i < put->after.count; i++) {
        const ti_entry *entry = &put->after.entries[i];
        const ti_schema_index *index =
            ti_schema_find(put->plan->schema, entry->index, entry->version);
        ti_slice key;
        ti_slice value;
        ti_slice owner = TI_SLICE_NONE;
        bool held = false;
        if (entry->kind != TI_ENTRY_UNIQUE)
            continue;
        TI_TRY(ti_entry_key(put->model, entry, index->stored_name, put->id, a, &key, err));
        ti_status status = ti_txn_get(txn, key, a, &value, call, err);
        if (status == TI_NOT_FOUND)
            continue;
        TI_TRY(status);
        if (ti_sealed_open(value, TI_SEALED_UNIQUE, key, &owner, NULL) == TI_OK) {
            if (ti_slice_equal(owner, put->id))
                continue;
            TI_TRY(rightly_held(c, txn, owner, entry, &held, call, err));
        }
        if (held) {
            *free_out = false;
            return TI_OK;
        }
        TI_TRY(ti_txn_delete(txn, key, err));
    }
    return TI_OK;
}

/* Makes the repair depend on the schema that the check compared with. *same_out false: it has
 * changed. */
static ti_status rely(ti_check *c, ti_txn *txn, bool *same_out, const ti_call *call, ti_err *err)
{
    ti_model *model = c->base.model;
    ti_schema *schema;
    ti_ts read_at;
    TI_TRY(ti_catalog_current(model->store, model->table, &schema, &read_at, call, err));
    *same_out = schema->exists && schema->revision == c->schema->revision;
    ti_status status =
        *same_out ? ti_catalog_rely(model->store, model->table, txn, schema, read_at, err) : TI_OK;
    ti_schema_unref(schema);
    return status;
}

static ti_status record_once(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    repair *r = context;
    ti_check *c = r->c;
    const ti_steps_record *seen = r->record;
    ti_record now;
    bool free;
    bool same;
    ti_put put = {.model = c->base.model,
                  .plan = c->plan,
                  .txn = txn,
                  .s = c->base.s,
                  .id = seen->id,
                  .rewrite = TI_REWRITE_ALL};
    r->repaired = false;
    TI_TRY(rely(c, txn, &same, call, err));
    ti_status status =
        ti_record_read(c->base.model, txn, seen->id, &c->base.s->arena, &put.key, &now, call, err);
    if (status == TI_NOT_FOUND)
        return TI_OK;
    TI_TRY(status);
    if (!same || now.version != seen->record.version)
        return TI_OK; /* it was written meanwhile, or the catalog has changed: the next check will
                         see */
    put.old = &now;
    put.document = now.document;
    put.version = now.version;
    TI_TRY(ti_entry_set_of(&now, &c->base.s->arena, &put.before, err));
    TI_TRY(ti_steps_entries(&c->base, c->plan, seen, &put.after, err));
    TI_TRY(free_uniques(c, txn, &put, &free, call, err));
    if (!free)
        return ti_err_set(err, TI_UNIQUE_VIOLATION, "another record holds the value");
    TI_TRY(ti_put_apply(&put, call, err));
    r->repaired = true;
    return TI_OK;
}

ti_status ti_repair_record(ti_check *c, const ti_steps_record *record, bool *repaired_out,
                           const ti_call *call, ti_err *err)
{
    repair r = {.c = c, .record = record};
    ti_status status =
        ti_kv_transact(c->base.model->store->kv, NULL, NULL, record_once, &r, NULL, call, err);
    if (status == TI_UNIQUE_VIOLATION || status == TI_CORRUPT)
        status = TI_OK;
    else
        *repaired_out = status == TI_OK && r.repaired;
    return status;
}

static ti_status entry_once(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    repair *r = context;
    ti_slice value;
    bool held = false;
    bool same;
    TI_TRY(rely(r->c, txn, &same, call, err));
    r->repaired = false;
    if (!same)
        return TI_OK;
    ti_status status = ti_txn_get(txn, r->key, &r->c->base.s->arena, &value, call, err);
    r->repaired = true;
    if (status == TI_NOT_FOUND)
        return TI_OK;
    TI_TRY(status);
    if (r->id.len > 0)
        TI_TRY(rightly_held(r->c, txn, r->id, r->entry, &held, call, err));
    r->repaired = !held;
    return held ? TI_OK : ti_txn_delete(txn, r->key, err);
}

ti_status ti_repair_entry(ti_check *c, ti_slice key, ti_slice id, const ti_entry *entry,
                          bool *repaired_out, const ti_call *call, ti_err *err)
{
    repair r = {.c = c, .key = key, .id = id, .entry = entry};
    TI_TRY(ti_kv_transact(c->base.model->store->kv, NULL, NULL, entry_once, &r, NULL, call, err));
    *repaired_out = r.repaired;
    return TI_OK;
}

/* See catalog.h. This file: the cache and its changes; rely.c: what transactions do with it. */
#include <string.h>

#include "base/assert.h"
#include "codec/record.h"
#include "kv/retry.h"
#include "model/catalog_int.h"
#include "model/store_int.h"

#define SETTLE_SLEEP_NS 500000

/* ---- attaching ---- */

static void slot_lock(ti_engine_slot *slot)
{
    int idle = 0;
    while (!atomic_compare_exchange_weak(&slot->busy, &idle, 1))
        idle = 0;
}

static void slot_unlock(ti_engine_slot *slot)
{
    atomic_store(&slot->busy, 0);
}

static void retire_all(ti_table *table)
{
    while (table->retired != NULL) {
        ti_schema *schema = table->retired;
        table->retired = schema->retired_next;
        ti_schema_unref(schema);
    }
}

static void catalog_free(ti_catalog *catalog)
{
    for (size_t i = 0; i < CATALOG_BUCKETS; i++) {
        while (catalog->buckets[i] != NULL) {
            ti_table *table = catalog->buckets[i];
            catalog->buckets[i] = table->next;
            retire_all(table);
            ti_schema_unref(atomic_load(&table->current));
            ti_free(table);
        }
    }
    ti_mutex_destroy(&catalog->mutex);
    ti_free(catalog);
}

static ti_status catalog_new(ti_slice prefix, int64_t lease_us, ti_catalog **catalog_out,
                             ti_err *err)
{
    *catalog_out = NULL;
    ti_catalog *catalog = ti_alloc_zero(sizeof *catalog);
    if (catalog == NULL)
        return ti_err_no_memory(err);
    ti_status status = ti_mutex_init(&catalog->mutex, TI_RANK_CATALOG, err);
    if (status != TI_OK) {
        ti_free(catalog);
        return status;
    }
    ti_require(prefix.len < sizeof catalog->prefix);
    if (prefix.len > 0)
        memcpy(catalog->prefix, prefix.data, prefix.len);
    catalog->lease_us = lease_us;
    catalog->refs = 1;
    *catalog_out = catalog;
    return TI_OK;
}

/* The catalog of this prefix in the slot, with one more reference, or NULL. The slot is locked. */
static ti_catalog *slot_find(ti_engine_slot *slot, ti_slice prefix)
{
    for (ti_catalog *c = slot->state; c != NULL; c = c->next) {
        if (ti_slice_equal(ti_slice_of(c->prefix), prefix)) {
            c->refs++;
            return c;
        }
    }
    return NULL;
}

ti_status ti_catalog_attach(ti_kv *kv, int64_t lease_us, ti_catalog **catalog_out, ti_err *err)
{
    ti_engine_slot *slot = &kv->engine->slot;
    ti_catalog *fresh;
    TI_TRY(catalog_new(kv->options.prefix, lease_us, &fresh, err));
    if (lease_us > 0) {
        *catalog_out = fresh;
        return TI_OK;
    }
    slot_lock(slot);
    ti_catalog *known = slot_find(slot, kv->options.prefix);
    if (known == NULL) {
        fresh->next = slot->state;
        slot->state = fresh;
    }
    slot_unlock(slot);
    if (known != NULL)
        catalog_free(fresh);
    *catalog_out = known != NULL ? known : fresh;
    return TI_OK;
}

void ti_catalog_detach(ti_catalog *catalog, ti_kv *kv)
{
    ti_engine_slot *slot = &kv->engine->slot;
    if (catalog->lease_us > 0) {
        catalog_free(catalog);
        return;
    }
    slot_lock(slot);
    bool last = --catalog->refs == 0;
    if (last) {
        ti_catalog *head = slot->state;
        ti_catalog **link = &head;
        while (*link != catalog)
            link = &(*link)->next;
        *link = catalog->next;
        slot->state = head;
    }
    slot_unlock(slot);
    if (last)
        catalog_free(catalog);
}

/* ---- tables ---- */

static ti_table *bucket_find(ti_table *table, ti_slice name)
{
    for (; table != NULL; table = table->next) {
        if (table->name_len == name.len && memcmp(table->name, name.data, name.len) == 0)
            return table;
    }
    return NULL;
}

ti_status ti_catalog_table(ti_catalog *catalog, ti_slice name, ti_table **table_out, ti_err *err)
{
    ti_table **bucket = &catalog->buckets[ti_hash_stable(name) % CATALOG_BUCKETS];
    ti_mutex_lock(&catalog->mutex);
    ti_table *known = bucket_find(*bucket, name);
    ti_mutex_unlock(&catalog->mutex);
    *table_out = known;
    if (known != NULL)
        return TI_OK;
    ti_table *fresh = ti_alloc_zero(sizeof *fresh + name.len);
    if (fresh == NULL)
        return ti_err_no_memory(err);
    fresh->name_len = name.len;
    memcpy(fresh->name, name.data, name.len);
    ti_mutex_lock(&catalog->mutex);
    known = bucket_find(*bucket, name);
    if (known == NULL) {
        fresh->next = *bucket;
        *bucket = fresh;
    }
    ti_mutex_unlock(&catalog->mutex);
    if (known != NULL)
        ti_free(fresh);
    *table_out = known != NULL ? known : fresh;
    return TI_OK;
}

ti_status ti_catalog_open_table(ti_store *store, ti_slice table, ti_catalog **catalog_out,
                                ti_table **table_out, ti_err *err)
{
    ti_kv *kv;
    TI_TRY(ti_store_kv(store, &kv, err));
    *catalog_out = store->catalog;
    return ti_catalog_table(store->catalog, table, table_out, err);
}

/* Drops retired schemas that nobody is committing under. The mutex is held. */
static void prune(ti_table *table)
{
    ti_schema **link = &table->retired;
    while (*link != NULL) {
        ti_schema *schema = *link;
        if (atomic_load(&schema->committing) > 0) {
            link = &schema->retired_next;
            continue;
        }
        *link = schema->retired_next;
        ti_schema_unref(schema);
    }
}

/* Puts schema (NULL: none) in the place of the current one. The mutex is held. */
static void replace(ti_table *table, ti_schema *schema)
{
    ti_schema *old = atomic_load(&table->current);
    atomic_store(&table->current, schema == NULL ? NULL : ti_schema_ref(schema));
    if (old == NULL)
        return;
    old->retired_next = table->retired;
    table->retired = old;
}

/* Makes schema (NULL: none) current as of read_at, unless something later is. */
static void publish(ti_catalog *catalog, ti_table *table, ti_schema *schema, ti_ts read_at)
{
    ti_mutex_lock(&catalog->mutex);
    ti_schema *old = atomic_load(&table->current);
    if (read_at >= table->read_at) {
        table->read_at = read_at;
        if (old == NULL || schema == NULL || old->revision != schema->revision)
            replace(table, schema);
    }
    prune(table);
    ti_mutex_unlock(&catalog->mutex);
}

/* Forgets what is current: whoever needs it reads it anew. */
static void invalidate(ti_catalog *catalog, ti_table *table)
{
    ti_mutex_lock(&catalog->mutex);
    replace(table, NULL);
    prune(table);
    ti_mutex_unlock(&catalog->mutex);
}

/* The cached schema with one more reference, or NULL. */
static ti_schema *cached(ti_catalog *catalog, ti_table *table, ti_ts *read_at_out)
{
    ti_mutex_lock(&catalog->mutex);
    ti_schema *schema = atomic_load(&table->current);
    if (schema != NULL)
        ti_schema_ref(schema);
    *read_at_out = table->read_at;
    ti_mutex_unlock(&catalog->mutex);
    return schema;
}

/* Swaps a schema just read or written for the cached object of the same revision, so that pointers
 * can be compared. */
static void adopt(ti_catalog *catalog, ti_table *table, ti_schema **schema_io)
{
    ti_ts read_at;
    ti_schema *known = cached(catalog, table, &read_at);
    if (known == NULL)
        return;
    bool same = (*schema_io)->exists && known->revision == (*schema_io)->revision;
    if (same) {
        ti_schema *swap = *schema_io;
        *schema_io = known;
        known = swap;
    }
    ti_schema_unref(known);
}

/* ---- the row ---- */

ti_status ti_catalog_load(ti_store *store, ti_slice table, ti_txn *txn, ti_schema **schema_out,
                          const ti_call *call, ti_err *err)
{
    *schema_out = NULL;
    ti_arena a;
    ti_slice value;
    ti_slice payload;
    ti_arena_init(&a);
    ti_status status;
    ti_slice key = ti_key_schema(&store->keyspace, &a, table);
    if (key.data == NULL) {
        status = ti_err_no_memory(err);
        goto out;
    }
    status = ti_txn_get(txn, key, &a, &value, call, err);
    if (status == TI_NOT_FOUND) {
        status = ti_schema_new(schema_out, err);
        goto out;
    }
    if (status != TI_OK)
        goto out;
    TI_CHECK(ti_sealed_open(value, TI_SEALED_SCHEMA, key, &payload, err));
    TI_CHECK(ti_schema_parse(table, payload, schema_out, err));
out:
    ti_arena_free(&a);
    return status;
}

ti_status ti_catalog_store_row(ti_store *store, ti_slice table, ti_txn *txn,
                               const ti_schema *schema, ti_err *err)
{
    ti_arena a;
    ti_buf payload;
    ti_buf value;
    ti_status status;
    ti_arena_init(&a);
    ti_buf_init(&payload, TI_DOCUMENT_SIZE_MAX);
    ti_buf_init(&value, TI_DOCUMENT_SIZE_MAX + 64);
    ti_slice key = ti_key_schema(&store->keyspace, &a, table);
    if (key.data == NULL) {
        status = ti_err_no_memory(err);
        goto out;
    }
    if (!schema->exists) {
        TI_CHECK(ti_txn_delete(txn, key, err));
        goto out;
    }
    TI_CHECK(ti_schema_emit(schema, &payload, err));
    TI_CHECK(ti_sealed_append(&value, TI_SEALED_SCHEMA, key, ti_buf_slice(&payload), err));
    TI_CHECK(ti_txn_put(txn, key, ti_buf_slice(&value), err));
out:
    ti_buf_free(&value);
    ti_buf_free(&payload);
    ti_arena_free(&a);
    return status;
}

ti_ts ti_catalog_until(const ti_catalog *catalog, ti_ts read_at)
{
    ti_assert(catalog->lease_us > 0);
    return ti_ts_add_us(read_at, catalog->lease_us);
}

ti_status ti_catalog_fetch(ti_store *store, ti_catalog *catalog, ti_table *table, ti_ts min_read_at,
                           ti_schema **schema_out, ti_ts *read_at_out, const ti_call *call,
                           ti_err *err)
{
    *schema_out = cached(catalog, table, read_at_out);
    if (*schema_out != NULL && *read_at_out >= min_read_at)
        return TI_OK;
    ti_schema_unref(*schema_out);
    *schema_out = NULL;
    ti_txn *txn = NULL;
    ti_slice name = {.data = table->name, .len = table->name_len};
    const ti_txn_options options = {.read_only = true};
    ti_status status;
    TI_CHECK(ti_txn_begin(store->kv, &options, &txn, err));
    TI_CHECK(ti_txn_start_ts(txn, read_at_out, call, err));
    TI_CHECK(ti_catalog_load(store, name, txn, schema_out, call, err));
    publish(catalog, table, (*schema_out)->exists ? *schema_out : NULL, *read_at_out);
    adopt(catalog, table, schema_out);
out:
    ti_txn_free(txn);
    if (status != TI_OK) {
        ti_schema_unref(*schema_out);
        *schema_out = NULL;
    }
    return status;
}

ti_status ti_catalog_current(ti_store *store, ti_slice table, ti_schema **schema_out,
                             ti_ts *read_at_out, const ti_call *call, ti_err *err)
{
    ti_catalog *catalog;
    ti_table *entry;
    ti_ts read_at;
    *schema_out = NULL;
    TI_TRY(ti_catalog_open_table(store, table, &catalog, &entry, err));
    TI_TRY(ti_catalog_fetch(store, catalog, entry, TI_TS_NONE, schema_out, &read_at, call, err));
    if (read_at_out != NULL)
        *read_at_out = read_at;
    return TI_OK;
}

/* ---- changing ---- */

typedef struct change {
    ti_store *store;
    ti_slice table;
    ti_schema_edit edit;
    void *context;
    ti_schema *result; /* of the last attempt; one reference */
    bool changed;
} change;

static ti_status change_once(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    change *c = context;
    ti_ts start;
    ti_schema_unref(c->result);
    c->result = NULL;
    c->changed = true;
    TI_TRY(ti_txn_start_ts(txn, &start, call, err));
    TI_TRY(ti_catalog_load(c->store, c->table, txn, &c->result, call, err));
    bool existed = c->result->exists;
    TI_TRY(c->edit(c->context, txn, c->result, &c->changed, call, err));
    if (!c->changed)
        return TI_OK;
    /* a table that is dropped and made again begins beyond all its old revisions */
    uint64_t floor = existed ? 0 : (uint64_t)(start >> TI_TS_LOGICAL_BITS);
    c->result->revision = c->result->revision + 1 > floor ? c->result->revision + 1 : floor;
    return ti_catalog_store_row(c->store, c->table, txn, c->result, err);
}

ti_status ti_catalog_change(ti_store *store, ti_slice table, ti_schema_edit edit, void *context,
                            ti_schema **schema_out, const ti_call *call, ti_err *err)
{
    ti_catalog *catalog;
    ti_table *entry;
    ti_ts commit_ts = TI_TS_NONE;
    change c = {.store = store, .table = table, .edit = edit, .context = context};
    if (schema_out != NULL)
        *schema_out = NULL;
    TI_TRY(ti_catalog_open_table(store, table, &catalog, &entry, err));
    ti_status status =
        ti_kv_transact(store->kv, NULL, NULL, change_once, &c, &commit_ts, call, err);
    if (status == TI_OUTCOME_UNKNOWN)
        invalidate(catalog, entry);
    if (status != TI_OK)
        goto out;
    publish(catalog, entry, c.result->exists ? c.result : NULL, commit_ts);
    adopt(catalog, entry, &c.result);
    if (schema_out != NULL)
        *schema_out = ti_schema_ref(c.result);
out:
    ti_schema_unref(c.result);
    return status;
}

/* The time up to which every commit is visible: of a snapshot, not of the clock, since a commit
 * that has its timestamp may still be on its way. */
static ti_status visible_time(ti_store *store, ti_ts *ts_out, const ti_call *call, ti_err *err)
{
    static const ti_txn_options options = {.read_only = true};
    ti_txn *txn = NULL;
    TI_TRY(ti_txn_begin(store->kv, &options, &txn, err));
    ti_status status = ti_txn_start_ts(txn, ts_out, call, err);
    ti_txn_free(txn);
    return status;
}

ti_status ti_catalog_settled(ti_store *store, ti_slice table, ti_ts since, bool *settled_out,
                             const ti_call *call, ti_err *err)
{
    ti_catalog *catalog;
    ti_table *entry;
    ti_ts now;
    *settled_out = false;
    TI_TRY(ti_catalog_open_table(store, table, &catalog, &entry, err));
    if (catalog->lease_us == 0) {
        ti_mutex_lock(&catalog->mutex);
        prune(entry);
        *settled_out = entry->retired == NULL;
        ti_mutex_unlock(&catalog->mutex);
        return TI_OK;
    }
    TI_TRY(visible_time(store, &now, call, err));
    *settled_out = now > ti_catalog_until(catalog, since);
    return TI_OK;
}

ti_status ti_catalog_settle(ti_store *store, ti_slice table, const ti_call *call, ti_err *err)
{
    ti_ts since;
    bool settled = false;
    const ti_env *env = store->options.env;
    TI_TRY(ti_kv_now(store->kv, &since, call, err));
    for (;;) {
        TI_TRY(ti_catalog_settled(store, table, since, &settled, call, err));
        if (settled)
            return TI_OK;
        TI_TRY(ti_call_check(call, "waiting for users of the old catalog", err));
        env->sleep_ns(env, SETTLE_SLEEP_NS);
    }
}

/* ---- runners of reindex ---- */

ti_status ti_catalog_runner_begin(ti_store *store, ti_slice table, const char *runner, ti_err *err)
{
    ti_catalog *catalog;
    ti_table *entry;
    TI_TRY(ti_catalog_open_table(store, table, &catalog, &entry, err));
    ti_mutex_lock(&catalog->mutex);
    bool busy = entry->running;
    if (!busy) {
        memcpy(entry->earlier, entry->runner, sizeof entry->earlier);
        memcpy(entry->runner, runner, sizeof entry->runner);
        entry->running = true;
    }
    ti_mutex_unlock(&catalog->mutex);
    if (!busy)
        return TI_OK;
    ti_err_set(err, TI_BUSY, "another reindex of table \"%.*s\" is running", (int)table.len,
               table.data);
    ti_err_where(err, table.data, table.len, NULL, 0);
    return TI_BUSY;
}

void ti_catalog_runner_end(ti_store *store, ti_slice table, const char *runner)
{
    ti_catalog *catalog;
    ti_table *entry;
    if (ti_catalog_open_table(store, table, &catalog, &entry, NULL) != TI_OK)
        return; /* the store was closed, and the catalog with it */
    ti_mutex_lock(&catalog->mutex);
    if (ti_slice_equal(ti_slice_of(entry->runner), ti_slice_of(runner)))
        entry->running = false;
    ti_mutex_unlock(&catalog->mutex);
}

bool ti_catalog_runner_gone(ti_store *store, ti_slice table, ti_slice runner)
{
    ti_catalog *catalog;
    ti_table *entry;
    if (ti_catalog_open_table(store, table, &catalog, &entry, NULL) != TI_OK)
        return false;
    ti_mutex_lock(&catalog->mutex);
    bool gone = catalog->lease_us == 0 || ti_slice_equal(ti_slice_of(entry->earlier), runner);
    ti_mutex_unlock(&catalog->mutex);
    return gone;
}

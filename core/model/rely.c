/* Transactions and the catalog: which schema each table was used with, checked when the commit
 * begins.
 *
 *   transaction slot (owner: the catalog) -> uses -> use(table, schema, read_at, writes) -> …
 *   in its arena
 *
 * INVARIANTS
 *  1. One transaction uses one schema per table; a transaction that wrote under one can not commit
 *     under another.
 *  2. Every use holds a reference until the transaction has ended.
 *
 * See catalog.h for the protocol. */
#include "base/assert.h"
#include "model/catalog_int.h"
#include "model/store_int.h"

typedef struct use use;
struct use {
    use *next;
    ti_table *table;
    ti_schema *schema; /* one reference, owned */
    ti_ts read_at;
    bool writes;  /* the commit depends on it */
    bool entered; /* counted in schema->committing */
};

typedef struct uses {
    ti_store *store;
    ti_catalog *catalog;
    use *first;
    bool hooked; /* the commit hook is registered */
} uses;

/* ---- hooks ---- */

static ti_status moved_on(const ti_table *table, ti_err *err)
{
    ti_err_set(err, TI_CONFLICT,
               "the indexes of table \"%.*s\" have changed meanwhile; run the transaction again",
               (int)table->name_len, table->name);
    ti_err_where(err, table->name, table->name_len, NULL, 0);
    return TI_CONFLICT;
}

/* With a lease: the commit may not pass it; near its end the row is read again. */
static ti_status renew(uses *all, use *u, ti_txn *txn, ti_ts t, ti_err *err)
{
    ti_ts margin = ti_ts_add_us(t, all->catalog->lease_us / 2);
    if (margin > ti_catalog_until(all->catalog, u->read_at)) {
        ti_schema *fresh = NULL;
        ti_ts read_at;
        ti_call call = ti_kv_call(all->store->kv);
        TI_TRY(
            ti_catalog_fetch(all->store, all->catalog, u->table, t, &fresh, &read_at, &call, err));
        bool same = fresh->exists && fresh->revision == u->schema->revision;
        ti_schema_unref(fresh);
        if (!same)
            return moved_on(u->table, err);
        u->read_at = read_at;
    }
    ti_txn_not_after(txn, ti_catalog_until(all->catalog, u->read_at));
    return TI_OK;
}

static ti_status commit_begins(void *context, ti_txn *txn, ti_ts t, ti_err *err)
{
    uses *all = context;
    for (use *u = all->first; u != NULL; u = u->next) {
        if (!u->writes)
            continue;
        if (all->catalog->lease_us > 0) {
            TI_TRY(renew(all, u, txn, t, err));
            continue;
        }
        atomic_fetch_add(&u->schema->committing, 1);
        u->entered = true;
        if (atomic_load(&u->table->current) != u->schema)
            return moved_on(u->table, err);
    }
    return TI_OK;
}

static void txn_ended(void *context, ti_status status, ti_ts commit_ts)
{
    uses *all = context;
    (void)status;
    (void)commit_ts;
    for (use *u = all->first; u != NULL; u = u->next) {
        if (u->entered)
            atomic_fetch_sub(&u->schema->committing, 1);
        ti_schema_unref(u->schema);
    }
    all->first = NULL;
}

/* ---- uses ---- */

static ti_status uses_of(ti_store *store, ti_txn *txn, uses **uses_out, ti_err *err)
{
    *uses_out = ti_txn_slot(txn, store->catalog);
    if (*uses_out != NULL)
        return TI_OK;
    uses *all = ti_arena_alloc_zero(ti_txn_arena(txn), sizeof *all);
    if (all == NULL)
        return ti_err_no_memory(err);
    all->store = store;
    all->catalog = store->catalog;
    TI_TRY(ti_txn_on_end(txn, txn_ended, all, err));
    TI_TRY(ti_txn_set_slot(txn, store->catalog, all, err));
    *uses_out = all;
    return TI_OK;
}

static use *find_use(const uses *all, ti_slice table)
{
    if (all == NULL)
        return NULL;
    for (use *u = all->first; u != NULL; u = u->next) {
        if (ti_slice_equal((ti_slice){.data = u->table->name, .len = u->table->name_len}, table))
            return u;
    }
    return NULL;
}

/* Adds a use; takes over the reference on schema also when it fails. */
static ti_status add_use(uses *all, ti_txn *txn, ti_table *table, ti_schema *schema, ti_ts read_at,
                         use **use_out, ti_err *err)
{
    use *u = ti_arena_alloc_zero(ti_txn_arena(txn), sizeof *u);
    *use_out = u;
    if (u == NULL) {
        ti_schema_unref(schema);
        return ti_err_no_memory(err);
    }
    *u = (use){.next = all->first, .table = table, .schema = schema, .read_at = read_at};
    all->first = u;
    return TI_OK;
}

/* The least read_at of a schema that may be used at snapshot s. */
static ti_ts least_read_at(const ti_catalog *catalog, ti_ts s)
{
    if (catalog->lease_us == 0)
        return TI_TS_NONE;
    ti_ts lease = ti_ts_from_us(catalog->lease_us);
    return s > lease ? s - lease : TI_TS_NONE;
}

/* A use that exists, for a read at snapshot s. */
static ti_status reuse(uses *all, use *u, ti_ts s, const ti_call *call, ti_err *err)
{
    if (u->writes && all->catalog->lease_us == 0 && atomic_load(&u->table->current) != u->schema)
        return moved_on(u->table, err);
    if (u->read_at >= least_read_at(all->catalog, s))
        return TI_OK;
    ti_schema *fresh = NULL;
    ti_ts read_at;
    TI_TRY(ti_catalog_fetch(all->store, all->catalog, u->table, least_read_at(all->catalog, s),
                            &fresh, &read_at, call, err));
    bool same = fresh->exists == u->schema->exists && fresh->revision == u->schema->revision;
    ti_schema_unref(fresh);
    if (!same)
        return moved_on(u->table, err);
    u->read_at = read_at;
    return TI_OK;
}

ti_status ti_catalog_for_read(ti_store *store, ti_slice table, ti_txn *txn,
                              const ti_schema **schema_out, const ti_call *call, ti_err *err)
{
    ti_catalog *catalog;
    ti_table *entry;
    uses *all;
    ti_ts s;
    ti_ts read_at;
    ti_schema *schema;
    *schema_out = NULL;
    TI_TRY(ti_catalog_open_table(store, table, &catalog, &entry, err));
    TI_TRY(ti_txn_start_ts(txn, &s, call, err));
    TI_TRY(uses_of(store, txn, &all, err));
    use *u = find_use(all, table);
    if (u != NULL)
        TI_TRY(reuse(all, u, s, call, err));
    if (u == NULL) {
        TI_TRY(ti_catalog_fetch(store, catalog, entry, least_read_at(catalog, s), &schema, &read_at,
                                call, err));
        TI_TRY(add_use(all, txn, entry, schema, read_at, &u, err));
    }
    *schema_out = u->schema;
    return TI_OK;
}

ti_schema *ti_catalog_relied(ti_store *store, ti_slice table, ti_txn *txn)
{
    use *u = find_use(ti_txn_slot(txn, store->catalog), table);
    return u != NULL && u->writes ? u->schema : NULL;
}

ti_status ti_catalog_rely(ti_store *store, ti_slice table, ti_txn *txn, ti_schema *schema,
                          ti_ts read_at, ti_err *err)
{
    ti_catalog *catalog;
    ti_table *entry;
    uses *all;
    ti_assert(schema->exists);
    TI_TRY(ti_catalog_open_table(store, table, &catalog, &entry, err));
    TI_TRY(uses_of(store, txn, &all, err));
    if (!all->hooked) {
        TI_TRY(ti_txn_before_commit(txn, commit_begins, all, err));
        all->hooked = true;
    }
    use *u = find_use(all, table);
    if (u == NULL)
        TI_TRY(add_use(all, txn, entry, ti_schema_ref(schema), read_at, &u, err));
    if (u->schema != schema && u->writes)
        return moved_on(entry, err);
    if (u->schema != schema) { /* so far it only read: an older schema, or a table without a row */
        ti_schema_unref(u->schema);
        u->schema = ti_schema_ref(schema);
        u->read_at = read_at;
    }
    u->writes = true;
    return TI_OK;
}

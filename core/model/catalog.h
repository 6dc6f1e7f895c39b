/* The catalog: which schema of a table a transaction may rely on, and how a schema changes under
 * running transactions.
 *
 *   without lease (the engine is this process's own): one catalog per engine and namespace
 *       use     the current schema, until the end
 *       commit  count into schema.committing, then compare with the current one: another → CONFLICT
 *       change  commit the row, make it current, then wait until no older schema is being committed
 *   with a lease (other processes may write): one catalog per store; a schema was read at R
 *       use     only at snapshots <= R + lease, else it is read anew
 *       commit  not_after = R + lease; R is renewed by reading the row again when that is near
 *       change  commit the row at C, then wait for a snapshot later than C + lease: it shows all
 *               that relied on the row before
 *
 * INVARIANTS
 *  1. After a change has settled, nothing commits any more that relied on an earlier schema.
 *  2. A schema is taken after the snapshot it is used at, so what it calls readable was readable in
 *     that snapshot.
 *  3. A table without a row is never cached: it is read again each time.
 *
 * Threads: any. What is NOT here: what the states mean (schema.h), who changes them (register.c,
 * reindex.c, drop.c). */
#ifndef TI_MODEL_CATALOG_H
#define TI_MODEL_CATALOG_H

#include "model/schema.h"
#include "model/store.h"

typedef struct ti_catalog ti_catalog;
typedef struct ti_table ti_table;

/* The catalog of kv's engine and namespace. lease_us 0: shared by all stores of this process; else
 * one of its own. OUT_OF_MEMORY. Given back with ti_catalog_detach. */
ti_status ti_catalog_attach(ti_kv *kv, int64_t lease_us, ti_catalog **catalog_out, ti_err *err);
void ti_catalog_detach(ti_catalog *catalog, ti_kv *kv);
/* The entry of a table; lives as long as the catalog. OUT_OF_MEMORY. */
ti_status ti_catalog_table(ti_catalog *catalog, ti_slice name, ti_table **table_out, ti_err *err);

/* The schema for a read of txn at its snapshot (which is taken now when there is none): borrowed
 * until txn ends. exists false: the table has no row, and so no records in that snapshot. CONFLICT
 * when the catalog has moved on. */
ti_status ti_catalog_for_read(ti_store *store, ti_slice table, ti_txn *txn,
                              const ti_schema **schema_out, const ti_call *call, ti_err *err);
/* The newest schema known, one reference for the caller; *read_at_out (may be NULL) as
 * ti_catalog_rely takes it. */
ti_status ti_catalog_current(ti_store *store, ti_slice table, ti_schema **schema_out,
                             ti_ts *read_at_out, const ti_call *call, ti_err *err);
/* The schema that txn's writes already rely on, borrowed until txn ends; NULL when none yet. */
ti_schema *ti_catalog_relied(ti_store *store, ti_slice table, ti_txn *txn);
/* Makes txn's commit depend on schema, which was read at read_at. CONFLICT when it relies on
 * another one. */
ti_status ti_catalog_rely(ti_store *store, ti_slice table, ti_txn *txn, ti_schema *schema,
                          ti_ts read_at, ti_err *err);

/* Changes a schema inside the transaction that writes it; *changed_io starts true. Setting exists
 * to false removes the row. May run several times. */
typedef ti_status (*ti_schema_edit)(void *context, ti_txn *txn, ti_schema *schema, bool *changed_io,
                                    const ti_call *call, ti_err *err);
/* Reads the row, edits, writes it with the next revision, and makes it current. *schema_out (may be
 * NULL): the result, one reference. */
ti_status ti_catalog_change(ti_store *store, ti_slice table, ti_schema_edit edit, void *context,
                            ti_schema **schema_out, const ti_call *call, ti_err *err);
/* Whether nothing can commit any more that relied on a schema older than the one that was current
 * at `since` (a time fetched after its change was committed). */
ti_status ti_catalog_settled(ti_store *store, ti_slice table, ti_ts since, bool *settled_out,
                             const ti_call *call, ti_err *err);
/* Waits for that, within the call. */
ti_status ti_catalog_settle(ti_store *store, ti_slice table, const ti_call *call, ti_err *err);
/* Reads the table's row at txn's snapshot, past all caches; one reference. */
ti_status ti_catalog_load(ti_store *store, ti_slice table, ti_txn *txn, ti_schema **schema_out,
                          const ti_call *call, ti_err *err);
/* Writes a schema's row in txn (revision as it is). Others do not see it until they read the row.
 */
ti_status ti_catalog_store_row(ti_store *store, ti_slice table, ti_txn *txn,
                               const ti_schema *schema, ti_err *err);

/* Reindex, within this process: one runner per table and catalog. begin: BUSY while another one is
 * alive; end; and whether the runner that a row names can not be alive any more, whatever its lease
 * says. */
ti_status ti_catalog_runner_begin(ti_store *store, ti_slice table, const char *runner, ti_err *err);
void ti_catalog_runner_end(ti_store *store, ti_slice table, const char *runner);
bool ti_catalog_runner_gone(ti_store *store, ti_slice table, ti_slice runner);

#endif

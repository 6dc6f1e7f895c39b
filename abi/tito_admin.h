/* tito_admin.h: the part of tito.h for those who operate a store: figures, the catalog, backups,
 * reindexing, checks. A program includes tito.h, which brings it and has the conventions. */
#ifndef TITO_ADMIN_H
#define TITO_ADMIN_H

#include "tito.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Figures, catalog, old versions ---- */

/* Statistics of engine, executor and queues; core/db/README.md lists the names. Result: bytes, a
 * JSON object. */
TITO_API tito_future_t *tito_db_stats(tito_db_t *db);
/* Counters, lags and handler times of the event types that this process has met, as Prometheus text
 * (version 0.0.4). Reads nothing from the store. Result: bytes. */
TITO_API tito_future_t *tito_db_metrics(tito_db_t *db);
/* Removes old versions (TiKV; the embedded engine has none). Result: none. */
TITO_API tito_future_t *tito_db_gc(tito_db_t *db, int64_t retention_us);
/* Removes an index, or a table with all its records and entries. NOT_FOUND when there is none.
 * Result: none. */
TITO_API tito_future_t *tito_db_drop_index(tito_db_t *db, const char *table, size_t table_len,
                                           const char *index, size_t index_len);
TITO_API tito_future_t *tito_db_drop_table(tito_db_t *db, const char *table, size_t table_len);
/* The catalog. Result: bytes, a JSON array of tables with their indexes, versions and states. */
TITO_API tito_future_t *tito_db_schema(tito_db_t *db);

/* What the cluster of a database on TiKV looks like. Options: regions ("true": a list of them);
 * locks_us: the locks of transactions that old; resolve ("true": clears those whose owner is gone:
 * what was committed stays, the rest is rolled back). Regions and locks are those of the database's
 * namespace (of the whole cluster without one). Nothing else is written. No deadline; ends early on tito_future_cancel. UNSUPPORTED
 * for an embedded database; UNAVAILABLE. Result: bytes, a JSON object of which core/db/README.md lists
 * the names: members, stores, regions, gc, locks, rounds. Since 1.0. */
TITO_API tito_future_t *tito_db_cluster(tito_db_t *db, const tito_options_t *options);

/* ---- Backups, of embedded databases ---- */

/* A backup is a directory: a whole database that can be opened, and a file BACKUP with the sizes
 * and SHA-256 digests of the others. It holds what was committed before it began, and later commits
 * up to one timestamp. On the database's own file system the files that never change are hard
 * links: quick, without room, and lost with the disk; elsewhere they are copied. TiKV and databases
 * in memory answer UNSUPPORTED: dump their documents. These three have no deadline, end early on
 * tito_future_cancel (a close of db ends the first alone), and tell their progress in bytes. */

/* Makes a backup in dir, which must be absent or empty; there is nothing at dir until all of it is.
 * Options: base, the directory of an earlier backup on the file system of dir: files that are the
 * same are hard links to its. BUSY while another backup is being made of the database, or in dir.
 * Result: bytes, a JSON object {time (seconds, of the database), files, size, shared (bytes)}. */
TITO_API tito_future_t *tito_db_backup(tito_db_t *db, const char *dir, size_t dir_len,
                                       const tito_options_t *options);
/* Reads the backup in dir and compares it with its digests: CORRUPT names the file that is not as
 * it was written; INVALID_ARGUMENT: there is no backup. db is any handle that was not closed, open
 * or not. Result: bytes, {time, files, size}. */
TITO_API tito_future_t *tito_db_verify_backup(tito_db_t *db, const char *dir, size_t dir_len);
/* Copies the backup in dir to the directory that the target of db names, absent or empty; verified
 * on the way: there is nothing there until all of it is. db is a handle that is not open (else
 * INVALID_STATE). CORRUPT, INVALID_ARGUMENT. Result: bytes, {time, files, size}. */
TITO_API tito_future_t *tito_db_restore(tito_db_t *db, const char *dir, size_t dir_len);

/* ---- Maintenance: work in steps ---- */

enum tito_step {
    TITO_STEP_DONE = 0, /* finished; bytes: a JSON summary */
    TITO_STEP_MORE = 1, /* call next again; bytes: a JSON object with the progress */
    TITO_STEP_HOST = 2  /* documents wait for their conditions: reply to each, then call next */
};

/* Fills the model's indexes that are not readable yet. Resumable: a new one goes on where an
 * earlier one ended. Options: batch. */
TITO_API int32_t tito_reindex_open(tito_model_t *model, const tito_options_t *options,
                                   tito_steps_t **steps_out, tito_error_t **error_out);
/* Compares every record with its entries both ways. Options: batch, repair ("true"), cursor: where
 * an earlier check of the table is to be gone on with, the "cursor" of its last step; count
 * ("true"): its first steps count what is to be looked at, so that all of them tell a total. */
TITO_API int32_t tito_check_open(tito_model_t *model, const tito_options_t *options,
                                 tito_steps_t **steps_out, tito_error_t **error_out);
/* Does the next piece of work; one at a time. With a C host function TITO_STEP_HOST is not seen.
 * Result: int, an enum tito_step; bytes, JSON: {"done", "total" (not of a
 * check without count), "findings": […], "cursor" (of a check that goes on)}. */
TITO_API tito_future_t *tito_steps_next(tito_steps_t *steps);
/* The documents that wait for the host after TITO_STEP_HOST. Borrowed until the next
 * tito_steps_next. */
TITO_API size_t tito_steps_count(const tito_steps_t *steps);
TITO_API tito_slice tito_steps_document(const tito_steps_t *steps, size_t i);
/* The condition bits of document i (as tito_write_conditions). */
TITO_API int32_t tito_steps_reply(tito_steps_t *steps, size_t i, uint64_t bits);
TITO_API void tito_steps_free(tito_steps_t *steps);

#ifdef __cplusplus
}
#endif
#endif

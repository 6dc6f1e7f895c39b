/* tito.h: the C ABI of tito, a database layer over TiKV and embedded RocksDB. Everything that
 * libtito.so.1 offers is here.
 *
 * Conventions, for all functions
 *  - Handles are opaque pointers, released by their own _free function, in any order: a handle
 * keeps alive what it needs. _free accepts NULL. A handle must not be used after its _free; using
 * it after the database was closed is safe and answers TITO_CLOSED.
 *  - Bytes go in as pointer and length and are copied before the call returns. Bytes come out as
 * tito_slice, borrowed as long as the sentence at the function says. They are not NUL-terminated
 * unless said so.
 *  - Documents, specifications and values are UTF-8 JSON. Times are int64_t microseconds (since the
 * Unix epoch where they are points in time). Sizes are bytes.
 *  - Functions return a status (enum tito_status; status / 100 is its class) or a future. error_out
 * may be NULL; when it is not and the status is an error, *error_out is set to an error of yours
 * (tito_error_free); else it is set to NULL.
 *  - Whatever can block returns a future. A function that returns a future never returns an error
 * otherwise: wrong arguments are the future's result. It returns NULL only when there is no memory
 * for the future; every tito_future function accepts NULL and answers TITO_OUT_OF_MEMORY.
 *  - A NULL where a handle is needed, a closed or ended handle and a wrong state are answered with
 * an error, never with a crash.
 *
 * Threads: database, model, queue, worker, completion queue and future handles may be used from any
 * threads at the same time. Transactions, queries, reads, writes, pages, events, options, steps and
 * JSON readers belong to one thread at a time; a transaction checks it: a call from another thread
 * than the one that began it answers TITO_INVALID_STATE unless it was begun with the option
 * any_thread.
 *
 * Fork: after fork the child may use handles only to free them; everything else answers
 * TITO_FORKED (handles of plain memory go on working: errors, options, writes, reads, pages, JSON
 * readers). Open the database after the fork. A child's exit() ends as _exit, streams flushed,
 * where the parent has used the embedded engine (with glibc).
 *
 * Since: all functions are of version 1.0 unless said otherwise. */
#ifndef TITO_H
#define TITO_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef TITO_API
#define TITO_API
#endif

/* The version of this interface; tito_abi_version() of the loaded library must not be lower. */
#define TITO_ABI_VERSION 1

enum tito_status {
    TITO_OK = 0,
    TITO_NOT_FOUND = 1,
    TITO_INVALID_ARGUMENT = 100,
    TITO_INVALID_STATE = 101,
    TITO_ALREADY_EXISTS = 102,
    TITO_UNIQUE_VIOLATION = 103,
    TITO_VERSION_MISMATCH = 104,
    TITO_LIMIT_EXCEEDED = 105,
    TITO_SCHEMA_MISMATCH = 106,
    TITO_UNSUPPORTED = 107,
    TITO_FORKED = 108,
    TITO_CLOSED = 109,
    TITO_CANCELLED = 110,
    TITO_CONFLICT = 200,
    TITO_DEADLOCK = 201,
    TITO_UNAVAILABLE = 300,
    TITO_TIMEOUT = 301,
    TITO_BUSY = 302,
    TITO_OUTCOME_UNKNOWN = 400,
    TITO_CORRUPT = 500,
    TITO_IO = 501,
    TITO_OUT_OF_MEMORY = 502,
    TITO_INTERNAL = 503,
    TITO_HANDLER_FAILED = 600
};

/* Borrowed bytes. The only structure with fields in this interface; it never changes. */
typedef struct tito_slice {
    const char *data;
    size_t len;
} tito_slice;

typedef struct tito_error tito_error_t;
typedef struct tito_options tito_options_t;
typedef struct tito_db tito_db_t;
typedef struct tito_txn tito_txn_t;
typedef struct tito_model tito_model_t;
typedef struct tito_write tito_write_t;
typedef struct tito_read tito_read_t;
typedef struct tito_query tito_query_t;
typedef struct tito_page tito_page_t;
typedef struct tito_queue tito_queue_t;
typedef struct tito_worker tito_worker_t;
typedef struct tito_event tito_event_t;
typedef struct tito_steps tito_steps_t;
typedef struct tito_future tito_future_t;
typedef struct tito_cq tito_cq_t;
typedef struct tito_json tito_json_t;

/* ---- Versions, identifiers, time ---- */

/* The interface version of the loaded library. */
TITO_API uint32_t tito_abi_version(void);
/* "1.0.0", NUL-terminated, static. */
TITO_API const char *tito_version_string(void);
/* The lower-case name of a status ("not_found"), NUL-terminated, static. */
TITO_API const char *tito_status_name(int32_t status);
/* Writes a random UUID as 36 characters and a NUL. */
TITO_API void tito_uuid(char out[37]);
/* The host's clock. For the database's time: tito_db_now. */
TITO_API int64_t tito_now_us(void);

/* ---- Errors ---- */

/* The status of an error; TITO_OK for NULL. */
TITO_API int32_t tito_error_status(const tito_error_t *error);
/* What happened, where, and what to do. Never carries document values. Borrowed until
 * tito_error_free. "" for NULL. */
TITO_API tito_slice tito_error_message(const tito_error_t *error);
/* The table and the index it is about, or empty. Borrowed until tito_error_free. */
TITO_API tito_slice tito_error_table(const tito_error_t *error);
TITO_API tito_slice tito_error_index(const tito_error_t *error);
/* 1 when running the whole transaction again may succeed (class conflict or transient). */
TITO_API int32_t tito_error_retryable(const tito_error_t *error);
/* 1 when the commit may be durable all the same. */
TITO_API int32_t tito_error_outcome_unknown(const tito_error_t *error);
TITO_API void tito_error_free(tito_error_t *error);

/* ---- Options: named texts ---- */

/* NULL when there is no memory. */
TITO_API tito_options_t *tito_options_new(void);
/* Sets name (NUL-terminated) to value; a later set replaces. Unknown names are refused by the
 * function that takes the options. */
TITO_API int32_t tito_options_set(tito_options_t *options, const char *name, const char *value,
                                  size_t value_len);
TITO_API int32_t tito_options_set_int(tito_options_t *options, const char *name, int64_t value);
TITO_API void tito_options_free(tito_options_t *options);

/* ---- Futures ---- */

/* A future starts lazily: tito_future_wait without a timeout runs it in the calling thread; a wait
 * with a timeout, tito_future_start, tito_future_then and tito_future_watch hand it to the
 * library's threads. Operations of one transaction run one at a time in the order in which they
 * were made. */

/* Waits: timeout_us < 0 for ever (until the operation's own deadline), 0 only looks. Returns the
 * operation's status. When it is not ready in time: TITO_TIMEOUT, and tito_future_ready is 0; the
 * operation goes on. @thread any */
TITO_API int32_t tito_future_wait(tito_future_t *future, int64_t timeout_us,
                                  tito_error_t **error_out);
/* 1 when the result is there. */
TITO_API int32_t tito_future_ready(const tito_future_t *future);
/* Hands it to the library's threads. Nothing when it has started. */
TITO_API int32_t tito_future_start(tito_future_t *future, tito_error_t **error_out);
/* Starts it and puts tag into cq when it is ready (once, also when it was ready before). The cq may
 * be freed before. */
TITO_API int32_t tito_future_watch(tito_future_t *future, tito_cq_t *cq, uint64_t tag,
                                   tito_error_t **error_out);
/* Starts it and calls back when it is ready: once, from the completing thread (or at once in the
 * calling one), no lock held. The callback must not block. A future takes one callback or one
 * watch. */
typedef void (*tito_future_callback)(void *context, tito_future_t *future);
TITO_API int32_t tito_future_then(tito_future_t *future, tito_future_callback callback,
                                  void *context, tito_error_t **error_out);
/* Asks it to end with TITO_CANCELLED. A commit whose point of no return was passed ends with its
 * real result or TITO_OUTCOME_UNKNOWN. */
TITO_API void tito_future_cancel(tito_future_t *future);
/* Results, of a ready future with status TITO_OK; zero or empty otherwise. Which one an operation
 * has is said there. */
TITO_API int64_t tito_future_int(const tito_future_t *future);
/* Borrowed until tito_future_free. */
TITO_API tito_slice tito_future_bytes(const tito_future_t *future);
/* The page, yours from now on (tito_page_free); NULL when taken before. */
TITO_API tito_page_t *tito_future_page(tito_future_t *future);
/* How far an operation is that says so (others: 0 of 0), in the unit it names; the total is 0 until
 * it is known. Either may be NULL. @thread any. */
TITO_API int32_t tito_future_progress(const tito_future_t *future, int64_t *done_out,
                                      int64_t *total_out);
/* Frees it at any time; an operation that runs goes on, its result is dropped. */
TITO_API void tito_future_free(tito_future_t *future);

/* ---- Completion queues ---- */

/* An empty queue; it needs no database. */
TITO_API int32_t tito_cq_new(tito_cq_t **cq_out, tito_error_t **error_out);
/* A descriptor that is readable while completions wait (an eventfd of the library's, or the
 * accepted socket). Do not read or close it. */
TITO_API int32_t tito_cq_fd(const tito_cq_t *cq);
/* Takes up to max tags; returns how many. Fewer than max means empty, and the descriptor is no
 * longer readable. Never blocks. */
TITO_API size_t tito_cq_drain(tito_cq_t *cq, uint64_t *tags_out, size_t max);
/* The form for event loops that can only connect to a unix socket: listens at path (NUL-terminated,
 * removed on accept or free). After the loop has connected, accept takes the connection if it comes
 * from this process; the library then writes one byte when the queue becomes non-empty, and one
 * each heartbeat_us (0 = none). The loop reads the bytes. */
TITO_API int32_t tito_cq_listen(tito_cq_t *cq, const char *path, tito_error_t **error_out);
TITO_API int32_t tito_cq_accept(tito_cq_t *cq, int64_t heartbeat_us, tito_error_t **error_out);
TITO_API void tito_cq_free(tito_cq_t *cq);

/* ---- Databases ---- */

/* A database handle that is not connected yet: no thread, no file, no connection. Models can be
 * declared on it. target: a path or "rocksdb:path", "memory:", "tikv://pd1:2379,pd2:2379". Options:
 * namespace, partitions (1024), timeout_us (30 s), txn_age_us (60 s), durability (sync | buffered),
 * open_wait_us (0), block_cache_size, write_buffer_size, threads (4), log_level (error | warn |
 * info | debug). TLS to TiKV: ca (the authority of the servers' certificates), cert and key (the
 * client's own, together or not at all), each as PEM text or as the path of a file with it;
 * server_name (to expect in the certificates instead of the host). With ca every connection is TLS
 * or fails; files are looked at again, and new connections use what has changed. What is wrong with
 * them is told by tito_db_open. */
TITO_API int32_t tito_db_new(const char *target, size_t target_len, const tito_options_t *options,
                             tito_db_t **db_out, tito_error_t **error_out);
/* Connects or opens. Result: none. */
TITO_API tito_future_t *tito_db_open(tito_db_t *db);
/* tito_db_new, tito_db_open and wait in one call. Blocks. */
TITO_API int32_t tito_connect(const char *target, size_t target_len, const tito_options_t *options,
                              tito_db_t **db_out, tito_error_t **error_out);
/* Where log lines go; before tito_db_open. sink is called from any thread, one line without
 * newline, and must not call tito. level: 0 error, 1 warn, 2 info, 3 debug. */
typedef void (*tito_log_sink)(void *context, int32_t level, const char *line);
TITO_API int32_t tito_db_set_log(tito_db_t *db, tito_log_sink sink, void *context, int32_t level);
/* Ends every operation (those waiting: TITO_CLOSED), stops the workers without waiting for
 * handlers, closes the engine. Blocks until it is done. Safe to call again. Everything made from db
 * answers TITO_CLOSED afterwards. INVALID_STATE when called from a C handler, a host function or a
 * callback. */
TITO_API int32_t tito_db_close(tito_db_t *db, tito_error_t **error_out);
/* tito_db_close in a thread of its own: returns at once, and puts tag into cq when it is closed
 * (the cq may be freed before). From anywhere. INVALID_STATE: a second call. UNAVAILABLE: no
 * thread. */
TITO_API int32_t tito_db_close_watch(tito_db_t *db, tito_cq_t *cq, uint64_t tag,
                                     tito_error_t **error_out);
/* Closes when still open, and waits for tito_db_close_watch. In a forked child it frees memory
 * only. Not called from a C handler or a callback (it would stay open). */
TITO_API void tito_db_free(tito_db_t *db);
/* The database's time. Result: int, microseconds. */
TITO_API tito_future_t *tito_db_now(tito_db_t *db);
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

/* ---- Transactions ---- */

/* Begins; contacts nobody, does not block. Options: age_us, timeout_us and attempts (of
 * tito_txn_retry and tito_transact), read_only, causal, any_thread (each "true" or "false").
 * options may be NULL. */
TITO_API int32_t tito_txn_begin(tito_db_t *db, const tito_options_t *options, tito_txn_t **txn_out,
                                tito_error_t **error_out);
/* Result: int, the commit timestamp. After any failure the transaction has ended. */
TITO_API tito_future_t *tito_txn_commit(tito_txn_t *txn);
TITO_API tito_future_t *tito_txn_rollback(tito_txn_t *txn);
/* After an attempt failed with status: waits (backoff with jitter) and makes txn a fresh
 * transaction for the next attempt, or ends with that status when it must not be tried again or the
 * budget is used up. A loop is: begin; work; commit; on failure retry and work again. Result: none.
 */
TITO_API tito_future_t *tito_txn_retry(tito_txn_t *txn, int32_t status);
/* The snapshot's timestamp, taking the snapshot when there is none yet. Result: int. */
TITO_API tito_future_t *tito_txn_start_version(tito_txn_t *txn);
/* Makes the commit fail with status and message. */
TITO_API int32_t tito_txn_doom(tito_txn_t *txn, int32_t status, const char *message,
                               size_t message_len);
/* 1 while it takes operations. */
TITO_API int32_t tito_txn_is_open(const tito_txn_t *txn);
/* Rolls back when it is open, also while futures of it are kept; those that have not run answer
 * TITO_INVALID_STATE. */
TITO_API void tito_txn_free(tito_txn_t *txn);
/* Runs work in a transaction, commits, and runs it again on conflicts; blocks. work returns a
 * status; anything but TITO_OK rolls back, and is retried when its class says so. txn is borrowed
 * for the call of work. */
typedef int32_t (*tito_transact_fn)(void *context, tito_txn_t *txn);
TITO_API int32_t tito_transact(tito_db_t *db, const tito_options_t *options, tito_transact_fn work,
                               void *context, tito_error_t **error_out);

/* ---- Models ---- */

/* Declares a model. spec is a JSON object: table, indexes and unique_indexes [{name, version,
 * fields [{name, type, order}], condition (true | false | "host"), where, sparse, covering}],
 * relationships [{source_field_name, destination_field_name, model}], fields, timestamps, events
 * ("host"), partition_key ("host" or a path), references ("host"). Does not block; the stored
 * catalog is compared at first use. */
TITO_API int32_t tito_model_declare(tito_db_t *db, const char *spec, size_t spec_len,
                                    tito_model_t **model_out, tito_error_t **error_out);
TITO_API void tito_model_free(tito_model_t *model);

/* What the host's functions say of a document. Filled by the host before a write, or by the model's
 * host function during the call that makes the future, in the calling thread. Copied by the
 * operation; reusable after tito_write_reset. */
TITO_API tito_write_t *tito_write_new(void);
TITO_API void tito_write_reset(tito_write_t *write);
TITO_API void tito_write_free(tito_write_t *write);
/* Bit k: the condition of the k-th index with condition "host" holds (in order of declaration,
 * indexes before unique_indexes). Default: none hold. */
TITO_API int32_t tito_write_conditions(tito_write_t *write, uint64_t bits);
/* Asks for the model's events with this operation: "INSERT", "UPDATE", "DELETE" or a name of your
 * own. */
TITO_API int32_t tito_write_operation(tito_write_t *write, const char *operation, size_t len);
/* The events: a JSON array of {name, timestamp (seconds, optional), payload (optional), key
 * (optional)}. */
TITO_API int32_t tito_write_events(tito_write_t *write, const char *events, size_t len);
TITO_API int32_t tito_write_partition_key(tito_write_t *write, const char *key, size_t len);
/* Ids of other records: a JSON array of strings. */
TITO_API int32_t tito_write_references(tito_write_t *write, const char *references, size_t len);
/* The write answers TITO_VERSION_MISMATCH unless the record's version is this one.
 * TITO_INVALID_ARGUMENT: 0, which is no version (a result without the record has it). */
TITO_API int32_t tito_write_if_version(tito_write_t *write, uint64_t version);
/* What was asked for with tito_write_operation, so that a host function can skip events nobody
 * wants. Borrowed until the next change. */
TITO_API tito_slice tito_write_get_operation(const tito_write_t *write);

/* A C host function: fills write (conditions, events, partition key, references) for a document.
 * Runs in the thread that calls the write operation, before that returns; for tito_model_patch and
 * tito_steps_next, whose documents are known only later, in the thread that runs the operation: the
 * one that waits without a timeout, else one of the library's. It must not call tito but for
 * tito_write_… and tito_json_… (an operation made in it answers INVALID_STATE). A status other than
 * TITO_OK fails the operation. Set it before the first write. */
typedef int32_t (*tito_host_fn)(void *context, const char *document, size_t document_len,
                                tito_write_t *write);
TITO_API int32_t tito_model_set_host(tito_model_t *model, tito_host_fn host, void *context);

/* In all of these txn may be NULL: the operation is then a transaction of its own, retried on
 * conflicts. write may be NULL. A failed write dooms txn. */

/* Inserts. ALREADY_EXISTS, UNIQUE_VIOLATION (against the store: at commit). Result: bytes, the
 * document as stored; int, its version. */
TITO_API tito_future_t *tito_model_build(tito_model_t *model, tito_txn_t *txn, const char *document,
                                         size_t document_len, const tito_write_t *write);
/* Replaces; NOT_FOUND. Result as build. */
TITO_API tito_future_t *tito_model_update(tito_model_t *model, tito_txn_t *txn,
                                          const char *document, size_t document_len,
                                          const tito_write_t *write);
/* Inserts or replaces. Result as build. */
TITO_API tito_future_t *tito_model_save(tito_model_t *model, tito_txn_t *txn, const char *document,
                                        size_t document_len, const tito_write_t *write);
/* Merges changes (RFC 7396) into the record; NOT_FOUND. A model whose conditions, events, partition
 * key or references come from the host (and has no C host function) answers INVALID_STATE: use
 * tito_model_merge, ask the host, then tito_model_update, in one transaction. Result as build. */
TITO_API tito_future_t *tito_model_patch(tito_model_t *model, tito_txn_t *txn, const char *id,
                                         size_t id_len, const char *changes, size_t changes_len,
                                         const tito_write_t *write);
/* Only computes what patch would store; txn is needed. Result: bytes, the merged document; int, the
 * stored version. */
TITO_API tito_future_t *tito_model_merge(tito_model_t *model, tito_txn_t *txn, const char *id,
                                         size_t id_len, const char *changes, size_t changes_len);
/* Deletes. The events of a delete are about the old document: find it first in the same
 * transaction. Result: int, 1 when it was there. */
TITO_API tito_future_t *tito_model_delete(tito_model_t *model, tito_txn_t *txn, const char *id,
                                          size_t id_len, const tito_write_t *write);
/* Makes the commit of txn fail with CONFLICT when the record changes before it; NOT_FOUND. Result:
 * none. */
TITO_API tito_future_t *tito_model_assert_current(tito_model_t *model, tito_txn_t *txn,
                                                  const char *id, size_t id_len);

/* How to read. NULL means plainly. Reusable. */
TITO_API tito_read_t *tito_read_new(void);
/* Hydrates a relationship by its destination name; a chain is written with dots ("tags.category").
 */
TITO_API int32_t tito_read_relationship(tito_read_t *read, const char *path, size_t len);
/* Locks the record until the transaction ends: wait_us < 0 within the deadline, 0 answers BUSY at
 * once. */
TITO_API int32_t tito_read_lock(tito_read_t *read, int64_t wait_us);
TITO_API void tito_read_free(tito_read_t *read);

/* One record; NOT_FOUND. Result: bytes, the document; int, its version. */
TITO_API tito_future_t *tito_model_find(tito_model_t *model, tito_txn_t *txn, const char *id,
                                        size_t id_len, const tito_read_t *read);
/* ids: a JSON array of strings. Result: page, the records that exist, in the order of ids. */
TITO_API tito_future_t *tito_model_find_many(tito_model_t *model, tito_txn_t *txn, const char *ids,
                                             size_t ids_len, const tito_read_t *read);

/* ---- Queries ---- */

enum tito_bound { TITO_GT = 1, TITO_GTE = 2, TITO_LT = 3, TITO_LTE = 4, TITO_STARTS_WITH = 5 };

/* A query by an index, or over the whole table. Reusable: executing copies it. The first call below
 * that fails is kept: the executions of this query answer its error, with the text. */
TITO_API int32_t tito_query_new(tito_model_t *model, const char *index, size_t index_len,
                                tito_query_t **query_out, tito_error_t **error_out);
TITO_API int32_t tito_query_scan(tito_model_t *model, tito_query_t **query_out,
                                 tito_error_t **error_out);
/* The value of the next field: a JSON scalar. What is wrong with it is told by the execution. */
TITO_API int32_t tito_query_value(tito_query_t *query, const char *value, size_t len);
/* A bound (enum tito_bound) of the field after the last value; a lower and an upper one may be
 * given together. */
TITO_API int32_t tito_query_bound(tito_query_t *query, int32_t bound, const char *value,
                                  size_t len);
/* Items of a page: 1 to 10,000; 100 when never called. */
TITO_API int32_t tito_query_limit(tito_query_t *query, int64_t limit);
/* Goes on behind an earlier page of the same query (any limit); len 0 begins anew. */
TITO_API int32_t tito_query_cursor(tito_query_t *query, const char *cursor, size_t len);
TITO_API int32_t tito_query_relationship(tito_query_t *query, const char *path, size_t len);
TITO_API int32_t tito_query_reverse(tito_query_t *query, int32_t on);
/* Items carry the id only. */
TITO_API int32_t tito_query_keys_only(tito_query_t *query, int32_t on);
TITO_API void tito_query_free(tito_query_t *query);

/* Result: page. */
TITO_API tito_future_t *tito_query_execute(const tito_query_t *query, tito_txn_t *txn);
/* The first document, of keys only {"id": …}; NOT_FOUND. Result: bytes; int, its version. */
TITO_API tito_future_t *tito_query_first(const tito_query_t *query, tito_txn_t *txn);
/* How many documents in all, whatever limit and cursor. Result: int. */
TITO_API tito_future_t *tito_query_count(const tito_query_t *query, tito_txn_t *txn);
/* How it would be executed. Result: bytes, a JSON object without values. */
TITO_API tito_future_t *tito_query_explain(const tito_query_t *query);

/* Pages. Slices are borrowed until tito_page_free. An i that is too high gives an empty slice or 0.
 */
TITO_API size_t tito_page_count(const tito_page_t *page);
TITO_API tito_slice tito_page_document(const tito_page_t *page, size_t i);
TITO_API tito_slice tito_page_id(const tito_page_t *page, size_t i);
TITO_API uint64_t tito_page_version(const tito_page_t *page, size_t i);
/* The token of the next page; empty when there is none. */
TITO_API tito_slice tito_page_cursor(const tito_page_t *page);
TITO_API void tito_page_free(tito_page_t *page);

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
/* Compares every record with its entries both ways. Options: repair ("true"). */
TITO_API int32_t tito_check_open(tito_model_t *model, const tito_options_t *options,
                                 tito_steps_t **steps_out, tito_error_t **error_out);
/* Does the next piece of work; one at a time. With a C host function TITO_STEP_HOST is not seen.
 * Result: int, an enum tito_step; bytes, JSON: {"done", "total", "findings": […]}. */
TITO_API tito_future_t *tito_steps_next(tito_steps_t *steps);
/* The documents that wait for the host after TITO_STEP_HOST. Borrowed until the next
 * tito_steps_next. */
TITO_API size_t tito_steps_count(const tito_steps_t *steps);
TITO_API tito_slice tito_steps_document(const tito_steps_t *steps, size_t i);
/* The condition bits of document i (as tito_write_conditions). */
TITO_API int32_t tito_steps_reply(tito_steps_t *steps, size_t i, uint64_t bits);
TITO_API void tito_steps_free(tito_steps_t *steps);

/* ---- Queues ---- */

/* A type of events. Options: partitions (1 to 9999), retention_us (of completed events; 0 keeps
 * none), ordering (key | partition | none). Does not block; a partition count that differs from the
 * stored one is SCHEMA_MISMATCH at first use. */
TITO_API int32_t tito_queue_open(tito_db_t *db, const char *type, size_t type_len,
                                 const tito_options_t *options, tito_queue_t **queue_out,
                                 tito_error_t **error_out);
TITO_API void tito_queue_free(tito_queue_t *queue);
/* Publishes an event in txn, or in a transaction of its own. payload: JSON. due_us: not before this
 * time, 0 = at once; delay_us is added to the database's time at commit; give one of the two.
 * options (or NULL): unique, a token of at most 1,024 bytes: ALREADY_EXISTS while an unfinished
 * event of the type has it; on_duplicate ("refuse" | "return": then nothing is published, and the
 * result is the other event's id); action, entity, entity_id, references (a JSON array), as events
 * of a model have them. Result: bytes, the event's id; empty in a transaction, where it
 * gets one at the commit. */
TITO_API tito_future_t *tito_queue_publish(tito_queue_t *queue, tito_txn_t *txn, const char *key,
                                           size_t key_len, const char *payload, size_t payload_len,
                                           int64_t due_us, int64_t delay_us,
                                           const tito_options_t *options);
/* Lists events: filter is a JSON object {state: "pending" | "parked" (waiting for a retry, or
 * behind one) | "completed" | "failed", key, owner (an entity, "table:user:u1", or its id), from,
 * to (seconds), limit, cursor}, or empty: all
 * pending ones. Result: page of events as JSON documents {id, type, state, key, sequence,
 * partition, timestamp, not_before, finished_at (seconds), attempts, action, entity, entity_id,
 * references, payload, last_error}, what is absent left out. */
TITO_API tito_future_t *tito_queue_history(tito_queue_t *queue, const char *filter,
                                           size_t filter_len);
/* Makes a failed event pending again, attempts 0; removes a failed or pending one. NOT_FOUND.
 * Result: none. */
TITO_API tito_future_t *tito_queue_retry(tito_queue_t *queue, const char *event_id,
                                         size_t event_id_len);
TITO_API tito_future_t *tito_queue_drop(tito_queue_t *queue, const char *event_id,
                                        size_t event_id_len);
/* Deletes all events that fit filter, a JSON object {state, key, owner, from, to} as of
 * tito_queue_history; without a state those of every state. In transactions of 256 events: one that
 * fails has deleted a part. What a handler has in hand is finished there without effect. Has no
 * deadline. Result: int, how many. */
TITO_API tito_future_t *tito_queue_purge(tito_queue_t *queue, const char *filter,
                                         size_t filter_len);
/* Publishes completed (or, by state, failed) events again, as new ones that are due now: filter is
 * {state, key, owner, from, to (seconds, when they were finished), into (another type)}. What is
 * finished after the call is not replayed. In transactions of 256 events: one that fails has
 * published a part. Has no deadline. Result: int, how many. */
TITO_API tito_future_t *tito_queue_replay(tito_queue_t *queue, const char *filter,
                                          size_t filter_len);
/* 1: no worker of any process is given events of the type from now on (others within two seconds);
 * 0: they are again. It is stored. Publishing goes on. Result: none. */
TITO_API tito_future_t *tito_queue_set_paused(tito_queue_t *queue, int32_t paused);
/* How the type is now. Result: bytes, a JSON object {paused, pending, parked, failed_stored
 * (counted up to 100,000), lag, handler_p50, handler_p99, handler_max (seconds), and the counters
 * of this process: published, delivered, acknowledged, retried, failed, rescheduled, advanced,
 * timed_out, conflicts, dropped, lost, expired, leases_taken, leases_given, leases_lost, waiting,
 * parked_keys}. */
TITO_API tito_future_t *tito_queue_stats(tito_queue_t *queue);
/* How each partition of the type is, seen from outside of its workers, at one moment. Result:
 * bytes, a JSON object {partitions (how many there are), complete (false: more than 1,000,000
 * events are stored, the rest was not looked at), now (seconds), items: [{partition, pending,
 * parked, parked_keys, oldest (when its first pending event is or was due, seconds), checkpoint
 * (before it nothing is pending, seconds), worker (who has its lease), alive (whether that worker
 * lives)}]}; partitions of which nothing is known are left out, and so is what is absent.
 * NOT_FOUND: nobody has used the type. */
TITO_API tito_future_t *tito_queue_partitions(tito_queue_t *queue);
/* The types of events of the database, by name. Result: bytes, a JSON array of {type, partitions,
 * paused}. */
TITO_API tito_future_t *tito_db_queues(tito_db_t *db);

/* ---- Recurring events ---- */

/* Makes or replaces a recurring event; spec is a JSON object {name, type, key, cron (five fields:
 * minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, @monthly, @yearly),
 * timezone ("Europe/Berlin"; UTC), payload, catch_up ("one" | "all" | "none": what becomes of ticks
 * that nobody was there for)}. A worker that handles the type publishes the event of each tick,
 * once, whoever dies when. Setting the same times again changes nothing about the ticks.
 * INVALID_ARGUMENT. Result: none. */
TITO_API tito_future_t *tito_db_schedule(tito_db_t *db, const char *spec, size_t spec_len);
/* NOT_FOUND. Result: none. */
TITO_API tito_future_t *tito_db_unschedule(tito_db_t *db, const char *name, size_t name_len);
/* Result: bytes, a JSON array of the schedules, each with next, its next tick (seconds). */
TITO_API tito_future_t *tito_db_schedules(tito_db_t *db);

/* ---- Workers ---- */

/* Options: concurrency (1), partition_from and partition_to (excluded), max_retries (25),
 * retry_base_us, retry_factor, retry_cap_us, retry_jitter (0 to 1), handler_timeout_us,
 * drain_timeout_us, leased ("true" | "false" | "auto": unless there is a range), lease_us (10 s),
 * batch (as of tito_worker_on), gc_retention_us (has old versions removed, as tito_db_gc; default:
 * not), leader ("true" | "false": whether it works before tito_worker_set_leader says otherwise).
 * Leased workers of a type share its partitions: one that dies is replaced when its lease has run
 * out, and what it does without a lease has no effect. */
TITO_API int32_t tito_worker_new(tito_db_t *db, const tito_options_t *options,
                                 tito_worker_t **worker_out, tito_error_t **error_out);
/* A C handler. It may settle the event; when it has not, returning TITO_OK acknowledges and another
 * status fails it. The event is the library's: it is freed when the handler has returned, and
 * operations of its transaction that are still under way then make it fail. */
typedef int32_t (*tito_handler_fn)(void *context, tito_event_t *event);
/* Takes events of a type, before tito_worker_begin. handler NULL: the host takes them with
 * tito_worker_take. Options, for this type: max_retries, retry_base_us, retry_factor, retry_cap_us,
 * retry_jitter, handler_timeout_us, concurrency (events with handlers at once), key_concurrency (of
 * one key, where the ordering is none), rate (events per second), batch (1 to 1000: the type's
 * events come in batches of at most that many, see tito_event_count; default: one by one). All are
 * of this worker. Does not block. */
TITO_API int32_t tito_worker_on(tito_worker_t *worker, const char *type, size_t type_len,
                                const tito_options_t *options, tito_handler_fn handler,
                                void *context, tito_error_t **error_out);
/* Starts reading. Types with a C handler are handled by `concurrency` threads of the library; as
 * many events of the other types may be with the host at once. Result: none. A type that is met for
 * the first time takes a transaction (SCHEMA_MISMATCH when another partition count is stored). */
TITO_API tito_future_t *tito_worker_begin(tito_worker_t *worker);
/* tito_worker_begin and wait in one call. Blocks. */
TITO_API int32_t tito_worker_start(tito_worker_t *worker, tito_error_t **error_out);
/* Takes up to max events that may run now; each is yours: settle it, then tito_event_free. Waits up
 * to timeout_us for the first (0: not at all; < 0: until the worker ends). *count_out 0 with
 * TITO_OK: none in time. TITO_CLOSED: the worker has stopped and nothing is left. */
TITO_API int32_t tito_worker_take(tito_worker_t *worker, tito_event_t **events_out, size_t max,
                                  int64_t timeout_us, size_t *count_out, tito_error_t **error_out);
/* A descriptor that is readable while events wait to be taken or the worker has ended. Do not read
 * or close it. */
TITO_API int32_t tito_worker_fd(tito_worker_t *worker);
/* Whether it works (1) or rests (0). */
TITO_API int32_t tito_worker_set_leader(tito_worker_t *worker, int32_t leader);
/* Stops taking new events; what has started may end within drain_timeout_us (< 0: the option's).
 * Does not block; may be called from a handler. */
TITO_API int32_t tito_worker_stop(tito_worker_t *worker, int64_t drain_timeout_us);
/* Waits until the worker is stopped, has settled everything, and its threads have ended. Result:
 * int, 1 when it drained, 0 when the time ran out. What made a handler thread give up (IO) is told
 * here. */
TITO_API tito_future_t *tito_worker_join(tito_worker_t *worker);
/* Stops without draining when it still runs, and waits for C handlers that run. Does nothing when
 * called from a C handler. */
TITO_API void tito_worker_free(tito_worker_t *worker);

enum tito_event_field {
    TITO_EVENT_ID = 1, /* "{partition}.{timestamp}.{uuid}" */
    TITO_EVENT_TYPE = 2,
    TITO_EVENT_KEY = 3,
    TITO_EVENT_SEQUENCE = 4, /* the part of the id that orders */
    TITO_EVENT_ACTION = 5,
    TITO_EVENT_ENTITY = 6, /* "table:user:{id}" */
    TITO_EVENT_ENTITY_ID = 7,
    TITO_EVENT_REFERENCES = 8, /* a JSON array */
    TITO_EVENT_PAYLOAD = 9,    /* JSON */
    TITO_EVENT_LAST_ERROR = 10,
    TITO_EVENT_PARTITION = 11, /* int from here on */
    TITO_EVENT_TIMESTAMP = 12, /* int, µs: its place in time */
    TITO_EVENT_ATTEMPTS = 13   /* int: how often it has failed */
};

/* Borrowed until tito_event_free; empty for a field that is absent. */
TITO_API tito_slice tito_event_text(const tito_event_t *event, int32_t field);
TITO_API int64_t tito_event_int(const tito_event_t *event, int32_t field);
/* The transaction that commits together with the acknowledgement. Borrowed until the event is
 * settled. */
TITO_API int32_t tito_event_txn(tito_event_t *event, tito_txn_t **txn_out,
                                tito_error_t **error_out);
/* Settling: once each, does not block; the commit follows on the library's threads. INVALID_STATE
 * when settled before, or while operations of the event's transaction are not ready. */
TITO_API int32_t tito_event_acknowledge(tito_event_t *event);
TITO_API int32_t tito_event_fail(tito_event_t *event, const char *message, size_t message_len);
TITO_API int32_t tito_event_reschedule(tito_event_t *event, int64_t due_us);
TITO_API int32_t tito_event_advance(tito_event_t *event, const char *payload, size_t payload_len);
/* 1 when its handler timeout has passed: whatever it returns is too late. */
TITO_API int32_t tito_event_expired(const tito_event_t *event);
/* Batches, of types with the option `batch`. What a take or a handler gets then stands for the
 * events that were ready at once, of different keys (where the ordering is none: any), and counts
 * as one for `concurrency`. They share its transaction and its handler timeout, and are settled by
 * it: acknowledge  each ends as was said of it, else is acknowledged; that and what was written in
 * the transaction commit together or not at all reschedule   the same, for those of which nothing
 * was said advance      TITO_INVALID_STATE fail, a timeout, an error of the commit nothing commits
 * and no attempt is counted: they run again in batches of at most half the size, so that one that
 * can not succeed ends up alone, and only there fails An event that has failed before comes alone.
 * When all were said to have failed, nothing that was written commits.
 *
 * How many events it stands for; 0: it is no batch. Its own fields are those of the first. Any
 * thread that may use the event. */
TITO_API size_t tito_event_count(const tito_event_t *event);
/* The event at index (from 0; NULL beyond), for tito_event_text and tito_event_int; acknowledge,
 * fail, reschedule and advance on it say how this one ends (the last word counts) once the batch is
 * acknowledged: TITO_INVALID_STATE after that, or when its time has passed. Borrowed until
 * tito_event_free of the batch; freeing it does nothing. */
TITO_API tito_event_t *tito_event_member(tito_event_t *event, size_t index);
/* Frees it; one that was not settled fails. */
TITO_API void tito_event_free(tito_event_t *event);

/* ---- JSON: for bindings that build host values ---- */

enum tito_json_token {
    TITO_JSON_END = 0, /* after the whole value */
    TITO_JSON_OBJECT = 1,
    TITO_JSON_OBJECT_END = 2,
    TITO_JSON_ARRAY = 3,
    TITO_JSON_ARRAY_END = 4,
    TITO_JSON_KEY = 5,    /* text */
    TITO_JSON_STRING = 6, /* text */
    TITO_JSON_INT = 7,    /* int */
    TITO_JSON_DOUBLE = 8, /* double */
    TITO_JSON_BIG = 9,    /* text: an integer outside int64 */
    TITO_JSON_TRUE = 10,
    TITO_JSON_FALSE = 11,
    TITO_JSON_NULL = 12
};

/* A reader of JSON texts, reusable. NULL when there is no memory. */
TITO_API tito_json_t *tito_json_new(void);
/* Begins to read text, which must stay as it is until the reading has ended. INVALID_ARGUMENT when
 * it is not valid JSON within the limits. */
TITO_API int32_t tito_json_open(tito_json_t *json, const char *text, size_t len,
                                tito_error_t **error_out);
/* The next token (enum tito_json_token), or a negated status (-TITO_OUT_OF_MEMORY). text_out is
 * borrowed until the next call. Any of the three may be NULL. */
TITO_API int32_t tito_json_next(tito_json_t *json, tito_slice *text_out, int64_t *int_out,
                                double *double_out);
TITO_API void tito_json_free(tito_json_t *json);
/* Writes the shortest text that reads back as the same double, as JSON, with ".0" or an exponent:
 * at most 32 bytes, no NUL. Returns its length; 0 for NaN and infinities. */
TITO_API size_t tito_json_write_double(double value, char out[32]);

#ifdef __cplusplus
}
#endif
#endif

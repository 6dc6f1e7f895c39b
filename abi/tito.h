/* tito.h: the C ABI of tito, a database layer over TiKV and embedded RocksDB. It brings everything
 * that libtito.so.1 offers: tito_queue.h has queues and workers, tito_admin.h what operates a
 * store.
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
 * namespace, partitions (1024), timeout_us (30 s; of each operation, the opening among them; a
 * transaction that is run again has it once for all attempts), txn_age_us (60 s), durability (sync
 * | buffered), open_wait_us (0), block_cache_size, write_buffer_size, threads (4), log_level (error
 * | warn | info | debug). TLS to TiKV: ca (the authority of the servers' certificates), cert and
 * key (the client's own, together or not at all), each as PEM text or as the path of a file with
 * it; server_name (to expect in the certificates instead of the host). With ca every connection is
 * TLS or fails; files are looked at again, and new connections use what has changed. What is wrong
 * with them is told by tito_db_open. */
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
/* ---- Transactions ---- */

/* Begins; contacts nobody, does not block. Options: age_us, timeout_us and attempts (of
 * tito_txn_retry and tito_transact: of all attempts together; operations of the first have the
 * handle's timeout each), read_only, causal, any_thread (each "true" or "false"). options may be
 * NULL. */
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

#include "tito_admin.h"
#include "tito_queue.h"
#endif

/* tito_queue.h: the part of tito.h about queues: types of events, recurring events, workers,
 * events. A program includes tito.h, which brings it and has the conventions. */
#ifndef TITO_QUEUE_H
#define TITO_QUEUE_H

#include "tito.h"

#ifdef __cplusplus
extern "C" {
#endif

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
 * of a model have them. On a cluster events without a token that are published at once, outside of
 * transactions and for partitions near each other, share a transaction: an outcome that is unknown
 * is so for all of them, an error is told to its own event. Result: bytes, the event's id; empty in
 * a transaction, where it gets one at the commit. */
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
 * published a part. Progress: events published. Has no deadline. Result: int, how many. */
TITO_API tito_future_t *tito_queue_replay(tito_queue_t *queue, const char *filter,
                                          size_t filter_len);
/* 1: no worker of any process is given events of the type from now on (others within two seconds);
 * 0: they are again. It is stored. Publishing goes on. Result: none. */
TITO_API tito_future_t *tito_queue_set_paused(tito_queue_t *queue, int32_t paused);
/* Gives the type another partition count (1 to 9999) while it is in use. Publishing goes on, by the
 * new count once all workers rest; nothing of the type is delivered until the call ends. Order per
 * key stays, ids of unfinished events change. Embedded it waits until the handlers end that have
 * events of the type in hand (so do not call it in one); on a cluster it waits 22 seconds, and the
 * outcome of a handler that takes longer than 10 has no effect: it runs again. Workers that run take the new
 * count on; who opens the type with `partitions` from now on has to give the new one. Progress:
 * partitions looked through. A call that did not end (cancelled, killed, an error) leaves the type
 * without delivery until the next call, which goes on; with another count than before it changes to
 * that one, so also back. Has no deadline; ends by tito_future_cancel. NOT_FOUND: nobody has used
 * the type; INVALID_ARGUMENT; INVALID_STATE: another call took over. Result: int, events moved. */
TITO_API tito_future_t *tito_queue_repartition(tito_queue_t *queue, int32_t partitions);
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
 * paused, moving: true while its partition count changes (tito_queue_repartition)}. */
TITO_API tito_future_t *tito_db_queues(tito_db_t *db);

/* ---- Recurring events ---- */

/* Makes or replaces a recurring event; spec is a JSON object {name, type, key, cron (five fields:
 * minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, @monthly, @yearly),
 * timezone ("Europe/Berlin"; UTC), payload, catch_up ("one" | "all" | "none": what becomes of ticks
 * that nobody was there for)}. A worker that handles the type publishes the event of each tick,
 * once, whoever dies when. Setting the same times again changes nothing about the ticks.
 * INVALID_ARGUMENT. Result: none. */
TITO_API tito_future_t *tito_db_schedule(tito_db_t *db, const char *spec, size_t spec_len);
/* Events that it has published (the next one up to two seconds before its tick) stay;
 * tito_queue_purge of the owner "schedule:{name}" deletes those that wait. NOT_FOUND. Result: none. */
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
/* The same for a loop that watches a completion queue: tag comes into cq, again and again, when
 * events wait to be taken or the worker has ended, at most once until a take has come back with
 * fewer events than it asked for. So take until then, then wait for the tag. Once for a worker
 * (INVALID_STATE); the cq may be freed before. Does not block. */
TITO_API int32_t tito_worker_watch(tito_worker_t *worker, tito_cq_t *cq, uint64_t tag,
                                   tito_error_t **error_out);
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
 * as one for `concurrency`. They share its transaction and its handler timeout. Settling the batch:
 *  - acknowledge: each ends as was said of it, else is acknowledged; that and what was written in
 *    the transaction commit together or not at all.
 *  - reschedule: the same, for those of which nothing was said.
 *  - advance: TITO_INVALID_STATE.
 *  - fail, a timeout, an error of the commit: nothing commits and no attempt is counted. They run
 *    again in batches of at most half the size, so that one that can not succeed ends up alone, and
 *    only there fails.
 * An event that has failed before comes alone. When all were said to have failed, nothing that was
 * written commits. */

/* How many events it stands for; 0: it is no batch. Its own fields are those of the first. Any
 * thread that may use the event. */
TITO_API size_t tito_event_count(const tito_event_t *event);
/* The event at index (from 0; NULL beyond), for tito_event_text and tito_event_int; acknowledge,
 * fail, reschedule and advance on it say how this one ends (the last word counts) once the batch is
 * acknowledged: TITO_INVALID_STATE after that, or when its time has passed. Borrowed until
 * tito_event_free of the batch; freeing it does nothing. */
TITO_API tito_event_t *tito_event_member(tito_event_t *event, size_t index);
/* Frees it; one that was not settled fails. */
TITO_API void tito_event_free(tito_event_t *event);

#ifdef __cplusplus
}
#endif
#endif

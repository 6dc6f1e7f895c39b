/* Every exported function, called once with whatever handles a world has: none, ones of another
 * kind, ones of a closed database, ones of a forked parent.
 *
 * X(name, kind, expression)
 *   STATUS   answers a status: INVALID_ARGUMENT without handles, CLOSED, FORKED
 *   FUTURE   the same, through a future
 *   PLAIN    answers something harmless: it must only not crash */
#ifndef TITO_TESTS_ABI_CALLS_H
#define TITO_TESTS_ABI_CALLS_H

#include "tito.h"

typedef struct world {
    tito_error_t *error;
    tito_options_t *options;
    tito_db_t *db;
    tito_txn_t *txn;
    tito_model_t *model;
    tito_write_t *write;
    tito_read_t *read;
    tito_query_t *query;
    tito_page_t *page;
    tito_queue_t *queue;
    tito_worker_t *worker;
    tito_event_t *event;
    tito_steps_t *steps;
    tito_future_t *future; /* one that has not been waited for */
    tito_cq_t *cq;
    tito_json_t *json;
} world;

typedef struct outs {
    tito_db_t *db;
    tito_txn_t *txn;
    tito_model_t *model;
    tito_query_t *query;
    tito_queue_t *queue;
    tito_worker_t *worker;
    tito_event_t *events[2];
    tito_steps_t *steps;
    tito_cq_t *cq;
    tito_error_t *error;
    size_t count;
    uint64_t tags[2];
    int64_t number;
    double real;
    tito_slice text;
    char uuid[37];
    char written[32];
} outs;

/* A string literal as pointer and length. */
#define L(text) (text), (sizeof(text) - 1)

#define CALLS(X)                                                                                   \
    X(tito_abi_version, PLAIN, tito_abi_version())                                                 \
    X(tito_version_string, PLAIN, tito_version_string())                                           \
    X(tito_status_name, PLAIN, tito_status_name(12345))                                            \
    X(tito_uuid, PLAIN, tito_uuid(w->db == NULL ? NULL : o->uuid))                                 \
    X(tito_now_us, PLAIN, tito_now_us())                                                           \
    X(tito_error_status, PLAIN, tito_error_status(w->error))                                       \
    X(tito_error_message, PLAIN, tito_error_message(w->error))                                     \
    X(tito_error_table, PLAIN, tito_error_table(w->error))                                         \
    X(tito_error_index, PLAIN, tito_error_index(w->error))                                         \
    X(tito_error_retryable, PLAIN, tito_error_retryable(w->error))                                 \
    X(tito_error_outcome_unknown, PLAIN, tito_error_outcome_unknown(w->error))                     \
    X(tito_error_free, PLAIN, tito_error_free(NULL))                                               \
    X(tito_options_new, PLAIN, tito_options_free(tito_options_new()))                              \
    X(tito_options_set, PLAIN, tito_options_set(w->options, "a", L("b")))                          \
    X(tito_options_set_int, PLAIN, tito_options_set_int(w->options, "a", 1))                       \
    X(tito_options_free, PLAIN, tito_options_free(NULL))                                           \
    X(tito_future_wait, PLAIN, tito_future_wait(w->future, 0, NULL))                               \
    X(tito_future_ready, PLAIN, tito_future_ready(w->future))                                      \
    X(tito_future_int, PLAIN, tito_future_int(w->future))                                          \
    X(tito_future_bytes, PLAIN, tito_future_bytes(w->future))                                      \
    X(tito_future_page, PLAIN, tito_future_page(w->future))                                        \
    X(tito_future_watch, PLAIN, tito_future_watch(w->future, w->cq, 1, NULL))                      \
    X(tito_future_then, PLAIN, tito_future_then(w->future, NULL, NULL, NULL))                      \
    X(tito_future_start, PLAIN, tito_future_start(w->future, NULL))                                \
    X(tito_future_progress, PLAIN, tito_future_progress(w->future, &o->number, &o->number))        \
    X(tito_future_cancel, PLAIN, tito_future_cancel(w->future))                                    \
    X(tito_future_free, PLAIN, tito_future_free(NULL))                                             \
    X(tito_cq_new, PLAIN, (tito_cq_new(&o->cq, NULL), tito_cq_free(o->cq)))                        \
    X(tito_cq_fd, PLAIN, tito_cq_fd(w->cq))                                                        \
    X(tito_cq_drain, PLAIN, tito_cq_drain(w->cq, o->tags, 2))                                      \
    X(tito_cq_listen, PLAIN, tito_cq_listen(w->cq, NULL, NULL))                                    \
    X(tito_cq_accept, PLAIN, tito_cq_accept(w->cq, 0, NULL))                                       \
    X(tito_cq_free, PLAIN, tito_cq_free(NULL))                                                     \
    X(tito_db_new, PLAIN, tito_db_new(L(":nothing:"), NULL, NULL, NULL))                           \
    X(tito_connect, PLAIN, tito_connect(NULL, 3, NULL, &o->db, NULL))                              \
    X(tito_db_open, FUTURE, tito_db_open(w->db))                                                   \
    X(tito_db_set_log, STATUS, tito_db_set_log(w->db, NULL, NULL, 0))                              \
    X(tito_db_close, PLAIN, w->db == NULL ? tito_db_close(NULL, NULL) : 0)                         \
    X(tito_db_close_watch, PLAIN, w->db == NULL ? tito_db_close_watch(NULL, w->cq, 1, NULL) : 0)   \
    X(tito_db_free, PLAIN, tito_db_free(NULL))                                                     \
    X(tito_db_now, FUTURE, tito_db_now(w->db))                                                     \
    X(tito_db_stats, FUTURE, tito_db_stats(w->db))                                                 \
    X(tito_db_metrics, FUTURE, tito_db_metrics(w->db))                                             \
    X(tito_db_gc, FUTURE, tito_db_gc(w->db, 0))                                                    \
    X(tito_db_cluster, FUTURE, tito_db_cluster(w->db, NULL))                                       \
    X(tito_db_drop_index, FUTURE, tito_db_drop_index(w->db, L("t"), L("i")))                       \
    X(tito_db_drop_table, FUTURE, tito_db_drop_table(w->db, L("t")))                               \
    X(tito_db_schema, FUTURE, tito_db_schema(w->db))                                               \
    X(tito_db_backup, FUTURE, tito_db_backup(w->db, L("/nowhere/to/be"), NULL))                    \
    X(tito_db_verify_backup, FUTURE, tito_db_verify_backup(w->db, L("/nowhere/to/be")))            \
    X(tito_db_restore, FUTURE, tito_db_restore(w->db, L("/nowhere/to/be")))                        \
    X(tito_txn_begin, STATUS, tito_txn_begin(w->db, NULL, &o->txn, &o->error))                     \
    X(tito_txn_start_version, FUTURE, tito_txn_start_version(w->txn))                              \
    X(tito_txn_doom, STATUS, tito_txn_doom(w->txn, TITO_CONFLICT, L("x")))                         \
    X(tito_txn_is_open, PLAIN, tito_txn_is_open(w->txn))                                           \
    X(tito_txn_commit, FUTURE, tito_txn_commit(w->txn))                                            \
    X(tito_txn_rollback, FUTURE, tito_txn_rollback(w->txn))                                        \
    X(tito_txn_retry, FUTURE, tito_txn_retry(w->txn, TITO_CONFLICT))                               \
    X(tito_txn_free, PLAIN, tito_txn_free(NULL))                                                   \
    X(tito_transact, STATUS, tito_transact(w->db, NULL, work_of_calls, NULL, &o->error))           \
    X(tito_model_declare, STATUS,                                                                  \
      tito_model_declare(w->db, L("{\"table\":\"x\"}"), &o->model, &o->error))                     \
    X(tito_model_free, PLAIN, tito_model_free(NULL))                                               \
    X(tito_write_new, PLAIN, tito_write_free(tito_write_new()))                                    \
    X(tito_write_reset, PLAIN, tito_write_reset(w->write))                                         \
    X(tito_write_free, PLAIN, tito_write_free(NULL))                                               \
    X(tito_write_conditions, PLAIN, tito_write_conditions(w->write, 1))                            \
    X(tito_write_operation, PLAIN, tito_write_operation(w->write, L("")))                          \
    X(tito_write_events, PLAIN, tito_write_events(w->write, L("")))                                \
    X(tito_write_partition_key, PLAIN, tito_write_partition_key(w->write, L("")))                  \
    X(tito_write_references, PLAIN, tito_write_references(w->write, L("")))                        \
    X(tito_write_if_version, PLAIN, tito_write_if_version(w->write, 0))                            \
    X(tito_write_get_operation, PLAIN, tito_write_get_operation(w->write))                         \
    X(tito_model_set_host, STATUS, tito_model_set_host(w->model, NULL, NULL))                      \
    X(tito_model_build, FUTURE, tito_model_build(w->model, NULL, L("{}"), NULL))                   \
    X(tito_model_update, FUTURE, tito_model_update(w->model, NULL, L("{}"), NULL))                 \
    X(tito_model_save, FUTURE, tito_model_save(w->model, NULL, L("{}"), NULL))                     \
    X(tito_model_patch, FUTURE, tito_model_patch(w->model, NULL, L("i"), L("{}"), NULL))           \
    X(tito_model_merge, FUTURE, tito_model_merge(w->model, w->txn, L("i"), L("{}")))               \
    X(tito_model_delete, FUTURE, tito_model_delete(w->model, NULL, L("i"), NULL))                  \
    X(tito_model_assert_current, FUTURE, tito_model_assert_current(w->model, w->txn, L("i")))      \
    X(tito_read_new, PLAIN, tito_read_free(tito_read_new()))                                       \
    X(tito_read_relationship, PLAIN, tito_read_relationship(w->read, L("parent")))                 \
    X(tito_read_lock, PLAIN, tito_read_lock(w->read, 0))                                           \
    X(tito_read_free, PLAIN, tito_read_free(NULL))                                                 \
    X(tito_model_find, FUTURE, tito_model_find(w->model, NULL, L("i"), NULL))                      \
    X(tito_model_find_many, FUTURE, tito_model_find_many(w->model, NULL, L("[]"), NULL))           \
    X(tito_query_new, STATUS, tito_query_new(w->model, L("by_kind"), &o->query, &o->error))        \
    X(tito_query_scan, STATUS, tito_query_scan(w->model, &o->query, &o->error))                    \
    X(tito_query_value, STATUS, tito_query_value(w->query, L("\"a\"")))                            \
    X(tito_query_bound, STATUS, tito_query_bound(w->query, TITO_GT, L("1")))                       \
    X(tito_query_limit, STATUS, tito_query_limit(w->query, 1))                                     \
    X(tito_query_cursor, STATUS, tito_query_cursor(w->query, L("")))                               \
    X(tito_query_relationship, STATUS, tito_query_relationship(w->query, L("parent")))             \
    X(tito_query_reverse, STATUS, tito_query_reverse(w->query, 1))                                 \
    X(tito_query_keys_only, STATUS, tito_query_keys_only(w->query, 1))                             \
    X(tito_query_free, PLAIN, tito_query_free(NULL))                                               \
    X(tito_query_execute, FUTURE, tito_query_execute(w->query, NULL))                              \
    X(tito_query_first, FUTURE, tito_query_first(w->query, NULL))                                  \
    X(tito_query_count, FUTURE, tito_query_count(w->query, NULL))                                  \
    X(tito_query_explain, FUTURE, tito_query_explain(w->query))                                    \
    X(tito_page_count, PLAIN, tito_page_count(w->page))                                            \
    X(tito_page_document, PLAIN, tito_page_document(w->page, SIZE_MAX))                            \
    X(tito_page_id, PLAIN, tito_page_id(w->page, SIZE_MAX))                                        \
    X(tito_page_version, PLAIN, tito_page_version(w->page, SIZE_MAX))                              \
    X(tito_page_cursor, PLAIN, tito_page_cursor(w->page))                                          \
    X(tito_page_free, PLAIN, tito_page_free(NULL))                                                 \
    X(tito_reindex_open, STATUS, tito_reindex_open(w->model, NULL, &o->steps, &o->error))          \
    X(tito_check_open, STATUS, tito_check_open(w->model, NULL, &o->steps, &o->error))              \
    X(tito_steps_next, FUTURE, tito_steps_next(w->steps))                                          \
    X(tito_steps_count, PLAIN, tito_steps_count(w->steps))                                         \
    X(tito_steps_document, PLAIN, tito_steps_document(w->steps, 0))                                \
    X(tito_steps_reply, STATUS, tito_steps_reply(w->steps, 0, 0))                                  \
    X(tito_steps_free, PLAIN, tito_steps_free(NULL))                                               \
    X(tito_queue_open, STATUS, tito_queue_open(w->db, L("q"), NULL, &o->queue, &o->error))         \
    X(tito_queue_free, PLAIN, tito_queue_free(NULL))                                               \
    X(tito_queue_publish, FUTURE, tito_queue_publish(w->queue, NULL, L("k"), L("1"), 0, 0, NULL))  \
    X(tito_queue_history, FUTURE, tito_queue_history(w->queue, L("{}")))                           \
    X(tito_queue_retry, FUTURE, tito_queue_retry(w->queue, L("x")))                                \
    X(tito_queue_drop, FUTURE, tito_queue_drop(w->queue, L("x")))                                  \
    X(tito_queue_purge, FUTURE, tito_queue_purge(w->queue, L("{\"key\":\"x\"}")))                  \
    X(tito_queue_replay, FUTURE, tito_queue_replay(w->queue, L("{\"key\":\"x\"}")))                \
    X(tito_queue_repartition, FUTURE, tito_queue_repartition(w->queue, 0))                         \
    X(tito_queue_set_paused, FUTURE, tito_queue_set_paused(w->queue, 0))                           \
    X(tito_queue_stats, FUTURE, tito_queue_stats(w->queue))                                        \
    X(tito_queue_partitions, FUTURE, tito_queue_partitions(w->queue))                              \
    X(tito_db_queues, FUTURE, tito_db_queues(w->db))                                               \
    X(tito_db_schedule, FUTURE, tito_db_schedule(w->db, L("{}")))                                  \
    X(tito_db_unschedule, FUTURE, tito_db_unschedule(w->db, L("x")))                               \
    X(tito_db_schedules, FUTURE, tito_db_schedules(w->db))                                         \
    X(tito_worker_new, STATUS, tito_worker_new(w->db, NULL, &o->worker, &o->error))                \
    X(tito_worker_on, STATUS, tito_worker_on(w->worker, L("q"), NULL, NULL, NULL, &o->error))      \
    X(tito_worker_begin, FUTURE, tito_worker_begin(w->worker))                                     \
    X(tito_worker_start, STATUS, tito_worker_start(w->worker, &o->error))                          \
    X(tito_worker_take, STATUS,                                                                    \
      tito_worker_take(w->worker, o->events, 2, 0, &o->count, &o->error))                          \
    X(tito_worker_fd, PLAIN, tito_worker_fd(w->worker))                                            \
    X(tito_worker_watch, STATUS, tito_worker_watch(w->worker, w->cq, 1, &o->error))                \
    X(tito_worker_set_leader, STATUS, tito_worker_set_leader(w->worker, 1))                        \
    X(tito_worker_stop, STATUS, tito_worker_stop(w->worker, 0))                                    \
    X(tito_worker_join, FUTURE, tito_worker_join(w->worker))                                       \
    X(tito_worker_free, PLAIN, tito_worker_free(NULL))                                             \
    X(tito_event_text, PLAIN, tito_event_text(w->event, TITO_EVENT_KEY))                           \
    X(tito_event_int, PLAIN, tito_event_int(w->event, TITO_EVENT_ATTEMPTS))                        \
    X(tito_event_txn, STATUS, tito_event_txn(w->event, &o->txn, &o->error))                        \
    X(tito_event_acknowledge, STATUS, tito_event_acknowledge(w->event))                            \
    X(tito_event_fail, STATUS, tito_event_fail(w->event, L("x")))                                  \
    X(tito_event_reschedule, STATUS, tito_event_reschedule(w->event, 1))                           \
    X(tito_event_advance, STATUS, tito_event_advance(w->event, L("1")))                            \
    X(tito_event_expired, PLAIN, tito_event_expired(w->event))                                     \
    X(tito_event_count, PLAIN, tito_event_count(w->event))                                         \
    X(tito_event_member, PLAIN, tito_event_member(w->event, 0))                                    \
    X(tito_event_free, PLAIN, tito_event_free(NULL))                                               \
    X(tito_json_new, PLAIN, tito_json_free(tito_json_new()))                                       \
    X(tito_json_open, PLAIN, tito_json_open(w->json, L("[1]"), NULL))                              \
    X(tito_json_next, PLAIN, tito_json_next(w->json, &o->text, &o->number, &o->real))              \
    X(tito_json_free, PLAIN, tito_json_free(NULL))                                                 \
    X(tito_json_write_double, PLAIN, tito_json_write_double(0.5, o->written))

#endif

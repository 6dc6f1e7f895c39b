/* Scenarios: queues, workers, events. */
#include "abi/nomem.h"

/* ---- queues ---- */

static int32_t run_queue_open(stage *s)
{
    tito_queue_t *queue = NULL;
    int32_t status = tito_queue_open(s->db, s->id, strlen(s->id), NULL, &queue, NULL);
    tito_queue_free(queue);
    return status;
}

static tito_future_t *publish(stage *s, tito_txn_t *txn)
{
    return tito_queue_publish(s->queue, txn, TEXT("key"), TEXT("{\"a\":1}"), 0, 0, NULL);
}
static int32_t run_publish(stage *s)
{
    return wait_free(publish(s, NULL));
}
static int32_t work_publish(stage *s, tito_txn_t *txn)
{
    return wait_free(publish(s, txn));
}
static int32_t run_txn_publish(stage *s)
{
    return in_txn(s, work_publish);
}
static int32_t run_history(stage *s)
{
    return wait_page(
        tito_queue_history(s->queue, TEXT("{\"state\":\"pending\",\"key\":\"key\",\"limit\":3}")));
}
static int32_t run_history_wrong(stage *s)
{
    return wait_page(tito_queue_history(s->queue, TEXT("{\"colour\":1}")));
}
static int32_t run_queue_retry(stage *s)
{
    return wait_free(tito_queue_retry(
        s->queue, TEXT("0000.00000000000000000001.00000000-0000-4000-8000-000000000000")));
}
static int32_t run_queue_drop(stage *s)
{
    return wait_free(tito_queue_drop(
        s->queue, TEXT("0000.00000000000000000001.00000000-0000-4000-8000-000000000000")));
}

static int32_t run_worker_new(stage *s)
{
    tito_worker_t *worker = NULL;
    tito_options_t *options = tito_options_new();
    int32_t status = options == NULL ? TITO_OUT_OF_MEMORY
                                     : tito_options_set(options, "retry_factor", TEXT("2.5"));
    if (status == TITO_OK)
        status = tito_worker_new(s->db, options, &worker, NULL);
    if (status == TITO_OK)
        status = tito_worker_on(worker, TEXT("job"), NULL, NULL, NULL, NULL);
    tito_worker_free(worker);
    tito_options_free(options);
    return status;
}

/* Publishes an event of a type that this run alone has, with two partitions. */
static int32_t publish_own(stage *s)
{
    tito_queue_t *queue = NULL;
    tito_options_t *options = tito_options_new();
    int32_t status =
        options == NULL ? TITO_OUT_OF_MEMORY : tito_options_set_int(options, "partitions", 2);
    if (status == TITO_OK)
        status = tito_queue_open(s->db, s->id, strlen(s->id), options, &queue, NULL);
    if (status == TITO_OK)
        status =
            wait_free(tito_queue_publish(queue, NULL, TEXT("key"), TEXT("{\"a\":1}"), 0, 0, NULL));
    tito_queue_free(queue);
    tito_options_free(options);
    return status;
}

/* Takes one event and settles it. The worker's own threads run out of memory too: the event then
 * comes later, or the take says so. */
static int32_t work_event(stage *s, int32_t (*settle)(stage *s, tito_event_t *event))
{
    tito_worker_t *worker = NULL;
    tito_event_t *event = NULL;
    size_t count = 0;
    int32_t status = publish_own(s);
    if (status == TITO_OK)
        status = tito_worker_new(s->db, NULL, &worker, NULL);
    if (status == TITO_OK)
        status = tito_worker_on(worker, s->id, strlen(s->id), NULL, NULL, NULL, NULL);
    if (status == TITO_OK)
        status = tito_worker_start(worker, NULL);
    if (status == TITO_OK)
        status = tito_worker_take(worker, &event, 1, 10000000, &count, NULL);
    if (status == TITO_OK) {
        assert_int_equal(count, 1);
        status = settle(s, event);
    }
    tito_event_free(event);
    if (worker != NULL)
        (void)tito_worker_stop(worker, 1000000);
    tito_worker_free(worker);
    return status;
}

static int32_t settle_ack(stage *s, tito_event_t *event)
{
    (void)s;
    return tito_event_acknowledge(event);
}
static int32_t run_event_ack(stage *s)
{
    return work_event(s, settle_ack);
}

static int32_t settle_fail(stage *s, tito_event_t *event)
{
    (void)s;
    return tito_event_fail(event, TEXT("not now"));
}
static int32_t run_event_fail(stage *s)
{
    return work_event(s, settle_fail);
}

static int32_t settle_with_txn(stage *s, tito_event_t *event)
{
    tito_txn_t *txn = NULL;
    int32_t status = tito_event_txn(event, &txn, NULL);
    if (status == TITO_OK)
        status = wait_free(build(s, txn));
    return status == TITO_OK ? tito_event_acknowledge(event) : status;
}
static int32_t run_event_txn(stage *s)
{
    return work_event(s, settle_with_txn);
}

static int32_t settle_advance(stage *s, tito_event_t *event)
{
    (void)s;
    return tito_event_advance(event, TEXT("{\"next\":true}"));
}
static int32_t run_event_advance(stage *s)
{
    return work_event(s, settle_advance);
}

const scenario nomem_queues[] = {
    {"queue open", run_queue_open, TITO_OK},
    {"publish", run_publish, TITO_OK},
    {"txn publish", run_txn_publish, TITO_OK},
    {"history", run_history, TITO_OK},
    {"history wrong", run_history_wrong, TITO_INVALID_ARGUMENT},
    {"queue retry", run_queue_retry, TITO_NOT_FOUND},
    {"queue drop", run_queue_drop, TITO_NOT_FOUND},
    {"worker new", run_worker_new, TITO_OK},
    {"event ack", run_event_ack, TITO_OK},
    {"event fail", run_event_fail, TITO_OK},
    {"event txn", run_event_txn, TITO_OK},
    {"event advance", run_event_advance, TITO_OK},
    {NULL, NULL, TITO_OK},
};

/* Many stored events at once: purge and replay.
 *
 *   page of the list ─> the same transaction deletes the rows, or publishes copies ─> next page
 *
 * INVARIANTS
 *  1. A page is listed and worked off in one transaction, so that what changed meanwhile is a
 *     conflict, and the page is done again.
 *  2. Pages go on by the list's cursor. A replay ends at the time when it began, so that it never
 *     meets its own copies that were finished meanwhile. */
#include "base/assert.h"
#include "kv/retry.h"
#include "queue/hub_int.h"
#include "queue/list_int.h"

typedef struct bulk_job {
    ti_queues *queues;
    ti_event_filter filter;
    ti_slice into;
    ti_progress *progress; /* or NULL */
    uint64_t count;        /* of the page */
    ti_buf next;           /* the cursor after the page; empty at the end */
} bulk_job;

static ti_status list_page(bulk_job *job, ti_txn *txn, ti_event_list *list_out, const ti_call *call,
                           ti_err *err)
{
    job->count = 0;
    TI_TRY(
        ti_event_list_in(job->queues, txn, &job->filter, ti_txn_arena(txn), list_out, call, err));
    ti_buf_clear(&job->next);
    TI_TRY(ti_buf_append_slice(&job->next, list_out->cursor, err));
    job->count = list_out->count;
    return TI_OK;
}

/* A ti_transact_fn. */
static ti_status purge_page(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    bulk_job *job = context;
    ti_event_list list;
    TI_TRY(list_page(job, txn, &list, call, err));
    for (size_t i = 0; i < list.count; i++)
        TI_TRY(ti_event_row_delete(job->queues, txn, &list.items[i], err));
    return TI_OK;
}

/* A ti_transact_fn. A damaged event can not be published: it has no key. */
static ti_status replay_page(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    bulk_job *job = context;
    ti_event_list list;
    TI_TRY(list_page(job, txn, &list, call, err));
    for (size_t i = 0; i < list.count; i++) {
        const ti_event_info *info = &list.items[i];
        ti_event_spec spec = {
            .type = job->into,
            .key = info->key,
            .payload = info->payload,
            .action = info->action,
            .entity = info->entity,
            .entity_id = info->entity_id,
            .references = info->references,
            .json_checked = true,
        };
        if (info->key.len == 0) {
            job->count--;
            continue;
        }
        TI_TRY(ti_queue_publish(job->queues, txn, &spec, NULL, call, err));
    }
    return TI_OK;
}

/* Page after page until there is no more. Every page has its own transaction; the call bounds all
 * of them. */
static ti_status run_pages(bulk_job *job, ti_transact_fn page, uint64_t *count_out,
                           const ti_call *call, ti_err *err)
{
    ti_buf at; /* the cursor that the page under way began with */
    ti_status status = TI_OK;
    ti_buf_init(&at, TI_CURSOR_SIZE_MAX + 1);
    ti_buf_init(&job->next, TI_CURSOR_SIZE_MAX + 1);
    job->filter.limit = TI_BULK_BATCH;
    job->filter.cursor = TI_SLICE_NONE;
    do {
        status = ti_kv_transact(job->queues->kv, NULL, NULL, page, job, NULL, call, err);
        if (status != TI_OK)
            break;
        *count_out += job->count;
        ti_progress_add(job->progress, (int64_t)job->count);
        ti_buf_clear(&at);
        status = ti_buf_append_slice(&at, ti_buf_slice(&job->next), err);
        job->filter.cursor = ti_buf_slice(&at);
    } while (status == TI_OK && at.len > 0);
    ti_buf_free(&at);
    ti_buf_free(&job->next);
    return status;
}

ti_status ti_queue_purge(ti_queues *queues, const ti_event_filter *filter, bool every_state,
                         uint64_t *count_out, const ti_call *call, ti_err *err)
{
    bulk_job job = {.queues = queues, .filter = *filter};
    *count_out = 0;
    if (!every_state)
        return run_pages(&job, purge_page, count_out, call, err);
    for (int state = TI_EVENT_PENDING; state <= TI_EVENT_FAILED; state++) {
        job.filter.state = (ti_event_state)state;
        TI_TRY(run_pages(&job, purge_page, count_out, call, err));
    }
    return TI_OK;
}

ti_status ti_queue_replay(ti_queues *queues, const ti_event_filter *filter, ti_slice into,
                          ti_progress *progress, uint64_t *count_out, const ti_call *call,
                          ti_err *err)
{
    bulk_job job = {.queues = queues, .filter = *filter, .into = into, .progress = progress};
    ti_ts now;
    *count_out = 0;
    if (filter->state != TI_EVENT_COMPLETED && filter->state != TI_EVENT_FAILED)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "what can be replayed is completed or failed");
    if (into.len == 0)
        job.into = filter->type;
    TI_TRY(ti_kv_now(queues->kv, &now, call, err));
    int64_t end_us = ti_ts_to_us(now) + 1000; /* what was finished by now, and no copy */
    while (ti_ts_to_us(now) < end_us) {
        TI_TRY(ti_call_check(call, "replay", err));
        ti_env_sleep_ns(queues->kv->env, 1000000);
        TI_TRY(ti_kv_now(queues->kv, &now, call, err));
    }
    if (filter->to_us == 0 || filter->to_us > end_us)
        job.filter.to_us = end_us;
    return run_pages(&job, replay_page, count_out, call, err);
}

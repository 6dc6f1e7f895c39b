/* Tending stored events: a failed one tried again, one of any state but completed deleted.
 *
 *   an id names the event by its place; a FAILED row stands at the time when it was given up, so it
 *   is searched from the place on, by uuid
 *
 * INVARIANTS
 *  1. Both read the row in the transaction that changes it. */
#include <string.h>

#include "base/assert.h"
#include "kv/retry.h"
#include "queue/hub_int.h"
#include "queue/list_int.h"
#include "queue/publish_int.h"

#define SCAN_PAGE 256

typedef struct tend_job {
    ti_queues *queues;
    ti_slice type;
    ti_slice id;
    ti_event_place place;
    char *id_out;
} tend_job;

/* The row of the event in a state that is searched, or key data NULL. */
static ti_status find_row(const tend_job *job, ti_txn *txn, ti_event_state state, ti_pair *pair_out,
                          const ti_call *call, ti_err *err)
{
    ti_arena *a = ti_txn_arena(txn);
    ti_scan scan = {.items_max = SCAN_PAGE};
    ti_scan_page page = {.more = true};
    ti_event_info info;
    *pair_out = (ti_pair){.key = TI_SLICE_NONE};
    TI_TRY(ti_event_rows_between(job->queues, a, job->type, state, job->place.partition,
                                 job->place.timestamp_us, UINT64_MAX, &scan.range, err));
    while (page.more) {
        TI_TRY(ti_txn_scan(txn, &scan, a, &page, call, err));
        for (size_t i = 0; i < page.count; i++) {
            TI_TRY(ti_event_row_read(job->queues->keyspace, a, state, &page.pairs[i], &info, err));
            if (ti_event_place_compare(&info.place, &job->place) == 0) {
                *pair_out = page.pairs[i];
                return TI_OK;
            }
        }
        if (page.count == 0)
            return TI_OK;
        scan.range.from = ti_key_after(a, page.pairs[page.count - 1].key);
        if (scan.range.from.data == NULL)
            return ti_err_no_memory(err);
    }
    return TI_OK;
}

static ti_status not_found(const tend_job *job, const char *what, ti_err *err)
{
    return ti_err_set(err, TI_NOT_FOUND, "there is no %s event '%.*s' of type '%.*s'", what,
                      (int)job->id.len, job->id.data, (int)job->type.len, job->type.data);
}

static ti_status parse(tend_job *job, ti_err *err)
{
    TI_TRY(ti_name_check(job->type, "event type", err));
    return ti_event_id_parse(job->id, &job->place, err);
}

/* A ti_transact_fn. */
static ti_status retry(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    const tend_job *job = context;
    ti_event_info info;
    ti_pair pair;
    TI_TRY(find_row(job, txn, TI_EVENT_FAILED, &pair, call, err));
    if (pair.key.data == NULL)
        return not_found(job, "failed", err);
    TI_TRY(ti_event_row_read(job->queues->keyspace, ti_txn_arena(txn), TI_EVENT_FAILED, &pair,
                             &info, err));
    if (info.key.len == 0)
        return ti_err_set(err, TI_CORRUPT, "the event '%.*s' is damaged; it can only be dropped",
                          (int)job->id.len, job->id.data);
    ti_event_spec spec = {
        .type = job->type,
        .key = info.key,
        .payload = info.payload,
        .action = info.action,
        .entity = info.entity,
        .entity_id = info.entity_id,
        .references = info.references,
        .unique = info.unique,
        .json_checked = true,
    };
    TI_TRY(ti_txn_delete(txn, pair.key, err));
    TI_TRY(ti_queue_publish(job->queues, txn, &spec, NULL, call, err));
    return job->id_out != NULL ? ti_publish_tell_id(txn, job->id_out, err) : TI_OK;
}

ti_status ti_queue_retry(ti_queues *queues, ti_slice type, ti_slice id, char *id_out,
                         const ti_call *call, ti_err *err)
{
    tend_job job = {.queues = queues, .type = type, .id = id, .id_out = id_out};
    TI_TRY(parse(&job, err));
    return ti_kv_transact(queues->kv, NULL, NULL, retry, &job, NULL, call, err);
}

ti_status ti_event_row_delete(ti_queues *queues, ti_txn *txn, const ti_event_info *info,
                              ti_err *err)
{
    bool pending = info->state == TI_EVENT_PENDING || info->state == TI_EVENT_PARKED;
    TI_TRY(ti_txn_delete(txn, info->row_key, err));
    if (!pending || info->unique.len == 0)
        return TI_OK;
    ti_slice token =
        ti_key_queue_unique(queues->keyspace, ti_txn_arena(txn), info->type, info->unique);
    TI_TRY(ti_key_check(token, "queue key", err));
    return ti_txn_delete(txn, token, err);
}

static ti_status drop_row(const tend_job *job, ti_txn *txn, ti_event_state state,
                          const ti_pair *pair, ti_err *err)
{
    ti_event_info info;
    TI_TRY(ti_event_row_read(job->queues->keyspace, ti_txn_arena(txn), state, pair, &info, err));
    return ti_event_row_delete(job->queues, txn, &info, err);
}

ti_status ti_event_is_unfinished(ti_queues *queues, ti_txn *txn, ti_slice type, ti_slice id,
                                 bool *unfinished_out, const ti_call *call, ti_err *err)
{
    tend_job job = {.queues = queues, .type = type, .id = id};
    ti_pair pair;
    *unfinished_out = true;
    TI_TRY(ti_event_id_parse(id, &job.place, err));
    ti_slice key = ti_key_event(queues->keyspace, ti_txn_arena(txn), type, &job.place);
    TI_TRY(ti_key_check(key, "event key", err));
    ti_status status = ti_txn_get(txn, key, ti_txn_arena(txn), &pair.value, call, err);
    if (status != TI_NOT_FOUND)
        return status;
    TI_TRY(find_row(&job, txn, TI_EVENT_PARKED, &pair, call, err));
    *unfinished_out = pair.key.data != NULL;
    return TI_OK;
}

/* A ti_transact_fn. */
static ti_status drop(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    static const ti_event_state searched[] = {TI_EVENT_FAILED, TI_EVENT_PARKED};
    const tend_job *job = context;
    ti_pair pair;
    ti_slice key = ti_key_event(job->queues->keyspace, ti_txn_arena(txn), job->type, &job->place);
    TI_TRY(ti_key_check(key, "event key", err));
    ti_status status = ti_txn_get(txn, key, ti_txn_arena(txn), &pair.value, call, err);
    pair.key = key;
    if (status == TI_OK)
        return drop_row(job, txn, TI_EVENT_PENDING, &pair, err);
    if (status != TI_NOT_FOUND)
        return status;
    for (size_t i = 0; i < sizeof(searched) / sizeof(searched[0]); i++) {
        TI_TRY(find_row(job, txn, searched[i], &pair, call, err));
        if (pair.key.data != NULL)
            return drop_row(job, txn, searched[i], &pair, err);
    }
    return not_found(job, "unfinished", err);
}

ti_status ti_queue_drop(ti_queues *queues, ti_slice type, ti_slice id, const ti_call *call,
                        ti_err *err)
{
    tend_job job = {.queues = queues, .type = type, .id = id};
    TI_TRY(parse(&job, err));
    return ti_kv_transact(queues->kv, NULL, NULL, drop, &job, NULL, call, err);
}

/* What an outcome writes, into the transaction that commits it.
 *
 *   ack         row deleted, COMPLETED row put (when there is a retention)
 *   fail        retries left: the row, with attempts, error and not_before, is put into
 *               queue_parked (a parked one: where it is); else deleted, FAILED row put
 *   reschedule  row deleted, put at max(timestamp, now, place + 1 µs); not after now + grace
 *   advance     row put with the new payload
 *   move        row deleted, put into queue_parked
 *   damaged     row deleted, FAILED row put that holds its bytes
 *
 * INVARIANTS
 *  1. The row has been checked in the same transaction and is what the event was made of; or
 *     (`expects`) the commit checks that nothing has changed it since it was read.
 *  2. Only a retry, a move and a reschedule write rows that workers read. A reschedule keeps the
 *     rule of places (queue.h, invariant 1) with `now` for T. */
#include <string.h>

#include "base/assert.h"
#include "queue/worker_int.h"

static ti_event_fields fields_of(const ti_event *event)
{
    const ti_event_info *info = &event->info;
    return (ti_event_fields){
        .key = info->key,
        .action = info->action,
        .entity = info->entity,
        .entity_id = info->entity_id,
        .references = info->references,
        .payload = info->payload,
        .last_error = info->last_error,
        .unique = info->unique,
        .attempts = info->attempts,
    };
}

static ti_slice text_of(const ti_event *event)
{
    return (ti_slice){.data = event->text, .len = event->text_len};
}

static ti_status put(const ti_outcome_write *write, ti_slice key, ti_sealed_kind kind,
                     const ti_event_fields *fields, ti_err *err)
{
    ti_slice value;
    TI_TRY(ti_key_check(key, "queue key", err));
    TI_TRY(ti_event_seal(write->sealer, kind, key, fields, &value, err));
    return ti_txn_put(write->txn, key, value, err);
}

/* What is written over the event's row: its commit fails when the row is not what was read. */
static void expect_row(const ti_outcome_write *write, const ti_event *event)
{
    if (write->expects)
        ti_txn_expect(write->txn, event->row_key, event->read_ts);
}

static ti_status put_row(const ti_outcome_write *write, const ti_event *event, ti_sealed_kind kind,
                         const ti_event_fields *fields, ti_err *err)
{
    TI_TRY(put(write, event->row_key, kind, fields, err));
    expect_row(write, event);
    return TI_OK;
}

static ti_status delete_row(const ti_outcome_write *write, const ti_event *event, ti_err *err)
{
    TI_TRY(ti_txn_delete(write->txn, event->row_key, err));
    expect_row(write, event);
    return TI_OK;
}

/* The token is free; or it names the event by its new place. */
static ti_status free_token(const ti_outcome_write *write, const ti_event *event, ti_err *err)
{
    if (event->info.unique.len == 0)
        return TI_OK;
    ti_slice key = ti_key_queue_unique(write->worker->queues->keyspace, write->arena,
                                       event->info.type, event->info.unique);
    TI_TRY(ti_key_check(key, "queue key", err));
    return ti_txn_delete(write->txn, key, err);
}

static ti_status move_token(const ti_outcome_write *write, const ti_event *event,
                            const ti_event_place *place, ti_err *err)
{
    char id[TI_EVENT_ID_SIZE + 1];
    ti_buf value;
    if (event->info.unique.len == 0)
        return TI_OK;
    ti_slice key = ti_key_queue_unique(write->worker->queues->keyspace, write->arena,
                                       event->info.type, event->info.unique);
    TI_TRY(ti_key_check(key, "queue key", err));
    ti_event_id_format(place, id);
    ti_buf_init(&value, 256);
    ti_status status = ti_queue_text_seal(&value, key, ti_slice_of(id), err);
    if (status == TI_OK)
        status = ti_txn_put(write->txn, key, ti_buf_slice(&value), err);
    ti_buf_free(&value);
    return status;
}

static ti_status put_history(const ti_outcome_write *write, const ti_event *event, ti_history state,
                             ti_event_fields *fields, ti_err *err)
{
    ti_event_place place = event->info.place;
    ti_slice key;
    fields->origin_us = place.timestamp_us;
    fields->not_before_us = 0;
    place.timestamp_us = (uint64_t)ti_ts_to_us(write->now);
    key = ti_key_history(write->worker->queues->keyspace, write->arena, event->info.type, state,
                         &place);
    TI_TRY(delete_row(write, event, err));
    TI_TRY(free_token(write, event, err));
    return put(write, key, TI_SEALED_HISTORY, fields, err);
}

static ti_status put_parked(const ti_outcome_write *write, const ti_event *event,
                            const ti_event_fields *fields, ti_err *err)
{
    ti_slice key;
    if (event->from_parked)
        return put_row(write, event, TI_SEALED_PARKED, fields, err);
    key = ti_key_parked(write->worker->queues->keyspace, write->arena, event->info.type,
                        event->order, &event->info.place);
    TI_TRY(delete_row(write, event, err));
    return put(write, key, TI_SEALED_PARKED, fields, err);
}

static ti_status write_ack(const ti_outcome_write *write, const ti_event *event, ti_err *err)
{
    ti_event_fields fields = fields_of(event);
    if (event->part->type->retention_us == 0) {
        TI_TRY(free_token(write, event, err));
        return delete_row(write, event, err);
    }
    return put_history(write, event, TI_HISTORY_COMPLETED, &fields, err);
}

/* How long to wait before the n-th retry. */
static int64_t retry_wait_us(const ti_env *env, const ti_retry_policy *policy, uint32_t n)
{
    double wait = (double)policy->base_us;
    double cap = (double)policy->cap_us;
    uint32_t random;
    ti_assert(n > 0);
    for (uint32_t i = 1; i < n && wait < cap; i++)
        wait *= policy->factor;
    if (wait > cap)
        wait = cap;
    ti_env_random(env, &random, sizeof(random));
    wait -= wait * policy->jitter * ((double)random / (double)UINT32_MAX);
    return (int64_t)wait;
}

static ti_status write_fail(const ti_outcome_write *write, ti_event *event, ti_err *err)
{
    const ti_retry_policy *policy = &event->part->type->retry;
    ti_event_fields fields = fields_of(event);
    fields.last_error = text_of(event);
    if (fields.attempts < UINT32_MAX)
        fields.attempts++;
    if (fields.attempts > policy->max_retries) {
        event->retry_after_us = -1;
        return put_history(write, event, TI_HISTORY_FAILED, &fields, err);
    }
    event->retry_after_us = retry_wait_us(write->worker->env, policy, fields.attempts);
    fields.not_before_us = (uint64_t)(ti_ts_to_us(write->now) + event->retry_after_us);
    return put_parked(write, event, &fields, err);
}

static ti_status write_reschedule(const ti_outcome_write *write, ti_event *event, ti_err *err)
{
    ti_event_fields fields = fields_of(event);
    ti_event_place place = event->info.place;
    uint64_t at = (uint64_t)ti_ts_to_us(write->now);
    if (event->reschedule_us > 0 && (uint64_t)event->reschedule_us > at)
        at = (uint64_t)event->reschedule_us;
    place.timestamp_us = at > place.timestamp_us ? at : place.timestamp_us + 1;
    event->new_place = place;
    ti_slice key =
        ti_key_event(write->worker->queues->keyspace, write->arena, event->info.type, &place);
    ti_txn_not_after(write->txn, ti_ts_add_us(write->now, TI_GRACE_US));
    TI_TRY(delete_row(write, event, err));
    TI_TRY(move_token(write, event, &place, err));
    return put(write, key, TI_SEALED_EVENT, &fields, err);
}

static ti_status write_advance(const ti_outcome_write *write, ti_event *event, ti_err *err)
{
    ti_event_fields fields = fields_of(event);
    ti_sealed_kind kind = event->from_parked ? TI_SEALED_PARKED : TI_SEALED_EVENT;
    ti_slice parked_key = event->from_parked ? event->order : TI_SLICE_NONE;
    ti_slice value;
    fields.payload = text_of(event);
    fields.attempts = 0;
    fields.last_error = TI_SLICE_NONE;
    TI_TRY(ti_event_seal(write->sealer, kind, event->row_key, &fields, &value, err));
    if (event->replacement != NULL)
        ti_event_destroy(event->replacement);
    event->replacement = ti_event_new(event->part, &event->info.place, event->from_parked,
                                      parked_key, event->row_key, value);
    TI_TRY(ti_txn_put(write->txn, event->row_key, value, err));
    expect_row(write, event);
    return TI_OK;
}

static ti_status write_damaged(const ti_outcome_write *write, const ti_event *event, ti_err *err)
{
    ti_event_fields fields = {
        .payload = event->row_value,
        .last_error = TI_SLICE("the stored event was damaged: its checksum did not fit"),
        .damaged = true,
    };
    return put_history(write, event, TI_HISTORY_FAILED, &fields, err);
}

ti_status ti_outcome_apply(const ti_outcome_write *write, ti_event *event, ti_err *err)
{
    ti_event_fields fields = fields_of(event);
    ti_assert(event->stage == TI_SETTLED);
    switch (event->outcome) {
    case TI_OUTCOME_ACK:
        return write_ack(write, event, err);
    case TI_OUTCOME_FAIL:
        return write_fail(write, event, err);
    case TI_OUTCOME_RESCHEDULE:
        return write_reschedule(write, event, err);
    case TI_OUTCOME_ADVANCE:
        return write_advance(write, event, err);
    case TI_OUTCOME_MOVE:
        return put_parked(write, event, &fields, err);
    case TI_OUTCOME_DAMAGED:
        return write_damaged(write, event, err);
    case TI_OUTCOME_NONE:
        break;
    }
    ti_require(false);
    return TI_INTERNAL;
}

/* The host's side of a worker: taking events, their transactions, settling them.
 *
 *   ack without effects       running -> none, unacked + 1; the key's next event is ready
 *   ack, reschedule, advance
 *     with effects            own queue (when the key has nothing uncommitted): committed alone
 *   everything else           outcomes: committed in the next group; the key waits for it
 *   after its timeout         the failure is on its way or stored; only the key is given free
 *
 * INVARIANTS
 *  1. An event's transaction is the host's until the event is settled, then the committers'; a
 *     timed-out event's, too: nobody else touches it while the handler may still use it. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "json/json.h"
#include "queue/worker_int.h"

/* ---- taking ---- */

static void hand_out(ti_worker *w, ti_event *event)
{
    const ti_wtype *type = event->part->type;
    size_t count = ti_event_count(event);
    for (size_t i = 0; i < count; i++) {
        ti_event *member = ti_event_member(event, i);
        ti_assert(member->stage == TI_WAITING);
        member->stage = TI_TAKEN;
        ti_event_ref(member);
    }
    atomic_fetch_add_explicit(&w->refs, (uint32_t)count, memory_order_relaxed);
    w->taken++;
    event->taken_ns = ti_env_mono_ns(w->env);
    ti_hub_count(type->type, TI_COUNT_DELIVERED, count);
    if (type->handler_timeout_us <= 0)
        return;
    int64_t at_ns = event->taken_ns + type->handler_timeout_us * 1000;
    ti_timers_set(&w->timers, &event->deadline, at_ns);
    if (at_ns < w->reader_until_ns)
        ti_worker_nudge(w);
}

static ti_status take_some(ti_worker *w, ti_event **events, size_t max, size_t *count_out,
                           ti_err *err)
{
    size_t count = ti_ready_count(w, max);
    if (w->broken.status != TI_OK) {
        if (err != NULL)
            *err = w->broken;
        return w->broken.status;
    }
    if (w->life == TI_LIFE_NEW)
        return ti_err_set(err, TI_INVALID_STATE, "the worker has not been started");
    if (w->life != TI_LIFE_RUNNING)
        return ti_err_set(err, TI_CLOSED, "the worker is stopping");
    size_t taken = 0;
    while (taken < count && (events[taken] = ti_ready_take(w)) != NULL)
        hand_out(w, events[taken++]);
    *count_out = taken;
    w->want_notify = taken < max;
    return TI_OK;
}

ti_status ti_worker_take(ti_worker *w, ti_event **events_out, size_t max, int64_t timeout_us,
                         size_t *count_out, ti_err *err)
{
    int64_t until_ns = TI_NO_DEADLINE;
    bool in_time = timeout_us != 0;
    ti_assert(max > 0);
    *count_out = 0;
    if (timeout_us > 0)
        until_ns = ti_call_within(w->env, timeout_us).deadline_ns;
    ti_mutex_lock(&w->mutex);
    ti_status status = take_some(w, events_out, max, count_out, err);
    while (status == TI_OK && *count_out == 0 && in_time) {
        w->takers++;
        in_time = ti_cond_wait_until(&w->ready_cond, &w->mutex, w->env, until_ns);
        w->takers--;
        status = take_some(w, events_out, max, count_out, err);
    }
    ti_worker_unlock(w);
    return status;
}

size_t ti_worker_ready(ti_worker *w, bool *ended_out)
{
    ti_mutex_lock(&w->mutex);
    size_t count = ti_ready_count(w, SIZE_MAX);
    if (ended_out != NULL)
        *ended_out = w->life >= TI_LIFE_STOPPING || w->broken.status != TI_OK;
    w->want_notify = true;
    ti_mutex_unlock(&w->mutex);
    return count;
}

void ti_worker_pending(ti_worker *w, uint32_t *taken_out, uint32_t *uncommitted_out)
{
    ti_mutex_lock(&w->mutex);
    *taken_out = w->taken;
    *uncommitted_out = w->uncommitted;
    ti_mutex_unlock(&w->mutex);
}

/* ---- looking at an event ---- */

const ti_event_info *ti_event_info_of(const ti_event *event)
{
    return &event->info;
}

void *ti_event_data(const ti_event *event)
{
    return event->part->type->data;
}

bool ti_event_timed_out(const ti_event *event)
{
    return atomic_load(&event->timed_out) != 0;
}

ti_status ti_event_txn(ti_event *event, ti_txn **txn_out, ti_err *err)
{
    *txn_out = NULL;
    if (ti_event_is_settled(event))
        return ti_err_set(err, TI_INVALID_STATE, "the event has been settled");
    if (ti_event_timed_out(event))
        return ti_err_set(err, TI_TIMEOUT, "the handler of event %s has had its time",
                          event->info.id);
    if (event->txn == NULL)
        TI_TRY(ti_txn_begin(event->worker->queues->kv, NULL, &event->txn, err));
    *txn_out = event->txn;
    return TI_OK;
}

bool ti_event_is_settled(const ti_event *event)
{
    return atomic_load(&event->settled_by_host);
}

/* ---- settling ---- */

ti_txn *ti_event_let_txn_go(ti_worker *w, ti_event *event)
{
    ti_txn *txn = event->txn;
    event->txn = NULL;
    if (txn == NULL || w->life == TI_LIFE_ENDED || w->garbage_count == TI_GARBAGE_MAX)
        return txn;
    w->garbage[w->garbage_count++] = txn;
    ti_cond_signal(&w->commit_cond);
    return NULL;
}

void ti_event_decide(ti_worker *w, ti_event *event, bool effects)
{
    ti_key *key = event->key;
    ti_assert(key->running == event);
    event->stage = TI_SETTLED;
    if (effects) {
        ti_own_push(w, event);
        return;
    }
    if (event->outcome == TI_OUTCOME_ACK) {
        key->running = NULL;
        key->unacked++;
    }
    ti_outcome_push(w, event);
    ti_key_update(w, key);
}

/* The handler came back after its time. */
static void give_key_free(ti_worker *w, ti_event *event)
{
    ti_key *key = event->key;
    ti_assert(key->held > 0);
    key->held--;
    ti_key_update(w, key);
}

/* The outcome of an event that is alone. The mutex is held. */
static void settle_one(ti_worker *w, ti_event *event, ti_outcome outcome, bool effects)
{
    ti_timers_cancel(&w->timers, &event->deadline);
    event->outcome = outcome;
    if (outcome != TI_OUTCOME_NONE) {
        ti_event_decide(w, event, effects);
        return;
    }
    event->stage = TI_SETTLED;
    ti_window_rerun(w, event, true, 0);
}

/* What the host has said of it as of a member of a batch counts when it acknowledges. The text is
 * taken over. The mutex is held. */
static ti_outcome final_outcome(ti_event *event, ti_outcome outcome, char *text, size_t text_len,
                                int64_t reschedule_us)
{
    if (outcome == TI_OUTCOME_ACK && event->outcome != TI_OUTCOME_NONE)
        return event->outcome;
    ti_free(event->text);
    event->text = text;
    event->text_len = text_len;
    event->reschedule_us = reschedule_us;
    return outcome;
}

static bool keeps_effects(ti_outcome outcome)
{
    return outcome == TI_OUTCOME_ACK || outcome == TI_OUTCOME_RESCHEDULE ||
           outcome == TI_OUTCOME_ADVANCE;
}

/* Settles with an outcome (NONE: abandon); text is taken over. */
static void settle(ti_event *event, ti_outcome outcome, char *text, size_t text_len,
                   int64_t reschedule_us)
{
    ti_worker *w = event->worker;
    ti_txn *txn = NULL;
    ti_mutex_lock(&w->mutex);
    if (event->settled_by_host) {
        ti_mutex_unlock(&w->mutex);
        ti_free(text);
        return;
    }
    event->settled_by_host = true;
    ti_assert(w->taken > 0);
    w->taken--;
    bool ended = w->life == TI_LIFE_ENDED; /* its keys are gone, perhaps its database and hub too */
    ti_ready_released(w, event);
    if (!ended)
        ti_hub_note_run(event->part->type->type, ti_env_mono_ns(w->env) - event->taken_ns);
    bool late = ended || atomic_load(&event->timed_out) != 0;
    if (event->batch != NULL) {
        ti_free(text);
        txn = ti_batch_settle(w, event, outcome, reschedule_us, late);
    } else if (late) {
        ti_free(text);
        txn = ti_event_let_txn_go(w, event);
        if (!ended)
            give_key_free(w, event);
    } else {
        outcome = final_outcome(event, outcome, text, text_len, reschedule_us);
        bool effects =
            keeps_effects(outcome) && event->txn != NULL && ti_txn_has_effects(event->txn);
        if (!effects)
            txn = ti_event_let_txn_go(w, event);
        settle_one(w, event, outcome, effects);
    }
    ti_ready_changed(w);
    if (w->taken == 0)
        ti_cond_broadcast(&w->idle_cond);
    ti_worker_unlock(w);
    ti_txn_free(txn);
}

/* A copy of at most max bytes, cut between characters; NULL when empty or without memory. */
static char *copy_text(ti_slice s, size_t max, size_t *len_out)
{
    size_t len = s.len < max ? s.len : max;
    while (len < s.len && len > 0 && ((unsigned char)s.data[len] & 0xC0) == 0x80)
        len--;
    char *text = len > 0 ? ti_alloc(len) : NULL;
    *len_out = text != NULL ? len : 0;
    if (text != NULL)
        memcpy(text, s.data, len);
    return text;
}

void ti_event_ack(ti_event *event)
{
    settle(event, TI_OUTCOME_ACK, NULL, 0, 0);
}

void ti_event_fail(ti_event *event, ti_slice error)
{
    size_t len;
    char *text = copy_text(error, TI_EVENT_ERROR_SIZE_MAX, &len);
    settle(event, TI_OUTCOME_FAIL, text, len, 0);
}

void ti_event_reschedule(ti_event *event, int64_t timestamp_us)
{
    settle(event, TI_OUTCOME_RESCHEDULE, NULL, 0, timestamp_us);
}

static ti_status check_payload(const ti_event *event, ti_slice payload, ti_err *err)
{
    ti_json_parser parser;
    ti_json_doc doc;
    ti_arena a;
    size_t others = event->row_value.len - event->info.payload.len;
    if (event->info.payload.len > event->row_value.len)
        others = event->row_value.len;
    if (payload.len + others > TI_EVENT_SIZE_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED,
                          "the event would have more than %d bytes; its payload has %zu",
                          TI_EVENT_SIZE_MAX, payload.len);
    ti_json_parser_init(&parser);
    ti_arena_init(&a);
    ti_status status = ti_json_parse(&parser, &a, payload, &doc, err);
    ti_arena_free(&a);
    ti_json_parser_free(&parser);
    return status;
}

ti_status ti_event_advance(ti_event *event, ti_slice payload, ti_err *err)
{
    size_t len;
    if (event->batch != NULL)
        return ti_err_set(err, TI_INVALID_STATE,
                          "a batch is not advanced as a whole, but each of its events");
    TI_TRY(check_payload(event, payload, err));
    char *text = copy_text(payload, payload.len, &len);
    if (text == NULL)
        return ti_err_no_memory(err);
    settle(event, TI_OUTCOME_ADVANCE, text, len, 0);
    return TI_OK;
}

/* Notes how a member of a batch is to end; text is taken over. */
static ti_status say(ti_event *member, ti_outcome outcome, char *text, size_t text_len,
                     int64_t reschedule_us, ti_err *err)
{
    ti_worker *w = member->worker;
    const ti_event *first = member->batch != NULL ? member->batch->events[0] : member;
    ti_mutex_lock(&w->mutex);
    bool open = !first->settled_by_host && atomic_load(&first->timed_out) == 0;
    if (open) {
        ti_free(member->text);
        member->outcome = outcome;
        member->text = text;
        member->text_len = text_len;
        member->reschedule_us = reschedule_us;
    }
    ti_mutex_unlock(&w->mutex);
    if (open)
        return TI_OK;
    ti_free(text);
    return ti_err_set(err, TI_INVALID_STATE, "the batch of event %s has been settled",
                      member->info.id);
}

ti_status ti_member_ack(ti_event *member, ti_err *err)
{
    return say(member, TI_OUTCOME_NONE, NULL, 0, 0, err);
}

ti_status ti_member_fail(ti_event *member, ti_slice error, ti_err *err)
{
    size_t len;
    char *text = copy_text(error, TI_EVENT_ERROR_SIZE_MAX, &len);
    return say(member, TI_OUTCOME_FAIL, text, len, 0, err);
}

ti_status ti_member_reschedule(ti_event *member, int64_t timestamp_us, ti_err *err)
{
    return say(member, TI_OUTCOME_RESCHEDULE, NULL, 0, timestamp_us, err);
}

ti_status ti_member_advance(ti_event *member, ti_slice payload, ti_err *err)
{
    size_t len;
    TI_TRY(check_payload(member, payload, err));
    char *text = copy_text(payload, payload.len, &len);
    if (text == NULL)
        return ti_err_no_memory(err);
    return say(member, TI_OUTCOME_ADVANCE, text, len, 0, err);
}

void ti_event_abandon(ti_event *event)
{
    settle(event, TI_OUTCOME_NONE, NULL, 0, 0);
}

void ti_event_free(ti_event *event)
{
    if (event == NULL)
        return;
    ti_worker *w = event->worker;
    if (!ti_event_is_settled(event))
        ti_event_fail(event, TI_SLICE("the handler ended without an outcome"));
    size_t count = ti_event_count(event);
    for (size_t i = count; i-- > 0;) /* a batch lives as long as one of its events */
        ti_event_unref(ti_event_member(event, i));
    ti_worker_unref(w, (uint32_t)count);
}

void ti_event_expire(ti_worker *w, ti_event *event)
{
    char text[96];
    ti_mutex_assert_held(&w->mutex);
    ti_assert(event->stage == TI_TAKEN);
    ti_hub_count(event->part->type->type, TI_COUNT_TIMED_OUT, 1);
    if (event->batch != NULL) { /* it fails when the handler returns */
        atomic_store(&event->timed_out, 1);
        return;
    }
    int len = snprintf(text, sizeof(text), "the handler did not return within %lld ms",
                       (long long)(event->part->type->handler_timeout_us / 1000));
    atomic_store(&event->timed_out, 1);
    event->stage = TI_SETTLED;
    event->outcome = TI_OUTCOME_FAIL;
    ti_free(event->text);
    event->text =
        copy_text((ti_slice){.data = text, .len = (size_t)len}, sizeof(text), &event->text_len);
    event->key->held++;
    ti_outcome_push(w, event);
}

/* Events: their fields, their transaction, settling them; see worker.h.
 *
 * Thread rule: an event belongs to one thread at a time. */
#include <stddef.h>
#include <string.h>

#include "abi/worker.h"

/* ---- life ---- */

static tito_event_t *of_child(ti_db_child *child)
{
    return (tito_event_t *)(void *)((char *)child - offsetof(tito_event_t, child));
}

/* The transaction ends; an event that nobody has settled fails, or runs again when it is the close
 * that ends it. */
static void let_go(ti_db_child *child)
{
    tito_event_t *event = of_child(child);
    ti_txn_handle_end(event->txn);
    if (event->settled)
        return;
    event->settled = true;
    if (ti_db_is_closing(event->db))
        ti_event_abandon(event->core);
    else
        ti_event_fail(event->core, TI_SLICE("the handler ended without an outcome"));
}

static void dispose(ti_db_child *child)
{
    tito_event_t *event = of_child(child);
    ti_db *db = event->db;
    if (event->txn != NULL)
        ti_txn_handle_destroy(event->txn);
    if (!ti_db_forked(db))
        ti_event_free(event->core);
    ti_free(event);
    ti_db_unref(db);
}

tito_event_t *ti_event_handle(ti_db *db, ti_event *core)
{
    size_t count = ti_event_is_batch(core) ? ti_event_count(core) : 0;
    tito_event_t *event = ti_alloc_zero((count + 1) * sizeof(*event));
    if (event == NULL)
        return NULL;
    for (size_t i = 1; i <= count; i++) {
        event[i].magic = TI_MAGIC_EVENT;
        event[i].db = db;
        event[i].core = ti_event_member(core, i - 1);
        event[i].of = event;
    }
    event->count = count;
    event->magic = TI_MAGIC_EVENT;
    atomic_init(&event->refs, 1);
    event->db = ti_db_ref(db);
    event->child = (ti_db_child){.let_go = let_go, .dispose = dispose};
    event->core = core;
    return event;
}

static void unref_event(void *context)
{
    tito_event_t *event = context;
    if (atomic_fetch_sub_explicit(&event->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (event->txn == NULL || ti_db_forked(event->db))
        dispose(&event->child);
    else
        ti_db_release(event->db, &event->child);
}

/* What may be said of a member. */
typedef enum said_of { SAID_ACK, SAID_FAIL, SAID_RESCHEDULE, SAID_ADVANCE } said_of;

static ti_status check_event(const tito_event_t *event, ti_err *err)
{
    TI_TRY(ti_handle_check(event, TI_MAGIC_EVENT, "event", err));
    return ti_db_check(event->db, err);
}

/* ---- fields ---- */

static ti_slice text_field(const ti_event_info *info, int32_t field)
{
    switch (field) {
    case TITO_EVENT_ID:
        return ti_slice_of(info->id);
    case TITO_EVENT_TYPE:
        return info->type;
    case TITO_EVENT_KEY:
        return info->key;
    case TITO_EVENT_SEQUENCE:
        return ti_event_sequence(info);
    case TITO_EVENT_ACTION:
        return info->action;
    case TITO_EVENT_ENTITY:
        return info->entity;
    case TITO_EVENT_ENTITY_ID:
        return info->entity_id;
    case TITO_EVENT_REFERENCES:
        return info->references;
    case TITO_EVENT_PAYLOAD:
        return info->payload;
    case TITO_EVENT_LAST_ERROR:
        return info->last_error;
    default:
        return TI_SLICE_NONE;
    }
}

tito_slice tito_event_text(const tito_event_t *event, int32_t field)
{
    if (ti_handle_check(event, TI_MAGIC_EVENT, "event", NULL) != TI_OK)
        return ti_slice_out(TI_SLICE_NONE);
    return ti_slice_out(text_field(ti_event_info_of(event->core), field));
}

int64_t tito_event_int(const tito_event_t *event, int32_t field)
{
    if (ti_handle_check(event, TI_MAGIC_EVENT, "event", NULL) != TI_OK)
        return 0;
    const ti_event_info *info = ti_event_info_of(event->core);
    switch (field) {
    case TITO_EVENT_PARTITION:
        return info->place.partition;
    case TITO_EVENT_TIMESTAMP:
        return (int64_t)info->place.timestamp_us;
    case TITO_EVENT_ATTEMPTS:
        return info->attempts;
    default:
        return 0;
    }
}

int32_t tito_event_expired(const tito_event_t *event)
{
    if (check_event(event, NULL) != TI_OK)
        return 0;
    return ti_event_timed_out(event->of != NULL ? event->of->core : event->core);
}

/* ---- the transaction ---- */

/* Makes the handle of the event's transaction, inside the database. Its last reference gives up one
 * of the event's. */
static ti_status begin_txn(tito_event_t *event, ti_err *err)
{
    ti_txn *core = NULL;
    if (event->settled)
        return ti_err_set(err, TI_INVALID_STATE, "the event has been settled");
    TI_TRY(ti_event_txn(event->core, &core, err));
    if (event->txn != NULL)
        return TI_OK;
    TI_TRY(ti_txn_handle_borrow(event->db, core, unref_event, event, &event->txn, err));
    atomic_fetch_add_explicit(&event->refs, 1, memory_order_relaxed);
    ti_db_adopt(event->db, &event->child);
    return TI_OK;
}

int32_t tito_event_txn(tito_event_t *event, tito_txn_t **txn_out, tito_error_t **error_out)
{
    ti_err err;
    ti_status status = TI_OK;
    TI_CHECK(ti_out_check(txn_out, "txn_out", &err));
    TI_CHECK(check_event(event, &err));
    event = event->of != NULL ? event->of : event;
    TI_CHECK(ti_db_enter(event->db, &err));
    status = begin_txn(event, &err);
    if (status == TI_OK)
        *txn_out = event->txn;
    ti_db_leave(event->db);
out:
    return ti_answer(status, &err, error_out);
}

/* ---- batches ---- */

size_t tito_event_count(const tito_event_t *event)
{
    return ti_handle_check(event, TI_MAGIC_EVENT, "event", NULL) == TI_OK ? event->count : 0;
}

tito_event_t *tito_event_member(tito_event_t *event, size_t index)
{
    if (ti_handle_check(event, TI_MAGIC_EVENT, "event", NULL) != TI_OK || index >= event->count)
        return NULL;
    return event + 1 + index;
}

/* Says how a member ends, inside the database. */
static int32_t say(tito_event_t *member, said_of said, ti_slice text, int64_t due_us)
{
    ti_status status = TI_INVALID_STATE;
    TI_TRY(check_event(member, NULL));
    TI_TRY(ti_db_enter(member->db, NULL));
    if (!member->of->settled && said == SAID_ACK)
        status = ti_member_ack(member->core, NULL);
    else if (!member->of->settled && said == SAID_FAIL)
        status = ti_member_fail(member->core, text, NULL);
    else if (!member->of->settled && said == SAID_RESCHEDULE)
        status = ti_member_reschedule(member->core, due_us, NULL);
    else if (!member->of->settled)
        status = ti_member_advance(member->core, text, NULL);
    ti_db_leave(member->db);
    return status;
}

static bool is_member(const tito_event_t *event)
{
    return ti_handle_check(event, TI_MAGIC_EVENT, "event", NULL) == TI_OK && event->of != NULL;
}

/* ---- settling ---- */

/* Enters the database when the event can be settled now. */
static ti_status begin_settle(tito_event_t *event)
{
    TI_TRY(check_event(event, NULL));
    if (event->settled || (event->txn != NULL && ti_txn_handle_is_busy(event->txn)))
        return TI_INVALID_STATE;
    return ti_db_enter(event->db, NULL);
}

static int32_t end_settle(tito_event_t *event, ti_status status)
{
    if (status == TI_OK) {
        event->settled = true;
        if (event->txn != NULL)
            ti_txn_handle_end(event->txn);
    }
    ti_db_leave(event->db);
    return status;
}

int32_t tito_event_acknowledge(tito_event_t *event)
{
    if (is_member(event))
        return say(event, SAID_ACK, TI_SLICE_NONE, 0);
    TI_TRY(begin_settle(event));
    ti_event_ack(event->core);
    return end_settle(event, TI_OK);
}

int32_t tito_event_fail(tito_event_t *event, const char *message, size_t message_len)
{
    ti_slice text = {.data = message, .len = message_len};
    TI_TRY(ti_bytes_check(message, message_len, "message", NULL));
    if (is_member(event))
        return say(event, SAID_FAIL, text, 0);
    TI_TRY(begin_settle(event));
    ti_event_fail(event->core, text);
    return end_settle(event, TI_OK);
}

int32_t tito_event_reschedule(tito_event_t *event, int64_t due_us)
{
    if (due_us < 0)
        return TITO_INVALID_ARGUMENT;
    if (is_member(event))
        return say(event, SAID_RESCHEDULE, TI_SLICE_NONE, due_us);
    TI_TRY(begin_settle(event));
    ti_event_reschedule(event->core, due_us);
    return end_settle(event, TI_OK);
}

int32_t tito_event_advance(tito_event_t *event, const char *payload, size_t payload_len)
{
    ti_slice json = {.data = payload, .len = payload_len};
    TI_TRY(ti_bytes_check(payload, payload_len, "payload", NULL));
    if (is_member(event))
        return say(event, SAID_ADVANCE, json, 0);
    TI_TRY(begin_settle(event));
    if (event->count > 0) { /* also when the batch has one event */
        ti_db_leave(event->db);
        return TITO_INVALID_STATE;
    }
    return end_settle(event, ti_event_advance(event->core, json, NULL));
}

void tito_event_free(tito_event_t *event)
{
    static const char text[] = "the handler ended without an outcome";
    if (ti_handle_check(event, TI_MAGIC_EVENT, "event", NULL) != TI_OK || event->of != NULL)
        return;
    if (!event->settled)
        (void)tito_event_fail(event, text, sizeof(text) - 1); /* refused: let_go or free does it */
    for (size_t i = 0; i <= event->count; i++)
        event[i].magic = TI_MAGIC_FREED;
    ti_txn_handle_unref(event->txn); /* operations may still have theirs */
    unref_event(event);
}

void ti_event_finish(tito_event_t *event, int32_t answer)
{
    if (!event->settled && answer == TITO_OK) {
        (void)tito_event_acknowledge(event);
    } else if (!event->settled) {
        const char *text = ti_status_name(answer);
        (void)tito_event_fail(event, text, strlen(text));
    }
    tito_event_free(event);
}

/* Publishing: events wait in an outbox in the transaction and get their place when it commits.
 *
 *   ti_queue_publish -> outbox (the transaction's slot, its arena)
 *   commit begins    -> hook with T: place = max(due, T + delay), row put, not_after = T + grace
 *   it has ended     -> hook: counted, workers woken (also when the outcome is unknown)
 *
 *   uuid of an event:  tttttttt-tttt-7lll-vllo-oooorrrrrrrr
 *                      t: ms of T, l: logical part of T (18 bits), o: ordinal (24 bits), v: variant
 *
 * INVARIANTS
 *  1. Order of uuids = order of (T, ordinal): T is unique in the database, so uuids are, too.
 *  2. The partition is chosen by the count that was valid at the commit (hub_int.h, 3).
 *  3. Everything in an outbox lives in the transaction's arena. */
#include "queue/publish_int.h"

#include <string.h>

#include "base/assert.h"
#include "base/id.h"
#include "base/limits.h"
#include "json/json.h"
#include "kv/retry.h"
#include "queue/hint_int.h"
#include "queue/value_int.h"

typedef struct outbox_type {
    struct outbox_type *next;
    ti_hub_type *type;
    ti_hub_meta meta;
} outbox_type;

typedef struct outbox_event {
    struct outbox_event *next;
    outbox_type *type;
    ti_event_fields fields;
    int64_t due_us;
    int64_t delay_us;
    ti_event_place place; /* from the commit on */
} outbox_event;

typedef struct outbox {
    ti_queues *queues;
    outbox_type *types;
    outbox_event *first;
    outbox_event **last;
    uint32_t count;
    ti_inflight inflight;
} outbox;

/* Bytes of a text that is checked in the memory of its transaction. */
#define SMALL_JSON 1024

static const char outbox_owner; /* its address names the slot */

/* ---- places ---- */

#define ORDINAL_MAX ((1u << 24) - 1)

void ti_place_base(ti_ts t, const unsigned char random[TI_UUID_V7_RANDOM_SIZE],
                   char base_out[TI_UUID_TEXT_SIZE + 1])
{
    ti_uuid_v7_of((uint64_t)(t >> TI_TS_LOGICAL_BITS), ti_ts_logical(t) << 8, random, base_out);
}

void ti_place_make(const char base[TI_UUID_TEXT_SIZE + 1], uint32_t ordinal, uint32_t partition,
                   uint64_t timestamp_us, ti_event_place *place_out)
{
    static const char digits[] = "0123456789abcdef";
    /* the lowest 8 bits of the 26 that ti_uuid_v7 orders by, then the 16 bits after them */
    static const unsigned char at[6] = {21, 22, 24, 25, 26, 27};
    ti_assert(ordinal <= ORDINAL_MAX);
    place_out->partition = partition;
    place_out->timestamp_us = timestamp_us;
    memcpy(place_out->uuid, base, TI_UUID_TEXT_SIZE + 1);
    for (unsigned i = 0; i < 6; i++)
        place_out->uuid[at[i]] = digits[(ordinal >> (20 - 4 * i)) & 15];
}

/* ---- the commit ---- */

/* Makes sure that every type's partition count may be used by a commit at t, and bounds it. Alone,
 * the commit is entered in the hub: who changes the count waits for it. */
static ti_status fence_types(outbox *box, ti_txn *txn, ti_ts t, const ti_call *call, ti_err *err)
{
    const bool shared = box->queues->shared;
    const int64_t lease_us = box->queues->meta_lease_us;
    for (outbox_type *type = box->types; type != NULL; type = type->next) {
        uint32_t known = type->meta.partitions;
        if (shared && t > ti_ts_add_us(type->meta.read_at, lease_us / 2))
            TI_TRY(ti_queue_meta_resolve(box->queues, type->type, 0, &type->meta, call, err));
        if ((shared ? type->meta.partitions : ti_layout_count(type->type->layout)) != known)
            return ti_err_set(err, TI_CONFLICT,
                              "the partitions of event type '%s' have changed; run again",
                              type->type->name);
        if (shared)
            ti_txn_not_after(txn, ti_ts_add_us(type->meta.read_at, lease_us));
    }
    return TI_OK;
}

static uint64_t place_time(const outbox_event *event, ti_ts t)
{
    int64_t us = ti_ts_to_us(t);
    int64_t delayed = us;
    if (event->delay_us > 0 && __builtin_add_overflow(us, event->delay_us, &delayed))
        delayed = INT64_MAX;
    int64_t due = event->due_us > delayed ? event->due_us : delayed;
    ti_assert(due >= us);
    return (uint64_t)due;
}

/* The row that says which event has a token. */
static ti_status put_token(const outbox *box, const outbox_event *event, ti_txn *txn, ti_arena *a,
                           ti_err *err)
{
    char id[TI_EVENT_ID_SIZE + 1];
    ti_buf value;
    ti_slice key = ti_key_queue_unique(box->queues->keyspace, a,
                                       ti_hub_type_name(event->type->type), event->fields.unique);
    TI_TRY(ti_key_check(key, "queue key", err));
    ti_event_id_format(&event->place, id);
    ti_buf_init(&value, 256);
    ti_status status = ti_queue_text_seal(&value, key, ti_slice_of(id), err);
    if (status == TI_OK)
        status = ti_txn_put(txn, key, ti_buf_slice(&value), err);
    ti_buf_free(&value);
    return status;
}

static ti_status put_event(const outbox *box, outbox_event *event, ti_txn *txn,
                           ti_event_sealer *sealer, ti_arena *a, ti_err *err)
{
    ti_slice value;
    ti_slice key =
        ti_key_event(box->queues->keyspace, a, ti_hub_type_name(event->type->type), &event->place);
    TI_TRY(ti_key_check(key, "event key", err));
    TI_TRY(ti_event_seal(sealer, TI_SEALED_EVENT, key, &event->fields, &value, err));
    if (event->fields.unique.len > 0)
        TI_TRY(put_token(box, event, txn, a, err));
    return ti_txn_put(txn, key, value, err);
}

/* A ti_txn_commit_hook. */
static ti_status write_events(void *context, ti_txn *txn, ti_ts t, ti_err *err)
{
    outbox *box = context;
    char base[TI_UUID_TEXT_SIZE + 1];
    unsigned char random[TI_UUID_V7_RANDOM_SIZE];
    ti_event_sealer sealer;
    ti_arena own; /* of many events: one after the other uses the same memory */
    ti_arena *a = box->count == 1 ? ti_txn_arena(txn) : &own;
    uint32_t ordinal = 0;
    ti_call call = ti_kv_call(box->queues->kv);
    if (!box->queues->shared &&
        !ti_hub_enter(box->queues->hub, &box->inflight, (uint64_t)ti_ts_to_us(t)))
        return ti_err_set(err, TI_CONFLICT,
                          "the commit began too long ago to leave events; run it again");
    ti_status status = fence_types(box, txn, t, &call, err);
    ti_txn_not_after(txn, ti_ts_add_us(t, TI_GRACE_US));
    ti_hub_random(box->queues->hub, box->queues->kv->env, random);
    ti_place_base(t, random, base);
    ti_event_sealer_init(&sealer);
    ti_arena_init(&own);
    for (outbox_event *event = box->first; event != NULL && status == TI_OK; event = event->next) {
        uint32_t partition = ti_queue_partition_of(event->fields.key, event->type->meta.partitions);
        ti_place_make(base, ordinal++, partition, place_time(event, t), &event->place);
        status = put_event(box, event, txn, &sealer, a, err);
        ti_arena_reset(&own);
    }
    ti_arena_free(&own);
    ti_event_sealer_free(&sealer);
    return status;
}

/* A ti_txn_end_hook. */
static void events_ended(void *context, ti_status status, ti_ts commit_ts)
{
    outbox *box = context;
    ti_hub *hub = box->queues->hub;
    bool maybe = status == TI_OK || status == TI_OUTCOME_UNKNOWN;
    (void)commit_ts;
    ti_mutex_lock(&hub->mutex);
    for (const outbox_event *event = box->first; event != NULL && maybe; event = event->next)
        ti_hub_wake_held(hub, event->type->type, event->place.partition, event->place.timestamp_us);
    ti_hub_leave_held(hub, &box->inflight);
    ti_mutex_unlock(&hub->mutex);
    for (const outbox_event *event = box->first; event != NULL && maybe; event = event->next) {
        if (box->queues->hinter != NULL)
            ti_hint_note(box->queues->hinter, event->type->type, event->place.partition,
                         event->place.timestamp_us);
    }
    for (const outbox_event *event = box->first; event != NULL && status == TI_OK;
         event = event->next)
        ti_hub_count(event->type->type, TI_COUNT_PUBLISHED, 1);
}

/* ---- the outbox ---- */

/* The transaction's outbox, made at its first event. */
static ti_status outbox_of(ti_queues *queues, ti_txn *txn, outbox **box_out, ti_err *err)
{
    outbox *box = ti_txn_slot(txn, &outbox_owner);
    if (box == NULL) {
        box = ti_arena_alloc_zero(ti_txn_arena(txn), sizeof(*box));
        if (box == NULL)
            return ti_err_no_memory(err);
        box->queues = queues;
        box->last = &box->first;
        TI_TRY(ti_txn_set_slot(txn, &outbox_owner, box, err));
        TI_TRY(ti_txn_on_commit(txn, write_events, box, err));
        TI_TRY(ti_txn_on_end(txn, events_ended, box, err));
    }
    *box_out = box;
    return TI_OK;
}

static ti_status type_of(outbox *box, ti_txn *txn, const ti_event_spec *spec,
                         outbox_type **type_out, const ti_call *call, ti_err *err)
{
    outbox_type *type = box->types;
    while (type != NULL && !ti_slice_equal(ti_hub_type_name(type->type), spec->type))
        type = type->next;
    if (type == NULL) {
        type = ti_arena_alloc_zero(ti_txn_arena(txn), sizeof(*type));
        if (type == NULL)
            return ti_err_no_memory(err);
        TI_TRY(ti_hub_type_of(box->queues->hub, spec->type, &type->type, err));
        TI_TRY(ti_queue_meta_resolve(box->queues, type->type, spec->partitions, &type->meta, call,
                                     err));
        type->next = box->types;
        box->types = type;
    }
    *type_out = type;
    if (spec->partitions == 0 || spec->partitions == type->meta.partitions)
        return TI_OK;
    return ti_queue_meta_resolve(box->queues, type->type, spec->partitions, &type->meta, call, err);
}

/* Copies a field; an empty one stays empty without memory. */
static bool copy_field(ti_arena *a, ti_slice *field)
{
    if (field->len == 0) {
        *field = TI_SLICE_NONE;
        return true;
    }
    *field = ti_arena_copy(a, *field);
    return field->data != NULL;
}

static bool copy_fields(ti_arena *a, ti_event_fields *f)
{
    return copy_field(a, &f->key) && copy_field(a, &f->action) && copy_field(a, &f->entity) &&
           copy_field(a, &f->entity_id) && copy_field(a, &f->references) &&
           copy_field(a, &f->payload) && copy_field(a, &f->unique);
}

static ti_status outbox_add(ti_queues *queues, ti_txn *txn, const ti_event_spec *spec,
                            const ti_event_fields *fields, const ti_call *call, ti_err *err)
{
    outbox *box = NULL;
    outbox_type *type = NULL;
    TI_TRY(outbox_of(queues, txn, &box, err));
    ti_assert(box->queues->kv == queues->kv);
    TI_TRY(type_of(box, txn, spec, &type, call, err));
    if (box->count >= ORDINAL_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "too many events in one transaction");
    outbox_event *event = ti_arena_alloc_zero(ti_txn_arena(txn), sizeof(*event));
    if (event == NULL)
        return ti_err_no_memory(err);
    event->type = type;
    event->fields = *fields;
    event->due_us = spec->due_us;
    event->delay_us = spec->delay_us;
    if (!copy_fields(ti_txn_arena(txn), &event->fields))
        return ti_err_no_memory(err);
    *box->last = event;
    box->last = &event->next;
    box->count++;
    return TI_OK;
}

/* ---- what may be published ---- */

/* a: for scratch, which is given back; a large text has an arena of its own. */
static ti_status check_json(ti_arena *a, ti_slice text, const char *what, bool array, ti_err *err)
{
    ti_json_parser parser;
    ti_json_doc doc;
    ti_arena own;
    ti_arena_mark mark = ti_arena_mark_of(a);
    if (text.len == 0)
        return TI_OK;
    ti_json_parser_init(&parser);
    ti_arena_init(&own);
    ti_status status = ti_json_parse(&parser, text.len <= SMALL_JSON ? a : &own, text, &doc, err);
    if (status == TI_OK && array && ti_json_type_of(ti_json_root(&doc)) != TI_JSON_ARRAY)
        status =
            ti_err_set(err, TI_INVALID_ARGUMENT, "the %s of an event must be a JSON array", what);
    ti_arena_reset_to(a, mark);
    ti_arena_free(&own);
    ti_json_parser_free(&parser);
    return status;
}

static ti_status check_text(ti_slice text, const char *what, ti_err *err)
{
    if (text.len > TI_KEY_SIZE_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "the %s of an event can have at most %d bytes",
                          what, TI_KEY_SIZE_MAX);
    if (!ti_slice_is_utf8(text))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the %s of an event must be UTF-8", what);
    return TI_OK;
}

static ti_status check_spec(ti_arena *a, const ti_event_spec *spec, const ti_event_fields *fields,
                            ti_err *err)
{
    TI_TRY(ti_name_check(spec->type, "event type", err));
    if (spec->key.len == 0 || spec->key.len > TI_ID_SIZE_MAX)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "an event of type '%.*s' needs a key of 1 to %d bytes",
                          (int)spec->type.len, spec->type.data, TI_ID_SIZE_MAX);
    TI_TRY(check_text(spec->key, "key", err));
    TI_TRY(check_text(spec->action, "action", err));
    TI_TRY(check_text(spec->entity, "entity", err));
    TI_TRY(check_text(spec->entity_id, "entity id", err));
    if (spec->unique.len > TI_ID_SIZE_MAX || !ti_slice_is_utf8(spec->unique))
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "the token of an event is UTF-8 of at most %d bytes", TI_ID_SIZE_MAX);
    if (spec->due_us < 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "an event can not be due before 1970");
    if (ti_event_fields_size(fields) > TI_EVENT_SIZE_MAX)
        return ti_err_set(
            err, TI_LIMIT_EXCEEDED, "an event of type '%.*s' has %zu bytes; at most %d are allowed",
            (int)spec->type.len, spec->type.data, ti_event_fields_size(fields), TI_EVENT_SIZE_MAX);
    if (spec->json_checked)
        return TI_OK;
    TI_TRY(check_json(a, spec->payload, "payload", false, err));
    return check_json(a, spec->references, "references", true, err);
}

/* Whether this transaction publishes an event with that token already. */
static bool is_in_outbox(const ti_txn *txn, const ti_event_spec *spec)
{
    const outbox *box = ti_txn_slot(txn, &outbox_owner);
    const outbox_event *event = box != NULL ? box->first : NULL;
    while (event != NULL && !(ti_slice_equal(event->fields.unique, spec->unique) &&
                              ti_slice_equal(ti_hub_type_name(event->type->type), spec->type)))
        event = event->next;
    return event != NULL;
}

/* Whether an unfinished event has the token; its id then, "" when this transaction makes it. A row
 * of the token that names an event which is gone does not count. */
static ti_status is_taken(ti_queues *queues, ti_txn *txn, const ti_event_spec *spec,
                          bool *taken_out, char *id_out, const ti_call *call, ti_err *err)
{
    ti_arena *a = ti_txn_arena(txn);
    ti_slice value;
    ti_slice id;
    *taken_out = is_in_outbox(txn, spec);
    if (*taken_out)
        return TI_OK;
    ti_slice key = ti_key_queue_unique(queues->keyspace, a, spec->type, spec->unique);
    TI_TRY(ti_key_check(key, "queue key", err));
    ti_status status = ti_txn_get(txn, key, a, &value, call, err);
    if (status == TI_NOT_FOUND)
        return TI_OK;
    TI_TRY(status);
    TI_TRY(ti_queue_text_open(value, key, &id, err));
    TI_TRY(ti_event_is_unfinished(queues, txn, spec->type, id, taken_out, call, err));
    if (*taken_out && id_out != NULL && id.len == TI_EVENT_ID_SIZE) {
        memcpy(id_out, id.data, id.len);
        id_out[id.len] = '\0';
    }
    return TI_OK;
}

static ti_event_fields fields_of(const ti_event_spec *spec)
{
    return (ti_event_fields){
        .key = spec->key,
        .payload = spec->payload,
        .action = spec->action,
        .entity = spec->entity,
        .entity_id = spec->entity_id,
        .references = spec->references,
        .unique = spec->unique,
    };
}

static ti_status publish_in(ti_queues *queues, ti_txn *txn, const ti_event_spec *spec,
                            bool *added_out, char *id_out, const ti_call *call, ti_err *err)
{
    bool taken = false;
    const ti_event_fields fields = fields_of(spec);
    *added_out = false;
    TI_TRY(ti_txn_check(txn, true, err));
    TI_TRY(check_spec(ti_txn_arena(txn), spec, &fields, err));
    if (spec->unique.len > 0)
        TI_TRY(is_taken(queues, txn, spec, &taken, id_out, call, err));
    if (taken && !spec->unique_return)
        return ti_err_set(err, TI_ALREADY_EXISTS,
                          "an unfinished event of type '%.*s' has this token already",
                          (int)spec->type.len, spec->type.data);
    if (taken)
        return TI_OK;
    *added_out = true;
    return outbox_add(queues, txn, spec, &fields, call, err);
}

ti_status ti_publish_check(const ti_event_spec *spec, ti_err *err)
{
    const ti_event_fields fields = fields_of(spec);
    ti_arena a;
    ti_arena_init(&a);
    ti_status status = check_spec(&a, spec, &fields, err);
    ti_arena_free(&a);
    return status;
}

/* ---- entries ---- */

typedef struct told_id {
    const outbox_event *event;
    char *id_out;
} told_id;

/* A ti_txn_commit_hook, after write_events: the event has its place. */
static ti_status tell_id(void *context, ti_txn *txn, ti_ts t, ti_err *err)
{
    const told_id *told = context;
    (void)txn;
    (void)t;
    (void)err;
    ti_event_id_format(&told->event->place, told->id_out);
    return TI_OK;
}

ti_status ti_publish_tell_id(ti_txn *txn, char *id_out, ti_err *err)
{
    const outbox *box = ti_txn_slot(txn, &outbox_owner);
    told_id *told = ti_arena_alloc(ti_txn_arena(txn), sizeof(*told));
    ti_assert(box != NULL);
    if (told == NULL)
        return ti_err_no_memory(err);
    *told = (told_id){.event = box->first, .id_out = id_out};
    while (told->event->next != NULL)
        told->event = told->event->next;
    return ti_txn_on_commit(txn, tell_id, told, err);
}

ti_status ti_publish_in(ti_queues *queues, ti_txn *txn, const ti_event_spec *spec,
                        const ti_call *call, ti_err *err)
{
    bool added;
    ti_assert(spec->unique.len == 0);
    return publish_in(queues, txn, spec, &added, NULL, call, err);
}

typedef struct publish_one {
    ti_queues *queues;
    const ti_event_spec *spec;
    char *id_out;
} publish_one;

/* A ti_transact_fn. */
static ti_status publish_alone(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    const publish_one *one = context;
    bool added;
    TI_TRY(publish_in(one->queues, txn, one->spec, &added, one->id_out, call, err));
    return added && one->id_out != NULL ? ti_publish_tell_id(txn, one->id_out, err) : TI_OK;
}

ti_status ti_queue_publish(ti_queues *queues, ti_txn *txn, const ti_event_spec *spec, char *id_out,
                           const ti_call *call, ti_err *err)
{
    ti_err local;
    ti_err *out = err != NULL ? err : &local;
    ti_assert(queues != NULL);
    ti_assert(spec != NULL);
    bool added;
    if (id_out != NULL)
        id_out[0] = '\0';
    if (txn == NULL && queues->gatherer != NULL && spec->unique.len == 0)
        return ti_gather_publish(queues->gatherer, spec, id_out, call, out);
    if (txn == NULL) {
        publish_one one = {.queues = queues, .spec = spec, .id_out = id_out};
        return ti_kv_transact(queues->kv, NULL, NULL, publish_alone, &one, NULL, call, out);
    }
    ti_status status = publish_in(queues, txn, spec, &added, id_out, call, out);
    if (status != TI_OK && ti_txn_is_open(txn))
        ti_txn_doom(txn, out);
    return status;
}

ti_status ti_publish_model_event(void *context, ti_txn *txn, const ti_model_event *event,
                                 const ti_call *call, ti_err *err)
{
    ti_event_spec spec = {
        .type = event->type,
        .key = event->key,
        .payload = event->payload,
        .action = event->action,
        .entity = event->entity,
        .entity_id = event->entity_id,
        .references = event->references,
        .due_us = event->due_us,
        .json_checked = true,
    };
    return ti_queue_publish(context, txn, &spec, NULL, call, err);
}

/* Values of stored events and of the queue's own rows; layouts in value_int.h.
 *
 * Threads: pure functions; a sealer belongs to one thread at a time. */
#include "queue/value_int.h"

#include "base/assert.h"
#include "queue/hint_int.h"

#define FLAG_DAMAGED 1
#define FLAG_UNIQUE 2
#define NUMBER_VERSION 1
#define TEXT_VERSION 2
#define META_VERSION 3
#define META_PAUSED 1
#define META_MOVING 2
#define SCHEDULE_VERSION 4
#define HINT_VERSION 5

/* Above the limit of an event: its error, lengths, numbers. */
#define VALUE_SIZE_MAX (TI_EVENT_SIZE_MAX + TI_EVENT_ERROR_SIZE_MAX + 1024)

#define FIELD_COUNT 7

size_t ti_event_fields_size(const ti_event_fields *f)
{
    return f->key.len + f->action.len + f->entity.len + f->entity_id.len + f->references.len +
           f->payload.len;
}

void ti_event_sealer_init(ti_event_sealer *sealer)
{
    ti_buf_init(&sealer->payload, VALUE_SIZE_MAX);
    ti_buf_init(&sealer->value, VALUE_SIZE_MAX + 64);
}

void ti_event_sealer_free(ti_event_sealer *sealer)
{
    ti_buf_free(&sealer->payload);
    ti_buf_free(&sealer->value);
}

static ti_status append_varint(ti_buf *b, uint64_t number, ti_err *err)
{
    unsigned char bytes[10];
    size_t len = 0;
    do {
        bytes[len] = (unsigned char)((number & 0x7F) | (number > 0x7F ? 0x80 : 0));
        number >>= 7;
        len++;
    } while (number > 0);
    return ti_buf_append(b, bytes, len, err);
}

static ti_status append_field(ti_buf *b, ti_slice field, ti_err *err)
{
    TI_TRY(append_varint(b, field.len, err));
    return ti_buf_append_slice(b, field, err);
}

/* Takes a number off in; false when it is cut or longer than 64 bits. */
static bool take_varint(ti_slice *in, uint64_t *number_out)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 64 && in->len > 0; shift += 7) {
        unsigned char byte = (unsigned char)in->data[0];
        in->data++;
        in->len--;
        if (shift == 63 && byte > 1)
            return false;
        number |= (uint64_t)(byte & 0x7F) << shift;
        if ((byte & 0x80) == 0) {
            *number_out = number;
            return true;
        }
    }
    return false;
}

static bool take_field(ti_slice *in, ti_slice *field_out)
{
    uint64_t len;
    if (!take_varint(in, &len) || len > in->len)
        return false;
    *field_out = (ti_slice){.data = in->data, .len = (size_t)len};
    in->data += len;
    in->len -= (size_t)len;
    return true;
}

static ti_status append_fields(ti_buf *b, const ti_event_fields *f, ti_err *err)
{
    const ti_slice fields[FIELD_COUNT] = {f->key,        f->action,  f->entity,    f->entity_id,
                                          f->references, f->payload, f->last_error};
    unsigned flags = (f->damaged ? FLAG_DAMAGED : 0) | (f->unique.len > 0 ? FLAG_UNIQUE : 0);
    TI_TRY(ti_buf_append_byte(b, (unsigned char)flags, err));
    TI_TRY(append_varint(b, f->attempts, err));
    TI_TRY(append_varint(b, f->not_before_us, err));
    TI_TRY(append_varint(b, f->origin_us, err));
    for (size_t i = 0; i < FIELD_COUNT; i++)
        TI_TRY(append_field(b, fields[i], err));
    return f->unique.len > 0 ? append_field(b, f->unique, err) : TI_OK;
}

ti_status ti_event_seal(ti_event_sealer *sealer, ti_sealed_kind kind, ti_slice row_key,
                        const ti_event_fields *fields, ti_slice *value_out, ti_err *err)
{
    ti_assert(row_key.len > 0);
    ti_assert(fields->last_error.len <= TI_EVENT_ERROR_SIZE_MAX);
    *value_out = TI_SLICE_NONE;
    ti_buf_clear(&sealer->payload);
    ti_buf_clear(&sealer->value);
    TI_TRY(append_fields(&sealer->payload, fields, err));
    TI_TRY(ti_sealed_append(&sealer->value, kind, row_key, ti_buf_slice(&sealer->payload), err));
    *value_out = ti_buf_slice(&sealer->value);
    return TI_OK;
}

static bool take_head(ti_slice *in, ti_event_fields *f, bool *unique_out)
{
    uint64_t attempts;
    if (in->len == 0 || ((unsigned char)in->data[0] & ~(FLAG_DAMAGED | FLAG_UNIQUE)) != 0)
        return false;
    f->damaged = (in->data[0] & FLAG_DAMAGED) != 0;
    *unique_out = (in->data[0] & FLAG_UNIQUE) != 0;
    in->data++;
    in->len--;
    if (!take_varint(in, &attempts) || attempts > UINT32_MAX)
        return false;
    f->attempts = (uint32_t)attempts;
    return take_varint(in, &f->not_before_us) && take_varint(in, &f->origin_us);
}

ti_status ti_event_open(ti_slice value, ti_sealed_kind kind, ti_slice row_key,
                        ti_event_fields *fields_out, ti_err *err)
{
    ti_slice in;
    ti_event_fields f = {.attempts = 0};
    ti_slice *const fields[FIELD_COUNT] = {&f.key,        &f.action,  &f.entity,    &f.entity_id,
                                           &f.references, &f.payload, &f.last_error};
    *fields_out = f;
    TI_TRY(ti_sealed_open(value, kind, row_key, &in, err));
    bool unique = false;
    bool whole = take_head(&in, &f, &unique);
    for (size_t i = 0; whole && i < FIELD_COUNT; i++)
        whole = take_field(&in, fields[i]);
    if (whole && unique)
        whole = take_field(&in, &f.unique) && f.unique.len > 0;
    if (!whole || in.len > 0)
        return ti_err_set(err, TI_CORRUPT, "a stored event can not be decoded");
    *fields_out = f;
    return TI_OK;
}

ti_status ti_queue_number_seal(ti_buf *b, ti_slice row_key, uint64_t number, ti_err *err)
{
    ti_buf payload;
    ti_buf_init(&payload, 16);
    ti_status status = ti_buf_append_byte(&payload, NUMBER_VERSION, err);
    if (status == TI_OK)
        status = append_varint(&payload, number, err);
    if (status == TI_OK)
        status = ti_sealed_append(b, TI_SEALED_QUEUE, row_key, ti_buf_slice(&payload), err);
    ti_buf_free(&payload);
    return status;
}

ti_status ti_queue_number_open(ti_slice value, ti_slice row_key, uint64_t *number_out, ti_err *err)
{
    ti_slice in;
    *number_out = 0;
    TI_TRY(ti_sealed_open(value, TI_SEALED_QUEUE, row_key, &in, err));
    if (in.len < 2 || in.data[0] != NUMBER_VERSION)
        return ti_err_set(err, TI_CORRUPT, "a row of the queue has an unknown form");
    in.data++;
    in.len--;
    if (!take_varint(&in, number_out) || in.len > 0)
        return ti_err_set(err, TI_CORRUPT, "a row of the queue can not be decoded");
    return TI_OK;
}

ti_status ti_queue_text_seal(ti_buf *b, ti_slice row_key, ti_slice text, ti_err *err)
{
    ti_buf payload;
    ti_buf_init(&payload, TI_KEY_SIZE_MAX + 1);
    ti_status status = ti_buf_append_byte(&payload, TEXT_VERSION, err);
    if (status == TI_OK)
        status = ti_buf_append_slice(&payload, text, err);
    if (status == TI_OK)
        status = ti_sealed_append(b, TI_SEALED_QUEUE, row_key, ti_buf_slice(&payload), err);
    ti_buf_free(&payload);
    return status;
}

ti_status ti_queue_text_open(ti_slice value, ti_slice row_key, ti_slice *text_out, ti_err *err)
{
    ti_slice in;
    *text_out = TI_SLICE_NONE;
    TI_TRY(ti_sealed_open(value, TI_SEALED_QUEUE, row_key, &in, err));
    if (in.len < 1 || in.data[0] != TEXT_VERSION)
        return ti_err_set(err, TI_CORRUPT, "a row of the queue has an unknown form");
    *text_out = (ti_slice){.data = in.data + 1, .len = in.len - 1};
    return TI_OK;
}

static ti_status append_meta(ti_buf *b, ti_queue_meta_row meta, ti_err *err)
{
    unsigned char flags =
        (unsigned char)((meta.paused ? META_PAUSED : 0) | (meta.from > 0 ? META_MOVING : 0));
    TI_TRY(ti_buf_append_byte(b, META_VERSION, err));
    TI_TRY(ti_buf_append_byte(b, flags, err));
    TI_TRY(append_varint(b, meta.partitions, err));
    if (meta.from == 0)
        return TI_OK;
    TI_TRY(append_varint(b, meta.from, err));
    return append_varint(b, meta.since_us, err);
}

ti_status ti_queue_meta_seal(ti_buf *b, ti_slice row_key, ti_queue_meta_row meta, ti_err *err)
{
    ti_buf payload;
    if (!meta.paused && meta.from == 0)
        return ti_queue_number_seal(b, row_key, meta.partitions, err);
    ti_buf_init(&payload, 64);
    ti_status status = append_meta(&payload, meta, err);
    if (status == TI_OK)
        status = ti_sealed_append(b, TI_SEALED_QUEUE, row_key, ti_buf_slice(&payload), err);
    ti_buf_free(&payload);
    return status;
}

ti_status ti_queue_meta_open(ti_slice value, ti_slice row_key, ti_queue_meta_row *meta_out,
                             ti_err *err)
{
    ti_slice in;
    *meta_out = (ti_queue_meta_row){.paused = false};
    TI_TRY(ti_sealed_open(value, TI_SEALED_QUEUE, row_key, &in, err));
    if (in.len < 1 || in.data[0] != META_VERSION)
        return ti_queue_number_open(value, row_key, &meta_out->partitions, err);
    unsigned char flags = in.len < 3 ? 0 : (unsigned char)in.data[1];
    if (flags == 0 || (flags & ~(META_PAUSED | META_MOVING)) != 0)
        return ti_err_set(err, TI_CORRUPT, "the row of an event type has an unknown form");
    meta_out->paused = (flags & META_PAUSED) != 0;
    in.data += 2;
    in.len -= 2;
    bool whole = take_varint(&in, &meta_out->partitions);
    if ((flags & META_MOVING) != 0)
        whole = whole && take_varint(&in, &meta_out->from) &&
                take_varint(&in, &meta_out->since_us) && meta_out->from > 0 &&
                meta_out->from <= TI_PARTITIONS_MAX;
    if (!whole || in.len > 0)
        return ti_err_set(err, TI_CORRUPT, "the row of an event type can not be decoded");
    return TI_OK;
}

static ti_status append_schedule(ti_buf *b, const ti_schedule *s, ti_err *err)
{
    const ti_slice fields[] = {s->type, s->key, s->cron, s->timezone, s->payload};
    TI_TRY(ti_buf_append_byte(b, SCHEDULE_VERSION, err));
    TI_TRY(ti_buf_append_byte(b, (unsigned char)s->catch_up, err));
    TI_TRY(append_varint(b, s->next_us == INT64_MAX ? 0 : (uint64_t)s->next_us, err));
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        TI_TRY(append_field(b, fields[i], err));
    return TI_OK;
}

ti_status ti_schedule_seal(ti_buf *b, ti_slice row_key, const ti_schedule *schedule, ti_err *err)
{
    ti_buf payload;
    ti_buf_init(&payload, TI_SCHEDULE_PAYLOAD_SIZE_MAX + 4 * TI_KEY_SIZE_MAX);
    ti_status status = append_schedule(&payload, schedule, err);
    if (status == TI_OK)
        status = ti_sealed_append(b, TI_SEALED_QUEUE, row_key, ti_buf_slice(&payload), err);
    ti_buf_free(&payload);
    return status;
}

ti_status ti_schedule_open(ti_slice value, ti_slice row_key, ti_schedule *s, ti_err *err)
{
    ti_slice *const fields[] = {&s->type, &s->key, &s->cron, &s->timezone, &s->payload};
    uint64_t next_us = 0;
    ti_slice in;
    TI_TRY(ti_sealed_open(value, TI_SEALED_QUEUE, row_key, &in, err));
    if (in.len < 3 || in.data[0] != SCHEDULE_VERSION || in.data[1] > TI_CATCH_UP_NONE)
        return ti_err_set(err, TI_CORRUPT, "the row of a schedule has an unknown form");
    s->catch_up = (ti_catch_up)in.data[1];
    in.data += 2;
    in.len -= 2;
    bool whole = take_varint(&in, &next_us) && next_us <= INT64_MAX;
    for (size_t i = 0; whole && i < sizeof(fields) / sizeof(fields[0]); i++)
        whole = take_field(&in, fields[i]);
    if (!whole || in.len > 0)
        return ti_err_set(err, TI_CORRUPT, "the row of a schedule can not be decoded");
    s->next_us = next_us == 0 ? INT64_MAX : (int64_t)next_us;
    return TI_OK;
}

static ti_status append_hints(ti_buf *b, ti_hint_head head, const ti_hint *hints, size_t count,
                              ti_err *err)
{
    TI_TRY(ti_buf_append_byte(b, HINT_VERSION, err));
    TI_TRY(append_varint(b, head.written_us, err));
    TI_TRY(append_varint(b, head.number, err));
    for (size_t i = 0; i < count; i++) {
        TI_TRY(append_varint(b, hints[i].partition, err));
        TI_TRY(append_varint(b, hints[i].place_us, err));
        TI_TRY(append_varint(b, hints[i].number, err));
    }
    return TI_OK;
}

ti_status ti_hint_seal(ti_buf *b, ti_slice row_key, ti_hint_head head, const ti_hint *hints,
                       size_t count, ti_err *err)
{
    ti_buf payload;
    ti_buf_init(&payload, TI_EVENT_SIZE_MAX);
    ti_status status = append_hints(&payload, head, hints, count, err);
    if (status == TI_OK)
        status = ti_sealed_append(b, TI_SEALED_QUEUE, row_key, ti_buf_slice(&payload), err);
    ti_buf_free(&payload);
    return status;
}

ti_status ti_hint_open(ti_slice value, ti_slice row_key, ti_hint_head *head_out, ti_slice *rest_out,
                       ti_err *err)
{
    TI_TRY(ti_sealed_open(value, TI_SEALED_QUEUE, row_key, rest_out, err));
    if (rest_out->len < 1 || rest_out->data[0] != HINT_VERSION)
        return ti_err_set(err, TI_CORRUPT, "a hint has an unknown form");
    rest_out->data++;
    rest_out->len--;
    if (!take_varint(rest_out, &head_out->written_us) || !take_varint(rest_out, &head_out->number))
        return ti_err_set(err, TI_CORRUPT, "a hint can not be decoded");
    return TI_OK;
}

bool ti_hint_next(ti_slice *rest, ti_hint *hint_out)
{
    uint64_t partition;
    if (!take_varint(rest, &partition) || partition > TI_PARTITIONS_MAX ||
        !take_varint(rest, &hint_out->place_us) || !take_varint(rest, &hint_out->number))
        return false;
    hint_out->partition = (uint32_t)partition;
    return true;
}

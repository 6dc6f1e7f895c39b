/* What a stored event looks like inside: the payload of a sealed value (codec/record.h), the same
 * for pending, parked and finished events.
 *
 *   flags         1 byte: bit 0 = damaged (payload holds the raw bytes of a row that did not open),
 *                 bit 1 = has a token
 *   attempts      varint
 *   not_before    varint, µs: a retry waits until then; 0 = none
 *   origin        varint, µs: of history, the timestamp of the place it had; 0 otherwise
 *   key action entity entity_id references payload last_error      each: varint length, bytes
 *   token         the same, when there is one
 *
 * INVARIANTS
 *  1. Decoding copies nothing: slices borrow from the value.
 *  2. Nothing may follow the last field.
 *  3. The place of an event is in its row's key, never in its value (history: the origin, too). */
#ifndef TI_QUEUE_VALUE_INT_H
#define TI_QUEUE_VALUE_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/slice.h"
#include "codec/record.h"
#include "queue/schedule.h"

typedef struct ti_event_fields {
    ti_slice key;
    ti_slice action;
    ti_slice entity;
    ti_slice entity_id;
    ti_slice references;
    ti_slice payload;
    ti_slice last_error;
    ti_slice unique; /* the token; empty = none */
    uint32_t attempts;
    uint64_t not_before_us;
    uint64_t origin_us;
    bool damaged;
} ti_event_fields;

/* The bytes that count against TI_EVENT_SIZE_MAX. */
size_t ti_event_fields_size(const ti_event_fields *fields);

/* Two buffers that sealing reuses from value to value. */
typedef struct ti_event_sealer {
    ti_buf payload;
    ti_buf value;
} ti_event_sealer;

void ti_event_sealer_init(ti_event_sealer *sealer);
void ti_event_sealer_free(ti_event_sealer *sealer);
/* The value for the row of that key, borrowed until the next call. OUT_OF_MEMORY, LIMIT_EXCEEDED.
 */
ti_status ti_event_seal(ti_event_sealer *sealer, ti_sealed_kind kind, ti_slice row_key,
                        const ti_event_fields *fields, ti_slice *value_out, ti_err *err);
/* Opens a value; slices borrow from it. CORRUPT. */
ti_status ti_event_open(ti_slice value, ti_sealed_kind kind, ti_slice row_key,
                        ti_event_fields *fields_out, ti_err *err);

/* Rows of the queue that hold a text (queue_lease: the worker's id).
 *
 *   version 02, the bytes */
ti_status ti_queue_text_seal(ti_buf *b, ti_slice row_key, ti_slice text, ti_err *err);
/* The text, borrowed from value. CORRUPT. */
ti_status ti_queue_text_open(ti_slice value, ti_slice row_key, ti_slice *text_out, ti_err *err);

/* queue_schedule, laid out in schedule.c. name is not in the row: set by the caller. CORRUPT;
 * slices borrow from value. */
ti_status ti_schedule_seal(ti_buf *b, ti_slice row_key, const ti_schedule *schedule, ti_err *err);
ti_status ti_schedule_open(ti_slice value, ti_slice row_key, ti_schedule *schedule_io, ti_err *err);

/* queue_meta: as a number while the type runs, so that those who know numbers only read it, else
 *
 *   version 03, flags (bit 0: paused, bit 1: its count changes), varint number,
 *   when it changes: varint from, varint since */
typedef struct ti_queue_meta_row {
    uint64_t partitions;
    bool paused;
    uint64_t from;     /* > 0: the count changes; the highest one that rows may still lie by */
    uint64_t since_us; /* … since this time */
} ti_queue_meta_row;
ti_status ti_queue_meta_seal(ti_buf *b, ti_slice row_key, ti_queue_meta_row meta, ti_err *err);
ti_status ti_queue_meta_open(ti_slice value, ti_slice row_key, ti_queue_meta_row *meta_out,
                             ti_err *err);

/* The queue's own rows (queue_meta, queue_checkpoint, queue_worker: when it expires): one number.
 *
 *   version 01, varint number */
ti_status ti_queue_number_seal(ti_buf *b, ti_slice row_key, uint64_t number, ti_err *err);
ti_status ti_queue_number_open(ti_slice value, ti_slice row_key, uint64_t *number_out, ti_err *err);

#endif

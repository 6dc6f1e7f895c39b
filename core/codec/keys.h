/* The whole keyspace, on one page. Nothing else builds or parses keys.
 *
 *   key, after the optional {namespace}:                            holds
 *   --------------------------------------------------------------  ---------------------------
 *   table:{table}:{id}                                              the record (record.h)
 *   index:{table}:{index}:{tuple(fields…, id)}                      a marker, or the document
 *   unique-index:{table}:{index}:{tuple(fields…)}                   the owner's id
 *   schema:{table}                                                  declared indexes, their states
 *   index_todo:{table}:{index}:{id}                                 a row a backfill must visit
 *   event:{type}:{partition}:{timestamp}:{uuid}                     a pending event
 *   queue:{type}:COMPLETED:{partition}:{timestamp}:{uuid}           history
 *   queue:{type}:FAILED:{partition}:{timestamp}:{uuid}              history
 *   queue_parked:{type}:{partition}:{tuple(key, timestamp, uuid)}   an event behind another one
 *   queue_checkpoint:{type}:{partition}                             where reading begins
 *   queue_lease:{type}:{partition}                                  who owns the partition
 *   queue_worker:{type}:{worker}                                    a worker and its expiry
 *   queue_hint:{type}:{process}                                     lowest places published
 *   queue_meta:{type}                                               partition count
 *   queue_unique:{type}:{token}                                     a pending event's token
 *   queue_schedule:{name}                                           a recurring event
 *   meta:{name}                                                     format, clock bound, secret
 *
 * partition: 4 digits. timestamp: 20 digits, µs since the epoch. uuid: 36 bytes.
 * {index} of version n > 1: {index}@{n}.
 *
 * INVARIANTS
 *  1. Names (namespace, table, index, type, worker, process, schedule, meta) match
 *     [A-Za-z0-9_.-]{1,128}: no ':' and no '@', so every slot ends at the first ':' and no range
 *     of one table, index or type holds a key of another.
 *  2. Free text (id, token, tuple) is always last: it may hold any byte.
 *  3. A namespace is never a first segment, so databases with and without one do not meet.
 *  4. Builders require valid names (in release too). Ids and whole keys come from users: callers
 *     check them with ti_id_check and ti_key_check.
 *
 * Threads: pure functions. What is NOT here: values (record.h), bytes of tuples (tuple.h). */
#ifndef TI_CODEC_KEYS_H
#define TI_CODEC_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/id.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/slice.h"
#include "codec/tuple.h"

/* ---- names ---- */

/* Whether text matches [A-Za-z0-9_.-]{1,128}. */
bool ti_name_is_valid(ti_slice name);
/* INVALID_ARGUMENT naming what ("table name") when it does not. */
ti_status ti_name_check(ti_slice name, const char *what, ti_err *err);
/* A record id: non-empty UTF-8 of at most TI_ID_SIZE_MAX bytes; INVALID_ARGUMENT, LIMIT_EXCEEDED.
 */
ti_status ti_id_check(ti_slice id, ti_err *err);
/* A built key: LIMIT_EXCEEDED naming what ("index key") when it is longer than TI_KEY_SIZE_MAX;
 * OUT_OF_MEMORY when data is NULL, so that a builder's answer can be passed straight in. */
ti_status ti_key_check(ti_slice key, const char *what, ti_err *err);

/* ---- the keyspace of a database ---- */

typedef struct ti_keyspace {
    char prefix[TI_NAME_SIZE_MAX + 2]; /* "{namespace}:" or "", NUL-terminated */
    size_t prefix_len;
} ti_keyspace;

/* namespace may be empty (none). INVALID_ARGUMENT: outside the alphabet, or a first segment
 * ("table"). */
ti_status ti_keyspace_init(ti_keyspace *ks, ti_slice name_space, ti_err *err);
/* The namespace without its colon; empty when there is none. Borrowed from ks. */
ti_slice ti_keyspace_name(const ti_keyspace *ks);
/* Whether key belongs to this keyspace: begins with its prefix and a first segment of the table
 * above. */
bool ti_keyspace_owns(const ti_keyspace *ks, ti_slice key);
/* Whether a whole range lies in this keyspace. */
bool ti_keyspace_owns_range(const ti_keyspace *ks, const ti_key_range *range);

/* ---- builders: the key in the arena, or data NULL when there was no memory ---- */

ti_slice ti_key_record(const ti_keyspace *ks, ti_arena *a, ti_slice table, ti_slice id);
/* index: as stored, see ti_index_name. fields: the encoded tuple of the fields. id is appended as
 * the last field. */
ti_slice ti_key_index(const ti_keyspace *ks, ti_arena *a, ti_slice table, ti_slice index,
                      ti_slice fields, ti_slice id);
ti_slice ti_key_unique(const ti_keyspace *ks, ti_arena *a, ti_slice table, ti_slice index,
                       ti_slice fields);
ti_slice ti_key_schema(const ti_keyspace *ks, ti_arena *a, ti_slice table);
ti_slice ti_key_index_todo(const ti_keyspace *ks, ti_arena *a, ti_slice table, ti_slice index,
                           ti_slice id);
ti_slice ti_key_queue_worker(const ti_keyspace *ks, ti_arena *a, ti_slice type, ti_slice worker);
ti_slice ti_key_queue_hint(const ti_keyspace *ks, ti_arena *a, ti_slice type, ti_slice process);
ti_slice ti_key_queue_meta(const ti_keyspace *ks, ti_arena *a, ti_slice type);
ti_slice ti_key_queue_unique(const ti_keyspace *ks, ti_arena *a, ti_slice type, ti_slice token);
ti_slice ti_key_queue_schedule(const ti_keyspace *ks, ti_arena *a, ti_slice name);
ti_slice ti_key_queue_checkpoint(const ti_keyspace *ks, ti_arena *a, ti_slice type,
                                 uint32_t partition);
ti_slice ti_key_queue_lease(const ti_keyspace *ks, ti_arena *a, ti_slice type, uint32_t partition);
ti_slice ti_key_meta(const ti_keyspace *ks, ti_arena *a, ti_slice name);

/* The name an index of a version is stored under: "{index}" for version 1, "{index}@{version}"
 * above; in a, or data NULL. */
ti_slice ti_index_name(ti_arena *a, ti_slice index, uint32_t version);
/* Takes it apart; false when text is no such name. */
bool ti_index_name_parse(ti_slice stored, ti_slice *index_out, uint32_t *version_out);

/* ---- events ---- */

/* Where an event stands in its type: the order of places is the order of delivery. */
typedef struct ti_event_place {
    uint32_t partition;    /* below TI_PARTITIONS_MAX + 1 */
    uint64_t timestamp_us; /* since the epoch */
    char uuid[TI_UUID_TEXT_SIZE + 1];
} ti_event_place;

/* The length of an event id: "{partition}.{timestamp}.{uuid}", widths as in keys. */
#define TI_EVENT_ID_SIZE (4 + 1 + 20 + 1 + TI_UUID_TEXT_SIZE)

/* Which history rows. */
typedef enum ti_history {
    TI_HISTORY_COMPLETED = 0,
    TI_HISTORY_FAILED = 1,
} ti_history;

/* -1, 0 or 1. */
int ti_event_place_compare(const ti_event_place *left, const ti_event_place *right);
/* Writes the event id, NUL-terminated. */
void ti_event_id_format(const ti_event_place *place, char out[TI_EVENT_ID_SIZE + 1]);
/* Reads one; INVALID_ARGUMENT for anything that ti_event_id_format would not write. */
ti_status ti_event_id_parse(ti_slice text, ti_event_place *place_out, ti_err *err);
/* The 26-bit ordinal that ti_uuid_v7 put into a place's uuid: with the timestamp it is the ordered
 * part of an event id. */
uint32_t ti_event_place_ordinal(const ti_event_place *place);

ti_slice ti_key_event(const ti_keyspace *ks, ti_arena *a, ti_slice type,
                      const ti_event_place *place);
/* place: partition and uuid of the event, timestamp of its completion. */
ti_slice ti_key_history(const ti_keyspace *ks, ti_arena *a, ti_slice type, ti_history state,
                        const ti_event_place *place);
/* key: the event's business key. */
ti_slice ti_key_parked(const ti_keyspace *ks, ti_arena *a, ti_slice type, ti_slice key,
                       const ti_event_place *place);

/* ---- prefixes and ranges, in the arena; data NULL / OUT_OF_MEMORY when there was no memory ----
 */

/* "index:{table}:{index}:" or "unique-index:…": tuples follow it, so it is what ti_tuple_range
 * takes. */
ti_slice ti_key_index_prefix(const ti_keyspace *ks, ti_arena *a, ti_slice table, ti_slice index);
ti_slice ti_key_unique_prefix(const ti_keyspace *ks, ti_arena *a, ti_slice table, ti_slice index);

/* What a range spans. */
typedef enum ti_span {
    TI_SPAN_ALL = 0,     /* every key of the keyspace with a namespace; without one: UNSUPPORTED */
    TI_SPAN_RECORDS,     /* table */
    TI_SPAN_INDEX,       /* table, index: its entries */
    TI_SPAN_UNIQUE,      /* table, index: its entries */
    TI_SPAN_INDEXES,     /* table: entries of all its indexes */
    TI_SPAN_UNIQUES,     /* table: entries of all its unique indexes */
    TI_SPAN_SCHEMAS,     /* every table's row */
    TI_SPAN_INDEX_TODO,  /* table, index */
    TI_SPAN_EVENTS,      /* type: pending events of all partitions */
    TI_SPAN_COMPLETED,   /* type */
    TI_SPAN_FAILED,      /* type */
    TI_SPAN_PARKED,      /* type */
    TI_SPAN_CHECKPOINTS, /* type */
    TI_SPAN_LEASES,      /* type */
    TI_SPAN_WORKERS,     /* type */
    TI_SPAN_HINTS,       /* type */
    TI_SPAN_QUEUE_METAS, /* every type's row */
    TI_SPAN_UNIQUE_TOKENS, /* type */
    TI_SPAN_SCHEDULES,
    TI_SPAN_METAS,
} ti_span;

/* The range of a span. name: the table or type (empty where the span takes none); index: as stored
 * (empty likewise). */
ti_status ti_key_span(const ti_keyspace *ks, ti_arena *a, ti_span span, ti_slice name,
                      ti_slice index, ti_key_range *range_out, ti_err *err);
/* Pending events of one partition with from_us <= timestamp < to_us (0 and UINT64_MAX: all). */
ti_status ti_key_events_between(const ti_keyspace *ks, ti_arena *a, ti_slice type,
                                uint32_t partition, uint64_t from_us, uint64_t to_us,
                                ti_key_range *range_out, ti_err *err);
/* History of one partition, the same way. */
ti_status ti_key_history_between(const ti_keyspace *ks, ti_arena *a, ti_slice type,
                                 ti_history state, uint32_t partition, uint64_t from_us,
                                 uint64_t to_us, ti_key_range *range_out, ti_err *err);
/* Parked events of one partition; key NULL: of every key, else of this one, oldest place first. */
ti_status ti_key_parked_of(const ti_keyspace *ks, ti_arena *a, ti_slice type, uint32_t partition,
                           const ti_slice *key, ti_key_range *range_out, ti_err *err);
/* The smallest key after key (key and a NUL byte), in a, or data NULL: where a scan resumes. */
ti_slice ti_key_after(ti_arena *a, ti_slice key);

/* ---- reading keys ---- */

typedef enum ti_key_kind {
    TI_KEY_FOREIGN = 0, /* another namespace, or nothing tito writes */
    TI_KEY_RECORD,
    TI_KEY_INDEX,
    TI_KEY_UNIQUE,
    TI_KEY_SCHEMA,
    TI_KEY_INDEX_TODO,
    TI_KEY_EVENT,
    TI_KEY_COMPLETED,
    TI_KEY_FAILED,
    TI_KEY_PARKED,
    TI_KEY_CHECKPOINT,
    TI_KEY_LEASE,
    TI_KEY_WORKER,
    TI_KEY_HINT,
    TI_KEY_QUEUE_META,
    TI_KEY_QUEUE_UNIQUE,
    TI_KEY_SCHEDULE,
    TI_KEY_META,
} ti_key_kind;

/* A key taken apart. Slices borrow from the key. */
typedef struct ti_key_parts {
    ti_key_kind kind;
    ti_slice name;  /* table, event type, or the name of a schedule or meta row */
    ti_slice index; /* INDEX, UNIQUE, INDEX_TODO: as stored */
    ti_slice tuple; /* INDEX (with the id), UNIQUE, PARKED: encoded */
    ti_slice
        id; /* RECORD, INDEX_TODO: the id; WORKER, HINT, QUEUE_UNIQUE: worker, process, token */
    ti_event_place
        place; /* EVENT, COMPLETED, FAILED: whole; CHECKPOINT, LEASE, PARKED: partition */
} ti_key_parts;

/* Takes a key of this keyspace apart; false (kind FOREIGN) when it is none. Tuples are not decoded.
 */
bool ti_key_parse(const ti_keyspace *ks, ti_slice key, ti_key_parts *parts_out);
/* Splits an INDEX key's tuple into the fields' bytes and the id. descending: one flag per field, in
 * order. The id borrows from tuple when it can, else it is in a. CORRUPT, OUT_OF_MEMORY. */
ti_status ti_key_index_split(ti_slice tuple, const bool *descending, size_t field_count,
                             ti_arena *a, ti_slice *fields_out, ti_slice *id_out, ti_err *err);
/* Takes a PARKED key's tuple apart into the business key and the place (partition: parts->place).
 * CORRUPT, OUT_OF_MEMORY. */
ti_status ti_key_parked_split(const ti_key_parts *parts, ti_arena *a, ti_slice *key_out,
                              ti_event_place *place_out, ti_err *err);

#endif

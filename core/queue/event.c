/* Event objects: one block of memory each, made of a stored row; the index by place.
 *
 *   [ ti_event | row key | row value | ordering key (of parked rows) ]
 *
 * Threads: making and cloning touch nothing shared. */
#include <string.h>

#include "base/assert.h"
#include "queue/worker_int.h"

/* ---- making ---- */

static uint64_t place_hash(const ti_event_place *place)
{
    uint64_t hash = place->timestamp_us;
    uint64_t word;
    for (size_t at = 0; at + sizeof(word) <= TI_UUID_TEXT_SIZE; at += sizeof(word)) {
        memcpy(&word, place->uuid + at, sizeof(word));
        hash = (hash ^ word) * UINT64_C(0x9fb21c651e98df25);
        hash ^= hash >> 32;
    }
    return hash;
}

static ti_slice or_default(ti_slice s, ti_slice otherwise)
{
    return s.len > 0 ? s : otherwise;
}

/* What the event is ordered by. Slices of the block itself, or static. */
static ti_slice order_of(const ti_event *event, ti_slice parked_key)
{
    if (event->from_parked)
        return parked_key;
    if (event->damaged || event->part->type->ordering == TI_ORDERING_NONE)
        return (ti_slice){.data = event->info.place.uuid, .len = TI_UUID_TEXT_SIZE};
    if (event->part->type->ordering == TI_ORDERING_PARTITION)
        return TI_SLICE("");
    return event->info.key;
}

/* Opens the value; what does not open is damaged. */
static void read_value(ti_event *event)
{
    ti_event_fields f;
    ti_sealed_kind kind = event->from_parked ? TI_SEALED_PARKED : TI_SEALED_EVENT;
    ti_status status = ti_event_open(event->row_value, kind, event->row_key, &f, NULL);
    event->damaged = status != TI_OK;
    event->info.type = ti_hub_type_name(event->part->type->type);
    event->info.key = f.key;
    event->info.payload = or_default(f.payload, TI_SLICE("null"));
    event->info.action = f.action;
    event->info.entity = f.entity;
    event->info.entity_id = f.entity_id;
    event->info.references = or_default(f.references, TI_SLICE("[]"));
    event->info.last_error = f.last_error;
    event->info.unique = f.unique;
    event->info.row_key = event->row_key;
    event->info.attempts = f.attempts;
    event->info.not_before_us = (int64_t)f.not_before_us;
    event->info.state = event->from_parked ? TI_EVENT_PARKED : TI_EVENT_PENDING;
}

static char *append(char *at, ti_slice s, ti_slice *copy_out)
{
    if (s.len > 0)
        memcpy(at, s.data, s.len);
    *copy_out = (ti_slice){.data = at, .len = s.len};
    return at + s.len;
}

ti_event *ti_event_new(ti_part *part, const ti_event_place *place, bool from_parked,
                       ti_slice parked_key, ti_slice row_key, ti_slice row_value)
{
    size_t size = sizeof(ti_event) + row_key.len + row_value.len + parked_key.len;
    ti_event *event = ti_alloc(size);
    ti_slice order;
    ti_assert(from_parked || parked_key.len == 0);
    if (event == NULL)
        return NULL;
    memset(event, 0, sizeof(*event));
    char *at = append((char *)event + sizeof(*event), row_key, &event->row_key);
    at = append(at, row_value, &event->row_value);
    append(at, parked_key, &order);
    event->worker = part->type->worker;
    event->part = part;
    event->size = size;
    atomic_init(&event->refs, 1);
    event->from_parked = from_parked;
    event->info.place = *place;
    event->info.place.partition = part->number;
    event->hash = place_hash(&event->info.place);
    ti_event_id_format(&event->info.place, event->info.id);
    ti_timer_init(&event->deadline, TI_TIMER_EVENT);
    read_value(event);
    event->order = order_of(event, order);
    return event;
}

ti_event *ti_event_clone(const ti_event *event)
{
    ti_slice parked_key = event->from_parked ? event->order : TI_SLICE_NONE;
    ti_event *clone = ti_event_new(event->part, &event->info.place, event->from_parked, parked_key,
                                   event->row_key, event->row_value);
    if (clone == NULL)
        return NULL;
    clone->conflicts = event->conflicts;
    clone->batch_max = event->batch_max;
    clone->read_ts = event->read_ts;
    return clone;
}

void ti_event_destroy(ti_event *event)
{
    ti_assert(event->txn == NULL);
    ti_assert(event->deadline.slot == TI_TIMER_OFF);
    if (event->replacement != NULL)
        ti_event_destroy(event->replacement);
    if (event->batch != NULL)
        ti_batch_unref(event->batch);
    ti_free(event->text);
    ti_free(event);
}

void ti_event_ref(ti_event *event)
{
    atomic_fetch_add_explicit(&event->refs, 1, memory_order_relaxed);
}

void ti_event_unref(ti_event *event)
{
    uint32_t before = atomic_fetch_sub_explicit(&event->refs, 1, memory_order_acq_rel);
    ti_assert(before > 0);
    if (before == 1)
        ti_event_destroy(event);
}

ti_slice ti_event_sequence(const ti_event_info *info)
{
    const size_t skip = sizeof("0000.") - 1;
    ti_assert(info->id[skip - 1] == '.');
    return (ti_slice){.data = info->id + skip, .len = TI_EVENT_ID_SIZE - skip};
}

/* ---- the index ---- */

static ti_event **bucket_of(const ti_worker *w, uint64_t hash)
{
    return &w->index[hash % TI_INDEX_BUCKETS];
}

bool ti_index_knows(const ti_worker *w, const ti_event_place *place, const ti_part *part)
{
    uint64_t hash = place_hash(place);
    for (const ti_event *e = *bucket_of(w, hash); e != NULL; e = e->hash_next) {
        if (e->hash == hash && e->part == part &&
            ti_event_place_compare(&e->info.place, place) == 0)
            return true;
    }
    return false;
}

void ti_index_add(ti_worker *w, ti_event *event)
{
    ti_event **bucket = bucket_of(w, event->hash);
    event->hash_next = *bucket;
    *bucket = event;
}

void ti_index_remove(ti_worker *w, ti_event *event)
{
    ti_event **link = bucket_of(w, event->hash);
    while (*link != event) {
        ti_require(*link != NULL);
        link = &(*link)->hash_next;
    }
    *link = event->hash_next;
    event->hash_next = NULL;
}

/* ---- queues of events ---- */

void ti_fifo_init(ti_event_fifo *fifo)
{
    *fifo = (ti_event_fifo){.first = NULL, .last = NULL, .count = 0};
}

void ti_fifo_push(ti_event_fifo *fifo, ti_event *event)
{
    event->next = NULL;
    if (fifo->first == NULL)
        fifo->first = event;
    else
        fifo->last->next = event;
    fifo->last = event;
    fifo->count++;
}

void ti_fifo_unlink(ti_event_fifo *fifo, ti_event *before, ti_event *event)
{
    ti_assert(fifo->count > 0);
    ti_assert((before != NULL ? before->next : fifo->first) == event);
    if (before != NULL)
        before->next = event->next;
    else
        fifo->first = event->next;
    if (fifo->last == event)
        fifo->last = before;
    fifo->count--;
    event->next = NULL;
}

ti_event *ti_fifo_pop(ti_event_fifo *fifo)
{
    ti_event *event = fifo->first;
    if (event != NULL)
        ti_fifo_unlink(fifo, NULL, event);
    return event;
}

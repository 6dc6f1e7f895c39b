/* Reading one page of a partition, or of several at one snapshot.
 *
 *   (mutex)    `reading`, what publishers have told
 *              snapshot, now
 *   (mutex)    what they have told since and where to read from
 *              rows with read position <= place <= now; when that reached the end and nobody knows:
 *              the first row after now
 *   (mutex)    which of them are in memory already
 *              objects
 *   (mutex)    into the window
 *
 * INVARIANTS
 *  1. The read position is taken after the snapshot: what the snapshot shows was committed before,
 *     and everything that such a commit came after has been told. So no event is read before one
 *     whose commit had returned before its own began. What was told after the snapshot was asked
 *     for may not be in it: the position does not move beyond that.
 *  2. `reading` is set before the snapshot is taken, so an event whose row the snapshot still shows
 *     is still in the index, however far its outcome has got.
 *  3. A row is delivered when place <= now, with now taken after the snapshot from the database.
 *  4. A sweep reads again from floor_us, at one snapshot or later ones: then every event with a
 *     place below min(that first snapshot - TI_GRACE_US, the position reached) has been seen. */
#include <string.h>

#include "base/assert.h"
#include "queue/worker_int.h"

typedef struct part_read {
    ti_worker *w;
    ti_part *part;
    ti_arena *a;
    ti_txn *txn;
    ti_call call;
    ti_ts snapshot;
    int64_t mono_ns; /* before now_us was taken, so that timers are early rather than late */
    uint64_t now_us;
    uint64_t from_us;
    char from_uuid[TI_UUID_TEXT_SIZE + 1];
    size_t max;
    uint64_t wake_min_us;
    uint64_t wake_max_us;
    bool look_for_due;
    bool is_first;   /* since the partition was opened */
    bool to_end;     /* the scan goes to the partition's end: rows and what is due next in one */
    uint64_t due_us; /* found when looked for */
    ti_scan_page page;
    ti_event_place
        *places; /* of the page's rows; partition TI_PARTITIONS_MAX + 1: not to be read */
    ti_event **events;
    bool reached_end;
    size_t made; /* rows whose objects are made (or needed none) */
} part_read;

#define SKIP (TI_PARTITIONS_MAX + 1)

/* ---- before ---- */

/* Rows that may be read now; notes who waits when there is no room. */
static size_t room_of(ti_worker *w, ti_part *part)
{
    size_t room = TI_READ_PAGE_MAX;
    bool was_full = w->full;
    if (w->events >= TI_WINDOW_EVENTS_MAX || w->bytes >= TI_WINDOW_SIZE_MAX ||
        w->parked_size >= TI_PARKED_SIZE_MAX)
        w->full = true;
    if (w->full && !was_full)
        w->full_at_ns = ti_env_mono_ns(w->env);
    if (!w->full && part->count >= TI_WINDOW_PARTITION_MAX) {
        part->full = true;
        part->full_at_ns = ti_env_mono_ns(w->env);
        w->full_parts++;
    }
    if (w->full || part->full) {
        if (w->spill_check_ns == 0)
            w->spill_check_ns = ti_env_mono_ns(w->env) + TI_SPILL_AFTER_US * INT64_C(1000);
        return 0;
    }
    if (room > TI_WINDOW_EVENTS_MAX - w->events)
        room = TI_WINDOW_EVENTS_MAX - w->events;
    if (room > TI_WINDOW_PARTITION_MAX - part->count)
        room = TI_WINDOW_PARTITION_MAX - part->count;
    return room;
}

static void begin_sweep_page(part_read *r)
{
    ti_part *part = r->part;
    int64_t floor_us = ti_ts_to_us(r->snapshot) - TI_GRACE_US;
    if (part->sweeping && part->sweep_floor_us == UINT64_MAX)
        part->sweep_floor_us = floor_us > 0 ? (uint64_t)floor_us : 0;
}

/* Decides from where; false when there is nothing to do. */
static bool begin(part_read *r)
{
    ti_worker *w = r->w;
    ti_part *part = r->part;
    ti_mutex_lock(&w->mutex);
    ti_inbox_collect(w);
    bool go = part->owned && part->opened;
    r->max = go ? room_of(w, part) : 0;
    if (r->max > 0) {
        begin_sweep_page(r);
        r->from_us = part->read_us;
        memcpy(r->from_uuid, part->read_uuid, sizeof(r->from_uuid));
        r->look_for_due = !part->due_known || part->due_us <= r->now_us;
        r->to_end = r->look_for_due && (part->sweeping || r->is_first) && part->count == 0;
        if (r->to_end && r->max > TI_SWEEP_ROWS_MAX)
            r->max = TI_SWEEP_ROWS_MAX;
    }
    /* without room of its own it comes back by itself; without room at all it stays in the queue */
    if (go && r->max == 0 && w->full)
        ti_part_queue(w, part);
    ti_worker_unlock(w);
    return r->max > 0;
}

/* ---- the store ---- */

static ti_status range_of(part_read *r, uint64_t from_us, uint64_t to_us, ti_range *range_out,
                          ti_err *err)
{
    const ti_keyspace *ks = r->w->queues->keyspace;
    ti_slice type = ti_hub_type_name(r->part->type->type);
    ti_key_range range;
    TI_TRY(ti_key_events_between(ks, r->a, type, r->part->number, from_us, to_us, &range, err));
    *range_out = (ti_range){.from = range.lo, .to = range.hi};
    return TI_OK;
}

static ti_status scan_due(part_read *r, ti_err *err)
{
    const ti_keyspace *ks = r->w->queues->keyspace;
    ti_scan scan = {.items_max = 1, .keys_only = true};
    ti_scan_page page;
    ti_key_parts parts;
    r->due_us = UINT64_MAX;
    TI_TRY(range_of(r, r->now_us + 1, UINT64_MAX, &scan.range, err));
    TI_TRY(ti_txn_scan(r->txn, &scan, r->a, &page, &r->call, err));
    if (page.count > 0 && ti_key_parse(ks, page.pairs[0].key, &parts))
        r->due_us = parts.place.timestamp_us;
    return TI_OK;
}

/* Of a scan to the end: the first row that is not due yet says what is due next; it and those
 * behind it are not read. */
static void cut_future(part_read *r)
{
    ti_key_parts parts;
    r->due_us = UINT64_MAX;
    for (size_t i = 0; i < r->page.count; i++) {
        if (!ti_key_parse(r->w->queues->keyspace, r->page.pairs[i].key, &parts) ||
            parts.place.timestamp_us <= r->now_us)
            continue;
        r->due_us = parts.place.timestamp_us;
        r->page.count = i;
        r->page.more = false;
        return;
    }
}

static ti_status scan_rows(part_read *r, ti_err *err)
{
    const ti_keyspace *ks = r->w->queues->keyspace;
    ti_scan scan = {.items_max = r->max, .size_max = TI_READ_PAGE_SIZE_MAX};
    uint64_t to_us = r->now_us + 1 > r->from_us ? r->now_us + 1 : r->from_us;
    if (r->to_end)
        to_us = UINT64_MAX;
    TI_TRY(range_of(r, r->from_us, to_us, &scan.range, err));
    if (r->from_uuid[0] != '\0') {
        ti_event_place after = {.partition = r->part->number, .timestamp_us = r->from_us};
        memcpy(after.uuid, r->from_uuid, sizeof(after.uuid));
        ti_slice key = ti_key_event(ks, r->a, ti_hub_type_name(r->part->type->type), &after);
        TI_TRY(ti_key_check(key, "event key", err));
        scan.range.from = ti_key_after(r->a, key);
        if (scan.range.from.data == NULL)
            return ti_err_no_memory(err);
    }
    if (ti_slice_compare(scan.range.from, scan.range.to) < 0)
        TI_TRY(ti_txn_scan(r->txn, &scan, r->a, &r->page, &r->call, err));
    if (r->to_end)
        cut_future(r);
    else if (!r->page.more && r->look_for_due)
        return scan_due(r, err);
    return TI_OK;
}

/* ---- objects ---- */

static ti_status parse_rows(part_read *r, ti_err *err)
{
    size_t n = r->page.count;
    ti_key_parts parts;
    r->places = ti_arena_alloc(r->a, n * sizeof(*r->places));
    r->events = ti_arena_alloc_zero(r->a, n * sizeof(ti_event *));
    if (r->places == NULL || r->events == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < n; i++) {
        bool known = ti_key_parse(r->w->queues->keyspace, r->page.pairs[i].key, &parts) &&
                     parts.kind == TI_KEY_EVENT;
        r->places[i] = parts.place;
        if (!known) {
            ti_log_write(r->w->log, TI_LOG_WARN, "queue: a key among the events of '%s' is none",
                         r->part->type->type->name);
            r->places[i].partition = SKIP;
        }
    }
    return TI_OK;
}

static void skip_known(part_read *r)
{
    if (r->page.count == 0)
        return;
    ti_mutex_lock(&r->w->mutex);
    for (size_t i = 0; i < r->page.count; i++) {
        if (r->places[i].partition != SKIP && ti_index_knows(r->w, &r->places[i], r->part))
            r->places[i].partition = SKIP;
    }
    ti_mutex_unlock(&r->w->mutex);
}

static ti_status make_events(part_read *r, ti_err *err)
{
    for (r->made = 0; r->made < r->page.count; r->made++) {
        const ti_pair *pair = &r->page.pairs[r->made];
        if (r->places[r->made].partition == SKIP)
            continue;
        ti_event *event = ti_event_new(r->part, &r->places[r->made], false, TI_SLICE_NONE,
                                       pair->key, pair->value);
        if (event == NULL)
            return ti_err_no_memory(err);
        event->read_ts = r->snapshot;
        r->events[r->made] = event;
    }
    return TI_OK;
}

/* ---- after, the mutex is held ---- */

/* Puts the objects into the window; true when all are in. After a failure the rest stays away, too:
 * it is read again. */
static bool insert_events(part_read *r)
{
    ti_worker *w = r->w;
    size_t count = r->made;
    bool going = r->part->owned && r->part->opened;
    for (size_t i = 0; i < count; i++) {
        ti_event *event = r->events[i];
        if (event == NULL)
            continue;
        if (going && ti_window_insert(w, event, false, NULL) != TI_OK) {
            going = false;
            r->made = i;
        }
        if (!going) {
            ti_event_destroy(event);
            continue;
        }
        ti_key *key = event->key;
        if (key->is_parked && !key->all_loaded)
            ti_key_move_window(w, key);
        ti_key_update(w, key);
    }
    return going && r->made == r->page.count;
}

/* Moves the read position on. */
static void advance(part_read *r, bool at_end)
{
    ti_part *part = r->part;
    uint64_t us = r->from_us;
    const char *uuid = r->from_uuid;
    if (at_end) {
        us = r->now_us > us ? r->now_us : us;
        uuid = us == r->from_us ? uuid : "";
    } else if (r->made > 0) {
        ti_key_parts parts;
        if (ti_key_parse(r->w->queues->keyspace, r->page.pairs[r->made - 1].key, &parts)) {
            us = parts.place.timestamp_us;
            memcpy(r->from_uuid, parts.place.uuid, sizeof(r->from_uuid));
        }
    }
    if (part->wake_min_us <= us) { /* told since the snapshot was asked for */
        us = part->wake_min_us;
        uuid = "";
    }
    part->read_us = us;
    memmove(part->read_uuid, uuid, strlen(uuid) + 1);
}

static void end_sweep(part_read *r, bool at_end)
{
    ti_part *part = r->part;
    if (!part->sweeping || (!at_end && part->read_us < part->sweep_to_us))
        return;
    uint64_t floor_us = part->sweep_floor_us < part->read_us ? part->sweep_floor_us : part->read_us;
    part->sweeping = false;
    part->swept_ns = ti_env_mono_ns(r->w->env);
    if (floor_us > part->floor_us)
        part->floor_us = floor_us;
}

/* What is due next, once everything up to now has been read. */
static void note_due(part_read *r)
{
    ti_part *part = r->part;
    if (r->look_for_due) {
        part->due_us = r->due_us;
        part->due_known = true;
    }
    if (r->wake_min_us <= r->wake_max_us && r->wake_max_us > r->now_us) {
        uint64_t us = r->wake_min_us > r->now_us ? r->wake_min_us : r->now_us + 1;
        part->due_us = us < part->due_us ? us : part->due_us;
    }
    if (part->due_us == UINT64_MAX)
        return;
    uint64_t wait_us = part->due_us > r->now_us ? part->due_us - r->now_us : 0;
    if (wait_us > TI_DUE_WAIT_US_MAX)
        wait_us = TI_DUE_WAIT_US_MAX;
    part->due_ns = r->mono_ns + (int64_t)wait_us * 1000;
}

static void end(part_read *r, bool read)
{
    ti_worker *w = r->w;
    ti_part *part = r->part;
    ti_mutex_lock(&w->mutex);
    bool whole = insert_events(r) && read;
    if (part->owned && part->opened) {
        bool at_end = whole && !r->page.more;
        advance(r, at_end);
        r->reached_end = at_end;
        if (at_end)
            note_due(r);
        else
            ti_part_queue(w, part);
        end_sweep(r, at_end);
        ti_part_schedule(w, part);
    }
    ti_worker_unlock(w);
}

static ti_status read_page(part_read *r, ti_err *err)
{
    ti_ts now;
    TI_TRY(ti_txn_start_ts(r->txn, &r->snapshot, &r->call, err));
    if (!r->w->queues->shared) /* else now is the snapshot's: as old as that */
        r->mono_ns = ti_env_mono_ns(r->w->env);
    TI_TRY(ti_worker_now(r->w, r->txn, &now, &r->call, err));
    r->now_us = (uint64_t)ti_ts_to_us(now);
    if (!begin(r))
        return TI_OK;
    ti_status status = scan_rows(r, err);
    if (status == TI_OK)
        status = parse_rows(r, err);
    if (status == TI_OK) {
        skip_known(r);
        status = make_events(r, err);
    } else {
        r->page.count = 0;
    }
    end(r, status == TI_OK);
    return status;
}

/* Before the snapshot: what is told from now on counts for the next read, too. */
static void set_reading(part_read *r)
{
    ti_worker *w = r->w;
    ti_part *part = r->part;
    ti_mutex_lock(&w->mutex);
    ti_inbox_collect(w);
    part->reading = true;
    r->wake_min_us = part->wake_min_us;
    r->wake_max_us = part->wake_max_us;
    part->wake_min_us = UINT64_MAX;
    part->wake_max_us = 0;
    ti_worker_unlock(w);
}

/* Wakes that were not followed to the end stay. */
static void unset_reading(part_read *r)
{
    ti_worker *w = r->w;
    ti_part *part = r->part;
    ti_mutex_lock(&w->mutex);
    if (!r->reached_end) {
        if (r->wake_min_us < part->wake_min_us)
            part->wake_min_us = r->wake_min_us;
        if (r->wake_max_us > part->wake_max_us)
            part->wake_max_us = r->wake_max_us;
    }
    ti_window_read_ended(w, part);
    ti_worker_unlock(w);
}

static ti_status read_all(part_read *reads, size_t n, ti_err *err)
{
    ti_arena *a = reads->a;
    ti_arena_mark mark = ti_arena_mark_of(a);
    ti_status status = TI_OK;
    for (size_t i = 0; i < n && status == TI_OK; i++) {
        status = read_page(&reads[i], err);
        ti_arena_reset_to(a, mark);
    }
    return status;
}

ti_status ti_parts_read(ti_worker *w, ti_part *const *parts, size_t n, bool first, ti_arena *a,
                        ti_err *err)
{
    ti_txn *txn;
    part_read *reads = ti_arena_alloc_zero(a, n * sizeof(*reads));
    if (reads == NULL)
        return ti_err_no_memory(err);
    TI_TRY(ti_txn_begin(w->queues->kv, &(ti_txn_options){.read_only = true}, &txn, err));
    int64_t mono_ns = ti_env_mono_ns(w->env);
    for (size_t i = 0; i < n; i++) {
        reads[i] = (part_read){.w = w, .part = parts[i], .a = a, .txn = txn, .is_first = first};
        reads[i].call = ti_worker_call(w);
        reads[i].mono_ns = mono_ns;
        set_reading(&reads[i]);
    }
    ti_status status = read_all(reads, n, err);
    for (size_t i = 0; i < n; i++)
        unset_reading(&reads[i]);
    ti_txn_free(txn);
    return status;
}

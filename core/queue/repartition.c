/* Another partition count for a type that is in use: drain and switch.
 *
 *   1 announce  queue_meta = {count, from, since}: one transaction. From here on nothing is delivered
 *   2 rest      workers let go of the type (alone: waited for, with their handlers; on a shared
 *               engine: fenced by meta_lease_us)
 *   3 switch    queue_meta = {to, from, since}: from here on events are published by the new count
 *   4 settle    commits under way that know only the old count end (in the same ways)
 *   5 move      rows that lie where the new count does not put them: page by page, each row deleted
 *               and put at the same place of its new partition in one transaction
 *   6 end       one transaction: queue_meta = to; checkpoints lowered to what was found; rows of
 *               partitions that are gone deleted. Delivery goes on
 *
 *   event:{type}:0001:{t}:{uuid}  ──>  event:{type}:0005:{t}:{uuid}     (parked ones the same way;
 *                                      history only from partitions that are gone)
 *
 * INVARIANTS
 *  1. What there is to do is in the store: a call that finds a change under way goes on with it
 *     (to the same count), or begins another one (then `from` is the highest count that rows may
 *     still lie by). Killed anywhere, the type stands until the next call; nothing is lost.
 *  2. After 2 no worker delivers, and no outcome of an event that was read before it commits. Only
 *     then is anything published by the new count: a worker that still read by the old one would
 *     find it before older events of the same key.
 *  3. After 4 nobody writes by the old count. So after 5 every row lies where the new one puts it.
 *  4. Place and uuid stay, so the order of each key stays. Nothing is delivered from 2 to 6, so no
 *     key is worked on by two partitions.
 *  5. The switch, a page of 5 and the end lock queue_meta as this call knows it: of two changes at
 *     once the later one wins, and the other ends with INVALID_STATE.
 *  6. A checkpoint never passes a row that was moved below it: lowered in 6, and not used by
 *     anybody before (pending.c looks at everything while the count changes).
 *
 * Threads: any. What is NOT here: how workers come to rest and take the count on (follow.c). */
#include <string.h>

#include "base/assert.h"
#include "kv/retry.h"
#include "queue/hub_int.h"
#include "queue/list_int.h"
#include "queue/publish_int.h"

typedef struct change {
    ti_queues *queues;
    ti_hub_type *type;
    ti_slice name;
    uint32_t to;
    ti_queue_meta_row row;  /* as this call stored or found it */
    ti_queue_meta_row next; /* as it is to be */
    uint64_t *lowest; /* owned: of each new partition, the first place seen; UINT64_MAX: none */
    ti_progress *progress;
    uint64_t moved;
} change;

/* ---- queue_meta ---- */

static ti_status meta_key(const change *c, ti_arena *a, ti_slice *key_out, ti_err *err)
{
    *key_out = ti_key_queue_meta(c->queues->keyspace, a, c->name);
    return ti_key_check(*key_out, "queue key", err);
}

static ti_status read_meta(const change *c, ti_txn *txn, ti_queue_meta_row *row_out,
                           const ti_call *call, ti_err *err)
{
    ti_arena *a = ti_txn_arena(txn);
    ti_slice key;
    ti_slice value;
    TI_TRY(meta_key(c, a, &key, err));
    ti_status status = ti_txn_get(txn, key, a, &value, call, err);
    if (status == TI_NOT_FOUND)
        return ti_err_set(err, status, "there is no event type '%s'", c->type->name);
    TI_TRY(status);
    TI_TRY(ti_queue_meta_open(value, key, row_out, err));
    if (row_out->partitions == 0 || row_out->partitions > TI_PARTITIONS_MAX)
        return ti_err_set(err, TI_CORRUPT, "the event type '%s' has no valid partition count",
                          c->type->name);
    return TI_OK;
}

static ti_status put_meta(const change *c, ti_txn *txn, ti_queue_meta_row row, ti_err *err)
{
    ti_slice key;
    ti_buf value;
    TI_TRY(meta_key(c, ti_txn_arena(txn), &key, err));
    ti_buf_init(&value, 128);
    ti_status status = ti_queue_meta_seal(&value, key, row, err);
    if (status == TI_OK)
        status = ti_txn_put(txn, key, ti_buf_slice(&value), err);
    ti_buf_free(&value);
    return status;
}

static bool is_same(const ti_queue_meta_row *a, const ti_queue_meta_row *b)
{
    return a->partitions == b->partitions && a->from == b->from && a->since_us == b->since_us;
}

static ti_status taken_over(const change *c, ti_err *err)
{
    return ti_err_set(err, TI_INVALID_STATE,
                      "another call has changed the partitions of event type '%s' meanwhile",
                      c->type->name);
}

/* The row is still the one of this change; *row_out as it is stored. */
static ti_status check_mine(const change *c, ti_txn *txn, ti_queue_meta_row *row_out,
                            const ti_call *call, ti_err *err)
{
    TI_TRY(read_meta(c, txn, row_out, call, err));
    return is_same(row_out, &c->row) ? TI_OK : taken_over(c, err);
}

/* Runs one transaction of the change; each of them can be run again. */
static ti_status transact(change *c, ti_transact_fn fn, void *context, const ti_call *call,
                          ti_err *err)
{
    ti_status status;
    do {
        TI_TRY(ti_call_check(call, "repartition", err));
        ti_err_clear(err);
        status = ti_kv_transact(c->queues->kv, NULL, NULL, fn, context, NULL, call, err);
    } while (status == TI_OUTCOME_UNKNOWN);
    return status;
}

/* What is stored becomes what this process knows. */
static ti_status learn(const change *c, const ti_call *call, ti_err *err)
{
    bool paused;
    return ti_queue_is_paused(c->queues, c->name, &paused, call, err);
}

/* ---- 1 announce, 3 switch ---- */

/* How long the commit of a row may take after the time that it says. */
static int64_t commit_us(const change *c)
{
    return c->queues->meta_lease_us / TI_REPARTITION_COMMIT_SHARE;
}

/* A ti_txn_commit_hook: the row says when. */
static ti_status write_next(void *context, ti_txn *txn, ti_ts t, ti_err *err)
{
    change *c = context;
    c->next.since_us = (uint64_t)ti_ts_to_us(t);
    ti_txn_not_after(txn, ti_ts_add_us(t, commit_us(c)));
    return put_meta(c, txn, c->next, err);
}

/* A ti_transact_fn: says that there is a change, unless the count is what is wanted. */
static ti_status announce(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    change *c = context;
    TI_TRY(read_meta(c, txn, &c->next, call, err));
    if (c->next.partitions == c->to)
        return TI_OK;
    if (c->next.partitions > c->next.from)
        c->next.from = c->next.partitions;
    return ti_txn_on_commit(txn, write_next, c, err);
}

/* A ti_transact_fn. */
static ti_status change_over(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    change *c = context;
    ti_queue_meta_row row;
    TI_TRY(read_meta(c, txn, &row, call, err));
    if (c->next.partitions == c->to && is_same(&row, &c->next))
        return TI_OK; /* a commit of this call that had an unknown end */
    if (!is_same(&row, &c->row))
        return taken_over(c, err);
    c->next = row;
    c->next.partitions = c->to;
    return ti_txn_on_commit(txn, write_next, c, err);
}

/* Stores the next row and has this process know it. */
static ti_status step(change *c, ti_transact_fn fn, const ti_call *call, ti_err *err)
{
    TI_TRY(transact(c, fn, c, call, err));
    c->row = c->next;
    return learn(c, call, err);
}

/* ---- 2 rest, 4 settle ---- */

/* Waits until nobody can work by what was stored before the row any more. */
static ti_status wait_for_others(const change *c, const ti_call *call, ti_err *err)
{
    const uint64_t fenced_us =
        c->row.since_us + (uint64_t)(commit_us(c) + c->queues->meta_lease_us);
    ti_ts begun;
    ti_ts now;
    TI_TRY(ti_kv_now(c->queues->kv, &begun, call, err));
    const uint64_t begun_us = (uint64_t)ti_ts_to_us(begun);
    for (;;) {
        TI_TRY(ti_call_check(call, "repartition", err));
        TI_TRY(ti_kv_now(c->queues->kv, &now, call, err));
        bool over = c->queues->shared ? (uint64_t)ti_ts_to_us(now) > fenced_us
                                      : ti_hub_has_settled(c->queues->hub, c->type, begun_us);
        if (over)
            return TI_OK;
        ti_env_sleep_ns(c->queues->kv->env, TI_REPARTITION_LOOK_US * INT64_C(1000));
    }
}

static ti_status switch_count(change *c, const ti_call *call, ti_err *err)
{
    TI_TRY(wait_for_others(c, call, err));
    if (c->row.partitions == c->to)
        return TI_OK;
    TI_TRY(step(c, change_over, call, err));
    return wait_for_others(c, call, err);
}

/* ---- 5 move ---- */

typedef enum row_area { AREA_EVENTS, AREA_PARKED, AREA_COMPLETED, AREA_FAILED, AREAS } row_area;

typedef struct page {
    change *c;
    row_area area;
    ti_slice end;
    ti_buf from; /* where the page begins, and where the next one does; empty: there is none */
    ti_buf next;
    uint64_t moved;
    uint32_t partition; /* of the last row */
} page;

static ti_sealed_kind kind_of(row_area area)
{
    if (area == AREA_EVENTS)
        return TI_SEALED_EVENT;
    return area == AREA_PARKED ? TI_SEALED_PARKED : TI_SEALED_HISTORY;
}

/* The key of the same row in another partition. */
static ti_slice key_in(const page *p, ti_arena *a, const ti_event_place *place, ti_slice order)
{
    const ti_keyspace *ks = p->c->queues->keyspace;
    switch (p->area) {
    case AREA_EVENTS:
        return ti_key_event(ks, a, p->c->name, place);
    case AREA_PARKED:
        return ti_key_parked(ks, a, p->c->name, order, place);
    case AREA_COMPLETED:
        return ti_key_history(ks, a, p->c->name, TI_HISTORY_COMPLETED, place);
    default:
        return ti_key_history(ks, a, p->c->name, TI_HISTORY_FAILED, place);
    }
}

/* The token of an unfinished event names it by its id, which has its partition. */
static ti_status move_token(const page *p, ti_txn *txn, ti_slice token, const ti_event_place *from,
                            const ti_event_place *to, const ti_call *call, ti_err *err)
{
    ti_arena *a = ti_txn_arena(txn);
    char id[TI_EVENT_ID_SIZE + 1];
    ti_slice value;
    ti_slice text;
    ti_buf b;
    ti_slice key = ti_key_queue_unique(p->c->queues->keyspace, a, p->c->name, token);
    TI_TRY(ti_key_check(key, "queue key", err));
    ti_status status = ti_txn_get(txn, key, a, &value, call, err);
    if (status == TI_NOT_FOUND)
        return TI_OK;
    TI_TRY(status);
    TI_TRY(ti_queue_text_open(value, key, &text, err));
    ti_event_id_format(from, id);
    if (!ti_slice_equal(text, ti_slice_of(id)))
        return TI_OK; /* another event's by now */
    ti_event_id_format(to, id);
    ti_buf_init(&b, 256);
    status = ti_queue_text_seal(&b, key, ti_slice_of(id), err);
    if (status == TI_OK)
        status = ti_txn_put(txn, key, ti_buf_slice(&b), err);
    ti_buf_free(&b);
    return status;
}

/* Puts a row where it belongs. One that does not open goes as it is: it stays damaged. */
static ti_status move_row(page *p, ti_txn *txn, const ti_pair *pair, const ti_event_fields *fields,
                          const ti_event_place *from, ti_slice order, uint32_t partition,
                          const ti_call *call, ti_err *err)
{
    ti_event_place to = *from;
    ti_event_sealer sealer;
    ti_slice value = pair->value;
    ti_status status = TI_OK;
    to.partition = partition;
    ti_slice key = key_in(p, ti_txn_arena(txn), &to, order);
    TI_TRY(ti_key_check(key, "event key", err));
    ti_event_sealer_init(&sealer);
    if (fields != NULL)
        TI_CHECK(ti_event_seal(&sealer, kind_of(p->area), key, fields, &value, err));
    TI_CHECK(ti_txn_put(txn, key, value, err));
    TI_CHECK(ti_txn_delete(txn, pair->key, err));
    if (fields != NULL && fields->unique.len > 0 && p->area <= AREA_PARKED)
        TI_CHECK(move_token(p, txn, fields->unique, from, &to, call, err));
    p->moved++;
out:
    ti_event_sealer_free(&sealer);
    return status;
}

/* Looks at one row, and moves it when it lies elsewhere. */
static ti_status take_row(page *p, ti_txn *txn, const ti_pair *pair, const ti_call *call,
                          ti_err *err)
{
    change *c = p->c;
    ti_key_parts parts;
    ti_event_place place;
    ti_event_fields fields;
    ti_slice order = TI_SLICE_NONE;
    if (!ti_key_parse(c->queues->keyspace, pair->key, &parts))
        return ti_err_set(err, TI_CORRUPT, "a row among the events of '%s' is none", c->type->name);
    place = parts.place;
    if (p->area == AREA_PARKED)
        TI_TRY(ti_key_parked_split(&parts, ti_txn_arena(txn), &order, &place, err));
    bool open = ti_event_open(pair->value, kind_of(p->area), pair->key, &fields, NULL) == TI_OK;
    uint32_t partition = place.partition % c->to;
    if (open && fields.key.len > 0)
        partition = ti_queue_partition_of(fields.key, c->to);
    p->partition = place.partition;
    if (p->area == AREA_EVENTS && place.timestamp_us < c->lowest[partition])
        c->lowest[partition] = place.timestamp_us;
    if (partition == place.partition || (p->area >= AREA_COMPLETED && place.partition < c->to))
        return TI_OK;
    return move_row(p, txn, pair, open ? &fields : NULL, &place, order, partition, call, err);
}

/* A ti_transact_fn. */
static ti_status move_page(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    page *p = context;
    ti_arena *a = ti_txn_arena(txn);
    ti_scan scan = {
        .range = {.from = ti_buf_slice(&p->from), .to = p->end},
        .items_max = TI_BULK_BATCH,
        .size_max = TI_READ_PAGE_SIZE_MAX,
    };
    ti_queue_meta_row row;
    ti_scan_page rows;
    ti_slice key;
    p->moved = 0;
    TI_TRY(check_mine(p->c, txn, &row, call, err));
    TI_TRY(ti_txn_scan(txn, &scan, a, &rows, call, err));
    for (size_t i = 0; i < rows.count; i++)
        TI_TRY(take_row(p, txn, &rows.pairs[i], call, err));
    ti_buf_clear(&p->next);
    if (rows.more && rows.count > 0) {
        TI_TRY(ti_buf_append_slice(&p->next, rows.pairs[rows.count - 1].key, err));
        TI_TRY(ti_buf_append_byte(&p->next, 0, err)); /* the smallest key after it */
    }
    if (p->moved == 0)
        return TI_OK;
    TI_TRY(meta_key(p->c, a, &key, err));
    return ti_txn_lock(txn, key, err);
}

static void tell(const page *p)
{
    int64_t all = (int64_t)(p->c->row.from > p->c->to ? p->c->row.from : p->c->to);
    int64_t done = p->next.len > 0 ? (int64_t)p->partition : all;
    if (p->c->progress != NULL && p->area <= AREA_PARKED)
        atomic_store(&p->c->progress->done, (p->area == AREA_PARKED ? all : 0) + done);
}

/* Where the rows of an area are that may lie wrong; in a. */
static ti_status range_of(const change *c, row_area area, ti_arena *a, ti_key_range *range_out,
                          ti_err *err)
{
    static const ti_span spans[AREAS] = {TI_SPAN_EVENTS, TI_SPAN_PARKED, TI_SPAN_COMPLETED,
                                         TI_SPAN_FAILED};
    const ti_keyspace *ks = c->queues->keyspace;
    ti_history state = area == AREA_COMPLETED ? TI_HISTORY_COMPLETED : TI_HISTORY_FAILED;
    ti_key_range gone;
    TI_TRY(ti_key_span(ks, a, spans[area], c->name, TI_SLICE_NONE, range_out, err));
    if (area < AREA_COMPLETED)
        return TI_OK;
    TI_TRY(ti_key_history_between(ks, a, c->name, state, c->to - 1, 0, UINT64_MAX, &gone, err));
    range_out->lo = gone.hi;
    return TI_OK;
}

static ti_status move_area(change *c, row_area area, const ti_call *call, ti_err *err)
{
    page p = {.c = c, .area = area};
    ti_key_range range;
    ti_arena a;
    ti_status status;
    ti_arena_init(&a);
    ti_buf_init(&p.from, TI_KEY_SIZE_MAX * 2);
    ti_buf_init(&p.next, TI_KEY_SIZE_MAX * 2);
    TI_CHECK(range_of(c, area, &a, &range, err));
    p.end = range.hi;
    TI_CHECK(ti_buf_append_slice(&p.from, range.lo, err));
    while (p.from.len > 0) {
        TI_CHECK(transact(c, move_page, &p, call, err));
        c->moved += p.moved;
        tell(&p);
        ti_buf was = p.from;
        p.from = p.next;
        p.next = was;
    }
out:
    ti_buf_free(&p.from);
    ti_buf_free(&p.next);
    ti_arena_free(&a);
    return status;
}

/* ---- 6 end ---- */

static ti_status lower_checkpoint(const change *c, ti_txn *txn, const ti_pair *pair,
                                  uint32_t partition, ti_err *err)
{
    uint64_t at_us;
    ti_buf value;
    TI_TRY(ti_queue_number_open(pair->value, pair->key, &at_us, err));
    if (c->lowest[partition] >= at_us)
        return TI_OK;
    ti_buf_init(&value, 64);
    ti_status status = ti_queue_number_seal(&value, pair->key, c->lowest[partition], err);
    if (status == TI_OK)
        status = ti_txn_put(txn, pair->key, ti_buf_slice(&value), err);
    ti_buf_free(&value);
    return status;
}

/* Goes through checkpoints or leases: those of partitions that are gone go. */
static ti_status tidy(const change *c, ti_txn *txn, ti_span span, const ti_call *call, ti_err *err)
{
    ti_arena *a = ti_txn_arena(txn);
    ti_key_range range;
    ti_scan_page rows;
    ti_key_parts parts;
    TI_TRY(ti_key_span(c->queues->keyspace, a, span, c->name, TI_SLICE_NONE, &range, err));
    const ti_scan scan = {.range = {.from = range.lo, .to = range.hi},
                          .items_max = TI_PARTITIONS_MAX};
    TI_TRY(ti_txn_scan(txn, &scan, a, &rows, call, err));
    for (size_t i = 0; i < rows.count; i++) {
        if (!ti_key_parse(c->queues->keyspace, rows.pairs[i].key, &parts))
            return ti_err_set(err, TI_CORRUPT, "a row among those of '%s' is none", c->type->name);
        if (parts.place.partition >= c->to)
            TI_TRY(ti_txn_delete(txn, rows.pairs[i].key, err));
        else if (span == TI_SPAN_CHECKPOINTS)
            TI_TRY(lower_checkpoint(c, txn, &rows.pairs[i], parts.place.partition, err));
    }
    return TI_OK;
}

/* A ti_transact_fn. The row of a change that has ended already is left alone: this one's commit had
 * an unknown end. */
static ti_status end(void *context, ti_txn *txn, const ti_call *call, ti_err *err)
{
    const change *c = context;
    ti_queue_meta_row row;
    TI_TRY(read_meta(c, txn, &row, call, err));
    if (row.from == 0 && row.partitions == c->to)
        return TI_OK;
    TI_TRY(check_mine(c, txn, &row, call, err));
    TI_TRY(tidy(c, txn, TI_SPAN_CHECKPOINTS, call, err));
    TI_TRY(tidy(c, txn, TI_SPAN_LEASES, call, err));
    row.from = 0;
    row.since_us = 0;
    return put_meta(c, txn, row, err);
}

/* ---- all of it ---- */

static ti_status move_all(change *c, const ti_call *call, ti_err *err)
{
    int64_t all = (int64_t)(c->row.from > c->to ? c->row.from : c->to);
    c->lowest = ti_alloc(c->to * sizeof(*c->lowest));
    if (c->lowest == NULL)
        return ti_err_no_memory(err);
    memset(c->lowest, 0xFF, c->to * sizeof(*c->lowest));
    ti_progress_begin(c->progress, 2 * all);
    for (row_area area = AREA_EVENTS; area < AREAS; area++)
        TI_TRY(move_area(c, area, call, err));
    return TI_OK;
}

ti_status ti_queue_repartition(ti_queues *queues, ti_slice name, uint32_t partitions,
                               ti_progress *progress, uint64_t *moved_out, const ti_call *call,
                               ti_err *err)
{
    change c = {.queues = queues, .name = name, .to = partitions, .progress = progress};
    ti_err local;
    ti_status status;
    ti_err *out_err = err != NULL ? err : &local;
    *moved_out = 0;
    TI_TRY(ti_name_check(name, "event type", out_err));
    if (partitions == 0 || partitions > TI_PARTITIONS_MAX)
        return ti_err_set(out_err, TI_INVALID_ARGUMENT, "a type has 1 to %d partitions, not %u",
                          TI_PARTITIONS_MAX, partitions);
    TI_TRY(ti_hub_type_of(queues->hub, name, &c.type, out_err));
    TI_TRY(step(&c, announce, call, out_err));
    if (c.row.from == 0)
        return TI_OK;
    TI_CHECK(switch_count(&c, call, out_err));
    TI_CHECK(move_all(&c, call, out_err));
    TI_CHECK(transact(&c, end, &c, call, out_err));
    TI_CHECK(learn(&c, call, out_err));
out:
    *moved_out = c.moved;
    ti_free(c.lowest);
    return status;
}

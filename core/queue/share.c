/* Leases: who is there, who should have what, taking and giving back; see lease_int.h.
 *
 *   snapshot S: the members' rows ─> the live ones ─> by rendezvous, what should be ours
 *               the leases' rows of what should be ours and is not: free ones are put, not after
 *               our expiry
 *
 * INVARIANTS
 *  1. A partition belongs to the live member with the highest weight: one that comes takes its
 *     share from all others, one that goes leaves its share to all others, nothing else moves.
 *  2. Live at S: expires not before S, and on an engine of one process known to it. */
#include <string.h>

#include "base/assert.h"
#include "queue/lease_int.h"

/* A live member. */
typedef struct member {
    uint64_t hash;
    ti_slice id; /* in the arena */
} member;

typedef struct sharing {
    ti_lease *l;
    ti_lease_type *type;
    ti_arena *a;
    ti_txn *txn;
    const ti_call *call;
    ti_ts snapshot;
    member *members;
    size_t count;
    bool stale; /* a member has expired by the clock, but not yet by the snapshot */
    uint32_t taken[TI_LEASE_BATCH];
    uint32_t taken_count;
} sharing;

/* ---- who is there ---- */

static uint64_t mix(uint64_t h)
{
    h = (h ^ (h >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ (h >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ (h >> 33);
}

static uint64_t weight(uint64_t type, uint32_t partition, uint64_t member_hash)
{
    return mix(member_hash ^ mix(type + partition));
}

uint64_t ti_lease_weight(uint64_t type, uint32_t partition, ti_slice id)
{
    return weight(type, partition, ti_hash_stable(id));
}

static bool is_me(const sharing *s, ti_slice id)
{
    return ti_slice_equal(id, ti_slice_of(s->l->id));
}

/* Whether the member of that row lives; deletes one that has been dead for long. */
static ti_status look_at_member(sharing *s, const ti_pair *pair, ti_ts now, ti_err *err)
{
    const ti_queues *queues = s->l->w->queues;
    ti_key_parts parts;
    uint64_t expiry;
    if (!ti_key_parse(queues->keyspace, pair->key, &parts) || parts.kind != TI_KEY_WORKER)
        return TI_OK;
    TI_TRY(ti_queue_number_open(pair->value, pair->key, &expiry, err));
    bool here = queues->shared || ti_hub_has_member(queues->hub, parts.id);
    if (is_me(s, parts.id) || (here && expiry >= s->snapshot)) {
        s->members[s->count++] = (member){.hash = ti_hash_stable(parts.id), .id = parts.id};
        s->stale = s->stale || (!is_me(s, parts.id) && expiry < now);
        return TI_OK;
    }
    if (!here || ti_ts_add_us(expiry, s->l->lease_us) < s->snapshot)
        return ti_txn_delete(s->txn, pair->key, err);
    return TI_OK;
}

static ti_status look_around(sharing *s, ti_err *err)
{
    const ti_keyspace *ks = s->l->w->queues->keyspace;
    ti_key_range range;
    ti_scan_page page;
    ti_ts now;
    TI_TRY(ti_key_span(ks, s->a, TI_SPAN_WORKERS, ti_hub_type_name(s->type->wtype->type),
                       TI_SLICE_NONE, &range, err));
    ti_scan scan = {.range = {.from = range.lo, .to = range.hi}, .items_max = TI_LEASE_MEMBERS_MAX};
    TI_TRY(ti_txn_start_ts(s->txn, &s->snapshot, s->call, err));
    TI_TRY(ti_txn_scan(s->txn, &scan, s->a, &page, s->call, err));
    TI_TRY(ti_worker_now(s->l->w, s->txn, &now, s->call, err));
    if (page.more)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "more than %d workers share a type of events",
                          TI_LEASE_MEMBERS_MAX);
    s->members = ti_arena_alloc(s->a, (page.count + 1) * sizeof(*s->members));
    if (s->members == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < page.count; i++)
        TI_TRY(look_at_member(s, &page.pairs[i], now, err));
    s->l->renew_now = s->l->renew_now || s->stale;
    return TI_OK;
}

/* ---- who should have what ---- */

static bool should_be_mine(const sharing *s, uint64_t type, uint32_t partition)
{
    const member *best = NULL;
    uint64_t highest = 0;
    for (size_t i = 0; i < s->count; i++) {
        const member *m = &s->members[i];
        uint64_t w = weight(type, partition, m->hash);
        if (best == NULL || w > highest ||
            (w == highest && ti_slice_compare(m->id, best->id) > 0)) {
            best = m;
            highest = w;
        }
    }
    return best != NULL && is_me(s, best->id);
}

/* What is ours and should not be is to be given; what is being given and should not be is kept.
 * leader: anything should be ours; not while the type's count changes. */
static void decide(sharing *s, bool leader)
{
    ti_lease_type *type = s->type;
    uint64_t hash = ti_hash_stable(ti_hub_type_name(type->wtype->type));
    bool changed = false;
    for (uint32_t p = 0; p < type->partitions; p++) {
        type->wanted[p] = leader && should_be_mine(s, hash, p);
        ti_lease_state state = type->state[p];
        if (state == TI_LEASE_HELD && type->wanted[p] == 0)
            ti_lease_set(s->l, type, p, TI_LEASE_GIVING);
        else if (state == TI_LEASE_GIVING && type->wanted[p] != 0)
            ti_lease_set(s->l, type, p, TI_LEASE_HELD);
        changed = changed || state != type->state[p];
    }
    if (changed)
        ti_lease_changed(s->l);
}

/* ---- taking ---- */

static bool is_live(const sharing *s, ti_slice id)
{
    for (size_t i = 0; i < s->count; i++) {
        if (ti_slice_equal(s->members[i].id, id))
            return true;
    }
    return false;
}

static ti_status put_lease(sharing *s, ti_slice key, ti_err *err)
{
    ti_buf value;
    ti_buf_init(&value, 128);
    ti_status status = ti_queue_text_seal(&value, key, ti_slice_of(s->l->id), err);
    if (status == TI_OK)
        status = ti_txn_put(s->txn, key, ti_buf_slice(&value), err);
    ti_buf_free(&value);
    return status;
}

/* Takes the partition when its row leaves it free. One that names us was ours all the time: its
 * commit had an unknown end. */
static ti_status take(sharing *s, uint32_t partition, ti_slice key, ti_slice value, ti_err *err)
{
    ti_slice owner = TI_SLICE_NONE;
    if (value.data != NULL)
        TI_TRY(ti_queue_text_open(value, key, &owner, err));
    bool mine = owner.data != NULL && is_me(s, owner);
    if (owner.data != NULL && !mine && is_live(s, owner)) {
        s->type->waits = true;
        return TI_OK;
    }
    if (!mine)
        TI_TRY(put_lease(s, key, err));
    s->taken[s->taken_count++] = partition;
    return TI_OK;
}

/* Looks at the leases from *next on of what we want and have not, at most a batch. */
static ti_status take_some(sharing *s, uint32_t *next, ti_err *err)
{
    const ti_keyspace *ks = s->l->w->queues->keyspace;
    ti_slice keys[TI_LEASE_BATCH];
    ti_slice values[TI_LEASE_BATCH];
    uint32_t numbers[TI_LEASE_BATCH];
    size_t n = 0;
    s->taken_count = 0;
    for (; *next < s->type->partitions && n < TI_LEASE_BATCH; (*next)++) {
        if (s->type->wanted[*next] == 0 || s->type->state[*next] != TI_LEASE_NONE)
            continue;
        numbers[n] = *next;
        keys[n] = ti_key_queue_lease(ks, s->a, ti_hub_type_name(s->type->wtype->type), *next);
        TI_TRY(ti_key_check(keys[n], "queue key", err));
        n++;
    }
    if (n == 0)
        return TI_OK;
    TI_TRY(ti_txn_batch_get(s->txn, keys, n, s->a, values, s->call, err));
    for (size_t i = 0; i < n; i++)
        TI_TRY(take(s, numbers[i], keys[i], values[i], err));
    return TI_OK;
}

static ti_status commit(sharing *s, ti_err *err)
{
    ti_txn_not_after(s->txn, s->l->expiry);
    TI_TRY(ti_txn_commit(s->txn, NULL, s->call, err));
    for (uint32_t i = 0; i < s->taken_count; i++)
        ti_lease_set(s->l, s->type, s->taken[i], TI_LEASE_HELD);
    if (s->taken_count == 0)
        return TI_OK;
    ti_hub_count(s->type->wtype->type, TI_COUNT_LEASES_TAKEN, s->taken_count);
    ti_lease_changed(s->l);
    return TI_OK;
}

/* One transaction: looks around and takes from *next on. Without a lease of its own it decides
 * nothing. */
static ti_status share_once(sharing *s, uint32_t *next, bool leader, ti_err *err)
{
    s->count = 0;
    TI_TRY(look_around(s, err));
    if (s->snapshot > s->l->expiry) {
        ti_lease_lose(s->l);
        *next = s->type->partitions;
        return TI_OK;
    }
    decide(s, leader);
    TI_TRY(take_some(s, next, err));
    return commit(s, err);
}

ti_status ti_lease_share(ti_lease *l, ti_lease_type *type, ti_arena *a, const ti_call *call,
                         ti_err *err)
{
    uint32_t next = 0;
    ti_status status = TI_OK;
    ti_mutex_lock(&l->mutex);
    bool leader = l->leader && ti_lease_is_current(type);
    ti_mutex_unlock(&l->mutex);
    type->waits = false;
    while (status == TI_OK && next < type->partitions) {
        sharing s = {.l = l, .type = type, .a = a, .call = call};
        TI_TRY(ti_txn_begin(l->w->queues->kv, NULL, &s.txn, err));
        status = share_once(&s, &next, leader, err);
        ti_txn_free(s.txn);
        ti_arena_reset(a);
    }
    if (ti_status_class_of(status) == TI_CLASS_CONFLICT) {
        type->waits = true; /* somebody was faster: look again soon */
        return TI_OK;
    }
    return status;
}

/* ---- giving back ---- */

/* Collects what is GIVING and settled. */
static uint32_t collect_settled(const ti_lease *l, const ti_lease_type *type, uint32_t *out)
{
    uint32_t n = 0;
    ti_mutex_lock(&l->w->mutex);
    for (uint32_t p = 0; p < type->partitions && n < TI_LEASE_BATCH; p++) {
        const ti_part *part = &type->wtype->parts[p];
        if (type->state[p] == TI_LEASE_GIVING && !part->owned && part->count == 0 && !part->reading)
            out[n++] = p;
    }
    ti_mutex_unlock(&l->w->mutex);
    return n;
}

static ti_status delete_leases(const ti_lease *l, const ti_lease_type *type,
                               const uint32_t *numbers, uint32_t n, ti_arena *a, ti_txn *txn,
                               ti_err *err)
{
    for (uint32_t i = 0; i < n; i++) {
        ti_slice key = ti_key_queue_lease(l->w->queues->keyspace, a,
                                          ti_hub_type_name(type->wtype->type), numbers[i]);
        TI_TRY(ti_key_check(key, "queue key", err));
        TI_TRY(ti_txn_delete(txn, key, err));
    }
    ti_txn_not_after(txn, l->expiry);
    return TI_OK;
}

ti_status ti_lease_give(ti_lease *l, ti_lease_type *type, ti_arena *a, const ti_call *call,
                        ti_err *err)
{
    uint32_t numbers[TI_LEASE_BATCH];
    uint32_t n = collect_settled(l, type, numbers);
    ti_txn *txn;
    if (n == 0)
        return TI_OK;
    TI_TRY(ti_txn_begin(l->w->queues->kv, NULL, &txn, err));
    ti_status status = delete_leases(l, type, numbers, n, a, txn, err);
    if (status == TI_OK)
        status = ti_txn_commit(txn, NULL, call, err);
    ti_txn_free(txn);
    TI_TRY(status);
    for (uint32_t i = 0; i < n; i++)
        ti_lease_set(l, type, numbers[i], TI_LEASE_NONE);
    ti_hub_count(type->wtype->type, TI_COUNT_LEASES_GIVEN, n);
    ti_hub_wake_members(l->w->queues->hub, &l->member);
    return TI_OK;
}

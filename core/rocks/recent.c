/* The table of recent commits; see recent_int.h. Hash: SipHash-1-3 (Aumasson, Bernstein). */
#include "rocks/recent_int.h"

#include <assert.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"

static_assert((TI_ROCKS_RECENT_SLOTS_MAX & (TI_ROCKS_RECENT_SLOTS_MAX - 1)) == 0, "power of two");
static_assert((TI_ROCKS_RECENT_SLOTS_MIN & (TI_ROCKS_RECENT_SLOTS_MIN - 1)) == 0, "power of two");
static_assert(TI_ROCKS_RECENT_SLOTS_MIN <= TI_ROCKS_RECENT_SLOTS_MAX, "the table can grow");

static size_t room_of(size_t capacity)
{
    return capacity - capacity / 4;
}

ti_status ti_recent_init(ti_recent *r, const ti_env *env, ti_ts floor, ti_err *err)
{
    *r = (ti_recent){.capacity = TI_ROCKS_RECENT_SLOTS_MIN, .floor = floor, .newest = floor};
    r->late = floor;
    env->random(env, r->seed, sizeof(r->seed));
    r->slots = ti_alloc_zero(r->capacity * sizeof(*r->slots));
    return r->slots == NULL ? ti_err_no_memory(err) : TI_OK;
}

void ti_recent_free(ti_recent *r)
{
    ti_free(r->slots);
    r->slots = NULL;
}

static inline uint64_t rotate(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

uint64_t ti_recent_hash(const ti_recent *r, ti_slice key)
{
    uint64_t v[4] = {
        r->seed[0] ^ UINT64_C(0x736f6d6570736575),
        r->seed[1] ^ UINT64_C(0x646f72616e646f6d),
        r->seed[0] ^ UINT64_C(0x6c7967656e657261),
        r->seed[1] ^ UINT64_C(0x7465646279746573),
    };
    size_t i = 0;
    uint64_t word;
    for (; i + 8 <= key.len; i += 8) {
        memcpy(&word, key.data + i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = 0;
    if (i < key.len)
        memcpy(&word, key.data + i, key.len - i);
    word |= (uint64_t)key.len << 56;
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The slot of the hash, or the free one where it would be. */
static ti_recent_slot *slot_of(ti_recent_slot *slots, size_t capacity, uint64_t hash)
{
    size_t mask = capacity - 1;
    size_t i = (size_t)hash & mask;
    while (slots[i].ts != TI_TS_NONE && slots[i].hash != hash)
        i = (i + 1) & mask;
    return &slots[i];
}

ti_ts ti_recent_find(const ti_recent *r, uint64_t hash)
{
    ti_assert(r->used <= room_of(r->capacity));
    return slot_of(r->slots, r->capacity, hash)->ts;
}

static size_t count_after(const ti_recent *r, ti_ts horizon)
{
    size_t n = 0;
    for (size_t i = 0; i < r->capacity; i++)
        n += r->slots[i].ts > horizon;
    return n;
}

/* Forgets everything: no start before newest can be judged any more. */
static void forget(ti_recent *r)
{
    memset(r->slots, 0, r->capacity * sizeof(*r->slots));
    r->used = 0;
    r->floor = r->newest;
}

/* Keeps the entries after horizon, in a table with room for count more. */
static void sweep(ti_recent *r, ti_ts horizon, size_t live, size_t count)
{
    size_t capacity = TI_ROCKS_RECENT_SLOTS_MIN;
    while (capacity < TI_ROCKS_RECENT_SLOTS_MAX && capacity / 2 < live + count)
        capacity *= 2;
    ti_assert(room_of(capacity) >= live + count);
    ti_recent_slot *slots = ti_alloc_zero(capacity * sizeof(*slots));
    if (slots == NULL) {
        forget(r);
        return;
    }
    for (size_t i = 0; i < r->capacity; i++)
        if (r->slots[i].ts > horizon)
            *slot_of(slots, capacity, r->slots[i].hash) = r->slots[i];
    ti_free(r->slots);
    r->slots = slots;
    r->capacity = capacity;
    r->used = live;
    if (horizon > r->floor)
        r->floor = horizon;
}

/* Room for count more entries, if there can be. */
static void make_room(ti_recent *r, size_t count, ti_ts oldest)
{
    size_t room_max = room_of(TI_ROCKS_RECENT_SLOTS_MAX);
    ti_ts horizon = oldest < r->late ? oldest : r->late;
    size_t live = count_after(r, horizon);
    if (live + count > room_max) {
        horizon = r->late;
        live = count_after(r, horizon);
    }
    if (live + count > room_max)
        forget(r);
    else
        sweep(r, horizon, live, count);
    r->late = r->newest;
    r->is_late = false;
}

void ti_recent_add(ti_recent *r, const uint64_t *hashes, size_t count, ti_ts ts, ti_ts oldest)
{
    ti_assert(ts > r->newest);
    if (r->used + count > room_of(r->capacity))
        make_room(r, count, oldest);
    ti_ts before = r->newest;
    r->newest = ts;
    if (r->used + count > room_of(r->capacity)) {
        forget(r); /* one commit larger than the table, or no memory */
        return;
    }
    for (size_t i = 0; i < count; i++) {
        ti_recent_slot *slot = slot_of(r->slots, r->capacity, hashes[i]);
        r->used += slot->ts == TI_TS_NONE;
        *slot = (ti_recent_slot){.hash = hashes[i], .ts = ts};
    }
    if (!r->is_late && r->used > room_of(r->capacity) / 4 * 3) {
        r->late = before;
        r->is_late = true;
    }
}

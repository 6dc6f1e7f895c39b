/* Reading ahead. See ahead.h. */
#include "model/ahead.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/id.h"
#include "base/limits.h"
#include "base/mem.h"

/* The keys one behind the other, each behind its length. */
struct ti_ahead_slot {
    uint64_t mark; /* of document and relationships; 0: none */
    uint16_t size;
    char named[TI_AHEAD_NAMED_SIZE];
};

struct ti_known_part {
    ti_known_part *next;
    const ti_slice *keys; /* sorted */
    const ti_slice *values;
    size_t count;
};

ti_status ti_ahead_init(ti_ahead *ahead, ti_err *err)
{
    ahead->slots = NULL;
    return ti_mutex_init(&ahead->mutex, TI_RANK_LEAF, err);
}

void ti_ahead_free(ti_ahead *ahead)
{
    ti_free(ahead->slots);
    ti_mutex_destroy(&ahead->mutex);
}

/* ---- guesses ---- */

static uint64_t mark_of(uint64_t what, ti_slice record)
{
    uint64_t mark = ti_hash_stable(record) ^ what;
    return mark != 0 ? mark : 1;
}

static ti_ahead_slot *slot_of(const ti_ahead *ahead, uint64_t mark)
{
    return &ahead->slots[mark % TI_AHEAD_SLOTS];
}

static void fill(ti_ahead_slot *slot, uint64_t mark, const ti_slice *named, size_t count)
{
    size_t size = 0;
    slot->mark = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t len = (uint16_t)named[i].len;
        if (named[i].len > TI_AHEAD_NAMED_SIZE || size + sizeof(len) + len > TI_AHEAD_NAMED_SIZE)
            return;
        memcpy(slot->named + size, &len, sizeof(len));
        memcpy(slot->named + size + sizeof(len), named[i].data, len);
        size += sizeof(len) + len;
    }
    slot->size = (uint16_t)size;
    slot->mark = mark;
}

void ti_ahead_note(ti_ahead *ahead, uint64_t what, ti_slice record, const ti_slice *named,
                   size_t count)
{
    uint64_t mark = mark_of(what, record);
    ti_mutex_lock(&ahead->mutex);
    if (ahead->slots == NULL && count > 0)
        ahead->slots = ti_alloc_zero(TI_AHEAD_SLOTS * sizeof(*ahead->slots));
    if (ahead->slots != NULL)
        fill(slot_of(ahead, mark), mark, named, count);
    ti_mutex_unlock(&ahead->mutex);
}

/* The keys of one slot, in a, behind those that list has. Without memory some are left out. */
static size_t read_slot(const ti_ahead_slot *slot, ti_slice *list, size_t n, ti_arena *a)
{
    for (size_t at = 0; at < slot->size && n < TI_AHEAD_KEYS_MAX;) {
        uint16_t len;
        memcpy(&len, slot->named + at, sizeof(len));
        at += sizeof(len);
        ti_assert(at + len <= slot->size);
        list[n] = ti_arena_copy(a, (ti_slice){.data = slot->named + at, .len = len});
        at += len;
        n += list[n].data != NULL;
    }
    return n;
}

static size_t recall(ti_ahead *ahead, uint64_t what, const ti_slice *records, size_t count,
                     ti_slice *list, ti_arena *a)
{
    size_t n = 0;
    ti_mutex_lock(&ahead->mutex);
    for (size_t i = 0; ahead->slots != NULL && i < count; i++) {
        uint64_t mark = mark_of(what, records[i]);
        const ti_ahead_slot *slot = slot_of(ahead, mark);
        if (slot->mark == mark)
            n = read_slot(slot, list, n, a);
    }
    ti_mutex_unlock(&ahead->mutex);
    return n;
}

/* ---- known ---- */

static int compare_keys(const void *left, const void *right)
{
    return ti_slice_compare(*(const ti_slice *)left, *(const ti_slice *)right);
}

static bool find(const ti_known *known, ti_slice key, ti_slice *value_out)
{
    for (const ti_known_part *part = known->first; part != NULL; part = part->next) {
        const ti_slice *at = bsearch(&key, part->keys, part->count, sizeof(key), compare_keys);
        if (at != NULL) {
            *value_out = part->values[at - part->keys];
            return true;
        }
    }
    return false;
}

/* Guesses sorted, each once, without what is known or asked for anyway. */
static size_t worth_asking(const ti_known *known, ti_slice *list, size_t n, const ti_slice *records,
                           size_t count, ti_arena *a)
{
    size_t kept = 0;
    ti_slice value;
    ti_slice *asked = ti_arena_alloc(a, count * sizeof(*asked));
    if (asked == NULL)
        return 0;
    memcpy(asked, records, count * sizeof(*asked));
    qsort(asked, count, sizeof(*asked), compare_keys);
    qsort(list, n, sizeof(*list), compare_keys);
    for (size_t i = 0; i < n; i++) {
        bool again = kept > 0 && ti_slice_equal(list[kept - 1], list[i]);
        if (!again && !find(known, list[i], &value) &&
            bsearch(&list[i], asked, count, sizeof(*asked), compare_keys) == NULL)
            list[kept++] = list[i];
    }
    return kept;
}

/* Reads records, and n guesses that become known. */
static ti_status fetch_both(ti_known *known, ti_txn *txn, const ti_slice *records, size_t count,
                            const ti_slice *guesses, size_t n, ti_arena *a, ti_slice *values_out,
                            const ti_call *call, ti_err *err)
{
    ti_slice *keys = ti_arena_alloc(a, (count + n) * sizeof(*keys));
    ti_slice *values = ti_arena_alloc(a, (count + n) * sizeof(*values));
    ti_known_part *part = ti_arena_alloc(a, sizeof(*part));
    if (keys == NULL || values == NULL || part == NULL)
        return ti_err_no_memory(err);
    memcpy(keys, records, count * sizeof(*keys));
    memcpy(keys + count, guesses, n * sizeof(*keys));
    TI_TRY(ti_txn_batch_get(txn, keys, count + n, a, values, call, err));
    memcpy(values_out, values, count * sizeof(*values));
    *part = (ti_known_part){
        .next = known->first, .keys = keys + count, .values = values + count, .count = n};
    known->first = part;
    return TI_OK;
}

ti_status ti_known_fetch(ti_known *known, ti_ahead *ahead, uint64_t what, ti_txn *txn,
                         const ti_slice *records, size_t count, ti_arena *a, ti_slice *values_out,
                         const ti_call *call, ti_err *err)
{
    ti_slice list[TI_AHEAD_KEYS_MAX];
    size_t n = recall(ahead, what, records, count, list, a);
    n = n > 0 ? worth_asking(known, list, n, records, count, a) : 0;
    if (n == 0)
        return ti_txn_batch_get(txn, records, count, a, values_out, call, err);
    return fetch_both(known, txn, records, count, list, n, a, values_out, call, err);
}

ti_status ti_known_batch_get(const ti_known *known, ti_txn *txn, const ti_slice *keys, size_t count,
                             ti_arena *a, ti_slice *values_out, const ti_call *call, ti_err *err)
{
    size_t n = 0;
    if (known->first == NULL)
        return ti_txn_batch_get(txn, keys, count, a, values_out, call, err);
    ti_slice *rest = ti_arena_alloc(a, count * sizeof(*rest));
    ti_slice *values = ti_arena_alloc(a, count * sizeof(*values));
    size_t *places = ti_arena_alloc(a, count * sizeof(*places));
    if (rest == NULL || values == NULL || places == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        if (find(known, keys[i], &values_out[i]))
            continue;
        rest[n] = keys[i];
        places[n++] = i;
    }
    TI_TRY(ti_txn_batch_get(txn, rest, n, a, values, call, err));
    for (size_t i = 0; i < n; i++)
        values_out[places[i]] = values[i];
    return TI_OK;
}

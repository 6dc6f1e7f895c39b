/* The keys of one object: are two of them equal, and which member has this key.
 *
 * Two ways to find equal keys: a table of slots with a cheap hash, and sorting. The hash needs no
 * secret: an insertion that has looked at PROBES_MAX slots gives up and the keys are sorted
 * instead, so that keys made to collide cost n * PROBES_MAX + n log n and no more.
 *
 * INVARIANTS
 *  1. Keys of members are unescaped.
 *  2. Sorted means by size, then by bytes: cheaper than text order, and equal keys stand together.
 *
 * Threads: pure functions. */
#include "json/json_int.h"

#include <string.h>

#include "base/assert.h"

#define PAIRS_MAX 8 /* up to here comparing all pairs is fastest */
#define PROBES_MAX 32
#define SLOT_EMPTY UINT32_MAX

static int compare(const ti_json_member *left, const ti_json_member *right)
{
    if (left->key_size != right->key_size)
        return left->key_size < right->key_size ? -1 : 1;
    return left->key_size == 0 ? 0 : memcmp(left->key, right->key, left->key_size);
}

static bool equal(const ti_json_member *left, const ti_json_member *right)
{
    return left->key_size == right->key_size &&
           (left->key_size == 0 || memcmp(left->key, right->key, left->key_size) == 0);
}

/* Mixes the size and all bytes, eight at a time. */
static uint64_t hash(const ti_json_member *member)
{
    uint64_t mixed = member->key_size * 0x9e3779b97f4a7c15u;
    const char *key = member->key;
    size_t left = member->key_size;
    while (left > 0) {
        uint64_t word = 0;
        size_t size = left < sizeof word ? left : sizeof word;
        memcpy(&word, key, size);
        mixed = (mixed ^ word) * 0xff51afd7ed558ccdu;
        mixed ^= mixed >> 32;
        key += size;
        left -= size;
    }
    return mixed;
}

/* Slots for n members: a power of two, at most half full. */
static size_t slot_count(size_t n)
{
    size_t slots = 32;
    while (slots < n * 2)
        slots *= 2;
    return slots;
}

size_t ti_json_members_scratch(size_t n)
{
    size_t table = slot_count(n) * sizeof(uint32_t);
    size_t sorting = n * sizeof(ti_json_member);
    return table > sorting ? table : sorting;
}

static bool twice_by_pairs(const ti_json_member *members, size_t n, uint32_t *node_out)
{
    for (size_t i = 1; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (equal(&members[i], &members[j])) {
                *node_out = members[i].node;
                return true;
            }
    return false;
}

typedef enum twice_result { TWICE_NO, TWICE_YES, TWICE_CROWDED } twice_result;

static twice_result twice_by_slots(const ti_json_member *members, size_t n, uint32_t *slots,
                                   uint32_t *node_out)
{
    size_t mask = slot_count(n) - 1;
    memset(slots, 0xff, (mask + 1) * sizeof *slots);
    for (size_t i = 0; i < n; i++) {
        size_t slot = hash(&members[i]) & mask;
        int probes = 0;
        for (; slots[slot] != SLOT_EMPTY; slot = (slot + 1) & mask) {
            if (equal(&members[i], &members[slots[slot]])) {
                *node_out = members[i].node;
                return TWICE_YES;
            }
            if (++probes == PROBES_MAX)
                return TWICE_CROWDED;
        }
        slots[slot] = (uint32_t)i;
    }
    return TWICE_NO;
}

static bool twice_by_order(ti_json_member *members, size_t n, ti_json_member *scratch,
                           uint32_t *node_out)
{
    ti_json_members_sort(members, n, scratch);
    for (size_t i = 1; i < n; i++)
        if (equal(&members[i - 1], &members[i])) {
            *node_out = members[i].node;
            return true;
        }
    return false;
}

bool ti_json_members_twice(ti_json_member *members, size_t n, void *scratch, uint32_t *node_out)
{
    ti_assert(n < SLOT_EMPTY);
    *node_out = 0;
    if (n <= PAIRS_MAX)
        return twice_by_pairs(members, n, node_out);
    twice_result found = twice_by_slots(members, n, scratch, node_out);
    if (found == TWICE_CROWDED)
        return twice_by_order(members, n, scratch, node_out);
    return found == TWICE_YES;
}

/* Merges the sorted runs [from, middle) and [middle, to) into out. Stable. */
static void merge_runs(const ti_json_member *in, size_t from, size_t middle, size_t to,
                       ti_json_member *out)
{
    size_t left = from;
    size_t right = middle;
    ti_assert(from <= middle);
    ti_assert(middle <= to);
    for (size_t i = from; i < to; i++) {
        bool take_left = left < middle && (right >= to || compare(&in[left], &in[right]) <= 0);
        out[i] = take_left ? in[left++] : in[right++];
    }
}

void ti_json_members_sort(ti_json_member *members, size_t n, ti_json_member *scratch)
{
    ti_json_member *in = members;
    ti_json_member *out = scratch;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t from = 0; from < n; from += 2 * width) {
            size_t middle = from + width < n ? from + width : n;
            size_t to = from + 2 * width < n ? from + 2 * width : n;
            merge_runs(in, from, middle, to, out);
        }
        ti_json_member *swap = in;
        in = out;
        out = swap;
    }
    if (in != members)
        memcpy(members, in, n * sizeof *members);
}

const ti_json_member *ti_json_members_find(const ti_json_member *members, size_t n, ti_slice key)
{
    if (key.len > UINT32_MAX)
        return NULL;
    ti_json_member wanted = {.key = key.data, .key_size = (uint32_t)key.len, .node = 0};
    size_t from = 0;
    size_t to = n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        int order = compare(&members[middle], &wanted);
        if (order == 0)
            return &members[middle];
        if (order < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

ti_status ti_json_members_of(ti_json_value object, ti_arena *a, ti_json_member **members_out,
                             ti_err *err)
{
    size_t n = ti_json_count(object);
    size_t filled = 0;
    ti_assert(ti_json_type_of(object) == TI_JSON_OBJECT);
    *members_out = NULL;
    ti_json_member *members = ti_arena_alloc(a, (n + 1) * sizeof *members);
    ti_json_member *scratch = ti_arena_alloc(a, (n + 1) * sizeof *members);
    if (members == NULL || scratch == NULL)
        return ti_err_no_memory(err);
    ti_json_iter iter = ti_json_iterate(object);
    for (ti_json_value child; ti_json_next(&iter, &child); filled++) {
        ti_slice key;
        TI_TRY(ti_json_key(child, a, &key, err));
        members[filled] = (ti_json_member){key.data, (uint32_t)key.len, child.node};
    }
    ti_assert(filled == n);
    ti_json_members_sort(members, n, scratch);
    *members_out = members;
    return TI_OK;
}

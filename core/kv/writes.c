/* The write set; see writes_int.h. */
#include "kv/writes_int.h"

#include <assert.h>
#include <string.h>

#include "base/assert.h"

static_assert(TI_WRITES_LEAF_MAX >= 2, "a full leaf can be split");

void ti_writes_init(ti_writes *w, ti_arena *a)
{
    ti_assert(w != NULL);
    ti_assert(a != NULL);
    w->a = a;
    w->leaves = w->first_leaves;
    w->leaf_count = 1;
    w->leaf_capacity = 1;
    w->newest = NULL;
    w->count = 0;
    w->mutations = 0;
    w->size = 0;
    w->first_leaves[0] = &w->first;
    w->first.count = 0;
}

/* The last leaf whose first key is <= key, else the first leaf. */
static size_t find_leaf(const ti_writes *w, ti_slice key)
{
    size_t low = 0;
    size_t high = w->leaf_count;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        ti_assert(w->leaves[mid]->count > 0);
        if (ti_slice_compare(w->leaves[mid]->writes[0]->key, key) <= 0)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* The first index in the leaf whose key is >= key; *found_out tells whether it is equal. */
static uint32_t find_in_leaf(const ti_write_leaf *leaf, ti_slice key, bool *found_out)
{
    uint32_t low = 0;
    uint32_t high = leaf->count;
    *found_out = false;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int order = ti_slice_compare(leaf->writes[mid]->key, key);
        if (order == 0) {
            *found_out = true;
            return mid;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

ti_write *ti_writes_find(const ti_writes *w, ti_slice key)
{
    bool found;
    if (w->count == 0)
        return NULL;
    const ti_write_leaf *leaf = w->leaves[find_leaf(w, key)];
    uint32_t index = find_in_leaf(leaf, key, &found);
    return found ? leaf->writes[index] : NULL;
}

ti_write_view ti_write_view_of(const ti_write *write, ti_slice *value_out)
{
    *value_out = TI_SLICE_NONE;
    if (write == NULL)
        return TI_VIEW_SILENT;
    switch (write->kind) {
    case TI_MUTATION_PUT:
    case TI_MUTATION_INSERT:
        *value_out = write->value;
        return TI_VIEW_SHOWS;
    case TI_MUTATION_DELETE:
    case TI_MUTATION_ABSENT:
        return TI_VIEW_HIDES;
    default:
        if (!write->locked)
            return TI_VIEW_SILENT;
        if (!write->locked_found)
            return TI_VIEW_HIDES;
        *value_out = write->locked_value;
        return TI_VIEW_SHOWS;
    }
}

/* Puts a new, empty leaf at place at. NULL when there is no memory. */
static ti_write_leaf *add_leaf(ti_writes *w, size_t at)
{
    ti_assert(at <= w->leaf_count);
    if (w->leaf_count == w->leaf_capacity) {
        size_t capacity = w->leaf_capacity * 2 < 16 ? 16 : w->leaf_capacity * 2;
        ti_write_leaf **leaves = ti_arena_alloc(w->a, capacity * sizeof(ti_write_leaf *));
        if (leaves == NULL)
            return NULL;
        memcpy(leaves, w->leaves, w->leaf_count * sizeof(ti_write_leaf *));
        w->leaves = leaves;
        w->leaf_capacity = capacity;
    }
    ti_write_leaf *leaf = ti_arena_alloc(w->a, sizeof(*leaf));
    if (leaf == NULL)
        return NULL;
    leaf->count = 0;
    memmove(&w->leaves[at + 1], &w->leaves[at], (w->leaf_count - at) * sizeof(ti_write_leaf *));
    w->leaves[at] = leaf;
    w->leaf_count++;
    return leaf;
}

/* Makes room in the full leaf *leaf_io for a write at *index_io: at its very end by a fresh leaf,
 * so that rising keys fill leaves, else by moving its upper half away. */
static bool split_leaf(ti_writes *w, size_t *leaf_io, uint32_t *index_io)
{
    ti_write_leaf *full = w->leaves[*leaf_io];
    ti_assert(full->count == TI_WRITES_LEAF_MAX);
    ti_write_leaf *fresh = add_leaf(w, *leaf_io + 1);
    if (fresh == NULL)
        return false;
    uint32_t kept = *index_io == full->count ? full->count : full->count / 2;
    fresh->count = full->count - kept;
    memcpy(fresh->writes, &full->writes[kept], fresh->count * sizeof(ti_write *));
    full->count = kept;
    if (*index_io >= kept && (*index_io > kept || fresh->count == 0)) {
        *leaf_io += 1;
        *index_io -= kept;
    }
    return true;
}

/* A new write of key (copied) of kind NONE, linked in its place; NULL when there is no memory, then
 * nothing has changed. */
static ti_write *add_write(ti_writes *w, size_t leaf_at, uint32_t index, ti_slice key)
{
    ti_write *write = ti_arena_alloc_zero(w->a, sizeof(*write));
    if (write == NULL)
        return NULL;
    write->kind = TI_WRITE_NONE;
    write->key = ti_arena_copy(w->a, key);
    if (write->key.data == NULL)
        return NULL;
    if (w->leaves[leaf_at]->count == TI_WRITES_LEAF_MAX && !split_leaf(w, &leaf_at, &index))
        return NULL;
    ti_write_leaf *leaf = w->leaves[leaf_at];
    ti_assert(index <= leaf->count);
    memmove(&leaf->writes[index + 1], &leaf->writes[index],
            (leaf->count - index) * sizeof(ti_write *));
    leaf->writes[index] = write;
    leaf->count++;
    w->count++;
    w->size += key.len;
    return write;
}

/* The write of key, made when there is none. NULL when there is no memory. */
static ti_write *find_or_add(ti_writes *w, ti_slice key)
{
    bool found;
    size_t leaf_at = find_leaf(w, key);
    uint32_t index = find_in_leaf(w->leaves[leaf_at], key, &found);
    if (found)
        return w->leaves[leaf_at]->writes[index];
    return add_write(w, leaf_at, index, key);
}

/* The table of ti_writes_apply; -1 is "already exists". */
static int combine(int before, ti_mutation_kind next)
{
    ti_assert(next != TI_MUTATION_ABSENT);
    if (before == TI_WRITE_NONE || before == TI_MUTATION_LOCK)
        return (int)next;
    if (next == TI_MUTATION_LOCK)
        return before;
    bool asserts_absent = before == TI_MUTATION_INSERT || before == TI_MUTATION_ABSENT;
    if (next == TI_MUTATION_DELETE)
        return asserts_absent ? TI_MUTATION_ABSENT : TI_MUTATION_DELETE;
    bool has_value = before == TI_MUTATION_PUT || before == TI_MUTATION_INSERT;
    if (next == TI_MUTATION_INSERT && has_value)
        return -1;
    return asserts_absent ? TI_MUTATION_INSERT : TI_MUTATION_PUT;
}

ti_status ti_writes_apply(ti_writes *w, ti_mutation_kind kind, ti_slice key, ti_slice value)
{
    bool valued = kind == TI_MUTATION_PUT || kind == TI_MUTATION_INSERT;
    ti_assert(valued == (value.len > 0));
    ti_slice copy = TI_SLICE_NONE;
    if (valued) {
        copy = ti_arena_copy(w->a, value);
        if (copy.data == NULL)
            return TI_OUT_OF_MEMORY;
    }
    ti_write *write = find_or_add(w, key);
    if (write == NULL)
        return TI_OUT_OF_MEMORY;
    int combined = combine(write->kind, kind);
    if (combined < 0)
        return TI_ALREADY_EXISTS;
    if (write->kind == TI_WRITE_NONE)
        w->mutations++;
    write->kind = combined;
    w->newest = write;
    if (kind == TI_MUTATION_LOCK)
        return TI_OK;
    w->size = w->size - write->value.len + copy.len;
    write->value = copy;
    return TI_OK;
}

void ti_writes_expect(ti_writes *w, ti_slice key, ti_ts since)
{
    ti_write *write = w->newest;
    if (write == NULL || !ti_slice_equal(write->key, key))
        write = ti_writes_find(w, key);
    ti_require(write != NULL);
    ti_assert(write->kind == TI_MUTATION_PUT || write->kind == TI_MUTATION_DELETE);
    write->since = since;
}

ti_status ti_writes_add_locked(ti_writes *w, ti_slice key, const ti_locked *locked)
{
    ti_assert(locked->ts != TI_TS_NONE);
    ti_slice copy = TI_SLICE_NONE;
    if (locked->found) {
        copy = ti_arena_copy(w->a, locked->value);
        if (copy.data == NULL)
            return TI_OUT_OF_MEMORY;
    }
    ti_write *write = find_or_add(w, key);
    if (write == NULL)
        return TI_OUT_OF_MEMORY;
    w->size = w->size - write->locked_value.len + copy.len;
    write->locked = true;
    write->locked_found = locked->found;
    write->locked_value = copy;
    write->check_ts = locked->ts;
    return TI_OK;
}

/* The same place, written as the beginning of the next leaf when it is the end of one. */
static ti_writes_at normal(const ti_writes *w, ti_writes_at at)
{
    if (at.leaf < w->leaf_count && at.index == w->leaves[at.leaf]->count)
        at = (ti_writes_at){.leaf = at.leaf + 1, .index = 0};
    return at;
}

ti_writes_at ti_writes_seek(const ti_writes *w, ti_slice key)
{
    bool found;
    size_t leaf = find_leaf(w, key);
    uint32_t index = find_in_leaf(w->leaves[leaf], key, &found);
    return normal(w, (ti_writes_at){.leaf = leaf, .index = index});
}

ti_writes_at ti_writes_end(const ti_writes *w)
{
    return (ti_writes_at){.leaf = w->leaf_count, .index = 0};
}

const ti_write *ti_writes_get(const ti_writes *w, ti_writes_at at)
{
    if (at.leaf >= w->leaf_count)
        return NULL;
    ti_assert(at.index < w->leaves[at.leaf]->count);
    return w->leaves[at.leaf]->writes[at.index];
}

const ti_write *ti_writes_before(const ti_writes *w, ti_writes_at *at)
{
    if (at->index == 0) {
        if (at->leaf == 0 || w->leaves[at->leaf - 1]->count == 0)
            return NULL;
        at->leaf--;
        at->index = w->leaves[at->leaf]->count;
    }
    at->index--;
    return w->leaves[at->leaf]->writes[at->index];
}

ti_writes_at ti_writes_next(const ti_writes *w, ti_writes_at at)
{
    ti_assert(at.leaf < w->leaf_count);
    at.index++;
    return normal(w, at);
}

ti_mutation *ti_writes_mutations(const ti_writes *w, size_t *count_out)
{
    ti_mutation *mutations = ti_arena_alloc(w->a, w->count * sizeof(*mutations));
    size_t n = 0;
    *count_out = 0;
    if (mutations == NULL)
        return NULL;
    for (size_t i = 0; i < w->leaf_count; i++) {
        for (uint32_t j = 0; j < w->leaves[i]->count; j++) {
            const ti_write *write = w->leaves[i]->writes[j];
            bool only_locked = write->kind == TI_WRITE_NONE;
            mutations[n++] = (ti_mutation){
                .key = write->key,
                .value = write->value,
                .kind = only_locked ? TI_MUTATION_LOCK : (ti_mutation_kind)write->kind,
                .check_ts = write->check_ts,
                .since = write->since,
            };
        }
    }
    ti_assert(n == w->count);
    *count_out = n;
    return mutations;
}

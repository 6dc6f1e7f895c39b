/* RFC 7396 merge patch, written straight into a buffer.
 *
 *   merge(target, patch):  patch is no object        -> patch
 *                          target is no object       -> as if it were {}
 *                          member in both            -> null: left out; else merge of the two
 *                          member in target only     -> its bytes as they are
 *                          member in patch only      -> null: nothing; else merge of nothing and it
 *
 * The members of a patch are sorted once, so that the whole is n log n also for large ones.
 *
 * Recursion is as deep as the patch is nested, which the parser has bounded.
 *
 * Threads: pure, given an arena of the caller's. */
#include "json/json_int.h"

#include <string.h>

#include "base/assert.h"

typedef struct merging {
    ti_arena *arena;
    ti_json_writer writer;
    uint32_t depth;
} merging;

static ti_status merge(merging *m, ti_json_value target, ti_json_value patch);

static bool is_object(ti_json_value value)
{
    return ti_json_is_present(value) && ti_json_type_of(value) == TI_JSON_OBJECT;
}

/* The key of a member with its quotes and colon, as written. */
static ti_status write_key(merging *m, ti_json_value member)
{
    ti_slice key;
    TI_TRY(ti_json_key(member, m->arena, &key, m->writer.err));
    ti_json_write_key(&m->writer, key);
    return m->writer.status;
}

/* One member of the target: kept, left out, or merged. Marks the patch member that it used. */
static ti_status merge_member(merging *m, ti_json_value member, ti_json_value patch,
                              const ti_json_member *changes, bool *used)
{
    ti_slice key;
    TI_TRY(ti_json_key(member, m->arena, &key, m->writer.err));
    const ti_json_member *change = ti_json_members_find(changes, ti_json_count(patch), key);
    if (change == NULL) {
        TI_TRY(write_key(m, member));
        ti_json_write_raw(&m->writer, ti_json_raw(member));
        return m->writer.status;
    }
    ti_json_value wanted = {patch.doc, change->node};
    used[change - changes] = true;
    if (ti_json_type_of(wanted) == TI_JSON_NULL)
        return TI_OK;
    TI_TRY(write_key(m, member));
    return merge(m, member, wanted);
}

/* The patch's members that the target did not have, in the patch's order. */
static ti_status add_members(merging *m, ti_json_value patch, const ti_json_member *changes,
                             const bool *used)
{
    uint32_t n = ti_json_count(patch);
    ti_json_iter iter = ti_json_iterate(patch);
    for (ti_json_value child; ti_json_next(&iter, &child);) {
        ti_slice key;
        if (ti_json_type_of(child) == TI_JSON_NULL)
            continue;
        TI_TRY(ti_json_key(child, m->arena, &key, m->writer.err));
        const ti_json_member *change = ti_json_members_find(changes, n, key);
        ti_assert(change != NULL);
        if (used[change - changes])
            continue;
        TI_TRY(write_key(m, child));
        TI_TRY(merge(m, TI_JSON_ABSENT, child));
    }
    return TI_OK;
}

static ti_status merge_objects(merging *m, ti_json_value target, ti_json_value patch)
{
    ti_json_member *changes = NULL;
    ti_json_value child;
    bool *used = ti_arena_alloc_zero(m->arena, ti_json_count(patch) + 1);
    if (used == NULL)
        return ti_err_no_memory(m->writer.err);
    TI_TRY(ti_json_members_of(patch, m->arena, &changes, m->writer.err));
    ti_json_write_object_begin(&m->writer);
    if (is_object(target)) {
        ti_json_iter iter = ti_json_iterate(target);
        while (ti_json_next(&iter, &child))
            TI_TRY(merge_member(m, child, patch, changes, used));
    }
    TI_TRY(add_members(m, patch, changes, used));
    ti_json_write_object_end(&m->writer);
    return m->writer.status;
}

static ti_status merge(merging *m, ti_json_value target, ti_json_value patch)
{
    if (!is_object(patch)) {
        ti_json_write_raw(&m->writer, ti_json_raw(patch));
        return m->writer.status;
    }
    ti_assert(m->depth < TI_JSON_DEPTH_HYDRATED_MAX);
    m->depth++;
    TI_TRY(merge_objects(m, target, patch));
    m->depth--;
    return TI_OK;
}

ti_status ti_json_merge_patch(ti_json_value target, ti_json_value patch, ti_arena *a, ti_buf *out,
                              ti_err *err)
{
    merging m = {.arena = a, .depth = 0};
    ti_arena_mark mark = ti_arena_mark_of(a);
    ti_json_writer_init(&m.writer, out, err);
    ti_status status = merge(&m, target, patch);
    if (status == TI_OK)
        status = ti_json_writer_end(&m.writer);
    ti_arena_reset_to(a, mark);
    return status;
}

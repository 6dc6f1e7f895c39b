/* The declaration of relationships. See relationship.h; hydrate.c carries them out. */
#include "model/relationship.h"

#include <string.h>

#include "base/assert.h"
#include "codec/keys.h"
#include "model/definition.h"

/* Whether outer is inner, or a parent of it. */
static bool contains(ti_slice outer, ti_slice inner)
{
    return ti_slice_has_prefix(inner, outer) &&
           (inner.len == outer.len || inner.data[outer.len] == '.');
}

/* The parent of a path ("" of a single step), and its last step. */
static void split_last(ti_slice path, ti_slice *parent_out, ti_slice *last_out)
{
    size_t dot = path.len;
    while (dot > 0 && path.data[dot - 1] != '.')
        dot--;
    *last_out = (ti_slice){.data = path.data + dot, .len = path.len - dot};
    *parent_out = (ti_slice){.data = path.data, .len = dot > 0 ? dot - 1 : 0};
}

static ti_status refuse(const ti_relationship *r, ti_slice table, const char *problem, ti_err *err)
{
    return ti_err_set(err, TI_INVALID_ARGUMENT, "relationship \"%.*s\" of table \"%.*s\": %s",
                      (int)r->destination.len, r->destination.data, (int)table.len, table.data,
                      problem);
}

static ti_status place(ti_relationship *r, ti_slice table, ti_err *err)
{
    split_last(r->destination, &r->holder, &r->key);
    bool below = r->holder.len == 0 || contains(r->holder, r->source);
    if (!below || r->holder.len == r->source.len)
        return refuse(r, table, "the destination must stand beside the source, or above it", err);
    size_t skip = r->holder.len > 0 ? r->holder.len + 1 : 0;
    r->rest = (ti_slice){.data = r->source.data + skip, .len = r->source.len - skip};
    return TI_OK;
}

static ti_status parse_one(ti_json_value spec, ti_slice table, ti_arena *a, ti_relationship *r,
                           ti_err *err)
{
    static const char *const names[] = {"source_field_name", "destination_field_name", "model"};
    const char *what = "a relationship";
    TI_TRY(ti_spec_members(spec, names, 3, what, table, err));
    TI_TRY(ti_spec_string(spec, names[0], true, what, table, a, &r->source, err));
    TI_TRY(ti_spec_string(spec, names[1], true, what, table, a, &r->destination, err));
    TI_TRY(ti_spec_string(spec, names[2], true, what, table, a, &r->table, err));
    TI_TRY(ti_json_path_check(r->source, "source_field_name", err));
    TI_TRY(ti_json_path_check(r->destination, "destination_field_name", err));
    TI_TRY(ti_name_check(r->table, "model of a relationship", err));
    if (ti_slice_equal(r->destination, TI_SLICE("id")))
        return refuse(r, table, "the destination can not be the id", err);
    return place(r, table, err);
}

static ti_status check_overlaps(const ti_relationship *list, size_t count, ti_slice table,
                                ti_err *err)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            if (contains(list[i].destination, list[j].source) ||
                contains(list[j].source, list[i].destination))
                return refuse(&list[i], table, "its destination overlaps a source", err);
            if (i != j && contains(list[i].destination, list[j].destination))
                return refuse(&list[i], table, "its destination overlaps another one", err);
        }
    }
    return TI_OK;
}

ti_status ti_relationships_parse(ti_json_value spec, ti_slice table, ti_arena *a,
                                 ti_relationship **list_out, size_t *count_out, ti_err *err)
{
    *list_out = NULL;
    *count_out = 0;
    if (!ti_json_is_present(spec) || ti_json_type_of(spec) == TI_JSON_NULL)
        return TI_OK;
    size_t count = ti_json_count(spec);
    if (!ti_spec_is_list(spec))
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "the relationships of table \"%.*s\" must be a list", (int)table.len,
                          table.data);
    if (count > TI_RELATIONSHIPS_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED,
                          "table \"%.*s\" declares %zu relationships, at most %d", (int)table.len,
                          table.data, count, TI_RELATIONSHIPS_MAX);
    ti_relationship *list = ti_arena_alloc_zero(a, (count + 1) * sizeof *list);
    if (list == NULL)
        return ti_err_no_memory(err);
    ti_json_iter iter = ti_json_iterate(spec);
    ti_json_value one;
    size_t n = 0;
    while (ti_json_next(&iter, &one))
        TI_TRY(parse_one(one, table, a, &list[n++], err));
    ti_assert(n == count);
    TI_TRY(check_overlaps(list, count, table, err));
    *list_out = list;
    *count_out = count;
    return TI_OK;
}

/* Equality of two values, whatever their spelling.
 *
 * Objects are first compared member by member in order, which is how equal documents nearly always
 * look; only when the order differs are both sides sorted.
 *
 * Recursion is as deep as documents are nested, which the parser has bounded.
 *
 * Threads: pure, given an arena of the caller's. */
#include "json/json_int.h"

#include <string.h>

#include "base/assert.h"

typedef struct comparison {
    ti_arena *arena;
    ti_err *err;
    uint32_t depth;
} comparison;

static ti_status values_equal(comparison *c, ti_json_value left, ti_json_value right,
                              bool *equal_out);

static bool is_number(ti_json_type type)
{
    return type == TI_JSON_INT || type == TI_JSON_DOUBLE || type == TI_JSON_BIG;
}

static bool numbers_equal(ti_json_value left, ti_json_value right)
{
    ti_json_type a = ti_json_type_of(left);
    ti_json_type b = ti_json_type_of(right);
    if (a == TI_JSON_BIG || b == TI_JSON_BIG)
        return a == b && ti_slice_equal(ti_json_raw(left), ti_json_raw(right));
    if (a == TI_JSON_INT && b == TI_JSON_INT)
        return ti_json_int(left) == ti_json_int(right);
    if (a == TI_JSON_INT)
        return ti_json_int_is_double(ti_json_int(left), ti_json_double(right));
    if (b == TI_JSON_INT)
        return ti_json_int_is_double(ti_json_int(right), ti_json_double(left));
    return ti_json_double(left) == ti_json_double(right);
}

static ti_status strings_equal(comparison *c, ti_json_value left, ti_json_value right,
                               bool *equal_out)
{
    ti_slice text;
    const ti_json_node *other = ti_json_node_of(right);
    TI_TRY(ti_json_string(left, c->arena, &text, c->err));
    *equal_out = ti_json_inside_equal(ti_json_inside_of(right.doc, other),
                                      (other->flags & TI_JSON_ESCAPED) != 0, text);
    return TI_OK;
}

static ti_status keys_equal(comparison *c, ti_json_value left, ti_json_value right, bool *equal_out)
{
    ti_slice text;
    const ti_json_node *other = ti_json_node_of(right);
    TI_TRY(ti_json_key(left, c->arena, &text, c->err));
    *equal_out = ti_json_inside_equal(ti_json_key_inside_of(right.doc, other),
                                      (other->flags & TI_JSON_KEY_ESCAPED) != 0, text);
    return TI_OK;
}

static ti_status sorted_equal(comparison *c, ti_json_value left, ti_json_value right,
                              bool *equal_out)
{
    ti_json_member *ours = NULL;
    ti_json_member *theirs = NULL;
    uint32_t n = ti_json_count(left);
    TI_TRY(ti_json_members_of(left, c->arena, &ours, c->err));
    TI_TRY(ti_json_members_of(right, c->arena, &theirs, c->err));
    *equal_out = true;
    for (uint32_t i = 0; i < n && *equal_out; i++) {
        if (ours[i].key_size != theirs[i].key_size ||
            memcmp(ours[i].key, theirs[i].key, ours[i].key_size) != 0) {
            *equal_out = false;
            break;
        }
        TI_TRY(values_equal(c, (ti_json_value){left.doc, ours[i].node},
                            (ti_json_value){right.doc, theirs[i].node}, equal_out));
    }
    return TI_OK;
}

/* Compares children in order; in objects *same_keys_out says whether the keys stood in one order up
 * to the end. */
static ti_status children_equal(comparison *c, ti_json_value left, ti_json_value right,
                                bool *same_keys_out, bool *equal_out)
{
    ti_json_iter ours = ti_json_iterate(left);
    ti_json_iter theirs = ti_json_iterate(right);
    bool keyed = ti_json_type_of(left) == TI_JSON_OBJECT;
    ti_json_value a;
    ti_json_value b;
    *same_keys_out = true;
    *equal_out = true;
    while (*equal_out && ti_json_next(&ours, &a) && ti_json_next(&theirs, &b)) {
        if (keyed)
            TI_TRY(keys_equal(c, a, b, same_keys_out));
        if (!*same_keys_out)
            return TI_OK;
        TI_TRY(values_equal(c, a, b, equal_out));
    }
    return TI_OK;
}

static ti_status containers_equal(comparison *c, ti_json_value left, ti_json_value right,
                                  bool *equal_out)
{
    bool same_keys = true;
    *equal_out = false;
    if (ti_json_count(left) != ti_json_count(right))
        return TI_OK;
    ti_assert(c->depth < TI_JSON_DEPTH_HYDRATED_MAX);
    c->depth++;
    ti_status status = children_equal(c, left, right, &same_keys, equal_out);
    if (status == TI_OK && !same_keys)
        status = sorted_equal(c, left, right, equal_out);
    c->depth--;
    return status;
}

static ti_status values_equal(comparison *c, ti_json_value left, ti_json_value right,
                              bool *equal_out)
{
    ti_json_type type = ti_json_type_of(left);
    ti_json_type other = ti_json_type_of(right);
    *equal_out = false;
    if (is_number(type) && is_number(other)) {
        *equal_out = numbers_equal(left, right);
        return TI_OK;
    }
    if (type != other)
        return TI_OK;
    if (type == TI_JSON_STRING)
        return strings_equal(c, left, right, equal_out);
    if (type == TI_JSON_ARRAY || type == TI_JSON_OBJECT)
        return containers_equal(c, left, right, equal_out);
    *equal_out = type == TI_JSON_NULL || ti_json_bool(left) == ti_json_bool(right);
    return TI_OK;
}

ti_status ti_json_equal(ti_json_value left, ti_json_value right, ti_arena *a, bool *equal_out,
                        ti_err *err)
{
    comparison c = {.arena = a, .err = err, .depth = 0};
    ti_arena_mark mark = ti_arena_mark_of(a);
    ti_status status = values_equal(&c, left, right, equal_out);
    ti_arena_reset_to(a, mark);
    return status;
}

/* Values: what a node says, reading by key and by path, iteration.
 *
 * Threads: any number of threads may read one document. */
#include "json/json_int.h"

#include <string.h>

#include "base/assert.h"

ti_json_value ti_json_root(const ti_json_doc *doc)
{
    ti_assert(doc->node_count > 0);
    return (ti_json_value){.doc = doc, .node = 0};
}

ti_json_type ti_json_type_of(ti_json_value value)
{
    ti_assert(value.doc != NULL);
    ti_assert(value.node < value.doc->node_count);
    return (ti_json_type)ti_json_node_of(value)->type;
}

const char *ti_json_type_name(ti_json_type type)
{
    static const char *const names[] = {
        [TI_JSON_NULL] = "null",
        [TI_JSON_BOOL] = "boolean",
        [TI_JSON_INT] = "integer",
        [TI_JSON_DOUBLE] = "number",
        [TI_JSON_BIG] = "integer beyond 64 bits",
        [TI_JSON_STRING] = "string",
        [TI_JSON_ARRAY] = "array",
        [TI_JSON_OBJECT] = "object",
    };
    ti_assert((size_t)type < sizeof names / sizeof *names);
    return names[type];
}

ti_slice ti_json_raw(ti_json_value value)
{
    const ti_json_node *node = ti_json_node_of(value);
    ti_assert(node->start + node->size <= value.doc->text.len);
    return (ti_slice){value.doc->text.data + node->start, node->size};
}

bool ti_json_bool(ti_json_value value)
{
    ti_assert(ti_json_type_of(value) == TI_JSON_BOOL);
    return ti_json_node_of(value)->boolean;
}

int64_t ti_json_int(ti_json_value value)
{
    ti_assert(ti_json_type_of(value) == TI_JSON_INT);
    return ti_json_node_of(value)->integer;
}

double ti_json_double(ti_json_value value)
{
    const ti_json_node *node = ti_json_node_of(value);
    ti_assert(node->type == TI_JSON_INT || node->type == TI_JSON_DOUBLE ||
              node->type == TI_JSON_BIG);
    return node->type == TI_JSON_INT ? (double)node->integer : node->number;
}

ti_status ti_json_string(ti_json_value value, ti_arena *a, ti_slice *out, ti_err *err)
{
    const ti_json_node *node = ti_json_node_of(value);
    ti_assert(node->type == TI_JSON_STRING);
    return ti_json_inside(ti_json_inside_of(value.doc, node), (node->flags & TI_JSON_ESCAPED) != 0,
                          a, out, err);
}

ti_status ti_json_key(ti_json_value member, ti_arena *a, ti_slice *out, ti_err *err)
{
    const ti_json_node *node = ti_json_node_of(member);
    ti_assert((node->flags & TI_JSON_HAS_KEY) != 0);
    return ti_json_inside(ti_json_key_inside_of(member.doc, node),
                          (node->flags & TI_JSON_KEY_ESCAPED) != 0, a, out, err);
}

uint32_t ti_json_count(ti_json_value value)
{
    return ti_json_node_of(value)->count;
}

ti_json_iter ti_json_iterate(ti_json_value container)
{
    const ti_json_node *node = ti_json_node_of(container);
    return (ti_json_iter){.doc = container.doc, .next = container.node + 1, .end = node->end};
}

bool ti_json_next(ti_json_iter *iter, ti_json_value *child_out)
{
    ti_assert(iter->next <= iter->end);
    *child_out = TI_JSON_ABSENT;
    if (iter->next == iter->end)
        return false;
    *child_out = (ti_json_value){.doc = iter->doc, .node = iter->next};
    iter->next = iter->doc->nodes[iter->next].end;
    return true;
}

ti_json_value ti_json_get(ti_json_value value, ti_slice key)
{
    if (value.doc == NULL || ti_json_type_of(value) != TI_JSON_OBJECT)
        return TI_JSON_ABSENT;
    const ti_json_doc *doc = value.doc;
    uint32_t end = doc->nodes[value.node].end;
    for (uint32_t i = value.node + 1; i < end; i = doc->nodes[i].end) {
        const ti_json_node *node = &doc->nodes[i];
        bool escaped = (node->flags & TI_JSON_KEY_ESCAPED) != 0;
        if (ti_json_inside_equal(ti_json_key_inside_of(doc, node), escaped, key))
            return (ti_json_value){.doc = doc, .node = i};
    }
    return TI_JSON_ABSENT;
}

bool ti_json_path_step(ti_slice *path, ti_slice *step_out)
{
    *step_out = TI_SLICE_NONE;
    if (path->len == 0)
        return false;
    const char *dot = memchr(path->data, '.', path->len);
    size_t size = dot == NULL ? path->len : (size_t)(dot - path->data);
    size_t taken = dot == NULL ? size : size + 1;
    *step_out = (ti_slice){path->data, size};
    *path = (ti_slice){path->data + taken, path->len - taken};
    return true;
}

ti_json_value ti_json_get_path(ti_json_value value, ti_slice path)
{
    ti_slice step;
    while (ti_json_is_present(value) && ti_json_path_step(&path, &step))
        value = ti_json_get(value, step);
    return value;
}

ti_status ti_json_path_check(ti_slice path, const char *what, ti_err *err)
{
    if (path.len == 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the path of %s is empty", what);
    if (path.len > TI_PATH_SIZE_MAX)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "the path of %s is %zu bytes long, the limit is %d", what, path.len,
                          TI_PATH_SIZE_MAX);
    if (!ti_slice_is_utf8(path))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the path of %s is not UTF-8", what);
    bool dotted = path.data[path.len - 1] == '.';
    for (ti_slice left = path, step; !dotted && ti_json_path_step(&left, &step);)
        dotted = step.len == 0;
    if (dotted)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the path of %s has an empty step", what);
    return TI_OK;
}

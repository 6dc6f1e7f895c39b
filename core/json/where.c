/* Predicates: paths and the scalars that are wanted there.
 *
 *   where: [ test: "status" -> "active" ] [ test: "kind" -> "a", "b" ]
 *
 * Compiled once and kept with a model: everything is copied, so that holding it needs neither the
 * text it came from nor memory.
 *
 * INVARIANTS
 *  1. tests and the scalars of all tests together are at most TI_PREDICATE_NODES_MAX.
 *  2. A path passes objects only.
 *
 * Threads: a compiled where is read-only. */
#include "json/json_int.h"

#include "base/assert.h"

typedef struct scalar {
    ti_json_type type; /* NULL, BOOL, INT, DOUBLE or STRING */
    union {
        bool boolean;
        int64_t integer;
        double number;
        ti_slice string;
    };
} scalar;

typedef struct test {
    ti_slice path;
    scalar *wanted;
    uint32_t wanted_count;
} test;

struct ti_json_where {
    test *tests;
    uint32_t test_count;
};

/* Compiling: where memory comes from and how many nodes are left. */
typedef struct compiler {
    ti_arena *arena;
    ti_err *err;
    uint32_t nodes_left;
} compiler;

static ti_status take_node(compiler *c)
{
    if (c->nodes_left == 0)
        return ti_err_set(c->err, TI_LIMIT_EXCEEDED, "a where has more than %d nodes",
                          TI_PREDICATE_NODES_MAX);
    c->nodes_left--;
    return TI_OK;
}

static ti_status compile_string(compiler *c, ti_json_value value, ti_slice *out)
{
    ti_slice text;
    TI_TRY(ti_json_string(value, c->arena, &text, c->err));
    *out = ti_arena_copy(c->arena, text);
    return out->data == NULL ? ti_err_no_memory(c->err) : TI_OK;
}

static ti_status compile_scalar(compiler *c, ti_slice path, ti_json_value value, scalar *out)
{
    TI_TRY(take_node(c));
    *out = (scalar){.type = ti_json_type_of(value), .integer = 0};
    switch (out->type) {
    case TI_JSON_NULL:
        return TI_OK;
    case TI_JSON_BOOL:
        out->boolean = ti_json_bool(value);
        return TI_OK;
    case TI_JSON_INT:
        out->integer = ti_json_int(value);
        return TI_OK;
    case TI_JSON_DOUBLE:
        out->number = ti_json_double(value);
        return TI_OK;
    case TI_JSON_STRING:
        return compile_string(c, value, &out->string);
    default:
        return ti_err_set(c->err, TI_INVALID_ARGUMENT, "where can not compare '%.*s' with an %s",
                          (int)path.len, path.data, ti_json_type_name(out->type));
    }
}

static ti_status compile_list(compiler *c, ti_json_value list, test *out)
{
    ti_json_iter iter = ti_json_iterate(list);
    uint32_t filled = 0;
    if (ti_json_count(list) == 0)
        return ti_err_set(c->err, TI_INVALID_ARGUMENT,
                          "where compares '%.*s' with an empty list: it would never hold",
                          (int)out->path.len, out->path.data);
    if (ti_json_count(list) > c->nodes_left)
        return ti_err_set(c->err, TI_LIMIT_EXCEEDED, "a where has more than %d nodes",
                          TI_PREDICATE_NODES_MAX);
    out->wanted = ti_arena_alloc_zero(c->arena, ti_json_count(list) * sizeof *out->wanted);
    if (out->wanted == NULL)
        return ti_err_no_memory(c->err);
    for (ti_json_value child; ti_json_next(&iter, &child); filled++)
        TI_TRY(compile_scalar(c, out->path, child, &out->wanted[filled]));
    ti_assert(filled == ti_json_count(list));
    out->wanted_count = filled;
    return TI_OK;
}

static ti_status compile_test(compiler *c, ti_json_value member, test *out)
{
    ti_slice path;
    TI_TRY(take_node(c));
    TI_TRY(ti_json_key(member, c->arena, &path, c->err));
    TI_TRY(ti_json_path_check(path, "a where", c->err));
    out->path = ti_arena_copy(c->arena, path);
    if (out->path.data == NULL)
        return ti_err_no_memory(c->err);
    if (ti_json_type_of(member) == TI_JSON_ARRAY)
        return compile_list(c, member, out);
    out->wanted = ti_arena_alloc_zero(c->arena, sizeof *out->wanted);
    if (out->wanted == NULL)
        return ti_err_no_memory(c->err);
    out->wanted_count = 1;
    return compile_scalar(c, out->path, member, out->wanted);
}

ti_status ti_json_where_compile(ti_json_value spec, ti_arena *a, ti_json_where **where_out,
                                ti_err *err)
{
    compiler c = {.arena = a, .err = err, .nodes_left = TI_PREDICATE_NODES_MAX};
    uint32_t filled = 0;
    *where_out = NULL;
    if (!ti_json_is_present(spec) || ti_json_type_of(spec) != TI_JSON_OBJECT)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "a where must be an object of paths and values");
    if (ti_json_count(spec) > TI_PREDICATE_NODES_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "a where has more than %d nodes",
                          TI_PREDICATE_NODES_MAX);
    ti_json_where *where = ti_arena_alloc_zero(a, sizeof *where);
    test *tests = ti_arena_alloc_zero(a, (ti_json_count(spec) + 1) * sizeof *tests);
    if (where == NULL || tests == NULL)
        return ti_err_no_memory(err);
    ti_json_iter iter = ti_json_iterate(spec);
    for (ti_json_value member; ti_json_next(&iter, &member); filled++)
        TI_TRY(compile_test(&c, member, &tests[filled]));
    *where = (ti_json_where){.tests = tests, .test_count = filled};
    *where_out = where;
    return TI_OK;
}

/* Whether a present value, no container and no BIG, equals the scalar. */
static bool scalar_holds(const scalar *wanted, ti_json_value value)
{
    const ti_json_node *node = ti_json_node_of(value);
    ti_json_type type = (ti_json_type)node->type;
    if (wanted->type == TI_JSON_INT && type == TI_JSON_DOUBLE)
        return ti_json_int_is_double(wanted->integer, node->number);
    if (wanted->type == TI_JSON_DOUBLE && type == TI_JSON_INT)
        return ti_json_int_is_double(node->integer, wanted->number);
    if (wanted->type != type)
        return false;
    switch (type) {
    case TI_JSON_BOOL:
        return wanted->boolean == node->boolean;
    case TI_JSON_INT:
        return wanted->integer == node->integer;
    case TI_JSON_DOUBLE:
        return wanted->number == node->number;
    case TI_JSON_STRING:
        return ti_json_inside_equal(ti_json_inside_of(value.doc, node),
                                    (node->flags & TI_JSON_ESCAPED) != 0, wanted->string);
    default:
        ti_assert(type == TI_JSON_NULL);
        return true;
    }
}

static bool test_holds(const test *t, ti_json_value doc)
{
    ti_json_value value = ti_json_get_path(doc, t->path);
    for (uint32_t i = 0; i < t->wanted_count; i++) {
        const scalar *wanted = &t->wanted[i];
        if (!ti_json_is_present(value) ? wanted->type == TI_JSON_NULL : scalar_holds(wanted, value))
            return true;
    }
    return false;
}

bool ti_json_where_holds(const ti_json_where *where, ti_json_value doc)
{
    for (uint32_t i = 0; i < where->test_count; i++)
        if (!test_holds(&where->tests[i], doc))
            return false;
    return true;
}

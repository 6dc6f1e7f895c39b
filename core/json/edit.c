/* Editing by splicing: a list of edits, sorted by place, then one pass over the containers they
 * touch. Runs of untouched children are copied whole, white space between them included.
 *
 *   {"a":1, "b":{"x":1,"y":2}, "c":3}          remove b.x, set d
 *   {"a":1, "b":{"y":2}, "c":3,"d":4}
 *
 *   edit:  REMOVE node | REPLACE node with raw | ADD raw at a path below node
 *   added: a tree built when applying, since two paths may share an object that does not exist:
 *          set a.x, set a.y   ->   "a":{"x":1,"y":2}
 *
 * INVARIANTS
 *  1. Sorted by node, edits of one node as they were made: preorder is the order of the text.
 *  2. No two members of a tree have one key, and none has a key that its node has.
 *  3. Of two edits of one place the later wins.
 *
 * Recursion is as deep as documents are nested (bounded by the parser) or as paths have steps
 * (bounded by their length).
 *
 * Threads: a set of edits belongs to one thread at a time. */
#include "json/json_int.h"

#include <string.h>

#include "base/assert.h"

typedef enum edit_kind {
    EDIT_ADD, /* sorts before what drops it */
    EDIT_REMOVE,
    EDIT_REPLACE,
} edit_kind;

struct ti_json_edit {
    uint32_t node;
    uint32_t order; /* of being made */
    edit_kind kind;
    bool dotted;   /* ADD: path is dotted, else one key */
    ti_slice path; /* ADD: unescaped; in the arena */
    ti_slice raw;  /* REPLACE, ADD */
};

/* A member that is to be added, or an object of such members. */
typedef struct added added;
struct added {
    ti_slice key; /* unescaped */
    ti_slice raw; /* data NULL: an object of children */
    added *child; /* first */
    added *last;  /* of the children */
    added *next;  /* sibling */
};

void ti_json_edits_init(ti_json_edits *edits, const ti_json_doc *doc, ti_arena *a)
{
    *edits = (ti_json_edits){.doc = doc, .arena = a};
}

/* ---- collecting ---- */

static ti_status push(ti_json_edits *edits, ti_json_edit edit, ti_err *err)
{
    if (edits->count == edits->capacity) {
        size_t capacity = edits->capacity == 0 ? 8 : edits->capacity * 2;
        ti_json_edit *grown = ti_arena_alloc(edits->arena, capacity * sizeof *grown);
        if (grown == NULL)
            return ti_err_no_memory(err);
        if (edits->count > 0)
            memcpy(grown, edits->edits, edits->count * sizeof *grown);
        edits->edits = grown;
        edits->capacity = capacity;
    }
    edit.order = (uint32_t)edits->count;
    edits->edits[edits->count++] = edit;
    return TI_OK;
}

ti_status ti_json_edits_remove(ti_json_edits *edits, ti_json_value value, ti_err *err)
{
    ti_assert(value.doc == edits->doc);
    ti_require(value.node > 0);
    return push(edits, (ti_json_edit){.node = value.node, .kind = EDIT_REMOVE}, err);
}

ti_status ti_json_edits_replace(ti_json_edits *edits, ti_json_value value, ti_slice raw,
                                ti_err *err)
{
    ti_assert(value.doc == edits->doc);
    ti_assert(raw.len > 0);
    return push(edits, (ti_json_edit){.node = value.node, .kind = EDIT_REPLACE, .raw = raw}, err);
}

static ti_status push_add(ti_json_edits *edits, ti_json_value object, ti_slice path, bool dotted,
                          ti_slice raw, ti_err *err)
{
    ti_json_edit edit = {.node = object.node, .kind = EDIT_ADD, .dotted = dotted, .raw = raw};
    ti_assert(ti_json_type_of(object) == TI_JSON_OBJECT);
    edit.path = ti_arena_copy(edits->arena, path);
    if (edit.path.data == NULL)
        return ti_err_no_memory(err);
    return push(edits, edit, err);
}

ti_status ti_json_edits_set(ti_json_edits *edits, ti_json_value object, ti_slice key, ti_slice raw,
                            ti_err *err)
{
    ti_assert(object.doc == edits->doc);
    ti_assert(raw.len > 0);
    ti_json_value found = ti_json_get(object, key);
    if (ti_json_is_present(found))
        return ti_json_edits_replace(edits, found, raw, err);
    return push_add(edits, object, key, false, raw, err);
}

ti_status ti_json_edits_set_path(ti_json_edits *edits, ti_json_value object, ti_slice path,
                                 ti_slice raw, ti_err *err)
{
    ti_slice step;
    ti_assert(raw.len > 0);
    ti_assert(path.len > 0);
    for (ti_slice left = path; ti_json_path_step(&left, &step);) {
        if (ti_json_type_of(object) != TI_JSON_OBJECT)
            return ti_err_set(err, TI_INVALID_ARGUMENT,
                              "the path '%.*s' leads through a value that is no object",
                              (int)path.len, path.data);
        ti_json_value found = ti_json_get(object, step);
        if (!ti_json_is_present(found)) {
            ti_slice missing = {step.data, (size_t)(path.data + path.len - step.data)};
            return push_add(edits, object, missing, true, raw, err);
        }
        object = found;
    }
    return ti_json_edits_replace(edits, object, raw, err);
}

ti_status ti_json_edits_remove_path(ti_json_edits *edits, ti_json_value value, ti_slice path,
                                    ti_err *err)
{
    ti_slice step;
    ti_assert(path.len > 0);
    while (ti_json_is_present(value)) {
        if (ti_json_type_of(value) == TI_JSON_ARRAY) {
            ti_json_iter iter = ti_json_iterate(value);
            for (ti_json_value child; ti_json_next(&iter, &child);)
                TI_TRY(ti_json_edits_remove_path(edits, child, path, err));
            return TI_OK;
        }
        if (!ti_json_path_step(&path, &step))
            return TI_OK;
        value = ti_json_get(value, step);
        if (path.len == 0)
            return ti_json_is_present(value) ? ti_json_edits_remove(edits, value, err) : TI_OK;
    }
    return TI_OK;
}

/* ---- applying ---- */

/* Applying: the sorted edits and how far they are used. */
typedef struct splice {
    const ti_json_doc *doc;
    const ti_json_edit *edits;
    size_t count;
    size_t at;
    ti_arena *arena;
    ti_buf *out;
    ti_err *err;
    uint32_t depth;
} splice;

static bool sorts_before(const ti_json_edit *left, const ti_json_edit *right)
{
    if (left->node != right->node)
        return left->node < right->node;
    return left->order < right->order;
}

/* Sorts by node and order. Edits mostly come in order already. */
static ti_status sort_edits(ti_json_edits *edits, ti_err *err)
{
    ti_json_edit *in = edits->edits;
    size_t n = edits->count;
    size_t i = 1;
    while (i < n && sorts_before(&in[i - 1], &in[i]))
        i++;
    if (i >= n)
        return TI_OK;
    ti_json_edit *out = ti_arena_alloc(edits->arena, n * sizeof *out);
    if (out == NULL)
        return ti_err_no_memory(err);
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t from = 0; from < n; from += 2 * width) {
            size_t left = from;
            size_t middle = from + width < n ? from + width : n;
            size_t to = from + 2 * width < n ? from + 2 * width : n;
            size_t right = middle;
            for (size_t k = from; k < to; k++) {
                bool take_left =
                    left < middle && (right >= to || sorts_before(&in[left], &in[right]));
                out[k] = take_left ? in[left++] : in[right++];
            }
        }
        ti_json_edit *swap = in;
        in = out;
        out = swap;
    }
    edits->edits = in;
    return TI_OK;
}

static ti_status put(splice *s, ti_slice bytes)
{
    return ti_buf_append_slice(s->out, bytes, s->err);
}

/* The child of an added object with this key, made when there is none. */
static ti_status added_child(splice *s, added *parent, ti_slice key, added **out)
{
    added *child = parent->child;
    while (child != NULL && !ti_slice_equal(child->key, key))
        child = child->next;
    if (child == NULL) {
        child = ti_arena_alloc_zero(s->arena, sizeof *child);
        if (child == NULL)
            return ti_err_no_memory(s->err);
        child->key = key;
        *(parent->last == NULL ? &parent->child : &parent->last->next) = child;
        parent->last = child;
    }
    *out = child;
    return TI_OK;
}

/* Puts an ADD edit's value into the tree of its object; what stood in its way is replaced. */
static ti_status grow_tree(splice *s, added *tree, const ti_json_edit *edit)
{
    ti_slice path = edit->path;
    ti_slice step = edit->path;
    added *at = tree;
    if (!edit->dotted)
        TI_TRY(added_child(s, at, edit->path, &at));
    while (edit->dotted && ti_json_path_step(&path, &step)) {
        at->raw = TI_SLICE_NONE;
        TI_TRY(added_child(s, at, step, &at));
    }
    ti_assert(at != tree);
    at->child = NULL;
    at->last = NULL;
    at->raw = edit->raw;
    return TI_OK;
}

static ti_status put_added(splice *s, const added *tree, bool comma)
{
    for (const added *child = tree->child; child != NULL; child = child->next) {
        if (comma)
            TI_TRY(put(s, TI_SLICE(",")));
        comma = true;
        TI_TRY(ti_json_append_string(s->out, child->key, s->err));
        TI_TRY(put(s, TI_SLICE(":")));
        if (child->raw.data != NULL) {
            TI_TRY(put(s, child->raw));
            continue;
        }
        TI_TRY(put(s, TI_SLICE("{")));
        TI_TRY(put_added(s, child, false));
        TI_TRY(put(s, TI_SLICE("}")));
    }
    return TI_OK;
}

/* Where the child's bytes begin: at its key's quote, or at the value. */
static size_t child_start(const ti_json_node *node)
{
    return (node->flags & TI_JSON_HAS_KEY) != 0 ? node->key_start - 1 : node->start;
}

/* What happens to one node. */
typedef struct verdict {
    const ti_json_edit *fate; /* REMOVE or REPLACE; NULL: stays */
    added tree;               /* its children: members to add */
} verdict;

/* Takes the edits of one node off the list. */
static ti_status judge(splice *s, uint32_t node, verdict *out)
{
    *out = (verdict){.fate = NULL};
    for (; s->at < s->count && s->edits[s->at].node == node; s->at++) {
        const ti_json_edit *edit = &s->edits[s->at];
        if (edit->kind == EDIT_ADD)
            TI_TRY(grow_tree(s, &out->tree, edit));
        else
            out->fate = edit;
    }
    return TI_OK;
}

/* Drops the edits inside a subtree that is gone. */
static void skip_edits(splice *s, uint32_t end)
{
    while (s->at < s->count && s->edits[s->at].node < end)
        s->at++;
}

static ti_status splice_value(splice *s, uint32_t index, const verdict *v);

/* Puts [from, to) of the text as one run of children. */
static ti_status put_run(splice *s, size_t from, size_t to, bool *comma)
{
    ti_assert(from < to);
    if (*comma)
        TI_TRY(put(s, TI_SLICE(",")));
    *comma = true;
    return put(s, (ti_slice){s->doc->text.data + from, to - from});
}

/* One child that has edits: nothing, or its key as written and the new value. */
static ti_status splice_child(splice *s, uint32_t index, bool *comma)
{
    const ti_json_node *node = &s->doc->nodes[index];
    size_t start = child_start(node);
    verdict v;
    TI_TRY(judge(s, index, &v));
    if (v.fate != NULL && v.fate->kind == EDIT_REMOVE) {
        skip_edits(s, node->end);
        return TI_OK;
    }
    if (*comma)
        TI_TRY(put(s, TI_SLICE(",")));
    *comma = true;
    TI_TRY(put(s, (ti_slice){s->doc->text.data + start, node->start - start}));
    return splice_value(s, index, &v);
}

/* A container with edits on it or inside it. */
static ti_status splice_container(splice *s, uint32_t index, const added *tree)
{
    const ti_json_node *nodes = s->doc->nodes;
    bool object = nodes[index].type == TI_JSON_OBJECT;
    bool comma = false;
    size_t run_from = 0;
    size_t run_to = 0;
    TI_TRY(put(s, object ? TI_SLICE("{") : TI_SLICE("[")));
    for (uint32_t i = index + 1; i < nodes[index].end; i = nodes[i].end) {
        bool touched = s->at < s->count && s->edits[s->at].node < nodes[i].end;
        if (!touched) {
            if (run_to == 0)
                run_from = child_start(&nodes[i]);
            run_to = nodes[i].start + nodes[i].size;
            continue;
        }
        if (run_to > 0)
            TI_TRY(put_run(s, run_from, run_to, &comma));
        run_to = 0;
        TI_TRY(splice_child(s, i, &comma));
    }
    if (run_to > 0)
        TI_TRY(put_run(s, run_from, run_to, &comma));
    TI_TRY(put_added(s, tree, comma));
    return put(s, object ? TI_SLICE("}") : TI_SLICE("]"));
}

/* A value that stays or is replaced, without its key. */
static ti_status splice_value(splice *s, uint32_t index, const verdict *v)
{
    const ti_json_node *node = &s->doc->nodes[index];
    if (v->fate != NULL) {
        ti_assert(v->fate->kind == EDIT_REPLACE);
        skip_edits(s, node->end);
        return put(s, v->fate->raw);
    }
    bool inside = s->at < s->count && s->edits[s->at].node < node->end;
    if (v->tree.child == NULL && !inside)
        return put(s, (ti_slice){s->doc->text.data + node->start, node->size});
    ti_assert(s->depth < TI_JSON_DEPTH_HYDRATED_MAX);
    s->depth++;
    TI_TRY(splice_container(s, index, &v->tree));
    s->depth--;
    return TI_OK;
}

ti_status ti_json_edits_apply(ti_json_edits *edits, ti_buf *out, ti_err *err)
{
    TI_TRY(sort_edits(edits, err));
    splice s = {.doc = edits->doc,
                .edits = edits->edits,
                .count = edits->count,
                .at = 0,
                .arena = edits->arena,
                .out = out,
                .err = err,
                .depth = 0};
    verdict v;
    TI_TRY(judge(&s, 0, &v));
    TI_TRY(splice_value(&s, 0, &v));
    ti_assert(s.at == s.count);
    edits->count = 0;
    return TI_OK;
}

/* Splicing: exact results of small edits, and random edits against the naive tree. */
#include "json/docs.h"
#include "json/tree.h"

static ti_json_value at(const ti_json_doc *doc, const char *path)
{
    return ti_json_get_path(ti_json_root(doc), ti_slice_of(path));
}

/* Applies and compares the bytes. */
static void gives(docs *d, ti_json_edits *edits, const char *wanted)
{
    ti_buf out;
    ti_buf_init(&out, 100000);
    test_ok(ti_json_edits_apply(edits, &out, &d->err), &d->err);
    if (!ti_slice_equal(ti_buf_slice(&out), ti_slice_of(wanted)))
        fail_msg("%.*s instead of %s", (int)out.len, out.data, wanted);
    ti_buf_free(&out);
}

static void removing_deals_with_commas(void **state)
{
    static const struct {
        const char *text;
        const char *paths[3];
        const char *wanted;
    } cases[] = {
        {"{\"a\":1}", {"a"}, "{}"},
        {"{\"a\":1,\"b\":2}", {"a"}, "{\"b\":2}"},
        {"{\"a\":1,\"b\":2}", {"b"}, "{\"a\":1}"},
        {"{\"a\":1 , \"b\":2 , \"c\" : 3 }", {"b"}, "{\"a\":1,\"c\" : 3}"},
        {"{\"a\":1 , \"b\":2 , \"c\" : 3 }", {"c"}, "{\"a\":1 , \"b\":2}"},
        {"{\"a\":1,\"b\":2,\"c\":3}", {"a", "c"}, "{\"b\":2}"},
        {"{\"a\":1,\"b\":2,\"c\":3}", {"c", "b", "a"}, "{}"},
        {" {\"a\":{\"x\":1}, \"b\":2} ", {"a.x"}, "{\"a\":{},\"b\":2}"},
        {"{\"a\":{\"x\":1},\"b\":2}", {"a.x", "a"}, "{\"b\":2}"},
        {"{\"a\":1}", {"b"}, "{\"a\":1}"},
        {"{\"l\":[{\"p\":1,\"q\":2},{\"q\":3},7,[{\"p\":4}]]}",
         {"l.p"},
         "{\"l\":[{\"q\":2},{\"q\":3},7,[{}]]}"},
        {"[{\"p\":1},{\"p\":2}]", {"p"}, "[{},{}]"},
    };
    docs d;
    (void)state;
    docs_init(&d);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ti_json_doc doc = docs_text(&d, cases[i].text);
        ti_json_edits edits;
        ti_json_edits_init(&edits, &doc, &d.arena);
        for (size_t p = 0; p < 3 && cases[i].paths[p] != NULL; p++)
            test_ok(ti_json_edits_remove_path(&edits, ti_json_root(&doc),
                                              ti_slice_of(cases[i].paths[p]), &d.err),
                    &d.err);
        gives(&d, &edits, cases[i].wanted);
    }
    docs_free(&d);
}

static void setting_replaces_or_appends(void **state)
{
    static const struct {
        const char *text;
        const char *paths[3]; /* set to 1, 2, 3 */
        const char *wanted;
    } cases[] = {
        {"{}", {"a"}, "{\"a\":1}"},
        {"{ }", {"a", "b"}, "{\"a\":1,\"b\":2}"},
        {"{\"a\":0}", {"a"}, "{\"a\":1}"},
        {"{ \"a\" : 0 , \"z\":9}", {"a", "b"}, "{\"a\" : 1,\"z\":9,\"b\":2}"},
        {"{\"a\":{}}", {"a.b"}, "{\"a\":{\"b\":1}}"},
        {"{}", {"a.b", "a.c", "x"}, "{\"a\":{\"b\":1,\"c\":2},\"x\":3}"},
        {"{}", {"a.b", "a"}, "{\"a\":2}"},
        {"{}", {"a", "a.b"}, "{\"a\":{\"b\":2}}"},
        {"{}", {"a", "a"}, "{\"a\":2}"},
        {"{\"a\":0}", {"a", "a"}, "{\"a\":2}"},
        {"{\"a\":{\"b\":0}}",
         {"a.b", "a.c.d", "a.c.e"},
         "{\"a\":{\"b\":1,\"c\":{\"d\":2,\"e\":3}}}"},
        {"{\"a\":{\"b\":0}}", {"a.c", "a"}, "{\"a\":2}"},
        {"{\"q\":0}", {"say \"\n"}, "{\"q\":0,\"say \\\"\\n\":1}"},
    };
    static const char *const raws[] = {"1", "2", "3"};
    docs d;
    (void)state;
    docs_init(&d);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ti_json_doc doc = docs_text(&d, cases[i].text);
        ti_json_edits edits;
        ti_json_edits_init(&edits, &doc, &d.arena);
        for (size_t p = 0; p < 3 && cases[i].paths[p] != NULL; p++)
            test_ok(ti_json_edits_set_path(&edits, ti_json_root(&doc),
                                           ti_slice_of(cases[i].paths[p]), ti_slice_of(raws[p]),
                                           &d.err),
                    &d.err);
        gives(&d, &edits, cases[i].wanted);
    }
    docs_free(&d);
}

static void elements_are_addressed_by_handle(void **state)
{
    docs d;
    ti_json_edits edits;
    ti_json_value child;
    (void)state;
    docs_init(&d);
    ti_json_doc doc =
        docs_text(&d, "{\"items\":[{\"id\":1},{\"id\":2,\"p\":0},{\"id\":3}],\"x\":[0,1,2]}");
    ti_json_edits_init(&edits, &doc, &d.arena);
    ti_json_iter iter = ti_json_iterate(at(&doc, "items"));
    while (ti_json_next(&iter, &child))
        test_ok(ti_json_edits_set(&edits, child, TI_SLICE("p"), TI_SLICE("{\"h\":true}"), &d.err),
                &d.err);
    iter = ti_json_iterate(at(&doc, "x"));
    ti_json_next(&iter, &child);
    test_ok(ti_json_edits_remove(&edits, child, &d.err), &d.err);
    ti_json_next(&iter, &child);
    test_ok(ti_json_edits_replace(&edits, child, TI_SLICE("\"one\""), &d.err), &d.err);
    gives(&d, &edits,
          "{\"items\":[{\"id\":1,\"p\":{\"h\":true}},{\"id\":2,\"p\":{\"h\":true}},{\"id\":3,\"p\":"
          "{\"h\":true}}],"
          "\"x\":[\"one\",2]}");
    docs_free(&d);
}

static void the_later_edit_of_one_place_wins(void **state)
{
    docs d;
    ti_json_edits edits;
    (void)state;
    docs_init(&d);
    ti_json_doc doc = docs_text(&d, "{\"a\":{\"b\":1},\"c\":2}");
    ti_json_edits_init(&edits, &doc, &d.arena);
    test_ok(ti_json_edits_remove(&edits, at(&doc, "a"), &d.err), &d.err);
    test_ok(ti_json_edits_set(&edits, ti_json_root(&doc), TI_SLICE("a"), TI_SLICE("5"), &d.err),
            &d.err);
    test_ok(ti_json_edits_set(&edits, at(&doc, "a"), TI_SLICE("x"), TI_SLICE("6"), &d.err), &d.err);
    test_ok(ti_json_edits_replace(&edits, at(&doc, "c"), TI_SLICE("7"), &d.err), &d.err);
    test_ok(ti_json_edits_remove(&edits, at(&doc, "c"), &d.err), &d.err);
    gives(&d, &edits, "{\"a\":5}");
    gives(&d, &edits, "{\"a\":{\"b\":1},\"c\":2}"); /* used up */
    test_ok(ti_json_edits_replace(&edits, ti_json_root(&doc), TI_SLICE("[]"), &d.err), &d.err);
    test_ok(ti_json_edits_remove(&edits, at(&doc, "c"), &d.err), &d.err);
    gives(&d, &edits, "[]");
    docs_free(&d);
}

static void paths_through_values_are_refused(void **state)
{
    docs d;
    ti_json_edits edits;
    (void)state;
    docs_init(&d);
    ti_json_doc doc = docs_text(&d, "{\"a\":1,\"l\":[]}");
    ti_json_edits_init(&edits, &doc, &d.arena);
    test_status(
        ti_json_edits_set_path(&edits, ti_json_root(&doc), TI_SLICE("a.b"), TI_SLICE("1"), &d.err),
        TI_INVALID_ARGUMENT);
    test_status(
        ti_json_edits_set_path(&edits, ti_json_root(&doc), TI_SLICE("l.b"), TI_SLICE("1"), &d.err),
        TI_INVALID_ARGUMENT);
    gives(&d, &edits, "{\"a\":1,\"l\":[]}");
    docs_free(&d);
}

/* ---- against the naive tree ---- */

/* The tree's nodes in the order of the document's nodes. */
static void preorder(tree *node, tree **list, tree **parents, tree *parent, size_t *count)
{
    parents[*count] = parent;
    list[(*count)++] = node;
    for (size_t i = 0; i < node->count; i++)
        preorder(node->children[i], list, parents, node, count);
}

typedef struct rounds {
    trees t;
    docs d;
    tree *list[TREE_NODES_MAX];
    tree *parents[TREE_NODES_MAX];
    bool dropped[TREE_NODES_MAX]; /* replaced or removed: edits inside are lost */
    size_t count;
} rounds;

static void tree_replace(tree *node, const char *text)
{
    node->type = 's';
    node->count = 0;
    node->removed = false;
    snprintf(node->text, sizeof node->text, "%s", text);
}

/* One random edit, to the document and to the tree. Each place is edited once, so that order plays
 * no part here. */
static void edit_randomly(rounds *w, ti_json_edits *edits, const ti_json_doc *doc)
{
    size_t i = test_random_below(&w->t.r, w->count);
    ti_json_value value = {doc, (uint32_t)i};
    tree *node = w->list[i];
    if (w->dropped[i])
        return;
    switch (test_random_below(&w->t.r, 3)) {
    case 0:
        if (i == 0)
            return;
        test_ok(ti_json_edits_remove(edits, value, &w->d.err), &w->d.err);
        w->dropped[i] = true;
        node->removed = true;
        return;
    case 1:
        test_ok(ti_json_edits_replace(edits, value, TI_SLICE("\"new\""), &w->d.err), &w->d.err);
        w->dropped[i] = true;
        tree_replace(node, "\"new\"");
        return;
    default:
        if (ti_json_type_of(value) != TI_JSON_OBJECT)
            return;
        const char *key = tree_key(&w->t);
        ti_slice raw = TI_SLICE("[true]");
        test_ok(ti_json_edits_set(edits, value, ti_slice_of(key), raw, &w->d.err), &w->d.err);
        tree *child = NULL;
        for (size_t c = 0; c < node->count; c++) /* removed ones count: set revives them */
            if (strcmp(node->children[c]->key, key) == 0)
                child = node->children[c];
        if (child == NULL) {
            child = tree_new(&w->t, 's', key);
            assert_true(node->count < TREE_CHILDREN_MAX);
            node->children[node->count++] = child;
        }
        for (size_t c = 1; c < w->count; c++)
            if (w->list[c] == child)
                w->dropped[c] = true;
        tree_replace(child, "[true]");
    }
}

static void random_edits_match_the_tree(void **state)
{
    static rounds w;
    (void)state;
    trees_init(&w.t, 3);
    docs_init(&w.d);
    for (uint64_t n = test_scaled(40000); n > 0; n--) {
        ti_json_edits edits;
        ti_buf out;
        w.t.used = 0;
        w.count = 0;
        tree *root = tree_random(&w.t, NULL, 4);
        ti_slice text = ti_arena_copy(&w.d.arena, tree_print(&w.t, root));
        ti_json_doc doc = docs_parse(&w.d, text);
        preorder(root, w.list, w.parents, NULL, &w.count);
        assert_int_equal(w.count, doc.node_count);
        memset(w.dropped, 0, w.count);
        ti_json_edits_init(&edits, &doc, &w.d.arena);
        for (uint64_t k = test_random_below(&w.t.r, 8); k > 0; k--)
            edit_randomly(&w, &edits, &doc);
        ti_buf_init(&out, TREE_TEXT_MAX);
        test_ok(ti_json_edits_apply(&edits, &out, &w.d.err), &w.d.err);
        docs_same(&w.d, ti_buf_slice(&out), tree_print(&w.t, root));
        ti_buf_free(&out);
        ti_arena_reset(&w.d.arena);
    }
    docs_free(&w.d);
    trees_free(&w.t);
}

/* ---- limits and failures ---- */

static ti_status many_edits(const ti_json_doc *doc, ti_arena *a, ti_buf *out, ti_err *err)
{
    ti_json_edits edits;
    ti_json_edits_init(&edits, doc, a);
    TI_TRY(ti_json_edits_set_path(&edits, ti_json_root(doc), TI_SLICE("x.y"), TI_SLICE("1"), err));
    TI_TRY(ti_json_edits_set_path(&edits, ti_json_root(doc), TI_SLICE("x.z"), TI_SLICE("2"), err));
    for (int i = 0; i < 10; i++)
        TI_TRY(ti_json_edits_replace(&edits, at(doc, i % 2 == 0 ? "b" : "a"), TI_SLICE("3"), err));
    TI_TRY(ti_json_edits_remove_path(&edits, ti_json_root(doc), TI_SLICE("c"), err));
    return ti_json_edits_apply(&edits, out, err);
}

static void every_allocation_may_fail(void **state)
{
    bool done = false;
    docs d;
    (void)state;
    docs_init(&d);
    ti_json_doc doc = docs_text(&d, "{\"a\":1,\"b\":2,\"c\":3}");
    for (uint64_t n = 1; !done; n++) {
        ti_arena a;
        ti_buf out;
        int64_t live = ti_mem_live();
        assert_true(n < 100);
        ti_arena_init(&a);
        ti_buf_init(&out, 1000);
        ti_mem_fail_at(n);
        ti_status status = many_edits(&doc, &a, &out, &d.err);
        ti_mem_fail_at(0);
        done = status == TI_OK;
        assert_true(done || status == TI_OUT_OF_MEMORY);
        if (done)
            assert_true(ti_slice_equal(ti_buf_slice(&out),
                                       TI_SLICE("{\"a\":3,\"b\":3,\"x\":{\"y\":1,\"z\":2}}")));
        ti_buf_free(&out);
        ti_arena_free(&a);
        assert_int_equal(ti_mem_live(), live);
        assert_true(!done || n > 2);
    }
    docs_free(&d);
}

static void a_full_buffer_is_said(void **state)
{
    docs d;
    (void)state;
    docs_init(&d);
    ti_json_doc doc = docs_text(&d, "{\"a\":1,\"b\":2,\"c\":3}");
    for (size_t max = 1; max < strlen("{\"a\":3,\"b\":3,\"x\":{\"y\":1,\"z\":2}}"); max++) {
        ti_buf out;
        ti_buf_init(&out, max);
        test_status(many_edits(&doc, &d.arena, &out, &d.err), TI_LIMIT_EXCEEDED);
        ti_buf_free(&out);
    }
    docs_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(removing_deals_with_commas),
        cmocka_unit_test(setting_replaces_or_appends),
        cmocka_unit_test(elements_are_addressed_by_handle),
        cmocka_unit_test(the_later_edit_of_one_place_wins),
        cmocka_unit_test(paths_through_values_are_refused),
        cmocka_unit_test(random_edits_match_the_tree),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(a_full_buffer_is_said),
    };
    return TEST_RUN(tests);
}

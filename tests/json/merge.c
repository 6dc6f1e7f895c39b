/* RFC 7396: the examples of its appendix, and random documents against the naive tree. */
#include "json/docs.h"
#include "json/tree.h"

static void merges(docs *d, const char *target, const char *patch, const char *wanted)
{
    ti_json_doc t = docs_text(d, target == NULL ? "0" : target);
    ti_json_doc p = docs_text(d, patch);
    ti_json_value from = target == NULL ? TI_JSON_ABSENT : ti_json_root(&t);
    ti_buf out;
    ti_buf_init(&out, 100000);
    test_ok(ti_json_merge_patch(from, ti_json_root(&p), &d->arena, &out, &d->err), &d->err);
    if (!ti_slice_equal(ti_buf_slice(&out), ti_slice_of(wanted)))
        fail_msg("%s + %s: %.*s", target, patch, (int)out.len, out.data);
    ti_buf_free(&out);
}

static void examples_of_the_rfc(void **state)
{
    static const char *const cases[][3] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
        /* and more: bytes that stay are kept, escaped keys meet, nulls inside arrays stay */
        {"{ \"a\" : 1.50 , \"\\u0062\":2}", "{\"b\":3}", "{\"a\":1.50,\"b\":3}"},
        {"{\"a\":1}", "{\"b\":[null,{\"c\":null}]}", "{\"a\":1,\"b\":[null,{\"c\":null}]}"},
        {"{\"a\":12345678901234567890}", "{}", "{\"a\":12345678901234567890}"},
    };
    docs d;
    (void)state;
    docs_init(&d);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        merges(&d, cases[i][0], cases[i][1], cases[i][2]);
    merges(&d, NULL, "{\"a\":null,\"b\":{\"c\":null,\"d\":1}}", "{\"b\":{\"d\":1}}");
    merges(&d, NULL, "7", "7");
    docs_free(&d);
}

/* The algorithm of the RFC, on trees. target may be NULL. */
static tree *tree_merge(trees *t, const tree *target, const tree *patch)
{
    if (patch->type != 'o')
        return tree_copy(t, patch);
    tree *merged = tree_new(t, 'o', patch->key);
    if (target != NULL && target->type == 'o')
        merged = tree_copy(t, target);
    merged->key = patch->key;
    for (size_t i = 0; i < patch->count; i++) {
        const tree *change = patch->children[i];
        tree *old = tree_child(merged, change->key);
        bool null = change->type == 's' && strcmp(change->text, "null") == 0;
        if (null) {
            if (old != NULL)
                old->removed = true;
            continue;
        }
        tree *child = tree_merge(t, old, change);
        if (old != NULL)
            *old = *child;
        else
            merged->children[merged->count++] = child;
    }
    return merged;
}

static void random_patches_match_the_tree(void **state)
{
    trees t;
    docs d;
    (void)state;
    trees_init(&t, 4);
    docs_init(&d);
    for (uint64_t n = test_scaled(40000); n > 0; n--) {
        ti_buf out;
        t.used = 0;
        tree *target = tree_random(&t, NULL, 3);
        tree *patch = tree_random(&t, NULL, 3);
        ti_json_doc a = docs_parse(&d, ti_arena_copy(&d.arena, tree_print(&t, target)));
        ti_json_doc b = docs_parse(&d, ti_arena_copy(&d.arena, tree_print(&t, patch)));
        ti_buf_init(&out, TREE_TEXT_MAX);
        test_ok(ti_json_merge_patch(ti_json_root(&a), ti_json_root(&b), &d.arena, &out, &d.err),
                &d.err);
        docs_same(&d, ti_buf_slice(&out), tree_print(&t, tree_merge(&t, target, patch)));
        ti_buf_free(&out);
        ti_arena_reset(&d.arena);
    }
    docs_free(&d);
    trees_free(&t);
}

static void failing_memory_and_full_buffers_are_said(void **state)
{
    bool done = false;
    docs d;
    (void)state;
    docs_init(&d);
    ti_json_doc a = docs_text(&d, "{\"a\":\"b\",\"c\\n\":{\"d\":1}}");
    ti_json_doc b = docs_text(&d, "{\"c\\n\":{\"d\":2,\"e\":3},\"f\":4}");
    const char *wanted = "{\"a\":\"b\",\"c\\n\":{\"d\":2,\"e\":3},\"f\":4}";
    for (uint64_t n = 1; !done; n++) {
        ti_arena arena;
        ti_buf out;
        int64_t live = ti_mem_live();
        assert_true(n < 100);
        ti_arena_init(&arena);
        ti_buf_init(&out, 1000);
        ti_mem_fail_at(n);
        ti_status status =
            ti_json_merge_patch(ti_json_root(&a), ti_json_root(&b), &arena, &out, &d.err);
        ti_mem_fail_at(0);
        done = status == TI_OK;
        assert_true(done ? ti_slice_equal(ti_buf_slice(&out), ti_slice_of(wanted))
                         : status == TI_OUT_OF_MEMORY);
        ti_buf_free(&out);
        ti_arena_free(&arena);
        assert_int_equal(ti_mem_live(), live);
        assert_true(!done || n > 2);
    }
    for (size_t max = 1; max < strlen(wanted); max++) {
        ti_buf out;
        ti_buf_init(&out, max);
        test_status(ti_json_merge_patch(ti_json_root(&a), ti_json_root(&b), &d.arena, &out, &d.err),
                    TI_LIMIT_EXCEEDED);
        ti_buf_free(&out);
    }
    docs_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_of_the_rfc),
        cmocka_unit_test(random_patches_match_the_tree),
        cmocka_unit_test(failing_memory_and_full_buffers_are_said),
    };
    return TEST_RUN(tests);
}

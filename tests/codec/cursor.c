/* Cursor tokens: every changed, cut, swapped or foreign one is refused. */
#include "golden/golden.h"

#include "base/limits.h"
#include "codec/cursor.h"

#define SECRET TI_SLICE("0123456789abcdef0123456789abcdef")

static ti_cursor_scope scope_make(void)
{
    return (ti_cursor_scope){
        .name_space = TI_SLICE("shop"),
        .table = TI_SLICE("post"),
        .index = TI_SLICE("by_author"),
        .index_version = 1,
        .reverse = false,
        .lo = TI_SLICE("lo"),
        .hi = TI_SLICE("lp"),
        .extra = TI_SLICE(""),
    };
}

static void tokens_open_where_they_were_made(void **state)
{
    test_random r = test_random_start(1);
    ti_arena a;
    ti_err err;
    ti_cursor_scope scope = scope_make();
    (void)state;
    ti_arena_init(&a);
    for (size_t len = 1; len <= TI_KEY_SIZE_MAX; len += len < 100 ? 1 : 333) {
        static char bytes[TI_KEY_SIZE_MAX];
        ti_slice token;
        ti_slice key;
        test_random_fill(&r, bytes, len);
        test_ok(ti_cursor_seal(&a, SECRET, &scope, (ti_slice){bytes, len}, &token, &err), &err);
        for (size_t i = 0; i < token.len; i++)
            assert_true(token.data[i] == '-' || token.data[i] == '_' ||
                        (token.data[i] >= '0' && token.data[i] <= 'z'));
        assert_int_equal(token.data[token.len], '\0');
        test_ok(ti_cursor_open(&a, SECRET, &scope, token, &key, &err), &err);
        assert_true(ti_slice_equal(key, (ti_slice){bytes, len}));
        ti_arena_reset(&a);
    }
    ti_arena_free(&a);
}

static void golden_token(void **state)
{
    ti_arena a;
    ti_err err;
    ti_slice token;
    ti_cursor_scope scope = scope_make();
    (void)state;
    ti_arena_init(&a);
    test_ok(ti_cursor_seal(&a, SECRET, &scope, TI_SLICE("index:post:by_author:x"), &token, &err),
            &err);
    golden_check("cursor.txt", "token", token);
    ti_arena_free(&a);
}

/* Every letter in every place, every cut, every appended letter: only the token itself opens. */
static void changed_tokens_are_refused(void **state)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. \n";
    ti_arena a;
    ti_err err;
    ti_cursor_scope scope = scope_make();
    (void)state;
    ti_arena_init(&a);
    for (size_t len = 1; len <= 3; len++) { /* all three ways base64 can end */
        ti_slice token;
        ti_slice key;
        test_ok(ti_cursor_seal(&a, SECRET, &scope, (ti_slice){"abc", len}, &token, &err), &err);
        char text[128];
        memcpy(text, token.data, token.len);
        for (size_t i = 0; i < token.len; i++)
            for (size_t c = 0; c < sizeof alphabet; c++) { /* its NUL too */
                text[i] = alphabet[c];
                ti_status status =
                    ti_cursor_open(&a, SECRET, &scope, (ti_slice){text, token.len}, &key, &err);
                assert_int_equal(status,
                                 alphabet[c] == token.data[i] ? TI_OK : TI_INVALID_ARGUMENT);
                text[i] = token.data[i];
            }
        for (size_t cut = 0; cut < token.len; cut++)
            test_status(ti_cursor_open(&a, SECRET, &scope, (ti_slice){text, cut}, &key, &err),
                        TI_INVALID_ARGUMENT);
        for (size_t c = 0; c < sizeof alphabet; c++) {
            text[token.len] = alphabet[c];
            test_status(
                ti_cursor_open(&a, SECRET, &scope, (ti_slice){text, token.len + 1}, &key, &err),
                TI_INVALID_ARGUMENT);
        }
        ti_arena_reset(&a);
    }
    ti_arena_free(&a);
}

static void tokens_of_other_queries_are_refused(void **state)
{
    ti_arena a;
    ti_err err;
    ti_slice token;
    ti_slice key;
    ti_cursor_scope made = scope_make();
    (void)state;
    ti_arena_init(&a);
    test_ok(ti_cursor_seal(&a, SECRET, &made, TI_SLICE("key"), &token, &err), &err);
    ti_cursor_scope others[16];
    size_t count = sizeof others / sizeof *others;
    for (size_t i = 0; i < count; i++)
        others[i] = made;
    others[0].name_space = TI_SLICE("sho");
    others[1].table = TI_SLICE("posts");
    others[2].index = TI_SLICE("by_autho");
    others[3].index_version = 2;
    others[4].reverse = true;
    others[5].lo = TI_SLICE("lo\0");
    others[6].hi = TI_SLICE("lq");
    others[7].extra = TI_SLICE("x");
    others[8].hi = TI_SLICE_NONE;
    others[9].name_space = TI_SLICE("shopp"); /* bytes moved from one slot to the next */
    others[9].table = TI_SLICE("ost");
    others[10].table = TI_SLICE("postb");
    others[10].index = TI_SLICE("y_author");
    others[11].lo = TI_SLICE("lol");
    others[11].hi = TI_SLICE("p");
    others[12].lo = TI_SLICE("");
    others[13].index = TI_SLICE("");
    others[14].table = TI_SLICE("");
    others[15].name_space = TI_SLICE("");
    for (size_t i = 0; i < count; i++)
        test_status(ti_cursor_open(&a, SECRET, &others[i], token, &key, &err), TI_INVALID_ARGUMENT);
    test_status(
        ti_cursor_open(&a, TI_SLICE("0123456789abcdef0123456789abcdeF"), &made, token, &key, &err),
        TI_INVALID_ARGUMENT);
    test_ok(ti_cursor_open(&a, SECRET, &made, token, &key, &err), &err);
    ti_arena_free(&a);
}

static void random_texts_are_refused(void **state)
{
    test_random r = test_random_start(2);
    ti_arena a;
    ti_err err;
    ti_slice key;
    ti_cursor_scope scope = scope_make();
    (void)state;
    ti_arena_init(&a);
    for (uint64_t n = test_scaled(200000); n > 0; n--) {
        char text[96];
        size_t len = test_random_below(&r, sizeof text);
        for (size_t i = 0; i < len; i++)
            text[i] = "ABCDwxyz0189-_"[test_random_below(&r, 14)];
        if (len > 1)
            memcpy(text, "AQ", 2); /* the right version */
        test_status(ti_cursor_open(&a, SECRET, &scope, (ti_slice){text, len}, &key, &err),
                    TI_INVALID_ARGUMENT);
        ti_arena_reset(&a);
    }
    static char longest[TI_CURSOR_SIZE_MAX + 4];
    memset(longest, 'A', sizeof longest);
    test_status(ti_cursor_open(&a, SECRET, &scope, (ti_slice){longest, sizeof longest}, &key, &err),
                TI_INVALID_ARGUMENT);
    ti_arena_free(&a);
}

static void misuse_and_failing_memory_are_said(void **state)
{
    static char longest[TI_CURSOR_SIZE_MAX];
    ti_cursor_scope scope = scope_make();
    ti_arena a;
    ti_err err;
    ti_slice token;
    ti_slice key;
    (void)state;
    ti_arena_init(&a);
    test_status(ti_cursor_seal(&a, TI_SLICE("short"), &scope, TI_SLICE("k"), &token, &err),
                TI_INVALID_ARGUMENT);
    test_status(ti_cursor_open(&a, TI_SLICE("short"), &scope, TI_SLICE("AQ"), &key, &err),
                TI_INVALID_ARGUMENT);
    test_status(ti_cursor_seal(&a, SECRET, &scope, TI_SLICE(""), &token, &err),
                TI_INVALID_ARGUMENT);
    test_status(
        ti_cursor_seal(&a, SECRET, &scope, (ti_slice){longest, sizeof longest}, &token, &err),
        TI_LIMIT_EXCEEDED);
    test_ok(ti_cursor_seal(&a, SECRET, &scope, TI_SLICE("k"), &token, &err), &err);
    for (int opening = 0; opening < 2; opening++)
        for (uint64_t nth = 1, done = 0; done == 0; nth++) {
            ti_arena b;
            ti_slice made;
            int64_t live = ti_mem_live();
            assert_true(nth < 20);
            ti_arena_init(&b);
            ti_mem_fail_at(nth);
            ti_status status = opening == 1
                                   ? ti_cursor_open(&b, SECRET, &scope, token, &key, &err)
                                   : ti_cursor_seal(&b, SECRET, &scope, TI_SLICE("k"), &made, &err);
            ti_mem_fail_at(0);
            ti_arena_free(&b);
            assert_int_equal(ti_mem_live(), live);
            assert_true(status == TI_OK || status == TI_OUT_OF_MEMORY);
            done = status == TI_OK;
            assert_true(done == 0 || nth > 1);
        }
    ti_arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_open_where_they_were_made),
        cmocka_unit_test(golden_token),
        cmocka_unit_test(changed_tokens_are_refused),
        cmocka_unit_test(tokens_of_other_queries_are_refused),
        cmocka_unit_test(random_texts_are_refused),
        cmocka_unit_test(misuse_and_failing_memory_are_said),
    };
    return TEST_RUN(tests);
}

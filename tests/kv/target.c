/* The forms of connection targets. */
#include "support/test.h"

#include "kv/target.h"

typedef struct good {
    const char *text;
    ti_target_kind kind;
    const char *first; /* the path, or the first endpoint */
    size_t endpoints;
} good;

static void accepted_forms(void **state)
{
    static const good forms[] = {
        {"./blog-data", TI_TARGET_ROCKSDB, "./blog-data", 0},
        {"/var/lib/x", TI_TARGET_ROCKSDB, "/var/lib/x", 0},
        {"data", TI_TARGET_ROCKSDB, "data", 0},
        {"a b", TI_TARGET_ROCKSDB, "a b", 0},
        {"./host:2379", TI_TARGET_ROCKSDB, "./host:2379", 0},
        {"/a,b", TI_TARGET_ROCKSDB, "/a,b", 0},
        {"rocksdb:data", TI_TARGET_ROCKSDB, "data", 0},
        {"rocksdb:/d/e", TI_TARGET_ROCKSDB, "/d/e", 0},
        {"rocksdb:host:2379", TI_TARGET_ROCKSDB, "host:2379", 0},
        {"memory:", TI_TARGET_MEMORY, NULL, 0},
        {"tikv://pd1:2379", TI_TARGET_TIKV, "pd1:2379", 1},
        {"tikv://pd1:2379,pd2:2380", TI_TARGET_TIKV, "pd1:2379", 2},
        {"pd1:2379", TI_TARGET_TIKV, "pd1:2379", 1},
        {"10.0.0.1:2379,b:1,c_d-e.f:65535", TI_TARGET_TIKV, "10.0.0.1:2379", 3},
        {"[::1]:2379", TI_TARGET_TIKV, "[::1]:2379", 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        ti_arena a;
        ti_target target;
        ti_err err;
        ti_arena_init(&a);
        test_ok(ti_target_parse(ti_slice_of(forms[i].text), &a, &target, &err), &err);
        assert_int_equal(target.kind, forms[i].kind);
        assert_int_equal(target.endpoint_count, forms[i].endpoints);
        if (forms[i].kind == TI_TARGET_ROCKSDB)
            assert_string_equal(target.path.data, forms[i].first);
        if (forms[i].kind == TI_TARGET_TIKV)
            assert_string_equal(target.endpoints[0].data, forms[i].first);
        ti_arena_free(&a);
    }
}

static void refused_forms(void **state)
{
    static const ti_slice forms[] = {
        TI_SLICE(""),
        TI_SLICE("rocksdb:"),
        TI_SLICE("memory:x"),
        TI_SLICE("tikv://"),
        TI_SLICE("tikv://pd1"),
        TI_SLICE("tikv://pd1:2379,"),
        TI_SLICE("tikv://,pd1:2379"),
        TI_SLICE("tikv://pd1:2379/path"),
        TI_SLICE("tikv://user@pd1:2379"),
        TI_SLICE("pd1:"),
        TI_SLICE("pd1:0"),
        TI_SLICE("pd1:65536"),
        TI_SLICE("pd1:123456"),
        TI_SLICE("pd1:2379x"),
        TI_SLICE(":2379"),
        TI_SLICE("pd1,pd2"),
        TI_SLICE("pd1:2379,pd2"),
        TI_SLICE("[::1:2379"),
        TI_SLICE("[]:2379"),
        TI_SLICE("redis://localhost:6379"),
        TI_SLICE("da\0ta"),
        TI_SLICE("tikv://p\0d:1"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        ti_arena a;
        ti_target target;
        ti_err err;
        ti_arena_init(&a);
        assert_int_equal(ti_target_parse(forms[i], &a, &target, &err), TI_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, "memory:"));
        assert_non_null(strstr(err.message, "tikv://"));
        ti_arena_free(&a);
    }
}

static void many_endpoints(void **state)
{
    char text[1024];
    size_t len = 0;
    ti_arena a;
    ti_target target;
    ti_err err;
    (void)state;
    ti_arena_init(&a);
    for (int i = 0; i < TI_TARGET_ENDPOINTS_MAX; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%spd%d:1", i == 0 ? "" : ",", i);
    test_ok(ti_target_parse((ti_slice){.data = text, .len = len}, &a, &target, &err), &err);
    assert_int_equal(target.endpoint_count, TI_TARGET_ENDPOINTS_MAX);
    len += (size_t)snprintf(text + len, sizeof(text) - len, ",more:1");
    test_status(ti_target_parse((ti_slice){.data = text, .len = len}, &a, &target, &err),
                TI_INVALID_ARGUMENT);
    ti_arena_free(&a);
}

/* Any bytes: an answer, never a crash. */
static void random_bytes(void **state)
{
    static const char alphabet[] = "rocksdb:tikv/memory:,.[]019ap-_@ \0\n";
    test_random r = test_random_start(2);
    (void)state;
    for (uint64_t i = 0; i < test_scaled(100000); i++) {
        char text[40];
        size_t len = test_random_below(&r, sizeof(text));
        ti_arena a;
        ti_target target;
        for (size_t j = 0; j < len; j++)
            text[j] = alphabet[test_random_below(&r, sizeof(alphabet) - 1)];
        ti_arena_init(&a);
        ti_status status = ti_target_parse((ti_slice){.data = text, .len = len}, &a, &target, NULL);
        assert_true(status == TI_OK || status == TI_INVALID_ARGUMENT);
        assert_true(status != TI_OK || target.kind != TI_TARGET_TIKV || target.endpoint_count > 0);
        ti_arena_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_forms),
        cmocka_unit_test(refused_forms),
        cmocka_unit_test(many_endpoints),
        cmocka_unit_test(random_bytes),
    };
    return TEST_RUN(tests);
}

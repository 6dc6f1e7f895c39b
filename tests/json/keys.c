/* Keys of one object: duplicates found by pairs, by slots and by sorting; hostile keys cost little;
 * members are found. */
#include "json/docs.h"

#include "json/json_int.h"

#define TEXT_SIZE (1024 * 1024)

/* An object of n keys "k0" … whose key number again (if below n) stands once more at the end. */
static ti_slice object_make(char *text, size_t n, size_t again)
{
    maker m = {.text = text, .len = 0, .size = TEXT_SIZE};
    maker_put(&m, "{");
    for (size_t i = 0; i < n; i++)
        maker_put(&m, "%s\"k%zu\":%zu", i == 0 ? "" : ",", i, i);
    if (again < n)
        maker_put(&m, ",\"k%zu\":0", again);
    maker_put(&m, "}");
    return maker_slice(&m);
}

static void duplicates_are_found_in_objects_of_any_size(void **state)
{
    static const size_t sizes[] = {1, 2, 7, 8, 9, 15, 16, 17, 33, 100, 5000, 60000};
    char *text = malloc(TEXT_SIZE);
    docs d;
    (void)state;
    assert_non_null(text);
    docs_init(&d);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s];
        ti_json_doc doc = docs_parse(&d, object_make(text, n, n));
        assert_int_equal(ti_json_count(ti_json_root(&doc)), n);
        for (size_t again = 0; again < n; again += n < 40 ? 1 : n / 5)
            test_status(docs_try(&d, object_make(text, n, again)), TI_INVALID_ARGUMENT);
        ti_arena_reset(&d.arena);
    }
    docs_free(&d);
    free(text);
}

/* The hash of members.c, written down once more: keys that collide are made with it. If it changes
 * there, colliding_keys_are_sorted fails for want of the proof that sorting took place. */
static uint64_t hash_of(const char *key, size_t len)
{
    uint64_t word = 0;
    assert_true(len <= sizeof word);
    memcpy(&word, key, len);
    uint64_t mixed = (uint64_t)len * 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ word) * 0xff51afd7ed558ccdu;
    return mixed ^ mixed >> 32;
}

/* Keys that all begin their search in one slot push it over to sorting. */
static void colliding_keys_are_sorted(void **state)
{
    enum { KEYS = 40, TRIES = 400000 };
    static char texts[KEYS + 1][16];
    static ti_json_member members[KEYS + 1];
    static ti_json_member scratch[256];
    uint32_t node;
    size_t found = 0;
    (void)state;
    for (uint64_t i = 0; i < TRIES && found < KEYS; i++) {
        char key[16];
        int len = snprintf(key, sizeof key, "%07llx", (unsigned long long)i);
        if ((hash_of(key, (size_t)len) & 127) == 5)
            memcpy(texts[found++], key, sizeof key);
    }
    assert_int_equal(found, KEYS);
    for (size_t again = 0; again <= KEYS; again++) {
        for (size_t i = 0; i < KEYS; i++)
            members[i] = (ti_json_member){texts[i], 7, (uint32_t)i};
        members[KEYS] = (ti_json_member){again < KEYS ? texts[again] : "unique!", 7, KEYS};
        bool twice = ti_json_members_twice(members, KEYS + 1, scratch, &node);
        assert_int_equal(twice, again < KEYS);
        assert_int_equal(node, twice ? KEYS : 0);
        if (!twice) /* proof that it was sorted: the order has changed */
            for (size_t i = 1; i <= KEYS; i++)
                assert_true(memcmp(members[i - 1].key, members[i].key, 7) < 0);
    }
}

/* The best of a few runs. */
static double seconds_to_parse(docs *d, ti_slice text)
{
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        int64_t from = ti_env_mono_ns(ti_env_real());
        assert_int_equal(docs_try(d, text), TI_OK);
        double took = (double)(ti_env_mono_ns(ti_env_real()) - from) / 1e9;
        best = took < best ? took : best;
        ti_arena_reset(&d->arena);
    }
    return best;
}

/* An object full of colliding keys costs what sorting costs. */
static void hostile_keys_cost_little(void **state)
{
    enum { KEYS = 20000 };
    char *text = malloc(TEXT_SIZE);
    maker m = {.text = text, .len = 0, .size = TEXT_SIZE};
    size_t found = 0;
    docs d;
    (void)state;
    assert_non_null(text);
    docs_init(&d);
    double harmless = seconds_to_parse(&d, object_make(text, KEYS, KEYS));
    maker_put(&m, "{");
    for (uint64_t i = 0; found < KEYS; i++) { /* low 8 bits of the hash alike */
        char key[24];
        snprintf(key, sizeof key, "%08llx", (unsigned long long)i);
        if ((hash_of(key, 8) & 255) == 1)
            maker_put(&m, "%s\"%s\":1", found++ == 0 ? "" : ",", key);
    }
    maker_put(&m, "}");
    double hostile = seconds_to_parse(&d, maker_slice(&m));
    if (hostile > harmless * 20 + 0.02)
        fail_msg("%d hostile keys took %.4f s, harmless ones %.4f s", KEYS, hostile, harmless);
    docs_free(&d);
    free(text);
}

static void members_are_sorted_and_found(void **state)
{
    test_random r = test_random_start(1);
    docs d;
    char *text = malloc(TEXT_SIZE);
    (void)state;
    assert_non_null(text);
    docs_init(&d);
    for (uint64_t n = test_scaled(300); n > 0; n--) {
        size_t count = test_random_below(&r, 300);
        ti_json_doc doc = docs_parse(&d, object_make(text, count, count));
        ti_json_member *members = NULL;
        test_ok(ti_json_members_of(ti_json_root(&doc), &d.arena, &members, &d.err), &d.err);
        for (size_t i = 0; i < count + 3; i++) {
            char key[16];
            int len = snprintf(key, sizeof key, "k%zu", i);
            const ti_json_member *m =
                ti_json_members_find(members, count, (ti_slice){key, (size_t)len});
            assert_int_equal(m != NULL, i < count);
            if (m != NULL)
                assert_int_equal(ti_json_int((ti_json_value){&doc, m->node}), i);
        }
        ti_arena_reset(&d.arena);
    }
    docs_free(&d);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duplicates_are_found_in_objects_of_any_size),
        cmocka_unit_test(colliding_keys_are_sorted),
        cmocka_unit_test(hostile_keys_cost_little),
        cmocka_unit_test(members_are_sorted_and_found),
    };
    return TEST_RUN(tests);
}

/* The write set against a naive model: every combination of writes, random ones, places. */
#include "support/test.h"

#include "kv/writes_int.h"

#define KEYS 300

/* What the model knows of one key. */
typedef struct model_key {
    bool used;
    int kind;
    char value[24];
} model_key;

static ti_slice key_of(unsigned n, char out[16])
{
    int len = snprintf(out, 16, "k%05u", n);
    return (ti_slice){.data = out, .len = (size_t)len};
}

/* The documented table, written down a second time. */
static int expected_kind(int before, ti_mutation_kind next)
{
    static const int table[6][4] = {
        /*            PUT              DELETE              INSERT              LOCK */
        /* PUT */ {TI_MUTATION_PUT, TI_MUTATION_DELETE, -1, TI_MUTATION_PUT},
        /* DELETE */ {TI_MUTATION_PUT, TI_MUTATION_DELETE, TI_MUTATION_PUT, TI_MUTATION_DELETE},
        /* INSERT */ {TI_MUTATION_INSERT, TI_MUTATION_ABSENT, -1, TI_MUTATION_INSERT},
        /* LOCK */ {TI_MUTATION_PUT, TI_MUTATION_DELETE, TI_MUTATION_INSERT, TI_MUTATION_LOCK},
        /* ABSENT */
        {TI_MUTATION_INSERT, TI_MUTATION_ABSENT, TI_MUTATION_INSERT, TI_MUTATION_ABSENT},
        /* none */ {TI_MUTATION_PUT, TI_MUTATION_DELETE, TI_MUTATION_INSERT, TI_MUTATION_LOCK},
    };
    return table[before == TI_WRITE_NONE ? 5 : before][next];
}

static bool is_valued(ti_mutation_kind kind)
{
    return kind == TI_MUTATION_PUT || kind == TI_MUTATION_INSERT;
}

/* Applies one write to both; they must agree on the answer. */
static void apply(ti_writes *w, model_key *model, unsigned n, ti_mutation_kind kind, unsigned tag)
{
    char key[16];
    char value[24];
    int len = snprintf(value, sizeof(value), "v%u", tag);
    ti_slice bytes =
        is_valued(kind) ? (ti_slice){.data = value, .len = (size_t)len} : TI_SLICE_NONE;
    int next = expected_kind(model[n].used ? model[n].kind : TI_WRITE_NONE, kind);
    ti_status status = ti_writes_apply(w, kind, key_of(n, key), bytes);
    memset(key, 'z', sizeof(key)); /* it keeps copies */
    memset(value, 0, (size_t)(next < 0));
    if (next < 0) {
        assert_int_equal(status, TI_ALREADY_EXISTS);
        return;
    }
    assert_int_equal(status, TI_OK);
    model[n].used = true;
    model[n].kind = next;
    if (is_valued(kind))
        memcpy(model[n].value, value, sizeof(value));
}

static void check_view(const ti_writes *w, const model_key *model, unsigned n)
{
    char key[16];
    ti_slice value;
    const ti_write *write = ti_writes_find(w, key_of(n, key));
    ti_write_view view = ti_write_view_of(write, &value);
    assert_int_equal(write != NULL, model[n].used);
    if (!model[n].used || model[n].kind == TI_MUTATION_LOCK) {
        assert_int_equal(view, TI_VIEW_SILENT);
    } else if (is_valued((ti_mutation_kind)model[n].kind)) {
        assert_int_equal(view, TI_VIEW_SHOWS);
        assert_int_equal(value.len, strlen(model[n].value));
        assert_memory_equal(value.data, model[n].value, value.len);
    } else {
        assert_int_equal(view, TI_VIEW_HIDES);
    }
}

/* Order, counts and mutations of the whole set. */
static void check_all(const ti_writes *w, const model_key *model)
{
    size_t count;
    size_t n = 0;
    const ti_mutation *mutations = ti_writes_mutations(w, &count);
    assert_non_null(mutations);
    for (unsigned i = 0; i < KEYS; i++) {
        char key[16];
        check_view(w, model, i);
        if (!model[i].used)
            continue;
        assert_true(ti_slice_equal(mutations[n].key, key_of(i, key)));
        assert_int_equal(mutations[n].kind, model[i].kind);
        assert_int_equal(mutations[n].value.len > 0, is_valued((ti_mutation_kind)model[i].kind));
        n++;
    }
    assert_int_equal(n, count);
    assert_int_equal(n, w->count);
    assert_int_equal(n, w->mutations);
}

/* Places: forward and backward from a random key. */
static void check_places(const ti_writes *w, const model_key *model, unsigned from)
{
    char key[16];
    ti_writes_at at = ti_writes_seek(w, key_of(from, key));
    ti_writes_at back = at;
    for (unsigned i = from; i < KEYS; i++) {
        if (!model[i].used)
            continue;
        const ti_write *write = ti_writes_get(w, at);
        assert_non_null(write);
        assert_true(ti_slice_equal(write->key, key_of(i, key)));
        at = ti_writes_next(w, at);
    }
    assert_null(ti_writes_get(w, at));
    ti_writes_at end = ti_writes_end(w);
    assert_null(ti_writes_get(w, end));
    for (unsigned i = from; i-- > 0;) {
        if (!model[i].used)
            continue;
        const ti_write *write = ti_writes_before(w, &back);
        assert_non_null(write);
        assert_true(ti_slice_equal(write->key, key_of(i, key)));
    }
    assert_null(ti_writes_before(w, &back));
}

static void every_pair_of_writes_combines(void **state)
{
    static const ti_mutation_kind kinds[] = {TI_MUTATION_PUT, TI_MUTATION_DELETE,
                                             TI_MUTATION_INSERT, TI_MUTATION_LOCK};
    (void)state;
    for (unsigned i = 0; i < 64; i++) {
        model_key model[KEYS] = {{.used = false}};
        ti_arena a;
        ti_writes w;
        ti_arena_init(&a);
        ti_writes_init(&w, &a);
        apply(&w, model, 7, kinds[i % 4], 1);
        apply(&w, model, 7, kinds[i / 4 % 4], 2);
        apply(&w, model, 7, kinds[i / 16], 3);
        check_all(&w, model);
        ti_arena_free(&a);
    }
}

static void random_writes_match_the_model(void **state)
{
    test_random r = test_random_start(1);
    (void)state;
    for (uint64_t round = 0; round < test_scaled(200); round++) {
        model_key model[KEYS] = {{.used = false}};
        unsigned span = 1 + (unsigned)test_random_below(&r, KEYS);
        unsigned writes = (unsigned)test_random_below(&r, 600);
        unsigned rising = (unsigned)test_random_below(&r, 2);
        ti_arena a;
        ti_writes w;
        ti_arena_init(&a);
        ti_writes_init(&w, &a);
        for (unsigned i = 0; i < writes; i++) {
            unsigned n = rising ? i % span : (unsigned)test_random_below(&r, span);
            apply(&w, model, n, (ti_mutation_kind)test_random_below(&r, 4), i);
        }
        check_all(&w, model);
        for (int i = 0; i < 20; i++)
            check_places(&w, model, (unsigned)test_random_below(&r, KEYS));
        ti_arena_free(&a);
    }
}

static void locked_keys_show_what_was_found(void **state)
{
    ti_arena a;
    ti_writes w;
    ti_slice value;
    size_t count;
    ti_locked found = {.value = TI_SLICE("new"), .found = true, .ts = 7};
    ti_locked absent = {.found = false, .ts = 9};
    (void)state;
    ti_arena_init(&a);
    ti_writes_init(&w, &a);
    assert_int_equal(ti_writes_add_locked(&w, TI_SLICE("a"), &found), TI_OK);
    assert_int_equal(ti_writes_add_locked(&w, TI_SLICE("b"), &absent), TI_OK);
    assert_int_equal(w.mutations, 0);
    assert_int_equal(ti_write_view_of(ti_writes_find(&w, TI_SLICE("a")), &value), TI_VIEW_SHOWS);
    assert_true(ti_slice_equal(value, TI_SLICE("new")));
    assert_int_equal(ti_write_view_of(ti_writes_find(&w, TI_SLICE("b")), &value), TI_VIEW_HIDES);
    assert_int_equal(ti_writes_apply(&w, TI_MUTATION_PUT, TI_SLICE("b"), TI_SLICE("mine")), TI_OK);
    assert_int_equal(w.mutations, 1);
    const ti_mutation *mutations = ti_writes_mutations(&w, &count);
    assert_int_equal(count, 2);
    assert_int_equal(mutations[0].kind, TI_MUTATION_LOCK);
    assert_int_equal(mutations[0].check_ts, 7);
    assert_int_equal(mutations[1].kind, TI_MUTATION_PUT);
    assert_int_equal(mutations[1].check_ts, 9);
    ti_arena_free(&a);
}

static void no_memory_changes_nothing(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 40; n++) {
        model_key model[KEYS] = {{.used = false}};
        ti_arena a;
        ti_writes w;
        ti_arena_init(&a);
        ti_writes_init(&w, &a);
        for (unsigned i = 0; i < 9; i++)
            apply(&w, model, i * 2, TI_MUTATION_PUT, i);
        ti_mem_fail_at(n);
        for (unsigned i = 0; i < 20; i++) {
            char key[16];
            ti_status status =
                ti_writes_apply(&w, TI_MUTATION_PUT, key_of(i, key), TI_SLICE("later"));
            if (status == TI_OUT_OF_MEMORY)
                break;
            model[i] = (model_key){.used = true, .kind = TI_MUTATION_PUT, .value = "later"};
        }
        ti_mem_fail_at(0);
        check_all(&w, model);
        ti_arena_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_writes_combines),
        cmocka_unit_test(random_writes_match_the_model),
        cmocka_unit_test(locked_keys_show_what_was_found),
        cmocka_unit_test(no_memory_changes_nothing),
    };
    return TEST_RUN(tests);
}

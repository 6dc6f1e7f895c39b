/* Threads: writers go on while indexes are built, changed and dropped, from several stores;
 * afterwards every record agrees with its entries. */
#include "base/thread.h"
#include "model/support.h"

#define WRITERS 4
#define IDS 60

#define NAME_INDEX "{\"name\":\"by_name\",\"fields\":[{\"name\":\"name\",\"type\":\"string\"}]}"
#define AGE_INDEX(version, more)                                                                   \
    "{\"name\":\"by_age\",\"version\":" version                                                    \
    ",\"fields\":[{\"name\":\"age\",\"type\":\"number\"}" more "]}"
#define EVEN_INDEX                                                                                 \
    "{\"name\":\"even\",\"fields\":[{\"name\":\"age\",\"type\":\"number\"}],\"condition\":"        \
    "\"host\"}"
#define TABLE(indexes) "{\"table\":\"user\",\"indexes\":[" indexes "]}"

typedef struct writer {
    ti_thread thread;
    db d;
    const char *spec;
    test_random r;
    bool knows_even;
    _Atomic(bool) *stop;
    _Atomic(uint64_t) done;
    uint64_t refused;
} writer;

static void write_something(writer *w, ti_model *m, test_random *r)
{
    char json[160];
    char id[16];
    unsigned age = (unsigned)test_random_below(r, 100);
    snprintf(id, sizeof id, "u%02u", (unsigned)test_random_below(r, IDS));
    snprintf(json, sizeof json,
             "{\"id\":\"%s\",\"name\":\"n%u\",\"tags\":[\"a\",\"t%u\"],\"age\":%u}", id,
             (unsigned)test_random_below(r, 9), age % 5, age);
    const ti_write write = {.conditions = w->knows_even && age % 2 == 0 ? 1 : 0};
    ti_status status;
    uint64_t dice = test_random_below(r, 10);
    if (dice < 4)
        status = ti_model_build(m, NULL, S(json), &write, &w->d.a, NULL, &w->d.call, &w->d.err);
    else if (dice < 8)
        status = ti_model_save(m, NULL, S(json), &write, &w->d.a, NULL, &w->d.call, &w->d.err);
    else
        status = ti_model_delete(m, NULL, S(id), NULL, NULL, &w->d.call, &w->d.err);
    ti_arena_reset(&w->d.a);
    if (status == TI_OK || status == TI_ALREADY_EXISTS)
        w->done++;
    else if (status == TI_SCHEMA_MISMATCH)
        w->refused++; /* an index that this writer does not know became readable */
    else
        EXPECT(&w->d, TI_OK, status);
}

static void *write_on(void *arg)
{
    writer *w = arg;
    ti_model *m = declare(&w->d, w->spec);
    while (!atomic_load(w->stop))
        write_something(w, m, &w->r);
    ti_model_unref(m);
    return NULL;
}

static uint64_t even(ti_slice document)
{
    char text[256];
    snprintf(text, sizeof text, "%.*s", (int)document.len, document.data);
    const char *age = strstr(text, "\"age\":");
    return age != NULL && strtol(age + 6, NULL, 10) % 2 == 0 ? 1 : 0;
}

static void start_writers(writer *writers, const db *base, bool leased, _Atomic(bool) *stop)
{
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (writer){
            .r = test_random_start(100 + (uint64_t)i), .stop = stop, .knows_even = i % 2 == 1};
        writers[i].spec = i % 2 == 1 ? TABLE(NAME_INDEX "," EVEN_INDEX) : TABLE(NAME_INDEX);
        db_open_beside(&writers[i].d, base, leased, 50000);
        OK(&writers[i].d,
           ti_thread_start(&writers[i].thread, "writer", write_on, &writers[i], &writers[i].d.err));
    }
}

/* Waits until every writer has written. */
static void wait_for_writers(const writer *writers)
{
    for (int i = 0; i < WRITERS; i++) {
        while (atomic_load(&writers[i].done) < 20)
            ti_env_real()->sleep_ns(ti_env_real(), 1000000);
    }
}

static void stop_writers(writer *writers, _Atomic(bool) *stop)
{
    uint64_t done = 0;
    uint64_t refused = 0;
    atomic_store(stop, true);
    for (int i = 0; i < WRITERS; i++) {
        ti_thread_join(&writers[i].thread);
        done += writers[i].done;
        refused += writers[i].refused;
        db_close(&writers[i].d);
    }
    print_message("%llu writes, %llu refused\n", (unsigned long long)done,
                  (unsigned long long)refused);
    assert_true(done > 0);
}

/* One index after the other is built under fire, and every record checked. */
static void evolve_under_writers(bool leased)
{
    db base;
    db mine;
    static writer writers[WRITERS];
    static const char *const specs[] = {
        TABLE(NAME_INDEX "," AGE_INDEX("1", "")),
        TABLE(NAME_INDEX "," AGE_INDEX("2", ",{\"name\":\"name\",\"type\":\"string\"}")),
        TABLE(NAME_INDEX "," AGE_INDEX("3", ",{\"name\":\"tags\",\"type\":\"string\"}")),
        TABLE(NAME_INDEX
              "," AGE_INDEX("3", ",{\"name\":\"tags\",\"type\":\"string\"}") "," EVEN_INDEX),
    };
    for (uint64_t round = 0; round < test_scaled(leased ? 2 : 6); round++) {
        _Atomic(bool) stop = false;
        db_open(&base, NULL);
        db_open_beside(&mine, &base, leased, 50000);
        ti_model *first = declare(&mine, TABLE(NAME_INDEX));
        OK(&mine, build(&mine, first, NULL, "{\"id\":\"begin\"}"));
        start_writers(writers, &base, leased, &stop);
        wait_for_writers(writers);
        for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
            ti_model *m = declare(&mine, specs[i]);
            reindex(&mine, m, even);
            assert_string_equal(check(&mine, m, false, even), "");
            if (i == 1)
                OK(&mine, ti_drop_index(mine.store, S("user"), S("by_age"), &mine.call, &mine.err));
            ti_model_unref(m);
        }
        stop_writers(writers, &stop);
        ti_model *last = declare(&mine, specs[3]);
        assert_string_equal(check(&mine, last, false, even), "");
        ti_model_unref(last);
        ti_model_unref(first);
        db_close(&mine);
        db_close(&base);
    }
}

static void in_one_process(void **state)
{
    (void)state;
    evolve_under_writers(false);
}

static void with_leases(void **state)
{
    (void)state;
    evolve_under_writers(true);
}

/* Many threads claim the same few values: each value has one owner at the end, and every loser was
 * told. */
typedef struct claimer {
    ti_thread thread;
    db d;
    ti_model *model;
    int number;
    int won;
} claimer;

#define CLAIMS 40

static void *claim(void *arg)
{
    claimer *c = arg;
    for (int i = 0; i < CLAIMS; i++) {
        char json[96];
        snprintf(json, sizeof json, "{\"id\":\"r%d-%d\",\"slug\":\"s%d\"}", c->number, i, i);
        ti_status status = build(&c->d, c->model, NULL, json);
        assert_true(status == TI_OK || status == TI_UNIQUE_VIOLATION);
        c->won += status == TI_OK;
    }
    return NULL;
}

static void unique_claims(void **state)
{
    db base;
    claimer claimers[WRITERS];
    int won = 0;
    (void)state;
    db_open(&base, NULL);
    for (int i = 0; i < WRITERS; i++) {
        claimers[i] = (claimer){.number = i};
        db_open_beside(&claimers[i].d, &base, false, 0);
        claimers[i].model = declare(
            &claimers[i].d, "{\"table\":\"t\",\"unique_indexes\":[{\"name\":\"u\",\"fields\":[{"
                            "\"name\":\"slug\",\"type\":\"string\"}]}]}");
        OK(&base, ti_thread_start(&claimers[i].thread, "claimer", claim, &claimers[i], &base.err));
    }
    for (int i = 0; i < WRITERS; i++) {
        ti_thread_join(&claimers[i].thread);
        won += claimers[i].won;
        if (i == WRITERS - 1)
            assert_string_equal(check(&claimers[i].d, claimers[i].model, false, NULL), "");
        ti_model_unref(claimers[i].model);
        db_close(&claimers[i].d);
    }
    assert_int_equal(won, CLAIMS);
    db_close(&base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_one_process),
        cmocka_unit_test(with_leases),
        cmocka_unit_test(unique_claims),
    };
    return TEST_RUN(tests);
}

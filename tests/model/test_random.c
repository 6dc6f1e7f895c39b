/* The model-based test: random schemas, documents, operations and queries generated from what is
 * stored, against the naive reference; in and out of transactions, in memory and on disk with
 * restarts, while indexes come and change. */
#include "model/reference.h"
#include "tikv/spaced.h"

#define OPERATIONS 120 /* of a round */

typedef struct world {
    db d;
    bool disk;
    char path[TEST_DIR_SIZE];
    test_random r;
    ref_index indexes[REF_INDEXES_MAX];
    int index_count;
    ti_model *model;
    ref_state now;
    ref_state then; /* before the open transaction */
    ti_txn *txn;
    bool doomed; /* the open transaction has claimed what another record holds */
    bool written[REF_DOCS_MAX];
    bool collides; /* it has built over a stored record: its commit will be refused */
    uint64_t queries;
    uint64_t operations;
    uint64_t collisions;
} world;

static world *the_world; /* for the host's conditions */

static uint64_t answer(ti_slice document)
{
    char id[24] = "";
    const char *text = T(document);
    assert_int_equal(sscanf(text, "{\"id\":\"%23[^\"]\"", id), 1);
    ref_doc *doc = ref_find(&the_world->now, id);
    assert_non_null(doc);
    return ref_conditions(the_world->indexes, the_world->index_count, doc);
}

static void declare_now(world *w)
{
    char spec[4096];
    ti_model_unref(w->model);
    ref_spec(w->indexes, w->index_count, spec, sizeof spec);
    w->model = declare(&w->d, spec);
}

/* ---- queries ---- */

static void compare_page(world *w, const ti_page *page, const ref_doc **expected, int from,
                         int limit, int count, bool keys)
{
    int left = count - from;
    int wanted = left < limit ? left : limit;
    assert_int_equal(page->count, wanted);
    for (int i = 0; i < wanted; i++) {
        assert_string_equal(T(page->items[i].id), expected[from + i]->id);
        if (!keys)
            assert_string_equal(T(page->items[i].json), expected[from + i]->json);
    }
    assert_int_equal(page->cursor.len > 0, left > limit);
    w->queries++;
}

static void run_query(world *w, const ref_index *index)
{
    static const ref_doc *expected[REF_DOCS_MAX];
    ref_query query;
    uint64_t counted;
    ti_arena a;
    ti_document first;
    ref_random_query(&w->r, &w->now, index, &query);
    int count = ref_run(&w->now, &query, expected);
    int limit = 1 + (int)test_random_below(&w->r, 12);
    bool keys = test_random_one_in(&w->r, 4);
    ti_query *q = ref_build(&w->d, w->model, &query);
    ti_query_keys_only(q, keys);
    OK(&w->d, ti_query_limit(q, limit, &w->d.err));
    for (int from = 0;; from += limit) {
        ti_page *page = NULL;
        OK(&w->d, ti_query_execute(q, w->txn, &page, &w->d.call, &w->d.err));
        compare_page(w, page, expected, from, limit, count, keys);
        OK(&w->d, ti_query_cursor(q, page->cursor, &w->d.err));
        bool more = page->cursor.len > 0;
        ti_page_free(page);
        if (!more)
            break;
    }
    OK(&w->d, ti_query_count(q, w->txn, &counted, &w->d.call, &w->d.err));
    assert_int_equal(counted, count);
    ti_arena_init(&a);
    ti_status status = ti_query_first(q, w->txn, &a, &first, &w->d.call, &w->d.err);
    EXPECT(&w->d, count > 0 ? TI_OK : TI_NOT_FOUND, status);
    if (count > 0)
        assert_string_equal(T(first.id), expected[0]->id);
    ti_arena_free(&a);
    ti_query_free(q);
}

static void run_queries(world *w, int n)
{
    for (int i = 0; i < n; i++) {
        uint64_t k = test_random_below(&w->r, (uint64_t)w->index_count + 1);
        run_query(w, k == (uint64_t)w->index_count ? NULL : &w->indexes[k]);
    }
}

static void compare_finds(world *w, int n)
{
    for (int i = 0; i < n; i++) {
        char id[24];
        snprintf(id, sizeof id, "d%02llu",
                 (unsigned long long)test_random_below(&w->r, REF_DOCS_MAX));
        ref_doc *doc = ref_find(&w->now, id);
        const char *found = find(&w->d, w->model, w->txn, id);
        if (doc == NULL)
            assert_null(found);
        else
            assert_string_equal(found, doc->json);
    }
}

/* ---- writes ---- */

static void set_doc(world *w, const ref_doc *doc)
{
    ref_doc *there = ref_find(&w->now, doc->id);
    if (there == NULL) {
        assert_true(w->now.count < REF_DOCS_MAX);
        there = &w->now.docs[w->now.count++];
    }
    *there = *doc;
}

static void remove_doc(world *w, const char *id)
{
    ref_doc *there = ref_find(&w->now, id);
    *there = w->now.docs[--w->now.count];
}

/* Whether the open transaction has written the record. */
static bool *written(world *w, const char *id)
{
    unsigned long number = strtoul(id + 1, NULL, 10);
    assert_true(number < REF_DOCS_MAX);
    return &w->written[number];
}

/* What a write must answer, given what the reference says of it. */
static void settle(world *w, ti_status status, bool missing, bool violates, const ref_doc *doc)
{
    if (w->txn == NULL) {
        EXPECT(&w->d, missing ? TI_NOT_FOUND : violates ? TI_UNIQUE_VIOLATION : TI_OK, status);
        if (status == TI_OK)
            set_doc(w, doc);
        return;
    }
    if (missing || violates) { /* the store is asked at commit, the own write set at once */
        w->doomed = true;
        if (status != TI_OK)
            assert_int_equal(status, missing ? TI_NOT_FOUND : TI_UNIQUE_VIOLATION);
        return;
    }
    EXPECT(&w->d, TI_OK, status);
    *written(w, doc->id) = true;
    set_doc(w, doc);
}

/* A build over an id that has a record: refused at once where the transaction has written it, else
 * at the commit, and until then the transaction sees what it has built. */
static void build_over(world *w, const ref_doc *doc, const ti_write *write, bool violates)
{
    ti_status status =
        ti_model_build(w->model, w->txn, S(doc->json), write, &w->d.a, NULL, &w->d.call, &w->d.err);
    if (*written(w, doc->id)) {
        EXPECT(&w->d, TI_ALREADY_EXISTS, status);
        w->doomed = true;
        return;
    }
    settle(w, status, false, violates, doc);
    w->collides = true;
    w->collisions++;
}

static void write_one(world *w)
{
    ref_doc doc;
    char id[24];
    ti_write write = {0};
    snprintf(id, sizeof id, "d%02llu", (unsigned long long)test_random_below(&w->r, REF_DOCS_MAX));
    ref_random_doc(&w->r, id, &doc);
    bool there = ref_find(&w->now, id) != NULL;
    write.conditions = ref_conditions(w->indexes, w->index_count, &doc);
    bool violates = ref_violates(&w->now, w->indexes, w->index_count, &doc);
    w->operations++;
    if (there && w->txn != NULL && test_random_one_in(&w->r, 3)) {
        build_over(w, &doc, &write, violates);
    } else if (!there && test_random_one_in(&w->r, 2)) {
        settle(w,
               ti_model_build(w->model, w->txn, S(doc.json), &write, &w->d.a, NULL, &w->d.call,
                              &w->d.err),
               false, violates, &doc);
    } else if (test_random_one_in(&w->r, 2)) {
        settle(w,
               ti_model_save(w->model, w->txn, S(doc.json), &write, &w->d.a, NULL, &w->d.call,
                             &w->d.err),
               false, violates, &doc);
    } else {
        settle(w,
               ti_model_update(w->model, w->txn, S(doc.json), &write, &w->d.a, NULL, &w->d.call,
                               &w->d.err),
               !there, violates, &doc);
    }
}

static void delete_one(world *w)
{
    bool existed;
    char id[24];
    snprintf(id, sizeof id, "d%02llu", (unsigned long long)test_random_below(&w->r, REF_DOCS_MAX));
    bool there = ref_find(&w->now, id) != NULL;
    OK(&w->d, ti_model_delete(w->model, w->txn, S(id), NULL, &existed, &w->d.call, &w->d.err));
    assert_int_equal(existed, there);
    if (there)
        remove_doc(w, id);
    w->operations++;
}

static void end_txn(world *w)
{
    bool back = test_random_one_in(&w->r, 4);
    if (back) {
        ti_txn_free(w->txn);
    } else {
        ti_status status = try_commit(&w->d, w->txn);
        if (w->doomed || w->collides)
            assert_true(status == TI_UNIQUE_VIOLATION || (w->doomed && status == TI_NOT_FOUND) ||
                        status == TI_ALREADY_EXISTS);
        else
            EXPECT(&w->d, TI_OK, status);
    }
    if (back || w->doomed || w->collides)
        w->now = w->then;
    w->txn = NULL;
    w->doomed = false;
    w->collides = false;
}

/* ---- the world changes ---- */

static void restart(world *w)
{
    if (!w->disk || w->txn != NULL)
        return;
    ti_model_unref(w->model);
    w->model = NULL;
    db_reopen(&w->d);
    declare_now(w);
}

/* A new index, or a new version of one, and its backfill. */
static void evolve(world *w)
{
    if (w->txn != NULL)
        return;
    if (w->index_count < REF_INDEXES_MAX && test_random_one_in(&w->r, 2)) {
        ref_random_index(&w->r, w->index_count, &w->indexes[w->index_count]);
        w->indexes[w->index_count].unique = false; /* there may be duplicates already */
        w->index_count++;
    } else {
        ref_index *index = &w->indexes[test_random_below(&w->r, (uint64_t)w->index_count)];
        ref_index changed;
        if (index->unique)
            return;
        ref_random_index(&w->r, 0, &changed);
        changed.unique = false;
        changed.version = index->version + 1;
        memcpy(changed.name, index->name, sizeof changed.name);
        *index = changed;
    }
    declare_now(w);
    reindex(&w->d, w->model, answer);
}

static void step(world *w)
{
    uint64_t dice = test_random_below(&w->r, 100);
    if (w->doomed)
        end_txn(w);
    else if (dice < 45)
        write_one(w);
    else if (dice < 55)
        delete_one(w);
    else if (dice < 62 && w->txn == NULL) {
        w->txn = begin(&w->d);
        w->then = w->now;
        memset(w->written, 0, sizeof w->written);
    } else if (dice < 68 && w->txn != NULL)
        end_txn(w);
    else if (dice < 70)
        restart(w);
    else if (dice < 71)
        evolve(w);
    else if (dice < 74)
        compare_finds(w, 5);
    else
        run_queries(w, 1);
}

/* What all rounds came to. */
typedef struct tally {
    uint64_t queries;
    uint64_t operations;
    uint64_t collisions;
} tally;

static void round_of(bool disk, uint64_t stream, tally *all)
{
    world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    the_world = w;
    w->r = test_random_start(stream);
    w->disk = disk;
    if (disk)
        test_dir_make(w->path);
    db_open(&w->d, w->path);
    w->index_count = 1 + (int)test_random_below(&w->r, REF_INDEXES_MAX - 1);
    for (int i = 0; i < w->index_count; i++)
        ref_random_index(&w->r, i, &w->indexes[i]);
    declare_now(w);
    for (int i = 0; i < OPERATIONS; i++)
        step(w);
    if (w->txn != NULL)
        end_txn(w);
    restart(w);
    compare_finds(w, 20);
    run_queries(w, 40);
    assert_string_equal(check(&w->d, w->model, false, answer), "");
    all->queries += w->queries;
    all->operations += w->operations;
    all->collisions += w->collisions;
    ti_model_unref(w->model);
    db_close(&w->d);
    if (disk)
        test_dir_remove(w->path);
    free(w);
}

static void rounds(bool disk, uint64_t count, uint64_t stream)
{
    tally all = {0};
    for (uint64_t i = 0; i < count; i++)
        round_of(disk, stream + i, &all);
    print_message("%llu operations, %llu of them builds over stored records, %llu pages compared\n",
                  (unsigned long long)all.operations, (unsigned long long)all.collisions,
                  (unsigned long long)all.queries);
    assert_true(count < 50 || all.collisions > 0); /* else they are not tested */
}

static void in_memory(void **state)
{
    (void)state;
    rounds(false, test_scaled(spaced_wanted() ? 60 : 1200), 1000);
}

static void on_disk_with_restarts(void **state)
{
    (void)state;
    rounds(true, test_scaled(spaced_wanted() ? 8 : 150), 900000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_memory),
        cmocka_unit_test(on_disk_with_restarts),
    };
    ref_setup();
    return TEST_RUN(tests);
}

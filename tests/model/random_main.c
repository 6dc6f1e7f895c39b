/* model_random_fill PLACE COUNT: makes COUNT databases, each with a random table of the model-based test: indexes of every
 * kind, documents written over and deleted, an index that came later or has a new version. For tests/cli, which dumps them.
 *
 *   PLACE a path        PLACE0 … are directories
 *   PLACE tikv:NAME     NAME0 … are namespaces of the cluster of TITO_TEST_PD
 *
 * Conditions of hosts are left out: a dump has no functions. TITO_TEST_SEED says which databases. */
#include "model/reference.h"

#define WRITES_MAX 150
#define NAME_SIZE 256

static void random_index(test_random *r, int number, ref_index *out)
{
    do {
        ref_random_index(r, number, out);
    } while (out->cond == COND_HOST);
}

static ti_model *declare_all(db *d, const ref_index *indexes, int count)
{
    char spec[4096];
    ref_spec(indexes, count, spec, sizeof spec);
    return declare(d, spec);
}

static void remove_at(ref_state *now, const ref_doc *there)
{
    now->docs[there - now->docs] = now->docs[--now->count];
}

static void write_one(db *d, test_random *r, ti_model *m, ref_state *now, const ref_index *indexes,
                      int count)
{
    ref_doc doc;
    char id[24];
    bool existed;
    snprintf(id, sizeof id, "d%02d", (int)test_random_below(r, REF_DOCS_MAX));
    ref_random_doc(r, id, &doc);
    ref_doc *there = ref_find(now, id);
    if (there != NULL && test_random_one_in(r, 3)) {
        OK(d, del(d, m, NULL, id, &existed));
        assert_true(existed);
        remove_at(now, there);
    } else if (!ref_violates(now, indexes, count, &doc)) {
        OK(d, save(d, m, NULL, doc.json));
        *(there != NULL ? there : &now->docs[now->count++]) = doc;
    }
}

/* A new index, or a new version of one that is not unique; filled. */
static ti_model *evolve(db *d, test_random *r, ti_model *m, ref_index *indexes, int *count_io)
{
    ref_index *index = &indexes[test_random_below(r, (uint64_t)*count_io)];
    if (*count_io < REF_INDEXES_MAX && (index->unique || test_random_one_in(r, 2))) {
        index = &indexes[*count_io];
        random_index(r, (*count_io)++, index);
    } else if (!index->unique) {
        ref_index changed;
        random_index(r, 0, &changed);
        changed.version = index->version + 1;
        memcpy(changed.name, index->name, sizeof changed.name);
        *index = changed;
    } else {
        return m;
    }
    index->unique = false; /* there may be duplicates already */
    ti_model_unref(m);
    m = declare_all(d, indexes, *count_io);
    reindex(d, m, NULL);
    return m;
}

static void fill(db *d, uint64_t stream)
{
    test_random r = test_random_start(stream);
    ref_index indexes[REF_INDEXES_MAX];
    ref_state *now = calloc(1, sizeof *now);
    assert_non_null(now);
    int count = 1 + (int)test_random_below(&r, REF_INDEXES_MAX);
    for (int i = 0; i < count; i++)
        random_index(&r, i, &indexes[i]);
    ti_model *m = declare_all(d, indexes, count);
    for (int left = (int)test_random_below(&r, WRITES_MAX); left >= 0; left--)
        write_one(d, &r, m, now, indexes, count);
    if (test_random_one_in(&r, 2))
        m = evolve(d, &r, m, indexes, &count);
    assert_string_equal(check(d, m, false, NULL), "");
    ti_model_unref(m);
    free(now);
}

int main(int argc, char **argv)
{
    char name[NAME_SIZE];
    if (argc != 3)
        return 2;
    ref_setup();
    for (int i = 0; i < (int)strtol(argv[2], NULL, 10); i++) {
        db d;
        snprintf(name, sizeof name, "%s%d", argv[1], i);
        db_open_place(&d, name);
        fill(&d, (uint64_t)i);
        db_close(&d);
    }
    return 0;
}

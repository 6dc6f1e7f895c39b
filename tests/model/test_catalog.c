/* How indexes come, change and go: registration, versions, reindex, index_todo, drop, several
 * processes. */
#include "model/catalog.h"
#include "model/support.h"

#define USER(indexes) "{\"table\":\"user\",\"indexes\":[" indexes "]}"
#define BY_NAME "{\"name\":\"by_name\",\"fields\":[{\"name\":\"name\",\"type\":\"string\"}]}"
#define BY_AGE "{\"name\":\"by_age\",\"fields\":[{\"name\":\"age\",\"type\":\"number\"}]}"
#define BY_NAME_2                                                                                  \
    "{\"name\":\"by_name\",\"version\":2,\"fields\":[{\"name\":\"name\",\"type\":\"string\"},{"    \
    "\"name\":\"age\","                                                                            \
    "\"type\":\"number\"}]}"
#define HOST_AGE                                                                                   \
    "{\"name\":\"by_age\",\"fields\":[{\"name\":\"age\",\"type\":\"number\"}],\"condition\":"      \
    "\"host\"}"
#define UNIQUE_NAME                                                                                \
    "{\"table\":\"user\",\"unique_indexes\":[{\"name\":\"u_name\",\"fields\":[{\"name\":\"name\"," \
    "\"type\":\"string\"}"                                                                         \
    "]}]}"

static void fill(db *d, ti_model *m, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char json[128];
        snprintf(json, sizeof json, "{\"id\":\"u%04zu\",\"name\":\"n%zu\",\"age\":%zu}", i, i % 7,
                 i);
        OK(d, build(d, m, NULL, json));
    }
}

static void new_table_is_readable_at_once(void **state)
{
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, USER(BY_NAME));
    assert_string_equal(ids(&d, m, NULL, "by_name \"n1\"", NULL), ""); /* reading writes no row */
    ti_buf text;
    ti_buf_init(&text, 1 << 20);
    OK(&d, ti_catalog_list(d.store, &text, &d.call, &d.err));
    assert_string_equal(T(ti_buf_slice(&text)), "[]");
    fill(&d, m, 3);
    assert_string_equal(ids(&d, m, NULL, "by_name \"n1\"", NULL), "u0001");
    ti_buf_clear(&text);
    OK(&d, ti_catalog_list(d.store, &text, &d.call, &d.err));
    assert_non_null(strstr(T(ti_buf_slice(&text)), "\"state\":\"readable\""));
    ti_buf_free(&text);
    ti_model_unref(m);
    db_close(&d);
}

static void later_index_needs_reindex(void **state)
{
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *one = declare(&d, USER(BY_NAME));
    fill(&d, one, 300);
    ti_model *two = declare(&d, USER(BY_NAME "," BY_AGE));
    EXPECT(&d, TI_SCHEMA_MISMATCH, query_status(&d, two, NULL, "by_age >297"));
    SAYS(&d, "run reindex");
    OK(&d, build(&d, two, NULL, "{\"id\":\"w\",\"age\":1000}"));
    EXPECT(&d, TI_SCHEMA_MISMATCH, query_status(&d, two, NULL, "by_age >297"));
    SAYS(&d, "not readable yet");
    /* who does not declare it keeps it up all the same */
    OK(&d, build(&d, one, NULL, "{\"id\":\"v\",\"age\":2000}"));
    const char *summary = reindex(&d, two, NULL);
    assert_non_null(strstr(summary, "\"done\":302"));
    assert_string_equal(ids(&d, two, NULL, "by_age >297", NULL), "u0298 u0299 w v");
    OK(&d, update(&d, one, NULL, "{\"id\":\"v\",\"age\":1}"));
    assert_string_equal(ids(&d, two, NULL, "by_age >297", NULL), "u0298 u0299 w");
    assert_string_equal(check(&d, two, false, NULL), "");
    ti_model_unref(one);
    ti_model_unref(two);
    db_close(&d);
}

static void changed_definition_needs_a_version(void **state)
{
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *one = declare(&d, USER(BY_NAME));
    fill(&d, one, 20);
    ti_model *other = declare(&d, USER("{\"name\":\"by_name\",\"sparse\":true,\"fields\":[{"
                                       "\"name\":\"name\",\"type\":\"string\"}]}"));
    EXPECT(&d, TI_SCHEMA_MISMATCH, build(&d, other, NULL, "{\"id\":\"x\"}"));
    SAYS(&d, "higher \"version\"");
    assert_string_equal(d.err.index, "by_name");
    EXPECT(&d, TI_SCHEMA_MISMATCH, query_status(&d, other, NULL, "by_name"));
    ti_model *two = declare(&d, USER(BY_NAME_2));
    OK(&d, build(&d, two, NULL, "{\"id\":\"x\",\"name\":\"n1\",\"age\":5}"));
    assert_string_equal(ids(&d, one, NULL, "by_name \"n1\"", NULL),
                        "u0001 u0008 u0015 x"); /* both are kept up */
    EXPECT(&d, TI_SCHEMA_MISMATCH, query_status(&d, two, NULL, "by_name \"n1\" >1"));
    reindex(&d, two, NULL);
    assert_string_equal(ids(&d, two, NULL, "by_name \"n1\" >1", NULL), "x u0008 u0015");
    /* the older declaration follows the stored one */
    assert_string_equal(ids(&d, one, NULL, "by_name \"n1\"", NULL), "u0001 x u0008 u0015");
    OK(&d, update(&d, one, NULL, "{\"id\":\"x\",\"name\":\"n2\",\"age\":5}"));
    assert_string_equal(ids(&d, two, NULL, "by_name \"n1\" >1", NULL), "u0008 u0015");
    assert_string_equal(check(&d, two, false, NULL), "");
    ti_model_unref(one);
    ti_model_unref(other);
    ti_model_unref(two);
    db_close(&d);
}

static uint64_t even_age(ti_slice document)
{
    const char *age = strstr(T(document), "\"age\":");
    return age != NULL && strtol(age + 6, NULL, 10) % 2 == 0 ? 1 : 0;
}

static void host_conditions_and_todo_rows(void **state)
{
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *plain = declare(&d, USER(BY_NAME));
    fill(&d, plain, 50);
    ti_model *knows = declare(&d, USER(BY_NAME "," HOST_AGE));
    ti_write write = {.conditions = 1};
    OK(&d, ti_model_build(knows, NULL, S("{\"id\":\"w\",\"age\":100}"), &write, &d.a, NULL, &d.call,
                          &d.err));
    /* write_only, condition unknown: the write goes through, reindex looks at the record */
    OK(&d, build(&d, plain, NULL, "{\"id\":\"x\",\"age\":102}"));
    OK(&d, build(&d, plain, NULL, "{\"id\":\"y\",\"age\":103}"));
    OK(&d, update(&d, plain, NULL, "{\"id\":\"w\",\"age\":104}"));
    OK(&d, build(&d, plain, NULL, "{\"id\":\"z\",\"age\":106}"));
    OK(&d, del(&d, plain, NULL, "z", NULL));
    reindex(&d, knows, even_age);
    assert_string_equal(ids(&d, knows, NULL, "by_age >45", NULL), "u0046 u0048 x w");
    EXPECT(&d, TI_SCHEMA_MISMATCH, build(&d, plain, NULL, "{\"id\":\"q\",\"age\":1}"));
    SAYS(&d, "by_age");
    EXPECT(&d, TI_SCHEMA_MISMATCH, update(&d, plain, NULL, "{\"id\":\"w\",\"age\":1}"));
    assert_string_equal(check(&d, knows, false, even_age), "");
    ti_model_unref(plain);
    ti_model_unref(knows);
    db_close(&d);
}

static void duplicates_fail_a_unique_index(void **state)
{
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *one = declare(&d, "{\"table\":\"user\"}");
    fill(&d, one, 9);
    ti_model *two = declare(&d, UNIQUE_NAME);
    const char *summary = reindex(&d, two, NULL);
    assert_non_null(strstr(summary, "\"state\":\"failed\""));
    assert_non_null(strstr(summary, "\"duplicates\":[\"u0000\",\"u0007\",\"u0001\",\"u0008\"]"));
    EXPECT(&d, TI_SCHEMA_MISMATCH, query_status(&d, two, NULL, "u_name \"n1\""));
    SAYS(&d, "u0007");
    OK(&d, update(&d, two, NULL, "{\"id\":\"u0007\",\"name\":\"m\"}"));
    OK(&d, del(&d, two, NULL, "u0001", NULL));
    summary = reindex(&d, two, NULL);
    assert_non_null(strstr(summary, "\"state\":\"readable\""));
    assert_string_equal(ids(&d, two, NULL, "u_name", NULL),
                        "u0007 u0000 u0008 u0002 u0003 u0004 u0005 u0006");
    EXPECT(&d, TI_UNIQUE_VIOLATION, build(&d, two, NULL, "{\"id\":\"z\",\"name\":\"n1\"}"));
    assert_string_equal(check(&d, two, false, NULL), "");
    ti_model_unref(one);
    ti_model_unref(two);
    db_close(&d);
}

static void a_document_that_does_not_fit(void **state)
{
    db d;
    ti_steps *steps;
    ti_step step;
    ti_slice json;
    (void)state;
    db_open(&d, NULL);
    ti_model *one = declare(&d, "{\"table\":\"user\"}");
    fill(&d, one, 5);
    OK(&d, build(&d, one, NULL, "{\"id\":\"odd\",\"age\":\"old\"}"));
    ti_model *two = declare(&d, USER(BY_AGE));
    OK(&d, ti_reindex_open(two, NULL, &steps, &d.err));
    ti_status status = TI_OK;
    while (status == TI_OK)
        status = ti_steps_next(steps, &step, &json, &d.call, &d.err);
    EXPECT(&d, TI_INVALID_ARGUMENT, status);
    SAYS(&d, "record \"odd\"");
    SAYS(&d, "\"age\"");
    EXPECT(&d, TI_INVALID_STATE, ti_steps_next(steps, &step, &json, &d.call, &d.err));
    ti_steps_free(steps);
    OK(&d, update(&d, one, NULL, "{\"id\":\"odd\",\"age\":9}"));
    reindex(&d, two, NULL);
    assert_string_equal(ids(&d, two, NULL, "by_age reverse limit=2", NULL), "odd u0004");
    ti_model_unref(one);
    ti_model_unref(two);
    db_close(&d);
}

static void reindex_resumes_and_excludes(void **state)
{
    db d;
    ti_steps *steps;
    ti_steps *second;
    ti_step step;
    ti_slice json;
    (void)state;
    db_open(&d, NULL);
    ti_model *one = declare(&d, "{\"table\":\"user\"}");
    fill(&d, one, 40);
    ti_model *two = declare(&d, USER(BY_AGE));
    const ti_reindex_options options = {.batch = 8};
    OK(&d, ti_reindex_open(two, &options, &steps, &d.err));
    for (int i = 0; i < 3; i++)
        OK(&d, ti_steps_next(steps, &step, &json, &d.call, &d.err));
    assert_string_equal(T(json), "{\"phase\":\"scan\",\"done\":16,\"total\":40}");
    OK(&d, ti_reindex_open(two, &options, &second, &d.err));
    EXPECT(&d, TI_BUSY, ti_steps_next(second, &step, &json, &d.call, &d.err));
    ti_steps_free(second);
    ti_steps_free(steps); /* in the middle */
    EXPECT(&d, TI_SCHEMA_MISMATCH, query_status(&d, two, NULL, "by_age"));
    SAYS(&d, "16 records");
    const char *summary = reindex(&d, two, NULL);
    assert_non_null(strstr(summary, "\"phase\":\"done\",\"done\":24,\"total\":24,"));
    assert_string_equal(ids(&d, two, NULL, "by_age limit=3", NULL), "u0000 u0001 u0002");
    assert_string_equal(check(&d, two, false, NULL), "");
    ti_model_unref(one);
    ti_model_unref(two);
    db_close(&d);
}

/* However large the table is: a step has the time of one operation. */
static void reindex_counts_page_by_page(void **state)
{
    enum { COUNT = TI_PAGE_ITEMS_MAX + 20, BATCH = 100 }; /* each within the catalog's lease */
    const ti_reindex_options options = {.batch = TI_PAGE_ITEMS_MAX};
    ti_steps *steps;
    ti_step step;
    ti_slice json;
    char expected[80];
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, "{\"table\":\"user\"}");
    for (int from = 0; from < COUNT; from += BATCH) {
        ti_txn *txn = begin(&d);
        for (int i = from; i < from + BATCH && i < COUNT; i++) {
            char doc[40];
            snprintf(doc, sizeof doc, "{\"id\":\"u%05d\"}", i);
            OK(&d, build(&d, m, txn, doc));
        }
        commit(&d, txn);
        ti_arena_reset(&d.a);
    }
    OK(&d, ti_reindex_open(m, &options, &steps, &d.err));
    OK(&d, ti_steps_next(steps, &step, &json, &d.call, &d.err));
    snprintf(expected, sizeof expected, "{\"phase\":\"begin\",\"done\":0,\"total\":%d}",
             TI_PAGE_ITEMS_MAX);
    assert_string_equal(T(json), expected);
    OK(&d, ti_steps_next(steps, &step, &json, &d.call, &d.err));
    snprintf(expected, sizeof expected, "{\"phase\":\"scan\",\"done\":0,\"total\":%d}", COUNT);
    assert_string_equal(T(json), expected);
    ti_steps_free(steps);
    ti_model_unref(m);
    db_close(&d);
}

static void dropping(void **state)
{
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, USER(BY_NAME "," BY_AGE));
    fill(&d, m, 30);
    EXPECT(&d, TI_NOT_FOUND, ti_drop_index(d.store, S("user"), S("nope"), &d.call, &d.err));
    EXPECT(&d, TI_NOT_FOUND, ti_drop_table(d.store, S("nope"), &d.call, &d.err));
    OK(&d, ti_drop_index(d.store, S("user"), S("by_age"), &d.call, &d.err));
    EXPECT(&d, TI_SCHEMA_MISMATCH, query_status(&d, m, NULL, "by_age"));
    SAYS(&d, "is new");
    ti_model *less = declare(&d, USER(BY_NAME));
    assert_string_equal(check(&d, less, false, NULL),
                        ""); /* lists still name it, which means nothing */
    OK(&d, update(&d, less, NULL, "{\"id\":\"u0003\",\"name\":\"n3\",\"age\":3}"));
    reindex(
        &d, m,
        NULL); /* declared again: the same name, filled anew, though some lists have the entry */
    assert_string_equal(ids(&d, m, NULL, "by_age <5", NULL), "u0000 u0001 u0002 u0003 u0004");
    assert_string_equal(check(&d, m, false, NULL), "");
    OK(&d, ti_drop_table(d.store, S("user"), &d.call, &d.err));
    assert_string_equal(ids(&d, m, NULL, "by_age", NULL), "");
    assert_string_equal(ids(&d, m, NULL, "*", NULL), "");
    assert_null(find(&d, m, NULL, "u0001"));
    OK(&d, build(&d, m, NULL, "{\"id\":\"n\",\"age\":1}"));
    assert_string_equal(ids(&d, m, NULL, "by_age", NULL), "n");
    ti_model_unref(m);
    ti_model_unref(less);
    db_close(&d);
}

static void an_open_transaction_meets_a_change(void **state)
{
    db d;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, USER(BY_NAME));
    fill(&d, m, 3);
    ti_model *more = declare(&d, USER(BY_NAME "," BY_AGE));
    ti_txn *txn = begin(&d);
    OK(&d, build(&d, m, txn, "{\"id\":\"late\",\"age\":7}"));
    reindex(&d, more, NULL);
    EXPECT(&d, TI_CONFLICT, try_commit(&d, txn));
    SAYS(&d, "have changed");
    ti_txn *old = begin(&d);
    ti_txn *older = begin(&d);
    ti_ts ts;
    OK(&d, ti_txn_start_ts(old, &ts, &d.call, &d.err));
    OK(&d, ti_txn_start_ts(older, &ts, &d.call, &d.err));
    assert_string_equal(ids(&d, more, NULL, "by_age", NULL), "u0000 u0001 u0002");
    OK(&d, ti_drop_index(d.store, S("user"), S("by_age"), &d.call, &d.err));
    EXPECT(&d, TI_SCHEMA_MISMATCH, query_status(&d, more, old, "by_age"));
    reindex(&d, more, NULL);
    /* one schema per transaction */
    EXPECT(&d, TI_SCHEMA_MISMATCH, query_status(&d, more, old, "by_age"));
    /* complete only in later snapshots */
    EXPECT(&d, TI_CONFLICT, query_status(&d, more, older, "by_age"));
    ti_txn_free(older);
    ti_txn_free(old);
    ti_model_unref(m);
    ti_model_unref(more);
    db_close(&d);
}

/* An index that is half dropped, a table that is half dropped: the same call goes on. */
static ti_status half_drop(void *context, ti_txn *txn, ti_schema *schema, bool *changed_io,
                           const ti_call *call, ti_err *err)
{
    (void)txn;
    (void)changed_io;
    (void)call;
    (void)err;
    if (*(bool *)context)
        schema->dropping = true;
    else
        schema->indexes[1].state = TI_INDEX_ABSENT;
    return TI_OK;
}

static void interrupted_drops(void **state)
{
    db d;
    ti_steps *steps;
    ti_step step;
    ti_slice json;
    bool whole = false;
    (void)state;
    db_open(&d, NULL);
    ti_model *m = declare(&d, USER(BY_NAME "," BY_AGE));
    ti_model *less = declare(&d, USER(BY_NAME));
    fill(&d, m, 5);
    OK(&d, ti_catalog_change(d.store, S("user"), half_drop, &whole, NULL, &d.call, &d.err));
    EXPECT(&d, TI_SCHEMA_MISMATCH, query_status(&d, m, NULL, "by_age"));
    OK(&d, update(&d, less, NULL, "{\"id\":\"u0001\",\"name\":\"n1\",\"age\":100}"));
    assert_string_equal(check(&d, less, false, NULL), "");
    OK(&d, ti_drop_index(d.store, S("user"), S("by_age"), &d.call, &d.err));
    reindex(&d, m, NULL);
    assert_string_equal(ids(&d, m, NULL, "by_age >2", NULL), "u0003 u0004 u0001");
    whole = true;
    OK(&d, ti_catalog_change(d.store, S("user"), half_drop, &whole, NULL, &d.call, &d.err));
    EXPECT(&d, TI_SCHEMA_MISMATCH, build(&d, m, NULL, "{\"id\":\"x\"}"));
    SAYS(&d, "being dropped");
    OK(&d, ti_reindex_open(m, NULL, &steps, &d.err));
    EXPECT(&d, TI_SCHEMA_MISMATCH, ti_steps_next(steps, &step, &json, &d.call, &d.err));
    ti_steps_free(steps);
    OK(&d, ti_drop_table(d.store, S("user"), &d.call, &d.err));
    assert_non_null(strstr(reindex(&d, m, NULL), "\"phase\":\"done\",\"done\":0,\"total\":0"));
    OK(&d, build(&d, m, NULL, "{\"id\":\"x\",\"age\":1}"));
    assert_string_equal(ids(&d, m, NULL, "by_age", NULL), "x");
    ti_model_unref(less);
    ti_model_unref(m);
    db_close(&d);
}

/* Two stores that behave as two processes do: each with a catalog of its own, under a lease. */
static void two_processes(void **state)
{
    db base;
    db d;
    db e;
    (void)state;
    db_open(&base, NULL);
    db_open_beside(&d, &base, true, 1200000);
    db_open_beside(&e, &base, true, 1200000);
    ti_model *one = declare(&d, USER(BY_NAME));
    fill(&d, one, 10);
    ti_txn *txn = begin(&d);
    OK(&d, build(&d, one, txn, "{\"id\":\"slow\",\"name\":\"n1\",\"age\":70}"));
    ti_txn *quiet = begin(&d);
    OK(&d, build(&d, one, quiet, "{\"id\":\"idle\",\"name\":\"n1\",\"age\":71}"));
    ti_env_real()->sleep_ns(ti_env_real(), 1800000000);
    commit(&d, quiet); /* nothing has changed: the lease is renewed as it commits */
    ti_model *two = declare(&e, USER(BY_NAME "," BY_AGE));
    OK(&e, build(&e, two, NULL, "{\"id\":\"x\",\"name\":\"n1\",\"age\":50}"));
    OK(&d,
       build(
           &d, one, NULL,
           "{\"id\":\"y\",\"name\":\"n1\",\"age\":51}")); /* may not know it yet: before the wait */
    reindex(&e, two, NULL);
    EXPECT(&d, TI_CONFLICT, try_commit(&d, txn));
    OK(&d, build(&d, one, NULL, "{\"id\":\"z\",\"name\":\"n1\",\"age\":52}"));
    assert_string_equal(ids(&e, two, NULL, "by_age >9", NULL), "x y z idle");
    assert_string_equal(check(&e, two, false, NULL), "");
    /* a reader may go on with what it knows, within its lease, and sees complete entries */
    assert_string_equal(ids(&d, one, NULL, "by_name \"n1\"", NULL), "idle u0001 u0008 x y z");
    OK(&e, ti_drop_index(e.store, S("user"), S("by_name"), &e.call, &e.err));
    EXPECT(&d, TI_SCHEMA_MISMATCH, query_status(&d, one, NULL, "by_name \"n1\""));
    ti_model_unref(one);
    ti_model_unref(two);
    db_close(&d);
    db_close(&e);
    db_close(&base);
}

static void handles_of_one_process_share(void **state)
{
    db d;
    db e;
    (void)state;
    db_open(&d, NULL);
    db_open_beside(&e, &d, false, 0);
    ti_model *one = declare(&d, USER(BY_NAME));
    ti_model *two = declare(&e, USER(BY_NAME "," BY_AGE));
    fill(&d, one, 5);
    ti_txn *txn = begin(&d);
    OK(&d, build(&d, one, txn, "{\"id\":\"slow\",\"age\":70}"));
    OK(&e,
       build(&e, two, NULL,
             "{\"id\":\"x\",\"age\":50}")); /* registers by_age: seen by the other handle at once */
    ti_status ended = try_commit(&d, txn);
    if (ended != TI_OK ||
        !d.engine->vt->shared(d.engine)) /* under a lease it may not know it yet */
        EXPECT(&d, TI_CONFLICT, ended);
    OK(&d, build(&d, one, NULL, "{\"id\":\"y\",\"age\":51}"));
    reindex(&e, two, NULL);
    assert_string_equal(ids(&e, two, NULL, "by_age >4", NULL), ended == TI_OK ? "x y slow" : "x y");
    ti_model_unref(one);
    ti_model_unref(two);
    db_close(&e);
    db_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_table_is_readable_at_once),
        cmocka_unit_test(later_index_needs_reindex),
        cmocka_unit_test(changed_definition_needs_a_version),
        cmocka_unit_test(host_conditions_and_todo_rows),
        cmocka_unit_test(duplicates_fail_a_unique_index),
        cmocka_unit_test(a_document_that_does_not_fit),
        cmocka_unit_test(reindex_resumes_and_excludes),
        cmocka_unit_test(reindex_counts_page_by_page),
        cmocka_unit_test(dropping),
        cmocka_unit_test(an_open_transaction_meets_a_change),
        cmocka_unit_test(interrupted_drops),
        cmocka_unit_test(two_processes),
        cmocka_unit_test(handles_of_one_process_share),
    };
    return TEST_RUN(tests);
}

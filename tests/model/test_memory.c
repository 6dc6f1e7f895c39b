/* Memory: in each scenario the n-th allocation fails, for n = 1, 2, … until none is left to fail.
 * The call answers OUT_OF_MEMORY, nothing leaks, the database stays consistent, and the same call
 * then succeeds. */
#include "codec/record.h"
#include "model/support.h"

#define FAILURES_MAX 200000

static const char *post_spec = "{\"table\":\"post\",\"indexes\":[{\"name\":\"by_author\","
                               "\"fields\":[{\"name\":\"author\",\"type\":\"string\"},"
                               "{\"name\":\"views\",\"type\":\"number\",\"order\":\"desc\"}]},{"
                               "\"name\":\"by_tag\",\"fields\":[{\"name\":\"tag_ids\","
                               "\"type\":\"string\"}],\"where\":{\"status\":[\"active\",null]}},{"
                               "\"name\":\"cover\",\"covering\":true,\"fields\":[{"
                               "\"name\":\"views\",\"type\":\"number\"}]}],\"unique_indexes\":[{"
                               "\"name\":\"by_slug\",\"fields\":[{\"name\":\"slug\","
                               "\"type\":\"string\"}]}],\"relationships\":[{\"source_field_name\":"
                               "\"tag_ids\",\"destination_field_name\":\"tags\","
                               "\"model\":\"tag\"}],\"fields\":{\"views\":{\"type\":\"number\","
                               "\"default\":0}},\"timestamps\":true,\"events\":"
                               "\"host\",\"references\":\"tag_ids\",\"partition_key\":\"author\"}";
static const char *tag_spec = "{\"table\":\"tag\",\"relationships\":[{\"source_field_name\":"
                              "\"category_id\",\"destination_field_name\":"
                              "\"category\",\"model\":\"category\"}]}";

typedef struct world {
    db d;
    ti_model *post;
    ti_model *tag;
    ti_model *category;
    size_t events;
} world;

static ti_status take_event(void *context, ti_txn *txn, const ti_model_event *event,
                            const ti_call *call, ti_err *err)
{
    world *w = context;
    (void)txn;
    (void)call;
    (void)err;
    assert_string_equal(T(event->type), "post");
    w->events++;
    return TI_OK;
}

static void open_world(world *w)
{
    memset(w, 0, sizeof *w);
    db_open(&w->d, NULL);
    const ti_event_sink sink = {.publish = take_event, .context = w};
    ti_store_set_event_sink(w->d.store, &sink);
    w->post = declare(&w->d, post_spec);
    w->tag = declare(&w->d, tag_spec);
    w->category = declare(&w->d, "{\"table\":\"category\"}");
}

static void fill(world *w)
{
    OK(&w->d, build(&w->d, w->category, NULL, "{\"id\":\"c1\"}"));
    OK(&w->d, build(&w->d, w->tag, NULL, "{\"id\":\"t1\",\"category_id\":\"c1\"}"));
    OK(&w->d, build(&w->d, w->tag, NULL, "{\"id\":\"t2\",\"category_id\":\"c9\"}"));
    for (int i = 0; i < 12; i++) {
        char json[200];
        snprintf(json, sizeof json,
                 "{\"id\":\"p%02d\",\"slug\":\"s%d\",\"author\":\"a%d\",\"views\":%d,\"tag_ids\":["
                 "\"t1\",\"t2\",\"t3\"]}",
                 i, i, i % 2, i);
        OK(&w->d, build(&w->d, w->post, NULL, json));
    }
}

static void close_world(world *w)
{
    ti_model_unref(w->post);
    ti_model_unref(w->tag);
    ti_model_unref(w->category);
    db_close(&w->d);
}

/* ---- scenarios: each does one thing and returns its status ---- */

static ti_status do_declare(world *w)
{
    ti_model *m = NULL;
    ti_status status = ti_model_declare(w->d.store, 7, S(post_spec), &m, &w->d.err);
    ti_model_unref(m);
    if (status == TI_OK)
        ti_store_forget_scope(w->d.store, 7);
    return status;
}

static const char *new_post =
    "{\"id\":\"new\",\"slug\":\"new\",\"author\":\"a1\",\"tag_ids\":[\"t1\",\"x\"],\"tags\":[]}";

static ti_status do_build(world *w)
{
    return build(&w->d, w->post, NULL, new_post);
}

static ti_status do_build_with_events(world *w)
{
    ti_document stored;
    const ti_write write = {.operation = S("INSERT"),
                            .events = S("[{\"name\":\"post\",\"timestamp\":12.5}]")};
    return ti_model_build(w->post, NULL, S(new_post), &write, &w->d.a, &stored, &w->d.call,
                          &w->d.err);
}

static ti_status do_update(world *w)
{
    return update(&w->d, w->post, NULL,
                  "{\"id\":\"p03\",\"slug\":\"other\",\"views\":5,\"tag_ids\":[\"t1\"]}");
}

static ti_status do_save(world *w)
{
    return save(&w->d, w->post, NULL, new_post);
}

static ti_status do_patch(world *w)
{
    return patch(&w->d, w->post, NULL, "p04",
                 "{\"views\":77,\"slug\":null,\"deep\":{\"a\":[1,2]}}");
}

static ti_status do_delete(world *w)
{
    return del(&w->d, w->post, NULL, "p05", NULL);
}

static ti_status do_merge(world *w)
{
    ti_txn *txn = NULL;
    ti_document merged;
    ti_status status = ti_txn_begin(&w->d.kv, NULL, &txn, &w->d.err);
    if (status == TI_OK)
        status = ti_model_merge(w->post, txn, S("p04"), S("{\"views\":1}"), &w->d.a, &merged,
                                &w->d.call, &w->d.err);
    ti_txn_free(txn);
    return status;
}

static ti_status do_transaction(world *w)
{
    ti_txn *txn = NULL;
    ti_status status = ti_txn_begin(&w->d.kv, NULL, &txn, &w->d.err);
    if (status == TI_OK)
        status = build(&w->d, w->post, txn, new_post);
    if (status == TI_OK)
        status = update(&w->d, w->post, txn, "{\"id\":\"p06\",\"slug\":\"s7\",\"author\":\"a0\"}");
    if (status == TI_UNIQUE_VIOLATION || status == TI_OK)
        status = del(&w->d, w->post, txn, "p07", NULL);
    if (status == TI_OK)
        status = ti_model_assert_current(w->post, txn, S("p08"), &w->d.call, &w->d.err);
    ti_txn_free(txn);
    return status;
}

static ti_status do_find(world *w)
{
    ti_document found;
    const ti_slice paths[] = {S("tags"), S("tags.category")};
    const ti_read read = {.relationships = paths, .relationship_count = 2};
    return ti_model_find(w->post, NULL, S("p01"), &read, &w->d.a, &found, &w->d.call, &w->d.err);
}

static ti_status do_find_many(world *w)
{
    ti_page *page = NULL;
    const ti_slice wanted[] = {S("p01"), S("p09"), S("nope"), S("p01")};
    const ti_slice paths[] = {S("tags")};
    const ti_read read = {.relationships = paths, .relationship_count = 1};
    ti_status status =
        ti_model_find_many(w->post, NULL, wanted, 4, &read, &page, &w->d.call, &w->d.err);
    ti_page_free(page);
    return status;
}

static ti_status do_query(world *w)
{
    ti_page *page = NULL;
    ti_page *next = NULL;
    ti_query *q = NULL;
    ti_status status = ti_query_new(w->post, S("by_author"), &q, &w->d.err);
    if (status == TI_OK)
        status = ti_query_value(q, S("\"a1\""), &w->d.err);
    if (status == TI_OK)
        status = ti_query_between(q, S("1"), S("9"), &w->d.err);
    if (status == TI_OK)
        status = ti_query_relationship(q, S("tags.category"), &w->d.err);
    if (status == TI_OK)
        status = ti_query_limit(q, 2, &w->d.err);
    if (status == TI_OK)
        status = ti_query_execute(q, NULL, &page, &w->d.call, &w->d.err);
    if (status == TI_OK)
        status = ti_query_cursor(q, page->cursor, &w->d.err);
    if (status == TI_OK)
        status = ti_query_execute(q, NULL, &next, &w->d.call, &w->d.err);
    ti_page_free(page);
    ti_page_free(next);
    ti_query_free(q);
    return status;
}

static ti_status run_words(world *w, const char *index, bool keys)
{
    ti_page *page = NULL;
    ti_query *q = NULL;
    ti_query *copy = NULL;
    ti_status status = index[0] == '*' ? ti_query_scan(w->post, &q, &w->d.err)
                                       : ti_query_new(w->post, S(index), &q, &w->d.err);
    if (status == TI_OK) {
        ti_query_keys_only(q, keys);
        status = ti_query_copy(q, &copy, &w->d.err);
    }
    if (status == TI_OK)
        status = ti_query_execute(copy, NULL, &page, &w->d.call, &w->d.err);
    ti_page_free(page);
    ti_query_free(copy);
    ti_query_free(q);
    return status;
}

static ti_status do_query_fan_out(world *w)
{
    return run_words(w, "by_tag", false);
}

static ti_status do_query_keys(world *w)
{
    return run_words(w, "by_tag", true);
}

static ti_status do_query_covering(world *w)
{
    return run_words(w, "cover", false);
}

static ti_status do_scan(world *w)
{
    return run_words(w, "*", false);
}

static ti_status do_count_first_explain(world *w)
{
    uint64_t count;
    ti_document first;
    ti_query *q = NULL;
    ti_buf text;
    ti_buf_init(&text, 4096);
    ti_status status = ti_query_new(w->post, S("by_tag"), &q, &w->d.err);
    if (status == TI_OK)
        status = ti_query_count(q, NULL, &count, &w->d.call, &w->d.err);
    if (status == TI_OK)
        status = ti_query_first(q, NULL, &w->d.a, &first, &w->d.call, &w->d.err);
    if (status == TI_OK)
        status = ti_query_explain(q, NULL, &text, &w->d.call, &w->d.err);
    ti_buf_free(&text);
    ti_query_free(q);
    return status;
}

static ti_status steps_to_end(world *w, ti_steps *steps)
{
    ti_step step = TI_STEP_MORE;
    ti_slice json;
    ti_status status = TI_OK;
    while (status == TI_OK && step != TI_STEP_DONE) {
        status = ti_steps_next(steps, &step, &json, &w->d.call, &w->d.err);
        for (size_t i = 0; status == TI_OK && i < ti_steps_count(steps); i++)
            status = ti_steps_reply(steps, i, 1, &w->d.err);
    }
    ti_steps_free(steps);
    return status;
}

static ti_status do_reindex(world *w)
{
    static const char *more = "{\"table\":\"post\",\"indexes\":[{\"name\":\"later\",\"condition\":"
                              "\"host\",\"fields\":[{\"name\":\"slug\","
                              "\"type\":\"string\"}]}],\"unique_indexes\":[{\"name\":\"u_later\","
                              "\"fields\":[{\"name\":\"slug\",\"type\":"
                              "\"string\"}]}]}";
    ti_model *m = NULL;
    ti_steps *steps = NULL;
    const ti_reindex_options options = {.batch = 5};
    ti_status status = ti_model_declare(w->d.store, 3, S(more), &m, &w->d.err);
    if (status == TI_OK)
        status = ti_reindex_open(m, &options, &steps, &w->d.err);
    if (status == TI_OK)
        status = steps_to_end(w, steps);
    ti_model_unref(m);
    return status;
}

static ti_status do_check(world *w)
{
    ti_steps *steps = NULL;
    const ti_check_options options = {.repair = true, .batch = 5};
    ti_status status = ti_check_open(w->post, &options, &steps, &w->d.err);
    return status == TI_OK ? steps_to_end(w, steps) : status;
}

/* Something for repair to do: a missing entry, and one of a record that is not there. */
static void plant(world *w)
{
    ti_buf b;
    const ti_keyspace *ks = ti_store_keyspace(w->d.store);
    const ti_value slug = ti_value_string(S("s3"));
    ti_buf_init(&b, 4096);
    OK(&w->d, ti_tuple_append(&b, &slug, false, &w->d.err));
    raw_delete(&w->d, ti_key_unique(ks, &w->d.a, S("post"), S("by_slug"), ti_buf_slice(&b)));
    raw_put(&w->d, ti_key_index(ks, &w->d.a, S("post"), S("by_tag"), ti_buf_slice(&b), S("ghost")),
            ti_marker());
    ti_buf_free(&b);
}

static ti_status do_list(world *w)
{
    ti_buf text;
    ti_buf_init(&text, 1 << 20);
    ti_status status = ti_catalog_list(w->d.store, &text, &w->d.call, &w->d.err);
    ti_buf_free(&text);
    return status;
}

static ti_status do_drop_index(world *w)
{
    ti_status status = ti_drop_index(w->d.store, S("post"), S("by_tag"), &w->d.call, &w->d.err);
    return status == TI_NOT_FOUND ? TI_OK : status;
}

static ti_status do_drop_table(world *w)
{
    ti_status status = ti_drop_table(w->d.store, S("post"), &w->d.call, &w->d.err);
    return status == TI_NOT_FOUND ? TI_OK : status;
}

static ti_status do_open_store(world *w)
{
    ti_store *store = NULL;
    const ti_store_options options = {.env = ti_env_real()};
    ti_status status = ti_store_new(&options, &store, &w->d.err);
    if (status == TI_OK)
        status = ti_store_open(store, &w->d.kv, &w->d.call, &w->d.err);
    ti_store_free(store);
    return status;
}

/* ---- the loop ---- */

typedef struct scenario {
    const char *name;
    ti_status (*run)(world *w);
    void (*prepare)(world *w); /* before every attempt; or NULL */
    bool cold;                 /* every attempt on a database of its own, with nothing cached */
} scenario;

static const scenario scenarios[] = {
    {"declare", do_declare, NULL, false},
    {"build", do_build, NULL, false},
    {"build, the first of a table", do_build, NULL, true},
    {"build with events", do_build_with_events, NULL, false},
    {"update", do_update, NULL, false},
    {"save", do_save, NULL, false},
    {"patch", do_patch, NULL, false},
    {"delete", do_delete, NULL, false},
    {"merge", do_merge, NULL, false},
    {"transaction", do_transaction, NULL, false},
    {"find with chains", do_find, NULL, false},
    {"find_many", do_find_many, NULL, false},
    {"query with pages and chains", do_query, NULL, false},
    {"query of a fan-out", do_query_fan_out, NULL, false},
    {"query for keys", do_query_keys, NULL, false},
    {"query of a covering index", do_query_covering, NULL, false},
    {"scan", do_scan, NULL, false},
    {"count, first, explain", do_count_first_explain, NULL, false},
    {"query of a table nobody wrote", do_query_covering, NULL, true},
    {"reindex", do_reindex, NULL, false},
    {"check", do_check, NULL, false},
    {"check with repair", do_check, plant, false},
    {"catalog list", do_list, NULL, false},
    {"drop index", do_drop_index, NULL, false},
    {"drop table", do_drop_table, NULL, false},
    {"open a store", do_open_store, NULL, false},
};

static void consistent(world *w, const char *name, uint64_t n)
{
    const char *found = check(&w->d, w->post, false, NULL);
    if (found[0] != '\0')
        print_error("%s, allocation %llu: %s\n", name, (unsigned long long)n, found);
    assert_string_equal(found, "");
}

static void run_scenario(const scenario *s)
{
    world w;
    uint64_t n = 0;
    ti_status status = TI_OUT_OF_MEMORY;
    int64_t live = ti_mem_live();
    open_world(&w);
    if (!s->cold)
        fill(&w);
    while (status != TI_OK) {
        assert_true(++n < FAILURES_MAX);
        if (s->prepare != NULL)
            s->prepare(&w);
        ti_mem_fail_at(n);
        status = s->run(&w);
        ti_mem_fail_at(0);
        if (status != TI_OK && status != TI_OUT_OF_MEMORY)
            print_error("%s, allocation %llu: %s: %s\n", s->name, (unsigned long long)n,
                        ti_status_name(status), w.d.err.message);
        assert_true(status == TI_OK || status == TI_OUT_OF_MEMORY);
        if ((n % 16 == 0 && s->prepare == NULL) || status == TI_OK)
            consistent(&w, s->name, n);
        if (s->cold && status != TI_OK) {
            close_world(&w);
            open_world(&w);
        }
    }
    close_world(&w);
    if (ti_mem_live() != live)
        print_error("%s leaks\n", s->name);
    assert_int_equal(ti_mem_live(), live);
    print_message("%-32s %llu allocations failed\n", s->name, (unsigned long long)(n - 1));
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
        run_scenario(&scenarios[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_fails_once),
    };
    return TEST_RUN(tests);
}

/* Scenarios: reads, queries, the whole database, maintenance. */
#include "abi/nomem.h"

static int32_t with_query(stage *s, const char *index, int32_t (*work)(tito_query_t *query))
{
    tito_query_t *query = NULL;
    int32_t status = tito_query_new(s->items, index, strlen(index), &query, NULL);
    if (status == TITO_OK)
        status = work(query);
    tito_query_free(query);
    return status;
}

/* ---- reads ---- */

static int32_t run_find(stage *s)
{
    return wait_free(tito_model_find(s->items, NULL, TEXT("p"), NULL));
}

static int32_t run_find_absent(stage *s)
{
    return wait_free(tito_model_find(s->items, NULL, TEXT("none"), NULL));
}

static int32_t with_parent(stage *s, bool many)
{
    tito_read_t *read = tito_read_new();
    int32_t status =
        read == NULL ? TITO_OUT_OF_MEMORY : tito_read_relationship(read, TEXT("parent.parent"));
    if (status == TITO_OK && many)
        status =
            wait_page(tito_model_find_many(s->items, NULL, TEXT("[\"c\",\"p\",\"k1\"]"), read));
    else if (status == TITO_OK)
        status = wait_free(tito_model_find(s->items, NULL, TEXT("c"), read));
    tito_read_free(read);
    return status;
}
static int32_t run_find_hydrated(stage *s)
{
    return with_parent(s, false);
}
static int32_t run_find_many_hydrated(stage *s)
{
    return with_parent(s, true);
}

static int32_t run_find_many(stage *s)
{
    return wait_page(tito_model_find_many(s->items, NULL, TEXT("[\"p\",\"c\"]"), NULL));
}

static int32_t work_range(tito_query_t *query)
{
    int32_t status = first_of(tito_query_value(query, TEXT("\"k\"")),
                              tito_query_bound(query, TITO_GT, TEXT("2")));
    status = first_of(status, tito_query_bound(query, TITO_LTE, TEXT("7.5")));
    return first_of(status, wait_page(tito_query_execute(query, NULL)));
}
static int32_t run_query_range(stage *s)
{
    return with_query(s, "by_kind", work_range);
}

/* All pages of two, backward, with their parents. */
static int32_t work_pages(tito_query_t *query)
{
    int32_t status = first_of(tito_query_value(query, TEXT("\"k\"")), tito_query_limit(query, 4));
    status = first_of(status, tito_query_reverse(query, 1));
    status = first_of(status, tito_query_relationship(query, TEXT("parent")));
    for (size_t left = 1; status == TITO_OK && left > 0;) {
        tito_future_t *executed = tito_query_execute(query, NULL);
        status = tito_future_wait(executed, -1, NULL);
        tito_page_t *page = tito_future_page(executed);
        tito_slice cursor = tito_page_cursor(page);
        left = cursor.len;
        if (status == TITO_OK && page == NULL)
            status = TITO_OUT_OF_MEMORY;
        if (status == TITO_OK)
            status = tito_query_cursor(query, cursor.data, cursor.len);
        tito_page_free(page);
        tito_future_free(executed);
    }
    return status;
}
static int32_t run_query_pages(stage *s)
{
    return with_query(s, "by_kind", work_pages);
}

static int32_t work_keys(tito_query_t *query)
{
    int32_t status = tito_query_keys_only(query, 1);
    status = first_of(status, wait_page(tito_query_execute(query, NULL)));
    return first_of(status, wait_free(tito_query_first(query, NULL)));
}
static int32_t run_query_keys(stage *s)
{
    return with_query(s, "by_kind", work_keys);
}

static int32_t work_first(tito_query_t *query)
{
    int32_t status = tito_query_value(query, TEXT("\"taken\""));
    return first_of(status, wait_free(tito_query_first(query, NULL)));
}
static int32_t run_query_first(stage *s)
{
    return with_query(s, "by_code", work_first);
}

static int32_t work_count(tito_query_t *query)
{
    return wait_free(tito_query_count(query, NULL));
}
static int32_t run_query_count(stage *s)
{
    return with_query(s, "by_kind", work_count);
}

static int32_t work_explain(tito_query_t *query)
{
    return wait_free(tito_query_explain(query));
}
static int32_t run_query_explain(stage *s)
{
    return with_query(s, "by_kind", work_explain);
}

static int32_t work_forged(tito_query_t *query)
{
    int32_t status = tito_query_cursor(query, TEXT("abcdefgh"));
    return first_of(status, wait_free(tito_query_execute(query, NULL)));
}
static int32_t run_query_forged(stage *s)
{
    return with_query(s, "by_kind", work_forged);
}

static int32_t run_scan(stage *s)
{
    tito_query_t *query = NULL;
    int32_t status = tito_query_scan(s->items, &query, NULL);
    if (status == TITO_OK)
        status = first_of(tito_query_limit(query, 3), wait_page(tito_query_execute(query, NULL)));
    tito_query_free(query);
    return status;
}

/* ---- the whole database ---- */

static int32_t run_now(stage *s)
{
    return wait_free(tito_db_now(s->db));
}
static int32_t run_stats(stage *s)
{
    return wait_free(tito_db_stats(s->db));
}
static int32_t run_schema(stage *s)
{
    return wait_free(tito_db_schema(s->db));
}
static int32_t run_gc(stage *s)
{
    return wait_free(tito_db_gc(s->db, 1000000));
}

/* A table of its own, named by the run, with one record: a drop that fails is not begun again. */
static int32_t make_table(stage *s)
{
    char spec[256];
    tito_model_t *model = NULL;
    int len = snprintf(spec, sizeof(spec),
                       "{\"table\":\"%s\",\"indexes\":[{\"name\":\"i\",\"fields\":"
                       "[{\"name\":\"n\",\"type\":\"number\"}]}]}",
                       s->id);
    int32_t status = tito_model_declare(s->db, spec, (size_t)len, &model, NULL);
    if (status == TITO_OK)
        status = wait_free(tito_model_save(model, NULL, TEXT("{\"id\":\"a\",\"n\":1}"), NULL));
    tito_model_free(model);
    return status;
}

static int32_t run_drop_index(stage *s)
{
    return first_of(make_table(s),
                    wait_free(tito_db_drop_index(s->db, s->id, strlen(s->id), TEXT("i"))));
}

static int32_t run_drop_table(stage *s)
{
    return first_of(make_table(s), wait_free(tito_db_drop_table(s->db, s->id, strlen(s->id))));
}

/* Steps until the end; documents are told that no condition holds. */
static int32_t all_steps(tito_steps_t *steps)
{
    int32_t status = TITO_OK;
    int64_t step = TITO_STEP_MORE;
    while (status == TITO_OK && step != TITO_STEP_DONE) {
        tito_future_t *next = tito_steps_next(steps);
        status = tito_future_wait(next, -1, NULL);
        step = tito_future_int(next);
        for (size_t i = 0; i < tito_steps_count(steps) && status == TITO_OK; i++)
            status = tito_steps_reply(steps, i, 0);
        tito_future_free(next);
    }
    return status;
}

static int32_t check_model(tito_model_t *model, const char *repair)
{
    tito_steps_t *steps = NULL;
    tito_options_t *options = tito_options_new();
    int32_t status = options == NULL ? TITO_OUT_OF_MEMORY
                                     : tito_options_set(options, "repair", repair, strlen(repair));
    if (status == TITO_OK)
        status = tito_check_open(model, options, &steps, NULL);
    if (status == TITO_OK)
        status = all_steps(steps);
    tito_steps_free(steps);
    tito_options_free(options);
    return status;
}

static int32_t run_check(stage *s)
{
    return check_model(s->items, "false");
}
static int32_t run_repair(stage *s)
{
    return check_model(s->conditional, "true");
}

static int32_t run_reindex(stage *s)
{
    tito_steps_t *steps = NULL;
    int32_t status = tito_reindex_open(s->items, NULL, &steps, NULL);
    if (status == TITO_OK)
        status = all_steps(steps);
    tito_steps_free(steps);
    return status;
}

const scenario nomem_reads[] = {
    {"find", run_find, TITO_OK},
    {"find absent", run_find_absent, TITO_NOT_FOUND},
    {"find hydrated", run_find_hydrated, TITO_OK},
    {"find many", run_find_many, TITO_OK},
    {"find many hydrated", run_find_many_hydrated, TITO_OK},
    {"query range", run_query_range, TITO_OK},
    {"query pages", run_query_pages, TITO_OK},
    {"query keys", run_query_keys, TITO_OK},
    {"query first", run_query_first, TITO_OK},
    {"query count", run_query_count, TITO_OK},
    {"query explain", run_query_explain, TITO_OK},
    {"query forged", run_query_forged, TITO_INVALID_ARGUMENT},
    {"scan", run_scan, TITO_OK},
    {"now", run_now, TITO_OK},
    {"stats", run_stats, TITO_OK},
    {"schema", run_schema, TITO_OK},
    {"gc", run_gc, TITO_OK},
    {"drop index", run_drop_index, TITO_OK},
    {"drop table", run_drop_table, TITO_OK},
    {"check", run_check, TITO_OK},
    {"repair", run_repair, TITO_OK},
    {"reindex", run_reindex, TITO_OK},
    {NULL, NULL, TITO_OK},
};

/* The C ABI's parts about documents: insert, find_by_id, query_index+hydrate10, open; and publish,
 * which fills the queue between the inserts as the original's benchmark does. */
#include "abi.h"

#include <stdlib.h>
#include <string.h>

void bench_abi_check(const char *what, int32_t status, tito_error_t *error)
{
    if (status == TITO_OK)
        return;
    tito_slice message = tito_error_message(error);
    bench_fail("%s: %s: %.*s", what, tito_status_name(status), (int)message.len, message.data);
}

void bench_await(const char *what, tito_future_t *future)
{
    tito_error_t *error = NULL;
    int32_t status = tito_future_wait(future, -1, &error);
    bench_abi_check(what, status, error);
    tito_future_free(future);
}

tito_db_t *bench_db_connect(const bench_options *options, const char *name)
{
    char path[4096];
    int len = options->target ? snprintf(path, sizeof path, "%s", options->target)
                              : snprintf(path, sizeof path, "%s/%s", options->dir, name);
    tito_options_t *o = tito_options_new();
    if (len < 0 || (size_t)len >= sizeof path || !o)
        bench_fail("the path is too long, or there is no memory");
    if (options->target)
        tito_options_set(o, "namespace", options->namespace, strlen(options->namespace));
    tito_options_set(o, "durability", options->durability, strlen(options->durability));
    tito_options_set_int(o, "block_cache_size", (int64_t)options->cache_mib << 20);
    tito_db_t *db = NULL;
    tito_error_t *error = NULL;
    bench_abi_check(path, tito_connect(path, (size_t)len, o, &db, &error), error);
    tito_options_free(o);
    return db;
}

static tito_model_t *declare(tito_db_t *db, const char *spec)
{
    tito_model_t *model = NULL;
    tito_error_t *error = NULL;
    int32_t status = tito_model_declare(db, spec, strlen(spec), &model, &error);
    bench_abi_check("declaring a model", status, error);
    return model;
}

bench_db bench_db_open(const bench_options *options, const char *name)
{
    bench_db b = {.db = bench_db_connect(options, name)};
    b.tag = declare(b.db, bench_tag_spec);
    b.post = declare(b.db, bench_post_spec);
    tito_options_t *o = tito_options_new();
    tito_options_set_int(o, "partitions", BENCH_PARTITIONS);
    tito_error_t *error = NULL;
    int32_t status = tito_queue_open(b.db, "bench", 5, o, &b.queue, &error);
    bench_abi_check("opening the queue", status, error);
    tito_options_free(o);
    return b;
}

void bench_db_close(bench_db *b)
{
    tito_queue_free(b->queue);
    tito_model_free(b->tag);
    tito_model_free(b->post);
    tito_error_t *error = NULL;
    bench_abi_check("closing", tito_db_close(b->db, &error), error);
    tito_db_free(b->db);
}

typedef struct data {
    bench_db b;
    long posts;  /* that are read */
    long offset; /* of their ids */
} data;

static bool insert(void *context, int caller, long i)
{
    (void)caller;
    data *d = context;
    char text[BENCH_DOCUMENT_SIZE_MAX];
    size_t len = bench_post_document(text, sizeof text, d->offset, i);
    bench_await("insert", tito_model_build(d->b.post, NULL, text, len, NULL));
    return true;
}

bool bench_publish(void *context, int caller, long i)
{
    (void)caller;
    bench_db *b = context;
    char key[32], payload[64];
    size_t key_len = bench_event_key(key, sizeof key, i);
    size_t payload_len = bench_event_payload(payload, sizeof payload, i);
    bench_await("publish",
                tito_queue_publish(b->queue, NULL, key, key_len, payload, payload_len, 0, 0, NULL));
    return true;
}

/* How many requests for timestamps the database has sent; 0 on the embedded engine. */
static long timestamp_requests(tito_db_t *db)
{
    static const char name[] = "\"tso_requests\":";
    tito_future_t *future = tito_db_stats(db);
    tito_error_t *error = NULL;
    bench_abi_check("statistics", tito_future_wait(future, -1, &error), error);
    tito_slice json = tito_future_bytes(future);
    const char *at = memmem(json.data, json.len, name, strlen(name));
    long requests = at ? strtol(at + strlen(name), NULL, 10) : 0;
    tito_future_free(future);
    return requests;
}

void bench_c_write(const bench_options *options)
{
    static const bench_histogram none;
    data d = {.b = bench_db_open(options, "c")};
    for (int i = 0; i < BENCH_TAGS; i++) {
        char text[64];
        size_t len = bench_tag_document(text, sizeof text, i);
        bench_await("a tag", tito_model_build(d.b.tag, NULL, text, len, NULL));
    }
    for (int level = 0; level < BENCH_LEVELS; level++) {
        int callers = bench_levels[level];
        long ops = bench_level_ops(options, callers);
        long n = level == 0 ? options->posts : ops;
        d.offset = (long)callers * BENCH_ID_STRIDE;
        long requests = timestamp_requests(d.b.db);
        uint64_t began = bench_now_ns();
        bench_measure(&(bench_run){"c", "insert", callers, n, insert, &d});
        if (options->target)
            bench_result("c", "timestamp_requests", callers, timestamp_requests(d.b.db) - requests,
                         (double)(bench_now_ns() - began) / 1e9, 0, &none);
        bench_measure(&(bench_run){"c", "publish", callers, ops, bench_publish, &d.b});
    }
    bench_db_close(&d.b);
}

static bool find_by_id(void *context, int caller, long i)
{
    (void)caller;
    data *d = context;
    char id[32];
    size_t len = bench_post_id(id, sizeof id, d->offset, (i * 7919) % d->posts);
    tito_future_t *future = tito_model_find(d->b.post, NULL, id, len, NULL);
    tito_error_t *error = NULL;
    bench_abi_check("find_by_id", tito_future_wait(future, -1, &error), error);
    bool whole = tito_future_bytes(future).len > 256;
    tito_future_free(future);
    return whole;
}

static bool query(void *context, int caller, long i)
{
    (void)caller;
    data *d = context;
    char author[32];
    int len = snprintf(author, sizeof author, "\"author%ld\"", i % BENCH_AUTHORS);
    tito_query_t *q = NULL;
    tito_error_t *error = NULL;
    bench_abi_check("query", tito_query_new(d->b.post, "by_author", 9, &q, &error), error);
    tito_query_value(q, author, (size_t)len);
    tito_query_limit(q, 10);
    tito_query_relationship(q, "tags", 4);
    tito_future_t *future = tito_query_execute(q, NULL);
    bench_abi_check("query", tito_future_wait(future, -1, &error), error);
    tito_page_t *page = tito_future_page(future);
    bool whole = tito_page_count(page) > 0 && tito_page_document(page, 0).len > 256;
    tito_page_free(page);
    tito_future_free(future);
    tito_query_free(q);
    return whole;
}

void bench_c_read(const bench_options *options)
{
    data d = {.b = bench_db_open(options, "c"), .posts = options->posts, .offset = BENCH_ID_STRIDE};
    bench_warm_up(&(bench_run){"c", "find_by_id", 1, options->ops, find_by_id, &d});
    for (int level = 0; level < BENCH_LEVELS; level++) {
        int callers = bench_levels[level];
        long n = bench_level_ops(options, callers);
        if (options->target) { // as the original does: what this level inserted
            d.offset = (long)callers * BENCH_ID_STRIDE;
            d.posts = n;
        }
        bench_measure(&(bench_run){"c", "find_by_id", callers, n, find_by_id, &d});
        bench_measure(&(bench_run){"c", "query_index+hydrate10", callers, (n + 1) / 2, query, &d});
    }
    bench_db_close(&d.b);
}

void bench_c_clean(const bench_options *options)
{
    bench_db b = bench_db_open(options, "c");
    bench_await("dropping post", tito_db_drop_table(b.db, "post", 4));
    bench_await("dropping tag", tito_db_drop_table(b.db, "tag", 3));
    bench_db_close(&b);
}

void bench_c_open(const bench_options *options)
{
    bench_histogram h = {.total = 0};
    enum { OPENS = 10 };
    uint64_t began = bench_now_ns();
    double cpu_s = bench_cpu_s();
    for (int i = 0; i < OPENS; i++) {
        char name[32];
        snprintf(name, sizeof name, "empty-%d", i);
        uint64_t t = bench_now_ns();
        tito_db_t *db = bench_db_connect(options, name);
        bench_histogram_add(&h, bench_now_ns() - t);
        if (i == OPENS - 1)
            bench_result("c", "open", 1, OPENS, (double)(bench_now_ns() - began) / 1e9,
                         bench_cpu_s() - cpu_s, &h);
        tito_db_free(db);
    }
}

/* The limit for reads: the same gets and scans on the directory that tito wrote.
 *
 * query_index+hydrate10: a scan of ten entries from the first of an author, a multi-get of the ten
 * records and one of their tags, each tag once (the posts of one author differ by multiples of 100
 * in their number and so have the same three tags). */
#include "record.h"

#include <stdlib.h>
#include <string.h>

enum { HYDRATED = 10 };

typedef struct raw_reads {
    bench_rocks rocks;
    long posts;
    bench_bytes first[BENCH_AUTHORS]; /* the first entry of each author in by_author */
} raw_reads;

static bool find_by_id(void *context, int caller, long i)
{
    (void)caller;
    raw_reads *r = context;
    char key[64] = "table:post:";
    size_t len = strlen(key);
    len += bench_post_id(key + len, sizeof key - len, BENCH_ID_STRIDE, (i * 7919) % r->posts);
    char *error = NULL;
    size_t value_len;
    char *value = rocksdb_get(r->rocks.db, r->rocks.read, key, len, &value_len, &error);
    bench_rocks_check("get", error);
    bool found = value != NULL && value_len > 256;
    rocksdb_free(value);
    return found;
}

/* Gets count records, all of which must be there. */
static bool get_all(raw_reads *r, char keys[][64], size_t count)
{
    const char *key[HYDRATED] = {NULL};
    size_t len[HYDRATED] = {0};
    rocksdb_pinnableslice_t *value[HYDRATED];
    char *error[HYDRATED];
    for (size_t k = 0; k < count; k++) {
        key[k] = keys[k];
        len[k] = strlen(keys[k]);
    }
    rocksdb_batched_multi_get_cf(r->rocks.db, r->rocks.read, r->rocks.cf, count, key, len, value,
                                 error, false);
    bool whole = true;
    for (size_t k = 0; k < count; k++) {
        bench_rocks_check("multi-get", error[k]);
        size_t value_len = 0;
        if (value[k])
            (void)rocksdb_pinnableslice_value(value[k], &value_len);
        whole = whole && value_len > 0;
        rocksdb_pinnableslice_destroy(value[k]);
    }
    return whole;
}

static bool query(void *context, int caller, long i)
{
    (void)caller;
    raw_reads *r = context;
    const bench_bytes *first = &r->first[i % BENCH_AUTHORS];
    char keys[HYDRATED][64];
    rocksdb_iterator_t *it = rocksdb_create_iterator(r->rocks.db, r->rocks.read);
    rocksdb_iter_seek(it, first->data, first->len);
    size_t count = 0;
    for (; count < HYDRATED && rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        size_t len;
        const char *key = rocksdb_iter_key(it, &len);
        long id = bench_record_id(key, len);
        if (id < 0 || id % BENCH_AUTHORS != i % BENCH_AUTHORS)
            break;
        snprintf(keys[count++], sizeof keys[0], "table:post:p%ld", id);
    }
    rocksdb_iter_destroy(it);
    if (count == 0 || !get_all(r, keys, count))
        return false;
    for (int t = 0; t < 3; t++)
        snprintf(keys[t], sizeof keys[0], "table:tag:t%d", bench_post_tag(i % BENCH_AUTHORS, t));
    return get_all(r, keys, 3);
}

/* Finds where each author begins in the index. */
static void find_authors(raw_reads *r)
{
    static const char prefix[] = "index:post:by_author:";
    int found = 0;
    rocksdb_iterator_t *it = rocksdb_create_iterator(r->rocks.db, r->rocks.read);
    rocksdb_iter_seek(it, prefix, sizeof prefix - 1);
    for (; found < BENCH_AUTHORS && rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        size_t len;
        const char *key = rocksdb_iter_key(it, &len);
        long id = len > sizeof prefix ? bench_record_id(key, len) : -1;
        if (id < 0 || memcmp(key, prefix, sizeof prefix - 1) != 0)
            break;
        bench_bytes *first = &r->first[id % BENCH_AUTHORS];
        if (first->data)
            continue;
        char *copy = malloc(len);
        if (!copy)
            bench_fail("no memory");
        memcpy(copy, key, len);
        *first = (bench_bytes){copy, len};
        found++;
    }
    rocksdb_iter_destroy(it);
    if (found < BENCH_AUTHORS && r->posts >= BENCH_AUTHORS)
        bench_fail("the index by_author has %d authors, not %d", found, BENCH_AUTHORS);
}

void bench_raw_read(const bench_options *options)
{
    raw_reads r = {.rocks = bench_rocks_open(options, "c"), .posts = options->posts};
    bench_rocks_settle(&r.rocks);
    find_authors(&r);
    bench_warm_up(&(bench_run){"raw", "find_by_id", 1, options->ops, find_by_id, &r});
    for (int level = 0; level < BENCH_LEVELS; level++) {
        int callers = bench_levels[level];
        long n = bench_level_ops(options, callers);
        bench_measure(&(bench_run){"raw", "find_by_id", callers, n, find_by_id, &r});
        bench_measure(
            &(bench_run){"raw", "query_index+hydrate10", callers, (n + 1) / 2, query, &r});
    }
    bench_rocks_close(&r.rocks);
}

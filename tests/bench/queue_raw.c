/* The limit for publishing: RocksDB's C API writing the events that queue_c.c published, one by one
 * and in batches of a hundred, in the order in which they were published. */
#include "record.h"

#include <stdlib.h>
#include <string.h>

typedef struct raw_events {
    bench_rocks rocks;
    bench_entries ones, hundreds;
    rocksdb_writebatch_t *batch;
} raw_events;

/* Where the place in an event's key begins: event:{type}:{partition}:{place}. */
static const char *place_of(const bench_entry *e)
{
    const char *at = e->key.data;
    for (int colons = 0; colons < 3; colons++) {
        at = memchr(at, ':', e->key.len - (size_t)(at - e->key.data));
        if (!at)
            bench_fail("the key of an event is another than it was");
        at++;
    }
    return at;
}

static int by_place(const void *a, const void *b)
{
    const bench_entry *x = a, *y = b;
    const char *x_at = place_of(x), *y_at = place_of(y);
    size_t x_len = x->key.len - (size_t)(x_at - x->key.data);
    size_t y_len = y->key.len - (size_t)(y_at - y->key.data);
    int order = memcmp(x_at, y_at, x_len < y_len ? x_len : y_len);
    return order ? order : (x_len > y_len) - (x_len < y_len);
}

static bool write_batch(raw_events *r)
{
    char *error = NULL;
    rocksdb_write(r->rocks.db, r->rocks.write, r->batch, &error);
    bench_rocks_check("write", error);
    rocksdb_writebatch_clear(r->batch);
    return true;
}

static void put(raw_events *r, const bench_entry *e)
{
    rocksdb_writebatch_put(r->batch, e->key.data, e->key.len, e->value.data, e->value.len);
}

static bool publish_one(void *context, int caller, long i)
{
    (void)caller;
    raw_events *r = context;
    put(r, &r->ones.entry[i]);
    return write_batch(r);
}

static void read_events(const bench_options *options, raw_events *r)
{
    r->rocks = bench_rocks_open(options, "c");
    bench_rocks_settle(&r->rocks);
    bench_record_prefix(&r->rocks, "event:q1:", &r->ones);
    bench_record_prefix(&r->rocks, "event:q100:", &r->hundreds);
    bench_rocks_close(&r->rocks);
    if (r->ones.count != (size_t)bench_queue_ones(options) ||
        r->hundreds.count != (size_t)bench_queue_hundreds(options))
        bench_fail("%zu and %zu events are stored, which is not what was published", r->ones.count,
                   r->hundreds.count);
    qsort(r->ones.entry, r->ones.count, sizeof(bench_entry), by_place);
    qsort(r->hundreds.entry, r->hundreds.count, sizeof(bench_entry), by_place);
}

void bench_raw_hundred(const bench_options *options)
{
    raw_events r = {.ones = {.entry = NULL}};
    read_events(options, &r);
    r.rocks = bench_rocks_open(options, "raw");
    r.batch = rocksdb_writebatch_create();
    bench_measure(&(bench_run){"raw", "publish", 1, (long)r.ones.count, publish_one, &r});
    bench_histogram h = {.total = 0};
    uint64_t began = bench_now_ns();
    double cpu_s = bench_cpu_s();
    for (size_t i = 0; i < r.hundreds.count; i += BENCH_HUNDRED) {
        uint64_t t = bench_now_ns();
        for (size_t e = i; e < i + BENCH_HUNDRED; e++)
            put(&r, &r.hundreds.entry[e]);
        write_batch(&r);
        bench_histogram_add(&h, bench_now_ns() - t);
    }
    bench_result("raw", "publish_100", 1, (long)r.hundreds.count,
                 (double)(bench_now_ns() - began) / 1e9, bench_cpu_s() - cpu_s, &h);
    rocksdb_writebatch_destroy(r.batch);
    bench_rocks_close(&r.rocks);
}

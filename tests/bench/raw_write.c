/* The limit for writes: RocksDB's C API doing the mutations that tito did, from as many threads.
 *
 * insert: one WriteBatch of the five rows of a post. publish: a batch of one event. drain: batches
 * that delete 100 events and put their 100 rows of history. The batches are built in the measured
 * time; keys and values are at hand. */
#include "record.h"

#include <string.h>

enum { DRAIN_BATCH = 100 };

typedef struct raw_writes {
    bench_rocks rocks;
    bench_record record;
    int level;
    size_t events_done; /* of the levels before this one */
    rocksdb_writebatch_t *batch[64];
} raw_writes;

static bool write_batch(raw_writes *w, int caller)
{
    char *error = NULL;
    rocksdb_write(w->rocks.db, w->rocks.write, w->batch[caller], &error);
    bench_rocks_check("write", error);
    rocksdb_writebatch_clear(w->batch[caller]);
    return true;
}

static void put(raw_writes *w, int caller, const bench_entry *e)
{
    rocksdb_writebatch_put(w->batch[caller], e->key.data, e->key.len, e->value.data, e->value.len);
}

static bool insert(void *context, int caller, long i)
{
    raw_writes *w = context;
    const bench_recorded_post *post = &w->record.posts[w->level][i];
    for (int e = 0; e < BENCH_ENTRIES; e++)
        put(w, caller, &post->entry[e]);
    return write_batch(w, caller);
}

static bool publish(void *context, int caller, long i)
{
    raw_writes *w = context;
    put(w, caller, &w->record.events.entry[w->events_done + (size_t)i]);
    return write_batch(w, caller);
}

static void write_begin(raw_writes *w, const bench_options *options, const char *source)
{
    memset(w, 0, sizeof *w);
    w->rocks = bench_rocks_open(options, source);
    bench_rocks_settle(&w->rocks);
    bench_record_read(options, &w->rocks, &w->record);
    for (int i = 0; i < 64; i++)
        w->batch[i] = rocksdb_writebatch_create();
}

static void write_end(raw_writes *w)
{
    for (int i = 0; i < 64; i++)
        rocksdb_writebatch_destroy(w->batch[i]);
    bench_rocks_close(&w->rocks);
}

void bench_raw_write(const bench_options *options)
{
    raw_writes w;
    write_begin(&w, options, "c");
    bench_rocks_close(&w.rocks);
    if (w.record.events.count != (size_t)bench_events(options))
        bench_fail("%zu events are stored, %ld were published", w.record.events.count,
                   bench_events(options));
    w.rocks = bench_rocks_open(options, "raw");
    for (size_t i = 0; i < w.record.tags.count; i++)
        put(&w, 0, &w.record.tags.entry[i]);
    write_batch(&w, 0);

    for (w.level = 0; w.level < BENCH_LEVELS; w.level++) {
        int callers = bench_levels[w.level];
        bench_measure(
            &(bench_run){"raw", "insert", callers, w.record.post_counts[w.level], insert, &w});
        long events = bench_level_ops(options, callers);
        bench_measure(&(bench_run){"raw", "publish", callers, events, publish, &w});
        w.events_done += (size_t)events;
    }
    write_end(&w);
}

/* Deletes and history of events that were pending in "raw", in batches. */
static bool drain(void *context, int caller, long i)
{
    raw_writes *w = context;
    const bench_entries *events = &w->record.events, *history = &w->record.completed;
    size_t from = (size_t)i * DRAIN_BATCH;
    size_t to = from + DRAIN_BATCH < events->count ? from + DRAIN_BATCH : events->count;
    for (size_t e = from; e < to; e++) {
        rocksdb_writebatch_delete(w->batch[caller], events->entry[e].key.data,
                                  events->entry[e].key.len);
        if (e < history->count)
            put(w, caller, &history->entry[e]);
    }
    return write_batch(w, caller);
}

void bench_raw_drain(const bench_options *options)
{
    raw_writes w;
    write_begin(&w, options, "raw");
    bench_rocks_close(&w.rocks);
    // The pending events come from "raw", where they still are; their history from "c".
    bench_record done;
    w.rocks = bench_rocks_open(options, "c");
    bench_record_read(options, &w.rocks, &done);
    bench_rocks_close(&w.rocks);
    w.record.completed = done.completed;
    w.rocks = bench_rocks_open(options, "raw");

    size_t n = w.record.events.count;
    bench_histogram none = {.total = 0};
    uint64_t began = bench_now_ns();
    double cpu_s = bench_cpu_s();
    for (size_t i = 0; i * DRAIN_BATCH < n; i++)
        drain(&w, 0, (long)i);
    bench_result("raw", "drain", 1, (long)n, (double)(bench_now_ns() - began) / 1e9,
                 bench_cpu_s() - cpu_s, &none);
    write_end(&w);
}

void bench_raw_open(const bench_options *options)
{
    bench_histogram h = {.total = 0};
    enum { OPENS = 10 };
    uint64_t began = bench_now_ns();
    double cpu_s = bench_cpu_s();
    for (int i = 0; i < OPENS; i++) {
        char name[32];
        snprintf(name, sizeof name, "raw-empty-%d", i);
        uint64_t t = bench_now_ns();
        bench_rocks rocks = bench_rocks_open(options, name);
        bench_histogram_add(&h, bench_now_ns() - t);
        if (i == OPENS - 1)
            bench_result("raw", "open", 1, OPENS, (double)(bench_now_ns() - began) / 1e9,
                         bench_cpu_s() - cpu_s, &h);
        bench_rocks_close(&rocks);
    }
}

/* Opens directories below tito and reads back what it stored (record.h). */
#include "record.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void bench_rocks_check(const char *what, char *error)
{
    if (error)
        bench_fail("%s: %s", what, error);
}

static void path_of(char *out, size_t size, const bench_options *options, const char *name)
{
    if (snprintf(out, size, "%s/%s", options->dir, name) >= (int)size)
        bench_fail("the path %s is too long", options->dir);
}

/* The options of a directory do not bring its filter: RocksDB stores the name that its C interface
 * gave the filter, and does not know it again. tito's has ten bits a key. */
static rocksdb_options_t *with_filter(const rocksdb_options_t *options)
{
    char *error = NULL;
    rocksdb_options_t *whole = rocksdb_options_create();
    rocksdb_get_options_from_string(
        options, "block_based_table_factory={filter_policy=bloomfilter:10:false;}", whole, &error);
    bench_rocks_check("the filter", error);
    return whole;
}

bench_rocks bench_rocks_open(const bench_options *options, const char *name)
{
    char like[4096], path[4096];
    path_of(like, sizeof like, options, "c");
    path_of(path, sizeof path, options, name);
    rocksdb_env_t *env = rocksdb_create_default_env();
    rocksdb_cache_t *cache = rocksdb_cache_create_lru((size_t)options->cache_mib << 20);
    rocksdb_options_t *db_options = NULL, **cf_options = NULL;
    char **names = NULL, *error = NULL;
    size_t families = 0;
    rocksdb_load_latest_options(like, env, false, cache, &db_options, &families, &names,
                                &cf_options, &error);
    bench_rocks_check("the options of tito's directory", error);
    if (families != 1)
        bench_fail("tito's directory has %zu column families, the benchmark knows one", families);
    rocksdb_options_set_create_if_missing(db_options, 1);
    rocksdb_options_t *cf_whole = with_filter(cf_options[0]);

    bench_rocks rocks = {.read = rocksdb_readoptions_create(),
                         .write = rocksdb_writeoptions_create()};
    rocksdb_writeoptions_set_sync(rocks.write, strcmp(options->durability, "sync") == 0);
    rocks.db = rocksdb_open_column_families(db_options, path, 1, (const char *const *)names,
                                            (const rocksdb_options_t *const *)&cf_whole, &rocks.cf,
                                            &error);
    bench_rocks_check(path, error);
    rocksdb_options_destroy(cf_whole);
    rocksdb_load_latest_options_destroy(db_options, names, cf_options, families);
    rocksdb_cache_destroy(cache);
    rocksdb_env_destroy(env);
    return rocks;
}

void bench_rocks_close(bench_rocks *rocks)
{
    rocksdb_column_family_handle_destroy(rocks->cf);
    rocksdb_close(rocks->db);
    rocksdb_readoptions_destroy(rocks->read);
    rocksdb_writeoptions_destroy(rocks->write);
}

void bench_rocks_settle(bench_rocks *rocks)
{
    static const char *const busy[] = {"rocksdb.mem-table-flush-pending",
                                       "rocksdb.num-running-flushes", "rocksdb.compaction-pending",
                                       "rocksdb.num-running-compactions"};
    for (int quiet = 0, tries = 0; quiet < 3 && tries < 3000; tries++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < sizeof busy / sizeof busy[0]; i++) {
            uint64_t value = 0;
            if (rocksdb_property_int(rocks->db, busy[i], &value) == 0)
                sum += value;
        }
        quiet = sum == 0 ? quiet + 1 : 0;
        usleep(10000);
    }
}

/* Memory that is never given back. */
static char *keep(const char *data, size_t len)
{
    static char *chunk;
    static size_t left;
    if (len > left) {
        left = len > (8u << 20) ? len : (8u << 20);
        chunk = malloc(left);
        if (!chunk)
            bench_fail("no memory for what tito stored");
    }
    char *copy = chunk;
    memcpy(copy, data, len);
    chunk += len;
    left -= len;
    return copy;
}

static bench_entry kept_entry(rocksdb_iterator_t *it)
{
    bench_entry e;
    const char *key = rocksdb_iter_key(it, &e.key.len);
    e.key.data = keep(key, e.key.len);
    const char *value = rocksdb_iter_value(it, &e.value.len);
    e.value.data = keep(value, e.value.len);
    return e;
}

static void append(bench_entries *list, bench_entry e)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 1024;
        list->entry = realloc(list->entry, list->capacity * sizeof *list->entry);
        if (!list->entry)
            bench_fail("no memory for what tito stored");
    }
    list->entry[list->count++] = e;
}

long bench_record_id(const char *key, size_t len)
{
    size_t end = len;
    while (end > 0 && (key[end - 1] < '0' || key[end - 1] > '9'))
        end--;
    size_t begin = end;
    long id = 0, unit = 1;
    while (begin > 0 && key[begin - 1] >= '0' && key[begin - 1] <= '9' && unit < 1000000000) {
        id += (key[--begin] - '0') * unit;
        unit *= 10;
    }
    return begin > 0 && begin < end && key[begin - 1] == 'p' ? id : -1;
}

int bench_record_level(long id)
{
    for (int level = BENCH_LEVELS - 1; level >= 0; level--)
        if (id >= (long)bench_levels[level] * BENCH_ID_STRIDE)
            return level;
    return -1;
}

static bool begins(rocksdb_iterator_t *it, const char *prefix)
{
    size_t len;
    const char *key = rocksdb_iter_key(it, &len);
    return len >= strlen(prefix) && memcmp(key, prefix, strlen(prefix)) == 0;
}

static void add_to_post(bench_record *r, bench_entry e)
{
    long id = bench_record_id(e.key.data, e.key.len);
    int level = id < 0 ? -1 : bench_record_level(id);
    long i = level < 0 ? -1 : id - (long)bench_levels[level] * BENCH_ID_STRIDE;
    if (i < 0 || i >= r->post_counts[level])
        bench_fail("a row of a post has an id that the benchmark did not insert");
    bench_recorded_post *post = &r->posts[level][i];
    if (post->count == BENCH_ENTRIES)
        bench_fail("post p%ld has more than %d rows", id, BENCH_ENTRIES);
    post->entry[post->count++] = e;
}

static void check_whole(const bench_record *r)
{
    for (int level = 0; level < BENCH_LEVELS; level++)
        for (long i = 0; i < r->post_counts[level]; i++)
            if (r->posts[level][i].count != BENCH_ENTRIES)
                bench_fail("post %ld of level %d has %d rows, not %d", i, level,
                           r->posts[level][i].count, BENCH_ENTRIES);
    if (r->tags.count != BENCH_TAGS)
        bench_fail("there are %zu tags, not %d", r->tags.count, BENCH_TAGS);
}

void bench_record_read(const bench_options *options, bench_rocks *rocks, bench_record *out)
{
    *out = (bench_record){.tags = {.entry = NULL}};
    for (int level = 0; level < BENCH_LEVELS; level++) {
        long n = level == 0 ? options->posts : bench_level_ops(options, bench_levels[level]);
        out->post_counts[level] = n;
        out->posts[level] = calloc((size_t)n, sizeof *out->posts[level]);
        if (!out->posts[level])
            bench_fail("no memory for what tito stored");
    }
    rocksdb_iterator_t *it = rocksdb_create_iterator(rocks->db, rocks->read);
    for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        if (begins(it, "table:post:") || begins(it, "index:post:"))
            add_to_post(out, kept_entry(it));
        else if (begins(it, "table:tag:"))
            append(&out->tags, kept_entry(it));
        else if (begins(it, "event:bench:"))
            append(&out->events, kept_entry(it));
        else if (begins(it, "queue:bench:COMPLETED:"))
            append(&out->completed, kept_entry(it));
    }
    char *error = NULL;
    rocksdb_iter_get_error(it, &error);
    bench_rocks_check("reading tito's directory", error);
    rocksdb_iter_destroy(it);
    check_whole(out);
}

void bench_record_prefix(bench_rocks *rocks, const char *prefix, bench_entries *out)
{
    char *error = NULL;
    rocksdb_iterator_t *it = rocksdb_create_iterator(rocks->db, rocks->read);
    for (rocksdb_iter_seek(it, prefix, strlen(prefix));
         rocksdb_iter_valid(it) && begins(it, prefix); rocksdb_iter_next(it))
        append(out, kept_entry(it));
    rocksdb_iter_get_error(it, &error);
    bench_rocks_check("reading tito's directory", error);
    rocksdb_iter_destroy(it);
}

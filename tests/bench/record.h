/* What tito stored, read back from its directory: the raw parts do the same mutations.
 *
 * A post's rows are found by the id in their keys: in `table:post:ID` it is the rest of the key, in
 * an index entry the last text of the tuple. So this knows how keys look, which otherwise only
 * core/codec does; it is checked: every post must have its five rows, else the run ends.
 *
 * All texts live until the process ends. */
#ifndef TITO_BENCH_RECORD_H
#define TITO_BENCH_RECORD_H

#include "bench.h"

#include <rocksdb/c.h>

typedef struct bench_bytes {
    const char *data;
    size_t len;
} bench_bytes;

typedef struct bench_entry {
    bench_bytes key, value;
} bench_entry;

typedef struct bench_recorded_post {
    bench_entry entry[BENCH_ENTRIES];
    int count;
} bench_recorded_post;

typedef struct bench_entries {
    bench_entry *entry;
    size_t count, capacity;
} bench_entries;

typedef struct bench_record {
    bench_recorded_post *posts[BENCH_LEVELS];
    long post_counts[BENCH_LEVELS];
    bench_entries tags;
    bench_entries events;    /* pending, in the order of their places */
    bench_entries completed; /* history */
} bench_record;

/* How a directory is opened below tito: with the options that tito left in it. */
typedef struct bench_rocks {
    rocksdb_t *db;
    rocksdb_column_family_handle_t *cf;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
} bench_rocks;

/* Opens dir/name; a new directory gets the options of dir/"c". */
bench_rocks bench_rocks_open(const bench_options *options, const char *name);
void bench_rocks_close(bench_rocks *rocks);
/* Waits until no flush and no compaction runs or is due. */
void bench_rocks_settle(bench_rocks *rocks);
/* Ends the run when error is set. */
void bench_rocks_check(const char *what, char *error);

/* Reads everything in. Ends the run when something is missing. */
void bench_record_read(const bench_options *options, bench_rocks *rocks, bench_record *out);
/* Appends all rows whose keys begin so, in the order of their keys. */
void bench_record_prefix(bench_rocks *rocks, const char *prefix, bench_entries *out);
/* The number in the id at the end of the key of a post's row; -1 when there is none. */
long bench_record_id(const char *key, size_t len);
/* The level whose posts begin at or below an id. */
int bench_record_level(long id);

#endif

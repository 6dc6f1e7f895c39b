/* Opening RocksDB with tito's options, and closing it.
 *
 * The options aim at one machine shared with an application: little memory (a block cache that also
 * holds indexes and filters, two small memtables), few threads, point reads by whole-key bloom
 * filters in files and memtables, LZ4. The leader of the commit queue is the only writer, so
 * RocksDB's own machinery for concurrent writers is off.
 *
 * RocksDB's own LOG gets the options at opening and nothing after: Debian's build asserts that
 * writing to it does not fail again after it has failed, so on a full disk each further line would
 * abort the process.
 *
 * Thread rule: by one thread, before others know the engine and after they have left it. */
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "rocks/rocks_int.h"

#define BLOOM_BITS_PER_KEY 10.0
#define MEMTABLE_BLOOM_RATIO 0.02
#define BLOCK_SIZE (8 * 1024)
#define SYNC_SIZE (1024 * 1024)
#define LOG_LEVEL_FATAL 4
#define MEMORY_PATH "/tito"

static void set_table_options(const ti_rocks *e, rocksdb_options_t *options)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, e->cache);
    rocksdb_block_based_options_set_block_size(table, BLOCK_SIZE);
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_block_based_options_set_filter_policy(
        table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS_PER_KEY));
    /* One index or filter block of a file may be larger than a shard of the cache: in two levels
     * they are cached in pieces. */
    rocksdb_block_based_options_set_index_type(
        table, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(table, 1);
    rocksdb_block_based_options_set_pin_top_level_index_and_filter(table, 1);
    rocksdb_block_based_options_set_whole_key_filtering(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    rocksdb_block_based_options_set_data_block_index_type(
        table, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
}

static void set_memory_options(const ti_rocks *e, rocksdb_options_t *options)
{
    rocksdb_options_set_write_buffer_size(options, e->options.write_buffer_size);
    rocksdb_options_set_max_write_buffer_number(options, 2);
    rocksdb_options_set_max_open_files(options, e->options.open_files_max);
    rocksdb_options_set_max_background_jobs(options, e->options.background_jobs_max);
    rocksdb_options_set_memtable_prefix_bloom_size_ratio(options, MEMTABLE_BLOOM_RATIO);
    rocksdb_options_set_memtable_whole_key_filtering(options, 1);
}

static void set_writer_options(rocksdb_options_t *options)
{
    rocksdb_options_set_allow_concurrent_memtable_write(options, 0);
    rocksdb_options_set_enable_write_thread_adaptive_yield(options, 0);
    rocksdb_options_set_bytes_per_sync(options, SYNC_SIZE);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
}

static void set_quiet_options(rocksdb_options_t *options)
{
    rocksdb_options_set_info_log_level(options, LOG_LEVEL_FATAL);
    rocksdb_options_set_keep_log_file_num(options, 2);
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    rocksdb_options_set_stats_persist_period_sec(options, 0);
    rocksdb_options_set_skip_stats_update_on_db_open(options, 1);
}

static rocksdb_options_t *make_options(const ti_rocks *e, int compression)
{
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    if (e->memory_env != NULL)
        rocksdb_options_set_env(options, e->memory_env);
    rocksdb_options_set_compression(options, compression);
    set_table_options(e, options);
    set_memory_options(e, options);
    set_writer_options(options);
    set_quiet_options(options);
    return options;
}

/* Opens the database; NULL, or RocksDB's message. */
static char *open_db(ti_rocks *e, int compression)
{
    static const char *const families[] = {"default"};
    const char *path = e->path != NULL ? e->path : MEMORY_PATH;
    char *failed = NULL;
    rocksdb_options_t *options = make_options(e, compression);
    const rocksdb_options_t *family_options[] = {options};
    e->db = rocksdb_open_column_families(options, path, 1, families, family_options, &e->family,
                                         &failed);
    rocksdb_options_destroy(options);
    return failed;
}

/* What a failed open means to the user. */
static ti_status open_failed(const ti_rocks *e, char *message, ti_err *err)
{
    if (strstr(message, "lock") == NULL || strstr(message, "LOCK") == NULL)
        return ti_rocks_failed(message, "opening the database", err);
    bool own = strstr(message, "current process") != NULL;
    rocksdb_free(message);
    if (own)
        return ti_err_set(err, TI_INVALID_STATE,
                          "another copy of the library in this process has %s open", e->path);
    long pid = ti_rocks_place_holder(e->path);
    if (pid == 0)
        return ti_err_set(err, TI_UNAVAILABLE, "another process has %s open", e->path);
    return ti_err_set(err, TI_UNAVAILABLE, "the process with the pid %ld has %s open", pid,
                      e->path);
}

static ti_status open_any(ti_rocks *e, ti_err *err)
{
    char *failed = open_db(e, rocksdb_lz4_compression);
    if (failed != NULL && strstr(failed, "not linked") != NULL) {
        rocksdb_free(failed);
        failed = open_db(e, rocksdb_no_compression);
    }
    if (failed == NULL)
        return TI_OK;
    e->db = NULL;
    return open_failed(e, failed, err);
}

static void make_parts(ti_rocks *e)
{
    bool memory = e->path == NULL;
    e->write_options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_no_slowdown(e->write_options, 1);
    if (memory)
        rocksdb_writeoptions_disable_WAL(e->write_options, 1);
    else
        rocksdb_writeoptions_set_sync(e->write_options,
                                      e->options.durability == TI_DURABILITY_SYNC);
    e->latest = rocksdb_readoptions_create();
    e->batch = rocksdb_writebatch_create();
    e->cache = rocksdb_cache_create_lru(e->options.block_cache_size);
    if (memory)
        e->memory_env = rocksdb_create_mem_env();
}

/* Starts the clock where the last process reserved up to. */
static ti_status start_clock(ti_rocks *e, ti_err *err)
{
    char *failed = NULL;
    size_t len = 0;
    ti_ts bound = TI_TS_NONE;
    char *stored = rocksdb_get(e->db, e->latest, ti_rocks_clock_key.data, ti_rocks_clock_key.len,
                               &len, &failed);
    if (failed != NULL)
        return ti_rocks_failed(failed, "reading the clock's bound", err);
    if (stored != NULL) {
        ti_status status =
            ti_rocks_decode_bound((ti_slice){.data = stored, .len = len}, &bound, err);
        rocksdb_free(stored);
        TI_TRY(status);
    }
    TI_TRY(ti_clock_init(&e->clock, e->base.env, bound, err));
    e->has_clock = true;
    atomic_store(&e->settled, bound);
    return ti_recent_init(&e->recent, e->base.env, bound, err);
}

ti_status ti_rocks_start(ti_rocks *e, ti_err *err)
{
    ti_process_guard_init(&e->guard);
    TI_TRY(ti_mutex_init(&e->mutex, TI_RANK_ENGINE, err));
    e->has_mutex = true;
    TI_TRY(ti_cond_init(&e->turned, err));
    e->has_cond = true;
    ti_lock_table_init(&e->locks);
    make_parts(e);
    TI_TRY(open_any(e, err));
    if (e->path != NULL) {
        TI_TRY(ti_rocks_place_close_files(e->path, err));
        TI_TRY(ti_rocks_backup_clean(e->path, err));
    }
    return start_clock(e, err);
}

/* Stores where the clock is, in place of what was reserved: processes that follow each other
 * closely would else push the time of the database ahead, by a window each. A failure leaves the
 * later bound, which is as true. */
static void give_time_back(ti_rocks *e)
{
    char bytes[TI_ROCKS_BOUND_SIZE];
    char *failed = NULL;
    ti_ts bound = ti_clock_closing_bound(&e->clock);
    if (bound == TI_TS_NONE)
        return;
    ti_rocks_encode_bound(bound, bytes);
    rocksdb_put(e->db, e->write_options, ti_rocks_clock_key.data, ti_rocks_clock_key.len, bytes,
                sizeof(bytes), &failed);
    if (failed != NULL)
        ti_log_write(ti_log_hub_log(e->logs), TI_LOG_WARN, "storing the clock: %s", failed);
    rocksdb_free(failed);
}

/* Gives RocksDB's things back. */
static void close_db(ti_rocks *e)
{
    char *failed = NULL;
    if (e->view != NULL) {
        e->view->refs--;
        ti_rocks_free_view(e, e->view);
    }
    if (e->db != NULL && e->path != NULL && !e->poisoned) {
        if (e->has_clock)
            give_time_back(e);
        rocksdb_flush_wal(e->db, 1, &failed);
        if (failed != NULL)
            ti_log_write(ti_log_hub_log(e->logs), TI_LOG_ERROR, "closing the database: %s", failed);
        rocksdb_free(failed);
    }
    if (e->family != NULL)
        rocksdb_column_family_handle_destroy(e->family);
    if (e->db != NULL)
        rocksdb_close(e->db);
    if (e->write_options != NULL)
        rocksdb_writeoptions_destroy(e->write_options);
    if (e->latest != NULL)
        rocksdb_readoptions_destroy(e->latest);
    if (e->batch != NULL)
        rocksdb_writebatch_destroy(e->batch);
    if (e->cache != NULL)
        rocksdb_cache_destroy(e->cache);
    if (e->memory_env != NULL)
        rocksdb_env_destroy(e->memory_env);
}

void ti_rocks_stop(ti_rocks *e)
{
    ti_assert(e->queue == NULL);
    ti_assert(e->oldest == NULL);
    close_db(e);
    ti_lock_table_free(&e->locks);
    ti_recent_free(&e->recent);
    if (e->has_cond)
        ti_cond_destroy(&e->turned);
    if (e->has_mutex)
        ti_mutex_destroy(&e->mutex);
    if (e->has_clock)
        ti_clock_destroy(&e->clock);
    ti_process_guard_destroy(&e->guard);
}

void ti_rocks_abandon(ti_rocks *e)
{
    ti_free(e->view);
    ti_lock_table_drop(&e->locks);
    ti_recent_free(&e->recent);
    ti_process_guard_destroy(&e->guard);
    e->logs = NULL; /* its mutex may be locked for ever */
}

ti_log_hub *ti_rocks_logs(ti_engine *engine)
{
    return ti_rocks_of(engine)->logs;
}

void ti_rocks_free(ti_rocks *e)
{
    if (e == NULL)
        return;
    ti_log_hub_unref(e->logs);
    ti_free(e->path);
    ti_free(e);
}

static ti_status collect_nothing(ti_engine *engine, int64_t retention_us, const ti_call *call,
                                 ti_err *err)
{
    (void)retention_us;
    (void)call;
    return ti_process_guard_forked(&ti_rocks_of(engine)->guard) ? ti_rocks_forked(err) : TI_OK;
}

static ti_status describe_nothing(ti_engine *engine, const ti_describe *what, ti_buf *out,
                                  const ti_call *call, ti_err *err)
{
    (void)what;
    (void)out;
    (void)call;
    if (ti_process_guard_forked(&ti_rocks_of(engine)->guard))
        return ti_rocks_forked(err);
    return ti_err_set(err, TI_UNSUPPORTED,
                      "this database is embedded: only one on TiKV has a cluster to tell about");
}

static bool is_never_shared(const ti_engine *engine)
{
    (void)engine;
    return false;
}

/* clang-format off */
#define ROCKS_VT(NAME)                         \
    {                                          \
        .version = 1,                          \
        .name = NAME,                          \
        .now = ti_rocks_now,                   \
        .begin = ti_rocks_begin,               \
        .snapshot_ts = ti_rocks_snapshot_ts,   \
        .release = ti_rocks_release,           \
        .get = ti_rocks_get,                   \
        .batch_get = ti_rocks_batch_get,       \
        .scan = ti_rocks_scan,                 \
        .commit = ti_rocks_commit,             \
        .lock = ti_rocks_lock,                 \
        .unlock = ti_rocks_unlock,             \
        .destroy_range = ti_rocks_destroy_range, \
        .gc = collect_nothing,                 \
        .stats = ti_rocks_stats,               \
        .shared = is_never_shared,             \
        .ref = ti_rocks_ref,                   \
        .unref = ti_rocks_unref,               \
        .describe = describe_nothing,          \
        .unchanged = ti_rocks_unchanged,       \
    }
/* clang-format on */

const ti_engine_vt ti_rocks_vt = ROCKS_VT("rocksdb");
const ti_engine_vt ti_rocks_memory_vt = ROCKS_VT("memory");

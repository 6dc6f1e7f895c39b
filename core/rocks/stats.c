/* What the engine counts, as one JSON object: its own counters, and RocksDB's sizes. */
#include "base/assert.h"
#include "rocks/rocks_int.h"

static uint64_t property(ti_rocks *e, const char *name)
{
    uint64_t value = 0;
    return rocksdb_property_int(e->db, name, &value) == 0 ? value : 0;
}

/* Appends `"name":value,`. */
static ti_status add(ti_buf *out, const char *name, uint64_t value, ti_err *err)
{
    return ti_buf_append_format(out, err, "\"%s\":%llu,", name, (unsigned long long)value);
}

static ti_status add_counters(ti_rocks *e, ti_buf *out, ti_err *err)
{
    ti_mutex_lock(&e->mutex);
    ti_rocks_counters c = e->counters;
    uint64_t recent = e->recent.used;
    uint64_t oldest = e->oldest == NULL ? 0 : e->oldest->ts;
    ti_mutex_unlock(&e->mutex);
    TI_TRY(add(out, "commits", c.commits, err));
    TI_TRY(add(out, "commit_groups", c.groups, err));
    TI_TRY(add(out, "conflicts", c.conflicts, err));
    TI_TRY(add(out, "views", c.views, err));
    TI_TRY(add(out, "write_stalls", c.stalls, err));
    TI_TRY(add(out, "lock_waits", c.lock_waits, err));
    TI_TRY(add(out, "deadlocks", c.deadlocks, err));
    TI_TRY(add(out, "locks", atomic_load(&e->locks.count), err));
    TI_TRY(add(out, "recent_commits", recent, err));
    return add(out, "oldest_snapshot", oldest, err);
}

ti_status ti_rocks_stats(ti_engine *engine, ti_buf *out, ti_err *err)
{
    ti_rocks *e = ti_rocks_of(engine);
    if (ti_process_guard_forked(&e->guard))
        return ti_rocks_forked(err);
    TI_TRY(ti_buf_append_format(out, err, "{\"engine\":\"%s\",", e->base.vt->name));
    TI_TRY(add_counters(e, out, err));
    TI_TRY(add(out, "memtable_bytes", property(e, "rocksdb.cur-size-all-mem-tables"), err));
    TI_TRY(add(out, "block_cache_bytes", property(e, "rocksdb.block-cache-usage"), err));
    TI_TRY(add(out, "table_reader_bytes", property(e, "rocksdb.estimate-table-readers-mem"), err));
    TI_TRY(add(out, "file_bytes", property(e, "rocksdb.total-sst-files-size"), err));
    return ti_buf_append_format(out, err, "\"keys_estimate\":%llu}",
                                (unsigned long long)property(e, "rocksdb.estimate-num-keys"));
}

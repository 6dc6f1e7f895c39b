/* From a target to an engine: the only place that knows which engines there are. */
#include "base/process.h"
#include "db/db_int.h"
#include "rocks/backup.h"
#include "rocks/rocks.h"
#include "tikv/tikv.h"

static ti_rocks_options rocks_options(const ti_db *db)
{
    return (ti_rocks_options){
        .durability = db->options.durability == 1 ? TI_DURABILITY_BUFFERED : TI_DURABILITY_SYNC,
        .block_cache_size = (size_t)db->options.block_cache_size,
        .write_buffer_size = (size_t)db->options.write_buffer_size,
        .open_wait_us = db->options.open_wait_us,
        .log = &db->log,
    };
}

static ti_status open_tikv(const ti_db *db, ti_engine **engine_out, const ti_call *call,
                           ti_err *err)
{
    ti_tikv_options options = {
        .endpoints = db->target.endpoints,
        .endpoint_count = db->target.endpoint_count,
        .tls = {.ca = db->options.ca,
                .cert = db->options.cert,
                .key = db->options.key,
                .server_name = db->options.server_name},
        .log = &db->log, /* a handle's own: the engine is given up by its close */
    };
    return ti_tikv_open(db->env, &options, call, engine_out, err);
}

/* The engine may be shared, and outlive this handle: its lines come as long as the handle wants. */
static ti_status open_rocks(ti_db *db, ti_engine **engine_out, const ti_call *call, ti_err *err)
{
    ti_rocks_options options = rocks_options(db);
    if (db->target.kind == TI_TARGET_MEMORY)
        TI_TRY(ti_rocks_open_memory(&options, db->env, engine_out, call, err));
    else
        TI_TRY(ti_rocks_open(db->target.path.data, &options, db->env, engine_out, call, err));
    db->engine_logs = ti_log_hub_ref(ti_rocks_logs(*engine_out));
    ti_process_end_children();
    return TI_OK;
}

void ti_db_engine_gone(ti_db *db)
{
    if (db->engine_logs == NULL)
        return;
    ti_log_hub_leave(db->engine_logs, &db->log);
    ti_log_hub_unref(db->engine_logs);
    db->engine_logs = NULL;
}

ti_status ti_db_engine(ti_db *db, ti_engine **engine_out, const ti_call *call, ti_err *err)
{
    *engine_out = NULL;
    switch (db->target.kind) {
    case TI_TARGET_ROCKSDB:
    case TI_TARGET_MEMORY:
        return open_rocks(db, engine_out, call, err);
    case TI_TARGET_TIKV:
        return open_tikv(db, engine_out, call, err);
    }
    return ti_err_set(err, TI_INTERNAL, "unknown kind of target");
}

/* ---- backups */

static ti_status needs_directory(const ti_db *db, const char *what, ti_err *err)
{
    if (db->target.kind == TI_TARGET_ROCKSDB)
        return TI_OK;
    if (db->target.kind == TI_TARGET_MEMORY)
        return ti_err_set(
            err, TI_UNSUPPORTED,
            "%s is for a database in a directory: dump the documents of one in memory", what);
    return ti_err_set(err, TI_UNSUPPORTED,
                      "%s is for a database in a directory: of a cluster, dump the documents "
                      "(tito dump), or use TiKV's own backup tool (br) for all of it",
                      what);
}

/* Appends a summary; shared_too: of a backup that was made. */
static ti_status write_summary(const ti_backup_summary *summary, bool shared_too, ti_buf *out,
                               ti_err *err)
{
    TI_TRY(ti_buf_append_format(out, err, "{\"time\":%lld.%06d,\"files\":%zu,\"size\":%lld",
                                (long long)(summary->time_us / 1000000),
                                (int)(summary->time_us % 1000000), summary->files,
                                (long long)summary->size));
    if (shared_too)
        TI_TRY(ti_buf_append_format(out, err, ",\"shared\":%lld", (long long)summary->shared));
    return ti_buf_append_text(out, "}", err);
}

ti_status ti_db_backup(ti_db *db, const char *dir, const char *base, ti_progress *progress,
                       ti_buf *out, const ti_call *call, ti_err *err)
{
    ti_backup_summary summary;
    ti_backup_request request = {.dir = dir, .base = base, .progress = progress};
    TI_TRY(needs_directory(db, "a backup", err));
    TI_TRY(ti_rocks_backup(db->kv.engine, &request, &summary, call, err));
    return write_summary(&summary, true, out, err);
}

ti_status ti_db_verify_backup(ti_db *db, const char *dir, ti_progress *progress, ti_buf *out,
                              const ti_call *call, ti_err *err)
{
    ti_backup_summary summary;
    TI_TRY(ti_db_check(db, err));
    TI_TRY(ti_rocks_backup_verify(dir, progress, &summary, call, err));
    return write_summary(&summary, false, out, err);
}

ti_status ti_db_restore(ti_db *db, const char *dir, ti_progress *progress, ti_buf *out,
                        const ti_call *call, ti_err *err)
{
    ti_backup_summary summary;
    TI_TRY(ti_db_check(db, err));
    TI_TRY(needs_directory(db, "a restored backup", err));
    if (atomic_load(&db->state) != DB_NEW)
        return ti_err_set(err, TI_INVALID_STATE,
                          "the database is open: restore with a handle that is not");
    TI_TRY(ti_rocks_restore(dir, db->target.path.data, progress, &summary, call, err));
    return write_summary(&summary, false, out, err);
}

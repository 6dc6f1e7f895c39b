/* Statistics of a handle as one JSON object:
 *
 *   {"engine": {…}, "executor": {"threads", "idle", "queued", "posted"}, "queues": {type: {…}}}
 *
 * No values, ids or keys of the user's are in it. */
#include "base/assert.h"
#include "db/db_int.h"

static ti_status add_executor(const ti_db *db, ti_buf *out, ti_err *err)
{
    ti_executor_stats stats;
    size_t threads = 0, idle = 0, queued = 0;
    ti_executor_stats_of(db->executor, &stats);
    for (size_t i = 0; i < TI_WORKS; i++) {
        threads += stats.threads[i];
        idle += stats.idle[i];
        queued += stats.queued[i];
    }
    return ti_buf_append_format(
        out, err, "\"executor\":{\"threads\":%zu,\"idle\":%zu,\"queued\":%zu,\"posted\":%llu}",
        threads, idle, queued, (unsigned long long)stats.posted);
}

ti_status ti_db_stats(ti_db *db, ti_buf *out, ti_err *err)
{
    ti_engine *engine = db->kv.engine;
    TI_TRY(ti_buf_append_text(out, "{\"engine\":", err));
    TI_TRY(engine->vt->stats(engine, out, err));
    TI_TRY(ti_buf_append_byte(out, ',', err));
    TI_TRY(add_executor(db, out, err));
    TI_TRY(ti_buf_append_text(out, ",\"queues\":", err));
    TI_TRY(ti_queues_stats(db->queues, out, err));
    return ti_buf_append_byte(out, '}', err);
}

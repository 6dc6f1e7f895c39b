/* The TiKV engine: the contract's table, opening and closing. See tikv.h. */
#include <string.h>

#include "base/assert.h"
#include "tikv/tikv_int.h"

/* In a child threads and connections are the parent's: nothing of them is touched. */
static bool is_forked(const ti_tikv *t)
{
    return ti_process_guard_forked(&t->guard);
}

static ti_status check_fork(const ti_tikv *t, ti_err *err)
{
    return is_forked(t) ? ti_process_forked("the connection to TiKV", err) : TI_OK;
}

static ti_status engine_now(ti_engine *e, ti_ts *ts_out, const ti_call *call, ti_err *err)
{
    ti_tikv *t = (ti_tikv *)e;
    TI_TRY(check_fork(t, err));
    return ti_pd_timestamp(t->cluster.pd, ts_out, call, err);
}

static ti_status engine_begin(ti_engine *e, ti_ts at, ti_snapshot **snapshot_out,
                              const ti_call *call, ti_err *err)
{
    ti_tikv *t = (ti_tikv *)e;
    *snapshot_out = NULL;
    TI_TRY(check_fork(t, err));
    uint64_t ts = at;
    if (at == TI_TS_NONE)
        TI_TRY(ti_pd_timestamp(t->cluster.pd, &ts, call, err));
    ti_tikv_snapshot *s = ti_alloc(sizeof(*s));
    if (s == NULL)
        return ti_err_no_memory(err);
    s->base.engine = e;
    s->engine = t;
    s->ts = ts;
    s->view.resolved_count = 0;
    s->view.committed_count = 0;
    *snapshot_out = &s->base;
    return TI_OK;
}

static ti_ts engine_snapshot_ts(const ti_snapshot *s)
{
    return ((const ti_tikv_snapshot *)s)->ts;
}

static void engine_release(ti_snapshot *s)
{
    ti_free(s);
}

static ti_status checked_get(ti_snapshot *s, ti_slice key, ti_arena *a, ti_slice *value_out,
                             const ti_call *call, ti_err *err)
{
    TI_TRY(check_fork((const ti_tikv *)s->engine, err));
    return ti_tikv_get(s, key, a, value_out, call, err);
}

/* A snapshot that was begun for one get reads nothing else. */
static void require_whole(const ti_snapshot *s)
{
    ti_require(((const ti_tikv_snapshot *)s)->ts != TI_TS_MAX);
}

static ti_status checked_batch_get(ti_snapshot *s, const ti_slice *keys, size_t count, ti_arena *a,
                                   ti_slice *values_out, const ti_call *call, ti_err *err)
{
    require_whole(s);
    TI_TRY(check_fork((const ti_tikv *)s->engine, err));
    return ti_tikv_batch_get(s, keys, count, a, values_out, call, err);
}

static ti_status checked_scan(ti_snapshot *s, const ti_scan *scan, ti_arena *a,
                              ti_scan_page *page_out, const ti_call *call, ti_err *err)
{
    require_whole(s);
    TI_TRY(check_fork((const ti_tikv *)s->engine, err));
    return ti_tikv_scan(s, scan, a, page_out, call, err);
}

static ti_status checked_commit(ti_engine *e, const ti_commit_request *request,
                                ti_commit_result *result_out, const ti_call *call, ti_err *err)
{
    TI_TRY(check_fork((const ti_tikv *)e, err));
    return ti_tikv_commit(e, request, result_out, call, err);
}

static ti_status checked_lock(ti_engine *e, ti_locks **locks_io, const ti_lock_request *request,
                              ti_arena *a, ti_locked *out, const ti_call *call, ti_err *err)
{
    TI_TRY(check_fork((const ti_tikv *)e, err));
    return ti_tikv_lock(e, locks_io, request, a, out, call, err);
}

static void checked_unlock(ti_engine *e, ti_locks *locks)
{
    if (!is_forked((const ti_tikv *)e))
        ti_tikv_unlock(e, locks);
}

static ti_status checked_destroy_range(ti_engine *e, ti_range range, const ti_call *call,
                                       ti_err *err)
{
    TI_TRY(check_fork((const ti_tikv *)e, err));
    return ti_tikv_destroy_range(e, range, call, err);
}

static ti_status checked_gc(ti_engine *e, int64_t retention_us, const ti_call *call, ti_err *err)
{
    TI_TRY(check_fork((const ti_tikv *)e, err));
    return ti_tikv_gc(e, retention_us, call, err);
}

static ti_status checked_describe(ti_engine *e, const ti_describe *what, ti_buf *out,
                                  const ti_call *call, ti_err *err)
{
    TI_TRY(check_fork((const ti_tikv *)e, err));
    return ti_tikv_describe(e, what, out, call, err);
}

static bool engine_shared(const ti_engine *e)
{
    (void)e;
    return true;
}

/* ---- Statistics ---- */

static ti_status put_kinds(ti_tikv *t, ti_buf *out, ti_err *err)
{
    TI_TRY(ti_buf_append_text(out, "\"requests\":{", err));
    for (ti_command_id id = 0; id < TI_COMMAND_COUNT; id++)
        TI_TRY(ti_buf_append_format(
            out, err, "%s\"%s\":%llu", id > 0 ? "," : "", ti_command_kind_of(id)->name,
            (unsigned long long)atomic_load(&t->cluster.stats.by_kind[id])));
    TI_TRY(ti_buf_append_text(out, "},\"retries\":{", err));
    for (size_t kind = 0; kind < TI_BACKOFF_COUNTS; kind++)
        TI_TRY(ti_buf_append_format(
            out, err, "%s\"%s\":%llu", kind > 0 ? "," : "", ti_backoff_name(kind),
            (unsigned long long)atomic_load(&t->cluster.stats.retries[kind])));
    return ti_buf_append_text(out, "}", err);
}

static ti_status engine_stats(ti_engine *e, ti_buf *out, ti_err *err)
{
    ti_tikv *t = (ti_tikv *)e;
    ti_pd_stats pd = ti_pd_stats_of(t->cluster.pd);
    ti_resolver_stats locks = ti_resolver_stats_of(t->resolver);
    ti_send_stats *s = &t->cluster.stats;
    TI_TRY(ti_buf_append_format(out, err, "{\"engine\":\"tikv\",\"cluster_id\":\"%llu\",",
                                (unsigned long long)ti_pd_cluster_id(t->cluster.pd)));
    TI_TRY(put_kinds(t, out, err));
    TI_TRY(ti_buf_append_format(
        out, err,
        ",\"tso_requests\":%llu,\"timestamps\":%llu,\"pd_requests\":%llu,\"pd_leader_changes\":%"
        "llu",
        (unsigned long long)pd.tso_requests, (unsigned long long)pd.tso_timestamps,
        (unsigned long long)pd.requests, (unsigned long long)pd.leader_changes));
    TI_TRY(ti_buf_append_format(
        out, err,
        ",\"regions\":%zu,\"region_misses\":%llu,\"region_errors\":%llu,\"silences\":%llu",
        ti_regions_count(t->cluster.regions),
        (unsigned long long)ti_regions_misses(t->cluster.regions),
        (unsigned long long)atomic_load(&s->region_errors),
        (unsigned long long)atomic_load(&s->silences)));
    TI_TRY(ti_buf_append_format(out, err,
                                ",\"bytes_sent\":%llu,\"bytes_received\":%llu,\"in_flight\":%lld",
                                (unsigned long long)atomic_load(&s->bytes_sent),
                                (unsigned long long)atomic_load(&s->bytes_received),
                                (long long)atomic_load(&s->in_flight)));
    TI_TRY(ti_buf_append_format(
        out, err,
        ",\"locks_checked\":%llu,\"locks_shared\":%llu,\"lock_cache_hits\":%llu,\"locks_resolved\":"
        "%llu,\"commits_recovered\":%llu",
        (unsigned long long)locks.checked, (unsigned long long)locks.shared,
        (unsigned long long)locks.cache_hits, (unsigned long long)locks.resolved,
        (unsigned long long)locks.recovered));
    return ti_buf_append_format(
        out, err,
        ",\"commits\":%llu,\"commits_1pc\":%llu,\"commits_async\":%llu,\"commits_2pc\":%llu,"
        "\"commits_unknown\":%llu}",
        (unsigned long long)(atomic_load(&t->commits_one_pc) + atomic_load(&t->commits_async) +
                             atomic_load(&t->commits_two_phase)),
        (unsigned long long)atomic_load(&t->commits_one_pc),
        (unsigned long long)atomic_load(&t->commits_async),
        (unsigned long long)atomic_load(&t->commits_two_phase),
        (unsigned long long)atomic_load(&t->commits_unknown));
}

/* ---- Opening and closing ---- */

/* Frees what has been made, in reverse order. */
static void engine_free(ti_tikv *t)
{
    if (t->background != NULL)
        ti_background_close(t->background, TI_CLOSE_WITHIN_US);
    if (t->heartbeat != NULL)
        ti_heartbeat_close(t->heartbeat);
    if (t->resolver != NULL)
        ti_resolver_free(t->resolver);
    if (t->cluster.stores != NULL)
        ti_tikv_stores_free(t->cluster.stores);
    if (t->cluster.regions != NULL)
        ti_regions_free(t->cluster.regions);
    if (t->cluster.pd != NULL)
        ti_pd_close(t->cluster.pd);
    if (t->cluster.wire != NULL)
        t->cluster.wire->vt->close(t->cluster.wire);
    if (t->safe_point_looks.wire != NULL)
        ti_flights_destroy(&t->safe_point_looks);
    ti_process_guard_destroy(&t->guard);
    ti_free(t);
}

static void engine_ref(ti_engine *e)
{
    atomic_fetch_add(&((ti_tikv *)e)->refs, 1);
}

static void engine_unref(ti_engine *e)
{
    ti_tikv *t = (ti_tikv *)e;
    uint32_t before = atomic_fetch_sub(&t->refs, 1);
    ti_require(before > 0);
    if (before > 1)
        return;
    if (!is_forked(t))
        engine_free(t); /* in a child it stays: its memory is shared with what is not touched */
}

static const ti_engine_vt tikv_vt = {
    .version = 1,
    .name = "tikv",
    .now = engine_now,
    .begin = engine_begin,
    .snapshot_ts = engine_snapshot_ts,
    .release = engine_release,
    .get = checked_get,
    .batch_get = checked_batch_get,
    .scan = checked_scan,
    .commit = checked_commit,
    .lock = checked_lock,
    .unlock = checked_unlock,
    .destroy_range = checked_destroy_range,
    .gc = checked_gc,
    .stats = engine_stats,
    .shared = engine_shared,
    .ref = engine_ref,
    .unref = engine_unref,
    .describe = checked_describe,
};

static ti_status engine_init(ti_tikv *t, const ti_tikv_options *options, const ti_call *call,
                             ti_err *err)
{
    ti_cluster *c = &t->cluster;
    TI_TRY(ti_flights_init(&t->safe_point_looks, c->wire, sizeof(ti_err), err));
    TI_TRY(ti_pd_open(c->wire, t->log, options->endpoints, options->endpoint_count, call, &c->pd,
                      err));
    ti_pd_follow(c->pd, &c->stats.in_flight);
    TI_TRY(ti_regions_create(c->wire, c->pd, &c->regions, err));
    TI_TRY(ti_tikv_stores_create(c->wire, c->pd, &c->stores, err));
    TI_TRY(ti_background_create(t->base.env, &t->background, err));
    TI_TRY(ti_resolver_create(c, t->background, &t->resolver, err));
    return ti_heartbeat_create(c, &t->heartbeat, err);
}

ti_status ti_tikv_open(const ti_env *env, const ti_tikv_options *options, const ti_call *call,
                       ti_engine **engine_out, ti_err *err)
{
    ti_wire *wire = options->wire;
    ti_wire_options wire_options = {.tls = options->tls, .log = options->log};
    *engine_out = NULL;
    if (wire == NULL)
        TI_TRY(ti_wire_grpc_open(env, &wire_options, &wire, err));
    ti_tikv *t = ti_alloc_zero(sizeof(*t));
    if (t == NULL) {
        wire->vt->close(wire);
        return ti_err_no_memory(err);
    }
    t->base.vt = &tikv_vt;
    t->base.env = env;
    ti_process_guard_init(&t->guard);
    t->log = options->log;
    t->cluster.wire = wire;
    wire->retries = t->cluster.stats.retries;
    atomic_store(&t->refs, 1);
    ti_status status = engine_init(t, options, call, err);
    if (status != TI_OK) {
        engine_free(t);
        return status;
    }
    ti_log_write(t->log, TI_LOG_INFO, "connected to TiKV cluster=%llu tls=%s",
                 (unsigned long long)ti_pd_cluster_id(t->cluster.pd),
                 options->tls.ca.len > 0 ? "yes" : "no");
    *engine_out = &t->base;
    return TI_OK;
}

/* What a cluster looks like from here, as a JSON object (core/db/README.md lists the names):
 *
 *   members, stores   as PD tells
 *   regions           those of a range of keys: how many, and how many each store leads
 *   gc                the safe point, and whose holds it back
 *   locks             of transactions that are old; resolved when asked for
 *   rounds            how long requests take, measured now
 *
 * INVARIANTS
 *  1. Nothing is written, but for locks of dead owners when their clearing was asked for.
 *  2. Lists are bounded by TI_DESCRIBE_LIST_MAX; counts are not.
 *
 * Thread rule: any. What is NOT here: counters of what this process has done (engine.c). */
#include <inttypes.h>
#include <string.h>

#include "base/assert.h"
#include "tikv/tikv_int.h"

#define TI_DESCRIBE_LIST_MAX 1000
#define TI_DESCRIBE_LEADERS_MAX 256 /* stores whose round trips are measured */
#define TI_DESCRIBE_SAMPLES 7

/* A store that leads a region of the range, and a key there. */
typedef struct leader {
    uint64_t store_id;
    uint64_t regions;
    ti_slice key; /* in the arena, with a NUL behind it */
} leader;

typedef struct describe {
    ti_tikv *engine;
    const ti_describe *what;
    ti_buf *out;
    const ti_call *call;
    ti_arena arena;
    uint64_t now;
    leader leaders[TI_DESCRIBE_LEADERS_MAX];
    size_t leader_count;
    uint64_t lock_count;
} describe;

/* ---- JSON ---- */

/* Text in quotes; what is no printable ASCII becomes an escape or '?', so that it is JSON whatever
 * a server says. */
static ti_status put_quoted(ti_buf *out, ti_slice text, ti_err *err)
{
    TI_TRY(ti_buf_append_byte(out, '"', err));
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '"' || c == '\\')
            TI_TRY(ti_buf_append_byte(out, '\\', err));
        TI_TRY(ti_buf_append_byte(out, c < 0x20 || c > 0x7E ? '?' : c, err));
    }
    return ti_buf_append_byte(out, '"', err);
}

static ti_status put_text(ti_buf *out, const char *name, ti_slice text, ti_err *err)
{
    TI_TRY(ti_buf_append_format(out, err, "\"%s\":", name));
    return put_quoted(out, text, err);
}

/* Bytes of a key, as hexadecimal digits. */
static ti_status put_key(ti_buf *out, const char *name, ti_slice key, ti_err *err)
{
    static const char digits[] = "0123456789abcdef";
    TI_TRY(ti_buf_append_format(out, err, "\"%s\":\"", name));
    for (size_t i = 0; i < key.len; i++) {
        unsigned char c = (unsigned char)key.data[i];
        TI_TRY(ti_buf_append_byte(out, (unsigned char)digits[c >> 4], err));
        TI_TRY(ti_buf_append_byte(out, (unsigned char)digits[c & 15], err));
    }
    return ti_buf_append_byte(out, '"', err);
}

/* A comma before everything but the first. */
static ti_status put_comma(ti_buf *out, size_t i, ti_err *err)
{
    return i > 0 ? ti_buf_append_byte(out, ',', err) : TI_OK;
}

static ti_status put_number(ti_buf *out, const char *name, uint64_t number, ti_err *err)
{
    return ti_buf_append_format(out, err, "\"%s\":%" PRIu64, name, number);
}

/* ---- Members and stores ---- */

static ti_status put_member(describe *d, const ti_pd_member *m, ti_err *err)
{
    TI_TRY(ti_buf_append_byte(d->out, '{', err));
    TI_TRY(put_text(d->out, "name", m->name, err));
    TI_TRY(ti_buf_append_format(d->out, err, ",\"leader\":%s,\"urls\":[",
                                m->leader ? "true" : "false"));
    for (size_t i = 0; i < m->url_count; i++) {
        TI_TRY(put_comma(d->out, i, err));
        TI_TRY(put_quoted(d->out, m->urls[i], err));
    }
    return ti_buf_append_text(d->out, "]}", err);
}

static ti_status put_members(describe *d, ti_err *err)
{
    ti_pd_member *members = NULL;
    size_t count = 0;
    TI_TRY(ti_pd_members(d->engine->cluster.pd, &d->arena, &members, &count, d->call, err));
    TI_TRY(ti_buf_append_text(d->out, ",\"members\":[", err));
    for (size_t i = 0; i < count; i++) {
        TI_TRY(put_comma(d->out, i, err));
        TI_TRY(put_member(d, &members[i], err));
    }
    return ti_buf_append_byte(d->out, ']', err);
}

static const leader *find_leader(const describe *d, uint64_t store_id)
{
    for (size_t i = 0; i < d->leader_count; i++) {
        if (d->leaders[i].store_id == store_id)
            return &d->leaders[i];
    }
    return NULL;
}

static const char *state_of(const ti_tikv_store_info *store)
{
    if (store->tombstone)
        return "tombstone";
    return store->offline ? "offline" : "up";
}

/* A store as PD tells one by one: the list does not say how much room it has. */
static ti_status put_store(describe *d, uint64_t id, ti_err *err)
{
    ti_tikv_store_info store;
    ti_status status = ti_pd_store(d->engine->cluster.pd, id, &d->arena, &store, d->call, err);
    if (status != TI_OK)
        return status;
    const leader *leads = find_leader(d, id);
    TI_TRY(ti_buf_append_byte(d->out, '{', err));
    TI_TRY(put_number(d->out, "id", id, err));
    TI_TRY(ti_buf_append_byte(d->out, ',', err));
    TI_TRY(put_text(d->out, "address", ti_slice_of(store.address), err));
    TI_TRY(ti_buf_append_format(d->out, err, ",\"state\":\"%s\",", state_of(&store)));
    TI_TRY(put_text(d->out, "version", store.version, err));
    if (store.heard_us > 0)
        TI_TRY(ti_buf_append_format(d->out, err, ",\"heard_us\":%" PRId64, store.heard_us));
    if (store.capacity > 0)
        TI_TRY(ti_buf_append_format(d->out, err, ",\"capacity\":%" PRIu64 ",\"available\":%" PRIu64,
                                    store.capacity, store.available));
    return ti_buf_append_format(d->out, err, ",\"leads\":%" PRIu64 "}",
                                leads != NULL ? leads->regions : 0);
}

static ti_status put_stores(describe *d, ti_err *err)
{
    ti_tikv_store_info *stores = NULL;
    size_t count = 0;
    TI_TRY(ti_pd_stores(d->engine->cluster.pd, &d->arena, &stores, &count, d->call, err));
    TI_TRY(ti_buf_append_text(d->out, ",\"stores\":[", err));
    for (size_t i = 0; i < count; i++) {
        TI_TRY(put_comma(d->out, i, err));
        TI_TRY(put_store(d, stores[i].id, err));
    }
    return ti_buf_append_byte(d->out, ']', err);
}

/* ---- Regions ---- */

/* A key of the region and the range that nobody has: behind the first one by a NUL. Reading it meets no lock, and so
 * resolves none. Data NULL when there is no memory. */
static ti_slice unused_key(describe *d, const ti_region_info *region)
{
    ti_slice from = d->what->range.from;
    ti_slice begin = ti_slice_compare(region->start, from) < 0 ? from : region->start;
    char *bytes = ti_arena_alloc(&d->arena, begin.len + 2);
    if (bytes == NULL)
        return TI_SLICE_NONE;
    if (begin.len > 0)
        memcpy(bytes, begin.data, begin.len);
    bytes[begin.len] = '\0';
    bytes[begin.len + 1] = '\0';
    return (ti_slice){.data = bytes, .len = begin.len + 1};
}

static ti_status note_leader(describe *d, const ti_region_info *region, ti_err *err)
{
    leader *known = (leader *)(uintptr_t)find_leader(d, region->leader.store_id);
    if (known == NULL && d->leader_count < TI_DESCRIBE_LEADERS_MAX) {
        known = &d->leaders[d->leader_count++];
        *known = (leader){.store_id = region->leader.store_id, .key = unused_key(d, region)};
        if (known->key.data == NULL)
            return ti_err_no_memory(err);
    }
    if (known != NULL)
        known->regions++;
    return TI_OK;
}

static ti_status put_region(describe *d, const ti_region_info *region, ti_err *err)
{
    TI_TRY(ti_buf_append_byte(d->out, '{', err));
    TI_TRY(put_number(d->out, "id", region->id, err));
    TI_TRY(ti_buf_append_byte(d->out, ',', err));
    TI_TRY(put_key(d->out, "start", region->start, err));
    TI_TRY(ti_buf_append_byte(d->out, ',', err));
    TI_TRY(put_key(d->out, "end", region->end, err));
    TI_TRY(ti_buf_append_format(d->out, err,
                                ",\"leader\":%" PRIu64 ",\"version\":%" PRIu64
                                ",\"conf_ver\":%" PRIu64 ",\"stores\":[",
                                region->leader.store_id, region->version, region->conf_ver));
    for (size_t i = 0; i < region->peer_count; i++)
        TI_TRY(ti_buf_append_format(d->out, err, "%s%" PRIu64, i > 0 ? "," : "",
                                    region->peers[i].store_id));
    return ti_buf_append_text(d->out, "]}", err);
}

/* Takes over a page of regions. *next_out: where the next begins; "" after the last one. */
static ti_status take_regions(describe *d, const ti_region_info *regions, size_t count,
                              uint64_t *known_io, ti_slice *next_out, ti_err *err)
{
    ti_slice to = d->what->range.to;
    for (size_t i = 0; i < count; i++) {
        TI_TRY(note_leader(d, &regions[i], err));
        if (d->what->regions && *known_io < TI_DESCRIBE_LIST_MAX) {
            TI_TRY(put_comma(d->out, (size_t)*known_io, err));
            TI_TRY(put_region(d, &regions[i], err));
        }
        (*known_io)++;
    }
    *next_out = regions[count - 1].end;
    if (to.len > 0 && ti_slice_compare(*next_out, to) >= 0)
        *next_out = TI_SLICE("");
    return TI_OK;
}

static ti_status put_regions(describe *d, ti_err *err)
{
    ti_arena pages[2]; /* of this page, and of the one before, whose end is where this one begins */
    ti_slice from = d->what->range.from;
    uint64_t known = 0;
    size_t page = 0;
    ti_status status =
        ti_buf_append_format(d->out, err, ",\"regions\":{%s", d->what->regions ? "\"list\":[" : "");
    ti_arena_init(&pages[0]);
    ti_arena_init(&pages[1]);
    do {
        ti_region_info *regions = NULL;
        size_t count = 0;
        ti_arena_free(&pages[page]);
        ti_arena_init(&pages[page]);
        if (status == TI_OK)
            status =
                ti_pd_regions(d->engine->cluster.pd, from, d->what->range.to, TI_REGION_LOAD_BATCH,
                              &pages[page], &regions, &count, d->call, err);
        if (status == TI_OK)
            status = take_regions(d, regions, count, &known, &from, err);
        page = 1 - page;
    } while (status == TI_OK && from.len > 0);
    ti_arena_free(&pages[0]);
    ti_arena_free(&pages[1]);
    TI_TRY(status);
    return ti_buf_append_format(d->out, err, "%s\"count\":%" PRIu64 "}",
                                d->what->regions ? "]," : "", known);
}

/* ---- Old versions ---- */

static ti_status put_gc(describe *d, ti_err *err)
{
    uint64_t safe_point = 0;
    ti_pd_holder holder;
    ti_pd *pd = d->engine->cluster.pd;
    TI_TRY(ti_pd_safe_point(pd, &safe_point, d->call, err));
    TI_TRY(ti_pd_holder_of(pd, &d->arena, &holder, d->call, err));
    TI_TRY(ti_buf_append_format(d->out, err, ",\"gc\":{\"safe_point\":%" PRIu64, safe_point));
    if (safe_point > 0)
        TI_TRY(ti_buf_append_format(d->out, err, ",\"age_us\":%" PRIu64,
                                    ti_age_ms(safe_point, d->now) * 1000));
    if (holder.service.len > 0) {
        TI_TRY(ti_buf_append_text(d->out, ",\"held_by\":{", err));
        TI_TRY(put_text(d->out, "service", holder.service, err));
        TI_TRY(ti_buf_append_format(d->out, err,
                                    ",\"safe_point\":%" PRIu64 ",\"age_us\":%" PRIu64
                                    ",\"ttl_s\":%" PRId64 "}",
                                    holder.ts, ti_age_ms(holder.ts, d->now) * 1000, holder.ttl_s));
    }
    return ti_buf_append_byte(d->out, '}', err);
}

/* ---- Locks ---- */

static const char *lock_kind(Kvrpcpb__Op kind)
{
    switch (kind) {
    case KVRPCPB__OP__Put:
        return "put";
    case KVRPCPB__OP__Del:
        return "delete";
    case KVRPCPB__OP__Lock:
        return "lock";
    case KVRPCPB__OP__PessimisticLock:
        return "pessimistic";
    default:
        return "other";
    }
}

static ti_status put_lock(describe *d, const Kvrpcpb__LockInfo *lock, ti_err *err)
{
    TI_TRY(ti_buf_append_byte(d->out, '{', err));
    TI_TRY(put_key(d->out, "key", ti_pb_slice(lock->key), err));
    TI_TRY(ti_buf_append_byte(d->out, ',', err));
    TI_TRY(put_key(d->out, "primary", ti_pb_slice(lock->primary_lock), err));
    return ti_buf_append_format(d->out, err,
                                ",\"start_ts\":%" PRIu64 ",\"age_us\":%" PRIu64
                                ",\"ttl_us\":%" PRIu64 ",\"kind\":\"%s\"}",
                                lock->lock_version, ti_age_ms(lock->lock_version, d->now) * 1000,
                                lock->lock_ttl * 1000, lock_kind(lock->lock_type));
}

/* A page of locks: into the list, and, when asked for, cleared away unless their owner lives. */
static ti_status visit_locks(void *context, ti_met_locks *met, ti_backoff *backoff, ti_err *err)
{
    describe *d = context;
    int64_t wait_ms = 0;
    for (size_t i = 0; i < met->count; i++) {
        if (d->lock_count < TI_DESCRIBE_LIST_MAX) {
            TI_TRY(put_comma(d->out, (size_t)d->lock_count, err));
            TI_TRY(put_lock(d, met->list[i], err));
        }
        d->lock_count++;
    }
    if (!d->what->resolve)
        return TI_OK;
    return ti_resolve_for_write(d->engine->resolver, met->list, met->count, TI_TS_NONE, &wait_ms,
                                backoff, err);
}

static ti_status put_locks(describe *d, ti_err *err)
{
    uint64_t before = ti_resolver_stats_of(d->engine->resolver).resolved;
    uint64_t back = (uint64_t)(d->what->lock_age_us / 1000) << TI_TS_LOGICAL_BITS;
    ti_lock_sweep sweep = {.max_ts = d->now > back ? d->now - back : 0,
                           .range = d->what->range,
                           .visit = visit_locks,
                           .context = d};
    TI_TRY(ti_buf_append_text(d->out, ",\"locks\":{\"list\":[", err));
    TI_TRY(ti_tikv_sweep_locks(d->engine, &sweep, d->call, err));
    TI_TRY(ti_buf_append_format(d->out, err, "],\"count\":%" PRIu64, d->lock_count));
    if (d->what->resolve)
        TI_TRY(ti_buf_append_format(d->out, err, ",\"resolved\":%" PRIu64,
                                    ti_resolver_stats_of(d->engine->resolver).resolved - before));
    return ti_buf_append_byte(d->out, '}', err);
}

/* ---- Round trips ---- */

typedef ti_status (*round_fn)(describe *d, const leader *at, ti_err *err);

static ti_status round_timestamp(describe *d, const leader *at, ti_err *err)
{
    uint64_t ts = 0;
    (void)at;
    return ti_pd_timestamp(d->engine->cluster.pd, &ts, d->call, err);
}

static ti_status round_pd(describe *d, const leader *at, ti_err *err)
{
    uint64_t ts = 0;
    (void)at;
    return ti_pd_safe_point(d->engine->cluster.pd, &ts, d->call, err);
}

static ti_status round_get(describe *d, const leader *at, ti_err *err)
{
    ti_slice value;
    ti_snapshot *snapshot = NULL;
    ti_engine *e = &d->engine->base;
    TI_TRY(e->vt->begin(e, TI_TS_MAX, &snapshot, d->call, err));
    ti_status status = e->vt->get(snapshot, at->key, &d->arena, &value, d->call, err);
    e->vt->release(snapshot);
    return status == TI_NOT_FOUND ? TI_OK : status;
}

static ti_status round_scan(describe *d, const leader *at, ti_err *err)
{
    ti_scan_page page;
    ti_snapshot *snapshot = NULL;
    ti_engine *e = &d->engine->base;
    ti_slice to = {.data = at->key.data, .len = at->key.len + 1};
    ti_scan scan = {.range = {.from = at->key, .to = to}, .keys_only = true, .items_max = 1};
    TI_TRY(e->vt->begin(e, d->now, &snapshot, d->call, err));
    ti_status status = e->vt->scan(snapshot, &scan, &d->arena, &page, d->call, err);
    e->vt->release(snapshot);
    return status;
}

static void sort_times(int64_t *times, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        int64_t time = times[i];
        size_t place = i;
        for (; place > 0 && times[place - 1] > time; place--)
            times[place] = times[place - 1];
        times[place] = time;
    }
}

/* Measures one kind of request; the first is not counted: it may have to connect. */
static ti_status put_round(describe *d, const char *kind, round_fn act, const leader *at,
                           ti_err *err)
{
    int64_t times[TI_DESCRIBE_SAMPLES];
    TI_TRY(act(d, at, err));
    for (size_t i = 0; i < TI_DESCRIBE_SAMPLES; i++) {
        int64_t began = ti_env_mono_ns(d->engine->base.env);
        TI_TRY(act(d, at, err));
        times[i] = (ti_env_mono_ns(d->engine->base.env) - began) / 1000;
    }
    sort_times(times, TI_DESCRIBE_SAMPLES);
    TI_TRY(ti_buf_append_format(d->out, err, "{\"kind\":\"%s\"", kind));
    if (at != NULL)
        TI_TRY(ti_buf_append_format(d->out, err, ",\"store\":%" PRIu64, at->store_id));
    return ti_buf_append_format(
        d->out, err, ",\"least_us\":%" PRId64 ",\"median_us\":%" PRId64 ",\"most_us\":%" PRId64 "}",
        times[0], times[TI_DESCRIBE_SAMPLES / 2], times[TI_DESCRIBE_SAMPLES - 1]);
}

static ti_status put_rounds(describe *d, ti_err *err)
{
    TI_TRY(ti_buf_append_text(d->out, ",\"rounds\":[", err));
    TI_TRY(put_round(d, "timestamp", round_timestamp, NULL, err));
    TI_TRY(ti_buf_append_byte(d->out, ',', err));
    TI_TRY(put_round(d, "pd", round_pd, NULL, err));
    for (size_t i = 0; i < d->leader_count; i++) {
        if (d->leaders[i].store_id == 0)
            continue; /* PD knows of no leader */
        TI_TRY(ti_buf_append_byte(d->out, ',', err));
        TI_TRY(put_round(d, "get", round_get, &d->leaders[i], err));
        TI_TRY(ti_buf_append_byte(d->out, ',', err));
        TI_TRY(put_round(d, "scan", round_scan, &d->leaders[i], err));
    }
    return ti_buf_append_byte(d->out, ']', err);
}

/* ---- All of it ---- */

static ti_status put_all(describe *d, ti_err *err)
{
    TI_TRY(ti_pd_timestamp(d->engine->cluster.pd, &d->now, d->call, err));
    TI_TRY(ti_buf_append_format(d->out, err, "{\"cluster_id\":\"%" PRIu64 "\",\"now_us\":%" PRId64,
                                ti_pd_cluster_id(d->engine->cluster.pd), ti_ts_to_us(d->now)));
    TI_TRY(put_members(d, err));
    TI_TRY(put_regions(d, err));
    TI_TRY(put_stores(d, err)); /* which says how many regions each leads */
    TI_TRY(put_gc(d, err));
    if (d->what->locks)
        TI_TRY(put_locks(d, err));
    TI_TRY(put_rounds(d, err));
    return ti_buf_append_byte(d->out, '}', err);
}

ti_status ti_tikv_describe(ti_engine *e, const ti_describe *what, ti_buf *out, const ti_call *call,
                           ti_err *err)
{
    ti_assert(what->lock_age_us >= 0);
    describe *d = ti_alloc_zero(sizeof(*d));
    if (d == NULL)
        return ti_err_no_memory(err);
    d->engine = (ti_tikv *)e;
    d->what = what;
    d->out = out;
    d->call = call;
    ti_arena_init(&d->arena);
    ti_status status = put_all(d, err);
    ti_arena_free(&d->arena);
    ti_free(d);
    return status;
}

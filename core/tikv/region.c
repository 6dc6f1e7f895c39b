/* The region cache. See region.h. */
#include "tikv/region.h"

#include <string.h>

#include "base/assert.h"

#define GROWTH_MIN 16

typedef struct load {
    struct load *next;
    ti_slice key;
    bool before;
} load;

struct ti_regions {
    ti_wire *wire;
    ti_pd *pd;
    ti_mutex mutex;   /* rank TI_RANK_CLOCK: all below */
    ti_cond loaded;   /* a load has ended */
    ti_region **list; /* by start, owned references */
    size_t count;
    size_t capacity;
    load *loads;
    size_t load_count;
    uint64_t misses;
};

/* ---- One region ---- */

ti_region *ti_region_ref(ti_region *r)
{
    atomic_fetch_add(&r->refs, 1);
    return r;
}

void ti_region_unref(ti_region *r)
{
    if (r == NULL)
        return;
    uint32_t before = atomic_fetch_sub(&r->refs, 1);
    ti_require(before > 0);
    if (before == 1)
        ti_free(r);
}

/* Whether end (exclusive; "" = none) is above key. */
static bool ends_above(ti_slice end, ti_slice key)
{
    return end.len == 0 || ti_slice_compare(key, end) < 0;
}

bool ti_region_holds(const ti_region *r, ti_slice key, bool before)
{
    if (!before)
        return ti_slice_compare(r->start, key) <= 0 && ends_above(r->end, key);
    if (key.len == 0)
        return r->end.len == 0;
    return ti_slice_compare(r->start, key) < 0 &&
           (r->end.len == 0 || ti_slice_compare(key, r->end) <= 0);
}

ti_peer ti_region_peer(const ti_region *r)
{
    size_t leader = atomic_load(&r->leader);
    ti_assert(leader < r->peer_count);
    return r->peers[leader];
}

bool ti_region_rotate(ti_region *r)
{
    size_t next = (atomic_load(&r->leader) + 1) % r->peer_count;
    uint32_t turns = atomic_fetch_add(&r->busy, 1);
    atomic_store(&r->leader, next);
    if (turns + 1 < r->peer_count)
        return true;
    atomic_store(&r->valid, false);
    return false;
}

static int64_t now_ms(const ti_regions *c)
{
    return ti_env_mono_ns(c->wire->env) / 1000000;
}

static void touch(const ti_regions *c, ti_region *r)
{
    uint32_t spread = 0;
    c->wire->env->random(c->wire->env, &spread, sizeof(spread));
    atomic_store(&r->expires_ms,
                 now_ms(c) + TI_REGION_TTL_MS + (int64_t)(spread % TI_REGION_TTL_SPREAD_MS));
}

/* The index of the peer of this id, or of the one on this store; peer_count when there is none. */
static size_t peer_index(const ti_region *r, uint64_t peer_id, uint64_t store_id)
{
    for (size_t i = 0; i < r->peer_count; i++) {
        if ((peer_id != 0 && r->peers[i].id == peer_id) ||
            (peer_id == 0 && r->peers[i].store_id == store_id))
            return i;
    }
    return r->peer_count;
}

/* Learners and witnesses can not lead: they are left out, unless there is nobody else. */
static size_t copy_peers(ti_region *r, const ti_region_info *info)
{
    size_t count = 0;
    for (size_t i = 0; i < info->peer_count && count < TI_REGION_PEERS_MAX; i++) {
        if (!info->peers[i].learner && !info->peers[i].witness)
            r->peers[count++] = info->peers[i];
    }
    if (count == 0)
        r->peers[count++] = info->peers[0];
    return count;
}

static ti_region *region_create(const ti_regions *c, const ti_region_info *info, uint64_t asked)
{
    size_t peers_size = (info->peer_count + 1) * sizeof(ti_peer);
    ti_region *r = ti_alloc_zero(sizeof(*r) + peers_size + info->start.len + info->end.len + 1);
    if (r == NULL)
        return NULL;
    atomic_store(&r->refs, 1);
    atomic_store(&r->valid, true);
    r->id = info->id;
    r->conf_ver = info->conf_ver;
    r->version = info->version;
    r->peer_count = copy_peers(r, info);
    char *bytes = (char *)r->peers + peers_size;
    memcpy(bytes, info->start.data != NULL ? info->start.data : "", info->start.len);
    memcpy(bytes + info->start.len, info->end.data != NULL ? info->end.data : "", info->end.len);
    r->start = (ti_slice){.data = bytes, .len = info->start.len};
    r->end = (ti_slice){.data = bytes + info->start.len, .len = info->end.len};
    size_t leader = peer_index(r, info->leader.id, asked);
    atomic_store(&r->leader, leader < r->peer_count ? leader : 0);
    touch(c, r);
    return r;
}

/* ---- The ordered list. The mutex is held in all of these. ---- */

/* The first entry whose start is above key. */
static size_t first_above(const ti_regions *c, ti_slice key)
{
    size_t low = 0;
    size_t high = c->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ti_slice_compare(c->list[middle]->start, key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static ti_region *find(const ti_regions *c, ti_slice key, bool before)
{
    size_t above = first_above(c, key);
    if (before)
        above = key.len == 0 ? c->count : above;
    for (size_t back = 1; back <= 2 && back <= above;
         back++) { /* before: the start may equal key */
        ti_region *r = c->list[above - back];
        if (ti_region_holds(r, key, before))
            return r;
    }
    return NULL;
}

static void remove_at(ti_regions *c, size_t from, size_t to)
{
    if (from == to)
        return;
    for (size_t i = from; i < to; i++) {
        atomic_store(&c->list[i]->valid, false);
        ti_region_unref(c->list[i]);
    }
    memmove(&c->list[from], &c->list[to], (c->count - to) * sizeof(*c->list));
    c->count -= to - from;
}

/* The entries [from, to) that overlap r. */
static void overlap(const ti_regions *c, const ti_region *r, size_t *from_out, size_t *to_out)
{
    size_t from = first_above(c, r->start);
    if (from > 0 && ends_above(c->list[from - 1]->end, r->start))
        from--;
    size_t to = from;
    while (to < c->count && ends_above(r->end, c->list[to]->start))
        to++;
    *from_out = from;
    *to_out = to;
}

/* Whether an entry that overlaps r knows better. */
static bool is_stale(const ti_regions *c, const ti_region *r, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const ti_region *o = c->list[i];
        if (!atomic_load(&o->valid))
            continue;
        if (o->version > r->version ||
            (o->id == r->id && o->version == r->version && o->conf_ver > r->conf_ver))
            return true;
    }
    return false;
}

static bool make_room(ti_regions *c)
{
    if (c->count < c->capacity)
        return true;
    size_t capacity = c->capacity * 2 + GROWTH_MIN;
    ti_region **list = ti_realloc(c->list, capacity * sizeof(*list));
    if (list == NULL)
        return false;
    c->list = list;
    c->capacity = capacity;
    return true;
}

/* Takes over the reference r. false when out of memory. */
static bool insert(ti_regions *c, ti_region *r)
{
    size_t from = 0;
    size_t to = 0;
    overlap(c, r, &from, &to);
    if (is_stale(c, r, from, to)) {
        ti_region_unref(r);
        return true;
    }
    if (!make_room(c)) {
        ti_region_unref(r);
        return false;
    }
    remove_at(c, from, to);
    memmove(&c->list[from + 1], &c->list[from], (c->count - from) * sizeof(*c->list));
    c->list[from] = r;
    c->count++;
    ti_assert(from == 0 || ti_slice_compare(c->list[from - 1]->start, r->start) < 0);
    return true;
}

/* The cached, valid, fresh region of key, with a reference; or NULL. */
static ti_region *look_up(ti_regions *c, ti_slice key, bool before)
{
    ti_region *r = find(c, key, before);
    if (r == NULL || !atomic_load(&r->valid) || atomic_load(&r->expires_ms) < now_ms(c))
        return NULL;
    if (atomic_load(&r->expires_ms) < now_ms(c) + TI_REGION_TTL_MS / 2)
        touch(c, r);
    return ti_region_ref(r);
}

/* ---- Loading ---- */

static bool is_loading(const ti_regions *c, ti_slice key, bool before)
{
    for (const load *l = c->loads; l != NULL; l = l->next) {
        if (l->before == before && ti_slice_equal(l->key, key))
            return true;
    }
    return false;
}

static void load_end(ti_regions *c, load *mine)
{
    for (load **at = &c->loads; *at != NULL; at = &(*at)->next) {
        if (*at == mine) {
            *at = mine->next;
            break;
        }
    }
    c->load_count--;
    ti_cond_broadcast(&c->loaded);
}

/* Asks PD. A region that begins at key does not hold what is before it: then the one before is
 * asked for (source: client-go). */
static ti_status ask_pd(ti_regions *c, ti_slice key, bool before, ti_arena *a, ti_region_info *info,
                        const ti_call *call, ti_err *err)
{
    if (before && key.len == 0)
        return ti_pd_region(c->pd, TI_SLICE("\xff\xff\xff\xff\xff\xff\xff\xff"), false, a, info,
                            call, err);
    TI_TRY(ti_pd_region(c->pd, key, false, a, info, call, err));
    if (before && info->start.len > 0 && ti_slice_equal(info->start, key))
        return ti_pd_region(c->pd, key, true, a, info, call, err);
    return TI_OK;
}

/* One lookup at PD, entered into the cache. */
static ti_status load_one(ti_regions *c, ti_slice key, bool before, ti_region **region_out,
                          const ti_call *call, ti_err *err)
{
    ti_arena a;
    ti_region_info info;
    ti_arena_init(&a);
    ti_status status = ask_pd(c, key, before, &a, &info, call, err);
    ti_region *r = status == TI_OK ? region_create(c, &info, 0) : NULL;
    if (status == TI_OK && r == NULL)
        status = ti_err_no_memory(err);
    if (status == TI_OK && !ti_region_holds(r, key, before)) {
        ti_region_unref(r);
        status =
            ti_err_set(err, TI_UNAVAILABLE, "PD answered with a region that does not hold the key");
    }
    if (status == TI_OK) {
        ti_mutex_lock(&c->mutex);
        *region_out = ti_region_ref(r);
        if (!insert(c, r)) {
            ti_region_unref(*region_out);
            *region_out = NULL;
            status = ti_err_no_memory(err);
        }
        ti_mutex_unlock(&c->mutex);
    }
    ti_arena_free(&a);
    return status;
}

/* From the cache, or after waiting for somebody's load, or by a load of its own. */
static ti_status locate_once(ti_regions *c, ti_slice key, bool before, ti_region **region_out,
                             const ti_call *call, ti_err *err)
{
    load mine = {.key = key, .before = before};
    ti_mutex_lock(&c->mutex);
    for (;;) {
        *region_out = look_up(c, key, before);
        if (*region_out != NULL ||
            (c->load_count < TI_REGION_LOADS_MAX && !is_loading(c, key, before)))
            break;
        if (!ti_cond_wait_until(&c->loaded, &c->mutex, c->wire->env, call->deadline_ns))
            break;
    }
    if (*region_out != NULL) {
        ti_mutex_unlock(&c->mutex);
        return TI_OK;
    }
    mine.next = c->loads;
    c->loads = &mine;
    c->load_count++;
    c->misses++;
    ti_mutex_unlock(&c->mutex);
    ti_status status = ti_call_check(call, "looking for a region", err);
    if (status == TI_OK)
        status = load_one(c, key, before, region_out, call, err);
    ti_mutex_lock(&c->mutex);
    load_end(c, &mine);
    ti_mutex_unlock(&c->mutex);
    return status;
}

ti_status ti_regions_locate(ti_regions *c, ti_slice key, bool before, ti_backoff *backoff,
                            ti_region **region_out, ti_err *err)
{
    *region_out = NULL;
    for (;;) {
        ti_err seen;
        ti_err_clear(&seen);
        ti_status status = locate_once(c, key, before, region_out, backoff->call, &seen);
        if (status == TI_OK)
            return TI_OK;
        if (status != TI_UNAVAILABLE && status != TI_NOT_FOUND) {
            if (err != NULL)
                *err = seen;
            bool stopped = status == TI_TIMEOUT || status == TI_CANCELLED;
            return stopped ? ti_backoff_interrupted(backoff, status, err) : status;
        }
        TI_TRY(ti_backoff_sleep(backoff, TI_BACKOFF_REGION_MISS, -1, &seen, err));
    }
}

bool ti_regions_knows(ti_regions *c, ti_slice key)
{
    ti_mutex_lock(&c->mutex);
    ti_region *r = look_up(c, key, false);
    ti_mutex_unlock(&c->mutex);
    ti_region_unref(r);
    return r != NULL;
}

void ti_regions_preload(ti_regions *c, const ti_range *ranges, size_t count, const ti_call *call)
{
    ti_arena a;
    ti_region_info *infos = NULL;
    size_t info_count = 0;
    ti_assert(count > 0);
    ti_arena_init(&a);
    ti_status status = ti_pd_regions_of(c->pd, ranges, count, TI_REGION_LOAD_BATCH, &a, &infos,
                                        &info_count, call, NULL);
    if (status != TI_OK)
        status = ti_pd_regions(c->pd, ranges[0].from, ranges[count - 1].to, TI_REGION_LOAD_BATCH,
                               &a, &infos, &info_count, call, NULL);
    for (size_t i = 0; status == TI_OK && i < info_count; i++) {
        if (infos[i].peer_count > 0 && infos[i].leader.id != 0)
            ti_regions_insert(c, &infos[i], 0);
    }
    ti_arena_free(&a);
}

/* ---- Changes ---- */

void ti_regions_invalidate(ti_regions *c, ti_region *r)
{
    (void)c;
    atomic_store(&r->valid, false);
}

/* Puts a copy of r into its place that has one more peer, which leads. PD may lag behind the stores
 * for minutes (client-go#1398): what the store says is believed; the peer then tells the new epoch.
 * false when out of memory. */
static bool insert_with_leader(ti_regions *c, ti_region *r, ti_peer peer)
{
    ti_peer peers[TI_REGION_PEERS_MAX + 1];
    ti_region_info info = {.id = r->id,
                           .conf_ver = r->conf_ver,
                           .version = r->version,
                           .start = r->start,
                           .end = r->end,
                           .peers = peers,
                           .leader = peer};
    ti_assert(r->peer_count <= TI_REGION_PEERS_MAX);
    peers[info.peer_count++] = peer;
    for (size_t i = 0; i < r->peer_count; i++) {
        if (r->peers[i].store_id != peer.store_id)
            peers[info.peer_count++] = r->peers[i];
    }
    ti_region *with = region_create(c, &info, 0);
    if (with == NULL)
        return false;
    atomic_store(&with->hops, atomic_load(&r->hops) + 1);
    ti_mutex_lock(&c->mutex);
    bool done = insert(c, with);
    ti_mutex_unlock(&c->mutex);
    return done;
}

bool ti_regions_set_leader(ti_regions *c, ti_region *r, ti_peer peer)
{
    size_t index = peer_index(r, peer.id, peer.store_id);
    if (index == r->peer_count) {
        bool was_valid = atomic_load(&r->valid);
        ti_regions_invalidate(c, r);
        return was_valid && peer.store_id != 0 && insert_with_leader(c, r, peer);
    }
    atomic_store(&r->leader, index);
    atomic_store(&r->busy, 0);
    return true;
}

bool ti_regions_insert(ti_regions *c, const ti_region_info *info, uint64_t asked)
{
    if (info->peer_count == 0)
        return true;
    ti_region *r = region_create(c, info, asked);
    if (r == NULL)
        return false;
    ti_mutex_lock(&c->mutex);
    bool done = insert(c, r);
    ti_mutex_unlock(&c->mutex);
    return done;
}

uint64_t ti_regions_misses(ti_regions *c)
{
    ti_mutex_lock(&c->mutex);
    uint64_t misses = c->misses;
    ti_mutex_unlock(&c->mutex);
    return misses;
}

size_t ti_regions_count(ti_regions *c)
{
    ti_mutex_lock(&c->mutex);
    size_t count = c->count;
    ti_mutex_unlock(&c->mutex);
    return count;
}

ti_status ti_regions_create(ti_wire *w, ti_pd *pd, ti_regions **regions_out, ti_err *err)
{
    *regions_out = NULL;
    ti_regions *c = ti_alloc_zero(sizeof(*c));
    if (c == NULL)
        return ti_err_no_memory(err);
    c->wire = w;
    c->pd = pd;
    ti_status status = ti_mutex_init(&c->mutex, TI_RANK_CLOCK, err);
    if (status == TI_OK) {
        status = ti_cond_init(&c->loaded, err);
        if (status != TI_OK)
            ti_mutex_destroy(&c->mutex);
    }
    if (status != TI_OK) {
        ti_free(c);
        return status;
    }
    *regions_out = c;
    return TI_OK;
}

void ti_regions_free(ti_regions *c)
{
    ti_assert(c->load_count == 0);
    remove_at(c, 0, c->count);
    ti_free(c->list);
    ti_cond_destroy(&c->loaded);
    ti_mutex_destroy(&c->mutex);
    ti_free(c);
}

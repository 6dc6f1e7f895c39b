/* Engines with keys of their own on the cluster under test. See spaced.h. */
#include "tikv/spaced.h"

#include <inttypes.h>

#include "base/limits.h"

#define PREFIX_SIZE 64
#define NAMES_MAX 1024
#define CLEAR_BATCH 500
#define CLEAR_WAIT_US 120000000

typedef struct spaced {
    ti_engine base;
    ti_engine *inner; /* one reference for each of ours */
    _Atomic(int) refs;
    size_t prefix_len;
    char prefix[PREFIX_SIZE];
    char end[PREFIX_SIZE]; /* the first key behind the prefix; as long */
} spaced;

typedef struct spaced_snapshot {
    ti_snapshot base;
    ti_snapshot *inner;
} spaced_snapshot;

static spaced *of(const ti_engine *e)
{
    return (spaced *)(uintptr_t)e;
}

static ti_snapshot *inner_of(const ti_snapshot *s)
{
    return ((const spaced_snapshot *)(const void *)s)->inner;
}

/* ---- Keys ---- */

/* The cluster's key of a test's key, in the arena. */
static ti_slice outer(const spaced *s, ti_slice key, ti_arena *a)
{
    char *bytes = ti_arena_alloc(a, s->prefix_len + key.len);
    assert_non_null(bytes);
    memcpy(bytes, s->prefix, s->prefix_len);
    if (key.len > 0)
        memcpy(bytes + s->prefix_len, key.data, key.len);
    return (ti_slice){.data = bytes, .len = s->prefix_len + key.len};
}

static ti_range outer_range(const spaced *s, ti_range range, ti_arena *a)
{
    ti_slice end = {.data = s->end, .len = s->prefix_len};
    return (ti_range){.from = outer(s, range.from, a),
                      .to = range.to.len > 0 ? outer(s, range.to, a) : end};
}

static ti_slice *outer_keys(const spaced *s, const ti_slice *keys, size_t count, ti_arena *a)
{
    ti_slice *full = ti_arena_alloc(a, (count + 1) * sizeof(*full));
    assert_non_null(full);
    for (size_t i = 0; i < count; i++)
        full[i] = outer(s, keys[i], a);
    return full;
}

/* ---- Reading ---- */

static ti_status s_now(ti_engine *e, ti_ts *ts_out, const ti_call *call, ti_err *err)
{
    return of(e)->inner->vt->now(of(e)->inner, ts_out, call, err);
}

static ti_status s_begin(ti_engine *e, ti_ts at, ti_snapshot **out, const ti_call *call,
                         ti_err *err)
{
    spaced_snapshot *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    *out = NULL;
    ti_status status = of(e)->inner->vt->begin(of(e)->inner, at, &s->inner, call, err);
    if (status != TI_OK) {
        free(s);
        return status;
    }
    s->base.engine = e;
    *out = &s->base;
    return TI_OK;
}

static ti_ts s_snapshot_ts(const ti_snapshot *s)
{
    return of(s->engine)->inner->vt->snapshot_ts(inner_of(s));
}

static void s_release(ti_snapshot *s)
{
    of(s->engine)->inner->vt->release(inner_of(s));
    free(s);
}

static ti_status s_get(ti_snapshot *s, ti_slice key, ti_arena *a, ti_slice *value_out,
                       const ti_call *call, ti_err *err)
{
    ti_slice full = outer(of(s->engine), key, a);
    return of(s->engine)->inner->vt->get(inner_of(s), full, a, value_out, call, err);
}

static ti_status s_batch_get(ti_snapshot *s, const ti_slice *keys, size_t count, ti_arena *a,
                             ti_slice *values_out, const ti_call *call, ti_err *err)
{
    ti_slice *full = outer_keys(of(s->engine), keys, count, a);
    return of(s->engine)->inner->vt->batch_get(inner_of(s), full, count, a, values_out, call, err);
}

static ti_status s_scan(ti_snapshot *s, const ti_scan *scan, ti_arena *a, ti_scan_page *page_out,
                        const ti_call *call, ti_err *err)
{
    const spaced *e = of(s->engine);
    ti_scan full = *scan;
    full.range = outer_range(e, scan->range, a);
    TI_TRY(e->inner->vt->scan(inner_of(s), &full, a, page_out, call, err));
    for (size_t i = 0; i < page_out->count; i++) {
        ti_slice *key = &page_out->pairs[i].key;
        assert_true(key->len >= e->prefix_len);
        assert_memory_equal(key->data, e->prefix, e->prefix_len);
        *key = (ti_slice){.data = key->data + e->prefix_len, .len = key->len - e->prefix_len};
    }
    return TI_OK;
}

/* ---- Writing ---- */

static ti_status s_commit(ti_engine *e, const ti_commit_request *request, ti_commit_result *result,
                          const ti_call *call, ti_err *err)
{
    ti_arena a;
    ti_arena_init(&a);
    ti_commit_request full = *request;
    ti_mutation *mutations = ti_arena_alloc(&a, request->count * sizeof(*mutations));
    assert_non_null(mutations);
    for (size_t i = 0; i < request->count; i++) {
        mutations[i] = request->mutations[i];
        mutations[i].key = outer(of(e), request->mutations[i].key, &a);
    }
    full.mutations = mutations;
    ti_status status = of(e)->inner->vt->commit(of(e)->inner, &full, result, call, err);
    ti_arena_free(&a);
    return status;
}

static ti_status s_lock(ti_engine *e, ti_locks **locks, const ti_lock_request *request, ti_arena *a,
                        ti_locked *out, const ti_call *call, ti_err *err)
{
    ti_lock_request full = *request;
    full.keys = outer_keys(of(e), request->keys, request->count, a);
    return of(e)->inner->vt->lock(of(e)->inner, locks, &full, a, out, call, err);
}

static void s_unlock(ti_engine *e, ti_locks *locks)
{
    of(e)->inner->vt->unlock(of(e)->inner, locks);
}

static ti_status s_destroy_range(ti_engine *e, ti_range range, const ti_call *call, ti_err *err)
{
    ti_arena a;
    ti_arena_init(&a);
    ti_range full = outer_range(of(e), range, &a);
    ti_status status = of(e)->inner->vt->destroy_range(of(e)->inner, full, call, err);
    ti_arena_free(&a);
    return status;
}

/* ---- The rest ---- */

static ti_status s_gc(ti_engine *e, int64_t retention_us, const ti_call *call, ti_err *err)
{
    return of(e)->inner->vt->gc(of(e)->inner, retention_us, call, err);
}

static ti_status s_stats(ti_engine *e, ti_buf *out, ti_err *err)
{
    return of(e)->inner->vt->stats(of(e)->inner, out, err);
}

static bool s_shared(const ti_engine *e)
{
    return of(e)->inner->vt->shared(of(e)->inner);
}

static void s_ref(ti_engine *e)
{
    of(e)->inner->vt->ref(of(e)->inner);
    atomic_fetch_add(&of(e)->refs, 1);
}

static void s_unref(ti_engine *e)
{
    ti_engine *inner = of(e)->inner;
    bool last = atomic_fetch_sub(&of(e)->refs, 1) == 1;
    inner->vt->unref(inner);
    if (last)
        free(e);
}

static const ti_engine_vt spaced_vt = {
    .version = 1,
    .name = "tikv",
    .now = s_now,
    .begin = s_begin,
    .snapshot_ts = s_snapshot_ts,
    .release = s_release,
    .get = s_get,
    .batch_get = s_batch_get,
    .scan = s_scan,
    .commit = s_commit,
    .lock = s_lock,
    .unlock = s_unlock,
    .destroy_range = s_destroy_range,
    .gc = s_gc,
    .stats = s_stats,
    .shared = s_shared,
    .ref = s_ref,
    .unref = s_unref,
};

/* ---- The program's cluster and spaces ---- */

static cluster the_cluster;
static char program_prefix[PREFIX_SIZE];
static char *names[NAMES_MAX]; /* names[n] has the keys of number n; NULL: nobody's but the one's */
static size_t spaces;

bool spaced_wanted(void)
{
    const char *name = getenv("TITO_TEST_ENGINE");
    return name != NULL && strcmp(name, "tikv") == 0;
}

static void clear_all(void)
{
    ti_engine *e = cluster_open(&the_cluster);
    spaced_clear(e, ti_slice_of(program_prefix));
    e->vt->unref(e);
}

const cluster *spaced_cluster(void)
{
    uint64_t id = 0;
    if (program_prefix[0] != '\0')
        return &the_cluster;
    ti_env_real()->random(ti_env_real(), &id, sizeof(id));
    snprintf(program_prefix, sizeof(program_prefix), SPACED_ROOT "%016" PRIx64 ".", id);
    cluster_start(&the_cluster);
    if (cluster_is_own())
        assert_int_equal(atexit(clear_all), 0);
    return &the_cluster;
}

/* An engine on the keys under a prefix of this program's. */
static ti_engine *open_prefix(const char *prefix)
{
    spaced *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    s->inner = cluster_open(spaced_cluster());
    s->base.vt = &spaced_vt;
    s->base.env = s->inner->env;
    atomic_init(&s->refs, 1);
    s->prefix_len = strlen(prefix);
    assert_true(s->prefix_len > 0 && s->prefix_len < sizeof(s->prefix));
    memcpy(s->prefix, prefix, s->prefix_len);
    memcpy(s->end, s->prefix, sizeof(s->end));
    s->end[s->prefix_len - 1]++;
    return &s->base;
}

static ti_engine *open_number(size_t number)
{
    char prefix[PREFIX_SIZE];
    int len = snprintf(prefix, sizeof(prefix), "%s%zu:", program_prefix, number);
    assert_true(len > 0 && (size_t)len < sizeof(prefix));
    return open_prefix(prefix);
}

ti_engine *spaced_beside(const ti_engine *e)
{
    return open_prefix(of(e)->prefix);
}

ti_engine *spaced_new(void)
{
    (void)spaced_cluster();
    assert_true(spaces < NAMES_MAX);
    return open_number(spaces++);
}

ti_engine *spaced_named(const char *name)
{
    for (size_t i = 0; i < spaces; i++) {
        if (names[i] != NULL && strcmp(names[i], name) == 0)
            return open_number(i);
    }
    assert_true(spaces < NAMES_MAX);
    names[spaces] = strdup(name);
    return spaced_new();
}

/* ---- Clearing ---- */

/* Deletes the first keys of a range; answers how many. */
static size_t clear_some(ti_engine *e, ti_range range, ti_arena *a, const ti_call *call)
{
    ti_err err;
    ti_snapshot *s = NULL;
    ti_scan_page page;
    ti_mutation mutations[CLEAR_BATCH];
    ti_commit_result result;
    ti_scan scan = {.range = range, .keys_only = true, .items_max = CLEAR_BATCH};
    ti_err_clear(&err);
    test_ok(e->vt->begin(e, TI_TS_NONE, &s, call, &err), &err);
    test_ok(e->vt->scan(s, &scan, a, &page, call, &err), &err);
    for (size_t i = 0; i < page.count; i++)
        mutations[i] = (ti_mutation){.key = page.pairs[i].key, .kind = TI_MUTATION_DELETE};
    ti_commit_request request = {
        .start_ts = e->vt->snapshot_ts(s), .mutations = mutations, .count = page.count};
    if (page.count > 0)
        test_ok(e->vt->commit(e, &request, &result, call, &err), &err);
    e->vt->release(s);
    return page.count;
}

uint64_t spaced_clear(ti_engine *e, ti_slice prefix)
{
    char end[PREFIX_SIZE];
    uint64_t total = 0;
    size_t count = 0;
    ti_call call = ti_call_within(ti_env_real(), CLEAR_WAIT_US);
    assert_true(prefix.len > 0 && prefix.len < sizeof(end));
    memcpy(end, prefix.data, prefix.len);
    end[prefix.len - 1]++;
    do {
        ti_arena a;
        ti_arena_init(&a);
        ti_range range = {.from = prefix, .to = {.data = end, .len = prefix.len}};
        count = clear_some(e, range, &a, &call);
        ti_arena_free(&a);
        total += count;
    } while (count > 0);
    return total;
}

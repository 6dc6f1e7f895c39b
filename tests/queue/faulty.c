/* See faulty.h. */
#include "queue/faulty.h"

#include "rocks/rocks.h"
#include "tikv/spaced.h"

#define SLOW_US 3000

_Thread_local bool faulty_spared;

static faulty *of(ti_engine *e)
{
    return (faulty *)(void *)e;
}

/* Whether a fault of that rate strikes now. */
static bool strikes(faulty *f, uint32_t one_in)
{
    if (one_in == 0 || faulty_spared)
        return false;
    test_random r = {.state = atomic_fetch_add(&f->calls, 1)};
    if (!test_random_one_in(&r, one_in))
        return false;
    atomic_fetch_add(&f->struck, 1);
    return true;
}

static ti_status unavailable(faulty *f, ti_err *err)
{
    return strikes(f, atomic_load(&f->unavailable_in))
               ? ti_err_set(err, TI_UNAVAILABLE, "planned: unavailable")
               : TI_OK;
}

static ti_status f_now(ti_engine *e, ti_ts *ts_out, const ti_call *call, ti_err *err)
{
    TI_TRY(unavailable(of(e), err));
    return of(e)->inner->vt->now(of(e)->inner, ts_out, call, err);
}

static ti_status f_begin(ti_engine *e, ti_ts at, ti_snapshot **out, const ti_call *call,
                         ti_err *err)
{
    faulty *f = of(e);
    atomic_fetch_add(&f->begins, 1);
    TI_TRY(unavailable(f, err));
    TI_TRY(f->inner->vt->begin(f->inner, at, out, call, err));
    if (strikes(f, atomic_load(&f->slow_snapshot_in)))
        usleep(SLOW_US);
    return TI_OK;
}

static faulty *snapshot_faults; /* the one engine of a test program */
static _Atomic(uint64_t) scans;
static _Atomic(uint64_t) gets;

uint64_t faulty_scans(void)
{
    return atomic_load(&scans);
}

uint64_t faulty_gets(void)
{
    return atomic_load(&gets);
}

static ti_ts f_snapshot_ts(const ti_snapshot *s)
{
    return s->engine->vt->snapshot_ts(s);
}

static void f_release(ti_snapshot *s)
{
    s->engine->vt->release(s);
}

static ti_status f_get(ti_snapshot *s, ti_slice key, ti_arena *a, ti_slice *value_out,
                       const ti_call *call, ti_err *err)
{
    atomic_fetch_add(&gets, 1);
    TI_TRY(unavailable(snapshot_faults, err));
    return s->engine->vt->get(s, key, a, value_out, call, err);
}

static ti_status f_batch_get(ti_snapshot *s, const ti_slice *keys, size_t count, ti_arena *a,
                             ti_slice *values_out, const ti_call *call, ti_err *err)
{
    TI_TRY(unavailable(snapshot_faults, err));
    return s->engine->vt->batch_get(s, keys, count, a, values_out, call, err);
}

static ti_status f_scan(ti_snapshot *s, const ti_scan *scan, ti_arena *a, ti_scan_page *page_out,
                        const ti_call *call, ti_err *err)
{
    atomic_fetch_add(&scans, 1);
    TI_TRY(unavailable(snapshot_faults, err));
    return s->engine->vt->scan(s, scan, a, page_out, call, err);
}

/* Not the hints of what was published, which have commits of their own. */
static bool has_events(const ti_commit_request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        if (ti_slice_has_prefix(request->mutations[i].key, TI_SLICE("event:")))
            return true;
    }
    return false;
}

static ti_status f_commit(ti_engine *e, const ti_commit_request *request, ti_commit_result *result,
                          const ti_call *call, ti_err *err)
{
    faulty *f = of(e);
    bool publishes = has_events(request);
    atomic_fetch_add(&f->commits, publishes ? 1 : 0);
    while (publishes && atomic_load(&f->held)) {
        TI_TRY(ti_call_check(call, "planned: commit", err));
        usleep(200);
    }
    TI_TRY(unavailable(f, err));
    if (strikes(f, atomic_load(&f->conflict_in)))
        return ti_err_set(err, TI_CONFLICT, "planned: conflict");
    if (strikes(f, atomic_load(&f->lost_in)))
        return ti_err_set(err, TI_OUTCOME_UNKNOWN, "planned: lost");
    TI_TRY(f->inner->vt->commit(f->inner, request, result, call, err));
    if (strikes(f, atomic_load(&f->slow_commit_in)))
        usleep(SLOW_US);
    if (strikes(f, atomic_load(&f->unknown_in)))
        return ti_err_set(err, TI_OUTCOME_UNKNOWN, "planned: the answer was lost");
    return TI_OK;
}

static ti_status f_lock(ti_engine *e, ti_locks **locks, const ti_lock_request *request, ti_arena *a,
                        ti_locked *out, const ti_call *call, ti_err *err)
{
    return of(e)->inner->vt->lock(of(e)->inner, locks, request, a, out, call, err);
}

static void f_unlock(ti_engine *e, ti_locks *locks)
{
    of(e)->inner->vt->unlock(of(e)->inner, locks);
}

static ti_status f_destroy_range(ti_engine *e, ti_range range, const ti_call *call, ti_err *err)
{
    return of(e)->inner->vt->destroy_range(of(e)->inner, range, call, err);
}

static ti_status f_gc(ti_engine *e, int64_t retention_us, const ti_call *call, ti_err *err)
{
    atomic_fetch_add(&of(e)->gcs, 1);
    return of(e)->inner->vt->gc(of(e)->inner, retention_us, call, err);
}

static ti_status f_stats(ti_engine *e, ti_buf *out, ti_err *err)
{
    return of(e)->inner->vt->stats(of(e)->inner, out, err);
}

static bool f_shared(const ti_engine *e)
{
    return ((const faulty *)(const void *)e)->shared;
}

static void f_ref(ti_engine *e)
{
    (void)e;
    fail_msg("one handle only");
}

static void f_unref(ti_engine *e)
{
    of(e)->inner->vt->unref(of(e)->inner);
    free(e);
}

static const ti_engine_vt faulty_vt = {
    .version = 1,
    .name = "faulty",
    .now = f_now,
    .begin = f_begin,
    .snapshot_ts = f_snapshot_ts,
    .release = f_release,
    .get = f_get,
    .batch_get = f_batch_get,
    .scan = f_scan,
    .commit = f_commit,
    .lock = f_lock,
    .unlock = f_unlock,
    .destroy_range = f_destroy_range,
    .gc = f_gc,
    .stats = f_stats,
    .shared = f_shared,
    .ref = f_ref,
    .unref = f_unref,
};

faulty *faulty_open(bool shared)
{
    faulty *f = calloc(1, sizeof(*f));
    ti_err err;
    ti_call call = ti_call_within(ti_env_real(), TI_NO_DEADLINE);
    ti_rocks_options options = {.durability = TI_DURABILITY_BUFFERED};
    assert_non_null(f);
    f->base.vt = &faulty_vt;
    f->base.env = ti_env_real();
    f->shared = shared;
    if (spaced_wanted())
        f->inner = spaced_new();
    else
        test_ok(ti_rocks_open_memory(&options, ti_env_real(), &f->inner, &call, &err), &err);
    snapshot_faults = f;
    return f;
}

faulty *faulty_beside(const faulty *first)
{
    faulty *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->base.vt = &faulty_vt;
    f->base.env = first->base.env;
    f->shared = first->shared;
    f->inner = first->inner;
    f->inner->vt->ref(f->inner);
    return f;
}

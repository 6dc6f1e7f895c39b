/* Snapshots: a timestamp and a view of the published state.
 *
 *   e->view --ref--> [ RocksDB snapshot | read options | spare cursor ] <--ref-- snapshots S1, S2 …
 *
 * A view is made when somebody begins and there is none for the published state; a run of commits
 * without a reader between makes none. While a group is being written RocksDB's state is neither
 * the old nor the new one, so who begins then needs a view made before: a database that syncs makes
 * one before each group (that costs nothing beside the sync); a buffered one does so for a while
 * after somebody had to wait for a group.
 *
 * INVARIANTS
 *  1. The list of open snapshots is ordered by timestamp: they never fall.
 *  2. A view is freed outside of the mutex, by whoever dropped its last reference.
 *
 * Thread rule: as marked in rocks_int.h. */
#include "base/assert.h"
#include "rocks/rocks_int.h"

/* After somebody waited for a view: groups that make one beforehand. */
#define EAGER_GROUPS 256

bool ti_rocks_make_view(ti_rocks *e)
{
    ti_mutex_assert_held(&e->mutex);
    ti_assert(e->view == NULL);
    ti_rocks_view *view = ti_alloc(sizeof(*view));
    if (view == NULL)
        return false;
    *view = (ti_rocks_view){.refs = 1};
    view->snapshot = rocksdb_create_snapshot(e->db);
    view->options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(view->options, view->snapshot);
    e->view = view;
    e->counters.views++;
    return true;
}

ti_rocks_view *ti_rocks_unref_view(ti_rocks_view *view)
{
    ti_assert(view->refs > 0);
    view->refs--;
    return view->refs == 0 ? view : NULL;
}

void ti_rocks_free_view(ti_rocks *e, ti_rocks_view *view)
{
    ti_assert(view->refs == 0);
    ti_rocks_cursor_free(view->spare);
    rocksdb_readoptions_destroy(view->options);
    rocksdb_release_snapshot(e->db, view->snapshot);
    ti_free(view);
}

/* Makes sure that e->view shows the published state. With the mutex held, maybe released
 * meanwhile. */
static ti_status need_view(ti_rocks *e, const ti_call *call, ti_err *err)
{
    while (e->view == NULL) {
        if (!e->writing)
            return ti_rocks_make_view(e) ? TI_OK : ti_err_no_memory(err);
        e->eager = EAGER_GROUPS;
        TI_TRY(ti_rocks_wait_turn(e, call, "beginning a transaction", err));
    }
    return TI_OK;
}

/* The timestamp of a snapshot that begins now, and whether the clock should be renewed. */
static ti_status pick_ts(ti_rocks *e, ti_ts *ts_out, bool *renew_out, const ti_call *call,
                         ti_err *err)
{
    for (;;) {
        TI_TRY(need_view(e, call, err));
        ti_ts first = ti_rocks_in_flight(e);
        if (first != TI_TS_NONE) {
            *ts_out = first - 1;
            return TI_OK;
        }
        ti_tick tick = ti_clock_tick(&e->clock, ts_out);
        *renew_out = tick == TI_TICK_SOON && !e->renewing && !e->poisoned;
        if (tick != TI_TICK_REFUSED)
            return TI_OK;
        if (e->poisoned) {
            *ts_out = ti_clock_last(&e->clock); /* nothing will ever be committed again */
            return TI_OK;
        }
        TI_TRY(ti_call_check(call, "beginning a transaction", err));
        TI_TRY(ti_rocks_renew_clock(e, call, err));
    }
}

static void link_snapshot(ti_rocks *e, ti_rocks_snapshot *s)
{
    ti_assert(e->newest == NULL || e->newest->ts <= s->ts);
    s->older = e->newest;
    if (e->newest == NULL)
        e->oldest = s;
    else
        e->newest->newer = s;
    e->newest = s;
}

static void unlink_snapshot(ti_rocks *e, ti_rocks_snapshot *s)
{
    if (s->older == NULL)
        e->oldest = s->newer;
    else
        s->older->newer = s->newer;
    if (s->newer == NULL)
        e->newest = s->older;
    else
        s->newer->older = s->older;
}

ti_status ti_rocks_begin(ti_engine *engine, ti_ts at, ti_snapshot **snapshot_out,
                         const ti_call *call, ti_err *err)
{
    ti_rocks *e = ti_rocks_of(engine);
    bool renew = false;
    *snapshot_out = NULL;
    if (ti_process_guard_forked(&e->guard))
        return ti_rocks_forked(err);
    if (at != TI_TS_NONE && at != TI_TS_MAX)
        return ti_err_set(err, TI_UNSUPPORTED, "the embedded engine reads only the newest state");
    ti_rocks_snapshot *s = ti_alloc(sizeof(*s));
    if (s == NULL)
        return ti_err_no_memory(err);
    *s = (ti_rocks_snapshot){.base = {.engine = engine}};
    ti_mutex_lock(&e->mutex);
    ti_status status = pick_ts(e, &s->ts, &renew, call, err);
    if (status == TI_OK) {
        s->view = e->view;
        s->view->refs++;
        link_snapshot(e, s);
    }
    ti_mutex_unlock(&e->mutex);
    if (renew)
        ti_rocks_renew_early(e);
    if (status == TI_OK)
        *snapshot_out = &s->base;
    else
        ti_free(s);
    return status;
}

ti_ts ti_rocks_snapshot_ts(const ti_snapshot *s)
{
    return ((const ti_rocks_snapshot *)s)->ts;
}

void ti_rocks_release(ti_snapshot *snapshot)
{
    ti_rocks_snapshot *s = (ti_rocks_snapshot *)snapshot;
    ti_rocks *e = ti_rocks_of(snapshot->engine);
    if (ti_process_guard_forked(&e->guard)) {
        ti_free(s); /* what it holds of RocksDB stays as it is */
        return;
    }
    ti_mutex_lock(&e->mutex);
    unlink_snapshot(e, s);
    if (s->cursor != NULL && s->view->spare == NULL && s->view == e->view) {
        s->view->spare = s->cursor;
        s->cursor = NULL;
    }
    ti_rocks_view *old = ti_rocks_unref_view(s->view);
    ti_mutex_unlock(&e->mutex);
    ti_rocks_cursor_free(s->cursor);
    if (old != NULL)
        ti_rocks_free_view(e, old);
    ti_free(s);
}

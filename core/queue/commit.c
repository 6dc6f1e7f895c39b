/* Committers: outcomes of settled events into the store, in groups; see group_int.h for what one
 * group does and own.c for events with a transaction of their own.
 *
 *   committer: garbage? free it   own? commit it alone   a lane with outcomes and no group
 *              in flight? commit one
 *
 * INVARIANTS
 *  1. A partition has a lane. One group of a lane is in flight at a time, taken from the front of
 *     its outcomes, so that those of a key are committed in order. On a shared engine a group is of
 *     one partition.
 *  2. The mutex is not held while the store works. */
#include "base/assert.h"
#include "queue/commit_int.h"

/* Outcomes that are looked at for one group. */
#define LOOKS_MAX (8 * TI_ACK_GROUP_MAX)

/* ---- queues ---- */

static ti_lane *lane_of(ti_worker *w, const ti_event *event)
{
    return &w->lanes[event->part->number % TI_LANES];
}

/* A lane of which a group can be committed, or NULL. */
static ti_lane *next_lane(ti_worker *w)
{
    for (uint32_t i = 0; i < TI_LANES; i++) {
        ti_lane *lane = &w->lanes[(w->lane_turn + i) % TI_LANES];
        if (lane->outcomes.count > 0 && !lane->busy)
            return lane;
    }
    return NULL;
}

void ti_outcome_push(ti_worker *w, ti_event *event)
{
    ti_mutex_assert_held(&w->mutex);
    ti_assert(event->outcome != TI_OUTCOME_NONE);
    ti_lane *lane = lane_of(w, event);
    event->stage = TI_SETTLED;
    ti_fifo_push(&lane->outcomes, event);
    w->uncommitted++;
    if (!lane->busy)
        ti_cond_signal(&w->commit_cond);
}

void ti_own_push(ti_worker *w, ti_event *event)
{
    ti_mutex_assert_held(&w->mutex);
    ti_assert(event->stage == TI_SETTLED);
    w->uncommitted++;
    if (event->key->unacked > 0) {
        ti_assert(event->key->own_waiting == NULL);
        event->key->own_waiting = event;
        return;
    }
    ti_fifo_push(&w->own, event);
    ti_cond_signal(&w->commit_cond);
}

/* ---- after the commit, the mutex is held ---- */

static void count(const ti_event *event, ti_counter counter)
{
    ti_hub_count(event->part->type->type, counter, 1);
}

/* One outcome less that the key's next own transaction has to wait for. */
static void acked(ti_worker *w, ti_key *key)
{
    ti_assert(key->unacked > 0);
    key->unacked--;
    if (key->unacked > 0 || key->own_waiting == NULL)
        return;
    ti_event *event = key->own_waiting;
    key->own_waiting = NULL;
    if (event->batch != NULL) {
        ti_batch_key_came(w, event->batch);
        return;
    }
    ti_fifo_push(&w->own, event);
    ti_cond_signal(&w->commit_cond);
}

/* The event is in queue_parked now. */
static void now_parked(ti_worker *w, ti_event *event)
{
    ti_key *key = event->key;
    ti_event_place place = event->info.place;
    if (key->part->owned) {
        ti_key_forget_parked(w, key);
        ti_key_park(w, key, &place);
        key->load_max = 1;
        key->not_before_ns = ti_env_mono_ns(w->env) + event->retry_after_us * 1000;
    }
    ti_window_finish(w, event, true);
    if (key->part->owned)
        ti_key_move_window(w, key);
}

static void failed(ti_worker *w, ti_event *event)
{
    if (event->retry_after_us < 0) {
        count(event, TI_COUNT_FAILED);
        ti_window_finish(w, event, true);
        return;
    }
    count(event, TI_COUNT_RETRIED);
    now_parked(w, event);
}

static void moved(ti_worker *w, ti_event *event)
{
    ti_event_place place = event->info.place;
    count(event, TI_COUNT_PARKED);
    if (event->part->owned)
        ti_key_park(w, event->key, &place);
    ti_window_finish(w, event, true);
}

static void rescheduled(ti_worker *w, ti_event *event)
{
    ti_part *part = event->part;
    uint64_t at_us = event->new_place.timestamp_us;
    count(event, TI_COUNT_RESCHEDULED);
    ti_window_finish(w, event, true);
    ti_part_wake(w, part, at_us);
    ti_worker_nudge(w);
}

static void advanced(ti_worker *w, ti_event *event)
{
    ti_event *replacement = event->replacement;
    event->replacement = NULL;
    count(event, TI_COUNT_ADVANCED);
    ti_window_replace(w, event, replacement, true);
}

/* What a committed outcome means in memory. */
static void committed(ti_worker *w, ti_event *event)
{
    switch (event->outcome) {
    case TI_OUTCOME_ACK:
        count(event, TI_COUNT_ACKNOWLEDGED);
        ti_window_finish(w, event, true);
        return;
    case TI_OUTCOME_FAIL:
        failed(w, event);
        return;
    case TI_OUTCOME_RESCHEDULE:
        rescheduled(w, event);
        return;
    case TI_OUTCOME_ADVANCE:
        advanced(w, event);
        return;
    case TI_OUTCOME_MOVE:
        moved(w, event);
        return;
    case TI_OUTCOME_DAMAGED:
        count(event, TI_COUNT_FAILED);
        ti_window_finish(w, event, true);
        return;
    case TI_OUTCOME_NONE:
        break;
    }
    ti_require(false);
}

/* Runs again, here unless its partition is lost; an object made for a commit that did not happen
 * goes. */
static void run_again(ti_worker *w, ti_event *event, bool lost)
{
    int64_t delay_ns = TI_RERUN_BASE_US * INT64_C(1000);
    if (event->replacement != NULL)
        ti_event_destroy(event->replacement);
    event->replacement = NULL;
    count(event, lost ? TI_COUNT_LOST : TI_COUNT_CONFLICTS);
    event->conflicts += lost ? 0 : 1;
    for (uint32_t i = 1; i < event->conflicts && delay_ns < TI_RERUN_CAP_US * INT64_C(1000); i++)
        delay_ns *= 2;
    if (!lost) {
        ti_window_rerun(w, event, false, delay_ns);
        return;
    }
    ti_window_lose(w, event);
}

void ti_result_take(ti_worker *w, ti_event *event, ti_result result)
{
    ti_key *key = event->key;
    ti_outcome outcome = event->outcome;
    ti_mutex_assert_held(&w->mutex);
    ti_assert(event->stage == TI_SETTLED);
    ti_assert(w->uncommitted > 0);
    w->uncommitted--;
    if (key->running == event)
        key->running = NULL;
    else if (outcome == TI_OUTCOME_MOVE)
        key->moving--;
    else
        acked(w, key);
    if (result == TI_RESULT_RERUN || result == TI_RESULT_LOST) {
        run_again(w, event, result == TI_RESULT_LOST);
        return;
    }
    if (result == TI_RESULT_DROPPED) {
        count(event, TI_COUNT_DROPPED);
        ti_window_finish(w, event, true);
    } else {
        committed(w, event);
    }
    ti_key_update(w, key);
}

/* ---- the threads ---- */

/* Takes the next group off a lane: the first ones, on a shared engine those of them that are of the
 * first one's partition. It looks at a few groups' worth of them: the mutex is held. */
static size_t take_group(ti_worker *w, ti_lane *lane)
{
    ti_event *before = NULL;
    ti_event *next;
    size_t n = 0;
    size_t size = 0;
    uint32_t looks = 0;
    for (ti_event *event = lane->outcomes.first; event != NULL; event = next) {
        next = event->next;
        if (n == TI_ACK_GROUP_MAX || size >= TI_ACK_GROUP_SIZE_MAX || looks++ == LOOKS_MAX)
            break;
        if (n > 0 && w->queues->shared && event->part != lane->group[0]->part) {
            before = event;
            continue;
        }
        ti_fifo_unlink(&lane->outcomes, before, event);
        lane->group[n++] = event;
        size += event->size;
    }
    return n;
}

/* Its events are freed only after the mutex was let go: others wait for it. */
static void commit_group(ti_worker *w, ti_committer *c, ti_lane *lane)
{
    ti_result results[TI_ACK_GROUP_MAX];
    ti_event *events[TI_ACK_GROUP_MAX];
    ti_assert(!lane->busy);
    size_t n = take_group(w, lane);
    ti_assert(n > 0);
    lane->busy = true;
    w->lane_turn = (uint32_t)(lane - w->lanes) + 1;
    ti_worker_unlock(w);
    bool decided = ti_group_commit(c, lane->group, n, results);
    for (size_t i = 0; i < n; i++) {
        events[i] = lane->group[i];
        ti_event_ref(events[i]);
    }
    ti_mutex_lock(&w->mutex);
    for (size_t i = 0; i < n && decided; i++)
        ti_result_take(w, events[i], results[i]);
    lane->busy = false;
    ti_worker_unlock(w);
    for (size_t i = 0; i < n; i++)
        ti_event_unref(events[i]);
    ti_mutex_lock(&w->mutex);
}

/* What it stands for: each event is there until its result is taken. */
static void commit_batch(ti_worker *w, ti_committer *c, ti_event *first)
{
    ti_result results[TI_BATCH_MAX];
    const ti_batch *batch = first->batch;
    uint32_t count = batch->count;
    ti_worker_unlock(w);
    bool decided = ti_batch_commit(c, first, results);
    ti_mutex_lock(&w->mutex);
    for (uint32_t i = 0; i < count && decided; i++)
        ti_result_take(w, batch->events[i], results[i]);
}

static void commit_own(ti_worker *w, ti_committer *c)
{
    ti_result result;
    ti_event *event = ti_fifo_pop(&w->own);
    if (event->batch != NULL) {
        commit_batch(w, c, event);
        return;
    }
    ti_worker_unlock(w);
    bool decided = ti_own_commit(c, event, &result);
    ti_mutex_lock(&w->mutex);
    if (!decided)
        return;
    if (result != TI_RESULT_FAILED) {
        ti_result_take(w, event, result);
        return;
    }
    w->uncommitted--;
    event->outcome = TI_OUTCOME_FAIL;
    ti_outcome_push(w, event);
}

static void free_garbage(ti_worker *w)
{
    ti_txn *txn = w->garbage[--w->garbage_count];
    ti_worker_unlock(w);
    ti_txn_free(txn);
    ti_mutex_lock(&w->mutex);
}

/* One piece of work, letting the mutex go meanwhile; false when there is none. */
static bool work(ti_worker *w, ti_committer *c)
{
    ti_lane *lane = next_lane(w);
    if (w->garbage_count > 0)
        free_garbage(w);
    else if (w->own.count > 0)
        commit_own(w, c);
    else if (lane != NULL)
        commit_group(w, c, lane);
    else
        return false;
    ti_arena_reset(&c->arena);
    ti_ready_changed(w);
    if (w->uncommitted == 0)
        ti_cond_broadcast(&w->idle_cond);
    return true;
}

void *ti_committer_run(void *worker)
{
    ti_worker *w = worker;
    ti_committer c = {.worker = w};
    ti_arena_init(&c.arena);
    ti_event_sealer_init(&c.sealer);
    ti_mutex_lock(&w->mutex);
    while (!w->quit) {
        if (!work(w, &c)) {
            ti_worker_unlock(w);
            ti_mutex_lock(&w->mutex);
            if (!w->quit && w->garbage_count == 0 && w->own.count == 0 && next_lane(w) == NULL)
                ti_cond_wait(&w->commit_cond, &w->mutex);
        }
    }
    ti_worker_unlock(w);
    ti_event_sealer_free(&c.sealer);
    ti_arena_free(&c.arena);
    return NULL;
}

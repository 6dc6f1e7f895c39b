/* The reader's thread: ownership, timers, loads of parked keys, reads of partitions, checkpoints.
 *
 *   loop: partition counts -> ownership (each second) -> news from publishers -> timers
 *         -> checkpoints (when due) -> one load -> one read (or the opening of many)
 *         -> nothing to do: sleep until a timer, a nudge or news
 *
 * INVARIANTS
 *  1. Partitions and keys are worked on by this thread only, one at a time (while partitions are
 *     opened by its helpers, for which it waits); the mutex is let go while the store works.
 *  2. After an error it pauses (doubling, up to a second) and goes on where it was. */
#include <string.h>

#include "base/assert.h"
#include "queue/worker_int.h"

/* ---- news ---- */

void ti_inbox_collect(ti_worker *w)
{
    ti_mutex_assert_held(&w->mutex);
    ti_mutex_lock(&w->inbox.mutex);
    for (ti_wtype *type = w->types; type != NULL; type = type->next) {
        for (uint32_t i = 0; i < type->inbox_count; i++) {
            uint32_t number = type->inbox_dirty[i];
            ti_part_wake(w, &type->parts[number], type->inbox_lowest[number]);
            ti_part_wake(w, &type->parts[number], type->inbox_highest[number]);
            type->inbox_lowest[number] = UINT64_MAX;
            type->inbox_highest[number] = 0;
        }
        type->inbox_count = 0;
    }
    ti_mutex_unlock(&w->inbox.mutex);
}

/* ---- ownership ---- */

/* Gives partitions up, and takes new ones on. The mutex is held. */
static void apply_ownership(ti_worker *w)
{
    for (ti_wtype *type = w->types; type != NULL; type = type->next) {
        for (uint32_t i = 0; i < type->partitions; i++) {
            ti_part *part = &type->parts[i];
            if (part->owned && part->holding != part->holding_next)
                ti_part_close(w, part);
            if (!part->owned && part->holding_next != 0) {
                part->owned = true;
                part->holding = part->holding_next;
                ti_part_queue(w, part);
            }
        }
    }
}

/* Forgets what is known of partitions of which something is not known any more, an outcome or an
 * event, and opens them anew. The mutex is held. */
static void reopen_parts(ti_worker *w)
{
    for (ti_wtype *type = w->types; type != NULL && w->reopen_parts > 0; type = type->next) {
        for (uint32_t i = 0; i < type->partitions; i++) {
            ti_part *part = &type->parts[i];
            if (!part->reopen)
                continue;
            ti_part_close(w, part);
            part->owned = true;
            ti_part_queue(w, part);
        }
    }
}

/* Asks the ownership when it is time. The mutex is held, and let go meanwhile. */
static void look_at_ownership(ti_worker *w)
{
    ti_ownership *o = w->ownership;
    int64_t now_ns = ti_env_mono_ns(w->env);
    if (now_ns < w->ownership_ns)
        return;
    w->ownership_ns = now_ns + TI_OWNERSHIP_US * INT64_C(1000);
    ti_worker_unlock(w);
    uint64_t epoch = o->vt->epoch(o);
    bool changed = !w->epoch_known || epoch != w->ownership_epoch;
    for (ti_wtype *type = w->types; changed && type != NULL; type = type->next) {
        for (uint32_t i = 0; i < type->partitions; i++)
            type->parts[i].holding_next =
                type->resting ? 0 : o->vt->holding(o, ti_hub_type_name(type->type), i);
    }
    ti_mutex_lock(&w->mutex);
    if (o->vt->epoch(o) != epoch) {
        w->ownership_ns = 0; /* changed meanwhile: what was asked may be wrong by now */
        return;
    }
    w->epoch_known = true;
    w->ownership_epoch = epoch;
    if (changed)
        apply_ownership(w);
}

/* ---- timers, the mutex is held ---- */

static void begin_sweep(ti_part *part)
{
    part->sweeping = true;
    part->sweep_to_us = part->read_us;
    part->sweep_floor_us = UINT64_MAX;
    if (part->floor_us <= part->read_us) {
        part->read_us = part->floor_us;
        part->read_uuid[0] = '\0';
    }
    if (part->type->worker->queues->shared)
        part->due_known = false;
}

/* Whether it is time to look again at places that have been read. Alone, where every event is told,
 * that is a precaution, taken where it costs nothing. */
static bool sweep_is_due(const ti_worker *w, const ti_part *part, int64_t now_ns)
{
    int64_t since_us = (now_ns - part->swept_ns) / 1000;
    if (!part->opened || part->sweeping)
        return false;
    if (w->queues->shared)
        return since_us >= TI_SWEEP_BUSY_US;
    return since_us >= TI_SWEEP_ALONE_US && part->count == 0 && !ti_part_is_dirty(part);
}

static void part_timer(ti_worker *w, ti_part *part, int64_t now_ns)
{
    if (sweep_is_due(w, part, now_ns))
        begin_sweep(part);
    else if (!w->queues->shared && now_ns - part->swept_ns >= TI_SWEEP_ALONE_US * INT64_C(1000))
        part->swept_ns = now_ns;
    ti_part_queue(w, part);
}

static void fire(ti_worker *w, ti_timer *timer, int64_t now_ns)
{
    char *at = (char *)timer;
    switch ((ti_timer_kind)timer->kind) {
    case TI_TIMER_PART:
        part_timer(w, (ti_part *)(void *)(at - offsetof(ti_part, timer)), now_ns);
        return;
    case TI_TIMER_KEY:
        ti_key_update(w, (ti_key *)(void *)(at - offsetof(ti_key, timer)));
        return;
    case TI_TIMER_EVENT:
        ti_event_expire(w, (ti_event *)(void *)(at - offsetof(ti_event, deadline)));
        return;
    case TI_TIMER_TYPE:
        ti_ready_changed(w);
        return;
    }
    ti_require(false);
}

static void run_timers(ti_worker *w)
{
    int64_t now_ns = ti_env_mono_ns(w->env);
    ti_timer *timer = ti_timers_first(&w->timers);
    while (timer != NULL && timer->at_ns <= now_ns) {
        ti_timers_cancel(&w->timers, timer);
        fire(w, timer, now_ns);
        timer = ti_timers_first(&w->timers);
    }
}

/* ---- work, the mutex is held and let go meanwhile ---- */

static void after(ti_worker *w, ti_status status, const ti_err *err, const char *what)
{
    if (status == TI_OK) {
        w->failures = 0;
        return;
    }
    int64_t pause_us = TI_RETRY_BASE_US;
    for (uint32_t i = 0; i < w->failures && pause_us < TI_RETRY_CAP_US; i++)
        pause_us *= 2;
    w->failures++;
    w->pause_until_ns = ti_env_mono_ns(w->env) + pause_us * 1000;
    ti_worker_unlock(w);
    ti_worker_note(w, err, what);
    ti_mutex_lock(&w->mutex);
}

static bool load_one(ti_worker *w, ti_arena *a)
{
    ti_key *key = w->load_first;
    ti_err err;
    if (key == NULL || (w->events >= TI_WINDOW_EVENTS_MAX && w->ready_count > 0))
        return false;
    w->load_first = key->load_next;
    if (w->load_first == NULL)
        w->load_last = NULL;
    ti_worker_unlock(w);
    ti_err_clear(&err);
    ti_status status = ti_key_load(w, key, a, &err);
    ti_arena_reset(a);
    ti_mutex_lock(&w->mutex);
    after(w, status, &err, "reading parked events");
    return true;
}

static ti_part *pop_part(ti_worker *w)
{
    ti_part *part = w->read_first;
    w->read_first = part->queue_next;
    if (w->read_first == NULL)
        w->read_last = NULL;
    part->queued = false;
    return part;
}

/* Puts a partition where its number belongs. */
static void add_sorted(ti_part **parts, size_t n, ti_part *part)
{
    for (; n > 0 && parts[n - 1]->number > part->number; n--)
        parts[n] = parts[n - 1];
    parts[n] = part;
}

/* Takes the first partition off the queue; when it is not open, with others of its type that are
 * not. */
static size_t pop_parts(ti_worker *w, ti_part **parts)
{
    ti_part *first = pop_part(w);
    ti_part *rest = w->read_first;
    size_t n = 1;
    parts[0] = first;
    if (!first->owned || first->opened)
        return n;
    w->read_first = NULL;
    w->read_last = NULL;
    while (rest != NULL) {
        ti_part *part = rest;
        rest = part->queue_next;
        part->queued = false;
        if (n < TI_OPEN_BATCH && part->owned && !part->opened && part->type == first->type)
            add_sorted(parts, n++, part);
        else
            ti_part_queue(w, part);
    }
    return n;
}

static bool read_some(ti_worker *w, ti_arena *a)
{
    ti_part *parts[TI_OPEN_BATCH];
    ti_err err;
    if (w->read_first == NULL || w->full)
        return false;
    size_t n = pop_parts(w, parts);
    if (!parts[0]->owned)
        return true;
    bool opened = parts[0]->opened;
    ti_worker_unlock(w);
    ti_err_clear(&err);
    ti_status status =
        opened ? ti_parts_read(w, parts, n, false, a, &err) : ti_parts_open(w, parts, n, a, &err);
    ti_arena_reset(a);
    ti_mutex_lock(&w->mutex);
    for (size_t i = 0; i < n && status != TI_OK; i++)
        ti_part_queue(w, parts[i]);
    after(w, status, &err, "reading events");
    return true;
}

static void checkpoints(ti_worker *w, ti_arena *a)
{
    ti_err err;
    int64_t now_ns = ti_env_mono_ns(w->env);
    if (now_ns < w->checkpoint_ns)
        return;
    w->checkpoint_ns = now_ns + TI_OWNERSHIP_US * INT64_C(1000);
    ti_worker_unlock(w);
    ti_err_clear(&err);
    ti_status status = ti_checkpoints_write(w, false, a, &err);
    ti_arena_reset(a);
    ti_mutex_lock(&w->mutex);
    after(w, status, &err, "writing checkpoints");
}

/* On a shared engine: more often while there is news. */
static void poll_hints(ti_worker *w, ti_arena *a)
{
    bool news = false;
    ti_err err;
    if (!w->queues->shared || ti_env_mono_ns(w->env) < w->poll_ns)
        return;
    ti_worker_unlock(w);
    ti_err_clear(&err);
    ti_status status = ti_hints_poll(w, a, &news, &err);
    ti_arena_reset(a);
    ti_mutex_lock(&w->mutex);
    w->poll_us = news || w->poll_us == 0 ? TI_HINT_POLL_MIN_US : w->poll_us * 2;
    if (w->poll_us > TI_HINT_POLL_MAX_US)
        w->poll_us = TI_HINT_POLL_MAX_US;
    w->poll_ns = ti_env_mono_ns(w->env) + w->poll_us * 1000;
    after(w, status, &err, "looking at hints");
}

static bool work(ti_worker *w, ti_arena *a)
{
    if (w->life != TI_LIFE_RUNNING)
        return false;
    checkpoints(w, a);
    if (ti_env_mono_ns(w->env) < w->pause_until_ns)
        return false;
    poll_hints(w, a);
    bool loaded = load_one(w, a);
    return read_some(w, a) || loaded;
}

/* A window that stays full while handlers are idle: long keys make room, unless too many wait. */
static void spill(ti_worker *w)
{
    int64_t now_ns = ti_env_mono_ns(w->env);
    if (w->spill_check_ns == 0 || now_ns < w->spill_check_ns)
        return;
    w->spill_check_ns = now_ns + TI_SPILL_AFTER_US * INT64_C(250);
    if (w->ready_count == 0 && w->taken < w->options.concurrency &&
        w->parked_size < TI_PARKED_SIZE_MAX)
        ti_window_spill(w);
}

static int64_t earlier(int64_t left, int64_t right)
{
    return left < right ? left : right;
}

static int64_t wake_time(const ti_worker *w)
{
    const ti_timer *timer = ti_timers_first(&w->timers);
    int64_t at_ns = w->ownership_ns;
    if (timer != NULL)
        at_ns = earlier(at_ns, timer->at_ns);
    if (w->life == TI_LIFE_RUNNING)
        at_ns = earlier(at_ns, w->checkpoint_ns);
    if (w->queues->shared && w->life == TI_LIFE_RUNNING)
        at_ns = earlier(at_ns, w->poll_ns);
    if (w->spill_check_ns != 0)
        at_ns = earlier(at_ns, w->spill_check_ns);
    if (w->pause_until_ns > ti_env_mono_ns(w->env))
        at_ns = earlier(at_ns, w->pause_until_ns);
    if (w->leaving)
        at_ns = earlier(at_ns, ti_env_mono_ns(w->env) + TI_LEASE_HURRY_US * INT64_C(1000));
    return at_ns;
}

/* Sleeps until there may be something to do. The mutex is held, and let go meanwhile. */
static void sleep_until_news(ti_worker *w)
{
    int64_t until_ns = wake_time(w);
    w->reader_until_ns = until_ns;
    ti_worker_unlock(w);
    ti_mutex_lock(&w->inbox.mutex);
    bool in_time = true;
    w->inbox.waiting = true;
    while (!w->inbox.flag && in_time)
        in_time = ti_cond_wait_until(&w->inbox.cond, &w->inbox.mutex, w->env, until_ns);
    w->inbox.waiting = false;
    w->inbox.flag = false;
    ti_mutex_unlock(&w->inbox.mutex);
    ti_mutex_lock(&w->mutex);
}

void *ti_reader_run(void *worker)
{
    ti_worker *w = worker;
    ti_arena a;
    ti_arena_init(&a);
    ti_mutex_lock(&w->mutex);
    while (!w->quit) {
        ti_types_follow(w);
        look_at_ownership(w);
        reopen_parts(w);
        ti_inbox_collect(w);
        run_timers(w);
        spill(w);
        if (!work(w, &a) && !w->quit)
            sleep_until_news(w);
    }
    bool last = w->drained;
    ti_worker_unlock(w);
    if (last && ti_checkpoints_write(w, true, &a, NULL) != TI_OK)
        ti_log_write(w->log, TI_LOG_INFO, "queue: the last checkpoints could not be written");
    ti_arena_free(&a);
    return NULL;
}

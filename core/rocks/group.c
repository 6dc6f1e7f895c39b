/* The commit queue: one thread at a time leads, and writes all that is queued as one group.
 *
 *   join: [queue empty, nobody leads] ----------------------------> lead
 *         [else] QUEUED --taken by a leader--> TAKEN --written--> DONE
 *                   |`---the leader is done: the first in the queue---> LEADER --> lead
 *                   `----deadline----> taken back, TIMEOUT
 *
 *   Who waits looks at its entry's state for a moment, without the mutex, then sleeps.
 *
 *   lead: take from the queue -> (mutex released) one WriteBatch -> publish -> wake them, hand over
 *
 * INVARIANTS
 *  1. An entry is on its thread's stack: from DONE on nobody else touches it.
 *  2. A batch holds whole commits, in order of their timestamps.
 *  3. When RocksDB would stall a write it refuses it instead (no_slowdown): nothing was applied,
 *     and the leader tries again; entries whose deadline passes meanwhile get BUSY.
 *  4. Any other failure of a write may have left the commits in the log: OUTCOME_UNKNOWN, and the
 *     engine is poisoned.
 *
 * Thread rule: functions are called with the engine's mutex held, unless noted. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/fault.h"
#include "rocks/rocks_int.h"

/* After somebody waited for a view: groups that make one beforehand. */
#define EAGER_GROUPS 256
/* A batch that has grown beyond this is not kept. */
#define BATCH_KEPT_SIZE (1024 * 1024)
/* How long a commit that is queued looks for its turn before it sleeps. */
#define WATCH_TURNS 50
#define WATCH_YIELDS 50
#define CANCEL_LOOK_NS INT64_C(20000000)
#define BOUND_VERSION 1

const ti_slice ti_rocks_clock_key = {.data = "\0tito.clock", .len = 11};

void ti_rocks_encode_bound(ti_ts bound, char out[TI_ROCKS_BOUND_SIZE])
{
    out[0] = BOUND_VERSION;
    for (int i = 0; i < 8; i++)
        out[1 + i] = (char)(unsigned char)(bound >> (56 - 8 * i));
}

ti_status ti_rocks_decode_bound(ti_slice bytes, ti_ts *bound_out, ti_err *err)
{
    *bound_out = TI_TS_NONE;
    if (bytes.len > 0 && (unsigned char)bytes.data[0] > BOUND_VERSION)
        return ti_err_set(err, TI_UNSUPPORTED, "the database was written by a newer tito");
    if (bytes.len != TI_ROCKS_BOUND_SIZE || bytes.data[0] != BOUND_VERSION)
        return ti_err_set(err, TI_CORRUPT, "the stored bound of the clock is damaged");
    for (int i = 0; i < 8; i++)
        *bound_out = *bound_out << 8 | (unsigned char)bytes.data[1 + i];
    return TI_OK;
}

ti_ts ti_rocks_in_flight(const ti_rocks *e)
{
    const ti_rocks_entry *first = e->group != NULL ? e->group : e->queue;
    return first == NULL ? TI_TS_NONE : first->ts;
}

/* Everything below the lowest timestamp in flight is settled. */
static void settle(ti_rocks *e)
{
    ti_ts first = ti_rocks_in_flight(e);
    ti_ts settled = first == TI_TS_NONE ? ti_clock_last(&e->clock) : first - 1;
    ti_assert(settled >= atomic_load(&e->settled));
    atomic_store(&e->settled, settled);
    if (e->waiters > 0)
        ti_cond_broadcast(&e->turned);
}

ti_status ti_rocks_wait_turn(ti_rocks *e, const ti_call *call, const char *what, ti_err *err)
{
    TI_TRY(ti_call_check(call, what, err));
    int64_t until_ns = call->deadline_ns;
    if (call->cancelled != NULL) {
        int64_t look_ns = ti_env_mono_ns(e->base.env) + CANCEL_LOOK_NS;
        until_ns = look_ns < until_ns ? look_ns : until_ns;
    }
    e->waiters++;
    (void)ti_cond_wait_until(&e->turned, &e->mutex, e->base.env, until_ns);
    e->waiters--;
    return TI_OK;
}

/* ---- writing; outside of the mutex */

static void add_range(rocksdb_writebatch_t *batch, const ti_range *range)
{
    ti_slice from = range->from.len == 0 ? TI_SLICE("\x01") : range->from;
    ti_slice to = range->to.len == 0 ? ti_rocks_keys_end : range->to;
    rocksdb_writebatch_delete_range(batch, from.data, from.len, to.data, to.len);
}

static void add_entry(rocksdb_writebatch_t *batch, const ti_rocks_entry *entry)
{
    if (entry->destroy != NULL)
        add_range(batch, entry->destroy);
    for (size_t i = 0; i < entry->count; i++) {
        const ti_mutation *m = &entry->mutations[i];
        switch (m->kind) {
        case TI_MUTATION_PUT:
        case TI_MUTATION_INSERT:
            rocksdb_writebatch_put(batch, m->key.data, m->key.len, m->value.data, m->value.len);
            break;
        case TI_MUTATION_DELETE:
            rocksdb_writebatch_delete(batch, m->key.data, m->key.len);
            break;
        case TI_MUTATION_LOCK:
        case TI_MUTATION_ABSENT:
            break;
        }
    }
}

ti_write_result ti_rocks_write_result(char *message, char text[TI_ROCKS_POISON_SIZE])
{
    if (message == NULL)
        return TI_WRITE_DONE;
    bool stalled = strncmp(message, "Result incomplete", 17) == 0;
    (void)snprintf(text, TI_ROCKS_POISON_SIZE, "%s", message);
    rocksdb_free(message);
    return stalled ? TI_WRITE_STALLED : TI_WRITE_FAILED;
}

/* Puts the group, and the bound if there is one, into the batch; false when it is empty. */
static bool fill_batch(ti_rocks *e, ti_ts bound)
{
    char bytes[TI_ROCKS_BOUND_SIZE];
    rocksdb_writebatch_clear(e->batch);
    for (const ti_rocks_entry *entry = e->group; entry != NULL; entry = entry->next)
        add_entry(e->batch, entry);
    if (rocksdb_writebatch_count(e->batch) == 0)
        return false;
    if (bound != TI_TS_NONE) {
        ti_rocks_encode_bound(bound, bytes);
        rocksdb_writebatch_put(e->batch, ti_rocks_clock_key.data, ti_rocks_clock_key.len, bytes,
                               sizeof(bytes));
    }
    return true;
}

/* One try. */
static ti_write_result write_once(ti_rocks *e, ti_ts bound, char text[TI_ROCKS_POISON_SIZE])
{
    char *failed = NULL;
    if (!fill_batch(e, bound))
        return TI_WRITE_DONE;
    if (TI_FAULT_FAILS(rocks_write_stalls))
        return TI_WRITE_STALLED;
    if (TI_FAULT_FAILS(rocks_write_fails)) {
        (void)snprintf(text, TI_ROCKS_POISON_SIZE, "a test wants it");
        return TI_WRITE_FAILED;
    }
    TI_FAULT(rocks_before_write);
    rocksdb_write(e->db, e->write_options, e->batch, &failed);
    TI_FAULT(rocks_after_write);
    if (failed == NULL && bound != TI_TS_NONE)
        ti_clock_set_bound(&e->clock, bound);
    return ti_rocks_write_result(failed, text);
}

/* Gives a batch that has grown large back. */
static void trim_batch(ti_rocks *e)
{
    size_t size = 0;
    (void)rocksdb_writebatch_data(e->batch, &size);
    if (size <= BATCH_KEPT_SIZE)
        return;
    rocksdb_writebatch_destroy(e->batch);
    e->batch = rocksdb_writebatch_create();
}

/* ---- the leader */

/* Moves the first entries of the queue, up to a size, to the group. */
static void take_group(ti_rocks *e)
{
    size_t size = 0;
    ti_rocks_entry **end = &e->group;
    ti_assert(e->group == NULL);
    ti_assert(e->queue != NULL);
    while (e->queue != NULL && (size == 0 || size + e->queue->size <= TI_ROCKS_GROUP_SIZE_MAX)) {
        ti_rocks_entry *entry = e->queue;
        e->queue = entry->next;
        entry->next = NULL;
        entry->state = TI_ENTRY_TAKEN;
        size += entry->size;
        *end = entry;
        end = &entry->next;
    }
    if (e->queue == NULL)
        e->queue_last = NULL;
    ti_assert(e->queue == NULL || e->queue->ts > e->group->ts);
}

/* Tells the entry's thread. One that does not sleep may be gone with the entry at once when that is
 * DONE; one that sleeps needs the mutex to wake. */
static void set_state(ti_rocks_entry *entry, ti_entry_state state)
{
    bool waits = entry->waits;
    atomic_store_explicit(&entry->state, state, memory_order_release);
    if (waits)
        ti_cond_signal(&entry->cond);
}

static void finish_entry(ti_rocks_entry *entry, ti_status status)
{
    entry->status = status;
    set_state(entry, TI_ENTRY_DONE);
}

/* Ends all entries of a list. */
static void finish_all(ti_rocks_entry **list, ti_status status)
{
    while (*list != NULL) {
        ti_rocks_entry *entry = *list;
        *list = entry->next;
        finish_entry(entry, status);
    }
}

/* Ends the group's entries whose time is up; true when some are left. */
static bool drop_late(ti_rocks *e)
{
    int64_t now_ns = ti_env_mono_ns(e->base.env);
    ti_rocks_entry **at = &e->group;
    while (*at != NULL) {
        ti_rocks_entry *entry = *at;
        if (now_ns < entry->deadline_ns) {
            at = &entry->next;
            continue;
        }
        *at = entry->next;
        finish_entry(entry, TI_BUSY);
    }
    return e->group != NULL;
}

/* RocksDB can not take writes now: lets those go who can not wait, and begin who wants to. False
 * when nobody is left in the group. */
static bool wait_out_stall(ti_rocks *e)
{
    ti_mutex_lock(&e->mutex);
    e->counters.stalls++;
    bool left = drop_late(e);
    if (e->view == NULL)
        (void)ti_rocks_make_view(e); /* nothing was written: the state is the published one */
    settle(e);
    ti_mutex_unlock(&e->mutex);
    if (left)
        e->base.env->sleep_ns(e->base.env, TI_ROCKS_STALL_SLEEP_US * 1000);
    return left;
}

/* Writes the group, or what is left of it after stalls: STALLED when the leader's own entry, or
 * all, had to go. Outside of the mutex. */
static ti_write_result write_group(ti_rocks *e, const ti_rocks_entry *own, ti_ts bound,
                                   char text[TI_ROCKS_POISON_SIZE])
{
    ti_write_result result;
    do
        result = write_once(e, bound, text);
    while (result == TI_WRITE_STALLED && wait_out_stall(e) && own->state != TI_ENTRY_DONE);
    trim_batch(e);
    return result;
}

void ti_rocks_poison(ti_rocks *e, const char *text)
{
    ti_mutex_assert_held(&e->mutex);
    if (e->poisoned)
        return;
    (void)snprintf(e->poison, sizeof(e->poison), "%s", text);
    e->poisoned = true;
}

void ti_rocks_tell_failure(ti_rocks *e, const char *text)
{
    ti_mutex_assert_none_held();
    if (!atomic_exchange(&e->failure_told, true))
        ti_log_write(ti_log_hub_log(e->logs), TI_LOG_ERROR,
                     "a write to the embedded database failed, no commit is accepted any more: %s",
                     text);
}

ti_status ti_rocks_poisoned(const ti_rocks *e, ti_err *err)
{
    ti_assert(e->poisoned);
    return ti_err_set(
        err, TI_IO, "an earlier write failed (%s); the database has to be opened again", e->poison);
}

/* Puts what is left of the group back in front of the queue; its threads wait with their deadlines
 * again. */
static void requeue_group(ti_rocks *e)
{
    ti_rocks_entry *last = NULL;
    for (ti_rocks_entry *entry = e->group; entry != NULL; entry = entry->next) {
        set_state(entry, TI_ENTRY_QUEUED);
        last = entry;
    }
    if (last == NULL)
        return;
    last->next = e->queue;
    e->queue = e->group;
    if (e->queue_last == NULL)
        e->queue_last = last;
    e->group = NULL;
}

/* Gives the lead to the first in the queue, if there is one. */
static void hand_over(ti_rocks *e)
{
    ti_assert(!e->writing);
    e->leading = e->queue != NULL;
    if (!e->leading)
        return;
    set_state(e->queue, TI_ENTRY_LEADER);
}

/* Makes the group's commits visible and wakes their threads; or ends them, after a failure. Returns
 * the old view if somebody has to free it. */
static ti_rocks_view *publish(ti_rocks *e, ti_write_result result, const char *text)
{
    ti_rocks_view *old = NULL;
    switch (result) {
    case TI_WRITE_DONE:
        e->counters.groups++;
        finish_all(&e->group, TI_OK);
        if (e->view != NULL)
            old = ti_rocks_unref_view(e->view);
        e->view = NULL;
        break;
    case TI_WRITE_STALLED:
        requeue_group(e);
        break;
    case TI_WRITE_FAILED:
        ti_rocks_poison(e, text);
        finish_all(&e->group, TI_OUTCOME_UNKNOWN);
        finish_all(&e->queue, TI_IO);
        e->queue_last = NULL;
        break;
    }
    settle(e);
    return old;
}

/* Writes one group, whose first entry is own, the caller's. */
static void lead(ti_rocks *e, const ti_rocks_entry *own)
{
    char text[TI_ROCKS_POISON_SIZE] = "";
    ti_assert(e->leading);
    ti_assert(!e->writing);
    take_group(e);
    ti_assert(e->group == own);
    bool sync = e->path != NULL && e->options.durability == TI_DURABILITY_SYNC;
    if (e->view == NULL && (sync || e->eager > 0))
        (void)ti_rocks_make_view(e);
    if (e->eager > 0)
        e->eager--;
    ti_ts bound = e->renewing ? TI_TS_NONE : ti_clock_next_bound(&e->clock, true);
    e->writing = true;
    ti_mutex_unlock(&e->mutex);
    ti_write_result result = write_group(e, own, bound, text);
    if (result == TI_WRITE_FAILED)
        ti_rocks_tell_failure(e, text);
    ti_mutex_lock(&e->mutex);
    e->writing = false;
    ti_rocks_view *old = publish(e, result, text);
    hand_over(e);
    if (old == NULL)
        return;
    ti_mutex_unlock(&e->mutex);
    ti_rocks_free_view(e, old);
    ti_mutex_lock(&e->mutex);
}

/* ---- joining */

static void enqueue(ti_rocks *e, ti_rocks_entry *entry)
{
    ti_assert(e->queue_last == NULL || e->queue_last->ts < entry->ts);
    entry->state = TI_ENTRY_QUEUED;
    entry->next = NULL;
    if (e->queue_last == NULL)
        e->queue = entry;
    else
        e->queue_last->next = entry;
    e->queue_last = entry;
}

/* Takes a QUEUED entry out of the queue. */
static void take_back(ti_rocks *e, ti_rocks_entry *entry)
{
    ti_rocks_entry *before = NULL;
    ti_assert(entry->state == TI_ENTRY_QUEUED);
    for (ti_rocks_entry *at = e->queue; at != entry; at = at->next) {
        ti_require(at != NULL);
        before = at;
    }
    if (before == NULL)
        e->queue = entry->next;
    else
        before->next = entry->next;
    if (e->queue_last == entry)
        e->queue_last = before;
    settle(e);
}

static bool is_waiting(const ti_rocks_entry *entry)
{
    ti_entry_state state = atomic_load_explicit(&entry->state, memory_order_acquire);
    return state == TI_ENTRY_QUEUED || state == TI_ENTRY_TAKEN;
}

/* Looks for a moment, without the mutex, whether the entry's turn comes: a group is written in less
 * time than it takes to sleep and to be woken. */
static void watch_entry(const ti_rocks_entry *entry)
{
    for (int i = 0; i < WATCH_TURNS && is_waiting(entry); i++)
        ti_thread_relax();
    for (int i = 0; i < WATCH_YIELDS && is_waiting(entry); i++)
        ti_thread_yield();
}

/* Sleeps until the entry is DONE, or its own thread has to lead. TIMEOUT: taken back. */
static ti_status wait_entry(ti_rocks *e, ti_rocks_entry *entry, const ti_call *call, ti_err *err)
{
    ti_mutex_assert_held(&e->mutex);
    entry->waits = true;
    while (is_waiting(entry)) {
        if (entry->state == TI_ENTRY_TAKEN) {
            ti_cond_wait(&entry->cond, &e->mutex);
            continue;
        }
        bool in_time = ti_cond_wait_until(&entry->cond, &e->mutex, e->base.env, entry->deadline_ns);
        if (!in_time && entry->state == TI_ENTRY_QUEUED) {
            take_back(e, entry);
            return ti_call_check(call, "waiting to commit", err) == TI_OK
                       ? ti_err_set(err, TI_TIMEOUT, "waited too long to commit")
                       : TI_TIMEOUT;
        }
    }
    return TI_OK;
}

/* The status of a DONE entry, with its text. */
static ti_status told(ti_rocks *e, const ti_rocks_entry *entry, ti_err *err)
{
    ti_assert(entry->state == TI_ENTRY_DONE);
    switch (entry->status) {
    case TI_OK:
        return TI_OK;
    case TI_BUSY:
        return ti_err_set(err, TI_BUSY,
                          "the storage can not keep up with the writes; nothing was committed");
    case TI_OUTCOME_UNKNOWN:
        return ti_err_set(err, TI_OUTCOME_UNKNOWN,
                          "writing failed (%s): the commit may be there when the database is "
                          "opened again, or not",
                          e->poison);
    default:
        return ti_err_set(err, entry->status, "an earlier write failed (%s); nothing was committed",
                          e->poison);
    }
}

/* Waits for the turn of an entry that was queued behind others. */
static ti_status wait_turn(ti_rocks *e, ti_rocks_entry *entry, const ti_call *call, ti_err *err)
{
    bool syncs = e->path != NULL && e->options.durability == TI_DURABILITY_SYNC;
    ti_status status = TI_OK;
    if (!syncs)
        watch_entry(entry);
    if (is_waiting(entry)) {
        ti_mutex_lock(&e->mutex);
        status = wait_entry(e, entry, call, err);
        entry->waits = false;
        ti_mutex_unlock(&e->mutex);
    }
    ti_cond_destroy(&entry->cond);
    return status;
}

ti_status ti_rocks_join(ti_rocks *e, ti_rocks_entry *entry, const ti_call *call, ti_err *err)
{
    ti_mutex_assert_held(&e->mutex);
    ti_assert(entry->ts > atomic_load(&e->settled));
    bool queues = e->leading;
    ti_status status = queues ? ti_cond_init(&entry->cond, err) : TI_OK;
    if (status != TI_OK) {
        settle(e); /* its timestamp stays unused */
        ti_mutex_unlock(&e->mutex);
        return status;
    }
    entry->deadline_ns = call->deadline_ns;
    entry->waits = false;
    enqueue(e, entry);
    if (queues) {
        ti_mutex_unlock(&e->mutex);
        TI_TRY(wait_turn(e, entry, call, err));
        if (entry->state == TI_ENTRY_DONE)
            return told(e, entry, err);
        ti_mutex_lock(&e->mutex);
    }
    e->leading = true;
    lead(e, entry);
    ti_mutex_unlock(&e->mutex);
    return told(e, entry, err);
}

/* Commits: check, timestamp, queue. What happens in the queue is in group.c.
 *
 *   look whether INSERT keys are there   (no mutex; the state up to settled)
 *   mutex: locks of others?  wait, look again
 *          changed since its start?  CONFLICT, once the change is settled
 *          INSERT key changed since the look?  look again, once that is settled
 *          timestamp; not_after; recent-commit table; queue
 *
 * INVARIANTS
 *  1. A refusal is answered only when what it is based on is settled: who then begins anew sees
 *     it.
 *  2. Between the last check and the timestamp the mutex is not released.
 *  3. A transaction that read nothing (its start is its fresh_ts) may as well have begun after all
 *     that came between its start and its timestamp: it has no conflicts, but on keys that say
 *     since when they are to be unchanged.
 *
 * Thread rule: any thread. */
#include <string.h>

#include "base/assert.h"
#include "base/fault.h"
#include "rocks/rocks_int.h"

#define FEW 32

/* What one commit needs besides its request. */
typedef struct attempt {
    ti_rocks *e;
    const ti_commit_request *request;
    const ti_call *call;
    ti_locks *owner;  /* of locks taken for waiting: the request's, or own */
    ti_locks *own;    /* owned, or NULL */
    uint64_t *hashes; /* one per mutation */
    bool *exists;     /* one per mutation; of INSERT and ABSENT */
    bool looks;       /* there are such */
    bool blind;       /* it read nothing */
    ti_ts looked;     /* what was settled when they were looked for */
    size_t failed_index;
    ti_rocks_entry entry;
} attempt;

/* Internal: release the mutex, look again, come back. */
#define AGAIN (-1)

ti_status ti_rocks_check_key(ti_slice key, ti_err *err)
{
    if (key.len > 0 && key.data[0] != '\0')
        return TI_OK;
    return ti_err_set(err, TI_INVALID_ARGUMENT,
                      "keys of the embedded engine are not empty and do not begin with a NUL");
}

ti_ts ti_rocks_newest_commit(const ti_rocks *e, uint64_t hash)
{
    ti_ts ts = ti_recent_find(&e->recent, hash);
    return ts > e->recent.floor ? ts : e->recent.floor;
}

void ti_rocks_unchanged(ti_engine *engine, const ti_slice *keys, const ti_ts *since, size_t count,
                        bool *unchanged_out)
{
    ti_rocks *e = ti_rocks_of(engine);
    uint64_t hashes[FEW];
    memset(unchanged_out, 0, count * sizeof(*unchanged_out));
    if (ti_process_guard_forked(&e->guard))
        return;
    for (size_t from = 0; from < count; from += FEW) {
        size_t n = count - from < FEW ? count - from : FEW;
        for (size_t i = 0; i < n; i++)
            hashes[i] = ti_recent_hash(&e->recent, keys[from + i]);
        ti_mutex_lock(&e->mutex);
        for (size_t i = 0; i < n; i++)
            unchanged_out[from + i] = ti_rocks_newest_commit(e, hashes[i]) <= since[from + i];
        ti_mutex_unlock(&e->mutex);
    }
}

static bool must_be_absent(const ti_mutation *m)
{
    return m->kind == TI_MUTATION_INSERT || m->kind == TI_MUTATION_ABSENT;
}

static bool writes(const ti_mutation *m)
{
    return m->kind != TI_MUTATION_LOCK && m->kind != TI_MUTATION_ABSENT;
}

/* Checks the mutations and hashes their keys. */
static ti_status prepare(attempt *t, ti_err *err)
{
    const ti_commit_request *request = t->request;
    ti_require(request->count > 0);
    ti_assert(request->start_ts != TI_TS_NONE);
    for (size_t i = 0; i < request->count; i++) {
        const ti_mutation *m = &request->mutations[i];
        bool valued = m->kind == TI_MUTATION_PUT || m->kind == TI_MUTATION_INSERT;
        ti_require(valued == (m->value.len > 0));
        ti_assert(i == 0 || ti_slice_compare(request->mutations[i - 1].key, m->key) < 0);
        t->failed_index = i;
        TI_TRY(ti_rocks_check_key(m->key, err));
        t->hashes[i] = ti_recent_hash(&t->e->recent, m->key);
        t->looks = t->looks || must_be_absent(m);
        t->entry.size += m->key.len + m->value.len;
    }
    t->failed_index = SIZE_MAX;
    return TI_OK;
}

/* Looks up in the settled state which of the keys that must be absent are there. */
static ti_status look(attempt *t, ti_err *err)
{
    t->looked = atomic_load(&t->e->settled);
    for (size_t i = 0; t->looks && i < t->request->count; i++) {
        const ti_mutation *m = &t->request->mutations[i];
        if (!must_be_absent(m))
            continue;
        ti_status status = ti_rocks_get_latest(t->e, m->key, NULL, NULL, err);
        if (status != TI_OK && status != TI_NOT_FOUND)
            return status;
        t->exists[i] = status == TI_OK;
    }
    return TI_OK;
}

/* AGAIN after waiting for what is pending up to ts. */
static ti_status wait_settled(attempt *t, ti_ts ts, ti_err *err)
{
    while (ts > atomic_load(&t->e->settled))
        TI_TRY(ti_rocks_wait_turn(t->e, t->call, "waiting for a commit of the same key", err));
    return AGAIN;
}

static ti_status refuse(attempt *t, size_t i, ti_status status, const char *why, ti_err *err)
{
    t->failed_index = i;
    t->e->counters.conflicts++;
    return ti_err_set(err, status, "%s", why);
}

/* Where the conflict check of a mutation starts. */
static ti_ts check_from(const attempt *t, const ti_mutation *m)
{
    if (m->since != TI_TS_NONE)
        return m->since;
    if (t->blind)
        return TI_TS_MAX;
    return m->check_ts > t->request->start_ts ? m->check_ts : t->request->start_ts;
}

/* The checks of one mutation. */
static ti_status check_mutation(attempt *t, size_t i, ti_err *err)
{
    const ti_mutation *m = &t->request->mutations[i];
    ti_ts start = check_from(t, m);
    ti_ts floor = t->e->recent.floor;
    ti_ts changed = ti_recent_find(&t->e->recent, t->hashes[i]);
    if (start < floor)
        return refuse(t, SIZE_MAX, TI_CONFLICT,
                      "the transaction began before the oldest commit that is still remembered; "
                      "run it again, and keep transactions shorter",
                      err);
    if (changed > start) {
        if (changed > atomic_load(&t->e->settled))
            return wait_settled(t, changed, err);
        return refuse(t, i, TI_CONFLICT,
                      "another transaction has changed the same key since this one began", err);
    }
    if (!must_be_absent(m))
        return TI_OK;
    if (changed > t->looked || floor > t->looked)
        return wait_settled(t, changed > floor ? changed : floor, err);
    if (t->exists[i])
        return refuse(t, i, TI_ALREADY_EXISTS, "the key exists already", err);
    return TI_OK;
}

/* AGAIN when a key was locked by another transaction and has been waited for. */
static ti_status check_lock(attempt *t, size_t i, ti_err *err)
{
    ti_rocks *e = t->e;
    ti_slice key = t->request->mutations[i].key;
    const ti_lock *lock = ti_lock_table_find(&e->locks, t->hashes[i], key);
    if (lock == NULL || lock->owner == t->owner)
        return TI_OK;
    if (t->owner == NULL) {
        t->own = ti_rocks_locks_new();
        t->owner = t->own;
    }
    if (t->owner == NULL)
        return ti_err_no_memory(err);
    t->failed_index = i;
    TI_TRY(ti_rocks_acquire(e, t->owner, key, t->hashes[i], -1, t->call, err));
    t->failed_index = SIZE_MAX;
    return AGAIN;
}

static ti_status check_all(attempt *t, ti_err *err)
{
    ti_rocks *e = t->e;
    if (e->poisoned)
        return ti_rocks_poisoned(e, err);
    for (size_t i = 0; atomic_load(&e->locks.count) > 0 && i < t->request->count; i++)
        TI_TRY(check_lock(t, i, err));
    for (size_t i = 0; i < t->request->count; i++)
        TI_TRY(check_mutation(t, i, err));
    return TI_OK;
}

/* Records the commit in the table of recent ones. */
static void record(attempt *t, ti_ts ts)
{
    ti_rocks *e = t->e;
    size_t n = 0;
    for (size_t i = 0; i < t->request->count; i++)
        if (writes(&t->request->mutations[i]))
            t->hashes[n++] = t->hashes[i];
    ti_recent_add(&e->recent, t->hashes, n, ts, e->oldest == NULL ? TI_TS_MAX : e->oldest->ts);
}

/* With the mutex held: checks and timestamp. OK: the entry is to be queued. */
static ti_status enter(attempt *t, ti_err *err)
{
    ti_ts ts;
    TI_TRY(check_all(t, err));
    if (ti_clock_tick(&t->e->clock, &ts) == TI_TICK_REFUSED) {
        TI_TRY(ti_rocks_renew_clock(t->e, t->call, err));
        return AGAIN;
    }
    if (t->request->not_after != TI_TS_NONE && ts > t->request->not_after)
        return refuse(t, SIZE_MAX, TI_CONFLICT, "the commit came after the time it was bound to",
                      err);
    record(t, ts);
    t->entry.ts = ts;
    t->e->counters.commits++;
    return TI_OK;
}

static ti_status commit_prepared(attempt *t, ti_err *err)
{
    ti_status status;
    do {
        TI_TRY(ti_call_check(t->call, "committing", err));
        TI_TRY(look(t, err));
        TI_FAULT(rocks_commit_looked);
        ti_mutex_lock(&t->e->mutex);
        status = enter(t, err);
        if (status == TI_OK)
            return ti_rocks_join(t->e, &t->entry, t->call, err);
        ti_mutex_unlock(&t->e->mutex);
    } while (status == AGAIN);
    return status;
}

ti_status ti_rocks_commit(ti_engine *engine, const ti_commit_request *request,
                          ti_commit_result *result_out, const ti_call *call, ti_err *err)
{
    ti_rocks *e = ti_rocks_of(engine);
    uint64_t few_hashes[FEW];
    bool few_exist[FEW];
    void *many = NULL;
    attempt t = {.e = e, .request = request, .call = call, .owner = request->locks};
    t.hashes = few_hashes;
    t.exists = few_exist;
    *result_out = (ti_commit_result){.failed_index = SIZE_MAX};
    if (ti_process_guard_forked(&e->guard))
        return ti_rocks_forked(err);
    if (request->count > FEW) {
        many = ti_alloc(request->count * (sizeof(uint64_t) + sizeof(bool)));
        if (many == NULL)
            return ti_err_no_memory(err);
        t.hashes = many;
        t.exists = (bool *)(t.hashes + request->count);
    }
    t.blind = request->fresh_ts != TI_TS_NONE && request->fresh_ts == request->start_ts;
    t.entry = (ti_rocks_entry){.mutations = request->mutations, .count = request->count};
    ti_status status = prepare(&t, err);
    if (status == TI_OK)
        status = commit_prepared(&t, err);
    if (t.own != NULL)
        ti_rocks_locks_drop(e, t.own);
    ti_free(many);
    result_out->failed_index = t.failed_index;
    if (status == TI_OK)
        result_out->commit_ts = t.entry.ts;
    return status;
}

/* With the mutex held: the timestamp of deleting a range; AGAIN when the clock had to be renewed.
 */
static ti_status enter_destroy(ti_rocks *e, ti_rocks_entry *entry, const ti_call *call, ti_err *err)
{
    if (e->poisoned)
        return ti_rocks_poisoned(e, err);
    if (ti_clock_tick(&e->clock, &entry->ts) != TI_TICK_REFUSED)
        return TI_OK;
    TI_TRY(ti_rocks_renew_clock(e, call, err));
    return AGAIN;
}

ti_status ti_rocks_destroy_range(ti_engine *engine, ti_range range, const ti_call *call,
                                 ti_err *err)
{
    ti_rocks *e = ti_rocks_of(engine);
    ti_rocks_entry entry = {.destroy = &range};
    ti_status status;
    if (ti_process_guard_forked(&e->guard))
        return ti_rocks_forked(err);
    if (range.to.len > 0 && ti_slice_compare(range.from, range.to) >= 0)
        return TI_OK;
    do {
        TI_TRY(ti_call_check(call, "deleting a range", err));
        ti_mutex_lock(&e->mutex);
        status = enter_destroy(e, &entry, call, err);
        if (status == TI_OK)
            return ti_rocks_join(e, &entry, call, err);
        ti_mutex_unlock(&e->mutex);
    } while (status == AGAIN);
    return status;
}

/* Writes a new bound; outside of the mutex. */
static ti_write_result store_bound(ti_rocks *e, ti_ts bound, char text[TI_ROCKS_POISON_SIZE])
{
    char bytes[TI_ROCKS_BOUND_SIZE];
    char *failed = NULL;
    ti_rocks_encode_bound(bound, bytes);
    TI_FAULT(rocks_before_bound);
    rocksdb_put(e->db, e->write_options, ti_rocks_clock_key.data, ti_rocks_clock_key.len, bytes,
                sizeof(bytes), &failed);
    TI_FAULT(rocks_after_bound);
    return ti_rocks_write_result(failed, text);
}

ti_status ti_rocks_renew_clock(ti_rocks *e, const ti_call *call, ti_err *err)
{
    char text[TI_ROCKS_POISON_SIZE];
    ti_mutex_assert_held(&e->mutex);
    if (e->renewing)
        return ti_rocks_wait_turn(e, call, "reserving timestamps", err);
    if (e->poisoned)
        return ti_rocks_poisoned(e, err);
    e->renewing = true;
    ti_ts bound = ti_clock_next_bound(&e->clock, false);
    ti_mutex_unlock(&e->mutex);
    ti_write_result result = store_bound(e, bound, text);
    if (result == TI_WRITE_DONE)
        ti_clock_set_bound(&e->clock, bound);
    if (result == TI_WRITE_STALLED)
        e->base.env->sleep_ns(e->base.env, TI_ROCKS_STALL_SLEEP_US * 1000);
    if (result == TI_WRITE_FAILED)
        ti_rocks_tell_failure(e, text);
    ti_mutex_lock(&e->mutex);
    e->renewing = false;
    if (result == TI_WRITE_FAILED)
        ti_rocks_poison(e, text);
    ti_cond_broadcast(&e->turned);
    return result == TI_WRITE_FAILED ? ti_rocks_poisoned(e, err) : TI_OK;
}

void ti_rocks_renew_early(ti_rocks *e)
{
    /* A failure poisons the engine, and is told to who needs the clock or a commit. */
    ti_call call = ti_call_within(e->base.env, TI_NO_DEADLINE);
    ti_mutex_lock(&e->mutex);
    if (!e->renewing && !e->poisoned)
        (void)ti_rocks_renew_clock(e, &call, NULL);
    ti_mutex_unlock(&e->mutex);
}

ti_status ti_rocks_now(ti_engine *engine, ti_ts *ts_out, const ti_call *call, ti_err *err)
{
    ti_rocks *e = ti_rocks_of(engine);
    ti_tick tick;
    *ts_out = TI_TS_NONE;
    if (ti_process_guard_forked(&e->guard))
        return ti_rocks_forked(err);
    while ((tick = ti_clock_tick(&e->clock, ts_out)) == TI_TICK_REFUSED) {
        TI_TRY(ti_call_check(call, "asking for the time", err));
        ti_mutex_lock(&e->mutex);
        ti_status status = ti_rocks_renew_clock(e, call, err);
        ti_mutex_unlock(&e->mutex);
        TI_TRY(status);
    }
    if (tick == TI_TICK_SOON)
        ti_rocks_renew_early(e);
    return TI_OK;
}

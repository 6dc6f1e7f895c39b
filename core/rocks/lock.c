/* Pessimistic locks: taking them, waiting for them, locked reads; see locks_int.h.
 *
 * INVARIANTS
 *  1. A commit does not get its timestamp while another transaction holds one of its keys; so what
 *     a locked read found stays the newest until the lock is given back.
 *  2. A locked read waits for commits on its key that are in flight when the lock is granted. */
#include "base/assert.h"
#include "rocks/rocks_int.h"

/* How often a waiter that can be cancelled looks. */
#define CANCEL_LOOK_NS INT64_C(20000000)

typedef struct wait_bound {
    int64_t deadline_ns; /* the lower of the request's and the call's */
    const ti_call *call;
} wait_bound;

static ti_status timed_out(const ti_call *call, ti_err *err)
{
    TI_TRY(ti_call_check(call, "waiting for a lock", err));
    return ti_err_set(err, TI_TIMEOUT, "waited too long for a key that another transaction locks");
}

/* Waits until the waiter is granted or its time is up, then it has left the queue. */
static ti_status wait_granted(ti_rocks *e, ti_lock_waiter *waiter, const wait_bound *bound,
                              ti_err *err)
{
    const ti_env *env = e->base.env;
    e->counters.lock_waits++;
    while (!waiter->granted) {
        int64_t now_ns = ti_env_mono_ns(env);
        int64_t until_ns = bound->deadline_ns;
        const ti_call *call = bound->call;
        bool cancelled = call->cancelled != NULL && atomic_load(call->cancelled) != 0;
        if (cancelled || now_ns >= bound->deadline_ns) {
            ti_lock_leave(waiter);
            return timed_out(call, err);
        }
        if (call->cancelled != NULL && until_ns - now_ns > CANCEL_LOOK_NS)
            until_ns = now_ns + CANCEL_LOOK_NS;
        (void)ti_cond_wait_until(&waiter->cond, &e->mutex, env, until_ns);
    }
    return TI_OK;
}

static ti_status wait_for(ti_rocks *e, ti_lock *lock, ti_locks *owner, const wait_bound *bound,
                          ti_err *err)
{
    ti_lock_waiter waiter = {.owner = owner};
    size_t ring = ti_lock_ring(lock, owner);
    if (ring > 0) {
        e->counters.deadlocks++;
        return ti_err_set(err, TI_DEADLOCK,
                          "%zu transactions wait for each other's locks; this one gave up", ring);
    }
    TI_TRY(ti_cond_init(&waiter.cond, err));
    ti_lock_enqueue(lock, &waiter);
    ti_status status = wait_granted(e, &waiter, bound, err);
    ti_cond_destroy(&waiter.cond);
    return status;
}

ti_status ti_rocks_acquire(ti_rocks *e, ti_locks *owner, ti_slice key, uint64_t hash,
                           int64_t wait_us, const ti_call *call, ti_err *err)
{
    ti_mutex_assert_held(&e->mutex);
    ti_lock *lock = ti_lock_table_find(&e->locks, hash, key);
    if (lock == NULL) {
        lock = ti_lock_table_add(&e->locks, hash, key, owner);
        return lock == NULL ? ti_err_no_memory(err) : TI_OK;
    }
    if (lock->owner == owner)
        return TI_OK;
    if (wait_us == 0)
        return ti_err_set(err, TI_BUSY, "another transaction holds the lock");
    wait_bound bound = {.deadline_ns = call->deadline_ns, .call = call};
    if (wait_us > 0) {
        int64_t until_ns = ti_call_within(e->base.env, wait_us).deadline_ns;
        bound.deadline_ns = until_ns < call->deadline_ns ? until_ns : call->deadline_ns;
    }
    return wait_for(e, lock, owner, &bound, err);
}

ti_locks *ti_rocks_locks_new(void)
{
    return ti_alloc_zero(sizeof(ti_locks));
}

void ti_rocks_locks_drop(ti_rocks *e, ti_locks *locks)
{
    ti_mutex_lock(&e->mutex);
    ti_lock_table_release(&e->locks, locks);
    ti_mutex_unlock(&e->mutex);
    ti_free(locks);
}

/* Locks one key, and waits until no commit on it is in flight. */
static ti_status lock_key(ti_rocks *e, ti_locks *locks, ti_slice key, int64_t wait_us,
                          ti_ts *ts_out, const ti_call *call, ti_err *err)
{
    uint64_t hash = ti_recent_hash(&e->recent, key);
    ti_mutex_lock(&e->mutex);
    ti_status status = ti_rocks_acquire(e, locks, key, hash, wait_us, call, err);
    while (status == TI_OK && ti_rocks_newest_commit(e, hash) > atomic_load(&e->settled))
        status = ti_rocks_wait_turn(e, call, "reading a locked key", err);
    *ts_out = ti_clock_last(&e->clock);
    ti_mutex_unlock(&e->mutex);
    return status;
}

ti_status ti_rocks_lock(ti_engine *engine, ti_locks **locks_io, const ti_lock_request *request,
                        ti_arena *a, ti_locked *out, const ti_call *call, ti_err *err)
{
    ti_rocks *e = ti_rocks_of(engine);
    ti_assert(request->start_ts != TI_TS_NONE);
    if (ti_process_guard_forked(&e->guard))
        return ti_rocks_forked(err);
    if (*locks_io == NULL)
        *locks_io = ti_rocks_locks_new();
    if (*locks_io == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < request->count; i++) {
        TI_TRY(ti_call_check(call, "locking", err));
        TI_TRY(ti_rocks_check_key(request->keys[i], err));
        out[i] = (ti_locked){.found = false};
        TI_TRY(lock_key(e, *locks_io, request->keys[i], request->wait_us, &out[i].ts, call, err));
        ti_status status = ti_rocks_get_latest(e, request->keys[i], a, &out[i].value, err);
        out[i].found = status == TI_OK;
        if (status != TI_OK && status != TI_NOT_FOUND)
            return status;
    }
    return TI_OK;
}

void ti_rocks_unlock(ti_engine *engine, ti_locks *locks)
{
    ti_rocks *e = ti_rocks_of(engine);
    if (locks == NULL)
        return;
    if (ti_process_guard_forked(&e->guard))
        ti_free(locks); /* its locks go with the table */
    else
        ti_rocks_locks_drop(e, locks);
}

/* Leases: a member's life. What it is about is in lease_int.h.
 *
 *   the lease thread, each second (at once when told; more often while leases change hands):
 *     no member? join: put the rows, INSERTed by a fresh id
 *     a third of the lease has passed? renew: put the rows, not after the expiry so far
 *     give back what is settled; look who is there, take what is free
 *
 * INVARIANTS
 *  1. A renewal is one commit of one row per type, whatever the partitions.
 *  2. expiry only grows while the member lives, and only after the commit has returned: an unknown
 *     outcome leaves it as it was. */
#include "base/assert.h"
#include "kv/retry.h"
#include "queue/lease_int.h"

static ti_lease *of(ti_ownership *o)
{
    return (ti_lease *)o;
}

_Static_assert(offsetof(ti_lease, base) == 0, "an ownership comes first");

/* ---- what the worker asks ---- */

static uint64_t lease_epoch(ti_ownership *o)
{
    return atomic_load(&of(o)->epoch);
}

static ti_lease_type *find(ti_lease *l, ti_slice type)
{
    for (uint32_t i = 0; i < l->type_count; i++) {
        if (ti_slice_equal(ti_hub_type_name(l->types[i].wtype->type), type))
            return &l->types[i];
    }
    return NULL;
}

static uint64_t lease_holding(ti_ownership *o, ti_slice name, uint32_t partition)
{
    ti_lease *l = of(o);
    ti_lease_type *type = find(l, name);
    ti_mutex_lock(&l->mutex);
    bool ours = type != NULL && partition < type->partitions &&
                type->state[partition] == TI_LEASE_HELD && l->expiry != TI_TS_NONE;
    uint64_t holding = ours ? type->holding[partition] : 0;
    ti_mutex_unlock(&l->mutex);
    return holding;
}

static ti_ts lease_fence(ti_ownership *o, ti_slice name, uint32_t partition, uint64_t holding)
{
    ti_lease *l = of(o);
    ti_lease_type *type = find(l, name);
    ti_mutex_lock(&l->mutex);
    bool ours = type != NULL && partition < type->partitions &&
                type->state[partition] != TI_LEASE_NONE && type->holding[partition] == holding &&
                l->expiry != TI_TS_NONE;
    ti_ts until = ours ? l->expiry : TI_FENCE_LOST;
    ti_mutex_unlock(&l->mutex);
    return until;
}

static int64_t lease_until_ns(ti_ownership *o)
{
    return atomic_load(&of(o)->until_ns);
}

/* A ti_member's wake, with the hub's mutex held: never waits for the lease thread. A signal that is
 * missed costs a turn. */
static void look_at_once(void *context)
{
    ti_lease *l = context;
    atomic_store(&l->flag, true);
    if (!ti_mutex_try_lock(&l->mutex))
        return;
    ti_cond_signal(&l->cond);
    ti_mutex_unlock(&l->mutex);
}

static void lease_set_leader(ti_ownership *o, bool leader)
{
    ti_lease *l = of(o);
    ti_mutex_lock(&l->mutex);
    bool changed = l->leader != leader;
    l->leader = leader;
    ti_mutex_unlock(&l->mutex);
    if (changed)
        look_at_once(l);
}

/* ---- changes ---- */

void ti_lease_changed(ti_lease *l)
{
    atomic_fetch_add(&l->epoch, 1);
    ti_worker_ownership_changed(l->w);
}

void ti_lease_set(ti_lease *l, ti_lease_type *type, uint32_t partition, ti_lease_state state)
{
    ti_mutex_lock(&l->mutex);
    if (type->state[partition] == TI_LEASE_NONE && state == TI_LEASE_HELD)
        type->holding[partition] = ++l->holdings;
    type->state[partition] = (unsigned char)state;
    ti_mutex_unlock(&l->mutex);
}

void ti_lease_lose(ti_lease *l)
{
    atomic_store(&l->until_ns, 0);
    ti_mutex_lock(&l->mutex);
    l->expiry = TI_TS_NONE;
    for (uint32_t i = 0; i < l->type_count; i++) {
        for (uint32_t p = 0; p < l->types[i].partitions; p++) {
            if (l->types[i].state[p] == TI_LEASE_NONE)
                continue;
            l->types[i].state[p] = TI_LEASE_NONE;
            ti_hub_count(l->types[i].wtype->type, TI_COUNT_LEASES_LOST, 1);
        }
    }
    ti_mutex_unlock(&l->mutex);
    ti_log_write(l->w->log, TI_LOG_WARN,
                 "queue: the leases of worker %s have run out; it joins again under a new id",
                 l->id);
    ti_lease_changed(l);
}

/* ---- rows ---- */

typedef struct lease_rows {
    ti_lease *l;
    ti_arena *a;
    ti_ts expiry; /* what was written */
} lease_rows;

static ti_slice row_key(const ti_lease *l, const ti_lease_type *type, ti_arena *a)
{
    return ti_key_queue_worker(l->w->queues->keyspace, a, ti_hub_type_name(type->wtype->type),
                               ti_slice_of(l->id));
}

/* A ti_txn_commit_hook: one row per type, that expires a lease after t. */
static ti_status put_rows(void *context, ti_txn *txn, ti_ts t, ti_err *err)
{
    lease_rows *rows = context;
    ti_lease *l = rows->l;
    ti_status status = TI_OK;
    ti_buf value;
    rows->expiry = ti_ts_add_us(t, l->lease_us);
    ti_buf_init(&value, 64);
    for (uint32_t i = 0; i < l->type_count && status == TI_OK; i++) {
        ti_slice key = row_key(l, &l->types[i], rows->a);
        status = ti_key_check(key, "queue key", err);
        ti_buf_clear(&value);
        if (status == TI_OK)
            status = ti_queue_number_seal(&value, key, rows->expiry, err);
        if (status == TI_OK)
            status = ti_txn_put(txn, key, ti_buf_slice(&value), err);
    }
    ti_buf_free(&value);
    return status;
}

/* Puts the rows, not after `until` when there is one. */
static ti_status write_rows(ti_lease *l, ti_ts until, ti_arena *a, const ti_call *call, ti_err *err)
{
    lease_rows rows = {.l = l, .a = a};
    ti_txn *txn;
    int64_t begun_ns = ti_env_mono_ns(l->w->env);
    TI_TRY(ti_txn_begin(l->w->queues->kv, NULL, &txn, err));
    if (until != TI_TS_NONE)
        ti_txn_not_after(txn, until);
    ti_status status = ti_txn_on_commit(txn, put_rows, &rows, err);
    if (status == TI_OK)
        status = ti_txn_commit(txn, NULL, call, err);
    ti_txn_free(txn);
    TI_TRY(status);
    ti_mutex_lock(&l->mutex);
    ti_assert(rows.expiry >= l->expiry);
    l->expiry = rows.expiry;
    ti_mutex_unlock(&l->mutex);
    l->renewed_ns = begun_ns;
    l->renew_now = false;
    atomic_store(&l->until_ns, begun_ns + l->lease_us * 1000);
    return TI_OK;
}

static ti_status join(ti_lease *l, ti_arena *a, const ti_call *call, ti_err *err)
{
    ti_uuid_v4(l->w->env, l->id);
    ti_hub_rename(l->w->queues->hub, &l->member, l->id);
    TI_TRY(write_rows(l, TI_TS_NONE, a, call, err));
    ti_hub_wake_members(l->w->queues->hub, &l->member);
    return TI_OK;
}

/* Renews; a member whose time has passed is lost, which is no error. */
static ti_status renew(ti_lease *l, ti_arena *a, const ti_call *call, ti_err *err)
{
    ti_ts now;
    ti_status status = write_rows(l, l->expiry, a, call, err);
    if (status != TI_CONFLICT)
        return status;
    TI_TRY(ti_kv_now(l->w->queues->kv, &now, call, err));
    if (now <= l->expiry)
        return status;
    ti_lease_lose(l);
    return TI_OK;
}

/* Deletes the rows: what the leases name is gone then. */
static ti_status delete_rows(ti_lease *l, ti_arena *a, const ti_call *call, ti_err *err)
{
    ti_txn *txn;
    TI_TRY(ti_txn_begin(l->w->queues->kv, NULL, &txn, err));
    ti_status status = TI_OK;
    for (uint32_t i = 0; i < l->type_count && status == TI_OK; i++) {
        ti_slice key = row_key(l, &l->types[i], a);
        status = ti_key_check(key, "queue key", err);
        if (status == TI_OK)
            status = ti_txn_delete(txn, key, err);
    }
    if (status == TI_OK)
        status = ti_txn_commit(txn, NULL, call, err);
    ti_txn_free(txn);
    return status;
}

/* ---- a turn ---- */

static bool has_leases(const ti_lease *l)
{
    for (uint32_t i = 0; i < l->type_count; i++) {
        for (uint32_t p = 0; p < l->types[i].partitions; p++) {
            if (l->types[i].state[p] != TI_LEASE_NONE)
                return true;
        }
    }
    return false;
}

bool ti_lease_is_current(const ti_lease_type *type)
{
    uint64_t layout = atomic_load(&type->wtype->type->layout);
    return !ti_layout_moving(layout) && ti_layout_count(layout) == type->partitions &&
           type->wtype->partitions == type->partitions;
}

/* Takes on the count that the worker has, when nothing of the old one is left. */
static void follow(ti_lease *l, ti_lease_type *type)
{
    uint32_t partitions = type->wtype->partitions;
    if (partitions == type->partitions)
        return;
    for (uint32_t p = 0; p < type->partitions; p++) {
        if (type->state[p] != TI_LEASE_NONE)
            return;
    }
    ti_mutex_lock(&l->mutex);
    type->partitions = partitions;
    ti_mutex_unlock(&l->mutex);
}

static bool is_leader(ti_lease *l)
{
    ti_mutex_lock(&l->mutex);
    bool leader = l->leader;
    ti_mutex_unlock(&l->mutex);
    return leader;
}

/* No member any more, of its own will: everything is settled and given back. */
static ti_status leave(ti_lease *l, ti_arena *a, const ti_call *call, ti_err *err)
{
    TI_TRY(delete_rows(l, a, call, err));
    atomic_store(&l->until_ns, 0);
    ti_mutex_lock(&l->mutex);
    l->expiry = TI_TS_NONE;
    ti_mutex_unlock(&l->mutex);
    ti_hub_rename(l->w->queues->hub, &l->member, NULL);
    ti_hub_wake_members(l->w->queues->hub, &l->member);
    return TI_OK;
}

static ti_status turn(ti_lease *l, ti_arena *a, const ti_call *call, ti_err *err)
{
    int64_t due_ns = l->renewed_ns + l->lease_us * INT64_C(333);
    bool leader = is_leader(l);
    if (l->expiry == TI_TS_NONE && !leader)
        return TI_OK;
    if (l->expiry == TI_TS_NONE)
        TI_TRY(join(l, a, call, err));
    else if (l->renew_now || ti_env_mono_ns(l->w->env) >= due_ns)
        TI_TRY(renew(l, a, call, err));
    for (uint32_t i = 0; i < l->type_count && l->expiry != TI_TS_NONE; i++) {
        TI_TRY(ti_lease_give(l, &l->types[i], a, call, err));
        follow(l, &l->types[i]);
        TI_TRY(ti_lease_share(l, &l->types[i], a, call, err));
        ti_arena_reset(a);
    }
    if (!leader && l->expiry != TI_TS_NONE && !has_leases(l))
        return leave(l, a, call, err);
    return TI_OK;
}

/* ---- the thread ---- */

/* Whether a lease is about to change hands, or a member was just lost. */
static bool is_in_a_hurry(const ti_lease *l)
{
    if (l->renew_now || (l->expiry == TI_TS_NONE && l->leader))
        return true;
    for (uint32_t i = 0; i < l->type_count; i++) {
        if (l->types[i].waits || l->types[i].partitions != l->types[i].wtype->partitions)
            return true;
        for (uint32_t p = 0; p < l->types[i].partitions; p++) {
            if (l->types[i].state[p] == TI_LEASE_GIVING)
                return true;
        }
    }
    return false;
}

/* Waits until told or until the next turn; the mutex is held. A wake begins the hurry anew. */
static void wait_turn(ti_lease *l, int64_t *pause_us)
{
    int64_t longest_us = l->lease_us / 4 < TI_LEASE_TICK_US ? l->lease_us / 4 : TI_LEASE_TICK_US;
    bool hurry = is_in_a_hurry(l);
    *pause_us = hurry ? *pause_us * 2 : longest_us;
    if (*pause_us > longest_us)
        *pause_us = longest_us;
    int64_t until_ns = ti_env_mono_ns(l->w->env) + *pause_us * 1000;
    bool in_time = true;
    while (!atomic_load(&l->flag) && !l->quit && in_time)
        in_time = ti_cond_wait_until(&l->cond, &l->mutex, l->w->env, until_ns) &&
                  ti_env_mono_ns(l->w->env) < until_ns;
    if (atomic_exchange(&l->flag, false) || !hurry)
        *pause_us = TI_LEASE_HURRY_US / 2;
}

static void *lease_run(void *context)
{
    ti_lease *l = context;
    ti_arena a;
    ti_err err;
    int64_t pause_us = TI_LEASE_HURRY_US / 2;
    ti_arena_init(&a);
    ti_mutex_lock(&l->mutex);
    while (!l->quit) {
        wait_turn(l, &pause_us);
        bool quit = l->quit;
        ti_mutex_unlock(&l->mutex);
        ti_call call = ti_call_within(l->w->env, TI_LEASE_CALL_US);
        ti_err_clear(&err);
        if (!quit && turn(l, &a, &call, &err) != TI_OK)
            ti_worker_note(l->w, &err, "keeping leases");
        ti_arena_reset(&a);
        ti_mutex_lock(&l->mutex);
    }
    ti_mutex_unlock(&l->mutex);
    ti_arena_free(&a);
    return NULL;
}

/* ---- life ---- */

static ti_status make_types(ti_lease *l, ti_err *err)
{
    l->types = ti_alloc_zero(l->w->type_count * sizeof(*l->types));
    if (l->types == NULL)
        return ti_err_no_memory(err);
    for (ti_wtype *wtype = l->w->types; wtype != NULL; wtype = wtype->next) {
        ti_lease_type *type = &l->types[l->type_count++];
        type->wtype = wtype;
        type->partitions = wtype->partitions;
        type->state = ti_alloc_zero(TI_PARTITIONS_MAX);
        type->wanted = ti_alloc_zero(TI_PARTITIONS_MAX);
        type->holding = ti_alloc_zero(TI_PARTITIONS_MAX * sizeof(uint64_t));
        if (type->state == NULL || type->wanted == NULL || type->holding == NULL)
            return ti_err_no_memory(err);
    }
    return TI_OK;
}

/* The first turn is the starter's, so that what is free is ours from the beginning. */
static ti_status lease_start(ti_ownership *o, const ti_call *call, ti_err *err)
{
    ti_lease *l = of(o);
    ti_arena a;
    TI_TRY(make_types(l, err));
    ti_hub_join(l->w->queues->hub, &l->member);
    l->joined_hub = true;
    ti_arena_init(&a);
    ti_status status = turn(l, &a, call, err);
    ti_arena_free(&a);
    if (ti_status_class_of(status) == TI_CLASS_CONFLICT)
        status = TI_OK; /* somebody was faster: the thread goes on */
    TI_TRY(status);
    TI_TRY(ti_thread_start(&l->thread, "tito-lease", lease_run, l, err));
    l->started = true;
    return TI_OK;
}

static void lease_stop(ti_ownership *o)
{
    ti_lease *l = of(o);
    ti_arena a;
    ti_err err;
    ti_mutex_lock(&l->mutex);
    l->quit = true;
    ti_cond_signal(&l->cond);
    ti_mutex_unlock(&l->mutex);
    if (l->started)
        ti_thread_join(&l->thread);
    l->started = false;
    ti_call call = ti_call_within(l->w->env, TI_LEASE_CALL_US);
    ti_arena_init(&a);
    if (l->expiry != TI_TS_NONE && leave(l, &a, &call, &err) != TI_OK)
        ti_log_write(l->w->log, TI_LOG_INFO,
                     "queue: the leases could not be given back; they run out: %s", err.message);
    ti_arena_free(&a);
    if (l->joined_hub)
        ti_hub_part(l->w->queues->hub, &l->member);
    l->joined_hub = false;
}

static void lease_release(ti_ownership *o)
{
    ti_lease *l = of(o);
    for (uint32_t i = 0; i < l->type_count; i++) {
        ti_free(l->types[i].state);
        ti_free(l->types[i].wanted);
        ti_free(l->types[i].holding);
    }
    ti_free(l->types);
    ti_cond_destroy(&l->cond);
    ti_mutex_destroy(&l->mutex);
    ti_free(l);
}

static const ti_ownership_vt lease_vt = {
    .version = 3,
    .epoch = lease_epoch,
    .holding = lease_holding,
    .fence = lease_fence,
    .until_ns = lease_until_ns,
    .set_leader = lease_set_leader,
    .start = lease_start,
    .stop = lease_stop,
    .release = lease_release,
};

ti_status ti_owner_leased_new(ti_worker *w, int64_t lease_us, bool leader, ti_ownership **out,
                              ti_err *err)
{
    *out = NULL;
    if (lease_us == 0)
        lease_us = TI_LEASE_DEFAULT_US;
    if (lease_us < TI_LEASE_US_MIN || lease_us > TI_LEASE_US_MAX)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "a lease lasts from 0.2 s to an hour");
    ti_lease *l = ti_alloc_zero(sizeof(*l));
    if (l == NULL)
        return ti_err_no_memory(err);
    ti_status status = ti_mutex_init(&l->mutex, TI_RANK_LEAF, err);
    if (status == TI_OK && (status = ti_cond_init(&l->cond, err)) != TI_OK)
        ti_mutex_destroy(&l->mutex);
    if (status != TI_OK) {
        ti_free(l);
        return status;
    }
    l->base.vt = &lease_vt;
    l->w = w;
    l->lease_us = lease_us;
    l->leader = leader;
    l->member = (ti_member){.context = l, .wake = look_at_once};
    *out = &l->base;
    return TI_OK;
}

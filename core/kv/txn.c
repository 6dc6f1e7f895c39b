/* The life of a transaction: begin, doom, hooks, commit, rollback; see txn.h. Reads are in
 * txn_read.c, merged scans in txn_scan.c.
 *
 *   OPEN --doom--> DOOMED
 *    | commit, rollback, free  | commit, rollback, free
 *    v                         v
 *   COMMITTED  FAILED  UNKNOWN  ROLLED_BACK      [end_txn]
 *
 * INVARIANTS
 *  1. The snapshot and the locks are held exactly in OPEN and DOOMED (once taken).
 *  2. end_txn is the only way out of OPEN and DOOMED, and runs the end hooks last.
 *  3. Every key passes ti_kv_require_key before anything is done with it. */
#include "kv/txn.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "kv/txn_int.h"

ti_status ti_txn_begin(ti_kv *kv, const ti_txn_options *options, ti_txn **txn_out, ti_err *err)
{
    static const ti_txn_options defaults;
    ti_assert(kv != NULL);
    ti_assert(kv->engine != NULL);
    *txn_out = NULL;
    if (options == NULL)
        options = &defaults;
    if (options->age_us_max > TI_TXN_AGE_MAX_S * INT64_C(1000000))
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "the age of a transaction can be at most %d seconds", TI_TXN_AGE_MAX_S);
    size_t head = (sizeof(ti_txn) + TI_ARENA_ALIGN - 1) & ~(size_t)(TI_ARENA_ALIGN - 1);
    ti_txn *txn = ti_alloc(head + TI_TXN_MEMORY_SIZE);
    if (txn == NULL)
        return ti_err_no_memory(err);
    memset(txn, 0, offsetof(ti_txn, arena));
    txn->kv = kv;
    txn->state = TI_TXN_OPEN;
    txn->read_only = options->read_only;
    txn->causal = options->causal;
    ti_assert(!options->one_get || (options->read_only && options->read_at == TI_TS_NONE));
    txn->read_at = options->one_get ? TI_TS_MAX : options->read_at;
    txn->age_us_max = options->age_us_max > 0 ? options->age_us_max : kv->options.txn_age_us;
    ti_arena_init_in(&txn->arena, (char *)txn + head, TI_TXN_MEMORY_SIZE);
    ti_writes_init(&txn->writes, &txn->arena);
    *txn_out = txn;
    return TI_OK;
}

/* Leaves OPEN or DOOMED: gives everything back, then tells the end hooks. */
static void end_txn(ti_txn *txn, ti_txn_state state, ti_status status, ti_ts commit_ts)
{
    ti_engine *engine = txn->kv->engine;
    ti_assert(ti_txn_is_open(txn));
    ti_assert(state >= TI_TXN_COMMITTED);
    if (txn->snapshot != NULL)
        engine->vt->release(txn->snapshot);
    if (txn->locks != NULL)
        engine->vt->unlock(engine, txn->locks);
    txn->snapshot = NULL;
    txn->locks = NULL;
    txn->state = state;
    for (ti_txn_hook *hook = txn->end_hooks.first; hook != NULL; hook = hook->next)
        hook->at_end(hook->context, status, commit_ts);
}

void ti_txn_free(ti_txn *txn)
{
    if (txn == NULL)
        return;
    ti_assert(!txn->committing);
    if (ti_txn_is_open(txn))
        end_txn(txn, TI_TXN_ROLLED_BACK, TI_CANCELLED, TI_TS_NONE);
    ti_arena_free(&txn->arena);
    ti_free(txn);
}

ti_kv *ti_txn_kv(const ti_txn *txn)
{
    return txn->kv;
}

ti_arena *ti_txn_arena(ti_txn *txn)
{
    return &txn->arena;
}

bool ti_txn_is_open(const ti_txn *txn)
{
    return txn->state == TI_TXN_OPEN || txn->state == TI_TXN_DOOMED;
}

ti_ts ti_txn_start_ts_if_any(const ti_txn *txn)
{
    return txn->start_ts;
}

static ti_status ended(const ti_txn *txn, ti_err *err)
{
    static const char *const how[] = {
        [TI_TXN_COMMITTED] = "committed",
        [TI_TXN_FAILED] = "failed to commit",
        [TI_TXN_UNKNOWN] = "ended with an unknown outcome",
        [TI_TXN_ROLLED_BACK] = "been rolled back",
    };
    ti_assert(!ti_txn_is_open(txn));
    return ti_err_set(err, TI_INVALID_STATE, "the transaction has already %s; begin a new one",
                      how[txn->state]);
}

/* The dooming error, given to err. */
static ti_status doomed(const ti_txn *txn, ti_err *err)
{
    ti_assert(txn->doom_status != TI_OK);
    if (txn->doom == NULL)
        return ti_err_set(err, txn->doom_status,
                          "an earlier write of this transaction failed (%s); nothing was committed",
                          ti_status_name(txn->doom_status));
    if (err != NULL)
        *err = *txn->doom;
    return txn->doom_status;
}

ti_status ti_txn_doom(ti_txn *txn, const ti_err *err)
{
    ti_assert(err != NULL);
    ti_assert(err->status != TI_OK);
    return ti_txn_fail_write(txn, err->status, err);
}

ti_status ti_txn_fail_write(ti_txn *txn, ti_status status, const ti_err *err)
{
    ti_assert(status != TI_OK);
    if (txn->state != TI_TXN_OPEN)
        return status;
    txn->state = TI_TXN_DOOMED;
    txn->doom_status = status;
    if (err == NULL || err->status != status)
        return status;
    txn->doom = ti_arena_alloc(&txn->arena, sizeof(*txn->doom));
    if (txn->doom != NULL)
        *txn->doom = *err;
    return status;
}

/* TIMEOUT, and doom, when the snapshot has become too old. */
static ti_status check_age(ti_txn *txn, ti_err *err)
{
    ti_err local;
    if (txn->snapshot == NULL || ti_env_mono_ns(txn->kv->env) < txn->age_end_ns)
        return TI_OK;
    ti_err *out = err != NULL ? err : &local;
    ti_err_set(out, TI_TIMEOUT, "the transaction is older than %lld ms and can not go on",
               (long long)(txn->age_us_max / 1000));
    return ti_txn_fail_write(txn, TI_TIMEOUT, out);
}

ti_status ti_txn_check(ti_txn *txn, bool for_write, ti_err *err)
{
    if (!ti_txn_is_open(txn))
        return ended(txn, err);
    TI_TRY(check_age(txn, err));
    if (for_write && txn->state == TI_TXN_DOOMED)
        return doomed(txn, err);
    if (for_write && txn->read_only)
        return ti_err_set(err, TI_INVALID_STATE, "the transaction is read-only");
    return TI_OK;
}

ti_status ti_txn_describe(const ti_txn *txn, ti_slice key, ti_status status, ti_err *err)
{
    const ti_kv_options *options = &txn->kv->options;
    if (options->describe == NULL)
        return status;
    return options->describe(options->describe_context, key, status, err);
}

/* ---- writes */

static ti_status check_write_size(const ti_txn *txn, ti_slice key, ti_slice value, ti_err *err)
{
    if (key.len == 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "a key can not be empty");
    if (key.len > TI_KEY_SIZE_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "a key has %zu bytes; at most %d are allowed",
                          key.len, TI_KEY_SIZE_MAX);
    if (value.len > TI_ENTRY_SIZE_MAX - key.len)
        return ti_err_set(err, TI_LIMIT_EXCEEDED,
                          "a key and its value have %zu bytes; at most %d are allowed",
                          key.len + value.len, TI_ENTRY_SIZE_MAX);
    if (txn->writes.size + key.len + value.len > TI_TXN_SIZE_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED,
                          "the transaction writes more than %d bytes; split it", TI_TXN_SIZE_MAX);
    if (txn->writes.count >= TI_TXN_MUTATIONS_MAX && ti_writes_find(&txn->writes, key) == NULL)
        return ti_err_set(err, TI_LIMIT_EXCEEDED,
                          "the transaction changes more than %d keys; split it",
                          TI_TXN_MUTATIONS_MAX);
    return TI_OK;
}

static ti_status write_checked(ti_txn *txn, ti_mutation_kind kind, ti_slice key, ti_slice value,
                               ti_err *err)
{
    TI_TRY(check_write_size(txn, key, value, err));
    ti_status status = ti_writes_apply(&txn->writes, kind, key, value);
    if (status == TI_OUT_OF_MEMORY)
        return ti_err_no_memory(err);
    if (status == TI_ALREADY_EXISTS) {
        ti_err_set(err, status, "this transaction has already written that key");
        return ti_txn_describe(txn, key, status, err);
    }
    return status;
}

static ti_status write_key(ti_txn *txn, ti_mutation_kind kind, ti_slice key, ti_slice value,
                           ti_err *err)
{
    ti_err local;
    ti_err *out = err != NULL ? err : &local;
    ti_kv_require_key(txn->kv, key);
    TI_TRY(ti_txn_check(txn, true, out));
    ti_status status = write_checked(txn, kind, key, value, out);
    return status == TI_OK ? status : ti_txn_fail_write(txn, status, out);
}

ti_status ti_txn_put(ti_txn *txn, ti_slice key, ti_slice value, ti_err *err)
{
    ti_require(value.len > 0);
    return write_key(txn, TI_MUTATION_PUT, key, value, err);
}

ti_status ti_txn_insert(ti_txn *txn, ti_slice key, ti_slice value, ti_err *err)
{
    ti_require(value.len > 0);
    return write_key(txn, TI_MUTATION_INSERT, key, value, err);
}

ti_status ti_txn_delete(ti_txn *txn, ti_slice key, ti_err *err)
{
    return write_key(txn, TI_MUTATION_DELETE, key, TI_SLICE_NONE, err);
}

ti_status ti_txn_lock(ti_txn *txn, ti_slice key, ti_err *err)
{
    return write_key(txn, TI_MUTATION_LOCK, key, TI_SLICE_NONE, err);
}

bool ti_txn_own_write(const ti_txn *txn, ti_slice key, bool *present_out)
{
    const ti_write *write = ti_writes_find(&txn->writes, key);
    *present_out = false;
    if (write == NULL || write->kind == TI_WRITE_NONE || write->kind == TI_MUTATION_LOCK)
        return false;
    *present_out = write->kind == TI_MUTATION_PUT || write->kind == TI_MUTATION_INSERT;
    return true;
}

bool ti_txn_decides(const ti_txn *txn, ti_slice key)
{
    ti_slice value;
    return ti_write_view_of(ti_writes_find(&txn->writes, key), &value) != TI_VIEW_SILENT;
}

bool ti_txn_has_effects(const ti_txn *txn)
{
    return txn->writes.count > 0 || txn->commit_hooks.first != NULL || txn->state == TI_TXN_DOOMED;
}

void ti_txn_not_after(ti_txn *txn, ti_ts ts)
{
    ti_assert(ts != TI_TS_NONE);
    if (txn->not_after == TI_TS_NONE || ts < txn->not_after)
        txn->not_after = ts;
}

/* ---- hooks and slots */

static ti_status add_hook(ti_txn *txn, ti_txn_hooks *hooks, ti_txn_hook hook, ti_err *err)
{
    if (!ti_txn_is_open(txn))
        return ended(txn, err);
    ti_txn_hook *node = ti_arena_alloc(&txn->arena, sizeof(*node));
    if (node == NULL)
        return ti_err_no_memory(err);
    *node = hook;
    if (hooks->last == NULL)
        hooks->first = node;
    else
        hooks->last->next = node;
    hooks->last = node;
    return TI_OK;
}

ti_status ti_txn_on_commit(ti_txn *txn, ti_txn_commit_hook hook, void *context, ti_err *err)
{
    ti_assert(hook != NULL);
    txn->timed_hooks = true;
    return add_hook(txn, &txn->commit_hooks, (ti_txn_hook){.at_commit = hook, .context = context},
                    err);
}

ti_status ti_txn_before_commit(ti_txn *txn, ti_txn_commit_hook hook, void *context, ti_err *err)
{
    ti_assert(hook != NULL);
    return add_hook(txn, &txn->commit_hooks,
                    (ti_txn_hook){.at_commit = hook, .context = context, .check = true}, err);
}

ti_status ti_txn_on_end(ti_txn *txn, ti_txn_end_hook hook, void *context, ti_err *err)
{
    ti_assert(hook != NULL);
    return add_hook(txn, &txn->end_hooks, (ti_txn_hook){.at_end = hook, .context = context}, err);
}

static ti_txn_slot_node *find_slot(const ti_txn *txn, const void *owner)
{
    ti_txn_slot_node *node = txn->slots;
    while (node != NULL && node->owner != owner)
        node = node->next;
    return node;
}

void *ti_txn_slot(const ti_txn *txn, const void *owner)
{
    const ti_txn_slot_node *node = find_slot(txn, owner);
    return node == NULL ? NULL : node->value;
}

ti_status ti_txn_set_slot(ti_txn *txn, const void *owner, void *value, ti_err *err)
{
    ti_txn_slot_node *node = find_slot(txn, owner);
    ti_assert(owner != NULL);
    if (node == NULL) {
        node = ti_arena_alloc(&txn->arena, sizeof(*node));
        if (node == NULL)
            return ti_err_no_memory(err);
        *node = (ti_txn_slot_node){.next = txn->slots, .owner = owner};
        txn->slots = node;
    }
    node->value = value;
    return TI_OK;
}

/* ---- the end */

/* Runs the commit hooks, also those that hooks add. */
static ti_status run_commit_hooks(ti_txn *txn, ti_ts t, ti_err *err)
{
    ti_status status = TI_OK;
    size_t mutations = 0;
    txn->committing = true;
    for (ti_txn_hook *hook = txn->commit_hooks.first; hook != NULL && status == TI_OK;
         hook = hook->next) {
        mutations = txn->writes.mutations;
        status = hook->at_commit(hook->context, txn, t, err);
        ti_assert(!hook->check || mutations == txn->writes.mutations);
    }
    (void)mutations;
    txn->committing = false;
    if (status == TI_OK && txn->state == TI_TXN_DOOMED)
        status = doomed(txn, err);
    return status;
}

/* What the database's clock shows by now, as far as this machine can tell. */
static ti_ts about_now(const ti_txn *txn)
{
    ti_assert(txn->snapshot != NULL);
    int64_t begun_ns = txn->age_end_ns - txn->age_us_max * 1000;
    return ti_ts_add_us(txn->start_ts, (ti_env_mono_ns(txn->kv->env) - begun_ns) / 1000);
}

/* Hands the write set to the engine. */
static ti_status send_commit(ti_txn *txn, ti_ts start_ts, ti_ts fresh_ts, ti_ts *commit_ts_out,
                             const ti_call *call, ti_err *err)
{
    ti_engine *engine = txn->kv->engine;
    ti_commit_request request = {
        .start_ts = start_ts,
        .fresh_ts = fresh_ts,
        .not_after = txn->not_after,
        .locks = txn->locks,
        .causal = txn->causal,
    };
    ti_commit_result result = {.commit_ts = TI_TS_NONE, .failed_index = SIZE_MAX};
    request.mutations = ti_writes_mutations(&txn->writes, &request.count);
    if (request.mutations == NULL)
        return ti_err_no_memory(err);
    ti_status status = engine->vt->commit(engine, &request, &result, call, err);
    *commit_ts_out = result.commit_ts;
    if (status != TI_OK && result.failed_index < request.count)
        return ti_txn_describe(txn, request.mutations[result.failed_index].key, status, err);
    ti_assert(status != TI_OK || result.commit_ts > start_ts);
    return status;
}

/* Everything between OPEN and the outcome; *commit_ts_out is set on OK. */
static ti_status commit_open(ti_txn *txn, ti_ts *commit_ts_out, const ti_call *call, ti_err *err)
{
    ti_ts t = TI_TS_NONE;
    TI_TRY(ti_txn_check(txn, false, err));
    if (txn->state == TI_TXN_DOOMED)
        return doomed(txn, err);
    bool effects = txn->writes.mutations > 0 || txn->timed_hooks;
    bool blind = txn->snapshot == NULL && effects;
    if (txn->timed_hooks || blind)
        TI_TRY(ti_kv_now(txn->kv, &t, call, err));
    if (effects && txn->commit_hooks.first != NULL)
        TI_TRY(run_commit_hooks(txn, t != TI_TS_NONE ? t : about_now(txn), err));
    *commit_ts_out = txn->start_ts;
    if (txn->writes.mutations == 0)
        return TI_OK;
    ti_ts start_ts = txn->snapshot != NULL ? txn->start_ts : t;
    return send_commit(txn, start_ts, t, commit_ts_out, call, err);
}

ti_status ti_txn_commit(ti_txn *txn, ti_ts *commit_ts_out, const ti_call *call, ti_err *err)
{
    ti_ts commit_ts = TI_TS_NONE;
    if (commit_ts_out != NULL)
        *commit_ts_out = TI_TS_NONE;
    if (!ti_txn_is_open(txn))
        return ended(txn, err);
    if (txn->committing)
        return ti_err_set(err, TI_INVALID_STATE, "a commit hook can not end its transaction");
    ti_status status = commit_open(txn, &commit_ts, call, err);
    if (status == TI_OK)
        end_txn(txn, TI_TXN_COMMITTED, TI_OK, commit_ts);
    else
        end_txn(txn, status == TI_OUTCOME_UNKNOWN ? TI_TXN_UNKNOWN : TI_TXN_FAILED, status,
                TI_TS_NONE);
    if (status == TI_OK && commit_ts_out != NULL)
        *commit_ts_out = commit_ts;
    return status;
}

ti_status ti_txn_rollback(ti_txn *txn, ti_err *err)
{
    if (!ti_txn_is_open(txn))
        return ended(txn, err);
    if (txn->committing)
        return ti_err_set(err, TI_INVALID_STATE, "a commit hook can not end its transaction");
    end_txn(txn, TI_TXN_ROLLED_BACK, TI_CANCELLED, TI_TS_NONE);
    return TI_OK;
}

/* The retry loop; see retry.h.
 *
 *   attempt fails --class?--> caller, unknown, broken: told
 *                        `--> conflict, transient: budget left?
 *                             sleep 0 … min(cap, base * 2^n), again
 */
#include "kv/retry.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"

/* A sleep is cut into pieces, so that a cancelled call ends soon. */
#define SLEEP_SLICE_NS INT64_C(10000000)
/* After a timeout: the part of the whole time, as a divisor, that another attempt must have. */
#define LEAST_PART 10

void ti_retry_init(ti_retry *r, const ti_kv *kv, const ti_retry_options *options)
{
    int64_t timeout_us = options != NULL ? options->timeout_us : 0;
    uint32_t attempts_max = options != NULL ? options->attempts_max : 0;
    ti_call call = ti_call_within(kv->env, timeout_us > 0 ? timeout_us : kv->options.timeout_us);
    *r = (ti_retry){
        .began_ns = ti_env_mono_ns(kv->env),
        .deadline_ns = call.deadline_ns,
        .attempts = 0,
        .attempts_max = attempts_max > 0 ? attempts_max : TI_RETRY_ATTEMPTS_MAX,
    };
}

/* How long to wait after the n-th failure: anything up to an exponential bound, so that those who
 * met each other do not meet again. */
static int64_t jitter_ns(const ti_env *env, uint32_t attempts)
{
    uint64_t random;
    uint64_t bound_us = TI_RETRY_BASE_US;
    ti_assert(attempts > 0);
    for (uint32_t i = 1; i < attempts && bound_us < TI_RETRY_CAP_US; i++)
        bound_us *= 2;
    if (bound_us > TI_RETRY_CAP_US)
        bound_us = TI_RETRY_CAP_US;
    env->random(env, &random, sizeof(random));
    return (int64_t)(random % (bound_us * 1000 + 1));
}

/* Sleeps ns; CANCELLED when the call was meanwhile. */
static ti_status sleep_cancellable(const ti_env *env, int64_t ns, const ti_call *call, ti_err *err)
{
    while (ns > 0) {
        int64_t slice = ns < SLEEP_SLICE_NS ? ns : SLEEP_SLICE_NS;
        env->sleep_ns(env, slice);
        ns -= slice;
        TI_TRY(ti_call_check(call, "waiting to run the transaction again", err));
    }
    return TI_OK;
}

/* Remembers what a transient failure says. Of those that the time ended, the first had most of it. */
static void note(ti_retry *r, const ti_err *err)
{
    if (ti_status_class_of(err->status) != TI_CLASS_TRANSIENT)
        r->told[0] = '\0';
    else if (err->status != TI_TIMEOUT || r->told[0] == '\0')
        memcpy(r->told, err->message, sizeof(r->told));
}

/* The attempt's error, with the number of attempts when there was more than one. */
static ti_status give_up(const ti_retry *r, ti_err *err)
{
    ti_err last = *err;
    if (r->attempts > 1) {
        const char *why = last.status == TI_TIMEOUT && r->told[0] != '\0' ? r->told : last.message;
        ti_err_set(err, last.status, "%s (after %u attempts)", why, r->attempts);
        ti_err_where(err, last.table, ti_slice_of(last.table).len, last.index,
                     ti_slice_of(last.index).len);
    }
    return last.status;
}

/* Whether there is time for a sleep of ns and another attempt after one that failed with status. */
static bool has_time(const ti_retry *r, int64_t deadline_ns, int64_t now_ns, int64_t ns,
                     ti_status status)
{
    if (deadline_ns == TI_NO_DEADLINE)
        return true;
    int64_t least_ns = status == TI_TIMEOUT ? (deadline_ns - r->began_ns) / LEAST_PART : 0;
    return now_ns < deadline_ns && ns < deadline_ns - now_ns &&
           least_ns <= deadline_ns - now_ns - ns;
}

ti_status ti_retry_next(ti_retry *r, const ti_kv *kv, const ti_call *call, ti_err *err)
{
    ti_assert(err != NULL);
    ti_assert(err->status != TI_OK);
    ti_status_class class = ti_status_class_of(err->status);
    r->attempts++;
    note(r, err);
    if (class != TI_CLASS_CONFLICT && class != TI_CLASS_TRANSIENT)
        return give_up(r, err);
    if (r->attempts >= r->attempts_max)
        return give_up(r, err);
    int64_t deadline_ns = call->deadline_ns < r->deadline_ns ? call->deadline_ns : r->deadline_ns;
    int64_t ns = jitter_ns(kv->env, r->attempts);
    if (!has_time(r, deadline_ns, ti_env_mono_ns(kv->env), ns, err->status))
        return give_up(r, err);
    return sleep_cancellable(kv->env, ns, call, err);
}

/* One attempt. */
static ti_status attempt(ti_kv *kv, const ti_txn_options *options, ti_transact_fn fn, void *context,
                         ti_ts *commit_ts_out, const ti_call *call, ti_err *err)
{
    ti_txn *txn;
    TI_TRY(ti_txn_begin(kv, options, &txn, err));
    ti_status status = fn(context, txn, call, err);
    if (status == TI_OK)
        status = ti_txn_commit(txn, commit_ts_out, call, err);
    ti_txn_free(txn);
    return status;
}

ti_status ti_kv_transact(ti_kv *kv, const ti_txn_options *txn_options,
                         const ti_retry_options *options, ti_transact_fn fn, void *context,
                         ti_ts *commit_ts_out, const ti_call *call, ti_err *err)
{
    ti_retry retry;
    ti_err local;
    ti_err *out = err != NULL ? err : &local;
    ti_assert(fn != NULL);
    ti_retry_init(&retry, kv, options);
    ti_call bounded = *call;
    if (retry.deadline_ns < bounded.deadline_ns)
        bounded.deadline_ns = retry.deadline_ns;
    for (;;) {
        ti_err_clear(out);
        ti_status status = attempt(kv, txn_options, fn, context, commit_ts_out, &bounded, out);
        if (status == TI_OK)
            return TI_OK;
        if (out->status != status) /* fn answered a status and no text, as NOT_FOUND does */
            ti_err_set(out, status, "the transaction function answered %s", ti_status_name(status));
        TI_TRY(ti_retry_next(&retry, kv, &bounded, out));
    }
}

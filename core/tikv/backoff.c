/* Backoff. See backoff.h. */
#include "tikv/backoff.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

/* How long a sleep goes on before it looks at the cancel flag again. */
#define CANCEL_LOOK_MS 20

typedef struct kind_row {
    const char *name;  /* in statistics */
    const char *words; /* in errors */
    int64_t base_ms;
    int64_t cap_ms;
    bool jitter;  /* sleep between half and the whole */
    bool charged; /* counts for the budget */
} kind_row;

static const kind_row rows[TI_BACKOFF_COUNT] = {
    [TI_BACKOFF_RPC] = {"rpc", "connection failures", 100, 2000, true, true},
    [TI_BACKOFF_LOCK] = {"lock", "locks of other transactions", 100, 3000, true, true},
    [TI_BACKOFF_LOCK_FAST] = {"lock_fast", "locks of other transactions", 10, 3000, true, true},
    [TI_BACKOFF_PD] = {"pd", "PD failures", 500, 3000, true, true},
    [TI_BACKOFF_REGION_MISS] = {"region_miss", "moved regions", 2, 500, false, true},
    [TI_BACKOFF_REGION_SCHEDULING] = {"region_scheduling", "regions without leader", 2, 500, false,
                                      true},
    [TI_BACKOFF_SERVER_BUSY] = {"server_busy", "busy stores", 2000, 10000, true, false},
    [TI_BACKOFF_DISK_FULL] = {"disk_full", "full disks", 500, 5000, false, true},
    [TI_BACKOFF_RECOVERY] = {"recovery", "regions in recovery", 100, 10000, true, true},
    [TI_BACKOFF_TXN_NOT_FOUND] = {"txn_not_found", "transactions not begun yet", 2, 500, false,
                                  true},
    [TI_BACKOFF_STALE_COMMAND] = {"stale_command", "stale commands", 2, 1000, false, true},
    [TI_BACKOFF_MAX_TS] = {"max_ts", "unsynchronised timestamps", 2, 500, false, true},
    [TI_BACKOFF_COMMIT_TS] = {"commit_ts", "newer commits", 2, 500, false, true},
    [TI_BACKOFF_NOT_INITIALIZED] = {"not_initialized", "regions not initialised", 2, 1000, false,
                                    true},
    [TI_BACKOFF_WITNESS] = {"witness", "witness replicas", 1000, 10000, true, true},
};

void ti_backoff_init(ti_backoff *b, ti_wire *wire, const ti_call *call, int64_t budget_ms)
{
    ti_assert(budget_ms > 0);
    memset(b, 0, sizeof(*b));
    b->wire = wire;
    b->call = call;
    b->owner = ti_thread_self();
    b->budget_ms = budget_ms;
}

/* The kind that slept longest. */
static ti_backoff_kind longest(const ti_backoff *b)
{
    ti_backoff_kind kind = TI_BACKOFF_RPC;
    for (ti_backoff_kind k = 0; k < TI_BACKOFF_COUNT; k++) {
        if (b->slept_of[k] > b->slept_of[kind])
            kind = k;
    }
    return kind;
}

#define TRIED_SIZE 96

/* How often it was tried, and how long was waited in between: "after 3 attempts and 20 ms of …". */
static void tell_tries(const ti_backoff *b, char out[TRIED_SIZE])
{
    long long slept_ms = b->slept_ms + b->slept_busy_ms;
    const char *plural = b->attempts == 1 ? "" : "s";
    if (slept_ms == 0)
        snprintf(out, TRIED_SIZE, "after %u attempt%s", b->attempts, plural);
    else
        snprintf(out, TRIED_SIZE, "after %u attempt%s and %lld ms of waiting", b->attempts, plural,
                 slept_ms);
}

static ti_status give_up(const ti_backoff *b, const ti_err *why, ti_err *err)
{
    ti_status_class class = ti_status_class_of(why->status);
    bool tells =
        class == TI_CLASS_TRANSIENT || class == TI_CLASS_UNKNOWN || class == TI_CLASS_CONFLICT;
    ti_status status = tells ? why->status : TI_UNAVAILABLE;
    ti_backoff_kind kind = longest(b);
    char tried[TRIED_SIZE];
    tell_tries(b, tried);
    if (b->slept_of[kind] == 0)
        return ti_err_set(err, status, "gave up %s; last: %s", tried, why->message);
    return ti_err_set(err, status, "gave up %s, mostly for %s (%u times); last: %s", tried,
                      rows[kind].words, b->attempts_of[kind], why->message);
}

/* A deadline's or a cancel's error with what was seen before it. */
static ti_status stopped(const ti_backoff *b, ti_status status, const char *seen, ti_err *err)
{
    char tried[TRIED_SIZE];
    bool early = ti_call_left_ns(b->call) > 0; /* but less than the next sleep */
    const char *what = status == TI_CANCELLED ? "cancelled"
                       : early                ? "no time is left"
                                              : "the deadline passed";
    tell_tries(b, tried);
    return ti_err_set(err, status, "%s %s; last: %s", what, tried, seen);
}

ti_status ti_backoff_interrupted(const ti_backoff *b, ti_status status, ti_err *err)
{
    return b->attempts == 0 ? status : stopped(b, status, b->seen, err);
}

ti_status ti_backoff_check(const ti_backoff *b, ti_err *err)
{
    ti_status status = ti_call_check(b->call, "the operation", err);
    return status == TI_OK ? TI_OK : ti_backoff_interrupted(b, status, err);
}

static int64_t jittered(ti_backoff *b, int64_t ms)
{
    uint64_t random = 0;
    b->wire->env->random(b->wire->env, &random, sizeof(random));
    return ms / 2 + (int64_t)(random % (uint64_t)(ms / 2 + 1));
}

static int64_t sleep_of(ti_backoff *b, ti_backoff_kind kind)
{
    const kind_row *row = &rows[kind];
    int64_t ms = row->base_ms;
    for (uint32_t i = 0; i < b->attempts_of[kind] && ms < row->cap_ms; i++)
        ms *= 2;
    ms = ms < row->cap_ms ? ms : row->cap_ms;
    return row->jitter ? jittered(b, ms) : ms;
}

const char *ti_backoff_name(size_t kind)
{
    ti_assert(kind < TI_BACKOFF_COUNTS);
    return kind == TI_BACKOFF_AT_ONCE ? "at_once" : rows[kind].name;
}

static void count_retry(const ti_backoff *b, size_t kind)
{
    if (b->wire->retries != NULL)
        atomic_fetch_add_explicit(&b->wire->retries[kind], 1, memory_order_relaxed);
}

/* One attempt more, of whatever kind. */
static ti_status count_attempt(ti_backoff *b, const ti_err *why, ti_err *err)
{
    ti_require(b->owner == ti_thread_self());
    ti_status status = ti_call_check(b->call, "the operation", NULL);
    b->attempts++;
    bool told =
        status != TI_OK && b->last; /* a last try without time tells less than those before */
    if (!told)
        memcpy(b->seen, why->message, sizeof(b->seen));
    if (b->attempts >= TI_BACKOFF_ATTEMPTS_MAX)
        return give_up(b, why, err);
    return status == TI_OK ? TI_OK : stopped(b, status, b->seen, err);
}

ti_status ti_backoff_count(ti_backoff *b, const ti_err *why, ti_err *err)
{
    count_retry(b, TI_BACKOFF_AT_ONCE);
    return count_attempt(b, why, err);
}

/* Sleeps in pieces where the call can be cancelled; false when it was. */
static bool sleep_through(ti_backoff *b, int64_t ms)
{
    bool whole = b->call->cancelled == NULL;
    while (ms > 0) {
        int64_t piece_ms = whole || ms < CANCEL_LOOK_MS ? ms : CANCEL_LOOK_MS;
        b->wire->vt->sleep(b->wire, piece_ms * 1000000);
        ms -= piece_ms;
        if (!whole && atomic_load(b->call->cancelled) != 0)
            return false;
    }
    return true;
}

/* How long of ms to sleep: less when a last try would not fit behind it; -1: no time is left. */
static int64_t fitting(ti_backoff *b, int64_t ms)
{
    int64_t left_ms = ti_call_left_ns(b->call) / 1000000;
    int64_t room_ms = left_ms - TI_BACKOFF_LAST_TRY_MS;
    if (ms > room_ms && room_ms > 0 && !b->no_last_try) {
        b->last = true;
        return room_ms;
    }
    return ms <= left_ms ? ms : -1;
}

ti_status ti_backoff_sleep(ti_backoff *b, ti_backoff_kind kind, int64_t max_ms, const ti_err *why,
                           ti_err *err)
{
    ti_assert(kind < TI_BACKOFF_COUNT);
    TI_TRY(count_attempt(b, why, err));
    if (b->slept_ms >= b->budget_ms || b->slept_busy_ms >= TI_BACKOFF_BUSY_MAX_MS)
        return give_up(b, why, err);
    int64_t ms = sleep_of(b, kind);
    if (max_ms >= 0 && ms > max_ms)
        ms = max_ms;
    ms = fitting(b, ms);
    if (ms < 0)
        return stopped(b, TI_TIMEOUT, why->message, err);
    if (!sleep_through(b, ms))
        return stopped(b, TI_CANCELLED, why->message, err);
    count_retry(b, kind);
    b->attempts_of[kind]++;
    b->slept_of[kind] += ms;
    if (rows[kind].charged)
        b->slept_ms += ms;
    else
        b->slept_busy_ms += ms;
    return TI_OK;
}

void ti_backoff_merge(ti_backoff *b, const ti_backoff *branch)
{
    if (branch->slept_ms + branch->slept_busy_ms > b->slept_ms + b->slept_busy_ms)
        *b = *branch;
}

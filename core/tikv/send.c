/* Sending to regions. See send.h. */
#include "tikv/send.h"

#include <string.h>

#include "base/assert.h"

void ti_context_fill(ti_context *c, const ti_region *region, bool again)
{
    ti_peer peer = ti_region_peer(region);
    kvrpcpb__context__init(&c->message);
    metapb__region_epoch__init(&c->epoch);
    metapb__peer__init(&c->peer);
    c->epoch.conf_ver = region->conf_ver;
    c->epoch.version = region->version;
    c->peer.id = peer.id;
    c->peer.store_id = peer.store_id;
    c->message.region_id = region->id;
    c->message.region_epoch = &c->epoch;
    c->message.peer = &c->peer;
    c->message.max_execution_duration_ms = TI_SEND_EXECUTION_MAX_MS;
    c->message.is_retry_request = again;
    c->message.request_source = (char *)(uintptr_t) "tito";
}

void ti_request_free(ti_request *r)
{
    if (r->submitted)
        ti_conn_release(r->conn, &r->command);
    r->submitted = false;
    ti_tikv_store_unref(r->store);
    r->store = NULL;
    ti_region_unref(r->region);
    r->region = NULL;
}

/* Notes why a request could not be sent at all. */
static void not_sent(ti_cluster *c, ti_request *r, const ti_err *why)
{
    r->err = *why;
    if (why->status == TI_NOT_FOUND) { /* the store has left the cluster */
        ti_regions_invalidate(c->regions, r->region);
        r->action = (ti_region_action){.verdict = TI_VERDICT_AGAIN,
                                       .sleep = true,
                                       .backoff = TI_BACKOFF_REGION_MISS,
                                       .sleep_max_ms = -1};
    } else {
        r->action = ti_region_silence_apply(c->regions, r->region, why);
    }
    r->verdict = r->action.verdict;
}

/* Sends one. Its latch counts it only when it was submitted. */
static void submit(ti_cluster *c, ti_request *r, ti_latch *latch, const ti_call *call)
{
    ti_err why;
    ti_err_clear(&why);
    r->submitted = false;
    r->lost = false;
    r->asked = ti_region_peer(r->region).store_id;
    ti_status status = ti_tikv_stores_get(c->stores, r->asked, &r->store, call, &why);
    if (status == TI_OK) {
        r->conn = ti_tikv_store_conn(r->store);
        r->command.kind = r->kind;
        r->command.body = r->body;
        r->command.latch = latch;
        r->command.timeout_us = r->timeout_us;
        ti_latch_add(latch, 1);
        status = ti_conn_submit(r->conn, &r->command, &why);
        if (status != TI_OK)
            ti_latch_done(latch);
    }
    if (status != TI_OK) {
        not_sent(c, r, &why);
        return;
    }
    r->submitted = true;
    atomic_fetch_add(&c->stats.by_kind[r->kind], 1);
    atomic_fetch_add(&c->stats.bytes_sent, r->body.len);
    atomic_fetch_add(&c->stats.in_flight, 1);
}

/* Says who has not answered, once what did not come was taken back. */
static void name_the_silent(const ti_request *requests, size_t count, ti_err *err)
{
    for (size_t i = 0; i < count && err != NULL; i++) {
        const ti_request *r = &requests[i];
        if (!r->submitted || r->command.err.status != TI_CANCELLED)
            continue;
        ti_err_set(err, TI_TIMEOUT, "store %s did not answer %s in time",
                   ti_tikv_store_address(r->store), ti_command_kind_of(r->kind)->name);
        return;
    }
}

/* Waits for the answers within the call and the round's time; takes back what did not come. */
static ti_status wait_for_all(ti_cluster *c, ti_request *requests, size_t count, ti_latch *latch,
                              int64_t timeout_us, const ti_backoff *backoff, ti_err *err)
{
    const ti_call *call = backoff->call;
    ti_call within = *call;
    int64_t limit_ns = ti_env_mono_ns(c->wire->env) + timeout_us * 1000;
    within.deadline_ns = limit_ns < call->deadline_ns ? limit_ns : call->deadline_ns;
    ti_status status = ti_wire_wait(c->wire, latch, &within, "answers of the cluster", err);
    if (status == TI_OK)
        return TI_OK;
    for (size_t i = 0; i < count; i++) {
        if (requests[i].submitted)
            ti_conn_withdraw(requests[i].conn, &requests[i].command);
    }
    while (ti_latch_open(latch) > 0)
        c->wire->vt->wait(c->wire, latch, TI_NO_DEADLINE);
    bool only_slow = status == TI_TIMEOUT && limit_ns < call->deadline_ns;
    if (status == TI_TIMEOUT)
        name_the_silent(requests, count, err);
    /* A slow store is a trouble of its region's, the caller's deadline is not. */
    return only_slow ? TI_OK : ti_backoff_interrupted(backoff, status, err);
}

/* Puts the store that answered with a region error before its words. */
static void name_the_store(ti_request *r)
{
    ti_err said = r->err;
    ti_err_set(&r->err, said.status, "store %s: %s", ti_tikv_store_address(r->store), said.message);
}

/* Reads what became of a request that was submitted. */
static void judge(ti_cluster *c, ti_request *r, const ti_call *call)
{
    atomic_fetch_sub(&c->stats.in_flight, 1);
    if (r->command.err.status == TI_OK) {
        r->response = ti_buf_slice(&r->command.response);
        atomic_fetch_add(&c->stats.bytes_received, r->response.len);
        r->action = ti_region_error_apply(r->response, c->regions, r->region, &r->err);
        r->lost = r->action.undetermined;
        if (r->action.verdict == TI_VERDICT_ANSWERED) {
            ti_region_answered(r->region);
        } else {
            name_the_store(r);
            atomic_fetch_add(&c->stats.region_errors, 1);
        }
    } else {
        r->err = r->command.err;
        if (r->err.status == TI_CANCELLED)
            ti_err_set(&r->err, TI_TIMEOUT, "store %s did not answer in time",
                       ti_tikv_store_address(r->store));
        r->lost = r->command.sent;
        if (!r->lost)
            ti_wire_diagnose(c->wire, ti_tikv_store_address(r->store), call, &r->err);
        r->action = ti_region_silence_apply(c->regions, r->region, &r->err);
        atomic_fetch_add(&c->stats.silences, 1);
    }
    r->verdict = r->action.verdict;
    if (r->action.doubt_store)
        ti_tikv_stores_doubt(c->stores, r->asked, r->command.err.status == TI_OK);
}

/* The longest timeout of the requests. */
static int64_t round_timeout_us(ti_request *requests, size_t count)
{
    int64_t timeout_us = 0;
    for (size_t i = 0; i < count; i++) {
        if (requests[i].timeout_us == 0)
            requests[i].timeout_us = TI_SEND_TIMEOUT_US;
        timeout_us = requests[i].timeout_us > timeout_us ? requests[i].timeout_us : timeout_us;
    }
    return timeout_us;
}

/* Sleeps once for the requests that are to be sent again: for a kind that sleeps, if there is one.
 */
static ti_status sleep_for(ti_request *requests, size_t count, ti_backoff *backoff, ti_err *err)
{
    const ti_request *worst = NULL;
    for (size_t i = 0; i < count; i++) {
        const ti_request *r = &requests[i];
        if (r->verdict != TI_VERDICT_AGAIN)
            continue;
        if (worst == NULL || (r->action.sleep && !worst->action.sleep))
            worst = r;
    }
    if (worst == NULL)
        return TI_OK;
    if (!worst->action.sleep)
        return ti_backoff_count(backoff, &worst->err, err);
    return ti_backoff_sleep(backoff, worst->action.backoff, worst->action.sleep_max_ms, &worst->err,
                            err);
}

ti_status ti_send_round(ti_cluster *c, ti_request *requests, size_t count, ti_backoff *backoff,
                        ti_err *err)
{
    ti_assert(count > 0);
    ti_latch latch;
    ti_status begun = ti_call_check(backoff->call, "sending to the cluster", err);
    if (begun != TI_OK)
        return ti_backoff_interrupted(backoff, begun, err);
    ti_latch_init(&latch, 0);
    ti_wire_refresh(c->wire);
    int64_t timeout_us = round_timeout_us(requests, count);
    for (size_t i = 0; i < count; i++)
        submit(c, &requests[i], &latch, backoff->call);
    ti_status status = wait_for_all(c, requests, count, &latch, timeout_us, backoff, err);
    for (size_t i = 0; i < count; i++) {
        if (requests[i].submitted)
            judge(c, &requests[i], backoff->call);
    }
    if (status != TI_OK || ti_round_failure(requests, count, NULL) != TI_OK)
        return status;
    return sleep_for(requests, count, backoff, err);
}

ti_status ti_round_failure(const ti_request *requests, size_t count, ti_err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (requests[i].verdict != TI_VERDICT_FATAL)
            continue;
        if (err != NULL)
            *err = requests[i].err;
        return requests[i].err.status;
    }
    return TI_OK;
}

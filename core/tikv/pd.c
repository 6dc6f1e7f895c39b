/* The placement driver: members, the leader, requests to it, timestamps. See pd.h; what is asked of
 * it: pd_requests.c. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "tikv/pd_int.h"
#include "tikv/said.h"

#define MEMBERS_METHOD "/pdpb.PD/GetMembers"
#define MEMBERS_TIMEOUT_US 2000000
/* How long the leader may answer nothing, whoever asks, before somebody looks who leads. */
#define SILENCE_MAX_NS (INT64_C(1000) * TI_PD_TIMEOUT_US)
/* What PD says of a store that it does not know, as a gRPC status without a code of its own. */
#define UNKNOWN_STORE_TEXT "invalid store ID"

/* ---- Addresses ---- */

/* Copies "http://host:port" or "host:port" without scheme and path. false when it is too long or
 * empty. */
static bool copy_address(const char *url, size_t len, char out[TI_PD_ADDRESS_SIZE])
{
    const char *end = url + len;
    const char *scheme = memmem(url, len, "://", 3);
    const char *from = scheme != NULL ? scheme + 3 : url;
    const char *slash = memchr(from, '/', (size_t)(end - from));
    size_t size = (size_t)((slash != NULL ? slash : end) - from);
    if (size == 0 || size >= TI_PD_ADDRESS_SIZE)
        return false;
    memcpy(out, from, size);
    out[size] = '\0';
    return true;
}

/* Adds an endpoint unless it is known. Called with the mutex held (or before there are others). */
static void add_endpoint(ti_pd *pd, const char *url, size_t len)
{
    char address[TI_PD_ADDRESS_SIZE];
    if (pd->endpoint_count == TI_PD_ENDPOINTS_MAX || !copy_address(url, len, address))
        return;
    for (size_t i = 0; i < pd->endpoint_count; i++) {
        if (strcmp(pd->endpoints[i], address) == 0)
            return;
    }
    memcpy(pd->endpoints[pd->endpoint_count++], address, sizeof(address));
}

/* ---- Members ---- */

static ti_status check_cluster_id(ti_pd *pd, const char *endpoint, uint64_t cluster_id, ti_err *err)
{
    if (cluster_id == 0)
        return ti_err_set(err, TI_UNAVAILABLE, "%s answers, but its cluster has no id yet",
                          endpoint);
    if (pd->cluster_id != 0 && pd->cluster_id != cluster_id)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "%s belongs to cluster %llu, but the other endpoints to cluster %llu: "
                          "name endpoints of one cluster only",
                          endpoint, (unsigned long long)cluster_id,
                          (unsigned long long)pd->cluster_id);
    return TI_OK;
}

/* Takes over what a GetMembers answer says. Called with the mutex held. */
static ti_status take_members(ti_pd *pd, const char *endpoint, const Pdpb__GetMembersResponse *r,
                              ti_err *err)
{
    uint64_t cluster_id = r->header != NULL ? r->header->cluster_id : 0;
    TI_TRY(check_cluster_id(pd, endpoint, cluster_id, err));
    pd->cluster_id = cluster_id;
    for (size_t i = 0; i < r->n_members; i++) {
        for (size_t u = 0; u < r->members[i]->n_client_urls; u++)
            add_endpoint(pd, r->members[i]->client_urls[u], strlen(r->members[i]->client_urls[u]));
    }
    if (r->leader == NULL || r->leader->n_client_urls == 0)
        return ti_err_set(err, TI_UNAVAILABLE, "%s answers, but PD has no leader at the moment",
                          endpoint);
    char leader[TI_PD_ADDRESS_SIZE];
    const char *url = r->leader->client_urls[0];
    if (!copy_address(url, strlen(url), leader))
        return ti_err_set(err, TI_UNAVAILABLE, "%s names a leader without address", endpoint);
    if (strcmp(leader, pd->leader) != 0) {
        pd->leader_changes += pd->leader[0] != '\0';
        memcpy(pd->leader, leader, sizeof(leader));
        ti_log_write(pd->log, TI_LOG_INFO, "PD leader address=%s", leader);
    }
    return TI_OK;
}

/* What an HTTP/1 server's answer looks like to gRPC. */
#define HTTP1_TEXT "http1.x server"

/* An endpoint did not answer: says why, where it can be found out. true: it is no use to ask it
 * again before somebody has changed something. */
static bool is_hopeless(ti_pd *pd, const char *endpoint, const ti_call *call, ti_err *why)
{
    if (why->status == TI_UNAVAILABLE && strstr(why->message, HTTP1_TEXT) != NULL) {
        ti_err_set(why, TI_UNAVAILABLE, "%s is not a PD: it speaks HTTP/1", endpoint);
        return true;
    }
    return ti_wire_diagnose(pd->wire, endpoint, call, why);
}

/* Asks one endpoint. *hopeless_out: it did not answer, and will not. */
static ti_status ask_members(ti_pd *pd, const char *endpoint, const ti_call *call,
                             bool *hopeless_out, ti_err *err)
{
    *hopeless_out = false;
    ti_arena a;
    ti_arena_init(&a);
    Pdpb__GetMembersRequest request = PDPB__GET_MEMBERS_REQUEST__INIT;
    Pdpb__RequestHeader header = PDPB__REQUEST_HEADER__INIT;
    request.header = &header;
    ti_slice bytes = ti_pb_pack(&request.base, &a);
    ti_slice response = TI_SLICE_NONE;
    ti_status status = bytes.data == NULL
                           ? ti_err_no_memory(err)
                           : ti_wire_call(pd->wire, endpoint, MEMBERS_METHOD, bytes,
                                          MEMBERS_TIMEOUT_US, call, &a, &response, err);
    if (status == TI_OK) {
        Pdpb__GetMembersResponse *r =
            ti_pb_unpack(&pdpb__get_members_response__descriptor, response, &a, err);
        if (r == NULL) {
            status = ti_err_set(err, TI_INVALID_ARGUMENT,
                                "%s is not a PD: its answer makes no sense", endpoint);
        } else {
            ti_mutex_lock(&pd->mutex);
            status = take_members(pd, endpoint, r, err);
            ti_mutex_unlock(&pd->mutex);
        }
    } else if (status == TI_UNSUPPORTED) {
        status = ti_err_set(err, TI_INVALID_ARGUMENT, "%s is not a PD: it knows no %s", endpoint,
                            MEMBERS_METHOD);
    } else if (bytes.data != NULL) {
        *hopeless_out = is_hopeless(pd, endpoint, call, err);
    }
    ti_arena_free(&a);
    return status;
}

/* Copies endpoint i; answers how many there are from it on, 0 past the last one. */
static size_t endpoint_at(ti_pd *pd, size_t i, char address[TI_PD_ADDRESS_SIZE])
{
    ti_mutex_lock(&pd->mutex);
    size_t count = i < pd->endpoint_count ? pd->endpoint_count - i : 0;
    if (count > 0)
        memcpy(address, pd->endpoints[i], TI_PD_ADDRESS_SIZE);
    ti_mutex_unlock(&pd->mutex);
    return count;
}

/* The part of a call that the first of count endpoints may take: when it is silent, those behind it
 * get their turn. */
static ti_call share_of(const ti_call *call, size_t count)
{
    ti_assert(count > 0);
    ti_call share = *call;
    if (call->deadline_ns != TI_NO_DEADLINE)
        share.deadline_ns -= ti_call_left_ns(call) / (int64_t)count * (int64_t)(count - 1);
    return share;
}

static bool looked_since(ti_pd *pd, uint64_t generation)
{
    ti_mutex_lock(&pd->mutex);
    bool since = pd->generation != generation && pd->leader[0] != '\0';
    ti_mutex_unlock(&pd->mutex);
    return since;
}

/* Adds what one endpoint said to the sum of complaints. */
static void add_complaint(char *text, size_t size, const ti_err *err)
{
    size_t len = strlen(text);
    snprintf(text + len, size - len, "%s%s", len > 0 ? "; " : "", err->message);
}

/* Asks one endpoint after the other who leads. */
static ti_status look_at_members(ti_pd *pd, const ti_call *call, ti_err *err)
{
    char address[TI_PD_ADDRESS_SIZE];
    char complaints[TI_ERR_MESSAGE_SIZE / 2] = "";
    size_t rest = 0;
    for (size_t i = 0; (rest = endpoint_at(pd, i, address)) > 0; i++) {
        ti_err said;
        bool hopeless = false; /* others may answer, and this one later */
        ti_call share = share_of(call, rest);
        ti_status status = ask_members(pd, address, &share, &hopeless, &said);
        if (status == TI_OK) {
            ti_mutex_lock(&pd->mutex);
            pd->generation++;
            ti_mutex_unlock(&pd->mutex);
            return TI_OK;
        }
        if (status == TI_INVALID_ARGUMENT || status == TI_CANCELLED || status == TI_OUT_OF_MEMORY ||
            status == TI_CLOSED) {
            if (err != NULL)
                *err = said;
            return status;
        }
        add_complaint(complaints, sizeof(complaints), &said);
        TI_TRY(ti_call_check(call, "looking for the PD leader", err));
    }
    return ti_err_set(err, TI_UNAVAILABLE, "no PD endpoint can say who leads: %s", complaints);
}

/* Looks for all who wait, unless somebody has just done so. */
static ti_status lead_look(ti_pd *pd, uint64_t generation, ti_flight *mine, const ti_call *call,
                           ti_err *err)
{
    ti_err said;
    ti_err_clear(&said);
    ti_status status = looked_since(pd, generation) ? TI_OK : look_at_members(pd, call, &said);
    ti_flight_end(&pd->looks, mine, &said);
    if (status != TI_OK && err != NULL)
        *err = said;
    return status;
}

ti_status ti_pd_refresh(ti_pd *pd, uint64_t generation, const ti_call *call, ti_err *err)
{
    for (;;) {
        ti_flight mine;
        ti_err said;
        bool leads = false;
        if (looked_since(pd, generation))
            return TI_OK;
        TI_TRY(ti_flight_begin(&pd->looks, 0, &mine, &leads, &said, call, err));
        if (leads)
            return lead_look(pd, generation, &mine, call, err);
        if (said.status == TI_TIMEOUT || said.status == TI_CANCELLED)
            continue; /* only the other's time was up */
        if (said.status != TI_OK && err != NULL)
            *err = said;
        return said.status;
    }
}

ti_status ti_pd_leader(ti_pd *pd, char address[TI_PD_ADDRESS_SIZE], uint64_t *generation_out,
                       const ti_call *call, ti_err *err)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        ti_mutex_lock(&pd->mutex);
        *generation_out = pd->generation;
        memcpy(address, pd->leader, TI_PD_ADDRESS_SIZE);
        ti_mutex_unlock(&pd->mutex);
        if (address[0] != '\0')
            return TI_OK;
        TI_TRY(ti_pd_refresh(pd, *generation_out, call, err));
    }
    return ti_err_set(err, TI_UNAVAILABLE, "PD has no leader at the moment");
}

/* ---- Silence ---- */

/* Notes what became of something asked of the leader. */
static void note_silence(ti_pd *pd, _Atomic(int64_t) *silent_ns, ti_status status)
{
    int64_t since_ns = atomic_load_explicit(silent_ns, memory_order_relaxed);
    if (status == TI_TIMEOUT && since_ns == 0)
        atomic_compare_exchange_strong(silent_ns, &since_ns, ti_env_mono_ns(pd->wire->env));
    else if (status != TI_TIMEOUT && status != TI_CANCELLED && since_ns != 0)
        atomic_store(silent_ns, 0);
}

/* Looks who leads when the leader has been silent for too long; one of all callers does. */
static void doubt_the_silent(ti_pd *pd, _Atomic(int64_t) *silent_ns, const ti_call *call)
{
    ti_err seen;
    int64_t since_ns = atomic_load_explicit(silent_ns, memory_order_relaxed);
    if (since_ns == 0 || ti_env_mono_ns(pd->wire->env) - since_ns < SILENCE_MAX_NS ||
        !atomic_compare_exchange_strong(silent_ns, &since_ns, 0))
        return;
    ti_mutex_lock(&pd->mutex);
    uint64_t generation = pd->generation;
    ti_mutex_unlock(&pd->mutex);
    (void)ti_pd_refresh(pd, generation, call, &seen); /* else the old one is asked once more */
    ti_tso_reset(pd->tso);
}

/* ---- Requests ---- */

ti_status ti_pd_header_status(const Pdpb__ResponseHeader *header, ti_err *err)
{
    if (header == NULL || header->error == NULL || header->error->type == PDPB__ERROR_TYPE__OK)
        return TI_OK;
    switch (header->error->type) {
    case PDPB__ERROR_TYPE__REGION_NOT_FOUND:
    case PDPB__ERROR_TYPE__ENTRY_NOT_FOUND:
    case PDPB__ERROR_TYPE__STORE_TOMBSTONE:
        return ti_err_set(err, TI_NOT_FOUND, "PD: %s", ti_said_by(header->error->message).text);
    default:
        return ti_err_set(err, TI_UNAVAILABLE, "PD: %s", ti_said_by(header->error->message).text);
    }
}

/* Whether another try, after a look at the members, may go better. */
static bool worth_another_try(ti_status status)
{
    return status == TI_UNAVAILABLE || status == TI_TIMEOUT;
}

/* The error of a response, whatever its kind: every PD response has its header in field 1. */
static ti_status response_status(ti_slice response, ti_arena *a, ti_err *err)
{
    ti_pb_field field;
    ti_slice rest = response;
    if (ti_pb_next(&rest, &field, NULL) != TI_OK || field.number != 1 || field.wire_type != 2)
        return TI_OK;
    Pdpb__ResponseHeader *header =
        ti_pb_unpack(&pdpb__response_header__descriptor, field.bytes, a, err);
    return header == NULL ? err->status : ti_pd_header_status(header, err);
}

ti_status ti_pd_request(ti_pd *pd, const char *method, const ProtobufCMessage *request, ti_arena *a,
                        ti_slice *response_out, const ti_call *call, ti_err *err)
{
    ti_slice bytes = ti_pb_pack(request, a);
    if (bytes.data == NULL)
        return ti_err_no_memory(err);
    ti_backoff backoff;
    ti_backoff_init(&backoff, pd->wire, call, TI_BUDGET_TSO_MS);
    for (;;) {
        TI_TRY(ti_backoff_check(&backoff, err));
        ti_err seen;
        char leader[TI_PD_ADDRESS_SIZE];
        uint64_t generation = 0;
        ti_err_clear(&seen);
        doubt_the_silent(pd, &pd->requests_silent_ns, call);
        ti_status status = ti_pd_leader(pd, leader, &generation, call, &seen);
        if (status == TI_OK) {
            ti_mutex_lock(&pd->mutex);
            pd->requests++;
            ti_mutex_unlock(&pd->mutex);
            status = ti_wire_call(pd->wire, leader, method, bytes, TI_PD_TIMEOUT_US, call, a,
                                  response_out, &seen);
            note_silence(pd, &pd->requests_silent_ns, status);
        }
        if (status == TI_OK)
            status = response_status(*response_out, a, &seen);
        if (status == TI_UNAVAILABLE && strstr(seen.message, UNKNOWN_STORE_TEXT) != NULL)
            status = seen.status = TI_NOT_FOUND;
        if (!worth_another_try(status)) {
            if (status != TI_OK && err != NULL)
                *err = seen;
            return status;
        }
        TI_TRY(ti_backoff_sleep(&backoff, TI_BACKOFF_PD, -1, &seen, err));
        ti_status refreshed = ti_pd_refresh(pd, generation, call, &seen);
        if (refreshed != TI_OK && !worth_another_try(refreshed)) {
            if (err != NULL)
                *err = seen;
            return refreshed;
        }
    }
}

ti_status ti_pd_timestamp(ti_pd *pd, uint64_t *ts_out, const ti_call *call, ti_err *err)
{
    ti_backoff backoff;
    ti_backoff_init(&backoff, pd->wire, call, TI_BUDGET_TSO_MS);
    *ts_out = 0;
    for (;;) {
        TI_TRY(ti_backoff_check(&backoff, err));
        ti_err seen;
        char leader[TI_PD_ADDRESS_SIZE];
        uint64_t generation = 0;
        ti_err_clear(&seen);
        doubt_the_silent(pd, &pd->timestamps_silent_ns, call);
        ti_status status = ti_pd_leader(pd, leader, &generation, call, &seen);
        if (status == TI_OK) {
            status =
                ti_tso_get(pd->tso, leader, pd->cluster_id, TI_PD_TIMEOUT_US, ts_out, call, &seen);
            note_silence(pd, &pd->timestamps_silent_ns, status);
        }
        bool again = worth_another_try(status) || status == TI_CORRUPT || status == TI_CANCELLED;
        if (status == TI_OK || !again || ti_call_check(call, "a timestamp", NULL) == TI_CANCELLED) {
            if (status != TI_OK && err != NULL)
                *err = seen;
            return status;
        }
        TI_TRY(
            ti_backoff_sleep(&backoff, TI_BACKOFF_PD, backoff.attempts == 0 ? 0 : -1, &seen, err));
        /* Whatever failed has ended its stream: one that is there now is another caller's. */
        (void)ti_pd_refresh(pd, generation, call, &seen);
    }
}

/* ---- Opening and closing ---- */

static ti_status pd_create(ti_wire *w, const ti_log *log, ti_pd **pd_out, ti_err *err)
{
    ti_pd *pd = ti_alloc_zero(sizeof(*pd));
    if (pd == NULL)
        return ti_err_no_memory(err);
    pd->wire = w;
    pd->log = log;
    ti_status status = ti_mutex_init(&pd->mutex, TI_RANK_CLOCK, err);
    bool has_mutex = status == TI_OK;
    if (status == TI_OK)
        status = ti_flights_init(&pd->looks, w, sizeof(ti_err), err);
    bool has_flights = status == TI_OK;
    if (status == TI_OK)
        status = ti_tso_create(w, &pd->tso, err);
    if (status == TI_OK) {
        *pd_out = pd;
        return TI_OK;
    }
    if (has_flights)
        ti_flights_destroy(&pd->looks);
    if (has_mutex)
        ti_mutex_destroy(&pd->mutex);
    ti_free(pd);
    return status;
}

/* Every configured endpoint that answers must be of the same cluster. */
static ti_status find_cluster(ti_pd *pd, size_t configured, const ti_call *call, ti_err *err)
{
    ti_backoff backoff;
    ti_backoff_init(&backoff, pd->wire, call, TI_BUDGET_TSO_MS);
    for (;;) {
        TI_TRY(ti_backoff_check(&backoff, err));
        char complaints[TI_ERR_MESSAGE_SIZE / 2] = "";
        bool found = false;
        size_t hopeless_count = 0;
        for (size_t i = 0; i < configured; i++) {
            ti_err said;
            bool hopeless = false;
            ti_call share = share_of(call, configured - i);
            ti_status status = ask_members(pd, pd->endpoints[i], &share, &hopeless, &said);
            if (status == TI_INVALID_ARGUMENT || status == TI_OUT_OF_MEMORY ||
                status == TI_CANCELLED) {
                if (err != NULL)
                    *err = said;
                return status;
            }
            found |= status == TI_OK;
            hopeless_count += hopeless;
            if (status != TI_OK)
                add_complaint(complaints, sizeof(complaints), &said);
        }
        if (found)
            return TI_OK;
        if (hopeless_count == configured)
            return ti_err_set(err, TI_INVALID_ARGUMENT, "no PD endpoint can be used: %s",
                              complaints);
        ti_err seen;
        ti_err_set(&seen, TI_UNAVAILABLE, "no PD endpoint answers as it should: %s", complaints);
        TI_TRY(ti_backoff_sleep(&backoff, TI_BACKOFF_PD, -1, &seen, err));
    }
}

ti_status ti_pd_open(ti_wire *w, const ti_log *log, const ti_slice *endpoints, size_t count,
                     const ti_call *call, ti_pd **pd_out, ti_err *err)
{
    *pd_out = NULL;
    ti_pd *pd = NULL;
    TI_TRY(pd_create(w, log, &pd, err));
    for (size_t i = 0; i < count; i++)
        add_endpoint(pd, endpoints[i].data, endpoints[i].len);
    ti_status status = pd->endpoint_count == 0 ? ti_err_set(err, TI_INVALID_ARGUMENT,
                                                            "no PD endpoint given: write host:port")
                                               : find_cluster(pd, pd->endpoint_count, call, err);
    if (status != TI_OK) {
        ti_pd_close(pd);
        return status;
    }
    *pd_out = pd;
    return TI_OK;
}

void ti_pd_close(ti_pd *pd)
{
    ti_tso_close(pd->tso);
    ti_flights_destroy(&pd->looks);
    ti_mutex_destroy(&pd->mutex);
    ti_free(pd);
}

uint64_t ti_pd_cluster_id(const ti_pd *pd)
{
    return pd->cluster_id;
}

void ti_pd_follow(ti_pd *pd, const _Atomic(int64_t) *busy)
{
    ti_tso_follow(pd->tso, busy);
}

ti_pd_stats ti_pd_stats_of(ti_pd *pd)
{
    ti_pd_stats stats = {0};
    ti_tso_counts(pd->tso, &stats.tso_requests, &stats.tso_timestamps);
    ti_mutex_lock(&pd->mutex);
    stats.requests = pd->requests;
    stats.leader_changes = pd->leader_changes;
    ti_mutex_unlock(&pd->mutex);
    return stats;
}

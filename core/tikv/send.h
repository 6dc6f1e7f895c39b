/* Sending to regions: one request per region, all at once, and what their answers mean for regions
 * and stores.
 *
 * An operation works in rounds: group the keys that are left by region; send one request to each;
 * take what was answered; sleep once for the worst trouble; go on with the rest. Straight-line
 * code, no thread per region.
 *
 * INVARIANTS
 *  1. After ti_send_round every request has ended: answered, to be sent again, or failed. Nothing
 *     of it is under way.
 *  2. `lost` of a request is true when the store may have applied it although no answer came.
 *  3. A round that could not begin (deadline, cancel) leaves its requests without a verdict: there
 *     is no answer to take.
 *
 * Thread rule: a round and its requests belong to one thread. */
#ifndef TI_TIKV_SEND_H
#define TI_TIKV_SEND_H

#include "kvrpcpb.pb-c.h"
#include "tikv/pb.h"
#include "tikv/region_error.h"
#include "tikv/store.h"

#define TI_SEND_TIMEOUT_US 30000000
#define TI_SEND_TIMEOUT_LONG_US 60000000
#define TI_SEND_EXECUTION_MAX_MS 20000

typedef struct ti_send_stats {
    _Atomic(uint64_t) by_kind[TI_COMMAND_COUNT];
    _Atomic(uint64_t) retries[TI_BACKOFF_COUNTS]; /* by kind */
    _Atomic(uint64_t) region_errors;
    _Atomic(uint64_t) silences;
    _Atomic(uint64_t) bytes_sent;
    _Atomic(uint64_t) bytes_received;
    _Atomic(int64_t) in_flight;
} ti_send_stats;

/* What every operation shares. Owned by the engine. */
typedef struct ti_cluster {
    ti_wire *wire;
    ti_pd *pd;
    ti_regions *regions;
    ti_tikv_stores *stores;
    ti_send_stats stats;
} ti_cluster;

/* The context of a request, with the messages it points to. */
typedef struct ti_context {
    Kvrpcpb__Context message;
    Metapb__RegionEpoch epoch;
    Metapb__Peer peer;
} ti_context;

void ti_context_fill(ti_context *c, const ti_region *region, bool again);

typedef struct ti_request {
    /* Set by the caller. */
    ti_region *region; /* owned: ti_request_free */
    ti_command_id kind;
    ti_slice body;
    int64_t timeout_us; /* 0 = TI_SEND_TIMEOUT_US */
    void *context;      /* the caller's */
    /* Set by the round. */
    ti_verdict verdict;
    ti_slice response; /* after ANSWERED; borrowed until ti_request_free */
    ti_err err;        /* what was seen, after AGAIN and FATAL */
    bool lost;
    /* Inside. */
    ti_command command;
    ti_tikv_store *store;
    ti_conn *conn;
    bool submitted;
    uint64_t asked; /* the store */
    ti_region_action action;
} ti_request;

/* Frees what a request holds, its region included. Safe on a zeroed one. */
void ti_request_free(ti_request *r);
/* Sends all and waits for all. Answers OK when every request ended with a verdict, after having
 * slept where one is to be sent again; else why the operation can not go on (deadline, cancel,
 * budget). */
ti_status ti_send_round(ti_cluster *c, ti_request *requests, size_t count, ti_backoff *backoff,
                        ti_err *err);
/* The worst verdict's error of a round: FATAL of the first one, or TI_OK. */
ti_status ti_round_failure(const ti_request *requests, size_t count, ti_err *err);

#endif

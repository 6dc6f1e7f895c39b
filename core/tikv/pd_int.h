/* The placement driver client's inside. Private to pd*.c. */
#ifndef TI_TIKV_PD_INT_H
#define TI_TIKV_PD_INT_H

#include <stdatomic.h>

#include "pdpb.pb-c.h"
#include "tikv/flight.h"
#include "tikv/pb.h"
#include "tikv/pd.h"
#include "tikv/tso.h"

#define TI_PD_ADDRESS_SIZE 272

struct ti_pd {
    ti_wire *wire;
    const ti_log *log;
    ti_tso *tso;
    ti_flights looks;    /* at the members, by all who doubt the leader; results are ti_err */
    ti_mutex mutex;      /* rank TI_RANK_CLOCK: all below */
    uint64_t cluster_id; /* constant once open */
    uint64_t generation; /* counts looks at the members */
    char endpoints[TI_PD_ENDPOINTS_MAX]
                  [TI_PD_ADDRESS_SIZE]; /* configured ones first, then members */
    size_t endpoint_count;
    char leader[TI_PD_ADDRESS_SIZE]; /* "" = not known */
    uint64_t requests;
    uint64_t leader_changes;
    _Atomic(int64_t) requests_silent_ns; /* since when the leader answers no request; 0 = it does */
    _Atomic(int64_t) timestamps_silent_ns; /* the same of timestamps; both without mutex */
    _Atomic(bool) no_batch_scan;           /* this PD is older than BatchScanRegions; no mutex */
};

/* Copies the leader's address, looking for it when it is not known. */
ti_status ti_pd_leader(ti_pd *pd, char address[TI_PD_ADDRESS_SIZE], uint64_t *generation_out,
                       const ti_call *call, ti_err *err);
/* Asks the endpoints who leads, unless somebody has done so since `generation`; of many callers one
 * asks. */
ti_status ti_pd_refresh(ti_pd *pd, uint64_t generation, const ti_call *call, ti_err *err);
/* One request to the leader with retries: follows leader changes within the backoff budget. */
ti_status ti_pd_request(ti_pd *pd, const char *method, const ProtobufCMessage *request, ti_arena *a,
                        ti_slice *response_out, const ti_call *call, ti_err *err);
/* OK, or what a response header complains of. NOT_FOUND for an entry that does not exist. */
ti_status ti_pd_header_status(const Pdpb__ResponseHeader *header, ti_err *err);

#endif

/* The TiKV engine: the engine contract (kv/engine.h) over a cluster of TiKV stores and PD.
 *
 * Layers inside, top down: engine.c (the contract) → snapshot, scan, commit, pessimistic, gc →
 * resolver → fan → send → region, store, conn, pd, tso → wire.
 *
 * Thread rule and ownership: as the contract says.
 * What is NOT here: API v2 keyspaces, stale and follower reads, resource groups. */
#ifndef TI_TIKV_TIKV_H
#define TI_TIKV_TIKV_H

#include "kv/engine.h"
#include "tikv/wire.h"

typedef struct ti_tikv_options {
    const ti_slice *endpoints; /* of PD, "host:port"; copied */
    size_t endpoint_count;
    ti_wire_tls tls;   /* PEM contents; copied */
    const ti_log *log; /* borrowed; or NULL */
    ti_wire *wire;     /* NULL: over gRPC. Otherwise taken over, also on failure: a simulator's */
} ti_tikv_options;

/* Connects. UNAVAILABLE with what each endpoint said; INVALID_ARGUMENT for endpoints of two
 * clusters or of something that is no PD. One reference of the caller's. */
ti_status ti_tikv_open(const ti_env *env, const ti_tikv_options *options, const ti_call *call,
                       ti_engine **engine_out, ti_err *err);

#endif

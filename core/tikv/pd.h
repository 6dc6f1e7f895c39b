/* The placement driver: who leads it, timestamps, regions, stores, safe points.
 *
 * Any of several endpoints may be dead. The leader is found by GetMembers, followed when it
 * changes, and every wait is bounded: each request by TI_PD_TIMEOUT_US, each operation by its call
 * and a backoff budget. A leader that has said nothing for TI_PD_TIMEOUT_US is doubted, also when no
 * caller had as much time: the next one looks who leads.
 *
 * INVARIANTS
 *  1. All endpoints that answer name the same cluster id; another one is INVALID_ARGUMENT, never
 *     mixed in.
 *  2. Timestamps handed out are strictly increasing over all callers of this object.
 *  3. Keys go to PD in the memcomparable form and come back decoded.
 *
 * Thread rule: any thread. */
#ifndef TI_TIKV_PD_H
#define TI_TIKV_PD_H

#include "kv/engine.h"
#include "tikv/backoff.h"
#include "tikv/wire.h"

#define TI_PD_TIMEOUT_US 3000000
#define TI_PD_ENDPOINTS_MAX 64

typedef struct ti_peer {
    uint64_t id;
    uint64_t store_id;
    bool learner;
    bool witness;
} ti_peer;

/* A region as PD or a store tells it; everything in the arena it was asked with. */
typedef struct ti_region_info {
    uint64_t id;
    uint64_t conf_ver;
    uint64_t version;
    ti_slice start; /* inclusive; "" = from the beginning */
    ti_slice end;   /* exclusive; "" = to the end */
    ti_peer *peers;
    size_t peer_count;
    ti_peer leader; /* id 0: unknown */
} ti_region_info;

typedef struct ti_tikv_store_info {
    uint64_t id;
    char *address; /* NUL-terminated "host:port" */
    bool tombstone;
    bool offline;      /* its regions are being moved away */
    bool columnar;     /* TiFlash: it has copies for analyses, and does not do what TiKV does */
    ti_slice version;  /* of its program; "" = not told */
    int64_t heard_us;  /* when PD last heard of it; 0 = not told */
    uint64_t capacity; /* bytes; of ti_pd_store alone, 0 = not told */
    uint64_t available;
} ti_tikv_store_info;

typedef struct ti_pd_member {
    uint64_t id;
    ti_slice name;
    ti_slice *urls; /* for clients */
    size_t url_count;
    bool leader;
} ti_pd_member;

/* Whose safe point holds the collection of old versions back: the lowest of all services. */
typedef struct ti_pd_holder {
    ti_slice service; /* "" = no service has one */
    uint64_t ts;
    int64_t ttl_s; /* until PD forgets it */
} ti_pd_holder;

typedef struct ti_pd_stats {
    uint64_t tso_requests;   /* messages on the timestamp stream */
    uint64_t tso_timestamps; /* timestamps handed out */
    uint64_t requests;       /* unary requests */
    uint64_t leader_changes;
} ti_pd_stats;

typedef struct ti_pd ti_pd;

/* Finds the cluster through any of the endpoints ("host:port"). UNAVAILABLE when none answers, with
 * what each said. */
ti_status ti_pd_open(ti_wire *w, const ti_log *log, const ti_slice *endpoints, size_t count,
                     const ti_call *call, ti_pd **pd_out, ti_err *err);
/* Ends the timestamp stream; every waiting caller gets CLOSED. No call may be under way after it
 * returns; frees. */
void ti_pd_close(ti_pd *pd);
uint64_t ti_pd_cluster_id(const ti_pd *pd);
ti_pd_stats ti_pd_stats_of(ti_pd *pd);

/* See ti_tso_follow. Before the first timestamp. */
void ti_pd_follow(ti_pd *pd, const _Atomic(int64_t) *busy);
/* A timestamp (physical ms << 18 | logical). Callers at the same time share a request. */
ti_status ti_pd_timestamp(ti_pd *pd, uint64_t *ts_out, const ti_call *call, ti_err *err);

/* The region that holds key; with before = true the one that holds the keys just below it. */
ti_status ti_pd_region(ti_pd *pd, ti_slice key, bool before, ti_arena *a, ti_region_info *info_out,
                       const ti_call *call, ti_err *err);
/* Up to limit regions that cover [from, to) from the left, without gaps between them. */
ti_status ti_pd_regions(ti_pd *pd, ti_slice from, ti_slice to, size_t limit, ti_arena *a,
                        ti_region_info **infos_out, size_t *count_out, const ti_call *call,
                        ti_err *err);
/* The regions of many ranges (ascending, apart, bounded), at most limit, by one request. Each is what
 * PD knows; there may be gaps. UNSUPPORTED: this PD does not offer it (before 8.5), and is not asked
 * for it again. @thread any */
ti_status ti_pd_regions_of(ti_pd *pd, const ti_range *ranges, size_t range_count, size_t limit,
                           ti_arena *a, ti_region_info **infos_out, size_t *count_out,
                           const ti_call *call, ti_err *err);
/* NOT_FOUND when PD does not know it. */
ti_status ti_pd_store(ti_pd *pd, uint64_t id, ti_arena *a, ti_tikv_store_info *info_out,
                      const ti_call *call, ti_err *err);
ti_status ti_pd_stores(ti_pd *pd, ti_arena *a, ti_tikv_store_info **infos_out, size_t *count_out,
                       const ti_call *call, ti_err *err);

/* The members, as the leader knows them. */
ti_status ti_pd_members(ti_pd *pd, ti_arena *a, ti_pd_member **members_out, size_t *count_out,
                        const ti_call *call, ti_err *err);

/* The GC safe point; the update answers what is in force afterwards. */
ti_status ti_pd_safe_point(ti_pd *pd, uint64_t *ts_out, const ti_call *call, ti_err *err);
ti_status ti_pd_update_safe_point(ti_pd *pd, uint64_t ts, uint64_t *ts_out, const ti_call *call,
                                  ti_err *err);
/* Registers (ttl_s > 0) or removes (ttl_s <= 0) a service's safe point; answers the lowest of all
 * services. */
ti_status ti_pd_service_safe_point(ti_pd *pd, ti_slice service, int64_t ttl_s, uint64_t ts,
                                   uint64_t *lowest_out, const ti_call *call, ti_err *err);
/* The lowest of all services, and whose it is. PD tells it to who updates one, so a service that
 * nobody has is removed. */
ti_status ti_pd_holder_of(ti_pd *pd, ti_arena *a, ti_pd_holder *holder_out, const ti_call *call,
                          ti_err *err);

#endif

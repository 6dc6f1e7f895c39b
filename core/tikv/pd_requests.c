/* What is asked of the placement driver: regions, stores, members, safe points. See pd.h. */
#include <string.h>

#include "base/assert.h"
#include "tikv/pd_int.h"
#include "tikv/region_key.h"

#define HEADER(pd)                                                                                 \
    {                                                                                              \
        .base = PROTOBUF_C_MESSAGE_INIT(&pdpb__request_header__descriptor),                        \
        .cluster_id = (pd)->cluster_id                                                             \
    }

/* One request and its unpacked answer. */
static ti_status ask(ti_pd *pd, const char *method, const ProtobufCMessage *request,
                     const ProtobufCMessageDescriptor *descriptor, ti_arena *a, void **answer_out,
                     const ti_call *call, ti_err *err)
{
    ti_slice response = TI_SLICE_NONE;
    *answer_out = NULL;
    TI_TRY(ti_pd_request(pd, method, request, a, &response, call, err));
    ti_err unpacked;
    *answer_out = ti_pb_unpack(descriptor, response, a, &unpacked);
    if (*answer_out != NULL)
        return TI_OK;
    if (err != NULL)
        *err = unpacked;
    return unpacked.status;
}

static ti_peer peer_of(const Metapb__Peer *p)
{
    return (ti_peer){.id = p->id,
                     .store_id = p->store_id,
                     .learner = p->role == METAPB__PEER_ROLE__Learner,
                     .witness = p->is_witness != 0};
}

static ti_status fill_region(const Metapb__Region *region, const Metapb__Peer *leader, ti_arena *a,
                             ti_region_info *info_out, ti_err *err)
{
    memset(info_out, 0, sizeof(*info_out));
    info_out->id = region->id;
    if (region->region_epoch != NULL) {
        info_out->conf_ver = region->region_epoch->conf_ver;
        info_out->version = region->region_epoch->version;
    }
    TI_TRY(ti_region_key_decode(a, ti_pb_slice(region->start_key), &info_out->start, err));
    TI_TRY(ti_region_key_decode(a, ti_pb_slice(region->end_key), &info_out->end, err));
    info_out->peers = ti_arena_alloc(a, (region->n_peers + 1) * sizeof(ti_peer));
    if (info_out->peers == NULL)
        return ti_err_no_memory(err);
    info_out->peer_count = region->n_peers;
    for (size_t i = 0; i < region->n_peers; i++)
        info_out->peers[i] = peer_of(region->peers[i]);
    if (leader != NULL)
        info_out->leader = peer_of(leader);
    return TI_OK;
}

ti_status ti_pd_region(ti_pd *pd, ti_slice key, bool before, ti_arena *a, ti_region_info *info_out,
                       const ti_call *call, ti_err *err)
{
    Pdpb__RequestHeader header = HEADER(pd);
    Pdpb__GetRegionRequest request = PDPB__GET_REGION_REQUEST__INIT;
    request.header = &header;
    ti_slice encoded = key.len == 0 && !before ? TI_SLICE("") : ti_region_key_encode(a, key);
    if (encoded.data == NULL)
        return ti_err_no_memory(err);
    request.region_key = ti_pb_bytes(encoded);
    void *answer = NULL;
    TI_TRY(ask(pd, before ? "/pdpb.PD/GetPrevRegion" : "/pdpb.PD/GetRegion", &request.base,
               &pdpb__get_region_response__descriptor, a, &answer, call, err));
    const Pdpb__GetRegionResponse *r = answer;
    if (r->region == NULL || r->region->n_peers == 0)
        return ti_err_set(err, TI_UNAVAILABLE, "PD knows no region for a key at the moment");
    return fill_region(r->region, r->leader, a, info_out, err);
}

/* Takes over the regions of an answer, whose leaders may come beside them (old) or inside (new). */
static ti_status fill_regions(const Pdpb__ScanRegionsResponse *r, ti_arena *a,
                              ti_region_info **infos_out, size_t *count_out, ti_err *err)
{
    size_t count = r->n_regions > 0 ? r->n_regions : r->n_region_metas;
    ti_region_info *infos = ti_arena_alloc(a, (count + 1) * sizeof(*infos));
    if (infos == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        const Metapb__Region *region =
            r->n_regions > 0 ? r->regions[i]->region : r->region_metas[i];
        const Metapb__Peer *leader = NULL;
        if (r->n_regions > 0)
            leader = r->regions[i]->leader;
        else if (i < r->n_leaders)
            leader = r->leaders[i];
        if (region == NULL)
            return ti_err_set(err, TI_CORRUPT, "PD tells of a region without saying which");
        TI_TRY(fill_region(region, leader, a, &infos[i], err));
    }
    *infos_out = infos;
    *count_out = count;
    return TI_OK;
}

/* Whether the regions cover [from, …) without gaps, as far as they go. */
static bool without_gaps(const ti_region_info *infos, size_t count, ti_slice from)
{
    if (count == 0 || ti_slice_compare(infos[0].start, from) > 0)
        return false;
    for (size_t i = 1; i < count; i++) {
        if (!ti_slice_equal(infos[i - 1].end, infos[i].start))
            return false;
    }
    return true;
}

ti_status ti_pd_regions(ti_pd *pd, ti_slice from, ti_slice to, size_t limit, ti_arena *a,
                        ti_region_info **infos_out, size_t *count_out, const ti_call *call,
                        ti_err *err)
{
    *infos_out = NULL;
    *count_out = 0;
    Pdpb__RequestHeader header = HEADER(pd);
    Pdpb__ScanRegionsRequest request = PDPB__SCAN_REGIONS_REQUEST__INIT;
    request.header = &header;
    request.limit = (int32_t)limit;
    ti_slice from_encoded = from.len == 0 ? TI_SLICE("") : ti_region_key_encode(a, from);
    ti_slice to_encoded = to.len == 0 ? TI_SLICE("") : ti_region_key_encode(a, to);
    if (from_encoded.data == NULL || to_encoded.data == NULL)
        return ti_err_no_memory(err);
    request.start_key = ti_pb_bytes(from_encoded);
    request.end_key = ti_pb_bytes(to_encoded);
    void *answer = NULL;
    TI_TRY(ask(pd, "/pdpb.PD/ScanRegions", &request.base, &pdpb__scan_regions_response__descriptor,
               a, &answer, call, err));
    TI_TRY(fill_regions(answer, a, infos_out, count_out, err));
    if (without_gaps(*infos_out, *count_out, from))
        return TI_OK;
    *count_out = 0;
    return ti_err_set(err, TI_UNAVAILABLE, "PD's answer leaves a gap between regions");
}

/* The request's list of ranges; NULL without memory. */
static Pdpb__KeyRange **encode_ranges(const ti_range *ranges, size_t count, ti_arena *a)
{
    Pdpb__KeyRange **list = ti_arena_alloc(a, count * sizeof(*list));
    Pdpb__KeyRange *each = ti_arena_alloc(a, count * sizeof(*each));
    for (size_t i = 0; list != NULL && each != NULL && i < count; i++) {
        ti_slice from = ti_region_key_encode(a, ranges[i].from);
        ti_slice to = ti_region_key_encode(a, ranges[i].to);
        if (from.data == NULL || to.data == NULL)
            return NULL;
        pdpb__key_range__init(&each[i]);
        each[i].start_key = ti_pb_bytes(from);
        each[i].end_key = ti_pb_bytes(to);
        list[i] = &each[i];
    }
    return each == NULL ? NULL : list;
}

ti_status ti_pd_regions_of(ti_pd *pd, const ti_range *ranges, size_t range_count, size_t limit,
                           ti_arena *a, ti_region_info **infos_out, size_t *count_out,
                           const ti_call *call, ti_err *err)
{
    *infos_out = NULL;
    *count_out = 0;
    if (atomic_load(&pd->no_batch_scan))
        return ti_err_set(err, TI_UNSUPPORTED, "this PD does not offer BatchScanRegions");
    Pdpb__RequestHeader header = HEADER(pd);
    Pdpb__BatchScanRegionsRequest request = PDPB__BATCH_SCAN_REGIONS_REQUEST__INIT;
    request.header = &header;
    request.limit = (int32_t)limit;
    request.n_ranges = range_count;
    request.ranges = encode_ranges(ranges, range_count, a);
    if (request.ranges == NULL)
        return ti_err_no_memory(err);
    void *answer = NULL;
    ti_status status = ask(pd, "/pdpb.PD/BatchScanRegions", &request.base,
                           &pdpb__batch_scan_regions_response__descriptor, a, &answer, call, err);
    if (status == TI_UNSUPPORTED)
        atomic_store(&pd->no_batch_scan, true);
    TI_TRY(status);
    const Pdpb__BatchScanRegionsResponse *r = answer;
    Pdpb__ScanRegionsResponse same = PDPB__SCAN_REGIONS_RESPONSE__INIT;
    same.n_regions = r->n_regions;
    same.regions = r->regions;
    return fill_regions(&same, a, infos_out, count_out, err);
}

/* Stores of TiKV have no such label. */
static bool is_columnar(const Metapb__Store *store)
{
    for (size_t i = 0; i < store->n_labels; i++) {
        if (strcmp(store->labels[i]->key, "engine") == 0 &&
            strncmp(store->labels[i]->value, "tiflash", strlen("tiflash")) == 0)
            return true;
    }
    return false;
}

static ti_status fill_store(const Metapb__Store *store, ti_arena *a, ti_tikv_store_info *info_out,
                            ti_err *err)
{
    ti_slice address = ti_arena_copy(a, ti_slice_of(store->address));
    ti_slice version = ti_arena_copy(a, ti_slice_of(store->version));
    if (address.data == NULL || version.data == NULL)
        return ti_err_no_memory(err);
    *info_out = (ti_tikv_store_info){.id = store->id,
                                     .address = (char *)(uintptr_t)address.data,
                                     .tombstone = store->state == METAPB__STORE_STATE__Tombstone,
                                     .offline = store->state == METAPB__STORE_STATE__Offline,
                                     .columnar = is_columnar(store),
                                     .version = version,
                                     .heard_us = store->last_heartbeat / 1000};
    return TI_OK;
}

ti_status ti_pd_store(ti_pd *pd, uint64_t id, ti_arena *a, ti_tikv_store_info *info_out,
                      const ti_call *call, ti_err *err)
{
    Pdpb__RequestHeader header = HEADER(pd);
    Pdpb__GetStoreRequest request = PDPB__GET_STORE_REQUEST__INIT;
    request.header = &header;
    request.store_id = id;
    void *answer = NULL;
    TI_TRY(ask(pd, "/pdpb.PD/GetStore", &request.base, &pdpb__get_store_response__descriptor, a,
               &answer, call, err));
    const Pdpb__GetStoreResponse *r = answer;
    if (r->store == NULL)
        return ti_err_set(err, TI_NOT_FOUND, "PD knows no store %llu", (unsigned long long)id);
    TI_TRY(fill_store(r->store, a, info_out, err));
    if (r->stats != NULL) {
        info_out->capacity = r->stats->capacity;
        info_out->available = r->stats->available;
    }
    return TI_OK;
}

ti_status ti_pd_stores(ti_pd *pd, ti_arena *a, ti_tikv_store_info **infos_out, size_t *count_out,
                       const ti_call *call, ti_err *err)
{
    Pdpb__RequestHeader header = HEADER(pd);
    Pdpb__GetAllStoresRequest request = PDPB__GET_ALL_STORES_REQUEST__INIT;
    request.header = &header;
    request.exclude_tombstone_stores = true;
    void *answer = NULL;
    *count_out = 0;
    TI_TRY(ask(pd, "/pdpb.PD/GetAllStores", &request.base,
               &pdpb__get_all_stores_response__descriptor, a, &answer, call, err));
    const Pdpb__GetAllStoresResponse *r = answer;
    *infos_out = ti_arena_alloc(a, (r->n_stores + 1) * sizeof(**infos_out));
    if (*infos_out == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < r->n_stores; i++)
        TI_TRY(fill_store(r->stores[i], a, &(*infos_out)[i], err));
    *count_out = r->n_stores;
    return TI_OK;
}

/* An unpacked message is in the arena: so is all that is taken over here. */
static ti_status fill_member(const Pdpb__Member *member, uint64_t leader_id, ti_arena *a,
                             ti_pd_member *out, ti_err *err)
{
    *out = (ti_pd_member){.id = member->member_id,
                          .name = ti_slice_of(member->name),
                          .url_count = member->n_client_urls,
                          .leader = leader_id != 0 && member->member_id == leader_id};
    out->urls = ti_arena_alloc(a, (member->n_client_urls + 1) * sizeof(*out->urls));
    if (out->urls == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < member->n_client_urls; i++)
        out->urls[i] = ti_slice_of(member->client_urls[i]);
    return TI_OK;
}

ti_status ti_pd_members(ti_pd *pd, ti_arena *a, ti_pd_member **members_out, size_t *count_out,
                        const ti_call *call, ti_err *err)
{
    *count_out = 0;
    Pdpb__RequestHeader header = HEADER(pd);
    Pdpb__GetMembersRequest request = PDPB__GET_MEMBERS_REQUEST__INIT;
    request.header = &header;
    void *answer = NULL;
    TI_TRY(ask(pd, "/pdpb.PD/GetMembers", &request.base, &pdpb__get_members_response__descriptor, a,
               &answer, call, err));
    const Pdpb__GetMembersResponse *r = answer;
    uint64_t leader_id = r->leader != NULL ? r->leader->member_id : 0;
    *members_out = ti_arena_alloc(a, (r->n_members + 1) * sizeof(**members_out));
    if (*members_out == NULL)
        return ti_err_no_memory(err);
    for (size_t i = 0; i < r->n_members; i++)
        TI_TRY(fill_member(r->members[i], leader_id, a, &(*members_out)[i], err));
    *count_out = r->n_members;
    return TI_OK;
}

ti_status ti_pd_safe_point(ti_pd *pd, uint64_t *ts_out, const ti_call *call, ti_err *err)
{
    ti_arena a;
    ti_arena_init(&a);
    Pdpb__RequestHeader header = HEADER(pd);
    Pdpb__GetGCSafePointRequest request = PDPB__GET_GCSAFE_POINT_REQUEST__INIT;
    request.header = &header;
    void *answer = NULL;
    ti_status status = ask(pd, "/pdpb.PD/GetGCSafePoint", &request.base,
                           &pdpb__get_gcsafe_point_response__descriptor, &a, &answer, call, err);
    if (status == TI_OK)
        *ts_out = ((Pdpb__GetGCSafePointResponse *)answer)->safe_point;
    ti_arena_free(&a);
    return status;
}

ti_status ti_pd_update_safe_point(ti_pd *pd, uint64_t ts, uint64_t *ts_out, const ti_call *call,
                                  ti_err *err)
{
    ti_arena a;
    ti_arena_init(&a);
    Pdpb__RequestHeader header = HEADER(pd);
    Pdpb__UpdateGCSafePointRequest request = PDPB__UPDATE_GCSAFE_POINT_REQUEST__INIT;
    request.header = &header;
    request.safe_point = ts;
    void *answer = NULL;
    ti_status status = ask(pd, "/pdpb.PD/UpdateGCSafePoint", &request.base,
                           &pdpb__update_gcsafe_point_response__descriptor, &a, &answer, call, err);
    if (status == TI_OK)
        *ts_out = ((Pdpb__UpdateGCSafePointResponse *)answer)->new_safe_point;
    ti_arena_free(&a);
    return status;
}

/* Updates a service's safe point; the answer is in the arena. */
static ti_status update_service(ti_pd *pd, ti_slice service, int64_t ttl_s, uint64_t ts,
                                ti_arena *a, Pdpb__UpdateServiceGCSafePointResponse **answer_out,
                                const ti_call *call, ti_err *err)
{
    Pdpb__RequestHeader header = HEADER(pd);
    Pdpb__UpdateServiceGCSafePointRequest request = PDPB__UPDATE_SERVICE_GCSAFE_POINT_REQUEST__INIT;
    request.header = &header;
    request.service_id = ti_pb_bytes(service);
    request.ttl = ttl_s;
    request.safe_point = ts;
    void *answer = NULL;
    ti_status status =
        ask(pd, "/pdpb.PD/UpdateServiceGCSafePoint", &request.base,
            &pdpb__update_service_gcsafe_point_response__descriptor, a, &answer, call, err);
    *answer_out = answer;
    return status;
}

ti_status ti_pd_service_safe_point(ti_pd *pd, ti_slice service, int64_t ttl_s, uint64_t ts,
                                   uint64_t *lowest_out, const ti_call *call, ti_err *err)
{
    ti_arena a;
    Pdpb__UpdateServiceGCSafePointResponse *answer = NULL;
    ti_arena_init(&a);
    ti_status status = update_service(pd, service, ttl_s, ts, &a, &answer, call, err);
    if (status == TI_OK)
        *lowest_out = answer->min_safe_point;
    ti_arena_free(&a);
    return status;
}

ti_status ti_pd_holder_of(ti_pd *pd, ti_arena *a, ti_pd_holder *holder_out, const ti_call *call,
                          ti_err *err)
{
    Pdpb__UpdateServiceGCSafePointResponse *answer = NULL;
    *holder_out = (ti_pd_holder){.service = TI_SLICE("")};
    TI_TRY(update_service(pd, TI_SLICE("tito-look"), 0, 0, a, &answer, call, err));
    holder_out->service = ti_pb_slice(answer->service_id);
    holder_out->ts = answer->min_safe_point;
    holder_out->ttl_s = answer->ttl;
    return TI_OK;
}

/* A cluster of words. See fake.h. */
#include "tikv/fake.h"

#include "base/assert.h"
#include "tikv/pb.h"
#include "tikv/region_key.h"

#define PHYSICAL_MS UINT64_C(1700000000000)

/* ---- Timestamps: physical time follows the simulated clock ---- */

static uint64_t next_ts(fake *f, uint32_t count)
{
    ti_mutex_lock(&f->mutex);
    f->logical += count;
    uint64_t now_ms = PHYSICAL_MS + (uint64_t)(sim_now_ms(f->sim) + atomic_load(&f->ahead_ms));
    uint64_t ts = (now_ms << 18) + f->logical % 200000;
    ti_mutex_unlock(&f->mutex);
    return ts;
}

uint64_t fake_now(fake *f)
{
    return next_ts(f, 1);
}

/* ---- PD ---- */

static int pd_index(const char *address)
{
    return address[0] == 'p' ? address[2] - '1' : -1;
}

static void put_members(fake *f, int index, ti_arena *a, sim_reply *reply)
{
    Pdpb__GetMembersResponse r = PDPB__GET_MEMBERS_RESPONSE__INIT;
    Pdpb__ResponseHeader header = PDPB__RESPONSE_HEADER__INIT;
    Pdpb__Member members[FAKE_PDS];
    Pdpb__Member *list[FAKE_PDS];
    char urls[FAKE_PDS][32];
    char *url_list[FAKE_PDS];
    header.cluster_id = f->cluster_id[index];
    r.header = &header;
    for (int i = 0; i < FAKE_PDS; i++) {
        pdpb__member__init(&members[i]);
        snprintf(urls[i], sizeof(urls[i]), "http://pd%d:1", i + 1);
        url_list[i] = urls[i];
        members[i].member_id = 1000 + (uint64_t)i;
        members[i].n_client_urls = 1;
        members[i].client_urls = &url_list[i];
        list[i] = &members[i];
    }
    r.n_members = FAKE_PDS;
    r.members = list;
    r.leader = f->leader >= 0 ? &members[f->leader] : NULL;
    *reply = (sim_reply){.bytes = ti_pb_pack(&r.base, a)};
}

static void fill_peers(const fake_region *from, Metapb__Peer *peers, Metapb__Peer **list)
{
    for (uint64_t s = 1; s <= FAKE_STORES; s++) {
        metapb__peer__init(&peers[s - 1]);
        peers[s - 1].id = from->id * 10 + s;
        peers[s - 1].store_id = s;
        list[s - 1] = &peers[s - 1];
    }
}

static ProtobufCBinaryData bound(const char *key, ti_arena *a)
{
    ti_slice s = key[0] == '\0' ? TI_SLICE("") : ti_region_key_encode(a, ti_slice_of(key));
    return ti_pb_bytes(s);
}

Metapb__Region *fake_region_message(const fake_region *from, ti_arena *a)
{
    Metapb__Region *m = ti_arena_alloc(a, sizeof(*m));
    Metapb__RegionEpoch *epoch = ti_arena_alloc(a, sizeof(*epoch));
    Metapb__Peer *peers = ti_arena_alloc(a, FAKE_STORES * sizeof(*peers));
    m[0] = (Metapb__Region)METAPB__REGION__INIT;
    epoch[0] = (Metapb__RegionEpoch)METAPB__REGION_EPOCH__INIT;
    m->peers = ti_arena_alloc(a, FAKE_STORES * sizeof(*m->peers));
    fill_peers(from, peers, m->peers);
    m->n_peers = FAKE_STORES;
    m->id = from->id;
    m->start_key = bound(from->start, a);
    m->end_key = bound(from->end, a);
    epoch->version = from->version;
    epoch->conf_ver = from->conf_ver;
    m->region_epoch = epoch;
    return m;
}

/* The index of the region that holds key ("" and before: the last). */
static size_t region_of(const fake *f, ti_slice key)
{
    size_t i = f->region_count - 1;
    while (i > 0 && ti_slice_compare(ti_slice_of(f->regions[i].start), key) > 0)
        i--;
    return i;
}

fake_region *fake_region_of(fake *f, ti_slice key)
{
    return &f->regions[region_of(f, key)];
}

static void put_region(fake *f, ti_slice request, bool previous, ti_arena *a, sim_reply *reply)
{
    ti_err err;
    ti_slice key;
    Pdpb__GetRegionRequest *r =
        ti_pb_unpack(&pdpb__get_region_request__descriptor, request, a, &err);
    ti_require(r != NULL);
    ti_require(ti_region_key_decode(a, ti_pb_slice(r->region_key), &key, &err) == TI_OK);
    size_t index = region_of(f, key);
    Pdpb__GetRegionResponse out = PDPB__GET_REGION_RESPONSE__INIT;
    Metapb__Peer leader = METAPB__PEER__INIT;
    f->lookups++;
    if (!previous || index > 0) {
        const fake_region *found = &f->regions[previous ? index - 1 : index];
        leader.id = found->id * 10 + found->leader;
        leader.store_id = found->leader;
        out.region = fake_region_message(found, a);
        out.leader = &leader;
    }
    *reply = (sim_reply){.bytes = ti_pb_pack(&out.base, a)};
}

static void put_regions(fake *f, ti_slice request, ti_arena *a, sim_reply *reply)
{
    ti_err err;
    ti_slice from;
    ti_slice to;
    Pdpb__ScanRegionsRequest *r =
        ti_pb_unpack(&pdpb__scan_regions_request__descriptor, request, a, &err);
    ti_require(r != NULL);
    ti_require(ti_region_key_decode(a, ti_pb_slice(r->start_key), &from, &err) == TI_OK);
    ti_require(ti_region_key_decode(a, ti_pb_slice(r->end_key), &to, &err) == TI_OK);
    Pdpb__ScanRegionsResponse out = PDPB__SCAN_REGIONS_RESPONSE__INIT;
    Pdpb__Region *list[FAKE_REGIONS_MAX];
    f->scans++;
    for (size_t i = region_of(f, from); i < f->region_count && out.n_regions < (size_t)r->limit;
         i++) {
        const fake_region *one = &f->regions[i];
        if (to.len > 0 && ti_slice_compare(ti_slice_of(one->start), to) >= 0)
            break;
        Pdpb__Region *m = ti_arena_alloc(a, sizeof(*m));
        m[0] = (Pdpb__Region)PDPB__REGION__INIT;
        m->region = fake_region_message(one, a);
        m->leader = m->region->peers[one->leader - 1];
        list[out.n_regions++] = m;
    }
    out.regions = list;
    *reply = (sim_reply){.bytes = ti_pb_pack(&out.base, a)};
}

/* The regions of all ranges, each once; the ranges must ascend and be apart, as PD demands. */
static void put_regions_of(fake *f, ti_slice request, ti_arena *a, sim_reply *reply)
{
    ti_err err;
    ti_slice from;
    ti_slice to = TI_SLICE("");
    Pdpb__BatchScanRegionsRequest *r =
        ti_pb_unpack(&pdpb__batch_scan_regions_request__descriptor, request, a, &err);
    ti_require(r != NULL);
    Pdpb__BatchScanRegionsResponse out = PDPB__BATCH_SCAN_REGIONS_RESPONSE__INIT;
    Pdpb__Region *list[FAKE_REGIONS_MAX];
    size_t next = 0;
    f->batch_scan_ranges += (int)r->n_ranges;
    for (size_t k = 0; k < r->n_ranges; k++) {
        ti_slice before = to;
        ti_require(ti_region_key_decode(a, ti_pb_slice(r->ranges[k]->start_key), &from, &err) ==
                   TI_OK);
        ti_require(ti_region_key_decode(a, ti_pb_slice(r->ranges[k]->end_key), &to, &err) == TI_OK);
        ti_require(ti_slice_compare(before, from) <= 0 && ti_slice_compare(from, to) < 0);
        for (size_t i = region_of(f, from); i < f->region_count; i++) {
            const fake_region *one = &f->regions[i];
            if (ti_slice_compare(ti_slice_of(one->start), to) >= 0 ||
                out.n_regions == (size_t)r->limit)
                break;
            if (i < next)
                continue;
            Pdpb__Region *m = ti_arena_alloc(a, sizeof(*m));
            m[0] = (Pdpb__Region)PDPB__REGION__INIT;
            m->region = fake_region_message(one, a);
            m->leader = m->region->peers[one->leader - 1];
            list[out.n_regions++] = m;
            next = i + 1;
        }
    }
    out.regions = list;
    *reply = (sim_reply){.bytes = ti_pb_pack(&out.base, a)};
}

static void put_store(fake *f, ti_slice request, ti_arena *a, sim_reply *reply)
{
    ti_err err;
    Pdpb__GetStoreRequest *r = ti_pb_unpack(&pdpb__get_store_request__descriptor, request, a, &err);
    ti_require(r != NULL);
    Pdpb__GetStoreResponse out = PDPB__GET_STORE_RESPONSE__INIT;
    Metapb__Store store = METAPB__STORE__INIT;
    ti_require(r->store_id >= 1 && r->store_id <= FAKE_STORES);
    store.id = r->store_id;
    store.address = f->store_address[r->store_id - 1];
    out.store = &store;
    *reply = (sim_reply){.bytes = ti_pb_pack(&out.base, a)};
}

static void put_stores(fake *f, ti_arena *a, sim_reply *reply)
{
    Pdpb__GetAllStoresResponse out = PDPB__GET_ALL_STORES_RESPONSE__INIT;
    Metapb__Store stores[FAKE_STORES];
    Metapb__Store *list[FAKE_STORES];
    for (uint64_t i = 0; i < FAKE_STORES; i++) {
        metapb__store__init(&stores[i]);
        stores[i].id = i + 1;
        stores[i].address = f->store_address[i];
        list[i] = &stores[i];
    }
    out.stores = list;
    out.n_stores = FAKE_STORES;
    *reply = (sim_reply){.bytes = ti_pb_pack(&out.base, a)};
}

static void put_safe_point(fake *f, ti_arena *a, sim_reply *reply)
{
    Pdpb__GetGCSafePointResponse out = PDPB__GET_GCSAFE_POINT_RESPONSE__INIT;
    out.safe_point = f->safe_point;
    *reply = (sim_reply){.bytes = ti_pb_pack(&out.base, a)};
}

static void update_safe_point(fake *f, ti_slice request, ti_arena *a, sim_reply *reply)
{
    ti_err err;
    Pdpb__UpdateGCSafePointResponse out = PDPB__UPDATE_GCSAFE_POINT_RESPONSE__INIT;
    Pdpb__UpdateGCSafePointRequest *r =
        ti_pb_unpack(&pdpb__update_gcsafe_point_request__descriptor, request, a, &err);
    ti_require(r != NULL);
    if (r->safe_point > f->safe_point)
        f->safe_point = r->safe_point;
    out.new_safe_point = f->safe_point;
    *reply = (sim_reply){.bytes = ti_pb_pack(&out.base, a)};
}

static void put_service(fake *f, ti_slice request, ti_arena *a, sim_reply *reply)
{
    ti_err err;
    Pdpb__UpdateServiceGCSafePointResponse out = PDPB__UPDATE_SERVICE_GCSAFE_POINT_RESPONSE__INIT;
    Pdpb__UpdateServiceGCSafePointRequest *r =
        ti_pb_unpack(&pdpb__update_service_gcsafe_point_request__descriptor, request, a, &err);
    ti_require(r != NULL);
    out.min_safe_point = r->safe_point;
    if (f->service_safe_point != 0 && f->service_safe_point < r->safe_point)
        out.min_safe_point = f->service_safe_point;
    *reply = (sim_reply){.bytes = ti_pb_pack(&out.base, a)};
}

static const char *const pd_methods[FAKE_PD_KINDS] = {
    [FAKE_PD_GET_MEMBERS] = "/pdpb.PD/GetMembers",
    [FAKE_PD_TSO] = "/pdpb.PD/Tso",
    [FAKE_PD_GET_REGION] = "/pdpb.PD/GetRegion",
    [FAKE_PD_GET_PREV_REGION] = "/pdpb.PD/GetPrevRegion",
    [FAKE_PD_SCAN_REGIONS] = "/pdpb.PD/ScanRegions",
    [FAKE_PD_GET_STORE] = "/pdpb.PD/GetStore",
    [FAKE_PD_GET_ALL_STORES] = "/pdpb.PD/GetAllStores",
    [FAKE_PD_GET_SAFE_POINT] = "/pdpb.PD/GetGCSafePoint",
    [FAKE_PD_UPDATE_SAFE_POINT] = "/pdpb.PD/UpdateGCSafePoint",
    [FAKE_PD_SERVICE_SAFE_POINT] = "/pdpb.PD/UpdateServiceGCSafePoint",
};

static fake_pd_kind pd_kind_of(const char *method)
{
    fake_pd_kind kind = 0;
    while (kind < FAKE_PD_KINDS && strcmp(pd_methods[kind], method) != 0)
        kind++;
    return kind;
}

/* What a PD that leads (or is asked for the members) says. */
static void pd_says(fake *f, int index, fake_pd_kind kind, ti_slice request, ti_arena *a,
                    sim_reply *reply)
{
    switch (kind) {
    case FAKE_PD_GET_MEMBERS:
        f->members_asked++;
        put_members(f, index, a, reply);
        return;
    case FAKE_PD_GET_REGION:
        put_region(f, request, false, a, reply);
        return;
    case FAKE_PD_GET_PREV_REGION:
        put_region(f, request, true, a, reply);
        return;
    case FAKE_PD_SCAN_REGIONS:
        put_regions(f, request, a, reply);
        return;
    case FAKE_PD_GET_STORE:
        put_store(f, request, a, reply);
        return;
    case FAKE_PD_GET_ALL_STORES:
        put_stores(f, a, reply);
        return;
    case FAKE_PD_GET_SAFE_POINT:
        put_safe_point(f, a, reply);
        return;
    case FAKE_PD_UPDATE_SAFE_POINT:
        update_safe_point(f, request, a, reply);
        return;
    case FAKE_PD_SERVICE_SAFE_POINT:
        put_service(f, request, a, reply);
        return;
    default:
        *reply = (sim_reply){.status = TI_UNSUPPORTED};
    }
}

/* Lets the test change an answer of PD's. */
static fake_pd_ask pd_pass(fake *f, fake_pd_kind kind, int index, ti_slice answer, ti_arena *a)
{
    fake_pd_ask ask = {.cluster = f, .kind = kind, .index = index, .a = a, .answer = answer};
    ask.number = atomic_fetch_add(&f->pd_asked[kind], 1) + 1;
    if (f->pd_answer != NULL)
        f->pd_answer(&ask);
    return ask;
}

static void pd_unary(fake *f, int index, const char *method, ti_slice request, ti_arena *a,
                     sim_reply *reply)
{
    fake_pd_kind kind = pd_kind_of(method);
    *reply = (sim_reply){.status = TI_UNAVAILABLE, .silent = f->frozen[index]};
    if (f->dead[index] || f->frozen[index])
        return;
    if (kind != FAKE_PD_GET_MEMBERS && index != f->leader) {
        *reply = (sim_reply){.status = TI_UNAVAILABLE};
        return;
    }
    if (strcmp(method, "/pdpb.PD/BatchScanRegions") == 0) {
        f->batch_scans++;
        *reply = (sim_reply){.status = TI_UNSUPPORTED};
        if (f->offers_batch_scans)
            put_regions_of(f, request, a, reply);
        return;
    }
    pd_says(f, index, kind, request, a, reply);
    if (kind == FAKE_PD_KINDS)
        return;
    fake_pd_ask ask = pd_pass(f, kind, index, reply->bytes, a);
    *reply = (sim_reply){
        .status = ask.failure, .bytes = ask.answer, .delay_ms = ask.delay_ms, .silent = ask.silent};
}

static void answer_tso(fake *f, ti_stream *stream, ti_slice message)
{
    ti_arena a;
    ti_err err;
    int index = pd_index(sim_stream_address(stream));
    if (f->frozen[index])
        return;
    if (f->dead[index] || index != f->leader) {
        sim_end(stream, TI_UNAVAILABLE, 0);
        return;
    }
    ti_arena_init(&a);
    Pdpb__TsoRequest *r = ti_pb_unpack(&pdpb__tso_request__descriptor, message, &a, &err);
    ti_require(r != NULL);
    uint64_t ts = next_ts(f, r->count);
    Pdpb__TsoResponse out = PDPB__TSO_RESPONSE__INIT;
    Pdpb__Timestamp stamp = PDPB__TIMESTAMP__INIT;
    stamp.physical = (int64_t)(ts >> 18);
    stamp.logical = (int64_t)(ts & 0x3FFFF);
    out.count = r->count;
    out.timestamp = &stamp;
    fake_pd_ask ask = pd_pass(f, FAKE_PD_TSO, index, ti_pb_pack(&out.base, &a), &a);
    if (ask.failure != TI_OK)
        sim_end(stream, ask.failure, ask.delay_ms);
    else if (!ask.silent)
        sim_answer(stream, ask.answer, ask.delay_ms);
    ti_arena_free(&a);
}

/* ---- Stores ---- */

void fake_say(fake_ask *ask, const ProtobufCMessage *message)
{
    ask->answer = ti_pb_pack(message, ask->a);
}

void fake_region_error(fake_ask *ask, const Errorpb__Error *error)
{
    ti_buf b;
    ti_err err;
    ti_slice packed = ti_pb_pack(&error->base, ask->a);
    ti_buf_init(&b, packed.len + 32);
    test_ok(ti_buf_reserve(&b, packed.len + 16, &err), &err);
    ti_pb_put_tag(&b, 1, 2);
    ti_pb_put_varint(&b, packed.len);
    test_ok(ti_buf_append_slice(&b, packed, &err), &err);
    ask->answer = ti_arena_copy(ask->a, ti_buf_slice(&b));
    ti_buf_free(&b);
}

static uint64_t store_of(const fake *f, const char *address)
{
    for (uint64_t s = 1; s <= FAKE_STORES; s++) {
        if (strcmp(f->store_address[s - 1], address) == 0)
            return s;
    }
    return 0;
}

static void ask_store(fake *f, const char *address, ti_command_id kind, ti_slice request,
                      ti_arena *a, fake_ask *ask)
{
    *ask =
        (fake_ask){.cluster = f, .kind = kind, .request = request, .a = a, .answer = TI_SLICE("")};
    ask->store = store_of(f, address);
    if (ask->store == 0) {
        ask->cut = true;
        return;
    }
    ask->number = atomic_fetch_add(&f->asked[kind], 1) + 1;
    if (f->answer != NULL)
        f->answer(ask);
}

/* { 1: { number: answer }, 2: id } */
static void send_answer(ti_stream *stream, const fake_ask *ask, uint32_t number, uint64_t id)
{
    ti_buf b;
    ti_err err;
    size_t len = ask->answer.len;
    ti_buf_init(&b, len + 100);
    test_ok(ti_buf_reserve(&b, len + 90, &err), &err);
    ti_pb_put_tag(&b, 1, 2);
    ti_pb_put_varint(&b, ti_pb_varint_size((uint64_t)number << 3) + ti_pb_varint_size(len) + len);
    ti_pb_put_tag(&b, number, 2);
    ti_pb_put_varint(&b, len);
    test_ok(ti_buf_append_slice(&b, ask->answer, &err), &err);
    ti_pb_put_tag(&b, 2, 0);
    ti_pb_put_varint(&b, id);
    sim_answer(stream, ti_buf_slice(&b), ask->delay_ms);
    if (ask->twice)
        sim_answer(stream, ti_buf_slice(&b), ask->delay_ms);
    ti_buf_free(&b);
}

static void answer_one(fake *f, ti_stream *stream, uint32_t number, ti_slice body, uint64_t id)
{
    ti_arena a;
    fake_ask ask;
    ti_command_id kind = 0;
    while (ti_command_kind_of(kind)->number != number)
        kind++;
    ti_arena_init(&a);
    ask_store(f, sim_stream_address(stream), kind, body, &a, &ask);
    if (ask.refused)
        sim_refuse(stream, ask.delay_ms);
    else if (ask.cut)
        sim_end(stream, ask.failure != TI_OK ? ask.failure : TI_UNAVAILABLE, ask.delay_ms);
    else if (!ask.silent)
        send_answer(stream, &ask, ask.as_number != 0 ? ask.as_number : number,
                    ask.stranger ? id + 1000000 : id);
    ti_arena_free(&a);
}

static void on_message(void *context, sim *s, ti_stream *stream, ti_slice message)
{
    fake *f = context;
    ti_pb_field field;
    ti_slice ids = TI_SLICE_NONE;
    ti_slice rest = message;
    (void)s;
    ti_mutex_lock(&f->gate);
    if (strstr(sim_stream_method(stream), "Tso") != NULL) {
        answer_tso(f, stream, message);
        ti_mutex_unlock(&f->gate);
        return;
    }
    while (ti_pb_next(&rest, &field, NULL) == TI_OK) {
        if (field.number == 2)
            ids = field.bytes;
    }
    while (ti_pb_next(&message, &field, NULL) == TI_OK) {
        uint64_t id = 0;
        ti_pb_field command;
        if (field.number != 1)
            continue;
        ti_require(ti_pb_varint(&ids, &id, NULL) == TI_OK);
        ti_require(ti_pb_next(&field.bytes, &command, NULL) == TI_OK);
        answer_one(f, stream, command.number, command.bytes, id);
    }
    ti_mutex_unlock(&f->gate);
}

static void on_unary(void *context, sim *s, const char *address, const char *method,
                     ti_slice request, sim_reply *reply)
{
    fake *f = context;
    (void)s;
    ti_arena *a = ti_alloc(sizeof(*a));
    ti_require(a != NULL);
    ti_arena_init(a);
    int pd = pd_index(address);
    ti_mutex_lock(&f->gate);
    if (pd >= 0) {
        pd_unary(f, pd, method, request, a, reply);
    } else {
        fake_ask ask;
        ti_command_id kind = 0;
        while (strcmp(ti_command_kind_of(kind)->method, method) != 0)
            kind++;
        ask_store(f, address, kind, request, a, &ask);
        ti_status failure = ask.failure != TI_OK ? ask.failure : TI_UNAVAILABLE;
        *reply = (sim_reply){.status = ask.cut || ask.refused ? failure : TI_OK,
                             .bytes = ask.answer,
                             .delay_ms = ask.delay_ms,
                             .silent = ask.silent || ask.stranger};
    }
    ti_mutex_unlock(&f->gate);
    reply->arena = a;
}

/* ---- The whole ---- */

void fake_begin(fake *f, const char *const *cuts)
{
    ti_err err;
    memset(f, 0, sizeof(*f));
    f->sim = sim_create();
    f->sim->context = f;
    f->sim->on_unary = on_unary;
    f->sim->on_message = on_message;
    test_ok(ti_mutex_init(&f->mutex, TI_RANK_LEAF, &err), &err);
    test_ok(ti_mutex_init(&f->gate, (ti_rank)(TI_RANK_CONN + 1), &err), &err);
    for (int i = 0; i < FAKE_PDS; i++)
        f->cluster_id[i] = 7;
    for (int i = 0; i < FAKE_STORES; i++)
        snprintf(f->store_address[i], sizeof(f->store_address[i]), "s%d:1", i + 1);
    const char *start = "";
    for (size_t i = 0; i == 0 || start[0] != '\0'; i++) {
        const char *end = cuts != NULL && cuts[i] != NULL ? cuts[i] : "";
        f->regions[f->region_count++] = (fake_region){
            .id = i + 1, .version = 5, .conf_ver = 5, .start = start, .end = end, .leader = 1};
        start = end;
    }
}

void fake_end(fake *f)
{
    sim_free(f->sim);
    ti_mutex_destroy(&f->gate);
    ti_mutex_destroy(&f->mutex);
}

ti_status fake_try_open(fake *f, size_t pds, int64_t timeout_us, ti_engine **engine_out,
                        ti_err *err)
{
    ti_slice endpoints[] = {TI_SLICE("pd1:1"), TI_SLICE("pd2:1"), TI_SLICE("pd3:1")};
    ti_tikv_options options = {
        .endpoints = endpoints, .endpoint_count = pds, .wire = &f->sim->base};
    ti_call call = ti_call_within(&f->sim->env.env, timeout_us);
    return ti_tikv_open(&f->sim->env.env, &options, &call, engine_out, err);
}

ti_engine *fake_open(fake *f)
{
    ti_engine *e = NULL;
    ti_err err;
    ti_err_clear(&err);
    test_ok(fake_try_open(f, FAKE_PDS, 60000000, &e, &err), &err);
    return e;
}

/* Region errors. See region_error.h. Source of kinds, order and actions: client-go's onRegionError,
 * as told in the protocol reference, 1.1. Where that goes on at once after it has found the region
 * anew (KeyNotInRegion, StoreNotMatch, MismatchPeerId, BucketVersionNotMatch) or asks a replica
 * (DataIsNotReady, which a leader does not answer), tito waits 2 ms first: it has no count of
 * attempts per replica that would end a quarrel between stores. */
#include "tikv/region_error.h"

#include <string.h>

#include "base/assert.h"
#include "errorpb.pb-c.h"
#include "tikv/pb.h"
#include "tikv/region_key.h"
#include "tikv/said.h"

typedef Errorpb__Error error_t_;

/* What happens to the cached region. */
typedef enum cache_effect {
    KEEP,
    INVALIDATE,
    ROTATE,      /* ask another peer next */
    NEW_LEADER,  /* as NotLeader says */
    NEW_REGIONS, /* as EpochNotMatch says */
    BUSY,        /* ask another peer after two answers in a row */
    WRONG_STORE, /* invalidate, and doubt the store's address */
} cache_effect;

typedef struct row {
    const char *name;
    size_t offset; /* of the kind's pointer in Errorpb__Error */
    cache_effect effect;
    ti_verdict verdict;
    bool sleep;
    ti_backoff_kind backoff;
} row;

#define AT(field) offsetof(error_t_, field)

/* In the order in which they are looked for: several may be set together. */
static const row rows[] = {
    {"UndeterminedResult", AT(undetermined_result), KEEP, TI_VERDICT_FATAL, false, TI_BACKOFF_RPC},
    {"NotLeader", AT(not_leader), NEW_LEADER, TI_VERDICT_AGAIN, false,
     TI_BACKOFF_REGION_SCHEDULING},
    {"DiskFull", AT(disk_full), KEEP, TI_VERDICT_AGAIN, true, TI_BACKOFF_DISK_FULL},
    {"RecoveryInProgress", AT(recovery_in_progress), INVALIDATE, TI_VERDICT_AGAIN, true,
     TI_BACKOFF_RECOVERY},
    {"IsWitness", AT(is_witness), INVALIDATE, TI_VERDICT_AGAIN, true, TI_BACKOFF_WITNESS},
    {"FlashbackInProgress", AT(flashback_in_progress), KEEP, TI_VERDICT_FATAL, false,
     TI_BACKOFF_RPC},
    {"FlashbackNotPrepared", AT(flashback_not_prepared), KEEP, TI_VERDICT_FATAL, false,
     TI_BACKOFF_RPC},
    {"RegionNotFound", AT(region_not_found), INVALIDATE, TI_VERDICT_AGAIN, true,
     TI_BACKOFF_REGION_MISS},
    {"KeyNotInRegion", AT(key_not_in_region), INVALIDATE, TI_VERDICT_AGAIN, true,
     TI_BACKOFF_REGION_MISS},
    {"EpochNotMatch", AT(epoch_not_match), NEW_REGIONS, TI_VERDICT_AGAIN, false,
     TI_BACKOFF_REGION_MISS},
    {"BucketVersionNotMatch", AT(bucket_version_not_match), KEEP, TI_VERDICT_AGAIN, true,
     TI_BACKOFF_REGION_MISS},
    {"ServerIsBusy", AT(server_is_busy), BUSY, TI_VERDICT_AGAIN, true, TI_BACKOFF_SERVER_BUSY},
    {"StaleCommand", AT(stale_command), ROTATE, TI_VERDICT_AGAIN, true, TI_BACKOFF_STALE_COMMAND},
    {"StoreNotMatch", AT(store_not_match), WRONG_STORE, TI_VERDICT_AGAIN, true,
     TI_BACKOFF_REGION_MISS},
    {"RaftEntryTooLarge", AT(raft_entry_too_large), KEEP, TI_VERDICT_FATAL, false, TI_BACKOFF_RPC},
    {"MaxTimestampNotSynced", AT(max_timestamp_not_synced), KEEP, TI_VERDICT_AGAIN, true,
     TI_BACKOFF_MAX_TS},
    {"ReadIndexNotReady", AT(read_index_not_ready), KEEP, TI_VERDICT_AGAIN, true,
     TI_BACKOFF_REGION_SCHEDULING},
    {"ProposalInMergingMode", AT(proposal_in_merging_mode), KEEP, TI_VERDICT_AGAIN, true,
     TI_BACKOFF_REGION_SCHEDULING},
    {"DataIsNotReady", AT(data_is_not_ready), KEEP, TI_VERDICT_AGAIN, true,
     TI_BACKOFF_REGION_SCHEDULING},
    {"RegionNotInitialized", AT(region_not_initialized), KEEP, TI_VERDICT_AGAIN, true,
     TI_BACKOFF_NOT_INITIALIZED},
    {"MismatchPeerId", AT(mismatch_peer_id), INVALIDATE, TI_VERDICT_AGAIN, true,
     TI_BACKOFF_REGION_MISS},
};
#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

/* Errors that a store tells in words only. */
static const struct {
    const char *text;
    row row;
} texts[] = {
    {"Deadline is exceeded", /* it was too slow to begin: like a busy one */
     {"DeadlineExceeded", 0, KEEP, TI_VERDICT_AGAIN, true, TI_BACKOFF_SERVER_BUSY}},
    {"invalid max_ts update",
     {"InvalidMaxTsUpdate", 0, KEEP, TI_VERDICT_FATAL, false, TI_BACKOFF_RPC}},
};

/* Any kind that a newer store may add: look for the region anew. */
static const row unknown_row = {"an unknown region error", 0,    INVALIDATE,
                                TI_VERDICT_AGAIN,          true, TI_BACKOFF_REGION_MISS};

static const row *row_of(const error_t_ *e)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const void *kind;
        memcpy(&kind, (const char *)e + rows[i].offset, sizeof(kind));
        if (kind != NULL)
            return &rows[i];
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strstr(e->message, texts[i].text) != NULL)
            return &texts[i].row;
    }
    return &unknown_row;
}

/* NotLeader: the named peer at once; else the next peer after a sleep. */
static void apply_new_leader(const Errorpb__NotLeader *e, ti_regions *regions, ti_region *region,
                             ti_region_action *action)
{
    if (e->leader != NULL && e->leader->id != 0) {
        ti_peer leader = {.id = e->leader->id, .store_id = e->leader->store_id};
        bool known = ti_regions_set_leader(regions, region, leader);
        uint32_t hops = atomic_fetch_add(&region->hops, 1);
        action->sleep = !known || hops >= region->peer_count; /* peers that name each other */
        return;
    }
    ti_region_rotate(region);
    action->sleep = true;
}

static bool decode_region(const Metapb__Region *from, ti_arena *a, ti_region_info *info)
{
    memset(info, 0, sizeof(*info));
    info->id = from->id;
    info->conf_ver = from->region_epoch != NULL ? from->region_epoch->conf_ver : 0;
    info->version = from->region_epoch != NULL ? from->region_epoch->version : 0;
    info->peers = ti_arena_alloc(a, (from->n_peers + 1) * sizeof(ti_peer));
    if (info->peers == NULL ||
        ti_region_key_decode(a, ti_pb_slice(from->start_key), &info->start, NULL) != TI_OK ||
        ti_region_key_decode(a, ti_pb_slice(from->end_key), &info->end, NULL) != TI_OK)
        return false;
    info->peer_count = from->n_peers;
    for (size_t i = 0; i < from->n_peers; i++)
        info->peers[i] = (ti_peer){.id = from->peers[i]->id,
                                   .store_id = from->peers[i]->store_id,
                                   .learner = from->peers[i]->role == METAPB__PEER_ROLE__Learner,
                                   .witness = from->peers[i]->is_witness != 0};
    return true;
}

/* EpochNotMatch: the store tells what became of the region. One that is not newer than the cached
 * means that the store lags, or knows no better: sleep. */
static void apply_new_regions(const Errorpb__EpochNotMatch *e, ti_arena *a, ti_regions *regions,
                              ti_region *region, ti_region_action *action)
{
    uint64_t asked = ti_region_peer(region).store_id;
    bool newer = false;
    action->sleep = e->n_current_regions == 0;
    for (size_t i = 0; i < e->n_current_regions; i++) {
        ti_region_info info;
        if (!decode_region(e->current_regions[i], a, &info))
            continue;
        bool own = info.id == region->id;
        bool lags = own && (info.version < region->version || info.conf_ver < region->conf_ver);
        bool same = own && info.version == region->version && info.conf_ver == region->conf_ver;
        action->sleep |= lags || same;
        newer |= !lags;
        if (!lags)
            ti_regions_insert(regions, &info, asked);
    }
    if (newer || e->n_current_regions == 0)
        ti_regions_invalidate(regions, region);
}

static void apply_busy(const Errorpb__ServerIsBusy *e, ti_region *region, ti_region_action *action)
{
    if (e->estimated_wait_ms > 0)
        action->sleep_max_ms = (int64_t)e->estimated_wait_ms;
    else if (e->backoff_ms > 0)
        action->sleep_max_ms = (int64_t)e->backoff_ms;
    if (atomic_fetch_add(&region->busy, 1) < 1)
        return;
    atomic_store(&region->busy, 0);
    ti_region_rotate(
        region); /* a leader that was deposed may answer so for ever (client-go#2028) */
}

static void apply_effect(const row *r, const error_t_ *e, ti_arena *a, ti_regions *regions,
                         ti_region *region, ti_region_action *action)
{
    switch (r->effect) {
    case KEEP:
        return;
    case INVALIDATE:
        ti_regions_invalidate(regions, region);
        return;
    case ROTATE:
        ti_region_rotate(region);
        return;
    case NEW_LEADER:
        apply_new_leader(e->not_leader, regions, region, action);
        return;
    case NEW_REGIONS:
        apply_new_regions(e->epoch_not_match, a, regions, region, action);
        return;
    case BUSY:
        apply_busy(e->server_is_busy, region, action);
        return;
    case WRONG_STORE:
        ti_regions_invalidate(regions, region);
        action->doubt_store = true;
        return;
    }
}

/* What the kinds mean that somebody has to do something about; "" for the others, which pass. */
static const char *advice_of(const error_t_ *e)
{
    if (e->disk_full != NULL)
        return "the disk of its store is full, free space there or add a store; ";
    if (e->server_is_busy != NULL)
        return "its store has more to do than it can, send less or add stores; ";
    if (e->not_leader != NULL && e->not_leader->leader == NULL)
        return "it has no leader, most of its stores may be down; ";
    if (e->recovery_in_progress != NULL || e->flashback_in_progress != NULL)
        return "the cluster is being recovered, try again later; ";
    return "";
}

/* The status of a region error that ends the operation, and its words. */
static void explain(const row *r, const error_t_ *e, const ti_region *region, ti_err *why)
{
    ti_status status = TI_UNAVAILABLE;
    if (e->raft_entry_too_large != NULL)
        status = TI_LIMIT_EXCEEDED;
    else if (e->disk_full != NULL)
        status = TI_UNAVAILABLE;
    ti_err_set(why, status, "region %llu: %s%s%s%s", (unsigned long long)region->id, advice_of(e),
               r->name, e->message[0] != '\0' ? ": " : "", ti_said_by(e->message).text);
}

ti_region_action ti_region_error_apply(ti_slice response, ti_regions *regions, ti_region *region,
                                       ti_err *why)
{
    ti_region_action action = {.verdict = TI_VERDICT_ANSWERED, .sleep_max_ms = -1};
    ti_pb_field field;
    ti_slice rest = response;
    ti_err_clear(why);
    if (ti_pb_next(&rest, &field, NULL) != TI_OK || field.number != 1 || field.wire_type != 2)
        return action;
    ti_arena a;
    ti_arena_init(&a);
    error_t_ *e = ti_pb_unpack(&errorpb__error__descriptor, field.bytes, &a, why);
    if (e == NULL) { /* what can not be read does not say that nothing was done */
        action.verdict = TI_VERDICT_FATAL;
        action.undetermined = true;
    } else {
        const row *r = row_of(e);
        explain(r, e, region, why);
        action.verdict = r->verdict;
        action.sleep = r->sleep;
        action.backoff = r->backoff;
        action.undetermined = e->undetermined_result != NULL;
        apply_effect(r, e, &a, regions, region, &action);
    }
    ti_arena_free(&a);
    return action;
}

ti_region_action ti_region_silence_apply(ti_regions *regions, ti_region *region, const ti_err *why)
{
    ti_region_action action = {.verdict = TI_VERDICT_AGAIN, .sleep_max_ms = -1};
    switch (why->status) {
    case TI_UNAVAILABLE:
    case TI_TIMEOUT:
        if (!ti_region_rotate(region))
            ti_regions_invalidate(regions, region);
        action.sleep = true;
        action.backoff = TI_BACKOFF_RPC;
        action.doubt_store = true;
        return action;
    default: /* closed, cancelled, no memory, corrupt, refused */
        action.verdict = TI_VERDICT_FATAL;
        return action;
    }
}

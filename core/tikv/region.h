/* The region cache: which region holds a key, and which of its peers leads.
 *
 * Regions are kept in order of their start keys and do not overlap. A ti_region is immutable but
 * for its leader; readers hold references, so an entry may leave the cache while it is used.
 *
 * INVARIANTS
 *  1. No two cached regions overlap: inserting one evicts what it overlaps, unless a cached one of
 *     the same keys is newer (then the incoming one is dropped).
 *  2. Concurrent misses are bounded: one lookup at PD per key, and TI_REGION_LOADS_MAX in all; the
 *     others wait for their results.
 *  3. An entry that was not used for its time to live (10 minutes and up to one more) is loaded
 *     again.
 *
 * Thread rule: any thread. */
#ifndef TI_TIKV_REGION_H
#define TI_TIKV_REGION_H

#include <stdatomic.h>

#include "tikv/pd.h"

#define TI_REGION_LOADS_MAX 8
#define TI_REGION_TTL_MS 600000
#define TI_REGION_TTL_SPREAD_MS 60000
#define TI_REGION_LOAD_BATCH 128
#define TI_REGION_PEERS_MAX 32

typedef struct ti_region {
    _Atomic(uint32_t) refs;
    uint64_t id;
    uint64_t conf_ver;
    uint64_t version;
    ti_slice start;
    ti_slice end;
    size_t peer_count;      /* at least 1 */
    _Atomic(size_t) leader; /* index into peers: who is asked next */
    _Atomic(uint32_t) busy; /* answers "busy" in a row */
    _Atomic(uint32_t) hops; /* leaders named in a row */
    _Atomic(int64_t) expires_ms;
    _Atomic(bool) valid; /* false: locate anew */
    ti_peer peers[];
} ti_region;

ti_region *ti_region_ref(ti_region *r);
void ti_region_unref(ti_region *r); /* NULL is allowed */
bool ti_region_holds(const ti_region *r, ti_slice key, bool before);
ti_peer ti_region_peer(const ti_region *r); /* whom to ask */
/* Asks the next peer from now on; false when all have had their turn (then it is invalid). */
bool ti_region_rotate(ti_region *r);

/* It answered: counts in a row begin anew. */
static inline void ti_region_answered(ti_region *r)
{
    atomic_store(&r->busy, 0);
    atomic_store(&r->hops, 0);
}

typedef struct ti_regions ti_regions;

ti_status ti_regions_create(ti_wire *w, ti_pd *pd, ti_regions **regions_out, ti_err *err);
void ti_regions_free(ti_regions *c);
/* The region of key, from the cache or from PD; with before = true the one that holds the keys just
 * below it ("" = the last region). A reference of the caller's. */
ti_status ti_regions_locate(ti_regions *c, ti_slice key, bool before, ti_backoff *backoff,
                            ti_region **region_out, ti_err *err);
/* Whether key's region is cached. */
bool ti_regions_knows(ti_regions *c, ti_slice key);
/* Loads the regions of ranges (ascending, apart, bounded), up to one batch of them, by one request
 * to PD: all that lies between, where PD can not be asked for several ranges. Best effort. */
void ti_regions_preload(ti_regions *c, const ti_range *ranges, size_t count, const ti_call *call);
void ti_regions_invalidate(ti_regions *c, ti_region *r);
/* Makes the peer lead; one that the region does not have joins it, in a new entry. false: r is
 * invalid, and nothing took its place. */
bool ti_regions_set_leader(ti_regions *c, ti_region *r, ti_peer peer);
/* Enters what a store told (EpochNotMatch); ones older than the cached are dropped. Who leads is
 * guessed: the peer on store `asked`. false when out of memory. */
bool ti_regions_insert(ti_regions *c, const ti_region_info *info, uint64_t asked);
/* How often a key was not in the cache. */
uint64_t ti_regions_misses(ti_regions *c);
size_t ti_regions_count(ti_regions *c);

#endif

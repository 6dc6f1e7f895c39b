/* A cluster of words on the simulated wire: PD fronts "pd1:1" … and stores "s1:1" …, which answer
 * what the test says. What it does not say succeeds: an empty answer is one without an error.
 *
 * Thread rule: the fields are set while no request is under way; answer runs in the threads of the
 * client, one at a time. */
#ifndef TITO_TESTS_TIKV_FAKE_H
#define TITO_TESTS_TIKV_FAKE_H

#include "tikv/sim.h"

#include "errorpb.pb-c.h"
#include "kvrpcpb.pb-c.h"
#include "pdpb.pb-c.h"
#include "tikv/conn.h"
#include "tikv/tikv.h"

#define FAKE_PDS 3
#define FAKE_STORES 3
#define FAKE_REGIONS_MAX 128

typedef struct fake_region {
    uint64_t id;
    uint64_t version;
    uint64_t conf_ver;
    const char *start;
    const char *end;
    uint64_t leader; /* a store; its peer's id is 10 * id + store */
} fake_region;

typedef struct fake fake;

/* What is asked of PD. */
typedef enum fake_pd_kind {
    FAKE_PD_GET_MEMBERS,
    FAKE_PD_TSO,
    FAKE_PD_GET_REGION,
    FAKE_PD_GET_PREV_REGION,
    FAKE_PD_SCAN_REGIONS,
    FAKE_PD_GET_STORE,
    FAKE_PD_GET_ALL_STORES,
    FAKE_PD_GET_SAFE_POINT,
    FAKE_PD_UPDATE_SAFE_POINT,
    FAKE_PD_SERVICE_SAFE_POINT,
    FAKE_PD_KINDS,
} fake_pd_kind;

/* One request to a PD that is alive. Left as it is, it is answered truly. */
typedef struct fake_pd_ask {
    fake *cluster;
    fake_pd_kind kind;
    int index;         /* of the PD asked, from 0 */
    int number;        /* of its kind, from 1 */
    ti_arena *a;       /* for the answer */
    ti_slice answer;   /* the true one, packed; may be replaced */
    ti_status failure; /* not TI_OK: no answer, but this */
    bool silent;
    int64_t delay_ms;
} fake_pd_ask;

/* One request to a store. */
typedef struct fake_ask {
    fake *cluster;
    ti_command_id kind;
    uint64_t store;
    int number;       /* of its kind, from 1 */
    ti_slice request; /* packed */
    ti_arena *a;      /* for the answer */
    /* The answer: bytes, or one of the others. */
    ti_slice answer;
    bool silent;
    bool cut;           /* the stream ends, or the call fails, without an answer */
    ti_status failure;  /* of a cut; TI_OK stands for UNAVAILABLE */
    bool refused;       /* a cut before there was a connection */
    bool twice;         /* the answer comes twice */
    uint32_t as_number; /* the answer says to be of this kind; 0: of its own */
    bool stranger;      /* the answer names an id nobody has */
    int64_t delay_ms;
} fake_ask;

struct fake {
    sim *sim;
    uint64_t cluster_id[FAKE_PDS];
    bool dead[FAKE_PDS];
    bool frozen[FAKE_PDS];
    int leader; /* index of the leading PD; -1: none */
    fake_region regions[FAKE_REGIONS_MAX];
    size_t region_count;
    void (*answer)(fake_ask *ask);
    void (*pd_answer)(fake_pd_ask *ask); /* or NULL */
    void *context;                       /* the test's */
    ti_mutex gate;                       /* between TI_RANK_CONN and TI_RANK_WIRE: answering */
    ti_mutex mutex;                      /* rank TI_RANK_LEAF: logical */
    uint64_t logical;
    _Atomic(int64_t) ahead_ms; /* of PD's clock, to the simulated one */
    _Atomic(int) asked[TI_COMMAND_COUNT];
    _Atomic(int) lookups; /* GetRegion and GetPrevRegion */
    _Atomic(int) scans;   /* ScanRegions */
    bool offers_batch_scans;
    _Atomic(int) batch_scans;       /* BatchScanRegions, offered or not */
    _Atomic(int) batch_scan_ranges; /* of them all */
    _Atomic(int) members_asked;
    _Atomic(int) pd_asked[FAKE_PD_KINDS];
    uint64_t safe_point;
    uint64_t service_safe_point; /* of another service; 0: there is none */
    char store_address[FAKE_STORES][16];
};

/* Regions are cut at the keys given, which end with NULL; all are led by store 1. */
void fake_begin(fake *f, const char *const *cuts);
void fake_end(fake *f);
/* An engine on it; the simulated wire is its own, so fake_end comes after the engine's unref. */
ti_status fake_try_open(fake *f, size_t pds, int64_t timeout_us, ti_engine **engine_out,
                        ti_err *err);
ti_engine *fake_open(fake *f);
/* Timestamps of the fake: what the next one would be above. */
uint64_t fake_now(fake *f);
/* The region that key is in. */
fake_region *fake_region_of(fake *f, ti_slice key);

/* Answers with a message; with a region error. */
void fake_say(fake_ask *ask, const ProtobufCMessage *message);
/* The message of a region as PD and stores tell it. */
Metapb__Region *fake_region_message(const fake_region *from, ti_arena *a);
void fake_region_error(fake_ask *ask, const Errorpb__Error *error);

#endif

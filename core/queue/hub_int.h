/* The hub: what the handles of one process on one database share about queues: event types with
 * their partition counts and counters, and who waits for events of them.
 *
 *   engine->queue_slot --> hub (prefix "") --> type "user" --> listener (a worker), listener …
 *                     `--> hub (prefix "a:")
 *
 * INVARIANTS
 *  1. One hub per engine and prefix; it lives while a ti_queues holds it. Types live as long as
 *     their hub and never move.
 *  2. A listener's wake is called with the hub's mutex held: it only notes and signals, and takes
 *     no mutex below TI_RANK_LEAF.
 *  3. A partition count that was learned from the store is remembered for ever on an engine of one
 *     process, where the one who changes it says so here; on a shared one it is looked up again
 *     when older than meta_lease_us, and publishing commits not after that, so that a later
 *     change of it is fenced by time.
 *  4. On an engine of one process: every commit that writes events is entered here between getting
 *     its T and its end, when it has told its listeners. So every event with a place below a floor
 *     that ti_hub_floor answered has been told before; a commit that would enter with a T below is
 *     refused.
 *
 * Thread rule: any thread. */
#ifndef TI_QUEUE_HUB_INT_H
#define TI_QUEUE_HUB_INT_H

#include <stdatomic.h>

#include "base/id.h"
#include "base/thread.h"
#include "queue/queue.h"

#define HUB_BUCKETS 64
#define TI_RUN_BUCKETS 64 /* two per doubling, from 1 µs to an hour */

typedef enum ti_counter {
    TI_COUNT_PUBLISHED = 0,
    TI_COUNT_DELIVERED,
    TI_COUNT_ACKNOWLEDGED,
    TI_COUNT_RETRIED,
    TI_COUNT_FAILED,
    TI_COUNT_RESCHEDULED,
    TI_COUNT_ADVANCED,
    TI_COUNT_TIMED_OUT,
    TI_COUNT_CONFLICTS,
    TI_COUNT_DROPPED,
    TI_COUNT_PARKED,
    TI_COUNT_LOST,
    TI_COUNT_EXPIRED,
    TI_COUNT_LEASES_TAKEN,
    TI_COUNT_LEASES_GIVEN,
    TI_COUNT_LEASES_LOST,
    TI_COUNT_WAITING,     /* a gauge */
    TI_COUNT_PARKED_KEYS, /* a gauge */
    TI_COUNTERS
} ti_counter;

typedef struct ti_listener ti_listener;
struct ti_listener {
    ti_listener *next;
    bool is_on;
    _Atomic(uint64_t) oldest_us; /* the oldest unfinished event that is due; UINT64_MAX = none */
    void *context;
    /* place_us: of an event of that partition which has just been committed. */
    void (*wake)(void *context, uint32_t partition, uint64_t place_us);
    /* The type's partition count has changed, or begins to. The hub's mutex is held. Or NULL. */
    void (*changed)(void *context);
    bool rested; /* it has nothing of the type in hand, and takes nothing while the count changes;
                    under the hub's mutex */
};

/* A leased worker of this process. */
typedef struct ti_member ti_member;
struct ti_member {
    ti_member *next;
    char id[TI_UUID_TEXT_SIZE + 1];
    void *context;
    /* Something about leases has changed. The hub's mutex is held. */
    void (*wake)(void *context);
};

/* The partition count of a type. */
typedef struct ti_hub_meta {
    uint32_t partitions; /* 0 = not known */
    ti_ts read_at;       /* when it was read, in the database's time */
    int64_t read_ns;     /* and on the monotonic clock */
    bool moving;         /* the count has just changed: nothing is delivered (repartition.c) */
} ti_hub_meta;

typedef struct ti_hub_type ti_hub_type;
struct ti_hub_type {
    ti_hub_type *next; /* in its bucket */
    char name[TI_NAME_SIZE_MAX + 1];
    size_t name_len;
    ti_hub_meta meta;          /* under the hub's mutex, as the next four */
    uint32_t agreed;           /* the first declared count that was the stored one; 0 = none */
    ti_queue_options declared; /* partitions 0 = nobody declared a count */
    ti_listener *listeners;    /* borrowed from workers */
    _Atomic(int) paused;       /* as last stored or read */
    _Atomic(uint64_t) layout;  /* meta's count and moving, for those without the mutex */
    _Atomic(uint64_t) counters[TI_COUNTERS];
    _Atomic(uint64_t) runs[TI_RUN_BUCKETS]; /* how long handlers took */
    _Atomic(uint64_t) runs_ns;              /* in all */
};

typedef struct ti_hub ti_hub;
typedef struct ti_gatherer ti_gatherer;

/* Bucket b counts runs of less than ti_run_bound_us(b) and no less than that of b - 1. */
double ti_run_bound_us(uint32_t bucket);
/* The oldest place that a worker of the type in this process knows of; UINT64_MAX = none. */
uint64_t ti_hub_oldest_us(ti_hub *hub, const ti_hub_type *type);
void ti_hub_note_run(ti_hub_type *type, int64_t ns);

/* A commit under way that writes events. */
typedef struct ti_inflight ti_inflight;
struct ti_inflight {
    ti_inflight *next;
    ti_inflight *prev;
    uint64_t t_us;
    bool is_in;
};

/* Random bytes that are fetched at once: a call of the system for each commit shows. */
#define TI_HUB_RANDOM_SIZE 384

struct ti_hub {
    ti_hub *next; /* in the engine's slot, under its busy flag */
    uint32_t refs;
    char prefix[TI_NAME_SIZE_MAX + 2];
    ti_mutex mutex;
    ti_inflight *inflight;
    uint64_t promised_us; /* the highest floor answered */
    ti_member *members;   /* borrowed from workers */
    unsigned char random[TI_HUB_RANDOM_SIZE];
    uint32_t random_left; /* bytes at the end of random that are not used */
    uint32_t type_count;
    ti_hub_type *buckets[HUB_BUCKETS];
};

struct ti_queues {
    ti_store *store; /* borrowed */
    ti_kv *kv;       /* borrowed from the store */
    const ti_keyspace *keyspace;
    ti_hub *hub;
    struct ti_hinter *hinter; /* owned, as the next; on shared engines, else NULL */
    ti_gatherer *gatherer;
    uint32_t partitions_default;
    int64_t meta_lease_us;
    bool shared; /* other processes use the same database */
};

/* The hub of kv's engine and prefix, made when there is none. OUT_OF_MEMORY, UNAVAILABLE. */
ti_status ti_hub_attach(ti_kv *kv, ti_hub **hub_out, ti_err *err);
void ti_hub_detach(ti_hub *hub, ti_kv *kv);
/* The type of that (valid) name, made when there is none. LIMIT_EXCEEDED, OUT_OF_MEMORY. */
ti_status ti_hub_type_of(ti_hub *hub, ti_slice name, ti_hub_type **type_out, ti_err *err);
/* The type when it is known, else NULL. */
ti_hub_type *ti_hub_type_find(ti_hub *hub, ti_slice name);
ti_slice ti_hub_type_name(const ti_hub_type *type);

/* The count of a layout, and whether it is changing. */
static inline uint32_t ti_layout_count(uint64_t layout)
{
    return (uint32_t)layout;
}
static inline bool ti_layout_moving(uint64_t layout)
{
    return layout >> 32 != 0;
}

/* What is known about its partitions now; remembering what was read, which tells the listeners when
 * it is something new. */
ti_hub_meta ti_hub_meta_get(ti_hub *hub, const ti_hub_type *type);
void ti_hub_meta_set(ti_hub *hub, ti_hub_type *type, ti_hub_meta meta);

void ti_hub_listen(ti_hub *hub, ti_hub_type *type, ti_listener *listener);
void ti_hub_unlisten(ti_hub *hub, ti_hub_type *type, ti_listener *listener);
/* Enters a commit; false when its time is below a floor that was answered. leave_held: the hub's
 * mutex is held by the caller; an entry that is not in is left alone. */
bool ti_hub_enter(ti_hub *hub, ti_inflight *inflight, uint64_t t_us);
void ti_hub_leave_held(ti_hub *hub, ti_inflight *inflight);
/* Whether nothing is under way any more of what knew the type before its count began to change:
 * all listeners rest, no commit is left that began at until_us or before. */
bool ti_hub_has_settled(ti_hub *hub, const ti_hub_type *type, uint64_t until_us);
/* A time below which no event will appear that has not been told; now_us: the database's. */
uint64_t ti_hub_floor(ti_hub *hub, uint64_t now_us);

/* Random bytes for one uuid, never given out before. */
void ti_hub_random(ti_hub *hub, const ti_env *env, unsigned char out[TI_UUID_V7_RANDOM_SIZE]);

/* Tells the type's listeners; the hub's mutex is held by the caller. */
void ti_hub_wake_held(ti_hub *hub, const ti_hub_type *type, uint32_t partition, uint64_t place_us);
/* Same, taking the mutex. */
void ti_hub_wake(ti_hub *hub, const ti_hub_type *type, uint32_t partition, uint64_t place_us);

/* Adds, renames (id NULL: it has none for now) and removes a member. */
void ti_hub_join(ti_hub *hub, ti_member *member);
void ti_hub_rename(ti_hub *hub, ti_member *member, const char *id);
void ti_hub_part(ti_hub *hub, ti_member *member);
/* Whether a worker of this process has that id. */
bool ti_hub_has_member(ti_hub *hub, ti_slice id);
/* Tells all members but one that leases have changed. */
void ti_hub_wake_members(ti_hub *hub, const ti_member *but);

static inline void ti_hub_count(ti_hub_type *type, ti_counter counter, uint64_t by)
{
    atomic_fetch_add_explicit(&type->counters[counter], by, memory_order_relaxed);
}
static inline void ti_hub_uncount(ti_hub_type *type, ti_counter counter, uint64_t by)
{
    atomic_fetch_sub_explicit(&type->counters[counter], by, memory_order_relaxed);
}

/* The type's meta as of now, read from the store (and stored at first use) when needed. declared:
 * 0, or the count that the caller wants it to be: another one is SCHEMA_MISMATCH, unless it was
 * right when this process declared it. */
ti_status ti_queue_meta_resolve(ti_queues *queues, ti_hub_type *type, uint32_t declared,
                                ti_hub_meta *meta_out, const ti_call *call, ti_err *err);

#endif

/* A worker: pulls events in order, gives them to the host's handlers, commits their outcomes.
 *
 *   store --reader--> window --ready--> ti_worker_take --host's handler--> ti_event_ack …
 *     ^                 ^                                                        |
 *     |                 +--- next event of the key ---+                          v
 *     +------------------------ committers (outcomes in groups) <---------- settled
 *
 * Life of a taken event: TAKEN -> settled once by ti_event_ack, _fail, _reschedule, _advance or
 * _abandon (from then on its transaction is no longer the host's) -> ti_event_free. What
 * ti_event_info_of answers stays valid until the free.
 *
 * INVARIANTS
 *  1. Of one ordering key at most one event is with the host. The next one is ready when the
 *     handler has settled without having written through the event's transaction, or when that
 *     transaction has committed.
 *  2. An outcome is committed in a transaction that has re-read the event's row: when the row is
 *     gone or has changed the outcome is dropped, with everything written in the event's
 *     transaction. So every event has exactly one effective outcome.
 *  3. Events in memory are bounded in number and bytes, whatever is stored. Events of a key that
 *     failed, or that is too long, move to queue_parked.
 *  4. The checkpoint of a partition never passes min(oldest unfinished place, S - TI_GRACE_US).
 *  5. Settling never blocks: it takes a mutex and wakes a thread.
 *  6. A partition is read, and its outcomes committed, only while the ownership says so; outcomes
 *     commit not after its fence. With leases an outcome of an event that was read before the
 *     partition was lost commits never, though it has come back: others may have worked on it, and
 *     an event of its key that came before may be one whose outcome was lost. A fixed range has no
 *     fence: what was taken may be finished after the leader gate has closed, and invariant 2 alone
 *     keeps two workers of one range apart: one effective outcome each, but the order per key only
 *     when one of them works at a time.
 *
 * Thread rule: every function may be called from any thread unless it says otherwise; one event is
 * used by one thread at a time. Settling an event that is settled does nothing. What is NOT here:
 * handlers and how they are called (the host), leases (lease.c, an ownership). */
#ifndef TI_QUEUE_WORKER_H
#define TI_QUEUE_WORKER_H

#include "queue/queue.h"

typedef struct ti_worker ti_worker;
typedef struct ti_event ti_event;

/* ---- ownership: which partitions, until when ---- */

/* Who decides which partitions a worker may work on. Asked by the worker's threads, never with its
 * locks held; answers must be quick. */
typedef struct ti_ownership ti_ownership;
typedef struct ti_ownership_vt {
    uint32_t version; /* 3 */
    /* A number that changes whenever an answer of holding may have changed. */
    uint64_t (*epoch)(ti_ownership *o);
    /* 0: the partition of a type is not this worker's now. Else a number, another one when it was
     * not this worker's in between: what is known of it from before may be wrong. */
    uint64_t (*holding)(ti_ownership *o, ti_slice type, uint32_t partition);
    /* Outcomes of events that were read under that holding commit not after this; TI_TS_NONE = no
     * bound; TI_FENCE_LOST: none may. Read before each commit. */
    ti_ts (*fence)(ti_ownership *o, ti_slice type, uint32_t partition, uint64_t holding);
    /* Nothing is given out after this time of the monotonic clock; TI_NO_DEADLINE = no bound. A
     * courtesy: what counts is the fence. */
    int64_t (*until_ns)(ti_ownership *o);
    /* Whether it may work at all. */
    void (*set_leader)(ti_ownership *o, bool leader);
    /* Before the worker's threads start; partition counts are known. NULL: nothing to do. */
    ti_status (*start)(ti_ownership *o, const ti_call *call, ti_err *err);
    /* After they have ended. NULL: nothing to do. */
    void (*stop)(ti_ownership *o);
    /* After the last use. */
    void (*release)(ti_ownership *o);
} ti_ownership_vt;
struct ti_ownership {
    const ti_ownership_vt *vt;
};

/* A fence that nothing passes. */
#define TI_FENCE_LOST ((ti_ts)1)

/* ---- options ---- */

typedef struct ti_retry_policy {
    uint32_t max_retries; /* runs after the first; then the event is FAILED */
    int64_t base_us;      /* the first wait */
    double factor;        /* each further wait is this many times longer */
    int64_t cap_us;       /* the longest wait */
    double jitter;        /* 0 … 1: the share of a wait that is random */
} ti_retry_policy;

/* 25 retries, 1 s, factor 2, cap 600 s, jitter 0.5. */
ti_retry_policy ti_retry_policy_default(void);

typedef struct ti_worker_options {
    uint32_t concurrency;    /* events with the host at once; 0 = 1; at most TI_CONCURRENCY_MAX */
    uint32_t partition_from; /* the fixed range [from, to) */
    uint32_t partition_to;   /* 0 = all partitions */
    ti_ownership *ownership; /* instead of the range; taken over on success; or NULL */
    bool leased;             /* instead of the range: share the partitions with the other leased
                                workers of the type */
    int64_t lease_us;        /* 0 = TI_LEASE_DEFAULT_US; how soon a dead worker is replaced */
    bool follower;           /* begin without leadership: see ti_worker_set_leader */
    ti_retry_policy retry;   /* all zero = the default */
    int64_t handler_timeout_us; /* 0 = 10 min; < 0 = none */
    int64_t gc_retention_us;    /* has old versions of the whole database removed (ti_engine's gc)
                                   while    it works on partition 0 of its first type; 0 = not */
    /* Called when events became ready (or the worker ended) after a take that came back with fewer
     * than it asked for, without locks of tito held, on a thread of the worker or on the one that
     * settles an event; may be spurious. Must not call tito. Or NULL. */
    void (*on_ready)(void *context);
    void *context;
} ti_worker_options;

typedef struct ti_worker_type_options {
    void *data;                   /* the host's own, found on each event */
    const ti_retry_policy *retry; /* NULL = the worker's */
    int64_t handler_timeout_us;   /* 0 = the worker's; < 0 = none */
    uint32_t concurrency;         /* of this type with the host at once; 0 = as the worker */
    uint32_t key_concurrency;     /* the same of one key, with TI_ORDERING_NONE; 0 = no limit. (With
                                     an ordering one event of a key runs at a time.) */
    uint32_t batch; /* the host gets that many events together, of different ordering keys; at most
                       TI_BATCH_MAX; 0 = one by one. See `batches` */
    double rate;    /* events per second that this worker gives out; at most one second's worth at
                       once; 0 = no limit */
} ti_worker_type_options;

#define TI_HANDLER_TIMEOUT_DEFAULT_US (600ll * 1000000)
#define TI_DRAIN_TIMEOUT_DEFAULT_US (30ll * 1000000)

/* ---- life ---- */

/* A worker without types that does not run yet. The queues must outlive it. INVALID_ARGUMENT,
 * OUT_OF_MEMORY. Freed with ti_worker_free. */
ti_status ti_worker_open(ti_queues *queues, const ti_worker_options *options,
                         ti_worker **worker_out, ti_err *err);
/* Registers a type, before start; its ordering and retention are those declared (ti_queue_declare)
 * by then. ALREADY_EXISTS, INVALID_STATE (started), INVALID_ARGUMENT. */
ti_status ti_worker_on(ti_worker *worker, ti_slice type, const ti_worker_type_options *options,
                       ti_err *err);
/* Stores or reads the partition counts of its types, then starts the threads: reader and
 * committers. INVALID_STATE (no types, started, stopped), SCHEMA_MISMATCH. */
ti_status ti_worker_start(ti_worker *worker, const ti_call *call, ti_err *err);
/* Begins to stop: no event is pulled or given out any more; what was taken can be settled within
 * drain_timeout_us (< 0 = TI_DRAIN_TIMEOUT_DEFAULT_US). Returns at once; the first call counts, a
 * later one can only shorten the time. May be called by a handler. */
void ti_worker_stop(ti_worker *worker, int64_t drain_timeout_us);
/* After ti_worker_stop: waits until all taken events are settled and their outcomes committed, at
 * most until the drain timeout, then ends the threads. OK: drained. TIMEOUT: events were still with
 * the host or outcomes uncommitted; these events will run again (elsewhere or after a restart). May
 * be repeated: then it answers the same. INVALID_STATE when not stopped. Not called by a handler
 * that has an event in hand, nor by a callback. */
ti_status ti_worker_join(ti_worker *worker, ti_err *err);
/* Stops (without waiting for the host) and joins when that was not done, and gives up the host's
 * reference. Events still with the host stay valid until freed; settling them then does nothing.
 * NULL is allowed. */
void ti_worker_free(ti_worker *worker);

/* The leader gate: without leadership nothing is pulled and events not yet taken are forgotten
 * (they are still stored). Taken ones may be finished; a leased worker then gives its leases back.
 * Hosts that have an is_leader function ask it each second and say so here. */
void ti_worker_set_leader(ti_worker *worker, bool leader);

/* ---- events ---- */

/* Gives up to max ready events, waiting up to timeout_us (0 = not at all, < 0 = for ever) for the
 * first one. OK with count 0: none by then. CLOSED: draining and none will come any more. Another
 * status: the worker can not go on (IO, CORRUPT: the store is broken). Never gives out more than
 * `concurrency` unsettled events. */
ti_status ti_worker_take(ti_worker *worker, ti_event **events_out, size_t max, int64_t timeout_us,
                         size_t *count_out, ti_err *err);
/* How many events a take would give now; *ended_out (may be NULL): none will come any more. */
size_t ti_worker_ready(ti_worker *worker, bool *ended_out);
/* Whether it works on that partition of one of its types now; and on how many of it. */
bool ti_worker_has_partition(ti_worker *worker, ti_slice type, uint32_t partition);
uint32_t ti_worker_partitions(ti_worker *worker, ti_slice type);
/* Events with the host now, and outcomes not yet committed. */
void ti_worker_pending(ti_worker *worker, uint32_t *taken_out, uint32_t *uncommitted_out);

/* What the event is; borrowed until ti_event_free. */
const ti_event_info *ti_event_info_of(const ti_event *event);
/* The `data` of its type's options. */
void *ti_event_data(const ti_event *event);
/* True once the handler has had its time: the failure is recorded, nothing of the event's
 * transaction will commit; the host should end the handler, then settle (which then only gives the
 * key free). */
bool ti_event_timed_out(const ti_event *event);
/* The event's transaction, begun at first use (its snapshot at its first read). It belongs to the
 * event: the host reads, writes and publishes in it, and neither commits, rolls back nor frees it.
 * Committed with the outcome (dropped by _fail and _abandon). TIMEOUT after the handler's timeout.
 */
ti_status ti_event_txn(ti_event *event, ti_txn **txn_out, ti_err *err);

/* ---- batches ----
 *
 * Of a type with `batch` an event given out stands for up to that many: those that are ready, at
 * once, no waiting for more. They share its transaction and its timeout, count as one for the
 * concurrency, and are settled and freed by it:
 *
 *   ack          every event ends as was said of it (ti_member_…), else it is acknowledged; all of
 *                that and what was written in the transaction commit together
 *   reschedule   the same, for those of which nothing was said
 *   fail, timeout, a commit that answers an error
 *                nothing is committed, no attempt is counted; all run again in batches of at most
 *                half the size, down to one by one, so that what can not succeed fails alone
 *   conflict     all run again; the second time in a row in halves
 *   advance      INVALID_STATE
 *
 * An event that has failed before comes alone. When each was said to have failed, nothing that was
 * written commits. */

/* Whether its type has batches (it may still be the only one). */
bool ti_event_is_batch(const ti_event *event);
/* How many it stands for. */
size_t ti_event_count(const ti_event *event);
/* The i-th of them (the 0th is the event itself), for ti_event_info_of and ti_member_…; borrowed
 * until the event's ti_event_free. */
ti_event *ti_event_member(ti_event *event, size_t i);
/* How one event of a batch will end; the last word counts. INVALID_STATE when it is settled or has
 * had its time. advance: as ti_event_advance. */
ti_status ti_member_ack(ti_event *member, ti_err *err);
ti_status ti_member_fail(ti_event *member, ti_slice error, ti_err *err);
ti_status ti_member_reschedule(ti_event *member, int64_t timestamp_us, ti_err *err);
ti_status ti_member_advance(ti_event *member, ti_slice payload, ti_err *err);

/* ---- settling ---- */

/* Done: what was written in the event's transaction and the removal of the event commit together.
 * When that commit answers CONFLICT (or was not applied), the event runs again, without counting
 * as an attempt, at most TI_EVENT_CONFLICTS_MAX times in a row; when it answers any other error,
 * the run has failed with that text. */
void ti_event_ack(ti_event *event);
/* The run failed: retried after a wait while its key waits, or FAILED after max_retries. error is
 * copied, cut at TI_EVENT_ERROR_SIZE_MAX. */
void ti_event_fail(ti_event *event, ti_slice error);
/* Not now: a new place max(timestamp_us, T), attempts kept; later events of the key may overtake.
 */
void ti_event_reschedule(ti_event *event, int64_t timestamp_us);
/* The next step: same place, new payload (JSON), attempts 0; runs next, before other events of its
 * key. INVALID_ARGUMENT (not JSON), LIMIT_EXCEEDED, OUT_OF_MEMORY: then the event is not settled.
 */
ti_status ti_event_advance(ti_event *event, ti_slice payload, ti_err *err);
/* As if it had never been taken: it runs again (used when a host gives up). */
void ti_event_abandon(ti_event *event);
/* Whether one of the calls above was made. */
bool ti_event_is_settled(const ti_event *event);
/* Gives up the host's reference; an event that was not settled fails. NULL is allowed. */
void ti_event_free(ti_event *event);

#endif

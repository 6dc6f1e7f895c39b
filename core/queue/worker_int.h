/* Inside of a worker; shared by the files of this room. The rules for users are in worker.h.
 *
 *   ti_worker --- ti_wtype (one per registered type) --- ti_part (one per partition)
 *       |                                                   |
 *       |                                                   events: all of it in memory
 *       +-- keys (hash table): ti_key --- window:  events read from event rows, not started
 *       |                            `--- parked:  events read from queue_parked, not started
 *       |                            `--- running: with the host, or its outcome holds the key
 *       +-- ready: keys whose next event may run
 *       +-- lanes: settled events for the next groups; own: those with a transaction of their own
 *
 * Life of an event object:
 *
 *   WAITING --take--> TAKEN --settle, timeout--> SETTLED --committed--> DONE --last ref.--> freed
 *      |                                            |
 *      `--moved behind a parked key, damaged--------'   (never with the host)
 *
 * A run that is thrown away (conflict, abandon) ends its object; a clone takes its place.
 *
 * Threads: the reader (read.c, parked.c, timers, checkpoints), committers (commit.c), the host.
 * Files: worker.c life; take.c the host's side; event.c objects; window.c, key.c what is in memory
 * and what runs next; ready.c what may run now; reader.c the reader's loop; open.c how partitions
 * begin; read.c reading them; parked.c parked keys; commit.c committers; outcome.c what an outcome
 * writes; owner.c the fixed ownership; follow.c partition counts that change.
 *
 * INVARIANTS
 *  1. Everything below is under worker->mutex unless it says otherwise. The inbox has its own.
 *  2. An event object is in the index (by place) from its insertion until DONE, and a DONE one
 *     stays there while its partition is being read: that read may be older than the outcome.
 *  3. A key is freed when nothing refers to it any more (ti_key_is_idle).
 *  4. Outcomes of one key are committed in the order in which they were settled: its partition has
 *     a lane, of which one group at a time is in flight, in order; an event with its own
 *     transaction waits until key->unacked is 0.
 *  5. A key that is parked runs its parked events before its window.
 *  6. What was with the host when its partition was given up is stale. Its key rests until its
 *     outcome is decided, also under a new holding; an outcome that is lost voids all that is known
 *     of the partition, which is opened anew: later events of the key may have been read meanwhile.
 *     The same where there is no memory for the object of an event that runs again. Stale outcomes
 *     of a holding that is over are lost with leases; a fixed range has no fence, and there they
 *     commit when the event's row is still what it was. */
#ifndef TI_QUEUE_WORKER_INT_H
#define TI_QUEUE_WORKER_INT_H

#include "base/limits.h"
#include "base/thread.h"
#include "queue/hub_int.h"
#include "queue/timers_int.h"
#include "queue/value_int.h"
#include "queue/worker.h"

typedef struct ti_key ti_key;
typedef struct ti_part ti_part;
typedef struct ti_wtype ti_wtype;
typedef struct ti_gate ti_gate;
typedef struct ti_hint_seen ti_hint_seen;
typedef struct ti_batch ti_batch;
typedef struct ti_parts_old ti_parts_old;

#define TI_GATE_BUCKETS 256

typedef enum ti_stage { TI_WAITING, TI_TAKEN, TI_SETTLED, TI_DONE } ti_stage;

typedef enum ti_outcome {
    TI_OUTCOME_NONE = 0,
    TI_OUTCOME_ACK,
    TI_OUTCOME_FAIL,
    TI_OUTCOME_RESCHEDULE,
    TI_OUTCOME_ADVANCE,
    TI_OUTCOME_MOVE,    /* behind a parked key */
    TI_OUTCOME_DAMAGED, /* its row does not open: to history as it is */
} ti_outcome;

typedef enum ti_timer_kind {
    TI_TIMER_PART,
    TI_TIMER_KEY,
    TI_TIMER_EVENT,
    TI_TIMER_TYPE
} ti_timer_kind;

/* One block of memory: this, the row's key, the row's value, the ordering key. */
struct ti_event {
    ti_event_info info; /* slices point into row_value */
    ti_worker *worker;
    ti_part *part;
    ti_key *key;         /* NULL once the worker is gone */
    ti_event *next;      /* in its chain, outcome queue, done list */
    ti_event *prev;      /* in its chain */
    ti_event *hash_next; /* in the index */
    ti_event *part_next; /* in the partition's list */
    ti_event *part_prev;
    ti_slice row_key;
    ti_slice row_value;
    ti_slice order;   /* what it is ordered by */
    size_t size;      /* of the block, and of the text of its outcome */
    uint64_t hash;    /* of its place */
    ti_ts read_ts;    /* of the snapshot that showed its row; TI_TS_NONE: none did */
    uint64_t holding; /* of its partition, when it came into memory */
    ti_timer deadline;
    ti_gate *gate;    /* that it has passed, while it is with the host */
    int64_t taken_ns; /* when the host got it */
    ti_txn *txn;      /* the host's until settled, then the committer's */
    ti_outcome outcome;
    char *text; /* owned: the error of FAIL, the payload of ADVANCE */
    size_t text_len;
    int64_t reschedule_us;
    ti_event_place new_place; /* RESCHEDULE, MOVE: set when the outcome is written */
    int64_t retry_after_us;   /* FAIL: how long its key waits; < 0 = it became history */
    ti_event *replacement;    /* ADVANCE: the object of the new row; NULL = no memory */
    uint32_t conflicts;       /* runs in a row that a conflict threw away */
    uint32_t batch_max;     /* how many it may be together with, itself included; 0 = its type's */
    ti_batch *batch;        /* that it was given out with; NULL: alone */
    _Atomic(uint32_t) refs; /* the worker's and the host's; without the mutex, as the next one */
    _Atomic(bool) settled_by_host; /* what ti_event_is_settled answers; set with the mutex */
    ti_stage stage;
    bool from_parked; /* its row is in queue_parked */
    bool stale;       /* its partition was given up since it was taken */
    bool damaged;
    bool maybe_committed;   /* a commit of its outcome had an unknown end */
    _Atomic(int) timed_out; /* read without the mutex */
};

/* Events that are with the host together, of one type and different ordering keys. The first one
 * stands for all: it has the transaction, the deadline, and is in the queues. */
struct ti_batch {
    _Atomic(uint32_t) alive; /* of its events; the last one that is destroyed frees it */
    uint32_t count;
    uint32_t waiting; /* of their keys, for uncommitted outcomes */
    ti_event *events[];
};

struct ti_key {
    ti_key *hash_next;
    ti_key *ready_next; /* in its type's list or at its gate */
    ti_key *load_next;
    ti_gate *gate; /* that it waits at */
    uint64_t hash;
    ti_part *part;
    ti_slice text; /* in the same block */
    ti_event *window_first;
    ti_event *window_last;
    ti_event *parked_first;
    ti_event *parked_last;
    ti_event *running;
    ti_event *own_waiting; /* settled with its own transaction, until unacked is 0 */
    uint32_t window_count;
    uint32_t unacked; /* acknowledged, not committed */
    uint32_t moving;  /* events on their way to queue_parked */
    uint32_t held;    /* handlers that timed out and still run */
    uint32_t stale;   /* events of it that are */
    bool is_parked;   /* rows of it may be in queue_parked */
    bool all_loaded;  /* none that is not in memory */
    bool load_queued;
    bool loading;
    bool lowered; /* a move was committed while loading */
    bool is_ready;
    ti_event_place parked_from; /* uuid "" = from the beginning of that timestamp */
    uint32_t load_max;          /* rows to read at the next load */
    int64_t not_before_ns;
    ti_timer timer;
};

struct ti_part {
    ti_wtype *type;
    uint32_t number;
    bool owned;
    bool opened;  /* checkpoint and parked keys are loaded */
    bool queued;  /* waits for the reader */
    bool reading; /* the reader works on it without the mutex */
    bool full;    /* wants to be read, has no room */
    bool sweeping;
    bool reopen; /* what is known of it is void: nothing more of it runs before it is read anew */
    int64_t full_at_ns;
    ti_part *queue_next;
    uint64_t read_us;                      /* next to be read: from here, */
    char read_uuid[TI_UUID_TEXT_SIZE + 1]; /* after this one; "" = all of that timestamp */
    uint64_t wake_min_us; /* places told since the last read that reached the end; */
    uint64_t wake_max_us; /* min > max: none */
    uint64_t due_us;      /* no future event is earlier; UINT64_MAX = there is none */
    int64_t due_ns;       /* the same on the monotonic clock */
    bool due_known;
    uint64_t holding;       /* of the ownership, when it was taken on */
    uint64_t holding_next;  /* the reader's scratch */
    uint64_t floor_us;      /* every place below has been seen */
    uint64_t checkpoint_us; /* as stored */
    uint64_t finished_us;   /* the highest place of a finished event row */
    uint64_t cleaned_us;    /* the keeper's: no completed event is older */
    uint64_t sweep_to_us;
    uint64_t sweep_floor_us;
    int64_t swept_ns;
    int64_t checkpoint_ns; /* when it was last written */
    ti_buf open_from;      /* where loading the parked keys goes on */
    ti_timer timer;
    ti_event *events;
    uint32_t count; /* of events */
    ti_event *done; /* done while reading */
};

struct ti_wtype {
    ti_wtype *next;
    ti_hub_type *type;
    ti_ordering ordering;
    int64_t retention_us;
    ti_retry_policy retry;
    int64_t handler_timeout_us; /* <= 0: none */
    void *data;
    uint32_t concurrency;     /* events with the host at once; 0 = as the worker */
    uint32_t key_concurrency; /* … of one business key, without ordering; 0 = no limit */
    uint32_t batch;           /* events of one handler at most; 0 = no batches */
    double rate;              /* events given out per second; 0 = no limit */
    double tokens;
    int64_t tokens_ns;
    ti_timer timer; /* when there is a token */
    ti_key *ready_first;
    ti_key *ready_last;
    uint32_t ready_count;
    uint32_t taken;
    ti_hint_seen *hints_seen;     /* owned; of the reader's thread */
    uint32_t clean_next;          /* the keeper's: the partition that is cleaned next */
    _Atomic(uint32_t) partitions; /* changed by the reader alone (follow.c), as the next ones */
    ti_part *parts;               /* under the worker's mutex */
    uint32_t room;                /* of parts and the inbox's arrays */
    uint32_t timers_reserved;
    ti_parts_old *parts_old;       /* owned: what was outgrown */
    _Atomic(bool) resting;         /* works on nothing until it has taken a count on */
    _Atomic(uint64_t) generation;  /* counts taken on */
    uint64_t cleaned_generation;   /* the keeper's */
    _Atomic(int64_t) refreshed_ns; /* when a committer last read the count */
    ti_ts valid_until;             /* shared engines: nothing is committed after that; under the */
    int64_t valid_ns;              /* hub's mutex, and the same on the monotonic clock */
    ti_listener listener;
    ti_worker *worker;
    uint64_t *inbox_lowest; /* per partition, places told; under the inbox's mutex */
    uint64_t *inbox_highest;
    uint32_t *inbox_dirty; /* numbers of partitions with news */
    uint32_t inbox_count;
};

/* What publishers and the worker's threads tell the reader. */
typedef struct ti_inbox {
    ti_mutex mutex; /* TI_RANK_LEAF */
    ti_cond cond;
    bool flag;
    bool waiting;
} ti_inbox;

typedef struct ti_event_fifo {
    ti_event *first;
    ti_event *last;
    uint32_t count;
} ti_event_fifo;

/* Outcomes of the partitions that are its, and the group of them that is being committed. */
typedef struct ti_lane {
    ti_event_fifo outcomes;
    bool busy;
    ti_event *group[TI_ACK_GROUP_MAX]; /* of the committer that set busy */
} ti_lane;

/* One commits while another one waits for the disk or the cluster. */
#define TI_LANES 2
_Static_assert(TI_LANES <= TI_COMMITTERS_MAX, "each lane can have a committer");

#define TI_GARBAGE_MAX 64

typedef enum ti_life { TI_LIFE_NEW, TI_LIFE_RUNNING, TI_LIFE_STOPPING, TI_LIFE_ENDED } ti_life;

struct ti_worker {
    ti_queues *queues;
    const ti_env *env;
    const ti_log *log;
    ti_worker_options options;
    ti_ownership *ownership;
    ti_mutex mutex; /* TI_RANK_WORKER; let go with ti_worker_unlock where something may run now */
    ti_cond ready_cond;
    ti_cond commit_cond;
    ti_cond idle_cond;
    ti_cond pause_cond; /* committers that wait before a new attempt */
    ti_inbox inbox;
    ti_life life;
    bool quit;              /* threads end */
    _Atomic(int) cancelled; /* running calls end */
    bool drained;
    int64_t drain_until_ns;
    _Atomic(uint32_t) refs; /* the host's, and one per event with the host; without the mutex */
    ti_err broken;          /* status OK = is not */
    ti_wtype *types;
    uint32_t type_count;
    ti_thread reader;
    ti_thread committers[TI_COMMITTERS_MAX];
    uint32_t committer_count;
    bool reader_started;
    ti_thread keeper;
    bool keeper_started;
    int64_t gc_ns;    /* the keeper's: next time */
    int64_t hints_ns; /* the keeper's: when old hints are looked for */
    int64_t poll_ns;  /* when hints are looked at next; of the reader's thread, as the next */
    int64_t poll_us;  /* how long between */

    ti_timers timers;
    ti_key **keys; /* hash table */
    size_t key_buckets;
    size_t key_count;
    size_t parked_size;   /* bytes of parked keys */
    ti_event **index;     /* by place */
    ti_wtype *turn;       /* whose turn it is to be taken; NULL = the first */
    uint32_t ready_count; /* of all types, without those at gates */
    ti_gate *gates[TI_GATE_BUCKETS];
    ti_key *load_first;
    ti_key *load_last;
    ti_part *read_first;
    ti_part *read_last;
    uint32_t full_parts;
    uint32_t reopen_parts;  /* that are to be opened anew */
    bool full;              /* no room at all */
    int64_t full_at_ns;     /* since when */
    int64_t spill_check_ns; /* when to look for long keys; 0 = nobody waits for room */
    uint32_t events;        /* in memory */
    size_t bytes;
    uint32_t taken;
    uint32_t uncommitted;
    ti_lane lanes[TI_LANES];
    uint32_t lane_turn; /* which one is looked at first */
    ti_event_fifo own;
    uint32_t own_busy;
    ti_txn *garbage[TI_GARBAGE_MAX]; /* transactions to be freed by a committer */
    uint32_t garbage_count;
    bool joining;
    uint32_t takers; /* waiting in take */
    uint32_t wakes;  /* of them, to be woken after unlocking */
    bool want_notify;
    bool notify; /* call on_ready after unlocking */
    uint64_t ownership_epoch;
    bool epoch_known;
    int64_t ownership_ns;    /* next look */
    bool leaving;            /* a type that is to rest has something in hand */
    int64_t checkpoint_ns;   /* next look */
    int64_t reader_until_ns; /* when the reader wakes by itself */
    int64_t pause_until_ns;  /* after an error nothing is read before */
    uint32_t failures;       /* of reads, in a row */
};

/* ---- worker.c ---- */

/* Lets the mutex go, then wakes takers and tells the host when something became ready. */
void ti_worker_unlock(ti_worker *w);
/* Wakes the reader. */
void ti_worker_nudge(ti_worker *w);
/* Has the reader ask the ownership at once. The mutex is not held. */
void ti_worker_ownership_changed(ti_worker *w);
/* The bound of commits about a partition that was read under that holding. */
ti_ts ti_worker_fence(const ti_worker *w, const ti_part *part, uint64_t holding);
/* Remembers an error that the worker can not get over, when it is one. */
void ti_worker_note(ti_worker *w, const ti_err *err, const char *what);
/* Drops references; the last one frees the worker. The mutex is not held. */
void ti_worker_unref(ti_worker *w, uint32_t count);
/* A call of the worker's own threads. */
ti_call ti_worker_call(ti_worker *w);
/* The database's time as a lower bound of what commits from now on; txn has its snapshot. */
ti_status ti_worker_now(ti_worker *w, ti_txn *txn, ti_ts *now_out, const ti_call *call,
                        ti_err *err);

/* ---- follow.c ---- */

/* Room for n partitions, which are what the type has from now on; nothing of it is in hand. The
 * mutex is held. OUT_OF_MEMORY: as before. */
ti_status ti_type_resize(ti_worker *w, ti_wtype *type, uint32_t n, ti_err *err);
void ti_type_free_parts(ti_wtype *type);
/* A partition of the type (of an old count, perhaps); valid as long as the worker. The mutex is not
 * held. */
ti_part *ti_type_part(ti_worker *w, const ti_wtype *type, uint32_t number);
/* Lets types rest whose count changes, and takes new counts on. The mutex is held; the reader. */
void ti_types_follow(ti_worker *w);
/* What bounds commits about a type on a shared engine: `until`, or less. The mutex is not held. */
ti_ts ti_type_fence(const ti_worker *w, ti_wtype *type, ti_ts until);

/* ---- event.c ---- */

#define TI_INDEX_BUCKETS 32768

_Static_assert(TI_INDEX_BUCKETS >= TI_WINDOW_EVENTS_MAX, "chains of the index stay short");

/* An object for a stored row, in no list, with the worker's reference; NULL when there is no
 * memory. A value that does not open gives an event with `damaged` set. parked_key: the ordering
 * key of a row of queue_parked, else none. @locks none */
ti_event *ti_event_new(ti_part *part, const ti_event_place *place, bool from_parked,
                       ti_slice parked_key, ti_slice row_key, ti_slice row_value);
/* One more object of the same row, in no list; NULL when there is no memory. @locks none */
ti_event *ti_event_clone(const ti_event *event);
/* Frees an object that nobody refers to and that is in no list. @locks none */
void ti_event_destroy(ti_event *event);

/* One more reference; drops one, and the last one frees it. @locks any */
void ti_event_ref(ti_event *event);
void ti_event_unref(ti_event *event);

/* The index by place. The mutex is held. */
bool ti_index_knows(const ti_worker *w, const ti_event_place *place, const ti_part *part);
void ti_index_add(ti_worker *w, ti_event *event);
void ti_index_remove(ti_worker *w, ti_event *event);

void ti_fifo_init(ti_event_fifo *fifo);
void ti_fifo_push(ti_event_fifo *fifo, ti_event *event);
ti_event *ti_fifo_pop(ti_event_fifo *fifo);
/* Takes event out, which comes after before (NULL: is the first). */
void ti_fifo_unlink(ti_event_fifo *fifo, ti_event *before, ti_event *event);

/* ---- window.c: the mutex is held ---- */

/* Puts an object into the index, its partition and its key's chain (at_head: before all others); a
 * damaged one goes to the outcomes. The key is not updated. OUT_OF_MEMORY: nothing has changed. */
ti_status ti_window_insert(ti_worker *w, ti_event *event, bool at_head, ti_err *err);
/* Takes a WAITING event out of everything and frees it; its row stays. The key is not updated. */
void ti_window_forget(ti_worker *w, ti_event *event);
/* A SETTLED event is over: its row is gone (done), or a clone takes its place. Out of everything,
 * freed when the host has no reference. The key is not updated. */
void ti_window_finish(ti_worker *w, ti_event *event, bool done);
/* The outcome of a SETTLED event is lost: what is known of its partition is void, and it is opened
 * anew when it is ours. The key is updated, and may be gone. */
void ti_window_lose(ti_worker *w, ti_event *event);
/* A SETTLED event's row stays, and it runs again: a clone takes its place, or (no memory) its
 * partition is opened anew. Its key waits delay_ns and is updated. */
void ti_window_rerun(ti_worker *w, ti_event *event, bool at_head, int64_t delay_ns);
/* Puts object (or NULL: no memory; its partition is opened anew then) where event was, which is
 * over. The key is not updated. */
void ti_window_replace(ti_worker *w, ti_event *event, ti_event *object, bool at_head);
/* After the reader's work on a partition: lets go what was done meanwhile. */
void ti_window_read_ended(ti_worker *w, ti_part *part);
/* Somebody gave room back: a worker that was full goes on. */
void ti_room_came(ti_worker *w);
void ti_key_chain_add(ti_key *key, ti_event *event, bool at_head);
void ti_key_chain_remove(ti_key *key, ti_event *event);
/* Sets the partition's timer: its next due event, its next sweep. */
void ti_part_schedule(ti_worker *w, ti_part *part);
/* Whether finished events lie before its checkpoint's next step. */
bool ti_part_is_dirty(const ti_part *part);
/* Queues a partition for the reader, unless it has no room. */
void ti_part_queue(ti_worker *w, ti_part *part);
/* News: an event at that time. */
void ti_part_wake(ti_worker *w, ti_part *part, uint64_t place_us);
/* Forgets everything of a partition that is not with the host or on its way into the store. */
void ti_part_close(ti_worker *w, ti_part *part);
/* After the threads have ended: forgets everything of a partition. A transaction that was to be
 * committed is returned, to be freed without the mutex; then there may be more. */
ti_txn *ti_part_forget_all(ti_worker *w, ti_part *part);

/* ---- key.c: the mutex is held ---- */

/* The key of that text in a partition, made when missing; NULL when there is no memory. */
ti_key *ti_key_of(ti_worker *w, ti_part *part, ti_slice text);
/* Decides what the key does next; may free it. */
void ti_key_update(ti_worker *w, ti_key *key);
/* From now on rows of the key are in queue_parked, none before from that is not known. */
void ti_key_park(ti_worker *w, ti_key *key, const ti_event_place *from);
/* Sends what is in the window of a parked key behind its rows. */
void ti_key_move_window(ti_worker *w, ti_key *key);
/* Forgets the parked rows in memory; they are read again. */
void ti_key_forget_parked(ti_worker *w, ti_key *key);
/* Frees the keys of a partition that nothing is done for. */
void ti_keys_close(ti_worker *w, ti_part *part);
/* After the threads have ended: frees every key. */
void ti_keys_free(ti_worker *w);

/* ---- ready.c: the mutex is held ---- */

/* The key's next event may run: in line behind others of its type. */
void ti_ready_push(ti_worker *w, ti_key *key);
/* Out of the line; may not be in it. */
void ti_ready_remove(ti_worker *w, ti_key *key);
/* How many events can be taken now, at most max. (Some of them may still wait at gates.) */
size_t ti_ready_count(ti_worker *w, size_t max);
/* The event is not with the host any more. */
void ti_ready_released(ti_worker *w, ti_event *event);
/* Takes more ready events of the first one's type that go together with it, at most max. */
size_t ti_ready_take_more(ti_worker *w, const ti_event *first, size_t max, ti_event **events_out);
/* How many the event may be together with, itself included: only such as may be with as many. */
uint32_t ti_batch_class(const ti_event *event);
/* Wakes takers, or notes that the host is to be told, when something can be taken. */
void ti_ready_changed(ti_worker *w);
/* The next event of the key that has been ready for longest: it is the key's running one. NULL when
 * none is ready. */
ti_event *ti_ready_take(ti_worker *w);
/* Where there has been no room for TI_SPILL_AFTER_US: long keys go out of the way. */
void ti_window_spill(ti_worker *w);

/* ---- reader.c, read.c, open.c, parked.c ---- */

void *ti_reader_run(void *worker);
/* Takes what publishers have told into the partitions. The mutex is held. */
void ti_inbox_collect(ti_worker *w);
/* Reads one page of each of n partitions, at one snapshot. first: they have just been opened.
 * @locks none; each partition by one thread at a time */
ti_status ti_parts_read(ti_worker *w, ti_part *const *parts, size_t n, bool first, ti_arena *a,
                        ti_err *err);
/* Loads checkpoints and parked keys of n partitions of one type that have become ours (in order of
 * their numbers, at most TI_OPEN_BATCH), then reads a page of each. One whose parked keys found no
 * room comes back by its timer. @locks none, the reader's thread */
ti_status ti_parts_open(ti_worker *w, ti_part **parts, size_t n, ti_arena *a, ti_err *err);
/* Reads parked events of a key. @locks none */
ti_status ti_key_load(ti_worker *w, ti_key *key, ti_arena *a, ti_err *err);
/* Writes the checkpoints that are due; all: also those that are not. @locks none */
ti_status ti_checkpoints_write(ti_worker *w, bool all, ti_arena *a, ti_err *err);

/* ---- poll.c: the reader's thread ---- */

/* Looks at the hints of other processes; whether there was news. @locks none */
ti_status ti_hints_poll(ti_worker *w, ti_arena *a, bool *news_out, ti_err *err);
/* Frees what is remembered. */
void ti_hints_forget(ti_wtype *type);

/* ---- keeper.c ---- */

void *ti_keeper_run(void *worker);

/* ---- batch.c: the mutex is held ---- */

/* Makes a batch of the event, which has just been taken, with others that are ready; for want of
 * memory it stays alone. */
void ti_batch_fill(ti_worker *w, ti_event *first);
/* The host has settled the batch of first with ACK, FAIL, RESCHEDULE, or NONE (abandon); late: its
 * time had passed. Answers a transaction that is to be freed without the mutex. */
ti_txn *ti_batch_settle(ti_worker *w, ti_event *first, ti_outcome outcome, int64_t reschedule_us,
                        bool late);
/* One of its keys has nothing uncommitted any more. */
void ti_batch_key_came(ti_worker *w, ti_batch *batch);
/* One of its events is destroyed. @locks any */
void ti_batch_unref(ti_batch *batch);

/* ---- take.c: the mutex is held ---- */

/* The event's transaction is over; answers it when it has to be freed by the caller, without the
 * mutex. */
ti_txn *ti_event_let_txn_go(ti_worker *w, ti_event *event);
/* What the host asked for, decided; with the effects of its transaction or without. */
void ti_event_decide(ti_worker *w, ti_event *event, bool effects);

/* ---- commit.c, outcome.c ---- */

void *ti_committer_run(void *worker);
/* Adds to the outcomes of the next group. The mutex is held. */
void ti_outcome_push(ti_worker *w, ti_event *event);
/* Adds an event that commits with its own transaction, when its key has nothing uncommitted. The
 * mutex is held. */
void ti_own_push(ti_worker *w, ti_event *event);
/* The event's handler has had its time. The mutex is held. */
void ti_event_expire(ti_worker *w, ti_event *event);

/* What outcomes of one transaction share. */
typedef struct ti_outcome_write {
    ti_worker *worker;
    ti_txn *txn;
    ti_ts now;
    ti_arena *arena;
    ti_event_sealer *sealer;
    bool expects; /* rows were not checked: the commit is to see that they are unchanged */
} ti_outcome_write;

/* Adds the mutations of an event's outcome to the transaction, and notes in the event what the
 * worker has to do after the commit. */
ti_status ti_outcome_apply(const ti_outcome_write *write, ti_event *event, ti_err *err);

/* ---- owner.c ---- */

/* The fixed range [from, to) with a leader gate. OUT_OF_MEMORY. */
ti_status ti_owner_fixed_new(uint32_t from, uint32_t to, bool leader, ti_ownership **out,
                             ti_err *err);

/* ---- lease.c ---- */

/* Leases shared with the other leased workers; w outlives it. INVALID_ARGUMENT, OUT_OF_MEMORY. */
ti_status ti_owner_leased_new(ti_worker *w, int64_t lease_us, bool leader, ti_ownership **out,
                              ti_err *err);

#endif

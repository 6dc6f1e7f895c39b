/* Backoff: typed, jittered, budgeted sleeps of one operation (source of bases and caps: client-go,
 * as told in the protocol reference).
 *
 * Each kind of trouble has its own exponential row; one operation has one budget of total sleep
 * over all kinds. Waits of a busy server are not charged to it (up to TI_BACKOFF_BUSY_MAX_MS).
 *
 * INVARIANTS
 *  1. Deadline and cancel are looked at before every sleep; no sleep passes the deadline. One that
 *     would is cut so that TI_BACKOFF_LAST_TRY_MS are left for a last try; with less than that there
 *     is none.
 *  2. Attempts are bounded (TI_BACKOFF_ATTEMPTS_MAX) whatever the kinds.
 *  3. A backoff belongs to one operation and one thread.
 *  4. Every retry is counted in the wire's counts, by its kind.
 *  5. When it gives up, the error is that of the kind that slept longest, and says how often and
 *     how long. */
#ifndef TI_TIKV_BACKOFF_H
#define TI_TIKV_BACKOFF_H

#include "tikv/wire.h"

typedef enum ti_backoff_kind {
    TI_BACKOFF_RPC,
    TI_BACKOFF_LOCK,
    TI_BACKOFF_LOCK_FAST,
    TI_BACKOFF_PD,
    TI_BACKOFF_REGION_MISS,
    TI_BACKOFF_REGION_SCHEDULING,
    TI_BACKOFF_SERVER_BUSY,
    TI_BACKOFF_DISK_FULL,
    TI_BACKOFF_RECOVERY,
    TI_BACKOFF_TXN_NOT_FOUND,
    TI_BACKOFF_STALE_COMMAND,
    TI_BACKOFF_MAX_TS,
    TI_BACKOFF_COMMIT_TS,
    TI_BACKOFF_NOT_INITIALIZED,
    TI_BACKOFF_WITNESS,
    TI_BACKOFF_COUNT,
} ti_backoff_kind;

/* In counts of retries, behind the kinds: such without a wait. */
#define TI_BACKOFF_AT_ONCE TI_BACKOFF_COUNT
#define TI_BACKOFF_COUNTS (TI_BACKOFF_COUNT + 1)

#define TI_BACKOFF_ATTEMPTS_MAX 4096
#define TI_BACKOFF_BUSY_MAX_MS 600000
#define TI_BACKOFF_LAST_TRY_MS 50

/* Budgets in ms of sleep. */
#define TI_BUDGET_READ_MS 20000
#define TI_BUDGET_COMMIT_MS 40000
#define TI_BUDGET_TSO_MS 15000
#define TI_BUDGET_CLEANUP_MS 20000
#define TI_BUDGET_RESOLVE_MS 40000
#define TI_BUDGET_RANGE_MS 100000

typedef struct ti_backoff {
    ti_wire *wire;
    const ti_call *call; /* borrowed */
    uint64_t owner;      /* the thread that made it */
    int64_t budget_ms;
    int64_t slept_ms;      /* charged */
    int64_t slept_busy_ms; /* not charged */
    uint32_t attempts;
    uint32_t attempts_of[TI_BACKOFF_COUNT];
    int64_t slept_of[TI_BACKOFF_COUNT];
    bool no_last_try; /* set after init: the try may be a commit point, and one whose answer comes
                         too late would leave the outcome unknown */
    bool last;        /* a sleep was cut: what is tried now is the last */
    char seen[TI_ERR_MESSAGE_SIZE]; /* what the last attempt ended with; "" before the first */
} ti_backoff;

/* The name of a count of retries: a word. Static. */
const char *ti_backoff_name(size_t kind);
void ti_backoff_init(ti_backoff *b, ti_wire *wire, const ti_call *call, int64_t budget_ms);
/* Sleeps because of why (what was seen; why->status decides nothing), at most max_ms when max_ms >=
 * 0. OK to try again; else the answer of the operation: TIMEOUT, CANCELLED, or why's status where
 *     it is transient or unknown, else UNAVAILABLE, when the budget is used up. */
ti_status ti_backoff_sleep(ti_backoff *b, ti_backoff_kind kind, int64_t max_ms, const ti_err *why,
                           ti_err *err);
/* Counts an attempt that needs no sleep. Same answers. */
ti_status ti_backoff_count(ti_backoff *b, const ti_err *why, ti_err *err);
/* Before an attempt: TIMEOUT or CANCELLED when the call has ended meanwhile, with what the attempts
 * before ended with: one more, without time, would tell less. */
ti_status ti_backoff_check(const ti_backoff *b, ti_err *err);
/* The call has ended (status TIMEOUT or CANCELLED, err as ti_call_check sets it) while an attempt
 * was under way: adds what the attempts before it ended with. Returns status. */
ti_status ti_backoff_interrupted(const ti_backoff *b, ti_status status, ti_err *err);
/* Merges a parallel branch (a copy made before) back: the longer of the two. */
void ti_backoff_merge(ti_backoff *b, const ti_backoff *branch);

#endif

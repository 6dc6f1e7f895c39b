/* Workers inside the module: who owns what.
 *
 *   state 1: tl_worker ──┐                        tl_worker: the loop of one state, its tasks
 *   state 2: tl_worker ──┴──> tl_crew ──> tito_worker_t
 *                                         (one state, unless it is a script worker)
 *
 *   task:   FREE ── event taken ──> RUNNING ⇄ WAITING (it yielded) ── ended ──> settled ──> FREE
 *
 * INVARIANTS
 *  1. A tl_worker and its tasks are used by the thread of their state; a tl_crew by any.
 *  2. Tasks are anchored in the table that is the user value of the worker's handle:
 *     [2 i + 1] the coroutine of task i (kept for the next event), [2 i + 2] its event's handle.
 *  3. An event is settled or freed exactly once: when its task ends, or when its handle is
 *     released. */
#ifndef TITO_LUA_WORKER_H
#define TITO_LUA_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "binding.h"

enum {
    TL_START_MAX = 64,            /* events started in one turn */
    TL_TYPES_MAX = 256,           /* types of one worker */
    TL_HOOK_INSTRUCTIONS = 10000, /* between looks at the clock in a handler */
    TL_QUICK_TURNS = 16           /* turns of waiting tasks before the loop begins to rest */
};

/* ---- What the states of a worker share ---- */

typedef struct tl_crew {
    atomic_int references;
    tito_worker_t *worker;
    int64_t drain_us;        /* of a stop that does not say how long */
    atomic_llong stop_at_us; /* when what runs is given up; INT64_MAX while nobody has stopped */
    atomic_bool gave_up;     /* a handler was ended because the time to drain had passed */
    /* Told of each event that a handler has failed, before it is settled, in the state's thread.
     * NULL: nobody. Set before the worker starts; must not enter Lua. */
    void (*on_failure)(const tito_event_t *event, const char *text, size_t len);
    pthread_mutex_t mutex;     /* of types */
    char *types[TL_TYPES_MAX]; /* registered with the library */
    size_t type_count;
} tl_crew;

/* NULL when there is no memory. Takes worker over. */
tl_crew *tl_crew_new(tito_worker_t *worker, int64_t drain_us);
tl_crew *tl_crew_ref(tl_crew *crew);
void tl_crew_unref(tl_crew *crew);
/* Begins to stop; drain_us < 0: the crew's own. May be called by any thread, more than once. */
void tl_crew_stop(tl_crew *crew, int64_t drain_us);
/* Whether the time to drain has passed. */
bool tl_crew_is_over(const tl_crew *crew);
/* Registers a type once, whichever state comes first. */
int32_t tl_crew_on(tl_crew *crew, const char *type, size_t len, const tito_options_t *options,
                   tito_error_t **error_out);
/* The monotonic clock. */
int64_t tl_clock_us(void);

/* ---- Tasks (task.c) ---- */

typedef struct tl_worker tl_worker;

struct tl_task {
    tl_worker *worker;
    tito_event_t *event; /* borrowed from the handle in the anchor; NULL: the task is free */
    lua_State *thread;   /* anchored; NULL: none yet, or not to be used again */
    bool waiting;        /* it has yielded */
};

/* Starts the handler for event, which is the task's from now on. The anchor table is at index.
 * May raise for want of memory; the event is then freed. */
void tl_task_start(lua_State *L, tl_state *state, int anchor, tl_task *task, tito_event_t *event);
/* Lets a waiting task go on. */
void tl_task_resume(lua_State *L, tl_state *state, int anchor, tl_task *task);
/* Fails the event with a text of the program's, cut and cleaned. */
void tl_event_fail(tito_event_t *event, const char *text, size_t len);
/* Gives a task up: its event fails. */
void tl_task_abandon(lua_State *L, int anchor, tl_task *task);

/* ---- Events (event.c) ---- */

/* Pushes the table of an event for a handler. May raise. */
void tl_event_push(lua_State *L, tl_state *state, tito_event_t *event);
/* Pushes the array of the tables of a batch's events; its field batch is true. May raise. */
void tl_events_push(lua_State *L, tl_state *state, tito_event_t *batch);
/* Ends the loan of the event's transaction; the event's handle is at index. */
void tl_event_end_txn(lua_State *L, int index);
extern const luaL_Reg tl_event_functions[];

/* ---- The loop (worker.c) ---- */

struct tl_worker {
    tl_crew *crew;
    tl_task *tasks;
    size_t task_count;      /* how many may run at once */
    size_t running;         /* tasks that are not free */
    tito_future_t *joined;  /* of step, after the last handler; NULL before */
    size_t type_count;      /* registered by this state */
    unsigned quick_turns;   /* in a row in which tasks only waited */
    int64_t leader_at_us;   /* when is_leader is asked next */
    struct tl_watch *watch; /* signals, while run() looks at them */
    unsigned signals_seen;
    bool rested;  /* the last turn has waited */
    bool closed;  /* take has answered CLOSED */
    bool in_turn; /* a handler must not run the loop of its own worker */
};

/* Makes a handle of a worker over crew (a reference is taken over) with a table of its own; pushes
 * it. Raises for want of memory, the reference is then given back. */
tl_worker *tl_worker_push(lua_State *L, tl_crew *crew, size_t task_count);
/* Runs the loop of the worker whose handle is at index until it has ended. Pushes nothing and
 * returns 0, or pushes nil and an error and returns 2. May raise. */
int tl_worker_loop(lua_State *L, tl_state *state, int index);
/* Looks for signals that came; called between and inside handlers. */
void tl_worker_signals(tl_worker *worker);
/* Waits until the crew has settled everything; pushes true, or nil and an error. */
int tl_crew_join(lua_State *L, tl_state *state, tl_crew *crew);
/* Asks the function on top (popped) whether this process leads; tells the crew. */
void tl_crew_ask_leader(lua_State *L, tl_crew *crew);

/* ---- Signals (signals.c) ---- */

/* While at least one watch is on, SIGINT and SIGTERM are counted instead of ending the process. */
typedef struct tl_watch {
    int fd; /* readable after a signal */
    size_t slot;
    unsigned count_before;
} tl_watch;

/* false when there is no descriptor or no place for another watch. */
bool tl_watch_begin(tl_watch *watch);
void tl_watch_end(tl_watch *watch);
/* How many signals came since the watch began. @signal-safe */
unsigned tl_watch_count(const tl_watch *watch);
/* Takes what makes fd readable. */
void tl_watch_drain(const tl_watch *watch);

#endif

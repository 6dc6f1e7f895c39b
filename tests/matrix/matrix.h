/* The fault matrix: what becomes of an operation when one of its requests goes wrong.
 *
 *   cell = scene (an operation that sends at least three requests of one kind)
 *        × trouble (a region error, a key error, a transport error)
 *        × place (the first, a middle, the last request; the second sending of one; all of them)
 *
 * A pair is a cell with two troubles: the first request meets one, its second sending another. What
 * must become of it is what becomes of the second alone, since the first is one that is overcome;
 * unless the first may have been applied unseen: then a failure may also be an unknown outcome.
 *
 * Cells run on the simulated wire, in virtual time, against the little store of tests/tikv/mvcc.h.
 * A cell's outcome is what the table of trouble.c declares for its trouble and scene; the table is
 * taken from the protocol reference, not from the code. Whatever the outcome, a second client then
 * reads everything back: an OK is there as a whole and at its timestamp, a refusal is not there at
 * all, an unknown outcome is one of the two, and no lock is left over.
 *
 * INVARIANTS
 *  1. A cell that can not occur is marked '-' in the table, never left out.
 *  2. Every cell ends within its deadline in virtual time, to the millisecond.
 *  3. Waits of troubles that occur once are within the bounds of their backoff row.
 *
 * Thread rule: one thread runs a cell; inject is called under the cluster's gate. */
#ifndef TITO_TESTS_MATRIX_MATRIX_H
#define TITO_TESTS_MATRIX_MATRIX_H

#include "tikv/mvcc.h"

#include "base/assert.h"
#include "tikv/pb.h"

#define DEADLINE_MS 200000     /* of a cell whose trouble passes */
#define DEADLINE_EVER_MS 45000 /* of a cell whose trouble stays */
#define KEYS 8
#define COMMITS_MAX 4

typedef enum place { FIRST, MIDDLE, LAST, RETRY, EVER, PLACES } place;
static inline const char *place_name(place p)
{
    static const char *const names[PLACES] = {"first", "middle", "last", "retry", "ever"};
    return names[p];
}

typedef enum trouble_class { REGION, KEY, TRANSPORT, CLASSES } trouble_class;

/* What the table says of a trouble in a scene. */
typedef enum deed {
    OVERCOME = '+',   /* asked again: the operation succeeds, within the waits of the row */
    CONFLICTS = 'C',  /* ends with CONFLICT, nothing applied */
    EXISTS = 'A',     /* ends with ALREADY_EXISTS, nothing applied */
    DEADLOCKS = 'D',  /* ends with DEADLOCK, nothing applied */
    TOO_LARGE = 'L',  /* ends with LIMIT_EXCEEDED, nothing applied */
    TRANSIENT = 'U',  /* ends with UNAVAILABLE, nothing applied */
    FAILS = 'x',      /* ends with a definite failure of some kind, nothing applied */
    FOUND_OUT = '?',  /* asked about: succeeds exactly when it was applied */
    BEHIND = 'B',     /* nobody is told: done by another try in the background */
    LEFT = 'b',       /* nobody is told, or what is told is of no consequence: left to others */
    STOPS = 'h',      /* heartbeats end */
    IMPOSSIBLE = '-', /* can not occur */
} deed;

typedef struct world world;

typedef struct trouble {
    const char *name;
    trouble_class class;
    int id;              /* the field of a region error; otherwise the trouble's own */
    int64_t wait_min_ms; /* of one occurrence, where it is overcome */
    int64_t wait_max_ms;
    bool applied;      /* the request was applied all the same */
    bool timed_out;    /* the wait is on top of the request's own timeout */
    const char *deeds; /* one letter per scene */
} trouble;

typedef struct scene {
    const char *name;
    ti_command_id kind;
    int last;           /* how many requests of its kind it sends without trouble */
    int64_t timeout_ms; /* of each */
    bool long_keys;
    bool (*counts)(world *w, fake_ask *ask); /* which requests of the kind; NULL: all */
    void (*prepare)(world *w);               /* or NULL */
    void (*act)(world *w);
    void (*check)(world *w); /* after the readback; or NULL */
} scene;

/* One commit of a scene. */
typedef struct attempt {
    ti_status status;
    uint64_t start_ts;
    uint64_t commit_ts;
    size_t keys[KEYS];
    size_t count;
    int applied_before; /* the world's `applied` when it began */
} attempt;

struct world {
    fake f;
    mvcc m;
    ti_engine *e;
    const scene *scene;
    const trouble *trouble; /* of a pair: the second, once the first was made */
    const trouble *then;    /* of a pair: the second; or NULL */
    const trouble *before;  /* of a pair: the first, once it was made */
    place place;
    deed deed;
    ti_slice keys[KEYS]; /* two in each of four regions */
    /* Under the cluster's gate. */
    int seen;           /* requests that count */
    int hits;           /* troubles made */
    bool quiet;         /* no more trouble */
    atomic_int applied; /* requests that count and were carried out */
    /* Of the thread that runs the cell. */
    ti_arena a;
    attempt commits[COMMITS_MAX];
    size_t commit_count;
    const char *expected[KEYS]; /* the value that a reader must see */
    ti_status status;
    ti_err err;
    int64_t deadline_ns; /* 0: not begun */
    int64_t elapsed_ms;
    uint64_t clock_ms; /* where the second cluster's clock begins */
    char complaint[512];
};

/* scenes.c */
extern const scene scenes[];
extern const size_t scene_count;
/* trouble.c */
extern const trouble troubles[];
extern const size_t trouble_count;
const char *class_name(trouble_class c);
/* Answers a request of the scene's kind with the trouble. */
void trouble_make(world *w, fake_ask *ask);
/* Notes what is wrong; only the first complaint of a cell is kept. */
void complain(world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

/* Deaths of clients at named fault points: after every step of every mode of commit, with locks
 * held, while clearing up, while clearing up after another.
 *
 *   parent:  rule on a store  →  fork  →  wait for the SIGKILL  →  rule away  →  the rest is read
 *   child:   arm the point  →  commit  →  dies on the way
 *
 * All deaths share one cluster of three stores and three regions, each led by a store of its own:
 * every death has three keys of its own, one in each. The first is the primary.
 *
 * INVARIANTS
 *  1. A death whose point is not hit fails the test.
 *  2. A child makes its own engine; the parent has none while it forks.
 *
 * Thread rule: one thread. */
#ifndef TITO_TESTS_TIKV_KILLED_DEATHS_H
#define TITO_TESTS_TIKV_KILLED_DEATHS_H

#include "tikv/tk.h"

#define DEATH_KEYS 3
#define DEATH_KEY_SIZE 64

typedef enum death_mode {
    DEATH_ONE_PC, /* the three keys are in the first region */
    DEATH_ASYNC,
    DEATH_TWO_PHASE,   /* two long keys more */
    DEATH_PESSIMISTIC, /* async, with all keys locked before */
} death_mode;

/* What others find afterwards. */
typedef enum death_find { FIND_NOTHING, FIND_ALL } death_find;

typedef struct death {
    const char *name;
    const char *point;
    uint64_t hit; /* 0 = 1 */
    death_mode mode;
    death_find find;
    bool refused;        /* another's write of the last key refuses the commit */
    const char *blocked; /* requests of that kind are refused by one store until the death … */
    int blocked_region;  /* … the one that leads this region */
    bool unread;         /* the Rust client can not read over it: see killed_rust.c */
} death;

/* Short ones live for 3 s at most, long ones for 20 s and more. */
extern const death deaths_short[];
extern const size_t deaths_short_count;
extern const death deaths_long[];
extern const size_t deaths_long_count;

/* A cluster as above. */
void deaths_begin(cluster *c);
/* The store that leads a region. */
uint64_t death_leader(int region);
/* The death's key in a region; tag sets apart what happens several times. */
void death_key(const death *d, char tag, int region, char out[DEATH_KEY_SIZE]);
/* Makes it happen; answers when, on the monotonic clock. */
int64_t death_happens(const cluster *c, const death *d, char tag);
/* A child that reads the death's keys and dies at a point while clearing up after it. */
void death_reader_dies(const cluster *c, const death *d, char tag, const char *point);
/* How long its locks live. */
int64_t death_ttl_ms(const death *d);
/* Fails the test unless the three values are what the death leaves; NULL where there is none. */
void death_check(const death *d, const char *who, const char *const values[DEATH_KEYS]);

#endif

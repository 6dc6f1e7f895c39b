/* The embedded database's clock: strictly rising timestamps that never go back, also not across
 * restarts or when the wall clock jumps.
 *
 *   wall     ----1----2----3  jump back  1----2----3----4----5
 *   clock    ----1----2----3---3.5---4---4.5----5 …              half speed while ahead of the wall
 *   bound    [------------ 3 s ------------) [------------ 3 s …  stored in the database, ahead
 *
 * INVARIANTS
 *  1. Every timestamp handed out is greater than all before, and below `bound`.
 *  2. `bound` is stored before it holds, so a later process, which starts at the stored bound,
 *     hands out only greater ones.
 *  3. A process that ends in peace stores `last + 1` in its place (open.c), so that short lives in
 *     a row do not push the time ahead by a window each.
 *  4. Between two looks at the wall clock (each millisecond) the clock advances with the monotonic
 *     one: at full speed, or at half speed while it is ahead of the wall clock.
 *
 * Thread rule: any thread; its own mutex, of rank CLOCK, is held for arithmetic only. What is NOT
 * here: storing the bound (commit.c). */
#ifndef TI_ROCKS_CLOCK_INT_H
#define TI_ROCKS_CLOCK_INT_H

#include "base/thread.h"
#include "kv/engine.h"

typedef struct ti_clock {
    const ti_env *env;
    ti_mutex mutex;
    ti_ts last;      /* handed out last */
    ti_ts bound;     /* exclusive; what is stored */
    int64_t base_us; /* the clock's time at base_ns */
    int64_t base_ns; /* of the monotonic clock: the last look at the wall clock */
    bool ahead;      /* of the wall clock, at that look */
} ti_clock;

/* Starts at the stored bound (TI_TS_NONE in a new database); nothing is reserved beyond it. */
ti_status ti_clock_init(ti_clock *c, const ti_env *env, ti_ts stored_bound, ti_err *err);
void ti_clock_destroy(ti_clock *c);

typedef enum ti_tick {
    TI_TICK_REFUSED, /* a greater bound has to be stored first */
    TI_TICK_OK,
    TI_TICK_SOON, /* OK, and it is time to store a greater bound */
} ti_tick;

/* The next timestamp. @thread any */
ti_tick ti_clock_tick(ti_clock *c, ti_ts *ts_out);
/* The timestamp handed out last. @thread any */
ti_ts ti_clock_last(ti_clock *c);
/* The bound that should be stored next, one window from now; TI_TS_NONE when `early` asks only for
 * one that is worth a write now (a third of the window has gone). @thread any */
ti_ts ti_clock_next_bound(ti_clock *c, bool early);
/* The bound to be stored when nobody will tick again, so that the next process need not begin where
 * this one had reserved to; TI_TS_NONE: the stored one is as good. @thread any */
ti_ts ti_clock_closing_bound(ti_clock *c);
/* bound is stored now. Lower ones than before are ignored. @thread any */
void ti_clock_set_bound(ti_clock *c, ti_ts bound);

#endif

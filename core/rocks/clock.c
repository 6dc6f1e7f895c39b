/* The embedded database's clock; see clock_int.h. */
#include "rocks/clock_int.h"

#include "base/assert.h"
#include "base/limits.h"

/* How long the monotonic clock is followed without a look at the wall clock. */
#define LOOK_NS INT64_C(1000000)

ti_status ti_clock_init(ti_clock *c, const ti_env *env, ti_ts stored_bound, ti_err *err)
{
    int64_t wall_us = ti_env_wall_us(env);
    int64_t stored_us = ti_ts_to_us(stored_bound);
    *c = (ti_clock){.env = env, .last = stored_bound, .bound = stored_bound};
    c->ahead = stored_us > wall_us;
    c->base_us = c->ahead ? stored_us : wall_us;
    c->base_ns = ti_env_mono_ns(env);
    return ti_mutex_init(&c->mutex, TI_RANK_CLOCK, err);
}

void ti_clock_destroy(ti_clock *c)
{
    ti_mutex_destroy(&c->mutex);
}

/* The clock's time, moving its base when it is time for a look at the wall clock. */
static int64_t advance(ti_clock *c)
{
    int64_t ns = ti_env_mono_ns(c->env);
    int64_t elapsed_ns = ns - c->base_ns;
    ti_assert(elapsed_ns >= 0);
    int64_t us = c->base_us + (c->ahead ? elapsed_ns / 2 : elapsed_ns) / 1000;
    if (elapsed_ns < LOOK_NS)
        return us;
    int64_t wall_us = ti_env_wall_us(c->env);
    c->ahead = us > wall_us;
    c->base_us = c->ahead ? us : wall_us;
    c->base_ns = ns;
    return c->base_us;
}

/* The timestamp after the last one, at the clock's time. */
static ti_ts next(ti_clock *c)
{
    ti_mutex_assert_held(&c->mutex);
    ti_ts ts = ti_ts_from_us(advance(c));
    return ts > c->last ? ts : c->last + 1;
}

/* Whether, at ts, less than this part (in thirds) of the window is left. */
static bool is_left_less(const ti_clock *c, ti_ts ts, int64_t thirds)
{
    return ti_ts_to_us(c->bound) - ti_ts_to_us(ts) < thirds * TI_ROCKS_CLOCK_WINDOW_US / 3;
}

ti_tick ti_clock_tick(ti_clock *c, ti_ts *ts_out)
{
    ti_mutex_lock(&c->mutex);
    ti_ts ts = next(c);
    ti_tick tick = ts >= c->bound           ? TI_TICK_REFUSED
                   : is_left_less(c, ts, 1) ? TI_TICK_SOON
                                            : TI_TICK_OK;
    if (tick != TI_TICK_REFUSED)
        c->last = ts;
    ti_mutex_unlock(&c->mutex);
    *ts_out = tick == TI_TICK_REFUSED ? TI_TS_NONE : ts;
    return tick;
}

ti_ts ti_clock_last(ti_clock *c)
{
    ti_mutex_lock(&c->mutex);
    ti_ts last = c->last;
    ti_mutex_unlock(&c->mutex);
    return last;
}

ti_ts ti_clock_next_bound(ti_clock *c, bool early)
{
    ti_mutex_lock(&c->mutex);
    ti_ts ts = next(c);
    ti_ts bound =
        early && !is_left_less(c, ts, 2) ? TI_TS_NONE : ti_ts_add_us(ts, TI_ROCKS_CLOCK_WINDOW_US);
    ti_mutex_unlock(&c->mutex);
    return bound;
}

ti_ts ti_clock_closing_bound(ti_clock *c)
{
    ti_mutex_lock(&c->mutex);
    ti_ts bound = c->last + 1 < c->bound ? c->last + 1 : TI_TS_NONE;
    ti_mutex_unlock(&c->mutex);
    return bound;
}

void ti_clock_set_bound(ti_clock *c, ti_ts bound)
{
    ti_mutex_lock(&c->mutex);
    if (bound > c->bound)
        c->bound = bound;
    ti_mutex_unlock(&c->mutex);
}

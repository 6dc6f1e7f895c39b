/* Single flights: of many callers who want to know the same thing at the same time, one asks and
 * the others wait for its answer.
 *
 *   begin ── nobody asks ──> leads ── asks ── end: hands the result to who waits
 *         └─ somebody asks ──> waits ──> the result, or its own deadline or cancel
 *
 * INVARIANTS
 *  1. At most one flight of an id is under way in a ti_flights.
 *  2. A leader ends its flight whatever happens to it; nobody who waits is left behind.
 *  3. No mutex is held while the leader asks.
 *
 * Thread rule: any thread; a ti_flight lives on its leader's stack. */
#ifndef TI_TIKV_FLIGHT_H
#define TI_TIKV_FLIGHT_H

#include "tikv/wire.h"

#define TI_FLIGHT_BUCKETS 64

typedef struct ti_flight_waiter ti_flight_waiter;

typedef struct ti_flight ti_flight;
struct ti_flight {
    ti_flight *next; /* in its bucket; all three under the mutex */
    uint64_t id;
    ti_flight_waiter *waiters;
};

typedef struct ti_flights {
    ti_wire *wire;
    size_t result_size;
    ti_mutex mutex; /* rank TI_RANK_CLOCK: all below */
    ti_flight *buckets[TI_FLIGHT_BUCKETS];
} ti_flights;

/* result_size: bytes that end hands to each who waits. OUT_OF_MEMORY. */
ti_status ti_flights_init(ti_flights *f, ti_wire *w, size_t result_size, ti_err *err);
/* No flight may be under way. */
void ti_flights_destroy(ti_flights *f);
/* OK and *leads_out: the caller asks now, and calls ti_flight_end. OK without: another's flight has
 * ended, result_out holds what it said. TIMEOUT, CANCELLED: the caller's own. */
ti_status ti_flight_begin(ti_flights *f, uint64_t id, ti_flight *mine, bool *leads_out,
                          void *result_out, const ti_call *call, ti_err *err);
void ti_flight_end(ti_flights *f, ti_flight *mine, const void *result);

#endif

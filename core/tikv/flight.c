/* Single flights. See flight.h. */
#include "tikv/flight.h"

#include <string.h>

#include "base/assert.h"

struct ti_flight_waiter {
    ti_flight_waiter *next;
    ti_latch latch;
    void *result;
};

static ti_flight **bucket_of(ti_flights *f, uint64_t id)
{
    return &f->buckets[((id * UINT64_C(0x9E3779B97F4A7C15)) >> 32) % TI_FLIGHT_BUCKETS];
}

static ti_flight *find(ti_flights *f, uint64_t id)
{
    ti_flight *flight = *bucket_of(f, id);
    while (flight != NULL && flight->id != id)
        flight = flight->next;
    return flight;
}

ti_status ti_flights_init(ti_flights *f, ti_wire *w, size_t result_size, ti_err *err)
{
    memset(f, 0, sizeof(*f));
    TI_TRY(ti_mutex_init(&f->mutex, TI_RANK_CLOCK, err));
    f->wire = w;
    f->result_size = result_size;
    return TI_OK;
}

void ti_flights_destroy(ti_flights *f)
{
    for (size_t i = 0; i < TI_FLIGHT_BUCKETS; i++)
        ti_assert(f->buckets[i] == NULL);
    ti_mutex_destroy(&f->mutex);
}

/* Enters the caller: as the leader, or as one who waits. */
static bool enter(ti_flights *f, uint64_t id, ti_flight *mine, ti_flight_waiter *waiter)
{
    ti_mutex_lock(&f->mutex);
    ti_flight *flight = find(f, id);
    if (flight == NULL) {
        ti_flight **bucket = bucket_of(f, id);
        *mine = (ti_flight){.next = *bucket, .id = id};
        *bucket = mine;
    } else {
        waiter->next = flight->waiters;
        flight->waiters = waiter;
    }
    ti_mutex_unlock(&f->mutex);
    return flight == NULL;
}

/* Takes back one who waits no longer; false when the flight has ended meanwhile. */
static bool withdraw(ti_flights *f, uint64_t id, const ti_flight_waiter *waiter)
{
    bool found = false;
    ti_mutex_lock(&f->mutex);
    ti_flight *flight = find(f, id);
    for (ti_flight_waiter **at = flight == NULL ? NULL : &flight->waiters;
         at != NULL && *at != NULL && !found; at = found ? at : &(*at)->next) {
        found = *at == waiter;
        if (found)
            *at = waiter->next;
    }
    ti_mutex_unlock(&f->mutex);
    return found;
}

ti_status ti_flight_begin(ti_flights *f, uint64_t id, ti_flight *mine, bool *leads_out,
                          void *result_out, const ti_call *call, ti_err *err)
{
    ti_flight_waiter waiter = {.result = result_out};
    *leads_out = false;
    ti_latch_init(&waiter.latch, 1);
    *leads_out = enter(f, id, mine, &waiter);
    ti_status status = TI_OK;
    if (!*leads_out) {
        status = ti_wire_wait(f->wire, &waiter.latch, call, "another's answer", err);
        if (status != TI_OK && !withdraw(f, id, &waiter))
            status = TI_OK; /* it came in the last moment */
    }
    return status;
}

void ti_flight_end(ti_flights *f, ti_flight *mine, const void *result)
{
    ti_mutex_lock(&f->mutex);
    ti_flight **at = bucket_of(f, mine->id);
    while (*at != mine)
        at = &(*at)->next;
    *at = mine->next;
    while (mine->waiters != NULL) {
        ti_flight_waiter *waiter = mine->waiters;
        mine->waiters = waiter->next;
        if (f->result_size > 0)
            memcpy(waiter->result, result, f->result_size);
        ti_latch_done(&waiter->latch); /* it may be gone from here on */
    }
    ti_mutex_unlock(&f->mutex);
}

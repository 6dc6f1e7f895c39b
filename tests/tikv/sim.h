/* A wire without a network, in virtual time: what is asked is answered by the test's functions.
 *
 * Handlers run on one thread of the simulator as soon as they are due. Time stands still while
 * anything is due; it moves only inside wait and sleep, to the next event or the caller's deadline.
 *
 * INVARIANTS
 *  1. With one calling thread a run is the same every time.
 *  2. A wait that can not end (no deadline, no event) fails the program.
 *  3. sim_free fails the program when close was not called, or something is not ended and dropped.
 *  4. Time moves at most to the earliest of what threads wait for, and only while every thread of
 *     the program sleeps: one that could run but has no processor keeps it still (calm.h). So
 *     deadlines
 *     are exact, however loaded the machine.
 *
 * Thread rule: any thread may use the wire; the test's functions run in the caller's or the
 * simulator's thread and only read the sim's fields and answer. */
#ifndef TITO_TESTS_TIKV_SIM_H
#define TITO_TESTS_TIKV_SIM_H

#include "support/test.h"

#include "tikv/wire.h"

typedef struct sim sim;

/* An answer to a unary call. */
typedef struct sim_reply {
    ti_status status; /* TI_OK: bytes */
    ti_slice bytes;   /* copied */
    ti_arena *arena;  /* or NULL; freed with ti_arena_free and ti_free when bytes are copied */
    int64_t delay_ms;
    bool silent; /* no answer before the caller's timeout */
} sim_reply;

typedef void (*sim_unary_fn)(void *context, sim *s, const char *address, const char *method,
                             ti_slice request, sim_reply *reply);
typedef void (*sim_message_fn)(void *context, sim *s, ti_stream *stream, ti_slice message);

struct sim {
    ti_wire base; /* first: &s->base is the wire to pass */
    test_env env;
    void *context; /* of the two functions below */
    sim_unary_fn on_unary;
    sim_message_fn on_message;
    _Atomic(int) unaries; /* counts */
    _Atomic(int) opened;
    _Atomic(int) sent;
    _Atomic(int) forgotten;
    _Atomic(bool) hold_sent; /* on_sent is not called: the connection does not take the message */
    _Atomic(bool) unreached; /* streams end without ever having had a connection */
    struct sim_inside *inside;
};

sim *sim_create(void);
void sim_free(sim *s);
int64_t sim_now_ms(const sim *s);
const char *sim_stream_address(const ti_stream *stream);
const char *sim_stream_method(const ti_stream *stream);
/* The stream that was opened last; NULL: none. */
ti_stream *sim_newest(sim *s);
/* A message or the end of a stream, delay_ms from now. */
void sim_answer(ti_stream *stream, ti_slice message, int64_t delay_ms);
void sim_end(ti_stream *stream, ti_status status, int64_t delay_ms);
/* The same, as one that never had a connection. */
void sim_refuse(ti_stream *stream, int64_t delay_ms);
/* Lets due handlers run, then moves time by ms. */
void sim_run(sim *s, int64_t ms);

#endif

/* Who polls gRPC's completion queue: the thread that waits, where one waits alone, so that its
 * answer costs no switch of threads; else the wire's own thread.
 *
 *   the role:  FREE --a caller waits, nobody else does--> CALLER --its answer came--> FREE
 *              FREE --several wait, or nobody came for a while--> OWN --nobody waits--> FREE
 *
 * The role is free only for moments: while nobody waits the own thread takes it after
 * TI_POLL_IDLE_MS, for keepalives and the ends of streams.
 *
 * INVARIANTS
 *  1. One thread has the role, so handlers never run at once.
 *  2. Whoever gives the role back while others wait wakes the own thread.
 *  3. Who sleeps on an answer that was taken is woken before the next wait for events.
 *
 * Thread rule: any thread. What is NOT here: what the events mean (grpc_wire.c, grpc_stream.c). */
#ifndef TI_TIKV_GRPC_POLL_H
#define TI_TIKV_GRPC_POLL_H

#include <grpc/grpc.h>

#include "tikv/wire.h"

#define TI_POLL_IDLE_MS 10
/* Events that are handled before those are woken whom the first of them concerns. */
#define TI_POLL_GO_MAX 64

typedef struct ti_poll {
    const ti_env *env;
    grpc_completion_queue *queue; /* borrowed */
    ti_mutex mutex;               /* rank TI_RANK_LEAF: all below */
    ti_cond wanted;               /* the own thread shall look */
    ti_thread thread;
    const ti_latch *alone; /* of the first caller that waits without the role, or NULL: not known */
    _Atomic(size_t) waiting;
    _Atomic(uint64_t) turns; /* how often a caller had the role */
    _Atomic(bool) taken;
    _Atomic(bool) closing;
} ti_poll;

/* Starts the own thread. queue outlives the poll. */
ti_status ti_poll_start(ti_poll *p, const ti_env *env, grpc_completion_queue *queue, ti_err *err);
/* Waits for the latch as ti_wire_vt says. */
bool ti_poll_wait(ti_poll *p, ti_latch *latch, int64_t deadline_ns);
/* Before the queue is shut down: from here on the own thread has the role. */
void ti_poll_close(ti_poll *p);
/* After the queue was shut down and nobody waits: ends the thread. */
void ti_poll_join(ti_poll *p);

#endif

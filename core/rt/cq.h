/* The completion queue: futures that are ready, for an event loop that watches one descriptor.
 *
 *   future ready ──> [ completion | completion | … ] ──> ti_cq_drain, tag by tag
 *                     └ empty -> non-empty: the descriptor becomes readable
 *
 * Two forms of descriptor: an eventfd; or, for loops that can only connect to a unix socket, the
 * connection of that loop (ti_cq_listen, connect, ti_cq_accept), which gets one byte when the queue
 * becomes non-empty, and a heartbeat byte now and then so that the loop's read never times out.
 *
 * INVARIANTS
 *  1. A completion is part of its future: putting it in never allocates and never fails.
 *  2. The eventfd is readable exactly while the queue is not empty.
 *  3. Each watched future comes out once, unless its handle is released or the queue closed before:
 *     then never.
 *  4. A closed queue is empty and stays so.
 *
 * Thread rule: all functions from any thread; the queue's mutex has rank CQ. Fork: in a child
 * nothing is drained and close frees memory only. */
#ifndef TI_RT_CQ_H
#define TI_RT_CQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"
#include "base/err.h"

typedef struct ti_cq ti_cq;
typedef struct ti_future ti_future;

typedef struct ti_completion {
    uint64_t tag;      /* given to ti_future_watch */
    ti_future *future; /* borrowed: alive as long as the caller has not released it */
} ti_completion;

/* A completion's place in its future. All fields are the queue's. */
typedef struct ti_cq_node ti_cq_node;
struct ti_cq_node {
    ti_cq_node *prev;
    ti_cq_node *next;
    ti_completion completion;
    bool queued;
};

/* An empty queue with an eventfd. Ended with ti_cq_close, then ti_cq_unref. UNAVAILABLE,
 * OUT_OF_MEMORY. @thread any */
ti_status ti_cq_create(const ti_env *env, ti_cq **cq_out, ti_err *err);
/* Drops what is queued and all that comes later, closes the descriptors, ends the heartbeat. Safe
 * to call again. @thread any */
void ti_cq_close(ti_cq *cq);
/* Another owner; each ends with ti_cq_unref. */
ti_cq *ti_cq_ref(ti_cq *cq);
/* Frees the queue with the last reference; it must be closed by then. NULL is allowed. */
void ti_cq_unref(ti_cq *cq);

/* The descriptor to watch for reading: the queue's, never to be closed; nor read when it is the
 * eventfd. Changes with ti_cq_accept. -1 when closed or in a forked child. */
int ti_cq_fd(ti_cq *cq);
/* Takes up to max completions, oldest first; returns how many. Fewer than max: the queue is empty.
 * Never blocks. 0 when closed or in a forked child. */
size_t ti_cq_drain(ti_cq *cq, ti_completion *completions_out, size_t max);

/* Listens at path (made with mode 0600, removed by accept and close). INVALID_ARGUMENT,
 * ALREADY_EXISTS, INVALID_STATE, IO, CLOSED, FORKED. */
ti_status ti_cq_listen(ti_cq *cq, const char *path, ti_err *err);
/* Takes the connection, if it comes from this very process, as the queue's descriptor; writes one
 * byte when completions wait already, and from then on one each heartbeat_us (0: none). BUSY:
 * nobody has connected yet; INVALID_STATE, CLOSED, FORKED; UNAVAILABLE: no thread for the
 * heartbeat. */
ti_status ti_cq_accept(ti_cq *cq, int64_t heartbeat_us, ti_err *err);

/* For what completes: puts node in (nothing when it is in already; dropped when the queue is
 * closed), takes it out when it is in. A future calls them with its mutex held. */
void ti_cq_push(ti_cq *cq, ti_cq_node *node);
void ti_cq_remove(ti_cq *cq, ti_cq_node *node);
/* CLOSED, FORKED or OK. */
ti_status ti_cq_check(ti_cq *cq, ti_err *err);

#endif

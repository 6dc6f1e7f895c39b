/* Timestamps over one stream: callers that come while a request is on its way share the next one.
 *
 *   caller: QUEUED --company enough, or waited long enough: request sent--> SENT --reply--> done
 *           QUEUED, SENT --deadline--> withdrawn (its timestamp, if one comes, is dropped)
 *
 * Replies are strictly first in, first out. A reply {count n, last logical L} holds the timestamps
 * L-n+1 … L.
 *
 * INVARIANTS
 *  1. A reply whose count differs from its request's, that nobody asked for, or that is not above
 *     everything handed out before, ends the stream and fails its callers.
 *  2. The end of the stream fails every caller, queued or sent; the next caller opens a new one. */
#ifndef TI_TIKV_TSO_H
#define TI_TIKV_TSO_H

#include "tikv/wire.h"

typedef struct ti_tso ti_tso;

ti_status ti_tso_create(ti_wire *w, ti_tso **tso_out, ti_err *err);
/* One attempt at address, within the call and timeout_us. When nobody answers in time the stream is
 * ended. */
ti_status ti_tso_get(ti_tso *tso, const char *address, uint64_t cluster_id, int64_t timeout_us,
                     uint64_t *ts_out, const ti_call *call, ti_err *err);
/* Lets callers wait for company while *busy (requests to stores that are under way; outlives tso)
 * tells that many are at work: up to a sixth of them share a request, none waits longer than a
 * millisecond for that. */
void ti_tso_follow(ti_tso *tso, const _Atomic(int64_t) *busy);
/* Ends the stream, so that the next caller opens one to its address (the leader has changed). */
void ti_tso_reset(ti_tso *tso);
void ti_tso_counts(ti_tso *tso, uint64_t *requests_out, uint64_t *timestamps_out);
/* Fails all callers with CLOSED, waits for the stream's end, frees. No new caller may come. */
void ti_tso_close(ti_tso *tso);

#endif

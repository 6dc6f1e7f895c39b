/* Inside publishing: the event sink of models. */
#ifndef TI_QUEUE_PUBLISH_INT_H
#define TI_QUEUE_PUBLISH_INT_H

#include "model/store.h"
#include "queue/hub_int.h"

/* A ti_event_sink's publish; context is the ti_queues. */
ti_status ti_publish_model_event(void *context, ti_txn *txn, const ti_model_event *event,
                                 const ti_call *call, ti_err *err);

/* Whether the event could be published, as far as it tells by itself: INVALID_ARGUMENT,
 * LIMIT_EXCEEDED. */
ti_status ti_publish_check(const ti_event_spec *spec, ti_err *err);
/* Adds an event without a token to an open transaction, which a failure leaves open. */
ti_status ti_publish_in(ti_queues *queues, ti_txn *txn, const ti_event_spec *spec,
                        const ti_call *call, ti_err *err);

/* ---- gather.c ---- */

/* Callers that publish at once on a shared engine share transactions. OUT_OF_MEMORY. Freed when
 * nobody publishes. */
ti_status ti_gatherer_new(ti_queues *queues, ti_gatherer **gatherer_out, ti_err *err);
void ti_gatherer_free(ti_gatherer *g);
/* ti_queue_publish of an event without a token, outside of a transaction. @thread any */
ti_status ti_gather_publish(ti_gatherer *g, const ti_event_spec *spec, char *id_out,
                            const ti_call *call, ti_err *err);

/* How many wait or share at present: tests look at it. @thread any */
uint32_t ti_gatherer_waiting(ti_gatherer *g);

/* ---- publish.c ---- */

/* Has the id of the transaction's last event so far written to id_out (TI_EVENT_ID_SIZE + 1 bytes,
 * valid until the transaction ends) when it commits. */
ti_status ti_publish_tell_id(ti_txn *txn, char *id_out, ti_err *err);

/* Whether the event of that id is pending or parked. */
ti_status ti_event_is_unfinished(ti_queues *queues, ti_txn *txn, ti_slice type, ti_slice id,
                                 bool *unfinished_out, const ti_call *call, ti_err *err);

/* The place of the n-th event (from 0) of a transaction whose commit began at t. base: a uuid that
 * ti_place_base made for that transaction; the same for all its events. */
void ti_place_base(ti_ts t, const unsigned char random[TI_UUID_V7_RANDOM_SIZE],
                   char base_out[TI_UUID_TEXT_SIZE + 1]);
void ti_place_make(const char base[TI_UUID_TEXT_SIZE + 1], uint32_t ordinal, uint32_t partition,
                   uint64_t timestamp_us, ti_event_place *place_out);

#endif

/* Heartbeats: keep the primary locks of long transactions alive, from one thread that starts with
 * the first of them.
 *
 * INVARIANTS
 *  1. An entry is beaten every TI_HEARTBEAT_MS until it is removed, its lock is gone, or an hour
 *     has passed.
 *  2. remove never waits: a beat under way ends by itself, and finds no lock or one that is of no
 *     consequence. */
#ifndef TI_TIKV_HEARTBEAT_H
#define TI_TIKV_HEARTBEAT_H

#include "tikv/send.h"

#define TI_HEARTBEAT_MS 8000
#define TI_HEARTBEAT_TTL_MS 20000
#define TI_HEARTBEAT_LIFE_MS 3600000

typedef struct ti_heartbeat ti_heartbeat;

ti_status ti_heartbeat_create(ti_cluster *c, ti_heartbeat **h_out, ti_err *err);
/* primary is copied. */
ti_status ti_heartbeat_add(ti_heartbeat *h, uint64_t start_ts, ti_slice primary, ti_err *err);
void ti_heartbeat_remove(ti_heartbeat *h, uint64_t start_ts);
void ti_heartbeat_close(ti_heartbeat *h);

#endif

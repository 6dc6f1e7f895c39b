/* Fanning out: one command over many keys, a request per region and batch, in rounds until every
 * key has its answer.
 *
 *   round: group the keys left by region and size  →  send all
 *          →  take each answer (may leave keys over)  →  settle (locks met)
 *
 * INVARIANTS
 *  1. A key is done when the answer of a request with it was taken and `take` did not leave it
 *     over.
 *  2. Only keys that are left are asked again.
 *
 * Thread rule: one thread. */
#ifndef TI_TIKV_FAN_H
#define TI_TIKV_FAN_H

#include "tikv/send.h"

/* The keys of one request: indexes into the fan's keys, in order. */
typedef struct ti_fan_part {
    const size_t *indexes;
    size_t count;
    bool again;              /* a key of it has been sent before */
    bool whole;              /* all keys of the fan are in this one part */
    size_t region_keys;      /* how many of the fan's keys left are in its region */
    const ti_region *region; /* borrowed for the call */
} ti_fan_part;

typedef struct ti_fan {
    ti_cluster *cluster;
    ti_command_id kind;
    int64_t timeout_us;   /* of each request; 0 = TI_SEND_TIMEOUT_US */
    const ti_slice *keys; /* sorted or not; not empty */
    size_t count;
    size_t keys_max; /* of one request; 0 = no bound */
    size_t size_max; /* bytes after which a request is closed; 0 = no bound */
    void *context;
    /* Bytes that a key counts for. NULL: its own length. */
    size_t (*size_of)(void *context, size_t index);
    /* The packed request; data NULL when there is no memory. */
    ti_slice (*build)(void *context, const ti_fan_part *part, ti_context *c, ti_arena *a);
    /* Reads an answer; sets left[index] for keys that must be asked again. An error ends the fan.
     */
    ti_status (*take)(void *context, const ti_fan_part *part, ti_slice response, bool *left,
                      ti_err *err);
    /* After each round; may wait. NULL: nothing. */
    ti_status (*settle)(void *context, ti_backoff *backoff, ti_err *err);
    /* An answer did not come, though the store may have applied the request. NULL: nothing. */
    void (*lost)(void *context, const ti_fan_part *part);
} ti_fan;

/* Runs it to the end. On failure some keys may have been done. */
ti_status ti_fan_run(ti_fan *fan, ti_backoff *backoff, ti_err *err);
/* One command for one key, again until it is answered. response_out is in the arena. */
typedef ti_slice (*ti_key_build)(void *context, ti_context *c, ti_arena *a);
ti_status ti_send_to_key(ti_cluster *c, ti_command_id kind, ti_slice key, ti_key_build build,
                         void *context, ti_arena *a, ti_slice *response_out, ti_backoff *backoff,
                         ti_err *err);

#endif

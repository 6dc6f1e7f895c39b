/* ti_kv: one handle on an engine within one namespace. What every room above holds to reach the
 * store.
 *
 * INVARIANTS
 *  1. Every key that passes through a ti_kv starts with its prefix; a key that does not stops the
 *     process (ti_require, in release too).
 *  2. A ti_kv owns one reference on its engine. */
#ifndef TI_KV_KV_H
#define TI_KV_KV_H

#include "base/log.h"
#include "kv/engine.h"

/* Turns the key of a failed mutation into words for an error: sets table and index of err, and may
 * sharpen its status (ALREADY_EXISTS on a unique index's key is UNIQUE_VIOLATION). Returns the
 * status to answer with. Installed by the room that knows keys. */
typedef ti_status (*ti_key_describe)(void *context, ti_slice key, ti_status status, ti_err *err);

typedef struct ti_kv_options {
    ti_slice prefix;          /* "" or "{namespace}:"; copied */
    int64_t timeout_us;       /* of a transaction loop and of single operations; default
                                 TI_TIMEOUT_DEFAULT_S */
    int64_t txn_age_us;       /* how old a transaction may become; default TI_TXN_AGE_DEFAULT_S */
    ti_key_describe describe; /* or NULL */
    void *describe_context;
    const ti_log *log; /* borrowed; or NULL */
} ti_kv_options;

typedef struct ti_kv {
    ti_engine *engine; /* one reference, owned */
    const ti_env *env;
    ti_kv_options options; /* prefix points into prefix_bytes */
    ti_slice prefix_end;   /* the first key after all keys of the prefix; len 0 = no end */
    char *prefix_bytes;    /* owned: the prefix, then prefix_end */
} ti_kv;

/* Opens a handle (zeroes in options stand for the defaults; options may be NULL). Takes over the
 * caller's reference on engine also when it fails. OUT_OF_MEMORY, INVALID_ARGUMENT. */
ti_status ti_kv_open(ti_kv *kv, ti_engine *engine, const ti_kv_options *options, ti_err *err);
/* Drops the reference on the engine; all transactions are freed before. Safe on a zeroed or closed
 * handle. */
void ti_kv_close(ti_kv *kv);
/* The database's time. @thread any */
ti_status ti_kv_now(ti_kv *kv, ti_ts *ts_out, const ti_call *call, ti_err *err);
/* A call bounded by the handle's timeout. @thread any */
ti_call ti_kv_call(const ti_kv *kv);
/* Stops the process when key is outside the prefix. @thread any */
void ti_kv_require_key(const ti_kv *kv, ti_slice key);

#endif

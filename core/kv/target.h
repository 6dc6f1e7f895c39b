/* Connection targets: what a user writes to say which engine and where.
 *
 *   /path, ./path, path, rocksdb:path     embedded, a directory
 *   memory:                               embedded, nothing on disk
 *   tikv://pd1:2379,pd2:2379, pd1:2379    TiKV (a bare host:port, or a list with commas) */
#ifndef TI_KV_TARGET_H
#define TI_KV_TARGET_H

#include "base/err.h"
#include "base/mem.h"
#include "base/slice.h"

typedef enum ti_target_kind { TI_TARGET_ROCKSDB, TI_TARGET_MEMORY, TI_TARGET_TIKV } ti_target_kind;

#define TI_TARGET_ENDPOINTS_MAX 32

typedef struct ti_target {
    ti_target_kind kind;
    ti_slice path;                               /* ROCKSDB: NUL-terminated in the arena */
    ti_slice endpoints[TI_TARGET_ENDPOINTS_MAX]; /* TIKV: "host:port" each, NUL-terminated in the
                                                    arena */
    size_t endpoint_count;
} ti_target;

/* INVALID_ARGUMENT with what was wrong and the accepted forms. */
ti_status ti_target_parse(ti_slice text, ti_arena *a, ti_target *target_out, ti_err *err);

#endif

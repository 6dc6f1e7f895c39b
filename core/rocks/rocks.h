/* The embedded engine: RocksDB in a directory, or in memory, behind the engine contract
 * (kv/engine.h).
 *
 * One process at a time has a directory open. Within it, opening the same directory (by device and
 * inode) again gives one more reference on the same engine.
 *
 * What is NOT here: targets as users write them (kv/target.h), namespaces (kv/kv.h). */
#ifndef TI_ROCKS_ROCKS_H
#define TI_ROCKS_ROCKS_H

#include "base/log.h"
#include "kv/engine.h"

typedef enum ti_durability {
    TI_DURABILITY_SYNC = 0,     /* a commit is acknowledged when it is on the disk */
    TI_DURABILITY_BUFFERED = 1, /* when the operating system has it: survives the process, not the
                                   machine */
} ti_durability;

typedef struct ti_rocks_options {
    ti_durability durability;
    size_t block_cache_size;  /* bytes; 0 = TI_ROCKS_CACHE_SIZE_DEFAULT */
    size_t write_buffer_size; /* bytes of one memtable; 0 = TI_ROCKS_WRITE_BUFFER_SIZE_DEFAULT */
    int open_files_max;       /* 0 = TI_ROCKS_OPEN_FILES_DEFAULT */
    int background_jobs_max;  /* flushes and compactions at once; 0 = TI_ROCKS_JOBS_DEFAULT */
    int64_t open_wait_us;     /* how long to wait for another process that has the directory open */
    const ti_log *log;        /* joins the engine's logs (ti_rocks_logs); or NULL */
} ti_rocks_options;

/* Opens the database in the directory path, creating the directory (mode 0700) and the database
 * when there is none. options may be NULL. The reference in *engine_out is the caller's, dropped
 * with engine_out->vt->unref. @thread any
 *
 * INVALID_ARGUMENT: the directory holds something else, or this process has it open with other
 * options. UNSUPPORTED: written by a newer tito. UNAVAILABLE: another process has it open (the
 * message names its pid), also after open_wait_us. FORKED: a parent of this process has used an
 * embedded database. IO: the system refused (permissions, a full disk, a broken disk). CORRUPT. */
ti_status ti_rocks_open(const char *path, const ti_rocks_options *options, const ti_env *env,
                        ti_engine **engine_out, const ti_call *call, ti_err *err);

/* A new, empty database that lives in memory until its last reference is dropped. @thread any */
ti_status ti_rocks_open_memory(const ti_rocks_options *options, const ti_env *env,
                               ti_engine **engine_out, const ti_call *call, ti_err *err);

/* Where the engine's lines go: every log that it was opened with, until that one leaves. Borrowed
 * from the engine; who wants to leave after dropping its reference on the engine takes one on the
 * hub. @thread any */
ti_log_hub *ti_rocks_logs(ti_engine *engine);

#endif

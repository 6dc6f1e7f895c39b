/* Backups of the embedded engine: a directory that is a database of its own, and a list of its
 * files with which it is verified.
 *
 *   engine ──checkpoint──> DB/backup.stage ──link or copy, hash──> DIR.partial/db ──rename──> DIR
 *   DIR ──copy, compare hashes──> TARGET.partial/db ──rename──> TARGET
 *
 * INVARIANTS
 *  1. At DIR, or TARGET, there is nothing or all of it: the rename is the last step.
 *  2. A backup holds the commits up to one timestamp, all that were acknowledged before it began
 *     among them: the log is written in the order of timestamps, a group at a time, and what is
 *     taken is a beginning of it.
 *  3. Files that do not change are hard links: to the database's where both lie on one file system,
 *     else to those of an earlier backup. Nothing ever writes into a file that is linked.
 *
 * Thread rule: any. What is NOT here: which engines have backups (db/engines.c). */
#ifndef TI_ROCKS_BACKUP_H
#define TI_ROCKS_BACKUP_H

#include "base/progress.h"
#include "rocks/rocks.h"

typedef struct ti_backup_summary {
    int64_t time_us; /* of the database, when it began: what was committed before is in it */
    size_t files;
    int64_t size;   /* bytes of all files */
    int64_t shared; /* … of those that are hard links */
} ti_backup_summary;

typedef struct ti_backup_request {
    const char *dir;       /* of the backup: absent, or an empty directory */
    const char *base;      /* an earlier backup whose files may be shared; or NULL */
    ti_progress *progress; /* in bytes; or NULL */
} ti_backup_request;

/* Makes a backup of an open engine. INVALID_ARGUMENT (a directory that is not empty, a base that is
 * no backup), UNSUPPORTED (in memory), BUSY (another one of this engine, or into dir, is under
 * way), IO (the system refused; the engine has failed), CANCELLED, FORKED. */
ti_status ti_rocks_backup(ti_engine *engine, const ti_backup_request *request,
                          ti_backup_summary *summary_out, const ti_call *call, ti_err *err);
/* Compares the files of the backup in dir with its list. CORRUPT names the file that differs;
 * INVALID_ARGUMENT: no backup. */
ti_status ti_rocks_backup_verify(const char *dir, ti_progress *progress,
                                 ti_backup_summary *summary_out, const ti_call *call, ti_err *err);
/* Copies the backup in dir to target, verifying it on the way. INVALID_ARGUMENT (target is not
 * empty, dir holds no backup), CORRUPT, BUSY, IO, CANCELLED. */
ti_status ti_rocks_restore(const char *dir, const char *target, ti_progress *progress,
                           ti_backup_summary *summary_out, const ti_call *call, ti_err *err);

#endif

/* Backups without an engine: verifying one, and making a database of one; see backup.h.
 *
 * INVARIANTS
 *  1. A restored database shares no file with its backup.
 *  2. Every byte of it went through the digest that is compared with the list.
 *
 * Thread rule: any. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/fault.h"
#include "rocks/backup_int.h"

/* A backup that is read. */
typedef struct reading {
    const char *path;
    int dir;
    ti_backup_files files;
    ti_backup_copier copier;
} reading;

static ti_status begin(reading *r, const char *dir, ti_progress *progress,
                       ti_backup_summary *summary_out, const ti_call *call, ti_err *err)
{
    *r = (reading){.path = dir, .dir = -1};
    *summary_out = (ti_backup_summary){0};
    TI_TRY(ti_backup_open_dir(dir, &r->dir, err));
    TI_TRY(ti_backup_files_read(r->dir, dir, &r->files, err));
    summary_out->time_us = r->files.time_us;
    summary_out->files = r->files.count;
    for (size_t i = 0; i < r->files.count; i++)
        summary_out->size += r->files.items[i].size;
    ti_progress_begin(progress, summary_out->size);
    return ti_backup_copier_begin(&r->copier, progress, call, err);
}

static void end(reading *r)
{
    if (r->dir >= 0)
        (void)close(r->dir);
    ti_backup_copier_end(&r->copier);
    ti_backup_files_free(&r->files);
}

/* What was found against what the list says. */
static ti_status compare(const reading *r, const ti_backup_file *listed,
                         const ti_backup_file *found, ti_err *err)
{
    if (listed->size == found->size && strcmp(listed->digest, found->digest) == 0)
        return TI_OK;
    return ti_err_set(err, TI_CORRUPT, "the file %s of the backup in %s is not as it was written%s",
                      listed->name, r->path,
                      listed->size == found->size ? "" : ": its size differs");
}

/* Reads one file, copying it to `to` unless that is -1, and compares. */
static ti_status pass(reading *r, const ti_backup_file *listed, int to, ti_err *err)
{
    ti_backup_file found = {0};
    memcpy(found.name, listed->name, sizeof(found.name));
    if (faccessat(r->dir, listed->name, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
        return ti_err_set(err, TI_CORRUPT, "the file %s of the backup in %s is missing",
                          listed->name, r->path);
    TI_TRY(to < 0 ? ti_backup_hash(&r->copier, r->dir, &found, err)
                  : ti_backup_copy(&r->copier, r->dir, to, &found, err));
    return compare(r, listed, &found, err);
}

static ti_status pass_all(reading *r, int to, ti_err *err)
{
    for (size_t i = 0; i < r->files.count; i++) {
        TI_TRY(pass(r, &r->files.items[i], to, err));
        TI_FAULT(rocks_restore_file);
    }
    return TI_OK;
}

ti_status ti_rocks_backup_verify(const char *dir, ti_progress *progress,
                                 ti_backup_summary *summary_out, const ti_call *call, ti_err *err)
{
    reading r;
    ti_status status = begin(&r, dir, progress, summary_out, call, err);
    if (status == TI_OK)
        status = pass_all(&r, -1, err);
    end(&r);
    return status;
}

ti_status ti_rocks_restore(const char *dir, const char *target, ti_progress *progress,
                           ti_backup_summary *summary_out, const ti_call *call, ti_err *err)
{
    reading r;
    ti_backup_place place = {.parent = -1, .partial = -1, .db = -1};
    ti_status status = TI_OK;
    TI_CHECK(begin(&r, dir, progress, summary_out, call, err));
    TI_CHECK(ti_backup_place_begin(&place, target, err));
    TI_CHECK(pass_all(&r, place.db, err));
    TI_CHECK(ti_backup_place_finish(&place, err));
out:
    ti_backup_place_end(&place);
    end(&r);
    return status;
}

/* Making a backup; see backup.h.
 *
 *   1. a checkpoint of RocksDB beside the database's own files: memtables flushed, table files
 *      linked, the log and the manifest copied as far as they went; the marker of a database
 *   2. each of its files linked, or copied, into the place of the backup, and hashed
 *   3. the list of files, the name
 *
 * INVARIANTS
 *  1. What is taken of the log is a beginning of it, and a group of commits is in the log as a
 *     whole or not at all: RocksDB leaves out a group that was cut.
 *  2. The checkpoint is gone when this returns; one that a kill has left is removed by the next
 *     opening.
 *
 * Thread rule: any; one backup of an engine at a time, commits go on meanwhile. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/fault.h"
#include "rocks/backup_int.h"

#define STAGE "backup.stage"
#define STAGE_TMP STAGE ".tmp" /* RocksDB's own, while it makes the checkpoint */

/* One backup under way. */
typedef struct making {
    ti_rocks *e;
    const ti_backup_request *request;
    const ti_call *call;
    ti_backup_place place;
    ti_backup_copier copier;
    ti_backup_files files;
    ti_backup_files base_files;
    ti_backup_summary summary;
    int home;  /* the database's directory */
    int stage; /* the checkpoint */
    int base;  /* of request; -1: none */
} making;

/* ---- the checkpoint */

static ti_status remove_stage(int home, ti_err *err)
{
    TI_TRY(ti_backup_remove(home, STAGE_TMP, err));
    return ti_backup_remove(home, STAGE, err);
}

ti_status ti_rocks_backup_clean(const char *path, ti_err *err)
{
    int home;
    TI_TRY(ti_backup_open_dir(path, &home, err));
    ti_status status = remove_stage(home, err);
    (void)close(home);
    return status;
}

static ti_status make_checkpoint(const ti_rocks *e, ti_err *err)
{
    char path[TI_ROCKS_PATH_SIZE + sizeof(STAGE) + 1];
    char *failed = NULL;
    (void)snprintf(path, sizeof(path), "%s/" STAGE, e->path);
    rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(e->db, &failed);
    if (failed == NULL) {
        rocksdb_checkpoint_create(checkpoint, path, 0, &failed);
        rocksdb_checkpoint_object_destroy(checkpoint);
    }
    return failed == NULL ? TI_OK : ti_rocks_failed(failed, "making the backup", err);
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(((const ti_backup_file *)left)->name, ((const ti_backup_file *)right)->name);
}

/* Adds one entry of the checkpoint. */
static ti_status add_file(making *m, int dir, const char *name, ti_err *err)
{
    struct stat about;
    ti_backup_file *file;
    if (name[0] == '.')
        return TI_OK;
    if (!ti_backup_name_is_valid(name))
        return ti_err_set(err, TI_INTERNAL, "RocksDB made a file with a strange name");
    if (fstatat(dir, name, &about, AT_SYMLINK_NOFOLLOW) != 0)
        return ti_rocks_errno(errno, "look at the file", name, err);
    TI_TRY(ti_backup_files_add(&m->files, &file, err));
    memcpy(file->name, name, strlen(name) + 1);
    m->summary.size += about.st_size;
    return TI_OK;
}

/* Lists the checkpoint's files, sorted by name. */
static ti_status list_stage(making *m, ti_err *err)
{
    ti_status status = TI_OK;
    int again = dup(m->stage);
    DIR *entries = again < 0 ? NULL : fdopendir(again);
    if (entries == NULL) {
        if (again >= 0)
            (void)close(again);
        return ti_rocks_errno(errno, "read the directory", STAGE, err);
    }
    const struct dirent *entry;
    while (status == TI_OK && (entry = readdir(entries)) != NULL)
        status = add_file(m, m->stage, entry->d_name, err);
    (void)closedir(entries);
    if (m->files.count > 0)
        qsort(m->files.items, m->files.count, sizeof(m->files.items[0]), compare_names);
    return status;
}

static ti_status stage(making *m, ti_err *err)
{
    TI_TRY(remove_stage(m->home, err));
    TI_TRY(make_checkpoint(m->e, err));
    TI_FAULT(rocks_backup_staged);
    m->stage = openat(m->home, STAGE, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (m->stage < 0)
        return ti_rocks_errno(errno, "open the directory", STAGE, err);
    TI_TRY(ti_rocks_place_mark(m->stage, m->e->path, err)); /* sorts last */
    TI_TRY(list_stage(m, err));
    ti_progress_begin(m->request->progress, m->summary.size);
    return TI_OK;
}

/* ---- files */

/* Hashes a file that is there as a link, and counts it when others have it too. */
static ti_status hash_link(making *m, ti_backup_file *file, nlink_t others, ti_err *err)
{
    struct stat about;
    int there = openat(m->place.db, file->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int failed = there < 0 || fstat(there, &about) != 0 || fsync(there) != 0 ? errno : 0;
    if (there >= 0)
        (void)close(there);
    if (failed != 0)
        return ti_rocks_errno(failed, "write to the disk the file", file->name, err);
    if (about.st_nlink > others)
        m->summary.shared += about.st_size;
    return ti_backup_hash(&m->copier, m->place.db, file, err);
}

/* Links the file of the base when it is the same. */
static ti_status link_base(making *m, const ti_backup_file *file, bool *linked_out, ti_err *err)
{
    bool same = false;
    *linked_out = false;
    if (m->base < 0 || ti_backup_files_find(&m->base_files, file->name) == NULL)
        return TI_OK;
    TI_TRY(ti_backup_same(&m->copier, m->stage, m->base, file->name, &same, err));
    *linked_out = same && linkat(m->base, file->name, m->place.db, file->name, 0) == 0;
    return TI_OK;
}

static ti_status bring(making *m, ti_backup_file *file, ti_err *err)
{
    bool linked;
    if (linkat(m->stage, file->name, m->place.db, file->name, 0) == 0)
        return hash_link(m, file, 2, err); /* the checkpoint's, and this one */
    if (errno != EXDEV && errno != EPERM && errno != EMLINK && errno != EOPNOTSUPP)
        return ti_rocks_errno(errno, "link the file", file->name, err);
    TI_TRY(link_base(m, file, &linked, err));
    return linked ? hash_link(m, file, 1, err)
                  : ti_backup_copy(&m->copier, m->stage, m->place.db, file, err);
}

static ti_status bring_all(making *m, ti_err *err)
{
    for (size_t i = 0; i < m->files.count; i++) {
        TI_TRY(bring(m, &m->files.items[i], err));
        TI_FAULT(rocks_backup_file);
    }
    return TI_OK;
}

/* The list, and the name. */
static ti_status complete(making *m, ti_err *err)
{
    m->summary.files = m->files.count;
    TI_TRY(ti_backup_files_write(m->place.db, m->place.path, &m->files, err));
    TI_FAULT(rocks_backup_listed);
    return ti_backup_place_finish(&m->place, err);
}

/* ---- the whole */

static ti_status open_base(making *m, ti_err *err)
{
    const char *base = m->request->base;
    if (base == NULL)
        return TI_OK;
    TI_TRY(ti_backup_open_dir(base, &m->base, err));
    return ti_backup_files_read(m->base, base, &m->base_files, err);
}

static ti_status take_time(making *m, ti_err *err)
{
    ti_ts now = TI_TS_NONE;
    TI_TRY(ti_rocks_now(&m->e->base, &now, m->call, err));
    m->summary.time_us = m->files.time_us = ti_ts_to_us(now);
    return TI_OK;
}

static ti_status make(making *m, ti_err *err)
{
    ti_status status = TI_OK;
    TI_CHECK(ti_backup_open_dir(m->e->path, &m->home, err));
    TI_CHECK(open_base(m, err));
    TI_CHECK(ti_backup_place_begin(&m->place, m->request->dir, err));
    TI_CHECK(ti_backup_copier_begin(&m->copier, m->request->progress, m->call, err));
    TI_CHECK(take_time(m, err));
    TI_CHECK(stage(m, err));
    TI_CHECK(bring_all(m, err));
    TI_CHECK(complete(m, err));
out:
    if (m->stage >= 0)
        (void)close(m->stage);
    if (m->home >= 0) {
        (void)remove_stage(m->home, NULL); /* what stays is removed by the next opening */
        (void)close(m->home);
    }
    if (m->base >= 0)
        (void)close(m->base);
    ti_backup_place_end(&m->place);
    ti_backup_copier_end(&m->copier);
    ti_backup_files_free(&m->files);
    ti_backup_files_free(&m->base_files);
    return status;
}

static ti_status check_engine(ti_rocks *e, ti_err *err)
{
    ti_status status = TI_OK;
    if (ti_process_guard_forked(&e->guard))
        return ti_rocks_forked(err);
    if (e->path == NULL)
        return ti_err_set(err, TI_UNSUPPORTED,
                          "a database in memory has no files to back up: dump its documents");
    ti_mutex_lock(&e->mutex);
    if (e->poisoned)
        status = ti_rocks_poisoned(e, err);
    ti_mutex_unlock(&e->mutex);
    return status;
}

ti_status ti_rocks_backup(ti_engine *engine, const ti_backup_request *request,
                          ti_backup_summary *summary_out, const ti_call *call, ti_err *err)
{
    ti_rocks *e = ti_rocks_of(engine);
    making m = {.e = e,
                .request = request,
                .call = call,
                .place = {.parent = -1, .partial = -1, .db = -1},
                .home = -1,
                .stage = -1,
                .base = -1};
    ti_assert(request->dir != NULL);
    *summary_out = (ti_backup_summary){0};
    TI_TRY(check_engine(e, err));
    if (atomic_exchange(&e->backing_up, true))
        return ti_err_set(err, TI_BUSY, "a backup of %s is under way", e->path);
    ti_status status = make(&m, err);
    atomic_store(&e->backing_up, false);
    if (status == TI_OK)
        *summary_out = m.summary;
    return status;
}

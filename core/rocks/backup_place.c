/* The directory next to a target in which it is made; see backup_int.h.
 *
 *   begin:   mkdir TARGET.partial, lock it, empty it, mkdir db
 *            (files)
 *   finish:  rename db TARGET
 *
 * INVARIANTS
 *  1. Nothing is deleted in a TARGET.partial that is not ours: ours is empty or holds PARTIAL.
 *  2. Who holds the lock is alone: the system gives it back with the process.
 *
 * Thread rule: one at a time. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "rocks/backup_int.h"

#define SUFFIX ".partial"
#define MARK "PARTIAL"

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* ---- directories */

ti_status ti_backup_open_dir(const char *path, int *dir_out, ti_err *err)
{
    *dir_out = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *dir_out >= 0 ? TI_OK : ti_rocks_errno(errno, "open the directory", path, err);
}

/* Deletes the files in a directory; it is closed. 0, or errno. */
static int empty_directory(int dir)
{
    int failed = 0;
    DIR *entries = fdopendir(dir);
    if (entries == NULL) {
        failed = errno;
        (void)close(dir);
        return failed;
    }
    const struct dirent *entry;
    while (failed == 0 && (entry = readdir(entries)) != NULL)
        if (!is_dots(entry->d_name) && unlinkat(dir, entry->d_name, 0) != 0 && errno != ENOENT)
            failed = errno;
    (void)closedir(entries);
    return failed;
}

ti_status ti_backup_remove(int dir, const char *name, ti_err *err)
{
    int inside = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (inside < 0 && errno == ENOENT)
        return TI_OK;
    int failed = inside < 0 ? errno : empty_directory(inside);
    if (failed == 0 && unlinkat(dir, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        failed = errno;
    return failed == 0 ? TI_OK : ti_rocks_errno(failed, "remove the directory", name, err);
}

/* OK when there is no such directory, or nothing in it. */
static ti_status check_target(const ti_backup_place *place, ti_err *err)
{
    bool empty = true;
    int dir = openat(place->parent, place->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (dir < 0 && errno == ENOENT)
        return TI_OK;
    if (dir < 0)
        return ti_rocks_errno(errno, "use as a new directory", place->path, err);
    DIR *entries = fdopendir(dir);
    if (entries == NULL) {
        (void)close(dir);
        return ti_err_no_memory(err);
    }
    const struct dirent *entry;
    while (empty && (entry = readdir(entries)) != NULL)
        empty = is_dots(entry->d_name);
    (void)closedir(entries);
    return empty
               ? TI_OK
               : ti_err_set(err, TI_INVALID_ARGUMENT,
                            "%s is not empty: give a directory that is new or empty", place->path);
}

/* ---- begin */

/* Cuts target into its parent, which is opened, and its name. */
static ti_status split(ti_backup_place *place, const char *target, ti_err *err)
{
    char parent[TI_ROCKS_PATH_SIZE];
    size_t len = strlen(target);
    while (len > 1 && target[len - 1] == '/')
        len--;
    if (len == 0 || len + sizeof(SUFFIX) + 1 > sizeof(parent))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "the path of the directory is %s",
                          len == 0 ? "empty" : "too long");
    memcpy(place->path, target, len);
    place->path[len] = '\0';
    const char *slash = strrchr(place->path, '/');
    const char *name = slash == NULL ? place->path : slash + 1;
    if (name[0] == '\0' || is_dots(name))
        return ti_err_set(err, TI_INVALID_ARGUMENT, "%s is not the path of a new directory",
                          place->path);
    (void)snprintf(place->name, sizeof(place->name), "%s", name);
    (void)snprintf(place->partial_name, sizeof(place->partial_name), "%.*s" SUFFIX,
                   (int)(sizeof(place->partial_name) - sizeof(SUFFIX)), name);
    (void)snprintf(parent, sizeof(parent), "%.*s",
                   slash == NULL          ? 1
                   : slash == place->path ? 1
                                          : (int)(slash - place->path),
                   slash == NULL ? "." : place->path);
    return ti_backup_open_dir(parent, &place->parent, err);
}

/* Marks a new directory as ours, or sees that it is. */
static ti_status check_ours(const ti_backup_place *place, bool made, ti_err *err)
{
    int mark = openat(place->partial, MARK,
                      O_RDONLY | O_CLOEXEC | O_NOFOLLOW | (made ? O_CREAT : 0), 0600);
    if (mark < 0 && errno == ENOENT &&
        unlinkat(place->parent, place->partial_name, AT_REMOVEDIR) == 0)
        return ti_err_set(err, TI_BUSY, "another backup into %s has just ended: try again",
                          place->path);
    if (mark < 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "%s" SUFFIX " is in the way and not of tito: remove it", place->path);
    (void)close(mark);
    return TI_OK;
}

/* Locks the open directory and sees that it is ours. */
static ti_status take_partial(const ti_backup_place *place, bool made, ti_err *err)
{
    if (flock(place->partial, LOCK_EX | LOCK_NB) == 0)
        return check_ours(place, made, err);
    if (errno == EWOULDBLOCK)
        return ti_err_set(err, TI_BUSY, "somebody is making %s just now", place->path);
    return ti_rocks_errno(errno, "lock the directory next to", place->path, err);
}

/* place->partial stays open only when it is locked and ours: what is open is cleaned at the end. */
static ti_status lock_partial(ti_backup_place *place, ti_err *err)
{
    bool made = mkdirat(place->parent, place->partial_name, S_IRWXU) == 0;
    if (!made && errno != EEXIST)
        return ti_rocks_errno(errno, "create a directory next to", place->path, err);
    place->partial =
        openat(place->parent, place->partial_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (place->partial < 0)
        return ti_rocks_errno(errno, "open the directory next to", place->path, err);
    ti_status status = take_partial(place, made, err);
    if (status != TI_OK) {
        (void)close(place->partial);
        place->partial = -1;
    }
    return status;
}

ti_status ti_backup_place_begin(ti_backup_place *place, const char *target, ti_err *err)
{
    ti_assert(target != NULL);
    *place = (ti_backup_place){.parent = -1, .partial = -1, .db = -1};
    TI_TRY(split(place, target, err));
    TI_TRY(check_target(place, err));
    TI_TRY(lock_partial(place, err));
    TI_TRY(ti_backup_remove(place->partial, "db", err));
    if (mkdirat(place->partial, "db", S_IRWXU) != 0)
        return ti_rocks_errno(errno, "create a directory next to", place->path, err);
    place->db = openat(place->partial, "db", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (place->db < 0)
        return ti_rocks_errno(errno, "open the directory next to", place->path, err);
    return TI_OK;
}

/* ---- end */

ti_status ti_backup_place_finish(ti_backup_place *place, ti_err *err)
{
    ti_assert(place->db >= 0);
    if (fsync(place->db) != 0 || fsync(place->partial) != 0)
        return ti_rocks_errno(errno, "write to the disk", place->path, err);
    if (renameat(place->partial, "db", place->parent, place->name) != 0)
        return ti_rocks_errno(errno, "give its name to", place->path, err);
    if (fsync(place->parent) != 0)
        return ti_rocks_errno(errno, "write to the disk the directory of", place->path, err);
    return TI_OK;
}

void ti_backup_place_end(ti_backup_place *place)
{
    if (place->db >= 0)
        (void)close(place->db);
    if (place->partial >= 0) {
        if (ti_backup_remove(place->partial, "db", NULL) == TI_OK &&
            unlinkat(place->partial, MARK, 0) == 0)
            (void)unlinkat(place->parent, place->partial_name, AT_REMOVEDIR);
        (void)close(place->partial);
    }
    if (place->parent >= 0)
        (void)close(place->parent);
    *place = (ti_backup_place){.parent = -1, .partial = -1, .db = -1};
}

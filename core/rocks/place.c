/* The directory of a database: made, checked, closed to others.
 *
 *   DIR/            0700
 *     TITO          "tito embedded database, format 1\n", written before anything else
 *     CURRENT …     RocksDB's files, 0600
 *
 * INVARIANTS
 *  1. A directory that holds anything is not touched unless TITO says that it is ours.
 *  2. The format in TITO is read before RocksDB sees the directory.
 *
 * RocksDB makes files with the process's umask. Those there are lose the permissions of others at
 * each open; for those made later the directory's own 0700 stands.
 *
 * Thread rule: any thread. What is NOT here: who may open it when (registry.c). */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "rocks/rocks_int.h"

static_assert(TI_ROCKS_PATH_SIZE >= PATH_MAX, "realpath needs that much");

#define MARKER "TITO"
#define MARKER_NEW "TITO.new"
#define MARKER_HEAD "tito embedded database, format "
#define MARKER_FORMAT 1
#define MARKER_TEXT MARKER_HEAD "1\n"
#define MARKER_SIZE_MAX 64

/* OK when the marker names a format that is known here. */
static ti_status check_marker(const char *text, size_t len, const char *path, ti_err *err)
{
    size_t head = strlen(MARKER_HEAD);
    unsigned format = 0;
    if (len <= head || memcmp(text, MARKER_HEAD, head) != 0)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "%s/" MARKER " was not written by tito", path);
    for (size_t i = head; i < len && text[i] >= '0' && text[i] <= '9' && format < 10000; i++)
        format = format * 10 + (unsigned)(text[i] - '0');
    if (format > MARKER_FORMAT)
        return ti_err_set(err, TI_UNSUPPORTED,
                          "the database in %s has format %u, this tito knows up to %d: use a newer "
                          "tito",
                          path, format, MARKER_FORMAT);
    if (format == 0)
        return ti_err_set(err, TI_CORRUPT, "%s/" MARKER " names no format", path);
    return TI_OK;
}

/* Reads and checks the marker; NOT_FOUND (no text) when there is none. */
static ti_status read_marker(int dir, const char *path, ti_err *err)
{
    char text[MARKER_SIZE_MAX];
    int file = openat(dir, MARKER, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0 && errno == ENOENT)
        return TI_NOT_FOUND;
    if (file < 0)
        return ti_rocks_errno(errno, "read " MARKER " in", path, err);
    ssize_t len = read(file, text, sizeof(text));
    int failed = errno;
    (void)close(file);
    if (len < 0)
        return ti_rocks_errno(failed, "read " MARKER " in", path, err);
    return check_marker(text, (size_t)len, path, err);
}

/* Writes the marker so that it is either there as a whole or not at all. */
static ti_status write_marker(int dir, const char *path, ti_err *err)
{
    static const char text[] = MARKER_TEXT;
    int file = openat(dir, MARKER_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0)
        return ti_rocks_errno(errno, "create a database in", path, err);
    ssize_t len = write(file, text, sizeof(text) - 1);
    int failed = len < 0 ? errno : len < (ssize_t)sizeof(text) - 1 ? ENOSPC : 0;
    if (failed == 0 && fsync(file) != 0)
        failed = errno;
    if (close(file) != 0 && failed == 0)
        failed = errno;
    if (failed == 0 && renameat(dir, MARKER_NEW, dir, MARKER) != 0)
        failed = errno;
    if (failed == 0 && fsync(dir) != 0)
        failed = errno;
    return failed == 0 ? TI_OK : ti_rocks_errno(failed, "create a database in", path, err);
}

ti_status ti_rocks_place_mark(int dir, const char *path, ti_err *err)
{
    return write_marker(dir, path, err);
}

static bool may_be_in_empty(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, MARKER_NEW) == 0 ||
           strcmp(name, "lost+found") == 0;
}

/* OK when there is nothing in the directory. */
static ti_status check_empty(const char *path, ti_err *err)
{
    DIR *entries = opendir(path);
    if (entries == NULL)
        return ti_rocks_errno(errno, "read the directory", path, err);
    bool empty = true;
    bool rocksdb = false;
    const struct dirent *entry;
    while ((entry = readdir(entries)) != NULL) {
        empty = empty && may_be_in_empty(entry->d_name);
        rocksdb = rocksdb || strcmp(entry->d_name, "CURRENT") == 0;
    }
    (void)closedir(entries);
    if (rocksdb)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "%s holds a RocksDB database that tito did not make", path);
    if (!empty)
        return ti_err_set(err, TI_INVALID_ARGUMENT, "%s is not empty and holds no database of tito",
                          path);
    return TI_OK;
}

/* Takes the permissions of group and others off the directory. */
static ti_status close_directory(int dir, mode_t mode, const char *path, ti_err *err)
{
    if ((mode & (S_IRWXG | S_IRWXO)) == 0)
        return TI_OK;
    if (fchmod(dir, mode & S_IRWXU) != 0)
        return ti_rocks_errno(errno, "close to others", path, err);
    return TI_OK;
}

/* Makes an empty directory ours. */
static ti_status claim_directory(int dir, mode_t mode, const char *path, ti_err *err)
{
    TI_TRY(check_empty(path, err));
    TI_TRY(close_directory(dir, mode, path, err));
    return write_marker(dir, path, err);
}

/* Until dir is closed, others who would claim it wait. Some file systems have no such locks: there
 * two that come at once write over each other's marker, and one of them may fail. */
static void one_at_a_time(int dir)
{
    while (flock(dir, LOCK_EX) != 0 && errno == EINTR)
        continue;
}

static ti_status prepare_directory(int dir, const char *path, ti_rocks_place *place_out,
                                   ti_err *err)
{
    struct stat about;
    if (fstat(dir, &about) != 0)
        return ti_rocks_errno(errno, "look at", path, err);
    place_out->device = (uint64_t)about.st_dev;
    place_out->inode = (uint64_t)about.st_ino;
    if (realpath(path, place_out->path) == NULL)
        return ti_rocks_errno(errno, "resolve the path", path, err);
    ti_status status = read_marker(dir, path, err);
    if (status == TI_NOT_FOUND) {
        one_at_a_time(dir);
        status = read_marker(dir, path, err);
    }
    if (status == TI_NOT_FOUND) {
        status = claim_directory(dir, about.st_mode, path, err);
        if (status == TI_OK || read_marker(dir, path, NULL) != TI_OK)
            return status;
        ti_err_clear(err); /* somebody else has claimed it in between */
        status = TI_OK;
    }
    TI_TRY(status);
    return close_directory(dir, about.st_mode, path, err);
}

ti_status ti_rocks_place_prepare(const char *path, ti_rocks_place *place_out, ti_err *err)
{
    ti_assert(path != NULL);
    ti_assert(path[0] != '\0');
    if (mkdir(path, S_IRWXU) != 0 && errno != EEXIST)
        return ti_rocks_errno(errno, "create the directory", path, err);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return ti_rocks_errno(errno, "open the directory", path, err);
    ti_status status = prepare_directory(dir, path, place_out, err);
    (void)close(dir);
    return status;
}

/* Takes the permissions of others off one file; 0, or errno. Files that RocksDB deletes meanwhile
 * do not count. */
static int close_file(int dir, const char *name)
{
    struct stat about;
    if (fstatat(dir, name, &about, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : errno;
    if (!S_ISREG(about.st_mode) || (about.st_mode & (S_IRWXG | S_IRWXO)) == 0)
        return 0;
    if (fchmodat(dir, name, about.st_mode & (S_IRUSR | S_IWUSR), 0) != 0)
        return errno == ENOENT ? 0 : errno;
    return 0;
}

ti_status ti_rocks_place_close_files(const char *path, ti_err *err)
{
    int failed = 0;
    DIR *entries = opendir(path);
    if (entries == NULL)
        return ti_rocks_errno(errno, "read the directory", path, err);
    const struct dirent *entry;
    while (failed == 0 && (entry = readdir(entries)) != NULL)
        failed = close_file(dirfd(entries), entry->d_name);
    (void)closedir(entries);
    return failed == 0 ? TI_OK : ti_rocks_errno(failed, "close to others the files in", path, err);
}

long ti_rocks_place_holder(const char *path)
{
    char name[TI_ROCKS_PATH_SIZE + 8];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int len = snprintf(name, sizeof(name), "%s/LOCK", path);
    if (len < 0 || (size_t)len >= sizeof(name))
        return 0;
    int file = open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0)
        return 0;
    int failed = fcntl(file, F_GETLK, &lock);
    (void)close(file);
    return failed == 0 && lock.l_type != F_UNLCK ? (long)lock.l_pid : 0;
}

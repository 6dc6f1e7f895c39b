/* Files of backups, block by block: hashed, copied, compared.
 *
 * INVARIANTS
 *  1. The digest is of the bytes that were read in this pass, whatever is in the file later.
 *  2. A copy is on the disk before its size and digest are told.
 *
 * Thread rule: one at a time. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "rocks/backup_int.h"

#define BLOCK_SIZE ((size_t)256 * 1024)
#define WHAT "the backup"

ti_status ti_backup_copier_begin(ti_backup_copier *copier, ti_progress *progress,
                                 const ti_call *call, ti_err *err)
{
    *copier = (ti_backup_copier){.progress = progress, .call = call};
    copier->block = ti_alloc(2 * BLOCK_SIZE);
    if (copier->block == NULL)
        return ti_err_no_memory(err);
    return ti_digest_new(&copier->digest, err);
}

void ti_backup_copier_end(ti_backup_copier *copier)
{
    ti_digest_free(copier->digest);
    ti_free(copier->block);
    *copier = (ti_backup_copier){0};
}

/* Opens a file to read; -1 with errno. */
static int open_file(int dir, const char *name)
{
    struct stat about;
    int file = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file >= 0 && (fstat(file, &about) != 0 || !S_ISREG(about.st_mode))) {
        (void)close(file);
        errno = EINVAL;
        return -1;
    }
    return file;
}

/* Reads a whole block, or what is left; less than 0 with errno. */
static ssize_t read_block(int file, char *block)
{
    size_t len = 0;
    while (len < BLOCK_SIZE) {
        ssize_t more = read(file, block + len, BLOCK_SIZE - len);
        if (more < 0 && errno != EINTR)
            return -1;
        if (more == 0)
            break;
        len += more > 0 ? (size_t)more : 0;
    }
    return (ssize_t)len;
}

/* 0, or errno. */
static int write_block(int file, const char *block, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t more = write(file, block + done, len - done);
        if (more < 0 && errno != EINTR)
            return errno;
        done += more > 0 ? (size_t)more : 0;
    }
    return 0;
}

/* Passes a file through the digest, and into out unless that is -1. */
static ti_status pass(ti_backup_copier *copier, int in, int out, ti_backup_file *file, ti_err *err)
{
    file->size = 0;
    TI_TRY(ti_digest_begin(copier->digest, err));
    for (;;) {
        TI_TRY(ti_call_check(copier->call, WHAT, err));
        ssize_t len = read_block(in, copier->block);
        if (len < 0)
            return ti_rocks_errno(errno, "read the file", file->name, err);
        if (len == 0)
            return ti_digest_end(copier->digest, file->digest, err);
        TI_TRY(ti_digest_add(copier->digest, copier->block, (size_t)len, err));
        int failed = out < 0 ? 0 : write_block(out, copier->block, (size_t)len);
        if (failed != 0)
            return ti_rocks_errno(failed, "write the file", file->name, err);
        file->size += len;
        ti_progress_add(copier->progress, len);
    }
}

ti_status ti_backup_hash(ti_backup_copier *copier, int from, ti_backup_file *file, ti_err *err)
{
    int in = open_file(from, file->name);
    if (in < 0)
        return ti_rocks_errno(errno, "read the file", file->name, err);
    ti_status status = pass(copier, in, -1, file, err);
    (void)close(in);
    return status;
}

ti_status ti_backup_copy(ti_backup_copier *copier, int from, int to, ti_backup_file *file,
                         ti_err *err)
{
    int in = open_file(from, file->name);
    if (in < 0)
        return ti_rocks_errno(errno, "read the file", file->name, err);
    ti_status status = TI_OK;
    int out = openat(to, file->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0)
        status = ti_rocks_errno(errno, "create the file", file->name, err);
    if (status == TI_OK)
        status = pass(copier, in, out, file, err);
    if (status == TI_OK && fsync(out) != 0)
        status = ti_rocks_errno(errno, "write to the disk the file", file->name, err);
    if (out >= 0 && close(out) != 0 && status == TI_OK)
        status = ti_rocks_errno(errno, "write the file", file->name, err);
    (void)close(in);
    return status;
}

/* Compares the rest of two files. */
static ti_status compare(ti_backup_copier *copier, int left, int right, const char *name,
                         bool *same_out, ti_err *err)
{
    char *other = copier->block + BLOCK_SIZE;
    *same_out = false;
    for (;;) {
        TI_TRY(ti_call_check(copier->call, WHAT, err));
        ssize_t len = read_block(left, copier->block);
        ssize_t other_len = len < 0 ? -1 : read_block(right, other);
        if (other_len < 0)
            return ti_rocks_errno(errno, "read the file", name, err);
        if (len != other_len || memcmp(copier->block, other, (size_t)len) != 0)
            return TI_OK;
        if (len == 0) {
            *same_out = true;
            return TI_OK;
        }
    }
}

ti_status ti_backup_same(ti_backup_copier *copier, int left, int right, const char *name,
                         bool *same_out, ti_err *err)
{
    *same_out = false;
    int a = open_file(left, name);
    if (a < 0)
        return ti_rocks_errno(errno, "read the file", name, err);
    ti_status status = TI_OK;
    int b = open_file(right, name);
    if (b >= 0)
        status = compare(copier, a, b, name, same_out, err);
    if (b >= 0)
        (void)close(b);
    (void)close(a);
    return status;
}

/* The list of a backup's files; see backup_int.h for its lines.
 *
 * Thread rule: pure functions and files of the caller's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "rocks/backup_int.h"

#define HEAD "tito backup, format "
#define FORMAT 1
#define LIST_SIZE_MAX ((size_t)TI_BACKUP_FILES_MAX * (TI_BACKUP_NAME_SIZE + 100))
#define HEX (TI_DIGEST_SIZE - 1)

ti_status ti_backup_files_add(ti_backup_files *files, ti_backup_file **file_out, ti_err *err)
{
    *file_out = NULL;
    ti_assert(files->count <= files->room);
    if (files->count == TI_BACKUP_FILES_MAX)
        return ti_err_set(err, TI_LIMIT_EXCEEDED, "a backup has at most %d files",
                          TI_BACKUP_FILES_MAX);
    if (files->count == files->room) {
        size_t room = files->room == 0 ? 64 : files->room * 2;
        ti_backup_file *items = ti_realloc(files->items, room * sizeof(*items));
        if (items == NULL)
            return ti_err_no_memory(err);
        files->items = items;
        files->room = room;
    }
    *file_out = &files->items[files->count++];
    **file_out = (ti_backup_file){0};
    return TI_OK;
}

const ti_backup_file *ti_backup_files_find(const ti_backup_files *files, const char *name)
{
    for (size_t i = 0; i < files->count; i++)
        if (strcmp(files->items[i].name, name) == 0)
            return &files->items[i];
    return NULL;
}

void ti_backup_files_free(ti_backup_files *files)
{
    ti_free(files->items);
    *files = (ti_backup_files){0};
}

bool ti_backup_name_is_valid(const char *name)
{
    size_t len = strnlen(name, TI_BACKUP_NAME_SIZE);
    if (len == 0 || len == TI_BACKUP_NAME_SIZE || name[0] == '.')
        return false;
    for (size_t i = 0; i < len; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '/')
            return false;
    return true;
}

/* ---- writing */

static ti_status emit(const ti_backup_files *files, ti_buf *text, ti_err *err)
{
    char digest[TI_DIGEST_SIZE];
    ti_digest *sum = NULL;
    ti_status status = TI_OK;
    TI_CHECK(
        ti_buf_append_format(text, err, HEAD "%d\ntime %lld\n", FORMAT, (long long)files->time_us));
    for (size_t i = 0; i < files->count; i++) {
        const ti_backup_file *file = &files->items[i];
        ti_assert(ti_backup_name_is_valid(file->name));
        TI_CHECK(ti_buf_append_format(text, err, "file %lld %s %s\n", (long long)file->size,
                                      file->digest, file->name));
    }
    TI_CHECK(ti_digest_new(&sum, err));
    TI_CHECK(ti_digest_begin(sum, err));
    TI_CHECK(ti_digest_add(sum, ti_buf_slice(text).data, ti_buf_slice(text).len, err));
    TI_CHECK(ti_digest_end(sum, digest, err));
    TI_CHECK(ti_buf_append_format(text, err, "end %zu %s\n", files->count, digest));
out:
    ti_digest_free(sum);
    return status;
}

static int write_whole(int file, ti_slice text)
{
    while (text.len > 0) {
        ssize_t len = write(file, text.data, text.len);
        if (len < 0 && errno != EINTR)
            return errno;
        if (len > 0)
            text = (ti_slice){.data = text.data + len, .len = text.len - (size_t)len};
    }
    return fsync(file) == 0 ? 0 : errno;
}

ti_status ti_backup_files_write(int dir, const char *path, const ti_backup_files *files,
                                ti_err *err)
{
    ti_buf text;
    ti_status status = TI_OK;
    ti_buf_init(&text, LIST_SIZE_MAX);
    TI_CHECK(emit(files, &text, err));
    int file = openat(dir, TI_BACKUP_LIST, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int failed = file < 0 ? errno : write_whole(file, ti_buf_slice(&text));
    if (file >= 0 && close(file) != 0 && failed == 0)
        failed = errno;
    if (failed != 0)
        status = ti_rocks_errno(failed, "write " TI_BACKUP_LIST " in", path, err);
out:
    ti_buf_free(&text);
    return status;
}

/* ---- reading */

static ti_status damaged(const char *path, ti_err *err)
{
    return ti_err_set(err, TI_CORRUPT, "%s/" TI_BACKUP_LIST " is damaged", path);
}

/* Takes text off the front; false when it does not begin with it. */
static bool take(ti_slice *text, const char *expected)
{
    size_t len = strlen(expected);
    if (text->len < len || memcmp(text->data, expected, len) != 0)
        return false;
    *text = (ti_slice){.data = text->data + len, .len = text->len - len};
    return true;
}

static bool take_number(ti_slice *text, int64_t *number_out)
{
    size_t i = 0;
    *number_out = 0;
    for (; i < text->len && i < 18 && text->data[i] >= '0' && text->data[i] <= '9'; i++)
        *number_out = *number_out * 10 + (text->data[i] - '0');
    *text = (ti_slice){.data = text->data + i, .len = text->len - i};
    return i > 0;
}

static bool take_digest(ti_slice *text, char out[TI_DIGEST_SIZE])
{
    if (text->len < HEX)
        return false;
    for (size_t i = 0; i < HEX; i++) {
        char c = text->data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        out[i] = c;
    }
    out[HEX] = '\0';
    *text = (ti_slice){.data = text->data + HEX, .len = text->len - HEX};
    return true;
}

/* The rest of a line, without its end. */
static bool take_name(ti_slice *text, char out[TI_BACKUP_NAME_SIZE])
{
    const char *end = memchr(text->data, '\n', text->len);
    size_t len = end == NULL ? 0 : (size_t)(end - text->data);
    if (len == 0 || len >= TI_BACKUP_NAME_SIZE)
        return false;
    memcpy(out, text->data, len);
    out[len] = '\0';
    *text = (ti_slice){.data = end + 1, .len = text->len - len - 1};
    return ti_backup_name_is_valid(out);
}

static ti_status parse_file(ti_slice *text, const char *path, ti_backup_files *files, ti_err *err)
{
    ti_backup_file *file;
    TI_TRY(ti_backup_files_add(files, &file, err));
    if (!take_number(text, &file->size) || !take(text, " ") || !take_digest(text, file->digest) ||
        !take(text, " ") || !take_name(text, file->name))
        return damaged(path, err);
    return TI_OK;
}

/* Whether digest is the one of text. */
static ti_status check_digest(ti_slice text, const char digest[TI_DIGEST_SIZE], const char *path,
                              ti_err *err)
{
    char found[TI_DIGEST_SIZE];
    ti_digest *sum = NULL;
    ti_status status = TI_OK;
    TI_CHECK(ti_digest_new(&sum, err));
    TI_CHECK(ti_digest_begin(sum, err));
    TI_CHECK(ti_digest_add(sum, text.data, text.len, err));
    TI_CHECK(ti_digest_end(sum, found, err));
    if (strcmp(found, digest) != 0)
        status = damaged(path, err);
out:
    ti_digest_free(sum);
    return status;
}

static ti_status parse(ti_slice whole, const char *path, ti_backup_files *files, ti_err *err)
{
    int64_t format, count;
    char digest[TI_DIGEST_SIZE];
    ti_slice text = whole;
    if (!take(&text, HEAD) || !take_number(&text, &format) || !take(&text, "\n"))
        return damaged(path, err);
    if (format != FORMAT)
        return ti_err_set(err, TI_UNSUPPORTED,
                          "the backup in %s has format %lld, this tito knows %d: use a newer tito",
                          path, (long long)format, FORMAT);
    if (!take(&text, "time ") || !take_number(&text, &files->time_us) || !take(&text, "\n"))
        return damaged(path, err);
    while (take(&text, "file "))
        TI_TRY(parse_file(&text, path, files, err));
    ti_slice head = {.data = whole.data, .len = (size_t)(text.data - whole.data)};
    if (!take(&text, "end ") || !take_number(&text, &count) || !take(&text, " ") ||
        !take_digest(&text, digest) || !take(&text, "\n") || text.len > 0 ||
        (size_t)count != files->count)
        return damaged(path, err);
    return check_digest(head, digest, path, err);
}

static ti_status read_whole(int file, const char *path, ti_buf *text, ti_err *err)
{
    char block[4096];
    ssize_t len;
    while ((len = read(file, block, sizeof(block))) != 0) {
        if (len < 0 && errno != EINTR)
            return ti_rocks_errno(errno, "read " TI_BACKUP_LIST " in", path, err);
        if (len > 0)
            TI_TRY(ti_buf_append(text, block, (size_t)len, err));
    }
    return TI_OK;
}

ti_status ti_backup_files_read(int dir, const char *path, ti_backup_files *files_out, ti_err *err)
{
    ti_buf text;
    *files_out = (ti_backup_files){0};
    int file = openat(dir, TI_BACKUP_LIST, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0 && errno == ENOENT)
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "%s holds no backup: there is no file " TI_BACKUP_LIST, path);
    if (file < 0)
        return ti_rocks_errno(errno, "read " TI_BACKUP_LIST " in", path, err);
    ti_buf_init(&text, LIST_SIZE_MAX);
    ti_status status = read_whole(file, path, &text, err);
    if (status == TI_OK)
        status = parse(ti_buf_slice(&text), path, files_out, err);
    ti_buf_free(&text);
    (void)close(file);
    return status;
}

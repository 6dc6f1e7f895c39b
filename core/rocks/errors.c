/* What RocksDB and the system say, as statuses; see rocks_int.h. */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "rocks/rocks_int.h"

#define TEXT_MAX 400

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

ti_status ti_rocks_failed(char *message, const char *what, ti_err *err)
{
    ti_status status = TI_INTERNAL;
    ti_assert(message != NULL);
    if (begins(message, "Corruption"))
        status = TI_CORRUPT;
    else if (begins(message, "IO error"))
        status = TI_IO;
    else if (begins(message, "Invalid argument") || begins(message, "Not implemented"))
        status = TI_INVALID_ARGUMENT;
    ti_err_set(err, status, "%s failed: %.*s", what, TEXT_MAX, message);
    rocksdb_free(message);
    return status;
}

ti_status ti_rocks_forked(ti_err *err)
{
    return ti_err_set(err, TI_FORKED,
                      "this process is a child of the one that opened the embedded database; open "
                      "databases after fork(), or leave the child by _exit()");
}

ti_status ti_rocks_errno(int number, const char *what, const char *path, ti_err *err)
{
    ti_status status;
    switch (number) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
    case ELOOP:
    case EINVAL:
        status = TI_INVALID_ARGUMENT;
        break;
    case ENOMEM:
        status = TI_OUT_OF_MEMORY;
        break;
    case EMFILE:
    case ENFILE:
        status = TI_UNAVAILABLE;
        break;
    default:
        status = TI_IO;
        break;
    }
    errno = number;
    return ti_err_set(err, status, "can not %s %s: %m", what, path);
}

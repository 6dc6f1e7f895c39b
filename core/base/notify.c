/* eventfd and unix socket behind notify.h.
 *
 * INVARIANTS
 *  1. Each descriptor is -1 or open and owned.
 *  2. path is set exactly while listen_fd is open.
 *
 * Thread rule: the owner's mutex guards it. */
#include "base/notify.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"

#define LISTEN_BACKLOG 8

static ti_status no_descriptor(const char *what, ti_err *err)
{
    if (errno == ENOMEM)
        return ti_err_no_memory(err);
    return ti_err_set(err, TI_UNAVAILABLE, "the system refused %s (error %d)", what, errno);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

ti_status ti_notify_open(ti_notify *n, ti_err *err)
{
    ti_assert(n != NULL);
    *n = (ti_notify){.event_fd = -1, .listen_fd = -1, .socket_fd = -1};
    n->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (n->event_fd < 0)
        return no_descriptor("an eventfd", err);
    return TI_OK;
}

/* Ends listening: nobody can connect any more and the name is gone. */
static void stop_listening(ti_notify *n)
{
    ti_assert((n->listen_fd >= 0) == (n->path != NULL));
    if (n->path != NULL)
        unlink(n->path);
    close_fd(&n->listen_fd);
    ti_free(n->path);
    n->path = NULL;
}

void ti_notify_close(ti_notify *n)
{
    ti_assert(n != NULL);
    stop_listening(n);
    close_fd(&n->socket_fd);
    close_fd(&n->event_fd);
}

void ti_notify_forget(ti_notify *n)
{
    ti_free(n->path);
    *n = (ti_notify){.event_fd = -1, .listen_fd = -1, .socket_fd = -1};
}

int ti_notify_fd(const ti_notify *n)
{
    return n->socket_fd >= 0 ? n->socket_fd : n->event_fd;
}

void ti_notify_raise(ti_notify *n)
{
    static const uint64_t one = 1;
    ssize_t done;
    if (n->socket_fd >= 0)
        done = send(n->socket_fd, "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    else if (n->event_fd >= 0)
        done = write(n->event_fd, &one, sizeof(one));
    else
        return;
    ti_assert(done >= 0 || errno == EAGAIN || errno == EPIPE || errno == ECONNRESET ||
              errno == EINTR);
}

void ti_notify_clear(ti_notify *n)
{
    uint64_t count;
    if (n->socket_fd >= 0 || n->event_fd < 0)
        return;
    ssize_t got = read(n->event_fd, &count, sizeof(count));
    ti_assert(got == (ssize_t)sizeof(count) || errno == EAGAIN || errno == EINTR);
}

/* Binds and listens; fd is closed by the caller on failure. */
static ti_status listen_at(int fd, const char *path, size_t len, ti_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    ti_assert(len < sizeof(address.sun_path));
    memcpy(address.sun_path, path, len + 1);
    /* the mode of an unbound socket is that of the name which bind makes */
    if (fchmod(fd, S_IRUSR | S_IWUSR) != 0)
        return ti_err_set(err, TI_IO, "no mode 0600 for the socket %s (error %d)", path, errno);
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        if (errno == EADDRINUSE)
            return ti_err_set(err, TI_ALREADY_EXISTS, "%s exists: choose another path", path);
        return ti_err_set(err, TI_IO, "no socket can be made at %s (error %d)", path, errno);
    }
    if (listen(fd, LISTEN_BACKLOG) != 0) {
        int saved = errno;
        unlink(path);
        return ti_err_set(err, TI_IO, "no listening at %s (error %d)", path, saved);
    }
    return TI_OK;
}

ti_status ti_notify_listen(ti_notify *n, const char *path, ti_err *err)
{
    size_t len = path == NULL ? 0 : strlen(path);
    ti_status status = TI_OK;
    int fd = -1;
    char *kept = NULL;
    if (n->listen_fd >= 0 || n->socket_fd >= 0)
        return ti_err_set(err, TI_INVALID_STATE, "it listens or is connected already");
    if (len == 0 || len >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return ti_err_set(err, TI_INVALID_ARGUMENT,
                          "a socket's path has 1 to %zu bytes, this one %zu",
                          sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1, len);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return no_descriptor("a socket", err);
    kept = ti_alloc(len + 1);
    if (kept == NULL) {
        status = ti_err_no_memory(err);
        goto out;
    }
    memcpy(kept, path, len + 1);
    TI_CHECK(listen_at(fd, path, len, err));
    n->listen_fd = fd;
    n->path = kept;
    fd = -1;
    kept = NULL;
out:
    ti_free(kept);
    close_fd(&fd);
    return status;
}

/* True when the process at the other end is this one. */
static bool peer_is_self(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return false;
    return peer.pid == getpid();
}

ti_status ti_notify_accept(ti_notify *n, ti_err *err)
{
    if (n->listen_fd < 0)
        return ti_err_set(err, TI_INVALID_STATE, "it does not listen: call listen first");
    for (int tries = 0; tries <= LISTEN_BACKLOG; tries++) {
        int fd = accept4(n->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return no_descriptor("a connection", err);
        if (peer_is_self(fd)) {
            n->socket_fd = fd;
            stop_listening(n);
            return TI_OK;
        }
        close(fd);
    }
    return ti_err_set(err, TI_BUSY, "nobody of this process has connected to %s yet", n->path);
}

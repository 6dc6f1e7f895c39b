/* Sockets that listen: for `tito worker --metrics` and `tito dashboard`.
 *
 * INVARIANTS
 *  1. They do not block, and programs that are started do not inherit them.
 *  2. A unix socket is its owner's alone (0600) from its first moment. Where a socket lies that
 *     nobody listens at, it is replaced; nothing else is. */
#include "cli.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { KIND = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK };

/* Tells why there is none, and closes fd. */
static int fail(const char *option, const char *address, int fd, const char *why)
{
    tc_log(TC_ERROR, "%s %s: %s", option, address, why);
    if (fd >= 0)
        close(fd);
    return -1;
}

int tc_listen(const char *option, const char *address, int backlog)
{
    char host[TC_HOST_MAX], port[TC_PORT_TEXT_MAX];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    const int on = 1;
    if (!tc_split_address(address, host, sizeof(host), port, sizeof(port)))
        return -1;
    int failed = getaddrinfo(host, port, &hints, &found);
    if (failed != 0)
        return fail(option, address, -1, gai_strerror(failed));
    int fd = socket(found->ai_family, KIND, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, backlog) != 0)
        fd = fail(option, address, fd, strerror(errno));
    freeaddrinfo(found);
    return fd;
}

bool tc_place(int fd, char *out, size_t size)
{
    char host[TC_HOST_MAX], port[TC_PORT_TEXT_MAX];
    struct sockaddr_storage bound;
    socklen_t bound_size = sizeof(bound);
    if (getsockname(fd, (struct sockaddr *)&bound, &bound_size) != 0 ||
        getnameinfo((struct sockaddr *)&bound, bound_size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return false;
    bool v6 = bound.ss_family == AF_INET6;
    (void)snprintf(out, size, "%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
    return true;
}

/* Removes a socket that a process has left behind. */
static void remove_left_over(const struct sockaddr_un *address)
{
    struct stat found;
    if (lstat(address->sun_path, &found) != 0 || !S_ISSOCK(found.st_mode))
        return;
    int fd = socket(AF_UNIX, KIND, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 &&
        errno == ECONNREFUSED)
        (void)unlink(address->sun_path);
    close(fd);
}

int tc_listen_unix(const char *option, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path) || path[0] == '\0')
        return fail(option, path, -1, "no path of a socket");
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    remove_left_over(&address);
    int fd = socket(AF_UNIX, KIND, 0);
    /* The file gets the mode that the socket has before. */
    bool bound = fd >= 0 && fchmod(fd, S_IRUSR | S_IWUSR) == 0 &&
                 bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (bound && listen(fd, SOMAXCONN) == 0)
        return fd;
    int why = errno;
    if (bound)
        (void)unlink(path);
    return fail(option, path, fd, strerror(why));
}

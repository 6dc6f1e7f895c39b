/* Connections and their deadlines: libmicrohttpd ends what is silent, this what is slow.
 *
 *   accepted ── TC_RECEIVE_S ──> request whole ── no deadline ──> answered ── TC_ANSWER_S ──> closed
 *                                      └── a stream: no deadline; silence ends it (TC_IDLE_S)
 *
 * INVARIANTS
 *  1. A descriptor is shut only while its link is in the list, under the mutex: libmicrohttpd
 *     takes it out (tc_link_notify) before it closes the descriptor. */
#include "server.h"

#include <stdlib.h>
#include <sys/socket.h>

static void add(tc_server *server, tc_link *link)
{
    pthread_mutex_lock(&server->mutex);
    link->next = server->links;
    link->place = &server->links;
    if (link->next != NULL)
        link->next->place = &link->next;
    server->links = link;
    pthread_mutex_unlock(&server->mutex);
}

static void take_out(tc_server *server, tc_link *link)
{
    pthread_mutex_lock(&server->mutex);
    *link->place = link->next;
    if (link->next != NULL)
        link->next->place = link->place;
    pthread_mutex_unlock(&server->mutex);
}

static int64_t after(int seconds)
{
    return tl_clock_us() + (int64_t)seconds * 1000000;
}

void tc_link_notify(void *context, struct MHD_Connection *connection, void **socket_context,
                    enum MHD_ConnectionNotificationCode code)
{
    tc_server *server = context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*socket_context != NULL)
            take_out(server, *socket_context);
        free(*socket_context);
        *socket_context = NULL;
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    tc_link *link = info != NULL ? calloc(1, sizeof(*link)) : NULL;
    *socket_context = link;
    if (link == NULL)
        return; /* the silence of libmicrohttpd bounds it */
    link->fd = info->connect_fd;
    link->deadline_us = after(TC_RECEIVE_S);
    add(server, link);
}

void tc_link_allow(tc_server *server, struct MHD_Connection *connection, int seconds)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    tc_link *link = info != NULL ? info->socket_context : NULL;
    if (link == NULL)
        return;
    pthread_mutex_lock(&server->mutex);
    link->deadline_us = seconds > 0 ? after(seconds) : INT64_MAX;
    pthread_mutex_unlock(&server->mutex);
}

void tc_links_reap(tc_server *server)
{
    int64_t now_us = tl_clock_us();
    pthread_mutex_lock(&server->mutex);
    for (tc_link *link = server->links; link != NULL; link = link->next)
        if (link->deadline_us <= now_us) {
            (void)shutdown(link->fd, SHUT_RDWR);
            link->deadline_us = INT64_MAX;
        }
    pthread_mutex_unlock(&server->mutex);
}

/* A file descriptor that tells an event loop "there is something to take": an eventfd, or the unix
 * socket that a loop which can only connect has connected to.
 *
 *   NEW --ti_notify_listen--> LISTENING --ti_notify_accept--> CONNECTED
 *   descriptor: the eventfd     the eventfd                    the accepted socket
 *
 * INVARIANTS
 *  1. Nothing here blocks: all descriptors are non-blocking and closed on exec.
 *  2. A connection is accepted only from this very process (SO_PEERCRED); others are closed.
 *  3. The socket's path exists from listen until accept or close; its mode is 0600.
 *
 * Thread rule: the owner's mutex guards it; nothing here locks. */
#ifndef TI_BASE_NOTIFY_H
#define TI_BASE_NOTIFY_H

#include <stdbool.h>

#include "base/err.h"

typedef struct ti_notify {
    int event_fd;
    int listen_fd; /* -1 unless listening */
    int socket_fd; /* -1 unless connected */
    char *path;    /* owned; of the listening socket, or NULL */
} ti_notify;

/* Makes the eventfd. UNAVAILABLE when the process has no descriptor left. Ended with
 * ti_notify_close. */
ti_status ti_notify_open(ti_notify *n, ti_err *err);
/* Closes everything and removes the path. Safe on a closed one. In a forked child
 * ti_notify_forget is called instead. */
void ti_notify_close(ti_notify *n);
/* Frees memory only: descriptors and path stay as they are (they are the parent's too). */
void ti_notify_forget(ti_notify *n);
/* The descriptor to watch; it stays owned by n. Changes with ti_notify_accept. */
int ti_notify_fd(const ti_notify *n);
/* Makes the descriptor readable. A socket whose buffer is full is readable already; one whose loop
 * has gone is left alone. */
void ti_notify_raise(ti_notify *n);
/* Makes the eventfd no longer readable; the bytes of a socket are read by its loop. */
void ti_notify_clear(ti_notify *n);
/* Listens at path. INVALID_ARGUMENT: too long or empty; ALREADY_EXISTS: the path is taken;
 * INVALID_STATE: listening or connected already; IO: the directory refuses. */
ti_status ti_notify_listen(ti_notify *n, const char *path, ti_err *err);
/* Takes the connection of this process and removes the path. BUSY: nobody of this process has
 * connected yet; INVALID_STATE: not listening. */
ti_status ti_notify_accept(ti_notify *n, ti_err *err);

#endif
